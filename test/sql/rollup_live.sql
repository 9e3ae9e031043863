--
-- Live views: a rollup together with what its topic holds beyond it.
-- rollup_live.feed makes the topics.
--
\getenv brokers KAFKA_BROKERS
SET TimeZone = 'UTC';
SET DateStyle = 'ISO';
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS hll;
CREATE EXTENSION IF NOT EXISTS tdigest;
RESET client_min_messages;
CREATE SERVER live FOREIGN DATA WRAPPER kafka_fdw OPTIONS (brokers :'brokers');
CREATE SCHEMA live;
SET search_path = live, public;
CREATE FOREIGN TABLE log (
    p int OPTIONS (partition 'true'),
    o bigint OPTIONS (offset 'true'),
    ts timestamptz OPTIONS (timestamp 'true'),
    k text, n int, x float8, u text
) SERVER live OPTIONS (topic 'rl_log');

--
-- Storage, tail, and both
--
SELECT kafka.create_rollup('r', $$
    SELECT date_bin('10 min', ts, '2000-01-01') AS bucket, k, count(*) AS messages, sum(n) AS total, avg(n) AS mean
      FROM log GROUP BY 1, 2 $$);
SELECT * FROM r ORDER BY 1, 2;
SELECT * FROM r_live ORDER BY 1, 2;
CALL kafka.run_rollups('r');
SELECT * FROM r_live ORDER BY 1, 2;
SELECT live FROM kafka.stored_rollup WHERE name = 'r';
SELECT pg_get_viewdef('r_live'::regclass);
EXPLAIN (COSTS OFF) SELECT * FROM r_live WHERE bucket = '2024-05-01 12:00:00+00' AND k = 'a';
