/*-------------------------------------------------------------------------
 *
 * spread.h
 *		How the values of a column are spread, by what ANALYZE has found.
 *
 * IDENTIFICATION
 *		src/fdw/spread.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef KAFKA_SPREAD_H
#define KAFKA_SPREAD_H

#include "access/attnum.h"
#include "core/bounds.h"

typedef struct KafkaSpread
{
	bool known;       /* the rest is valid */
	double ndistinct; /* 0 for unknown */
	double listed;    /* share of rows with one of the common values ... */
	double others;    /* ... and with other values, which is not NULL */
	int ncommon;
	int64 *common;
	float4 *frequencies;
	int nbounds; /* of the other values' histogram; 0 or at least 2 */
	int64 *bounds;
	int64 least; /* the values there are lie between these */
	int64 greatest;
} KafkaSpread;

/*
 * Reads the statistics of a column of integers or times, which become
 * milliseconds since 1970, by the session's zone where they have none.  type is
 * the column's base type; of others nothing is known.
 */
extern KafkaSpread kafka_spread_read(Oid relid, AttrNumber attnum, Oid type,
									 double tuples);

/* The share of all rows that have a value below this one. */
extern double kafka_spread_below(const KafkaSpread *spread, int64 value);

/* A value that about this share (of those in the histogram) are below. */
extern int64 kafka_spread_quantile(const KafkaSpread *spread, double share);

#endif /* KAFKA_SPREAD_H */
