/*-------------------------------------------------------------------------
 *
 * moment.c
 *		Points in time: ISO 8601 and Unix numbers into microseconds, and
 *		microsecond comparisons into Kafka's millisecond ranges.
 *
 * timestamptz_in is the authority on what a text means, and costs near a
 * microsecond.  The fast path here takes only texts whose meaning depends on
 * no setting and no rounding, and leaves every other one, wrong ones too, to
 * it.  So a text that both accept has one value, and one that is an error is
 * reported by the server with its own words.
 *
 * IDENTIFICATION
 *		src/core/moment.c
 *
 *-------------------------------------------------------------------------
 */
#include "moment.h"

/* From Kafka's epoch, 1970-01-01, to PostgreSQL's, 2000-01-01. */
#define EPOCH_DISTANCE_MS INT64_C(946684800000)
#define EPOCH_DISTANCE_US INT64_C(946684800000000)

/* From 0001-01-01 to 2000-01-01. */
#define DAYS_TO_2000 730119

#define US_PER_DAY INT64_C(86400000000)

/* "2013-01-01T10:00:00Z", the shortest text of the fast path */
#define SHORTEST_ISO8601 20
#define SECONDS_LENGTH 19 /* "2013-01-01T10:00:00" */

/* What the server takes for an hour of zone displacement. */
#define MAX_ZONE_HOUR 15

/*
 * Exponents beyond this make any number of digits that fits in memory either
 * zero or out of range, so they need not be told apart.
 */
#define EXPONENT_LIMIT (INT64_C(1) << 60)

/* uint64 holds any number of this many digits. */
#define MAX_DIGITS 19

/* A decimal number in pieces: sign, digits before and after the point. */
typedef struct DecimalText
{
	bool negative;
	const char *integer; /* without leading zeros */
	size_t integer_length;
	const char *fraction;
	size_t fraction_length;
	int64_t exponent; /* of ten, cut off at +- EXPONENT_LIMIT */
} DecimalText;

static inline bool
is_digit(char c)
{
	return (unsigned char) (c - '0') <= 9;
}

/*
 * The value of two digits; where one is none, *invalid becomes non-zero and
 * the value means nothing.  Collected like this, one branch decides for all.
 */
static inline unsigned int
read_pair(const char *text, unsigned int *invalid)
{
	unsigned int tens = (unsigned char) text[0] - (unsigned int) '0';
	unsigned int ones = (unsigned char) text[1] - (unsigned int) '0';

	*invalid |= (tens > 9) | (ones > 9);
	return tens * 10 + ones;
}

/*
 * Days from 2000-01-01 to a date of the Gregorian calendar, which like the
 * server is reckoned backwards for dates before it was introduced; false when
 * there is no such date.  The year comes as century and year of century, the
 * way it was read, because so the leap rule takes no division.
 */
static inline bool
days_from_date(unsigned int century, unsigned int year_of_century,
			   unsigned int month, unsigned int day, int *days)
{
	/* days of a common year before each month, and before the next year */
	static const short days_before[] = {0,   31,  59,  90,  120, 151, 181,
										212, 243, 273, 304, 334, 365};
	unsigned int year = century * 100 + year_of_century;
	unsigned int past_centuries;
	bool leap;

	if (year == 0 || month - 1 > 11)
		return false;
	leap = (year_of_century != 0 ? year_of_century : century) % 4 == 0;
	if (day - 1 >=
		(unsigned int) (days_before[month] - days_before[month - 1] +
						(month == 2 && leap)))
		return false;
	/* full centuries, and leap days, of the years from 1 to year - 1 */
	past_centuries = century - (year_of_century == 0);
	*days = (int) ((year - 1) * 365 + (year - 1) / 4 - past_centuries +
				   past_centuries / 4) +
			days_before[month - 1] + (month > 2 && leap) + (int) day - 1 -
			DAYS_TO_2000;
	return true;
}

/*
 * Reads "." and up to nine digits at *position, and moves it past them.  The
 * server multiplies a double by a million and rounds that.  Up to six digits
 * are exact in it, and of more only a tie is close enough to a rounding limit
 * for the double's error to matter: that is left to the server.
 */
static inline bool
read_fraction(const char *text, size_t length, size_t *position,
			  unsigned int *fraction_us)
{
	static const unsigned int scales[] = {0,  100000, 10000, 1000, 100,
										  10, 1,      10,    100,  1000};
	size_t i = *position + 1;
	unsigned int value = 0;
	unsigned int ndigits = 0;

	while (i < length && is_digit(text[i]))
	{
		if (++ndigits > 9)
			return false;
		value = value * 10 + (unsigned int) (text[i++] - '0');
	}
	if (ndigits == 0)
		return false;
	*position = i;
	if (ndigits <= 6)
		*fraction_us = value * scales[ndigits];
	else
	{
		unsigned int scale = scales[ndigits];
		unsigned int rest = value % scale;

		if (rest * 2 == scale)
			return false;
		*fraction_us = value / scale + (rest * 2 > scale);
	}
	return true;
}

