/*-------------------------------------------------------------------------
 *
 * keep.c
 *		What a shadow takes of its rollup, and what it does not bring back.
 *
 * Buckets of which the topic does not hold all messages are the rollup's: their
 * rows, and whatever says which messages have been counted in them.  All is
 * copied while both stand at the same positions; the rollup goes on with its
 * own until the swap.
 *
 * IDENTIFICATION
 *		src/rollup/keep.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/relation.h"
#include "catalog/pg_type.h"
#include "rollup/apply.h"
#include "rollup/rebuild.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

/* ----------------------------------------------------------------
 * Statements
 * ----------------------------------------------------------------
 */

/* Runs a fixed statement with both ids as $1 and $2. */
static void
execute_for_both(const KafkaRollup *rollup, const KafkaRollup *shadow,
				 const char *sql)
{
	(void) kafka_shadow_execute_for_both(rollup->rollup_id, shadow->rollup_id,
										 sql);
}

/*
 * Runs a statement over storage with a bucket as $1, as the current role.
 * Operators are the server's, whatever is in the role's search_path.
 */
static void
execute_for_bucket(const KafkaBucket *bucket, const char *sql, int64 value)
{
	Oid types[] = {bucket->type};
	Datum values[] = {TimestampTzGetDatum(value)};
	int level = kafka_catalog_go_first();
	int code = SPI_execute_with_args(sql, lengthof(types), types, values, NULL,
									 false, 0);

	/* errors of the statement are raised: this cannot happen */
	if (code < 0)
		elog(ERROR, "could not execute \"%s\": %s", sql,
			 SPI_result_code_string(code));
	AtEOXact_GUC(false, level);
}

/* ----------------------------------------------------------------
 * What the old one has
 * ----------------------------------------------------------------
 */

/* The columns of both storages, but for the primary key, which is the first. */
static char *
list_columns(const KafkaRollup *rollup, const KafkaRollup *shadow)
{
	Relation old = relation_open(rollup->storage, AccessShareLock);
	StringInfoData names;

	initStringInfo(&names);
	for (int i = 1; i < RelationGetNumberOfAttributes(old); i++)
	{
		Form_pg_attribute column = TupleDescAttr(RelationGetDescr(old), i);
		const char *name = NameStr(column->attname);

		if (!column->attisdropped &&
			get_attnum(shadow->storage, name) != InvalidAttrNumber)
			appendStringInfo(&names, "%s%s", names.len > 0 ? ", " : "",
							 quote_identifier(name));
	}
	relation_close(old, NoLock);
	return names.data;
}

/*
 * Groups without a bucket are never whole: the old one has all of their
 * messages.
 */
static void
copy_rows(const KafkaRollup *rollup, const KafkaRollup *shadow)
{
	const char *column = quote_identifier(rollup->bucket_column);
	char *names = list_columns(rollup, shadow);
	KafkaBucket *bucket = kafka_bucket_read(shadow);
	int64 last = kafka_bucket_of_time(bucket, shadow->keep_before - 1);

	execute_for_bucket(bucket,
					   psprintf("DELETE FROM %s WHERE %s <= $1 OR %s IS NULL",
								kafka_relation_quote(shadow->storage), column,
								column),
					   last);
	execute_for_bucket(bucket,
					   psprintf("INSERT INTO %s (%s) SELECT %s FROM %s"
								" WHERE %s <= $1 OR %s IS NULL",
								kafka_relation_quote(shadow->storage), names,
								names, kafka_relation_quote(rollup->storage),
								column, column),
					   last);
}

/*
 * What the rollup has judged in the shadow's place: letters of what that has
 * not read, and of kept buckets, by their messages' times.  The shadow's own of
 * these were of rows that it has no more.
 *
 * The rollup may try its letters again before the swap, for the old storage
 * alone.  So these are copies, as are the keys.
 */
static void
copy_letters(const KafkaRollup *rollup, const KafkaRollup *shadow)
{
	execute_for_both(
		rollup, shadow,
		"DELETE FROM kafka.stored_dead_letter AS d"
		" USING kafka.stored_rollup AS s"
		" WHERE d.rollup_id = $2 AND s.rollup_id = $2 AND s.rebuilds = $1"
		" AND d.timestamp_ms < extract(epoch FROM s.valid_from) * 1000");
	execute_for_both(
		rollup, shadow,
		"INSERT INTO kafka.stored_dead_letter (rollup_id, topic,"
		"  kafka_partition, kafka_offset, timestamp_ms, log_append_time, key,"
		"  value, headers, stage, sqlstate, message, key_hash, attempts,"
		"  status, retry_at, created_at, updated_at)"
		" SELECT $2, d.topic, d.kafka_partition, d.kafka_offset,"
		"  d.timestamp_ms, d.log_append_time, d.key, d.value, d.headers,"
		"  d.stage, d.sqlstate, d.message, d.key_hash, d.attempts, d.status,"
		"  d.retry_at, d.created_at, d.updated_at"
		" FROM kafka.stored_dead_letter AS d"
		" JOIN kafka.stored_rollup AS s ON s.rebuilds = d.rollup_id"
		" WHERE d.rollup_id = $1 AND s.rollup_id = $2"
		" AND (d.timestamp_ms < extract(epoch FROM s.valid_from) * 1000"
		"  OR NOT EXISTS (SELECT FROM kafka.stored_position AS p"
		"   WHERE p.rollup_id = $2 AND p.topic = d.topic"
		"   AND p.kafka_partition = d.kafka_partition"
		"   AND d.kafka_offset >= coalesce(p.start_offset, 0)))"
		" ORDER BY d.id ON CONFLICT DO NOTHING");
}

