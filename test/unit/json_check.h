/*-------------------------------------------------------------------------
 *
 * json_check.h
 *		What the tests of the JSON field extractor share.
 *
 * Each document is parsed from an allocation of its exact length that is
 * overwritten before any value is looked at, so that a sanitizer sees reads
 * past it, and a kept pointer gives garbage.
 *
 * simdjson has an implementation for each kind of processor, and chooses at
 * its first use in a process.  All checks run in a child for each that works
 * here, and once more with the library's own choice.
 *
 * IDENTIFICATION
 *		test/unit/json_check.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef KAFKA_JSON_CHECK_H
#define KAFKA_JSON_CHECK_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../../src/core/json.h"
#include "tap.h"

#define LENGTH_OF(array) ((int) (sizeof(array) / sizeof((array)[0])))

#define MAX_RENDERED 4096

/* ok() for the checks that run by the hundred: a line only if one fails. */
static int quiet_failures;

static inline void
expect(bool passed, const char *what, const char *name)
{
	if (passed)
		return;
	quiet_failures++;
	fprintf(stderr, "# %s: %s\n", what, name);
}

/* Reports a batch of expect() calls as one check. */
static inline void
end_batch(const char *name)
{
	is_int(quiet_failures, 0, "%s", name);
	quiet_failures = 0;
}

/*
 * Parses a document as json.h promises it can be: from memory that ends with
 * it, and that is gone when the values are looked at.
 */
static KafkaJsonResult __attribute__((noinline, unused))
parse(KafkaJson *json, const char *document, size_t length,
	  KafkaJsonValue *values)
{
	char *copy = malloc(length == 0 ? 1 : length);
	KafkaJsonResult result;

	memcpy(copy, document, length);
	result = kafka_json_parse(json, length == 0 ? NULL : copy, length, values);
	memset(copy, '#', length);
	free(copy);
	return result;
}

static inline KafkaJson *
create(const char *path)
{
	KafkaJson *json = kafka_json_create(&path, 1);

	if (json == NULL)
	{
		fprintf(stderr, "# no parser\n");
		exit(2);
	}
	return json;
}

/* Writes a value as kind|text|raw. */
static inline const char *
render_value(const KafkaJsonValue *value)
{
	static const char *const kinds[] = {"missing", "null",   "false",
										"true",    "number", "string",
										"object",  "array"};
	static char rendered[MAX_RENDERED];

	snprintf(rendered, sizeof(rendered), "%s|%.*s|%.*s", kinds[value->kind],
			 (int) value->length, value->text == NULL ? "" : value->text,
			 value->raw == NULL ? 4 : (int) value->raw_length,
			 value->raw == NULL ? "NULL" : value->raw);
	return rendered;
}

/* Can this processor run simdjson's implementation of this name? */
static bool
can_run(const char *implementation)
{
#if defined(__x86_64__)
	if (strcmp(implementation, "westmere") == 0)
		return __builtin_cpu_supports("sse4.2") &&
			   __builtin_cpu_supports("pclmul");
	if (strcmp(implementation, "haswell") == 0)
		return __builtin_cpu_supports("avx2") &&
			   __builtin_cpu_supports("bmi2") &&
			   __builtin_cpu_supports("pclmul");
#endif
	return strcmp(implementation, "fallback") == 0;
}

/*
 * Runs all checks in a child with another implementation.  Its lines go
 * nowhere; what fails is told on standard error as ever.
 */
static void
check_implementation(const char *implementation, void (*checks)(void))
{
	pid_t child;
	int status = -1;

	if (!can_run(implementation))
	{
		printf("# this processor cannot run %s\n", implementation);
		return;
	}
	fflush(NULL);
	child = fork();
	if (child == 0)
	{
		if (freopen("/dev/null", "w", stdout) == NULL)
			_exit(3);
		setenv("SIMDJSON_FORCE_IMPLEMENTATION", implementation, 1);
		checks();
		_exit(done_testing());
	}
	waitpid(child, &status, 0);
	ok(WIFEXITED(status) && WEXITSTATUS(status) == 0,
	   "all checks with simdjson's implementation %s", implementation);
}

/* The main of a test: all its checks, with every implementation. */
static int
run_checks(void (*checks)(void))
{
	/* Before simdjson is first used, which is when it chooses. */
	check_implementation("fallback", checks);
	check_implementation("westmere", checks);
	check_implementation("haswell", checks);
	checks();
	return done_testing();
}

#endif /* KAFKA_JSON_CHECK_H */
