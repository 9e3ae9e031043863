/*-------------------------------------------------------------------------
 *
 * dead_letter.c
 *		Keeps the messages that could not be counted, and tries them again.
 *
 * A dead letter holds the message as the topic had it, so that trying it again
 * is the same work on a batch of stored messages.  Which of them counted and
 * what storage got of it commit together, as with messages of the topic.
 *
 * A letter is tried again by itself until it has failed retry_limit times, and
 * by hand as often as one likes.  Those that were late, or came from the
 * future, are tried by hand only, and these limits then do not hold: time does
 * not mend the one, and the other's clock is to be looked at.  A letter whose
 * bucket has been removed since is late, too, whatever it was before, and for
 * good: no retry counts it.
 *
 * IDENTIFICATION
 *		src/rollup/dead_letter.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "compat.h"
#include "funcapi.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "rollup/apply.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

KAFKA_SQL_FUNCTION(kafka_retry_dead_letters);

/* Text of an error that is kept of a message, at most. */
#define MAX_MESSAGE_BYTES 1000

/* A statement stores, or tries again, no more letters and bytes than these. */
#define MAX_CHUNK_LETTERS 1000
#define MAX_CHUNK_BYTES (16 * 1024 * 1024)

/* A retry that must not take long begins with one; each chunk may be larger. */
#define CHUNK_FACTOR 4

/* The parameters of the statement that stores letters. */
enum
{
	STORE_ROLLUP_ID,
	STORE_RETRY_LIMIT,
	STORE_RETRY_DELAY_MS,
	STORE_TOPIC,
	STORE_PARTITION,
	STORE_OFFSET,
	STORE_TIMESTAMP_MS,
	STORE_LOG_APPEND_TIME,
	STORE_KEY,
	STORE_VALUE,
	STORE_HEADERS,
	STORE_STAGE,
	STORE_SQLSTATE,
	STORE_MESSAGE,
	STORE_KEY_HASH,
	STORE_COUNT
};

/* Columns of arrays, filled letter by letter, for parameters of statements. */
typedef struct ArrayColumn
{
	ArrayBuildState *build;
	Oid type;
} ArrayColumn;

const char *
kafka_dead_letter_stage_name(KafkaFaultStage stage)
{
	switch (stage)
	{
		case KAFKA_STAGE_DECODE:
			return "decode";
		case KAFKA_STAGE_EXPECT:
			return "expect";
		case KAFKA_STAGE_LATE:
		case KAFKA_STAGE_PRUNED:
			return "late";
		case KAFKA_STAGE_FUTURE:
			return "future";
		default:
			return "query";
	}
}

/* ----------------------------------------------------------------
 * Storing
 * ----------------------------------------------------------------
 */

static void
append_value(ArrayColumn *column, Datum value, bool isnull)
{
	column->build = accumArrayResult(column->build, value, isnull,
									 column->type, CurrentMemoryContext);
}

static void
append_text(ArrayColumn *column, const char *text)
{
	append_value(column, text != NULL ? CStringGetTextDatum(text) : (Datum) 0,
				 text == NULL);
}

static void
append_bytes(ArrayColumn *column, const char *bytes, size_t length)
{
	append_value(column,
				 bytes != NULL
					 ? PointerGetDatum(
						   cstring_to_text_with_len(bytes, (int) length))
					 : (Datum) 0,
				 bytes == NULL);
}

static void
append_fault(ArrayColumn *stage, ArrayColumn *sqlstate, ArrayColumn *message,
			 const KafkaBatchEntry *entry)
{
	char *text = NULL;

	if (entry->description != NULL)
		text = pnstrdup(entry->description,
						pg_mbcliplen(entry->description,
									 (int) strlen(entry->description),
									 MAX_MESSAGE_BYTES));
	append_text(stage, kafka_dead_letter_stage_name(entry->stage));
	append_text(sqlstate, entry->sqlerrcode != 0
							  ? unpack_sql_state(entry->sqlerrcode)
							  : NULL);
	append_text(message, text);
}

