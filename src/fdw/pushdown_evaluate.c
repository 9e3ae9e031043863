/*-------------------------------------------------------------------------
 *
 * pushdown_evaluate.c
 *		The bounds a condition gives once its values are known.
 *
 * Runs at every rescan, so at every outer row of a nested loop: what is large
 * is freed, and arrays become merged ranges before they become boxes.
 *
 * IDENTIFICATION
 *		src/fdw/pushdown_evaluate.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "fdw/pushdown_node.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/lsyscache.h"

static bool evaluate_condition(List *condition, const Datum *values,
							   const bool *isnull, int max_boxes,
							   KafkaBounds *bounds);

/* Values that are compared with a form: one, or an array's. */
typedef struct Elements
{
	Datum *values; /* palloc'd; that are not NULL */
	int nvalues;
	bool has_null; /* besides */
} Elements;

/* Not for KAFKA_OP_NE, which is not one range. */
static KafkaRange
range_of_value(const KafkaLeaf *leaf, const Datum *values, Datum value)
{
	KafkaRange range = KAFKA_RANGE_ALL;

	Assert(leaf->op != KAFKA_OP_NE);
	if (leaf->form.dimension == KAFKA_DIMENSION_KEY_HASH)
	{
		if (!kafka_key_hash_range(leaf->partitioner, leaf->type, value,
								  &range))
			return KAFKA_RANGE_ALL;
		return range;
	}
	return kafka_form_invert(&leaf->form, values,
							 kafka_value_range(&leaf->form, leaf->op,
											   leaf->type, value));
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

	nranges = kafka_range_merge(ranges, nranges);
	if (dimension == KAFKA_DIMENSION_KEY_HASH &&
		nranges > KAFKA_BOUNDS_MAX_BOXES)
	{
		/* there is a hash of every partition in nearly every gap */
		ranges[0] = KAFKA_RANGE_ALL;
		nranges = 1;
	}
	nranges = close_gaps(ranges, nranges);
	for (i = 0; i < nranges; i++)
		kafka_bounds_add_range(bounds, dimension, ranges[i]);
}

static int64
widen_integer(Oid type, Datum value)
{
	switch (type)
	{
		case INT2OID:
			return DatumGetInt16(value);
		case INT4OID:
			return DatumGetInt32(value);
		default:
			Assert(type == INT8OID);
			return DatumGetInt64(value);
	}
}

/*
 * Adds all partitions but these.  The range of the largest integer holds its
 * neighbour as well, but partitions have neither number.
 */
