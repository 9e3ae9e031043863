/*-------------------------------------------------------------------------
 *
 * test_bounds_widening.c
 *		Checks what bounds give up when they get too many boxes.
 *
 * A widened bound may have points too many and none too few, and what it
 * gives up is what costs least to read.
 *
 * IDENTIFICATION
 *		test/unit/test_bounds_widening.c
 *
 *-------------------------------------------------------------------------
 */
#include "bounds_check.h"

static const int cube_sides[KAFKA_DIMENSION_COUNT] = {8, 8, 8, 1};
static const int large_sides[KAFKA_DIMENSION_COUNT] = {16, 16, 16, 1};

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

int
main(void)
{
	test_widened_checkerboard(5);
	test_widened_and();
	test_widening_choice();
	test_widening_across_partitions();
	test_widening_without_lower_end();
	test_widening_of_hashes();
	return done_testing();
}
