/*-------------------------------------------------------------------------
 *
 * plan_bounds.c
 *		What clauses bound, when planning.
 *
 * The bounds of a scan are computed when it starts.  To tell what it will
 * read, they are computed here as well, by the same code, from the values
 * that the planner knows or can estimate: constants, parameters of a custom
 * plan, now().
 *
 * For others, columns of an outer relation for one, values are made up such as
 * occur in the topic.  What matters is that the same expression gets the same
 * value everywhere: the window "ts >= o.t AND ts < o.t + '10 s'" is 10 s long,
 * wherever it lies.  Nothing is evaluated with made-up values but adding a
 * constant, lest an expression fail that the query never computes so.
 *
 * A clause with a value that neither is known nor can be made up is left to
 * the planner's own estimates.
 *
 * IDENTIFICATION
 *		src/fdw/plan_bounds.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/sysattr.h"
#include "catalog/pg_type.h"
#include "compat.h"
#include "core/moment.h"
#include "fdw/plan.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "optimizer/restrictinfo.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/lsyscache.h"
#include "utils/multirangetypes.h"
#include "utils/rangetypes.h"
#include "utils/timestamp.h"
#include "utils/typcache.h"

/*
 * How far apart two different times are made up, as a share of the times that
 * there are: a window between two parameters is what the planner takes such a
 * pair for.
 */
#define SPACING_SHARE 0.005

/* Larger sums would overflow, and mean nothing. */
#define MAX_SHIFT_US (INT64CONST(100) * 366 * USECS_PER_DAY)
#define MAX_SHIFT (INT64CONST(1) << 60)

/* Computing more boxes than this takes longer than planning should. */
#define MAX_PRODUCT 1024

#define MADE_UP_KEY "key"
#define MADE_UP_UNIT "hour"
#define MADE_UP_ZONE "UTC"

/* Of an array; the planner takes it for as many. */
#define MADE_UP_ELEMENTS 10

/* In a range of offsets, and between the elements of an array of them */
#define MADE_UP_OFFSETS 1000

typedef struct BoundsMaker
{
	PlannerInfo *root;
	const KafkaPlanState *state;
	Index relid;
	KafkaTypical typical;
	List *atoms; /* expressions whose values are made up, so far */
	bool made_up;

	/* What is being looked at: a clause, and the number of a value in it */
	int dimensions;
	List *condition;
	int value;
} BoundsMaker;

static bool find_value(BoundsMaker *maker, Node *estimate, Datum *value,
					   bool *isnull);

/* Sets of the dimensions that a clause is about */
#define DIMENSION_BIT(d) (1 << (d))
#define EXACT_DIMENSIONS                        \
	(DIMENSION_BIT(KAFKA_DIMENSION_PARTITION) | \
	 DIMENSION_BIT(KAFKA_DIMENSION_OFFSET) |    \
	 DIMENSION_BIT(KAFKA_DIMENSION_TIME))
#define OTHER_COLUMN DIMENSION_BIT(KAFKA_DIMENSION_COUNT)

/*
 * Which of the bounded columns the clause is about; OTHER_COLUMN is among them
 * if it uses any other column of the table.
 */
static int
find_dimensions(const BoundsMaker *maker, Node *clause)
{
	Bitmapset *attrs = NULL;
	int member = -1;
	int dimensions = 0;

	pull_varattnos(clause, maker->relid, &attrs);
	while ((member = bms_next_member(attrs, member)) >= 0)
	{
		AttrNumber attnum = member + FirstLowInvalidHeapAttributeNumber;
		int found = OTHER_COLUMN;

		for (int d = 0; d < KAFKA_DIMENSION_COUNT; d++)
		{
			if (attnum > 0 && maker->state->columns.attnum[d] == attnum)
				found = DIMENSION_BIT(d);
		}
		dimensions |= found;
	}
	return dimensions;
}

/* ----------------------------------------------------------------
 * Values
 * ----------------------------------------------------------------
 */

