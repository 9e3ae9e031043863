/*-------------------------------------------------------------------------
 *
 * group.c
 *		How far a consumer group is: kafka.group_offsets.
 *
 * A group remembers offsets of topics that were deleted since, and of
 * partitions that a recreated topic no longer has.  Asking a broker for their
 * ends would be an error, so what exists is asked for first.
 *
 * IDENTIFICATION
 *		src/func/group.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_foreign_server.h"
#include "client/client.h"
#include "compat.h"
#include "fmgr.h"
#include "foreign/foreign.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

KAFKA_SQL_FUNCTION(kafka_group_offsets);

static int
compare_offsets(const void *a, const void *b)
{
	const KafkaGroupOffset *x = (const KafkaGroupOffset *) a;
	const KafkaGroupOffset *y = (const KafkaGroupOffset *) b;
	int order = strcmp(x->topic, y->topic);

	if (order != 0)
		return order;
	return (x->partition > y->partition) - (x->partition < y->partition);
}

static int
compare_topic_name(const void *key, const void *topic)
{
	return strcmp((const char *) key, ((const KafkaTopic *) topic)->name);
}

static bool
partition_exists(const KafkaTopic *topics, int ntopics,
				 const KafkaGroupOffset *offset)
{
	const KafkaTopic *topic;

	topic = bsearch(offset->topic, topics, ntopics, sizeof(KafkaTopic),
					compare_topic_name);
	if (topic == NULL)
		return false;
	for (int i = 0; i < topic->npartitions; i++)
	{
		if (topic->partitions[i] == offset->partition)
			return true;
	}
	return false;
}

/*
 * Finds where the partitions of the offsets end, KAFKA_NO_OFFSET for those
 * that do not exist; palloc'd, in the same order.
 */
static int64 *
find_ends(KafkaClient *client, const KafkaGroupOffset *offsets, int noffsets)
{
	int64 *ends = palloc(sizeof(int64) * Max(noffsets, 1));
	KafkaLookup *lookups = palloc0(sizeof(KafkaLookup) * Max(noffsets, 1));
	int *place = palloc(sizeof(int) * Max(noffsets, 1));
	int nlookups = 0;
	int ntopics;
	KafkaTopic *topics;

	if (noffsets == 0)
		return ends;
	topics = kafka_client_match_topics(client, ".*", &ntopics);
	for (int i = 0; i < noffsets; i++)
	{
		ends[i] = KAFKA_NO_OFFSET;
		if (!partition_exists(topics, ntopics, &offsets[i]))
			continue;
		lookups[nlookups].topic = offsets[i].topic;
		lookups[nlookups].partition = offsets[i].partition;
		lookups[nlookups].time_ms = KAFKA_LOOKUP_END;
		place[nlookups++] = i;
	}
	kafka_client_lookup(client, lookups, nlookups);
	for (int i = 0; i < nlookups; i++)
		ends[place[i]] = lookups[i].offset;
	return ends;
}

static void
put_offsets(ReturnSetInfo *rsinfo, const KafkaGroupOffset *offsets,
			const int64 *ends, int noffsets)
{
	for (int i = 0; i < noffsets; i++)
	{
		Datum values[5];
		bool nulls[5] = {false, false, false, false, false};

		values[0] = CStringGetTextDatum(offsets[i].topic);
		values[1] = Int32GetDatum(offsets[i].partition);
		values[2] = Int64GetDatum(offsets[i].committed);
		values[3] = Int64GetDatum(ends[i]);
		values[4] = Int64GetDatum(ends[i] - offsets[i].committed);
		nulls[3] = nulls[4] = ends[i] == KAFKA_NO_OFFSET;
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values,
							 nulls);
	}
}

Datum
kafka_group_offsets(PG_FUNCTION_ARGS)
{
	const char *server_name = NameStr(*PG_GETARG_NAME(0));
	char *group = text_to_cstring(PG_GETARG_TEXT_PP(1));
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	Oid serverid = get_foreign_server_oid(server_name, false);
	AclResult result;
	MemoryContext context;
	MemoryContext caller;
	KafkaClient *client;
	KafkaGroupOffset *offsets;
	int64 *ends;
	int noffsets;

	result = object_aclcheck(ForeignServerRelationId, serverid, GetUserId(),
							 ACL_USAGE);
	if (result != ACLCHECK_OK)
		aclcheck_error(result, OBJECT_FOREIGN_SERVER, server_name);
	if (group[0] == '\0')
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("name of a consumer group must not be empty")));

	InitMaterializedSRF(fcinfo, 0);
	context = AllocSetContextCreate(rsinfo->econtext->ecxt_per_query_memory,
									"Kafka function", ALLOCSET_DEFAULT_SIZES);
	caller = MemoryContextSwitchTo(context);
	client = kafka_client_acquire(kafka_option_read_connection(serverid,
															   GetUserId()),
								  KAFKA_FOR_SEEKS);
	offsets = kafka_client_group_offsets(client, group, &noffsets);
	if (noffsets > 0)
		qsort(offsets, noffsets, sizeof(KafkaGroupOffset), compare_offsets);
	ends = find_ends(client, offsets, noffsets);
	put_offsets(rsinfo, offsets, ends, noffsets);
	kafka_client_release(client);
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(context);
	return (Datum) 0;
}
