--
-- Every form in which a condition can bound what is read: the rows are those
-- without pushdown, and no message is read beside them.
-- pushdown_forms.feed makes the topic, whose times never step back.
--
\getenv brokers KAFKA_BROKERS
SET TimeZone = 'UTC';
SET DateStyle = 'ISO';
SET IntervalStyle = 'postgres';
CREATE SERVER pushdown_forms FOREIGN DATA WRAPPER kafka_fdw OPTIONS (brokers :'brokers', broker_clock_skew '0');
CREATE SCHEMA pushdown_forms;
SET search_path = pushdown_forms, public;
CREATE FOREIGN TABLE t (
    p int OPTIONS (partition 'true'),
    o bigint OPTIONS (offset 'true'),
    ts timestamptz OPTIONS (timestamp 'true'),
    k text OPTIONS (key 'true'),
    n int,
    at timestamptz OPTIONS (time_format 'unix_ms', max_skew '8s')
) SERVER pushdown_forms OPTIONS (topic 'pushdown_forms', timestamp_max_lag '0');

CREATE FUNCTION read_of(query text) RETURNS int LANGUAGE plpgsql AS $$
DECLARE
	plan jsonb;
BEGIN
	EXECUTE 'EXPLAIN (ANALYZE, FORMAT JSON) ' || query INTO plan;
	RETURN (SELECT sum(m::int) FROM jsonb_path_query(plan, 'strict $.**."Messages Read"') AS m);
END $$;

-- How many rows a condition finds, whether they are the right ones, and how
-- many messages were read for them
CREATE FUNCTION found(condition text, OUT rows int, OUT read int, OUT is_right boolean) LANGUAGE plpgsql AS $$
DECLARE
	query text := format('SELECT n FROM t WHERE %s', condition);
	got int[];
	want int[];
BEGIN
	EXECUTE format('SELECT array(SELECT n FROM t WHERE %s ORDER BY n)', condition) INTO got;
	read := read_of(query);
	SET LOCAL kafka_fdw.enable_pushdown = off;
	EXECUTE format('SELECT array(SELECT n FROM t WHERE %s ORDER BY n)', condition) INTO want;
	SET LOCAL kafka_fdw.enable_pushdown = on;
	rows := cardinality(want);
	is_right := got = want;
END $$;
CREATE FUNCTION found_all(conditions text[], OUT condition text, OUT rows int, OUT read int, OUT is_right boolean) RETURNS SETOF record LANGUAGE sql AS $$
	SELECT c, f.* FROM unnest(conditions) WITH ORDINALITY AS u(c, i), found(c) AS f ORDER BY i
$$;
\pset format unaligned
\pset fieldsep ' | '

--
-- Comparisons with other types, under the session's zone
--
SELECT * FROM found_all(ARRAY[
    $$ts >= '2026-07-01' AND ts < '2026-07-02'$$,
    $$ts >= date '2026-07-01' AND ts < date '2026-07-02'$$,
    $$ts >= timestamp '2026-07-01 12:00' AND ts < timestamp '2026-07-01 15:00'$$,
    $$ts BETWEEN SYMMETRIC timestamp '2026-07-01 15:00' AND date '2026-07-01'$$,
    $$ts = ANY (ARRAY['2026-07-01 00:00:07+00', '2026-07-02 00:00:07+00']::timestamptz[])$$,
    $$ts IN ('2026-07-01 00:00:07+00', '2026-10-31 00:00:07+00', NULL)$$,
    $$ts IS NOT DISTINCT FROM '2026-07-01 00:00:07+00'$$,
    $$(ts >= '2026-07-01' AND ts < '2026-07-01 01:00') OR (ts >= '2026-10-31' AND ts < '2026-10-31 01:00')$$,
    $$(ts >= '2026-07-03') IS FALSE AND (ts > '2026-07-02 20:00') IS TRUE$$]);

