/*-------------------------------------------------------------------------
 *
 * follow.c
 *		Runs rollups again and again, as their topics grow.
 *
 * Each lane has a moment at which it is due.  These lie on a grid that began
 * with the call, of the lane's commit interval: so lanes of the same interval
 * are due together, whatever kept one of them meanwhile, and share their reads.
 * A lane that has failed is due after a pause, which grows.
 *
 * A turn ends when somebody else is due, and at once where nothing is left to
 * be read; a lane that has more to read is due at once again.  Lanes for which
 * the others could not wait have their turns when these leave time for it; see
 * slow.c.
 *
 * Between the turns the backend holds no snapshot, no transaction id and no
 * lock.
 *
 * IDENTIFICATION
 *		src/rollup/follow.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "pgstat.h"
#include "rollup/lane.h"
#include "storage/latch.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

/* Rollups that are new are looked for this often. */
#define LIST_INTERVAL_MS 5000

/* A lane is prepared anew, which retries dead letters, this often. */
#define PREPARE_INTERVAL_MS 10000

/* So it is this often, when there were more letters than it has time for. */
#define RETRY_INTERVAL_MS 1000

/* What a rollup does not keep is removed this often. */
#define PRUNE_INTERVAL_MS 60000

/* After a failure. */
#define MIN_PAUSE_MS 1000
#define MAX_PAUSE_MS 30000

/* What a turn may take before others have theirs. */
#define TURN_MS 300

/* All that is followed. */
typedef struct Follow
{
	KafkaRun *run;
	int32 rollup_id; /* 0 for all that say so */
	TimestampTz deadline;
	TimestampTz started_at;
	TimestampTz list_at;
	MemoryContext context; /* reset for each turn */
	List *lanes;
	List *groups; /* of KafkaGroup, kept for their batches */
} Follow;

/* ----------------------------------------------------------------
 * When a lane is due
 * ----------------------------------------------------------------
 */

/* The first moment of the lane's grid after a time. */
static TimestampTz
find_moment(const Follow *follow, const KafkaLane *lane, TimestampTz after)
{
	int64 step = (lane->interval_ms > 0 ? lane->interval_ms : MIN_PAUSE_MS) *
				 INT64CONST(1000);

	return follow->started_at +
		   ((after - follow->started_at) / step + 1) * step;
}

static bool
is_past(TimestampTz time, int64 after_ms)
{
	return GetCurrentTimestamp() >=
		   TimestampTzPlusMilliseconds(time, after_ms);
}

/* After a failure it is due later and later. */
static void
pause_lane(const Follow *follow, KafkaLane *lane)
{
	lane->pause_ms = lane->pause_ms == 0
						 ? MIN_PAUSE_MS
						 : Min(2 * lane->pause_ms, MAX_PAUSE_MS);
	lane->due = find_moment(follow, lane,
							TimestampTzPlusMilliseconds(GetCurrentTimestamp(),
														lane->pause_ms) -
								1);
	lane->state = KAFKA_LANE_NEW;
}

/* ----------------------------------------------------------------
 * Lanes
 * ----------------------------------------------------------------
 */

static bool
has_lane(const Follow *follow, int32 rollup_id)
{
	ListCell *cell;

	foreach(cell, follow->lanes)
	{
		if (((KafkaLane *) lfirst(cell))->rollup_id == rollup_id)
			return true;
	}
	return false;
}

static void
add_lane(Follow *follow, int32 rollup_id)
{
	MemoryContext caller = MemoryContextSwitchTo(follow->run->context);

	follow->lanes =
		lappend(follow->lanes, kafka_lane_create(follow->run, rollup_id));
	MemoryContextSwitchTo(caller);
}

/* Does it say that it is to be followed, and may it run? */
static bool
is_followed(int32 rollup_id)
{
	const KafkaRollup *rollup = kafka_rollup_get_by_id(rollup_id);

	return rollup != NULL && rollup->options.follow && rollup->enabled &&
		   strcmp(rollup->state, "PAUSED") != 0 &&
		   strcmp(rollup->state, "HALTED") != 0;
}

