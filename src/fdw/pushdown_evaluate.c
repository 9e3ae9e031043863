/*-------------------------------------------------------------------------
 *
 * pushdown_evaluate.c
 *		The bounds a condition gives once its values are known.
 *
 * Runs at every rescan, so at every outer row of a nested loop: what is
 * allocated is freed, and arrays become merged ranges before they become
 * boxes.
 *
 * IDENTIFICATION
 *		src/fdw/pushdown_evaluate.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "core/moment.h"
#include "fdw/pushdown.h"
#include "fdw/pushdown_node.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"

static void evaluate_condition(List *condition, const Datum *values,
							   const bool *isnull, KafkaBounds *bounds);

static int64
widen_value(Oid type, Datum value)
{
	switch (type)
	{
		case INT2OID:
			return DatumGetInt16(value);
		case INT4OID:
			return DatumGetInt32(value);
		case INT8OID:
			return DatumGetInt64(value);
		default:
			Assert(type == TIMESTAMPTZOID);
			return DatumGetTimestampTz(value);
	}
}

/* Not for KAFKA_OP_NE, which is not one range. */
static KafkaRange
range_of_leaf(const KafkaLeaf *leaf, int64 value)
{
	Assert(leaf->op != KAFKA_OP_NE);
	if (leaf->dimension == KAFKA_DIMENSION_TIME)
		return kafka_moment_range(leaf->op, value);
	return kafka_range_from_op(leaf->op, value);
}

static int
compare_gaps(const void *left, const void *right)
{
	uint64 a = *(const uint64 *) left;
	uint64 b = *(const uint64 *) right;

	return a < b ? -1 : a > b;
}

/*
 * Closes the narrowest gaps between merged ranges until there are no more
 * than bounds can hold; of equal ones the last, because partitions have low
 * numbers.  The bounds would do so themselves, but box by box, which for an
 * array of thousands takes long and finds less good gaps.  Returns how many
 * ranges are left.
 */
static int
close_gaps(KafkaRange *ranges, int nranges)
{
	int nexcess = nranges - KAFKA_BOUNDS_MAX_BOXES;
	uint64 *gaps;
	uint64 widest;   /* of those that are closed */
	int nspared = 0; /* gaps just as wide that are not */
	int nkept = 1;
	int i;

	if (nexcess <= 0)
		return nranges;
	gaps = palloc((nranges - 1) * sizeof(uint64));
	for (i = 1; i < nranges; i++)
		gaps[i - 1] = (uint64) ranges[i].start - (uint64) ranges[i - 1].end;
	qsort(gaps, nranges - 1, sizeof(uint64), compare_gaps);
	widest = gaps[nexcess - 1];
	for (i = nexcess; i < nranges - 1 && gaps[i] == widest; i++)
		nspared++;
	pfree(gaps);

	for (i = 1; i < nranges; i++)
	{
		uint64 gap = (uint64) ranges[i].start - (uint64) ranges[nkept - 1].end;

		if (gap < widest || (gap == widest && nspared-- <= 0))
			ranges[nkept - 1].end = ranges[i].end;
		else
			ranges[nkept++] = ranges[i];
	}
	Assert(nkept == KAFKA_BOUNDS_MAX_BOXES);
	return nkept;
}

/* Adds the union of ranges of one dimension; reorders them. */
static void
add_ranges(KafkaBounds *bounds, KafkaDimension dimension, KafkaRange *ranges,
		   int nranges)
{
	int i;

	nranges = close_gaps(ranges, kafka_range_merge(ranges, nranges));
	for (i = 0; i < nranges; i++)
		kafka_bounds_add_range(bounds, dimension, ranges[i]);
}

/*
 * Adds all partitions but these.  The range of the largest integer holds its
 * neighbour as well, but partitions have neither number.
 */
static void
add_other_partitions(KafkaBounds *bounds, const int64 *partitions,
					 int npartitions)
{
	KafkaRange *ranges = palloc((npartitions + 1) * sizeof(KafkaRange));
	int nranges;
	int64 start = PG_INT64_MIN;
	int i;

	for (i = 0; i < npartitions; i++)
		ranges[i] = kafka_range_from_op(KAFKA_OP_EQ, partitions[i]);
	nranges = kafka_range_merge(ranges, npartitions);

	/* in place: the gap before a range takes its slot */
	for (i = 0; i < nranges; i++)
	{
		KafkaRange excluded = ranges[i];

		ranges[i].start = start;
		/* gaps below the first partition are left out */
		ranges[i].end = excluded.start > 0 ? excluded.start : start;
		start = excluded.end;
	}
	ranges[nranges].start = start;
	ranges[nranges].end = PG_INT64_MAX;
	add_ranges(bounds, KAFKA_DIMENSION_PARTITION, ranges, nranges + 1);
	pfree(ranges);
}

