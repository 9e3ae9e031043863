/*-------------------------------------------------------------------------
 *
 * swap.c
 *		Puts the shadow of a rollup in its place.
 *
 * One transaction: first the rows of the extension's tables, however many, then
 * the locks of the relations, then a few statements.  Readers of the view wait
 * for these alone.  Everybody who takes locks of a rollup's relations has, or
 * waits for, the rollup's own first, but for readers: they take them in the
 * order of their queries.  So we give up a lock that we do not get soon, and
 * with it those that we have: no reader waits for us longer than we wait for
 * one reader, and none is ever the victim of a deadlock.
 *
 * The rollup keeps its id, its view and its view of definition, which get new
 * queries: what depends on them, or was granted on them, stays.  Everything
 * else is the shadow's from then on, under the names that the old ones had.
 *
 * IDENTIFICATION
 *		src/rollup/swap.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/relation.h"
#include "access/reloptions.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "commands/defrem.h"
#include "fdw/guard.h"
#include "miscadmin.h"
#include "rollup/analyze.h"
#include "rollup/apply.h"
#include "rollup/rebuild.h"
#include "storage/latch.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

/*
 * How long readers may have to wait for us: less than deadlock_timeout, after
 * which a reader would be told of a deadlock.
 */
#define LOCK_TIMEOUT "200ms"

/* How often it is tried, and how long readers are let through in between. */
#define LOCK_ATTEMPTS 5
#define LOCK_PAUSE_MS 200

/* Two rollups that are being swapped. */
typedef struct Swap
{
	const KafkaRollup *rollup;
	const KafkaRollup *shadow;
	char *live_sql;      /* NULL where there is no live view */
	bool leaves_storage; /* rows of the old one are in it alone */
	int64 pruned_until;  /* as the rollup's is to be */
} Swap;

/* ----------------------------------------------------------------
 * Statements
 * ----------------------------------------------------------------
 */

/* Runs a fixed statement with both ids as $1 and $2. */
static uint64
execute_for_both(const Swap *swap, const char *sql)
{
	return kafka_shadow_execute_for_both(swap->rollup->rollup_id,
										 swap->shadow->rollup_id, sql);
}

/*
 * May the rollup have counted messages that lie before the shadow's beginning
 * in some partition?
 */
static bool
is_cut(const Swap *swap)
{
	return execute_for_both(
			   swap,
			   "SELECT FROM kafka.stored_position AS s"
			   " LEFT JOIN kafka.stored_position AS o ON o.rollup_id = $1"
			   "  AND o.topic = s.topic"
			   "  AND o.kafka_partition = s.kafka_partition"
			   " WHERE s.rollup_id = $2 AND s.start_offset > 0"
			   " AND (o.start_offset >= s.start_offset) IS NOT TRUE"
			   " LIMIT 1") > 0;
}

/* ----------------------------------------------------------------
 * Rows of the extension's tables
 * ----------------------------------------------------------------
 */

/*
 * What the shadow has read it has judged itself; where rows were kept, it has
 * copies of the other letters.  Else these belong to no row any more: they are
 * left to be looked at.
 */
static void
move_letters(const Swap *swap)
{
	if (swap->shadow->kept)
		execute_for_both(swap, "DELETE FROM kafka.stored_dead_letter"
							   " WHERE rollup_id = $1 AND $2 IS NOT NULL");
	else
	{
		execute_for_both(swap,
						 "DELETE FROM kafka.stored_dead_letter AS d"
						 " USING kafka.stored_position AS p"
						 " WHERE p.rollup_id = $2 AND d.rollup_id = $1"
						 " AND d.topic = p.topic"
						 " AND d.kafka_partition = p.kafka_partition"
						 " AND d.kafka_offset >= coalesce(p.start_offset, 0)");
		execute_for_both(
			swap,
			"UPDATE kafka.stored_dead_letter"
			"   SET status = 'failed', retry_at = NULL"
			" WHERE rollup_id = $1 AND status <> 'done' AND $2 IS NOT NULL");
	}
	execute_for_both(swap, "UPDATE kafka.stored_dead_letter"
						   "   SET rollup_id = $1 WHERE rollup_id = $2");
}

