/*-------------------------------------------------------------------------
 *
 * ordered_plan.c
 *		Offers scans that give the order of the record time, the offset or the
 *		partition.
 *
 * Such a scan starts at the end where the order begins and reads on as long as
 * rows are wanted.  For few rows that is cheap, for all it costs more than
 * reading and sorting them.
 *
 * What the query wants first is looked at, be that for ORDER BY, DISTINCT,
 * GROUP BY, a window or max(): PostgreSQL sorts by the rest incrementally.  The
 * order must be that of the numbers which Kafka has, so columns of other types,
 * domains, whose checks may turn a value into NULL, and timestamp without time
 * zone, which goes back when clocks do, are left alone.
 *
 * A record without a time has NULL for it, which comes first where the order
 * descends.  To know that there is none, all would have to be read.  So the
 * newest first is offered only where none can be: the column is NOT NULL, a
 * condition lets no NULL through, or the table declares how far its times are
 * from those of their appends, by which every record has one.
 *
 * IDENTIFICATION
 *		src/fdw/ordered_plan.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "access/stratnum.h"
#include "access/sysattr.h"
#include "access/table.h"
#include "catalog/pg_am_d.h"
#include "catalog/pg_type.h"
#include "commands/defrem.h"
#include "fdw/ordered.h"
#include "fdw/plan.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/clauses.h"
#include "optimizer/cost.h"
#include "optimizer/optimizer.h"
#include "optimizer/pathnode.h"
#include "optimizer/paths.h"
#include "optimizer/restrictinfo.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

/* Rows that are taken to be wanted where nothing tells. */
#define DEFAULT_COUNT 100

/*
 * What an ordered scan costs more than one that is not, to begin with and for
 * each message.  For the first window of time a record of each partition is read
 * and times are looked up; the windows read everything about twice; partitions
 * that are read one by one wait for their brokers one by one.
 */
typedef struct OrderFactors
{
	double startup;
	double messages;
} OrderFactors;

static const OrderFactors order_factors[] =
	{[KAFKA_DIMENSION_PARTITION] = {1.05, 1.2},
	 [KAFKA_DIMENSION_OFFSET] = {1.1, 2.2},
	 [KAFKA_DIMENSION_TIME] = {2.5, 2.2}};

typedef struct FoundOrder
{
	KafkaDimension dimension;
	bool descending;
	bool may_lack_times;
	List *pathkeys;
} FoundOrder;

/* The column of the relation that a pathkey is about; 0 for none. */
static AttrNumber
find_column(RelOptInfo *baserel, const PathKey *pathkey, Oid *type)
{
	EquivalenceClass *ec = pathkey->pk_eclass;
	ListCell *lc;

	if (ec->ec_has_volatile)
		return 0;
	foreach(lc, ec->ec_members)
	{
		EquivalenceMember *member = lfirst(lc);
		Var *var = (Var *) member->em_expr;

		if (IsA(var, Var) && var->varno == baserel->relid &&
			var->varlevelsup == 0)
		{
			*type = var->vartype;
			return var->varattno;
		}
	}
	return 0;
}

static bool
has_order(KafkaDimension dimension, Oid type)
{
	switch (dimension)
	{
		case KAFKA_DIMENSION_PARTITION:
			/* In a smaller type a large number would be NULL or an error. */
			return type == INT4OID || type == INT8OID;
		case KAFKA_DIMENSION_OFFSET:
			return type == INT8OID;
		case KAFKA_DIMENSION_TIME:
			return type == TIMESTAMPTZOID;
		default:
			return false;
	}
}

/* Which of the dimensions does this pathkey put in order? */
static bool
match_pathkey(RelOptInfo *baserel, const PathKey *pathkey,
			  KafkaDimension *dimension)
{
	KafkaPlanState *state = baserel->fdw_private;
	Oid type;
	AttrNumber attnum = find_column(baserel, pathkey, &type);

	if (attnum <= 0)
		return false;
	for (int d = 0; d < KAFKA_DIMENSION_COUNT; d++)
	{
		if (state->columns.attnum[d] != attnum || !has_order(d, type))
			continue;
		*dimension = (KafkaDimension) d;
		return pathkey->pk_opfamily ==
			   get_opclass_family(GetDefaultOpClass(type, BTREE_AM_OID));
	}
	return false;
}

/* Is the clause never true of a row that has NULL in this column? */
static bool
rejects_null(Expr *clause, Index relid, AttrNumber attnum)
{
	Bitmapset *attrs = NULL;

	if (IsA(clause, NullTest))
	{
		NullTest *test = (NullTest *) clause;

		return test->nulltesttype == IS_NOT_NULL && IsA(test->arg, Var) &&
			   ((Var *) test->arg)->varno == relid &&
			   ((Var *) test->arg)->varattno == attnum;
	}
	pull_varattnos((Node *) clause, relid, &attrs);
	return bms_is_member(attnum - FirstLowInvalidHeapAttributeNumber, attrs) &&
		   !contain_nonstrict_functions((Node *) clause);
}

/* May rows be wanted whose record has no time? */
static bool
may_lack_times(RelOptInfo *baserel, Oid foreigntableid)
{
	KafkaPlanState *state = baserel->fdw_private;
	AttrNumber attnum = state->columns.attnum[KAFKA_DIMENSION_TIME];
	Relation rel = table_open(foreigntableid, NoLock);
	bool is_not_null =
		TupleDescAttr(RelationGetDescr(rel), attnum - 1)->attnotnull;
	ListCell *lc;

	table_close(rel, NoLock);
	if (is_not_null || state->table->disorder_declared)
		return false;
	foreach(lc, baserel->baserestrictinfo)
	{
		if (rejects_null(lfirst_node(RestrictInfo, lc)->clause, baserel->relid,
						 attnum))
			return false;
	}
	return true;
}

