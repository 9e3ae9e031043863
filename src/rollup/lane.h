/*-------------------------------------------------------------------------
 *
 * lane.h
 *		What the files of a run of rollups share.
 *
 * A run reads each topic once for all rollups that may share the reading.
 * Three things are needed for that:
 *
 *	  lane     one rollup in the run: its row, its positions, how it fares
 *	  group    the lanes that may read by one reader: same server, user mapping,
 *	           topics and partitions, whatever foreign table and owner
 *	  convoy   the lanes of a group that stand at the same place, and so take
 *	           the same batches
 *
 * A convoy's round is one transaction that reads a batch, and then one for each
 * lane, which stores it.  Whatever keeps a lane from that takes it out of the
 * convoy, and the others go on.
 *
 * Calls go down only: run.c and follow.c say which lanes have their turn, group.c
 * has them read together, step.c is what one of them does in a transaction,
 * lane.c what comes of it.
 *
 * IDENTIFICATION
 *		src/rollup/lane.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef KAFKA_LANE_H
#define KAFKA_LANE_H

#include "rollup/run.h"

/* What others wait for one lane at least, before it has to go on alone. */
#define KAFKA_LANE_BUDGET_MS 2000

/* The same while following, where little is read and others want it soon. */
#define KAFKA_LANE_FOLLOW_BUDGET_MS 300

typedef enum KafkaLaneState
{
	KAFKA_LANE_NEW,     /* nothing has been done */
	KAFKA_LANE_CLEARED, /* it may run */
	KAFKA_LANE_PLACED,  /* its group is known */
	KAFKA_LANE_READING, /* takes part in batches */
	KAFKA_LANE_DONE,    /* has got what there was, or its time is over */
	KAFKA_LANE_AGAIN,   /* is not what it was: has to be placed anew */
	KAFKA_LANE_SLOW,    /* took longer than others can wait; undone */
	KAFKA_LANE_BUSY,    /* somebody else holds its lock */
	KAFKA_LANE_FAILED,
	KAFKA_LANE_GONE /* was dropped, or does not run */
} KafkaLaneState;

typedef struct KafkaGroup KafkaGroup;

typedef struct KafkaLane
{
	/* Unchanging */
	KafkaRun *run;
	int32 rollup_id;
	MemoryContext context; /* holds the lane */

	KafkaLaneState state;
	MemoryContext step_context; /* of the step that is being taken */
	char *name;
	MemoryContext rollup_context; /* holds the row */
	KafkaRollup *rollup;          /* as last read; NULL before */

	/* From being placed on */
	char *key;          /* lanes of the same key make a group */
	KafkaOrigin origin; /* what it is placed by */
	KafkaGroup *group;  /* NULL outside of the group's turn */

	/* From joining the group's reader on */
	MemoryContext positions_context;
	KafkaPositions *positions; /* as they are stored */
	bool is_behind;            /* there is more to be read than was */

	/* How it fares */
	bool is_quiet;   /* that it is busy needs not be told */
	bool has_read;   /* a batch, whatever became of it */
	bool is_alone;   /* must not share, since it reads what others do not */
	bool is_slow;    /* goes on alone, after the others */
	int64 max_rows;  /* of a batch, and of letters; fewer when it is slow */
	int64 budget_ms; /* likewise, what it may take */
	int64 last_ms;   /* what its last batch took; -1 before */
	int64 slow_rows; /* of the batch that took too long, 0 for none */
	int prune_rows;  /* to be removed at a time; 0 before the first */
	bool must_prune; /* there is more to be removed than was */
	bool must_retry; /* there may be more dead letters due than were tried */

	/* While following: see follow.c */
	TimestampTz due;
	TimestampTz prepared_at;
	TimestampTz pruned_at;
	int64 interval_ms; /* from commit to commit */
	int64 pause_ms;    /* after the last failure, 0 for none */
	bool is_stuck;     /* a single message takes longer than it may */

	/* While it is slow: see slow.c */
	TimestampTz slow_at;  /* when it became so, the last time; 0 for never */
	TimestampTz began_at; /* its turn */
	int64 trial_ms;       /* how long it stays so at least */
	int64 expected_ms;    /* what a turn takes */
	bool has_stored;      /* a batch, while it was slow */
	int64 failed_rows;    /* of the batch that was too much; 0 for none */
} KafkaLane;

/* ----------------------------------------------------------------
 * lane.c
 * ----------------------------------------------------------------
 */

/* A new lane, in a context of its own below the run's. */
extern KafkaLane *kafka_lane_create(KafkaRun *run, int32 rollup_id);
extern void kafka_lane_destroy(KafkaLane *lane);

/*
 * Does work(lane) in a transaction under the rollup's lock, with SPI connected
 * and a memory context of its own.  work says in lane->state how to go on.  When
 * the lock is held, or work raises an error, or takes longer than budget_ms (0
 * for no limit), work is undone, and the state tells.  Raises only what ends
 * the run.
 */
extern void kafka_lane_step(KafkaLane *lane, void (*work)(KafkaLane *lane),
							int64 budget_ms);

/*
 * What others wait for a step of the lane that works on so many messages, and
 * asks no broker; 0 where there are no others.
 */
extern int64 kafka_lane_get_budget(const KafkaLane *lane, int64 rows);

