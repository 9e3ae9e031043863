/*-------------------------------------------------------------------------
 *
 * client.h
 *		Kafka as the rest of the extension sees it: no librdkafka types.
 *
 * Everything here runs in the backend's main thread, waits in slices with
 * interrupts between them, has a deadline, and reports errors by ereport.
 * What a KafkaClient or KafkaCursor holds of the library is freed when the
 * memory context that was current at its creation is reset, so an error
 * anywhere needs no handler.
 *
 * IDENTIFICATION
 *		src/client/client.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef KAFKA_CLIENT_H
#define KAFKA_CLIENT_H

#include "core/bounds.h"
#include "option.h"

/* ----------------------------------------------------------------
 * pool.c: handles
 * ----------------------------------------------------------------
 */

/* A connected library handle, lent to one user at a time. */
typedef struct KafkaClient KafkaClient;

/*
 * How large a handle's fetches are, which the library fixes when it is made.
 * A fetch brings whole batches, all of which are decompressed: what is large
 * is waste for a small window, and what is small makes a long scan wait for
 * one round trip after the other.
 */
typedef enum KafkaPurpose
{
	KAFKA_FOR_SEEKS, /* lookups, and reading small windows */
	KAFKA_FOR_SCANS  /* reading much */
} KafkaPurpose;

/*
 * Lends a handle for the server and user mapping in opts: an idle one when
 * there is one, else a new one.  It belongs to the caller until
 * kafka_client_release; if the current memory context goes first, which is
 * what happens on error, the handle is destroyed.
 *
 * Does not connect: the first call that asks a broker does.
 */
extern KafkaClient *kafka_client_acquire(const KafkaConnectionOptions *opts,
										 KafkaPurpose purpose);

/*
 * Shortens connect_timeout and fetch_timeout for the use of a handle that has
 * just been acquired.
 */
extern void kafka_client_limit_waits(KafkaClient *client,
									 int connect_timeout_ms,
									 int fetch_timeout_ms);

/* Gives a handle back to the pool, or destroys it when it is not fit. */
extern void kafka_client_release(KafkaClient *client);

/* Destroys this backend's idle handles; returns how many there were. */
extern int kafka_client_disconnect_all(void);

/*
 * The cluster's id as the brokers tell it, palloc'd; NULL when unknown.  It
 * comes with the metadata, so after any other question it is there at once;
 * else this blocks up to connect_timeout.
 */
extern char *kafka_client_cluster_id(KafkaClient *client);

/* Version text of the library at run time, for example "2.0.2". */
extern const char *kafka_client_library_version(void);

/* ----------------------------------------------------------------
 * topic.c: what topics there are, and their settings
 * ----------------------------------------------------------------
 */

typedef struct KafkaTopic
{
	char *name;
	int32 *partitions; /* ids, ascending */
	int npartitions;
} KafkaTopic;

/*
 * Describes the named topics, palloc'd, in the order given.  Errors: a topic
 * does not exist (the hint has the nearest name), is not authorized, or no
 * broker answers within connect_timeout.
 */
extern KafkaTopic *kafka_client_describe_topics(KafkaClient *client,
												char *const *names,
												int ntopics);

/*
 * The same in two steps: the first sends the questions, of the first few where
 * there are many, and does not wait.  The second must follow it unless the
 * handle is given back, which is destroyed then.  names must stay till then.
 */
typedef struct KafkaDescribeAhead KafkaDescribeAhead;

extern KafkaDescribeAhead *kafka_client_describe_begin(KafkaClient *client,
													   char *const *names,
													   int ntopics);
extern KafkaTopic *kafka_client_describe_finish(KafkaClient *client,
												KafkaDescribeAhead *ahead);

/*
 * The partitions that the topic had when this handle last described it,
 * palloc'd: a guess at those it has.  False when it never did.
 */
extern bool kafka_client_recall_topic(KafkaClient *client, const char *name,
									  KafkaTopic *topic);

/*
 * Describes the topics that the role may see and whose whole name matches a
 * regular expression, in name order; *ntopics may be 0.  Names that begin
 * with two underscores are Kafka's own and never match.
 */
extern KafkaTopic *kafka_client_match_topics(KafkaClient *client,
											 const char *pattern,
											 int *ntopics);

