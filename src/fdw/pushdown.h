/*-------------------------------------------------------------------------
 *
 * pushdown.h
 *		From WHERE clauses to bounds on partition, offset, record time and
 *		key.
 *
 * At plan time clauses become a condition: a tree that names its value
 * expressions by number, so that it can be stored in a plan beside them.  At
 * every (re)scan the values are computed and the condition gives bounds.
 *
 * Every clause is also kept as a filter of the scan; a condition only says
 * what need not be read.  What it does not understand is "everything", in an
 * OR as well, where leaving the arm out would lose its rows.
 *
 * IDENTIFICATION
 *		src/fdw/pushdown.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef KAFKA_PUSHDOWN_H
#define KAFKA_PUSHDOWN_H

#include "commands/explain.h"
#include "core/bounds.h"
#include "nodes/pathnodes.h"

/* A payload column of times that lie near their record's time. */
typedef struct KafkaSkewedColumn
{
	AttrNumber attnum;
	int64 max_skew_ms;
} KafkaSkewedColumn;

/* Which columns of the relation can be bounded; 0 where there is none. */
typedef struct KafkaPushdownColumns
{
	Index relid; /* varno of the foreign table */
	AttrNumber attnum[KAFKA_DIMENSION_COUNT];
	Oid type[KAFKA_DIMENSION_COUNT]; /* base types */

	/* A partition or offset that its type refuses may be NULL instead. */
	bool may_be_null[KAFKA_DIMENSION_COUNT];
	int partitioner; /* KafkaPartitioner; 0 for none */
	int nskewed;
	KafkaSkewedColumn *skewed; /* all timestamptz */
} KafkaPushdownColumns;

/*
 * Builds the condition of "all of these clauses" (bare expressions, implicitly
 * ANDed), and appends the value expressions it refers to to *exprs.  The
 * condition is a List of nodes that copyObject and outfuncs know; NIL means
 * everything.
 *
 * Understood, with the column on either side: = < <= > >= on partition, offset
 * and time, BETWEEN, the same with ANY and ALL of an array (so IN), <> and
 * <> ALL (so NOT IN) on the partition, row comparisons, IS [NOT] DISTINCT
 * FROM, <@ and @> with ranges and multiranges, AND, OR, NOT, IS TRUE and IS
 * FALSE; on the key, where the partitioner is known, = and = ANY.
 *
 * In place of a time there may be a form of it: date_trunc, date_bin, AT TIME
 * ZONE, casts between the types of times, rounding, plus and minus intervals,
 * its distance from a constant time, extract(epoch ...), and any of these of
 * another.  They may have values as arguments.  A column of the record's time
 * is timestamptz or timestamp.
 *
 * Values may be constants, parameters, stable expressions and columns of other
 * relations; not volatile, no subplans, no column of the foreign table itself.
 * Where they depend on the session's TimeZone, as forms do, the zone is that
 * of the (re)scan's beginning.
 */
extern List *kafka_pushdown_build(const KafkaPushdownColumns *columns,
								  List *clauses, List **exprs);

/*
 * The same for a plan, with what EXPLAIN needs: *texts is a List of the
 * columns' forms as the query has them, or NIL.  So that their columns are
 * resolved with the plan, kafka_pushdown_add_texts makes them a part of
 * fdw_exprs, when nothing else is to be appended.  kafka_pushdown_values gives
 * the others, the values that kafka_pushdown_evaluate is to be given.
 */
extern List *kafka_pushdown_build_for_plan(const KafkaPushdownColumns *columns,
										   List *clauses, List **exprs,
										   List **texts);
extern List *kafka_pushdown_add_texts(List *exprs, List *texts);
extern List *kafka_pushdown_values(List *exprs);

/* Could this one clause bound anything?  For the choice of join clauses. */
extern bool kafka_pushdown_understands(const KafkaPushdownColumns *columns,
									   Expr *clause);

/*
 * Could this expression be compared with a value to bound anything?  For what
 * equivalence classes have to offer.
 */
extern bool kafka_pushdown_is_form(const KafkaPushdownColumns *columns,
								   Expr *expr);

/*
 * Is the value with this number the unit of a date_trunc?  The condition is not
 * NIL.  It is searched for it.
 */
extern bool kafka_pushdown_is_unit(List *condition, int value);

/*
 * Does the condition bound this dimension from below or above in every row it
 * lets through?  (For costs, require_bounds and EXPLAIN, before values are
 * known.)
 */
extern bool kafka_pushdown_bounds_start(List *condition,
										KafkaDimension dimension);
extern bool kafka_pushdown_bounds_end(List *condition,
									  KafkaDimension dimension);

/*
 * Computes the bounds, given the value of each expression, in their order.
 * Raises no error for what cannot be computed, which then bounds nothing.
 * Allocates in the current context, which is the caller's to reset: some words
 * a time, the elements of arrays and ranges are freed.  Does not block, but
 * may take near a second where lists of a hundred partitions and offsets are
 * combined.
 */
extern void kafka_pushdown_evaluate(List *condition, const Datum *values,
									const bool *isnull, KafkaBounds *bounds);

/*
 * The same, unless it would combine two lists to more than max_boxes boxes: then
 * false, and *bounds is not set.  1,000 boxes take some milliseconds.
 */
extern bool kafka_pushdown_evaluate_within(List *condition,
										   const Datum *values,
										   const bool *isnull, int max_boxes,
										   KafkaBounds *bounds);

/*
 * Describes, for EXPLAIN, what the condition says of one dimension's start or
 * end, or of the partition: for example "ts >= '2026-01-01 ...'".  names[] are
 * the columns' names by dimension, exprs the plan's fdw_exprs, and deparse
 * turns one of them into text.  Forms are told as they are written in the
 * query.  NULL when it says nothing.  What it says may be an OR, and then
 * needs parentheses before an AND is put beside it.
 */
typedef char *(*KafkaDeparse)(Node *expr, void *arg);
typedef enum KafkaBoundSide
{
	KAFKA_SIDE_START,
	KAFKA_SIDE_END,
	KAFKA_SIDE_BOTH
} KafkaBoundSide;

extern char *kafka_pushdown_describe(List *condition, KafkaDimension dimension,
									 KafkaBoundSide side,
									 const char *const *names, List *exprs,
									 KafkaDeparse deparse, void *arg);

#endif /* KAFKA_PUSHDOWN_H */
