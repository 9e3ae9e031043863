/*-------------------------------------------------------------------------
 *
 * test_cron.c
 *		Checks schedules: which texts are some, and when they come.
 *
 * The times of random schedules are compared with those found minute by
 * minute, as a scheduler finds them, with the C library's calendar.
 *
 * IDENTIFICATION
 *		test/unit/test_cron.c
 *
 *-------------------------------------------------------------------------
 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "cron.h"
#include "moment.h"
#include "tap.h"

#define US_PER_S INT64_C(1000000)
#define EPOCH_S INT64_C(946684800) /* 2000-01-01 in seconds since 1970 */
#define NRANDOM 500

static int64_t
read_time(const char *text)
{
	int64_t time_us = -1;

	if (!kafka_moment_from_iso8601(text, strlen(text), &time_us))
		abort();
	return time_us;
}

/* The next time as text, "never", or what is wrong with the schedule. */
static const char *
get_next(const char *schedule, int64_t after_us)
{
	static char text[32];
	const char *detail = NULL;
	KafkaCron cron;
	int64_t next_us;
	time_t next_s;
	struct tm tm;

	if (!kafka_cron_parse(schedule, &cron, &detail))
		return detail;
	if (!kafka_cron_next(&cron, after_us, &next_us))
		return "never";
	if (next_us % (60 * US_PER_S) != 0)
		return "not a whole minute";
	next_s = (time_t) (next_us / US_PER_S + EPOCH_S);
	strftime(text, sizeof(text), "%Y-%m-%d %H:%M %a", gmtime_r(&next_s, &tm));
	return text;
}

