/*-------------------------------------------------------------------------
 *
 * session.c
 *		This session's connections and what it runs: kafka.disconnect,
 *		kafka.version.
 *
 * IDENTIFICATION
 *		src/func/session.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/dependency.h"
#include "catalog/pg_extension.h"
#include "catalog/pg_proc.h"
#include "client/client.h"
#include "compat.h"
#include "core/json.h"
#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/rel.h"

KAFKA_SQL_FUNCTION(kafka_disconnect);
KAFKA_SQL_FUNCTION(kafka_version);

Datum
kafka_disconnect(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT32(kafka_client_disconnect_all());
}

/*
 * The version of the extension that a function belongs to, as the catalog has
 * it: that is what ALTER EXTENSION UPDATE changes.  NULL when it belongs to
 * none.
 */
static char *
read_extension_version(Oid function)
{
	Oid extension = getExtensionOfObject(ProcedureRelationId, function);
	Relation catalog = table_open(ExtensionRelationId, AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple tuple;
	char *version = NULL;

	ScanKeyInit(&key, Anum_pg_extension_oid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(extension));
	scan =
		systable_beginscan(catalog, ExtensionOidIndexId, true, NULL, 1, &key);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
	{
		bool isnull;
		Datum datum = heap_getattr(tuple, Anum_pg_extension_extversion,
								   RelationGetDescr(catalog), &isnull);

		if (!isnull)
			version = TextDatumGetCString(datum);
	}
	systable_endscan(scan);
	table_close(catalog, AccessShareLock);
	return version;
}

Datum
kafka_version(PG_FUNCTION_ARGS)
{
	char *version = read_extension_version(fcinfo->flinfo->fn_oid);
	const char *server = GetConfigOption("server_version", false, false);

	/* Packagers put words of their own behind the number. */
	PG_RETURN_TEXT_P(cstring_to_text(
		psprintf("kafka_fdw %s, librdkafka %s, simdjson %s, PostgreSQL %.*s",
				 version ? version : "(unpackaged)",
				 kafka_client_library_version(), kafka_json_library_version(),
				 (int) strcspn(server, " "), server)));
}
