/*-------------------------------------------------------------------------
 *
 * scan.c
 *		Begin, iterate, rescan and end of a foreign scan.
 *
 * Nothing is asked of a broker before the first row is wanted; then the
 * parameters have values.  A rescan keeps the client, the snapshot of the
 * topics' ends and the answers to lookups, and computes the bounds anew.
 *
 * A scan that is begun while a batch is armed for its table reads that instead;
 * see batch_scan.c.  One with the condition kafka.in_tail reads the tail of a
 * rollup; see tail_scan.c.
 *
 * IDENTIFICATION
 *		src/fdw/scan.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "executor/executor.h"
#include "fdw/fdw.h"
#include "fdw/ordered.h"
#include "miscadmin.h"
#include "parser/parsetree.h"
#include "utils/memutils.h"
#include "utils/rel.h"

/*
 * Not done by the planner, which also plans subqueries that are then left out
 * for a better variant of them.
 */
static void
check_required_bounds(const KafkaScanState *scan)
{
	/*
	 * A condition that bounds nothing is NIL.  With pushdown off the condition
	 * is demanded all the same, and the rows are those of pushdown on.
	 */
	if (!scan->table->require_bounds || scan->condition != NIL ||
		scan->needs_no_bounds || scan->tail_of != NULL)
		return;
	ereport(
		ERROR,
		(errcode(ERRCODE_FDW_ERROR),
		 errmsg("query would read all of foreign table \"%s\"",
				RelationGetRelationName(scan->rel)),
		 errdetail(
			 "The table's option \"require_bounds\" demands a condition on the record timestamp, the offset or the partition, or a LIMIT."),
		 errhint("Add such a condition to the query.")));
}

void
kafkaBeginForeignScan(ForeignScanState *node, int eflags)
{
	ForeignScan *plan = castNode(ForeignScan, node->ss.ps.plan);
	List *private = plan->fdw_private;
	KafkaScanState *scan = palloc0(sizeof(KafkaScanState));

	node->fdw_state = scan;
	scan->rel = node->ss.ss_currentRelation;
	scan->table = kafka_option_read_table(RelationGetRelid(scan->rel));
	scan->columns =
		kafka_option_read_columns(scan->table, RelationGetDescr(scan->rel));
	scan->condition = list_nth(private, KafkaScanPrivateCondition);
	scan->has_limit = boolVal(list_nth(private, KafkaScanPrivateHasLimit));
	scan->needs_no_bounds =
		boolVal(list_nth(private, KafkaScanPrivateNeedsNoBounds));
	scan->order = list_nth(private, KafkaScanPrivateOrder);
	scan->tail_of = strVal(list_nth(private, KafkaScanPrivateTail));
	if (scan->tail_of[0] == '\0')
		scan->tail_of = NULL;
	if (eflags & EXEC_FLAG_EXPLAIN_ONLY)
		return;
	if (scan->tail_of == NULL)
		scan->batch = kafka_batch_armed_for(RelationGetRelid(scan->rel));
	if (scan->batch)
	{
		kafka_batch_scan_begin(node, scan);
		return;
	}
	check_required_bounds(scan);
	scan->value_states =
		ExecInitExprList(kafka_pushdown_values(plan->fdw_exprs),
						 (PlanState *) node);
	scan->econtext = node->ss.ps.ps_ExprContext;
}

/* As whom the table is read: the owner of a view, or the session's user. */
static Oid
reading_user(ForeignScanState *node)
{
	ForeignScan *plan = castNode(ForeignScan, node->ss.ps.plan);
	RangeTblEntry *rte =
		exec_rt_fetch(plan->scan.scanrelid, node->ss.ps.state);

	return rte->checkAsUser ? rte->checkAsUser : GetUserId();
}

/* Connects and makes the slot; once per executor state. */
static void
open_scan(ForeignScanState *node, KafkaScanState *scan)
{
	ForeignScan *plan = castNode(ForeignScan, node->ss.ps.plan);
	MemoryContext query = node->ss.ps.state->es_query_cxt;
	MemoryContext caller = MemoryContextSwitchTo(query);

	scan->reader = kafka_reader_create(scan->table, scan->columns,
									   reading_user(node), query);
	scan->reader->reads_once = bms_is_empty(plan->scan.plan.allParam);
	scan->reader->may_stop_early = scan->has_limit;
	if (scan->tail_of != NULL)
		kafka_tail_scan_open(node, scan, reading_user(node));
	if (scan->order != NIL)
		scan->ordered = kafka_ordered_scan_create(scan, scan->order);
	scan->slot =
		kafka_slot_create(node->ss.ss_ScanTupleSlot->tts_tupleDescriptor, scan,
						  plan->fdw_private, &scan->reader->rejected);
	MemoryContextSwitchTo(caller);
}

