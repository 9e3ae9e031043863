/*-------------------------------------------------------------------------
 *
 * run.h
 *		What the files that run, seek and watch rollups share.
 *
 * IDENTIFICATION
 *		src/rollup/run.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef KAFKA_RUN_H
#define KAFKA_RUN_H

#include "fdw/reader.h"
#include "rollup/rollup.h"

/* ----------------------------------------------------------------
 * read.c: a rollup's topics, read into batches
 * ----------------------------------------------------------------
 */

/* A rollup's topics, opened; lives over transactions. */
typedef struct KafkaRollupReader
{
	/* Unchanging once open */
	MemoryContext context; /* holds all of it, the client's lease too */
	Oid userid;            /* by whose user mapping it reads */
	KafkaReader *reader;
	char *cluster_id;     /* NULL when unknown */
	TimestampTz asked_at; /* right before the ends were asked for */

	/* Set by who looks at the ends: see kafka_watch_look; may be NULL */
	struct KafkaWatermarks *watermarks;

	/* Since kafka_rollup_reader_start */
	KafkaPositions *positions; /* reached */
	bool finished;             /* all has been read up to the ends */
	bool lost;                 /* retention overtook the reading */
	KafkaPosition *replaced;   /* whose record before the position is not the
								* one that was read; NULL for none */
} KafkaRollupReader;

/*
 * Connects as a rollup's owner, who must have the right to SELECT from the
 * source, and asks where its partitions start and end, in a new child of the
 * current context.  Blocks; holds no snapshot and no lock while it does, if
 * none is held when it is called.
 */
extern KafkaRollupReader *kafka_rollup_reader_open(const KafkaRollup *rollup);

/* The same for a table that role userid reads. */
extern KafkaRollupReader *kafka_rollup_reader_open_table(Oid source,
														 Oid userid);

/*
 * What a reader is opened by, which somebody may alter while it is open: the
 * options of the foreign table, the server and the user mapping, and who reads.
 */
typedef struct KafkaOrigin
{
	Oid userid;
	char *text;  /* NULL before it was noted */
	uint64 seen; /* invalidations until then */
} KafkaOrigin;

/* Notes it for a table that role userid reads; what it keeps is in context. */
extern void kafka_origin_note(KafkaOrigin *origin, Oid source, Oid userid,
							  MemoryContext context);

/* Has it been altered since, the table dropped, or the right to read it taken? */
extern bool kafka_origin_is_stale(KafkaOrigin *origin, Oid source, Oid userid);

/* Tables and roles with the same key can be read by the same reader; palloc'd. */
extern char *kafka_rollup_reader_key(Oid source, Oid userid);

/* Raises an error unless the role has the right to SELECT from the table. */
extern void kafka_rollup_reader_check_right(Oid source, Oid userid);

/* Is there anything to be read from these positions on? */
extern bool kafka_rollup_reader_has_news(const KafkaRollupReader *reader,
										 const KafkaPositions *positions);

/*
 * Where reading begins for each of the positions: at the last message that was
 * read, where the log still has it, to see whether the topic is the same.
 * palloc'd; the names are those of positions.
 */
extern KafkaReaderStart *
kafka_rollup_reader_list_starts(const KafkaRollupReader *reader,
								const KafkaPositions *positions);

/* Starts reading at positions, of which there is one for every partition. */
extern void kafka_rollup_reader_start(KafkaRollupReader *reader,
									  const KafkaPositions *positions);

/*
 * Reads up to max_rows messages into an empty batch, or less when they are
 * large; blocks.  When reader->lost or reader->replaced is set afterwards, the
 * reader cannot be used further.
 */
extern void kafka_rollup_reader_read(KafkaRollupReader *reader,
									 KafkaBatch *batch, int64 max_rows);

/* Carries what reading has reached over to positions. */
extern void kafka_rollup_reader_advance(const KafkaRollupReader *reader,
										KafkaPositions *positions);

/* Gives the client back, for others to use, and frees the reader. */
extern void kafka_rollup_reader_close(KafkaRollupReader *reader);

