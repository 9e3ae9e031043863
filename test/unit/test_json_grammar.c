/*-------------------------------------------------------------------------
 *
 * test_json_grammar.c
 *		Checks which texts the JSON field extractor takes.
 *
 * The tables were judged by hand; test/fuzz/json_oracle has PostgreSQL judge
 * random documents.
 *
 * IDENTIFICATION
 *		test/unit/test_json_grammar.c
 *
 *-------------------------------------------------------------------------
 */
#include "json_check.h"

/* A document that may hold zero bytes. */
#define DOCUMENT(literal) (literal), sizeof(literal) - 1

typedef struct StatusCase
{
	const char *document;
	size_t length;
	const char *name;
} StatusCase;

/* All objects; every prefix of each must be refused. */
static const StatusCase accepted[] = {
	{DOCUMENT("{}"), "empty object"},
	{DOCUMENT(" \t\r\n{ \t\r\n} \t\r\n"), "blanks of all kinds"},
	{DOCUMENT("{\"a\":1}"), "one member"},
	{DOCUMENT("{\n\t\"a\" : 1 ,\r\n\t\"b\" : [ 1 , 2 ]\n}\n"),
	 "blanks inside"},
	{DOCUMENT("{\"\":\"\"}"), "empty key and string"},
	{DOCUMENT("{\"a\":[],\"b\":{},\"c\":[[]],\"d\":[{}]}"),
	 "empty containers"},
	{DOCUMENT("{\"a\":[1,\"x\",true,false,null,{\"b\":[]},[2]]}"), "array"},
	{DOCUMENT("{\"a\":{\"b\":{\"c\":{\"d\":[[[{}]]]}}}}"), "nesting"},
	{DOCUMENT("{\"a\":0,\"b\":-0,\"c\":0.0,\"d\":-0.0e-0}"), "zeroes"},
	{DOCUMENT("{\"a\":1e5,\"b\":1E5,\"c\":1e+5,\"d\":1.5e-5}"), "exponents"},
	{DOCUMENT("{\"a\":123456789012345678901234567890.12345678901234567890}"),
	 "number past every machine type"},
	{DOCUMENT("{\"a\":1e400,\"b\":1e-400}"), "number past double"},
	{DOCUMENT("{\"a\":\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u0041\"}"), "all escapes"},
	{DOCUMENT("{\"a\":\"\\uD83D\\uDE00\",\"b\":\"\\ud83d\\ude00\"}"), "pairs"},
	{DOCUMENT("{\"a\":\"\\u0001\\u001F\"}"), "escaped control characters"},
	{DOCUMENT("{\"a\":\"\177\"}"), "DEL"},
	{DOCUMENT("{\"a\":\"\xc2\x80\xdf\xbf\"}"), "two-byte limits"},
	{DOCUMENT("{\"a\":\"\xe0\xa0\x80\xed\x9f\xbf\xee\x80\x80\xef\xbf\xbf\"}"),
	 "three-byte limits"},
	{DOCUMENT("{\"a\":\"\xf0\x90\x80\x80\xf4\x8f\xbf\xbf\"}"),
	 "four-byte limits"},
	{DOCUMENT("{\"a\":\"\xef\xbb\xbf\"}"), "BOM inside a string"},
	{DOCUMENT("{\"a\":\"{\",\"b\":\"}\",\"c\":\"[,:]\"}"),
	 "brackets in strings"},
	{DOCUMENT("{\"a\":\"\\\\\",\"b\":\"\\\\\\\"\"}"), "backslash runs"},
	{DOCUMENT("{\"a\":1,\"a\":2,\"a\":3}"), "repeated keys"},
	{DOCUMENT("{\"k\\\"ey\":1,\"\\u006b\":[\"\\n\",{\"\\t\":\"\\\\\"}]}"),
	 "escapes in keys"},
};

static const StatusCase not_objects[] = {
	{DOCUMENT("[]"), "array"},
	{DOCUMENT(" [1,{\"a\":2}] "), "array with an object"},
	{DOCUMENT("1"), "number"},
	{DOCUMENT("-1.5e3"), "number with all parts"},
	{DOCUMENT("12345678901234567890"), "long number"},
	{DOCUMENT("\"text\""), "string"},
	{DOCUMENT("\"\\\"\""), "string with an escape"},
	{DOCUMENT("true"), "true"},
	{DOCUMENT("false"), "false"},
	{DOCUMENT(" null\n"), "null"},
};

