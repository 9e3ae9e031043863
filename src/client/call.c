/*-------------------------------------------------------------------------
 *
 * call.c
 *		Library calls that block, off the main thread.
 *
 * Metadata and the offsets of times are to be had by calls only that do not
 * return before the answer is there or their time is up, and a late answer is
 * lost.  In the backend's thread such a call holds up a cancel request, so it
 * would have to be short, and a slow broker would never be heard; and several
 * of them would wait one after the other for what one round trip can bring.
 * So each call runs on a thread of its own, which writes into the handle's
 * event descriptor when it is done, while the backend waits as it does for
 * everything else.
 *
 * A call is in the handle's list from its start until the backend frees it.
 * Nobody can stop a call under way.  Where the backend gives up waiting, by an
 * error or a cancel request, the call stays in the list, and its memory and
 * its thread with it: a handle with calls is not used again, and whoever ends
 * it waits for them first (handle.c).  What a thread here touches, which is
 * the call, the library's handle and the descriptor, thus outlives it.
 *
 * IDENTIFICATION
 *		src/client/call.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <pthread.h>
#include <unistd.h>

#include "client/handle.h"
#include "miscadmin.h"

/* The longest sleep before the main queue is looked at again. */
#define WAIT_SLICE_MS 500

/* Runs on the call's thread: no PostgreSQL calls. */
static void
make_call(KafkaCall *call)
{
	if (call->list)
		call->err =
			rd_kafka_offsets_for_times(call->rk, call->list, call->timeout_ms);
	else
		call->err = rd_kafka_metadata(call->rk, call->rkt == NULL, call->rkt,
									  &call->metadata, call->timeout_ms);
}

static void *
run_call(void *arg)
{
	KafkaCall *call = (KafkaCall *) arg;
	uint64 one = 1;

	make_call(call);
	__atomic_store_n(&call->done, true, __ATOMIC_RELEASE);

	if (write(call->event_fd, &one, sizeof(one)) < 0)
		return NULL; /* the counter is full, and the backend awake */
	return NULL;
}

static bool
is_done(const KafkaCall *call)
{
	return __atomic_load_n(&call->done, __ATOMIC_ACQUIRE);
}

/* Frees a call whose thread, if it had one, is over. */
static void
destroy_call(KafkaCall *call)
{
	if (call->list)
		rd_kafka_topic_partition_list_destroy(call->list);
	if (call->metadata)
		rd_kafka_metadata_destroy(call->metadata);
	if (call->rkt)
		rd_kafka_topic_destroy(call->rkt);
	free(call);
}

/* Starts a call that has its question. */
static KafkaCall *
start_call(KafkaClient *client, KafkaCall *call, int timeout_ms)
{
	call->rk = client->rk;
	call->event_fd = client->event_fd;
	call->timeout_ms = timeout_ms;
	call->begin_us = kafka_clock_us();
	call->next = client->calls;
	client->calls = call;
	call->threaded = kafka_thread_start(&call->thread, run_call, call);
	if (!call->threaded)
	{
		/* No thread to be had: here, for as long as one may be deaf. */
		call->timeout_ms = Min(timeout_ms, KAFKA_DEAF_SLICE_MS);
		make_call(call);
		call->done = true;
	}
	return call;
}

static void
raise_out_of_memory(void)
{
	ereport(ERROR, (errcode(ERRCODE_OUT_OF_MEMORY), errmsg("out of memory")));
}

KafkaCall *
kafka_call_times(KafkaClient *client, rd_kafka_topic_partition_list_t *list,
				 int timeout_ms)
{
	KafkaCall *call = calloc(1, sizeof(KafkaCall));

	if (call == NULL)
	{
		rd_kafka_topic_partition_list_destroy(list);
		raise_out_of_memory();
	}
	call->list = list;
	return start_call(client, call, timeout_ms);
}

KafkaCall *
kafka_call_metadata(KafkaClient *client, const char *topic, int timeout_ms)
{
	KafkaCall *call = calloc(1, sizeof(KafkaCall));

	if (call == NULL)
		raise_out_of_memory();
	if (topic)
	{
		call->rkt = rd_kafka_topic_new(client->rk, topic, NULL);
		if (call->rkt == NULL)
		{
			free(call);
			kafka_client_raise(client, KAFKA_DOING_CONNECT,
							   rd_kafka_last_error(), NULL, topic, -1);
		}
	}
	return start_call(client, call, timeout_ms);
}

void
kafka_call_await(KafkaClient *client, KafkaCall *call)
{
	bool unfit = client->unfit;

	/* What an interrupt or an event ends leaves the call behind. */
	client->unfit = true;

	/* Here too: many quick calls in a row take long as well. */
	CHECK_FOR_INTERRUPTS();
	while (!is_done(call))
	{
		kafka_client_wait(client, WAIT_SLICE_MS);
		kafka_client_serve_events(client);
	}
	client->unfit = unfit;
}

void
kafka_call_free(KafkaClient *client, KafkaCall *call)
{
	KafkaCall **link = &client->calls;

	Assert(call->done);
	while (*link != call)
		link = &(*link)->next;
	*link = call->next;
	if (call->threaded)
		pthread_join(call->thread, NULL);
	destroy_call(call);
}

/* ----------------------------------------------------------------
 * How long a call may take
 * ----------------------------------------------------------------
 */

int
kafka_slice_first(const KafkaClient *client, int64 left_ms)
{
	return (int) Min(Max(client->slice_ms, KAFKA_FIRST_SLICE_MS),
					 Max(left_ms, 1));
}

int
kafka_slice_next(int slice_ms, int64 left_ms)
{
	return (int) Min(Min(slice_ms * 2, KAFKA_MAX_SLICE_MS), Max(left_ms, 1));
}

void
kafka_slice_note(KafkaClient *client, int64 took_ms)
{
	client->slice_ms = (int) Min(took_ms * 2, KAFKA_MAX_SLICE_MS);
}

/* ----------------------------------------------------------------
 * Ends
 * ----------------------------------------------------------------
 */

int64
kafka_calls_deadline(const KafkaCall *calls)
{
	int64 deadline_us = 0;

	for (; calls; calls = calls->next)
	{
		if (!is_done(calls))
			deadline_us =
				Max(deadline_us,
					calls->begin_us + (int64) calls->timeout_ms * 1000);
	}
	return deadline_us;
}

void
kafka_calls_join(KafkaCall *calls)
{
	while (calls)
	{
		KafkaCall *next = calls->next;

		if (calls->threaded)
			pthread_join(calls->thread, NULL);
		destroy_call(calls);
		calls = next;
	}
}