/* The partition of the snapshot, NULL where there is none. */
extern const KafkaSnapshotPart *
kafka_rollup_reader_part(const KafkaRollupReader *reader, const char *topic,
						 int32 partition);

/* ----------------------------------------------------------------
 * horizon.c
 * ----------------------------------------------------------------
 */

/*
 * Lowers the ends that a reader knows of to where the rollup that a shadow (see
 * KafkaRollup.rebuilds) is going to replace has come: it must not be ahead of
 * it.  Right after the reader was opened; SPI must be connected.
 */
extern void kafka_shadow_limit(const KafkaRollup *shadow,
							   KafkaRollupReader *reader);

/* ----------------------------------------------------------------
 * position.c
 * ----------------------------------------------------------------
 */

/* Do both say the same of next offsets, as far as both go? */
extern bool kafka_positions_equal(const KafkaPositions *a,
								  const KafkaPositions *b);

/*
 * Can reading go on from both at once: do they have the same next offsets, and,
 * where both know it, the same last message?  Then what positions do not know of
 * last messages is taken over from the others.
 */
extern bool kafka_positions_merge(KafkaPositions *positions,
								  const KafkaPositions *others);

/*
 * Adds a position at its beginning for each partition that has none; true
 * when there was one.
 */
extern bool kafka_positions_add_new(KafkaPositions *positions,
									const KafkaRollupReader *reader);

/* ----------------------------------------------------------------
 * resolve.c: where to start
 * ----------------------------------------------------------------
 */

/* Moves all positions to a time, or those that offsets name. */
extern void kafka_positions_move_to_time(KafkaPositions *positions,
										 KafkaRollupReader *reader,
										 TimestampTz time);
extern void kafka_positions_move_to_offsets(KafkaPositions *positions,
											KafkaRollupReader *reader,
											const Jsonb *offsets);

/* ----------------------------------------------------------------
 * loss.c: what must not go by unnoticed
 * ----------------------------------------------------------------
 */

/* What was found, and how to go on. */
typedef struct KafkaLoss
{
	char *detail;              /* what happened, in sentences */
	char *remedy;              /* the command to go on, in a sentence */
	int64 lost_messages;       /* as far as it can be told */
	bool may_continue;         /* on_loss 'continue' applies */
	KafkaPositions *positions; /* to go on with */
} KafkaLoss;

/* Is this the system and the database that the rollup belongs to? */
extern KafkaLoss *kafka_loss_of_system(const KafkaRollup *rollup);

/*
 * Raises an error where it is not: a copy of the database keeps what it has
 * until it is taken over.
 */
extern void kafka_loss_check_system(const KafkaRollup *rollup);

/* Compares positions with what the brokers have; NULL when all is well. */
extern KafkaLoss *kafka_loss_of_positions(const KafkaRollup *rollup,
										  const KafkaRollupReader *reader,
										  const KafkaPositions *positions);

/* The partition's record before the position is another than was read. */
extern KafkaLoss *kafka_loss_of_replaced(const KafkaRollup *rollup,
										 const KafkaRollupReader *reader,
										 const KafkaPositions *positions);

/*
 * Does the reader show other messages of transactions than it did, so that the
 * messages before the positions are others, too?
 */
extern KafkaLoss *kafka_loss_of_isolation(const KafkaRollup *rollup,
										  const KafkaRollupReader *reader);

/* Sets the cluster and the isolation level that the rollup reads with. */
extern void kafka_rollup_set_origin(const KafkaRollup *rollup,
									const KafkaRollupReader *reader);

/* Drops positions of partitions that their topics do not have any more. */
extern void kafka_positions_drop_missing(KafkaPositions *positions,
										 const KafkaRollupReader *reader);

/* ----------------------------------------------------------------
 * run.c, turn.c
 * ----------------------------------------------------------------
 */

/* Why a rollup was not run to its end. */
typedef struct KafkaRunFailure
{
	int32 rollup_id;
	char *name;
	int sqlerrcode;
	char *message; /* names the rollup */
	char *detail;  /* NULL for none, as those below */
	char *hint;
	char *context;
} KafkaRunFailure;

