/*-------------------------------------------------------------------------
 *
 * step.c
 *		What is done in a transaction of one rollup's run.
 *
 *	prepare  may it run here and now?  Dead letters that are due are retried.
 *	place    what does it read, and by which options?
 *	join     looks for losses by a reader that has been opened, and adds new
 *	         partitions.
 *	store    stores a batch that has been read, with the positions reached;
 *	         again and again.
 *	prune    removes what the rollup does not keep.
 *
 * None of them waits for brokers: that is done in transactions of the group,
 * which hold neither a snapshot nor a transaction id nor a lock on a relation
 * meanwhile, and cost the rest of the database nothing.  Each reads the rollup's
 * row and positions anew.  If these are not what the step before has left,
 * somebody came between: what was read is dropped and the lane connects again.
 *
 * IDENTIFICATION
 *		src/rollup/step.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "fdw/guard.h"
#include "miscadmin.h"
#include "rollup/lane.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

/* Dead letters that are tried one by one, after trying them together failed. */
#define MAX_SINGLE_RETRIES 100

/* While following no more are begun after this part of the budget. */
#define LETTERS_SHARE 4

/* How often commits come while following: else, and with sketches. */
#define COMMIT_INTERVAL_MS 1000
#define SKETCH_COMMIT_INTERVAL_MS 10000

/*
 * So many rows are removed at a time at most; less where that takes longer than
 * others can wait, such as with triggers.
 */
#define PRUNE_MAX_ROWS 10000
#define PRUNE_FACTOR 10
#define PRUNE_SHARE 4 /* of the budget: what took less may be more next time */

/* ----------------------------------------------------------------
 * What becomes of a rollup
 * ----------------------------------------------------------------
 */

static void
log_event(const KafkaRollup *rollup, const char *event, int64 lost_messages,
		  const char *detail)
{
	KafkaRollupRun row = {0};

	row.event = event;
	row.started_at = GetCurrentTransactionStartTimestamp();
	row.lost_messages = lost_messages;
	row.detail = detail;
	kafka_rollup_log_run(rollup, &row);
}

/* Goes on at none: what could not be done is the next run's. */
static void
halt(KafkaLane *lane, const KafkaLoss *loss)
{
	const KafkaRollup *rollup = lane->rollup;

	kafka_rollup_set_state(rollup, "HALTED",
						   psprintf("%s %s", loss->detail, loss->remedy));
	log_event(rollup, "halt", loss->lost_messages, loss->detail);
	kafka_lane_add_stop(
		lane, "was halted, since going on would make its numbers wrong",
		loss->detail, loss->remedy);
	lane->state = KAFKA_LANE_GONE;
}

/* The rollup works again, if it did not. */
static void
clear_failing(const KafkaRollup *rollup)
{
	if (strcmp(rollup->state, "FAILING") == 0)
		kafka_rollup_set_state(rollup, "RUNNING", NULL);
}

/*
 * Halts for a loss, or records it and goes on from there, in the state given,
 * as the rollup's options say.
 */
static void
handle_loss(KafkaLane *lane, const KafkaLoss *loss, KafkaPositions *stored,
			KafkaLaneState state)
{
	const KafkaRollup *rollup = lane->rollup;

	if (!loss->may_continue || !rollup->options.continue_on_loss)
	{
		halt(lane, loss);
		return;
	}

	/*
	 * Nothing is read again here: a topic made anew has other messages.  So
	 * dead letters of the old one stay open, and unique keys are kept.
	 */
	kafka_positions_write(rollup->rollup_id, loss->positions, stored);
	kafka_watch_forget(rollup->rollup_id);
	log_event(rollup, "loss", loss->lost_messages, loss->detail);
	lane->state = state;
}

/* ----------------------------------------------------------------
 * Prepare
 * ----------------------------------------------------------------
 */

/*
 * A rollup that somebody named and that does not run is an error; in a run of
 * all it is not this run's affair.
 */
