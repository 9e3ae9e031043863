/*-------------------------------------------------------------------------
 *
 * snapshot.c
 *		The ends of topics, seen alike by all scans of a statement.
 *
 * A topic grows while it is read.  All scans of one executor state use the
 * ends that the first of them saw, so that a self-join joins a topic with
 * itself and a rescan finds what the first pass found; at REPEATABLE READ and
 * above that holds for the whole transaction.  The snapshot belongs to a
 * memory context, the executor state's or the transaction's, and goes with
 * it.
 *
 * IDENTIFICATION
 *		src/fdw/snapshot.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "fdw/reader.h"
#include "fdw/seen.h"
#include "lib/ilist.h"
#include "utils/memutils.h"

typedef struct SnapshotEntry
{
	dlist_node node;
	MemoryContextCallback callback;
	MemoryContext owner;

	/* The key: whose eyes see which topic, or topics, how. */
	Oid serverid;
	Oid umid;
	bool read_committed;
	bool is_pattern;
	char *name; /* or pattern */

	KafkaSnapshotTopic topic; /* only of a name */
	char **matches;           /* only of a pattern: names of topics */
	int nmatches;
} SnapshotEntry;

static dlist_head snapshots = DLIST_STATIC_INIT(snapshots);

static void
forget_entry(void *arg)
{
	dlist_delete(&((SnapshotEntry *) arg)->node);
}

static SnapshotEntry *
find_entry(const KafkaConnectionOptions *connection, MemoryContext owner,
		   bool is_pattern, const char *name)
{
	dlist_iter iter;

	dlist_foreach(iter, &snapshots)
	{
		SnapshotEntry *entry = dlist_container(SnapshotEntry, node, iter.cur);

		if (entry->owner == owner && entry->serverid == connection->serverid &&
			entry->umid == connection->umid &&
			entry->read_committed == connection->read_committed &&
			entry->is_pattern == is_pattern && strcmp(entry->name, name) == 0)
			return entry;
	}
	return NULL;
}

static SnapshotEntry *
make_entry(const KafkaConnectionOptions *connection, MemoryContext owner,
		   bool is_pattern, const char *name)
{
	SnapshotEntry *entry =
		MemoryContextAllocZero(owner, sizeof(SnapshotEntry));

	entry->owner = owner;
	entry->serverid = connection->serverid;
	entry->umid = connection->umid;
	entry->read_committed = connection->read_committed;
	entry->is_pattern = is_pattern;
	entry->name = MemoryContextStrdup(owner, name);
	return entry;
}

/* The entry is complete: only now can others find it. */
static void
publish_entry(SnapshotEntry *entry)
{
	entry->callback.func = forget_entry;
	entry->callback.arg = entry;
	MemoryContextRegisterResetCallback(entry->owner, &entry->callback);
	dlist_push_head(&snapshots, &entry->node);
}

/* ----------------------------------------------------------------
 * Asking
 * ----------------------------------------------------------------
 */

/* Topics of the table that are not in the owner's snapshot yet. */
typedef struct Missing
{
	int count;
	int *indexes; /* their places in the table's list */
	char **names;
	KafkaTopic *topics;
} Missing;

static Missing *
find_missing(const KafkaReader *reader, MemoryContext owner, char **names,
			 int count)
{
	Missing *missing = palloc0(sizeof(Missing));

	missing->indexes = palloc(sizeof(int) * Max(count, 1));
	missing->names = palloc(sizeof(char *) * Max(count, 1));
	for (int i = 0; i < count; i++)
	{
		if (find_entry(reader->connection, owner, false, names[i]))
			continue;
		missing->indexes[missing->count] = i;
		missing->names[missing->count++] = names[i];
	}
	return missing;
}

/* Notes what is wanted to know of the topics: their ends, and by bounds. */
static void
want_answers(KafkaReader *reader, const KafkaBounds *bounds,
			 const Missing *missing, const KafkaTopic *topics)
{
	KafkaAnswers *answers = kafka_reader_answers(reader);

	for (int i = 0; i < missing->count; i++)
	{
		const KafkaTopic *topic = &topics[i];

		for (int p = 0; p < topic->npartitions; p++)
			kafka_answers_want(answers, missing->indexes[i], topic->name,
							   topic->partitions[p], KAFKA_LOOKUP_END, true);
		kafka_window_want(reader, bounds, missing->indexes[i], topic);
	}
}

/*
 * Asks about the partitions that the topics had when this handle last looked,
 * without waiting; returns these, or NULL where it never did.
 */
static KafkaTopic *
ask_ahead(KafkaReader *reader, const KafkaBounds *bounds,
		  const Missing *missing)
{
	KafkaTopic *guesses = palloc(sizeof(KafkaTopic) * missing->count);

	for (int i = 0; i < missing->count; i++)
	{
		if (!kafka_client_recall_topic(reader->client, missing->names[i],
									   &guesses[i]))
			return NULL;
	}
	want_answers(reader, bounds, missing, guesses);
	kafka_answers_begin(reader->answers, reader->client);
	return guesses;
}

