/*-------------------------------------------------------------------------
 *
 * apply.h
 *		What the files share that bring a batch of messages into storage.
 *
 * apply.c holds the phases together: checks (check.c) decide which messages
 * count, the query of states is evaluated over those (evaluate.c) and merged,
 * and wherever that raises an error the messages at fault are found and put
 * aside (isolate.c).  dead_letter.c and test.c are callers with wishes of
 * their own.
 *
 * IDENTIFICATION
 *		src/rollup/apply.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef KAFKA_ROLLUP_APPLY_H
#define KAFKA_ROLLUP_APPLY_H

#include "executor/tuptable.h"
#include "rollup/rollup.h"
#include "utils/uuid.h"

/* ----------------------------------------------------------------
 * evaluate.c: a query over a batch
 * ----------------------------------------------------------------
 */

/* A query that has been planned once, to be run over parts of batches. */
typedef struct KafkaEvaluation KafkaEvaluation;

/*
 * Plans a query for batches of about the size of this one.  It belongs to the
 * innermost SPI connection, with which it ends, and the locks that it needs to
 * the current subtransaction.
 */
extern KafkaEvaluation *kafka_evaluation_prepare(const char *sql,
												 const KafkaBatch *batch);

/* What its rows look like. */
extern TupleDesc
kafka_evaluation_descriptor(const KafkaEvaluation *evaluation);

/*
 * Runs it over the batch's entries [start, end) and calls row for each row of
 * the result; the slot is valid during the call.  What it allocates is in the
 * current context, which the caller resets.  Errors are whatever the query
 * raises; batch->current is then the entry it was at.
 */
extern void kafka_evaluation_run(KafkaEvaluation *evaluation,
								 KafkaBatch *batch,
								 void (*row)(TupleTableSlot *slot, void *arg),
								 void *arg);

/*
 * kafka_catalog_execute for statements that look up many rows by an index.
 * Their plans are kept, and one that was made while a table was small would
 * scan it for each row that is looked up, long after it has grown.
 */
extern uint64 kafka_evaluation_execute_by_index(const char *sql, int nargs,
												const Oid *types,
												const Datum *values,
												const bool *nulls);

/* SELECT * FROM a relation, palloc'd. */
extern char *kafka_evaluation_of_relation(Oid relid);

/* ----------------------------------------------------------------
 * isolate.c: which messages raise errors
 * ----------------------------------------------------------------
 */
typedef struct KafkaIsolation
{
	/* Unchanging */
	KafkaBatch *batch;
	void (*work)(void *arg); /* on the batch's entries [start, end) */
	void *arg;
	bool keeps; /* what work did up to the message that it raises an error for
				 * stays done: it is not done again, and the message is at
				 * fault without further proof */
	MemoryContext context; /* current while work runs, reset before */

	/* Mutable */
	int64 aside_allowed; /* once more entries of the batch are put aside, the
						  * rest is not looked for */
	bool passed;         /* the work was done for some message, which proves
						  * that it can be; or that needs no proof */
	bool tripped;        /* there were more: the work is not complete */
	bool exhausted;      /* likewise, since too many attempts were made */
	int nbisecting;      /* attempts while bisects was set */
	bool bisects;        /* work is not at the message that is at fault */
	int sqlerrcode;      /* of the error raised last */
	int doubtful_sqlerrcode; /* of the first error that may not be a message's
							  * fault; 0 for none */
	char *doubtful_message;
} KafkaIsolation;

/*
 * Does the work for the entries [start, end) of the batch, each part of it in
 * a subtransaction, and puts those aside for which it raises errors that are
 * their fault; isolate.c says which these are.  Any other error is raised.
 */
extern void kafka_isolate_run(KafkaIsolation *isolation, int start, int end);

/* ----------------------------------------------------------------
 * check.c: which messages count
 * ----------------------------------------------------------------
 */

/* The unique keys that were counted, and the messages that repeat some. */
typedef struct KafkaKeys KafkaKeys;
typedef struct KafkaKeyQueues KafkaKeyQueues;

/* What the view of checks says of an entry. */
typedef struct KafkaCheckedRow
{
	bool seen; /* the view has a row for it; else the rest is not valid */
	bool passes;
	bool has_time;
	bool has_key;
	TimestampTz time;
	TimestampTz recorded_at; /* by which keys are remembered */
	pg_uuid_t key;
} KafkaCheckedRow;