/*
 * The keys of messages in kept buckets are those that the rollup has counted
 * there: the shadow's own of these are of rows that it has no more.  Two of a
 * key stay further apart than unique_within.
 */
static void
copy_keys(const KafkaRollup *rollup, const KafkaRollup *shadow)
{
	static const Oid types[] = {INT4OID, INT4OID, INT8OID};
	Datum values[] = {Int32GetDatum(rollup->rollup_id),
					  Int32GetDatum(shadow->rollup_id),
					  Int64GetDatum(rollup->options.unique_within_ms)};

	if (rollup->options.unique_key == NULL)
		return;
	execute_for_both(rollup, shadow,
					 "DELETE FROM kafka.stored_key AS k"
					 " USING kafka.stored_rollup AS s"
					 " WHERE k.rollup_id = $2 AND s.rollup_id = $2"
					 " AND s.rebuilds = $1 AND k.seen_at < s.valid_from");
	kafka_catalog_execute(
		"INSERT INTO kafka.stored_key (rollup_id, key_hash, seen_at, newest)"
		" SELECT $2, k.key_hash, k.seen_at, k.newest"
		" FROM kafka.stored_key AS k"
		" JOIN kafka.stored_rollup AS s ON s.rebuilds = k.rollup_id"
		" WHERE k.rollup_id = $1 AND s.rollup_id = $2"
		" AND k.seen_at < s.valid_from"
		" AND NOT EXISTS (SELECT FROM kafka.stored_key AS o"
		"  WHERE o.rollup_id = $2 AND o.key_hash = k.key_hash AND"
		"  abs(extract(epoch FROM o.seen_at - k.seen_at)) * 1000 <= $3)",
		lengthof(types), types, values, NULL);
}

void
kafka_keep_rows(const KafkaRollup *rollup, const KafkaRollup *shadow)
{
	KafkaUserSwitch saved;

	kafka_apply_make_constraints_immediate();
	kafka_catalog_become(&saved, rollup->owner, &shadow->settings);
	copy_rows(rollup, shadow);
	kafka_catalog_restore_user(&saved);
	copy_letters(rollup, shadow);
	copy_keys(rollup, shadow);
	execute_for_both(rollup, shadow,
					 "UPDATE kafka.stored_rollup SET kept = true"
					 " WHERE rollup_id = $2 AND rebuilds = $1");
}

/* ----------------------------------------------------------------
 * What it has no more, or has alone
 * ----------------------------------------------------------------
 */

int64
kafka_keep_delete_pruned(const KafkaRollup *rollup, const KafkaRollup *shadow)
{
	KafkaBucket *bucket;
	int64 until;

	if (shadow->bucket_column == NULL || rollup->pruned_until == DT_NOBEGIN)
		return DT_NOBEGIN;
	bucket = kafka_bucket_read(shadow);
	until = kafka_bucket_of_value(bucket, rollup->pruned_until);
	execute_for_bucket(bucket,
					   psprintf("DELETE FROM %s WHERE %s < $1",
								kafka_relation_quote(shadow->storage),
								quote_identifier(shadow->bucket_column)),
					   until);
	return until;
}

bool
kafka_keep_has_older_rows(const KafkaRollup *rollup, const KafkaRollup *shadow)
{
	const char *column;
	bool found;
	int level;

	if (shadow->bucket_column == NULL || rollup->bucket_column == NULL ||
		strcmp(rollup->bucket_column, shadow->bucket_column) != 0)
		return false;
	column = quote_identifier(rollup->bucket_column);
	level = kafka_catalog_go_first();
	(void) SPI_execute(psprintf("SELECT FROM %s WHERE %s <"
								" (SELECT min(%s) FROM %s) LIMIT 1",
								kafka_relation_quote(rollup->storage), column,
								column, kafka_relation_quote(shadow->storage)),
					   false, 0);
	found = SPI_processed > 0;
	SPI_freetuptable(SPI_tuptable);
	AtEOXact_GUC(false, level);
	return found;
}
