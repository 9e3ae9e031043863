/*-------------------------------------------------------------------------
 *
 * rebuild.c
 *		The procedure kafka.rebuild_rollup: a new generation of a rollup, made
 *		beside it and put in its place.
 *
 *	prepare  makes the shadow, or finds the one that an earlier call has left
 *	fill     runs it until it has come as far as the rollup
 *	keep     with the rollup held: the last bit, and the rows of buckets that
 *	         the topic does not hold whole
 *	wait     for transactions whose snapshots are older than that
 *	swap     with the rollup held: the last bit again, the same wait for those
 *	         who may have seen more than that in the old storage, and the swap
 *
 * The rollup is run by others all the time, but for the moments in which it is
 * held.  Each phase commits, and what it has done is found by the next call, by
 * whatever this one ended.
 *
 * A transaction that has its snapshot from before, and looks at the view only
 * after the swap, reads the new storage as its snapshot shows it, since a
 * view's query is what it is now.  So it must find the new numbers as complete
 * as the old ones were, which is what is waited for, as CREATE INDEX
 * CONCURRENTLY does.
 *
 * IDENTIFICATION
 *		src/rollup/rebuild.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/transam.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "compat.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "rollup/rebuild.h"
#include "storage/latch.h"
#include "storage/proc.h"
#include "storage/procarray.h"
#include "storage/sinvaladt.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/memutils.h"
#include "utils/portal.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

KAFKA_SQL_FUNCTION(kafka_rebuild_rollup);

/* As run_rollups has it by default; and so long it runs before it looks up. */
#define RUN_MAX_ROWS 100000
#define RUN_SLICE_US (10 * USECS_PER_SEC)

/* How often is looked whether old snapshots are gone, and when it is told. */
#define SNAPSHOT_POLL_MS 100
#define SNAPSHOT_NOTICE_US (5 * USECS_PER_SEC)

/* After somebody else was at the shadow. */
#define BUSY_PAUSE_MS 100

/* After readers have not let us swap. */
#define SWAP_PAUSE_MS 1000

/* How long the rollup is held at first for old snapshots, then twice that. */
#define FIRST_HOLD_US USECS_PER_SEC

typedef struct Rebuild
{
	/* Unchanging */
	MemoryContext context; /* lives as long as the call */
	int32 rollup_id;
	char *name;
	char *query;          /* NULL for that which it has */
	TimestampTz since;    /* DT_NOBEGIN for the beginning */
	TimestampTz deadline; /* DT_NOEND for none */

	/* Since prepare */
	int32 shadow_id;

	/* Mutable */
	MemoryContext rows_context; /* holds the rows below, reset to read them */
	KafkaRollup *rollup;
	KafkaRollup *shadow;
	bool holds;        /* the rollup's lock */
	bool holds_shadow; /* the shadow's */

	/* The shadow's, which all snapshots see that are left; NULL for none */
	KafkaPositions *seen;
} Rebuild;

/* ----------------------------------------------------------------
 * May it be called?
 * ----------------------------------------------------------------
 */

static TimestampTz
get_since(FunctionCallInfo fcinfo)
{
	TimestampTz since;

	if (PG_ARGISNULL(2))
		return DT_NOBEGIN;
	since = PG_GETARG_TIMESTAMPTZ(2);
	if (since == DT_NOEND)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("\"since\" must not be infinity")));
	return since;
}

/* ----------------------------------------------------------------
 * What each phase needs
 * ----------------------------------------------------------------
 */

static bool
is_time_up(const Rebuild *rebuild)
{
	return GetCurrentTimestamp() >= rebuild->deadline;
}

static void
pause_for(long ms)
{
	(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
					 ms, PG_WAIT_EXTENSION);
	ResetLatch(MyLatch);
	CHECK_FOR_INTERRUPTS();
}

static void
hold(Rebuild *rebuild)
{
	/* By id, which is the order in which everybody takes several locks. */
	kafka_rollup_hold(rebuild->rollup_id);
	rebuild->holds = true;
	kafka_rollup_hold(rebuild->shadow_id);
	rebuild->holds_shadow = true;
}

static void
release(Rebuild *rebuild)
{
	if (rebuild->holds_shadow)
		kafka_rollup_release(rebuild->shadow_id);
	if (rebuild->holds)
		kafka_rollup_release(rebuild->rollup_id);
	rebuild->holds = rebuild->holds_shadow = false;
}

