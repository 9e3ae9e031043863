/*-------------------------------------------------------------------------
 *
 * rollup.h
 *		What the files of src/rollup share.
 *
 * A rollup is six relations of its owner and a row in kafka.stored_rollup:
 *
 *	  storage     table _<name>_g1: group columns and mergeable states
 *	  relation    view <name>: storage, with the states finalized
 *	  definition  view _<name>_def: the query as the user gave it
 *	  states      view _<name>_states: group columns, states, and last the
 *	              column rows_selected, of a batch
 *	  checks      view _<name>_checks: what decides whether a message is
 *	              counted, a row a message; only where something does
 *	  live        view <name>_live: storage merged with what the topic holds
 *	              beyond the positions, with the states finalized
 *
 * A run reads messages into a batch, evaluates checks and states over it, and
 * merges the result into storage, in the transaction that moves the positions.
 *
 * IDENTIFICATION
 *		src/rollup/rollup.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef KAFKA_ROLLUP_H
#define KAFKA_ROLLUP_H

#include "catalog.h"
#include "client/batch.h"
#include "datatype/timestamp.h"
#include "nodes/parsenodes.h"
#include "utils/jsonb.h"

/* The name by which an upsert's text calls the rows to be merged. */
#define KAFKA_ROLLUP_NEW_ROWS "kafka_rollup_new_rows"

/* The last column of the view of states: how many rows were aggregated. */
#define KAFKA_ROLLUP_ROWS_SELECTED "rows_selected"

/* ----------------------------------------------------------------
 * option.c: the keys of create_rollup's options
 * ----------------------------------------------------------------
 */
typedef struct KafkaRollupOptions
{
	int retry_limit;        /* default 3 */
	int64 retry_delay_ms;   /* default 60 s */
	double error_limit;     /* share of a batch, default 0.5 */
	bool continue_on_loss;  /* on_loss: 'halt' (default) or 'continue' */
	char *unique_key;       /* SQL expressions, NULL for none */
	int64 unique_within_ms; /* required with unique_key */

	/* How it is kept; of lengths of time 0 stands for none */
	bool follow;
	int64 commit_interval_ms;       /* 0: 1 s, with sketches 10 s */
	int64 max_tail;                 /* messages, default 1,000,000 */
	int64 retention_ms;             /* of buckets; none: for ever */
	int64 run_retention_ms;         /* default 7 days */
	int64 dead_letter_retention_ms; /* default 30 days */
	char *mirror_group;             /* NULL for none */
} KafkaRollupOptions;

/* A batch smaller than this never opens the circuit. */
#define KAFKA_ERROR_LIMIT_MIN_MESSAGES 100

/*
 * Reads and checks options.  Errors: not an object, an unknown key (the hint
 * has the nearest one), a value of the wrong type or out of range.
 */
extern KafkaRollupOptions kafka_rollup_read_options(const Jsonb *options);

/* ----------------------------------------------------------------
 * analyze.c, aggregate.c, generate.c: what a query becomes
 * ----------------------------------------------------------------
 */

/* All that create_rollup makes of a query; texts are SQL, fully qualified. */
typedef struct KafkaRollupSpec
{
	Oid source;           /* the Kafka foreign table */
	char *definition_sql; /* SELECT: the query */
	char *states_sql;     /* SELECT: of the view of states */
	char *checks_sql;     /* SELECT: of the view of checks, or NULL */
	int nkeys;            /* group columns, first in storage */
	List *columns;        /* of KafkaRollupColumn: storage's, in order */
	List *key_names;      /* of char *: the first nkeys of them */

	/*
	 * Statements with places for relations, in the manner of format(): %1$s
	 * is storage's qualified name.
	 */
	char *final_sql;  /* SELECT: of the view that users read */
	char *live_sql;   /* SELECT: the same with the tail of the topic; NULL
					   * where no name was given */
	char *upsert_sql; /* INSERT INTO %1$s AS stored ... SELECT ... FROM
					   * kafka_rollup_new_rows ORDER BY keys ON CONFLICT
					   * (keys) DO UPDATE SET ... */

	/* The bucket: a key that is date_bin or date_trunc of something */
	char *bucket_column;    /* NULL where there is none */
	Interval *bucket_width; /* NULL where unknown or none */
	bool has_inner_join;
	bool has_join;
} KafkaRollupSpec;

