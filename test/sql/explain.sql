--
-- What EXPLAIN tells, and that without ANALYZE it asks no broker.
-- explain.feed makes the topics.
--
\getenv brokers KAFKA_BROKERS
SET TimeZone = 'UTC';
SET DateStyle = 'ISO';
CREATE SERVER explain FOREIGN DATA WRAPPER kafka_fdw OPTIONS (brokers :'brokers', broker_clock_skew '0');
-- No broker can be there, and the name is none.
CREATE SERVER nowhere FOREIGN DATA WRAPPER kafka_fdw OPTIONS (brokers 'host.invalid:9092,127.0.0.1:1', connect_timeout '60s');
CREATE SCHEMA explain;
SET search_path = explain, public;
CREATE FOREIGN TABLE n (
    p int OPTIONS (partition 'true'), "Offset of it" bigint OPTIONS (offset 'true'), ts timestamptz OPTIONS (timestamp 'true'), n int
) SERVER nowhere OPTIONS (topic 'elsewhere');

EXPLAIN (COSTS OFF) SELECT * FROM n;
EXPLAIN (VERBOSE, COSTS OFF) SELECT n FROM n WHERE p = 3 AND "Offset of it" BETWEEN 10 AND 20 AND n > 5;
EXPLAIN (FORMAT JSON, COSTS OFF) SELECT n FROM n WHERE ts >= '2024-05-01' AND ts < '2024-05-02' AND p IN (1, 2);
EXPLAIN (FORMAT YAML, COSTS OFF) SELECT count(*) FROM n;
EXPLAIN (FORMAT XML, COSTS OFF) SELECT FROM n WHERE p < 2;
EXPLAIN (COSTS OFF) SELECT n FROM n ORDER BY ts DESC LIMIT 5;
EXPLAIN (COSTS OFF) SELECT count(*) FROM n AS a, n AS b WHERE a.ts > b.ts AND a.p = 1;
EXPLAIN (VERBOSE, COSTS OFF) SELECT a.n, b.n FROM n AS a JOIN n AS b ON b."Offset of it" = a."Offset of it" + 1 AND b.p = a.p WHERE a."Offset of it" = 7;
EXPLAIN (COSTS OFF) DECLARE c CURSOR FOR SELECT * FROM n;
EXPLAIN (COSTS OFF) CREATE TABLE made AS SELECT * FROM n;
PREPARE nowhere(bigint) AS SELECT * FROM n WHERE "Offset of it" > $1;
EXPLAIN (COSTS OFF) EXECUTE nowhere(5);
SELECT * FROM n WHERE false;
CREATE VIEW v AS SELECT n FROM n WHERE ts > now() - interval '1 hour';
EXPLAIN (COSTS OFF) SELECT * FROM v;

-- What is told of each condition
CREATE FUNCTION told(relation regclass, condition text, OUT partitions text, OUT start text, OUT stop text) LANGUAGE plpgsql AS $$
DECLARE
	plan json;
BEGIN
	EXECUTE format('EXPLAIN (FORMAT JSON, COSTS OFF) SELECT FROM %s AS t WHERE %s', relation, condition) INTO plan;
	SELECT node ->> 'Partitions', node ->> 'Start', node ->> 'Stop' INTO partitions, start, stop FROM json_extract_path(plan, '0', 'Plan') AS node;
