/*-------------------------------------------------------------------------
 *
 * slow.c
 *		Rollups for which others cannot wait, while they are followed.
 *
 * A lane that took longer than its budget is slow, and goes on alone.  It has
 * one batch a turn, and a turn where none of the steady lanes, those that are
 * neither slow nor failing, becomes due before its end; so they do not notice
 * it.  Where it never fits, since they are due all the time, it has a turn each
 * second.  Several slow lanes take turns, and each turn of one of them comes
 * after those of the steady ones.
 *
 * Its batches are made so small that they take a part of the steady lanes'
 * interval.  Each time that one takes too long nevertheless, or the lane waits
 * for something, such as a lock, it pauses for longer.
 *
 * It is steady again when it can be expected to keep within its budget: when it
 * has read all that there was, quickly, or was quick enough for what had been
 * too much.  One that is slow again soon after is believed later each time.
 *
 * IDENTIFICATION
 *		src/rollup/slow.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "rollup/lane.h"
#include "utils/timestamp.h"

/*
 * What a turn may take at least, even where it does not fit.  One that has not
 * got on yet is tried for a hundredth of the pause before, which is all that it
 * costs the others then.
 */
#define TRY_MS 200
#define MIN_TRY_MS 50
#define PAUSE_SHARE 100

/*
 * What a batch should take: a part of the steady lanes' interval, as far as one
 * can be so short.
 */
#define INTERVAL_SHARE 4
#define MIN_BATCH_MS 25
#define MAX_BATCH_MS 100

/* Where it does not fit before others are due, it waits no longer than this. */
#define MAX_READY_MS 1000

/* What took too long is divided; what took no longer than it should, multiplied. */
#define SLOW_DIVISOR 8
#define FAST_FACTOR 2

/* When it is believed to be steady again, if it is slow so soon after. */
#define RELAPSE_MS 60000
#define MIN_TRIAL_MS 1000
#define MAX_TRIAL_MS 60000

/* Is it neither slow nor failing?  For such lanes the slow ones make way. */
static bool
is_steady(const KafkaLane *lane)
{
	return !lane->is_slow && lane->pause_ms == 0;
}

/* ----------------------------------------------------------------
 * When it has a turn
 * ----------------------------------------------------------------
 */

/* When the first of the steady lanes is due; DT_NOEND if there are none. */
static TimestampTz
find_steady(List *lanes)
{
	TimestampTz first = DT_NOEND;
	ListCell *cell;

	foreach(cell, lanes)
	{
		const KafkaLane *lane = lfirst(cell);

		if (is_steady(lane))
			first = Min(first, lane->due);
	}
	return first;
}

/* The one that has been due for longest; *next is when the others are. */
static KafkaLane *
find_due(List *lanes, TimestampTz now, TimestampTz *next)
{
	KafkaLane *longest = NULL;
	ListCell *cell;

	foreach(cell, lanes)
	{
		KafkaLane *lane = lfirst(cell);

		if (!lane->is_slow)
			continue;
		if (lane->due > now)
			*next = Min(*next, lane->due);
		else if (longest == NULL || lane->due < longest->due)
			longest = lane;
	}
	return longest;
}

/* What the lane's next turn may take at least. */
static int64
get_try_ms(const KafkaLane *lane)
{
	if (lane->has_stored || lane->pause_ms == 0)
		return TRY_MS;
	return Min(Max(lane->pause_ms / PAUSE_SHARE, MIN_TRY_MS), TRY_MS);
}

KafkaLane *
kafka_slow_begin(List *lanes, TimestampTz *next)
{
	TimestampTz now = GetCurrentTimestamp();
	TimestampTz steady = find_steady(lanes);
	KafkaLane *lane = find_due(lanes, now, next);
	int64 left_ms = KAFKA_LANE_BUDGET_MS;
	int64 try_ms;
	int64 expected_ms;
	TimestampTz latest;

	if (lane == NULL)
		return NULL;
	try_ms = get_try_ms(lane);
	expected_ms = lane->pause_ms == 0 ? lane->expected_ms : try_ms;
	latest = TimestampTzPlusMilliseconds(lane->due, MAX_READY_MS);
	if (TimestampTzPlusMilliseconds(now, expected_ms) > steady && latest > now)
	{
		*next = Min(*next, latest);
		return NULL;
	}
	if (steady != DT_NOEND)
		left_ms = TimestampDifferenceMilliseconds(now, steady);
	lane->budget_ms = Min(Max(left_ms, try_ms), KAFKA_LANE_BUDGET_MS);
	lane->began_at = now;
	return lane;
}

