/*-------------------------------------------------------------------------
 *
 * isolate.c
 *		Finds the messages for which a query raises errors.
 *
 * States merge, so a batch may be worked on in parts.  After an error the
 * message that the scan returned last is suspected: a plan that hands on each
 * row before it reads the next was at no other.  It is tried alone; what came
 * before it and what comes after it are worked on apart.  Three bad messages
 * among many thousand so cost less than the work once more, and nothing but
 * bad messages costs an attempt each, until there are too many.
 *
 * A plan that reads all messages first (the build side of a hash join, a
 * sort), or an error of what is done with the result (a key too long for the
 * index, a counter that overflows), suspects the wrong one.  That shows when
 * it is tried alone.  From then on parts are halved when they fail and doubled
 * when they succeed.  Between two bad messages with n others the parts that
 * succeed have n messages, and those that fail, each half as long as the one
 * before, less than 4n: so the query is evaluated a small multiple of times,
 * and an attempt is made about 2 log n times for each bad message.
 *
 * The number of attempts is limited all the same.  Each that succeeds leaves
 * another version of the same groups' rows in storage, which nothing can take
 * away before the transaction ends, and all of which the next must pass by.
 *
 * Whose fault is an error?  That is proved, not guessed: a message is put
 * aside only for an error that it raised while no other message was worked
 * on.  With a code of the data (kafka_guard_is_data_error) that is enough.
 * Other codes could be the rollup's, such as a table that a function misses or
 * a right that it lacks; but then it would be raised for all.  So they are the
 * messages' fault if the same work went well for some message of the batch,
 * and if it did for none, the error is raised, for whoever has the rollup to
 * see.  Codes that cannot be the data's, and errors that come before any
 * message was read, are raised at once.
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

/* Attempts after it has shown that the suspected message is not at fault. */
#define MAX_BISECTING_ATTEMPTS 4000

/* The first entry of [start, end) that is not put aside; end for none. */
static int
find_entry(const KafkaBatch *batch, int start, int end)
{
	while (start < end && batch->entries[start].stage != KAFKA_STAGE_NONE)
		start++;
	return start;
}

static bool
has_entries(const KafkaBatch *batch, int start, int end)
{
	return find_entry(batch, start, end) < end;
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

/*
 * Tries a part of the batch; false, and why, when it raised an error that may
 * be a message's.
 */
static bool
try_entries(KafkaIsolation *isolation, int start, int end, char **message)
{
	static const KafkaGuard guard = {.takes_doubtful = true};
	KafkaBatch *batch = isolation->batch;

	CHECK_FOR_INTERRUPTS();
	MemoryContextReset(isolation->context);
	batch->start = start;
	batch->end = end;
	batch->current = -1;
	isolation->nbisecting += isolation->bisects;
	if (!kafka_guard_run(&guard, do_work, isolation, message))
		return false;

	/* What the scan could not decode went nowhere. */
	if (!isolation->passed)
		isolation->passed = has_entries(batch, start, end);
	return true;
}

/* Is it decided that there are too many? */
static bool
is_tripped(KafkaIsolation *isolation)
{
	if (isolation->nbisecting > MAX_BISECTING_ATTEMPTS &&
		isolation->aside_allowed < PG_INT32_MAX)
		isolation->exhausted = true;
	if (isolation->exhausted ||
		isolation->batch->naside > isolation->aside_allowed)
		isolation->tripped = true;
	return isolation->tripped;
}

/* Takes over the message's text. */
static void
put_aside(KafkaIsolation *isolation, int index, char *message)
{
	int sqlerrcode = isolation->sqlerrcode;

	kafka_batch_put_aside(isolation->batch, index, KAFKA_STAGE_QUERY,
						  sqlerrcode, message);
	if (isolation->doubtful_sqlerrcode == 0 && !isolation->passed &&
		!kafka_guard_is_data_error(sqlerrcode))
	{
		isolation->doubtful_sqlerrcode = sqlerrcode;
		isolation->doubtful_message = message;
	}
	else
		pfree(message);
}

static void run_part(KafkaIsolation *isolation, int start, int end);

/*
 * Deals with an error that entries [start, end) have raised.  Returns where to
 * go on, and in *size with how many.
 */
static int
divide(KafkaIsolation *isolation, int start, int end, int *size, char *message)
{
	KafkaBatch *batch = isolation->batch;
	int suspect = batch->current;

	if (suspect < start || suspect >= end)
		ereport(ERROR, (errcode(isolation->sqlerrcode),
						errmsg_internal("%s", message),
						errdetail("No message had been read.")));
	if (isolation->keeps || !has_entries(batch, start, suspect))
	{
		isolation->passed |= has_entries(batch, start, suspect);
		put_aside(isolation, suspect, message);
		return suspect + 1;
	}
	pfree(message);
	if (isolation->bisects)
	{
		*size = (end - start) / 2;
		return start;
	}
	if (!try_entries(isolation, suspect, suspect + 1, &message))
	{
		put_aside(isolation, suspect, message);
		*size = suspect - start;
		return start;
	}
	isolation->bisects = true;
	run_part(isolation, start, suspect);
	return suspect + 1;
}

/* Calls itself no deeper than once, since it does so only to bisect. */
static void
run_part(KafkaIsolation *isolation, int start, int end)
{
	int size = isolation->bisects ? (end - start + 1) / 2 : end - start;
	char *message;

	while (!is_tripped(isolation))
	{
		int stop;

		start = find_entry(isolation->batch, start, end);
		if (start == end)
			break;
		stop = start + Min(size, end - start);
		if (!try_entries(isolation, start, stop, &message))
		{
			start = divide(isolation, start, stop, &size, message);
			continue;
		}
		start = stop;
		size =
			isolation->bisects ? Min(size, PG_INT32_MAX / 2) * 2 : end - start;
	}
}

void
kafka_isolate_run(KafkaIsolation *isolation, int start, int end)
{
	run_part(isolation, start, end);
	if (isolation->doubtful_sqlerrcode != 0 && !isolation->passed)
		ereport(ERROR,
				(errcode(isolation->doubtful_sqlerrcode),
				 errmsg_internal("%s", isolation->doubtful_message),
				 errdetail("No message of the batch could be counted.")));
}
