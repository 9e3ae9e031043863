/*-------------------------------------------------------------------------
 *
 * decode_plan.c
 *		Makes decoders: which columns, in which order, with which functions.
 *
 * All that depends on the table and its types is decided here, once, so that
 * a message finds arrays of columns, each with the function to call.
 *
 * IDENTIFICATION
 *		src/fdw/decode_plan.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/memutils.h"

#include "fdw/decode_state.h"
#include "fdw/record.h"

/* What is known while a decoder is being made. */
typedef struct MakingState
{
	KafkaDecoder *decoder;
	TupleDesc tupdesc;
	const KafkaColumnOptions *columns;
	int *out_of;    /* each column's place among those asked for, or -1 */
	bool tries_all; /* also those that were not asked for */
	int csv_columns;
} MakingState;

static void
destroy_parser(void *arg)
{
	kafka_json_destroy(arg);
}

/*
 * Makes a parser for the columns of a group, which is freed with the current
 * context.
 */
static KafkaJson *
create_parser(const MakingState *state, const KafkaColumnPlan *plans,
			  int nplans)
{
	MemoryContextCallback *callback = palloc0(sizeof(*callback));
	const char **paths = palloc(sizeof(char *) * Max(nplans, 1));
	KafkaJson *json;
	int i;

	for (i = 0; i < nplans; i++)
		paths[i] = state->columns[plans[i].attnum - 1].path;

	json = kafka_json_create(paths, nplans);
	if (json == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY), errmsg("out of memory"),
				 errdetail("Failed to make a JSON parser for %d "
						   "columns.",
						   nplans)));
	callback->func = destroy_parser;
	callback->arg = json;
	MemoryContextRegisterResetCallback(CurrentMemoryContext, callback);
	pfree(paths);
	return json;
}

/* What a column's fields are, by where they come from. */
static KafkaSource
get_source(const KafkaDecoder *decoder, const KafkaColumnOptions *column)
{
	if (column->role != KAFKA_ROLE_PAYLOAD)
		return KAFKA_SOURCE_BYTES;
	if (column->from_key)
		return KAFKA_SOURCE_JSON;

	switch (decoder->format)
	{
		case KAFKA_FORMAT_JSON:
			return KAFKA_SOURCE_JSON;
		case KAFKA_FORMAT_CSV:
			return KAFKA_SOURCE_CSV;
		case KAFKA_FORMAT_TEXT:
			return KAFKA_SOURCE_TEXT;
		case KAFKA_FORMAT_RAW:
			break;
	}
	return KAFKA_SOURCE_BYTES;
}

/* Can a column make a message bad that could be parsed? */
static bool
can_fail(const KafkaColumnPlan *plan)
{
	const KafkaConversion *conversion = &plan->conversion;

	switch (plan->role)
	{
		case KAFKA_ROLE_JUNK:
		case KAFKA_ROLE_JUNK_ERROR:
			return false;
		case KAFKA_ROLE_OFFSET:
		case KAFKA_ROLE_HEADERS:
			return conversion->is_domain;
		default:
			return kafka_conversion_can_fail(conversion);
	}
}

/* Adds a column to the group where it belongs. */
static void
add_plan(KafkaDecoder *decoder, const KafkaColumnPlan *plan)
{
	switch (plan->group)
	{
		case KAFKA_GROUP_PAYLOAD:
			decoder->payload[decoder->npayload++] = *plan;
			decoder->csv_max_fields =
				Max(decoder->csv_max_fields, plan->field + 1);
			break;
		case KAFKA_GROUP_KEY:
			decoder->key[decoder->nkey++] = *plan;
			break;
		case KAFKA_GROUP_RECORD:
			decoder->record[decoder->nrecord++] = *plan;
			break;
	}
}

static KafkaColumnGroup
get_group(const KafkaColumnOptions *column)
{
	if (column->role != KAFKA_ROLE_PAYLOAD)
		return KAFKA_GROUP_RECORD;
	return column->from_key ? KAFKA_GROUP_KEY : KAFKA_GROUP_PAYLOAD;
}

/*
 * Notes what a column asks the decoder to look at, whether or not its value
 * is wanted.
 */
static void
note_reads(KafkaDecoder *decoder, const KafkaColumnPlan *plan)
{
	switch (plan->group)
	{
		case KAFKA_GROUP_PAYLOAD:
			decoder->parses_payload = true;
			break;
		case KAFKA_GROUP_KEY:
			decoder->parses_key = true;
			break;
		case KAFKA_GROUP_RECORD:
			break;
	}
}

/* Plans one column of the table. */
static void
plan_column(MakingState *state, int attribute)
{
	KafkaDecoder *decoder = state->decoder;
	const KafkaColumnOptions *column = &state->columns[attribute];
	Form_pg_attribute attr = TupleDescAttr(state->tupdesc, attribute);
	KafkaColumnPlan plan;

	memset(&plan, 0, sizeof(plan));
	plan.out = state->out_of[attribute];
	if (column->dropped)
	{
		if (plan.out >= 0)
			decoder->nulls[decoder->nnulls++] = plan.out;
		return;
	}

	plan.role = column->role;
	plan.group = get_group(column);
	plan.attnum = (AttrNumber) (attribute + 1);
	if (plan.group == KAFKA_GROUP_PAYLOAD)
	{
		plan.field = state->csv_columns++;
		decoder->csv_names[plan.field] = pstrdup(NameStr(attr->attname));
	}
	if (plan.out < 0 && !state->tries_all)
		return;

	/* A column that cannot fail is not tried, but its message is parsed. */
	kafka_conversion_init(&plan.conversion, attr, get_source(decoder, column),
						  column->time_format, decoder->function_context);
	if (plan.out >= 0 || plan.group != KAFKA_GROUP_RECORD || can_fail(&plan))
		note_reads(decoder, &plan);
	if (plan.out < 0 && !can_fail(&plan))
		return;

	if (plan.role == KAFKA_ROLE_JUNK || plan.role == KAFKA_ROLE_JUNK_ERROR)
	{
		KafkaColumnPlan *junk = palloc(sizeof(*junk));

		*junk = plan;
		if (plan.role == KAFKA_ROLE_JUNK)
			decoder->junk = junk;
		else
			decoder->junk_error = junk;
		return;
	}
	add_plan(decoder, &plan);
}

