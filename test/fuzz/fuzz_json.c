/*-------------------------------------------------------------------------
 *
 * fuzz_json.c
 *		Parses input bytes as a JSON document.
 *
 * Checked beside memory safety: the result depends neither on what follows
 * the document in memory nor on what the same parser saw before; each value
 * is a piece of the document, and parsed alone gives itself again; an
 * accepted document stays accepted among blanks and inside other documents,
 * and is refused with a bracket less or more.
 *
 * IDENTIFICATION
 *		test/fuzz/fuzz_json.c
 *
 *-------------------------------------------------------------------------
 */
#define _GNU_SOURCE /* memmem */
#include <string.h>

#include "../../src/core/json.h"
#include "replay.h"

static const char *const paths[] = {"a",   "b",    "user.id", "a.b.c",
									"a.b", "user", "",        "a"};

#define NPATHS ((int) (sizeof(paths) / sizeof(paths[0])))

/* Lives as long as the process, hence has seen all earlier inputs. */
static KafkaJson *experienced;

static KafkaJson *
create(void)
{
	KafkaJson *json = kafka_json_create(paths, NPATHS);

	REQUIRE(json != NULL);
	return json;
}

/* Parses head, document and tail as one document. */
static KafkaJsonResult
parse_framed(KafkaJson *json, const char *head, const char *document,
			 size_t length, const char *tail, KafkaJsonValue *values)
{
	size_t head_length = strlen(head);
	size_t tail_length = strlen(tail);
	char *framed = malloc(head_length + length + tail_length + 1);
	KafkaJsonResult result;

	memcpy(framed, head, head_length);
	memcpy(framed + head_length, document, length);
	memcpy(framed + head_length + length, tail, tail_length);
	result = kafka_json_parse(json, framed, head_length + length + tail_length,
							  values);
	free(framed);
	return result;
}

/* The same, for the status alone. */
static KafkaJsonStatus
framed_status(const char *head, const char *document, size_t length,
			  const char *tail)
{
	KafkaJsonValue values[NPATHS];

	return parse_framed(experienced, head, document, length, tail, values)
		.status;
}

static bool
same_bytes(const char *a, size_t a_length, const char *b, size_t b_length)
{
	return (a == NULL) == (b == NULL) && a_length == b_length &&
		   (a_length == 0 || memcmp(a, b, a_length) == 0);
}

static void
require_same_value(const KafkaJsonValue *a, const KafkaJsonValue *b)
{
	REQUIRE(a->kind == b->kind);
	REQUIRE(same_bytes(a->text, a->length, b->text, b->length));
	REQUIRE(same_bytes(a->raw, a->raw_length, b->raw, b->raw_length));
}

static void
require_same(KafkaJsonResult a, const KafkaJsonValue *a_values,
			 KafkaJsonResult b, const KafkaJsonValue *b_values)
{
	int i;

	REQUIRE(a.status == b.status);
	REQUIRE(a.reason == b.reason);
	REQUIRE(a.position == b.position);
	REQUIRE(a.ask_server == b.ask_server);
	if (a.status != KAFKA_JSON_OK)
		return;
	for (i = 0; i < NPATHS; i++)
		require_same_value(&a_values[i], &b_values[i]);
}

/* What must hold for a value without knowing where it stands. */
static void
require_consistent(const KafkaJsonValue *value, const char *document,
				   size_t length)
{
	static const char first_bytes[][12] = {"",   "n", "f", "t", "-0123456789",
										   "\"", "{", "["};

	if (value->kind == KAFKA_JSON_MISSING || value->kind == KAFKA_JSON_NULL)
		REQUIRE(value->text == NULL && value->length == 0);
	if (value->kind == KAFKA_JSON_MISSING)
	{
		REQUIRE(value->raw == NULL && value->raw_length == 0);
		return;
	}
	REQUIRE(value->raw_length > 0);
	REQUIRE(strchr(first_bytes[value->kind], value->raw[0]) != NULL);
	REQUIRE(memmem(document, length, value->raw, value->raw_length) != NULL);
	if (value->kind == KAFKA_JSON_STRING)
	{
		REQUIRE(value->length + 2 <= value->raw_length);
		REQUIRE(memchr(value->text, '\0', value->length) == NULL);
		if (memchr(value->raw, '\\', value->raw_length) == NULL)
			REQUIRE(same_bytes(value->text, value->length, value->raw + 1,
							   value->raw_length - 2));
		else
			REQUIRE(value->length + 2 < value->raw_length);
	}
	else if (value->kind != KAFKA_JSON_NULL)
		REQUIRE(same_bytes(value->text, value->length, value->raw,
						   value->raw_length));
}

