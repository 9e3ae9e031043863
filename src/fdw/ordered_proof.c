/*-------------------------------------------------------------------------
 *
 * ordered_proof.c
 *		Makes sure of the ends of ranges before they are read in another order.
 *
 * Where a window of time ends at an offset that a broker named, the record there
 * may have to prove by its own time that nothing of the window comes after it;
 * where it does not, reading goes on (see window.c).  A scan that reads forward
 * finds that out when it is there.  One that begins at the end, or reads windows
 * of offsets, must know it before: so of each such range the last offset is read
 * first, from which the reader goes on by itself where there is no proof.  What
 * it then gives says which end was none.
 *
 * IDENTIFICATION
 *		src/fdw/ordered_proof.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fdw/ordered.h"

/*
 * Ranges that end where those of a partition do that need a proof, one offset
 * long: so short, all that is read but for the record that gives the proof.
 */
static KafkaReadPart *
build_ends(const KafkaReadPart *parts, int nparts, int *nends)
{
	KafkaReadPart *ends = palloc(sizeof(KafkaReadPart) * Max(nparts, 1));

	*nends = 0;
	for (int i = 0; i < nparts; i++)
	{
		const KafkaReadPart *part = &parts[i];
		KafkaReadPart *end = &ends[*nends];

		*end = *part;
		end->nranges = 0;
		end->ranges = palloc(sizeof(KafkaRange) * part->nranges);
		end->proofs_ms = palloc(sizeof(int64) * part->nranges);
		for (int r = 0; r < part->nranges; r++)
		{
			if (part->proofs_ms[r] == 0)
				continue;
			end->ranges[end->nranges].start = part->ranges[r].end - 1;
			end->ranges[end->nranges].end = part->ranges[r].end;
			end->proofs_ms[end->nranges++] = part->proofs_ms[r];
		}
		*nends += end->nranges > 0;
	}
	return ends;
}

/*
 * A message that lies in none of the ends is there because the last end before
 * it was not proved: that range goes on to the partition's end.
 */
static bool
extend_part(KafkaReadPart *part, int64 offset)
{
	for (int r = part->nranges - 1; r >= 0; r--)
	{
		if (part->proofs_ms[r] == 0 || offset < part->ranges[r].end - 1)
			continue;
		if (offset == part->ranges[r].end - 1)
			return false;
		part->ranges[r].end = part->end;
		part->proofs_ms[r] = 0;
		part->nranges = r + 1;
		return true;
	}
	return false;
}

static bool
extend_unproved(KafkaReadPart *parts, int nparts, const KafkaMessage *message)
{
	for (int i = 0; i < nparts; i++)
	{
		if (parts[i].partition == message->partition &&
			strcmp(parts[i].topic, message->topic) == 0)
			return extend_part(&parts[i], message->offset);
	}
	return false;
}

void
kafka_ordered_prove(KafkaReader *reader, KafkaReadPart *parts, int nparts)
{
	bool extended = true;

	while (extended)
	{
		KafkaMessage message;
		int nends;
		KafkaReadPart *ends = build_ends(parts, nparts, &nends);

		if (nends == 0)
			return;
		extended = false;
		kafka_reader_start_parts(reader, ends, nends);
		while (!extended && kafka_reader_next(reader, &message))
			extended = extend_unproved(parts, nparts, &message);
	}
	for (int i = 0; i < nparts; i++)
		memset(parts[i].proofs_ms, 0, sizeof(int64) * parts[i].nranges);
}
