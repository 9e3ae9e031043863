/*-------------------------------------------------------------------------
 *
 * aggregate.c
 *		The aggregates of a rollup's query, and how to keep each of them.
 *
 * An aggregate can be kept if kafka.rollup_aggregate says of what states its
 * result can be made.  An entry names it by its signature or, where all of a
 * name are alike, by its name alone; the signature is tried first.
 *
 * IDENTIFICATION
 *		src/rollup/aggregate.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/namespace.h"
#include "catalog/pg_aggregate.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/clauses.h"
#include "optimizer/optimizer.h"
#include "optimizer/tlist.h"
#include "parser/parse_coerce.h"
#include "parser/parsetree.h"
#include "rollup/analyze.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/regproc.h"
#include "utils/varlena.h"

typedef struct RegistryEntry
{
	char *aggregate; /* as in the table */
	char *schema;    /* of its extension, NULL for none */
	List *states;    /* of char * */
	List *merges;    /* of char * */
	char *final;
} RegistryEntry;

/* ----------------------------------------------------------------
 * Reading the registry
 * ----------------------------------------------------------------
 */

static List *
read_texts(Datum array)
{
	List *texts = NIL;
	Datum *elements;
	bool *nulls;
	int count;

	deconstruct_array(DatumGetArrayTypeP(array), TEXTOID, -1, false,
					  TYPALIGN_INT, &elements, &nulls, &count);
	for (int i = 0; i < count; i++)
		texts = lappend(texts,
						nulls[i] ? "NULL" : TextDatumGetCString(elements[i]));
	return texts;
}

static RegistryEntry *
read_entry(HeapTuple tuple, TupleDesc descriptor)
{
	RegistryEntry *entry = palloc0(sizeof(RegistryEntry));
	bool isnull;

	entry->aggregate = SPI_getvalue(tuple, descriptor, 1);
	entry->schema = SPI_getvalue(tuple, descriptor, 2);
	entry->states = read_texts(SPI_getbinval(tuple, descriptor, 3, &isnull));
	entry->merges = read_texts(SPI_getbinval(tuple, descriptor, 4, &isnull));
	entry->final = SPI_getvalue(tuple, descriptor, 5);
	return entry;
}

/* The entries that could mean an aggregate of this name. */
static List *
read_registry(const char *name)
{
	MemoryContext caller = CurrentMemoryContext;
	Oid types[1] = {TEXTOID};
	Datum values[1] = {CStringGetTextDatum(name)};
	List *entries = NIL;
	uint64 count;

	SPI_connect();

	/*
	 * A cheap choice, not an exact one: an entry that only looks like the name
	 * is left out by match_entry.
	 */
	count = kafka_catalog_execute(
		"SELECT r.aggregate, n.nspname, r.states, r.merges, r.final"
		" FROM kafka.rollup_aggregate r"
		" LEFT JOIN pg_extension e ON e.extname = r.extension"
		" LEFT JOIN pg_namespace n ON n.oid = e.extnamespace"
		" WHERE strpos(r.aggregate, $1) > 0"
		" AND (r.extension IS NULL OR e.oid IS NOT NULL)"
		" ORDER BY r.aggregate",
		1, types, values, NULL);
	for (uint64 i = 0; i < count; i++)
	{
		MemoryContext spi = MemoryContextSwitchTo(caller);

		entries = lappend(entries, read_entry(SPI_tuptable->vals[i],
											  SPI_tuptable->tupdesc));
		MemoryContextSwitchTo(spi);
	}
	SPI_finish();
	return entries;
}

/* The name of an entry with the schema of its extension in front. */
static char *
qualify_entry(const RegistryEntry *entry)
{
	if (entry->schema == NULL)
		return entry->aggregate;
	return psprintf("%s.%s", quote_identifier(entry->schema),
					entry->aggregate);
}

/* Does an entry name the aggregate?  by_name: one without arguments. */
static bool
match_entry(const RegistryEntry *entry, Oid function, bool by_name)
{
	LOCAL_FCINFO(call, 1);
	char *qualified = qualify_entry(entry);
	List *names;
	char *schema;
	char *name;
	Datum found;

	if ((strchr(entry->aggregate, '(') == NULL) != by_name)
		return false;
	if (by_name)
	{
		names = stringToQualifiedNameList(qualified);
		DeconstructQualifiedName(names, &schema, &name);
		return schema != NULL && strcmp(name, get_func_name(function)) == 0 &&
			   get_namespace_oid(schema, true) == get_func_namespace(function);
	}
	InitFunctionCallInfoData(*call, NULL, 1, InvalidOid, NULL, NULL);
	call->args[0].value = CStringGetTextDatum(qualified);
	call->args[0].isnull = false;
	found = to_regprocedure(call);
	return !call->isnull && DatumGetObjectId(found) == function;
}

