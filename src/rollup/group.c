/*-------------------------------------------------------------------------
 *
 * group.c
 *		One read for many: the turn of lanes that may share a reader.
 *
 * The reader's snapshot of ends serves all lanes of the group, so that all that
 * come to its end stand at the same offsets, and share all that comes after.
 * Those that stand at the same offsets already are a convoy.  A group's convoys
 * are read one after the other, the one nearest the ends first: so who lags
 * behind catches up alone, keeps nobody waiting, and meets the others there.
 *
 * The transaction that waits for brokers takes the locks of all lanes that it
 * waits for, lest it read what somebody else is storing.  What is between it and
 * a lane's own transaction shows in the lane's positions.
 *
 * How long may a lane take for a batch, while others wait?  Eight times as long
 * as they take themselves, and two seconds at least.  As long as it is not
 * known what a batch takes, two seconds, then four, and so on: so the first of
 * several that wait for a lock, or in a function, takes no more from the others
 * than these.  While following, others are due soon: there it is 300 ms, once,
 * but for large batches; see kafka_lane_get_budget.
 *
 * IDENTIFICATION
 *		src/rollup/group.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fdw/batch_cache.h"
#include "fdw/guard.h"
#include "miscadmin.h"
#include "rollup/lane.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

/* As many times as long as the others. */
#define BUDGET_FACTOR 8

/*
 * What a batch may take at most while nothing is known of the others: so many
 * times what it may otherwise, in a run that does not follow.
 */
#define MAX_FIRST_FACTOR 4

/* A batch that took more memory is not kept from turn to turn. */
#define KEPT_BATCH_BYTES (8 * 1024 * 1024)

/* Lanes of a group that are read for together. */
typedef struct Convoy
{
	KafkaGroup *group;
	List *lanes;
	KafkaPositions *positions; /* from which reading begins */
	TimestampTz deadline;
	bool has_started;
	bool has_scanned; /* the batch before, in which there was something */
	int64 stored_ms;  /* what those have taken that have stored the batch */
	int nstored;      /* how many these are */
} Convoy;

/* ----------------------------------------------------------------
 * Groups
 * ----------------------------------------------------------------
 */

KafkaGroup *
kafka_group_create(KafkaRun *run, const char *key)
{
	MemoryContext context =
		AllocSetContextCreate(run->context, "Kafka rollup group",
							  ALLOCSET_SMALL_SIZES);
	KafkaGroup *group = MemoryContextAllocZero(context, sizeof(KafkaGroup));

	group->run = run;
	group->context = context;
	group->key = MemoryContextStrdup(context, key);
	return group;
}

void
kafka_group_destroy(KafkaGroup *group)
{
	MemoryContextDelete(group->context);
}

/*
 * After an error the reader may be in the midst of anything.  Freeing it
 * rather than closing it destroys the client, too.
 */
static void
drop_reader(KafkaGroup *group)
{
	if (group->reader)
		MemoryContextDelete(group->reader->context);
	group->reader = NULL;
}

static void
close_reader(KafkaGroup *group)
{
	if (group->reader)
		kafka_rollup_reader_close(group->reader);
	group->reader = NULL;
}

/* The lanes of a list that are in a state. */
static List *
select_lanes(List *lanes, KafkaLaneState state)
{
	List *selected = NIL;
	ListCell *cell;

	foreach(cell, lanes)
	{
		KafkaLane *lane = lfirst(cell);

		if (lane->state == state)
			selected = lappend(selected, lane);
	}
	return selected;
}

static void
set_states(List *lanes, KafkaLaneState state)
{
	ListCell *cell;

	foreach(cell, lanes)
		((KafkaLane *) lfirst(cell))->state = state;
}

/* ----------------------------------------------------------------
 * Waiting for brokers: one transaction for several lanes
 * ----------------------------------------------------------------
 */

/*
 * Does work(arg) for the lanes, under their locks; those whose locks somebody
 * else holds are left out.  False when it was not done: all lanes are BUSY, or
 * an error was raised, which is that of all of them.
 */
