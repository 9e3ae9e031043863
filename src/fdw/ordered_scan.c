/*-------------------------------------------------------------------------
 *
 * ordered_scan.c
 *		Gives the rows of a scan in order, reading no more than is wanted.
 *
 * A scan that is ordered by a dimension, the offset or the record time, is read
 * as a series of windows over that dimension, from the end where the order
 * begins.  All that lies in a window is read, sorted and handed out before the
 * next one is looked at.  The windows are disjoint and cover the dimension, so
 * that every row comes exactly once and in order, however the values are
 * spread, tied or disordered; what is read for a window of time is filtered by
 * it exactly, since the ranges of offsets found for it may hold more.  The
 * first window is about as long as the LIMIT needs, and each is longer than the
 * one before, so where the LIMIT is not reached, all is read about twice.
 *
 * Nothing is sorted where a partition gives the order by itself: of one
 * partition offsets ascend, and ordered by partition, one after the other is
 * read.
 *
 * Records without a time are in no window.  Where they count, they come last,
 * and all is read once more to find them.
 *
 * The ends of what is read by time may need a proof (see client.h), and
 * without it a partition is read further than was planned.  That must be known
 * before offsets are handed out in order, so the proofs are looked for first.
 *
 * IDENTIFICATION
 *		src/fdw/ordered_scan.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/int.h"
#include "core/moment.h"
#include "executor/executor.h"
#include "fdw/ordered.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/rel.h"

typedef enum OrderedPhase
{
	ORDERED_BETWEEN, /* the next window is to be found */
	ORDERED_SORTED,  /* a window is sorted, and being handed out */
	ORDERED_STREAM,  /* what is read is handed out as it comes */
	ORDERED_DONE
} OrderedPhase;

struct KafkaOrderedScan
{
	/* Unchanging */
	KafkaScanState *scan;
	KafkaReader *reader;
	KafkaDimension dimension;
	bool descending;
	bool may_lack_times;
	List *order; /* the plan's */
	bool reads_once;
	bool may_stop_early;
	MemoryContext context;        /* holds what belongs to a start */
	MemoryContext window_context; /* what belongs to a window */
	KafkaMessageSort *sort;
	int64 window_bytes; /* longer windows are not aimed at */

	/* Of the current start */
	OrderedPhase phase;
	KafkaBounds *bounds;
	KafkaReadPart *parts; /* all that may be read */
	int nparts;
	KafkaStopReason stop_reason;
	KafkaRange left;   /* what of the dimension no window has had */
	KafkaRange window; /* the one being read */
	int64 width;       /* of the next window of offsets */
	KafkaTimeProbe *probe;
	bool untimed; /* records without a time are being read */
};

static bool
is_empty(KafkaRange range)
{
	return range.start >= range.end;
}

static bool
contains(KafkaRange range, int64 value)
{
	return value >= range.start &&
		   (value < range.end || range.end == PG_INT64_MAX);
}

/* ----------------------------------------------------------------
 * Making and starting one
 * ----------------------------------------------------------------
 */

KafkaOrderedScan *
kafka_ordered_scan_create(KafkaScanState *scan, List *order)
{
	KafkaOrderedScan *ordered = palloc0(sizeof(KafkaOrderedScan));
	KafkaReader *reader = scan->reader;
	int64 sort_kb = reader->connection->memory_limit_bytes / 4 / 1024;

	ordered->scan = scan;
	ordered->reader = reader;
	ordered->order = order;
	ordered->dimension = list_nth_int(order, KafkaOrderPrivateDimension);
	ordered->descending = list_nth_int(order, KafkaOrderPrivateDescending);
	ordered->may_lack_times =
		list_nth_int(order, KafkaOrderPrivateMayLackTimes);

	/* Between windows the client is still needed. */
	ordered->reads_once = reader->reads_once;
	reader->reads_once = false;
	ordered->may_stop_early = reader->may_stop_early;
	sort_kb = Max(Min(sort_kb, work_mem), 64);
	ordered->window_bytes = sort_kb * 1024 / 2;
	ordered->sort =
		kafka_message_sort_create(RelationGetRelid(scan->rel),
								  ordered->descending, (int) sort_kb);
	ordered->context =
		AllocSetContextCreate(CurrentMemoryContext, "Kafka ordered scan",
							  ALLOCSET_DEFAULT_SIZES);
	ordered->window_context =
		AllocSetContextCreate(ordered->context, "Kafka ordered window",
							  ALLOCSET_DEFAULT_SIZES);
	return ordered;
}

