/*-------------------------------------------------------------------------
 *
 * tail.h
 *		What the files that read the tail of a rollup share; see fdw/tail.h.
 *
 * IDENTIFICATION
 *		src/rollup/tail.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef KAFKA_ROLLUP_TAIL_H
#define KAFKA_ROLLUP_TAIL_H

#include "fdw/tail.h"
#include "rollup/apply.h"
#include "rollup/run.h"

struct KafkaTail
{
	/* Unchanging */
	MemoryContext context;       /* holds all of it */
	MemoryContext start_context; /* holds what belongs to a start */
	Snapshot snapshot;
	KafkaRollup *rollup;
	KafkaRollupReader reader;    /* only what kafka_loss_ functions look at */
	const KafkaPositions *first; /* where reading starts */

	/* Since the last start */
	KafkaPositions *positions; /* reached; newest times of what counted */
	KafkaPosition *position;   /* of the last message; NULL before it */
	TimestampTz now;
	KafkaKeys *keys; /* of messages that counted; NULL where there are none */
};

/* ----------------------------------------------------------------
 * tail_row.c: rows of the extension's tables as a snapshot shows them
 * ----------------------------------------------------------------
 */

/*
 * Reads a rollup by its exact name; NULL where there is none.  A NULL snapshot
 * is one of now.  Only what reading its tail needs is set; owner is InvalidOid
 * where its view is gone.
 */
extern KafkaRollup *kafka_tail_read_rollup(const char *name,
										   Snapshot snapshot);

extern KafkaPositions *kafka_tail_read_positions(int32 rollup_id,
												 Snapshot snapshot);

/* Was a message with this key counted between two times, both included? */
extern bool kafka_tail_has_key(const KafkaTail *tail, const pg_uuid_t *key,
							   TimestampTz start_at, TimestampTz end_at);

/* ----------------------------------------------------------------
 * tail_check.c: which messages count
 * ----------------------------------------------------------------
 */

/* Begins to judge anew; tail->positions are those of the start. */
extern void kafka_tail_begin_checks(KafkaTail *tail);

#endif /* KAFKA_ROLLUP_TAIL_H */
