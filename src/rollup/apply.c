/*-------------------------------------------------------------------------
 *
 * apply.c
 *		Brings a batch of messages into a rollup's storage.
 *
 * Everything happens in one subtransaction.  When it ends well, storage holds
 * the states of all messages that were not put aside; when too many were, or
 * an error is raised that is not the data's, it is rolled back and nothing is
 * left but the marks in the batch.
 *
 * In it, all code of the user's runs as the rollup's owner: the switch is made
 * once, inside, and every attempt at a part of the batch is a subtransaction
 * below, so that an error takes back the attempt and not the switch, and
 * rolling back the whole takes back both.  Constraints and triggers that are
 * deferred are made immediate before the switch: those that the caller's
 * transaction has left waiting run as the caller, and those of the owner's
 * tables do not wait to run as somebody else.
 *
 * Messages of buckets that have been removed (prune.c) must not bring these
 * back.  That there are some shows in the states, before they are merged; only
 * then it is asked which, they are put aside, and the states are computed
 * anew.  They are dead letters, but not bad: nothing is wrong with them, nor
 * with the rollup, and the circuit does not open for them.
 *
 * Aggregating and merging are two statements, since the batch may be seen by
 * the first alone: the states of the batch go into a tuplestore, which the
 * merging statement reads under the name kafka_rollup_new_rows.
 *
 * IDENTIFICATION
 *		src/rollup/apply.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "fdw/guard.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "rollup/apply.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/queryenvironment.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

/* The merging statement. */
typedef struct KafkaUpsert
{
	EphemeralNamedRelationData *relation; /* the rows that it merges */
	SPIPlanPtr plan;
} KafkaUpsert;

/* What an attempt at the states of a part of a batch works on. */
typedef struct StatesAttempt
{
	KafkaApply *apply;
	KafkaBatch *batch;
	KafkaIsolation *isolation;
	Tuplestorestate *store;
	int64 rows_selected;
	int bucket_column; /* of the states; 0 where no bucket was removed */
	bool meets_pruned; /* a row is of one that was */
} StatesAttempt;

/* ----------------------------------------------------------------
 * Texts
 * ----------------------------------------------------------------
 */

char *
kafka_apply_fill_storage(const char *sql, Oid storage)
{
	const char *name = kafka_relation_quote(storage);
	StringInfoData text;

	initStringInfo(&text);
	while (*sql != '\0')
	{
		if (strncmp(sql, "%1$s", 4) == 0)
		{
			appendStringInfoString(&text, name);
			sql += 4;
		}
		else if (sql[0] == '%' && sql[1] == '%')
		{
			appendStringInfoChar(&text, '%');
			sql += 2;
		}
		else
			appendStringInfoChar(&text, *sql++);
	}
	return text.data;
}

/* Appends a number with commas between thousands. */
static void
append_count(StringInfo text, int64 count)
{
	if (count >= 1000)
	{
		append_count(text, count / 1000);
		appendStringInfo(text, ",%03d", (int) (count % 1000));
	}
	else
		appendStringInfo(text, "%d", (int) count);
}

/* Why the circuit tripped, a sentence, in the current context. */
static char *
describe_trip(const KafkaBatch *batch, int nfaults, bool exhausted)
{
	StringInfoData text;

	initStringInfo(&text);
	append_count(&text, nfaults);
	appendStringInfoString(&text, " of ");
	append_count(&text, batch->nentries);
	appendStringInfoString(&text, " messages were bad");
	if (exhausted)
		appendStringInfoString(&text,
							   " when finding out which are took too many "
							   "attempts (fewer with a smaller max_rows)");
	for (int i = 0; i < batch->nentries; i++)
	{
		const KafkaBatchEntry *entry = &batch->entries[i];

		if (!kafka_batch_is_fault(entry) || entry->stage == KAFKA_STAGE_PRUNED)
			continue;
		appendStringInfo(
			&text, "; the first: topic \"%s\", partition %d, offset %lld: %s",
			entry->topic, entry->partition, (long long) entry->offset,
			entry->description != NULL
				? entry->description
				: kafka_dead_letter_stage_name(entry->stage));
		break;
	}
	appendStringInfoChar(&text, '.');
	return text.data;
}

/* ----------------------------------------------------------------
 * States
 * ----------------------------------------------------------------
 */

/*
 * Plans the merging statement.  It is read and run with pg_catalog in front of
 * the rollup's search_path: its operators are.
 */
