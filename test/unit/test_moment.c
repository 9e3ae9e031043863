/*-------------------------------------------------------------------------
 *
 * test_moment.c
 *		Checks the reading of times, and the ranges made from them.
 *
 * What timestamptz_in and numeric arithmetic say about random texts is the
 * business of test/fuzz/moment_oracle; here are the limits, and everything
 * that can be enumerated: each day of the calendar, each changed byte, each
 * millisecond around an edge.
 *
 * IDENTIFICATION
 *		test/unit/test_moment.c
 *
 *-------------------------------------------------------------------------
 */
#include <stdio.h>
#include <stdlib.h>

#include "moment.h"
#include "tap.h"

#define US_PER_DAY INT64_C(86400000000)
#define EPOCH_US INT64_C(946684800000000)

/* Reads from storage of exactly the text's length. */
static bool
read_iso8601(const char *text, int64_t *time_us)
{
	size_t length = strlen(text);
	char *copy = malloc(length);
	bool accepted;

	memcpy(copy, text, length);
	accepted = kafka_moment_from_iso8601(copy, length, time_us);
	free(copy);
	return accepted;
}

static void
test_iso8601_values(void)
{
	static const struct
	{
		const char *text;
		int64_t time_us;
	} cases[] = {
		{"2000-01-01T00:00:00Z", 0},
		{"2000-01-01 00:00:00Z", 0},
		{"1970-01-01T00:00:00Z", -EPOCH_US},
		{"2013-01-01T10:00:00.123Z", INT64_C(410349600123000)},
		{"2013-01-01 10:00:00.123456+00", INT64_C(410349600123456)},
		{"2013-01-01T10:00:00.1+00:00", INT64_C(410349600100000)},
		{"2013-01-01T10:00:00+0130", INT64_C(410344200000000)},
		{"2013-01-01T10:00:00-01:30", INT64_C(410355000000000)},
		{"2013-01-01T10:00:00-09", INT64_C(410382000000000)},
		{"2013-01-01T10:00:00-00:00", INT64_C(410349600000000)},
		{"2000-01-01T00:00:00+15:59", -INT64_C(57540000000)},
		{"2000-01-01T00:00:00-1559", INT64_C(57540000000)},
		{"2000-02-29T23:59:59.999999Z", 60 * US_PER_DAY - 1},
		{"1999-12-31T23:59:59.000001Z", -999999},
		{"0001-01-01T00:00:00Z", -730119 * US_PER_DAY},
		{"0001-01-01T00:00:00+15",
		 -730119 * US_PER_DAY - INT64_C(54000000000)},
		{"9999-12-31T23:59:59.999999Z", INT64_C(252455615999999999)},
		/* more digits are rounded */
		{"2000-01-01T00:00:00.1234564Z", 123456},
		{"2000-01-01T00:00:00.1234566Z", 123457},
		{"2000-01-01T00:00:00.12345651Z", 123457},
		{"2000-01-01T00:00:00.123456499Z", 123456},
		{"2000-01-01T00:00:00.123456501Z", 123457},
		{"2000-01-01T00:00:00.999999999Z", 1000000},
		{"1999-12-31T23:59:59.9999999Z", 0},
	};
	size_t i;

	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		int64_t time_us = -1;

		ok(read_iso8601(cases[i].text, &time_us), "accepts \"%s\"",
		   cases[i].text);
		is_int(time_us, cases[i].time_us, "value of \"%s\"", cases[i].text);
	}
}

