/*-------------------------------------------------------------------------
 *
 * kafka_fdw.c
 *		The module: its settings and its table of callbacks.
 *
 * IDENTIFICATION
 *		src/kafka_fdw.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <limits.h>

#include "compat.h"
#include "fdw/fdw.h"
#include "fmgr.h"
#include "utils/guc.h"

PG_MODULE_MAGIC;

KAFKA_SQL_FUNCTION(kafka_fdw_handler);

extern PGDLLEXPORT void _PG_init(void);

char *kafka_allowed_brokers = NULL;
bool kafka_enable_pushdown = true;
double kafka_max_scan_bytes = -1;
int kafka_progress_interval_ms = 10000;
bool kafka_enable_runs = true;

void
_PG_init(void)
{
	DefineCustomBoolVariable(
		"kafka_fdw.enable_pushdown",
		"Reads only the part of a topic that a query's conditions need.",
		"Results are the same when it is off.", &kafka_enable_pushdown, true,
		PGC_USERSET, 0, NULL, NULL, NULL);
	DefineCustomStringVariable(
		"kafka_fdw.allowed_brokers",
		"Brokers that servers may name, as a comma list of host[:port].",
		"An asterisk matches any text. Empty allows any broker.",
		&kafka_allowed_brokers, "", PGC_SUSET, 0, NULL, NULL, NULL);
	DefineCustomRealVariable("kafka_fdw.max_scan_bytes",
							 "Refuses scans that read more than this.",
							 "-1 turns the limit off.", &kafka_max_scan_bytes,
							 -1, -1, 1e18, PGC_SUSET, GUC_UNIT_BYTE, NULL,
							 NULL, NULL);
	DefineCustomIntVariable("kafka_fdw.progress_interval",
							"Time between notices of a long scan's progress.",
							"0 turns them off.", &kafka_progress_interval_ms,
							10000, 0, INT_MAX, PGC_USERSET, GUC_UNIT_MS, NULL,
							NULL, NULL);
	DefineCustomBoolVariable(
		"kafka_fdw.enable_runs", "Lets rollups run.",
		"Off on copies of a database whose original goes on running.",
		&kafka_enable_runs, true, PGC_SUSET, 0, NULL, NULL, NULL);
	MarkGUCPrefixReserved("kafka_fdw");
}

Datum
kafka_fdw_handler(PG_FUNCTION_ARGS)
{
	FdwRoutine *routine = makeNode(FdwRoutine);

	routine->GetForeignRelSize = kafkaGetForeignRelSize;
	routine->GetForeignPaths = kafkaGetForeignPaths;
	routine->GetForeignPlan = kafkaGetForeignPlan;
	routine->BeginForeignScan = kafkaBeginForeignScan;
	routine->IterateForeignScan = kafkaIterateForeignScan;
	routine->ReScanForeignScan = kafkaReScanForeignScan;
	routine->EndForeignScan = kafkaEndForeignScan;
	routine->ExplainForeignScan = kafkaExplainForeignScan;
	routine->AnalyzeForeignTable = kafkaAnalyzeForeignTable;
	routine->IsForeignPathAsyncCapable = kafkaIsForeignPathAsyncCapable;
	routine->ForeignAsyncRequest = kafkaForeignAsyncRequest;
	routine->ForeignAsyncConfigureWait = kafkaForeignAsyncConfigureWait;
	routine->ForeignAsyncNotify = kafkaForeignAsyncNotify;
	PG_RETURN_POINTER(routine);
}
