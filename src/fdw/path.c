/*-------------------------------------------------------------------------
 *
 * path.c
 *		Paths of scans.
 *
 * IDENTIFICATION
 *		src/fdw/path.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fdw/ordered.h"
#include "fdw/plan.h"
#include "optimizer/pathnode.h"
#include "optimizer/paths.h"
#include "optimizer/restrictinfo.h"

static void
add_scan_path(PlannerInfo *root, RelOptInfo *baserel, ParamPathInfo *param)
{
	double rows = baserel->rows;
	Relids outer = param ? param->ppi_req_outer : baserel->lateral_relids;
	Cost startup_cost;
	Cost total_cost;

	if (param)
		rows = param->ppi_rows =
			kafka_plan_estimate_rows(root, baserel, param->ppi_clauses);
	kafka_plan_estimate_costs(root, baserel, param ? param->ppi_clauses : NIL,
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
	for (int i = 0; i < state->columns.nskewed; i++)
	{
		if (state->columns.skewed[i].attnum == var->varattno)
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
	kafka_ordered_add_path(root, baserel, foreigntableid);
	foreach(lc, collect_outer_relids(root, baserel))
		add_scan_path(root, baserel,
					  get_baserel_parampathinfo(root, baserel, lfirst(lc)));
}
