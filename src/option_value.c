/*-------------------------------------------------------------------------
 *
 * option_value.c
 *		Reads the text of one option value: durations, sizes, lists.
 *
 * Numbers with units go through the server's own parser of settings, so that
 * '64MB' means here what it means in postgresql.conf.  Lists are split at
 * commas, blanks around an element do not count, and an empty element is an
 * error: it is a slip of the pen, and guessing what was meant would hide it.
 *
 * No function here connects to anything or resolves a name.
 *
 * IDENTIFICATION
 *		src/option_value.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <arpa/inet.h>
#include <limits.h>
#include <math.h>

#include "catalog/pg_collation.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "parser/scansup.h"
#include "regex/regex.h"
#include "utils/datetime.h"
#include "utils/guc.h"
#include "utils/timestamp.h"

#include "option.h"
#include "option_value.h"

#define KAFKA_DEFAULT_PORT 9092

/* Kafka's own limits, see its class org.apache.kafka.common.internals.Topic */
#define KAFKA_MAX_TOPIC_LENGTH 249

#define KAFKA_MAX_HOST_LENGTH 253

#define BROKER_HINT                                                   \
	"Give brokers as a comma-separated list of host:port, with IPv6 " \
	"addresses in brackets."

typedef struct KafkaBroker
{
	char *host; /* without brackets */
	int port;
	bool is_ipv6;
} KafkaBroker;

static bool refuse(KafkaValueError *error, const char *detail,
				   const char *hint);

/*
 * Steps through a comma-separated list.  *rest is the text yet to come and
 * becomes NULL behind the last element.  Returns a palloc'd element without
 * the blanks around it, which may be empty, or NULL at the end.
 */
static char *
next_element(const char **rest)
{
	const char *start = *rest;
	const char *end;

	if (start == NULL)
		return NULL;

	end = strchr(start, ',');
	if (end != NULL)
		*rest = end + 1;
	else
	{
		end = start + strlen(start);
		*rest = NULL;
	}

	while (start < end && scanner_isspace(*start))
		start++;
	while (end > start && scanner_isspace(end[-1]))
		end--;

	return pnstrdup(start, end - start);
}

/* Always false, so that callers can return it. */
static bool
refuse(KafkaValueError *error, const char *detail, const char *hint)
{
	error->detail = detail;
	error->hint = hint;
	return false;
}

const KafkaChoice *
kafka_value_parse_choice(const char *value, const KafkaChoice *choices,
						 KafkaValueError *error)
{
	const KafkaChoice *choice;
	StringInfoData names;

	for (choice = choices; choice->name != NULL; choice++)
	{
		if (pg_strcasecmp(value, choice->name) == 0)
			return choice;
	}

	initStringInfo(&names);
	for (choice = choices; choice->name != NULL; choice++)
		appendStringInfo(&names, "%s%s", names.len > 0 ? ", " : "",
						 choice->name);
	refuse(error, NULL, psprintf("Valid values are: %s.", names.data));
	return NULL;
}

/*
 * Checks a number against its limits.  The comparison is made on the double,
 * since what lies outside need not fit an int64; the limits are far below
 * 2^53, so that it is exact.
 */
static bool
take_number(double number, int64 min, int64 max, const char *unit,
			int64 *result, KafkaValueError *error)
{
	if (number < (double) min || number > (double) max)
		return refuse(error,
					  psprintf("The value must be between %lld and %lld %s.",
							   (long long) min, (long long) max, unit),
					  psprintf("A value without a unit is in %s; write, for "
							   "example, %s.",
							   unit,
							   strcmp(unit, "bytes") == 0 ? "'64MB'"
														  : "'10s'"));

	*result = (int64) number;
	return true;
}

bool
kafka_value_parse_duration(const char *value, int64 min_ms, int64 max_ms,
						   int64 *duration_ms, KafkaValueError *error)
{
	double number;
	const char *hint = NULL;

	if (!parse_real(value, &number, GUC_UNIT_MS, &hint))
		return refuse(error, NULL,
					  hint != NULL ? hint
								   : "Give a number of milliseconds or a "
									 "number with a unit, such as \"10s\".");

	return take_number(rint(number), min_ms, max_ms, "milliseconds",
					   duration_ms, error);
}

bool
kafka_value_parse_size(const char *value, int64 min_bytes, int64 max_bytes,
					   int64 *size_bytes, KafkaValueError *error)
{
	double number;
	const char *hint = NULL;

	if (!parse_real(value, &number, GUC_UNIT_BYTE, &hint))
		return refuse(error, NULL,
					  hint != NULL ? hint
								   : "Give a number of bytes or a number with "
									 "a unit, such as \"64MB\".");

	return take_number(rint(number), min_bytes, max_bytes, "bytes", size_bytes,
					   error);
}

