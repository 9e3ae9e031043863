/*
 * hash.c
 *	  Prints what the extension makes of keys (src/core/partitioner.c).
 *
 * Reads a key a line, in hex digits, and prints its hashes by murmur2 and by
 * crc32, "-" where its place is not determined.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "partitioner.h"

static void
print_hash(KafkaPartitioner partitioner, const char *key, size_t length)
{
	uint32_t hash;

	if (kafka_partitioner_hash(partitioner, key, length, &hash))
		printf("%" PRIu32, hash);
	else
		printf("-");
}

int
main(void)
{
	char *line = NULL;
	size_t size = 0;

	while (getline(&line, &size, stdin) > 0)
	{
		size_t length = 0;
		unsigned int byte;

		/* in place: a byte is written where its digits were read */
		for (; sscanf(line + 2 * length, "%2x", &byte) == 1; length++)
			line[length] = (char) byte;
		print_hash(KAFKA_PARTITIONER_MURMUR2, line, length);
		printf(" ");
		print_hash(KAFKA_PARTITIONER_CRC32, line, length);
		printf("\n");
	}
	free(line);
	return 0;
}
