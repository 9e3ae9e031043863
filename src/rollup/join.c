/*-------------------------------------------------------------------------
 *
 * join.c
 *		The FROM clause of a rollup's query.
 *
 * A message must count once, so it may find at most one row of each table that
 * it is joined to.  That is proved by unique indexes: beginning with the Kafka
 * table, a table is settled when each column of one of its unique indexes is
 * equal to something made of settled tables; then so may be the next one.
 *
 * Which conditions hold where: those of WHERE and of inner joins hold for every
 * row of the tables below; those of a left join only for its right side, whose
 * other rows are NULL.
 *
 * IDENTIFICATION
 *		src/rollup/join.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/nbtree.h"
#include "access/relation.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "nodes/pathnodes.h"
#include "optimizer/optimizer.h"
#include "parser/parsetree.h"
#include "rewrite/rewriteHandler.h"
#include "rollup/analyze.h"
#include "utils/acl.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/relcache.h"

/* A condition that holds for rows of some tables. */
typedef struct JoinCondition
{
	Node *clause;     /* join aliases resolved */
	Relids holds_for; /* indexes in the range table */
} JoinCondition;

typedef struct JoinContext
{
	KafkaAnalysis *analysis;
	List *conditions; /* of JoinCondition * */
	Relids joined;    /* all tables but the Kafka table */
} JoinContext;

List *
kafka_analysis_list_conjuncts(Node *condition)
{
	List *conjuncts = NIL;
	ListCell *cell;

	if (condition == NULL)
		return NIL;
	if (IsA(condition, List))
	{
		foreach(cell, (List *) condition)
			conjuncts =
				list_concat(conjuncts,
							kafka_analysis_list_conjuncts(lfirst(cell)));
		return conjuncts;
	}
	if (!is_andclause(condition))
		return list_make1(condition);
	foreach(cell, ((BoolExpr *) condition)->args)
		conjuncts = list_concat(conjuncts,
								kafka_analysis_list_conjuncts(lfirst(cell)));
	return conjuncts;
}

static void
add_conditions(JoinContext *context, Node *condition, Relids holds_for)
{
	Node *resolved =
		flatten_join_alias_vars(context->analysis->query, condition);
	ListCell *cell;

	foreach(cell, kafka_analysis_list_conjuncts(resolved))
	{
		JoinCondition *added = palloc(sizeof(JoinCondition));

		added->clause = lfirst(cell);
		added->holds_for = holds_for;
		context->conditions = lappend(context->conditions, added);
	}
}

/* ----------------------------------------------------------------
 * What is in FROM
 * ----------------------------------------------------------------
 */

/* May the current role read at least a column of the table? */
static void
check_right(const RangeTblEntry *entry)
{
	if (pg_class_aclcheck(entry->relid, GetUserId(), ACL_SELECT) !=
			ACLCHECK_OK &&
		pg_attribute_aclcheck_all(entry->relid, GetUserId(), ACL_SELECT,
								  ACLMASK_ANY) != ACLCHECK_OK)
		aclcheck_error(ACLCHECK_NO_PRIV, get_relkind_objtype(entry->relkind),
					   get_rel_name(entry->relid));
}

/*
 * Checks a table beside the Kafka table, also in subqueries.  A view may hide
 * anything, other foreign tables cannot be asked for unique indexes, and
 * temporary tables go with the session.
 */
static void
check_ordinary(const RangeTblEntry *entry)
{
	char *name = get_rel_name(entry->relid);

	if (entry->relkind != RELKIND_RELATION &&
		entry->relkind != RELKIND_PARTITIONED_TABLE &&
		entry->relkind != RELKIND_MATVIEW)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("a rollup's query cannot read \"%s\"", name),
				 errdetail_relkind_not_supported(entry->relkind),
				 errhint("Name one Kafka foreign table, and ordinary or "
						 "partitioned tables or materialized views.")));
	if (get_rel_persistence(entry->relid) == RELPERSISTENCE_TEMP)
		ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
						errmsg("a rollup's query cannot read temporary table "
							   "\"%s\"",
							   name)));
	if (entry->tablesample != NULL)
		ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
						errmsg("a rollup's query cannot have TABLESAMPLE")));
	check_right(entry);
}

