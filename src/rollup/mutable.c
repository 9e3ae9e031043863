/*-------------------------------------------------------------------------
 *
 * mutable.c
 *		What a rollup's result may depend on; and its bucket.
 *
 * A row must make the same of a group whenever its message is read: now, in
 * the next batch, or as a dead letter tomorrow.  So:
 *
 * - volatile functions are refused;
 * - stable functions that tell the time, the user, the session or a setting are
 *   refused: those of PostgreSQL are known by name;
 * - other stable functions are accepted.  PostgreSQL's depend on TimeZone,
 *   DateStyle, IntervalStyle or search_path, which a rollup saves; a user's own
 *   are his word for it, as they are in a join;
 * - in group columns what depends on TimeZone is refused all the same: the
 *   setting is saved, but whoever reads the query does not see it, and two
 *   rollups made in different sessions would disagree about what a day is.
 *
 * IDENTIFICATION
 *		src/rollup/mutable.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/transam.h"
#include "catalog/pg_operator.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "rollup/analyze.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"

#define ZONE_HINT                                                          \
	"Name the zone: date_trunc('day', ts, 'Asia/Seoul'), ts AT TIME ZONE " \
	"'Asia/Seoul'; or use date_bin."

typedef struct MutableContext
{
	const KafkaAnalysis *analysis;
	Oid found;
} MutableContext;

/* Does a stable function of PostgreSQL's tell the time, user or session? */
static bool
tells_now(Oid function)
{
	switch (function)
	{
		case F_NOW:
		case F_TRANSACTION_TIMESTAMP:
		case F_STATEMENT_TIMESTAMP:
		case F_AGE_TIMESTAMP:
		case F_AGE_TIMESTAMPTZ:
		case F_AGE_XID:
		case F_CURRENT_SETTING_TEXT:
		case F_CURRENT_SETTING_TEXT_BOOL:
		case F_CURRENT_USER:
		case F_SESSION_USER:
		case F_GETPGUSERNAME:
		case F_CURRENT_DATABASE:
		case F_CURRENT_SCHEMA:
		case F_CURRENT_SCHEMAS:
		case F_VERSION:
		case F_INET_CLIENT_ADDR:
		case F_INET_CLIENT_PORT:
		case F_INET_SERVER_ADDR:
		case F_INET_SERVER_PORT:
		case F_PG_BACKEND_PID:
		case F_PG_CONF_LOAD_TIME:
		case F_PG_POSTMASTER_START_TIME:
		case F_TXID_CURRENT:
		case F_TXID_CURRENT_SNAPSHOT:
		case F_PG_CURRENT_XACT_ID:
		case F_PG_CURRENT_SNAPSHOT:
			return true;
		default:
			return false;
	}
}

static bool
check_mutable(Oid function, void *arg)
{
	MutableContext *context = (MutableContext *) arg;

	if (func_volatile(function) != PROVOLATILE_VOLATILE &&
		!tells_now(function))
		return false;
	context->found = function;
	return true;
}

static bool
refuse_mutable_walker(Node *node, MutableContext *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, SQLValueFunction))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("a rollup cannot depend on when or by whom it is run"),
				 errhint("Use a time of the message."),
				 kafka_analysis_position(context->analysis,
										 exprLocation(node))));
	if (check_functions_in_node(node, check_mutable, context))
	{
		char *name = get_func_name(context->found);
		int location = exprLocation(node);

		if (func_volatile(context->found) == PROVOLATILE_VOLATILE)
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("function %s is volatile", name),
					 errdetail("What a rollup makes of a message must be the "
							   "same whenever it is read."),
					 kafka_analysis_position(context->analysis, location)));
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("a rollup cannot depend on when or by whom it is run"),
				 errdetail("Function %s tells that.", name),
				 errhint("Use a time of the message, or late_limit and "
						 "future_limit."),
				 kafka_analysis_position(context->analysis, location)));
	}
	if (IsA(node, Query))
		return query_tree_walker((Query *) node, refuse_mutable_walker,
								 context, 0);
	return expression_tree_walker(node, refuse_mutable_walker, context);
}

