/*-------------------------------------------------------------------------
 *
 * lag.c
 *		How far rollups are behind their topics: kafka.rollup_lag.
 *
 * A view to be watched must answer while brokers do not: what only they know
 * is then NULL, and the wait is short.  It is counted by server, however many
 * rollups read from there; those that read the same topics share the answers.
 *
 * Where a server shows committed messages only, its end of a partition is the
 * last stable offset; the high watermark is asked for by a handle of the other
 * isolation level, and first.  Whatever lies between the two then is of
 * transactions that were open when the end was asked for, and not of messages
 * that came between the questions.
 *
 * IDENTIFICATION
 *		src/rollup/lag.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_authid.h"
#include "compat.h"
#include "fmgr.h"
#include "fdw/guard.h"
#include "foreign/fdwapi.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "rollup/run.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

KAFKA_SQL_FUNCTION(kafka_rollup_lag);

/*
 * How long to wait for a server in all.  Half a second more may go by until a
 * handle that got no answer has ended.
 */
#define SERVER_MAX_MS 1500

/* A server, and what waiting for it has cost. */
typedef struct LagServer
{
	Oid serverid;
	int64 spent_ms;
	const char *trouble; /* why it is not asked any more, or NULL */
} LagServer;

/* What is being asked about a rollup's topics. */
typedef struct LagQuestion
{
	const KafkaRollup *rollup;
	MemoryContext owner;  /* of the snapshots: all rollups agree */
	TimestampTz deadline; /* for the answers */
	KafkaTableOptions *table;
	KafkaSnapshotTopic **topics; /* with starts */
	int ntopics;
	KafkaSnapshotTopic **highs; /* with high watermarks as ends */
	int nhighs;
	const char *trouble; /* why there is no answer, or NULL */
} LagQuestion;

/* ----------------------------------------------------------------
 * Asking
 * ----------------------------------------------------------------
 */

static void
ask_starts(KafkaClient *client, KafkaSnapshotTopic *topic)
{
	KafkaLookup *lookups =
		palloc0(sizeof(KafkaLookup) * Max(topic->nparts, 1));

	for (int i = 0; i < topic->nparts; i++)
	{
		lookups[i].topic = topic->name;
		lookups[i].partition = topic->parts[i].partition;
		lookups[i].time_ms = KAFKA_LOOKUP_START;
	}
	kafka_client_lookup(client, lookups, topic->nparts);
	for (int i = 0; i < topic->nparts; i++)
		topic->parts[i].start = lookups[i].offset;
	topic->starts_known = true;
	pfree(lookups);
}

/* Most of the time is for connecting: all that follows is one round trip. */
static void
limit_waits(KafkaClient *client, const LagQuestion *question)
{
	int64 left_ms = TimestampDifferenceMilliseconds(GetCurrentTimestamp(),
													question->deadline);

	if (left_ms <= 0)
		ereport(ERROR, (errcode(ERRCODE_FDW_UNABLE_TO_CREATE_REPLY),
						errmsg("the brokers take too long to answer")));
	kafka_client_limit_waits(client, (int) Max(left_ms * 2 / 3, 1),
							 (int) Max(left_ms / 3, 1));
}

/* Asks for ends and starts, by what the connection's isolation level shows. */
static KafkaSnapshotTopic **
ask_topics(const LagQuestion *question, KafkaConnectionOptions *connection,
		   int *ntopics)
{
	KafkaClient *client = kafka_client_acquire(connection, KAFKA_FOR_SEEKS);
	KafkaSnapshotTopic **topics;

	limit_waits(client, question);
	topics = kafka_snapshot_take(question->table, connection, client,
								 question->owner, ntopics);
	for (int t = 0; t < *ntopics; t++)
	{
		if (!topics[t]->starts_known)
			ask_starts(client, topics[t]);
	}
	kafka_client_release(client);
	return topics;
}

