/*-------------------------------------------------------------------------
 *
 * cursor.c
 *		Reads ranges of partitions to their very ends.
 *
 * All partitions feed one library queue, from which messages are taken in
 * batches without waiting; when it is empty the backend sleeps on its latch
 * and the handle's event descriptor.
 *
 * When is a partition done?  Only when its position is at or past the end of
 * its last range: a message at or beyond it was seen, or the library raised
 * an end-of-partition event at or beyond it.  Both are needed: the last
 * offsets of a range may be transaction markers, aborted or compacted away,
 * so that no message comes at all, and on a busy topic the end of the
 * partition may never be reached.  An end-of-partition event below the end
 * snapshot proves nothing, since it is raised against one answer's end, which
 * a replica that lags can put lower.  Silence proves nothing either; what it
 * leads to is in watch.c.
 *
 * A range starts strictly below the end snapshot: told to start at or past
 * the last stable offset, the library says nothing for ever.
 *
 * The library's broker thread stops fetching when the queue holds enough, and
 * in 2.0.2 then sleeps for up to a second whatever happens to the queue.  Any
 * request to that broker wakes it, and the cheapest is a lookup that nobody
 * waits for; see poke_brokers.  Without it a scan takes three times as long.
 *
 * A handle for small windows stops with each answer, however small.  Of most
 * windows the first one has all, and each further one, asked for while that is
 * on its way to us, would cost a round trip and be thrown away.  Where more is
 * wanted after all, the brokers are woken as soon as the queue is empty.
 *
 * IDENTIFICATION
 *		src/client/cursor.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "client/batch.h"
#include "client/cursor.h"
#include "miscadmin.h"
#include "utils/memutils.h"

/*
 * A gap between two ranges is read through rather than jumped over when it is
 * no longer than this: stopping and starting costs a round trip.
 */
#define JUMP_MIN_OFFSETS 5000

/*
 * With an empty queue, how long to wait before thinking it was a stall.  The
 * second is for a queue that one answer fills, where it would be none of the
 * library's accidents, and the rest of an answer may be yet to come: to ask
 * for another one in vain is worse than to ask a moment later.
 */
#define STALL_WAIT_MS 2
#define ANSWER_WAIT_MS 5

/* The first such wait where nothing has come at all; each is twice as long. */
#define QUIET_WAIT_MS 50

static void free_cursor(void *arg);

/* ----------------------------------------------------------------
 * Opening and closing
 * ----------------------------------------------------------------
 */

/* Finds or adds the topic that parts of this name belong to. */
static KafkaCursorTopic *
find_topic(KafkaCursor *cursor, const char *name)
{
	KafkaCursorTopic *topic;

	for (int i = 0; i < cursor->ntopics; i++)
	{
		if (strcmp(cursor->topics[i].name, name) == 0)
			return &cursor->topics[i];
	}
	topic = &cursor->topics[cursor->ntopics];
	topic->rkt = rd_kafka_topic_new(cursor->client->rk, name, NULL);
	if (topic->rkt == NULL)
		kafka_client_raise(cursor->client, KAFKA_DOING_READ,
						   rd_kafka_last_error(), NULL, name, -1);
	topic->name = name;
	cursor->ntopics++;
	return topic;
}

static void
index_parts(KafkaCursor *cursor)
{
	for (int i = 0; i < cursor->nparts; i++)
	{
		KafkaCursorPart *part = &cursor->parts[i];

		part->topic = find_topic(cursor, part->read.topic);
		part->topic->slots = Max(part->topic->slots, part->read.partition + 1);
	}
	for (int i = 0; i < cursor->ntopics; i++)
		cursor->topics[i].parts =
			palloc0(sizeof(KafkaCursorPart *) * cursor->topics[i].slots);
	for (int i = 0; i < cursor->nparts; i++)
	{
		KafkaCursorPart *part = &cursor->parts[i];

		part->topic->parts[part->read.partition] = part;
	}
}

