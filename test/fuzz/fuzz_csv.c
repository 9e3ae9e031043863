/*-------------------------------------------------------------------------
 *
 * fuzz_csv.c
 *		Splits input bytes under a dialect that the first bytes choose.
 *
 * Checked beside memory safety: the fields fit the promised buffer and end
 * with a zero byte; their number and texts do not depend on how many are
 * wanted; and the fields, written as CSV with every one quoted, split into
 * the same fields again.
 *
 * IDENTIFICATION
 *		test/fuzz/fuzz_csv.c
 *
 *-------------------------------------------------------------------------
 */
#include <stdbool.h>
#include <string.h>

#include "csv.h"
#include "replay.h"

#define MAX_FIELDS 16

/* The result of one split, with all it points to. */
typedef struct SplitResult
{
	KafkaCsvStatus status;
	int nfields;
	int nstored;
	KafkaCsvField *fields;
	char *buffer;
} SplitResult;

static SplitResult
split(const KafkaCsvDialect *dialect, const char *message, size_t length,
	  int max_fields)
{
	SplitResult result;
	size_t size = kafka_csv_buffer_size(length, max_fields);
	int i;

	result.nfields = -1;
	result.buffer = malloc(size);
	result.fields = malloc(max_fields * sizeof(KafkaCsvField));
	result.status =
		kafka_csv_split(dialect, message, length, result.fields, max_fields,
						&result.nfields, result.buffer);
	result.nstored = 0;
	if (result.status != KAFKA_CSV_OK)
		return result;
	REQUIRE(result.nfields >= 1);
	result.nstored = result.nfields < max_fields ? result.nfields : max_fields;
	for (i = 0; i < result.nstored; i++)
	{
		const KafkaCsvField *field = &result.fields[i];

		if (field->text == NULL)
		{
			REQUIRE(field->length == 0);
			continue;
		}
		REQUIRE(field->text >= result.buffer);
		REQUIRE(field->text + field->length < result.buffer + size);
		REQUIRE(field->text[field->length] == '\0');
		REQUIRE(strlen(field->text) == field->length);
	}
	return result;
}

static void
free_result(SplitResult *result)
{
	free(result->buffer);
	free(result->fields);
}

static void
require_same_fields(const SplitResult *a, const SplitResult *b, int nfields)
{
	int i;

	for (i = 0; i < nfields; i++)
	{
		REQUIRE((a->fields[i].text == NULL) == (b->fields[i].text == NULL));
		REQUIRE(a->fields[i].length == b->fields[i].length);
		REQUIRE(a->fields[i].text == NULL ||
				strcmp(a->fields[i].text, b->fields[i].text) == 0);
	}
}

/* Writes the fields as CSV and splits that. */
static void
check_round_trip(const KafkaCsvDialect *dialect, const SplitResult *result)
{
	SplitResult again;
	char *message;
	size_t size = 1;
	size_t length = 0;
	int i;

	for (i = 0; i < result->nstored; i++)
		size += 2 * result->fields[i].length + 3 + dialect->null_length;
	message = malloc(size);
	for (i = 0; i < result->nstored; i++)
	{
		const KafkaCsvField *field = &result->fields[i];
		size_t j;

		if (i > 0)
			message[length++] = dialect->delimiter;
		if (field->text == NULL)
		{
			memcpy(message + length, dialect->null_text, dialect->null_length);
			length += dialect->null_length;
			continue;
		}
		message[length++] = dialect->quote;
		for (j = 0; j < field->length; j++)
		{
			char c = field->text[j];

			if (c == dialect->quote || c == dialect->escape)
				message[length++] = dialect->escape;
			message[length++] = c;
		}
		message[length++] = dialect->quote;
	}
	again = split(dialect, message, length, MAX_FIELDS);
	REQUIRE(again.status == KAFKA_CSV_OK);
	REQUIRE(again.nfields == result->nfields);
	require_same_fields(result, &again, result->nstored);
	free_result(&again);
	free(message);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char delimiters[] = {',', ';', '\t', '|'};
	static const char *const null_texts[] = {"", "\\N", "null", "0"};
	KafkaCsvDialect dialect;
	SplitResult all;
	int max_fields;

	if (size < 1)
		return 0;
	dialect.delimiter = delimiters[data[0] & 3];
	dialect.quote = data[0] & 4 ? '\'' : '"';
	dialect.escape = data[0] & 8 ? '\\' : dialect.quote;
	dialect.null_text = null_texts[data[0] >> 4 & 3];
	dialect.null_length = strlen(dialect.null_text);
	data++;
	size--;

	all = split(&dialect, (const char *) data, size, MAX_FIELDS);
	for (max_fields = 0; max_fields < 3; max_fields++)
	{
		SplitResult some =
			split(&dialect, (const char *) data, size, max_fields);

		REQUIRE(some.status == all.status);
		REQUIRE(some.nfields == all.nfields);
		require_same_fields(&all, &some, some.nstored);
		free_result(&some);
	}
	if (all.status == KAFKA_CSV_OK && all.nfields <= MAX_FIELDS)
		check_round_trip(&dialect, &all);
	REQUIRE(all.status != KAFKA_CSV_NUL_BYTE ||
			memchr(data, '\0', size) != NULL);
	free_result(&all);
	return 0;
}