--
-- Functions of the time
--
SELECT * FROM found_all(ARRAY[
    $$date_trunc('day', ts) = '2026-07-01'$$,
    $$date_trunc('hour', ts) >= '2026-07-01 12:00' AND date_trunc('hour', ts) <= '2026-07-01 13:30'$$,
    $$date_trunc('month', ts) = '2026-10-01'$$,
    $$date_trunc('week', ts, 'Asia/Kolkata') < '2026-07-05' AND ts > '2026-07-03'$$,
    $$date_bin('15 minutes', ts, '2000-01-01') = '2026-07-01 12:30+00'$$,
    $$ts::date = '2026-07-01'$$,
    $$ts::date BETWEEN '2026-07-01' AND '2026-07-01'$$,
    $$ts::date IN ('2026-06-30', '2026-11-01')$$,
    $$ts AT TIME ZONE 'America/New_York' >= '2026-07-01' AND ts AT TIME ZONE 'America/New_York' < '2026-07-02'$$,
    $$(ts AT TIME ZONE 'Asia/Kolkata')::date = '2026-07-01'$$,
    $$ts::timestamp >= '2026-07-03 22:00' AND ts::timestamp < '2026-07-04'$$,
    $$ts::timestamptz(0) = '2026-07-01 00:00:07+00'$$,
    $$extract(epoch FROM ts) BETWEEN 1782907200 AND 1782910800$$,
    $$extract(epoch FROM ts) >= 1782907207.000 AND extract(epoch FROM ts) < 1782909007.0005$$,
    $$date_part('epoch', ts) >= 1782907207 AND date_part('epoch', ts) < 1782909007.0$$,
    $$ts + interval '1 day' >= '2026-07-02' AND ts - interval '1 hour' < '2026-07-01'$$,
    $$timestamptz '2026-07-02' - ts BETWEEN interval '0' AND interval '2 hours'$$,
    $$ts - timestamptz '2026-07-01' < interval '1 hour' AND ts - timestamptz '2026-07-01' >= '0'$$,
    $$date '2026-07-02' - ts::date = 1$$,
    $$ts::date - date '2026-07-01' BETWEEN 0.5 AND 1.5$$,
    $$ts::date - date '2026-07-01' = 1.0$$,
    $$(ts::date - date '2026-07-01')::bigint::numeric = ANY ('{0,1}')$$]);

--
-- Ranges, rows, other columns
--
SELECT * FROM found_all(ARRAY[
    $$ts <@ tstzrange('2026-07-01', '2026-07-02')$$,
    $$tstzrange('2026-10-31', NULL) @> ts$$,
    $$ts <@ '{[2026-07-01 00:00,2026-07-01 01:00),[2026-10-31 00:00,2026-10-31 02:00)}'::tstzmultirange$$,
    $$ts::date <@ daterange('2026-07-01', '2026-07-02')$$,
    $$(ts AT TIME ZONE 'UTC') <@ tsrange('2026-07-01', '2026-07-01 01:00')$$,
    $$o <@ int8range(10, 12) AND p <@ int4range(0, 1)$$,
    $$(ts, p, o) > ('2026-10-31 23:00', 0, 0) AND (ts, p, o) <= ('2026-11-01 00:00:07+00', 1, 7)$$,
    $$(p, o) IN ((0, 3), (1, 5))$$,
    $$(p, o) >= (1, 158)$$,
    $$o::numeric >= 157.5$$,
    $$p IS NOT DISTINCT FROM 1 AND o IS NOT DISTINCT FROM 3$$]);

-- A time in the message that is near the record's: what is read is wider by 8 s
-- at both ends, where there is one record more for some.
SELECT * FROM found_all(ARRAY[
    $$at >= '2026-07-01' AND at < '2026-07-01 01:00'$$,
    $$date_trunc('day', at) = '2026-07-01'$$,
    $$at::date = '2026-10-31'$$,
    $$at = '2026-07-01 00:00:00'$$]);

