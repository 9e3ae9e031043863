/*-------------------------------------------------------------------------
 *
 * convert_fast.c
 *		One field's text into a value of a column's type, where that is easy.
 *
 * Each function here takes the texts that it can convert without fail, to the
 * very value that the type's input function gives, and returns false for any
 * other.  So none of them has an error message, and none needs protection
 * against errors.
 *
 * IDENTIFICATION
 *		src/fdw/convert_fast.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <errno.h>

#include "access/htup_details.h"
#include "catalog/pg_enum.h"
#include "catalog/pg_type.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/json.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/numeric.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

#include "core/moment.h"
#include "core/number.h"
#include "fdw/convert.h"

/* A jsonb of less text than this is within all its limits. */
#define SAFE_JSONB_BYTES (1024 * 1024)

/* Longer than any number worth a fast path, or any time. */
#define SHORT_TEXT_BYTES 64

static bool
is_ascii(const char *text, size_t length)
{
	size_t i;

	for (i = 0; i < length; i++)
	{
		if (IS_HIGHBIT_SET(text[i]))
			return false;
	}
	return true;
}

/* Is the field's text, as it comes, sound text in the server's encoding? */
static inline bool
is_sound(const KafkaConversion *conversion, const KafkaJsonValue *field)
{
	if (conversion->is_trusted)
		return true;
	if (conversion->source == KAFKA_SOURCE_JSON)
		return is_ascii(field->text, field->length);
	return field->length < MaxAllocSize / 2 &&
		   pg_verify_mbstr(GetDatabaseEncoding(), field->text,
						   (int) field->length, true);
}

static bool
convert_never(const KafkaConversion *conversion, const KafkaJsonValue *field,
			  Datum *value)
{
	return false;
}

static bool
convert_text(const KafkaConversion *conversion, const KafkaJsonValue *field,
			 Datum *value)
{
	if (field->length >= MaxAllocSize / 2 || !is_sound(conversion, field))
		return false;
	*value = PointerGetDatum(
		cstring_to_text_with_len(field->text, (int) field->length));
	return true;
}

/* varchar(n): what has at most n bytes has at most n characters. */
static bool
convert_varchar(const KafkaConversion *conversion, const KafkaJsonValue *field,
				Datum *value)
{
	int32 typmod = conversion->typmod;

	if (typmod >= (int32) VARHDRSZ &&
		field->length > (size_t) (typmod - VARHDRSZ) &&
		(field->length >= MaxAllocSize / 2 || !is_sound(conversion, field) ||
		 pg_mbstrlen_with_len(field->text, (int) field->length) >
			 typmod - (int32) VARHDRSZ))
		return false;
	return convert_text(conversion, field, value);
}

static bool
convert_bytes(const KafkaConversion *conversion, const KafkaJsonValue *field,
			  Datum *value)
{
	bytea *bytes;

	if (field->length >= MaxAllocSize / 2)
		return false;
	bytes = palloc(VARHDRSZ + field->length);
	SET_VARSIZE(bytes, VARHDRSZ + field->length);
	memcpy(VARDATA(bytes), field->text, field->length);
	*value = PointerGetDatum(bytes);
	return true;
}

static bool
convert_bool(const KafkaConversion *conversion, const KafkaJsonValue *field,
			 Datum *value)
{
	bool result = field->kind == KAFKA_JSON_TRUE;

	/* It looks at the first byte even of an empty text. */
	if (field->kind > KAFKA_JSON_TRUE &&
		(field->length == 0 ||
		 !parse_bool_with_len(field->text, field->length, &result)))
		return false;
	*value = BoolGetDatum(result);
	return true;
}

static bool
convert_int2(const KafkaConversion *conversion, const KafkaJsonValue *field,
			 Datum *value)
{
	int64 number;

	if (!kafka_number_to_int64(field->text, field->length, &number) ||
		number < PG_INT16_MIN || number > PG_INT16_MAX)
		return false;
	*value = Int16GetDatum((int16) number);
	return true;
}

