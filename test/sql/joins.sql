--
-- Joins of topics with tables and with themselves. joins.feed makes the topics.
--
\getenv brokers KAFKA_BROKERS
SET TimeZone = 'UTC';
SET DateStyle = 'ISO';
CREATE SERVER joins FOREIGN DATA WRAPPER kafka_fdw OPTIONS (brokers :'brokers', broker_clock_skew '0');
CREATE SCHEMA joins;
SET search_path = joins, public;
CREATE FOREIGN TABLE t (
    p int OPTIONS (partition 'true'),
    o bigint OPTIONS (offset 'true'),
    ts timestamptz OPTIONS (timestamp 'true'),
    n int,
    k int
) SERVER joins OPTIONS (topic 'joins', timestamp_max_lag '0');
CREATE TABLE w (id int PRIMARY KEY, p int, o bigint, a timestamptz, b timestamptz);
INSERT INTO w VALUES
    (1, 0, 90, '2024-05-01 12:04:00+00', '2024-05-01 12:04:03+00'),
    (2, 2, 10, '2024-05-01 12:00:30+00', '2024-05-01 12:00:31+00'),
    (3, NULL, NULL, NULL, '2024-05-01 12:00:05+00'),
    (4, 7, 500, '2025-05-01 12:00:00+00', '2025-05-02 12:00:00+00');
ANALYZE w;
CREATE FUNCTION messages_read(query text) RETURNS int[] LANGUAGE plpgsql AS $$
DECLARE
	plan jsonb;
BEGIN
	EXECUTE 'EXPLAIN (ANALYZE, FORMAT JSON) ' || query INTO plan;
	RETURN ARRAY(SELECT jsonb_path_query(plan, 'strict $.**."Messages Read"')::int ORDER BY 1);
END $$;

--
-- Values of other tables bound a scan: of partition, offset and time. The topic
-- is so small that reading it once is cheaper, so the plans are asked for.
--
SET enable_material = off;
EXPLAIN (COSTS OFF) SELECT w.id, t.n FROM w JOIN t ON t.ts >= w.a AND t.ts < w.b;
SELECT w.id, t.n FROM w JOIN t ON t.ts >= w.a AND t.ts < w.b ORDER BY id, n;
SELECT messages_read('SELECT w.id, n FROM w, LATERAL (SELECT n FROM t WHERE ts >= w.a AND ts < w.b OFFSET 0) AS t');
EXPLAIN (COSTS OFF) SELECT w.id, t.n FROM w JOIN t ON t.p = w.p AND t.o = w.o;
SELECT w.id, t.n FROM w JOIN t ON t.p = w.p AND t.o = w.o ORDER BY id;
SELECT messages_read('SELECT w.id, t.n FROM w JOIN t ON t.p = w.p AND t.o = w.o');
SELECT w.id, t.n FROM w LEFT JOIN t USING (p, o) ORDER BY id;
EXPLAIN (COSTS OFF) SELECT w.id, t.n FROM w LEFT JOIN t ON t.o >= w.o AND t.o <= w.o + 1 AND t.p <= 1 AND w.id <> 2;
SELECT w.id, t.n FROM w LEFT JOIN t ON t.o >= w.o AND t.o <= w.o + 1 AND t.p <= 1 AND w.id <> 2 ORDER BY id, n;
SELECT w.id, t.n FROM t RIGHT JOIN w ON t.o = w.o AND t.k = 3 ORDER BY id, n;
-- Two other tables, and an expression of both
SELECT a.id, b.id, t.n FROM w AS a, w AS b, t WHERE t.p = a.p AND t.o = a.o + b.id AND a.id = 2 ORDER BY a.id, b.id;
SELECT w.id, g, t.n FROM w, generate_series(1, 2) AS g, t WHERE t.p = g AND t.o = w.o ORDER BY id, g;
-- A row of t that more than one condition of an OR admits is returned once.
SELECT w.id, array_agg(t.n ORDER BY n) FROM w JOIN t ON (t.p = w.p AND t.o = w.o) OR (t.p = 0 AND t.o = 90) GROUP BY id ORDER BY id;
SELECT id FROM w WHERE EXISTS (SELECT FROM t WHERE t.o = w.o AND t.p = w.p) ORDER BY id;
SELECT id FROM w WHERE NOT EXISTS (SELECT FROM t WHERE t.o = w.o AND t.p = w.p) ORDER BY id;
SELECT id FROM w WHERE o IN (SELECT o FROM t WHERE n % 2 = 0) ORDER BY id;
SELECT id FROM w WHERE o NOT IN (SELECT o FROM t) ORDER BY id;
SELECT n FROM t WHERE (p, o) IN (SELECT p, o FROM w) ORDER BY n;
SELECT n FROM t WHERE o = (SELECT max(o) FROM t) ORDER BY n;
SELECT count(*) FROM t WHERE ts >= (SELECT max(ts) FROM t) - interval '5 s';
SELECT messages_read('SELECT count(*) FROM t WHERE ts >= (SELECT max(ts) FROM t) - interval ''5 s''');
RESET enable_material;

