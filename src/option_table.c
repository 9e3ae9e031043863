/*-------------------------------------------------------------------------
 *
 * option_table.c
 *		The one table of options.
 *
 * A row is all there is to know of an option.  To add an option, add a row, a
 * member of its struct in option.h, and a row in doc/kafka_fdw.md; the lint
 * check_options_documented compares this file and that page, and relies on a
 * row's first line here beginning with the name and the place.
 *
 * IDENTIFICATION
 *		src/option_table.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "option_table.h"

static const KafkaChoice security_protocols[] = {
	{"plaintext", KAFKA_SECURITY_PLAINTEXT},
	{"ssl", KAFKA_SECURITY_SSL},
	{"sasl_plaintext", KAFKA_SECURITY_SASL_PLAINTEXT},
	{"sasl_ssl", KAFKA_SECURITY_SASL_SSL},
	{NULL, 0},
};

/* Only the names count here, and their case, which the library minds. */
static const KafkaChoice sasl_mechanisms[] = {
	{"PLAIN", 0},
	{"SCRAM-SHA-256", 0},
	{"SCRAM-SHA-512", 0},
	{NULL, 0},
};

static const KafkaChoice isolation_levels[] = {
	{"read_committed", true},
	{"read_uncommitted", false},
	{NULL, 0},
};

static const KafkaChoice address_families[] = {
	{"any", 0},
	{"v4", 0},
	{"v6", 0},
	{NULL, 0},
};

static const KafkaChoice formats[] = {
	{"json", KAFKA_FORMAT_JSON},
	{"csv", KAFKA_FORMAT_CSV},
	{"text", KAFKA_FORMAT_TEXT},
	{"raw", KAFKA_FORMAT_RAW},
	{NULL, 0},
};

static const KafkaChoice error_actions[] = {
	{"error", KAFKA_ON_ERROR_ERROR},
	{"null", KAFKA_ON_ERROR_NULL},
	{"skip", KAFKA_ON_ERROR_SKIP},
	{NULL, 0},
};

static const KafkaChoice framings[] = {
	{"none", KAFKA_FRAMING_NONE},
	{"confluent", KAFKA_FRAMING_CONFLUENT},
	{NULL, 0},
};

static const KafkaChoice limit_uses[] = {
	{"trust", true},
	{"ignore", false},
	{NULL, 0},
};

static const KafkaChoice partitioners[] = {
	{"off", KAFKA_PARTITIONER_NONE},
	{"murmur2", KAFKA_PARTITIONER_MURMUR2},
	{"crc32", KAFKA_PARTITIONER_CRC32},
	{NULL, 0},
};

static const KafkaChoice payload_sources[] = {
	{"value", false},
	{"key", true},
	{NULL, 0},
};

static const KafkaChoice time_formats[] = {
	{"iso8601", KAFKA_TIME_FORMAT_ISO8601},
	{"unix_s", KAFKA_TIME_FORMAT_UNIX_S},
	{"unix_ms", KAFKA_TIME_FORMAT_UNIX_MS},
	{"unix_us", KAFKA_TIME_FORMAT_UNIX_US},
	{"unix_ns", KAFKA_TIME_FORMAT_UNIX_NS},
	{NULL, 0},
};

#define SECOND_MS INT64CONST(1000)
#define HOUR_MS (3600 * SECOND_MS)
#define DAY_MS (24 * HOUR_MS)
#define MEGABYTE (INT64CONST(1024) * 1024)

#define OF_CONNECTION(member) offsetof(KafkaConnectionOptions, member)
#define OF_TABLE(member) offsetof(KafkaTableOptions, member)
#define OF_COLUMN(member) offsetof(KafkaColumnOptions, member)

#define ROLE(name, value, what)                                             \
	{                                                                       \
		name, KAFKA_ON_COLUMN, KAFKA_TYPE_ROLE, OF_COLUMN(role),            \
			.role = (value), .help = "True makes the column hold " what "." \
	}

