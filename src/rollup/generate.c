/*-------------------------------------------------------------------------
 *
 * generate.c
 *		The SQL of a rollup's relations and of its upsert.
 *
 * Trees are built and PostgreSQL makes text of them, under a search_path of
 * pg_catalog alone, so that all else is qualified.  What refers to storage is
 * built of columns of two relations that need not exist yet: "stored", the rows
 * of storage, and "excluded", those of a batch.
 *
 * IDENTIFICATION
 *		src/rollup/generate.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "mb/pg_wchar.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/tlist.h"
#include "parser/parse_coerce.h"
#include "parser/parsetree.h"
#include "rollup/analyze.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/ruleutils.h"

/* The relations of expressions over storage, as range table indexes. */
#define STORED 1
#define EXCLUDED 2

typedef struct GenerateContext
{
	const KafkaAnalysis *analysis;
	KafkaRollupSpec *spec;
} GenerateContext;

/* ----------------------------------------------------------------
 * Storage's columns
 * ----------------------------------------------------------------
 */

static void
add_column(KafkaRollupSpec *spec, char *name, Node *expression,
		   char *signature)
{
	KafkaRollupColumn *column = palloc(sizeof(KafkaRollupColumn));

	column->name = name;
	column->type = exprType(expression);
	column->typmod = exprTypmod(expression);
	column->collation = exprCollation(expression);
	column->signature = signature;
	spec->columns = lappend(spec->columns, column);
}

static bool
is_taken(const KafkaAnalysis *analysis, const KafkaRollupSpec *spec,
		 const char *name)
{
	ListCell *cell;

	foreach(cell, analysis->query->targetList)
	{
		if (strcmp(lfirst_node(TargetEntry, cell)->resname, name) == 0)
			return true;
	}
	foreach(cell, spec->columns)
	{
		if (strcmp(((KafkaRollupColumn *) lfirst(cell))->name, name) == 0)
			return true;
	}
	return strcmp(name, KAFKA_ROLLUP_ROWS_SELECTED) == 0;
}

/* The column's name with a number, shortened where that would not fit. */
static char *
choose_name(const KafkaAnalysis *analysis, const KafkaRollupSpec *spec,
			const char *base, int number)
{
	for (;; number++)
	{
		char *suffix = psprintf("_%d", number);
		int length =
			pg_mbcliplen(base, strlen(base), NAMEDATALEN - 1 - strlen(suffix));
		char *name = psprintf("%.*s%s", length, base, suffix);

		if (!is_taken(analysis, spec, name))
			return name;
	}
}

static void
add_columns(const KafkaAnalysis *analysis, KafkaRollupSpec *spec)
{
	ListCell *cell;

	foreach(cell, analysis->keys)
	{
		TargetEntry *key = lfirst_node(TargetEntry, cell);

		add_column(spec, key->resname, (Node *) key->expr, NULL);
		spec->key_names = lappend(spec->key_names, key->resname);
	}
	spec->nkeys = list_length(analysis->keys);
	foreach(cell, analysis->aggregates)
	{
		KafkaAggregateUse *use = lfirst(cell);
		bool is_column = use->is_alone && list_length(use->states) == 1;
		int number = 1;
		ListCell *state;

		use->first_column = list_length(spec->columns);
		foreach(state, use->states)
			add_column(spec,
					   is_column ? pstrdup(use->column)
								 : choose_name(analysis, spec, use->column,
											   number++),
					   lfirst(state), use->signature);
	}
}

/* ----------------------------------------------------------------
 * Expressions over storage
 * ----------------------------------------------------------------
 */

static Node *
make_storage_column(const KafkaRollupSpec *spec, Index relation, int index)
{
	KafkaRollupColumn *column = list_nth(spec->columns, index);

	return (Node *) makeVar(relation, index + 1, column->type, column->typmod,
							column->collation, 0);
}

static RangeTblEntry *
make_storage_entry(const KafkaRollupSpec *spec, char *alias)
{
	RangeTblEntry *entry = makeNode(RangeTblEntry);
	List *names = NIL;
	ListCell *cell;

	foreach(cell, spec->columns)
		names =
			lappend(names,
					makeString(((KafkaRollupColumn *) lfirst(cell))->name));
	entry->rtekind = RTE_NAMEDTUPLESTORE;
	entry->enrname = alias;
	entry->alias = makeAlias(alias, NIL);
	entry->eref = makeAlias(alias, names);
	return entry;
}

/*
 * A query whose FROM is empty makes the text of just the list, while the names
 * still come from its range table.
 */
