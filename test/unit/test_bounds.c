/*-------------------------------------------------------------------------
 *
 * test_bounds.c
 *		Checks the algebra of bounds against point sets.
 *
 * On a domain of a few hundred points a bound is a set of points, AND is
 * intersection and OR is union, and both can be computed point by point.
 * Random expressions must give exactly these sets while nothing is widened,
 * and never fewer points when something is.
 *
 * IDENTIFICATION
 *		test/unit/test_bounds.c
 *
 *-------------------------------------------------------------------------
 */
#include <stdlib.h>

#include "bounds.h"
#include "tap.h"

/* The points of the largest domain used. */
#define MAX_POINTS (16 * 16 * 16)

typedef struct PointSet
{
	bool has[MAX_POINTS];
} PointSet;

static const int small_sides[KAFKA_DIMENSION_COUNT] = {4, 5, 5, 5};
static const int cube_sides[KAFKA_DIMENSION_COUNT] = {8, 8, 8, 1};
static const int large_sides[KAFKA_DIMENSION_COUNT] = {16, 16, 16, 1};

static uint64_t random_state = 88172645463325252u;

/* Marsaglia's xorshift: the same sequence on every machine. */
static int
random_below(int limit)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return (int) ((random_state >> 33) % (uint64_t) limit);
}

static bool
range_has(KafkaRange range, int64_t value)
{
	return range.start <= value &&
		   (value < range.end || range.end == INT64_MAX);
}

static bool
box_has(const KafkaBox *box, const int *point)
{
	int d;

	for (d = 0; d < KAFKA_DIMENSION_COUNT; d++)
	{
		if (!range_has(box->range[d], point[d]))
			return false;
	}
	return true;
}

static bool
bounds_have(const KafkaBounds *bounds, const int *point)
{
	int i;

	for (i = 0; i < bounds->nboxes; i++)
	{
		if (box_has(&bounds->boxes[i], point))
			return true;
	}
	return false;
}

static int
count_points(const int *sides)
{
	return sides[0] * sides[1] * sides[2] * sides[3];
}

static void
unpack_point(const int *sides, int index, int *point)
{
	int d;

	for (d = KAFKA_DIMENSION_COUNT - 1; d >= 0; d--)
	{
		point[d] = index % sides[d];
		index /= sides[d];
	}
}

/* Points that only one of the two has: missing ones and surplus ones. */
static void
compare_with_points(const KafkaBounds *bounds, const PointSet *points,
					const int *sides, int *missing, int *surplus)
{
	int i;

	for (i = 0; i < count_points(sides); i++)
	{
		int point[KAFKA_DIMENSION_COUNT];
		bool got;

		unpack_point(sides, i, point);
		got = bounds_have(bounds, point);
		*missing += points->has[i] && !got;
		*surplus += got && !points->has[i];
	}
}

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

static void
add_box(KafkaBounds *bounds, KafkaRange partition, KafkaRange offset,
		KafkaRange time_ms)
{
	KafkaBounds product;
	KafkaBounds slab;

	kafka_bounds_nothing(&product);
	kafka_bounds_add_range(&product, KAFKA_DIMENSION_PARTITION, partition);
	kafka_bounds_nothing(&slab);
	kafka_bounds_add_range(&slab, KAFKA_DIMENSION_OFFSET, offset);
	kafka_bounds_and(&product, &slab);
	kafka_bounds_nothing(&slab);
	kafka_bounds_add_range(&slab, KAFKA_DIMENSION_TIME, time_ms);
	kafka_bounds_and(&product, &slab);
	kafka_bounds_or(bounds, &product);
}

static KafkaRange
single(int64_t value)
{
	return (KafkaRange){value, value + 1};
}

/*
 * Every second point of a cube, in scattered order: 256 boxes of which no two
 * join exactly, so half of them must go by widening.
 */
static void
test_widened_checkerboard(int ncases)
{
	int npoints = count_points(cube_sides);
	int missing = 0;
	int surplus = 0;
	int overflows = 0;
	int useless = 0;
	int i;
	int p;

	for (i = 0; i < ncases; i++)
	{
		KafkaBounds bounds;
		PointSet points;
		int start = random_below(npoints);
		int surplus_before = surplus;

		kafka_bounds_nothing(&bounds);
		memset(&points, 0, sizeof(points));
		for (p = 0; p < npoints; p++)
		{
			/* 77 and 512 have no common factor: every index comes once */
			int index = (start + p * 77) % npoints;
			int point[KAFKA_DIMENSION_COUNT];

			unpack_point(cube_sides, index, point);
			if ((point[0] + point[1] + point[2]) % 2 != 0)
				continue;
			points.has[index] = true;
			add_box(&bounds, single(point[0]), single(point[1]),
					single(point[2]));
			overflows += bounds.nboxes > KAFKA_BOUNDS_MAX_BOXES;
		}
		compare_with_points(&bounds, &points, cube_sides, &missing, &surplus);
		useless += surplus - surplus_before == npoints / 2;
	}
	is_int(missing, 0, "a widened checkerboard misses no point");
	is_int(overflows, 0, "a widened checkerboard stays within the array");
	is_int(useless, 0, "a widened checkerboard is not everything");
	ok(surplus > 0, "256 separate points do not fit without widening");
}

