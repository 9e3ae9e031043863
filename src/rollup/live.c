/*-------------------------------------------------------------------------
 *
 * live.c
 *		The SQL of the live view: storage, and what it lacks of the topic.
 *
 * The states of the tail are made by the query of states, without its OFFSET 0:
 * an error of an expression is an error of the reader's query, and conditions
 * on group columns shall reach the messages.  With storage they are brought
 * together by a GROUP BY over both, and not by a full join, which cannot match
 * NULL with NULL; so a condition on group columns reaches storage's index, too.
 * In a group are at most two rows, whose states then are merged as a run would
 * merge them.
 *
 * IDENTIFICATION
 *		src/rollup/live.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/sysattr.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_type.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "parser/parse_func.h"
#include "parser/parsetree.h"
#include "rollup/analyze.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"

/* ----------------------------------------------------------------
 * The tail
 * ----------------------------------------------------------------
 */

typedef struct ColumnSearch
{
	const KafkaAnalysis *analysis;
	int depth;          /* of the query that is looked into */
	Bitmapset *attnums; /* 0 for the whole row */
} ColumnSearch;

static bool
find_columns_walker(Node *node, ColumnSearch *search)
{
	if (node == NULL)
		return false;
	if (IsA(node, Var))
	{
		Var *var = (Var *) node;

		if (var->varno == search->analysis->source_index &&
			var->varlevelsup == search->depth && var->varattno >= 0)
			search->attnums = bms_add_member(search->attnums, var->varattno);
		return false;
	}
	if (IsA(node, Query))
	{
		search->depth++;
		(void) query_tree_walker((Query *) node, find_columns_walker, search,
								 0);
		search->depth--;
		return false;
	}
	return expression_tree_walker(node, find_columns_walker, search);
}

/*
 * ROW(all columns of the source that a run needs): of a message that is bad in
 * any of them, nothing counts, whatever of it a query of the view wants to see.
 */
static Node *
make_needed_columns(const KafkaAnalysis *analysis)
{
	ColumnSearch search = {analysis, 0, NULL};
	RowExpr *row = makeNode(RowExpr);
	Query *query = copyObject(analysis->query);
	int attnum = -1;

	/* Join aliases stand for columns, too; the walker does not see which. */
	query->jointree =
		(FromExpr *) flatten_join_alias_vars(query, (Node *) query->jointree);
	(void) query_tree_walker(query, find_columns_walker, &search,
							 QTW_IGNORE_JOINALIASES);
	while ((attnum = bms_next_member(search.attnums, attnum)) >= 0)
	{
		Oid type;
		int32 typmod;
		Oid collation;

		if (attnum == 0)
			continue;
		get_atttypetypmodcoll(analysis->source, attnum, &type, &typmod,
							  &collation);
		row->args = lappend(row->args, makeVar(analysis->source_index, attnum,
											   type, typmod, collation, 0));
		row->colnames =
			lappend(row->colnames,
					makeString(get_attname(analysis->source, attnum, false)));
	}
	if (bms_is_member(0, search.attnums))
		return (Node *) makeWholeRowVar(rt_fetch(analysis->source_index,
												 analysis->query->rtable),
										analysis->source_index, 0, false);
	row->row_typeid = RECORDOID;
	row->row_format = COERCE_EXPLICIT_CALL;
	row->location = -1;
	return (Node *) row;
}

/* kafka.in_tail(name, tableoid, ...) */
static Node *
make_condition(const KafkaAnalysis *analysis, const char *name,
			   const KafkaCheckNodes *checks)
{
	Oid types[] = {TEXTOID,        OIDOID,  RECORDOID, BOOLOID,
				   TIMESTAMPTZOID, UUIDOID, ANYOID};
	Oid function =
		LookupFuncName(list_make2(makeString("kafka"), makeString("in_tail")),
					   lengthof(types), types, false);
	List *arguments;

	arguments =
		list_make4(makeConst(TEXTOID, -1, DEFAULT_COLLATION_OID, -1,
							 CStringGetTextDatum(name), false, false),
				   makeVar(analysis->source_index, TableOidAttributeNumber,
						   OIDOID, -1, InvalidOid, 0),
				   make_needed_columns(analysis), copyObject(checks->passes));
	arguments = lappend(arguments, copyObject(checks->time));
	arguments = lappend(arguments, copyObject(checks->key_hash));
	arguments = lappend(arguments, copyObject(checks->bucket));
	return (Node *) makeFuncExpr(function, BOOLOID, arguments, InvalidOid,
								 DEFAULT_COLLATION_OID, COERCE_EXPLICIT_CALL);
}