static void
append_hash(ArrayColumn *column, const KafkaApplyResult *result, int index)
{
	const pg_uuid_t *hash =
		result->key_hashes != NULL ? result->key_hashes[index] : NULL;

	append_value(column, hash != NULL ? UUIDPGetDatum(hash) : (Datum) 0,
				 hash == NULL);
}

static void
append_letter(ArrayColumn *columns, const KafkaBatchEntry *entry)
{
	append_text(&columns[STORE_TOPIC], entry->topic);
	append_value(&columns[STORE_PARTITION], Int32GetDatum(entry->partition),
				 false);
	append_value(&columns[STORE_OFFSET], Int64GetDatum(entry->offset), false);
	append_value(&columns[STORE_TIMESTAMP_MS],
				 Int64GetDatum(entry->timestamp_ms), false);
	append_value(&columns[STORE_LOG_APPEND_TIME],
				 BoolGetDatum(entry->log_append_time), false);
	append_bytes(&columns[STORE_KEY], entry->key, entry->key_length);
	append_bytes(&columns[STORE_VALUE], entry->payload, entry->payload_length);
	append_bytes(&columns[STORE_HEADERS], entry->headers,
				 entry->headers_length);
	append_fault(&columns[STORE_STAGE], &columns[STORE_SQLSTATE],
				 &columns[STORE_MESSAGE], entry);
}

static void
execute_store(const KafkaRollup *rollup, ArrayColumn *columns)
{
	static const Oid types[STORE_COUNT] = {INT4OID,       INT4OID,
										   INT8OID,       TEXTARRAYOID,
										   INT4ARRAYOID,  INT8ARRAYOID,
										   INT8ARRAYOID,  BOOLARRAYOID,
										   BYTEAARRAYOID, BYTEAARRAYOID,
										   BYTEAARRAYOID, TEXTARRAYOID,
										   TEXTARRAYOID,  TEXTARRAYOID,
										   UUIDARRAYOID};
	Datum values[STORE_COUNT];

	values[STORE_ROLLUP_ID] = Int32GetDatum(rollup->rollup_id);
	values[STORE_RETRY_LIMIT] = Int32GetDatum(rollup->options.retry_limit);
	values[STORE_RETRY_DELAY_MS] =
		Int64GetDatum(rollup->options.retry_delay_ms);
	for (int i = STORE_TOPIC; i < STORE_COUNT; i++)
		values[i] = makeArrayResult(columns[i].build, CurrentMemoryContext);
	kafka_catalog_execute(
		"INSERT INTO kafka.stored_dead_letter AS d (rollup_id, topic, "
		"  kafka_partition, kafka_offset, timestamp_ms, log_append_time, "
		"  key, value, headers, stage, sqlstate, message, key_hash, status, "
		"  retry_at) "
		"SELECT $1, l.topic, l.kafka_partition, l.kafka_offset, "
		"  l.timestamp_ms, l.log_append_time, l.key, l.value, l.headers, "
		"  l.stage, l.sqlstate, l.message, l.key_hash, "
		"  CASE WHEN t.tried THEN 'new' ELSE 'failed' END, "
		"  CASE WHEN t.tried THEN now() + $3 * interval '1 millisecond' END "
		"FROM ROWS FROM (unnest($4), unnest($5), unnest($6), unnest($7), "
		"  unnest($8), unnest($9), unnest($10), unnest($11), unnest($12), "
		"  unnest($13), unnest($14), unnest($15)) "
		"  AS l (topic, kafka_partition, kafka_offset, timestamp_ms, "
		"  log_append_time, key, value, headers, stage, sqlstate, message, "
		"  key_hash) "
		"CROSS JOIN LATERAL (SELECT $2 > 0 "
		"  AND l.stage NOT IN ('late', 'future')) AS t (tried) "
		"ON CONFLICT (rollup_id, topic, kafka_partition, kafka_offset, "
		"  digest) DO UPDATE SET log_append_time = excluded.log_append_time, "
		"  key_hash = excluded.key_hash, "
		"  stage = excluded.stage, sqlstate = excluded.sqlstate, "
		"  message = excluded.message, attempts = 0, "
		"  status = excluded.status, retry_at = excluded.retry_at, "
		"  created_at = excluded.created_at, "
		"  updated_at = excluded.updated_at",
		STORE_COUNT, types, values, NULL);
}

