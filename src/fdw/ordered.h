/*-------------------------------------------------------------------------
 *
 * ordered.h
 *		Scans that give their rows in the order of the record time, the offset
 *		or the partition: ordered_plan.c offers them to the planner,
 *		ordered_scan.c reads, ordered_window.c finds windows of time,
 *		ordered_sort.c sorts one.
 *
 * IDENTIFICATION
 *		src/fdw/ordered.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef KAFKA_ORDERED_H
#define KAFKA_ORDERED_H

#include "fdw/fdw.h"
#include "nodes/pathnodes.h"

/* ----------------------------------------------------------------
 * ordered_plan.c
 * ----------------------------------------------------------------
 */

/* The members of KafkaScanPrivateOrder, an IntList; NIL for no order. */
typedef enum KafkaOrderPrivate
{
	KafkaOrderPrivateDimension, /* KafkaDimension, never KEY_HASH */
	KafkaOrderPrivateDescending,
	KafkaOrderPrivateMayLackTimes, /* records without a time come last; else
									* there are none, or none pass */
	KafkaOrderPrivateCount,        /* how many rows are likely to be wanted */
	KafkaOrderPrivateLimitValue, /* values in fdw_exprs of LIMIT and OFFSET, */
	KafkaOrderPrivateOffsetValue /* which tell it better, or -1 */
} KafkaOrderPrivate;

/* Adds the path that gives what the query is ordered by first, if any. */
extern void kafka_ordered_add_path(PlannerInfo *root, RelOptInfo *baserel,
								   Oid foreigntableid);

/*
 * What the path's order is for the executor.  Appends what LIMIT and OFFSET
 * are to *exprs, where only that tells how many rows are wanted.
 */
extern List *kafka_ordered_build(PlannerInfo *root,
								 const ForeignPath *best_path, List **exprs);

/* Could the rows be given in the order that the query wants first? */
extern bool kafka_ordered_is_possible(PlannerInfo *root, RelOptInfo *baserel,
									  Oid foreigntableid);

/* ----------------------------------------------------------------
 * ordered_scan.c
 * ----------------------------------------------------------------
 */
typedef struct KafkaOrderedScan KafkaOrderedScan;

/* Makes the state of a scan with this order, in the current context. */
extern KafkaOrderedScan *kafka_ordered_scan_create(KafkaScanState *scan,
												   List *order);

/* Starts giving what bounds let through; ends what was being read.  Blocks. */
extern void kafka_ordered_scan_start(KafkaOrderedScan *ordered,
									 const KafkaBounds *bounds);

/* How many partitions that concerns. */
extern int kafka_ordered_scan_parts(const KafkaOrderedScan *ordered);

/*
 * The next message, whose bytes are valid until the call after; false at the
 * end.  Blocks, and raises errors, as kafka_reader_next does.
 */
extern bool kafka_ordered_scan_next(KafkaOrderedScan *ordered,
									KafkaMessage *message);

/* Stops reading and frees what was sorted. */
extern void kafka_ordered_scan_stop(KafkaOrderedScan *ordered);

/*
 * A text for EXPLAIN, palloc'd, such as "ts DESC, in windows of time"; NULL
 * for a scan without an order.
 */
extern char *kafka_ordered_describe(const KafkaScanState *scan);

/* ----------------------------------------------------------------
 * ordered_proof.c
 * ----------------------------------------------------------------
 */

/*
 * Asks for the proofs of the parts' ranges, and extends those that have none to
 * the partition's end; then no range needs one.  The reader is started for it.
 * Blocks, and raises the reader's errors.
 */
extern void kafka_ordered_prove(KafkaReader *reader, KafkaReadPart *parts,
								int nparts);

/* ----------------------------------------------------------------
 * ordered_window.c
 * ----------------------------------------------------------------
 */

/*
 * Looks for the next window of time, from the wanted end of what is left, that
 * is likely to hold so many rows as were wanted; doubles what it looks for each
 * time.
 */
typedef struct KafkaTimeProbe
{
	/* Unchanging */
	KafkaReader *reader;
	const KafkaReadPart *parts; /* all that may be read */
	int64 *from;                /* in each, the offset to count from */
	int nparts;
	bool descending;

	/* Mutable */
	int64 distance; /* how many offsets from there to look */
	int64 growth;
} KafkaTimeProbe;

extern KafkaTimeProbe *kafka_time_probe_create(KafkaReader *reader,
											   const KafkaReadPart *parts,
											   int nparts, bool descending,
											   const KafkaBounds *bounds,
											   int64 count);

/* Cuts a window off what is left; maybe all of it.  Blocks. */
extern KafkaRange kafka_time_probe_next(KafkaTimeProbe *probe,
										KafkaRange left);

/* The next window shall be no larger than the last. */
extern void kafka_time_probe_slow_down(KafkaTimeProbe *probe);

/* ----------------------------------------------------------------
 * ordered_sort.c
 * ----------------------------------------------------------------
 */

/*
 * Sorts messages by an integer, in work_kb of memory and beyond that on disk,
 * as a Sort node would.
 */
typedef struct KafkaMessageSort KafkaMessageSort;

/* In the current context; packing messages needs a batch for this table. */
extern KafkaMessageSort *kafka_message_sort_create(Oid relid, bool descending,
												   int work_kb);

/* Begins with none; ends a sort that is under way. */
extern void kafka_message_sort_begin(KafkaMessageSort *sort);
extern void kafka_message_sort_put(KafkaMessageSort *sort, int64 key,
								   const KafkaMessage *message);
extern void kafka_message_sort_perform(KafkaMessageSort *sort);

/* The next in order, valid until the call after; false when there is none. */
extern bool kafka_message_sort_get(KafkaMessageSort *sort,
								   KafkaMessage *message);
extern void kafka_message_sort_end(KafkaMessageSort *sort);

/* What the messages put since the beginning take. */
extern int64 kafka_message_sort_bytes(const KafkaMessageSort *sort);

#endif /* KAFKA_ORDERED_H */
