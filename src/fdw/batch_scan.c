/*-------------------------------------------------------------------------
 *
 * batch_scan.c
 *		Foreign scans over a batch of messages in memory.
 *
 * Such a scan asks no broker and needs no server to be there: conditions are
 * not turned into bounds, since the plan's filter has them all, and what the
 * table says of bounds and limits does not apply.
 *
 * Which messages are bad must be known before the row is given to the plan
 * above, since only then can the message be left out.  So all columns that
 * the plan needs are decoded at once, those of rows that the filter drops too:
 * a bad message must not depend on the order of conditions.  Nothing is raised
 * for one, it is put aside in the batch with its fault, whatever the table's
 * on_error, and no later scan of the batch sees it.
 *
 * Where several scans of the batch need the same columns, they are decoded once;
 * see batch_cache.c.
 *
 * IDENTIFICATION
 *		src/fdw/batch_scan.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "executor/executor.h"
#include "fdw/batch_cache.h"
#include "fdw/fdw.h"

/* Makes the slot; the current context is the executor state's. */
void
kafka_batch_scan_begin(ForeignScanState *node, KafkaScanState *scan)
{
	ForeignScan *plan = castNode(ForeignScan, node->ss.ps.plan);

	scan->slot =
		kafka_slot_create(node->ss.ss_ScanTupleSlot->tts_tupleDescriptor, scan,
						  plan->fdw_private, &scan->put_aside);
	scan->next = scan->batch->start;
	scan->batch->current = -1;
	scan->cached = kafka_batch_cache_begin(scan, plan->fdw_private);
}

/* Decodes the entry that the scan is at; false when it is bad. */
static bool
store_message(KafkaScanState *scan)
{
	KafkaMessage message;

	kafka_batch_message(scan->batch, scan->next, &message);
	return kafka_slot_store(scan->slot, &message);
}

/* Gets the next good message's row; an empty slot is the end. */
TupleTableSlot *
kafka_batch_scan_next(KafkaScanState *scan)
{
	KafkaBatch *batch = scan->batch;
	int before = batch->current;

	ExecClearTuple(scan->slot);
	Assert(batch->end <= batch->nentries);
	for (; scan->next < batch->end; scan->next++)
	{
		const char *text;
		int sqlerrcode;

		if (batch->entries[scan->next].stage != KAFKA_STAGE_NONE)
			continue;

		/* Set first: should decoding raise an error, this is where. */
		batch->current = scan->next;
		if ((scan->cached != NULL &&
			 kafka_batch_cache_store(scan->cached, scan->next)) ||
			store_message(scan))
		{
			scan->next++;
			return scan->slot;
		}
		sqlerrcode = kafka_slot_get_fault(scan->slot, &text);
		kafka_batch_put_aside(batch, scan->next, KAFKA_STAGE_DECODE,
							  sqlerrcode, text);
		batch->current = before;
	}
	return scan->slot;
}

/*
 * From the start again, as for the inner side of a join.  batch->current stays:
 * the error that comes next may still be the last message's.
 */
void
kafka_batch_scan_restart(KafkaScanState *scan)
{
	ExecClearTuple(scan->slot);
	scan->next = scan->batch->start;
}
