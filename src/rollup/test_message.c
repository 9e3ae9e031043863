/*-------------------------------------------------------------------------
 *
 * test_message.c
 *		Reads messages that a test makes up, as JSON.
 *
 * What a message leaves out is what most messages have: it comes now, to
 * partition 0, after the one before it.
 *
 * IDENTIFICATION
 *		src/rollup/test_message.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "port/pg_bswap.h"
#include "rollup/apply.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/numeric.h"
#include "utils/timestamp.h"

static const char *const field_names[] = {"value",     "key",
										  "timestamp", "timestamp_type",
										  "partition", "offset",
										  "topic",     "headers"};

typedef enum MessageField
{
	FIELD_VALUE,
	FIELD_KEY,
	FIELD_TIMESTAMP,
	FIELD_TIMESTAMP_TYPE,
	FIELD_PARTITION,
	FIELD_OFFSET,
	FIELD_TOPIC,
	FIELD_HEADERS
} MessageField;

/* What reading has come to. */
typedef struct MessageReader
{
	const char *topic; /* default */
	KafkaBatchEntry *entries;
	int count;
} MessageReader;

/* ----------------------------------------------------------------
 * Values
 * ----------------------------------------------------------------
 */

static void
report_value(MessageField field, const char *expected)
{
	ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					errmsg("invalid \"%s\" of a message", field_names[field]),
					errdetail("It must be %s.", expected)));
}

/* Text in the encoding of messages; length is set too. */
static char *
encode_text(const char *text, int length, size_t *encoded_length)
{
	char *encoded = pg_server_to_any(text, length, PG_UTF8);

	*encoded_length = encoded == text ? (size_t) length : strlen(encoded);
	return encoded;
}

static char *
take_string(const JsonbValue *value, size_t *length)
{
	return encode_text(value->val.string.val, value->val.string.len, length);
}

/* What the message has as its payload: NULL for a tombstone. */
static char *
take_payload(const JsonbValue *value, size_t *length)
{
	char *text;

	switch (value->type)
	{
		case jbvNull:
			*length = 0;
			return NULL;
		case jbvString:
			return take_string(value, length);
		case jbvNumeric:
			text = DatumGetCString(
				DirectFunctionCall1(numeric_out,
									NumericGetDatum(value->val.numeric)));
			break;
		case jbvBool:
			text = pstrdup(value->val.boolean ? "true" : "false");
			break;
		default:
			text = JsonbToCString(NULL, value->val.binary.data,
								  value->val.binary.len);
			break;
	}
	return encode_text(text, (int) strlen(text), length);
}

static int64
take_whole_number(MessageField field, const JsonbValue *value, int64 max)
{
	Datum number;

	if (value->type != jbvNumeric)
		report_value(field, "a number");
	number = NumericGetDatum(value->val.numeric);
	if (DatumGetBool(
			DirectFunctionCall2(numeric_lt, number,
								DirectFunctionCall1(int8_numeric,
													Int64GetDatum(0)))) ||
		DatumGetBool(
			DirectFunctionCall2(numeric_gt, number,
								DirectFunctionCall1(int8_numeric,
													Int64GetDatum(max)))) ||
		!DatumGetBool(
			DirectFunctionCall2(numeric_eq, number,
								DirectFunctionCall1(numeric_floor, number))))
		report_value(field, psprintf("a whole number from 0 to %lld",
									 (long long) max));
	return DatumGetInt64(DirectFunctionCall1(numeric_int8, number));
}

/* Milliseconds since 1970, which Kafka has; finer parts are cut off. */
static int64
take_timestamp(const JsonbValue *value)
{
	char *text;
	TimestampTz time;
	int64 unix_us;

	if (value->type == jbvNull)
		return -1;
	if (value->type == jbvNumeric)
		return take_whole_number(FIELD_TIMESTAMP, value, PG_INT64_MAX);
	if (value->type != jbvString)
		report_value(FIELD_TIMESTAMP,
					 "a number of milliseconds since 1970, or a time as text");
	text = pnstrdup(value->val.string.val, value->val.string.len);
	time = DatumGetTimestampTz(
		DirectFunctionCall3(timestamptz_in, CStringGetDatum(text),
							ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1)));
	unix_us = time + (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * USECS_PER_DAY;
	if (TIMESTAMP_NOT_FINITE(time) || unix_us < 0)
		report_value(FIELD_TIMESTAMP, "a time since 1970");
	return unix_us / 1000;
}

