/*-------------------------------------------------------------------------
 *
 * ordered_window.c
 *		Finds windows of time that hold about as many messages as are wanted.
 *
 * What is wanted is the first n in the order of time, and only a window of time
 * can be read without missing any.  How long it must be, a record of each
 * partition tells: the one that lies some n / partitions offsets before the end,
 * or after the start for an ascending order.  The window up to the first of these
 * times holds as many messages of that partition, and about n of all where they
 * are spread evenly.  Where that does not suffice, or a filter drops rows, the
 * next is found by looking twice as far.
 *
 * All of this is guesswork which only decides how long the windows are.  What
 * is in a window is a question of time alone; see ordered_scan.c.
 *
 * IDENTIFICATION
 *		src/fdw/ordered_window.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/int.h"
#include "fdw/ordered.h"
#include "miscadmin.h"

/*
 * Where no partition has a record at the offset looked at, transaction markers
 * or compaction being why, so many offsets from there on are looked at.
 */
#define WIDE_PROBE_OFFSETS 64

/* Further than any partition is long */
#define MAX_DISTANCE (INT64CONST(1) << 60)

typedef enum ProbeResult
{
	PROBE_TIME,     /* there is a time */
	PROBE_NOTHING,  /* no record was where we looked */
	PROBE_EXHAUSTED /* all partitions are shorter than that */
} ProbeResult;

/*
 * The offset that lies distance before, or for an ascending order after, from,
 * counting what is in the partition's ranges; KAFKA_NO_OFFSET past all.
 */
static int64
count_off(const KafkaReadPart *part, int64 from, int64 distance,
		  bool descending)
{
	for (int i = 0; i < part->nranges; i++)
	{
		KafkaRange range =
			part->ranges[descending ? part->nranges - 1 - i : i];
		int64 length;

		if (descending)
			range.end = Min(range.end, from);
		else
			range.start = Max(range.start, from);
		length = range.end - range.start;
		if (length <= 0)
			continue;
		if (descending && distance <= length)
			return range.end - distance;
		if (!descending && distance < length)
			return range.start + distance;
		distance -= length;
	}
	return KAFKA_NO_OFFSET;
}

/* The ranges to look at, width offsets of each partition that is long enough.
 */
static KafkaReadPart *
build_probes(const KafkaTimeProbe *probe, int64 width, int *nprobes)
{
	KafkaReadPart *probes = palloc(sizeof(KafkaReadPart) * probe->nparts);

	*nprobes = 0;
	for (int i = 0; i < probe->nparts; i++)
	{
		const KafkaReadPart *part = &probe->parts[i];
		int64 offset = count_off(part, probe->from[i], probe->distance,
								 probe->descending);
		KafkaReadPart *made = &probes[*nprobes];

		if (offset == KAFKA_NO_OFFSET)
			continue;
		*made = *part;
		made->nranges = 1;
		made->proofs_ms = NULL;
		made->ranges = palloc(sizeof(KafkaRange));
		made->ranges[0].start = offset;
		made->ranges[0].end = Min(offset + width, part->end);
		(*nprobes)++;
	}
	return probes;
}

/* Reads what is at the probes; of each partition the first time counts. */
static bool
read_probes(KafkaTimeProbe *probe, const KafkaReadPart *probes, int nprobes,
			int64 *time_ms)
{
	bool *seen = palloc0(sizeof(bool) * nprobes);
	KafkaMessage message;
	bool any = false;

	kafka_reader_start_parts(probe->reader, probes, nprobes);
	while (kafka_reader_next(probe->reader, &message))
	{
		bool append_time;
		int64 found_ms = kafka_message_timestamp(&message, &append_time);
		int i = 0;

		CHECK_FOR_INTERRUPTS();
		while (i < nprobes && (probes[i].partition != message.partition ||
							   strcmp(probes[i].topic, message.topic) != 0))
			i++;
		if (found_ms == -1 || i == nprobes || seen[i])
			continue;
		seen[i] = true;
		if (!any)
			*time_ms = found_ms;
		*time_ms = probe->descending ? Max(*time_ms, found_ms)
									 : Min(*time_ms, found_ms);
		any = true;
	}
	pfree(seen);
	return any;
}

