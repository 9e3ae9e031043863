/*-------------------------------------------------------------------------
 *
 * option.h
 *		The options of servers, user mappings, foreign tables and columns.
 *
 * One table in option_table.c names every option with its place, type, limits
 * and default; the validator, the readers below and the check of the reference
 * page all use it, so that an option cannot be known to one and not to
 * another.
 *
 * IDENTIFICATION
 *		src/option.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef KAFKA_OPTION_H
#define KAFKA_OPTION_H

#include "access/tupdesc.h"
#include "core/bounds.h"
#include "core/csv.h"
#include "core/moment.h"
#include "core/partitioner.h"

typedef enum KafkaSecurityProtocol
{
	KAFKA_SECURITY_PLAINTEXT,
	KAFKA_SECURITY_SSL,
	KAFKA_SECURITY_SASL_PLAINTEXT,
	KAFKA_SECURITY_SASL_SSL
} KafkaSecurityProtocol;

typedef enum KafkaFormat
{
	KAFKA_FORMAT_JSON,
	KAFKA_FORMAT_CSV,
	KAFKA_FORMAT_TEXT, /* the payload is one text field */
	KAFKA_FORMAT_RAW   /* the payload is one bytea field */
} KafkaFormat;

typedef enum KafkaOnError
{
	KAFKA_ON_ERROR_ERROR,
	KAFKA_ON_ERROR_NULL,
	KAFKA_ON_ERROR_SKIP
} KafkaOnError;

typedef enum KafkaFraming
{
	KAFKA_FRAMING_NONE,
	KAFKA_FRAMING_CONFLUENT /* 0x00 and a four-byte schema id first */
} KafkaFraming;

typedef enum KafkaTrust
{
	KAFKA_TRUST_DEFAULT, /* not set: the topic's settings decide */
	KAFKA_TRUST_YES,
	KAFKA_TRUST_NO
} KafkaTrust;

typedef enum KafkaRole
{
	KAFKA_ROLE_PAYLOAD = 0, /* a field of the message, the default */
	KAFKA_ROLE_TOPIC,
	KAFKA_ROLE_PARTITION,
	KAFKA_ROLE_OFFSET,
	KAFKA_ROLE_TIMESTAMP,
	KAFKA_ROLE_TIMESTAMP_TYPE,
	KAFKA_ROLE_KEY,
	KAFKA_ROLE_HEADERS,
	KAFKA_ROLE_VALUE,
	KAFKA_ROLE_JUNK,
	KAFKA_ROLE_JUNK_ERROR
} KafkaRole;

typedef enum KafkaTimeFormat
{
	KAFKA_TIME_FORMAT_NONE, /* the type's input function */
	KAFKA_TIME_FORMAT_ISO8601,
	KAFKA_TIME_FORMAT_UNIX_S,
	KAFKA_TIME_FORMAT_UNIX_MS,
	KAFKA_TIME_FORMAT_UNIX_US,
	KAFKA_TIME_FORMAT_UNIX_NS
} KafkaTimeFormat;

/* Server and user mapping: all that a client handle is made of. */
typedef struct KafkaConnectionOptions
{
	Oid serverid;
	Oid umid; /* InvalidOid where there is no user mapping */
	char *server_name;

	char *brokers;
	int security_protocol; /* KafkaSecurityProtocol */
	char *sasl_mechanism;  /* NULL when not set, as all char * below */
	char *ssl_ca_pem;
	char *ssl_ca_location;
	bool ssl_verify;
	bool read_committed; /* isolation_level */
	char *client_id;
	char *client_rack;
	char *address_family; /* any, v4 or v6 */
	bool check_crcs;
	int connect_timeout_ms;
	int fetch_timeout_ms;
	int max_silence_ms;
	int handle_idle_timeout_ms;
	int broker_clock_skew_ms;
	int64 memory_limit_bytes;

	/* from the user mapping */
	char *username;
	char *password;
	char *ssl_certificate_pem;
	char *ssl_certificate_location;
	char *ssl_key_pem;
	char *ssl_key_location;
	char *ssl_key_password;
} KafkaConnectionOptions;