static void
test_times(void)
{
	static const struct
	{
		const char *schedule;
		const char *after;
		const char *next;
	} cases[] = {
		{"* * * * *", "2026-03-04T05:06:07Z", "2026-03-04 05:07 Wed"},
		/* strictly after */
		{"* * * * *", "2026-03-04T05:06:00Z", "2026-03-04 05:07 Wed"},
		{"* * * * *", "2026-03-04T05:05:59.999999Z", "2026-03-04 05:06 Wed"},
		{"* * * * *", "1999-12-31T23:59:59.999999Z", "2000-01-01 00:00 Sat"},
		{"* * * * *", "1999-12-31T23:58:00Z", "1999-12-31 23:59 Fri"},
		{"*/10 * * * *", "2026-03-04T05:06:07Z", "2026-03-04 05:10 Wed"},
		{"*/10 * * * *", "2026-03-04T05:50:00Z", "2026-03-04 06:00 Wed"},
		{"*/59 * * * *", "2026-03-04T05:00:00Z", "2026-03-04 05:59 Wed"},
		{"*/100 * * * *", "2026-03-04T05:00:00Z", "2026-03-04 06:00 Wed"},
		{"5-20/7 * * * *", "2026-03-04T05:12:00Z", "2026-03-04 05:19 Wed"},
		{"5,3,59 * * * *", "2026-03-04T05:05:00Z", "2026-03-04 05:59 Wed"},
		{"0 0 * * *", "2026-12-31T05:05:00Z", "2027-01-01 00:00 Fri"},
		{"30 15 * * *", "2026-03-04T15:30:00Z", "2026-03-05 15:30 Thu"},
		{"30 8-18/5 * * *", "2026-03-04T13:31:00Z", "2026-03-04 18:30 Wed"},
		{"0 0 31 * *", "2026-03-31T00:00:00Z", "2026-05-31 00:00 Sun"},
		{"0 0 29 2 *", "2026-03-04T00:00:00Z", "2028-02-29 00:00 Tue"},
		{"0 0 29 2 *", "2096-03-01T00:00:00Z", "2104-02-29 00:00 Fri"},
		{"0 0 29 FEB *", "2000-01-01T00:00:00Z", "2000-02-29 00:00 Tue"},
		{"0 0 1 jan,Jul *", "2026-03-04T00:00:00Z", "2026-07-01 00:00 Wed"},
		{"0 0 1 oct-dec/2 *", "2026-10-04T00:00:00Z", "2026-12-01 00:00 Tue"},
		{"0 0 * * 0", "2026-03-04T00:00:00Z", "2026-03-08 00:00 Sun"},
		{"0 0 * * 7", "2026-03-04T00:00:00Z", "2026-03-08 00:00 Sun"},
		{"0 0 * * 5-7", "2026-03-07T00:00:00Z", "2026-03-08 00:00 Sun"},
		{"0 0 * * mon-Fri", "2026-03-06T00:00:00Z", "2026-03-09 00:00 Mon"},
		{"0 0 * * wed", "2026-03-04T00:00:00Z", "2026-03-11 00:00 Wed"},
		/* without a star either day will do */
		{"0 0 13 * 5", "2026-03-04T00:00:00Z", "2026-03-06 00:00 Fri"},
		{"0 0 13 * 5", "2026-03-06T00:00:00Z", "2026-03-13 00:00 Fri"},
		{"0 0 5 * 5", "2026-03-04T00:00:00Z", "2026-03-05 00:00 Thu"},
		/* with one, also with a step, both must be right */
		{"0 0 */2 * 5", "2026-03-06T00:00:00Z", "2026-03-13 00:00 Fri"},
		{"0 0 1-31/2 * 5", "2026-03-06T00:00:00Z", "2026-03-07 00:00 Sat"},
		{"0 0 29 2 */6", "2026-03-06T00:00:00Z", "2032-02-29 00:00 Sun"},
		{"0 0 29 2 */7", "2032-03-06T00:00:00Z", "2060-02-29 00:00 Sun"},
		{"0 0 29 2 */7", "2060-03-06T00:00:00Z", "2088-02-29 00:00 Sun"},
		{"0 0 29 2 */7", "2088-03-06T00:00:00Z", "2128-02-29 00:00 Sun"},
		{"@hourly", "2026-03-04T05:06:07Z", "2026-03-04 06:00 Wed"},
		{"@daily", "2026-03-04T05:06:07Z", "2026-03-05 00:00 Thu"},
		{"@midnight", "2026-03-04T05:06:07Z", "2026-03-05 00:00 Thu"},
		{"@weekly", "2026-03-04T05:06:07Z", "2026-03-08 00:00 Sun"},
		{"@monthly", "2026-03-04T05:06:07Z", "2026-04-01 00:00 Wed"},
		{"@yearly", "2026-03-04T05:06:07Z", "2027-01-01 00:00 Fri"},
		{"@annually", "2026-03-04T05:06:07Z", "2027-01-01 00:00 Fri"},
		{" \t@hourly \t", "2026-03-04T05:06:07Z", "2026-03-04 06:00 Wed"},
		{"\t5  6 * *\t* ", "2026-03-04T05:06:07Z", "2026-03-04 06:05 Wed"},
		{"* * * * *", "9999-12-31T23:59:00Z", "10000-01-01 00:00 Sat"},
		/* never */
		{"@reboot", "2026-03-04T05:06:07Z", "never"},
		{"@restart", "2026-03-04T05:06:07Z", "never"},
		{"0 0 30 2 *", "2026-03-04T05:06:07Z", "never"},
		{"0 0 31 feb,apr,jun,sep,nov *", "2026-03-04T05:06:07Z", "never"},
		{"30-20 * * * *", "2026-03-04T05:06:07Z", "never"},
		{"* 5-4 * * *", "2026-03-04T05:06:07Z", "never"},
		{"* * * * fri-sun", "2026-03-04T05:06:07Z", "never"},
	};
	size_t i;

	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		is_str(get_next(cases[i].schedule, read_time(cases[i].after)),
			   cases[i].next, "\"%s\" after %s", cases[i].schedule,
			   cases[i].after);
}

static void
test_limits(void)
{
	static const char *never = "never";

	is_str(get_next("* * * * *", KAFKA_MOMENT_INFINITY_US), never,
		   "nothing is after infinity");
	is_str(get_next("* * * * *", KAFKA_MOMENT_NEGATIVE_INFINITY_US), never,
		   "nothing is first after -infinity");
	is_str(get_next("* * * * *", KAFKA_MOMENT_END_US - 1), never,
		   "nothing is after the last minute");
	is_str(get_next("@yearly", KAFKA_MOMENT_END_US - 60 * US_PER_S), never,
		   "nothing is after the last year");
	is_str(get_next("* * * * *", KAFKA_MOMENT_END_US - 60 * US_PER_S - 1),
		   "294276-12-31 23:59 Sun", "the last minute");
	ok(strcmp(get_next("0 0 * * *", KAFKA_MOMENT_MIN_US), never) != 0,
	   "the first day comes to an end");
}

