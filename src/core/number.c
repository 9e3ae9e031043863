/*-------------------------------------------------------------------------
 *
 * number.c
 *		Decimal text into machine numbers, exactly or not at all.
 *
 * IDENTIFICATION
 *		src/core/number.c
 *
 *-------------------------------------------------------------------------
 */
#include <float.h>

#include "number.h"

/* Every number of so many digits fits in uint64, and one of 18 in int64. */
#define MAX_UINT64_DIGITS 19
#define MAX_INT64_DIGITS 18

/*
 * All integers up to these, and all powers of ten up to these, are exact: 5^22
 * is below 2^53, and 5^10 below 2^24.
 */
#define DOUBLE_EXACT_INTEGER (UINT64_C(1) << 53)
#define DOUBLE_EXACT_POWER 22
#define FLOAT_EXACT_INTEGER (UINT64_C(1) << 24)
#define FLOAT_EXACT_POWER 10

/* Written exponents from here on are of no use, and cannot overflow below. */
#define MAX_WRITTEN_EXPONENT 10000

/* A number as it is written: digits * 10^exponent. */
typedef struct WrittenNumber
{
	bool negative;
	uint64_t digits;
	int exponent;
	int whole_digits; /* before the point, leading zeros left out */
	int scale;        /* digits after the point */
} WrittenNumber;

static inline bool
is_digit(char c)
{
	return (unsigned char) (c - '0') <= 9;
}

/*
 * Reads digits from *cursor on and moves it past them.  Adds them to *digits,
 * whose number of significant digits so far is *ndigits; false when that
 * exceeds what uint64 holds.
 */
static inline bool
read_digits(const char **cursor, const char *end, uint64_t *digits,
			int *ndigits)
{
	const char *at = *cursor;
	uint64_t value = *digits;
	int count = *ndigits;

	if (value == 0)
	{
		while (at < end && *at == '0')
			at++;
	}
	while (at < end && is_digit(*at))
	{
		if (++count > MAX_UINT64_DIGITS)
			return false;
		value = value * 10 + (uint64_t) (*at++ - '0');
	}
	*cursor = at;
	*digits = value;
	*ndigits = count;
	return true;
}

/* Reads what is behind "e"; it must be all that is left. */
static inline bool
read_exponent(const char *at, const char *end, int *exponent)
{
	bool negative = false;
	int value = 0;

	if (at < end && (*at == '-' || *at == '+'))
		negative = *at++ == '-';
	if (at == end)
		return false;
	for (; at < end; at++)
	{
		if (!is_digit(*at) || value >= MAX_WRITTEN_EXPONENT)
			return false;
		value = value * 10 + (*at - '0');
	}
	*exponent += negative ? -value : value;
	return true;
}

static inline bool
read_number(const char *text, size_t length, WrittenNumber *number)
{
	const char *at = text;
	const char *end = text + length;
	const char *start;

	number->negative = false;
	number->digits = 0;
	number->whole_digits = 0;
	number->scale = 0;
	if (at < end && (*at == '-' || *at == '+'))
		number->negative = *at++ == '-';

	start = at;
	if (!read_digits(&at, end, &number->digits, &number->whole_digits) ||
		at == start)
		return false;
	if (at < end && *at == '.')
	{
		int ndigits = number->whole_digits;

		start = ++at;
		if (!read_digits(&at, end, &number->digits, &ndigits) || at == start ||
			at - start > MAX_WRITTEN_EXPONENT)
			return false;
		number->scale = (int) (at - start);
	}
	number->exponent = -number->scale;
	if (at == end)
		return true;
	return (*at == 'e' || *at == 'E') &&
		   read_exponent(at + 1, end, &number->exponent);
}

bool
kafka_number_to_int64(const char *text, size_t length, int64_t *value)
{
	const char *at = text;
	const char *end = text + length;
	const char *start;
	uint64_t digits = 0;
	int ndigits = 0;
	bool negative = false;

	if (at < end && (*at == '-' || *at == '+'))
		negative = *at++ == '-';
	start = at;
	if (!read_digits(&at, end, &digits, &ndigits) || at == start || at != end)
		return false;
	if (digits > (uint64_t) INT64_MAX + negative)
		return false;

	/* In unsigned arithmetic, for -INT64_MIN is no int64. */
	*value = (int64_t) (negative ? UINT64_C(0) - digits : digits);
	return true;
}

bool
kafka_number_to_double(const char *text, size_t length, double *value)
{
	static const double powers[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,
									1e6,  1e7,  1e8,  1e9,  1e10, 1e11,
									1e12, 1e13, 1e14, 1e15, 1e16, 1e17,
									1e18, 1e19, 1e20, 1e21, 1e22};
	WrittenNumber number;
	double result;

	/* With registers wider than double the result would be rounded twice. */
	if (FLT_EVAL_METHOD != 0 && FLT_EVAL_METHOD != 1)
		return false;
	if (!read_number(text, length, &number) ||
		number.digits > DOUBLE_EXACT_INTEGER ||
		number.exponent > DOUBLE_EXACT_POWER ||
		number.exponent < -DOUBLE_EXACT_POWER)
		return false;

	result = (double) number.digits;
	if (number.exponent < 0)
		result /= powers[-number.exponent];
	else
		result *= powers[number.exponent];
	*value = number.negative ? -result : result;
	return true;
}

bool
kafka_number_to_float(const char *text, size_t length, float *value)
{
	static const float powers[] = {1e0f, 1e1f, 1e2f, 1e3f, 1e4f, 1e5f,
								   1e6f, 1e7f, 1e8f, 1e9f, 1e10f};
	WrittenNumber number;
	float result;

	if (FLT_EVAL_METHOD != 0)
		return false;
	if (!read_number(text, length, &number) ||
		number.digits > FLOAT_EXACT_INTEGER ||
		number.exponent > FLOAT_EXACT_POWER ||
		number.exponent < -FLOAT_EXACT_POWER)
		return false;

	result = (float) number.digits;
	if (number.exponent < 0)
		result /= powers[-number.exponent];
	else
		result *= powers[number.exponent];
	*value = number.negative ? -result : result;
	return true;
}

bool
kafka_number_to_decimal(const char *text, size_t length, KafkaDecimal *decimal)
{
	WrittenNumber number;
	int64_t unscaled;

	if (!read_number(text, length, &number) ||
		number.exponent != -number.scale ||
		number.whole_digits + number.scale > MAX_INT64_DIGITS)
		return false;
	unscaled = (int64_t) number.digits;
	decimal->unscaled = number.negative ? -unscaled : unscaled;
	decimal->scale = number.scale;
	decimal->whole_digits = number.whole_digits;
	return true;
}
