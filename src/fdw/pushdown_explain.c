/*-------------------------------------------------------------------------
 *
 * pushdown_explain.c
 *		What a condition says before its values are known: which sides of
 *		which columns it bounds, and in which words.
 *
 * The words for one side are true of every row the condition lets through:
 * of an AND the parts that bound that side are told, an OR only when each of
 * its arms bounds it.
 *
 * IDENTIFICATION
 *		src/fdw/pushdown_explain.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fdw/pushdown_node.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"

/* What describe_condition and its helpers pass on unchanged. */
typedef struct DescribeState
{
	KafkaDimension dimension;
	KafkaBoundSide side;
	const char *const *names;
	List *exprs;
	KafkaDeparse deparse;
	void *arg;
	List *texts; /* forms as written in the query */
} DescribeState;

static char *describe_condition(const DescribeState *state, List *condition);

/* Does a leaf say something of this side of this dimension? */
static bool
leaf_bounds_side(const KafkaLeaf *leaf, KafkaDimension dimension,
				 KafkaBoundSide side)
{
	KafkaOp op = leaf->op;

	if (leaf->form.dimension != dimension)
		return false;
	if (kafka_form_is_reversed(&leaf->form))
		op = kafka_op_commute(op);
	switch (op)
	{
		case KAFKA_OP_LT:
		case KAFKA_OP_LE:
			return side != KAFKA_SIDE_START;
		case KAFKA_OP_GT:
		case KAFKA_OP_GE:
			return side != KAFKA_SIDE_END;
		case KAFKA_OP_EQ:
			return true;
		case KAFKA_OP_NE:
			break;
	}
	return side == KAFKA_SIDE_BOTH;
}

static bool
condition_bounds_side(List *condition, KafkaDimension dimension,
					  KafkaBoundSide side)
{
	KafkaNodeKind kind;
	KafkaLeaf leaf;
	ListCell *lc;

	check_stack_depth();

	if (condition == NIL)
		return false;
	kind = kafka_node_kind(condition);
	switch (kind)
	{
		case KAFKA_NODE_NOTHING:
			return true;
		case KAFKA_NODE_AND:
		case KAFKA_NODE_OR:
			for_each_from(lc, condition, 1)
			{
				/* one bounded child decides an AND, an unbounded one an OR */
				if (condition_bounds_side(lfirst(lc), dimension, side) ==
					(kind == KAFKA_NODE_AND))
					return kind == KAFKA_NODE_AND;
			}
			return kind == KAFKA_NODE_OR;
		default:
			leaf = kafka_node_leaf(condition);
			return leaf_bounds_side(&leaf, dimension, side);
	}
}

bool
kafka_pushdown_bounds_start(List *condition, KafkaDimension dimension)
{
	return condition_bounds_side(condition, dimension, KAFKA_SIDE_START);
}

bool
kafka_pushdown_bounds_end(List *condition, KafkaDimension dimension)
{
	return condition_bounds_side(condition, dimension, KAFKA_SIDE_END);
}

static char *
describe_leaf(const DescribeState *state, const KafkaLeaf *leaf)
{
	static const char *const signs[] = {
		[KAFKA_OP_LT] = "<",  [KAFKA_OP_LE] = "<=", [KAFKA_OP_EQ] = "=",
		[KAFKA_OP_GE] = ">=", [KAFKA_OP_GT] = ">",  [KAFKA_OP_NE] = "<>",
	};
	const char *name = state->names[leaf->form.dimension];
	char *value;

	if (!leaf_bounds_side(leaf, state->dimension, state->side))
		return NULL;
	if (leaf->text >= 0)
		name = state->deparse(list_nth(state->texts, leaf->text), state->arg);
	value = state->deparse(list_nth(state->exprs, leaf->value), state->arg);
	switch (leaf->kind)
	{
		case KAFKA_NODE_ANY:
			return psprintf("%s %s ANY (%s)", name, signs[leaf->op], value);
		case KAFKA_NODE_ALL:
			return psprintf("%s %s ALL (%s)", name, signs[leaf->op], value);
		case KAFKA_NODE_DISTINCT:
			return psprintf("%s IS %sDISTINCT FROM %s", name,
							leaf->op == KAFKA_OP_EQ ? "NOT " : "", value);
		case KAFKA_NODE_CONTAINED:
			return psprintf("%s <@ %s", name, value);
		default:
			return psprintf("%s %s %s", name, signs[leaf->op], value);
	}
}

/*
 * "(a) OR (b)", "a AND ((b) OR (c))"; without the outer parentheses where one
 * part is all there is to tell of an AND.
 */
static char *
describe_junction(const DescribeState *state, List *condition)
{
	bool conjunction = kafka_node_kind(condition) == KAFKA_NODE_AND;
	List *parts = NIL; /* of the condition */
	List *texts = NIL;
	StringInfoData result;
	ListCell *lc;
	ListCell *lc2;

	for_each_from(lc, condition, 1)
	{
		char *text = describe_condition(state, lfirst(lc));

		if (text == NULL && !conjunction)
			return NULL;
		if (text == NULL)
			continue;
		parts = lappend(parts, lfirst(lc));
		texts = lappend(texts, text);
	}
	if (list_length(texts) <= 1)
		return texts == NIL ? NULL : linitial(texts);
	initStringInfo(&result);
	forboth(lc, parts, lc2, texts)
	{
		bool parenthesize =
			!conjunction || kafka_node_kind(lfirst(lc)) == KAFKA_NODE_OR;

		if (result.len > 0)
			appendStringInfoString(&result, conjunction ? " AND " : " OR ");
		appendStringInfo(&result, parenthesize ? "(%s)" : "%s",
						 (char *) lfirst(lc2));
	}
	return result.data;
}

static char *
describe_condition(const DescribeState *state, List *condition)
{
	KafkaLeaf leaf;

	check_stack_depth();

	switch (kafka_node_kind(condition))
	{
		case KAFKA_NODE_NOTHING:
			return pstrdup("false");
		case KAFKA_NODE_AND:
		case KAFKA_NODE_OR:
			return describe_junction(state, condition);
		default:
			leaf = kafka_node_leaf(condition);
			return describe_leaf(state, &leaf);
	}
}

char *
kafka_pushdown_describe(List *condition, KafkaDimension dimension,
						KafkaBoundSide side, const char *const *names,
						List *exprs, KafkaDeparse deparse, void *arg)
{
	DescribeState state = {dimension, side, names, exprs, deparse, arg, NIL};

	if (condition == NIL)
		return NULL;
	if (exprs != NIL && IsA(llast(exprs), List))
		state.texts = llast(exprs);
	return describe_condition(&state, condition);
}
