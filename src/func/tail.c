/*-------------------------------------------------------------------------
 *
 * tail.c
 *		The newest messages of a table: kafka.tail.
 *
 * The n newest by record time among the last n of each partition: a partition
 * can hold all of the n newest, none needs to give more.  Reading the last n
 * offsets of each is a start, but offsets are not messages: transaction
 * markers, aborted and compacted records take some, and so do messages that
 * on_error skips.  A partition that gave too few is read further back, twice
 * as far each time.  Such an extension may give more than what was missing;
 * it goes through a sort of its own, by offset, which lets the last ones pass.
 *
 * What is kept of the rows is PostgreSQL's sort, which keeps the first n, in
 * work_mem or, where that does not hold them, on disk.
 *
 * Every message read is decoded, needed in the end or not, so that whether a
 * bad one is an error does not depend on which partition answered first.
 *
 * IDENTIFICATION
 *		src/func/tail.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_type.h"
#include "compat.h"
#include "executor/executor.h"
#include "fdw/decode.h"
#include "funcapi.h"
#include "func/func.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/tuplesort.h"
#include "utils/typcache.h"

KAFKA_SQL_FUNCTION(kafka_tail_rows);
KAFKA_SQL_FUNCTION(kafka_tail_jsonb);

/*
 * How many partitions an extension reads at once.  Each takes a box of the
 * bounds, and bounds that run out of boxes are widened.
 */
#define EXTENSION_PARTS (KAFKA_BOUNDS_MAX_BOXES / 2)

/* The columns that are sorted. */
typedef enum TailColumn
{
	TAIL_TIME = 1,
	TAIL_TOPIC,
	TAIL_PARTITION,
	TAIL_OFFSET,
	TAIL_ROW, /* the table's row as one value */
	TAIL_COLUMNS = TAIL_ROW
} TailColumn;

typedef struct TailPart
{
	Datum topic;       /* text */
	KafkaRange wanted; /* what is being read; empty when nothing */
	int64 read_from;   /* every offset from here on has been read */
	int64 rows;        /* of the last n */
} TailPart;

typedef struct TailState
{
	KafkaFuncTable *func;
	int64 count; /* n */
	KafkaDecoder *decoder;
	AttrNumber *attnums; /* what it decodes */
	int nattnums;
	Datum *decoded; /* by position in attnums */
	bool *decoded_null;
	Datum *values; /* by column of the table */
	bool *isnull;
	TailPart *parts;           /* as func->parts */
	MemoryContext row_context; /* reset after each row */
	TupleDesc sort_desc;
	TupleTableSlot *input;  /* virtual, of sort_desc */
	TupleTableSlot *output; /* for minimal tuples of sort_desc */
} TailState;

/* ----------------------------------------------------------------
 * Setting up
 * ----------------------------------------------------------------
 */

static void
init_decoder(TailState *tail)
{
	KafkaFuncTable *func = tail->func;
	TupleDesc desc = RelationGetDescr(func->rel);

	tail->attnums = palloc(sizeof(AttrNumber) * Max(desc->natts, 1));
	for (int i = 0; i < desc->natts; i++)
	{
		if (!func->columns[i].dropped)
			tail->attnums[tail->nattnums++] = (AttrNumber) (i + 1);
	}
	tail->decoded = palloc0(sizeof(Datum) * Max(desc->natts, 1));
	tail->decoded_null = palloc0(sizeof(bool) * Max(desc->natts, 1));
	tail->values = palloc0(sizeof(Datum) * Max(desc->natts, 1));
	tail->isnull = palloc(sizeof(bool) * Max(desc->natts, 1));
	memset(tail->isnull, true, sizeof(bool) * desc->natts);
	tail->decoder = kafka_decoder_create(func->table, func->columns, desc,
										 tail->attnums, tail->nattnums);
}

