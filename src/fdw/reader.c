/*-------------------------------------------------------------------------
 *
 * reader.c
 *		Connects, takes the snapshot, reads, counts.
 *
 * IDENTIFICATION
 *		src/fdw/reader.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fdw/reader.h"
#include "fdw/seen.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

/* From this many offsets on, reading gains more by large fetches than it loses. */
#define SCAN_MIN_OFFSETS 50000

/* So many answers are kept for rescans; with more, all are forgotten. */
#define MAX_ANSWERS 20000

/* Gets a handle; its lease is all that client_context holds. */
static void
lend_client(KafkaReader *reader, KafkaPurpose purpose)
{
	MemoryContext caller = MemoryContextSwitchTo(reader->client_context);

	reader->client = kafka_client_acquire(reader->connection, purpose);
	reader->purpose = purpose;
	MemoryContextSwitchTo(caller);
}

static void
return_client(KafkaReader *reader)
{
	if (reader->client == NULL)
		return;
	kafka_client_release(reader->client);
	reader->client = NULL;

	/* Not of the cursor's context, which is a child of this one. */
	MemoryContextResetOnly(reader->client_context);
}

KafkaReader *
kafka_reader_create(KafkaTableOptions *table, KafkaColumnOptions *columns,
					Oid userid, MemoryContext owner)
{
	MemoryContext context =
		AllocSetContextCreate(owner, "Kafka reader", ALLOCSET_DEFAULT_SIZES);
	MemoryContext caller = MemoryContextSwitchTo(context);
	KafkaReader *reader = palloc0(sizeof(KafkaReader));

	reader->owner = owner;
	reader->context = context;
	reader->client_context =
		AllocSetContextCreate(context, "Kafka client", ALLOCSET_SMALL_SIZES);

	/*
	 * After an error the cursor must go before the handle that it reads by:
	 * children are deleted first.
	 */
	reader->scan_context =
		AllocSetContextCreate(reader->client_context, "Kafka cursor",
							  ALLOCSET_DEFAULT_SIZES);
	reader->table = table;
	reader->columns = columns;
	reader->connection = kafka_option_read_connection(table->serverid, userid);
	lend_client(reader, KAFKA_FOR_SEEKS);
	reader->progress = kafka_progress_create(reader);
	MemoryContextSwitchTo(caller);
	return reader;
}

KafkaReader *
kafka_reader_open(KafkaTableOptions *table, KafkaColumnOptions *columns,
				  Oid userid, MemoryContext owner)
{
	KafkaReader *reader = kafka_reader_create(table, columns, userid, owner);

	kafka_snapshot_open(reader, NULL);
	return reader;
}

KafkaAnswers *
kafka_reader_answers(KafkaReader *reader)
{
	if (reader->answers == NULL)
	{
		if (reader->answers_context == NULL)
			reader->answers_context =
				AllocSetContextCreate(reader->context, "Kafka answers",
									  ALLOCSET_DEFAULT_SIZES);
		reader->answers = kafka_answers_create(reader->answers_context);
		if (reader->topics)
			kafka_answers_note_ends(reader->answers);
	}
	return reader->answers;
}

static void
forget_answers(KafkaReader *reader)
{
	reader->lookups += kafka_answers_count_asked(reader->answers);
	reader->answers = NULL;
	MemoryContextReset(reader->answers_context);
}

int64
kafka_reader_count_lookups(const KafkaReader *reader)
{
	int64 count = reader->lookups;

	if (reader->answers)
		count += kafka_answers_count_asked(reader->answers);
	return count;
}

int64
kafka_reader_count_offsets(const KafkaReader *reader)
{
	int64 count = 0;

	for (int i = 0; i < reader->nparts; i++)
	{
		for (int r = 0; r < reader->parts[i].nranges; r++)
			count += reader->parts[i].ranges[r].end -
					 reader->parts[i].ranges[r].start;
	}
	return count;
}

/*
 * Changes the handle for one with large fetches where there is much to read.
 * Connecting costs some milliseconds; it stays for what this reader does
 * after that.
 */
static void
choose_client(KafkaReader *reader)
{
	if (reader->purpose == KAFKA_FOR_SCANS || reader->may_stop_early ||
		kafka_reader_count_offsets(reader) < SCAN_MIN_OFFSETS)
		return;
	return_client(reader);
	lend_client(reader, KAFKA_FOR_SCANS);
}

