/*
 * feed_admin.c
 *	  The feeder's topics and waits: all that needs no producer (feed.c).
 *
 * Every function returns only when its effect can be seen by the next client,
 * so that tests need no sleeps, and ends the program when that takes longer
 *than FEED_TIMEOUT_MS.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <unistd.h>

#include "feed.h"

/* Pause between two looks at something awaited. */
#define WAIT_STEP_US 2000

static rd_kafka_t *client = NULL;

static int64_t
now_ms(void)
{
	struct timeval now;

	gettimeofday(&now, NULL);
	return (int64_t) now.tv_sec * 1000 + now.tv_usec / 1000;
}

/* The consumer that serves all lookups and administration; read_committed. */
rd_kafka_t *
admin_client(void)
{
	char message[512];
	rd_kafka_conf_t *conf;

	if (client)
		return client;
	conf = feed_base_conf();
	if (rd_kafka_conf_set(conf, "isolation.level", "read_committed", message,
						  sizeof(message)) != RD_KAFKA_CONF_OK ||
		rd_kafka_conf_set(conf, "enable.partition.eof", "true", message,
						  sizeof(message)) != RD_KAFKA_CONF_OK ||
		rd_kafka_conf_set(conf, "fetch.wait.max.ms", "10", message,
						  sizeof(message)) != RD_KAFKA_CONF_OK)
		fail("%s", message);
	client = rd_kafka_new(RD_KAFKA_CONSUMER, conf, message, sizeof(message));
	if (!client)
		fail("%s", message);
	return client;
}

void
admin_finish(void)
{
	if (client)
		rd_kafka_destroy(client);
	client = NULL;
}

/* Fails unless every topic of the result of an administrative call is good. */
static void
check_topics(const rd_kafka_topic_result_t **topics, size_t count)
{
	size_t i;

	for (i = 0; i < count; i++)
		if (rd_kafka_topic_result_error(topics[i]))
			fail("topic \"%s\": %s", rd_kafka_topic_result_name(topics[i]),
				 rd_kafka_topic_result_error_string(topics[i])
					 ? rd_kafka_topic_result_error_string(topics[i])
					 : rd_kafka_err2str(
						   rd_kafka_topic_result_error(topics[i])));
}

/* Waits for the answer on the queue, which it frees; the caller frees the
 * event. */
static rd_kafka_event_t *
await_event(rd_kafka_queue_t *queue)
{
	rd_kafka_event_t *event = rd_kafka_queue_poll(queue, FEED_TIMEOUT_MS);

	if (!event)
		fail("the broker does not answer");
	if (rd_kafka_event_error(event))
		fail("%s", rd_kafka_event_error_string(event));
	rd_kafka_queue_destroy(queue);
	return event;
}

/*
 * The number of partitions, asked through the given handle; -1 while the topic
 * does not exist, 0 while some partition has no leader.
 */
int
admin_partition_count(rd_kafka_t *rk, const char *topic)
{
	rd_kafka_topic_t *rkt = rd_kafka_topic_new(rk, topic, NULL);
	const struct rd_kafka_metadata *metadata;
	rd_kafka_resp_err_t err;
	int result = -1;

	err = rd_kafka_metadata(rk, 0, rkt, &metadata, FEED_TIMEOUT_MS);
	rd_kafka_topic_destroy(rkt);
	if (err)
		fail("metadata of \"%s\": %s", topic, rd_kafka_err2str(err));
	if (metadata->topic_cnt == 1 && metadata->topics[0].err == 0)
	{
		int i;

		result = metadata->topics[0].partition_cnt;
		for (i = 0; i < metadata->topics[0].partition_cnt; i++)
			if (metadata->topics[0].partitions[i].leader < 0)
				result = 0;
	}
	else if (metadata->topic_cnt == 1 &&
			 metadata->topics[0].err !=
				 RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART)
		result = 0;
	rd_kafka_metadata_destroy(metadata);
	return result;
}

static void
wait_partitions(const char *topic, int wanted)
{
	int64_t deadline_ms = now_ms() + FEED_TIMEOUT_MS;

	while (admin_partition_count(admin_client(), topic) != wanted)
	{
		if (now_ms() > deadline_ms)
			fail("topic \"%s\" does not come to %d partitions", topic, wanted);
		usleep(WAIT_STEP_US);
	}
}