KafkaCursor *
kafka_cursor_open(KafkaClient *client, const KafkaReadPart *parts, int nparts,
				  void (*tick)(void *arg), void *tick_arg)
{
	KafkaCursor *cursor = palloc0(sizeof(KafkaCursor));

	cursor->client = client;
	cursor->tick = tick;
	cursor->tick_arg = tick_arg;
	cursor->nparts = nparts;
	cursor->parts = palloc0(sizeof(KafkaCursorPart) * Max(nparts, 1));
	cursor->topics = palloc0(sizeof(KafkaCursorTopic) * Max(nparts, 1));
	cursor->batch = palloc(sizeof(rd_kafka_message_t *) * KAFKA_BATCH_MAX);
	cursor->batch_size = KAFKA_BATCH_FIRST;
	cursor->max_active = client->buffering.max_active_parts;
	cursor->stats.parts_open = nparts;
	for (int i = 0; i < nparts; i++)
	{
		KafkaCursorPart *part = &cursor->parts[i];

		Assert(parts[i].nranges > 0);
		part->read = parts[i];
		if (part->read.proofs_ms == NULL)
			part->read.proofs_ms = palloc0(sizeof(int64) * parts[i].nranges);
		part->state = KAFKA_PART_WAITING;
		part->position = parts[i].ranges[0].start;
		for (int r = 0; r < parts[i].nranges; r++)
			cursor->stats.planned +=
				parts[i].ranges[r].end - parts[i].ranges[r].start;
	}

	/*
	 * The cursor must go before its client.  It does where the current context
	 * is the lease's or a child of it: children are deleted first, and of one
	 * context's callbacks the last registered is called first.
	 */
	cursor->callback.func = free_cursor;
	cursor->callback.arg = cursor;
	MemoryContextRegisterResetCallback(CurrentMemoryContext,
									   &cursor->callback);
	cursor->queue = rd_kafka_queue_new(client->rk);
	kafka_client_watch_queue(client, cursor->queue);
	index_parts(cursor);
	cursor->silent_since_ms = kafka_clock_ms();
	cursor->quiet_ms = Max(QUIET_WAIT_MS, client->slice_ms);
	return cursor;
}

static void
drop_batch(KafkaCursor *cursor)
{
	while (cursor->batch_next < cursor->batch_count)
		rd_kafka_message_destroy(cursor->batch[cursor->batch_next++]);
}

/* Releases all of the library's; may run while an error is being handled. */
static void
free_cursor(void *arg)
{
	KafkaCursor *cursor = (KafkaCursor *) arg;

	if (cursor->queue == NULL)
		return;
	kafka_cursor_free_poll(cursor);
	if (cursor->current)
		rd_kafka_message_destroy(cursor->current);
	cursor->current = NULL;
	drop_batch(cursor);
	for (int i = 0; i < cursor->nparts; i++)
	{
		KafkaCursorPart *part = &cursor->parts[i];

		if (part->state == KAFKA_PART_ACTIVE)
			rd_kafka_consume_stop(part->topic->rkt, part->read.partition);
		part->state = KAFKA_PART_DONE;
	}
	rd_kafka_queue_destroy(cursor->queue);
	cursor->queue = NULL;
	for (int i = 0; i < cursor->ntopics; i++)
		rd_kafka_topic_destroy(cursor->topics[i].rkt);
	cursor->ntopics = 0;
}

void
kafka_cursor_close(KafkaCursor *cursor)
{
	free_cursor(cursor);
}

const KafkaCursorStats *
kafka_cursor_stats(const KafkaCursor *cursor)
{
	return &cursor->stats;
}

/*
 * Messages that wait in the local batch have not been looked at yet, so a
 * part's position is that of the message handed out last.  It may be past the
 * end snapshot, when that is how the end was seen; what is there was not read.
 */
int64
kafka_cursor_position(const KafkaCursor *cursor, const char *topic,
					  int32 partition)
{
	for (int i = 0; i < cursor->nparts; i++)
	{
		const KafkaCursorPart *part = &cursor->parts[i];

		if (part->read.partition != partition ||
			strcmp(part->read.topic, topic) != 0)
			continue;
		if (part->state == KAFKA_PART_DONE)
			return part->read.end;
		return Min(part->position, part->read.end);
	}
	return KAFKA_NO_OFFSET;
}

/* ----------------------------------------------------------------
 * Starting and finishing partitions
 * ----------------------------------------------------------------
 */

/* Starts fetching a partition at its position. */
void
kafka_cursor_start_part(KafkaCursor *cursor, KafkaCursorPart *part)
{
	KafkaClient *client = cursor->client;
	rd_kafka_queue_t **slot;

	slot = kafka_client_queue_slot(client, part->read.topic,
								   part->read.partition);
	if (slot)
		kafka_client_empty_slot(slot);
	if (rd_kafka_consume_start_queue(part->topic->rkt, part->read.partition,
									 part->position, cursor->queue) != 0)
		kafka_client_raise(client, KAFKA_DOING_READ, rd_kafka_last_error(),
						   NULL, part->read.topic, part->read.partition);
	part->state = KAFKA_PART_ACTIVE;
	if (slot)
		*slot = rd_kafka_queue_get_partition(client->rk, part->read.topic,
											 part->read.partition);
}

