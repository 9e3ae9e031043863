/*-------------------------------------------------------------------------
 *
 * csv.h
 *		Splits a message in delimited text into fields, by COPY's CSV rules.
 *
 * IDENTIFICATION
 *		src/core/csv.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef KAFKA_CSV_H
#define KAFKA_CSV_H

#include <stdbool.h>
#include <stddef.h>

typedef struct KafkaCsvDialect
{
	char delimiter;
	char quote;
	char escape;           /* may equal quote */
	const char *null_text; /* an unquoted field equal to it is NULL */
	size_t null_length;
} KafkaCsvDialect;

typedef struct KafkaCsvField
{
	const char *text; /* NULL for a NULL field; NUL-terminated */
	size_t length;
} KafkaCsvField;

typedef enum KafkaCsvStatus
{
	KAFKA_CSV_OK = 0,
	KAFKA_CSV_UNTERMINATED_QUOTE,
	KAFKA_CSV_SECOND_LINE, /* an unquoted line end inside the message */
	KAFKA_CSV_NUL_BYTE     /* COPY cannot take one either */
} KafkaCsvStatus;

/*
 * Splits message[0..length) into at most max_fields fields.  One trailing
 * line end (\n, \r\n or \r) is ignored.  buffer must hold
 * kafka_csv_buffer_size(length, max_fields) bytes and owns the fields' text.
 * *nfields gets the number of fields the message has, which may exceed
 * max_fields: what is past it was checked for syntax but not stored.
 *
 * A message without bytes is one field without text, which is NULL if
 * null_text is empty.  "\." is a field like any other.  The dialect must be
 * one that COPY takes: a delimiter other than the quote, neither of them a
 * line end, and neither of them in null_text.
 *
 * When the status is not KAFKA_CSV_OK, fields and *nfields are undefined.
 */
extern KafkaCsvStatus kafka_csv_split(const KafkaCsvDialect *dialect,
									  const char *message, size_t length,
									  KafkaCsvField *fields, int max_fields,
									  int *nfields, char *buffer);

extern size_t kafka_csv_buffer_size(size_t length, int max_fields);

/* A sentence without period that says what the status means. */
extern const char *kafka_csv_reason(KafkaCsvStatus status);

#endif /* KAFKA_CSV_H */
