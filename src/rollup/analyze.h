/*-------------------------------------------------------------------------
 *
 * analyze.h
 *		What the files that analyze a rollup's query share.
 *
 * A query is parsed and analyzed by PostgreSQL, checked (analyze.c, join.c,
 * mutable.c), its aggregates are looked up in the registry and split into
 * states (aggregate.c, template.c), and the result is made into text again by
 * PostgreSQL (generate.c).  No SQL text is ever searched or cut.
 *
 * IDENTIFICATION
 *		src/rollup/analyze.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef KAFKA_ROLLUP_ANALYZE_H
#define KAFKA_ROLLUP_ANALYZE_H

#include "option.h"
#include "parser/parse_node.h"
#include "rollup/rollup.h"

/* A registered aggregate as a query uses it. */
typedef struct KafkaAggregateUse
{
	Aggref *aggref;     /* the first of its equals in the query */
	char *signature;    /* the registry's name for it */
	char *schema;       /* of its extension, NULL for none */
	List *states;       /* of Node *, over the source row */
	List *merges;       /* of char *, the registry's templates */
	char *final;        /* the registry's template */
	int first_column;   /* index of its first state in storage */
	const char *column; /* of the query that it is in, for names */
	bool is_alone;      /* the column is nothing but this aggregate */
} KafkaAggregateUse;

typedef struct KafkaAnalysis
{
	const char *text;
	Query *query;       /* join aliases resolved in its target list */
	Index source_index; /* of the Kafka table in the query's range table */
	Oid source;
	KafkaColumnOptions *source_columns;
	int nsource_columns;
	List *keys;       /* of TargetEntry *, in order of the target list */
	List *aggregates; /* of KafkaAggregateUse * */
	bool has_join;
	bool has_inner_join;

	/* The bucket; bucket is NULL where there is none */
	TargetEntry *bucket;
	Interval *bucket_width; /* NULL where unknown */
	Node *time;             /* what it is made of, a part of bucket->expr */
} KafkaAnalysis;

/* What a message is judged by, over the source row: the columns of the view. */
typedef struct KafkaCheckNodes
{
	Node *passes;
	Node *time;
	Node *key_hash;
	Node *bucket; /* not of the view: NULL unless it is of the source alone */
} KafkaCheckNodes;

/* ----------------------------------------------------------------
 * analyze.c
 * ----------------------------------------------------------------
 */

/* For ereport: the place of a node in the query; nothing where unknown. */
extern int kafka_analysis_position(const KafkaAnalysis *analysis,
								   int location);

/*
 * Says that errors raised from here on with a position mean a place in text,
 * which is not the statement that the client sent.  Ends when the caller sets
 * error_context_stack back to callback->previous.
 */
extern void kafka_analysis_push_text(ErrorContextCallback *callback,
									 const char *text);

/* Is this a foreign table of ours? */
extern bool kafka_analysis_is_source(Oid relid);

/*
 * The settings under which SQL is made of trees, and read again: those that
 * could change its meaning in between are fixed.  Returns what AtEOXact_GUC
 * takes to undo it.
 */
extern int kafka_analysis_fix_settings(const char *search_path);

/* ----------------------------------------------------------------
 * join.c
 * ----------------------------------------------------------------
 */

/*
 * Finds the Kafka table in the FROM clause, and checks what it is joined to.
 * Each of its rows must find at most one of each other table's.
 */
extern void kafka_analysis_check_from(KafkaAnalysis *analysis);

/* The conditions that query ends up with, ANDed: of WHERE alone. */
extern List *kafka_analysis_list_conjuncts(Node *condition);

/* ----------------------------------------------------------------
 * mutable.c
 * ----------------------------------------------------------------
 */

/*
 * Raises an error where an expression or query uses a function whose result
 * is another at another time or for another user.  What depends on the
 * settings that a rollup saves (TimeZone, DateStyle, IntervalStyle and
 * search_path) is accepted.
 */
extern void kafka_analysis_refuse_mutable(const KafkaAnalysis *analysis,
										  Node *node);

/*
 * Raises an error where an expression, which makes a group, depends on the time
 * zone setting.
 */
extern void kafka_analysis_refuse_zone(const KafkaAnalysis *analysis,
									   Node *node);

/*
 * The instant that a bucket's argument is made of: the argument itself, or what
 * that converts to another zone.
 */
extern Node *kafka_analysis_find_instant(Node *node);

/* Finds the bucket among the keys. */
extern void kafka_analysis_find_bucket(KafkaAnalysis *analysis);

/* ----------------------------------------------------------------
 * aggregate.c
 * ----------------------------------------------------------------
 */

/* Fills analysis->aggregates. */
extern void kafka_analysis_find_aggregates(KafkaAnalysis *analysis);

/* ----------------------------------------------------------------
 * template.c
 * ----------------------------------------------------------------
 */

/*
 * Analyzes an SQL expression in which $1 ... $nparams stand for nodes.
 * params[i] NULL is a parameter that cannot be given: using it is an error.
 * schema (NULL for none) is searched after pg_catalog and kafka.
 */
extern Node *kafka_template_analyze(const char *text, Node **params,
									int nparams, const char *schema,
									bool allow_aggregates);

/* ----------------------------------------------------------------
 * generate.c
 * ----------------------------------------------------------------
 */
extern KafkaRollupSpec *
kafka_analysis_generate(const KafkaAnalysis *analysis,
						const KafkaRollupChecks *checks);

/*
 * The select list of these targets over the columns of relations, as text
 * without SELECT.
 */
extern char *kafka_analysis_deparse_list(List *relations, List *targets);

/*
 * SELECT: the query's result, made of states in the rows of from, a FROM item
 * without alias that has storage's columns.
 */
extern char *kafka_analysis_generate_final(const KafkaAnalysis *analysis,
										   KafkaRollupSpec *spec,
										   const char *from);

/*
 * A state's merge, of params: the states of its aggregate that are stored, and
 * then those that are new.  Of its column's type.
 */
extern Node *kafka_analysis_make_merge(const KafkaRollupSpec *spec,
									   const KafkaAggregateUse *use, int state,
									   Node **params);

/* Appends SQL to a text in which %1$s is a place, as format() reads it. */
extern void kafka_analysis_append_sql(StringInfo text, const char *sql);

/* ----------------------------------------------------------------
 * live.c
 * ----------------------------------------------------------------
 */

/* SELECT: of the live view, in which %1$s is storage; see final_sql. */
extern char *kafka_analysis_generate_live(const KafkaAnalysis *analysis,
										  KafkaRollupSpec *spec,
										  const char *name,
										  const KafkaCheckNodes *checks);

/* ----------------------------------------------------------------
 * states.c
 * ----------------------------------------------------------------
 */

/* SELECT: of the view of states. */
extern char *kafka_analysis_generate_states(const KafkaAnalysis *analysis,
											const KafkaRollupSpec *spec);

/*
 * SELECT: the same columns, of the messages that meet a condition, which may
 * use the query's tables.
 */
extern char *kafka_analysis_generate_tail(const KafkaAnalysis *analysis,
										  const KafkaRollupSpec *spec,
										  Node *condition);

/* ----------------------------------------------------------------
 * checks.c
 * ----------------------------------------------------------------
 */

extern KafkaCheckNodes
kafka_analysis_make_checks(const KafkaAnalysis *analysis,
						   const KafkaRollupChecks *checks);

/* SELECT: of the view of checks. */
extern char *kafka_analysis_generate_checks(const KafkaAnalysis *analysis,
											const KafkaCheckNodes *nodes);

#endif /* KAFKA_ROLLUP_ANALYZE_H */
