/*-------------------------------------------------------------------------
 *
 * pushdown.c
 *		From WHERE clauses to bounds on partition, offset and record time.
 *
 * This file builds conditions; pushdown_evaluate.c computes their bounds and
 * pushdown_explain.c says what they are.  What is not understood is NIL here,
 * "everything": an AND goes on without it, an OR becomes everything itself,
 * for leaving out the arm would lose its rows.
 *
 * NOT is carried down to the leaves while building.  A row passes NOT x when
 * x is false, not when x is not true; so De Morgan holds with NULLs as well,
 * and a comparison is negated by its negator alone.
 *
 * Only strict operators are understood: whatever a NULL is compared with, or
 * however that is negated, the row does not pass.
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
#include "fdw/pushdown.h"
#include "fdw/pushdown_node.h"
#include "miscadmin.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/clauses.h"
#include "optimizer/optimizer.h"
#include "rewrite/rewriteManip.h"
#include "utils/lsyscache.h"
#include "utils/typcache.h"

/* The finest typmod of timestamptz that changes no millisecond. */
#define MILLISECOND_PRECISION 3

typedef struct BuildState
{
	const KafkaPushdownColumns *columns;
	List *exprs; /* value expressions so far */
} BuildState;

static List *build_condition(BuildState *state, Node *clause, bool negate);

static KafkaOp
negate_op(KafkaOp op)
{
	switch (op)
	{
		case KAFKA_OP_LT:
			return KAFKA_OP_GE;
		case KAFKA_OP_LE:
			return KAFKA_OP_GT;
		case KAFKA_OP_EQ:
			return KAFKA_OP_NE;
		case KAFKA_OP_GE:
			return KAFKA_OP_LT;
		case KAFKA_OP_GT:
			return KAFKA_OP_LE;
		case KAFKA_OP_NE:
			break;
	}
	return KAFKA_OP_EQ;
}

/* The op with which "a op b" is "b op a". */
static KafkaOp
commute_op(KafkaOp op)
{
	switch (op)
	{
		case KAFKA_OP_LT:
			return KAFKA_OP_GT;
		case KAFKA_OP_LE:
			return KAFKA_OP_GE;
		case KAFKA_OP_GE:
			return KAFKA_OP_LE;
		case KAFKA_OP_GT:
			return KAFKA_OP_LT;
		case KAFKA_OP_EQ:
		case KAFKA_OP_NE:
			break;
	}
	return op;
}

static bool
is_integer_type(Oid type)
{
	return type == INT2OID || type == INT4OID || type == INT8OID;
}

/*
 * Which dimension an expression is the column of; false when it is none.
 * Other casts than a change of name are not looked through.
 */
static bool
match_column(const KafkaPushdownColumns *columns, Node *expr,
			 KafkaDimension *dimension)
{
	Var *var;
	int d;

	while (IsA(expr, RelabelType))
		expr = (Node *) ((RelabelType *) expr)->arg;
	if (!IsA(expr, Var))
		return false;
	var = (Var *) expr;
	if (var->varno != columns->relid || var->varlevelsup != 0 ||
		var->varattno <= 0)
		return false;
	for (d = 0; d < KAFKA_DIMENSION_COUNT; d++)
	{
		int32 typmod = var->vartypmod;

		if (columns->attnum[d] != var->varattno)
			continue;
		*dimension = (KafkaDimension) d;
		if (d != KAFKA_DIMENSION_TIME)
			return is_integer_type(columns->type[d]);

		/*
		 * A column rounded to seconds equals times which its record's time
		 * is half a second away from.
		 */
		(void) getBaseTypeAndTypmod(var->vartype, &typmod);
		return columns->type[d] == TIMESTAMPTZOID &&
			   (typmod < 0 || typmod >= MILLISECOND_PRECISION);
	}
	return false;
}

/*
 * What an operator means when the column is its left or its right argument,
 * and the type of its other argument.  False for operators that do not order
 * the column's type as its default operator class does, or that compare it
 * with a type other than integers, or than timestamptz.
 */
static bool
interpret_operator(const KafkaPushdownColumns *columns, Oid opno,
				   KafkaDimension dimension, bool column_left, KafkaOp *op,
				   Oid *value_type)
{
	static const KafkaOp strategies[] = {
		[BTLessStrategyNumber] = KAFKA_OP_LT,
		[BTLessEqualStrategyNumber] = KAFKA_OP_LE,
		[BTEqualStrategyNumber] = KAFKA_OP_EQ,
		[BTGreaterEqualStrategyNumber] = KAFKA_OP_GE,
		[BTGreaterStrategyNumber] = KAFKA_OP_GT,
	};
	Oid column_type = columns->type[dimension];
	Oid family =
		lookup_type_cache(column_type, TYPECACHE_BTREE_OPFAMILY)->btree_opf;
	bool negated = false;
	int strategy;
	Oid left_type;
	Oid right_type;

	if (!OidIsValid(family))
		return false;
	if (!op_in_opfamily(opno, family))
	{
		/* "<>" is in no operator family */
		opno = get_negator(opno);
		if (!OidIsValid(opno) ||
			get_op_opfamily_strategy(opno, family) != BTEqualStrategyNumber)
			return false;
		negated = true;
	}
	get_op_opfamily_properties(opno, family, false, &strategy, &left_type,
							   &right_type);
	if ((column_left ? left_type : right_type) != column_type)
		return false;
	*value_type = column_left ? right_type : left_type;
	if (dimension == KAFKA_DIMENSION_TIME ? *value_type != TIMESTAMPTZOID
										  : !is_integer_type(*value_type))
		return false;
	*op = strategies[strategy];
	if (!column_left)
		*op = commute_op(*op);
	if (negated)
		*op = negate_op(*op);
	return true;
}

