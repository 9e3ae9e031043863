/*
 * produce_events.c
 *	  Makes the benchmark's topics and prints the true answers to its
 *questions.
 *
 * Call:  produce_events BROKERS
 *
 * 2,000,000 JSON events of 12 fields go to ev1 (1 partition) and, round robin,
 * to ev4 (4 partitions).  Event n has the record timestamp START_MS + n *
 *STEP_MS, which makes ten days; one in a hundred, chosen and put back by a
 *fixed pseudo-random sequence, is up to MAX_LATE_MS earlier than its place in
 *the log says.  Batches are lz4 of at most 500 events, as a producer with
 *usual settings would write them.  Everything follows from n alone, so two
 *runs make the same topics, and a change of this file means other data.
 *
 * The truth is computed here, from the numbers and not from the text: it must
 *not depend on any program that is measured.  It is printed, after the last
 *delivery report, as lines for the shell; times are in milliseconds since
 *1970, ranges are half-open.
 */
#include <inttypes.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <librdkafka/rdkafka.h>

#define EVENT_COUNT 2000000
#define START_MS INT64_C(1714521600000) /* 2024-05-01T00:00:00Z */
#define STEP_MS 432
#define MAX_LATE_MS 60000
#define EVENT_SIZE 512
#define TIMEOUT_MS 60000

/* Five days and some after START_MS, at a full hour and minute. */
#define HOUR_START_MS (START_MS + INT64_C(127) * 3600000)
#define HOUR_END_MS (HOUR_START_MS + 3600000)
#define MINUTE_START_MS (START_MS + INT64_C(7951) * 60000)
#define MINUTE_END_MS (MINUTE_START_MS + 60000)

typedef struct Event
{
	int64_t n;
	int64_t time_ms;
	int status;
	int64_t latency_us; /* latency_ms of the text, times 1000 */
} Event;

typedef struct Truth
{
	int64_t bytes;
	int64_t latency_us;
	int64_t status_500;
	int64_t hour_rows;
	int64_t minute_rows;
} Truth;

static const char *const services[] = {"checkout", "catalog",  "search",
									   "payment",  "identity", "shipping",
									   "gateway",  "recommend"};
static const char *const methods[] = {"GET",  "GET", "GET",
									  "POST", "PUT", "DELETE"};
static const char *const paths[] = {"orders", "customers", "products", "carts",
									"invoices"};
static const char *const agents[] = {"Mozilla/5.0 (X11; Linux x86_64)",
									 "Mozilla/5.0 (Macintosh; ARM Mac OS X)",
									 "okhttp/4.12.0 (Android 14)",
									 "curl/8.5.0 (x86_64-linux)"};

#define COUNT(array) ((int64_t) (sizeof(array) / sizeof((array)[0])))

static int64_t undelivered = 0;

static void fail(const char *format, ...)
	__attribute__((format(printf, 1, 2), noreturn));

static void
fail(const char *format, ...)
{
	va_list args;

	fputs("produce_events: ", stderr);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
	exit(1);
}