static bool
take_timestamp_type(const JsonbValue *value)
{
	char *text;

	if (value->type == jbvString)
	{
		text = pnstrdup(value->val.string.val, value->val.string.len);
		if (strcmp(text, "LogAppendTime") == 0)
			return true;
		if (strcmp(text, "CreateTime") == 0)
			return false;
	}
	report_value(FIELD_TIMESTAMP_TYPE, "CreateTime or LogAppendTime");
	return false;
}

/* ----------------------------------------------------------------
 * Headers
 * ----------------------------------------------------------------
 */

static void
append_length(StringInfo packed, int32 length)
{
	uint32 wire = pg_hton32((uint32) length);

	appendBinaryStringInfo(packed, (char *) &wire, sizeof(wire));
}

static void
append_header(StringInfo packed, const JsonbValue *name,
			  const JsonbValue *value)
{
	size_t length;
	char *text = take_string(name, &length);

	append_length(packed, (int32) length);
	appendBinaryStringInfo(packed, text, (int) length);
	if (value->type == jbvNull)
	{
		append_length(packed, -1);
		return;
	}
	if (value->type != jbvString)
		report_value(FIELD_HEADERS,
					 "an object of texts, nulls, and arrays of them");
	text = take_string(value, &length);
	append_length(packed, (int32) length);
	appendBinaryStringInfo(packed, text, (int) length);
}

/* One header, or as many of the same name as an array has values. */
static void
append_headers(StringInfo packed, const JsonbValue *name,
			   const JsonbValue *value)
{
	JsonbContainer *values;

	if (value->type != jbvBinary ||
		!JsonContainerIsArray(value->val.binary.data))
	{
		append_header(packed, name, value);
		return;
	}
	values = value->val.binary.data;
	for (uint32 i = 0; i < JsonContainerSize(values); i++)
		append_header(packed, name, getIthJsonbValueFromContainer(values, i));
}

static void
take_headers(KafkaBatchEntry *entry, const JsonbValue *value)
{
	StringInfoData packed;
	JsonbIterator *iterator;
	JsonbIteratorToken token;
	JsonbValue name;
	JsonbValue item;

	if (value->type == jbvNull)
		return;
	if (value->type != jbvBinary ||
		!JsonContainerIsObject(value->val.binary.data))
		report_value(FIELD_HEADERS,
					 "an object of texts, nulls, and arrays of them");
	initStringInfo(&packed);
	iterator = JsonbIteratorInit(value->val.binary.data);
	(void) JsonbIteratorNext(&iterator, &name, true);
	while ((token = JsonbIteratorNext(&iterator, &name, true)) == WJB_KEY)
	{
		(void) JsonbIteratorNext(&iterator, &item, true);
		append_headers(&packed, &name, &item);
	}
	if (packed.len == 0)
		return;
	entry->headers = packed.data;
	entry->headers_length = (size_t) packed.len;
}

/* ----------------------------------------------------------------
 * Messages
 * ----------------------------------------------------------------
 */

static MessageField
find_field(const char *name)
{
	const char *nearest;

	for (int i = 0; i < lengthof(field_names); i++)
	{
		if (strcmp(field_names[i], name) == 0)
			return (MessageField) i;
	}
	nearest = kafka_option_nearest(name, field_names, lengthof(field_names));
	ereport(
		ERROR,
		(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
		 errmsg("a message has no \"%s\"", name),
		 nearest != NULL
			 ? errhint("Perhaps you meant \"%s\".", nearest)
			 : errhint(
				   "A message has: value, key, timestamp, timestamp_type, partition, offset, topic, headers.")));
	return FIELD_VALUE; /* not reached */
}

