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
#include "core/moment.h"
#include "foreign/foreign.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "rollup/run.h"
#include "utils/acl.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

/* A batch has no more messages once it takes this much memory. */
#define BATCH_MAX_BYTES (64 * 1024 * 1024)

/* ----------------------------------------------------------------
 * What the reader was opened by, altered meanwhile?
 * ----------------------------------------------------------------
 */

/*
 * Counts invalidations of what any reader is opened by, or of everything: that
 * is what a backend is told that has been left behind by others' DDL.  So it
 * only says that it is time to compare.
 */
static uint64 changes = 0;

static void
note_change(Datum arg, int cacheid, uint32 hash)
{
	changes++;
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

void
kafka_origin_note(KafkaOrigin *origin, Oid source, Oid userid,
				  MemoryContext context)
{
	uint64 seen;

	watch_catalog();
	AcceptInvalidationMessages();
	seen = changes;
	if (origin->text)
		pfree(origin->text);
	origin->text = NULL;
	origin->text =
		MemoryContextStrdup(context, describe_origin(source, userid));
	origin->userid = userid;
	origin->seen = seen;
}

/* A table that is gone, or not to be read any more, is another one, too. */
bool
kafka_origin_is_stale(KafkaOrigin *origin, Oid source, Oid userid)
{
	uint64 seen;

	AcceptInvalidationMessages();
	if (userid != origin->userid || get_rel_name(source) == NULL ||
		pg_class_aclcheck(source, userid, ACL_SELECT) != ACLCHECK_OK)
		return true;
	seen = changes;
	if (origin->seen == seen)
		return false;
	if (strcmp(origin->text, describe_origin(source, userid)) != 0)
		return true;
	origin->seen = seen;
	return false;
}

static void
append_partitions(StringInfo key, const KafkaTableOptions *table)
{
	for (int i = 0; i < table->npartitions; i++)
		appendStringInfo(key, " %lld-%lld",
						 (long long) table->partitions[i].start,
						 (long long) table->partitions[i].end);
}

/*
 * The credentials belong to it: one role must not be shown what only another
 * may read.  Of the table only what says which messages there are.
 */
char *
kafka_rollup_reader_key(Oid source, Oid userid)
{
	KafkaTableOptions *table = kafka_option_read_table(source);
	Oid umid = kafka_option_read_connection(table->serverid, userid)->umid;
	StringInfoData key;

	initStringInfo(&key);
	appendStringInfo(&key, "%u %u", table->serverid, umid);
	append_partitions(&key, table);
	if (table->topic_pattern)
		appendStringInfo(&key, " like %s", table->topic_pattern);
	for (int i = 0; i < table->ntopics; i++)
		appendStringInfo(&key, " %s", table->topics[i]);
	return key.data;
}

/* ----------------------------------------------------------------
 * Opening and closing
 * ----------------------------------------------------------------
 */

void
kafka_rollup_reader_check_right(Oid source, Oid userid)
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

	kafka_rollup_reader_check_right(source, userid);
	reader->context = context;
	reader->userid = userid;
	table = kafka_option_read_table(source);

	/*
	 * What the options come from is in the caches after this, so that reading
	 * them again, on the way to the brokers, needs no snapshot.
	 */
	(void) kafka_option_read_connection(table->serverid, userid);
	InvalidateCatalogSnapshot();
	reader->asked_at = GetCurrentTimestamp();

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

KafkaReaderStart *
kafka_rollup_reader_list_starts(const KafkaRollupReader *reader,
								const KafkaPositions *positions)
{
	KafkaReaderStart *starts =
		palloc(sizeof(KafkaReaderStart) * Max(positions->count, 1));

	for (int i = 0; i < positions->count; i++)
	{
		const KafkaPosition *position = &positions->list[i];
		const KafkaSnapshotPart *part =
			kafka_rollup_reader_part(reader, position->topic,
									 position->partition);

		starts[i].topic = position->topic;
		starts[i].partition = position->partition;
		starts[i].offset = position->next_offset;
		if (part != NULL && position->next_offset < part->end &&
			position->last_offset >= part->start)
			starts[i].offset = position->last_offset;
	}
	return starts;
}

void
kafka_rollup_reader_start(KafkaRollupReader *reader,
						  const KafkaPositions *positions)
{
	MemoryContext caller = MemoryContextSwitchTo(reader->context);

	reader->positions = kafka_positions_copy(positions);
	reader->finished = reader->lost = false;
	reader->replaced = NULL;
	kafka_reader_start_from(reader->reader,
							kafka_rollup_reader_list_starts(reader,
															reader->positions),
							positions->count);
	MemoryContextSwitchTo(caller);
}

/* The time of the last message; it may have none. */
static void
note_time(KafkaPosition *position, const KafkaBatchEntry *last)
{
	int64 moment;

	position->has_last_time =
		last->timestamp_ms >= 0 &&
		kafka_moment_from_kafka(last->timestamp_ms, &moment);
	if (position->has_last_time)
		position->last_time = moment;
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
			note_time(position, &batch->entries[last_entries[i]]);
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
	KafkaPosition *position = NULL;
	KafkaMessage message;

	for (int i = 0; i < positions->count; i++)
		last_entries[i] = -1;
	while (!is_full(batch, max_rows))
	{
		reader->finished = !kafka_reader_next(reader->reader, &message);
		reader->lost = kafka_reader_lost(reader->reader) > 0;
		if (reader->finished || reader->lost)
			break;
		position = kafka_positions_of_message(positions, &message, position);
		if (message.offset < position->next_offset)
		{
			if (kafka_position_is_last(position, &message))
				continue;
			reader->replaced = position;
			break;
		}
		last_entries[position - positions->list] = batch->nentries;
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

		/* What was read before is the rollup's own affair. */
		if (reached->last_offset >= position->next_offset)
		{
			position->last_offset = reached->last_offset;
			position->last_digest = reached->last_digest;
			position->has_last_time = reached->has_last_time;
			position->last_time = reached->last_time;
		}
		position->next_offset = reached->next_offset;
		part = kafka_rollup_reader_part(reader, position->topic,
										position->partition);
		if (part == NULL)
			continue;
		position->is_behind = reached->next_offset < part->end;
		position->end_offset = part->end;
	}
}