/* Makes what the messages are parsed with. */
static void
create_buffers(MakingState *state)
{
	KafkaDecoder *decoder = state->decoder;
	int ncolumns = decoder->npayload + decoder->nkey + decoder->nrecord;

	decoder->csv_columns = state->csv_columns;
	decoder->fields =
		palloc0(sizeof(KafkaJsonValue) * Max(decoder->npayload, 1));
	decoder->key_fields =
		palloc0(sizeof(KafkaJsonValue) * Max(decoder->nkey, 1));
	decoder->csv_fields =
		palloc0(sizeof(KafkaCsvField) * Max(decoder->csv_max_fields, 1));

	/* Besides the columns, the payload and the key may need a step each. */
	decoder->pending = palloc0(sizeof(KafkaPendingStep) * (ncolumns + 2));

	if (decoder->parses_payload && decoder->format == KAFKA_FORMAT_JSON)
		decoder->json =
			create_parser(state, decoder->payload, decoder->npayload);
	if (decoder->parses_key)
		decoder->key_json = create_parser(state, decoder->key, decoder->nkey);
}

/* A decoder with room for all columns of the table, and none yet. */
static KafkaDecoder *
create_empty(const KafkaTableOptions *table, int ncolumns)
{
	KafkaDecoder *decoder = palloc0(sizeof(*decoder));
	int room = Max(ncolumns, 1);

	decoder->format = (KafkaFormat) table->format;
	decoder->framing = (KafkaFraming) table->framing;
	decoder->on_error = (KafkaOnError) table->on_error;
	decoder->csv = table->csv;
	decoder->csv_strict = table->csv_strict;
	decoder->csv_names = palloc0(sizeof(char *) * room);
	decoder->payload = palloc0(sizeof(KafkaColumnPlan) * room);
	decoder->key = palloc0(sizeof(KafkaColumnPlan) * room);
	decoder->record = palloc0(sizeof(KafkaColumnPlan) * room);
	decoder->nulls = palloc0(sizeof(int) * room);
	decoder->decoder_context = CurrentMemoryContext;
	decoder->message_context =
		AllocSetContextCreate(CurrentMemoryContext, "Kafka message",
							  ALLOCSET_DEFAULT_SIZES);
	decoder->function_context =
		AllocSetContextCreate(CurrentMemoryContext, "Kafka conversions",
							  ALLOCSET_SMALL_SIZES);
	return decoder;
}

void
kafka_decoder_set_discreet(KafkaDecoder *decoder, const char *table_name)
{
	decoder->discreet_name =
		MemoryContextStrdup(decoder->decoder_context, table_name);
}

static KafkaDecoder *
create_decoder(const KafkaTableOptions *table,
			   const KafkaColumnOptions *columns, TupleDesc tupdesc,
			   const AttrNumber *attnums, int natts, bool is_reporting)
{
	MakingState state;
	int i;

	memset(&state, 0, sizeof(state));
	state.decoder = create_empty(table, tupdesc->natts);
	state.tupdesc = tupdesc;
	state.columns = columns;
	state.tries_all = table->on_error == KAFKA_ON_ERROR_SKIP;
	if (is_reporting)
		state.decoder->on_error = KAFKA_ON_ERROR_SKIP;
	state.out_of = palloc(sizeof(int) * Max(tupdesc->natts, 1));
	for (i = 0; i < tupdesc->natts; i++)
		state.out_of[i] = -1;
	for (i = 0; i < natts; i++)
	{
		KafkaRole role = columns[attnums[i] - 1].role;

		state.out_of[attnums[i] - 1] = i;
		if (role == KAFKA_ROLE_JUNK || role == KAFKA_ROLE_JUNK_ERROR)
			state.tries_all = true;
	}
	if (is_reporting)
		state.tries_all = false;

	for (i = 0; i < tupdesc->natts; i++)
		plan_column(&state, i);
	create_buffers(&state);
	pfree(state.out_of);
	return state.decoder;
}

KafkaDecoder *
kafka_decoder_create(const KafkaTableOptions *table,
					 const KafkaColumnOptions *columns, TupleDesc tupdesc,
					 const AttrNumber *attnums, int natts)
{
	return create_decoder(table, columns, tupdesc, attnums, natts, false);
}

KafkaDecoder *
kafka_decoder_create_reporting(const KafkaTableOptions *table,
							   const KafkaColumnOptions *columns,
							   TupleDesc tupdesc, const AttrNumber *attnums,
							   int natts)
{
	return create_decoder(table, columns, tupdesc, attnums, natts, true);
}

/*
 * As reporting ones it tries no other columns, but as those of on_error null it
 * goes on behind a fault.
 */
KafkaDecoder *
kafka_decoder_create_collecting(const KafkaTableOptions *table,
								const KafkaColumnOptions *columns,
								TupleDesc tupdesc, const AttrNumber *attnums,
								int natts)
{
	KafkaDecoder *decoder =
		create_decoder(table, columns, tupdesc, attnums, natts, true);

	decoder->on_error = KAFKA_ON_ERROR_NULL;
	decoder->guard.takes_doubtful = true;
	decoder->nout = natts;
	decoder->failed = palloc0(sizeof(bool) * Max(natts, 1));
	return decoder;
}
