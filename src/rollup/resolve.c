/*-------------------------------------------------------------------------
 *
 * resolve.c
 *		Where a rollup starts to read: a time, offsets, or what a consumer
 *		group has committed.
 *
 * A time is a place to start from, and no filter: what lies before it in the
 * log is left out, what lies after it is read, however old it is.
 *
 * IDENTIFICATION
 *		src/rollup/resolve.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "core/moment.h"
#include "miscadmin.h"
#include "rollup/run.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

/* A position that was moved by hand has nothing before it to be proved by. */
static void
move(KafkaPosition *position, int64 offset)
{
	position->next_offset = offset;
	position->last_offset = -1;
	position->last_digest = 0;
}

/* ----------------------------------------------------------------
 * By time
 * ----------------------------------------------------------------
 */

/* Nothing at or after the time: the end.  Else the lossless start. */
static int64
find_start(const KafkaReader *source, const char *topic,
		   const KafkaSnapshotPart *part)
{
	for (int i = 0; i < source->nparts; i++)
	{
		if (source->parts[i].partition == part->partition &&
			strcmp(source->parts[i].topic, topic) == 0)
			return source->parts[i].ranges[0].start;
	}
	return Max(part->end, part->start);
}

static void
check_time(TimestampTz time)
{
	if (!TIMESTAMP_NOT_FINITE(time) && time > GetCurrentTimestamp())
		ereport(
			ERROR,
			(errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE),
			 errmsg("time to start from lies in the future: %s",
					timestamptz_to_str(time)),
			 errhint(
				 "Use \"infinity\" to start with what will be written from now on.")));
}

void
kafka_positions_move_to_time(KafkaPositions *positions,
							 KafkaRollupReader *reader, TimestampTz time)
{
	KafkaReader *source = reader->reader;
	KafkaBounds *bounds = palloc(sizeof(KafkaBounds));
	MemoryContext caller;

	check_time(time);
	kafka_bounds_nothing(bounds);
	kafka_bounds_add_range(bounds, KAFKA_DIMENSION_TIME,
						   kafka_moment_range(KAFKA_OP_GE, time));
	kafka_reader_stop(source);
	caller = MemoryContextSwitchTo(source->scan_context);
	kafka_window_resolve(source, bounds);
	MemoryContextSwitchTo(caller);
	if (source->stop_reason == KAFKA_STOP_INDEX_NOT_TRUSTED)
		ereport(
			ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg(
				 "cannot look up a time in a topic whose time index is not trusted"),
			 errhint(
				 "Start from offsets, or set the foreign table's option \"trust_time_index\".")));
	for (int i = 0; i < positions->count; i++)
	{
		KafkaPosition *position = &positions->list[i];
		const KafkaSnapshotPart *part;

		part = kafka_rollup_reader_part(reader, position->topic,
										position->partition);
		if (part != NULL)
			move(position, find_start(source, position->topic, part));
	}
	kafka_reader_stop(source);
	pfree(bounds);
}

/* ----------------------------------------------------------------
 * By offsets
 * ----------------------------------------------------------------
 */

static void
check_offset(const KafkaPosition *position, const KafkaSnapshotPart *part,
			 int64 offset)
{
	if (offset > part->end)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("offset %lld is beyond the end of topic \"%s\" "
							   "partition %d",
							   (long long) offset, position->topic,
							   position->partition),
						errdetail("The partition ends at offset %lld.",
								  (long long) part->end)));
	if (offset < part->start)
		ereport(
			ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("offset %lld of topic \"%s\" partition %d is no longer "
					"available",
					(long long) offset, position->topic, position->partition),
			 errdetail("The earliest offset kept by the broker is %lld.",
					   (long long) part->start),
			 errhint(
				 "Use \"earliest\" to start from what is there in any case.")));
}

static void
raise_bad_offset(const char *topic, int32 partition)
{
	ereport(
		ERROR,
		(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
		 errmsg("invalid offset for topic \"%s\" partition %d", topic,
				partition),
		 errdetail(
			 "An offset is a whole number from 0 on, \"earliest\" or \"latest\".")));
}