/* Stops fetching; what the queue still holds of it the library drops. */
void
kafka_cursor_stop_part(KafkaCursor *cursor, KafkaCursorPart *part)
{
	if (part->state != KAFKA_PART_ACTIVE)
		return;
	part->state = KAFKA_PART_WAITING;
	rd_kafka_consume_stop(part->topic->rkt, part->read.partition);
}

static void
start_waiting_parts(KafkaCursor *cursor)
{
	while (cursor->nactive < cursor->max_active &&
		   cursor->first_waiting < cursor->nparts)
	{
		KafkaCursorPart *part = &cursor->parts[cursor->first_waiting++];

		kafka_cursor_start_part(cursor, part);
		cursor->nactive++;
	}
}

/* The partition needs no more; another may take its place. */
void
kafka_cursor_finish_part(KafkaCursor *cursor, KafkaCursorPart *part)
{
	kafka_cursor_stop_part(cursor, part);
	part->state = KAFKA_PART_DONE;
	cursor->stats.parts_open--;
	cursor->nactive--;
	start_waiting_parts(cursor);
}

/*
 * Notes that everything of the partition below offset has been seen, and
 * finds the range to go on with; false when there is none left.
 */
bool
kafka_cursor_pass(KafkaCursor *cursor, KafkaCursorPart *part, int64 offset)
{
	while (part->range < part->read.nranges)
	{
		const KafkaRange *range = &part->read.ranges[part->range];
		int64 seen_end = Min(offset, range->end);

		cursor->stats.passed +=
			Max(seen_end - Max(part->position, range->start), 0);
		part->position = Max(part->position, seen_end);
		if (offset < range->end)
			break;
		part->range++;
	}
	part->position = Max(part->position, offset);
	return part->range < part->read.nranges;
}

/* Everything of an active partition below offset has been seen: go on. */
void
kafka_cursor_advance(KafkaCursor *cursor, KafkaCursorPart *part, int64 offset)
{
	int64 start;

	if (!kafka_cursor_pass(cursor, part, offset))
	{
		kafka_cursor_finish_part(cursor, part);
		return;
	}
	start = part->read.ranges[part->range].start;
	if (start - part->position >= JUMP_MIN_OFFSETS)
	{
		kafka_cursor_stop_part(cursor, part);
		part->position = start;
		kafka_cursor_start_part(cursor, part);
	}
}

/* ----------------------------------------------------------------
 * Reading
 * ----------------------------------------------------------------
 */

static KafkaCursorPart *
find_part(KafkaCursor *cursor, const rd_kafka_message_t *native)
{
	KafkaCursorTopic *topic = cursor->last_topic;

	if (topic == NULL || topic->rkt != native->rkt)
	{
		topic = NULL;
		for (int i = 0; i < cursor->ntopics; i++)
		{
			if (cursor->topics[i].rkt == native->rkt)
				topic = &cursor->topics[i];
		}
		if (topic == NULL)
			return NULL;
		cursor->last_topic = topic;
	}
	if (native->partition < 0 || native->partition >= topic->slots)
		return NULL;
	return topic->parts[native->partition];
}

/*
 * Some ends of ranges were found by a rule that holds for LogAppendTime only;
 * this record is the first that can prove them.  One that is of another kind,
 * or earlier than it should be, tells that the topic was switched over at some
 * time, or that the record which the broker found is not visible: then the
 * partition is read to its end.
 *
 * True when the range being read has become longer.
 */
static bool
extend_range(KafkaCursorPart *part, const rd_kafka_message_t *native)
{
	rd_kafka_timestamp_type_t type;
	int64 time_ms = rd_kafka_message_timestamp(native, &type);

	for (int r = part->range;
		 r < part->read.nranges && part->read.ranges[r].end <= native->offset;
		 r++)
	{
		if (part->read.proofs_ms[r] == 0 ||
			(type == RD_KAFKA_TIMESTAMP_LOG_APPEND_TIME &&
			 time_ms >= part->read.proofs_ms[r]))
			continue;
		kafka_cursor_extend_range(part, r);
		return r == part->range;
	}
	return false;
}

/* Makes range number r, now the last, reach the end snapshot. */
void
kafka_cursor_extend_range(KafkaCursorPart *part, int r)
{
	part->read.ranges[r].end = part->read.end;
	part->read.proofs_ms[r] = 0;
	part->read.nranges = r + 1;
}

