/*-------------------------------------------------------------------------
 *
 * ordered_sort.c
 *		Sorts messages by an integer.
 *
 * A window of an ordered scan has the length that is expected to suffice, but
 * nothing says how much is in it: any number of records may have the same
 * time.  So it is PostgreSQL's sort that keeps the messages, which goes to disk
 * where memory does not hold them.  A message is sorted as one value, its bytes
 * behind a head of fixed length; only what comes out is decoded.
 *
 * IDENTIFICATION
 *		src/fdw/ordered_sort.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/tuptable.h"
#include "fdw/ordered.h"
#include "utils/memutils.h"
#include "utils/tuplesort.h"
#include "utils/typcache.h"

#define NO_BYTES (-1)

/* Then come the bytes of key, payload and packed headers. */
typedef struct PackedHead
{
	const char *topic; /* the packer's, which keeps it */
	int64 offset;
	int64 timestamp_ms;
	int64 key_length;     /* NO_BYTES for none */
	int64 payload_length; /* likewise */
	int64 headers_length;
	int32 partition;
	bool log_append_time;
} PackedHead;

typedef enum SortColumn
{
	SORT_KEY = 1,
	SORT_MESSAGE,
	SORT_COLUMNS = SORT_MESSAGE
} SortColumn;

struct KafkaMessageSort
{
	/* Unchanging */
	MemoryContext context;
	TupleDesc desc;
	bool descending;
	int work_kb;
	TupleTableSlot *input;  /* virtual */
	TupleTableSlot *output; /* for minimal tuples */
	KafkaBatch *packer;     /* knows how to pack headers */

	/* Mutable */
	Tuplesortstate *state; /* NULL between sorts */
	int64 bytes;
	bytea *buffer; /* the message being put */
	Size capacity;
	KafkaBatchEntry entry; /* the message got last */
};

KafkaMessageSort *
kafka_message_sort_create(Oid relid, bool descending, int work_kb)
{
	KafkaMessageSort *sort = palloc0(sizeof(KafkaMessageSort));
	TupleDesc desc = CreateTemplateTupleDesc(SORT_COLUMNS);

	TupleDescInitEntry(desc, SORT_KEY, "key", INT8OID, -1, 0);
	TupleDescInitEntry(desc, SORT_MESSAGE, "message", BYTEAOID, -1, 0);
	sort->context = CurrentMemoryContext;
	sort->desc = desc;
	sort->descending = descending;
	sort->work_kb = work_kb;
	sort->input = MakeTupleTableSlot(desc, &TTSOpsVirtual);
	sort->output = MakeTupleTableSlot(desc, &TTSOpsMinimalTuple);
	sort->packer = kafka_batch_create(relid);
	return sort;
}

void
kafka_message_sort_begin(KafkaMessageSort *sort)
{
	MemoryContext caller = MemoryContextSwitchTo(sort->context);
	AttrNumber column = SORT_KEY;
	TypeCacheEntry *type =
		lookup_type_cache(INT8OID, TYPECACHE_LT_OPR | TYPECACHE_GT_OPR);
	Oid before = sort->descending ? type->gt_opr : type->lt_opr;
	Oid collation = InvalidOid;
	bool nulls_first = false;

	kafka_message_sort_end(sort);
	sort->state = tuplesort_begin_heap(sort->desc, 1, &column, &before,
									   &collation, &nulls_first, sort->work_kb,
									   NULL, TUPLESORT_NONE);
	sort->bytes = 0;
	MemoryContextSwitchTo(caller);
}

