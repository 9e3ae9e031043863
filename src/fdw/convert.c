/*-------------------------------------------------------------------------
 *
 * convert.c
 *		One field's text into a value of a column's type, with all checks.
 *
 * json_to_record is the model of how JSON becomes SQL values, down to the
 * errors.  Scalars go to their type's input function as there; what has rules
 * of its own (arrays, composite types) goes to json_to_record itself, as a
 * document of one field, so that the result is the same by construction.
 * Domains are converted as their base type and then checked, which is what
 * json_to_record does and what a domain's input function amounts to.
 *
 * Nothing here catches errors; see guard.c.
 *
 * IDENTIFICATION
 *		src/fdw/convert.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/transam.h"
#include "catalog/pg_type.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/json.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "core/moment.h"
#include "fdw/convert.h"

/*
 * Within these no time zone takes a time out of timestamp's range; zones are
 * less than a day wide.
 */
#define SAFE_MOMENT_MIN (KAFKA_MOMENT_MIN_US + 2 * USECS_PER_DAY)
#define SAFE_MOMENT_END (KAFKA_MOMENT_END_US - 2 * USECS_PER_DAY)

/*
 * Does json_to_record treat the type by rules of its own?  Its json_categorize
 * asks the same questions.
 */
static bool
is_record_type(Oid base_type)
{
	char typtype = get_typtype(base_type);

	return OidIsValid(get_element_type(base_type)) ||
		   typtype == TYPTYPE_COMPOSITE || base_type == RECORDOID;
}

/*
 * Can a conversion to the type run only functions of the server's, of which
 * none has anything open that an error would leave open?  Composite types'
 * functions hold their row type; a domain's constraints can be anything.
 */
static bool
is_pure_type(Oid type)
{
	Oid element_type = get_element_type(type);
	char typtype = get_typtype(OidIsValid(element_type) ? element_type : type);

	return type < FirstNormalObjectId && typtype != TYPTYPE_DOMAIN &&
		   typtype != TYPTYPE_COMPOSITE;
}

/* Is a field from source sound text in the server's encoding? */
static bool
is_trusted_source(KafkaSource source)
{
	switch (source)
	{
		case KAFKA_SOURCE_JSON:
			/* There PostgreSQL takes any encoding's text as it is. */
			return GetDatabaseEncoding() == PG_UTF8 ||
				   GetDatabaseEncoding() == PG_SQL_ASCII;
		case KAFKA_SOURCE_CSV:
			return true;
		case KAFKA_SOURCE_TEXT:
		case KAFKA_SOURCE_BYTES:
			break;
	}
	return false;
}

void
kafka_conversion_init(KafkaConversion *conversion, Form_pg_attribute attribute,
					  KafkaSource source, KafkaTimeFormat time_format,
					  MemoryContext context)
{
	memset(conversion, 0, sizeof(*conversion));
	conversion->name = pstrdup(NameStr(attribute->attname));
	conversion->type = attribute->atttypid;
	conversion->typmod = attribute->atttypmod;
	conversion->base_type =
		getBaseTypeAndTypmod(attribute->atttypid, &conversion->typmod);
	conversion->is_domain = conversion->base_type != conversion->type;
	conversion->is_record =
		source == KAFKA_SOURCE_JSON && is_record_type(conversion->base_type);
	conversion->is_pure = is_pure_type(conversion->type);
	conversion->is_trusted = is_trusted_source(source);
	conversion->source = source;
	conversion->time_format = time_format;
	conversion->context = context;
	conversion->fast = kafka_convert_choose_fast(conversion);
}

bool
kafka_conversion_can_fail(const KafkaConversion *conversion)
{
	bool takes_anything = conversion->source == KAFKA_SOURCE_BYTES &&
						  conversion->base_type == BYTEAOID;
	bool takes_text =
		conversion->is_trusted && conversion->base_type == TEXTOID;

	return conversion->is_domain || !(takes_anything || takes_text);
}

void
kafka_conversion_forget(KafkaConversion *conversion)
{
	conversion->ready = false;
	conversion->result = NULL;
	conversion->domain_cache = NULL;
}

