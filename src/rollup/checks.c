/*-------------------------------------------------------------------------
 *
 * checks.c
 *		The view of checks: what decides whether a message is counted.
 *
 * It has a row for each message, whatever the query's WHERE says, so that it
 * can be told of every message what became of it.  But a message that WHERE
 * leaves out passes all checks: that others in the topic are late or do not meet
 * expect is no concern of this rollup.  For these, the conditions of WHERE that
 * look at joined tables as well are not asked.  For the unique key all of FROM
 * and WHERE is: a message that an inner join leaves out is not counted, and
 * must not keep a copy from being counted once there is a row to join it to.
 * It is asked in EXISTS, in the target list, where the planner does not make a
 * join of it: the view's rows have to come in the order of the messages.
 *
 * IDENTIFICATION
 *		src/rollup/checks.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "catalog/namespace.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_type.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "parser/parse_coerce.h"
#include "parser/parse_collate.h"
#include "parser/parse_expr.h"
#include "parser/parse_func.h"
#include "parser/parse_relation.h"
#include "parser/parser.h"
#include "parser/parsetree.h"
#include "rewrite/rewriteManip.h"
#include "rollup/analyze.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/ruleutils.h"

/* ----------------------------------------------------------------
 * Expressions over the source row
 * ----------------------------------------------------------------
 */

/* Does an expression use the source's row alone? */
static bool
is_of_source(const KafkaAnalysis *analysis, Node *node)
{
	Bitmapset *source = bms_make_singleton(analysis->source_index);

	return !checkExprHasSubLink(node) &&
		   bms_is_subset(pull_varnos(NULL, node), source);
}

static Var *
find_timestamp_column(const KafkaAnalysis *analysis)
{
	for (int i = 0; i < analysis->nsource_columns; i++)
	{
		const KafkaColumnOptions *column = &analysis->source_columns[i];
		Oid type;
		int32 typmod;
		Oid collation;

		if (column->dropped || column->role != KAFKA_ROLE_TIMESTAMP)
			continue;
		get_atttypetypmodcoll(analysis->source, column->attnum, &type, &typmod,
							  &collation);
		return makeVar(analysis->source_index, column->attnum, type, typmod,
					   collation, 0);
	}
	return NULL;
}

/*
 * The time that a message is judged by, as an expression over the source row
 * alone; NULL where there is none.
 */
static Node *
make_source_time(const KafkaAnalysis *analysis)
{
	Node *time = NULL;

	if (analysis->time != NULL && is_of_source(analysis, analysis->time))
		time = analysis->time;
	else
		time = (Node *) find_timestamp_column(analysis);
	if (time == NULL)
		return NULL;
	return coerce_to_target_type(NULL, copyObject(time), exprType(time),
								 TIMESTAMPTZOID, -1, COERCION_EXPLICIT,
								 COERCE_EXPLICIT_CAST, -1);
}

/* SELECT of these targets, whose columns are the source's, FROM the source. */
static char *
deparse_select(const KafkaAnalysis *analysis, List *targets)
{
	Query *query = makeNode(Query);
	RangeTblEntry *entry =
		copyObject(rt_fetch(analysis->source_index, analysis->query->rtable));
	RangeTblRef *reference = makeNode(RangeTblRef);
	int level = kafka_analysis_fix_settings("pg_catalog, pg_temp");
	char *text;

	reference->rtindex = 1;
	query->commandType = CMD_SELECT;
	query->canSetTag = true;
	query->rtable = list_make1(entry);
	query->jointree = makeFromExpr(list_make1(reference), NULL);
	query->targetList = copyObject(targets);
	query->hasSubLinks = checkExprHasSubLink((Node *) targets);
	if (analysis->source_index != 1)
		ChangeVarNodes((Node *) query->targetList, analysis->source_index, 1,
					   0);
	text = pg_get_querydef(query, false);
	AtEOXact_GUC(true, level);
	return text;
}

