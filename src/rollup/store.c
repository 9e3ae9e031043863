/*-------------------------------------------------------------------------
 *
 * store.c
 *		Rows of kafka.stored_rollup and kafka.stored_run, and the lock of a
 *		rollup.
 *
 * A rollup has no owner of its own: it belongs to whoever owns its relation
 * now, so that ALTER VIEW ... OWNER, REASSIGN OWNED and a restored dump need
 * nobody to tell us.  Relations are columns of type regclass: they follow
 * renames, and a dump has their names.
 *
 * IDENTIFICATION
 *		src/rollup/store.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "option.h"
#include "rollup/rollup.h"
#include "storage/lock.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"
#include "utils/varlena.h"

/*
 * The fourth field of our advisory locks' tags.  Those of pg_advisory_lock
 * have 1 or 2 there, so no user can hold, or wait for, one of ours.
 */
#define ROLLUP_LOCK_CLASS 0x4b46

/* What is locked of a rollup; the tag's second field. */
#define LOCK_ROLLUP 0
#define LOCK_REBUILD 1

/* The columns of a KafkaRollup; in this order RollupColumn names them. */
#define ROLLUP_COLUMNS                                                 \
	"rollup_id, name, source, relation, storage, definition, states, " \
	"checks, upsert, late_limit, future_limit, options, search_path, " \
	"time_zone, date_style, interval_style, enabled, state, reason, "  \
	"cluster_id, system_identifier, database_id, isolation_level, "    \
	"rebuilds, generation, live, schedule, job_id, job_role, "         \
	"bucket_column, pruned_until, expect, since, keep_before, kept"

typedef enum RollupColumn
{
	COLUMN_ROLLUP_ID = 1,
	COLUMN_NAME,
	COLUMN_SOURCE,
	COLUMN_RELATION,
	COLUMN_STORAGE,
	COLUMN_DEFINITION,
	COLUMN_STATES,
	COLUMN_CHECKS,
	COLUMN_UPSERT,
	COLUMN_LATE_LIMIT,
	COLUMN_FUTURE_LIMIT,
	COLUMN_OPTIONS,
	COLUMN_SEARCH_PATH,
	COLUMN_TIME_ZONE,
	COLUMN_DATE_STYLE,
	COLUMN_INTERVAL_STYLE,
	COLUMN_ENABLED,
	COLUMN_STATE,
	COLUMN_REASON,
	COLUMN_CLUSTER_ID,
	COLUMN_SYSTEM_IDENTIFIER,
	COLUMN_DATABASE_ID,
	COLUMN_ISOLATION_LEVEL,
	COLUMN_REBUILDS,
	COLUMN_GENERATION,
	COLUMN_LIVE,
	COLUMN_SCHEDULE,
	COLUMN_JOB_ID,
	COLUMN_JOB_ROLE,
	COLUMN_BUCKET_COLUMN,
	COLUMN_PRUNED_UNTIL,
	COLUMN_EXPECT,
	COLUMN_SINCE,
	COLUMN_KEEP_BEFORE,
	COLUMN_KEPT
} RollupColumn;

/* A row of the last statement's result. */
typedef struct Row
{
	HeapTuple tuple;
	TupleDesc desc;
} Row;

static Datum
get_datum(Row row, int column, bool *isnull)
{
	return SPI_getbinval(row.tuple, row.desc, column, isnull);
}

/* A text; palloc'd, NULL for none. */
static char *
get_text(Row row, int column)
{
	bool isnull;
	Datum datum = get_datum(row, column, &isnull);

	return isnull ? NULL : TextDatumGetCString(datum);
}

static bool
get_interval(Row row, int column, Interval *interval)
{
	bool isnull;
	Datum datum = get_datum(row, column, &isnull);

	if (!isnull)
		*interval = *DatumGetIntervalP(datum);
	return !isnull;
}

/* A time, DT_NOBEGIN for NULL. */
static TimestampTz
get_time(Row row, int column)
{
	bool isnull;
	Datum datum = get_datum(row, column, &isnull);

	return isnull ? DT_NOBEGIN : DatumGetTimestampTz(datum);
}

/* A relation that exists, or InvalidOid. */
static Oid
get_relation(Row row, int column)
{
	bool isnull;
	Datum datum = get_datum(row, column, &isnull);

	if (isnull || !SearchSysCacheExists1(RELOID, ObjectIdGetDatum(
													 DatumGetObjectId(datum))))
		return InvalidOid;
	return DatumGetObjectId(datum);
}

/*
 * The owner of the relation; when that was dropped, of the first of the others
 * that is left, so that who owned a rollup can still drop it.  InvalidOid
 * where nothing is left.  The views in the install script do the same.
 */
