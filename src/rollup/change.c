/*-------------------------------------------------------------------------
 *
 * change.c
 *		Changes of a rollup other than its positions: kafka.alter_rollup,
 *		kafka.drop_rollup, kafka.take_over.
 *
 * Each takes the rollup's lock, waiting for a batch that is being stored, and
 * reads the row again under it: what was read before only told whose it is.
 *
 * IDENTIFICATION
 *		src/rollup/change.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xlog.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "compat.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "rollup/rollup.h"
#include "rollup/schedule.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"

KAFKA_SQL_FUNCTION(kafka_alter_rollup);
KAFKA_SQL_FUNCTION(kafka_drop_rollup);
KAFKA_SQL_FUNCTION(kafka_take_over);

/* ----------------------------------------------------------------
 * kafka.alter_rollup
 * ----------------------------------------------------------------
 */

/* The options of a rollup as they are stored. */
static Jsonb *
read_stored_options(const KafkaRollup *rollup)
{
	Oid type = INT4OID;
	Datum value = Int32GetDatum(rollup->rollup_id);
	Jsonb *options;
	bool isnull;

	if (kafka_catalog_execute("SELECT options FROM kafka.stored_rollup"
							  " WHERE rollup_id = $1",
							  1, &type, &value, NULL) != 1)
		elog(ERROR, "rollup %d is gone", /* cannot happen: it is locked */
			 rollup->rollup_id);
	options =
		DatumGetJsonbPCopy(SPI_getbinval(SPI_tuptable->vals[0],
										 SPI_tuptable->tupdesc, 1, &isnull));
	SPI_freetuptable(SPI_tuptable);
	return options;
}

/*
 * The key decides what a message's hash is, and the time which hashes are kept:
 * with others, messages that were counted would be counted again.
 */
static void
refuse_other_key(const KafkaRollup *rollup, const KafkaRollupOptions *options)
{
	const char *old_key = rollup->options.unique_key;
	const char *new_key = options->unique_key;

	if ((old_key == NULL) == (new_key == NULL) &&
		(old_key == NULL || strcmp(old_key, new_key) == 0) &&
		rollup->options.unique_within_ms == options->unique_within_ms)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("cannot change \"unique_key\" and \"unique_within\" of a "
					"rollup"),
			 errdetail(
				 "Messages counted so far are known by the hashes of the "
				 "key they had."),
			 errhint(
				 "Create another rollup, and drop this one when the other has "
				 "caught up.")));
}

/* Puts the keys that are given over those stored; a null takes a key away. */
static void
change_options(const KafkaRollup *rollup, const Jsonb *given)
{
	Oid types[] = {INT4OID, JSONBOID};
	KafkaRollupOptions options;
	Datum merged;
	Datum values[2];

	if (!JB_ROOT_IS_OBJECT(given))
		(void) kafka_rollup_read_options(given); /* the error */
	merged = DirectFunctionCall2(jsonb_concat,
								 JsonbPGetDatum(read_stored_options(rollup)),
								 JsonbPGetDatum(given));
	/* Checked with the nulls, whose keys may be wrong too. */
	options = kafka_rollup_read_options(DatumGetJsonbP(merged));
	refuse_other_key(rollup, &options);
	kafka_prune_prepare(&options, rollup->bucket_column, rollup->storage);

	values[0] = Int32GetDatum(rollup->rollup_id);
	values[1] = DirectFunctionCall1(jsonb_strip_nulls, merged);
	(void) kafka_catalog_execute("UPDATE kafka.stored_rollup SET options = $2"
								 " WHERE rollup_id = $1",
								 lengthof(types), types, values, NULL);
}

/*
 * Disabling pauses and enabling takes a pause away, whatever it came from:
 * that is how one goes on after the circuit has opened.  A halt says that data
 * would be lost or counted twice, and stays either way.
 */
