/*-------------------------------------------------------------------------
 *
 * guard.h
 *		Runs code that may raise errors which are the data's fault.
 *
 * IDENTIFICATION
 *		src/fdw/guard.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef KAFKA_GUARD_H
#define KAFKA_GUARD_H

/* What the guarded code says of itself, before each step that may fail. */
typedef struct KafkaGuard
{
	bool is_pure;        /* runs only the server's own code, which has
					   * nothing open when it raises an error */
	bool takes_depth;    /* too deep nesting is the data's fault too */
	bool takes_doubtful; /* whoever runs it finds out himself whose fault an
						  * error is that may be the data's */
} KafkaGuard;

/*
 * Is an error with this code the data's fault, whoever raised it?  The same
 * errors make a message bad when it is decoded and when a rollup's query is
 * at it.  Other codes are in doubt, but for those that tell of the server's
 * state, of the user or of other servers.
 */
extern bool kafka_guard_is_data_error(int sqlerrcode);

/*
 * Runs work(arg) in a subtransaction, which is kept when it returns true and
 * rolled back when it returns false.  When it raises an error, that is rolled
 * back, too, and returned, palloc'd in the context that was current; else NULL.
 * The context is the current one for work and after it.
 */
extern ErrorData *kafka_guard_try(bool (*work)(void *arg), void *arg);

/*
 * Runs work(arg).  True when it comes to its end.  false when it raised an
 * error that is the data's fault, whose text is then in *message, palloc'd in
 * the current context; all that work did in the database has been rolled
 * back, what it wrote to memory has not.  Any other error is raised again.
 *
 * Costs a subtransaction.  In a parallel operation there are none, and only
 * what is pure can be guarded: an error of anything else becomes an error
 * that says so.
 */
extern bool kafka_guard_run(const KafkaGuard *guard, void (*work)(void *arg),
							void *arg, char **message);

/*
 * Runs work(arg).  True when it comes to its end, false when it raised an
 * error that may tell of the data; the caller must then raise one of its own,
 * since nothing has been rolled back.  Errors that the server's state or the
 * user is the cause of, such as a cancel or lack of memory, are raised again.
 *
 * Costs no subtransaction, and next to nothing while nothing is raised.
 */
extern bool kafka_guard_catch(void (*work)(void *arg), void *arg);

#endif /* KAFKA_GUARD_H */
