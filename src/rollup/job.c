/*-------------------------------------------------------------------------
 *
 * job.c
 *		pg_cron's jobs.
 *
 * Row level security of cron.job and cron.job_run_details shows a role its own
 * jobs, by the name it has, and cron.unschedule removes only these: that is why
 * everything here is done as the job's role.
 *
 * IDENTIFICATION
 *		src/rollup/job.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog.h"
#include "catalog/namespace.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_type.h"
#include "commands/dbcommands.h"
#include "commands/extension.h"
#include "miscadmin.h"
#include "postmaster/postmaster.h"
#include "rollup/job.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/syscache.h"
#include "utils/varlena.h"

/* How pg_cron connects by default. */
#define DEFAULT_HOST "localhost"

/* What only superusers may by default. */
#define MAY_ALTER_JOBS                          \
	"SELECT pg_catalog.has_function_privilege(" \
	"  'cron.alter_job(bigint,text,text,text,text,boolean)', 'EXECUTE')"

/* What everybody may by default. */
#define MAY_HAVE_JOBS                                              \
	"SELECT pg_catalog.has_table_privilege('cron.job', 'SELECT') " \
	"AND pg_catalog.has_function_privilege("                       \
	"  'cron.schedule(text,text,text)', 'EXECUTE') "               \
	"AND pg_catalog.has_function_privilege("                       \
	"  'cron.unschedule(bigint)', 'EXECUTE')"
#define MAY_SEE_RUNS \
	"SELECT pg_catalog.has_table_privilege('cron.job_run_details', 'SELECT')"

/* ----------------------------------------------------------------
 * What is installed
 * ----------------------------------------------------------------
 */

bool
kafka_job_has_pg_cron(void)
{
	return OidIsValid(get_extension_oid("pg_cron", true));
}

bool
kafka_job_is_preloaded(void)
{
	char *names = pstrdup(shared_preload_libraries_string);
	List *libraries;
	ListCell *cell;

	if (!SplitDirectoriesString(names, ',', &libraries))
		return false;
	foreach(cell, libraries)
	{
		const char *path = lfirst(cell);
		const char *slash = last_dir_separator(path);
		const char *name = slash != NULL ? slash + 1 : path;

		if (strcmp(name, "pg_cron") == 0 || strcmp(name, "pg_cron.so") == 0)
			return true;
	}
	return false;
}

const char *
kafka_job_get_setting(const char *name)
{
	return GetConfigOption(name, true, false);
}

char *
kafka_job_get_install_hint(void)
{
	return psprintf("In postgresql.conf add pg_cron to "
					"shared_preload_libraries and set cron.database_name to "
					"\"%s\" (both need a restart)%s.",
					get_database_name(MyDatabaseId),
					kafka_job_has_pg_cron()
						? ""
						: ", then CREATE EXTENSION pg_cron");
}

/* ----------------------------------------------------------------
 * As a role
 * ----------------------------------------------------------------
 */

/* Runs one fixed statement as a role; results are in SPI_tuptable. */
static uint64
execute_as(Oid role, const char *sql, int nargs, Oid *types, Datum *values)
{
	MemoryContext context = CurrentMemoryContext;
	KafkaUserSwitch saved;
	uint64 processed;
	int result;

	kafka_catalog_become(&saved, role, NULL);
	result = SPI_execute_with_args(sql, nargs, types, values, NULL, false, 0);
	processed = SPI_processed;
	kafka_catalog_restore_user(&saved);
	MemoryContextSwitchTo(context);
	if (result < 0) /* cannot happen: a statement of ours that SPI refuses */
		elog(ERROR, "could not execute \"%s\": %s", sql,
			 SPI_result_code_string(result));
	return processed;
}

