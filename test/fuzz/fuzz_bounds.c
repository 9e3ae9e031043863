/*-------------------------------------------------------------------------
 *
 * fuzz_bounds.c
 *		Runs input bytes as a program over bounds and over point sets.
 *
 * The bytes are instructions for a stack machine: push a slab, everything or
 * nothing, AND, OR, duplicate.  Beside each bound stands the set of points of
 * a small domain that it must admit.  A bound must never miss one of them,
 * and as long as no box can have been widened it must not admit any other.
 *
 * IDENTIFICATION
 *		test/fuzz/fuzz_bounds.c
 *
 *-------------------------------------------------------------------------
 */
#include <stdbool.h>
#include <string.h>

#include "bounds.h"
#include "replay.h"

#define SIDE 5
#define NPOINTS (SIDE * SIDE * SIDE * SIDE)
#define STACK_DEPTH 6

/* Fewer than there are hashes, so that some share a partition. */
#define NPARTITIONS 3

/* Longer programs only repeat what shorter ones do, slowly. */
#define MAX_PROGRAM 1100

typedef struct Operand
{
	KafkaBounds bounds;
	bool has[NPOINTS];
	bool exact; /* certainly never widened */
} Operand;

static bool
range_has(KafkaRange range, int64_t value)
{
	return range.start <= value && value < range.end;
}

static bool
bounds_have(const KafkaBounds *bounds, int point)
{
	const int coordinates[KAFKA_DIMENSION_COUNT] =
		{point / (SIDE * SIDE * SIDE), point / (SIDE * SIDE) % SIDE,
		 point / SIDE % SIDE, point % SIDE};
	int i;
	int d;

	for (i = 0; i < bounds->nboxes; i++)
	{
		for (d = 0; d < KAFKA_DIMENSION_COUNT; d++)
		{
			if (!range_has(bounds->boxes[i].range[d], coordinates[d]))
				break;
		}
		if (d == KAFKA_DIMENSION_COUNT)
			return true;
	}
	return false;
}

/*
 * Does a box have the partition, offset and time, and a hash that leads to the
 * partition?  Hashes above the domain are all in, or all out.
 */
static bool
bounds_lead_to(const KafkaBounds *bounds, int partition, int offset,
			   int time_ms)
{
	int i;
	int hash;

	for (i = 0; i < bounds->nboxes; i++)
	{
		const KafkaRange *range = bounds->boxes[i].range;

		if (!range_has(range[KAFKA_DIMENSION_PARTITION], partition) ||
			!range_has(range[KAFKA_DIMENSION_OFFSET], offset) ||
			!range_has(range[KAFKA_DIMENSION_TIME], time_ms))
			continue;
		for (hash = partition; hash < SIDE + NPARTITIONS; hash += NPARTITIONS)
		{
			if (range_has(range[KAFKA_DIMENSION_KEY_HASH], hash))
				return true;
		}
	}
	return false;
}

static void
check_slices(const Operand *operand, int partition)
{
	KafkaSlice slices[KAFKA_BOUNDS_MAX_BOXES];
	int nslices;
	int i;
	int p;

	nslices =
		kafka_bounds_slices(&operand->bounds, partition, NPARTITIONS, slices);
	REQUIRE(nslices <= operand->bounds.nboxes);
	REQUIRE(kafka_bounds_has_partition(&operand->bounds, partition,
									   NPARTITIONS) == (nslices > 0));
	for (p = 0; p < SIDE * SIDE; p++)
	{
		bool found = false;

		for (i = 0; i < nslices; i++)
			found |= range_has(slices[i].offset, p / SIDE) &&
					 range_has(slices[i].time_ms, p % SIDE);
		REQUIRE(found == bounds_lead_to(&operand->bounds, partition, p / SIDE,
										p % SIDE));
	}
}

static void
check_operand(const Operand *operand)
{
	int p;

	REQUIRE(operand->bounds.nboxes >= 0);
	REQUIRE(operand->bounds.nboxes <= KAFKA_BOUNDS_MAX_BOXES);
	for (p = 0; p < NPOINTS; p++)
	{
		bool found = bounds_have(&operand->bounds, p);

		REQUIRE(found || !operand->has[p]);
		REQUIRE(!found || operand->has[p] || !operand->exact);
	}
	for (p = 0; p < NPARTITIONS; p++)
		check_slices(operand, p);
}

static void
push_slab(Operand *operand, uint8_t code)
{
	static const int strides[KAFKA_DIMENSION_COUNT] = {SIDE * SIDE * SIDE,
													   SIDE * SIDE, SIDE, 1};
	int dimension = code % KAFKA_DIMENSION_COUNT;
	int value = code / KAFKA_DIMENSION_COUNT % SIDE;
	KafkaRange range =
		kafka_range_from_op((KafkaOp) (code / (KAFKA_DIMENSION_COUNT * SIDE) %
									   5),
							value);
	int p;

	kafka_bounds_nothing(&operand->bounds);
	kafka_bounds_add_range(&operand->bounds, (KafkaDimension) dimension,
						   range);
	for (p = 0; p < NPOINTS; p++)
	{
		int x = p / strides[dimension] % SIDE;
		const bool holds[] = {
			x<value, x <= value, x == value, x >= value, x> value};

		operand->has[p] = holds[code / (KAFKA_DIMENSION_COUNT * SIDE) % 5];
	}
	operand->exact = true;
}

/* left := left AND right, or left OR right */
static void
combine(Operand *left, const Operand *right, bool conjunction)
{
	int nleft = left->bounds.nboxes;
	int nright = right->bounds.nboxes;
	int p;

	left->exact &= right->exact;
	if (conjunction)
	{
		left->exact &= nleft * nright <= KAFKA_BOUNDS_MAX_BOXES;
		kafka_bounds_and(&left->bounds, &right->bounds);
	}
	else
	{
		left->exact &= nleft + nright <= KAFKA_BOUNDS_MAX_BOXES;
		kafka_bounds_or(&left->bounds, &right->bounds);
	}
	for (p = 0; p < NPOINTS; p++)
		left->has[p] = conjunction ? left->has[p] && right->has[p]
								   : left->has[p] || right->has[p];
	if (kafka_bounds_is_everything(&left->bounds) && left->exact)
	{
		for (p = 0; p < NPOINTS; p++)
			REQUIRE(left->has[p]);
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static Operand stack[STACK_DEPTH];
	int depth = 0;
	size_t i;

	if (size > MAX_PROGRAM)
		size = MAX_PROGRAM;
	for (i = 0; i < size; i++)
	{
		/* 0-99 push a slab, and so again; what does not fit the depth is ignored */
		if (data[i] >= 230)
		{
			/* the commonest tree: OR of the last AND what is below it */
			if (depth < 2)
				continue;
			depth--;
			combine(&stack[depth - 1], &stack[depth], data[i] >= 243);
		}
		else if (data[i] >= 225)
		{
			if (depth == 0 || depth == STACK_DEPTH)
				continue;
			stack[depth] = stack[depth - 1];
			depth++;
		}
		else if (data[i] >= 220)
		{
			if (depth == STACK_DEPTH)
				continue;
			if (data[i] % 2 == 0)
				kafka_bounds_everything(&stack[depth].bounds);
			else
				kafka_bounds_nothing(&stack[depth].bounds);
			memset(stack[depth].has, data[i] % 2 == 0, NPOINTS);
			stack[depth++].exact = true;
		}
		else if (depth < STACK_DEPTH)
			push_slab(&stack[depth++], data[i] % 100);
	}
	for (i = 0; i < (size_t) depth; i++)
		check_operand(&stack[i]);
	return 0;
}
