--
-- Live views: a rollup together with what its topic holds beyond it.
-- rollup_live.feed makes the topics. That all registered aggregates are right
-- there is tested by rollup_states.sql.
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
) SERVER live OPTIONS (topic 'live_log', require_bounds 'true');

--
-- Storage, tail, and both
--
SELECT kafka.create_rollup('r', $$
    SELECT date_bin('10 min', ts, '2000-01-01') AS bucket, k, count(*) AS messages, sum(n) AS total
      FROM log WHERE n < 1000 GROUP BY 1, 2 $$);
SELECT pg_get_viewdef('r_live'::regclass);
SELECT obj_description('r_live'::regclass, 'pg_class');
SELECT live FROM kafka.stored_rollup WHERE name = 'r';
-- Before the first run
SELECT * FROM r ORDER BY 1, 2;
SELECT * FROM r_live ORDER BY 1, 2;
CALL kafka.run_rollups('r');
SELECT * FROM r_live ORDER BY 1, 2;
\! printf '%s\n' "produce live_log partition=1 time=2024-05-01T12:03:00Z value='{\"k\": null, \"n\": 5, \"u\": \"u4\"}'" "produce live_log partition=0 time=2024-05-01T12:04:00Z value='{\"k\": \"a\", \"n\": 6, \"u\": \"u1\"}'" "produce live_log partition=0 time=2024-05-01T12:25:00Z value='{\"k\": \"c\", \"n\": 7, \"u\": \"u5\"}'" "produce live_log partition=0 time=2024-05-01T12:25:00Z value='{\"k\": \"c\", \"n\": 1007}'" | feed
SELECT * FROM r ORDER BY 1, 2;
SELECT * FROM r_live ORDER BY 1, 2;
-- Nothing was moved.
SELECT kafka_partition, next_offset FROM kafka.rollup_offsets WHERE name = 'r' ORDER BY 1;

-- A condition on group columns reaches the index of storage, and the messages.
SELECT * FROM r_live WHERE bucket = '2024-05-01 12:00:00+00' AND k = 'a';
SELECT * FROM r_live WHERE k IS NULL;
SELECT * FROM r_live WHERE total = 7 ORDER BY 1;
SET enable_seqscan = off;
EXPLAIN (COSTS OFF) SELECT * FROM r_live WHERE bucket = '2024-05-01 12:00:00+00' AND k = 'a';
EXPLAIN (COSTS OFF) SELECT messages FROM r_live WHERE bucket >= '2024-05-01 12:20:00+00';
RESET enable_seqscan;
CREATE FUNCTION find_scans(plan json) RETURNS SETOF json LANGUAGE SQL AS $$
    WITH RECURSIVE node (plan) AS (
        SELECT plan -> 0 -> 'Plan'
        UNION ALL SELECT child FROM node, json_array_elements(node.plan -> 'Plans') AS child)
    SELECT json_build_object('Start', node.plan -> 'Start', 'Stop', node.plan -> 'Stop', 'Partitions', node.plan -> 'Partitions',
                             'Messages Read', node.plan -> 'Messages Read', 'Messages Rejected', node.plan -> 'Messages Rejected')
      FROM node WHERE node.plan ->> 'Node Type' = 'Foreign Scan' $$;
CREATE FUNCTION explain_scans(query text) RETURNS SETOF json LANGUAGE plpgsql AS $$
DECLARE plan json;
BEGIN
    EXECUTE 'EXPLAIN (FORMAT JSON, ANALYZE) ' || query INTO plan;
    RETURN QUERY SELECT find_scans(plan);
END $$;
-- The last message before each position is looked at, too.
SELECT explain_scans('SELECT * FROM r_live');
-- No condition narrows what is read, or pushdown would change results.
SELECT explain_scans($$SELECT * FROM r_live WHERE bucket < '2024-05-01 12:00:00+00'$$);
SET kafka_fdw.enable_pushdown = off;
SELECT * FROM r_live ORDER BY 1, 2;
RESET kafka_fdw.enable_pushdown;

