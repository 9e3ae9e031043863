/*-------------------------------------------------------------------------
 *
 * analyze.c
 *		Samples a foreign table's messages for ANALYZE.
 *
 * A topic is too long to be read for its statistics, and there is no reading a
 * message at random: a broker sends whole batches.  So short runs of offsets
 * are read, at nearly the same distance from each other in all partitions.
 * What happened in the first half of the topic is then half of the sample, and
 * a partition counts by its length.
 *
 * Runs are short so that there can be many places: a histogram of times with
 * fewer places than bars would put most of its bars within runs, and leave the
 * gaps between them, which are most of the topic, to few.
 *
 * Places are visited in random order, and in one round at most one place of
 * each partition: whatever ends the sampling early, or makes the runs shorter
 * because messages are large, what was sampled is spread over all of the topic.
 * The sample's rows are bounded by the server's memory_limit, and the bytes
 * read by a multiple of it.  When the rows exceed it, each is thrown away with a
 * probability of one half, and so are those that follow.
 *
 * ANALYZE runs as the table's owner, with the owner's user mapping.
 *
 * IDENTIFICATION
 *		src/fdw/analyze.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "access/htup_details.h"
#include "commands/vacuum.h"
#include "common/pg_prng.h"
#include "fdw/fdw.h"
#include "miscadmin.h"
#include "optimizer/plancat.h"
#include "utils/memutils.h"
#include "utils/rel.h"

/* Offsets read at one place, and places, unless more rows are wanted. */
#define MIN_RUN_OFFSETS 100
#define MAX_PLACES 1000

/* Places at the ends of partitions, beside these */
#define MAX_ENDS 100

/* How much runs are shifted at random, as a share of their distance. */
#define JITTER 0.1
#define GOLDEN_RATIO 0.6180339887498949

/* Bytes of messages that are read, as a multiple of memory_limit */
#define MAX_BYTES_FACTOR 4.0

/* A run of offsets */
typedef struct SamplePlace
{
	const char *topic;
	const KafkaSnapshotPart *part;
	KafkaRange range;
} SamplePlace;

typedef struct Sampler
{
	/* Unchanging */
	Relation rel;
	KafkaReader *reader;
	KafkaDecoder *decoder;
	MemoryContext rows_context; /* ANALYZE's */
	MemoryContext row_context;  /* of one row */
	AttrNumber *attnums;        /* what is decoded */
	int nattnums;
	Datum *values; /* as decoded */
	bool *isnull;
	bool skips_bad; /* bad messages are no rows */
	int64 memory_limit_bytes;
	int64 run_offsets; /* read at one place */

	/* The sample */
	HeapTuple *rows;
	int target;
	int nrows;
	Size rows_bytes;
	int halvings; /* a row is kept with a chance of 1 in 2 to this */

	/* Counted */
	int64 offsets; /* in the runs that were read */
	int64 messages;
	int64 bad;
} Sampler;

/* ----------------------------------------------------------------
 * The rows
 * ----------------------------------------------------------------
 */

/* Throws away each row with a probability of one half. */
static void
halve_rows(Sampler *sampler)
{
	int nkept = 0;

	sampler->rows_bytes = 0;
	for (int i = 0; i < sampler->nrows; i++)
	{
		HeapTuple row = sampler->rows[i];

		if (pg_prng_bool(&pg_global_prng_state))
		{
			heap_freetuple(row);
			continue;
		}
		sampler->rows_bytes += HEAPTUPLESIZE + row->t_len;
		sampler->rows[nkept++] = row;
	}
	sampler->nrows = nkept;
	sampler->halvings++;
}

static bool
row_is_chosen(const Sampler *sampler)
{
	for (int i = 0; i < sampler->halvings; i++)
	{
		if (pg_prng_bool(&pg_global_prng_state))
			return false;
	}
	return true;
}

/* Adds the message's row to the sample, if it is one and its turn. */
static void
sample_message(Sampler *sampler, const KafkaMessage *message)
{
	TupleDesc tupdesc = RelationGetDescr(sampler->rel);
	MemoryContext caller = MemoryContextSwitchTo(sampler->row_context);
	Datum *values = palloc0(sizeof(Datum) * tupdesc->natts);
	bool *isnull = palloc(sizeof(bool) * tupdesc->natts);
	bool good = kafka_decoder_run(sampler->decoder, message, sampler->values,
								  sampler->isnull);

	sampler->messages++;
	if (!good)
		sampler->bad++;
	memset(isnull, true, tupdesc->natts);
	for (int i = 0; i < sampler->nattnums; i++)
	{
		values[sampler->attnums[i] - 1] = sampler->values[i];
		isnull[sampler->attnums[i] - 1] = sampler->isnull[i];
	}
	MemoryContextSwitchTo(sampler->rows_context);
	if ((good || !sampler->skips_bad) && row_is_chosen(sampler))
	{
		HeapTuple row;

		while (sampler->nrows >= sampler->target ||
			   sampler->rows_bytes > sampler->memory_limit_bytes)
			halve_rows(sampler);
		row = heap_form_tuple(tupdesc, values, isnull);
		sampler->rows[sampler->nrows++] = row;
		sampler->rows_bytes += HEAPTUPLESIZE + row->t_len;
	}
	MemoryContextSwitchTo(caller);
	MemoryContextReset(sampler->row_context);
}

