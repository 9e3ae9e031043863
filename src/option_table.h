/*-------------------------------------------------------------------------
 *
 * option_table.h
 *		The one table of options, as option.c and option_read.c see it.
 *
 * Others include option.h.
 *
 * IDENTIFICATION
 *		src/option_table.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef KAFKA_OPTION_TABLE_H
#define KAFKA_OPTION_TABLE_H

#include "nodes/parsenodes.h"

#include "option.h"
#include "option_value.h"

/* The object that has an option. */
typedef enum KafkaOptionPlace
{
	KAFKA_ON_NOTHING, /* a foreign data wrapper */
	KAFKA_ON_SERVER,
	KAFKA_ON_USER_MAPPING,
	KAFKA_ON_TABLE,
	KAFKA_ON_COLUMN
} KafkaOptionPlace;

/* How an option's text is read, and the type of the member it is put into. */
typedef enum KafkaOptionType
{
	KAFKA_TYPE_IGNORED,     /* anything goes, nothing is kept */
	KAFKA_TYPE_TEXT,        /* char * */
	KAFKA_TYPE_BOOL,        /* bool */
	KAFKA_TYPE_TRUST,       /* int, a KafkaTrust */
	KAFKA_TYPE_ROLE,        /* KafkaRole: .role when the text is true */
	KAFKA_TYPE_CHOICE,      /* int, a value of .choices */
	KAFKA_TYPE_CHOICE_BOOL, /* bool, a value of .choices */
	KAFKA_TYPE_CHOICE_NAME, /* char *, a name of .choices */
	KAFKA_TYPE_DURATION,    /* int, milliseconds */
	KAFKA_TYPE_INTERVAL,    /* int64, milliseconds */
	KAFKA_TYPE_SIZE,        /* int64, bytes */
	KAFKA_TYPE_CHARACTER,   /* char */
	KAFKA_TYPE_BROKERS,     /* char * */
	KAFKA_TYPE_TOPICS,      /* topics and ntopics of the table */
	KAFKA_TYPE_REGEX,       /* char * */
	KAFKA_TYPE_PARTITIONS   /* partitions and npartitions of the table */
} KafkaOptionType;

#define KAFKA_REQUIRED 0x01
#define KAFKA_SECRET 0x02      /* its value is in no message */
#define KAFKA_SERVER_FILE 0x04 /* names a file: pg_read_server_files only */
#define KAFKA_TRUE_ONLY 0x08   /* only superusers may set it to false */
#define KAFKA_MAY_BE_EMPTY 0x10
#define KAFKA_CSV_ONLY 0x20 /* an error with another format */

/* Checked, but kept nowhere: a check of the whole list looks at it. */
#define KAFKA_NO_MEMBER ((size_t) -1)

typedef struct KafkaOption
{
	const char *name;
	KafkaOptionPlace place;
	KafkaOptionType type;
	size_t member; /* offset in the place's struct */
	int flags;
	int64 min; /* numbers only, in the member's unit */
	int64 max;
	KafkaRole role; /* KAFKA_TYPE_ROLE only */
	const KafkaChoice *choices;
	const char *initial; /* default, read like a given value; or NULL */
	const char *help;    /* a sentence: the hint for an unfit value */
} KafkaOption;

extern const KafkaOption kafka_options[];
extern const int kafka_options_count;

/*
 * Reads the options given for one object into target, the struct of its
 * place, over the defaults of that place; members without a default and
 * without a given value stay as they are.  Raises an error for an option that
 * the place does not have, for an unfit value, and for options that do not go
 * together.  What target's pointers refer to is palloc'd or static.
 */
extern void kafka_option_read_list(KafkaOptionPlace place, List *given,
								   void *target);

/* The given option of that name, or NULL. */
extern DefElem *kafka_option_find_given(List *given, const char *name);

/* Raises an error unless kafka_fdw.allowed_brokers has all of brokers. */
extern void kafka_option_check_brokers(const char *brokers);

#endif /* KAFKA_OPTION_TABLE_H */