/*
 * Reads what the type interval reads, but without raising an error: its input
 * function cannot be told which option the text belongs to.
 */
static bool
decode_interval(const char *value, struct pg_itm_in *interval)
{
	char work[256];
	char *fields[MAXDATEFIELDS];
	int field_types[MAXDATEFIELDS];
	int nfields;
	int type = DTK_DELTA;
	int status;

	status = ParseDateTime(value, work, sizeof(work), fields, field_types,
						   MAXDATEFIELDS, &nfields);
	if (status == 0)
		status = DecodeInterval(fields, field_types, nfields,
								INTERVAL_FULL_RANGE, &type, interval);
	if (status == DTERR_BAD_FORMAT)
	{
		char *copy = pstrdup(value); /* it takes no const */

		status = DecodeISO8601Interval(copy, &type, interval);
	}

	return status == 0 && type == DTK_DELTA;
}

bool
kafka_value_parse_interval(const char *value, int64 min_ms, int64 max_ms,
						   int64 *duration_ms, KafkaValueError *error)
{
	double number;
	struct pg_itm_in interval;

	/* Units first: a bare "10" is milliseconds, not the interval's seconds. */
	if (!parse_real(value, &number, GUC_UNIT_MS, NULL))
	{
		if (!decode_interval(value, &interval))
			return refuse(error, NULL,
						  "Give a number of milliseconds or a time with its "
						  "unit, such as \"10 min\" or \"30 days\".");
		if (interval.tm_year != 0 || interval.tm_mon != 0)
			return refuse(error, "Months and years have no fixed length.",
						  "Use days, hours or smaller units.");
		number = (double) interval.tm_mday * (USECS_PER_DAY / 1000) +
				 (double) interval.tm_usec / 1000.0;

		/*
		 * How far a minus sign reaches depends on the reader's IntervalStyle,
		 * and a stored option must mean the same to everybody.
		 */
		if (strchr(value, '-') != NULL)
			number = -1;
	}

	return take_number(ceil(number), min_ms, max_ms, "milliseconds",
					   duration_ms, error);
}

bool
kafka_value_parse_character(const char *value, char *character,
							KafkaValueError *error)
{
	/*
	 * Messages are UTF-8 whatever the database's encoding is, so a character
	 * that is one byte here need not be one byte there, unless it is ASCII.
	 */
	if (strlen(value) != 1 || IS_HIGHBIT_SET(value[0]))
		return refuse(error, "The value must be a single one-byte character.",
					  NULL);
	if (value[0] == '\n' || value[0] == '\r')
		return refuse(error, "The value cannot be newline or carriage return.",
					  NULL);

	*character = value[0];
	return true;
}

static bool
is_host_name(const char *value)
{
	size_t length = strlen(value);

	/* Underscores are no part of a host name, but container networks have
	 * them. */
	return length > 0 && length <= KAFKA_MAX_HOST_LENGTH &&
		   strspn(value, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
						 "0123456789.-_") == length;
}

/*
 * Brings an IPv6 address into its one canonical spelling; false if it is none.
 * A zone ("%eth0") stays as it is. */
static bool
canonicalize_ipv6(const char *value, char **canonical)
{
	struct in6_addr address;
	char spelling[INET6_ADDRSTRLEN];
	const char *zone = strchr(value, '%');
	char *bare = pnstrdup(value, strcspn(value, "%"));

	if (inet_pton(AF_INET6, bare, &address) != 1)
		return false;
	if (zone != NULL && !is_host_name(zone + 1))
		return false;
	if (inet_ntop(AF_INET6, &address, spelling, sizeof(spelling)) == NULL)
		return false;

	*canonical = psprintf("%s%s", spelling, zone != NULL ? zone : "");
	return true;
}

/* value is what follows the host: empty, or a colon and a port number */
static bool
parse_port(const char *value, int *port)
{
	size_t ndigits;

	if (value[0] == '\0')
	{
		*port = KAFKA_DEFAULT_PORT;
		return true;
	}
	if (value[0] != ':')
		return false;

	value++;
	ndigits = strspn(value, "0123456789");
	if (ndigits == 0 || ndigits > 5 || value[ndigits] != '\0')
		return false;

	*port = atoi(value);
	return *port >= 1 && *port <= 65535;
}

