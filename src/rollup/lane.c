/*-------------------------------------------------------------------------
 *
 * lane.c
 *		One rollup in a run: its transactions, and what comes of them.
 *
 * Each transaction begins by taking the rollup's lock, which its end gives
 * back, and then reads the rollup's row anew.  All that may fail runs in a
 * subtransaction, inside which the user is switched, so that undoing it brings
 * back the caller's rights as well; and the lock, taken outside, is still held
 * when the failure is noted.
 *
 * IDENTIFICATION
 *		src/rollup/lane.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "fdw/guard.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "rollup/lane.h"
#include "utils/memutils.h"

/* ----------------------------------------------------------------
 * Making and ending
 * ----------------------------------------------------------------
 */

KafkaLane *
kafka_lane_create(KafkaRun *run, int32 rollup_id)
{
	MemoryContext context =
		AllocSetContextCreate(run->context, "Kafka rollup run",
							  ALLOCSET_DEFAULT_SIZES);
	KafkaLane *lane = MemoryContextAllocZero(context, sizeof(KafkaLane));

	lane->run = run;
	lane->rollup_id = rollup_id;
	lane->context = context;
	lane->state = KAFKA_LANE_NEW;
	lane->name = MemoryContextAlloc(context, 16);
	snprintf(lane->name, 16, "%d", rollup_id);
	lane->rollup_context =
		AllocSetContextCreate(context, "Kafka rollup", ALLOCSET_SMALL_SIZES);
	lane->positions_context = AllocSetContextCreate(context, "Kafka positions",
													ALLOCSET_SMALL_SIZES);
	lane->max_rows = run->max_rows;
	lane->last_ms = -1;
	run->nlanes++;
	return lane;
}

void
kafka_lane_destroy(KafkaLane *lane)
{
	lane->run->nlanes--;
	MemoryContextDelete(lane->context);
}

/* ----------------------------------------------------------------
 * Failures
 * ----------------------------------------------------------------
 */

static void
free_failure(KafkaRunFailure *failure)
{
	char *texts[] = {failure->name, failure->message, failure->detail,
					 failure->hint, failure->context};

	for (int i = 0; i < lengthof(texts); i++)
	{
		if (texts[i])
			pfree(texts[i]);
	}
	pfree(failure);
}

void
kafka_lane_forget_failure(KafkaLane *lane)
{
	KafkaRun *run = lane->run;
	ListCell *cell;

	foreach(cell, run->failures)
	{
		KafkaRunFailure *failure = lfirst(cell);

		if (failure->rollup_id != lane->rollup_id)
			continue;
		run->failures = foreach_delete_current(run->failures, cell);
		free_failure(failure);
	}
}

/* Adds a failure that is told at the end of the call. */
static void
add_failure(KafkaLane *lane, int sqlerrcode, const char *message,
			const char *detail, const char *hint, const char *context)
{
	KafkaRun *run = lane->run;
	MemoryContext caller = MemoryContextSwitchTo(run->context);
	KafkaRunFailure *failure = palloc0(sizeof(KafkaRunFailure));

	failure->rollup_id = lane->rollup_id;
	failure->name = pstrdup(lane->name);
	failure->sqlerrcode = sqlerrcode;
	failure->message = pstrdup(message);
	failure->detail = detail ? pstrdup(detail) : NULL;
	failure->hint = hint ? pstrdup(hint) : NULL;
	failure->context = context ? pstrdup(context) : NULL;

	/* Of a rollup that fails again and again the last failure is told. */
	kafka_lane_forget_failure(lane);
	run->failures = lappend(run->failures, failure);
	MemoryContextSwitchTo(caller);
}

void
kafka_lane_add_stop(KafkaLane *lane, const char *predicate, const char *reason,
					const char *hint)
{
	char *message = psprintf("rollup \"%s\" %s", lane->name, predicate);

	add_failure(lane, ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE, message,
				reason, hint, NULL);
	pfree(message);
}

static void
add_error(KafkaLane *lane, const ErrorData *error)
{
	char *message = psprintf("rollup \"%s\": %s", lane->name, error->message);

	add_failure(lane, error->sqlerrcode, message, error->detail, error->hint,
				error->context);
	pfree(message);
}

/*
 * Does it end the whole run: was it cancelled?  Any function may raise an
 * error with the code of a cancel, and must not keep the rollups of others
 * from running.  The flags that tell of a real one are cleared when its error
 * is raised; but each is raised by the server's ProcessInterrupts, and no
 * language lets its functions say that an error comes from there.
 */
bool
kafka_lane_ends_run(const ErrorData *error)
{
	return ERRCODE_TO_CATEGORY(error->sqlerrcode) ==
			   ERRCODE_OPERATOR_INTERVENTION &&
		   error->funcname != NULL &&
		   strcmp(error->funcname, "ProcessInterrupts") == 0;
}

/* Notes a failure with the rollup, so that whoever looks there sees it. */
static void
note_failure(const KafkaLane *lane, const ErrorData *error)
{
	KafkaRollupRun row = {0};
	KafkaRollup *rollup;
	char *detail;

	SPI_connect();
	rollup = kafka_rollup_get_by_id(lane->rollup_id);
	if (rollup != NULL)
	{
		detail = error->detail
					 ? psprintf("%s: %s", error->message, error->detail)
					 : pstrdup(error->message);
		kafka_rollup_set_state(rollup, "FAILING", detail);
		row.event = "fail";
		row.started_at = GetCurrentTransactionStartTimestamp();
		row.sqlerrcode = error->sqlerrcode;
		row.detail = detail;
		kafka_rollup_log_run(rollup, &row);
	}
	SPI_finish();
}

