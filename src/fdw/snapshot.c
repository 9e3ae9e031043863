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

/* Asks for the ends of a topic's partitions, one round trip a leader. */
static SnapshotEntry *
take_topic(const KafkaConnectionOptions *connection, KafkaClient *client,
		   MemoryContext owner, const KafkaTopic *topic)
{
	SnapshotEntry *entry = make_entry(connection, owner, false, topic->name);
	KafkaLookup *lookups =
		palloc0(sizeof(KafkaLookup) * Max(topic->npartitions, 1));

	entry->topic.name = entry->name;
	entry->topic.nparts = topic->npartitions;
	entry->topic.parts =
		MemoryContextAllocZero(owner, sizeof(KafkaSnapshotPart) *
										  Max(topic->npartitions, 1));
	for (int i = 0; i < topic->npartitions; i++)
	{
		entry->topic.parts[i].partition = topic->partitions[i];
		entry->topic.parts[i].start = KAFKA_NO_OFFSET;
		lookups[i].topic = topic->name;
		lookups[i].partition = topic->partitions[i];
		lookups[i].time_ms = KAFKA_LOOKUP_END;
	}
	kafka_client_lookup(client, lookups, topic->npartitions);
	for (int i = 0; i < topic->npartitions; i++)
		entry->topic.parts[i].end = lookups[i].offset;
	pfree(lookups);
	publish_entry(entry);
	return entry;
}

/*
 * Finds the topics that match a pattern, and their ends: a topic that is made
 * later is no more seen than a message that is.
 */
static SnapshotEntry *
take_pattern(const KafkaConnectionOptions *connection, KafkaClient *client,
			 MemoryContext owner, const char *pattern)
{
	SnapshotEntry *entry = make_entry(connection, owner, true, pattern);
	KafkaTopic *topics =
		kafka_client_match_topics(client, pattern, &entry->nmatches);

	entry->matches =
		MemoryContextAlloc(owner, sizeof(char *) * Max(entry->nmatches, 1));
	for (int i = 0; i < entry->nmatches; i++)
	{
		SnapshotEntry *topic =
			find_entry(connection, owner, false, topics[i].name);

		if (topic == NULL)
			topic = take_topic(connection, client, owner, &topics[i]);
		entry->matches[i] = topic->name;
	}
	publish_entry(entry);
	return entry;
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

/*
 * Gets the snapshot of all topics of a table, palloc'd array in the current
 * context; what it points to belongs to the snapshot's owner.
 */
KafkaSnapshotTopic **
kafka_snapshot_take(const KafkaTableOptions *table,
					const KafkaConnectionOptions *connection,
					KafkaClient *client, MemoryContext owner, int *ntopics)
{
	KafkaSnapshotTopic **result;
	char **names = table->topics;
	int count = table->ntopics;

	if (IsolationUsesXactSnapshot())
		owner = TopTransactionContext;
	if (table->topic_pattern)
	{
		SnapshotEntry *matched =
			find_entry(connection, owner, true, table->topic_pattern);

		if (matched == NULL)
			matched =
				take_pattern(connection, client, owner, table->topic_pattern);
		names = matched->matches;
		count = matched->nmatches;
	}
	result = palloc(sizeof(KafkaSnapshotTopic *) * Max(count, 1));
	for (int i = 0; i < count; i++)
	{
		SnapshotEntry *entry = find_entry(connection, owner, false, names[i]);

		if (entry == NULL)
			entry =
				take_topic(connection, client, owner,
						   kafka_client_describe_topics(client, &names[i], 1));
		check_partitions(table, &entry->topic);
		result[i] = &entry->topic;
	}
	*ntopics = count;
	return result;
}