char *
kafka_analysis_deparse_list(List *relations, List *targets)
{
	static const char select[] = "SELECT";
	Query *query = makeNode(Query);
	char *text;

	query->commandType = CMD_SELECT;
	query->canSetTag = true;
	query->rtable = relations;
	query->jointree = makeFromExpr(NIL, NULL);
	query->targetList = targets;
	text = pg_get_querydef(query, false);
	while (*text == ' ')
		text++;
	if (strncmp(text, select, strlen(select)) != 0)
		/* get_query_def() begins so: this cannot happen */
		elog(ERROR, "unexpected text of a select list: %s", text);
	text += strlen(select);
	while (*text == ' ')
		text++;
	return text;
}

/* The select list of these targets over storage, as text without SELECT. */
static char *
deparse_over_storage(const KafkaRollupSpec *spec, List *targets)
{
	List *relations = list_make2(make_storage_entry(spec, "stored"),
								 make_storage_entry(spec, "excluded"));

	return kafka_analysis_deparse_list(relations, targets);
}

/* Makes an expression of exactly the type wanted. */
static Node *
coerce_template(Node *node, Oid type, int32 typmod, const char *text)
{
	Node *coerced =
		coerce_to_target_type(NULL, node, exprType(node), type, typmod,
							  COERCION_ASSIGNMENT, COERCE_IMPLICIT_CAST, -1);

	if (coerced == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("expression \"%s\" of kafka.rollup_aggregate has type "
						"%s, not %s",
						text, format_type_be(exprType(node)),
						format_type_be(type))));
	return coerced;
}

/* An aggregate's result, made of the states in storage. */
static Node *
make_final(const KafkaRollupSpec *spec, const KafkaAggregateUse *use)
{
	int count = list_length(use->states);
	Node **params = palloc(sizeof(Node *) * count);

	for (int i = 0; i < count; i++)
		params[i] = make_storage_column(spec, STORED, use->first_column + i);
	return coerce_template(kafka_template_analyze(use->final, params, count,
												  use->schema, false),
						   use->aggref->aggtype, -1, use->final);
}

Node *
kafka_analysis_make_merge(const KafkaRollupSpec *spec,
						  const KafkaAggregateUse *use, int state,
						  Node **params)
{
	char *text = list_nth(use->merges, state);
	KafkaRollupColumn *column =
		list_nth(spec->columns, use->first_column + state);

	return coerce_template(kafka_template_analyze(text, params,
												  list_length(use->states) * 2,
												  use->schema, false),
						   column->type, column->typmod, text);
}

/* A state's merge of what is stored and what a batch has. */
static Node *
make_merge(const KafkaRollupSpec *spec, const KafkaAggregateUse *use,
		   int state)
{
	int count = list_length(use->states);
	Node **params = palloc(sizeof(Node *) * count * 2);

	for (int i = 0; i < count; i++)
	{
		params[i] = make_storage_column(spec, STORED, use->first_column + i);
		params[count + i] =
			make_storage_column(spec, EXCLUDED, use->first_column + i);
	}
	return kafka_analysis_make_merge(spec, use, state, params);
}

/* Puts storage's columns in the places of group columns and aggregates. */
static Node *
finalize_mutator(Node *node, GenerateContext *context)
{
	const KafkaAnalysis *analysis = context->analysis;
	ListCell *cell;
	int index = 0;

	if (node == NULL)
		return NULL;
	foreach(cell, analysis->keys)
	{
		if (equal(lfirst_node(TargetEntry, cell)->expr, node))
			return make_storage_column(context->spec, STORED, index);
		index++;
	}
	foreach(cell, analysis->aggregates)
	{
		KafkaAggregateUse *use = lfirst(cell);

		if (equal(use->aggref, node))
			return make_final(context->spec, use);
	}
	if (IsA(node, Var))
		ereport(ERROR,
				(errcode(ERRCODE_GROUPING_ERROR),
				 errmsg("a rollup's query must group by the columns that it "
						"selects"),
				 errhint("Add the column to GROUP BY; that others determine "
						 "it is not enough."),
				 kafka_analysis_position(analysis, exprLocation(node))));
	return expression_tree_mutator(node, finalize_mutator, context);
}

/* ----------------------------------------------------------------
 * Statements
 * ----------------------------------------------------------------
 */

void
kafka_analysis_append_sql(StringInfo text, const char *sql)
{
	for (; *sql != '\0'; sql++)
	{
		if (*sql == '%')
			appendStringInfoChar(text, '%');
		appendStringInfoChar(text, *sql);
	}
}