static RegistryEntry *
find_entry(Oid function)
{
	List *entries = read_registry(get_func_name(function));

	for (int by_name = 0; by_name <= 1; by_name++)
	{
		ListCell *cell;

		foreach(cell, entries)
		{
			RegistryEntry *entry = lfirst(cell);
			char *path = entry->schema
							 ? psprintf("pg_catalog, %s, pg_temp",
										quote_identifier(entry->schema))
							 : "pg_catalog, pg_temp";
			int level = kafka_analysis_fix_settings(path);
			bool matches = match_entry(entry, function, by_name == 1);

			AtEOXact_GUC(true, level);
			if (matches)
				return entry;
		}
	}
	return NULL;
}

/* ----------------------------------------------------------------
 * What cannot be kept
 * ----------------------------------------------------------------
 */

/* The estimate that takes the place of count(DISTINCT x). */
static char *
hint_distinct(const Aggref *aggref)
{
	const char *hash = "hll_hash_any";
	const char *column = "x";
	Node *arg;

	if (list_length(aggref->args) == 1)
	{
		arg = (Node *) linitial_node(TargetEntry, aggref->args)->expr;
		switch (getBaseType(exprType(arg)))
		{
			case TEXTOID:
			case VARCHAROID:
			case BPCHAROID:
				hash = "hll_hash_text";
				break;
			case INT4OID:
				hash = "hll_hash_integer";
				break;
			case INT8OID:
				hash = "hll_hash_bigint";
				break;
			case BYTEAOID:
				hash = "hll_hash_bytea";
				break;
			default:
				break;
		}
	}
	return psprintf("Use hll_add_agg(%s(%s)) of extension hll, an estimate "
					"that can be merged.",
					hash, column);
}

/* What to use for an aggregate that is not registered. */
static const char *
hint_unregistered(const char *name)
{
	static const char *const lists[] =
		{"array_agg", "string_agg",      "json_agg",
		 "jsonb_agg", "json_object_agg", "jsonb_object_agg",
		 "xmlagg",    "range_agg",       "mode"};

	if (strncmp(name, "percentile_", 11) == 0)
		return "Use tdigest(x, 100) of extension tdigest, an estimate that "
			   "can be merged, and tdigest_percentile in queries of the "
			   "rollup.";
	if (strncmp(name, "tdigest_", 8) == 0)
		return "Use tdigest(x, 100), and this aggregate in queries of the "
			   "rollup.";
	for (int i = 0; i < lengthof(lists); i++)
	{
		if (strcmp(name, lists[i]) == 0)
			return "A rollup keeps no lists of values; kafka.last(x, ts) "
				   "keeps the newest, and a column in GROUP BY keeps each.";
	}
	return "Table kafka.rollup_aggregate has those that can be kept; more can "
		   "be added to it.";
}

/* Refuses what no registry entry could help. */
static void
check_aggregate(const KafkaAnalysis *analysis, const Aggref *aggref)
{
	char *name = get_func_name(aggref->aggfnoid);

	if (AGGKIND_IS_ORDERED_SET(aggref->aggkind))
		ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
						errmsg("a rollup cannot keep aggregate %s", name),
						errhint("%s", hint_unregistered(name)),
						kafka_analysis_position(analysis, aggref->location)));
	if (aggref->aggdistinct != NIL)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("a rollup cannot keep %s(DISTINCT)", name),
				 strcmp(name, "count") == 0
					 ? errhint("%s", hint_distinct(aggref))
					 : errhint("Add the column to GROUP BY, or leave out "
							   "DISTINCT."),
				 kafka_analysis_position(analysis, aggref->location)));
	if (aggref->aggorder != NIL)
		ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
						errmsg("a rollup cannot keep %s with ORDER BY", name),
						errhint("%s", hint_unregistered(name)),
						kafka_analysis_position(analysis, aggref->location)));
}

/* ----------------------------------------------------------------
 * States
 * ----------------------------------------------------------------
 */

/* The source's column with a role, as type; NULL where there is none. */
static Node *
find_source_column(const KafkaAnalysis *analysis, KafkaRole role, Oid type)
{
	RangeTblEntry *entry =
		rt_fetch(analysis->source_index, analysis->query->rtable);

	for (int i = 0; i < analysis->nsource_columns; i++)
	{
		const KafkaColumnOptions *column = &analysis->source_columns[i];
		Oid vartype;
		int32 typmod;
		Oid collation;
		Var *var;

		if (column->dropped || column->role != role)
			continue;
		get_atttypetypmodcoll(entry->relid, column->attnum, &vartype, &typmod,
							  &collation);
		var = makeVar(analysis->source_index, column->attnum, vartype, typmod,
					  collation, 0);
		return coerce_to_target_type(NULL, (Node *) var, vartype, type, -1,
									 COERCION_EXPLICIT, COERCE_EXPLICIT_CAST,
									 -1);
	}
	return NULL;
}

typedef struct StateContext
{
	Expr *filter;
	bool outside; /* found a column outside of aggregates */
} StateContext;