static void
refuse_second_source(const RangeTblEntry *entry)
{
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("a rollup's query cannot read more than one Kafka foreign "
					"table"),
			 errdetail("Table \"%s\" is the second one.",
					   get_rel_name(entry->relid)),
			 errhint("Make a rollup of each and join those; or make one "
					 "foreign table of several topics.")));
}

/* Checks the tables of subqueries in expressions. */
static bool
check_subquery_walker(Node *node, KafkaAnalysis *analysis)
{
	ListCell *cell;

	if (node == NULL)
		return false;
	if (!IsA(node, Query))
		return expression_tree_walker(node, check_subquery_walker, analysis);
	foreach(cell, ((Query *) node)->rtable)
	{
		RangeTblEntry *entry = lfirst_node(RangeTblEntry, cell);

		if (entry->rtekind != RTE_RELATION)
			continue;
		if (kafka_analysis_is_source(entry->relid))
			refuse_second_source(entry);
		check_ordinary(entry);
		analysis->has_join = true;
	}
	return query_tree_walker((Query *) node, check_subquery_walker, analysis,
							 0);
}

static const char *
describe_entry(RTEKind kind)
{
	switch (kind)
	{
		case RTE_SUBQUERY:
			return "a subquery";
		case RTE_FUNCTION:
			return "a function";
		case RTE_TABLEFUNC:
			return "a table function";
		case RTE_VALUES:
			return "VALUES";
		default:
			return "a WITH query";
	}
}

/* Raises the error for what is in FROM and no table. */
static void
pg_attribute_noreturn()
	refuse_entry(const KafkaAnalysis *analysis, const RangeTblEntry *entry)
{
	int location = -1;

	if (entry->rtekind == RTE_SUBQUERY)
		location = exprLocation((Node *) entry->subquery->targetList);
	else if (entry->rtekind == RTE_FUNCTION)
		location = exprLocation(
			linitial_node(RangeTblFunction, entry->functions)->funcexpr);
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("a rollup's query cannot have %s in FROM",
					describe_entry(entry->rtekind)),
			 errhint("Name the Kafka foreign table itself; other tables can "
					 "be joined to it."),
			 kafka_analysis_position(analysis, location)));
}

static void
set_source(KafkaAnalysis *analysis, RangeTblEntry *entry, Index index)
{
	Relation relation = relation_open(entry->relid, NoLock);
	KafkaTableOptions *table = kafka_option_read_table(entry->relid);

	if (entry->inh && has_subclass(entry->relid))
		ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
						errmsg("foreign table \"%s\" has child tables",
							   RelationGetRelationName(relation)),
						errhint("Use ONLY.")));
	if (relation->rd_rel->relpersistence == RELPERSISTENCE_TEMP)
		ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
						errmsg("a rollup's query cannot read temporary table "
							   "\"%s\"",
							   RelationGetRelationName(relation))));
	analysis->source = entry->relid;
	analysis->source_index = index;
	analysis->source_columns =
		kafka_option_read_columns(table, RelationGetDescr(relation));
	analysis->nsource_columns = RelationGetDescr(relation)->natts;
	relation_close(relation, NoLock);
}

/* Finds the Kafka table, and refuses all that is not a table. */
static void
check_entries(JoinContext *context)
{
	KafkaAnalysis *analysis = context->analysis;
	Index index = 0;
	ListCell *cell;

	foreach(cell, analysis->query->rtable)
	{
		RangeTblEntry *entry = lfirst_node(RangeTblEntry, cell);

		index++;
		/* a view's OLD and NEW are not in its FROM clause */
		if (entry->rtekind == RTE_JOIN ||
			(entry->rtekind == RTE_RELATION && !entry->inFromCl))
			continue;
		if (entry->rtekind != RTE_RELATION)
			refuse_entry(analysis, entry);
		if (!kafka_analysis_is_source(entry->relid))
		{
			check_ordinary(entry);
			context->joined = bms_add_member(context->joined, index);
			continue;
		}
		if (analysis->source_index != 0)
			refuse_second_source(entry);
		check_right(entry);
		set_source(analysis, entry, index);
	}
	if (analysis->source_index == 0)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("a rollup's query must read a Kafka foreign table"),
				 errhint("Name the foreign table itself, not a view of it.")));
}