/* Makes the state that the functions called keep. */
static void
prepare_functions(KafkaConversion *conversion)
{
	MemoryContext old_context;

	if (conversion->ready)
		return;

	old_context = MemoryContextSwitchTo(conversion->context);
	if (conversion->is_record)
	{
		TupleDesc tupdesc = CreateTemplateTupleDesc(1);

		/* The column's own name, since it appears in errors. */
		TupleDescInitEntry(tupdesc, 1, conversion->name, conversion->base_type,
						   conversion->typmod, 0);
		conversion->result = makeNode(ReturnSetInfo);
		conversion->result->expectedDesc = tupdesc;
		fmgr_info_cxt(F_JSON_TO_RECORD, &conversion->input,
					  conversion->context);
	}
	else
	{
		Oid function;

		getTypeInputInfo(conversion->base_type, &function,
						 &conversion->input_param);
		fmgr_info_cxt(function, &conversion->input, conversion->context);
	}
	MemoryContextSwitchTo(old_context);
	conversion->ready = true;
}

char *
kafka_convert_utf8(const char *text, size_t length)
{
	char *converted;

	if (length >= MaxAllocSize)
		ereport(ERROR, (errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
						errmsg("field is too long"),
						errdetail("It has %zu bytes.", length)));
	converted = pg_any_to_server(text, (int) length, PG_UTF8);
	return converted == text ? pnstrdup(text, length) : converted;
}

/* A field's content as NUL-terminated text in the server's encoding. */
static char *
get_content(const KafkaConversion *conversion, const KafkaJsonValue *field)
{
	/* JSON's standard allows no other encoding, whatever the server's. */
	if (conversion->source == KAFKA_SOURCE_JSON ||
		(conversion->source != KAFKA_SOURCE_CSV &&
		 (conversion->base_type == JSONOID ||
		  conversion->base_type == JSONBOID)))
		return kafka_convert_utf8(field->text, field->length);

	if (!conversion->is_trusted)
		pg_verify_mbstr(GetDatabaseEncoding(), field->text,
						(int) field->length, false);
	return pnstrdup(field->text, field->length);
}

/* Calls the type's input function. */
static Datum
call_input(KafkaConversion *conversion, char *text)
{
	return InputFunctionCall(&conversion->input, text, conversion->input_param,
							 conversion->typmod);
}

/* Has json_to_record convert the document {"name": field}. */
static Datum
call_json_to_record(KafkaConversion *conversion, const KafkaJsonValue *field,
					bool *isnull)
{
	LOCAL_FCINFO(fcinfo, 1);
	StringInfoData document;
	HeapTupleHeader record;
	HeapTupleData tuple;
	Datum value;

	initStringInfo(&document);
	appendStringInfoChar(&document, '{');
	escape_json(&document, conversion->name);
	appendStringInfoChar(&document, ':');
	appendStringInfoString(&document,
						   kafka_convert_utf8(field->raw, field->raw_length));
	appendStringInfoChar(&document, '}');

	InitFunctionCallInfoData(*fcinfo, &conversion->input, 1, InvalidOid, NULL,
							 (fmNodePtr) conversion->result);
	fcinfo->args[0].value =
		PointerGetDatum(cstring_to_text_with_len(document.data, document.len));
	fcinfo->args[0].isnull = false;
	record = DatumGetHeapTupleHeader(FunctionCallInvoke(fcinfo));

	tuple.t_len = HeapTupleHeaderGetDatumLength(record);
	ItemPointerSetInvalid(&tuple.t_self);
	tuple.t_tableOid = InvalidOid;
	tuple.t_data = record;
	heap_deform_tuple(&tuple, conversion->result->expectedDesc, &value,
					  isnull);
	return value;
}

/* json and jsonb out of a JSON document: a value's source text is JSON. */
static Datum
convert_json(KafkaConversion *conversion, const KafkaJsonValue *field)
{
	StringInfoData literal;

	if (field->kind != KAFKA_JSON_STRING)
		return call_input(conversion,
						  kafka_convert_utf8(field->raw, field->raw_length));

	/* json_to_record resolves a string's escapes and makes its own. */
	initStringInfo(&literal);
	escape_json(&literal, kafka_convert_utf8(field->text, field->length));
	return call_input(conversion, literal.data);
}

/*
 * Does text begin with a year, month and day, with or without dashes?  That
 * is what keeps "now", "infinity" and 1700000000 out of a column that the
 * user said is in ISO 8601.
 */
static bool
begins_with_date(const char *text)
{
	static const char *const patterns[] = {"dddd-dd-dd", "dddddddd"};
	int i;
	int j;

	for (i = 0; i < (int) lengthof(patterns); i++)
	{
		const char *pattern = patterns[i];

		for (j = 0; pattern[j] != '\0'; j++)
		{
			bool fits = pattern[j] == 'd' ? text[j] >= '0' && text[j] <= '9'
										  : text[j] == pattern[j];

			if (!fits)
				break;
		}

		/* More digits than the date's are a number. */
		if (pattern[j] == '\0')
			return text[j] < '0' || text[j] > '9';
	}
	return false;
}