void
kafka_analysis_refuse_mutable(const KafkaAnalysis *analysis, Node *node)
{
	MutableContext context = {analysis, InvalidOid};

	(void) refuse_mutable_walker(node, &context);
}

/* ----------------------------------------------------------------
 * Time zones
 * ----------------------------------------------------------------
 */

/* The value of an expression that is constant; NULL where it is not. */
static Const *
find_constant(Node *node)
{
	Node *value = eval_const_expressions(NULL, copyObject(node));

	if (!IsA(value, Const) || ((Const *) value)->constisnull)
		return NULL;
	return (Const *) value;
}

/* Is this a constant interval of a length that no zone changes? */
static bool
is_fixed_interval(Node *node)
{
	Const *value;
	Interval *interval;

	if (exprType(node) != INTERVALOID)
		return false;
	value = find_constant(node);
	if (value == NULL)
		return false;
	interval = DatumGetIntervalP(value->constvalue);
	return interval->month == 0 && interval->day == 0;
}

/*
 * Does a stable function of these arguments not depend on the zone, although
 * PostgreSQL must think so?
 */
static bool
is_free_of_zone(Oid function, List *args)
{
	switch (function)
	{
		case F_DATE_TRUNC_TEXT_TIMESTAMPTZ_TEXT:
			return true;
		case F_TIMESTAMPTZ_PL_INTERVAL:
		case F_TIMESTAMPTZ_MI_INTERVAL:
			return is_fixed_interval(lsecond(args));
		case F_INTERVAL_PL_TIMESTAMPTZ:
			return is_fixed_interval(linitial(args));
		case F_EXTRACT_TEXT_TIMESTAMPTZ:
		case F_DATE_PART_TEXT_TIMESTAMPTZ:
		{
			Const *unit = find_constant(linitial(args));

			return unit != NULL &&
				   pg_strcasecmp(TextDatumGetCString(unit->constvalue),
								 "epoch") == 0;
		}
		default:
			return false;
	}
}

static bool
is_local_type(Oid type)
{
	return type == DATEOID || type == TIMESTAMPOID || type == TIMEOID;
}

/* Does a call of a stable function go between an instant and local time? */
static bool
depends_on_zone(Oid function, List *args, Oid result)
{
	bool has_instant = false;
	bool has_local = false;
	ListCell *cell;

	if (function >= FirstNormalObjectId ||
		func_volatile(function) != PROVOLATILE_STABLE)
		return false;
	foreach(cell, args)
	{
		Oid type = getBaseType(exprType(lfirst(cell)));

		has_instant = has_instant || type == TIMESTAMPTZOID ||
					  type == TIMESTAMPTZARRAYOID;
		has_local = has_local || is_local_type(type);
	}
	if (!has_instant && !(has_local && result == TIMESTAMPTZOID))
		return false;
	return !is_free_of_zone(function, args);
}

static bool
check_stable(Oid function, void *arg)
{
	return function < FirstNormalObjectId &&
		   func_volatile(function) == PROVOLATILE_STABLE;
}

static bool
refuse_zone_walker(Node *node, KafkaAnalysis *analysis)
{
	bool found = false;

	if (node == NULL)
		return false;
	if (IsA(node, FuncExpr))
	{
		FuncExpr *call = (FuncExpr *) node;

		found =
			depends_on_zone(call->funcid, call->args, call->funcresulttype);
	}
	else if (IsA(node, OpExpr))
	{
		OpExpr *call = (OpExpr *) node;

		found = depends_on_zone(get_opcode(call->opno), call->args,
								call->opresulttype);
	}
	else if (IsA(node, CoerceViaIO))
	{
		/* text that is read may name its zone; text that is written does */
		CoerceViaIO *cast = (CoerceViaIO *) node;
		Oid type = getBaseType(exprType((Node *) cast->arg));

		found = (type == TIMESTAMPTZOID || type == TIMESTAMPTZARRAYOID) &&
				check_functions_in_node(node, check_stable, NULL);
	}
	if (found)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("a group column cannot depend on the setting "
						"TimeZone"),
				 errhint(ZONE_HINT),
				 kafka_analysis_position(analysis, exprLocation(node))));
	return expression_tree_walker(node, refuse_zone_walker, analysis);
}

