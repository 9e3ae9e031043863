/*-------------------------------------------------------------------------
 *
 * tail_row.c
 *		A rollup's rows as the snapshot of a query shows them.
 *
 * The query reads storage by its own snapshot, and the positions must be those
 * that belong to it, or messages would count twice, or not at all.  So the
 * rows are read here by that very snapshot, with index scans: a statement of
 * ours would need another user for it, in the middle of somebody's query.
 * That the rows are told to nobody who has no right to see them is for the
 * callers to see to.
 *
 * IDENTIFICATION
 *		src/rollup/tail_row.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/stratnum.h"
#include "access/table.h"
#include "catalog/namespace.h"
#include "catalog/pg_am.h"
#include "rollup/tail.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

/* A condition: column <operator of a btree> value. */
typedef struct RowKey
{
	const char *column;
	StrategyNumber strategy;
	RegProcedure procedure;
	Datum value;
} RowKey;

#define MAX_ROW_KEYS 4

typedef struct RowScan
{
	Relation table;
	SysScanDesc scan;
	HeapTuple tuple; /* the current one */
} RowScan;

/* The number of a column of ours. */
static AttrNumber
get_column(Relation table, const char *name)
{
	AttrNumber attnum = get_attnum(RelationGetRelid(table), name);

	/* columns of the extension's tables are as it made them: cannot happen */
	if (attnum == InvalidAttrNumber)
		elog(ERROR, "no column \"%s\" in table \"%s\"", name,
			 RelationGetRelationName(table));
	return attnum;
}

/* A unique index whose first columns are those of the keys, in their order. */
static Oid
find_index(Relation table, const RowKey *keys, int nkeys)
{
	List *indexes = RelationGetIndexList(table);
	Oid found = InvalidOid;
	ListCell *cell;

	foreach(cell, indexes)
	{
		Relation index = index_open(lfirst_oid(cell), AccessShareLock);
		Form_pg_index form = index->rd_index;
		bool fits = form->indisunique && form->indisvalid;
		int column = 0;

		for (int i = 0; i < nkeys && fits; i++)
		{
			if (i > 0 && strcmp(keys[i].column, keys[i - 1].column) == 0)
				continue;
			fits = column < form->indnkeyatts &&
				   form->indkey.values[column] ==
					   get_column(table, keys[i].column);
			column++;
		}
		if (fits)
			found = form->indexrelid;
		index_close(index, AccessShareLock);
	}
	list_free(indexes);
	return found;
}

static void
begin_scan(RowScan *scan, const char *name, Snapshot snapshot,
		   const RowKey *keys, int nkeys)
{
	Oid relid = get_relname_relid(name, get_namespace_oid("kafka", false));
	ScanKeyData scan_keys[MAX_ROW_KEYS];
	Oid index;

	if (!OidIsValid(relid))
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_TABLE),
						errmsg("table \"kafka.%s\" does not exist", name)));
	scan->table = table_open(relid, AccessShareLock);
	index = find_index(scan->table, keys, nkeys);
	for (int i = 0; i < nkeys; i++)
	{
		AttrNumber attnum = get_column(scan->table, keys[i].column);
		Form_pg_attribute attribute =
			TupleDescAttr(RelationGetDescr(scan->table), attnum - 1);

		ScanKeyEntryInitialize(&scan_keys[i], 0, attnum, keys[i].strategy,
							   InvalidOid, attribute->attcollation,
							   keys[i].procedure, keys[i].value);
	}
	scan->scan = systable_beginscan(scan->table, index, OidIsValid(index),
									snapshot, nkeys, scan_keys);
}

static bool
next_row(RowScan *scan)
{
	scan->tuple = systable_getnext(scan->scan);
	return HeapTupleIsValid(scan->tuple);
}

static void
end_scan(RowScan *scan)
{
	systable_endscan(scan->scan);
	table_close(scan->table, AccessShareLock);
}

/* ----------------------------------------------------------------
 * Columns
 * ----------------------------------------------------------------
 */

static Datum
get_value(const RowScan *scan, const char *column, bool *isnull)
{
	return heap_getattr(scan->tuple, get_column(scan->table, column),
						RelationGetDescr(scan->table), isnull);
}

/* palloc'd, NULL for NULL */
static char *
get_text(const RowScan *scan, const char *column)
{
	bool isnull;
	Datum value = get_value(scan, column, &isnull);

	return isnull ? NULL : TextDatumGetCString(value);
}

static int64
get_int64(const RowScan *scan, const char *column, int64 if_null)
{
	bool isnull;
	Datum value = get_value(scan, column, &isnull);

	return isnull ? if_null : DatumGetInt64(value);
}

