/*-------------------------------------------------------------------------
 *
 * check.c
 *		Decides which messages of a batch count, before they are aggregated.
 *
 * The view of checks is evaluated first, for all messages; then the messages
 * are judged in the order in which they were read.  So a message is late by
 * what came before it in its partition, and of two messages with the same key
 * the one that comes first counts.
 *
 * What is bad for a check neither counts as having been there (its key is not
 * remembered, see key.c) nor makes others late.  Nor does a time in the future
 * make everything that follows late: the newest time is never past now.
 *
 * A message that fails later, in the query, has made others late all the same.
 * So these are judged once more when that is known (rejudge_late), and the
 * newest times that are kept are those of messages that did count.
 *
 * IDENTIFICATION
 *		src/rollup/check.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "core/moment.h"
#include "miscadmin.h"
#include "rollup/apply.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

/* The view's columns. */
enum
{
	CHECK_PASSES = 1,
	CHECK_TIME,
	CHECK_KEY_HASH
};

/* Longer limits than this are none; adding them to a time could overflow. */
#define MAX_LIMIT_YEARS 100000

/* ----------------------------------------------------------------
 * Evaluating
 * ----------------------------------------------------------------
 */

TimestampTz
kafka_check_record_time(int64 timestamp_ms, const TimestampTz *time)
{
	int64 moment;

	if (timestamp_ms >= 0 && kafka_moment_from_kafka(timestamp_ms, &moment))
		return moment;
	return time != NULL ? *time : GetCurrentTransactionStartTimestamp();
}

static void
keep_check(TupleTableSlot *slot, void *arg)
{
	KafkaApply *apply = (KafkaApply *) arg;
	KafkaBatch *batch = apply->batch;
	KafkaCheckedRow *row = &apply->rows[batch->current];
	Datum value;
	bool isnull;

	slot_getallattrs(slot);
	value = slot_getattr(slot, CHECK_PASSES, &isnull);
	row->passes = !isnull && DatumGetBool(value);
	value = slot_getattr(slot, CHECK_TIME, &isnull);
	row->has_time = !isnull;
	if (!isnull)
		row->time = DatumGetTimestampTz(value);
	value = slot_getattr(slot, CHECK_KEY_HASH, &isnull);
	row->has_key = !isnull;
	if (!isnull)
		row->key = *DatumGetUUIDP(value);
	row->recorded_at =
		kafka_check_record_time(batch->entries[batch->current].timestamp_ms,
								row->has_time ? &row->time : NULL);
	row->seen = true;
}

typedef struct ChecksAttempt
{
	KafkaApply *apply;
	KafkaEvaluation *checks;
} ChecksAttempt;

static void
evaluate_part(void *arg)
{
	ChecksAttempt *attempt = (ChecksAttempt *) arg;

	kafka_evaluation_run(attempt->checks, attempt->apply->batch, keep_check,
						 attempt->apply);
}

/* ----------------------------------------------------------------
 * Judging
 * ----------------------------------------------------------------
 */

/* What the judge goes by, beside the rows. */
typedef struct Judge
{
	KafkaApply *apply;
	TimestampTz now;
	bool has_late_limit;
	bool has_last_time; /* future_limit */
	TimestampTz last_time;
	KafkaPosition *position; /* of the entry before */
} Judge;

static bool
is_usable_limit(const Interval *limit)
{
	double days = limit->time / (double) USECS_PER_DAY + limit->day +
				  limit->month * (double) DAYS_PER_MONTH;

	return days < MAX_LIMIT_YEARS * DAYS_PER_YEAR;
}

static TimestampTz
add_interval(TimestampTz time, const Interval *interval)
{
	return DatumGetTimestampTz(
		DirectFunctionCall2(timestamptz_pl_interval, TimestampTzGetDatum(time),
							IntervalPGetDatum(interval)));
}

bool
kafka_check_get_last_time(const KafkaRollup *rollup, TimestampTz now,
						  TimestampTz *last_time)
{
	if (!rollup->has_future_limit || !is_usable_limit(&rollup->future_limit))
		return false;
	*last_time = add_interval(now, &rollup->future_limit);
	return true;
}

bool
kafka_check_has_late_limit(const KafkaRollup *rollup)
{
	return rollup->has_late_limit && is_usable_limit(&rollup->late_limit);
}

bool
kafka_check_is_late(const KafkaRollup *rollup, const KafkaPosition *position,
					TimestampTz time)
{
	return position->has_newest && time < position->newest &&
		   add_interval(time, &rollup->late_limit) < position->newest;
}

void
kafka_check_raise_newest(KafkaPosition *position, TimestampTz time,
						 TimestampTz now)
{
	time = Min(time, now);
	if (!position->has_newest || position->newest < time)
		position->newest = time;
	position->has_newest = true;
}

