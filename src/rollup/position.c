/*-------------------------------------------------------------------------
 *
 * position.c
 *		How far a rollup has read each partition.
 *
 * A position is where reading goes on: all that lies below it has been counted
 * or is known not to exist.  It is not the offset after the last message, since
 * a partition may end in transaction markers and aborted records, and not the
 * partition's end, since what an open transaction wrote is below that.
 *
 * Beside it stands a digest of the last message read.  A topic that is deleted
 * and made anew has offsets like the old one, and once it has grown past the
 * position only that message tells the two apart.
 *
 * IDENTIFICATION
 *		src/rollup/position.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type_d.h"
#include "rollup/run.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

static int
compare_place(const char *topic, int32 partition, const KafkaPosition *other)
{
	int order = strcmp(topic, other->topic);

	if (order != 0)
		return order;
	return (partition > other->partition) - (partition < other->partition);
}

/* The first position that is not before the place. */
static int
lower_bound(const KafkaPositions *positions, const char *topic,
			int32 partition)
{
	int low = 0;
	int high = positions->count;

	while (low < high)
	{
		int middle = low + (high - low) / 2;

		if (compare_place(topic, partition, &positions->list[middle]) > 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

KafkaPosition *
kafka_positions_find(KafkaPositions *positions, const char *topic,
					 int32 partition)
{
	int index = lower_bound(positions, topic, partition);

	if (index < positions->count &&
		compare_place(topic, partition, &positions->list[index]) == 0)
		return &positions->list[index];
	return NULL;
}

KafkaPosition *
kafka_positions_of_message(KafkaPositions *positions,
						   const KafkaMessage *message, KafkaPosition *hint)
{
	KafkaPosition *position =
		kafka_positions_find_near(positions, hint, message->topic,
								  message->partition);

	/* It cannot happen that there is none: reading began at positions. */
	if (position == NULL)
		elog(ERROR, "no position of topic \"%s\" partition %d", message->topic,
			 message->partition);
	return position;
}

static KafkaPositions *
make_positions(int capacity)
{
	KafkaPositions *positions = palloc0(sizeof(KafkaPositions));

	positions->capacity = Max(capacity, 8);
	positions->list = palloc(sizeof(KafkaPosition) * positions->capacity);
	return positions;
}

KafkaPositions *
kafka_positions_create(void)
{
	return make_positions(0);
}

/* The new position has read nothing yet; there must be none of that place. */
KafkaPosition *
kafka_positions_add(KafkaPositions *positions, const char *topic,
					int32 partition, int64 next_offset)
{
	int index = lower_bound(positions, topic, partition);
	KafkaPosition *position;

	if (positions->count == positions->capacity)
	{
		positions->capacity *= 2;
		positions->list = repalloc(positions->list, sizeof(KafkaPosition) *
														positions->capacity);
	}
	position = &positions->list[index];
	memmove(position + 1, position,
			sizeof(KafkaPosition) * (positions->count - index));
	positions->count++;

	memset(position, 0, sizeof(KafkaPosition));
	position->topic = pstrdup(topic);
	position->partition = partition;
	position->next_offset = next_offset;
	position->last_offset = -1;
	position->end_offset = -1;
	position->start_offset = -1;
	position->newest_key = DT_NOBEGIN;
	position->newest_key_read_at = DT_NOBEGIN;
	return position;
}

/* A copy in the current context. */
KafkaPositions *
kafka_positions_copy(const KafkaPositions *positions)
{
	KafkaPositions *copy = make_positions(positions->count);

	copy->count = positions->count;
	for (int i = 0; i < positions->count; i++)
	{
		copy->list[i] = positions->list[i];
		copy->list[i].topic = pstrdup(positions->list[i].topic);
	}
	return copy;
}

bool
kafka_positions_equal(const KafkaPositions *a, const KafkaPositions *b)
{
	if (a->count != b->count)
		return false;
	for (int i = 0; i < a->count; i++)
	{
		const KafkaPosition *x = &a->list[i];
		const KafkaPosition *y = &b->list[i];

		if (compare_place(x->topic, x->partition, y) != 0 ||
			x->next_offset != y->next_offset ||
			x->last_offset != y->last_offset)
			return false;
	}
	return true;
}

/* Could both have read the same messages, as far as they say? */
static bool
has_same_last(const KafkaPosition *a, const KafkaPosition *b)
{
	return a->last_offset < 0 || b->last_offset < 0 ||
		   (a->last_offset == b->last_offset &&
			a->last_digest == b->last_digest);
}

bool
kafka_positions_merge(KafkaPositions *positions, const KafkaPositions *others)
{
	if (positions->count != others->count)
		return false;
	for (int i = 0; i < positions->count; i++)
	{
		const KafkaPosition *x = &positions->list[i];
		const KafkaPosition *y = &others->list[i];

		if (compare_place(x->topic, x->partition, y) != 0 ||
			x->next_offset != y->next_offset || !has_same_last(x, y))
			return false;
	}
	for (int i = 0; i < positions->count; i++)
	{
		KafkaPosition *position = &positions->list[i];

		if (position->last_offset >= 0)
			continue;
		position->last_offset = others->list[i].last_offset;
		position->last_digest = others->list[i].last_digest;
	}
	return true;
}

/*
 * A partition that its topic got since starts at 0 rather than at its log
 * start: all that it ever held is the rollup's to count, so what retention has
 * removed of it already is a loss.  Of a topic that is new to the rollup, and
 * where the table shows only some partitions, that cannot be said.
 */
bool
kafka_positions_add_new(KafkaPositions *positions,
						const KafkaRollupReader *reader)
{
	const KafkaReader *source = reader->reader;
	bool added = false;

	for (int t = 0; t < source->ntopics; t++)
	{
		const KafkaSnapshotTopic *topic = source->topics[t];
		int at = lower_bound(positions, topic->name, -1);
		bool known = at < positions->count &&
					 strcmp(positions->list[at].topic, topic->name) == 0;
		bool from_zero = known && source->table->npartitions == 0;

		for (int i = 0; i < topic->nparts; i++)
		{
			const KafkaSnapshotPart *part = &topic->parts[i];

			if (!kafka_option_has_partition(source->table, part->partition) ||
				kafka_positions_find(positions, topic->name, part->partition))
				continue;
			kafka_positions_add(positions, topic->name, part->partition,
								from_zero ? 0 : part->start)
				->end_offset = part->end;
			added = true;
		}
	}
	return added;
}

/* ----------------------------------------------------------------
 * The digest
 * ----------------------------------------------------------------
 */

/*
 * FNV-1a, of 64 bits.  PostgreSQL's own hash functions differ between machines
 * of different byte order, and a digest outlives its server in a dump.
 */
#define DIGEST_BASIS UINT64CONST(0xcbf29ce484222325)
#define DIGEST_PRIME UINT64CONST(0x100000001b3)

static uint64
digest_bytes(uint64 digest, const char *bytes, size_t length)
{
	for (size_t i = 0; i < length; i++)
		digest = (digest ^ (unsigned char) bytes[i]) * DIGEST_PRIME;
	return digest;
}

static uint64
digest_number(uint64 digest, uint64 number)
{
	for (int i = 0; i < 8; i++)
	{
		digest = (digest ^ (number & 0xff)) * DIGEST_PRIME;
		number >>= 8;
	}
	return digest;
}

/* With its length, so that no key is taken for a part of the value. */
static uint64
digest_field(uint64 digest, const char *bytes, size_t length)
{
	if (bytes == NULL)
		return digest_number(digest, PG_UINT64_MAX);
	return digest_bytes(digest_number(digest, length), bytes, length);
}

int64
kafka_position_digest(const KafkaMessage *message)
{
	bool log_append_time;
	int64 time_ms = kafka_message_timestamp(message, &log_append_time);
	uint64 digest = digest_number(DIGEST_BASIS, (uint64) time_ms);

	digest = digest_field(digest, message->key, message->key_length);
	digest = digest_field(digest, message->payload, message->payload_length);
	return (int64) digest;
}

bool
kafka_position_is_last(const KafkaPosition *position,
					   const KafkaMessage *message)
{
	return message->offset == position->last_offset &&
		   kafka_position_digest(message) == position->last_digest;
}

/* ----------------------------------------------------------------
 * Reading and writing
 * ----------------------------------------------------------------
 */

static int64
get_int64(HeapTuple tuple, TupleDesc desc, int column, int64 if_null)
{
	bool isnull;
	Datum value = SPI_getbinval(tuple, desc, column, &isnull);

	return isnull ? if_null : DatumGetInt64(value);
}

static TimestampTz
get_time(HeapTuple tuple, TupleDesc desc, int column)
{
	bool isnull;
	Datum value = SPI_getbinval(tuple, desc, column, &isnull);

	return isnull ? DT_NOBEGIN : DatumGetTimestampTz(value);
}

static void
read_row(KafkaPositions *positions, HeapTuple tuple, TupleDesc desc)
{
	bool isnull;
	char *topic = SPI_getvalue(tuple, desc, 1);
	int32 partition = DatumGetInt32(SPI_getbinval(tuple, desc, 2, &isnull));
	KafkaPosition *position =
		kafka_positions_add(positions, topic, partition,
							get_int64(tuple, desc, 3, 0));
	Datum newest;

	position->newest_key = get_time(tuple, desc, 8);
	position->newest_key_read_at = get_time(tuple, desc, 9);
	position->last_offset = get_int64(tuple, desc, 4, -1);
	position->last_digest = get_int64(tuple, desc, 5, 0);
	newest = SPI_getbinval(tuple, desc, 6, &isnull);
	position->has_newest = !isnull;
	position->newest = isnull ? 0 : DatumGetTimestampTz(newest);
	position->lost_messages = get_int64(tuple, desc, 7, 0);
	position->last_time = get_time(tuple, desc, 10);
	position->has_last_time = !TIMESTAMP_NOT_FINITE(position->last_time);
	position->end_offset = get_int64(tuple, desc, 11, -1);
	position->start_offset = get_int64(tuple, desc, 12, -1);
	pfree(topic);
}

KafkaPositions *
kafka_positions_read(int32 rollup_id)
{
	Oid types[1] = {INT4OID};
	Datum values[1] = {Int32GetDatum(rollup_id)};
	uint64 count;
	KafkaPositions *positions;

	count = kafka_catalog_execute(
		"SELECT topic, kafka_partition, next_offset, last_offset, "
		"last_digest, newest, lost_messages, newest_key, newest_key_read_at, "
		"last_time, end_offset, start_offset FROM kafka.stored_position "
		"WHERE rollup_id = $1 ORDER BY topic COLLATE \"C\", kafka_partition",
		1, types, values, NULL);
	positions = make_positions((int) count);
	for (uint64 i = 0; i < count; i++)
		read_row(positions, SPI_tuptable->vals[i], SPI_tuptable->tupdesc);
	SPI_freetuptable(SPI_tuptable);
	return positions;
}

/* The columns of stored_position after rollup_id, as arrays. */
enum
{
	COLUMN_TOPIC,
	COLUMN_PARTITION,
	COLUMN_NEXT_OFFSET,
	COLUMN_LAST_OFFSET,
	COLUMN_LAST_DIGEST,
	COLUMN_NEWEST,
	COLUMN_LOST_MESSAGES,
	COLUMN_NEWEST_KEY,
	COLUMN_NEWEST_KEY_READ_AT,
	COLUMN_LAST_TIME,
	COLUMN_END_OFFSET,
	COLUMN_COUNT
};

typedef struct PositionArrays
{
	ArrayBuildState *columns[COLUMN_COUNT];
	int count;
} PositionArrays;

static const Oid element_types[COLUMN_COUNT] = {TEXTOID,        INT4OID,
												INT8OID,        INT8OID,
												INT8OID,        TIMESTAMPTZOID,
												INT8OID,        TIMESTAMPTZOID,
												TIMESTAMPTZOID, TIMESTAMPTZOID,
												INT8OID};

static const Oid array_types[COLUMN_COUNT] =
	{TEXTARRAYOID,        INT4ARRAYOID,        INT8ARRAYOID,
	 INT8ARRAYOID,        INT8ARRAYOID,        TIMESTAMPTZARRAYOID,
	 INT8ARRAYOID,        TIMESTAMPTZARRAYOID, TIMESTAMPTZARRAYOID,
	 TIMESTAMPTZARRAYOID, INT8ARRAYOID};

static void
append_position(PositionArrays *arrays, const KafkaPosition *position)
{
	Datum values[COLUMN_COUNT];
	bool nulls[COLUMN_COUNT] = {false};

	values[COLUMN_TOPIC] = CStringGetTextDatum(position->topic);
	values[COLUMN_PARTITION] = Int32GetDatum(position->partition);
	values[COLUMN_NEXT_OFFSET] = Int64GetDatum(position->next_offset);
	values[COLUMN_LAST_OFFSET] = Int64GetDatum(position->last_offset);
	values[COLUMN_LAST_DIGEST] = Int64GetDatum(position->last_digest);
	values[COLUMN_NEWEST] = TimestampTzGetDatum(position->newest);
	values[COLUMN_LOST_MESSAGES] = Int64GetDatum(position->lost_messages);
	values[COLUMN_NEWEST_KEY] = TimestampTzGetDatum(position->newest_key);
	values[COLUMN_NEWEST_KEY_READ_AT] =
		TimestampTzGetDatum(position->newest_key_read_at);
	values[COLUMN_LAST_TIME] = TimestampTzGetDatum(position->last_time);
	values[COLUMN_END_OFFSET] = Int64GetDatum(position->end_offset);
	nulls[COLUMN_LAST_TIME] = !position->has_last_time;
	nulls[COLUMN_END_OFFSET] = position->end_offset < 0;
	nulls[COLUMN_LAST_OFFSET] = position->last_offset < 0;
	nulls[COLUMN_LAST_DIGEST] = position->last_offset < 0;
	nulls[COLUMN_NEWEST] = !position->has_newest;
	nulls[COLUMN_NEWEST_KEY] = TIMESTAMP_NOT_FINITE(position->newest_key);
	nulls[COLUMN_NEWEST_KEY_READ_AT] =
		TIMESTAMP_NOT_FINITE(position->newest_key_read_at);
	for (int c = 0; c < COLUMN_COUNT; c++)
		arrays->columns[c] =
			accumArrayResult(arrays->columns[c], values[c], nulls[c],
							 element_types[c], CurrentMemoryContext);
	arrays->count++;
}

static void
execute_for_arrays(const char *sql, int32 rollup_id, int ncolumns,
				   const PositionArrays *arrays)
{
	Oid types[COLUMN_COUNT + 1];
	Datum values[COLUMN_COUNT + 1];

	types[0] = INT4OID;
	values[0] = Int32GetDatum(rollup_id);
	for (int c = 0; c < ncolumns; c++)
	{
		types[c + 1] = array_types[c];
		values[c + 1] =
			makeArrayResult(arrays->columns[c], CurrentMemoryContext);
	}
	(void) kafka_catalog_execute(sql, ncolumns + 1, types, values, NULL);
}

static bool
is_same_row(const KafkaPosition *a, const KafkaPosition *b)
{
	return a->next_offset == b->next_offset &&
		   a->last_offset == b->last_offset &&
		   a->last_digest == b->last_digest &&
		   a->has_newest == b->has_newest &&
		   (!a->has_newest || a->newest == b->newest) &&
		   a->has_last_time == b->has_last_time &&
		   (!a->has_last_time || a->last_time == b->last_time) &&
		   a->newest_key == b->newest_key &&
		   a->newest_key_read_at == b->newest_key_read_at &&
		   a->lost_messages == b->lost_messages &&
		   a->end_offset == b->end_offset;
}

void
kafka_positions_write(int32 rollup_id, const KafkaPositions *positions,
					  const KafkaPositions *before)
{
	KafkaPositions none = {0};
	KafkaPositions old = before ? *before : none;
	KafkaPositions new = *positions;
	PositionArrays changed = {{0}};
	PositionArrays gone = {{0}};
	bool moved_back = false;

	for (int i = 0; i < new.count; i++)
	{
		KafkaPosition *position = &new.list[i];
		KafkaPosition *stored =
			kafka_positions_find(&old, position->topic, position->partition);

		if (stored == NULL || !is_same_row(position, stored))
			append_position(&changed, position);
		if (stored == NULL || position->next_offset < stored->next_offset)
			moved_back = true;
	}
	for (int i = 0; i < old.count; i++)
	{
		if (kafka_positions_find(&new, old.list[i].topic,
								 old.list[i].partition) == NULL)
			append_position(&gone, &old.list[i]);
	}
	if (moved_back)
		kafka_watch_forget(rollup_id);
	if (gone.count > 0)
		execute_for_arrays(
			"DELETE FROM kafka.stored_position AS p "
			"USING unnest($2, $3) AS g (topic, kafka_partition) "
			"WHERE p.rollup_id = $1 AND p.topic = g.topic "
			"AND p.kafka_partition = g.kafka_partition",
			rollup_id, COLUMN_PARTITION + 1, &gone);
	if (changed.count > 0)
		execute_for_arrays(
			"INSERT INTO kafka.stored_position AS p (rollup_id, topic, "
			"kafka_partition, next_offset, last_offset, last_digest, newest, "
			"lost_messages, newest_key, newest_key_read_at, last_time, "
			"end_offset, start_offset) SELECT $1, c.*, c.next_offset "
			"FROM unnest($2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) "
			"AS c (topic, kafka_partition, next_offset) "
			"ON CONFLICT (rollup_id, topic, kafka_partition) DO UPDATE SET "
			"next_offset = excluded.next_offset, "
			"last_offset = excluded.last_offset, "
			"last_digest = excluded.last_digest, newest = excluded.newest, "
			"lost_messages = excluded.lost_messages, "
			"newest_key = excluded.newest_key, "
			"newest_key_read_at = excluded.newest_key_read_at, "
			"last_time = excluded.last_time, "
			"end_offset = excluded.end_offset, "
			"start_offset = CASE WHEN p.start_offset > excluded.next_offset "
			"THEN excluded.next_offset ELSE p.start_offset END",
			rollup_id, COLUMN_COUNT, &changed);
}