/* A JSON number as a whole number that is not negative; -1 for others. */
static int64
get_whole_number(const JsonbValue *value)
{
	char *text = DatumGetCString(
		DirectFunctionCall1(numeric_out, NumericGetDatum(value->val.numeric)));
	char *end;
	int64 number;

	errno = 0;
	number = strtoll(text, &end, 10);
	return errno != 0 || end == text || *end != '\0' || number < 0 ? -1
																   : number;
}

static bool
is_text(const JsonbValue *value, const char *text)
{
	return value->type == jbvString &&
		   (size_t) value->val.string.len == strlen(text) &&
		   memcmp(value->val.string.val, text, strlen(text)) == 0;
}

static int64
read_offset(const KafkaPosition *position, const KafkaSnapshotPart *part,
			const JsonbValue *value)
{
	int64 offset;

	if (is_text(value, "earliest"))
		return part->start;
	if (is_text(value, "latest"))
		return Max(part->end, part->start);
	offset = value->type == jbvNumeric ? get_whole_number(value) : -1;
	if (offset < 0)
		raise_bad_offset(position->topic, position->partition);
	check_offset(position, part, offset);
	return offset;
}

/* A key of the object, as a partition. */
static int32
read_partition(const char *key)
{
	char *end;
	long partition;

	errno = 0;
	partition = strtol(key, &end, 10);
	if (errno != 0 || end == key || *end != '\0' || partition < 0 ||
		partition > PG_INT32_MAX)
		ereport(
			ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("invalid partition in offsets: \"%s\"", key),
			 errhint(
				 "Offsets are given as {\"0\": 100}, or as {\"topic\": {\"0\": 100}} for a table with several topics.")));
	return (int32) partition;
}

static void
raise_no_partition(const char *topic, int32 partition)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("the foreign table shows no partition %d of topic \"%s\"",
					partition, topic)));
}

static void
move_to_offset(KafkaPositions *positions, const KafkaRollupReader *reader,
			   const char *topic, const char *key, const JsonbValue *value)
{
	int32 partition = read_partition(key);
	const KafkaSnapshotPart *part =
		kafka_rollup_reader_part(reader, topic, partition);
	KafkaPosition *position =
		kafka_positions_find(positions, topic, partition);

	if (part == NULL || position == NULL)
		raise_no_partition(topic, partition);
	move(position, read_offset(position, part, value));
}

static char *
key_text(const JsonbValue *key)
{
	return pnstrdup(key->val.string.val, key->val.string.len);
}

static void
move_topic(KafkaPositions *positions, const KafkaRollupReader *reader,
		   const char *topic, JsonbContainer *container)
{
	JsonbIterator *iterator = JsonbIteratorInit(container);
	JsonbValue key;
	JsonbValue value;
	JsonbIteratorToken token;
	bool found = false;

	for (int t = 0; t < reader->reader->ntopics; t++)
		found |= strcmp(reader->reader->topics[t]->name, topic) == 0;
	if (!found)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the foreign table shows no topic \"%s\"", topic)));
	while ((token = JsonbIteratorNext(&iterator, &key, true)) != WJB_DONE)
	{
		if (token != WJB_KEY)
			continue;
		(void) JsonbIteratorNext(&iterator, &value, true);
		move_to_offset(positions, reader, topic, key_text(&key), &value);
	}
}

/* The topic of a partition that is given without one. */
static const char *
only_topic(const KafkaRollupReader *reader, const char *key)
{
	if (reader->reader->ntopics != 1)
		ereport(
			ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("offsets do not say of which topic partition \"%s\" is",
					key),
			 errhint(
				 "The foreign table shows several topics: give offsets as {\"topic\": {\"0\": 100}}.")));
	return reader->reader->topics[0]->name;
}

