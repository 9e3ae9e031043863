--
-- Functions that query topics, and errors that are caught: a scan that failed
-- leaves nothing behind, and the transaction goes on. caught.feed makes the
-- topics.
--
\getenv brokers KAFKA_BROKERS
SET TimeZone = 'UTC';
SET DateStyle = 'ISO';
CREATE SERVER caught FOREIGN DATA WRAPPER kafka_fdw OPTIONS (brokers :'brokers', broker_clock_skew '0');
CREATE SCHEMA caught;
SET search_path = caught, public;
CREATE FOREIGN TABLE t (o bigint OPTIONS (offset 'true'), ts timestamptz OPTIONS (timestamp 'true'), n int) SERVER caught OPTIONS (topic 'caught');
CREATE FOREIGN TABLE missing (n int) SERVER caught OPTIONS (topic 'caught_none');
CREATE SERVER unreachable FOREIGN DATA WRAPPER kafka_fdw OPTIONS (brokers 'localhost:1', connect_timeout '500ms');
CREATE FOREIGN TABLE unreachable (n int) SERVER unreachable OPTIONS (topic 'caught');

--
-- The rows up to the bad message have been there.
--
DO $$
DECLARE
	r record;
	rows int := 0;
	place text;
BEGIN
	BEGIN
		FOR r IN SELECT * FROM t LOOP
			rows := rows + 1;
		END LOOP;
	EXCEPTION WHEN invalid_text_representation THEN
		GET STACKED DIAGNOSTICS place = PG_EXCEPTION_CONTEXT;
		RAISE NOTICE '% rows, then: % (%)', rows, SQLERRM, split_part(place, E'\n', 1);
	END;
	SELECT count(*), sum(n) INTO r FROM t WHERE o < 2;
	RAISE NOTICE 'then % rows, sum %', r.count, r.sum;
END $$;

