/*-------------------------------------------------------------------------
 *
 * schedule.c
 *		What runs a rollup: its schedule, or the option follow, and the jobs
 *		of pg_cron that come of them; kafka.next_run.
 *
 * A rollup with a schedule has a job of its own, kafka:<name>.  Those of one
 * owner that follow their topics share the job kafka:follow.  Either belongs to
 * the rollup's owner.  Its id and role are stored with the rollup, but it is
 * found by role and name, which are unique together: after a restore the id may
 * be another job's.
 *
 * Jobs can be changed or removed behind our back, pg_cron can be gone, the owner
 * another one.  None of that stands in the way of altering or dropping a
 * rollup: a notice tells, and kafka.diagnose_schedule() does.
 *
 * IDENTIFICATION
 *		src/rollup/schedule.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_authid.h"
#include "catalog/pg_type.h"
#include "compat.h"
#include "core/cron.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "rollup/job.h"
#include "rollup/rollup.h"
#include "rollup/schedule.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/timestamp.h"

KAFKA_SQL_FUNCTION(kafka_next_run);

#define FOLLOW_JOB "kafka:follow"
#define FOLLOW_SCHEDULE "* * * * *"
#define FOLLOW_COMMAND \
	"CALL kafka.run_rollups(follow => true, max_time => '60 s')"

#define SCHEDULE_HINT                                                        \
	"Five fields, minute, hour, day of month, month, day of week, in GMT, "  \
	"such as */10 * * * *; or @hourly, @daily, @weekly, @monthly, @yearly. " \
	"For less than a minute there is the option follow."

/* ----------------------------------------------------------------
 * Texts
 * ----------------------------------------------------------------
 */

static void
read_schedule(const char *text, KafkaCron *cron)
{
	const char *detail = NULL;

	if (!kafka_cron_parse(text, cron, &detail))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("invalid schedule: \"%s\"", text),
						errdetail_internal("%s", detail),
						errhint("%s", SCHEDULE_HINT)));
}

/* The zone by whose clock pg_cron goes: from 1.5 on there is a setting. */
static pg_tz *
get_zone(void)
{
	const char *name = GetConfigOption("cron.timezone", true, false);
	pg_tz *zone = name != NULL ? pg_tzset(name) : NULL;

	return zone != NULL ? zone : pg_tzset("GMT");
}

/*
 * The next time of a schedule; DT_NOEND for never.  The clock of a zone is that
 * of GMT and an offset, until that changes: then what is after the change is
 * looked for by the new one.  So what the clock passes over does not come, and
 * what it shows twice comes twice, as it does with pg_cron.
 */
static TimestampTz
get_next(const KafkaCron *cron, TimestampTz after)
{
	pg_tz *zone = get_zone();
	pg_time_t from = timestamptz_to_time_t(after);

	for (;;)
	{
		pg_time_t change;
		long offset;
		long new_offset;
		int is_dst;
		int found =
			TIMESTAMP_NOT_FINITE(after)
				? -1
				: pg_next_dst_boundary(&from, &offset, &is_dst, &change,
									   &new_offset, &is_dst, zone);
		int64 shift_us = found < 0 ? 0 : offset * USECS_PER_SEC;
		int64 next;

		if (!kafka_cron_next(cron, after + shift_us, &next))
			return DT_NOEND;
		next -= shift_us;
		if (found <= 0 || next < time_t_to_timestamptz(change))
			return next;
		after = time_t_to_timestamptz(change) - 1;
		from = change;
	}
}

/* The schedule as it is stored, palloc'd; NULL for none. */
static char *
normalize_schedule(const char *text)
{
	const char *blanks = " \t\r\n";
	size_t length;

	text += strspn(text, blanks);
	length = strlen(text);
	while (length > 0 && strchr(blanks, text[length - 1]) != NULL)
		length--;
	if (length == 0 || (length == 4 && pg_strncasecmp(text, "none", 4) == 0))
		return NULL;
	return pnstrdup(text, length);
}

void
kafka_schedule_check(const char *schedule, bool follow)
{
	char *text = schedule != NULL ? normalize_schedule(schedule) : NULL;
	KafkaCron cron;

	if (text == NULL)
		return;
	read_schedule(text, &cron);
	if (!cron.is_reboot && get_next(&cron, GetCurrentTimestamp()) == DT_NOEND)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("schedule \"%s\" never comes", text)));
	if (follow)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("schedule and the option follow exclude each other"),
				 errhint("Set schedule to 'none', or follow to false.")));
}

/* kafka.next_run(schedule text, after timestamptz) */
Datum
kafka_next_run(PG_FUNCTION_ARGS)
{
	char *schedule = text_to_cstring(PG_GETARG_TEXT_PP(0));
	TimestampTz after = PG_GETARG_TIMESTAMPTZ(1);
	KafkaCron cron;
	TimestampTz next;

	read_schedule(schedule, &cron);
	next = get_next(&cron, after);
	if (next == DT_NOEND)
		PG_RETURN_NULL();
	PG_RETURN_TIMESTAMPTZ(next);
}

