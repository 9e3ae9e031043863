/*-------------------------------------------------------------------------
 *
 * read.c
 *		A rollup's topics, read into batches.
 *
 * The reader stays open over all batches of a run, and so over transactions:
 * while one batch is aggregated the library fetches the next.  It reads up to
 * the ends as they were when it was opened.
 *
 * Reading begins at the last message that was read before, where the log still
 * has it: if another one is there now, the topic was made anew.  That message
 * is not counted again.
 *
 * IDENTIFICATION
 *		src/rollup/read.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/reloptions.h"
#include "catalog/objectaddress.h"
#include "catalog/pg_user_mapping.h"
#include "foreign/foreign.h"
#include "miscadmin.h"
#include "rollup/run.h"
#include "utils/acl.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

/* A batch has no more messages once it takes this much memory. */
#define BATCH_MAX_BYTES (64 * 1024 * 1024)

/* ----------------------------------------------------------------
 * What the reader was opened by, altered meanwhile?
 * ----------------------------------------------------------------
 */

/*
 * Set by an invalidation of what any reader is opened by, or of everything:
 * that is what a backend is told that has been left behind by others' DDL.  So
 * it only says that it is time to compare.
 */
static bool may_have_changed;

static void
note_change(Datum arg, int cacheid, uint32 hash)
{
	may_have_changed = true;
}

static void
watch_catalog(void)
{
	static bool registered = false;

	if (!registered)
	{
		registered = true;
		CacheRegisterSyscacheCallback(FOREIGNTABLEREL, note_change, 0);
		CacheRegisterSyscacheCallback(FOREIGNSERVEROID, note_change, 0);
		CacheRegisterSyscacheCallback(USERMAPPINGOID, note_change, 0);
	}
	may_have_changed = false;
}

/* A user mapping's options; NIL where there is none. */
static List *
get_mapping_options(Oid umid)
{
	HeapTuple tuple = SearchSysCache1(USERMAPPINGOID, ObjectIdGetDatum(umid));
	List *options = NIL;
	Datum datum;
	bool isnull;

	if (!HeapTupleIsValid(tuple))
		return NIL;
	datum = SysCacheGetAttr(USERMAPPINGOID, tuple,
							Anum_pg_user_mapping_umoptions, &isnull);
	if (!isnull)
		options = untransformRelOptions(datum);
	ReleaseSysCache(tuple);
	return options;
}

/* All that a reader of source for userid is opened by, as text. */
static char *
describe_origin(Oid source, Oid userid)
{
	ForeignTable *table = GetForeignTable(source);
	ForeignServer *server = GetForeignServer(table->serverid);
	Oid umid = kafka_option_read_connection(table->serverid, userid)->umid;

	return psprintf("%u %u %u %s %s %s", userid, table->serverid, umid,
					nodeToString(table->options),
					nodeToString(server->options),
					nodeToString(get_mapping_options(umid)));
}

bool
kafka_rollup_reader_is_stale(const KafkaRollupReader *reader,
							 const KafkaRollup *rollup)
{
	AcceptInvalidationMessages();
	if (!may_have_changed && rollup->owner == reader->userid)
		return false;
	may_have_changed = false;
	return strcmp(reader->origin,
				  describe_origin(rollup->source, rollup->owner)) != 0;
}

/* ----------------------------------------------------------------
 * Opening and closing
 * ----------------------------------------------------------------
 */

static void
check_right(Oid source, Oid userid)
{
	AclResult result = pg_class_aclcheck(source, userid, ACL_SELECT);

	if (result != ACLCHECK_OK)
		ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
						errmsg("permission denied for foreign table %s",
							   get_rel_name(source)),
						errdetail("A rollup reads as its owner, role \"%s\".",
								  GetUserNameFromId(userid, false))));
}

