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
 * remembered) nor makes others late.  Nor does a time in the future make
 * everything that follows late: the newest time is never past now.
 *
 * Unique keys are hashes, kept with the record's timestamp.  A repeat counts
 * again when it is further from the one counted than unique_within.  Hashes
 * are forgotten when all partitions are past them by that much, the slowest
 * deciding: see find_slowest.
 *
 * IDENTIFICATION
 *		src/rollup/check.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "core/moment.h"
#include "miscadmin.h"
#include "rollup/apply.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
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

/* What the view says of an entry. */
typedef struct KafkaCheckedRow
{
	bool seen; /* the view has a row for it; else the rest is not valid */
	bool passes;
	bool has_time;
	bool has_key;
	TimestampTz time;
	TimestampTz recorded_at; /* by which keys are remembered */
	pg_uuid_t key;
} KafkaCheckedRow;

typedef struct KafkaKeyEntry
{
	pg_uuid_t key; /* must be first */
	TimestampTz seen_at;
	int owner; /* the entry that has counted it, -1: not one of this batch */
} KafkaKeyEntry;

struct KafkaKeys
{
	HTAB *table; /* of KafkaKeyEntry */
};

/* Forget at least so many old keys a batch, if there are. */
#define MIN_KEYS_FORGOTTEN 10000

/* Longer limits than this are none; adding them to a time could overflow. */
#define MAX_LIMIT_YEARS 100000

/* ----------------------------------------------------------------
 * Keys
 * ----------------------------------------------------------------
 */