/* Takes up what is to be followed and is not yet. */
static void
list_rollups(Follow *follow)
{
	ListCell *cell;

	if (GetCurrentTimestamp() < follow->list_at)
		return;
	SPI_connect();
	foreach(cell, kafka_rollup_list_runnable())
	{
		if (!has_lane(follow, lfirst_int(cell)) &&
			is_followed(lfirst_int(cell)))
			add_lane(follow, lfirst_int(cell));
	}
	SPI_finish();
	SPI_commit();
	follow->list_at =
		TimestampTzPlusMilliseconds(GetCurrentTimestamp(), LIST_INTERVAL_MS);
}

/* ----------------------------------------------------------------
 * After a turn
 * ----------------------------------------------------------------
 */

static void
end_done(const Follow *follow, KafkaLane *lane)
{
	TimestampTz now = GetCurrentTimestamp();

	lane->pause_ms = 0;
	lane->is_stuck = false;
	kafka_lane_forget_failure(lane);
	if (lane->must_prune || is_past(lane->pruned_at, PRUNE_INTERVAL_MS))
	{
		kafka_lane_finish(lane, TimestampTzPlusMilliseconds(now, TURN_MS));
		if (lane->state == KAFKA_LANE_FAILED)
		{
			pause_lane(follow, lane);
			return;
		}
	}
	else if (lane->rollup && lane->positions &&
			 kafka_mirror_is_due(lane->rollup))
		kafka_mirror_positions(lane->rollup, lane->positions);
	lane->due = lane->is_behind ? now : find_moment(follow, lane, now);
	lane->state = KAFKA_LANE_PLACED;
	if (lane->is_alone)
	{
		lane->is_alone = false;
		lane->state = KAFKA_LANE_CLEARED;
	}
	if (lane->is_slow && kafka_slow_end(follow->lanes, lane))
		lane->state = KAFKA_LANE_CLEARED;
}

/* One that has got on before is tried again first without a pause. */
static void
end_slow(const Follow *follow, KafkaLane *lane)
{
	if (!kafka_slow_note(lane))
	{
		pause_lane(follow, lane);
		return;
	}
	lane->due = GetCurrentTimestamp();
	lane->state = KAFKA_LANE_NEW;
}

/* Says when the lane is due next; false where it is not any more. */
static bool
end_lane(const Follow *follow, KafkaLane *lane)
{
	TimestampTz now = GetCurrentTimestamp();

	switch (lane->state)
	{
		case KAFKA_LANE_DONE:
			end_done(follow, lane);
			return true;
		case KAFKA_LANE_FAILED:
			lane->is_stuck = false;
			pause_lane(follow, lane);
			return true;
		case KAFKA_LANE_SLOW:
			end_slow(follow, lane);
			return true;
		case KAFKA_LANE_BUSY:
			lane->due = find_moment(follow, lane, now);
			lane->state = KAFKA_LANE_NEW;
			return true;
		case KAFKA_LANE_GONE:
			return false;
		default:
			lane->due = now;
			return true;
	}
}

/* Some of the lanes have had their turn. */
static void
end_lanes(Follow *follow, List *lanes)
{
	ListCell *cell;

	foreach(cell, lanes)
	{
		KafkaLane *lane = lfirst(cell);

		if (end_lane(follow, lane))
			continue;
		follow->lanes = list_delete_ptr(follow->lanes, lane);
		kafka_lane_destroy(lane);
	}
}

/* ----------------------------------------------------------------
 * Turns
 * ----------------------------------------------------------------
 */

