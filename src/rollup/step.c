/*-------------------------------------------------------------------------
 *
 * step.c
 *		Runs one rollup: steps, each a transaction.
 *
 *	prepare  may it run here and now?  Dead letters that are due are retried.
 *	connect  opens the topics, looks for losses, adds new partitions.
 *	batch    reads a batch, and stores it with the positions reached; again and
 *	         again, from the same reader.
 *
 * Each step begins by taking the rollup's lock, which the end of the
 * transaction gives back.  Then it waits for brokers, if it must, before it
 * looks at any table: so while it waits it holds neither a snapshot nor a
 * transaction id nor a lock on a relation, and costs the rest of the database
 * nothing.  Then it reads the rollup's row and positions anew.  If these are
 * not what the step before has left, somebody came between: what was read is
 * dropped and the run connects again.
 *
 * All that may fail runs in a subtransaction, inside which the user is
 * switched, so that undoing it brings back the caller's rights as well; and
 * the lock, taken outside, is still held when the failure is noted.
 *
 * IDENTIFICATION
 *		src/rollup/step.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "fdw/guard.h"
#include "rollup/run.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

/* Dead letters that are tried one by one, after trying them together failed. */
#define MAX_SINGLE_RETRIES 100

typedef struct KafkaStep KafkaStep;

/* One rollup's run. */
struct KafkaStep
{
	KafkaRun *run;
	int32 rollup_id;
	MemoryContext context;      /* lives as long as the rollup's run */
	MemoryContext step_context; /* of the step that is being taken */
	TimestampTz deadline;
	void (*next)(KafkaStep *step); /* NULL at the end */

	/* From prepare on; as it was when last read */
	char *name;
	MemoryContext rollup_context; /* holds the row */
	KafkaRollup *rollup;

	/* From connect on */
	KafkaRollupReader *reader;
	KafkaBatch *batch;
	bool has_read;                   /* a batch, whatever became of it */
	MemoryContext positions_context; /* holds positions */
	KafkaPositions *positions;       /* as they are stored */
};

static void prepare(KafkaStep *step);
static void connect_to_topics(KafkaStep *step);
static void run_batch(KafkaStep *step);

/* ----------------------------------------------------------------
 * Failures
 * ----------------------------------------------------------------
 */

/* Adds a failure that is told at the end of the call. */
static void
add_failure(KafkaStep *step, int sqlerrcode, const char *message,
			const char *detail, const char *hint, const char *context)
{
	MemoryContext caller = MemoryContextSwitchTo(step->run->context);
	KafkaRunFailure *failure = palloc0(sizeof(KafkaRunFailure));

	failure->name = pstrdup(step->name);
	failure->sqlerrcode = sqlerrcode;
	failure->message = pstrdup(message);
	failure->detail = detail ? pstrdup(detail) : NULL;
	failure->hint = hint ? pstrdup(hint) : NULL;
	failure->context = context ? pstrdup(context) : NULL;
	step->run->failures = lappend(step->run->failures, failure);
	MemoryContextSwitchTo(caller);
}

/* The rollup does not run, for a reason that is in its row. */
static void
add_stop(KafkaStep *step, const char *predicate, const char *reason,
		 const char *hint)
{
	add_failure(step, ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
				psprintf("rollup \"%s\" %s", step->name, predicate), reason,
				hint, NULL);
}

static void
add_error(KafkaStep *step, const ErrorData *error)
{
	add_failure(step, error->sqlerrcode,
				psprintf("rollup \"%s\": %s", step->name, error->message),
				error->detail, error->hint, error->context);
}

/*
 * Does it end the whole run: was it cancelled?  Any function may raise an
 * error with the code of a cancel, and must not keep the rollups of others
 * from running.  The flags that tell of a real one are cleared when its error
 * is raised; but each is raised by the server's ProcessInterrupts, and no
 * language lets its functions say that an error comes from there.
 */
