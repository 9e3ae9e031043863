/*-------------------------------------------------------------------------
 *
 * batch.h
 *		Messages held in memory, to be scanned as often as one likes.
 *
 * What a rollup's run has read of a topic, what a dead letter kept, and what
 * a test makes up are all a batch.  A foreign scan that is begun while a batch
 * is armed for its table reads the batch instead of the brokers: so a query
 * over a batch is the same query, planned and decoded the same way.
 *
 * IDENTIFICATION
 *		src/client/batch.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef KAFKA_BATCH_H
#define KAFKA_BATCH_H

#include "client/client.h"

/* Why a message of a batch was put aside; see kafka.dead_letters. */
typedef enum KafkaFaultStage
{
	KAFKA_STAGE_NONE = 0, /* not put aside */
	KAFKA_STAGE_DECODE,   /* cannot be converted into the table's columns */
	KAFKA_STAGE_EXPECT,   /* the rollup's "expect" is not true */
	KAFKA_STAGE_LATE,     /* older than late_limit allows */
	KAFKA_STAGE_FUTURE,   /* newer than future_limit allows */
	KAFKA_STAGE_QUERY,    /* the query raised an error for it */
	KAFKA_STAGE_PRUNED,   /* its bucket was removed: "late", and not bad */
	KAFKA_STAGE_DUPLICATE /* counted before: no dead letter */
} KafkaFaultStage;

typedef struct KafkaBatchEntry
{
	const char *topic; /* one copy a topic */
	int32 partition;
	int64 offset;
	int64 timestamp_ms; /* since 1970, or -1 for none */
	bool log_append_time;
	const char *key; /* NULL for none; as all here in the batch's memory */
	size_t key_length;
	const char *payload; /* NULL for a tombstone */
	size_t payload_length;

	/*
	 * Headers, packed: for each, name length, name, value length (-1 for a
	 * null value), value; lengths are int32 in network byte order.
	 */
	const char *headers; /* NULL for none */
	size_t headers_length;

	/* Set by kafka_batch_put_aside */
	KafkaFaultStage stage;
	int sqlerrcode;    /* ERRCODE_..., 0 where no error was raised */
	char *description; /* in the batch's memory */
} KafkaBatchEntry;

typedef struct KafkaBatch
{
	/* Unchanging once made */
	MemoryContext context; /* holds everything */
	Oid relid;             /* the foreign table that it stands for */

	/* Mutable */
	KafkaBatchEntry *entries; /* [0, nentries), in the order of reading */
	int nentries;
	int capacity;
	int64 bytes; /* of keys, payloads and headers */
	int naside;  /* entries with a stage */

	/*
	 * What armed scans return: entries [start, end) that are not put aside.
	 * current is the entry that the scan has returned last, -1 before the
	 * first: while a query over the batch runs, or just after it has raised an
	 * error, that is the message it is at.
	 */
	int start;
	int end;
	int current;

	/*
	 * Decoded columns, which belong to fdw/batch_cache.c.  The generation
	 * changes with each reset, so that they are known to be of other messages.
	 */
	uint64 generation;
	struct KafkaBatchTable *tables;

	/* Of batch.c alone */
	struct KafkaBatchChunk *chunks; /* bytes; the one being filled first */
	struct KafkaBatchChunk *spare;  /* empty, kept by kafka_batch_reset */
	struct KafkaBatchTopic *topics; /* names, of all messages so far */
	MemoryContext notes;            /* descriptions */
	MemoryContextCallback callback;
} KafkaBatch;

/* An empty batch for a foreign table, in a new child of the current context. */
extern KafkaBatch *kafka_batch_create(Oid relid);

/*
 * Empties a batch, and keeps it and most of its memory for the next messages.
 * What armed scans return is nothing then, until start and end are set.
 */
extern void kafka_batch_reset(KafkaBatch *batch);

/* Frees a batch. */
extern void kafka_batch_destroy(KafkaBatch *batch);

/*
 * Appends a copy of a message.  Neither this nor kafka_batch_add_entry changes
 * start and end.
 */
extern void kafka_batch_add(KafkaBatch *batch, const KafkaMessage *message);

/* Appends a copy of an entry; stage and what belongs to it are not copied. */
extern void kafka_batch_add_entry(KafkaBatch *batch,
								  const KafkaBatchEntry *entry);

/*
 * Entry index as a message: kafka_message_timestamp and kafka_message_header
 * work on it as on one that comes from a broker.  It is valid until the batch
 * is added to.
 */
extern void kafka_batch_message(const KafkaBatch *batch, int index,
								KafkaMessage *message);

/* The same of an entry that may be in no batch; valid as long as the entry. */
extern void kafka_batch_entry_message(const KafkaBatchEntry *entry,
									  KafkaMessage *message);

/* Finds an entry's header number index; see kafka_message_header. */
extern bool kafka_batch_entry_header(const KafkaBatchEntry *entry, int index,
									 const char **name, const char **value,
									 size_t *length);

/*
 * Puts an entry aside, so that scans do not return it any more.  description
 * may be NULL, and is copied.  An entry that is aside already stays as it is.
 */
extern void kafka_batch_put_aside(KafkaBatch *batch, int index,
								  KafkaFaultStage stage, int sqlerrcode,
								  const char *description);

/*
 * Memory, aligned for anything, that is the caller's until the batch is reset.
 * Unlike palloc'd memory it has no header and is not rounded up.
 */
extern void *kafka_batch_reserve(KafkaBatch *batch, size_t size);

/* Takes back an entry that was put aside, so that it is scanned again. */
extern void kafka_batch_take_back(KafkaBatch *batch, int index);

/* Takes back all entries that were put aside, and frees what was noted. */
extern void kafka_batch_clear_faults(KafkaBatch *batch);

/* From now on the batch stands for another foreign table. */
extern void kafka_batch_set_relid(KafkaBatch *batch, Oid relid);

/* Was the entry put aside as a dead letter to be? */
static inline bool
kafka_batch_is_fault(const KafkaBatchEntry *entry)
{
	return entry->stage != KAFKA_STAGE_NONE &&
		   entry->stage != KAFKA_STAGE_DUPLICATE;
}

/*
 * Arms a batch, or with NULL disarms; returns what was armed before.  Foreign
 * scans look for an armed batch only when they are begun, so a caller arms
 * just for ExecutorStart of its own plan: queries nested in functions begin
 * later, and so never read a batch.  The caller disarms on error too.
 */
extern KafkaBatch *kafka_batch_arm(KafkaBatch *batch);

/* The armed batch if it stands for this table, else NULL. */
extern KafkaBatch *kafka_batch_armed_for(Oid relid);

/*
 * Has the planner reckon with a batch of so many messages wherever it plans a
 * scan of the table, until told otherwise with InvalidOid, which the caller
 * does on error too.  Else it takes a scan for one of a topic, maybe of
 * millions of messages, and sorts where it could hash.  Planning may run
 * queries of its own, to estimate by them, so a batch is not armed for it.
 */
extern void kafka_batch_plan_for(Oid relid, double nmessages);

/* That number; -1 when a scan of the table is to read topics. */
extern double kafka_batch_planned_messages(Oid relid);

#endif /* KAFKA_BATCH_H */
