/*-------------------------------------------------------------------------
 *
 * test_json_limits.c
 *		Checks the JSON field extractor at the limits of size and memory.
 *
 * Numbers that numeric may not take, depth, huge documents, and what becomes
 * of memory when there is much or none.
 *
 * IDENTIFICATION
 *		test/unit/test_json_limits.c
 *
 *-------------------------------------------------------------------------
 */
#include <malloc.h>
#include <sys/resource.h>

#include "json_check.h"

#if defined(__SANITIZE_ADDRESS__)
#define HAVE_SANITIZER 1
#else
#define HAVE_SANITIZER 0
#endif

typedef struct LimitCase
{
	const char *name;
	const char *head;
	char filler;
	int count; /* of filler between head and tail */
	const char *tail;
	bool ask_server;
} LimitCase;

/* Limits of numeric, as numeric_in of PostgreSQL 15 has them. */
static const LimitCase limit_cases[] = {
	{"short number", "{\"a\":", '9', 30, "}", false},
	{"131072 digits", "{\"a\":", '9', 131072, "}", false},
	{"131073 digits", "{\"a\":", '9', 131073, "}", true},
	{"negative number of 131073 digits", "{\"a\":-", '9', 131073, "}", true},
	{"131072 digits before the point", "{\"a\":", '9', 131072, ".5}", false},
	{"16383 digits behind the point", "{\"a\":0.", '9', 16383, "}", false},
	{"16384 digits behind the point", "{\"a\":0.", '9', 16384, "}", true},
	{"1e131071", "{\"a\":1e131071", ' ', 1, "}", false},
	{"1e131072", "{\"a\":1e131072", ' ', 1, "}", true},
	{"10e131071", "{\"a\":10e131071", ' ', 1, "}", true},
	{"1e-16383", "{\"a\":1e-16383", ' ', 1, "}", false},
	{"1e-16384", "{\"a\":1e-16384", ' ', 1, "}", true},
	{"0.1e-16383", "{\"a\":0.1e-16383", ' ', 1, "}", true},
	{"0.11e-16381", "{\"a\":0.11e-16381", ' ', 1, "}", false},
	{"an exponent past every machine type", "{\"a\":1e", '9', 40, "}", true},
	{"the same, negative", "{\"a\":1e-", '9', 40, "}", true},
	{"an exponent of leading zeroes", "{\"a\":1e", '0', 5000, "5}", false},
	{"a skipped number", "{\"b\":[", '9', 131073, "],\"a\":1}", true},
	{"a number in a nested object", "{\"b\":{\"c\":1e999999", ' ', 1, "}}",
	 true},
};

static void
test_limits(void)
{
	KafkaJson *json = create("a");
	KafkaJsonValue value;
	int i;

	for (i = 0; i < LENGTH_OF(limit_cases); i++)
	{
		const LimitCase *test = &limit_cases[i];
		size_t head = strlen(test->head);
		size_t count = (size_t) test->count;
		size_t tail = strlen(test->tail);
		char *document = malloc(head + count + tail);
		KafkaJsonResult result;

		memcpy(document, test->head, head);
		memset(document + head, test->filler, count);
		memcpy(document + head + count, test->tail, tail);
		result = parse(json, document, head + count + tail, &value);
		ok(result.status == KAFKA_JSON_OK &&
			   result.ask_server == test->ask_server,
		   "%s: the server is %sasked", test->name,
		   test->ask_server ? "" : "not ");
		free(document);
	}
	kafka_json_destroy(json);
}

/* Copies a text to end, and returns the end of that. */
static char *
append(char *end, const char *text)
{
	size_t length = strlen(text);

	memcpy(end, text, length);
	return end + length;
}

/* Builds repetitions of opener, then of closer, between head and tail. */
static size_t
build_nested(char *document, const char *head, const char *opener,
			 const char *closer, int depth, const char *tail)
{
	char *end = append(document, head);
	int i;

	for (i = 0; i < depth; i++)
		end = append(end, opener);
	end = append(end, "1");
	for (i = 0; i < depth; i++)
		end = append(end, closer);
	end = append(end, tail);
	return (size_t) (end - document);
}