static bool
ends_run(const ErrorData *error)
{
	return ERRCODE_TO_CATEGORY(error->sqlerrcode) ==
			   ERRCODE_OPERATOR_INTERVENTION &&
		   error->funcname != NULL &&
		   strcmp(error->funcname, "ProcessInterrupts") == 0;
}

static void
log_event(const KafkaRollup *rollup, const char *event, int sqlerrcode,
		  int64 lost_messages, const char *detail)
{
	KafkaRollupRun row = {0};

	row.event = event;
	row.started_at = GetCurrentTransactionStartTimestamp();
	row.sqlerrcode = sqlerrcode;
	row.lost_messages = lost_messages;
	row.detail = detail;
	kafka_rollup_log_run(rollup, &row);
}

/* Notes a failure with the rollup, so that whoever looks there sees it. */
static void
note_failure(KafkaStep *step, const ErrorData *error)
{
	KafkaRollup *rollup;
	char *detail;

	SPI_connect();
	rollup = kafka_rollup_get_by_id(step->rollup_id);
	if (rollup != NULL)
	{
		detail = error->detail
					 ? psprintf("%s: %s", error->message, error->detail)
					 : pstrdup(error->message);
		kafka_rollup_set_state(rollup, "FAILING", detail);
		log_event(rollup, "fail", error->sqlerrcode, 0, detail);
	}
	SPI_finish();
}

/* Goes on at none: what could not be done is the next run's. */
static void
halt(KafkaStep *step, const KafkaLoss *loss)
{
	const KafkaRollup *rollup = step->rollup;

	kafka_rollup_set_state(rollup, "HALTED",
						   psprintf("%s %s", loss->detail, loss->remedy));
	log_event(rollup, "halt", 0, loss->lost_messages, loss->detail);
	add_stop(step, "was halted, since going on would make its numbers wrong",
			 loss->detail, loss->remedy);
	step->next = NULL;
}

/* ----------------------------------------------------------------
 * What every step needs
 * ----------------------------------------------------------------
 */

/* Reads the rollup's row; false when it must not go on. */
static bool
read_rollup(KafkaStep *step)
{
	MemoryContext caller;

	MemoryContextReset(step->rollup_context);
	caller = MemoryContextSwitchTo(step->rollup_context);
	step->rollup = kafka_rollup_get_by_id(step->rollup_id);
	MemoryContextSwitchTo(caller);
	return step->rollup != NULL && step->rollup->enabled &&
		   strcmp(step->rollup->state, "PAUSED") != 0 &&
		   strcmp(step->rollup->state, "HALTED") != 0;
}

static void
keep_positions(KafkaStep *step, const KafkaPositions *positions)
{
	MemoryContext caller;

	MemoryContextReset(step->positions_context);
	caller = MemoryContextSwitchTo(step->positions_context);
	step->positions = kafka_positions_copy(positions);
	MemoryContextSwitchTo(caller);
}

static void
close_reader(KafkaStep *step)
{
	if (step->reader)
		kafka_rollup_reader_close(step->reader);
	step->reader = NULL;
}

/*
 * Once a batch was tried the deadline holds here, too: others may go on altering
 * what we read faster than we read it.
 */
static void
reconnect(KafkaStep *step)
{
	close_reader(step);
	step->next = connect_to_topics;
	if (step->has_read && GetCurrentTimestamp() >= step->deadline)
		step->next = NULL;
}

/* The rollup works again, if it did not. */
static void
clear_failing(const KafkaRollup *rollup)
{
	if (strcmp(rollup->state, "FAILING") == 0)
		kafka_rollup_set_state(rollup, "RUNNING", NULL);
}

/*
 * Halts for a loss, or records it and goes on from there, as the rollup's
 * options say.
 */
