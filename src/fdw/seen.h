/*-------------------------------------------------------------------------
 *
 * seen.h
 *		What this backend has seen of topics: how long they are, and at which
 *		offsets which times lie.
 *
 * The planner must not wait for a broker, but scans and functions have asked
 * brokers for the ends of topics and the offsets of times before, and what
 * they were told is worth more than statistics of last week.  It is a hint
 * and nothing more: no row depends on it.
 *
 * Known per server, user mapping and topic, since who may not read a topic is
 * not to learn its size from a cost.  (The isolation level, which decides
 * where a topic ends for a reader, is the server's.)  Bounded: the topics used
 * last, and of each a few offsets of times.
 *
 * IDENTIFICATION
 *		src/fdw/seen.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef KAFKA_SEEN_H
#define KAFKA_SEEN_H

#include "client/client.h"
#include "fdw/reader.h"
#include "lib/ilist.h"

/* No record before this offset has a time at or after time_ms. */
typedef struct KafkaSeenPoint
{
	int64 time_ms;
	int64 offset;
} KafkaSeenPoint;

typedef struct KafkaSeenPart
{
	int32 partition;
	int npoints;
	int64 start; /* 0 until somebody asked */
	int64 end;
	KafkaSeenPoint *points; /* by time; NULL while there is none */
} KafkaSeenPart;

typedef struct KafkaSeenTopic
{
	dlist_node node;
	MemoryContext context; /* holds it all */
	Oid serverid;
	Oid umid;
	char *name; /* or pattern */
	bool is_pattern;

	/* Of a pattern: the topics that matched it */
	char **matches;
	int nmatches;

	/* Of a topic */
	int64 seen_ms;               /* when the ends were heard of */
	int skew_ms;                 /* the server's broker_clock_skew */
	KafkaTopicSettings settings; /* as heard last */
	double offsets_read;         /* how many a while ago, and ... */
	double messages_read;        /* ... how many messages were there */
	int nparts;
	KafkaSeenPart *parts; /* by ascending partition */
	int max_points;       /* of a partition */
} KafkaSeenTopic;

/*
 * What is known, NULL for nothing; valid until something else is noted.  Makes
 * it one of those used last.
 */
extern const KafkaSeenTopic *
kafka_seen_find(Oid serverid, Oid umid, bool is_pattern, const char *name);

/* The user mapping's OID as in KafkaConnectionOptions, InvalidOid for none. */
extern Oid kafka_seen_find_mapping(Oid serverid, Oid userid);

/*
 * Notes ends, and starts where they are known, of all partitions of a topic;
 * the topics that a pattern matched.
 */
extern void kafka_seen_note_topic(const KafkaConnectionOptions *connection,
								  const KafkaSnapshotTopic *topic);
extern void kafka_seen_note_pattern(const KafkaConnectionOptions *connection,
									const char *pattern, char *const *matches,
									int nmatches);

/* Notes settings; forgets none where they are not known. */
extern void kafka_seen_note_settings(const KafkaConnectionOptions *connection,
									 const char *topic,
									 const KafkaTopicSettings *settings);

/*
 * Notes a broker's answer for a time, KAFKA_NO_OFFSET included, of a topic
 * whose ends were noted before.
 */
extern void kafka_seen_note_time(const KafkaConnectionOptions *connection,
								 const char *topic, int32 partition,
								 int64 time_ms, int64 offset);

/* Notes how many messages there were at how many offsets. */
extern void kafka_seen_note_read(const KafkaConnectionOptions *connection,
								 const char *topic, double offsets,
								 double messages);

/* The share of a topic's offsets at which there are messages, above 0. */
extern double kafka_seen_density(const KafkaSeenTopic *topic);

#endif /* KAFKA_SEEN_H */
