/*-------------------------------------------------------------------------
 *
 * fuzz_json_generate.h
 *		Random JSON documents, valid and nearly so, from a seed.
 *
 * Documents are written from the grammar, with the keys that the tests look
 * for, repeated and nested in each other, spelled plainly or by escapes; with
 * numbers and strings at the borders of what PostgreSQL takes; and with
 * blanks anywhere.  Then about half of them are damaged in one to three
 * places: that reaches faults deep inside documents, which random bytes
 * never do.  The same seed gives the same documents on every machine.
 *
 * IDENTIFICATION
 *		test/fuzz/fuzz_json_generate.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef KAFKA_FUZZ_JSON_GENERATE_H
#define KAFKA_FUZZ_JSON_GENERATE_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LENGTH_OF(array) ((int) (sizeof(array) / sizeof((array)[0])))

/* The longest document that is generated. */
#define MAX_DOCUMENT_BYTES (1 << 18)

typedef struct Generator
{
	uint64_t state; /* of the random numbers, never 0 */
	char *document; /* MAX_DOCUMENT_BYTES of space */
	size_t length;  /* of the document so far */
} Generator;

/*
 * The fields to look for.  Those of the first group are column names, which
 * json_to_record can give; those of the second are paths.
 */
static const char *const generated_columns[] = {"a",
												"b",
												"user",
												"value12",
												"key_of_16_bytes_",
												"a_key_longer_than_any_word",
												"\xc3\xa4",
												"say \"x\\y\""};
static const char *const generated_paths[] = {"user.id", "user.name",
											  "a.b.c",   "a.b",
											  "b.a",     "user.id",
											  ".a",      "a."};

/* Keys that documents use: those above, their components, and others. */
static const char *const generated_keys[] = {"a",
											 "a",
											 "b",
											 "b",
											 "user",
											 "user",
											 "id",
											 "name",
											 "c",
											 "user.id",
											 "a.b.c",
											 "a.b",
											 "value12",
											 "value13",
											 "key_of_16_bytes_",
											 "key_of_16_bytes!",
											 "a_key_longer_than_any_word",
											 "a_key_longer_than_any_wort",
											 "\xc3\xa4",
											 "say \"x\\y\"",
											 "",
											 "x",
											 "other",
											 "\xf0\x9f\x98\x80"};

static const char *const generated_numbers[] = {"0",
												"-0",
												"1",
												"-1",
												"12",
												"1234567",
												"12345678",
												"123456789",
												"1234567890123456",
												"12345678901234567",
												"-9223372036854775808",
												"18446744073709551616",
												"0.1",
												"-0.10",
												"1.50",
												"3.141592653589793238",
												"1e5",
												"1E+5",
												"1e-5",
												"0e0",
												"-0.0e-0",
												"1e308",
												"1e400",
												"1e-400",
												"1e131071",
												"1e131072",
												"10e131071",
												"1e-16383",
												"1e-16384",
												"0.1e-16382",
												"0.1e-16383",
												"0e131073",
												"0e-16384",
												"1e1073741823",
												"1e-1073741823",
												"1e2147483648",
												"1e99999999999999999999",
												"0.0001e131074",
												"1e0000000000000005"};

/* Mostly wrong; where a value, a key or a blank could stand. */
static const char *const generated_damage[] = {"{",
											   "}",
											   "[",
											   "]",
											   ":",
											   ",",
											   "\"",
											   "\\",
											   " ",
											   "\t",
											   "\n",
											   "\r",
											   "\f",
											   "\v",
											   "\x1a",
											   "\x1f",
											   "\x7f",
											   "\x80",
											   "\xa0",
											   "\xbf",
											   "\xc0\xaf",
											   "\xc3",
											   "\xe0\x80\x80",
											   "\xed\xa0\x80",
											   "\xed\x9f\xbf",
											   "\xef\xbb\xbf",
											   "\xf0\x80\x80\x80",
											   "\xf4\x8f\xbf\xbf",
											   "\xf4\x90\x80\x80",
											   "\xf8",
											   "\xff",
											   "\xc2\xa0",
											   "\\u0000",
											   "\\u0001",
											   "\\ud800",
											   "\\udc00",
											   "\\ud83d\\ude00",
											   "\\u12",
											   "\\x41",
											   "\\",
											   "\\\"",
											   "\\/",
											   "'",
											   "null",
											   "nul",
											   "NULL",
											   "true",
											   "fals",
											   "NaN",
											   "Infinity",
											   "01",
											   "1.",
											   ".5",
											   "+1",
											   "-",
											   "1e",
											   "0x1",
											   "/**/",
											   "//",
											   "\"\"",
											   "{}",
											   "[]",
											   "\"a\":1",
											   ",\"a\":2",
											   "e",
											   "E5",
											   "0",
											   "9",
											   ".",
											   "u",
											   "t"};

