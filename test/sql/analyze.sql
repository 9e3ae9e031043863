--
-- ANALYZE, and what is estimated then. analyze.feed makes the topics.
--
\getenv brokers KAFKA_BROKERS
SET TimeZone = 'UTC';
SET DateStyle = 'ISO';
CREATE SERVER analyze_server FOREIGN DATA WRAPPER kafka_fdw OPTIONS (brokers :'brokers', broker_clock_skew '0');
CREATE SCHEMA analyze_test;
SET search_path = analyze_test, public;
CREATE FOREIGN TABLE t (
    p int OPTIONS (partition 'true'), o bigint OPTIONS (offset 'true'), ts timestamptz OPTIONS (timestamp 'true'), k text OPTIONS (key 'true'),
    n int, event text, t timestamptz OPTIONS (time_format 'unix_s')
) SERVER analyze_server OPTIONS (topic 'analyze', timestamp_max_lag '0');

-- The rows that are estimated for a condition, and those that there are
CREATE FUNCTION estimated(relation regclass, condition text, OUT estimated bigint, OUT counted bigint) LANGUAGE plpgsql AS $$
DECLARE
	plan json;
BEGIN
	EXECUTE format('EXPLAIN (FORMAT JSON) SELECT FROM %s AS t WHERE %s', relation, condition) INTO plan;
	estimated := json_extract_path_text(plan, '0', 'Plan', 'Plan Rows');
	EXECUTE format('SELECT count(*) FROM %s AS t WHERE %s', relation, condition) INTO counted;
END $$;

-- Before: what the planner assumes, then what was seen
SELECT * FROM estimated('t', 'true');
SELECT * FROM estimated('t', 'true');
SELECT * FROM estimated('t', 'p = 1');

ANALYZE VERBOSE t;
SELECT reltuples, relpages > 0 AS has_pages FROM pg_class WHERE oid = 't'::regclass;
SELECT attname, null_frac, n_distinct, left(most_common_vals::text, 20) AS common, left(most_common_freqs::text, 40) AS frequencies,
    left(histogram_bounds::text, 30) AS histogram, right(histogram_bounds::text, 30) AS until
FROM pg_stats WHERE tablename = 't' ORDER BY attname;

\pset format unaligned
\pset fieldsep ' | '
SELECT condition, estimated.* FROM unnest(ARRAY[
    'ts >= ''2024-05-01 12:10:00'' AND ts < ''2024-05-01 12:20:00''', 'ts >= ''2024-05-01 12:49:00''', 'ts < ''2024-05-01 12:01:00''',
    'ts >= ''2024-05-02''', 'ts < ''2024-05-01''', 'ts > now()', 'ts = ''2024-05-01 12:10:00''',
    'ts BETWEEN ''2024-05-01 12:10:00'' AND ''2024-05-01 12:10:59'' OR ts BETWEEN ''2024-05-01 12:20:00'' AND ''2024-05-01 12:20:59''',
    'o < 100', 'o BETWEEN 100 AND 199', 'o > 1000', 'o IN (1, 2, 3)', 'p = 1', 'p <> 1', 'p IN (0, 2)', 'p = 7', 'p = 1 AND o = 17',
    'p = 1 AND ts < ''2024-05-01 12:10:00''', 'ts < ''2024-05-01 12:10:00'' AND event = ''1''', 'ts < ''2024-05-01 12:10:00'' OR event = ''1''', 'NOT ts < ''2024-05-01 12:40:00'''
]) WITH ORDINALITY AS c(condition, i), estimated('t', condition) ORDER BY i;
\pset format aligned

-- Without being let push anything down it reads all, and estimates the same.
SET kafka_fdw.enable_pushdown = off;
SELECT * FROM estimated('t', 'o BETWEEN 100 AND 199');
RESET kafka_fdw.enable_pushdown;

-- Parameters: of a custom plan they are known, of a generic one they are not.
CREATE FUNCTION planned(statement text) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
	plan json;
BEGIN
	EXECUTE 'EXPLAIN (FORMAT JSON) ' || statement INTO plan;
	RETURN json_extract_path_text(plan, '0', 'Plan', 'Plan Rows');
END $$;
PREPARE two(timestamptz, timestamptz) AS SELECT * FROM t WHERE ts >= $1 AND ts < $2;
PREPARE width(timestamptz) AS SELECT * FROM t WHERE ts >= $1 AND ts < $1 + interval '5 min';
PREPARE window_of_minute(timestamptz) AS SELECT * FROM t WHERE ts >= date_trunc('minute', $1) AND ts < date_trunc('minute', $1) + interval '1 min';
SET plan_cache_mode = force_custom_plan;
SELECT planned('EXECUTE two(''2024-05-01 12:10:00'', ''2024-05-01 12:20:00'')'), planned('EXECUTE width(''2024-05-01 12:10:00'')');
SET plan_cache_mode = force_generic_plan;
SELECT planned('EXECUTE two(''2024-05-01 12:10:00'', ''2024-05-01 12:20:00'')'), planned('EXECUTE width(''2024-05-01 12:10:00'')'), planned('EXECUTE window_of_minute(now())');
RESET plan_cache_mode;