static void
change_enabled(const KafkaRollup *rollup, bool enabled)
{
	Oid types[] = {INT4OID, BOOLOID};
	Datum values[2];

	values[0] = Int32GetDatum(rollup->rollup_id);
	values[1] = BoolGetDatum(enabled);
	(void) kafka_catalog_execute("UPDATE kafka.stored_rollup SET enabled = $2"
								 " WHERE rollup_id = $1",
								 lengthof(types), types, values, NULL);

	if (strcmp(rollup->state, "HALTED") == 0)
	{
		if (enabled)
			ereport(NOTICE,
					(errmsg("rollup \"%s\" is enabled, but still halted",
							rollup->name),
					 rollup->reason != NULL
						 ? errdetail_internal("%s", rollup->reason)
						 : 0));
	}
	else if (!enabled)
		kafka_rollup_set_state(
			rollup, "PAUSED",
			psprintf("Role \"%s\" disabled it. kafka.alter_rollup(%s, enabled "
					 "=> true) lets it go on.",
					 GetUserNameFromId(GetUserId(), false),
					 quote_literal_cstr(rollup->name)));
	else if (strcmp(rollup->state, "PAUSED") == 0)
		kafka_rollup_set_state(rollup, "RUNNING", NULL);
}

/*
 * kafka.alter_rollup(name text, enabled boolean, schedule text, options jsonb)
 */
Datum
kafka_alter_rollup(PG_FUNCTION_ARGS)
{
	const char *schedule = NULL;
	KafkaRollup *rollup;

	kafka_catalog_check_not_null(fcinfo, 0, "name");
	kafka_rollup_check_writable("kafka.alter_rollup()");
	if (!PG_ARGISNULL(2))
		schedule = text_to_cstring(PG_GETARG_TEXT_PP(2));

	SPI_connect();
	rollup =
		kafka_rollup_get_locked(text_to_cstring(PG_GETARG_TEXT_PP(0)), false);
	if (!PG_ARGISNULL(2) || !PG_ARGISNULL(3))
		kafka_shadow_refuse(rollup);
	if (!PG_ARGISNULL(3))
		change_options(rollup, PG_GETARG_JSONB_P(3));
	if (!PG_ARGISNULL(1))
		change_enabled(rollup, PG_GETARG_BOOL(1));
	kafka_schedule_alter(rollup, schedule, !PG_ARGISNULL(1));
	SPI_finish();
	PG_RETURN_VOID();
}

/* ----------------------------------------------------------------
 * kafka.drop_rollup
 * ----------------------------------------------------------------
 */

/* The relations of a rollup that are there, locked against everybody. */
static List *
lock_relations(const KafkaRollup *rollup)
{
	Oid all[] = {rollup->relation, rollup->live,       rollup->checks,
				 rollup->states,   rollup->definition, rollup->storage};
	List *relations = NIL;
	int i;

	for (i = 0; i < lengthof(all); i++)
	{
		if (!OidIsValid(all[i]))
			continue;
		LockRelationOid(all[i], AccessExclusiveLock);
		/* It may have been dropped while we waited. */
		if (get_rel_relkind(all[i]) != '\0')
			relations = lappend_oid(relations, all[i]);
	}
	return relations;
}

/*
 * Drops those of a kind with one statement, so that those that depend on each
 * other do not stand in each other's way.  It is a statement, with the
 * caller's rights, so that it is checked, and seen by event triggers, as if the
 * caller had given it.
 */
static void
drop_relations(List *relations, bool views, bool cascade)
{
	StringInfoData sql;
	const char *separator = " ";
	ListCell *cell;

	initStringInfo(&sql);
	appendStringInfoString(&sql, views ? "DROP VIEW" : "DROP TABLE");
	foreach(cell, relations)
	{
		Oid relid = lfirst_oid(cell);
		char kind = get_rel_relkind(relid); /* zero: the first call took it */

		if (kind == '\0' || (kind == RELKIND_VIEW) != views)
			continue;
		appendStringInfo(&sql, "%s%s", separator, kafka_relation_quote(relid));
		separator = ", ";
	}
	if (*separator == ' ')
		return;
	appendStringInfoString(&sql, cascade ? " CASCADE" : " RESTRICT");
	kafka_relation_execute(sql.data);
}

