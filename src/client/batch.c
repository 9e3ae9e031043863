/*-------------------------------------------------------------------------
 *
 * batch.c
 *		Messages held in memory, to be scanned as often as one likes.
 *
 * The bytes of a message, its key, payload and headers, stand one behind the
 * other in a chunk, which holds some thousand messages.  So adding a message
 * costs little more than copying it, and emptying a batch no more than putting
 * its chunks away for the next messages; memory that was touched once need not
 * be asked of the kernel again.
 *
 * IDENTIFICATION
 *		src/client/batch.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "client/batch.h"
#include "port/pg_bswap.h"
#include "utils/memutils.h"

/* What a chunk holds; a message of a quarter of it or more gets its own. */
#define CHUNK_BYTES (1024 * 1024)
#define OWN_CHUNK_BYTES (CHUNK_BYTES / 4)

#define FIRST_CAPACITY 1024

/* The length that a header's null value has. */
#define NULL_LENGTH (-1)

typedef struct KafkaBatchChunk
{
	struct KafkaBatchChunk *next;
	size_t size;
	size_t used;
	char data[FLEXIBLE_ARRAY_MEMBER];
} KafkaBatchChunk;

typedef struct KafkaBatchTopic
{
	struct KafkaBatchTopic *next;
	char name[FLEXIBLE_ARRAY_MEMBER];
} KafkaBatchTopic;

static KafkaBatch *armed_batch = NULL;

/* What plans are made for now, if the OID is valid. */
static Oid planned_relid = InvalidOid;
static double planned_messages;

/* ----------------------------------------------------------------
 * Making and ending
 * ----------------------------------------------------------------
 */

/* A batch that is gone is not to be scanned, whatever the caller forgot. */
static void
disarm_batch(void *arg)
{
	if (armed_batch == arg)
		armed_batch = NULL;
}

KafkaBatch *
kafka_batch_create(Oid relid)
{
	MemoryContext context =
		AllocSetContextCreate(CurrentMemoryContext, "Kafka batch",
							  ALLOCSET_DEFAULT_SIZES);
	KafkaBatch *batch = MemoryContextAllocZero(context, sizeof(KafkaBatch));

	batch->context = context;
	batch->relid = relid;
	batch->capacity = FIRST_CAPACITY;
	batch->entries =
		MemoryContextAlloc(context, sizeof(KafkaBatchEntry) * FIRST_CAPACITY);
	batch->current = -1;
	batch->notes = AllocSetContextCreate(context, "Kafka batch faults",
										 ALLOCSET_DEFAULT_SIZES);
	batch->callback.func = disarm_batch;
	batch->callback.arg = batch;
	MemoryContextRegisterResetCallback(context, &batch->callback);
	return batch;
}

void
kafka_batch_reset(KafkaBatch *batch)
{
	while (batch->chunks)
	{
		KafkaBatchChunk *chunk = batch->chunks;

		batch->chunks = chunk->next;
		if (chunk->size > CHUNK_BYTES)
		{
			pfree(chunk);
			continue;
		}
		chunk->used = 0;
		chunk->next = batch->spare;
		batch->spare = chunk;
	}
	MemoryContextReset(batch->notes);
	batch->generation++;
	batch->nentries = 0;
	batch->bytes = 0;
	batch->naside = 0;
	batch->start = 0;
	batch->end = 0;
	batch->current = -1;
}

void
kafka_batch_destroy(KafkaBatch *batch)
{
	MemoryContextDelete(batch->context);
}

/* ----------------------------------------------------------------
 * Adding
 * ----------------------------------------------------------------
 */

/*
 * Room for a message's bytes.  What has a chunk of its own comes second in
 * the list, so that the first goes on being filled.
 */
static char *
reserve_bytes(KafkaBatch *batch, size_t length)
{
	KafkaBatchChunk *chunk = batch->chunks;
	size_t size = Max(length, CHUNK_BYTES);

	if (likely(chunk != NULL && chunk->size - chunk->used >= length))
	{
		chunk->used += length;
		return chunk->data + (chunk->used - length);
	}
	if (length < OWN_CHUNK_BYTES && batch->spare != NULL)
	{
		chunk = batch->spare;
		batch->spare = chunk->next;
	}
	else
	{
		if (length >= OWN_CHUNK_BYTES)
			size = length;
		chunk = MemoryContextAllocHuge(batch->context,
									   offsetof(KafkaBatchChunk, data) + size);
		chunk->size = size;
	}
	chunk->used = length;
	if (length >= OWN_CHUNK_BYTES && batch->chunks != NULL)
	{
		chunk->next = batch->chunks->next;
		batch->chunks->next = chunk;
	}
	else
	{
		chunk->next = batch->chunks;
		batch->chunks = chunk;
	}
	return chunk->data;
}

