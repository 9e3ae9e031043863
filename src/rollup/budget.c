/*-------------------------------------------------------------------------
 *
 * budget.c
 *		Work that is cancelled when it takes longer than others can wait.
 *
 * A timeout of our own asks for a cancel, as the server's statement_timeout
 * does, so that it acts wherever one would: between rows, and in waits for
 * locks.  What it raises is the error of a cancel, and whoever catches it must
 * tell it from one that a user or statement_timeout has asked for: those end
 * the whole run.
 *
 * The flag of a cancel does not say who has set it.  When it was set before
 * ours was due, it is not ours; statement_timeout, which the server looks at
 * first, is known by its being over.  A user's cancel may come while the code
 * that is cancelled does not look at the flag yet, or is being undone: so
 * meanwhile the signal that brings it is noted.  Code that catches the error is
 * cancelled again when as much time has passed once more.
 *
 * IDENTIFICATION
 *		src/rollup/budget.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "rollup/lane.h"
#include "storage/latch.h"
#include "tcop/tcopprot.h"
#include "utils/timeout.h"
#include "utils/timestamp.h"

static TimeoutId budget_timeout;
static bool is_running = false;
static bool statement_timeout_runs;
static volatile sig_atomic_t is_spent = false;
static volatile sig_atomic_t is_cancelled = false;       /* by a user */
static pqsigfunc handle_cancel = StatementCancelHandler; /* without us */

/* Runs in the handler of a signal. */
static void
note_spent(void)
{
	if (QueryCancelPending)
		return;
	is_spent = true;
	InterruptPending = true;
	QueryCancelPending = true;
	SetLatch(MyLatch);
}

/* A handler of SIGINT, before the one that there is. */
static void
note_cancel(SIGNAL_ARGS)
{
	is_cancelled = true;
	if (handle_cancel != SIG_DFL && handle_cancel != SIG_IGN)
		handle_cancel(postgres_signal_arg);
}

void
kafka_budget_begin(int64 budget_ms)
{
	static bool registered = false;

	is_spent = false;
	if (budget_ms <= 0)
		return;
	if (!registered)
	{
		budget_timeout = RegisterTimeout(USER_TIMEOUT, note_spent);
		registered = true;
	}
	statement_timeout_runs = get_timeout_active(STATEMENT_TIMEOUT);
	is_cancelled = false;
	if (!is_running) /* else an error kept us from the end */
		handle_cancel = pqsignal(SIGINT, note_cancel);
	is_running = true;
	budget_ms = Min(budget_ms, PG_INT32_MAX / 2);
	enable_timeout_every(budget_timeout,
						 TimestampTzPlusMilliseconds(GetCurrentTimestamp(),
													 budget_ms),
						 (int) budget_ms);
}

bool
kafka_budget_end(void)
{
	if (is_running)
	{
		disable_timeout(budget_timeout, false);
		pqsignal(SIGINT, handle_cancel);
	}
	is_running = false;
	if (!is_spent)
		return false;
	is_spent = false;
	if (is_cancelled)
		return false;
	if (statement_timeout_runs && !get_timeout_active(STATEMENT_TIMEOUT))
		return false;

	/* The work came to its end just before it was cancelled. */
	QueryCancelPending = false;
	return true;
}