-- In joins, subqueries, set operations, and read again for each row
SELECT a.bucket, a.messages, b.total FROM r_live AS a JOIN r_live AS b USING (bucket) WHERE a.k = 'a' AND b.k IS NULL ORDER BY 1;
SELECT v.k, (SELECT sum(messages) FROM r_live WHERE r_live.k = v.k) FROM (VALUES ('a'), ('b'), ('z')) AS v (k);
SELECT v.k, l.* FROM (VALUES ('a'), ('b'), ('z')) AS v (k) LEFT JOIN LATERAL (SELECT bucket, total FROM r_live WHERE r_live.k = v.k OFFSET 0) AS l ON true ORDER BY 1, 2;
SELECT k FROM r_live EXCEPT SELECT k FROM r;
SELECT count(*) FROM r_live WHERE k IN (SELECT k FROM r_live WHERE total > 5);
WITH recent AS MATERIALIZED (SELECT * FROM r_live) SELECT sum(total), (SELECT count(*) FROM recent) FROM recent;
SELECT k, messages FROM r_live WHERE k = 'c' LIMIT 1;

-- The tail is read by nobody but the leader.
SET parallel_setup_cost = 0;
SET parallel_tuple_cost = 0;
SET min_parallel_table_scan_size = 0;
SET force_parallel_mode = on;
SELECT sum(messages), sum(total) FROM r_live;
RESET parallel_setup_cost;
RESET parallel_tuple_cost;
RESET min_parallel_table_scan_size;
RESET force_parallel_mode;

-- Prepared, custom and generic
PREPARE by_key (text) AS SELECT bucket, messages FROM r_live WHERE k = $1 ORDER BY 1;
EXECUTE by_key('a');
SET plan_cache_mode = force_generic_plan;
EXECUTE by_key('b');
EXPLAIN (COSTS OFF) EXECUTE by_key('a');
RESET plan_cache_mode;
DEALLOCATE by_key;

-- A cursor is one statement: runs and messages after it was opened do not show;
-- nor within a repeatable-read transaction.
BEGIN;
DECLARE c SCROLL CURSOR FOR SELECT k, messages FROM r_live ORDER BY bucket, k;
FETCH 1 FROM c;
\! printf '%s\n' "produce live_log partition=0 time=2024-05-01T12:00:00Z value='{\"k\": \"a\", \"n\": 6, \"u\": \"u1\"}'" | feed
MOVE ABSOLUTE 0 FROM c;
FETCH ALL FROM c;
COMMIT;
BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY;
SELECT sum(messages), sum(total) FROM r_live;
\! printf '%s\n' "produce live_log partition=0 time=2024-05-01T12:00:00Z value='{\"k\": \"a\", \"n\": 8, \"u\": \"u1\"}'" | feed
\setenv database :DBNAME
\! psql -Xqd "$database" -c "CALL kafka.run_rollups('r')"
SELECT sum(messages), sum(total) FROM r_live;
SELECT sum(messages), sum(total) FROM r;
COMMIT;
SELECT sum(messages), sum(total) FROM r_live;
SELECT sum(messages), sum(total) FROM r;
BEGIN TRANSACTION ISOLATION LEVEL SERIALIZABLE;
SELECT sum(messages), sum(total) FROM r_live;
COMMIT;

--
-- Shapes: one row, groups alone, odd names, types that collate
--
SELECT kafka.create_rollup('one', 'SELECT count(*), sum(n) AS total, hll_add_agg(hll_hash_text(u)) AS users FROM log', start_at := 'infinity');
TABLE one;
SELECT count, total, users FROM one_live;
CALL kafka.run_rollups('one');
SELECT count, total, users FROM one_live;
SELECT kafka.seek_rollup('one', '{"0": "earliest"}', accept_loss := true);
SELECT count, total, hll_cardinality(users) FROM one_live;
CALL kafka.run_rollups('one');
SELECT count, total, hll_cardinality(users) FROM one;
SELECT count, total, hll_cardinality(users) FROM one_live;
SELECT kafka.create_rollup('groups', 'SELECT k, p FROM log GROUP BY 2, 1');
CALL kafka.run_rollups('groups', max_rows := 1, max_time := '0 s');
SELECT * FROM groups_live ORDER BY 1, 2;
SELECT kafka.create_rollup('"Odd 100%s"', $$
    SELECT avg(n) AS "%1$s", 'x%' || k AS "Odd ""key""", count(*) AS is_new, max(k COLLATE "C") AS k1, p::varchar(5) AS has_new FROM log GROUP BY 2, 5 $$);