-- All kinds of errors, one after the other, many times, in one transaction
CREATE FUNCTION try(query text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE query;
	RETURN 'no error';
EXCEPTION WHEN OTHERS THEN
	RETURN SQLSTATE || ' ' || SQLERRM;
END $$;
SELECT try, count(*) FROM generate_series(1, 25) AS i,
	unnest(ARRAY['TABLE t', 'SELECT FROM t', 'SELECT n FROM t WHERE o = 4', 'SELECT 1 / (n - 2) FROM t WHERE o < 2', 'TABLE missing',
		'SELECT a.n FROM t AS a JOIN t AS b USING (o) WHERE a.o < 3', 'SELECT t FROM t WHERE o > 2', 'SELECT count(n) FROM t WHERE o <> 2']) AS query,
	try(query) GROUP BY try ORDER BY try;
SELECT regexp_replace(try('TABLE unreachable'), 'localhost:1.*', '...');
SELECT count(*) FROM t;
-- The client is the same all the time: failures leave no threads behind.
CREATE FUNCTION threads() RETURNS bigint LANGUAGE sql AS $$ SELECT count(*) FROM pg_ls_dir(format('/proc/%s/task', pg_backend_pid())) $$;
SELECT threads() AS before \gset
SELECT count(*) FROM generate_series(1, 50) AS i, unnest(ARRAY['TABLE t', 'TABLE missing']) AS query WHERE try(query || ' LIMIT ' || 10 + i) <> 'no error';
SELECT threads() <= :before AS no_more;

--
-- Savepoints
--
BEGIN;
SELECT count(*) FROM t;
SAVEPOINT a;
SELECT n FROM t;
ROLLBACK TO a;
SELECT sum(n) FROM t WHERE o < 2;
SAVEPOINT b;
CREATE TEMP TABLE kept AS SELECT o FROM t;
SAVEPOINT c;
SELECT n FROM t WHERE o = 2;
ROLLBACK TO c;
RELEASE b;
SELECT count(*) FROM kept;
COMMIT;
BEGIN;
SELECT n FROM t;
SELECT count(*) FROM t;
ROLLBACK;

--
-- Loops, cursors and functions
--
DO $$
DECLARE
	c CURSOR (low bigint) FOR SELECT o, n FROM t WHERE o >= low AND o <> 2 AND o <> 4;
	d refcursor;
	r record;
	total int := 0;
BEGIN
	FOR i IN 0 .. 3 LOOP
		FOR r IN c(i) LOOP
			total := total + r.n;
			EXIT WHEN total > 1000;
		END LOOP;
	END LOOP;
	RAISE NOTICE 'total %', total; -- (1 + 2 + 4) + (2 + 4) + 4 + 4
	FOR r IN EXECUTE 'SELECT o FROM t WHERE o > $1 ORDER BY o' USING 2 LOOP
		RAISE NOTICE 'offset %, below it sum %', r.o, (SELECT sum(n) FROM t WHERE o < r.o AND o < 2);
	END LOOP;
	OPEN d FOR SELECT o FROM t;
	FETCH d INTO r;
	FETCH d INTO r;
	RAISE NOTICE 'second %', r.o;
	BEGIN
		PERFORM n FROM t;
	EXCEPTION WHEN OTHERS THEN
		RAISE NOTICE 'caught: %', SQLERRM;
	END;
	FETCH d INTO r;
	RAISE NOTICE 'third %', r.o;
	CLOSE d;
END $$;
-- Each statement of a loop is planned once and scanned with each value.
DO $$
DECLARE
	found int[];
BEGIN
	FOR i IN 1 .. 12 LOOP
		found := found || (SELECT count(*)::int FROM t WHERE o < i);
	END LOOP;
	RAISE NOTICE '%', found;
END $$;
CREATE FUNCTION inlined(bigint) RETURNS SETOF t LANGUAGE sql STABLE AS 'SELECT * FROM t WHERE o = $1';
EXPLAIN (COSTS OFF) SELECT n FROM inlined(1) WHERE ts > '2024-05-01';
SELECT n FROM inlined(1) WHERE ts > '2024-05-01';
CREATE FUNCTION kept_apart(bigint) RETURNS bigint LANGUAGE sql VOLATILE AS 'SELECT count(*) FROM t WHERE o < $1; SELECT sum(n) FROM t WHERE o < $1';
SELECT i, kept_apart(i) FROM generate_series(0, 2) AS i;
SELECT i, kept_apart(i) FROM generate_series(2, 3) AS i;
CREATE FUNCTION returned() RETURNS TABLE (o bigint, n int) LANGUAGE plpgsql AS $$
BEGIN
	RETURN QUERY SELECT t.o, t.n FROM t WHERE t.o < 2;
	RETURN QUERY SELECT t.o, 0 FROM t WHERE t.o >= 2;
END $$;
SELECT * FROM returned() ORDER BY o;
-- In a query on the topic, functions that query it, too
CREATE FUNCTION rank_of(bigint) RETURNS bigint LANGUAGE plpgsql STABLE AS 'BEGIN RETURN (SELECT count(*) FROM t WHERE o < $1); END';
SELECT o, rank_of(o) FROM t ORDER BY o;
SELECT o FROM t WHERE rank_of(o) > 2 ORDER BY o;
SELECT o, try(format('SELECT n FROM caught.t WHERE o = %s', o)) FROM t ORDER BY o;
-- Procedures that commit while a loop is reading
CREATE TABLE log (o bigint);
CREATE PROCEDURE copy_rows() LANGUAGE plpgsql AS $$
DECLARE
	r record;
BEGIN
	FOR r IN SELECT o FROM caught.t LOOP
		INSERT INTO caught.log VALUES (r.o);
		IF r.o = 3 THEN
			ROLLBACK;
		ELSE
			COMMIT;
		END IF;
	END LOOP;
END $$;
CALL copy_rows();
SELECT * FROM log ORDER BY o;
-- Scans in triggers
CREATE FUNCTION fill() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.o := (SELECT sum(n) FROM caught.t WHERE o < NEW.o AND o < 2); RETURN NEW; END';
CREATE TRIGGER fill BEFORE INSERT ON log FOR EACH ROW EXECUTE FUNCTION fill();
INSERT INTO log VALUES (1), (2) RETURNING *;

SET client_min_messages = warning;
DROP SCHEMA caught CASCADE;
DROP SERVER caught;
DROP SERVER unreachable CASCADE;