static void
take_field(KafkaBatchEntry *entry, MessageField field, const JsonbValue *value)
{
	size_t length;

	switch (field)
	{
		case FIELD_VALUE:
			entry->payload = take_payload(value, &entry->payload_length);
			break;
		case FIELD_KEY:
			if (value->type == jbvNull)
				break;
			if (value->type != jbvString)
				report_value(field, "text or null");
			entry->key = take_string(value, &entry->key_length);
			break;
		case FIELD_TIMESTAMP:
			entry->timestamp_ms = take_timestamp(value);
			break;
		case FIELD_TIMESTAMP_TYPE:
			entry->log_append_time = take_timestamp_type(value);
			break;
		case FIELD_PARTITION:
			entry->partition =
				(int32) take_whole_number(field, value, PG_INT32_MAX);
			break;
		case FIELD_OFFSET:
			entry->offset = take_whole_number(field, value, PG_INT64_MAX - 1);
			break;
		case FIELD_TOPIC:
			if (value->type != jbvString)
				report_value(field, "text");
			entry->topic = take_string(value, &length);
			entry->topic = pnstrdup(entry->topic, length);
			break;
		case FIELD_HEADERS:
			take_headers(entry, value);
			break;
	}
}

/* The offset after the last message of the same partition. */
static int64
next_offset(const MessageReader *reader, const KafkaBatchEntry *entry)
{
	for (int i = reader->count - 1; i >= 0; i--)
	{
		const KafkaBatchEntry *before = &reader->entries[i];

		if (before->partition == entry->partition &&
			strcmp(before->topic, entry->topic) == 0)
			return before->offset + 1;
	}
	return 0;
}

static void
read_message(MessageReader *reader, JsonbContainer *object)
{
	KafkaBatchEntry *entry = &reader->entries[reader->count];
	JsonbIterator *iterator = JsonbIteratorInit(object);
	JsonbValue name;
	JsonbValue value;

	memset(entry, 0, sizeof(KafkaBatchEntry));
	entry->topic = reader->topic;
	entry->offset = -1;
	entry->timestamp_ms =
		(GetCurrentTransactionStartTimestamp() +
		 (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * USECS_PER_DAY) /
		1000;
	(void) JsonbIteratorNext(&iterator, &name, true);
	while (JsonbIteratorNext(&iterator, &name, true) == WJB_KEY)
	{
		(void) JsonbIteratorNext(&iterator, &value, true);
		take_field(entry,
				   find_field(
					   pnstrdup(name.val.string.val, name.val.string.len)),
				   &value);
	}
	if (entry->topic == NULL)
		ereport(
			ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("a message has no \"topic\""),
			 errdetail(
				 "The foreign table has the topics that match a pattern, so none is the default.")));
	if (entry->offset < 0)
		entry->offset = next_offset(reader, entry);
	reader->count++;
}

static void
tell_message(void *arg)
{
	const MessageReader *reader = (const MessageReader *) arg;

	errcontext("message %d of the test", reader->count + 1);
}

static void
read_element(MessageReader *reader, const JsonbValue *element)
{
	if (element->type != jbvBinary ||
		!JsonContainerIsObject(element->val.binary.data))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("a message must be a JSON object"),
						errhint("For example: '[{\"value\": {\"a\": 1}}]'.")));
	read_message(reader, element->val.binary.data);
}

KafkaBatchEntry *
kafka_test_read_messages(Jsonb *messages, const char *topic, int *count)
{
	JsonbContainer *root = &messages->root;
	MessageReader reader = {.topic = topic};
	ErrorContextCallback callback;

	callback.callback = tell_message;
	callback.arg = &reader;
	callback.previous = error_context_stack;
	error_context_stack = &callback;
	if (JB_ROOT_IS_OBJECT(messages))
	{
		reader.entries = palloc(sizeof(KafkaBatchEntry));
		read_message(&reader, root);
	}
	else
	{
		uint32 size = JsonContainerSize(root);

		reader.entries = palloc(sizeof(KafkaBatchEntry) * Max(size, 1));
		for (uint32 i = 0; i < size; i++)
			read_element(&reader, getIthJsonbValueFromContainer(root, i));
	}
	error_context_stack = callback.previous;
	*count = reader.count;
	return reader.entries;
}
