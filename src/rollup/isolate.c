/*-------------------------------------------------------------------------
 *
 * isolate.c
 *		Finds the messages for which a query raises errors.
 *
 * States merge, so a batch may be worked on in parts, in any order.  After an
 * error the message that the scan returned last is suspected: a plan that
 * hands on each row before it reads the next was at no other.  It is tried
 * alone; what came before it and what comes after it are worked on apart.
 * Three bad messages among many thousand so cost less than the work once
 * more, and nothing but bad messages costs an attempt each, until there are
 * too many.
 *
 * A plan that reads all messages first (the build side of a hash join, a
 * sort), or an error of what is done with the result (a counter that
 * overflows), suspects the wrong one.  That shows when it is tried alone, and
 * from then on halves are tried.
 *
 * An error that comes before any message was read is nobody's fault among
 * them, and is raised.
 *
 * IDENTIFICATION
 *		src/rollup/isolate.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fdw/guard.h"
#include "miscadmin.h"
#include "rollup/apply.h"
#include "utils/memutils.h"

/* Is there an entry in [start, end) that is not put aside? */
static bool
has_entries(const KafkaBatch *batch, int start, int end)
{
	for (int i = start; i < end; i++)
	{
		if (batch->entries[i].stage == KAFKA_STAGE_NONE)
			return true;
	}
	return false;
}

static void
do_work(void *arg)
{
	KafkaIsolation *isolation = (KafkaIsolation *) arg;

	MemoryContextSwitchTo(isolation->context);
	PG_TRY();
	{
		isolation->work(isolation->arg);
	}
	PG_CATCH();
	{
		isolation->sqlerrcode = geterrcode();
		PG_RE_THROW();
	}
	PG_END_TRY();
}

/* Tries a part of the batch; false, and why, when it raised a data error. */
static bool
try_entries(KafkaIsolation *isolation, int start, int end, char **message)
{
	static const KafkaGuard guard = {.is_pure = false, .takes_depth = false};
	KafkaBatch *batch = isolation->batch;

	CHECK_FOR_INTERRUPTS();
	MemoryContextReset(isolation->context);
	batch->start = start;
	batch->end = end;
	batch->current = -1;
	return kafka_guard_run(&guard, do_work, isolation, message);
}

/* Is it decided that there are too many? */
static bool
is_tripped(KafkaIsolation *isolation)
{
	if (isolation->batch->naside > isolation->aside_allowed)
		isolation->tripped = true;
	return isolation->tripped;
}

static void
put_aside(KafkaIsolation *isolation, int index, char *message)
{
	kafka_batch_put_aside(isolation->batch, index, KAFKA_STAGE_QUERY,
						  isolation->sqlerrcode, message);
	pfree(message);
}

/*
 * Deals with an error that entries [start, end) have raised: puts one aside,
 * or works on the first part of them.  Returns where to go on.
 */
static int
divide(KafkaIsolation *isolation, int start, int end, char *message)
{
	KafkaBatch *batch = isolation->batch;
	int suspect = batch->current;
	int middle = start + (end - start) / 2;

	if (suspect < start || suspect >= end)
		ereport(ERROR, (errcode(isolation->sqlerrcode),
						errmsg_internal("%s", message),
						errdetail("No message had been read.")));
	if (isolation->keeps || !has_entries(batch, start, suspect))
	{
		put_aside(isolation, suspect, message);
		return suspect + 1;
	}
	pfree(message);
	if (isolation->bisects)
	{
		kafka_isolate_run(isolation, start, middle);
		return middle;
	}
	if (try_entries(isolation, suspect, suspect + 1, &message))
		isolation->bisects = true;
	else
		put_aside(isolation, suspect, message);
	kafka_isolate_run(isolation, start, suspect);
	return suspect + 1;
}

void
kafka_isolate_run(KafkaIsolation *isolation, int start, int end)
{
	char *message;

	check_stack_depth();
	while (!is_tripped(isolation) && has_entries(isolation->batch, start, end))
	{
		if (try_entries(isolation, start, end, &message))
		{
			is_tripped(isolation);
			return;
		}
		start = divide(isolation, start, end, message);
	}
}