/* Looks at one record of each partition, at the probe's distance. */
static ProbeResult
look(KafkaTimeProbe *probe, int64 *time_ms)
{
	static const int64 widths[] = {1, WIDE_PROBE_OFFSETS};

	for (int i = 0; i < lengthof(widths); i++)
	{
		int nprobes;
		KafkaReadPart *probes = build_probes(probe, widths[i], &nprobes);

		if (nprobes == 0)
			return PROBE_EXHAUSTED;
		if (read_probes(probe, probes, nprobes, time_ms))
			return PROBE_TIME;
	}
	return PROBE_NOTHING;
}

/* Where all times before an end are wanted, that is where to count from. */
static void
look_up_ends(KafkaTimeProbe *probe, int64 end_ms)
{
	KafkaLookup *lookups = palloc0(sizeof(KafkaLookup) * probe->nparts);

	for (int i = 0; i < probe->nparts; i++)
	{
		lookups[i].topic = probe->parts[i].topic;
		lookups[i].partition = probe->parts[i].partition;
		lookups[i].time_ms = end_ms;
	}
	kafka_client_lookup(probe->reader->client, lookups, probe->nparts);
	for (int i = 0; i < probe->nparts; i++)
	{
		if (lookups[i].offset != KAFKA_NO_OFFSET)
			probe->from[i] = Min(probe->from[i], lookups[i].offset);
	}
	pfree(lookups);
}

KafkaTimeProbe *
kafka_time_probe_create(KafkaReader *reader, const KafkaReadPart *parts,
						int nparts, bool descending, const KafkaBounds *bounds,
						int64 count)
{
	KafkaTimeProbe *probe = palloc0(sizeof(KafkaTimeProbe));
	int64 end_ms = PG_INT64_MIN;

	probe->reader = reader;
	probe->parts = parts;
	probe->nparts = nparts;
	probe->descending = descending;
	probe->from = palloc(sizeof(int64) * Max(nparts, 1));
	for (int i = 0; i < nparts; i++)
		probe->from[i] = descending ? parts[i].ranges[parts[i].nranges - 1].end
									: parts[i].ranges[0].start;

	/*
	 * Where messages are spread evenly, the partition with the time found has
	 * distance messages from there on, and each other one less at the most.
	 */
	probe->distance = (count - 2 + nparts) / nparts + 1;
	probe->growth = probe->distance;
	for (int i = 0; i < bounds->nboxes; i++)
		end_ms = Max(end_ms, bounds->boxes[i].range[KAFKA_DIMENSION_TIME].end);
	if (descending && end_ms > 0 && end_ms < PG_INT64_MAX &&
		reader->table->trust_time_index != KAFKA_TRUST_NO)
		look_up_ends(probe, end_ms);
	return probe;
}

static void
look_further(KafkaTimeProbe *probe)
{
	if (pg_add_s64_overflow(probe->distance, probe->growth,
							&probe->distance) ||
		probe->distance > MAX_DISTANCE)
		probe->distance = MAX_DISTANCE;
	probe->growth = Min(probe->growth * 2, MAX_DISTANCE);
}

KafkaRange
kafka_time_probe_next(KafkaTimeProbe *probe, KafkaRange left)
{
	for (;;)
	{
		int64 time_ms = 0;
		ProbeResult result = look(probe, &time_ms);

		look_further(probe);
		if (result == PROBE_EXHAUSTED)
			return left;
		if (result == PROBE_NOTHING)
			continue;
		if (probe->descending)
		{
			if (time_ms <= left.start)
				return left;
			if (time_ms < left.end)
				return (KafkaRange){time_ms, left.end};
		}
		else
		{
			if (time_ms >= left.end)
				return left;
			if (time_ms > left.start)
				return (KafkaRange){left.start, time_ms};
		}
	}
}

/* Undoes the doubling. */
void
kafka_time_probe_slow_down(KafkaTimeProbe *probe)
{
	int64 last = probe->growth / 2;

	probe->growth = Max(last / 2, 1);
}
