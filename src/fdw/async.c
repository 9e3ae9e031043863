/*-------------------------------------------------------------------------
 *
 * async.c
 *		Several topics of one Append, read side by side.
 *
 * An Append whose children can be read without waiting asks each for a row,
 * and waits for all that have none at once.  A child has a handle of its own,
 * so while one waits for its broker, or its rows are decoded, the library's
 * threads fetch the others' messages.
 *
 * Opening takes round trips, and these have to be waited for.  But the first
 * child that is asked for a row sends the first questions of all of them, so
 * that the brokers answer them together.
 *
 * Not more than MAX_READING children read at a time: each has threads,
 * connections and up to memory_limit of messages.  The others are asked in
 * vain until a place is free, which they look for whenever the Append waits.
 *
 * An Append that gets a row does not look after the children that have none.
 * So a child with company reads no more than a batch of messages before it
 * lets the Append wait, for no time at all if others have something: then
 * all get their turn, and those that wait can look after their brokers.
 *
 * IDENTIFICATION
 *		src/fdw/async.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "executor/execAsync.h"
#include "executor/executor.h"
#include "fdw/fdw.h"
#include "fdw/plan.h"
#include "storage/latch.h"
#include "utils/timestamp.h"

/* As many as there are idle handles that a backend keeps. */
#define MAX_READING 8

/* The children of one Append */
typedef struct KafkaAsyncGroup
{
	int nreading;         /* of them begun and not ended */
	int nvalid;           /* to be read, since the Append last began */
	TimestampTz woken_at; /* when a wait last ended with news for one */
} KafkaAsyncGroup;

typedef struct KafkaAsync
{
	/* Unchanging */
	KafkaAsyncGroup *group;

	/* Mutable */
	AsyncRequest *areq;      /* the Append's, as it was last made */
	bool is_reading;         /* counted in the group */
	bool has_begun;          /* but not started */
	bool is_done;            /* there are no more rows */
	bool has_fetched;        /* in this turn */
	bool must_wait;          /* there is no message at hand */
	bool gave_way;           /* there may be some in the library */
	TimestampTz waits_since; /* 0 while it does not */
	KafkaBounds bounds;      /* valid while has_begun */
} KafkaAsync;

bool
kafkaIsForeignPathAsyncCapable(ForeignPath *path)
{
	const KafkaPlanState *state = path->path.parent->fdw_private;

	/* An ordered scan reads window after window, and waits for each. */
	return kafka_plan_can_be_bounded(state) && path->path.pathkeys == NIL;
}

/*
 * Is there anything to wait for, message by message?  A plan may be older than
 * the batch that it is executed with, which is in memory.
 */
static bool
reads_topics(const KafkaScanState *scan)
{
	return scan->batch == NULL && scan->tail_of == NULL && scan->order == NIL;
}

/* ----------------------------------------------------------------
 * The children of an Append
 * ----------------------------------------------------------------
 */

/* The scan of an Append's child; NULL if it is none of ours. */
static KafkaScanState *
child_scan(const AsyncRequest *areq)
{
	ForeignScanState *node = (ForeignScanState *) areq->requestee;

	if (!IsA(node, ForeignScanState) ||
		node->fdwroutine->ForeignAsyncRequest != kafkaForeignAsyncRequest ||
		!reads_topics(node->fdw_state))
		return NULL;
	return node->fdw_state;
}

/* Makes the group, known to all of its members. */
static void
create_group(const AppendState *append)
{
	MemoryContext query = append->ps.state->es_query_cxt;
	KafkaAsyncGroup *group =
		MemoryContextAllocZero(query, sizeof(KafkaAsyncGroup));
	int i = -1;

	while ((i = bms_next_member(append->as_asyncplans, i)) >= 0)
	{
		AsyncRequest *areq = append->as_asyncrequests[i];
		KafkaScanState *scan = child_scan(areq);

		if (scan == NULL)
			continue;
		scan->async = MemoryContextAllocZero(query, sizeof(KafkaAsync));
		scan->async->group = group;
		scan->async->areq = areq;
	}
}

