/*-------------------------------------------------------------------------
 *
 * prune.c
 *		Removes what a rollup does not keep for ever: old buckets, rows of
 *		runs, dead letters; and refuses messages of buckets that went.
 *
 * pruned_until says which buckets have been removed: those before it.  It moves
 * in the transaction that removes the rows, and never back but for
 * seek_rollup; so a bucket that went does not come back with only its latest
 * messages in it.  Rows go by bucket, the oldest first, some at a time, so that
 * a transaction is short however much there is.  Of a bucket that a
 * transaction leaves half removed pruned_until is one microsecond past its
 * beginning: nothing counts in it any more, and the next call sees by that,
 * pruned_until being no bucket's beginning, that there is a rest to remove.
 *
 * A rollup is pruned when it has read its topics to their ends.  Before that,
 * such as in the first runs over old data, its messages may be of any bucket;
 * they count, and go with their bucket.
 *
 * IDENTIFICATION
 *		src/rollup/prune.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/relation.h"
#include "catalog/pg_am.h"
#include "catalog/pg_type.h"
#include "compat.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "rollup/apply.h"
#include "rollup/run.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

KAFKA_SQL_FUNCTION(kafka_prune);

/*
 * kafka.prune removes so many rows at a time.  All is one transaction, which
 * passes by what it has removed before each time.
 */
#define PRUNE_ROWS 100000

/*
 * So many rows of runs are looked at first; that is what a run that has nothing
 * to remove costs.
 */
#define PRUNE_FIRST_RUNS 500

/* What was removed. */
typedef struct Pruned
{
	int64 rows;  /* of storage */
	char *until; /* of buckets before this one; NULL where none went */
	int64 runs;
	int64 letters;
	int64 open_letters; /* of these, how many were not done */
} Pruned;

/* ----------------------------------------------------------------
 * Buckets
 * ----------------------------------------------------------------
 */

/* Which buckets go. */
typedef struct BucketRange
{
	const KafkaBucket *bucket;
	int64 start; /* those before went before */
	int64 end;   /* a bucket, or just past one that is half removed */
	char *end_text;
} BucketRange;

static TimestampTz
subtract_ms(TimestampTz time, int64 length_ms)
{
	return time - length_ms * 1000; /* options are at most 100 years */
}

/*
 * Is there more to be read than has been?  Of what was never read nothing is
 * known, and nothing is stored either.
 */
static bool
is_behind(const KafkaRollup *rollup)
{
	static const Oid types[] = {INT4OID};
	Datum values[] = {Int32GetDatum(rollup->rollup_id)};
	bool isnull;
	bool behind;

	(void) kafka_catalog_execute(
		"SELECT COALESCE(bool_or(next_offset < end_offset), false) "
		"  OR COALESCE(bool_and(last_offset IS NULL), true) "
		"FROM kafka.stored_position WHERE rollup_id = $1",
		lengthof(types), types, values, NULL);
	behind = DatumGetBool(SPI_getbinval(SPI_tuptable->vals[0],
										SPI_tuptable->tupdesc, 1, &isnull));
	SPI_freetuptable(SPI_tuptable);
	return behind;
}

/* False when none is to go. */
static bool
find_range(const KafkaRollup *rollup, BucketRange *range)
{
	int64 retention_ms = rollup->options.retention_ms;
	bool is_half_removed = false;

	range->bucket = kafka_bucket_read(rollup);
	range->start = DT_NOBEGIN;
	range->end = DT_NOBEGIN;
	if (retention_ms > 0)
		range->end = kafka_bucket_of_time(
			range->bucket,
			subtract_ms(GetCurrentTransactionStartTimestamp(), retention_ms));
	if (rollup->pruned_until != DT_NOBEGIN)
	{
		range->start =
			kafka_bucket_of_value(range->bucket, rollup->pruned_until);
		is_half_removed = range->start < rollup->pruned_until;
	}
	if (range->end <= rollup->pruned_until && !is_half_removed)
		return false;
	range->end = Max(range->end, rollup->pruned_until);
	range->end_text = kafka_bucket_describe(range->bucket, range->end);
	return true;
}

