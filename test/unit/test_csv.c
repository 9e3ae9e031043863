/*-------------------------------------------------------------------------
 *
 * test_csv.c
 *		Checks the splitting of delimited text, case by case.
 *
 * The expected values are what COPY FROM STDIN (FORMAT csv) gives; the
 * program test/fuzz/csv_oracle compares random messages with it.
 *
 * IDENTIFICATION
 *		test/unit/test_csv.c
 *
 *-------------------------------------------------------------------------
 */
#include <stdlib.h>

#include "csv.h"
#include "tap.h"

#define MAX_FIELDS 8

static const KafkaCsvDialect standard = {',', '"', '"', "", 0};
static const KafkaCsvDialect backslash = {',', '"', '\\', "", 0};
static const KafkaCsvDialect tabs = {'\t', '\'', '\\', "\\N", 2};
static const KafkaCsvDialect semicolon = {';', '"', '"', "null", 4};
/* allowed by COPY: outside quotes it separates, inside it escapes */
static const KafkaCsvDialect shared = {',', '"', ',', "", 0};

typedef struct CsvCase
{
	const char *name;
	const KafkaCsvDialect *dialect;
	const char *message;
	const char *expected; /* [field]... or NULL, or !status */
} CsvCase;

static const CsvCase cases[] = {
	{"plain", &standard, "a,b,c", "[a][b][c]"},
	{"no bytes", &standard, "", "NULL"},
	{"no bytes, other NULL", &semicolon, "", "[]"},
	{"one delimiter", &standard, ",", "NULLNULL"},
	{"last field empty", &standard, "a,", "[a]NULL"},
	{"first field empty", &standard, ",a", "NULL[a]"},
	{"blanks count", &standard, " a , b", "[ a ][ b]"},
	{"quoted empty is not NULL", &standard, "\"\",a", "[][a]"},
	{"delimiter in quotes", &standard, "\"a,b\",c", "[a,b][c]"},
	{"doubled quote", &standard, "\"a\"\"b\"", "[a\"b]"},
	{"only a doubled quote", &standard, "\"\"\"\"", "[\"]"},
	{"quotes inside a field", &standard, "a\"b,c\"d", "[ab,cd]"},
	{"two quoted parts", &standard, "\"a\"b\"c\"", "[abc]"},
	{"quoted end of a field", &standard, "a\"\"", "[a]"},
	{"text after quotes", &standard, "\"a\" ,b", "[a ][b]"},
	{"backslash is plain", &standard, "a\\,\\b", "[a\\][\\b]"},
	{"line ends in quotes", &standard, "\"a\nb\r\nc\rd\",e",
	 "[a\nb\r\nc\rd][e]"},
	{"end marker is data", &standard, "\\.", "[\\.]"},
	{"end marker with line end is data", &standard, "\\.\n", "[\\.]"},
	{"bytes above 127", &standard, "\303\244,\377", "[\303\244][\377]"},

	{"trailing LF", &standard, "a,b\n", "[a][b]"},
	{"trailing CR LF", &standard, "a,b\r\n", "[a][b]"},
	{"trailing CR", &standard, "a,b\r", "[a][b]"},
	{"only LF", &standard, "\n", "NULL"},
	{"only CR LF", &standard, "\r\n", "NULL"},
	{"only CR", &standard, "\r", "NULL"},
	{"two LF", &standard, "a\n\n", "!second line"},
	{"LF CR", &standard, "a\n\r", "!second line"},
	{"CR CR LF", &standard, "a\r\r\n", "!second line"},
	{"LF in the middle", &standard, "a\nb", "!second line"},
	{"CR in the middle", &standard, "a,b\rc", "!second line"},
	{"LF after quotes", &standard, "\"a\"\n\"b", "!second line"},
	{"open quote", &standard, "\"a", "!unterminated"},
	{"open quote at the end", &standard, "a,\"", "!unterminated"},
	{"open quote and LF", &standard, "\"a\n", "!unterminated"},
	{"three quotes", &standard, "\"\"\"", "!unterminated"},
	{"odd quotes in a field", &standard, "a\"b", "!unterminated"},

	{"escaped quote", &backslash, "\"a\\\"b\"", "[a\"b]"},
	{"escaped escape", &backslash, "\"a\\\\\"", "[a\\]"},
	{"escape before another byte", &backslash, "\"a\\nb\"", "[a\\nb]"},
	{"escape outside quotes", &backslash, "a\\\\,\\b", "[a\\\\][\\b]"},
	{"escape outside guards no quote", &backslash, "a\\\"b,c\"", "[a\\b,c]"},
	{"escape outside guards no delimiter", &backslash, "a\\,b", "[a\\][b]"},
	{"doubled quote is no escape", &backslash, "\"a\"\"b\"", "[ab]"},
	{"escape at the end", &backslash, "\"a\\", "!unterminated"},
	{"escaped closing quote", &backslash, "\"a\\\"", "!unterminated"},
	{"escaped escape, then LF", &backslash, "\"a\\\\\"\nb", "!second line"},
	{"escaped quote, then LF", &backslash, "\"a\\\"\nb\"", "[a\"\nb]"},

	{"tabs", &tabs, "a\t'b\tc'\t\\N", "[a][b\tc]NULL"},
	{"quoted NULL text is data", &tabs, "'\\N'\t\\N", "[\\N]NULL"},
	{"partly quoted NULL text is data", &tabs, "\\'N'", "[\\N]"},
	{"longer than the NULL text", &tabs, "\\Nx\t\\", "[\\Nx][\\]"},
	{"empty is not this NULL", &tabs, "\ta", "[][a]"},
	{"NULL text is case-sensitive", &semicolon, "null;NULL", "NULL[NULL]"},
	{"NULL text with blanks", &semicolon, "null ; null", "[null ][ null]"},
	{"NULL text and line end", &semicolon, "a;null\r\n", "[a]NULL"},
	{"escape equal to the delimiter", &shared, "\"a,\"b,,c\",d",
	 "[a\"b,c][d]"},
};

