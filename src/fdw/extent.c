/*-------------------------------------------------------------------------
 *
 * extent.c
 *		How many messages of a table lie within bounds; see extent.h.
 *
 * Where a partition's length is known, bounds become ranges of offsets in it:
 * those on offsets as they are, those on times by interpolation.  Let C(t) be
 * the number of the table's messages with times before t.  ANALYZE left the
 * shape of C up to the last time in its sample, H.  After H time went on, and
 * so did the topic: C rises by what has been added since, if that can be told
 * from the ends of partitions, else at the rate of the sample's last tenth.
 * What retention removed since is what C has below the messages there are now.
 *
 * An offset that was looked up is worth more: between two of them C only says
 * how to interpolate, and without ANALYZE that is done linearly.
 *
 * Of topics never seen in this backend there are no ranges, and the shares of
 * partitions, offsets and times are multiplied.
 *
 * IDENTIFICATION
 *		src/fdw/extent.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "compat.h"
#include "core/moment.h"
#include "fdw/extent.h"
#include "fdw/seen.h"
#include "fdw/spread.h"
#include "fdw/window.h"
#include "pgstat.h"
#include "utils/rel.h"
#include "utils/selfuncs.h"
#include "utils/timestamp.h"

/* How many partitions a topic has, as long as nobody has counted them. */
#define DEFAULT_PARTITIONS 4

/* How many topics a table is of at most, for what was seen to be looked at. */
#define MAX_TOPICS 100

/* The end of the sample that tells at what rate the topic went on. */
#define RATE_SHARE 0.1

/* broker_clock_skew, where the server was not looked at */
#define DEFAULT_CLOCK_SKEW_MS 10000

/* Growth that cannot be an error of ANALYZE's. */
#define CERTAIN_GROWTH 1.1

struct KafkaExtent
{
	const KafkaTableOptions *table;
	Oid umid;
	double analyzed; /* messages there were; negative for unknown */
	int64 now_ms;
	KafkaSpread spreads[KAFKA_DIMENSION_COUNT];

	/* The topics as this backend has seen them, for the call at hand */
	int ntopics; /* 0 when not all of them were */
	const KafkaSeenTopic *topics[MAX_TOPICS];
	double seen; /* messages in all of them; negative for unknown */

	/* C(t) */
	bool has_times; /* the rest is valid */
	int64 last_ms;  /* H */
	int64 analyzed_ms;
	double rate;    /* messages in a millisecond after H */
	double removed; /* what C has too much */
};

/* ----------------------------------------------------------------
 * What there is to know
 * ----------------------------------------------------------------
 */

static double
part_messages(const KafkaSeenTopic *topic, const KafkaSeenPart *part)
{
	return (part->end - part->start) * kafka_seen_density(topic);
}

/*
 * Finds the topics in what was seen.  That list is changed by whatever reads a
 * topic, functions that the planner evaluates included, so the pointers are
 * good for one call only.
 */
static void
find_topics(KafkaExtent *extent)
{
	const KafkaTableOptions *table = extent->table;
	char **names = table->topics;
	int nnames = table->ntopics;

	extent->ntopics = 0;
	extent->seen = -1;
	if (table->topic_pattern)
	{
		const KafkaSeenTopic *pattern =
			kafka_seen_find(table->serverid, extent->umid, true,
							table->topic_pattern);

		if (pattern == NULL)
			return;
		names = pattern->matches;
		nnames = pattern->nmatches;
	}
	if (nnames > MAX_TOPICS)
		return;
	for (int i = 0; i < nnames; i++)
	{
		extent->topics[i] =
			kafka_seen_find(table->serverid, extent->umid, false, names[i]);
		if (extent->topics[i] == NULL)
			return;
	}
	extent->ntopics = nnames;
	extent->seen = 0;
	for (int t = 0; t < nnames; t++)
	{
		const KafkaSeenTopic *topic = extent->topics[t];

		for (int i = 0; i < topic->nparts; i++)
		{
			if (kafka_option_has_partition(table, topic->parts[i].partition))
				extent->seen += part_messages(topic, &topic->parts[i]);
		}
	}
}

/*
 * How many messages came since ANALYZE, by how far the longest partition's end
 * is past the largest offset in the sample; negative for unknown.
 */
