/*-------------------------------------------------------------------------
 *
 * decode_fault.c
 *		Bad messages, and the steps of decoding that may find them.
 *
 * With on_error 'error' the steps run as they are, and an error of any of them
 * gets the message's place as its context.  Otherwise they run under a guard,
 * all of a message under one; only when one fails do those after it need
 * another.
 *
 * Where rows are decoded that a security barrier may hide, all of this is
 * under one more guard, which keeps such errors from telling what is in them.
 * The executor asks for all of a filter's columns before it evaluates the
 * first condition, the barrier's, so they cannot be kept from being raised.
 *
 * IDENTIFICATION
 *		src/fdw/decode_fault.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#include "fdw/decode_state.h"
#include "fdw/record.h"

/* Tells which message, and which column, an error is about. */
static void
add_error_context(void *arg)
{
	const KafkaDecoder *decoder = arg;
	const KafkaMessage *message = decoder->message;

	/* Not even for errors that may be shown: the row is none to be seen. */
	if (decoder->discreet_name != NULL)
		return;
	if (decoder->current != NULL)
		errcontext("column \"%s\" of topic \"%s\", partition %d, offset %lld",
				   decoder->current->conversion.name, message->topic,
				   message->partition, (long long) message->offset);
	else
		errcontext("topic \"%s\", partition %d, offset %lld", message->topic,
				   message->partition, (long long) message->offset);
}

static void
push_error_context(KafkaDecoder *decoder, ErrorContextCallback *callback)
{
	callback->callback = add_error_context;
	callback->arg = decoder;
	callback->previous = error_context_stack;
	error_context_stack = callback;
}

/* Notes a fault for junk_error; name is the column's, or NULL. */
static void
note_fault(KafkaDecoder *decoder, int sqlerrcode, const char *name,
		   const char *text)
{
	if (decoder->faults == NULL)
	{
		decoder->faults = makeStringInfo();
		decoder->first_sqlerrcode = sqlerrcode;
		decoder->document_failed = false;
		if (decoder->failed != NULL)
			memset(decoder->failed, false, sizeof(bool) * decoder->nout);
	}
	else
		appendStringInfoString(decoder->faults, "; ");
	if (name == NULL)
		decoder->document_failed = true;
	if (name != NULL)
		appendStringInfo(decoder->faults, "column \"%s\": ", name);
	appendStringInfoString(decoder->faults, text);
}

void
kafka_decode_report_fault(KafkaDecoder *decoder, int sqlerrcode,
						  const char *message, const char *detail)
{
	ErrorContextCallback callback;

	if (decoder->on_error != KAFKA_ON_ERROR_ERROR)
	{
		note_fault(decoder, sqlerrcode, NULL,
				   detail == NULL ? message
								  : psprintf("%s: %s", message, detail));
		return;
	}

	decoder->current = NULL;
	push_error_context(decoder, &callback);
	ereport(ERROR,
			(errcode(sqlerrcode), errmsg_internal("%s", message),
			 detail != NULL ? errdetail_internal("%s.", detail) : 0,
			 errhint("Set option \"on_error\" of the foreign table to "
					 "\"null\" or \"skip\" to read past such messages.")));
}

static KafkaPendingStep *
add_step(KafkaDecoder *decoder)
{
	KafkaPendingStep *step = &decoder->pending[decoder->npending++];

	memset(step, 0, sizeof(*step));
	return step;
}

void
kafka_decode_defer_column(KafkaDecoder *decoder, KafkaColumnPlan *plan,
						  const KafkaJsonValue *field)
{
	KafkaPendingStep *step = add_step(decoder);

	step->plan = plan;
	step->group = plan->group;
	step->field = *field;
}

void
kafka_decode_defer_document(KafkaDecoder *decoder, KafkaColumnGroup group,
							const char *text, size_t length)
{
	KafkaPendingStep *step = add_step(decoder);

	step->group = group;
	step->field.text = text;
	step->field.length = length;
}