CALL kafka.run_rollups('"Odd 100%s"', max_rows := 3, max_time := '0 s');
SELECT * FROM "Odd 100%s_live" ORDER BY 2, 5;
SELECT a.attname, a.atttypid = b.atttypid AND a.atttypmod = b.atttypmod AND a.attcollation = b.attcollation AS same
  FROM pg_attribute AS a JOIN pg_attribute AS b USING (attnum)
 WHERE a.attrelid = '"Odd 100%s"'::regclass AND b.attrelid = '"Odd 100%s_live"'::regclass AND attnum > 0 ORDER BY attnum;

-- Joined tables
CREATE TABLE users (u text PRIMARY KEY, country text);
INSERT INTO users VALUES ('u1', 'KR'), ('u2', 'DE');
SET client_min_messages = warning;
SELECT kafka.create_rollup('left_joined', 'SELECT country, count(*), sum(l.n) AS total FROM log AS l LEFT JOIN users USING (u) GROUP BY 1');
SELECT kafka.create_rollup('joined', 'SELECT country, count(*), sum(l.n) AS total FROM users JOIN log AS l USING (u) GROUP BY 1',
    expect := 'l.n > 1', options := '{"unique_key": "l.n", "unique_within": "1 day"}');
RESET client_min_messages;
CALL kafka.run_rollups('left_joined', max_rows := 4, max_time := '0 s');
CALL kafka.run_rollups('joined', max_rows := 4, max_time := '0 s');
SELECT * FROM left_joined_live ORDER BY 1;
SELECT * FROM joined_live ORDER BY 1;
CALL kafka.run_rollups('left_joined');
CALL kafka.run_rollups('joined');
SELECT * FROM left_joined ORDER BY 1;
SELECT * FROM joined ORDER BY 1;

--
-- What a run does not count, the tail does not have: whether nothing has been
-- run so far, something, or all.
--
CREATE FOREIGN TABLE checks (ts timestamptz OPTIONS (timestamp 'true'), k text, v int, id text, other int)
    SERVER live OPTIONS (topic 'live_checks');
SELECT kafka.create_rollup('c' || n, 'SELECT k, count(*) AS messages, sum(v) AS total FROM checks WHERE k <> ''none'' GROUP BY 1',
        expect := 'v > 0', late_limit := '1 hour', future_limit := '1 day',
        options := '{"unique_key": "id", "unique_within": "12 hours"}')
  FROM generate_series(0, 15) AS n \g /dev/null
SELECT format('CALL kafka.run_rollups(%L, max_rows := %s, max_time := ''0 s'')', 'c' || n, n) FROM generate_series(1, 15) AS n \gexec
SELECT * FROM c15 ORDER BY 1;
SELECT * FROM c0_live ORDER BY 1;
CREATE FUNCTION differs(a text, b text) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE result boolean;
BEGIN
    EXECUTE format('SELECT count(*) > 0 FROM (SELECT 1 FROM %1$I FULL JOIN %2$I ON %1$I = %2$I WHERE %1$I IS NULL OR %2$I IS NULL) AS d', a, b) INTO result;
    RETURN result;