static bool
evaluate_count(KafkaOrderedScan *ordered, KafkaOrderPrivate member,
			   int64 *count)
{
	int index = list_nth_int(ordered->order, member);
	ExprState *state;
	bool isnull;
	Datum value;

	*count = 0;
	if (index < 0)
		return false;
	state = list_nth(ordered->scan->value_states, index);
	value = ExecEvalExprSwitchContext(state, ordered->scan->econtext, &isnull);
	if (isnull)
		return false;
	*count = Max(DatumGetInt64(value), 0);
	return true;
}

/* How many rows are likely to be wanted? */
static int64
get_count(KafkaOrderedScan *ordered)
{
	int64 limit;
	int64 offset;
	int64 count;

	if (!evaluate_count(ordered, KafkaOrderPrivateLimitValue, &limit))
		return list_nth_int(ordered->order, KafkaOrderPrivateCount);
	(void) evaluate_count(ordered, KafkaOrderPrivateOffsetValue, &offset);
	if (pg_add_s64_overflow(limit, offset, &count))
		return PG_INT64_MAX / 4;
	return Max(Min(count, PG_INT64_MAX / 4), 1);
}

/* Keeps what the reader has resolved, which its next start forgets. */
static void
copy_parts(KafkaOrderedScan *ordered)
{
	KafkaReader *reader = ordered->reader;

	ordered->nparts = reader->nparts;
	ordered->parts = palloc(sizeof(KafkaReadPart) * Max(reader->nparts, 1));
	for (int i = 0; i < reader->nparts; i++)
	{
		const KafkaReadPart *from = &reader->parts[i];
		KafkaReadPart *to = &ordered->parts[i];

		*to = *from;
		to->ranges = palloc(sizeof(KafkaRange) * from->nranges);
		memcpy(to->ranges, from->ranges, sizeof(KafkaRange) * from->nranges);
		to->proofs_ms = palloc0(sizeof(int64) * from->nranges);
		if (from->proofs_ms)
			memcpy(to->proofs_ms, from->proofs_ms,
				   sizeof(int64) * from->nranges);
	}
}

static int64
count_offsets(const KafkaOrderedScan *ordered)
{
	int64 count = 0;

	for (int i = 0; i < ordered->nparts; i++)
	{
		for (int r = 0; r < ordered->parts[i].nranges; r++)
			count += ordered->parts[i].ranges[r].end -
					 ordered->parts[i].ranges[r].start;
	}
	return count;
}

/* ----------------------------------------------------------------
 * Windows of offsets, and partitions
 * ----------------------------------------------------------------
 */

/* The offset of what is left where the order goes on; false at the end. */
static bool
find_front(const KafkaOrderedScan *ordered, int64 *front)
{
	bool found = false;

	for (int i = 0; i < ordered->nparts; i++)
	{
		const KafkaReadPart *part = &ordered->parts[i];

		for (int r = 0; r < part->nranges; r++)
		{
			KafkaRange range =
				kafka_range_intersect(part->ranges[r], ordered->left);
			int64 at = ordered->descending ? range.end : range.start;

			if (is_empty(range))
				continue;
			if (!found || (ordered->descending ? at > *front : at < *front))
				*front = at;
			found = true;
		}
	}
	return found;
}

/* The parts of what may be read that lie in the window. */
static KafkaReadPart *
clip_parts(const KafkaOrderedScan *ordered, int *nclipped)
{
	KafkaReadPart *clipped =
		palloc(sizeof(KafkaReadPart) * Max(ordered->nparts, 1));

	*nclipped = 0;
	for (int i = 0; i < ordered->nparts; i++)
	{
		const KafkaReadPart *part = &ordered->parts[i];
		KafkaReadPart *to = &clipped[*nclipped];

		*to = *part;
		to->proofs_ms = NULL;
		to->nranges = 0;
		to->ranges = palloc(sizeof(KafkaRange) * part->nranges);
		for (int r = 0; r < part->nranges; r++)
		{
			KafkaRange range =
				kafka_range_intersect(part->ranges[r], ordered->window);

			if (!is_empty(range))
				to->ranges[to->nranges++] = range;
		}
		*nclipped += to->nranges > 0;
	}
	return clipped;
}

