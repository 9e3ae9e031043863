/*-------------------------------------------------------------------------
 *
 * pushdown_probe.c
 *		A foreign data wrapper over a topic that is a small grid in memory;
 *		test/t/011_pushdown.pl reads it with random WHERE clauses.
 *
 * It does with a condition what the extension does: builds it while planning,
 * sends it through the plan as text, computes it at each rescan, and then
 * returns the records inside the bounds and no others.  All clauses are also
 * filters, so a query that gets other rows from the grid than from a table of
 * the same rows has found a record that the bounds lost, and a scan that
 * returned more rows than passed the filters has found loose bounds.
 *
 * A record of each time stands at each offset of each partition.  No topic
 * looks like that, but every combination a condition can tell apart occurs.
 * A table with the option "times", milliseconds since 1970 separated by
 * commas, has a record of each of these instead, in one partition and in the
 * order of offsets; of its column "event" the times are up to MAX_SKEW_MS
 * before or after the record's.
 *
 * IDENTIFICATION
 *		test/fuzz/pushdown_probe.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "commands/defrem.h"
#include "commands/explain.h"
#include "executor/executor.h"
#include "fdw/pushdown.h"
#include "fmgr.h"
#include "foreign/fdwapi.h"
#include "foreign/foreign.h"
#include "nodes/makefuncs.h"
#include "optimizer/optimizer.h"
#include "optimizer/pathnode.h"
#include "optimizer/planmain.h"
#include "optimizer/restrictinfo.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/ruleutils.h"
#include "utils/timestamp.h"

PG_MODULE_MAGIC;

#define NPARTITIONS 4
#define NOFFSETS 5

/* 2026-01-01 00:00:00 UTC, in milliseconds since 1970 */
#define BASE_MS INT64CONST(1767225600000)

/* 2000-01-01 00:00:00 UTC, in milliseconds since 1970 */
#define POSTGRES_EPOCH_MS INT64CONST(946684800000)

/* What Kafka says of a record that has no time; the column is then NULL. */
#define NO_TIME_MS INT64CONST(-1)

static const int64 grid_times_ms[] = {BASE_MS, BASE_MS + 1, BASE_MS + 2,
									  BASE_MS + 4, NO_TIME_MS};

/* How far the times of the column "event" are from their records'. */
#define MAX_SKEW_MS 1500

/* What there is in a table. */
typedef struct Grid
{
	int npartitions;
	int noffsets;
	int nrecords;
	int64 *times_ms;
	int ntimes;
} Grid;

typedef enum PlanPrivate
{
	PLAN_PRIVATE_CONDITION,
	PLAN_PRIVATE_NAMES
} PlanPrivate;

typedef struct ProbeState
{
	List *condition;
	List *expr_states; /* of the value expressions */
	bool bounds_known; /* since the last rescan */
	KafkaBounds bounds;
	Grid grid;
	int next_record;
} ProbeState;

/* Since reset: scans begun or begun again, records inside their bounds. */
static int64 nscans = 0;
static int64 nrecords = 0;
static int64 ntimeless_records = 0; /* those of them without a time */

PG_FUNCTION_INFO_V1(pushdown_probe_handler);
PG_FUNCTION_INFO_V1(pushdown_probe_counts);

/* The columns are known by their names, whatever their types. */
static void
find_columns(Oid relid, Index varno, KafkaPushdownColumns *columns)
{
	static const char *const names[KAFKA_DIMENSION_COUNT] = {"kafka_partition",
															 "kafka_offset",
															 "ts", "none"};
	AttrNumber event = get_attnum(relid, "event");
	int d;

	memset(columns, 0, sizeof(*columns));
	columns->skewed = palloc(sizeof(KafkaSkewedColumn));
	if (event > 0)
		columns->skewed[columns->nskewed++] =
			(KafkaSkewedColumn){event, MAX_SKEW_MS};

	columns->relid = varno;
	for (d = 0; d < KAFKA_DIMENSION_COUNT; d++)
	{
		AttrNumber attnum = get_attnum(relid, names[d]);

		columns->attnum[d] = Max(attnum, 0);
		columns->type[d] =
			attnum > 0 ? getBaseType(get_atttype(relid, attnum)) : InvalidOid;
	}
}