END $$;
SELECT n FROM generate_series(0, 15) AS n WHERE differs(format('c%s_live', n), 'c15');
SELECT differs('c1', 'c15'), differs('c14_live', 'c15');
-- So it is for a query that needs no column that is bad.
SELECT sum(messages) FROM c0_live;
SELECT explain_scans('SELECT sum(messages) FROM c0_live');
-- The whole row is good or not.
SELECT kafka.create_rollup('rows', 'SELECT k, count(checks) AS messages FROM checks GROUP BY 1');
SELECT * FROM rows_live ORDER BY 1;
CALL kafka.run_rollups('rows');
SELECT * FROM rows ORDER BY 1;
-- An expression that fails is an error, where a run puts the message aside.
SELECT kafka.create_rollup('failing', 'SELECT k, sum(10 / (v + 1)) AS total FROM checks GROUP BY 1');
SELECT * FROM failing_live ORDER BY 1;
CALL kafka.run_rollups('failing');
SELECT * FROM failing_live ORDER BY 1;
-- Buckets that were removed
SELECT kafka.create_rollup('kept', $$SELECT date_bin('1 day', ts, '2000-01-01') AS day, count(*) FROM checks WHERE k = 'c' GROUP BY 1$$);
SELECT * FROM kept_live ORDER BY 1;
UPDATE kafka.stored_rollup SET pruned_until = '2024-05-02' WHERE name = 'kept';
SELECT * FROM kept_live ORDER BY 1;

--
-- Several topics, new topics, new partitions
--
CREATE FOREIGN TABLE two (t text OPTIONS (topic 'true'), p int OPTIONS (partition 'true'), k text, n int)
    SERVER live OPTIONS (topic 'live_log,live_second');
CREATE FOREIGN TABLE many (t text OPTIONS (topic 'true'), p int OPTIONS (partition 'true'), k text, n int)
    SERVER live OPTIONS (topic_pattern 'live_pattern_.*');
SELECT kafka.create_rollup('of_two', 'SELECT t, p, count(*), sum(n) AS total FROM two GROUP BY 1, 2');
SELECT kafka.create_rollup('of_many', 'SELECT t, p, count(*), sum(n) AS total FROM many GROUP BY 1, 2');
CALL kafka.run_rollups('of_two', max_rows := 4, max_time := '0 s');
CALL kafka.run_rollups('of_many');
SELECT * FROM of_two_live ORDER BY 1, 2;
\! printf '%s\n' 'create-topic live_pattern_2' "generate live_pattern_2 count=4 value='{\"k\": \"s\", \"n\": {n}}'" 'add-partitions live_pattern_1 2' "produce live_pattern_1 partition=1 value='{\"n\": 50}'" "produce live_pattern_1 partition=0 value='{\"n\": 60}'" | feed
SELECT * FROM of_many_live ORDER BY 1, 2;
CALL kafka.run_rollups('of_many');
SELECT * FROM of_many ORDER BY 1, 2;
-- A table that shows fewer partitions
ALTER FOREIGN TABLE many OPTIONS (ADD partitions '0');
\! printf '%s\n' "produce live_pattern_1 partition=1 value='{\"n\": 50}'" "produce live_pattern_1 partition=0 value='{\"n\": 60}'" | feed
SELECT * FROM of_many_live ORDER BY 1, 2;

--
-- What keeps a run from going on
--
CREATE FOREIGN TABLE removed (p int OPTIONS (partition 'true'), n int) SERVER live OPTIONS (topic 'live_removed');
CREATE FOREIGN TABLE anew (n int) SERVER live OPTIONS (topic 'live_anew');
CREATE FOREIGN TABLE levels (n int) SERVER live OPTIONS (topic 'live_levels');
SELECT kafka.create_rollup('strict', 'SELECT p, count(*) FROM removed GROUP BY 1');
SELECT kafka.create_rollup('lenient', 'SELECT p, count(*) FROM removed GROUP BY 1', options := '{"on_loss": "continue"}');
CALL kafka.run_rollups('strict', max_rows := 2, max_time := '0 s');
CALL kafka.run_rollups('lenient', max_rows := 2, max_time := '0 s');
SELECT sum(count) FROM strict_live;
\! printf '%s\n' 'delete-records live_removed 0 6' 'delete-records live_removed 1 8' 'wait-start live_removed 0 6' 'wait-start live_removed 1 8' | feed
SELECT sum(count) FROM strict_live;
SELECT sum(count) FROM lenient_live;
CALL kafka.run_rollups('strict');
SELECT sum(count) FROM strict_live;
SELECT sum(count) FROM strict;
CALL kafka.run_rollups('lenient');
SELECT sum(count) FROM lenient_live;

