/*-------------------------------------------------------------------------
 *
 * group.c
 *		Committed offsets of consumer groups.
 *
 * The admin requests need no group.id and no membership, and work for any
 * group the user may describe, or, to commit, may read and that has no
 * members.  A coordinator that has just been chosen loads the group's offsets
 * first and refuses until it has; the library hands that refusal on, so it is
 * asked again.
 *
 * IDENTIFICATION
 *		src/client/group.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "client/handle.h"
#include "miscadmin.h"

/*
 * What the one group of an answer says, in *list: NULL where there is nothing.
 * Its error, with the text.
 */
static rd_kafka_resp_err_t
read_group(const rd_kafka_group_result_t **groups, size_t ngroups,
		   const rd_kafka_topic_partition_list_t **list, char *text)
{
	const rd_kafka_error_t *error;

	*list = NULL;
	if (ngroups == 0)
		return RD_KAFKA_RESP_ERR_NO_ERROR;
	error = rd_kafka_group_result_error(groups[0]);
	if (error)
	{
		strlcpy(text, rd_kafka_error_string(error), KAFKA_ERROR_TEXT_MAX);
		return rd_kafka_error_code(error);
	}
	*list = rd_kafka_group_result_partitions(groups[0]);
	return RD_KAFKA_RESP_ERR_NO_ERROR;
}

/* The error of an answer as a whole, with the text. */
static rd_kafka_resp_err_t
read_event_error(rd_kafka_event_t *event, char *text)
{
	rd_kafka_resp_err_t err = rd_kafka_event_error(event);

	if (err)
		strlcpy(text, rd_kafka_event_error_string(event),
				KAFKA_ERROR_TEXT_MAX);
	return err;
}

/* That of a partition. */
static rd_kafka_resp_err_t
read_partition_error(const rd_kafka_topic_partition_t *partition, char *text)
{
	if (partition->err)
		strlcpy(text, rd_kafka_err2str(partition->err), KAFKA_ERROR_TEXT_MAX);
	return partition->err;
}

/* Copies the offsets of an answer, palloc'd; its error, with the text. */
static rd_kafka_resp_err_t
read_answer(rd_kafka_event_t *event, KafkaGroupOffset **offsets, int *noffsets,
			char *text)
{
	const rd_kafka_ListConsumerGroupOffsets_result_t *result;
	const rd_kafka_group_result_t **groups;
	const rd_kafka_topic_partition_list_t *list;
	size_t ngroups = 0;
	rd_kafka_resp_err_t err = read_event_error(event, text);
	int count = 0;

	*noffsets = 0;
	if (err)
		return err;
	result = rd_kafka_event_ListConsumerGroupOffsets_result(event);
	groups = rd_kafka_ListConsumerGroupOffsets_result_groups(result, &ngroups);
	err = read_group(groups, ngroups, &list, text);
	if (err || list == NULL)
		return err;
	*offsets = palloc0(sizeof(KafkaGroupOffset) * Max(list->cnt, 1));
	for (int i = 0; i < list->cnt; i++)
	{
		KafkaGroupOffset *offset = &(*offsets)[count];

		err = read_partition_error(&list->elems[i], text);
		if (err)
			return err;
		/* A negative offset means that nothing was committed there. */
		if (list->elems[i].offset < 0)
			continue;
		offset->topic = pstrdup(list->elems[i].topic);
		offset->partition = list->elems[i].partition;
		offset->committed = list->elems[i].offset;
		count++;
	}
	*noffsets = count;
	return RD_KAFKA_RESP_ERR_NO_ERROR;
}

/* Asks once. */
static rd_kafka_resp_err_t
try_group(KafkaClient *client, const char *group, KafkaGroupOffset **offsets,
		  int *noffsets, char *text)
{
	rd_kafka_ListConsumerGroupOffsets_t *request;
	rd_kafka_AdminOptions_t *options;
	rd_kafka_queue_t *queue = rd_kafka_queue_new(client->rk);
	rd_kafka_event_t *volatile event = NULL;
	rd_kafka_resp_err_t err = RD_KAFKA_RESP_ERR_NO_ERROR;
	char reason[KAFKA_ERROR_TEXT_MAX];

	request = rd_kafka_ListConsumerGroupOffsets_new(group, NULL);
	options =
		rd_kafka_AdminOptions_new(client->rk,
								  RD_KAFKA_ADMIN_OP_LISTCONSUMERGROUPOFFSETS);
	rd_kafka_AdminOptions_set_request_timeout(options,
											  client->fetch_timeout_ms, reason,
											  sizeof(reason));
	PG_TRY();
	{
		rd_kafka_ListConsumerGroupOffsets(client->rk, &request, 1, options,
										  queue);
		event =
			kafka_client_await_event(client, queue, client->fetch_timeout_ms);
		err = read_answer(event, offsets, noffsets, text);
	}
	PG_FINALLY();
	{
		if (event)
			rd_kafka_event_destroy(event);
		rd_kafka_ListConsumerGroupOffsets_destroy(request);
		rd_kafka_AdminOptions_destroy(options);
		rd_kafka_queue_destroy(queue);
	}
	PG_END_TRY();
	return err;
}

