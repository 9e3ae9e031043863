/*-------------------------------------------------------------------------
 *
 * test_json.c
 *		Checks the JSON field extractor: grammar, values, limits, memory.
 *
 * The tables below were judged by hand; test/fuzz/json_oracle has PostgreSQL
 * judge random documents.  Each document is parsed from an allocation of its
 * exact length that is overwritten before any value is looked at, so that a
 * sanitizer sees reads past it, and a kept pointer gives garbage.
 *
 * simdjson has an implementation for each kind of processor, and chooses at
 * its first use in a process.  All checks run in a child for each that works
 * here, and once more with the library's own choice.
 *
 * IDENTIFICATION
 *		test/unit/test_json.c
 *
 *-------------------------------------------------------------------------
 */
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../../src/core/json.h"
#include "tap.h"

#if defined(__SANITIZE_ADDRESS__)
#define HAVE_SANITIZER 1
#else
#define HAVE_SANITIZER 0
#endif

#define LENGTH_OF(array) ((int) (sizeof(array) / sizeof((array)[0])))

/* A document that may hold zero bytes. */
#define DOCUMENT(literal) (literal), sizeof(literal) - 1

#define MAX_RENDERED 4096

typedef struct StatusCase
{
	const char *document;
	size_t		length;
	const char *name;
} StatusCase;

typedef struct ValueCase
{
	const char *document;
	const char *path;
	const char *want;			/* see render_value */
} ValueCase;

typedef struct FaultCase
{
	const char *document;
	const char *reason;
	int			position;
} FaultCase;

typedef struct LimitCase
{
	const char *name;
	const char *head;
	char		filler;
	int			count;			/* of filler between head and tail */
	const char *tail;
	bool		ask_server;
} LimitCase;

/* All objects; every prefix of each must be refused. */
static const StatusCase accepted[] = {
	{DOCUMENT("{}"), "empty object"},
	{DOCUMENT(" \t\r\n{ \t\r\n} \t\r\n"), "blanks of all kinds"},
	{DOCUMENT("{\"a\":1}"), "one member"},
	{DOCUMENT("{\n\t\"a\" : 1 ,\r\n\t\"b\" : [ 1 , 2 ]\n}\n"), "blanks inside"},
	{DOCUMENT("{\"\":\"\"}"), "empty key and string"},
	{DOCUMENT("{\"a\":[],\"b\":{},\"c\":[[]],\"d\":[{}]}"), "empty containers"},
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
	{DOCUMENT("{\"a\":\"{\",\"b\":\"}\",\"c\":\"[,:]\"}"), "brackets in strings"},
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
	{DOCUMENT("{\"a\"\x1a" "1}"), "substitute for a colon"},
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
	{DOCUMENT("{\"a\":1\0" "2}"), "zero byte among digits"},
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
	{DOCUMENT("{\"a\":\"\xf0\x8f\xbf\xbf\"}"), "overlong, four bytes, largest"},
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
	{"a number in a nested object", "{\"b\":{\"c\":1e999999", ' ', 1, "}}", true},
};


/* ok() for the checks that run by the hundred: a line only if one fails. */
static int	quiet_failures;

static void
expect(bool passed, const char *what, const char *name)
{
	if (passed)
		return;
	quiet_failures++;
	fprintf(stderr, "# %s: %s\n", what, name);
}

/* Reports a batch of expect() calls as one check. */
static void
end_batch(const char *name)
{
	is_int(quiet_failures, 0, "%s", name);
	quiet_failures = 0;
}

/*
 * Parses a document as json.h promises it can be: from memory that ends with
 * it, and that is gone when the values are looked at.
 */
static KafkaJsonResult
parse(KafkaJson *json, const char *document, size_t length,
	  KafkaJsonValue *values)
{
	char	   *copy = malloc(length == 0 ? 1 : length);
	KafkaJsonResult result;

	memcpy(copy, document, length);
	result = kafka_json_parse(json, length == 0 ? NULL : copy, length, values);
	memset(copy, '#', length);
	free(copy);
	return result;
}

static KafkaJson *
create(const char *path)
{
	KafkaJson  *json = kafka_json_create(&path, 1);

	if (json == NULL)
	{
		fprintf(stderr, "# no parser\n");
		exit(2);
	}
	return json;
}