/* Reads both rows; somebody may have dropped the one or the other. */
static void
read_rollups(Rebuild *rebuild)
{
	MemoryContext caller;

	MemoryContextReset(rebuild->rows_context);
	caller = MemoryContextSwitchTo(rebuild->rows_context);
	rebuild->rollup = kafka_rollup_get_by_id(rebuild->rollup_id);
	rebuild->shadow = kafka_rollup_get_by_id(rebuild->shadow_id);
	MemoryContextSwitchTo(caller);
	if (rebuild->rollup == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("rollup \"%s\" was dropped while it was rebuilt",
						rebuild->name)));
	if (rebuild->shadow == NULL)
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT),
						errmsg("what was rebuilt of rollup \"%s\" was dropped",
							   rebuild->name)));
	kafka_rollup_check_owner(rebuild->rollup);
	if (rebuild->rollup->owner != rebuild->shadow->owner)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the owner of rollup \"%s\" has changed while it was "
						"rebuilt",
						rebuild->name),
				 errhint("Call kafka.rebuild_rollup again, to begin anew.")));
}

/* ----------------------------------------------------------------
 * Prepare
 * ----------------------------------------------------------------
 */

static void
prepare(Rebuild *rebuild)
{
	KafkaRollup *rollup;

	(void) kafka_rollup_lock(rebuild->rollup_id, true);
	rollup = kafka_rollup_get_by_id(rebuild->rollup_id);
	if (rollup == NULL)
		(void) kafka_rollup_get(rebuild->name, false); /* the error */
	kafka_rollup_check_owner(rollup);
	PushActiveSnapshot(GetTransactionSnapshot());
	rebuild->shadow_id =
		kafka_shadow_prepare(rollup, rebuild->query, rebuild->since);
	PopActiveSnapshot();
	SPI_commit();
}

/* ----------------------------------------------------------------
 * Fill
 * ----------------------------------------------------------------
 */

static void
raise_failure(const Rebuild *rebuild, const KafkaRunFailure *failure)
{
	KafkaRollup *shadow = kafka_rollup_get_by_id(rebuild->shadow_id);
	KafkaRunFailure told = *failure;

	if (shadow != NULL && strcmp(shadow->state, "HALTED") == 0)
		told.hint = "Call kafka.rebuild_rollup again, to begin anew with what "
					"is left.";
	told.context = psprintf("%s%srebuild of rollup \"%s\"",
							failure->context ? failure->context : "",
							failure->context ? "\n" : "", rebuild->name);
	kafka_run_raise_failure(&told);
}

/* Runs the shadow for a while. */
static void
run_shadow(const Rebuild *rebuild)
{
	KafkaRun run = {0};
	TimestampTz slice_end = GetCurrentTimestamp() + RUN_SLICE_US;

	run.max_rows = RUN_MAX_ROWS;
	run.named = true;
	run.context = AllocSetContextCreate(rebuild->context, "Kafka run",
										ALLOCSET_DEFAULT_SIZES);
	kafka_run_rollup(&run, rebuild->shadow_id,
					 Min(slice_end, rebuild->deadline));
	MemoryContextSwitchTo(rebuild->context);
	if (run.failures != NIL)
		raise_failure(rebuild, linitial(run.failures));
	MemoryContextDelete(run.context);
}

/* Is the shadow as far as the rollup, in every partition? */
static bool
has_reached(KafkaPositions *shadow, const KafkaPositions *rollup)
{
	for (int i = 0; i < rollup->count; i++)
	{
		const KafkaPosition *wanted = &rollup->list[i];
		const KafkaPosition *position =
			kafka_positions_find(shadow, wanted->topic, wanted->partition);

		if (position != NULL && position->next_offset < wanted->next_offset)
			return false;
	}
	return true;
}

/* While both are held nothing but the topic can keep the shadow from it. */
static void
pg_attribute_noreturn() report_short(const Rebuild *rebuild)
{
	ereport(
		ERROR,
		(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
		 errmsg("the topic does not hold what rollup \"%s\" has read of it",
				rebuild->name),
		 errdetail("It was truncated or made anew, or the foreign table "
				   "shows less of it now."),
		 errhint("Mend the rollup first, see kafka.rollups after a run. "
				 "Then SELECT kafka.drop_rollup(%s), and begin anew.",
				 quote_literal_cstr(rebuild->shadow->name))));
}

/* Runs the shadow until it is as far as the rollup; false when time is up. */
static bool
fill(Rebuild *rebuild)
{
	KafkaPositions *before;
	KafkaPositions *after;

	for (;;)
	{
		CHECK_FOR_INTERRUPTS();
		before = kafka_positions_read(rebuild->shadow_id);
		SPI_commit();
		run_shadow(rebuild);
		read_rollups(rebuild);
		after = kafka_positions_read(rebuild->shadow_id);
		if (has_reached(after, kafka_positions_read(rebuild->rollup_id)))
			return true;
		if (is_time_up(rebuild))
			return false;
		if (!kafka_positions_equal(before, after))
			continue;
		if (rebuild->holds)
			report_short(rebuild);
		pause_for(BUSY_PAUSE_MS);
	}
}