/* ----------------------------------------------------------------
 * The places
 * ----------------------------------------------------------------
 */

/* The offsets of a table's partitions, one after the other */
typedef struct SampleLine
{
	SamplePlace *parts; /* whole partitions, none empty */
	int nparts;
	int64 length;
} SampleLine;

static SampleLine
lay_out(KafkaReader *reader)
{
	SampleLine line = {0};
	int total = 0;

	for (int t = 0; t < reader->ntopics; t++)
		total += reader->topics[t]->nparts;
	line.parts = palloc(sizeof(SamplePlace) * Max(total, 1));
	for (int t = 0; t < reader->ntopics; t++)
	{
		KafkaSnapshotTopic *topic = reader->topics[t];

		kafka_reader_need_starts(reader, topic);
		for (int i = 0; i < topic->nparts; i++)
		{
			const KafkaSnapshotPart *part = &topic->parts[i];

			if (part->end <= part->start ||
				!kafka_option_has_partition(reader->table, part->partition))
				continue;
			line.parts[line.nparts].topic = topic->name;
			line.parts[line.nparts].part = part;
			line.parts[line.nparts].range =
				(KafkaRange){part->start, part->end};
			line.nparts++;
			line.length += part->end - part->start;
		}
	}
	return line;
}

/* All partitions in runs of the usual length. */
static SamplePlace *
choose_all(const SampleLine *line, int64 run, int *nplaces)
{
	SamplePlace *places =
		palloc(sizeof(SamplePlace) * (line->length / run + line->nparts + 1));

	*nplaces = 0;
	for (int i = 0; i < line->nparts; i++)
	{
		KafkaRange all = line->parts[i].range;

		for (int64 start = all.start; start < all.end; start += run)
		{
			places[*nplaces] = line->parts[i];
			places[*nplaces].range.start = start;
			places[*nplaces].range.end = Min(start + run, all.end);
			(*nplaces)++;
		}
	}
	return places;
}

/*
 * One offset at either end of the partitions, as far as there is room.  They
 * are taken off the line: no message is to be in the sample twice.
 */
static int
choose_ends(SampleLine *line, SamplePlace *places, int max)
{
	int nplaces = 0;

	for (int i = 0; i < line->nparts && nplaces + 2 <= max; i++)
	{
		KafkaRange *all = &line->parts[i].range;

		places[nplaces] = line->parts[i];
		places[nplaces++].range.end = ++all->start;
		if (all->start == all->end)
			continue;
		places[nplaces] = line->parts[i];
		places[nplaces++].range.start = --all->end;
	}
	return nplaces;
}

/*
 * Runs at nearly the same distance from each other within each partition, and
 * one offset at either end of the partitions, or of the first of them: the
 * least and the greatest times.
 *
 * The partitions' runs are staggered, each partition's from its own start
 * (multiples of the golden ratio lie as evenly as can be), so that they are
 * evenly spread over the times if all partitions go over the same.  Where they
 * came together, the bars of a histogram would be of very different widths in
 * time.  The distance varies a little, for there may be something periodic in
 * the topic.  A partition shorter than the distance has a run as often as its
 * length is a share of it.
 */
