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

/* Topics that are asked for at a time: each has a thread. */
#define MAX_CALLS 8

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

/* The answer of a call is there: a broker has been reached. */
static void
note_answer(KafkaClient *client, const KafkaCall *call)
{
	kafka_slice_note(client, (kafka_clock_us() - call->begin_us) / 1000);
	client->answered = true;
	client->all_down = false;
	client->fault.code = RD_KAFKA_RESP_ERR_NO_ERROR;
	note_advertised(client, call->metadata);
}

/*
 * Asks for the metadata of one topic, or of all with NULL, up to
 * connect_timeout; the caller frees the call that has the answer.  first is
 * the first try, if that is under way already.
 */
static KafkaCall *
ask_metadata(KafkaClient *client, const char *topic, KafkaCall *first)
{
	int64 begin_ms = kafka_clock_ms();
	int64 down_since_ms = 0;
	int slice_ms = kafka_slice_first(client, client->connect_timeout_ms);
	KafkaCall *call = first;

	for (;;)
	{
		rd_kafka_resp_err_t err;
		int64 now_ms;

		if (call == NULL)
			call = kafka_call_metadata(client, topic, slice_ms);
		kafka_call_await(client, call);
		if (call->err == RD_KAFKA_RESP_ERR_NO_ERROR)
		{
			note_answer(client, call);
			return call;
		}
		err = call->err;
		kafka_call_free(client, call);
		call = NULL;
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
		slice_ms = kafka_slice_next(slice_ms, client->connect_timeout_ms -
												  client->waited_ms);
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
	KafkaCall *call = ask_metadata(client, NULL, NULL);
	const rd_kafka_metadata_t *metadata = call->metadata;
	KafkaTopic *topics =
		palloc(sizeof(KafkaTopic) * Max(metadata->topic_cnt, 1));
	int count = 0;

	for (int i = 0; i < metadata->topic_cnt; i++)
	{
		rd_kafka_resp_err_t err = metadata->topics[i].err;

		if (err == RD_KAFKA_RESP_ERR_NO_ERROR || kafka_error_is_transient(err))
			copy_topic(&topics[count++], &metadata->topics[i]);
	}
	kafka_call_free(client, call);
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

static KafkaDescribedTopic *
find_described(KafkaClient *client, const char *name)
{
	KafkaDescribedTopic *described;

	for (described = client->described_topics; described;
		 described = described->next)
	{
		if (strcmp(described->name, name) == 0)
			break;
	}
	return described;
}

/* Remembers a topic's partitions; without memory, nothing. */
static void
note_described(KafkaClient *client, const KafkaTopic *topic)
{
	size_t size = sizeof(int32) * Max(topic->npartitions, 1);
	KafkaDescribedTopic *described = find_described(client, topic->name);
	int32 *partitions = malloc(size);

	if (partitions && described == NULL)
	{
		described = calloc(1, offsetof(KafkaDescribedTopic, name) +
								  strlen(topic->name) + 1);
		if (described)
		{
			strcpy(described->name, topic->name);
			described->next = client->described_topics;
			client->described_topics = described;
		}
	}
	if (partitions == NULL || described == NULL)
	{
		free(partitions);
		return;
	}
	memcpy(partitions, topic->partitions, sizeof(int32) * topic->npartitions);
	free(described->partitions);
	described->partitions = partitions;
	described->npartitions = topic->npartitions;
}

bool
kafka_client_recall_topic(KafkaClient *client, const char *name,
						  KafkaTopic *topic)
{
	const KafkaDescribedTopic *described = find_described(client, name);

	if (described == NULL)
		return false;
	topic->name = pstrdup(name);
	topic->npartitions = described->npartitions;
	topic->partitions = palloc(sizeof(int32) * Max(described->npartitions, 1));
	memcpy(topic->partitions, described->partitions,
		   sizeof(int32) * described->npartitions);
	return true;
}

/* first is the first try, or NULL. */
static void
describe_topic(KafkaClient *client, const char *name, KafkaTopic *topic,
			   KafkaCall *first)
{
	int64 begin_ms = kafka_clock_ms();
	rd_kafka_resp_err_t err = RD_KAFKA_RESP_ERR_NO_ERROR;
	KafkaCall *call = ask_metadata(client, name, first);

	while (!read_topic_answer(call->metadata, topic, &err) &&
		   kafka_clock_ms() - begin_ms < client->fetch_timeout_ms)
	{
		kafka_call_free(client, call);
		kafka_client_wait(client, KAFKA_RETRY_PAUSE_MS);
		call = ask_metadata(client, name, NULL);
	}
	kafka_call_free(client, call);
	if (err == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART)
		raise_unknown_topic(client, name);
	if (err != RD_KAFKA_RESP_ERR_NO_ERROR)
		kafka_client_raise(client, KAFKA_DOING_ADMIN, err,
						   rd_kafka_err2str(err), name, -1);
	note_described(client, topic);
}

struct KafkaDescribeAhead
{
	char *const *names;
	int ntopics;
	KafkaCall *calls[MAX_CALLS]; /* first tries of some, by index modulo */
};

/* Sends the questions about the next few topics from start on, all at once. */
static void
start_describing(KafkaClient *client, KafkaDescribeAhead *ahead, int start)
{
	for (int i = 0; i < Min(ahead->ntopics - start, MAX_CALLS); i++)
		ahead->calls[i] =
			kafka_call_metadata(client, ahead->names[start + i],
								kafka_slice_first(client,
												  client->connect_timeout_ms));
}

KafkaDescribeAhead *
kafka_client_describe_begin(KafkaClient *client, char *const *names,
							int ntopics)
{
	KafkaDescribeAhead *ahead = palloc0(sizeof(KafkaDescribeAhead));

	ahead->names = names;
	ahead->ntopics = ntopics;
	start_describing(client, ahead, 0);
	return ahead;
}

KafkaTopic *
kafka_client_describe_finish(KafkaClient *client, KafkaDescribeAhead *ahead)
{
	KafkaTopic *topics = palloc0(sizeof(KafkaTopic) * Max(ahead->ntopics, 1));

	for (int i = 0; i < ahead->ntopics; i++)
	{
		int next = i % MAX_CALLS;

		if (next == 0 && i > 0)
			start_describing(client, ahead, i);
		describe_topic(client, ahead->names[i], &topics[i],
					   ahead->calls[next]);
	}
	pfree(ahead);
	return topics;
}

KafkaTopic *
kafka_client_describe_topics(KafkaClient *client, char *const *names,
							 int ntopics)
{
	return kafka_client_describe_finish(client,
										kafka_client_describe_begin(client,
																	names,
																	ntopics));
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
			describe_topic(client, name, &topics[i], NULL);
		topics[kept++] = topics[i];
	}
	*ntopics = kept;
	return topics;
}

/* ----------------------------------------------------------------
 * Settings
 * ----------------------------------------------------------------
 */

static KafkaSettingsEntry *
find_settings(KafkaClient *client, const char *topic)
{
	KafkaSettingsEntry *entry;

	for (entry = client->settings; entry; entry = entry->next)
	{
		if (strcmp(entry->topic, topic) == 0)
			break;
	}
	return entry;
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

/* Sends the question; the answer will be in the entry's queue. */
static void
send_question(KafkaClient *client, KafkaSettingsEntry *entry)
{
	rd_kafka_ConfigResource_t *resource =
		rd_kafka_ConfigResource_new(RD_KAFKA_RESOURCE_TOPIC, entry->topic);
	rd_kafka_AdminOptions_t *options =
		rd_kafka_AdminOptions_new(client->rk,
								  RD_KAFKA_ADMIN_OP_DESCRIBECONFIGS);
	char reason[KAFKA_ERROR_TEXT_MAX];

	rd_kafka_AdminOptions_set_request_timeout(options,
											  client->fetch_timeout_ms, reason,
											  sizeof(reason));
	entry->queue = rd_kafka_queue_new(client->rk);
	entry->queue_acquisition = client->acquisition;
	rd_kafka_DescribeConfigs(client->rk, &resource, 1, options, entry->queue);
	rd_kafka_AdminOptions_destroy(options);
	rd_kafka_ConfigResource_destroy(resource);
}

static void
drop_question(KafkaSettingsEntry *entry)
{
	if (entry->queue)
		rd_kafka_queue_destroy(entry->queue);
	entry->queue = NULL;
}

/* Is the answer there, and does it do? */
static bool
has_answer(const KafkaClient *client, const KafkaSettingsEntry *entry,
		   bool fresh)
{
	return entry->answered &&
		   kafka_clock_ms() - entry->asked_at_ms < SETTINGS_LIFETIME_MS &&
		   (!fresh || entry->acquisition == client->acquisition);
}

static void
take_answer(KafkaSettingsEntry *entry, rd_kafka_event_t *event)
{
	read_settings(event, &entry->settings);
	rd_kafka_event_destroy(event);
	drop_question(entry);
	entry->answered = true;
	entry->acquisition = entry->queue_acquisition;
	entry->asked_at_ms = kafka_clock_ms();
}

/* Finds or makes the entry of a topic. */
static KafkaSettingsEntry *
need_settings(KafkaClient *client, const char *topic)
{
	KafkaSettingsEntry *entry = find_settings(client, topic);

	if (entry)
		return entry;
	entry = calloc(1, offsetof(KafkaSettingsEntry, topic) + strlen(topic) + 1);
	if (entry == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY), errmsg("out of memory")));
	strcpy(entry->topic, topic);
	entry->next = client->settings;
	client->settings = entry;
	return entry;
}

