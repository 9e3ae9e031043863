/*-------------------------------------------------------------------------
 *
 * oracle.h
 *		What the programs that compare with a PostgreSQL server share.
 *
 * The server is the one that libpq's environment variables name.  Nothing is
 * left behind in it: only temporary objects are made.
 *
 * IDENTIFICATION
 *		test/fuzz/oracle.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef KAFKA_ORACLE_H
#define KAFKA_ORACLE_H

#include <libpq-fe.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Differences printed in full; more say nothing new. */
#define MAX_SHOWN 20

static uint64_t random_state;
static int ndifferences = 0;

/* Marsaglia's xorshift: the same sequence on every machine. */
static int
random_below(int limit)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return (int) ((random_state >> 33) % (uint64_t) limit);
}

static bool
random_chance(int percent)
{
	return random_below(100) < percent;
}

/* Takes COUNT and SEED from the command line: PROGRAM [COUNT [SEED]] */
static long
read_arguments(int argc, char **argv, long default_count)
{
	long count = argc > 1 ? atol(argv[1]) : default_count;

	random_state = argc > 2 ? strtoull(argv[2], NULL, 10) : 1;
	printf("# %ld cases, seed %llu\n", count,
		   (unsigned long long) random_state);
	/* xorshift never leaves zero, and starts slowly from small numbers */
	random_state = random_state * UINT64_C(0x9E3779B97F4A7C15) + 1;
	if (count <= 0 || random_state == 0)
	{
		fprintf(stderr, "usage: %s [COUNT [SEED]]\n", argv[0]);
		exit(2);
	}
	return count;
}

/* Exits when the server is not there. */
static PGconn *
connect_server(void)
{
	PGconn *connection = PQconnectdb("client_encoding=UTF8");

	if (PQstatus(connection) != CONNECTION_OK)
	{
		fprintf(stderr, "%s", PQerrorMessage(connection));
		exit(2);
	}
	return connection;
}

/* Runs a statement without rows; exits when it fails. */
static void
execute(PGconn *connection, const char *sql)
{
	PGresult *result = PQexec(connection, sql);

	if (PQresultStatus(result) != PGRES_COMMAND_OK)
	{
		fprintf(stderr, "%s\n%s", sql, PQerrorMessage(connection));
		exit(2);
	}
	PQclear(result);
}

/* Prints bytes with all that is not plain shown as in a C string. */
static void
print_escaped(FILE *file, const char *text, size_t length)
{
	size_t i;

	for (i = 0; i < length; i++)
	{
		unsigned char c = (unsigned char) text[i];

		if (c < ' ' || c > '~' || c == '\\' || c == '"')
			fprintf(file, "\\%03o", c);
		else
			putc(c, file);
	}
}

/* Counts a difference, and says "DETAIL: TEXT" of the first ones. */
__attribute__((format(printf, 3, 4))) static void
report_difference(const char *text, size_t length, const char *format, ...)
{
	va_list arguments;

	if (++ndifferences > MAX_SHOWN)
		return;
	fprintf(stderr, "# ");
	va_start(arguments, format);
	vfprintf(stderr, format, arguments);
	va_end(arguments);
	fprintf(stderr, ": \"");
	print_escaped(stderr, text, length);
	fprintf(stderr, "\"\n");
}

#endif /* KAFKA_ORACLE_H */