/* create-topic NAME [partitions=N] [replication=N] [CONFIG=VALUE]... */
void
admin_create_topic(const Word *words, int count)
{
	rd_kafka_queue_t *queue = rd_kafka_queue_new(admin_client());
	rd_kafka_NewTopic_t *topic;
	rd_kafka_event_t *event;
	const rd_kafka_topic_result_t **results;
	size_t result_count;
	char message[512];
	int partitions = 1;
	int replication = 1;
	bool retention = false;
	int i;

	for (i = 1; i < count; i++)
	{
		const char *value = words[i].data + words[i].value_start;

		if (strncmp(words[i].data, "partitions=", 11) == 0)
			partitions = (int) text_integer(value);
		else if (strncmp(words[i].data, "replication=", 12) == 0)
			replication = (int) text_integer(value);
	}
	topic = rd_kafka_NewTopic_new(words[0].data, partitions, replication,
								  message, sizeof(message));
	if (!topic)
		fail("%s", message);
	for (i = 1; i < count; i++)
	{
		const char *value = words[i].data + words[i].value_start;

		if (words[i].value_start == 0)
			fail("\"%s\" is not of the form NAME=VALUE", words[i].data);
		if (strncmp(words[i].data, "partitions=", 11) == 0 ||
			strncmp(words[i].data, "replication=", 12) == 0)
			continue;
		words[i].data[words[i].value_start - 1] = '\0';
		if (strcmp(words[i].data, "retention.ms") == 0)
			retention = true;
		rd_kafka_NewTopic_set_config(topic, words[i].data, value);
	}

	/*
	 * With the default of seven days the records of fixed, old times that
	 * tests are made of would be deleted within a second.
	 */
	if (!retention)
		rd_kafka_NewTopic_set_config(topic, "retention.ms", "-1");

	rd_kafka_CreateTopics(client, &topic, 1, NULL, queue);
	event = await_event(queue);
	results =
		rd_kafka_CreateTopics_result_topics(rd_kafka_event_CreateTopics_result(
												event),
											&result_count);
	check_topics(results, result_count);
	rd_kafka_event_destroy(event);
	rd_kafka_NewTopic_destroy(topic);
	wait_partitions(words[0].data, partitions);
}

void
admin_delete_topic(const char *name)
{
	rd_kafka_queue_t *queue = rd_kafka_queue_new(admin_client());
	rd_kafka_DeleteTopic_t *topic = rd_kafka_DeleteTopic_new(name);
	rd_kafka_event_t *event;
	const rd_kafka_topic_result_t **results;
	size_t count;

	rd_kafka_DeleteTopics(client, &topic, 1, NULL, queue);
	event = await_event(queue);
	results =
		rd_kafka_DeleteTopics_result_topics(rd_kafka_event_DeleteTopics_result(
												event),
											&count);
	check_topics(results, count);
	rd_kafka_event_destroy(event);
	rd_kafka_DeleteTopic_destroy(topic);
	wait_partitions(name, -1);
}

void
admin_add_partitions(const char *name, int total)
{
	rd_kafka_queue_t *queue = rd_kafka_queue_new(admin_client());
	rd_kafka_NewPartitions_t *partitions;
	rd_kafka_event_t *event;
	const rd_kafka_topic_result_t **results;
	size_t count;
	char message[512];

	partitions =
		rd_kafka_NewPartitions_new(name, total, message, sizeof(message));
	if (!partitions)
		fail("%s", message);
	rd_kafka_CreatePartitions(client, &partitions, 1, NULL, queue);
	event = await_event(queue);
	results = rd_kafka_CreatePartitions_result_topics(
		rd_kafka_event_CreatePartitions_result(event), &count);
	check_topics(results, count);
	rd_kafka_event_destroy(event);
	rd_kafka_NewPartitions_destroy(partitions);
	wait_partitions(name, total);
}

static const rd_kafka_ConfigResource_t *
only_resource(const rd_kafka_ConfigResource_t **resources, size_t count)
{
	if (count != 1)
		fail("%zu resources in an answer about one topic", count);
	if (rd_kafka_ConfigResource_error(resources[0]))
		fail("%s", rd_kafka_ConfigResource_error_string(resources[0]));
	return resources[0];
}

/* Copies what is set for the topic itself from the broker into the resource.
 */
