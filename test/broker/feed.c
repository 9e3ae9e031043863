/*
 * feed.c
 *	  Executes scripts that make test topics: exact offsets, times, batches and
 *	  transactions against a real broker.
 *
 * Call:  feed [-b BROKERS] [-X PROPERTY=VALUE]... [FILE]...
 *
 * BROKERS defaults to the environment variable KAFKA_BROKERS.  -X sets a
 * property of the client library on every connection.  Without a FILE, or for
 * "-", the script comes from standard input and each line is executed when it
 * arrives, so that a test can keep a transaction open and go on later.  The
 * first thing that goes wrong, a delivery report included, ends the program
 * with status 1 and "FILE:LINE: message".
 *
 * A line is a command with words; # begins a comment.  A word, or a part of
 * one, may be quoted: '...' is verbatim, with '' for a quote; "..." and bare
 * text know \n \t \r \b \f \xHH and \ before any punctuation.  The bare value
 * NULL is null, key= is empty.
 *
 *	create-topic NAME [partitions=N] [replication=N] [CONFIG=VALUE]...
 *		with retention.ms=-1 unless given
 *	add-partitions NAME TOTAL
 *	alter-topic NAME CONFIG=VALUE...
 *	delete-topic NAME
 *	delete-records NAME PARTITION OFFSET		before OFFSET; -1 means all
 *	group-offset GROUP TOPIC PARTITION OFFSET	as a consumer's commit
 *	committed GROUP TOPIC PARTITION		prints what it has committed, or -1
 *	deny-group GROUP USER		forbids it, where the broker has an authorizer
 *
 *	produce TOPIC [partition=N] [time=TIME] [key=BYTES] value=BYTES|file=PATH
 *			[header=NAME:BYTES]... [offset=N]
 *		partition defaults to 0, key to NULL; offset is what the broker must
 *		answer
 *	copy TOPIC
 *		records on the following lines up to one with \. alone: partition,
 *		time, key, value, then NAME:BYTES for each header, separated by tabs,
 *		\N for NULL
 *	generate TOPIC count=N value=TEMPLATE [key=TEMPLATE] [partitions=N]
 *			[first=N] [time=TIME] [step=MS] [disorder=MS]
 *		record n, from first (0) on, goes to partition n % partitions with the
 *		time TIME + n * step, put back by a fixed pseudo-random part of
 *		disorder; text_expand() explains templates
 *	flush		end the batches that are open; every other command does it too
 *	set batch=record|shared			each record in a batch of its own, or one
 *									batch a partition up to the next flush
 *	set PROPERTY=VALUE...			of the producers made from here on
 *									(compression.codec, enable.idempotence ...)
 *
 *	begin ID					transaction of the transactional.id ID; produce
 *								and the like then go into it
 *	use ID|-					continue with another one, or with none
 *	commit [ID] [nowait]		both wait until readers see the outcome, if no
 *	abort [ID] [nowait]			other transaction of this program is open
 *	leave [ID]					give it up open: it stays so until its
 *								transaction.timeout.ms has passed
 *
 *	wait-visible TOPIC PARTITION OFFSET		the end, as read_committed readers
 *											see it, is at OFFSET or later
 *	wait-start TOPIC PARTITION OFFSET		the first offset is OFFSET or later
 *	wait-gone TOPIC PARTITION OFFSET		the record was compacted away
 *	wait-lookup TOPIC PARTITION TIME OFFSET		the first offset since TIME is
 *			OFFSET, as the broker answers; -1 means none
 *	leader TOPIC PARTITION					prints the number of the node
 *	echo WORD...							prints, to tell how far we are
 *	hold									waits for the end of standard input
 *
 * TIME is in milliseconds since 1970, or now, now-500, now+500, or
 * 2024-05-01T12:00:00[.250]Z; the default is now.  0 is refused, because the
 * library takes it for "now".
 */
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "feed.h"

#define MAX_PROPERTIES 64

long feed_line_number = 0;
static const char *file_name = "-";
static FILE *input;

static const char *brokers = NULL;
static char *properties[MAX_PROPERTIES][2]; /* of every client */
static int property_count = 0;