typedef struct KafkaTopicSettings
{
	bool known;           /* false: not allowed to ask; rest invalid */
	bool delete_only;     /* cleanup.policy is exactly "delete" */
	bool log_append_time; /* message.timestamp.type */
	bool remote_storage;  /* remote.storage.enable */
	int64 before_max_ms;  /* message.timestamp.before.max.ms, INT64_MAX
						   * for no limit */
	int64 after_max_ms;   /* message.timestamp.after.max.ms, likewise */
} KafkaTopicSettings;

/*
 * Gets a topic's settings, asking the broker or from a cache that is at most a
 * minute old.  With fresh set, only what was asked since the handle was
 * acquired will do: settings change, and a topic may be made anew with others,
 * so what the rows of a query depend on is asked once for each.  A refusal is
 * no error.
 */
extern KafkaTopicSettings kafka_client_topic_settings(KafkaClient *client,
													  const char *topic,
													  bool fresh);

/*
 * Sends the question that kafka_client_topic_settings would, if it would, and
 * does not wait for the answer.
 */
extern void kafka_client_request_settings(KafkaClient *client,
										  const char *topic, bool fresh);

/*
 * The settings as this handle last heard them, however long ago: a guess at
 * what they are.  False when it never did.
 */
extern bool kafka_client_recall_settings(KafkaClient *client,
										 const char *topic,
										 KafkaTopicSettings *settings);

/* ----------------------------------------------------------------
 * lookup.c: offsets
 * ----------------------------------------------------------------
 */

/*
 * In place of a time: the partition's end, which is the last stable offset or
 * the high watermark by isolation level, and its log start.
 */
#define KAFKA_LOOKUP_END INT64_C(-1)
#define KAFKA_LOOKUP_START INT64_C(-2)

/* The answer "no record has such a time". */
#define KAFKA_NO_OFFSET INT64_C(-1)

typedef struct KafkaLookup
{
	const char *topic;
	int32 partition;
	int64 time_ms; /* >= 0, or one of the two constants above */
	int64 offset;  /* the answer; KAFKA_NO_OFFSET for none */
} KafkaLookup;

/*
 * Answers all lookups, in one round trip per leader as long as a partition
 * does not stand in the array more than eight times.  Waits through leader
 * elections, up to fetch_timeout.
 */
extern void kafka_client_lookup(KafkaClient *client, KafkaLookup *lookups,
								int nlookups);

/* Lookups under way, in the memory context that was current. */
typedef struct KafkaLookupAhead KafkaLookupAhead;

/*
 * Asks without waiting, for what is likely to be wanted: it is tried once, and
 * an error is no more than that there is no answer.  The lookups must stay
 * where they are until kafka_client_lookup_finish, which waits and tells
 * whether all are answered; it is to be called unless there is an error, or
 * the handle is given back, which is destroyed then.
 */
extern KafkaLookupAhead *kafka_client_lookup_begin(KafkaClient *client,
												   KafkaLookup *lookups,
												   int nlookups);
extern bool kafka_client_lookup_finish(KafkaClient *client,
									   KafkaLookupAhead *ahead);

/* ----------------------------------------------------------------
 * group.c: consumer groups
 * ----------------------------------------------------------------
 */
typedef struct KafkaGroupOffset
{
	char *topic;
	int32 partition;
	int64 committed;
} KafkaGroupOffset;

/* The committed offsets of a group, palloc'd; none for an unknown group. */
extern KafkaGroupOffset *kafka_client_group_offsets(KafkaClient *client,
													const char *group,
													int *noffsets);

/*
 * Commits offsets to a group, which must have no members, within timeout_ms.
 * Errors: no right, members, no answer.
 */
extern void kafka_client_commit_group(KafkaClient *client, const char *group,
									  const KafkaGroupOffset *offsets,
									  int noffsets, int timeout_ms);

/* ----------------------------------------------------------------
 * cursor.c: reading
 * ----------------------------------------------------------------
 */

/* What to read of one partition. */
typedef struct KafkaReadPart
{
	const char *topic; /* must outlive the cursor */
	int32 partition;
	int64 end;          /* end snapshot; every range ends by then */
	int nranges;        /* at least 1; sorted, disjoint, not empty */
	KafkaRange *ranges; /* must outlive the cursor */

	/*
	 * For each range, a time that the first record at or past its end must
	 * have reached, by LogAppendTime, for that end to hold; else the partition
	 * is read to the end snapshot.  0 for an end that is certain; NULL where
	 * all are.
	 */
	int64 *proofs_ms;
} KafkaReadPart;