/*
 * Two unions of 128 columns each, crossing: 1024 of the 16384 pairs have a
 * point in common, each another one.
 */
static void
test_widened_and(void)
{
	KafkaBounds a;
	KafkaBounds b;
	PointSet expected;
	int missing = 0;
	int surplus = 0;
	int i;
	int j;
	int p;

	kafka_bounds_nothing(&a);
	kafka_bounds_nothing(&b);
	for (i = 0; i < 16; i++)
	{
		for (j = i % 2; j < 16; j += 2)
		{
			add_box(&a, single(i), single(j), KAFKA_RANGE_ALL);
			add_box(&b, KAFKA_RANGE_ALL, single(i), single(j));
		}
	}
	is_int(a.nboxes, 128, "the first union is full");
	is_int(b.nboxes, 128, "the second union is full");
	kafka_bounds_and(&a, &b);
	for (p = 0; p < count_points(large_sides); p++)
	{
		int point[KAFKA_DIMENSION_COUNT];

		unpack_point(large_sides, p, point);
		expected.has[p] =
			(point[0] + point[1]) % 2 == 0 && (point[1] + point[2]) % 2 == 0;
	}
	compare_with_points(&a, &expected, large_sides, &missing, &surplus);
	is_int(missing, 0, "AND of two full unions misses no point");
	ok(a.nboxes > 0 && a.nboxes <= KAFKA_BOUNDS_MAX_BOXES,
	   "AND of two full unions stays within the array");
	ok(surplus > 0 && surplus < 4096 - 1024,
	   "AND of two full unions is widened, but not to everything");
}

/* What is given up first is what costs least. */
static void
test_widening_choice(void)
{
	KafkaBounds bounds;
	KafkaBounds before;
	int nkept = 0;
	int i;
	int j;

	/* windows of an hour a day, one pair of them a minute apart */
	kafka_bounds_nothing(&bounds);
	for (i = 0; i < KAFKA_BOUNDS_MAX_BOXES; i++)
	{
		int64_t start_ms = i * INT64_C(86400000);

		add_box(&bounds, KAFKA_RANGE_ALL, KAFKA_RANGE_ALL,
				(KafkaRange){start_ms, start_ms + 3600000});
	}
	is_int(bounds.nboxes, KAFKA_BOUNDS_MAX_BOXES, "128 windows fit");
	before = bounds;
	add_box(&bounds, KAFKA_RANGE_ALL, KAFKA_RANGE_ALL,
			(KafkaRange){50 * INT64_C(86400000) + 3660000,
						 50 * INT64_C(86400000) + 7200000});
	is_int(bounds.nboxes, KAFKA_BOUNDS_MAX_BOXES, "window 129 joins another");
	for (i = 0; i < bounds.nboxes; i++)
	{
		for (j = 0; j < before.nboxes; j++)
			nkept += memcmp(&bounds.boxes[i], &before.boxes[j],
							sizeof(KafkaBox)) == 0;
	}
	is_int(nkept, KAFKA_BOUNDS_MAX_BOXES - 1, "127 windows are untouched");

	/* resuming 200 partitions, of which 100 stand at nearly one offset */
	kafka_bounds_nothing(&bounds);
	for (i = 0; i < 200; i++)
		add_box(&bounds, single(i),
				(KafkaRange){i % 2 == 0 ? 1000000 + 1000 * i
										: 5000000 + 100000 * i,
							 INT64_MAX},
				KAFKA_RANGE_ALL);
	is_int(bounds.nboxes, KAFKA_BOUNDS_MAX_BOXES, "200 partitions are joined");
	for (i = 0, nkept = 0; i < 200; i++)
		nkept += kafka_bounds_has_partition(&bounds, i, 201);
	is_int(nkept, 200, "all partitions are left");
	ok(!kafka_bounds_has_partition(&bounds, 200, 201), "and no other");
	for (i = 0; i < bounds.nboxes; i++)
	{
		if (bounds.boxes[i].range[KAFKA_DIMENSION_OFFSET].start < 1000000)
			break;
	}
	is_int(i, bounds.nboxes, "no partition is read from its beginning");
}