/* ----------------------------------------------------------------
 * apply.c: the phases
 * ----------------------------------------------------------------
 */

/* What to apply, and how.  SQL texts are complete. */
typedef struct KafkaApplyTask
{
	const KafkaRollup *rollup; /* limits, options, settings, id */
	Oid userid;                /* whose rights the query has */
	const char *states_sql;
	const char *checks_sql; /* NULL for none */
	const char *upsert_sql;
	bool has_circuit;      /* error_limit holds, and an error that all messages
						    * raise may be the rollup's */
	bool ignores_time;     /* late_limit and future_limit do not hold */
	bool refuses_pruned;   /* messages of buckets that have been removed do not
							* count */
	KafkaKeys *known_keys; /* keys are remembered here, and not in
						    * kafka.stored_key; NULL for the latter */
} KafkaApplyTask;

/* A task being worked on. */
typedef struct KafkaApply
{
	/* Unchanging */
	const KafkaApplyTask *task;
	MemoryContext context;         /* holds everything */
	MemoryContext attempt_context; /* reset for each attempt */
	KafkaBatch *batch;
	KafkaPositions *positions; /* a copy, whose newest times may be changed; or
								* NULL */
	int64 faults_allowed;

	/* Mutable */
	KafkaKeys *keys;        /* NULL where there is no unique key */
	KafkaKeyQueues *queues; /* NULL until the checks have been evaluated */
	KafkaCheckedRow *rows;  /* by entry; NULL where nothing is checked */
	int promotions;         /* calls of kafka_check_promote */
	KafkaPositions *positions_before; /* the batch; NULL where positions is */
	KafkaEvaluation *states;          /* NULL until it is prepared */
	struct KafkaUpsert *upsert;       /* likewise */
	bool passed;                      /* see KafkaIsolation: for the states */
	bool exhausted;                   /* likewise */
	KafkaApplyResult result;
} KafkaApply;

/* The task that a rollup's run has. */
extern KafkaApplyTask kafka_apply_task_of_rollup(const KafkaRollup *rollup);

/* upsert_sql or final_sql with the name of storage filled in, palloc'd. */
extern char *kafka_apply_fill_storage(const char *sql, Oid storage);

/* See kafka_rollup_apply.  positions may be NULL: then none is late. */
extern KafkaApplyResult kafka_apply_run(const KafkaApplyTask *task,
										KafkaBatch *batch,
										KafkaPositions *positions);

/*
 * check.c again.  Judges all entries of the batch, and puts aside those that
 * do not count.  Must run as the owner; false when the circuit tripped.
 */
extern bool kafka_check_run(KafkaApply *apply);

/*
 * The rules of late_limit and future_limit, one by one.  A limit that is longer
 * than times can be is none.  What is after *last_time is too far in the
 * future; what is late by its partition's newest time must only be asked where
 * there is a late_limit.
 */
extern bool kafka_check_get_last_time(const KafkaRollup *rollup,
									  TimestampTz now, TimestampTz *last_time);
extern bool kafka_check_has_late_limit(const KafkaRollup *rollup);
extern bool kafka_check_is_late(const KafkaRollup *rollup,
								const KafkaPosition *position,
								TimestampTz time);

/* A message of this time has counted. */
extern void kafka_check_raise_newest(KafkaPosition *position, TimestampTz time,
									 TimestampTz now);

/* The record's timestamp, or what stands in for it; time may be NULL. */
extern TimestampTz kafka_check_record_time(int64 timestamp_ms,
										   const TimestampTz *time);

/*
 * To be called when the query has run over all that is not put aside: takes
 * back messages that are, because of others for which it failed.  Returns them
 * as indexes, valid until the next call.  When it has run over these, too, the
 * call is to be repeated, until there are none.
 */
extern const int *kafka_check_promote(KafkaApply *apply, int *count);

/* Remembers what was counted, and forgets old keys. */
extern void kafka_check_remember(KafkaApply *apply);

/*
 * The unique keys' hashes of messages at fault, by entry, palloc'd; NULL
 * where it is not known or there is none, or for there being no keys at all.
 */
extern const pg_uuid_t **kafka_check_list_key_hashes(const KafkaApply *apply);

/*
 * The position of an entry's partition, NULL where no positions are kept; hint
 * is what was found last, or NULL.
 */
extern KafkaPosition *kafka_check_find_position(const KafkaApply *apply,
												const KafkaBatchEntry *entry,
												KafkaPosition *hint);

