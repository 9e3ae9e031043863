/*-------------------------------------------------------------------------
 *
 * fuzz_moment.c
 *		Reads input bytes as a time, and as the bound of a condition.
 *
 * A time that is accepted as ISO 8601 must be the one whose date and time of
 * day, computed backwards, are in the text.  A Unix number is computed a
 * second time in 128 bits where it fits them.  A range of milliseconds must
 * agree with its operator at the milliseconds around the bound.
 *
 * IDENTIFICATION
 *		test/fuzz/fuzz_moment.c
 *
 *-------------------------------------------------------------------------
 */
#include <string.h>

#include "moment.h"
#include "replay.h"

#define EPOCH_US INT64_C(946684800000000)
#define US_PER_DAY INT64_C(86400000000)

/* The largest power of ten that 128 bits can take beside 18 digits. */
#define MAX_SHIFT 19

static int64_t
floor_divide(int64_t value, int64_t divisor)
{
	return value / divisor - (value % divisor < 0);
}

/* The date of a day counted from 2000-01-01, by walking through the years. */
static void
format_date(int64_t day, char *text, size_t size)
{
	static const int month_days[] = {31, 28, 31, 30, 31, 30,
									 31, 31, 30, 31, 30, 31};
	int year = 2000;
	int month;

	/* 146097 days are 400 years */
	year += (int) (400 * floor_divide(day, 146097));
	day -= 146097 * floor_divide(day, 146097);
	for (;; year++)
	{
		int leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;

		if (day >= 365 + leap)
		{
			day -= 365 + leap;
			continue;
		}
		for (month = 0; day >= month_days[month] + (month == 1 && leap);
			 month++)
			day -= month_days[month] + (month == 1 && leap);
		break;
	}
	snprintf(text, size, "%04d-%02d-%02d", year, month + 1, (int) day + 1);
}

static void
check_iso8601(const char *text, size_t length)
{
	char copy[48];
	char date[48];
	char time[48];
	char *zone;
	int64_t time_us;
	int64_t local_us;
	int hour = 0;
	int minute = 0;
	double second = 0;

	if (!kafka_moment_from_iso8601(text, length, &time_us))
		return;
	REQUIRE(length >= 20 && length <= 35);
	REQUIRE(time_us >= KAFKA_MOMENT_MIN_US && time_us < KAFKA_MOMENT_END_US);
	memcpy(copy, text, length);
	copy[length] = '\0';
	zone = copy + 19 + strspn(copy + 19, ".0123456789");
	if (strcmp(zone, "Z") != 0)
	{
		REQUIRE(sscanf(zone + 1, "%2d%2d", &hour, &minute) >= 1);
		if (zone[3] == ':')
			REQUIRE(sscanf(zone + 4, "%2d", &minute) == 1);
	}
	local_us = time_us + (zone[0] == '-' ? -1 : 1) * (hour * 60 + minute) *
							 INT64_C(60000000);

	*zone = '\0';
	REQUIRE(sscanf(copy + 17, "%lf", &second) == 1);
	/* rounding may have carried into the next second, minute, or day */
	local_us -= (int64_t) (second * 1000000 + 0.5);
	format_date(floor_divide(local_us, US_PER_DAY), date, sizeof(date));
	REQUIRE(memcmp(date, copy, 10) == 0);
	local_us -= US_PER_DAY * floor_divide(local_us, US_PER_DAY);
	REQUIRE(local_us % INT64_C(60000000) == 0);
	local_us /= INT64_C(60000000);
	snprintf(time, sizeof(time), "%02d:%02d:", (int) (local_us / 60),
			 (int) (local_us % 60));
	REQUIRE(memcmp(time, copy + 11, 6) == 0);
}

/*
 * Reads plain digits with a point, no exponent and at most 18 digits, and
 * computes the time; false where that is not what the text is.
 */
static bool
compute_unix(const char *text, size_t length, int unit_exponent,
			 __int128 *time_us)
{
	__int128 value = 0;
	__int128 divisor = 1;
	__int128 rest;
	int ndigits = 0;
	int shift = unit_exponent;
	bool negative = length > 0 && text[0] == '-';
	bool fraction = false;
	size_t i;

	for (i = negative; i < length; i++)
	{
		if (text[i] == '.' && !fraction)
			fraction = true;
		else if (text[i] < '0' || text[i] > '9' || ++ndigits > 18)
			return false;
		else
		{
			value = value * 10 + (text[i] - '0');
			shift -= fraction;
		}
	}
	if (ndigits == 0 || shift > MAX_SHIFT || shift < -2 * MAX_SHIFT)
		return false;
	for (; shift > 0; shift--)
		value *= 10;
	for (; shift < 0; shift++)
		divisor *= 10;
	rest = value % divisor;
	value /= divisor;
	if (rest * 2 > divisor || (rest * 2 == divisor && value % 2 == 1))
		value++;
	*time_us = (negative ? -value : value) - EPOCH_US;
	return true;
}

static void
check_unix(const char *text, size_t length, KafkaMomentUnit unit)
{
	static const int unit_exponents[] = {6, 3, 0, -3};
	KafkaMomentStatus status;
	int64_t time_us = 0;
	__int128 expected_us;
	bool inside;

	status = kafka_moment_from_unix(text, length, unit, &time_us);
	if (status == KAFKA_MOMENT_OK)
		REQUIRE(time_us >= KAFKA_MOMENT_MIN_US &&
				time_us < KAFKA_MOMENT_END_US);
	if (status == KAFKA_MOMENT_INVALID ||
		!compute_unix(text, length, unit_exponents[unit], &expected_us))
		return;
	inside = expected_us >= KAFKA_MOMENT_MIN_US &&
			 expected_us < KAFKA_MOMENT_END_US;
	REQUIRE(inside == (status == KAFKA_MOMENT_OK));
	REQUIRE(!inside || time_us == (int64_t) expected_us);
}

static void
check_range(KafkaOp op, int64_t bound_us)
{
	KafkaRange range = kafka_moment_range(op, bound_us);
	int k;

	if (bound_us == INT64_MIN || bound_us == INT64_MAX)
		return;
	for (k = -2; k <= 2; k++)
	{
		int64_t time_ms = bound_us / 1000 + EPOCH_US / 1000 + k;
		/* in 128 bits: near the edges of int64 this does not fit */
		__int128 time_us = (__int128) time_ms * 1000 - EPOCH_US;
		const bool holds[] =
			{time_us<bound_us, time_us <= bound_us, time_us == bound_us,
					 time_us >= bound_us, time_us>
				 bound_us,
			 true};

		REQUIRE((range.start <= time_ms && time_ms < range.end) == holds[op]);
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	int64_t time_us;
	int64_t value;

	if (size < 1)
		return 0;
	check_iso8601((const char *) data + 1, size - 1);
	check_unix((const char *) data + 1, size - 1,
			   (KafkaMomentUnit) (data[0] & 3));
	if (size >= 1 + sizeof(value))
	{
		memcpy(&value, data + 1, sizeof(value));
		check_range((KafkaOp) (data[0] % 6), value);
		if (kafka_moment_from_kafka(value, &time_us))
		{
			REQUIRE(time_us >= KAFKA_MOMENT_MIN_US);
			REQUIRE(time_us < KAFKA_MOMENT_END_US);
			REQUIRE(time_us + (__int128) EPOCH_US == (__int128) value * 1000);
		}
	}
	return 0;
}
