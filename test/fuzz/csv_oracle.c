/*-------------------------------------------------------------------------
 *
 * csv_oracle.c
 *		Compares the splitting of delimited text with COPY itself.
 *
 *	csv_oracle [COUNT [SEED]]
 *
 * COUNT random messages in random dialects go through kafka_csv_split and
 * through COPY FROM STDIN (FORMAT csv).  What splits into fields must be one
 * row of COPY's with the same fields and the same NULLs; a quote without end
 * must be COPY's error; and a message with a second line must not be one row
 * of COPY's.  Left out are the two things that csv.c says it does otherwise:
 * a message without bytes, and the end-of-data marker.
 *
 * Prints TAP; the exit status is 0 if there was no difference.
 *
 * IDENTIFICATION
 *		test/fuzz/csv_oracle.c
 *
 *-------------------------------------------------------------------------
 */
#include "csv.h"
#include "oracle.h"

/* More than any message has fields. */
#define NCOLUMNS 32

#define MAX_TOKENS 20
#define MESSAGE_SIZE 512

/* Rolled back rows stay in the table until it is truncated. */
#define TRUNCATE_EVERY 200

/* Ways in which COPY can end. */
typedef enum CopyOutcome
{
	COPY_ROWS, /* some number of rows */
	COPY_OPEN_QUOTE,
	COPY_TOO_FEW, /* the row has fewer fields than asked for */
	COPY_TOO_MANY,
	COPY_OTHER_ERROR
} CopyOutcome;

static PGconn *connection;
static char copy_error[1024];

static void
make_dialect(KafkaCsvDialect *dialect)
{
	static const char delimiters[] = {',', ';', '\t', '|', '\\', ':'};
	static const char quotes[] = {'"', '\'', '|', '$'};
	static const char escapes[] = {'\\', '^', '|', '"', ','};
	static const char *const null_texts[] = {"", "", "\\N", "null", "0", " "};

	do
	{
		dialect->delimiter =
			random_chance(50) ? ',' : delimiters[random_below(6)];
		dialect->quote = random_chance(50) ? '"' : quotes[random_below(4)];
		dialect->escape =
			random_chance(50) ? dialect->quote : escapes[random_below(5)];
		dialect->null_text = null_texts[random_below(6)];
		dialect->null_length = strlen(dialect->null_text);
		/* what COPY refuses */
	} while (dialect->delimiter == dialect->quote ||
			 strchr(dialect->null_text, dialect->delimiter) != NULL ||
			 strchr(dialect->null_text, dialect->quote) != NULL);
}

static size_t
append(char *message, size_t length, const char *text)
{
	strcpy(message + length, text);
	return length + strlen(text);
}

/* Appends a field in quotes, sometimes with a fault. */
static size_t
append_quoted(const KafkaCsvDialect *dialect, char *message, size_t length)
{
	static const char *const pieces[] = {"a",   "\n",       "\r\n", "\r",
										 " ",   ",",        ";",    "\\",
										 "\\.", "\303\244", "0"};
	int npieces = random_below(5);

	message[length++] = dialect->quote;
	while (npieces-- > 0)
	{
		switch (random_below(5))
		{
			case 0:
				if (random_chance(95))
					message[length++] = dialect->escape;
				message[length++] = dialect->quote;
				break;
			case 1:
				if (random_chance(80))
					message[length++] = dialect->escape;
				message[length++] = dialect->escape;
				break;
			default:
				length = append(message, length, pieces[random_below(11)]);
				break;
		}
	}
	if (random_chance(95))
		message[length++] = dialect->quote;
	return length;
}

/* Writes a message of random pieces; returns its length. */
static size_t
make_message(const KafkaCsvDialect *dialect, char *message)
{
	static const char *const plain[] = {"a",        "bc", " ",    "0",   "\\",
										"\\.",      "N",  "null", "\\N", "^",
										"\303\244", "|",  "'",    "\""};
	static const char *const line_ends[] = {"\n", "\r\n", "\r"};
	int ntokens = random_below(random_chance(50) ? 5 : MAX_TOKENS);
	size_t length = 0;

	while (ntokens-- > 0)
	{
		int choice = random_below(100);

		if (choice < 30)
			message[length++] = dialect->delimiter;
		else if (choice < 50)
			length = append_quoted(dialect, message, length);
		else if (choice < 60)
			length = append(message, length, dialect->null_text);
		else if (choice < 63)
			message[length++] = dialect->quote;
		else if (choice < 67)
			message[length++] = dialect->escape;
		else if (choice < 69)
			length = append(message, length, line_ends[random_below(3)]);
		else
			length = append(message, length, plain[random_below(14)]);
	}
	if (random_chance(30))
		length = append(message, length, line_ends[random_below(3)]);
	return length;
}