void *
kafka_batch_reserve(KafkaBatch *batch, size_t size)
{
	return (void *) MAXALIGN(reserve_bytes(batch, size + MAXIMUM_ALIGNOF - 1));
}

/* The batch's own copy of a topic's name. */
static const char *
intern_topic(KafkaBatch *batch, const char *name)
{
	KafkaBatchTopic *topic;

	if (batch->nentries > 0 &&
		strcmp(batch->entries[batch->nentries - 1].topic, name) == 0)
		return batch->entries[batch->nentries - 1].topic;
	for (topic = batch->topics; topic; topic = topic->next)
	{
		if (strcmp(topic->name, name) == 0)
			return topic->name;
	}
	topic =
		MemoryContextAlloc(batch->context,
						   offsetof(KafkaBatchTopic, name) + strlen(name) + 1);
	strcpy(topic->name, name);
	topic->next = batch->topics;
	batch->topics = topic;
	return topic->name;
}

/* Makes room for one more entry. */
static void
reserve_entry(KafkaBatch *batch)
{
	if (likely(batch->nentries < batch->capacity))
		return;
	batch->entries = repalloc_huge(batch->entries, sizeof(KafkaBatchEntry) *
													   batch->capacity * 2);
	batch->capacity *= 2;
}

static char *
append_bytes(char *to, const char *bytes, size_t length)
{
	if (length > 0)
		memcpy(to, bytes, length);
	return to + length;
}

static char *
append_length(char *to, int32 length)
{
	uint32 packed = pg_hton32((uint32) length);

	return append_bytes(to, (const char *) &packed, sizeof(packed));
}

/* How many bytes a message's headers take when packed. */
static size_t
measure_headers(const KafkaMessage *message)
{
	size_t total = 0;
	const char *name;
	const char *value;
	size_t length;

	for (int i = 0; kafka_message_header(message, i, &name, &value, &length);
		 i++)
		total += 2 * sizeof(int32) + strlen(name) + (value ? length : 0);
	return total;
}

static char *
append_headers(char *to, const KafkaMessage *message)
{
	const char *name;
	const char *value;
	size_t length;

	for (int i = 0; kafka_message_header(message, i, &name, &value, &length);
		 i++)
	{
		to = append_length(to, (int32) strlen(name));
		to = append_bytes(to, name, strlen(name));
		to = append_length(to, value ? (int32) length : NULL_LENGTH);
		if (value)
			to = append_bytes(to, value, length);
	}
	return to;
}

/*
 * Appends an entry whose key, payload and headers are what source has, with
 * the headers taken from message where that is not NULL.
 */
static void
add_copy(KafkaBatch *batch, const KafkaBatchEntry *source,
		 const KafkaMessage *message)
{
	size_t length =
		source->key_length + source->payload_length + source->headers_length;
	KafkaBatchEntry *entry;
	char *to;

	reserve_entry(batch);
	to = reserve_bytes(batch, length);
	entry = &batch->entries[batch->nentries];
	*entry = *source;
	entry->topic = intern_topic(batch, source->topic);
	entry->stage = KAFKA_STAGE_NONE;
	entry->sqlerrcode = 0;
	entry->description = NULL;
	if (source->key)
	{
		entry->key = to;
		to = append_bytes(to, source->key, source->key_length);
	}
	if (source->payload)
	{
		entry->payload = to;
		to = append_bytes(to, source->payload, source->payload_length);
	}
	if (source->headers_length > 0)
	{
		entry->headers = to;
		if (message)
			(void) append_headers(to, message);
		else
			memcpy(to, source->headers, source->headers_length);
	}
	batch->nentries++;
	batch->bytes += length;
}

void
kafka_batch_add_entry(KafkaBatch *batch, const KafkaBatchEntry *entry)
{
	KafkaBatchEntry source = *entry;

	if (source.key == NULL)
		source.key_length = 0;
	if (source.payload == NULL)
		source.payload_length = 0;
	if (source.headers == NULL)
		source.headers_length = 0;
	add_copy(batch, &source, NULL);
}

void
kafka_batch_add(KafkaBatch *batch, const KafkaMessage *message)
{
	KafkaBatchEntry source;

	if (message->native == NULL)
	{
		kafka_batch_add_entry(batch, message->entry);
		return;
	}
	memset(&source, 0, sizeof(source));
	source.topic = message->topic;
	source.partition = message->partition;
	source.offset = message->offset;
	source.timestamp_ms =
		kafka_message_timestamp(message, &source.log_append_time);
	source.key = message->key;
	source.key_length = message->key ? message->key_length : 0;
	source.payload = message->payload;
	source.payload_length = message->payload ? message->payload_length : 0;
	source.headers_length = measure_headers(message);
	add_copy(batch, &source, message);
}

