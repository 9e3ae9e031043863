/*
 * feed_producer.c
 *	  The feeder's producers: records, settings and transactions (feed.c).
 *
 * There is one plain producer and one for each transactional.id, made when
 *they are needed and kept until the end, since a script may go back and forth
 * between open transactions.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "feed.h"

#define MAX_PRODUCERS 32
#define MAX_PROPERTIES 64
#define MAX_TOUCHED 64
#define TEMPLATE_SIZE (1 << 20)

/* A partition that a transaction has written to. */
typedef struct Touched
{
	char *topic;
	int32_t partition;
	int64_t last_offset;
} Touched;

typedef struct Producer
{
	char *id;       /* transactional.id, NULL for the plain one */
	rd_kafka_t *rk; /* NULL until it is needed */
	bool in_transaction;
	Touched touched[MAX_TOUCHED];
	int touched_count;
	char *topic;         /* that check_topic() asked for last */
	int partition_count; /* of it */
} Producer;

/* One record to be sent. */
typedef struct Record
{
	const char *topic;
	int32_t partition;
	int64_t time_ms;
	Bytes key;
	Bytes value;
	rd_kafka_headers_t *headers; /* owned, may be NULL */
} Record;

static char *properties[MAX_PROPERTIES][2];
static int property_count = 0;

static Producer producers[MAX_PRODUCERS]; /* [0] is the plain one */
static int producer_count = 1;
static Producer *current = &producers[0];
static bool batch_per_record = false;
static int64_t last_offset = -1; /* of the latest delivery report */

static char *
copy_string(const char *s)
{
	char *result = allocate(strlen(s) + 1);

	return strcpy(result, s);
}

/* ----------------------------------------------------------------
 *		Producers
 * ----------------------------------------------------------------
 */

static void
note_touched(Producer *producer, const char *topic, int32_t partition,
			 int64_t offset)
{
	Touched *touched;
	int i;

	for (i = 0; i < producer->touched_count; i++)
	{
		touched = &producer->touched[i];
		if (touched->partition == partition &&
			strcmp(touched->topic, topic) == 0)
		{
			if (offset > touched->last_offset)
				touched->last_offset = offset;
			return;
		}
	}
	if (producer->touched_count == MAX_TOUCHED)
		fail("a transaction over more than %d partitions", MAX_TOUCHED);
	touched = &producer->touched[producer->touched_count++];
	touched->topic = copy_string(topic);
	touched->partition = partition;
	touched->last_offset = offset;
}

/* Delivery report; the opaque of the message is its line. */
static void
on_delivery(rd_kafka_t *rk, const rd_kafka_message_t *message, void *opaque)
{
	Producer *producer = opaque;

	(void) rk;
	if (message->err || message->offset < 0 ||
		rd_kafka_message_status(message) != RD_KAFKA_MSG_STATUS_PERSISTED)
	{
		feed_line_number = (long) (intptr_t) message->_private;
		fail("record not delivered to \"%s\" partition %d: %s",
			 rd_kafka_topic_name(message->rkt), (int) message->partition,
			 message->err ? rd_kafka_err2str(message->err)
						  : "the broker may not have it");
	}
	last_offset = message->offset;
	if (producer->in_transaction)
		note_touched(producer, rd_kafka_topic_name(message->rkt),
					 message->partition, message->offset);
}

static void
open_producer(Producer *producer)
{
	/* Batches end by flush alone, hence the long linger. */
	static char *defaults[][2] = {
		{"linger.ms", "30000"},
		{"enable.idempotence", "true"},
		{"message.timeout.ms", "60000"},
	};
	rd_kafka_conf_t *conf = feed_base_conf();
	char message[512];

	rd_kafka_conf_set_opaque(conf, producer);
	rd_kafka_conf_set_dr_msg_cb(conf, on_delivery);
	feed_set_properties(conf, defaults,
						sizeof(defaults) / sizeof(defaults[0]));
	feed_set_properties(conf, properties, property_count);
	if (producer->id &&
		rd_kafka_conf_set(conf, "transactional.id", producer->id, message,
						  sizeof(message)) != RD_KAFKA_CONF_OK)
		fail("%s", message);
	producer->rk =
		rd_kafka_new(RD_KAFKA_PRODUCER, conf, message, sizeof(message));
	if (!producer->rk)
		fail("%s", message);
	if (producer->id)
	{
		rd_kafka_error_t *error;

		error = rd_kafka_init_transactions(producer->rk, FEED_TIMEOUT_MS);
		if (error)
			fail("%s", rd_kafka_error_string(error));
	}
}

