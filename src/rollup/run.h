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
	Oid userid;            /* who reads */
	char *origin;          /* all the options that it was opened by */
	KafkaReader *reader;
	char *cluster_id; /* NULL when unknown */

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
 * Has what the reader was opened by been altered since: the options of the
 * foreign table, the server or the user mapping, or the rollup's owner?  Of the
 * reader that was opened last.
 */
extern bool kafka_rollup_reader_is_stale(const KafkaRollupReader *reader,
										 const KafkaRollup *rollup);

/* Is there anything to be read from these positions on? */
extern bool kafka_rollup_reader_has_news(const KafkaRollupReader *reader,
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
 * position.c
 * ----------------------------------------------------------------
 */

/* Do both say the same of next offsets, as far as both go? */
extern bool kafka_positions_equal(const KafkaPositions *a,
								  const KafkaPositions *b);

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
 * run.c, step.c
 * ----------------------------------------------------------------
 */

/* Why a rollup was not run to its end. */
typedef struct KafkaRunFailure
{
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
	List *failures; /* of KafkaRunFailure */
} KafkaRun;

/*
 * Runs one rollup, in transactions of its own, up to what its topics hold now
 * or until deadline.  Its failures are added to run->failures; only an error
 * that must end the whole run is raised.  SPI must be connected and not be
 * atomic.
 */
extern void kafka_run_rollup(KafkaRun *run, int32 rollup_id,
							 TimestampTz deadline);

#endif /* KAFKA_RUN_H */