/*
 * Chooses rows to remove, the oldest buckets' first: an array of their places,
 * palloc'd, and how many there are, and in *last the last one's bucket.  Reads
 * no more rows than it gives, wherever they lie: it must not take longer when
 * there are more.
 */
static Datum
choose_rows(const KafkaRollup *rollup, const BucketRange *range, int max_rows,
			int64 *count, int64 *last)
{
	static const char *const scans[] = {"enable_seqscan", "enable_bitmapscan",
										"jit"};
	Oid types[] = {range->bucket->type, range->bucket->type, INT8OID};
	Datum values[] = {TimestampTzGetDatum(range->start),
					  TimestampTzGetDatum(range->end),
					  Int64GetDatum(max_rows)};
	const char *column = quote_identifier(rollup->bucket_column);
	int level = kafka_catalog_go_first();
	HeapTuple row;
	TupleDesc desc;
	Datum places;
	bool isnull;

	for (int i = 0; i < lengthof(scans); i++)
		(void) set_config_option(scans[i], "off", PGC_USERSET, PGC_S_SESSION,
								 GUC_ACTION_SAVE, true, 0, false);
	(void) SPI_execute_with_args(
		psprintf("SELECT array_agg(o.ctid), count(*), max(o.bucket) "
				 "FROM (SELECT s.ctid, s.%s AS bucket FROM %s AS s "
				 "WHERE s.%s >= $1 AND s.%s < $2 ORDER BY s.%s LIMIT $3) AS o",
				 column, kafka_relation_quote(rollup->storage), column, column,
				 column),
		lengthof(types), types, values, NULL, false, 0);
	AtEOXact_GUC(false, level);
	row = SPI_tuptable->vals[0];
	desc = SPI_tuptable->tupdesc;
	*count = DatumGetInt64(SPI_getbinval(row, desc, 2, &isnull));
	*last = DatumGetTimestampTz(SPI_getbinval(row, desc, 3, &isnull));
	places = SPI_getbinval(row, desc, 1, &isnull);
	if (!isnull)
		places = PointerGetDatum(DatumGetArrayTypePCopy(places));
	SPI_freetuptable(SPI_tuptable);
	return places;
}

/* Is a row still there that was to be removed?  Somebody may have done it. */
static bool
has_rows(const KafkaRollup *rollup, Datum places)
{
	Oid types[] = {TIDARRAYOID};
	int level = kafka_catalog_go_first();

	(void)
		SPI_execute_with_args(psprintf("SELECT FROM %s AS s "
									   "WHERE s.ctid = ANY ($1) LIMIT 1",
									   kafka_relation_quote(rollup->storage)),
							  lengthof(types), types, &places, NULL, false, 0);
	AtEOXact_GUC(false, level);
	return SPI_processed > 0;
}

/* Removes rows; the number, and in *last the last bucket that was one's. */
static int64
delete_rows(const KafkaRollup *rollup, const BucketRange *range, int max_rows,
			int64 *last)
{
	Oid types[] = {TIDARRAYOID};
	int64 count;
	Datum places = choose_rows(rollup, range, max_rows, &count, last);
	int level;

	if (count == 0)
		return 0;
	level = kafka_catalog_go_first();
	(void)
		SPI_execute_with_args(psprintf("DELETE FROM %s AS s "
									   "WHERE s.ctid = ANY ($1)",
									   kafka_relation_quote(rollup->storage)),
							  lengthof(types), types, &places, NULL, false, 0);
	AtEOXact_GUC(false, level);
	if ((int64) SPI_processed != count && has_rows(rollup, places))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("rows of old buckets of rollup \"%s\" cannot be "
						"removed",
						rollup->name),
				 errdetail("A trigger or a rule of table \"%s\" keeps some.",
						   get_rel_name(rollup->storage)),
				 errhint("Drop it, or take the option retention away.")));
	pfree(DatumGetPointer(places));
	return count;
}

static void
set_pruned_until(int32 rollup_id, int64 until)
{
	static const Oid types[] = {INT4OID, TIMESTAMPTZOID};
	Datum values[] = {Int32GetDatum(rollup_id), TimestampTzGetDatum(until)};
	bool nulls[] = {false, until == DT_NOBEGIN};

	(void) kafka_catalog_execute(
		"UPDATE kafka.stored_rollup SET pruned_until = $2 "
		"WHERE rollup_id = $1 AND pruned_until IS DISTINCT FROM $2",
		lengthof(types), types, values, nulls);
}