void
kafka_decode_clear_group(KafkaDecoder *decoder, KafkaColumnGroup group)
{
	KafkaColumnPlan *plans = decoder->payload;
	int nplans = decoder->npayload;
	int i;

	if (group == KAFKA_GROUP_KEY)
	{
		plans = decoder->key;
		nplans = decoder->nkey;
	}
	for (i = 0; i < nplans; i++)
		kafka_decode_store(decoder, &plans[i], (Datum) 0, true);
}

/* Raises an error unless PostgreSQL takes the document. */
static void
check_document(const KafkaPendingStep *step)
{
	(void) DirectFunctionCall1(jsonb_in,
							   CStringGetDatum(
								   kafka_convert_utf8(step->field.text,
													  step->field.length)));
}

/* Does one step; raises an error if it fails. */
static void
run_step(KafkaDecoder *decoder, const KafkaPendingStep *step)
{
	KafkaColumnPlan *plan = step->plan;
	KafkaConversion *conversion;
	Datum value;
	bool isnull;

	decoder->current = plan;

	/*
	 * How deep a document may be nested depends on the stack that is left
	 * here, but one that is too deep is bad enough to be called so.
	 */
	decoder->guard.takes_depth = plan == NULL;
	decoder->guard.is_pure = plan == NULL || plan->conversion.is_pure;
	if (plan == NULL)
	{
		check_document(step);
		return;
	}

	conversion = &plan->conversion;
	if (plan->group == KAFKA_GROUP_RECORD &&
		!kafka_record_is_field(plan->role))
	{
		(void) kafka_record_value(plan->role, conversion->base_type,
								  conversion->typmod, decoder->message, true,
								  &value, &isnull);
		if (!isnull)
			kafka_convert_check_domain(conversion, value, false);
	}
	else
		value = kafka_convert_checked(conversion, &step->field, &isnull);
	kafka_decode_store(decoder, plan, value, isnull);
}

/* Does the steps from the next one on. */
static void
run_steps(void *arg)
{
	KafkaDecoder *decoder = arg;

	for (; decoder->next_pending < decoder->npending; decoder->next_pending++)
	{
		const KafkaPendingStep *step =
			&decoder->pending[decoder->next_pending];

		if (!step->dropped)
			run_step(decoder, step);
	}
}

/* The same for a guard, which does not tell an error's SQLSTATE. */
static void
run_steps_noting(void *arg)
{
	KafkaDecoder *decoder = arg;

	PG_TRY();
	{
		run_steps(decoder);
	}
	PG_CATCH();
	{
		decoder->step_sqlerrcode = geterrcode();
		PG_RE_THROW();
	}
	PG_END_TRY();
}

/*
 * Throws away what the conversions' functions have kept: one that raised an
 * error may have been in the middle of changing it.
 */
static void
forget_functions(KafkaDecoder *decoder)
{
	int i;

	for (i = 0; i < decoder->npayload; i++)
		kafka_conversion_forget(&decoder->payload[i].conversion);
	for (i = 0; i < decoder->nkey; i++)
		kafka_conversion_forget(&decoder->key[i].conversion);
	for (i = 0; i < decoder->nrecord; i++)
		kafka_conversion_forget(&decoder->record[i].conversion);
	MemoryContextReset(decoder->function_context);
}

/* Notes that the next step has failed, and what fails with it. */
static void
fail_step(KafkaDecoder *decoder, const char *message)
{
	const KafkaPendingStep *step = &decoder->pending[decoder->next_pending];
	int i;

	if (step->plan != NULL)
	{
		note_fault(decoder, decoder->step_sqlerrcode,
				   step->plan->conversion.name, message);
		kafka_decode_store(decoder, step->plan, (Datum) 0, true);
		if (decoder->failed != NULL && step->plan->out >= 0)
			decoder->failed[step->plan->out] = true;
		return;
	}

	note_fault(decoder, decoder->step_sqlerrcode, NULL,
			   psprintf("could not parse %s as JSON: %s",
						step->group == KAFKA_GROUP_KEY ? "key" : "message",
						message));
	kafka_decode_clear_group(decoder, step->group);
	for (i = decoder->next_pending + 1; i < decoder->npending; i++)
	{
		if (decoder->pending[i].group == step->group)
			decoder->pending[i].dropped = true;
	}
}