static void
test_refused(void)
{
	/* each with the word that tells what is wrong */
	static const char *const cases[][2] = {
		{"", "minutes"},
		{"   ", "minutes"},
		{"none", "minutes"},
		{"10 seconds", "hours"},
		{"60 * * * *", "minutes"},
		{"-1 * * * *", "minutes"},
		{"1- * * * *", "minutes"},
		{"1-60 * * * *", "minutes"},
		{"5/10 * * * *", "minutes"},
		{"*/0 * * * *", "minutes"},
		{"*/ * * * *", "minutes"},
		{"*5 * * * *", "minutes"},
		{"1, * * * *", "minutes"},
		{",1 * * * *", "minutes"},
		{"1;2 * * * *", "minutes"},
		{"5x * * * *", "minutes"},
		{"+5 * * * *", "minutes"},
		{"* 24 * * *", "hours"},
		{"* 99999999999999999999 * * *", "hours"},
		{"* mon * * *", "hours"},
		{"* * 0 * *", "days of the month"},
		{"* * 32 * *", "days of the month"},
		{"* * $ * *", "days of the month"},
		{"* * * 0 *", "months"},
		{"* * * 13 *", "months"},
		{"* * * january *", "months"},
		{"* * * ja *", "months"},
		{"* * * * 8", "days of the week"},
		{"* * * * sunday", "days of the week"},
		{"* * * * jan", "days of the week"},
		{"* * * *", "days of the week"},
		{"* * * * * *", "five fields"},
		{"* * * * * true", "five fields"},
		{"* * * * *\n", "days of the week"},
		{"@", "@hourly"},
		{"@minutely", "@hourly"},
		{"@Daily", "@hourly"},
		{"@daily now", "@hourly"},
		{"@dailyx", "@hourly"},
	};
	size_t i;

	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		const char *said = get_next(cases[i][0], 0);

		ok(strstr(said, cases[i][1]) != NULL, "refuses \"%s\" (%s)",
		   cases[i][0], said);
	}
}

static void
test_length(void)
{
	char text[1001];

	memset(text, ' ', sizeof(text));
	memcpy(text, "* * * * *", 9);
	text[999] = '\0';
	is_str(get_next(text, 0), "2000-01-01 00:01 Sat", "999 characters");
	text[999] = ' ';
	text[1000] = '\0';
	is_str(get_next(text, 0), "It is too long.", "1000 characters");
}

/* ----------------------------------------------------------------
 * Random schedules
 * ----------------------------------------------------------------
 */

/* A schedule as text and as sets, made beside each other. */
typedef struct Random
{
	char text[512];
	bool sets[5][60];
	bool star[5]; /* is the field's first character one? */
} Random;

static int
draw(int limit)
{
	return (int) (random() % limit);
}

/* One element of a list. */
static void
add_random_element(Random *schedule, int field, int low, int high, bool first)
{
	char *end = schedule->text + strlen(schedule->text);
	int from = low + draw(high - low + 1);
	int to = from + draw(high - from + 1);
	int step = 1 + draw(field == 0 ? 40 : 10);
	int i;

	switch (draw(first ? 5 : 4))
	{
		case 0:
			sprintf(end, "%d-%d/%d", from, to, step);
			break;
		case 1:
			sprintf(end, "%d-%d", from, to);
			step = 1;
			break;
		case 4:
			schedule->star[field] = true;
			sprintf(end, "*/%d", step);
			from = low;
			to = high;
			break;
		default:
			sprintf(end, "%d", from);
			to = from;
			break;
	}
	for (i = from; i <= to; i += step)
		schedule->sets[field][field == 4 && i == 7 ? 0 : i] = true;
}

