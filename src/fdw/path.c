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

/* Adds the relations, but for the scan's own, unless they are known. */
static List *
add_outer_relids(List *sets, const RelOptInfo *baserel, Relids relids)
{
	Relids outer = bms_union(relids, baserel->lateral_relids);
	ListCell *lc;

	outer = bms_del_member(outer, baserel->relid);
	if (bms_is_empty(outer))
		return sets;
	foreach(lc, sets)
	{
		if (bms_equal(lfirst(lc), outer))
			return sets;
	}
	return lappend(sets, outer);
}

/*
 * In "date_trunc(o.unit, ts) = o.hour" the form uses other relations itself.
 * The equality is not implied for this relation alone, so it is not among those
 * that are generated for its columns; but a path with these relations as
 * parameters gets it (get_baserel_parampathinfo).
 */
static List *
add_mixed_members(List *sets, PlannerInfo *root, RelOptInfo *baserel,
				  const EquivalenceClass *ec)
{
	ListCell *lc;
	ListCell *other;

	if (ec->ec_has_volatile || ec->ec_has_const)
		return sets;
	foreach(lc, ec->ec_members)
	{
		EquivalenceMember *mixed = lfirst(lc);

		if (mixed->em_is_child ||
			!bms_is_member(baserel->relid, mixed->em_relids) ||
			bms_membership(mixed->em_relids) != BMS_MULTIPLE ||
			!is_form(root, baserel, NULL, mixed, NULL))
			continue;
		foreach(other, ec->ec_members)
		{
			EquivalenceMember *value = lfirst(other);
			Relids relids = bms_union(mixed->em_relids, value->em_relids);

			if (!value->em_is_child &&
				!bms_is_member(baserel->relid, value->em_relids) &&
				bms_is_subset(relids, root->all_baserels))
				sets = add_outer_relids(sets, baserel, relids);
		}
	}
	return sets;
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
	int i = -1;

	if (state->tail != NULL)
		return NIL;
	if (baserel->has_eclass_joins)
		clauses = list_concat(clauses, generate_implied_equalities_for_column(
										   root, baserel, is_form, NULL,
										   baserel->lateral_referencers));
	foreach(lc, clauses)
	{
		RestrictInfo *rinfo = lfirst_node(RestrictInfo, lc);

		if (join_clause_is_movable_to(rinfo, baserel) &&
			kafka_pushdown_understands(&state->columns, rinfo->clause))
			sets = add_outer_relids(sets, baserel, rinfo->clause_relids);
	}
	while ((i = bms_next_member(baserel->eclass_indexes, i)) >= 0)
		sets = add_mixed_members(sets, root, baserel,
								 list_nth(root->eq_classes, i));
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
