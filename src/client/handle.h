/*-------------------------------------------------------------------------
 *
 * handle.h
 *		What the files of src/client share: the handle itself, its events,
 *		its waits and its errors.
 *
 * IDENTIFICATION
 *		src/client/handle.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef KAFKA_HANDLE_H
#define KAFKA_HANDLE_H

#include <librdkafka/rdkafka.h>
#include <pthread.h>

#include "client/client.h"

#define KAFKA_ERROR_TEXT_MAX 512

/* From this version on the library need not sleep when its queue is full. */
#define RDKAFKA_HAS_QUEUE_BACKOFF 0x02020000

/* A pause between tries while it is unclear which broker is in charge. */
#define KAFKA_RETRY_PAUSE_MS 100

/* What a handle may hold of a scan's data, derived from the memory limit. */
typedef struct KafkaBuffering
{
	int fetch_wait_ms;    /* how long a broker may wait for new data */
	int64 fetch_bytes;    /* of one partition, as it comes from the broker */
	int64 answer_bytes;   /* of all partitions of one fetch */
	int64 queue_bytes;    /* decompressed messages that wait to be read ... */
	int64 queue_messages; /* ... and their number: each has an overhead */
	int max_active_parts; /* partitions fetched at the same time */
	bool one_answer;      /* the queue is full with what one answer brings */
} KafkaBuffering;

/* The worst news heard from the library, kept for the next error message. */
typedef struct KafkaClientFault
{
	rd_kafka_resp_err_t code; /* NO_ERROR when none was heard */
	char text[KAFKA_ERROR_TEXT_MAX];
} KafkaClientFault;

typedef struct KafkaSettingsEntry
{
	struct KafkaSettingsEntry *next;
	rd_kafka_queue_t *queue;  /* where the answer will be, NULL if not asked */
	uint64 queue_acquisition; /* during which use of the handle it was asked */
	bool answered;            /* the rest is valid: the last answer */
	int64 asked_at_ms;
	uint64 acquisition;
	KafkaTopicSettings settings;
	char topic[FLEXIBLE_ARRAY_MEMBER];
} KafkaSettingsEntry;

/* The partitions that a topic had when it was last described. */
typedef struct KafkaDescribedTopic
{
	struct KafkaDescribedTopic *next;
	int32 *partitions;
	int npartitions;
	char name[FLEXIBLE_ARRAY_MEMBER];
} KafkaDescribedTopic;

/*
 * Allocated by malloc, not palloc: an idle handle outlives every memory
 * context and may be freed by the reaper thread.
 */
struct KafkaClient
{
	/* Unchanging once made */
	rd_kafka_t *rk;
	rd_kafka_queue_t *main_queue; /* errors and logs */
	int event_fd;  /* readable when a queue of ours got something */
	pid_t creator; /* threads do not survive a fork */
	Oid serverid;
	Oid umid;
	uint64 fingerprint; /* of all the options it was made with */
	uint32 server_hash; /* syscache hash values, for invalidation */
	uint32 mapping_hash;
	char server_name[NAMEDATALEN];
	char *brokers;
	int max_silence_ms;
	int idle_timeout_ms;
	int64 memory_limit_bytes;
	KafkaPurpose purpose;
	KafkaBuffering buffering;
	bool read_committed;

	/* Mutable */
	int connect_timeout_ms; /* of the use: see kafka_client_limit_waits */
	int fetch_timeout_ms;
	struct KafkaClient *next;       /* in the list of idle handles */
	int64 idle_until_us;            /* monotonic clock; valid while idle */
	struct KafkaClientLease *lease; /* whose it is; NULL while idle */
	bool stale;                     /* its server or mapping changed */
	bool unfit;                     /* must not be used again after this */
	bool answered;                  /* a broker has answered once */
	bool all_down;   /* no broker could be reached, last we heard */
	int64 waited_ms; /* how long the call that failed tried */
	KafkaClientFault fault;
	KafkaSettingsEntry *settings;
	KafkaDescribedTopic *described_topics;
	struct KafkaCall *calls; /* not freed yet; see call.c */
	int slice_ms;            /* for the first try of a call; may be 0 */
	uint64 acquisition;      /* how many times it has been acquired */
	struct KafkaReadTopic *read_topics; /* whose partitions it has read */
	char *advertised; /* leaders' addresses as last told, or NULL */
};

/* pool.c */

/*
 * Where to keep the own queue of a partition that is read, so that the handle
 * can be ended: see pool.c.  NULL without memory.
 */
extern rd_kafka_queue_t **kafka_client_queue_slot(KafkaClient *client,
												  const char *topic,
												  int32 partition);

/* Empties the queue of a partition that is not read now, and forgets it. */
extern void kafka_client_empty_slot(rd_kafka_queue_t **slot);

/* config.c */
extern KafkaBuffering kafka_config_buffering(int64 memory_limit_bytes,
											 KafkaPurpose purpose);
extern rd_kafka_conf_t *kafka_config_build(const KafkaConnectionOptions *opts,
										   const KafkaBuffering *buffering);
extern uint64 kafka_config_fingerprint(const KafkaConnectionOptions *opts);

/* handle.c */

/* Once in a process, before any other function of that file. */
extern void kafka_handle_initialize(void);

/*
 * Makes a handle in two steps, so that it can be tied to somebody in between:
 * the memory of it, NULL where there is none, and the library's part, which
 * may raise an error.
 */
