/*-------------------------------------------------------------------------
 *
 * test_bounds.c
 *		Checks the algebra of bounds against point sets.
 *
 * Random expressions must give exactly their points while nothing is widened;
 * test_bounds_widening.c checks the rest.
 *
 * IDENTIFICATION
 *		test/unit/test_bounds.c
 *
 *-------------------------------------------------------------------------
 */
#include "bounds_check.h"

static const int small_sides[KAFKA_DIMENSION_COUNT] = {4, 5, 5, 5};

/* A range inside [0, side), or half or wholly unbounded; empty at times. */
static KafkaRange
random_range(int side)
{
	KafkaRange range;

	range.start = random_below(side);
	range.end = range.start + random_below(3) + (random_below(16) != 0);
	if (random_below(5) == 0)
		range.start = INT64_MIN;
	if (random_below(5) == 0)
		range.end = INT64_MAX;
	return range;
}

/* A bound of nboxes random boxes, built as a condition would build it. */
static void
random_bounds(KafkaBounds *bounds, PointSet *points, const int *sides,
			  int nboxes)
{
	int i;
	int d;
	int p;

	kafka_bounds_nothing(bounds);
	memset(points, 0, sizeof(*points));
	for (i = 0; i < nboxes; i++)
	{
		KafkaBounds product;
		KafkaBox box;

		kafka_bounds_everything(&product);
		for (d = 0; d < KAFKA_DIMENSION_COUNT; d++)
		{
			KafkaBounds slab;

			box.range[d] = random_range(sides[d]);
			kafka_bounds_nothing(&slab);
			kafka_bounds_add_range(&slab, (KafkaDimension) d, box.range[d]);
			kafka_bounds_and(&product, &slab);
		}
		kafka_bounds_or(bounds, &product);
		for (p = 0; p < count_points(sides); p++)
		{
			int point[KAFKA_DIMENSION_COUNT];

			unpack_point(sides, p, point);
			points->has[p] |= box_has(&box, point);
		}
	}
}

/* What insert_box promises: no empty, contained, or joinable boxes. */
static int
count_untidy_pairs(const KafkaBounds *bounds)
{
	int untidy = 0;
	int i;
	int j;
	int d;

	for (i = 0; i < bounds->nboxes; i++)
	{
		for (d = 0; d < KAFKA_DIMENSION_COUNT; d++)
			untidy += kafka_range_is_empty(bounds->boxes[i].range[d]);
		for (j = 0; j < bounds->nboxes; j++)
		{
			int ninside = 0;
			int nequal = 0;
			int ntouching = 0;

			if (i == j)
				continue;
			for (d = 0; d < KAFKA_DIMENSION_COUNT; d++)
			{
				KafkaRange a = bounds->boxes[i].range[d];
				KafkaRange b = bounds->boxes[j].range[d];

				ninside += b.start <= a.start && a.end <= b.end;
				nequal += a.start == b.start && a.end == b.end;
				ntouching += a.start <= b.end && b.start <= a.end;
			}
			untidy += ninside == KAFKA_DIMENSION_COUNT;
			untidy += nequal == KAFKA_DIMENSION_COUNT - 1 &&
					  ntouching == KAFKA_DIMENSION_COUNT;
		}
	}
	return untidy;
}

static void
test_random_algebra(const int *sides, int ncases, int max_boxes)
{
	int missing = 0;
	int surplus = 0;
	int untidy = 0;
	int i;
	int p;

	for (i = 0; i < ncases; i++)
	{
		KafkaBounds a;
		KafkaBounds b;
		KafkaBounds result;
		PointSet points_a;
		PointSet points_b;
		PointSet expected;

		random_bounds(&a, &points_a, sides, random_below(max_boxes + 1));
		random_bounds(&b, &points_b, sides, random_below(max_boxes + 1));
		compare_with_points(&a, &points_a, sides, &missing, &surplus);
		untidy += count_untidy_pairs(&a);

		result = a;
		kafka_bounds_and(&result, &b);
		for (p = 0; p < count_points(sides); p++)
			expected.has[p] = points_a.has[p] && points_b.has[p];
		compare_with_points(&result, &expected, sides, &missing, &surplus);
		untidy += count_untidy_pairs(&result);

		result = a;
		kafka_bounds_or(&result, &b);
		for (p = 0; p < count_points(sides); p++)
			expected.has[p] = points_a.has[p] || points_b.has[p];
		compare_with_points(&result, &expected, sides, &missing, &surplus);
		untidy += count_untidy_pairs(&result);
	}
	is_int(missing, 0, "%d cases of up to %d boxes: no point is missing",
		   ncases, max_boxes);
	is_int(surplus, 0, "%d cases of up to %d boxes: no point is too many",
		   ncases, max_boxes);
	is_int(untidy, 0, "%d cases of up to %d boxes: nothing left to simplify",
		   ncases, max_boxes);
}