/* The value of a table's option, NULL where it has none. */
static const char *
find_option(Oid relid, const char *name)
{
	ListCell *lc;

	foreach(lc, GetForeignTable(relid)->options)
	{
		DefElem *option = lfirst_node(DefElem, lc);

		if (strcmp(option->defname, name) == 0)
			return defGetString(option);
	}
	return NULL;
}

static Grid
make_grid(Oid relid)
{
	const char *times = find_option(relid, "times");
	Grid grid = {1, 0, 0, NULL, 0};

	if (times == NULL)
	{
		grid.npartitions = NPARTITIONS;
		grid.noffsets = NOFFSETS;
		grid.ntimes = lengthof(grid_times_ms);
		grid.times_ms = palloc(sizeof(grid_times_ms));
		memcpy(grid.times_ms, grid_times_ms, sizeof(grid_times_ms));
		grid.nrecords = NPARTITIONS * NOFFSETS * grid.ntimes;
		return grid;
	}
	grid.times_ms = palloc(sizeof(int64) * (strlen(times) + 1));
	for (char *end = unconstify(char *, times); *times != '\0'; times = end)
	{
		grid.times_ms[grid.ntimes++] = strtoll(times, &end, 10);
		if (*end == ',')
			end++;
	}
	grid.noffsets = grid.nrecords = grid.ntimes;
	return grid;
}

static void
probeGetForeignRelSize(PlannerInfo *root, RelOptInfo *baserel,
					   Oid foreigntableid)
{
	baserel->rows = 100;
}

static void
probeGetForeignPaths(PlannerInfo *root, RelOptInfo *baserel,
					 Oid foreigntableid)
{
	add_path(baserel,
			 (Path *) create_foreignscan_path(root, baserel, NULL,
											  baserel->rows, 0, 100, NIL,
											  baserel->lateral_relids, NULL,
											  NIL));
}

/*
 * The planner leaves no NOT above a comparison and no constants, so a table
 * with the option "negate" gets them back: a clause becomes NOT ((negation OR
 * FALSE) AND NULL), which is true where the clause is.
 */
static List *
restore_not(Oid foreigntableid, List *clauses)
{
	List *result = NIL;
	ListCell *lc;

	if (find_option(foreigntableid, "negate") == NULL)
		return clauses;
	foreach(lc, clauses)
	{
		Expr *clause = makeBoolExpr(OR_EXPR,
									list_make2(negate_clause(lfirst(lc)),
											   makeBoolConst(false, false)),
									-1);

		clause =
			makeBoolExpr(AND_EXPR,
						 list_make2(clause, makeBoolConst(false, true)), -1);
		clause = makeBoolExpr(NOT_EXPR, list_make1(clause), -1);
		result = lappend(result, clause);
	}
	return result;
}

/* Any condition must come through this unharmed. */
static List *
send_as_text(List *condition)
{
	List *copy = copyObject(condition);
	List *read = stringToNode(nodeToString(copy));

	if (!equal(condition, read))
		ereport(ERROR, (errcode(ERRCODE_INTERNAL_ERROR),
						errmsg("condition changes when written and read")));
	return read;
}

static ForeignScan *
probeGetForeignPlan(PlannerInfo *root, RelOptInfo *baserel, Oid foreigntableid,
					ForeignPath *best_path, List *tlist, List *scan_clauses,
					Plan *outer_plan)
{
	List *clauses = extract_actual_clauses(scan_clauses, false);
	KafkaPushdownColumns columns;
	List *condition;
	List *exprs = NIL;
	List *texts = NIL;
	List *names = NIL;
	int d;

	find_columns(foreigntableid, baserel->relid, &columns);
	condition =
		kafka_pushdown_build_for_plan(&columns,
									  restore_not(foreigntableid, clauses),
									  &exprs, &texts);
	exprs = kafka_pushdown_add_texts(exprs, texts);
	for (d = 0; d < KAFKA_DIMENSION_COUNT; d++)
		names = lappend(names, makeString(columns.attnum[d] == 0
											  ? pstrdup("")
											  : get_attname(foreigntableid,
															columns.attnum[d],
															false)));
	return make_foreignscan(tlist, clauses, baserel->relid, exprs,
							list_make2(send_as_text(condition), names), NIL,
							NIL, outer_plan);
}

