/*-------------------------------------------------------------------------
 *
 * bounds_check.h
 *		What the tests of bounds share: bounds as sets of points.
 *
 * On a domain of a few hundred points a bound is a set of points, AND is
 * intersection and OR is union, and both can be computed point by point.
 *
 * IDENTIFICATION
 *		test/unit/bounds_check.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef KAFKA_BOUNDS_CHECK_H
#define KAFKA_BOUNDS_CHECK_H

#include "bounds.h"
#include "tap.h"

/* The points of the largest domain used. */
#define MAX_POINTS (16 * 16 * 16)

typedef struct PointSet
{
	bool has[MAX_POINTS];
} PointSet;

static uint64_t random_state = 88172645463325252u;

/* Marsaglia's xorshift: the same sequence on every machine. */
static inline int
random_below(int limit)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return (int) ((random_state >> 33) % (uint64_t) limit);
}

static inline bool
range_has(KafkaRange range, int64_t value)
{
	return range.start <= value &&
		   (value < range.end || range.end == INT64_MAX);
}

static inline bool
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

static inline bool
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

static inline int
count_points(const int *sides)
{
	return sides[0] * sides[1] * sides[2] * sides[3];
}

static inline void
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
static inline void
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

static inline KafkaRange
single(int64_t value)
{
	return (KafkaRange){value, value + 1};
}

#endif