/* Each value, as the only field of a document, must give itself. */
static void
require_alone(const KafkaJsonValue *values)
{
	KafkaJsonValue again[NPATHS];
	KafkaJson *json = create();
	int i;

	for (i = 0; i < NPATHS; i++)
	{
		KafkaJsonResult result;

		if (values[i].kind == KAFKA_JSON_MISSING)
			continue;
		result = parse_framed(json, "{\"a\": ", values[i].raw,
							  values[i].raw_length, "}", again);
		REQUIRE(result.status == KAFKA_JSON_OK);
		require_same_value(&again[0], &values[i]);
	}
	kafka_json_destroy(json);
}

/* An accepted document, seen as part of others. */
static void
require_accepted(KafkaJsonStatus status, const char *document, size_t length)
{
	size_t end = length;

	REQUIRE(framed_status(" \n", document, length, "\t\r") == status);
	REQUIRE(framed_status("[", document, length, "]") ==
			KAFKA_JSON_NOT_OBJECT);
	REQUIRE(framed_status("{\"a\":", document, length, "}") == KAFKA_JSON_OK);
	REQUIRE(framed_status("{\"a\":{\"b\":[{\"c\":", document, length,
						  "}]},\"b\":\"\\n\"}") == KAFKA_JSON_OK);
	REQUIRE(framed_status("", document, length, "}") == KAFKA_JSON_INVALID);
	REQUIRE(framed_status("", document, length, " 1") == KAFKA_JSON_INVALID);
	REQUIRE(framed_status("[", document, length, "}") == KAFKA_JSON_INVALID);
	REQUIRE(framed_status("", document, length, ",") == KAFKA_JSON_INVALID);
	while (strchr(" \t\r\n", document[end - 1]) != NULL)
		end--;
	if (document[end - 1] == '}' || document[end - 1] == ']')
		REQUIRE(framed_status("", document, end - 1, "") ==
				KAFKA_JSON_INVALID);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char *const tails[] = {"\"", "}", "\x80\x80\x80", "1 "};
	const char *document = (const char *) data;
	KafkaJsonValue values[NPATHS];
	KafkaJsonValue others[NPATHS];
	KafkaJsonResult result;
	KafkaJsonResult other;
	KafkaJson *fresh = create();
	char *copy = malloc(size + 4);
	int i;

	if (experienced == NULL)
		experienced = create();
	result = kafka_json_parse(fresh, document, size, values);
	REQUIRE(result.status != KAFKA_JSON_NO_MEMORY);
	REQUIRE((result.reason == NULL) == (result.status == KAFKA_JSON_OK));
	REQUIRE(result.position <= size);
	REQUIRE(!result.ask_server || result.status == KAFKA_JSON_OK);

	memcpy(copy, document, size);
	for (i = 0; i < 4; i++)
	{
		memcpy(copy + size, tails[i], strlen(tails[i]));
		other = kafka_json_parse(experienced, copy, size, others);
		require_same(result, values, other, others);
	}
	free(copy);

	if (result.status == KAFKA_JSON_OK)
	{
		for (i = 0; i < NPATHS; i++)
			require_consistent(&values[i], document, size);
		require_same_value(&values[0], &values[NPATHS - 1]);
		require_alone(values);
	}
	if (result.status != KAFKA_JSON_INVALID)
		require_accepted(result.status, document, size);
	kafka_json_destroy(fresh);
	return 0;
}
