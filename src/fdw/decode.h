/*-------------------------------------------------------------------------
 *
 * decode.h
 *		From a Kafka record to column values.
 *
 * IDENTIFICATION
 *		src/fdw/decode.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef KAFKA_DECODE_H
#define KAFKA_DECODE_H

#include "access/tupdesc.h"
#include "client/client.h"
#include "option.h"

/*
 * Decodes a fixed set of columns of a foreign table together.  A scan may
 * have two: one for the columns its filter needs, one for the rest, which
 * most messages never come to.
 */
typedef struct KafkaDecoder KafkaDecoder;

/*
 * Makes a decoder for natts columns of the table (attribute numbers, each at
 * most once).  It and all it needs live in the current memory context; what
 * is not memory (the JSON parser) is freed when that context is reset.
 *
 * With on_error skip, or when a junk column is among attnums, the decoder
 * also tries all other columns of the table, since whether a message is bad
 * must not depend on which columns are asked for.
 */
extern KafkaDecoder *kafka_decoder_create(const KafkaTableOptions *table,
										  const KafkaColumnOptions *columns,
										  TupleDesc tupdesc,
										  const AttrNumber *attnums,
										  int natts);

/*
 * The same for scans that put bad messages aside: whatever the table's
 * on_error, a bad message is one of which any of the columns asked for fails,
 * and kafka_decoder_run returns false for it.  Junk columns are NULL.
 */
extern KafkaDecoder *kafka_decoder_create_reporting(
	const KafkaTableOptions *table, const KafkaColumnOptions *columns,
	TupleDesc tupdesc, const AttrNumber *attnums, int natts);

/*
 * The same for values that several scans are to share, of which not each needs
 * all columns: a column that cannot be converted spoils no other.  Its value is
 * NULL then, whatever the error was, and kafka_decoder_run returns false;
 * kafka_decoder_get_failed says which they are.  What was wrong with it is for
 * a decoder of the other kinds to say.  Junk columns must not be asked for.
 */
extern KafkaDecoder *kafka_decoder_create_collecting(
	const KafkaTableOptions *table, const KafkaColumnOptions *columns,
	TupleDesc tupdesc, const AttrNumber *attnums, int natts);

/*
 * After a run of such a decoder that has returned false: for each column asked
 * for whether it failed, or NULL when the message, or its key, cannot be parsed.
 */
extern const bool *kafka_decoder_get_failed(const KafkaDecoder *decoder);

/*
 * From now on an error that a message is at fault for says no more than that
 * foreign table table_name has such a message: not which, and not what is in
 * it.  For scans that decode rows which their reader may not get to see.
 */
extern void kafka_decoder_set_discreet(KafkaDecoder *decoder,
									   const char *table_name);

/*
 * Decodes one message into values[i], isnull[i] for attnums[i].  The values
 * live until the next call.  True for a good message.
 *
 * A bad one, by the table's on_error: "error" raises the error, with topic,
 * partition, offset and column as its context; "null" gives NULL for the
 * columns that fail (all payload columns where the message cannot be parsed
 * at all), fills junk and junk_error, and returns false; "skip" returns
 * false, and values are undefined.
 *
 * A tombstone's payload columns are NULL, and it is a good message.
 */
extern bool kafka_decoder_run(KafkaDecoder *decoder,
							  const KafkaMessage *message, Datum *values,
							  bool *isnull);

/*
 * After a run that has returned false: the SQLSTATE of the message's first
 * fault, and what junk_error would say.  The text lives until the next run.
 */
extern int kafka_decoder_get_fault(const KafkaDecoder *decoder,
								   const char **text);

#endif /* KAFKA_DECODE_H */