/* May the partition be left at the range's end without seeing what is there? */
static bool
end_is_certain(const KafkaCursorPart *part)
{
	return part->read.proofs_ms[part->range] == 0;
}

/*
 * Is this message one to hand out?  Errors and ends of partitions are taken
 * care of here.
 */
static bool
accept_message(KafkaCursor *cursor, rd_kafka_message_t *native)
{
	KafkaCursorPart *part = find_part(cursor, native);
	const KafkaRange *range;
	int64 offset = native->offset;

	if (part == NULL || part->state != KAFKA_PART_ACTIVE)
		return false;
	if (native->err)
	{
		kafka_cursor_handle_event(cursor, part, native);
		return false;
	}
	range = &part->read.ranges[part->range];
	if (offset >= range->end && !extend_range(part, native))
	{
		kafka_cursor_advance(cursor, part, offset);
		if (part->state != KAFKA_PART_ACTIVE)
			return false;
		range = &part->read.ranges[part->range];
	}
	if (offset < range->start || offset < part->position)
		return false;

	if (offset + 1 >= range->end && end_is_certain(part))
		kafka_cursor_advance(cursor, part, offset + 1);
	else
	{
		/* Offsets that nobody gets, markers and the like, count as passed. */
		cursor->stats.passed += offset + 1 - Max(part->position, range->start);
		part->position = offset + 1;
	}
	return true;
}

/*
 * Wakes broker threads that sleep on a full queue: a lookup with no time to
 * wait is sent and forgotten, and its answer is dropped by the library.
 */
static void
poke_brokers(KafkaCursor *cursor)
{
	rd_kafka_topic_partition_list_t *list;

	if (rd_kafka_version() >= RDKAFKA_HAS_QUEUE_BACKOFF)
		return;
	list = rd_kafka_topic_partition_list_new(cursor->nactive);
	for (int i = 0; i < cursor->nparts; i++)
	{
		KafkaCursorPart *part = &cursor->parts[i];

		if (part->state == KAFKA_PART_ACTIVE)
			rd_kafka_topic_partition_list_add(list, part->read.topic,
											  part->read.partition)
				->offset = KAFKA_LOOKUP_END;
	}
	if (list->cnt > 0)
		(void) rd_kafka_offsets_for_times(cursor->client->rk, list, 0);
	rd_kafka_topic_partition_list_destroy(list);
	cursor->poked_at_bytes = cursor->stats.bytes;
	cursor->poked_at_taken = cursor->taken;
}

/*
 * Messages that were taken since make room in the queue, which a broker thread
 * that sleeps does not see.  Where there were none it has seen all there is,
 * but for a queue that one answer fills: that answer may have been of
 * partitions that are read no more, and was dropped unseen.
 */
int
kafka_cursor_patience_ms(const KafkaCursor *cursor)
{
	bool one_answer = cursor->client->buffering.one_answer;

	if (cursor->taken != cursor->poked_at_taken)
		return one_answer ? ANSWER_WAIT_MS : STALL_WAIT_MS;
	if (one_answer && cursor->quiet_ms < KAFKA_CURSOR_SLICE_MS)
		return cursor->quiet_ms;
	return -1;
}

void
kafka_cursor_wake_brokers(KafkaCursor *cursor)
{
	if (cursor->taken == cursor->poked_at_taken)
		cursor->quiet_ms *= 2;
	cursor->stalled = true;
	poke_brokers(cursor);
}

/*
 * Where fetching stops with each answer: is this the moment to go on?  Not
 * after the first one; but where that was not all, the others will not be
 * either, and each is best asked for while the one before is read.
 */
static bool
wants_next_answer(const KafkaCursor *cursor)
{
	return cursor->client->buffering.one_answer && cursor->stalled &&
		   rd_kafka_queue_length(cursor->queue) == 0;
}

bool
kafka_cursor_take_batch(KafkaCursor *cursor)
{
	ssize_t count;

	count = rd_kafka_consume_batch_queue(cursor->queue, 0, cursor->batch,
										 cursor->batch_size);
	cursor->batch_next = 0;
	cursor->batch_count = (int) Max(count, 0);
	if (count < 0)
		kafka_client_raise(cursor->client, KAFKA_DOING_READ,
						   rd_kafka_last_error(), NULL, NULL, -1);
	if (count == 0)
		return false;
	cursor->client->answered = true;
	cursor->taken += count;
	cursor->quiet_ms = Max(QUIET_WAIT_MS, cursor->client->slice_ms);
	if (wants_next_answer(cursor))
		poke_brokers(cursor);

	/* A LIMIT query wants few; everybody else soon gets large batches. */
	cursor->batch_size = Min(cursor->batch_size * 2, KAFKA_BATCH_MAX);
	return true;
}