/* ----------------------------------------------------------------
 * How it is joined
 * ----------------------------------------------------------------
 */

static Relids check_tree(JoinContext *context, Node *node);

static void
pg_attribute_noreturn() refuse_join(const char *what)
{
	ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					errmsg("a rollup's query cannot have %s", what),
					errhint("Join tables to the Kafka foreign table with JOIN "
							"or LEFT JOIN.")));
}

static Relids
check_join(JoinContext *context, JoinExpr *join)
{
	Index source = context->analysis->source_index;
	Relids left = check_tree(context, join->larg);
	Relids right = check_tree(context, join->rarg);
	Relids both = bms_union(left, right);

	if (join->jointype == JOIN_INNER)
	{
		add_conditions(context, join->quals, both);
		context->analysis->has_inner_join = true;
		return both;
	}
	if (join->jointype != JOIN_LEFT)
		refuse_join(join->jointype == JOIN_FULL ? "FULL JOIN" : "RIGHT JOIN");
	if (bms_is_member(source, right))
		refuse_join("the Kafka foreign table on the right of LEFT JOIN");
	add_conditions(context, join->quals, right);
	return both;
}

static Relids
check_tree(JoinContext *context, Node *node)
{
	if (IsA(node, RangeTblRef))
		return bms_make_singleton(((RangeTblRef *) node)->rtindex);
	return check_join(context, castNode(JoinExpr, node));
}

/* ----------------------------------------------------------------
 * At most one row
 * ----------------------------------------------------------------
 */

static bool
is_column(Node *node, Index table, AttrNumber column)
{
	while (IsA(node, RelabelType))
		node = (Node *) ((RelabelType *) node)->arg;
	return IsA(node, Var) && ((Var *) node)->varno == (int) table &&
		   ((Var *) node)->varattno == column &&
		   ((Var *) node)->varlevelsup == 0;
}

/*
 * Does the condition make the index's column equal, as the index understands
 * it, to something made of settled tables?
 */
static bool
settles_column(const JoinCondition *condition, Index table, Relation index,
			   int position, Relids settled)
{
	OpExpr *operation = (OpExpr *) condition->clause;
	AttrNumber column = index->rd_index->indkey.values[position];
	Oid collation = index->rd_indcollation[position];
	Node *other;

	if (!bms_is_member(table, condition->holds_for) ||
		!IsA(operation, OpExpr) || list_length(operation->args) != 2)
		return false;
	if (is_column(linitial(operation->args), table, column))
		other = lsecond(operation->args);
	else if (is_column(lsecond(operation->args), table, column))
		other = linitial(operation->args);
	else
		return false;
	return get_op_opfamily_strategy(operation->opno,
									index->rd_opfamily[position]) ==
			   BTEqualStrategyNumber &&
		   (!OidIsValid(collation) || collation == operation->inputcollid) &&
		   bms_is_subset(pull_varnos(NULL, other), settled);
}

/* Is this a unique index that holds for all rows, and now? */
static bool
is_usable_index(Relation index)
{
	Form_pg_index form = index->rd_index;

	if (!form->indisunique || !form->indimmediate || !form->indisvalid ||
		index->rd_rel->relam != BTREE_AM_OID ||
		!heap_attisnull(index->rd_indextuple, Anum_pg_index_indpred, NULL))
		return false;
	for (int i = 0; i < form->indnkeyatts; i++)
	{
		if (form->indkey.values[i] == 0)
			return false;
	}
	return true;
}

static bool
index_settles(const JoinContext *context, Index table, Relation index,
			  Relids settled)
{
	if (!is_usable_index(index))
		return false;
	for (int i = 0; i < index->rd_index->indnkeyatts; i++)
	{
		bool found = false;
		ListCell *cell;

		foreach(cell, context->conditions)
			found = found ||
					settles_column(lfirst(cell), table, index, i, settled);
		if (!found)
			return false;
	}
	return true;
}

/*
 * A unique index of a parent says nothing of its children.  Where there were
 * some once, has_subclass may say yes for ever.
 */
