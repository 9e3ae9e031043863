/*-------------------------------------------------------------------------
 *
 * explain.c
 *		What EXPLAIN tells of a scan.
 *
 * Without ANALYZE no broker is asked, so the plan shows what is pushed down;
 * with it also why the scan stopped where it did, and what it cost.
 *
 * IDENTIFICATION
 *		src/fdw/explain.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fdw/fdw.h"
#include "fdw/ordered.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/rel.h"
#include "utils/ruleutils.h"

typedef struct DeparseContext
{
	List *context;
	bool verbose;
} DeparseContext;

static char *
deparse_value(Node *expr, void *arg)
{
	DeparseContext *deparse = (DeparseContext *) arg;

	return deparse_expression(expr, deparse->context, deparse->verbose, false);
}

static void
explain_topic(const KafkaTableOptions *table, ExplainState *es)
{
	StringInfoData buf;

	if (table->topic_pattern)
	{
		ExplainPropertyText("Topic Pattern", table->topic_pattern, es);
		return;
	}
	initStringInfo(&buf);
	for (int i = 0; i < table->ntopics; i++)
		appendStringInfo(&buf, "%s%s", i ? ", " : "", table->topics[i]);
	ExplainPropertyText("Topic", buf.data, es);
}

static void
explain_partitions(const KafkaScanState *scan, const char *pushed,
				   ExplainState *es)
{
	StringInfoData buf;

	initStringInfo(&buf);
	if (es->analyze && scan->reader)
	{
		int total = 0;

		for (int t = 0; t < scan->reader->ntopics; t++)
			total += scan->reader->topics[t]->nparts;
		appendStringInfo(&buf, "%d of %d", scan->parts_read, total);
		if (pushed)
			appendStringInfo(&buf, " (%s)", pushed);
	}
	else
		appendStringInfoString(&buf, pushed ? pushed : "all");
	ExplainPropertyText("Partitions", buf.data, es);
}

/*
 * Why partitions were not read, by the start that read the most of them.  In
 * text nothing is said where all were.
 */
static void
explain_pruned(const KafkaScanState *scan, ExplainState *es)
{
	const KafkaPruned *pruned = &scan->pruned;
	StringInfoData buf;

	initStringInfo(&buf);
	if (pruned->by_table > 0)
		appendStringInfo(&buf, ", %d by the table's partitions option",
						 pruned->by_table);
	if (pruned->by_condition > 0)
		appendStringInfo(&buf, ", %d by condition", pruned->by_condition);
	if (pruned->empty > 0)
		appendStringInfo(&buf, ", %d without offsets that can match",
						 pruned->empty);
	if (buf.len > 0)
		ExplainPropertyText("Partitions Pruned", buf.data + 2, es);
	else if (es->format != EXPLAIN_FORMAT_TEXT)
		ExplainPropertyText("Partitions Pruned", "none", es);
}

/* The first few ranges: "0: 5 to 9" is partition 0, offsets 5 to 9. */
static void
explain_ranges(const KafkaReader *reader, ExplainState *es)
{
	int ntold = (int) Min(reader->nranges, KAFKA_TOLD_RANGES);
	StringInfoData buf;

	ExplainPropertyInteger("Ranges", NULL, reader->nranges, es);
	if (ntold == 0 && es->format == EXPLAIN_FORMAT_TEXT)
		return;
	initStringInfo(&buf);
	for (int i = 0; i < ntold; i++)
	{
		const KafkaToldRange *told = &reader->told_ranges[i];

		appendStringInfoString(&buf, i ? ", " : "");
		if (reader->ntopics > 1)
			appendStringInfo(&buf, "%s ", told->topic);
		appendStringInfo(&buf, "%d: %lld to %lld", told->partition,
						 (long long) told->range.start,
						 (long long) (told->range.end - 1));
	}
	if (reader->nranges > ntold)
		appendStringInfoString(&buf, ", ...");
	ExplainPropertyText("First Ranges", buf.data, es);
}

/* Joins what is said of offsets and of times. */
static char *
join_sides(const char *offsets, const char *times)
{
	if (offsets && times)
		return psprintf("(%s) AND (%s)", offsets, times);
	return pstrdup(offsets ? offsets : times ? times : "");
}

/* Will conditions on the time stay without effect, or have they? */
static bool
time_is_not_sought(const KafkaScanState *scan, ExplainState *es)
{
	if (es->analyze && scan->reader)
		return scan->reader->stop_reason == KAFKA_STOP_INDEX_NOT_TRUSTED;
	return scan->table->trust_time_index == KAFKA_TRUST_NO;
}

static void
explain_start(const KafkaScanState *scan, const char *offsets,
			  const char *times, ExplainState *es)
{
	char *pushed = join_sides(offsets, times);

	if (scan->tail_of != NULL)
		pushed = psprintf("position of rollup %s", scan->tail_of);
	else if (pushed[0] == '\0')
		pushed = "start of topic";
	else if (!kafka_enable_pushdown)
		pushed = "start of topic: kafka_fdw.enable_pushdown is off";
	else if (times && time_is_not_sought(scan, es))
		pushed = psprintf(
			"%s (%s)", pushed,
			"not by time: the time index is not trusted (trust_time_index)");
	ExplainPropertyText("Start", pushed, es);
}

