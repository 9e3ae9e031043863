/*-------------------------------------------------------------------------
 *
 * plan.c
 *		Sizes, paths and plans of scans; never asks a broker.
 *
 * IDENTIFICATION
 *		src/fdw/plan.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/sysattr.h"
#include "access/table.h"
#include "fdw/fdw.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/cost.h"
#include "optimizer/optimizer.h"
#include "optimizer/pathnode.h"
#include "optimizer/paths.h"
#include "optimizer/planmain.h"
#include "optimizer/restrictinfo.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

/* A topic's messages, as long as nobody has counted them. */
#define DEFAULT_TUPLES 1000000.0

/* What a rollup has not counted yet, likewise. */
#define DEFAULT_TAIL_TUPLES 10000.0

/*
 * What finding the offsets of a window costs, some round trips, and what
 * receiving and decoding a message costs, in the planner's units: about 2 ms
 * and 0.5 us where cpu_tuple_cost stands for some 50 ns.
 */
#define LOOKUP_COST 400.0
#define MESSAGE_CPU_FACTOR 10.0

/* What the callbacks pass on in baserel->fdw_private. */
typedef struct KafkaPlanState
{
	KafkaTableOptions *table;
	KafkaPushdownColumns columns;
	bool is_for_batch; /* the plan's scans will read messages in memory */
	FuncExpr *tail;    /* kafka.in_tail, which decides alone what is read; NULL
						* where the scan has no such condition */
} KafkaPlanState;

/* Do conditions bound what is read? */
static bool
can_be_bounded(const KafkaPlanState *state)
{
	return !state->is_for_batch && state->tail == NULL;
}

KafkaPushdownColumns
kafka_pushdown_columns(Index relid, const KafkaColumnOptions *columns,
					   TupleDesc tupdesc)
{
	KafkaPushdownColumns result = {.relid = relid};

	for (int i = 0; i < tupdesc->natts; i++)
	{
		KafkaDimension dimension;

		if (columns[i].dropped)
			continue;
		switch (columns[i].role)
		{
			case KAFKA_ROLE_PARTITION:
				dimension = KAFKA_DIMENSION_PARTITION;
				break;
			case KAFKA_ROLE_OFFSET:
				dimension = KAFKA_DIMENSION_OFFSET;
				break;
			case KAFKA_ROLE_TIMESTAMP:
				dimension = KAFKA_DIMENSION_TIME;
				break;
			default:
				continue;
		}
		result.attnum[dimension] = i + 1;
		result.type[dimension] =
			getBaseType(TupleDescAttr(tupdesc, i)->atttypid);
	}
	return result;
}

void
kafkaGetForeignRelSize(PlannerInfo *root, RelOptInfo *baserel,
					   Oid foreigntableid)
{
	KafkaPlanState *state = palloc0(sizeof(KafkaPlanState));
	Relation rel = table_open(foreigntableid, NoLock);
	double batch_messages = kafka_batch_planned_messages(foreigntableid);
	KafkaColumnOptions *columns;

	state->table = kafka_option_read_table(foreigntableid);
	columns = kafka_option_read_columns(state->table, RelationGetDescr(rel));
	state->columns =
		kafka_pushdown_columns(baserel->relid, columns, RelationGetDescr(rel));
	table_close(rel, NoLock);
	baserel->fdw_private = state;

	state->tail = kafka_tail_find(baserel->relid, baserel->baserestrictinfo);
	state->is_for_batch = batch_messages >= 0 && state->tail == NULL;
	if (state->tail != NULL)
		baserel->tuples = DEFAULT_TAIL_TUPLES;
	else if (state->is_for_batch)
		baserel->tuples = Max(batch_messages, 1.0);
	else if (baserel->tuples <= 0)
		baserel->tuples = DEFAULT_TUPLES;
	set_baserel_size_estimates(root, baserel);
}

/*
 * Costs reading what the understood ones of the clauses leave, and filtering
 * it by all of them.  Of a batch, all is read, and nothing is asked of brokers.
 */
