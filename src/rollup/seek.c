/*-------------------------------------------------------------------------
 *
 * seek.c
 *		Moves a rollup's positions by hand: kafka.seek_rollup.
 *
 * Forward leaves out messages, backward counts messages twice, so neither is
 * done unless it is asked for in so many words.  It is the way on for a rollup
 * that was halted, and leaves a row among its runs.
 *
 * IDENTIFICATION
 *		src/rollup/seek.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "compat.h"
#include "fmgr.h"
#include "lib/stringinfo.h"
#include "rollup/run.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/timestamp.h"

KAFKA_SQL_FUNCTION(kafka_seek_rollup_time);
KAFKA_SQL_FUNCTION(kafka_seek_rollup_offsets);
KAFKA_SQL_FUNCTION(kafka_seek_rollup_text);

/* How many partitions a run row tells of. */
#define DETAIL_MAX_PARTS 20

/* How far positions were moved. */
typedef struct SeekResult
{
	int64 skipped; /* offsets not read and left out */
	int64 again;   /* offsets read before */
	int nparts;
	StringInfoData detail;
} SeekResult;

static void
compare_position(SeekResult *result, const KafkaPosition *before,
				 KafkaPosition *after)
{
	int64 step = after->next_offset - before->next_offset;

	if (step == 0)
		return;
	if (step > 0)
	{
		result->skipped += step;
		after->lost_messages += step;
	}
	else
		result->again -= step;
	if (result->nparts++ < DETAIL_MAX_PARTS)
		appendStringInfo(&result->detail,
						 "%sTopic \"%s\" partition %d: from %lld to %lld.",
						 result->detail.len > 0 ? " " : "", before->topic,
						 before->partition, (long long) before->next_offset,
						 (long long) after->next_offset);
}

/* Sums up what moved; counts what is left out into the new positions. */
static SeekResult
compare_positions(KafkaPositions *before, KafkaPositions *after)
{
	SeekResult result = {0};

	initStringInfo(&result.detail);
	for (int i = 0; i < after->count; i++)
	{
		KafkaPosition *position = &after->list[i];
		const KafkaPosition *old =
			kafka_positions_find(before, position->topic, position->partition);

		if (old != NULL)
			compare_position(&result, old, position);
	}
	if (result.nparts > DETAIL_MAX_PARTS)
		appendStringInfo(&result.detail, " And %d partitions more.",
						 result.nparts - DETAIL_MAX_PARTS);
	return result;
}

static void
check_accepted(const KafkaRollup *rollup, const SeekResult *result)
{
	if (result->skipped == 0 && result->again == 0)
		return;
	ereport(
		ERROR,
		(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
		 errmsg("moving rollup \"%s\" would make its numbers wrong",
				rollup->name),
		 errdetail(
			 "%lld offsets would be left out, and %lld would be read a second time. %s",
			 (long long) result->skipped, (long long) result->again,
			 result->detail.data),
		 errhint("Do it nevertheless with accept_loss := true.")));
}

static void
log_seek(const KafkaRollup *rollup, const SeekResult *result,
		 TimestampTz started_at)
{
	KafkaRollupRun row = {0};

	row.event = "seek";
	row.started_at = started_at;
	row.lost_messages = result->skipped;
	row.detail = result->detail.len > 0 ? result->detail.data : NULL;
	kafka_rollup_log_run(rollup, &row);
}

/*
 * With another isolation level other messages show before the positions, so
 * that those read last prove nothing.
 */
static void
forget_last_messages(KafkaPositions *positions)
{
	for (int i = 0; i < positions->count; i++)
	{
		positions->list[i].last_offset = -1;
		positions->list[i].last_digest = 0;
	}
}

/*
 * Of time and offsets one is given.  The brokers are asked under the rollup's
 * lock: no run can come between.
 */
