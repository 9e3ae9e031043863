/*-------------------------------------------------------------------------
 *
 * tail_check.c
 *		Which messages of a tail a run would count.
 *
 * The rules are those of check.c and key.c, applied to one message after the
 * other.  What is simpler here: no message can fail later, in the query, since
 * that is an error of the whole query; so nothing has to be judged twice.
 *
 * IDENTIFICATION
 *		src/rollup/tail_check.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/int.h"
#include "rollup/tail.h"
#include "utils/timestamp.h"

bool
kafka_tail_needs(const KafkaTail *tail, KafkaTailArgument check)
{
	const KafkaRollup *rollup = tail->rollup;

	switch (check)
	{
		case KAFKA_TAIL_PASSES:
			return true;
		case KAFKA_TAIL_TIME:
			return rollup->has_late_limit || rollup->has_future_limit ||
				   rollup->options.unique_key != NULL;
		case KAFKA_TAIL_KEY:
			return rollup->options.unique_key != NULL;
		case KAFKA_TAIL_BUCKET:
			return rollup->pruned_until != DT_NOBEGIN;
		default:
			return false;
	}
}

void
kafka_tail_begin_checks(KafkaTail *tail)
{
	tail->now = GetCurrentTimestamp();
	tail->keys = NULL;
	if (tail->rollup->options.unique_key != NULL)
		tail->keys = kafka_keys_create();
}

/* The value of a check; false for NULL. */
static bool
get_check(const KafkaTailRow *row, KafkaTailArgument check, Datum *value)
{
	int index = check - KAFKA_TAIL_FIRST_CHECK;

	*value = row->values[index];
	return !row->isnull[index];
}

/* Is the time too late, or too far in the future? */
static bool
is_out_of_time(const KafkaTail *tail, TimestampTz time)
{
	const KafkaRollup *rollup = tail->rollup;
	TimestampTz last_time;

	if (kafka_check_has_late_limit(rollup) &&
		kafka_check_is_late(rollup, tail->position, time))
		return true;
	return kafka_check_get_last_time(rollup, tail->now, &last_time) &&
		   time > last_time;
}

/*
 * Counts a key; false when it repeats one that was counted, by a run or since
 * the start.  What a run counted is looked up for each message: tails are
 * short, and all of a rollup's keys are many.
 */
static bool
claim_key(KafkaTail *tail, const pg_uuid_t *key, TimestampTz time)
{
	int64 within_us = kafka_keys_get_within_us(tail->rollup);
	TimestampTz start_at;
	TimestampTz end_at;

	if (pg_sub_s64_overflow(time, within_us, &start_at))
		start_at = DT_NOBEGIN;
	if (pg_add_s64_overflow(time, within_us, &end_at))
		end_at = DT_NOEND;
	if (kafka_keys_has_near(tail->keys, key, time, within_us) ||
		kafka_tail_has_key(tail, key, start_at, end_at))
		return false;
	kafka_keys_add(tail->keys, key, time, within_us);
	return true;
}

bool
kafka_tail_counts(KafkaTail *tail, const KafkaMessage *message,
				  const KafkaTailRow *row)
{
	KafkaPosition *position = tail->position;
	Datum value;
	TimestampTz time = 0;
	bool is_append_time;
	bool has_time;

	if (!get_check(row, KAFKA_TAIL_PASSES, &value) || !DatumGetBool(value))
		return false;
	has_time = get_check(row, KAFKA_TAIL_TIME, &value);
	if (has_time)
	{
		time = DatumGetTimestampTz(value);
		if (is_out_of_time(tail, time))
			return false;
	}
	if (get_check(row, KAFKA_TAIL_BUCKET, &value) &&
		DatumGetTimestampTz(value) < tail->rollup->pruned_until)
		return false;
	if (get_check(row, KAFKA_TAIL_KEY, &value) &&
		!claim_key(tail, DatumGetUUIDP(value),
				   kafka_check_record_time(
					   kafka_message_timestamp(message, &is_append_time),
					   has_time ? &time : NULL)))
		return false;
	if (has_time)
		kafka_check_raise_newest(position, time, tail->now);
	return true;
}