static double
growth_of_offsets(const KafkaExtent *extent)
{
	const KafkaSpread *offsets = &extent->spreads[KAFKA_DIMENSION_OFFSET];
	const KafkaSeenPart *longest = NULL;
	double length;

	if (!offsets->known)
		return -1;
	for (int t = 0; t < extent->ntopics; t++)
	{
		for (int i = 0; i < extent->topics[t]->nparts; i++)
		{
			const KafkaSeenPart *part = &extent->topics[t]->parts[i];

			if (longest == NULL || part->end > longest->end)
				longest = part;
		}
	}
	if (longest == NULL || longest->end <= longest->start)
		return -1;
	length = (double) longest->end - longest->start;
	return Max((double) longest->end - offsets->greatest - 1, 0.0) / length *
		   extent->seen;
}

/* How many messages came since ANALYZE; negative for unknown. */
static double
find_growth(const KafkaExtent *extent)
{
	double growth;

	if (extent->seen < 0)
		return -1;
	growth = growth_of_offsets(extent);
	if (growth < 0 && extent->seen > extent->analyzed * CERTAIN_GROWTH)
		growth = extent->seen - extent->analyzed;
	return growth;
}

/*
 * Did the topic go on when it was analyzed?  Not if it had been silent for
 * longer than all that it had.
 */
static bool
was_alive(const KafkaExtent *extent)
{
	const KafkaSpread *times = &extent->spreads[KAFKA_DIMENSION_TIME];

	return (double) extent->analyzed_ms - times->greatest <=
		   (double) times->greatest - times->least;
}

/* Prepares C(t). */
static void
find_times(KafkaExtent *extent)
{
	const KafkaSpread *times = &extent->spreads[KAFKA_DIMENSION_TIME];
	double growth = find_growth(extent);
	double passed_ms;

	extent->has_times = times->known && extent->analyzed > 0;
	if (!extent->has_times)
		return;
	extent->last_ms = times->greatest;
	extent->removed = 0;
	passed_ms = (double) extent->now_ms - extent->last_ms;
	if (growth >= 0)
	{
		extent->removed = Max(extent->analyzed + growth - extent->seen, 0.0);
		extent->rate = passed_ms > 0 ? growth / passed_ms : 0;
	}
	else
	{
		int64 from_ms = kafka_spread_quantile(times, 1.0 - RATE_SHARE);
		double span_ms = (double) extent->last_ms - from_ms;

		extent->rate = 0;
		if (span_ms > 0 && was_alive(extent))
			extent->rate = extent->analyzed *
						   (kafka_spread_below(times, extent->last_ms) -
							kafka_spread_below(times, from_ms)) /
						   span_ms;
	}
}

/* Takes what was seen until now; to be called first by what others call. */
static void
refresh(KafkaExtent *extent)
{
	find_topics(extent);
	find_times(extent);
}

/* When a table was analyzed; now where nobody knows. */
static int64
find_analyzed_ms(Relation rel)
{
	PgStat_StatTabEntry *entry =
		pgstat_fetch_stat_tabentry(RelationGetRelid(rel));
	TimestampTz analyzed = entry ? pgstat_last_analyze(entry) : 0;

	if (analyzed == 0)
		analyzed = GetCurrentTimestamp();
	return kafka_moment_range(KAFKA_OP_GE, analyzed).start;
}

KafkaExtent *
kafka_extent_create(Relation rel, const KafkaTableOptions *table,
					const KafkaPushdownColumns *columns, Oid userid)
{
	KafkaExtent *extent = palloc0(sizeof(KafkaExtent));

	extent->table = table;
	extent->umid = kafka_seen_find_mapping(table->serverid, userid);
	extent->analyzed = rel->rd_rel->reltuples;
	extent->now_ms =
		kafka_moment_range(KAFKA_OP_GE, GetCurrentTimestamp()).start;
	extent->analyzed_ms = find_analyzed_ms(rel);
	for (int d = 0; d < KAFKA_DIMENSION_KEY_HASH; d++)
		extent->spreads[d] =
			kafka_spread_read(RelationGetRelid(rel), columns->attnum[d],
							  columns->type[d], Max(extent->analyzed, 0));
	return extent;
}

double
kafka_extent_messages(KafkaExtent *extent)
{
	refresh(extent);
	return extent->seen >= 0 ? extent->seen : extent->analyzed;
}

/* C(t), without what was removed since */
static double
count_before(const KafkaExtent *extent, int64 time_ms)
{
	double count =
		extent->analyzed *
		kafka_spread_below(&extent->spreads[KAFKA_DIMENSION_TIME], time_ms);

	if (time_ms > extent->last_ms && extent->now_ms > extent->last_ms)
		count += extent->rate *
				 ((double) Min(time_ms, extent->now_ms) - extent->last_ms);
	return Max(count - extent->removed, 0.0);
}