static void
copy_topic_config(const char *topic, rd_kafka_ConfigResource_t *into)
{
	rd_kafka_queue_t *queue = rd_kafka_queue_new(admin_client());
	rd_kafka_ConfigResource_t *query;
	const rd_kafka_ConfigResource_t **answers;
	const rd_kafka_ConfigEntry_t **entries;
	rd_kafka_event_t *event;
	size_t count;
	size_t i;

	query = rd_kafka_ConfigResource_new(RD_KAFKA_RESOURCE_TOPIC, topic);
	rd_kafka_DescribeConfigs(client, &query, 1, NULL, queue);
	event = await_event(queue);
	answers = rd_kafka_DescribeConfigs_result_resources(
		rd_kafka_event_DescribeConfigs_result(event), &count);
	entries =
		rd_kafka_ConfigResource_configs(only_resource(answers, count), &count);
	for (i = 0; i < count; i++)
		if (rd_kafka_ConfigEntry_source(entries[i]) ==
			RD_KAFKA_CONFIG_SOURCE_DYNAMIC_TOPIC_CONFIG)
			rd_kafka_ConfigResource_set_config(into,
											   rd_kafka_ConfigEntry_name(
												   entries[i]),
											   rd_kafka_ConfigEntry_value(
												   entries[i]));
	rd_kafka_event_destroy(event);
	rd_kafka_ConfigResource_destroy(query);
}

/*
 * alter-topic NAME CONFIG=VALUE...
 *
 * The request of this library's version replaces all settings of the topic, so
 * those that are not named are read first and sent along.
 */
void
admin_alter_topic(const Word *words, int count)
{
	rd_kafka_queue_t *queue = rd_kafka_queue_new(admin_client());
	rd_kafka_ConfigResource_t *resource;
	const rd_kafka_ConfigResource_t **answers;
	rd_kafka_event_t *event;
	size_t answer_count;
	int i;

	resource =
		rd_kafka_ConfigResource_new(RD_KAFKA_RESOURCE_TOPIC, words[0].data);
	copy_topic_config(words[0].data, resource);
	for (i = 1; i < count; i++)
	{
		if (words[i].value_start == 0)
			fail("\"%s\" is not of the form CONFIG=VALUE", words[i].data);
		words[i].data[words[i].value_start - 1] = '\0';
		rd_kafka_ConfigResource_set_config(resource, words[i].data,
										   words[i].data +
											   words[i].value_start);
	}
	rd_kafka_AlterConfigs(client, &resource, 1, NULL, queue);
	event = await_event(queue);
	answers = rd_kafka_AlterConfigs_result_resources(
		rd_kafka_event_AlterConfigs_result(event), &answer_count);
	only_resource(answers, answer_count);
	rd_kafka_event_destroy(event);
	rd_kafka_ConfigResource_destroy(resource);
}

/* Deletes the records of a partition before offset (-1: all). */
void
admin_delete_records(const char *topic, int32_t partition, int64_t offset)
{
	rd_kafka_queue_t *queue = rd_kafka_queue_new(admin_client());
	rd_kafka_topic_partition_list_t *list;
	const rd_kafka_topic_partition_list_t *answer;
	rd_kafka_DeleteRecords_t *request;
	rd_kafka_event_t *event;

	list = rd_kafka_topic_partition_list_new(1);
	rd_kafka_topic_partition_list_add(list, topic, partition)->offset = offset;
	request = rd_kafka_DeleteRecords_new(list);
	rd_kafka_DeleteRecords(client, &request, 1, NULL, queue);
	event = await_event(queue);
	answer = rd_kafka_DeleteRecords_result_offsets(
		rd_kafka_event_DeleteRecords_result(event));
	if (answer->elems[0].err)
		fail("%s", rd_kafka_err2str(answer->elems[0].err));
	rd_kafka_event_destroy(event);
	rd_kafka_DeleteRecords_destroy(request);
	rd_kafka_topic_partition_list_destroy(list);
}

/* Commits once; the broker's answer. */
static rd_kafka_resp_err_t
try_group_offset(const char *group, const char *topic, int32_t partition,
				 int64_t offset)
{
	rd_kafka_queue_t *queue = rd_kafka_queue_new(admin_client());
	rd_kafka_topic_partition_list_t *list;
	rd_kafka_AlterConsumerGroupOffsets_t *request;
	const rd_kafka_group_result_t **groups;
	const rd_kafka_topic_partition_list_t *answer;
	const rd_kafka_error_t *error;
	rd_kafka_event_t *event;
	rd_kafka_resp_err_t err = RD_KAFKA_RESP_ERR_NO_ERROR;
	size_t count;

	list = rd_kafka_topic_partition_list_new(1);
	rd_kafka_topic_partition_list_add(list, topic, partition)->offset = offset;
	request = rd_kafka_AlterConsumerGroupOffsets_new(group, list);
	rd_kafka_AlterConsumerGroupOffsets(client, &request, 1, NULL, queue);
	event = await_event(queue);
	groups = rd_kafka_AlterConsumerGroupOffsets_result_groups(
		rd_kafka_event_AlterConsumerGroupOffsets_result(event), &count);
	if (count != 1)
		fail("%zu groups in an answer about one", count);
	error = rd_kafka_group_result_error(groups[0]);
	answer = rd_kafka_group_result_partitions(groups[0]);
	if (error)
		err = rd_kafka_error_code(error);
	else if (answer && answer->cnt > 0)
		err = answer->elems[0].err;
	rd_kafka_event_destroy(event);
	rd_kafka_AlterConsumerGroupOffsets_destroy(request);
	rd_kafka_topic_partition_list_destroy(list);
	return err;
}

