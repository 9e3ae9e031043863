/*-------------------------------------------------------------------------
 *
 * bounds.c
 *		What part of a topic can satisfy a condition: unions of boxes over
 *		(partition, offset, record time, hash of the key).
 *
 * All operations go through insert_box, which keeps three properties: no box
 * is empty, none lies inside another, and no two can be joined exactly (equal
 * in all dimensions but one, touching or overlapping in that).  The boxes stand
 * in lexicographic order, so that boxes worth joining are near each other;
 * only the choice of what to widen relies on that, never correctness.
 *
 * Widening replaces two boxes by their hull, the pair whose hull adds least:
 * with the volume as the measure that prefers, without
 * rules for it, boxes of one partition range, neighbours, and small ones.
 * Hashes are the exception: those that follow each other lead to partitions
 * that follow each other, so a few hundred lead to all, and that is all that
 * two of them have in common.
 *
 * A half-open range cannot name INT64_MAX itself.  An end of INT64_MAX counts
 * as unbounded, so every range which ends there contains INT64_MAX as well,
 * and the conditions that only INT64_MAX satisfies get one integer more than
 * they need.
 *
 * IDENTIFICATION
 *		src/core/bounds.c
 *
 *-------------------------------------------------------------------------
 */
#include "bounds.h"

#include <stdlib.h>
#include <string.h>

/*
 * How far along the sorted boxes a partner is looked for when boxes have to
 * be joined.  More than the next one, because boxes of two partitions with
 * several offset ranges each alternate; few, because an IN list of thousands
 * pays this for each of its elements.
 */
#define PARTNER_DISTANCE 4

/*
 * How much more than one hash any number of them is.  It stands for the number
 * of partitions, which is known only where bounds are used.
 */
#define HASH_SPREAD 64

