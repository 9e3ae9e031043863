/*-------------------------------------------------------------------------
 *
 * cron.c
 *		Schedules as pg_cron knows them, and when they come next.
 *
 * What a schedule means follows pg_cron 1.4, which is Vixie cron's, oddities
 * included: a field whose first character is a star makes days count only
 * where both day fields have them, even when a step follows ("*" + "/2"); a
 * range that runs backwards ("5-1") is no error and has nothing in it.
 *
 * IDENTIFICATION
 *		src/core/cron.c
 *
 *-------------------------------------------------------------------------
 */
#include "cron.h"

#include <string.h>
#include <strings.h>

#include "moment.h"

#define US_PER_MINUTE INT64_C(60000000)
#define US_PER_HOUR (60 * US_PER_MINUTE)
#define US_PER_DAY (24 * US_PER_HOUR)

/* 2000-01-01 was a Saturday. */
#define EPOCH_WEEKDAY 6

/* After so many days dates and weekdays repeat: 400 years of the calendar. */
#define CALENDAR_CYCLE_DAYS 146097

/* pg_cron reads no more. */
#define MAX_LENGTH 1000

#define BIT(n) (UINT64_C(1) << (n))

typedef struct Field
{
	int low;
	int high;
	const char *names; /* of three letters each, from low on; or NULL */
	const char *detail;
} Field;

enum
{
	FIELD_MINUTE,
	FIELD_HOUR,
	FIELD_DAY,
	FIELD_MONTH,
	FIELD_WEEKDAY,
	NFIELDS
};

static const Field fields[NFIELDS] = {
	{0, 59, NULL,
	 "The first field must have minutes, 0 to 59: a list of numbers, ranges "
	 "and steps such as 5, 10-20, 0-59/5 or */5."},
	{0, 23, NULL,
	 "The second field must have hours, 0 to 23: a list of numbers, ranges "
	 "and steps such as 5, 8-18, 0-23/4 or */4."},
	{1, 31, NULL,
	 "The third field must have days of the month, 1 to 31: a list of numbers, "
	 "ranges and steps such as 1, 10-20 or */2."},
	{1, 12, "janfebmaraprmayjunjulaugsepoctnovdec",
	 "The fourth field must have months, 1 to 12 or names of three letters: a "
	 "list of numbers, ranges and steps such as 1, jan-mar or */3."},
	{0, 7, "sunmontuewedthufrisat",
	 "The fifth field must have days of the week, 0 (Sunday) to 7 (Sunday "
	 "again) or names of three letters: a list such as 1, mon-fri or *."},
};

/* A schedule with a name, and what it stands for. */
typedef struct Alias
{
	const char *name;
	const char *text; /* NULL: when the server starts */
} Alias;

static const Alias aliases[] = {
	{"@hourly", "0 * * * *"},   {"@daily", "0 0 * * *"},
	{"@midnight", "0 0 * * *"}, {"@weekly", "0 0 * * 0"},
	{"@monthly", "0 0 1 * *"},  {"@yearly", "0 0 1 1 *"},
	{"@annually", "0 0 1 1 *"}, {"@reboot", NULL},
	{"@restart", NULL},
};

/* ----------------------------------------------------------------
 * Reading
 * ----------------------------------------------------------------
 */

static bool
is_blank(char c)
{
	return c == ' ' || c == '\t';
}

static const char *
skip_blanks(const char *p)
{
	while (is_blank(*p))
		p++;
	return p;
}

/* Reads digits; NULL where there are none.  All beyond max is max + 1. */
static const char *
read_digits(const char *p, int max, int *number)
{
	const char *start = p;

	*number = 0;
	for (; *p >= '0' && *p <= '9'; p++)
	{
		*number = *number * 10 + (*p - '0');
		if (*number > max)
			*number = max + 1;
	}
	return p > start ? p : NULL;
}

/* Reads an element's number or name; NULL where there is none in range. */
static const char *
read_element(const char *p, const Field *field, int *number)
{
	int i;

	if (field->names != NULL)
	{
		for (i = 0; field->names[3 * i] != '\0'; i++)
		{
			if (strncasecmp(p, field->names + 3 * i, 3) == 0)
			{
				*number = field->low + i;
				return p + 3;
			}
		}
	}
	p = read_digits(p, field->high, number);
	if (p == NULL || *number < field->low || *number > field->high)
		return NULL;
	return p;
}

/* Adds a star, a number, or a range, with or without a step. */
static const char *
read_range(const char *p, const Field *field, uint64_t *set)
{
	int first = field->low;
	int last = field->high;
	int step = 1;
	int i;

	if (*p == '*')
		p++;
	else
	{
		p = read_element(p, field, &first);
		if (p == NULL)
			return NULL;
		if (*p != '-')
		{
			*set |= BIT(first);
			return p; /* a step here is refused by what comes after */
		}
		p = read_element(p + 1, field, &last);
		if (p == NULL)
			return NULL;
	}
	if (*p == '/')
	{
		p = read_digits(p + 1, field->high, &step);
		if (p == NULL || step == 0)
			return NULL;
	}
	for (i = first; i <= last; i += step)
		*set |= BIT(i);
	return p;
}

/* Reads a field and the blanks after it. */
static const char *
read_field(const char *p, const Field *field, uint64_t *set)
{
	*set = 0;
	for (;;)
	{
		p = read_range(p, field, set);
		if (p == NULL)
			return NULL;
		if (*p != ',')
			break;
		p++;
	}
	if (*p != '\0' && !is_blank(*p))
		return NULL;
	return skip_blanks(p);
}