static const char *
get_time_format_name(KafkaTimeFormat time_format)
{
	switch (time_format)
	{
		case KAFKA_TIME_FORMAT_NONE:
			break;
		case KAFKA_TIME_FORMAT_ISO8601:
			return "iso8601";
		case KAFKA_TIME_FORMAT_UNIX_S:
			return "unix_s";
		case KAFKA_TIME_FORMAT_UNIX_MS:
			return "unix_ms";
		case KAFKA_TIME_FORMAT_UNIX_US:
			return "unix_us";
		case KAFKA_TIME_FORMAT_UNIX_NS:
			return "unix_ns";
	}
	return "none";
}

static void
report_time_format(KafkaTimeFormat time_format, const char *text)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_DATETIME_FORMAT),
			 errmsg("invalid input syntax for time format \"%s\": \"%s\"",
					get_time_format_name(time_format), text)));
}

/* Converts a field of a column with option time_format. */
static Datum
convert_time(const KafkaConversion *conversion, const KafkaJsonValue *field)
{
	char *text = get_content(conversion, field);
	TimestampTz moment = 0;
	Datum value;

	if (conversion->time_format == KAFKA_TIME_FORMAT_ISO8601)
	{
		if (!begins_with_date(text))
			report_time_format(conversion->time_format, text);
		moment = DatumGetTimestampTz(
			DirectFunctionCall3(timestamptz_in, CStringGetDatum(text),
								ObjectIdGetDatum(InvalidOid),
								Int32GetDatum(-1)));
	}
	else
	{
		KafkaMomentUnit unit = (KafkaMomentUnit) (conversion->time_format -
												  KAFKA_TIME_FORMAT_UNIX_S);

		switch (kafka_moment_from_unix(text, strlen(text), unit, &moment))
		{
			case KAFKA_MOMENT_OK:
				break;
			case KAFKA_MOMENT_INVALID:
				report_time_format(conversion->time_format, text);
				break;
			case KAFKA_MOMENT_OUT_OF_RANGE:
				ereport(ERROR,
						(errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE),
						 errmsg("timestamp out of range: \"%s\"", text)));
				break;
		}
	}

	(void) kafka_convert_moment(conversion->base_type, conversion->typmod,
								moment, true, &value);
	return value;
}

bool
kafka_convert_moment(Oid type, int32 typmod, TimestampTz moment, bool checked,
					 Datum *value)
{
	Datum time = TimestampTzGetDatum(moment);

	if (!checked && type != TIMESTAMPTZOID &&
		(moment < SAFE_MOMENT_MIN || moment >= SAFE_MOMENT_END))
		return false;

	switch (type)
	{
		case DATEOID:
			*value = DirectFunctionCall1(timestamptz_date, time);
			return true;
		case TIMESTAMPOID:
			time = DirectFunctionCall1(timestamptz_timestamp, time);
			break;
		default:
			break;
	}

	/* Both types have the same typmod, and the same function rounds them. */
	if (typmod >= 0)
		time =
			DirectFunctionCall2(timestamp_scale, time, Int32GetDatum(typmod));
	*value = time;
	return true;
}

/* Converts a field that is not NULL to the base type. */
static Datum
convert_base(KafkaConversion *conversion, const KafkaJsonValue *field,
			 bool *isnull)
{
	*isnull = false;
	if (conversion->source == KAFKA_SOURCE_BYTES &&
		conversion->base_type == BYTEAOID)
		return PointerGetDatum(
			cstring_to_text_with_len(field->text, (int) field->length));
	if (conversion->time_format != KAFKA_TIME_FORMAT_NONE)
		return convert_time(conversion, field);

	prepare_functions(conversion);
	if (conversion->is_record)
		return call_json_to_record(conversion, field, isnull);
	if (conversion->source == KAFKA_SOURCE_JSON &&
		(conversion->base_type == JSONOID ||
		 conversion->base_type == JSONBOID))
		return convert_json(conversion, field);
	return call_input(conversion, get_content(conversion, field));
}

Datum
kafka_convert_checked(KafkaConversion *conversion, const KafkaJsonValue *field,
					  bool *isnull)
{
	Datum value = (Datum) 0;

	*isnull = true;
	if (!kafka_field_is_null(field))
		value = convert_base(conversion, field, isnull);
	kafka_convert_check_domain(conversion, value, *isnull);
	return value;
}

void
kafka_convert_check_domain(KafkaConversion *conversion, Datum value,
						   bool isnull)
{
	if (conversion->is_domain)
		domain_check(value, isnull, conversion->type,
					 &conversion->domain_cache, conversion->context);
}
