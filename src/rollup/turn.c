/*-------------------------------------------------------------------------
 *
 * turn.c
 *		Who has a turn when: lanes into groups, group after group.
 *
 * All lanes are prepared, then placed, then read in groups.  A lane that turns
 * out not to be what it was is placed anew, after the turn of its group; one
 * that others could not wait for goes on alone, after all others.  Several of
 * these take turns with a budget that doubles, so that none keeps the rest from
 * getting on for longer than it has been tried for; the last has none.
 *
 * IDENTIFICATION
 *		src/rollup/turn.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "rollup/lane.h"
#include "utils/timestamp.h"

TimestampTz
kafka_run_share_of_time(TimestampTz deadline, int count, int total)
{
	TimestampTz now = GetCurrentTimestamp();

	if (deadline <= now || total <= count)
		return deadline;
	return now + (deadline - now) / total * count;
}

/* ----------------------------------------------------------------
 * Placing
 * ----------------------------------------------------------------
 */

void
kafka_lanes_place(List *lanes)
{
	ListCell *cell;

	foreach(cell, lanes)
	{
		KafkaLane *lane = lfirst(cell);

		if (lane->state == KAFKA_LANE_NEW)
			kafka_lane_step(lane, kafka_step_prepare,
							kafka_lane_get_budget(lane, 0));
	}
	foreach(cell, lanes)
	{
		KafkaLane *lane = lfirst(cell);

		if (lane->state == KAFKA_LANE_CLEARED ||
			lane->state == KAFKA_LANE_AGAIN)
			kafka_lane_step(lane, kafka_step_place,
							kafka_lane_get_budget(lane, 0));
	}
}

/* Adds a lane to the list whose lanes have its key; false for there being none. */
static bool
add_to_group(List *groups, KafkaLane *lane)
{
	ListCell *cell;

	foreach(cell, groups)
	{
		List *group = lfirst(cell);
		const KafkaLane *first = linitial(group);

		if (strcmp(first->key, lane->key) != 0)
			continue;
		lfirst(cell) = lappend(group, lane);
		return true;
	}
	return false;
}

List *
kafka_lanes_divide(List *lanes)
{
	List *groups = NIL;
	List *slow = NIL;
	ListCell *cell;

	foreach(cell, lanes)
	{
		KafkaLane *lane = lfirst(cell);

		if (lane->state != KAFKA_LANE_PLACED || add_to_group(groups, lane))
			continue;
		if (lane->is_slow)
			slow = lappend(slow, list_make1(lane));
		else
			groups = lappend(groups, list_make1(lane));
	}
	return list_concat(groups, slow);
}

/* ----------------------------------------------------------------
 * A run
 * ----------------------------------------------------------------
 */

/* It is to go on alone; it may take twice as long each time. */
static void
slow_down(KafkaLane *lane)
{
	lane->budget_ms =
		lane->is_slow ? lane->budget_ms * 2 : 2 * KAFKA_LANE_BUDGET_MS;
	lane->is_slow = true;

	/* Where it was is found anew; it may not even have been prepared. */
	lane->state = KAFKA_LANE_NEW;
}

/*
 * Once a batch was tried the deadline holds for who must connect again, too:
 * others may go on altering what we read faster than we read it.
 */
static bool
may_go_on(const KafkaLane *lane, TimestampTz deadline)
{
	return !lane->has_read || GetCurrentTimestamp() < deadline;
}

/* Ends the lanes whose turns are over; returns those that go on. */
static List *
end_lanes(List *lanes, TimestampTz deadline)
{
	List *rest = NIL;
	ListCell *cell;

	foreach(cell, lanes)
	{
		KafkaLane *lane = lfirst(cell);

		if (lane->state == KAFKA_LANE_SLOW)
			slow_down(lane);
		if (lane->state == KAFKA_LANE_PLACED ||
			lane->state == KAFKA_LANE_NEW ||
			(lane->state == KAFKA_LANE_AGAIN && may_go_on(lane, deadline)))
		{
			rest = lappend(rest, lane);
			continue;
		}
		if (lane->state == KAFKA_LANE_DONE)
			kafka_lane_finish(lane,
							  kafka_run_share_of_time(deadline, 1,
													  lane->run->nlanes));
		kafka_lane_destroy(lane);
	}
	return rest;
}

static void
run_group(KafkaRun *run, List *lanes, TimestampTz deadline)
{
	const KafkaLane *first = linitial(lanes);
	KafkaGroup *group = kafka_group_create(run, first->key);

	kafka_group_run(group, lanes, deadline);
	kafka_group_destroy(group);
}

/* One turn of each; returns the lanes that are to have another. */
static List *
run_turns(KafkaRun *run, List *lanes, TimestampTz deadline)
{
	List *rest;
	List *groups;
	ListCell *cell;

	kafka_lanes_place(lanes);
	groups = kafka_lanes_divide(lanes);
	rest = NIL;
	foreach(cell, lanes)
	{
		KafkaLane *lane = lfirst(cell);

		if (lane->state != KAFKA_LANE_PLACED)
			rest = list_concat(rest, end_lanes(list_make1(lane), deadline));
	}
	foreach(cell, groups)
	{
		List *group = lfirst(cell);

		run_group(run, group,
				  kafka_run_share_of_time(deadline, list_length(group),
										  run->nlanes));
		rest = list_concat(rest, end_lanes(group, deadline));
	}
	return rest;
}

void
kafka_run_lanes(KafkaRun *run, List *ids, TimestampTz deadline)
{
	List *lanes = NIL;
	ListCell *cell;

	foreach(cell, ids)
		lanes = lappend(lanes, kafka_lane_create(run, lfirst_int(cell)));
	while (lanes != NIL)
		lanes = run_turns(run, lanes, deadline);
}

void
kafka_run_rollup(KafkaRun *run, int32 rollup_id, TimestampTz deadline)
{
	kafka_run_lanes(run, list_make1_int(rollup_id), deadline);
}