static TailState *
begin_tail(KafkaFuncTable *func, int64 count)
{
	TailState *tail = palloc0(sizeof(TailState));
	TupleDesc desc = CreateTemplateTupleDesc(TAIL_COLUMNS);

	tail->func = func;
	tail->count = count;
	tail->row_context = AllocSetContextCreate(func->context, "Kafka tail row",
											  ALLOCSET_DEFAULT_SIZES);
	init_decoder(tail);
	tail->parts = palloc0(sizeof(TailPart) * Max(func->nparts, 1));
	for (int i = 0; i < func->nparts; i++)
	{
		tail->parts[i].topic = CStringGetTextDatum(func->parts[i].topic);
		tail->parts[i].read_from = func->parts[i].end;
	}
	TupleDescInitEntry(desc, TAIL_TIME, "time_ms", INT8OID, -1, 0);
	TupleDescInitEntry(desc, TAIL_TOPIC, "topic", TEXTOID, -1, 0);
	TupleDescInitEntry(desc, TAIL_PARTITION, "partition", INT4OID, -1, 0);
	TupleDescInitEntry(desc, TAIL_OFFSET, "offset", INT8OID, -1, 0);
	TupleDescInitEntry(desc, TAIL_ROW, "row",
					   RelationGetForm(func->rel)->reltype, -1, 0);
	tail->sort_desc = desc;
	tail->input = MakeSingleTupleTableSlot(desc, &TTSOpsVirtual);
	tail->output = MakeSingleTupleTableSlot(desc, &TTSOpsMinimalTuple);
	return tail;
}

/* A column to sort by, and which way. */
typedef struct TailKey
{
	TailColumn column;
	bool descending;
} TailKey;

static Tuplesortstate *
begin_sort(TailState *tail, const TailKey *keys, int nkeys, int options)
{
	AttrNumber columns[TAIL_COLUMNS];
	Oid operators[TAIL_COLUMNS];
	Oid collations[TAIL_COLUMNS];
	bool nulls_first[TAIL_COLUMNS];

	for (int i = 0; i < nkeys; i++)
	{
		Oid type =
			TupleDescAttr(tail->sort_desc, keys[i].column - 1)->atttypid;
		TypeCacheEntry *entry =
			lookup_type_cache(type, TYPECACHE_LT_OPR | TYPECACHE_GT_OPR);

		columns[i] = keys[i].column;
		operators[i] = keys[i].descending ? entry->gt_opr : entry->lt_opr;
		collations[i] =
			keys[i].column == TAIL_TOPIC ? C_COLLATION_OID : InvalidOid;
		nulls_first[i] = false;
	}
	return tuplesort_begin_heap(tail->sort_desc, nkeys, columns, operators,
								collations, nulls_first, work_mem, NULL,
								options);
}

/* Newest first, of which only the first n are asked for. */
static Tuplesortstate *
begin_newest_sort(TailState *tail)
{
	static const TailKey keys[] = {{TAIL_TIME, true},
								   {TAIL_TOPIC, false},
								   {TAIL_PARTITION, false},
								   {TAIL_OFFSET, true}};
	Tuplesortstate *sort =
		begin_sort(tail, keys, lengthof(keys), TUPLESORT_ALLOWBOUNDED);

	tuplesort_set_bound(sort, tail->count);
	return sort;
}

/* The last of each partition first. */
static Tuplesortstate *
begin_offset_sort(TailState *tail)
{
	static const TailKey keys[] = {{TAIL_TOPIC, false},
								   {TAIL_PARTITION, false},
								   {TAIL_OFFSET, true}};

	return begin_sort(tail, keys, lengthof(keys), TUPLESORT_NONE);
}

/* ----------------------------------------------------------------
 * Reading
 * ----------------------------------------------------------------
 */

/* Decodes a message and hands it to sort; false when the table skips it. */
static bool
put_message(TailState *tail, Tuplesortstate *sort, const KafkaMessage *message,
			Datum topic)
{
	TupleTableSlot *slot = tail->input;
	MemoryContext caller = MemoryContextSwitchTo(tail->row_context);
	bool good;
	bool kept;

	good = kafka_decoder_run(tail->decoder, message, tail->decoded,
							 tail->decoded_null);
	kept = good || tail->func->table->on_error != KAFKA_ON_ERROR_SKIP;
	if (kept)
	{
		HeapTuple tuple;
		bool append_time;

		for (int i = 0; i < tail->nattnums; i++)
		{
			tail->values[tail->attnums[i] - 1] = tail->decoded[i];
			tail->isnull[tail->attnums[i] - 1] = tail->decoded_null[i];
		}
		tuple = heap_form_tuple(RelationGetDescr(tail->func->rel),
								tail->values, tail->isnull);
		ExecClearTuple(slot);
		memset(slot->tts_isnull, false, sizeof(bool) * TAIL_COLUMNS);
		slot->tts_values[TAIL_TIME - 1] =
			Int64GetDatum(kafka_message_timestamp(message, &append_time));
		slot->tts_values[TAIL_TOPIC - 1] = topic;
		slot->tts_values[TAIL_PARTITION - 1] =
			Int32GetDatum(message->partition);
		slot->tts_values[TAIL_OFFSET - 1] = Int64GetDatum(message->offset);
		slot->tts_values[TAIL_ROW - 1] = HeapTupleGetDatum(tuple);
		ExecStoreVirtualTuple(slot);
		tuplesort_puttupleslot(sort, slot);
		ExecClearTuple(slot);
	}
	MemoryContextSwitchTo(caller);
	MemoryContextReset(tail->row_context);
	return kept;
}

