/*-------------------------------------------------------------------------
 *
 * moment_oracle.c
 *		Compares the reading of times with a PostgreSQL server.
 *
 *	moment_oracle [COUNT [SEED]]
 *
 * COUNT random texts, valid, nearly valid and broken, go through the fast
 * path for ISO 8601; whatever it accepts must be accepted by timestamptz_in
 * with the same value, under each of several TimeZone and DateStyle settings,
 * and it must accept every text of its shapes.  COUNT numbers go through the
 * reader of Unix times, and must give what exact arithmetic in SQL gives; a
 * text is a number exactly when the type json says so.
 *
 * Prints TAP; the exit status is 0 if there was no difference.
 *
 * IDENTIFICATION
 *		test/fuzz/moment_oracle.c
 *
 *-------------------------------------------------------------------------
 */
#include <arpa/inet.h>

#include "moment.h"
#include "oracle.h"

#define BATCH 2000
#define TEXT_SIZE 128

#define LENGTH(array) ((int) (sizeof(array) / sizeof((array)[0])))

static const char *const settings[] =
	{"SET TimeZone = 'UTC'; SET DateStyle = 'ISO, MDY'",
	 "SET TimeZone = 'America/New_York'; SET DateStyle = 'SQL, DMY'",
	 "SET TimeZone = 'Asia/Kolkata'; SET DateStyle = 'German, YMD'",
	 "SET TimeZone = 'Pacific/Apia'; SET DateStyle = 'Postgres, MDY'",
	 "SET TimeZone = 'Europe/Berlin'; SET DateStyle = 'ISO, DMY'"};

/*
 * What kafka_moment_from_unix should say of a number of units of 10^shift
 * microseconds.
 */
static const char create_expected[] =
	"CREATE FUNCTION pg_temp.expected(number text, shift int) RETURNS text\n"
	"LANGUAGE plpgsql AS $$\n"
	"DECLARE exact numeric; whole numeric; rest numeric;\n"
	"BEGIN\n"
	"  IF json_typeof(number::json) <> 'number' THEN\n"
	"    RETURN 'invalid';\n"
	"  END IF;\n"
	/* numeric refuses a zero with a huge exponent */
	"  exact := CASE WHEN regexp_replace(number, '[eE].*', '') ~ '[1-9]'\n"
	"    THEN number::numeric * ('1e' || shift)::numeric ELSE 0 END;\n"
	"  whole := trunc(abs(exact));\n"
	"  rest := abs(exact) - whole;\n"
	"  IF rest > 0.5 OR (rest = 0.5 AND whole % 2 = 1) THEN\n"
	"    whole := whole + 1;\n"
	"  END IF;\n"
	"  whole := sign(exact) * whole - 946684800000000;\n"
	"  IF whole < -211813488000000000 OR whole >= 9223371331200000000 THEN\n"
	"    RETURN 'out of range';\n"
	"  END IF;\n"
	"  RETURN trunc(whole);\n"
	"EXCEPTION\n"
	"  WHEN invalid_text_representation THEN RETURN 'invalid';\n"
	"  WHEN numeric_value_out_of_range THEN RETURN 'out of range';\n"
	"END $$";

/* Texts on their way to the server, with what we made of them. */
typedef struct Batch
{
	int count;
	char texts[BATCH][TEXT_SIZE];
	int64_t times_us[BATCH]; /* for ISO 8601 */
	char answers[BATCH][32]; /* for Unix times */
	int shifts[BATCH];
} Batch;

static Batch batch;

/* The literal of a text array, for the server to unnest; to be freed. */
static char *
format_array(const Batch *texts)
{
	char *literal = malloc((size_t) texts->count * (2 * TEXT_SIZE + 3) + 3);
	char *out = literal;
	int i;
	const char *c;

	*out++ = '{';
	for (i = 0; i < texts->count; i++)
	{
		if (i > 0)
			*out++ = ',';
		*out++ = '"';
		for (c = texts->texts[i]; *c != '\0'; c++)
		{
			if (*c == '"' || *c == '\\')
				*out++ = '\\';
			*out++ = *c;
		}
		*out++ = '"';
	}
	strcpy(out, "}");
	return literal;
}

