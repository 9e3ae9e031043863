--
-- Tables as adjust/kafka_fdw has them run unchanged, and what it got wrong is
-- right here. adjust.feed makes the topics.
--
\getenv brokers KAFKA_BROKERS
SET TimeZone = 'UTC';
SET DateStyle = 'ISO';
CREATE SERVER adjust FOREIGN DATA WRAPPER kafka_fdw OPTIONS (brokers :'brokers');
CREATE USER MAPPING FOR PUBLIC SERVER adjust;
CREATE SCHEMA adjust;
SET search_path = adjust, public;
CREATE FOREIGN TABLE kafka_test (
    part int OPTIONS (partition 'true'),
    offs bigint OPTIONS (offset 'true'),
    some_int int,
    some_text text,
    some_date timestamp
) SERVER adjust OPTIONS (format 'csv', topic 'adjust_csv', batch_size '30', buffer_delay '100');
CREATE FOREIGN TABLE kafka_test_junk (
    part int OPTIONS (partition 'true'),
    offs bigint OPTIONS (offset 'true'),
    some_int int,
    some_text text,
    some_date timestamp,
    junk text OPTIONS (junk 'true'),
    junk_err text OPTIONS (junk_error 'true')
) SERVER adjust OPTIONS (format 'csv', topic 'adjust_csv', batch_size '30', buffer_delay '100', ignore_junk 'true', strict 'true', num_partitions '2');
CREATE FOREIGN TABLE kafka_test_json (
    part int OPTIONS (partition 'true'),
    offs bigint OPTIONS (offset 'true'),
    a int OPTIONS (json 'a'),
    b text,
    c int,
    junk text OPTIONS (junk 'true'),
    junk_err text OPTIONS (junk_error 'true')
) SERVER adjust OPTIONS (format 'json', topic 'adjust_json', batch_size '30', buffer_delay '1');
SELECT * FROM kafka_test WHERE part = 0 AND offs < 2 ORDER BY offs;
SELECT * FROM kafka_test WHERE part = 1 AND offs = 0;
SELECT some_int FROM kafka_test WHERE part = 0 AND offs = 3;
SELECT part, offs, some_int, some_text, some_date FROM kafka_test_junk ORDER BY part, offs;
SELECT part, offs, junk, junk_err FROM kafka_test_junk ORDER BY part, offs;
SELECT * FROM kafka_get_watermarks('kafka_test_json');
SELECT count(*) FROM kafka_test_json WHERE part >= 1 AND offs > 1;

--
-- Wrong rows
--
-- W1: a partition is read to its end, however slow the broker, whatever buffer_delay says.
SELECT part, count(*), count(a), sum(a) FROM kafka_test_json WHERE part IN (1, 2) GROUP BY part ORDER BY part;
-- W2: OR with an arm that cannot be pushed
SELECT count(*) FROM kafka_test_json WHERE part = 1 OR a = 3;
SELECT count(*) FROM kafka_test_json WHERE part IN (1, 2) OR part = 0;
-- W3: correlated subqueries have each row's bounds, W4: and read all of it each time.
SELECT x, (SELECT count(*) FROM kafka_test_json WHERE part = 1 AND offs >= x) FROM (VALUES (190), (10), (NULL)) AS v(x);
SET enable_material = off;
SELECT count(*) FROM (VALUES (1), (2)) AS v(x) LEFT JOIN (SELECT FROM kafka_test_json WHERE part > 0) AS s ON true;
RESET enable_material;
-- W5: the numbers of external parameters and of those of InitPlans are different things.
PREPARE mixed(bigint) AS SELECT count(*) FROM kafka_test_json WHERE offs >= $1 AND part = (SELECT 2) AND offs < (SELECT 150);
SET plan_cache_mode = force_generic_plan;
EXECUTE mixed(110);
RESET plan_cache_mode;
-- W6: sparse JSON
SELECT offs, a, b, c FROM kafka_test_json WHERE part = 0 AND offs < 2 ORDER BY offs;
-- W8: offsets outside of the topic do not become its end or start.
SELECT count(*) FROM kafka_test_json WHERE part = 1 AND offs >= 100000;
SELECT count(*) FROM kafka_test_json WHERE part = 1 AND offs >= -100000;
SELECT count(*) FROM kafka_test_json WHERE part = 3;
-- W9: text that is none
SELECT offs, b, c, junk, junk_err FROM kafka_test_json WHERE part = 0 AND offs = 4;

