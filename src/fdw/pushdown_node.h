/*-------------------------------------------------------------------------
 *
 * pushdown_node.h
 *		What the nodes of a condition are; for the files pushdown*.c alone.
 *
 * A condition is a tree of Lists, so that plans can be copied and sent to
 * workers.  An inner node is a List of its kind, an Integer, and its children;
 * a leaf, and "nothing", is an integer List that begins with its kind.  NIL is
 * "everything" and stands only at the top.
 *
 * A leaf compares a form with a value.  A form is a column, and the steps that
 * make of it what the user compares: "date_trunc('day', ts)" is the column ts,
 * then its local time, that truncated, and that as a point in time again.
 * Bounds of a form become bounds of its column by undoing the steps, the last
 * one first.
 *
 * IDENTIFICATION
 *		src/fdw/pushdown_node.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef KAFKA_PUSHDOWN_NODE_H
#define KAFKA_PUSHDOWN_NODE_H

#include "core/bounds.h"
#include "fdw/pushdown.h"
#include "nodes/pg_list.h"
#include "nodes/value.h"

typedef enum KafkaNodeKind
{
	KAFKA_NODE_NOTHING, /* lets no row through */
	KAFKA_NODE_AND,
	KAFKA_NODE_OR,
	KAFKA_NODE_COMPARE,  /* form op value */
	KAFKA_NODE_ANY,      /* form op ANY (array) */
	KAFKA_NODE_ALL,      /* form op ALL (array) */
	KAFKA_NODE_DISTINCT, /* COMPARE, true also where both are NULL (EQ) or
						  * where one of them is (NE) */
	KAFKA_NODE_CONTAINED /* form <@ range or multirange; op is EQ */
} KafkaNodeKind;

/* "Local time" is a timestamp without time zone. */
typedef enum KafkaStepKind
{
	KAFKA_STEP_ROUND,          /* to args[0] digits of a second */
	KAFKA_STEP_AT_ZONE,        /* to local time; zone args[0], or session's */
	KAFKA_STEP_FROM_ZONE,      /* from local time; likewise */
	KAFKA_STEP_AT_OFFSET,      /* the same, the zone being an interval */
	KAFKA_STEP_FROM_OFFSET,    /* likewise */
	KAFKA_STEP_TRUNC,          /* date_trunc(args[0]) of local time */
	KAFKA_STEP_DAY,            /* local time to its date */
	KAFKA_STEP_BIN,            /* date_bin(args[0], ..., args[1]) */
	KAFKA_STEP_ADD,            /* interval args[0] to local time */
	KAFKA_STEP_SUBTRACT,       /* likewise */
	KAFKA_STEP_ADD_ZONED,      /* interval args[0] to a point in time */
	KAFKA_STEP_SUBTRACT_ZONED, /* likewise */
	KAFKA_STEP_ADD_DAYS,       /* integer args[0] to a date */
	KAFKA_STEP_SUBTRACT_DAYS,  /* likewise */
	KAFKA_STEP_SINCE,          /* ... - timestamp args[0] */
	KAFKA_STEP_UNTIL,          /* timestamp args[0] - ... */
	KAFKA_STEP_SINCE_DATE,     /* ... - date args[0] */
	KAFKA_STEP_UNTIL_DATE,     /* date args[0] - ... */
	KAFKA_STEP_EPOCH           /* microseconds since 1970 */
} KafkaStepKind;

/* Numbers of value expressions; -1 where there is none. */
typedef struct KafkaStep
{
	KafkaStepKind kind;
	int args[2];
} KafkaStep;

#define KAFKA_MAX_STEPS 16

/*
 * Bounds are computed in integers at each step: microseconds for times, and
 * also for intervals, for dates, which are midnights, and for seconds since
 * 1970; the numbers themselves for the other dimensions.
 */
typedef struct KafkaForm
{
	KafkaDimension dimension;
	Oid type;      /* of what is compared */
	int64 skew_ms; /* its column's distance from the record time */
	int nsteps;
	KafkaStep steps[KAFKA_MAX_STEPS]; /* from the column outward */
} KafkaForm;

/* KAFKA_OP_NE is found only on the partition and not in KAFKA_NODE_ANY. */
typedef struct KafkaLeaf
{
	KafkaNodeKind kind;
	KafkaOp op;
	int value;       /* its number among the value expressions */
	Oid type;        /* of the value, of the array's elements, of the range */
	int text;        /* number of the form as written, for EXPLAIN; -1 for a
					  * column that is known by its dimension */
	int partitioner; /* for KAFKA_DIMENSION_KEY_HASH */
	KafkaForm form;
} KafkaLeaf;

