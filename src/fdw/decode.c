/*-------------------------------------------------------------------------
 *
 * decode.c
 *		From a Kafka record to column values, record by record.
 *
 * A run has two passes.  The first parses the message and converts what can be
 * converted without an error being possible; for most messages that is all.
 * What is left is put off and done by decode_fault.c, under the guard that
 * on_error asks for.  So the price of being able to catch errors, a
 * subtransaction, is paid once for those messages that may need it.
 *
 * IDENTIFICATION
 *		src/fdw/decode.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#include "fdw/decode_state.h"
#include "fdw/record.h"

/* Confluent's framing: a zero byte and the schema's id, big-endian */
#define CONFLUENT_HEADER_BYTES 5

/* The part of the payload that holds the fields. */
typedef struct Document
{
	const char *text;
	size_t length;
} Document;

/*
 * Converts a field, or puts it off.  careful is for documents that may yet
 * turn out not to be JSON, whose values the fast functions must not see.
 */
static inline void
convert_field(KafkaDecoder *decoder, KafkaColumnPlan *plan,
			  const KafkaJsonValue *field, bool careful)
{
	Datum value;

	if (kafka_field_is_null(field))
	{
		if (!plan->conversion.is_domain)
		{
			kafka_decode_store(decoder, plan, (Datum) 0, true);
			return;
		}
	}
	else if (!careful && kafka_convert_fast(&plan->conversion, field, &value))
	{
		kafka_decode_store(decoder, plan, value, false);
		return;
	}
	kafka_decode_defer_column(decoder, plan, field);
}

/*
 * Parses a document and converts the columns of its group.  subject is what
 * the document is to the user.
 */
static void
decode_json(KafkaDecoder *decoder, KafkaJson *json, Document document,
			KafkaColumnGroup group, KafkaColumnPlan *plans, int nplans,
			KafkaJsonValue *fields, const char *subject)
{
	KafkaJsonResult result =
		kafka_json_parse(json, document.text, document.length, fields);
	int i;

	if (likely(result.status == KAFKA_JSON_OK))
	{
		if (unlikely(result.ask_server))
			kafka_decode_defer_document(decoder, group, document.text,
										document.length);
		for (i = 0; i < nplans; i++)
			convert_field(decoder, &plans[i], &fields[i], result.ask_server);
		return;
	}

	if (result.status == KAFKA_JSON_NO_MEMORY)
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY), errmsg("out of memory"),
				 errdetail("Failed to parse a message of %zu bytes.",
						   document.length)));
	kafka_decode_clear_group(decoder, group);
	kafka_decode_report_fault(decoder, ERRCODE_INVALID_TEXT_REPRESENTATION,
							  psprintf("could not parse %s as JSON", subject),
							  result.status == KAFKA_JSON_NOT_OBJECT
								  ? result.reason
								  : psprintf("%s, at byte %zu", result.reason,
											 result.position));
}

/* Makes sure the buffers for delimited text are large enough. */
static void
reserve_csv_buffer(KafkaDecoder *decoder, size_t length)
{
	size_t size = kafka_csv_buffer_size(length, decoder->csv_max_fields);

	if (size <= decoder->csv_buffer_size)
		return;
	if (decoder->csv_buffer != NULL)
		pfree(decoder->csv_buffer);
	decoder->csv_buffer_size = 0;
	decoder->csv_buffer =
		MemoryContextAllocHuge(decoder->decoder_context, Max(size, 1024));
	decoder->csv_buffer_size = Max(size, 1024);
}

/*
 * Splits delimited text; false when it is none, which has been reported.  All
 * of it must be sound text, as COPY asks, so that whether a message is bad
 * does not depend on which columns are asked for.
 */