/* ----------------------------------------------------------------
 * key.c: which messages repeat one that was counted
 * ----------------------------------------------------------------
 */

/* An empty set of keys in the current context, for KafkaApplyTask. */
extern KafkaKeys *kafka_keys_create(void);

/*
 * The rule, one by one: does the set have this key at most unique_within from
 * the time?  What is added must not be so near to another.
 */
extern int64 kafka_keys_get_within_us(const KafkaRollup *rollup);
extern bool kafka_keys_has_near(const KafkaKeys *keys, const pg_uuid_t *key,
								TimestampTz time, int64 within_us);
extern void kafka_keys_add(KafkaKeys *keys, const pg_uuid_t *key,
						   TimestampTz time, int64 within_us);

/* Looks up what was counted before of the keys in the rows of checks. */
extern void kafka_keys_find(KafkaApply *apply);

/* Counts an entry's key; false when it repeats one that was counted. */
extern bool kafka_keys_claim(KafkaApply *apply, int index);

/*
 * Begins a round of promotions with repeats of messages that have failed since
 * the last one; adds others to it; tells how many there are.
 */
extern const int *kafka_keys_promote(KafkaApply *apply);
extern void kafka_keys_add_promoted(KafkaApply *apply, int index);
extern int kafka_keys_count_promoted(const KafkaApply *apply);

/* Remembers the keys that were counted, and forgets old ones. */
extern void kafka_keys_remember(KafkaApply *apply);

/* The entries of a batch that were put aside at this stage. */
extern int kafka_apply_count_stage(const KafkaBatch *batch,
								   KafkaFaultStage stage);

/* A word for dead letters: decode, expect, late, future or query. */
extern const char *kafka_dead_letter_stage_name(KafkaFaultStage stage);

/* ----------------------------------------------------------------
 * bucket.c: the bucket as the view of states computes it
 * ----------------------------------------------------------------
 */

/*
 * Buckets are of type timestamp or timestamptz, and handled as the number that
 * is inside both, as in KafkaRollup.pruned_until.
 */
typedef struct KafkaBucket
{
	Query *rows;    /* the rollup's FROM and WHERE: a row a message */
	FuncExpr *call; /* the bucket, over its tables */
	Oid type;
} KafkaBucket;

/* The rollup must have a bucket; palloc'd. */
extern KafkaBucket *kafka_bucket_read(const KafkaRollup *rollup);

/*
 * The bucket that a time is in; a smaller one has older times only.  The
 * rollup's settings must be in force.
 */
extern int64 kafka_bucket_of_time(const KafkaBucket *bucket, TimestampTz time);

/* The first time after the bucket, of this width, that a time is in. */
extern TimestampTz kafka_bucket_find_end(const KafkaBucket *bucket,
										 const Interval *width,
										 TimestampTz time);

/* The bucket that a number between two buckets belongs to: the first. */
extern int64 kafka_bucket_of_value(const KafkaBucket *bucket, int64 value);

/* A bucket as text by the current settings, palloc'd. */
extern char *kafka_bucket_describe(const KafkaBucket *bucket, int64 value);

/*
 * SELECT: the bucket of each message that the query aggregates, palloc'd; to be
 * read with pg_catalog in front of search_path.
 */
extern char *kafka_bucket_generate_rows(const KafkaBucket *bucket);

/* ----------------------------------------------------------------
 * prune.c: messages of buckets that have been removed
 * ----------------------------------------------------------------
 */

/*
 * Puts those of the batch's entries [start, end) aside whose bucket has been
 * removed; how many they are.  Must run as the owner.
 */
extern int kafka_prune_put_aside(const KafkaRollup *rollup, KafkaBatch *batch);

/*
 * apply.c: SET CONSTRAINTS ALL IMMEDIATE, so that no trigger that is set off
 * as somebody else waits to run as the caller.
 */
extern void kafka_apply_make_constraints_immediate(void);

/* ----------------------------------------------------------------
 * test_message.c: messages that a test makes up
 * ----------------------------------------------------------------
 */

/*
 * Reads messages, a JSON array of objects or one object, into entries,
 * palloc'd.  topic is that of messages which name none, NULL for none.
 */
extern KafkaBatchEntry *
kafka_test_read_messages(Jsonb *messages, const char *topic, int *count);

#endif /* KAFKA_ROLLUP_APPLY_H */
