/*-------------------------------------------------------------------------
 *
 * test_json.c
 *		Checks the values that the JSON field extractor finds.
 *
 * Values are compared as kind|text|raw, see render_value.
 *
 * IDENTIFICATION
 *		test/unit/test_json.c
 *
 *-------------------------------------------------------------------------
 */
#include "json_check.h"

typedef struct ValueCase
{
	const char *document;
	const char *path;
	const char *want; /* see render_value */
} ValueCase;

typedef struct FaultCase
{
	const char *document;
	const char *reason;
	int position;
} FaultCase;

static const ValueCase value_cases[] = {
	/* kinds */
	{"{\"a\":1}", "a", "number|1|1"},
	{"{\"a\":-0.10e+02}", "a", "number|-0.10e+02|-0.10e+02"},
	{"{\"a\":00.1}", "a", "invalid"},
	{"{\"a\" : 12 \n}", "a", "number|12|12"},
	{"{\"a\":1.000}", "a", "number|1.000|1.000"},
	{"{\"a\":true}", "a", "true|true|true"},
	{"{\"a\": false }", "a", "false|false|false"},
	{"{\"a\":null}", "a", "null||null"},
	{"{\"a\":\"\"}", "a", "string||\"\""},
	{"{\"a\":\"b c\"}", "a", "string|b c|\"b c\""},
	{"{\"a\":\"1\"}", "a", "string|1|\"1\""},
	{"{\"a\":\"null\"}", "a", "string|null|\"null\""},
	{"{\"a\" : \"b\" \t}", "a", "string|b|\"b\""},
	{"{\"a\":{}}", "a", "object|{}|{}"},
	{"{\"a\":[]}", "a", "array|[]|[]"},
	{"{\"a\": { \"b\" : [ 1 ] } }", "a",
	 "object|{ \"b\" : [ 1 ] }|{ \"b\" : [ 1 ] }"},
	{"{\"a\":[ 1,\"\\u0041\" ] ,\"b\":2}", "a",
	 "array|[ 1,\"\\u0041\" ]|[ 1,\"\\u0041\" ]"},
	{"{\"a\":\"\xc3\xa4\"}", "a", "string|\xc3\xa4|\"\xc3\xa4\""},
	/* escapes */
	{"{\"a\":\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"}", "a",
	 "string|\"\\/\b\f\n\r\t|\"\\\"\\\\\\/\\b\\f\\n\\r\\t\""},
	{"{\"a\":\"\\u0041\\u00e4\\u20AC\\ud83d\\uDE00!\"}", "a",
	 "string|A\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80!"
	 "|\"\\u0041\\u00e4\\u20AC\\ud83d\\uDE00!\""},
	{"{\"a\":\"\\uffff\\ud7ff\\ue000\"}", "a",
	 "string|\xef\xbf\xbf\xed\x9f\xbf\xee\x80\x80|\"\\uffff\\ud7ff\\ue000\""},
	{"{\"a\":\"\\ud800\\udc00\\udbff\\udfff\"}", "a",
	 "string|\xf0\x90\x80\x80\xf4\x8f\xbf\xbf|\"\\ud800\\udc00\\udbff\\udfff\""},
	{"{\"x\":\"\\n\",\"a\":\"plain\",\"y\":\"\\n\"}", "a",
	 "string|plain|\"plain\""},
	{"{\"a\":\"x\\\\\",\"y\":\"\\n\"}", "a", "string|x\\|\"x\\\\\""},
	{"{\"a\":\"\\\\u0041\"}", "a", "string|\\u0041|\"\\\\u0041\""},
	/* keys */
	{"{}", "a", "missing||NULL"},
	{"{\"b\":1}", "a", "missing||NULL"},
	{"{\"A\":1}", "a", "missing||NULL"},
	{"{\"a \":1}", "a", "missing||NULL"},
	{"{\"\":1}", "", "number|1|1"},
	{"{\"a\":1}", "", "missing||NULL"},
	{"{\"\\u0061\":1}", "a", "number|1|1"},
	{"{\"\\u0061b\\u0063\":1}", "abc", "number|1|1"},
	{"{\"a\\\"b\":1}", "a\"b", "number|1|1"},
	{"{\"a\\\\b\":1}", "a\\b", "number|1|1"},
	{"{\"a\\nb\":1}", "a\\nb", "missing||NULL"},
	{"{\"\xc3\xa4\":1}", "\xc3\xa4", "number|1|1"},
	{"{\"\\u00e4\":1}", "\xc3\xa4", "number|1|1"},
	{"{\"a\xcc\x88\":1}", "\xc3\xa4", "missing||NULL"},
	{"{\"1234567\":1}", "12345678", "missing||NULL"},
	{"{\"12345678\":1}", "12345678", "number|1|1"},
	{"{\"123456789\":1}", "12345678", "missing||NULL"},
	{"{\"12345678\":1}", "123456789", "missing||NULL"},
	{"{\"123456789\":1}", "123456789", "number|1|1"},
	{"{\"123456780\":1}", "123456789", "missing||NULL"},
	{"{\"1234567890123456\":1}", "1234567890123456", "number|1|1"},
	{"{\"12345678901234567\":1}", "12345678901234567", "number|1|1"},
	{"{\"12345678901234568\":1}", "12345678901234567", "missing||NULL"},
	{"{\"x2345678901234567\":1}", "12345678901234567", "missing||NULL"},
	{"{\"12345678x012345678901234\":1}", "123456789012345678901234",
	 "missing||NULL"},
	{"{\"123456789012345678901234\":1}", "123456789012345678901234",
	 "number|1|1"},
	{"{\"o\":{\"a\":1}}", "a", "missing||NULL"},
	{"{\"o\":[{\"a\":1}],\"a\":2}", "a", "number|2|2"},
	{"{\"o\":\"a\",\"p\":[\"a\",1]}", "a", "missing||NULL"},
	/* repeated keys */
	{"{\"a\":1,\"a\":2}", "a", "number|2|2"},
	{"{\"a\":1,\"a\":null}", "a", "null||null"},
	{"{\"a\":null,\"a\":\"x\"}", "a", "string|x|\"x\""},
	{"{\"a\":{\"b\":1},\"a\":[2]}", "a", "array|[2]|[2]"},
	{"{\"a\":[2],\"\\u0061\":{\"b\":1}}", "a", "object|{\"b\":1}|{\"b\":1}"},
	{"{\"a\":\"\\n\",\"a\":\"\\t\"}", "a", "string|\t|\"\\t\""},
	/* paths */
	{"{\"a\":{\"b\":1}}", "a.b", "number|1|1"},
	{"{\"a.b\":1}", "a.b", "number|1|1"},
	{"{\"a.b\":1,\"a\":{\"b\":2}}", "a.b", "number|1|1"},
	{"{\"a\":{\"b\":2},\"a.b\":1}", "a.b", "number|1|1"},
	{"{\"a\":{\"b\":2},\"a.b\":null}", "a.b", "null||null"},
	{"{\"a.b\":null,\"a\":{\"b\":2}}", "a.b", "null||null"},
	{"{\"a\":{\"b\":null}}", "a.b", "null||null"},
	{"{\"a\":{}}", "a.b", "missing||NULL"},
	{"{\"a\":{\"b\":{\"c\":[1]}}}", "a.b.c", "array|[1]|[1]"},
	{"{\"a\":{\"b\":{\"c\":{\"d\":1}}}}", "a.b.c",
	 "object|{\"d\":1}|{\"d\":1}"},
	{"{\"a\":{\"b.c\":1}}", "a.b.c", "missing||NULL"},
	{"{\"a.b\":{\"c\":1}}", "a.b.c", "missing||NULL"},
	{"{\"a.b.c\":1}", "a.b.c", "number|1|1"},
	{"{\"a\":1}", "a.b", "missing||NULL"},
	{"{\"a\":null}", "a.b", "missing||NULL"},
	{"{\"a\":\"b\"}", "a.b", "missing||NULL"},
	{"{\"a\":[{\"b\":1}]}", "a.b", "missing||NULL"},
	{"{\"a\":{\"x\":{\"b\":1}}}", "a.b", "missing||NULL"},
	{"{\"a\":{\"b\":1,\"b\":2}}", "a.b", "number|2|2"},
	{"{\"a\":{\"b\":1},\"a\":{\"b\":2}}", "a.b", "number|2|2"},
	{"{\"a\":{\"b\":1},\"a\":{}}", "a.b", "missing||NULL"},
	{"{\"a\":{\"b\":1},\"a\":{\"c\":2}}", "a.b", "missing||NULL"},
	{"{\"a\":{\"b\":1},\"a\":5}", "a.b", "missing||NULL"},
	{"{\"a\":{\"b\":1},\"a\":null}", "a.b", "missing||NULL"},
	{"{\"a\":{\"b\":1},\"a\":[]}", "a.b", "missing||NULL"},
	{"{\"a\":5,\"a\":{\"b\":1}}", "a.b", "number|1|1"},
	{"{\"a\":{\"b\":{\"c\":1},\"b\":{}}}", "a.b.c", "missing||NULL"},
	{"{\"a\":{\"b\":{\"c\":1}},\"a\":{\"b\":3}}", "a.b.c", "missing||NULL"},
	{"{\"a.b\":1,\"a.b\":2,\"a\":{\"b\":3}}", "a.b", "number|2|2"},
	{"{\"\\u0061\":{\"\\u0062\":1}}", "a.b", "number|1|1"},
	{"{\"\\u0061\\u002eb\":1}", "a.b", "number|1|1"},
	{"{\"\":{\"\":1}}", ".", "number|1|1"},
	{"{\"a\":{\"\":1}}", "a.", "number|1|1"},
	{"{\"\":{\"a\":1}}", ".a", "number|1|1"},
	{"{\"a\":{\"\":{\"b\":1}}}", "a..b", "number|1|1"},
	{"{\"a\":{\"a\":{\"a\":7}}}", "a.a.a", "number|7|7"},
	{"{\"a\":{\"b\":\"\\u00e4\\n\"}}", "a.b",
	 "string|\xc3\xa4\n|\"\\u00e4\\n\""},
	{"{\"a\":{\"b\":1},\"x\":[}", "a.b", "invalid"},
};