void
fail(const char *format, ...)
{
	va_list args;

	fflush(stdout);
	fprintf(stderr, "%s:%ld: ", file_name, feed_line_number);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);

	/* no cleanup: a client with undelivered records would hold us up */
	_exit(1);
}

void *
allocate(size_t size)
{
	void *result = calloc(1, size);

	if (!result)
		fail("out of memory");
	return result;
}

void
feed_set_properties(rd_kafka_conf_t *conf, char *(*list)[2], int count)
{
	char message[512];
	int i;

	for (i = 0; i < count; i++)
		if (rd_kafka_conf_set(conf, list[i][0], list[i][1], message,
							  sizeof(message)) != RD_KAFKA_CONF_OK)
			fail("%s", message);
}

/* What all clients of this program share; the caller owns the result. */
rd_kafka_conf_t *
feed_base_conf(void)
{
	rd_kafka_conf_t *conf = rd_kafka_conf_new();
	char message[512];

	if (!brokers)
		fail("no brokers: use -b or KAFKA_BROKERS");
	if (rd_kafka_conf_set(conf, "bootstrap.servers", brokers, message,
						  sizeof(message)) != RD_KAFKA_CONF_OK ||
		rd_kafka_conf_set(conf, "log_level", "3", message, sizeof(message)) !=
			RD_KAFKA_CONF_OK)
		fail("%s", message);
	feed_set_properties(conf, properties, property_count);
	return conf;
}

/* Reads a line without its end; false at the end of the input. */
bool
feed_read_line(char **line, size_t *size)
{
	ssize_t length = getline(line, size, input);

	if (length < 0)
		return false;
	feed_line_number++;
	if (memchr(*line, '\0', length))
		fail("zero byte in the script, write \\x00");
	if (length > 0 && (*line)[length - 1] == '\n')
		(*line)[length - 1] = '\0';
	return true;
}

static void
run_create_topic(Word *words, int count)
{
	admin_create_topic(words, count);
	producer_forget_topics();
}

static void
run_alter_topic(Word *words, int count)
{
	admin_alter_topic(words, count);
}

static void
run_delete_topic(Word *words, int count)
{
	(void) count;
	admin_delete_topic(words[0].data);
	producer_restart();
}

static void
run_add_partitions(Word *words, int count)
{
	(void) count;
	admin_add_partitions(words[0].data, (int) text_integer(words[1].data));
	producer_forget_topics();
}

static void
run_delete_records(Word *words, int count)
{
	(void) count;
	admin_delete_records(words[0].data, (int32_t) text_integer(words[1].data),
						 text_integer(words[2].data));
}

static void
run_committed(Word *words, int count)
{
	(void) count;
	printf("%lld\n",
		   (long long) admin_committed(words[0].data, words[1].data,
									   (int32_t) text_integer(words[2].data)));
}

static void
run_deny_group(Word *words, int count)
{
	(void) count;
	admin_deny_group(words[0].data, words[1].data);
}

static void
run_group_offset(Word *words, int count)
{
	(void) count;
	admin_set_group_offset(words[0].data, words[1].data,
						   (int32_t) text_integer(words[2].data),
						   text_integer(words[3].data));
}

static void
run_wait_visible(Word *words, int count)
{
	(void) count;
	admin_wait_visible(words[0].data, (int32_t) text_integer(words[1].data),
					   text_integer(words[2].data));
}

static void
run_wait_start(Word *words, int count)
{
	(void) count;
	admin_wait_start(words[0].data, (int32_t) text_integer(words[1].data),
					 text_integer(words[2].data));
}

static void
run_wait_gone(Word *words, int count)
{
	(void) count;
	admin_wait_gone(words[0].data, (int32_t) text_integer(words[1].data),
					text_integer(words[2].data));
}

static void
run_wait_lookup(Word *words, int count)
{
	(void) count;
	admin_wait_lookup(words[0].data, (int32_t) text_integer(words[1].data),
					  text_time_ms(words[2].data),
					  text_integer(words[3].data));
}

static void
run_leader(Word *words, int count)
{
	(void) count;
	printf("%d\n",
		   admin_leader(words[0].data, (int32_t) text_integer(words[1].data)));
}