/* ----------------------------------------------------------------
 * The job that a rollup should have
 * ----------------------------------------------------------------
 */

/*
 * kafka:<name>.  That of a rollup called follow, which is the shared job's, has
 * an underscore more, as have those of rollups called _follow, __follow, ...:
 * so no two are the same.
 */
static char *
make_job_name(const char *name)
{
	const char *end = name + strspn(name, "_");

	return psprintf("kafka:%s%s", strcmp(end, "follow") == 0 ? "_" : "", name);
}

bool
kafka_schedule_plan(const KafkaRollup *rollup, KafkaJobPlan *plan)
{
	if (rollup->options.follow)
	{
		plan->name = FOLLOW_JOB;
		plan->schedule = FOLLOW_SCHEDULE;
		plan->command = FOLLOW_COMMAND;
		plan->active = true; /* others may need it */
		return true;
	}
	if (rollup->schedule == NULL)
		return false;
	plan->name = make_job_name(rollup->name);
	plan->schedule = rollup->schedule;
	plan->command = psprintf("CALL kafka.run_rollups(%s)",
							 quote_literal_cstr(rollup->name));
	plan->active = rollup->enabled;
	return true;
}

/*
 * Does another rollup follow by the same job?  By its role, since the job that
 * one has found may be another than the other has made.
 */
static bool
is_shared(const KafkaRollup *rollup)
{
	Oid types[] = {INT4OID, TEXTOID};
	Datum values[lengthof(types)];

	values[0] = Int32GetDatum(rollup->rollup_id);
	values[1] = CStringGetTextDatum(rollup->job_role);
	return kafka_catalog_execute(
			   "SELECT FROM kafka.stored_rollup"
			   " WHERE rollup_id <> $1 AND job_role = $2"
			   "   AND options @> '{\"follow\": true}' LIMIT 1",
			   lengthof(types), types, values, NULL) > 0;
}

/*
 * Until the end of the transaction nobody else looks whether the job that the
 * rollups of a role share is still needed, or makes it, or drops the role.
 */
static void
lock_role(Oid role)
{
	LockSharedObject(AuthIdRelationId, role, 0, ShareUpdateExclusiveLock);
}

static void
tell_removed(const KafkaRollup *rollup)
{
	ereport(NOTICE, (errmsg("job " INT64_FORMAT
							" of rollup \"%s\" was removed by somebody",
							rollup->job_id, rollup->name)));
}

/*
 * Removes the job that is stored with a rollup, unless others need it, or it
 * cannot be done: then a notice says why.
 */
static void
remove_job(const KafkaRollup *rollup)
{
	Oid role = get_role_oid(rollup->job_role, true);
	KafkaJobObstacle *obstacle;
	KafkaJobPlan plan;
	KafkaJob *job;

	if (!OidIsValid(role))
	{
		ereport(NOTICE,
				(errmsg("job " INT64_FORMAT
						" of rollup \"%s\" stays, since role \"%s\" does not "
						"exist any more",
						rollup->job_id, rollup->name, rollup->job_role),
				 errhint("A superuser can remove it: SELECT "
						 "cron.unschedule(" INT64_FORMAT ").",
						 rollup->job_id)));
		return;
	}
	lock_role(role);
	if (rollup->options.follow && is_shared(rollup))
		return;
	obstacle = kafka_job_find_obstacle(role);
	if (obstacle != NULL)
	{
		ereport(NOTICE,
				(errmsg("job " INT64_FORMAT " of rollup \"%s\" stays: %s",
						rollup->job_id, rollup->name, obstacle->message)));
		return;
	}
	if (!kafka_schedule_plan(rollup, &plan))
		return; /* cannot be: what made the job is in the same row */
	job = kafka_job_find(role, plan.name);
	if (job == NULL)
		tell_removed(rollup);
	else
		kafka_job_remove(role, job->id);
}

/* Tells when a job is not as it was made. */
static void
tell_changes(const KafkaRollup *before, const KafkaJob *job)
{
	KafkaJobPlan plan;

	if (job == NULL)
		tell_removed(before);
	else if (kafka_schedule_plan(before, &plan) &&
			 (strcmp(job->schedule, plan.schedule) != 0 ||
			  strcmp(job->command, plan.command) != 0))
		ereport(NOTICE, (errmsg("job " INT64_FORMAT
								" of rollup \"%s\" was changed by somebody",
								job->id, before->name)));
}

/*
 * Makes the job of a plan as a role, or makes the one there is like it; returns
 * its id, 0 where there is to be none as long as the rollup is disabled.
 */
