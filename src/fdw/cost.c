/*-------------------------------------------------------------------------
 *
 * cost.c
 *		Sizes and costs of scans.
 *
 * How many messages a scan reads and how many rows it gives are two things.
 * Read is what the bounds of its conditions leave, and what comes too late
 * (extent.c tells how much that is).  Given is what all conditions leave: those
 * that bounds say completely count by what lies within the bounds, the others
 * by the planner's own estimate of how many rows they let through.
 *
 * None of this asks a broker.
 *
 * IDENTIFICATION
 *		src/fdw/cost.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "fdw/plan.h"
#include "miscadmin.h"
#include "optimizer/cost.h"
#include "optimizer/optimizer.h"
#include "optimizer/restrictinfo.h"
#include "utils/rel.h"
#include "utils/selfuncs.h"

/* A topic's messages, as long as nobody has counted them. */
#define DEFAULT_TUPLES 1000000.0

/*
 * The messages of a topic that was empty when somebody looked, which may be a
 * while ago: a plan for no row at all is a bad one for many.
 */
#define EMPTY_TUPLES 1000.0

/* What a rollup has not counted yet, unless its last run left more. */
#define DEFAULT_TAIL_TUPLES 10000.0

/*
 * Costs, in the planner's units.
 *
 * One unit is the time in which a sequential scan of a table in memory does
 * what is costed at one.  Measured with EXPLAIN (ANALYZE, TIMING OFF), medians
 * of five, on two cores with a broker beside it: count(*) of 3 million rows,
 * 53,717 units, gives the unit, 4 us on the idle machine.  Against it, at the
 * same time, of topics with batches of 200 messages:
 *
 * - windows of 10 offsets joined by LATERAL, a rescan each: 190 units in a
 *   topic with 1 partition, 300 with 3, 7,200 with 50.  So a partition that is
 *   read costs some 140, most of it starting and stopping its fetch.
 * - the same by times: 480 in 1 partition, and in one of 50 where it finds the
 *   record in one 2,000.  So lookups cost 250, and 30 a partition.
 * - the same not as rescans but first, on a warm handle: 220 more in 1
 *   partition, 1,650 in 50; that is what asking for partitions and ends costs.
 * - count(*) of 300,000 messages of 60 bytes: 0.15 a message; with one, two,
 *   four fields of the message decoded some 0.09 more for each.
 *
 * A network slower than this one makes the first three dearer, and few
 * conclusions other: seeking gets worse against reading on.
 */
#define OPEN_COST 250.0
#define OPEN_PART_COST 30.0
#define LOOKUP_COST 250.0
#define LOOKUP_PART_COST 30.0
#define FETCH_COST 60.0
#define FETCH_PART_COST 140.0
#define MESSAGE_COST 0.15
#define COLUMN_COST 0.09

/* Of a message in memory, and of asking for a rollup's tail */
#define BATCH_MESSAGE_FACTOR 10.0
#define TAIL_COST 400.0

static double
guess_tuples(const KafkaPlanState *state)
{
	double tuples = kafka_extent_messages(state->extent);

	if (tuples < 0)
		return DEFAULT_TUPLES;
	return tuples > 0 ? tuples : EMPTY_TUPLES;
}

void
kafkaGetForeignRelSize(PlannerInfo *root, RelOptInfo *baserel,
					   Oid foreigntableid)
{
	KafkaPlanState *state = palloc0(sizeof(KafkaPlanState));
	Relation rel = table_open(foreigntableid, NoLock);
	double batch_messages = kafka_batch_planned_messages(foreigntableid);
	Oid userid = OidIsValid(baserel->userid) ? baserel->userid : GetUserId();
	KafkaColumnOptions *columns;

	state->table = kafka_option_read_table(foreigntableid);
	columns = kafka_option_read_columns(state->table, RelationGetDescr(rel));
	state->columns = kafka_pushdown_columns(baserel->relid, state->table,
											columns, RelationGetDescr(rel));
	state->extent =
		kafka_extent_create(rel, state->table, &state->columns, userid);
	table_close(rel, NoLock);
	baserel->fdw_private = state;

	state->tail = kafka_tail_find(baserel->relid, baserel->baserestrictinfo);
	state->is_for_batch = batch_messages >= 0 && state->tail == NULL;
	if (state->tail != NULL)
		baserel->tuples =
			Max(kafka_tail_guess_messages(kafka_tail_get_rollup(state->tail),
										  userid),
				DEFAULT_TAIL_TUPLES);
	else if (state->is_for_batch)
		baserel->tuples = Max(batch_messages, 1.0);
	else
		baserel->tuples = guess_tuples(state);
	set_baserel_size_estimates(root, baserel);
	if (kafka_plan_can_be_bounded(state))
		baserel->rows = kafka_plan_estimate_rows(root, baserel, NIL);
}