typedef struct KafkaRun
{
	MemoryContext context; /* lives as long as the call */
	int64 max_rows;
	bool named;     /* one rollup was asked for by name */
	bool follows;   /* goes on until the time is over */
	List *failures; /* of KafkaRunFailure, the last of each rollup */
	int nlanes;     /* rollups that still have something to do; see lane.h */
} KafkaRun;

/*
 * Raises an error where a procedure that commits was called so that it cannot,
 * or at an isolation level at which it would not see what others do.
 */
extern void kafka_run_check_call(FunctionCallInfo fcinfo,
								 const char *procedure);

/* The end of what may take so long; a length below zero is an error. */
extern TimestampTz kafka_run_compute_deadline(const Interval *max_time);

/* Raises the error that kept a rollup from running. */
extern void kafka_run_raise_failure(const KafkaRunFailure *failure);

/*
 * Runs one rollup, in transactions of its own, up to what its topics hold now
 * or until deadline.  Its failures are added to run->failures; only an error
 * that must end the whole run is raised.  SPI must be connected and not be
 * atomic.
 */
extern void kafka_run_rollup(KafkaRun *run, int32 rollup_id,
							 TimestampTz deadline);

/* ----------------------------------------------------------------
 * watch.c: what runs leave behind for those who watch
 * ----------------------------------------------------------------
 */

/* Where the log of each partition ended, open transactions included. */
typedef struct KafkaWatermarks
{
	MemoryContext context; /* holds all of it */
	TimestampTz asked_at;  /* before they were asked for */
	bool known;            /* false: nobody asked, see kafka_watch_look */
	KafkaSnapshotTopic **topics;
	int ntopics;
} KafkaWatermarks;

/*
 * Asks for the high watermarks of a table's topics, as role userid.  A run
 * calls it right before it asks for the ends, each time, and puts the result
 * into reader->watermarks (and frees the one that was there): what lay below
 * them, and has been read since, is how kafka_watch_note_read knows up to when
 * all has been read.  Where the server reads uncommitted messages, too, the
 * ends tell the same and nothing is asked.
 *
 * The result is a child of the current context.  Blocks like
 * kafka_rollup_reader_open, and raises the same errors.
 */
extern KafkaWatermarks *kafka_watch_look(Oid source, Oid userid);

/* NULL is allowed. */
extern void kafka_watch_free(KafkaWatermarks *watermarks);

/*
 * Notes that a run has asked where the topics end, at asked_at (the time right
 * before it asked), and that positions are what it has stored by now.  To be
 * called in the transaction that stores a batch, and in that of a look at the
 * ends that found nothing new; in the latter it writes only every 10 s, so that
 * a look costs no transaction id.  SPI must be connected.
 */
extern void kafka_watch_note_read(const KafkaRollup *rollup,
								  const KafkaPositions *positions,
								  const KafkaRollupReader *reader,
								  bool caught_up, TimestampTz asked_at);

/*
 * Forgets up to when all has been read.  Whoever moves a position back, or adds
 * one, calls it: what lies above it now may be older.
 */
extern void kafka_watch_forget(int32 rollup_id);

/* ----------------------------------------------------------------
 * mirror.c: options.mirror_group
 * ----------------------------------------------------------------
 */

/*
 * Commits the positions to the consumer group that the rollup's options name,
 * for others to look at; does nothing where they name none, or where the
 * offsets are those that this backend has committed last.  Takes 2 s at most.
 * What fails is a WARNING, and is not tried again for 10 s, then for twice as
 * long each time; where nobody answers, nor is any other rollup of the server.
 * Only a cancel is raised.  To be called after the commit, at the end of a lane always, between
 * its batches when kafka_mirror_is_due.
 */
extern void kafka_mirror_positions(const KafkaRollup *rollup,
								   const KafkaPositions *positions);

/* Has it a group, and been mirrored by this backend not within a second? */
extern bool kafka_mirror_is_due(const KafkaRollup *rollup);

#endif /* KAFKA_RUN_H */