static bool
convert_int4(const KafkaConversion *conversion, const KafkaJsonValue *field,
			 Datum *value)
{
	int64 number;

	if (!kafka_number_to_int64(field->text, field->length, &number) ||
		number < PG_INT32_MIN || number > PG_INT32_MAX)
		return false;
	*value = Int32GetDatum((int32) number);
	return true;
}

static bool
convert_int8(const KafkaConversion *conversion, const KafkaJsonValue *field,
			 Datum *value)
{
	int64 number;

	if (!kafka_number_to_int64(field->text, field->length, &number))
		return false;
	*value = Int64GetDatum(number);
	return true;
}

/*
 * Copies a JSON number to where strtod may read it.  Of other fields the
 * grammar is not known, and strtod takes more than the input function does.
 */
static bool
copy_number(const KafkaJsonValue *field, char *buffer)
{
	if (field->kind != KAFKA_JSON_NUMBER || field->length >= SHORT_TEXT_BYTES)
		return false;
	memcpy(buffer, field->text, field->length);
	buffer[field->length] = '\0';
	return true;
}

/*
 * Behind the exact path strtod, as in float8in; an errno of any kind may be
 * an error there.
 */
static bool
convert_float8(const KafkaConversion *conversion, const KafkaJsonValue *field,
			   Datum *value)
{
	char buffer[SHORT_TEXT_BYTES];
	double number;

	if (!kafka_number_to_double(field->text, field->length, &number))
	{
		if (!copy_number(field, buffer))
			return false;
		errno = 0;
		number = strtod(buffer, NULL);
		if (errno != 0)
			return false;
	}
	*value = Float8GetDatum(number);
	return true;
}

static bool
convert_float4(const KafkaConversion *conversion, const KafkaJsonValue *field,
			   Datum *value)
{
	char buffer[SHORT_TEXT_BYTES];
	float number;

	if (!kafka_number_to_float(field->text, field->length, &number))
	{
		if (!copy_number(field, buffer))
			return false;
		errno = 0;
		number = strtof(buffer, NULL);
		if (errno != 0)
			return false;
	}
	*value = Float4GetDatum(number);
	return true;
}

static bool
convert_numeric(const KafkaConversion *conversion, const KafkaJsonValue *field,
				Datum *value)
{
	int32 typmod = conversion->typmod;
	KafkaDecimal decimal;
	Numeric number;

	if (!kafka_number_to_decimal(field->text, field->length, &decimal))
		return false;
	if (typmod >= (int32) VARHDRSZ)
	{
		/* As numeric.c packs them, the scale with its sign. */
		int packed = typmod - VARHDRSZ;
		int precision = (packed >> 16) & 0xffff;
		int scale = ((packed & 0x7ff) ^ 1024) - 1024;

		/* One digit less than there may be leaves room for rounding. */
		if (decimal.whole_digits >= precision - scale)
			return false;
	}

	if (decimal.scale == 0)
		number = int64_to_numeric(decimal.unscaled);
	else
		number = int64_div_fast_to_numeric(decimal.unscaled, decimal.scale);
	*value = NumericGetDatum(number);
	if (typmod >= (int32) VARHDRSZ)
		*value = DirectFunctionCall2(numeric, *value, Int32GetDatum(typmod));
	return true;
}

/* timestamptz, or any of the three time types with option time_format. */
static bool
convert_moment(const KafkaConversion *conversion, const KafkaJsonValue *field,
			   Datum *value)
{
	int64 moment;

	if (!kafka_moment_from_iso8601(field->text, field->length, &moment))
		return false;
	return kafka_convert_moment(conversion->base_type, conversion->typmod,
								moment, false, value);
}