static Oid
get_owner(Oid relation, Oid storage, Oid definition, Oid states)
{
	Oid owner = kafka_relation_owner(relation);

	if (!OidIsValid(owner))
		owner = kafka_relation_owner(storage);
	if (!OidIsValid(owner))
		owner = kafka_relation_owner(definition);
	if (!OidIsValid(owner))
		owner = kafka_relation_owner(states);
	return owner;
}

/* The columns that say how a rollup is kept, which need no message. */
static void
read_upkeep(Row row, KafkaRollup *rollup)
{
	bool isnull;
	Datum datum = get_datum(row, COLUMN_REBUILDS, &isnull);

	rollup->rebuilds = isnull ? 0 : DatumGetInt32(datum);
	rollup->generation =
		DatumGetInt32(get_datum(row, COLUMN_GENERATION, &isnull));
	rollup->live = get_relation(row, COLUMN_LIVE);
	rollup->schedule = get_text(row, COLUMN_SCHEDULE);
	datum = get_datum(row, COLUMN_JOB_ID, &isnull);
	rollup->job_id = isnull ? 0 : DatumGetInt64(datum);
	rollup->job_role = get_text(row, COLUMN_JOB_ROLE);
	rollup->bucket_column = get_text(row, COLUMN_BUCKET_COLUMN);
	rollup->pruned_until = get_time(row, COLUMN_PRUNED_UNTIL);
	rollup->expect = get_text(row, COLUMN_EXPECT);
	rollup->since = get_time(row, COLUMN_SINCE);
	rollup->keep_before = get_time(row, COLUMN_KEEP_BEFORE);
	rollup->kept = DatumGetBool(get_datum(row, COLUMN_KEPT, &isnull));
}

/* Copies a row of ROLLUP_COLUMNS into the current context. */
static KafkaRollup *
read_rollup(Row row)
{
	KafkaRollup *rollup = palloc0(sizeof(*rollup));
	bool isnull;

	rollup->rollup_id =
		DatumGetInt32(get_datum(row, COLUMN_ROLLUP_ID, &isnull));
	rollup->name = get_text(row, COLUMN_NAME);
	rollup->source = get_relation(row, COLUMN_SOURCE);
	rollup->relation = get_relation(row, COLUMN_RELATION);
	rollup->storage = get_relation(row, COLUMN_STORAGE);
	rollup->definition = get_relation(row, COLUMN_DEFINITION);
	rollup->states = get_relation(row, COLUMN_STATES);
	rollup->checks = get_relation(row, COLUMN_CHECKS);
	(void) get_datum(row, COLUMN_CHECKS, &isnull);
	rollup->has_checks = !isnull;
	rollup->owner = get_owner(rollup->relation, rollup->storage,
							  rollup->definition, rollup->states);
	rollup->upsert_sql = get_text(row, COLUMN_UPSERT);
	rollup->has_late_limit =
		get_interval(row, COLUMN_LATE_LIMIT, &rollup->late_limit);
	rollup->has_future_limit =
		get_interval(row, COLUMN_FUTURE_LIMIT, &rollup->future_limit);
	rollup->options = kafka_rollup_read_options(
		DatumGetJsonbP(get_datum(row, COLUMN_OPTIONS, &isnull)));
	rollup->settings.search_path = get_text(row, COLUMN_SEARCH_PATH);
	rollup->settings.time_zone = get_text(row, COLUMN_TIME_ZONE);
	rollup->settings.date_style = get_text(row, COLUMN_DATE_STYLE);
	rollup->settings.interval_style = get_text(row, COLUMN_INTERVAL_STYLE);
	rollup->enabled = DatumGetBool(get_datum(row, COLUMN_ENABLED, &isnull));
	rollup->state = get_text(row, COLUMN_STATE);
	rollup->reason = get_text(row, COLUMN_REASON);
	rollup->cluster_id = get_text(row, COLUMN_CLUSTER_ID);
	rollup->system_identifier = (uint64) DatumGetInt64(
		get_datum(row, COLUMN_SYSTEM_IDENTIFIER, &isnull));
	rollup->database_id =
		DatumGetObjectId(get_datum(row, COLUMN_DATABASE_ID, &isnull));
	rollup->isolation_level = get_text(row, COLUMN_ISOLATION_LEVEL);
	read_upkeep(row, rollup);
	return rollup;
}

/* Reads the row that a statement with one parameter gives; NULL for none. */
static KafkaRollup *
fetch_rollup(const char *sql, Oid type, Datum value)
{
	KafkaRollup *rollup = NULL;

	if (kafka_catalog_execute(sql, 1, &type, &value, NULL) > 0)
		rollup =
			read_rollup((Row){SPI_tuptable->vals[0], SPI_tuptable->tupdesc});
	SPI_freetuptable(SPI_tuptable);
	return rollup;
}

