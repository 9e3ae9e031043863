/*-------------------------------------------------------------------------
 *
 * analyze.c
 *		Which queries can be rollups.
 *
 * A rollup's storage must be the same however its messages were cut into
 * batches.  So a query may do nothing but aggregate rows into groups: every
 * row counts by itself, and what two batches made of a group can be merged.
 * Everything else is refused here by its name, at its place.
 *
 * IDENTIFICATION
 *		src/rollup/analyze.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/dependency.h"
#include "catalog/heap.h"
#include "catalog/pg_class.h"
#include "catalog/pg_proc.h"
#include "commands/extension.h"
#include "foreign/foreign.h"
#include "mb/pg_wchar.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "optimizer/tlist.h"
#include "parser/analyze.h"
#include "parser/parser.h"
#include "parser/parsetree.h"
#include "rollup/analyze.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/typcache.h"

int
kafka_analysis_position(const KafkaAnalysis *analysis, int location)
{
	if (location < 0)
		return 0;
	return errposition(pg_mbstrlen_with_len(analysis->text, location) + 1);
}

/* Turns a position in our text into an internal one, as SPI does. */
static void
place_in_text(void *arg)
{
	int position = geterrposition();

	if (position > 0)
	{
		errposition(0);
		internalerrposition(position);
		internalerrquery((const char *) arg);
	}
}

void
kafka_analysis_push_text(ErrorContextCallback *callback, const char *text)
{
	callback->callback = place_in_text;
	callback->arg = unconstify(char *, text);
	callback->previous = error_context_stack;
	error_context_stack = callback;
}

/*
 * A table is ours if its wrapper's handler belongs to this extension, whatever
 * the wrapper is called.
 */
bool
kafka_analysis_is_source(Oid relid)
{
	ForeignTable *table;
	ForeignServer *server;
	ForeignDataWrapper *wrapper;

	if (get_rel_relkind(relid) != RELKIND_FOREIGN_TABLE)
		return false;
	table = GetForeignTable(relid);
	server = GetForeignServer(table->serverid);
	wrapper = GetForeignDataWrapper(server->fdwid);
	return OidIsValid(wrapper->fdwhandler) &&
		   getExtensionOfObject(ProcedureRelationId, wrapper->fdwhandler) ==
			   get_extension_oid("kafka_fdw", false);
}

int
kafka_analysis_fix_settings(const char *search_path)
{
	static const char *const settings[][2] = {{"DateStyle", "ISO, YMD"},
											  {"IntervalStyle", "postgres"},
											  {"extra_float_digits", "1"},
											  {"array_nulls", "on"},
											  {"standard_conforming_strings",
											   "on"},
											  {"transform_null_equals",
											   "off"}};
	int level = NewGUCNestLevel();

	for (int i = 0; i < lengthof(settings); i++)
		(void) set_config_option(settings[i][0], settings[i][1], PGC_USERSET,
								 PGC_S_SESSION, GUC_ACTION_SAVE, true, 0,
								 false);
	(void) set_config_option("search_path", search_path, PGC_USERSET,
							 PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	return level;
}

/* Parses the query, which must be one SELECT. */
static void
parse_query(KafkaAnalysis *analysis)
{
	List *statements = raw_parser(analysis->text, RAW_PARSE_DEFAULT);
	RawStmt *raw;

	if (list_length(statements) != 1)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("a rollup's query must be one SELECT, not %d "
							   "statements",
							   list_length(statements))));
	raw = linitial_node(RawStmt, statements);
	if (!IsA(raw->stmt, SelectStmt) ||
		((SelectStmt *) raw->stmt)->intoClause != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("a rollup's query must be a plain SELECT"),
				 kafka_analysis_position(analysis, raw->stmt_location)));
	analysis->query =
		parse_analyze_fixedparams(raw, analysis->text, NULL, 0, NULL);
}

/* Raises the error that a clause cannot be in a rollup's query. */
static void
pg_attribute_noreturn() refuse(const KafkaAnalysis *analysis, const char *what,
							   Node *where, const char *hint)
{
	int location = -1;

	if (where != NULL && IsA(where, CommonTableExpr))
		location = ((CommonTableExpr *) where)->location;
	else if (where != NULL)
		location = exprLocation(where);
	ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					errmsg("a rollup's query cannot have %s", what),
					hint ? errhint("%s", hint) : 0,
					kafka_analysis_position(analysis, location)));
}