static void
test_iso8601_refusals(void)
{
	static const char *const texts[] = {"",
										"2013",
										"2013-01-01",
										"2013-01-01T10:00Z",
										"2013-01-01T10:00:00",
										"2013-01-01T10:00:00.123",
										"2013-01-01T10:00:00.Z",
										"2013-01-01T10:00:00,123Z",
										"2013-01-01t10:00:00Z",
										"2013-01-01T10:00:00z",
										"2013-01-01T10:00:00 Z",
										"2013-01-01T10:00:00ZZ",
										"2013-01-01T10:00:00Z ",
										" 2013-01-01T10:00:00Z",
										"2013-01-01  10:00:00Z",
										"0000-01-01T00:00:00Z",
										"-2013-01-01T10:00:00Z",
										"12013-01-01T10:00:00Z",
										"2013-00-01T10:00:00Z",
										"2013-13-01T10:00:00Z",
										"2013-01-00T10:00:00Z",
										"2013-01-32T10:00:00Z",
										"2013-02-29T10:00:00Z",
										"1900-02-29T10:00:00Z",
										"2000-02-30T10:00:00Z",
										"2013-04-31T10:00:00Z",
										"2013-01-01T24:00:00Z",
										"2013-01-01T10:60:00Z",
										"2013-01-01T10:00:60Z",
										"2013-01-01T23:59:60Z",
										"2013-01-01T10:00:00+16",
										"2013-01-01T10:00:00+16:00",
										"2013-01-01T10:00:00+1600",
										"2013-01-01T10:00:00+10:60",
										"2013-01-01T10:00:00+1060",
										"2013-01-01T10:00:00+1",
										"2013-01-01T10:00:00+100",
										"2013-01-01T10:00:00+10:0",
										"2013-01-01T10:00:00+10-30",
										"2013-01-01T10:00:00+10:00:00",
										"2013-01-01T10:00:00*10",
										"2013-01-01T10:00:00Europe/Berlin",
										"2013-01-01T10:00:00+",
										"2000-01-01T00:00:00.1234565Z",
										"2000-01-01T00:00:00.123456500Z",
										"2000-01-01T00:00:00.1234567891Z",
										"2013-01-01T10:00:00.1-",
										"infinity",
										"-infinity",
										"epoch and more than 20 bytes"};
	size_t i;

	for (i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
	{
		int64_t time_us;

		ok(!read_iso8601(texts[i], &time_us), "leaves \"%s\" to the server",
		   texts[i]);
	}
}

/* Counts days the way a calendar on the wall does. */
static void
test_every_day(void)
{
	static const int common_days[] = {31, 28, 31, 30, 31, 30,
									  31, 31, 30, 31, 30, 31};
	int64_t expected_us = -730119 * US_PER_DAY;
	int wrong = 0;
	int accepted = 0;
	int year;
	int month;
	int day;

	for (year = 0; year <= 9999; year++)
	{
		bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;

		for (month = 1; month <= 12; month++)
		{
			int ndays = common_days[month - 1] + (month == 2 && leap);

			for (day = 27; day <= 32; day++)
			{
				char text[64];
				int64_t time_us;
				bool valid = year > 0 && day <= ndays;

				snprintf(text, sizeof(text), "%04d-%02d-%02dT00:00:00Z", year,
						 month, day);
				if (read_iso8601(text, &time_us) != valid)
					wrong++;
				else if (valid)
				{
					accepted++;
					wrong += time_us != expected_us + (day - 1) * US_PER_DAY;
				}
			}
			if (year > 0)
				expected_us += ndays * US_PER_DAY;
		}
	}
	is_int(wrong, 0, "the end of every month from year 0 to 9999");
	is_int(expected_us, INT64_C(252455616000000000),
		   "the calendar ends where it should");
	/* a month has days 27 and 28, and 2 + days - 28 of the four after them */
	is_int(accepted, 9999 * 12 * 2 + 9999 * (11 * 2 + 7) + 2424,
		   "days accepted");
}

/* Every byte value in every place of a valid text. */
static void
test_changed_bytes(void)
{
	static const char *const texts[] = {"2012-10-20T13:15:17.123456+05:30",
										"2012-10-20 13:15:17.123Z",
										"2012-10-20T13:15:17-0530",
										"2012-10-20T13:15:17+05"};
	int wrong = 0;
	int accepted = 0;
	size_t i;
	size_t place;
	int byte;

	for (i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
	{
		for (place = 0; place < strlen(texts[i]); place++)
		{
			char was = texts[i][place];

			for (byte = 1; byte < 256; byte++)
			{
				char text[40];
				int64_t time_us;

				strcpy(text, texts[i]);
				text[place] = (char) byte;
				if (!read_iso8601(text, &time_us))
					wrong += byte == (unsigned char) was;
				else
				{
					accepted++;
					/* digits for digits, T for a blank, + for - */
					if (was >= '0' && was <= '9')
						wrong += byte < '0' || byte > '9';
					else if (was == 'T' || was == ' ')
						wrong += byte != 'T' && byte != ' ';
					else if (place > 18 && (was == '+' || was == '-'))
						wrong += byte != '+' && byte != '-';
					else
						wrong += byte != (unsigned char) was;
				}
			}
		}
	}
	is_int(wrong, 0, "no other byte is taken for the right one");
	ok(accepted > 4 * 100, "%d changed texts are valid", accepted);
}

static void
test_unix_values(void)
{
	static const struct
	{
		const char *text;
		KafkaMomentUnit unit;
		int64_t since_1970_us;
	} cases[] = {
		{"0", KAFKA_MOMENT_S, 0},
		{"-0", KAFKA_MOMENT_S, 0},
		{"0e999999999999999999999", KAFKA_MOMENT_S, 0},
		{"1700000000", KAFKA_MOMENT_S, INT64_C(1700000000000000)},
		{"1700000000.25", KAFKA_MOMENT_S, INT64_C(1700000000250000)},
		{"1.7e9", KAFKA_MOMENT_S, INT64_C(1700000000000000)},
		{"17e8", KAFKA_MOMENT_S, INT64_C(1700000000000000)},
		{"17E+8", KAFKA_MOMENT_S, INT64_C(1700000000000000)},
		{"17e-1", KAFKA_MOMENT_S, 1700000},
		{"170000000000000e-5", KAFKA_MOMENT_S, INT64_C(1700000000000000)},
		{" \t\r\n1700000000250 \t\r\n", KAFKA_MOMENT_MS,
		 INT64_C(1700000000250000)},
		{"1700000000250123", KAFKA_MOMENT_US, INT64_C(1700000000250123)},
		{"1700000000250123456", KAFKA_MOMENT_NS, INT64_C(1700000000250123)},
		{"-1.5", KAFKA_MOMENT_S, -1500000},
		{"-1", KAFKA_MOMENT_MS, -1000},
		{"0.000001", KAFKA_MOMENT_S, 1},
		{"0.001", KAFKA_MOMENT_MS, 1},
		{"1000", KAFKA_MOMENT_NS, 1},
		/* halves to even, and what is not quite a half */
		{"0.5", KAFKA_MOMENT_US, 0},
		{"1.5", KAFKA_MOMENT_US, 2},
		{"2.5", KAFKA_MOMENT_US, 2},
		{"-0.5", KAFKA_MOMENT_US, 0},
		{"-1.5", KAFKA_MOMENT_US, -2},
		{"-2.5", KAFKA_MOMENT_US, -2},
		{"0.50000000000000000000000000000000000001", KAFKA_MOMENT_US, 1},
		{"2.49999999999999999999999999999999999999", KAFKA_MOMENT_US, 2},
		{"0.05", KAFKA_MOMENT_US, 0},
		{"0.95", KAFKA_MOMENT_US, 1},
		{"500", KAFKA_MOMENT_NS, 0},
		{"501", KAFKA_MOMENT_NS, 1},
		{"1500", KAFKA_MOMENT_NS, 2},
		{"9.9999999", KAFKA_MOMENT_US, 10},
		/* digits and exponents that cancel out */
		{"0.0000000000000000000000000000017e39", KAFKA_MOMENT_S,
		 INT64_C(1700000000000000)},
		{"17000000000000000000000000000000000e-25", KAFKA_MOMENT_S,
		 INT64_C(1700000000000000)},
		{"1e-30", KAFKA_MOMENT_S, 0},
		{"1e-999999999999999999999999", KAFKA_MOMENT_S, 0},
		{"-1e-9223372036854775808", KAFKA_MOMENT_S, 0},
	};
	size_t i;

	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		int64_t time_us = -1;
		KafkaMomentStatus status;

		status = kafka_moment_from_unix(cases[i].text, strlen(cases[i].text),
										cases[i].unit, &time_us);
		is_int(status, KAFKA_MOMENT_OK, "takes %s", cases[i].text);
		is_int(time_us + EPOCH_US, cases[i].since_1970_us, "value of %s",
			   cases[i].text);
	}
}

static void
test_unix_refusals(void)
{
	static const char *const texts[] =
		{"",     " ",        "-",         "+1",          "01",    "-01",
		 "00",   ".5",       "5.",        "1.e5",        "1e",    "1e+",
		 "1e-",  "1e5.5",    "0x10",      "1 2",         "1,5",   "1_000",
		 "NaN",  "Infinity", "-Infinity", "1f",          "--1",   "- 1",
		 "1e 5", "\v1",      "1\f",       "1700000000Z", "\"1\"", "null"};
	static const char *const huge[] =
		{"1e13",
		 "-1e13",
		 "1e19",
		 "1e999999999999999999999999",
		 "-1e400",
		 "100000000000000000000000000000000000000000000000000",
		 "18446744073709551616",
		 "9224318016000",
		 "-210866803200.000001",
		 "-210866803200.0000006",
		 "9224318015999.9999996",
		 "1e9223372036854775807",
		 "1e9223372036854775808"};
	int64_t time_us;
	size_t i;

	for (i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		is_int(kafka_moment_from_unix(texts[i], strlen(texts[i]),
									  KAFKA_MOMENT_S, &time_us),
			   KAFKA_MOMENT_INVALID, "\"%s\" is no number", texts[i]);
	for (i = 0; i < sizeof(huge) / sizeof(huge[0]); i++)
		is_int(kafka_moment_from_unix(huge[i], strlen(huge[i]), KAFKA_MOMENT_S,
									  &time_us),
			   KAFKA_MOMENT_OUT_OF_RANGE, "%s is out of range", huge[i]);

	/* 2^64 and a little, which must not come round */
	is_int(kafka_moment_from_unix("18446744073709551616", 20, KAFKA_MOMENT_US,
								  &time_us),
		   KAFKA_MOMENT_OUT_OF_RANGE, "2^64 us are out of range");
	is_int(kafka_moment_from_unix("20146744073709551616", 20, KAFKA_MOMENT_US,
								  &time_us),
		   KAFKA_MOMENT_OUT_OF_RANGE, "2^64 us and 54 years are, too");

	/* the last values inside, then what only rounds to outside */
	kafka_moment_from_unix("9224318015999.999999", 20, KAFKA_MOMENT_S,
						   &time_us);
	is_int(time_us, KAFKA_MOMENT_END_US - 1, "the last microsecond");
	kafka_moment_from_unix("9224318015999.9999994", 21, KAFKA_MOMENT_S,
						   &time_us);
	is_int(time_us, KAFKA_MOMENT_END_US - 1, "rounded to the last one");
	kafka_moment_from_unix("-210866803200", 13, KAFKA_MOMENT_S, &time_us);
	is_int(time_us, KAFKA_MOMENT_MIN_US, "the first microsecond");
	kafka_moment_from_unix("-210866803200.0000005", 21, KAFKA_MOMENT_S,
						   &time_us);
	is_int(time_us, KAFKA_MOMENT_MIN_US, "rounded to the first one");
}

/* A number as long as a message may be, in every part of it. */
static void
test_long_numbers(void)
{
	const size_t length = 100000;
	char *text = malloc(length + 16);
	int64_t time_us = 0;
	size_t end;

	memset(text, '0', length);
	memcpy(text, "0.", 2);
	end = length + sprintf(text + length, "17e%zu", length + 8);
	is_int(kafka_moment_from_unix(text, end, KAFKA_MOMENT_S, &time_us),
		   KAFKA_MOMENT_OK, "100000 zeros after the point");
	is_int(time_us + EPOCH_US, INT64_C(1700000000000000),
		   "100000 zeros and an exponent of 100008");
	memset(text, '0', length);
	memcpy(text, "17", 2);
	end = length + sprintf(text + length, "e-%zu", length - 10);
	is_int(kafka_moment_from_unix(text, end, KAFKA_MOMENT_S, &time_us),
		   KAFKA_MOMENT_OK, "100000 digits before the exponent");
	is_int(time_us + EPOCH_US, INT64_C(1700000000000000),
		   "100000 digits and an exponent of -99990");
	free(text);
}

static void
test_from_kafka(void)
{
	const int64_t first_ms = (KAFKA_MOMENT_MIN_US + EPOCH_US) / 1000;
	const int64_t end_ms = KAFKA_MOMENT_END_US / 1000 + EPOCH_US / 1000;
	int64_t time_us = 7;

	ok(kafka_moment_from_kafka(0, &time_us), "record time 0");
	is_int(time_us, -EPOCH_US, "record time 0 is 1970");
	kafka_moment_from_kafka(-1, &time_us);
	is_int(time_us, -EPOCH_US - 1000, "record time -1");
	kafka_moment_from_kafka(INT64_C(1700000000250), &time_us);
	is_int(time_us, INT64_C(753315200250000), "record time of 2023");
	ok(kafka_moment_from_kafka(first_ms, &time_us), "first record time");
	is_int(time_us, KAFKA_MOMENT_MIN_US, "value of the first record time");
	ok(kafka_moment_from_kafka(end_ms - 1, &time_us), "last record time");
	is_int(time_us, KAFKA_MOMENT_END_US - 1000, "value of the last one");
	ok(!kafka_moment_from_kafka(first_ms - 1, &time_us), "one before");
	ok(!kafka_moment_from_kafka(end_ms, &time_us), "one after");
	ok(!kafka_moment_from_kafka(INT64_MIN, &time_us), "INT64_MIN");
	ok(!kafka_moment_from_kafka(INT64_MAX, &time_us), "INT64_MAX");
}

static bool
holds(KafkaOp op, int64_t left, int64_t right)
{
	switch (op)
	{
		case KAFKA_OP_LT:
			return left < right;
		case KAFKA_OP_LE:
			return left <= right;
		case KAFKA_OP_EQ:
			return left == right;
		case KAFKA_OP_GE:
			return left >= right;
		case KAFKA_OP_GT:
			return left > right;
		case KAFKA_OP_NE:
			break;
	}
	return true;
}

/*
 * Every record time around a bound is in the range exactly when the operator
 * holds between it and the bound; so is the farthest record time on either
 * side.
 */
static void
test_ranges(void)
{
	static const int64_t centers_us[] = {0,
										 -EPOCH_US,
										 EPOCH_US,
										 INT64_C(410349600123000),
										 KAFKA_MOMENT_MIN_US + 6000,
										 KAFKA_MOMENT_END_US - 6001,
										 INT64_MIN + 1,
										 INT64_MAX - 1};
	int wrong = 0;
	size_t i;
	int delta_us;
	int op;
	int k;

	for (i = 0; i < sizeof(centers_us) / sizeof(centers_us[0]); i++)
	{
		for (delta_us = -3001; delta_us <= 3001; delta_us++)
		{
			int64_t bound_us = centers_us[i];
			int64_t center_ms;

			/* at the edges of int64 only inwards */
			if (bound_us > KAFKA_MOMENT_END_US)
				bound_us -= abs(delta_us);
			else if (bound_us < KAFKA_MOMENT_MIN_US)
				bound_us += abs(delta_us);
			else
				bound_us += delta_us;
			center_ms = bound_us / 1000 + EPOCH_US / 1000;
			for (op = KAFKA_OP_LT; op <= KAFKA_OP_NE; op++)
			{
				KafkaRange range = kafka_moment_range((KafkaOp) op, bound_us);

				for (k = -4; k <= 4; k++)
				{
					int64_t time_ms = center_ms + k;
					int64_t time_us;
					bool inside;

					if (k == -4)
						time_ms = 0;
					if (k == 4)
						time_ms = INT64_C(4000000000000);
					if (!kafka_moment_from_kafka(time_ms, &time_us))
						continue;
					inside = range.start <= time_ms && time_ms < range.end;
					wrong += inside != holds((KafkaOp) op, time_us, bound_us);
				}
			}
		}
	}
	is_int(wrong, 0, "ranges are exact around every bound");
}

static void
test_range_shapes(void)
{
	static const int64_t infinities_us[] = {KAFKA_MOMENT_NEGATIVE_INFINITY_US,
											KAFKA_MOMENT_INFINITY_US};
	/* by operator: < <= = >= > <> */
	static const bool everything[2][6] = {{false, false, false, true, true,
										   true},
										  {true, true, false, false, false,
										   true}};
	KafkaRange range;
	int i;
	int op;

	for (i = 0; i < 2; i++)
	{
		for (op = KAFKA_OP_LT; op <= KAFKA_OP_NE; op++)
		{
			range = kafka_moment_range((KafkaOp) op, infinities_us[i]);
			if (everything[i][op])
				ok(range.start == INT64_MIN && range.end == INT64_MAX,
				   "operator %d and infinity %d give everything", op, i);
			else
				ok(kafka_range_is_empty(range),
				   "operator %d and infinity %d give nothing", op, i);
		}
	}
	range = kafka_moment_range(KAFKA_OP_GE, -1);
	is_int(range.start, EPOCH_US / 1000, "a time below 2000 is rounded up");
	is_int(range.end, INT64_MAX, "and has no upper end");
	range = kafka_moment_range(KAFKA_OP_LE, -1);
	is_int(range.end, EPOCH_US / 1000, "a time below 2000 is rounded down");
	is_int(range.start, INT64_MIN, "and has no lower end");
	range = kafka_moment_range(KAFKA_OP_EQ, 5000);
	is_int(range.start, EPOCH_US / 1000 + 5, "= starts at its millisecond");
	is_int(range.end, EPOCH_US / 1000 + 6, "= ends after it");
	ok(kafka_range_is_empty(kafka_moment_range(KAFKA_OP_EQ, 5001)),
	   "= between two milliseconds is empty");
}

int
main(void)
{
	test_iso8601_values();
	test_iso8601_refusals();
	test_every_day();
	test_changed_bytes();
	test_unix_values();
	test_unix_refusals();
	test_long_numbers();
	test_from_kafka();
	test_ranges();
	test_range_shapes();
	return done_testing();
}
