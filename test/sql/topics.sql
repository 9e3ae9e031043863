--
-- Which topics and partitions a table reads. topics.feed makes the topics.
--
\getenv brokers KAFKA_BROKERS
SET TimeZone = 'UTC';
SET DateStyle = 'ISO';
CREATE SERVER topics FOREIGN DATA WRAPPER kafka_fdw OPTIONS (brokers :'brokers', broker_clock_skew '0');
CREATE SCHEMA topics;
SET search_path = topics, public;
CREATE FOREIGN TABLE t (
    topic text OPTIONS (topic 'true'),
    p int OPTIONS (partition 'true'),
    o bigint OPTIONS (offset 'true'),
    ts timestamptz OPTIONS (timestamp 'true'),
    n int
) SERVER topics OPTIONS (topic 'tp_orders');

--
-- Lists
--
SELECT * FROM t ORDER BY n;
ALTER FOREIGN TABLE t OPTIONS (SET topic 'tp_orders_us,tp_orders, tp_orders_eu');
EXPLAIN (COSTS OFF) SELECT * FROM t;
SELECT * FROM t ORDER BY n;
SELECT topic, n FROM t WHERE p = 1 ORDER BY n;
SELECT topic, n FROM t WHERE o = 1 OR p = 2 ORDER BY n;
SELECT topic, n FROM t WHERE ts > '2024-05-01 12:00:01+00' AND ts <= '2024-05-01 12:00:03+00' ORDER BY n;
SELECT topic, count(*), min(ts) FROM t GROUP BY topic ORDER BY topic;
SELECT n FROM t WHERE topic LIKE '%us' ORDER BY n;
SELECT topic FROM t WHERE topic = 'tp_orders_eu' AND n IS NOT NULL;
SELECT a.topic, b.topic, a.n, b.n FROM t AS a JOIN t AS b ON a.p = b.p AND a.o = b.o AND a.topic < b.topic ORDER BY a.n, b.n;
SELECT * FROM t WHERE n = 3 LIMIT 1;
-- A topic that is listed twice is read once, or refused.
ALTER FOREIGN TABLE t OPTIONS (SET topic 'tp_orders_us,tp_orders_us');
SELECT n FROM t ORDER BY n;
-- A missing topic is an error, wherever it is in the list.
\set VERBOSITY terse
ALTER FOREIGN TABLE t OPTIONS (SET topic 'tp_orders,tp_none');
SELECT n FROM t ORDER BY n;
SELECT n FROM t LIMIT 0;
EXPLAIN (COSTS OFF) SELECT n FROM t;
SELECT n FROM t WHERE false;
ALTER FOREIGN TABLE t OPTIONS (SET topic 'tp_none');
SELECT n FROM t ORDER BY n;
ALTER FOREIGN TABLE t OPTIONS (SET topic 'tp_orders_EU');
SELECT n FROM t ORDER BY n;
\set VERBOSITY default
-- Internal topics can be read by name.
ALTER FOREIGN TABLE t OPTIONS (SET topic '__consumer_offsets');
SELECT DISTINCT topic, p FROM t WHERE p = 0;

--
-- Patterns match whole names, and never internal topics.
--
ALTER FOREIGN TABLE t OPTIONS (DROP topic, ADD topic_pattern 'tp_orders.*');
EXPLAIN (COSTS OFF) SELECT n FROM t WHERE p = 1;
SELECT topic, p, o, n FROM t ORDER BY n;
SELECT topic, n FROM t WHERE p = 1 ORDER BY n;
ALTER FOREIGN TABLE t OPTIONS (SET topic_pattern 'tp_orders');
SELECT topic, n FROM t ORDER BY n;
ALTER FOREIGN TABLE t OPTIONS (SET topic_pattern 'tp_orders_eu|tp.other');
SELECT topic, n FROM t ORDER BY n;
ALTER FOREIGN TABLE t OPTIONS (SET topic_pattern '^tp\..*r$');
SELECT topic, n FROM t ORDER BY n;
ALTER FOREIGN TABLE t OPTIONS (SET topic_pattern '[[:alpha:]]{2}_(orders_u)\w+');
SELECT topic, n FROM t ORDER BY n;
ALTER FOREIGN TABLE t OPTIONS (SET topic_pattern 'tp.other|_.*|.*(_offsets|_state)|__consumer_offsets');
SELECT topic, count(*) FROM t GROUP BY topic;
-- No match is an empty table, for a topic may come.
ALTER FOREIGN TABLE t OPTIONS (SET topic_pattern 'tp_none.*');
SELECT * FROM t;
SELECT count(*) FROM t WHERE o > 5 AND ts > now();
EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF) SELECT * FROM t;
SET kafka_fdw.max_scan_bytes = 0;
SELECT count(*) FROM t;
RESET kafka_fdw.max_scan_bytes;
ALTER FOREIGN TABLE t OPTIONS (SET topic_pattern 'tp_(');
ALTER FOREIGN TABLE t OPTIONS (SET topic_pattern '(?i)TP_.*');
ALTER FOREIGN TABLE t OPTIONS (ADD topic 'tp_orders');
-- A new topic joins at the next scan.
ALTER FOREIGN TABLE t OPTIONS (SET topic_pattern 'tp_late.*');
PREPARE late AS SELECT topic, n FROM t ORDER BY n;
EXECUTE late;
\! echo 'create-topic tp_late_1' | feed
\! echo "produce tp_late_1 time=1000 value='{\"n\": 9}'" | feed
EXECUTE late;
\! echo 'delete-topic tp_late_1' | feed

--
-- Partitions
--
ALTER FOREIGN TABLE t OPTIONS (DROP topic_pattern, ADD topic 'tp_orders', ADD partitions '1-2');
SELECT p, n FROM t ORDER BY n;
SELECT p, n FROM t WHERE p = 2;
SELECT p, n FROM t WHERE p = 0;
SELECT p, n FROM t WHERE p < 2;
EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF) SELECT * FROM t WHERE p <> 1;
ALTER FOREIGN TABLE t OPTIONS (SET partitions '0,2');
SELECT p, n FROM t ORDER BY n;
-- One that the topic lacks is an error, even where the query does not ask for it.
ALTER FOREIGN TABLE t OPTIONS (SET partitions '1,3');
SELECT p, n FROM t;
SELECT p, n FROM t WHERE p = 1;
ALTER FOREIGN TABLE t OPTIONS (SET partitions '0-2147483647');
SELECT p, n FROM t;
ALTER FOREIGN TABLE t OPTIONS (SET partitions '0-1', SET topic 'tp_orders,tp_orders_eu,tp_orders_us');
SELECT p, n FROM t;
ALTER FOREIGN TABLE t OPTIONS (SET topic 'tp_orders,tp_orders_eu');
SELECT topic, p, n FROM t ORDER BY n;
-- The watermarks are those of the same partitions.
SELECT * FROM kafka.watermarks('t') ORDER BY 1, 2, 3;

SET client_min_messages = warning;
DROP SCHEMA topics CASCADE;
DROP SERVER topics;