/* The first sort or group clause's expression, for its place. */
static Node *
find_clause_place(const Query *query, List *clauses)
{
	if (clauses == NIL)
		return NULL;
	return (Node *) get_sortgroupclause_expr(linitial(clauses),
											 query->targetList);
}

static bool
find_place_walker(Node *node, Node **found)
{
	if (node == NULL)
		return false;
	if (IsA(node, WindowFunc) || IsA(node, SubLink) ||
		(IsA(node, FuncExpr) && ((FuncExpr *) node)->funcretset) ||
		(IsA(node, OpExpr) && ((OpExpr *) node)->opretset))
	{
		*found = node;
		return true;
	}
	return expression_tree_walker(node, find_place_walker, found);
}

/* The first window function, sublink or set-returning function. */
static Node *
find_place(Node *node)
{
	Node *found = NULL;

	(void) find_place_walker(node, &found);
	return found;
}

/* Refuses the clauses that do not aggregate rows into groups. */
static void
refuse_clauses(const KafkaAnalysis *analysis)
{
	Query *query = analysis->query;
	Node *targets = (Node *) query->targetList;
	Node *place;

	if (query->cteList != NIL)
		refuse(analysis, "a WITH clause", linitial(query->cteList),
			   "Write the query with joins, or make views of its parts that "
			   "read the rollup.");
	if (query->setOperations != NULL)
		refuse(analysis, "UNION, INTERSECT or EXCEPT",
			   (Node *) rt_fetch(2, query->rtable)->subquery->targetList,
			   "Make a rollup of each part, and a view over them.");
	if (query->distinctClause != NIL)
		refuse(analysis, query->hasDistinctOn ? "DISTINCT ON" : "DISTINCT",
			   find_clause_place(query, query->distinctClause),
			   query->hasDistinctOn
				   ? "Use GROUP BY with kafka.first or kafka.last."
				   : "Use GROUP BY.");
	if (query->groupingSets != NIL)
		refuse(analysis, "grouping sets", linitial(query->groupingSets),
			   "Group by all the columns, and aggregate further in queries of "
			   "the rollup.");
	if (query->havingQual != NULL)
		refuse(analysis, "HAVING", query->havingQual,
			   "A group that fails the condition now may meet it later: put "
			   "it into queries of the rollup.");
	if (query->hasWindowFuncs)
		refuse(analysis, "window functions", find_place(targets),
			   "Use them in queries of the rollup.");
	if (query->limitCount != NULL || query->limitOffset != NULL)
		refuse(analysis, query->limitCount ? "LIMIT" : "OFFSET",
			   query->limitCount ? query->limitCount : query->limitOffset,
			   "Use it in queries of the rollup.");
	if (query->sortClause != NIL)
		refuse(analysis, "ORDER BY",
			   find_clause_place(query, query->sortClause),
			   "Use it in queries of the rollup.");
	if (query->rowMarks != NIL)
		refuse(analysis, "FOR UPDATE or FOR SHARE", NULL, NULL);
	place = find_place(targets);
	if (query->hasTargetSRFs)
		refuse(analysis, "set-returning functions", place,
			   "Each message must be one row.");
	if (query->hasSubLinks && place != NULL)
		refuse(analysis, "subqueries in its select list", place,
			   "Join the table instead, or use the subquery in queries of the "
			   "rollup.");
}

static bool
refuse_system_columns_walker(Node *node, KafkaAnalysis *analysis)
{
	if (node == NULL)
		return false;
	if (IsA(node, Var) && ((Var *) node)->varattno < 0)
		refuse(analysis, "system columns", node,
			   "A column of the foreign table with the option \"topic\", "
			   "\"partition\" or \"offset\" tells where a message is from.");
	if (IsA(node, Query))
		return query_tree_walker((Query *) node, refuse_system_columns_walker,
								 analysis, 0);
	return expression_tree_walker(node, refuse_system_columns_walker,
								  analysis);
}

