/*-------------------------------------------------------------------------
 *
 * seen.c
 *		What this backend has seen of topics; see seen.h.
 *
 * A list of topics, the one used last in front, in a context that lives as
 * long as the backend.  Each topic has a context of its own, so that to forget
 * it is to delete that.  A topic is built up completely before it enters the
 * list: an error for want of memory leaves what was known.
 *
 * IDENTIFICATION
 *		src/fdw/seen.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <time.h>

#include "catalog/pg_user_mapping.h"
#include "access/htup_details.h"
#include "fdw/seen.h"
#include "utils/memutils.h"
#include "utils/syscache.h"

/* What is remembered at most; together some 5 MB. */
#define MAX_TOPICS 100
#define MAX_PARTS 20000
#define MAX_POINTS_OF_TOPIC 1024
#define MAX_POINTS_OF_PART 64
#define MIN_POINTS_OF_PART 4

/* What was read long ago counts less than what is read now. */
#define MAX_OFFSETS_READ 1e7

static dlist_head topics = DLIST_STATIC_INIT(topics);
static int ntopics = 0;
static int nparts = 0;
static MemoryContext seen_context = NULL;

static int64
now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return (int64) now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* ----------------------------------------------------------------
 * The list
 * ----------------------------------------------------------------
 */

static KafkaSeenTopic *
find_topic(Oid serverid, Oid umid, bool is_pattern, const char *name)
{
	dlist_iter iter;

	dlist_foreach(iter, &topics)
	{
		KafkaSeenTopic *topic =
			dlist_container(KafkaSeenTopic, node, iter.cur);

		if (topic->serverid != serverid || topic->umid != umid ||
			topic->is_pattern != is_pattern || strcmp(topic->name, name) != 0)
			continue;
		dlist_move_head(&topics, &topic->node);
		return topic;
	}
	return NULL;
}

const KafkaSeenTopic *
kafka_seen_find(Oid serverid, Oid umid, bool is_pattern, const char *name)
{
	return find_topic(serverid, umid, is_pattern, name);
}

Oid
kafka_seen_find_mapping(Oid serverid, Oid userid)
{
	Oid umid =
		GetSysCacheOid2(USERMAPPINGUSERSERVER, Anum_pg_user_mapping_oid,
						ObjectIdGetDatum(userid), ObjectIdGetDatum(serverid));

	if (!OidIsValid(umid))
		umid = GetSysCacheOid2(USERMAPPINGUSERSERVER, Anum_pg_user_mapping_oid,
							   ObjectIdGetDatum(InvalidOid),
							   ObjectIdGetDatum(serverid));
	return umid;
}

static void
forget_topic(KafkaSeenTopic *topic)
{
	dlist_delete(&topic->node);
	ntopics--;
	nparts -= topic->nparts;
	MemoryContextDelete(topic->context);
}

/* Makes a topic that is not in the list yet. */
static KafkaSeenTopic *
make_topic(const KafkaConnectionOptions *connection, bool is_pattern,
		   const char *name)
{
	MemoryContext context;
	KafkaSeenTopic *topic;

	if (seen_context == NULL)
		seen_context =
			AllocSetContextCreate(TopMemoryContext, "Kafka topics seen",
								  ALLOCSET_SMALL_SIZES);
	context = AllocSetContextCreate(seen_context, "Kafka topic seen",
									ALLOCSET_SMALL_SIZES);
	topic = MemoryContextAllocZero(context, sizeof(KafkaSeenTopic));
	topic->context = context;
	topic->serverid = connection->serverid;
	topic->umid = connection->umid;
	topic->is_pattern = is_pattern;
	topic->name = MemoryContextStrdup(context, name);
	topic->skew_ms = connection->broker_clock_skew_ms;
	return topic;
}

/* Puts a topic in front in place of the one known before, if any. */
static void
publish_topic(KafkaSeenTopic *topic, KafkaSeenTopic *before)
{
	if (before)
		forget_topic(before);
	dlist_push_head(&topics, &topic->node);
	ntopics++;
	nparts += topic->nparts;
	while (ntopics > MAX_TOPICS || nparts > MAX_PARTS)
		forget_topic(dlist_tail_element(KafkaSeenTopic, node, &topics));
}

static int
compare_parts(const void *a, const void *b)
{
	int32 x = ((const KafkaSeenPart *) a)->partition;
	int32 y = ((const KafkaSeenPart *) b)->partition;

	return (x > y) - (x < y);
}

static KafkaSeenPart *
find_part(const KafkaSeenTopic *topic, int32 partition)
{
	KafkaSeenPart key = {.partition = partition};

	return bsearch(&key, topic->parts, topic->nparts, sizeof(KafkaSeenPart),
				   compare_parts);
}

/* ----------------------------------------------------------------
 * Noting
 * ----------------------------------------------------------------
 */

static bool
has_same_parts(const KafkaSeenTopic *topic, const KafkaSnapshotTopic *now)
{
	if (topic->nparts != now->nparts)
		return false;
	for (int i = 0; i < now->nparts; i++)
	{
		if (topic->parts[i].partition != now->parts[i].partition)
			return false;
	}
	return true;
}

/*
 * A topic that is shorter than it was is another one of the same name, unless
 * an older snapshot is in use still, which is not worth telling apart.
 */
