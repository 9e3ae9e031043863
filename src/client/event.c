/*-------------------------------------------------------------------------
 *
 * event.c
 *		Waiting for the library, and hearing what it has to say.
 *
 * librdkafka's threads put errors and logs into the handle's main queue, and
 * write into an eventfd when a queue that was empty gets something, so that
 * the backend can sleep on its latch and that descriptor together: a cancel
 * request ends any such wait at once.
 *
 * IDENTIFICATION
 *		src/client/event.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <syslog.h>
#include <unistd.h>

#include "client/handle.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/latch.h"

void
kafka_client_watch_queue(KafkaClient *client, rd_kafka_queue_t *queue)
{
	uint64 one = 1;

	rd_kafka_queue_io_event_enable(queue, client->event_fd, &one, sizeof(one));
}

/*
 * Copies the library's text without what helps only its developers: timings,
 * and a guess about brokers of ten years ago.  It may quote anything; what is
 * not ASCII is not worth a risk.
 */
static void
copy_text(char *dst, const char *src)
{
	static const char *const noise[] = {" (after ",
										": probably due to broker version"};

	strlcpy(dst, src ? src : "", KAFKA_ERROR_TEXT_MAX);
	for (int i = 0; i < lengthof(noise); i++)
	{
		char *found = strstr(dst, noise[i]);

		if (found)
			*found = '\0';
	}
	for (; *dst; dst++)
	{
		if (IS_HIGHBIT_SET(*dst) || (unsigned char) *dst < ' ')
			*dst = '?';
	}
}

/*
 * Broker trouble reaches the user as an error where it matters, so the
 * library's lines about it are for those who look for them.
 */
static int
log_level(int syslog_level)
{
	if (syslog_level <= LOG_CRIT)
		return LOG;
	return syslog_level <= LOG_WARNING ? DEBUG1 : DEBUG3;
}

/*
 * Takes one event from the main queue: false when there is none.  The event
 * is destroyed before anything that could raise an error.
 */
static bool
take_event(KafkaClient *client, KafkaClientFault *fault, char *log_text,
		   int *level)
{
	rd_kafka_event_t *event = rd_kafka_queue_poll(client->main_queue, 0);
	const char *facility;
	const char *text;

	fault->code = RD_KAFKA_RESP_ERR_NO_ERROR;
	log_text[0] = '\0';
	if (event == NULL)
		return false;
	switch (rd_kafka_event_type(event))
	{
		case RD_KAFKA_EVENT_ERROR:
			fault->code = rd_kafka_event_error(event);
			copy_text(fault->text, rd_kafka_event_error_string(event));
			break;
		case RD_KAFKA_EVENT_LOG:
			if (rd_kafka_event_log(event, &facility, &text, level) == 0)
				copy_text(log_text, text);
			break;
		default:
			break;
	}
	rd_kafka_event_destroy(event);
	return true;
}

/*
 * Keeps the news that explains most: what a broker said about itself rather
 * than "all brokers are down", which follows it.
 */
static void
note_fault(KafkaClient *client, const KafkaClientFault *fault)
{
	if (fault->code == RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN)
	{
		client->all_down = true;
		if (client->fault.code != RD_KAFKA_RESP_ERR_NO_ERROR)
			return;
	}
	client->fault = *fault;
}

/* Faults that come back however long one waits. */
static bool
is_hopeless(const KafkaClientFault *fault)
{
	return fault->code == RD_KAFKA_RESP_ERR__AUTHENTICATION ||
		   fault->code == RD_KAFKA_RESP_ERR__SSL ||
		   fault->code == RD_KAFKA_RESP_ERR_SASL_AUTHENTICATION_FAILED ||
		   fault->code == RD_KAFKA_RESP_ERR__FATAL ||
		   strstr(fault->text, "receive.message.max.bytes") != NULL;
}

void
kafka_client_serve_events(KafkaClient *client)
{
	KafkaClientFault fault;
	char log_text[KAFKA_ERROR_TEXT_MAX];
	int level = LOG_DEBUG;

	while (take_event(client, &fault, log_text, &level))
	{
		if (log_text[0])
		{
			ereport(log_level(level),
					(errmsg_internal("Kafka client: %s", log_text),
					 errhidestmt(true), errhidecontext(true)));

			/* Too long an answer is told only here. */
			if (strstr(log_text, "receive.message.max.bytes"))
			{
				fault.code = RD_KAFKA_RESP_ERR__BAD_MSG;
				strlcpy(fault.text, log_text, sizeof(fault.text));
			}
		}
		if (fault.code == RD_KAFKA_RESP_ERR_NO_ERROR)
			continue;
		note_fault(client, &fault);
		if (is_hopeless(&fault))
			kafka_client_raise(client, KAFKA_DOING_CONNECT, fault.code,
							   fault.text, NULL, -1);
	}
}

void
kafka_client_wait(KafkaClient *client, int timeout_ms)
{
	int events;
	uint64 count;

	events =
		WaitLatchOrSocket(MyLatch,
						  WL_LATCH_SET | WL_SOCKET_READABLE | WL_TIMEOUT |
							  WL_EXIT_ON_PM_DEATH,
						  client->event_fd, timeout_ms, PG_WAIT_EXTENSION);
	if (events & WL_SOCKET_READABLE)
	{
		/* Non-blocking; that there was nothing to read does not matter. */
		if (read(client->event_fd, &count, sizeof(count)) < 0)
			Assert(errno == EAGAIN || errno == EINTR);
	}
	if (events & WL_LATCH_SET)
		ResetLatch(MyLatch);
	CHECK_FOR_INTERRUPTS();
}

rd_kafka_event_t *
kafka_client_await_event(KafkaClient *client, rd_kafka_queue_t *queue,
						 int timeout_ms)
{
	int64 deadline_ms = kafka_clock_ms() + timeout_ms;

	kafka_client_watch_queue(client, queue);
	for (;;)
	{
		rd_kafka_event_t *event = rd_kafka_queue_poll(queue, 0);
		int64 left_ms = deadline_ms - kafka_clock_ms();

		if (event)
			return event;
		kafka_client_serve_events(client);
		if (left_ms <= 0)
			kafka_client_raise(client, KAFKA_DOING_ADMIN,
							   RD_KAFKA_RESP_ERR__TIMED_OUT, NULL, NULL, -1);
		kafka_client_wait(client, (int) Min(left_ms, 500));
	}
}
