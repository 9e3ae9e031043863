/*
 * place.c
 *	  Produces keys with librdkafka, which places them.
 *
 * Usage:
 *
 *	  place BOOTSTRAP PARTITIONER TOPIC... < KEYS
 *
 * KEYS has a key a line, in hex digits; "-" is no key.  Each goes to each
 * topic, in a record whose value is PARTITIONER's name, without a partition.
 */
#include <librdkafka/rdkafka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FLUSH_TIMEOUT_MS 60000

static int failures = 0;

static void
on_delivery(rd_kafka_t *rk, const rd_kafka_message_t *message, void *opaque)
{
	(void) rk;
	(void) opaque;
	failures += message->err != RD_KAFKA_RESP_ERR_NO_ERROR;
}

static rd_kafka_t *
open_producer(char *bootstrap, char *partitioner)
{
	char *properties[][2] = {{"bootstrap.servers", bootstrap},
							 {"partitioner", partitioner}};
	rd_kafka_conf_t *conf = rd_kafka_conf_new();
	rd_kafka_t *rk;
	char message[512];
	int i;

	for (i = 0; i < 2; i++)
	{
		if (rd_kafka_conf_set(conf, properties[i][0], properties[i][1],
							  message, sizeof(message)) != RD_KAFKA_CONF_OK)
		{
			fprintf(stderr, "place: %s\n", message);
			exit(1);
		}
	}
	rd_kafka_conf_set_dr_msg_cb(conf, on_delivery);
	rk = rd_kafka_new(RD_KAFKA_PRODUCER, conf, message, sizeof(message));
	if (!rk)
	{
		fprintf(stderr, "place: %s\n", message);
		exit(1);
	}
	return rk;
}

/* In place; NULL for "-". */
static char *
read_key(char *line, size_t *length)
{
	unsigned int byte;

	*length = 0;
	if (strncmp(line, "-", 1) == 0)
		return NULL;
	for (; sscanf(line + 2 * *length, "%2x", &byte) == 1; (*length)++)
		line[*length] = (char) byte;
	return line;
}

static void
send_key(rd_kafka_t *rk, const char *topic, const char *key, size_t length,
		 const char *value)
{
	rd_kafka_resp_err_t err;

	for (;;)
	{
		err =
			rd_kafka_producev(rk, RD_KAFKA_V_TOPIC(topic),
							  RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY),
							  RD_KAFKA_V_KEY(key, length),
							  RD_KAFKA_V_VALUE((void *) value, strlen(value)),
							  RD_KAFKA_V_END);
		if (err != RD_KAFKA_RESP_ERR__QUEUE_FULL)
			break;
		rd_kafka_poll(rk, 10);
	}
	if (err)
	{
		fprintf(stderr, "place: %s\n", rd_kafka_err2str(err));
		exit(1);
	}
}

int
main(int argc, char **argv)
{
	rd_kafka_t *rk;
	char *line = NULL;
	size_t size = 0;
	int i;

	if (argc < 4)
	{
		fprintf(stderr, "usage: place BOOTSTRAP PARTITIONER TOPIC...\n");
		return 2;
	}
	rk = open_producer(argv[1], argv[2]);
	while (getline(&line, &size, stdin) > 0)
	{
		size_t length;
		char *key = read_key(line, &length);

		for (i = 3; i < argc; i++)
			send_key(rk, argv[i], key, length, argv[2]);
		rd_kafka_poll(rk, 0);
	}
	free(line);
	if (rd_kafka_flush(rk, FLUSH_TIMEOUT_MS) || failures > 0)
	{
		fprintf(stderr, "place: %d records were not delivered\n", failures);
		return 1;
	}
	rd_kafka_destroy(rk);
	return 0;
}