/* Gives every aggregate of a state the filter of the query's. */
static bool
add_filter_walker(Node *node, StateContext *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, Aggref))
	{
		Aggref *aggref = (Aggref *) node;

		if (context->filter != NULL)
			aggref->aggfilter =
				aggref->aggfilter
					? make_andclause(list_make2(copyObject(context->filter),
												aggref->aggfilter))
					: copyObject(context->filter);
		return false;
	}
	if (IsA(node, Var))
		context->outside = true;
	return expression_tree_walker(node, add_filter_walker, context);
}

static Node *
make_state(const Aggref *aggref, const char *text, Node **params, int nparams,
		   const char *schema)
{
	StateContext context = {aggref->aggfilter, false};
	Node *state = kafka_template_analyze(text, params, nparams, schema, true);

	(void) add_filter_walker(state, &context);
	if (context.outside || !contain_agg_clause(state))
		ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
						errmsg("state \"%s\" of kafka.rollup_aggregate is no "
							   "aggregate of its arguments",
							   text)));
	if (exprType(state) == UNKNOWNOID ||
		get_typtype(exprType(state)) == TYPTYPE_PSEUDO)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("state \"%s\" of kafka.rollup_aggregate has type %s, "
						"which cannot be stored",
						text, format_type_be(exprType(state)))));
	return state;
}

typedef struct AggregatePlace
{
	const KafkaAnalysis *analysis;
	int location;
} AggregatePlace;

/* An error in a state that has no place in its text is at the aggregate. */
static void
place_at_aggregate(void *arg)
{
	AggregatePlace *place = (AggregatePlace *) arg;

	if (geterrposition() <= 0 && getinternalerrposition() <= 0)
		kafka_analysis_position(place->analysis, place->location);
}

/* Splits a registered aggregate into its states. */
static KafkaAggregateUse *
make_use(const KafkaAnalysis *analysis, Aggref *aggref,
		 const RegistryEntry *entry)
{
	KafkaAggregateUse *use = palloc0(sizeof(KafkaAggregateUse));
	int nargs = list_length(aggref->args);
	Node **params = palloc0(sizeof(Node *) * (nargs + 2));
	int count = 0;
	AggregatePlace place = {analysis, aggref->location};
	ErrorContextCallback callback;
	ListCell *cell;

	callback.callback = place_at_aggregate;
	callback.arg = &place;
	callback.previous = error_context_stack;
	error_context_stack = &callback;
	foreach(cell, aggref->args)
		params[count++] = (Node *) lfirst_node(TargetEntry, cell)->expr;
	params[count++] =
		find_source_column(analysis, KAFKA_ROLE_PARTITION, INT4OID);
	params[count++] = find_source_column(analysis, KAFKA_ROLE_OFFSET, INT8OID);
	use->aggref = aggref;
	use->signature = entry->aggregate;
	use->schema = entry->schema;
	use->merges = entry->merges;
	use->final = entry->final;
	foreach(cell, entry->states)
		use->states =
			lappend(use->states, make_state(aggref, lfirst(cell), params,
											count, entry->schema));
	error_context_stack = callback.previous;
	return use;
}

static bool
find_aggregates_walker(Node *node, KafkaAnalysis *analysis)
{
	Aggref *aggref = (Aggref *) node;
	RegistryEntry *entry;
	ListCell *cell;

	if (node == NULL)
		return false;
	if (!IsA(node, Aggref))
		return expression_tree_walker(node, find_aggregates_walker, analysis);
	foreach(cell, analysis->aggregates)
	{
		if (equal(((KafkaAggregateUse *) lfirst(cell))->aggref, aggref))
			return false;
	}
	check_aggregate(analysis, aggref);
	entry = find_entry(aggref->aggfnoid);
	if (entry == NULL)
		ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
						errmsg("a rollup cannot keep aggregate %s",
							   format_procedure(aggref->aggfnoid)),
						errhint("%s", hint_unregistered(
										  get_func_name(aggref->aggfnoid))),
						kafka_analysis_position(analysis, aggref->location)));
	analysis->aggregates =
		lappend(analysis->aggregates, make_use(analysis, aggref, entry));
	return false;
}

/* Tells each aggregate that is a column by itself which one. */
static void
find_lone_aggregates(KafkaAnalysis *analysis)
{
	ListCell *cell;

	foreach(cell, analysis->query->targetList)
	{
		TargetEntry *target = lfirst_node(TargetEntry, cell);
		ListCell *use_cell;

		foreach(use_cell, analysis->aggregates)
		{
			KafkaAggregateUse *use = lfirst(use_cell);

			if (use->is_alone || !equal(use->aggref, target->expr))
				continue;
			use->is_alone = true;
			use->column = target->resname;
		}
	}
}

void
kafka_analysis_find_aggregates(KafkaAnalysis *analysis)
{
	ListCell *cell;

	foreach(cell, analysis->query->targetList)
	{
		TargetEntry *target = lfirst_node(TargetEntry, cell);

		int count = list_length(analysis->aggregates);

		(void) find_aggregates_walker((Node *) target->expr, analysis);
		for (; count < list_length(analysis->aggregates); count++)
		{
			KafkaAggregateUse *use = list_nth(analysis->aggregates, count);

			use->column = target->resname;
		}
	}
	find_lone_aggregates(analysis);
}
