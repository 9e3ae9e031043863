--
-- Limits on what a query may read: require_bounds and
-- kafka_fdw.max_scan_bytes. guards.feed makes the topics.
--
\getenv brokers KAFKA_BROKERS
SET TimeZone = 'UTC';
CREATE SERVER guards FOREIGN DATA WRAPPER kafka_fdw OPTIONS (brokers :'brokers', broker_clock_skew '0');
CREATE SCHEMA guards;
SET search_path = guards, public;
CREATE FOREIGN TABLE t (
    p int OPTIONS (partition 'true'),
    o bigint OPTIONS (offset 'true'),
    ts timestamptz OPTIONS (timestamp 'true'),
    v text
) SERVER guards OPTIONS (topic 'guards', format 'text', timestamp_max_lag '0', require_bounds 'true');
CREATE TABLE w (id int, p int, o bigint);
INSERT INTO w SELECT g, g % 2, g FROM generate_series(1, 4) AS g;
ANALYZE w;

--
-- require_bounds
--
SELECT count(*) FROM t;
-- Any bound on one of the three columns will do.
SELECT count(*) FROM t WHERE p = 1;
SELECT count(*) FROM t WHERE p <> 1;
SELECT count(*) FROM t WHERE o < 5;
SELECT count(*) FROM t WHERE o >= 2990;
SELECT count(*) FROM t WHERE o IN (5, 6);
SELECT count(*) FROM t WHERE ts >= '2024-05-01 12:00:00+00' AND ts < '2024-05-01 12:00:07+00';
SELECT count(*) FROM t WHERE ts < '2024-05-01 12:00:07+00';
SELECT count(*) FROM t WHERE o = (SELECT max(id) FROM w);
SELECT count(*) FROM t WHERE p = 1 OR o = 5;
SELECT count(*) FROM t WHERE false;
-- The outcomes of other conditions are known only from the messages.
\set VERBOSITY terse
SELECT count(*) FROM t WHERE v LIKE '5%';
SELECT count(*) FROM t WHERE p = 1 OR v LIKE '5%';
SELECT count(*) FROM t WHERE o % 2 = 1;
SELECT count(*) FROM t WHERE to_char(ts, 'YYYY') = '2024';
SELECT count(*) FROM t WHERE p IS NOT NULL;
SELECT count(*) FROM t WHERE random() < 0.5;
\set VERBOSITY default
-- LIMIT, where it can end the scan
SELECT length(v) FROM t LIMIT 1;
SELECT length(v) FROM t WHERE v LIKE '5%' LIMIT 1 OFFSET 1;
SELECT * FROM t LIMIT 0;
SELECT count(*) FROM (SELECT FROM t LIMIT 7) AS s;
SELECT count(*) FROM (SELECT FROM t UNION ALL SELECT FROM t LIMIT 7) AS s;
SELECT generate_series(1, 2) AS g, length(v) FROM t LIMIT 3;
SELECT length(v) FROM t LIMIT (SELECT min(id) FROM w);
PREPARE by_limit(bigint) AS SELECT length(v) FROM t LIMIT $1;
SET plan_cache_mode = force_custom_plan;
EXECUTE by_limit(1);
SET plan_cache_mode = force_generic_plan;
EXECUTE by_limit(1);
RESET plan_cache_mode;
-- In an order that the scan has by itself
SELECT length(v) FROM t ORDER BY o DESC FETCH FIRST ROW WITH TIES;
\set VERBOSITY terse
SELECT length(v) FROM t LIMIT ALL;
SELECT length(v) FROM t LIMIT NULL;
SELECT length(v) FROM t OFFSET 5999;
SELECT length(v) FROM t ORDER BY v LIMIT 1;
SELECT count(*) FROM t LIMIT 1;
SELECT DISTINCT p FROM t LIMIT 1;
SELECT p FROM t GROUP BY p LIMIT 1;
SELECT row_number() OVER (ORDER BY o) FROM t LIMIT 1;
SELECT p FROM t UNION SELECT p FROM t LIMIT 1;
SELECT count(*) FROM (SELECT v FROM t) AS s LIMIT 1;
\set VERBOSITY default
-- Joins: a bounded way is preferred to one that would be refused.
SELECT w.id, length(v) FROM w JOIN t ON t.p = w.p AND t.o = w.o ORDER BY id;
INSERT INTO w SELECT g, 9, g FROM generate_series(5, 500) AS g;
ANALYZE w;
EXPLAIN (COSTS OFF) SELECT w.id, v FROM w JOIN t ON t.p = w.p;
SELECT count(*) FROM w JOIN t ON t.p = w.p AND t.o < 7;
SELECT count(*) FROM w JOIN t ON t.p = w.p;
SELECT count(*) FROM w WHERE NOT EXISTS (SELECT FROM t WHERE t.o = w.o AND t.p = w.p);
SELECT count(*) FILTER (WHERE EXISTS (SELECT FROM t WHERE t.o = w.o AND t.p = w.p)) FROM w WHERE id < 8;
SELECT id, EXISTS (SELECT FROM t WHERE t.o = w.o AND t.p = w.p) FROM w WHERE id < 7 ORDER BY id;
SELECT count(*) FROM t AS a JOIN t AS b USING (o) WHERE o = 3;
\set VERBOSITY terse
SELECT count(*) FROM t AS a JOIN t AS b USING (v) WHERE a.o = 3;
SELECT count(*) FROM w JOIN t ON length(v) = w.id;
SELECT count(*) FROM w WHERE id NOT IN (SELECT o FROM t);
SELECT w.id FROM w JOIN t ON length(v) = w.id LIMIT 1;
DO 'BEGIN PERFORM FROM guards.t; END';
\set VERBOSITY default
-- What is merely looked at is not refused.
EXPLAIN (COSTS OFF) SELECT * FROM t;
EXPLAIN (COSTS OFF, ANALYZE) SELECT * FROM t;
CREATE VIEW everything AS SELECT * FROM t;
SELECT count(*) FROM everything WHERE o = 3;
SELECT count(*) FROM everything;
-- Without pushdown the condition is demanded all the same.
SET kafka_fdw.enable_pushdown = off;
SELECT count(*) FROM t WHERE o = 3;
SELECT count(*) FROM t;
RESET kafka_fdw.enable_pushdown;
ALTER FOREIGN TABLE t OPTIONS (SET require_bounds 'false');
SELECT count(*) FROM t;