static void
flush_producer(Producer *producer)
{
	rd_kafka_resp_err_t err;

	if (!producer->rk)
		return;
	err = rd_kafka_flush(producer->rk, 2 * FEED_TIMEOUT_MS);
	if (err)
		fail("flush: %s", rd_kafka_err2str(err));
}

static void
close_producer(Producer *producer)
{
	flush_producer(producer);
	if (producer->rk)
		rd_kafka_destroy(producer->rk);
	producer->rk = NULL;
}

static Producer *
find_producer(const char *id)
{
	int i;

	if (strcmp(id, "-") == 0)
		return &producers[0];
	for (i = 1; i < producer_count; i++)
		if (strcmp(producers[i].id, id) == 0)
			return &producers[i];
	return NULL;
}

/* Sends a record; consumes its headers. */
static void
send_record(Record *record)
{
	rd_kafka_resp_err_t err;

	if (record->time_ms == 0)
		fail("time 0 cannot be sent, the library takes it for \"now\"");
	for (;;)
	{
		rd_kafka_headers_t *headers = NULL;

		if (record->headers)
			headers = rd_kafka_headers_copy(record->headers);
		err = rd_kafka_producev(current->rk, RD_KAFKA_V_TOPIC(record->topic),
								RD_KAFKA_V_PARTITION(record->partition),
								RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY),
								RD_KAFKA_V_TIMESTAMP(record->time_ms),
								RD_KAFKA_V_KEY(record->key.data,
											   record->key.length),
								RD_KAFKA_V_VALUE((void *) record->value.data,
												 record->value.length),
								RD_KAFKA_V_HEADERS(headers),
								RD_KAFKA_V_OPAQUE(
									(void *) (intptr_t) feed_line_number),
								RD_KAFKA_V_END);
		if (err && headers)
			rd_kafka_headers_destroy(headers);
		if (err != RD_KAFKA_RESP_ERR__QUEUE_FULL)
			break;
		rd_kafka_poll(current->rk, 10);
	}
	if (err)
		fail("produce: %s", rd_kafka_err2str(err));
	if (record->headers)
		rd_kafka_headers_destroy(record->headers);
	record->headers = NULL;
	if (batch_per_record)
		flush_producer(current);
	else
		rd_kafka_poll(current->rk, 0);
}

/*
 * Asks for the topic before the first record to it, on the producer's own
 * connection: a producer that must find out by itself takes up to a second,
 * and a missing topic is silence.
 */
static void
check_topic(const char *topic, int32_t partition)
{
	if (!current->rk)
		open_producer(current);
	if (!current->topic || strcmp(current->topic, topic) != 0)
	{
		free(current->topic);
		current->topic = copy_string(topic);
		current->partition_count = admin_partition_count(current->rk, topic);
	}
	if (partition < 0 || partition >= current->partition_count)
		fail("topic \"%s\" has no partition %d", topic, (int) partition);
}

/* To be called when a topic is made, changed or dropped. */
void
producer_forget_topics(void)
{
	int i;

	for (i = 0; i < producer_count; i++)
	{
		free(producers[i].topic);
		producers[i].topic = NULL;
	}
}

/* ----------------------------------------------------------------
 *		Commands that make records
 * ----------------------------------------------------------------
 */

/* Adds NAME:BYTES; the word or field begins at text. */
static void
add_header(Record *record, const char *text, size_t length, bool may_be_null)
{
	const char *colon = memchr(text, ':', length);
	Bytes value;

	if (!colon)
		fail("header \"%s\" is not of the form NAME:VALUE", text);
	value.data = colon + 1;
	value.length = length - (colon + 1 - text);
	if (may_be_null && strcmp(value.data, "NULL") == 0)
		value.data = NULL;
	if (!record->headers)
		record->headers = rd_kafka_headers_new(4);
	rd_kafka_header_add(record->headers, text, colon - text, value.data,
						value.data ? (ssize_t) value.length : 0);
}

static Bytes
read_whole_file(const char *path)
{
	FILE *file = fopen(path, "rb");
	Bytes result;
	char *data;
	long length;

	if (!file || fseek(file, 0, SEEK_END) != 0 || (length = ftell(file)) < 0)
		fail("could not read \"%s\"", path);
	rewind(file);
	data = allocate(length + 1);
	if (fread(data, 1, length, file) != (size_t) length)
		fail("could not read \"%s\"", path);
	fclose(file);
	result.data = data;
	result.length = length;
	return result;
}

static bool
is_option(const Word *word, const char *name)
{
	size_t length = strlen(name);

	return word->value_start == length + 1 &&
		   strncmp(word->data, name, length) == 0;
}