/* Counts the ranges about to be read, and notes the first ones. */
static void
note_ranges(KafkaReader *reader)
{
	for (int i = 0; i < reader->nparts; i++)
	{
		const KafkaReadPart *part = &reader->parts[i];

		for (int r = 0; r < part->nranges; r++)
		{
			if (reader->nranges < KAFKA_TOLD_RANGES)
				reader->told_ranges[reader->nranges] =
					(KafkaToldRange){part->topic, part->partition,
									 part->ranges[r]};
			reader->nranges++;
		}
	}
}

/* Opens a cursor over reader->parts. */
static void
open_cursor(KafkaReader *reader)
{
	note_ranges(reader);
	kafka_progress_begin(reader);
	if (reader->nparts == 0)
		return;
	choose_client(reader);
	reader->cursor =
		kafka_cursor_open(reader->client, reader->parts, reader->nparts,
						  kafka_progress_tick, reader);
}

void
kafka_reader_begin(KafkaReader *reader, const KafkaBounds *bounds)
{
	MemoryContext caller;

	kafka_reader_stop(reader);
	if (reader->client == NULL)
		lend_client(reader, KAFKA_FOR_SEEKS);
	caller = MemoryContextSwitchTo(reader->scan_context);
	reader->begun = true;
	if (reader->topics == NULL)
		kafka_snapshot_begin(reader, bounds);
	if (reader->topics == NULL && reader->ahead == NULL &&
		reader->table->topic_pattern == NULL)
		kafka_snapshot_open(reader, bounds); /* others took it: no waiting */
	if (reader->topics)
		kafka_window_ask_ahead(reader, bounds);
	MemoryContextSwitchTo(caller);
}

void
kafka_reader_ask(KafkaReader *reader, const KafkaBounds *bounds)
{
	MemoryContext caller = MemoryContextSwitchTo(reader->scan_context);

	kafka_snapshot_ask(reader, bounds);
	MemoryContextSwitchTo(caller);
}

void
kafka_reader_resolve(KafkaReader *reader, const KafkaBounds *bounds)
{
	TimestampTz begin = GetCurrentTimestamp();
	MemoryContext caller;

	if (!reader->begun)
		kafka_reader_stop(reader);
	if (reader->client == NULL)
		lend_client(reader, KAFKA_FOR_SEEKS);
	caller = MemoryContextSwitchTo(reader->scan_context);
	if (reader->topics == NULL)
		kafka_snapshot_open(reader, bounds);
	if (reader->answers)
		kafka_answers_finish(reader->answers, reader->client, true);
	reader->begun = false;
	kafka_window_resolve(reader, bounds);
	MemoryContextSwitchTo(caller);

	/* All that takes time there is waiting. */
	reader->wait_us += GetCurrentTimestamp() - begin;
}

void
kafka_reader_start(KafkaReader *reader, const KafkaBounds *bounds)
{
	MemoryContext caller;

	kafka_reader_resolve(reader, bounds);
	caller = MemoryContextSwitchTo(reader->scan_context);
	open_cursor(reader);
	MemoryContextSwitchTo(caller);
}

/* Where in the reader's list is a topic of it? */
static int
topic_index(const KafkaReader *reader, const KafkaSnapshotTopic *topic)
{
	int index = 0;

	while (reader->topics[index] != topic)
		index++;
	return index;
}

void
kafka_reader_need_starts(KafkaReader *reader, KafkaSnapshotTopic *topic)
{
	KafkaAnswers *answers;
	int index;

	if (topic->starts_known)
		return;
	answers = kafka_reader_answers(reader);
	index = topic_index(reader, topic);
	for (int i = 0; i < topic->nparts; i++)
		kafka_answers_want(answers, index, topic->name,
						   topic->parts[i].partition, KAFKA_LOOKUP_START,
						   true);
	kafka_answers_ask(answers, reader->client);
	for (int i = 0; i < topic->nparts; i++)
		topic->parts[i].start =
			kafka_answers_get(answers, index, topic->parts[i].partition,
							  KAFKA_LOOKUP_START);
	topic->starts_known = true;
	kafka_seen_note_topic(reader->connection, topic);
}

