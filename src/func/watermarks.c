/*-------------------------------------------------------------------------
 *
 * watermarks.c
 *		Where a table's partitions start and end, and where a time lies in
 *		them: kafka.watermarks, kafka_get_watermarks, kafka.offsets_at.
 *
 * A partition ends, for a server whose isolation level is read_committed, at
 * the last stable offset, below which no transaction is open; else at the
 * high watermark, below which every record is replicated.
 *
 * IDENTIFICATION
 *		src/func/watermarks.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "compat.h"
#include "core/moment.h"
#include "funcapi.h"
#include "func/func.h"
#include "utils/timestamp.h"

KAFKA_SQL_FUNCTION(kafka_watermarks);
KAFKA_SQL_FUNCTION(kafka_offsets_at);

Datum
kafka_watermarks(PG_FUNCTION_ARGS)
{
	KafkaFuncTable *func = kafka_func_open(fcinfo, PG_GETARG_OID(0), 0);
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;

	for (int i = 0; i < func->nparts; i++)
	{
		const KafkaFuncPart *part = &func->parts[i];
		Datum values[3];
		bool nulls[3] = {false, false, false};

		values[0] = Int32GetDatum(part->partition);
		values[1] = Int64GetDatum(part->start);
		values[2] = Int64GetDatum(part->end);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values,
							 nulls);
	}
	kafka_func_close(func);
	return (Datum) 0;
}

/*
 * Finds the offset of the time in each partition, KAFKA_NO_OFFSET for none;
 * palloc'd in the current context, in the order of func->parts.
 */
static KafkaLookup *
look_up_time(KafkaFuncTable *func, TimestampTz time)
{
	int64 time_ms = kafka_moment_range(KAFKA_OP_GE, time).start;
	KafkaLookup *lookups = palloc0(sizeof(KafkaLookup) * Max(func->nparts, 1));

	for (int i = 0; i < func->nparts; i++)
	{
		lookups[i].topic = func->parts[i].topic;
		lookups[i].partition = func->parts[i].partition;
		lookups[i].time_ms = time_ms;
		lookups[i].offset = KAFKA_NO_OFFSET;
	}
	if (TIMESTAMP_IS_NOEND(time))
		return lookups;

	/* To the broker a negative time is not a time but a command. */
	if (time_ms >= 0)
		kafka_client_lookup(func->reader->client, lookups, func->nparts);
	else
	{
		for (int i = 0; i < func->nparts; i++)
			lookups[i].offset = func->parts[i].start;
	}
	return lookups;
}

Datum
kafka_offsets_at(PG_FUNCTION_ARGS)
{
	KafkaFuncTable *func = kafka_func_open(fcinfo, PG_GETARG_OID(0), 0);
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	KafkaLookup *lookups = look_up_time(func, PG_GETARG_TIMESTAMPTZ(1));

	for (int i = 0; i < func->nparts; i++)
	{
		Datum values[2];
		bool nulls[2] = {false, false};

		values[0] = Int32GetDatum(lookups[i].partition);
		values[1] = Int64GetDatum(lookups[i].offset);

		/* The broker may have found a record that came after the ends. */
		nulls[1] = lookups[i].offset == KAFKA_NO_OFFSET ||
				   lookups[i].offset >= func->parts[i].end;
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values,
							 nulls);
	}
	kafka_func_close(func);
	return (Datum) 0;
}