static void
begin_judge(Judge *judge, KafkaApply *apply)
{
	const KafkaRollup *rollup = apply->task->rollup;
	bool ignores = apply->task->ignores_time;

	memset(judge, 0, sizeof(Judge));
	judge->apply = apply;
	judge->now = GetCurrentTimestamp();
	judge->has_late_limit = !ignores && kafka_check_has_late_limit(rollup);
	judge->has_last_time =
		!ignores &&
		kafka_check_get_last_time(rollup, judge->now, &judge->last_time);
}

KafkaPosition *
kafka_check_find_position(const KafkaApply *apply,
						  const KafkaBatchEntry *entry, KafkaPosition *hint)
{
	if (apply->positions == NULL)
		return NULL;
	return kafka_positions_find_near(apply->positions, hint, entry->topic,
									 entry->partition);
}

static KafkaPosition *
find_position(Judge *judge, int index)
{
	judge->position =
		kafka_check_find_position(judge->apply,
								  &judge->apply->batch->entries[index],
								  judge->position);
	return judge->position;
}

/* A message counts: what comes after it in its partition is judged by it. */
static void
raise_newest(Judge *judge, int index)
{
	const KafkaCheckedRow *row = &judge->apply->rows[index];
	KafkaPosition *position;

	if (row->has_time && (position = find_position(judge, index)) != NULL)
		kafka_check_raise_newest(position, row->time, judge->now);
}

static bool
is_late(const Judge *judge, const KafkaPosition *position, TimestampTz time)
{
	return judge->has_late_limit && position != NULL &&
		   kafka_check_is_late(judge->apply->task->rollup, position, time);
}

static char *
describe_interval(const Interval *interval)
{
	return DatumGetCString(
		DirectFunctionCall1(interval_out, IntervalPGetDatum(interval)));
}

static void
put_late_aside(Judge *judge, int index, const KafkaPosition *position)
{
	KafkaApply *apply = judge->apply;
	char *time = pstrdup(timestamptz_to_str(apply->rows[index].time));
	char *text =
		psprintf("%s is more than %s before %s, the newest of its partition",
				 time, describe_interval(&apply->task->rollup->late_limit),
				 timestamptz_to_str(position->newest));

	kafka_batch_put_aside(apply->batch, index, KAFKA_STAGE_LATE, 0, text);
}

static void
put_future_aside(Judge *judge, int index)
{
	KafkaApply *apply = judge->apply;
	char *time = pstrdup(timestamptz_to_str(apply->rows[index].time));
	char *text =
		psprintf("%s is more than %s after %s, when it was read", time,
				 describe_interval(&apply->task->rollup->future_limit),
				 timestamptz_to_str(judge->now));

	kafka_batch_put_aside(apply->batch, index, KAFKA_STAGE_FUTURE, 0, text);
}

static void
judge_entry(Judge *judge, int index)
{
	KafkaApply *apply = judge->apply;
	const KafkaCheckedRow *row = &apply->rows[index];
	const KafkaPosition *position = find_position(judge, index);

	if (!row->passes)
		kafka_batch_put_aside(apply->batch, index, KAFKA_STAGE_EXPECT, 0,
							  "\"expect\" is not true");
	else if (row->has_time && is_late(judge, position, row->time))
		put_late_aside(judge, index, position);
	else if (row->has_time && judge->has_last_time &&
			 row->time > judge->last_time)
		put_future_aside(judge, index);
	else if (row->has_key && !kafka_keys_claim(apply, index))
		kafka_batch_put_aside(apply->batch, index, KAFKA_STAGE_DUPLICATE, 0,
							  "its unique key was counted before");
	else
		raise_newest(judge, index);
}

/* False when too many are bad. */
static bool
judge_entries(KafkaApply *apply)
{
	KafkaBatch *batch = apply->batch;
	int nduplicates = 0;
	Judge judge;

	begin_judge(&judge, apply);
	for (int i = 0; i < batch->nentries; i++)
	{
		if (batch->entries[i].stage != KAFKA_STAGE_NONE ||
			!apply->rows[i].seen)
			continue;
		CHECK_FOR_INTERRUPTS();
		MemoryContextSwitchTo(apply->attempt_context);
		judge_entry(&judge, i);
		MemoryContextReset(apply->attempt_context);
		MemoryContextSwitchTo(apply->context);
		if (batch->entries[i].stage == KAFKA_STAGE_DUPLICATE)
			nduplicates++;
		if (batch->naside - nduplicates > apply->faults_allowed)
			return false;
	}
	return true;
}

