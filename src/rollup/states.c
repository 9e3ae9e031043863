/*-------------------------------------------------------------------------
 *
 * states.c
 *		The view of states: what a batch of messages adds to storage.
 *
 * Everything that is computed of a row alone, group columns, filters and the
 * aggregates' arguments, is computed in a subquery, which OFFSET 0 keeps from
 * being pulled up.  Otherwise a plan that sorts would first read all rows and
 * then compute the arguments; so an error is raised while the scan is at the
 * row that is at fault, and isolate.c finds it at once.
 *
 * IDENTIFICATION
 *		src/rollup/states.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "rewrite/rewriteManip.h"
#include "rollup/analyze.h"
#include "utils/ruleutils.h"

/* The query of states, and the query of rows that it reads. */
typedef struct StatesContext
{
	const KafkaAnalysis *analysis;
	List *rows; /* of TargetEntry *: what is computed of each row */
} StatesContext;

/* The expression as a column of the query of rows. */
static Node *
make_row_column(StatesContext *context, Node *expression)
{
	int count = list_length(context->rows);
	int column = 0;

	while (column < count &&
		   !equal(list_nth_node(TargetEntry, context->rows, column)->expr,
				  expression))
		column++;
	if (column == count)
		context->rows =
			lappend(context->rows,
					makeTargetEntry(copyObject((Expr *) expression), count + 1,
									psprintf("c%d", count + 1), false));
	return (Node *) makeVar(1, column + 1, exprType(expression),
							exprTypmod(expression), exprCollation(expression),
							0);
}

/*
 * An argument is computed only for rows that pass the aggregate's filter, and
 * so it must be here: sum(1 / x) FILTER (WHERE x <> 0).
 */
static Node *
make_row_argument(StatesContext *context, Node *argument, Expr *filter)
{
	CaseExpr *guarded;
	CaseWhen *when;

	if (!contain_var_clause(argument))
		return argument;
	if (filter == NULL || IsA(argument, Var))
		return make_row_column(context, argument);
	when = makeNode(CaseWhen);
	when->expr = filter;
	when->result = (Expr *) argument;
	when->location = -1;
	guarded = makeNode(CaseExpr);
	guarded->casetype = exprType(argument);
	guarded->casecollid = exprCollation(argument);
	guarded->args = list_make1(when);
	guarded->defresult =
		(Expr *) makeNullConst(guarded->casetype, exprTypmod(argument),
							   guarded->casecollid);
	guarded->location = -1;
	return make_row_column(context, (Node *) guarded);
}

/* Puts columns of the query of rows in the places of what is computed there. */
static Node *
states_mutator(Node *node, StatesContext *context)
{
	ListCell *cell;

	if (node == NULL)
		return NULL;
	foreach(cell, context->analysis->keys)
	{
		if (equal(lfirst_node(TargetEntry, cell)->expr, node))
			return make_row_column(context, node);
	}
	if (IsA(node, Aggref))
	{
		Aggref *aggref = copyObject((Aggref *) node);

		foreach(cell, aggref->args)
		{
			TargetEntry *argument = lfirst_node(TargetEntry, cell);

			argument->expr =
				(Expr *) make_row_argument(context, (Node *) argument->expr,
										   aggref->aggfilter);
		}
		if (aggref->aggfilter)
			aggref->aggfilter =
				(Expr *) make_row_column(context, (Node *) aggref->aggfilter);
		return (Node *) aggref;
	}
	return expression_tree_mutator(node, states_mutator, context);
}

/* The columns of the view of states, as the analyzed query would have them. */
static List *
list_states(const KafkaAnalysis *analysis, const KafkaRollupSpec *spec)
{
	Node *count = kafka_template_analyze("count(*)", NULL, 0, NULL, true);
	List *targets = NIL;
	ListCell *cell;

	foreach(cell, analysis->keys)
		targets = lappend(targets, copyObject(lfirst(cell)));
	foreach(cell, analysis->aggregates)
	{
		KafkaAggregateUse *use = lfirst(cell);
		ListCell *state;

		foreach(state, use->states)
			targets =
				lappend(targets, makeTargetEntry(copyObject(lfirst(state)), 0,
												 NULL, false));
	}
	targets =
		lappend(targets, makeTargetEntry((Expr *) count, 0,
										 KAFKA_ROLLUP_ROWS_SELECTED, false));
	foreach(cell, targets)
	{
		TargetEntry *target = lfirst_node(TargetEntry, cell);
		int index = foreach_current_index(cell);

		target->resno = index + 1;
		if (index < list_length(spec->columns))
			target->resname =
				((KafkaRollupColumn *) list_nth(spec->columns, index))->name;
	}
	return targets;
}

/* The query whose columns are what the states are made of, row by row. */
static RangeTblEntry *
make_rows(const StatesContext *context)
{
	Query *rows = copyObject(context->analysis->query);
	RangeTblEntry *entry = makeNode(RangeTblEntry);
	List *names = NIL;
	ListCell *cell;

	rows->targetList = context->rows;
	rows->groupClause = NIL;
	rows->hasAggs = false;
	rows->limitOffset =
		(Node *) makeConst(INT8OID, -1, InvalidOid, sizeof(int64),
						   Int64GetDatum(0), false, FLOAT8PASSBYVAL);
	foreach(cell, context->rows)
		names = lappend(names,
						makeString(lfirst_node(TargetEntry, cell)->resname));
	entry->rtekind = RTE_SUBQUERY;
	entry->subquery = rows;
	entry->alias = makeAlias("rows", NIL);
	entry->eref = makeAlias("rows", names);
	entry->inFromCl = true;
	return entry;
}

char *
kafka_analysis_generate_tail(const KafkaAnalysis *analysis,
							 const KafkaRollupSpec *spec, Node *condition)
{
	Query *query = copyObject(analysis->query);
	Node *quals = query->jointree->quals;

	query->targetList = list_states(analysis, spec);
	query->hasAggs = true; /* rows_selected */
	query->hasSubLinks |= checkExprHasSubLink(condition);
	query->jointree->quals =
		quals == NULL
			? condition
			: (Node *) makeBoolExpr(AND_EXPR, list_make2(quals, condition),
									-1);
	return pg_get_querydef(query, false);
}

char *
kafka_analysis_generate_states(const KafkaAnalysis *analysis,
							   const KafkaRollupSpec *spec)
{
	StatesContext context = {analysis, NIL};
	Query *query = makeNode(Query);
	RangeTblRef *from = makeNode(RangeTblRef);
	ListCell *cell;

	query->targetList = list_states(analysis, spec);
	foreach(cell, query->targetList)
	{
		TargetEntry *target = lfirst_node(TargetEntry, cell);

		target->expr =
			(Expr *) states_mutator((Node *) target->expr, &context);
	}
	from->rtindex = 1;
	query->commandType = CMD_SELECT;
	query->canSetTag = true;
	query->hasAggs = true;
	query->groupClause = copyObject(analysis->query->groupClause);
	query->rtable = list_make1(make_rows(&context));
	query->jointree = makeFromExpr(list_make1(from), NULL);
	return pg_get_querydef(query, false);
}