static void
probeBeginForeignScan(ForeignScanState *node, int eflags)
{
	ForeignScan *plan = (ForeignScan *) node->ss.ps.plan;
	ProbeState *state;

	if (eflags & EXEC_FLAG_EXPLAIN_ONLY)
		return;
	state = palloc0(sizeof(ProbeState));
	state->condition = list_nth(plan->fdw_private, PLAN_PRIVATE_CONDITION);
	state->expr_states =
		ExecInitExprList(kafka_pushdown_values(plan->fdw_exprs),
						 (PlanState *) node);
	state->grid = make_grid(RelationGetRelid(node->ss.ss_currentRelation));
	node->fdw_state = state;
}

static void
compute_bounds(ForeignScanState *node, ProbeState *state)
{
	ExprContext *econtext = node->ss.ps.ps_ExprContext;
	int nvalues = list_length(state->expr_states);
	Datum *values = palloc(Max(nvalues, 1) * sizeof(Datum));
	bool *isnull = palloc(Max(nvalues, 1) * sizeof(bool));
	int i;

	for (i = 0; i < nvalues; i++)
		values[i] = ExecEvalExprSwitchContext(list_nth(state->expr_states, i),
											  econtext, &isnull[i]);
	kafka_pushdown_evaluate(state->condition, values, isnull, &state->bounds);
	state->bounds_known = true;
	state->next_record = 0;
	nscans++;
	pfree(values);
	pfree(isnull);
}

static bool
is_inside(const KafkaBounds *bounds, int32 partition, int64 offset,
		  int64 time_ms)
{
	KafkaSlice slices[KAFKA_BOUNDS_MAX_BOXES];
	int nslices = kafka_bounds_slices(bounds, partition, NPARTITIONS, slices);
	int i;

	for (i = 0; i < nslices; i++)
	{
		if (offset >= slices[i].offset.start &&
			offset < slices[i].offset.end &&
			time_ms >= slices[i].time_ms.start &&
			time_ms < slices[i].time_ms.end)
			return true;
	}
	return false;
}

static Datum
integer_datum(Oid type, int64 value)
{
	switch (type)
	{
		case INT2OID:
			return Int16GetDatum(value);
		case INT8OID:
			return Int64GetDatum(value);
		default:
			return Int32GetDatum(value);
	}
}

static Datum
time_datum(Form_pg_attribute attr, int64 time_ms)
{
	Datum time = TimestampTzGetDatum((time_ms - POSTGRES_EPOCH_MS) * 1000);

	/* as the extension does it */
	if (getBaseType(attr->atttypid) == TIMESTAMPOID)
		time = DirectFunctionCall1(timestamptz_timestamp, time);
	return DirectFunctionCall2(timestamp_scale, time,
							   Int32GetDatum(attr->atttypmod));
}

static void
fill_slot(TupleTableSlot *slot, int record, int32 partition, int64 offset,
		  int64 time_ms)
{
	TupleDesc tupdesc = slot->tts_tupleDescriptor;
	int i;

	for (i = 0; i < tupdesc->natts; i++)
	{
		Form_pg_attribute attr = TupleDescAttr(tupdesc, i);
		Oid type = getBaseType(attr->atttypid);
		const char *name = NameStr(attr->attname);

		slot->tts_isnull[i] = false;
		if (strcmp(name, "kafka_partition") == 0)
			slot->tts_values[i] = integer_datum(type, partition);
		else if (strcmp(name, "kafka_offset") == 0)
			slot->tts_values[i] = integer_datum(type, offset);
		else if (strcmp(name, "id") == 0)
			slot->tts_values[i] = integer_datum(type, record);
		else if (time_ms == NO_TIME_MS)
			slot->tts_isnull[i] = true;
		else if (strcmp(name, "event") == 0)
			slot->tts_values[i] =
				time_datum(attr,
						   time_ms + record % 3 * MAX_SKEW_MS - MAX_SKEW_MS);
		else
			slot->tts_values[i] = time_datum(attr, time_ms); /* "ts" */
	}
	ExecStoreVirtualTuple(slot);
}