KafkaKeys *
kafka_keys_create(void)
{
	KafkaKeys *keys = palloc(sizeof(KafkaKeys));
	HASHCTL control = {.keysize = sizeof(pg_uuid_t),
					   .entrysize = sizeof(KafkaKeyEntry),
					   .hcxt = CurrentMemoryContext};

	keys->table = hash_create("Kafka rollup keys", 1024, &control,
							  HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	return keys;
}

/* All keys of the batch as an array; NULL when there are none. */
static ArrayType *
list_keys(KafkaApply *apply)
{
	int nentries = apply->batch->nentries;
	Datum *values = NULL;
	int count = 0;

	for (int i = 0; i < nentries; i++)
	{
		KafkaCheckedRow *row = &apply->rows[i];

		if (!row->seen || !row->has_key)
			continue;
		if (values == NULL)
			values =
				palloc_extended(sizeof(Datum) * nentries, MCXT_ALLOC_HUGE);
		values[count++] = UUIDPGetDatum(&row->key);
	}
	if (count == 0)
		return NULL;
	return construct_array(values, count, UUIDOID, UUID_LEN, false,
						   TYPALIGN_CHAR);
}

/* Looks up which of the batch's keys were counted in earlier ones. */
static void
find_counted_keys(KafkaApply *apply)
{
	static const Oid types[] = {INT4OID, UUIDARRAYOID};
	ArrayType *keys = list_keys(apply);
	Datum values[2];
	uint64 count;

	if (keys == NULL)
		return;
	apply->keys = apply->task->known_keys;
	if (apply->keys != NULL)
		return;
	apply->keys = kafka_keys_create();
	values[0] = Int32GetDatum(apply->task->rollup->rollup_id);
	values[1] = PointerGetDatum(keys);

	/*
	 * The order is of use to the planner alone: only the primary key has it,
	 * and the keys wanted come first.  The plan is kept, and one for a table
	 * that is nearly empty would else be any.
	 */
	count = kafka_evaluation_execute_by_index(
		"SELECT k.key_hash, k.seen_at "
		"FROM pg_catalog.unnest($2) AS wanted CROSS JOIN LATERAL ("
		"SELECT s.* FROM kafka.stored_key AS s "
		"WHERE s.rollup_id = $1 "
		"AND s.key_hash >= wanted AND s.key_hash <= wanted "
		"ORDER BY s.key_hash LIMIT 1) AS k",
		lengthof(types), types, values, NULL);
	for (uint64 i = 0; i < count; i++)
	{
		HeapTuple tuple = SPI_tuptable->vals[i];
		TupleDesc desc = SPI_tuptable->tupdesc;
		bool isnull;
		Datum key = SPI_getbinval(tuple, desc, 1, &isnull);
		KafkaKeyEntry *entry =
			hash_search(apply->keys->table, DatumGetUUIDP(key), HASH_ENTER,
						NULL);

		entry->seen_at =
			DatumGetTimestampTz(SPI_getbinval(tuple, desc, 2, &isnull));
		entry->owner = -1;
	}
	SPI_freetuptable(SPI_tuptable);
}

/* Has this entry's key not been counted?  Then it is now, by this entry. */
static bool
claim_key(KafkaApply *apply, int index)
{
	const KafkaCheckedRow *row = &apply->rows[index];
	int64 within_us = apply->task->rollup->options.unique_within_ms * 1000;
	KafkaKeyEntry *entry;
	bool found;
	int64 distance;

	entry = hash_search(apply->keys->table, &row->key, HASH_ENTER, &found);
	if (found &&
		(pg_sub_s64_overflow(row->recorded_at, entry->seen_at, &distance) ||
		 distance > within_us || distance < -within_us))
		found = false;
	if (found)
		return false;
	entry->seen_at = row->recorded_at;
	entry->owner = index;
	return true;
}

int *
kafka_check_promote(KafkaApply *apply, int *count)
{
	KafkaBatch *batch = apply->batch;
	int *indexes = NULL;

	*count = 0;
	for (int i = 0; apply->keys != NULL && i < batch->nentries; i++)
	{
		KafkaBatchEntry *entry = &batch->entries[i];
		KafkaKeyEntry *key;

		if (entry->stage != KAFKA_STAGE_DUPLICATE)
			continue;
		key = hash_search(apply->keys->table, &apply->rows[i].key, HASH_FIND,
						  NULL);
		if (key->owner < 0 ||
			batch->entries[key->owner].stage == KAFKA_STAGE_NONE)
			continue;
		key->owner = i;
		key->seen_at = apply->rows[i].recorded_at;
		entry->stage = KAFKA_STAGE_NONE;
		batch->naside--;
		if (indexes == NULL)
			indexes = palloc_extended(sizeof(int) * batch->nentries,
									  MCXT_ALLOC_HUGE);
		indexes[(*count)++] = i;
	}
	return indexes;
}

/* ----------------------------------------------------------------
 * Remembering
 * ----------------------------------------------------------------
 */

/*
 * Lists the keys that this batch has counted.  Afterwards the set holds what
 * is known to the next batch.
 */
static int
take_counted_keys(KafkaApply *apply, Datum *hashes, Datum *times)
{
	HASH_SEQ_STATUS scan;
	KafkaKeyEntry *entry;
	int count = 0;

	hash_seq_init(&scan, apply->keys->table);
	while ((entry = hash_seq_search(&scan)) != NULL)
	{
		if (entry->owner < 0)
			continue;
		if (apply->batch->entries[entry->owner].stage != KAFKA_STAGE_NONE)
		{
			hash_search(apply->keys->table, &entry->key, HASH_REMOVE, NULL);
			continue;
		}
		entry->owner = -1;
		hashes[count] = UUIDPGetDatum(&entry->key);
		times[count] = TimestampTzGetDatum(entry->seen_at);
		count++;
	}
	return count;
}

static void
insert_keys(KafkaApply *apply, Datum *hashes, Datum *times, int count)
{
	static const Oid types[] = {INT4OID, UUIDARRAYOID, TIMESTAMPTZARRAYOID};
	Datum values[lengthof(types)];

	values[0] = Int32GetDatum(apply->task->rollup->rollup_id);
	values[1] =
		PointerGetDatum(construct_array(hashes, count, UUIDOID, UUID_LEN,
										false, TYPALIGN_CHAR));
	values[2] = PointerGetDatum(
		construct_array(times, count, TIMESTAMPTZOID, sizeof(TimestampTz),
						FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
	kafka_catalog_execute(
		"INSERT INTO kafka.stored_key AS k (rollup_id, key_hash, seen_at) "
		"SELECT $1, u.key_hash, u.seen_at "
		"FROM ROWS FROM (pg_catalog.unnest($2), pg_catalog.unnest($3)) "
		"AS u (key_hash, seen_at) ORDER BY u.key_hash "
		"ON CONFLICT (rollup_id, key_hash) DO UPDATE SET seen_at = excluded.seen_at",
		lengthof(types), types, values, NULL);
}

/* Notes the record times up to which each partition's keys were counted. */
static void
note_newest_keys(KafkaApply *apply)
{
	KafkaBatch *batch = apply->batch;
	TimestampTz now = GetCurrentTimestamp();
	KafkaPosition *position = NULL;

	for (int i = 0; i < batch->nentries; i++)
	{
		const KafkaBatchEntry *entry = &batch->entries[i];
		const KafkaCheckedRow *row = &apply->rows[i];

		if (entry->stage != KAFKA_STAGE_NONE || !row->seen)
			continue;

		/* Most often it is that of the message before. */
		if (position == NULL || position->partition != entry->partition ||
			strcmp(position->topic, entry->topic) != 0)
			position = kafka_positions_find(apply->positions, entry->topic,
											entry->partition);
		if (position == NULL)
			continue;
		position->newest_key =
			Max(position->newest_key, Min(row->recorded_at, now));
		position->newest_key_read_at = now;
	}
}

/*
 * Before which record time can a repeat of what was counted no longer come?
 * That of the partition that is furthest behind decides: what it has still to
 * bring may be as old.  A partition that has been read to its end does not
 * hold the others up for ever: after unique_within by the clock without a
 * message it counts no more.
 */
static bool
find_slowest(KafkaApply *apply, int64 within_us, TimestampTz *slowest)
{
	TimestampTz now = GetCurrentTimestamp();

	*slowest = DT_NOEND;
	for (int i = 0; i < apply->positions->count; i++)
	{
		const KafkaPosition *position = &apply->positions->list[i];

		if (position->newest_key == DT_NOBEGIN)
		{
			if (position->is_behind)
				return false;
			continue;
		}
		if (!position->is_behind &&
			now - position->newest_key_read_at > within_us)
			continue;
		*slowest = Min(*slowest, position->newest_key);
	}
	return *slowest != DT_NOEND;
}

static void
forget_keys(KafkaApply *apply)
{
	static const Oid types[] = {INT4OID, TIMESTAMPTZOID, INT8OID};
	Datum values[lengthof(types)];
	int64 within_us = apply->task->rollup->options.unique_within_ms * 1000;
	TimestampTz slowest;

	if (!find_slowest(apply, within_us, &slowest) ||
		pg_sub_s64_overflow(slowest, within_us, &slowest) ||
		slowest < MIN_TIMESTAMP)
		return;
	values[0] = Int32GetDatum(apply->task->rollup->rollup_id);
	values[1] = TimestampTzGetDatum(slowest);
	values[2] = Int64GetDatum(
		Max(MIN_KEYS_FORGOTTEN, 2 * (int64) apply->batch->nentries));
	kafka_evaluation_execute_by_index(
		"DELETE FROM kafka.stored_key WHERE ctid = ANY (ARRAY("
		"SELECT ctid FROM kafka.stored_key "
		"WHERE rollup_id = $1 AND seen_at < $2 ORDER BY seen_at LIMIT $3))",
		lengthof(types), types, values, NULL);
}

void
kafka_check_remember(KafkaApply *apply)
{
	Size size = sizeof(Datum) * Max(apply->batch->nentries, 1);
	Datum *hashes;
	Datum *times;
	int count;

	if (apply->keys == NULL)
		return;
	hashes = palloc_extended(size, MCXT_ALLOC_HUGE);
	times = palloc_extended(size, MCXT_ALLOC_HUGE);
	count = take_counted_keys(apply, hashes, times);
	if (apply->task->known_keys != NULL)
		return;
	if (count > 0)
		insert_keys(apply, hashes, times, count);

	/* Dead letters tell nothing of how far the topic has been read. */
	if (apply->positions != NULL)
	{
		note_newest_keys(apply);
		forget_keys(apply);
	}
}

/* ----------------------------------------------------------------
 * Evaluating
 * ----------------------------------------------------------------
 */

/* The record's timestamp, or what stands in for it. */
static TimestampTz
record_time(const KafkaBatchEntry *entry, const KafkaCheckedRow *row)
{
	int64 moment;

	if (entry->timestamp_ms >= 0 &&
		kafka_moment_from_kafka(entry->timestamp_ms, &moment))
		return moment;
	return row->has_time ? row->time : GetCurrentTransactionStartTimestamp();
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
	row->recorded_at = record_time(&batch->entries[batch->current], row);
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

static void
begin_judge(Judge *judge, KafkaApply *apply)
{
	const KafkaRollup *rollup = apply->task->rollup;
	bool ignores = apply->task->ignores_time;

	memset(judge, 0, sizeof(Judge));
	judge->apply = apply;
	judge->now = GetCurrentTimestamp();
	judge->has_late_limit = !ignores && rollup->has_late_limit &&
							is_usable_limit(&rollup->late_limit);
	judge->has_last_time = !ignores && rollup->has_future_limit &&
						   is_usable_limit(&rollup->future_limit);
	if (judge->has_last_time)
		judge->last_time = add_interval(judge->now, &rollup->future_limit);
}

/* The position of an entry's partition; NULL where lateness is not judged. */
static KafkaPosition *
find_position(Judge *judge, const KafkaBatchEntry *entry)
{
	KafkaPositions *positions = judge->apply->positions;
	KafkaPosition *position = judge->position;

	if (positions == NULL)
		return NULL;
	if (position == NULL || position->partition != entry->partition ||
		strcmp(position->topic, entry->topic) != 0)
		judge->position =
			kafka_positions_find(positions, entry->topic, entry->partition);
	return judge->position;
}

static bool
is_late(const Judge *judge, const KafkaPosition *position, TimestampTz time)
{
	const Interval *limit = &judge->apply->task->rollup->late_limit;

	return judge->has_late_limit && position != NULL && position->has_newest &&
		   time < position->newest &&
		   add_interval(time, limit) < position->newest;
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
	KafkaPosition *position =
		find_position(judge, &apply->batch->entries[index]);

	if (!row->passes)
		kafka_batch_put_aside(apply->batch, index, KAFKA_STAGE_EXPECT, 0,
							  "\"expect\" is not true");
	else if (row->has_time && is_late(judge, position, row->time))
		put_late_aside(judge, index, position);
	else if (row->has_time && judge->has_last_time &&
			 row->time > judge->last_time)
		put_future_aside(judge, index);
	else if (row->has_key && !claim_key(apply, index))
		kafka_batch_put_aside(apply->batch, index, KAFKA_STAGE_DUPLICATE, 0,
							  "its unique key was counted before");
	else if (row->has_time && position != NULL)
	{
		TimestampTz time = Min(row->time, judge->now);

		if (!position->has_newest || position->newest < time)
			position->newest = time;
		position->has_newest = true;
	}
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
								.aside_allowed = apply->faults_allowed};

	apply->rows =
		palloc_extended(sizeof(KafkaCheckedRow) * Max(batch->nentries, 1),
						MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	attempt.checks = kafka_evaluation_prepare(apply->task->checks_sql, batch);
	kafka_isolate_run(&isolation, 0, batch->nentries);
	if (isolation.tripped)
		return false;
	find_counted_keys(apply);
	return judge_entries(apply);
}