/* ----------------------------------------------------------------
 * Topics that were seen
 * ----------------------------------------------------------------
 */

/* A partition of one that was */
typedef struct Place
{
	const KafkaExtent *extent;
	const KafkaSeenTopic *topic;
	const KafkaSeenPart *part;
	double share; /* offsets of this partition, for each of C's messages */
} Place;

/* Between two offsets that were looked up */
static double
interpolate(const Place *place, const KafkaSeenPoint *low,
			const KafkaSeenPoint *high, int64 time_ms)
{
	double share = ((double) time_ms - low->time_ms) /
				   Max((double) high->time_ms - low->time_ms, 1.0);

	if (place->extent->has_times)
	{
		double from = count_before(place->extent, low->time_ms);
		double to = count_before(place->extent, high->time_ms);

		/* Less than a message tells no shape. */
		if (to - from >= 1.0)
			share =
				(count_before(place->extent, time_ms) - from) / (to - from);
	}
	return low->offset + ((double) high->offset - low->offset) * share;
}

/* Before the first that was, or after the last */
static double
extrapolate(const Place *place, const KafkaSeenPoint *point, int64 time_ms)
{
	const KafkaSeenPart *part = place->part;
	const KafkaSeenPoint *first = &part->points[0];
	KafkaSeenPoint end = {.time_ms = place->topic->seen_ms,
						  .offset = part->end};
	double passed_ms;

	if (place->extent->has_times)
		return point->offset + (count_before(place->extent, time_ms) -
								count_before(place->extent, point->time_ms)) *
								   place->share;
	if (time_ms > point->time_ms)
		return end.time_ms > point->time_ms
				   ? interpolate(place, point, &end, Min(time_ms, end.time_ms))
				   : part->end;
	passed_ms = (double) end.time_ms - first->time_ms;
	if (passed_ms <= 0)
		return part->start;
	return first->offset - ((double) end.offset - first->offset) / passed_ms *
							   ((double) first->time_ms - time_ms);
}

/* Where in a partition a time is; NaN where nothing tells. */
static double
find_offset(const Place *place, int64 time_ms)
{
	const KafkaSeenPart *part = place->part;
	int next = 0;
	double offset;

	if (time_ms <= 0)
		return part->start;
	if (time_ms == PG_INT64_MAX)
		return part->end;
	while (next < part->npoints && part->points[next].time_ms < time_ms)
		next++;
	if (next < part->npoints && part->points[next].time_ms == time_ms)
		offset = part->points[next].offset;
	else if (next > 0 && next < part->npoints)
		offset = interpolate(place, &part->points[next - 1],
							 &part->points[next], time_ms);
	else if (part->npoints > 0)
		offset = extrapolate(place, &part->points[next > 0 ? next - 1 : 0],
							 time_ms);
	else if (place->extent->has_times)
		offset =
			part->start + count_before(place->extent, time_ms) * place->share;
	else
		return NAN;
	return Min(Max(offset, (double) part->start), (double) part->end);
}

/* What the planner takes a condition for of which it knows nothing */
static double
default_share(KafkaRange range)
{
	bool has_start = range.start != PG_INT64_MIN;
	bool has_end = range.end != PG_INT64_MAX;

	if (has_start && has_end)
		return DEFAULT_RANGE_INEQ_SEL;
	return has_start || has_end ? DEFAULT_INEQ_SEL : 1.0;
}

/* How far past its end a window is read in a topic; PG_INT64_MAX for to the end. */
static int64
find_slack(const KafkaExtent *extent, const KafkaSeenTopic *topic)
{
	KafkaTopicSettings settings = {0};
	KafkaConnectionOptions connection = {.broker_clock_skew_ms =
											 DEFAULT_CLOCK_SKEW_MS};
	KafkaReader reader = {.table =
							  unconstify(KafkaTableOptions *, extent->table),
						  .connection = &connection};
	KafkaStopReason reason;
	int64 slack_ms;

	if (topic)
	{
		settings = topic->settings;
		connection.broker_clock_skew_ms = topic->skew_ms;
	}
	slack_ms = kafka_window_disorder(&reader, &settings, &reason);
	return slack_ms < 0 ? PG_INT64_MAX : slack_ms;
}

