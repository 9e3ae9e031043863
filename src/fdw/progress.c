/*-------------------------------------------------------------------------
 *
 * progress.c
 *		Tells the user of a long scan how far it is, and stops one that
 *		would read more than it may.
 *
 * IDENTIFICATION
 *		src/fdw/progress.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fdw/reader.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

/*
 * The least a message takes, until this backend has read some of the topic
 * and knows better: an estimate must not refuse what would have been allowed.
 */
#define SMALLEST_MESSAGE_BYTES 16

typedef struct KafkaProgress
{
	TimestampTz reported_at;
} KafkaProgress;

struct KafkaProgress *
kafka_progress_create(KafkaReader *reader)
{
	return palloc0(sizeof(KafkaProgress));
}

static void
raise_too_much(const KafkaReader *reader, double bytes, bool estimated)
{
	ereport(
		ERROR,
		(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
		 errmsg(
			 "scan of Kafka topic \"%s\" would exceed the limit of %.0f bytes",
			 reader->topics[0]->name, kafka_max_scan_bytes),
		 estimated
			 ? errdetail("It would read an estimated %.0f bytes or more.",
						 bytes)
			 : errdetail("It has read %.0f bytes.", bytes),
		 errhint(
			 "Narrow the query by a condition on the record timestamp, the offset or the partition, or raise \"kafka_fdw.max_scan_bytes\".")));
}

/* What messages of this table take on average, as far as seen. */
static int64
mean_message_bytes(const KafkaReader *reader)
{
	if (reader->messages < 100)
		return SMALLEST_MESSAGE_BYTES;
	return Max(reader->bytes / reader->messages, SMALLEST_MESSAGE_BYTES);
}

/* Checks the ranges about to be read against max_scan_bytes. */
void
kafka_progress_begin(KafkaReader *reader)
{
	double estimate;

	if (!reader->goes_on)
		reader->progress->reported_at = GetCurrentTimestamp();
	if (kafka_max_scan_bytes < 0 || reader->has_no_limit ||
		reader->may_stop_early)
		return;
	estimate = (double) kafka_reader_count_offsets(reader) *
			   mean_message_bytes(reader);
	if (estimate > kafka_max_scan_bytes)
		raise_too_much(reader, estimate, true);
}

/* Called by the cursor between batches and while it waits. */
void
kafka_progress_tick(void *arg)
{
	KafkaReader *reader = (KafkaReader *) arg;
	const KafkaCursorStats *stats;
	TimestampTz now;

	if (reader->cursor == NULL)
		return;
	stats = kafka_cursor_stats(reader->cursor);
	if (kafka_max_scan_bytes >= 0 && !reader->has_no_limit &&
		reader->bytes + stats->bytes > kafka_max_scan_bytes)
		raise_too_much(reader, reader->bytes + stats->bytes, false);
	if (kafka_progress_interval_ms <= 0)
		return;
	now = GetCurrentTimestamp();
	if (!TimestampDifferenceExceeds(reader->progress->reported_at, now,
									kafka_progress_interval_ms))
		return;
	reader->progress->reported_at = now;
	ereport(
		NOTICE,
		(errmsg(
			 "read %lld messages of Kafka topic \"%s\", %d%% of the offsets",
			 (long long) (reader->messages + stats->messages),
			 reader->topics[0]->name,
			 stats->planned > 0 ? (int) (stats->passed * 100 / stats->planned)
								: 100),
		 errdetail("Partitions still to be read: %s.",
				   kafka_cursor_describe_open(reader->cursor)),
		 errhidestmt(true), errhidecontext(true)));
}
