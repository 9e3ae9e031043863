/*-------------------------------------------------------------------------
 *
 * batch_cache.c
 *		Columns of a batch that are decoded once for several scans.
 *
 * Ten rollups over a table are ten scans of each batch, and a rollup with
 * checks is two by itself.  The scan that comes to a message first decodes all
 * columns that any of them asks for, and keeps the row in the batch's memory;
 * the others copy what they need out of it.
 *
 * Nothing but time is to depend on that:
 *
 *	  faults     A column that fails spoils no other.  A scan that needs it, or
 *	             a message that cannot be parsed, decodes for itself, so a
 *	             fault's code and description are what they would be without
 *	             the cache, and a message that is bad for one is good for
 *	             another.  That cannot be the other way round either: whether a
 *	             document can be parsed does not depend on the columns asked
 *	             for.
 *	  values     Kept are values of built-in types and of enums, whose functions
 *	             heed nothing but their input and the settings in RowSettings.
 *	             (Where a message says 'now', that is when it was first read.)
 *	             A scan that needs another column, a domain for one, whose
 *	             constraint may call functions that not everybody may, decodes
 *	             all for itself.
 *	  changes    The table, its server or an enum may be altered between two
 *	             rollups, since each has a transaction of its own.  Then all
 *	             rows are decoded anew.
 *	  secrets    Owners of rollups share rows of a table that each of them may
 *	             read.  No scan sees columns that it did not ask for.  Where rows
 *	             must not be told of in errors (see KafkaScanPrivateIsDiscreet)
 *	             the scan decodes for itself.
 *
 * Which columns are decoded together is settled when the first row is asked for:
 * those that scans were expected to need (kafka_batch_cache_expect), those that
 * scans of the batch before have asked for, and those that this batch's have.
 * Should a scan come later that asks for more, it begins the table's rows anew.
 * A scan may hold on to a row while another, of the same query, does that, so
 * memory is given back only when the batch is reset; hence rows are no longer
 * kept when a batch has used MAX_CACHED_BYTES.
 *
 * IDENTIFICATION
 *		src/fdw/batch_cache.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "fdw/batch_cache.h"
#include "lib/ilist.h"
#include "miscadmin.h"
#include "pgtime.h"
#include "utils/datum.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#define MAX_CACHED_BYTES ((size_t) 64 * 1024 * 1024)

/* Fewer scans than this gain nothing. */
#define MIN_SCANS 2

/* A message's columns, in the order of the table's layout. */
typedef struct CachedRow
{
	bool has_failed;                     /* some column has */
	Datum values[FLEXIBLE_ARRAY_MEMBER]; /* behind them, for each column, is it
										  * NULL, and has it failed */
} CachedRow;

/* What the values of such types depend on besides the message. */
typedef struct RowSettings
{
	const pg_tz *time_zone;
	int date_style;
	int date_order;
	int interval_style;
} RowSettings;

/* The rows of a foreign table. */
typedef struct KafkaBatchTable
{
	struct KafkaBatchTable *next;
	KafkaBatch *batch;
	Oid relid;
	dlist_node node; /* in all_tables */
	MemoryContextCallback callback;
	uint64 generation; /* the batch's, of all below */

	/* Attribute numbers */
	Bitmapset *expected;
	Bitmapset *asked; /* by scans that have begun */
	int nscans;       /* expected */

	/*
	 * The layout and the rows, in memory of the batch.  The version changes
	 * with them.
	 */
	uint64 version;
	bool is_stale; /* something was altered: the rows must not be used */
	RowSettings settings;
	int ncolumns;
	AttrNumber *attnums;
	int *column_of;   /* by attribute number; -1 for none */
	CachedRow **rows; /* by entry, NULL for one not decoded; NULL before the
					   * first is asked for */
	int nrows;
	size_t bytes; /* used for this generation's rows, all versions */
} KafkaBatchTable;

