/*-------------------------------------------------------------------------
 *
 * evaluate.c
 *		Plans a query and runs it over a batch of messages.
 *
 * The plan is an ordinary one for the foreign table; only its scan, which
 * finds the batch armed when it begins, reads that instead of the brokers.
 * SPI would do all of this but for one thing: it runs the whole of a plan, and
 * the batch may be armed only while the executor starts, not while the query's
 * functions run queries of their own.
 *
 * The plan is not parallel: the batch is in this backend's memory and is read
 * here alone, and while workers run there can be no subtransactions, by which
 * messages are found that cannot be decoded.
 *
 * IDENTIFICATION
 *		src/rollup/evaluate.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/table.h"
#include "catalog/dependency.h"
#include "catalog/indexing.h"
#include "catalog/pg_class.h"
#include "catalog/pg_depend.h"
#include "catalog/pg_rewrite.h"
#include "executor/executor.h"
#include "fdw/batch_cache.h"
#include "rewrite/rewriteSupport.h"
#include "rollup/apply.h"
#include "tcop/dest.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/plancache.h"
#include "utils/snapmgr.h"

struct KafkaEvaluation
{
	SPIPlanPtr plan;
	CachedPlanSource *source;
};

/* A destination of rows that hands each to a function. */
typedef struct RowReceiver
{
	DestReceiver dest; /* must be first */
	void (*row)(TupleTableSlot *slot, void *arg);
	void *arg;
} RowReceiver;

char *
kafka_evaluation_of_relation(Oid relid)
{
	if (get_rel_relkind(relid) == '\0')
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_TABLE),
						errmsg("relation with OID %u does not exist", relid)));
	return psprintf("SELECT * FROM %s", kafka_relation_quote(relid));
}

/*
 * Planned here, and not when it is first run, so that the locks which planning
 * takes outlive an attempt that is rolled back.
 */
static void
plan_query(KafkaEvaluation *evaluation, const char *sql)
{
	evaluation->plan = SPI_prepare(sql, 0, NULL);
	if (evaluation->plan == NULL)
		elog(ERROR, "could not prepare a query: %s", /* cannot happen */
			 SPI_result_code_string(SPI_result));
	evaluation->source = (CachedPlanSource *) linitial(
		SPI_plan_get_plan_sources(evaluation->plan));
	ReleaseCachedPlan(SPI_plan_get_cached_plan(evaluation->plan), NULL);
}

uint64
kafka_evaluation_execute_by_index(const char *sql, int nargs, const Oid *types,
								  const Datum *values, const bool *nulls)
{
	static const char *const scans[] = {"enable_seqscan", "enable_bitmapscan",
										"enable_hashjoin", "enable_mergejoin",
										/* by the costs, it would pay */
										"jit"};
	int level = NewGUCNestLevel();
	uint64 processed;

	for (int i = 0; i < lengthof(scans); i++)
		(void) set_config_option(scans[i], "off", PGC_USERSET, PGC_S_SESSION,
								 GUC_ACTION_SAVE, true, 0, false);
	processed = kafka_catalog_execute(sql, nargs, types, values, nulls);
	AtEOXact_GUC(false, level);
	return processed;
}

KafkaEvaluation *
kafka_evaluation_prepare(const char *sql, const KafkaBatch *batch)
{
	KafkaEvaluation *evaluation = palloc(sizeof(KafkaEvaluation));

	kafka_batch_plan_for(batch->relid, batch->nentries);
	PG_TRY();
	{
		plan_query(evaluation, sql);
	}
	PG_FINALLY();
	{
		kafka_batch_plan_for(InvalidOid, 0);
	}
	PG_END_TRY();
	return evaluation;
}

TupleDesc
kafka_evaluation_descriptor(const KafkaEvaluation *evaluation)
{
	return evaluation->source->resultDesc;
}

/* ----------------------------------------------------------------
 * What is going to be evaluated
 * ----------------------------------------------------------------
 */

/* The columns of a table that a view names; a whole row names none. */
static Bitmapset *
list_columns(Oid view, Oid table)
{
	Bitmapset *attnums = NULL;
	Oid rule = get_rewrite_oid(view, ViewSelectRuleName, true);
	Relation depend = table_open(DependRelationId, AccessShareLock);
	ScanKeyData keys[2];
	SysScanDesc scan;
	HeapTuple tuple;

	ScanKeyInit(&keys[0], Anum_pg_depend_classid, BTEqualStrategyNumber,
				F_OIDEQ, ObjectIdGetDatum(RewriteRelationId));
	ScanKeyInit(&keys[1], Anum_pg_depend_objid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(rule));
	scan = systable_beginscan(depend, DependDependerIndexId, true, NULL,
							  lengthof(keys), keys);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_depend row = (Form_pg_depend) GETSTRUCT(tuple);

		if (row->refclassid == RelationRelationId && row->refobjid == table &&
			row->refobjsubid > 0)
			attnums = bms_add_member(attnums, row->refobjsubid);
	}
	systable_endscan(scan);
	table_close(depend, AccessShareLock);
	return attnums;
}

void
kafka_rollup_expect_scans(const KafkaRollup *rollup, KafkaBatch *batch)
{
	const Oid views[] = {rollup->states,
						 rollup->has_checks ? rollup->checks : InvalidOid};

	for (int i = 0; i < lengthof(views); i++)
	{
		Bitmapset *attnums;

		if (!OidIsValid(views[i]))
			continue;
		attnums = list_columns(views[i], rollup->source);
		kafka_batch_cache_expect(batch, rollup->source, attnums);
		bms_free(attnums);
	}
}

/* ----------------------------------------------------------------
 * Evaluating
 * ----------------------------------------------------------------
 */

static bool
receive_row(TupleTableSlot *slot, DestReceiver *self)
{
	RowReceiver *receiver = (RowReceiver *) self;

	receiver->row(slot, receiver->arg);
	return true;
}

static void
start_rows(DestReceiver *self, int operation, TupleDesc descriptor)
{
}

static void
end_rows(DestReceiver *self)
{
}

/* Begins the plan's scans while the batch is armed. */
static void
start_armed(QueryDesc *query, KafkaBatch *batch)
{
	KafkaBatch *previous = kafka_batch_arm(batch);

	PG_TRY();
	{
		ExecutorStart(query, 0);
	}
	PG_FINALLY();
	{
		kafka_batch_arm(previous);
	}
	PG_END_TRY();
}

void
kafka_evaluation_run(KafkaEvaluation *evaluation, KafkaBatch *batch,
					 void (*row)(TupleTableSlot *slot, void *arg), void *arg)
{
	CachedPlan *plan = SPI_plan_get_cached_plan(evaluation->plan);
	RowReceiver receiver = {{receive_row, start_rows, end_rows, end_rows,
							 DestNone},
							row,
							arg};
	QueryDesc *query;

	/*
	 * Checks and states see the same of joined tables: a message must not find
	 * its row in one and not in the other.
	 */
	PushCopiedSnapshot(GetActiveSnapshot());
	UpdateActiveSnapshotCommandId();
	query =
		CreateQueryDesc(linitial_node(PlannedStmt, plan->stmt_list),
						evaluation->source->query_string, GetActiveSnapshot(),
						InvalidSnapshot, &receiver.dest, NULL, NULL, 0);
	start_armed(query, batch);
	ExecutorRun(query, ForwardScanDirection, 0, true);
	ExecutorFinish(query);
	ExecutorEnd(query);
	FreeQueryDesc(query);
	PopActiveSnapshot();
	ReleaseCachedPlan(plan, NULL);
}