static bool
has_children(const RangeTblEntry *entry)
{
	return entry->relkind == RELKIND_RELATION && entry->inh &&
		   has_subclass(entry->relid) &&
		   find_inheritance_children(entry->relid, NoLock) != NIL;
}

/* Does each combination of rows of settled tables find at most one row? */
static bool
is_settled(const JoinContext *context, Index table, Relids settled)
{
	RangeTblEntry *entry = rt_fetch(table, context->analysis->query->rtable);
	Relation relation = relation_open(entry->relid, NoLock);
	bool found = false;
	List *indexes;
	ListCell *cell;

	if (has_children(entry))
	{
		relation_close(relation, NoLock);
		return false;
	}
	indexes = RelationGetIndexList(relation);
	foreach(cell, indexes)
	{
		Relation index = relation_open(lfirst_oid(cell), AccessShareLock);

		found = found || index_settles(context, table, index, settled);
		relation_close(index, AccessShareLock);
	}
	list_free(indexes);
	relation_close(relation, NoLock);
	return found;
}

static void
settle_all(const JoinContext *context)
{
	Relids settled = bms_make_singleton(context->analysis->source_index);
	Relids waiting = bms_copy(context->joined);
	bool progress = true;
	int table;

	while (progress)
	{
		progress = false;
		table = -1;
		while ((table = bms_next_member(waiting, table)) >= 0)
		{
			if (!is_settled(context, table, settled))
				continue;
			settled = bms_add_member(settled, table);
			progress = true;
		}
		waiting = bms_difference(context->joined, settled);
	}
	table = bms_next_member(waiting, -1);
	if (table >= 0)
	{
		RangeTblEntry *entry =
			rt_fetch(table, context->analysis->query->rtable);

		if (has_children(entry))
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("a message may find several rows of table \"%s\"",
							get_rel_name(entry->relid)),
					 errdetail(
						 "It has child tables, for whose rows its unique "
						 "indexes do not hold."),
					 errhint("Join ONLY the table itself, or a partitioned "
							 "table.")));
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("a message may find several rows of table \"%s\"",
						get_rel_name(entry->relid)),
				 errdetail("None of its unique indexes has only columns that "
						   "the join compares with =."),
				 errhint("Join by a primary key, or add a unique index over "
						 "the columns that you join by.")));
	}
}

void
kafka_analysis_check_from(KafkaAnalysis *analysis)
{
	JoinContext context = {analysis, NIL, NULL};
	FromExpr *from = analysis->query->jointree;
	Relids all = NULL;
	ListCell *cell;

	check_entries(&context);
	foreach(cell, from->fromlist)
		all = bms_union(all, check_tree(&context, lfirst(cell)));
	if (list_length(from->fromlist) > 1)
		analysis->has_inner_join = true;
	add_conditions(&context, from->quals, all);
	settle_all(&context);
	analysis->has_join = !bms_is_empty(context.joined);
	(void) expression_tree_walker((Node *) from, check_subquery_walker,
								  analysis);
}

/* The only thing in FROM; NULL where there are several, or a join. */
static RangeTblEntry *
get_only_entry(const Query *query)
{
	List *from = query->jointree->fromlist;

	if (list_length(from) != 1 || !IsA(linitial(from), RangeTblRef))
		return NULL;
	return rt_fetch(linitial_node(RangeTblRef, from)->rtindex, query->rtable);
}

/*
 * The locks are those that running the view takes; as long as they are held no
 * index can be dropped, and an index is not given up while it is in use.
 */
void
kafka_rollup_prove_joins(Oid states)
{
	KafkaAnalysis analysis = {.text = ""};
	Relation view = relation_open(states, AccessShareLock);
	RangeTblEntry *only;

	analysis.query = copyObject(get_view_query(view));
	relation_close(view, NoLock);
	AcquireRewriteLocks(analysis.query, true, false);

	/* The rows that are aggregated are computed in a subquery; see states.c. */
	only = get_only_entry(analysis.query);
	if (only != NULL && only->rtekind == RTE_SUBQUERY)
	{
		analysis.query = only->subquery;
		only = get_only_entry(analysis.query);
	}
	if (only == NULL || analysis.query->hasSubLinks)
		kafka_analysis_check_from(&analysis);
}