/* Reads a zone that must be all of the text; seconds are east of Greenwich. */
static inline bool
read_zone(const char *zone, size_t length, int *zone_s)
{
	unsigned int invalid = 0;
	unsigned int hour;
	unsigned int minute = 0;

	if (length == 1)
	{
		*zone_s = 0;
		return zone[0] == 'Z';
	}
	if (length != 3 && length != 5 && length != 6)
		return false;
	if (zone[0] != '+' && zone[0] != '-')
		return false;
	hour = read_pair(zone + 1, &invalid);
	if (length == 5)
		minute = read_pair(zone + 3, &invalid);
	else if (length == 6)
	{
		minute = read_pair(zone + 4, &invalid);
		invalid |= zone[3] != ':';
	}
	if (invalid || hour > MAX_ZONE_HOUR || minute > 59)
		return false;
	*zone_s = (int) (hour * 3600 + minute * 60);
	if (zone[0] == '-')
		*zone_s = -*zone_s;
	return true;
}

/*
 * Settings that matter to the server are out of play here: a first field of
 * four digits is the year in every DateStyle, and an explicit zone leaves
 * TimeZone unused.  (Only a timezone_abbreviations file that gives T or Z a
 * meaning of its own could make a difference.)
 */
bool
kafka_moment_from_iso8601(const char *text, size_t length, int64_t *time_us)
{
	unsigned int invalid = 0;
	unsigned int century;
	unsigned int year_of_century;
	unsigned int month;
	unsigned int day;
	unsigned int hour;
	unsigned int minute;
	unsigned int second;
	unsigned int fraction_us = 0;
	int days;
	int zone_s;
	size_t position = SECONDS_LENGTH;

	if (length < SHORTEST_ISO8601)
		return false;
	century = read_pair(text, &invalid);
	year_of_century = read_pair(text + 2, &invalid);
	month = read_pair(text + 5, &invalid);
	day = read_pair(text + 8, &invalid);
	hour = read_pair(text + 11, &invalid);
	minute = read_pair(text + 14, &invalid);
	second = read_pair(text + 17, &invalid);
	invalid |= (text[4] != '-') | (text[7] != '-');
	invalid |= (text[10] != 'T') & (text[10] != ' ');
	invalid |= (text[13] != ':') | (text[16] != ':');
	/* hour 24 and second 60 exist, but what they mean is the server's */
	invalid |= (hour > 23) | (minute > 59) | (second > 59);
	if (invalid ||
		!days_from_date(century, year_of_century, month, day, &days))
		return false;
	if (text[position] == '.' &&
		!read_fraction(text, length, &position, &fraction_us))
		return false;
	if (!read_zone(text + position, length - position, &zone_s))
		return false;
	*time_us = days * US_PER_DAY +
			   ((int) (hour * 3600 + minute * 60 + second) - zone_s) *
				   INT64_C(1000000) +
			   fraction_us;
	return true;
}

static inline bool
is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static size_t
count_digits(const char *text, const char *end)
{
	const char *start = text;

	while (text < end && is_digit(*text))
		text++;
	return (size_t) (text - start);
}

/* Reads the digits of an exponent; false when there are none. */
static bool
read_exponent(const char **text, const char *end, int64_t *exponent)
{
	const char *c = *text;
	bool negative = false;
	int64_t value = 0;

	if (c < end && (*c == '+' || *c == '-'))
		negative = *c++ == '-';
	if (count_digits(c, end) == 0)
		return false;
	for (; c < end && is_digit(*c); c++)
	{
		if (value < EXPONENT_LIMIT / 10)
			value = value * 10 + (*c - '0');
		else
			value = EXPONENT_LIMIT;
	}
	*exponent = negative ? -value : value;
	*text = c;
	return true;
}

/* Takes a number of JSON's grammar apart; false when it is none. */
static bool
split_decimal(const char *text, size_t length, DecimalText *number)
{
	const char *end = text + length;

	while (text < end && is_blank(*text))
		text++;
	while (text < end && is_blank(end[-1]))
		end--;
	number->negative = text < end && *text == '-';
	if (number->negative)
		text++;
	number->integer = text;
	number->integer_length = count_digits(text, end);
	if (number->integer_length == 0)
		return false;
	/* a digit after a leading zero is then in nobody's place */
	if (*text == '0')
	{
		number->integer_length = 0;
		text++;
	}
	else
		text += number->integer_length;
	number->fraction = text;
	number->fraction_length = 0;
	if (text < end && *text == '.')
	{
		number->fraction = ++text;
		number->fraction_length = count_digits(text, end);
		if (number->fraction_length == 0)
			return false;
		text += number->fraction_length;
	}
	number->exponent = 0;
	if (text < end && (*text == 'e' || *text == 'E'))
	{
		text++;
		if (!read_exponent(&text, end, &number->exponent))
			return false;
	}
	return text == end;
}

/*
 * Rounds digits * 10^exponent, where the digits are those before and after
 * the point written in a row, to an integer; halves go to the even one.
 * False when it has more than MAX_DIGITS digits.
 */