/* Asks something that is true, false or NULL, which counts as false. */
static bool
ask_as(Oid role, const char *sql)
{
	bool isnull;
	bool result;

	(void) execute_as(role, sql, 0, NULL, NULL);
	result = DatumGetBool(SPI_getbinval(SPI_tuptable->vals[0],
										SPI_tuptable->tupdesc, 1, &isnull));
	SPI_freetuptable(SPI_tuptable);
	return !isnull && result;
}

/* ----------------------------------------------------------------
 * May a role have jobs?
 * ----------------------------------------------------------------
 */

static KafkaJobObstacle *
make_obstacle(int sqlerrcode, char *message, char *hint)
{
	KafkaJobObstacle *obstacle = palloc(sizeof(*obstacle));

	obstacle->sqlerrcode = sqlerrcode;
	obstacle->message = message;
	obstacle->hint = hint;
	return obstacle;
}

static bool
can_login(Oid role)
{
	HeapTuple tuple = SearchSysCache1(AUTHOID, ObjectIdGetDatum(role));
	bool result;

	if (!HeapTupleIsValid(tuple))
		return false;
	result = ((Form_pg_authid) GETSTRUCT(tuple))->rolcanlogin;
	ReleaseSysCache(tuple);
	return result;
}

static bool
may_use_schema(Oid role)
{
	Oid schema = get_namespace_oid("cron", true);

	return OidIsValid(schema) &&
		   DatumGetBool(DirectFunctionCall3(has_schema_privilege_id_id,
											ObjectIdGetDatum(role),
											ObjectIdGetDatum(schema),
											CStringGetTextDatum("USAGE")));
}

KafkaJobObstacle *
kafka_job_find_obstacle(Oid role)
{
	const char *database = kafka_job_get_setting("cron.database_name");
	char *name = GetUserNameFromId(role, true);

	if (!kafka_job_has_pg_cron())
		return make_obstacle(
			ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
			pstrdup("extension \"pg_cron\" is not in this database"),
			kafka_job_get_install_hint());
	if (!kafka_job_is_preloaded())
		return make_obstacle(
			ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
			pstrdup("library \"pg_cron\" is not loaded by the server"),
			kafka_job_get_install_hint());
	if (database == NULL ||
		strcmp(database, get_database_name(MyDatabaseId)) != 0)
		return make_obstacle(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
							 psprintf("pg_cron works in database \"%s\"",
									  database != NULL ? database
													   : "postgres"),
							 kafka_job_get_install_hint());
	if (name == NULL)
		return make_obstacle(ERRCODE_UNDEFINED_OBJECT,
							 psprintf("role with OID %u does not exist", role),
							 pstrdup("Drop the rollup."));
	if (!can_login(role))
		return make_obstacle(
			ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
			psprintf("role \"%s\" is not permitted to log in, as jobs do",
					 name),
			psprintf("ALTER ROLE %s LOGIN, or give the rollup to a role that "
					 "may: ALTER VIEW ... OWNER TO.",
					 quote_identifier(name)));
	if (!may_use_schema(role))
		return make_obstacle(ERRCODE_INSUFFICIENT_PRIVILEGE,
							 psprintf("role \"%s\" may not use schema cron",
									  name),
							 psprintf("GRANT USAGE ON SCHEMA cron TO %s.",
									  quote_identifier(name)));
	if (!ask_as(role, MAY_HAVE_JOBS))
		return make_obstacle(
			ERRCODE_INSUFFICIENT_PRIVILEGE,
			psprintf("role \"%s\" may not use the jobs of pg_cron", name),
			psprintf("GRANT SELECT ON cron.job TO %s; GRANT EXECUTE ON "
					 "FUNCTION cron.schedule(text, text, text), "
					 "cron.unschedule(bigint) TO %s.",
					 quote_identifier(name), quote_identifier(name)));
	return NULL;
}

/* ----------------------------------------------------------------
 * Jobs
 * ----------------------------------------------------------------
 */

/* A column of the first row as text, palloc'd; NULL for null. */
static char *
get_column(int column)
{
	return SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, column);
}

