/*-------------------------------------------------------------------------
 *
 * decode_state.h
 *		The decoder's state, for decode.c, decode_plan.c and decode_fault.c.
 *
 * IDENTIFICATION
 *		src/fdw/decode_state.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef KAFKA_DECODE_STATE_H
#define KAFKA_DECODE_STATE_H

#include "fdw/convert.h"
#include "fdw/decode.h"
#include "fdw/guard.h"

/* Columns that fail together when what they are in cannot be parsed */
typedef enum KafkaColumnGroup
{
	KAFKA_GROUP_PAYLOAD,
	KAFKA_GROUP_KEY,   /* fields of a JSON key */
	KAFKA_GROUP_RECORD /* roles; each stands for itself */
} KafkaColumnGroup;

/* How one column gets its value. */
typedef struct KafkaColumnPlan
{
	int out; /* where its value goes among those asked for;
			  * -1 when it is only tried */
	AttrNumber attnum;
	int field; /* csv: index of its field */
	KafkaRole role;
	KafkaColumnGroup group;
	KafkaConversion conversion;
	char *cached_text; /* role topic or timestamp_type as plain text:
						* what cached was made of; NULL before */
	Datum cached;
} KafkaColumnPlan;

/* A step that may raise an error, put off until it can be guarded. */
typedef struct KafkaPendingStep
{
	KafkaColumnPlan *plan; /* NULL to ask jsonb_in about a document */
	KafkaColumnGroup group;
	KafkaJsonValue field; /* to be converted, or the document's text */
	bool dropped;         /* its document turned out to be none */
} KafkaPendingStep;

struct KafkaDecoder
{
	/* Set once */
	KafkaFormat format;
	KafkaFraming framing;
	KafkaOnError on_error;
	KafkaCsvDialect csv;
	bool csv_strict;
	int csv_columns;        /* payload columns of the table */
	int csv_max_fields;     /* of them, as many as must be stored */
	const char **csv_names; /* of the columns, for what is missing */
	bool parses_payload;
	bool parses_key;
	KafkaColumnPlan *payload; /* columns of each group */
	int npayload;
	KafkaColumnPlan *key;
	int nkey;
	KafkaColumnPlan *record;
	int nrecord;
	int *nulls; /* places of dropped and generated columns */
	int nnulls;
	KafkaColumnPlan *junk; /* NULL when not asked for */
	KafkaColumnPlan *junk_error;
	KafkaJson *json; /* parsers; NULL when there is nothing to parse */
	KafkaJson *key_json;
	MemoryContext decoder_context;  /* all of this lives here */
	MemoryContext message_context;  /* values; reset by each run */
	MemoryContext function_context; /* state of conversions; reset when one
									 * failed */

	/* The table's name, where errors are to tell no more; else NULL */
	const char *discreet_name;

	/* Buffers, used again for each message */
	KafkaJsonValue *fields; /* one for each of payload */
	KafkaJsonValue *key_fields;
	KafkaCsvField *csv_fields;
	char *csv_buffer;
	size_t csv_buffer_size;
	KafkaPendingStep *pending; /* room for every column and two documents */

	/* The current message */
	const KafkaMessage *message;
	Datum *values;
	bool *isnull;
	int npending;
	int next_pending;               /* the first one not done */
	const KafkaColumnPlan *current; /* column being converted, or NULL */
	KafkaGuard guard;
	StringInfo faults;    /* NULL for a good message */
	int first_sqlerrcode; /* of the first of them */
	int step_sqlerrcode;  /* of the step that failed last */

	/* Only of a collecting decoder, set by a message's faults */
	int nout;             /* columns asked for */
	bool *failed;         /* of each of them; NULL for other decoders */
	bool document_failed; /* a document could not be parsed */
};

/*
 * A whole message's, or whole key's, fault: raises it or notes it, as on_error
 * says.  detail, a sentence without period, may be NULL.
 */
extern void kafka_decode_report_fault(KafkaDecoder *decoder, int sqlerrcode,
									  const char *message, const char *detail);

/* Puts off the conversion of a column. */
extern void kafka_decode_defer_column(KafkaDecoder *decoder,
									  KafkaColumnPlan *plan,
									  const KafkaJsonValue *field);

/* Has jsonb_in judge a document before any of the steps put off after it. */
extern void kafka_decode_defer_document(KafkaDecoder *decoder,
										KafkaColumnGroup group,
										const char *text, size_t length);

/* Does all that was put off. */
extern void kafka_decode_run_pending(KafkaDecoder *decoder);

/*
 * Runs work(decoder), and raises an error that tells nothing in place of one
 * that the message is at fault for.
 */
extern void kafka_decode_run_discreetly(KafkaDecoder *decoder,
										void (*work)(void *arg));

/* Fills the junk columns, of good and bad messages. */
extern void kafka_decode_fill_junk(KafkaDecoder *decoder);

/* Makes all columns of a group NULL. */
extern void kafka_decode_clear_group(KafkaDecoder *decoder,
									 KafkaColumnGroup group);

static inline void
kafka_decode_store(KafkaDecoder *decoder, const KafkaColumnPlan *plan,
				   Datum value, bool isnull)
{
	if (plan->out >= 0)
	{
		decoder->values[plan->out] = value;
		decoder->isnull[plan->out] = isnull;
	}
}

#endif /* KAFKA_DECODE_STATE_H */