KafkaRollup *
kafka_rollup_get_by_id(int32 rollup_id)
{
	return fetch_rollup("SELECT " ROLLUP_COLUMNS
						" FROM kafka.stored_rollup WHERE rollup_id = $1",
						INT4OID, Int32GetDatum(rollup_id));
}

KafkaRollup *
kafka_rollup_get_shadow(int32 rollup_id)
{
	return fetch_rollup("SELECT " ROLLUP_COLUMNS
						" FROM kafka.stored_rollup WHERE rebuilds = $1",
						INT4OID, Int32GetDatum(rollup_id));
}

static KafkaRollup *
fetch_by_name(const char *name)
{
	return fetch_rollup("SELECT " ROLLUP_COLUMNS
						" FROM kafka.stored_rollup WHERE name = $1",
						TEXTOID, CStringGetTextDatum(name));
}

/*
 * Finds a rollup by its name as an SQL identifier, which may have a schema:
 * that in which the relation is now.
 */
static KafkaRollup *
fetch_by_identifier(const char *name)
{
	KafkaRollup *rollup;
	List *parts;

	if (!SplitIdentifierString(pstrdup(name), '.', &parts) ||
		list_length(parts) < 1 || list_length(parts) > 2)
		return NULL;
	rollup = fetch_by_name(llast(parts));
	if (rollup == NULL || list_length(parts) == 1)
		return rollup;
	if (!OidIsValid(rollup->relation) ||
		get_rel_namespace(rollup->relation) !=
			get_namespace_oid(linitial(parts), true))
		return NULL;
	return rollup;
}

/* Does the current role have the rights of a rollup's owner? */
static bool
may_use(Oid owner)
{
	/* Superusers have everybody's, nobody's included. */
	return OidIsValid(owner) ? has_privs_of_role(GetUserId(), owner)
							 : superuser();
}

/* One more of the current role's rollups; what is passed to list_own. */
typedef List *(*AddRollup)(List *list, Row row);

static List *
add_runnable(List *list, Row row)
{
	bool isnull;

	/* What is in the making is run by who makes it. */
	(void) get_datum(row, 7, &isnull);
	if (!isnull)
		return list;
	return lappend_int(list, DatumGetInt32(get_datum(row, 1, &isnull)));
}

static List *
add_name(List *list, Row row)
{
	return lappend(list, get_text(row, 2));
}

/* Collects something of each rollup whose owner's rights we have, by id. */
static List *
list_own(AddRollup add)
{
	List *list = NIL;
	uint64 count;
	uint64 i;

	count = kafka_catalog_execute(
		"SELECT rollup_id, name, relation, storage, definition, states,"
		"  rebuilds FROM kafka.stored_rollup ORDER BY rollup_id",
		0, NULL, NULL, NULL);
	for (i = 0; i < count; i++)
	{
		Row row = {SPI_tuptable->vals[i], SPI_tuptable->tupdesc};

		if (may_use(get_owner(get_relation(row, 3), get_relation(row, 4),
							  get_relation(row, 5), get_relation(row, 6))))
			list = add(list, row);
	}
	SPI_freetuptable(SPI_tuptable);
	return list;
}

/* Says that there is no such rollup; only names of one's own are proposed. */
static void
report_missing(const char *name)
{
	List *own = list_own(add_name);
	const char **names = palloc(sizeof(char *) * (list_length(own) + 1));
	const char *nearest;
	ListCell *cell;
	int count = 0;

	foreach(cell, own)
		names[count++] = lfirst(cell);
	nearest = kafka_option_nearest(name, names, count);
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_OBJECT),
			 errmsg("rollup \"%s\" does not exist", name),
			 nearest != NULL
				 ? errhint("Perhaps you meant the rollup \"%s\".", nearest)
				 : 0));
}

KafkaRollup *
kafka_rollup_get(const char *name, bool missing_ok)
{
	KafkaRollup *rollup = fetch_by_name(name);

	if (rollup == NULL)
		rollup = fetch_by_identifier(name);
	if (rollup == NULL && !missing_ok)
		report_missing(name);
	return rollup;
}

List *
kafka_rollup_list_runnable(void)
{
	return list_own(add_runnable);
}

void
kafka_rollup_check_owner(const KafkaRollup *rollup)
{
	if (!may_use(rollup->owner))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("must be owner of rollup \"%s\"", rollup->name)));
}

void
kafka_rollup_check_writable(const char *function)
{
	PreventCommandDuringRecovery(function);
	PreventCommandIfReadOnly(function);
}

void
kafka_rollup_check_enabled(void)
{
	if (!kafka_enable_runs)
		ereport(
			ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("rollups do not run here, since \"kafka_fdw.enable_runs\" "
					"is off"),
			 errhint(
				 "It is turned off on a copy of a database whose original goes on running.")));
}