static bool
read_shift(const Const *constant, int64 *shift)
{
	const Interval *interval;
	double sum;

	if (constant->constisnull)
		return false;
	switch (constant->consttype)
	{
		case INT2OID:
			*shift = DatumGetInt16(constant->constvalue);
			return true;
		case INT4OID:
			*shift = DatumGetInt32(constant->constvalue);
			return true;
		case INT8OID:
			*shift = DatumGetInt64(constant->constvalue);
			return *shift > -MAX_SHIFT && *shift < MAX_SHIFT;
		case INTERVALOID:
			interval = DatumGetIntervalP(constant->constvalue);
			sum = (double) interval->time +
				  ((double) interval->month * DAYS_PER_MONTH + interval->day) *
					  USECS_PER_DAY;
			*shift = (int64) Max(Min(sum, 9e18), -9e18);
			return *shift > -MAX_SHIFT_US && *shift < MAX_SHIFT_US;
		default:
			return false;
	}
}

/* Takes "atom + constant" and "atom - constant" apart. */
static Node *
split_shift(Node *expr, int64 *shift)
{
	OpExpr *sum = (OpExpr *) expr;
	char *name;
	Node *left;
	Node *right;
	int64 by;
	bool is_minus;

	*shift = 0;
	while (IsA(expr, RelabelType))
		expr = (Node *) ((RelabelType *) expr)->arg;
	if (!IsA(expr, OpExpr) ||
		list_length((sum = (OpExpr *) expr)->args) != 2 ||
		sum->opno >= FirstNormalObjectId)
		return expr;
	name = get_opname(sum->opno);
	is_minus = name != NULL && strcmp(name, "-") == 0;
	if (name == NULL || (!is_minus && strcmp(name, "+") != 0))
		return expr;
	left = linitial(sum->args);
	right = lsecond(sum->args);
	if (IsA(left, Const) && !is_minus)
	{
		Node *swap = left;

		left = right;
		right = swap;
	}
	if (!IsA(right, Const) || !read_shift((Const *) right, &by))
		return expr;
	left = split_shift(left, shift);
	*shift += is_minus ? -by : by;
	return left;
}

/* Of expressions made up so far, the number of this one; added if need be. */
static int
find_atom(BoundsMaker *maker, Node *expr)
{
	ListCell *lc;

	foreach(lc, maker->atoms)
	{
		if (equal(lfirst(lc), expr))
			return foreach_current_index(lc);
	}
	maker->atoms = lappend(maker->atoms, expr);
	return list_length(maker->atoms) - 1;
}

/* Makes up an integer, which is an offset or a partition or else unknown. */
static bool
make_up_integer(const BoundsMaker *maker, Oid type, int64 shift, Datum *value)
{
	int64 number;

	if (maker->dimensions == DIMENSION_BIT(KAFKA_DIMENSION_PARTITION))
		number = maker->typical.partition + shift;
	else if (maker->dimensions == DIMENSION_BIT(KAFKA_DIMENSION_OFFSET))
		number = maker->typical.offset + shift;
	else
		return false;
	if (type == INT8OID)
		*value = Int64GetDatum(number);
	else if (type == INT4OID)
		*value = Int32GetDatum((int32) Min(number, PG_INT32_MAX));
	else
		*value = Int16GetDatum((int16) Min(number, PG_INT16_MAX));
	return true;
}

/* An hour is a stride, a distance and a zone. */
static Datum
make_up_interval(int64 shift_us)
{
	Interval *interval = palloc0(sizeof(Interval));

	interval->time = USECS_PER_HOUR + shift_us;
	return IntervalPGetDatum(interval);
}

/* A text is a key, the unit of a date_trunc, or else a zone. */
static const char *
make_up_text(const BoundsMaker *maker)
{
	if (maker->dimensions == DIMENSION_BIT(KAFKA_DIMENSION_KEY_HASH))
		return MADE_UP_KEY;
	if (kafka_pushdown_is_unit(maker->condition, maker->value))
		return MADE_UP_UNIT;
	return MADE_UP_ZONE;
}

/*
 * Makes up a value of a type, for the atom of this number and a constant added
 * to it; false when there is none for it.
 */
