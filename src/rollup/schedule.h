/*-------------------------------------------------------------------------
 *
 * schedule.h
 *		What runs a rollup: its schedule, or the option follow.
 *
 * IDENTIFICATION
 *		src/rollup/schedule.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef KAFKA_SCHEDULE_H
#define KAFKA_SCHEDULE_H

#include "rollup/rollup.h"

/* What a job of pg_cron has to be. */
typedef struct KafkaJobPlan
{
	const char *name;
	const char *schedule;
	const char *command;
	bool active;
} KafkaJobPlan;

/* The job that a rollup should have; false for none.  Texts are palloc'd. */
extern bool kafka_schedule_plan(const KafkaRollup *rollup, KafkaJobPlan *plan);

/*
 * Raises an error where a schedule (NULL, '' and 'none' are none) is none of
 * pg_cron's, never comes, or stands beside the option follow.
 */
extern void kafka_schedule_check(const char *schedule, bool follow);

/*
 * These make, change and remove jobs as the rollup's row wants them.  The row
 * must be there, and locked, SPI be connected, and the caller's rights have
 * been checked: jobs are the owner's, whoever calls.  They wait for others who
 * change jobs of the owner.
 */

/*
 * Makes the job of a new rollup.  A schedule that cannot have one is an error; for
 * the option follow a notice tells how to do without.
 */
extern void kafka_schedule_create(int32 rollup_id, const char *schedule);

/*
 * After a rollup was altered: before is what it was.  schedule is NULL where
 * it is not to change, '' or 'none' where it ends; with renew the job is made
 * again in any case.
 */
extern void kafka_schedule_alter(const KafkaRollup *before,
								 const char *schedule, bool renew);

/* Before a rollup's row is deleted. */
extern void kafka_schedule_drop(const KafkaRollup *rollup);

#endif /* KAFKA_SCHEDULE_H */
