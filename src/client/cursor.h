/*-------------------------------------------------------------------------
 *
 * cursor.h
 *		A cursor's state, shared by cursor.c (reading), poll.c (reading
 *		without waiting) and watch.c (what is done about events, gaps and
 *		silence).
 *
 * IDENTIFICATION
 *		src/client/cursor.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef KAFKA_CURSOR_H
#define KAFKA_CURSOR_H

#include "client/handle.h"

/* Messages taken from the library at once: pointers, their bytes stay put. */
#define KAFKA_BATCH_FIRST 64
#define KAFKA_BATCH_MAX 1000

/* The longest sleep before the watchdog and the progress report look again. */
#define KAFKA_CURSOR_SLICE_MS 500

typedef enum KafkaPartState
{
	KAFKA_PART_WAITING, /* not fetched now */
	KAFKA_PART_ACTIVE,
	KAFKA_PART_DONE
} KafkaPartState;

typedef struct KafkaCursorTopic
{
	const char *name;
	rd_kafka_topic_t *rkt;
	struct KafkaCursorPart **parts; /* by partition id, NULL for not read */
	int slots;
} KafkaCursorTopic;

typedef struct KafkaCursorPart
{
	KafkaReadPart read;
	KafkaCursorTopic *topic;
	KafkaPartState state;
	int range;      /* index of the range being read */
	int64 position; /* all offsets below it have been seen */
} KafkaCursorPart;

struct KafkaCursor
{
	/* Unchanging once open */
	KafkaClient *client;
	rd_kafka_queue_t *queue; /* NULL once closed */
	void (*tick)(void *arg);
	void *tick_arg;
	MemoryContextCallback callback;
	KafkaCursorTopic *topics;
	int ntopics;
	KafkaCursorPart *parts;
	int nparts;
	int max_active;

	/* Mutable */
	bool started;
	int nactive;
	int first_waiting; /* parts from here on were never started */
	rd_kafka_message_t **batch;
	int batch_size; /* how many to ask for */
	int batch_count;
	int batch_next;
	rd_kafka_message_t *current; /* handed out, or being looked at */
	KafkaCursorTopic *last_topic;
	int64 taken;            /* messages and events taken from the queue */
	int64 poked_at_bytes;   /* stats.bytes when brokers were last woken */
	int64 poked_at_taken;   /* taken then */
	bool stalled;           /* fetching has stopped once */
	int quiet_ms;           /* see kafka_cursor_patience_ms */
	int64 passed_at_wait;   /* stats.passed when we last began to wait */
	int64 silent_since_ms;  /* when that was, with another number */
	int asked_leaders;      /* times, since then */
	struct KafkaPoll *poll; /* see poll.c; NULL while nobody has used it */
	KafkaCursorStats stats;
};

/* cursor.c */
extern void kafka_cursor_start_part(KafkaCursor *cursor,
									KafkaCursorPart *part);
extern void kafka_cursor_stop_part(KafkaCursor *cursor, KafkaCursorPart *part);
extern void kafka_cursor_finish_part(KafkaCursor *cursor,
									 KafkaCursorPart *part);
extern bool kafka_cursor_pass(KafkaCursor *cursor, KafkaCursorPart *part,
							  int64 offset);
extern void kafka_cursor_extend_range(KafkaCursorPart *part, int r);
extern void kafka_cursor_advance(KafkaCursor *cursor, KafkaCursorPart *part,
								 int64 offset);

/* What is to be done before the queue is looked at again. */
extern void kafka_cursor_prepare_fill(KafkaCursor *cursor);

/* Takes what the queue has, without waiting; false for nothing. */
extern bool kafka_cursor_take_batch(KafkaCursor *cursor);

/*
 * How long to wait for an empty queue, since it was found so, before waking
 * the brokers, in milliseconds; -1 where that would be no use.
 */
extern int kafka_cursor_patience_ms(const KafkaCursor *cursor);

/* Wakes them, when that time is over. */
extern void kafka_cursor_wake_brokers(KafkaCursor *cursor);

/* poll.c */
extern void kafka_cursor_free_poll(KafkaCursor *cursor);

/* watch.c */

/* Acts on what came in place of a message: an end, a gap, an error. */
extern void kafka_cursor_handle_event(KafkaCursor *cursor,
									  KafkaCursorPart *part,
									  const rd_kafka_message_t *event);

/* Called while nothing comes: asks the leaders, restarts, gives up. */
extern void kafka_cursor_watch_silence(KafkaCursor *cursor);

#endif /* KAFKA_CURSOR_H */