static void
prepare_upsert(KafkaApply *apply)
{
	KafkaUpsert *upsert = palloc0(sizeof(KafkaUpsert));
	EphemeralNamedRelationData *relation =
		palloc0(sizeof(EphemeralNamedRelationData));
	int level;
	int result;

	relation->md.name = KAFKA_ROLLUP_NEW_ROWS;
	relation->md.tupdesc = kafka_evaluation_descriptor(apply->states);
	relation->md.enrtype = ENR_NAMED_TUPLESTORE;
	relation->md.enrtuples = -1; /* not known */
	result = SPI_register_relation(relation);
	if (result != SPI_OK_REL_REGISTER)
		elog(ERROR, "could not name a tuplestore: %s", /* cannot happen */
			 SPI_result_code_string(result));
	upsert->relation = relation;
	level = kafka_catalog_go_first();
	upsert->plan = SPI_prepare(apply->task->upsert_sql, 0, NULL);
	AtEOXact_GUC(false, level);
	if (upsert->plan == NULL)
		elog(ERROR, "could not prepare a statement: %s", /* cannot happen */
			 SPI_result_code_string(SPI_result));
	apply->upsert = upsert;
}

/* Merges the rows in a tuplestore into storage; returns how many. */
static uint64
run_upsert(KafkaApply *apply, Tuplestorestate *store)
{
	int level = kafka_catalog_go_first();
	uint64 groups;

	apply->upsert->relation->reldata = store;
	SPI_execute_plan(apply->upsert->plan, NULL, NULL, false, 0);
	groups = SPI_processed;
	AtEOXact_GUC(false, level);
	return groups;
}

/* Keeps a row of states; its last column is how many rows it was made of. */
static void
keep_row(TupleTableSlot *slot, void *arg)
{
	StatesAttempt *attempt = (StatesAttempt *) arg;
	bool isnull;
	Datum value =
		slot_getattr(slot, slot->tts_tupleDescriptor->natts, &isnull);

	if (!isnull)
		attempt->rows_selected += DatumGetInt64(value);
	if (attempt->bucket_column > 0)
	{
		value = slot_getattr(slot, attempt->bucket_column, &isnull);
		if (!isnull && DatumGetTimestampTz(value) <
						   attempt->apply->task->rollup->pruned_until)
			attempt->meets_pruned = true;
	}
	tuplestore_puttupleslot(attempt->store, slot);
}

static void
aggregate(StatesAttempt *attempt)
{
	attempt->rows_selected = 0;
	attempt->meets_pruned = false;
	attempt->store = tuplestore_begin_heap(false, false, work_mem);
	kafka_evaluation_run(attempt->apply->states, attempt->batch, keep_row,
						 attempt);
}

/* Aggregates a part of a batch, and merges it into storage. */
static void
apply_part(void *arg)
{
	StatesAttempt *attempt = (StatesAttempt *) arg;
	KafkaApply *apply = attempt->apply;

	aggregate(attempt);
	if (attempt->meets_pruned)
	{
		int count = kafka_prune_put_aside(apply->task->rollup, attempt->batch);

		/* They are not bad. */
		if (attempt->isolation->aside_allowed <= PG_INT32_MAX)
			attempt->isolation->aside_allowed += count;
		tuplestore_end(attempt->store);
		aggregate(attempt);
		if (attempt->meets_pruned)
			/* the same expression over the same rows: this cannot happen */
			elog(ERROR, "a message of a removed bucket was not found");
	}
	apply->result.groups += run_upsert(apply, attempt->store);
	tuplestore_end(attempt->store);
	apply->result.rows_selected += attempt->rows_selected;
}

/* The bucket's column of the states, 0 where no bucket has been removed. */
static int
find_bucket_column(const KafkaApply *apply)
{
	const KafkaRollup *rollup = apply->task->rollup;
	TupleDesc desc;

	if (!apply->task->refuses_pruned || rollup->bucket_column == NULL ||
		rollup->pruned_until == DT_NOBEGIN)
		return 0;
	desc = kafka_evaluation_descriptor(apply->states);
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute column = TupleDescAttr(desc, i);

		if (strcmp(NameStr(column->attname), rollup->bucket_column) == 0 &&
			(column->atttypid == TIMESTAMPOID ||
			 column->atttypid == TIMESTAMPTZOID))
			return i + 1;
	}
	return 0;
}

