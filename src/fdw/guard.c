/*-------------------------------------------------------------------------
 *
 * guard.c
 *		Runs code that may raise errors which are the data's fault.
 *
 * Input functions of PostgreSQL 15 report bad input by raising errors, and a
 * domain's constraint may run anything.  To go on after an error without a
 * subtransaction is safe only if the code that raised it had nothing open: no
 * buffer, lock, relation or reference that only a rollback would give back.
 * Of one's own functions that can be known, of others it cannot.
 *
 * IDENTIFICATION
 *		src/fdw/guard.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "lib/stringinfo.h"
#include "utils/memutils.h"
#include "utils/resowner.h"

#include "fdw/guard.h"

bool
kafka_guard_is_data_error(int sqlerrcode)
{
	/* How deep is too deep depends on where one is called from as well. */
	if (sqlerrcode == ERRCODE_STATEMENT_TOO_COMPLEX)
		return false;

	switch (ERRCODE_TO_CATEGORY(sqlerrcode))
	{
		case ERRCODE_CARDINALITY_VIOLATION:          /* 21 */
		case ERRCODE_DATA_EXCEPTION:                 /* 22 */
		case ERRCODE_INTEGRITY_CONSTRAINT_VIOLATION: /* 23 */
		case ERRCODE_WITH_CHECK_OPTION_VIOLATION:    /* 44 */
		case ERRCODE_PROGRAM_LIMIT_EXCEEDED:         /* 54 */
		case ERRCODE_PLPGSQL_ERROR:                  /* P0 */
			return true;
		default:
			return false;
	}
}

/*
 * Does an error with this code tell of something else than the data?  Those
 * that do not, or may not, are all others: a type's input function may use
 * whatever code it likes for a value that it quotes.
 */
static bool
is_foreign_to_data(int sqlerrcode)
{
	if (sqlerrcode == ERRCODE_STATEMENT_TOO_COMPLEX ||
		sqlerrcode == ERRCODE_LOCK_NOT_AVAILABLE)
		return true;

	switch (ERRCODE_TO_CATEGORY(sqlerrcode))
	{
		case ERRCODE_TRANSACTION_ROLLBACK:   /* 40 */
		case ERRCODE_INSUFFICIENT_RESOURCES: /* 53 */
		case ERRCODE_OPERATOR_INTERVENTION:  /* 57 */
		case ERRCODE_SYSTEM_ERROR:           /* 58 */
		case ERRCODE_CONFIG_FILE_ERROR:      /* F0 */
		case ERRCODE_INTERNAL_ERROR:         /* XX */
			return true;
		default:
			return false;
	}
}

/*
 * May it be the data's fault, as far as its code tells?  Connections are to
 * somewhere else.
 */
static bool
is_doubtful(int sqlerrcode)
{
	if (sqlerrcode == ERRCODE_STATEMENT_TOO_COMPLEX)
		return true;
	return !is_foreign_to_data(sqlerrcode) &&
		   ERRCODE_TO_CATEGORY(sqlerrcode) != ERRCODE_CONNECTION_EXCEPTION;
}

/* The same, with what the guarded code says of itself. */
static bool
is_data_error(const KafkaGuard *guard, int sqlerrcode)
{
	if (guard->takes_doubtful)
		return is_doubtful(sqlerrcode);
	if (sqlerrcode == ERRCODE_STATEMENT_TOO_COMPLEX)
		return guard->takes_depth;

	/* So do some built-in types call bad input, tsvector for one. */
	if (sqlerrcode == ERRCODE_SYNTAX_ERROR)
		return guard->is_pure;
	return kafka_guard_is_data_error(sqlerrcode);
}

/* The error's text in one line: message, and detail where there is one. */
static char *
describe_error(const ErrorData *error)
{
	StringInfoData text;

	initStringInfo(&text);
	appendStringInfoString(&text, error->message != NULL ? error->message
														 : "unknown error");
	if (error->detail != NULL)
	{
		appendStringInfo(&text, ": %s", error->detail);
		if (text.data[text.len - 1] == '.')
			text.data[--text.len] = '\0';
	}
	return text.data;
}

/* Takes the error that is being handled, and leaves the error state clean. */
static ErrorData *
take_error(MemoryContext context)
{
	ErrorData *error;

	MemoryContextSwitchTo(context);
	error = CopyErrorData();
	FlushErrorState();
	return error;
}

ErrorData *
kafka_guard_try(bool (*work)(void *arg), void *arg)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	ErrorData *volatile error = NULL;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		if (work(arg))
			ReleaseCurrentSubTransaction();
		else
			RollbackAndReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		error = take_error(context);
		RollbackAndReleaseCurrentSubTransaction();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = owner;
	return error;
}

/* Work that is kept whenever it comes to its end. */
typedef struct GuardedWork
{
	void (*work)(void *arg);
	void *arg;
} GuardedWork;

static bool
do_guarded_work(void *arg)
{
	GuardedWork *guarded = (GuardedWork *) arg;

	guarded->work(guarded->arg);
	return true;
}

static bool
run_in_subtransaction(const KafkaGuard *guard, void (*work)(void *arg),
					  void *arg, char **message)
{
	GuardedWork guarded = {work, arg};
	ErrorData *error = kafka_guard_try(do_guarded_work, &guarded);

	if (error == NULL)
		return true;
	if (!is_data_error(guard, error->sqlerrcode))
		ReThrowError(error);
	*message = describe_error(error);
	FreeErrorData(error);
	return false;
}

/*
 * Without a subtransaction: what is pure has nothing to roll back, and for
 * anything else the transaction ends here, so that nothing is left open
 * either way.
 */
static bool
run_bare(const KafkaGuard *guard, void (*work)(void *arg), void *arg,
		 char **message)
{
	MemoryContext context = CurrentMemoryContext;
	ErrorData *volatile error = NULL;

	PG_TRY();
	{
		work(arg);
	}
	PG_CATCH();
	{
		error = take_error(context);
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);

	if (error == NULL)
		return true;
	if (!is_data_error(guard, error->sqlerrcode))
		ReThrowError(error);
	*message = describe_error(error);
	FreeErrorData(error);
	if (!guard->is_pure)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("cannot read past a bad message in a parallel query"),
				 errdetail("The message's fault: %s.", *message),
				 errhint("SET max_parallel_workers_per_gather = 0, or have "
						 "the column be of a built-in type.")));
	return false;
}

bool
kafka_guard_run(const KafkaGuard *guard, void (*work)(void *arg), void *arg,
				char **message)
{
	if (IsInParallelMode())
		return run_bare(guard, work, arg, message);
	return run_in_subtransaction(guard, work, arg, message);
}

bool
kafka_guard_catch(void (*work)(void *arg), void *arg)
{
	MemoryContext context = CurrentMemoryContext;
	volatile bool finished = false;

	PG_TRY();
	{
		work(arg);
		finished = true;
	}
	PG_CATCH();
	{
		if (is_foreign_to_data(geterrcode()))
			PG_RE_THROW();
		MemoryContextSwitchTo(context);
		FlushErrorState();
	}
	PG_END_TRY();
	return finished;
}
