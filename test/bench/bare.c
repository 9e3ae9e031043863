/*
 * bare.c
 *	  The least that a consumer can do: the floor that the benchmark compares
 *with.
 *
 * Call:  bare count  -b BROKERS -t TOPIC [OPTION]...
 *		  bare window -b BROKERS -t TOPIC -s START_MS -e END_MS [OPTION]...
 *
 *	-n N		repetitions that are printed, 5 by default
 *	-w N		repetitions before these that are not, 1 by default
 *	-C			cold: every repetition begins with a new handle
 *	-f BYTES	fetch of one partition (fetch.message.max.bytes)
 *	-q KB		queued.max.messages.kbytes
 *	-l MS		how late records may be (window)
 *	-m N		no more messages than this (count)
 *	-p none|short|bytes
 *				how a sleeping broker thread is woken, see below
 *	-c NS		busy time spent on every message, as a stand-in for the work of
 *				a real consumer
 *
 * count reads a topic from its beginning to its end.  window reads from the
 * first offset with a time of START_MS or later to the first one with END_MS
 *plus lateness, and counts the records in [START_MS, END_MS).  Every
 *repetition asks the broker for the offsets it needs; nothing is decoded.
 *Printed for each: wall time in ms, processor time of all threads in ms,
 *messages taken from the library, messages counted, wake-ups sent.
 *
 * When its queue is full, librdkafka before 2.2 lets the broker thread sleep
 *for up to a second, even if the queue runs empty meanwhile; any request to
 *that broker wakes it.  A consumer that does nothing, like count, never fills
 *the queue; anybody slower does.  "short" sends a lookup of the end offsets
 *and waits for the answer whenever a batch comes back short; "bytes" sends one
 *after every half queue of payload, and after a short batch, and does not wait
 *for the answer.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <librdkafka/rdkafka.h>

#define BATCH_SIZE 1000
#define MAX_PARTITIONS 64
#define TIMEOUT_MS 30000
#define SHORT_WAIT_MS 2
#define WAKE_WAIT_MS 200

typedef enum WakeMode
{
	WAKE_NONE,
	WAKE_SHORT,
	WAKE_BYTES
} WakeMode;

typedef struct Options
{
	const char *brokers;
	const char *topic;
	const char *fetch_bytes;
	const char *queue_kb;
	bool window;
	bool cold;
	int64_t start_ms;
	int64_t end_ms;
	int64_t late_ms;
	int64_t max_messages;
	int64_t cost_ns;
	WakeMode wake;
	int repetitions;
	int warm_ups;
} Options;

/* One handle and what is to be read with it. */
typedef struct Reader
{
	rd_kafka_t *rk;
	rd_kafka_topic_t *rkt;
	rd_kafka_queue_t *queue;
	int partitions;
	int64_t position[MAX_PARTITIONS];
	int64_t stop[MAX_PARTITIONS];
	bool active[MAX_PARTITIONS];
	int64_t remaining; /* offsets between positions and stops */
	int64_t taken;
	int64_t counted;
	int64_t bytes;
	int64_t woken_at_bytes;
	int wakes;
} Reader;

static Options options = {.max_messages = INT64_MAX,
						  .repetitions = 5,
						  .warm_ups = 1};

static void fail(const char *format, ...)
	__attribute__((format(printf, 1, 2), noreturn));

static void
fail(const char *format, ...)
{
	va_list args;

	fputs("bare: ", stderr);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
	exit(1);
}

static int64_t
clock_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t) now.tv_sec * 1000000000 + now.tv_nsec;
}

/* Processor time of this process, the library's threads included. */
static int64_t
cpu_ns(void)
{
	struct timespec used;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
	return (int64_t) used.tv_sec * 1000000000 + used.tv_nsec;
}

static void
set(rd_kafka_conf_t *conf, const char *name, const char *value)
{
	char message[512];

	if (value && rd_kafka_conf_set(conf, name, value, message,
								   sizeof(message)) != RD_KAFKA_CONF_OK)
		fail("%s", message);
}

static void
open_reader(Reader *reader)
{
	rd_kafka_conf_t *conf = rd_kafka_conf_new();
	const struct rd_kafka_metadata *metadata;
	char message[512];

	memset(reader, 0, sizeof(*reader));
	set(conf, "bootstrap.servers", options.brokers);
	set(conf, "broker.address.family", "v4");
	set(conf, "fetch.wait.max.ms", "10");
	set(conf, "auto.offset.reset", "error");
	set(conf, "fetch.message.max.bytes", options.fetch_bytes);
	set(conf, "queued.max.messages.kbytes", options.queue_kb);
	reader->rk =
		rd_kafka_new(RD_KAFKA_CONSUMER, conf, message, sizeof(message));
	if (!reader->rk)
		fail("%s", message);
	reader->rkt = rd_kafka_topic_new(reader->rk, options.topic, NULL);
	reader->queue = rd_kafka_queue_new(reader->rk);
	if (rd_kafka_metadata(reader->rk, 0, reader->rkt, &metadata, TIMEOUT_MS) ||
		metadata->topic_cnt != 1 || metadata->topics[0].err)
		fail("no metadata of topic %s", options.topic);
	reader->partitions = metadata->topics[0].partition_cnt;
	rd_kafka_metadata_destroy(metadata);
	if (reader->partitions < 1 || reader->partitions > MAX_PARTITIONS)
		fail("topic %s has %d partitions", options.topic, reader->partitions);
}