/* Applies all that is not put aside; false when too much is in the end. */
static bool
apply_states(KafkaApply *apply, KafkaBatch *batch, int64 aside_allowed)
{
	StatesAttempt attempt = {.apply = apply,
							 .batch = batch,
							 .bucket_column = find_bucket_column(apply)};
	KafkaIsolation isolation = {.batch = batch,
								.work = apply_part,
								.arg = &attempt,
								.context = apply->attempt_context,
								.aside_allowed = aside_allowed,
								.passed = apply->passed};

	attempt.isolation = &isolation;
	kafka_isolate_run(&isolation, 0, batch->nentries);
	apply->passed = isolation.passed;
	apply->exhausted |= isolation.exhausted;
	return !isolation.tripped;
}

/* The entries that were put aside and are bad. */
static int
count_bad(const KafkaBatch *batch)
{
	return batch->naside -
		   kafka_apply_count_stage(batch, KAFKA_STAGE_DUPLICATE) -
		   kafka_apply_count_stage(batch, KAFKA_STAGE_PRUNED);
}

/* Applies some entries of the batch again; false when too many are bad. */
static bool
apply_entries(KafkaApply *apply, KafkaBatch *part, const int *indexes,
			  int count, int64 aside_allowed)
{
	bool applied;

	kafka_batch_reset(part);
	for (int i = 0; i < count; i++)
		kafka_batch_add_entry(part, &apply->batch->entries[indexes[i]]);
	applied = apply_states(apply, part, aside_allowed);
	for (int i = 0; i < count; i++)
	{
		const KafkaBatchEntry *entry = &part->entries[i];

		if (entry->stage != KAFKA_STAGE_NONE)
			kafka_batch_put_aside(apply->batch, indexes[i], entry->stage,
								  entry->sqlerrcode, entry->description);
	}
	return applied;
}

/*
 * Messages that were put aside because of others that turned out to be bad
 * take their turn.  What was applied cannot be scanned again, so these form
 * batches of their own: one, unless some of them are bad, too.
 */
static bool
apply_promoted(KafkaApply *apply)
{
	KafkaBatch *batch = apply->batch;
	KafkaBatch *part;
	const int *indexes;
	int64 nfaults;
	int count;
	bool applied = true;

	indexes = kafka_check_promote(apply, &count);
	if (count == 0)
		return true;
	nfaults = count_bad(batch);
	part = kafka_batch_create(batch->relid);
	while (applied && count > 0)
	{
		CHECK_FOR_INTERRUPTS();
		applied = apply_entries(apply, part, indexes, count,
								apply->faults_allowed - nfaults);
		nfaults += count_bad(part);
		indexes = kafka_check_promote(apply, &count);
	}
	kafka_batch_destroy(part);
	return applied;
}

/* ----------------------------------------------------------------
 * The whole
 * ----------------------------------------------------------------
 */

int
kafka_apply_count_stage(const KafkaBatch *batch, KafkaFaultStage stage)
{
	int count = 0;

	for (int i = 0; batch->naside > 0 && i < batch->nentries; i++)
	{
		if (batch->entries[i].stage == stage)
			count++;
	}
	return count;
}

void
kafka_apply_make_constraints_immediate(void)
{
	ConstraintsSetStmt *statement = makeNode(ConstraintsSetStmt);

	statement->deferred = false;
	AfterTriggerSetState(statement);
}

/* Checks and states; false when the circuit tripped. */
static bool
run_phases(KafkaApply *apply)
{
	KafkaBatch *batch = apply->batch;
	int duplicates;

	if (apply->task->checks_sql != NULL && !kafka_check_run(apply))
		return false;
	apply->states =
		kafka_evaluation_prepare(apply->task->states_sql, apply->batch);
	prepare_upsert(apply);
	duplicates = kafka_apply_count_stage(batch, KAFKA_STAGE_DUPLICATE);
	if (!apply_states(apply, batch,
					  apply->faults_allowed > PG_INT32_MAX
						  ? apply->faults_allowed
						  : apply->faults_allowed + duplicates))
		return false;
	return apply_promoted(apply);
}