/* The next value of splitmix64, whose state may start anywhere. */
static uint64_t
next_random(uint64_t *state)
{
	uint64_t z = (*state += UINT64_C(0x9e3779b97f4a7c15));

	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

/* Writes time_ms as 2024-05-01T00:00:00.000Z. */
static void
format_time(int64_t time_ms, char *out, size_t size)
{
	time_t seconds = (time_t) (time_ms / 1000);
	struct tm parts;
	char day[32];

	gmtime_r(&seconds, &parts);
	strftime(day, sizeof(day), "%Y-%m-%dT%H:%M:%S", &parts);
	snprintf(out, size, "%s.%03dZ", day, (int) (time_ms % 1000));
}

/* Makes event n: its numbers in *event, its text in out; returns the length.
 */
static size_t
make_event(int64_t n, Event *event, char *out)
{
	uint64_t seed = (uint64_t) n << 20;
	uint64_t a = next_random(&seed);
	uint64_t b = next_random(&seed);
	uint64_t c = next_random(&seed);
	char time_text[40];
	int length;

	event->n = n;
	event->time_ms = START_MS + n * STEP_MS;
	if (a % 100 == 0 && n * STEP_MS > MAX_LATE_MS)
		event->time_ms -= (int64_t) ((a >> 8) % MAX_LATE_MS);
	event->status = b % 100 == 0 ? 500 : b % 100 < 6 ? 404 : 200;
	event->latency_us = 1000 + (int64_t) ((b >> 8) % 200000);
	format_time(event->time_ms, time_text, sizeof(time_text));

	length =
		snprintf(out, EVENT_SIZE,
				 "{\"@timestamp\":\"%s\",\"service\":\"%s\","
				 "\"host\":\"web-%02d.example.com\","
				 "\"method\":\"%s\",\"path\":\"/api/v2/%s/%" PRIu64 "\","
				 "\"status\":%d,\"latency_ms\":%" PRId64 ".%03d,"
				 "\"bytes\":%" PRIu64 ",\"user_id\":\"u-%06" PRIu64 "\","
				 "\"session\":\"%012" PRIx64 "\",\"agent\":\"%s\","
				 "\"cache_hit\":%s}",
				 time_text, services[(a >> 40) % COUNT(services)],
				 (int) ((a >> 48) % 40), methods[(c >> 4) % COUNT(methods)],
				 paths[(c >> 8) % COUNT(paths)], (c >> 12) % 100000,
				 event->status, event->latency_us / 1000,
				 (int) (event->latency_us % 1000), (c >> 30) % 90000,
				 (b >> 30) % 250000, (a ^ c) >> 16,
				 agents[(c >> 50) % COUNT(agents)],
				 (c >> 60) % 4 ? "true" : "false");
	if (length < 0 || length >= EVENT_SIZE)
		fail("event %" PRId64 " is too long", n);
	return (size_t) length;
}

static void
count_event(const Event *event, size_t length, Truth *truth)
{
	truth->bytes += (int64_t) length;
	truth->latency_us += event->latency_us;
	truth->status_500 += event->status == 500;
	truth->hour_rows +=
		event->time_ms >= HOUR_START_MS && event->time_ms < HOUR_END_MS;
	truth->minute_rows +=
		event->time_ms >= MINUTE_START_MS && event->time_ms < MINUTE_END_MS;
}

static void
check_delivery(rd_kafka_t *rk, const rd_kafka_message_t *message, void *opaque)
{
	(void) rk;
	(void) opaque;
	if (message->err)
		fail("an event was not delivered: %s", rd_kafka_err2str(message->err));
	undelivered--;
}

static rd_kafka_t *
connect_producer(const char *brokers)
{
	const char *const settings[][2] = {
		{"bootstrap.servers", brokers},
		{"enable.idempotence", "true"}, /* keeps the order through retries */
		{"compression.codec", "lz4"},
		{"batch.num.messages", "500"},
		{"linger.ms", "50"},
		{"queue.buffering.max.messages", "200000"},
		{"broker.address.family", "v4"},
		{"log_level", "3"},
	};
	rd_kafka_conf_t *conf = rd_kafka_conf_new();
	rd_kafka_t *rk;
	char message[512];

	for (int i = 0; i < COUNT(settings); i++)
	{
		if (rd_kafka_conf_set(conf, settings[i][0], settings[i][1], message,
							  sizeof(message)) != RD_KAFKA_CONF_OK)
			fail("%s", message);
	}
	rd_kafka_conf_set_dr_msg_cb(conf, check_delivery);
	rk = rd_kafka_new(RD_KAFKA_PRODUCER, conf, message, sizeof(message));
	if (!rk)
		fail("%s", message);
	return rk;
}

/* Makes an empty topic whose old timestamps do not make it empty at once. */
static rd_kafka_topic_t *
create_topic(rd_kafka_t *rk, const char *name, int partitions)
{
	char message[512];
	rd_kafka_NewTopic_t *topic =
		rd_kafka_NewTopic_new(name, partitions, 1, message, sizeof(message));
	rd_kafka_queue_t *queue = rd_kafka_queue_new(rk);
	rd_kafka_event_t *event;
	const rd_kafka_topic_result_t **results;
	size_t count;

	if (!topic)
		fail("%s", message);
	rd_kafka_NewTopic_set_config(topic, "retention.ms", "-1");
	rd_kafka_CreateTopics(rk, &topic, 1, NULL, queue);
	event = rd_kafka_queue_poll(queue, TIMEOUT_MS);
	if (!event || rd_kafka_event_error(event))
		fail("topic %s: %s", name,
			 event ? rd_kafka_event_error_string(event) : "no answer");
	results =
		rd_kafka_CreateTopics_result_topics(rd_kafka_event_CreateTopics_result(
												event),
											&count);
	if (count != 1 || rd_kafka_topic_result_error(results[0]))
		fail("topic %s: %s", name,
			 rd_kafka_topic_result_error_string(results[0]));
	rd_kafka_event_destroy(event);
	rd_kafka_queue_destroy(queue);
	rd_kafka_NewTopic_destroy(topic);
	return rd_kafka_topic_new(rk, name, NULL);
}

static void
send_event(rd_kafka_t *rk, rd_kafka_topic_t *rkt, int32_t partition,
		   const Event *event, char *text, size_t length)
{
	rd_kafka_resp_err_t err;

	for (;;)
	{
		err = rd_kafka_producev(rk, RD_KAFKA_V_RKT(rkt),
								RD_KAFKA_V_PARTITION(partition),
								RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY),
								RD_KAFKA_V_VALUE(text, length),
								RD_KAFKA_V_TIMESTAMP(event->time_ms),
								RD_KAFKA_V_END);
		if (err != RD_KAFKA_RESP_ERR__QUEUE_FULL)
			break;
		rd_kafka_poll(rk, 10);
	}
	if (err)
		fail("event %" PRId64 ": %s", event->n, rd_kafka_err2str(err));
	undelivered++;
}