static bool
times_are_looked_up(const KafkaExtent *extent, const KafkaSeenTopic *topic)
{
	int trust = extent->table->trust_time_index;

	if (trust != KAFKA_TRUST_DEFAULT)
		return trust == KAFKA_TRUST_YES;
	return topic == NULL || !topic->settings.known ||
		   !topic->settings.remote_storage;
}

/* The times that are read for the sake of these */
static KafkaRange
widen_times(const KafkaExtent *extent, const KafkaSeenTopic *topic,
			KafkaRange time_ms)
{
	int64 slack_ms = find_slack(extent, topic);

	if (!times_are_looked_up(extent, topic))
		return KAFKA_RANGE_ALL;
	if (time_ms.end != PG_INT64_MAX)
		time_ms.end = slack_ms == PG_INT64_MAX
						  ? PG_INT64_MAX
						  : kafka_window_stop_time(time_ms.end, slack_ms);
	return time_ms;
}

/* How many offsets of a partition a slice has. */
static double
measure_slice(const Place *place, const KafkaSlice *slice, bool to_read)
{
	const KafkaSeenPart *part = place->part;
	KafkaRange time_ms = slice->time_ms;
	KafkaRange offset =
		kafka_range_intersect(slice->offset,
							  (KafkaRange){part->start, part->end});
	double start;
	double end;

	if (kafka_range_is_empty(offset) || kafka_range_is_empty(time_ms))
		return 0;
	if (to_read)
		time_ms = widen_times(place->extent, place->topic, time_ms);
	start = find_offset(place, time_ms.start);
	end = find_offset(place, time_ms.end);
	if (isnan(start) && isnan(end))
		return (offset.end - offset.start) * default_share(time_ms);
	if (isnan(start) || isnan(end))
		return (offset.end - offset.start) * DEFAULT_INEQ_SEL;
	return Max(Min(end, (double) offset.end) -
				   Max(start, (double) offset.start),
			   0.0);
}

static KafkaExtentPart
measure_seen(const KafkaExtent *extent, const KafkaBounds *bounds,
			 bool to_read)
{
	KafkaSlice *slices = palloc(sizeof(KafkaSlice) * KAFKA_BOUNDS_MAX_BOXES);
	KafkaExtentPart result = {0};

	for (int t = 0; t < extent->ntopics; t++)
	{
		const KafkaSeenTopic *topic = extent->topics[t];
		double density = kafka_seen_density(topic);

		for (int i = 0; i < topic->nparts; i++)
		{
			const KafkaSeenPart *part = &topic->parts[i];
			Place place = {.extent = extent, .topic = topic, .part = part};
			double length = (double) part->end - part->start;
			double offsets = 0;
			int nslices;

			if (length <= 0 ||
				!kafka_option_has_partition(extent->table, part->partition))
				continue;
			place.share = length / Max(extent->seen, 1.0);
			nslices = kafka_bounds_slices(bounds, part->partition,
										  topic->nparts, slices);
			for (int s = 0; s < nslices; s++)
				offsets += measure_slice(&place, &slices[s], to_read);
			result.messages += Min(offsets, length) * density;
			result.nparts += nslices > 0 ? 1 : 0;
			result.nparts_read += Min(offsets, 1.0);
		}
	}
	pfree(slices);
	return result;
}

/* ----------------------------------------------------------------
 * Topics that were not
 * ----------------------------------------------------------------
 */

static double
guess_partitions(const KafkaExtent *extent)
{
	double ndistinct = extent->spreads[KAFKA_DIMENSION_PARTITION].ndistinct;

	return ndistinct >= 1 ? ndistinct : DEFAULT_PARTITIONS;
}

/* The share of rows whose value of a column is in a range. */
static double
share_of_range(const KafkaExtent *extent, KafkaDimension dimension,
			   KafkaRange range)
{
	const KafkaSpread *spread = &extent->spreads[dimension];

	if (range.start == PG_INT64_MIN && range.end == PG_INT64_MAX)
		return 1.0;
	if (dimension == KAFKA_DIMENSION_KEY_HASH ||
		(dimension == KAFKA_DIMENSION_PARTITION && !spread->known))
	{
		double width = (double) range.end - (double) range.start;

		return Min(width / guess_partitions(extent), 1.0);
	}
	if (dimension == KAFKA_DIMENSION_TIME && extent->has_times)
		return Min((count_before(extent, range.end) -
					count_before(extent, range.start)) /
					   extent->analyzed,
				   1.0);
	if (spread->known && dimension != KAFKA_DIMENSION_TIME)
		return kafka_spread_below(spread, range.end) -
			   kafka_spread_below(spread, range.start);
	return default_share(range);
}

