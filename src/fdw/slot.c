/*-------------------------------------------------------------------------
 *
 * slot.c
 *		A tuple slot that holds a Kafka message and decodes it when asked.
 *
 * The executor asks a slot for its first n columns, where n is what the
 * expression at hand needs.  Nothing asked, as by count(*), is nothing
 * decoded.  Asked for no more than the filter's columns, which the planner
 * put in front, the slot decodes those; asked for more, the rest.  Columns
 * that the query does not need are NULL and cost nothing.
 *
 * The message's bytes belong to the cursor and the values to the decoders;
 * both live until the scan goes on, as long as a scan's tuple must.
 *
 * IDENTIFICATION
 *		src/fdw/slot.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "executor/tuptable.h"
#include "fdw/fdw.h"
#include "utils/datum.h"
#include "utils/memutils.h"
#include "utils/rel.h"

/* Some of the columns, decoded together. */
typedef struct SlotStage
{
	KafkaDecoder *decoder; /* NULL when there are no columns */
	int ncolumns;
	int *position; /* where each column is in the slot */
	Datum *values; /* decoded into these, then spread; NULL where */
	bool *isnull;  /* the columns are adjacent in the slot */
} SlotStage;

typedef struct KafkaSlot
{
	TupleTableSlot base;

	/* Set once by kafka_slot_create */
	SlotStage filter; /* columns [0, filter_count) */
	SlotStage rest;
	int filter_count;
	bool skips_bad; /* decode when stored: on_error skip, or a batch */
	int64 *rejected;

	/* Of the message stored */
	KafkaMessage message;
	bool counted; /* already counted as rejected */
	char *copy;   /* materialized by-reference values, or NULL */
} KafkaSlot;

static const TupleTableSlotOps kafka_slot_ops;

/* ----------------------------------------------------------------
 * Decoding
 * ----------------------------------------------------------------
 */

/* Decodes a stage's columns into their places; false for a bad message. */
static bool
run_stage(KafkaSlot *slot, SlotStage *stage)
{
	Datum *values = slot->base.tts_values;
	bool *isnull = slot->base.tts_isnull;
	bool good;

	if (stage->decoder == NULL)
		return true;
	if (stage->values == NULL)
	{
		int first = stage->ncolumns > 0 ? stage->position[0] : 0;

		good = kafka_decoder_run(stage->decoder, &slot->message,
								 values + first, isnull + first);
	}
	else
	{
		good = kafka_decoder_run(stage->decoder, &slot->message, stage->values,
								 stage->isnull);
		for (int i = 0; i < stage->ncolumns; i++)
		{
			values[stage->position[i]] = stage->values[i];
			isnull[stage->position[i]] = stage->isnull[i];
		}
	}
	if (!good && !slot->counted)
	{
		slot->counted = true;
		(*slot->rejected)++;
	}
	return good;
}

static void
kafka_slot_getsomeattrs(TupleTableSlot *base, int natts)
{
	KafkaSlot *slot = (KafkaSlot *) base;
	int all = base->tts_tupleDescriptor->natts;

	if (base->tts_nvalid < slot->filter_count)
	{
		(void) run_stage(slot, &slot->filter);
		base->tts_nvalid = slot->filter_count;
	}
	if (natts > base->tts_nvalid)
	{
		(void) run_stage(slot, &slot->rest);
		base->tts_nvalid = all;
	}
}

bool
kafka_slot_store(TupleTableSlot *base, const KafkaMessage *message)
{
	KafkaSlot *slot = (KafkaSlot *) base;

	Assert(TTS_EMPTY(base));
	slot->message = *message;
	slot->counted = false;
	if (slot->skips_bad)
	{
		/* The decoder tries all columns that count, so one stage tells. */
		if (!run_stage(slot, &slot->rest))
			return false;
		base->tts_nvalid = base->tts_tupleDescriptor->natts;
	}
	else
		base->tts_nvalid = 0;
	base->tts_flags &= ~TTS_FLAG_EMPTY;
	return true;
}