static int64_t
read_int64(const char *bytes)
{
	uint32_t high;
	uint32_t low;

	memcpy(&high, bytes, 4);
	memcpy(&low, bytes + 4, 4);
	return (int64_t) ((uint64_t) ntohl(high) << 32 | ntohl(low));
}

/* Asks for one text by itself; used to find which of a batch was refused. */
static void
report_if_refused(PGconn *connection, const char *text, const char *setting)
{
	PGresult *result;

	result = PQexecParams(connection, "SELECT $1::timestamptz", 1, NULL, &text,
						  NULL, NULL, 1);
	if (PQresultStatus(result) != PGRES_TUPLES_OK)
		report_difference(text, strlen(text), "refused by the server (%s)",
						  setting);
	PQclear(result);
}

static void
compare_iso8601(PGconn *connection)
{
	char *literal = format_array(&batch);
	int s;
	int i;

	for (s = 0; s < LENGTH(settings); s++)
	{
		const char *parameter = literal;
		PGresult *result;

		execute(connection, settings[s]);
		result = PQexecParams(connection,
							  "SELECT x::timestamptz FROM unnest($1::text[]) "
							  "WITH ORDINALITY AS u (x, n) ORDER BY n",
							  1, NULL, &parameter, NULL, NULL, 1);
		if (PQresultStatus(result) != PGRES_TUPLES_OK)
		{
			for (i = 0; i < batch.count; i++)
				report_if_refused(connection, batch.texts[i], settings[s]);
		}
		else if (PQntuples(result) != batch.count)
			report_difference("", 0, "%d values for %d texts",
							  PQntuples(result), batch.count);
		else
		{
			for (i = 0; i < batch.count; i++)
			{
				int64_t server_us = read_int64(PQgetvalue(result, i, 0));

				if (server_us != batch.times_us[i])
					report_difference(batch.texts[i], strlen(batch.texts[i]),
									  "%lld, but %lld in the server (%s)",
									  (long long) batch.times_us[i],
									  (long long) server_us, settings[s]);
			}
		}
		PQclear(result);
	}
	free(literal);
	batch.count = 0;
}

/* Changes, takes out, adds, or repeats a byte. */
static void
mutate(char *text, const char *alphabet)
{
	size_t length = strlen(text);
	size_t place = (size_t) random_below((int) length + 1);
	char c = alphabet[random_below((int) strlen(alphabet))];

	switch (random_below(4))
	{
		case 0:
			if (place < length)
				text[place] = c;
			break;
		case 1:
			if (place < length)
				memmove(text + place, text + place + 1, length - place);
			break;
		case 2:
			memmove(text + place + 1, text + place, length - place + 1);
			text[place] = c;
			break;
		default:
			if (place < length)
			{
				memmove(text + place + 1, text + place, length - place + 1);
			}
			break;
	}
}

static int
random_year(void)
{
	static const int edges[] = {0,    1,    2,    4,    31,   32,   69,   70,
								99,   100,  101,  400,  999,  1000, 1582, 1600,
								1899, 1900, 1969, 1970, 1999, 2000, 2001, 2024,
								2038, 2100, 2400, 9996, 9999};

	return random_chance(40) ? edges[random_below(LENGTH(edges))]
							 : random_below(10000);
}

/* Appends a zone of one of the forms; is it one of those to be accepted? */
static bool
append_zone(char *text)
{
	static const char *const others[] =
		{"",     "z",         " Z",     "UTC", " UTC",           "+5",
		 "+123", "+05:30:15", "-24:00", "EST", " Europe/Berlin", "+ 05"};
	char *end = text + strlen(text);
	int hour = random_chance(90) ? random_below(16) : random_below(30);
	int minute = random_chance(90) ? random_below(60) : random_below(100);
	char sign = random_chance(50) ? '+' : '-';

	switch (random_below(9))
	{
		case 0:
		case 1:
		case 2:
			strcpy(end, "Z");
			return true;
		case 3:
		case 4:
			sprintf(end, "%c%02d", sign, hour);
			return hour <= 15;
		case 5:
			sprintf(end, "%c%02d%02d", sign, hour, minute);
			return hour <= 15 && minute <= 59;
		case 6:
		case 7:
			sprintf(end, "%c%02d:%02d", sign, hour, minute);
			return hour <= 15 && minute <= 59;
		default:
			strcpy(end, others[random_below(LENGTH(others))]);
			return false;
	}
}