/* Computes the values of the pushed conditions, and with them the bounds. */
static void
compute_bounds(KafkaScanState *scan, KafkaBounds *bounds)
{
	int count = list_length(scan->value_states);
	Datum *values;
	bool *isnull;
	MemoryContext caller;

	kafka_bounds_everything(bounds);
	if (!kafka_enable_pushdown || scan->condition == NIL)
		return;
	caller = MemoryContextSwitchTo(scan->econtext->ecxt_per_tuple_memory);
	values = palloc(sizeof(Datum) * Max(count, 1));
	isnull = palloc(sizeof(bool) * Max(count, 1));
	for (int i = 0; i < count; i++)
		values[i] = ExecEvalExpr((ExprState *) list_nth(scan->value_states, i),
								 scan->econtext, &isnull[i]);
	kafka_pushdown_evaluate(scan->condition, values, isnull, bounds);
	MemoryContextSwitchTo(caller);
}

void
kafka_scan_begin(ForeignScanState *node, KafkaBounds *bounds)
{
	KafkaScanState *scan = (KafkaScanState *) node->fdw_state;

	if (scan->reader == NULL)
		open_scan(node, scan);
	compute_bounds(scan, bounds);
	kafka_reader_begin(scan->reader, bounds);
}

static void
start_scan(KafkaScanState *scan)
{
	int nparts;

	if (scan->tail_of != NULL)
		kafka_tail_scan_start(scan);
	else
	{
		/* Large; off the stack, which may be deep in an executor tree. */
		KafkaBounds *bounds = palloc(sizeof(KafkaBounds));

		compute_bounds(scan, bounds);
		if (scan->ordered)
			kafka_ordered_scan_start(scan->ordered, bounds);
		else
			kafka_reader_start(scan->reader, bounds);
		pfree(bounds);
	}
	nparts = scan->ordered ? kafka_ordered_scan_parts(scan->ordered)
						   : scan->reader->nparts;
	if (scan->starts++ == 0 || nparts > scan->parts_read)
	{
		scan->parts_read = nparts;
		scan->pruned = scan->reader->pruned;
	}
	scan->started = true;
}

void
kafka_scan_start(ForeignScanState *node)
{
	KafkaScanState *scan = (KafkaScanState *) node->fdw_state;

	if (scan->reader == NULL)
		open_scan(node, scan);
	start_scan(scan);
}

static inline bool
next_message(KafkaScanState *scan, KafkaMessage *message)
{
	if (scan->ordered)
		return kafka_ordered_scan_next(scan->ordered, message);
	if (scan->async)
		return kafka_async_next(scan, message);
	return kafka_reader_next(scan->reader, message);
}

TupleTableSlot *
kafkaIterateForeignScan(ForeignScanState *node)
{
	KafkaScanState *scan = (KafkaScanState *) node->fdw_state;
	KafkaMessage message;

	if (scan->batch)
		return kafka_batch_scan_next(scan);
	if (unlikely(!scan->started))
		kafka_scan_start(node);
	if (scan->tail)
		return kafka_tail_scan_next(scan);
	ExecClearTuple(scan->slot);
	while (next_message(scan, &message))
	{
		if (kafka_slot_store(scan->slot, &message))
			return scan->slot;
	}
	return scan->slot; /* empty: the end */
}

void
kafkaReScanForeignScan(ForeignScanState *node)
{
	KafkaScanState *scan = (KafkaScanState *) node->fdw_state;

	if (scan->batch)
		kafka_batch_scan_restart(scan);
	kafka_async_restart(scan);
	if (!scan->started)
		return;
	ExecClearTuple(scan->slot);
	if (scan->ordered)
		kafka_ordered_scan_stop(scan->ordered);
	kafka_reader_stop(scan->reader);
	scan->started = false;
}

void
kafkaEndForeignScan(ForeignScanState *node)
{
	KafkaScanState *scan = (KafkaScanState *) node->fdw_state;

	if (scan == NULL || scan->reader == NULL)
		return;
	ExecClearTuple(scan->slot);
	if (scan->ordered)
		kafka_ordered_scan_stop(scan->ordered);
	kafka_reader_close(scan->reader);
}