/* Stores faults from entry start on, as many as one statement takes. */
static int
store_chunk(const KafkaRollup *rollup, const KafkaBatch *batch,
			const KafkaApplyResult *result, int start, int64 *count)
{
	static const Oid types[STORE_COUNT] = {0,        0,        0,
										   TEXTOID,  INT4OID,  INT8OID,
										   INT8OID,  BOOLOID,  BYTEAOID,
										   BYTEAOID, BYTEAOID, TEXTOID,
										   TEXTOID,  TEXTOID,  UUIDOID};
	ArrayColumn columns[STORE_COUNT];
	int letters = 0;
	size_t bytes = 0;
	int i;

	for (i = 0; i < STORE_COUNT; i++)
		columns[i] = (ArrayColumn){.type = types[i]};
	for (i = start; i < batch->nentries && letters < MAX_CHUNK_LETTERS &&
					bytes < MAX_CHUNK_BYTES;
		 i++)
	{
		const KafkaBatchEntry *entry = &batch->entries[i];

		if (!kafka_batch_is_fault(entry))
			continue;
		append_letter(columns, entry);
		append_hash(&columns[STORE_KEY_HASH], result, i);
		letters++;
		bytes +=
			entry->key_length + entry->payload_length + entry->headers_length;
	}
	if (letters > 0)
		execute_store(rollup, columns);
	*count += letters;
	return i;
}

int64
kafka_dead_letters_store(const KafkaRollup *rollup, const KafkaBatch *batch,
						 const KafkaApplyResult *result)
{
	MemoryContext context =
		AllocSetContextCreate(CurrentMemoryContext, "Kafka dead letters",
							  ALLOCSET_DEFAULT_SIZES);
	MemoryContext caller = MemoryContextSwitchTo(context);
	int64 count = 0;
	int next = 0;

	while (batch->naside > 0 && next < batch->nentries)
	{
		CHECK_FOR_INTERRUPTS();
		next = store_chunk(rollup, batch, result, next, &count);
		MemoryContextReset(context);
	}
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(context);
	return count;
}

/* ----------------------------------------------------------------
 * Trying again
 * ----------------------------------------------------------------
 */

/* A retry being worked on. */
typedef struct Retry
{
	const KafkaRollup *rollup;
	KafkaLettersRetry *letters;
	int chunk_rows;
	int64 last_id; /* those up to this one have had their turn */
	KafkaBatch *batch;
	int64 *batch_ids; /* by entry */
	KafkaRollupRun run;
} Retry;

/* Bytes of the last statement's result; NULL for none. */
static const char *
get_bytes(HeapTuple tuple, int column, size_t *length)
{
	bool isnull;
	Datum datum = SPI_getbinval(tuple, SPI_tuptable->tupdesc, column, &isnull);
	bytea *bytes;

	*length = 0;
	if (isnull)
		return NULL;
	bytes = DatumGetByteaPP(datum);
	*length = VARSIZE_ANY_EXHDR(bytes);
	return VARDATA_ANY(bytes);
}

static int64
get_number(HeapTuple tuple, int column)
{
	bool isnull;

	return DatumGetInt64(
		SPI_getbinval(tuple, SPI_tuptable->tupdesc, column, &isnull));
}

