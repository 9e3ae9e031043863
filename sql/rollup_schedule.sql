--
-- When rollups run: pg_cron's schedules and jobs.
--

CREATE FUNCTION kafka.next_run(schedule text, after timestamptz)
RETURNS timestamptz
AS 'MODULE_PATHNAME', 'kafka_next_run'
LANGUAGE C STABLE STRICT PARALLEL SAFE;

COMMENT ON FUNCTION kafka.next_run(text, timestamptz) IS
'when a schedule of pg_cron comes next after a time: five fields, minute, hour, day of month, month, day of week, in GMT or, with pg_cron 1.5 or later, the zone of its setting cron.timezone, or @hourly and the like; NULL when it never does';

CREATE FUNCTION kafka.diagnose_schedule()
RETURNS TABLE (subject text, ok boolean, detail text, hint text)
AS 'MODULE_PATHNAME', 'kafka_diagnose_schedule'
LANGUAGE C VOLATILE PARALLEL UNSAFE ROWS 10;

COMMENT ON FUNCTION kafka.diagnose_schedule() IS
'all that must be right for rollups to run by themselves, one row each, first the server and pg_cron, then your rollups: ok false is what stands in the way, NULL what cannot be known from here, hint says what to do. Changes nothing';