KafkaRollupReader *
kafka_rollup_reader_open_table(Oid source, Oid userid)
{
	MemoryContext context =
		AllocSetContextCreate(CurrentMemoryContext, "Kafka rollup reader",
							  ALLOCSET_DEFAULT_SIZES);
	MemoryContext caller = MemoryContextSwitchTo(context);
	KafkaRollupReader *reader = palloc0(sizeof(KafkaRollupReader));
	KafkaTableOptions *table;
	KafkaReader *opened;

	check_right(source, userid);
	reader->context = context;
	reader->userid = userid;
	watch_catalog();
	table = kafka_option_read_table(source);

	/*
	 * What the options come from is in the caches after this, so that reading
	 * them again, on the way to the brokers, needs no snapshot.
	 */
	reader->origin = describe_origin(source, userid);
	InvalidateCatalogSnapshot();

	/* No columns: messages are not decoded here. */
	opened = kafka_reader_open(table, NULL, userid, context);
	reader->reader = opened;
	for (int t = 0; t < opened->ntopics; t++)
		kafka_reader_need_starts(opened, opened->topics[t]);
	reader->cluster_id = kafka_client_cluster_id(opened->client);
	MemoryContextSwitchTo(caller);
	return reader;
}

KafkaRollupReader *
kafka_rollup_reader_open(const KafkaRollup *rollup)
{
	return kafka_rollup_reader_open_table(rollup->source, rollup->owner);
}

void
kafka_rollup_reader_close(KafkaRollupReader *reader)
{
	kafka_reader_close(reader->reader);
	MemoryContextDelete(reader->context);
}

const KafkaSnapshotPart *
kafka_rollup_reader_part(const KafkaRollupReader *reader, const char *topic,
						 int32 partition)
{
	const KafkaReader *source = reader->reader;

	if (!kafka_option_has_partition(source->table, partition))
		return NULL;
	for (int t = 0; t < source->ntopics; t++)
	{
		const KafkaSnapshotTopic *found = source->topics[t];

		if (strcmp(found->name, topic) != 0)
			continue;
		for (int i = 0; i < found->nparts; i++)
		{
			if (found->parts[i].partition == partition)
				return &found->parts[i];
		}
	}
	return NULL;
}

/* ----------------------------------------------------------------
 * Reading
 * ----------------------------------------------------------------
 */

bool
kafka_rollup_reader_has_news(const KafkaRollupReader *reader,
							 const KafkaPositions *positions)
{
	for (int i = 0; i < positions->count; i++)
	{
		const KafkaPosition *position = &positions->list[i];
		const KafkaSnapshotPart *part;

		part = kafka_rollup_reader_part(reader, position->topic,
										position->partition);
		if (part != NULL && position->next_offset < part->end)
			return true;
	}
	return false;
}

void
kafka_rollup_reader_start(KafkaRollupReader *reader,
						  const KafkaPositions *positions)
{
	MemoryContext caller = MemoryContextSwitchTo(reader->context);
	KafkaReaderStart *starts =
		palloc(sizeof(KafkaReaderStart) * Max(positions->count, 1));

	reader->positions = kafka_positions_copy(positions);
	reader->finished = reader->lost = false;
	reader->replaced = NULL;
	for (int i = 0; i < positions->count; i++)
	{
		const KafkaPosition *position = &reader->positions->list[i];
		const KafkaSnapshotPart *part;

		part = kafka_rollup_reader_part(reader, position->topic,
										position->partition);
		starts[i].topic = position->topic;
		starts[i].partition = position->partition;
		starts[i].offset = position->next_offset;
		if (part != NULL && position->next_offset < part->end &&
			position->last_offset >= part->start)
			starts[i].offset = position->last_offset;
	}
	kafka_reader_start_from(reader->reader, starts, positions->count);
	MemoryContextSwitchTo(caller);
}

/*
 * A message below the position: the last one that was read, where nothing has
 * changed.  A visible one after that, where none was before, belongs to
 * another topic as well as one with another content.
 */
