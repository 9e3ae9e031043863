/*-------------------------------------------------------------------------
 *
 * ahead.c
 *		What a window is going to ask the brokers, told as early as possible.
 *
 * The questions about a window go out with the one for the ends of its
 * partitions, if that can be; see answer.c for why they may.  To tell them one
 * must know whether times are looked up at all, and how far past a window's
 * end its stop is.  Where the table does not say, that depends on the topic's
 * settings, which are then guessed to be those that the handle last heard of.
 * The window itself (window.c) goes by what is known for certain.  Either it
 * finds the answers to its questions or it asks them.
 *
 * IDENTIFICATION
 *		src/fdw/ahead.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/int.h"
#include "fdw/window.h"

int64
kafka_window_disorder(const KafkaReader *reader,
					  const KafkaTopicSettings *settings,
					  KafkaStopReason *reason)
{
	const KafkaTableOptions *table = reader->table;
	int64 skew_ms = reader->connection->broker_clock_skew_ms;
	int64 sum;

	*reason = KAFKA_STOP_DECLARED;
	if (table->disorder_declared)
		return table->timestamp_max_lag_ms + table->timestamp_max_lead_ms +
			   skew_ms;
	if (settings->known && table->topic_limits && settings->log_append_time)
	{
		*reason = KAFKA_STOP_LOG_APPEND_TIME;
		return skew_ms;
	}
	*reason = KAFKA_STOP_TOPIC_LIMITS;
	if (settings->known && table->topic_limits &&
		!pg_add_s64_overflow(settings->before_max_ms, settings->after_max_ms,
							 &sum) &&
		!pg_add_s64_overflow(sum, skew_ms, &sum))
		return sum;
	*reason = KAFKA_STOP_UNBOUNDED_DISORDER;
	return -1;
}

int64
kafka_window_stop_time(int64 end_ms, int64 slack_ms)
{
	int64 time_ms;

	if (pg_add_s64_overflow(end_ms, slack_ms, &time_ms))
		return PG_INT64_MAX;
	return Max(time_ms, 0);
}

bool
kafka_window_guess(KafkaReader *reader, const char *topic, int64 *slack_ms)
{
	const KafkaTableOptions *table = reader->table;
	KafkaTopicSettings settings = {0};
	KafkaStopReason reason;
	bool heard =
		kafka_client_recall_settings(reader->client, topic, &settings);

	*slack_ms = kafka_window_disorder(reader, &settings, &reason);
	if (table->trust_time_index != KAFKA_TRUST_DEFAULT)
		return table->trust_time_index == KAFKA_TRUST_YES;
	return heard && !(settings.known && settings.remote_storage);
}

void
kafka_window_want_times(KafkaReader *reader, int topic_index,
						const char *topic, int32 partition, KafkaRange time_ms,
						int64 slack_ms)
{
	KafkaAnswers *answers = kafka_reader_answers(reader);

	if (time_ms.start > 0)
		kafka_answers_want(answers, topic_index, topic, partition,
						   time_ms.start, false);
	if (slack_ms >= 0 && time_ms.end < PG_INT64_MAX)
		kafka_answers_want(answers, topic_index, topic, partition,
						   kafka_window_stop_time(time_ms.end, slack_ms),
						   true);
}

/* What is the same for all partitions of a topic */
typedef struct WantedTopic
{
	const KafkaTopic *topic;
	int index;
	bool seeks; /* looks up times ... */
	int64 slack_ms;
	KafkaSlice *slices; /* room for those of a partition */
} WantedTopic;

/*
 * Notes the times of one partition; true when it has a slice whose start is
 * not the offset of a time, so that the log's start will be wanted.
 */
static bool
want_partition(KafkaReader *reader, const KafkaBounds *bounds,
			   const WantedTopic *wanted, int32 partition)
{
	int nslices =
		kafka_bounds_slices(bounds, partition, wanted->topic->npartitions,
							wanted->slices);
	bool wants_start = false;

	for (int s = 0; s < nslices; s++)
	{
		const KafkaSlice *slice = &wanted->slices[s];

		if (kafka_range_is_empty(slice->offset) || slice->offset.end <= 0 ||
			kafka_range_is_empty(slice->time_ms))
			continue;
		wants_start |= !wanted->seeks || slice->time_ms.start <= 0;
		if (wanted->seeks)
			kafka_window_want_times(reader, wanted->index, wanted->topic->name,
									partition, slice->time_ms,
									wanted->slack_ms);
	}
	return wants_start;
}

void
kafka_window_want(KafkaReader *reader, const KafkaBounds *bounds,
				  int topic_index, const KafkaTopic *topic)
{
	WantedTopic wanted = {.topic = topic, .index = topic_index};
	bool wants_start = bounds == NULL;

	wanted.seeks = kafka_window_guess(reader, topic->name, &wanted.slack_ms);
	wanted.slices = palloc(sizeof(KafkaSlice) * KAFKA_BOUNDS_MAX_BOXES);
	for (int i = 0; bounds && i < topic->npartitions; i++)
	{
		if (kafka_option_has_partition(reader->table, topic->partitions[i]))
			wants_start |=
				want_partition(reader, bounds, &wanted, topic->partitions[i]);
	}
	pfree(wanted.slices);

	/* As kafka_reader_need_starts does, which asks for all partitions'. */
	for (int i = 0; wants_start && i < topic->npartitions; i++)
		kafka_answers_want(kafka_reader_answers(reader), topic_index,
						   topic->name, topic->partitions[i],
						   KAFKA_LOOKUP_START, true);
}

void
kafka_window_ask_ahead(KafkaReader *reader, const KafkaBounds *bounds)
{
	for (int t = 0; t < reader->ntopics; t++)
	{
		const KafkaSnapshotTopic *source = reader->topics[t];
		KafkaTopic topic = {.name = source->name,
							.npartitions = source->nparts};
		WantedTopic wanted = {.topic = &topic, .index = t};

		wanted.seeks =
			kafka_window_guess(reader, topic.name, &wanted.slack_ms);
		wanted.slices = palloc(sizeof(KafkaSlice) * KAFKA_BOUNDS_MAX_BOXES);
		for (int i = 0; i < source->nparts; i++)
		{
			int32 partition = source->parts[i].partition;

			if (kafka_option_has_partition(reader->table, partition))
				(void) want_partition(reader, bounds, &wanted, partition);
		}
		pfree(wanted.slices);
	}
	if (reader->answers)
		kafka_answers_begin(reader->answers, reader->client);
}

void
kafka_window_request_settings(KafkaReader *reader, const KafkaBounds *bounds,
							  char *const *names, int ntopics)
{
	const KafkaTableOptions *table = reader->table;
	bool has_times = false;
	bool has_stops = false;

	for (int b = 0; bounds && b < bounds->nboxes; b++)
	{
		KafkaRange time_ms = bounds->boxes[b].range[KAFKA_DIMENSION_TIME];

		has_times |= time_ms.start > 0 || time_ms.end < PG_INT64_MAX;
		has_stops |= time_ms.end < PG_INT64_MAX;
	}
	has_stops &=
		!table->disorder_declared && table->trust_time_index != KAFKA_TRUST_NO;
	has_times &= table->trust_time_index == KAFKA_TRUST_DEFAULT;
	for (int i = 0; (has_times || has_stops) && i < ntopics; i++)
		kafka_client_request_settings(reader->client, names[i], has_stops);
}
