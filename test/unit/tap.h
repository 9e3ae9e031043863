/*-------------------------------------------------------------------------
 *
 * tap.h
 *		The few functions a unit test needs to speak TAP.
 *
 * Header-only, so that a test is one file: call plan_tests(n) or leave it
 * out, then ok, is_int and is_str, and return done_testing() from main.  A
 * failed check prints what it got and what it wanted to standard error and
 * the test goes on; each check returns whether it passed.  All messages are
 * printf formats.
 *
 * A test that stops early, or that runs more or fewer checks than it
 * planned, fails: done_testing compares the counts, and a process that never
 * reaches it prints no plan, or too few lines for the one it printed.
 *
 * IDENTIFICATION
 *		test/unit/tap.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef KAFKA_TAP_H
#define KAFKA_TAP_H

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

static int tap_planned = -1; /* -1 when the plan comes last */
static int tap_run = 0;
static int tap_failed = 0;

/* A test that needs only some of these must compile without warnings. */
static void plan_tests(int planned) __attribute__((unused));
static bool ok(bool passed, const char *format, ...)
	__attribute__((unused, format(printf, 2, 3)));
static bool is_int(long long got, long long want, const char *format, ...)
	__attribute__((unused, format(printf, 3, 4)));
static bool is_str(const char *got, const char *want, const char *format, ...)
	__attribute__((unused, format(printf, 3, 4)));
static int done_testing(void) __attribute__((unused));

/* Announces how many checks will run. */
static void
plan_tests(int planned)
{
	tap_planned = planned;
	printf("1..%d\n", planned);
	fflush(stdout);
}

/*
 * One TAP line; flushed, so that a crash in the next check loses nothing.
 * Control characters in the name would end the line, and "#" means a
 * directive in TAP: both are shown otherwise.
 */
static bool __attribute__((unused, format(printf, 2, 0)))
tap_report(bool passed, const char *format, va_list arguments)
{
	char name[512];
	const char *c;

	tap_run++;
	if (!passed)
		tap_failed++;
	vsnprintf(name, sizeof(name), format, arguments);
	printf("%sok %d - ", passed ? "" : "not ", tap_run);
	for (c = name; *c != '\0'; c++)
	{
		if ((unsigned char) *c < ' ' || *c == '\177')
			printf("\\x%02x", (unsigned char) *c);
		else if (*c == '#')
			printf("\\#");
		else
			putchar(*c);
	}
	putchar('\n');
	fflush(stdout);
	return passed;
}

static bool
ok(bool passed, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	tap_report(passed, format, arguments);
	va_end(arguments);
	return passed;
}

static bool
is_int(long long got, long long want, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	tap_report(got == want, format, arguments);
	va_end(arguments);
	if (got != want)
		fprintf(stderr, "#      got: %lld\n# expected: %lld\n", got, want);
	return got == want;
}

/* NULL equals only NULL. */
static bool
is_str(const char *got, const char *want, const char *format, ...)
{
	bool same;
	va_list arguments;

	same = got == NULL || want == NULL ? got == want : strcmp(got, want) == 0;
	va_start(arguments, format);
	tap_report(same, format, arguments);
	va_end(arguments);
	if (!same)
	{
		const char *quote_got = got == NULL ? "" : "\"";
		const char *quote_want = want == NULL ? "" : "\"";

		fprintf(stderr, "#      got: %s%s%s\n# expected: %s%s%s\n", quote_got,
				got == NULL ? "NULL" : got, quote_got, quote_want,
				want == NULL ? "NULL" : want, quote_want);
	}
	return same;
}

/* Ends the test; returns what main should return. */
static int
done_testing(void)
{
	if (tap_planned < 0)
		printf("1..%d\n", tap_run);
	else if (tap_planned != tap_run)
		fprintf(stderr, "# planned %d checks but ran %d\n", tap_planned,
				tap_run);
	if (tap_failed > 0)
		fprintf(stderr, "# %d of %d checks failed\n", tap_failed, tap_run);
	fflush(stdout);
	if (tap_planned >= 0 && tap_planned != tap_run)
		return 1;
	return tap_failed > 0 || tap_run == 0 ? 1 : 0;
}

#endif /* KAFKA_TAP_H */
