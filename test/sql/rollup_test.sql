--
-- kafka.test_rollup: what a rollup makes of messages that one makes up. There is
-- no broker at the server's address, but for making the rollup of rollup_test.feed.
--
\getenv brokers KAFKA_BROKERS
SET TimeZone = 'UTC';
SET DateStyle = 'ISO';
CREATE SERVER nowhere FOREIGN DATA WRAPPER kafka_fdw OPTIONS (brokers '127.0.0.1:1');
CREATE SCHEMA made_up;
SET search_path = made_up, public;
CREATE FOREIGN TABLE events (
    topic text OPTIONS (topic 'true'),
    p int OPTIONS (partition 'true'),
    o bigint OPTIONS (offset 'true'),
    ts timestamptz OPTIONS (timestamp 'true'),
    ts_type text OPTIONS (timestamp_type 'true'),
    msg_key text OPTIONS (key 'true'),
    headers jsonb OPTIONS (headers 'true'),
    event text,
    v int,
    id text
) SERVER nowhere OPTIONS (topic 'first,second');

--
-- A query
--
-- The halves are merged: both have rows of the same group
SELECT * FROM kafka.test_rollup($$
    SELECT date_bin('10 min', ts, '2000-01-01') AS bucket, event, count(*) AS n,
           avg(v) AS mean, min(v), max(v), sum(v) FILTER (WHERE v > 1) AS large
      FROM events WHERE event <> 'noise' GROUP BY 1, 2 $$, '[
    {"timestamp": "2024-05-01T12:00:00Z", "value": {"event": "click", "v": 1}},
    {"timestamp": "2024-05-01T12:09:59Z", "value": {"event": "click", "v": 2}},
    {"timestamp": "2024-05-01T12:10:00Z", "value": {"event": "click", "v": 3}},
    {"timestamp": 1714564800000, "value": {"event": "view", "v": 4}},
    {"timestamp": "2024-05-01T12:09:00Z", "value": {"event": "click", "v": 6}},
    {"timestamp": "2024-05-01T12:09:00Z", "value": {"event": "noise", "v": 6}},
    {"timestamp": "2024-05-01 14:01:00+02", "value": {"event": null}}]');
-- Bad messages, in the order given
SELECT * FROM kafka.test_rollup('SELECT event, sum(10 / v) AS s FROM events GROUP BY event', '[
    {"value": {"event": "a", "v": 5}},
    {"value": {"event": "a", "v": "x"}},
    {"value": {"event": "a", "v": 0}, "partition": 3},
    {"value": "{no json", "partition": 3},
    {"value": {"event": "a", "v": 2}, "partition": 3, "offset": 77},
    {"value": {"event": "b", "v": 0}, "partition": 3}]');
-- What a message can have, and what it has when it does not say
SELECT * FROM kafka.test_rollup($$
    SELECT topic, p, o, ts_type, msg_key, headers, ts IS NULL AS timeless,
           ts > '2024-06-01Z' AS is_new, event, v, count(*) AS n
      FROM events GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9, 10 $$, '[
    {"value": {"event": "a", "v": 1}},
    {"value": {"event": "b"}, "key": "k\u00e9", "timestamp": null},
    {"value": "{\"event\": \"c\"}", "topic": "second", "partition": 4, "offset": 9223372036854775806},
    {"value": null, "timestamp_type": "LogAppendTime", "headers": {"h": "1", "n": null, "m": ["1", null, ""]}},
    {}]');
SELECT * FROM kafka.test_rollup('SELECT count(*) AS n, sum(v) FROM events', '{"value": {"v": 7}}');
SELECT * FROM kafka.test_rollup('SELECT count(*) AS n, sum(v) FROM events', '[]');
SELECT * FROM kafka.test_rollup(' (SELECT event FROM events GROUP BY 1)', '[{"value": {"event": "x"}}, {"value": {"event": "x"}}]');
-- A table's format decides how text is read
CREATE FOREIGN TABLE lines (a text, b int, ts timestamptz OPTIONS (timestamp 'true'))
    SERVER nowhere OPTIONS (topic_pattern 'l.*', format 'csv');
SELECT * FROM kafka.test_rollup('SELECT a, sum(b) FROM lines GROUP BY a', '[
    {"topic": "l1", "value": "x,1"}, {"topic": "l2", "value": "\"x\",2"}, {"topic": "l2", "value": "y"}]');
SELECT * FROM kafka.test_rollup('SELECT a, sum(b) FROM lines GROUP BY a', '[{"value": "x,1"}]');

-- What is wrong with the query is told as create_rollup does
SELECT * FROM kafka.test_rollup('SELECT event, count(DISTINCT v) FROM events GROUP BY 1', '[]');
SELECT * FROM kafka.test_rollup('SELECT evnt FROM events GROUP BY 1', '[]');
-- What is wrong with the messages
SELECT * FROM kafka.test_rollup('SELECT count(*) FROM events', '[{}, {"vaule": 1}]');
SELECT * FROM kafka.test_rollup('SELECT count(*) FROM events', '[{"zzzzzzzzz": 1}]');
SELECT * FROM kafka.test_rollup('SELECT count(*) FROM events', '[1]');
SELECT * FROM kafka.test_rollup('SELECT count(*) FROM events', '"x"');
SELECT * FROM kafka.test_rollup('SELECT count(*) FROM events', '[{"partition": -1}]');
SELECT * FROM kafka.test_rollup('SELECT count(*) FROM events', '[{"offset": 1.5}]');
SELECT * FROM kafka.test_rollup('SELECT count(*) FROM events', '[{"offset": 1e30}]');
SELECT * FROM kafka.test_rollup('SELECT count(*) FROM events', '[{"key": 1}]');
SELECT * FROM kafka.test_rollup('SELECT count(*) FROM events', '[{"timestamp": "soon"}]');
SELECT * FROM kafka.test_rollup('SELECT count(*) FROM events', '[{"timestamp": "1969-12-31Z"}]');
SELECT * FROM kafka.test_rollup('SELECT count(*) FROM events', '[{"timestamp_type": "now"}]');
SELECT * FROM kafka.test_rollup('SELECT count(*) FROM events', '[{"headers": {"a": 1}}]');
SELECT * FROM kafka.test_rollup('SELECT count(*) FROM events', '[{"headers": [1]}]');
SELECT * FROM kafka.test_rollup('SELECT count(*) FROM events', NULL);

