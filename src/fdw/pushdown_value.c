/*-------------------------------------------------------------------------
 *
 * pushdown_value.c
 *		What comparing a form with a value says of it, as a range of integers.
 *
 * Times count microseconds, as the server does; dates are their midnights, and
 * intervals have the length by which the server compares them, months of 30
 * days.  Numbers that are compared with seconds since 1970 are multiplied to
 * microseconds, which is where they stop to be whole.
 *
 * IDENTIFICATION
 *		src/fdw/pushdown_value.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "common/int.h"
#include "fdw/pushdown_node.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/multirangetypes.h"
#include "utils/numeric.h"
#include "utils/rangetypes.h"
#include "utils/timestamp.h"
#include "utils/typcache.h"

/*
 * Numbers beyond these are not told apart: of seconds, where a microsecond is
 * no longer found in few steps among what a double can tell apart (some 16
 * microseconds); of integers, where they may not be in range.
 */
#define FARTHEST_S 1e11
#define FARTHEST_INTEGER 9.2e18

/* A number between two integers, or beyond them. */
typedef struct Threshold
{
	int64 floor;   /* the largest integer that is not larger */
	bool is_whole; /* it is that integer */
	int infinite;  /* 1 or -1: it is larger, or smaller, than all that is */
} Threshold;

static KafkaRange
range_from_threshold(KafkaOp op, Threshold value)
{
	bool passes_all;

	if (value.infinite != 0)
	{
		passes_all = value.infinite > 0
						 ? op == KAFKA_OP_LT || op == KAFKA_OP_LE
						 : op == KAFKA_OP_GT || op == KAFKA_OP_GE;
		if (passes_all || op == KAFKA_OP_NE)
			return KAFKA_RANGE_ALL;
		return KAFKA_RANGE_NONE;
	}
	if (!value.is_whole)
	{
		if (op == KAFKA_OP_EQ)
			return KAFKA_RANGE_NONE;
		if (op == KAFKA_OP_GE)
			op = KAFKA_OP_GT;
		if (op == KAFKA_OP_LT)
			op = KAFKA_OP_LE;
	}
	return kafka_range_from_op(op, value.floor);
}

static Threshold
threshold_from_time(int64 time_us)
{
	Threshold result = {time_us, true, 0};

	if (TIMESTAMP_NOT_FINITE(time_us))
		result.infinite = TIMESTAMP_IS_NOEND(time_us) ? 1 : -1;
	return result;
}

/* Months of 30 days, days of 24 hours: as the server compares them. */
static Threshold
threshold_from_interval(const Interval *interval)
{
	int64 days = (int64) interval->month * DAYS_PER_MONTH + interval->day;
	Threshold result = {0, true, 0};

	if (pg_mul_s64_overflow(days, USECS_PER_DAY, &result.floor) ||
		pg_add_s64_overflow(result.floor, interval->time, &result.floor))
		result.infinite = days > 0 ? 1 : -1;
	return result;
}

/*
 * For a number beyond a limit, NaN being larger than all others: what passes is
 * everything, or lies beyond the limit as well.
 */
static KafkaRange
range_from_far(KafkaOp op, double number, double limit)
{
	bool is_low = op == KAFKA_OP_LT || op == KAFKA_OP_LE;
	bool is_high = op == KAFKA_OP_GT || op == KAFKA_OP_GE;
	bool is_positive = isnan(number) || number > 0;

	if (op == KAFKA_OP_NE || (is_positive ? is_low : is_high))
		return KAFKA_RANGE_ALL;
	if (is_positive)
		return (KafkaRange){(int64) limit, PG_INT64_MAX};
	return (KafkaRange){PG_INT64_MIN, (int64) -limit};
}

/* Seconds since 1970 where the form is of a time, else integers. */
static KafkaRange
range_from_numeric(const KafkaForm *form, KafkaOp op, Datum number)
{
	bool is_time = form->dimension == KAFKA_DIMENSION_TIME;
	double farthest = is_time ? FARTHEST_S : FARTHEST_INTEGER;
	int64 factor = is_time ? USECS_PER_SEC : 1;
	double rough = DatumGetFloat8(
		DirectFunctionCall1(numeric_float8_no_overflow, number));
	Threshold value = {0, true, 0};
	Datum product;
	Datum floor;

	if (isnan(rough) || fabs(rough) > farthest)
		return range_from_far(op, rough, farthest * factor);
	product = DirectFunctionCall2(numeric_mul, number,
								  NumericGetDatum(int64_to_numeric(factor)));
	floor = DirectFunctionCall1(numeric_floor, product);
	value.floor = DatumGetInt64(DirectFunctionCall1(numeric_int8, floor));
	value.is_whole =
		DatumGetBool(DirectFunctionCall2(numeric_eq, floor, product));
	return range_from_threshold(op, value);
}

/*
 * The microseconds whose quotients by a million, as the server computes them,
 * compare so with the number.
 */