-- A value that fails when it is computed does not when it is estimated.
EXPLAIN (COSTS OFF) SELECT * FROM t, (VALUES (0), (1)) AS v(d) WHERE t.o = 100 / v.d;
SELECT planned('SELECT * FROM t WHERE ts > (SELECT max(ts) FROM t) + interval ''290000 years''') > 0 AS planned;

-- Where the partitioner is known, a key's rows are as many, and cheaper. (This
-- topic's keys are not where it says, so the rows are not looked at.)
CREATE FOREIGN TABLE keyed (k text OPTIONS (key 'true')) SERVER analyze_server OPTIONS (topic 'analyze', partitioner 'murmur2');
CREATE FOREIGN TABLE not_keyed (k text OPTIONS (key 'true')) SERVER analyze_server OPTIONS (topic 'analyze');
ANALYZE keyed, not_keyed;
CREATE FUNCTION cost(statement text) RETURNS float8 LANGUAGE plpgsql AS $$
DECLARE
	plan json;
BEGIN
	EXECUTE 'EXPLAIN (FORMAT JSON) ' || statement INTO plan;
	RETURN json_extract_path_text(plan, '0', 'Plan', 'Total Cost');
END $$;
SELECT planned('SELECT FROM keyed WHERE k = ''k1'''), planned('SELECT FROM not_keyed WHERE k = ''k1'''), planned('SELECT FROM keyed WHERE k IN (''k1'', ''k2'')');
SELECT cost('SELECT FROM keyed WHERE k = ''k1''') < 0.5 * cost('SELECT FROM not_keyed WHERE k = ''k1''') AS cheaper;

--
-- Bad messages are no reason to fail.
--
CREATE FOREIGN TABLE bad (n int, event text) SERVER analyze_server OPTIONS (topic 'analyze_bad');
CREATE FOREIGN TABLE bad_null (n int, event text, junk text OPTIONS (junk 'true'), why text OPTIONS (junk_error 'true')) SERVER analyze_server OPTIONS (topic 'analyze_bad');
CREATE FOREIGN TABLE bad_skip (n int, event text) SERVER analyze_server OPTIONS (topic 'analyze_bad', on_error 'skip');
ANALYZE VERBOSE bad, bad_null, bad_skip;
SELECT tablename, attname, round(null_frac::numeric, 3) AS nulls, most_common_vals, most_common_freqs
FROM pg_stats WHERE tablename LIKE 'bad%' AND attname IN ('n', 'event') ORDER BY tablename, attname;

-- Records that nobody sees, and those that are no longer there
CREATE FOREIGN TABLE markers (o bigint OPTIONS (offset 'true'), n int) SERVER analyze_server OPTIONS (topic 'analyze_markers');
CREATE FOREIGN TABLE started (o bigint OPTIONS (offset 'true'), n int) SERVER analyze_server OPTIONS (topic 'analyze_start');
CREATE FOREIGN TABLE empty (n int) SERVER analyze_server OPTIONS (topic 'analyze_empty');
ANALYZE VERBOSE markers, started, empty;
SELECT relname, reltuples FROM pg_class WHERE relname IN ('markers', 'started', 'empty') AND relnamespace = 'analyze_test'::regnamespace ORDER BY 1;
SELECT * FROM estimated('markers', 'true');
SELECT * FROM estimated('started', 'o < 300');
SELECT * FROM estimated('empty', 'true');

-- Several topics, a pattern, some partitions
CREATE FOREIGN TABLE several (topic text OPTIONS (topic 'true'), n int) SERVER analyze_server OPTIONS (topic 'analyze,analyze_start');
CREATE FOREIGN TABLE matching (topic text OPTIONS (topic 'true'), o bigint OPTIONS (offset 'true'), n int) SERVER analyze_server OPTIONS (topic_pattern 'analyze_(start|markers|empty)');
CREATE FOREIGN TABLE part (p int OPTIONS (partition 'true'), n int) SERVER analyze_server OPTIONS (topic 'analyze', partitions '0,2');
ANALYZE VERBOSE several, matching, part;
SELECT most_common_vals, most_common_freqs FROM pg_stats WHERE tablename = 'several' AND attname = 'topic';
SELECT * FROM estimated('several', 'true');
SELECT * FROM estimated('matching', 'true');
SELECT * FROM estimated('part', 'true');

-- A sample
CREATE FOREIGN TABLE halves (ts timestamptz OPTIONS (timestamp 'true'), event text) SERVER analyze_server OPTIONS (topic 'analyze_halves');
SET default_statistics_target = 10;
ANALYZE halves;
SELECT v, round(f::numeric, 1) AS frequency FROM pg_stats, unnest(most_common_vals::text::text[], most_common_freqs) AS x(v, f)
WHERE tablename = 'halves' AND attname = 'event' ORDER BY v;
SELECT reltuples FROM pg_class WHERE relname = 'halves';
RESET default_statistics_target;

-- The limit on what a scan reads does not hold: a sample has its own bounds.
SET kafka_fdw.max_scan_bytes = '1kB';
ANALYZE t;
RESET kafka_fdw.max_scan_bytes;

SET client_min_messages = warning;
DROP SCHEMA analyze_test CASCADE;
DROP SERVER analyze_server;