struct KafkaCacheReader
{
	/* Unchanging */
	KafkaScanState *scan;
	KafkaBatchTable *table;
	MemoryContext context; /* of all of this */
	int ncolumns;          /* of the plan */
	AttrNumber *attnums;   /* of each; 0 for one that is NULL */

	/* By the table's layout of this version */
	uint64 version;
	int *columns;          /* where each of the plan's columns is, or -1 */
	KafkaDecoder *decoder; /* NULL before the first row is decoded */
	Datum *values;
	bool *isnull;
};

/* What an entry has that cannot be parsed. */
static CachedRow unusable_row;

/* Of all batches, for what is altered. */
static dlist_head all_tables = DLIST_STATIC_INIT(all_tables);

/* ----------------------------------------------------------------
 * What is altered
 * ----------------------------------------------------------------
 */

static void
forget_table(void *arg)
{
	dlist_delete(&((KafkaBatchTable *) arg)->node);
}

static void
note_relation_change(Datum arg, Oid relid)
{
	dlist_iter iter;

	dlist_foreach(iter, &all_tables)
	{
		KafkaBatchTable *table =
			dlist_container(KafkaBatchTable, node, iter.cur);

		if (!OidIsValid(relid) || table->relid == relid)
			table->is_stale = true;
	}
}

static void
note_catalog_change(Datum arg, int cache, uint32 hash)
{
	note_relation_change(arg, InvalidOid);
}

static void
watch_changes(void)
{
	static bool watches = false;

	if (watches)
		return;
	CacheRegisterRelcacheCallback(note_relation_change, (Datum) 0);
	CacheRegisterSyscacheCallback(FOREIGNSERVEROID, note_catalog_change,
								  (Datum) 0);
	CacheRegisterSyscacheCallback(ENUMOID, note_catalog_change, (Datum) 0);
	watches = true;
}

static RowSettings
get_settings(void)
{
	RowSettings settings = {session_timezone, DateStyle, DateOrder,
							IntervalStyle};

	return settings;
}

static bool
has_settings(const RowSettings *settings)
{
	return settings->time_zone == session_timezone &&
		   settings->date_style == DateStyle &&
		   settings->date_order == DateOrder &&
		   settings->interval_style == IntervalStyle;
}

/* ----------------------------------------------------------------
 * Tables
 * ----------------------------------------------------------------
 */

/*
 * Messages have changed: whatever was decoded is gone.  Columns that scans have
 * asked for they will ask for again, unless their rollups do not run any more:
 * then it shows after one batch.
 */
static void
renew_table(KafkaBatchTable *table)
{
	if (table->generation == table->batch->generation)
		return;
	bms_free(table->expected);
	table->expected = table->asked;
	table->asked = NULL;
	table->nscans = 0;
	table->rows = NULL;
	table->bytes = 0;
	table->generation = table->batch->generation;
}

static KafkaBatchTable *
find_table(KafkaBatch *batch, Oid relid)
{
	KafkaBatchTable *table = batch->tables;

	while (table != NULL && table->relid != relid)
		table = table->next;
	if (table != NULL)
		renew_table(table);
	return table;
}

static KafkaBatchTable *
add_table(KafkaBatch *batch, Oid relid)
{
	KafkaBatchTable *table =
		MemoryContextAllocZero(batch->context, sizeof(KafkaBatchTable));

	watch_changes();
	table->batch = batch;
	table->relid = relid;
	table->generation = batch->generation;
	table->next = batch->tables;
	dlist_push_head(&all_tables, &table->node);
	table->callback.func = forget_table;
	table->callback.arg = table;
	MemoryContextRegisterResetCallback(batch->context, &table->callback);
	batch->tables = table;
	return table;
}

/* Adds members to a set in the batch's memory. */
static Bitmapset *
add_members(KafkaBatchTable *table, Bitmapset *set, const Bitmapset *members)
{
	MemoryContext caller = MemoryContextSwitchTo(table->batch->context);

	set = bms_add_members(set, members);
	MemoryContextSwitchTo(caller);
	return set;
}

