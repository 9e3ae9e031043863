/*-------------------------------------------------------------------------
 *
 * template.c
 *		SQL expressions with parameters, which the registry of aggregates has.
 *
 * A template is parsed by PostgreSQL, and wherever it has a parameter the parser
 * asks for the node to stand there: the analyzed argument itself.  So nothing
 * that a query says can change how a template is read.
 *
 * IDENTIFICATION
 *		src/rollup/template.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "nodes/nodeFuncs.h"
#include "parser/parse_collate.h"
#include "parser/parse_expr.h"
#include "parser/parser.h"
#include "rollup/analyze.h"
#include "utils/builtins.h"
#include "utils/guc.h"

typedef struct TemplateParams
{
	Node **nodes;
	int count;
} TemplateParams;

static Node *
replace_param(ParseState *pstate, ParamRef *param)
{
	TemplateParams *params = (TemplateParams *) pstate->p_ref_hook_state;

	if (param->number < 1 || param->number > params->count)
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_PARAMETER),
						errmsg("there is no parameter $%d", param->number),
						parser_errposition(pstate, param->location)));
	if (params->nodes[param->number - 1] == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("the foreign table has no columns for the partition "
						"and the offset of a message"),
				 errdetail("The aggregate needs them to put messages of the "
						   "same time into an order."),
				 errhint("Add columns with the options partition 'true' and "
						 "offset 'true' to the foreign table.")));
	return copyObject(params->nodes[param->number - 1]);
}

/* Is this SELECT nothing but its one expression? */
static bool
is_bare_expression(const SelectStmt *select)
{
	ResTarget *target;

	if (list_length(select->targetList) != 1 ||
		select->distinctClause != NIL || select->fromClause != NIL ||
		select->whereClause != NULL || select->groupClause != NIL ||
		select->havingClause != NULL || select->windowClause != NIL ||
		select->sortClause != NIL || select->limitCount != NULL ||
		select->limitOffset != NULL || select->lockingClause != NIL)
		return false;
	target = linitial_node(ResTarget, select->targetList);
	return target->name == NULL && target->indirection == NIL &&
		   !(IsA(target->val, ColumnRef) &&
			 IsA(llast(((ColumnRef *) target->val)->fields), A_Star));
}

/* Parses text that must be one expression and nothing else. */
static Node *
parse_expression(const char *text)
{
	List *statements = raw_parser(text, RAW_PARSE_PLPGSQL_EXPR);
	SelectStmt *select =
		(SelectStmt *) linitial_node(RawStmt, statements)->stmt;

	if (!is_bare_expression(select))
		ereport(ERROR, (errcode(ERRCODE_SYNTAX_ERROR),
						errmsg("\"%s\" is not an expression", text)));
	return linitial_node(ResTarget, select->targetList)->val;
}

static bool
has_subquery_walker(Node *node, void *context)
{
	if (node == NULL)
		return false;
	return IsA(node, SubLink) ||
		   raw_expression_tree_walker(node, has_subquery_walker, context);
}

/*
 * Arguments are columns of the query that the text is analyzed for, and there
 * is no query around it here that has them: a subquery, which looks for them
 * there, would have the parser read beyond the end of its range table.  So it
 * must not come to that.
 */
static Node *
parse_template(const char *text)
{
	Node *expression = parse_expression(text);

	if (has_subquery_walker(expression, NULL))
		ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
						errmsg("an expression of kafka.rollup_aggregate has a "
							   "subquery")));
	return expression;
}

static void
tell_template(void *arg)
{
	errcontext("expression \"%s\" of kafka.rollup_aggregate",
			   (const char *) arg);
}

Node *
kafka_template_analyze(const char *text, Node **params, int nparams,
					   const char *schema, bool allow_aggregates)
{
	TemplateParams context = {params, nparams};
	ParseState *pstate = make_parsestate(NULL);
	ErrorContextCallback placing;
	ErrorContextCallback telling;
	const char *path = schema ? psprintf("pg_catalog, kafka, %s, pg_temp",
										 quote_identifier(schema))
							  : "pg_catalog, kafka, pg_temp";
	int level = kafka_analysis_fix_settings(path);
	Node *node;

	kafka_analysis_push_text(&placing, text);
	telling.callback = tell_template;
	telling.arg = unconstify(char *, text);
	telling.previous = error_context_stack;
	error_context_stack = &telling;

	pstate->p_sourcetext = text;
	pstate->p_ref_hook_state = &context;
	pstate->p_paramref_hook = replace_param;
	node =
		transformExpr(pstate, parse_template(text), EXPR_KIND_SELECT_TARGET);
	assign_expr_collations(pstate, node);
	if (pstate->p_hasWindowFuncs || pstate->p_hasTargetSRFs ||
		(pstate->p_hasAggs && !allow_aggregates))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("an expression of kafka.rollup_aggregate has a window "
						"or set-returning function, or an aggregate where "
						"none is allowed")));

	error_context_stack = placing.previous;
	AtEOXact_GUC(true, level);
	free_parsestate(pstate);
	return node;
}