/* Raises an error again that is not one rollup's alone; tells whose run it was. */
static void
end_run(List *lanes, ErrorData *error)
{
	StringInfoData names;
	ListCell *cell;

	initStringInfo(&names);
	foreach(cell, lanes)
		appendStringInfo(&names, "%s\"%s\"", names.len > 0 ? ", " : "",
						 ((KafkaLane *) lfirst(cell))->name);
	error->context = psprintf("%s%srun of rollup%s %s",
							  error->context ? error->context : "",
							  error->context ? "\n" : "",
							  list_length(lanes) > 1 ? "s" : "", names.data);
	ReThrowError(error);
}

void
kafka_lanes_fail(List *lanes, ErrorData *error)
{
	ListCell *cell;

	if (kafka_lane_ends_run(error))
		end_run(lanes, error);
	foreach(cell, lanes)
	{
		KafkaLane *lane = lfirst(cell);

		note_failure(lane, error);
		add_error(lane, error);
		lane->state = KAFKA_LANE_FAILED;
	}
}

/* ----------------------------------------------------------------
 * The lock
 * ----------------------------------------------------------------
 */

/*
 * Somebody holds the lock: the next run will see what is left.  While following
 * that is soon.
 */
static void
give_way(KafkaLane *lane)
{
	KafkaRollup *rollup;

	lane->state = KAFKA_LANE_BUSY;
	if (lane->is_quiet || lane->run->follows)
		return;
	SPI_connect();
	rollup = kafka_rollup_get_by_id(lane->rollup_id);
	if (rollup != NULL)
		ereport(
			NOTICE,
			(errmsg("rollup \"%s\" is being run or changed by somebody else",
					rollup->name)));
	SPI_finish();
}

static bool
lock_lane(KafkaLane *lane)
{
	if (kafka_rollup_lock(lane->rollup_id, false))
		return true;
	give_way(lane);
	return false;
}

List *
kafka_lanes_lock(List *lanes)
{
	List *locked = NIL;
	ListCell *cell;

	foreach(cell, lanes)
	{
		if (lock_lane(lfirst(cell)))
			locked = lappend(locked, lfirst(cell));
	}
	return locked;
}

/* ----------------------------------------------------------------
 * A step
 * ----------------------------------------------------------------
 */

/*
 * While following, the budget is that of a full batch: companions that store one
 * take as long for themselves.
 */
int64
kafka_lane_get_budget(const KafkaLane *lane, int64 rows)
{
	const KafkaRun *run = lane->run;
	double share = Min(rows, run->max_rows) / (double) run->max_rows;

	if (run->nlanes <= 1)
		return 0;
	if (lane->is_slow)
		return lane->budget_ms;
	if (!run->follows)
		return KAFKA_LANE_BUDGET_MS;
	return Max(KAFKA_LANE_FOLLOW_BUDGET_MS,
			   (int64) (share * KAFKA_LANE_BUDGET_MS));
}

typedef struct StepWork
{
	KafkaLane *lane;
	void (*work)(KafkaLane *lane);
} StepWork;

static bool
do_work(void *arg)
{
	StepWork *step = (StepWork *) arg;

	SPI_connect();
	MemoryContextSwitchTo(step->lane->step_context);
	step->work(step->lane);
	SPI_finish();
	return true;
}

/*
 * Tries it; NULL when all went well, else the error, which outlives the step,
 * and all is undone.
 */
static ErrorData *
try_work(KafkaLane *lane, void (*work)(KafkaLane *lane))
{
	MemoryContext caller = MemoryContextSwitchTo(lane->context);
	StepWork step = {lane, work};
	ErrorData *error;

	lane->step_context = AllocSetContextCreate(lane->context, "Kafka step",
											   ALLOCSET_DEFAULT_SIZES);
	error = kafka_guard_try(do_work, &step);
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(lane->step_context);
	lane->step_context = NULL;
	return error;
}

void
kafka_lane_step(KafkaLane *lane, void (*work)(KafkaLane *lane),
				int64 budget_ms)
{
	CHECK_FOR_INTERRUPTS();
	if (lock_lane(lane))
	{
		ErrorData *error;
		bool is_spent;

		kafka_budget_begin(budget_ms);
		error = try_work(lane, work);
		is_spent = kafka_budget_end();
		if (error != NULL && is_spent && kafka_lane_ends_run(error))
			lane->state = KAFKA_LANE_SLOW;
		else if (error != NULL)
			kafka_lanes_fail(list_make1(lane), error);
		if (error != NULL)
			FreeErrorData(error);
	}
	SPI_commit();
}

/* ----------------------------------------------------------------
 * What steps keep
 * ----------------------------------------------------------------
 */

bool
kafka_lane_read_rollup(KafkaLane *lane)
{
	const KafkaRun *run = lane->run;
	MemoryContext caller;

	MemoryContextReset(lane->rollup_context);
	caller = MemoryContextSwitchTo(lane->rollup_context);
	lane->rollup = NULL;
	lane->rollup = kafka_rollup_get_by_id(lane->rollup_id);
	MemoryContextSwitchTo(caller);
	return lane->rollup != NULL && lane->rollup->enabled &&
		   strcmp(lane->rollup->state, "PAUSED") != 0 &&
		   strcmp(lane->rollup->state, "HALTED") != 0 &&
		   (!run->follows || run->named || lane->rollup->options.follow);
}

void
kafka_lane_keep_positions(KafkaLane *lane, const KafkaPositions *positions)
{
	MemoryContext caller;

	MemoryContextReset(lane->positions_context);
	caller = MemoryContextSwitchTo(lane->positions_context);
	lane->positions = kafka_positions_copy(positions);
	MemoryContextSwitchTo(caller);
}