static bool
convert_unix(const KafkaConversion *conversion, const KafkaJsonValue *field,
			 Datum *value)
{
	KafkaMomentUnit unit =
		(KafkaMomentUnit) (conversion->time_format - KAFKA_TIME_FORMAT_UNIX_S);
	int64 moment;

	if (kafka_moment_from_unix(field->text, field->length, unit, &moment) !=
		KAFKA_MOMENT_OK)
		return false;
	return kafka_convert_moment(conversion->base_type, conversion->typmod,
								moment, false, value);
}

/*
 * Reads a date, or a date and time without zone, as if it were UTC: so the
 * moment's distance from 2000-01-01 is that of the local time, which is what
 * timestamp and date hold.
 */
static bool
read_local(const KafkaJsonValue *field, const char *suffix, int64 *local)
{
	char buffer[SHORT_TEXT_BYTES];
	size_t suffix_length = strlen(suffix);

	if (field->length + suffix_length > sizeof(buffer))
		return false;
	memcpy(buffer, field->text, field->length);
	memcpy(buffer + field->length, suffix, suffix_length);
	return kafka_moment_from_iso8601(buffer, field->length + suffix_length,
									 local);
}

static bool
convert_timestamp(const KafkaConversion *conversion,
				  const KafkaJsonValue *field, Datum *value)
{
	int64 local;

	if (!read_local(field, "Z", &local))
		return false;
	*value = TimestampGetDatum(local);
	if (conversion->typmod >= 0)
		*value = DirectFunctionCall2(timestamp_scale, *value,
									 Int32GetDatum(conversion->typmod));
	return true;
}

static bool
convert_date(const KafkaConversion *conversion, const KafkaJsonValue *field,
			 Datum *value)
{
	int64 local;

	/* The shape makes it a midnight, so that the division is exact. */
	if (!read_local(field, "T00:00:00Z", &local))
		return false;
	*value = DateADTGetDatum((DateADT) (local / USECS_PER_DAY));
	return true;
}

/* uuid in its usual form, 8-4-4-4-12 */
static bool
convert_uuid(const KafkaConversion *conversion, const KafkaJsonValue *field,
			 Datum *value)
{
	/* A digit's value and one, so that zero stands for no digit. */
	static const unsigned char digits[256] =
		{['0'] = 1,  ['1'] = 2,  ['2'] = 3,  ['3'] = 4,  ['4'] = 5,
		 ['5'] = 6,  ['6'] = 7,  ['7'] = 8,  ['8'] = 9,  ['9'] = 10,
		 ['a'] = 11, ['b'] = 12, ['c'] = 13, ['d'] = 14, ['e'] = 15,
		 ['f'] = 16, ['A'] = 11, ['B'] = 12, ['C'] = 13, ['D'] = 14,
		 ['E'] = 15, ['F'] = 16};
	const unsigned char *at = (const unsigned char *) field->text;
	pg_uuid_t uuid;
	pg_uuid_t *result;
	bool is_valid = true;
	int i;

	if (field->length != 36)
		return false;
	for (i = 0; i < UUID_LEN; i++)
	{
		unsigned int high;
		unsigned int low;

		if (i == 4 || i == 6 || i == 8 || i == 10)
			is_valid &= *at++ == '-';
		high = digits[*at++];
		low = digits[*at++];
		is_valid &= high != 0 && low != 0;
		uuid.data[i] = (unsigned char) ((high - 1) << 4 | (low - 1));
	}
	if (!is_valid)
		return false;
	result = palloc(sizeof(*result));
	*result = uuid;
	*value = UUIDPGetDatum(result);
	return true;
}

/*
 * An enum's label.  One added by a transaction that is not known to have
 * committed may not be safe to use, which enum_in decides.
 */