/* kafka.drop_rollup(name text, if_exists boolean, cascade boolean) */
Datum
kafka_drop_rollup(PG_FUNCTION_ARGS)
{
	Oid type = INT4OID;
	bool if_exists = !PG_ARGISNULL(1) && PG_GETARG_BOOL(1);
	bool cascade = !PG_ARGISNULL(2) && PG_GETARG_BOOL(2);
	KafkaRollup *rollup;
	List *relations;
	char *name;
	Datum value;

	kafka_catalog_check_not_null(fcinfo, 0, "name");
	name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	kafka_rollup_check_writable("kafka.drop_rollup()");

	SPI_connect();
	rollup = kafka_rollup_get_locked(name, if_exists);
	if (rollup == NULL)
	{
		ereport(NOTICE,
				(errmsg("rollup \"%s\" does not exist, skipping", name)));
		SPI_finish();
		PG_RETURN_VOID();
	}

	kafka_shadow_drop_of(rollup, cascade);
	kafka_rollup_check_droppable(rollup);
	relations = lock_relations(rollup);
	drop_relations(relations, true, cascade);
	drop_relations(relations, false, cascade);
	kafka_schedule_drop(rollup);
	value = Int32GetDatum(rollup->rollup_id);
	(void) kafka_catalog_execute("DELETE FROM kafka.stored_key"
								 " WHERE rollup_id = $1",
								 1, &type, &value, NULL);
	(void) kafka_catalog_execute("DELETE FROM kafka.stored_rollup"
								 " WHERE rollup_id = $1",
								 1, &type, &value, NULL);
	SPI_finish();
	PG_RETURN_VOID();
}

/* ----------------------------------------------------------------
 * kafka.take_over
 * ----------------------------------------------------------------
 */

static bool
is_of_here(const KafkaRollup *rollup)
{
	return rollup->system_identifier == GetSystemIdentifier() &&
		   rollup->database_id == MyDatabaseId;
}

/*
 * Makes a rollup that was restored from elsewhere this database's.  What it
 * was halted for before, if anything, the next run finds again; a pause is
 * somebody's will and stays.
 */
static void
adopt(const KafkaRollup *rollup)
{
	Oid types[] = {INT4OID, INT8OID, OIDOID};
	KafkaRollupRun run = {.event = "take over"};
	Datum values[3];

	values[0] = Int32GetDatum(rollup->rollup_id);
	values[1] = Int64GetDatum((int64) GetSystemIdentifier());
	values[2] = ObjectIdGetDatum(MyDatabaseId);
	(void)
		kafka_catalog_execute("UPDATE kafka.stored_rollup"
							  "   SET system_identifier = $2, database_id = $3"
							  " WHERE rollup_id = $1",
							  lengthof(types), types, values, NULL);
	if (strcmp(rollup->state, "PAUSED") != 0)
		kafka_rollup_set_state(rollup, "RUNNING", NULL);
	kafka_schedule_alter(rollup, NULL, true);

	run.started_at = GetCurrentTimestamp();
	run.detail = psprintf("role \"%s\" took over from system " UINT64_FORMAT
						  ", database %u",
						  GetUserNameFromId(GetUserId(), false),
						  rollup->system_identifier, rollup->database_id);
	kafka_rollup_log_run(rollup, &run);
}

/* kafka.take_over(name text): how many were taken over */
Datum
kafka_take_over(PG_FUNCTION_ARGS)
{
	List *ids;
	ListCell *cell;
	int32 count = 0;

	kafka_rollup_check_writable("kafka.take_over()");
	SPI_connect();
	if (PG_ARGISNULL(0))
		ids = kafka_rollup_list_runnable();
	else
	{
		char *name = text_to_cstring(PG_GETARG_TEXT_PP(0));

		ids = list_make1_int(kafka_rollup_get_locked(name, false)->rollup_id);
	}

	/* By id, which is the order in which everybody takes several locks. */
	foreach(cell, ids)
	{
		int32 rollup_id = lfirst_int(cell);
		KafkaRollup *rollup = kafka_rollup_get_by_id(rollup_id);

		if (rollup == NULL || is_of_here(rollup))
			continue;
		(void) kafka_rollup_lock(rollup_id, true);
		rollup = kafka_rollup_get_by_id(rollup_id);
		if (rollup == NULL || is_of_here(rollup))
			continue;
		kafka_rollup_check_owner(rollup);
		adopt(rollup);
		count++;
	}
	SPI_finish();
	PG_RETURN_INT32(count);
}