static bool
is_last_message(const KafkaPosition *position, const KafkaMessage *message)
{
	return message->offset == position->last_offset &&
		   kafka_position_digest(message) == position->last_digest;
}

/*
 * Which position a message belongs to.  Messages of a partition come in runs,
 * so mostly to that of the message before.
 */
static int
find_index(const KafkaRollupReader *reader, const KafkaMessage *message,
		   int hint)
{
	KafkaPosition *position = &reader->positions->list[hint];

	if (position->partition == message->partition &&
		strcmp(position->topic, message->topic) == 0)
		return hint;
	position = kafka_positions_find(reader->positions, message->topic,
									message->partition);

	/* It cannot happen that there is none: reading began at positions. */
	if (position == NULL)
		elog(ERROR, "no position of topic \"%s\" partition %d", message->topic,
			 message->partition);
	return (int) (position - reader->positions->list);
}

/*
 * Notes the digests of the last messages of the batch, and how far reading
 * has come past them.
 */
static void
note_reached(KafkaRollupReader *reader, const KafkaBatch *batch,
			 const int *last_entries)
{
	for (int i = 0; i < reader->positions->count; i++)
	{
		KafkaPosition *position = &reader->positions->list[i];
		KafkaMessage message;
		int64 reached;

		if (last_entries[i] >= 0)
		{
			kafka_batch_message(batch, last_entries[i], &message);
			position->last_digest = kafka_position_digest(&message);
		}

		/*
		 * Where messages were lost the reader has stepped over them.  Then
		 * only what is in the batch counts; the next look at the log starts
		 * tells what is missing.
		 */
		if (reader->lost)
			continue;
		reached = kafka_reader_position(reader->reader, position->topic,
										position->partition);
		position->next_offset = Max(position->next_offset, reached);
	}
}

/* Tombstones and other small messages take more memory than bytes. */
static bool
is_full(const KafkaBatch *batch, int64 max_rows)
{
	int64 overhead = (int64) sizeof(KafkaBatchEntry) * batch->nentries;

	return batch->nentries >= max_rows ||
		   batch->bytes + overhead >= BATCH_MAX_BYTES;
}

void
kafka_rollup_reader_read(KafkaRollupReader *reader, KafkaBatch *batch,
						 int64 max_rows)
{
	KafkaPositions *positions = reader->positions;
	int *last_entries = palloc(sizeof(int) * Max(positions->count, 1));
	int index = 0;
	KafkaMessage message;

	for (int i = 0; i < positions->count; i++)
		last_entries[i] = -1;
	while (!is_full(batch, max_rows))
	{
		KafkaPosition *position;

		reader->finished = !kafka_reader_next(reader->reader, &message);
		reader->lost = kafka_reader_lost(reader->reader) > 0;
		if (reader->finished || reader->lost)
			break;
		index = find_index(reader, &message, index);
		position = &positions->list[index];
		if (message.offset < position->next_offset)
		{
			if (is_last_message(position, &message))
				continue;
			reader->replaced = position;
			break;
		}
		last_entries[index] = batch->nentries;
		kafka_batch_add(batch, &message);
		position->last_offset = message.offset;
		position->next_offset = message.offset + 1;
	}
	if (reader->replaced == NULL)
		note_reached(reader, batch, last_entries);
	pfree(last_entries);
}

void
kafka_rollup_reader_advance(const KafkaRollupReader *reader,
							KafkaPositions *positions)
{
	for (int i = 0; i < positions->count; i++)
	{
		KafkaPosition *position = &positions->list[i];
		const KafkaPosition *reached =
			kafka_positions_find(reader->positions, position->topic,
								 position->partition);
		const KafkaSnapshotPart *part;

		if (reached == NULL)
			continue;
		position->next_offset = reached->next_offset;
		position->last_offset = reached->last_offset;
		position->last_digest = reached->last_digest;
		part = kafka_rollup_reader_part(reader, position->topic,
										position->partition);
		position->is_behind = part != NULL && reached->next_offset < part->end;
	}
}