static void
move_keys(const Swap *swap)
{
	if (swap->rollup->options.unique_key == NULL)
		return;
	kafka_keys_forget_all(swap->rollup->rollup_id);
	execute_for_both(swap, "UPDATE kafka.stored_key SET rollup_id = $1"
						   " WHERE rollup_id = $2");
}

static void
move_positions(const Swap *swap)
{
	if (swap->shadow->kept)
		execute_for_both(
			swap,
			"UPDATE kafka.stored_position AS s"
			"   SET start_offset = o.start_offset"
			"  FROM kafka.stored_position AS o"
			" WHERE o.rollup_id = $1 AND s.rollup_id = $2"
			" AND o.topic = s.topic AND o.kafka_partition = s.kafka_partition"
			" AND (s.start_offset <= o.start_offset) IS NOT TRUE");
	execute_for_both(swap, "DELETE FROM kafka.stored_position"
						   " WHERE rollup_id = $1 AND $2 IS NOT NULL");
	execute_for_both(swap, "UPDATE kafka.stored_position"
						   "   SET rollup_id = $1 WHERE rollup_id = $2");
}

/* One row among the runs stands for all those of the shadow. */
static void
log_rebuild(const Swap *swap)
{
	execute_for_both(
		swap,
		"INSERT INTO kafka.stored_run (rollup_id, event, started_at,"
		"  finished_at, messages, bytes, rows_selected, groups, dead_letters,"
		"  duplicates, lost_messages, detail)"
		" SELECT $1, 'rebuild', s.created_at, clock_timestamp(),"
		"  coalesce(sum(r.messages), 0), coalesce(sum(r.bytes), 0),"
		"  coalesce(sum(r.rows_selected), 0), coalesce(sum(r.groups), 0),"
		"  coalesce(sum(r.dead_letters), 0), coalesce(sum(r.duplicates), 0),"
		"  coalesce(sum(r.lost_messages), 0),"
		"  format('generation %s', s.generation)"
		"  || CASE WHEN s.kept THEN format("
		"     '; buckets before %s are of generation %s', s.valid_from,"
		"     o.generation) ELSE '' END"
		" FROM kafka.stored_rollup AS s"
		" JOIN kafka.stored_rollup AS o ON o.rollup_id = s.rebuilds"
		" LEFT JOIN kafka.stored_run AS r ON r.rollup_id = s.rollup_id"
		" WHERE s.rollup_id = $2 GROUP BY s.rollup_id, o.rollup_id");
}

static void
move_pruned_until(const Swap *swap)
{
	static const Oid types[] = {INT4OID, TIMESTAMPTZOID};
	Datum values[] = {Int32GetDatum(swap->rollup->rollup_id),
					  TimestampTzGetDatum(swap->pruned_until)};
	bool nulls[] = {false, swap->pruned_until == DT_NOBEGIN};

	kafka_catalog_execute("UPDATE kafka.stored_rollup SET pruned_until = $2"
						  " WHERE rollup_id = $1",
						  lengthof(types), types, values, nulls);
}

/*
 * A pause by somebody is his will and stays; what it failed with, or was
 * halted for, was the old one's.
 */
