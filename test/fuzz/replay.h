/*-------------------------------------------------------------------------
 *
 * replay.h
 *		The main of a fuzz target that is not built with libFuzzer.
 *
 * A target defines LLVMFuzzerTestOneInput and includes this file.  Built with
 * libFuzzer (and KAFKA_LIBFUZZER defined) it gets that library's main; built
 * without, one that gives it the contents of each file named as argument, so
 * that the corpus is replayed by any compiler.  A violated property aborts,
 * in both.
 *
 * IDENTIFICATION
 *		test/fuzz/replay.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef KAFKA_REPLAY_H
#define KAFKA_REPLAY_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

/* Not assert: these must not go away with NDEBUG. */
#define REQUIRE(condition)                                               \
	do                                                                   \
	{                                                                    \
		if (!(condition))                                                \
		{                                                                \
			fprintf(stderr, "%s:%d: violated: %s\n", __FILE__, __LINE__, \
					#condition);                                         \
			abort();                                                     \
		}                                                                \
	} while (0)

#ifdef __cplusplus
extern "C"
#endif
	int
	LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#ifndef KAFKA_LIBFUZZER

/* In a block of exactly the file's size, for the sanitizer's sake. */
static void
replay_file(const char *path)
{
	FILE *file = fopen(path, "rb");
	uint8_t *data;
	long size;

	if (file == NULL || fseek(file, 0, SEEK_END) != 0 ||
		(size = ftell(file)) < 0)
	{
		perror(path);
		exit(1);
	}
	rewind(file);
	data = (uint8_t *) malloc((size_t) size);
	if (fread(data, 1, (size_t) size, file) != (size_t) size)
	{
		perror(path);
		exit(1);
	}
	fclose(file);
	LLVMFuzzerTestOneInput(data, (size_t) size);
	free(data);
}

int
main(int argc, char **argv)
{
	int i;

	for (i = 1; i < argc; i++)
	{
		/* known even when the next line crashes */
		fprintf(stderr, "%s\n", argv[i]);
		replay_file(argv[i]);
	}
	printf("%d inputs replayed\n", argc - 1);
	return argc > 1 ? 0 : 1;
}

#endif /* KAFKA_LIBFUZZER */

#endif /* KAFKA_REPLAY_H */