typedef struct KafkaRollupColumn
{
	char *name;
	Oid type;
	int32 typmod;
	Oid collation;
	char *signature; /* the registry's name for the aggregate whose state it
					  * is; NULL for a group column */
} KafkaRollupColumn;

/* What beside the query decides what becomes of a message. */
typedef struct KafkaRollupChecks
{
	const char *expect;     /* SQL condition over the source row, or NULL */
	const char *unique_key; /* SQL expressions, or NULL */
	bool wants_time;        /* late_limit, future_limit or unique_key is set */
	const char *live_name;  /* the rollup whose tail the live view reads, as
							 * kafka.stored_rollup has it; NULL: no such view */
} KafkaRollupChecks;

/*
 * Analyzes a rollup's query with the current role's rights and settings.
 * Errors carry the place in the query, and a hint where there is a way out.
 *
 * The view of checks has the columns, in this order:
 *	  passes    boolean: expect; true where there is none
 *	  time      timestamptz: the time that lateness is judged by, or NULL
 *	  key_hash  uuid: of the unique key; NULL where there is none
 */
extern KafkaRollupSpec *kafka_rollup_analyze(const char *query,
											 const KafkaRollupChecks *checks);

/*
 * Raises an error unless each message finds at most one row of each table that
 * the view of states joins, checked as of now and by the current role's
 * rights.  Locks the tables, against losing their indexes, for the rest of the
 * transaction.
 */
extern void kafka_rollup_prove_joins(Oid states);

/* ----------------------------------------------------------------
 * relation.c: the relations of a rollup
 * ----------------------------------------------------------------
 */

/* The longest of what is added to a rollup's name: _<name>_checks. */
#define KAFKA_ROLLUP_LONGEST_AFFIX (sizeof("__checks") - 1)

/* What a rollup's relations are called after, and where they are. */
typedef struct KafkaRollupPlace
{
	char *name; /* of the view that users read, without schema */
	char *schema;
} KafkaRollupPlace;

typedef struct KafkaRollupRelations
{
	Oid storage;
	Oid relation;
	Oid definition;
	Oid states;
	Oid checks; /* InvalidOid where there is none, as live */
	Oid live;
} KafkaRollupRelations;

/*
 * Makes them, as the current role.  Names that are taken, and whatever else
 * CREATE TABLE and CREATE VIEW refuse, are errors.  SPI must be connected.
 */
extern KafkaRollupRelations
kafka_relations_create(const KafkaRollupSpec *spec,
					   const KafkaRollupPlace *place);

/* The relation's name with its schema, as SQL; palloc'd. */
extern char *kafka_relation_quote(Oid relid);

/* Appends a column of storage's as CREATE TABLE wants it. */
extern void kafka_relation_append_column(StringInfo sql,
										 const KafkaRollupColumn *column);

/* InvalidOid where there is no such relation. */
extern Oid kafka_relation_owner(Oid relid);

/*
 * Runs a statement that makes or changes relations, as the current role; its
 * errors are raised.  SPI must be connected.
 */
extern void kafka_relation_execute(const char *sql);

/* DROP kind; does nothing where there is no such relation. */
extern void kafka_relation_drop(const char *kind, Oid relid, bool cascade);

/* ----------------------------------------------------------------
 * store.c: rows of kafka.stored_rollup
 * ----------------------------------------------------------------
 */

/* One row of kafka.stored_rollup; palloc'd. */
typedef struct KafkaRollup
{
	int32 rollup_id;
	char *name;
	Oid owner;  /* of the relation, now */
	Oid source; /* OIDs are InvalidOid where the relation is gone */
	Oid relation;
	Oid storage;
	Oid definition;
	Oid states;
	Oid checks; /* InvalidOid where there is none */
	bool has_checks;
	char *upsert_sql;
	bool has_late_limit;
	bool has_future_limit;
	Interval late_limit;
	Interval future_limit;
	KafkaRollupOptions options;
	KafkaSettings settings;
	bool enabled;
	char *state; /* RUNNING, PAUSED, FAILING, HALTED */
	char *reason;
	char *cluster_id;      /* NULL before the first run */
	char *isolation_level; /* likewise */
	uint64 system_identifier;
	Oid database_id;
	int32 rebuilds; /* the rollup that this one is going to replace, else 0 */
	int32 generation;
	Oid live;       /* InvalidOid where there is none */
	char *schedule; /* NULL for none, as job_role and bucket_column */
	int64 job_id;   /* pg_cron's, 0 for none */
	char *job_role;
	char *bucket_column;
	TimestampTz pruned_until; /* DT_NOBEGIN: nothing was pruned */
	char *expect;             /* NULL for none */

	/* Of a new generation, see kafka.stored_rollup */
	TimestampTz since;       /* DT_NOBEGIN for the beginning */
	TimestampTz keep_before; /* DT_NOBEGIN for none */
	bool kept;
} KafkaRollup;