extern KafkaClient *kafka_handle_new(const KafkaConnectionOptions *opts,
									 KafkaPurpose purpose);
extern void kafka_handle_open(KafkaClient *client,
							  const KafkaConnectionOptions *opts);

/*
 * Destroys a handle.  Runs in the backend or in the reaper, so: no PostgreSQL
 * calls.  In a child process the library's threads do not exist and its locks
 * may be held for ever; there the handle is left alone.
 */
extern void kafka_handle_destroy(KafkaClient *client);

/* Tells, once each, of handles that do not end. */
extern void kafka_handle_warn_left_behind(void);

/* Starts a thread that gets no signals; false when none can be had. */
extern bool kafka_thread_start(pthread_t *thread, void *(*function)(void *),
							   void *arg);

/* Monotonic clock. */
extern int64 kafka_clock_us(void);
extern int64 kafka_clock_ms(void);

/* event.c */

/*
 * Drains the main queue: logs go to the server's log, errors into
 * client->fault.  Raises an error at once for what waiting cannot mend: a
 * refused login, a TLS failure, a response beyond the size limit.
 */
extern void kafka_client_serve_events(KafkaClient *client);

/* Makes the arrival of something in an empty queue wake kafka_client_wait. */
extern void kafka_client_watch_queue(KafkaClient *client,
									 rd_kafka_queue_t *queue);

/* Sleeps until a watched queue has something, or timeout_ms; interruptible. */
extern void kafka_client_wait(KafkaClient *client, int timeout_ms);

/* Waits for an admin result in queue; the caller destroys the event. */
extern rd_kafka_event_t *kafka_client_await_event(KafkaClient *client,
												  rd_kafka_queue_t *queue,
												  int timeout_ms);

/* call.c */

/* A call of the library on a thread; the backend reads it once it is done. */
typedef struct KafkaCall
{
	struct KafkaCall *next; /* of the handle's */
	rd_kafka_t *rk;
	int event_fd;
	int timeout_ms;
	int64 begin_us; /* monotonic clock */
	pthread_t thread;
	bool threaded;
	bool done;

	/* The question: a list of times, or a topic, NULL for all of them */
	rd_kafka_topic_partition_list_t *list;
	rd_kafka_topic_t *rkt;

	/* The answer, in list or here */
	rd_kafka_resp_err_t err;
	const rd_kafka_metadata_t *metadata;
} KafkaCall;

/*
 * How long a call may take before its question is asked again: twice as long
 * each time.  At first little, because an answer can get lost, with the broker
 * that it was to come from.  In the end much, because that of a slow broker
 * must not be given up on for ever; but not all the time there is, since a
 * call under way keeps its handle from ending.
 */
#define KAFKA_FIRST_SLICE_MS 100
#define KAFKA_MAX_SLICE_MS 4000

/* The same where the call keeps the backend from hearing interrupts. */
#define KAFKA_DEAF_SLICE_MS 900

/*
 * Asks for the times in list, which the call owns from now on, or for the
 * metadata of a topic, of all with NULL.
 */
extern KafkaCall *kafka_call_times(KafkaClient *client,
								   rd_kafka_topic_partition_list_t *list,
								   int timeout_ms);
extern KafkaCall *kafka_call_metadata(KafkaClient *client, const char *topic,
									  int timeout_ms);

/* Waits until the call is done; interruptible, and serves events meanwhile. */
extern void kafka_call_await(KafkaClient *client, KafkaCall *call);

/* Frees a call that is done, with its answer. */
extern void kafka_call_free(KafkaClient *client, KafkaCall *call);

/*
 * When the last of a list of calls must be done, by the monotonic clock; 0 if
 * all are now.
 */
extern int64 kafka_calls_deadline(const KafkaCall *calls);

/*
 * Waits for a list of calls and frees them.  Runs on any thread, so: no
 * PostgreSQL calls.
 */
extern void kafka_calls_join(KafkaCall *calls);

/*
 * How long the first try of a call may take, and the next after one of
 * slice_ms: never more than is left of the time for all of them.
 */
extern int kafka_slice_first(const KafkaClient *client, int64 left_ms);
extern int kafka_slice_next(int slice_ms, int64 left_ms);

/* Remembers how long an answer took, for the first tries that follow. */
extern void kafka_slice_note(KafkaClient *client, int64 took_ms);

/* error.c */

typedef enum KafkaDoing
{
	KAFKA_DOING_CONNECT, /* asking for metadata */
	KAFKA_DOING_LOOKUP,
	KAFKA_DOING_READ,
	KAFKA_DOING_ADMIN
} KafkaDoing;

/*
 * Turns a library error into an ereport(ERROR).  topic may be NULL, partition
 * -1; text may be NULL for the code's own.  Marks the client unfit.
 */
extern void kafka_client_raise(KafkaClient *client, KafkaDoing doing,
							   rd_kafka_resp_err_t code, const char *text,
							   const char *topic, int32 partition)
	pg_attribute_noreturn();

/* Can the same call succeed a moment later, without anybody's help? */
extern bool kafka_error_is_transient(rd_kafka_resp_err_t code);

/* topic.c */

/* Frees what a handle knows of topics; before the library's part ends. */
extern void kafka_topics_free(KafkaClient *client);

#endif /* KAFKA_HANDLE_H */