/* A young broker's coordinators load for a moment and refuse meanwhile. */
void
admin_set_group_offset(const char *group, const char *topic, int32_t partition,
					   int64_t offset)
{
	int64_t deadline_ms = now_ms() + FEED_TIMEOUT_MS;

	for (;;)
	{
		rd_kafka_resp_err_t err =
			try_group_offset(group, topic, partition, offset);

		if (!err)
			return;
		if ((err != RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS &&
			 err != RD_KAFKA_RESP_ERR_COORDINATOR_NOT_AVAILABLE &&
			 err != RD_KAFKA_RESP_ERR_NOT_COORDINATOR) ||
			now_ms() > deadline_ms)
			fail("%s", rd_kafka_err2str(err));
		usleep(WAIT_STEP_US);
	}
}

/*
 * What a consumer of the group would go on from, -1 for nothing.  Asked as
 * consumers do, by a handle that belongs to the group.
 */
int64_t
admin_committed(const char *group, const char *topic, int32_t partition)
{
	rd_kafka_topic_partition_list_t *list =
		rd_kafka_topic_partition_list_new(1);
	rd_kafka_conf_t *conf = feed_base_conf();
	rd_kafka_resp_err_t err;
	char message[512];
	rd_kafka_t *rk;
	int64_t offset;

	if (rd_kafka_conf_set(conf, "group.id", group, message, sizeof(message)) !=
		RD_KAFKA_CONF_OK)
		fail("%s", message);
	rk = rd_kafka_new(RD_KAFKA_CONSUMER, conf, message, sizeof(message));
	if (!rk)
		fail("%s", message);
	rd_kafka_topic_partition_list_add(list, topic, partition);
	err = rd_kafka_committed(rk, list, FEED_TIMEOUT_MS);
	if (!err)
		err = list->elems[0].err;
	if (err)
		fail("group \"%s\": %s", group, rd_kafka_err2str(err));
	offset = list->elems[0].offset;
	rd_kafka_topic_partition_list_destroy(list);
	rd_kafka_destroy(rk);
	return offset >= 0 ? offset : -1;
}

/* Forbids a user all that a group can be used for; needs an authorizer. */
void
admin_deny_group(const char *group, const char *user)
{
	rd_kafka_queue_t *queue = rd_kafka_queue_new(admin_client());
	const rd_kafka_acl_result_t **results;
	const rd_kafka_error_t *error;
	rd_kafka_AclBinding_t *binding;
	rd_kafka_event_t *event;
	char principal[256];
	char message[512];
	size_t count;

	snprintf(principal, sizeof(principal), "User:%s", user);
	binding =
		rd_kafka_AclBinding_new(RD_KAFKA_RESOURCE_GROUP, group,
								RD_KAFKA_RESOURCE_PATTERN_LITERAL, principal,
								"*", RD_KAFKA_ACL_OPERATION_ALL,
								RD_KAFKA_ACL_PERMISSION_TYPE_DENY, message,
								sizeof(message));
	if (!binding)
		fail("%s", message);
	rd_kafka_CreateAcls(admin_client(), &binding, 1, NULL, queue);
	event = await_event(queue);
	results = rd_kafka_CreateAcls_result_acls(rd_kafka_event_CreateAcls_result(
												  event),
											  &count);
	error = count == 1 ? rd_kafka_acl_result_error(results[0]) : NULL;
	if (error)
		fail("%s", rd_kafka_error_string(error));
	rd_kafka_event_destroy(event);
	rd_kafka_AclBinding_destroy(binding);
}

/* The node that leads the partition, -1 for none. */
int
admin_leader(const char *topic, int32_t partition)
{
	rd_kafka_t *rk = admin_client();
	rd_kafka_topic_t *rkt = rd_kafka_topic_new(rk, topic, NULL);
	const struct rd_kafka_metadata *metadata;
	rd_kafka_resp_err_t err;
	int leader = -1;
	int i;

	err = rd_kafka_metadata(rk, 0, rkt, &metadata, FEED_TIMEOUT_MS);
	rd_kafka_topic_destroy(rkt);
	if (err)
		fail("metadata of \"%s\": %s", topic, rd_kafka_err2str(err));
	for (i = 0; i < metadata->topics[0].partition_cnt; i++)
		if (metadata->topics[0].partitions[i].id == partition)
			leader = metadata->topics[0].partitions[i].leader;
	rd_kafka_metadata_destroy(metadata);
	return leader;
}