/*
 * Reads a rollup by name (a relation name, which may be qualified); NULL when
 * there is none.  With missing_ok false that is an error whose hint has the
 * nearest name.  SPI must be connected.
 */
extern KafkaRollup *kafka_rollup_get(const char *name, bool missing_ok);
extern KafkaRollup *kafka_rollup_get_by_id(int32 rollup_id);

/* The new generation of a rollup that is in the making; NULL for none. */
extern KafkaRollup *kafka_rollup_get_shadow(int32 rollup_id);

/*
 * The ids of all rollups that the current role may run, in order; generations
 * in the making are not among them.
 */
extern List *kafka_rollup_list_runnable(void);

/* Raises an error unless the current role is a member of the owner. */
extern void kafka_rollup_check_owner(const KafkaRollup *rollup);

/*
 * Raises an error, which names the function, on a standby and in a read-only
 * transaction: before anything is looked up or asked for that only a change
 * needs.
 */
extern void kafka_rollup_check_writable(const char *function);

/* Raises an error where kafka_fdw.enable_runs is off. */
extern void kafka_rollup_check_enabled(void);

/* Sets state and reason (NULL for none). */
extern void kafka_rollup_set_state(const KafkaRollup *rollup,
								   const char *state, const char *reason);

/*
 * Takes the rollup's lock until the end of the transaction; false when it is
 * held and wait is false.  Everything that changes a rollup, its storage or its
 * positions holds it: runs, retries, seek, alter, drop.
 */
extern bool kafka_rollup_lock(int32 rollup_id, bool wait);

/*
 * Takes the same lock, waiting for it, until kafka_rollup_release: over the ends
 * of transactions and through errors.  This session may do meanwhile what needs
 * the lock.
 */
extern void kafka_rollup_hold(int32 rollup_id);
extern void kafka_rollup_release(int32 rollup_id);

/*
 * Makes this session the only one that rebuilds the rollup, until
 * kafka_rollup_end_rebuild; false when another one does.  Over the ends of
 * transactions and through errors, too.
 */
extern bool kafka_rollup_begin_rebuild(int32 rollup_id);
extern void kafka_rollup_end_rebuild(int32 rollup_id);

/*
 * Like kafka_rollup_get, for somebody who is going to change it: checks that the
 * current role is a member of the owner, waits for the lock, and reads it then.
 */
extern KafkaRollup *kafka_rollup_get_locked(const char *name, bool missing_ok);

/* ----------------------------------------------------------------
 * part.c: what a rollup is made of
 * ----------------------------------------------------------------
 */

/*
 * Raises an error unless messages can be counted: all relations are there and
 * the owner's, storage is logged, and no message can find two rows of a joined
 * table, which holds until the end of the transaction then.  Must be called
 * as whoever called, not as the owner, and before anything is counted.
 */
extern void kafka_rollup_check_parts(const KafkaRollup *rollup);

/* Are all relations there that runs need? */
extern bool kafka_rollup_has_parts(const KafkaRollup *rollup);

/* Raises an error where relations are not the current role's to drop. */
extern void kafka_rollup_check_droppable(const KafkaRollup *rollup);

/* ----------------------------------------------------------------
 * shadow.c: a generation in the making
 * ----------------------------------------------------------------
 */

/*
 * Drops what is being made to replace a rollup, if anything is; with cascade
 * what depends on its relations, too.  The rollup's lock must be held, SPI be
 * connected; errors are those of DROP.
 */
extern void kafka_shadow_drop_of(const KafkaRollup *rollup, bool cascade);

/* Raises an error for a shadow: its positions and options are the rebuild's. */
extern void kafka_shadow_refuse(const KafkaRollup *rollup);

/* ----------------------------------------------------------------
 * store.c: rows of kafka.stored_run
 * ----------------------------------------------------------------
 */