/*
 * Writes a text that has the shape of the fast path or nearly so.  True if it
 * is certain to be a valid time of that shape.
 */
static bool
make_iso8601(char *text)
{
	int year = random_year();
	int month = random_chance(98) ? 1 + random_below(12) : random_below(15);
	int day = random_chance(60) ? 1 + random_below(28) : 26 + random_below(7);
	int hour = random_chance(98) ? random_below(24) : random_below(27);
	int minute = random_chance(98) ? random_below(60) : random_below(70);
	int second = random_chance(90) ? random_below(60) : 55 + random_below(7);
	int ndigits = random_chance(40) ? 0 : random_below(11);
	bool certain;
	int i;

	sprintf(text, "%04d-%02d-%02d%c%02d:%02d:%02d", year, month, day,
			random_chance(60) ? 'T' : ' ', hour, minute, second);
	if (ndigits > 0)
		strcat(text, ".");
	for (i = 0; i < ndigits; i++)
		sprintf(text + strlen(text), "%d",
				random_chance(30)   ? 9
				: random_chance(30) ? 5
									: random_below(10));
	certain = append_zone(text);
	certain &= year > 0 && month >= 1 && month <= 12 && day >= 1 && day <= 28;
	certain &= hour <= 23 && minute <= 59 && second <= 59 && ndigits <= 6;
	if (random_chance(30))
	{
		certain = false;
		do
			mutate(text, "0123456789-+:.TZ tz/,eBC");
		while (random_chance(30));
	}
	return certain;
}

static long
test_iso8601(PGconn *connection, long count)
{
	long naccepted = 0;
	long i;

	batch.count = 0;
	for (i = 0; i < count; i++)
	{
		char *text = batch.texts[batch.count];
		bool certain = make_iso8601(text);

		if (kafka_moment_from_iso8601(text, strlen(text),
									  &batch.times_us[batch.count]))
		{
			naccepted++;
			if (++batch.count == BATCH)
				compare_iso8601(connection);
		}
		else if (certain)
			report_difference(text, strlen(text), "not accepted");
	}
	compare_iso8601(connection);
	return naccepted;
}

/* Numbers around the limits of timestamptz, in each unit, and other traps. */
static void
make_number(char *text)
{
	static const char *const edges[] = {"-210866803200",
										"9224318016000",
										"9224318015999999999",
										"9223372036854775807",
										"9223372036854775808",
										"18446744073709551615",
										"18446744073709551616",
										"1700000000",
										"1700000000250",
										"0",
										"946684800",
										"99999999999999999999999"};
	int ndigits;
	int i;

	text[0] = '\0';
	if (random_chance(5))
		strcat(text, random_chance(50) ? " " : "\t\n");
	if (random_chance(20))
		strcat(text, "-");
	if (random_chance(30))
		strcat(text, edges[random_below(LENGTH(edges))]);
	else
	{
		ndigits = 1 + random_below(random_chance(80) ? 16 : 30);
		for (i = 0; i < ndigits; i++)
			sprintf(text + strlen(text), "%d",
					i == 0 && random_chance(95) ? 1 + random_below(9)
												: random_below(10));
	}
	if (random_chance(50))
	{
		strcat(text, ".");
		ndigits = random_below(14) + random_chance(98);
		for (i = 0; i < ndigits; i++)
			sprintf(text + strlen(text), "%d",
					random_chance(40)   ? 0
					: random_chance(40) ? 5
										: random_below(10));
	}
	if (random_chance(30))
		sprintf(text + strlen(text), "%c%s%d", random_chance(50) ? 'e' : 'E',
				random_chance(50)   ? "-"
				: random_chance(50) ? "+"
									: "",
				random_below(random_chance(80) ? 20 : 60));
	if (random_chance(5))
		strcat(text, random_chance(50) ? " " : "\r\n");
	if (random_chance(10))
		mutate(text, "0123456789-+.eE \tx");
}