/* Checks one column's name. */
static void
check_name(const KafkaAnalysis *analysis, const TargetEntry *target)
{
	int location = exprLocation((Node *) target->expr);
	ListCell *cell;

	if (strcmp(target->resname, "?column?") == 0)
		ereport(ERROR, (errcode(ERRCODE_INVALID_COLUMN_DEFINITION),
						errmsg("column %d of the rollup's query has no name",
							   target->resno),
						errhint("Name it with AS."),
						kafka_analysis_position(analysis, location)));
	if (strcmp(target->resname, KAFKA_ROLLUP_ROWS_SELECTED) == 0 ||
		SystemAttributeByName(target->resname) != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_RESERVED_NAME),
				 errmsg("column name \"%s\" is reserved", target->resname),
				 errhint("Name it otherwise with AS."),
				 kafka_analysis_position(analysis, location)));
	foreach(cell, analysis->query->targetList)
	{
		TargetEntry *other = lfirst_node(TargetEntry, cell);

		if (other == target)
			break;
		if (!other->resjunk && strcmp(other->resname, target->resname) == 0)
			ereport(ERROR,
					(errcode(ERRCODE_DUPLICATE_COLUMN),
					 errmsg("column name \"%s\" is given more than once",
							target->resname),
					 errhint("Name one of them otherwise with AS."),
					 kafka_analysis_position(analysis, location)));
	}
}

/* Checks that a group column can be part of storage's unique index. */
static void
check_key_type(const KafkaAnalysis *analysis, const TargetEntry *key)
{
	Oid type = exprType((Node *) key->expr);
	int location = exprLocation((Node *) key->expr);
	TypeCacheEntry *entry = lookup_type_cache(type, TYPECACHE_BTREE_OPFAMILY);

	if (!OidIsValid(entry->btree_opf) || get_typtype(type) == TYPTYPE_PSEUDO)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("group column \"%s\" has type %s, which has no order",
						key->resname, format_type_be(type)),
				 errhint("Cast it to a type that a btree index can have."),
				 kafka_analysis_position(analysis, location)));
}

/* Checks names and finds the group columns. */
static void
check_targets(KafkaAnalysis *analysis)
{
	Query *query = analysis->query;
	ListCell *cell;

	foreach(cell, query->targetList)
	{
		TargetEntry *target = lfirst_node(TargetEntry, cell);
		bool is_key =
			target->ressortgroupref != 0 &&
			get_sortgroupref_clause_noerr(target->ressortgroupref,
										  query->groupClause) != NULL;

		if (target->resjunk)
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("a rollup's query must select all that it groups "
							"by"),
					 errhint("Add the expression to the select list, or drop "
							 "it from GROUP BY."),
					 kafka_analysis_position(analysis,
											 exprLocation(
												 (Node *) target->expr))));
		check_name(analysis, target);
		if (!is_key)
			continue;
		check_key_type(analysis, target);
		kafka_analysis_refuse_zone(analysis, (Node *) target->expr);
		analysis->keys = lappend(analysis->keys, target);
	}
	if (list_length(analysis->keys) > INDEX_MAX_KEYS)
		ereport(ERROR,
				(errcode(ERRCODE_TOO_MANY_COLUMNS),
				 errmsg("a rollup cannot have more than %d group columns",
						INDEX_MAX_KEYS)));
	if (query->groupClause == NIL && !query->hasAggs)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("a rollup's query must aggregate"),
				 errhint("Use GROUP BY and aggregates such as count(*).")));
}

KafkaRollupSpec *
kafka_rollup_analyze(const char *query, const KafkaRollupChecks *checks)
{
	KafkaAnalysis *analysis = palloc0(sizeof(KafkaAnalysis));
	ErrorContextCallback callback;
	KafkaRollupSpec *spec;

	analysis->text = query;
	kafka_analysis_push_text(&callback, query);
	parse_query(analysis);
	refuse_clauses(analysis);
	kafka_analysis_check_from(analysis);
	refuse_system_columns_walker((Node *) analysis->query, analysis);
	kafka_analysis_refuse_mutable(analysis, (Node *) analysis->query);

	/*
	 * A column that USING merged is the one of the left side here, since
	 * there are no full joins; resolved, it equals the one in GROUP BY.
	 */
	analysis->query->targetList =
		(List *) flatten_join_alias_vars(analysis->query,
										 (Node *) analysis->query->targetList);
	check_targets(analysis);
	kafka_analysis_find_bucket(analysis);
	kafka_analysis_find_aggregates(analysis);
	spec = kafka_analysis_generate(analysis, checks);
	error_context_stack = callback.previous;
	return spec;
}
