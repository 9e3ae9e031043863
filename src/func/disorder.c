/*-------------------------------------------------------------------------
 *
 * disorder.c
 *		How far record times step back: kafka.time_disorder.
 *
 * A window's upper bound can become an offset only if it is known how much
 * later than its neighbours a record may come.  A producer's user rarely
 * knows; the topic's past does.  The largest step from the latest time seen
 * so far in a partition back to a later record's time is what
 * timestamp_max_lag must be at least, for this past to be read right.
 *
 * That holds where every time in the broker's index was seen.  The markers
 * that end transactions have the time of their writing, and aborted records
 * theirs; a lookup finds them, a reader does not.  Where an old record was
 * written late, a marker before it makes the step back as long as that delay,
 * whatever the records' own times say.  So where offsets are missing nothing
 * is proposed.
 *
 * IDENTIFICATION
 *		src/func/disorder.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "compat.h"
#include "core/moment.h"
#include "foreign/foreign.h"
#include "funcapi.h"
#include "func/func.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

KAFKA_SQL_FUNCTION(kafka_time_disorder);

typedef struct DisorderPart
{
	int64 messages;  /* from the first in the window on */
	int64 latest_ms; /* running maximum of their times */
	int64 disorder_ms;
	bool any_create_time; /* a record whose time the producer set */
	int64 next_offset;    /* due next; KAFKA_NO_OFFSET if not read */
	bool has_gaps;        /* offsets at which there was no record */
} DisorderPart;

/* What to declare, when it is not a disorder in milliseconds. */
#define NOTHING_TO_DECLARE INT64_C(-1)

/* now() - since, in milliseconds; INT64_MIN for all of the topic. */
static int64
window_start_ms(Interval *since)
{
	Datum start;

	start = DirectFunctionCall2(timestamptz_mi_interval,
								TimestampTzGetDatum(
									GetCurrentTransactionStartTimestamp()),
								IntervalPGetDatum(since));
	return kafka_moment_range(KAFKA_OP_GE, DatumGetTimestampTz(start)).start;
}

static void
count_message(DisorderPart *part, const KafkaMessage *message, int64 start_ms)
{
	bool log_append_time;
	int64 time_ms = kafka_message_timestamp(message, &log_append_time);

	part->has_gaps |= message->offset != part->next_offset;
	part->next_offset = message->offset + 1;

	/*
	 * The window begins with the first record that is not older than it, as a
	 * lookup in the time index finds it; where the index is not trusted the
	 * reading began before.  Records of the oldest format have no time.
	 */
	if (time_ms < 0 || (part->messages == 0 && time_ms < start_ms))
		return;
	if (part->messages == 0 || time_ms > part->latest_ms)
		part->latest_ms = time_ms;
	part->disorder_ms = Max(part->disorder_ms, part->latest_ms - time_ms);
	part->any_create_time |= !log_append_time;
	part->messages++;
}

/* Notes where the partitions that are going to be read begin. */
static void
note_starts(KafkaFuncTable *func, DisorderPart *parts)
{
	const KafkaReader *reader = func->reader;

	for (int i = 0; i < func->nparts; i++)
		parts[i].next_offset = KAFKA_NO_OFFSET;
	for (int i = 0; i < reader->nparts; i++)
	{
		const KafkaReadPart *read = &reader->parts[i];

		parts[kafka_func_find_part(func, read->topic, read->partition)]
			.next_offset = read->ranges[0].start;
	}
}

/* Reads the window, no payload decoded; palloc'd, as func->parts. */
static DisorderPart *
measure(KafkaFuncTable *func, int64 start_ms)
{
	DisorderPart *parts = palloc0(sizeof(DisorderPart) * Max(func->nparts, 1));
	KafkaBounds *bounds = palloc(sizeof(KafkaBounds));
	KafkaMessage message;

	kafka_bounds_nothing(bounds);
	kafka_bounds_add_range(bounds, KAFKA_DIMENSION_TIME,
						   (KafkaRange){start_ms, PG_INT64_MAX});
	kafka_reader_start(func->reader, bounds);
	note_starts(func, parts);
	while (kafka_reader_next(func->reader, &message))
	{
		int index =
			kafka_func_find_part(func, message.topic, message.partition);

		if (index >= 0)
			count_message(&parts[index], &message, start_ms);
	}
	for (int i = 0; i < func->nparts; i++)
	{
		if (parts[i].next_offset != KAFKA_NO_OFFSET)
			parts[i].has_gaps |= parts[i].next_offset < func->parts[i].end;
	}
	return parts;
}

/*
 * Does the broker give the topic's records their times?  It says so, unless
 * we may not ask; then the records seen do.
 */