static void
run_echo(Word *words, int count)
{
	int i;

	for (i = 0; i < count; i++)
		printf("%s%s", i ? " " : "", words[i].data);
	printf("\n");
}

static void
run_flush(Word *words, int count)
{
	(void) words;
	(void) count;
}

static void
run_hold(Word *words, int count)
{
	(void) words;
	(void) count;
	while (getchar() != EOF)
		;
}

/* ----------------------------------------------------------------
 *		The script
 * ----------------------------------------------------------------
 */

static const struct
{
	const char *name;
	void (*run)(Word *words, int count);
	int min_words;
	int max_words;
	bool flush; /* open batches end before it */
} commands[] = {
	{"abort", producer_abort, 0, 2, true},
	{"add-partitions", run_add_partitions, 2, 2, true},
	{"alter-topic", run_alter_topic, 2, FEED_MAX_WORDS, true},
	{"begin", producer_begin, 1, 1, true},
	{"commit", producer_commit, 0, 2, true},
	{"committed", run_committed, 3, 3, true},
	{"copy", producer_copy, 1, 1, false},
	{"create-topic", run_create_topic, 1, FEED_MAX_WORDS, true},
	{"delete-records", run_delete_records, 3, 3, true},
	{"delete-topic", run_delete_topic, 1, 1, true},
	{"deny-group", run_deny_group, 2, 2, true},
	{"echo", run_echo, 0, FEED_MAX_WORDS, true},
	{"flush", run_flush, 0, 0, true},
	{"generate", producer_generate, 3, FEED_MAX_WORDS, false},
	{"group-offset", run_group_offset, 4, 4, true},
	{"hold", run_hold, 0, 0, true},
	{"leader", run_leader, 2, 2, true},
	{"leave", producer_leave, 0, 1, true},
	{"produce", producer_produce, 2, FEED_MAX_WORDS, false},
	{"set", producer_set, 1, FEED_MAX_WORDS, true},
	{"use", producer_use, 1, 1, true},
	{"wait-gone", run_wait_gone, 3, 3, true},
	{"wait-lookup", run_wait_lookup, 4, 4, true},
	{"wait-start", run_wait_start, 3, 3, true},
	{"wait-visible", run_wait_visible, 3, 3, true},
};

static void
run_line(char *line)
{
	Word words[FEED_MAX_WORDS];
	int count = text_split(line, words);
	size_t i;

	if (count == 0)
		return;
	for (i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
	{
		if (strcmp(commands[i].name, words[0].data) != 0)
			continue;
		if (count - 1 < commands[i].min_words ||
			count - 1 > commands[i].max_words)
			fail("%s: wrong number of words", words[0].data);
		if (commands[i].flush)
			producer_flush();
		commands[i].run(words + 1, count - 1);
		fflush(stdout);
		return;
	}
	fail("unknown command \"%s\"", words[0].data);
}

static void
run_file(const char *name)
{
	char *line = NULL;
	size_t size = 0;

	file_name = name;
	feed_line_number = 0;
	input = strcmp(name, "-") == 0 ? stdin : fopen(name, "r");
	if (!input)
		fail("could not open the file");
	while (feed_read_line(&line, &size))
		run_line(line);
	producer_flush();
	free(line);
	if (input != stdin)
		fclose(input);
}

int
main(int argc, char **argv)
{
	int option;

	brokers = getenv("KAFKA_BROKERS");
	while ((option = getopt(argc, argv, "b:X:")) != -1)
	{
		char *value;

		if (option == 'b')
			brokers = optarg;
		else if (option == 'X' && (value = strchr(optarg, '=')) != NULL &&
				 property_count < MAX_PROPERTIES)
		{
			*value++ = '\0';
			properties[property_count][0] = optarg;
			properties[property_count++][1] = value;
		}
		else
		{
			fprintf(stderr, "usage: feed [-b BROKERS] [-X PROPERTY=VALUE]... "
							"[FILE]...\n");
			return 2;
		}
	}
	if (optind == argc)
		run_file("-");
	for (; optind < argc; optind++)
		run_file(argv[optind]);
	producer_finish();
	admin_finish();
	return 0;
}