static KafkaGroup *
get_group(Follow *follow, const char *key)
{
	KafkaRun *run = follow->run;
	MemoryContext caller;
	KafkaGroup *group;
	ListCell *cell;

	foreach(cell, follow->groups)
	{
		group = lfirst(cell);
		if (strcmp(group->key, key) == 0)
			return group;
	}
	caller = MemoryContextSwitchTo(run->context);
	group = kafka_group_create(run, key);
	follow->groups = lappend(follow->groups, group);
	MemoryContextSwitchTo(caller);
	return group;
}

/* Frees groups to which no lane belongs. */
static void
drop_groups(Follow *follow)
{
	ListCell *cell;

	foreach(cell, follow->groups)
	{
		KafkaGroup *group = lfirst(cell);
		bool is_used = false;
		ListCell *other;

		foreach(other, follow->lanes)
		{
			const KafkaLane *lane = lfirst(other);

			if (lane->key && strcmp(lane->key, group->key) == 0)
				is_used = true;
		}
		if (is_used)
			continue;
		follow->groups = foreach_delete_current(follow->groups, cell);
		kafka_group_destroy(group);
	}
}

/*
 * The lanes that are due and not slow; *next is when the first of the others
 * is.
 */
static List *
list_due(const Follow *follow, TimestampTz *next)
{
	TimestampTz now = GetCurrentTimestamp();
	List *due = NIL;
	ListCell *cell;

	*next = Min(follow->list_at, follow->deadline);
	if (follow->rollup_id != 0)
		*next = follow->deadline;
	foreach(cell, follow->lanes)
	{
		KafkaLane *lane = lfirst(cell);

		if (lane->is_slow)
			continue;
		if (lane->due <= now)
			due = lappend(due, lane);
		else
			*next = Min(*next, lane->due);
	}
	return due;
}

static void
prepare_lanes(List *lanes)
{
	ListCell *cell;

	foreach(cell, lanes)
	{
		KafkaLane *lane = lfirst(cell);

		if (is_past(lane->prepared_at, lane->must_retry ? RETRY_INTERVAL_MS
														: PREPARE_INTERVAL_MS))
			lane->state = KAFKA_LANE_NEW;
		if (lane->state == KAFKA_LANE_NEW)
			lane->prepared_at = GetCurrentTimestamp();
	}
	kafka_lanes_place(lanes);
}

/* Have all of its lanes failed when they were last tried? */
static bool
has_failed(List *group)
{
	ListCell *cell;

	foreach(cell, group)
	{
		if (((const KafkaLane *) lfirst(cell))->pause_ms == 0)
			return false;
	}
	return true;
}

/* When the first of the lanes is due, or was; DT_NOEND if there are none. */
static TimestampTz
get_due(List *lanes)
{
	TimestampTz due = DT_NOEND;
	ListCell *cell;

	foreach(cell, lanes)
		due = Min(due, ((const KafkaLane *) lfirst(cell))->due);
	return due;
}

/*
 * The groups for a round.  Where a broker does not answer, each try takes as
 * long as the server's connect_timeout, and all others wait.  So of those that
 * failed last time there is one in a round, after the others: the one that has
 * been due for longest.  The rest stay due.
 */
static List *
choose_groups(List *groups)
{
	List *chosen = NIL;
	List *failed = NIL;
	ListCell *cell;

	foreach(cell, groups)
	{
		List *group = lfirst(cell);

		if (!has_failed(group))
			chosen = lappend(chosen, group);
		else if (failed == NIL || get_due(group) < get_due(failed))
			failed = group;
	}
	return failed == NIL ? chosen : lappend(chosen, failed);
}

/*
 * When a turn of lanes that are read together has to end: when others are due,
 * or one of these that has read all there was.
 */
static TimestampTz
find_end(const Follow *follow, List *group)
{
	TimestampTz now = GetCurrentTimestamp();
	TimestampTz end = TimestampTzPlusMilliseconds(now, TURN_MS);
	TimestampTz next = Min(follow->deadline,
						   get_due(list_difference_ptr(follow->lanes, group)));

	if (follow->rollup_id == 0)
		next = Min(next, follow->list_at);
	if (list_length(group) > 1)
		next = Min(next, find_moment(follow, linitial(group), now));
	return Min(Max(end, next), follow->deadline);
}

