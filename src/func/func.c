/*-------------------------------------------------------------------------
 *
 * func.c
 *		Opens a table for the functions that look into its topics.
 *
 * A function reads a topic with the rights of whoever calls it: who may not
 * SELECT from the foreign table learns nothing of the topic, not even how
 * long it is.  No function here is SECURITY DEFINER.
 *
 * IDENTIFICATION
 *		src/func/func.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/relation.h"
#include "catalog/objectaddress.h"
#include "funcapi.h"
#include "func/func.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"

/* Checks the right first: who lacks it shall not wait for a lock either. */
static Relation
lock_table(Oid relid)
{
	AclResult result = pg_class_aclcheck(relid, GetUserId(), ACL_SELECT);
	Relation rel;

	if (result != ACLCHECK_OK)
		aclcheck_error(result, get_relkind_objtype(get_rel_relkind(relid)),
					   get_rel_name(relid));
	rel = try_relation_open(relid, AccessShareLock);
	if (rel == NULL)
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_TABLE),
						errmsg("relation with OID %u does not exist", relid)));
	return rel;
}

static int
compare_parts(const void *a, const void *b)
{
	const KafkaFuncPart *x = (const KafkaFuncPart *) a;
	const KafkaFuncPart *y = (const KafkaFuncPart *) b;
	int order = strcmp(x->topic, y->topic);

	if (order != 0)
		return order;
	return (x->partition > y->partition) - (x->partition < y->partition);
}

/* Lists the partitions that the table shows, with starts and ends. */
static void
list_parts(KafkaFuncTable *func)
{
	KafkaReader *reader = func->reader;
	int total = 0;

	for (int t = 0; t < reader->ntopics; t++)
		total += reader->topics[t]->nparts;
	func->parts = palloc0(sizeof(KafkaFuncPart) * Max(total, 1));
	for (int t = 0; t < reader->ntopics; t++)
	{
		KafkaSnapshotTopic *topic = reader->topics[t];

		kafka_reader_need_starts(reader, topic);
		for (int i = 0; i < topic->nparts; i++)
		{
			KafkaFuncPart *part = &func->parts[func->nparts];

			if (!kafka_option_has_partition(func->table,
											topic->parts[i].partition))
				continue;
			part->topic = topic->name;
			part->partition = topic->parts[i].partition;
			part->start = topic->parts[i].start;

			/*
			 * The starts are asked for after the ends, and retention may have
			 * moved one past the end seen: then that is now the least end.
			 */
			part->end = Max(topic->parts[i].end, part->start);
			func->nparts++;
		}
	}
	qsort(func->parts, func->nparts, sizeof(KafkaFuncPart), compare_parts);
}

KafkaFuncTable *
kafka_func_open(FunctionCallInfo fcinfo, Oid relid, bits32 flags)
{
	Relation rel = lock_table(relid);
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	MemoryContext context;
	MemoryContext caller;
	KafkaFuncTable *func;

	/* With the lock held, so that the row type is the one of rel. */
	InitMaterializedSRF(fcinfo, flags);
	context = AllocSetContextCreate(rsinfo->econtext->ecxt_per_query_memory,
									"Kafka function", ALLOCSET_DEFAULT_SIZES);
	caller = MemoryContextSwitchTo(context);
	func = palloc0(sizeof(KafkaFuncTable));
	func->context = context;
	func->rel = rel;
	func->table = kafka_option_read_table(relid);
	func->columns =
		kafka_option_read_columns(func->table, RelationGetDescr(rel));
	func->reader =
		kafka_reader_open(func->table, func->columns, GetUserId(), context);
	list_parts(func);
	MemoryContextSwitchTo(caller);
	return func;
}

void
kafka_func_close(KafkaFuncTable *func)
{
	kafka_reader_close(func->reader);
	relation_close(func->rel, AccessShareLock);
	MemoryContextDelete(func->context);
}

int
kafka_func_find_part(const KafkaFuncTable *func, const char *topic,
					 int32 partition)
{
	KafkaFuncPart key = {.topic = topic, .partition = partition};
	KafkaFuncPart *found;

	found = bsearch(&key, func->parts, func->nparts, sizeof(KafkaFuncPart),
					compare_parts);
	return found ? (int) (found - func->parts) : -1;
}
