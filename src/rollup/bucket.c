/*-------------------------------------------------------------------------
 *
 * bucket.c
 *		A rollup's bucket, as its view of states computes it.
 *
 * The bucket is date_bin or date_trunc of a time, all else constant
 * (mutable.c), so it is of type timestamp or timestamptz.  Both are the same
 * number inside, and that number is what is handed around and compared here:
 * a bucket without a time zone counts as if its zone were UTC, so that no zone
 * and no change to summer time has a part in comparing.
 *
 * The expression is taken from the view, not from what create_rollup knew: so
 * it is the one by which rows are grouped, and nothing needs to be stored.
 *
 * IDENTIFICATION
 *		src/rollup/bucket.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/relation.h"
#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "parser/parsetree.h"
#include "rewrite/rewriteHandler.h"
#include "rollup/analyze.h"
#include "rollup/apply.h"
#include "utils/fmgrprotos.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/ruleutils.h"
#include "utils/timestamp.h"

static void
pg_attribute_noreturn() report_no_bucket(const KafkaRollup *rollup)
{
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("the view of states of rollup \"%s\" has no bucket",
					rollup->name),
			 errhint("It was replaced, or is gone. Drop the rollup with "
					 "kafka.drop_rollup, and create it anew.")));
}

/* The query of the view of states; palloc'd. */
static Query *
read_states(const KafkaRollup *rollup)
{
	Relation view;
	Query *query;

	if (!OidIsValid(rollup->states))
		report_no_bucket(rollup);
	view = relation_open(rollup->states, AccessShareLock);
	if (view->rd_rel->relkind != RELKIND_VIEW)
		report_no_bucket(rollup);
	query = copyObject(get_view_query(view));
	relation_close(view, NoLock);
	return query;
}

/* Finds the bucket in the query of rows that the query of states reads. */
static void
find_bucket(KafkaBucket *bucket, Query *states, const char *name)
{
	ListCell *cell;

	foreach(cell, states->targetList)
	{
		TargetEntry *target = lfirst_node(TargetEntry, cell);
		Var *column = (Var *) target->expr;
		RangeTblEntry *entry;

		if (!IsA(column, Var) || strcmp(target->resname, name) != 0)
			continue;
		entry = rt_fetch(column->varno, states->rtable);
		if (entry->rtekind != RTE_SUBQUERY)
			return;
		bucket->rows = entry->subquery;
		bucket->call =
			(FuncExpr *) list_nth_node(TargetEntry, bucket->rows->targetList,
									   column->varattno - 1)
				->expr;
		return;
	}
}

KafkaBucket *
kafka_bucket_read(const KafkaRollup *rollup)
{
	KafkaBucket *bucket = palloc0(sizeof(KafkaBucket));

	if (rollup->bucket_column != NULL)
		find_bucket(bucket, read_states(rollup), rollup->bucket_column);
	if (bucket->call == NULL || !IsA(bucket->call, FuncExpr) ||
		list_length(bucket->call->args) < 2 ||
		(bucket->call->funcresulttype != TIMESTAMPOID &&
		 bucket->call->funcresulttype != TIMESTAMPTZOID))
		report_no_bucket(rollup);
	bucket->type = bucket->call->funcresulttype;
	return bucket;
}

/*
 * Where the instant is that the bucket is made of: its second argument, or
 * what that converts to another zone, as in date_trunc('day', ts AT TIME ZONE
 * 'Asia/Seoul').
 */
static ListCell *
find_instant(FuncExpr *call)
{
	ListCell *cell = list_nth_cell(call->args, 1);
	FuncExpr *zone = lfirst(cell);

	if (kafka_analysis_find_instant((Node *) zone) == (Node *) zone)
		return cell;
	return list_nth_cell(zone->args, 1);
}

/* All is the server's own: date_bin or date_trunc of constants. */
static int64
evaluate(FuncExpr *call)
{
	EState *estate = CreateExecutorState();
	ExprState *expression = ExecPrepareExpr((Expr *) call, estate);
	bool isnull;
	int64 value = DatumGetTimestampTz(
		ExecEvalExprSwitchContext(expression, GetPerTupleExprContext(estate),
								  &isnull));

	/* not NULL, as all the arguments are not */
	FreeExecutorState(estate);
	return value;
}

static Const *
make_constant(Oid type, int64 value)
{
	return makeConst(type, -1, InvalidOid, sizeof(int64),
					 TimestampTzGetDatum(value), false, FLOAT8PASSBYVAL);
}

int64
kafka_bucket_of_time(const KafkaBucket *bucket, TimestampTz time)
{
	FuncExpr *call = copyObject(bucket->call);
	ListCell *cell = find_instant(call);
	Oid type = exprType(lfirst(cell));

	if (type == TIMESTAMPOID)
		time =
			DatumGetTimestamp(DirectFunctionCall1(timestamptz_timestamp,
												  TimestampTzGetDatum(time)));
	lfirst(cell) = make_constant(type, time);
	return evaluate(call);
}

int64
kafka_bucket_of_value(const KafkaBucket *bucket, int64 value)
{
	FuncExpr *call = copyObject(bucket->call);

	lsecond(call->args) = make_constant(bucket->type, value);
	return evaluate(call);
}

/*
 * By bisection, which asks for nothing but that later times are not in earlier
 * buckets, and so works for months and for zones with summer time alike.
 */
TimestampTz
kafka_bucket_find_end(const KafkaBucket *bucket, const Interval *width,
					  TimestampTz time)
{
	int64 value = kafka_bucket_of_time(bucket, time);
	TimestampTz low = time;
	TimestampTz high =
		DatumGetTimestampTz(DirectFunctionCall2(timestamptz_pl_interval,
												TimestampTzGetDatum(time),
												IntervalPGetDatum(width))) +
		USECS_PER_DAY;

	/* low is in the bucket, high is in a later one */
	while (high - low > 1)
	{
		TimestampTz middle = low + (high - low) / 2;

		if (kafka_bucket_of_time(bucket, middle) == value)
			low = middle;
		else
			high = middle;
	}
	return high;
}

char *
kafka_bucket_describe(const KafkaBucket *bucket, int64 value)
{
	Oid output;
	bool is_varlena;

	getTypeOutputInfo(bucket->type, &output, &is_varlena);
	return OidOutputFunctionCall(output, TimestampTzGetDatum(value));
}

char *
kafka_bucket_generate_rows(const KafkaBucket *bucket)
{
	int level = kafka_analysis_fix_settings("pg_catalog, pg_temp");
	Query *rows = copyObject(bucket->rows);
	char *text;

	rows->targetList =
		list_make1(makeTargetEntry((Expr *) copyObject(bucket->call), 1,
								   pstrdup("bucket"), false));
	text = pg_get_querydef(rows, false);
	AtEOXact_GUC(true, level);
	return text;
}