static bool
wait_for_lanes(KafkaGroup *group, List *lanes, bool (*work)(void *arg),
			   void *arg)
{
	List *locked;
	ErrorData *error = NULL;

	CHECK_FOR_INTERRUPTS();
	locked = kafka_lanes_lock(lanes);
	if (locked != NIL)
	{
		InvalidateCatalogSnapshot();
		error = kafka_guard_try(work, arg);
	}
	if (error != NULL)
	{
		drop_reader(group);
		kafka_lanes_fail(locked, error);
	}
	SPI_commit();
	return locked != NIL && error == NULL;
}

/*
 * The lane by whose table the reader is opened: any that is still what it was
 * when it was placed.  The others are to be placed anew.
 */
static const KafkaLane *
find_opener(List *lanes)
{
	ListCell *cell;

	foreach(cell, lanes)
	{
		KafkaLane *lane = lfirst(cell);

		if (lane->state != KAFKA_LANE_PLACED)
			continue;
		if (!kafka_origin_is_stale(&lane->origin, lane->rollup->source,
								   lane->rollup->owner))
			return lane;
		lane->state = KAFKA_LANE_AGAIN;
	}
	return NULL;
}

static bool
open_reader(void *arg)
{
	KafkaGroup *group = (KafkaGroup *) arg;
	const KafkaLane *opener = find_opener(group->lanes);
	const KafkaRollup *rollup;
	KafkaWatermarks *watermarks;
	MemoryContext caller;

	if (opener == NULL)
		return true;
	rollup = opener->rollup;
	caller = MemoryContextSwitchTo(group->turn_context);
	watermarks = kafka_watch_look(rollup->source, rollup->owner);
	group->reader = kafka_rollup_reader_open(rollup);
	group->reader->watermarks = watermarks;
	if (rollup->rebuilds != 0)
		kafka_shadow_limit(rollup, group->reader);
	MemoryContextSwitchTo(caller);
	return true;
}

/*
 * Each lane reads every message: what it needs of them is decoded for all.  What
 * that is takes looking up; once a batch has been scanned, what its scans have
 * asked for tells it for the next one.
 */
static void
expect_scans(Convoy *convoy)
{
	KafkaBatch *batch = convoy->group->batch;
	ListCell *cell;

	if (list_length(convoy->lanes) < 2)
		return;
	foreach(cell, convoy->lanes)
	{
		const KafkaRollup *rollup = ((const KafkaLane *) lfirst(cell))->rollup;

		if (convoy->has_scanned)
			kafka_batch_cache_expect(batch, rollup->source, NULL);
		else
			kafka_rollup_expect_scans(rollup, batch);
	}
	convoy->has_scanned = batch->nentries > 0;
}

static bool
read_batch(void *arg)
{
	Convoy *convoy = (Convoy *) arg;
	KafkaGroup *group = convoy->group;
	const KafkaLane *first = linitial(convoy->lanes);
	int64 max_rows = first->is_slow ? first->max_rows : group->run->max_rows;

	if (!convoy->has_started)
		kafka_rollup_reader_start(group->reader, convoy->positions);
	convoy->has_started = true;
	if (group->batch == NULL)
	{
		MemoryContext caller = MemoryContextSwitchTo(group->context);

		group->batch = kafka_batch_create(first->rollup->source);
		MemoryContextSwitchTo(caller);
	}
	kafka_batch_reset(group->batch);
	kafka_rollup_reader_read(group->reader, group->batch, max_rows);
	expect_scans(convoy);
	return true;
}

/* ----------------------------------------------------------------
 * Convoys
 * ----------------------------------------------------------------
 */

/* How many offsets are left to be read from positions on. */
static int64
measure_distance(const KafkaRollupReader *reader,
				 const KafkaPositions *positions)
{
	int64 distance = 0;

	for (int i = 0; i < positions->count; i++)
	{
		const KafkaPosition *position = &positions->list[i];
		const KafkaSnapshotPart *part =
			kafka_rollup_reader_part(reader, position->topic,
									 position->partition);

		if (part != NULL)
			distance += part->end - position->next_offset;
	}
	return distance;
}

static KafkaLane *
find_nearest(const KafkaRollupReader *reader, List *lanes)
{
	KafkaLane *nearest = NULL;
	int64 nearest_distance = 0;
	ListCell *cell;

	foreach(cell, lanes)
	{
		KafkaLane *lane = lfirst(cell);
		int64 distance = measure_distance(reader, lane->positions);

		if (nearest == NULL || distance < nearest_distance)
		{
			nearest = lane;
			nearest_distance = distance;
		}
	}
	return nearest;
}