/* ----------------------------------------------------------------
 * Storage and tail together
 * ----------------------------------------------------------------
 */

/*
 * The columns of "grouped", in this order: group columns k1 ..., states as
 * stored1 ... and as new1 ..., has_stored, has_new.
 */
static RangeTblEntry *
make_grouped_entry(const KafkaRollupSpec *spec)
{
	RangeTblEntry *entry = makeNode(RangeTblEntry);
	int nstates = list_length(spec->columns) - spec->nkeys;
	List *names = NIL;

	for (int i = 1; i <= spec->nkeys; i++)
		names = lappend(names, makeString(psprintf("k%d", i)));
	for (int i = 1; i <= nstates; i++)
		names = lappend(names, makeString(psprintf("stored%d", i)));
	for (int i = 1; i <= nstates; i++)
		names = lappend(names, makeString(psprintf("new%d", i)));
	names = lappend(names, makeString("has_stored"));
	names = lappend(names, makeString("has_new"));
	entry->rtekind = RTE_NAMEDTUPLESTORE;
	entry->enrname = "grouped";
	entry->alias = makeAlias("grouped", NIL);
	entry->eref = makeAlias("grouped", names);
	return entry;
}

/* A column of storage as "grouped" has it: stored or new. */
static Node *
make_grouped_column(const KafkaRollupSpec *spec, int index, bool is_new)
{
	KafkaRollupColumn *column = list_nth(spec->columns, index);
	int nstates = list_length(spec->columns) - spec->nkeys;
	bool is_key = index < spec->nkeys;

	/* an aggregate's result has no typmod */
	return (Node *) makeVar(1, index + 1 + (is_new ? nstates : 0),
							column->type, is_key ? column->typmod : -1,
							column->collation, 0);
}

static Expr *
make_flag(const KafkaRollupSpec *spec, bool is_new)
{
	int nstates = list_length(spec->columns) - spec->nkeys;

	return (Expr *) makeVar(1, spec->nkeys + 2 * nstates + (is_new ? 2 : 1),
							BOOLOID, -1, InvalidOid, 0);
}

static CaseWhen *
make_when(Expr *condition, Node *result)
{
	CaseWhen *when = makeNode(CaseWhen);

	when->expr = condition;
	when->result = (Expr *) result;
	when->location = -1;
	return when;
}

/*
 * CASE WHEN has_stored AND has_new THEN merge WHEN has_new THEN new ELSE stored
 * END
 */
static Node *
make_state(const KafkaRollupSpec *spec, const KafkaAggregateUse *use,
		   int state)
{
	int count = list_length(use->states);
	Node **params = palloc(sizeof(Node *) * count * 2);
	int index = use->first_column + state;
	KafkaRollupColumn *column = list_nth(spec->columns, index);
	CaseExpr *choice = makeNode(CaseExpr);
	Expr *both =
		makeBoolExpr(AND_EXPR,
					 list_make2(make_flag(spec, false), make_flag(spec, true)),
					 -1);

	for (int i = 0; i < count; i++)
	{
		params[i] = make_grouped_column(spec, use->first_column + i, false);
		params[count + i] =
			make_grouped_column(spec, use->first_column + i, true);
	}
	choice->casetype = column->type;
	choice->casecollid = column->collation;
	choice->args =
		list_make2(make_when(both, kafka_analysis_make_merge(spec, use, state,
															 params)),
				   make_when(make_flag(spec, true),
							 make_grouped_column(spec, index, true)));
	choice->defresult = (Expr *) make_grouped_column(spec, index, false);
	choice->location = -1;
	return (Node *) choice;
}

