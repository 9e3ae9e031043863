/*-------------------------------------------------------------------------
 *
 * json_token.h
 *		Reads and judges single tokens of a JSON text.
 *
 * For json.cpp, which knows from simdjson's index where each token starts.
 * PostgreSQL's lexer (src/common/jsonapi.c) and numeric_in are the models:
 * what they refuse is refused here.  Everything reads up to
 * KAFKA_JSON_PADDING bytes past the end of the text, which json.cpp keeps
 * zeroed; a zero byte is no part of any token, so that nothing depends on
 * what an earlier document left there.
 *
 * IDENTIFICATION
 *		src/core/json_token.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef KAFKA_JSON_TOKEN_H
#define KAFKA_JSON_TOKEN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "json.h"

/* Zeroed bytes that follow every text looked at here. */
#define KAFKA_JSON_PADDING 16

/*
 * numeric surely takes a number with at most so many digits before and after
 * the decimal point once its exponent is applied: its weight is an int16 of
 * 4-digit groups, its scale has 14 bits.
 */
#define KAFKA_JSON_SURE_WHOLE_DIGITS 131072
#define KAFKA_JSON_SURE_FRACTION_DIGITS 16383

#define KAFKA_JSON_LIKELY(x) __builtin_expect(!!(x), 1)
#define KAFKA_JSON_UNLIKELY(x) __builtin_expect(!!(x), 0)

#define ALWAYS_INLINE static inline __attribute__((always_inline))

/*
 * State of the walk over one document.  The place in the index is not here:
 * as a variable of the functions it stays in a register, which is a quarter
 * of the walk's time.
 */
struct Walk
{
	const char *text;
	size_t length;
	size_t backslash;    /* the first one not behind us, or SIZE_MAX */
	size_t depth;        /* of the innermost open container */
	char *unescaped;     /* where the next string's content goes */
	const char *content; /* where the last one's went */
	size_t content_length;
	const char *reason; /* set with position when a step fails */
	size_t position;
	bool ask_server;
};

static inline bool
is_blank(char c)
{
	return c == ' ' || c == '\n' || c == '\r' || c == '\t';
}

static inline bool
is_digit(char c)
{
	return (unsigned char) (c - '0') <= 9;
}

/* Eight bytes, the first in the lowest place. */
static inline uint64_t
load_word(const char *bytes)
{
	uint64_t word;

	memcpy(&word, bytes, sizeof(word));
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
	word = __builtin_bswap64(word);
#endif
	return word;
}

/* The first length bytes, at most eight, zeroes above them. */
static inline uint64_t
load_head(const char *bytes, size_t length)
{
	uint64_t word = load_word(bytes);

	if (length >= 8)
		return word;
	return word & (((uint64_t) 1 << (length * 8)) - 1);
}

/* Are all eight bytes decimal digits? */
static inline bool
is_digit_word(uint64_t word)
{
	const uint64_t high = UINT64_C(0xF0F0F0F0F0F0F0F0);
	const uint64_t zeroes = UINT64_C(0x3030303030303030);

	/* The second test carries ':' to '?' out of 0x30, digits stay in. */
	return ((word & high) == zeroes) &
		   (((word + UINT64_C(0x0606060606060606)) & high) == zeroes);
}

/*
 * Are these length bytes, 1 to 16, all digits?  Two overlapping words cover
 * nine bytes and more, a word shifted to the top covers fewer.
 */
static inline bool
is_digit_run(const char *bytes, size_t length)
{
	if (length >= 8)
		return is_digit_word(load_word(bytes)) &&
			   is_digit_word(load_word(bytes + length - 8));
	else
	{
		unsigned int unused_bits = 64 - 8 * (unsigned int) length;
		uint64_t filler = UINT64_C(0x3030303030303030) >> (64 - unused_bits);

		return is_digit_word((load_word(bytes) << unused_bits) | filler);
	}
}

/* The digits' end. */
static inline const char *
skip_digits(const char *bytes)
{
	while (is_digit(*bytes))
		bytes++;
	return bytes;
}

/*
 * Reads the digits of an exponent.  Its value stops growing at a million:
 * far past what numeric takes, and far from any overflow.
 */
