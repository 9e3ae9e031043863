/*-------------------------------------------------------------------------
 *
 * watch.c
 *		What a cursor does about ends, gaps, errors and silence.
 *
 * The library tells of some faults in the queue (an offset out of range, a
 * lost right), of some nowhere (a broker that hangs, a topic deleted while it
 * is read).  For the latter there is a watchdog: after fetch_timeout without
 * anything it asks the leaders for their ends.  No answer is an error, an end
 * below the snapshot too, since a log's end only grows unless it was
 * truncated or made anew.  An answer means that there is a reason to wait
 * (quotas, remote storage); the fetches are restarted once and waiting goes
 * on until max_silence.
 *
 * IDENTIFICATION
 *		src/client/watch.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "client/cursor.h"
#include "lib/stringinfo.h"

/* How many partitions a notice names. */
#define DESCRIBE_MAX_PARTS 3

static void
raise_truncated(KafkaCursorPart *part, int64 end)
{
	ereport(
		ERROR,
		(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
		 errmsg(
			 "topic \"%s\" partition %d was truncated or recreated while it was read",
			 part->read.topic, part->read.partition),
		 errdetail(
			 "Its end was offset %lld when the scan began and is %lld now.",
			 (long long) part->read.end, (long long) end),
		 errhint("Run the query again.")));
}

/* Asks one partition's start and end. */
static void
ask_log(KafkaCursor *cursor, KafkaCursorPart *part, int64 *start, int64 *end)
{
	KafkaLookup lookup;

	lookup.topic = part->read.topic;
	lookup.partition = part->read.partition;
	lookup.time_ms = KAFKA_LOOKUP_END;
	kafka_client_lookup(cursor->client, &lookup, 1);
	*end = lookup.offset;
	lookup.time_ms = KAFKA_LOOKUP_START;
	kafka_client_lookup(cursor->client, &lookup, 1);
	*start = lookup.offset;
}

/* How many offsets of the part's ranges lie in [position, start)? */
static int64
count_lost(const KafkaCursorPart *part, int64 start)
{
	int64 lost = 0;

	for (int r = part->range; r < part->read.nranges; r++)
	{
		KafkaRange gone =
			kafka_range_intersect(part->read.ranges[r],
								  (KafkaRange){part->position, start});

		if (!kafka_range_is_empty(gone))
			lost += gone.end - gone.start;
	}
	return lost;
}

/*
 * The position is not in the log any more.  Below its start, retention was
 * faster than we: tell how much is missing and go on from the new start.
 */
static void
handle_out_of_range(KafkaCursor *cursor, KafkaCursorPart *part)
{
	int64 start;
	int64 end;
	int64 lost;

	ask_log(cursor, part, &start, &end);
	if (end < part->read.end)
		raise_truncated(part, end);
	kafka_cursor_stop_part(cursor, part);
	lost = count_lost(part, start);
	cursor->stats.lost += lost;
	if (lost > 0)
	{
		ereport(
			WARNING,
			(errcode(ERRCODE_WARNING),
			 errmsg(
				 "%lld messages of topic \"%s\" partition %d were removed before they could be read",
				 (long long) lost, part->read.topic, part->read.partition),
			 errdetail(
				 "Offset %lld was to be read next; the earliest offset kept by the broker is now %lld.",
				 (long long) part->position, (long long) start)));
	}

	/* What would have proved the ends of ranges may be among the lost. */
	for (int r = part->range; r < part->read.nranges; r++)
	{
		if (part->read.proofs_ms[r] != 0 && part->read.ranges[r].end <= start)
			kafka_cursor_extend_range(part, r);
	}
	if (kafka_cursor_pass(cursor, part, start))
		kafka_cursor_start_part(cursor, part);
	else
		kafka_cursor_finish_part(cursor, part);
}

