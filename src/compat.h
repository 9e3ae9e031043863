/*-------------------------------------------------------------------------
 *
 * compat.h
 *		The only file that asks which PostgreSQL this is.
 *
 * IDENTIFICATION
 *		src/compat.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef KAFKA_COMPAT_H
#define KAFKA_COMPAT_H

#if PG_VERSION_NUM < 150000
#error "kafka_fdw needs PostgreSQL 15 or later"
#endif

#endif							/* KAFKA_COMPAT_H */