static void
refuse(KafkaLane *lane)
{
	const KafkaRollup *rollup = lane->rollup;

	lane->state = KAFKA_LANE_GONE;
	if (rollup == NULL || !lane->run->named)
		return;
	if (strcmp(rollup->state, "HALTED") == 0)
		kafka_lane_add_stop(lane, "is halted", rollup->reason, NULL);
	else if (strcmp(rollup->state, "PAUSED") == 0)
		kafka_lane_add_stop(lane, "is paused", rollup->reason, NULL);
	else
		kafka_lane_add_stop(
			lane, "is not enabled", NULL,
			"kafka.alter_rollup(..., enabled := true) lets it run.");
}

typedef struct LettersAttempt
{
	const KafkaRollup *rollup;
	KafkaLettersRetry *letters;
} LettersAttempt;

static bool
retry_letters(void *arg)
{
	LettersAttempt *attempt = (LettersAttempt *) arg;

	PushActiveSnapshot(GetTransactionSnapshot());
	kafka_dead_letters_retry(attempt->rollup, attempt->letters);
	PopActiveSnapshot();
	return true;
}

/*
 * Tries letters again.  Returns the error that was raised, NULL for none; all
 * is undone then.  An error that ends the run is raised again.
 */
static ErrorData *
try_letters(const KafkaLane *lane, KafkaLettersRetry *letters)
{
	LettersAttempt attempt = {lane->rollup, letters};
	ErrorData *error = kafka_guard_try(retry_letters, &attempt);

	if (error != NULL && kafka_lane_ends_run(error))
		ReThrowError(error);
	return error;
}

/*
 * An error that is not the letters' is an attempt like any other, and keeps
 * the rollup from nothing.  Whose attempt it was shows when each letter is
 * tried by itself, of which one run does a limited number.  While following it
 * stops early enough for its budget.
 */
static void
retry_dead_letters(KafkaLane *lane)
{
	int64 budget_ms = kafka_lane_get_budget(lane, 0);
	KafkaLettersRetry letters = {.due_only = true,
								 .max_rows = (int) lane->max_rows};
	int max_rows = Min(letters.max_rows, MAX_SINGLE_RETRIES);
	ArrayType **ids;
	int count;
	int i;

	if (lane->run->follows && budget_ms > 0)
		letters.until = TimestampTzPlusMilliseconds(GetCurrentTimestamp(),
													budget_ms / LETTERS_SHARE);
	if (try_letters(lane, &letters) == NULL)
	{
		lane->must_retry = letters.was_ended;
		return;
	}
	ids = kafka_dead_letters_list_due(lane->rollup, max_rows, &count);
	for (i = 0; i < count; i++)
	{
		KafkaLettersRetry letter = {.ids = ids[i],
									.due_only = true,
									.max_rows = 1};
		ErrorData *error;

		CHECK_FOR_INTERRUPTS();
		error = try_letters(lane, &letter);
		if (error != NULL)
			kafka_dead_letters_note_failure(lane->rollup, ids[i], error);
		if (letters.until != 0 && GetCurrentTimestamp() >= letters.until)
			break;
	}
	lane->must_retry = i < count || count == max_rows;
}

static void
set_name(KafkaLane *lane)
{
	if (strcmp(lane->name, lane->rollup->name) == 0)
		return;
	pfree(lane->name);
	lane->name = MemoryContextStrdup(lane->context, lane->rollup->name);
}

void
kafka_step_prepare(KafkaLane *lane)
{
	bool may_run = kafka_lane_read_rollup(lane);
	KafkaLoss *loss;

	if (lane->rollup != NULL)
		set_name(lane);
	if (!may_run)
	{
		refuse(lane);
		return;
	}
	kafka_rollup_check_owner(lane->rollup);
	kafka_rollup_check_parts(lane->rollup);
	loss = kafka_loss_of_system(lane->rollup);
	if (loss != NULL)
	{
		halt(lane, loss);
		return;
	}
	retry_dead_letters(lane);
	lane->state = KAFKA_LANE_CLEARED;
}