/* ----------------------------------------------------------------
 * Keep
 * ----------------------------------------------------------------
 */

/*
 * The rows that are kept have what the rollup has read.  If the shadow has read
 * more, what that has of these buckets would be in neither.
 */
static void
check_not_ahead(const Rebuild *rebuild)
{
	if (kafka_shadow_execute_for_both(
			rebuild->rollup_id, rebuild->shadow_id,
			"SELECT FROM kafka.stored_position AS s"
			" JOIN kafka.stored_position AS o USING (topic, kafka_partition)"
			" WHERE o.rollup_id = $1 AND s.rollup_id = $2"
			" AND s.next_offset > greatest(o.next_offset, s.start_offset)"
			" LIMIT 1") == 0)
		return;
	ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					errmsg("rollup \"%s\" was moved back while it was rebuilt",
						   rebuild->name),
					errhint("SELECT kafka.drop_rollup(%s), and begin anew.",
							quote_literal_cstr(rebuild->shadow->name))));
}

/* False when time is up. */
static bool
keep(Rebuild *rebuild)
{
	read_rollups(rebuild);
	if (rebuild->shadow->keep_before == DT_NOBEGIN || rebuild->shadow->kept)
		return true;
	hold(rebuild);
	if (!fill(rebuild))
		return false;
	check_not_ahead(rebuild);
	PushActiveSnapshot(GetTransactionSnapshot());
	kafka_keep_rows(rebuild->rollup, rebuild->shadow);
	PopActiveSnapshot();
	SPI_commit();
	release(rebuild);
	return true;
}

/* ----------------------------------------------------------------
 * Wait
 * ----------------------------------------------------------------
 */

/* Transactions of this database with snapshots that do not see xid's end. */
static VirtualTransactionId *
list_older_snapshots(TransactionId xid, int *count)
{
	return GetCurrentVirtualXIDs(xid, true, false,
								 PROC_IS_AUTOVACUUM | PROC_IN_VACUUM, count);
}

/* Keeps of the one list what is in the other one too; returns how many. */
static int
keep_common(VirtualTransactionId *list, int count,
			const VirtualTransactionId *other, int nother)
{
	int kept = 0;

	for (int i = 0; i < count; i++)
	{
		for (int j = 0; j < nother; j++)
		{
			if (VirtualTransactionIdEquals(list[i], other[j]))
			{
				list[kept++] = list[i];
				break;
			}
		}
	}
	return kept;
}

static void
tell_waiting(const Rebuild *rebuild, const VirtualTransactionId *list,
			 int count)
{
	StringInfoData pids;

	initStringInfo(&pids);
	for (int i = 0; i < count; i++)
	{
		PGPROC *process = BackendIdGetProc(list[i].backendId);

		if (process != NULL)
			appendStringInfo(&pids, "%s%d", pids.len > 0 ? ", " : "",
							 process->pid);
	}
	ereport(NOTICE,
			(errmsg("the new numbers of rollup \"%s\" are complete, and wait "
					"for transactions that are older",
					rebuild->name),
			 errdetail("Their processes: %s.", pids.data)));
	pfree(pids.data);
}

/*
 * New transactions may have as old an xmin, for a writer that is still at work,
 * and see all nevertheless: only those of the first list count.
 */
static bool
wait_for_snapshots(Rebuild *rebuild, TimestampTz deadline)
{
	TransactionId xid = ReadNextTransactionId();
	TimestampTz told_at = GetCurrentTimestamp() + SNAPSHOT_NOTICE_US;
	KafkaPositions *positions = kafka_positions_read(rebuild->shadow_id);
	VirtualTransactionId *list;
	int count;

	TransactionIdRetreat(xid);
	list = list_older_snapshots(xid, &count);
	for (;;)
	{
		VirtualTransactionId *now;
		int nnow;

		/* Ours must hold up nobody who waits as we do. */
		SPI_commit();
		InvalidateCatalogSnapshot();
		now = list_older_snapshots(xid, &nnow);
		count = keep_common(list, count, now, nnow);
		pfree(now);
		if (count == 0)
		{
			rebuild->seen = positions;
			return true;
		}
		if (GetCurrentTimestamp() >= deadline)
			return false;
		if (GetCurrentTimestamp() >= told_at)
		{
			tell_waiting(rebuild, list, count);
			told_at = DT_NOEND;
		}
		pause_for(SNAPSHOT_POLL_MS);
	}
}

/* ----------------------------------------------------------------
 * Swap
 * ----------------------------------------------------------------
 */