static void
estimate_costs(PlannerInfo *root, RelOptInfo *baserel, List *param_clauses,
			   Cost *startup_cost, Cost *total_cost)
{
	KafkaPlanState *state = baserel->fdw_private;
	List *clauses = list_concat_copy(baserel->baserestrictinfo, param_clauses);
	List *understood = NIL;
	ListCell *lc;
	double messages;
	QualCost qual_cost;

	foreach(lc, clauses)
	{
		RestrictInfo *rinfo = lfirst_node(RestrictInfo, lc);

		if (can_be_bounded(state) &&
			kafka_pushdown_understands(&state->columns, rinfo->clause))
			understood = lappend(understood, rinfo);
	}
	messages =
		clamp_row_est(baserel->tuples *
					  clauselist_selectivity(root, understood, baserel->relid,
											 JOIN_INNER, NULL));
	cost_qual_eval(&qual_cost, clauses, root);
	*startup_cost = qual_cost.startup;
	if (!state->is_for_batch)
		*startup_cost += LOOKUP_COST;
	*total_cost =
		*startup_cost +
		messages * (cpu_tuple_cost * MESSAGE_CPU_FACTOR + qual_cost.per_tuple);

	/* It would be refused; a join may have a way to bound it. */
	if (state->table->require_bounds && can_be_bounded(state) &&
		understood == NIL)
		*total_cost += disable_cost;
}

static void
add_scan_path(PlannerInfo *root, RelOptInfo *baserel, ParamPathInfo *param)
{
	double rows = param ? param->ppi_rows : baserel->rows;
	Relids outer = param ? param->ppi_req_outer : baserel->lateral_relids;
	Cost startup_cost;
	Cost total_cost;

	estimate_costs(root, baserel, param ? param->ppi_clauses : NIL,
				   &startup_cost, &total_cost);
	add_path(baserel,
			 (Path *) create_foreignscan_path(root, baserel, NULL, rows,
											  startup_cost, total_cost, NIL,
											  outer, NULL, NIL));
}

/* Is this equivalence member one of the columns that can be bounded? */
static bool
is_bounded_column(PlannerInfo *root, RelOptInfo *rel, EquivalenceClass *ec,
				  EquivalenceMember *em, void *arg)
{
	KafkaPlanState *state = rel->fdw_private;
	Var *var = (Var *) em->em_expr;

	while (IsA(var, RelabelType))
		var = (Var *) ((RelabelType *) var)->arg;
	if (!IsA(var, Var) || var->varno != rel->relid)
		return false;
	for (int d = 0; d < KAFKA_DIMENSION_COUNT; d++)
	{
		if (state->columns.attnum[d] == var->varattno && var->varattno > 0)
			return true;
	}
	return false;
}

/*
 * Collects the sets of other relations whose values could bound a scan: from
 * join clauses as written, and from those implied by equivalences.
 */
static List *
collect_outer_relids(PlannerInfo *root, RelOptInfo *baserel)
{
	KafkaPlanState *state = baserel->fdw_private;
	List *clauses = list_copy(baserel->joininfo);
	List *sets = NIL;
	ListCell *lc;

	if (state->tail != NULL)
		return NIL;
	if (baserel->has_eclass_joins)
		clauses =
			list_concat(clauses, generate_implied_equalities_for_column(
									 root, baserel, is_bounded_column, NULL,
									 baserel->lateral_referencers));
	foreach(lc, clauses)
	{
		RestrictInfo *rinfo = lfirst_node(RestrictInfo, lc);
		Relids outer;
		ListCell *known;

		if (!join_clause_is_movable_to(rinfo, baserel) ||
			!kafka_pushdown_understands(&state->columns, rinfo->clause))
			continue;
		outer = bms_union(rinfo->clause_relids, baserel->lateral_relids);
		outer = bms_del_member(outer, baserel->relid);
		if (bms_is_empty(outer))
			continue;
		foreach(known, sets)
		{
			if (bms_equal(lfirst(known), outer))
				break;
		}
		if (known == NULL)
			sets = lappend(sets, outer);
	}
	return sets;
}

void
kafkaGetForeignPaths(PlannerInfo *root, RelOptInfo *baserel,
					 Oid foreigntableid)
{
	ListCell *lc;

	add_scan_path(root, baserel, NULL);
	foreach(lc, collect_outer_relids(root, baserel))
		add_scan_path(root, baserel,
					  get_baserel_parampathinfo(root, baserel, lfirst(lc)));
}

