/*-------------------------------------------------------------------------
 *
 * topic.c
 *		What topics there are, their partitions and their settings.
 *
 * Asking for metadata comes first in every scan: librdkafka is silent, not
 * wrong, when told to read a topic or a partition that does not exist or that
 * the user may not see.
 *
 * IDENTIFICATION
 *		src/client/topic.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_collation.h"
#include "client/handle.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "regex/regex.h"
#include "utils/builtins.h"

/* How long a topic's settings are believed. */
#define SETTINGS_LIFETIME_MS 60000

/*
 * Once every broker has refused, more waiting rarely helps; a little does,
 * where a name has several addresses and the first does not answer.
 */
#define GRACE_AFTER_ALL_DOWN_MS 1000

/* ----------------------------------------------------------------
 * Metadata
 * ----------------------------------------------------------------
 */

/* Is an address one that the server's "brokers" option has? */
static bool
is_configured(const KafkaClient *client, const char *address)
{
	const char *found = client->brokers;
	size_t length = strlen(address);

	while ((found = strstr(found, address)) != NULL)
	{
		bool begins = found == client->brokers || found[-1] == ',' ||
					  found[-1] == ' ' || found[-1] == '/';

		found += length;
		if (begins && (*found == '\0' || *found == ',' || *found == ' '))
			return true;
	}
	return false;
}

/*
 * Remembers the addresses that the brokers give themselves and the user does
 * not know of, for errors.
 */
static void
note_advertised(KafkaClient *client, const rd_kafka_metadata_t *metadata)
{
	char list[KAFKA_ERROR_TEXT_MAX] = "";
	int used = 0;

	for (int i = 0; i < metadata->broker_cnt; i++)
	{
		char address[KAFKA_ERROR_TEXT_MAX / 2];

		snprintf(address, sizeof(address), "%s:%d", metadata->brokers[i].host,
				 metadata->brokers[i].port);
		if (is_configured(client, address) || used >= sizeof(list) - 1)
			continue;
		used += snprintf(list + used, sizeof(list) - used, "%s\"%s\"",
						 used ? ", " : "", address);
	}
	free(client->advertised);
	client->advertised = used ? strdup(list) : NULL;
}

/*
 * Asks for the metadata of one topic, or of all with rkt NULL; the caller
 * frees the answer.  Blocks in slices up to connect_timeout.
 */
static const rd_kafka_metadata_t *
ask_metadata(KafkaClient *client, rd_kafka_topic_t *rkt)
{
	int64 begin_ms = kafka_clock_ms();
	int64 down_since_ms = 0;
	int slice_ms = KAFKA_FIRST_SLICE_MS;

	for (;;)
	{
		const rd_kafka_metadata_t *metadata;
		rd_kafka_resp_err_t err;
		int64 now_ms;

		/* Here too: many quick answers in a row take long as well. */
		CHECK_FOR_INTERRUPTS();
		err = rd_kafka_metadata(client->rk, rkt == NULL, rkt, &metadata,
								slice_ms);
		if (err == RD_KAFKA_RESP_ERR_NO_ERROR)
		{
			client->answered = true;
			client->all_down = false;
			client->fault.code = RD_KAFKA_RESP_ERR_NO_ERROR;
			note_advertised(client, metadata);
			return metadata;
		}
		CHECK_FOR_INTERRUPTS();
		kafka_client_serve_events(client);
		now_ms = kafka_clock_ms();
		client->waited_ms = now_ms - begin_ms;
		if (client->all_down && down_since_ms == 0)
			down_since_ms = now_ms;
		if (client->waited_ms >= client->connect_timeout_ms ||
			(!client->answered && down_since_ms > 0 &&
			 now_ms - down_since_ms >= GRACE_AFTER_ALL_DOWN_MS) ||
			!kafka_error_is_transient(err))
			kafka_client_raise(client, KAFKA_DOING_CONNECT, err, NULL, NULL,
							   -1);
		slice_ms = Min(slice_ms * 2, KAFKA_MAX_SLICE_MS);
	}
}

static int
compare_int32(const void *a, const void *b)
{
	int32 x = *(const int32 *) a;
	int32 y = *(const int32 *) b;

	return (x > y) - (x < y);
}

static void
copy_topic(KafkaTopic *topic, const rd_kafka_metadata_topic_t *source)
{
	topic->name = pstrdup(source->topic);
	topic->npartitions = source->partition_cnt;
	topic->partitions = palloc(sizeof(int32) * Max(source->partition_cnt, 1));
	for (int i = 0; i < source->partition_cnt; i++)
		topic->partitions[i] = source->partitions[i].id;
	qsort(topic->partitions, topic->npartitions, sizeof(int32), compare_int32);
}

static int
compare_topics(const void *a, const void *b)
{
	return strcmp(((const KafkaTopic *) a)->name,
				  ((const KafkaTopic *) b)->name);
}

/*
 * Every topic the broker tells of, in name order.  One whose leaders are being
 * elected may come without partitions.
 */
