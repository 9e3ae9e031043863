/*-------------------------------------------------------------------------
 *
 * key.c
 *		Which messages repeat one that was counted.
 *
 * A message is a repeat when a counted message with the same unique key has a
 * record time at most unique_within away from its own, before or after.  So
 * two counted messages of one key are always further apart than that, and of
 * time cut into slots as wide as unique_within no slot holds two: a message
 * is judged by looking into its own slot and those beside it.  Messages claim
 * their keys in the order of reading, before the query runs.  One for which
 * the query then fails was not counted: it gives its key back, and those that
 * were left out because of it are judged once more, by the same rule.  They
 * are promoted one at a time, since only one of them may count, while what
 * waits behind it waits on; so each is judged again once for each message
 * before it that failed or counted, and never for its kind (see advance).
 *
 * kafka.stored_key has a row for each message counted.  A row may be forgotten
 * once every partition has come past newest, which is where the row's own
 * partition was after its batch, by unique_within: a repeat that
 * could still come would be later in its partition than that.  A partition
 * read to its end holds the others up only until it has been silent for
 * unique_within by the clock.  Keys of dead letters are not forgotten before
 * these are done, nor, since their keys are not known, is anything near a
 * letter that could not be decoded and that runs will try again.
 *
 * IDENTIFICATION
 *		src/rollup/key.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "common/int.h"
#include "rollup/apply.h"
#include "utils/array.h"
#include "utils/hsearch.h"
#include "utils/timestamp.h"

/* Without padding: hashed as bytes. */
typedef struct KeyPlace
{
	pg_uuid_t key;
	int64 slot;
} KeyPlace;

typedef struct CountedKey
{
	KeyPlace place; /* must be first */
	TimestampTz seen_at;
	int owner; /* the entry that has counted it, -1: not one of this batch */
} CountedKey;

struct KafkaKeys
{
	HTAB *counted; /* of CountedKey */
};

/*
 * Repeats of messages of the same batch, in queues by the message they repeat,
 * in the order of reading.
 */
struct KafkaKeyQueues
{
	int *first; /* by entry: its queue, -1 for none */
	int *last;
	int *next;      /* by entry: the one behind it in the queue it is in */
	int *round;     /* by entry: in which it was promoted, 0 for none */
	int this_round; /* 0 before the first */
	int *promoted;  /* entries promoted in this round */
	int npromoted;
	int *groups; /* entries that failed and have a queue */
	int ngroups;
};

/* Forget at least so many old keys a batch, if there are. */
#define MIN_KEYS_FORGOTTEN 10000

/* Keys are kept for ever where times this far back could not be computed. */
#define MAX_WITHIN_YEARS 1000

/* ----------------------------------------------------------------
 * The rule
 * ----------------------------------------------------------------
 */