/*
 * The value that the order is by; false for a record without a time, or with
 * one that no row can have: a row that has NULL instead.
 */
static bool
find_key(const KafkaOrderedScan *ordered, const KafkaMessage *message,
		 int64 *key)
{
	bool append_time;
	int64 moment;

	if (ordered->dimension == KAFKA_DIMENSION_OFFSET)
	{
		*key = message->offset;
		return true;
	}
	*key = kafka_message_timestamp(message, &append_time);
	if (*key == -1)
		return false;
	return ordered->scan->table->on_error == KAFKA_ON_ERROR_ERROR ||
		   kafka_moment_from_kafka(*key, &moment);
}

/* Reads and sorts what was started, as far as it lies in the window. */
static void
sort_window(KafkaOrderedScan *ordered)
{
	KafkaMessage message;
	int64 key;

	kafka_message_sort_begin(ordered->sort);
	while (kafka_reader_next(ordered->reader, &message))
	{
		CHECK_FOR_INTERRUPTS();
		if (find_key(ordered, &message, &key) &&
			contains(ordered->window, key))
			kafka_message_sort_put(ordered->sort, key, &message);
	}
	kafka_message_sort_perform(ordered->sort);
	ordered->phase = ORDERED_SORTED;
}

static bool
begin_offset_window(KafkaOrderedScan *ordered)
{
	bool is_stream = ordered->nparts == 1 && !ordered->descending;
	KafkaReadPart *parts;
	int nparts;
	int64 front = 0;

	if (!find_front(ordered, &front))
		return false;
	if (is_stream)
		ordered->window = ordered->left;
	else if (ordered->descending)
		ordered->window = (KafkaRange){Max(front - ordered->width, 0), front};
	else
		ordered->window =
			(KafkaRange){front,
						 front + Min(ordered->width, PG_INT64_MAX - front)};
	if (ordered->descending)
		ordered->left.end = ordered->window.start;
	else
		ordered->left.start = ordered->window.end;
	if (is_stream)
	{
		ordered->reader->may_stop_early = ordered->may_stop_early;
		kafka_reader_start_parts(ordered->reader, ordered->parts, 1);
		ordered->phase = ORDERED_STREAM;
		return true;
	}
	parts = clip_parts(ordered, &nparts);
	kafka_reader_start_parts(ordered->reader, parts, nparts);
	sort_window(ordered);
	if (kafka_message_sort_bytes(ordered->sort) <= ordered->window_bytes)
		ordered->width = Min(ordered->width, PG_INT64_MAX / 4) * 2;
	else
		ordered->width = Max(ordered->width / 2, 1);
	return true;
}

/* Starts the next partition, of all topics. */
static bool
begin_partition(KafkaOrderedScan *ordered)
{
	KafkaReadPart *parts =
		palloc(sizeof(KafkaReadPart) * Max(ordered->nparts, 1));
	int64 next = 0;
	int nparts = 0;

	for (int i = 0; i < ordered->nparts; i++)
	{
		const KafkaReadPart *part = &ordered->parts[i];

		if (!contains(ordered->left, part->partition))
			continue;
		if (nparts > 0 && (ordered->descending ? part->partition < next
											   : part->partition > next))
			continue;
		if (nparts > 0 && part->partition != next)
			nparts = 0;
		next = part->partition;
		parts[nparts++] = *part;
	}
	if (nparts == 0)
		return false;
	if (ordered->descending)
		ordered->left.end = next;
	else
		ordered->left.start = next + 1;
	ordered->reader->may_stop_early = ordered->may_stop_early;
	kafka_reader_start_parts(ordered->reader, parts, nparts);
	ordered->phase = ORDERED_STREAM;
	return true;
}

/* ----------------------------------------------------------------
 * Windows of time
 * ----------------------------------------------------------------
 */