static const StatusCase refused[] = {
	/* whole documents */
	{DOCUMENT(""), "nothing"},
	{DOCUMENT(" \t\r\n"), "blanks only"},
	{DOCUMENT("\xef\xbb\xbf{}"), "BOM"},
	{DOCUMENT("{}{}"), "two documents"},
	{DOCUMENT("{}\n{}"), "two lines"},
	{DOCUMENT("{},"), "trailing comma"},
	{DOCUMENT("{}}"), "extra brace"},
	{DOCUMENT("{}]"), "extra bracket"},
	{DOCUMENT("{} x"), "trailing garbage"},
	{DOCUMENT("{} \"x\""), "trailing string"},
	{DOCUMENT("{}\0"), "trailing zero byte"},
	{DOCUMENT("\0{}"), "leading zero byte"},
	{DOCUMENT("{\0}"), "zero byte between tokens"},
	{DOCUMENT("1 2"), "two numbers"},
	{DOCUMENT("[1] 2"), "number behind an array"},
	{DOCUMENT("}"), "brace only"},
	{DOCUMENT("]"), "bracket only"},
	{DOCUMENT(":"), "colon only"},
	{DOCUMENT(","), "comma only"},
	{DOCUMENT("\""), "quote only"},
	{DOCUMENT("\\"), "backslash only"},
	{DOCUMENT("text"), "bare word"},
	/* blanks that are none */
	{DOCUMENT("{\v}"), "vertical tab"},
	{DOCUMENT("{\f}"), "form feed"},
	{DOCUMENT("{\"a\":1\f}"), "form feed behind a number"},
	{DOCUMENT("{\"a\"\x1a:1}"), "substitute before a colon"},
	{DOCUMENT("{\"a\"\x1a"
			  "1}"),
	 "substitute for a colon"},
	{DOCUMENT("{\"a\":1\f\"b\":2}"), "form feed for a comma"},
	{DOCUMENT("{\xc2\xa0}"), "no-break space"},
	{DOCUMENT("{\xe2\x80\xa8}"), "line separator"},
	{DOCUMENT("{/**/}"), "comment"},
	{DOCUMENT("{}//"), "line comment"},
	/* objects */
	{DOCUMENT("{\"a\"}"), "no colon"},
	{DOCUMENT("{\"a\" 1}"), "value without colon"},
	{DOCUMENT("{\"a\":}"), "no value"},
	{DOCUMENT("{\"a\":,\"b\":1}"), "comma for a value"},
	{DOCUMENT("{\"a\"::1}"), "two colons"},
	{DOCUMENT("{\"a\",1}"), "comma for a colon"},
	{DOCUMENT("{:1}"), "no key"},
	{DOCUMENT("{,}"), "comma first"},
	{DOCUMENT("{,\"a\":1}"), "comma before a member"},
	{DOCUMENT("{\"a\":1,}"), "comma last"},
	{DOCUMENT("{\"a\":1,,\"b\":2}"), "two commas"},
	{DOCUMENT("{\"a\":1 \"b\":2}"), "no comma"},
	{DOCUMENT("{\"a\":1:2}"), "colon behind a value"},
	{DOCUMENT("{\"a\":1]"), "bracket closes an object"},
	{DOCUMENT("{a:1}"), "bare key"},
	{DOCUMENT("{'a':1}"), "apostrophes"},
	{DOCUMENT("{1:2}"), "number as key"},
	{DOCUMENT("{null:2}"), "null as key"},
	{DOCUMENT("{{}:2}"), "object as key"},
	{DOCUMENT("{[]:2}"), "array as key"},
	{DOCUMENT("{\"a\"\"b\":1}"), "two keys"},
	{DOCUMENT("{\"a\"x:1}"), "garbage behind a key"},
	{DOCUMENT("{\"a\":\"b\"x}"), "garbage behind a string"},
	{DOCUMENT("{\"a\":{}x}"), "garbage behind an object"},
	{DOCUMENT("{\"a\":{} {}}"), "two objects as value"},
	{DOCUMENT("{\"a\":\"b\"\"c\"}"), "two strings as value"},
	{DOCUMENT("{\"a\":1\"b\"}"), "string behind a number"},
	{DOCUMENT("{\"a\":true\"b\"}"), "string behind a literal"},
	{DOCUMENT("{\"a\":1{}}"), "object behind a number"},
	/* the same in a value that is skipped */
	{DOCUMENT("{\"s\":{\"a\"}}"), "skipped: no colon"},
	{DOCUMENT("{\"s\":{\"a\":}}"), "skipped: no value"},
	{DOCUMENT("{\"s\":{\"a\":1,}}"), "skipped: comma last"},
	{DOCUMENT("{\"s\":{,}}"), "skipped: comma only"},
	{DOCUMENT("{\"s\":{1:2}}"), "skipped: number as key"},
	{DOCUMENT("{\"s\":{\"a\":1]}"), "skipped: bracket closes an object"},
	{DOCUMENT("{\"s\":[1}}"), "skipped: brace closes an array"},
	{DOCUMENT("{\"s\":[[1},2]}"), "skipped: brace closes an inner array"},
	{DOCUMENT("{\"s\":[{\"a\":[]]}]}"), "skipped: crossed brackets"},
	{DOCUMENT("{\"s\":[1,]}"), "skipped: comma last in an array"},
	{DOCUMENT("{\"s\":[,1]}"), "skipped: comma first in an array"},
	{DOCUMENT("{\"s\":[,]}"), "skipped: comma alone in an array"},
	{DOCUMENT("{\"s\":[1 2]}"), "skipped: no comma in an array"},
	{DOCUMENT("{\"s\":[\"a\":1]}"), "skipped: colon in an array"},
	{DOCUMENT("{\"s\":[01]}"), "skipped: leading zero"},
	{DOCUMENT("{\"s\":[1.]}"), "skipped: no fraction"},
	{DOCUMENT("{\"s\":[tru]}"), "skipped: half a literal"},
	{DOCUMENT("{\"s\":[\"\\x\"]}"), "skipped: escape"},
	{DOCUMENT("{\"s\":{\"\\x\":1}}"), "skipped: escape in a key"},
	{DOCUMENT("{\"s\":[\"\\u0000\"]}"), "skipped: escaped zero"},
	{DOCUMENT("{\"s\":[\"\\ud800\"]}"), "skipped: lone surrogate"},
	{DOCUMENT("{\"s\":[\"\xff\"]}"), "skipped: invalid UTF-8"},
	/* numbers */
	{DOCUMENT("{\"a\":01}"), "leading zero"},
	{DOCUMENT("{\"a\":-01}"), "leading zero behind minus"},
	{DOCUMENT("{\"a\":00}"), "two zeroes"},
	{DOCUMENT("{\"a\":01.5}"), "leading zero of a fraction"},
	{DOCUMENT("{\"a\":0123456789}"), "leading zero of nine digits"},
	{DOCUMENT("{\"a\":01234567890123456789}"), "leading zero of many digits"},
	{DOCUMENT("{\"a\":+1}"), "plus"},
	{DOCUMENT("{\"a\":-}"), "minus only"},
	{DOCUMENT("{\"a\":--1}"), "two minuses"},
	{DOCUMENT("{\"a\":- 1}"), "blank behind minus"},
	{DOCUMENT("{\"a\":-a}"), "letter behind minus"},
	{DOCUMENT("{\"a\":.5}"), "no whole part"},
	{DOCUMENT("{\"a\":-.5}"), "no whole part behind minus"},
	{DOCUMENT("{\"a\":5.}"), "no fraction"},
	{DOCUMENT("{\"a\":5.e1}"), "no fraction before an exponent"},
	{DOCUMENT("{\"a\":1.2.3}"), "two points"},
	{DOCUMENT("{\"a\":1e}"), "no exponent"},
	{DOCUMENT("{\"a\":1e+}"), "no exponent behind its sign"},
	{DOCUMENT("{\"a\":1e1.5}"), "fraction in an exponent"},
	{DOCUMENT("{\"a\":1e1e1}"), "two exponents"},
	{DOCUMENT("{\"a\":e1}"), "exponent only"},
	{DOCUMENT("{\"a\":0x10}"), "hexadecimal"},
	{DOCUMENT("{\"a\":1_000}"), "underscore"},
	{DOCUMENT("{\"a\":1,000}"), "thousands separator"},
	{DOCUMENT("{\"a\":12a}"), "letter behind digits"},
	{DOCUMENT("{\"a\":1234567a}"), "letter behind seven digits"},
	{DOCUMENT("{\"a\":12345678a}"), "letter behind eight digits"},
	{DOCUMENT("{\"a\":1234:5678}"), "colon among digits"},
	{DOCUMENT("{\"a\":1234;5678}"), "semicolon among digits"},
	{DOCUMENT("{\"a\":1234/5678}"), "slash among digits"},
	{DOCUMENT("{\"a\":1\0"
			  "2}"),
	 "zero byte among digits"},
	{DOCUMENT("{\"a\":1\x80}"), "high byte behind a digit"},
	{DOCUMENT("{\"a\":1 2}"), "two numbers as value"},
	{DOCUMENT("{\"a\":\xd9\xa1}"), "Arabic digit"},
	{DOCUMENT("{\"a\":NaN}"), "NaN"},
	{DOCUMENT("{\"a\":Infinity}"), "Infinity"},
	{DOCUMENT("{\"a\":-Infinity}"), "-Infinity"},
	/* literals */
	{DOCUMENT("{\"a\":nul}"), "nul"},
	{DOCUMENT("{\"a\":nulll}"), "nulll"},
	{DOCUMENT("{\"a\":null\0}"), "zero byte behind null"},
	{DOCUMENT("{\"a\":True}"), "True"},
	{DOCUMENT("{\"a\":TRUE}"), "TRUE"},
	{DOCUMENT("{\"a\":tru}"), "tru"},
	{DOCUMENT("{\"a\":truee}"), "truee"},
	{DOCUMENT("{\"a\":fals}"), "fals"},
	{DOCUMENT("{\"a\":falsey}"), "falsey"},
	{DOCUMENT("{\"a\":t r u e}"), "true with blanks"},
	{DOCUMENT("{\"a\":undefined}"), "undefined"},
	{DOCUMENT("{\"a\":true false}"), "two literals"},
	/* strings */
	{DOCUMENT("{\"a\":\"b}"), "string not closed"},
	{DOCUMENT("{\"a:1}"), "key not closed"},
	{DOCUMENT("{\"a\":\"b\\\"}"), "closing quote escaped"},
	{DOCUMENT("{\"a\":b\"}"), "string not opened"},
	{DOCUMENT("{\"a\":\\\"b\"}"), "escape outside a string"},
	{DOCUMENT("{\"a\":\"b\"\\}"), "backslash behind a string"},
	{DOCUMENT("{\"a\":1\\}"), "backslash behind a number"},
	{DOCUMENT("{\"a\":\"\t\"}"), "tab in a string"},
	{DOCUMENT("{\"a\":\"\n\"}"), "newline in a string"},
	{DOCUMENT("{\"a\":\"\x1f\"}"), "0x1F in a string"},
	{DOCUMENT("{\"a\":\"\0\"}"), "zero byte in a string"},
	{DOCUMENT("{\"\t\":1}"), "tab in a key"},
	{DOCUMENT("{\"a\":\"\\a\"}"), "escape a"},
	{DOCUMENT("{\"a\":\"\\'\"}"), "escaped apostrophe"},
	{DOCUMENT("{\"a\":\"\\0\"}"), "escape 0"},
	{DOCUMENT("{\"a\":\"\\ \"}"), "escaped blank"},
	{DOCUMENT("{\"a\":\"\\N\"}"), "escape N"},
	{DOCUMENT("{\"a\":\"\\U0041\"}"), "escape U"},
	{DOCUMENT("{\"a\":\"\\x41\"}"), "escape x"},
	{DOCUMENT("{\"a\":\"\\\n\"}"), "escaped newline"},
	{DOCUMENT("{\"a\":\"\\\xc3\xa4\"}"), "escaped letter of two bytes"},
	{DOCUMENT("{\"\\a\":1}"), "escape a in a key"},
	{DOCUMENT("{\"a\":\"\\u\"}"), "no digits"},
	{DOCUMENT("{\"a\":\"\\u004\"}"), "three digits"},
	{DOCUMENT("{\"a\":\"\\u004g\"}"), "letter g"},
	{DOCUMENT("{\"a\":\"\\u 041\"}"), "blank among digits"},
	{DOCUMENT("{\"a\":\"\\u-041\"}"), "minus among digits"},
	{DOCUMENT("{\"a\":\"\\u0000\"}"), "escaped zero"},
	{DOCUMENT("{\"a\":\"x\\u0000y\"}"), "escaped zero in the midst"},
	{DOCUMENT("{\"\\u0000\":1}"), "escaped zero in a key"},
	{DOCUMENT("{\"a\":\"\\ud800\"}"), "high surrogate at the end"},
	{DOCUMENT("{\"a\":\"\\udbffx\"}"), "high surrogate before a letter"},
	{DOCUMENT("{\"a\":\"\\ud83d\\n\"}"), "high surrogate before an escape"},
	{DOCUMENT("{\"a\":\"\\ud83d\\u0041\"}"), "high surrogate before \\u0041"},
	{DOCUMENT("{\"a\":\"\\ud83d\\ud83d\"}"), "two high surrogates"},
	{DOCUMENT("{\"a\":\"\\ud83d\\udbff\\ude00\"}"), "high, high, low"},
	{DOCUMENT("{\"a\":\"\\ud83dx\\ude00\"}"), "letter between the surrogates"},
	{DOCUMENT("{\"a\":\"\\ud83d\\u\"}"), "half a low surrogate"},
	{DOCUMENT("{\"a\":\"\\udc00\"}"), "low surrogate alone"},
	{DOCUMENT("{\"a\":\"\\ude00\\ud83d\"}"), "surrogates reversed"},
	{DOCUMENT("{\"\\ud800\":1}"), "lone surrogate in a key"},
	/* UTF-8 */
	{DOCUMENT("{\"a\":\"\x80\"}"), "continuation alone"},
	{DOCUMENT("{\"a\":\"\xc3\"}"), "continuation missing"},
	{DOCUMENT("{\"a\":\"\xc3(\"}"), "continuation wrong"},
	{DOCUMENT("{\"a\":\"\xc0\xaf\"}"), "overlong, two bytes"},
	{DOCUMENT("{\"a\":\"\xc1\xbf\"}"), "overlong, two bytes, largest"},
	{DOCUMENT("{\"a\":\"\xe0\x80\xaf\"}"), "overlong, three bytes"},
	{DOCUMENT("{\"a\":\"\xe0\x9f\xbf\"}"), "overlong, three bytes, largest"},
	{DOCUMENT("{\"a\":\"\xf0\x80\x80\xaf\"}"), "overlong, four bytes"},
	{DOCUMENT("{\"a\":\"\xf0\x8f\xbf\xbf\"}"),
	 "overlong, four bytes, largest"},
	{DOCUMENT("{\"a\":\"\xed\xa0\x80\"}"), "surrogate, smallest"},
	{DOCUMENT("{\"a\":\"\xed\xbf\xbf\"}"), "surrogate, largest"},
	{DOCUMENT("{\"a\":\"\xf4\x90\x80\x80\"}"), "above U+10FFFF"},
	{DOCUMENT("{\"a\":\"\xf5\x80\x80\x80\"}"), "lead F5"},
	{DOCUMENT("{\"a\":\"\xf8\x88\x80\x80\x80\"}"), "five bytes"},
	{DOCUMENT("{\"a\":\"\xff\"}"), "FF"},
	{DOCUMENT("{\"a\":\"\xe2\x82\"}"), "three bytes, one missing"},
	{DOCUMENT("{\"a\":\"\xf0\x9f\x98\"}"), "four bytes, one missing"},
	{DOCUMENT("{\"\xff\":1}"), "FF in a key"},
	{DOCUMENT("{}\xff"), "FF behind the document"},
	{DOCUMENT("{\"a\":\"b\xc3"), "cut inside a character"},
};

