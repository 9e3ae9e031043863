/*-------------------------------------------------------------------------
 *
 * json_oracle.c
 *		Parses random documents and writes what it found for COPY.
 *
 *		json_oracle documents seed
 *
 * One line of COPY's text format for each document, which json_oracle.sql
 * loads and judges: id, document, status, ask_server, and for each field of
 * fuzz_json_generate.h its kind, text and raw text, as three arrays.  All
 * bytes go as bytea, for many of the documents are no text.  On the way each
 * document also passes the checks of fuzz_json.c, which need no server.
 *
 * IDENTIFICATION
 *		test/fuzz/json_oracle.c
 *
 *-------------------------------------------------------------------------
 */
#include "../../src/core/json.h"
#include "fuzz_json_generate.h"

/* In fuzz_json.c */
extern int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define NCOLUMNS LENGTH_OF(generated_columns)
#define NFIELDS (NCOLUMNS + LENGTH_OF(generated_paths))

static void
write_hex(const char *bytes, size_t length)
{
	static const char digits[] = "0123456789abcdef";
	size_t i;

	for (i = 0; i < length; i++)
	{
		putchar(digits[(unsigned char) bytes[i] >> 4]);
		putchar(digits[(unsigned char) bytes[i] & 15]);
	}
}

/* An element of a bytea array: COPY and the array both take a backslash. */
static void
write_element(int i, const char *bytes, size_t length)
{
	fputs(i == 0 ? "\t{" : ",", stdout);
	if (bytes == NULL)
		fputs("NULL", stdout);
	else
	{
		fputs("\"\\\\\\\\x", stdout);
		write_hex(bytes, length);
		putchar('"');
	}
}

static void
write_line(int id, const Generator *generator, KafkaJsonResult result,
		   const KafkaJsonValue *values)
{
	int i;

	printf("%d\t\\\\x", id);
	write_hex(generator->document, generator->length);
	printf("\t%d\t%c", (int) result.status, result.ask_server ? 't' : 'f');
	if (result.status != KAFKA_JSON_OK)
	{
		fputs("\t\\N\t\\N\t\\N\n", stdout);
		return;
	}
	for (i = 0; i < NFIELDS; i++)
		printf("%s%d", i == 0 ? "\t{" : ",", (int) values[i].kind);
	putchar('}');
	for (i = 0; i < NFIELDS; i++)
		write_element(i, values[i].text, values[i].length);
	putchar('}');
	for (i = 0; i < NFIELDS; i++)
		write_element(i, values[i].raw, values[i].raw_length);
	fputs("}\n", stdout);
}

int
main(int argc, char **argv)
{
	const char *paths[NFIELDS];
	KafkaJsonValue values[NFIELDS];
	KafkaJson *json;
	Generator generator;
	int documents;
	int i;

	if (argc != 3)
	{
		fprintf(stderr, "usage: json_oracle documents seed\n");
		return 2;
	}
	documents = atoi(argv[1]);
	for (i = 0; i < NFIELDS; i++)
		paths[i] = i < NCOLUMNS ? generated_columns[i]
								: generated_paths[i - NCOLUMNS];
	json = kafka_json_create(paths, NFIELDS);
	if (json == NULL ||
		!start_generator(&generator, strtoull(argv[2], NULL, 10)))
	{
		fprintf(stderr, "json_oracle: out of memory\n");
		return 2;
	}
	for (i = 0; i < documents; i++)
	{
		KafkaJsonResult result;

		generate_document(&generator);
		LLVMFuzzerTestOneInput((const uint8_t *) generator.document,
							   generator.length);
		result = kafka_json_parse(json, generator.document, generator.length,
								  values);
		if (result.status == KAFKA_JSON_NO_MEMORY)
		{
			fprintf(stderr, "json_oracle: out of memory\n");
			return 2;
		}
		write_line(i, &generator, result, values);
	}
	kafka_json_destroy(json);
	free(generator.document);
	return fflush(stdout) == 0 && !ferror(stdout) ? 0 : 2;
}