/* By what a batch took them last, those of which that is not known at the end. */
static int
compare_speed(const ListCell *a, const ListCell *b)
{
	const KafkaLane *x = lfirst(a);
	const KafkaLane *y = lfirst(b);

	if (x->last_ms != y->last_ms)
		return (uint64) x->last_ms < (uint64) y->last_ms ? -1 : 1;
	return (x->rollup_id > y->rollup_id) - (x->rollup_id < y->rollup_id);
}

/* The lanes that stand where the nearest of them stands. */
static Convoy *
form_convoy(KafkaGroup *group, List *lanes)
{
	Convoy *convoy = palloc0(sizeof(Convoy));
	const KafkaLane *nearest = find_nearest(group->reader, lanes);
	ListCell *cell;

	convoy->group = group;
	convoy->positions = kafka_positions_copy(nearest->positions);
	foreach(cell, lanes)
	{
		KafkaLane *lane = lfirst(cell);

		if (kafka_positions_merge(convoy->positions, lane->positions))
			convoy->lanes = lappend(convoy->lanes, lane);
	}
	return convoy;
}

/* ----------------------------------------------------------------
 * A round
 * ----------------------------------------------------------------
 */

/* What a lane may take, by what is known of the others; 0: not known. */
static int64
compute_budget(const Convoy *convoy, const KafkaLane *lane)
{
	if (convoy->nstored == 0)
		return 0;
	return Max(kafka_lane_get_budget(lane, convoy->group->batch->nentries),
			   BUDGET_FACTOR * convoy->stored_ms / convoy->nstored);
}

/*
 * What a lane without companions may take while others wait for their turn:
 * its share of the time.
 */
static int64
compute_budget_alone(const Convoy *convoy, const KafkaLane *lane)
{
	int64 budget_ms = kafka_lane_get_budget(lane, 0);
	int64 left_ms = TimestampDifferenceMilliseconds(GetCurrentTimestamp(),
													convoy->deadline);

	if (budget_ms == 0 || lane->is_slow)
		return budget_ms;
	return Max(budget_ms, left_ms);
}

static void
store(KafkaLane *lane, int64 budget_ms)
{
	TimestampTz start = GetCurrentTimestamp();

	kafka_lane_step(lane, kafka_step_store, budget_ms);
	if (lane->state == KAFKA_LANE_SLOW)
		lane->slow_rows = lane->group->batch->nentries;
	if (lane->state == KAFKA_LANE_READING)
	{
		lane->slow_rows = 0;
		lane->last_ms =
			TimestampDifferenceMilliseconds(start, GetCurrentTimestamp());
	}
}

/*
 * Stores the batch for all lanes.  A lane that took as long as it might, while
 * nothing was known of the others, is tried again after them, unless it shows
 * then that it was too long; while following, where lanes of other groups wait,
 * once.
 */
static void
store_for_all(Convoy *convoy)
{
	List *pending = list_copy(convoy->lanes);
	const KafkaLane *first = linitial(pending);
	int64 first_budget_ms =
		kafka_lane_get_budget(first, convoy->group->batch->nentries);
	int64 max_budget_ms = first->run->follows
							  ? first_budget_ms
							  : MAX_FIRST_FACTOR * first_budget_ms;

	convoy->stored_ms = 0;
	convoy->nstored = 0;
	list_sort(pending, compare_speed);
	while (pending != NIL && first_budget_ms <= max_budget_ms)
	{
		List *later = NIL;
		ListCell *cell;

		foreach(cell, pending)
		{
			KafkaLane *lane = lfirst(cell);
			int64 budget_ms = compute_budget(convoy, lane);

			if (lane->state == KAFKA_LANE_SLOW && budget_ms > 0 &&
				budget_ms < first_budget_ms)
				continue;
			lane->state = KAFKA_LANE_READING;
			store(lane, budget_ms > 0 ? budget_ms : first_budget_ms);
			if (lane->state == KAFKA_LANE_READING)
			{
				convoy->stored_ms += lane->last_ms;
				convoy->nstored++;
			}
			if (lane->state == KAFKA_LANE_SLOW && budget_ms == 0)
				later = lappend(later, lane);
		}
		pending = later;
		first_budget_ms *= 2;
	}
}