void
kafka_positions_move_to_offsets(KafkaPositions *positions,
								KafkaRollupReader *reader,
								const Jsonb *offsets)
{
	JsonbContainer *root = &unconstify(Jsonb *, offsets)->root;
	JsonbIterator *iterator;
	JsonbValue key;
	JsonbValue value;
	JsonbIteratorToken token;

	if (!JsonContainerIsObject(root))
		ereport(
			ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("offsets must be a JSON object"),
			 errhint(
				 "Offsets are given as {\"0\": 100}, or as {\"topic\": {\"0\": 100}} for a table with several topics.")));
	iterator = JsonbIteratorInit(root);
	(void) JsonbIteratorNext(&iterator, &key, true);
	while ((token = JsonbIteratorNext(&iterator, &key, true)) == WJB_KEY)
	{
		char *name = key_text(&key);

		(void) JsonbIteratorNext(&iterator, &value, true);
		if (value.type == jbvBinary &&
			JsonContainerIsObject(value.val.binary.data))
			move_topic(positions, reader, name, value.val.binary.data);
		else
			move_to_offset(positions, reader, only_topic(reader, name), name,
						   &value);
	}
}

/* ----------------------------------------------------------------
 * By a consumer group
 * ----------------------------------------------------------------
 */

/* Is the partition one that the table leaves out? */
static bool
is_left_out(const KafkaReader *source, const KafkaGroupOffset *offset)
{
	for (int t = 0; t < source->ntopics; t++)
	{
		if (strcmp(source->topics[t]->name, offset->topic) == 0)
			return !kafka_option_has_partition(source->table,
											   offset->partition);
	}
	return true;
}

static void
move_to_group(KafkaPositions *positions, KafkaRollupReader *reader,
			  const char *group)
{
	KafkaGroupOffset *offsets;
	int noffsets;
	bool found = false;

	if (group[0] == '\0')
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("name of a consumer group must not be empty")));
	offsets =
		kafka_client_group_offsets(reader->reader->client, group, &noffsets);
	for (int i = 0; i < noffsets; i++)
	{
		const KafkaGroupOffset *offset = &offsets[i];
		const KafkaSnapshotPart *part;
		KafkaPosition *position;

		if (is_left_out(reader->reader, offset))
			continue;
		part =
			kafka_rollup_reader_part(reader, offset->topic, offset->partition);
		position =
			kafka_positions_find(positions, offset->topic, offset->partition);
		if (part == NULL || position == NULL)
			raise_no_partition(offset->topic, offset->partition);
		check_offset(position, part, offset->committed);
		move(position, offset->committed);
		found = true;
	}
	if (!found)
		ereport(
			ERROR,
			(errcode(ERRCODE_UNDEFINED_OBJECT),
			 errmsg(
				 "consumer group \"%s\" has committed no offsets of the foreign table's topics",
				 group)));
}

KafkaPositions *
kafka_positions_resolve(Oid source, const TimestampTz *start_at,
						const Jsonb *start_offsets, const char *start_group)
{
	KafkaPositions *positions = palloc0(sizeof(KafkaPositions));
	int given =
		(start_at != NULL) + (start_offsets != NULL) + (start_group != NULL);
	KafkaRollupReader *reader;

	if (given > 1)
		ereport(
			ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg(
				 "only one of \"start_at\", \"start_offsets\" and \"start_group\" can be given")));
	if (start_at != NULL)
		check_time(*start_at);
	reader = kafka_rollup_reader_open_table(source, GetUserId());
	positions->capacity = 8;
	positions->list = palloc(sizeof(KafkaPosition) * positions->capacity);
	(void) kafka_positions_add_new(positions, reader);
	if (start_at != NULL)
		kafka_positions_move_to_time(positions, reader, *start_at);
	else if (start_offsets != NULL)
		kafka_positions_move_to_offsets(positions, reader, start_offsets);
	else if (start_group != NULL)
		move_to_group(positions, reader, start_group);
	kafka_rollup_reader_close(reader);
	return positions;
}