static void
move_rollup(const Swap *swap)
{
	execute_for_both(
		swap,
		"UPDATE kafka.stored_rollup AS o SET generation = s.generation,"
		"  storage = s.storage, states = s.states, checks = s.checks,"
		"  upsert = s.upsert, bucket_column = s.bucket_column,"
		"  bucket_width = s.bucket_width,"
		"  valid_from = CASE WHEN s.kept OR s.valid_from IS NULL AND EXISTS"
		"                 (SELECT FROM kafka.stored_position AS p"
		"                  WHERE p.rollup_id = $1 AND p.start_offset > 0)"
		"               THEN o.valid_from ELSE s.valid_from END,"
		"  cluster_id = coalesce(s.cluster_id, o.cluster_id),"
		"  isolation_level = coalesce(s.isolation_level, o.isolation_level),"
		"  state = CASE WHEN o.enabled THEN 'RUNNING' ELSE 'PAUSED' END,"
		"  reason = CASE WHEN o.enabled THEN NULL ELSE o.reason END"
		" FROM kafka.stored_rollup AS s"
		" WHERE o.rollup_id = $1 AND s.rollup_id = $2");
	move_pruned_until(swap);
	execute_for_both(swap, "DELETE FROM kafka.stored_rollup"
						   " WHERE rollup_id = $2 AND rebuilds = $1");
}

/* ----------------------------------------------------------------
 * Locks
 * ----------------------------------------------------------------
 */

/* Takes all, in drop_rollup's order, or raises an error. */
static bool
lock_relations(void *arg)
{
	const KafkaRollup *rollup = ((const Swap *) arg)->rollup;
	Oid relations[] = {rollup->relation, rollup->live,       rollup->checks,
					   rollup->states,   rollup->definition, rollup->storage};
	int level = NewGUCNestLevel();

	(void) set_config_option("lock_timeout", LOCK_TIMEOUT, PGC_USERSET,
							 PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	for (int i = 0; i < lengthof(relations); i++)
	{
		if (OidIsValid(relations[i]))
			LockRelationOid(relations[i], AccessExclusiveLock);
	}
	AtEOXact_GUC(false, level);
	return true;
}

static void
let_readers_pass(void)
{
	(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
					 LOCK_PAUSE_MS, PG_WAIT_EXTENSION);
	ResetLatch(MyLatch);
	CHECK_FOR_INTERRUPTS();
}

static bool
try_to_lock_relations(Swap *swap)
{
	for (int attempt = 0; attempt < LOCK_ATTEMPTS; attempt++)
	{
		ErrorData *error;

		if (attempt > 0)
			let_readers_pass();
		error = kafka_guard_try(lock_relations, swap);
		if (error == NULL)
			return true;
		if (error->sqlerrcode != ERRCODE_LOCK_NOT_AVAILABLE &&
			error->sqlerrcode != ERRCODE_T_R_DEADLOCK_DETECTED)
			ReThrowError(error);
		FreeErrorData(error);
	}
	return false;
}

/* ----------------------------------------------------------------
 * Relations
 * ----------------------------------------------------------------
 */

/* " WITH (...)" with the options that somebody gave a view, or nothing. */
static char *
get_view_options(Oid view)
{
	HeapTuple tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(view));
	StringInfoData text;
	List *options = NIL;
	Datum datum;
	ListCell *cell;
	bool isnull;

	initStringInfo(&text);
	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "view %u is gone", view); /* cannot happen: it is locked */
	datum = SysCacheGetAttr(RELOID, tuple, Anum_pg_class_reloptions, &isnull);
	if (!isnull)
		options = untransformRelOptions(datum);
	ReleaseSysCache(tuple);
	foreach(cell, options)
	{
		DefElem *option = lfirst_node(DefElem, cell);

		appendStringInfo(&text, "%s%s = %s", text.len > 0 ? ", " : " WITH (",
						 quote_identifier(option->defname),
						 quote_literal_cstr(defGetString(option)));
	}
	if (text.len > 0)
		appendStringInfoChar(&text, ')');
	return text.data;
}

static void
replace_view(Oid view, const char *query)
{
	kafka_relation_execute(psprintf("CREATE OR REPLACE VIEW %s%s AS %s",
									kafka_relation_quote(view),
									get_view_options(view), query));
}

/*
 * Indexes and the sequence of a table are called after it by PostgreSQL, and so
 * are to be called after its new name; other names are left alone.
 */