static int64_t
min_int64(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

static int64_t
max_int64(int64_t a, int64_t b)
{
	return a > b ? a : b;
}

static bool
contains_range(KafkaRange outer, KafkaRange inner)
{
	return outer.start <= inner.start && inner.end <= outer.end;
}

static bool
equal_ranges(KafkaRange a, KafkaRange b)
{
	return a.start == b.start && a.end == b.end;
}

/* Do the two have no integer between them?  Neither may be empty. */
static bool
touching_ranges(KafkaRange a, KafkaRange b)
{
	return a.start <= b.end && b.start <= a.end;
}

static KafkaRange
join_ranges(KafkaRange a, KafkaRange b)
{
	KafkaRange hull;

	hull.start = min_int64(a.start, b.start);
	hull.end = max_int64(a.end, b.end);
	return hull;
}

KafkaRange
kafka_range_intersect(KafkaRange a, KafkaRange b)
{
	KafkaRange both;

	both.start = max_int64(a.start, b.start);
	both.end = min_int64(a.end, b.end);
	return both;
}

bool
kafka_range_is_empty(KafkaRange range)
{
	return range.start >= range.end;
}

KafkaRange
kafka_range_from_op(KafkaOp op, int64_t value)
{
	KafkaRange range = KAFKA_RANGE_ALL;

	switch (op)
	{
		case KAFKA_OP_LT:
			range.end = value;
			break;
		case KAFKA_OP_LE:
			if (value < INT64_MAX)
				range.end = value + 1;
			break;
		case KAFKA_OP_EQ:
			/* one below, so that the range of INT64_MAX is not empty */
			range.start = min_int64(value, INT64_MAX - 1);
			range.end = range.start + 1;
			break;
		case KAFKA_OP_GE:
			range.start = min_int64(value, INT64_MAX - 1);
			break;
		case KAFKA_OP_GT:
			if (value == INT64_MAX)
				return KAFKA_RANGE_NONE;
			range.start = min_int64(value + 1, INT64_MAX - 1);
			break;
		case KAFKA_OP_NE:
			break;
	}
	if (kafka_range_is_empty(range))
		return KAFKA_RANGE_NONE;
	return range;
}

static int
compare_ranges(const void *left, const void *right)
{
	const KafkaRange *a = left;
	const KafkaRange *b = right;

	if (a->start != b->start)
		return a->start < b->start ? -1 : 1;
	if (a->end != b->end)
		return a->end < b->end ? -1 : 1;
	return 0;
}

int
kafka_range_merge(KafkaRange *ranges, int nranges)
{
	int nmerged = 0;
	int i;

	if (nranges > 1)
		qsort(ranges, nranges, sizeof(KafkaRange), compare_ranges);
	for (i = 0; i < nranges; i++)
	{
		if (kafka_range_is_empty(ranges[i]))
			continue;
		if (nmerged > 0 && touching_ranges(ranges[nmerged - 1], ranges[i]))
			ranges[nmerged - 1] = join_ranges(ranges[nmerged - 1], ranges[i]);
		else
			ranges[nmerged++] = ranges[i];
	}
	return nmerged;
}

static bool
is_empty_box(const KafkaBox *box)
{
	int d;

	for (d = 0; d < KAFKA_DIMENSION_COUNT; d++)
	{
		if (kafka_range_is_empty(box->range[d]))
			return true;
	}
	return false;
}

static bool
contains_box(const KafkaBox *outer, const KafkaBox *inner)
{
	int d;

	for (d = 0; d < KAFKA_DIMENSION_COUNT; d++)
	{
		if (!contains_range(outer->range[d], inner->range[d]))
			return false;
	}
	return true;
}

/*
 * By hash first: what two keys have in common is the most expensive to join,
 * so the boxes of each stand together.
 */
static int
compare_boxes(const KafkaBox *a, const KafkaBox *b)
{
	int order = compare_ranges(&a->range[KAFKA_DIMENSION_KEY_HASH],
							   &b->range[KAFKA_DIMENSION_KEY_HASH]);
	int d;

	for (d = 0; order == 0 && d < KAFKA_DIMENSION_COUNT; d++)
		order = compare_ranges(&a->range[d], &b->range[d]);
	return order;
}

static KafkaBox
join_boxes(const KafkaBox *a, const KafkaBox *b)
{
	KafkaBox hull;
	int d;

	for (d = 0; d < KAFKA_DIMENSION_COUNT; d++)
		hull.range[d] = join_ranges(a->range[d], b->range[d]);
	return hull;
}

/* As join_boxes, and so that others with a hash between them fit in as well. */
static KafkaBox
widen_boxes(const KafkaBox *a, const KafkaBox *b)
{
	KafkaBox hull = join_boxes(a, b);

	if (!touching_ranges(a->range[KAFKA_DIMENSION_KEY_HASH],
						 b->range[KAFKA_DIMENSION_KEY_HASH]))
		hull.range[KAFKA_DIMENSION_KEY_HASH] = KAFKA_RANGE_ALL;
	return hull;
}

/* Is the hull of the two exactly their union?  Neither contains the other. */
static bool
can_join_exactly(const KafkaBox *a, const KafkaBox *b)
{
	int ndifferent = 0;
	int d;

	for (d = 0; d < KAFKA_DIMENSION_COUNT; d++)
	{
		if (equal_ranges(a->range[d], b->range[d]))
			continue;
		if (++ndifferent > 1 || !touching_ranges(a->range[d], b->range[d]))
			return false;
	}
	return true;
}

/*
 * The length of a range as far as records can lie in it: nothing in Kafka is
 * below -1, and without that cut "x >= 5" and "x >= 500" would differ from
 * an unbounded range by nearly the same, enormous amount.
 */
static uint64_t
measure_range(KafkaDimension dimension, KafkaRange range)
{
	int64_t start = max_int64(range.start, -1);
	uint64_t length;

	if (start >= range.end)
		return 0;
	length = (uint64_t) range.end - (uint64_t) start;
	if (dimension == KAFKA_DIMENSION_KEY_HASH && length > HASH_SPREAD)
		length = HASH_SPREAD;
	return length;
}

/*
 * How much of the hull of two boxes is in neither.  Each dimension falls into
 * stretches that belong to one box, to both, or to none, and what is wasted
 * over each is a question of the dimensions after it; so the sums are built
 * from the last dimension backwards.  Nowhere are two volumes subtracted:
 * they are near 2^196 when ranges are unbounded, and a difference of a few
 * thousand offsets would be lost in them.
 */
static double
measure_waste(const KafkaBox *hull, const KafkaBox *a, const KafkaBox *b)
{
	double hull_volume = 1;
	double excess_a = 0; /* of the hull over a */
	double excess_b = 0;
	double waste = 0;
	int d;

	for (d = KAFKA_DIMENSION_COUNT - 1; d >= 0; d--)
	{
		uint64_t length = measure_range(d, hull->range[d]);
		uint64_t length_a;
		uint64_t length_b;
		uint64_t shared;
		uint64_t covered;
		uint64_t gap;

		/* the same as below, and most dimensions of most boxes */
		if (equal_ranges(a->range[d], b->range[d]))
		{
			waste *= (double) length;
			excess_a *= (double) length;
			excess_b *= (double) length;
			hull_volume *= (double) length;
			continue;
		}
		length_a = measure_range(d, a->range[d]);
		length_b = measure_range(d, b->range[d]);
		shared =
			measure_range(d, kafka_range_intersect(a->range[d], b->range[d]));
		covered = length_a + length_b - shared;
		gap = length > covered ? length - covered : 0;
		waste = (double) gap * hull_volume +
				(double) (length_a - shared) * excess_a +
				(double) (length_b - shared) * excess_b +
				(double) shared * waste;
		excess_a = (double) (length - length_a) * hull_volume +
				   (double) length_a * excess_a;
		excess_b = (double) (length - length_b) * hull_volume +
				   (double) length_b * excess_b;
		hull_volume *= (double) length;
	}
	return waste;
}

static void
delete_box(KafkaBox *boxes, int *nboxes, int i)
{
	(*nboxes)--;
	memmove(&boxes[i], &boxes[i + 1], (*nboxes - i) * sizeof(KafkaBox));
}

/* Inserts in order; boxes must have room. */
static void
place_box(KafkaBox *boxes, int *nboxes, const KafkaBox *box)
{
	int i = *nboxes;

	while (i > 0 && compare_boxes(box, &boxes[i - 1]) < 0)
		i--;
	memmove(&boxes[i + 1], &boxes[i], (*nboxes - i) * sizeof(KafkaBox));
	boxes[i] = *box;
	(*nboxes)++;
}

/* Takes out the two boxes whose hull wastes least and returns that hull. */
static KafkaBox
join_cheapest_pair(KafkaBox *boxes, int *nboxes)
{
	KafkaBox best_hull = widen_boxes(&boxes[0], &boxes[1]);
	double best_waste = -1;
	int best_i = 0;
	int best_j = 1;
	int i;
	int j;

	for (i = 0; i < *nboxes; i++)
	{
		for (j = i + 1; j < *nboxes && j <= i + PARTNER_DISTANCE; j++)
		{
			KafkaBox hull = widen_boxes(&boxes[i], &boxes[j]);
			double waste = measure_waste(&hull, &boxes[i], &boxes[j]);

			if (best_waste < 0 || waste < best_waste)
			{
				best_waste = waste;
				best_hull = hull;
				best_i = i;
				best_j = j;
			}
		}
	}
	delete_box(boxes, nboxes, best_j);
	delete_box(boxes, nboxes, best_i);
	return best_hull;
}

/*
 * "bounds := bounds OR box".  Ends after one widening at most: that takes two
 * boxes out of MAX_BOXES + 1, so there is room for the hull.
 */
static void
insert_box(KafkaBounds *bounds, KafkaBox box)
{
	KafkaBox crowd[KAFKA_BOUNDS_MAX_BOXES + 1];
	int ncrowd;
	int i = 0;

	if (is_empty_box(&box))
		return;
	while (i < bounds->nboxes)
	{
		const KafkaBox *other = &bounds->boxes[i];

		if (contains_box(other, &box))
			return;
		if (contains_box(&box, other))
			delete_box(bounds->boxes, &bounds->nboxes, i);
		else if (can_join_exactly(&box, other))
		{
			/* the larger box may fit what was passed over: start again */
			box = join_boxes(&box, other);
			delete_box(bounds->boxes, &bounds->nboxes, i);
			i = 0;
		}
		else
			i++;
	}
	if (bounds->nboxes < KAFKA_BOUNDS_MAX_BOXES)
	{
		place_box(bounds->boxes, &bounds->nboxes, &box);
		return;
	}
	ncrowd = bounds->nboxes;
	memcpy(crowd, bounds->boxes, ncrowd * sizeof(KafkaBox));
	place_box(crowd, &ncrowd, &box);
	box = join_cheapest_pair(crowd, &ncrowd);
	memcpy(bounds->boxes, crowd, ncrowd * sizeof(KafkaBox));
	bounds->nboxes = ncrowd;
	insert_box(bounds, box);
}

void
kafka_bounds_everything(KafkaBounds *bounds)
{
	int d;

	bounds->nboxes = 1;
	for (d = 0; d < KAFKA_DIMENSION_COUNT; d++)
		bounds->boxes[0].range[d] = KAFKA_RANGE_ALL;
}

void
kafka_bounds_nothing(KafkaBounds *bounds)
{
	bounds->nboxes = 0;
}

bool
kafka_bounds_is_everything(const KafkaBounds *bounds)
{
	KafkaBounds everything;

	/* a box that is everything has swallowed all others */
	kafka_bounds_everything(&everything);
	return bounds->nboxes == 1 &&
		   contains_box(&bounds->boxes[0], &everything.boxes[0]);
}

void
kafka_bounds_add_range(KafkaBounds *bounds, KafkaDimension dimension,
					   KafkaRange range)
{
	KafkaBox box;
	int d;

	for (d = 0; d < KAFKA_DIMENSION_COUNT; d++)
		box.range[d] = KAFKA_RANGE_ALL;
	box.range[dimension] = range;
	insert_box(bounds, box);
}

void
kafka_bounds_and(KafkaBounds *bounds, const KafkaBounds *other)
{
	KafkaBounds left;
	int i;
	int j;
	int d;

	if (bounds == other)
		return;
	left = *bounds;
	kafka_bounds_nothing(bounds);
	for (i = 0; i < left.nboxes; i++)
	{
		for (j = 0; j < other->nboxes; j++)
		{
			KafkaBox box;

			for (d = 0; d < KAFKA_DIMENSION_COUNT; d++)
				box.range[d] = kafka_range_intersect(left.boxes[i].range[d],
													 other->boxes[j].range[d]);
			insert_box(bounds, box);
		}
	}
}

void
kafka_bounds_or(KafkaBounds *bounds, const KafkaBounds *other)
{
	int i;

	if (bounds == other)
		return;
	for (i = 0; i < other->nboxes; i++)
		insert_box(bounds, other->boxes[i]);
}

/*
 * Is there a hash in the range that leads to the partition?  True as well
 * where the number of partitions is not known, or is known to be out of date.
 */
static bool
has_hash_of(KafkaRange hashes, int32_t partition, int npartitions)
{
	/* hashes are not negative, and have 32 bits */
	int64_t start = max_int64(hashes.start, 0);
	int64_t end = min_int64(hashes.end, INT64_C(1) << 32);
	int64_t distance; /* from the start to the first that leads there */

	if (partition >= npartitions)
		return true;
	distance = partition - start % npartitions;
	if (distance < 0)
		distance += npartitions;
	return distance < end - start;
}

static bool
has_partition(const KafkaBox *box, int32_t partition, int npartitions)
{
	KafkaRange range = box->range[KAFKA_DIMENSION_PARTITION];

	return range.start <= partition && partition < range.end &&
		   has_hash_of(box->range[KAFKA_DIMENSION_KEY_HASH], partition,
					   npartitions);
}

bool
kafka_bounds_has_partition(const KafkaBounds *bounds, int32_t partition,
						   int npartitions)
{
	int i;

	for (i = 0; i < bounds->nboxes; i++)
	{
		if (has_partition(&bounds->boxes[i], partition, npartitions))
			return true;
	}
	return false;
}

int
kafka_bounds_slices(const KafkaBounds *bounds, int32_t partition,
					int npartitions, KafkaSlice *slices)
{
	KafkaBounds plane;
	int i;

	/*
	 * With the partition's ranges out of the way insert_box joins and drops
	 * pairs as it does boxes.  There are never more than there were boxes,
	 * so nothing is widened.
	 */
	kafka_bounds_nothing(&plane);
	for (i = 0; i < bounds->nboxes; i++)
	{
		KafkaBox box = bounds->boxes[i];

		if (!has_partition(&box, partition, npartitions))
			continue;
		box.range[KAFKA_DIMENSION_PARTITION] = KAFKA_RANGE_ALL;
		box.range[KAFKA_DIMENSION_KEY_HASH] = KAFKA_RANGE_ALL;
		insert_box(&plane, box);
	}
	for (i = 0; i < plane.nboxes; i++)
	{
		slices[i].offset = plane.boxes[i].range[KAFKA_DIMENSION_OFFSET];
		slices[i].time_ms = plane.boxes[i].range[KAFKA_DIMENSION_TIME];
	}
	return plane.nboxes;
}