/*
 * Messages within bounds.  Where values were made up, and they do not fit
 * together, it is what the planner takes two unknown limits for.
 */
static KafkaExtentPart
measure(RelOptInfo *baserel, const KafkaPlanBounds *plan_bounds,
		const KafkaBounds *bounds, bool to_read)
{
	KafkaPlanState *state = baserel->fdw_private;
	KafkaExtentPart part =
		kafka_extent_measure(state->extent, bounds, baserel->tuples, to_read);

	if (part.messages <= 0 && plan_bounds->made_up)
		part.messages = baserel->tuples * DEFAULT_RANGE_INEQ_SEL;
	part.messages = Min(part.messages, baserel->tuples);
	return part;
}

double
kafka_plan_estimate_rows(PlannerInfo *root, RelOptInfo *baserel,
						 List *param_clauses)
{
	KafkaPlanState *state = baserel->fdw_private;
	List *clauses = list_concat_copy(param_clauses, baserel->baserestrictinfo);
	KafkaPlanBounds *bounds;
	double rows;

	if (!kafka_plan_can_be_bounded(state))
		return clamp_row_est(baserel->tuples *
							 clauselist_selectivity(root, clauses,
													baserel->relid, JOIN_INNER,
													NULL));
	bounds = kafka_plan_find_bounds(root, baserel, clauses);
	rows = measure(baserel, bounds, &bounds->exact, false).messages *
		   clauselist_selectivity(root, bounds->others, baserel->relid,
								  JOIN_INNER, NULL);
	if (bounds->any)
		rows =
			Min(rows, measure(baserel, bounds, &bounds->all, false).messages);
	return clamp_row_est(rows);
}

/* Asking, and starting to fetch */
static Cost
cost_seek(const KafkaPlanBounds *bounds, const KafkaExtentPart *part,
		  bool is_rescan)
{
	Cost cost = FETCH_COST + FETCH_PART_COST * part->nparts_read;

	if (bounds->has_times)
		cost += LOOKUP_COST + LOOKUP_PART_COST * part->nparts;
	if (!is_rescan)
		cost += OPEN_COST + OPEN_PART_COST * part->nparts;
	return cost;
}

/* Receiving, decoding and filtering so many messages */
static Cost
cost_messages(PlannerInfo *root, RelOptInfo *baserel, List *clauses,
			  double messages)
{
	Bitmapset *filter = NULL;
	Bitmapset *others = NULL;
	double ncolumns;
	double nfiltered;

	pull_varattnos((Node *) extract_actual_clauses(clauses, false),
				   baserel->relid, &filter);
	pull_varattnos((Node *) baserel->reltarget->exprs, baserel->relid,
				   &others);
	nfiltered = bms_num_members(filter);
	ncolumns = bms_num_members(bms_union(filter, others));
	return messages * (MESSAGE_COST + COLUMN_COST * nfiltered) +
		   Min(messages, baserel->rows) * COLUMN_COST * (ncolumns - nfiltered);
}

/*
 * Of a batch all is read, and nothing is asked of brokers; of a rollup's tail
 * likewise, but that brokers are asked.
 */
static void
cost_unbounded(const RelOptInfo *baserel, const QualCost *qual_cost,
			   Cost *startup_cost, Cost *total_cost)
{
	const KafkaPlanState *state = baserel->fdw_private;

	*startup_cost = qual_cost->startup;
	if (!state->is_for_batch)
		*startup_cost += TAIL_COST;
	*total_cost = *startup_cost +
				  baserel->tuples * (cpu_tuple_cost * BATCH_MESSAGE_FACTOR +
									 qual_cost->per_tuple);
}

void
kafka_plan_estimate_costs(PlannerInfo *root, RelOptInfo *baserel,
						  List *param_clauses, Cost *startup_cost,
						  Cost *total_cost)
{
	KafkaPlanState *state = baserel->fdw_private;
	List *clauses = list_concat_copy(baserel->baserestrictinfo, param_clauses);
	KafkaPlanBounds *bounds;
	KafkaExtentPart part;
	double messages;
	QualCost qual_cost;

	cost_qual_eval(&qual_cost, clauses, root);
	if (!kafka_plan_can_be_bounded(state))
	{
		cost_unbounded(baserel, &qual_cost, startup_cost, total_cost);
		return;
	}
	bounds = kafka_plan_find_bounds(root, baserel, clauses);
	part = measure(baserel, bounds, &bounds->all, true);
	messages =
		clamp_row_est(kafka_enable_pushdown ? part.messages : baserel->tuples);
	*startup_cost =
		qual_cost.startup + cost_seek(bounds, &part, param_clauses != NIL);
	*total_cost = *startup_cost + messages * qual_cost.per_tuple +
				  cost_messages(root, baserel, clauses, messages);

	/* It would be refused; a join may have a way to bound it. */
	if (state->table->require_bounds && !bounds->any)
		*total_cost += disable_cost;
}
