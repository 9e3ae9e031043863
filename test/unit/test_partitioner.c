/*-------------------------------------------------------------------------
 *
 * test_partitioner.c
 *		Checks the hashes of keys against known ones.
 *
 * Those of MurmurHash2 are what Apache Kafka's client computes, those of
 * CRC-32 what zlib does, which librdkafka uses.  That producers really put
 * keys there is shown by test/t/023_partitioner.pl.
 *
 * IDENTIFICATION
 *		test/unit/test_partitioner.c
 *
 *-------------------------------------------------------------------------
 */
#include <stdlib.h>

#include "partitioner.h"
#include "tap.h"

static const struct
{
	const char *key;
	uint32_t murmur2; /* with its sign */
	uint32_t crc32;
} hashes[] = {
	{"a", 0xa2d0b27c, 0xe8b7be43},
	{"21", 0xc5f2f8ec, 0xfd7746b4},
	{"abc", 0x1c94221b, 0x352441c2},
	{"kafka", 0xd067cf64, 0x5bbc7517},
	{"foobar", 0xd0e47bbe, 0x9ef61f95},
	{"123456789", 0x9362de66, 0xcbf43926},
	{"giberish123456789", 0x8f552b0c, 0x7b3a8e3f},
	{"a-little-bit-long-string", 0xc53b1da0, 0xee71cd62},
	{"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", 0xfc7d49cd,
	 0xe0abb921},
	{"\xc3\xa9"
	 "t\xc3\xa9",
	 0x82c25499, 0x44d16cd4},
	{"\xe6\x97\xa5\xe6\x9c\xac", 0xd63a78f3, 0xc7b7cdcc},
};

static void
test_known_hashes(void)
{
	int nhashes = sizeof(hashes) / sizeof(hashes[0]);
	int i;

	for (i = 0; i < nhashes; i++)
	{
		const char *key = hashes[i].key;
		uint32_t hash = 0;

		ok(kafka_partitioner_hash(KAFKA_PARTITIONER_MURMUR2, key, strlen(key),
								  &hash),
		   "murmur2 has a place for \"%s\"", key);
		is_int(hash, hashes[i].murmur2 & 0x7fffffff, "murmur2 of \"%s\"", key);
		ok(kafka_partitioner_hash(KAFKA_PARTITIONER_CRC32, key, strlen(key),
								  &hash),
		   "crc32 has a place for \"%s\"", key);
		is_int(hash, hashes[i].crc32, "crc32 of \"%s\"", key);
	}
}

/* Zero bytes count, and bytes above 127 are not negative numbers. */
static void
test_bytes(void)
{
	static const unsigned char key[] = {0xff, 0x80, 0x00, 0xfe, 0x81, 0x00};
	uint32_t hash = 0;

	kafka_partitioner_hash(KAFKA_PARTITIONER_MURMUR2, key, sizeof(key), &hash);
	is_int(hash, 0xa9c8292c & 0x7fffffff, "murmur2 of six bytes");
	kafka_partitioner_hash(KAFKA_PARTITIONER_MURMUR2, key, 3, &hash);
	is_int(hash, 0xdb39f32a & 0x7fffffff, "murmur2 of three bytes");
	kafka_partitioner_hash(KAFKA_PARTITIONER_CRC32, key, sizeof(key), &hash);
	is_int(hash, 0x79224d2d, "crc32 of six bytes");
	kafka_partitioner_hash(KAFKA_PARTITIONER_CRC32, key, 3, &hash);
	is_int(hash, 0x7a5a75b4, "crc32 of three bytes");
}

/* A key's address makes no difference. */
static void
test_unaligned(void)
{
	char buffer[64];
	int failures = 0;
	size_t length;
	size_t shift;
	uint32_t first = 0;
	uint32_t hash = 0;

	for (length = 1; length <= 40; length++)
	{
		for (shift = 0; shift < 8; shift++)
		{
			size_t i;

			for (i = 0; i < length; i++)
				buffer[shift + i] = (char) (i * 37 + 200);
			kafka_partitioner_hash(KAFKA_PARTITIONER_MURMUR2, buffer + shift,
								   length, &hash);
			if (shift == 0)
				first = hash;
			failures += hash != first;
		}
	}
	is_int(failures, 0, "murmur2 of unaligned keys");
}

static void
test_no_place(void)
{
	uint32_t hash = 0;

	ok(!kafka_partitioner_hash(KAFKA_PARTITIONER_NONE, "a", 1, &hash),
	   "nowhere without a partitioner");
	ok(!kafka_partitioner_hash(KAFKA_PARTITIONER_CRC32, "", 0, &hash),
	   "crc32 has no place for an empty key");
	ok(kafka_partitioner_hash(KAFKA_PARTITIONER_MURMUR2, "", 0, &hash),
	   "murmur2 has one");
	is_int(hash, 0x106e08d9, "murmur2 of an empty key");
}

int
main(void)
{
	test_known_hashes();
	test_bytes();
	test_unaligned();
	test_no_place();
	return done_testing();
}