/* Sleeps until the queue has something, or for a while. */
static void
wait_for_news(KafkaCursor *cursor, int timeout_ms)
{
	int64 before_us = kafka_clock_us();

	kafka_client_wait(cursor->client, timeout_ms);
	cursor->stats.wait_us += kafka_clock_us() - before_us;
	if (cursor->tick)
		cursor->tick(cursor->tick_arg);
	kafka_client_serve_events(cursor->client);
	kafka_cursor_watch_silence(cursor);
}

static bool
half_queue_is_read(const KafkaCursor *cursor)
{
	const KafkaBuffering *limit = &cursor->client->buffering;

	return !limit->one_answer &&
		   (cursor->stats.bytes - cursor->poked_at_bytes >=
				limit->queue_bytes / 2 ||
			cursor->taken - cursor->poked_at_taken >=
				limit->queue_messages / 2);
}

/*
 * Half a queue having been read is the moment at which the broker threads
 * are woken: they have room again, and by the time the other half is read the
 * next messages are there.
 */
void
kafka_cursor_prepare_fill(KafkaCursor *cursor)
{
	CHECK_FOR_INTERRUPTS();
	if (cursor->tick)
		cursor->tick(cursor->tick_arg);
	kafka_client_serve_events(cursor->client);
	if (half_queue_is_read(cursor))
		poke_brokers(cursor);

	/*
	 * Silence counts from here, not from the last batch, which may be long
	 * ago when the query is in no hurry; and what came since must have brought
	 * us on: an end-of-partition event below the end may come for ever.
	 */
	if (cursor->stats.passed != cursor->passed_at_wait)
	{
		cursor->passed_at_wait = cursor->stats.passed;
		cursor->silent_since_ms = kafka_clock_ms();
		cursor->asked_leaders = 0;
	}
}

/* Gets the next batch, waiting for it. */
static void
fill_batch(KafkaCursor *cursor)
{
	int64 dry_since_ms;

	kafka_cursor_prepare_fill(cursor);
	dry_since_ms = kafka_clock_ms();
	while (!kafka_cursor_take_batch(cursor))
	{
		int patience_ms = kafka_cursor_patience_ms(cursor);
		int64 left_ms = dry_since_ms + patience_ms - kafka_clock_ms();

		if (patience_ms < 0)
			wait_for_news(cursor, KAFKA_CURSOR_SLICE_MS);
		else if (left_ms > 0)
			wait_for_news(cursor, (int) left_ms); /* others' news, perhaps */
		else
		{
			kafka_cursor_wake_brokers(cursor);
			dry_since_ms = kafka_clock_ms();
		}
	}
}

static void
export_message(const rd_kafka_message_t *native, const char *topic,
			   KafkaMessage *message)
{
	message->topic = topic;
	message->partition = native->partition;
	message->offset = native->offset;
	message->payload = native->payload;
	message->payload_length = native->len;
	message->key = native->key;
	message->key_length = native->key_len;
	message->native = unconstify(rd_kafka_message_t *, native);
	message->entry = NULL;
}

KafkaTake
kafka_cursor_take(KafkaCursor *cursor, KafkaMessage *message)
{
	if (cursor->current)
	{
		rd_kafka_message_destroy(cursor->current);
		cursor->current = NULL;
	}
	if (!cursor->started)
	{
		cursor->started = true;
		start_waiting_parts(cursor);
	}
	while (cursor->batch_next < cursor->batch_count)
	{
		rd_kafka_message_t *native;

		/* Held in current, so that an error below frees it. */
		native = cursor->batch[cursor->batch_next++];
		cursor->current = native;
		if (accept_message(cursor, native))
		{
			export_message(native, cursor->last_topic->name, message);
			cursor->stats.messages++;
			cursor->stats.bytes += native->len + native->key_len;
			return KAFKA_TAKE_MESSAGE;
		}
		cursor->current = NULL;
		rd_kafka_message_destroy(native);
	}
	return cursor->stats.parts_open == 0 ? KAFKA_TAKE_END : KAFKA_TAKE_NONE;
}

bool
kafka_cursor_next(KafkaCursor *cursor, KafkaMessage *message)
{
	for (;;)
	{
		KafkaTake take = kafka_cursor_take(cursor, message);

		if (take != KAFKA_TAKE_NONE)
			return take == KAFKA_TAKE_MESSAGE;
		fill_batch(cursor);
	}
}