static void
add_letter(KafkaBatch *batch, HeapTuple tuple)
{
	KafkaBatchEntry entry = {0};
	bool isnull;

	entry.topic = TextDatumGetCString(
		SPI_getbinval(tuple, SPI_tuptable->tupdesc, 2, &isnull));
	entry.partition = (int32) get_number(tuple, 3);
	entry.offset = get_number(tuple, 4);
	entry.timestamp_ms = get_number(tuple, 5);
	entry.log_append_time =
		DatumGetBool(SPI_getbinval(tuple, SPI_tuptable->tupdesc, 6, &isnull));
	entry.key = get_bytes(tuple, 7, &entry.key_length);
	entry.payload = get_bytes(tuple, 8, &entry.payload_length);
	entry.headers = get_bytes(tuple, 9, &entry.headers_length);
	kafka_batch_add_entry(batch, &entry);
}

/* Makes a batch of the next letters; false when there are none. */
static bool
read_letters(Retry *retry, int max_rows)
{
	static const Oid types[] = {INT4OID, INT8OID, INT8ARRAYOID,
								BOOLOID, INT8OID, INT8OID};
	Datum values[lengthof(types)] = {0};
	bool nulls[lengthof(types)] = {0};
	uint64 count;

	values[0] = Int32GetDatum(retry->rollup->rollup_id);
	values[1] = Int64GetDatum(retry->last_id);
	values[2] = PointerGetDatum(retry->letters->ids);
	nulls[2] = retry->letters->ids == NULL;
	values[3] = BoolGetDatum(retry->letters->due_only);
	values[4] = Int64GetDatum(Min(max_rows, retry->chunk_rows));
	values[5] = Int64GetDatum(MAX_CHUNK_BYTES);
	count = kafka_evaluation_execute_by_index(
		"SELECT c.id, c.topic, c.kafka_partition::bigint, c.kafka_offset, "
		"  c.timestamp_ms, c.log_append_time, c.key, c.value, c.headers "
		"FROM (SELECT d.*, sum(COALESCE(octet_length(d.key), 0)::bigint "
		"    + COALESCE(octet_length(d.value), 0) "
		"    + COALESCE(octet_length(d.headers), 0)) OVER (ORDER BY d.id "
		"    ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS before "
		"  FROM (SELECT * FROM kafka.stored_dead_letter "
		"    WHERE rollup_id = $1 AND id > $2 AND status <> 'done' "
		"    AND ($3 IS NULL OR id = ANY ($3)) "
		"    AND (NOT $4 OR retry_at <= now()) "
		"    ORDER BY id LIMIT $5) AS d) AS c "
		"WHERE COALESCE(c.before, 0) < $6 ORDER BY c.id",
		lengthof(types), types, values, nulls);
	kafka_batch_reset(retry->batch);
	retry->batch_ids = palloc(sizeof(int64) * Max(count, 1));
	for (uint64 i = 0; i < count; i++)
	{
		HeapTuple tuple = SPI_tuptable->vals[i];

		retry->batch_ids[i] = get_number(tuple, 1);
		retry->last_id = retry->batch_ids[i];
		add_letter(retry->batch, tuple);
	}
	SPI_freetuptable(SPI_tuptable);
	return count > 0;
}

/* Letters that were counted, by this retry or by a message of the same key. */
static int64
mark_done(Retry *retry)
{
	static const Oid types[] = {INT8ARRAYOID, BOOLARRAYOID};
	ArrayColumn ids = {.type = INT8OID};
	ArrayColumn repeats = {.type = BOOLOID};
	Datum values[lengthof(types)];
	int64 loaded = 0;

	for (int i = 0; i < retry->batch->nentries; i++)
	{
		KafkaFaultStage stage = retry->batch->entries[i].stage;

		if (stage != KAFKA_STAGE_NONE && stage != KAFKA_STAGE_DUPLICATE)
			continue;
		append_value(&ids, Int64GetDatum(retry->batch_ids[i]), false);
		append_value(&repeats, BoolGetDatum(stage == KAFKA_STAGE_DUPLICATE),
					 false);
		loaded += stage == KAFKA_STAGE_NONE ? 1 : 0;
	}
	if (ids.build == NULL)
		return 0;
	values[0] = makeArrayResult(ids.build, CurrentMemoryContext);
	values[1] = makeArrayResult(repeats.build, CurrentMemoryContext);
	kafka_evaluation_execute_by_index(
		"UPDATE kafka.stored_dead_letter AS d SET status = 'done', "
		"  attempts = d.attempts + 1, retry_at = NULL, updated_at = now(), "
		"  message = CASE WHEN r.is_repeat "
		"    THEN 'a message with its unique key was counted before' "
		"    ELSE d.message END "
		"FROM ROWS FROM (unnest($1), unnest($2)) AS r (id, is_repeat) "
		"WHERE d.id = r.id",
		lengthof(types), types, values, NULL);
	return loaded;
}

