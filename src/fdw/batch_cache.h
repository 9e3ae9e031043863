/*-------------------------------------------------------------------------
 *
 * batch_cache.h
 *		Columns of a batch that are decoded once for several scans.
 *
 * IDENTIFICATION
 *		src/fdw/batch_cache.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef KAFKA_BATCH_CACHE_H
#define KAFKA_BATCH_CACHE_H

#include "fdw/fdw.h"
#include "nodes/bitmapset.h"

/* What a scan of a batch gets rows by that were decoded before. */
typedef struct KafkaCacheReader KafkaCacheReader;

/*
 * Says that a scan of the batch is going to come which reads a foreign table,
 * and what columns it will ask for, as far as that is known (attribute numbers;
 * the set may be NULL, and is copied).  Holds until the batch is reset.  Decoded
 * columns are kept where two scans or more of a table are to come; it is of no
 * use to say so later than with the first of them.
 */
extern void kafka_batch_cache_expect(KafkaBatch *batch, Oid relid,
									 const Bitmapset *attnums);

/*
 * For a scan of a batch that begins, whose plan's private list this is; NULL
 * when it has to decode for itself.  The current context is the executor
 * state's, where it lives.
 */
extern KafkaCacheReader *kafka_batch_cache_begin(KafkaScanState *scan,
												 const List *private);

/*
 * Stores the row of an entry in the scan's slot, which is empty; decodes it
 * first when it is the first time.  False when the entry is none for the cache
 * or is bad for this scan, which has to decode it then.
 */
extern bool kafka_batch_cache_store(KafkaCacheReader *reader, int index);

#endif /* KAFKA_BATCH_CACHE_H */