/* ----------------------------------------------------------------
 * How much it reads
 * ----------------------------------------------------------------
 */

/* What a batch of a slow lane should take. */
static int64
choose_batch_ms(List *lanes)
{
	int64 batch_ms = MAX_BATCH_MS;
	ListCell *cell;

	foreach(cell, lanes)
	{
		const KafkaLane *lane = lfirst(cell);

		if (is_steady(lane) && lane->interval_ms > 0)
			batch_ms = Min(batch_ms, lane->interval_ms / INTERVAL_SHARE);
	}
	return Max(batch_ms, MIN_BATCH_MS);
}

/* Can it be expected to keep within its budget, after what a batch took? */
static bool
is_quick(const KafkaLane *lane, int64 took_ms)
{
	double factor = lane->failed_rows / (double) lane->max_rows;

	if (GetCurrentTimestamp() <
		TimestampTzPlusMilliseconds(lane->slow_at, lane->trial_ms))
		return false;
	if (!lane->is_behind && took_ms <= KAFKA_LANE_FOLLOW_BUDGET_MS / 2)
		return true;
	return took_ms * Max(factor, 1) <= KAFKA_LANE_FOLLOW_BUDGET_MS &&
		   lane->failed_rows > 0;
}

bool
kafka_slow_end(List *lanes, KafkaLane *lane)
{
	int64 batch_ms = choose_batch_ms(lanes);
	int64 took_ms = lane->last_ms;

	lane->expected_ms =
		TimestampDifferenceMilliseconds(lane->began_at, GetCurrentTimestamp());
	if (took_ms < 0)
		return false; /* there was no batch in this turn */
	lane->last_ms = -1;
	lane->has_stored = true;
	if (is_quick(lane, took_ms))
	{
		lane->max_rows = lane->run->max_rows;
		lane->last_ms = took_ms;
		lane->is_slow = false;
		return true;
	}
	if (took_ms <= batch_ms)
		lane->max_rows =
			Min(lane->max_rows * FAST_FACTOR, lane->run->max_rows);
	else if (took_ms > FAST_FACTOR * batch_ms)
		lane->max_rows =
			Max((int64) ((double) lane->max_rows * batch_ms / took_ms), 1);
	return false;
}

/* ----------------------------------------------------------------
 * When it took too long
 * ----------------------------------------------------------------
 */

/* It was steady; how soon is it to be again? */
static void
start_trial(KafkaLane *lane)
{
	TimestampTz now = GetCurrentTimestamp();
	TimestampTz relapse =
		TimestampTzPlusMilliseconds(lane->slow_at,
									lane->trial_ms + RELAPSE_MS);

	if (lane->slow_at != 0 && now < relapse)
		lane->trial_ms =
			Min(Max(2 * lane->trial_ms, MIN_TRIAL_MS), MAX_TRIAL_MS);
	else
		lane->trial_ms = 0;
	lane->slow_at = now;
}

bool
kafka_slow_note(KafkaLane *lane)
{
	int64 rows = lane->slow_rows > 0 ? lane->slow_rows : lane->max_rows;
	bool was_slow = lane->is_slow;
	bool may_be_chance = !was_slow && lane->last_ms >= 0;

	if (!was_slow)
		start_trial(lane);
	lane->is_stuck = was_slow && lane->slow_rows <= 1;
	lane->is_slow = true;
	lane->failed_rows = lane->slow_rows;
	lane->max_rows = Max(rows / SLOW_DIVISOR, 1);
	lane->expected_ms = TRY_MS;
	lane->slow_rows = 0;
	lane->last_ms = -1;
	return may_be_chance;
}
