/*-------------------------------------------------------------------------
 *
 * pushdown_inverse.c
 *		From the range of a form back to the range of its column.
 *
 * Each step is undone by a function that, given the range its result is to
 * lie in, widens or moves it to a range that its argument then lies in.  That
 * range may be too large, never too small; where a step gets neither smaller
 * nor larger but in whole units, and no transition of a zone is near, it is
 * exact.  The functions return false where nothing can be said, for instance
 * because the step would raise an error: raising it is the executor's, when
 * there is a row to raise it for.
 *
 * Times that are farther away than anybody has records of are not computed
 * with: after each step a bound out there becomes none, or is moved near
 * enough.  So the functions may assume times which the server can compute
 * with.
 *
 * IDENTIFICATION
 *		src/fdw/pushdown_inverse.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/int.h"
#include "core/moment.h"
#include "fdw/pushdown_node.h"
#include "parser/scansup.h"
#include "utils/date.h"
#include "utils/datetime.h"
#include "utils/fmgrprotos.h"
#include "utils/timestamp.h"

/* 0001-01-01 and 100000-01-01 */
#define NEAREST_PAST_US INT64CONST(-63082281600000000)
#define FARTHEST_FUTURE_US INT64CONST(3092602032000000000)

/* Numbers of days that are computed with; more than there are above. */
#define MOST_DAYS 100000000

#define MAX_TYPMOD 6

/* From this day of a month on there are months that have no such day. */
#define LAST_COMMON_DAY 28

/* A transition between the two sides of "trunc" moves it by few units. */
#define MAX_TIGHTENINGS 3

static bool
is_low_open(KafkaRange range)
{
	return range.start == PG_INT64_MIN;
}

static bool
is_high_open(KafkaRange range)
{
	return range.end == PG_INT64_MAX;
}

/* See the top of the file. */
static KafkaRange
keep_near(KafkaRange range)
{
	if (kafka_range_is_empty(range))
		return KAFKA_RANGE_NONE;
	if (range.start < NEAREST_PAST_US)
		range.start = PG_INT64_MIN;
	else if (range.start > FARTHEST_FUTURE_US)
		range.start = FARTHEST_FUTURE_US;
	if (range.end > FARTHEST_FUTURE_US)
		range.end = PG_INT64_MAX;
	else if (range.end < NEAREST_PAST_US)
		range.end = NEAREST_PAST_US;
	return range;
}

/* A bound that is moved out of what an integer can hold stops at its limit. */
static int64
move_bound(int64 bound, int64 distance_us)
{
	if (bound == PG_INT64_MIN || bound == PG_INT64_MAX)
		return bound;
	if (pg_add_s64_overflow(bound, distance_us, &bound))
		return distance_us > 0 ? PG_INT64_MAX - 1 : PG_INT64_MIN + 1;
	return bound;
}

/* Of the days anybody counts in the product does not overflow. */
static bool
are_usable_days(int64 days)
{
	return Abs(days) < MOST_DAYS;
}

static void
move_range(KafkaRange *range, int64 distance_us)
{
	range->start = move_bound(range->start, distance_us);
	range->end = move_bound(range->end, distance_us);
}

/* ------------------------------------------------------------------------
 * Zones
 * ------------------------------------------------------------------------ */

/* Local times to points in time. */
static void
undo_at_zone(const KafkaZone *zone, KafkaRange *range)
{
	if (!is_low_open(*range))
		range->start -= kafka_zone_near_local(zone, range->start).max_us;
	if (!is_high_open(*range))
		range->end -= kafka_zone_near_local(zone, range->end).min_us;
	*range = keep_near(*range);
}

/* Points in time to local times. */
static void
undo_from_zone(const KafkaZone *zone, KafkaRange *range)
{
	if (!is_low_open(*range))
		range->start += kafka_zone_near_instant(zone, range->start).min_us;
	if (!is_high_open(*range))
		range->end += kafka_zone_near_instant(zone, range->end).max_us;
	*range = keep_near(*range);
}