/*
 * What a try that failed does to a letter, by the parameters $1, retry_limit,
 * and $2, retry_delay in milliseconds, where it may be tried again at all.
 */
#define SET_FAILED_AGAIN(may_try)                               \
	"attempts = d.attempts + 1, updated_at = now(), "           \
	"status = CASE WHEN " may_try " AND d.attempts + 1 < $1 "   \
	"THEN 'retry' ELSE 'failed' END, "                          \
	"retry_at = CASE WHEN " may_try " AND d.attempts + 1 < $1 " \
	"THEN now() + $2 * interval '1 millisecond' END "

static int64
mark_failed(Retry *retry, const KafkaApplyResult *result)
{
	static const Oid types[] = {INT4OID,      INT8OID,      INT8ARRAYOID,
								TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID,
								UUIDARRAYOID};
	ArrayColumn columns[] = {{.type = INT8OID},
							 {.type = TEXTOID},
							 {.type = TEXTOID},
							 {.type = TEXTOID},
							 {.type = UUIDOID}};
	Datum values[lengthof(types)];
	int64 failed = 0;

	for (int i = 0; i < retry->batch->nentries; i++)
	{
		const KafkaBatchEntry *entry = &retry->batch->entries[i];

		if (!kafka_batch_is_fault(entry))
			continue;
		append_value(&columns[0], Int64GetDatum(retry->batch_ids[i]), false);
		append_fault(&columns[1], &columns[2], &columns[3], entry);
		append_hash(&columns[4], result, i);
		failed++;
	}
	if (failed == 0)
		return 0;
	values[0] = Int32GetDatum(retry->rollup->options.retry_limit);
	values[1] = Int64GetDatum(retry->rollup->options.retry_delay_ms);
	for (int i = 0; i < lengthof(columns); i++)
		values[i + 2] =
			makeArrayResult(columns[i].build, CurrentMemoryContext);
	kafka_evaluation_execute_by_index(
		"UPDATE kafka.stored_dead_letter AS d SET stage = r.stage, "
		"  sqlstate = r.sqlstate, message = r.message, "
		"  key_hash = COALESCE(r.key_hash, d.key_hash), " SET_FAILED_AGAIN(
			"r.stage <> 'late'") "FROM ROWS FROM (unnest($3), unnest($4), unnest($5), unnest($6), "
								 "  unnest($7)) AS r (id, stage, sqlstate, message, key_hash) "
								 "WHERE d.id = r.id",
		lengthof(types), types, values, NULL);
	return failed;
}

/* Tries the letters in the batch. */
static void
retry_batch(Retry *retry)
{
	KafkaApplyTask task = kafka_apply_task_of_rollup(retry->rollup);
	KafkaApplyResult result;
	int64 nfailed;

	task.has_circuit = false;
	task.ignores_time = true;
	task.refuses_pruned = true;
	result = kafka_apply_run(&task, retry->batch, NULL);
	retry->letters->loaded += mark_done(retry);
	nfailed = mark_failed(retry, &result);
	retry->letters->failed += nfailed;
	retry->run.messages += retry->batch->nentries;
	retry->run.bytes += retry->batch->bytes;
	retry->run.rows_selected += result.rows_selected;
	retry->run.groups += result.groups;
	retry->run.duplicates += result.duplicates;
	retry->run.dead_letters += nfailed;
}