KafkaGroupOffset *
kafka_client_group_offsets(KafkaClient *client, const char *group,
						   int *noffsets)
{
	int64 begin_ms = kafka_clock_ms();
	KafkaGroupOffset *offsets = NULL;
	char text[KAFKA_ERROR_TEXT_MAX];

	for (;;)
	{
		rd_kafka_resp_err_t err =
			try_group(client, group, &offsets, noffsets, text);

		if (err == RD_KAFKA_RESP_ERR_NO_ERROR)
			break;
		CHECK_FOR_INTERRUPTS();
		if (!kafka_error_is_transient(err) ||
			kafka_clock_ms() - begin_ms >= client->fetch_timeout_ms)
			kafka_client_raise(client, KAFKA_DOING_ADMIN, err, text, NULL, -1);
		kafka_client_wait(client, KAFKA_RETRY_PAUSE_MS);
	}
	client->answered = true;
	return offsets;
}

/* ----------------------------------------------------------------
 * Committing
 * ----------------------------------------------------------------
 */

/* The worst that the answer says of the group or a partition. */
static rd_kafka_resp_err_t
read_commit_answer(rd_kafka_event_t *event, char *text)
{
	const rd_kafka_AlterConsumerGroupOffsets_result_t *result;
	const rd_kafka_group_result_t **groups;
	const rd_kafka_topic_partition_list_t *list;
	size_t ngroups = 0;
	rd_kafka_resp_err_t err = read_event_error(event, text);

	if (err)
		return err;
	result = rd_kafka_event_AlterConsumerGroupOffsets_result(event);
	groups =
		rd_kafka_AlterConsumerGroupOffsets_result_groups(result, &ngroups);
	err = read_group(groups, ngroups, &list, text);
	for (int i = 0; !err && list && i < list->cnt; i++)
		err = read_partition_error(&list->elems[i], text);
	return err;
}

static rd_kafka_topic_partition_list_t *
make_list(const KafkaGroupOffset *offsets, int noffsets)
{
	rd_kafka_topic_partition_list_t *list =
		rd_kafka_topic_partition_list_new(noffsets);

	for (int i = 0; i < noffsets; i++)
		rd_kafka_topic_partition_list_add(list, offsets[i].topic,
										  offsets[i].partition)
			->offset = offsets[i].committed;
	return list;
}

/* Tries once. */
static rd_kafka_resp_err_t
try_commit(KafkaClient *client, const char *group,
		   const KafkaGroupOffset *offsets, int noffsets, int timeout_ms,
		   char *text)
{
	rd_kafka_topic_partition_list_t *list = make_list(offsets, noffsets);
	rd_kafka_AlterConsumerGroupOffsets_t *request =
		rd_kafka_AlterConsumerGroupOffsets_new(group, list);
	rd_kafka_AdminOptions_t *options =
		rd_kafka_AdminOptions_new(client->rk,
								  RD_KAFKA_ADMIN_OP_ALTERCONSUMERGROUPOFFSETS);
	rd_kafka_queue_t *queue = rd_kafka_queue_new(client->rk);
	rd_kafka_event_t *volatile event = NULL;
	rd_kafka_resp_err_t err = RD_KAFKA_RESP_ERR_NO_ERROR;
	char reason[KAFKA_ERROR_TEXT_MAX];

	rd_kafka_topic_partition_list_destroy(list);
	rd_kafka_AdminOptions_set_request_timeout(options, timeout_ms, reason,
											  sizeof(reason));
	PG_TRY();
	{
		rd_kafka_AlterConsumerGroupOffsets(client->rk, &request, 1, options,
										   queue);
		event = kafka_client_await_event(client, queue, timeout_ms);
		err = read_commit_answer(event, text);
	}
	PG_FINALLY();
	{
		if (event)
			rd_kafka_event_destroy(event);
		rd_kafka_AlterConsumerGroupOffsets_destroy(request);
		rd_kafka_AdminOptions_destroy(options);
		rd_kafka_queue_destroy(queue);
	}
	PG_END_TRY();
	return err;
}

void
kafka_client_commit_group(KafkaClient *client, const char *group,
						  const KafkaGroupOffset *offsets, int noffsets,
						  int timeout_ms)
{
	int64 deadline_ms = kafka_clock_ms() + timeout_ms;
	char text[KAFKA_ERROR_TEXT_MAX];

	for (;;)
	{
		int64 left_ms = deadline_ms - kafka_clock_ms();
		rd_kafka_resp_err_t err = try_commit(client, group, offsets, noffsets,
											 (int) Max(left_ms, 1), text);

		if (err == RD_KAFKA_RESP_ERR_NO_ERROR)
			break;
		CHECK_FOR_INTERRUPTS();
		if (!kafka_error_is_transient(err) ||
			kafka_clock_ms() + KAFKA_RETRY_PAUSE_MS >= deadline_ms)
			kafka_client_raise(client, KAFKA_DOING_ADMIN, err, text, NULL, -1);
		kafka_client_wait(client, KAFKA_RETRY_PAUSE_MS);
	}
	client->answered = true;
}