static void
add_other_partitions(const KafkaLeaf *leaf, const Elements *elements,
					 KafkaBounds *bounds)
{
	KafkaRange *ranges = palloc((elements->nvalues + 1) * sizeof(KafkaRange));
	int nranges;
	int64 start = PG_INT64_MIN;

	for (int i = 0; i < elements->nvalues; i++)
		ranges[i] = kafka_range_from_op(KAFKA_OP_EQ,
										widen_integer(leaf->type,
													  elements->values[i]));
	nranges = kafka_range_merge(ranges, elements->nvalues);

	/* in place: the gap before a range takes its slot */
	for (int i = 0; i < nranges; i++)
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

static Elements
read_elements(const KafkaLeaf *leaf, Datum datum)
{
	Elements result = {0};
	ArrayType *array;
	int16 typlen;
	bool typbyval;
	char typalign;
	bool *nulls;
	int ndatums;

	if (leaf->kind != KAFKA_NODE_ANY && leaf->kind != KAFKA_NODE_ALL)
	{
		result.values = palloc(sizeof(Datum));
		result.values[result.nvalues++] = datum;
		return result;
	}
	array = DatumGetArrayTypeP(datum);
	get_typlenbyvalalign(leaf->type, &typlen, &typbyval, &typalign);
	deconstruct_array(array, leaf->type, typlen, typbyval, typalign,
					  &result.values, &nulls, &ndatums);
	for (int i = 0; i < ndatums; i++)
	{
		if (!nulls[i])
			result.values[result.nvalues++] = result.values[i];
	}
	result.has_null = result.nvalues < ndatums;
	pfree(nulls);
	return result;
}

/* One element that satisfies the operator is enough; NULLs do not. */
static void
evaluate_any(const KafkaLeaf *leaf, const Elements *elements,
			 const Datum *values, KafkaBounds *bounds)
{
	KafkaRange *ranges =
		palloc(Max(elements->nvalues, 1) * sizeof(KafkaRange));

	for (int i = 0; i < elements->nvalues; i++)
		ranges[i] = range_of_value(leaf, values, elements->values[i]);
	add_ranges(bounds, leaf->form.dimension, ranges, elements->nvalues);
	pfree(ranges);
}

/* Every element must satisfy the operator, which a NULL never does. */
static void
evaluate_all(const KafkaLeaf *leaf, const Elements *elements,
			 const Datum *values, KafkaBounds *bounds)
{
	KafkaRange range = KAFKA_RANGE_ALL;

	if (elements->has_null)
		return;
	if (leaf->op == KAFKA_OP_NE)
	{
		add_other_partitions(leaf, elements, bounds);
		return;
	}
	for (int i = 0; i < elements->nvalues; i++)
		range =
			kafka_range_intersect(range, range_of_value(leaf, values,
														elements->values[i]));
	kafka_bounds_add_range(bounds, leaf->form.dimension, range);
}

/* "form <@ range" */
static void
evaluate_contained(const KafkaLeaf *leaf, const Datum *values,
				   KafkaBounds *bounds)
{
	int nranges;
	KafkaRange *ranges = kafka_value_ranges(&leaf->form, leaf->type,
											values[leaf->value], &nranges);

	for (int i = 0; i < nranges; i++)
		ranges[i] = kafka_form_invert(&leaf->form, values, ranges[i]);
	add_ranges(bounds, leaf->form.dimension, ranges, nranges);
	pfree(ranges);
}

/*
 * Where IS NOT DISTINCT FROM is compared with NULL: of a time nothing is
 * known, since columns of it can be NULL.  Partitions and offsets are not, or
 * no such leaf was built.
 */
static void
evaluate_distinct_null(const KafkaLeaf *leaf, KafkaBounds *bounds)
{
	if (leaf->op == KAFKA_OP_NE ||
		(leaf->form.dimension != KAFKA_DIMENSION_PARTITION &&
		 leaf->form.dimension != KAFKA_DIMENSION_OFFSET))
		kafka_bounds_everything(bounds);
}

/* Is a step's argument NULL, and so the form in every row? */
static bool
is_form_null(const KafkaForm *form, const bool *isnull)
{
	for (int i = 0; i < form->nsteps; i++)
	{
		for (int j = 0; j < 2; j++)
		{
			/* a second number without a first is no value's */
			if (form->steps[i].args[0] >= 0 && form->steps[i].args[j] >= 0 &&
				isnull[form->steps[i].args[j]])
				return true;
		}
	}
	return false;
}

static void
evaluate_leaf(const KafkaLeaf *leaf, const Datum *values, const bool *isnull,
			  KafkaBounds *bounds)
{
	bool is_null = is_form_null(&leaf->form, isnull);
	Elements elements;

	kafka_bounds_nothing(bounds);
	if (isnull[leaf->value])
	{
		if (leaf->kind == KAFKA_NODE_DISTINCT)
			evaluate_distinct_null(leaf, bounds);
		return;
	}
	if (leaf->kind == KAFKA_NODE_CONTAINED)
	{
		if (!is_null)
			evaluate_contained(leaf, values, bounds);
		return;
	}
	elements = read_elements(leaf, values[leaf->value]);

	/* without elements ALL is true of NULL as well */
	if (leaf->kind == KAFKA_NODE_ALL && elements.nvalues == 0 &&
		!elements.has_null)
		kafka_bounds_everything(bounds);
	else if (is_null)
		Assert(leaf->op != KAFKA_OP_NE); /* nothing */
	else if (leaf->kind == KAFKA_NODE_ANY)
		evaluate_any(leaf, &elements, values, bounds);
	else
		evaluate_all(leaf, &elements, values, bounds);
	pfree(elements.values);
}

static bool
evaluate_junction(List *condition, const Datum *values, const bool *isnull,
				  int max_boxes, KafkaBounds *bounds)
{
	/* not on the stack: some kB for each level of nesting */
	KafkaBounds *child = palloc(sizeof(KafkaBounds));
	bool conjunction = kafka_node_kind(condition) == KAFKA_NODE_AND;
	bool is_done = true;
	ListCell *lc;

	if (conjunction)
		kafka_bounds_everything(bounds);
	else
		kafka_bounds_nothing(bounds);
	for_each_from(lc, condition, 1)
	{
		/* two times 128 boxes take near a second */
		CHECK_FOR_INTERRUPTS();
		is_done =
			evaluate_condition(lfirst(lc), values, isnull, max_boxes, child) &&
			(!conjunction || bounds->nboxes * child->nboxes <= max_boxes);
		if (!is_done)
			break;
		if (conjunction)
			kafka_bounds_and(bounds, child);
		else
			kafka_bounds_or(bounds, child);
	}
	pfree(child);
	return is_done;
}

/* False when it would take products of more than max_boxes boxes. */
static bool
evaluate_condition(List *condition, const Datum *values, const bool *isnull,
				   int max_boxes, KafkaBounds *bounds)
{
	KafkaLeaf leaf;

	check_stack_depth();

	switch (kafka_node_kind(condition))
	{
		case KAFKA_NODE_NOTHING:
			kafka_bounds_nothing(bounds);
			return true;
		case KAFKA_NODE_AND:
		case KAFKA_NODE_OR:
			return evaluate_junction(condition, values, isnull, max_boxes,
									 bounds);
		default:
			leaf = kafka_node_leaf(condition);
			evaluate_leaf(&leaf, values, isnull, bounds);
			return true;
	}
}

bool
kafka_pushdown_evaluate_within(List *condition, const Datum *values,
							   const bool *isnull, int max_boxes,
							   KafkaBounds *bounds)
{
	if (condition != NIL)
		return evaluate_condition(condition, values, isnull, max_boxes,
								  bounds);
	kafka_bounds_everything(bounds);
	return true;
}

void
kafka_pushdown_evaluate(List *condition, const Datum *values,
						const bool *isnull, KafkaBounds *bounds)
{
	(void) kafka_pushdown_evaluate_within(condition, values, isnull,
										  PG_INT32_MAX, bounds);
}