/* A row of kafka.stored_run to be. */
typedef struct KafkaRollupRun
{
	const char *event; /* see the table's constraint */
	TimestampTz started_at;
	int64 messages;
	int64 bytes;
	int64 rows_selected;
	int64 groups;
	int64 dead_letters;
	int64 duplicates;
	int64 lost_messages;
	int sqlerrcode; /* 0 for none */
	const char *detail;
} KafkaRollupRun;

extern void kafka_rollup_log_run(const KafkaRollup *rollup,
								 const KafkaRollupRun *run);

/* ----------------------------------------------------------------
 * position.c: how far a rollup has read
 * ----------------------------------------------------------------
 */
typedef struct KafkaPosition
{
	char *topic;
	int32 partition;
	int64 next_offset;
	int64 last_offset; /* of the last message read, -1 for none */
	int64 last_digest; /* of its time, key and value */
	bool has_last_time;
	TimestampTz last_time; /* its record time */
	int64 end_offset;      /* when a run last looked, -1 before */
	int64 start_offset;    /* storage has counted nothing below, -1: unknown;
							* kept by kafka_positions_write */
	bool has_newest;
	TimestampTz newest;             /* largest time of checks, not past now */
	TimestampTz newest_key;         /* largest record time of counted unique
									 * keys, not past now; DT_NOBEGIN for none */
	TimestampTz newest_key_read_at; /* when one was last counted, or the first
									 * waited for; likewise */
	int64 lost_messages;
	bool is_behind; /* not stored: there is more to be read */
} KafkaPosition;

typedef struct KafkaPositions
{
	int count;
	int capacity;
	KafkaPosition *list; /* by topic and partition */
} KafkaPositions;

extern KafkaPositions *kafka_positions_read(int32 rollup_id);

/* Writes all positions that differ from before (NULL: from nothing). */
extern void kafka_positions_write(int32 rollup_id,
								  const KafkaPositions *positions,
								  const KafkaPositions *before);
/* None, palloc'd. */
extern KafkaPositions *kafka_positions_create(void);
extern KafkaPositions *kafka_positions_copy(const KafkaPositions *positions);
extern KafkaPosition *kafka_positions_find(KafkaPositions *positions,
										   const char *topic, int32 partition);

/*
 * The same for messages, which come in runs of a partition: mostly it is that
 * of the message before, hint, which may be NULL.
 */
static inline KafkaPosition *
kafka_positions_find_near(KafkaPositions *positions, KafkaPosition *hint,
						  const char *topic, int32 partition)
{
	if (hint != NULL && hint->partition == partition &&
		strcmp(hint->topic, topic) == 0)
		return hint;
	return kafka_positions_find(positions, topic, partition);
}

/* That of a message that was read from these positions on, which has one. */
extern KafkaPosition *kafka_positions_of_message(KafkaPositions *positions,
												 const KafkaMessage *message,
												 KafkaPosition *hint);
extern KafkaPosition *kafka_positions_add(KafkaPositions *positions,
										  const char *topic, int32 partition,
										  int64 next_offset);

/* The digest that positions keep of a message. */
extern int64 kafka_position_digest(const KafkaMessage *message);

/*
 * Is a message below the position the last one that was read?  Where nothing
 * has changed it is.  A visible one after that, where none was before, belongs
 * to another topic as well as one with another content.
 */
extern bool kafka_position_is_last(const KafkaPosition *position,
								   const KafkaMessage *message);

/*
 * The positions that a new rollup starts from, or that seek_rollup sets: by a
 * time (start_at), offsets {"0": 100} ({"topic": {"0": 100}} for a table with
 * several topics) or a group's committed offsets; with none of them the
 * beginning.  A partition not named starts at its beginning.  Asks the broker as the
 * current role.
 */
extern KafkaPositions *kafka_positions_resolve(Oid source,
											   const TimestampTz *start_at,
											   const Jsonb *start_offsets,
											   const char *start_group);

/* ----------------------------------------------------------------
 * apply.c: a batch into storage
 * ----------------------------------------------------------------
 */

/* What became of a batch. */
typedef struct KafkaApplyResult
{
	int64 rows_selected;
	int64 groups;     /* rows merged into storage */
	int64 duplicates; /* messages whose unique key was counted before */
	int nfaults;      /* entries put aside as dead letters to be */
	const struct pg_uuid_t **key_hashes; /* of faults, by entry, palloc'd; see
										  * kafka_check_list_key_hashes */
	bool tripped;                        /* error_limit: nothing was stored */
	char *trip_reason;
} KafkaApplyResult;

