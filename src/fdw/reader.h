/*-------------------------------------------------------------------------
 *
 * reader.h
 *		Reads a foreign table's topics within bounds: what a scan of the
 *		table and the functions that look into a topic share.
 *
 * IDENTIFICATION
 *		src/fdw/reader.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef KAFKA_READER_H
#define KAFKA_READER_H

#include "client/client.h"
#include "core/bounds.h"
#include "option.h"

/* A partition as it was when the statement first looked at it. */
typedef struct KafkaSnapshotPart
{
	int32 partition;
	int64 start; /* log start; KAFKA_NO_OFFSET until asked */
	int64 end;   /* what is at or past it does not exist */
} KafkaSnapshotPart;

typedef struct KafkaSnapshotTopic
{
	char *name;
	KafkaSnapshotPart *parts; /* by ascending partition */
	int nparts;
	bool starts_known;
} KafkaSnapshotTopic;

/*
 * Why a window ends where it does.  Where there are several windows, the last
 * of their reasons in this order is told.
 */
typedef enum KafkaStopReason
{
	KAFKA_STOP_NOTHING,       /* nothing can match: nothing is read */
	KAFKA_STOP_NO_TIME_BOUND, /* the query has none */
	KAFKA_STOP_DECLARED,      /* timestamp_max_lag, timestamp_max_lead */
	KAFKA_STOP_TOPIC_LIMITS,  /* message.timestamp.*.max.ms */
	KAFKA_STOP_LOG_APPEND_TIME,
	KAFKA_STOP_UNBOUNDED_DISORDER, /* read to the end */
	KAFKA_STOP_INDEX_NOT_TRUSTED
} KafkaStopReason;

typedef struct KafkaReader
{
	/* Unchanging once open */
	MemoryContext context;      /* holds the client's lease */
	MemoryContext scan_context; /* holds the cursor; reset by each start */
	KafkaTableOptions *table;
	KafkaColumnOptions *columns;
	KafkaConnectionOptions *connection;
	MemoryContext client_context; /* holds the client's lease */
	KafkaClient *client;          /* NULL once returned */
	KafkaPurpose purpose;         /* of that client */
	KafkaSnapshotTopic **topics;
	int ntopics;
	bool reads_once; /* no rescan is likely: needs no client after the end */
	bool may_stop_early; /* a LIMIT may make it read far less */

	/* Of the current start */
	KafkaReadPart *parts;
	int nparts;
	KafkaCursor *cursor; /* NULL when nothing is being read */

	/* Over all starts */
	KafkaStopReason stop_reason; /* valid once started */
	int64 messages;
	int64 bytes;
	int64 wait_us;
	int64 rejected; /* bad messages, counted by the user */
	struct KafkaProgress *progress;
} KafkaReader;

/*
 * Connects for reading a foreign table as userid, and takes the snapshot of
 * its topics' ends, or, where a scan of the same executor state or of the
 * same repeatable-read transaction already has, uses that one.  owner is the
 * context to live in, normally es_query_cxt: all scans in it agree.
 */
extern KafkaReader *kafka_reader_open(KafkaTableOptions *table,
									  KafkaColumnOptions *columns, Oid userid,
									  MemoryContext owner);

/* Starts reading all that bounds let through; ends what was being read. */
extern void kafka_reader_start(KafkaReader *reader, const KafkaBounds *bounds);

/* Starts reading the newest count offsets of every partition. */
extern void kafka_reader_start_newest(KafkaReader *reader, int64 count);

extern bool kafka_reader_next(KafkaReader *reader, KafkaMessage *message);

/* Stops reading, so that the statistics are complete; may start again. */
extern void kafka_reader_stop(KafkaReader *reader);

/* How many offsets the ranges of the current start have. */
extern int64 kafka_reader_count_offsets(const KafkaReader *reader);

/* Stops and gives the client back. */
extern void kafka_reader_close(KafkaReader *reader);

/* window.c */

/* Fills reader->parts with the ranges that bounds amount to right now. */
extern void kafka_window_resolve(KafkaReader *reader,
								 const KafkaBounds *bounds);

/* Asks for the log starts of a topic, once. */
extern void kafka_reader_need_starts(KafkaReader *reader,
									 KafkaSnapshotTopic *topic);

/* A sentence for EXPLAIN; settings-dependent reasons name the settings. */
extern const char *kafka_stop_reason_text(KafkaStopReason reason);

/* snapshot.c */
extern KafkaSnapshotTopic **
kafka_snapshot_take(const KafkaTableOptions *table,
					const KafkaConnectionOptions *connection,
					KafkaClient *client, MemoryContext owner, int *ntopics);

/* progress.c */
extern struct KafkaProgress *kafka_progress_create(KafkaReader *reader);
extern void kafka_progress_begin(KafkaReader *reader);
extern void kafka_progress_tick(void *reader);

#endif /* KAFKA_READER_H */
