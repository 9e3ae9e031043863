/*-------------------------------------------------------------------------
 *
 * ordered.c
 *		The aggregates kafka.first and kafka.last.
 *
 * The value of the row with the smallest or largest time.  A NULL time takes
 * no part, a NULL value is a value.  Rows of the same time are ordered by
 * partition and offset where these are given, NULL before all others; rows
 * that are the same in all of it by their arrival.
 *
 * IDENTIFICATION
 *		src/rollup/ordered.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "compat.h"
#include "fmgr.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"

KAFKA_SQL_FUNCTION(kafka_first_add);
KAFKA_SQL_FUNCTION(kafka_last_add);
KAFKA_SQL_FUNCTION(kafka_ordered_result);

/* Where a row stands in the order. */
typedef struct OrderedPlace
{
	TimestampTz time;
	int32 partition;
	int64 offset;
} OrderedPlace;

typedef struct OrderedState
{
	int16 typlen;
	bool typbyval;
	bool has_row; /* the remaining fields are invalid when false */
	OrderedPlace place;
	bool isnull;
	Datum value; /* in the aggregate's context */
} OrderedState;

static int
compare_places(const OrderedPlace *a, const OrderedPlace *b)
{
	if (a->time != b->time)
		return a->time < b->time ? -1 : 1;
	if (a->partition != b->partition)
		return a->partition < b->partition ? -1 : 1;
	if (a->offset != b->offset)
		return a->offset < b->offset ? -1 : 1;
	return 0;
}

static OrderedPlace
get_place(FunctionCallInfo fcinfo)
{
	OrderedPlace place;

	place.time = PG_GETARG_TIMESTAMPTZ(2);
	place.partition =
		PG_NARGS() > 3 && !PG_ARGISNULL(3) ? PG_GETARG_INT32(3) : PG_INT32_MIN;
	place.offset =
		PG_NARGS() > 4 && !PG_ARGISNULL(4) ? PG_GETARG_INT64(4) : PG_INT64_MIN;
	return place;
}

static OrderedState *
make_state(FunctionCallInfo fcinfo, MemoryContext context)
{
	OrderedState *state = MemoryContextAllocZero(context, sizeof(*state));
	Oid type = get_fn_expr_argtype(fcinfo->flinfo, 1);

	if (!OidIsValid(type))
		ereport(ERROR, (errcode(ERRCODE_INDETERMINATE_DATATYPE),
						errmsg("could not determine input data type")));
	get_typlenbyval(type, &state->typlen, &state->typbyval);
	return state;
}

/* Takes the row's value in place of the one held. */
static void
take_value(OrderedState *state, FunctionCallInfo fcinfo, MemoryContext context)
{
	MemoryContext caller;

	if (state->has_row && !state->isnull && !state->typbyval)
		pfree(DatumGetPointer(state->value));
	state->has_row = true;
	state->isnull = PG_ARGISNULL(1);
	if (state->isnull)
		return;
	caller = MemoryContextSwitchTo(context);
	if (state->typlen == -1)
		state->value =
			PointerGetDatum(PG_DETOAST_DATUM_COPY(PG_GETARG_DATUM(1)));
	else
		state->value =
			datumCopy(PG_GETARG_DATUM(1), state->typbyval, state->typlen);
	MemoryContextSwitchTo(caller);
}

/*
 * Adds a row.  sign is -1 for first, 1 for last; of equal rows the first
 * arrival is first, the last one last.
 */
static Datum
add_row(FunctionCallInfo fcinfo, int sign)
{
	MemoryContext context;
	OrderedState *state;
	OrderedPlace place;
	int order;

	if (!AggCheckCallContext(fcinfo, &context))
		/* SQL has no values of type internal: this cannot happen */
		elog(ERROR, "kafka.first or kafka.last called as no aggregate");
	state = PG_ARGISNULL(0) ? make_state(fcinfo, context)
							: (OrderedState *) PG_GETARG_POINTER(0);
	if (PG_ARGISNULL(2))
		PG_RETURN_POINTER(state);
	place = get_place(fcinfo);
	order = state->has_row ? sign * compare_places(&place, &state->place) : 1;
	if (order > 0 || (order == 0 && sign > 0))
	{
		take_value(state, fcinfo, context);
		state->place = place;
	}
	PG_RETURN_POINTER(state);
}

Datum
kafka_first_add(PG_FUNCTION_ARGS)
{
	return add_row(fcinfo, -1);
}

Datum
kafka_last_add(PG_FUNCTION_ARGS)
{
	return add_row(fcinfo, 1);
}

Datum
kafka_ordered_result(PG_FUNCTION_ARGS)
{
	OrderedState *state;

	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	state = (OrderedState *) PG_GETARG_POINTER(0);
	if (!state->has_row || state->isnull)
		PG_RETURN_NULL();
	PG_RETURN_DATUM(state->value);
}