static void
handle_loss(KafkaStep *step, const KafkaLoss *loss, KafkaPositions *stored)
{
	const KafkaRollup *rollup = step->rollup;

	if (!loss->may_continue || !rollup->options.continue_on_loss)
	{
		halt(step, loss);
		return;
	}

	/*
	 * Nothing is read again here: a topic made anew has other messages.  So
	 * dead letters of the old one stay open, and unique keys are kept.
	 */
	kafka_positions_write(rollup->rollup_id, loss->positions, stored);
	log_event(rollup, "loss", 0, loss->lost_messages, loss->detail);
	reconnect(step);
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
refuse(KafkaStep *step)
{
	const KafkaRollup *rollup = step->rollup;

	step->next = NULL;
	if (rollup == NULL || !step->run->named)
		return;
	if (strcmp(rollup->state, "HALTED") == 0)
		add_stop(step, "is halted", rollup->reason, NULL);
	else if (strcmp(rollup->state, "PAUSED") == 0)
		add_stop(step, "is paused", rollup->reason, NULL);
	else
		add_stop(step, "is not enabled", NULL,
				 "kafka.alter_rollup(..., enabled := true) lets it run.");
}

/* Letters to be tried: one, or all that are due for NULL. */
typedef struct LettersAttempt
{
	KafkaStep *step;
	ArrayType *ids;
} LettersAttempt;

static bool
retry_letters(void *arg)
{
	LettersAttempt *attempt = (LettersAttempt *) arg;
	int64 loaded;
	int64 failed;

	PushActiveSnapshot(GetTransactionSnapshot());
	kafka_dead_letters_retry(attempt->step->rollup, attempt->ids, true,
							 (int) attempt->step->run->max_rows, &loaded,
							 &failed);
	PopActiveSnapshot();
	return true;
}

/*
 * Tries letters again.  Returns the error that was raised, NULL for none; all
 * is undone then.  An error that ends the run is raised again.
 */
static ErrorData *
try_letters(KafkaStep *step, ArrayType *ids)
{
	LettersAttempt attempt = {step, ids};
	ErrorData *error = kafka_guard_try(retry_letters, &attempt);

	if (error != NULL && ends_run(error))
		ReThrowError(error);
	return error;
}

/*
 * An error that is not the letters' is an attempt like any other, and keeps
 * the rollup from nothing.  Whose attempt it was shows when each letter is
 * tried by itself, of which one run does a limited number.
 */
static void
retry_dead_letters(KafkaStep *step)
{
	ArrayType **ids;
	int count;

	if (try_letters(step, NULL) == NULL)
		return;
	ids =
		kafka_dead_letters_list_due(step->rollup, MAX_SINGLE_RETRIES, &count);
	for (int i = 0; i < count; i++)
	{
		ErrorData *error;

		CHECK_FOR_INTERRUPTS();
		error = try_letters(step, ids[i]);
		if (error != NULL)
			kafka_dead_letters_note_failure(step->rollup, ids[i], error);
	}
}

static void
prepare(KafkaStep *step)
{
	KafkaLoss *loss;

	if (!read_rollup(step))
	{
		if (step->rollup != NULL)
			step->name =
				MemoryContextStrdup(step->context, step->rollup->name);
		refuse(step);
		return;
	}
	step->name = MemoryContextStrdup(step->context, step->rollup->name);
	kafka_rollup_check_owner(step->rollup);
	kafka_rollup_check_parts(step->rollup);
	loss = kafka_loss_of_system(step->rollup);
	if (loss != NULL)
	{
		halt(step, loss);
		return;
	}
	retry_dead_letters(step);
	step->next = connect_to_topics;
}

/* ----------------------------------------------------------------
 * Connect
 * ----------------------------------------------------------------
 */

static void
open_topics(KafkaStep *step)
{
	MemoryContext caller = MemoryContextSwitchTo(step->context);

	step->reader = kafka_rollup_reader_open(step->rollup);
	MemoryContextSwitchTo(caller);
}

static void
connect_to_topics(KafkaStep *step)
{
	KafkaPositions *stored;
	KafkaPositions *positions;
	KafkaLoss *loss;

	open_topics(step);
	if (!read_rollup(step))
	{
		step->next = NULL;
		return;
	}
	stored = kafka_positions_read(step->rollup_id);
	loss = kafka_loss_of_isolation(step->rollup, step->reader);
	if (loss == NULL)
		loss = kafka_loss_of_positions(step->rollup, step->reader, stored);
	if (loss != NULL)
	{
		handle_loss(step, loss, stored);
		return;
	}
	if (step->rollup->isolation_level == NULL ||
		(step->rollup->cluster_id == NULL && step->reader->cluster_id != NULL))
		kafka_rollup_set_origin(step->rollup, step->reader);
	positions = kafka_positions_copy(stored);
	if (kafka_positions_add_new(positions, step->reader))
	{
		/* A new one may begin with a loss. */
		kafka_positions_write(step->rollup_id, positions, stored);
		reconnect(step);
		return;
	}
	keep_positions(step, positions);
	if (!kafka_rollup_reader_has_news(step->reader, positions))
	{
		clear_failing(step->rollup);
		step->next = NULL;
		return;
	}
	kafka_rollup_reader_start(step->reader, positions);
	step->next = run_batch;
}

/* ----------------------------------------------------------------
 * Batches
 * ----------------------------------------------------------------
 */

static void
read_batch(KafkaStep *step)
{
	if (step->batch == NULL)
	{
		MemoryContext caller = MemoryContextSwitchTo(step->context);

		step->batch = kafka_batch_create(step->rollup->source);
		MemoryContextSwitchTo(caller);
	}
	kafka_batch_reset(step->batch);
	kafka_rollup_reader_read(step->reader, step->batch, step->run->max_rows);
	step->batch->start = 0;
	step->batch->end = step->batch->nentries;
}

/* Too many faults: nothing of the batch is kept, and somebody must look. */
static void
pause_rollup(KafkaStep *step, const KafkaApplyResult *result)
{
	const char *remedy =
		psprintf("When that is mended, SELECT kafka.alter_rollup(%s, enabled "
				 ":= true);",
				 quote_literal_cstr(step->rollup->name));

	kafka_rollup_set_state(step->rollup, "PAUSED",
						   psprintf("%s %s", result->trip_reason, remedy));
	log_event(step->rollup, "pause", 0, 0, result->trip_reason);
	add_stop(step, "was paused, since too many of its messages failed",
			 result->trip_reason, remedy);
	step->next = NULL;
}

static void
log_batch(KafkaStep *step, const KafkaApplyResult *result, int64 dead_letters)
{
	KafkaRollupRun row = {0};

	row.event = "batch";
	row.started_at = GetCurrentTransactionStartTimestamp();
	row.messages = step->batch->nentries;
	row.bytes = step->batch->bytes;
	row.rows_selected = result->rows_selected;
	row.groups = result->groups;
	row.dead_letters = dead_letters;
	row.duplicates = result->duplicates;
	kafka_rollup_log_run(step->rollup, &row);
}

/*
 * Stores the batch and moves the positions.  A batch without a message, whose
 * reading only passed markers and the like, leaves no run row.
 */
static void
store_batch(KafkaStep *step, const KafkaPositions *stored)
{
	KafkaPositions *positions = kafka_positions_copy(stored);
	KafkaApplyResult result = {0};
	int64 dead_letters = 0;

	kafka_rollup_reader_advance(step->reader, positions);
	if (step->batch->nentries > 0)
	{
		PushActiveSnapshot(GetTransactionSnapshot());
		result = kafka_rollup_apply(step->rollup, step->batch, positions);
		if (!result.tripped)
			dead_letters =
				kafka_dead_letters_store(step->rollup, step->batch, &result);
		PopActiveSnapshot();
	}
	if (result.tripped)
	{
		pause_rollup(step, &result);
		return;
	}
	kafka_positions_write(step->rollup_id, positions, stored);
	if (step->batch->nentries > 0)
		log_batch(step, &result, dead_letters);
	clear_failing(step->rollup);
	keep_positions(step, positions);
	if (step->reader->lost)
		reconnect(step);
	else if (step->reader->finished || GetCurrentTimestamp() >= step->deadline)
		step->next = NULL;
}

static void
run_batch(KafkaStep *step)
{
	KafkaPositions *stored;

	read_batch(step);
	step->has_read = true;
	if (!read_rollup(step))
	{
		step->next = NULL;
		return;
	}
	kafka_rollup_check_parts(step->rollup);
	stored = kafka_positions_read(step->rollup_id);
	if (kafka_rollup_reader_is_stale(step->reader, step->rollup) ||
		!kafka_positions_equal(stored, step->positions))
		reconnect(step);
	else if (step->reader->replaced)
		handle_loss(step,
					kafka_loss_of_replaced(step->rollup, step->reader, stored),
					stored);
	else
		store_batch(step, stored);
}

/* ----------------------------------------------------------------
 * Running the steps
 * ----------------------------------------------------------------
 */

/* The next step, with a context and an SPI level of its own. */
static bool
take_step(void *arg)
{
	KafkaStep *step = (KafkaStep *) arg;

	SPI_connect();
	MemoryContextSwitchTo(step->step_context);
	step->next(step);
	SPI_finish();
	return true;
}

/*
 * Tries the next step; NULL when all went well, else the error, which outlives
 * the step, and all is undone.
 */
static ErrorData *
try_step(KafkaStep *step)
{
	MemoryContext caller = MemoryContextSwitchTo(step->context);
	ErrorData *error;

	step->step_context = AllocSetContextCreate(step->context, "Kafka step",
											   ALLOCSET_DEFAULT_SIZES);
	error = kafka_guard_try(take_step, step);
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(step->step_context);
	return error;
}

/*
 * After an error the reader may be in the midst of anything.  Freeing it
 * rather than closing it destroys the client, too.
 */
static void
drop_reader(KafkaStep *step)
{
	if (step->reader)
		MemoryContextDelete(step->reader->context);
	step->reader = NULL;
}

/* Somebody holds the lock: the next run will see what is left. */
static void
give_way(KafkaStep *step)
{
	KafkaRollup *rollup;

	SPI_connect();
	rollup = kafka_rollup_get_by_id(step->rollup_id);
	if (rollup != NULL)
		ereport(
			NOTICE,
			(errmsg("rollup \"%s\" is being run or changed by somebody else",
					rollup->name)));
	SPI_finish();
	step->next = NULL;
}

/* Raises an error again that is not this rollup's alone; tells whose run it was. */
static void
end_run(KafkaStep *step, ErrorData *error)
{
	error->context = psprintf("%s%srun of rollup \"%s\"",
							  error->context ? error->context : "",
							  error->context ? "\n" : "", step->name);
	ReThrowError(error);
}

static void
run_step(KafkaStep *step)
{
	ErrorData *error;

	if (!kafka_rollup_lock(step->rollup_id, false))
	{
		give_way(step);
		SPI_commit();
		return;
	}
	InvalidateCatalogSnapshot();
	error = try_step(step);
	if (error != NULL)
	{
		step->next = NULL;
		drop_reader(step);
		if (ends_run(error))
			end_run(step, error);
		note_failure(step, error);
		add_error(step, error);
	}
	SPI_commit();
}

void
kafka_run_rollup(KafkaRun *run, int32 rollup_id, TimestampTz deadline)
{
	MemoryContext caller = CurrentMemoryContext;
	KafkaStep *step;

	/* What a step leaves behind belongs to the rollup's run. */
	MemoryContext context =
		AllocSetContextCreate(run->context, "Kafka rollup run",
							  ALLOCSET_DEFAULT_SIZES);

	MemoryContextSwitchTo(context);
	step = palloc0(sizeof(KafkaStep));
	step->run = run;
	step->rollup_id = rollup_id;
	step->context = context;
	step->deadline = deadline;
	step->name = psprintf("%d", rollup_id);
	step->rollup_context =
		AllocSetContextCreate(context, "Kafka rollup", ALLOCSET_SMALL_SIZES);
	step->positions_context = AllocSetContextCreate(context, "Kafka positions",
													ALLOCSET_SMALL_SIZES);
	step->next = prepare;
	while (step->next)
	{
		CHECK_FOR_INTERRUPTS();
		run_step(step);
	}
	close_reader(step);
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(context);
}