static bool
find_zone(const KafkaStep *step, const Datum *values, KafkaZone *zone)
{
	if (step->args[0] < 0)
	{
		*zone = kafka_zone_of_session();
		return true;
	}
	return kafka_zone_resolve(values[step->args[0]], zone);
}

/* The zone that an interval is. */
static bool
find_offset(Datum value, KafkaZone *zone)
{
	const Interval *interval = DatumGetIntervalP(value);

	memset(zone, 0, sizeof(*zone));
	zone->distance_us = interval->time / USECS_PER_SEC * USECS_PER_SEC;
	return interval->month == 0 && interval->day == 0 &&
		   Abs(interval->time) < 7 * USECS_PER_DAY;
}

static bool
undo_zone(const KafkaStep *step, const Datum *values, KafkaRange *range)
{
	KafkaZone zone;
	bool is_offset = step->kind == KAFKA_STEP_AT_OFFSET ||
					 step->kind == KAFKA_STEP_FROM_OFFSET;

	if (is_offset ? !find_offset(values[step->args[0]], &zone)
				  : !find_zone(step, values, &zone))
		return false;
	if (step->kind == KAFKA_STEP_AT_ZONE || step->kind == KAFKA_STEP_AT_OFFSET)
		undo_at_zone(&zone, range);
	else
		undo_from_zone(&zone, range);
	return true;
}

/* ------------------------------------------------------------------------
 * Intervals
 * ------------------------------------------------------------------------ */

/* Local time plus months, which end on the last day of a shorter month. */
static bool
add_months(int64 *local_us, int months, int *day)
{
	struct pg_tm tm;
	fsec_t fsec;
	int64 total;

	if (timestamp2tm(*local_us, NULL, &tm, &fsec, NULL, NULL) != 0)
		return false;
	*day = tm.tm_mday;
	total = (int64) tm.tm_year * MONTHS_PER_YEAR + tm.tm_mon - 1 + months;
	if (total < MONTHS_PER_YEAR || total > 200000 * MONTHS_PER_YEAR)
		return false;
	tm.tm_year = total / MONTHS_PER_YEAR;
	tm.tm_mon = total % MONTHS_PER_YEAR + 1;
	tm.tm_mday = Min(tm.tm_mday, day_tab[isleap(tm.tm_year)][tm.tm_mon - 1]);
	return tm2timestamp(&tm, fsec, NULL, local_us) == 0;
}

/*
 * Undoes the addition of months.  What is before the start less the months is
 * before the start when they are added: no later day, and if on the same day,
 * then earlier in it.  The other end is different, since the last days of a
 * long month all become the last day of a short one.
 */
static bool
undo_months(KafkaRange *range, int months)
{
	int day;

	if (!is_low_open(*range) && !add_months(&range->start, -months, &day))
		return false;
	if (!is_high_open(*range))
	{
		if (!add_months(&range->end, -months, &day))
			return false;
		if (day >= LAST_COMMON_DAY)
			range->end += (31 - LAST_COMMON_DAY + 1) * USECS_PER_DAY;
	}
	*range = keep_near(*range);
	return true;
}

/*
 * Undoes the addition of an interval: of microseconds, days and months, in
 * this order, since the server adds them in the other.  To points in time it
 * adds days and months in the session's zone.
 */
static bool
undo_interval(KafkaRange *range, const Interval *interval, int sign,
			  bool is_zoned)
{
	KafkaZone zone = kafka_zone_of_session();

	if (interval->time == PG_INT64_MIN || !are_usable_days(interval->day) ||
		!are_usable_days(interval->month))
		return false;
	move_range(range, -sign * interval->time);
	*range = keep_near(*range);
	if (interval->day != 0)
	{
		if (is_zoned)
			undo_from_zone(&zone, range);
		move_range(range, -sign * interval->day * USECS_PER_DAY);
		*range = keep_near(*range);
		if (is_zoned)
			undo_at_zone(&zone, range);
	}
	if (interval->month != 0)
	{
		if (is_zoned)
			undo_from_zone(&zone, range);
		if (!undo_months(range, sign * interval->month))
			return false;
		if (is_zoned)
			undo_at_zone(&zone, range);
	}
	return true;
}

