--
-- Rescans, and bounds that are known only when the query runs. rescan.feed
-- makes the topics.
--
\getenv brokers KAFKA_BROKERS
SET TimeZone = 'UTC';
SET DateStyle = 'ISO';
CREATE SERVER rescan FOREIGN DATA WRAPPER kafka_fdw OPTIONS (brokers :'brokers', broker_clock_skew '0');
CREATE SCHEMA rescan;
SET search_path = rescan, public;
CREATE FOREIGN TABLE t (
    p int OPTIONS (partition 'true'),
    o bigint OPTIONS (offset 'true'),
    ts timestamptz OPTIONS (timestamp 'true'),
    n int
) SERVER rescan OPTIONS (topic 'rescan', timestamp_max_lag '0');
-- In this order bounds move back and forth, and some are NULL.
CREATE TABLE w (id int PRIMARY KEY, p int, o bigint, a timestamptz, b timestamptz);
INSERT INTO w VALUES
    (1, 0, 90, '2024-05-01 12:04:00+00', '2024-05-01 12:04:10+00'),
    (2, 0, 10, '2024-05-01 12:00:30+00', '2024-05-01 12:00:33+00'),
    (3, NULL, 50, NULL, '2024-05-01 12:00:05+00'),
    (4, 2, NULL, '2024-05-01 12:04:55+00', NULL),
    (5, 7, 99, '2024-05-01 12:04:59+00', '2024-05-01 13:00:00+00'),
    (6, 1, 99, '2024-05-01 12:04:59+00', '2024-05-01 12:04:59+00'),
    (7, 0, 10, '2020-05-01 12:00:00+00', '2024-05-01 12:00:02+00');
ANALYZE w;

-- How many messages each scan of t in the query read, all its loops together
CREATE FUNCTION messages_read(query text) RETURNS int[] LANGUAGE plpgsql AS $$
DECLARE
	plan jsonb;
BEGIN
	EXECUTE 'EXPLAIN (ANALYZE, FORMAT JSON) ' || query INTO plan;
	RETURN ARRAY(SELECT jsonb_path_query(plan, 'strict $.**."Messages Read"')::int ORDER BY 1);
END $$;

--
-- Correlated subqueries: each outer row has bounds of its own.
--
EXPLAIN (COSTS OFF) SELECT id, (SELECT count(*) FROM t WHERE p = w.p AND o >= w.o) FROM w ORDER BY id;
SELECT id, (SELECT count(*) FROM t WHERE p = w.p AND o >= w.o) FROM w ORDER BY id;
SELECT messages_read('SELECT id, (SELECT count(*) FROM t WHERE p = w.p AND o >= w.o) FROM w');
SELECT id, (SELECT min(n) || '-' || max(n) FROM t WHERE ts >= w.a AND ts < w.b) FROM w ORDER BY id;
SELECT messages_read('SELECT id, (SELECT min(n) FROM t WHERE ts >= w.a AND ts < w.b) FROM w');
-- A parameter that comes from two levels up
SELECT id, (SELECT sum((SELECT count(*) FROM t WHERE p = w.p AND o < x)) FROM generate_series(1, 3) AS x) FROM w ORDER BY id;
-- In WHERE, and beside conditions that cannot be pushed
SELECT id FROM w WHERE EXISTS (SELECT FROM t WHERE p = w.p AND o >= w.o AND n % 2 = 1) ORDER BY id;
SELECT id FROM w WHERE NOT EXISTS (SELECT FROM t WHERE p = w.p AND o >= w.o OFFSET 5) ORDER BY id;
SELECT id FROM w WHERE 272 = ANY (SELECT n + 2 FROM t WHERE p = w.p AND o >= w.o) OR id = 4 ORDER BY id;
SELECT id, ARRAY(SELECT n FROM t WHERE ts >= w.a AND ts < w.b AND (p = 0 OR n % 5 = 0) ORDER BY n) FROM w ORDER BY id;

--
-- LATERAL
--
EXPLAIN (COSTS OFF) SELECT id, s.n FROM w, LATERAL (SELECT n FROM t WHERE t.p = w.p AND t.o >= w.o LIMIT 2) AS s ORDER BY id, n;
SELECT id, s.n FROM w, LATERAL (SELECT n FROM t WHERE t.p = w.p AND t.o >= w.o LIMIT 2) AS s ORDER BY id, n;
SELECT id, s.* FROM w LEFT JOIN LATERAL (SELECT count(*), max(n) FROM t WHERE t.ts >= w.a AND t.ts < w.b OFFSET 0) AS s ON s.count > 0 ORDER BY id;
SELECT id, x, s.n FROM w, LATERAL generate_series(o, o + 1) AS x, LATERAL (SELECT n FROM t WHERE o = x AND p = w.p OFFSET 0) AS s ORDER BY id, x;
-- The inner scan's bounds do not depend on all that changes.
SELECT id, x, s.count FROM w, generate_series(1, 2) AS x, LATERAL (SELECT count(*) + x - x AS count FROM t WHERE t.o >= w.o) AS s ORDER BY id, x;