static bool
make_up_scalar(const BoundsMaker *maker, Oid type, int atom, int64 shift,
			   Datum *value)
{
	int64 time_ms = maker->typical.time_ms +
					(int64) (maker->typical.span_ms * SPACING_SHARE) * atom;
	int64 time_us;

	if (!kafka_moment_from_kafka(time_ms, &time_us))
		return false;
	switch (type)
	{
		case TIMESTAMPTZOID:
			*value = TimestampTzGetDatum(time_us + shift);
			return true;
		case TIMESTAMPOID:
			*value = DirectFunctionCall1(timestamptz_timestamp,
										 TimestampTzGetDatum(time_us + shift));
			return true;
		case DATEOID:
			*value = DirectFunctionCall1(timestamptz_date,
										 TimestampTzGetDatum(time_us));
			return shift == 0;
		case INTERVALOID:
			*value = make_up_interval(shift);
			return true;
		case FLOAT8OID:
			*value = Float8GetDatum(time_ms / 1000.0);
			return shift == 0;
		case NUMERICOID:
			*value = DirectFunctionCall1(int8_numeric,
										 Int64GetDatum(time_ms / 1000));
			return shift == 0;
		case INT2OID:
		case INT4OID:
		case INT8OID:
			return make_up_integer(maker, type, shift, value);
		case TEXTOID:
		case VARCHAROID:
		case BYTEAOID:
			*value = CStringGetTextDatum(make_up_text(maker));
			return true;
		default:
			return false;
	}
}

/* A range, or a multirange of one, from the atom to the next one. */
static bool
make_up_range(const BoundsMaker *maker, Oid type, int atom, Datum *value)
{
	bool is_multirange = type_is_multirange(type);
	Oid range_type = is_multirange ? get_multirange_range(type) : type;
	TypeCacheEntry *cache =
		lookup_type_cache(range_type, TYPECACHE_RANGE_INFO);
	Oid element = cache->rngelemtype->type_id;
	RangeBound lower = {.inclusive = true, .lower = true};
	RangeBound upper = {.inclusive = true};
	int64 width =
		element == INT4OID || element == INT8OID ? MADE_UP_OFFSETS - 1 : 0;
	RangeType *range;

	if (get_typtype(element) != TYPTYPE_BASE ||
		!make_up_scalar(maker, element, atom, 0, &lower.val) ||
		!make_up_scalar(maker, element, atom + 1, width, &upper.val))
		return false;
	range = kafka_make_range(cache, &lower, &upper);
	if (is_multirange)
		*value =
			MultirangeTypePGetDatum(make_multirange(type, cache, 1, &range));
	else
		*value = RangeTypePGetDatum(range);
	return true;
}

static Datum
build_array(Datum *elements, int nelements, Oid type)
{
	int16 length;
	bool by_value;
	char align;

	get_typlenbyvalalign(type, &length, &by_value, &align);
	return PointerGetDatum(
		construct_array(elements, nelements, type, length, by_value, align));
}

/* As many elements as the planner takes an array for that it does not know. */
static bool
make_up_array(const BoundsMaker *maker, Oid type, int atom, Datum *value)
{
	int64 distance = type == INT8OID ? MADE_UP_OFFSETS : 0;
	Datum elements[MADE_UP_ELEMENTS];

	for (int i = 0; i < MADE_UP_ELEMENTS; i++)
	{
		if (!make_up_scalar(maker, type, atom + i, i * distance, &elements[i]))
			return false;
	}
	*value = build_array(elements, MADE_UP_ELEMENTS, type);
	return true;
}

static bool
make_up_value(BoundsMaker *maker, Node *estimate, Datum *value)
{
	int64 shift;
	int atom = find_atom(maker, split_shift(estimate, &shift));
	Oid type = getBaseType(exprType(estimate));
	Oid element = get_element_type(type);

	maker->made_up = true;
	if (OidIsValid(element))
		return make_up_array(maker, getBaseType(element), atom, value);
	if (type_is_range(type) || type_is_multirange(type))
		return make_up_range(maker, type, atom, value);
	return make_up_scalar(maker, type, atom, shift, value);
}