/* COPY into the first ncolumns columns; sql must have 2048 bytes. */
static void
format_copy(const KafkaCsvDialect *dialect, int ncolumns, char *sql)
{
	char *end = sql + sprintf(sql, "COPY pg_temp.target (c0");
	int i;

	for (i = 1; i < ncolumns; i++)
		end += sprintf(end, ", c%d", i);
	/* with standard_conforming_strings only a quote needs doubling */
	sprintf(end,
			") FROM STDIN (FORMAT csv, NULL '%s', DELIMITER '%c', "
			"QUOTE '%.2s', ESCAPE '%.2s')",
			dialect->null_text, dialect->delimiter,
			dialect->quote == '\'' ? "''" : (char[]){dialect->quote, '\0'},
			dialect->escape == '\'' ? "''" : (char[]){dialect->escape, '\0'});
}

/* Sends a message through COPY; *nrows and *nfields where the result says. */
static CopyOutcome
run_copy(const KafkaCsvDialect *dialect, int ncolumns, const char *message,
		 size_t length, int *nrows, int *nfields)
{
	char sql[2048];
	PGresult *result;
	CopyOutcome outcome = COPY_OTHER_ERROR;
	const char *state;

	*nrows = *nfields = -1;
	format_copy(dialect, ncolumns, sql);
	result = PQexec(connection, sql);
	if (PQresultStatus(result) != PGRES_COPY_IN)
	{
		fprintf(stderr, "%s\n%s", sql, PQerrorMessage(connection));
		exit(2);
	}
	PQclear(result);
	PQputCopyData(connection, message, (int) length);
	PQputCopyEnd(connection, NULL);
	result = PQgetResult(connection);
	state = PQresultErrorField(result, PG_DIAG_SQLSTATE);
	snprintf(copy_error, sizeof(copy_error), "%s",
			 state == NULL ? "no error\n" : PQerrorMessage(connection));
	copy_error[strcspn(copy_error, "\n")] = '\0';
	if (PQresultStatus(result) == PGRES_COMMAND_OK)
	{
		outcome = COPY_ROWS;
		*nrows = atoi(PQcmdTuples(result));
	}
	else if (strstr(copy_error, "unterminated CSV quoted field") != NULL)
		outcome = COPY_OPEN_QUOTE;
	else if (strstr(copy_error, "extra data after last expected") != NULL)
		outcome = COPY_TOO_MANY;
	else if (strstr(copy_error, "missing data for column") != NULL &&
			 sscanf(strstr(copy_error, "column"), "column \"c%d\"", nfields) ==
				 1)
		outcome = COPY_TOO_FEW;
	PQclear(result);
	while ((result = PQgetResult(connection)) != NULL)
		PQclear(result);
	return outcome;
}

static void
compare_fields(const char *message, size_t length, const KafkaCsvField *fields,
			   int nfields)
{
	PGresult *result = PQexec(connection, "SELECT * FROM pg_temp.target");
	int i;

	if (PQntuples(result) != 1)
		report_difference(message, length, "%d rows in the table",
						  PQntuples(result));
	for (i = 0; i < nfields && PQntuples(result) == 1; i++)
	{
		const char *expected =
			PQgetisnull(result, 0, i) ? NULL : PQgetvalue(result, 0, i);

		if ((expected == NULL) != (fields[i].text == NULL))
			report_difference(message, length, "field %d: NULL or not", i);
		else if (expected != NULL && strcmp(expected, fields[i].text) != 0)
			report_difference(message, length,
							  "field %d: \"%s\", COPY: \"%s\"", i,
							  fields[i].text, expected);
	}
	PQclear(result);
}

/* One message whose fields we know. */
static void
check_fields(const KafkaCsvDialect *dialect, const char *message,
			 size_t length, const KafkaCsvField *fields, int nfields)
{
	int nrows;
	int ignored;

	execute(connection, "BEGIN");
	if (run_copy(dialect, nfields, message, length, &nrows, &ignored) !=
		COPY_ROWS)
		report_difference(message, length, "%d fields, COPY: %s", nfields,
						  copy_error);
	else if (nrows != 1)
		report_difference(message, length, "%d fields, COPY: %d rows", nfields,
						  nrows);
	else
		compare_fields(message, length, fields, nfields);
	execute(connection, "ROLLBACK");
}

/* Can COPY take a line of the message after the first for the end of data? */
static bool
may_end_early(const char *message)
{
	return strstr(message, "\n\\.") != NULL ||
		   strstr(message, "\r\\.") != NULL;
}