-- Nothing is left
SELECT count(*) FROM pg_class WHERE relname LIKE 'kafka_test%';
SELECT current_user = session_user, current_setting('search_path');

--
-- With whose rights
--
CREATE ROLE made_up_other;
GRANT USAGE ON SCHEMA made_up TO made_up_other;
SET ROLE made_up_other;
SELECT * FROM kafka.test_rollup('SELECT count(*) FROM events', '[{}]');
RESET ROLE;
GRANT SELECT ON events TO made_up_other;
CREATE FUNCTION whoami(text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS
    $$ BEGIN RETURN current_user; END $$;
SET ROLE made_up_other;
SELECT * FROM kafka.test_rollup('SELECT whoami(event) AS who, count(*) FROM events GROUP BY 1', '[{}]');
RESET ROLE;
REVOKE TEMPORARY ON DATABASE :DBNAME FROM PUBLIC;
SET ROLE made_up_other;
\set VERBOSITY sqlstate
SELECT * FROM kafka.test_rollup('SELECT count(*) FROM events', '[{}]');
\set VERBOSITY default
RESET ROLE;
GRANT TEMPORARY ON DATABASE :DBNAME TO PUBLIC;


--
-- A rollup: its conditions, owner and settings, but not its rows and keys
--
CREATE ROLE made_up_owner;
CREATE ROLE made_up_member IN ROLE made_up_owner;
GRANT ALL ON SCHEMA made_up TO made_up_owner;
CREATE FOREIGN TABLE source (p int OPTIONS (partition 'true'), o bigint OPTIONS (offset 'true'),
    ts timestamptz OPTIONS (timestamp 'true'), k text, v int, id text)
    SERVER nowhere OPTIONS (topic 'rollup_test');
GRANT SELECT ON source TO made_up_owner;
ALTER SERVER nowhere OPTIONS (SET brokers :'brokers');
SET ROLE made_up_owner;
SET TimeZone = 'Asia/Seoul';
SELECT kafka.create_rollup('made_up_daily', $$
    SELECT date_trunc('day', ts, 'Asia/Seoul') AS day, whoami(k) AS who, k, count(*) AS n,
           sum(10 / v) AS total, kafka.last(v, ts) AS latest
      FROM source GROUP BY 1, 2, 3 $$, expect := 'v < 1000', late_limit := '2 days',
    options := '{"unique_key": "id", "unique_within": "1 day"}');
CALL kafka.run_rollups('made_up_daily');
RESET ROLE;
SET TimeZone = 'UTC';
SELECT kafka.disconnect() > 0;
ALTER SERVER nowhere OPTIONS (SET brokers '127.0.0.1:1');
SET ROLE made_up_member;
SELECT * FROM kafka.test_rollup('made_up_daily', '[
    {"timestamp": "2024-05-01T14:00:00Z", "value": {"k": "a", "v": 1, "id": "1"}},
    {"timestamp": "2024-05-01T14:00:01Z", "value": {"k": "a", "v": 1, "id": "1"}},
    {"timestamp": "2024-05-01T15:00:00Z", "value": {"k": "a", "v": 2, "id": "2"}},
    {"timestamp": "2024-05-01T15:00:00Z", "value": {"k": "a", "v": 1000, "id": "3"}},
    {"timestamp": "2024-05-01T15:00:00Z", "value": {"k": "a", "v": 5, "id": "3"}},
    {"timestamp": "2024-05-01T15:30:00Z", "value": {"k": "a", "v": 4, "id": "2"}},
    {"timestamp": "2024-04-01T15:30:00Z", "value": {"k": "a", "v": 4, "id": "5"}},
    {"timestamp": "2024-05-01T15:30:00Z", "value": {"k": "a", "v": 0, "id": "6"}},
    {"timestamp": "2024-05-03T15:30:00Z", "value": {"k": "a", "v": 3, "id": "2"}},
    {"value": null}]');
SELECT * FROM made_up_daily;
SELECT count(*) FROM kafka.dead_letters WHERE rollup = 'made_up_daily';
SELECT current_user, current_setting('TimeZone');
SET ROLE made_up_other;
SELECT * FROM kafka.test_rollup('made_up_daily', '[]');
SELECT * FROM kafka.test_rollup('made_up_dialy', '[]');
RESET ROLE;

\set VERBOSITY terse
SET client_min_messages = warning;
SELECT kafka.drop_rollup('made_up_daily');
DROP SCHEMA made_up CASCADE;
DROP SERVER nowhere;
DROP ROLE made_up_member, made_up_owner, made_up_other;