/*
 * A record that should have been read before is another one.  Which lane read
 * which is for each to find out.
 */
static void
send_away(List *lanes)
{
	ListCell *cell;

	foreach(cell, lanes)
		((KafkaLane *) lfirst(cell))->is_alone = true;
	set_states(lanes, KAFKA_LANE_AGAIN);
}

static void
run_round(Convoy *convoy)
{
	KafkaGroup *group = convoy->group;

	if (!wait_for_lanes(group, convoy->lanes, read_batch, convoy))
	{
		convoy->lanes = NIL;
		return;
	}
	convoy->lanes = select_lanes(convoy->lanes, KAFKA_LANE_READING);
	group->is_shared = list_length(convoy->lanes) > 1;
	if (group->reader->replaced && group->is_shared)
		send_away(convoy->lanes);
	else if (group->is_shared)
		store_for_all(convoy);
	else
		store(linitial(convoy->lanes),
			  compute_budget_alone(convoy, linitial(convoy->lanes)));
	convoy->lanes = select_lanes(convoy->lanes, KAFKA_LANE_READING);
}

static void
run_convoy(Convoy *convoy)
{
	const KafkaGroup *group = convoy->group;

	while (convoy->lanes != NIL)
	{
		run_round(convoy);
		if (convoy->lanes == NIL)
			break;
		if (group->reader->lost)
			set_states(convoy->lanes, KAFKA_LANE_AGAIN);
		else if (group->reader->finished ||
				 GetCurrentTimestamp() >= convoy->deadline)
			set_states(convoy->lanes, KAFKA_LANE_DONE);
		else
			continue;
		break;
	}
}

/* ----------------------------------------------------------------
 * A turn
 * ----------------------------------------------------------------
 */

static void
join_lanes(KafkaGroup *group)
{
	List *lanes = select_lanes(group->lanes, KAFKA_LANE_PLACED);
	ListCell *cell;

	foreach(cell, lanes)
	{
		KafkaLane *lane = lfirst(cell);

		while (lane->state == KAFKA_LANE_PLACED)
			kafka_lane_step(lane, kafka_step_join,
							kafka_lane_get_budget(lane, 0));
	}
}

/* What was reading when the reader was lost connects once more. */
static void
run_convoys(KafkaGroup *group, TimestampTz deadline)
{
	List *lanes;

	while ((lanes = select_lanes(group->lanes, KAFKA_LANE_READING)) != NIL)
	{
		Convoy *convoy;

		if (group->reader == NULL)
		{
			set_states(lanes, KAFKA_LANE_AGAIN);
			break;
		}
		convoy = form_convoy(group, lanes);
		convoy->deadline =
			kafka_run_share_of_time(deadline, list_length(convoy->lanes),
									list_length(lanes));
		run_convoy(convoy);
	}
}

static void
begin_turn(KafkaGroup *group, List *lanes)
{
	ListCell *cell;

	group->lanes = lanes;
	foreach(cell, lanes)
		((KafkaLane *) lfirst(cell))->group = group;
}

static void
end_turn(KafkaGroup *group)
{
	ListCell *cell;

	close_reader(group);
	foreach(cell, group->lanes)
		((KafkaLane *) lfirst(cell))->group = NULL;
	group->lanes = NIL;
	if (group->batch && MemoryContextMemAllocated(group->batch->context,
												  true) > KEPT_BATCH_BYTES)
	{
		kafka_batch_destroy(group->batch);
		group->batch = NULL;
	}
}

void
kafka_group_run(KafkaGroup *group, List *lanes, TimestampTz deadline)
{
	MemoryContext caller;

	group->turn_context =
		AllocSetContextCreate(group->context, "Kafka rollup turn",
							  ALLOCSET_SMALL_SIZES);
	caller = MemoryContextSwitchTo(group->turn_context);
	begin_turn(group, lanes);
	if (wait_for_lanes(group, lanes, open_reader, group) &&
		group->reader != NULL)
	{
		join_lanes(group);
		run_convoys(group, deadline);
	}
	end_turn(group);
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(group->turn_context);
}