void
kafka_batch_cache_expect(KafkaBatch *batch, Oid relid,
						 const Bitmapset *attnums)
{
	KafkaBatchTable *table = find_table(batch, relid);

	if (table == NULL)
		table = add_table(batch, relid);
	table->expected = add_members(table, table->expected, attnums);
	table->nscans++;
}

/* What all tables of the batch use. */
static size_t
sum_bytes(const KafkaBatch *batch)
{
	size_t bytes = 0;

	for (const KafkaBatchTable *table = batch->tables; table != NULL;
		 table = table->next)
	{
		if (table->generation == batch->generation)
			bytes += table->bytes;
	}
	return bytes;
}

/* Memory for rows. */
static void *
reserve(KafkaBatchTable *table, size_t size)
{
	table->bytes += size;
	return kafka_batch_reserve(table->batch, size);
}

/* ----------------------------------------------------------------
 * Columns
 * ----------------------------------------------------------------
 */

/*
 * Do values of a type depend on nothing but their text and RowSettings?  That
 * of an array's element decides for the array.  What is left out are types
 * whose input looks names up, or calls functions that could be anybody's.
 */
static bool
is_settled_type(Oid type)
{
	Oid element = get_element_type(type);
	Oid input;
	Oid ignored;

	if (OidIsValid(element))
		type = element;
	if (get_typtype(type) == TYPTYPE_ENUM)
		return true;
	if (type >= FirstNormalObjectId || get_typtype(type) != TYPTYPE_BASE)
		return false;
	switch (type)
	{
		case DATEOID:
		case TIMEOID:
		case TIMETZOID:
		case TIMESTAMPOID:
		case TIMESTAMPTZOID:
		case INTERVALOID:
		case JSONOID:
			return true;
		default:
			getTypeInputInfo(type, &input, &ignored);
			return func_volatile(input) == PROVOLATILE_IMMUTABLE;
	}
}

typedef enum ColumnKind
{
	COLUMN_NULL,    /* whatever the message */
	COLUMN_SETTLED, /* can be kept */
	COLUMN_OWN      /* must be decoded by each scan */
} ColumnKind;

static ColumnKind
get_kind(const KafkaScanState *scan, AttrNumber attnum)
{
	const KafkaColumnOptions *column = &scan->columns[attnum - 1];
	Form_pg_attribute attribute =
		TupleDescAttr(RelationGetDescr(scan->rel), attnum - 1);

	if (column->dropped || column->role == KAFKA_ROLE_JUNK ||
		column->role == KAFKA_ROLE_JUNK_ERROR)
		return COLUMN_NULL;
	return is_settled_type(attribute->atttypid) ? COLUMN_SETTLED : COLUMN_OWN;
}

/* ----------------------------------------------------------------
 * Layout
 * ----------------------------------------------------------------
 */

/*
 * Settles which columns rows have, and begins them anew.  Columns that were
 * expected and cannot be kept, or are gone, are left out.
 */
static void
make_layout(const KafkaScanState *scan, KafkaBatchTable *table)
{
	int natts = RelationGetNumberOfAttributes(scan->rel);
	Bitmapset *attnums = bms_union(table->expected, table->asked);
	int attnum = 0;

	table->nrows = table->batch->nentries;
	table->rows = reserve(table, sizeof(CachedRow *) * table->nrows);
	memset(table->rows, 0, sizeof(CachedRow *) * table->nrows);
	table->attnums = reserve(table, sizeof(AttrNumber) * natts);
	table->column_of = reserve(table, sizeof(int) * (natts + 1));
	memset(table->column_of, -1, sizeof(int) * (natts + 1));
	table->ncolumns = 0;
	while ((attnum = bms_next_member(attnums, attnum)) >= 0 && attnum <= natts)
	{
		if (get_kind(scan, attnum) != COLUMN_SETTLED)
			continue;
		table->column_of[attnum] = table->ncolumns;
		table->attnums[table->ncolumns++] = attnum;
	}
	bms_free(attnums);
	table->settings = get_settings();
	table->version++;
}