static void
close_reader(Reader *reader)
{
	rd_kafka_queue_destroy(reader->queue);
	rd_kafka_topic_destroy(reader->rkt);
	rd_kafka_destroy(reader->rk);
}

static rd_kafka_topic_partition_list_t *
list_partitions(const Reader *reader, int64_t time_ms)
{
	rd_kafka_topic_partition_list_t *list;

	list = rd_kafka_topic_partition_list_new(reader->partitions);
	for (int i = 0; i < reader->partitions; i++)
		rd_kafka_topic_partition_list_add(list, options.topic, i)->offset =
			time_ms;
	return list;
}

/* The offsets of a time, or of the ends (-1) or starts (-2). */
static void
look_up(Reader *reader, int64_t time_ms, int64_t *offsets)
{
	rd_kafka_topic_partition_list_t *list = list_partitions(reader, time_ms);

	if (rd_kafka_offsets_for_times(reader->rk, list, TIMEOUT_MS))
		fail("the broker does not answer a lookup");
	for (int i = 0; i < list->cnt; i++)
	{
		if (list->elems[i].err)
			fail("lookup: %s", rd_kafka_err2str(list->elems[i].err));
		offsets[list->elems[i].partition] = list->elems[i].offset;
	}
	rd_kafka_topic_partition_list_destroy(list);
}

/* The -1 of a lookup by time means: no such record. */
static void
replace_none(Reader *reader, int64_t *offsets)
{
	int64_t ends[MAX_PARTITIONS];
	bool looked_up = false;

	for (int i = 0; i < reader->partitions; i++)
	{
		if (offsets[i] >= 0)
			continue;
		if (!looked_up)
			look_up(reader, -1, ends);
		looked_up = true;
		offsets[i] = ends[i];
	}
}

static void
wake_broker(Reader *reader)
{
	rd_kafka_topic_partition_list_t *list = list_partitions(reader, -1);

	(void) rd_kafka_offsets_for_times(reader->rk, list,
									  options.wake == WAKE_SHORT ? WAKE_WAIT_MS
																 : 0);
	rd_kafka_topic_partition_list_destroy(list);
	reader->woken_at_bytes = reader->bytes;
	reader->wakes++;
}

static void
stop_partition(Reader *reader, int partition)
{
	if (reader->active[partition])
		rd_kafka_consume_stop(reader->rkt, partition);
	reader->active[partition] = false;
}

static void
start(Reader *reader)
{
	if (options.window)
	{
		look_up(reader, options.start_ms, reader->position);
		look_up(reader, options.end_ms + options.late_ms, reader->stop);
		replace_none(reader, reader->position);
		replace_none(reader, reader->stop);
	}
	else
	{
		look_up(reader, -2, reader->position);
		look_up(reader, -1, reader->stop);
	}
	reader->remaining = reader->taken = reader->counted = 0;
	reader->bytes = reader->woken_at_bytes = reader->wakes = 0;
	for (int i = 0; i < reader->partitions; i++)
	{
		if (reader->position[i] >= reader->stop[i])
			continue;
		reader->remaining += reader->stop[i] - reader->position[i];
		if (rd_kafka_consume_start_queue(reader->rkt, i, reader->position[i],
										 reader->queue) != 0)
			fail("%s", rd_kafka_err2str(rd_kafka_last_error()));
		reader->active[i] = true;
	}
}

static void
take_message(Reader *reader, const rd_kafka_message_t *message)
{
	int partition = message->partition;

	if (message->err)
		fail("%s", rd_kafka_message_errstr(message));
	reader->taken++;
	if (message->offset >= reader->stop[partition])
		return;
	reader->remaining -= message->offset + 1 - reader->position[partition];
	reader->position[partition] = message->offset + 1;
	reader->bytes += (int64_t) message->len;
	if (options.window)
	{
		int64_t time_ms = rd_kafka_message_timestamp(message, NULL);

		if (time_ms >= options.start_ms && time_ms < options.end_ms)
			reader->counted++;
	}
	else
		reader->counted++;
}

