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
 * IDENTIFICATION
 *		src/fdw/pushdown_node.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef KAFKA_PUSHDOWN_NODE_H
#define KAFKA_PUSHDOWN_NODE_H

#include "core/bounds.h"
#include "nodes/pg_list.h"
#include "nodes/value.h"

typedef enum KafkaNodeKind
{
	KAFKA_NODE_NOTHING, /* lets no row through */
	KAFKA_NODE_AND,
	KAFKA_NODE_OR,
	KAFKA_NODE_COMPARE, /* column op value */
	KAFKA_NODE_ANY,     /* column op ANY (array) */
	KAFKA_NODE_ALL      /* column op ALL (array) */
} KafkaNodeKind;

/*
 * The fields of a leaf, in the order they have in its List.  KAFKA_OP_NE is
 * found only on the partition and not in KAFKA_NODE_ANY.
 */
typedef struct KafkaLeaf
{
	KafkaNodeKind kind;
	KafkaDimension dimension;
	KafkaOp op;
	int value; /* its number among the value expressions */
	Oid type;  /* of the value, or of the array's elements */
} KafkaLeaf;

/* The kind of a node other than NIL. */
static inline KafkaNodeKind
kafka_node_kind(const List *node)
{
	if (IsA(node, IntList))
		return (KafkaNodeKind) linitial_int(node);
	return (KafkaNodeKind) intVal(linitial(node));
}

static inline List *
kafka_node_from_leaf(const KafkaLeaf *leaf)
{
	return list_make5_int((int) leaf->kind, (int) leaf->dimension,
						  (int) leaf->op, leaf->value, (int) leaf->type);
}

static inline KafkaLeaf
kafka_node_leaf(const List *node)
{
	KafkaLeaf leaf;

	Assert(list_length(node) == 5);
	leaf.kind = (KafkaNodeKind) list_nth_int(node, 0);
	leaf.dimension = (KafkaDimension) list_nth_int(node, 1);
	leaf.op = (KafkaOp) list_nth_int(node, 2);
	leaf.value = list_nth_int(node, 3);
	leaf.type = (Oid) list_nth_int(node, 4);
	return leaf;
}

#endif /* KAFKA_PUSHDOWN_NODE_H */