/* Asks as the rollup's owner, if that may read the table. */
static bool
ask(void *arg)
{
	LagQuestion *question = (LagQuestion *) arg;
	const KafkaRollup *rollup = question->rollup;
	KafkaConnectionOptions *connection;

	if (pg_class_aclcheck(rollup->source, rollup->owner, ACL_SELECT) !=
		ACLCHECK_OK)
	{
		question->trouble = "the owner has no right to read the foreign table";
		return true;
	}
	question->table = kafka_option_read_table(rollup->source);
	connection =
		kafka_option_read_connection(question->table->serverid, rollup->owner);
	if (connection->read_committed)
	{
		KafkaConnectionOptions other = *connection;

		other.read_committed = false;
		question->highs = ask_topics(question, &other, &question->nhighs);
	}
	question->topics = ask_topics(question, connection, &question->ntopics);
	if (question->highs == NULL)
	{
		question->highs = question->topics;
		question->nhighs = question->ntopics;
	}
	return true;
}

/* Does the error say that nobody answers, so that asking again is in vain? */
static bool
is_silence(const ErrorData *error)
{
	return error->sqlerrcode == ERRCODE_FDW_UNABLE_TO_ESTABLISH_CONNECTION ||
		   error->sqlerrcode == ERRCODE_FDW_UNABLE_TO_CREATE_REPLY;
}

/*
 * Asks in a subtransaction.  A cancel is not the broker's silence, and is
 * raised again.
 */
static void
try_ask(LagQuestion *question, LagServer *server)
{
	ErrorData *error = kafka_guard_try(ask, question);

	if (error == NULL)
		return;
	if (ERRCODE_TO_CATEGORY(error->sqlerrcode) ==
		ERRCODE_OPERATOR_INTERVENTION)
		ReThrowError(error);
	question->topics = question->highs = NULL;
	question->ntopics = question->nhighs = 0;
	question->trouble = error->message;
	if (is_silence(error))
	{
		question->trouble =
			psprintf("the broker does not answer: %s", error->message);
		server->trouble =
			MemoryContextStrdup(question->owner, question->trouble);
	}
}

static LagServer *
find_server(List **servers, Oid serverid, MemoryContext context)
{
	MemoryContext caller;
	LagServer *server;
	ListCell *cell;

	foreach(cell, *servers)
	{
		server = lfirst(cell);
		if (server->serverid == serverid)
			return server;
	}
	caller = MemoryContextSwitchTo(context);
	server = palloc0(sizeof(LagServer));
	server->serverid = serverid;
	*servers = lappend(*servers, server);
	MemoryContextSwitchTo(caller);
	return server;
}

/* The table's server has so much time only, for all rollups together. */
static void
ask_within_limit(LagQuestion *question, LagServer *server)
{
	TimestampTz begin = GetCurrentTimestamp();
	int64 left_ms = SERVER_MAX_MS - server->spent_ms;

	question->trouble = server->trouble;
	if (server->trouble == NULL && left_ms <= 0)
		question->trouble = "the broker takes too long to answer";
	if (question->trouble != NULL)
		return;
	question->deadline = TimestampTzPlusMilliseconds(begin, left_ms);
	try_ask(question, server);
	server->spent_ms +=
		TimestampDifferenceMilliseconds(begin, GetCurrentTimestamp());
}

/* ----------------------------------------------------------------
 * Telling
 * ----------------------------------------------------------------
 */

/* A row of kafka.rollup_lag to be; NULL pointers are what is not known. */
typedef struct LagRow
{
	const char *topic;
	int32 partition;
	const KafkaPosition *position;
	const KafkaSnapshotPart *part;
	const KafkaSnapshotPart *high;
} LagRow;

static const KafkaSnapshotPart *
find_part(KafkaSnapshotTopic **topics, int ntopics, const char *name,
		  int32 partition)
{
	for (int t = 0; t < ntopics; t++)
	{
		const KafkaSnapshotTopic *topic = topics[t];

		if (strcmp(topic->name, name) != 0)
			continue;
		for (int i = 0; i < topic->nparts; i++)
		{
			if (topic->parts[i].partition == partition)
				return &topic->parts[i];
		}
	}
	return NULL;
}

