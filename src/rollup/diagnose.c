/*-------------------------------------------------------------------------
 *
 * diagnose.c
 *		kafka.diagnose_schedule(): why do my rollups not run?
 *
 * One row for each thing that must be right.  Those about the server come
 * first, in the order in which they would be mended.  What cannot be known
 * with the caller's rights, or from inside the server, is NULL; nothing that is
 * looked for raises an error.
 *
 * IDENTIFICATION
 *		src/rollup/diagnose.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xlog.h"
#include "commands/dbcommands.h"
#include "compat.h"
#include "core/cron.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "option.h"
#include "postmaster/bgworker_internals.h"
#include "postmaster/postmaster.h"
#include "rollup/job.h"
#include "rollup/rollup.h"
#include "rollup/schedule.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

KAFKA_SQL_FUNCTION(kafka_diagnose_schedule);

typedef enum Verdict
{
	VERDICT_BAD,
	VERDICT_GOOD,
	VERDICT_UNKNOWN
} Verdict;

/* What is said of one thing. */
typedef struct Finding
{
	Verdict verdict;
	const char *detail;
	const char *hint; /* NULL for none */
} Finding;

static Finding
make_finding(Verdict verdict, const char *detail, const char *hint)
{
	return (Finding){verdict, detail, hint};
}

static void
put(ReturnSetInfo *rsinfo, const char *subject, Finding finding)
{
	bool nulls[4] = {false, finding.verdict == VERDICT_UNKNOWN, false,
					 finding.hint == NULL};
	Datum values[4] = {0};

	values[0] = CStringGetTextDatum(subject);
	values[1] = BoolGetDatum(finding.verdict == VERDICT_GOOD);
	values[2] = CStringGetTextDatum(finding.detail);
	if (finding.hint != NULL)
		values[3] = CStringGetTextDatum(finding.hint);
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
}

/* ----------------------------------------------------------------
 * The server
 * ----------------------------------------------------------------
 */

static Finding
look_at_server(void)
{
	if (RecoveryInProgress())
		return make_finding(VERDICT_BAD,
							"This is a standby: nothing runs here.",
							"Ask on the primary.");
	return make_finding(VERDICT_GOOD, "This is a primary.", NULL);
}

static Finding
look_at_enable_runs(void)
{
	if (!kafka_enable_runs)
		return make_finding(
			VERDICT_BAD, "Runs are refused.",
			"Turn it on, unless this is a copy whose original goes on "
			"running.");
	return make_finding(VERDICT_GOOD, "Runs are allowed.", NULL);
}

static Finding
look_at_library(void)
{
	if (!kafka_job_is_preloaded())
		return make_finding(VERDICT_BAD,
							"shared_preload_libraries does not name pg_cron.",
							kafka_job_get_install_hint());
	return make_finding(VERDICT_GOOD,
						"shared_preload_libraries names pg_cron.", NULL);
}

static Finding
look_at_extension(void)
{
	if (!kafka_job_has_pg_cron())
		return make_finding(VERDICT_BAD, "It is not in this database.",
							kafka_job_is_preloaded()
								? "CREATE EXTENSION pg_cron, as a superuser."
								: kafka_job_get_install_hint());
	return make_finding(VERDICT_GOOD, "It is in this database.", NULL);
}

static Finding
look_at_database(void)
{
	const char *setting = kafka_job_get_setting("cron.database_name");
	char *database = get_database_name(MyDatabaseId);

	if (setting == NULL)
		setting = "postgres";
	if (strcmp(setting, database) != 0)
		return make_finding(
			VERDICT_BAD,
			psprintf("pg_cron works in database \"%s\", this is \"%s\".",
					 setting, database),
			psprintf("Set cron.database_name to \"%s\" in postgresql.conf, "
					 "which needs a restart. Or, as a superuser in \"%s\", "
					 "SELECT cron.schedule_in_database('kafka', '* * * * *', "
					 "'CALL kafka.run_rollups()', %s).",
					 database, setting, quote_literal_cstr(database)));
	return make_finding(VERDICT_GOOD,
						psprintf("pg_cron works in this database, \"%s\".",
								 database),
						NULL);
}

/*
 * The process that starts jobs.  Asked for as the extension's owner, who may
 * see other sessions, if he is a superuser as he mostly is.
 */
