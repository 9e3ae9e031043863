/*-------------------------------------------------------------------------
 *
 * group.c
 *		Committed offsets of consumer groups.
 *
 * The admin request needs no group.id and no membership, and works for any
 * group the user may describe.
 *
 * IDENTIFICATION
 *		src/client/group.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "client/handle.h"

static KafkaGroupOffset *
copy_offsets(KafkaClient *client, rd_kafka_event_t *event, int *noffsets)
{
	const rd_kafka_ListConsumerGroupOffsets_result_t *result;
	const rd_kafka_group_result_t **groups;
	const rd_kafka_topic_partition_list_t *list;
	KafkaGroupOffset *offsets;
	size_t ngroups = 0;
	rd_kafka_resp_err_t err = rd_kafka_event_error(event);
	int count = 0;

	if (err)
		kafka_client_raise(client, KAFKA_DOING_ADMIN, err,
						   rd_kafka_event_error_string(event), NULL, -1);
	result = rd_kafka_event_ListConsumerGroupOffsets_result(event);
	groups = rd_kafka_ListConsumerGroupOffsets_result_groups(result, &ngroups);
	*noffsets = 0;
	if (ngroups == 0)
		return NULL;
	if (rd_kafka_group_result_error(groups[0]))
		kafka_client_raise(client, KAFKA_DOING_ADMIN,
						   rd_kafka_error_code(
							   rd_kafka_group_result_error(groups[0])),
						   rd_kafka_error_string(
							   rd_kafka_group_result_error(groups[0])),
						   NULL, -1);
	list = rd_kafka_group_result_partitions(groups[0]);
	if (list == NULL)
		return NULL;
	offsets = palloc0(sizeof(KafkaGroupOffset) * Max(list->cnt, 1));
	for (int i = 0; i < list->cnt; i++)
	{
		/* A negative offset means that nothing was committed there. */
		if (list->elems[i].err || list->elems[i].offset < 0)
			continue;
		offsets[count].topic = pstrdup(list->elems[i].topic);
		offsets[count].partition = list->elems[i].partition;
		offsets[count].committed = list->elems[i].offset;
		count++;
	}
	*noffsets = count;
	return offsets;
}

KafkaGroupOffset *
kafka_client_group_offsets(KafkaClient *client, const char *group,
						   int *noffsets)
{
	rd_kafka_ListConsumerGroupOffsets_t *request;
	rd_kafka_AdminOptions_t *options;
	rd_kafka_queue_t *queue = rd_kafka_queue_new(client->rk);
	rd_kafka_event_t *event = NULL;
	KafkaGroupOffset *offsets = NULL;
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
		offsets = copy_offsets(client, event, noffsets);
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
	client->answered = true;
	return offsets;
}