static KafkaTopic *
list_topics(KafkaClient *client, int *ntopics)
{
	const rd_kafka_metadata_t *metadata = ask_metadata(client, NULL);
	KafkaTopic *topics = NULL;
	int count = 0;

	PG_TRY();
	{
		topics = palloc(sizeof(KafkaTopic) * Max(metadata->topic_cnt, 1));
		for (int i = 0; i < metadata->topic_cnt; i++)
		{
			rd_kafka_resp_err_t err = metadata->topics[i].err;

			if (err == RD_KAFKA_RESP_ERR_NO_ERROR ||
				kafka_error_is_transient(err))
				copy_topic(&topics[count++], &metadata->topics[i]);
		}
	}
	PG_FINALLY();
	{
		rd_kafka_metadata_destroy(metadata);
	}
	PG_END_TRY();
	qsort(topics, count, sizeof(KafkaTopic), compare_topics);
	*ntopics = count;
	return topics;
}

static void
raise_unknown_topic(KafkaClient *client, const char *name)
{
	int ntopics;
	KafkaTopic *topics = list_topics(client, &ntopics);
	const char **names = palloc(sizeof(char *) * Max(ntopics, 1));
	const char *nearest;

	for (int i = 0; i < ntopics; i++)
		names[i] = topics[i].name;
	nearest = kafka_option_nearest(name, names, ntopics);
	ereport(ERROR,
			(errcode(ERRCODE_FDW_TABLE_NOT_FOUND),
			 errmsg("Kafka topic \"%s\" does not exist", name),
			 errdetail_plural("Kafka server \"%s\" shows this user %d topic.",
							  "Kafka server \"%s\" shows this user %d topics.",
							  ntopics, client->server_name, ntopics),
			 nearest
				 ? errhint("Perhaps you meant the topic \"%s\".", nearest)
				 : errhint(
					   "Check the \"topic\" option of the foreign table.")));
}

/*
 * Copies one topic's answer; false when its leaders are being elected and it
 * should be asked again.
 */
static bool
read_topic_answer(const rd_kafka_metadata_t *metadata, KafkaTopic *topic,
				  rd_kafka_resp_err_t *err)
{
	*err = RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART;
	if (metadata->topic_cnt < 1)
		return true;
	*err = metadata->topics[0].err;
	if (kafka_error_is_transient(*err) ||
		(*err == RD_KAFKA_RESP_ERR_NO_ERROR &&
		 metadata->topics[0].partition_cnt == 0))
		return false;
	if (*err == RD_KAFKA_RESP_ERR_NO_ERROR)
		copy_topic(topic, &metadata->topics[0]);
	return true;
}

static void
describe_topic(KafkaClient *client, const char *name, KafkaTopic *topic)
{
	int64 begin_ms = kafka_clock_ms();
	rd_kafka_resp_err_t err = RD_KAFKA_RESP_ERR_NO_ERROR;

	for (;;)
	{
		rd_kafka_topic_t *rkt = rd_kafka_topic_new(client->rk, name, NULL);
		const rd_kafka_metadata_t *volatile metadata = NULL;
		bool settled = false;

		if (rkt == NULL)
			kafka_client_raise(client, KAFKA_DOING_CONNECT,
							   rd_kafka_last_error(), NULL, name, -1);
		PG_TRY();
		{
			metadata = ask_metadata(client, rkt);
			settled = read_topic_answer(metadata, topic, &err);
		}
		PG_FINALLY();
		{
			if (metadata)
				rd_kafka_metadata_destroy(metadata);
			rd_kafka_topic_destroy(rkt);
		}
		PG_END_TRY();
		if (settled)
			break;
		if (kafka_clock_ms() - begin_ms >= client->fetch_timeout_ms)
			break;
		kafka_client_wait(client, KAFKA_RETRY_PAUSE_MS);
	}
	if (err == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART)
		raise_unknown_topic(client, name);
	if (err != RD_KAFKA_RESP_ERR_NO_ERROR)
		kafka_client_raise(client, KAFKA_DOING_ADMIN, err,
						   rd_kafka_err2str(err), name, -1);
}

KafkaTopic *
kafka_client_describe_topics(KafkaClient *client, char *const *names,
							 int ntopics)
{
	KafkaTopic *topics = palloc0(sizeof(KafkaTopic) * Max(ntopics, 1));

	for (int i = 0; i < ntopics; i++)
		describe_topic(client, names[i], &topics[i]);
	return topics;
}

KafkaTopic *
kafka_client_match_topics(KafkaClient *client, const char *pattern,
						  int *ntopics)
{
	KafkaTopic *topics;
	text *anchored = cstring_to_text(kafka_option_whole_pattern(pattern));
	int count;
	int kept = 0;

	topics = list_topics(client, &count);
	for (int i = 0; i < count; i++)
	{
		char *name = topics[i].name;

		if (strncmp(name, "__", 2) == 0)
			continue;
		if (!RE_compile_and_execute(anchored, name, strlen(name), REG_ADVANCED,
									DEFAULT_COLLATION_OID, 0, NULL))
			continue;
		if (topics[i].npartitions == 0)
			describe_topic(client, name, &topics[i]);
		topics[kept++] = topics[i];
	}
	*ntopics = kept;
	return topics;
}