/* ----------------------------------------------------------------
 * Place
 * ----------------------------------------------------------------
 */

/* Has storage a column that is large, and is written anew with each merge? */
static bool
has_sketch(Oid storage)
{
	for (int16 attnum = 1;
		 SearchSysCacheExists2(ATTNUM, ObjectIdGetDatum(storage),
							   Int16GetDatum(attnum));
		 attnum++)
	{
		Oid type = get_atttype(storage, attnum); /* none of a dropped one */
		HeapTuple tuple;
		const char *name;
		bool found;

		if (!OidIsValid(type))
			continue;
		tuple = SearchSysCache1(TYPEOID, ObjectIdGetDatum(type));
		if (!HeapTupleIsValid(tuple))
			continue;
		name = NameStr(((Form_pg_type) GETSTRUCT(tuple))->typname);
		found = strcmp(name, "hll") == 0 || strcmp(name, "tdigest") == 0;
		ReleaseSysCache(tuple);
		if (found)
			return true;
	}
	return false;
}

static int64
get_interval_ms(const KafkaRollup *rollup)
{
	if (rollup->options.commit_interval_ms > 0)
		return rollup->options.commit_interval_ms;
	return has_sketch(rollup->storage) ? SKETCH_COMMIT_INTERVAL_MS
									   : COMMIT_INTERVAL_MS;
}

/*
 * A lane that must go on alone has a key that no other has.  Those that commit
 * at other times do not meet.
 */
static char *
make_key(const KafkaLane *lane)
{
	const KafkaRollup *rollup = lane->rollup;

	if (lane->is_alone || lane->is_slow || rollup->rebuilds != 0)
		return psprintf("rollup %d", lane->rollup_id);
	return psprintf("%lld %s", (long long) lane->interval_ms,
					kafka_rollup_reader_key(rollup->source, rollup->owner));
}

void
kafka_step_place(KafkaLane *lane)
{
	const KafkaRollup *rollup;

	if (!kafka_lane_read_rollup(lane))
	{
		lane->state = KAFKA_LANE_GONE;
		return;
	}
	rollup = lane->rollup;
	kafka_rollup_check_parts(rollup);
	kafka_rollup_reader_check_right(rollup->source, rollup->owner);
	kafka_origin_note(&lane->origin, rollup->source, rollup->owner,
					  lane->context);
	lane->interval_ms = lane->run->follows ? get_interval_ms(rollup) : 0;
	if (lane->key)
		pfree(lane->key);
	lane->key = NULL;
	lane->key = MemoryContextStrdup(lane->context, make_key(lane));
	lane->state = KAFKA_LANE_PLACED;
}

/* ----------------------------------------------------------------
 * Join
 * ----------------------------------------------------------------
 */

static KafkaLoss *
find_loss(const KafkaLane *lane, const KafkaPositions *stored)
{
	const KafkaRollupReader *reader = lane->group->reader;
	KafkaLoss *loss = kafka_loss_of_isolation(lane->rollup, reader);

	if (loss == NULL)
		loss = kafka_loss_of_positions(lane->rollup, reader, stored);
	return loss;
}

/* Begins with the positions, which the reader's partitions all have. */
static void
begin_reading(KafkaLane *lane, const KafkaPositions *positions)
{
	const KafkaRollupReader *reader = lane->group->reader;

	kafka_lane_keep_positions(lane, positions);
	lane->is_behind = kafka_rollup_reader_has_news(reader, positions);
	if (lane->is_behind)
	{
		lane->state = KAFKA_LANE_READING;
		return;
	}
	clear_failing(lane->rollup);
	kafka_watch_note_read(lane->rollup, positions, reader, true,
						  reader->asked_at);
	lane->state = KAFKA_LANE_DONE;
}