/* Is there a column of the relation in the expression? */
static bool
uses_relation(Node *node, void *relid)
{
	if (node == NULL)
		return false;
	if (IsA(node, Var))
		return ((Var *) node)->varlevelsup == 0 &&
			   ((Var *) node)->varno == *(const Index *) relid;
	if (IsA(node, PlaceHolderVar) &&
		((PlaceHolderVar *) node)->phlevelsup == 0 &&
		bms_is_member(*(const Index *) relid,
					  ((PlaceHolderVar *) node)->phrels))
		return true;
	return expression_tree_walker(node, uses_relation, relid);
}

/*
 * Can the expression be computed once for a whole scan, before it reads its
 * first record, with the value it would have in the scan's filter?
 */
static bool
is_value_expression(const KafkaPushdownColumns *columns, Node *expr)
{
	Index relid = columns->relid;

	return !uses_relation(expr, &relid) && !contain_volatile_functions(expr) &&
		   !contain_subplans(expr) && !contain_agg_clause(expr) &&
		   !contain_windowfuncs(expr);
}

/* Of the inequalities only that of partitions leaves out enough to matter. */
static bool
is_worthwhile(const KafkaLeaf *leaf)
{
	if (leaf->op != KAFKA_OP_NE)
		return true;
	return leaf->dimension == KAFKA_DIMENSION_PARTITION &&
		   leaf->kind != KAFKA_NODE_ANY;
}

/* Takes a leaf without its value's number; NIL when it cannot be used. */
static List *
add_leaf(BuildState *state, KafkaLeaf *leaf, Node *value)
{
	if (!is_worthwhile(leaf) || !is_value_expression(state->columns, value))
		return NIL;
	leaf->value = list_length(state->exprs);
	state->exprs = lappend(state->exprs, value);
	return kafka_node_from_leaf(leaf);
}

/* "column op value", "value op column" */
static List *
build_comparison(BuildState *state, OpExpr *clause, bool negate)
{
	KafkaLeaf leaf = {.kind = KAFKA_NODE_COMPARE};
	Node *left;
	Node *right;
	bool column_left;

	if (list_length(clause->args) != 2)
		return NIL;
	left = linitial(clause->args);
	right = lsecond(clause->args);
	column_left = match_column(state->columns, left, &leaf.dimension);
	if (!column_left && !match_column(state->columns, right, &leaf.dimension))
		return NIL;
	if (!interpret_operator(state->columns, clause->opno, leaf.dimension,
							column_left, &leaf.op, &leaf.type))
		return NIL;
	if (negate)
		leaf.op = negate_op(leaf.op);
	return add_leaf(state, &leaf, column_left ? right : left);
}

/* "column op ANY (array)", "column op ALL (array)" and so IN and NOT IN */
static List *
build_array_comparison(BuildState *state, ScalarArrayOpExpr *clause,
					   bool negate)
{
	KafkaLeaf leaf;

	leaf.kind = clause->useOr != negate ? KAFKA_NODE_ANY : KAFKA_NODE_ALL;
	if (!match_column(state->columns, linitial(clause->args),
					  &leaf.dimension) ||
		!interpret_operator(state->columns, clause->opno, leaf.dimension, true,
							&leaf.op, &leaf.type))
		return NIL;
	if (negate)
		leaf.op = negate_op(leaf.op);
	return add_leaf(state, &leaf, lsecond(clause->args));
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
build_junction(BuildState *state, KafkaNodeKind kind, List *clauses,
			   bool negate)
{
	int nexprs = list_length(state->exprs);
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
	if (list_length(children) == 1)
		return linitial(children);
	return lcons(makeInteger((int) kind), children);
}

static List *
build_boolean(BuildState *state, BoolExpr *clause, bool negate)
{
	bool conjunction = (clause->boolop == AND_EXPR) != negate;

	if (clause->boolop == NOT_EXPR)
		return build_condition(state, linitial(clause->args), !negate);
	return build_junction(state, conjunction ? KAFKA_NODE_AND : KAFKA_NODE_OR,
						  clause->args, negate);
}

/* The condition of a clause, or of its being false; NIL is everything. */
static List *
build_condition(BuildState *state, Node *clause, bool negate)
{
	check_stack_depth();

	switch (nodeTag(clause))
	{
		case T_Const:
			return build_constant((Const *) clause, negate);
		case T_BoolExpr:
			return build_boolean(state, (BoolExpr *) clause, negate);
		case T_OpExpr:
			return build_comparison(state, (OpExpr *) clause, negate);
		case T_ScalarArrayOpExpr:
			return build_array_comparison(state, (ScalarArrayOpExpr *) clause,
										  negate);
		default:
			return NIL;
	}
}

List *
kafka_pushdown_build(const KafkaPushdownColumns *columns, List *clauses,
					 List **exprs)
{
	BuildState state = {.columns = columns, .exprs = *exprs};
	List *condition = build_junction(&state, KAFKA_NODE_AND, clauses, false);

	*exprs = state.exprs;
	return condition;
}

bool
kafka_pushdown_understands(const KafkaPushdownColumns *columns, Expr *clause)
{
	BuildState state = {.columns = columns, .exprs = NIL};

	return build_condition(&state, (Node *) clause, false) != NIL;
}