static void
note_part(KafkaSeenPart *part, const KafkaSnapshotPart *now, bool has_start)
{
	if (now->end < part->end)
	{
		part->npoints = 0;
		part->start = 0;
	}
	part->end = now->end;
	if (has_start)
		part->start = now->start;
	part->start = Min(part->start, part->end);
}

void
kafka_seen_note_topic(const KafkaConnectionOptions *connection,
					  const KafkaSnapshotTopic *now)
{
	KafkaSeenTopic *known =
		find_topic(connection->serverid, connection->umid, false, now->name);
	KafkaSeenTopic *topic = known;

	if (now->nparts > MAX_PARTS)
		return;
	if (known == NULL || !has_same_parts(known, now))
	{
		topic = make_topic(connection, false, now->name);
		topic->nparts = now->nparts;
		topic->parts =
			MemoryContextAllocZero(topic->context, sizeof(KafkaSeenPart) *
													   Max(now->nparts, 1));
		topic->max_points = Min(Max(MAX_POINTS_OF_TOPIC / Max(now->nparts, 1),
									MIN_POINTS_OF_PART),
								MAX_POINTS_OF_PART);
		for (int i = 0; i < now->nparts; i++)
			topic->parts[i].partition = now->parts[i].partition;
		publish_topic(topic, known);
	}
	for (int i = 0; i < now->nparts; i++)
		note_part(&topic->parts[i], &now->parts[i], now->starts_known);
	topic->skew_ms = connection->broker_clock_skew_ms;
	topic->seen_ms = now_ms();
}

void
kafka_seen_note_pattern(const KafkaConnectionOptions *connection,
						const char *pattern, char *const *matches,
						int nmatches)
{
	KafkaSeenTopic *topic = make_topic(connection, true, pattern);

	topic->matches =
		MemoryContextAlloc(topic->context, sizeof(char *) * Max(nmatches, 1));
	for (int i = 0; i < nmatches; i++)
		topic->matches[i] = MemoryContextStrdup(topic->context, matches[i]);
	topic->nmatches = nmatches;
	publish_topic(topic, find_topic(connection->serverid, connection->umid,
									true, pattern));
}

void
kafka_seen_note_settings(const KafkaConnectionOptions *connection,
						 const char *name, const KafkaTopicSettings *settings)
{
	KafkaSeenTopic *topic =
		find_topic(connection->serverid, connection->umid, false, name);

	if (topic && settings->known)
		topic->settings = *settings;
}

/* Makes room by leaving out the point nearest in time to the one before. */
static void
drop_point(KafkaSeenPart *part)
{
	int nearest = 1;

	for (int i = 2; i < part->npoints; i++)
	{
		if (part->points[i].time_ms - part->points[i - 1].time_ms <
			part->points[nearest].time_ms - part->points[nearest - 1].time_ms)
			nearest = i;
	}
	part->npoints--;
	memmove(&part->points[nearest], &part->points[nearest + 1],
			sizeof(KafkaSeenPoint) * (part->npoints - nearest));
}

static void
add_point(KafkaSeenPart *part, int max_points, int64 time_ms, int64 offset)
{
	int at = part->npoints;

	while (at > 0 && part->points[at - 1].time_ms > time_ms)
		at--;
	if (at > 0 && part->points[at - 1].time_ms == time_ms)
	{
		part->points[at - 1].offset = offset;
		return;
	}
	memmove(&part->points[at + 1], &part->points[at],
			sizeof(KafkaSeenPoint) * (part->npoints - at));
	part->points[at].time_ms = time_ms;
	part->points[at].offset = offset;
	part->npoints++;
	if (part->npoints > max_points)
		drop_point(part);
}

void
kafka_seen_note_time(const KafkaConnectionOptions *connection,
					 const char *name, int32 partition, int64 time_ms,
					 int64 offset)
{
	KafkaSeenTopic *topic =
		find_topic(connection->serverid, connection->umid, false, name);
	KafkaSeenPart *part = topic ? find_part(topic, partition) : NULL;

	if (part == NULL)
		return;

	/*
	 * No record so late: so all lies before that time, if it is not one that
	 * is yet to come.
	 */
	if (offset == KAFKA_NO_OFFSET)
	{
		if (time_ms > topic->seen_ms)
			return;
		offset = part->end;
	}
	if (part->points == NULL)
		part->points =
			MemoryContextAlloc(topic->context, sizeof(KafkaSeenPoint) *
												   (topic->max_points + 1));
	add_point(part, topic->max_points, time_ms, offset);
}

void
kafka_seen_note_read(const KafkaConnectionOptions *connection,
					 const char *name, double offsets, double messages)
{
	KafkaSeenTopic *topic =
		find_topic(connection->serverid, connection->umid, false, name);

	if (topic == NULL)
		return;
	topic->offsets_read += offsets;
	topic->messages_read += messages;
	while (topic->offsets_read > MAX_OFFSETS_READ)
	{
		topic->offsets_read /= 2;
		topic->messages_read /= 2;
	}
}

double
kafka_seen_density(const KafkaSeenTopic *topic)
{
	if (topic->offsets_read < 1)
		return 1.0;

	/* As if one message had been found before: it is never none at all. */
	return Min((topic->messages_read + 1) / (topic->offsets_read + 1), 1.0);
}