static void
rename_parts(Oid storage, const char *name)
{
	static const Oid types[] = {REGCLASSOID, TEXTOID};
	Datum values[] = {ObjectIdGetDatum(storage), CStringGetTextDatum(name)};
	uint64 count = kafka_catalog_execute(
		"SELECT p.oid, CASE p.relkind WHEN 'S' THEN 'SEQUENCE' ELSE 'INDEX'"
		"  END, $2 || substr(p.relname, length(t.relname) + 1)"
		" FROM pg_class AS t, pg_class AS p WHERE t.oid = $1"
		" AND starts_with(p.relname, t.relname || '_')"
		" AND (p.oid IN (SELECT indexrelid FROM pg_index WHERE indrelid = $1)"
		"  OR p.relkind = 'S' AND p.oid IN (SELECT objid FROM pg_depend"
		"   WHERE refclassid = 'pg_class'::regclass AND refobjid = $1"
		"   AND classid = 'pg_class'::regclass AND deptype = 'i'))",
		lengthof(types), types, values, NULL);
	SPITupleTable *parts = SPI_tuptable;
	bool isnull;

	for (uint64 i = 0; i < count; i++)
	{
		Oid part = DatumGetObjectId(
			SPI_getbinval(parts->vals[i], parts->tupdesc, 1, &isnull));
		char *new_name = SPI_getvalue(parts->vals[i], parts->tupdesc, 3);

		if (strlen(new_name) < NAMEDATALEN &&
			!OidIsValid(get_relname_relid(new_name, get_rel_namespace(part))))
			kafka_relation_execute(
				psprintf("ALTER %s %s RENAME TO %s",
						 SPI_getvalue(parts->vals[i], parts->tupdesc, 2),
						 kafka_relation_quote(part),
						 quote_identifier(new_name)));
	}
	SPI_freetuptable(parts);
}

/* Gives the new relation its name for good, where nobody else has that. */
static void
rename_relation(const char *kind, Oid relid, const char *name,
				const char *comment)
{
	if (!OidIsValid(get_relname_relid(name, get_rel_namespace(relid))))
		kafka_relation_execute(psprintf("ALTER %s %s RENAME TO %s", kind,
										kafka_relation_quote(relid),
										quote_identifier(name)));
	CommandCounterIncrement();
	kafka_relation_execute(psprintf("COMMENT ON %s %s IS %s", kind,
									kafka_relation_quote(relid),
									quote_literal_cstr(comment)));
}

/* The comments are those of relation.c. */
static void
rename_relations(const Swap *swap, char *states_name, char *checks_name)
{
	const KafkaRollup *shadow = swap->shadow;
	const char *name = swap->rollup->name;
	char *storage_name;

	rename_relation(
		"VIEW", shadow->states, states_name,
		psprintf("states of rollup %s, as its runs make them of a batch",
				 name));
	if (OidIsValid(shadow->checks))
		rename_relation(
			"VIEW", shadow->checks, checks_name,
			psprintf("what decides whether rollup %s counts a message", name));
	storage_name = psprintf("_%s_g%d", name, shadow->generation);
	rename_parts(shadow->storage, storage_name);
	rename_relation(
		"TABLE", shadow->storage, storage_name,
		psprintf("states of rollup %s, written by its runs alone: a change by "
				 "hand makes it wrong for good",
				 name));
}