static void
leave_group(KafkaAsync *async)
{
	if (!async->is_reading)
		return;
	async->is_reading = false;
	async->group->nreading--;
}

void
kafka_async_restart(KafkaScanState *scan)
{
	KafkaAsync *async = scan->async;

	if (async == NULL)
		return;
	if (async->has_begun)
		kafka_reader_stop(scan->reader);
	leave_group(async);
	async->has_begun = false;
	async->is_done = false;
	async->has_fetched = false;
	async->waits_since = 0;
}

/* Sends a child's first questions, if there is a place for it. */
static void
begin_child(KafkaScanState *scan)
{
	KafkaAsync *async = scan->async;

	if (async->is_reading || async->is_done ||
		async->group->nreading >= MAX_READING)
		return;
	async->is_reading = true;
	async->group->nreading++;
	async->has_begun = true;
	kafka_scan_begin((ForeignScanState *) async->areq->requestee,
					 &async->bounds);

	/* A handle for each of many, over all rescans, would be too many. */
	if (async->group->nvalid > MAX_READING)
		scan->reader->reads_once = true;
}

/*
 * Ends what is left of the Append's last pass.  The executor does that to a
 * child whose parameters have changed when it asks it for a row, which may be
 * too late for us, or never.
 */
static void
settle_children(const AppendState *append)
{
	int i = -1;

	while ((i = bms_next_member(append->as_asyncplans, i)) >= 0)
	{
		AsyncRequest *areq = append->as_asyncrequests[i];
		KafkaScanState *scan = child_scan(areq);

		if (scan == NULL || areq->requestee->chgParam == NULL)
			continue;
		if (bms_is_member(i, append->as_valid_asyncplans))
			ExecReScan(areq->requestee);
		else
			kafkaReScanForeignScan((ForeignScanState *) areq->requestee);
	}
}

/*
 * Sends the first questions of all children that an Append is about to ask
 * for a row, and then the second ones.
 */
static void
begin_children(const AppendState *append, KafkaAsyncGroup *group)
{
	int i = -1;

	settle_children(append);
	group->nvalid = bms_num_members(append->as_valid_asyncplans);
	while ((i = bms_next_member(append->as_valid_asyncplans, i)) >= 0)
	{
		KafkaScanState *scan = child_scan(append->as_asyncrequests[i]);

		if (scan)
			begin_child(scan);
	}
	i = -1;
	while ((i = bms_next_member(append->as_valid_asyncplans, i)) >= 0)
	{
		KafkaScanState *scan = child_scan(append->as_asyncrequests[i]);

		if (scan && scan->async->has_begun)
			kafka_reader_ask(scan->reader, &scan->async->bounds);
	}
}

/* Is another child waiting, which a wait of the Append would help? */
static bool
has_company(const KafkaAsync *async)
{
	const AppendState *append = (AppendState *) async->areq->requestor;
	int i = -1;

	while ((i = bms_next_member(append->as_valid_asyncplans, i)) >= 0)
	{
		if (append->as_asyncrequests[i] != async->areq &&
			append->as_asyncrequests[i]->callback_pending)
			return true;
	}
	return false;
}

/* ----------------------------------------------------------------
 * Rows
 * ----------------------------------------------------------------
 */

bool
kafka_async_next(KafkaScanState *scan, KafkaMessage *message)
{
	KafkaAsync *async = scan->async;

	for (;;)
	{
		KafkaTake take = kafka_reader_take(scan->reader, message);

		if (take == KAFKA_TAKE_MESSAGE)
			return true;
		if (take == KAFKA_TAKE_END)
		{
			async->is_done = true;
			leave_group(async);
			return false;
		}
		async->gave_way = async->has_fetched && has_company(async);
		async->has_fetched = true;
		if (async->gave_way || !kafka_cursor_fetch(scan->reader->cursor))
		{
			async->must_wait = true;
			return false;
		}
	}
}