KafkaKeys *
kafka_keys_create(void)
{
	KafkaKeys *keys = palloc(sizeof(KafkaKeys));
	HASHCTL control = {.keysize = sizeof(KeyPlace),
					   .entrysize = sizeof(CountedKey),
					   .hcxt = CurrentMemoryContext};

	keys->counted = hash_create("Kafka rollup keys", 1024, &control,
								HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	return keys;
}

int64
kafka_keys_get_within_us(const KafkaRollup *rollup)
{
	int64 within_ms = rollup->options.unique_within_ms;

	/* Wider than time is long: everything is in three slots. */
	return Min(within_ms, PG_INT64_MAX / 4000) * 1000;
}

static int64
get_within_us(const KafkaApply *apply)
{
	return kafka_keys_get_within_us(apply->task->rollup);
}

static KeyPlace
make_place(const pg_uuid_t *key, TimestampTz time, int64 within_us)
{
	KeyPlace place = {.key = *key, .slot = time / within_us};

	if (time % within_us < 0)
		place.slot--;
	return place;
}

static void
add_counted(KafkaKeys *keys, const pg_uuid_t *key, TimestampTz seen_at,
			int64 within_us, int owner)
{
	KeyPlace place = make_place(key, seen_at, within_us);
	CountedKey *counted = hash_search(keys->counted, &place, HASH_ENTER, NULL);

	counted->seen_at = seen_at;
	counted->owner = owner;
}

/* The counted message that one with this key and time repeats, or NULL. */
static CountedKey *
find_near(const KafkaKeys *keys, const pg_uuid_t *key, TimestampTz time,
		  int64 within_us)
{
	KeyPlace place = make_place(key, time, within_us);
	int64 middle = place.slot;
	int64 distance;

	for (place.slot = middle - 1; place.slot <= middle + 1; place.slot++)
	{
		CountedKey *counted =
			hash_search(keys->counted, &place, HASH_FIND, NULL);

		if (counted != NULL &&
			!pg_sub_s64_overflow(time, counted->seen_at, &distance) &&
			distance <= within_us && distance >= -within_us)
			return counted;
	}
	return NULL;
}

bool
kafka_keys_has_near(const KafkaKeys *keys, const pg_uuid_t *key,
					TimestampTz time, int64 within_us)
{
	return find_near(keys, key, time, within_us) != NULL;
}

void
kafka_keys_add(KafkaKeys *keys, const pg_uuid_t *key, TimestampTz time,
			   int64 within_us)
{
	add_counted(keys, key, time, within_us, -1);
}

/* The counted message that an entry repeats, NULL for none. */
static CountedKey *
find_counted(const KafkaApply *apply, int index)
{
	const KafkaCheckedRow *row = &apply->rows[index];

	return find_near(apply->keys, &row->key, row->recorded_at,
					 get_within_us(apply));
}

/* An entry that has failed has not counted its key. */
static void
release_key(KafkaApply *apply, int index)
{
	const KafkaCheckedRow *row = &apply->rows[index];
	KeyPlace place =
		make_place(&row->key, row->recorded_at, get_within_us(apply));
	CountedKey *counted =
		hash_search(apply->keys->counted, &place, HASH_FIND, NULL);

	if (counted != NULL && counted->owner == index)
		hash_search(apply->keys->counted, &place, HASH_REMOVE, NULL);
}

/* ----------------------------------------------------------------
 * Queues
 * ----------------------------------------------------------------
 */

static int *
make_indexes(int count, int value)
{
	int *indexes =
		palloc_extended(sizeof(int) * Max(count, 1), MCXT_ALLOC_HUGE);

	for (int i = 0; i < count; i++)
		indexes[i] = value;
	return indexes;
}

static KafkaKeyQueues *
make_queues(int nentries)
{
	KafkaKeyQueues *queues = palloc0(sizeof(KafkaKeyQueues));

	queues->first = make_indexes(nentries, -1);
	queues->last = make_indexes(nentries, -1);
	queues->next = make_indexes(nentries, -1);
	queues->round = make_indexes(nentries, 0);
	queues->promoted = make_indexes(nentries, -1);
	queues->groups = make_indexes(nentries, -1);
	return queues;
}

static void
enqueue(KafkaKeyQueues *queues, int owner, int index)
{
	if (queues->first[owner] < 0)
		queues->first[owner] = index;
	else
		queues->next[queues->last[owner]] = index;
	queues->last[owner] = index;
	queues->next[index] = -1;
}

bool
kafka_keys_claim(KafkaApply *apply, int index)
{
	const KafkaCheckedRow *row = &apply->rows[index];
	CountedKey *counted = find_counted(apply, index);

	if (counted != NULL)
	{
		if (counted->owner >= 0)
			enqueue(apply->queues, counted->owner, index);
		return false;
	}
	add_counted(apply->keys, &row->key, row->recorded_at, get_within_us(apply),
				index);
	return true;
}

/* ----------------------------------------------------------------
 * Promoting
 * ----------------------------------------------------------------
 */

void
kafka_keys_add_promoted(KafkaApply *apply, int index)
{
	KafkaKeyQueues *queues = apply->queues;

	queues->round[index] = queues->this_round;
	queues->promoted[queues->npromoted++] = index;
}

/* Has the entry counted its key, and failed since? */
static void
settle(KafkaApply *apply, int index)
{
	const KafkaBatchEntry *entry = &apply->batch->entries[index];
	KafkaKeyQueues *queues = apply->queues;

	if (!kafka_batch_is_fault(entry) || !apply->rows[index].seen ||
		!apply->rows[index].has_key)
		return;
	release_key(apply, index);
	if (queues->first[index] >= 0)
		queues->groups[queues->ngroups++] = index;
}

/*
 * Promotes the first of a queue that can count.  What is behind it waits until
 * it is known whether it did: were they judged now they would only queue up
 * behind it, all of them for each that fails.  False when nothing is left.
 */
static bool
advance(KafkaApply *apply, int group)
{
	KafkaKeyQueues *queues = apply->queues;
	int index;

	while ((index = queues->first[group]) >= 0)
	{
		const KafkaCheckedRow *row = &apply->rows[index];
		CountedKey *counted = find_counted(apply, index);

		if (counted != NULL && counted->owner >= 0 &&
			queues->round[counted->owner] == queues->this_round)
			return true; /* not known yet whether it counts */
		queues->first[group] = queues->next[index];
		if (counted != NULL)
			continue; /* a repeat for good: that one is in storage */
		add_counted(apply->keys, &row->key, row->recorded_at,
					get_within_us(apply), index);
		kafka_batch_take_back(apply->batch, index);
		kafka_keys_add_promoted(apply, index);
		return true;
	}
	return false;
}

const int *
kafka_keys_promote(KafkaApply *apply)
{
	KafkaKeyQueues *queues = apply->queues;
	int kept = 0;

	if (queues->this_round++ == 0)
	{
		for (int i = 0; apply->keys != NULL && i < apply->batch->nentries; i++)
			settle(apply, i);
	}
	else
	{
		for (int i = 0; apply->keys != NULL && i < queues->npromoted; i++)
			settle(apply, queues->promoted[i]);
	}
	queues->npromoted = 0;
	for (int i = 0; i < queues->ngroups; i++)
	{
		if (advance(apply, queues->groups[i]))
			queues->groups[kept++] = queues->groups[i];
	}
	queues->ngroups = kept;
	return queues->promoted;
}

int
kafka_keys_count_promoted(const KafkaApply *apply)
{
	return apply->queues->npromoted;
}

/* ----------------------------------------------------------------
 * Looking up
 * ----------------------------------------------------------------
 */

/* Columns of what is asked about, or stored. */
typedef struct KeyArrays
{
	Datum *keys;
	Datum *times;
	Datum *others; /* times, too */
	int count;
} KeyArrays;

static void
make_arrays(KeyArrays *arrays, int capacity)
{
	Size size = sizeof(Datum) * Max(capacity, 1);

	arrays->keys = palloc_extended(size, MCXT_ALLOC_HUGE);
	arrays->times = palloc_extended(size, MCXT_ALLOC_HUGE);
	arrays->others = palloc_extended(size, MCXT_ALLOC_HUGE);
	arrays->count = 0;
}

static void
append_key(KeyArrays *arrays, const pg_uuid_t *key, TimestampTz time,
		   TimestampTz other)
{
	arrays->keys[arrays->count] = UUIDPGetDatum(key);
	arrays->times[arrays->count] = TimestampTzGetDatum(time);
	arrays->others[arrays->count++] = TimestampTzGetDatum(other);
}

static Datum
make_times(Datum *times, int count)
{
	return PointerGetDatum(construct_array(times, count, TIMESTAMPTZOID,
										   sizeof(TimestampTz),
										   FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
}

/* Values of $1 to $4: the rollup, keys, times and others. */
static void
fill_values(const KafkaApply *apply, const KeyArrays *arrays, Datum *values)
{
	values[0] = Int32GetDatum(apply->task->rollup->rollup_id);
	values[1] =
		PointerGetDatum(construct_array(arrays->keys, arrays->count, UUIDOID,
										UUID_LEN, false, TYPALIGN_CHAR));
	values[2] = make_times(arrays->times, arrays->count);
	values[3] = make_times(arrays->others, arrays->count);
}

static const Oid array_types[] = {INT4OID, UUIDARRAYOID, TIMESTAMPTZARRAYOID,
								  TIMESTAMPTZARRAYOID};

/*
 * Reads what was counted of these keys between times and others.  The order is
 * of use to the planner alone: only the primary key has it.  The plan is kept,
 * and one for a table that is nearly empty would else be any.  No key has more
 * than two rows there, see at the top.
 */
static void
read_counted(KafkaApply *apply, const KeyArrays *arrays)
{
	Datum values[lengthof(array_types)];
	uint64 count;

	fill_values(apply, arrays, values);
	count = kafka_evaluation_execute_by_index(
		"SELECT k.key_hash, k.seen_at "
		"FROM (SELECT u.* FROM ROWS FROM (pg_catalog.unnest($2), "
		"  pg_catalog.unnest($3), pg_catalog.unnest($4)) "
		"  AS u (key_hash, start_at, end_at) ORDER BY u.key_hash) AS wanted "
		"CROSS JOIN LATERAL ("
		"SELECT s.key_hash, s.seen_at FROM kafka.stored_key AS s "
		"WHERE s.rollup_id = $1 AND s.key_hash = wanted.key_hash "
		"AND s.seen_at >= wanted.start_at AND s.seen_at <= wanted.end_at "
		"ORDER BY s.seen_at LIMIT 2) AS k",
		lengthof(array_types), array_types, values, NULL);
	for (uint64 i = 0; i < count; i++)
	{
		HeapTuple tuple = SPI_tuptable->vals[i];
		TupleDesc desc = SPI_tuptable->tupdesc;
		bool isnull;
		Datum key = SPI_getbinval(tuple, desc, 1, &isnull);
		Datum seen_at = SPI_getbinval(tuple, desc, 2, &isnull);

		add_counted(apply->keys, DatumGetUUIDP(key),
					DatumGetTimestampTz(seen_at), get_within_us(apply), -1);
	}
	SPI_freetuptable(SPI_tuptable);
}

void
kafka_keys_find(KafkaApply *apply)
{
	int64 within_us = get_within_us(apply);
	KeyArrays arrays;

	apply->queues = make_queues(apply->batch->nentries);
	if (apply->task->rollup->options.unique_key == NULL)
		return;
	apply->keys = apply->task->known_keys;
	if (apply->keys != NULL)
		return;
	apply->keys = kafka_keys_create();
	make_arrays(&arrays, apply->batch->nentries);
	for (int i = 0; i < apply->batch->nentries; i++)
	{
		const KafkaCheckedRow *row = &apply->rows[i];
		TimestampTz start_at;
		TimestampTz end_at;

		if (!row->seen || !row->has_key)
			continue;
		if (pg_sub_s64_overflow(row->recorded_at, within_us, &start_at))
			start_at = DT_NOBEGIN;
		if (pg_add_s64_overflow(row->recorded_at, within_us, &end_at))
			end_at = DT_NOEND;
		append_key(&arrays, &row->key, start_at, end_at);
	}
	if (arrays.count > 0)
		read_counted(apply, &arrays);
}

/* ----------------------------------------------------------------
 * Forgetting
 * ----------------------------------------------------------------
 */

/*
 * Up to which record time have all partitions been read?  That which is
 * furthest behind decides: what it has still to bring may be as old.
 */
static bool
find_slowest(const KafkaPositions *positions, int64 within_us,
			 TimestampTz *slowest)
{
	TimestampTz now = GetCurrentTimestamp();

	*slowest = DT_NOEND;
	for (int i = 0; i < positions->count; i++)
	{
		const KafkaPosition *position = &positions->list[i];
		bool is_silent = !position->is_behind &&
						 position->newest_key_read_at != DT_NOBEGIN &&
						 now - position->newest_key_read_at > within_us;

		if (is_silent)
			continue;
		if (position->newest_key == DT_NOBEGIN)
			return false;
		*slowest = Min(*slowest, position->newest_key);
	}
	return *slowest != DT_NOEND;
}

/*
 * Goes by what was known before this batch: keys that it has counted may be
 * those of dead letters that it is going to leave.
 */
static void
forget_keys(KafkaApply *apply)
{
	static const Oid types[] = {INT4OID, TIMESTAMPTZOID, INT8OID, INT8OID};
	Datum values[lengthof(types)];
	int64 within_us = get_within_us(apply);
	TimestampTz slowest;

	if (within_us / USECS_PER_DAY / DAYS_PER_YEAR > MAX_WITHIN_YEARS ||
		!find_slowest(apply->positions, within_us, &slowest))
		return;
	values[0] = Int32GetDatum(apply->task->rollup->rollup_id);
	values[1] = TimestampTzGetDatum(slowest - within_us);
	values[2] = Int64GetDatum(
		Max(MIN_KEYS_FORGOTTEN, 2 * (int64) apply->batch->nentries));
	values[3] = Int64GetDatum(within_us / 1000);
	kafka_evaluation_execute_by_index(
		"DELETE FROM kafka.stored_key WHERE ctid = ANY (ARRAY("
		"SELECT k.ctid FROM kafka.stored_key AS k "
		"WHERE k.rollup_id = $1 AND k.newest < $2 "
		"AND NOT EXISTS (SELECT FROM kafka.stored_dead_letter AS d "
		"  WHERE d.rollup_id = $1 AND d.key_hash = k.key_hash "
		"  AND d.key_hash IS NOT NULL AND d.status <> 'done') "
		"AND k.seen_at < COALESCE((SELECT "
		"  min(CASE WHEN d.timestamp_ms BETWEEN 0 AND 9224318015000000 "
		"      THEN pg_catalog.to_timestamp(d.timestamp_ms / 1000.0) "
		"      ELSE '-infinity' END) - $4 * interval '1 millisecond' "
		"  FROM kafka.stored_dead_letter AS d WHERE d.rollup_id = $1 "
		"  AND d.key_hash IS NULL AND d.retry_at IS NOT NULL), 'infinity') "
		"ORDER BY k.newest LIMIT $3))",
		lengthof(types), types, values, NULL);
}

/* ----------------------------------------------------------------
 * Remembering
 * ----------------------------------------------------------------
 */

/* Where all partitions together are, for letters, which have none. */
static TimestampTz
find_newest_of_all(const KafkaApply *apply)
{
	KafkaPositions *positions =
		kafka_positions_read(apply->task->rollup->rollup_id);
	TimestampTz newest = DT_NOBEGIN;

	for (int i = 0; i < positions->count; i++)
		newest = Max(newest, positions->list[i].newest_key);
	return newest;
}

/* A partition without a message yet has been waited for since now. */
static void
begin_waiting(KafkaPositions *positions, TimestampTz now)
{
	for (int i = 0; i < positions->count; i++)
	{
		if (positions->list[i].newest_key_read_at == DT_NOBEGIN)
			positions->list[i].newest_key_read_at = now;
	}
}

/* Notes up to which record times the partitions have been read now. */
static void
note_newest_keys(KafkaApply *apply)
{
	KafkaBatch *batch = apply->batch;
	TimestampTz now = GetCurrentTimestamp();
	KafkaPosition *position = NULL;

	begin_waiting(apply->positions, now);
	for (int i = 0; i < batch->nentries; i++)
	{
		const KafkaBatchEntry *entry = &batch->entries[i];
		const KafkaCheckedRow *row = &apply->rows[i];

		if (!row->seen || kafka_batch_is_fault(entry))
			continue;
		position = kafka_check_find_position(apply, entry, position);
		if (position == NULL)
			continue;
		position->newest_key =
			Max(position->newest_key, Min(row->recorded_at, now));
		position->newest_key_read_at = now;
	}
}

/*
 * Lists the keys that this batch has counted.  All of a partition have the
 * same newest time, the one that it has after the batch: later than need be,
 * and cheap for the index over it.
 */
static void
list_counted(KafkaApply *apply, KeyArrays *arrays)
{
	KafkaBatch *batch = apply->batch;
	TimestampTz newest = DT_NOBEGIN;
	KafkaPosition *position = NULL;

	if (apply->positions == NULL)
		newest = find_newest_of_all(apply);
	for (int i = 0; i < batch->nentries; i++)
	{
		const KafkaBatchEntry *entry = &batch->entries[i];
		const KafkaCheckedRow *row = &apply->rows[i];

		if (!row->seen || !row->has_key || entry->stage != KAFKA_STAGE_NONE)
			continue;
		position = kafka_check_find_position(apply, entry, position);
		if (position != NULL)
			newest = position->newest_key;
		append_key(arrays, &row->key, row->recorded_at,
				   Max(newest, row->recorded_at));
	}
}

static void
insert_keys(const KafkaApply *apply, const KeyArrays *arrays)
{
	Datum values[lengthof(array_types)];

	fill_values(apply, arrays, values);
	kafka_catalog_execute(
		"INSERT INTO kafka.stored_key (rollup_id, key_hash, seen_at, newest) "
		"SELECT $1, u.key_hash, u.seen_at, u.newest "
		"FROM ROWS FROM (pg_catalog.unnest($2), pg_catalog.unnest($3), "
		"pg_catalog.unnest($4)) AS u (key_hash, seen_at, newest) "
		"ORDER BY u.key_hash",
		lengthof(array_types), array_types, values, NULL);
}

/* What this batch has counted is of an earlier one for the next. */
static void
hand_on_known_keys(KafkaKeys *keys)
{
	HASH_SEQ_STATUS scan;
	CountedKey *counted;

	hash_seq_init(&scan, keys->counted);
	while ((counted = hash_seq_search(&scan)) != NULL)
		counted->owner = -1;
}

void
kafka_keys_remember(KafkaApply *apply)
{
	KeyArrays arrays;

	if (apply->keys == NULL)
		return;
	if (apply->task->known_keys != NULL)
	{
		hand_on_known_keys(apply->keys);
		return;
	}

	/* Dead letters tell nothing of how far the topic has been read. */
	if (apply->positions != NULL)
	{
		forget_keys(apply);
		note_newest_keys(apply);
	}
	make_arrays(&arrays, apply->batch->nentries);
	list_counted(apply, &arrays);
	if (arrays.count > 0)
		insert_keys(apply, &arrays);
}

void
kafka_keys_forget_all(int32 rollup_id)
{
	static const Oid types[] = {INT4OID};
	Datum values[] = {Int32GetDatum(rollup_id)};

	kafka_catalog_execute("DELETE FROM kafka.stored_key WHERE rollup_id = $1",
						  lengthof(types), types, values, NULL);
}
