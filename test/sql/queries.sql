--
-- Kinds of queries: what the executor asks of a scan beside rows in a row.
-- queries.feed makes the topics.
--
\getenv brokers KAFKA_BROKERS
SET TimeZone = 'UTC';
SET DateStyle = 'ISO';
CREATE SERVER queries FOREIGN DATA WRAPPER kafka_fdw OPTIONS (brokers :'brokers', broker_clock_skew '0');
CREATE SCHEMA queries;
SET search_path = queries, public;
CREATE FOREIGN TABLE t (
    p int OPTIONS (partition 'true'),
    o bigint OPTIONS (offset 'true'),
    ts timestamptz OPTIONS (timestamp 'true'),
    k text OPTIONS (key 'true'),
    n int,
    kind text,
    tags text[],
    at jsonb
) SERVER queries OPTIONS (topic 'queries');

--
-- Which columns are wanted, in the filter and beside it
--
SELECT n, kind FROM t WHERE p = 0 AND o > 2 ORDER BY n;
SELECT kind, n, k, o, p FROM t WHERE kind = 'k1' AND at ->> 'x' > '3' ORDER BY n;
SELECT FROM t WHERE tags[2] = 'b1';
SELECT count(*), count(n), count(DISTINCT kind) FROM t;
SELECT n + 1 AS m, upper(kind), unnest(tags) FROM t WHERE n IN (1, 2) ORDER BY 1, 3;
SELECT k FROM t WHERE at @> '{"x": 3}' AND n = 3;
SELECT 1 AS one FROM t WHERE n > 10;
SELECT n FROM t WHERE n > 8 ORDER BY kind DESC, length(k), n;
SELECT at FROM t WHERE at -> 'x' = '7';
SELECT tags[1:1], kind || n FROM t WHERE (n, kind) = (5, 'k2');
-- Values are kept beyond the row: by sorts, sets, tables and functions.
SELECT string_agg(kind || n, ' ' ORDER BY n DESC), array_agg(tags ORDER BY n) FILTER (WHERE n < 3), jsonb_agg(at ORDER BY n) FILTER (WHERE n > 9) FROM t;
SELECT kind, count(*), sum(n), max(ts), array_agg(n ORDER BY n) FROM t GROUP BY kind ORDER BY kind;
SELECT p, kind, grouping(p, kind), count(*) FROM t GROUP BY CUBE (p, kind) ORDER BY p, kind;
SELECT DISTINCT kind, p FROM t ORDER BY kind, p;
SELECT DISTINCT ON (kind) kind, n, at FROM t ORDER BY kind, n DESC;
SELECT n, kind, row_number() OVER w, lag(kind, 2) OVER w, first_value(tags) OVER w FROM t WHERE n < 5 WINDOW w AS (ORDER BY n) ORDER BY n;
SELECT kind, sum(n) OVER (PARTITION BY kind ORDER BY n RANGE BETWEEN 3 PRECEDING AND CURRENT ROW) FROM t ORDER BY kind, n LIMIT 4;
SELECT kind, count(*) FROM t GROUP BY kind HAVING min(n) > 0 ORDER BY kind;
SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY n), mode() WITHIN GROUP (ORDER BY kind) FROM t WHERE n <> 0;
SELECT n FROM t WHERE p = 0 UNION ALL SELECT n FROM t WHERE p = 1 AND o < 2 ORDER BY n;
SELECT count(*) FROM (SELECT n, kind FROM t UNION ALL SELECT n, kind FROM t) AS s;
SELECT n FROM t EXCEPT SELECT n FROM t WHERE p = 1 ORDER BY n;
SELECT n FROM t INTERSECT SELECT o FROM t ORDER BY n;
WITH s AS MATERIALIZED (SELECT n, kind FROM t) SELECT count(*) FROM s AS a JOIN s AS b ON a.kind = b.kind;
WITH s AS NOT MATERIALIZED (SELECT o, n, kind FROM t) SELECT count(*) FROM s AS a JOIN s AS b ON a.kind = b.kind AND a.o = 1 AND b.o = 4;
SELECT n FROM t ORDER BY n OFFSET 10;
SELECT n FROM t ORDER BY n DESC LIMIT 2 OFFSET 3;
SELECT count(*) FROM (SELECT n FROM t LIMIT 5) AS s;
SELECT count(*) FROM (SELECT n FROM t ORDER BY kind FETCH FIRST 2 ROWS WITH TIES) AS s;
SELECT count(*) FROM t TABLESAMPLE SYSTEM (10);
VALUES ((SELECT max(n) FROM t)), ((SELECT count(*) FROM t));
SELECT n, j.* FROM t, jsonb_to_record(at) AS j(x int) WHERE j.x > 10;

