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
