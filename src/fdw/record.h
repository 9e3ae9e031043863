/*-------------------------------------------------------------------------
 *
 * record.h
 *		The parts of a Kafka record that columns with a role show.
 *
 * IDENTIFICATION
 *		src/fdw/record.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef KAFKA_RECORD_H
#define KAFKA_RECORD_H

#include "client/client.h"
#include "core/json.h"
#include "option.h"

/*
 * True for the roles that are bytes or text: topic, timestamp_type, key and
 * value.  They come as fields, to be converted to the column's type; the
 * others come as values.
 */
extern bool kafka_record_is_field(KafkaRole role);

/* Such a field; it points into the message.  KAFKA_JSON_NULL for none. */
extern KafkaJsonValue kafka_record_field(KafkaRole role,
										 const KafkaMessage *message);

/*
 * A role's value in a base type that the role can have: partition, offset,
 * timestamp, headers.  palloc'd in the current context.  *isnull for a record
 * without a time.  When the type cannot hold the value it raises an error if
 * checked, else returns false.
 */
extern bool kafka_record_value(KafkaRole role, Oid type, int32 typmod,
							   const KafkaMessage *message, bool checked,
							   Datum *value, bool *isnull);

/* "\x" and two digits for each byte, as a bytea is shown; palloc'd. */
extern char *kafka_record_hex(const char *bytes, size_t length,
							  size_t *hex_length);

#endif /* KAFKA_RECORD_H */