/* Each op against each value, tried at the values around it. */
static void
test_range_from_op(void)
{
	static const int64_t values[] =
		{INT64_MIN,     INT64_MIN + 1, -2,       -1, 0, 1, 2,
		 INT64_MAX - 2, INT64_MAX - 1, INT64_MAX};
	const int nvalues = sizeof(values) / sizeof(values[0]);
	int missing = 0;
	int surplus = 0;
	int i;
	int j;

	for (i = 0; i < nvalues; i++)
	{
		for (j = 0; j < nvalues; j++)
		{
			int64_t x = values[j];
			int64_t value = values[i];
			const bool want[] =
				{x<value, x <= value, x == value, x >= value, x> value, true};
			int op;

			for (op = KAFKA_OP_LT; op <= KAFKA_OP_NE; op++)
			{
				KafkaRange range = kafka_range_from_op((KafkaOp) op, value);
				bool got = !kafka_range_is_empty(range) && range_has(range, x);

				missing += want[op] && !got;
				/* a half-open range cannot tell the last two apart */
				surplus += got && !want[op] && x < INT64_MAX - 1;
			}
		}
	}
	is_int(missing, 0, "no value that satisfies an operator is left out");
	is_int(surplus, 0, "no other value is let in");
	ok(kafka_range_is_empty(kafka_range_from_op(KAFKA_OP_GT, INT64_MAX)),
	   "x > INT64_MAX is empty");
	ok(kafka_range_is_empty(kafka_range_from_op(KAFKA_OP_LT, INT64_MIN)),
	   "x < INT64_MIN is empty");
	is_int(kafka_range_from_op(KAFKA_OP_LE, INT64_MAX).end, INT64_MAX,
		   "x <= INT64_MAX has no upper end");
	is_int(kafka_range_from_op(KAFKA_OP_LE, INT64_MAX).start, INT64_MIN,
		   "x <= INT64_MAX has no lower end");
	is_int(kafka_range_from_op(KAFKA_OP_EQ, 7).start, 7, "x = 7 starts at 7");
	is_int(kafka_range_from_op(KAFKA_OP_EQ, 7).end, 8, "x = 7 ends before 8");
}

static void
test_range_merge(void)
{
	int failures = 0;
	int i;
	int j;

	for (i = 0; i < 5000; i++)
	{
		KafkaRange ranges[8];
		bool expected[16] = {false};
		int nranges = random_below(9);
		int nmerged;
		int x;

		for (j = 0; j < nranges; j++)
		{
			ranges[j].start = random_below(12);
			ranges[j].end = ranges[j].start + random_below(4);
			for (x = 0; x < 16; x++)
				expected[x] |= range_has(ranges[j], x);
		}
		nmerged = kafka_range_merge(ranges, nranges);
		for (j = 0; j < nmerged; j++)
		{
			failures += kafka_range_is_empty(ranges[j]);
			failures += j > 0 && ranges[j - 1].end >= ranges[j].start;
			for (x = 0; x < 16; x++)
			{
				failures += range_has(ranges[j], x) && !expected[x];
				expected[x] &= !range_has(ranges[j], x);
			}
		}
		for (x = 0; x < 16; x++)
			failures += expected[x];
	}
	is_int(failures, 0, "merged ranges are sorted, apart, and complete");
	is_int(kafka_range_merge(NULL, 0), 0, "no ranges merge to none");
}