static KafkaRange
range_from_float(KafkaOp op, double number)
{
	KafkaRange result = KAFKA_RANGE_ALL;
	int64 first;  /* whose quotient is not smaller than the number */
	int64 larger; /* whose quotient is larger */

	if (isnan(number) || fabs(number) > FARTHEST_S)
		return range_from_far(op, number, FARTHEST_S * USECS_PER_SEC);
	first = (int64) floor(number * 1000000.0);
	while ((first - 1) / 1000000.0 >= number)
		first--;
	while (first / 1000000.0 < number)
		first++;
	for (larger = first; larger / 1000000.0 <= number;)
		larger++;
	if (op == KAFKA_OP_GE || op == KAFKA_OP_EQ)
		result.start = first;
	if (op == KAFKA_OP_GT)
		result.start = larger;
	if (op == KAFKA_OP_LE || op == KAFKA_OP_EQ)
		result.end = larger;
	if (op == KAFKA_OP_LT)
		result.end = first;
	return result;
}

/* A time without zone is one of the session's where the form has a zone. */
static int64
read_time(const KafkaForm *form, Oid type, Datum value)
{
	bool with_zone = form->type == TIMESTAMPTZOID;
	int overflow; /* which the result tells as well: it is infinite */

	switch (type)
	{
		case DATEOID:
			return with_zone
					   ? date2timestamptz_opt_overflow(DatumGetDateADT(value),
													   &overflow)
					   : date2timestamp_opt_overflow(DatumGetDateADT(value),
													 &overflow);
		case TIMESTAMPOID:
			return with_zone
					   ? timestamp2timestamptz_opt_overflow(DatumGetTimestamp(
																value),
															&overflow)
					   : DatumGetTimestamp(value);
		default:
			Assert(type == TIMESTAMPTZOID);
			return DatumGetTimestampTz(value);
	}
}

static int64
read_integer(Oid type, Datum value)
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

/* Of a time, integers are days. */
static KafkaRange
range_from_integer(const KafkaForm *form, KafkaOp op, int64 value)
{
	KafkaRange range = kafka_range_from_op(op, value);

	if (form->dimension != KAFKA_DIMENSION_TIME)
		return range;
	if (range.start != PG_INT64_MIN &&
		pg_mul_s64_overflow(range.start, USECS_PER_DAY, &range.start))
		range.start = PG_INT64_MIN;
	if (range.end != PG_INT64_MAX &&
		pg_mul_s64_overflow(range.end, USECS_PER_DAY, &range.end))
		range.end = PG_INT64_MAX;
	return range;
}

KafkaRange
kafka_value_range(const KafkaForm *form, KafkaOp op, Oid type, Datum value)
{
	switch (type)
	{
		case INT2OID:
		case INT4OID:
		case INT8OID:
			return range_from_integer(form, op, read_integer(type, value));
		case NUMERICOID:
			return range_from_numeric(form, op, value);
		case FLOAT4OID:
			return range_from_float(op, DatumGetFloat4(value));
		case FLOAT8OID:
			return range_from_float(op, DatumGetFloat8(value));
		case INTERVALOID:
			return range_from_threshold(op, threshold_from_interval(
												DatumGetIntervalP(value)));
		default:
			return range_from_threshold(op, threshold_from_time(
												read_time(form, type, value)));
	}
}

static KafkaRange
range_from_bounds(const KafkaForm *form, Oid type, const RangeBound *lower,
				  const RangeBound *upper)
{
	KafkaRange result = KAFKA_RANGE_ALL;

	if (!lower->infinite)
		result =
			kafka_value_range(form,
							  lower->inclusive ? KAFKA_OP_GE : KAFKA_OP_GT,
							  type, lower->val);
	if (!upper->infinite)
		result =
			kafka_range_intersect(result, kafka_value_range(form,
															upper->inclusive
																? KAFKA_OP_LE
																: KAFKA_OP_LT,
															type, upper->val));
	return result;
}

static KafkaRange
range_from_range(const KafkaForm *form, const RangeType *range)
{
	TypeCacheEntry *cache =
		lookup_type_cache(RangeTypeGetOid(range), TYPECACHE_RANGE_INFO);
	RangeBound lower;
	RangeBound upper;
	bool is_empty;

	range_deserialize(cache, range, &lower, &upper, &is_empty);
	if (is_empty)
		return KAFKA_RANGE_NONE;
	return range_from_bounds(form, cache->rngelemtype->type_id, &lower,
							 &upper);
}

KafkaRange *
kafka_value_ranges(const KafkaForm *form, Oid type, Datum value, int *nranges)
{
	KafkaRange *ranges;
	MultirangeType *multirange;
	TypeCacheEntry *cache;

	if (!type_is_multirange(type))
	{
		*nranges = 1;
		ranges = palloc(sizeof(KafkaRange));
		ranges[0] = range_from_range(form, DatumGetRangeTypeP(value));
		return ranges;
	}
	multirange = DatumGetMultirangeTypeP(value);
	cache = lookup_type_cache(MultirangeTypeGetOid(multirange),
							  TYPECACHE_MULTIRANGE_INFO)
				->rngtype;
	*nranges = multirange->rangeCount;
	ranges = palloc(Max(*nranges, 1) * sizeof(KafkaRange));
	for (int i = 0; i < *nranges; i++)
	{
		RangeBound lower;
		RangeBound upper;

		multirange_get_bounds(cache, multirange, i, &lower, &upper);
		ranges[i] = range_from_bounds(form, cache->rngelemtype->type_id,
									  &lower, &upper);
	}
	return ranges;
}