/* Sends the question unless an answer that does is there or on its way. */
static void
request_settings(KafkaClient *client, KafkaSettingsEntry *entry, bool fresh)
{
	if (has_answer(client, entry, fresh))
		return;
	if (entry->queue && entry->queue_acquisition != client->acquisition)
		drop_question(entry); /* nobody waited for it then */
	if (entry->queue == NULL)
		send_question(client, entry);
}

void
kafka_client_request_settings(KafkaClient *client, const char *topic,
							  bool fresh)
{
	request_settings(client, need_settings(client, topic), fresh);
}

bool
kafka_client_recall_settings(KafkaClient *client, const char *topic,
							 KafkaTopicSettings *settings)
{
	KafkaSettingsEntry *entry = find_settings(client, topic);

	if (entry == NULL)
		return false;
	if (entry->queue && entry->queue_acquisition == client->acquisition)
	{
		rd_kafka_event_t *event = rd_kafka_queue_poll(entry->queue, 0);

		if (event)
			take_answer(entry, event);
	}
	*settings = entry->settings;
	return entry->answered;
}

KafkaTopicSettings
kafka_client_topic_settings(KafkaClient *client, const char *topic, bool fresh)
{
	KafkaSettingsEntry *entry = need_settings(client, topic);

	request_settings(client, entry, fresh);
	if (!has_answer(client, entry, fresh))
		take_answer(entry, kafka_client_await_event(client, entry->queue,
													client->fetch_timeout_ms));
	return entry->settings;
}

void
kafka_topics_free(KafkaClient *client)
{
	while (client->settings)
	{
		KafkaSettingsEntry *entry = client->settings;

		client->settings = entry->next;
		drop_question(entry);
		free(entry);
	}
	while (client->described_topics)
	{
		KafkaDescribedTopic *described = client->described_topics;

		client->described_topics = described->next;
		free(described->partitions);
		free(described);
	}
}

char *
kafka_client_cluster_id(KafkaClient *client)
{
	int64 begin_ms = kafka_clock_ms();
	int slice_ms = 0;

	for (;;)
	{
		char *native = rd_kafka_clusterid(client->rk, slice_ms);

		client->waited_ms = kafka_clock_ms() - begin_ms;
		if (native)
		{
			char *id = pstrdup(native);

			rd_kafka_mem_free(client->rk, native);
			return id;
		}

		/* Metadata without an id ends the library's wait, ours too. */
		if (client->answered ||
			client->waited_ms >= client->connect_timeout_ms)
			return NULL;
		CHECK_FOR_INTERRUPTS();
		kafka_client_serve_events(client);
		slice_ms =
			Min(Max(slice_ms * 2, KAFKA_FIRST_SLICE_MS), KAFKA_DEAF_SLICE_MS);
	}
}
