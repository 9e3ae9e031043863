/*-------------------------------------------------------------------------
 *
 * test_number.c
 *		Checks numbers read from text against the C library, which rounds
 *		correctly, and what is to be left to PostgreSQL.
 *
 * IDENTIFICATION
 *		test/unit/test_number.c
 *
 *-------------------------------------------------------------------------
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "number.h"
#include "tap.h"

#define RANDOM_TEXTS 300000

/* What is no text of a number at all, for any of the functions. */
static const char *const no_numbers[] =
	{"",    " ",    "-",    "+",   "--1", "+-1",  "1-",   " 1",       "1 ",
	 "1_0", "0x10", "1a",   ".",   ".5",  "5.",   "-.5",  "1.2.3",    "1e",
	 "1e+", "1e-",  "1e1.", "e1",  "NaN", "inf",  "1,5",  "\xc2\xb9", "1e--1",
	 "t",   "null", "1 2",  "1\n", "\t1", "1.e1", "1e 1", "Infinity", "1f"};

static const struct
{
	const char *text;
	bool accepted;
	int64_t value;
} integers[] = {
	{"0", true, 0},
	{"-0", true, 0},
	{"+7", true, 7},
	{"007", true, 7},
	{"00000000000000000000000000000000000000001", true, 1},
	{"9223372036854775807", true, INT64_MAX},
	{"+9223372036854775807", true, INT64_MAX},
	{"9223372036854775808", false, 0},
	{"-9223372036854775808", true, INT64_MIN},
	{"-9223372036854775809", false, 0},
	{"9999999999999999999", false, 0},
	{"-9999999999999999999", false, 0},
	{"10000000000000000000", false, 0},
	{"18446744073709551616", false, 0},
	{"1.0", false, 0},
	{"1e3", false, 0},
};

/* scale -1: not accepted */
static const struct
{
	const char *text;
	int64_t unscaled;
	int scale;
	int whole_digits;
} decimals[] = {
	{"0", 0, 0, 0},
	{"-0.00", 0, 2, 0},
	{"12.50", 1250, 2, 2},
	{"-12.50", -1250, 2, 2},
	{"+0.005", 5, 3, 0},
	{"007.5", 75, 1, 1},
	{"100", 100, 0, 3},
	{"999999999999999999", INT64_C(999999999999999999), 0, 18},
	{"-99999999999999999.9", INT64_C(-999999999999999999), 1, 17},
	{"0.999999999999999999", INT64_C(999999999999999999), 18, 0},
	{"0.0000000000000000001", 0, -1, 0},
	{"1000000000000000000", 0, -1, 0},
	{"9999999999999999999", 0, -1, 0},
	{"1e2", 0, -1, 0},
	{"1.5e0", 15, 1, 1},
};

/* Texts for both floating types, by whether each may accept them. */
static const struct
{
	const char *text;
	bool as_double;
	bool as_float;
} floats[] = {
	{"0", true, true},
	{"-0", true, true},
	{"-0.0e5", true, true},
	{"1.5", true, true},
	{"+1.5E+1", true, true},
	{"0001.25", true, true},
	{"0.1", true, true},
	{"4.35", true, true},
	{"16777216", true, true},
	{"16777217", true, false},
	{"1e10", true, true},
	{"1e11", true, false},
	{"1e-10", true, true},
	{"1e-11", true, false},
	{"9007199254740992", true, false},
	{"9007199254740993", false, false},
	{"9007199254740992e22", true, false},
	{"1e22", true, false},
	{"1e23", false, false},
	{"1e-22", true, false},
	{"1e-23", false, false},
	{"0.0000000000000000000001", true, false},
	{"0.00000000000000000000001", false, false},
	{"12345678901234567890", false, false},
	{"1e400", false, false},
	{"1e99999999999999999999", false, false},
	{"1e-99999999999999999999", false, false},
	{"4.9e-324", false, false},
};

static void
test_no_numbers(void)
{
	size_t i;

	for (i = 0; i < sizeof(no_numbers) / sizeof(no_numbers[0]); i++)
	{
		const char *text = no_numbers[i];
		size_t length = strlen(text);
		KafkaDecimal decimal;
		int64_t integer;
		double number;
		float small;

		ok(!kafka_number_to_int64(text, length, &integer) &&
			   !kafka_number_to_double(text, length, &number) &&
			   !kafka_number_to_float(text, length, &small) &&
			   !kafka_number_to_decimal(text, length, &decimal),
		   "\"%s\" is left to the input functions", text);
	}
}

static void
test_integers(void)
{
	size_t i;

	for (i = 0; i < sizeof(integers) / sizeof(integers[0]); i++)
	{
		const char *text = integers[i].text;
		int64_t value = 0;
		bool accepted = kafka_number_to_int64(text, strlen(text), &value);

		ok(accepted == integers[i].accepted, "integer %s is %s", text,
		   integers[i].accepted ? "accepted" : "left");
		if (accepted)
			is_int(value, integers[i].value, "integer %s", text);
	}
}