--
-- The texts of tools
--
SELECT * FROM found_all(ARRAY[
    -- Grafana: $__timeFilter, $__unixEpochFilter
    $$ts BETWEEN '2026-07-01T12:00:00Z' AND '2026-07-01T13:00:00Z'$$,
    $$extract(epoch from ts) >= 1782907200 AND extract(epoch from ts) <= 1782910800$$,
    -- Superset
    $$ts >= TO_TIMESTAMP('2026-07-01 12:00:00.000000', 'YYYY-MM-DD HH24:MI:SS.US') AND ts < TO_TIMESTAMP('2026-07-01 13:00:00.000000', 'YYYY-MM-DD HH24:MI:SS.US')$$,
    $$DATE_TRUNC('day', ts) >= '2026-07-01' AND DATE_TRUNC('day', ts) < '2026-07-02'$$,
    -- Metabase
    $$ts >= DATE_TRUNC('day', CAST(timestamptz '2026-07-08 09:00' + INTERVAL '-7 day' AS timestamp)) AND ts < DATE_TRUNC('day', CAST(timestamptz '2026-07-08 09:00' + INTERVAL '-6 day' AS timestamp))$$,
    $$CAST(DATE_TRUNC('month', ts) AS date) = date '2026-10-01'$$,
    $$CAST(ts AS date) = date '2026-07-01'$$,
    -- Tableau
    $$(ts >= (TIMESTAMP '2026-07-01 00:00:00.000')) AND (ts < (TIMESTAMP '2026-07-01 03:00:00.000'))$$,
    $$CAST(ts AS DATE) >= DATE '2026-11-01'$$,
    $$DATE_TRUNC('MONTH', CAST(ts AS DATE)) = (TIMESTAMP '2026-10-01 00:00:00.000')$$]);

-- JDBC: parameters of all types, in plans for these values and for any
SET plan_cache_mode = force_generic_plan;
PREPARE tz(timestamptz, timestamptz) AS SELECT array_agg(n ORDER BY n) FROM t WHERE ts >= $1 AND ts < $2;
PREPARE tn(timestamp, timestamp) AS SELECT array_agg(n ORDER BY n) FROM t WHERE ts >= $1 AND ts < $2;
PREPARE dt(date, text) AS SELECT count(*), min(n) FROM t WHERE date_trunc($2, ts) = $1;
PREPARE zone(text, date[]) AS SELECT count(*), min(n) FROM t WHERE (ts AT TIME ZONE $1)::date = ANY ($2);
EXECUTE tz('2026-07-01', '2026-07-01 01:00');
EXECUTE tn('2026-07-01', '2026-07-01 01:00');
EXECUTE dt('2026-07-01', 'day');
EXECUTE dt('2026-10-01', 'month');
EXECUTE dt('2026-10-01', NULL);
EXECUTE zone('Asia/Kolkata', '{2026-07-01,2026-11-01}');
SELECT query, read_of(query) FROM unnest(ARRAY[
    $$EXECUTE tz('2026-07-01', '2026-07-01 01:00')$$, $$EXECUTE tn('2026-07-01', '2026-07-01 01:00')$$,
    $$EXECUTE dt('2026-07-01', 'day')$$, $$EXECUTE dt('2026-10-01', 'month')$$, $$EXECUTE dt('2026-10-01', NULL)$$,
    $$EXECUTE zone('Asia/Kolkata', '{2026-07-01,2026-11-01}')$$]) AS query;
RESET plan_cache_mode;
-- Of what cannot be computed the error is the filter's.
EXECUTE dt('2026-07-01', 'no unit');
EXECUTE zone('no zone', '{2026-07-01}');

--
-- Where clocks are put back, a little more may be read, and nothing is lost.
--
SET TimeZone = 'America/Havana';
SELECT * FROM found_all(ARRAY[
    $$date_trunc('day', ts) = '2026-11-01'$$,
    $$date_trunc('day', ts) = '2026-10-31'$$,
    $$ts::date = '2026-11-01'$$,
    $$ts::date < '2026-11-01' AND ts > '2026-10-31 20:00'$$,
    $$ts::date = '2026-07-01'$$,
    $$ts >= timestamp '2026-11-01 00:30' AND ts < timestamp '2026-11-01 02:00'$$,
    $$ts + interval '1 day' >= '2026-11-02 00:30' AND ts + interval '1 day' < '2026-11-02 02:00'$$]);