/* A column of the first row that is never null. */
static Datum
get_datum(int column)
{
	bool isnull;

	return SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, column,
						 &isnull);
}

KafkaJob *
kafka_job_find(Oid role, const char *name)
{
	Oid type = TEXTOID;
	Datum value = CStringGetTextDatum(name);
	KafkaJob *job = NULL;

	/* A superuser sees everybody's. */
	if (execute_as(role,
				   "SELECT jobid, schedule, command, nodename, nodeport,"
				   "  database, active FROM cron.job"
				   " WHERE jobname = $1::name"
				   "   AND username = current_user::text",
				   1, &type, &value) > 0)
	{
		job = palloc(sizeof(*job));
		job->id = DatumGetInt64(get_datum(1));
		job->schedule = get_column(2);
		job->command = get_column(3);
		job->host = get_column(4);
		job->port = DatumGetInt32(get_datum(5));
		job->database = get_column(6);
		job->active = DatumGetBool(get_datum(7));
	}
	SPI_freetuptable(SPI_tuptable);
	return job;
}

KafkaJobRun *
kafka_job_find_run(Oid role, int64 id)
{
	Oid type = INT8OID;
	Datum value = Int64GetDatum(id);
	KafkaJobRun *run = NULL;
	bool isnull;

	if (!ask_as(role, MAY_SEE_RUNS))
		return NULL;
	if (execute_as(role,
				   "SELECT status, return_message, start_time"
				   "  FROM cron.job_run_details"
				   " WHERE jobid = $1 AND username = current_user::text"
				   " ORDER BY runid DESC LIMIT 1",
				   1, &type, &value) > 0)
	{
		run = palloc(sizeof(*run));
		run->status = get_column(1);
		run->message = get_column(2);
		run->start_at = DatumGetTimestampTz(
			SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 3,
						  &isnull));
		if (isnull)
			run->start_at = DT_NOBEGIN;
		if (run->status == NULL)
			run->status = pstrdup("unknown");
	}
	SPI_freetuptable(SPI_tuptable);
	return run;
}

bool
kafka_job_is_of_here(const KafkaJob *job)
{
	const char *host = kafka_job_get_setting("cron.host");

	return job->port == PostPortNumber &&
		   strcmp(job->host, host != NULL ? host : DEFAULT_HOST) == 0 &&
		   strcmp(job->database, get_database_name(MyDatabaseId)) == 0;
}

int64
kafka_job_make(Oid role, const char *name, const char *schedule,
			   const char *command)
{
	Oid types[] = {TEXTOID, TEXTOID, TEXTOID};
	Datum values[lengthof(types)];
	int64 id;

	values[0] = CStringGetTextDatum(name);
	values[1] = CStringGetTextDatum(schedule);
	values[2] = CStringGetTextDatum(command);
	(void) execute_as(role, "SELECT cron.schedule($1, $2, $3)",
					  lengthof(types), types, values);
	id = DatumGetInt64(get_datum(1));
	SPI_freetuptable(SPI_tuptable);
	return id;
}

void
kafka_job_remove(Oid role, int64 id)
{
	Oid type = INT8OID;
	Datum value = Int64GetDatum(id);

	(void) execute_as(role, "SELECT cron.unschedule($1)", 1, &type, &value);
	SPI_freetuptable(SPI_tuptable);
}

bool
kafka_job_set_active(Oid role, int64 id, bool active)
{
	Oid types[] = {INT8OID, BOOLOID};
	Datum values[lengthof(types)];

	if (!ask_as(role, MAY_ALTER_JOBS))
		return false;

	values[0] = Int64GetDatum(id);
	values[1] = BoolGetDatum(active);
	(void) execute_as(role,
					  "SELECT cron.alter_job(job_id => $1, active => $2)",
					  lengthof(types), types, values);
	SPI_freetuptable(SPI_tuptable);
	return true;
}