static bool
same_partitions(const KafkaTopic *a, const KafkaTopic *b)
{
	return a->npartitions == b->npartitions &&
		   memcmp(a->partitions, b->partitions,
				  sizeof(int32) * a->npartitions) == 0;
}

/*
 * What was asked about the topics that the snapshot lacks, before anybody
 * waited for it.
 */
struct KafkaSnapshotAhead
{
	Missing *missing;
	KafkaTopic *guesses;
	KafkaDescribeAhead *description; /* NULL once it is there */
};

static MemoryContext
snapshot_owner(const KafkaReader *reader)
{
	return IsolationUsesXactSnapshot() ? TopTransactionContext : reader->owner;
}

void
kafka_snapshot_begin(KafkaReader *reader, const KafkaBounds *bounds)
{
	const KafkaTableOptions *table = reader->table;
	Missing *missing;
	struct KafkaSnapshotAhead *ahead;

	if (table->topic_pattern)
		return;
	missing = find_missing(reader, snapshot_owner(reader), table->topics,
						   table->ntopics);
	if (missing->count == 0)
		return;
	ahead = reader->ahead = palloc(sizeof(struct KafkaSnapshotAhead));
	ahead->missing = missing;
	kafka_window_request_settings(reader, bounds, missing->names,
								  missing->count);
	ahead->guesses = ask_ahead(reader, bounds, missing);
	ahead->description =
		kafka_client_describe_begin(reader->client, missing->names,
									missing->count);
}

/*
 * Finds out the topics' partitions, and if the guess at them was right, takes
 * the answers about them that arrive meanwhile.  Else they are dropped, and
 * nobody has seen their errors: what is wrong with a topic is for its metadata
 * to say.
 */
static void
describe_missing(KafkaReader *reader, struct KafkaSnapshotAhead *ahead)
{
	Missing *missing = ahead->missing;
	KafkaTopic *guesses = ahead->guesses;
	bool right = guesses != NULL;

	if (ahead->description == NULL)
		return;
	missing->topics =
		kafka_client_describe_finish(reader->client, ahead->description);
	ahead->description = NULL;
	for (int i = 0; right && i < missing->count; i++)
		right = same_partitions(&guesses[i], &missing->topics[i]);
	if (guesses)
		kafka_answers_finish(reader->answers, reader->client, right);
}

void
kafka_snapshot_ask(KafkaReader *reader, const KafkaBounds *bounds)
{
	struct KafkaSnapshotAhead *ahead = reader->ahead;

	if (ahead == NULL || ahead->description == NULL)
		return;
	describe_missing(reader, ahead);
	want_answers(reader, bounds, ahead->missing, ahead->missing->topics);
	kafka_answers_begin(reader->answers, reader->client);
}

/* Makes an entry of a topic whose ends, and starts perhaps, are answered. */
static void
add_topic(KafkaReader *reader, MemoryContext owner, const KafkaTopic *topic,
		  int index, bool with_starts)
{
	SnapshotEntry *entry =
		make_entry(reader->connection, owner, false, topic->name);

	entry->topic.name = entry->name;
	entry->topic.starts_known = with_starts;
	entry->topic.nparts = topic->npartitions;
	entry->topic.parts =
		MemoryContextAllocZero(owner, sizeof(KafkaSnapshotPart) *
										  Max(topic->npartitions, 1));
	for (int i = 0; i < topic->npartitions; i++)
	{
		KafkaSnapshotPart *part = &entry->topic.parts[i];

		part->partition = topic->partitions[i];
		part->start = KAFKA_NO_OFFSET;
		if (with_starts)
			part->start =
				kafka_answers_get(reader->answers, index, part->partition,
								  KAFKA_LOOKUP_START);
		part->end = kafka_answers_get(reader->answers, index, part->partition,
									  KAFKA_LOOKUP_END);
	}
	publish_entry(entry);
	kafka_seen_note_topic(reader->connection, &entry->topic);
}

/* Asks for the ends of topics, one round trip a leader. */
static void
take_ends(KafkaReader *reader, const KafkaBounds *bounds, MemoryContext owner,
		  const Missing *missing)
{
	want_answers(reader, bounds, missing, missing->topics);
	kafka_answers_ask(reader->answers, reader->client);
	for (int i = 0; i < missing->count; i++)
	{
		/* Unless the table names it twice. */
		if (find_entry(reader->connection, owner, false, missing->names[i]))
			continue;
		add_topic(reader, owner, &missing->topics[i], missing->indexes[i],
				  bounds == NULL);
	}
}