/* In a subtransaction, which stays if the circuit does not trip. */
static bool
run_as_owner(void *arg)
{
	KafkaApply *apply = (KafkaApply *) arg;
	const KafkaApplyTask *task = apply->task;
	KafkaUserSwitch saved;
	bool applied;

	SPI_connect();
	MemoryContextSwitchTo(apply->context);
	kafka_apply_make_constraints_immediate();
	kafka_catalog_become(&saved, task->userid, &task->rollup->settings);
	applied = run_phases(apply);
	kafka_catalog_restore_user(&saved);
	if (applied)
		kafka_check_remember(apply);
	SPI_finish();
	apply->result.tripped = !applied;
	return applied;
}

/* Hands the newest times back to the caller's positions. */
static void
write_newest(const KafkaPositions *from, KafkaPositions *positions)
{
	for (int i = 0; from != NULL && i < from->count; i++)
	{
		const KafkaPosition *seen = &from->list[i];
		KafkaPosition *position =
			kafka_positions_find(positions, seen->topic, seen->partition);

		position->has_newest = seen->has_newest;
		position->newest = seen->newest;
		position->newest_key = seen->newest_key;
		position->newest_key_read_at = seen->newest_key_read_at;
	}
}

/* More faults than this open the circuit. */
static int64
compute_faults_allowed(const KafkaApplyTask *task, const KafkaBatch *batch)
{
	if (!task->has_circuit || batch->nentries < KAFKA_ERROR_LIMIT_MIN_MESSAGES)
		return PG_INT64_MAX;
	return (int64) (task->rollup->options.error_limit * batch->nentries);
}

KafkaApplyResult
kafka_apply_run(const KafkaApplyTask *task, KafkaBatch *batch,
				KafkaPositions *positions)
{
	MemoryContext context =
		AllocSetContextCreate(CurrentMemoryContext, "Kafka rollup batch",
							  ALLOCSET_DEFAULT_SIZES);
	MemoryContext caller = MemoryContextSwitchTo(context);
	KafkaApply *apply = palloc0(sizeof(KafkaApply));
	KafkaApplyResult result;
	ErrorData *error;

	apply->task = task;
	apply->context = context;
	apply->attempt_context =
		AllocSetContextCreate(context, "Kafka rollup attempt",
							  ALLOCSET_DEFAULT_SIZES);
	apply->batch = batch;
	apply->faults_allowed = compute_faults_allowed(task, batch);
	apply->passed = !task->has_circuit;
	if (positions != NULL)
		apply->positions = kafka_positions_copy(positions);
	error = kafka_guard_try(run_as_owner, apply);
	if (error != NULL)
		ReThrowError(error);

	MemoryContextSwitchTo(caller);
	result = apply->result;
	result.key_hashes = kafka_check_list_key_hashes(apply);
	result.duplicates = kafka_apply_count_stage(batch, KAFKA_STAGE_DUPLICATE);
	result.nfaults = batch->naside - (int) result.duplicates;
	if (result.tripped)
		result.trip_reason =
			describe_trip(batch, count_bad(batch), apply->exhausted);
	else
		write_newest(apply->positions, positions);
	MemoryContextDelete(context);
	return result;
}

KafkaApplyTask
kafka_apply_task_of_rollup(const KafkaRollup *rollup)
{
	KafkaApplyTask task = {.rollup = rollup,
						   .userid = rollup->owner,
						   .has_circuit = true};

	if (!OidIsValid(rollup->storage) || !OidIsValid(rollup->states) ||
		!OidIsValid(rollup->source) ||
		(rollup->has_checks && !OidIsValid(rollup->checks)))
		ereport(
			ERROR,
			(errcode(ERRCODE_UNDEFINED_TABLE),
			 errmsg("a relation of rollup \"%s\" does not exist any more",
					rollup->name),
			 errhint(
				 "Drop the rollup with kafka.drop_rollup, and create it anew.")));
	task.states_sql = kafka_evaluation_of_relation(rollup->states);
	if (rollup->has_checks)
		task.checks_sql = kafka_evaluation_of_relation(rollup->checks);
	task.upsert_sql =
		kafka_apply_fill_storage(rollup->upsert_sql, rollup->storage);
	return task;
}

KafkaApplyResult
kafka_rollup_apply(const KafkaRollup *rollup, KafkaBatch *batch,
				   KafkaPositions *positions)
{
	KafkaApplyTask task = kafka_apply_task_of_rollup(rollup);

	task.refuses_pruned = true;
	if (rollup->has_checks)
		kafka_rollup_expect_scans(rollup, batch);
	return kafka_apply_run(&task, batch, positions);
}