/* Asks the scan for a row, and tells the Append whether there is one. */
static void
produce_row(AsyncRequest *areq, KafkaScanState *scan)
{
	TupleTableSlot *row;

	scan->async->must_wait = false;
	row = areq->requestee->ExecProcNodeReal(areq->requestee);
	if (scan->async->must_wait)
		ExecAsyncRequestPending(areq);
	else
		ExecAsyncRequestDone(areq, TupIsNull(row) ? NULL : row);
}

/* Starts reading, which takes the answers to what begin_child asked. */
static void
start_child(AsyncRequest *areq, KafkaAsync *async)
{
	kafka_scan_start((ForeignScanState *) areq->requestee);
	async->has_begun = false;
}

void
kafkaForeignAsyncRequest(AsyncRequest *areq)
{
	KafkaScanState *scan = child_scan(areq);

	if (scan == NULL)
	{
		TupleTableSlot *row =
			areq->requestee->ExecProcNodeReal(areq->requestee);

		ExecAsyncRequestDone(areq, TupIsNull(row) ? NULL : row);
		return;
	}
	if (scan->async == NULL)
		create_group((AppendState *) areq->requestor);
	if (!scan->async->is_reading)
		begin_children((AppendState *) areq->requestor, scan->async->group);
	if (!scan->async->is_reading)
	{
		ExecAsyncRequestPending(areq); /* until there is a place */
		return;
	}
	if (scan->async->has_begun)
		start_child(areq, scan->async);
	produce_row(areq, scan);
}

/* ----------------------------------------------------------------
 * Waiting
 * ----------------------------------------------------------------
 */

/*
 * Counts the time for which the Append has waited with this child among those
 * that had nothing.  Only a child that there is news for is told at once that
 * the wait is over; the others find out before the next.
 */
static void
count_wait(KafkaScanState *scan)
{
	KafkaAsync *async = scan->async;
	TimestampTz woken_at = async->group->woken_at;

	if (async->waits_since == 0 || woken_at <= async->waits_since)
		return;
	kafka_cursor_add_wait(scan->reader->cursor, woken_at - async->waits_since);
	async->waits_since = 0;
}

/* The request is done without a row, while the Append prepares to wait. */
static void
end_request(AsyncRequest *areq)
{
	areq->callback_pending = false;
	ExecAsyncRequestDone(areq, NULL);
	ExecAsyncResponse(areq);
}

void
kafkaForeignAsyncConfigureWait(AsyncRequest *areq)
{
	KafkaScanState *scan = child_scan(areq);
	KafkaAsync *async = scan->async;
	AppendState *append = (AppendState *) areq->requestor;

	begin_child(scan);
	if (!async->is_reading)
		return;
	if (async->has_begun)
	{
		start_child(areq, async);
		async->gave_way = true;
	}
	if (scan->reader->cursor == NULL)
	{
		async->is_done = true;
		leave_group(async);
		end_request(areq);
		return;
	}
	count_wait(scan);

	/* With children left that are read synchronously it only looks. */
	if (async->waits_since == 0 && append->as_syncdone && !async->gave_way)
		async->waits_since = GetCurrentTimestamp();
	AddWaitEventToSet(append->as_eventset, WL_SOCKET_READABLE,
					  kafka_cursor_begin_wait(scan->reader->cursor,
											  async->gave_way),
					  NULL, areq);
}

void
kafkaForeignAsyncNotify(AsyncRequest *areq)
{
	KafkaScanState *scan = child_scan(areq);
	KafkaAsync *async = scan->async;

	async->group->woken_at = GetCurrentTimestamp();
	count_wait(scan);
	kafka_cursor_end_wait(scan->reader->cursor);
	async->has_fetched = false;
	produce_row(areq, scan);
}