--
-- kafka_fdw.max_scan_bytes, refused up front: 6000 offsets of 16 bytes or more
--
SET kafka_fdw.max_scan_bytes = '50kB';
SELECT count(*) FROM t;
SELECT count(*) FROM t WHERE o < 50;
SELECT count(*) FROM t WHERE o < 50 OR o >= 2950;
SELECT count(*) FROM t WHERE ts < '2024-05-01 12:00:09+00';
-- A condition that is not pushed does not help.
SELECT count(*) FROM t WHERE o + 0 < 50;
SET kafka_fdw.enable_pushdown = off;
SELECT count(*) FROM t WHERE o < 50;
RESET kafka_fdw.enable_pushdown;
-- A LIMIT ends it, or does not.
SELECT length(v) FROM t LIMIT 1;
SELECT count(*) FROM (SELECT length(v) FROM t WHERE v LIKE '%@%' LIMIT 20) AS s;
CREATE FUNCTION try(query text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	detail text;
BEGIN
	EXECUTE query;
	RETURN 'no error';
EXCEPTION WHEN program_limit_exceeded THEN
	GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL;
	RETURN SQLERRM || '; ' || regexp_replace(detail, '\d{5,}', 'more');
END $$;
SELECT try('SELECT FROM guards.t WHERE v = ''none'' LIMIT 1');
-- Refused while reading, where the messages are larger than that: partition 0
-- has some 297,000 bytes.
SELECT try('SELECT FROM guards.t WHERE o < 1600');
SET kafka_fdw.max_scan_bytes = '120kB';
SELECT try('SELECT FROM guards.t WHERE p = 0');
SELECT try('SELECT FROM guards.t WHERE p = 0 AND o < 1000');
SET kafka_fdw.max_scan_bytes = '400kB';
SELECT try('SELECT FROM guards.t WHERE p = 0');
-- All starts of a scan count together; then their messages' size is known.
SELECT try('SELECT (SELECT count(*) FROM guards.t WHERE p = 0 AND x > 0) FROM generate_series(1, 2) AS x');
SELECT count(*) FROM generate_series(1, 3) AS x, LATERAL (SELECT FROM t WHERE o < 100 OFFSET 0 * x) AS s;
-- Units, and who may change it
SHOW kafka_fdw.max_scan_bytes;
SET kafka_fdw.max_scan_bytes = 0;
SELECT count(*) FROM t WHERE o = 1;
SELECT count(*) FROM t WHERE o < 0;
SET kafka_fdw.max_scan_bytes = '1 TB';
SHOW kafka_fdw.max_scan_bytes;
SET kafka_fdw.max_scan_bytes = -2;
SET kafka_fdw.max_scan_bytes = 'much';
SET kafka_fdw.max_scan_bytes = 1000;
CREATE ROLE regress_kafka_guards;
GRANT USAGE ON SCHEMA guards TO regress_kafka_guards;
GRANT SELECT ON t TO regress_kafka_guards;
SET ROLE regress_kafka_guards;
SET kafka_fdw.max_scan_bytes = -1;
RESET kafka_fdw.max_scan_bytes;
SELECT count(*) FROM guards.t;
RESET ROLE;
RESET kafka_fdw.max_scan_bytes;
SET kafka_fdw.max_scan_byte = 1000;
ALTER ROLE regress_kafka_guards LOGIN;
ALTER ROLE regress_kafka_guards SET kafka_fdw.max_scan_bytes = '1kB';
\set superuser :USER
\c - regress_kafka_guards
SELECT count(*) FROM guards.t WHERE o < 4;
SELECT count(*) FROM guards.t;
SET kafka_fdw.max_scan_bytes = -1;
\c - :superuser
SELECT count(*) FROM guards.t;

SET client_min_messages = warning;
DROP OWNED BY regress_kafka_guards;
DROP ROLE regress_kafka_guards;
DROP SCHEMA guards CASCADE;
DROP SERVER guards;
