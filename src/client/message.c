/*-------------------------------------------------------------------------
 *
 * message.c
 *		What a message holds beside its bytes: its time and its headers.
 *
 * A message is the library's own, or one that was kept in a batch (batch.c).
 *
 * IDENTIFICATION
 *		src/client/message.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "client/batch.h"
#include "client/handle.h"

int64
kafka_message_timestamp(const KafkaMessage *message, bool *log_append_time)
{
	rd_kafka_timestamp_type_t type;
	int64 time_ms;

	if (message->native == NULL)
	{
		*log_append_time = message->entry->log_append_time;
		return message->entry->timestamp_ms;
	}
	time_ms = rd_kafka_message_timestamp(message->native, &type);
	*log_append_time = (type == RD_KAFKA_TIMESTAMP_LOG_APPEND_TIME);
	return type == RD_KAFKA_TIMESTAMP_NOT_AVAILABLE ? -1 : time_ms;
}

bool
kafka_message_header(const KafkaMessage *message, int index, const char **name,
					 const char **value, size_t *length)
{
	rd_kafka_headers_t *headers;
	const void *bytes;

	if (message->native == NULL)
		return kafka_batch_entry_header(message->entry, index, name, value,
										length);
	if (rd_kafka_message_headers(message->native, &headers) !=
			RD_KAFKA_RESP_ERR_NO_ERROR ||
		rd_kafka_header_get_all(headers, index, name, &bytes, length) !=
			RD_KAFKA_RESP_ERR_NO_ERROR)
		return false;
	*value = bytes;
	return true;
}