/* Starts reading all that may lie in the window; false if nothing may. */
static bool
start_time_window(KafkaOrderedScan *ordered)
{
	KafkaReader *reader = ordered->reader;
	KafkaBounds *bounds = palloc(sizeof(KafkaBounds));
	KafkaBounds *window = palloc(sizeof(KafkaBounds));
	bool any;

	*bounds = *ordered->bounds;
	kafka_bounds_nothing(window);
	kafka_bounds_add_range(window, KAFKA_DIMENSION_TIME, ordered->window);
	kafka_bounds_and(bounds, window);
	any = bounds->nboxes > 0;
	if (any)
		kafka_reader_start(reader, bounds);
	pfree(window);
	pfree(bounds);
	return any;
}

/*
 * Is what was started for the window as long as for all that is left?  Then
 * all of that had better be taken at once.
 */
static bool
reads_all_left(const KafkaOrderedScan *ordered)
{
	KafkaStopReason reason = ordered->reader->stop_reason;

	return reason == KAFKA_STOP_INDEX_NOT_TRUSTED ||
		   (!ordered->descending && reason == KAFKA_STOP_UNBOUNDED_DISORDER);
}

static void
begin_time_window(KafkaOrderedScan *ordered)
{
	if (ordered->probe)
		ordered->window = kafka_time_probe_next(ordered->probe, ordered->left);
	else
		ordered->window = ordered->left;
	ordered->reader->may_stop_early = false;
	if (!start_time_window(ordered))
		kafka_reader_stop(ordered->reader);
	else if (reads_all_left(ordered) &&
			 (ordered->window.start != ordered->left.start ||
			  ordered->window.end != ordered->left.end))
	{
		ordered->window = ordered->left;
		(void) start_time_window(ordered);
	}
	if (ordered->descending)
		ordered->left.end = ordered->window.start;
	else
		ordered->left.start = ordered->window.end;
	sort_window(ordered);

	/*
	 * Where every window is read up to the end, long ones are the lesser
	 * evil.
	 */
	if (ordered->probe &&
		kafka_message_sort_bytes(ordered->sort) > ordered->window_bytes &&
		ordered->reader->stop_reason != KAFKA_STOP_UNBOUNDED_DISORDER)
		kafka_time_probe_slow_down(ordered->probe);
}

/* The next window, then the records without a time. */
static bool
begin_time_step(KafkaOrderedScan *ordered)
{
	if (!is_empty(ordered->left))
	{
		begin_time_window(ordered);
		return true;
	}
	if (!ordered->may_lack_times || ordered->untimed)
		return false;
	ordered->untimed = true;
	ordered->reader->may_stop_early = ordered->may_stop_early;
	kafka_reader_start(ordered->reader, ordered->bounds);
	ordered->phase = ORDERED_STREAM;
	return true;
}

/* ----------------------------------------------------------------
 * Handing out
 * ----------------------------------------------------------------
 */

void
kafka_ordered_scan_start(KafkaOrderedScan *ordered, const KafkaBounds *bounds)
{
	MemoryContext caller;
	int64 count = get_count(ordered);

	kafka_ordered_scan_stop(ordered);
	ordered->reader->goes_on = false;
	caller = MemoryContextSwitchTo(ordered->context);
	ordered->bounds = palloc(sizeof(KafkaBounds));
	*ordered->bounds = *bounds;
	kafka_reader_resolve(ordered->reader, bounds);
	copy_parts(ordered);
	ordered->stop_reason = ordered->reader->stop_reason;
	ordered->reader->may_stop_early = false;
	ordered->left = KAFKA_RANGE_ALL;
	ordered->untimed = false;
	ordered->probe = NULL;

	/* A plan made before the setting was off is to read all as well. */
	if (!kafka_enable_pushdown)
		count = PG_INT64_MAX;
	ordered->width = Min(count, PG_INT64_MAX / 4);
	ordered->phase = ordered->nparts > 0 ? ORDERED_BETWEEN : ORDERED_DONE;
	if (ordered->dimension == KAFKA_DIMENSION_OFFSET &&
		(ordered->descending || ordered->nparts > 1))
		kafka_ordered_prove(ordered->reader, ordered->parts, ordered->nparts);
	if (ordered->dimension == KAFKA_DIMENSION_TIME && ordered->nparts > 0 &&
		count < count_offsets(ordered) / 2)
		ordered->probe =
			kafka_time_probe_create(ordered->reader, ordered->parts,
									ordered->nparts, ordered->descending,
									bounds, count);
	MemoryContextSwitchTo(caller);
}