/* ----------------------------------------------------------------
 * Looking at entries
 * ----------------------------------------------------------------
 */

void
kafka_batch_message(const KafkaBatch *batch, int index, KafkaMessage *message)
{
	Assert(index >= 0 && index < batch->nentries);
	kafka_batch_entry_message(&batch->entries[index], message);
}

void
kafka_batch_entry_message(const KafkaBatchEntry *entry, KafkaMessage *message)
{
	message->topic = entry->topic;
	message->partition = entry->partition;
	message->offset = entry->offset;
	message->payload = entry->payload;
	message->payload_length = entry->payload_length;
	message->key = entry->key;
	message->key_length = entry->key_length;
	message->native = NULL;
	message->entry = entry;
}

/*
 * Reads a length and the bytes that it is of from packed headers; false when
 * they end before.  *bytes is NULL for a null value.
 */
static bool
read_packed(const char **from, const char *end, const char **bytes,
			size_t *length)
{
	uint32 packed;
	int32 wanted;

	if (end - *from < (ptrdiff_t) sizeof(packed))
		return false;
	memcpy(&packed, *from, sizeof(packed));
	wanted = (int32) pg_ntoh32(packed);
	*from += sizeof(packed);
	*bytes = wanted < 0 ? NULL : *from;
	*length = wanted < 0 ? 0 : (size_t) wanted;
	if (*length > (size_t) (end - *from))
		return false;
	*from += *length;
	return true;
}

bool
kafka_batch_entry_header(const KafkaBatchEntry *entry, int index,
						 const char **name, const char **value, size_t *length)
{
	const char *from = entry->headers;
	const char *end = from + entry->headers_length;
	size_t name_length = 0;

	if (from == NULL)
		return false;
	for (int i = 0; i <= index; i++)
	{
		if (!read_packed(&from, end, name, &name_length) ||
			!read_packed(&from, end, value, length) || *name == NULL)
			return false;
	}
	*name = pnstrdup(*name, name_length);
	return true;
}

/* ----------------------------------------------------------------
 * Putting aside
 * ----------------------------------------------------------------
 */

void
kafka_batch_put_aside(KafkaBatch *batch, int index, KafkaFaultStage stage,
					  int sqlerrcode, const char *description)
{
	KafkaBatchEntry *entry = &batch->entries[index];

	Assert(index >= 0 && index < batch->nentries);
	Assert(stage != KAFKA_STAGE_NONE);
	if (entry->stage != KAFKA_STAGE_NONE)
		return;
	if (description)
		entry->description = MemoryContextStrdup(batch->notes, description);
	entry->sqlerrcode = sqlerrcode;
	entry->stage = stage;
	batch->naside++;
}

void
kafka_batch_take_back(KafkaBatch *batch, int index)
{
	KafkaBatchEntry *entry = &batch->entries[index];

	Assert(entry->stage != KAFKA_STAGE_NONE);
	if (entry->description)
		pfree(entry->description);
	entry->description = NULL;
	entry->sqlerrcode = 0;
	entry->stage = KAFKA_STAGE_NONE;
	batch->naside--;
}

void
kafka_batch_clear_faults(KafkaBatch *batch)
{
	for (int i = 0; batch->naside > 0 && i < batch->nentries; i++)
	{
		KafkaBatchEntry *entry = &batch->entries[i];

		if (entry->stage == KAFKA_STAGE_NONE)
			continue;
		entry->description = NULL;
		entry->sqlerrcode = 0;
		entry->stage = KAFKA_STAGE_NONE;
		batch->naside--;
	}
	MemoryContextReset(batch->notes);
}

void
kafka_batch_set_relid(KafkaBatch *batch, Oid relid)
{
	batch->relid = relid;
}

/* ----------------------------------------------------------------
 * Arming
 * ----------------------------------------------------------------
 */

KafkaBatch *
kafka_batch_arm(KafkaBatch *batch)
{
	KafkaBatch *before = armed_batch;

	armed_batch = batch;
	return before;
}

KafkaBatch *
kafka_batch_armed_for(Oid relid)
{
	if (armed_batch != NULL && armed_batch->relid == relid)
		return armed_batch;
	return NULL;
}

void
kafka_batch_plan_for(Oid relid, double nmessages)
{
	planned_relid = relid;
	planned_messages = nmessages;
}

double
kafka_batch_planned_messages(Oid relid)
{
	return relid == planned_relid ? planned_messages : -1;
}