static bool
convert_enum(const KafkaConversion *conversion, const KafkaJsonValue *field,
			 Datum *value)
{
	char label[NAMEDATALEN];
	HeapTuple tuple;
	bool usable;

	if (field->length >= NAMEDATALEN || !is_sound(conversion, field))
		return false;
	memcpy(label, field->text, field->length);
	label[field->length] = '\0';

	tuple = SearchSysCache2(ENUMTYPOIDNAME,
							ObjectIdGetDatum(conversion->base_type),
							CStringGetDatum(label));
	if (!HeapTupleIsValid(tuple))
		return false;
	usable = HeapTupleHeaderXminCommitted(tuple->t_data);
	*value = ObjectIdGetDatum(((Form_pg_enum) GETSTRUCT(tuple))->oid);
	ReleaseSysCache(tuple);
	return usable;
}

/* json out of a JSON document: source text, but strings are made anew. */
static bool
convert_json(const KafkaConversion *conversion, const KafkaJsonValue *field,
			 Datum *value)
{
	StringInfoData literal;
	char *text;

	if (field->length >= MaxAllocSize / 8 || !is_sound(conversion, field))
		return false;
	if (field->kind != KAFKA_JSON_STRING)
		return convert_text(conversion, field, value);

	text = pnstrdup(field->text, field->length);
	initStringInfo(&literal);
	escape_json(&literal, text);
	*value =
		PointerGetDatum(cstring_to_text_with_len(literal.data, literal.len));
	return true;
}

/*
 * jsonb out of a JSON document, which is known to be what jsonb_in takes.  For
 * servers in UTF-8 only: others may have no character for a \u escape.
 */
static bool
convert_jsonb(const KafkaConversion *conversion, const KafkaJsonValue *field,
			  Datum *value)
{
	if (field->raw_length > SAFE_JSONB_BYTES)
		return false;
	*value = DirectFunctionCall1(jsonb_in,
								 CStringGetDatum(
									 pnstrdup(field->raw, field->raw_length)));
	return true;
}

/* The fast function for a time type. */
static KafkaFastFunction
choose_time(const KafkaConversion *conversion)
{
	switch (conversion->time_format)
	{
		case KAFKA_TIME_FORMAT_NONE:
			break;
		case KAFKA_TIME_FORMAT_ISO8601:
			return convert_moment;
		case KAFKA_TIME_FORMAT_UNIX_S:
		case KAFKA_TIME_FORMAT_UNIX_MS:
		case KAFKA_TIME_FORMAT_UNIX_US:
		case KAFKA_TIME_FORMAT_UNIX_NS:
			return convert_unix;
	}

	switch (conversion->base_type)
	{
		case TIMESTAMPOID:
			return convert_timestamp;
		case DATEOID:
			return convert_date;
		default:
			return convert_moment;
	}
}

KafkaFastFunction
kafka_convert_choose_fast(const KafkaConversion *conversion)
{
	bool is_json = conversion->source == KAFKA_SOURCE_JSON;

	if (conversion->is_domain)
		return convert_never;
	switch (conversion->base_type)
	{
		case TEXTOID:
			return convert_text;
		case VARCHAROID:
			return convert_varchar;
		case BYTEAOID:
			return conversion->source == KAFKA_SOURCE_BYTES ? convert_bytes
															: convert_never;
		case BOOLOID:
			return convert_bool;
		case INT2OID:
			return convert_int2;
		case INT4OID:
			return convert_int4;
		case INT8OID:
			return convert_int8;
		case FLOAT4OID:
			return convert_float4;
		case FLOAT8OID:
			return convert_float8;
		case NUMERICOID:
			return convert_numeric;
		case TIMESTAMPTZOID:
		case TIMESTAMPOID:
		case DATEOID:
			return choose_time(conversion);
		case UUIDOID:
			return convert_uuid;
		case JSONOID:
			return is_json ? convert_json : convert_never;
		case JSONBOID:
			return is_json && GetDatabaseEncoding() == PG_UTF8 ? convert_jsonb
															   : convert_never;
		default:
			break;
	}
	if (get_typtype(conversion->base_type) == TYPTYPE_ENUM)
		return convert_enum;
	return convert_never;
}