static inline const char *
read_exponent(const char *bytes, int64_t *exponent)
{
	bool negative = *bytes == '-';
	int64_t value = 0;

	if (*bytes == '-' || *bytes == '+')
		bytes++;
	for (; is_digit(*bytes); bytes++)
	{
		if (value < 1000000)
			value = value * 10 + (*bytes - '0');
	}
	*exponent = negative ? -value : value;
	return bytes;
}

/*
 * check_number for everything but short integers.
 */
static bool __attribute__((noinline))
check_long_number(const char *bytes, const char *end, bool *ask_server)
{
	const char *start;
	int64_t whole_digits;
	int64_t fraction_digits = 0;
	int64_t exponent = 0;

	start = bytes;
	bytes = skip_digits(bytes);
	whole_digits = bytes - start;
	if (whole_digits == 0 || (*start == '0' && whole_digits > 1))
		return false;
	if (*bytes == '.')
	{
		start = ++bytes;
		bytes = skip_digits(bytes);
		fraction_digits = bytes - start;
		if (fraction_digits == 0)
			return false;
	}
	if (*bytes == 'e' || *bytes == 'E')
	{
		bytes = read_exponent(bytes + 1, &exponent);
		if (!is_digit(bytes[-1]))
			return false;
	}
	if (whole_digits + exponent > KAFKA_JSON_SURE_WHOLE_DIGITS ||
		fraction_digits - exponent > KAFKA_JSON_SURE_FRACTION_DIGITS)
		*ask_server = true;
	return bytes == end;
}

/*
 * Is the text from bytes to end one JSON number?  Sets *ask_server when it
 * is, but numeric may not take it; else leaves it alone.
 */
static inline bool
check_number(const char *bytes, const char *end, bool *ask_server)
{
	size_t length;

	if (*bytes == '-')
		bytes++;
	length = (size_t) (end - bytes);
	if (KAFKA_JSON_LIKELY(length - 1 < 16 && is_digit_run(bytes, length)))
		return *bytes != '0' || length == 1;
	return check_long_number(bytes, end, ask_server);
}