/*
 * Finds the topics that match a pattern, and their ends: a topic that is made
 * later is no more seen than a message that is.
 */
static SnapshotEntry *
take_pattern(KafkaReader *reader, const KafkaBounds *bounds,
			 MemoryContext owner)
{
	const char *pattern = reader->table->topic_pattern;
	SnapshotEntry *entry =
		make_entry(reader->connection, owner, true, pattern);
	KafkaTopic *topics =
		kafka_client_match_topics(reader->client, pattern, &entry->nmatches);
	char **names = palloc(sizeof(char *) * Max(entry->nmatches, 1));
	Missing *missing;

	for (int i = 0; i < entry->nmatches; i++)
		names[i] = topics[i].name;
	missing = find_missing(reader, owner, names, entry->nmatches);
	missing->topics = palloc(sizeof(KafkaTopic) * Max(entry->nmatches, 1));
	for (int i = 0; i < missing->count; i++)
		missing->topics[i] = topics[missing->indexes[i]];
	kafka_window_request_settings(reader, bounds, missing->names,
								  missing->count);
	take_ends(reader, bounds, owner, missing);
	entry->matches =
		MemoryContextAlloc(owner, sizeof(char *) * Max(entry->nmatches, 1));
	for (int i = 0; i < entry->nmatches; i++)
		entry->matches[i] =
			find_entry(reader->connection, owner, false, names[i])->name;
	publish_entry(entry);
	kafka_seen_note_pattern(reader->connection, pattern, entry->matches,
							entry->nmatches);
	return entry;
}

/* Makes all entries of the table's topics, which have these names. */
static char **
take_topics(KafkaReader *reader, const KafkaBounds *bounds,
			MemoryContext owner, int *count)
{
	const KafkaTableOptions *table = reader->table;
	SnapshotEntry *matched;

	if (table->topic_pattern)
	{
		matched =
			find_entry(reader->connection, owner, true, table->topic_pattern);
		if (matched == NULL)
			matched = take_pattern(reader, bounds, owner);
		*count = matched->nmatches;
		return matched->matches;
	}
	*count = table->ntopics;
	if (reader->ahead == NULL)
		kafka_snapshot_begin(reader, bounds);
	if (reader->ahead)
	{
		struct KafkaSnapshotAhead *ahead = reader->ahead;

		describe_missing(reader, ahead);
		kafka_answers_finish(kafka_reader_answers(reader), reader->client,
							 true);
		take_ends(reader, bounds, owner, ahead->missing);
		reader->ahead = NULL;
	}
	return table->topics;
}

/* A partition that the table names must be there. */
static void
check_partitions(const KafkaTableOptions *table,
				 const KafkaSnapshotTopic *topic)
{
	for (int r = 0; r < table->npartitions; r++)
	{
		for (int64 p = table->partitions[r].start;
			 p < table->partitions[r].end; p++)
		{
			bool found = false;

			for (int i = 0; i < topic->nparts && !found; i++)
				found = topic->parts[i].partition == p;
			if (!found)
				ereport(
					ERROR,
					(errcode(ERRCODE_FDW_INVALID_OPTION_INDEX),
					 errmsg("Kafka topic \"%s\" has no partition %lld",
							topic->name, (long long) p),
					 errdetail_plural("The topic has %d partition.",
									  "The topic has %d partitions.",
									  topic->nparts, topic->nparts),
					 errhint(
						 "Change the \"partitions\" option of the foreign table.")));
		}
	}
}

void
kafka_snapshot_open(KafkaReader *reader, const KafkaBounds *bounds)
{
	MemoryContext owner = snapshot_owner(reader);
	KafkaSnapshotTopic **topics;
	char **names;
	int count;

	names = take_topics(reader, bounds, owner, &count);
	topics = MemoryContextAlloc(reader->context,
								sizeof(KafkaSnapshotTopic *) * Max(count, 1));
	for (int i = 0; i < count; i++)
	{
		SnapshotEntry *entry =
			find_entry(reader->connection, owner, false, names[i]);

		check_partitions(reader->table, &entry->topic);
		topics[i] = &entry->topic;
	}
	reader->topics = topics;
	reader->ntopics = count;
	if (reader->answers)
		kafka_answers_note_ends(reader->answers);
}

KafkaSnapshotTopic **
kafka_snapshot_take(KafkaTableOptions *table,
					KafkaConnectionOptions *connection, KafkaClient *client,
					MemoryContext owner, int *ntopics)
{
	KafkaReader reader = {.owner = owner,
						  .context = CurrentMemoryContext,
						  .scan_context = CurrentMemoryContext,
						  .table = table,
						  .connection = connection,
						  .client = client};

	kafka_snapshot_open(&reader, NULL);
	*ntopics = reader.ntopics;
	return reader.topics;
}