static Oid
get_oid(const RowScan *scan, const char *column)
{
	bool isnull;
	Datum value = get_value(scan, column, &isnull);

	return isnull ? InvalidOid : DatumGetObjectId(value);
}

static bool
get_interval(const RowScan *scan, const char *column, Interval *interval)
{
	bool isnull;
	Datum value = get_value(scan, column, &isnull);

	if (!isnull)
		*interval = *DatumGetIntervalP(value);
	return !isnull;
}

static TimestampTz
get_time(const RowScan *scan, const char *column)
{
	bool isnull;
	Datum value = get_value(scan, column, &isnull);

	return isnull ? DT_NOBEGIN : DatumGetTimestampTz(value);
}

/* ----------------------------------------------------------------
 * Rows
 * ----------------------------------------------------------------
 */

static KafkaRollup *
read_rollup(const RowScan *scan)
{
	KafkaRollup *rollup = palloc0(sizeof(KafkaRollup));
	bool isnull;

	rollup->rollup_id = DatumGetInt32(get_value(scan, "rollup_id", &isnull));
	rollup->name = get_text(scan, "name");
	rollup->source = get_oid(scan, "source");
	rollup->relation = get_oid(scan, "relation");
	rollup->storage = get_oid(scan, "storage");
	rollup->owner = kafka_relation_owner(rollup->relation);
	rollup->has_late_limit =
		get_interval(scan, "late_limit", &rollup->late_limit);
	rollup->has_future_limit =
		get_interval(scan, "future_limit", &rollup->future_limit);
	rollup->options = kafka_rollup_read_options(
		DatumGetJsonbP(get_value(scan, "options", &isnull)));
	rollup->state = get_text(scan, "state");
	rollup->reason = get_text(scan, "reason");
	rollup->cluster_id = get_text(scan, "cluster_id");
	rollup->system_identifier =
		(uint64) get_int64(scan, "system_identifier", 0);
	rollup->database_id = get_oid(scan, "database_id");
	rollup->isolation_level = get_text(scan, "isolation_level");
	rollup->pruned_until = get_time(scan, "pruned_until");
	return rollup;
}

KafkaRollup *
kafka_tail_read_rollup(const char *name, Snapshot snapshot)
{
	RowKey key = {"name", BTEqualStrategyNumber, F_TEXTEQ,
				  CStringGetTextDatum(name)};
	KafkaRollup *rollup = NULL;
	RowScan scan;

	begin_scan(&scan, "stored_rollup", snapshot, &key, 1);
	if (next_row(&scan))
		rollup = read_rollup(&scan);
	end_scan(&scan);
	return rollup;
}

KafkaPositions *
kafka_tail_read_positions(int32 rollup_id, Snapshot snapshot)
{
	RowKey key = {"rollup_id", BTEqualStrategyNumber, F_INT4EQ,
				  Int32GetDatum(rollup_id)};
	KafkaPositions *positions = kafka_positions_create();
	RowScan scan;

	begin_scan(&scan, "stored_position", snapshot, &key, 1);
	while (next_row(&scan))
	{
		bool isnull;
		Datum partition = get_value(&scan, "kafka_partition", &isnull);
		KafkaPosition *position =
			kafka_positions_add(positions, get_text(&scan, "topic"),
								DatumGetInt32(partition),
								get_int64(&scan, "next_offset", 0));

		position->last_offset = get_int64(&scan, "last_offset", -1);
		position->last_digest = get_int64(&scan, "last_digest", 0);
		position->end_offset = get_int64(&scan, "end_offset", -1);
		position->newest = get_time(&scan, "newest");
		position->has_newest = position->newest != DT_NOBEGIN;
	}
	end_scan(&scan);
	return positions;
}

bool
kafka_tail_has_key(const KafkaTail *tail, const pg_uuid_t *key,
				   TimestampTz start_at, TimestampTz end_at)
{
	RowKey keys[MAX_ROW_KEYS] =
		{{"rollup_id", BTEqualStrategyNumber, F_INT4EQ,
		  Int32GetDatum(tail->rollup->rollup_id)},
		 {"key_hash", BTEqualStrategyNumber, F_UUID_EQ, UUIDPGetDatum(key)},
		 {"seen_at", BTGreaterEqualStrategyNumber, F_TIMESTAMPTZ_GE,
		  TimestampTzGetDatum(start_at)},
		 {"seen_at", BTLessEqualStrategyNumber, F_TIMESTAMPTZ_LE,
		  TimestampTzGetDatum(end_at)}};
	RowScan scan;
	bool found;

	begin_scan(&scan, "stored_key", tail->snapshot, keys, lengthof(keys));
	found = next_row(&scan);
	end_scan(&scan);
	return found;
}