static bool
undo_days(KafkaRange *range, int64 days)
{
	if (!are_usable_days(days))
		return false;
	move_range(range, -days * USECS_PER_DAY);
	return true;
}

/* The distance from a constant time, in either direction. */
static bool
undo_distance(KafkaRange *range, int64 time_us, bool is_until)
{
	KafkaRange distance = *range;

	if (TIMESTAMP_NOT_FINITE(time_us))
		return false;
	if (!is_until)
	{
		move_range(range, time_us);
		return true;
	}
	*range = KAFKA_RANGE_ALL;
	if (!is_low_open(distance))
		range->end = move_bound(-distance.start + 1, time_us);
	if (!is_high_open(distance))
		range->start = move_bound(-distance.end + 1, time_us);
	return true;
}

static bool
undo_date_distance(KafkaRange *range, DateADT date, bool is_until)
{
	if (!are_usable_days(date))
		return false;
	return undo_distance(range, date * USECS_PER_DAY, is_until);
}

/* ------------------------------------------------------------------------
 * What leaves nothing but a grid of times
 * ------------------------------------------------------------------------ */

/*
 * Rounding to digits of a second, halves away from 2000-01-01.  The range
 * shrinks to the rounded times that it has, then widens by half a unit at
 * both ends.
 */
static bool
undo_round(KafkaRange *range, int typmod)
{
	int64 unit = USECS_PER_SEC;
	int64 half;

	if (typmod < 0 || typmod > MAX_TYPMOD)
		return false;
	for (int i = 0; i < typmod; i++)
		unit /= 10;
	half = unit / 2;
	if (half == 0)
		return true;
	if (!is_low_open(*range))
	{
		int64 rest = range->start % unit;
		int64 first = range->start - rest + (rest > 0 ? unit : 0) - half;

		range->start = first < 0 ? first + 1 : first;
	}
	if (!is_high_open(*range))
	{
		int64 rest = range->end % unit;
		int64 last = range->end - rest + (rest > 0 ? unit : 0) - half;

		range->end = last < 0 ? last + 1 : last;
	}
	return true;
}

/* The first multiple of a stride, counted from an origin, from a time on. */
static bool
find_bin(int64 *time_us, int64 stride_us, int64 origin_us)
{
	int64 distance;
	int64 rest;

	if (pg_sub_s64_overflow(*time_us, origin_us, &distance))
		return false;
	rest = distance % stride_us;
	if (rest > 0)
		rest -= stride_us;
	return !pg_sub_s64_overflow(*time_us, rest, time_us);
}

/*
 * The server's function is asked what it makes of the end: there are versions
 * which put the start of a bin before the origin into the bin before.
 */
static bool
undo_bin(KafkaRange *range, Datum stride, int64 origin_us)
{
	const Interval *interval = DatumGetIntervalP(stride);
	int64 stride_us;

	if (interval->month != 0 || TIMESTAMP_NOT_FINITE(origin_us) ||
		pg_mul_s64_overflow(interval->day, USECS_PER_DAY, &stride_us) ||
		pg_add_s64_overflow(stride_us, interval->time, &stride_us) ||
		stride_us <= 0)
		return false;
	if (!is_low_open(*range) && !find_bin(&range->start, stride_us, origin_us))
		return false;
	if (!is_high_open(*range))
	{
		int64 end = range->end;

		if (!find_bin(&range->end, stride_us, origin_us))
			return false;
		*range = keep_near(*range);
		if (!is_high_open(*range) &&
			DatumGetTimestamp(
				DirectFunctionCall3(timestamp_bin, stride,
									TimestampGetDatum(range->end),
									TimestampGetDatum(origin_us))) < end)
			range->end++;
	}
	return true;
}

/*
 * A unit of date_trunc.  days is what surely leads into the next unit from
 * the first moment of one, and not past it; 0 for less than a day.
 */
typedef struct TruncUnit
{
	int value; /* as DecodeUnits says */
	int64 days;
	int64 length_us; /* of less than a day */
} TruncUnit;

