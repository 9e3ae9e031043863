/*-------------------------------------------------------------------------
 *
 * record.c
 *		The parts of a Kafka record that columns with a role show.
 *
 * IDENTIFICATION
 *		src/fdw/record.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/timestamp.h"

#include "core/moment.h"
#include "fdw/convert.h"
#include "fdw/record.h"

/* One header, with its name and value as text. */
typedef struct Header
{
	JsonbValue name;
	JsonbValue value;
	int position; /* in the record */
} Header;

bool
kafka_record_is_field(KafkaRole role)
{
	switch (role)
	{
		case KAFKA_ROLE_TOPIC:
		case KAFKA_ROLE_TIMESTAMP_TYPE:
		case KAFKA_ROLE_KEY:
		case KAFKA_ROLE_VALUE:
			return true;
		default:
			return false;
	}
}

/* The name of the record's kind of time; NULL when it has no time. */
static const char *
get_timestamp_type(const KafkaMessage *message)
{
	bool log_append_time = false;

	if (kafka_message_timestamp(message, &log_append_time) == -1)
		return NULL;
	return log_append_time ? "LogAppendTime" : "CreateTime";
}

KafkaJsonValue
kafka_record_field(KafkaRole role, const KafkaMessage *message)
{
	KafkaJsonValue field = {KAFKA_JSON_NULL, NULL, 0, NULL, 0};

	switch (role)
	{
		case KAFKA_ROLE_TOPIC:
			field.text = message->topic;
			field.length = strlen(message->topic);
			break;
		case KAFKA_ROLE_TIMESTAMP_TYPE:
			field.text = get_timestamp_type(message);
			field.length = field.text != NULL ? strlen(field.text) : 0;
			break;
		case KAFKA_ROLE_KEY:
			field.text = message->key;
			field.length = message->key_length;
			break;
		case KAFKA_ROLE_VALUE:
			field.text = message->payload;
			field.length = message->payload_length;
			break;
		default:
			break;
	}
	if (field.text != NULL)
		field.kind = KAFKA_JSON_STRING;
	return field;
}

char *
kafka_record_hex(const char *bytes, size_t length, size_t *hex_length)
{
	char *hex = palloc(2 + length * 2 + 1);

	hex[0] = '\\';
	hex[1] = 'x';
	*hex_length = 2 + hex_encode(bytes, length, hex + 2);
	hex[*hex_length] = '\0';
	return hex;
}

/*
 * A header's name or value as jsonb text, bytes that are not text in the
 * server's encoding as hex.  jsonb has no zero byte, and neither has text.
 */
static JsonbValue
make_header_text(const char *bytes, size_t length)
{
	JsonbValue value;

	value.type = jbvString;
	if (pg_verify_mbstr(GetDatabaseEncoding(), bytes, (int) length, true))
	{
		value.val.string.val = unconstify(char *, bytes);
		value.val.string.len = (int) length;
	}
	else
	{
		size_t hex_length;

		value.val.string.val = kafka_record_hex(bytes, length, &hex_length);
		value.val.string.len = (int) hex_length;
	}
	return value;
}

/* Orders headers by name, those of one name by position. */
static int
compare_headers(const void *left, const void *right)
{
	const Header *a = left;
	const Header *b = right;
	int result;

	result = memcmp(a->name.val.string.val, b->name.val.string.val,
					Min(a->name.val.string.len, b->name.val.string.len));
	if (result != 0)
		return result;
	if (a->name.val.string.len != b->name.val.string.len)
		return a->name.val.string.len < b->name.val.string.len ? -1 : 1;
	return a->position - b->position;
}

static bool
has_same_name(const Header *a, const Header *b)
{
	return a->name.val.string.len == b->name.val.string.len &&
		   memcmp(a->name.val.string.val, b->name.val.string.val,
				  a->name.val.string.len) == 0;
}

