/*-------------------------------------------------------------------------
 *
 * bounds.h
 *		What part of a topic can satisfy a condition: unions of boxes over
 *		(partition, offset, record time, hash of the key).
 *
 * A bound is always an upper estimate: it may contain more than the condition
 * lets through, never less.  "Everything" is therefore a right answer for any
 * condition, and is what a condition that is not understood must give; see
 * kafka_bounds_or, where leaving such an arm out would lose rows.
 *
 * IDENTIFICATION
 *		src/core/bounds.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef KAFKA_BOUNDS_H
#define KAFKA_BOUNDS_H

#include <stdbool.h>
#include <stdint.h>

/*
 * A half-open range of integers; empty when start >= end.  A range that ends
 * at INT64_MAX and is not empty contains INT64_MAX as well.
 */
typedef struct KafkaRange
{
	int64_t start; /* inclusive; INT64_MIN is unbounded */
	int64_t end;   /* exclusive; INT64_MAX is unbounded */
} KafkaRange;

#define KAFKA_RANGE_ALL ((KafkaRange){INT64_MIN, INT64_MAX})
#define KAFKA_RANGE_NONE ((KafkaRange){0, 0})

typedef enum KafkaOp
{
	KAFKA_OP_LT,
	KAFKA_OP_LE,
	KAFKA_OP_EQ,
	KAFKA_OP_GE,
	KAFKA_OP_GT,
	KAFKA_OP_NE
} KafkaOp;

typedef enum KafkaDimension
{
	KAFKA_DIMENSION_PARTITION,
	KAFKA_DIMENSION_OFFSET,
	KAFKA_DIMENSION_TIME,    /* milliseconds since 1970 */
	KAFKA_DIMENSION_KEY_HASH /* what the producers' partitioner makes of the
							  * key; modulo the number of partitions that is
							  * the partition */
} KafkaDimension;

#define KAFKA_DIMENSION_COUNT 4

typedef struct KafkaBox
{
	KafkaRange range[KAFKA_DIMENSION_COUNT];
} KafkaBox;

/*
 * When a union would need more boxes than this it is widened to fewer, the
 * hull of all at the worst: still right, only less sharp.
 */
#define KAFKA_BOUNDS_MAX_BOXES 128

typedef struct KafkaBounds
{
	int nboxes; /* 0 is "nothing" */
	KafkaBox boxes[KAFKA_BOUNDS_MAX_BOXES];
} KafkaBounds;

extern void kafka_bounds_everything(KafkaBounds *bounds);
extern void kafka_bounds_nothing(KafkaBounds *bounds);
extern bool kafka_bounds_is_everything(const KafkaBounds *bounds);

/* Adds the box where one dimension lies in range and the others are free. */
extern void kafka_bounds_add_range(KafkaBounds *bounds,
								   KafkaDimension dimension, KafkaRange range);

/* "bounds := bounds AND other", "bounds := bounds OR other" */
extern void kafka_bounds_and(KafkaBounds *bounds, const KafkaBounds *other);
extern void kafka_bounds_or(KafkaBounds *bounds, const KafkaBounds *other);

/*
 * Is there a box that admits this partition, of so many that the topic has?
 * They have to be all that its producers know, not only those that are read.
 */
extern bool kafka_bounds_has_partition(const KafkaBounds *bounds,
									   int32_t partition, int npartitions);

/*
 * The boxes that admit one partition, as (offset, time) pairs in order of
 * offset; overlapping or touching offset ranges under the same time range are
 * merged, and time ranges under the same offset range likewise; pairs that
 * are inside another are dropped.  What is left may still overlap.  slices
 * must hold KAFKA_BOUNDS_MAX_BOXES.  Returns their number.
 */
typedef struct KafkaSlice
{
	KafkaRange offset;
	KafkaRange time_ms;
} KafkaSlice;

extern int kafka_bounds_slices(const KafkaBounds *bounds, int32_t partition,
							   int npartitions, KafkaSlice *slices);

extern KafkaRange kafka_range_intersect(KafkaRange a, KafkaRange b);
extern bool kafka_range_is_empty(KafkaRange range);

/*
 * The integers that satisfy "x OP value".  KAFKA_OP_NE is not one range and
 * gives all.  The only other range that is not exact is that of INT64_MAX,
 * which comes with its neighbour INT64_MAX - 1.
 */
extern KafkaRange kafka_range_from_op(KafkaOp op, int64_t value);

/*
 * Sorts ranges and merges those that overlap or touch, dropping empty ones;
 * returns how many are left.
 */
extern int kafka_range_merge(KafkaRange *ranges, int nranges);

#endif /* KAFKA_BOUNDS_H */