/*
 * Locks the lanes of a list in which others of this transaction are going to
 * do something for them all; those that are locked elsewhere become BUSY.
 * Returns the others.
 */
extern List *kafka_lanes_lock(List *lanes);

/*
 * An error that was raised for all of these lanes, which are locked, and was
 * undone.  Raises it again when it ends the run.
 */
extern void kafka_lanes_fail(List *lanes, ErrorData *error);

/* The rollup does not run, for a reason that is in its row. */
extern void kafka_lane_add_stop(KafkaLane *lane, const char *predicate,
								const char *reason, const char *hint);

/* It works again: what it failed of before is not told at the end. */
extern void kafka_lane_forget_failure(KafkaLane *lane);

/* See the comment there: was the whole run cancelled? */
extern bool kafka_lane_ends_run(const ErrorData *error);

/* Reads the rollup's row; false when it must not go on. */
extern bool kafka_lane_read_rollup(KafkaLane *lane);

/* Keeps positions as those that are stored. */
extern void kafka_lane_keep_positions(KafkaLane *lane,
									  const KafkaPositions *positions);

/* ----------------------------------------------------------------
 * budget.c: work that is cancelled when it takes too long
 * ----------------------------------------------------------------
 */

/* 0 is for no limit.  Must be followed by the end, after an error too. */
extern void kafka_budget_begin(int64 budget_ms);

/*
 * True when the budget was exceeded, and work was cancelled for that and not
 * by anybody else; or was about to be, and will not.
 */
extern bool kafka_budget_end(void);

/* ----------------------------------------------------------------
 * step.c: what is done in a transaction of a lane
 * ----------------------------------------------------------------
 */

/* NEW to CLEARED: may it run here?  Dead letters that are due are retried. */
extern void kafka_step_prepare(KafkaLane *lane);

/* CLEARED or AGAIN to PLACED: finds its key. */
extern void kafka_step_place(KafkaLane *lane);

/*
 * PLACED to READING or DONE: looks for losses and new partitions by the
 * group's reader.  The lane stays PLACED when it has to join once more.
 */
extern void kafka_step_join(KafkaLane *lane);

/* Stores the group's batch; the lane stays READING when it can. */
extern void kafka_step_store(KafkaLane *lane);

/*
 * What is left to do for a lane that is DONE: removes what its rollup does not
 * keep, until a time, and mirrors its positions.  In transactions of its own.
 */
extern void kafka_lane_finish(KafkaLane *lane, TimestampTz deadline);

/* ----------------------------------------------------------------
 * group.c
 * ----------------------------------------------------------------
 */
struct KafkaGroup
{
	/* Unchanging */
	KafkaRun *run;
	MemoryContext context; /* holds the group */
	char *key;

	/* Over all turns */
	KafkaBatch *batch; /* NULL before the first */

	/* During a turn */
	MemoryContext turn_context; /* holds what follows */
	List *lanes;                /* of KafkaLane */
	KafkaRollupReader *reader;  /* NULL before it is open, and once lost */
	bool is_shared;             /* the batch is for several lanes */
};

extern KafkaGroup *kafka_group_create(KafkaRun *run, const char *key);
extern void kafka_group_destroy(KafkaGroup *group);

/*
 * A turn of the lanes, which are PLACED and have the group's key: they are
 * brought to where the topics end now, or as far as they come by the deadline,
 * after which no batch begins but a lane's first.
 */
extern void kafka_group_run(KafkaGroup *group, List *lanes,
							TimestampTz deadline);

/* ----------------------------------------------------------------
 * turn.c: who has a turn when
 * ----------------------------------------------------------------
 */

/* Runs lanes to their end, those that are to go on alone last. */
extern void kafka_run_lanes(KafkaRun *run, List *ids, TimestampTz deadline);

/* Brings lanes that are NEW or AGAIN as far as PLACED, where they can be. */
extern void kafka_lanes_place(List *lanes);

/*
 * Those lanes that are PLACED, as lists of those of the same key: in the order
 * of the lanes, those that are slow last.
 */
extern List *kafka_lanes_divide(List *lanes);

/*
 * When a part of what is left, count of total, shall end, so that each has as
 * long.
 */
extern TimestampTz kafka_run_share_of_time(TimestampTz deadline, int count,
										   int total);

/* ----------------------------------------------------------------
 * slow.c: lanes for which others cannot wait, while following
 * ----------------------------------------------------------------
 */

/*
 * The slow lane whose turn begins now, of one batch, with its budget; NULL for
 * none.  *next is lowered to the moment at which there is to be asked again, at
 * the latest.
 */
extern KafkaLane *kafka_slow_begin(List *lanes, TimestampTz *next);

/* A turn went well: chooses its next batch.  Is the lane steady again? */
extern bool kafka_slow_end(List *lanes, KafkaLane *lane);

/*
 * A lane, slow already or not, took longer than it may.  True when that may
 * have been by chance, so that it is to be tried again at once.
 */
extern bool kafka_slow_note(KafkaLane *lane);

/* ----------------------------------------------------------------
 * follow.c
 * ----------------------------------------------------------------
 */

/*
 * Runs rollups that are to be followed, or the one that was named (its id,
 * else 0), again and again until the deadline.
 */
extern void kafka_follow(KafkaRun *run, int32 rollup_id, TimestampTz deadline);

#endif /* KAFKA_LANE_H */
