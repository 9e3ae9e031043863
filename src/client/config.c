/*-------------------------------------------------------------------------
 *
 * config.c
 *		From our options to a librdkafka configuration.
 *
 * Every property is named here and nowhere else; none is passed through from
 * the user, since among librdkafka's properties are some that load code, run
 * shell commands and read files.
 *
 * IDENTIFICATION
 *		src/client/config.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <limits.h>

#include "client/handle.h"
#include "common/hashfn.h"
#include "lib/stringinfo.h"

/*
 * Fetches of one partition.  For a window of a few hundred messages 64 kB are
 * up to five times as fast as the library's default of 1 MB, most of which
 * would be decompressed in vain.  A long scan is as fast with 256 kB as with
 * 1 MB, but that would fill the answer with a single partition: then some are
 * read far ahead of others, and a rollup's batch, which is cut from what is
 * read, spans more time and so more than twice as many groups.
 */
#define SEEK_FETCH_BYTES (64 * 1024)
#define SCAN_FETCH_BYTES (256 * 1024)

/* The least there is: with any message queued no further answer is asked for. */
#define ONE_ANSWER_QUEUE_BYTES 1024

/*
 * What a message costs while it waits, beside its bytes, and what one more
 * active partition costs beside its share of the queue.
 */
#define MESSAGE_OVERHEAD_BYTES 256
#define ACTIVE_PART_BYTES (256 * 1024)

/* The library's own limits of properties. */
#define SOCKET_TIMEOUT_MAX_MS 300000
#define QUEUE_MAX_KB 2097151

/* First versions that know a property; see handle.h for others. */
#define RDKAFKA_HAS_METRICS_PUSH 0x02050000

static const char *const security_protocol_names[] = {
	[KAFKA_SECURITY_PLAINTEXT] = "plaintext",
	[KAFKA_SECURITY_SSL] = "ssl",
	[KAFKA_SECURITY_SASL_PLAINTEXT] = "sasl_plaintext",
	[KAFKA_SECURITY_SASL_SSL] = "sasl_ssl",
};

typedef struct ConfigBuilder
{
	rd_kafka_conf_t *conf;
	bool failed;
	const char *property; /* the first that was refused */
	char reason[KAFKA_ERROR_TEXT_MAX];
} ConfigBuilder;

/* Sets a property unless value is NULL; keeps the first refusal. */
static void
set_property(ConfigBuilder *builder, const char *name, const char *value)
{
	if (value == NULL || builder->failed)
		return;
	if (rd_kafka_conf_set(builder->conf, name, value, builder->reason,
						  sizeof(builder->reason)) != RD_KAFKA_CONF_OK)
	{
		builder->failed = true;
		builder->property = name;
	}
}

static void
set_int(ConfigBuilder *builder, const char *name, int64 value)
{
	char text[32];

	snprintf(text, sizeof(text), INT64_FORMAT, value);
	set_property(builder, name, text);
}

static void
set_bool(ConfigBuilder *builder, const char *name, bool value)
{
	set_property(builder, name, value ? "true" : "false");
}

static void
set_connection(ConfigBuilder *builder, const KafkaConnectionOptions *opts)
{
	set_property(builder, "bootstrap.servers", opts->brokers);
	set_property(builder, "client.id", opts->client_id);
	set_property(builder, "client.rack", opts->client_rack);
	set_property(builder, "broker.address.family", opts->address_family);
	set_int(builder, "socket.connection.setup.timeout.ms",
			Max(opts->connect_timeout_ms, 1000));
	set_int(builder, "socket.timeout.ms",
			Max(Min(opts->fetch_timeout_ms / 3, SOCKET_TIMEOUT_MAX_MS), 1000));
	set_bool(builder, "socket.keepalive.enable", true);
	set_bool(builder, "socket.nagle.disable", true);
	set_int(builder, "reconnect.backoff.ms", 100);
	set_int(builder, "reconnect.backoff.max.ms", 1000);

	/*
	 * Logs are queued and drained by us: on its own the library would write
	 * to the server's stderr from its threads.
	 */
	set_bool(builder, "log.queue", true);
	set_bool(builder, "log.connection.close", false);
	if (rd_kafka_version() >= RDKAFKA_HAS_METRICS_PUSH)
		set_bool(builder, "enable.metrics.push", false);
}