/* Removes rows of storage; how many. */
static int64
prune_buckets(const KafkaRollup *rollup, int max_rows, Pruned *pruned)
{
	KafkaUserSwitch saved;
	BucketRange range;
	bool found;
	int64 count = 0;
	int64 last;

	if (rollup->bucket_column == NULL ||
		(rollup->options.retention_ms == 0 &&
		 rollup->pruned_until == DT_NOBEGIN) ||
		is_behind(rollup))
		return 0;
	kafka_apply_make_constraints_immediate();
	kafka_catalog_become(&saved, rollup->owner, &rollup->settings);
	found = find_range(rollup, &range);
	if (found)
		count = delete_rows(rollup, &range, max_rows, &last);
	kafka_catalog_restore_user(&saved);
	if (!found)
		return 0;
	if (count < max_rows)
		set_pruned_until(rollup->rollup_id, range.end);
	else if (!TIMESTAMP_NOT_FINITE(last)) /* else the next call does */
		set_pruned_until(rollup->rollup_id, Min(last + 1, range.end));
	pruned->rows += count;
	if (count > 0)
		pruned->until = range.end_text;
	return count;
}

void
kafka_prune_forget(int32 rollup_id)
{
	set_pruned_until(rollup_id, DT_NOBEGIN);
}

/* ----------------------------------------------------------------
 * Runs and dead letters
 * ----------------------------------------------------------------
 */

/*
 * Removes rows of runs, in the order of their numbers, which is that of their
 * times.  The last one stays, however old: it tells when the rollup was run.
 */
static int64
delete_runs(const KafkaRollup *rollup, int max_rows)
{
	static const Oid types[] = {INT4OID, TIMESTAMPTZOID, INT8OID};
	Datum values[lengthof(types)];

	if (rollup->options.run_retention_ms == 0)
		return 0;
	values[0] = Int32GetDatum(rollup->rollup_id);
	values[1] =
		TimestampTzGetDatum(subtract_ms(GetCurrentTransactionStartTimestamp(),
										rollup->options.run_retention_ms));
	values[2] = Int64GetDatum(max_rows);
	return (int64) kafka_evaluation_execute_by_index(
		"DELETE FROM kafka.stored_run WHERE ctid = ANY (ARRAY("
		"SELECT o.ctid FROM (SELECT r.ctid, r.run_id, r.finished_at "
		"  FROM kafka.stored_run AS r WHERE r.rollup_id = $1 "
		"  ORDER BY r.run_id LIMIT $3) AS o "
		"WHERE o.finished_at < $2 AND o.run_id < ("
		"  SELECT l.run_id FROM kafka.stored_run AS l "
		"  WHERE l.rollup_id = $1 AND l.event <> 'prune' "
		"  ORDER BY l.run_id DESC LIMIT 1)))",
		lengthof(types), types, values, NULL);
}

/* Removes dead letters that nothing has happened to for long. */
static int64
delete_letters(const KafkaRollup *rollup, int max_rows, int64 *nopen)
{
	static const Oid types[] = {INT4OID, TIMESTAMPTZOID, INT8OID};
	Datum values[lengthof(types)];
	int64 count;
	bool isnull;

	if (rollup->options.dead_letter_retention_ms == 0)
		return 0;
	values[0] = Int32GetDatum(rollup->rollup_id);
	values[1] = TimestampTzGetDatum(
		subtract_ms(GetCurrentTransactionStartTimestamp(),
					rollup->options.dead_letter_retention_ms));
	values[2] = Int64GetDatum(max_rows);
	(void) kafka_evaluation_execute_by_index(
		"WITH gone AS (DELETE FROM kafka.stored_dead_letter "
		"  WHERE ctid = ANY (ARRAY(SELECT o.ctid "
		"    FROM kafka.stored_dead_letter AS o "
		"    WHERE o.rollup_id = $1 AND o.updated_at < $2 "
		"    ORDER BY o.updated_at LIMIT $3)) RETURNING status) "
		"SELECT count(*), count(*) FILTER (WHERE status <> 'done') FROM gone",
		lengthof(types), types, values, NULL);
	count = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0],
										SPI_tuptable->tupdesc, 1, &isnull));
	*nopen += DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0],
										  SPI_tuptable->tupdesc, 2, &isnull));
	SPI_freetuptable(SPI_tuptable);
	return count;
}