/* ----------------------------------------------------------------
 * Settings
 * ----------------------------------------------------------------
 */

void
kafka_settings_free(KafkaClient *client)
{
	while (client->settings)
	{
		KafkaSettingsEntry *next = client->settings->next;

		free(client->settings);
		client->settings = next;
	}
}

static int64
parse_limit(const char *value)
{
	char *end;
	int64 limit;

	errno = 0;
	limit = strtoi64(value, &end, 10);
	if (errno != 0 || *end != '\0' || limit < 0)
		return PG_INT64_MAX;
	return limit;
}

/* Reads one answer; anything unexpected leaves "unknown". */
static void
read_settings(const rd_kafka_event_t *event, KafkaTopicSettings *settings)
{
	const rd_kafka_DescribeConfigs_result_t *result;
	const rd_kafka_ConfigResource_t **resources;
	const rd_kafka_ConfigEntry_t **entries;
	size_t count = 0;

	memset(settings, 0, sizeof(*settings));
	settings->before_max_ms = PG_INT64_MAX;
	settings->after_max_ms = PG_INT64_MAX;
	result = rd_kafka_event_DescribeConfigs_result((rd_kafka_event_t *) event);
	if (result == NULL || rd_kafka_event_error((rd_kafka_event_t *) event))
		return;
	resources = rd_kafka_DescribeConfigs_result_resources(result, &count);
	if (count != 1 || rd_kafka_ConfigResource_error(resources[0]))
		return;
	entries = rd_kafka_ConfigResource_configs(resources[0], &count);
	settings->known = count > 0;
	for (size_t i = 0; i < count; i++)
	{
		const char *name = rd_kafka_ConfigEntry_name(entries[i]);
		const char *value = rd_kafka_ConfigEntry_value(entries[i]);

		if (value == NULL)
			continue;
		if (strcmp(name, "cleanup.policy") == 0)
			settings->delete_only = strcmp(value, "delete") == 0;
		else if (strcmp(name, "message.timestamp.type") == 0)
			settings->log_append_time = strcmp(value, "LogAppendTime") == 0;
		else if (strcmp(name, "remote.storage.enable") == 0)
			settings->remote_storage = strcmp(value, "true") == 0;
		else if (strcmp(name, "message.timestamp.before.max.ms") == 0)
			settings->before_max_ms = parse_limit(value);
		else if (strcmp(name, "message.timestamp.after.max.ms") == 0)
			settings->after_max_ms = parse_limit(value);
	}
}

/* Sends the question and waits for the answer, not longer than fetch_timeout.
 */
static void
ask_settings(KafkaClient *client, const char *topic,
			 KafkaTopicSettings *settings)
{
	rd_kafka_ConfigResource_t *resource;
	rd_kafka_AdminOptions_t *options;
	rd_kafka_queue_t *queue = rd_kafka_queue_new(client->rk);
	rd_kafka_event_t *volatile event = NULL;
	char reason[KAFKA_ERROR_TEXT_MAX];

	resource = rd_kafka_ConfigResource_new(RD_KAFKA_RESOURCE_TOPIC, topic);
	options = rd_kafka_AdminOptions_new(client->rk,
										RD_KAFKA_ADMIN_OP_DESCRIBECONFIGS);
	rd_kafka_AdminOptions_set_request_timeout(options,
											  client->fetch_timeout_ms, reason,
											  sizeof(reason));
	PG_TRY();
	{
		rd_kafka_DescribeConfigs(client->rk, &resource, 1, options, queue);
		event =
			kafka_client_await_event(client, queue, client->fetch_timeout_ms);
		read_settings(event, settings);
	}
	PG_FINALLY();
	{
		if (event)
			rd_kafka_event_destroy(event);
		rd_kafka_ConfigResource_destroy(resource);
		rd_kafka_AdminOptions_destroy(options);
		rd_kafka_queue_destroy(queue);
	}
	PG_END_TRY();
}

KafkaTopicSettings
kafka_client_topic_settings(KafkaClient *client, const char *topic, bool fresh)
{
	KafkaSettingsEntry *entry;
	KafkaTopicSettings settings;

	for (entry = client->settings; entry; entry = entry->next)
	{
		if (strcmp(entry->topic, topic) == 0)
			break;
	}
	if (entry &&
		kafka_clock_ms() - entry->asked_at_ms < SETTINGS_LIFETIME_MS &&
		(!fresh || entry->acquisition == client->acquisition))
		return entry->settings;

	ask_settings(client, topic, &settings);
	if (entry == NULL)
	{
		entry =
			malloc(offsetof(KafkaSettingsEntry, topic) + strlen(topic) + 1);
		if (entry == NULL)
			return settings; /* asked again next time */
		strcpy(entry->topic, topic);
		entry->next = client->settings;
		client->settings = entry;
	}
	entry->settings = settings;
	entry->acquisition = client->acquisition;
	entry->asked_at_ms = kafka_clock_ms();
	return settings;
}