static bool
split_csv(KafkaDecoder *decoder, Document document, int *nfields)
{
	int encoding = GetDatabaseEncoding();
	KafkaCsvStatus status;

	if (!pg_verify_mbstr(encoding, document.text, (int) document.length, true))
	{
		kafka_decode_report_fault(
			decoder, ERRCODE_CHARACTER_NOT_IN_REPERTOIRE,
			psprintf("message is not valid text in encoding \"%s\"",
					 pg_encoding_to_char(encoding)),
			psprintf("An invalid byte sequence starts at byte %d",
					 pg_encoding_verifymbstr(encoding, document.text,
											 (int) document.length)));
		return false;
	}

	reserve_csv_buffer(decoder, document.length);
	status = kafka_csv_split(&decoder->csv, document.text, document.length,
							 decoder->csv_fields, decoder->csv_max_fields,
							 nfields, decoder->csv_buffer);
	if (status != KAFKA_CSV_OK)
	{
		kafka_decode_report_fault(decoder, ERRCODE_BAD_COPY_FILE_FORMAT,
								  "could not parse message as CSV",
								  kafka_csv_reason(status));
		return false;
	}
	if (!decoder->csv_strict || *nfields == decoder->csv_columns)
		return true;

	kafka_decode_report_fault(
		decoder, ERRCODE_BAD_COPY_FILE_FORMAT,
		*nfields > decoder->csv_columns
			? "extra data after last expected column"
			: psprintf("missing data for column \"%s\"",
					   decoder->csv_names[*nfields]),
		psprintf("The number of its fields is %d instead of %d", *nfields,
				 decoder->csv_columns));
	return false;
}

static void
decode_csv(KafkaDecoder *decoder, Document document)
{
	int nfields = 0;
	int i;

	if (!split_csv(decoder, document, &nfields))
	{
		kafka_decode_clear_group(decoder, KAFKA_GROUP_PAYLOAD);
		return;
	}

	for (i = 0; i < decoder->npayload; i++)
	{
		KafkaColumnPlan *plan = &decoder->payload[i];
		KafkaJsonValue field = {KAFKA_JSON_MISSING, NULL, 0, NULL, 0};

		if (plan->field < nfields &&
			decoder->csv_fields[plan->field].text != NULL)
		{
			field.kind = KAFKA_JSON_STRING;
			field.text = decoder->csv_fields[plan->field].text;
			field.length = decoder->csv_fields[plan->field].length;
		}
		convert_field(decoder, plan, &field, false);
	}
}

/* Formats text and raw: the whole is the field of the one column there is. */
static void
decode_whole(KafkaDecoder *decoder, Document document)
{
	KafkaJsonValue field = {KAFKA_JSON_STRING, document.text, document.length,
							NULL, 0};
	int i;

	for (i = 0; i < decoder->npayload; i++)
		convert_field(decoder, &decoder->payload[i], &field, false);
}

/*
 * Takes off what stands before the fields; false, reported, where it should
 * stand and does not.
 */
static bool
remove_framing(KafkaDecoder *decoder, Document *document)
{
	if (decoder->framing == KAFKA_FRAMING_NONE)
		return true;
	if (document->length >= CONFLUENT_HEADER_BYTES &&
		document->text[0] == '\0')
	{
		document->text += CONFLUENT_HEADER_BYTES;
		document->length -= CONFLUENT_HEADER_BYTES;
		return true;
	}

	kafka_decode_clear_group(decoder, KAFKA_GROUP_PAYLOAD);
	kafka_decode_report_fault(
		decoder, ERRCODE_INVALID_BINARY_REPRESENTATION,
		"message has no Confluent framing",
		document->length >= CONFLUENT_HEADER_BYTES
			? psprintf("Its first byte is 0x%02x instead of zero",
					   (unsigned char) document->text[0])
			: psprintf("Its %zu bytes are fewer than the %d of the header",
					   document->length, CONFLUENT_HEADER_BYTES));
	return false;
}

static void
decode_payload(KafkaDecoder *decoder)
{
	const KafkaMessage *message = decoder->message;
	Document document = {message->payload, message->payload_length};

	/* A tombstone has no fields; being one breaks no domain's constraint. */
	if (document.text == NULL)
	{
		kafka_decode_clear_group(decoder, KAFKA_GROUP_PAYLOAD);
		return;
	}
	if (!remove_framing(decoder, &document))
		return;

	switch (decoder->format)
	{
		case KAFKA_FORMAT_JSON:
			decode_json(decoder, decoder->json, document, KAFKA_GROUP_PAYLOAD,
						decoder->payload, decoder->npayload, decoder->fields,
						"message");
			break;
		case KAFKA_FORMAT_CSV:
			decode_csv(decoder, document);
			break;
		case KAFKA_FORMAT_TEXT:
		case KAFKA_FORMAT_RAW:
			decode_whole(decoder, document);
			break;
	}
}