/* ----------------------------------------------------------------
 * All of it
 * ----------------------------------------------------------------
 */

/* Removes at most so many rows; how many. */
static int64
prune_some(const KafkaRollup *rollup, int max_rows, Pruned *pruned)
{
	int64 left = max_rows - prune_buckets(rollup, max_rows, pruned);
	int64 count;

	if (left > 0)
	{
		count = delete_runs(rollup, (int) Min(left, PRUNE_FIRST_RUNS));
		if (count == PRUNE_FIRST_RUNS && left > count)
			count += delete_runs(rollup, (int) (left - count));
		pruned->runs += count;
		left -= count;
	}
	if (left > 0)
	{
		count = delete_letters(rollup, (int) left, &pruned->open_letters);
		pruned->letters += count;
		left -= count;
	}
	return max_rows - left;
}

/* Rows of runs that went are not worth one. */
static void
log_pruned(const KafkaRollup *rollup, const Pruned *pruned)
{
	KafkaRollupRun run = {.event = "prune",
						  .started_at = GetCurrentTransactionStartTimestamp(),
						  .groups = pruned->rows};
	StringInfoData detail;

	if (pruned->rows == 0 && pruned->letters == 0)
		return;
	initStringInfo(&detail);
	if (pruned->rows > 0)
		appendStringInfo(&detail, "Rows removed of buckets before %s: %lld.",
						 pruned->until, (long long) pruned->rows);
	if (pruned->letters > 0)
		appendStringInfo(&detail,
						 "%sDead letters removed: %lld, not done: %lld.",
						 detail.len > 0 ? " " : "",
						 (long long) pruned->letters,
						 (long long) pruned->open_letters);
	run.detail = detail.data;
	kafka_rollup_log_run(rollup, &run);
}

int64
kafka_prune_rollup(const KafkaRollup *rollup, int max_rows)
{
	Pruned pruned = {0};
	int64 count = prune_some(rollup, max_rows, &pruned);

	log_pruned(rollup, &pruned);
	return count;
}

/* ----------------------------------------------------------------
 * Messages of buckets that went
 * ----------------------------------------------------------------
 */

typedef struct PrunedSearch
{
	const KafkaBatch *batch;
	int64 until;
	int64 *buckets; /* by entry; until where it is not to be put aside */
} PrunedSearch;

static void
note_bucket(TupleTableSlot *slot, void *arg)
{
	PrunedSearch *search = (PrunedSearch *) arg;
	bool isnull;
	Datum bucket = slot_getattr(slot, 1, &isnull);

	if (!isnull)
		search->buckets[search->batch->current] =
			Min(search->until, DatumGetTimestampTz(bucket));
}

/*
 * Notes the bucket of each message.  Which message a row is of is known by
 * where the scan is; so joins must be nested loops, which hand on each row
 * before they read the next.
 */
static void
search_rows(PrunedSearch *search, const KafkaBucket *bucket, KafkaBatch *batch)
{
	static const char *const readers[] = {"enable_hashjoin",
										  "enable_mergejoin",
										  "enable_material", "jit"};
	int level = kafka_catalog_go_first();

	for (int i = 0; i < lengthof(readers); i++)
		(void) set_config_option(readers[i], "off", PGC_USERSET, PGC_S_SESSION,
								 GUC_ACTION_SAVE, true, 0, false);
	kafka_evaluation_run(kafka_evaluation_prepare(kafka_bucket_generate_rows(
													  bucket),
												  batch),
						 batch, note_bucket, search);
	AtEOXact_GUC(false, level);
}

