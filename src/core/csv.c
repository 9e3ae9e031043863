/*-------------------------------------------------------------------------
 *
 * csv.c
 *		Splits a message in delimited text into fields, by COPY's CSV rules.
 *
 * The rules are those of COPY FROM ... (FORMAT csv) for one row, oddities
 * included: a quote may open anywhere in a field ('a"b,c"d' is one field,
 * 'ab,cd'), the escape character means something only inside quotes and only
 * before a quote or another escape, blanks count, and a NULL text matches
 * only a field without any quote.
 *
 * Two things differ because a message is a whole row by itself and no part of
 * a stream.  COPY takes a line of only "\." for the end of its data, and reads
 * no row from it or from no bytes at all.  Here the first is a field like any
 * other, and the second one field without text: the message exists, and to
 * leave it out would lose it without a word.
 *
 * IDENTIFICATION
 *		src/core/csv.c
 *
 *-------------------------------------------------------------------------
 */
#include "csv.h"

#include <string.h>

/* Where reading and writing stand. */
typedef struct CsvCursor
{
	const char *next; /* next byte of the message */
	const char *end;
	char *output; /* next byte of the buffer */
} CsvCursor;

/* Reads to the closing quote; the opening one is behind the cursor. */
static KafkaCsvStatus
read_quoted(const KafkaCsvDialect *dialect, CsvCursor *cursor)
{
	const char quote = dialect->quote;
	const char escape = dialect->escape;
	const char *end = cursor->end;
	const char *next = cursor->next;
	char *output = cursor->output;

	while (next < end)
	{
		char c = *next++;

		/* before the test for the quote, which escape may be equal to */
		if (c == escape && next < end && (*next == escape || *next == quote))
			c = *next++;
		else if (c == quote)
		{
			cursor->next = next;
			cursor->output = output;
			return KAFKA_CSV_OK;
		}
		*output++ = c;
	}
	return KAFKA_CSV_UNTERMINATED_QUOTE;
}

/*
 * Reads one field and the delimiter after it.  *quoted tells whether it had a
 * quote anywhere, *last whether it ended with the message.
 */
static KafkaCsvStatus
read_field(const KafkaCsvDialect *dialect, CsvCursor *cursor, bool *quoted,
		   bool *last)
{
	const char delimiter = dialect->delimiter;
	const char quote = dialect->quote;

	*quoted = false;
	*last = false;
	while (cursor->next < cursor->end)
	{
		char c = *cursor->next++;

		if (c == delimiter)
			return KAFKA_CSV_OK;
		if (c == '\n' || c == '\r')
			return KAFKA_CSV_SECOND_LINE;
		if (c == quote)
		{
			KafkaCsvStatus status = read_quoted(dialect, cursor);

			if (status != KAFKA_CSV_OK)
				return status;
			*quoted = true;
		}
		else
			*cursor->output++ = c;
	}
	*last = true;
	return KAFKA_CSV_OK;
}

static bool
is_null_text(const KafkaCsvDialect *dialect, const char *text, size_t length)
{
	return length == dialect->null_length &&
		   (length == 0 || memcmp(text, dialect->null_text, length) == 0);
}

/*
 * The length without one line end.  If that stands inside quotes, the quotes
 * have no end anyway, so it need not be known here.
 */
static size_t
drop_line_end(const char *message, size_t length)
{
	if (length > 0 && message[length - 1] == '\n')
	{
		length--;
		if (length > 0 && message[length - 1] == '\r')
			length--;
	}
	else if (length > 0 && message[length - 1] == '\r')
		length--;
	return length;
}

KafkaCsvStatus
kafka_csv_split(const KafkaCsvDialect *dialect, const char *message,
				size_t length, KafkaCsvField *fields, int max_fields,
				int *nfields, char *buffer)
{
	CsvCursor cursor;
	bool last = false;
	int n = 0;

	if (length > 0 && memchr(message, '\0', length) != NULL)
		return KAFKA_CSV_NUL_BYTE;
	cursor.next = message;
	cursor.end = message + drop_line_end(message, length);
	cursor.output = buffer;
	for (; !last; n++)
	{
		char *text = cursor.output;
		bool quoted;
		KafkaCsvStatus status = read_field(dialect, &cursor, &quoted, &last);

		if (status != KAFKA_CSV_OK)
			return status;
		if (n < max_fields)
		{
			size_t text_length = (size_t) (cursor.output - text);
			bool is_null = !quoted && is_null_text(dialect, text, text_length);

			fields[n].text = is_null ? NULL : text;
			fields[n].length = is_null ? 0 : text_length;
			*cursor.output++ = '\0';
		}
	}
	*nfields = n;
	return KAFKA_CSV_OK;
}

size_t
kafka_csv_buffer_size(size_t length, int max_fields)
{
	/*
	 * All texts, kept or not, are no longer than their source; then come
	 * the zero bytes of those that are kept.
	 */
	return length + (size_t) (max_fields > 0 ? max_fields : 0) + 1;
}

const char *
kafka_csv_reason(KafkaCsvStatus status)
{
	switch (status)
	{
		case KAFKA_CSV_OK:
			break;
		case KAFKA_CSV_UNTERMINATED_QUOTE:
			return "A quoted field has no closing quote";
		case KAFKA_CSV_SECOND_LINE:
			return "The message has more than one line outside quotes";
		case KAFKA_CSV_NUL_BYTE:
			return "The message contains a zero byte";
	}
	return "The message is well-formed";
}