static TupleTableSlot *
probeIterateForeignScan(ForeignScanState *node)
{
	ProbeState *state = node->fdw_state;
	const Grid *grid = &state->grid;
	TupleTableSlot *slot = node->ss.ss_ScanTupleSlot;

	if (!state->bounds_known)
		compute_bounds(node, state);
	ExecClearTuple(slot);
	while (state->next_record < grid->nrecords)
	{
		int record = state->next_record++;
		int32 partition = record % grid->npartitions;
		int64 offset = record / grid->npartitions % grid->noffsets;
		int64 time_ms = grid->nrecords == grid->ntimes
							? grid->times_ms[record]
							: grid->times_ms[record / (grid->npartitions *
													   grid->noffsets)];

		if (!is_inside(&state->bounds, partition, offset, time_ms))
			continue;
		nrecords++;
		if (time_ms == NO_TIME_MS)
			ntimeless_records++;
		fill_slot(slot, record, partition, offset, time_ms);
		break;
	}
	return slot;
}

static void
probeReScanForeignScan(ForeignScanState *node)
{
	((ProbeState *) node->fdw_state)->bounds_known = false;
	((ProbeState *) node->fdw_state)->next_record = 0;
}

static void
probeEndForeignScan(ForeignScanState *node)
{
}

static char *
deparse_value(Node *expr, void *arg)
{
	return deparse_expression(expr, arg, true, false);
}

/*
 * The number of values, and a line for each thing the condition says, with a
 * plus where it bounds that side.
 */
static void
probeExplainForeignScan(ForeignScanState *node, ExplainState *es)
{
	static const char *const labels[] = {
		[KAFKA_SIDE_START] = "start",
		[KAFKA_SIDE_END] = "end",
		[KAFKA_SIDE_BOTH] = "both",
	};
	ForeignScan *plan = (ForeignScan *) node->ss.ps.plan;
	List *condition = list_nth(plan->fdw_private, PLAN_PRIVATE_CONDITION);
	List *name_list = list_nth(plan->fdw_private, PLAN_PRIVATE_NAMES);
	List *context =
		set_deparse_context_plan(es->deparse_cxt, &plan->scan.plan, NIL);
	const char *names[KAFKA_DIMENSION_COUNT];
	int d;
	int side;

	ExplainPropertyInteger("values", NULL,
						   list_length(kafka_pushdown_values(plan->fdw_exprs)),
						   es);
	for (d = 0; d < KAFKA_DIMENSION_COUNT; d++)
		names[d] = strVal(list_nth(name_list, d));
	for (d = 0; d < KAFKA_DIMENSION_COUNT; d++)
	{
		for (side = KAFKA_SIDE_START; side <= KAFKA_SIDE_BOTH; side++)
		{
			char *text = kafka_pushdown_describe(condition, d, side, names,
												 plan->fdw_exprs,
												 deparse_value, context);
			bool bounded = (side == KAFKA_SIDE_START &&
							kafka_pushdown_bounds_start(condition, d)) ||
						   (side == KAFKA_SIDE_END &&
							kafka_pushdown_bounds_end(condition, d));

			if (text != NULL)
				ExplainPropertyText(psprintf("%s %s%s", names[d], labels[side],
											 bounded ? " +" : ""),
									text, es);
		}
	}
}

Datum
pushdown_probe_handler(PG_FUNCTION_ARGS)
{
	FdwRoutine *routine = makeNode(FdwRoutine);

	routine->GetForeignRelSize = probeGetForeignRelSize;
	routine->GetForeignPaths = probeGetForeignPaths;
	routine->GetForeignPlan = probeGetForeignPlan;
	routine->BeginForeignScan = probeBeginForeignScan;
	routine->IterateForeignScan = probeIterateForeignScan;
	routine->ReScanForeignScan = probeReScanForeignScan;
	routine->EndForeignScan = probeEndForeignScan;
	routine->ExplainForeignScan = probeExplainForeignScan;
	PG_RETURN_POINTER(routine);
}

/* pushdown_probe_counts() returns {scans, records, those without a time} */
Datum
pushdown_probe_counts(PG_FUNCTION_ARGS)
{
	Datum counts[3];

	counts[0] = Int64GetDatum(nscans);
	counts[1] = Int64GetDatum(nrecords);
	counts[2] = Int64GetDatum(ntimeless_records);
	nscans = nrecords = ntimeless_records = 0;
	PG_RETURN_ARRAYTYPE_P(construct_array(counts, 3, INT8OID, sizeof(int64),
										  FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
}