END $$;
CREATE FOREIGN TABLE t (p int OPTIONS (partition 'true'), o bigint OPTIONS (offset 'true'), ts timestamptz OPTIONS (timestamp 'true'), n int)
SERVER explain OPTIONS (topic 'explain');
\pset format unaligned
\pset fieldsep ' | '
SELECT condition, told.* FROM unnest(ARRAY[
    'true', 'n = 1', 'p = 1', 'p <> 1', 'p IN (0, 1)', 'p NOT IN (0, 1)', 'p > 0 AND p < 5', '1 = p', 'NOT p >= 1',
    'o = 4', 'o > 4', 'o <= 4', '4 < o', 'o IN (1, 8)', 'o > 3 AND o < 9 AND n = 2', 'o < 3 OR o > 9', 'p = 1 OR o = 2', 'p = 1 OR n = 2',
    '(p = 0 AND o > 3) OR (p = 1 AND o > 5)', 'ts > now()', 'ts = ''2024-05-01''', 'ts <= ''2024-05-01'' AND o >= 3', 'ts >= ''2024-05-01'' AND o >= 3',
    'o = 5 AND (p = 0 OR p = 1)', 'p = NULL', 'p = 1 AND NULL', 'o > (SELECT 5)', 'ts > clock_timestamp()', 'o > random() * 5'
]) WITH ORDINALITY AS c(condition, i), told('t', condition) ORDER BY i;
SET kafka_fdw.enable_pushdown = off;
SELECT condition, told.* FROM unnest(ARRAY['true', 'p = 1', 'o BETWEEN 3 AND 4', 'ts >= ''2024-05-01'' AND ts < ''2024-05-02''']) WITH ORDINALITY AS c(condition, i), told('t', condition) ORDER BY i;
SET kafka_fdw.enable_pushdown = on;
ALTER FOREIGN TABLE t OPTIONS (ADD timestamp_max_lag '1 hour');
SELECT told.* FROM told('t', 'ts < ''2024-05-02''');
ALTER FOREIGN TABLE t OPTIONS (DROP timestamp_max_lag, ADD trust_time_index 'false');
SELECT told.* FROM told('t', 'ts >= ''2024-05-01'' AND ts < ''2024-05-02''');
ALTER FOREIGN TABLE t OPTIONS (DROP trust_time_index);
\pset format aligned

-- With ANALYZE: how much was read, and what the stop really was
EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF) SELECT * FROM t WHERE p = 1 AND n > 6;
EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF) SELECT * FROM t WHERE ts >= '2024-05-01 12:00:16' AND ts < '2024-05-01 12:00:18';
EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF) SELECT * FROM t WHERE o > 100;
EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF) SELECT * FROM t WHERE false;
EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF) SELECT g, (SELECT count(*) FROM t WHERE o < g) FROM generate_series(1, 3) AS g;
EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF) SELECT * FROM generate_series(1, 0) AS g JOIN t ON t.o = g;
CREATE FUNCTION analyzed(query text) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
	line text;
BEGIN
	FOR line IN EXECUTE 'EXPLAIN (ANALYZE, COSTS OFF, SUMMARY OFF) ' || query LOOP
		IF line ~ 'Stop|Messages Read|Bytes|Wait|Partitions:' THEN
			RETURN NEXT ltrim(regexp_replace(line, '\d+\.\d+ ms', 'N ms'));
		END IF;
	END LOOP;
END $$;
SELECT * FROM analyzed('SELECT * FROM explain.t');
SELECT * FROM analyzed('SELECT * FROM explain.t LIMIT 0');
ALTER FOREIGN TABLE t OPTIONS (SET topic 'explain_append');
SELECT * FROM analyzed('SELECT * FROM explain.t WHERE ts < now() + interval ''1 day''');
ALTER FOREIGN TABLE t OPTIONS (SET topic 'explain_limits');
SELECT * FROM analyzed('SELECT * FROM explain.t WHERE ts < now() + interval ''1 day''');
ALTER FOREIGN TABLE t OPTIONS (ADD topic_limits 'ignore');
SELECT * FROM analyzed('SELECT * FROM explain.t WHERE ts < now() + interval ''1 day''');
ALTER FOREIGN TABLE t OPTIONS (DROP topic_limits, SET topic 'explain_unlimited');
SELECT * FROM analyzed('SELECT * FROM explain.t WHERE ts < now() + interval ''1 day''');
ALTER FOREIGN TABLE t OPTIONS (ADD timestamp_max_lag '1 hour');
SELECT * FROM analyzed('SELECT * FROM explain.t WHERE ts < now() + interval ''1 day''');
ALTER FOREIGN TABLE t OPTIONS (ADD trust_time_index 'false');
SELECT * FROM analyzed('SELECT * FROM explain.t WHERE ts > ''2024-05-01'' AND ts < now() + interval ''1 day''');

SET client_min_messages = warning;
DROP SCHEMA explain CASCADE;
DROP SERVER explain;
DROP SERVER nowhere;
