/*-------------------------------------------------------------------------
 *
 * pushdown_node.c
 *		Leaves of conditions as integer Lists, and back; what is in them.
 *
 * The List is what is stored in plans.  Its first element is the kind of the
 * node, as that of every integer List in a condition.
 *
 * IDENTIFICATION
 *		src/fdw/pushdown_node.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fdw/pushdown_node.h"
#include "miscadmin.h"

/* In the order of the elements; those of the steps follow, three for each. */
enum
{
	LEAF_KIND,
	LEAF_OP,
	LEAF_VALUE,
	LEAF_TYPE,
	LEAF_TEXT,
	LEAF_PARTITIONER,
	LEAF_DIMENSION,
	LEAF_FORM_TYPE,
	LEAF_SKEW_HIGH,
	LEAF_SKEW_LOW,
	LEAF_FIELDS
};

#define STEP_FIELDS 3

List *
kafka_node_from_leaf(const KafkaLeaf *leaf)
{
	List *node = list_make5_int((int) leaf->kind, (int) leaf->op, leaf->value,
								(int) leaf->type, leaf->text);
	const KafkaForm *form = &leaf->form;

	node = lappend_int(node, leaf->partitioner);
	node = lappend_int(node, (int) form->dimension);
	node = lappend_int(node, (int) form->type);
	node = lappend_int(node, (int) ((uint64) form->skew_ms >> 32));
	node = lappend_int(node, (int) (uint32) form->skew_ms);
	Assert(list_length(node) == LEAF_FIELDS);
	for (int i = 0; i < form->nsteps; i++)
	{
		node = lappend_int(node, (int) form->steps[i].kind);
		node = lappend_int(node, form->steps[i].args[0]);
		node = lappend_int(node, form->steps[i].args[1]);
	}
	return node;
}

KafkaLeaf
kafka_node_leaf(const List *node)
{
	KafkaLeaf leaf;
	KafkaForm *form = &leaf.form;

	leaf.kind = (KafkaNodeKind) list_nth_int(node, LEAF_KIND);
	leaf.op = (KafkaOp) list_nth_int(node, LEAF_OP);
	leaf.value = list_nth_int(node, LEAF_VALUE);
	leaf.type = (Oid) list_nth_int(node, LEAF_TYPE);
	leaf.text = list_nth_int(node, LEAF_TEXT);
	leaf.partitioner = list_nth_int(node, LEAF_PARTITIONER);
	form->dimension = (KafkaDimension) list_nth_int(node, LEAF_DIMENSION);
	form->type = (Oid) list_nth_int(node, LEAF_FORM_TYPE);
	form->skew_ms =
		(int64) ((uint64) (uint32) list_nth_int(node, LEAF_SKEW_HIGH) << 32 |
				 (uint32) list_nth_int(node, LEAF_SKEW_LOW));
	form->nsteps = (list_length(node) - LEAF_FIELDS) / STEP_FIELDS;
	for (int i = 0; i < form->nsteps; i++)
	{
		int first = LEAF_FIELDS + i * STEP_FIELDS;

		form->steps[i].kind = (KafkaStepKind) list_nth_int(node, first);
		form->steps[i].args[0] = list_nth_int(node, first + 1);
		form->steps[i].args[1] = list_nth_int(node, first + 2);
	}
	return leaf;
}

bool
kafka_pushdown_is_unit(List *condition, int value)
{
	KafkaNodeKind kind = kafka_node_kind(condition);
	KafkaLeaf leaf;
	ListCell *lc;

	check_stack_depth();

	if (kind == KAFKA_NODE_NOTHING)
		return false;
	if (kind == KAFKA_NODE_AND || kind == KAFKA_NODE_OR)
	{
		for_each_from(lc, condition, 1)
		{
			if (kafka_pushdown_is_unit(lfirst(lc), value))
				return true;
		}
		return false;
	}
	leaf = kafka_node_leaf(condition);
	for (int i = 0; i < leaf.form.nsteps; i++)
	{
		if (leaf.form.steps[i].kind == KAFKA_STEP_TRUNC &&
			leaf.form.steps[i].args[0] == value)
			return true;
	}
	return false;
}
