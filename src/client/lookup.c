/*-------------------------------------------------------------------------
 *
 * lookup.c
 *		Log starts, ends, and the offsets of times.
 *
 * rd_kafka_offsets_for_times answers all three: it passes -1 and -2 on to the
 * broker unchecked, and the broker takes them for "end" and "start".  That is
 * not documented, so the tests hold it against a real broker.  The documented
 * rd_kafka_query_watermark_offsets is not used: on a stopped broker version
 * 2.0.2 never returns from it.
 *
 * IDENTIFICATION
 *		src/client/lookup.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "client/handle.h"
#include "miscadmin.h"

/*
 * A topic that metadata has just shown may be unknown again for a moment,
 * while a broker comes back.
 */
#define UNKNOWN_GRACE_MS 2000

static rd_kafka_topic_partition_list_t *
build_list(const KafkaLookup *lookups, int nlookups)
{
	rd_kafka_topic_partition_list_t *list;

	list = rd_kafka_topic_partition_list_new(nlookups);
	for (int i = 0; i < nlookups; i++)
		rd_kafka_topic_partition_list_add(list, lookups[i].topic,
										  lookups[i].partition)
			->offset = lookups[i].time_ms;
	return list;
}

/*
 * Copies the answers.  The element's error is looked at first: without an
 * answer its offset is still our own question.  Returns the first error.
 */
static rd_kafka_resp_err_t
read_answers(const rd_kafka_topic_partition_list_t *list, KafkaLookup *lookups,
			 int *failed)
{
	for (int i = 0; i < list->cnt; i++)
	{
		/* The library may have sorted or grouped its own copy, not ours. */
		Assert(list->elems[i].partition == lookups[i].partition);
		if (list->elems[i].err != RD_KAFKA_RESP_ERR_NO_ERROR)
		{
			*failed = i;
			return list->elems[i].err;
		}
		lookups[i].offset = list->elems[i].offset;
	}
	return RD_KAFKA_RESP_ERR_NO_ERROR;
}

/* One try; *failed is the lookup that the error speaks of. */
static rd_kafka_resp_err_t
try_lookup(KafkaClient *client, KafkaLookup *lookups, int nlookups,
		   int slice_ms, int *failed)
{
	rd_kafka_topic_partition_list_t *list = build_list(lookups, nlookups);
	rd_kafka_resp_err_t err;

	*failed = 0;
	err = rd_kafka_offsets_for_times(client->rk, list, slice_ms);
	if (err == RD_KAFKA_RESP_ERR_NO_ERROR)
		err = read_answers(list, lookups, failed);
	rd_kafka_topic_partition_list_destroy(list);
	return err;
}

/* Is it worth trying again after this error? */
static bool
may_pass(const KafkaClient *client, rd_kafka_resp_err_t err)
{
	if (err == RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION ||
		err == RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC ||
		err == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART)
		return client->waited_ms < UNKNOWN_GRACE_MS;
	return kafka_error_is_transient(err) &&
		   client->waited_ms < client->fetch_timeout_ms;
}

void
kafka_client_lookup(KafkaClient *client, KafkaLookup *lookups, int nlookups)
{
	int64 begin_ms = kafka_clock_ms();
	int slice_ms = KAFKA_FIRST_SLICE_MS;

	if (nlookups == 0)
		return;
	for (;;)
	{
		int failed;
		rd_kafka_resp_err_t err;

		/* Here too: many quick lookups in a row take long as well. */
		CHECK_FOR_INTERRUPTS();
		err = try_lookup(client, lookups, nlookups, slice_ms, &failed);
		if (err == RD_KAFKA_RESP_ERR_NO_ERROR)
		{
			client->fault.code = RD_KAFKA_RESP_ERR_NO_ERROR;
			return;
		}
		CHECK_FOR_INTERRUPTS();
		kafka_client_serve_events(client);
		client->waited_ms = kafka_clock_ms() - begin_ms;
		if (!may_pass(client, err))
			kafka_client_raise(client, KAFKA_DOING_LOOKUP, err, NULL,
							   lookups[failed].topic,
							   lookups[failed].partition);
		if (err != RD_KAFKA_RESP_ERR__TIMED_OUT)
			kafka_client_wait(client, KAFKA_RETRY_PAUSE_MS);
		slice_ms = Min(slice_ms * 2, KAFKA_MAX_SLICE_MS);
	}
}