/* ARRAY[...] of values of which some are not known */
static bool
find_array(BoundsMaker *maker, const ArrayExpr *array, Datum *value)
{
	Datum *elements =
		palloc(sizeof(Datum) * Max(list_length(array->elements), 1));
	int nelements = 0;
	ListCell *lc;

	if (array->multidims)
		return false;
	foreach(lc, array->elements)
	{
		bool isnull;

		if (!find_value(maker, lfirst(lc), &elements[nelements], &isnull))
			return false;
		nelements += !isnull;
	}
	*value = build_array(elements, nelements, array->element_typeid);
	return true;
}

/*
 * Finds the value of an expression as the planner estimates it, or makes it up;
 * false when neither can.
 */
static bool
find_value(BoundsMaker *maker, Node *estimate, Datum *value, bool *isnull)
{
	*isnull = false;
	if (IsA(estimate, Const))
	{
		*value = ((Const *) estimate)->constvalue;
		*isnull = ((Const *) estimate)->constisnull;
		return true;
	}
	if (IsA(estimate, ArrayExpr))
		return find_array(maker, (ArrayExpr *) estimate, value);
	return make_up_value(maker, estimate, value);
}

/* ----------------------------------------------------------------
 * Bounds
 * ----------------------------------------------------------------
 */

/* Computes a clause's bounds; false when it has none, or none are known. */
static bool
find_bounds(BoundsMaker *maker, Expr *clause, int dimensions,
			KafkaBounds *bounds)
{
	List *exprs = NIL;
	List *condition = kafka_pushdown_build(&maker->state->columns,
										   list_make1(clause), &exprs);
	Datum *values = palloc(sizeof(Datum) * Max(list_length(exprs), 1));
	bool *isnull = palloc(sizeof(bool) * Max(list_length(exprs), 1));
	ListCell *lc;

	if (condition == NIL)
		return false;
	maker->dimensions = dimensions;
	maker->condition = condition;
	foreach(lc, exprs)
	{
		int i = foreach_current_index(lc);

		maker->value = i;
		if (!find_value(maker,
						estimate_expression_value(maker->root, lfirst(lc)),
						&values[i], &isnull[i]))
			return false;
	}
	return kafka_pushdown_evaluate_within(condition, values, isnull,
										  MAX_PRODUCT, bounds);
}

KafkaPlanBounds *
kafka_plan_find_bounds(PlannerInfo *root, RelOptInfo *baserel, List *clauses)
{
	KafkaPlanState *state = baserel->fdw_private;
	KafkaPlanBounds *result = palloc0(sizeof(KafkaPlanBounds));
	KafkaBounds *bounds = palloc(sizeof(KafkaBounds));
	BoundsMaker maker = {.root = root,
						 .state = state,
						 .relid = baserel->relid,
						 .typical = kafka_extent_typical(state->extent)};
	ListCell *lc;

	kafka_bounds_everything(&result->exact);
	kafka_bounds_everything(&result->all);
	foreach(lc, clauses)
	{
		RestrictInfo *rinfo = lfirst_node(RestrictInfo, lc);
		int dimensions = find_dimensions(&maker, (Node *) rinfo->clause);
		bool is_bounded =
			kafka_plan_can_be_bounded(state) &&
			find_bounds(&maker, rinfo->clause, dimensions, bounds) &&
			!kafka_bounds_is_everything(bounds) &&
			bounds->nboxes * result->all.nboxes <= MAX_PRODUCT;

		if (is_bounded)
		{
			kafka_bounds_and(&result->all, bounds);
			result->any = true;
		}
		if (is_bounded && (dimensions & ~EXACT_DIMENSIONS) == 0)
			kafka_bounds_and(&result->exact, bounds);
		else
			result->others = lappend(result->others, rinfo);
	}
	for (int b = 0; b < result->all.nboxes; b++)
	{
		KafkaRange time_ms = result->all.boxes[b].range[KAFKA_DIMENSION_TIME];

		result->has_times |=
			time_ms.start != PG_INT64_MIN || time_ms.end != PG_INT64_MAX;
	}
	result->made_up = maker.made_up;
	pfree(bounds);
	return result;
}