static void
seek_rollup(const char *name, const TimestampTz *time, const Jsonb *offsets,
			bool accept_loss)
{
	TimestampTz started_at = GetCurrentTimestamp();
	KafkaRollup *rollup;
	KafkaRollupReader *reader;
	KafkaPositions *before;
	KafkaPositions *after;
	SeekResult result;

	kafka_rollup_check_writable("kafka.seek_rollup()");
	kafka_rollup_check_enabled();
	SPI_connect();
	rollup = kafka_rollup_get_locked(name, false);
	kafka_shadow_refuse(rollup);
	kafka_loss_check_system(rollup);
	before = kafka_positions_read(rollup->rollup_id);
	after = kafka_positions_copy(before);
	reader = kafka_rollup_reader_open(rollup);
	(void) kafka_positions_add_new(after, reader);
	if (accept_loss)
		kafka_positions_drop_missing(after, reader);
	if (time)
		kafka_positions_move_to_time(after, reader, *time);
	else
		kafka_positions_move_to_offsets(after, reader, offsets);
	if (kafka_loss_of_isolation(rollup, reader) != NULL)
		forget_last_messages(after);
	result = compare_positions(before, after);
	if (!accept_loss)
	{
		check_accepted(rollup, &result);
		if (kafka_loss_of_positions(rollup, reader, after) != NULL)
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("rollup \"%s\" cannot go on without loss",
							rollup->name),
					 errdetail("%s",
							   kafka_loss_of_positions(rollup, reader, after)
								   ->detail),
					 errhint("Go on nevertheless with accept_loss := true.")));
	}
	kafka_positions_write(rollup->rollup_id, after, before);
	kafka_dead_letters_leave_to_topic(rollup, before, after);
	kafka_rollup_set_origin(rollup, reader);
	kafka_rollup_set_state(rollup, "RUNNING", NULL);
	log_seek(rollup, &result, started_at);
	kafka_rollup_reader_close(reader);
	SPI_finish();
}

/* The name; where is what the second argument is called. */
static char *
get_name(FunctionCallInfo fcinfo, const char *where)
{
	kafka_catalog_check_not_null(fcinfo, 0, "name");
	kafka_catalog_check_not_null(fcinfo, 1, where);
	kafka_catalog_check_not_null(fcinfo, 2, "accept_loss");
	return text_to_cstring(PG_GETARG_TEXT_PP(0));
}

Datum
kafka_seek_rollup_time(PG_FUNCTION_ARGS)
{
	char *name = get_name(fcinfo, "time");
	TimestampTz time = PG_GETARG_TIMESTAMPTZ(1);

	seek_rollup(name, &time, NULL, PG_GETARG_BOOL(2));
	PG_RETURN_VOID();
}

Datum
kafka_seek_rollup_offsets(PG_FUNCTION_ARGS)
{
	char *name = get_name(fcinfo, "offsets");

	seek_rollup(name, NULL, PG_GETARG_JSONB_P(1), PG_GETARG_BOOL(2));
	PG_RETURN_VOID();
}

/* A bare literal, of which the types do not tell what it is. */
Datum
kafka_seek_rollup_text(PG_FUNCTION_ARGS)
{
	char *name = get_name(fcinfo, "start");
	char *start = text_to_cstring(PG_GETARG_TEXT_PP(1));
	Datum text = CStringGetDatum(start);
	TimestampTz time;

	if (start[strspn(start, " \t\n\r")] == '{')
	{
		Datum offsets = DirectFunctionCall1(jsonb_in, text);

		seek_rollup(name, NULL, DatumGetJsonbP(offsets), PG_GETARG_BOOL(2));
		PG_RETURN_VOID();
	}
	time = DatumGetTimestampTz(
		DirectFunctionCall3(timestamptz_in, text, ObjectIdGetDatum(InvalidOid),
							Int32GetDatum(-1)));
	seek_rollup(name, &time, NULL, PG_GETARG_BOOL(2));
	PG_RETURN_VOID();
}