/* Marsaglia's xorshift. */
static uint32_t
random_below(Generator *generator, uint32_t limit)
{
	generator->state ^= generator->state << 13;
	generator->state ^= generator->state >> 7;
	generator->state ^= generator->state << 17;
	return (uint32_t) ((generator->state >> 33) % limit);
}

static bool
chance(Generator *generator, uint32_t percent)
{
	return random_below(generator, 100) < percent;
}

#define PICK(generator, table) \
	((table)[random_below((generator), (uint32_t) LENGTH_OF(table))])

static void
put_bytes(Generator *generator, const char *bytes, size_t length)
{
	if (generator->length + length > MAX_DOCUMENT_BYTES)
		return;
	memcpy(generator->document + generator->length, bytes, length);
	generator->length += length;
}

static void
put_text(Generator *generator, const char *text)
{
	put_bytes(generator, text, strlen(text));
}

static void
put_blanks(Generator *generator)
{
	static const char blanks[] = {' ', '\t', '\n', '\r'};
	uint32_t count;

	if (!chance(generator, 12))
		return;
	count = chance(generator, 5) ? random_below(generator, 200) : 1;
	do
		put_bytes(generator, &PICK(generator, blanks), 1);
	while (count-- > 1);
}

/* One character as it can stand in a string: plain, or as an escape. */
static void
put_character(Generator *generator, unsigned char c, bool escaped)
{
	char escape[8];

	if (escaped || c < 0x20)
	{
		snprintf(escape, sizeof(escape),
				 chance(generator, 50) ? "\\u%04x" : "\\u%04X", c);
		put_text(generator, escape);
	}
	else if (c == '"' || c == '\\')
	{
		put_text(generator, "\\");
		put_bytes(generator, (const char *) &c, 1);
	}
	else
		put_bytes(generator, (const char *) &c, 1);
}

static void
put_key(Generator *generator)
{
	const char *key = PICK(generator, generated_keys);
	bool spelled = chance(generator, 10);

	put_text(generator, "\"");
	for (; *key != '\0'; key++)
		put_character(generator, (unsigned char) *key,
					  spelled && (unsigned char) *key < 0x80 &&
						  chance(generator, 50));
	put_text(generator, "\"");
}

static void
put_string(Generator *generator)
{
	static const char *const pieces[] = {"\\n",
										 "\\t",
										 "\\\"",
										 "\\\\",
										 "\\/",
										 "\\b",
										 "\\f",
										 "\\r",
										 "\\u00e4",
										 "\\u20AC",
										 "\\ud83d\\ude00",
										 "\\uFFFF",
										 "\\u0001",
										 "\\ue000",
										 "\\udbff\\udfff",
										 "\xc3\xa4",
										 "\xe2\x82\xac",
										 "\xf0\x9f\x98\x80",
										 "\x7f",
										 "\xef\xbf\xbf",
										 "{",
										 "}",
										 "[",
										 "]",
										 ":",
										 ",",
										 "'",
										 "null"};
	uint32_t count;

	count = random_below(generator, chance(generator, 5) ? 150 : 12);
	put_text(generator, "\"");
	while (count-- > 0)
	{
		if (chance(generator, 8))
			put_text(generator, PICK(generator, pieces));
		else
			put_character(generator,
						  (unsigned char) (' ' + random_below(generator, 95)),
						  false);
	}
	put_text(generator, "\"");
}

static void
put_number(Generator *generator)
{
	char number[64];

	switch (random_below(generator, 6))
	{
		case 0:
			put_text(generator, PICK(generator, generated_numbers));
			break;
		case 1:
			snprintf(number, sizeof(number), "%.*f",
					 (int) random_below(generator, 12),
					 random_below(generator, 1 << 30) / 1000.0 - 300000.0);
			put_text(generator, number);
			break;
		case 2:
			snprintf(number, sizeof(number), "%de%d",
					 (int) random_below(generator, 1000),
					 (int) random_below(generator, 700) - 350);
			put_text(generator, number);
			break;
		default:
			snprintf(number, sizeof(number), "%lld",
					 (long long) random_below(generator, 1U << 31) >>
						 random_below(generator, 32));
			put_text(generator, number);
	}
}

/* A number with so many digits that numeric may not take it. */
static void
put_long_number(Generator *generator)
{
	uint32_t count;

	count = chance(generator, 50) ? 131070 + random_below(generator, 6)
								  : 16381 + random_below(generator, 6);
	if (chance(generator, 50))
		put_text(generator, "0.");
	while (count-- > 0)
		put_text(generator, "7");
}

static void put_value(Generator *generator, int depth);

