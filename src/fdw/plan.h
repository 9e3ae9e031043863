/*-------------------------------------------------------------------------
 *
 * plan.h
 *		What the files that plan scans share: cost.c (sizes and costs), path.c
 *		(paths) and plan.c (plans).  None of them ever asks a broker.
 *
 * IDENTIFICATION
 *		src/fdw/plan.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef KAFKA_PLAN_H
#define KAFKA_PLAN_H

#include "fdw/extent.h"
#include "fdw/fdw.h"

/* What the callbacks pass on in baserel->fdw_private. */
typedef struct KafkaPlanState
{
	KafkaTableOptions *table;
	KafkaPushdownColumns columns;
	bool is_for_batch; /* the plan's scans will read messages in memory */
	FuncExpr *tail;    /* kafka.in_tail, which decides alone what is read; NULL
						* where the scan has no such condition */
	KafkaExtent *extent;
} KafkaPlanState;

/* Do conditions bound what is read? */
static inline bool
kafka_plan_can_be_bounded(const KafkaPlanState *state)
{
	return !state->is_for_batch && state->tail == NULL;
}

/* plan_bounds.c */

/* What clauses (of RestrictInfo) bound, as far as it is known when planning. */
typedef struct KafkaPlanBounds
{
	KafkaBounds exact; /* of the clauses that say no more than this, and */
	List *others;      /* those that do */
	KafkaBounds all;   /* of all of them */
	bool any;          /* some clause bounds something */
	bool has_times;    /* offsets of times are looked up */
	bool made_up;      /* some values are not known, but such as occur */
} KafkaPlanBounds;

extern KafkaPlanBounds *
kafka_plan_find_bounds(PlannerInfo *root, RelOptInfo *baserel, List *clauses);

/* cost.c */

/*
 * How many rows a scan gives whose conditions are the relation's and these,
 * which are those of a parameterized path, else NIL.
 */
extern double kafka_plan_estimate_rows(PlannerInfo *root, RelOptInfo *baserel,
									   List *param_clauses);

/*
 * Costs reading what the understood ones of the clauses leave, and filtering
 * it by all of them.  Of a batch, all is read, and nothing is asked of brokers.
 * With param_clauses it is a rescan that is costed: what a query asks once, the
 * partitions and their ends, is known by then.
 */
extern void kafka_plan_estimate_costs(PlannerInfo *root, RelOptInfo *baserel,
									  List *param_clauses, Cost *startup_cost,
									  Cost *total_cost);

#endif /* KAFKA_PLAN_H */