/* The value of a hexadecimal digit, or -1. */
static inline int
hex_value(char c)
{
	if (is_digit(c))
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/*
 * The code unit behind "\u", or -1.  Stops at the first byte that is no
 * digit, hence never reads past a string's closing quote.
 */
static inline int
read_code_unit(const char *digits)
{
	int unit = 0;
	int i;

	for (i = 0; i < 4; i++)
	{
		int value = hex_value(digits[i]);

		if (value < 0)
			return -1;
		unit = unit << 4 | value;
	}
	return unit;
}

/* Writes a code point as UTF-8; returns the end of what it wrote. */
static inline char *
write_code_point(char *out, uint32_t code)
{
	if (code < 0x80)
		*out++ = (char) code;
	else if (code < 0x800)
	{
		*out++ = (char) (0xC0 | code >> 6);
		*out++ = (char) (0x80 | (code & 0x3F));
	}
	else if (code < 0x10000)
	{
		*out++ = (char) (0xE0 | code >> 12);
		*out++ = (char) (0x80 | (code >> 6 & 0x3F));
		*out++ = (char) (0x80 | (code & 0x3F));
	}
	else
	{
		*out++ = (char) (0xF0 | code >> 18);
		*out++ = (char) (0x80 | (code >> 12 & 0x3F));
		*out++ = (char) (0x80 | (code >> 6 & 0x3F));
		*out++ = (char) (0x80 | (code & 0x3F));
	}
	return out;
}

/*
 * Decodes the escape "\uXXXX" at *bytes, or the two of a surrogate pair, and
 * moves *bytes past it.  Returns the code point, or 0 with *reason set: U+0000
 * is refused like the faults, since no text value can hold it.
 */
static inline uint32_t
read_unicode_escape(const char **bytes, const char **reason)
{
	const char *p = *bytes;
	int unit = read_code_unit(p + 2);
	int low;

	if (unit < 0)
		*reason = "A \\u escape lacks its four hexadecimal digits";
	else if (unit == 0)
		*reason = "Character \\u0000 cannot be converted to text";
	else if (unit >= 0xDC00 && unit <= 0xDFFF)
		*reason = "A Unicode low surrogate follows no high surrogate";
	else if (unit < 0xD800 || unit > 0xDFFF)
	{
		*bytes = p + 6;
		return (uint32_t) unit;
	}
	else
	{
		low = p[6] == '\\' && p[7] == 'u' ? read_code_unit(p + 8) : -1;
		if (low >= 0xDC00 && low <= 0xDFFF)
		{
			*bytes = p + 12;
			return 0x10000 + ((uint32_t) (unit - 0xD800) << 10) +
				   (uint32_t) (low - 0xDC00);
		}
		*reason = "A Unicode high surrogate is followed by no low surrogate";
	}
	return 0;
}

/* The character that the escape \c stands for, or 0. */
static inline char
simple_escape(char c)
{
	switch (c)
	{
		case '"':
		case '\\':
		case '/':
			return c;
		case 'b':
			return '\b';
		case 'f':
			return '\f';
		case 'n':
			return '\n';
		case 'r':
			return '\r';
		case 't':
			return '\t';
		default:
			return 0;
	}
}

/*
 * Writes the content of a string, bytes to end without its quotes, to out
 * with the escapes resolved; out needs end - bytes bytes, since no escape is
 * shorter than what it stands for.  Returns the end of the output, or NULL
 * with *reason and *bad, the escape that is at fault.
 */
static inline char *
unescape_string(const char *bytes, const char *end, char *out,
				const char **reason, const char **bad)
{
	while (bytes < end)
	{
		if (*bytes != '\\')
		{
			const char *stop;

			stop = (const char *) memchr(bytes, '\\', (size_t) (end - bytes));
			if (stop == NULL)
				stop = end;
			memcpy(out, bytes, (size_t) (stop - bytes));
			out += stop - bytes;
			bytes = stop;
			continue;
		}
		*bad = bytes;
		if (bytes[1] == 'u')
		{
			uint32_t code = read_unicode_escape(&bytes, reason);

			if (code == 0)
				return NULL;
			out = write_code_point(out, code);
		}
		else
		{
			*out = simple_escape(bytes[1]);
			if (*out++ == 0)
			{
				*reason = "A string contains an escape that JSON lacks";
				return NULL;
			}
			bytes += 2;
		}
	}
	return out;
}

/*
 * The length of the UTF-8 character at bytes, of which remaining bytes
 * exist, or 0 when there is no valid one.
 */
static inline size_t
utf8_character_length(const unsigned char *bytes, size_t remaining)
{
	unsigned char lead = bytes[0];
	unsigned char low = 0x80; /* range of the second byte */
	unsigned char high = 0xBF;
	size_t length;
	size_t i;

	if (lead < 0x80)
		return 1;
	if (lead < 0xC2 || lead > 0xF4)
		return 0;
	length = lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
	if (lead == 0xE0)
		low = 0xA0; /* overlong */
	else if (lead == 0xED)
		high = 0x9F; /* surrogates */
	else if (lead == 0xF0)
		low = 0x90; /* overlong */
	else if (lead == 0xF4)
		high = 0x8F; /* above U+10FFFF */
	if (length > remaining || bytes[1] < low || bytes[1] > high)
		return 0;
	for (i = 2; i < length; i++)
	{
		if ((bytes[i] & 0xC0) != 0x80)
			return 0;
	}
	return length;
}

/*
 * Tells why simdjson's index refused a text, which says what is wrong but
 * not where.  Returns the reason of the first fault, and its *position.
 */
static const char *__attribute__((noinline, cold))
find_text_fault(const char *text, size_t length, size_t *position)
{
	bool in_string = false;
	size_t string_start = 0;
	size_t i = 0;

	while (i < length)
	{
		unsigned char c = (unsigned char) text[i];
		size_t character;

		*position = i;
		character = utf8_character_length((const unsigned char *) text + i,
										  length - i);
		if (character == 0)
			return "The text is not valid UTF-8";
		if (in_string && c < 0x20)
			return "A string contains an unescaped control character";
		if (c == '"')
		{
			in_string = !in_string;
			string_start = i;
		}
		if (c == '\\' && i + 1 < length &&
			(unsigned char) text[i + 1] < 0x80 &&
			(unsigned char) text[i + 1] >= 0x20)
			character = 2;
		i += character;
	}
	*position = in_string ? string_start : length;
	return in_string ? "A string is not closed" : "The document is not JSON";
}

/* Records a fault; at the end of the document that is what is wrong. */
static void __attribute__((noinline, cold))
record_fault(Walk *walk, const char *reason, size_t position)
{
	walk->position = position;
	walk->reason = position < walk->length
					   ? reason
					   : "The document ends before it is complete";
}

/* The same; returns false, so that callers can return it. */
ALWAYS_INLINE bool
fail(Walk *walk, const char *reason, size_t position)
{
	record_fault(walk, reason, position);
	return false;
}

/* Finds the first backslash at or behind from. */
static inline void
find_backslash(Walk *walk, size_t from)
{
	const char *found;

	found =
		(const char *) memchr(walk->text + from, '\\', walk->length - from);
	walk->backslash = found == NULL ? SIZE_MAX : (size_t) (found - walk->text);
}

/*
 * Resolves the escapes of the string whose quotes stand at open and close.
 */
static bool __attribute__((noinline))
unescape(Walk *walk, size_t open, size_t close)
{
	const char *bad = NULL;
	const char *reason = NULL;
	char *end;

	end = unescape_string(walk->text + open + 1, walk->text + close,
						  walk->unescaped, &reason, &bad);
	if (end == NULL)
		return fail(walk, reason, (size_t) (bad - walk->text));
	walk->content = walk->unescaped;
	walk->content_length = (size_t) (end - walk->unescaped);

	/* The quotes leave room for a byte in between. */
	walk->unescaped = end + 1;
	find_backslash(walk, close + 1);
	return true;
}

/*
 * Reads the string that opens at start, behind which the next token starts
 * at limit.
 */
ALWAYS_INLINE bool
read_string(Walk *walk, size_t start, size_t limit, KafkaJsonValue *value)
{
	const char *text = walk->text;
	size_t close = limit - 1;

	/* The index says that the string is closed, and that no token follows. */
	while (KAFKA_JSON_UNLIKELY(is_blank(text[close])))
		close--;
	if (KAFKA_JSON_UNLIKELY(text[close] != '"' || close == start))
		return fail(walk, "A string is not closed", start);
	value->kind = KAFKA_JSON_STRING;
	value->raw = text + start;
	value->raw_length = close + 1 - start;
	value->text = text + start + 1;
	value->length = close - start - 1;
	if (KAFKA_JSON_UNLIKELY(close > walk->backslash))
	{
		if (!unescape(walk, start, close))
			return false;
		value->text = walk->content;
		value->length = walk->content_length;
	}
	return true;
}

/* Reads true, false or null; end is behind the token's last byte. */
ALWAYS_INLINE bool
read_literal(Walk *walk, size_t start, size_t length, KafkaJsonValue *value)
{
	const char *token = walk->text + start;

	value->text = token;
	value->length = length;
	if (length == 4 && memcmp(token, "true", 4) == 0)
		value->kind = KAFKA_JSON_TRUE;
	else if (length == 5 && memcmp(token, "false", 5) == 0)
		value->kind = KAFKA_JSON_FALSE;
	else if (length == 4 && memcmp(token, "null", 4) == 0)
	{
		value->kind = KAFKA_JSON_NULL;
		value->text = NULL;
		value->length = 0;
	}
	else
		return fail(walk, "A token is no JSON value", start);
	return true;
}

/*
 * Reads the scalar that starts at start, behind which the next token starts
 * at limit.
 */
ALWAYS_INLINE bool
read_scalar(Walk *walk, size_t start, size_t limit, KafkaJsonValue *value)
{
	const char *text = walk->text;
	char first = text[start];

	if (first == '"')
		return read_string(walk, start, limit, value);
	while (KAFKA_JSON_UNLIKELY(limit > start && is_blank(text[limit - 1])))
		limit--;
	value->raw = text + start;
	value->raw_length = limit - start;
	if (is_digit(first) || first == '-')
	{
		value->kind = KAFKA_JSON_NUMBER;
		value->text = text + start;
		value->length = limit - start;
		if (KAFKA_JSON_LIKELY(
				check_number(text + start, text + limit, &walk->ask_server)))
			return true;
		return fail(walk, "A number is malformed", start);
	}
	return read_literal(walk, start, limit - start, value);
}

#endif /* KAFKA_JSON_TOKEN_H */