static void
put_object(Generator *generator, int depth)
{
	uint32_t count = random_below(generator, depth == 0 ? 12 : 5);

	put_text(generator, "{");
	put_blanks(generator);
	while (count > 0)
	{
		put_key(generator);
		put_blanks(generator);
		put_text(generator, ":");
		put_blanks(generator);
		put_value(generator, depth + 1);
		put_blanks(generator);
		if (--count > 0)
		{
			put_text(generator, ",");
			put_blanks(generator);
		}
	}
	put_text(generator, "}");
}

static void
put_array(Generator *generator, int depth)
{
	uint32_t count = random_below(generator, 5);

	put_text(generator, "[");
	put_blanks(generator);
	while (count > 0)
	{
		put_value(generator, depth + 1);
		put_blanks(generator);
		if (--count > 0)
		{
			put_text(generator, ",");
			put_blanks(generator);
		}
	}
	put_text(generator, "]");
}

/* Brackets around each other, past the depth that is surely taken. */
static void
put_deep_value(Generator *generator)
{
	static const char *const openers[] = {"[", "{\"a\":", "[{\"b\":"};
	static const char *const closers[] = {"]", "}", "}]"};
	uint32_t shape = random_below(generator, 3);
	uint32_t count = 250 + random_below(generator, 1000);
	uint32_t i;

	for (i = 0; i < count; i++)
		put_text(generator, openers[shape]);
	put_number(generator);
	for (i = 0; i < count; i++)
		put_text(generator, closers[shape]);
}

static void
put_value(Generator *generator, int depth)
{
	uint32_t choice = random_below(generator, 1000);

	if (choice < 1)
		put_deep_value(generator);
	else if (choice < 2)
		put_long_number(generator);
	else if (choice < 250)
		put_number(generator);
	else if (choice < 550)
		put_string(generator);
	else if (choice < 600)
		put_text(generator, "true");
	else if (choice < 650)
		put_text(generator, "false");
	else if (choice < 730)
		put_text(generator, "null");
	else if (depth > 8)
		put_text(generator, "0");
	else if (choice < 900)
		put_object(generator, depth);
	else
		put_array(generator, depth);
}

/* Replaces bytes start to end by others. */
static void
splice(Generator *generator, size_t start, size_t end, const char *bytes,
	   size_t length)
{
	size_t tail = generator->length - end;

	if (start + length + tail > MAX_DOCUMENT_BYTES)
		return;
	memmove(generator->document + start + length, generator->document + end,
			tail);
	memcpy(generator->document + start, bytes, length);
	generator->length = start + length + tail;
}

static void
damage_document(Generator *generator)
{
	size_t length = generator->length;
	size_t start = random_below(generator, (uint32_t) length + 1);
	size_t end = start + random_below(generator, 4);
	const char *text = PICK(generator, generated_damage);
	char byte;
	char slice[64];

	if (end > length)
		end = length;
	switch (random_below(generator, 8))
	{
		case 0: /* cut off */
			generator->length = start;
			break;
		case 1: /* remove a few bytes */
		case 2:
			splice(generator, start, end, "", 0);
			break;
		case 3: /* any byte, also zero */
			byte = (char) random_below(generator, 256);
			splice(generator, start, end > start ? start + 1 : start, &byte,
				   1);
			break;
		case 4: /* repeat a slice elsewhere */
			end = start + random_below(generator, sizeof(slice));
			if (end > length)
				end = length;
			memcpy(slice, generator->document + start, end - start);
			length = random_below(generator, (uint32_t) length + 1);
			splice(generator, length, length, slice, end - start);
			break;
		case 5: /* in place of something */
			splice(generator, start, end, text, strlen(text));
			break;
		default: /* in between */
			splice(generator, start, start, text, strlen(text));
	}
}

/* Makes the next document; it stands in generator->document. */
static void
generate_document(Generator *generator)
{
	int damages;

	generator->length = 0;
	put_blanks(generator);
	if (chance(generator, 94))
		put_object(generator, 0);
	else
		put_value(generator, 0);
	put_blanks(generator);
	if (chance(generator, 50))
	{
		for (damages = 1 + chance(generator, 20) + chance(generator, 10);
			 damages > 0; damages--)
			damage_document(generator);
	}
}

/* Starts a sequence of documents.  Returns false when there is no memory. */
static bool
start_generator(Generator *generator, uint64_t seed)
{
	int i;

	generator->state = seed * UINT64_C(0x9E3779B97F4A7C15) + 1;
	if (generator->state == 0)
		generator->state = 1;
	generator->document = malloc(MAX_DOCUMENT_BYTES);
	generator->length = 0;
	for (i = 0; i < 16; i++)
		random_below(generator, 2);
	return generator->document != NULL;
}

#endif /* KAFKA_FUZZ_JSON_GENERATE_H */