void
producer_produce(Word *words, int count)
{
	Record record = {words[0].data, 0, text_time_ms("now")};
	char *from_file = NULL;
	bool has_value = false;
	int64_t offset = -1;
	int i;

	for (i = 1; i < count; i++)
	{
		size_t start = words[i].value_start;
		const char *value = words[i].data + start;

		if (is_option(&words[i], "partition"))
			record.partition = (int32_t) text_integer(value);
		else if (is_option(&words[i], "time"))
			record.time_ms = text_time_ms(value);
		else if (is_option(&words[i], "key"))
			record.key = text_value(&words[i], start);
		else if (is_option(&words[i], "value"))
		{
			record.value = text_value(&words[i], start);
			has_value = true;
		}
		else if (is_option(&words[i], "file"))
		{
			record.value = read_whole_file(value);
			from_file = (char *) record.value.data;
			has_value = true;
		}
		else if (is_option(&words[i], "header"))
			add_header(&record, value, words[i].length - start,
					   !words[i].quoted);
		else if (is_option(&words[i], "offset"))
			offset = text_integer(value);
		else
			fail("produce does not know \"%s\"", words[i].data);
	}
	if (!has_value)
		fail("produce needs value= or file=");
	check_topic(record.topic, record.partition);
	send_record(&record);
	free(from_file);
	if (offset >= 0)
	{
		flush_producer(current);
		if (last_offset != offset)
			fail("the record got offset %" PRId64 " instead of %" PRId64,
				 last_offset, offset);
	}
}

static void
copy_line(const char *topic, char *line)
{
	Record record = {topic};
	char *rest = line;
	char *field;
	size_t length;
	int number = 0;

	while ((field = strsep(&rest, "\t")) != NULL)
	{
		char *text = text_unescape_field(field, &length);

		if (!text && number != 2 && number != 3)
			fail("field %d cannot be NULL", number + 1);
		if (number == 0)
			record.partition = (int32_t) text_integer(text);
		else if (number == 1)
			record.time_ms = text_time_ms(text);
		else if (number == 2)
			record.key = (Bytes){text, length};
		else if (number == 3)
			record.value = (Bytes){text, length};
		else
			add_header(&record, text, length, true);
		number++;
	}
	if (number < 4)
		fail("%d fields instead of 4 or more", number);
	check_topic(topic, record.partition);
	send_record(&record);
}

void
producer_copy(Word *words, int count)
{
	char *line = NULL;
	size_t size = 0;

	(void) count;
	for (;;)
	{
		if (!feed_read_line(&line, &size))
			fail("copy without \\. at its end");
		if (strcmp(line, "\\.") == 0)
			break;
		copy_line(words[0].data, line);
	}
	free(line);
}

void
producer_generate(Word *words, int count)
{
	static char key[TEMPLATE_SIZE];
	static char value[TEMPLATE_SIZE];
	const char *key_template = NULL;
	const char *value_template = NULL;
	int64_t records = -1;
	int64_t first = 0;
	int64_t partitions = 1;
	int64_t time_ms = text_time_ms("now");
	int64_t step_ms = 0;
	int64_t disorder_ms = 0;
	int64_t n;
	int i;

	for (i = 1; i < count; i++)
	{
		const char *text = words[i].data + words[i].value_start;

		if (is_option(&words[i], "count"))
			records = text_integer(text);
		else if (is_option(&words[i], "first"))
			first = text_integer(text);
		else if (is_option(&words[i], "partitions"))
			partitions = text_integer(text);
		else if (is_option(&words[i], "time"))
			time_ms = text_time_ms(text);
		else if (is_option(&words[i], "step"))
			step_ms = text_integer(text);
		else if (is_option(&words[i], "disorder"))
			disorder_ms = text_integer(text);
		else if (is_option(&words[i], "key"))
			key_template = text;
		else if (is_option(&words[i], "value"))
			value_template = text;
		else
			fail("generate does not know \"%s\"", words[i].data);
	}
	if (records < 0 || partitions < 1 || !value_template)
		fail("generate needs count=, value= and at least one partition");
	check_topic(words[0].data, (int32_t) partitions - 1);

	for (n = first; n < first + records; n++)
	{
		Record record = {words[0].data, (int32_t) (n % partitions)};

		record.time_ms = time_ms + n * step_ms;
		if (disorder_ms > 0)
			record.time_ms -= (int64_t) (text_scramble(n) % disorder_ms);
		if (key_template)
		{
			record.key.length = text_expand(key_template, n, record.partition,
											record.time_ms, key, sizeof(key));
			record.key.data = key;
		}
		record.value.length =
			text_expand(value_template, n, record.partition, record.time_ms,
						value, sizeof(value));
		record.value.data = value;
		send_record(&record);
	}
}

/* ----------------------------------------------------------------
 *		Settings and transactions
 * ----------------------------------------------------------------
 */