static bool
read_fields(const char *p, KafkaCron *cron, const char **detail)
{
	uint64_t *sets[NFIELDS] = {&cron->minutes, &cron->hours, &cron->days,
							   &cron->months, &cron->weekdays};
	int i;

	cron->both_days = false;
	cron->is_reboot = false;
	for (i = 0; i < NFIELDS; i++)
	{
		if (*p == '*' && (i == FIELD_DAY || i == FIELD_WEEKDAY))
			cron->both_days = true;
		p = read_field(p, &fields[i], sets[i]);
		if (p == NULL)
		{
			*detail = fields[i].detail;
			return false;
		}
	}
	if (*p != '\0')
	{
		*detail = "There must be five fields: minute, hour, day of month, "
				  "month, day of week.";
		return false;
	}
	if (cron->weekdays & BIT(7))
		cron->weekdays |= BIT(0);
	cron->weekdays &= ~BIT(7);
	return true;
}

/* Reads a schedule with a name, of so many characters. */
static bool
read_alias(const char *name, size_t length, KafkaCron *cron,
		   const char **detail)
{
	size_t i;

	for (i = 0; i < sizeof(aliases) / sizeof(aliases[0]); i++)
	{
		if (strlen(aliases[i].name) != length ||
			strncmp(aliases[i].name, name, length) != 0)
			continue;
		if (aliases[i].text != NULL)
			return read_fields(aliases[i].text, cron, detail);
		memset(cron, 0, sizeof(*cron));
		cron->is_reboot = true;
		return true;
	}
	*detail =
		"Valid names are: @hourly, @daily, @midnight, @weekly, @monthly, "
		"@yearly, @annually, @reboot, @restart.";
	return false;
}

bool
kafka_cron_parse(const char *text, KafkaCron *cron, const char **detail)
{
	size_t length;

	if (strlen(text) >= MAX_LENGTH)
	{
		*detail = "It is too long.";
		return false;
	}
	text = skip_blanks(text);
	if (*text != '@')
		return read_fields(text, cron, detail);
	length = strlen(text);
	while (is_blank(text[length - 1]))
		length--;
	return read_alias(text, length, cron, detail);
}

/* ----------------------------------------------------------------
 * The next time
 * ----------------------------------------------------------------
 */

/*
 * A day since 2000-01-01 as a date.  Counts from March, so that the leap day is
 * a year's last, and in cycles of 400 years.
 */
static void
date_from_day(int64_t day, int *month, int *day_of_month)
{
	/* 2000-03-01 is day 60 */
	int64_t of_cycle = (day - 60) % CALENDAR_CYCLE_DAYS;
	int64_t year;
	int of_year;
	int march_month;

	if (of_cycle < 0)
		of_cycle += CALENDAR_CYCLE_DAYS;
	year = (of_cycle - of_cycle / 1460 + of_cycle / 36524 -
			of_cycle / (CALENDAR_CYCLE_DAYS - 1)) /
		   365;
	of_year = (int) (of_cycle - (365 * year + year / 4 - year / 100));
	march_month = (5 * of_year + 2) / 153;
	*day_of_month = of_year - (153 * march_month + 2) / 5 + 1;
	*month = march_month < 10 ? march_month + 3 : march_month - 9;
}

static bool
comes_on_day(const KafkaCron *cron, int64_t day)
{
	int weekday = (int) ((day + EPOCH_WEEKDAY) % 7);
	int month;
	int day_of_month;
	bool in_days;
	bool in_weekdays;

	if (weekday < 0)
		weekday += 7;
	date_from_day(day, &month, &day_of_month);
	in_days = (cron->days & BIT(day_of_month)) != 0;
	in_weekdays = (cron->weekdays & BIT(weekday)) != 0;
	return (cron->months & BIT(month)) &&
		   (cron->both_days ? in_days && in_weekdays : in_days || in_weekdays);
}

/* The lowest number from first on that is in a set, -1 where there is none. */
static int
find_from(uint64_t set, int first)
{
	set &= ~(BIT(first) - 1);
	return set == 0 ? -1 : __builtin_ctzll(set);
}

/* The first minute of the day from one on, -1 where there is none. */
static int
find_minute(const KafkaCron *cron, int first)
{
	int hour = find_from(cron->hours, first / 60);
	int minute;

	if (hour < 0)
		return -1;
	minute = find_from(cron->minutes, hour == first / 60 ? first % 60 : 0);
	if (minute < 0)
	{
		hour = find_from(cron->hours, hour + 1);
		minute = find_from(cron->minutes, 0);
	}
	return hour < 0 || minute < 0 ? -1 : hour * 60 + minute;
}

bool
kafka_cron_next(const KafkaCron *cron, int64_t after_us, int64_t *next_us)
{
	int64_t day;
	int64_t last_day;
	int64_t minutes;
	int first;

	if (cron->is_reboot || after_us < KAFKA_MOMENT_MIN_US ||
		after_us >= KAFKA_MOMENT_END_US)
		return false;

	/* the first whole minute after the time */
	minutes = after_us / US_PER_MINUTE;
	if (after_us % US_PER_MINUTE >= 0)
		minutes++;
	day = minutes / 1440;
	if (minutes % 1440 < 0)
		day--;
	first = (int) (minutes - day * 1440);

	for (last_day = day + CALENDAR_CYCLE_DAYS; day <= last_day; day++)
	{
		int minute;

		if (day >= KAFKA_MOMENT_END_US / US_PER_DAY)
			return false;
		minute = comes_on_day(cron, day) ? find_minute(cron, first) : -1;
		if (minute >= 0)
		{
			*next_us = day * US_PER_DAY + minute * US_PER_MINUTE;
			return true;
		}
		first = 0;
	}
	return false;
}