void
kafka_rollup_set_state(const KafkaRollup *rollup, const char *state,
					   const char *reason)
{
	Oid types[] = {INT4OID, TEXTOID, TEXTOID};
	Datum values[3];
	bool nulls[3] = {false, false, reason == NULL};

	values[0] = Int32GetDatum(rollup->rollup_id);
	values[1] = CStringGetTextDatum(state);
	values[2] = reason != NULL ? CStringGetTextDatum(reason) : (Datum) 0;
	(void) kafka_catalog_execute(
		"UPDATE kafka.stored_rollup SET state = $2, reason = $3"
		" WHERE rollup_id = $1",
		lengthof(types), types, values, nulls);
}

static LOCKTAG
make_tag(int32 rollup_id, uint32 what)
{
	LOCKTAG tag;

	SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, what, (uint32) rollup_id,
						 ROLLUP_LOCK_CLASS);
	return tag;
}

bool
kafka_rollup_lock(int32 rollup_id, bool wait)
{
	LOCKTAG tag = make_tag(rollup_id, LOCK_ROLLUP);

	return LockAcquire(&tag, ExclusiveLock, false, !wait) !=
		   LOCKACQUIRE_NOT_AVAIL;
}

void
kafka_rollup_hold(int32 rollup_id)
{
	LOCKTAG tag = make_tag(rollup_id, LOCK_ROLLUP);

	(void) LockAcquire(&tag, ExclusiveLock, true, false);
}

void
kafka_rollup_release(int32 rollup_id)
{
	LOCKTAG tag = make_tag(rollup_id, LOCK_ROLLUP);

	(void) LockRelease(&tag, ExclusiveLock, true);
}

bool
kafka_rollup_begin_rebuild(int32 rollup_id)
{
	LOCKTAG tag = make_tag(rollup_id, LOCK_REBUILD);

	return LockAcquire(&tag, ExclusiveLock, true, true) !=
		   LOCKACQUIRE_NOT_AVAIL;
}

void
kafka_rollup_end_rebuild(int32 rollup_id)
{
	LOCKTAG tag = make_tag(rollup_id, LOCK_REBUILD);

	(void) LockRelease(&tag, ExclusiveLock, true);
}

KafkaRollup *
kafka_rollup_get_locked(const char *name, bool missing_ok)
{
	KafkaRollup *rollup = kafka_rollup_get(name, missing_ok);

	if (rollup == NULL)
		return NULL;
	kafka_rollup_check_owner(rollup);
	(void) kafka_rollup_lock(rollup->rollup_id, true);

	rollup = kafka_rollup_get_by_id(rollup->rollup_id);
	if (rollup == NULL)
		return kafka_rollup_get(name, missing_ok); /* the error, or NULL */
	kafka_rollup_check_owner(rollup);
	return rollup;
}

void
kafka_rollup_log_run(const KafkaRollup *rollup, const KafkaRollupRun *run)
{
	Oid types[] = {INT4OID, TEXTOID, TIMESTAMPTZOID, TIMESTAMPTZOID, INT8OID,
				   INT8OID, INT8OID, INT8OID,        INT8OID,        INT8OID,
				   INT8OID, TEXTOID, TEXTOID};
	Datum values[lengthof(types)];
	bool nulls[lengthof(types)] = {false};

	values[0] = Int32GetDatum(rollup->rollup_id);
	values[1] = CStringGetTextDatum(run->event);
	values[2] = TimestampTzGetDatum(run->started_at);
	values[3] = TimestampTzGetDatum(GetCurrentTimestamp());
	values[4] = Int64GetDatum(run->messages);
	values[5] = Int64GetDatum(run->bytes);
	values[6] = Int64GetDatum(run->rows_selected);
	values[7] = Int64GetDatum(run->groups);
	values[8] = Int64GetDatum(run->dead_letters);
	values[9] = Int64GetDatum(run->duplicates);
	values[10] = Int64GetDatum(run->lost_messages);
	nulls[11] = run->sqlerrcode == 0;
	values[11] = nulls[11]
					 ? (Datum) 0
					 : CStringGetTextDatum(unpack_sql_state(run->sqlerrcode));
	nulls[12] = run->detail == NULL;
	values[12] = nulls[12] ? (Datum) 0 : CStringGetTextDatum(run->detail);
	(void) kafka_catalog_execute(
		"INSERT INTO kafka.stored_run"
		" (rollup_id, event, started_at, finished_at, messages, bytes,"
		"  rows_selected, groups, dead_letters, duplicates, lost_messages,"
		"  sqlstate, detail)"
		" VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)",
		lengthof(types), types, values, nulls);
}