/* One record; all pointers are valid until the next kafka_cursor_next. */
typedef struct KafkaMessage
{
	const char *topic;
	int32 partition;
	int64 offset;
	const char *payload; /* NULL for a tombstone */
	size_t payload_length;
	const char *key; /* NULL for none, which "" is not */
	size_t key_length;
	void *native; /* the library's; NULL for one of a batch */
	const struct KafkaBatchEntry *entry; /* of a batch; else NULL */
} KafkaMessage;

typedef struct KafkaCursorStats
{
	int64 messages; /* handed out */
	int64 bytes;    /* of their keys and payloads */
	int64 planned;  /* offsets in all ranges */
	int64 passed;   /* of these, offsets already behind us */
	int64 lost;     /* of these, removed before they could be read */
	int64 wait_us;  /* time spent waiting for brokers */
	int parts_open; /* partitions not yet done */
} KafkaCursorStats;

typedef struct KafkaCursor KafkaCursor;

/*
 * Starts reading.  parts[] is copied, what it points to is not.  tick, if not
 * NULL, is called between batches and at least once a second while waiting;
 * it may raise errors.
 */
extern KafkaCursor *kafka_cursor_open(KafkaClient *client,
									  const KafkaReadPart *parts, int nparts,
									  void (*tick)(void *arg), void *tick_arg);

/*
 * Gets the next record of any partition, in offset order within each; false
 * when every range has been read to its end.
 *
 * Never silently short: a partition is done only when the position is at or
 * past the end of its ranges.  Records that retention removed meanwhile are a
 * WARNING with their number; a topic that was truncated, deleted or recreated
 * is an error, and so is a broker that stays silent.
 */
extern bool kafka_cursor_next(KafkaCursor *cursor, KafkaMessage *message);

extern const KafkaCursorStats *kafka_cursor_stats(const KafkaCursor *cursor);

/*
 * The position reached in a partition: every offset of the ranges below it has
 * been handed out, or is known not to exist (markers, aborted and compacted
 * records).  The end snapshot when the partition is done, KAFKA_NO_OFFSET when
 * the cursor does not read it.
 */
extern int64 kafka_cursor_position(const KafkaCursor *cursor,
								   const char *topic, int32 partition);

/*
 * The same in steps, for who reads several cursors and waits for all of them
 * at once.  None of these waits, but for what an event asks of the brokers:
 * an offset that is gone, or silence for too long.
 *
 * kafka_cursor_take gives the next of the records fetched so far, as
 * kafka_cursor_next does.  After KAFKA_TAKE_NONE kafka_cursor_fetch looks for
 * more; false when there are none yet.
 */
typedef enum KafkaTake
{
	KAFKA_TAKE_MESSAGE,
	KAFKA_TAKE_NONE,
	KAFKA_TAKE_END /* every range has been read to its end */
} KafkaTake;

extern KafkaTake kafka_cursor_take(KafkaCursor *cursor, KafkaMessage *message);
extern bool kafka_cursor_fetch(KafkaCursor *cursor);

/*
 * A descriptor, the cursor's, that becomes readable when kafka_cursor_fetch is
 * to be called again: something came, or a time is up at which the cursor must
 * look after its brokers.  With at_once it is readable now.  To be asked for
 * before every wait; kafka_cursor_end_wait is to be called after it, before
 * the fetch.
 */
extern int kafka_cursor_begin_wait(KafkaCursor *cursor, bool at_once);
extern void kafka_cursor_end_wait(KafkaCursor *cursor);

/* Counts time that was spent waiting, for the statistics. */
extern void kafka_cursor_add_wait(KafkaCursor *cursor, int64 waited_us);

/* Describes up to a few partitions still being read, for a notice. */
extern char *kafka_cursor_describe_open(const KafkaCursor *cursor);

/* Stops reading; the client can then be released. */
extern void kafka_cursor_close(KafkaCursor *cursor);

/* ----------------------------------------------------------------
 * message.c: what a message holds beside its bytes
 * ----------------------------------------------------------------
 */

/* Milliseconds since 1970, or -1 where the record has none. */
extern int64 kafka_message_timestamp(const KafkaMessage *message,
									 bool *log_append_time);

/*
 * The record's header number index, from 0; false when there are no more.
 * value is NULL for a null value.  name is the library's, or palloc'd in the
 * current context for a message of a batch.
 */
extern bool kafka_message_header(const KafkaMessage *message, int index,
								 const char **name, const char **value,
								 size_t *length);

#endif /* KAFKA_CLIENT_H */
