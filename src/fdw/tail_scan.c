/*-------------------------------------------------------------------------
 *
 * tail_scan.c
 *		Foreign scans of what a rollup has not counted yet.
 *
 * Such a scan hands out the messages that a run would count if it began now,
 * so what it reads does not depend on the query's conditions: whether a message
 * is late, or repeats another, is told by those before it.  For the same reason
 * a message is bad if any column that the rollup needs is, whatever columns
 * the query does; and a bad one is left out, as by a run, whatever the table's
 * on_error.
 *
 * IDENTIFICATION
 *		src/fdw/tail_scan.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "executor/executor.h"
#include "fdw/fdw.h"
#include "utils/rel.h"

/* Opens the tail, asking where it ends; the current context is the query's. */
void
kafka_tail_scan_open(ForeignScanState *node, KafkaScanState *scan, Oid userid)
{
	MemoryContext caller = MemoryContextSwitchTo(scan->reader->context);

	kafka_snapshot_open(scan->reader, NULL);
	scan->tail =
		kafka_tail_open(scan->tail_of, RelationGetRelid(scan->rel), userid,
						node->ss.ps.state->es_snapshot, scan->reader);
	MemoryContextSwitchTo(caller);
}

void
kafka_tail_scan_start(KafkaScanState *scan)
{
	kafka_tail_start(scan->tail);
}

/* Computes those checks of the slot's row that this rollup has. */
static void
compute_checks(KafkaScanState *scan, KafkaTailRow *row)
{
	ResetExprContext(scan->econtext);
	scan->econtext->ecxt_scantuple = scan->slot;
	for (int i = 0; i < KAFKA_TAIL_NCHECKS; i++)
	{
		row->isnull[i] = true;
		if (!kafka_tail_needs(scan->tail, KAFKA_TAIL_FIRST_CHECK + i))
			continue;
		row->values[i] =
			ExecEvalExprSwitchContext(list_nth(scan->value_states, i),
									  scan->econtext, &row->isnull[i]);
	}
}

/* Gets the next row that counts; an empty slot is the end. */
TupleTableSlot *
kafka_tail_scan_next(KafkaScanState *scan)
{
	KafkaMessage message;

	ExecClearTuple(scan->slot);
	while (kafka_reader_next(scan->reader, &message))
	{
		KafkaTailRow row;

		if (!kafka_tail_is_new(scan->tail, &message) ||
			!kafka_slot_store(scan->slot, &message))
			continue;
		compute_checks(scan, &row);
		if (kafka_tail_counts(scan->tail, &message, &row))
			return scan->slot;
		ExecClearTuple(scan->slot);
	}
	kafka_tail_end(scan->tail);
	return scan->slot; /* empty: the end */
}
