/*-------------------------------------------------------------------------
 *
 * watch.c
 *		What runs leave behind for whoever watches rollups: when one last saw
 *		its topics, and up to when it has all of them.
 *
 * "All messages before time c have been read" (complete_until in
 * kafka.rollups) is a statement about messages that nobody may have sent yet.
 * It rests on what the table declares, that a record's time lies at most lag
 * behind and lead ahead of the moment of its append, and on the brokers' clocks
 * agreeing with ours and with each other up to skew (broker_clock_skew).  There
 * are two ways to it, for each partition, and the later one counts:
 *
 *	 1. All that a broker had at our time T lies below the position.  What is
 *		appended afterwards is so at a broker's time of T - skew or later, and
 *		has a time of T - skew - lag or later.
 *	 2. The last message that was read has the time t, so it was appended at
 *		t - lead or later.  What lies above it was appended after it, that is
 *		at t - lead - skew or later by the clock of whichever broker leads the
 *		partition then, and has a time of t - lead - skew - lag or later.
 *
 * In both cases what lies at or above the position is not before c.  The
 * least c of all partitions is the rollup's.
 *
 * "All that a broker had" is its high watermark, not the last stable offset
 * at which reading stops: what an open transaction has written is appended, and
 * has its time, long before it is visible.  A handle tells the one or the
 * other, by its isolation level.  So where the table's server reads committed
 * messages only, another handle asks for the high watermarks (kafka_watch_look),
 * and does so before the ends are asked for: on a busy topic the ends are past
 * them then.  What a leader has appended and not replicated yet is above its
 * high watermark too; skew has to make up for these milliseconds.
 *
 * IDENTIFICATION
 *		src/rollup/watch.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_class_d.h"
#include "catalog/pg_type_d.h"
#include "commands/defrem.h"
#include "compat.h"
#include "fmgr.h"
#include "foreign/foreign.h"
#include "funcapi.h"
#include "option_table.h"
#include "rollup/run.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

KAFKA_SQL_FUNCTION(kafka_get_disorder_limits);

/*
 * A run that has nothing to store writes a row only for this: so often is
 * enough to see that it runs, and seldom enough to cost nothing.
 */
#define QUIET_INTERVAL_MS (10 * 1000)

/* ----------------------------------------------------------------
 * High watermarks
 * ----------------------------------------------------------------
 */

KafkaWatermarks *
kafka_watch_look(Oid source, Oid userid)
{
	MemoryContext caller = CurrentMemoryContext;
	KafkaWatermarks *watermarks;
	KafkaTableOptions *table;
	KafkaConnectionOptions *connection;
	KafkaClient *client;
	MemoryContext context;

	/* A context of its own: a snapshot is shared by all who have its owner. */
	context = AllocSetContextCreate(caller, "Kafka high watermarks",
									ALLOCSET_SMALL_SIZES);
	MemoryContextSwitchTo(context);
	watermarks = palloc0(sizeof(KafkaWatermarks));
	watermarks->context = context;
	table = kafka_option_read_table(source);
	connection = kafka_option_read_connection(table->serverid, userid);
	watermarks->asked_at = GetCurrentTimestamp();
	if (connection->read_committed)
	{
		InvalidateCatalogSnapshot(); /* nothing is held while it waits */
		connection->read_committed = false;
		client = kafka_client_acquire(connection, KAFKA_FOR_SEEKS);
		watermarks->topics =
			kafka_snapshot_take(table, connection, client, context,
								&watermarks->ntopics);
		kafka_client_release(client);
		watermarks->known = true;
	}
	MemoryContextSwitchTo(caller);
	return watermarks;
}

void
kafka_watch_free(KafkaWatermarks *watermarks)
{
	if (watermarks != NULL)
		MemoryContextDelete(watermarks->context);
}

/* Do the positions lie at or past all high watermarks? */
static bool
reach_watermarks(const KafkaPositions *positions,
				 const KafkaWatermarks *watermarks,
				 const KafkaTableOptions *table)
{
	for (int t = 0; t < watermarks->ntopics; t++)
	{
		const KafkaSnapshotTopic *topic = watermarks->topics[t];

		for (int i = 0; i < topic->nparts; i++)
		{
			const KafkaSnapshotPart *part = &topic->parts[i];
			const KafkaPosition *position;

			if (!kafka_option_has_partition(table, part->partition))
				continue;
			position =
				kafka_positions_find(unconstify(KafkaPositions *, positions),
									 topic->name, part->partition);
			if (position == NULL || position->next_offset < part->end)
				return false;
		}
	}
	return true;
}

/*
 * The latest time at which the brokers had nothing that lies at or above the
 * positions; DT_NOBEGIN where none is known.  Watermarks that were asked for
 * long ago serve as well: they tell of an earlier time.
 */
static TimestampTz
get_caught_up_at(const KafkaRollup *rollup, const KafkaPositions *positions,
				 const KafkaRollupReader *reader, bool caught_up,
				 TimestampTz asked_at)
{
	const KafkaWatermarks *watermarks = reader->watermarks;

	/* A generation in the making may be kept from reading up to the ends. */
	if (!reader->reader->connection->read_committed)
		return caught_up && rollup->rebuilds == 0 ? asked_at : DT_NOBEGIN;
	if (watermarks != NULL && watermarks->known &&
		reach_watermarks(positions, watermarks, reader->reader->table))
		return watermarks->asked_at;
	return DT_NOBEGIN;
}

