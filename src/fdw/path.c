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

/* Is this equivalence member, which is the relation's own, one to be bounded? */
static bool
is_form(PlannerInfo *root, RelOptInfo *rel, EquivalenceClass *ec,
		EquivalenceMember *em, void *arg)
{
	const KafkaPlanState *state = rel->fdw_private;

	return kafka_pushdown_is_form(&state->columns, em->em_expr);
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
		clauses = list_concat(clauses, generate_implied_equalities_for_column(
										   root, baserel, is_form, NULL,
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
