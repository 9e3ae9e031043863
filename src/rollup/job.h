/*-------------------------------------------------------------------------
 *
 * job.h
 *		pg_cron's jobs.
 *
 * pg_cron is not linked with: its functions are called, and its tables read,
 * by SQL, as the role that a job belongs to and with no other rights.  Until
 * kafka_job_find_obstacle has found none, nothing of it may be used: schema
 * cron is anybody's where the extension is not installed.
 *
 * SPI must be connected for all functions.  None asks for more than a lock on
 * rows of cron.job.
 *
 * IDENTIFICATION
 *		src/rollup/job.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef KAFKA_JOB_H
#define KAFKA_JOB_H

#include "datatype/timestamp.h"

/* A row of cron.job; palloc'd. */
typedef struct KafkaJob
{
	int64 id;
	char *schedule;
	char *command;
	char *host;
	int port;
	char *database;
	bool active;
} KafkaJob;

/* The last run of a job by cron.job_run_details. */
typedef struct KafkaJobRun
{
	char *status;         /* starting, running, succeeded, failed, ... */
	char *message;        /* NULL for none */
	TimestampTz start_at; /* DT_NOBEGIN where it did not come so far */
} KafkaJobRun;

/* Why a role cannot have jobs. */
typedef struct KafkaJobObstacle
{
	int sqlerrcode;
	char *message;
	char *hint; /* sentences */
} KafkaJobObstacle;

/* Is the extension in this database? */
extern bool kafka_job_has_pg_cron(void);

/* Is the library loaded? */
extern bool kafka_job_is_preloaded(void);

/* A setting of pg_cron's, which roles may not see; NULL where there is none. */
extern const char *kafka_job_get_setting(const char *name);

/* What one has to do where the extension is not there; palloc'd. */
extern char *kafka_job_get_install_hint(void);

/* What keeps a role from having jobs that run; NULL when nothing does. */
extern KafkaJobObstacle *kafka_job_find_obstacle(Oid role);

/* NULL where the role has no such job. */
extern KafkaJob *kafka_job_find(Oid role, const char *name);
extern KafkaJobRun *kafka_job_find_run(Oid role, int64 id);

/*
 * Would a job that is made now connect to the same server and database?  One of
 * another server came with a dump, or from before the port was changed.
 */
extern bool kafka_job_is_of_here(const KafkaJob *job);

/* Makes a job, or changes the one that the role has by this name. */
extern int64 kafka_job_make(Oid role, const char *name, const char *schedule,
							const char *command);
extern void kafka_job_remove(Oid role, int64 id);

/* False where the role lacks the right, which is not everybody's. */
extern bool kafka_job_set_active(Oid role, int64 id, bool active);

#endif /* KAFKA_JOB_H */