/* The kind of a node other than NIL. */
static inline KafkaNodeKind
kafka_node_kind(const List *node)
{
	if (IsA(node, IntList))
		return (KafkaNodeKind) linitial_int(node);
	return (KafkaNodeKind) intVal(linitial(node));
}

/* pushdown_node.c */
extern List *kafka_node_from_leaf(const KafkaLeaf *leaf);
extern KafkaLeaf kafka_node_leaf(const List *node);

/* pushdown_form.c */

typedef struct KafkaBuildState
{
	const KafkaPushdownColumns *columns;
	List *exprs; /* value expressions so far */
	List *texts; /* forms as written, so far */
} KafkaBuildState;

/*
 * Adds a value expression and returns its number; -1 when it cannot be
 * computed once for a whole scan, before the scan reads its first record, with
 * the value it would have in the scan's filter.
 */
extern int kafka_build_add_value(KafkaBuildState *state, Node *value);

/*
 * Is the expression a form?  Adds the arguments of its steps to the values;
 * leaves none behind when it is not.
 */
extern bool kafka_form_match(KafkaBuildState *state, Node *expr,
							 KafkaForm *form);

/* Appends a step; false when the form has too many. */
extern bool kafka_form_add_step(KafkaForm *form, KafkaStepKind kind, int arg0,
								int arg1);

/* Does the form get smaller when its column gets larger? */
extern bool kafka_form_is_reversed(const KafkaForm *form);

/* pushdown_operator.c */
extern KafkaOp kafka_op_negate(KafkaOp op);
extern KafkaOp kafka_op_commute(KafkaOp op);

/*
 * What an operator means when the form is its left or its right argument, and
 * the type of its other argument.  False for operators that do not order the
 * form's type as its default operator class does, or that compare it with a
 * type that is not understood.  May add the step with which the operator
 * itself begins, when it compares times of different types.
 */
extern bool kafka_operator_interpret(Oid opno, Oid collation,
									 bool form_is_left, KafkaForm *form,
									 KafkaOp *op, Oid *value_type);

/* Can values of this range or multirange type bound the form? */
extern bool kafka_operator_contains(Oid range_type, const KafkaForm *form);

/* pushdown_value.c */

/*
 * The range that "form op value" gives the form; the value is not NULL and of
 * this type.  A superset for what integers cannot tell apart.
 */
extern KafkaRange kafka_value_range(const KafkaForm *form, KafkaOp op,
									Oid type, Datum value);

/*
 * The ranges that a value of a range or multirange type gives the form,
 * palloc'd; their number is *nranges, which may be 0.
 */
extern KafkaRange *kafka_value_ranges(const KafkaForm *form, Oid type,
									  Datum value, int *nranges);

/* pushdown_inverse.c */

/*
 * The range of the column (milliseconds for the record's time) where the form
 * lies in the range: a superset, exact where no transition of a zone is near.
 * Everything where that cannot be computed; no error is raised.  The steps'
 * arguments must not be NULL.
 */
extern KafkaRange kafka_form_invert(const KafkaForm *form, const Datum *values,
									KafkaRange range);

/* pushdown_zone.c */

/* Distances east of Greenwich are in microseconds. */
typedef struct KafkaZone
{
	bool is_vague;     /* has any distance at any time */
	int64 distance_us; /* where there is no pg_tz */
	struct pg_tz *tz;  /* NULL: the distance never changes */
} KafkaZone;

/* The smallest and largest of some distances. */
typedef struct KafkaDistances
{
	int64 min_us;
	int64 max_us;
} KafkaDistances;

extern KafkaZone kafka_zone_of_session(void);

/* What "AT TIME ZONE name" understands; false when there is no such zone. */
extern bool kafka_zone_resolve(Datum name, KafkaZone *zone);

/*
 * The distances with which points in time may have a local time near this one,
 * or at either side of it; and so for a point in time.
 */
extern KafkaDistances kafka_zone_near_local(const KafkaZone *zone,
											int64 local_us);
extern KafkaDistances kafka_zone_near_instant(const KafkaZone *zone,
											  int64 instant_us);

/*
 * The point in time the server takes a local time for; false where that is
 * not known.
 */
extern bool kafka_zone_to_instant(const KafkaZone *zone, int64 local_us,
								  int64 *instant_us);

/* pushdown_key.c */

/*
 * The hash [h, h + 1) that the producers' partitioner makes of a key; false
 * when the place of such a key is not determined.
 */
extern bool kafka_key_hash_range(int partitioner, Oid type, Datum value,
								 KafkaRange *range);

#endif /* KAFKA_PUSHDOWN_NODE_H */