SELECT kafka.create_rollup('restarted', 'SELECT count(*), sum(n) AS total FROM anew');
CALL kafka.run_rollups('restarted');
TABLE restarted_live;
\! printf '%s\n' 'delete-topic live_anew' 'create-topic live_anew' "produce live_anew value='{\"n\": 1}'" | feed
TABLE restarted_live;
\! printf '%s\n' "generate live_anew count=6 value='{\"n\": {n}}'" | feed
TABLE restarted_live;

SELECT kafka.create_rollup('level', 'SELECT count(*) FROM levels');
CALL kafka.run_rollups('level');
TABLE level_live;
ALTER SERVER live OPTIONS (ADD isolation_level 'read_uncommitted');
TABLE level_live;
ALTER SERVER live OPTIONS (DROP isolation_level);
\set VERBOSITY terse
UPDATE kafka.stored_rollup SET cluster_id = 'another' WHERE name = 'level';
TABLE level_live;
UPDATE kafka.stored_rollup SET system_identifier = 1 WHERE name = 'level';
TABLE level_live;

\set VERBOSITY default
-- Too much, and the limit of what queries may read
SELECT kafka.create_rollup('long', 'SELECT count(*) FROM two', options := '{"max_tail": 3}');
TABLE long_live;
SELECT kafka.alter_rollup('long', options := '{"max_tail": 100}');
TABLE long_live;
SET kafka_fdw.max_scan_bytes = 100;
TABLE long_live;
CALL kafka.run_rollups('long');
RESET kafka_fdw.max_scan_bytes;
-- Made anew, or rebuilt, after the snapshot was taken
BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ;
SELECT sum(messages) FROM r_live;
\! psql -Xqtd "$database" -c "SELECT kafka.drop_rollup('long')" -c "SET search_path = live" -c "SELECT kafka.create_rollup('long', 'SELECT count(*) FROM two')"
TABLE long_live;
ROLLBACK;
-- A pause is none of this.
SELECT kafka.alter_rollup('long', enabled := false);
TABLE long_live;

--
-- The condition by itself
--
SELECT p, o, n FROM log WHERE kafka.in_tail('r', log.tableoid) ORDER BY 1, 2;
CALL kafka.run_rollups('r');
SELECT p, o, n FROM log AS l WHERE kafka.in_tail('r', l.tableoid);
\! printf '%s\n' "produce live_log partition=1 time=2024-05-01T12:03:00Z value='{\"k\": null, \"n\": 9}'" "produce live_log partition=1 time=2024-05-01T12:03:00Z value='{\"k\": null, \"n\": \"x\"}'" | feed
SELECT p, o, n FROM log AS l WHERE kafka.in_tail('r', l.tableoid);
SELECT count(*) FROM log AS l WHERE kafka.in_tail('r', l.tableoid);
SELECT l FROM log AS l WHERE kafka.in_tail('r', l.tableoid) AND l.n > 8;
EXPLAIN (COSTS OFF) SELECT count(*) FROM log AS l WHERE kafka.in_tail('r', l.tableoid) AND l.n > 8;
SELECT kafka.in_tail('r', 'log'::regclass);
SELECT count(*) FROM log WHERE kafka.in_tail('r', 'log'::regclass);
SELECT count(*) FROM log WHERE kafka.in_tail(k, log.tableoid);
SELECT count(*) FROM log WHERE kafka.in_tail(NULL, log.tableoid);
SELECT count(*) FROM log WHERE (kafka.in_tail('r', log.tableoid) OR n > 1) AND ts > '2024-01-01';
SELECT count(*) FROM log WHERE kafka.in_tail('r', log.tableoid) AND kafka.in_tail('one', log.tableoid);
SELECT count(*) FROM log WHERE kafka.in_tail('nobody', log.tableoid);
SELECT count(*) FROM two WHERE kafka.in_tail('r', two.tableoid);
SELECT count(*) FROM users WHERE kafka.in_tail('r', users.tableoid);