/* Is there a hash in the range that this partition is for? */
static bool
leads_to(KafkaRange hashes, int64_t first, int64_t end, int partition,
		 int npartitions)
{
	int64_t hash;

	for (hash = first; hash < end; hash++)
	{
		if (range_has(hashes, hash) && hash % npartitions == partition)
			return true;
	}
	return false;
}

/* Hashes at both ends of what there is, against trying each of them. */
static void
test_hash_partitions(void)
{
	static const int64_t origins[] = {0, (INT64_C(1) << 32) - 40};
	int wrong = 0;
	int nadmitted = 0;
	int i;

	for (i = 0; i < 100000; i++)
	{
		KafkaBounds bounds;
		int64_t origin = origins[i % 2];
		int npartitions = 1 + random_below(12);
		int partition = random_below(npartitions);
		KafkaRange hashes;
		bool got;

		hashes.start = origin + random_below(50) - 5;
		hashes.end = hashes.start + 1 + random_below(14);
		if (random_below(8) == 0)
			hashes.start = INT64_MIN;
		if (random_below(8) == 0)
			hashes.end = INT64_MAX;
		kafka_bounds_nothing(&bounds);
		kafka_bounds_add_range(&bounds, KAFKA_DIMENSION_KEY_HASH, hashes);
		got = kafka_bounds_has_partition(&bounds, partition, npartitions);
		nadmitted += got;
		/* an unbounded start has all that lies before the second origin */
		wrong +=
			got !=
			((origin > 0 && hashes.start < 0) ||
			 leads_to(hashes, origin, origin + 40, partition, npartitions) ||
			 (origin == 0 &&
			  leads_to(hashes, 40, 80, partition, npartitions)) ||
			 (origin > 0 &&
			  leads_to(hashes, origin - 10, origin, partition, npartitions)));
	}
	is_int(wrong, 0, "a hash leads to its remainder's partition alone");
	ok(nadmitted > 20000 && nadmitted < 80000, "to %d of 100000", nadmitted);
}

/* What is not known of partitions leaves none out. */
static void
test_hash_of_unknown_partitions(void)
{
	KafkaBounds bounds;

	kafka_bounds_nothing(&bounds);
	kafka_bounds_add_range(&bounds, KAFKA_DIMENSION_KEY_HASH, single(7));
	ok(kafka_bounds_has_partition(&bounds, 3, 4), "hash 7 of 4 is 3");
	ok(!kafka_bounds_has_partition(&bounds, 2, 4), "and not 2");
	ok(kafka_bounds_has_partition(&bounds, 4, 4), "partition 4 of 4 is new");
	ok(kafka_bounds_has_partition(&bounds, 9, 4), "so is partition 9 of 4");
	ok(kafka_bounds_has_partition(&bounds, 2, 0), "none are known");
	kafka_bounds_add_range(&bounds, KAFKA_DIMENSION_PARTITION, single(2));
	ok(kafka_bounds_has_partition(&bounds, 2, 4), "OR is not for the hash");
	kafka_bounds_nothing(&bounds);
	kafka_bounds_add_range(&bounds, KAFKA_DIMENSION_KEY_HASH,
						   (KafkaRange){-9, -1});
	ok(!kafka_bounds_has_partition(&bounds, 0, 1), "no hash is negative");
}

/* Might a row of the partition at this point be let through? */
static bool
slice_expected(const KafkaBounds *bounds, const int *point, int npartitions)
{
	int i;

	for (i = 0; i < bounds->nboxes; i++)
	{
		const KafkaRange *range = bounds->boxes[i].range;

		if (range_has(range[0], point[0]) && range_has(range[1], point[1]) &&
			range_has(range[2], point[2]) &&
			leads_to(range[3], 0, 64, point[0], npartitions))
			return true;
	}
	return false;
}

