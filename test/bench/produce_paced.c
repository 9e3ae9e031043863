/*
 * produce_paced.c
 *	  Sends messages at a steady rate, each at a moment that is known.
 *
 * Call:  produce_paced BROKERS TOPIC PARTITIONS RATE SECONDS
 *
 * Makes the topic if need be.  Message n, from 0 on, goes to partition n %
 * PARTITIONS at START + n / RATE, with the record timestamp of that moment; it
 * is an event of about 150 bytes.  START in microseconds since 1970 is printed
 * before the first message, and at the end how far behind its moment the
 * latest message was sent, and how many were acknowledged.  The first message
 * that is not delivered ends the program with status 1.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <librdkafka/rdkafka.h>

#define TIMEOUT_MS 60000
#define LEAD_US 200000 /* from START's print to START */

static int64_t acknowledged;

static void
die(const char *what, const char *why)
{
	fprintf(stderr, "produce_paced: %s: %s\n", what, why);
	exit(1);
}

static int64_t
now_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return (int64_t) now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static void
note_delivery(rd_kafka_t *kafka, const rd_kafka_message_t *message,
			  void *opaque)
{
	(void) kafka;
	(void) opaque;
	if (message->err)
		die("a message was not delivered", rd_kafka_err2str(message->err));
	acknowledged++;
}

static rd_kafka_t *
make_producer(const char *brokers)
{
	rd_kafka_conf_t *conf = rd_kafka_conf_new();
	char error[512];
	rd_kafka_t *producer;

	/* As fast as a service that wants its events to be seen would send. */
	if (rd_kafka_conf_set(conf, "bootstrap.servers", brokers, error,
						  sizeof(error)) ||
		rd_kafka_conf_set(conf, "linger.ms", "5", error, sizeof(error)) ||
		rd_kafka_conf_set(conf, "acks", "all", error, sizeof(error)))
		die("configuration", error);
	rd_kafka_conf_set_dr_msg_cb(conf, note_delivery);
	producer = rd_kafka_new(RD_KAFKA_PRODUCER, conf, error, sizeof(error));
	if (producer == NULL)
		die("producer", error);
	return producer;
}

static void
make_topic(rd_kafka_t *producer, const char *name, int partitions)
{
	char error[512];
	rd_kafka_NewTopic_t *topic =
		rd_kafka_NewTopic_new(name, partitions, 1, error, sizeof(error));
	rd_kafka_queue_t *queue = rd_kafka_queue_new(producer);
	rd_kafka_event_t *event;
	const rd_kafka_topic_result_t **results;
	size_t count;

	if (topic == NULL)
		die(name, error);
	rd_kafka_CreateTopics(producer, &topic, 1, NULL, queue);
	event = rd_kafka_queue_poll(queue, TIMEOUT_MS);
	if (event == NULL || rd_kafka_event_error(event))
		die(name, event ? rd_kafka_event_error_string(event) : "no answer");
	results =
		rd_kafka_CreateTopics_result_topics(rd_kafka_event_CreateTopics_result(
												event),
											&count);
	if (rd_kafka_topic_result_error(results[0]) &&
		rd_kafka_topic_result_error(results[0]) !=
			RD_KAFKA_RESP_ERR_TOPIC_ALREADY_EXISTS)
		die(name, rd_kafka_topic_result_error_string(results[0]));
	rd_kafka_event_destroy(event);
	rd_kafka_queue_destroy(queue);
	rd_kafka_NewTopic_destroy(topic);
}

static void
send_message(rd_kafka_t *producer, const char *topic, int partitions,
			 int64_t n, int64_t due_us)
{
	char value[256];
	int length =
		snprintf(value, sizeof(value),
				 "{\"n\":%" PRId64 ",\"sent_us\":%" PRId64
				 ",\"event\":\"%s\",\"user_id\":\"u%" PRId64
				 "\",\"latency_ms\":%d.%03d,\"path\":\"/item/%" PRId64 "\"}",
				 n, due_us, n % 3 ? "view" : "click", n * 7919 % 50000,
				 (int) (n % 200), (int) (n % 1000), n % 1000);
	rd_kafka_resp_err_t error =
		rd_kafka_producev(producer, RD_KAFKA_V_TOPIC(topic),
						  RD_KAFKA_V_PARTITION((int32_t) (n % partitions)),
						  RD_KAFKA_V_TIMESTAMP(due_us / 1000),
						  RD_KAFKA_V_VALUE(value, (size_t) length),
						  RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY),
						  RD_KAFKA_V_END);

	if (error)
		die("produce", rd_kafka_err2str(error));
}

int
main(int argc, char **argv)
{
	rd_kafka_t *producer;
	int partitions;
	double rate;
	int64_t total;
	int64_t start_us;
	int64_t latest_us = 0;

	if (argc != 6)
		die("usage", "produce_paced BROKERS TOPIC PARTITIONS RATE SECONDS");
	partitions = atoi(argv[3]);
	rate = atof(argv[4]);
	total = (int64_t) (rate * atof(argv[5]));
	producer = make_producer(argv[1]);
	make_topic(producer, argv[2], partitions);
	start_us = now_us() + LEAD_US;
	printf("%" PRId64 "\n", start_us);
	fflush(stdout);
	for (int64_t n = 0; n < total; n++)
	{
		int64_t due_us = start_us + (int64_t) ((double) n * 1e6 / rate);
		int64_t ahead_us = due_us - now_us();

		if (ahead_us > 0)
			rd_kafka_poll(producer, 0);
		while ((ahead_us = due_us - now_us()) > 0)
		{
			struct timespec pause = {ahead_us / 1000000,
									 ahead_us % 1000000 * 1000};

			nanosleep(&pause, NULL);
		}
		if (-ahead_us > latest_us)
			latest_us = -ahead_us;
		send_message(producer, argv[2], partitions, n, due_us);
	}
	if (rd_kafka_flush(producer, TIMEOUT_MS))
		die("flush", "not all messages were delivered in time");
	printf("%" PRId64 " %" PRId64 "\n", latest_us, acknowledged);
	rd_kafka_destroy(producer);
	return acknowledged == total ? 0 : 1;
}