/* Writes a value as kind|text|raw. */
static const char *
render_value(const KafkaJsonValue *value)
{
	static const char *const kinds[] = {"missing", "null",	 "false",  "true",
										"number",  "string", "object", "array"};
	static char rendered[MAX_RENDERED];

	snprintf(rendered, sizeof(rendered), "%s|%.*s|%.*s", kinds[value->kind],
			 (int) value->length, value->text == NULL ? "" : value->text,
			 value->raw == NULL ? 4 : (int) value->raw_length,
			 value->raw == NULL ? "NULL" : value->raw);
	return rendered;
}

static void
test_statuses(void)
{
	KafkaJson  *json = create("a");
	KafkaJsonValue value;
	int			i;

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
	KafkaJson  *json = kafka_json_create(paths, 2);
	KafkaJsonValue values[2];
	char		document[512];
	int			frame;
	int			i;

	for (frame = 0; frame < LENGTH_OF(frames); frame++)
	{
		size_t		head = strlen(frames[frame][0]);
		size_t		tail = strlen(frames[frame][1]);

		for (i = 0; i < LENGTH_OF(refused) + LENGTH_OF(accepted); i++)
		{
			bool		want_ok = i >= LENGTH_OF(refused);
			const StatusCase *inner;
			KafkaJsonResult result;

			inner = want_ok ? &accepted[i - LENGTH_OF(refused)] : &refused[i];
			memcpy(document, frames[frame][0], head);
			memcpy(document + head, inner->document, inner->length);
			memcpy(document + head + inner->length, frames[frame][1], tail);
			result = parse(json, document, head + inner->length + tail, values);
			expect(result.status ==
					   (want_ok ? KAFKA_JSON_OK : KAFKA_JSON_INVALID),
				   frames[frame][0], inner->name);
		}
	}
	end_batch("every document keeps its status inside others");
	kafka_json_destroy(json);
}

