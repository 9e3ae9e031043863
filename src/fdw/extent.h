/*-------------------------------------------------------------------------
 *
 * extent.h
 *		How many messages of a table lie within bounds, as far as can be told
 *		without asking a broker.
 *
 * Lengths of partitions are those that this backend saw last, else what
 * ANALYZE counted.  Times lie between offsets that were looked up, else as the
 * statistics of the record time's column say, which go on after ANALYZE at the
 * rate that the topic had then.  Where nothing is known the planner's own
 * defaults are used.
 *
 * IDENTIFICATION
 *		src/fdw/extent.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef KAFKA_EXTENT_H
#define KAFKA_EXTENT_H

#include "fdw/pushdown.h"
#include "option.h"
#include "utils/relcache.h"

typedef struct KafkaExtent KafkaExtent;

/* A part of a table. */
typedef struct KafkaExtentPart
{
	double messages;
	double nparts;      /* partitions in which there may be some ... */
	double nparts_read; /* ... and in which there are */
} KafkaExtentPart;

/*
 * Learns what there is to know of a table; palloc'd.  userid is who will read
 * it.  columns and table must stay.
 */
extern KafkaExtent *kafka_extent_create(Relation rel,
										const KafkaTableOptions *table,
										const KafkaPushdownColumns *columns,
										Oid userid);

/* All messages; negative when nothing is known. */
extern double kafka_extent_messages(KafkaExtent *extent);

/*
 * What bounds let through of a table that has so many messages, as
 * kafka_extent_messages or a guess says.  With to_read, all that has to be
 * read for it: past a window's end go messages that come late.
 */
extern KafkaExtentPart kafka_extent_measure(KafkaExtent *extent,
											const KafkaBounds *bounds,
											double messages, bool to_read);

/*
 * Values such as occur, for a value that is not known when planning: a time,
 * rounded so that windows which begin with an hour or a day may begin there,
 * an offset, and a partition's number.  Also how long the times known span.
 */
typedef struct KafkaTypical
{
	int64 time_ms;
	int64 span_ms;
	int64 offset;
	int32 partition;
} KafkaTypical;

extern KafkaTypical kafka_extent_typical(KafkaExtent *extent);

#endif /* KAFKA_EXTENT_H */
