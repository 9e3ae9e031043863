/*-------------------------------------------------------------------------
 *
 * tail_plan.c
 *		The condition kafka.in_tail of a scan.
 *
 * IDENTIFICATION
 *		src/fdw/tail_plan.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/sysattr.h"
#include "compat.h"
#include "fdw/tail.h"
#include "fmgr.h"
#include "utils/builtins.h"

KAFKA_SQL_FUNCTION(kafka_in_tail);

static const char *const in_tail_hint =
	"Write it as in SELECT ... FROM t WHERE kafka.in_tail('name', t.tableoid), "
	"where t is the Kafka foreign table that the rollup reads; or read the "
	"rollup's live view.";

/*
 * Is this a call of kafka.in_tail?  Known by its C function: that has but one
 * SQL function, whatever schema and names.
 */
static bool
is_in_tail(Node *node)
{
	FmgrInfo function;

	if (!IsA(node, FuncExpr) ||
		list_length(((FuncExpr *) node)->args) != KAFKA_TAIL_BUCKET + 1)
		return false;
	fmgr_info(((FuncExpr *) node)->funcid, &function);
	return function.fn_addr == kafka_in_tail;
}

/* Is its row that of the relation, and its rollup named by a constant? */
static void
check_arguments(const FuncExpr *condition, Index relid)
{
	const Const *name = list_nth(condition->args, KAFKA_TAIL_ROLLUP);
	const Var *source = list_nth(condition->args, KAFKA_TAIL_SOURCE);

	if (IsA(name, Const) && !name->constisnull && IsA(source, Var) &&
		source->varno == relid && source->varattno == TableOidAttributeNumber)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("kafka.in_tail needs a constant name and the tableoid of "
					"the foreign table"),
			 errhint("%s", in_tail_hint)));
}

FuncExpr *
kafka_tail_find(Index relid, List *restrictions)
{
	FuncExpr *found = NULL;
	ListCell *cell;

	foreach(cell, restrictions)
	{
		Node *clause = (Node *) lfirst_node(RestrictInfo, cell)->clause;

		if (!is_in_tail(clause))
			continue;
		if (found != NULL)
			ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
							errmsg("a foreign table can have one condition "
								   "kafka.in_tail, not two")));
		found = (FuncExpr *) clause;
		check_arguments(found, relid);
	}
	return found;
}

char *
kafka_tail_get_rollup(const FuncExpr *condition)
{
	const Const *name =
		list_nth_node(Const, condition->args, KAFKA_TAIL_ROLLUP);

	return TextDatumGetCString(name->constvalue);
}

/* Only where the planner has left it in place, which no condition of ours is. */
Datum
kafka_in_tail(PG_FUNCTION_ARGS)
{
	ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					errmsg("kafka.in_tail can only be a condition by itself "
						   "on a Kafka foreign table"),
					errhint("%s", in_tail_hint)));
	PG_RETURN_NULL();
}