static bool
find_time_order(RelOptInfo *baserel, Oid foreigntableid,
				const PathKey *pathkey, FoundOrder *found)
{
	KafkaPlanState *state = baserel->fdw_private;

	/* Without the index every window would be as long as the topic. */
	if (state->table->trust_time_index == KAFKA_TRUST_NO)
		return false;

	/*
	 * So would that of the oldest, if a record of their time may come at any
	 * place.
	 */
	if (!found->descending && !state->table->disorder_declared)
		return false;
	found->may_lack_times = may_lack_times(baserel, foreigntableid);
	return !found->may_lack_times || !pathkey->pk_nulls_first;
}

/* Is this the offset, ascending, of the only topic? */
static bool
is_order_in_partition(RelOptInfo *baserel, const PathKey *pathkey)
{
	KafkaPlanState *state = baserel->fdw_private;
	KafkaDimension dimension;

	return state->table->topic_pattern == NULL && state->table->ntopics == 1 &&
		   pathkey->pk_strategy == BTLessStrategyNumber &&
		   match_pathkey(baserel, pathkey, &dimension) &&
		   dimension == KAFKA_DIMENSION_OFFSET;
}

static bool
find_order(PlannerInfo *root, RelOptInfo *baserel, Oid foreigntableid,
		   FoundOrder *found)
{
	PathKey *first;

	if (root->query_pathkeys == NIL ||
		!kafka_plan_can_be_bounded(baserel->fdw_private))
		return false;
	first = linitial_node(PathKey, root->query_pathkeys);
	if (!match_pathkey(baserel, first, &found->dimension))
		return false;
	found->descending = first->pk_strategy == BTGreaterStrategyNumber;
	found->may_lack_times = false;
	if (found->dimension == KAFKA_DIMENSION_TIME &&
		!find_time_order(baserel, foreigntableid, first, found))
		return false;
	found->pathkeys = list_make1(first);
	if (found->dimension == KAFKA_DIMENSION_PARTITION &&
		list_length(root->query_pathkeys) > 1 &&
		is_order_in_partition(baserel, lsecond(root->query_pathkeys)))
		found->pathkeys =
			lappend(found->pathkeys, lsecond(root->query_pathkeys));
	return true;
}

bool
kafka_ordered_is_possible(PlannerInfo *root, RelOptInfo *baserel,
						  Oid foreigntableid)
{
	FoundOrder found;

	return find_order(root, baserel, foreigntableid, &found);
}

/*
 * The first row costs finding the first window and reading it.  Sorting costs
 * what cost_sort reckons with.
 */
static void
estimate_costs(PlannerInfo *root, RelOptInfo *baserel, const FoundOrder *found,
			   Cost *startup_cost, Cost *total_cost)
{
	const OrderFactors *factors = &order_factors[found->dimension];
	double rows = Max(baserel->rows, 2.0);
	Cost startup;
	Cost total;

	kafka_plan_estimate_costs(root, baserel, NIL, &startup, &total);
	*startup_cost = startup * factors->startup;
	*total_cost = *startup_cost + (total - startup) * factors->messages;
	if (found->dimension != KAFKA_DIMENSION_PARTITION)
		*total_cost += 2.0 * cpu_operator_cost * rows * log2(rows);
}

/* How many rows will be wanted, as far as the planner knows? */
static int
guess_count(const PlannerInfo *root)
{
	double count = root->limit_tuples;

	if (count <= 0)
		count = DEFAULT_COUNT;
	return (int) Min(count, INT_MAX);
}

void
kafka_ordered_add_path(PlannerInfo *root, RelOptInfo *baserel,
					   Oid foreigntableid)
{
	FoundOrder found;
	Cost startup_cost;
	Cost total_cost;
	List *order;

	/* Of a path with parameters the planner ignores the order. */
	if (!kafka_enable_pushdown || !bms_is_empty(baserel->lateral_relids) ||
		!find_order(root, baserel, foreigntableid, &found))
		return;
	estimate_costs(root, baserel, &found, &startup_cost, &total_cost);
	order = list_make4_int(found.dimension, found.descending,
						   found.may_lack_times, guess_count(root));
	add_path(baserel,
			 (Path *) create_foreignscan_path(root, baserel, NULL,
											  baserel->rows, startup_cost,
											  total_cost, found.pathkeys, NULL,
											  NULL, order));
}

/*
 * Adds a value that the executor can compute before it reads the first row, and
 * returns its number; -1 for what is none.
 */
static int
add_value(Node *expr, List **exprs)
{
	if (expr == NULL || exprType(expr) != INT8OID || contain_subplans(expr) ||
		contain_volatile_functions(expr) || contain_var_clause(expr))
		return -1;
	*exprs = lappend(*exprs, copyObject(expr));
	return list_length(*exprs) - 1;
}

List *
kafka_ordered_build(PlannerInfo *root, const ForeignPath *best_path,
					List **exprs)
{
	List *order = list_copy(best_path->fdw_private);
	const Query *parse = root->parse;
	int limit = -1;
	int offset = -1;

	if (order == NIL)
		return NIL;
	if (root->limit_tuples <= 0 &&
		bms_membership(root->all_baserels) == BMS_SINGLETON)
	{
		limit = add_value(parse->limitCount, exprs);
		offset = add_value(parse->limitOffset, exprs);
	}
	order = lappend_int(order, limit);
	return lappend_int(order, offset);
}