static bool
parse_broker(const char *value, KafkaBroker *broker, KafkaValueError *error)
{
	const char *host_end;
	const char *port;

	if (value[0] == '\0')
		return refuse(error, "The list has an empty element.", BROKER_HINT);
	if (strstr(value, "://") != NULL)
		return refuse(error, psprintf("Broker \"%s\" has a scheme.", value),
					  "Give brokers as host:port, without a scheme.");

	if (value[0] == '[')
	{
		host_end = strchr(value, ']');
		if (host_end == NULL ||
			!canonicalize_ipv6(pnstrdup(value + 1, host_end - value - 1),
							   &broker->host))
			return refuse(error,
						  psprintf("Broker \"%s\" has no valid IPv6 address "
								   "in its brackets.",
								   value),
						  BROKER_HINT);
		broker->is_ipv6 = true;
		port = host_end + 1;
	}
	else
	{
		host_end = value + strcspn(value, ":");
		if (strchr(host_end, ':') != strrchr(host_end, ':'))
			return refuse(error,
						  psprintf("Broker \"%s\" has more than one colon.",
								   value),
						  "Put IPv6 addresses in brackets, as in "
						  "\"[::1]:9092\".");
		broker->host = pnstrdup(value, host_end - value);
		if (!is_host_name(broker->host))
			return refuse(error,
						  psprintf("Broker \"%s\" has no valid host name.",
								   value),
						  BROKER_HINT);
		broker->is_ipv6 = false;
		port = host_end;
	}

	if (!parse_port(port, &broker->port))
		return refuse(error,
					  psprintf("Broker \"%s\" has no valid port.", value),
					  "A port is a number between 1 and 65535.");
	return true;
}

bool
kafka_value_parse_brokers(const char *value, char **brokers,
						  KafkaValueError *error)
{
	StringInfoData list;
	const char *rest = value;
	char *element;

	initStringInfo(&list);
	while ((element = next_element(&rest)) != NULL)
	{
		KafkaBroker broker;

		if (!parse_broker(element, &broker, error))
			return false;
		appendStringInfo(&list, broker.is_ipv6 ? "%s[%s]:%d" : "%s%s:%d",
						 list.len > 0 ? "," : "", broker.host, broker.port);
	}

	*brokers = list.data;
	return true;
}

/* Does all of value match pattern, in which * stands for any characters? */
static bool
match_wildcards(const char *pattern, const char *value)
{
	const char *star = NULL;  /* the last * passed */
	const char *retry = NULL; /* where what it stands for ends so far */

	while (*value != '\0')
	{
		if (*pattern == '*')
		{
			star = pattern++;
			retry = value;
		}
		else if (pg_tolower((unsigned char) *pattern) ==
				 pg_tolower((unsigned char) *value))
		{
			pattern++;
			value++;
		}
		else if (star != NULL)
		{
			pattern = star + 1;
			value = ++retry;
		}
		else
			return false;
	}

	while (*pattern == '*')
		pattern++;
	return *pattern == '\0';
}

static bool
match_host(const char *pattern, const KafkaBroker *broker)
{
	static const char address_characters[] = "0123456789.*";

	if (strcmp(pattern, "*") == 0)
		return true;
	if (broker->is_ipv6)
		return false; /* only a pattern in brackets could match */

	/*
	 * A pattern of addresses matches addresses alone: "10.0.*" must not let
	 * in the name "10.0.example.com", which anybody can point anywhere.
	 */
	if (strspn(pattern, address_characters) == strlen(pattern) &&
		strspn(broker->host, address_characters) != strlen(broker->host))
		return false;

	return match_wildcards(pattern, broker->host);
}

static bool
match_broker(const char *pattern, const KafkaBroker *broker)
{
	const char *host_end;
	char *host;
	bool host_matches;

	if (pattern[0] == '[')
	{
		host_end = strchr(pattern, ']');
		if (host_end == NULL)
			return false;
		host = pnstrdup(pattern + 1, host_end - pattern - 1);
		host_end++;
		(void) canonicalize_ipv6(host, &host);
		host_matches = broker->is_ipv6 && match_wildcards(host, broker->host);
	}
	else
	{
		host_end = pattern + strcspn(pattern, ":");
		host = pnstrdup(pattern, host_end - pattern);
		host_matches = match_host(host, broker);
	}

	if (!host_matches)
		return false;
	if (host_end[0] == '\0')
		return true;
	return host_end[0] == ':' &&
		   match_wildcards(host_end + 1, psprintf("%d", broker->port));
}

