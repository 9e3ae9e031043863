/*-------------------------------------------------------------------------
 *
 * spread.c
 *		How the values of a column are spread; see spread.h.
 *
 * The planner's own functions for this take an operator and a constant.  Here
 * one wants the share below a value, of times that ANALYZE may never have
 * seen; so the lists are read from the statistics.
 *
 * IDENTIFICATION
 *		src/fdw/spread.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_statistic.h"
#include "catalog/pg_type.h"
#include "core/moment.h"
#include "fdw/spread.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

static int64
read_value(Oid type, Datum value)
{
	switch (type)
	{
		case INT2OID:
			return DatumGetInt16(value);
		case INT4OID:
			return DatumGetInt32(value);
		case INT8OID:
			return DatumGetInt64(value);
		case TIMESTAMPOID:
			value = DirectFunctionCall1(timestamp_timestamptz, value);
			/* fall through */
		default:
			Assert(type == TIMESTAMPTZOID || type == TIMESTAMPOID);
			return kafka_moment_range(KAFKA_OP_GE, DatumGetTimestampTz(value))
				.start;
	}
}

static bool
can_read(Oid type)
{
	return type == INT2OID || type == INT4OID || type == INT8OID ||
		   type == TIMESTAMPTZOID || type == TIMESTAMPOID;
}

static int64 *
read_values(Oid type, const AttStatsSlot *slot)
{
	int64 *values = palloc(sizeof(int64) * Max(slot->nvalues, 1));

	for (int i = 0; i < slot->nvalues; i++)
		values[i] = read_value(type, slot->values[i]);
	return values;
}

static void
read_common(KafkaSpread *spread, HeapTuple tuple, Oid type)
{
	AttStatsSlot slot;

	if (!get_attstatsslot(&slot, tuple, STATISTIC_KIND_MCV, InvalidOid,
						  ATTSTATSSLOT_VALUES | ATTSTATSSLOT_NUMBERS))
		return;
	spread->ncommon = Min(slot.nvalues, slot.nnumbers);
	spread->common = read_values(type, &slot);
	spread->frequencies = palloc(sizeof(float4) * Max(slot.nnumbers, 1));
	memcpy(spread->frequencies, slot.numbers, sizeof(float4) * slot.nnumbers);
	for (int i = 0; i < spread->ncommon; i++)
		spread->listed += spread->frequencies[i];
	free_attstatsslot(&slot);
}

static void
read_histogram(KafkaSpread *spread, HeapTuple tuple, Oid type)
{
	AttStatsSlot slot;

	if (!get_attstatsslot(&slot, tuple, STATISTIC_KIND_HISTOGRAM, InvalidOid,
						  ATTSTATSSLOT_VALUES))
		return;
	if (slot.nvalues >= 2)
	{
		spread->nbounds = slot.nvalues;
		spread->bounds = read_values(type, &slot);
	}
	free_attstatsslot(&slot);
}

static void
find_limits(KafkaSpread *spread)
{
	spread->least = PG_INT64_MAX;
	spread->greatest = PG_INT64_MIN;
	if (spread->nbounds > 0)
	{
		spread->least = spread->bounds[0];
		spread->greatest = spread->bounds[spread->nbounds - 1];
	}
	for (int i = 0; i < spread->ncommon; i++)
	{
		spread->least = Min(spread->least, spread->common[i]);
		spread->greatest = Max(spread->greatest, spread->common[i]);
	}
}

KafkaSpread
kafka_spread_read(Oid relid, AttrNumber attnum, Oid type, double tuples)
{
	KafkaSpread spread = {0};
	HeapTuple tuple;
	Form_pg_statistic form;

	if (attnum <= 0 || !can_read(type))
		return spread;
	tuple = SearchSysCache3(STATRELATTINH, ObjectIdGetDatum(relid),
							Int16GetDatum(attnum), BoolGetDatum(false));
	if (!HeapTupleIsValid(tuple))
		return spread;
	form = (Form_pg_statistic) GETSTRUCT(tuple);
	spread.ndistinct = form->stadistinct >= 0 ? form->stadistinct
											  : -form->stadistinct * tuples;
	read_common(&spread, tuple, type);
	read_histogram(&spread, tuple, type);
	spread.others = spread.nbounds > 0
						? Max(1.0 - form->stanullfrac - spread.listed, 0.0)
						: 0.0;
	ReleaseSysCache(tuple);
	spread.known = spread.ncommon > 0 || spread.nbounds > 0;
	if (spread.known)
		find_limits(&spread);
	return spread;
}

double
kafka_spread_below(const KafkaSpread *spread, int64 value)
{
	double share = 0;
	int low = 0;
	int high = spread->nbounds - 1;

	for (int i = 0; i < spread->ncommon; i++)
	{
		if (spread->common[i] < value)
			share += spread->frequencies[i];
	}
	if (spread->nbounds == 0 || value <= spread->bounds[0])
		return share;
	if (value > spread->bounds[high])
		return share + spread->others;

	/* Now bounds[low] < value <= bounds[high]. */
	while (high - low > 1)
	{
		int middle = (low + high) / 2;

		if (spread->bounds[middle] < value)
			low = middle;
		else
			high = middle;
	}
	return share + spread->others *
					   (low + ((double) value - spread->bounds[low]) /
								  ((double) spread->bounds[high] -
								   spread->bounds[low])) /
					   (spread->nbounds - 1);
}

int64
kafka_spread_quantile(const KafkaSpread *spread, double share)
{
	if (spread->nbounds > 0)
		return spread->bounds[(int) (share * (spread->nbounds - 1))];
	return spread->least +
		   (int64) (((double) spread->greatest - spread->least) * share);
}
