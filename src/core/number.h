/*-------------------------------------------------------------------------
 *
 * number.h
 *		Decimal text into machine numbers, exactly or not at all.
 *
 * PostgreSQL's input functions are the authority on what a text means.  These
 * take the plain texts that make up nearly all messages, at a fraction of the
 * cost, and leave every other text, right or wrong, to them: false is never
 * an error, only "ask the input function".  What they do accept has the very
 * value that the input function gives.
 *
 * IDENTIFICATION
 *		src/core/number.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef KAFKA_NUMBER_H
#define KAFKA_NUMBER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* An optional sign and digits, nothing else, within int64's range. */
extern bool kafka_number_to_int64(const char *text, size_t length,
								  int64_t *value);

/*
 * A decimal number with optional sign, fraction and exponent, where both its
 * digits and its power of ten are exact in a double, so that one operation
 * rounds correctly (W. Clinger, "How to Read Floating Point Numbers
 * Accurately", 1990).
 */
extern bool kafka_number_to_double(const char *text, size_t length,
								   double *value);

/* The same for float, rounded once and not through double. */
extern bool kafka_number_to_float(const char *text, size_t length,
								  float *value);

/* A decimal number whose exponent is zero or left out: unscaled / 10^scale */
typedef struct KafkaDecimal
{
	int64_t unscaled;
	int scale;        /* digits after the point */
	int whole_digits; /* digits before it, leading zeros left out */
} KafkaDecimal;

/* At most 18 digits in all, and at least one on each side of a point. */
extern bool kafka_number_to_decimal(const char *text, size_t length,
									KafkaDecimal *decimal);

#endif /* KAFKA_NUMBER_H */
