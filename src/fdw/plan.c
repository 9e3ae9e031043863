/*-------------------------------------------------------------------------
 *
 * plan.c
 *		Plans of scans: what is read, and which columns in which order.
 *
 * IDENTIFICATION
 *		src/fdw/plan.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/sysattr.h"
#include "access/table.h"
#include "fdw/ordered.h"
#include "fdw/plan.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/cost.h"
#include "optimizer/optimizer.h"
#include "optimizer/pathnode.h"
#include "optimizer/planmain.h"
#include "optimizer/restrictinfo.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

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
 * It does in spite of ORDER BY where they come in that order.
 * root->limit_tuples tells that only of constants, and a LIMIT $1 is not to
 * be one thing in a custom plan and another in a generic one.
 */
static bool
limit_ends_scan(PlannerInfo *root, bool in_order)
{
	Query *parse = root->parse;

	if ((parse->sortClause && !in_order) || parse->groupClause ||
		parse->groupingSets || parse->distinctClause || parse->hasAggs ||
		parse->hasWindowFuncs || root->hasHavingQual ||
		bms_membership(root->all_baserels) != BMS_SINGLETON)
		return false;
	if (parse->limitCount && IsA(parse->limitCount, Const))
		return !castNode(Const, parse->limitCount)->constisnull;
	return parse->limitCount != NULL;
}

/*
 * Is a LIMIT enough where the table demands bounds?  What decides is the query,
 * and not the path that the planner takes, nor whether pushdown is off: then
 * the rows are to be the same.
 */
static bool
needs_no_bounds(PlannerInfo *root, RelOptInfo *baserel, Oid foreigntableid)
{
	return limit_ends_scan(root, false) ||
		   (limit_ends_scan(root, true) &&
			kafka_ordered_is_possible(root, baserel, foreigntableid));
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
	List *texts = NIL;
	List *order;
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
		condition = kafka_pushdown_build_for_plan(&state->columns, clauses,
												  &exprs, &texts);
		columns =
			choose_columns(baserel, clauses, tlist, RelationGetDescr(rel));
	}
	table_close(rel, NoLock);

	order = kafka_ordered_build(root, best_path, &exprs);
	exprs = kafka_pushdown_add_texts(exprs, texts);

	/* In the order of KafkaScanPrivate. */
	private = list_make5(condition, columns.attnums,
						 makeInteger(columns.filter_count),
						 makeBoolean(columns.scan_tlist != NIL),
						 makeBoolean(limit_ends_scan(root, order != NIL)));
	private =
		lappend(private,
				makeBoolean(needs_no_bounds(root, baserel, foreigntableid)));
	private = lappend(private,
					  makeBoolean(may_decode_hidden_rows(root, scan_clauses)));
	private = lappend(private, makeString(tail_of));
	private = lappend(private, order);
	return make_foreignscan(tlist, clauses, baserel->relid, exprs, private,
							columns.scan_tlist, NIL, outer_plan);
}