static void
test_values(void)
{
	KafkaJsonValue value;
	int			i;

	for (i = 0; i < LENGTH_OF(value_cases); i++)
	{
		const ValueCase *test = &value_cases[i];
		KafkaJson  *json = create(test->path);
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
	KafkaJson  *json = create("a");
	KafkaJsonValue value;
	int			i;

	for (i = 0; i < LENGTH_OF(fault_cases); i++)
	{
		const FaultCase *test = &fault_cases[i];
		KafkaJsonResult result;

		result = parse(json, test->document, strlen(test->document), &value);
		is_str(result.reason, test->reason, "reason for %s", test->document);
		is_int((long long) result.position, test->position,
			   "position in %s", test->document);
	}
	kafka_json_destroy(json);
}

/* Many fields at once, in an order that is not the document's. */
static void
test_many_fields(void)
{
	static const char *const paths[] = {"d", "a", "a.b", "a.c.d", "a.b",
										"x", "a.c", "a"};
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
	KafkaJson  *json = kafka_json_create(paths, LENGTH_OF(paths));
	KafkaJsonValue values[LENGTH_OF(paths)];
	int			i;

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
	char	  (*names)[40] = malloc(FIELDS * sizeof(*names));
	const char *paths[FIELDS];
	KafkaJsonValue *values = malloc(FIELDS * sizeof(KafkaJsonValue));
	char	   *document = malloc(FIELDS * 120);
	char	   *end = document;
	KafkaJson  *json;
	int			i;

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
		char		want[40];

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
	KafkaJson  *json = kafka_json_create(NULL, 0);

	is_int(parse(json, "{\"a\":1}", 7, NULL).status, KAFKA_JSON_OK,
		   "no field wanted");
	is_int(parse(json, "{\"a\":}", 6, NULL).status, KAFKA_JSON_INVALID,
		   "no field wanted, document refused");
	kafka_json_destroy(json);
	kafka_json_destroy(NULL);
}

static void
test_prefixes(void)
{
	KafkaJson  *json = create("a");
	KafkaJsonValue value;
	int			i;

	for (i = 0; i < LENGTH_OF(accepted); i++)
	{
		const StatusCase *test = &accepted[i];
		size_t		length;
		size_t		end = test->length;

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
	static const char *const fillers[] = {"{%*s\"a\":\"x\\u0041\\\\\"}",
										  "{\"b%*s\":2,\"a\":\"x\\u0041\\\\\"}",
										  "{\"b\":\"\\n%*s\",\"a\":"
										  "\"x\\u0041\\\\\"}"};
	KafkaJson  *json = create("a");
	KafkaJsonValue value;
	char		document[512];
	int			filler;
	int			width;

	for (filler = 0; filler < LENGTH_OF(fillers); filler++)
	{
		for (width = 0; width < 200; width++)
		{
			size_t		length;

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
test_limits(void)
{
	KafkaJson  *json = create("a");
	KafkaJsonValue value;
	int			i;

	for (i = 0; i < LENGTH_OF(limit_cases); i++)
	{
		const LimitCase *test = &limit_cases[i];
		size_t		head = strlen(test->head);
		size_t		count = (size_t) test->count;
		size_t		tail = strlen(test->tail);
		char	   *document = malloc(head + count + tail);
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
	size_t		length = strlen(text);

	memcpy(end, text, length);
	return end + length;
}

/* Builds repetitions of opener, then of closer, between head and tail. */
static size_t
build_nested(char *document, const char *head, const char *opener,
			 const char *closer, int depth, const char *tail)
{
	char	   *end = append(document, head);
	int			i;

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
	char	   *document = malloc(2000000);
	const char *paths[] = {"a", "a.a.a"};
	KafkaJson  *json = kafka_json_create(paths, 2);
	KafkaJsonValue values[2];
	int			shape;
	int			i;

	for (shape = 0; shape < LENGTH_OF(shapes); shape++)
	{
		for (i = 0; i < LENGTH_OF(depths); i++)
		{
			const char *opener = shapes[shape][0];
			const char *closer = shapes[shape][1];
			int			levels = depths[i] * (shape == 2 ? 2 : 1);
			size_t		length;
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
	char	   *path = malloc(2 * DEPTH);
	char	   *document = malloc(12 * DEPTH);
	KafkaJson  *json;
	KafkaJsonValue value;
	KafkaJsonResult result;
	int			i;

	for (i = 0; i < DEPTH; i++)
		memcpy(path + 2 * i, "a.", 2);
	path[2 * DEPTH - 1] = '\0';
	json = create(path);
	result = parse(json, document,
				   build_nested(document, "", "{\"a\":", "}", DEPTH, ""),
				   &value);
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
	char	   *document = malloc(length);

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
	char	   *huge = build_huge(length);
	KafkaJson  *json = create("a");
	KafkaJsonValue value;
	size_t		before;
	size_t		during;
	int			i;

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
		ok(true, "memory # SKIP the sanitizer's malloc does not tell");
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
	static const char document[] = "{\"a\":\"\\u00e4\",\"b\":[1,{\"c\":null}]}";
	KafkaJson  *json = create("a");
	KafkaJsonValue value;
	size_t		before;
	int			i;

	parse(json, document, sizeof(document) - 1, &value);
	before = allocated_bytes();
	for (i = 0; i < 1000; i++)
	{
		KafkaJsonResult result;

		result = kafka_json_parse(json, document, sizeof(document) - 1, &value);
		expect(result.status == KAFKA_JSON_OK, "parse again", document);
		result = kafka_json_parse(json, document, sizeof(document) - 2, &value);
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
	char	   *huge = build_huge(length);
	KafkaJson  *json = create("a");
	KafkaJsonValue value;
	struct rlimit unlimited;
	struct rlimit limited;
	KafkaJsonStatus status;

	if (HAVE_SANITIZER)
	{
		ok(true, "memory # SKIP the sanitizer needs its address space");
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
test_version(void)
{
	int			major = 0;
	int			minor = -1;
	int			patch = -1;

	ok(sscanf(kafka_json_library_version(), "%d.%d.%d", &major, &minor,
			  &patch) == 3 &&
		   major >= 3 && minor >= 0 && patch >= 0,
	   "version %s", kafka_json_library_version());
}

static void
test_everything(void)
{
	test_version();
	test_statuses();
	test_embedded();
	test_values();
	test_faults();
	test_many_fields();
	test_wide_record();
	test_no_fields();
	test_prefixes();
	test_offsets();
	test_limits();
	test_depth();
	test_deep_path();
	test_reuse();
	test_huge_document();
	test_no_memory();
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
test_implementation(const char *implementation)
{
	pid_t		child;
	int			status = -1;

	if (!can_run(implementation))
	{
		ok(true, "%s # SKIP not for this processor", implementation);
		return;
	}
	fflush(NULL);
	child = fork();
	if (child == 0)
	{
		if (freopen("/dev/null", "w", stdout) == NULL)
			_exit(3);
		setenv("SIMDJSON_FORCE_IMPLEMENTATION", implementation, 1);
		test_everything();
		_exit(done_testing());
	}
	waitpid(child, &status, 0);
	ok(WIFEXITED(status) && WEXITSTATUS(status) == 0,
	   "all checks with simdjson's implementation %s", implementation);
}

int
main(void)
{
	/* Before simdjson is first used, which is when it chooses. */
	test_implementation("fallback");
	test_implementation("westmere");
	test_implementation("haswell");
	test_everything();
	return done_testing();
}