static const char *
name_status(KafkaCsvStatus status)
{
	switch (status)
	{
		case KAFKA_CSV_OK:
			return "!ok";
		case KAFKA_CSV_UNTERMINATED_QUOTE:
			return "!unterminated";
		case KAFKA_CSV_SECOND_LINE:
			return "!second line";
		case KAFKA_CSV_NUL_BYTE:
			return "!NUL";
	}
	return "!unknown";
}

/*
 * Splits into storage of exactly the promised sizes, with the message in one
 * too, so that a sanitizer sees the first byte beyond; shows the result as in
 * CsvCase.  *nfields gets what the splitter said.
 */
static void
split_and_show(const KafkaCsvDialect *dialect, const char *message,
			   size_t length, int max_fields, int *nfields, char *shown,
			   size_t size)
{
	char *copy = malloc(length);
	char *buffer = malloc(kafka_csv_buffer_size(length, max_fields));
	KafkaCsvField *fields = malloc(max_fields * sizeof(KafkaCsvField));
	KafkaCsvStatus status;
	size_t used = 0;
	int i;

	memcpy(copy, message, length);
	*nfields = -1;
	status = kafka_csv_split(dialect, copy, length, fields, max_fields,
							 nfields, buffer);
	shown[0] = '\0';
	if (status != KAFKA_CSV_OK)
		snprintf(shown, size, "%s", name_status(status));
	for (i = 0; status == KAFKA_CSV_OK && i < *nfields && i < max_fields; i++)
	{
		if (fields[i].text == NULL)
			used += snprintf(shown + used, size - used, "NULL");
		else if (strlen(fields[i].text) != fields[i].length)
			used += snprintf(shown + used, size - used, "!length");
		else
			used +=
				snprintf(shown + used, size - used, "[%s]", fields[i].text);
	}
	free(fields);
	free(buffer);
	free(copy);
}

static void
test_cases(void)
{
	char shown[256];
	int nfields;
	size_t i;

	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		const CsvCase *this = &cases[i];

		split_and_show(this->dialect, this->message, strlen(this->message),
					   MAX_FIELDS, &nfields, shown, sizeof(shown));
		is_str(shown, this->expected, "%s", this->name);
	}
}

static void
test_field_limit(void)
{
	char shown[256];
	int nfields;

	split_and_show(&standard, "a,\"b\",c,,", 9, 2, &nfields, shown,
				   sizeof(shown));
	is_str(shown, "[a][b]", "fields past the limit are not stored");
	is_int(nfields, 5, "fields past the limit are counted");
	split_and_show(&standard, "a,b,c", 5, 0, &nfields, shown, sizeof(shown));
	is_str(shown, "", "no field is stored when none is wanted");
	is_int(nfields, 3, "fields are counted when none is wanted");
	split_and_show(&standard, "a,b", 3, 5, &nfields, shown, sizeof(shown));
	is_int(nfields, 2, "fewer fields than the limit are counted");
	split_and_show(&standard, "a,b,c\"d", 7, 2, &nfields, shown,
				   sizeof(shown));
	is_str(shown, "!unterminated", "an error past the limit is found");
	split_and_show(&standard, "a,b,c\nd", 7, 1, &nfields, shown,
				   sizeof(shown));
	is_str(shown, "!second line", "a second line past the limit is found");
}

static void
test_nul_bytes(void)
{
	char shown[256];
	int nfields;

	split_and_show(&standard, "a\0b", 3, MAX_FIELDS, &nfields, shown,
				   sizeof(shown));
	is_str(shown, "!NUL", "a zero byte in a field");
	split_and_show(&standard, "\"a\0b\"", 5, MAX_FIELDS, &nfields, shown,
				   sizeof(shown));
	is_str(shown, "!NUL", "a zero byte in quotes");
	split_and_show(&standard, "a,b\0", 4, 1, &nfields, shown, sizeof(shown));
	is_str(shown, "!NUL", "a zero byte at the end, past the limit");
	kafka_csv_split(&standard, NULL, 0, NULL, 0, &nfields, shown);
	is_int(nfields, 1, "a message without bytes may have no address");
}

/* A sentence without period, its own for each status. */
static void
test_reasons(void)
{
	static const KafkaCsvStatus statuses[] = {KAFKA_CSV_OK,
											  KAFKA_CSV_UNTERMINATED_QUOTE,
											  KAFKA_CSV_SECOND_LINE,
											  KAFKA_CSV_NUL_BYTE};
	int i;
	int j;

	for (i = 0; i < 4; i++)
	{
		const char *reason = kafka_csv_reason(statuses[i]);
		int nsame = 0;

		for (j = 0; j < 4; j++)
			nsame += strcmp(reason, kafka_csv_reason(statuses[j])) == 0;
		ok(nsame == 1 && reason[0] >= 'A' && reason[0] <= 'Z' &&
			   reason[strlen(reason) - 1] != '.',
		   "reason of status %d: %s", i, reason);
	}
}

int
main(void)
{
	test_cases();
	test_field_limit();
	test_nul_bytes();
	test_reasons();
	return done_testing();
}