/* ----------------------------------------------------------------
 * expect and unique_key
 * ----------------------------------------------------------------
 */

/*
 * Parses SQL text over the source row into a list of expressions.  name is what
 * messages call it.
 */
static List *
parse_over_source(const KafkaAnalysis *analysis, const char *text,
				  const char *name)
{
	List *statements = raw_parser(text, RAW_PARSE_PLPGSQL_EXPR);
	SelectStmt *select =
		(SelectStmt *) linitial_node(RawStmt, statements)->stmt;
	List *expressions = NIL;
	ListCell *cell;

	if (select->targetList == NIL || select->distinctClause != NIL ||
		select->fromClause != NIL || select->whereClause != NULL ||
		select->groupClause != NIL || select->havingClause != NULL ||
		select->windowClause != NIL || select->sortClause != NIL ||
		select->limitCount != NULL || select->limitOffset != NULL ||
		select->lockingClause != NIL)
		ereport(ERROR, (errcode(ERRCODE_SYNTAX_ERROR),
						errmsg("%s must be an expression over the columns of "
							   "the foreign table",
							   name)));
	foreach(cell, select->targetList)
	{
		ResTarget *target = lfirst_node(ResTarget, cell);

		if (target->name != NULL || target->indirection != NIL ||
			(IsA(target->val, ColumnRef) &&
			 IsA(llast(((ColumnRef *) target->val)->fields), A_Star)))
			ereport(ERROR,
					(errcode(ERRCODE_SYNTAX_ERROR),
					 errmsg("%s must be an expression over the columns of the "
							"foreign table",
							name)));
		expressions = lappend(expressions, target->val);
	}
	return expressions;
}

/* Analyzes one expression over the source row. */
static Node *
analyze_over_source(const KafkaAnalysis *analysis, ParseState *pstate,
					Node *expression, const char *name)
{
	KafkaAnalysis place = *analysis;
	Node *node = transformExpr(pstate, expression, EXPR_KIND_WHERE);

	/* what is refused is in this text, not in the query */
	place.text = pstate->p_sourcetext;
	if (pstate->p_hasSubLinks)
		ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
						errmsg("%s cannot have a subquery", name)));
	kafka_analysis_refuse_mutable(&place, node);
	return node;
}

static ParseState *
make_source_state(const KafkaAnalysis *analysis, Relation source,
				  const char *text)
{
	RangeTblEntry *entry =
		rt_fetch(analysis->source_index, analysis->query->rtable);
	ParseState *pstate = make_parsestate(NULL);
	ParseNamespaceItem *item;

	pstate->p_sourcetext = text;
	item = addRangeTableEntryForRelation(pstate, source, AccessShareLock,
										 copyObject(entry->alias), entry->inh,
										 true);
	addNSItemToQuery(pstate, item, true, true, true);
	return pstate;
}

/* Analyzes expect or unique_key; their columns are numbered as the query's. */
static List *
analyze_checks(const KafkaAnalysis *analysis, const char *text,
			   const char *name, bool is_condition)
{
	Relation source = table_open(analysis->source, AccessShareLock);
	ErrorContextCallback callback;
	ParseState *pstate;
	List *nodes = NIL;
	List *raw;
	ListCell *cell;

	kafka_analysis_push_text(&callback, text);
	raw = parse_over_source(analysis, text, name);
	if (is_condition && list_length(raw) != 1)
		ereport(ERROR, (errcode(ERRCODE_SYNTAX_ERROR),
						errmsg("%s must be one condition", name)));
	pstate = make_source_state(analysis, source, text);
	foreach(cell, raw)
	{
		Node *node = analyze_over_source(analysis, pstate, lfirst(cell), name);

		if (is_condition)
			node = coerce_to_boolean(pstate, node, name);
		else
			node =
				coerce_type(pstate, node, exprType(node),
							exprType(node) == UNKNOWNOID ? TEXTOID
														 : exprType(node),
							-1, COERCION_IMPLICIT, COERCE_IMPLICIT_CAST, -1);
		assign_expr_collations(pstate, node);
		if (analysis->source_index != 1)
			ChangeVarNodes(node, 1, analysis->source_index, 0);
		nodes = lappend(nodes, node);
	}
	error_context_stack = callback.previous;
	free_parsestate(pstate);
	table_close(source, NoLock);
	return nodes;
}