static const FaultCase fault_cases[] = {
	{"", "The document is empty", 0},
	{" \n ", "The document is empty", 0},
	{"{\"a\":01}", "A number is malformed", 5},
	{"{\"a\":tru}", "A token is no JSON value", 5},
	{"{\"a\":1,}", "A key of an object is expected", 7},
	{"{\"a\" 1}", "A colon is expected behind a key", 5},
	{"{\"a\":1;}", "A number is malformed", 5},
	{"{\"a\":1]", "A comma or closing brace is expected", 6},
	{"{\"a\":[1}", "A comma or closing bracket is expected", 7},
	{"{\"a\":{\"b\":1]}", "A comma or closing brace is expected", 11},
	{"{} x", "Text follows the document", 3},
	{"{\"a\":", "The document ends before it is complete", 5},
	{"{\"a\":1", "The document ends before it is complete", 6},
	{"{\"a\":[1", "The document ends before it is complete", 7},
	{"{", "The document ends before it is complete", 1},
	{"{\"a\":\"b}", "A string is not closed", 5},
	{"{\"a\":\"\t\"}", "A string contains an unescaped control character", 6},
	{"{\"a\":\"\xc3(\"}", "The text is not valid UTF-8", 6},
	{"{\"a\":\"xy\\q\"}", "A string contains an escape that JSON lacks", 8},
	{"{\"a\":\"\\u00g0\"}", "A \\u escape lacks its four hexadecimal digits",
	 6},
	{"{\"a\":\"x\\u0000\"}", "Character \\u0000 cannot be converted to text",
	 7},
	{"{\"a\":\"\\ud800\"}",
	 "A Unicode high surrogate is followed by no low surrogate", 6},
	{"{\"a\":\"\\udc00\"}",
	 "A Unicode low surrogate follows no high surrogate", 6},
};

