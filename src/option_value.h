/*-------------------------------------------------------------------------
 *
 * option_value.h
 *		Reads the text of one option value: durations, sizes, lists.
 *
 * Nothing here knows which option it reads.  A function returns false when
 * the text is no such value and says why in *error; the caller, who knows the
 * option's name and whether its value may be shown, raises the error.
 *
 * IDENTIFICATION
 *		src/option_value.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef KAFKA_OPTION_VALUE_H
#define KAFKA_OPTION_VALUE_H

#include "core/bounds.h"

/* Why a value was refused: full sentences, palloc'd or static, or NULL. */
typedef struct KafkaValueError
{
	const char *detail;
	const char *hint;
} KafkaValueError;

/* One word of an option that takes one of several; a NULL name ends a list. */
typedef struct KafkaChoice
{
	const char *name;
	int value;
} KafkaChoice;

/*
 * Compares without regard to case, as settings of the server do.  Returns the
 * entry of choices that value names, or NULL.
 */
extern const KafkaChoice *kafka_value_parse_choice(const char *value,
												   const KafkaChoice *choices,
												   KafkaValueError *error);

/*
 * A time with a unit of the server's settings ("500ms", "10 s", "1.5 h");
 * without a unit it is milliseconds.
 */
extern bool kafka_value_parse_duration(const char *value, int64 min_ms,
									   int64 max_ms, int64 *duration_ms,
									   KafkaValueError *error);

/*
 * The same, and besides whatever the type interval reads ("30 days", "P1D",
 * "2:30"), except months and years, whose length is not fixed.  Rounded up to
 * a whole millisecond, because it serves as an upper bound.
 */
extern bool kafka_value_parse_interval(const char *value, int64 min_ms,
									   int64 max_ms, int64 *duration_ms,
									   KafkaValueError *error);

/* A size with a unit ("64MB"); without a unit it is bytes. */
extern bool kafka_value_parse_size(const char *value, int64 min_bytes,
								   int64 max_bytes, int64 *size_bytes,
								   KafkaValueError *error);

/* One character of ASCII that does not end a line. */
extern bool kafka_value_parse_character(const char *value, char *character,
										KafkaValueError *error);

/*
 * A comma-separated list of host:port, IPv6 addresses in brackets; a port
 * left out is 9092.  *brokers gets the same list, palloc'd, without blanks
 * and with every port.
 */
extern bool kafka_value_parse_brokers(const char *value, char **brokers,
									  KafkaValueError *error);

/*
 * The first broker of a list from kafka_value_parse_brokers that no entry of
 * allowed matches, palloc'd, or NULL.  allowed is a comma-separated list of
 * host or host:port where * stands for any characters; NULL or blank allows
 * everything.
 *
 * Names that resolve to an allowed address do not match an address, nor the
 * other way round: nothing is looked up.
 */
extern char *kafka_value_find_forbidden_broker(const char *brokers,
											   const char *allowed);

/* A comma-separated list of topic names without repeats; all palloc'd. */
extern bool kafka_value_parse_topics(const char *value, char ***topics,
									 int *ntopics, KafkaValueError *error);

/* An advanced regular expression, as for the operator ~. */
extern bool kafka_value_check_regex(const char *value, KafkaValueError *error);

/*
 * A list of partitions and ranges of partitions, both ends included, such as
 * "0-3,7".  *ranges gets them half-open, sorted and disjoint, palloc'd.
 */
extern bool kafka_value_parse_partitions(const char *value,
										 KafkaRange **ranges, int *nranges,
										 KafkaValueError *error);

#endif /* KAFKA_OPTION_VALUE_H */