static void
swap_relations(const Swap *swap)
{
	const KafkaRollup *rollup = swap->rollup;
	const KafkaRollup *shadow = swap->shadow;
	char *states_name = get_rel_name(rollup->states);
	char *checks_name = OidIsValid(rollup->checks)
							? get_rel_name(rollup->checks)
							: psprintf("_%s_checks", rollup->name);

	/* Queries are read with the settings that they were written with. */
	int level = kafka_analysis_fix_settings("pg_catalog, pg_temp");

	replace_view(rollup->relation, kafka_shadow_get_query(shadow->relation));
	replace_view(rollup->definition,
				 kafka_shadow_get_query(shadow->definition));
	if (swap->live_sql != NULL)
		replace_view(rollup->live, swap->live_sql);
	kafka_relation_drop("VIEW", shadow->relation, false);
	kafka_relation_drop("VIEW", shadow->definition, false);
	kafka_relation_drop("VIEW", rollup->checks, false);
	kafka_relation_drop("VIEW", rollup->states, false);
	if (swap->leaves_storage)
	{
		ereport(NOTICE,
				(errmsg("table \"%s\" stays behind with the old states of "
						"rollup \"%s\"",
						get_rel_name(rollup->storage), rollup->name),
				 errdetail("It has counted messages that the new one has not "
						   "read.")));
		kafka_relation_execute(
			psprintf("COMMENT ON TABLE %s IS %s",
					 kafka_relation_quote(rollup->storage),
					 quote_literal_cstr(
						 psprintf("former states of rollup %s, which was "
								  "rebuilt without them; used by nothing",
								  rollup->name))));
	}
	else
		kafka_relation_drop("TABLE", rollup->storage, false);
	rename_relations(swap, states_name, checks_name);
	AtEOXact_GUC(true, level);
}

/*
 * Indexes that somebody made on the old storage: those that have no equal on the
 * new one.
 */
static void
tell_indexes(const Swap *swap)
{
	static const Oid types[] = {OIDOID, OIDOID};
	Datum values[] = {ObjectIdGetDatum(swap->rollup->storage),
					  ObjectIdGetDatum(swap->shadow->storage)};
	char *found;

	kafka_catalog_execute(
		"SELECT string_agg(pg_get_indexdef(o.indexrelid), '; '"
		"  ORDER BY o.indexrelid) FROM pg_index AS o WHERE o.indrelid = $1"
		" AND NOT EXISTS (SELECT FROM pg_index AS n WHERE n.indrelid = $2"
		"  AND n.indisunique = o.indisunique"
		"  AND substring(pg_get_indexdef(n.indexrelid) FROM ' USING .*')"
		"    = substring(pg_get_indexdef(o.indexrelid) FROM ' USING .*'))",
		lengthof(types), types, values, NULL);
	found = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1);
	if (found != NULL)
		ereport(NOTICE,
				(errmsg("indexes of the old table of rollup \"%s\" are gone "
						"with it",
						swap->rollup->name),
				 errdetail("They were made by: %s", found),
				 errhint("Where they are still wanted, create them on the new "
						 "table.")));
	SPI_freetuptable(SPI_tuptable);
}

bool
kafka_swap_run(const KafkaRollup *rollup, const KafkaRollup *shadow)
{
	Swap swap = {.rollup = rollup, .shadow = shadow};
	KafkaUserSwitch saved;

	kafka_apply_make_constraints_immediate();
	kafka_catalog_become(&saved, rollup->owner, &shadow->settings);
	if (OidIsValid(rollup->live))
		swap.live_sql = kafka_shadow_generate_live(rollup, shadow);
	swap.leaves_storage = kafka_keep_has_older_rows(rollup, shadow) ||
						  (!shadow->kept && is_cut(&swap));
	swap.pruned_until = kafka_keep_delete_pruned(rollup, shadow);

	/* The option may have been set meanwhile. */
	kafka_prune_prepare(&rollup->options, shadow->bucket_column,
						shadow->storage);
	kafka_catalog_restore_user(&saved);
	move_letters(&swap);
	move_keys(&swap);
	move_positions(&swap);
	log_rebuild(&swap);
	move_rollup(&swap);
	if (!try_to_lock_relations(&swap))
		return false;
	if (!swap.leaves_storage)
		tell_indexes(&swap);
	kafka_catalog_become(&saved, rollup->owner, NULL);
	swap_relations(&swap);
	kafka_catalog_restore_user(&saved);
	return true;
}
