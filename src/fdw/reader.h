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

	/*
	 * A record near the end that was found by its time, and that time, which
	 * is 0 for none: where to start for what is later than all records.
	 */
	int64 late_ms;
	int64 late_offset;
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

/* Why partitions were not read, by one start of a reader */
typedef struct KafkaPruned
{
	int by_table;     /* the table does not show them */
	int by_condition; /* no condition of the query lets them through */
	int empty;        /* nothing in them can match, as lookups have told */
} KafkaPruned;

/* One range of what was read, for EXPLAIN */
typedef struct KafkaToldRange
{
	const char *topic;
	int32 partition;
	KafkaRange range;
} KafkaToldRange;

/* How many of them are told of. */
#define KAFKA_TOLD_RANGES 5

/* What the brokers were asked about the partitions; see answer.c. */
typedef struct KafkaAnswers KafkaAnswers;

typedef struct KafkaReader
{
	/* Unchanging once open */
	MemoryContext owner; /* of the snapshot */
	MemoryContext context;
	MemoryContext scan_context; /* holds the cursor; reset by each start */
	KafkaTableOptions *table;
	KafkaColumnOptions *columns;
	KafkaConnectionOptions *connection;
	MemoryContext client_context; /* holds the client's lease */
	KafkaClient *client;          /* NULL once returned */
	KafkaPurpose purpose;         /* of that client */
	KafkaSnapshotTopic **topics;  /* NULL until the snapshot is taken */
	int ntopics;
	bool reads_once; /* no rescan is likely: needs no client after the end */
	bool may_stop_early; /* a LIMIT may make it read far less */
	bool has_no_limit;   /* kafka_fdw.max_scan_bytes does not apply */
	bool goes_on;        /* this start goes on with what another began */

	/* Of the current start */
	KafkaReadPart *parts;
	int nparts;
	KafkaCursor *cursor; /* NULL when nothing is being read */
	KafkaPruned pruned;
	bool begun; /* questions were sent; see kafka_reader_begin */
	struct KafkaSnapshotAhead *ahead; /* those for the snapshot, or NULL */

	/* Over all starts */
	MemoryContext answers_context;
	KafkaAnswers *answers;       /* in that; NULL while not needed */
	KafkaStopReason stop_reason; /* valid once started */
	int64 lookups;               /* but for those of answers */
	int64 nranges;
	KafkaToldRange told_ranges[KAFKA_TOLD_RANGES]; /* the first of them */
	int64 messages;
	int64 bytes;
	int64 wait_us;
	int64 lost;     /* removed by retention before they could be read */
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

/*
 * The same, but asks no broker yet: the snapshot is taken by the first
 * kafka_reader_start, which knows the bounds by then and can ask for all that
 * it wants at once.
 */
extern KafkaReader *kafka_reader_create(KafkaTableOptions *table,
										KafkaColumnOptions *columns,
										Oid userid, MemoryContext owner);

/*
 * Sends the first questions of a kafka_reader_start with these bounds, and
 * does not wait, so that those of several readers are answered at a time;
 * kafka_reader_ask waits for some of the answers and sends the questions that
 * they lead to.  Both may be left out, and what is begun may be stopped.
 */
extern void kafka_reader_begin(KafkaReader *reader, const KafkaBounds *bounds);
extern void kafka_reader_ask(KafkaReader *reader, const KafkaBounds *bounds);

/* Starts reading all that bounds let through; ends what was being read. */
extern void kafka_reader_start(KafkaReader *reader, const KafkaBounds *bounds);

/*
 * Finds what bounds let through, in reader->parts, and reads nothing yet; ends
 * what was being read.
 */
extern void kafka_reader_resolve(KafkaReader *reader,
								 const KafkaBounds *bounds);

/*
 * Starts reading these ranges of partitions, which lie between their log starts
 * and the snapshot's ends; what parts points to must stay until the end.
 */
extern void kafka_reader_start_parts(KafkaReader *reader,
									 const KafkaReadPart *parts, int nparts);

/* Starts reading the newest count offsets of every partition. */
extern void kafka_reader_start_newest(KafkaReader *reader, int64 count);

/* Where to start in a partition. */
typedef struct KafkaReaderStart
{
	const char *topic;
	int32 partition;
	int64 offset;
} KafkaReaderStart;

/*
 * Starts reading all partitions that the table shows up to the snapshot's
 * ends, each from the start given for it, or from its log start; ends what was
 * being read.  kafka_fdw.max_scan_bytes does not apply.  That no start is past
 * its partition's end or below its log start is the caller's to check: nothing
 * is read of the former, for the latter see kafka_reader_lost.
 *
 * Until the end the reader needs only the context it was opened in, so
 * transactions may begin and end between calls of kafka_reader_next.
 */
extern void kafka_reader_start_from(KafkaReader *reader,
									const KafkaReaderStart *starts,
									int nstarts);

/* The same for a query's scan, to which kafka_fdw.max_scan_bytes applies. */
extern void kafka_reader_start_limited_from(KafkaReader *reader,
											const KafkaReaderStart *starts,
											int nstarts);

/*
 * The position reached in a partition since kafka_reader_start_from: all that
 * is below it has been handed out, or is known not to exist.  When the
 * partition has been read to its end that is the snapshot's end, also past
 * transaction markers and aborted records.  KAFKA_NO_OFFSET for a partition
 * that the table does not show.  Meaningless after kafka_reader_stop, but not
 * after kafka_reader_next has returned false.
 */
extern int64 kafka_reader_position(const KafkaReader *reader,
								   const char *topic, int32 partition);

/* Messages that retention removed before they could be read, so far. */
extern int64 kafka_reader_lost(const KafkaReader *reader);

extern bool kafka_reader_next(KafkaReader *reader, KafkaMessage *message);

/* The same of what was fetched so far; see kafka_cursor_take. */
extern KafkaTake kafka_reader_take(KafkaReader *reader, KafkaMessage *message);

/* Stops reading, so that the statistics are complete; may start again. */
extern void kafka_reader_stop(KafkaReader *reader);

/* How many offsets the ranges of the current start have. */
extern int64 kafka_reader_count_offsets(const KafkaReader *reader);

/* Stops and gives the client back. */
extern void kafka_reader_close(KafkaReader *reader);

/* window.c, ahead.c */

/* Fills reader->parts with the ranges that bounds amount to right now. */
extern void kafka_window_resolve(KafkaReader *reader,
								 const KafkaBounds *bounds);

/*
 * Says which answers about a topic bounds are going to need, as far as that
 * can be told before the snapshot is taken; with bounds NULL, the log starts.
 */
extern void kafka_window_want(KafkaReader *reader, const KafkaBounds *bounds,
							  int topic_index, const KafkaTopic *topic);

/* Asks about the times of these bounds, without waiting, in known topics. */
extern void kafka_window_ask_ahead(KafkaReader *reader,
								   const KafkaBounds *bounds);

/* Sends the questions about settings that these bounds raise. */
extern void kafka_window_request_settings(KafkaReader *reader,
										  const KafkaBounds *bounds,
										  char *const *names, int ntopics);

/* Asks for the log starts of a topic, once, and where they are now. */
extern void kafka_reader_need_starts(KafkaReader *reader,
									 KafkaSnapshotTopic *topic);
extern void kafka_reader_ask_starts(KafkaReader *reader,
									KafkaSnapshotTopic *topic);

/* Made when needed. */
extern KafkaAnswers *kafka_reader_answers(KafkaReader *reader);

/* How many offsets the brokers were asked for, log starts and ends included. */
extern int64 kafka_reader_count_lookups(const KafkaReader *reader);

/* A sentence for EXPLAIN; settings-dependent reasons name the settings. */
extern const char *kafka_stop_reason_text(KafkaStopReason reason);

/* snapshot.c */

/*
 * Fills reader->topics.  bounds is what is going to be read, so that it can be
 * asked for along with the ends; with NULL the log starts are.
 */
extern void kafka_snapshot_open(KafkaReader *reader,
								const KafkaBounds *bounds);

/*
 * What of that can be asked without waiting, in two steps; then it is to be
 * asked for with the same bounds.
 */
extern void kafka_snapshot_begin(KafkaReader *reader,
								 const KafkaBounds *bounds);
extern void kafka_snapshot_ask(KafkaReader *reader, const KafkaBounds *bounds);

/*
 * The same without a reader: the topics, their ends and starts, in an array in
 * the current context; what it points to belongs to the snapshot's owner.
 */
extern KafkaSnapshotTopic **
kafka_snapshot_take(KafkaTableOptions *table,
					KafkaConnectionOptions *connection, KafkaClient *client,
					MemoryContext owner, int *ntopics);

/* answer.c */
extern KafkaAnswers *kafka_answers_create(MemoryContext context);

/*
 * Notes a question, unless it has an answer that does; early_will_do tells
 * whether a "no such record" from before the ends does.  topic must outlive
 * the asking, topic_index is its place in reader->topics.
 */
extern void kafka_answers_want(KafkaAnswers *answers, int topic_index,
							   const char *topic, int32 partition,
							   int64 time_ms, bool early_will_do);

/* Asks what is wanted and waits for the answers; errors are raised. */
extern void kafka_answers_ask(KafkaAnswers *answers, KafkaClient *client);

/*
 * The same in two steps.  Between them nothing can be wanted; then the answers
 * are taken if wanted is set and all of them are there, and an error is none.
 */
extern void kafka_answers_begin(KafkaAnswers *answers, KafkaClient *client);
extern void kafka_answers_finish(KafkaAnswers *answers, KafkaClient *client,
								 bool wanted);

/* What is asked from now on is answered after the ends were. */
extern void kafka_answers_note_ends(KafkaAnswers *answers);

/* The answer to what was wanted and asked. */
extern int64 kafka_answers_get(const KafkaAnswers *answers, int topic_index,
							   int32 partition, int64 time_ms);

/* How many were asked for, and how many are known or being asked for. */
extern int64 kafka_answers_count_asked(const KafkaAnswers *answers);
extern int64 kafka_answers_count(const KafkaAnswers *answers);

/* progress.c */
extern struct KafkaProgress *kafka_progress_create(KafkaReader *reader);
extern void kafka_progress_begin(KafkaReader *reader);
extern void kafka_progress_tick(void *reader);

#endif /* KAFKA_READER_H */