/*
 * Holds the rollup with the shadow as far as it, and with no transaction left
 * that sees less of the shadow than of the rollup; false when time is up.
 *
 * For transactions that last, the rollup is not held more than a moment, and
 * they are waited for while it runs.  As then the shadow must be filled once
 * more, and others may have begun, it is held longer each time: it must come to
 * an end, whatever goes on.
 */
static bool
hold_for_swap(Rebuild *rebuild)
{
	int64 hold_us = FIRST_HOLD_US;

	for (;; hold_us *= 2)
	{
		TimestampTz until;

		hold(rebuild);
		if (!fill(rebuild))
			return false;
		until = Min(GetCurrentTimestamp() + hold_us, rebuild->deadline);
		if (kafka_positions_equal(kafka_positions_read(rebuild->shadow_id),
								  rebuild->seen) ||
			wait_for_snapshots(rebuild, until))
			break;
		release(rebuild);
		if (!wait_for_snapshots(rebuild, rebuild->deadline))
			return false;
	}
	read_rollups(rebuild);
	return true;
}

/* False when time is up. */
static bool
swap(Rebuild *rebuild)
{
	for (;;)
	{
		bool swapped;

		if (!hold_for_swap(rebuild))
			return false;
		PushActiveSnapshot(GetTransactionSnapshot());
		swapped = kafka_swap_run(rebuild->rollup, rebuild->shadow);
		PopActiveSnapshot();
		if (swapped)
			SPI_commit();
		else
			SPI_rollback();
		release(rebuild);
		if (swapped)
			return true;
		if (is_time_up(rebuild))
			return false;
		pause_for(SWAP_PAUSE_MS);
	}
}

/* ----------------------------------------------------------------
 * The procedure
 * ----------------------------------------------------------------
 */

static void
rebuild_all(Rebuild *rebuild)
{
	prepare(rebuild);
	if (fill(rebuild) && keep(rebuild) &&
		wait_for_snapshots(rebuild, rebuild->deadline) && swap(rebuild))
		return;
	ereport(NOTICE,
			(errmsg("rollup \"%s\" is not rebuilt yet", rebuild->name),
			 errhint("Call kafka.rebuild_rollup with the same arguments "
					 "again, to go on.")));
}

static Rebuild *
begin_rebuild(FunctionCallInfo fcinfo)
{
	MemoryContext context =
		AllocSetContextCreate(PortalContext, "Kafka rebuild",
							  ALLOCSET_DEFAULT_SIZES);
	MemoryContext caller = MemoryContextSwitchTo(context);
	Rebuild *rebuild = palloc0(sizeof(Rebuild));
	KafkaRollup *rollup;

	kafka_catalog_check_not_null(fcinfo, 0, "name");
	rebuild->context = context;
	rebuild->rows_context =
		AllocSetContextCreate(context, "Kafka rollups", ALLOCSET_SMALL_SIZES);
	if (!PG_ARGISNULL(1))
		rebuild->query = text_to_cstring(PG_GETARG_TEXT_PP(1));
	rebuild->since = get_since(fcinfo);
	rebuild->deadline =
		PG_ARGISNULL(3) ? DT_NOEND
						: kafka_run_compute_deadline(PG_GETARG_INTERVAL_P(3));
	rollup = kafka_rollup_get(text_to_cstring(PG_GETARG_TEXT_PP(0)), false);
	kafka_rollup_check_owner(rollup);
	rebuild->rollup_id = rollup->rollup_id;
	rebuild->name = rollup->name;
	MemoryContextSwitchTo(caller);
	return rebuild;
}

/* kafka.rebuild_rollup(name text, query text, since timestamptz, max_time) */
Datum
kafka_rebuild_rollup(PG_FUNCTION_ARGS)
{
	Rebuild *rebuild;
	MemoryContext caller;

	kafka_run_check_call(fcinfo, "kafka.rebuild_rollup");
	kafka_rollup_check_writable("CALL kafka.rebuild_rollup()");
	kafka_rollup_check_enabled();
	SPI_connect_ext(SPI_OPT_NONATOMIC);
	rebuild = begin_rebuild(fcinfo);
	caller = MemoryContextSwitchTo(rebuild->context);
	if (!kafka_rollup_begin_rebuild(rebuild->rollup_id))
		ereport(ERROR, (errcode(ERRCODE_OBJECT_IN_USE),
						errmsg("rollup \"%s\" is being rebuilt by somebody "
							   "else",
							   rebuild->name)));
	PG_TRY();
	{
		rebuild_all(rebuild);
	}
	PG_FINALLY();
	{
		release(rebuild);
		kafka_rollup_end_rebuild(rebuild->rollup_id);
	}
	PG_END_TRY();
	MemoryContextSwitchTo(caller);
	SPI_finish();
	MemoryContextDelete(rebuild->context);
	PG_RETURN_VOID();
}