static void
test_depth(void)
{
	static const char *const shapes[][2] = {{"[", "]"},
											{"{\"a\":", "}"},
											{"[{\"x\":", "}]"}};
	static const int depths[] = {1, 7, 8, 9, 63, 64, 65, 1000, 100000};
	char *document = malloc(2000000);
	const char *paths[] = {"a", "a.a.a"};
	KafkaJson *json = kafka_json_create(paths, 2);
	KafkaJsonValue values[2];
	int shape;
	int i;

	for (shape = 0; shape < LENGTH_OF(shapes); shape++)
	{
		for (i = 0; i < LENGTH_OF(depths); i++)
		{
			const char *opener = shapes[shape][0];
			const char *closer = shapes[shape][1];
			int levels = depths[i] * (shape == 2 ? 2 : 1);
			size_t length;
			KafkaJsonResult result;

			length = build_nested(document, "{\"a\":", opener, closer,
								  depths[i], "}");
			result = parse(json, document, length, values);
			ok(result.status == KAFKA_JSON_OK &&
				   result.ask_server == (levels + 1 > 512),
			   "%d times \"%s\"", depths[i], opener);
			is_int((long long) values[0].raw_length, (long long) length - 6,
				   "and its whole text");

			/* One bracket too few, one too many, and a wrong one. */
			is_int(parse(json, document, length - 1, values).status,
				   KAFKA_JSON_INVALID, "and one bracket less");
			document[length] = closer[0];
			is_int(parse(json, document, length + 1, values).status,
				   KAFKA_JSON_INVALID, "and one bracket more");
			document[length - 2] ^= '}' ^ ']';
			is_int(parse(json, document, length, values).status,
				   KAFKA_JSON_INVALID, "and a wrong bracket");
		}
	}
	is_int(parse(json, document,
				 build_nested(document, "{\"a\":", "[", "]", 511, "}"), values)
			   .ask_server,
		   false, "depth 512 is sure");
	is_int(parse(json, document,
				 build_nested(document, "{\"a\":", "[", "]", 512, "}"), values)
			   .ask_server,
		   true, "depth 513 is not");
	kafka_json_destroy(json);
	free(document);
}

/* A path of many components, and a document as deep. */
static void
test_deep_path(void)
{
	enum
	{
		DEPTH = 20000
	};
	char *path = malloc(2 * DEPTH);
	char *document = malloc(12 * DEPTH);
	KafkaJson *json;
	KafkaJsonValue value;
	KafkaJsonResult result;
	int i;

	for (i = 0; i < DEPTH; i++)
		memcpy(path + 2 * i, "a.", 2);
	path[2 * DEPTH - 1] = '\0';
	json = create(path);
	result =
		parse(json, document,
			  build_nested(document, "", "{\"a\":", "}", DEPTH, ""), &value);
	ok(result.status == KAFKA_JSON_OK && result.ask_server,
	   "a path of %d components", (int) DEPTH);
	is_str(render_value(&value), "number|1|1", "leads to its value");
	parse(json, document,
		  build_nested(document, "", "{\"a\":", "}", DEPTH - 1, ""), &value);
	is_str(render_value(&value), "missing||NULL",
		   "which a document one level short lacks");
	kafka_json_destroy(json);
	free(document);
	free(path);
}

/* Bytes that malloc has handed out. */
static size_t
allocated_bytes(void)
{
	struct mallinfo2 info = mallinfo2();

	return info.uordblks + info.hblkhd;
}

/* Fills a document of this length: one long string, or none of length 0. */
static char *
build_huge(size_t length)
{
	char *document = malloc(length);

	memset(document, 'x', length);
	memcpy(document, "{\"a\":1,\"b\":\"", 12);
	memcpy(document + length - 2, "\"}", 2);
	return document;
}