--
-- Rights
--
CREATE ROLE live_owner;
CREATE ROLE live_member IN ROLE live_owner;
CREATE ROLE live_reader;
CREATE ROLE live_other;
GRANT USAGE ON FOREIGN SERVER live TO live_owner, live_other;
GRANT ALL ON SCHEMA live TO live_owner, live_other;
GRANT USAGE ON SCHEMA live TO live_reader;
SET ROLE live_owner;
CREATE FOREIGN TABLE theirs (p int OPTIONS (partition 'true'), k text, n int) SERVER live OPTIONS (topic 'live_second');
SELECT kafka.create_rollup('shown', 'SELECT k, count(*), sum(n) AS total FROM theirs GROUP BY 1', expect := 'n <> 3');
CALL kafka.run_rollups('shown', max_rows := 2, max_time := '0 s');
GRANT SELECT ON shown_live TO live_reader;
-- A reader needs no right but that.
SET ROLE live_reader;
TABLE shown_live;
TABLE shown;
SELECT * FROM theirs;
SELECT count(*) FROM theirs WHERE kafka.in_tail('shown', theirs.tableoid);
-- A member may read the tail of the table by itself.
SET ROLE live_member;
TABLE shown_live;
SELECT n FROM theirs WHERE kafka.in_tail('shown', theirs.tableoid);
-- Whoever is not cannot learn of positions, with a table of his own neither.
SET ROLE live_other;
CREATE FOREIGN TABLE others (p int OPTIONS (partition 'true'), k text, n int) SERVER live OPTIONS (topic 'live_second');
SELECT count(*) FROM others WHERE kafka.in_tail('shown', others.tableoid);
CREATE VIEW peep AS SELECT count(*) FROM others WHERE kafka.in_tail('shown', others.tableoid);
TABLE peep;
GRANT SELECT ON peep TO live_owner;
SET ROLE live_owner;
TABLE peep;
-- Behind a view with a security barrier
CREATE VIEW behind WITH (security_barrier) AS SELECT * FROM shown_live WHERE total > 5;
GRANT SELECT ON behind TO live_reader;
SET ROLE live_reader;
TABLE behind;
RESET ROLE;
-- It belongs to the rollup's owner, like the others.
ALTER VIEW shown_live OWNER TO live_other;
TABLE shown_live;
CALL kafka.run_rollups('shown');
ALTER VIEW shown_live OWNER TO live_owner;
CALL kafka.run_rollups('shown');
TABLE shown_live;
-- The tables are read in nobody's name but by that of the view.
ALTER FOREIGN TABLE theirs OWNER TO live_other;
TABLE shown_live;
ALTER FOREIGN TABLE theirs OWNER TO live_owner;

--
-- Dropping
--
SET ROLE live_owner;
SELECT kafka.drop_rollup('shown');
SELECT kafka.drop_rollup('shown', cascade := true);
RESET ROLE;
SELECT to_regclass('shown_live');
-- Without the view rollups go on.
DROP VIEW level_live;
DROP VIEW r_live;
CALL kafka.run_rollups('r');
CREATE VIEW taken_live AS SELECT 1;
SELECT kafka.create_rollup('taken', 'SELECT count(*) FROM two');
\set VERBOSITY terse
SELECT count(kafka.drop_rollup(name)) FROM kafka.rollups;
SELECT relname FROM pg_class WHERE relnamespace = 'live'::regnamespace AND relkind IN ('r', 'v') ORDER BY 1;
DROP SCHEMA live CASCADE;
DROP SERVER live CASCADE;
DROP ROLE live_owner, live_member, live_reader, live_other;
