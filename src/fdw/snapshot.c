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

	/* The key: whose eyes see which topic how. */
	Oid serverid;
	Oid umid;
	bool read_committed;
	KafkaSnapshotTopic topic;
} SnapshotEntry;

static dlist_head snapshots = DLIST_STATIC_INIT(snapshots);

static void
forget_entry(void *arg)
{
	dlist_delete(&((SnapshotEntry *) arg)->node);
}

static KafkaSnapshotTopic *
find_entry(const KafkaConnectionOptions *connection, MemoryContext owner,
		   const char *topic)
{
	dlist_iter iter;

	dlist_foreach(iter, &snapshots)
	{
		SnapshotEntry *entry = dlist_container(SnapshotEntry, node, iter.cur);

		if (entry->owner == owner && entry->serverid == connection->serverid &&
			entry->umid == connection->umid &&
			entry->read_committed == connection->read_committed &&
			strcmp(entry->topic.name, topic) == 0)
			return &entry->topic;
	}
	return NULL;
}

static SnapshotEntry *
make_entry(const KafkaConnectionOptions *connection, MemoryContext owner,
		   const KafkaTopic *topic)
{
	SnapshotEntry *entry =
		MemoryContextAllocZero(owner, sizeof(SnapshotEntry));

	entry->owner = owner;
	entry->serverid = connection->serverid;
	entry->umid = connection->umid;
	entry->read_committed = connection->read_committed;
	entry->topic.name = MemoryContextStrdup(owner, topic->name);
	entry->topic.nparts = topic->npartitions;
	entry->topic.parts =
		MemoryContextAllocZero(owner, sizeof(KafkaSnapshotPart) *
										  Max(topic->npartitions, 1));
	for (int i = 0; i < topic->npartitions; i++)
	{
		entry->topic.parts[i].partition = topic->partitions[i];
		entry->topic.parts[i].start = KAFKA_NO_OFFSET;
	}
	return entry;
}

/* Asks for the ends of a topic's partitions, one round trip a leader. */
static KafkaSnapshotTopic *
take_topic(const KafkaConnectionOptions *connection, KafkaClient *client,
		   MemoryContext owner, const KafkaTopic *topic)
{
	SnapshotEntry *entry = make_entry(connection, owner, topic);
	KafkaLookup *lookups =
		palloc0(sizeof(KafkaLookup) * Max(topic->npartitions, 1));

	for (int i = 0; i < topic->npartitions; i++)
	{
		lookups[i].topic = topic->name;
		lookups[i].partition = topic->partitions[i];
		lookups[i].time_ms = KAFKA_LOOKUP_END;
	}
	kafka_client_lookup(client, lookups, topic->npartitions);
	for (int i = 0; i < topic->npartitions; i++)
		entry->topic.parts[i].end = lookups[i].offset;
	pfree(lookups);

	/* Complete: only now can others find it. */
	entry->callback.func = forget_entry;
	entry->callback.arg = entry;
	MemoryContextRegisterResetCallback(owner, &entry->callback);
	dlist_push_head(&snapshots, &entry->node);
	return &entry->topic;
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
KafkaSnapshotTopic *
kafka_snapshot_take(const KafkaTableOptions *table,
					const KafkaConnectionOptions *connection,
					KafkaClient *client, MemoryContext owner, int *ntopics)
{
	KafkaSnapshotTopic *result;
	KafkaTopic *matches = NULL;
	int count = table->ntopics;

	if (IsolationUsesXactSnapshot())
		owner = TopTransactionContext;
	if (table->topic_pattern)
		matches =
			kafka_client_match_topics(client, table->topic_pattern, &count);
	result = palloc(sizeof(KafkaSnapshotTopic) * Max(count, 1));
	for (int i = 0; i < count; i++)
	{
		char *name = matches ? matches[i].name : table->topics[i];
		KafkaSnapshotTopic *topic = find_entry(connection, owner, name);

		if (topic == NULL)
		{
			KafkaTopic *described =
				matches ? &matches[i]
						: kafka_client_describe_topics(client, &name, 1);

			topic = take_topic(connection, client, owner, described);
		}
		check_partitions(table, topic);
		result[i] = *topic;
	}
	*ntopics = count;
	return result;
}
