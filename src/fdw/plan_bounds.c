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
#include "utils/fmgroids.h"
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
	Node *clause; /* that is being looked at */
} BoundsMaker;

/* A value to be made up: of this expression, for a clause of these columns. */
typedef struct MadeUp
{
	Node *expr;
	int dimensions;
	int64 shift; /* constant that is added to it */
} MadeUp;

static bool find_value(BoundsMaker *maker, Node *expr, int dimensions,
					   Datum *value, bool *isnull);

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
make_up_integer(const BoundsMaker *maker, Oid type, int dimensions,
				int64 shift, Datum *value)
{
	int64 number;

	if (dimensions == DIMENSION_BIT(KAFKA_DIMENSION_PARTITION))
		number = maker->typical.partition + shift;
	else if (dimensions == DIMENSION_BIT(KAFKA_DIMENSION_OFFSET))
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

typedef struct UnitSearch
{
	Node *expr;
	bool found;
} UnitSearch;

static bool
find_unit(Node *node, UnitSearch *search)
{
	if (node == NULL)
		return false;
	if (IsA(node, FuncExpr))
	{
		const FuncExpr *call = (FuncExpr *) node;

		switch (call->funcid)
		{
			case F_DATE_TRUNC_TEXT_TIMESTAMPTZ:
			case F_DATE_TRUNC_TEXT_TIMESTAMP:
			case F_DATE_TRUNC_TEXT_TIMESTAMPTZ_TEXT:
				search->found |= equal(linitial(call->args), search->expr);
		}
	}
	return expression_tree_walker(node, find_unit, search);
}

/* Is the expression the unit of a date_trunc in the clause? */
static bool
is_unit(Node *clause, Node *expr)
{
	UnitSearch search = {.expr = expr};

	(void) find_unit(clause, &search);
	return search.found;
}

/* What a text is in the clause: a key, a unit of date_trunc, or else a zone. */
static const char *
make_up_text(const BoundsMaker *maker, Node *expr, int dimensions)
{
	if (dimensions == DIMENSION_BIT(KAFKA_DIMENSION_KEY_HASH))
		return MADE_UP_KEY;
	return is_unit(maker->clause, expr) ? MADE_UP_UNIT : MADE_UP_ZONE;
}

/*
 * Makes up a value of a type, for the atom of this number and a constant added
 * to it; false when there is none for it.
 */
static bool
make_up_scalar(BoundsMaker *maker, const MadeUp *made_up, Oid type, int atom,
			   Datum *value)
{
	int64 time_ms = maker->typical.time_ms +
					(int64) (maker->typical.span_ms * SPACING_SHARE) * atom;
	int64 shift = made_up->shift;
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
			return make_up_integer(maker, type, made_up->dimensions, shift,
								   value);
		case TEXTOID:
		case VARCHAROID:
		case BYTEAOID:
			*value = CStringGetTextDatum(
				make_up_text(maker, made_up->expr, made_up->dimensions));
			return true;
		default:
			return false;
	}
}

/* A range, or a multirange of one, from the atom to the next one. */
static bool
make_up_range(BoundsMaker *maker, const MadeUp *made_up, Oid type, int atom,
			  Datum *value)
{
	bool is_multirange = type_is_multirange(type);
	Oid range_type = is_multirange ? get_multirange_range(type) : type;
	TypeCacheEntry *cache =
		lookup_type_cache(range_type, TYPECACHE_RANGE_INFO);
	Oid element = cache->rngelemtype->type_id;
	RangeBound lower = {.inclusive = true, .lower = true};
	RangeBound upper = {.inclusive = true};
	MadeUp end = *made_up;
	RangeType *range;

	if (get_typtype(element) != TYPTYPE_BASE || made_up->shift != 0)
		return false;
	if (element == INT4OID || element == INT8OID)
		end.shift = MADE_UP_OFFSETS - 1;
	if (!make_up_scalar(maker, made_up, element, atom, &lower.val) ||
		!make_up_scalar(maker, &end, element, atom + 1, &upper.val))
		return false;
	range = kafka_make_range(cache, &lower, &upper);
	if (is_multirange)
		*value =
			MultirangeTypePGetDatum(make_multirange(type, cache, 1, &range));
	else
		*value = RangeTypePGetDatum(range);
	return true;
}

/* As many elements as the planner takes an array for that it does not know. */
static bool
make_up_array(BoundsMaker *maker, const MadeUp *made_up, Oid element, int atom,
			  Datum *value)
{
	Datum elements[MADE_UP_ELEMENTS];
	MadeUp one = *made_up;
	int16 length;
	bool by_value;
	char align;

	for (int i = 0; i < MADE_UP_ELEMENTS; i++)
	{
		if (!make_up_scalar(maker, &one, element, atom + i, &elements[i]))
			return false;
		one.shift += element == INT8OID ? MADE_UP_OFFSETS : 0;
	}
	get_typlenbyvalalign(element, &length, &by_value, &align);
	*value =
		PointerGetDatum(construct_array(elements, MADE_UP_ELEMENTS, element,
										length, by_value, align));
	return true;
}

static bool
make_up_value(BoundsMaker *maker, Node *expr, Node *estimate, int dimensions,
			  Datum *value)
{
	MadeUp made_up = {.expr = expr, .dimensions = dimensions};
	Node *atom = split_shift(estimate, &made_up.shift);
	int number = find_atom(maker, atom);
	Oid type = getBaseType(exprType(estimate));
	Oid element = get_element_type(type);

	maker->made_up = true;
	if (OidIsValid(element))
		return make_up_array(maker, &made_up, getBaseType(element), number,
							 value);
	if (type_is_range(type) || type_is_multirange(type))
		return make_up_range(maker, &made_up, type, number, value);
	return make_up_scalar(maker, &made_up, type, number, value);
}

/* ARRAY[...] of values of which some are not known */
static bool
find_array(BoundsMaker *maker, ArrayExpr *array, int dimensions, Datum *value)
{
	int count = list_length(array->elements);
	Datum *elements = palloc(sizeof(Datum) * Max(count, 1));
	int nelements = 0;
	int16 length;
	bool by_value;
	char align;
	ListCell *cell;

	if (array->multidims)
		return false;
	foreach(cell, array->elements)
	{
		bool isnull;

		if (!find_value(maker, lfirst(cell), dimensions, &elements[nelements],
						&isnull))
			return false;
		nelements += !isnull;
	}
	get_typlenbyvalalign(array->element_typeid, &length, &by_value, &align);
	*value = PointerGetDatum(construct_array(elements, nelements,
											 array->element_typeid, length,
											 by_value, align));
	return true;
}

/* Finds the value of an expression, or makes it up; false when neither can. */
static bool
find_value(BoundsMaker *maker, Node *expr, int dimensions, Datum *value,
		   bool *isnull)
{
	Node *estimate = estimate_expression_value(maker->root, expr);

	*isnull = false;
	if (IsA(estimate, Const))
	{
		*value = ((Const *) estimate)->constvalue;
		*isnull = ((Const *) estimate)->constisnull;
		return true;
	}
	if (IsA(estimate, ArrayExpr))
		return find_array(maker, (ArrayExpr *) estimate, dimensions, value);
	return make_up_value(maker, expr, estimate, dimensions, value);
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
	maker->clause = (Node *) clause;
	foreach(lc, exprs)
	{
		int i = foreach_current_index(lc);

		if (!find_value(maker, lfirst(lc), dimensions, &values[i], &isnull[i]))
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