void
kafka_reader_ask_starts(KafkaReader *reader, KafkaSnapshotTopic *topic)
{
	KafkaLookup *lookups =
		palloc0(sizeof(KafkaLookup) * Max(topic->nparts, 1));

	for (int i = 0; i < topic->nparts; i++)
	{
		lookups[i].topic = topic->name;
		lookups[i].partition = topic->parts[i].partition;
		lookups[i].time_ms = KAFKA_LOOKUP_START;
	}
	kafka_client_lookup(reader->client, lookups, topic->nparts);
	reader->lookups += topic->nparts;
	for (int i = 0; i < topic->nparts; i++)
		topic->parts[i].start = lookups[i].offset;
	topic->starts_known = true;
	kafka_seen_note_topic(reader->connection, topic);
	pfree(lookups);
}

void
kafka_reader_start_parts(KafkaReader *reader, const KafkaReadPart *parts,
						 int nparts)
{
	MemoryContext caller;

	kafka_reader_stop(reader);
	if (reader->client == NULL)
		lend_client(reader, KAFKA_FOR_SEEKS);
	caller = MemoryContextSwitchTo(reader->scan_context);
	reader->parts = palloc(sizeof(KafkaReadPart) * Max(nparts, 1));
	memcpy(reader->parts, parts, sizeof(KafkaReadPart) * nparts);
	reader->nparts = nparts;
	open_cursor(reader);
	MemoryContextSwitchTo(caller);
}

void
kafka_reader_start_newest(KafkaReader *reader, int64 count)
{
	MemoryContext caller;
	int total = 0;

	kafka_reader_stop(reader);
	caller = MemoryContextSwitchTo(reader->scan_context);
	for (int t = 0; t < reader->ntopics; t++)
		total += reader->topics[t]->nparts;
	reader->parts = palloc0(sizeof(KafkaReadPart) * Max(total, 1));
	reader->nparts = 0;
	for (int t = 0; t < reader->ntopics; t++)
	{
		KafkaSnapshotTopic *topic = reader->topics[t];

		kafka_reader_need_starts(reader, topic);
		for (int i = 0; i < topic->nparts; i++)
		{
			KafkaSnapshotPart *source = &topic->parts[i];
			KafkaReadPart *part = &reader->parts[reader->nparts];

			if (source->end <= source->start ||
				!kafka_option_has_partition(reader->table, source->partition))
				continue;
			part->topic = topic->name;
			part->partition = source->partition;
			part->end = source->end;
			part->nranges = 1;
			part->ranges = palloc(sizeof(KafkaRange));
			part->ranges[0].start = Max(source->start, source->end - count);
			part->ranges[0].end = source->end;
			reader->nparts++;
		}
	}
	open_cursor(reader);
	MemoryContextSwitchTo(caller);
}

/* Adds what is to be read of a partition from start on, if anything. */
static void
add_part(KafkaReader *reader, const char *topic,
		 const KafkaSnapshotPart *source, int64 start)
{
	KafkaReadPart *part = &reader->parts[reader->nparts];

	if (source->end <= start)
		return;
	part->topic = topic;
	part->partition = source->partition;
	part->end = source->end;
	part->nranges = 1;
	part->ranges = palloc(sizeof(KafkaRange));
	part->ranges[0].start = start;
	part->ranges[0].end = source->end;
	reader->nparts++;
}

static int64
find_start(const KafkaReaderStart *starts, int nstarts, const char *topic,
		   int32 partition)
{
	for (int i = 0; i < nstarts; i++)
	{
		if (starts[i].partition == partition &&
			strcmp(starts[i].topic, topic) == 0)
			return starts[i].offset;
	}
	return KAFKA_NO_OFFSET;
}

void
kafka_reader_start_from(KafkaReader *reader, const KafkaReaderStart *starts,
						int nstarts)
{
	reader->has_no_limit = true;
	kafka_reader_start_limited_from(reader, starts, nstarts);
}