static SamplePlace *
choose_places(SampleLine *line, int64 run, int target, int *nplaces)
{
	int max_ends = Min(target / 10, MAX_ENDS);
	int max_runs = Max((target - max_ends) / run, 1);
	double distance = (double) line->length / max_runs;
	double random = pg_prng_double(&pg_global_prng_state);
	SamplePlace *places =
		palloc(sizeof(SamplePlace) * (max_ends + max_runs + line->nparts));
	int nends = choose_ends(line, places, max_ends);
	int n = nends;

	for (int i = 0; i < line->nparts; i++)
	{
		KafkaRange all = line->parts[i].range;
		int64 read_to = all.start;
		double position = distance * fmod(random + i * GOLDEN_RATIO, 1.0);

		for (; position < all.end - all.start; position += distance)
		{
			double shift = JITTER * Max(distance - run, 0) *
						   pg_prng_double(&pg_global_prng_state);
			int64 start = all.start + (int64) (position + shift);

			/*
			 * Not cut off at the partition's end, or that would count less,
			 * but where it would overlap the run before it.
			 */
			start = Max(Min(start, all.end - run), read_to);
			if (start >= all.end)
				break;
			places[n] = line->parts[i];
			places[n].range.start = start;
			places[n].range.end = Min(start + run, all.end);
			read_to = places[n++].range.end;
		}
	}

	/* Staggered, partitions may have had a few more between them. */
	while (n > nends + max_runs)
	{
		int drop =
			(int) pg_prng_uint64_range(&pg_global_prng_state, nends, n - 1);

		places[drop] = places[--n];
	}
	*nplaces = n;
	return places;
}

static void
shuffle_places(SamplePlace *places, int nplaces)
{
	for (int i = nplaces - 1; i > 0; i--)
	{
		int other = (int) pg_prng_uint64_range(&pg_global_prng_state, 0, i);
		SamplePlace place = places[i];

		places[i] = places[other];
		places[other] = place;
	}
}

/* ----------------------------------------------------------------
 * Reading
 * ----------------------------------------------------------------
 */

/* How long runs may be from now on. */
static int64
limit_run(const Sampler *sampler, int places_left)
{
	double mean;
	double left = MAX_BYTES_FACTOR * sampler->memory_limit_bytes -
				  sampler->reader->bytes;

	if (sampler->messages == 0)
		return sampler->run_offsets;
	mean = (double) sampler->reader->bytes / sampler->messages;
	return (
		int64) Max(Min(left / (mean + 1) / places_left, sampler->run_offsets),
				   1);
}

/*
 * Reads the places of one round: the first of each partition that are left.
 * They are taken off the list; returns how many are left.
 */
static int
read_round(Sampler *sampler, SamplePlace *places, int nplaces)
{
	KafkaReadPart *parts = palloc0(sizeof(KafkaReadPart) * nplaces);
	KafkaRange *ranges = palloc(sizeof(KafkaRange) * nplaces);
	int64 run = limit_run(sampler, nplaces);
	int nparts = 0;
	int nleft = 0;
	KafkaMessage message;

	for (int i = 0; i < nplaces; i++)
	{
		SamplePlace *place = &places[i];
		bool is_taken = false;

		for (int p = 0; p < nparts && !is_taken; p++)
			is_taken = parts[p].partition == place->part->partition &&
					   parts[p].topic == place->topic;
		if (is_taken)
		{
			places[nleft++] = *place;
			continue;
		}
		ranges[nparts] = place->range;
		ranges[nparts].end =
			Min(ranges[nparts].end, ranges[nparts].start + run);
		sampler->offsets += ranges[nparts].end - ranges[nparts].start;
		parts[nparts].topic = place->topic;
		parts[nparts].partition = place->part->partition;
		parts[nparts].end = place->part->end;
		parts[nparts].nranges = 1;
		parts[nparts].ranges = &ranges[nparts];
		nparts++;
	}
	kafka_reader_start_parts(sampler->reader, parts, nparts);
	while (kafka_reader_next(sampler->reader, &message))
	{
		vacuum_delay_point();
		sample_message(sampler, &message);
	}
	pfree(ranges);
	pfree(parts);
	return nleft;
}