SET TimeZone = 'UTC';

--
-- What is told
--
\pset format aligned
EXPLAIN (COSTS OFF) SELECT n FROM t WHERE date_trunc('day', ts) >= '2026-07-01' AND now() - ts > interval '1 hour' AND p <@ int4range(0, 1);
EXPLAIN (COSTS OFF) SELECT n FROM t WHERE (ts AT TIME ZONE 'Asia/Kolkata')::date = '2026-07-01' AND at > '2026-06-30' AND (p, o) > (0, 5);
EXPLAIN (COSTS OFF) SELECT a.n FROM t AS a JOIN t AS b ON a.ts + interval '1 hour' = b.ts WHERE b.o = 3 AND b.ts <@ tstzrange('2026-07-01', '2026-07-02') AND a.p IS NOT DISTINCT FROM 1;
-- Forms that a join equates with another table's columns
CREATE TABLE days AS SELECT date '2026-07-01' AS day, timestamptz '2026-07-01 00:00' AS hour;
ANALYZE days;
SET enable_hashjoin = off;
SET enable_mergejoin = off;
EXPLAIN (COSTS OFF) SELECT t.n FROM days JOIN t ON t.ts::date = days.day;
SELECT read_of('SELECT t.n FROM days JOIN t ON t.ts::date = days.day') = read_of($$SELECT n FROM t WHERE ts::date = '2026-07-01'$$) AS one_day,
    read_of($$SELECT t.n FROM days JOIN t ON date_trunc('hour', t.ts) = days.hour$$) = read_of($$SELECT n FROM t WHERE date_trunc('hour', ts) = '2026-07-01'$$) AS one_hour,
    (SELECT count(*) FROM days JOIN t ON t.ts::date = days.day) = (SELECT count(*) FROM t WHERE ts::date = '2026-07-01') AS is_right;
RESET enable_hashjoin;
RESET enable_mergejoin;
-- What is not pushed
EXPLAIN (COSTS OFF) SELECT n FROM t WHERE to_char(ts, 'YYYY-MM-DD') = '2026-07-01' AND extract(hour FROM ts) = 3 AND ts::time < '12:00' AND NOT (ts <@ tstzrange('2026-07-01', '2026-07-02')) AND coalesce(ts, now()) > '2026-07-01';

-- A number that the column's type refuses is NULL with on_error 'null'
CREATE DOMAIN first_partition AS int CHECK (VALUE < 1);
CREATE DOMAIN early AS bigint CHECK (VALUE < 100);
CREATE FOREIGN TABLE refused (p first_partition OPTIONS (partition 'true'), o early OPTIONS (offset 'true'), n int)
    SERVER pushdown_forms OPTIONS (topic 'pushdown_forms', on_error 'null');
SELECT (SELECT count(*) FROM refused WHERE p IS DISTINCT FROM 1) AS not_1,
    (SELECT count(*) FROM refused WHERE p IS NOT DISTINCT FROM (SELECT NULL::int)) AS no_p,
    (SELECT count(*) FROM refused WHERE o IS NOT DISTINCT FROM (SELECT NULL::bigint)) AS no_o,
    (SELECT count(*) FROM refused WHERE p <> 1) AS p_0,
    read_of('SELECT n FROM refused WHERE p = 0 AND o < 3') AS read;

-- Columns that cannot have the option
CREATE FOREIGN TABLE unfit (at timestamp OPTIONS (max_skew '8s')) SERVER pushdown_forms OPTIONS (topic 'pushdown_forms');
SELECT * FROM unfit;
ALTER FOREIGN TABLE unfit ALTER at TYPE timestamptz, ALTER at OPTIONS (timestamp 'true');
SELECT * FROM unfit;
ALTER FOREIGN TABLE unfit ALTER at OPTIONS (SET max_skew '1 month');
DROP SCHEMA pushdown_forms CASCADE;
DROP SERVER pushdown_forms;