/* COPY must see something other than one row. */
static void
check_second_line(const KafkaCsvDialect *dialect, const char *message,
				  size_t length)
{
	int nrows;
	int nfields;
	CopyOutcome outcome;

	/* too many columns, so that COPY says how many the first row has */
	outcome = run_copy(dialect, NCOLUMNS, message, length, &nrows, &nfields);
	if (outcome == COPY_TOO_FEW)
	{
		execute(connection, "BEGIN");
		outcome =
			run_copy(dialect, nfields, message, length, &nrows, &nfields);
		execute(connection, "ROLLBACK");
		if (outcome == COPY_ROWS && nrows < 2 && !may_end_early(message))
			report_difference(message, length, "second line, COPY: %d rows",
							  nrows);
	}
	/* only the end-of-data marker, alone in its line, hides the rest */
	else if (outcome != COPY_ROWS || nrows != 0 ||
			 strncmp(message, "\\.", 2) != 0)
		report_difference(message, length, "second line, COPY: %s",
						  copy_error);
}

static bool
is_left_out(const char *message, size_t length)
{
	if (length == 0)
		return true;
	return strcmp(message, "\\.\n") == 0 || strcmp(message, "\\.\r\n") == 0 ||
		   strcmp(message, "\\.\r") == 0;
}

static void
check_message(const KafkaCsvDialect *dialect, const char *message,
			  size_t length, long *nstatus)
{
	KafkaCsvField fields[NCOLUMNS];
	char *buffer = malloc(kafka_csv_buffer_size(length, NCOLUMNS));
	KafkaCsvStatus status;
	int nfields = 0;
	int nrows;
	int ignored;

	status = kafka_csv_split(dialect, message, length, fields, NCOLUMNS,
							 &nfields, buffer);
	nstatus[status]++;
	switch (status)
	{
		case KAFKA_CSV_OK:
			check_fields(dialect, message, length, fields, nfields);
			break;
		case KAFKA_CSV_UNTERMINATED_QUOTE:
			if (run_copy(dialect, NCOLUMNS, message, length, &nrows,
						 &ignored) != COPY_OPEN_QUOTE)
				report_difference(message, length, "open quote, COPY: %s",
								  copy_error);
			break;
		case KAFKA_CSV_SECOND_LINE:
			check_second_line(dialect, message, length);
			break;
		case KAFKA_CSV_NUL_BYTE:
			report_difference(message, length, "there is no zero byte");
			break;
	}
	free(buffer);
}

static void
create_target(void)
{
	char sql[1024];
	char *end = sql + sprintf(sql, "CREATE TEMP TABLE target (c0 text");
	int i;

	for (i = 1; i < NCOLUMNS; i++)
		end += sprintf(end, ", c%d text", i);
	strcpy(end, ")");
	execute(connection, sql);
}

int
main(int argc, char **argv)
{
	long count = read_arguments(argc, argv, 10000);
	long nstatus[4] = {0, 0, 0, 0};
	bool enough;
	long i;

	connection = connect_server();
	/* outcomes are told by the messages' words */
	execute(connection, "SET lc_messages = 'C'");
	execute(connection, "SET standard_conforming_strings = on");
	create_target();
	for (i = 0; i < count; i++)
	{
		KafkaCsvDialect dialect;
		char message[MESSAGE_SIZE];
		size_t length;

		make_dialect(&dialect);
		length = make_message(&dialect, message);
		message[length] = '\0';
		if (!is_left_out(message, length))
			check_message(&dialect, message, length, nstatus);
		if (i % TRUNCATE_EVERY == TRUNCATE_EVERY - 1)
			execute(connection, "TRUNCATE pg_temp.target");
	}
	printf("# %ld split, %ld with an open quote, %ld with a second line\n",
		   nstatus[KAFKA_CSV_OK], nstatus[KAFKA_CSV_UNTERMINATED_QUOTE],
		   nstatus[KAFKA_CSV_SECOND_LINE]);
	enough = nstatus[KAFKA_CSV_OK] > count / 4 &&
			 nstatus[KAFKA_CSV_UNTERMINATED_QUOTE] > count / 50 &&
			 nstatus[KAFKA_CSV_SECOND_LINE] > count / 50;
	if (!enough)
		fprintf(stderr, "# too few cases of some kind to mean anything\n");
	if (ndifferences > 0)
		fprintf(stderr, "# %d differences\n", ndifferences);
	printf("%sok 1 - fields agree with COPY's\n1..1\n",
		   ndifferences == 0 && enough ? "" : "not ");
	PQfinish(connection);
	return ndifferences == 0 && enough ? 0 : 1;
}