static Sampler *
create_sampler(Relation rel, HeapTuple *rows, int target)
{
	TupleDesc tupdesc = RelationGetDescr(rel);
	Sampler *sampler = palloc0(sizeof(Sampler));
	KafkaTableOptions *table = kafka_option_read_table(RelationGetRelid(rel));
	KafkaColumnOptions *columns = kafka_option_read_columns(table, tupdesc);

	sampler->rel = rel;
	sampler->rows = rows;
	sampler->target = target;
	sampler->run_offsets = Max(target / MAX_PLACES, MIN_RUN_OFFSETS);
	sampler->row_context =
		AllocSetContextCreate(CurrentMemoryContext, "Kafka sample row",
							  ALLOCSET_DEFAULT_SIZES);
	sampler->attnums = palloc(sizeof(AttrNumber) * Max(tupdesc->natts, 1));
	for (int i = 0; i < tupdesc->natts; i++)
	{
		bool is_junk = columns[i].role == KAFKA_ROLE_JUNK ||
					   columns[i].role == KAFKA_ROLE_JUNK_ERROR;

		/* Where bad messages are errors, nobody sees a junk column's value. */
		if (columns[i].dropped ||
			(is_junk && table->on_error == KAFKA_ON_ERROR_ERROR))
			continue;
		sampler->attnums[sampler->nattnums++] = columns[i].attnum;
	}
	sampler->values = palloc(sizeof(Datum) * Max(tupdesc->natts, 1));
	sampler->isnull = palloc(sizeof(bool) * Max(tupdesc->natts, 1));
	sampler->skips_bad = table->on_error == KAFKA_ON_ERROR_SKIP;

	/*
	 * A query that comes past a bad message needs none of the columns that
	 * fail: so the others count.
	 */
	if (table->on_error == KAFKA_ON_ERROR_ERROR)
		sampler->decoder =
			kafka_decoder_create_collecting(table, columns, tupdesc,
											sampler->attnums,
											sampler->nattnums);
	else
		sampler->decoder =
			kafka_decoder_create(table, columns, tupdesc, sampler->attnums,
								 sampler->nattnums);
	sampler->reader = kafka_reader_open(table, columns, rel->rd_rel->relowner,
										CurrentMemoryContext);
	sampler->reader->has_no_limit = true; /* MAX_BYTES_FACTOR is the limit */
	sampler->memory_limit_bytes =
		sampler->reader->connection->memory_limit_bytes;
	return sampler;
}

/* The number of rows that there are, by the share of offsets with one. */
static double
extrapolate_rows(const Sampler *sampler, int64 length)
{
	int64 counted =
		sampler->messages - (sampler->skips_bad ? sampler->bad : 0);

	if (sampler->offsets == 0)
		return 0;
	return rint((double) length * counted / sampler->offsets);
}

/* AcquireSampleRowsFunc */
static int
acquire_sample(Relation rel, int log_level, HeapTuple *rows, int target,
			   double *total_rows, double *total_dead_rows)
{
	MemoryContext rows_context = CurrentMemoryContext;
	MemoryContext context = AllocSetContextCreate(rows_context, "Kafka sample",
												  ALLOCSET_DEFAULT_SIZES);
	Sampler *sampler;
	SampleLine line;
	SamplePlace *places;
	int nplaces;
	int nrows;

	MemoryContextSwitchTo(context);
	sampler = create_sampler(rel, rows, target);
	sampler->rows_context = rows_context;
	line = lay_out(sampler->reader);
	if (line.length <= target)
		places = choose_all(&line, sampler->run_offsets, &nplaces);
	else
		places = choose_places(&line, sampler->run_offsets, target, &nplaces);
	shuffle_places(places, nplaces);
	while (nplaces > 0)
		nplaces = read_round(sampler, places, nplaces);

	*total_rows = extrapolate_rows(sampler, line.length);
	*total_dead_rows = 0;
	nrows = sampler->nrows;
	ereport(log_level,
			(errmsg("\"%s\": read %lld messages at %lld of %lld offsets, "
					"%lld of them bad; %d rows in sample, "
					"%.0f estimated total rows",
					RelationGetRelationName(rel),
					(long long) sampler->messages,
					(long long) sampler->offsets, (long long) line.length,
					(long long) sampler->bad, nrows, *total_rows)));
	kafka_reader_close(sampler->reader);
	MemoryContextSwitchTo(rows_context);
	MemoryContextDelete(context);
	return nrows;
}

/*
 * A foreign table of a partitioned one, or of an inheritance tree, has a share
 * in their sample as large as its share in the tree's pages.  So it is told
 * how many pages its rows would take.
 */
static BlockNumber
estimate_pages(Relation rel)
{
	KafkaTableOptions *table = kafka_option_read_table(RelationGetRelid(rel));
	KafkaColumnOptions *columns =
		kafka_option_read_columns(table, RelationGetDescr(rel));
	KafkaReader *reader =
		kafka_reader_open(table, columns, rel->rd_rel->relowner,
						  CurrentMemoryContext);
	SampleLine line = lay_out(reader);
	double row_bytes = get_rel_data_width(rel, NULL) + SizeofHeapTupleHeader;
	double pages = ceil(line.length * row_bytes / BLCKSZ);

	kafka_reader_close(reader);
	return (BlockNumber) Min(Max(pages, 1.0), MaxBlockNumber);
}

bool
kafkaAnalyzeForeignTable(Relation rel, AcquireSampleRowsFunc *acquire,
						 BlockNumber *pages)
{
	MemoryContext context =
		AllocSetContextCreate(CurrentMemoryContext, "Kafka analyze",
							  ALLOCSET_DEFAULT_SIZES);
	MemoryContext caller = MemoryContextSwitchTo(context);

	*pages = estimate_pages(rel);
	*acquire = acquire_sample;
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(context);
	return true;
}