/* What the numbers do not say; NULL for nothing. */
static const char *
describe_row(const LagQuestion *question, const LagRow *row)
{
	const KafkaPosition *position = row->position;
	const KafkaSnapshotPart *part = row->part;

	if (part == NULL)
		return question->trouble != NULL ? question->trouble
										 : "the topic has no such partition";
	if (position == NULL)
		return "no run has seen the partition yet";
	if (!kafka_option_has_partition(question->table, row->partition))
		return "the foreign table does not show the partition";
	if (position->next_offset < part->start)
		return psprintf("messages before offset %lld were removed without "
						"being read",
						(long long) part->start);
	if (position->next_offset > part->end)
		return psprintf("the partition ends before the position, at offset "
						"%lld",
						(long long) part->end);
	if (row->high != NULL && row->high->end > part->end)
		return psprintf("an open transaction holds the end at offset %lld",
						(long long) part->end);
	return NULL;
}

/*
 * Since when it may be behind: the first message that is not read yet was
 * appended after all had been read, and after the last one that was.
 * DT_NOBEGIN when neither is known.
 */
static TimestampTz
get_behind_since(const KafkaPosition *position, TimestampTz caught_up_at)
{
	TimestampTz since = caught_up_at;

	if (position != NULL && position->last_offset >= 0 &&
		position->has_last_time)
		since = Max(since, position->last_time);
	return since;
}

/* What only the brokers know. */
static void
fill_answers(Datum *values, bool *nulls, const LagRow *row,
			 TimestampTz caught_up_at)
{
	const KafkaSnapshotPart *part = row->part;
	int64 next = row->position ? row->position->next_offset : part->start;
	int64 behind = Max(part->end - Max(next, part->start), 0);
	TimestampTz since = get_behind_since(row->position, caught_up_at);
	TimestampTz now = GetCurrentTimestamp();

	values[4] = Int64GetDatum(part->start);
	values[5] = Int64GetDatum(part->end);
	values[8] = Int64GetDatum(behind);
	nulls[4] = nulls[5] = nulls[8] = false;
	if (row->high != NULL)
	{
		int64 high = Max(row->high->end, part->end);

		values[6] = Int64GetDatum(high);
		values[7] = Int64GetDatum(high - part->end);
		nulls[6] = nulls[7] = false;
	}
	if (behind > 0 && TIMESTAMP_NOT_FINITE(since))
		return;
	if (behind == 0 || since > now)
		since = now;
	values[9] = DirectFunctionCall2(timestamp_mi, TimestampTzGetDatum(now),
									TimestampTzGetDatum(since));
	nulls[9] = false;
}

static void
put_row(ReturnSetInfo *rsinfo, const LagQuestion *question, LagRow *row,
		TimestampTz caught_up_at)
{
	const KafkaPosition *position = row->position;
	const KafkaSnapshotPart *part;
	Datum values[12];
	bool nulls[12];
	int64 lost = position ? position->lost_messages : 0;
	const char *note;

	row->part = part = find_part(question->topics, question->ntopics,
								 row->topic, row->partition);
	row->high = find_part(question->highs, question->nhighs, row->topic,
						  row->partition);
	memset(nulls, true, sizeof(nulls));
	values[0] = CStringGetTextDatum(question->rollup->name);
	values[1] = CStringGetTextDatum(row->topic);
	values[2] = Int32GetDatum(row->partition);
	nulls[0] = nulls[1] = nulls[2] = false;
	if (position != NULL)
	{
		values[3] = Int64GetDatum(position->next_offset);
		nulls[3] = false;
	}
	if (part != NULL)
		fill_answers(values, nulls, row, caught_up_at);

	/* What was passed over so far, and what retention has taken since. */
	if (part != NULL && position != NULL)
		lost += Max(part->start - position->next_offset, 0);
	values[10] = Int64GetDatum(lost);
	nulls[10] = false;
	note = describe_row(question, row);
	if (note != NULL)
	{
		values[11] = CStringGetTextDatum(note);
		nulls[11] = false;
	}
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
}

/* Partitions that no run has met yet. */
static void
put_new_parts(ReturnSetInfo *rsinfo, const LagQuestion *question,
			  KafkaPositions *positions)
{
	for (int t = 0; t < question->ntopics; t++)
	{
		const KafkaSnapshotTopic *topic = question->topics[t];

		for (int i = 0; i < topic->nparts; i++)
		{
			LagRow row = {topic->name, topic->parts[i].partition};

			if (kafka_option_has_partition(question->table, row.partition) &&
				kafka_positions_find(positions, topic->name, row.partition) ==
					NULL)
				put_row(rsinfo, question, &row, DT_NOBEGIN);
		}
	}
}