char *
kafka_analysis_generate_final(const KafkaAnalysis *analysis,
							  KafkaRollupSpec *spec, const char *from)
{
	GenerateContext context = {analysis, spec};
	StringInfoData text;
	List *targets = NIL;
	ListCell *cell;

	foreach(cell, analysis->query->targetList)
	{
		TargetEntry *target = lfirst_node(TargetEntry, cell);
		Node *node =
			finalize_mutator(copyObject((Node *) target->expr), &context);

		targets =
			lappend(targets, makeTargetEntry((Expr *) node, target->resno,
											 target->resname, false));
	}
	initStringInfo(&text);
	appendStringInfoString(&text, "SELECT ");
	kafka_analysis_append_sql(&text, deparse_over_storage(spec, targets));
	appendStringInfo(&text, " FROM %s AS stored", from);
	return text.data;
}

/* name, name, ... of storage's first count columns */
static void
append_names(StringInfo text, const KafkaRollupSpec *spec, int count)
{
	for (int i = 0; i < count; i++)
	{
		KafkaRollupColumn *column = list_nth(spec->columns, i);

		appendStringInfoString(text, i > 0 ? ", " : "");
		kafka_analysis_append_sql(text, quote_identifier(column->name));
	}
}

/*
 * Rows are merged in the order of the group columns: two writers that take the
 * same rows in the same order cannot wait for each other.
 */
static char *
generate_upsert(const KafkaAnalysis *analysis, const KafkaRollupSpec *spec)
{
	int ncolumns = list_length(spec->columns);
	const char *separator = " DO UPDATE SET ";
	StringInfoData text;
	ListCell *cell;

	initStringInfo(&text);
	appendStringInfoString(&text, "INSERT INTO %1$s AS stored (");
	append_names(&text, spec, ncolumns);
	appendStringInfoString(&text, ") SELECT ");
	append_names(&text, spec, ncolumns);
	appendStringInfoString(&text, " FROM " KAFKA_ROLLUP_NEW_ROWS);
	for (int i = 1; i <= spec->nkeys; i++)
		appendStringInfo(&text, i == 1 ? " ORDER BY %d" : ", %d", i);
	appendStringInfoString(&text, " ON CONFLICT (");
	if (spec->nkeys == 0)
		appendStringInfoString(&text, "(true)");
	append_names(&text, spec, spec->nkeys);
	appendStringInfoChar(&text, ')');
	foreach(cell, analysis->aggregates)
	{
		KafkaAggregateUse *use = lfirst(cell);

		for (int i = 0; i < list_length(use->states); i++)
		{
			KafkaRollupColumn *column =
				list_nth(spec->columns, use->first_column + i);
			Expr *merge = (Expr *) make_merge(spec, use, i);
			List *targets = list_make1(makeTargetEntry(merge, 1, NULL, false));

			appendStringInfoString(&text, separator);
			kafka_analysis_append_sql(&text, quote_identifier(column->name));
			appendStringInfoString(&text, " = ");
			kafka_analysis_append_sql(&text,
									  deparse_over_storage(spec, targets));
			separator = ", ";
		}
	}
	if (analysis->aggregates == NIL)
		appendStringInfoString(&text, " DO NOTHING");
	return text.data;
}

KafkaRollupSpec *
kafka_analysis_generate(const KafkaAnalysis *analysis,
						const KafkaRollupChecks *checks)
{
	KafkaRollupSpec *spec = palloc0(sizeof(KafkaRollupSpec));
	int level = kafka_analysis_fix_settings("pg_catalog, pg_temp");
	KafkaCheckNodes nodes;

	spec->source = analysis->source;
	spec->has_join = analysis->has_join;
	spec->has_inner_join = analysis->has_inner_join;
	add_columns(analysis, spec);
	spec->definition_sql = pg_get_querydef(copyObject(analysis->query), false);
	spec->states_sql = kafka_analysis_generate_states(analysis, spec);
	spec->final_sql = kafka_analysis_generate_final(analysis, spec, "%1$s");
	spec->upsert_sql = generate_upsert(analysis, spec);
	if (analysis->bucket != NULL)
	{
		spec->bucket_column = analysis->bucket->resname;
		spec->bucket_width = analysis->bucket_width;
	}
	AtEOXact_GUC(true, level);
	nodes = kafka_analysis_make_checks(analysis, checks);
	if (checks->expect != NULL || checks->unique_key != NULL ||
		checks->wants_time)
		spec->checks_sql = kafka_analysis_generate_checks(analysis, &nodes);
	if (checks->live_name != NULL)
		spec->live_sql =
			kafka_analysis_generate_live(analysis, spec, checks->live_name,
										 &nodes);
	return spec;
}