static void
make_random(Random *schedule)
{
	static const int limits[5][2] = {{0, 59},
									 {0, 23},
									 {1, 31},
									 {1, 12},
									 {0, 7}};
	int field;
	int i;

	memset(schedule, 0, sizeof(*schedule));
	for (field = 0; field < 5; field++)
	{
		int low = limits[field][0];
		int high = limits[field][1];
		int elements = 1 + draw(3);

		if (field > 0)
			strcat(schedule->text, " ");
		if (draw(2) == 0)
		{
			strcat(schedule->text, "*");
			schedule->star[field] = true;
			for (i = low; i <= high; i++)
				schedule->sets[field][field == 4 && i == 7 ? 0 : i] = true;
			continue;
		}
		for (i = 0; i < elements; i++)
		{
			if (i > 0)
				strcat(schedule->text, ",");
			add_random_element(schedule, field, low, high, i == 0);
		}
	}
}

/* Does a scheduler start it in this minute? */
static bool
comes_in_minute(const Random *schedule, time_t minute_s)
{
	struct tm tm;
	bool day;
	bool weekday;

	gmtime_r(&minute_s, &tm);
	day = schedule->sets[2][tm.tm_mday];
	weekday = schedule->sets[4][tm.tm_wday];
	return schedule->sets[0][tm.tm_min] && schedule->sets[1][tm.tm_hour] &&
		   schedule->sets[3][tm.tm_mon + 1] &&
		   (schedule->star[2] || schedule->star[4] ? day && weekday
												   : day || weekday);
}

/* Compares with the minutes of the next 400 days. */
static bool
check_random(const Random *schedule, time_t after_s)
{
	const char *detail = NULL;
	KafkaCron cron;
	int64_t next_us = 0;
	bool comes;
	time_t minute_s = after_s - after_s % 60;
	time_t last_s = after_s + 400 * 86400;

	if (!kafka_cron_parse(schedule->text, &cron, &detail))
		return false;
	comes = kafka_cron_next(&cron, (after_s - EPOCH_S) * US_PER_S, &next_us);
	do
		minute_s += 60;
	while (minute_s <= last_s && !comes_in_minute(schedule, minute_s));

	if (minute_s > last_s)
		return !comes || next_us / US_PER_S + EPOCH_S > last_s;
	return comes && next_us / US_PER_S + EPOCH_S == minute_s;
}

static void
test_random(void)
{
	int wrong = 0;
	int i;

	srandom(20);
	for (i = 0; i < NRANDOM; i++)
	{
		Random schedule;
		/* 1970 to 2106 */
		time_t after_s = (time_t) random() * 2 + draw(2);

		make_random(&schedule);
		if (check_random(&schedule, after_s))
			continue;
		if (wrong++ < 5)
			fprintf(stderr, "# wrong: \"%s\" after %lld\n", schedule.text,
					(long long) after_s);
	}
	is_int(wrong, 0, "%d random schedules come when they should", NRANDOM);
}

/* Every day of 800 years is found by its date alone. */
static void
test_calendar(void)
{
	int64_t day;
	int wrong = 0;

	for (day = -146097; day < 146097; day++)
	{
		time_t day_s = (time_t) (day * 86400 + EPOCH_S);
		const char *detail;
		char text[64];
		KafkaCron cron;
		int64_t next_us;
		struct tm tm;

		gmtime_r(&day_s, &tm);
		snprintf(text, sizeof(text), "0 0 %d %d */7", tm.tm_mday,
				 tm.tm_mon + 1);
		if (tm.tm_wday != 0)
			snprintf(text, sizeof(text), "0 0 %d %d *", tm.tm_mday,
					 tm.tm_mon + 1);
		if (!kafka_cron_parse(text, &cron, &detail) ||
			!kafka_cron_next(&cron, day * 86400 * US_PER_S - 1, &next_us) ||
			next_us != day * 86400 * US_PER_S)
			wrong++;
	}
	is_int(wrong, 0, "each day of 800 years has its date and weekday");
}

int
main(void)
{
	test_times();
	test_limits();
	test_refused();
	test_length();
	test_random();
	test_calendar();
	return done_testing();
}