static Finding
look_at_launcher(void)
{
	uint64 count = kafka_catalog_execute(
		"SELECT a.datname = pg_catalog.current_database()"
		"  FROM pg_catalog.pg_stat_activity AS a"
		" WHERE a.backend_type = 'pg_cron launcher'",
		0, NULL, NULL, NULL);
	bool isnull;

	if (count > 0)
	{
		Datum here = SPI_getbinval(SPI_tuptable->vals[0],
								   SPI_tuptable->tupdesc, 1, &isnull);

		if (!isnull && DatumGetBool(here))
			return make_finding(VERDICT_GOOD,
								"It is running, in this database.", NULL);
		return make_finding(VERDICT_BAD, "It is running in another database.",
							NULL);
	}
	(void) kafka_catalog_execute(
		"SELECT pg_catalog.pg_has_role('pg_read_all_stats'::name, 'USAGE')", 0,
		NULL, NULL, NULL);
	if (!DatumGetBool(SPI_getbinval(SPI_tuptable->vals[0],
									SPI_tuptable->tupdesc, 1, &isnull)))
		return make_finding(
			VERDICT_UNKNOWN, "Its process cannot be seen.",
			"GRANT pg_read_all_stats to the owner of extension kafka_fdw.");
	return make_finding(
		VERDICT_BAD, "It is not running.",
		"It starts with the server, and again when it fails: see the server's "
		"log. It cannot run while there is a job of a role that was renamed or "
		"dropped: a superuser can SELECT cron.unschedule(jobid) FROM cron.job "
		"WHERE username NOT IN (SELECT rolname FROM pg_roles).");
}

/*
 * Whether pg_hba.conf lets jobs in cannot be told from here: what became of
 * them can.
 */
static Finding
look_at_connections(void)
{
	const char *workers = kafka_job_get_setting("cron.use_background_workers");
	const char *host = kafka_job_get_setting("cron.host");
	const char *max_jobs = kafka_job_get_setting("cron.max_running_jobs");

	if (max_jobs == NULL)
		max_jobs = "some";
	if (workers != NULL && strcmp(workers, "on") == 0)
		return make_finding(
			max_worker_processes > 1 ? VERDICT_GOOD : VERDICT_BAD,
			psprintf("Jobs are background workers, %s at most, of the %d of "
					 "max_worker_processes, of which the launcher, parallel "
					 "queries and others take some, too.",
					 max_jobs, max_worker_processes),
			"pg_cron before 1.5 starts no other job this way while one runs: "
			"set cron.use_background_workers to off where jobs take long.");
	if (host == NULL)
		host = "localhost";
	if (host[0] != '/' && ListenAddresses[0] == '\0')
		return make_finding(
			VERDICT_BAD,
			psprintf("Jobs connect to \"%s\", but listen_addresses is empty.",
					 host),
			"Set cron.host to the folder of the server's socket, or "
			"cron.use_background_workers to on.");
	return make_finding(
		VERDICT_GOOD,
		psprintf("Jobs connect to \"%s\", port %d, as their owners, %s at "
				 "once.",
				 host, PostPortNumber, max_jobs),
		"pg_hba.conf must let them in without a password, or the file .pgpass "
		"of the server's user have it.");
}

static Finding
look_at_role(void)
{
	KafkaJobObstacle *obstacle = kafka_job_find_obstacle(GetUserId());

	if (obstacle != NULL)
		return make_finding(VERDICT_BAD,
							psprintf("Cannot have jobs: %s.",
									 obstacle->message),
							obstacle->hint);
	return make_finding(VERDICT_GOOD, "Can have jobs.", NULL);
}

/* ----------------------------------------------------------------
 * Rollups
 * ----------------------------------------------------------------
 */

/* What makes a rollup's job anew, whatever has become of it. */
static char *
get_renew_hint(const KafkaRollup *rollup)
{
	return psprintf("SELECT kafka.alter_rollup(%s, enabled => %s) makes it "
					"anew.",
					quote_literal_cstr(rollup->name),
					rollup->enabled ? "true" : "false");
}

/* What is wrong with a job itself; NULL for nothing. */
static char *
find_difference(const KafkaJobPlan *plan, const KafkaJob *job)
{
	if (strcmp(job->schedule, plan->schedule) != 0)
		return psprintf("has schedule \"%s\" instead of \"%s\"", job->schedule,
						plan->schedule);
	if (strcmp(job->command, plan->command) != 0)
		return psprintf("has command \"%s\" instead of \"%s\"", job->command,
						plan->command);
	if (job->active != plan->active)
		return pstrdup(job->active ? "is active" : "is not active");
	if (!kafka_job_is_of_here(job))
		return psprintf("connects to \"%s\", port %d, database \"%s\", which "
						"is not this one",
						job->host, job->port, job->database);
	return NULL;
}

/* When a job should have begun again after it last did. */
static bool
is_overdue(const KafkaJob *job, TimestampTz start_at)
{
	const char *detail;
	KafkaCron cron;
	int64 next;

	if (TIMESTAMP_NOT_FINITE(start_at) || !job->active ||
		!kafka_cron_parse(job->schedule, &cron, &detail) ||
		!kafka_cron_next(&cron, start_at, &next))
		return false;
	return next + 2 * USECS_PER_MINUTE < GetCurrentTimestamp();
}

