/*-------------------------------------------------------------------------
 *
 * headers.c
 *		The headers of a stored message: kafka.unpack_headers.
 *
 * IDENTIFICATION
 *		src/func/headers.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "client/batch.h"
#include "compat.h"
#include "fdw/record.h"
#include "fmgr.h"

KAFKA_SQL_FUNCTION(kafka_unpack_headers);

/*
 * Headers, packed as batch.h has it, as the jsonb that a foreign table's column
 * with the role headers shows of the same message; NULL is none.  What does
 * not end where it should ends the headers: anybody may call this with
 * anything.
 */
Datum
kafka_unpack_headers(PG_FUNCTION_ARGS)
{
	KafkaBatchEntry entry = {.topic = ""};
	KafkaMessage message = {.topic = "", .entry = &entry};
	Datum headers;
	bool isnull;

	if (!PG_ARGISNULL(0))
	{
		bytea *packed = PG_GETARG_BYTEA_PP(0);

		entry.headers = VARDATA_ANY(packed);
		entry.headers_length = VARSIZE_ANY_EXHDR(packed);
	}
	(void) kafka_record_value(KAFKA_ROLE_HEADERS, JSONBOID, -1, &message, true,
							  &headers, &isnull);
	PG_RETURN_DATUM(headers);
}