static void
take_turn(Follow *follow, List *group)
{
	const KafkaLane *first = linitial(group);

	kafka_group_run(get_group(follow, first->key), group,
					find_end(follow, group));
	end_lanes(follow, group);
}

/* A turn of each of the groups of lanes that are due. */
static void
take_turns(Follow *follow, List *lanes)
{
	List *groups;
	List *others = NIL;
	ListCell *cell;

	prepare_lanes(lanes);
	groups = choose_groups(kafka_lanes_divide(lanes));
	foreach(cell, lanes)
	{
		KafkaLane *lane = lfirst(cell);

		if (lane->state != KAFKA_LANE_PLACED)
			others = lappend(others, lane);
	}
	end_lanes(follow, others);
	foreach(cell, groups)
		take_turn(follow, lfirst(cell));
}

/* A turn of a slow lane: one batch. */
static void
take_slow_turn(Follow *follow, KafkaLane *lane)
{
	List *lanes = list_make1(lane);

	prepare_lanes(lanes);
	if (lane->state == KAFKA_LANE_PLACED)
		kafka_group_run(get_group(follow, lane->key), lanes, lane->began_at);
	end_lanes(follow, lanes);
}

/* ----------------------------------------------------------------
 * Waiting
 * ----------------------------------------------------------------
 */

static void
wait_until(TimestampTz time)
{
	InvalidateCatalogSnapshot();
	for (;;)
	{
		long left_ms =
			TimestampDifferenceMilliseconds(GetCurrentTimestamp(), time);

		CHECK_FOR_INTERRUPTS();
		if (left_ms <= 0)
			break;
		(void) WaitLatch(MyLatch,
						 WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 left_ms, PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
	}
}

/*
 * The end of the call is not an end of turns: the last offsets are mirrored,
 * and it is told which rollups do not get on.
 */
static void
end_call(const Follow *follow)
{
	ListCell *cell;

	foreach(cell, follow->lanes)
	{
		KafkaLane *lane = lfirst(cell);

		if (lane->is_stuck)
			kafka_lane_add_stop(
				lane, "did not get on",
				"It takes longer than others can wait.",
				"Is its table locked? Else run it by itself, once: "
				"CALL kafka.run_rollups() with its name.");
		if (lane->rollup && lane->positions)
			kafka_mirror_positions(lane->rollup, lane->positions);
	}
}

static void
follow_all(Follow *follow)
{
	while (GetCurrentTimestamp() < follow->deadline)
	{
		TimestampTz next;
		KafkaLane *slow;
		List *due;

		if (follow->rollup_id == 0)
			list_rollups(follow);
		else if (follow->lanes == NIL)
			break;
		drop_groups(follow);
		due = list_due(follow, &next);
		if (due != NIL)
			take_turns(follow, due);
		slow = kafka_slow_begin(follow->lanes, &next);
		if (slow != NULL)
			take_slow_turn(follow, slow);
		if (due == NIL && slow == NULL)
			wait_until(next);
		MemoryContextReset(follow->context);
	}
	end_call(follow);
}

void
kafka_follow(KafkaRun *run, int32 rollup_id, TimestampTz deadline)
{
	Follow follow = {.run = run, .rollup_id = rollup_id, .deadline = deadline};
	MemoryContext caller;

	follow.started_at = GetCurrentTimestamp();
	follow.list_at = follow.started_at;
	follow.context = AllocSetContextCreate(run->context, "Kafka follow",
										   ALLOCSET_DEFAULT_SIZES);
	caller = MemoryContextSwitchTo(follow.context);
	if (rollup_id != 0)
		add_lane(&follow, rollup_id);
	follow_all(&follow);
	MemoryContextSwitchTo(caller);
}