/* The columns that are fields of the record's key. */
static void
decode_key(KafkaDecoder *decoder)
{
	const KafkaMessage *message = decoder->message;
	Document document = {message->key, message->key_length};

	if (document.text == NULL)
	{
		kafka_decode_clear_group(decoder, KAFKA_GROUP_KEY);
		return;
	}
	decode_json(decoder, decoder->key_json, document, KAFKA_GROUP_KEY,
				decoder->key, decoder->nkey, decoder->key_fields, "key");
}

/*
 * The value of a role whose text is nearly always that of the record before,
 * made only when it changed.  It has to outlive the message.
 */
static Datum
get_cached_text(KafkaDecoder *decoder, KafkaColumnPlan *plan,
				const KafkaJsonValue *field)
{
	MemoryContext old_context;

	if (plan->cached_text != NULL &&
		strcmp(plan->cached_text, field->text) == 0)
		return plan->cached;

	old_context = MemoryContextSwitchTo(decoder->decoder_context);
	if (plan->cached_text != NULL)
	{
		pfree(plan->cached_text);
		plan->cached_text = NULL;
		pfree(DatumGetPointer(plan->cached));
	}
	plan->cached = CStringGetTextDatum(field->text);
	plan->cached_text = pstrdup(field->text);
	MemoryContextSwitchTo(old_context);
	return plan->cached;
}

static void
decode_role(KafkaDecoder *decoder, KafkaColumnPlan *plan)
{
	const KafkaConversion *conversion = &plan->conversion;
	KafkaJsonValue field = {KAFKA_JSON_NULL, NULL, 0, NULL, 0};

	if (kafka_record_is_field(plan->role))
	{
		field = kafka_record_field(plan->role, decoder->message);
		if (kafka_field_is_null(&field))
			kafka_decode_store(decoder, plan, (Datum) 0, true);
		else if (conversion->type == TEXTOID &&
				 (plan->role == KAFKA_ROLE_TOPIC ||
				  plan->role == KAFKA_ROLE_TIMESTAMP_TYPE))
			kafka_decode_store(decoder, plan,
							   get_cached_text(decoder, plan, &field), false);
		else
			convert_field(decoder, plan, &field, false);
	}
	else
	{
		Datum value = (Datum) 0;
		bool isnull;

		if (!conversion->is_domain &&
			kafka_record_value(plan->role, conversion->type,
							   conversion->typmod, decoder->message, false,
							   &value, &isnull))
			kafka_decode_store(decoder, plan, value, isnull);
		else
			kafka_decode_defer_column(decoder, plan, &field);
	}
}

/* Decodes the current message. */
static void
decode_message(void *arg)
{
	KafkaDecoder *decoder = arg;
	int i;

	for (i = 0; i < decoder->nnulls; i++)
		decoder->isnull[decoder->nulls[i]] = true;
	for (i = 0; i < decoder->nrecord; i++)
		decode_role(decoder, &decoder->record[i]);
	if (decoder->parses_payload)
		decode_payload(decoder);
	if (decoder->parses_key)
		decode_key(decoder);
	if (decoder->npending > 0)
		kafka_decode_run_pending(decoder);
	if (decoder->junk == NULL && decoder->junk_error == NULL)
		return;
	if (decoder->faults == NULL || decoder->on_error != KAFKA_ON_ERROR_SKIP)
		kafka_decode_fill_junk(decoder);
}

bool
kafka_decoder_run(KafkaDecoder *decoder, const KafkaMessage *message,
				  Datum *values, bool *isnull)
{
	MemoryContext old_context;

	MemoryContextReset(decoder->message_context);
	old_context = MemoryContextSwitchTo(decoder->message_context);
	decoder->message = message;
	decoder->values = values;
	decoder->isnull = isnull;
	decoder->npending = 0;
	decoder->faults = NULL;

	if (unlikely(decoder->discreet_name != NULL))
		kafka_decode_run_discreetly(decoder, decode_message);
	else
		decode_message(decoder);

	MemoryContextSwitchTo(old_context);
	return decoder->faults == NULL;
}

const bool *
kafka_decoder_get_failed(const KafkaDecoder *decoder)
{
	Assert(decoder->failed != NULL && decoder->faults != NULL);
	return decoder->document_failed ? NULL : decoder->failed;
}

int
kafka_decoder_get_fault(const KafkaDecoder *decoder, const char **text)
{
	Assert(decoder->faults != NULL);
	*text = decoder->faults->data;
	return decoder->first_sqlerrcode;
}