static void
test_version(void)
{
	int major = 0;
	int minor = -1;
	int patch = -1;

	ok(sscanf(kafka_json_library_version(), "%d.%d.%d", &major, &minor,
			  &patch) == 3 &&
		   major >= 3 && minor >= 0 && patch >= 0,
	   "version %s", kafka_json_library_version());
}

static void
test_values(void)
{
	KafkaJsonValue value;
	int i;

	for (i = 0; i < LENGTH_OF(value_cases); i++)
	{
		const ValueCase *test = &value_cases[i];
		KafkaJson *json = create(test->path);
		KafkaJsonResult result;

		result = parse(json, test->document, strlen(test->document), &value);
		is_str(result.status == KAFKA_JSON_OK ? render_value(&value)
											  : "invalid",
			   test->want, "\"%s\" of %s", test->path, test->document);
		kafka_json_destroy(json);
	}
}

static void
test_faults(void)
{
	KafkaJson *json = create("a");
	KafkaJsonValue value;
	int i;

	for (i = 0; i < LENGTH_OF(fault_cases); i++)
	{
		const FaultCase *test = &fault_cases[i];
		KafkaJsonResult result;

		result = parse(json, test->document, strlen(test->document), &value);
		is_str(result.reason, test->reason, "reason for %s", test->document);
		is_int((long long) result.position, test->position, "position in %s",
			   test->document);
	}
	kafka_json_destroy(json);
}