static void
compare_unix(PGconn *connection)
{
	char *literal = format_array(&batch);
	char *shifts = malloc((size_t) batch.count * 12 + 3);
	const char *parameters[2];
	PGresult *result;
	size_t used = 1;
	int i;

	strcpy(shifts, "{");
	for (i = 0; i < batch.count; i++)
		used += (size_t) sprintf(shifts + used, "%s%d", i > 0 ? "," : "",
								 batch.shifts[i]);
	strcpy(shifts + used, "}");
	parameters[0] = literal;
	parameters[1] = shifts;
	result = PQexecParams(connection,
						  "SELECT pg_temp.expected(x, s) "
						  "FROM unnest($1::text[], $2::int[]) "
						  "WITH ORDINALITY AS u (x, s, n) ORDER BY n",
						  2, NULL, parameters, NULL, NULL, 0);
	if (PQresultStatus(result) != PGRES_TUPLES_OK ||
		PQntuples(result) != batch.count)
		report_difference("", 0, "%s", PQerrorMessage(connection));
	for (i = 0; i < PQntuples(result); i++)
	{
		if (strcmp(batch.answers[i], PQgetvalue(result, i, 0)) != 0)
			report_difference(batch.texts[i], strlen(batch.texts[i]),
							  "%s, but %s by exact arithmetic with shift %d",
							  batch.answers[i], PQgetvalue(result, i, 0),
							  batch.shifts[i]);
	}
	PQclear(result);
	free(literal);
	free(shifts);
	batch.count = 0;
}

static void
test_unix(PGconn *connection, long count, long *nstatus)
{
	static const int shifts[] = {6, 3, 0, -3};
	long i;

	batch.count = 0;
	for (i = 0; i < count; i++)
	{
		int n = batch.count;
		KafkaMomentUnit unit = (KafkaMomentUnit) random_below(4);
		KafkaMomentStatus status;
		int64_t time_us;

		make_number(batch.texts[n]);
		status = kafka_moment_from_unix(batch.texts[n], strlen(batch.texts[n]),
										unit, &time_us);
		nstatus[status]++;
		batch.shifts[n] = shifts[unit];
		if (status == KAFKA_MOMENT_OK)
			sprintf(batch.answers[n], "%lld", (long long) time_us);
		else
			strcpy(batch.answers[n], status == KAFKA_MOMENT_INVALID
										 ? "invalid"
										 : "out of range");
		if (++batch.count == BATCH)
			compare_unix(connection);
	}
	compare_unix(connection);
}

/* One line of TAP, and the differences back to none. */
static bool
report_test(int number, bool enough, const char *name)
{
	bool passed = ndifferences == 0 && enough;

	if (!enough)
		fprintf(stderr, "# too few cases of some kind to mean anything\n");
	if (ndifferences > 0)
		fprintf(stderr, "# %d differences\n", ndifferences);
	printf("%sok %d - %s\n", passed ? "" : "not ", number, name);
	ndifferences = 0;
	return passed;
}

int
main(int argc, char **argv)
{
	long count = read_arguments(argc, argv, 25000);
	PGconn *connection = connect_server();
	long nstatus[3] = {0, 0, 0};
	long naccepted;
	bool passed;

	execute(connection, create_expected);
	naccepted = test_iso8601(connection, count);
	printf("# %ld of %ld texts accepted\n", naccepted, count);
	passed = report_test(1, naccepted > count / 3,
						 "ISO 8601 agrees with timestamptz_in");
	test_unix(connection, count, nstatus);
	printf("# %ld numbers, %ld invalid, %ld out of range\n",
		   nstatus[KAFKA_MOMENT_OK], nstatus[KAFKA_MOMENT_INVALID],
		   nstatus[KAFKA_MOMENT_OUT_OF_RANGE]);
	passed &= report_test(2,
						  nstatus[KAFKA_MOMENT_OK] > count / 4 &&
							  nstatus[KAFKA_MOMENT_INVALID] > count / 100 &&
							  nstatus[KAFKA_MOMENT_OUT_OF_RANGE] > count / 100,
						  "Unix numbers agree with exact arithmetic");
	printf("1..2\n");
	PQfinish(connection);
	return passed ? 0 : 1;
}
