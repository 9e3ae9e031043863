/*-------------------------------------------------------------------------
 *
 * fdw.h
 *		The foreign data wrapper's callbacks, and what the planner leaves for
 *		the executor.
 *
 * IDENTIFICATION
 *		src/fdw/fdw.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef KAFKA_FDW_H
#define KAFKA_FDW_H

#include "client/batch.h"
#include "fdw/decode.h"
#include "fdw/pushdown.h"
#include "fdw/reader.h"
#include "fdw/tail.h"
#include "foreign/fdwapi.h"
#include "nodes/execnodes.h"

/* The members of a plan's fdw_private list. */
typedef enum KafkaScanPrivate
{
	KafkaScanPrivateCondition,    /* List: see pushdown.h */
	KafkaScanPrivateAttnums,      /* IntList: the columns needed, those the
								   * filter needs first */
	KafkaScanPrivateFilterCount,  /* Integer: how many of them the filter needs
								   * before the others are; 0 when all are
								   * decoded at once */
	KafkaScanPrivateHasScanTlist, /* Boolean: the scan tuple has these columns
								   * first, in this order; else the table's */
	KafkaScanPrivateHasLimit,     /* Boolean: a LIMIT may end the scan early */
	KafkaScanPrivateNeedsNoBounds, /* Boolean: for option require_bounds such a
								   * LIMIT is enough; without regard to
								   * kafka_fdw.enable_pushdown */
	KafkaScanPrivateIsDiscreet,    /* Boolean: a security barrier may hide rows
								   * that are decoded, so errors must not tell
								   * what is in them */
	KafkaScanPrivateTail, /* String: the rollup whose tail is read, whose
								   * checks are fdw_exprs then; "" for none */
	KafkaScanPrivateOrder /* IntList: see ordered.h; NIL for no order */
} KafkaScanPrivate;

typedef struct KafkaScanState
{
	/* Unchanging, from the plan */
	Relation rel;
	KafkaTableOptions *table;
	KafkaColumnOptions *columns;
	List *condition;
	List *value_states; /* ExprState of each value in fdw_exprs */
	bool has_limit;
	bool needs_no_bounds;
	List *order; /* see ordered.h; NIL for none */
	ExprContext *econtext;
	const char *tail_of; /* the rollup whose tail is read, NULL for none */

	/* Mutable */
	KafkaReader *reader; /* NULL until the first fetch */
	bool started;        /* the reader reads by current parameters */
	TupleTableSlot *slot;
	int64 starts;       /* how often it was begun */
	int parts_read;     /* partitions started, largest of all starts */
	KafkaPruned pruned; /* by the start that this is of */
	KafkaTail *tail;    /* NULL until it is opened */
	struct KafkaOrderedScan *ordered; /* NULL until opened, and for no order */
	struct KafkaAsync *async; /* see async.c; NULL while rows are waited for */

	/* Only of a scan that reads a batch */
	KafkaBatch *batch; /* NULL for one that reads topics */
	int next;          /* index of the entry to look at */
	int64 put_aside;
	struct KafkaCacheReader *cached; /* see batch_cache.h; NULL for none */
} KafkaScanState;

/* plan.c */
extern void kafkaGetForeignRelSize(PlannerInfo *root, RelOptInfo *baserel,
								   Oid foreigntableid);
extern void kafkaGetForeignPaths(PlannerInfo *root, RelOptInfo *baserel,
								 Oid foreigntableid);
extern ForeignScan *kafkaGetForeignPlan(PlannerInfo *root, RelOptInfo *baserel,
										Oid foreigntableid,
										ForeignPath *best_path, List *tlist,
										List *scan_clauses, Plan *outer_plan);

/* scan.c */
extern void kafkaBeginForeignScan(ForeignScanState *node, int eflags);
extern TupleTableSlot *kafkaIterateForeignScan(ForeignScanState *node);
extern void kafkaReScanForeignScan(ForeignScanState *node);
extern void kafkaEndForeignScan(ForeignScanState *node);

/*
 * Connects, computes the bounds, and sends the first questions to the brokers
 * without waiting for answers; see kafka_reader_begin.
 */
extern void kafka_scan_begin(ForeignScanState *node, KafkaBounds *bounds);

/* Starts reading what the parameters bound now; waits for answers. */
extern void kafka_scan_start(ForeignScanState *node);

/* async.c */
extern bool kafkaIsForeignPathAsyncCapable(ForeignPath *path);
extern void kafkaForeignAsyncRequest(AsyncRequest *areq);
extern void kafkaForeignAsyncConfigureWait(AsyncRequest *areq);
extern void kafkaForeignAsyncNotify(AsyncRequest *areq);

/*
 * Gets the next message of those that are there, for a scan whose Append
 * waits; false at the end, and when there are none yet, which the Append is
 * told.
 */
extern bool kafka_async_next(KafkaScanState *scan, KafkaMessage *message);

/* The scan is to begin again, or not to go on. */
extern void kafka_async_restart(KafkaScanState *scan);

/* batch_scan.c */
extern void kafka_batch_scan_begin(ForeignScanState *node,
								   KafkaScanState *scan);
extern TupleTableSlot *kafka_batch_scan_next(KafkaScanState *scan);
extern void kafka_batch_scan_restart(KafkaScanState *scan);

/* tail_scan.c */
extern void kafka_tail_scan_open(ForeignScanState *node, KafkaScanState *scan,
								 Oid userid);
extern void kafka_tail_scan_start(KafkaScanState *scan);
extern TupleTableSlot *kafka_tail_scan_next(KafkaScanState *scan);

/* analyze.c */
extern bool kafkaAnalyzeForeignTable(Relation rel,
									 AcquireSampleRowsFunc *acquire,
									 BlockNumber *pages);

/* explain.c */
extern void kafkaExplainForeignScan(ForeignScanState *node, ExplainState *es);

/* slot.c */

/*
 * Makes the slot that a scan returns.  descriptor is the scan tuple's, private
 * the plan's; see KafkaScanPrivate.  rejected counts bad messages.  For a scan
 * of a batch every column that the plan needs is decoded when a message is
 * stored, and storing one of which any fails is refused.
 */
extern TupleTableSlot *kafka_slot_create(TupleDesc descriptor,
										 const KafkaScanState *scan,
										 const List *private, int64 *rejected);

/*
 * Stores a message, whose bytes must stay valid until the slot is cleared;
 * false when bad messages are skipped and this is one.
 */
extern bool kafka_slot_store(TupleTableSlot *slot,
							 const KafkaMessage *message);

/*
 * Stores a row that was decoded before: columns[i] is where the plan's column
 * i is among values and isnull, or -1 where it is NULL.  What values point to
 * must stay until the slot is cleared.
 */
extern void kafka_slot_store_values(TupleTableSlot *slot, const Datum *values,
									const bool *isnull, const int *columns);

/*
 * SQLSTATE and text of the fault for which a message was not stored; see
 * kafka_decoder_get_fault.
 */
extern int kafka_slot_get_fault(const TupleTableSlot *slot, const char **text);

/*
 * Which columns of the table can be bounded, and of what type; used when
 * planning and by functions.
 */
extern KafkaPushdownColumns
kafka_pushdown_columns(Index relid, const KafkaTableOptions *table,
					   const KafkaColumnOptions *columns, TupleDesc tupdesc);

#endif /* KAFKA_FDW_H */