static void
test_statuses(void)
{
	KafkaJson *json = create("a");
	KafkaJsonValue value;
	int i;

	for (i = 0; i < LENGTH_OF(accepted); i++)
	{
		KafkaJsonResult result;

		result = parse(json, accepted[i].document, accepted[i].length, &value);
		ok(result.status == KAFKA_JSON_OK && !result.ask_server,
		   "accepted: %s", accepted[i].name);
	}
	for (i = 0; i < LENGTH_OF(not_objects); i++)
	{
		KafkaJsonResult result;

		result = parse(json, not_objects[i].document, not_objects[i].length,
					   &value);
		ok(result.status == KAFKA_JSON_NOT_OBJECT && result.reason != NULL,
		   "no object: %s", not_objects[i].name);
	}
	for (i = 0; i < LENGTH_OF(refused); i++)
	{
		KafkaJsonResult result;

		result = parse(json, refused[i].document, refused[i].length, &value);
		ok(result.status == KAFKA_JSON_INVALID && result.reason != NULL &&
			   result.position <= refused[i].length && !result.ask_server,
		   "refused: %s", refused[i].name);
	}
	kafka_json_destroy(json);
}

/*
 * A document that is refused must be refused wherever it stands in another:
 * as the value of a wanted key, below one, and inside skipped containers.
 */
