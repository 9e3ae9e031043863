/*-------------------------------------------------------------------------
 *
 * pushdown_operator.c
 *		What operators say of a form.
 *
 * An operator is known by what it is in the default B-tree operator family of
 * the form's type, not by its name: so comparisons across types are known as
 * well, and those of other operator classes are not taken for what they are
 * not.
 *
 * IDENTIFICATION
 *		src/fdw/pushdown_operator.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/stratnum.h"
#include "catalog/pg_type.h"
#include "fdw/pushdown_node.h"
#include "utils/lsyscache.h"
#include "utils/typcache.h"

KafkaOp
kafka_op_negate(KafkaOp op)
{
	switch (op)
	{
		case KAFKA_OP_LT:
			return KAFKA_OP_GE;
		case KAFKA_OP_LE:
			return KAFKA_OP_GT;
		case KAFKA_OP_EQ:
			return KAFKA_OP_NE;
		case KAFKA_OP_GE:
			return KAFKA_OP_LT;
		case KAFKA_OP_GT:
			return KAFKA_OP_LE;
		case KAFKA_OP_NE:
			break;
	}
	return KAFKA_OP_EQ;
}

/* The op with which "a op b" is "b op a". */
KafkaOp
kafka_op_commute(KafkaOp op)
{
	switch (op)
	{
		case KAFKA_OP_LT:
			return KAFKA_OP_GT;
		case KAFKA_OP_LE:
			return KAFKA_OP_GE;
		case KAFKA_OP_GE:
			return KAFKA_OP_LE;
		case KAFKA_OP_GT:
			return KAFKA_OP_LT;
		case KAFKA_OP_EQ:
		case KAFKA_OP_NE:
			break;
	}
	return op;
}

static Oid
default_family(Oid type)
{
	return lookup_type_cache(type, TYPECACHE_BTREE_OPFAMILY)->btree_opf;
}

/* An operator's meaning, left to right, and the types it compares. */
static bool
interpret_in_family(Oid opno, Oid family, KafkaOp *op, Oid *left_type,
					Oid *right_type)
{
	static const KafkaOp strategies[] = {
		[BTLessStrategyNumber] = KAFKA_OP_LT,
		[BTLessEqualStrategyNumber] = KAFKA_OP_LE,
		[BTEqualStrategyNumber] = KAFKA_OP_EQ,
		[BTGreaterEqualStrategyNumber] = KAFKA_OP_GE,
		[BTGreaterStrategyNumber] = KAFKA_OP_GT,
	};
	bool negated = false;
	int strategy;

	if (!OidIsValid(family))
		return false;
	if (!op_in_opfamily(opno, family))
	{
		/* "<>" is in no operator family */
		opno = get_negator(opno);
		if (!OidIsValid(opno) ||
			get_op_opfamily_strategy(opno, family) != BTEqualStrategyNumber)
			return false;
		negated = true;
	}
	get_op_opfamily_properties(opno, family, false, &strategy, left_type,
							   right_type);
	*op = negated ? KAFKA_OP_NE : strategies[strategy];
	return true;
}

static bool
is_integer_type(Oid type)
{
	return type == INT2OID || type == INT4OID || type == INT8OID;
}

static bool
is_time_type(Oid type)
{
	return type == TIMESTAMPTZOID || type == TIMESTAMPOID || type == DATEOID;
}

/* Of a key only equality tells the partition, and of text not every one. */
static bool
compares_keys(KafkaOp op, Oid collation, Oid form_type, Oid value_type)
{
	if ((op != KAFKA_OP_EQ && op != KAFKA_OP_NE) || value_type != form_type)
		return false;
	return form_type == BYTEAOID ||
		   (OidIsValid(collation) && get_collation_isdeterministic(collation));
}

/*
 * Can a value of this type be compared with the form?  A time without zone is
 * compared with a time with one by giving it the session's first.
 */
static bool
accept_value_type(KafkaForm *form, Oid value_type)
{
	if (is_time_type(form->type))
	{
		if (!is_time_type(value_type))
			return false;
		if (form->type == TIMESTAMPTZOID || value_type != TIMESTAMPTZOID)
			return true;
		form->type = TIMESTAMPTZOID;
		return kafka_form_add_step(form, KAFKA_STEP_FROM_ZONE, -1, -1);
	}
	if (is_integer_type(form->type))
		return is_integer_type(value_type);
	if (form->type == FLOAT8OID)
		return value_type == FLOAT8OID || value_type == FLOAT4OID;
	return value_type == form->type;
}

bool
kafka_operator_interpret(Oid opno, Oid collation, bool form_is_left,
						 KafkaForm *form, KafkaOp *op, Oid *value_type)
{
	Oid left_type;
	Oid right_type;

	if (!interpret_in_family(opno, default_family(form->type), op, &left_type,
							 &right_type) ||
		(form_is_left ? left_type : right_type) != form->type)
		return false;
	*value_type = form_is_left ? right_type : left_type;
	if (!form_is_left)
		*op = kafka_op_commute(*op);
	if (form->dimension == KAFKA_DIMENSION_KEY_HASH)
		return compares_keys(*op, collation, form->type, *value_type);
	return accept_value_type(form, *value_type);
}

bool
kafka_operator_contains(Oid range_type, const KafkaForm *form)
{
	TypeCacheEntry *cache;

	if (form->dimension == KAFKA_DIMENSION_KEY_HASH ||
		(!is_integer_type(form->type) && !is_time_type(form->type) &&
		 form->type != NUMERICOID))
		return false;
	range_type = getBaseType(range_type);
	if (type_is_multirange(range_type))
		range_type = get_multirange_range(range_type);
	if (!type_is_range(range_type))
		return false;

	/* a range type may order its elements in another way */
	cache = lookup_type_cache(range_type, TYPECACHE_RANGE_INFO);
	return cache->rngelemtype != NULL &&
		   cache->rngelemtype->type_id == form->type &&
		   cache->rng_cmp_proc_finfo.fn_oid ==
			   lookup_type_cache(form->type, TYPECACHE_CMP_PROC)->cmp_proc;
}
