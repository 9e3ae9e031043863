/*-------------------------------------------------------------------------
 *
 * tail.h
 *		Scans of what a rollup has not counted yet.
 *
 * A condition kafka.in_tail('<rollup>', tableoid, ...) of a foreign table is no
 * filter but a way to read it: each partition from the rollup's position on,
 * and of the messages there only those that a run would count.  plan.c takes it
 * out of the conditions, scan.c does what it says.
 *
 * What a rollup is only src/rollup/ knows: the functions below KafkaTail are
 * defined there, in tail.c and tail_check.c.
 *
 * IDENTIFICATION
 *		src/fdw/tail.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef KAFKA_TAIL_H
#define KAFKA_TAIL_H

#include "datatype/timestamp.h"
#include "fdw/reader.h"
#include "nodes/pathnodes.h"
#include "utils/snapshot.h"
#include "utils/uuid.h"

/* ----------------------------------------------------------------
 * tail_plan.c: the condition
 * ----------------------------------------------------------------
 */

/* The arguments of kafka.in_tail. */
typedef enum KafkaTailArgument
{
	KAFKA_TAIL_ROLLUP,  /* text, a constant: the rollup's name */
	KAFKA_TAIL_SOURCE,  /* the foreign table's tableoid */
	KAFKA_TAIL_COLUMNS, /* a row of the columns that must be good */
	KAFKA_TAIL_PASSES, /* boolean: "expect"; this and what follows as in the */
	KAFKA_TAIL_TIME,   /* view of checks; timestamptz */
	KAFKA_TAIL_KEY,    /* uuid: the hash of the unique key */
	KAFKA_TAIL_BUCKET  /* timestamptz or timestamp */
} KafkaTailArgument;

/* Those that are computed for each message are the plan's fdw_exprs. */
#define KAFKA_TAIL_FIRST_CHECK KAFKA_TAIL_PASSES
#define KAFKA_TAIL_NCHECKS (KAFKA_TAIL_BUCKET - KAFKA_TAIL_FIRST_CHECK + 1)

/*
 * The condition among a relation's restrictions, NULL for none.  One that is
 * not as it must be is an error.
 */
extern FuncExpr *kafka_tail_find(Index relid, List *restrictions);

/* The constant name in it, palloc'd. */
extern char *kafka_tail_get_rollup(const FuncExpr *condition);

/* ----------------------------------------------------------------
 * Planning; src/rollup/
 * ----------------------------------------------------------------
 */

/*
 * How many messages at least a rollup's tail has, as far as its rows tell: those
 * that its last run saw and left, as many as "max_tail" allows.  -1 where there
 * is no such rollup, or role userid may not read its tail.  Asks no broker.
 */
extern double kafka_tail_guess_messages(const char *rollup, Oid userid);

/* ----------------------------------------------------------------
 * Reading; src/rollup/
 * ----------------------------------------------------------------
 */

/* The tail of a rollup, as a query sees it. */
typedef struct KafkaTail KafkaTail;

/*
 * Opens the tail of a rollup as role userid, who must be a member of its owner,
 * for a reader of its source, relid, whose snapshot of ends is taken.  The
 * rollup, its positions and keys are those that snapshot shows, so that they
 * belong to what the same query reads of storage.  Lives in the current
 * context.  Whatever would keep a run from going on is an error.
 */
extern KafkaTail *kafka_tail_open(const char *rollup, Oid relid, Oid userid,
								  Snapshot snapshot, KafkaReader *reader);

/* Starts reading, or starts again; more than "max_tail" is an error. */
extern void kafka_tail_start(KafkaTail *tail);

/*
 * Is the message one to be counted?  One before the position, read to see
 * whether the topic is still the same, is not.
 */
extern bool kafka_tail_is_new(KafkaTail *tail, const KafkaMessage *message);

/* Which of the checks have to be computed for this rollup? */
extern bool kafka_tail_needs(const KafkaTail *tail, KafkaTailArgument check);

/* The checks of a message; those that are not needed are NULL. */
typedef struct KafkaTailRow
{
	Datum values[KAFKA_TAIL_NCHECKS];
	bool isnull[KAFKA_TAIL_NCHECKS];
} KafkaTailRow;

/*
 * Would a run count the message, which comes after those that were asked about
 * since the last start?
 */
extern bool kafka_tail_counts(KafkaTail *tail, const KafkaMessage *message,
							  const KafkaTailRow *row);

/* To be called at the end: what was lost meanwhile is told, or an error. */
extern void kafka_tail_end(KafkaTail *tail);

#endif /* KAFKA_TAIL_H */
