/*
 * feed.h
 *	  Shared declarations of the feeder of test topics; feed.c documents the
 *	  language.
 */
#ifndef KAFKA_TEST_FEED_H
#define KAFKA_TEST_FEED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <librdkafka/rdkafka.h>

#define FEED_MAX_WORDS 64

/* Longest wait for anything; a test that needs more is broken. */
#define FEED_TIMEOUT_MS 30000

/*
 * A word of a line after unquoting.  data is terminated by a zero byte that
 * length does not count; it may contain others.
 */
typedef struct Word
{
	char *data;
	size_t length;
	size_t value_start; /* index after the first bare '=', or 0 */
	bool quoted;        /* some part of it was quoted or escaped */
} Word;

/* A byte string that may be NULL (data == NULL), as keys and values may. */
typedef struct Bytes
{
	const char *data;
	size_t length;
} Bytes;

/* in feed.c */
extern void fail(const char *format, ...)
	__attribute__((format(printf, 1, 2), noreturn));
extern void *allocate(size_t size);

extern long feed_line_number;
extern bool feed_read_line(char **line, size_t *size);
extern void feed_set_properties(rd_kafka_conf_t *conf, char *(*list)[2],
								int count);
extern rd_kafka_conf_t *feed_base_conf(void);

/* in feed_producer.c: commands with their words, then what they share */
extern void producer_produce(Word *words, int count);
extern void producer_copy(Word *words, int count);
extern void producer_generate(Word *words, int count);
extern void producer_set(Word *words, int count);
extern void producer_begin(Word *words, int count);
extern void producer_use(Word *words, int count);
extern void producer_commit(Word *words, int count);
extern void producer_abort(Word *words, int count);
extern void producer_leave(Word *words, int count);
extern void producer_flush(void);
extern void producer_forget_topics(void);
extern void producer_restart(void);
extern void producer_finish(void);

/* in feed_text.c */
extern int text_split(char *line, Word *words);
extern char *text_unescape_field(char *field, size_t *length);
extern Bytes text_value(const Word *word, size_t start);
extern int64_t text_integer(const char *text);
extern int64_t text_time_ms(const char *text);
extern size_t text_expand(const char *template, int64_t n, int32_t partition,
						  int64_t time_ms, char *out, size_t size);
extern uint64_t text_scramble(uint64_t n);

/* in feed_admin.c */
extern rd_kafka_t *admin_client(void);
extern void admin_finish(void);
extern void admin_create_topic(const Word *words, int count);
extern void admin_delete_topic(const char *topic);
extern void admin_add_partitions(const char *topic, int total);
extern void admin_alter_topic(const Word *words, int count);
extern void admin_delete_records(const char *topic, int32_t partition,
								 int64_t offset);
extern void admin_set_group_offset(const char *group, const char *topic,
								   int32_t partition, int64_t offset);
extern void admin_deny_group(const char *group, const char *user);
extern int64_t admin_committed(const char *group, const char *topic,
							   int32_t partition);
extern int admin_partition_count(rd_kafka_t *rk, const char *topic);
extern int admin_leader(const char *topic, int32_t partition);
extern void admin_wait_visible(const char *topic, int32_t partition,
							   int64_t offset);
extern void admin_wait_start(const char *topic, int32_t partition,
							 int64_t offset);
extern void admin_wait_gone(const char *topic, int32_t partition,
							int64_t offset);
extern void admin_wait_lookup(const char *topic, int32_t partition,
							  int64_t time_ms, int64_t offset);

#endif