int
kafka_ordered_scan_parts(const KafkaOrderedScan *ordered)
{
	return ordered->nparts;
}

static bool
begin_window(KafkaOrderedScan *ordered)
{
	MemoryContext caller = MemoryContextSwitchTo(ordered->window_context);
	bool begun;

	kafka_reader_stop(ordered->reader);
	MemoryContextReset(ordered->window_context);
	switch (ordered->dimension)
	{
		case KAFKA_DIMENSION_PARTITION:
			begun = begin_partition(ordered);
			break;
		case KAFKA_DIMENSION_OFFSET:
			begun = begin_offset_window(ordered);
			break;
		default:
			begun = begin_time_step(ordered);
	}

	/* Of windows there is nothing to tell: they end because others follow. */
	ordered->reader->stop_reason = ordered->stop_reason;
	ordered->reader->goes_on = true;
	MemoryContextSwitchTo(caller);
	return begun;
}

/* Is this one to be handed out, where messages are so as they come? */
static bool
is_streamed(const KafkaOrderedScan *ordered, const KafkaMessage *message)
{
	int64 key;

	if (ordered->dimension != KAFKA_DIMENSION_TIME)
		return true;
	return !find_key(ordered, message, &key);
}

bool
kafka_ordered_scan_next(KafkaOrderedScan *ordered, KafkaMessage *message)
{
	while (ordered->phase != ORDERED_DONE)
	{
		if (ordered->phase == ORDERED_SORTED)
		{
			if (kafka_message_sort_get(ordered->sort, message))
				return true;
			kafka_message_sort_end(ordered->sort);
		}
		while (ordered->phase == ORDERED_STREAM &&
			   kafka_reader_next(ordered->reader, message))
		{
			CHECK_FOR_INTERRUPTS();
			if (is_streamed(ordered, message))
				return true;
		}
		ordered->phase = ORDERED_BETWEEN;
		if (!begin_window(ordered))
			ordered->phase = ORDERED_DONE;
	}

	/* The query may go on for long, and over many tables. */
	kafka_reader_stop(ordered->reader);
	if (ordered->reads_once)
		kafka_reader_close(ordered->reader);
	return false;
}

void
kafka_ordered_scan_stop(KafkaOrderedScan *ordered)
{
	kafka_message_sort_end(ordered->sort);
	kafka_reader_stop(ordered->reader);
	ordered->phase = ORDERED_DONE;
	ordered->probe = NULL;
	ordered->parts = NULL;
	MemoryContextResetOnly(ordered->context);
	MemoryContextReset(ordered->window_context);
}

char *
kafka_ordered_describe(const KafkaScanState *scan)
{
	TupleDesc tupdesc = RelationGetDescr(scan->rel);
	List *order = scan->order;
	KafkaDimension dimension;
	const char *how[KAFKA_DIMENSION_COUNT] =
		{[KAFKA_DIMENSION_PARTITION] = "one partition after the other",
		 [KAFKA_DIMENSION_OFFSET] = "in windows of offsets",
		 [KAFKA_DIMENSION_TIME] = "in windows of time"};
	KafkaRole roles[KAFKA_DIMENSION_COUNT] = {[KAFKA_DIMENSION_PARTITION] =
												  KAFKA_ROLE_PARTITION,
											  [KAFKA_DIMENSION_OFFSET] =
												  KAFKA_ROLE_OFFSET,
											  [KAFKA_DIMENSION_TIME] =
												  KAFKA_ROLE_TIMESTAMP};

	if (order == NIL)
		return NULL;
	dimension = list_nth_int(order, KafkaOrderPrivateDimension);
	for (int i = 0; i < tupdesc->natts; i++)
	{
		if (scan->columns[i].dropped ||
			scan->columns[i].role != roles[dimension])
			continue;
		return psprintf("%s%s, %s",
						quote_identifier(
							NameStr(TupleDescAttr(tupdesc, i)->attname)),
						list_nth_int(order, KafkaOrderPrivateDescending)
							? " DESC"
							: "",
						how[dimension]);
	}
	return NULL;
}