/* Fills sort->buffer. */
static void
pack_message(KafkaMessageSort *sort, const KafkaMessage *message)
{
	PackedHead head = {0};
	const KafkaBatchEntry *entry;
	const char *bytes;
	Size length;
	Size size;

	kafka_batch_reset(sort->packer);
	kafka_batch_add(sort->packer, message);
	entry = &sort->packer->entries[0];
	head.topic = entry->topic;
	head.offset = entry->offset;
	head.timestamp_ms = entry->timestamp_ms;
	head.key_length = entry->key ? (int64) entry->key_length : NO_BYTES;
	head.payload_length =
		entry->payload ? (int64) entry->payload_length : NO_BYTES;
	head.headers_length = (int64) entry->headers_length;
	head.partition = entry->partition;
	head.log_append_time = entry->log_append_time;

	/* They stand one behind the other; see add_copy in batch.c. */
	bytes = entry->key       ? entry->key
			: entry->payload ? entry->payload
							 : entry->headers;
	length = Max(head.key_length, 0) + Max(head.payload_length, 0) +
			 head.headers_length;
	size = VARHDRSZ + sizeof(head) + length;
	if (size > sort->capacity)
	{
		Size capacity = size > MaxAllocSize / 2 ? size : size * 2;

		if (sort->buffer)
			pfree(sort->buffer);
		sort->buffer = NULL;
		sort->capacity = 0;
		sort->buffer = MemoryContextAlloc(sort->context, capacity);
		sort->capacity = capacity;
	}
	SET_VARSIZE(sort->buffer, size);
	memcpy(VARDATA(sort->buffer), &head, sizeof(head));
	if (length > 0)
		memcpy(VARDATA(sort->buffer) + sizeof(head), bytes, length);
}

void
kafka_message_sort_put(KafkaMessageSort *sort, int64 key,
					   const KafkaMessage *message)
{
	pack_message(sort, message);
	ExecClearTuple(sort->input);
	sort->input->tts_values[SORT_KEY - 1] = Int64GetDatum(key);
	sort->input->tts_values[SORT_MESSAGE - 1] = PointerGetDatum(sort->buffer);
	memset(sort->input->tts_isnull, false, sizeof(bool) * SORT_COLUMNS);
	ExecStoreVirtualTuple(sort->input);
	tuplesort_puttupleslot(sort->state, sort->input);
	ExecClearTuple(sort->input);
	sort->bytes += VARSIZE(sort->buffer);
}

void
kafka_message_sort_perform(KafkaMessageSort *sort)
{
	tuplesort_performsort(sort->state);
}

/* Makes sort->entry of what pack_message has made. */
static void
unpack_message(KafkaMessageSort *sort, Datum packed)
{
	KafkaBatchEntry *entry = &sort->entry;
	const char *from = VARDATA_ANY(DatumGetPointer(packed));
	PackedHead head;

	/* Not aligned: short values have a short header. */
	memcpy(&head, from, sizeof(head));
	from += sizeof(head);
	memset(entry, 0, sizeof(*entry));
	entry->topic = head.topic;
	entry->partition = head.partition;
	entry->offset = head.offset;
	entry->timestamp_ms = head.timestamp_ms;
	entry->log_append_time = head.log_append_time;
	if (head.key_length != NO_BYTES)
	{
		entry->key = from;
		entry->key_length = (size_t) head.key_length;
		from += head.key_length;
	}
	if (head.payload_length != NO_BYTES)
	{
		entry->payload = from;
		entry->payload_length = (size_t) head.payload_length;
		from += head.payload_length;
	}
	if (head.headers_length > 0)
	{
		entry->headers = from;
		entry->headers_length = (size_t) head.headers_length;
	}
}

bool
kafka_message_sort_get(KafkaMessageSort *sort, KafkaMessage *message)
{
	bool isnull;

	if (!tuplesort_gettupleslot(sort->state, true, false, sort->output, NULL))
		return false;
	unpack_message(sort, slot_getattr(sort->output, SORT_MESSAGE, &isnull));
	kafka_batch_entry_message(&sort->entry, message);
	return true;
}

void
kafka_message_sort_end(KafkaMessageSort *sort)
{
	ExecClearTuple(sort->output);
	if (sort->state)
		tuplesort_end(sort->state);
	sort->state = NULL;
}

int64
kafka_message_sort_bytes(const KafkaMessageSort *sort)
{
	return sort->bytes;
}
