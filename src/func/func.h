/*-------------------------------------------------------------------------
 *
 * func.h
 *		What the functions of schema kafka share: opening a table for a look
 *		into its topics, and its partitions in order.
 *
 * IDENTIFICATION
 *		src/func/func.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef KAFKA_FUNC_H
#define KAFKA_FUNC_H

#include "fdw/reader.h"
#include "fmgr.h"
#include "utils/relcache.h"

/* A partition that the table shows. */
typedef struct KafkaFuncPart
{
	const char *topic;
	int32 partition;
	int64 start; /* log start */
	int64 end;   /* end snapshot, never below start */
} KafkaFuncPart;

typedef struct KafkaFuncTable
{
	MemoryContext context; /* holds all of it, the client's lease too */
	Relation rel;
	KafkaTableOptions *table;
	KafkaColumnOptions *columns;
	KafkaReader *reader;
	KafkaFuncPart *parts; /* by topic (byte order), partition */
	int nparts;
} KafkaFuncTable;

/*
 * Opens a Kafka foreign table for a set-returning function: checks that the
 * current user may SELECT from it, locks it, sets up the function's result
 * (see InitMaterializedSRF for the flags), connects, and asks for the
 * partitions and where they start and end.  Blocks, and can be cancelled.
 *
 * The result lives in a context of its own below the query's, so that an
 * error anywhere gives back the client.
 */
extern KafkaFuncTable *kafka_func_open(FunctionCallInfo fcinfo, Oid relid,
									   bits32 flags);

/* Gives back the client and unlocks the table; func is gone then. */
extern void kafka_func_close(KafkaFuncTable *func);

/* The index in func->parts, or -1.  topic need not be the same pointer. */
extern int kafka_func_find_part(const KafkaFuncTable *func, const char *topic,
								int32 partition);

#endif /* KAFKA_FUNC_H */