/* Reads what was started, into sort; counts rows where count_rows is set. */
static void
read_wanted(TailState *tail, Tuplesortstate *sort, bool count_rows)
{
	KafkaMessage message;

	while (kafka_reader_next(tail->func->reader, &message))
	{
		int index =
			kafka_func_find_part(tail->func, message.topic, message.partition);
		TailPart *part;

		/*
		 * Bounds know no topics, so of a table with several the same
		 * partition of another one may be read along.
		 */
		if (index < 0)
			continue;
		part = &tail->parts[index];
		if (message.offset < part->wanted.start ||
			message.offset >= part->wanted.end)
			continue;
		if (put_message(tail, sort, &message, part->topic) && count_rows)
			part->rows++;
	}
	for (int i = 0; i < tail->func->nparts; i++)
	{
		TailPart *part = &tail->parts[i];

		if (!kafka_range_is_empty(part->wanted))
			part->read_from = part->wanted.start;
		part->wanted = KAFKA_RANGE_NONE;
	}
}

/* Reads the last n offsets of every partition. */
static void
read_last(TailState *tail, Tuplesortstate *newest)
{
	KafkaFuncTable *func = tail->func;

	for (int i = 0; i < func->nparts; i++)
	{
		const KafkaFuncPart *part = &func->parts[i];

		tail->parts[i].wanted.start =
			Max(part->start, part->end - tail->count);
		tail->parts[i].wanted.end = part->end;
	}
	kafka_reader_start_newest(func->reader, tail->count);
	read_wanted(tail, newest, true);
}

/*
 * Starts reading partitions that have too few rows further back; false when
 * there are none.
 */
static bool
start_extension(TailState *tail)
{
	KafkaFuncTable *func = tail->func;
	KafkaBounds *bounds = palloc(sizeof(KafkaBounds));
	KafkaBounds *one = palloc(sizeof(KafkaBounds));
	int nparts = 0;

	kafka_bounds_nothing(bounds);
	for (int i = 0; i < func->nparts && nparts < EXTENSION_PARTS; i++)
	{
		TailPart *part = &tail->parts[i];
		int64 start = func->parts[i].start;
		int64 width = func->parts[i].end - part->read_from;

		if (part->rows >= tail->count || part->read_from <= start)
			continue;
		part->wanted.start = Max(start, part->read_from - width);
		part->wanted.end = part->read_from;
		kafka_bounds_nothing(one);
		one->nboxes = 1;
		one->boxes[0].range[KAFKA_DIMENSION_PARTITION] =
			(KafkaRange){func->parts[i].partition,
						 (int64) func->parts[i].partition + 1};
		one->boxes[0].range[KAFKA_DIMENSION_OFFSET] = part->wanted;
		one->boxes[0].range[KAFKA_DIMENSION_TIME] = KAFKA_RANGE_ALL;
		one->boxes[0].range[KAFKA_DIMENSION_KEY_HASH] = KAFKA_RANGE_ALL;
		kafka_bounds_or(bounds, one);
		nparts++;
	}
	if (nparts > 0)
		kafka_reader_start(func->reader, bounds);
	pfree(one);
	pfree(bounds);
	return nparts > 0;
}

/* Reads an extension, and of each partition takes only what it lacks. */
static void
read_extension(TailState *tail, Tuplesortstate *newest)
{
	Tuplesortstate *sort = begin_offset_sort(tail);

	read_wanted(tail, sort, false);
	tuplesort_performsort(sort);
	while (tuplesort_gettupleslot(sort, true, false, tail->output, NULL))
	{
		char *topic;
		int32 partition;
		TailPart *part;
		bool isnull;

		CHECK_FOR_INTERRUPTS();
		topic = TextDatumGetCString(
			slot_getattr(tail->output, TAIL_TOPIC, &isnull));
		partition =
			DatumGetInt32(slot_getattr(tail->output, TAIL_PARTITION, &isnull));
		part =
			&tail->parts[kafka_func_find_part(tail->func, topic, partition)];
		if (part->rows < tail->count)
		{
			tuplesort_puttupleslot(newest, tail->output);
			part->rows++;
		}
		pfree(topic);
	}
	ExecClearTuple(tail->output);
	tuplesort_end(sort);
}

/* ----------------------------------------------------------------
 * The result
 * ----------------------------------------------------------------
 */

