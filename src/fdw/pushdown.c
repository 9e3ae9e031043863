/*-------------------------------------------------------------------------
 *
 * pushdown.c
 *		From WHERE clauses to bounds on partition, offset, record time and
 *		key.
 *
 * This file builds conditions: their leaves compare forms (pushdown_form.c) by
 * operators (pushdown_operator.c) with values.  pushdown_evaluate.c computes
 * their bounds and pushdown_explain.c says what they are.  What is not
 * understood is NIL here, "everything": an AND goes on without it, an OR
 * becomes everything itself, for leaving out the arm would lose its rows.
 *
 * NOT is carried down to the leaves while building.  A row passes NOT x when
 * x is false, not when x is not true; so De Morgan holds with NULLs as well,
 * and a comparison is negated by its negator alone.
 *
 * Only strict operators and functions are understood: whatever a NULL is
 * compared with, or however that is negated, the row does not pass.  IS
 * DISTINCT FROM is the exception, and has leaves of its own.
 *
 * A further kind of leaf takes a function like build_comparison, which gives
 * NIL for what it cannot judge, and a case in evaluate_leaf.
 *
 * IDENTIFICATION
 *		src/fdw/pushdown.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/stratnum.h"
#include "catalog/pg_type.h"
#include "fdw/pushdown_node.h"
#include "miscadmin.h"
#include "nodes/nodeFuncs.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"

static List *build_condition(KafkaBuildState *state, Node *clause,
							 bool negate);

/*
 * Of the inequalities only that of partitions leaves out enough to matter, and
 * only of integers is it computed.  Of a column that may be NULL, though there
 * is a partition or an offset, IS [NOT] DISTINCT FROM says nothing of these.
 */
static bool
is_worthwhile(const KafkaBuildState *state, const KafkaLeaf *leaf)
{
	if (leaf->kind == KAFKA_NODE_DISTINCT &&
		state->columns->may_be_null[leaf->form.dimension])
		return false;
	if (leaf->op != KAFKA_OP_NE)
		return true;
	return leaf->form.dimension == KAFKA_DIMENSION_PARTITION &&
		   leaf->type != NUMERICOID && leaf->kind != KAFKA_NODE_ANY;
}

/* Is it a column that EXPLAIN has a name for, that of its dimension? */
static bool
is_plain_column(const KafkaBuildState *state, Node *expr)
{
	Var *var = (Var *) expr;

	while (IsA(var, RelabelType))
		var = (Var *) ((RelabelType *) var)->arg;
	if (!IsA(var, Var))
		return false;
	for (int d = 0; d < KAFKA_DIMENSION_COUNT; d++)
	{
		if (state->columns->attnum[d] == var->varattno)
			return true;
	}
	return false;
}

/* Completes a leaf whose form and operator are known; NIL if it is no use. */
static List *
add_leaf(KafkaBuildState *state, KafkaLeaf *leaf, Node *form, Node *value)
{
	if (!is_worthwhile(state, leaf))
		return NIL;
	leaf->value = kafka_build_add_value(state, value);
	if (leaf->value < 0)
		return NIL;
	leaf->partitioner = state->columns->partitioner;
	leaf->text = -1;
	if (!is_plain_column(state, form))
	{
		leaf->text = list_length(state->texts);
		state->texts = lappend(state->texts, form);
	}
	return kafka_node_from_leaf(leaf);
}

/* "form op value" or, if the form is on the right, "value op form" */
static List *
build_one_side(KafkaBuildState *state, KafkaNodeKind kind, Oid opno,
			   Oid collation, Node *form, Node *value, bool form_is_left,
			   bool negate)
{
	KafkaLeaf leaf = {.kind = kind};
	int nexprs = list_length(state->exprs);
	List *node = NIL;

	if (!kafka_form_match(state, form, &leaf.form))
		return NIL;
	if (kafka_operator_interpret(opno, collation, form_is_left, &leaf.form,
								 &leaf.op, &leaf.type))
	{
		if (negate)
			leaf.op = kafka_op_negate(leaf.op);
		node = add_leaf(state, &leaf, form, value);
	}
	if (node == NIL)
		state->exprs = list_truncate(state->exprs, nexprs);
	return node;
}

static List *
build_operator(KafkaBuildState *state, KafkaNodeKind kind, Oid opno,
			   Oid collation, Node *left, Node *right, bool negate)
{
	List *node = build_one_side(state, kind, opno, collation, left, right,
								true, negate);

	if (node == NIL)
		node = build_one_side(state, kind, opno, collation, right, left, false,
							  negate);
	return node;
}

/*
 * "form <@ range".  What is outside of a range is two ranges, or none, and not
 * asked for.
 */
static List *
build_containment(KafkaBuildState *state, Node *form, Node *range, bool negate)
{
	KafkaLeaf leaf = {.kind = KAFKA_NODE_CONTAINED, .op = KAFKA_OP_EQ};
	int nexprs = list_length(state->exprs);
	List *node = NIL;

	leaf.type = getBaseType(exprType(range));
	if (negate || !kafka_form_match(state, form, &leaf.form))
		return NIL;
	if (kafka_operator_contains(leaf.type, &leaf.form))
		node = add_leaf(state, &leaf, form, range);
	if (node == NIL)
		state->exprs = list_truncate(state->exprs, nexprs);
	return node;
}