void
kafka_cursor_handle_event(KafkaCursor *cursor, KafkaCursorPart *part,
						  const rd_kafka_message_t *event)
{
	rd_kafka_resp_err_t code = event->err;
	char text[KAFKA_ERROR_TEXT_MAX];

	switch (code)
	{
		case RD_KAFKA_RESP_ERR__PARTITION_EOF:
			if (event->offset >= part->read.end)
				kafka_cursor_advance(cursor, part, event->offset);
			return;
		case RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET:
		case RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE:
			handle_out_of_range(cursor, part);
			return;
#if RD_KAFKA_VERSION >= 0x020100ff
		case RD_KAFKA_RESP_ERR__LOG_TRUNCATION:
			raise_truncated(part, event->offset);
			return;
#endif
		default:
			break;
	}
	if (kafka_error_is_transient(code))
		return; /* the library tries again by itself */
	strlcpy(text, rd_kafka_message_errstr(event), sizeof(text));
	kafka_client_raise(cursor->client, KAFKA_DOING_READ, code, text,
					   part->read.topic, part->read.partition);
}

/* Asks the leaders of all partitions still open for their ends. */
static void
check_leaders(KafkaCursor *cursor)
{
	KafkaLookup *lookups = palloc(sizeof(KafkaLookup) * cursor->nparts);
	KafkaCursorPart **asked =
		palloc(sizeof(KafkaCursorPart *) * cursor->nparts);
	int count = 0;

	for (int i = 0; i < cursor->nparts; i++)
	{
		KafkaCursorPart *part = &cursor->parts[i];

		if (part->state != KAFKA_PART_ACTIVE)
			continue;
		lookups[count].topic = part->read.topic;
		lookups[count].partition = part->read.partition;
		lookups[count].time_ms = KAFKA_LOOKUP_END;
		asked[count++] = part;
	}

	/* That a topic was deleted is known to the metadata first. */
	for (int i = 0; i < cursor->ntopics; i++)
	{
		char *name = unconstify(char *, cursor->topics[i].name);

		(void) kafka_client_describe_topics(cursor->client, &name, 1);
	}
	kafka_client_lookup(cursor->client, lookups, count);
	for (int i = 0; i < count; i++)
	{
		if (lookups[i].offset < asked[i]->read.end)
			raise_truncated(asked[i], lookups[i].offset);
	}
	pfree(lookups);
	pfree(asked);
}

static void
restart_parts(KafkaCursor *cursor)
{
	for (int i = 0; i < cursor->nparts; i++)
	{
		KafkaCursorPart *part = &cursor->parts[i];

		if (part->state != KAFKA_PART_ACTIVE)
			continue;
		kafka_cursor_stop_part(cursor, part);
		kafka_cursor_start_part(cursor, part);
	}
}

static KafkaCursorPart *
first_active(KafkaCursor *cursor)
{
	for (int i = 0; i < cursor->nparts; i++)
	{
		if (cursor->parts[i].state == KAFKA_PART_ACTIVE)
			return &cursor->parts[i];
	}
	return &cursor->parts[0];
}

void
kafka_cursor_watch_silence(KafkaCursor *cursor)
{
	KafkaClient *client = cursor->client;
	int64 silent_ms = kafka_clock_ms() - cursor->silent_since_ms;
	int64 next_ms =
		(int64) client->fetch_timeout_ms * (cursor->asked_leaders + 1);
	KafkaCursorPart *part;

	if (silent_ms < next_ms && silent_ms < client->max_silence_ms)
		return;
	if (cursor->asked_leaders == 0 || silent_ms < client->max_silence_ms)
	{
		cursor->asked_leaders++;
		check_leaders(cursor);
		if (cursor->asked_leaders == 1)
			restart_parts(cursor);
		return;
	}
	part = first_active(cursor);
	kafka_client_raise(client, KAFKA_DOING_READ, RD_KAFKA_RESP_ERR__TIMED_OUT,
					   "the leader answers but sends no messages",
					   part->read.topic, part->read.partition);
}

char *
kafka_cursor_describe_open(const KafkaCursor *cursor)
{
	StringInfoData buf;
	int named = 0;

	initStringInfo(&buf);
	for (int i = 0; i < cursor->nparts; i++)
	{
		const KafkaCursorPart *part = &cursor->parts[i];

		if (part->state == KAFKA_PART_DONE)
			continue;
		if (named == DESCRIBE_MAX_PARTS)
		{
			appendStringInfo(&buf, " and %d more",
							 cursor->stats.parts_open - named);
			break;
		}
		appendStringInfo(&buf, "%s%s/%d", named ? ", " : "", part->read.topic,
						 part->read.partition);
		named++;
	}
	return buf.data;
}