/*
 * Evaluates checks and states over a batch and merges the result into storage,
 * as the rollup's owner, with its settings.  Messages that are at fault are put
 * aside in the batch and the others are stored; any error that is not the
 * data's is raised.  positions gives and takes the newest times.  Must be
 * called with SPI connected and an active snapshot, and not as the owner yet.
 */
extern KafkaApplyResult kafka_rollup_apply(const KafkaRollup *rollup,
										   KafkaBatch *batch,
										   KafkaPositions *positions);

/*
 * Says that a rollup is going to evaluate its checks and states over what the
 * batch holds now.  Said of all rollups that a batch is for, before the first
 * is applied, it has the columns of each message decoded once for all of them;
 * see fdw/batch_cache.h.
 */
extern void kafka_rollup_expect_scans(const KafkaRollup *rollup,
									  KafkaBatch *batch);

/* ----------------------------------------------------------------
 * key.c
 * ----------------------------------------------------------------
 */

/* Forgets all unique keys of a rollup. */
extern void kafka_keys_forget_all(int32 rollup_id);

/* ----------------------------------------------------------------
 * prune.c: what a rollup does not keep for ever
 * ----------------------------------------------------------------
 */

/*
 * Removes at most max_rows rows that are older than the rollup's options say:
 * storage's of buckets ("retention"), oldest first, then of runs and dead
 * letters; returns how many.  As many as max_rows means that there may be more.
 * Buckets are left alone while the rollup has not read its topics to where
 * they ended when a run last looked: what is still to be read may be of them,
 * and counts.  What went of buckets and letters is a row 'prune' of the runs;
 * when there is nothing to remove, nothing is written.
 *
 * The rollup's lock must be held, its row have been read under it in this
 * transaction, SPI be connected, and the user be whoever called: rows of
 * storage are removed as the owner.  Does not block.  Errors are those of
 * DELETE, the owner's triggers included.
 */
extern int64 kafka_prune_rollup(const KafkaRollup *rollup, int max_rows);

/*
 * Makes storage ready for the option retention, where it is set: an error for
 * a rollup without a bucket (bucket_column NULL), an index over the bucket
 * where there is none.  SPI must be connected; acts as the current role.
 */
extern void kafka_prune_prepare(const KafkaRollupOptions *options,
								const char *bucket_column, Oid storage);

/*
 * Forgets which buckets have been removed: their messages, read again, count
 * again, until they are removed again.
 */
extern void kafka_prune_forget(int32 rollup_id);

/* ----------------------------------------------------------------
 * dead_letter.c
 * ----------------------------------------------------------------
 */

/* Stores the entries that were put aside; returns how many. */
extern int64 kafka_dead_letters_store(const KafkaRollup *rollup,
									  const KafkaBatch *batch,
									  const KafkaApplyResult *result);

/*
 * What is to be read again counts again, as if it had never been read: where
 * positions have been moved back, letters above them are done, lest a retry
 * count them twice, and unique keys are forgotten, and which buckets have been
 * removed.
 */
extern void kafka_dead_letters_leave_to_topic(const KafkaRollup *rollup,
											  KafkaPositions *before,
											  const KafkaPositions *after);

typedef struct KafkaLettersRetry
{
	ArrayType *ids;    /* NULL for all that are not done */
	bool due_only;     /* of these, those whose retry_at has come */
	int max_rows;      /* of these at most */
	TimestampTz until; /* begins with a few then, and leaves the rest; or 0 */

	/* What came of it */
	int64 loaded; /* how many were counted */
	int64 failed;
	bool was_ended; /* some may be left, by max_rows or until */
} KafkaLettersRetry;

/* Tries dead letters again.  The rollup's lock must be held. */
extern void kafka_dead_letters_retry(const KafkaRollup *rollup,
									 KafkaLettersRetry *letters);

/*
 * The letters that are due, the first max_rows of them: an array of one id
 * each, palloc'd, for kafka_dead_letters_retry.
 */
extern ArrayType **kafka_dead_letters_list_due(const KafkaRollup *rollup,
											   int max_rows, int *count);

/*
 * Notes that trying letters again has raised an error, and was undone: it
 * counts as an attempt of theirs, and what is noted of each is this error.
 */
extern void kafka_dead_letters_note_failure(const KafkaRollup *rollup,
											ArrayType *ids,
											const ErrorData *error);

#endif /* KAFKA_ROLLUP_H */