static List *
build_operator_clause(KafkaBuildState *state, OpExpr *clause, bool negate)
{
	Node *left;
	Node *right;

	if (list_length(clause->args) != 2)
		return NIL;
	left = linitial(clause->args);
	right = lsecond(clause->args);
	switch (get_opcode(clause->opno))
	{
		case F_ELEM_CONTAINED_BY_RANGE:
		case F_ELEM_CONTAINED_BY_MULTIRANGE:
			return build_containment(state, left, right, negate);
		case F_RANGE_CONTAINS_ELEM:
		case F_MULTIRANGE_CONTAINS_ELEM:
			return build_containment(state, right, left, negate);
		default:
			return build_operator(state, KAFKA_NODE_COMPARE, clause->opno,
								  clause->inputcollid, left, right, negate);
	}
}

/* "form op ANY (array)", "form op ALL (array)" and so IN and NOT IN */
static List *
build_array_comparison(KafkaBuildState *state, ScalarArrayOpExpr *clause,
					   bool negate)
{
	return build_one_side(state,
						  clause->useOr != negate ? KAFKA_NODE_ANY
												  : KAFKA_NODE_ALL,
						  clause->opno, clause->inputcollid,
						  linitial(clause->args), lsecond(clause->args), true,
						  negate);
}

/* "a IS DISTINCT FROM b": it has the operator of "=". */
static List *
build_distinct(KafkaBuildState *state, DistinctExpr *clause, bool negate)
{
	return build_operator(state, KAFKA_NODE_DISTINCT, clause->opno,
						  clause->inputcollid, linitial(clause->args),
						  lsecond(clause->args), !negate);
}

/*
 * "x IS TRUE" and the like.  Where x may be NULL as well nothing is known of
 * the row.
 */
static List *
build_test(KafkaBuildState *state, BooleanTest *clause, bool negate)
{
	BoolTestType type = clause->booltesttype;

	if (negate)
	{
		/* of "IS NOT TRUE" it is false what of "IS TRUE" is true */
		if (type != IS_NOT_TRUE && type != IS_NOT_FALSE)
			return NIL;
		type = type == IS_NOT_TRUE ? IS_TRUE : IS_FALSE;
	}
	if (type != IS_TRUE && type != IS_FALSE)
		return NIL;
	return build_condition(state, (Node *) clause->arg, type == IS_FALSE);
}

/* The children's conjunction or disjunction; none of them is NIL. */
static List *
join_children(KafkaNodeKind kind, List *children)
{
	if (list_length(children) == 1)
		return linitial(children);
	return lcons(makeInteger((int) kind), children);
}

static List *
build_constant(Const *clause, bool negate)
{
	if (!clause->constisnull && DatumGetBool(clause->constvalue) != negate)
		return NIL;
	return list_make1_int(KAFKA_NODE_NOTHING);
}

/* The conjunction or disjunction of clauses, each negated where asked. */
static List *
build_junction(KafkaBuildState *state, KafkaNodeKind kind, List *clauses,
			   bool negate)
{
	int nexprs = list_length(state->exprs);
	int ntexts = list_length(state->texts);
	List *children = NIL;
	ListCell *lc;

	foreach(lc, clauses)
	{
		List *child = build_condition(state, lfirst(lc), negate);
		bool everything = child == NIL;
		bool nothing =
			!everything && kafka_node_kind(child) == KAFKA_NODE_NOTHING;

		if (kind == KAFKA_NODE_OR ? everything : nothing)
		{
			/* this child decides: what the others compare with is not used */
			state->exprs = list_truncate(state->exprs, nexprs);
			state->texts = list_truncate(state->texts, ntexts);
			return child;
		}
		if (everything || nothing)
			continue;
		if (kafka_node_kind(child) == kind)
			children = list_concat(children, list_copy_tail(child, 1));
		else
			children = lappend(children, child);
	}
	if (children == NIL)
		return kind == KAFKA_NODE_OR ? list_make1_int(KAFKA_NODE_NOTHING)
									 : NIL;
	return join_children(kind, children);
}

static List *
build_boolean(KafkaBuildState *state, BoolExpr *clause, bool negate)
{
	bool conjunction = (clause->boolop == AND_EXPR) != negate;

	if (clause->boolop == NOT_EXPR)
		return build_condition(state, linitial(clause->args), !negate);
	return build_junction(state, conjunction ? KAFKA_NODE_AND : KAFKA_NODE_OR,
						  clause->args, negate);
}