/* kafka.key_hash(expressions) */
static Node *
make_key_hash(const KafkaAnalysis *analysis, const char *text)
{
	List *arguments = analyze_checks(analysis, text, "unique_key", false);
	Oid any = ANYOID;
	Oid function =
		LookupFuncName(list_make2(makeString("kafka"), makeString("key_hash")),
					   1, &any, false);

	if (list_length(arguments) > FUNC_MAX_ARGS)
		ereport(ERROR, (errcode(ERRCODE_TOO_MANY_ARGUMENTS),
						errmsg("unique_key cannot have more than %d "
							   "expressions",
							   FUNC_MAX_ARGS)));
	return (Node *) makeFuncExpr(function, UUIDOID, arguments, InvalidOid,
								 DEFAULT_COLLATION_OID, COERCE_EXPLICIT_CALL);
}

/* ----------------------------------------------------------------
 * The view
 * ----------------------------------------------------------------
 */

/* The conditions of WHERE that the source row alone decides. */
static Node *
find_source_filter(const KafkaAnalysis *analysis)
{
	List *found = NIL;
	List *conjuncts =
		kafka_analysis_list_conjuncts(analysis->query->jointree->quals);
	ListCell *cell;

	foreach(cell, conjuncts)
	{
		Node *resolved =
			flatten_join_alias_vars(analysis->query, lfirst(cell));

		if (is_of_source(analysis, resolved))
			found = lappend(found, resolved);
	}
	if (found == NIL)
		return NULL;
	return (Node *) make_ands_explicit(found);
}

/* CASE WHEN filter THEN value ELSE otherwise END */
static Node *
make_filtered(Node *filter, Node *value, Node *otherwise)
{
	CaseExpr *choice;
	CaseWhen *when;

	if (filter == NULL)
		return value;
	when = makeNode(CaseWhen);
	when->expr = (Expr *) copyObject(filter);
	when->result = (Expr *) value;
	when->location = -1;
	choice = makeNode(CaseExpr);
	choice->casetype = exprType(value);
	choice->casecollid = exprCollation(value);
	choice->args = list_make1(when);
	choice->defresult = (Expr *) otherwise;
	choice->location = -1;
	return (Node *) choice;
}

static Node *
make_null(Oid type)
{
	return (Node *) makeNullConst(type, -1, InvalidOid);
}

/* Is it for more than the source's row to say whether a message is selected? */
static bool
asks_others(const KafkaAnalysis *analysis)
{
	List *conjuncts =
		kafka_analysis_list_conjuncts(analysis->query->jointree->quals);
	ListCell *cell;

	foreach(cell, conjuncts)
	{
		if (!is_of_source(analysis, flatten_join_alias_vars(analysis->query,
															lfirst(cell))))
			return true;
	}
	return analysis->has_inner_join;
}

/*
 * (SELECT the source's columns), the source's row of two query levels above,
 * in place of the source: all columns keep their numbers.
 */