/* Appends the column numbers in attrs (offset as pull_varattnos does). */
static List *
append_attnums(List *attnums, Bitmapset *attrs, bool *irregular)
{
	int member = -1;

	while ((member = bms_next_member(attrs, member)) >= 0)
	{
		int attnum = member + FirstLowInvalidHeapAttributeNumber;

		if (attnum <= 0)
			*irregular = true;
		else
			attnums = list_append_unique_int(attnums, attnum);
	}
	return attnums;
}

static List *
all_attnums(TupleDesc tupdesc)
{
	List *attnums = NIL;

	for (int i = 0; i < tupdesc->natts; i++)
	{
		if (!TupleDescAttr(tupdesc, i)->attisdropped)
			attnums = lappend_int(attnums, i + 1);
	}
	return attnums;
}

/* Describes a scan tuple that has these columns, in this order. */
static List *
build_scan_tlist(Index relid, List *attnums, TupleDesc tupdesc)
{
	List *tlist = NIL;
	ListCell *lc;

	foreach(lc, attnums)
	{
		AttrNumber attnum = lfirst_int(lc);
		Form_pg_attribute attr = TupleDescAttr(tupdesc, attnum - 1);
		Var *var = makeVar(relid, attnum, attr->atttypid, attr->atttypmod,
						   attr->attcollation, 0);

		tlist =
			lappend(tlist,
					makeTargetEntry((Expr *) var, list_length(tlist) + 1,
									pstrdup(NameStr(attr->attname)), false));
	}
	return tlist;
}

typedef struct ScanColumns
{
	List *attnums; /* needed; those the filter needs first */
	int filter_count;
	List *scan_tlist; /* NIL: the scan tuple is the table's row */
} ScanColumns;

/*
 * Of the tail of a rollup those columns that decide whether a run counts a
 * message are decoded, too, and all at once: a bad message is left out.
 */
static ScanColumns
choose_tail_columns(RelOptInfo *baserel, const FuncExpr *tail, List *clauses,
					TupleDesc tupdesc)
{
	ScanColumns result = {0};
	Bitmapset *attrs = NULL;
	bool irregular = false;

	for (int i = KAFKA_TAIL_COLUMNS; i < list_length(tail->args); i++)
		pull_varattnos(list_nth(tail->args, i), baserel->relid, &attrs);
	pull_varattnos((Node *) clauses, baserel->relid, &attrs);
	pull_varattnos((Node *) baserel->reltarget->exprs, baserel->relid, &attrs);
	result.attnums = append_attnums(NIL, attrs, &irregular);
	if (bms_is_member(-FirstLowInvalidHeapAttributeNumber, attrs))
		result.attnums = all_attnums(tupdesc);
	return result;
}

/*
 * Decides which columns the scan gives and in which order.
 *
 * The executor asks a slot for a prefix of its columns: first as far as the
 * filter needs, then, for the rows that pass, as far as the target list does.
 * So where a filter does not need all, the scan tuple is laid out with the
 * filter's columns in front, and the others are decoded for the rows that
 * pass alone.  Whole-row and system columns want the table's own layout.
 */
static ScanColumns
choose_columns(RelOptInfo *baserel, List *clauses, List *tlist,
			   TupleDesc tupdesc)
{
	ScanColumns result = {0};
	Bitmapset *filter = NULL;
	Bitmapset *others = NULL;
	List *laid_out;
	bool irregular = false;

	pull_varattnos((Node *) clauses, baserel->relid, &filter);
	pull_varattnos((Node *) baserel->reltarget->exprs, baserel->relid,
				   &others);
	result.attnums = append_attnums(NIL, filter, &irregular);
	result.filter_count = list_length(result.attnums);
	result.attnums = append_attnums(result.attnums, others, &irregular);
	pull_varattnos((Node *) tlist, baserel->relid, &others);
	(void) append_attnums(NIL, others, &irregular);
	if (irregular)
	{
		/* A whole row needs everything; tableoid needs nothing of ours. */
		if (bms_is_member(-FirstLowInvalidHeapAttributeNumber,
						  bms_union(filter, others)))
			result.attnums = all_attnums(tupdesc);
		result.filter_count = 0;
		return result;
	}
	if (result.filter_count == 0 ||
		result.filter_count == list_length(result.attnums))
	{
		result.filter_count = 0;
		return result;
	}

	/*
	 * The target list may name columns that nobody above needs, where the
	 * planner saved itself a projection: they are laid out last, and stay
	 * NULL.
	 */
	laid_out = append_attnums(list_copy(result.attnums), others, &irregular);
	result.scan_tlist = build_scan_tlist(baserel->relid, laid_out, tupdesc);
	return result;
}