bool
kafka_check_run(KafkaApply *apply)
{
	KafkaBatch *batch = apply->batch;
	ChecksAttempt attempt = {.apply = apply};
	KafkaIsolation isolation = {.batch = batch,
								.work = evaluate_part,
								.arg = &attempt,
								.keeps = true,
								.context = apply->attempt_context,
								.aside_allowed = apply->faults_allowed,
								.passed = apply->passed};

	apply->rows =
		palloc_extended(sizeof(KafkaCheckedRow) * Max(batch->nentries, 1),
						MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	attempt.checks = kafka_evaluation_prepare(apply->task->checks_sql, batch);
	kafka_isolate_run(&isolation, 0, batch->nentries);
	if (isolation.tripped)
		return false;
	kafka_keys_find(apply);
	if (apply->positions != NULL)
		apply->positions_before = kafka_positions_copy(apply->positions);
	return judge_entries(apply);
}

/* ----------------------------------------------------------------
 * After the query
 * ----------------------------------------------------------------
 */

/* Puts the newest times back to what they were before the batch. */
static void
reset_newest(KafkaApply *apply)
{
	for (int i = 0; apply->positions != NULL && i < apply->positions->count;
		 i++)
	{
		KafkaPosition *position = &apply->positions->list[i];
		const KafkaPosition *before = &apply->positions_before->list[i];

		position->has_newest = before->has_newest;
		position->newest = before->newest;
	}
}

/* Has a message passed the checks, and failed later? */
static bool
has_failed(const KafkaApply *apply, int index)
{
	KafkaFaultStage stage = apply->batch->entries[index].stage;

	return apply->rows[index].seen &&
		   (stage == KAFKA_STAGE_QUERY || stage == KAFKA_STAGE_DECODE ||
			stage == KAFKA_STAGE_PRUNED);
}

/*
 * Judges those again that were late, by the messages that did count.  Done
 * once: what is promoted now, and fails, was itself older than the newest.
 */
static void
rejudge_late(KafkaApply *apply)
{
	KafkaBatch *batch = apply->batch;
	bool failed = false;
	Judge judge;

	for (int i = 0; i < batch->nentries && !failed; i++)
		failed = has_failed(apply, i);
	if (!failed)
		return;
	begin_judge(&judge, apply);
	if (!judge.has_late_limit)
		return;
	reset_newest(apply);
	for (int i = 0; i < batch->nentries; i++)
	{
		KafkaBatchEntry *entry = &batch->entries[i];

		if (entry->stage == KAFKA_STAGE_NONE && apply->rows[i].seen)
			raise_newest(&judge, i);
		if (entry->stage != KAFKA_STAGE_LATE ||
			is_late(&judge, find_position(&judge, i), apply->rows[i].time))
			continue;
		kafka_batch_take_back(batch, i);
		judge_entry(&judge, i);
		if (entry->stage == KAFKA_STAGE_NONE)
			kafka_keys_add_promoted(apply, i);
	}
}

const int *
kafka_check_promote(KafkaApply *apply, int *count)
{
	const int *indexes;

	*count = 0;
	if (apply->rows == NULL || apply->batch->naside == 0)
		return NULL;
	indexes = kafka_keys_promote(apply);
	if (apply->promotions++ == 0)
		rejudge_late(apply);
	*count = kafka_keys_count_promoted(apply);
	return indexes;
}

void
kafka_check_remember(KafkaApply *apply)
{
	Judge judge;

	if (apply->rows == NULL)
		return;
	begin_judge(&judge, apply);
	reset_newest(apply);
	for (int i = 0; i < apply->batch->nentries; i++)
	{
		if (apply->batch->entries[i].stage == KAFKA_STAGE_NONE &&
			apply->rows[i].seen)
			raise_newest(&judge, i);
	}
	kafka_keys_remember(apply);
}

/*
 * For those at fault, by entry, in the current context.  One whose bucket has
 * been removed will never count: the keys of others need not be kept for it.
 */
const pg_uuid_t **
kafka_check_list_key_hashes(const KafkaApply *apply)
{
	const KafkaBatch *batch = apply->batch;
	const pg_uuid_t **hashes;

	if (apply->keys == NULL || batch->naside == 0)
		return NULL;
	hashes = palloc_extended(sizeof(pg_uuid_t *) * batch->nentries,
							 MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	for (int i = 0; i < batch->nentries; i++)
	{
		const KafkaCheckedRow *row = &apply->rows[i];
		pg_uuid_t *hash;

		if (!kafka_batch_is_fault(&batch->entries[i]) || !row->seen ||
			!row->has_key || batch->entries[i].stage == KAFKA_STAGE_PRUNED)
			continue;
		hash = palloc(sizeof(pg_uuid_t));
		*hash = row->key;
		hashes[i] = hash;
	}
	return hashes;
}
