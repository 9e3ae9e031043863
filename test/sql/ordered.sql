--
-- Scans in the order of the record time, the offset and the partition read no
-- more than is wanted. ordered.feed makes the topics.
--
\getenv brokers KAFKA_BROKERS
SET TimeZone = 'UTC';
SET DateStyle = 'ISO';
CREATE SERVER ordered FOREIGN DATA WRAPPER kafka_fdw OPTIONS (brokers :'brokers', broker_clock_skew '0');
CREATE SCHEMA ordered;
SET search_path = ordered, public;
CREATE FUNCTION make(name text, options text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE format('CREATE FOREIGN TABLE %I (p int OPTIONS (partition ''true''), o bigint OPTIONS (offset ''true''),
		ts timestamptz OPTIONS (timestamp ''true''), n int, v text) SERVER ordered OPTIONS (%s)', name, options);
END $$;
SELECT make('t', $$topic 'ordered', timestamp_max_lag '0'$$), make('mixed', $$topic 'ordered_mixed', timestamp_max_lag '20 s'$$),
    make('marked', $$topic 'ordered_marked', timestamp_max_lag '36500 days'$$), make('untimed', $$topic 'ordered_untimed'$$),
    make('appended', $$topic 'ordered_append'$$), make('empty', $$topic 'ordered_empty', timestamp_max_lag '0'$$),
    make('undeclared', $$topic 'ordered'$$), make('bounded', $$topic 'ordered', timestamp_max_lag '0', require_bounds 'true'$$),
    make('skipping', $$topic 'ordered_bad', timestamp_max_lag '0', on_error 'skip'$$), make('several', $$topic 'ordered,ordered_mixed', timestamp_max_lag '20 s'$$);

-- The plan, and what its scans read of topics, all loops together
CREATE FUNCTION plan_of(query text) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
	line text;
BEGIN
	FOR line IN EXECUTE 'EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF) ' || query LOOP
		IF line ~ 'Order|Messages Read|->|Sort|Limit|Presorted' AND line !~ 'Method|Groups' THEN
			RETURN NEXT line;
		END IF;
	END LOOP;
END $$;
CREATE FUNCTION messages_read(query text) RETURNS int[] LANGUAGE plpgsql AS $$
DECLARE
	plan jsonb;
BEGIN
	EXECUTE 'EXPLAIN (ANALYZE, FORMAT JSON) ' || query INTO plan;
	RETURN ARRAY(SELECT jsonb_path_query(plan, 'strict $.**."Messages Read"')::int ORDER BY 1);
END $$;
-- Is a query's result the same with pushdown off, in the same order?
CREATE FUNCTION same(query text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	got text;
	want text;
BEGIN
	EXECUTE format('SELECT string_agg(q::text, '' '') FROM (%s) AS q', query) INTO got;
	SET LOCAL kafka_fdw.enable_pushdown = off;
	EXECUTE format('SELECT string_agg(q::text, '' '') FROM (%s) AS q', query) INTO want;
	SET LOCAL kafka_fdw.enable_pushdown = on;
	RETURN CASE WHEN got IS NOT DISTINCT FROM want THEN 'same' ELSE format('%s, not %s', got, want) END;
END $$;

-- The topics are so small that the planner would rather read and sort them.
SET enable_sort = off;

--
-- Offsets
--
SELECT plan_of('SELECT o, n FROM t WHERE p = 1 ORDER BY o LIMIT 5');
SELECT plan_of('SELECT o, n FROM t WHERE p = 1 ORDER BY o DESC LIMIT 5');
SELECT plan_of('SELECT o, n FROM t ORDER BY o DESC LIMIT 5');
SELECT plan_of('SELECT o, n FROM t ORDER BY o, p LIMIT 5');
SELECT o, p, n FROM t ORDER BY o DESC, p LIMIT 7;
SELECT o, p, n FROM t ORDER BY o, p OFFSET 3 LIMIT 4;
SELECT o, n FROM t WHERE p = 2 AND o < 100 ORDER BY o DESC LIMIT 3;
SELECT messages_read('SELECT o, n FROM t WHERE p = 2 AND o < 100 ORDER BY o DESC LIMIT 3');
SELECT o, n FROM t WHERE p = 2 AND v = 'v3' ORDER BY o DESC LIMIT 3;
SELECT messages_read('SELECT o, n FROM t WHERE p = 2 AND v = ''v3'' ORDER BY o DESC LIMIT 3');
SELECT o, n FROM t WHERE p = 3 ORDER BY o LIMIT 3;

--
-- Times: newest and oldest first
--
SELECT plan_of('SELECT ts, n FROM t ORDER BY ts DESC LIMIT 5');
SELECT ts, n FROM t ORDER BY ts DESC LIMIT 5;
SELECT plan_of('SELECT ts, n FROM t ORDER BY ts LIMIT 5');
SELECT ts, n FROM t ORDER BY ts LIMIT 5 OFFSET 2;
SELECT ts, n FROM t WHERE ts < '2024-05-01 12:10:00' ORDER BY ts DESC LIMIT 3;
SELECT messages_read('SELECT ts, n FROM t WHERE ts < ''2024-05-01 12:10:00'' ORDER BY ts DESC LIMIT 3');
SELECT ts, n FROM t WHERE ts > '2024-05-01 12:10:00' AND p <> 0 ORDER BY ts LIMIT 3;
SELECT messages_read('SELECT ts, n FROM t WHERE ts > ''2024-05-01 12:10:00'' AND p <> 0 ORDER BY ts LIMIT 3');
SELECT same('SELECT ts FROM mixed ORDER BY ts DESC LIMIT 150'), same('SELECT ts FROM mixed ORDER BY ts LIMIT 150'),
    same('SELECT ts, o FROM mixed ORDER BY ts DESC, o LIMIT 350'), same('SELECT ts, o FROM mixed ORDER BY ts, o DESC LIMIT 450');
SELECT same(format('SELECT ts, n FROM %I ORDER BY %s, n, ts LIMIT %s', name, keys, count)) AS same, count(*)
FROM unnest(ARRAY['t', 'mixed', 'marked', 'untimed', 'appended', 'empty', 'undeclared', 'several', 'skipping']) AS name,
    unnest(ARRAY['ts', 'ts DESC', 'ts NULLS FIRST', 'ts DESC NULLS LAST', 'o', 'o DESC', 'p, o', 'p DESC', 'p DESC, o DESC']) AS keys,
    unnest(ARRAY[9]) AS count GROUP BY 1;
-- Records without a time come first where the order descends, unless it says otherwise.
SELECT n, ts FROM untimed ORDER BY ts DESC LIMIT 3;
SELECT plan_of('SELECT n FROM untimed ORDER BY ts DESC LIMIT 3');
SELECT n, ts FROM untimed ORDER BY ts DESC NULLS LAST LIMIT 3;
SELECT plan_of('SELECT n FROM untimed ORDER BY ts DESC NULLS LAST LIMIT 3');
SELECT n, ts FROM untimed ORDER BY ts DESC NULLS LAST, n OFFSET 119;
SELECT messages_read('SELECT n FROM untimed WHERE ts IS NOT NULL ORDER BY ts DESC LIMIT 3');
SELECT messages_read('SELECT n FROM untimed WHERE ts < now() ORDER BY ts DESC LIMIT 3');
SELECT n, ts FROM untimed WHERE ts IS NOT DISTINCT FROM (SELECT NULL::timestamptz) OR n = 7 ORDER BY ts DESC, n LIMIT 3;
SELECT n, ts FROM untimed WHERE coalesce(ts, now()) > '2024-05-01 12:02:20' ORDER BY ts DESC, n LIMIT 3;
ALTER FOREIGN TABLE untimed ALTER ts SET NOT NULL;
SELECT messages_read('SELECT n FROM untimed ORDER BY ts DESC LIMIT 3');
ALTER FOREIGN TABLE untimed ALTER ts DROP NOT NULL;

--
-- Partitions
--
SELECT plan_of('SELECT p, o FROM t ORDER BY p, o LIMIT 3');
SELECT plan_of('SELECT p, o FROM t ORDER BY p DESC LIMIT 3');
SELECT p, o FROM t ORDER BY p DESC, o LIMIT 3;
SELECT p, o FROM t WHERE o >= 499 ORDER BY p, o LIMIT 3;

--
-- What PostgreSQL makes of it
--
SELECT max(ts), min(ts), min(o), max(o) FROM t;
SELECT messages_read('SELECT max(ts) FROM t'), messages_read('SELECT min(ts) FROM t'), messages_read('SELECT max(o) FROM t'), messages_read('SELECT min(o) FROM t WHERE o > 100');
SELECT max(ts), min(ts) FROM untimed;
SELECT max(ts), max(o) FROM empty;
SELECT DISTINCT ON (p) p, o FROM t ORDER BY p, o;
SELECT DISTINCT ON (o) o, p FROM t ORDER BY o DESC, p LIMIT 2;
SELECT n, row_number() OVER (ORDER BY ts DESC) FROM t LIMIT 3;
SELECT messages_read('SELECT n, row_number() OVER (ORDER BY ts DESC) FROM t LIMIT 3');
SELECT o, count(*) FROM t GROUP BY o ORDER BY o DESC LIMIT 2;
SELECT a.o, b.n FROM t AS a JOIN t AS b USING (o) WHERE a.p = 0 AND b.p = 1 ORDER BY o DESC LIMIT 3;
SELECT * FROM (SELECT ts, n FROM t UNION ALL SELECT ts, n FROM mixed) AS u ORDER BY ts DESC LIMIT 4;
SELECT plan_of('SELECT * FROM (SELECT ts, n FROM t UNION ALL SELECT ts, n FROM mixed) AS u ORDER BY ts DESC LIMIT 4');
CREATE TABLE parts (p int, ts timestamptz, n int) PARTITION BY LIST (p);
CREATE FOREIGN TABLE part0 (p int OPTIONS (partition 'true'), ts timestamptz OPTIONS (timestamp 'true'), n int) SERVER ordered OPTIONS (topic 'ordered', partitions '0', timestamp_max_lag '0');
ALTER TABLE parts ATTACH PARTITION part0 FOR VALUES IN (0);
CREATE FOREIGN TABLE part1 (p int OPTIONS (partition 'true'), ts timestamptz OPTIONS (timestamp 'true'), n int) SERVER ordered OPTIONS (topic 'ordered', partitions '1', timestamp_max_lag '0');
ALTER TABLE parts ATTACH PARTITION part1 FOR VALUES IN (1);
SELECT * FROM parts ORDER BY ts DESC LIMIT 3;
SELECT messages_read('SELECT * FROM parts ORDER BY ts DESC LIMIT 3');

--
-- Of each outer row the newest before some time
--
CREATE TABLE w (id int, p int, ts timestamptz, o bigint, k bigint);
INSERT INTO w VALUES (1, 0, '2024-05-01 12:03:00', 7, 1), (2, 1, '2024-05-01 12:00:00', 600, 3), (3, NULL, NULL, NULL, NULL), (4, 2, '2025-01-01', 2, 0), (5, 2, '2024-05-01 12:20:00', 400, 2);
SELECT id, s.* FROM w LEFT JOIN LATERAL (SELECT t.ts, t.n FROM t WHERE t.p = w.p AND t.ts < w.ts ORDER BY t.ts DESC LIMIT 1) AS s ON true ORDER BY id;
SELECT messages_read('SELECT id, s.* FROM w LEFT JOIN LATERAL (SELECT t.ts, t.n FROM t WHERE t.p = w.p AND t.ts < w.ts ORDER BY t.ts DESC LIMIT 1) AS s ON true');
SELECT id, s.* FROM w LEFT JOIN LATERAL (SELECT t.o, t.n FROM t WHERE t.p = w.p AND t.o >= w.o ORDER BY t.o LIMIT w.k) AS s ON true ORDER BY id, o;
SELECT id, (SELECT n FROM t WHERE t.ts <= w.ts ORDER BY t.ts DESC LIMIT 1) AS n FROM w ORDER BY id;
SELECT id, (SELECT max(t.ts) FROM t WHERE t.ts < w.ts) FROM w ORDER BY id;

--
-- Parameters, cursors, prepared statements
--
SET plan_cache_mode = force_generic_plan;
PREPARE newest(int, int) AS SELECT n FROM t ORDER BY ts DESC LIMIT $1 OFFSET $2;
EXECUTE newest(2, 1);
EXECUTE newest(0, 0);
SELECT messages_read('EXECUTE newest(2, 1)');
PREPARE last_of(int, bigint) AS SELECT o, n FROM t WHERE p = $1 ORDER BY o DESC LIMIT $2;
EXECUTE last_of(1, 2);
SELECT messages_read('EXECUTE last_of(1, 2)');
EXECUTE last_of(NULL, 2);
EXPLAIN (COSTS OFF) EXECUTE last_of(1, 2);
SET kafka_fdw.enable_pushdown = off;
EXECUTE last_of(1, 2);
SET kafka_fdw.enable_pushdown = on;
DEALLOCATE ALL;
RESET plan_cache_mode;
BEGIN;
SET LOCAL cursor_tuple_fraction = 0.0001;
DECLARE c SCROLL CURSOR FOR SELECT ts, n FROM t ORDER BY ts DESC;
FETCH 2 FROM c;
FETCH 1 FROM c;
FETCH BACKWARD 2 FROM c;
MOVE FORWARD 1000 FROM c;
FETCH 2 FROM c;
DECLARE h CURSOR WITH HOLD FOR SELECT o FROM t WHERE p = 1 AND o < 300 ORDER BY o DESC;
COMMIT;
FETCH 2 FROM h;
CLOSE h;

--
-- Limits
--
SELECT n FROM bounded ORDER BY ts DESC LIMIT 2;
SELECT max(o) FROM bounded;
SELECT n FROM bounded ORDER BY n LIMIT 2;
SELECT n FROM bounded ORDER BY ts DESC;
SET kafka_fdw.enable_pushdown = off;
SELECT n FROM bounded ORDER BY ts DESC LIMIT 2;
SET kafka_fdw.enable_pushdown = on;
SET kafka_fdw.max_scan_bytes = 3000;
SELECT n FROM t ORDER BY ts DESC LIMIT 2;
SELECT count(*) FROM (SELECT n FROM t ORDER BY o LIMIT 1000) AS q;
RESET kafka_fdw.max_scan_bytes;
-- A window that memory does not hold goes to disk, and the next are smaller.
SET work_mem = '64kB';
SELECT same('SELECT ts, n FROM t ORDER BY ts DESC LIMIT 1400'), same('SELECT o, p FROM t ORDER BY o, p LIMIT 1400'),
    same('SELECT ts FROM mixed ORDER BY ts LIMIT 599'), same('SELECT o FROM mixed ORDER BY o DESC LIMIT 599');
RESET work_mem;

--
-- All that a message has comes through a sort, and bad ones are counted once.
--
CREATE FOREIGN TABLE bad (
    p int OPTIONS (partition 'true'), o bigint OPTIONS (offset 'true'), ts timestamptz OPTIONS (timestamp 'true'), topic text OPTIONS (topic 'true'),
    tt text OPTIONS (timestamp_type 'true'), k text OPTIONS (key 'true'), h jsonb OPTIONS (headers 'true'), n int, junk text OPTIONS (junk 'true'), fault text OPTIONS (junk_error 'true')
) SERVER ordered OPTIONS (topic 'ordered_bad', timestamp_max_lag '0');
SELECT * FROM bad ORDER BY ts DESC LIMIT 4;
SELECT n FROM skipping ORDER BY ts DESC LIMIT 2;
ALTER FOREIGN TABLE skipping OPTIONS (SET on_error 'error');
SELECT n FROM skipping ORDER BY ts DESC LIMIT 1;
SELECT n FROM skipping ORDER BY ts DESC LIMIT 4;

--
-- A condition on a form of the time, and a LIMIT that is known late
--
EXPLAIN (COSTS OFF) SELECT n FROM t WHERE date_trunc('hour', ts) >= '2020-01-01' ORDER BY ts DESC LIMIT (SELECT 5);
SELECT same('SELECT n FROM t WHERE date_trunc(''hour'', ts) >= ''2020-01-01'' ORDER BY ts DESC LIMIT (SELECT 5) OFFSET (SELECT 1)');
SET plan_cache_mode = force_generic_plan;
PREPARE late(bigint) AS SELECT n FROM t WHERE date_trunc('hour', ts) >= '2020-01-01' ORDER BY ts DESC LIMIT $1;
EXPLAIN (COSTS OFF) EXECUTE late(3);
EXECUTE late(3);
DEALLOCATE late;
RESET plan_cache_mode;

--
-- Orders that a scan cannot give
--
CREATE DOMAIN recent AS timestamptz CHECK (value > '2020-01-01');
CREATE FOREIGN TABLE fits (p int2 OPTIONS (partition 'true'), ts recent OPTIONS (timestamp 'true')) SERVER ordered OPTIONS (topic 'ordered', timestamp_max_lag '0');
CREATE FOREIGN TABLE zoneless (ts timestamp OPTIONS (timestamp 'true')) SERVER ordered OPTIONS (topic 'ordered', timestamp_max_lag '0');
EXPLAIN (COSTS OFF) SELECT p FROM fits ORDER BY p LIMIT 1;
EXPLAIN (COSTS OFF) SELECT ts FROM fits ORDER BY ts LIMIT 1;
EXPLAIN (COSTS OFF) SELECT ts FROM zoneless ORDER BY ts LIMIT 1;
EXPLAIN (COSTS OFF) SELECT ts FROM undeclared ORDER BY ts LIMIT 1;
EXPLAIN (COSTS OFF) SELECT ts FROM t ORDER BY ts + interval '1 s' LIMIT 1;
DROP TABLE parts, w;