void
kafka_slot_store_values(TupleTableSlot *base, const Datum *values,
						const bool *isnull, const int *columns)
{
	KafkaSlot *slot = (KafkaSlot *) base;
	const SlotStage *stage = &slot->rest;

	Assert(TTS_EMPTY(base) && slot->filter_count == 0);
	for (int i = 0; i < stage->ncolumns; i++)
	{
		int position = stage->position[i];
		int column = columns[i];

		base->tts_values[position] = column < 0 ? (Datum) 0 : values[column];
		base->tts_isnull[position] = column < 0 || isnull[column];
	}
	base->tts_nvalid = base->tts_tupleDescriptor->natts;
	base->tts_flags &= ~TTS_FLAG_EMPTY;
}

int
kafka_slot_get_fault(const TupleTableSlot *base, const char **text)
{
	const KafkaSlot *slot = (const KafkaSlot *) base;

	return kafka_decoder_get_fault(slot->rest.decoder, text);
}

/* ----------------------------------------------------------------
 * The other slot callbacks
 * ----------------------------------------------------------------
 */

static void
kafka_slot_init(TupleTableSlot *base)
{
}

static void
kafka_slot_clear(TupleTableSlot *base)
{
	KafkaSlot *slot = (KafkaSlot *) base;

	if (slot->copy)
	{
		pfree(slot->copy);
		slot->copy = NULL;
		base->tts_flags &= ~TTS_FLAG_SHOULDFREE;
	}
	base->tts_nvalid = 0;
	base->tts_flags |= TTS_FLAG_EMPTY;
	ItemPointerSetInvalid(&base->tts_tid);
}

static void
kafka_slot_release(TupleTableSlot *base)
{
}

static Datum
kafka_slot_getsysattr(TupleTableSlot *base, int attnum, bool *isnull)
{
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg(
				 "cannot retrieve a system column of a Kafka foreign table"),
			 errhint("Only tableoid can be asked for.")));
	return 0;
}

/*
 * Copies the by-reference values into one chunk of the slot's own, so that
 * they outlive the message.  As tts_virtual_materialize does.
 */
static void
kafka_slot_materialize(TupleTableSlot *base)
{
	KafkaSlot *slot = (KafkaSlot *) base;
	TupleDesc desc = base->tts_tupleDescriptor;
	Size size = 0;
	char *data;

	if (slot->copy)
		return;
	slot_getallattrs(base);
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute attr = TupleDescAttr(desc, i);

		if (!attr->attbyval && !base->tts_isnull[i])
			size = MAXALIGN(size) +
				   datumGetSize(base->tts_values[i], false, attr->attlen);
	}
	if (size == 0)
		return;
	slot->copy = data = MemoryContextAlloc(base->tts_mcxt, MAXALIGN(size));
	base->tts_flags |= TTS_FLAG_SHOULDFREE;
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute attr = TupleDescAttr(desc, i);
		Size length;

		if (attr->attbyval || base->tts_isnull[i])
			continue;
		data = (char *) MAXALIGN(data);
		length = datumGetSize(base->tts_values[i], false, attr->attlen);
		memcpy(data, DatumGetPointer(base->tts_values[i]), length);
		base->tts_values[i] = PointerGetDatum(data);
		data += length;
	}
}

static void
kafka_slot_copyslot(TupleTableSlot *dst, TupleTableSlot *src)
{
	kafka_slot_clear(dst);
	slot_getallattrs(src);
	for (int i = 0; i < src->tts_tupleDescriptor->natts; i++)
	{
		dst->tts_values[i] = src->tts_values[i];
		dst->tts_isnull[i] = src->tts_isnull[i];
	}
	dst->tts_nvalid = src->tts_tupleDescriptor->natts;
	dst->tts_flags &= ~TTS_FLAG_EMPTY;
	kafka_slot_materialize(dst);
}

static HeapTuple
kafka_slot_copy_heap_tuple(TupleTableSlot *base)
{
	slot_getallattrs(base);
	return heap_form_tuple(base->tts_tupleDescriptor, base->tts_values,
						   base->tts_isnull);
}

static MinimalTuple
kafka_slot_copy_minimal_tuple(TupleTableSlot *base)
{
	slot_getallattrs(base);
	return heap_form_minimal_tuple(base->tts_tupleDescriptor, base->tts_values,
								   base->tts_isnull);
}