static void
replace_source(const KafkaAnalysis *analysis, RangeTblEntry *entry)
{
	Relation source = table_open(analysis->source, AccessShareLock);
	TupleDesc desc = RelationGetDescr(source);
	Query *row = makeNode(Query);

	row->commandType = CMD_SELECT;
	row->canSetTag = true;
	row->jointree = makeFromExpr(NIL, NULL);
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute attribute = TupleDescAttr(desc, i);
		Expr *value =
			attribute->attisdropped
				? (Expr *) makeNullConst(INT4OID, -1, InvalidOid)
				: (Expr *) makeVar(analysis->source_index, i + 1,
								   attribute->atttypid, attribute->atttypmod,
								   attribute->attcollation, 2);

		row->targetList =
			lappend(row->targetList,
					makeTargetEntry(value, i + 1,
									pstrdup(attribute->attisdropped
												? psprintf("dropped%d", i)
												: NameStr(attribute->attname)),
									false));
	}
	table_close(source, NoLock);
	entry->rtekind = RTE_SUBQUERY;
	entry->subquery = row;
	entry->relid = InvalidOid;
	entry->relkind = 0;
	entry->rellockmode = 0;
	entry->requiredPerms = 0;
	entry->inh = false;
}

/* EXISTS (SELECT FROM ... WHERE ...) as in the query, for the source's row */
static Node *
make_selected(const KafkaAnalysis *analysis)
{
	Query *query = makeNode(Query);
	SubLink *exists = makeNode(SubLink);

	query->commandType = CMD_SELECT;
	query->canSetTag = true;
	query->rtable = copyObject(analysis->query->rtable);
	query->jointree = copyObject(analysis->query->jointree);
	query->hasSubLinks = analysis->query->hasSubLinks;
	query->targetList =
		list_make1(makeTargetEntry((Expr *) makeBoolConst(true, false), 1,
								   "selected", false));
	replace_source(analysis, rt_fetch(analysis->source_index, query->rtable));
	exists->subLinkType = EXISTS_SUBLINK;
	exists->subselect = (Node *) query;
	exists->location = -1;
	return (Node *) exists;
}

KafkaCheckNodes
kafka_analysis_make_checks(const KafkaAnalysis *analysis,
						   const KafkaRollupChecks *checks)
{
	Node *filter = find_source_filter(analysis);
	Node *passes = makeBoolConst(true, false);
	Node *time = make_source_time(analysis);
	Node *key_hash = make_null(UUIDOID);
	Node *bucket = make_null(TIMESTAMPTZOID);

	if (checks->expect != NULL)
		passes =
			make_filtered(filter,
						  linitial(analyze_checks(analysis, checks->expect,
												  "expect", true)),
						  makeBoolConst(true, false));
	if (checks->wants_time && time == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("foreign table \"%s\" has no column for the time of a "
						"message",
						get_rel_name(analysis->source)),
				 errdetail("The options late_limit, future_limit and "
						   "unique_key need one."),
				 errhint("Add a column with the option timestamp 'true' to "
						 "the foreign table.")));
	if (time == NULL)
		time = make_null(TIMESTAMPTZOID);
	if (checks->unique_key != NULL)
	{
		key_hash = make_key_hash(analysis, checks->unique_key);
		if (asks_others(analysis))
			key_hash = make_filtered(make_selected(analysis), key_hash,
									 make_null(UUIDOID));
		key_hash = make_filtered(filter, key_hash, make_null(UUIDOID));
	}
	time = make_filtered(filter, time, make_null(TIMESTAMPTZOID));
	if (analysis->bucket != NULL &&
		is_of_source(analysis, (Node *) analysis->bucket->expr))
	{
		bucket = copyObject((Node *) analysis->bucket->expr);
		bucket = make_filtered(filter, bucket, make_null(exprType(bucket)));
	}
	return (KafkaCheckNodes){passes, time, key_hash, bucket};
}

char *
kafka_analysis_generate_checks(const KafkaAnalysis *analysis,
							   const KafkaCheckNodes *nodes)
{
	List *targets =
		list_make3(makeTargetEntry((Expr *) nodes->passes, 1, "passes", false),
				   makeTargetEntry((Expr *) nodes->time, 2, "time", false),
				   makeTargetEntry((Expr *) nodes->key_hash, 3, "key_hash",
								   false));

	return deparse_select(analysis, targets);
}