/*
 * The first (RD_KAFKA_OFFSET_BEGINNING) or end (RD_KAFKA_OFFSET_END) offset, or
 * that of a time in ms, -1 for none; the end is the last stable offset.
 */
static int64_t
lookup_offset(const char *topic, int32_t partition, int64_t which)
{
	rd_kafka_topic_partition_list_t *list;
	rd_kafka_resp_err_t err;
	int64_t offset;

	list = rd_kafka_topic_partition_list_new(1);
	rd_kafka_topic_partition_list_add(list, topic, partition)->offset = which;
	err = rd_kafka_offsets_for_times(admin_client(), list, FEED_TIMEOUT_MS);
	if (!err)
		err = list->elems[0].err;
	if (err)
		fail("offset of \"%s\" partition %d: %s", topic, (int) partition,
			 rd_kafka_err2str(err));
	offset = list->elems[0].offset;
	rd_kafka_topic_partition_list_destroy(list);
	return offset;
}

static void
wait_offset(const char *topic, int32_t partition, int64_t which,
			int64_t offset)
{
	int64_t deadline_ms = now_ms() + FEED_TIMEOUT_MS;
	int64_t seen;

	while ((seen = lookup_offset(topic, partition, which)) < offset)
	{
		if (now_ms() > deadline_ms)
			fail("%s offset of \"%s\" partition %d stays at %lld",
				 which == RD_KAFKA_OFFSET_END ? "end" : "first", topic,
				 (int) partition, (long long) seen);
		usleep(WAIT_STEP_US);
	}
}

/*
 * Waits until read_committed readers see the end at offset or later: a commit
 * returns before its records are visible.
 */
void
admin_wait_visible(const char *topic, int32_t partition, int64_t offset)
{
	wait_offset(topic, partition, RD_KAFKA_OFFSET_END, offset);
}

/* Waits until retention has moved the first offset to offset or later. */
void
admin_wait_start(const char *topic, int32_t partition, int64_t offset)
{
	wait_offset(topic, partition, RD_KAFKA_OFFSET_BEGINNING, offset);
}

/* The first offset at or after offset that a reader gets; -1 at the end. */
static int64_t
next_record(const char *topic, int32_t partition, int64_t offset)
{
	rd_kafka_topic_t *rkt = rd_kafka_topic_new(admin_client(), topic, NULL);
	rd_kafka_message_t *message;
	int64_t result;

	if (rd_kafka_consume_start(rkt, partition, offset))
		fail("%s", rd_kafka_err2str(rd_kafka_last_error()));
	message = rd_kafka_consume(rkt, partition, FEED_TIMEOUT_MS);
	if (!message)
		fail("no answer about \"%s\" partition %d", topic, (int) partition);
	if (message->err == RD_KAFKA_RESP_ERR__PARTITION_EOF)
		result = -1;
	else if (message->err)
		fail("%s", rd_kafka_message_errstr(message));
	else
		result = message->offset;
	rd_kafka_message_destroy(message);
	rd_kafka_consume_stop(rkt, partition);
	rd_kafka_topic_destroy(rkt);
	return result;
}

/* Waits until compaction has removed the record at offset. */
void
admin_wait_gone(const char *topic, int32_t partition, int64_t offset)
{
	int64_t deadline_ms = now_ms() + FEED_TIMEOUT_MS;

	while (next_record(topic, partition, offset) == offset)
	{
		if (now_ms() > deadline_ms)
			fail("record %lld of \"%s\" partition %d stays",
				 (long long) offset, topic, (int) partition);
		usleep(50 * WAIT_STEP_US);
	}
}

/* Waits until the lookup of a time answers offset, -1 for none. */
void
admin_wait_lookup(const char *topic, int32_t partition, int64_t time_ms,
				  int64_t offset)
{
	int64_t deadline_ms = now_ms() + FEED_TIMEOUT_MS;
	int64_t found;

	while ((found = lookup_offset(topic, partition, time_ms)) != offset)
	{
		if (now_ms() > deadline_ms)
			fail("the lookup in \"%s\" partition %d answers %lld, not %lld",
				 topic, (int) partition, (long long) found,
				 (long long) offset);
		usleep(50 * WAIT_STEP_US);
	}
}