static KafkaExtentPart
measure_unseen(const KafkaExtent *extent, const KafkaBounds *bounds,
			   bool to_read)
{
	double messages = extent->analyzed;
	double nparts = guess_partitions(extent);
	KafkaExtentPart result = {0};

	for (int b = 0; b < bounds->nboxes; b++)
	{
		KafkaBox box = bounds->boxes[b];
		double share = 1.0;
		double touched = nparts;

		if (to_read)
			box.range[KAFKA_DIMENSION_TIME] =
				widen_times(extent, NULL, box.range[KAFKA_DIMENSION_TIME]);
		for (int d = 0; d < KAFKA_DIMENSION_COUNT; d++)
		{
			double of_range =
				share_of_range(extent, (KafkaDimension) d, box.range[d]);

			share *= of_range;
			if (d == KAFKA_DIMENSION_PARTITION ||
				d == KAFKA_DIMENSION_KEY_HASH)
				touched *= of_range;
		}
		result.messages += share * messages;
		result.nparts += Max(touched, 1.0);
	}
	result.messages = Min(result.messages, messages);
	result.nparts = Min(result.nparts, nparts);
	result.nparts_read = Min(result.nparts, result.messages);
	return result;
}

KafkaExtentPart
kafka_extent_measure(KafkaExtent *extent, const KafkaBounds *bounds,
					 double messages, bool to_read)
{
	refresh(extent);
	if (extent->seen >= 0)
		return measure_seen(extent, bounds, to_read);
	if (extent->analyzed <= 0)
		extent->analyzed = messages;
	return measure_unseen(extent, bounds, to_read);
}

/* ----------------------------------------------------------------
 * Typical values
 * ----------------------------------------------------------------
 */

/* The first and the last time that was looked up in the topics. */
static bool
find_seen_times(const KafkaExtent *extent, int64 *first_ms, int64 *last_ms)
{
	*first_ms = PG_INT64_MAX;
	*last_ms = PG_INT64_MIN;
	for (int t = 0; t < extent->ntopics; t++)
	{
		for (int i = 0; i < extent->topics[t]->nparts; i++)
		{
			const KafkaSeenPart *part = &extent->topics[t]->parts[i];

			if (part->npoints == 0)
				continue;
			*first_ms = Min(*first_ms, part->points[0].time_ms);
			*last_ms = Max(*last_ms, part->points[part->npoints - 1].time_ms);
		}
	}
	return *first_ms <= *last_ms;
}

static int64
round_time(int64 time_ms, int64 span_ms)
{
	static const int64 units_ms[] = {INT64CONST(86400000), 3600000, 60000,
									 1000};

	for (int i = 0; i < (int) lengthof(units_ms); i++)
	{
		if (span_ms >= 2 * units_ms[i])
			return time_ms - time_ms % units_ms[i];
	}
	return time_ms;
}

KafkaTypical
kafka_extent_typical(KafkaExtent *extent)
{
	const KafkaSpread *times = &extent->spreads[KAFKA_DIMENSION_TIME];
	const KafkaSpread *offsets = &extent->spreads[KAFKA_DIMENSION_OFFSET];
	KafkaTypical typical = {.time_ms = extent->now_ms};
	int64 first_ms;
	int64 last_ms;
	double longest = 0;

	refresh(extent);
	if (times->known)
	{
		typical.time_ms = kafka_spread_quantile(times, 0.5);
		typical.span_ms = times->greatest - times->least;
	}
	else if (find_seen_times(extent, &first_ms, &last_ms))
	{
		typical.time_ms = first_ms + (last_ms - first_ms) / 2;
		typical.span_ms = last_ms - first_ms;
	}
	typical.time_ms = round_time(typical.time_ms, typical.span_ms);
	if (offsets->known)
		typical.offset = kafka_spread_quantile(offsets, 0.5);
	for (int t = 0; t < extent->ntopics; t++)
	{
		for (int i = 0; i < extent->topics[t]->nparts; i++)
		{
			const KafkaSeenPart *part = &extent->topics[t]->parts[i];

			if ((double) part->end - part->start <= longest)
				continue;
			longest = (double) part->end - part->start;
			typical.offset = part->start + (part->end - part->start) / 2;
			typical.partition = part->partition;
		}
	}
	return typical;
}