static void
test_decimals(void)
{
	size_t i;

	for (i = 0; i < sizeof(decimals) / sizeof(decimals[0]); i++)
	{
		const char *text = decimals[i].text;
		KafkaDecimal decimal;
		bool accepted = kafka_number_to_decimal(text, strlen(text), &decimal);

		ok(accepted == (decimals[i].scale >= 0), "decimal %s is %s", text,
		   decimals[i].scale >= 0 ? "accepted" : "left");
		if (!accepted)
			continue;
		is_int(decimal.unscaled, decimals[i].unscaled, "decimal %s", text);
		is_int(decimal.scale, decimals[i].scale, "scale of %s", text);
		is_int(decimal.whole_digits, decimals[i].whole_digits,
			   "digits before the point of %s", text);
	}
}

/* Same bits, so that -0 is not 0. */
static bool
is_same_double(double a, double b)
{
	return memcmp(&a, &b, sizeof(a)) == 0;
}

static bool
is_same_float(float a, float b)
{
	return memcmp(&a, &b, sizeof(a)) == 0;
}

static void
test_floats(void)
{
	size_t i;

	for (i = 0; i < sizeof(floats) / sizeof(floats[0]); i++)
	{
		const char *text = floats[i].text;
		double number;
		float small;
		bool as_double = kafka_number_to_double(text, strlen(text), &number);
		bool as_float = kafka_number_to_float(text, strlen(text), &small);

		ok(as_double == floats[i].as_double, "double %s is %s", text,
		   floats[i].as_double ? "accepted" : "left");
		ok(as_float == floats[i].as_float, "float %s is %s", text,
		   floats[i].as_float ? "accepted" : "left");
		ok(!as_double || is_same_double(number, strtod(text, NULL)),
		   "double %s is strtod's", text);
		ok(!as_float || is_same_float(small, strtof(text, NULL)),
		   "float %s is strtof's", text);
	}
}

/* xorshift64: the same texts on every machine */
static uint64_t random_state = UINT64_C(0x9E3779B97F4A7C15);

static uint64_t
next_random(void)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return random_state;
}

/* A number of any length, often a short one. */
static void
make_number(char *text, size_t size)
{
	uint64_t whole = next_random() >> (next_random() % 64);
	uint64_t fraction = next_random() >> (next_random() % 64);
	int length;

	length = snprintf(text, size, "%s%" PRIu64,
					  next_random() % 4 == 0 ? "-" : "", whole);
	if (next_random() % 3 != 0)
		length += snprintf(text + length, size - (size_t) length,
						   ".%0*" PRIu64, (int) (next_random() % 6), fraction);
	if (next_random() % 3 == 0)
		snprintf(text + length, size - (size_t) length, "e%d",
				 (int) (next_random() % 60) - 30);
}

/* Compares random numbers with the C library, and cut-off ones as well. */
static void
test_random(void)
{
	int doubles = 0;
	int small_floats = 0;
	int whole_numbers = 0;
	int wrong = 0;
	int i;

	for (i = 0; i < RANDOM_TEXTS; i++)
	{
		char text[128];
		size_t length;
		char *end;
		double number;
		float small;
		int64_t integer;
		long long want;

		make_number(text, sizeof(text));
		length = strlen(text);
		if (kafka_number_to_double(text, length, &number))
		{
			doubles++;
			wrong += !is_same_double(number, strtod(text, NULL));
		}
		if (kafka_number_to_float(text, length, &small))
		{
			small_floats++;
			wrong += !is_same_float(small, strtof(text, NULL));
		}

		/* Integers must be taken exactly when strtoll takes all. */
		errno = 0;
		want = strtoll(text, &end, 10);
		if (kafka_number_to_int64(text, length, &integer))
		{
			whole_numbers++;
			wrong += integer != want || errno != 0 || *end != '\0';
		}
		else
			wrong += errno == 0 && *end == '\0';
		if (wrong > 0)
		{
			fprintf(stderr, "# the first wrong one: %s\n", text);
			break;
		}
	}
	is_int(wrong, 0, "random numbers are the C library's");
	ok(doubles > RANDOM_TEXTS / 10, "of %d texts %d are doubles", RANDOM_TEXTS,
	   doubles);
	ok(small_floats > RANDOM_TEXTS / 50, "of %d texts %d are floats",
	   RANDOM_TEXTS, small_floats);
	ok(whole_numbers > RANDOM_TEXTS / 10, "of %d texts %d are integers",
	   RANDOM_TEXTS, whole_numbers);
}

/* The text ends where its length says, whatever stands behind. */
static void
test_length(void)
{
	int64_t integer = 0;
	double number = 0;

	ok(kafka_number_to_int64("1234", 2, &integer), "a part of an integer");
	is_int(integer, 12, "its value");
	ok(kafka_number_to_double("1.2599", 4, &number), "a part of a double");
	ok(number == 1.25, "its value");
	ok(!kafka_number_to_int64("-1", 1, &integer), "a sign alone");
	ok(!kafka_number_to_double("1e5", 2, &number), "an exponent's e alone");
	ok(!kafka_number_to_double("1.5", 2, &number), "a point alone");
}

int
main(void)
{
	test_no_numbers();
	test_integers();
	test_decimals();
	test_floats();
	test_random();
	test_length();
	return done_testing();
}