static int64
make_job(Oid role, const KafkaJobPlan *plan, const KafkaJob *old)
{
	/* Making it again would leave all but the schedule and the command. */
	if (old != NULL && (!kafka_job_is_of_here(old) ||
						(old->active != plan->active &&
						 !kafka_job_set_active(role, old->id, plan->active))))
	{
		kafka_job_remove(role, old->id);
		old = NULL;
	}
	if (!plan->active && old == NULL)
		return 0;
	return kafka_job_make(role, plan->name, plan->schedule, plan->command);
}

/* ----------------------------------------------------------------
 * From one state to another
 * ----------------------------------------------------------------
 */

/* Stores what a rollup is run by; job 0 for none. */
static void
store(const KafkaRollup *rollup, int64 job_id, const char *job_role)
{
	Oid types[] = {INT4OID, TEXTOID, INT8OID, TEXTOID};
	Datum values[lengthof(types)] = {0};
	bool nulls[lengthof(types)] = {false, rollup->schedule == NULL,
								   job_id == 0, job_id == 0};

	values[0] = Int32GetDatum(rollup->rollup_id);
	if (rollup->schedule != NULL)
		values[1] = CStringGetTextDatum(rollup->schedule);
	values[2] = Int64GetDatum(job_id);
	if (job_id != 0)
		values[3] = CStringGetTextDatum(job_role);
	(void) kafka_catalog_execute("UPDATE kafka.stored_rollup"
								 "   SET schedule = $2, job_id = $3,"
								 "       job_role = $4"
								 " WHERE rollup_id = $1",
								 lengthof(types), types, values, nulls);
}

/* Tells how to do without pg_cron; only a schedule may be an error. */
static void
report_obstacle(const KafkaRollup *rollup, const KafkaJobObstacle *obstacle,
				bool must_run)
{
	bool follows = rollup->options.follow;
	char *hint =
		psprintf("%s Or without pg_cron have cron(8) or a systemd "
				 "timer call psql -c \"%s\"%s, see doc/schedule.md.",
				 obstacle->hint,
				 follows ? FOLLOW_COMMAND : "CALL kafka.run_rollups()",
				 follows ? " each minute" : "");

	if (follows)
		ereport(NOTICE, (errmsg("nothing runs rollup \"%s\" by itself: %s",
								rollup->name, obstacle->message),
						 errhint("%s", hint)));
	else if (!must_run)
		ereport(NOTICE,
				(errmsg("the schedule of rollup \"%s\" has no effect: %s",
						rollup->name, obstacle->message),
				 errhint("%s", hint)));
	else
		ereport(ERROR, (errcode(obstacle->sqlerrcode),
						errmsg("rollup \"%s\" cannot have a schedule: %s",
							   rollup->name, obstacle->message),
						errhint("%s", hint)));
}

/*
 * Brings the job of a rollup from what its row said before (NULL: it is new) to
 * what it says now.  With must_run a schedule that cannot have a job is an
 * error.
 */
static void
change_job(const KafkaRollup *before, const KafkaRollup *now, bool must_run)
{
	KafkaJobPlan plan;
	bool wants_job = kafka_schedule_plan(now, &plan);
	bool had_job = before != NULL && before->job_id != 0;
	bool keeps_job = had_job && wants_job &&
					 before->options.follow == now->options.follow &&
					 get_role_oid(before->job_role, true) == now->owner;
	KafkaJobObstacle *obstacle = NULL;
	int64 job_id = 0;

	if (wants_job)
		obstacle = kafka_job_find_obstacle(now->owner);
	if (obstacle != NULL)
		report_obstacle(now, obstacle, must_run);
	if (had_job && !keeps_job)
		remove_job(before);

	if (wants_job && obstacle == NULL)
	{
		KafkaJob *old;

		lock_role(now->owner);
		old = kafka_job_find(now->owner, plan.name);
		if (keeps_job)
			tell_changes(before, old);
		job_id = make_job(now->owner, &plan, old);
	}
	else if (keeps_job)
		job_id = before->job_id; /* it may be within reach again some day */
	store(now, job_id, GetUserNameFromId(now->owner, true));
}

void
kafka_schedule_create(int32 rollup_id, const char *schedule)
{
	KafkaRollup *rollup = kafka_rollup_get_by_id(rollup_id);

	rollup->schedule = schedule != NULL ? normalize_schedule(schedule) : NULL;
	if (rollup->schedule != NULL || rollup->options.follow)
		change_job(NULL, rollup, true);
}

void
kafka_schedule_alter(const KafkaRollup *before, const char *schedule,
					 bool renew)
{
	KafkaRollup *now = kafka_rollup_get_by_id(before->rollup_id);
	bool moved = before->job_role != NULL &&
				 get_role_oid(before->job_role, true) != now->owner;

	if (schedule != NULL)
		now->schedule = normalize_schedule(schedule);
	kafka_schedule_check(now->schedule, now->options.follow);
	if (schedule != NULL || renew || moved ||
		before->options.follow != now->options.follow)
		change_job(before, now, schedule != NULL);
}

void
kafka_schedule_drop(const KafkaRollup *rollup)
{
	if (rollup->job_id != 0)
		remove_job(rollup);
}