--
-- Rescans with nothing changed give everything again.
--
SET enable_material = off;
SET enable_hashjoin = off;
SET enable_mergejoin = off;
EXPLAIN (COSTS OFF) SELECT count(*), sum(n) FROM generate_series(1, 3) AS x LEFT JOIN t ON n + x > 0;
SELECT count(*), sum(n) FROM generate_series(1, 3) AS x LEFT JOIN t ON n + x > 0;
SELECT messages_read('SELECT count(*), sum(n) FROM generate_series(1, 3) AS x LEFT JOIN t ON n + x > 0');
-- A scan that was not read to its end is begun anew.
SELECT x, (SELECT n FROM t WHERE p = 1 AND n + x - x >= 0 LIMIT 1) FROM generate_series(1, 3) AS x;
SELECT x FROM generate_series(99, 101) AS x WHERE EXISTS (SELECT FROM t WHERE p = 0 AND n = x) IS NOT TRUE;
RESET enable_material;
EXPLAIN (COSTS OFF) SELECT count(*), sum(n) FROM generate_series(1, 3) AS x LEFT JOIN t ON n + x > 0;
SELECT count(*), sum(n) FROM generate_series(1, 3) AS x LEFT JOIN t ON n + x > 0;
SELECT messages_read('SELECT count(*), sum(n) FROM generate_series(1, 3) AS x LEFT JOIN t ON n + x > 0');
RESET enable_hashjoin;
RESET enable_mergejoin;
-- Recursion: the scan of the recursive term is read once a round.
WITH RECURSIVE r(n, depth) AS (
    SELECT 1, 0
    UNION ALL
    SELECT t.n, depth + 1 FROM r JOIN t ON t.p = r.n % 3 AND t.o = r.n AND depth < 4
) SELECT * FROM r;

--
-- Prepared statements: parameters, and with them the numbers of parameters of
-- the two kinds, which are not to be mixed up.
--
SET plan_cache_mode = force_generic_plan;
PREPARE by_offset(bigint) AS SELECT p, n FROM t WHERE o = $1 ORDER BY p;
EXPLAIN (COSTS OFF) EXECUTE by_offset(4);
EXECUTE by_offset(4);
EXECUTE by_offset(5);
EXECUTE by_offset(NULL);
EXECUTE by_offset(100);
PREPARE by_both(bigint) AS SELECT count(*), min(n) FROM t WHERE o >= $1 AND p = (SELECT w.p FROM w WHERE id = 6) AND o < (SELECT 50 + count(*) FROM w);
EXPLAIN (COSTS OFF) EXECUTE by_both(17);
EXECUTE by_both(17);
EXECUTE by_both(56);
EXECUTE by_both(57);
PREPARE by_three(int, bigint, bigint) AS SELECT (SELECT count(*) FROM t WHERE p = $1 AND o BETWEEN $2 AND w.o AND n >= $3), id FROM w ORDER BY id;
EXECUTE by_three(0, 5, 20);
EXECUTE by_three(1, 95, 0);
PREPARE by_list(bigint[], int[]) AS SELECT p, o, n FROM t WHERE o = ANY ($1) AND p <> ALL ($2) ORDER BY p, o;
EXPLAIN (COSTS OFF) EXECUTE by_list('{}', '{}');
EXECUTE by_list('{3,1,99,NULL}', '{1}');
EXECUTE by_list('{3}', '{}');
EXECUTE by_list('{3}', '{1,NULL}');
EXECUTE by_list(NULL, '{1}');
EXECUTE by_list('{}', '{1}');
PREPARE by_time(timestamptz, interval) AS SELECT min(n), max(n), count(*) FROM t WHERE ts >= $1 AND ts < $1 + $2;
EXPLAIN (COSTS OFF) EXECUTE by_time('2024-05-01 12:00:30+00', '10 s');
EXECUTE by_time('2024-05-01 12:00:30+00', '10 s');
EXECUTE by_time('2024-05-01 12:04:55+00', '10 s');
EXECUTE by_time('-infinity', '10 s');
EXECUTE by_time('infinity', NULL);
SELECT messages_read('EXECUTE by_time(''2024-05-01 12:00:30+00'', ''10 s'')');
-- The pushed form of $1 is a value, not a text: types are those of the operator.
PREPARE by_small(smallint) AS SELECT n FROM t WHERE p = $1 AND o <= $1 ORDER BY n;
EXECUTE by_small(1);
SET plan_cache_mode = auto;
DO $$
DECLARE
	result bigint;
BEGIN
	FOR i IN 1 .. 8 LOOP
		SELECT sum(n) INTO result FROM t WHERE o = i;
		IF result <> 9 * i + 3 THEN
			RAISE 'sum is % for %', result, i;
		END IF;
	END LOOP;
END $$;
-- A prepared statement is planned again when the table changes.
ALTER FOREIGN TABLE t OPTIONS (ADD partitions '1-2');
EXECUTE by_offset(4);
ALTER FOREIGN TABLE t OPTIONS (DROP partitions);
ALTER FOREIGN TABLE t ALTER o OPTIONS (DROP offset, ADD json 'n');
EXECUTE by_offset(4);
ALTER FOREIGN TABLE t ALTER o OPTIONS (DROP json, ADD offset 'true');
EXECUTE by_offset(4);
SET kafka_fdw.enable_pushdown = off;
EXECUTE by_offset(4);
SELECT messages_read('EXECUTE by_offset(4)');
SET kafka_fdw.enable_pushdown = on;
SELECT messages_read('EXECUTE by_offset(4)');
DEALLOCATE ALL;

SET client_min_messages = warning;
DROP SCHEMA rescan CASCADE;
DROP SERVER rescan;
