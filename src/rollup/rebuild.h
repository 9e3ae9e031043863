/*-------------------------------------------------------------------------
 *
 * rebuild.h
 *		What the files that rebuild rollups share.
 *
 * A rollup is rebuilt by a second one beside it, its *shadow*: a row of
 * kafka.stored_rollup whose column rebuilds names the first, relations of its
 * own, positions of its own.  It is filled by ordinary runs, which read no
 * further than the first one has (kafka_shadow_limit).  So when it has come as
 * far, both stand at the same positions, and each can take the other's place
 * for any row: what the topic does not hold whole any more is copied from the
 * old storage, all else is the shadow's.  Then they are swapped.
 *
 * IDENTIFICATION
 *		src/rollup/rebuild.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef KAFKA_ROLLUP_REBUILD_H
#define KAFKA_ROLLUP_REBUILD_H

#include "rollup/run.h"

/* ----------------------------------------------------------------
 * shadow.c
 * ----------------------------------------------------------------
 */

/*
 * The id of the shadow that rebuilds a rollup with a query (NULL: its own) since
 * a time (DT_NOBEGIN: the beginning): the one that is in the making, if it does
 * that, else a new one, in place of the other.  Asks the brokers.  The
 * rollup's lock must be held, SPI connected and a snapshot active.
 *
 * Errors: all that makes the rebuild impossible, before anything is done.
 */
extern int32 kafka_shadow_prepare(const KafkaRollup *rollup, const char *query,
								  TimestampTz since);

/* A shadow in the making. */
typedef struct KafkaNewShadow
{
	const KafkaRollup *rollup;
	TimestampTz since;
	KafkaRollupSpec *spec;
	int32 generation;
	KafkaRollupPlace place;
	KafkaRollupRelations relations;
	KafkaPositions *positions;
	bool is_cut;         /* there were messages before them */
	TimestampTz horizon; /* none of these is as new or newer; DT_NOBEGIN
						  * for none or unknown */
	bool keeps;          /* what the rollup has of the time before */
	int32 rollup_id;
} KafkaNewShadow;

/*
 * Analyzes a query with all that beside it decides what a rollup counts.
 * live_name: see KafkaRollupChecks.  As the owner, with the rollup's settings.
 */
extern KafkaRollupSpec *kafka_shadow_analyze(const KafkaRollup *rollup,
											 const char *query,
											 const char *live_name);

/*
 * Runs a fixed statement with the ids of a rollup and its shadow as $1 and $2;
 * see kafka_catalog_execute.
 */
extern uint64 kafka_shadow_execute_for_both(int32 rollup_id, int32 shadow_id,
											const char *sql);

/* The statement that makes a view's query, palloc'd; a snapshot is active. */
extern char *kafka_shadow_get_query(Oid view);

/*
 * The live view of a rollup when the shadow has taken its place, as a SELECT,
 * palloc'd.  As the owner, with the shadow's settings; a snapshot is active.
 */
extern char *kafka_shadow_generate_live(const KafkaRollup *rollup,
										const KafkaRollup *shadow);

/* ----------------------------------------------------------------
 * horizon.c
 * ----------------------------------------------------------------
 */

/*
 * Sets where the shadow begins and what that leaves out.  Asks the brokers.
 * Errors: the rollup's positions are not of the topic as it is.
 */
extern void kafka_horizon_find(KafkaNewShadow *new);

/*
 * Decides what of the old rollup is kept, notes it in the shadow's row, and
 * tells it.  As the owner, with the rollup's settings.
 */
extern void kafka_horizon_decide_kept(KafkaNewShadow *new);

/* ----------------------------------------------------------------
 * keep.c
 * ----------------------------------------------------------------
 */

/*
 * Copies the rows of buckets before shadow->keep_before, in place of the
 * shadow's own, with the dead letters and unique keys that belong to them.  The
 * locks of both must be held, their positions be the same, SPI connected and a
 * snapshot active.
 */
extern void kafka_keep_rows(const KafkaRollup *rollup,
							const KafkaRollup *shadow);

/*
 * Deletes from the shadow the buckets that the rollup has removed wholly, since
 * they do not come back; one that it has removed in part is whole there.
 * Returns the first bucket that is left, DT_NOBEGIN where none has been
 * removed.  As the owner, with the shadow's settings.
 */
extern int64 kafka_keep_delete_pruned(const KafkaRollup *rollup,
									  const KafkaRollup *shadow);

/* Does the rollup have buckets before the first of the shadow?  As the owner. */
extern bool kafka_keep_has_older_rows(const KafkaRollup *rollup,
									  const KafkaRollup *shadow);

/* ----------------------------------------------------------------
 * swap.c
 * ----------------------------------------------------------------
 */

/*
 * Puts the shadow in the rollup's place; false when somebody was reading the
 * view all the time that this may take: the transaction must be rolled back
 * then.  Otherwise as kafka_keep_rows.
 */
extern bool kafka_swap_run(const KafkaRollup *rollup,
						   const KafkaRollup *shadow);

#endif /* KAFKA_ROLLUP_REBUILD_H */
