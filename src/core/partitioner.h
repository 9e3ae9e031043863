/*-------------------------------------------------------------------------
 *
 * partitioner.h
 *		Where producers put a key.
 *
 * Kafka's brokers do not know where a key belongs: each producer chooses the
 * partition, and those that group by key hash its bytes and take the hash
 * modulo the number of partitions.  There are two habits: Apache Kafka's own
 * client uses MurmurHash2, librdkafka and what is built on it CRC-32 unless
 * told otherwise.
 *
 * IDENTIFICATION
 *		src/core/partitioner.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef KAFKA_PARTITIONER_H
#define KAFKA_PARTITIONER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum KafkaPartitioner
{
	KAFKA_PARTITIONER_NONE = 0, /* not known */
	KAFKA_PARTITIONER_MURMUR2,  /* the Java client's default; librdkafka's
								 * murmur2 and murmur2_random */
	KAFKA_PARTITIONER_CRC32     /* librdkafka's consistent and
								 * consistent_random, its default */
} KafkaPartitioner;

/*
 * Computes the hash of a key that is not null; modulo the number of partitions
 * it is the partition.  False when that is not determined: for
 * KAFKA_PARTITIONER_NONE, and for an empty key with KAFKA_PARTITIONER_CRC32.
 */
extern bool kafka_partitioner_hash(KafkaPartitioner partitioner,
								   const void *key, size_t length,
								   uint32_t *hash);

#endif /* KAFKA_PARTITIONER_H */
