--
-- Schedules where there is no pg_cron; test/t/053_rollup_schedule.pl has the
-- rest.
--
\getenv brokers KAFKA_BROKERS
CREATE SCHEMA rollup_schedule;
SET search_path = rollup_schedule;
SET timezone = 'UTC';
CREATE ROLE regress_kafka_ann LOGIN;
GRANT CREATE, USAGE ON SCHEMA rollup_schedule TO regress_kafka_ann;
CREATE SERVER rollup_schedule FOREIGN DATA WRAPPER kafka_fdw OPTIONS (brokers :'brokers');
CREATE FOREIGN TABLE log (ts timestamptz OPTIONS (timestamp 'true'), n int)
  SERVER rollup_schedule OPTIONS (topic 'rollup_schedule', format 'json');
GRANT SELECT ON log TO regress_kafka_ann;

-- when schedules come
SELECT schedule, kafka.next_run(schedule, '2026-03-04 05:06:07')
  FROM unnest('{* * * * *,*/10 * * * *,30 15 * * *,0 0 29 2 *,0 0 1-7 * mon,@hourly,@yearly,@reboot,0 0 30 feb *}'::text[]) AS schedule;
SELECT kafka.next_run('0 0 * * *', '2026-03-04 08:59:59.999999+09'),
       kafka.next_run('0 0 * * *', '2026-03-04 09:00:00+09');
SELECT kafka.next_run('@daily', 'infinity'), kafka.next_run('@daily', '-infinity'),
       kafka.next_run('@daily', NULL), kafka.next_run(NULL, now());
-- in GMT whatever the session's zone is
SET timezone = 'Asia/Seoul';
SELECT kafka.next_run('0 15 * * *', '2026-03-04 12:00');
SET timezone = 'UTC';
-- but by the clock of the zone that pg_cron goes by, where that has a setting for it
SET cron.timezone = 'Asia/Seoul';
SELECT kafka.next_run('0 0 * * *', '2026-03-04 14:59:59.999999'), kafka.next_run('0 0 * * *', '2026-03-04 15:00:00');
-- when it is put forward and back: an hour that does not come, one that comes twice
SET cron.timezone = 'Europe/Berlin';
SELECT schedule, after, kafka.next_run(schedule, after)
  FROM (VALUES ('30 2 * * *', '2026-03-28 01:29:59'), ('30 2 * * *', '2026-03-28 01:30:00'), ('0 3 * * *', '2026-03-28 02:00:00'), ('59 1 * * *', '2026-03-28 01:00:00'),
               ('*/30 * * * *', '2026-03-29 00:59:59'), ('30 2 * * *', '2026-10-24 00:30:00'), ('30 2 * * *', '2026-10-25 00:30:00'), ('30 2 * * *', '2026-10-25 01:30:00'),
               ('0 3 * * *', '2026-10-24 01:00:00'), ('0 12 * 1 *', '2026-02-01 00:00:00'), ('0 0 29 2 *', '2026-03-01 00:00:00'), ('0 0 30 2 *', '2026-03-01 00:00:00'),
               ('@reboot', '2026-03-01 00:00:00'), ('0 0 * * *', 'infinity'), ('0 0 * * *', '-infinity')) AS v (schedule, after_text), CAST(after_text AS timestamptz) AS after;
-- each minute that the clock of the zone shows, and no other, as pg_cron looks at it
CREATE FUNCTION list_runs(zone text, schedule text, run timestamptz, until timestamptz) RETURNS SETOF timestamptz LANGUAGE plpgsql AS $$
BEGIN
	PERFORM set_config('cron.timezone', zone, false);
	LOOP
		run := kafka.next_run(schedule, run);
		EXIT WHEN run >= until;
		RETURN NEXT run;
	END LOOP;
END $$;
CREATE TABLE ours AS SELECT zone, run FROM unnest('{Europe/Berlin,America/Havana,Australia/Lord_Howe,Asia/Kolkata,GMT}'::text[]) AS zone, list_runs(zone, '*/20 1-3 * * *', '2025-12-31 23:59:59', '2027-01-01') AS run;
CREATE TABLE shown AS SELECT zone, run FROM (SELECT DISTINCT zone FROM ours) AS z, generate_series('2026-01-01'::timestamptz, '2026-12-31 23:59', '1 minute') AS run, CAST(run AT TIME ZONE zone AS time) AS clock
 WHERE extract(hour FROM clock) BETWEEN 1 AND 3 AND extract(minute FROM clock) IN (0, 20, 40);
SELECT zone, count(*) FROM ours GROUP BY 1 ORDER BY 1;
TABLE ours EXCEPT ALL TABLE shown;
TABLE shown EXCEPT ALL TABLE ours;
DROP FUNCTION list_runs;
DROP TABLE ours, shown;
SET cron.timezone = 'Nowhere/Land';
SELECT kafka.next_run('0 0 * * *', '2026-03-04 12:00:00');
RESET cron.timezone;
SELECT kafka.next_run('', now());
SELECT kafka.next_run('10 seconds', now());
SELECT kafka.next_run('* 24 * * *', now());
SELECT kafka.next_run('* * 0 * *', now());
SELECT kafka.next_run('* * * 1/2 *', now());
SELECT kafka.next_run('* * * * sunday', now());
SELECT kafka.next_run('* * * * * *', now());
SELECT kafka.next_run('@minutely', now());

-- a schedule is refused with what to do
SET ROLE regress_kafka_ann;
SELECT kafka.create_rollup('counts', 'SELECT count(*) FROM log', schedule := '@hourly');
SELECT kafka.create_rollup('counts', 'SELECT count(*) FROM log', schedule := 'hourly');
SELECT kafka.create_rollup('counts', 'SELECT count(*) FROM log', schedule := ' None ');
SELECT kafka.alter_rollup('counts', schedule => '@hourly');
SELECT kafka.alter_rollup('counts', schedule => 'none');
SELECT kafka.alter_rollup('counts', schedule => '');
-- who asks to follow is told how
SELECT kafka.alter_rollup('counts', options => '{"follow": true}');
SELECT kafka.alter_rollup('counts', options => '{"retry_limit": 2}');
SELECT kafka.alter_rollup('counts', schedule => '@hourly');
SELECT kafka.alter_rollup('counts', options => '{"follow": null}');
SELECT name, schedule, options FROM kafka.rollups WHERE name = 'counts';

-- all of this is diagnosed
SELECT subject, ok, detail, hint FROM kafka.diagnose_schedule()
 WHERE subject NOT LIKE 'rollup %' OR subject = 'rollup counts';
SELECT kafka.drop_rollup('counts');
RESET ROLE;
SET kafka_fdw.enable_runs = off;
SELECT ok, detail, hint FROM kafka.diagnose_schedule() WHERE subject = 'kafka_fdw.enable_runs';

DROP SCHEMA rollup_schedule CASCADE;
DROP SERVER rollup_schedule;
DROP ROLE regress_kafka_ann;