/* ----------------------------------------------------------------
 * Rows of kafka.stored_progress
 * ----------------------------------------------------------------
 */

/* Has the row been written a short while ago, as seen from then? */
static bool
is_fresh(int32 rollup_id, TimestampTz then)
{
	Oid types[] = {INT4OID};
	Datum values[] = {Int32GetDatum(rollup_id)};
	bool fresh = false;

	if (kafka_catalog_execute(
			"SELECT last_read FROM kafka.stored_progress WHERE rollup_id = $1",
			lengthof(types), types, values, NULL) > 0)
	{
		bool isnull;
		TimestampTz last_read = DatumGetTimestampTz(
			SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1,
						  &isnull));

		/* One that lies ahead was written before the clock was set back. */
		fresh =
			last_read <= then &&
			!TimestampDifferenceExceeds(last_read, then, QUIET_INTERVAL_MS);
	}
	SPI_freetuptable(SPI_tuptable);
	return fresh;
}

/*
 * A transaction that has an id already writes anyway; one that has none would
 * get it here.
 */
void
kafka_watch_note_read(const KafkaRollup *rollup,
					  const KafkaPositions *positions,
					  const KafkaRollupReader *reader, bool caught_up,
					  TimestampTz asked_at)
{
	Oid types[] = {INT4OID, TIMESTAMPTZOID, TIMESTAMPTZOID};
	Datum values[lengthof(types)];
	bool nulls[lengthof(types)] = {false};
	TimestampTz caught_up_at =
		get_caught_up_at(rollup, positions, reader, caught_up, asked_at);

	if (!TransactionIdIsValid(GetTopTransactionIdIfAny()) &&
		is_fresh(rollup->rollup_id, asked_at))
		return;
	values[0] = Int32GetDatum(rollup->rollup_id);
	values[1] = TimestampTzGetDatum(asked_at);
	values[2] = TimestampTzGetDatum(caught_up_at);
	nulls[2] = TIMESTAMP_NOT_FINITE(caught_up_at);

	/* What was true of an earlier time stays so: GREATEST skips a NULL. */
	(void) kafka_catalog_execute(
		"INSERT INTO kafka.stored_progress AS stored"
		" (rollup_id, last_read, caught_up_at) VALUES ($1, $2, $3)"
		" ON CONFLICT (rollup_id) DO UPDATE"
		" SET last_read = excluded.last_read,"
		"     caught_up_at = GREATEST(stored.caught_up_at,"
		"                             excluded.caught_up_at)",
		lengthof(types), types, values, nulls);
}

void
kafka_watch_forget(int32 rollup_id)
{
	Oid types[] = {INT4OID};
	Datum values[] = {Int32GetDatum(rollup_id)};

	(void) kafka_catalog_execute(
		"UPDATE kafka.stored_progress SET caught_up_at = NULL"
		" WHERE rollup_id = $1 AND caught_up_at IS NOT NULL",
		lengthof(types), types, values, NULL);
}

/* ----------------------------------------------------------------
 * What is declared of times
 * ----------------------------------------------------------------
 */

/* The text that an option has by itself. */
static const char *
find_initial(const char *name)
{
	for (int i = 0; i < kafka_options_count; i++)
	{
		if (strcmp(kafka_options[i].name, name) == 0)
			return kafka_options[i].initial;
	}
	return NULL;
}

/*
 * An option that is a length of time.  Not by the functions that read all
 * options of an object, which raise an error for any of them: a view of
 * all rollups must not end because of one.
 */
static Datum
read_length(List *options, const char *name)
{
	DefElem *given = kafka_option_find_given(options, name);
	const char *text = given ? defGetString(given) : find_initial(name);
	KafkaValueError error = {NULL, NULL};
	Interval *interval = palloc0(sizeof(Interval));
	int64 length_ms;

	if (text != NULL &&
		kafka_value_parse_interval(text, 0, PG_INT64_MAX / 1000, &length_ms,
								   &error))
		interval->time = length_ms * 1000;
	return IntervalPGetDatum(interval);
}

Datum
kafka_get_disorder_limits(PG_FUNCTION_ARGS)
{
	Oid source = PG_GETARG_OID(0);
	Datum values[3];
	bool nulls[3] = {true, true, true};
	TupleDesc desc;

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type"); /* cannot happen */
	if (get_rel_relkind(source) == RELKIND_FOREIGN_TABLE)
	{
		ForeignTable *table = GetForeignTable(source);
		ForeignServer *server = GetForeignServer(table->serverid);

		values[0] = read_length(table->options, "timestamp_max_lag");
		values[1] = read_length(table->options, "timestamp_max_lead");
		values[2] = read_length(server->options, "broker_clock_skew");
		memset(nulls, false, sizeof(nulls));
	}
	PG_RETURN_DATUM(HeapTupleGetDatum(
		heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
}