static void
test_huge_document(void)
{
	const size_t length = 10 * 1000 * 1000;
	const size_t sure_length = 16 << 20;
	char *huge = build_huge(length);
	KafkaJson *json = create("a");
	KafkaJsonValue value;
	size_t before;
	size_t during;
	int i;

	parse(json, "{}", 2, &value);
	before = allocated_bytes();
	is_int(parse(json, huge, length, &value).status, KAFKA_JSON_OK,
		   "10 MB document");
	is_str(render_value(&value), "number|1|1", "and its value");
	during = allocated_bytes();
	for (i = 0; i < 100; i++)
		parse(json, "{\"a\":\"\\n\"}", 10, &value);
	is_str(render_value(&value), "string|\n|\"\\n\"",
		   "small documents after it");
	if (HAVE_SANITIZER)
		printf("# the sanitizer's malloc does not tell what is in use\n");
	else
		ok(during - before > length && allocated_bytes() - before < 4000000,
		   "its memory is given back");
	free(huge);

	huge = build_huge(sure_length + 1);
	ok(!parse(json, huge + 1, 0, &value).ask_server &&
		   parse(json, huge, sure_length + 1, &value).ask_server,
	   "the server is asked about documents above 16 MB");
	memcpy(huge + sure_length - 2, "\"}", 2);
	ok(!parse(json, huge, sure_length, &value).ask_server,
	   "but not about one of 16 MB");
	free(huge);
	kafka_json_destroy(json);
}

/* Parsing again and again must not allocate. */
static void
test_reuse(void)
{
	static const char document[] =
		"{\"a\":\"\\u00e4\",\"b\":[1,{\"c\":null}]}";
	KafkaJson *json = create("a");
	KafkaJsonValue value;
	size_t before;
	int i;

	parse(json, document, sizeof(document) - 1, &value);
	before = allocated_bytes();
	for (i = 0; i < 1000; i++)
	{
		KafkaJsonResult result;

		result =
			kafka_json_parse(json, document, sizeof(document) - 1, &value);
		expect(result.status == KAFKA_JSON_OK, "parse again", document);
		result =
			kafka_json_parse(json, document, sizeof(document) - 2, &value);
		expect(result.status == KAFKA_JSON_INVALID, "parse again", document);
	}
	end_batch("a thousand documents with one parser");
	is_int((long long) allocated_bytes(), (long long) before,
		   "allocate nothing");
	kafka_json_destroy(json);
}

/*
 * Lack of memory is a status, and passes: the address space is limited to
 * what is in use while a large document comes along.
 */
static void
test_no_memory(void)
{
	const size_t length = 64 << 20;
	char *huge = build_huge(length);
	KafkaJson *json = create("a");
	KafkaJsonValue value;
	struct rlimit unlimited;
	struct rlimit limited;
	KafkaJsonStatus status;

	if (HAVE_SANITIZER)
	{
		printf("# the sanitizer needs all of its address space\n");
		kafka_json_destroy(json);
		free(huge);
		return;
	}
	getrlimit(RLIMIT_AS, &unlimited);
	limited = unlimited;
	limited.rlim_cur = 100 << 20;
	setrlimit(RLIMIT_AS, &limited);
	status = kafka_json_parse(json, huge, length, &value).status;
	setrlimit(RLIMIT_AS, &unlimited);
	is_int(status, KAFKA_JSON_NO_MEMORY, "no memory for a document");
	is_int(parse(json, "{\"a\":1}", 7, &value).status, KAFKA_JSON_OK,
		   "a small one fits again");

	/* The text fits now, simdjson's index of four times its size does not. */
	limited.rlim_cur = 256 << 20;
	setrlimit(RLIMIT_AS, &limited);
	status = kafka_json_parse(json, huge, length, &value).status;
	setrlimit(RLIMIT_AS, &unlimited);
	is_int(status, KAFKA_JSON_NO_MEMORY, "no memory for its index");
	is_int(parse(json, huge, length, &value).status, KAFKA_JSON_OK,
		   "the large one fits when there is memory");
	kafka_json_destroy(json);
	free(huge);
}

static void
test_everything(void)
{
	test_limits();
	test_depth();
	test_deep_path();
	test_reuse();
	test_huge_document();
	test_no_memory();
}

int
main(void)
{
	return run_checks(test_everything);
}