/* Two ranges in each of 100 partitions: the nearest box is not the next. */
static void
test_widening_across_partitions(void)
{
	KafkaBounds bounds;
	int64_t longest = 0;
	int i;

	kafka_bounds_nothing(&bounds);
	for (i = 0; i < 100; i++)
	{
		/* all different, so that none join exactly */
		add_box(&bounds, single(i), (KafkaRange){100 + i, 300 + i},
				KAFKA_RANGE_ALL);
		add_box(&bounds, single(i), (KafkaRange){1000100 + i, 1000300 + i},
				KAFKA_RANGE_ALL);
	}
	is_int(bounds.nboxes, KAFKA_BOUNDS_MAX_BOXES, "200 boxes are joined");
	for (i = 0; i < bounds.nboxes; i++)
	{
		KafkaRange offset = bounds.boxes[i].range[KAFKA_DIMENSION_OFFSET];

		if (offset.end - offset.start > longest)
			longest = offset.end - offset.start;
	}
	ok(longest >= 200 && longest < 1000,
	   "no box spans both ranges of a partition (%lld)", (long long) longest);
}

/* Offsets below 0 do not exist, and weigh nothing. */
static void
test_widening_without_lower_end(void)
{
	KafkaBounds bounds;
	int nfillers = 0;
	int i;

	kafka_bounds_nothing(&bounds);
	add_box(&bounds, single(1), (KafkaRange){INT64_MIN, 100}, KAFKA_RANGE_ALL);
	add_box(&bounds, single(3), (KafkaRange){INT64_MIN, 200}, KAFKA_RANGE_ALL);
	for (i = 1; i < KAFKA_BOUNDS_MAX_BOXES; i++)
		add_box(&bounds, single(1000 * i),
				(KafkaRange){1000000 * i, 1000000 * i + 10}, KAFKA_RANGE_ALL);
	ok(kafka_bounds_has_partition(&bounds, 2, 9), "two low ranges are joined");
	for (i = 1; i < KAFKA_BOUNDS_MAX_BOXES; i++)
		nfillers += kafka_bounds_has_partition(&bounds, 1000 * i, 1) &&
					!kafka_bounds_has_partition(&bounds, 1000 * i + 1, 1);
	is_int(nfillers, KAFKA_BOUNDS_MAX_BOXES - 1, "distant boxes are not");
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

/*
 * Many keys in many windows of time: what is given up are times, not keys,
 * and no third key comes in where two are joined.
 */
static void
test_widening_of_hashes(void)
{
	KafkaBounds bounds;
	KafkaBounds windows;
	KafkaSlice slices[KAFKA_BOUNDS_MAX_BOXES];
	int nread = 0;
	int i;

	kafka_bounds_nothing(&bounds);
	for (i = 0; i < 60; i++)
		kafka_bounds_add_range(&bounds, KAFKA_DIMENSION_KEY_HASH,
							   single(i * INT64_C(50331653)));
	kafka_bounds_nothing(&windows);
	for (i = 0; i < 3; i++)
	{
		int64_t start_ms = i * INT64_C(7200000);

		kafka_bounds_add_range(&windows, KAFKA_DIMENSION_TIME,
							   (KafkaRange){start_ms, start_ms + 3600000});
	}
	kafka_bounds_and(&bounds, &windows);
	ok(bounds.nboxes > 100 && bounds.nboxes <= KAFKA_BOUNDS_MAX_BOXES,
	   "60 keys in 3 windows are widened (%d boxes)", bounds.nboxes);
	for (i = 0; i < 1009; i++)
		nread += kafka_bounds_has_partition(&bounds, i, 1009);
	is_int(nread, 60, "and are still 60 keys, of 60 partitions");

	kafka_bounds_nothing(&bounds);
	for (i = 0; i <= KAFKA_BOUNDS_MAX_BOXES; i++)
		kafka_bounds_add_range(&bounds, KAFKA_DIMENSION_KEY_HASH,
							   single(i * INT64_C(30000001)));
	ok(kafka_bounds_is_everything(&bounds), "129 keys are everything");
	is_int(kafka_bounds_slices(&bounds, 5, 200, slices), 1, "in one slice");
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
	test_widened_checkerboard(5);
	test_widened_and();
	test_widening_choice();
	test_widening_across_partitions();
	test_widening_without_lower_end();
	test_range_from_op();
	test_range_merge();
	test_hash_partitions();
	test_hash_of_unknown_partitions();
	test_widening_of_hashes();
	test_random_slices(4000);
	test_everything_and_nothing();
	return done_testing();
}
