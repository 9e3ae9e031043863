/*-------------------------------------------------------------------------
 *
 * partitioner.c
 *		Where producers put a key.
 *
 * Both hashes are defined over bytes, so that they are the same on machines
 * of either byte order.
 *
 * IDENTIFICATION
 *		src/core/partitioner.c
 *
 *-------------------------------------------------------------------------
 */
#include "partitioner.h"

#define MURMUR2_SEED UINT32_C(0x9747b28c)
#define MURMUR2_FACTOR UINT32_C(0x5bd1e995)

static uint32_t
mix_murmur2(uint32_t word)
{
	word *= MURMUR2_FACTOR;
	word ^= word >> 24;
	return word * MURMUR2_FACTOR;
}

/* Austin Appleby's MurmurHash2 of 32 bits, with the seed that Kafka chose. */
static uint32_t
hash_murmur2(const unsigned char *key, size_t length)
{
	/* a Java array is shorter than 2^31, and so is a key */
	uint32_t hash = MURMUR2_SEED ^ (uint32_t) length;
	size_t i;

	for (i = 0; i + 4 <= length; i += 4)
	{
		uint32_t word = (uint32_t) key[i] | (uint32_t) key[i + 1] << 8 |
						(uint32_t) key[i + 2] << 16 |
						(uint32_t) key[i + 3] << 24;

		hash = hash * MURMUR2_FACTOR ^ mix_murmur2(word);
	}
	if (i < length)
	{
		size_t n;

		for (n = 0; i + n < length; n++)
			hash ^= (uint32_t) key[i + n] << (8 * n);
		hash *= MURMUR2_FACTOR;
	}
	hash ^= hash >> 13;
	hash *= MURMUR2_FACTOR;
	return hash ^ hash >> 15;
}

/* CRC-32 as in IEEE 802.3 and zlib, by half bytes. */
static uint32_t
hash_crc32(const unsigned char *key, size_t length)
{
	/* what a half byte shifted out at the right leaves behind */
	static const uint32_t remainders[16] =
		{UINT32_C(0x00000000), UINT32_C(0x1db71064), UINT32_C(0x3b6e20c8),
		 UINT32_C(0x26d930ac), UINT32_C(0x76dc4190), UINT32_C(0x6b6b51f4),
		 UINT32_C(0x4db26158), UINT32_C(0x5005713c), UINT32_C(0xedb88320),
		 UINT32_C(0xf00f9344), UINT32_C(0xd6d6a3e8), UINT32_C(0xcb61b38c),
		 UINT32_C(0x9b64c2b0), UINT32_C(0x86d3d2d4), UINT32_C(0xa00ae278),
		 UINT32_C(0xbdbdf21c)};
	uint32_t crc = UINT32_C(0xffffffff);
	size_t i;

	for (i = 0; i < length; i++)
	{
		crc ^= key[i];
		crc = crc >> 4 ^ remainders[crc & 15];
		crc = crc >> 4 ^ remainders[crc & 15];
	}
	return crc ^ UINT32_C(0xffffffff);
}

bool
kafka_partitioner_hash(KafkaPartitioner partitioner, const void *key,
					   size_t length, uint32_t *hash)
{
	switch (partitioner)
	{
		case KAFKA_PARTITIONER_MURMUR2:
			/* a Java int is made positive by dropping its sign */
			*hash = hash_murmur2(key, length) & UINT32_C(0x7fffffff);
			return true;
		case KAFKA_PARTITIONER_CRC32:

			/*
			 * librdkafka's default takes an empty key for none and puts it
			 * anywhere; only "consistent" puts it into partition 0.
			 */
			if (length == 0)
				return false;
			*hash = hash_crc32(key, length);
			return true;
		case KAFKA_PARTITIONER_NONE:
			break;
	}
	return false;
}