/*
 * Is it time to leave the rest?  If not, as many are tried together as there is
 * time for, by what those before have taken.
 */
static bool
is_over(Retry *retry)
{
	TimestampTz now = GetCurrentTimestamp();
	TimestampTz until = retry->letters->until;
	int64 taken_us = Max(now - retry->run.started_at, 1);
	double rows = retry->chunk_rows * (double) CHUNK_FACTOR;

	if (until != 0)
		rows =
			Min(rows, (double) retry->run.messages * (until - now) / taken_us);
	retry->chunk_rows = (int) Max(Min(rows, MAX_CHUNK_LETTERS), 1);
	retry->letters->was_ended = until != 0 && now >= until;
	return retry->letters->was_ended;
}

void
kafka_dead_letters_retry(const KafkaRollup *rollup, KafkaLettersRetry *letters)
{
	int max_rows = letters->max_rows;
	MemoryContext context =
		AllocSetContextCreate(CurrentMemoryContext, "Kafka dead letters",
							  ALLOCSET_DEFAULT_SIZES);
	MemoryContext chunk_context =
		AllocSetContextCreate(context, "Kafka dead letters tried",
							  ALLOCSET_DEFAULT_SIZES);
	MemoryContext caller = MemoryContextSwitchTo(context);
	Retry retry = {.rollup = rollup,
				   .letters = letters,
				   .chunk_rows = letters->until == 0 ? MAX_CHUNK_LETTERS : 1,
				   .last_id = -1,
				   .batch = kafka_batch_create(rollup->source),
				   .run = {.event = "retry",
						   .started_at = GetCurrentTimestamp()}};

	letters->loaded = 0;
	letters->failed = 0;
	letters->was_ended = false;
	MemoryContextSwitchTo(chunk_context);
	while (max_rows > 0 && read_letters(&retry, max_rows))
	{
		CHECK_FOR_INTERRUPTS();
		max_rows -= retry.batch->nentries;
		retry_batch(&retry);
		MemoryContextReset(chunk_context);
		if (is_over(&retry))
			break;
	}
	letters->was_ended = letters->was_ended || max_rows <= 0;
	if (retry.run.messages > 0)
		kafka_rollup_log_run(rollup, &retry.run);
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(context);
}

/* ----------------------------------------------------------------
 * When positions move back
 * ----------------------------------------------------------------
 */

static void
leave_to_topic(const KafkaRollup *rollup, const KafkaPosition *position)
{
	static const Oid types[] = {INT4OID, TEXTOID, INT4OID, INT8OID};
	Datum values[lengthof(types)];

	values[0] = Int32GetDatum(rollup->rollup_id);
	values[1] = CStringGetTextDatum(position->topic);
	values[2] = Int32GetDatum(position->partition);
	values[3] = Int64GetDatum(position->next_offset);
	kafka_catalog_execute(
		"UPDATE kafka.stored_dead_letter SET status = 'done', "
		"retry_at = NULL, updated_at = now(), "
		"message = 'to be read again: the rollup was moved back' "
		"WHERE rollup_id = $1 AND topic = $2 AND kafka_partition = $3 "
		"AND kafka_offset >= $4 AND status <> 'done'",
		lengthof(types), types, values, NULL);
}

void
kafka_dead_letters_leave_to_topic(const KafkaRollup *rollup,
								  KafkaPositions *before,
								  const KafkaPositions *after)
{
	bool moved_back = false;

	for (int i = 0; i < after->count; i++)
	{
		const KafkaPosition *position = &after->list[i];
		const KafkaPosition *old =
			kafka_positions_find(before, position->topic, position->partition);

		if (old != NULL && position->next_offset < old->next_offset)
		{
			leave_to_topic(rollup, position);
			moved_back = true;
		}
	}
	if (moved_back)
	{
		kafka_keys_forget_all(rollup->rollup_id);
		kafka_prune_forget(rollup->rollup_id);
	}
}