--
-- The topic with itself, by each kind of join
--
SET enable_nestloop = off;
SET enable_mergejoin = off;
EXPLAIN (COSTS OFF) SELECT count(*) FROM t AS a JOIN t AS b ON a.n = b.n + 1;
SELECT count(*) FROM t AS a JOIN t AS b ON a.n = b.n + 1;
SELECT count(*), count(a.n), count(b.n) FROM t AS a FULL JOIN t AS b ON a.n = b.n + 100;
SELECT count(*) FROM t AS a WHERE NOT EXISTS (SELECT FROM t AS b WHERE b.n = a.n + 1);
SET enable_mergejoin = on;
SET enable_hashjoin = off;
EXPLAIN (COSTS OFF) SELECT count(*), sum(a.n), sum(b.n) FROM t AS a JOIN t AS b USING (k) WHERE a.p = 0 AND b.p = 1;
SELECT count(*), sum(a.n), sum(b.n) FROM t AS a JOIN t AS b USING (k) WHERE a.p = 0 AND b.p = 1;
-- Mark and restore through Materialize
SET enable_sort = off;
EXPLAIN (COSTS OFF) SELECT count(*) FROM (SELECT k FROM t WHERE p = 0 ORDER BY k) AS a JOIN (SELECT k FROM t WHERE p = 1 ORDER BY k OFFSET 0) AS b USING (k);
SELECT count(*) FROM (SELECT k FROM t WHERE p = 0 ORDER BY k) AS a JOIN (SELECT k FROM t WHERE p = 1 ORDER BY k OFFSET 0) AS b USING (k);
RESET enable_sort;
SET enable_hashjoin = on;
SET enable_mergejoin = off;
-- The same from tables
CREATE TABLE copy AS SELECT * FROM t;
SELECT count(*), sum(a.n), sum(b.n) FROM copy AS a JOIN copy AS b USING (k) WHERE a.p = 0 AND b.p = 1;
SET enable_nestloop = on;
SET enable_hashjoin = off;
EXPLAIN (COSTS OFF) SELECT a.n, b.n FROM t AS a, t AS b WHERE a.p = 1 AND a.o = 4 AND b.o = a.o + 1 AND b.p = a.p;
SELECT a.n, b.n FROM t AS a, t AS b WHERE a.p = 1 AND a.o = 4 AND b.o = a.o + 1 AND b.p = a.p;
RESET enable_hashjoin;
RESET enable_mergejoin;

--
-- Hash joins in batches read each side once and keep the rows' values.
--
CREATE FOREIGN TABLE large (p int OPTIONS (partition 'true'), n int, s text) SERVER joins OPTIONS (topic 'joins_large');
SET work_mem = '64kB';
SET enable_nestloop = off;
SET enable_mergejoin = off;
SELECT count(*), count(*) FILTER (WHERE a.s = b.s AND a.s = a.n || ' @123456789012345678901234567890123456789012345678901234567890') AS sound, sum(b.n)
FROM large AS a JOIN large AS b ON a.n = b.n;
CREATE FUNCTION batches(query text) RETURNS SETOF int LANGUAGE plpgsql AS $$
DECLARE
	plan jsonb;
BEGIN
	EXECUTE 'EXPLAIN (ANALYZE, FORMAT JSON) ' || query INTO plan;
	RETURN QUERY SELECT jsonb_path_query(plan, 'strict $.**."Hash Batches"')::int;
END $$;
SELECT batches > 1 AS many FROM batches('SELECT a.s, b.s FROM large AS a JOIN large AS b ON a.n = b.n') AS batches;
SELECT messages_read('SELECT a.s, b.s FROM large AS a JOIN large AS b ON a.n = b.n');
-- Sorts and groups on disk, too
SELECT count(*), min(s), bool_and(s > before) FROM (SELECT s, lag(s, 1, '') OVER (ORDER BY s) AS before FROM large) AS q;
SELECT count(*), sum(c) FROM (SELECT s, count(*) AS c FROM large GROUP BY s) AS q;
RESET work_mem;
RESET enable_nestloop;
RESET enable_mergejoin;

SET client_min_messages = warning;
DROP SCHEMA joins CASCADE;
DROP SERVER joins;