static const TruncUnit trunc_units[] = {
	{DTK_MICROSEC, 0, 1},
	{DTK_MILLISEC, 0, 1000},
	{DTK_SECOND, 0, USECS_PER_SEC},
	{DTK_MINUTE, 0, USECS_PER_MINUTE},
	{DTK_HOUR, 0, USECS_PER_HOUR},
	{DTK_DAY, 1, 0},
	{DTK_WEEK, 10, 0},
	{DTK_MONTH, 45, 0},
	{DTK_QUARTER, 135, 0},
	{DTK_YEAR, 550, 0},
	{DTK_DECADE, 15 * 365, 0},
	{DTK_CENTURY, 150 * 365, 0},
	{DTK_MILLENNIUM, 1500 * 365, 0},
};

static const TruncUnit day_unit = {DTK_DAY, 1, 0};

static const TruncUnit *
find_unit(Datum name)
{
	text *given = DatumGetTextPP(name);
	char *lower =
		downcase_truncate_identifier(VARDATA_ANY(given),
									 VARSIZE_ANY_EXHDR(given), false);
	int value;
	int type = DecodeUnits(0, lower, &value);

	pfree(lower);
	for (int i = 0; type == UNITS && i < (int) lengthof(trunc_units); i++)
	{
		if (trunc_units[i].value == value)
			return &trunc_units[i];
	}
	return NULL;
}

/* The last first moment of a unit up to a local time, and the next of all. */
static int64
trunc_local(const TruncUnit *unit, Datum name, int64 local_us)
{
	int64 length_us = unit->days == 1 ? USECS_PER_DAY : unit->length_us;
	int64 rest;

	if (length_us == 0)
		return DatumGetTimestamp(
			DirectFunctionCall2(timestamp_trunc, name,
								TimestampGetDatum(local_us)));
	rest = local_us % length_us;
	return local_us - rest - (rest < 0 ? length_us : 0);
}

static int64
next_unit(const TruncUnit *unit, Datum name, int64 first_us)
{
	int64 length_us =
		unit->days == 0 ? unit->length_us : unit->days * USECS_PER_DAY;

	return trunc_local(unit, name, first_us + length_us);
}

/* The first moment of the unit that begins at or after a local time. */
static int64
ceil_local(const TruncUnit *unit, Datum name, int64 local_us)
{
	int64 first_us = trunc_local(unit, name, local_us);

	return first_us == local_us ? local_us : next_unit(unit, name, first_us);
}

/*
 * Where truncated local times have been given a zone again, and a transition
 * was near, the range may have got an hour too wide, and so a unit.  Units at
 * its ends that the zone maps out of the range are left out.
 */
static void
tighten_units(const TruncUnit *unit, Datum name, const KafkaZone *zone,
			  KafkaRange outer, KafkaRange *range)
{
	int64 instant_us;

	for (int i = 0; i < MAX_TIGHTENINGS && !is_low_open(*range); i++)
	{
		if (!kafka_zone_to_instant(zone, range->start, &instant_us) ||
			instant_us >= outer.start)
			break;
		range->start = next_unit(unit, name, range->start);
	}
	for (int i = 0; i < MAX_TIGHTENINGS && !is_high_open(*range); i++)
	{
		int64 last = trunc_local(unit, name, range->end - 1);

		if (!kafka_zone_to_instant(zone, last, &instant_us) ||
			instant_us < outer.end)
			break;
		range->end = last;
	}
}

/*
 * Undoes truncation of local times to a unit, a date being one of days.  step
 * + 1 may be the step that gives them their zone, from the range *outer.
 */
static bool
undo_trunc(const KafkaForm *form, int step, const Datum *values,
		   KafkaRange outer, KafkaRange *range)
{
	const KafkaStep *this = &form->steps[step];
	const KafkaStep *next = this + 1;
	const TruncUnit *unit = &day_unit;
	Datum name = (Datum) 0;
	KafkaZone zone;

	if (this->kind == KAFKA_STEP_TRUNC)
	{
		name = values[this->args[0]];
		unit = find_unit(name);
		if (unit == NULL)
			return false;
	}
	if (!is_low_open(*range))
		range->start = ceil_local(unit, name, range->start);
	if (!is_high_open(*range))
		range->end = ceil_local(unit, name, range->end);
	/* of less than a day the server keeps the distance there was before */
	if (unit->days > 0 && step + 1 < form->nsteps &&
		next->kind == KAFKA_STEP_FROM_ZONE && find_zone(next, values, &zone))
		tighten_units(unit, name, &zone, outer, range);
	return true;
}

