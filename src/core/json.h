/*-------------------------------------------------------------------------
 *
 * json.h
 *		Picks chosen fields out of JSON documents, validating all of each.
 *
 * The C face of json.cpp, the only C++ file of the project: simdjson finds
 * where the tokens of a document start, and json.cpp walks over all of them
 * once, so that a document which PostgreSQL's jsonb_in refuses is refused here
 * too, wherever in it the fault lies.  Values come back as the text that
 * json_to_record would hand to a type's input function.
 *
 * No PostgreSQL header and no exception crosses this file; nothing here
 * aborts, throws, or keeps a pointer into the caller's document.
 *
 * IDENTIFICATION
 *		src/core/json.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef KAFKA_JSON_H
#define KAFKA_JSON_H

#include <stdbool.h>
#include <stddef.h>

/* json.cpp defines what C calls. */
#ifdef __cplusplus
#define KAFKA_JSON_API extern "C"
#else
#define KAFKA_JSON_API extern
#endif

typedef enum KafkaJsonKind
{
	KAFKA_JSON_MISSING = 0, /* no such field */
	KAFKA_JSON_NULL,
	KAFKA_JSON_FALSE,
	KAFKA_JSON_TRUE,
	KAFKA_JSON_NUMBER,
	KAFKA_JSON_STRING,
	KAFKA_JSON_OBJECT,
	KAFKA_JSON_ARRAY
} KafkaJsonKind;

/*
 * One field's value.  All pointers stay valid until the next parse with, or
 * the destruction of, the same KafkaJson; none is NUL-terminated, but one
 * byte past each may be read.
 */
typedef struct KafkaJsonValue
{
	KafkaJsonKind kind;
	const char *text; /* string: unescaped UTF-8 content; true,
					   * false, number: the token; object, array: its
					   * source text, braces included; else NULL */
	size_t length;    /* of text, in bytes */
	const char *raw;  /* source text, quotes included; NULL only for
					   * KAFKA_JSON_MISSING */
	size_t raw_length;
} KafkaJsonValue;

typedef enum KafkaJsonStatus
{
	KAFKA_JSON_OK = 0,
	KAFKA_JSON_INVALID,    /* not JSON; reason tells why */
	KAFKA_JSON_NOT_OBJECT, /* JSON, but its root is a scalar or array */
	KAFKA_JSON_NO_MEMORY
} KafkaJsonStatus;

typedef struct KafkaJsonResult
{
	KafkaJsonStatus status;
	const char *reason; /* static text for INVALID and NOT_OBJECT, a
						 * full English sentence without period */
	size_t position;    /* byte in the document near which it failed */

	/*
	 * Set with KAFKA_JSON_OK when only the server can say whether jsonb_in
	 * takes the document: nesting deeper than 512 (its stack limit), a number
	 * whose exponent or length may be outside numeric's range, or more than
	 * 16 MB (jsonb's own limits of size).  The values are filled in as usual.
	 */
	bool ask_server;
} KafkaJsonResult;

typedef struct KafkaJson KafkaJson;

/*
 * Makes a parser for nfields fields.  Field i is named paths[i]: the key with
 * exactly that name at the top level if the document has one, else, where the
 * name has dots, the value reached by its components through nested objects
 * ("user.id": key "user.id", else field id of object user).  Of repeated keys
 * the last wins, with all that is under it, as in json_to_record.  The same
 * path may be named more than once.  Names are UTF-8.
 *
 * Returns NULL when there is no memory.  The names are copied.
 */
KAFKA_JSON_API KafkaJson *kafka_json_create(const char *const *paths,
											int nfields);

KAFKA_JSON_API void kafka_json_destroy(KafkaJson *json);

/*
 * Parses one document and fills values[0..nfields).  The document need not be
 * padded or NUL-terminated, and is not kept.
 *
 * When the status is not KAFKA_JSON_OK the values are undefined.
 */
KAFKA_JSON_API KafkaJsonResult kafka_json_parse(KafkaJson *json,
												const char *document,
												size_t length,
												KafkaJsonValue *values);

/* Version of the simdjson library in use, for example "3.0.1". */
KAFKA_JSON_API const char *kafka_json_library_version(void);

#endif /* KAFKA_JSON_H */