/* The select list of storage's columns over "grouped". */
static char *
generate_merged(const KafkaAnalysis *analysis, const KafkaRollupSpec *spec)
{
	List *targets = NIL;
	List *nodes = NIL;
	ListCell *cell;

	for (int i = 0; i < spec->nkeys; i++)
		nodes = lappend(nodes, make_grouped_column(spec, i, false));
	foreach(cell, analysis->aggregates)
	{
		KafkaAggregateUse *use = lfirst(cell);

		for (int i = 0; i < list_length(use->states); i++)
			nodes = lappend(nodes, make_state(spec, use, i));
	}
	foreach(cell, nodes)
	{
		int index = foreach_current_index(cell);
		KafkaRollupColumn *column = list_nth(spec->columns, index);

		targets = lappend(targets, makeTargetEntry(lfirst(cell), index + 1,
												   column->name, false));
	}
	return kafka_analysis_deparse_list(list_make1(make_grouped_entry(spec)),
									   targets);
}

/* SELECT column AS k1 ..., column AS s1 ..., is_new */
static void
append_part(StringInfo text, const KafkaRollupSpec *spec, bool is_new)
{
	ListCell *cell;

	appendStringInfoString(text, "SELECT ");
	foreach(cell, spec->columns)
	{
		KafkaRollupColumn *column = lfirst(cell);
		int index = foreach_current_index(cell);
		bool is_key = index < spec->nkeys;

		kafka_analysis_append_sql(text, quote_identifier(column->name));
		appendStringInfo(text, " AS %s%d, ", is_key ? "k" : "s",
						 is_key ? index + 1 : index + 1 - spec->nkeys);
	}
	appendStringInfo(text, "%s AS is_new", is_new ? "true" : "false");
}

/* The list k1, k2 ... */
static void
append_keys(StringInfo text, const KafkaRollupSpec *spec)
{
	for (int i = 1; i <= spec->nkeys; i++)
		appendStringInfo(text, "%sk%d", i > 1 ? ", " : "", i);
}

static void
append_grouped(StringInfo text, const KafkaRollupSpec *spec, const char *tail)
{
	int nstates = list_length(spec->columns) - spec->nkeys;

	appendStringInfoString(text, "SELECT ");
	append_keys(text, spec);
	if (spec->nkeys > 0)
		appendStringInfoString(text, ", ");
	for (int i = 1; i <= nstates; i++)
		appendStringInfo(text,
						 "kafka.only(s%d) FILTER (WHERE NOT is_new) AS "
						 "stored%d, ",
						 i, i);
	for (int i = 1; i <= nstates; i++)
		appendStringInfo(text,
						 "kafka.only(s%d) FILTER (WHERE is_new) AS new%d, ", i,
						 i);
	appendStringInfoString(text, "bool_or(NOT is_new) AS has_stored, "
								 "bool_or(is_new) AS has_new FROM (");
	append_part(text, spec, false);
	appendStringInfoString(text, " FROM %1$s AS stored UNION ALL ");
	append_part(text, spec, true);
	appendStringInfoString(text, " FROM (");
	kafka_analysis_append_sql(text, tail);
	appendStringInfoString(text, ") AS tail) AS parts");
	if (spec->nkeys > 0)
	{
		appendStringInfoString(text, " GROUP BY ");
		append_keys(text, spec);
	}
}

char *
kafka_analysis_generate_live(const KafkaAnalysis *analysis,
							 KafkaRollupSpec *spec, const char *name,
							 const KafkaCheckNodes *checks)
{
	int level = kafka_analysis_fix_settings("pg_catalog, pg_temp");
	StringInfoData from;
	char *tail;
	char *live;

	tail =
		kafka_analysis_generate_tail(analysis, spec,
									 make_condition(analysis, name, checks));
	initStringInfo(&from);
	appendStringInfoString(&from, "(SELECT ");
	kafka_analysis_append_sql(&from, generate_merged(analysis, spec));
	appendStringInfoString(&from, " FROM (");
	append_grouped(&from, spec, tail);
	appendStringInfoString(&from, ") AS grouped)");
	live = kafka_analysis_generate_final(analysis, spec, from.data);
	AtEOXact_GUC(true, level);
	return live;
}