/* What became of the last run of a job that is as it should be. */
static Finding
look_at_last_run(const KafkaJob *job, const KafkaJobRun *run)
{
	char *said = psprintf("Job " INT64_FORMAT ", schedule \"%s\"%s", job->id,
						  job->schedule, job->active ? "" : ", not active");

	if (run == NULL)
		return make_finding(VERDICT_GOOD,
							psprintf("%s; no run is known.", said), NULL);
	said = psprintf("%s; last run%s%s: %s", said,
					TIMESTAMP_NOT_FINITE(run->start_at) ? "" : " at ",
					TIMESTAMP_NOT_FINITE(run->start_at)
						? ""
						: timestamptz_to_str(run->start_at),
					run->status);
	if (strcmp(run->status, "failed") == 0)
		return make_finding(VERDICT_BAD,
							psprintf("%s: %s", said,
									 run->message != NULL ? run->message
														  : "?"),
							run->message != NULL &&
									strstr(run->message, "connect") != NULL
								? "See pg_hba.conf and the server's log."
								: "See kafka.rollups and the server's log.");
	if (is_overdue(job, run->start_at) && strcmp(run->status, "running") != 0)
		return make_finding(VERDICT_BAD,
							psprintf("%s; the next one did not begin when it "
									 "was due.",
									 said),
							"See the rows above and the server's log.");
	return make_finding(VERDICT_GOOD, psprintf("%s.", said), NULL);
}

/* The job of a rollup that should have one. */
static Finding
look_at_job(const KafkaRollup *rollup, const KafkaJobPlan *plan)
{
	char *renew_hint = get_renew_hint(rollup);
	KafkaJobObstacle *obstacle = kafka_job_find_obstacle(rollup->owner);
	char *difference;
	KafkaJob *job;

	if (obstacle != NULL)
		return make_finding(VERDICT_BAD,
							psprintf("Its owner cannot have jobs: %s.",
									 obstacle->message),
							obstacle->hint);
	if (rollup->job_id == 0)
		return rollup->enabled
				   ? make_finding(VERDICT_BAD, "It has no job.", renew_hint)
				   : make_finding(VERDICT_GOOD,
								  "It is disabled, and has no job.", NULL);
	if (get_role_oid(rollup->job_role, true) != rollup->owner)
		return make_finding(
			VERDICT_BAD,
			psprintf("Its job belongs to role \"%s\", the rollup to \"%s\".",
					 rollup->job_role, GetUserNameFromId(rollup->owner, true)),
			renew_hint);
	job = kafka_job_find(rollup->owner, plan->name);
	if (job == NULL)
		return make_finding(VERDICT_BAD,
							psprintf("Its job \"%s\" is not there any more.",
									 plan->name),
							renew_hint);
	difference = find_difference(plan, job);
	if (difference != NULL)
		return make_finding(VERDICT_BAD,
							psprintf("Job " INT64_FORMAT " %s.", job->id,
									 difference),
							renew_hint);
	return look_at_last_run(job, kafka_job_find_run(rollup->owner, job->id));
}

static Finding
look_at_rollup(const KafkaRollup *rollup)
{
	KafkaJobPlan plan;

	if (!OidIsValid(rollup->owner))
		return make_finding(VERDICT_BAD, "All of its relations are gone.",
							"Drop it: kafka.drop_rollup.");
	if (!kafka_schedule_plan(rollup, &plan))
		return make_finding(
			VERDICT_UNKNOWN,
			"It has neither a schedule nor the option follow: it runs when "
			"somebody calls kafka.run_rollups.",
			NULL);
	return look_at_job(rollup, &plan);
}

/* ----------------------------------------------------------------
 * The function
 * ----------------------------------------------------------------
 */

/* kafka.diagnose_schedule() */
Datum
kafka_diagnose_schedule(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	char *role = GetUserNameFromId(GetUserId(), false);
	ListCell *cell;

	InitMaterializedSRF(fcinfo, 0);
	SPI_connect();
	put(rsinfo, "server", look_at_server());
	put(rsinfo, "kafka_fdw.enable_runs", look_at_enable_runs());
	put(rsinfo, "library pg_cron", look_at_library());
	put(rsinfo, "extension pg_cron", look_at_extension());
	if (kafka_job_is_preloaded())
	{
		put(rsinfo, "cron.database_name", look_at_database());
		put(rsinfo, "pg_cron launcher", look_at_launcher());
		put(rsinfo, "connections of jobs", look_at_connections());
	}
	put(rsinfo, psprintf("role %s", role), look_at_role());
	foreach(cell, kafka_rollup_list_runnable())
	{
		KafkaRollup *rollup = kafka_rollup_get_by_id(lfirst_int(cell));

		if (rollup != NULL)
			put(rsinfo, psprintf("rollup %s", rollup->name),
				look_at_rollup(rollup));
	}
	SPI_finish();
	return (Datum) 0;
}