static void
explain_stop(const KafkaScanState *scan, const char *offsets,
			 const char *times, ExplainState *es)
{
	char *pushed = join_sides(offsets, times);
	const char *reason;

	if (!kafka_enable_pushdown || pushed[0] == '\0')
		reason = offsets || times
					 ? "end of topic: kafka_fdw.enable_pushdown is off"
					 : "end of topic";
	else if (es->analyze && scan->reader && times)
		reason = psprintf("%s (%s)", pushed,
						  kafka_stop_reason_text(scan->reader->stop_reason));
	else if (times && time_is_not_sought(scan, es))
		reason =
			psprintf("%s (%s)", pushed,
					 kafka_stop_reason_text(KAFKA_STOP_INDEX_NOT_TRUSTED));
	else if (times && scan->table->disorder_declared)
		reason = psprintf("%s (%s)", pushed,
						  kafka_stop_reason_text(KAFKA_STOP_DECLARED));
	else if (times)
		reason = psprintf(
			"%s (where the topic's settings bound the disorder of record times, else end of topic)",
			pushed);
	else
		reason = pushed;
	ExplainPropertyText("Stop", reason, es);
}

static void
explain_bounds(const KafkaScanState *scan, List *exprs,
			   DeparseContext *deparse, ExplainState *es)
{
	TupleDesc tupdesc = RelationGetDescr(scan->rel);
	KafkaPushdownColumns columns =
		kafka_pushdown_columns(0, scan->table, scan->columns, tupdesc);
	const char *names[KAFKA_DIMENSION_COUNT] = {0};
	char *partitions;

	for (int d = 0; d < KAFKA_DIMENSION_COUNT; d++)
	{
		if (columns.attnum[d] > 0)
			names[d] = quote_identifier(NameStr(
				TupleDescAttr(tupdesc, columns.attnum[d] - 1)->attname));
	}
#define DESCRIBE(dimension, side)                                           \
	kafka_pushdown_describe(scan->condition, dimension, side, names, exprs, \
							deparse_value, deparse)
	partitions =
		join_sides(DESCRIBE(KAFKA_DIMENSION_PARTITION, KAFKA_SIDE_BOTH),
				   DESCRIBE(KAFKA_DIMENSION_KEY_HASH, KAFKA_SIDE_BOTH));
	explain_partitions(scan,
					   kafka_enable_pushdown && partitions[0] != '\0'
						   ? partitions
						   : NULL,
					   es);
	if (es->analyze && scan->reader && !scan->ordered && scan->tail_of == NULL)
		explain_pruned(scan, es);
	explain_start(scan, DESCRIBE(KAFKA_DIMENSION_OFFSET, KAFKA_SIDE_START),
				  DESCRIBE(KAFKA_DIMENSION_TIME, KAFKA_SIDE_START), es);
	explain_stop(scan, DESCRIBE(KAFKA_DIMENSION_OFFSET, KAFKA_SIDE_END),
				 DESCRIBE(KAFKA_DIMENSION_TIME, KAFKA_SIDE_END), es);
#undef DESCRIBE
}

/*
 * All counts are sums over all loops of the node, as those of its buffers are,
 * and unlike its rows; Loops tells over how many, in text where that is not
 * one.  A loop that was never asked for a row does not count.
 */
static void
explain_counts(const KafkaScanState *scan, ExplainState *es)
{
	KafkaReader *reader = scan->reader;
	int64 messages = 0;
	int64 bytes = 0;
	int64 wait_us = 0;

	if (reader)
	{
		messages = reader->messages;
		bytes = reader->bytes;
		wait_us = reader->wait_us;
		if (reader->cursor)
		{
			const KafkaCursorStats *stats = kafka_cursor_stats(reader->cursor);

			messages += stats->messages;
			bytes += stats->bytes;
			wait_us += stats->wait_us;
		}
	}
	if (reader)
	{
		if (scan->starts != 1 || es->format != EXPLAIN_FORMAT_TEXT)
			ExplainPropertyInteger("Loops", NULL, scan->starts, es);
		explain_ranges(reader, es);

		/* What is asked in vain depends on which answers come first. */
		if (es->timing)
			ExplainPropertyInteger("Lookups", NULL,
								   kafka_reader_count_lookups(reader), es);
	}
	ExplainPropertyInteger("Messages Read", NULL, messages, es);
	ExplainPropertyInteger("Bytes Read", NULL, bytes, es);
	ExplainPropertyInteger("Messages Rejected", NULL,
						   reader ? reader->rejected : 0, es);
	if (es->timing)
		ExplainPropertyFloat("Broker Wait Time", "ms", wait_us / 1000.0, 3,
							 es);
}

void
kafkaExplainForeignScan(ForeignScanState *node, ExplainState *es)
{
	ForeignScan *plan = castNode(ForeignScan, node->ss.ps.plan);
	KafkaScanState *scan = (KafkaScanState *) node->fdw_state;
	DeparseContext deparse;

	/*
	 * The context is this node's already: what is pushed down is a filter as
	 * well, and EXPLAIN has just shown that.  Set anew, it would lose the
	 * node's ancestors, which callbacks are not told, and with them the names
	 * of the outer columns that parameters stand for.
	 */
	deparse.context = es->deparse_cxt;
	deparse.verbose = es->verbose || list_length(es->rtable) > 1;
	explain_topic(scan->table, es);
	explain_bounds(scan, plan->fdw_exprs, &deparse, es);
	if (scan->order != NIL)
		ExplainPropertyText("Order", kafka_ordered_describe(scan), es);
	if (es->analyze)
		explain_counts(scan, es);
}