/* Many fields at once, in an order that is not the document's. */
static void
test_many_fields(void)
{
	static const char *const paths[] = {"d",   "a", "a.b", "a.c.d",
										"a.b", "x", "a.c", "a"};
	static const char *const want[] = {
		"string|\n|\"\\n\"",
		"object|{\"b\":1,\"c\":{\"d\":\"\\t\"}}|{\"b\":1,\"c\":{\"d\":\"\\t\"}}",
		"number|1|1",
		"string|\t|\"\\t\"",
		"number|1|1",
		"missing||NULL",
		"object|{\"d\":\"\\t\"}|{\"d\":\"\\t\"}",
		"object|{\"b\":1,\"c\":{\"d\":\"\\t\"}}|{\"b\":1,\"c\":{\"d\":\"\\t\"}}",
	};
	static const char document[] =
		"{\"z\":[\"\\r\"],\"a\":{\"b\":1,\"c\":{\"d\":\"\\t\"}},\"d\":\"\\n\"}";
	KafkaJson *json = kafka_json_create(paths, LENGTH_OF(paths));
	KafkaJsonValue values[LENGTH_OF(paths)];
	int i;

	is_int(parse(json, document, sizeof(document) - 1, values).status,
		   KAFKA_JSON_OK, "eight fields, some of them twice");
	for (i = 0; i < LENGTH_OF(paths); i++)
		is_str(render_value(&values[i]), want[i], "field %d, \"%s\"", i,
			   paths[i]);

	/* What this document gave must not show in the next. */
	parse(json, "{}", 2, values);
	for (i = 0; i < LENGTH_OF(paths); i++)
		is_str(render_value(&values[i]), "missing||NULL",
			   "field %d is missing from the next document", i);
	kafka_json_destroy(json);
}

/* As many fields as a table can have columns, and many names alike. */
static void
test_wide_record(void)
{
	enum
	{
		FIELDS = 1600
	};
	char(*names)[40] = malloc(FIELDS * sizeof(*names));
	const char *paths[FIELDS];
	KafkaJsonValue *values = malloc(FIELDS * sizeof(KafkaJsonValue));
	char *document = malloc(FIELDS * 120);
	char *end = document;
	KafkaJson *json;
	int i;

	for (i = 0; i < FIELDS; i++)
	{
		snprintf(names[i], sizeof(names[i]),
				 i % 2 == 0 ? "metric_%04d_of_sensor" : "group.%04d", i);
		paths[i] = names[i];
	}
	json = kafka_json_create(paths, FIELDS);
	*end++ = '{';
	for (i = FIELDS - 2; i >= 0; i -= 2)
		end += sprintf(end, "\"%s\":%d,\"unwanted_%04d\":0,", names[i], i, i);
	end += sprintf(end, "\"group\":{\"x\":0");
	for (i = 1; i < FIELDS; i += 2)
		end += sprintf(end, ",\"%04d\":%d", i, i);
	end += sprintf(end, "}}");
	is_int(parse(json, document, (size_t) (end - document), values).status,
		   KAFKA_JSON_OK, "%d fields", (int) FIELDS);
	for (i = 0; i < FIELDS; i++)
	{
		char want[40];

		snprintf(want, sizeof(want), "number|%d|%d", i, i);
		expect(strcmp(render_value(&values[i]), want) == 0, "value of",
			   names[i]);
	}
	end_batch("each field has its own value");
	kafka_json_destroy(json);
	free(document);
	free(values);
	free(names);
}

/* A parser may want nothing, and then only validates. */
static void
test_no_fields(void)
{
	KafkaJson *json = kafka_json_create(NULL, 0);

	is_int(parse(json, "{\"a\":1}", 7, NULL).status, KAFKA_JSON_OK,
		   "no field wanted");
	is_int(parse(json, "{\"a\":}", 6, NULL).status, KAFKA_JSON_INVALID,
		   "no field wanted, document refused");
	kafka_json_destroy(json);
	kafka_json_destroy(NULL);
}

static void
test_everything(void)
{
	test_version();
	test_values();
	test_faults();
	test_many_fields();
	test_wide_record();
	test_no_fields();
}

int
main(void)
{
	return run_checks(test_everything);
}