/* One pair of a row comparison, with another operator of its family. */
static List *
build_pair(KafkaBuildState *state, RowCompareExpr *clause, int i, int strategy)
{
	Oid family = list_nth_oid(clause->opfamilies, i);
	Oid left_type;
	Oid right_type;
	Oid opno;
	int own_strategy;

	get_op_opfamily_properties(list_nth_oid(clause->opnos, i), family, false,
							   &own_strategy, &left_type, &right_type);
	opno = get_opfamily_member(family, left_type, right_type, strategy);
	if (!OidIsValid(opno))
		return NIL;
	return build_operator(state, KAFKA_NODE_COMPARE, opno,
						  list_nth_oid(clause->inputcollids, i),
						  list_nth(clause->largs, i),
						  list_nth(clause->rargs, i), false);
}

/* The strategy of a row comparison, or of its negation. */
static int
row_strategy(RowCompareType type, bool negate)
{
	switch (type)
	{
		case ROWCOMPARE_LT:
			return negate ? BTGreaterEqualStrategyNumber
						  : BTLessStrategyNumber;
		case ROWCOMPARE_LE:
			return negate ? BTGreaterStrategyNumber
						  : BTLessEqualStrategyNumber;
		case ROWCOMPARE_GE:
			return negate ? BTLessStrategyNumber
						  : BTGreaterEqualStrategyNumber;
		case ROWCOMPARE_GT:
			return negate ? BTLessEqualStrategyNumber
						  : BTGreaterStrategyNumber;
		default:
			return InvalidStrategy;
	}
}

/*
 * "(a, b) < (x, y)" as "a < x OR (a = x AND b < y)".  From the first pair on
 * that is not understood the rows are those where all before it are equal, so
 * that "(a, ?) < (x, y)" is "a < x OR a = x".
 */
static List *
build_row_comparison(KafkaBuildState *state, RowCompareExpr *clause,
					 bool negate)
{
	int strategy = row_strategy(clause->rctype, negate);
	bool is_less = strategy == BTLessStrategyNumber ||
				   strategy == BTLessEqualStrategyNumber;
	int npairs = list_length(clause->opnos);
	List *equal = NIL; /* of the pairs so far */
	List *arms = NIL;

	if (strategy == InvalidStrategy)
		return NIL;
	for (int i = 0; i < npairs; i++)
	{
		bool is_last = i == npairs - 1;
		List *arm = build_pair(state, clause, i,
							   is_last   ? strategy
							   : is_less ? BTLessStrategyNumber
										 : BTGreaterStrategyNumber);
		List *next = is_last || arm == NIL
						 ? NIL
						 : build_pair(state, clause, i, BTEqualStrategyNumber);

		if (i == 0 && arm == NIL)
			return NIL;
		arms =
			lappend(arms, arm == NIL ? join_children(KAFKA_NODE_AND, equal)
						  : equal == NIL
							  ? arm
							  : join_children(KAFKA_NODE_AND,
											  lappend(list_copy(equal), arm)));
		if (next == NIL)
			break;
		equal = lappend(list_copy(equal), next);
	}
	return join_children(KAFKA_NODE_OR, arms);
}

/* The condition of a clause, or of its being false; NIL is everything. */
static List *
build_condition(KafkaBuildState *state, Node *clause, bool negate)
{
	check_stack_depth();

	switch (nodeTag(clause))
	{
		case T_Const:
			return build_constant((Const *) clause, negate);
		case T_BoolExpr:
			return build_boolean(state, (BoolExpr *) clause, negate);
		case T_OpExpr:
			return build_operator_clause(state, (OpExpr *) clause, negate);
		case T_DistinctExpr:
			return build_distinct(state, (DistinctExpr *) clause, negate);
		case T_BooleanTest:
			return build_test(state, (BooleanTest *) clause, negate);
		case T_ScalarArrayOpExpr:
			return build_array_comparison(state, (ScalarArrayOpExpr *) clause,
										  negate);
		case T_RowCompareExpr:
			return build_row_comparison(state, (RowCompareExpr *) clause,
										negate);
		default:
			return NIL;
	}
}

List *
kafka_pushdown_build(const KafkaPushdownColumns *columns, List *clauses,
					 List **exprs)
{
	KafkaBuildState state = {.columns = columns, .exprs = *exprs};
	List *condition = build_junction(&state, KAFKA_NODE_AND, clauses, false);

	*exprs = state.exprs;
	return condition;
}

List *
kafka_pushdown_build_for_plan(const KafkaPushdownColumns *columns,
							  List *clauses, List **exprs, List **texts)
{
	KafkaBuildState state = {.columns = columns, .exprs = *exprs};
	List *condition = build_junction(&state, KAFKA_NODE_AND, clauses, false);

	*exprs = state.exprs;
	*texts = state.texts;
	return condition;
}

List *
kafka_pushdown_add_texts(List *exprs, List *texts)
{
	return texts == NIL ? exprs : lappend(exprs, texts);
}

List *
kafka_pushdown_values(List *exprs)
{
	if (exprs == NIL || !IsA(llast(exprs), List))
		return exprs;
	return list_truncate(list_copy(exprs), list_length(exprs) - 1);
}

bool
kafka_pushdown_understands(const KafkaPushdownColumns *columns, Expr *clause)
{
	KafkaBuildState state = {.columns = columns};

	return build_condition(&state, (Node *) clause, false) != NIL;
}