/*
 * The elements of an array that are not NULL, palloc'd, and whether there are
 * others.
 */
static int64 *
read_elements(const KafkaLeaf *leaf, Datum datum, int *nelements,
			  bool *hasnull)
{
	ArrayType *array = DatumGetArrayTypeP(datum);
	int16 typlen;
	bool typbyval;
	char typalign;
	Datum *datums;
	bool *nulls;
	int ndatums;
	int64 *elements;
	int i;

	get_typlenbyvalalign(leaf->type, &typlen, &typbyval, &typalign);
	deconstruct_array(array, leaf->type, typlen, typbyval, typalign, &datums,
					  &nulls, &ndatums);
	elements = palloc(Max(ndatums, 1) * sizeof(int64));
	*nelements = 0;
	for (i = 0; i < ndatums; i++)
	{
		if (!nulls[i])
			elements[(*nelements)++] = widen_value(leaf->type, datums[i]);
	}
	*hasnull = *nelements < ndatums;
	pfree(datums);
	pfree(nulls);
	if ((Pointer) array != DatumGetPointer(datum))
		pfree(array);
	return elements;
}

/* One element that satisfies the operator is enough; NULLs do not. */
static void
evaluate_any(const KafkaLeaf *leaf, const int64 *elements, int nelements,
			 KafkaBounds *bounds)
{
	KafkaRange *ranges = palloc(Max(nelements, 1) * sizeof(KafkaRange));
	int i;

	for (i = 0; i < nelements; i++)
		ranges[i] = range_of_leaf(leaf, elements[i]);
	add_ranges(bounds, leaf->dimension, ranges, nelements);
	pfree(ranges);
}

/* Every element must satisfy the operator, which a NULL never does. */
static void
evaluate_all(const KafkaLeaf *leaf, const int64 *elements, int nelements,
			 bool hasnull, KafkaBounds *bounds)
{
	KafkaRange range = KAFKA_RANGE_ALL;
	int i;

	if (hasnull)
		return;
	if (leaf->op == KAFKA_OP_NE)
	{
		add_other_partitions(bounds, elements, nelements);
		return;
	}
	for (i = 0; i < nelements; i++)
		range = kafka_range_intersect(range, range_of_leaf(leaf, elements[i]));
	kafka_bounds_add_range(bounds, leaf->dimension, range);
}

static void
evaluate_leaf(const KafkaLeaf *leaf, const Datum *values, const bool *isnull,
			  KafkaBounds *bounds)
{
	int64 *elements;
	int nelements = 1;
	bool hasnull = false;

	kafka_bounds_nothing(bounds);
	if (isnull[leaf->value])
		return;
	if (leaf->kind == KAFKA_NODE_COMPARE)
	{
		elements = palloc(sizeof(int64));
		*elements = widen_value(leaf->type, values[leaf->value]);
	}
	else
		elements =
			read_elements(leaf, values[leaf->value], &nelements, &hasnull);
	if (leaf->kind == KAFKA_NODE_ANY)
		evaluate_any(leaf, elements, nelements, bounds);
	else
		evaluate_all(leaf, elements, nelements, hasnull, bounds);
	pfree(elements);
}

static void
evaluate_junction(List *condition, const Datum *values, const bool *isnull,
				  KafkaBounds *bounds)
{
	/* not on the stack: some kB for each level of nesting */
	KafkaBounds *child = palloc(sizeof(KafkaBounds));
	bool conjunction = kafka_node_kind(condition) == KAFKA_NODE_AND;
	ListCell *lc;

	if (conjunction)
		kafka_bounds_everything(bounds);
	else
		kafka_bounds_nothing(bounds);
	for_each_from(lc, condition, 1)
	{
		/* two times 128 boxes take near a second */
		CHECK_FOR_INTERRUPTS();
		evaluate_condition(lfirst(lc), values, isnull, child);
		if (conjunction)
			kafka_bounds_and(bounds, child);
		else
			kafka_bounds_or(bounds, child);
	}
	pfree(child);
}

static void
evaluate_condition(List *condition, const Datum *values, const bool *isnull,
				   KafkaBounds *bounds)
{
	KafkaLeaf leaf;

	check_stack_depth();

	switch (kafka_node_kind(condition))
	{
		case KAFKA_NODE_NOTHING:
			kafka_bounds_nothing(bounds);
			break;
		case KAFKA_NODE_AND:
		case KAFKA_NODE_OR:
			evaluate_junction(condition, values, isnull, bounds);
			break;
		default:
			leaf = kafka_node_leaf(condition);
			evaluate_leaf(&leaf, values, isnull, bounds);
			break;
	}
}

void
kafka_pushdown_evaluate(List *condition, const Datum *values,
						const bool *isnull, KafkaBounds *bounds)
{
	if (condition == NIL)
		kafka_bounds_everything(bounds);
	else
		evaluate_condition(condition, values, isnull, bounds);
}