/*
 * Does a LIMIT take the rows as they come, so that it can end the scan early?
 * root->limit_tuples tells that only of constants, and a LIMIT $1 is not to
 * be one thing in a custom plan and another in a generic one.
 */
static bool
limit_ends_scan(PlannerInfo *root)
{
	Query *parse = root->parse;

	if (parse->sortClause || parse->groupClause || parse->groupingSets ||
		parse->distinctClause || parse->hasAggs || parse->hasWindowFuncs ||
		root->hasHavingQual ||
		bms_membership(root->all_baserels) != BMS_SINGLETON)
		return false;
	if (parse->limitCount && IsA(parse->limitCount, Const))
		return !castNode(Const, parse->limitCount)->constisnull;
	return parse->limitCount != NULL;
}

/*
 * Is the query, or one that it is a part of, that of a view with
 * security_barrier?  The planner lets into such a view's query only conditions
 * that are leakproof, and forgets whose they are: security levels do not tell.
 *
 * A subquery's rel gets its subroot when it has been planned, which for a
 * sublink's or a WITH query's scan is too late; so one without may be it.
 */
static bool
is_behind_barrier_view(const PlannerInfo *root)
{
	for (; root->parent_root != NULL; root = root->parent_root)
	{
		const PlannerInfo *parent = root->parent_root;

		for (int i = 1; i < parent->simple_rel_array_size; i++)
		{
			const RelOptInfo *rel = parent->simple_rel_array[i];
			const RangeTblEntry *rte = parent->simple_rte_array[i];

			if (rel != NULL && rte->rtekind == RTE_SUBQUERY &&
				rte->security_barrier &&
				(rel->subroot == root || rel->subroot == NULL))
				return true;
		}
	}
	return false;
}

/*
 * May the scan decode rows that a security barrier hides from the reader?
 *
 * Conditions of the query have root->qual_security_level, those that must be
 * met before (row security of a partitioned table that this is a part of) a
 * lower one.  Behind a view it does not matter whether the scan has conditions
 * at all, since a join or a limit in the view may be what hides a row.
 */
static bool
may_decode_hidden_rows(const PlannerInfo *root, const List *scan_clauses)
{
	ListCell *lc;

	foreach(lc, scan_clauses)
	{
		if (lfirst_node(RestrictInfo, lc)->security_level <
			root->qual_security_level)
			return true;
	}
	return is_behind_barrier_view(root);
}

ForeignScan *
kafkaGetForeignPlan(PlannerInfo *root, RelOptInfo *baserel, Oid foreigntableid,
					ForeignPath *best_path, List *tlist, List *scan_clauses,
					Plan *outer_plan)
{
	KafkaPlanState *state = baserel->fdw_private;
	List *clauses = extract_actual_clauses(scan_clauses, false);
	List *exprs = NIL;
	List *condition;
	char *tail_of = "";
	ScanColumns columns;
	Relation rel;
	List *private;

	rel = table_open(foreigntableid, NoLock);
	if (state->tail != NULL)
	{
		condition = NIL;
		clauses = list_delete_ptr(clauses, state->tail);
		columns = choose_tail_columns(baserel, state->tail, clauses,
									  RelationGetDescr(rel));
		exprs = list_copy_tail(state->tail->args, KAFKA_TAIL_FIRST_CHECK);
		tail_of = kafka_tail_get_rollup(state->tail);
	}
	else
	{
		condition = kafka_pushdown_build(&state->columns, clauses, &exprs);
		columns =
			choose_columns(baserel, clauses, tlist, RelationGetDescr(rel));
	}
	table_close(rel, NoLock);

	/* In the order of KafkaScanPrivate. */
	private = list_make5(condition, columns.attnums,
						 makeInteger(columns.filter_count),
						 makeBoolean(columns.scan_tlist != NIL),
						 makeBoolean(limit_ends_scan(root)));
	private = lappend(private,
					  makeBoolean(may_decode_hidden_rows(root, scan_clauses)));
	private = lappend(private, makeString(tail_of));
	return make_foreignscan(tlist, clauses, baserel->relid, exprs, private,
							columns.scan_tlist, NIL, outer_plan);
}