/* ----------------------------------------------------------------
 * By hand
 * ----------------------------------------------------------------
 */

Datum
kafka_retry_dead_letters(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	KafkaLettersRetry letters = {.ids = PG_ARGISNULL(1)
											? NULL
											: PG_GETARG_ARRAYTYPE_P(1),
								 .max_rows = PG_INT32_MAX};
	bool nulls[2] = {false, false};
	Datum values[2];
	KafkaRollup *rollup;
	char *name;

	kafka_catalog_check_not_null(fcinfo, 0, "name");
	name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	InitMaterializedSRF(fcinfo, 0);
	kafka_rollup_check_writable("kafka.retry_dead_letters()");
	SPI_connect();
	kafka_rollup_check_enabled();
	rollup = kafka_rollup_get_locked(name, false);
	kafka_rollup_check_parts(rollup);
	kafka_dead_letters_retry(rollup, &letters);
	SPI_finish();
	values[0] = Int64GetDatum(letters.loaded);
	values[1] = Int64GetDatum(letters.failed);
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	return (Datum) 0;
}

/* ----------------------------------------------------------------
 * When trying again raises errors
 * ----------------------------------------------------------------
 */

ArrayType **
kafka_dead_letters_list_due(const KafkaRollup *rollup, int max_rows,
							int *count)
{
	static const Oid types[] = {INT4OID, INT8OID};
	Datum values[lengthof(types)];
	ArrayType **ids;

	values[0] = Int32GetDatum(rollup->rollup_id);
	values[1] = Int64GetDatum(max_rows);
	*count = (int) kafka_evaluation_execute_by_index(
		"SELECT id FROM kafka.stored_dead_letter "
		"WHERE rollup_id = $1 AND status <> 'done' AND retry_at <= now() "
		"ORDER BY id LIMIT $2",
		lengthof(types), types, values, NULL);
	ids = palloc(sizeof(ArrayType *) * Max(*count, 1));
	for (int i = 0; i < *count; i++)
	{
		Datum id = Int64GetDatum(get_number(SPI_tuptable->vals[i], 1));

		ids[i] = construct_array(&id, 1, INT8OID, sizeof(int64),
								 FLOAT8PASSBYVAL, TYPALIGN_DOUBLE);
	}
	SPI_freetuptable(SPI_tuptable);
	return ids;
}

void
kafka_dead_letters_note_failure(const KafkaRollup *rollup, ArrayType *ids,
								const ErrorData *error)
{
	static const Oid types[] = {INT4OID, INT8OID, INT8ARRAYOID, TEXTOID,
								TEXTOID};
	char *message = pstrdup(error->message);
	Datum values[lengthof(types)];
	KafkaRollupRun run = {.event = "retry",
						  .started_at = GetCurrentTimestamp(),
						  .sqlerrcode = error->sqlerrcode,
						  .detail = message};

	message[pg_mbcliplen(message, strlen(message), MAX_MESSAGE_BYTES)] = '\0';
	values[0] = Int32GetDatum(rollup->options.retry_limit);
	values[1] = Int64GetDatum(rollup->options.retry_delay_ms);
	values[2] = PointerGetDatum(ids);
	values[3] = CStringGetTextDatum(unpack_sql_state(error->sqlerrcode));
	values[4] = CStringGetTextDatum(message);
	run.messages = (int64) kafka_evaluation_execute_by_index(
		"UPDATE kafka.stored_dead_letter AS d SET sqlstate = $4, "
		"  message = $5, " SET_FAILED_AGAIN("true") "WHERE d.id = ANY ($3)",
		lengthof(types), types, values, NULL);
	run.dead_letters = run.messages;
	kafka_rollup_log_run(rollup, &run);
}