static void
test_embedded(void)
{
	static const char *const frames[][2] = {
		{"{\"a\":", "}"},
		{"{\"z\":", "}"},
		{"{\"a\":{\"b\":", "}}"},
		{"{\"z\":[[{\"y\":", "}]]}"},
		{"{\"a\":{\"z\":[0,", "]}}"},
		{"{\"n\":\"\\n\",\"a\":[0,", "]}"},
	};
	const char *paths[] = {"a", "a.b"};
	KafkaJson *json = kafka_json_create(paths, 2);
	KafkaJsonValue values[2];
	char document[512];
	int frame;
	int i;

	for (frame = 0; frame < LENGTH_OF(frames); frame++)
	{
		size_t head = strlen(frames[frame][0]);
		size_t tail = strlen(frames[frame][1]);

		for (i = 0; i < LENGTH_OF(refused) + LENGTH_OF(accepted); i++)
		{
			bool want_ok = i >= LENGTH_OF(refused);
			const StatusCase *inner;
			KafkaJsonResult result;

			inner = want_ok ? &accepted[i - LENGTH_OF(refused)] : &refused[i];
			memcpy(document, frames[frame][0], head);
			memcpy(document + head, inner->document, inner->length);
			memcpy(document + head + inner->length, frames[frame][1], tail);
			result =
				parse(json, document, head + inner->length + tail, values);
			expect(result.status ==
					   (want_ok ? KAFKA_JSON_OK : KAFKA_JSON_INVALID),
				   frames[frame][0], inner->name);
		}
	}
	end_batch("every document keeps its status inside others");
	kafka_json_destroy(json);
}