static void
set_security(ConfigBuilder *builder, const KafkaConnectionOptions *opts)
{
	set_property(builder, "security.protocol",
				 security_protocol_names[opts->security_protocol]);
	set_property(builder, "sasl.mechanism", opts->sasl_mechanism);
	set_property(builder, "sasl.username", opts->username);
	set_property(builder, "sasl.password", opts->password);
	set_property(builder, "ssl.ca.pem", opts->ssl_ca_pem);
	set_property(builder, "ssl.ca.location", opts->ssl_ca_location);
	set_property(builder, "ssl.certificate.pem", opts->ssl_certificate_pem);
	set_property(builder, "ssl.certificate.location",
				 opts->ssl_certificate_location);
	set_property(builder, "ssl.key.pem", opts->ssl_key_pem);
	set_property(builder, "ssl.key.location", opts->ssl_key_location);
	set_property(builder, "ssl.key.password", opts->ssl_key_password);
	set_bool(builder, "enable.ssl.certificate.verification", opts->ssl_verify);
	set_property(builder, "ssl.endpoint.identification.algorithm",
				 opts->ssl_verify ? "https" : "none");
}

/*
 * Splits the memory limit: a quarter for the messages that wait, a quarter for
 * their overhead, and the rest for the answer being taken apart.  That is done
 * to the whole answer, whatever the limits of the queue: decompressed it may
 * be ten times as long, and where messages are small their overhead is several
 * times that again.  So it may be a small part of the limit only.
 */
KafkaBuffering
kafka_config_buffering(int64 memory_limit_bytes, KafkaPurpose purpose)
{
	KafkaBuffering result;
	int64 quarter = memory_limit_bytes / 4;
	bool scan = purpose == KAFKA_FOR_SCANS;

	result.fetch_wait_ms = scan ? 10 : 1;
	result.answer_bytes = quarter / 16;
	result.fetch_bytes =
		Min(scan ? SCAN_FETCH_BYTES : SEEK_FETCH_BYTES, result.answer_bytes);
	result.one_answer = !scan;
	result.queue_bytes = scan ? quarter : ONE_ANSWER_QUEUE_BYTES;
	result.queue_messages =
		Max(Min(quarter / MESSAGE_OVERHEAD_BYTES, 100000), 1000);
	result.max_active_parts =
		(int) Max(Min(memory_limit_bytes / ACTIVE_PART_BYTES, 1000), 1);
	return result;
}

static void
set_buffering(ConfigBuilder *builder, const KafkaConnectionOptions *opts,
			  const KafkaBuffering *buffering)
{
	/*
	 * The tail of every scan waits for this, and what the handle is asked
	 * next waits for a fetch that is under way at the end of a partition.
	 */
	set_int(builder, "fetch.wait.max.ms", buffering->fetch_wait_ms);
	set_int(builder, "fetch.message.max.bytes", buffering->fetch_bytes);
	set_int(builder, "fetch.max.bytes", buffering->answer_bytes);
	/* The library raises fetch.max.bytes to this one, meant for producers. */
	set_int(builder, "message.max.bytes", buffering->fetch_bytes);
	set_int(builder, "receive.message.max.bytes",
			Min(opts->memory_limit_bytes, INT_MAX));

	/*
	 * For a small window the library must stop with the first answer, which
	 * mostly has all of it: the next one would come in vain.  A limit of the
	 * number of messages would not do, since it counts what the library puts
	 * into the queue when a partition is started.
	 */
	set_int(builder, "queued.max.messages.kbytes",
			Min(buffering->queue_bytes / 1024, QUEUE_MAX_KB));
	/* Called a minimum, it is where the library stops fetching. */
	set_int(builder, "queued.min.messages", buffering->queue_messages);
	if (rd_kafka_version() >= RDKAFKA_HAS_QUEUE_BACKOFF)
		set_int(builder, "fetch.queue.backoff.ms", 1);
}

