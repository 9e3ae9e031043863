/*-------------------------------------------------------------------------
 *
 * pushdown_zone.c
 *		How far local times of a zone may be from Greenwich near some time.
 *
 * A zone's distance changes at its transitions.  From T on it is d2 in place
 * of d1: local times jump from T + d1 to T + d2, and those between are either
 * skipped or come twice.  Of a skipped one the server makes, by one of the
 * two distances, a point in time that is no more than |d2 - d1| from T.  So a
 * time that is farther from all transitions has one distance, which lies in
 * effect there, and comparing with it is the same on both sides of the zone's
 * map; near a transition both distances are possible.
 *
 * IDENTIFICATION
 *		src/fdw/pushdown_zone.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/int.h"
#include "compat.h"
#include "fdw/pushdown_node.h"
#include "parser/scansup.h"
#include "pgtime.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/timestamp.h"

#define EPOCH_DISTANCE_S \
	((int64) (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * SECS_PER_DAY)

/*
 * No zone is a day or more from Greenwich, so that a transition which matters
 * to a time lies within two days of it, whatever it is counted in.
 */
#define FARTHEST_US USECS_PER_DAY
#define SEARCH_S (2 * SECS_PER_DAY)

/* A zone's change of distance, in microseconds since 2000. */
typedef struct Transition
{
	int64 time_us;
	int64 before_us;
	int64 after_us;
} Transition;

KafkaZone
kafka_zone_of_session(void)
{
	return (KafkaZone){.tz = session_timezone};
}

bool
kafka_zone_resolve(Datum name, KafkaZone *zone)
{
	char zone_name[TZ_STRLEN_MAX + 1];
	char *lower;
	int type;
	int value;

	memset(zone, 0, sizeof(*zone));
	text_to_cstring_buffer(DatumGetTextPP(name), zone_name, sizeof(zone_name));
	lower = downcase_truncate_identifier(zone_name, strlen(zone_name), false);
	kafka_decode_zone_abbreviation(lower, &type, &value, &zone->tz);
	pfree(lower);
	switch (type)
	{
		case TZ:
		case DTZ:
			zone->distance_us = value * USECS_PER_SEC;
			return true;
		case DYNTZ:
			/* its meaning has changed over time, beside its zone's distances */
			zone->is_vague = true;
			return true;
		default:
			zone->tz = pg_tzset(zone_name);
			return zone->tz != NULL;
	}
}

static int64
to_unix_s(int64 time_us)
{
	int64 s = time_us / USECS_PER_SEC;

	return s - (time_us % USECS_PER_SEC < 0) + EPOCH_DISTANCE_S;
}

/*
 * The first transition after *time_s, which becomes its time, if there is one
 * until end_s; *distance_us is what is in effect at *time_s.
 */
static bool
next_transition(const KafkaZone *zone, pg_time_t *time_s, pg_time_t end_s,
				int64 *distance_us, Transition *transition)
{
	long before_s;
	long after_s;
	int before_is_dst;
	int after_is_dst;
	pg_time_t boundary_s;
	int found =
		pg_next_dst_boundary(time_s, &before_s, &before_is_dst, &boundary_s,
							 &after_s, &after_is_dst, zone->tz);

	*distance_us = before_s * USECS_PER_SEC;
	if (found <= 0 || boundary_s > end_s)
		return false;
	*time_s = boundary_s;
	transition->time_us = (boundary_s - EPOCH_DISTANCE_S) * USECS_PER_SEC;
	transition->before_us = before_s * USECS_PER_SEC;
	transition->after_us = after_s * USECS_PER_SEC;
	return true;
}

static void
add_distance(KafkaDistances *distances, int64 distance_us)
{
	distances->min_us = Min(distances->min_us, distance_us);
	distances->max_us = Max(distances->max_us, distance_us);
}

/*
 * Goes through the transitions near a time.  Those that it is past leave the
 * later distance, those that are to come change nothing, and those in whose
 * reach it lies leave both.
 */
static KafkaDistances
find_distances(const KafkaZone *zone, int64 time_us, bool is_local)
{
	KafkaDistances result = {zone->distance_us, zone->distance_us};
	pg_time_t now_s = to_unix_s(time_us) - SEARCH_S;
	pg_time_t end_s = now_s + 2 * SEARCH_S;
	bool is_near = false; /* to a transition before */
	bool is_first = true;
	int64 distance_us;
	Transition next;

	if (zone->is_vague)
		return (KafkaDistances){-FARTHEST_US, FARTHEST_US};
	if (zone->tz == NULL)
		return result;
	for (;;)
	{
		bool found = next_transition(zone, &now_s, end_s, &distance_us, &next);
		int64 reach_start_us;
		int64 reach_end_us;

		if (is_first)
			result = (KafkaDistances){distance_us, distance_us};
		is_first = false;
		if (!found)
			return result;
		if (is_local)
		{
			reach_start_us = next.time_us + Min(next.before_us, next.after_us);
			reach_end_us = next.time_us + Max(next.before_us, next.after_us);
		}
		else
		{
			int64 jump_us = next.after_us - next.before_us;

			reach_start_us = next.time_us - Abs(jump_us);
			reach_end_us = next.time_us + Abs(jump_us);
		}
		if (time_us < reach_start_us)
			continue;
		if (time_us > reach_end_us && !is_near)
			result = (KafkaDistances){next.after_us, next.after_us};
		else
		{
			is_near = true;
			add_distance(&result, next.after_us);
		}
	}
}

KafkaDistances
kafka_zone_near_local(const KafkaZone *zone, int64 local_us)
{
	return find_distances(zone, local_us, true);
}

KafkaDistances
kafka_zone_near_instant(const KafkaZone *zone, int64 instant_us)
{
	return find_distances(zone, instant_us, false);
}

bool
kafka_zone_to_instant(const KafkaZone *zone, int64 local_us, int64 *instant_us)
{
	struct pg_tm tm;
	fsec_t fsec;
	int west_s;

	if (zone->is_vague)
		return false;
	if (zone->tz == NULL)
		return !pg_sub_s64_overflow(local_us, zone->distance_us, instant_us);
	if (timestamp2tm(local_us, NULL, &tm, &fsec, NULL, NULL) != 0)
		return false;
	west_s = DetermineTimeZoneOffset(&tm, zone->tz);
	return tm2timestamp(&tm, fsec, &west_s, instant_us) == 0;
}
