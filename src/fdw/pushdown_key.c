/*-------------------------------------------------------------------------
 *
 * pushdown_key.c
 *		Where the producers put a key.
 *
 * A key's column holds the record's bytes as they are: of text it is only
 * checked that they are sound in the server's encoding, whichever that is.  So
 * the bytes of a value that equals a key are the bytes that the producer
 * hashed, and nothing is converted here.  (A JSON document's texts are
 * converted from UTF-8, but fields from the key are no keys.)
 *
 * IDENTIFICATION
 *		src/fdw/pushdown_key.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "core/partitioner.h"
#include "fdw/pushdown_node.h"
#include "fmgr.h"

bool
kafka_key_hash_range(int partitioner, Oid type, Datum value, KafkaRange *range)
{
	struct varlena *key;
	uint32_t hash;
	bool is_known;

	if (type != TEXTOID && type != BYTEAOID)
		return false;
	key = PG_DETOAST_DATUM_PACKED(value);
	is_known = kafka_partitioner_hash((KafkaPartitioner) partitioner,
									  VARDATA_ANY(key), VARSIZE_ANY_EXHDR(key),
									  &hash);
	if (is_known)
		*range = (KafkaRange){hash, (int64) hash + 1};
	if ((Pointer) key != DatumGetPointer(value))
		pfree(key);
	return is_known;
}
