/*-------------------------------------------------------------------------
 *
 * run.c
 *		The procedure kafka.run_rollups: which rollups run, for how long, and
 *		what is said at the end.
 *
 * One rollup's failure keeps no other from running.  All that was committed
 * stands when the call ends with an error, which names those that failed: a
 * scheduler sees errors only.
 *
 * IDENTIFICATION
 *		src/rollup/run.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "compat.h"
#include "fmgr.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "rollup/lane.h"
#include "tcop/utility.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/memutils.h"
#include "utils/portal.h"
#include "utils/timestamp.h"

KAFKA_SQL_FUNCTION(kafka_run_rollups);

/* What the error at the end names in full. */
#define MAX_NAMED_FAILURES 10

/* ----------------------------------------------------------------
 * May there be a run?
 * ----------------------------------------------------------------
 */

void
kafka_run_check_call(FunctionCallInfo fcinfo, const char *procedure)
{
	bool atomic = fcinfo->context == NULL ||
				  !IsA(fcinfo->context, CallContext) ||
				  castNode(CallContext, fcinfo->context)->atomic;

	if (atomic)
		ereport(
			ERROR,
			(errcode(ERRCODE_ACTIVE_SQL_TRANSACTION),
			 errmsg("%s cannot run inside a transaction block or a function",
					procedure),
			 errhint(
				 "It commits batch by batch: call it by itself, with autocommit on.")));
	if (IsolationUsesXactSnapshot())
		ereport(
			ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("%s needs the transaction isolation level READ COMMITTED",
					procedure),
			 errhint(
				 "SET default_transaction_isolation = 'read committed'.")));
}

static void
check_server(void)
{
	PreventCommandDuringRecovery("CALL kafka.run_rollups()");
	PreventCommandIfReadOnly("CALL kafka.run_rollups()");
	kafka_rollup_check_enabled();
}

/* ----------------------------------------------------------------
 * Arguments
 * ----------------------------------------------------------------
 */

static int64
get_max_rows(FunctionCallInfo fcinfo)
{
	int64 max_rows;

	kafka_catalog_check_not_null(fcinfo, 1, "max_rows");
	max_rows = PG_GETARG_INT64(1);
	if (max_rows <= 0)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("\"max_rows\" must be greater than zero")));

	/* The bytes of a batch are limited besides. */
	return Min(max_rows, PG_INT32_MAX / 2);
}

TimestampTz
kafka_run_compute_deadline(const Interval *max_time)
{
	TimestampTz now = GetCurrentTimestamp();
	TimestampTz deadline = DatumGetTimestampTz(
		DirectFunctionCall2(timestamptz_pl_interval, TimestampTzGetDatum(now),
							IntervalPGetDatum(max_time)));

	if (deadline < now)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("\"max_time\" must not be negative")));
	return deadline;
}

static bool
get_follow(FunctionCallInfo fcinfo)
{
	kafka_catalog_check_not_null(fcinfo, 3, "follow");
	return PG_GETARG_BOOL(3);
}

/* The rollup that was named, 0 for none. */
static int32
get_rollup_id(FunctionCallInfo fcinfo)
{
	KafkaRollup *rollup;

	if (PG_ARGISNULL(0))
		return 0;
	rollup = kafka_rollup_get(text_to_cstring(PG_GETARG_TEXT_PP(0)), false);
	kafka_rollup_check_owner(rollup);
	return rollup->rollup_id;
}

/* ----------------------------------------------------------------
 * The end
 * ----------------------------------------------------------------
 */

void
kafka_run_raise_failure(const KafkaRunFailure *failure)
{
	ereport(ERROR,
			(errcode(failure->sqlerrcode),
			 errmsg_internal("%s", failure->message),
			 failure->detail ? errdetail_internal("%s", failure->detail) : 0,
			 failure->hint ? errhint("%s", failure->hint) : 0,
			 failure->context ? errcontext("%s", failure->context) : 0));
}

static int
compare_failures(const ListCell *a, const ListCell *b)
{
	const KafkaRunFailure *x = lfirst(a);
	const KafkaRunFailure *y = lfirst(b);

	return (x->rollup_id > y->rollup_id) - (x->rollup_id < y->rollup_id);
}

static void
raise_failures(List *failures)
{
	const KafkaRunFailure *first;
	StringInfoData names;
	ListCell *cell;

	list_sort(failures, compare_failures);
	first = linitial(failures);
	if (list_length(failures) == 1)
		kafka_run_raise_failure(first);
	initStringInfo(&names);
	foreach(cell, failures)
	{
		const KafkaRunFailure *failure = lfirst(cell);
		int index = foreach_current_index(cell);

		if (index == MAX_NAMED_FAILURES)
		{
			appendStringInfo(&names, " and %d more",
							 list_length(failures) - index);
			break;
		}
		appendStringInfo(&names, "%s\"%s\"", index > 0 ? ", " : "",
						 failure->name);
	}
	ereport(ERROR,
			(errcode(ERRCODE_EXTERNAL_ROUTINE_EXCEPTION),
			 errmsg("%d rollups did not run to their end: %s",
					list_length(failures), names.data),
			 errdetail("The first of them: %s.", first->message),
			 errhint(
				 "See the view kafka.rollups. What was committed stands.")));
}

/* ----------------------------------------------------------------
 * The procedure
 * ----------------------------------------------------------------
 */

/*
 * What to run is found out in the first transaction, which began with a
 * snapshot of the call's; committing it leaves us without one.
 */
static void
run_all(KafkaRun *run, int32 rollup_id, TimestampTz deadline)
{
	List *ids = NIL;

	if (rollup_id != 0)
		ids = list_make1_int(rollup_id);
	else if (!run->follows)
		ids = kafka_rollup_list_runnable();
	SPI_commit();
	if (run->follows)
		kafka_follow(run, rollup_id, deadline);
	else
		kafka_run_lanes(run, ids, deadline);
	if (run->failures != NIL)
		raise_failures(run->failures);
}

Datum
kafka_run_rollups(PG_FUNCTION_ARGS)
{
	KafkaRun run = {0};
	TimestampTz deadline;
	MemoryContext caller;

	kafka_run_check_call(fcinfo, "kafka.run_rollups");
	check_server();
	run.max_rows = get_max_rows(fcinfo);
	kafka_catalog_check_not_null(fcinfo, 2, "max_time");
	deadline = kafka_run_compute_deadline(PG_GETARG_INTERVAL_P(2));
	run.follows = get_follow(fcinfo);
	run.named = !PG_ARGISNULL(0);
	run.context = AllocSetContextCreate(PortalContext, "Kafka run",
										ALLOCSET_DEFAULT_SIZES);
	SPI_connect_ext(SPI_OPT_NONATOMIC);
	caller = MemoryContextSwitchTo(run.context);
	run_all(&run, get_rollup_id(fcinfo), deadline);
	MemoryContextSwitchTo(caller);
	SPI_finish();
	MemoryContextDelete(run.context);
	PG_RETURN_VOID();
}