void
producer_set(Word *words, int count)
{
	int i;

	for (i = 0; i < count; i++)
	{
		char *value = words[i].data + words[i].value_start;

		if (words[i].value_start == 0)
			fail("\"%s\" is not of the form NAME=VALUE", words[i].data);
		if (is_option(&words[i], "batch"))
		{
			if (strcmp(value, "record") != 0 && strcmp(value, "shared") != 0)
				fail("batch is record or shared");
			batch_per_record = strcmp(value, "record") == 0;
			continue;
		}
		if (property_count == MAX_PROPERTIES)
			fail("too many properties");
		words[i].data[words[i].value_start - 1] = '\0';
		properties[property_count][0] = copy_string(words[i].data);
		properties[property_count++][1] = copy_string(value);
		close_producer(&producers[0]);
	}
}

void
producer_begin(Word *words, int count)
{
	Producer *producer = find_producer(words[0].data);
	rd_kafka_error_t *error;

	(void) count;
	if (producer == &producers[0])
		fail("\"-\" is no transactional.id");
	if (!producer)
	{
		if (producer_count == MAX_PRODUCERS)
			fail("more than %d transactional producers", MAX_PRODUCERS - 1);
		producer = &producers[producer_count++];
		producer->id = copy_string(words[0].data);
	}
	if (!producer->rk)
		open_producer(producer);
	error = rd_kafka_begin_transaction(producer->rk);
	if (error)
		fail("begin: %s", rd_kafka_error_string(error));
	producer->in_transaction = true;
	current = producer;
}

void
producer_use(Word *words, int count)
{
	(void) count;
	current = find_producer(words[0].data);
	if (!current)
		fail("no transaction was begun as \"%s\"", words[0].data);
}

/* Forgets the transaction; with wait only when readers see its outcome. */
static void
finish_transaction(Producer *producer, bool wait)
{
	int i;

	producer->in_transaction = false;
	for (i = 1; i < producer_count; i++)
		if (producers[i].in_transaction)
			wait = false;
	for (i = 0; i < producer->touched_count; i++)
	{
		if (wait)
			admin_wait_visible(producer->touched[i].topic,
							   producer->touched[i].partition,
							   producer->touched[i].last_offset + 1);
		free(producer->touched[i].topic);
	}
	producer->touched_count = 0;
	if (current == producer)
		current = &producers[0];
}

/* The transaction that the words of commit, abort and leave mean. */
static Producer *
named_transaction(Word *words, int *count, bool *wait)
{
	Producer *producer = current;

	*wait = true;
	if (*count > 0 && strcmp(words[*count - 1].data, "nowait") == 0)
	{
		*wait = false;
		(*count)--;
	}
	if (*count > 0)
		producer = find_producer(words[0].data);
	if (!producer || !producer->in_transaction)
		fail("no such transaction is open");
	return producer;
}

void
producer_commit(Word *words, int count)
{
	bool wait;
	Producer *producer = named_transaction(words, &count, &wait);
	rd_kafka_error_t *error;

	/* unpolled delivery reports would let the commit time out */
	flush_producer(producer);
	error = rd_kafka_commit_transaction(producer->rk, FEED_TIMEOUT_MS);
	if (error)
		fail("commit: %s", rd_kafka_error_string(error));
	finish_transaction(producer, wait);
}

void
producer_abort(Word *words, int count)
{
	bool wait;
	Producer *producer = named_transaction(words, &count, &wait);
	rd_kafka_error_t *error;

	/* the records to be aborted shall be in the log */
	flush_producer(producer);
	error = rd_kafka_abort_transaction(producer->rk, FEED_TIMEOUT_MS);
	if (error)
		fail("abort: %s", rd_kafka_error_string(error));
	finish_transaction(producer, wait);
}

void
producer_leave(Word *words, int count)
{
	bool wait;
	Producer *producer = named_transaction(words, &count, &wait);

	close_producer(producer);
	finish_transaction(producer, false);
}

/* ----------------------------------------------------------------
 *		For feed.c
 * ----------------------------------------------------------------
 */

void
producer_flush(void)
{
	int i;

	for (i = 0; i < producer_count; i++)
		flush_producer(&producers[i]);
}

/* A topic was dropped: its sequence numbers would not fit a new one. */
void
producer_restart(void)
{
	producer_forget_topics();
	close_producer(&producers[0]);
}

void
producer_finish(void)
{
	int i;

	for (i = 0; i < producer_count; i++)
	{
		if (producers[i].in_transaction)
			fail("transaction \"%s\" is still open (leave it, if it shall be)",
				 producers[i].id);
		close_producer(&producers[i]);
	}
}