/* When all had last been read; DT_NOBEGIN for never. */
static TimestampTz
read_caught_up_at(int32 rollup_id)
{
	Oid types[] = {INT4OID};
	Datum values[] = {Int32GetDatum(rollup_id)};
	TimestampTz result = DT_NOBEGIN;

	if (kafka_catalog_execute(
			"SELECT caught_up_at FROM kafka.stored_progress"
			" WHERE rollup_id = $1 AND caught_up_at IS NOT NULL",
			lengthof(types), types, values, NULL) > 0)
	{
		bool isnull;

		result = DatumGetTimestampTz(SPI_getbinval(SPI_tuptable->vals[0],
												   SPI_tuptable->tupdesc, 1,
												   &isnull));
	}
	SPI_freetuptable(SPI_tuptable);
	return result;
}

static void
put_rollup(ReturnSetInfo *rsinfo, LagQuestion *question, List **servers)
{
	const KafkaRollup *rollup = question->rollup;
	KafkaPositions *positions = kafka_positions_read(rollup->rollup_id);
	TimestampTz caught_up_at = read_caught_up_at(rollup->rollup_id);

	if (!OidIsValid(rollup->source) || !OidIsValid(rollup->owner))
		question->trouble = "the foreign table was dropped";
	else
		ask_within_limit(question,
						 find_server(servers,
									 GetForeignServerIdByRelId(rollup->source),
									 question->owner));
	for (int i = 0; i < positions->count; i++)
	{
		const KafkaPosition *position = &positions->list[i];
		LagRow row = {position->topic, position->partition, position};

		put_row(rsinfo, question, &row, caught_up_at);
	}
	put_new_parts(rsinfo, question, positions);
}

static bool
is_visible(const KafkaRollup *rollup)
{
	Oid role = GetUserId();

	if (rollup->rebuilds != 0)
		return false; /* it is going to be another one */
	if (has_privs_of_role(role, ROLE_PG_READ_ALL_DATA))
		return true;
	return OidIsValid(rollup->owner) && has_privs_of_role(role, rollup->owner);
}

static List *
list_all_rollups(void)
{
	List *rollups = NIL;
	List *ids = NIL;
	ListCell *cell;
	uint64 count;

	count = kafka_catalog_execute(
		"SELECT rollup_id FROM kafka.stored_rollup ORDER BY name", 0, NULL,
		NULL, NULL);
	for (uint64 i = 0; i < count; i++)
	{
		bool isnull;

		ids =
			lappend_int(ids, DatumGetInt32(SPI_getbinval(SPI_tuptable->vals[i],
														 SPI_tuptable->tupdesc,
														 1, &isnull)));
	}
	SPI_freetuptable(SPI_tuptable);
	foreach(cell, ids)
	{
		KafkaRollup *rollup = kafka_rollup_get_by_id(lfirst_int(cell));

		if (rollup != NULL)
			rollups = lappend(rollups, rollup);
	}
	return rollups;
}

Datum
kafka_rollup_lag(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	MemoryContext context;
	List *servers = NIL;
	ListCell *cell;

	InitMaterializedSRF(fcinfo, 0);
	SPI_connect();
	context = AllocSetContextCreate(CurrentMemoryContext, "Kafka lag",
									ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(context);
	foreach(cell, list_all_rollups())
	{
		const KafkaRollup *rollup = lfirst(cell);
		LagQuestion question = {.rollup = rollup, .owner = context};
		MemoryContext own;

		if (!is_visible(rollup))
			continue;

		/* A handle that got no answer ends with it. */
		own = AllocSetContextCreate(context, "Kafka lag of a rollup",
									ALLOCSET_DEFAULT_SIZES);
		MemoryContextSwitchTo(own);
		put_rollup(rsinfo, &question, &servers);
		MemoryContextSwitchTo(context);
		MemoryContextDelete(own);
	}
	SPI_finish();
	return (Datum) 0;
}