void
kafka_step_join(KafkaLane *lane)
{
	const KafkaRollupReader *reader = lane->group->reader;
	KafkaPositions *stored;
	KafkaPositions *positions;
	KafkaLoss *loss;

	if (!kafka_lane_read_rollup(lane))
	{
		lane->state = KAFKA_LANE_GONE;
		return;
	}
	if (kafka_origin_is_stale(&lane->origin, lane->rollup->source,
							  lane->rollup->owner))
	{
		lane->state = KAFKA_LANE_AGAIN;
		return;
	}
	stored = kafka_positions_read(lane->rollup_id);
	loss = find_loss(lane, stored);
	if (loss != NULL)
	{
		handle_loss(lane, loss, stored, KAFKA_LANE_PLACED);
		return;
	}
	if (lane->rollup->isolation_level == NULL ||
		(lane->rollup->cluster_id == NULL && reader->cluster_id != NULL))
		kafka_rollup_set_origin(lane->rollup, reader);
	positions = kafka_positions_copy(stored);
	if (kafka_positions_add_new(positions, reader))
	{
		/* A new one may begin with a loss, so the lane joins once more. */
		kafka_positions_write(lane->rollup_id, positions, stored);
		kafka_watch_forget(lane->rollup_id);
		return;
	}
	begin_reading(lane, positions);
}

/* ----------------------------------------------------------------
 * Store
 * ----------------------------------------------------------------
 */

/* Too many faults: nothing of the batch is kept, and somebody must look. */
static void
pause_rollup(KafkaLane *lane, const KafkaApplyResult *result)
{
	const char *remedy =
		psprintf("When that is mended, SELECT kafka.alter_rollup(%s, enabled "
				 ":= true);",
				 quote_literal_cstr(lane->rollup->name));

	kafka_rollup_set_state(lane->rollup, "PAUSED",
						   psprintf("%s %s", result->trip_reason, remedy));
	log_event(lane->rollup, "pause", 0, result->trip_reason);
	kafka_lane_add_stop(lane,
						"was paused, since too many of its messages failed",
						result->trip_reason, remedy);
	lane->state = KAFKA_LANE_GONE;
}

static void
log_batch(const KafkaLane *lane, const KafkaApplyResult *result,
		  int64 dead_letters)
{
	const KafkaBatch *batch = lane->group->batch;
	KafkaRollupRun row = {0};

	row.event = "batch";
	row.started_at = GetCurrentTransactionStartTimestamp();
	row.messages = batch->nentries;
	row.bytes = batch->bytes;
	row.rows_selected = result->rows_selected;
	row.groups = result->groups;
	row.dead_letters = dead_letters;
	row.duplicates = result->duplicates;
	kafka_rollup_log_run(lane->rollup, &row);
}

/* Whoever had the batch before has left marks in it, and another's table. */
static void
take_batch(const KafkaLane *lane)
{
	KafkaBatch *batch = lane->group->batch;

	kafka_batch_set_relid(batch, lane->rollup->source);
	kafka_batch_clear_faults(batch);
	batch->start = 0;
	batch->end = batch->nentries;
	batch->current = -1;
}

/*
 * Stores the batch and moves the positions.  A batch without a message, whose
 * reading only passed markers and the like, leaves no run row.
 */
static void
store_batch(KafkaLane *lane, const KafkaPositions *stored)
{
	const KafkaRollupReader *reader = lane->group->reader;
	KafkaBatch *batch = lane->group->batch;
	KafkaPositions *positions = kafka_positions_copy(stored);
	KafkaApplyResult result = {0};
	int64 dead_letters = 0;

	kafka_rollup_reader_advance(reader, positions);
	if (batch->nentries > 0)
	{
		take_batch(lane);
		PushActiveSnapshot(GetTransactionSnapshot());
		result = kafka_rollup_apply(lane->rollup, batch, positions);
		if (!result.tripped)
			dead_letters =
				kafka_dead_letters_store(lane->rollup, batch, &result);
		PopActiveSnapshot();
	}
	if (result.tripped)
	{
		pause_rollup(lane, &result);
		return;
	}
	kafka_positions_write(lane->rollup_id, positions, stored);
	if (batch->nentries > 0)
		log_batch(lane, &result, dead_letters);
	clear_failing(lane->rollup);
	kafka_watch_note_read(lane->rollup, positions, reader, reader->finished,
						  reader->asked_at);
	kafka_lane_keep_positions(lane, positions);
	lane->is_behind = !reader->finished;
}