static void
test_prefixes(void)
{
	KafkaJson *json = create("a");
	KafkaJsonValue value;
	int i;

	for (i = 0; i < LENGTH_OF(accepted); i++)
	{
		const StatusCase *test = &accepted[i];
		size_t length;
		size_t end = test->length;

		/* Blanks at the end may be missing, the last brace may not. */
		while (test->document[end - 1] != '}')
			end--;
		for (length = 0; length < end; length++)
			expect(parse(json, test->document, length, &value).status ==
					   KAFKA_JSON_INVALID,
				   "accepted a prefix of", test->name);
	}
	end_batch("every prefix of every document is refused");
	kafka_json_destroy(json);
}

/*
 * Tokens at every offset to simdjson's blocks of 64 bytes: a document with
 * blanks, and with a long string, in front.
 */
static void
test_offsets(void)
{
	static const char *const fillers[] =
		{"{%*s\"a\":\"x\\u0041\\\\\"}", "{\"b%*s\":2,\"a\":\"x\\u0041\\\\\"}",
		 "{\"b\":\"\\n%*s\",\"a\":"
		 "\"x\\u0041\\\\\"}"};
	KafkaJson *json = create("a");
	KafkaJsonValue value;
	char document[512];
	int filler;
	int width;

	for (filler = 0; filler < LENGTH_OF(fillers); filler++)
	{
		for (width = 0; width < 200; width++)
		{
			size_t length;

			length = (size_t) snprintf(document, sizeof(document),
									   fillers[filler], width, "");
			expect(parse(json, document, length, &value).status ==
						   KAFKA_JSON_OK &&
					   strcmp(render_value(&value),
							  "string|xA\\|\"x\\u0041\\\\\"") == 0,
				   "value at another offset", document);
			document[length - 2] = '\\';
			expect(parse(json, document, length, &value).status ==
					   KAFKA_JSON_INVALID,
				   "string not closed at another offset", document);
		}
	}
	end_batch("the same at 200 offsets");
	kafka_json_destroy(json);
}

static void
test_everything(void)
{
	test_statuses();
	test_embedded();
	test_prefixes();
	test_offsets();
}

int
main(void)
{
	return run_checks(test_everything);
}