static bool
round_decimal(const DecimalText *number, int64_t exponent, uint64_t *result)
{
	int64_t ndigits = number->integer_length + number->fraction_length;
	int64_t first = 0; /* the first digit that is not zero */
	int64_t nwhole;    /* digits of the result, counted from first */
	int64_t i;
	uint64_t value = 0;
	int half = 0;      /* first digit cut off */
	bool more = false; /* any other than zero after it */

#define DIGIT(i)                                                        \
	(((i) < (int64_t) number->integer_length                            \
		  ? number->integer[i]                                          \
		  : number->fraction[(i) - (int64_t) number->integer_length]) - \
	 '0')

	while (first < ndigits && DIGIT(first) == 0)
		first++;
	*result = 0;
	if (first == ndigits)
		return true;
	nwhole = ndigits - first + exponent;
	if (nwhole > MAX_DIGITS)
		return false;
	if (nwhole < 0)
		return true;
	for (i = first; i < first + nwhole; i++)
		value = value * 10 + (uint64_t) (i < ndigits ? DIGIT(i) : 0);
	if (i < ndigits)
		half = DIGIT(i);
	for (i++; i < ndigits && !more; i++)
		more = DIGIT(i) != 0;
#undef DIGIT
	if (half > 5 || (half == 5 && (more || value % 2 == 1)))
		value++;
	*result = value;
	return true;
}

KafkaMomentStatus
kafka_moment_from_unix(const char *text, size_t length, KafkaMomentUnit unit,
					   int64_t *time_us)
{
	/* powers of ten from each unit to microseconds */
	static const int unit_exponents[] = {
		[KAFKA_MOMENT_S] = 6,
		[KAFKA_MOMENT_MS] = 3,
		[KAFKA_MOMENT_US] = 0,
		[KAFKA_MOMENT_NS] = -3,
	};
	/* both limits as distances from 1970, where the first exceeds int64 */
	const uint64_t end_us = (uint64_t) KAFKA_MOMENT_END_US + EPOCH_DISTANCE_US;
	const uint64_t before_us = -KAFKA_MOMENT_MIN_US - EPOCH_DISTANCE_US;
	DecimalText number;
	uint64_t distance_us;

	if (!split_decimal(text, length, &number))
		return KAFKA_MOMENT_INVALID;
	if (!round_decimal(&number,
					   number.exponent + unit_exponents[unit] -
						   (int64_t) number.fraction_length,
					   &distance_us))
		return KAFKA_MOMENT_OUT_OF_RANGE;
	if (number.negative)
	{
		if (distance_us > before_us)
			return KAFKA_MOMENT_OUT_OF_RANGE;
		*time_us = -(int64_t) distance_us - EPOCH_DISTANCE_US;
	}
	else
	{
		if (distance_us >= end_us)
			return KAFKA_MOMENT_OUT_OF_RANGE;
		/* wraps to the right value, the result being within int64 */
		*time_us = (int64_t) (distance_us - (uint64_t) EPOCH_DISTANCE_US);
	}
	return KAFKA_MOMENT_OK;
}

bool
kafka_moment_from_kafka(int64_t time_ms, int64_t *time_us)
{
	/* all of these are whole milliseconds */
	if (time_ms < KAFKA_MOMENT_MIN_US / 1000 + EPOCH_DISTANCE_MS ||
		time_ms >= KAFKA_MOMENT_END_US / 1000 + EPOCH_DISTANCE_MS)
		return false;
	*time_us = (time_ms - EPOCH_DISTANCE_MS) * 1000;
	return true;
}

/* "record time OP infinity", every record time being finite */
static KafkaRange
range_of_infinity(KafkaOp op, bool positive)
{
	switch (op)
	{
		case KAFKA_OP_LT:
		case KAFKA_OP_LE:
			return positive ? KAFKA_RANGE_ALL : KAFKA_RANGE_NONE;
		case KAFKA_OP_GT:
		case KAFKA_OP_GE:
			return positive ? KAFKA_RANGE_NONE : KAFKA_RANGE_ALL;
		case KAFKA_OP_EQ:
			return KAFKA_RANGE_NONE;
		case KAFKA_OP_NE:
			break;
	}
	return KAFKA_RANGE_ALL;
}

KafkaRange
kafka_moment_range(KafkaOp op, int64_t time_us)
{
	int64_t time_ms; /* rounded down */
	bool whole;

	if (time_us == KAFKA_MOMENT_INFINITY_US ||
		time_us == KAFKA_MOMENT_NEGATIVE_INFINITY_US)
		return range_of_infinity(op, time_us == KAFKA_MOMENT_INFINITY_US);
	time_ms = time_us / 1000 - (time_us % 1000 < 0) + EPOCH_DISTANCE_MS;
	whole = time_us % 1000 == 0;

	/*
	 * Between two milliseconds ">= a" is "> a rounded down" and "< a" is
	 * "<= a rounded down".
	 */
	if (!whole && op == KAFKA_OP_EQ)
		return KAFKA_RANGE_NONE;
	if (!whole && op == KAFKA_OP_GE)
		op = KAFKA_OP_GT;
	if (!whole && op == KAFKA_OP_LT)
		op = KAFKA_OP_LE;
	return kafka_range_from_op(op, time_ms);
}