/* How the lane is to go on after that is for its group to say. */
void
kafka_step_store(KafkaLane *lane)
{
	const KafkaRollupReader *reader = lane->group->reader;
	KafkaPositions *stored;

	lane->has_read = true;
	if (!kafka_lane_read_rollup(lane))
	{
		lane->state = KAFKA_LANE_GONE;
		return;
	}
	kafka_rollup_check_parts(lane->rollup);
	stored = kafka_positions_read(lane->rollup_id);
	if (kafka_origin_is_stale(&lane->origin, lane->rollup->source,
							  lane->rollup->owner) ||
		!kafka_positions_equal(stored, lane->positions))
		lane->state = KAFKA_LANE_AGAIN;
	else if (reader->replaced)
		handle_loss(lane, kafka_loss_of_replaced(lane->rollup, reader, stored),
					stored, KAFKA_LANE_AGAIN);
	else
		store_batch(lane, stored);
}

/* ----------------------------------------------------------------
 * The end of a turn
 * ----------------------------------------------------------------
 */

/* The state afterwards: is there more to be removed? */
static void
prune(KafkaLane *lane)
{
	lane->state = KAFKA_LANE_DONE;
	if (kafka_lane_read_rollup(lane) &&
		kafka_prune_rollup(lane->rollup, lane->prune_rows) == lane->prune_rows)
		lane->state = KAFKA_LANE_AGAIN;
}

/*
 * Removes some rows.  What took too long was undone, and has to be tried with
 * less, at once or while following the next time: else the rollup would keep for
 * ever what it must not.
 */
static void
prune_some(KafkaLane *lane)
{
	int64 budget_ms = kafka_lane_get_budget(lane, 0);
	int64 quick_ms =
		(budget_ms > 0 ? budget_ms : KAFKA_LANE_BUDGET_MS) / PRUNE_SHARE;
	TimestampTz start = GetCurrentTimestamp();

	if (lane->prune_rows == 0)
		lane->prune_rows = PRUNE_MAX_ROWS;
	kafka_lane_step(lane, prune, budget_ms);
	if (lane->state == KAFKA_LANE_SLOW && lane->prune_rows > 1)
	{
		lane->prune_rows = Max(lane->prune_rows / PRUNE_FACTOR, 1);
		if (!lane->run->follows)
			lane->state = KAFKA_LANE_AGAIN;
	}
	else if (lane->state == KAFKA_LANE_AGAIN &&
			 !TimestampDifferenceExceeds(start, GetCurrentTimestamp(),
										 (int) quick_ms))
		lane->prune_rows = Min(2 * lane->prune_rows, PRUNE_MAX_ROWS);
}

void
kafka_lane_finish(KafkaLane *lane, TimestampTz deadline)
{
	lane->is_quiet = true;
	do
		prune_some(lane);
	while (lane->state == KAFKA_LANE_AGAIN &&
		   GetCurrentTimestamp() < deadline);

	/* What is left over here is the next turn's, or the next run's. */
	lane->is_quiet = false;
	lane->must_prune = lane->state == KAFKA_LANE_AGAIN;
	if (lane->state != KAFKA_LANE_FAILED)
		lane->state = KAFKA_LANE_DONE;
	lane->pruned_at = GetCurrentTimestamp();
	if (lane->rollup != NULL && lane->positions != NULL)
		kafka_mirror_positions(lane->rollup, lane->positions);
}