/* Makes to_jsonb callable for values of one type, which it asks its call for.
 */
static void
init_to_jsonb(FmgrInfo *to_jsonb, Oid type)
{
	Const *argument = makeNullConst(type, -1, InvalidOid);

	fmgr_info(F_TO_JSONB, to_jsonb);
	fmgr_info_set_expr((Node *) makeFuncExpr(F_TO_JSONB, JSONBOID,
											 list_make1(argument), InvalidOid,
											 InvalidOid, COERCE_EXPLICIT_CALL),
					   to_jsonb);
}

static void
put_results(TailState *tail, Tuplesortstate *newest, ReturnSetInfo *rsinfo,
			FmgrInfo *to_jsonb)
{
	int64 left = tail->count;

	tuplesort_performsort(newest);

	/* A sort that never filled its memory may hold more than the bound. */
	while (left-- > 0 &&
		   tuplesort_gettupleslot(newest, true, false, tail->output, NULL))
	{
		MemoryContext caller = MemoryContextSwitchTo(tail->row_context);
		bool isnull;
		Datum row = slot_getattr(tail->output, TAIL_ROW, &isnull);

		CHECK_FOR_INTERRUPTS();
		if (to_jsonb)
		{
			Datum value = FunctionCall1(to_jsonb, row);

			isnull = false;
			tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, &value,
								 &isnull);
		}
		else
		{
			HeapTupleHeader header = DatumGetHeapTupleHeader(row);
			HeapTupleData tuple = {.t_data = header};

			tuple.t_len = HeapTupleHeaderGetDatumLength(header);
			ItemPointerSetInvalid(&tuple.t_self);
			tuple.t_tableOid = InvalidOid;
			tuplestore_puttuple(rsinfo->setResult, &tuple);
		}
		MemoryContextSwitchTo(caller);
		MemoryContextReset(tail->row_context);
	}
	ExecClearTuple(tail->output);
	tuplesort_end(newest);
}

/* The argument n of either function. */
static int64
get_count(FunctionCallInfo fcinfo)
{
	kafka_catalog_check_not_null(fcinfo, 1, "n");
	if (PG_GETARG_INT32(1) <= 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("number of messages must be greater than zero")));
	return PG_GETARG_INT32(1);
}

static void
run_tail(FunctionCallInfo fcinfo, KafkaFuncTable *func, int64 count,
		 bool as_jsonb)
{
	MemoryContext caller = MemoryContextSwitchTo(func->context);
	TailState *tail = begin_tail(func, count);
	Tuplesortstate *newest = begin_newest_sort(tail);
	FmgrInfo to_jsonb;

	read_last(tail, newest);
	while (start_extension(tail))
		read_extension(tail, newest);
	if (as_jsonb)
		init_to_jsonb(&to_jsonb, RelationGetForm(func->rel)->reltype);
	put_results(tail, newest, (ReturnSetInfo *) fcinfo->resultinfo,
				as_jsonb ? &to_jsonb : NULL);
	ExecDropSingleTupleTableSlot(tail->input);
	ExecDropSingleTupleTableSlot(tail->output);
	MemoryContextSwitchTo(caller);
}

Datum
kafka_tail_rows(PG_FUNCTION_ARGS)
{
	Oid type = get_fn_expr_argtype(fcinfo->flinfo, 0);
	int64 count = get_count(fcinfo);
	Oid relid = OidIsValid(type) ? get_typ_typrelid(type) : InvalidOid;
	KafkaFuncTable *func;

	if (!OidIsValid(relid) || get_rel_relkind(relid) != RELKIND_FOREIGN_TABLE)
		ereport(
			ERROR,
			(errcode(ERRCODE_DATATYPE_MISMATCH),
			 errmsg("type %s is not the row type of a Kafka foreign table",
					format_type_be(type)),
			 errhint(
				 "Give the table as its row type, kafka.tail(NULL::my_table), or for rows as jsonb by its name, kafka.tail('my_table').")));
	func = kafka_func_open(fcinfo, relid, 0);
	run_tail(fcinfo, func, count, false);
	kafka_func_close(func);
	return (Datum) 0;
}

Datum
kafka_tail_jsonb(PG_FUNCTION_ARGS)
{
	int64 count = get_count(fcinfo);
	KafkaFuncTable *func;

	kafka_catalog_check_not_null(fcinfo, 0, "table");
	func =
		kafka_func_open(fcinfo, PG_GETARG_OID(0), MAT_SRF_USE_EXPECTED_DESC);
	run_tail(fcinfo, func, count, true);
	kafka_func_close(func);
	return (Datum) 0;
}