#define IGNORED(name, place)                                         \
	{                                                                \
		name, place, KAFKA_TYPE_IGNORED, KAFKA_NO_MEMBER, .flags = 0 \
	}

/*
 * The option table.  Timeouts have a lower limit of 100 ms, below which no
 * broker answers in time, so that '10', meant as ten seconds, is an error.
 */
const KafkaOption kafka_options[] = {
	/* how to reach the brokers */
	{"brokers", KAFKA_ON_SERVER, KAFKA_TYPE_BROKERS, OF_CONNECTION(brokers),
	 .flags = KAFKA_REQUIRED,
	 .help = "It is a comma-separated list of host:port."},
	{"security_protocol", KAFKA_ON_SERVER, KAFKA_TYPE_CHOICE,
	 OF_CONNECTION(security_protocol), .choices = security_protocols,
	 .initial = "plaintext"},
	{"sasl_mechanism", KAFKA_ON_SERVER, KAFKA_TYPE_CHOICE_NAME,
	 OF_CONNECTION(sasl_mechanism), .choices = sasl_mechanisms},
	{"ssl_ca_pem", KAFKA_ON_SERVER, KAFKA_TYPE_TEXT, OF_CONNECTION(ssl_ca_pem),
	 .help = "It is the certificates of authorities, in PEM."},
	{"ssl_ca_location", KAFKA_ON_SERVER, KAFKA_TYPE_TEXT,
	 OF_CONNECTION(ssl_ca_location), .flags = KAFKA_SERVER_FILE,
	 .help = "It is the path of a file on the server."},
	{"ssl_verify", KAFKA_ON_SERVER, KAFKA_TYPE_BOOL, OF_CONNECTION(ssl_verify),
	 .flags = KAFKA_TRUE_ONLY, .initial = "true"},
	{"client_id", KAFKA_ON_SERVER, KAFKA_TYPE_TEXT, OF_CONNECTION(client_id),
	 .initial = "kafka_fdw",
	 .help = "It is the name under which brokers log and limit the client."},
	{"client_rack", KAFKA_ON_SERVER, KAFKA_TYPE_TEXT,
	 OF_CONNECTION(client_rack),
	 .help = "It is the name of the rack whose replicas to read from."},
	{"address_family", KAFKA_ON_SERVER, KAFKA_TYPE_CHOICE_NAME,
	 OF_CONNECTION(address_family), .choices = address_families,
	 .initial = "any"},

	/* how to read */
	{"isolation_level", KAFKA_ON_SERVER, KAFKA_TYPE_CHOICE_BOOL,
	 OF_CONNECTION(read_committed), .choices = isolation_levels,
	 .initial = "read_committed"},
	{"check_crcs", KAFKA_ON_SERVER, KAFKA_TYPE_BOOL, OF_CONNECTION(check_crcs),
	 .initial = "false"},
	{"connect_timeout", KAFKA_ON_SERVER, KAFKA_TYPE_DURATION,
	 OF_CONNECTION(connect_timeout_ms), .min = 100, .max = HOUR_MS,
	 .initial = "10s"},
	{"fetch_timeout", KAFKA_ON_SERVER, KAFKA_TYPE_DURATION,
	 OF_CONNECTION(fetch_timeout_ms), .min = 100, .max = HOUR_MS,
	 .initial = "30s"},
	{"max_silence", KAFKA_ON_SERVER, KAFKA_TYPE_DURATION,
	 OF_CONNECTION(max_silence_ms), .min = 100, .max = DAY_MS,
	 .initial = "5min"},
	{"handle_idle_timeout", KAFKA_ON_SERVER, KAFKA_TYPE_DURATION,
	 OF_CONNECTION(handle_idle_timeout_ms), .min = 0, .max = DAY_MS,
	 .initial = "60s"},
	{"broker_clock_skew", KAFKA_ON_SERVER, KAFKA_TYPE_DURATION,
	 OF_CONNECTION(broker_clock_skew_ms), .min = 0, .max = DAY_MS,
	 .initial = "10s"},
	{"memory_limit", KAFKA_ON_SERVER, KAFKA_TYPE_SIZE,
	 OF_CONNECTION(memory_limit_bytes), .min = MEGABYTE,
	 .max = 1024 * 1024 * MEGABYTE, .initial = "64MB"},

	/* who is asking */
	{"username", KAFKA_ON_USER_MAPPING, KAFKA_TYPE_TEXT,
	 OF_CONNECTION(username), .flags = KAFKA_SECRET,
	 .help = "It is the name of a user known to the brokers."},
	{"password", KAFKA_ON_USER_MAPPING, KAFKA_TYPE_TEXT,
	 OF_CONNECTION(password), .flags = KAFKA_SECRET,
	 .help = "It is the password of \"username\"."},
	{"ssl_certificate_pem", KAFKA_ON_USER_MAPPING, KAFKA_TYPE_TEXT,
	 OF_CONNECTION(ssl_certificate_pem), .flags = KAFKA_SECRET,
	 .help = "It is the client's certificate, in PEM."},
	{"ssl_certificate_location", KAFKA_ON_USER_MAPPING, KAFKA_TYPE_TEXT,
	 OF_CONNECTION(ssl_certificate_location),
	 .flags = KAFKA_SECRET | KAFKA_SERVER_FILE,
	 .help = "It is the path of a file on the server."},
	{"ssl_key_pem", KAFKA_ON_USER_MAPPING, KAFKA_TYPE_TEXT,
	 OF_CONNECTION(ssl_key_pem), .flags = KAFKA_SECRET,
	 .help = "It is the client's private key, in PEM."},
	{"ssl_key_location", KAFKA_ON_USER_MAPPING, KAFKA_TYPE_TEXT,
	 OF_CONNECTION(ssl_key_location),
	 .flags = KAFKA_SECRET | KAFKA_SERVER_FILE,
	 .help = "It is the path of a file on the server."},
	{"ssl_key_password", KAFKA_ON_USER_MAPPING, KAFKA_TYPE_TEXT,
	 OF_CONNECTION(ssl_key_password), .flags = KAFKA_SECRET,
	 .help = "It is the passphrase of the client's private key."},

	/* what a table reads, and how */
	{"topic", KAFKA_ON_TABLE, KAFKA_TYPE_TOPICS, OF_TABLE(topics),
	 .help = "It is the name of a topic or a comma-separated list of names."},
	{"topic_pattern", KAFKA_ON_TABLE, KAFKA_TYPE_REGEX,
	 OF_TABLE(topic_pattern),
	 .help = "It is a regular expression that names of topics match."},
	{"partitions", KAFKA_ON_TABLE, KAFKA_TYPE_PARTITIONS, OF_TABLE(partitions),
	 .help = "It is a list of numbers and ranges."},
	{"format", KAFKA_ON_TABLE, KAFKA_TYPE_CHOICE, OF_TABLE(format),
	 .choices = formats, .initial = "json"},
	{"framing", KAFKA_ON_TABLE, KAFKA_TYPE_CHOICE, OF_TABLE(framing),
	 .choices = framings, .initial = "none"},
	{"on_error", KAFKA_ON_TABLE, KAFKA_TYPE_CHOICE, OF_TABLE(on_error),
	 .choices = error_actions, .initial = "error"},
	{"ignore_junk", KAFKA_ON_TABLE, KAFKA_TYPE_BOOL, KAFKA_NO_MEMBER,
	 .help = "True is the same as \"on_error\" \"null\"."},
	{"require_bounds", KAFKA_ON_TABLE, KAFKA_TYPE_BOOL,
	 OF_TABLE(require_bounds), .initial = "false"},
	{"timestamp_max_lag", KAFKA_ON_TABLE, KAFKA_TYPE_INTERVAL,
	 OF_TABLE(timestamp_max_lag_ms), .min = 0, .max = 36500 * DAY_MS},
	{"timestamp_max_lead", KAFKA_ON_TABLE, KAFKA_TYPE_INTERVAL,
	 OF_TABLE(timestamp_max_lead_ms), .min = 0, .max = 36500 * DAY_MS},
	{"trust_time_index", KAFKA_ON_TABLE, KAFKA_TYPE_TRUST,
	 OF_TABLE(trust_time_index), .help = "False never seeks by time."},
	{"topic_limits", KAFKA_ON_TABLE, KAFKA_TYPE_CHOICE_BOOL,
	 OF_TABLE(topic_limits), .choices = limit_uses, .initial = "trust"},
	{"partitioner", KAFKA_ON_TABLE, KAFKA_TYPE_CHOICE, OF_TABLE(partitioner),
	 .choices = partitioners, .initial = "off"},
	{"delimiter", KAFKA_ON_TABLE, KAFKA_TYPE_CHARACTER,
	 OF_TABLE(csv.delimiter), .initial = ","},
	{"quote", KAFKA_ON_TABLE, KAFKA_TYPE_CHARACTER, OF_TABLE(csv.quote),
	 .flags = KAFKA_CSV_ONLY, .initial = "\""},
	{"escape", KAFKA_ON_TABLE, KAFKA_TYPE_CHARACTER, OF_TABLE(csv.escape),
	 .flags = KAFKA_CSV_ONLY},
	{"null", KAFKA_ON_TABLE, KAFKA_TYPE_TEXT, OF_TABLE(csv.null_text),
	 .flags = KAFKA_MAY_BE_EMPTY, .initial = ""},
	{"strict", KAFKA_ON_TABLE, KAFKA_TYPE_BOOL, OF_TABLE(csv_strict),
	 .initial = "false"},

	/* what a column holds */
	ROLE("topic", KAFKA_ROLE_TOPIC, "the name of the topic"),
	ROLE("partition", KAFKA_ROLE_PARTITION, "the partition"),
	ROLE("offset", KAFKA_ROLE_OFFSET, "the offset"),
	ROLE("timestamp", KAFKA_ROLE_TIMESTAMP, "the record's timestamp"),
	ROLE("timestamp_type", KAFKA_ROLE_TIMESTAMP_TYPE,
		 "the kind of the record's timestamp"),
	ROLE("key", KAFKA_ROLE_KEY, "the record's key"),
	ROLE("headers", KAFKA_ROLE_HEADERS, "the record's headers"),
	ROLE("value", KAFKA_ROLE_VALUE, "the whole message"),
	ROLE("junk", KAFKA_ROLE_JUNK, "messages that could not be read"),
	ROLE("junk_error", KAFKA_ROLE_JUNK_ERROR,
		 "the reason why a message could not be read"),
	{"json", KAFKA_ON_COLUMN, KAFKA_TYPE_TEXT, OF_COLUMN(path),
	 .help = "It is the name or path of a field of the JSON message."},
	{"from", KAFKA_ON_COLUMN, KAFKA_TYPE_CHOICE_BOOL, OF_COLUMN(from_key),
	 .choices = payload_sources, .initial = "value"},
	{"time_format", KAFKA_ON_COLUMN, KAFKA_TYPE_CHOICE, OF_COLUMN(time_format),
	 .choices = time_formats},
	{"max_skew", KAFKA_ON_COLUMN, KAFKA_TYPE_INTERVAL, OF_COLUMN(max_skew_ms),
	 .min = 0, .max = 36500 * DAY_MS},

	/* accepted without effect, as adjust/kafka_fdw's tables have them */
	IGNORED("batch_size", KAFKA_ON_TABLE),
	IGNORED("buffer_delay", KAFKA_ON_TABLE),
	IGNORED("num_partitions", KAFKA_ON_TABLE),
	IGNORED("encoding", KAFKA_ON_TABLE),
	IGNORED("force_null", KAFKA_ON_COLUMN),
	IGNORED("force_not_null", KAFKA_ON_COLUMN),
};

const int kafka_options_count = lengthof(kafka_options);