char *
kafka_value_find_forbidden_broker(const char *brokers, const char *allowed)
{
	const char *rest = brokers;
	char *element;

	if (allowed == NULL || allowed[strspn(allowed, " \t\r\n")] == '\0')
		return NULL;

	while ((element = next_element(&rest)) != NULL)
	{
		const char *rest_allowed = allowed;
		char *pattern;
		KafkaBroker broker;
		KafkaValueError error;
		bool matches = false;

		if (parse_broker(element, &broker, &error))
		{
			while (!matches && (pattern = next_element(&rest_allowed)) != NULL)
				matches = match_broker(pattern, &broker);
		}
		if (!matches)
			return element;
	}
	return NULL;
}

static bool
is_topic_name(const char *value)
{
	size_t length = strlen(value);

	return length > 0 && length <= KAFKA_MAX_TOPIC_LENGTH &&
		   strcmp(value, ".") != 0 && strcmp(value, "..") != 0 &&
		   strspn(value, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
						 "0123456789._-") == length;
}

bool
kafka_value_parse_topics(const char *value, char ***topics, int *ntopics,
						 KafkaValueError *error)
{
	const char *rest = value;
	char *element;
	int max_topics = 1;
	int count = 0;
	const char *p;
	char **names;

	for (p = value; *p != '\0'; p++)
	{
		if (*p == ',')
			max_topics++;
	}
	names = palloc(sizeof(char *) * max_topics);

	while ((element = next_element(&rest)) != NULL)
	{
		int i;

		if (element[0] == '\0')
			return refuse(error, "The list has an empty element.",
						  "Give topics as a comma-separated list of names.");
		if (!is_topic_name(element))
			return refuse(error,
						  psprintf("\"%s\" is not a valid topic name.",
								   element),
						  "A topic name has 1 to 249 ASCII letters, digits, "
						  "\".\", \"_\" and \"-\", and is not \".\" or "
						  "\"..\". For a regular expression use the option "
						  "\"topic_pattern\".");
		for (i = 0; i < count; i++)
		{
			if (strcmp(names[i], element) == 0)
				return refuse(error,
							  psprintf("Topic \"%s\" is listed twice.",
									   element),
							  NULL);
		}
		names[count++] = element;
	}

	*topics = names;
	*ntopics = count;
	return true;
}

char *
kafka_option_whole_pattern(const char *pattern)
{
	return psprintf("^(?:%s)$", pattern);
}

bool
kafka_value_check_regex(const char *value, KafkaValueError *error)
{
	char *whole = kafka_option_whole_pattern(value);
	int length = strlen(whole);
	pg_wchar *wide = palloc((length + 1) * sizeof(pg_wchar));
	int wide_length = pg_mb2wchar_with_len(whole, wide, length);
	regex_t regex;
	char reason[100];
	int status;

	status = pg_regcomp(&regex, wide, wide_length, REG_ADVANCED | REG_NOSUB,
						C_COLLATION_OID);
	pfree(wide);
	if (status == REG_OKAY)
	{
		pg_regfree(&regex);
		return true;
	}

	/* A cancelled compilation says nothing about the expression. */
	CHECK_FOR_INTERRUPTS();
	pg_regerror(status, &regex, reason, sizeof(reason));
	return refuse(error,
				  psprintf("It is not a valid regular expression: %s.",
						   reason),
				  NULL);
}

/* "7" or "0-3"; false when it is neither */
static bool
parse_partition_range(const char *value, KafkaRange *range)
{
	const char *p = value;
	int64 numbers[2];
	int count = 0;

	for (;;)
	{
		size_t ndigits = strspn(p, "0123456789");

		if (count == 2 || ndigits == 0 || ndigits > 10)
			return false;
		numbers[count++] = strtoll(p, NULL, 10);
		p += ndigits;
		if (*p == '\0')
			break;
		if (*p++ != '-')
			return false;
	}

	range->start = numbers[0];
	range->end = numbers[count - 1] + 1;
	return numbers[count - 1] <= INT_MAX && range->start < range->end;
}

bool
kafka_value_parse_partitions(const char *value, KafkaRange **ranges,
							 int *nranges, KafkaValueError *error)
{
	const char *rest = value;
	char *element;
	KafkaRange *list;
	int max_ranges = 1;
	int count = 0;
	const char *p;

	for (p = value; *p != '\0'; p++)
	{
		if (*p == ',')
			max_ranges++;
	}
	list = palloc(sizeof(KafkaRange) * max_ranges);

	while ((element = next_element(&rest)) != NULL)
	{
		if (!parse_partition_range(element, &list[count]))
			return refuse(error,
						  psprintf("\"%s\" is neither a partition nor a range "
								   "of partitions.",
								   element),
						  "Give partitions as a comma-separated list of "
						  "numbers and ranges, such as \"0-3,7\".");
		count++;
	}

	*nranges = kafka_range_merge(list, count);
	*ranges = list;
	return true;
}