int
kafka_prune_put_aside(const KafkaRollup *rollup, KafkaBatch *batch)
{
	KafkaBucket *bucket = kafka_bucket_read(rollup);
	PrunedSearch search = {batch, rollup->pruned_until, NULL};
	int count = 0;

	search.buckets =
		palloc_extended(sizeof(int64) * batch->nentries, MCXT_ALLOC_HUGE);
	for (int i = batch->start; i < batch->end; i++)
		search.buckets[i] = search.until;
	search_rows(&search, bucket, batch);
	for (int i = batch->start; i < batch->end; i++)
	{
		char *text;

		if (search.buckets[i] >= search.until ||
			batch->entries[i].stage != KAFKA_STAGE_NONE)
			continue;
		text = psprintf("its bucket, %s, has been removed",
						kafka_bucket_describe(bucket, search.buckets[i]));
		kafka_batch_put_aside(batch, i, KAFKA_STAGE_PRUNED, 0, text);
		pfree(text);
		count++;
	}
	return count;
}

/* ----------------------------------------------------------------
 * The option
 * ----------------------------------------------------------------
 */

/* Is this an index in which a range of the column's values is a range? */
static bool
is_led_by(Oid relid, AttrNumber column)
{
	Relation index = index_open(relid, AccessShareLock);
	bool result = index->rd_rel->relam == BTREE_AM_OID &&
				  index->rd_index->indisvalid &&
				  index->rd_index->indkey.values[0] == column &&
				  RelationGetIndexPredicate(index) == NIL;

	index_close(index, NoLock);
	return result;
}

static bool
has_index(Oid storage, const char *column)
{
	AttrNumber attnum = get_attnum(storage, column);
	Relation relation = relation_open(storage, AccessShareLock);
	List *indexes = RelationGetIndexList(relation);
	bool found = attnum == InvalidAttrNumber; /* somebody renamed it */
	ListCell *cell;

	foreach(cell, indexes)
		found |= is_led_by(lfirst_oid(cell), attnum);
	relation_close(relation, NoLock);
	return found;
}

void
kafka_prune_prepare(const KafkaRollupOptions *options,
					const char *bucket_column, Oid storage)
{
	if (options->retention_ms == 0)
		return;
	if (bucket_column == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("rollup option \"retention\" needs a group column "
						"that is a bucket of time"),
				 errhint("Group by date_bin('1 hour', ts, '2000-01-01'), or "
						 "by date_trunc('day', ts, 'UTC').")));
	if (!OidIsValid(storage) || has_index(storage, bucket_column))
		return;
	kafka_relation_execute(psprintf("CREATE INDEX ON %s (%s)",
									kafka_relation_quote(storage),
									quote_identifier(bucket_column)));
}

/* ----------------------------------------------------------------
 * By hand
 * ----------------------------------------------------------------
 */

/* kafka.prune(name text, max_rows bigint): rows of storage */
Datum
kafka_prune(PG_FUNCTION_ARGS)
{
	int64 max_rows = PG_ARGISNULL(1) ? PG_INT64_MAX : PG_GETARG_INT64(1);
	Pruned pruned = {0};
	KafkaRollup *rollup;
	int64 count;
	int limit;

	kafka_catalog_check_not_null(fcinfo, 0, "name");
	if (max_rows <= 0)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("max_rows must be greater than zero")));
	kafka_rollup_check_writable("kafka.prune()");
	SPI_connect();
	kafka_rollup_check_enabled();
	rollup =
		kafka_rollup_get_locked(text_to_cstring(PG_GETARG_TEXT_PP(0)), false);
	kafka_loss_check_system(rollup);
	if (rollup->options.retention_ms > 0 && is_behind(rollup))
		ereport(NOTICE,
				(errmsg("rollup \"%s\" keeps its buckets until it has read "
						"its topics to their ends",
						rollup->name),
				 errdetail("What it has still to read may belong to old "
						   "buckets.")));
	do
	{
		CHECK_FOR_INTERRUPTS();
		limit = (int) Min(max_rows, PRUNE_ROWS);
		count = prune_some(rollup, limit, &pruned);
		max_rows -= count;
		rollup = kafka_rollup_get_by_id(rollup->rollup_id);
	} while (count == limit && max_rows > 0);
	log_pruned(rollup, &pruned);
	SPI_finish();
	PG_RETURN_INT64(pruned.rows);
}
