/*-------------------------------------------------------------------------
 *
 * convert.h
 *		One field's text into a value of a column's type.
 *
 * A field comes as KafkaJsonValue whatever the message's format; fields that
 * are no JSON have kind KAFKA_JSON_STRING and no raw text.  There are two ways
 * to convert, because before PostgreSQL 16 a conversion that fails can say so
 * only by raising an error, and catching one costs a subtransaction:
 *
 * kafka_convert_fast never raises an error that is the field's fault.  It does
 * what it can prove to be right, and leaves all else, faulty fields too, to
 * kafka_convert_checked, which knows everything and raises errors.
 *
 * IDENTIFICATION
 *		src/fdw/convert.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef KAFKA_CONVERT_H
#define KAFKA_CONVERT_H

#include "access/tupdesc.h"
#include "core/json.h"
#include "fmgr.h"
#include "nodes/execnodes.h"
#include "option.h"

/* Where fields come from: what is known of their bytes, and what they mean */
typedef enum KafkaSource
{
	KAFKA_SOURCE_JSON, /* values of a JSON document: sound UTF-8,
						* converted as json_to_record does */
	KAFKA_SOURCE_CSV,  /* sound text in the server's encoding */
	KAFKA_SOURCE_TEXT, /* text for the type's input function, not
						* verified: json and jsonb as UTF-8, all
						* others in the server's encoding */
	KAFKA_SOURCE_BYTES /* the same, but bytea takes it as it is */
} KafkaSource;

typedef struct KafkaConversion KafkaConversion;

typedef bool (*KafkaFastFunction)(const KafkaConversion *conversion,
								  const KafkaJsonValue *field, Datum *value);

struct KafkaConversion
{
	/* Set once */
	KafkaFastFunction fast;
	const char *name; /* of the column */
	Oid type;
	Oid base_type; /* of a domain, else type */
	int32 typmod;  /* of base_type */
	bool is_domain;
	bool is_record;  /* json_to_record itself does it */
	bool is_pure;    /* converting runs only the server's own code,
					  * which holds no resource while it does */
	bool is_trusted; /* fields are sound text as they come */
	KafkaSource source;
	KafkaTimeFormat time_format;
	MemoryContext context; /* for what follows */

	/* Made at first need; kafka_conversion_forget throws it away */
	bool ready;
	FmgrInfo input; /* base_type's input, or json_to_record */
	Oid input_param;
	ReturnSetInfo *result; /* for json_to_record: its descriptor */
	void *domain_cache;    /* domain_check's */
};

/*
 * Prepares the conversion of fields to a column's type.  What it makes later
 * goes into context.
 */
extern void kafka_conversion_init(KafkaConversion *conversion,
								  Form_pg_attribute attribute,
								  KafkaSource source,
								  KafkaTimeFormat time_format,
								  MemoryContext context);

/*
 * Forgets the state of the functions called, for the caller is about to reset
 * its context: a function that raised an error may have left it half-made.
 */
extern void kafka_conversion_forget(KafkaConversion *conversion);

/* Can a field that is not NULL, or NULL itself, fail to be converted? */
extern bool kafka_conversion_can_fail(const KafkaConversion *conversion);

/* JSON's null and a field that is missing, which are NULL alike. */
static inline bool
kafka_field_is_null(const KafkaJsonValue *field)
{
	return field->kind <= KAFKA_JSON_NULL;
}

/*
 * Converts a field that is not NULL; false when kafka_convert_checked has to.
 * What is not passed by value is palloc'd or points into the field.  Raises
 * errors only for want of memory and for a broken database.
 */
static inline bool
kafka_convert_fast(const KafkaConversion *conversion,
				   const KafkaJsonValue *field, Datum *value)
{
	return conversion->fast(conversion, field, value);
}

/*
 * Converts any field, with a domain's constraints checked, also for NULL.
 * palloc'd in the current context.  Raises whatever errors the type's
 * functions and the domain's constraints raise.
 */
extern Datum kafka_convert_checked(KafkaConversion *conversion,
								   const KafkaJsonValue *field, bool *isnull);

/* Checks a value of the base type against a domain's constraints, if any. */
extern void kafka_convert_check_domain(KafkaConversion *conversion,
									   Datum value, bool isnull);

/*
 * A record's or field's time as timestamptz, timestamp or date, through the
 * session's time zone as a cast does.  false, unless checked, where that might
 * be out of range.
 */
extern bool kafka_convert_moment(Oid type, int32 typmod, TimestampTz moment,
								 bool checked, Datum *value);

/*
 * UTF-8 text as NUL-terminated text in the server's encoding, palloc'd.
 * Raises an error when it is not valid, or cannot be expressed.
 */
extern char *kafka_convert_utf8(const char *text, size_t length);

/* Chooses the fast function; convert.c's other half. */
extern KafkaFastFunction
kafka_convert_choose_fast(const KafkaConversion *conversion);

#endif /* KAFKA_CONVERT_H */