void
kafka_decode_run_pending(KafkaDecoder *decoder)
{
	ErrorContextCallback callback;
	char *message;

	push_error_context(decoder, &callback);
	decoder->next_pending = 0;
	if (decoder->on_error == KAFKA_ON_ERROR_ERROR)
		run_steps(decoder);
	while (decoder->next_pending < decoder->npending)
	{
		/* One fault is enough for a row that is left out. */
		if (decoder->on_error == KAFKA_ON_ERROR_SKIP &&
			decoder->faults != NULL)
			break;
		if (kafka_guard_run(&decoder->guard, run_steps_noting, decoder,
							&message))
			continue;
		fail_step(decoder, message);
		forget_functions(decoder);
		decoder->next_pending++;
	}
	error_context_stack = callback.previous;
}

void
kafka_decode_run_discreetly(KafkaDecoder *decoder, void (*work)(void *arg))
{
	if (kafka_guard_catch(work, decoder))
		return;

	ereport(ERROR,
			(errcode(ERRCODE_DATA_EXCEPTION),
			 errmsg("could not convert a message of foreign table \"%s\"",
					decoder->discreet_name),
			 errdetail("The message's values are hidden because a security "
					   "barrier is in force."),
			 decoder->on_error == KAFKA_ON_ERROR_ERROR
				 ? errhint("Ask the owner of the table, or set its option "
						   "\"on_error\" to \"null\" or \"skip\".")
				 : errhint("Ask the owner of the table.")));
}

/*
 * Text for a column that is never to fail: hex when it is not valid, and cut
 * to the length that the column's type allows.
 */
static void
store_junk_text(KafkaDecoder *decoder, KafkaColumnPlan *plan, const char *text,
				size_t length)
{
	KafkaConversion *conversion = &plan->conversion;
	KafkaJsonValue field = {KAFKA_JSON_STRING, text, length, NULL, 0};
	ErrorContextCallback callback;
	Datum value;
	bool isnull;

	if (conversion->base_type != BYTEAOID)
	{
		int32 typmod = conversion->typmod;

		if (!pg_verify_mbstr(GetDatabaseEncoding(), text, (int) length, true))
			field.text = kafka_record_hex(text, length, &field.length);
		if (typmod >= (int32) VARHDRSZ)
			field.length = pg_mbcharcliplen(field.text, (int) field.length,
											typmod - (int32) VARHDRSZ);
	}

	/* Only a domain's constraint can still fail, and that is the user's. */
	push_error_context(decoder, &callback);
	decoder->current = plan;
	value = kafka_convert_checked(conversion, &field, &isnull);
	kafka_decode_store(decoder, plan, value, isnull);
	error_context_stack = callback.previous;
}

void
kafka_decode_fill_junk(KafkaDecoder *decoder)
{
	const KafkaMessage *message = decoder->message;
	const StringInfoData *faults = decoder->faults;

	if (decoder->junk != NULL)
	{
		if (faults != NULL && message->payload != NULL)
			store_junk_text(decoder, decoder->junk, message->payload,
							message->payload_length);
		else
			kafka_decode_store(decoder, decoder->junk, (Datum) 0, true);
	}
	if (decoder->junk_error != NULL)
	{
		if (faults != NULL)
			store_junk_text(decoder, decoder->junk_error, faults->data,
							faults->len);
		else
			kafka_decode_store(decoder, decoder->junk_error, (Datum) 0, true);
	}
}