typedef struct KafkaTableOptions
{
	Oid relid;
	Oid serverid;

	char **topics; /* exactly one of topics, topic_pattern is set */
	int ntopics;
	char *topic_pattern;
	KafkaRange *partitions; /* sorted, disjoint; NULL means all */
	int npartitions;
	int format;          /* KafkaFormat */
	int on_error;        /* KafkaOnError; settled by read_columns */
	bool on_error_given; /* on_error or ignore_junk was set */
	int framing;         /* KafkaFraming */
	bool require_bounds;
	int trust_time_index; /* KafkaTrust */
	bool topic_limits;    /* trust message.timestamp.*.max.ms */

	/*
	 * How far a record's time lies behind / ahead of the moment of its
	 * append.  disorder_declared when at least one of the two is set; the
	 * other is then 0.
	 */
	bool disorder_declared;
	int64 timestamp_max_lag_ms;
	int64 timestamp_max_lead_ms;

	int partitioner; /* KafkaPartitioner */
	KafkaCsvDialect csv;
	bool csv_strict; /* the number of fields must match */
} KafkaTableOptions;

typedef struct KafkaColumnOptions
{
	AttrNumber attnum;
	bool dropped; /* or generated: always NULL */
	KafkaRole role;
	bool from_key; /* payload field read from the record's key */
	char *path;    /* JSON name or path, in UTF-8; csv ignores it */
	KafkaTimeFormat time_format;
	int64 max_skew_ms; /* from the record's time; -1 when not set */
} KafkaColumnOptions;

/*
 * Reads the options of a server and of the user mapping that userid has
 * there, its own or PUBLIC's; having none is no error.  palloc'd in the
 * current context.  Errors: a required option is missing, SASL without a user
 * name and password, brokers is not in kafka_fdw.allowed_brokers.
 */
extern KafkaConnectionOptions *kafka_option_read_connection(Oid serverid,
															Oid userid);

/* Reads a foreign table's options; raises an error where none is usable. */
extern KafkaTableOptions *kafka_option_read_table(Oid relid);

/*
 * Reads the options of all columns, tupdesc->natts entries, attnum order, and
 * raises an error where a role's column has an unfit type, a role is given
 * twice, or the format cannot have such a column: validators see neither the
 * type nor the other options, so first use is the first chance.
 *
 * Also sets table->on_error to its default where a junk column is declared,
 * so it must run before on_error is looked at.
 */
extern KafkaColumnOptions *kafka_option_read_columns(KafkaTableOptions *table,
													 TupleDesc tupdesc);

/* The name of a role as its column option is called; "payload" for that. */
extern const char *kafka_option_role_name(KafkaRole role);

/*
 * The name among count candidates that is nearest to name, or NULL when none
 * is near enough to be a likely slip (more than half its letters differ).
 */
extern const char *kafka_option_nearest(const char *name,
										const char *const *candidates,
										int count);

/* Does the table's "partitions" option, if any, admit this partition? */
extern bool kafka_option_has_partition(const KafkaTableOptions *table,
									   int32 partition);

/*
 * A pattern for topics, palloc'd, as a regular expression for their whole
 * names.  What is only allowed at the beginning of an expression, such as
 * "(?i)", is not allowed in one.
 */
extern char *kafka_option_whole_pattern(const char *pattern);

/* kafka_fdw.allowed_brokers and the other settings; see kafka_fdw.c. */
extern char *kafka_allowed_brokers;
extern bool kafka_enable_pushdown;
extern double kafka_max_scan_bytes; /* negative is off */
extern int kafka_progress_interval_ms;
extern bool kafka_enable_runs;

#endif /* KAFKA_OPTION_H */