/* The slices of a partition are the bound's cross-section there. */
static void
test_random_slices(int ncases)
{
	int wrong = 0;
	int untidy = 0;
	int i;
	int p;
	int s;

	for (i = 0; i < ncases; i++)
	{
		KafkaBounds bounds;
		KafkaBounds plane;
		KafkaSlice slices[KAFKA_BOUNDS_MAX_BOXES];
		PointSet points;
		int npartitions = small_sides[0] + random_below(3);
		int partition = random_below(small_sides[0]);
		int nslices;
		bool any = false;

		random_bounds(&bounds, &points, small_sides, random_below(8));
		nslices = kafka_bounds_slices(&bounds, partition, npartitions, slices);
		for (p = 0; p < count_points(small_sides); p++)
		{
			int point[KAFKA_DIMENSION_COUNT];
			bool expected;
			bool got = false;

			unpack_point(small_sides, p, point);
			if (point[0] != partition || point[3] != 0)
				continue;
			expected = slice_expected(&bounds, point, npartitions);
			for (s = 0; s < nslices; s++)
				got |= range_has(slices[s].offset, point[1]) &&
					   range_has(slices[s].time_ms, point[2]);
			wrong += got != expected;
			any |= expected;
		}
		/* boxes may lie outside the domain: only this way round */
		wrong += any && nslices == 0;
		wrong += kafka_bounds_has_partition(&bounds, partition, npartitions) !=
				 (nslices > 0);
		plane.nboxes = nslices;
		for (s = 0; s < nslices; s++)
		{
			plane.boxes[s].range[KAFKA_DIMENSION_PARTITION] = KAFKA_RANGE_ALL;
			plane.boxes[s].range[KAFKA_DIMENSION_OFFSET] = slices[s].offset;
			plane.boxes[s].range[KAFKA_DIMENSION_TIME] = slices[s].time_ms;
			plane.boxes[s].range[KAFKA_DIMENSION_KEY_HASH] = KAFKA_RANGE_ALL;
		}
		untidy += count_untidy_pairs(&plane);
	}
	is_int(wrong, 0, "slices are exactly the cross-section of a partition");
	is_int(untidy, 0, "slices are merged and none is inside another");
}

static void
test_everything_and_nothing(void)
{
	KafkaBounds bounds;
	KafkaBounds copy;
	KafkaSlice slices[KAFKA_BOUNDS_MAX_BOXES];

	kafka_bounds_nothing(&bounds);
	is_int(bounds.nboxes, 0, "nothing has no box");
	ok(!kafka_bounds_is_everything(&bounds), "nothing is not everything");
	ok(!kafka_bounds_has_partition(&bounds, 0, 1), "nothing has no partition");
	is_int(kafka_bounds_slices(&bounds, 0, 1, slices), 0,
		   "nothing has no slice");

	kafka_bounds_add_range(&bounds, KAFKA_DIMENSION_TIME, KAFKA_RANGE_NONE);
	is_int(bounds.nboxes, 0, "an empty range adds no box");
	kafka_bounds_add_range(&bounds, KAFKA_DIMENSION_TIME,
						   kafka_range_from_op(KAFKA_OP_LT, 5));
	ok(!kafka_bounds_is_everything(&bounds), "half is not everything");
	copy = bounds;
	kafka_bounds_and(&bounds, &bounds);
	is_int(memcmp(&bounds.boxes[0], &copy.boxes[0], sizeof(KafkaBox)), 0,
		   "AND with itself changes nothing");
	kafka_bounds_or(&bounds, &bounds);
	is_int(bounds.nboxes, 1, "OR with itself changes nothing");
	kafka_bounds_add_range(&bounds, KAFKA_DIMENSION_TIME,
						   kafka_range_from_op(KAFKA_OP_GE, 5));
	ok(kafka_bounds_is_everything(&bounds), "two halves are everything");
	kafka_bounds_and(&bounds, &copy);
	is_int(bounds.nboxes, 1, "everything AND a half is one box");
	is_int(bounds.boxes[0].range[KAFKA_DIMENSION_TIME].end, 5,
		   "everything AND a half is the half");
	kafka_bounds_everything(&bounds);
	ok(kafka_bounds_is_everything(&bounds), "everything is everything");
	ok(kafka_bounds_has_partition(&bounds, INT32_MAX, INT32_MAX),
	   "even this partition");
}

int
main(void)
{
	test_random_algebra(small_sides, 4000, 5);
	test_random_algebra(small_sides, 2000, 9);
	test_range_from_op();
	test_range_merge();
	test_hash_partitions();
	test_hash_of_unknown_partitions();
	test_random_slices(4000);
	test_everything_and_nothing();
	return done_testing();
}