void
kafka_reader_start_limited_from(KafkaReader *reader,
								const KafkaReaderStart *starts, int nstarts)
{
	MemoryContext caller;
	int total = 0;

	kafka_reader_stop(reader);
	if (reader->client == NULL)
		lend_client(reader, KAFKA_FOR_SEEKS);
	caller = MemoryContextSwitchTo(reader->scan_context);
	for (int t = 0; t < reader->ntopics; t++)
		total += reader->topics[t]->nparts;
	reader->parts = palloc0(sizeof(KafkaReadPart) * Max(total, 1));
	reader->nparts = 0;
	for (int t = 0; t < reader->ntopics; t++)
	{
		KafkaSnapshotTopic *topic = reader->topics[t];

		for (int i = 0; i < topic->nparts; i++)
		{
			KafkaSnapshotPart *source = &topic->parts[i];
			int64 start =
				find_start(starts, nstarts, topic->name, source->partition);

			if (!kafka_option_has_partition(reader->table, source->partition))
				continue;
			if (start == KAFKA_NO_OFFSET)
			{
				kafka_reader_need_starts(reader, topic);
				start = source->start;
			}
			add_part(reader, topic->name, source, start);
		}
	}
	open_cursor(reader);
	MemoryContextSwitchTo(caller);
}

int64
kafka_reader_position(const KafkaReader *reader, const char *topic,
					  int32 partition)
{
	int64 position = KAFKA_NO_OFFSET;

	if (reader->cursor)
		position = kafka_cursor_position(reader->cursor, topic, partition);
	if (position != KAFKA_NO_OFFSET ||
		!kafka_option_has_partition(reader->table, partition))
		return position;

	/* Nothing is being read of it: it is at its end. */
	for (int t = 0; t < reader->ntopics; t++)
	{
		const KafkaSnapshotTopic *found = reader->topics[t];

		if (strcmp(found->name, topic) != 0)
			continue;
		for (int i = 0; i < found->nparts; i++)
		{
			if (found->parts[i].partition == partition)
				return found->parts[i].end;
		}
	}
	return KAFKA_NO_OFFSET;
}

int64
kafka_reader_lost(const KafkaReader *reader)
{
	int64 lost = reader->lost;

	if (reader->cursor)
		lost += kafka_cursor_stats(reader->cursor)->lost;
	return lost;
}

/*
 * Free the partitions' fetches at their end, and the handle if it is not
 * wanted again: the query may go on for long, and over many tables.
 */
static void
end_reading(KafkaReader *reader)
{
	kafka_reader_stop(reader);
	if (reader->reads_once)
		return_client(reader);
}

bool
kafka_reader_next(KafkaReader *reader, KafkaMessage *message)
{
	if (reader->cursor == NULL)
		return false;
	if (kafka_cursor_next(reader->cursor, message))
		return true;
	end_reading(reader);
	return false;
}

/* What share of the offsets has messages is worth knowing when planning. */
static void
note_density(const KafkaReader *reader, const KafkaCursorStats *stats)
{
	for (int t = 0; t < reader->ntopics; t++)
		kafka_seen_note_read(reader->connection, reader->topics[t]->name,
							 (double) stats->passed, (double) stats->messages);
}

KafkaTake
kafka_reader_take(KafkaReader *reader, KafkaMessage *message)
{
	KafkaTake take = KAFKA_TAKE_END;

	if (reader->cursor)
		take = kafka_cursor_take(reader->cursor, message);
	if (take == KAFKA_TAKE_END && reader->cursor)
		end_reading(reader);
	return take;
}

void
kafka_reader_stop(KafkaReader *reader)
{
	if (reader->cursor)
	{
		const KafkaCursorStats *stats = kafka_cursor_stats(reader->cursor);

		reader->messages += stats->messages;
		reader->bytes += stats->bytes;
		reader->wait_us += stats->wait_us;
		reader->lost += stats->lost;
		note_density(reader, stats);
		kafka_cursor_close(reader->cursor);
		reader->cursor = NULL;
	}
	if (reader->begun)
	{
		/* Nobody waits for the answers, and they go with the handle. */
		return_client(reader);
		reader->begun = false;
		if (reader->answers)
			forget_answers(reader);
	}
	if (reader->answers && kafka_answers_count(reader->answers) > MAX_ANSWERS)
		forget_answers(reader);
	reader->parts = NULL;
	reader->nparts = 0;
	reader->ahead = NULL;
	MemoryContextReset(reader->scan_context);
}

void
kafka_reader_close(KafkaReader *reader)
{
	kafka_reader_stop(reader);
	return_client(reader);
}