/* Has the layout all that the reader asks for? */
static bool
has_columns(const KafkaBatchTable *table, const KafkaCacheReader *reader)
{
	for (int i = 0; i < reader->ncolumns; i++)
	{
		AttrNumber attnum = reader->attnums[i];

		if (attnum != 0 && table->column_of[attnum] < 0)
			return false;
	}
	return true;
}

/*
 * Has the reader go by the table's layout, which is made when there is none,
 * or too small a one.
 */
static void
bind_reader(KafkaCacheReader *reader)
{
	KafkaBatchTable *table = reader->table;

	if (table->rows == NULL || !has_columns(table, reader))
		make_layout(reader->scan, table);
	for (int i = 0; i < reader->ncolumns; i++)
		reader->columns[i] = reader->attnums[i] == 0
								 ? -1
								 : table->column_of[reader->attnums[i]];
	reader->decoder = NULL;
	reader->version = table->version;
}

/* ----------------------------------------------------------------
 * Readers
 * ----------------------------------------------------------------
 */

/* Takes over the plan's columns; false when one of them cannot be kept. */
static bool
set_columns(KafkaCacheReader *reader, const List *attnums)
{
	ListCell *cell;

	foreach(cell, attnums)
	{
		AttrNumber attnum = (AttrNumber) lfirst_int(cell);
		ColumnKind kind = get_kind(reader->scan, attnum);

		if (kind == COLUMN_OWN)
			return false;
		reader->attnums[reader->ncolumns++] = kind == COLUMN_NULL ? 0 : attnum;
	}
	return true;
}

/* Tells the table what the reader asks for; false when that is nothing. */
static bool
ask_for_columns(const KafkaCacheReader *reader)
{
	KafkaBatchTable *table = reader->table;
	Bitmapset *attnums = NULL;
	bool asks;

	for (int i = 0; i < reader->ncolumns; i++)
	{
		if (reader->attnums[i] != 0)
			attnums = bms_add_member(attnums, reader->attnums[i]);
	}
	asks = !bms_is_empty(attnums);
	table->asked = add_members(table, table->asked, attnums);
	bms_free(attnums);
	return asks;
}

KafkaCacheReader *
kafka_batch_cache_begin(KafkaScanState *scan, const List *private)
{
	const List *attnums = list_nth(private, KafkaScanPrivateAttnums);
	KafkaBatchTable *table =
		find_table(scan->batch, RelationGetRelid(scan->rel));
	KafkaCacheReader *reader;

	if (table == NULL || table->nscans < MIN_SCANS ||
		boolVal(list_nth(private, KafkaScanPrivateIsDiscreet)))
		return NULL;
	reader = palloc0(sizeof(KafkaCacheReader));
	reader->scan = scan;
	reader->table = table;
	reader->context = CurrentMemoryContext;
	reader->attnums =
		palloc(sizeof(AttrNumber) * Max(list_length(attnums), 1));
	reader->columns = palloc(sizeof(int) * Max(list_length(attnums), 1));
	if (!set_columns(reader, attnums) || !ask_for_columns(reader))
		return NULL;

	/* What is altered from now on waits for our lock on the table. */
	if (table->is_stale || !has_settings(&table->settings))
		table->rows = NULL;
	table->is_stale = false;
	return reader;
}

/* ----------------------------------------------------------------
 * Rows
 * ----------------------------------------------------------------
 */

/* For each column, is it NULL; behind these, has it failed. */
static inline bool *
get_nulls(const KafkaBatchTable *table, const CachedRow *row)
{
	return (bool *) &row->values[table->ncolumns];
}

static void
make_decoder(KafkaCacheReader *reader)
{
	const KafkaBatchTable *table = reader->table;
	KafkaScanState *scan = reader->scan;
	MemoryContext caller = MemoryContextSwitchTo(reader->context);

	reader->values = palloc(sizeof(Datum) * table->ncolumns);
	reader->isnull = palloc(sizeof(bool) * table->ncolumns);
	reader->decoder =
		kafka_decoder_create_collecting(scan->table, scan->columns,
										RelationGetDescr(scan->rel),
										table->attnums, table->ncolumns);
	MemoryContextSwitchTo(caller);
}