/* ------------------------------------------------------------------------
 * All
 * ------------------------------------------------------------------------ */

static bool
undo_step(const KafkaForm *form, int step, const Datum *values,
		  KafkaRange outer, KafkaRange *range)
{
	const KafkaStep *this = &form->steps[step];
	Datum arg = this->args[0] < 0 ? (Datum) 0 : values[this->args[0]];

	switch (this->kind)
	{
		case KAFKA_STEP_ROUND:
			return undo_round(range, this->args[0] < 0 ? this->args[1]
													   : DatumGetInt32(arg));
		case KAFKA_STEP_AT_ZONE:
		case KAFKA_STEP_FROM_ZONE:
		case KAFKA_STEP_AT_OFFSET:
		case KAFKA_STEP_FROM_OFFSET:
			return undo_zone(this, values, range);
		case KAFKA_STEP_TRUNC:
		case KAFKA_STEP_DAY:
			return undo_trunc(form, step, values, outer, range);
		case KAFKA_STEP_BIN:
			return undo_bin(range, arg,
							DatumGetTimestamp(values[this->args[1]]));
		case KAFKA_STEP_ADD:
			return undo_interval(range, DatumGetIntervalP(arg), 1, false);
		case KAFKA_STEP_SUBTRACT:
			return undo_interval(range, DatumGetIntervalP(arg), -1, false);
		case KAFKA_STEP_ADD_ZONED:
			return undo_interval(range, DatumGetIntervalP(arg), 1, true);
		case KAFKA_STEP_SUBTRACT_ZONED:
			return undo_interval(range, DatumGetIntervalP(arg), -1, true);
		case KAFKA_STEP_ADD_DAYS:
			return undo_days(range, DatumGetInt32(arg));
		case KAFKA_STEP_SUBTRACT_DAYS:
			return undo_days(range, -(int64) DatumGetInt32(arg));
		case KAFKA_STEP_SINCE:
		case KAFKA_STEP_UNTIL:
			return undo_distance(range, DatumGetTimestamp(arg),
								 this->kind == KAFKA_STEP_UNTIL);
		case KAFKA_STEP_SINCE_DATE:
		case KAFKA_STEP_UNTIL_DATE:
			return undo_date_distance(range, DatumGetDateADT(arg),
									  this->kind == KAFKA_STEP_UNTIL_DATE);
		case KAFKA_STEP_EPOCH:
			move_range(range, SetEpochTimestamp());
			return true;
	}
	return false;
}

/* The milliseconds of records of a column's microseconds. */
static KafkaRange
record_times(KafkaRange range, int64 skew_ms)
{
	KafkaRange start = KAFKA_RANGE_ALL;
	KafkaRange end = KAFKA_RANGE_ALL;

	if (!is_low_open(range))
		start = kafka_moment_range(KAFKA_OP_GE,
								   move_bound(range.start, -skew_ms * 1000));
	if (!is_high_open(range))
		end = kafka_moment_range(KAFKA_OP_LT,
								 move_bound(range.end, skew_ms * 1000));
	return kafka_range_intersect(start, end);
}

KafkaRange
kafka_form_invert(const KafkaForm *form, const Datum *values, KafkaRange range)
{
	KafkaRange outer = range; /* before the step above was undone */

	if (form->dimension != KAFKA_DIMENSION_TIME)
		return range;
	for (int i = form->nsteps - 1; i >= 0; i--)
	{
		KafkaRange before;

		range = keep_near(range);
		before = range;
		if (kafka_range_is_empty(range))
			return KAFKA_RANGE_NONE;
		if (!undo_step(form, i, values, outer, &range))
			return KAFKA_RANGE_ALL;
		outer = before;
	}
	if (kafka_range_is_empty(range))
		return KAFKA_RANGE_NONE;
	return record_times(range, form->skew_ms);
}