static void
spend(int64_t cost_ns)
{
	int64_t end_ns = clock_ns() + cost_ns;

	while (clock_ns() < end_ns)
		continue;
}

static void
read_all(Reader *reader)
{
	rd_kafka_message_t *batch[BATCH_SIZE];
	int64_t half_queue =
		atoll(options.queue_kb ? options.queue_kb : "65536") * 512;

	start(reader);
	while (reader->remaining > 0 && reader->counted < options.max_messages)
	{
		size_t wanted = BATCH_SIZE;
		ssize_t got;

		if ((int64_t) wanted > reader->remaining)
			wanted = (size_t) reader->remaining;
		if ((int64_t) wanted > options.max_messages - reader->counted)
			wanted = (size_t) (options.max_messages - reader->counted);
		got = rd_kafka_consume_batch_queue(reader->queue,
										   options.wake == WAKE_NONE
											   ? 1000
											   : SHORT_WAIT_MS,
										   batch, wanted);
		if (got < 0)
			fail("%s", rd_kafka_err2str(rd_kafka_last_error()));
		for (ssize_t i = 0; i < got; i++)
		{
			take_message(reader, batch[i]);
			if (options.cost_ns > 0)
				spend(options.cost_ns);
			rd_kafka_message_destroy(batch[i]);
		}
		for (int i = 0; i < reader->partitions; i++)
		{
			if (reader->position[i] >= reader->stop[i])
				stop_partition(reader, i);
		}
		if ((options.wake != WAKE_NONE && got < (ssize_t) wanted) ||
			(options.wake == WAKE_BYTES &&
			 reader->bytes - reader->woken_at_bytes >= half_queue))
			wake_broker(reader);
	}
}

static int64_t
parse_number(const char *text)
{
	char *end;
	int64_t value;

	errno = 0;
	value = strtoll(text, &end, 10);
	if (errno != 0 || *end != '\0' || end == text || value < 0)
		fail("not a number: %s", text);
	return value;
}

static WakeMode
parse_wake(const char *text)
{
	if (strcmp(text, "none") == 0)
		return WAKE_NONE;
	if (strcmp(text, "short") == 0)
		return WAKE_SHORT;
	if (strcmp(text, "bytes") == 0)
		return WAKE_BYTES;
	fail("not a way to wake a broker thread: %s", text);
}

static void
parse_options(int argc, char **argv)
{
	int letter;

	if (argc < 2 ||
		(strcmp(argv[1], "count") != 0 && strcmp(argv[1], "window") != 0))
		fail("say count or window");
	options.window = strcmp(argv[1], "window") == 0;
	optind = 2;
	while ((letter = getopt(argc, argv, "b:t:n:w:Cf:q:l:m:s:e:c:p:")) != -1)
	{
		switch (letter)
		{
			case 'b':
				options.brokers = optarg;
				break;
			case 't':
				options.topic = optarg;
				break;
			case 'n':
				options.repetitions = (int) parse_number(optarg);
				break;
			case 'w':
				options.warm_ups = (int) parse_number(optarg);
				break;
			case 'C':
				options.cold = true;
				break;
			case 'f':
				options.fetch_bytes = optarg;
				break;
			case 'q':
				options.queue_kb = optarg;
				break;
			case 'l':
				options.late_ms = parse_number(optarg);
				break;
			case 'm':
				options.max_messages = parse_number(optarg);
				break;
			case 's':
				options.start_ms = parse_number(optarg);
				break;
			case 'e':
				options.end_ms = parse_number(optarg);
				break;
			case 'c':
				options.cost_ns = parse_number(optarg);
				break;
			case 'p':
				options.wake = parse_wake(optarg);
				break;
			default:
				exit(2);
		}
	}
	if (!options.brokers || !options.topic)
		fail("-b and -t are needed");
	if (options.window && options.end_ms <= options.start_ms)
		fail("-s and -e are needed");
}

int
main(int argc, char **argv)
{
	Reader reader;

	parse_options(argc, argv);
	if (!options.cold)
		open_reader(&reader);
	for (int i = -options.warm_ups; i < options.repetitions; i++)
	{
		int64_t start_ns = clock_ns();
		int64_t start_cpu_ns = cpu_ns();

		if (options.cold)
			open_reader(&reader);
		read_all(&reader);
		if (i >= 0)
			printf("%.3f %.3f %" PRId64 " %" PRId64 " %d\n",
				   (double) (clock_ns() - start_ns) / 1e6,
				   (double) (cpu_ns() - start_cpu_ns) / 1e6, reader.taken,
				   reader.counted, reader.wakes);
		fflush(stdout);
		for (int p = 0; p < reader.partitions; p++)
			stop_partition(&reader, p);
		if (options.cold)
			close_reader(&reader);
	}
	if (!options.cold)
		close_reader(&reader);
	return 0;
}
