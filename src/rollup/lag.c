/*-------------------------------------------------------------------------
 *
 * lag.c
 *		How far rollups are behind their topics: kafka.rollup_lag.
 *
 * A view to be watched must answer while brokers do not: what only they know
 * is then NULL, and the wait is short.  It is counted by server, however many
 * rollups read from there.
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

/* How long to wait for a server in all, and in each of its steps. */
#define SERVER_MAX_MS 2000
#define CONNECT_MAX_MS 1000
#define LOOKUP_MAX_MS 500

/* A server, and what waiting for it has cost. */
typedef struct LagServer
{
	Oid serverid;
	int64 spent_ms;
	bool failed;
} LagServer;

/* What is being asked about a rollup's topics. */
typedef struct LagQuestion
{
	const KafkaRollup *rollup;
	KafkaTableOptions *table;
	KafkaSnapshotTopic **topics; /* with starts, where known */
	int ntopics;
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

/* Asks as the rollup's owner, if that may read the table. */
static bool
ask(void *arg)
{
	LagQuestion *question = (LagQuestion *) arg;
	const KafkaRollup *rollup = question->rollup;
	KafkaConnectionOptions *connection;
	KafkaClient *client;
	KafkaSnapshotTopic **topics;
	int ntopics;

	if (pg_class_aclcheck(rollup->source, rollup->owner, ACL_SELECT) !=
		ACLCHECK_OK)
		return true;
	question->table = kafka_option_read_table(rollup->source);
	connection =
		kafka_option_read_connection(question->table->serverid, rollup->owner);
	connection->connect_timeout_ms =
		Min(connection->connect_timeout_ms, CONNECT_MAX_MS);
	connection->fetch_timeout_ms =
		Min(connection->fetch_timeout_ms, LOOKUP_MAX_MS);
	client = kafka_client_acquire(connection, KAFKA_FOR_SEEKS);
	topics = kafka_snapshot_take(question->table, connection, client,
								 CurrentMemoryContext, &ntopics);
	for (int t = 0; t < ntopics; t++)
	{
		if (!topics[t]->starts_known)
			ask_starts(client, topics[t]);
	}
	kafka_client_release(client);
	question->topics = topics;
	question->ntopics = ntopics;
	return true;
}

/*
 * Asks in a subtransaction; false when there was no answer.  A cancel is not
 * the broker's silence, and is raised again.
 */
static bool
try_ask(LagQuestion *question)
{
	ErrorData *error = kafka_guard_try(ask, question);

	if (error != NULL && ERRCODE_TO_CATEGORY(error->sqlerrcode) ==
							 ERRCODE_OPERATOR_INTERVENTION)
		ReThrowError(error);
	return error == NULL;
}

static LagServer *
find_server(List **servers, Oid serverid)
{
	LagServer *server;
	ListCell *cell;

	foreach(cell, *servers)
	{
		server = lfirst(cell);
		if (server->serverid == serverid)
			return server;
	}
	server = palloc0(sizeof(LagServer));
	server->serverid = serverid;
	*servers = lappend(*servers, server);
	return server;
}

/* The table's server has so much time only, for all rollups together. */
static void
ask_within_limit(LagQuestion *question, List **servers)
{
	TimestampTz begin = GetCurrentTimestamp();
	Oid serverid = GetForeignServerIdByRelId(question->rollup->source);
	LagServer *server = find_server(servers, serverid);

	if (server->failed || server->spent_ms >= SERVER_MAX_MS)
		return;
	server->failed = !try_ask(question);
	server->spent_ms +=
		TimestampDifferenceMilliseconds(begin, GetCurrentTimestamp());
}

/* ----------------------------------------------------------------
 * Telling
 * ----------------------------------------------------------------
 */

static void
put_row(ReturnSetInfo *rsinfo, const KafkaRollup *rollup, const char *topic,
		int32 partition, const KafkaPosition *position,
		const KafkaSnapshotPart *part)
{
	Datum values[8];
	bool nulls[8] = {false};
	int64 next = position ? position->next_offset : part->start;

	values[0] = CStringGetTextDatum(rollup->name);
	values[1] = CStringGetTextDatum(topic);
	values[2] = Int32GetDatum(partition);
	values[3] = Int64GetDatum(next);
	nulls[3] = position == NULL;
	nulls[4] = nulls[5] = nulls[6] = part == NULL;
	if (part != NULL)
	{
		values[4] = Int64GetDatum(part->start);
		values[5] = Int64GetDatum(part->end);
		values[6] = Int64GetDatum(Max(part->end - Max(next, part->start), 0));
	}

	/* What was passed over so far, and what retention has taken since. */
	values[7] = Int64GetDatum((position ? position->lost_messages : 0) +
							  (part != NULL ? Max(part->start - next, 0) : 0));
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
}

static const KafkaSnapshotPart *
find_part(const LagQuestion *question, const KafkaPosition *position)
{
	for (int t = 0; t < question->ntopics; t++)
	{
		const KafkaSnapshotTopic *topic = question->topics[t];

		if (strcmp(topic->name, position->topic) != 0)
			continue;
		for (int i = 0; i < topic->nparts; i++)
		{
			if (topic->parts[i].partition == position->partition)
				return &topic->parts[i];
		}
	}
	return NULL;
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
			const KafkaSnapshotPart *part = &topic->parts[i];

			if (kafka_option_has_partition(question->table, part->partition) &&
				kafka_positions_find(positions, topic->name,
									 part->partition) == NULL)
				put_row(rsinfo, question->rollup, topic->name, part->partition,
						NULL, part);
		}
	}
}

static void
put_rollup(ReturnSetInfo *rsinfo, const KafkaRollup *rollup, List **servers)
{
	KafkaPositions *positions = kafka_positions_read(rollup->rollup_id);
	LagQuestion question = {.rollup = rollup};

	if (OidIsValid(rollup->source) && OidIsValid(rollup->owner))
		ask_within_limit(&question, servers);
	for (int i = 0; i < positions->count; i++)
	{
		const KafkaPosition *position = &positions->list[i];

		put_row(rsinfo, rollup, position->topic, position->partition, position,
				find_part(&question, position));
	}
	put_new_parts(rsinfo, &question, positions);
}

static bool
is_visible(const KafkaRollup *rollup)
{
	Oid role = GetUserId();

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

	/* Snapshots of topics are shared by context: all rollups agree. */
	context = AllocSetContextCreate(CurrentMemoryContext, "Kafka lag",
									ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(context);
	foreach(cell, list_all_rollups())
	{
		const KafkaRollup *rollup = lfirst(cell);

		if (is_visible(rollup))
			put_rollup(rsinfo, rollup, &servers);
	}
	SPI_finish();
	return (Datum) 0;
}