static const TupleTableSlotOps kafka_slot_ops =
	{.base_slot_size = sizeof(KafkaSlot),
	 .init = kafka_slot_init,
	 .release = kafka_slot_release,
	 .clear = kafka_slot_clear,
	 .getsomeattrs = kafka_slot_getsomeattrs,
	 .getsysattr = kafka_slot_getsysattr,
	 .materialize = kafka_slot_materialize,
	 .copyslot = kafka_slot_copyslot,
	 .get_heap_tuple = NULL,
	 .get_minimal_tuple = NULL,
	 .copy_heap_tuple = kafka_slot_copy_heap_tuple,
	 .copy_minimal_tuple = kafka_slot_copy_minimal_tuple};

/* ----------------------------------------------------------------
 * Making one
 * ----------------------------------------------------------------
 */

/* What the stages are made of. */
typedef struct SlotMaker
{
	const KafkaTableOptions *table;
	const KafkaColumnOptions *columns;
	Relation rel;
	AttrNumber *attnums;
	bool has_scan_tlist;
	bool is_discreet;
	bool is_for_batch;
} SlotMaker;

/* Sets up the stage of attnums [first, first + count). */
static void
init_stage(SlotStage *stage, const SlotMaker *maker, int first, int count)
{
	TupleDesc tupdesc = RelationGetDescr(maker->rel);
	const AttrNumber *attnums = maker->attnums + first;
	bool adjacent = true;

	stage->ncolumns = count;
	if (maker->is_for_batch)
		stage->decoder =
			kafka_decoder_create_reporting(maker->table, maker->columns,
										   tupdesc, attnums, count);
	else
		stage->decoder = kafka_decoder_create(maker->table, maker->columns,
											  tupdesc, attnums, count);
	if (maker->is_discreet)
		kafka_decoder_set_discreet(stage->decoder,
								   RelationGetRelationName(maker->rel));
	stage->position = palloc0(sizeof(int) * Max(count, 1));
	for (int i = 0; i < count; i++)
	{
		stage->position[i] =
			maker->has_scan_tlist ? first + i : attnums[i] - 1;
		adjacent &= stage->position[i] == stage->position[0] + i;
	}
	if (!adjacent)
	{
		stage->values = palloc0(sizeof(Datum) * count);
		stage->isnull = palloc0(sizeof(bool) * count);
	}
}

static SlotMaker
plan_stages(const KafkaScanState *scan, const List *private)
{
	const List *attnums = list_nth(private, KafkaScanPrivateAttnums);
	SlotMaker maker;
	ListCell *lc;

	maker.table = scan->table;
	maker.columns = scan->columns;
	maker.rel = scan->rel;
	maker.attnums = palloc(sizeof(AttrNumber) * Max(list_length(attnums), 1));
	foreach(lc, attnums)
		maker.attnums[foreach_current_index(lc)] = lfirst_int(lc);
	maker.has_scan_tlist =
		boolVal(list_nth(private, KafkaScanPrivateHasScanTlist));
	maker.is_discreet = boolVal(list_nth(private, KafkaScanPrivateIsDiscreet));
	maker.is_for_batch = scan->batch != NULL || scan->tail != NULL;
	return maker;
}

TupleTableSlot *
kafka_slot_create(TupleDesc descriptor, const KafkaScanState *scan,
				  const List *private, int64 *rejected)
{
	TupleTableSlot *base = MakeTupleTableSlot(descriptor, &kafka_slot_ops);
	KafkaSlot *slot = (KafkaSlot *) base;
	SlotMaker maker = plan_stages(scan, private);
	int count = list_length(list_nth(private, KafkaScanPrivateAttnums));
	int filter_count = intVal(list_nth(private, KafkaScanPrivateFilterCount));

	base->tts_tableOid = RelationGetRelid(scan->rel);
	memset(base->tts_isnull, true, descriptor->natts);
	slot->rejected = rejected;
	slot->skips_bad =
		scan->table->on_error == KAFKA_ON_ERROR_SKIP || maker.is_for_batch;
	if (slot->skips_bad)
		filter_count = 0;
	slot->filter_count = filter_count;
	if (filter_count > 0)
		init_stage(&slot->filter, &maker, 0, filter_count);
	if (count > filter_count || slot->skips_bad)
		init_stage(&slot->rest, &maker, filter_count, count - filter_count);
	return base;
}