void
kafka_analysis_refuse_zone(const KafkaAnalysis *analysis, Node *node)
{
	(void) refuse_zone_walker(node, unconstify(KafkaAnalysis *, analysis));
}

/* ----------------------------------------------------------------
 * The bucket
 * ----------------------------------------------------------------
 */

/* The length of what date_trunc cuts to; NULL for a unit we do not know. */
static Interval *
read_unit(const char *unit)
{
	static const char *const lengths[][2] = {{"microsecond", "1 microsecond"},
											 {"millisecond", "1 millisecond"},
											 {"second", "1 second"},
											 {"minute", "1 minute"},
											 {"hour", "1 hour"},
											 {"day", "1 day"},
											 {"week", "7 days"},
											 {"month", "1 month"},
											 {"quarter", "3 months"},
											 {"year", "1 year"},
											 {"decade", "10 years"},
											 {"century", "100 years"},
											 {"millennium", "1000 years"}};

	for (int i = 0; i < lengthof(lengths); i++)
	{
		int length = strlen(lengths[i][0]);

		/* or the plural */
		if (pg_strncasecmp(unit, lengths[i][0], length) == 0 &&
			(unit[length] == '\0' || pg_strcasecmp(unit + length, "s") == 0))
			return DatumGetIntervalP(
				DirectFunctionCall3(interval_in,
									CStringGetDatum(lengths[i][1]),
									ObjectIdGetDatum(InvalidOid),
									Int32GetDatum(-1)));
	}
	return NULL;
}

/*
 * Is this a bucket: date_bin or date_trunc with all else constant?  Gives its
 * width.
 */
static bool
is_bucket(Node *node, Interval **width)
{
	FuncExpr *call = (FuncExpr *) node;
	Const *first;
	Const *third = NULL;

	if (!IsA(node, FuncExpr) || list_length(call->args) < 2)
		return false;
	first = find_constant(linitial(call->args));
	if (list_length(call->args) == 3)
		third = find_constant(lthird(call->args));
	if (first == NULL || find_constant(lsecond(call->args)) != NULL)
		return false;
	switch (call->funcid)
	{
		case F_DATE_BIN_INTERVAL_TIMESTAMP_TIMESTAMP:
		case F_DATE_BIN_INTERVAL_TIMESTAMPTZ_TIMESTAMPTZ:
			*width = DatumGetIntervalP(first->constvalue);
			return third != NULL;
		case F_DATE_TRUNC_TEXT_TIMESTAMP:
			*width = read_unit(TextDatumGetCString(first->constvalue));
			return true;
		case F_DATE_TRUNC_TEXT_TIMESTAMPTZ_TEXT:
			*width = read_unit(TextDatumGetCString(first->constvalue));
			return third != NULL;
		default:
			return false;
	}
}

/*
 * The instant that a bucket's argument is made of: in date_trunc('day', ts AT
 * TIME ZONE 'Asia/Seoul') it is ts.
 */
Node *
kafka_analysis_find_instant(Node *node)
{
	if (IsA(node, FuncExpr))
	{
		FuncExpr *call = (FuncExpr *) node;

		if ((call->funcid == F_TIMEZONE_TEXT_TIMESTAMPTZ ||
			 call->funcid == F_TIMEZONE_INTERVAL_TIMESTAMPTZ) &&
			find_constant(linitial(call->args)) != NULL)
			return lsecond(call->args);
	}
	return node;
}

void
kafka_analysis_find_bucket(KafkaAnalysis *analysis)
{
	ListCell *cell;

	foreach(cell, analysis->keys)
	{
		TargetEntry *key = lfirst_node(TargetEntry, cell);
		Interval *width;

		if (!is_bucket((Node *) key->expr, &width))
			continue;
		analysis->bucket = key;
		analysis->bucket_width = width;
		analysis->time = kafka_analysis_find_instant(
			lsecond(((FuncExpr *) key->expr)->args));
		return;
	}
}