static Header *
read_headers(const KafkaMessage *message, int *nheaders)
{
	int capacity = 8;
	int count = 0;
	Header *headers = palloc(sizeof(*headers) * capacity);
	const char *name;
	const char *value;
	size_t length;

	while (kafka_message_header(message, count, &name, &value, &length))
	{
		if (count == capacity)
		{
			capacity *= 2;
			headers = repalloc(headers, sizeof(*headers) * capacity);
		}
		headers[count].name = make_header_text(name, strlen(name));
		if (value != NULL)
			headers[count].value = make_header_text(value, length);
		else
			headers[count].value.type = jbvNull;
		headers[count].position = count;
		count++;
	}
	*nheaders = count;
	return headers;
}

/*
 * The record's headers as an object; one without headers gives '{}', so that
 * headers ->> 'x' and headers ? 'x' work alike on all records.  A name that is
 * repeated, which Kafka allows, has an array of its values in their order.
 */
static Datum
make_headers(Oid type, const KafkaMessage *message)
{
	JsonbParseState *state = NULL;
	JsonbValue *root;
	Jsonb *jsonb;
	Header *headers;
	int nheaders;
	int start;
	int end;
	int i;

	headers = read_headers(message, &nheaders);
	qsort(headers, nheaders, sizeof(*headers), compare_headers);

	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	for (start = 0; start < nheaders; start = end)
	{
		for (end = start + 1; end < nheaders; end++)
		{
			if (!has_same_name(&headers[start], &headers[end]))
				break;
		}
		pushJsonbValue(&state, WJB_KEY, &headers[start].name);
		if (end == start + 1)
		{
			pushJsonbValue(&state, WJB_VALUE, &headers[start].value);
			continue;
		}
		pushJsonbValue(&state, WJB_BEGIN_ARRAY, NULL);
		for (i = start; i < end; i++)
			pushJsonbValue(&state, WJB_ELEM, &headers[i].value);
		pushJsonbValue(&state, WJB_END_ARRAY, NULL);
	}
	root = pushJsonbValue(&state, WJB_END_OBJECT, NULL);
	jsonb = JsonbValueToJsonb(root);

	if (type == JSONOID)
		return CStringGetTextDatum(
			JsonbToCString(NULL, &jsonb->root, VARSIZE(jsonb)));
	return JsonbPGetDatum(jsonb);
}

static bool
get_partition(Oid type, int32 partition, bool checked, Datum *value)
{
	switch (type)
	{
		case INT8OID:
			*value = Int64GetDatum((int64) partition);
			return true;
		case INT2OID:
			if (partition > PG_INT16_MAX)
			{
				if (checked)
					ereport(ERROR,
							(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
							 errmsg("smallint out of range: %d", partition)));
				return false;
			}
			*value = Int16GetDatum((int16) partition);
			return true;
		default:
			*value = Int32GetDatum(partition);
			return true;
	}
}

static bool
get_timestamp(Oid type, int32 typmod, const KafkaMessage *message,
			  bool checked, Datum *value, bool *isnull)
{
	bool log_append_time;
	int64 time_ms = kafka_message_timestamp(message, &log_append_time);
	int64 moment;

	if (time_ms == -1)
	{
		*isnull = true;
		return true;
	}
	if (!kafka_moment_from_kafka(time_ms, &moment))
	{
		if (checked)
			ereport(ERROR, (errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE),
							errmsg("record timestamp out of range"),
							errdetail("It is %lld milliseconds since 1970.",
									  (long long) time_ms)));
		return false;
	}
	return kafka_convert_moment(type, typmod, moment, checked, value);
}

bool
kafka_record_value(KafkaRole role, Oid type, int32 typmod,
				   const KafkaMessage *message, bool checked, Datum *value,
				   bool *isnull)
{
	*isnull = false;
	switch (role)
	{
		case KAFKA_ROLE_PARTITION:
			return get_partition(type, message->partition, checked, value);
		case KAFKA_ROLE_OFFSET:
			*value = Int64GetDatum(message->offset);
			return true;
		case KAFKA_ROLE_TIMESTAMP:
			return get_timestamp(type, typmod, message, checked, value,
								 isnull);
		case KAFKA_ROLE_HEADERS:
			*value = make_headers(type, message);
			return true;
		default:
			*isnull = true;
			return true;
	}
}