--
-- Whole rows and system columns
--
SELECT t FROM t WHERE n = 3;
SELECT t.*::text FROM t WHERE n = 4;
SELECT row_to_json(t) FROM t WHERE n = 5;
SELECT to_jsonb(t) - 'ts' - 'tags' FROM t WHERE p = 1 AND o = 1;
SELECT (t).n, (t).kind FROM t WHERE t IS NOT NULL AND n > 10;
SELECT count(t), count(t.*), count(DISTINCT t) FROM t;
SELECT a = b, a.n, b.n FROM t AS a JOIN t AS b ON a = b WHERE a.n = 2;
SELECT s.t FROM (SELECT t, n FROM t OFFSET 0) AS s WHERE n = 1;
SELECT tableoid::regclass, n FROM t WHERE kind = 'k0' AND n > 5 ORDER BY n;
SELECT tableoid::regclass, count(*) FROM t GROUP BY 1;
SELECT n FROM t WHERE tableoid = 't'::regclass AND n = 7;
SELECT n FROM t WHERE tableoid = 'pg_class'::regclass;
SELECT ctid FROM t WHERE n = 1;
SELECT xmin FROM t;
SELECT n FROM t WHERE cmax IS NOT NULL;
CREATE FUNCTION describe(t) RETURNS text LANGUAGE sql AS $$ SELECT $1.kind || '/' || $1.n $$;
SELECT describe(t), t.describe FROM t WHERE n = 8;
CREATE FUNCTION describe_plpgsql(r t) RETURNS text LANGUAGE plpgsql AS $$ BEGIN RETURN r.at::text || ' ' || r.ts; END $$;
SELECT describe_plpgsql(t) FROM t WHERE o = 0 ORDER BY n;

--
-- Cursors
--
CREATE FOREIGN TABLE single (o bigint OPTIONS (offset 'true'), n int) SERVER queries OPTIONS (topic 'queries_single');
BEGIN;
DECLARE a CURSOR FOR SELECT n FROM single;
DECLARE b CURSOR FOR SELECT n * 10 AS n FROM single WHERE o > 1;
DECLARE s SCROLL CURSOR FOR SELECT n * 100 AS n FROM single;
FETCH 2 FROM a;
FETCH 1 FROM b;
FETCH 3 FROM s;
FETCH BACKWARD 2 FROM s;
FETCH 1 FROM a;
FETCH LAST FROM s;
FETCH ABSOLUTE 1 FROM s;
FETCH ALL FROM b;
FETCH PRIOR FROM s;
MOVE FORWARD ALL FROM s;
FETCH ABSOLUTE -2 FROM s;
FETCH BACKWARD 1 FROM a;
ROLLBACK;
BEGIN;
DECLARE h CURSOR WITH HOLD FOR SELECT n FROM single;
DECLARE u CURSOR WITH HOLD FOR SELECT n FROM single;
DECLARE w CURSOR WITH HOLD FOR SELECT a.n + b.n AS n FROM single AS a JOIN single AS b USING (o) ORDER BY o;
FETCH 2 FROM h;
FETCH 5 FROM w;
COMMIT;
FETCH ALL FROM h;
FETCH 2 FROM u;
FETCH ALL FROM w;
CLOSE h;
CLOSE u;
CLOSE w;
-- A cursor of a savepoint that is rolled back is gone, those before go on.
BEGIN;
DECLARE a CURSOR FOR SELECT n FROM single;
FETCH 1 FROM a;
SAVEPOINT s;
DECLARE b CURSOR FOR SELECT n FROM single;
FETCH 1 FROM b;
FETCH 1 FROM a;
ROLLBACK TO s;
FETCH 1 FROM a;
FETCH 1 FROM b;
ROLLBACK TO s;
FETCH 1 FROM a;
CLOSE a;
COMMIT;
BEGIN;
DECLARE a CURSOR FOR SELECT n FROM single WHERE n > 0 FOR UPDATE;
FETCH 1 FROM a;
UPDATE single SET n = 1 WHERE CURRENT OF a;
ROLLBACK;

SET client_min_messages = warning;
DROP SCHEMA queries CASCADE;
DROP SERVER queries;