--
-- Crashes
--
-- C1: a tombstone with a junk column
SELECT offs, a, junk, junk_err FROM kafka_test_json WHERE part = 0 AND offs IN (2, 3) ORDER BY offs;
SELECT * FROM kafka_test_junk WHERE part = 0 AND offs = 4;
-- C2: COPY FROM, C7: INSERT without a partition column
COPY kafka_test_json FROM STDIN;
0	0	1	b	3	\N	\N
\.
CREATE FOREIGN TABLE no_partition (a int) SERVER adjust OPTIONS (format 'json', topic 'adjust_json');
INSERT INTO no_partition VALUES (1);
-- C3: the partition's column has a type of its own.
ALTER FOREIGN TABLE kafka_test_json ALTER part TYPE text;
SELECT part FROM kafka_test_json LIMIT 1;
ALTER FOREIGN TABLE kafka_test_json ALTER part TYPE smallint;
-- C4: dropped columns
ALTER FOREIGN TABLE kafka_test_json DROP COLUMN a, DROP COLUMN junk;
SELECT * FROM kafka_test_json WHERE part = 0 AND offs = 0;
SELECT junk_err FROM kafka_test_json WHERE part = 0 AND offs = 3;
-- C5, many long names: columns.sql; C6, ANALYZE
ANALYZE kafka_test_json;
-- C7: a rescan that comes before the first fetch
SELECT x, s.offs FROM generate_series(1, 2) AS x, LATERAL (SELECT offs FROM kafka_test_json WHERE part = 1 AND offs = x OFFSET 0) AS s ORDER BY x;

--
-- Resources
--
-- R1: a failed query gives its client back: no threads come on top.
CREATE FUNCTION failing(n int) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
	threads bigint;
BEGIN
	FOR i IN 0 .. n LOOP
		BEGIN
			PERFORM some_int FROM adjust.kafka_test;
		EXCEPTION WHEN OTHERS THEN
			NULL;
		END;
		IF i = 0 THEN
			threads := (SELECT count(*) FROM pg_ls_dir(format('/proc/%s/task', pg_backend_pid())));
		END IF;
	END LOOP;
	RETURN (SELECT count(*) FROM pg_ls_dir(format('/proc/%s/task', pg_backend_pid()))) - threads;
END $$;
SELECT failing(30) <= 0 AS no_more;
-- R2: a range of partitions is not walked through, and a query can be cancelled.
SET statement_timeout = '5s';
SELECT count(*) FROM kafka_test_json WHERE part <= 2147483647 AND part >= -2147483648;
RESET statement_timeout;
-- R4: a LIMIT takes what is there, in each of many scans.
SELECT count(*) FROM generate_series(1, 20) AS x, LATERAL (SELECT FROM kafka_test_json WHERE part = 1 AND offs >= x LIMIT 1) AS s;
-- R5: a message that is not sent is not reported as sent.
INSERT INTO kafka_test_json (part, c) VALUES (0, 1);
-- R6: a topic of one partition may be declared as such.
ALTER FOREIGN TABLE kafka_test_junk OPTIONS (SET num_partitions '1');
-- R7: ignore_junk does not catch what is not the message's fault.
ALTER FOREIGN TABLE kafka_test_junk ALTER some_text TYPE varchar(3);
SELECT some_text, junk_err FROM kafka_test_junk WHERE part = 0 AND offs < 2 ORDER BY offs;
SET statement_timeout = '300ms';
SELECT pg_sleep(5), some_int FROM kafka_test_junk;
RESET statement_timeout;
-- R8: a comparison with something else than a constant is a filter.
SELECT offs, c FROM kafka_test_json WHERE part = 0 AND offs < c ORDER BY offs;

SET client_min_messages = warning;
DROP SCHEMA adjust CASCADE;
DROP USER MAPPING FOR PUBLIC SERVER adjust;
DROP SERVER adjust;