int
main(int argc, char **argv)
{
	rd_kafka_t *rk;
	rd_kafka_topic_t *ev1;
	rd_kafka_topic_t *ev4;
	Truth truth = {0};

	if (argc != 2)
		fail("call: produce_events BROKERS");
	rk = connect_producer(argv[1]);
	ev1 = create_topic(rk, "ev1", 1);
	ev4 = create_topic(rk, "ev4", 4);

	for (int64_t n = 0; n < EVENT_COUNT; n++)
	{
		char text[EVENT_SIZE];
		Event event;
		size_t length = make_event(n, &event, text);

		count_event(&event, length, &truth);
		send_event(rk, ev1, 0, &event, text, length);
		send_event(rk, ev4, (int32_t) (n % 4), &event, text, length);
		if (n % 1000 == 0)
			rd_kafka_poll(rk, 0);
	}
	if (rd_kafka_flush(rk, TIMEOUT_MS) || undelivered != 0)
		fail("%" PRId64 " events were not delivered", undelivered);

	printf("EVENTS=%d\nBYTES=%" PRId64 "\n", EVENT_COUNT, truth.bytes);
	printf("LATENCY_US=%" PRId64 "\nSTATUS_500=%" PRId64 "\n",
		   truth.latency_us, truth.status_500);
	printf("HOUR_START_MS=%" PRId64 "\nHOUR_END_MS=%" PRId64
		   "\nHOUR_ROWS=%" PRId64 "\n",
		   HOUR_START_MS, HOUR_END_MS, truth.hour_rows);
	printf("MINUTE_START_MS=%" PRId64 "\nMINUTE_END_MS=%" PRId64
		   "\nMINUTE_ROWS=%" PRId64 "\n",
		   MINUTE_START_MS, MINUTE_END_MS, truth.minute_rows);
	printf("MAX_LATE_MS=%d\n", MAX_LATE_MS);

	rd_kafka_topic_destroy(ev1);
	rd_kafka_topic_destroy(ev4);
	rd_kafka_destroy(rk);
	return 0;
}