static void
set_consumer(ConfigBuilder *builder, const KafkaConnectionOptions *opts)
{
	set_property(builder, "isolation.level",
				 opts->read_committed ? "read_committed" : "read_uncommitted");
	set_bool(builder, "check.crcs", opts->check_crcs);

	/* A mistyped name must not create a topic. */
	set_bool(builder, "allow.auto.create.topics", false);
	set_bool(builder, "enable.auto.commit", false);
	set_bool(builder, "enable.auto.offset.store", false);

	/* An offset out of range is news, not a reason to jump to the end. */
	set_property(builder, "auto.offset.reset", "error");
	set_bool(builder, "enable.partition.eof", true);

	set_int(builder, "fetch.error.backoff.ms", 50);
}

/*
 * Builds the configuration of a handle; the caller owns it.  Errors: the
 * library refuses a value, as it does with a certificate it cannot read.
 */
rd_kafka_conf_t *
kafka_config_build(const KafkaConnectionOptions *opts,
				   const KafkaBuffering *buffering)
{
	ConfigBuilder builder = {0};

	builder.conf = rd_kafka_conf_new();
	set_connection(&builder, opts);
	set_security(&builder, opts);
	set_consumer(&builder, opts);
	set_buffering(&builder, opts, buffering);
	rd_kafka_conf_set_events(builder.conf,
							 RD_KAFKA_EVENT_ERROR | RD_KAFKA_EVENT_LOG);

	if (builder.failed)
	{
		rd_kafka_conf_destroy(builder.conf);
		ereport(
			ERROR,
			(errcode(ERRCODE_FDW_INVALID_ATTRIBUTE_VALUE),
			 errmsg(
				 "the Kafka client library refused an option of server \"%s\"",
				 opts->server_name),
			 errdetail("%s: %s", builder.property, builder.reason)));
	}
	return builder.conf;
}

static void
append_part(StringInfo buf, const char *value)
{
	/* Length first, so that no two lists of values read the same. */
	if (value == NULL)
		appendStringInfoString(buf, "-;");
	else
		appendStringInfo(buf, "%zu:%s;", strlen(value), value);
}

/* A hash of everything a handle is made of. */
uint64
kafka_config_fingerprint(const KafkaConnectionOptions *opts)
{
	StringInfoData buf;
	uint64 hash;

	initStringInfo(&buf);
	append_part(&buf, opts->brokers);
	append_part(&buf, opts->sasl_mechanism);
	append_part(&buf, opts->ssl_ca_pem);
	append_part(&buf, opts->ssl_ca_location);
	append_part(&buf, opts->client_id);
	append_part(&buf, opts->client_rack);
	append_part(&buf, opts->address_family);
	append_part(&buf, opts->username);
	append_part(&buf, opts->password);
	append_part(&buf, opts->ssl_certificate_pem);
	append_part(&buf, opts->ssl_certificate_location);
	append_part(&buf, opts->ssl_key_pem);
	append_part(&buf, opts->ssl_key_location);
	append_part(&buf, opts->ssl_key_password);
	appendStringInfo(&buf, "%d %d %d %d %d %d %d %d " INT64_FORMAT,
					 opts->security_protocol, opts->ssl_verify,
					 opts->read_committed, opts->check_crcs,
					 opts->connect_timeout_ms, opts->fetch_timeout_ms,
					 opts->max_silence_ms, opts->handle_idle_timeout_ms,
					 opts->memory_limit_bytes);
	hash = hash_bytes_extended((unsigned char *) buf.data, buf.len, 0);

	/* The password is in there. */
	explicit_bzero(buf.data, buf.len);
	pfree(buf.data);
	return hash;
}
