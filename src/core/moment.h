/*-------------------------------------------------------------------------
 *
 * moment.h
 *		Points in time: ISO 8601 and Unix numbers into microseconds, and
 *		microsecond comparisons into Kafka's millisecond ranges.
 *
 * Times in microseconds count from 2000-01-01 00:00 UTC as PostgreSQL's
 * TimestampTz does; times in milliseconds count from 1970-01-01 00:00 UTC as
 * Kafka's record timestamps do.
 *
 * IDENTIFICATION
 *		src/core/moment.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef KAFKA_MOMENT_H
#define KAFKA_MOMENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "bounds.h"

/* PostgreSQL's limits: timestamptz is [MIN, END) with two infinities. */
#define KAFKA_MOMENT_MIN_US INT64_C(-211813488000000000)
#define KAFKA_MOMENT_END_US INT64_C(9223371331200000000)
#define KAFKA_MOMENT_NEGATIVE_INFINITY_US INT64_MIN
#define KAFKA_MOMENT_INFINITY_US INT64_MAX

/*
 * Reads the common, unambiguous shapes of ISO 8601 that carry a zone:
 * YYYY-MM-DD, then "T" or one space, hh:mm:ss, up to nine digits of fraction,
 * then Z, +hh, +hhmm or +hh:mm (or -).  True and *time_us when the text has
 * such a shape and timestamptz_in would give that very value whatever the
 * session's settings; false for everything else, right or wrong, which is for
 * timestamptz_in to judge.  Digits past the sixth are rounded as there; a
 * column's own precision, timestamptz(3), is the caller's to apply.
 */
extern bool kafka_moment_from_iso8601(const char *text, size_t length,
									  int64_t *time_us);

typedef enum KafkaMomentUnit
{
	KAFKA_MOMENT_S,
	KAFKA_MOMENT_MS,
	KAFKA_MOMENT_US,
	KAFKA_MOMENT_NS
} KafkaMomentUnit;

typedef enum KafkaMomentStatus
{
	KAFKA_MOMENT_OK = 0,
	KAFKA_MOMENT_INVALID,     /* not a decimal number */
	KAFKA_MOMENT_OUT_OF_RANGE /* not in timestamptz's range */
} KafkaMomentStatus;

/*
 * Reads a decimal number (JSON's grammar, blanks around it allowed, so that
 * "1700000000.25", 17e8 and a quoted "1700000000250" work alike) of units
 * since 1970.  Exact: no floating point; what is finer than a microsecond is
 * rounded to the nearest, halves to even.
 */
extern KafkaMomentStatus kafka_moment_from_unix(const char *text,
												size_t length,
												KafkaMomentUnit unit,
												int64_t *time_us);

/* A record timestamp in milliseconds as timestamptz; false when outside. */
extern bool kafka_moment_from_kafka(int64_t time_ms, int64_t *time_us);

/*
 * The milliseconds that satisfy "record time OP time_us", as a half-open
 * range: >= a rounds up, > a is floor + 1, <= b ends at floor(b) + 1, < b at
 * ceil(b), and = is empty unless a is a whole millisecond.  The infinities
 * give everything or nothing.  KAFKA_OP_NE gives everything.
 */
extern KafkaRange kafka_moment_range(KafkaOp op, int64_t time_us);

#endif /* KAFKA_MOMENT_H */