static bool
has_append_time(KafkaFuncTable *func, const DisorderPart *parts, int first,
				int end)
{
	KafkaTopicSettings settings;
	bool any = false;

	settings = kafka_client_topic_settings(func->reader->client,
										   func->parts[first].topic, true);
	if (settings.known)
		return settings.log_append_time;
	for (int i = first; i < end; i++)
	{
		if (parts[i].any_create_time)
			return false;
		any |= parts[i].messages > 0;
	}
	return any;
}

static void
tell_append_time(const char *topic)
{
	ereport(
		NOTICE,
		(errmsg("topic \"%s\" has LogAppendTime", topic),
		 errdetail(
			 "The broker sets its records' times; there is nothing to declare.")));
}

static void
tell_gaps(const char *topic)
{
	ereport(
		NOTICE,
		(errmsg("topic \"%s\" has offsets without records", topic),
		 errdetail(
			 "Transaction markers and aborted records count in the broker's time index, but their times cannot be read."),
		 errhint(
			 "Declare as \"timestamp_max_lag\" how long after its timestamp a record is written at the latest.")));
}

/*
 * The largest disorder of all topics whose times the producers set, in
 * milliseconds, or NOTHING_TO_DECLARE; tells why topics do not count.
 */
static int64
largest_disorder(KafkaFuncTable *func, const DisorderPart *parts)
{
	int64 largest = NOTHING_TO_DECLARE;
	bool any_gaps = false;
	int end;

	for (int first = 0; first < func->nparts; first = end)
	{
		const char *topic = func->parts[first].topic;
		int64 of_topic = NOTHING_TO_DECLARE;
		bool has_gaps = false;

		for (end = first; end < func->nparts; end++)
		{
			if (strcmp(func->parts[end].topic, topic) != 0)
				break;
			has_gaps |= parts[end].has_gaps;
			if (parts[end].messages > 0)
				of_topic = Max(of_topic, parts[end].disorder_ms);
		}
		if (has_append_time(func, parts, first, end))
			tell_append_time(topic);
		else if (has_gaps)
		{
			tell_gaps(topic);
			any_gaps = true;
		}
		else
			largest = Max(largest, of_topic);
	}
	return any_gaps ? NOTHING_TO_DECLARE : largest;
}

/*
 * The next whole second, or above a minute the next whole minute: what was
 * seen once will be exceeded a little.
 */
static char *
round_up(int64 disorder_ms)
{
	int64 seconds = Max((disorder_ms + 999) / 1000, 1);

	if (seconds <= 60)
		return psprintf("%llds", (long long) seconds);
	return psprintf("%lldmin", (long long) ((seconds + 59) / 60));
}

static char *
make_statement(KafkaFuncTable *func, int64 disorder_ms)
{
	ForeignTable *foreign_table = GetForeignTable(func->table->relid);
	const char *verb = "ADD";
	ListCell *lc;

	foreach(lc, foreign_table->options)
	{
		if (strcmp(((DefElem *) lfirst(lc))->defname, "timestamp_max_lag") ==
			0)
			verb = "SET";
	}
	return psprintf(
		"ALTER FOREIGN TABLE %s OPTIONS (%s timestamp_max_lag '%s')",
		quote_qualified_identifier(get_namespace_name(
									   RelationGetNamespace(func->rel)),
								   RelationGetRelationName(func->rel)),
		verb, round_up(disorder_ms));
}

static void
put_rows(ReturnSetInfo *rsinfo, KafkaFuncTable *func,
		 const DisorderPart *parts, const char *statement)
{
	for (int i = 0; i < func->nparts; i++)
	{
		Interval disorder = {.time = parts[i].disorder_ms * 1000};
		Datum values[5];
		bool nulls[5] = {false, false, false, false, false};

		values[0] = CStringGetTextDatum(func->parts[i].topic);
		values[1] = Int32GetDatum(func->parts[i].partition);
		values[2] = Int64GetDatum(parts[i].messages);
		values[3] = IntervalPGetDatum(&disorder);
		nulls[3] = parts[i].messages == 0;
		values[4] = statement ? CStringGetTextDatum(statement) : (Datum) 0;
		nulls[4] = statement == NULL;
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values,
							 nulls);
	}
}

Datum
kafka_time_disorder(PG_FUNCTION_ARGS)
{
	Oid relid = PG_GETARG_OID(0);
	int64 start_ms = window_start_ms(PG_GETARG_INTERVAL_P(1));
	KafkaFuncTable *func = kafka_func_open(fcinfo, relid, 0);
	DisorderPart *parts = measure(func, start_ms);
	int64 largest = largest_disorder(func, parts);

	put_rows((ReturnSetInfo *) fcinfo->resultinfo, func, parts,
			 largest != NOTHING_TO_DECLARE ? make_statement(func, largest)
										   : NULL);
	kafka_func_close(func);
	return (Datum) 0;
}