/* Copies what the decoder has made, which lives no longer than its next run. */
static CachedRow *
copy_row(const KafkaCacheReader *reader, const bool *failed)
{
	KafkaBatchTable *table = reader->table;
	TupleDesc desc = RelationGetDescr(reader->scan->rel);
	int ncolumns = table->ncolumns;
	size_t size =
		MAXALIGN(offsetof(CachedRow, values) +
				 (sizeof(Datum) + 2 * sizeof(bool)) * (size_t) ncolumns);
	char *data;
	CachedRow *row;

	for (int i = 0; i < ncolumns; i++)
	{
		Form_pg_attribute attr = TupleDescAttr(desc, table->attnums[i] - 1);

		if (!attr->attbyval && !reader->isnull[i])
			size +=
				MAXALIGN(datumGetSize(reader->values[i], false, attr->attlen));
	}
	row = reserve(table, size);
	row->has_failed = failed != NULL;
	data = (char *) MAXALIGN(get_nulls(table, row) + 2 * ncolumns);
	memcpy(get_nulls(table, row), reader->isnull, sizeof(bool) * ncolumns);
	if (failed != NULL)
		memcpy(get_nulls(table, row) + ncolumns, failed,
			   sizeof(bool) * ncolumns);
	for (int i = 0; i < ncolumns; i++)
	{
		Form_pg_attribute attr = TupleDescAttr(desc, table->attnums[i] - 1);
		Size length;

		row->values[i] = reader->values[i];
		if (attr->attbyval || reader->isnull[i])
			continue;
		length = datumGetSize(reader->values[i], false, attr->attlen);
		memcpy(data, DatumGetPointer(reader->values[i]), length);
		row->values[i] = PointerGetDatum(data);
		data += MAXALIGN(length);
	}
	return row;
}

/* Decodes an entry for all scans; NULL when there is no room for it. */
static CachedRow *
decode_row(KafkaCacheReader *reader, int index)
{
	KafkaBatchTable *table = reader->table;
	const bool *failed = NULL;
	KafkaMessage message;
	CachedRow *row;

	if (sum_bytes(table->batch) >= MAX_CACHED_BYTES)
		return NULL;
	if (reader->decoder == NULL)
		make_decoder(reader);
	kafka_batch_message(table->batch, index, &message);
	if (kafka_decoder_run(reader->decoder, &message, reader->values,
						  reader->isnull))
		row = copy_row(reader, NULL);
	else if ((failed = kafka_decoder_get_failed(reader->decoder)) != NULL)
		row = copy_row(reader, failed);
	else
		row = &unusable_row;
	table->rows[index] = row;
	return row;
}

/* Has one of the columns failed that the reader asks for? */
static bool
is_bad_for(const KafkaCacheReader *reader, const CachedRow *row)
{
	const KafkaBatchTable *table = reader->table;
	const bool *failed = get_nulls(table, row) + table->ncolumns;

	for (int i = 0; i < reader->ncolumns; i++)
	{
		if (reader->columns[i] >= 0 && failed[reader->columns[i]])
			return true;
	}
	return false;
}

bool
kafka_batch_cache_store(KafkaCacheReader *reader, int index)
{
	KafkaBatchTable *table = reader->table;
	CachedRow *row;

	if (unlikely(table->rows == NULL || reader->version != table->version))
		bind_reader(reader);
	if (unlikely(index >= table->nrows))
		return false;
	row = table->rows[index];
	if (row == NULL && (row = decode_row(reader, index)) == NULL)
		return false;
	if (unlikely(row == &unusable_row) ||
		unlikely(row->has_failed && is_bad_for(reader, row)))
		return false;
	kafka_slot_store_values(reader->scan->slot, row->values,
							get_nulls(table, row), reader->columns);
	return true;
}
