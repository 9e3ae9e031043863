--
-- What a rollup does not keep for ever: retention of buckets, runs and dead
-- letters; what becomes of messages for buckets that were removed.
-- rollup_prune.feed makes the topics.
--
\getenv brokers KAFKA_BROKERS
SET TimeZone = 'UTC';
SET DateStyle = 'ISO';
CREATE SERVER prune FOREIGN DATA WRAPPER kafka_fdw OPTIONS (brokers :'brokers');
CREATE SCHEMA prune;
SET search_path = prune, public;
CREATE FOREIGN TABLE events (
    ts timestamptz OPTIONS (timestamp 'true'), k text, v int, id bigint
) SERVER prune OPTIONS (topic 'rollup_prune');

-- The messages are of 2024: an option that keeps what is not older than a time
CREATE FUNCTION since(timestamptz) RETURNS jsonb LANGUAGE SQL AS $$
    SELECT jsonb_build_object('retention', floor(extract(epoch FROM now() - $1) * 1000) || ' ms')
$$;
CREATE FUNCTION letters(rollup_name text)
RETURNS TABLE (p int, o bigint, stage text, sqlstate text, message text, attempts int,
               status text, is_tried boolean)
LANGUAGE SQL AS $$
    SELECT d.kafka_partition, d.kafka_offset, d.stage, d.sqlstate, d.message, d.attempts,
           d.status, d.retry_at IS NOT NULL
      FROM kafka.dead_letters d WHERE d.rollup = rollup_name
     ORDER BY d.kafka_partition, d.kafka_offset
$$;
CREATE FUNCTION pruned(rollup_name text) RETURNS timestamptz LANGUAGE SQL AS
    $$ SELECT pruned_until FROM kafka.stored_rollup WHERE name = rollup_name $$;
CREATE FUNCTION events(rollup_name text)
RETURNS TABLE (event text, messages bigint, rows_selected bigint, groups bigint, dead_letters bigint, detail text)
LANGUAGE SQL AS $$
    SELECT r.event, r.messages, r.rows_selected, r.groups, r.dead_letters, r.detail
      FROM kafka.rollup_runs r WHERE r.name = rollup_name AND r.event <> 'seek' ORDER BY r.run_id
$$;

--
-- Which rollups can have it
--
SELECT kafka.create_rollup('none', 'SELECT k, count(*) AS n FROM events GROUP BY k',
    options := '{"retention": "30 days"}');
SELECT kafka.create_rollup('none', 'SELECT k, count(*) AS n FROM events GROUP BY k',
    options := '{"retention": "30 moons"}');
SELECT kafka.create_rollup('none', 'SELECT k, count(*) AS n FROM events GROUP BY k');
SELECT kafka.alter_rollup('none', options := '{"retention": "30 days"}');
SELECT kafka.prune('none');
SELECT kafka.drop_rollup('none');

-- An index over the bucket is made where the one over all group columns will not do
SELECT kafka.create_rollup('first', $$
    SELECT date_bin('1 hour', ts, '2000-01-01') AS bucket, k, count(*) AS n FROM events GROUP BY 1, 2 $$,
    options := '{"retention": "30 days"}');
SELECT kafka.create_rollup('second', $$
    SELECT k, date_bin('1 hour', ts, '2000-01-01') AS "the bucket", count(*) AS n FROM events GROUP BY 1, 2 $$,
    options := '{"retention": "30 days"}');
SELECT kafka.create_rollup('later', $$
    SELECT k, date_bin('1 hour', ts, '2000-01-01') AS bucket, count(*) AS n, sum(v) AS total
      FROM events WHERE k <> 'none' GROUP BY 1, 2 $$);
SELECT tablename, indexdef FROM pg_indexes WHERE schemaname = 'prune' ORDER BY indexname;
SELECT kafka.alter_rollup('later', options := '{"retention": "14000 days"}');
SELECT kafka.alter_rollup('later', options := '{"retention": "15000 days"}');
SELECT indexdef FROM pg_indexes WHERE tablename = '_later_g1' ORDER BY indexname;
SELECT kafka.drop_rollup('first'), kafka.drop_rollup('second');

--
-- Buckets
--
-- Before anything was read nothing is removed, lest all be late
SELECT kafka.alter_rollup('later', options := since('2024-05-01 11:59:59'));
SELECT kafka.prune('later');
SELECT pruned('later');
SELECT kafka.alter_rollup('later', options := '{"retention": "15000 days"}');
CALL kafka.run_rollups('later');
SELECT * FROM later ORDER BY bucket, k;
-- A bucket goes when all of it is old enough
SELECT kafka.alter_rollup('later', options := since('2024-05-01 10:59:59'));
SELECT kafka.prune('later');
SELECT kafka.alter_rollup('later', options := since('2024-05-01 11:59:59'));
SELECT kafka.prune('later');
SELECT * FROM later ORDER BY bucket, k;
SELECT pruned('later');
SELECT kafka.prune('later');
SELECT * FROM events('later');

-- Messages for it are late, but not those that the query leaves out; the rest counts
\! printf '%s\n' "produce rollup_prune time=2024-05-01T10:15:00Z value='{\"k\": \"a\", \"v\": 64, \"id\": 8}'" "produce rollup_prune time=2024-05-01T10:16:00Z value='{\"k\": \"none\", \"v\": 64, \"id\": 9}'" "produce rollup_prune time=2024-05-01T11:59:00Z value='{\"k\": \"b\", \"v\": 128, \"id\": 10}'" "produce rollup_prune time=2024-05-01T10:17:00Z value='{\"k\": \"b\", \"v\": \"bad\", \"id\": 11}'" | feed
CALL kafka.run_rollups('later');
SELECT * FROM later ORDER BY bucket, k;
SELECT * FROM letters('later');
-- No retry counts it, also when it was something else before
SELECT * FROM kafka.retry_dead_letters('later');
SELECT * FROM letters('later');
SELECT kafka.alter_rollup('later', options := since('2024-05-01 12:00:01'));
SELECT kafka.prune('later');
CREATE TEMPORARY TABLE before AS SELECT * FROM later;
UPDATE kafka.stored_dead_letter SET value = replace(convert_from(value, 'UTF8'), '"bad"', '7')::bytea, retry_at = now()
 WHERE stage = 'decode';
CALL kafka.run_rollups('later');
SELECT * FROM letters('later');
SELECT * FROM later EXCEPT TABLE before;

-- It does not come back when the option is longer again, or goes
SELECT kafka.alter_rollup('later', options := '{"retention": "15000 days"}');
SELECT kafka.prune('later');
SELECT kafka.alter_rollup('later', options := '{"retention": null}');
SELECT kafka.prune('later');
SELECT pruned('later');
\! echo "produce rollup_prune time=2024-05-01T11:58:00Z value='{\"k\": \"b\", \"v\": 256, \"id\": 12}'" | feed
CALL kafka.run_rollups('later');
SELECT * FROM later ORDER BY bucket, k;
SELECT count(*), max(o) FROM letters('later') WHERE stage = 'late';

-- Read again, messages count again, and their buckets go again
SELECT kafka.seek_rollup('later', '{"0": 4}'::jsonb, true);
SELECT pruned('later');
SELECT o, status, message FROM letters('later') WHERE o >= 3;
CALL kafka.run_rollups('later');
SELECT * FROM later ORDER BY bucket, k;
SELECT kafka.alter_rollup('later', options := since('2024-05-01 12:00:01'));
SELECT kafka.prune('later');
SELECT * FROM later ORDER BY bucket, k;
-- A test knows nothing of it
SELECT * FROM kafka.test_rollup('later', '[{"timestamp": "2024-05-01T10:00:00Z", "value": {"k": "a", "v": 1}}]');

-- Some rows at a time; of a bucket that is half removed no message counts
SELECT kafka.seek_rollup('later', '{"0": 0, "1": 0}'::jsonb, true);
SELECT kafka.alter_rollup('later', options := '{"retention": "15000 days"}');
CALL kafka.run_rollups('later');
SELECT kafka.alter_rollup('later', options := since('2024-05-01 12:00:01'));
SELECT kafka.prune('later', 0);
SELECT kafka.prune('later', 2), pruned('later');
SELECT k, bucket FROM later ORDER BY bucket, k;
SELECT kafka.prune('later', 2), pruned('later');
SELECT kafka.alter_rollup('later', options := '{"retention": "15000 days"}');
\! printf '%s\n' "produce rollup_prune time=2024-05-01T10:00:00Z value='{\"k\": \"a\", \"v\": 1, \"id\": 13}'" "produce rollup_prune time=2024-05-01T11:59:59Z value='{\"k\": \"b\", \"v\": 1, \"id\": 14}'" "produce rollup_prune time=2024-05-01T12:00:00Z value='{\"k\": \"b\", \"v\": 1, \"id\": 15}'" | feed
CALL kafka.run_rollups('later');
SELECT o, stage, message FROM letters('later') WHERE o >= 9;
-- What was begun is finished whatever the option says now
SELECT kafka.prune('later') >= 0 AS finished;
SELECT k, bucket, total FROM later ORDER BY bucket, k;
SELECT kafka.alter_rollup('later', options := since('2024-05-01 12:00:01'));
SELECT kafka.prune('later'), pruned('later');

--
-- Many that are late do not pause the rollup: nothing is wrong with it
--
CREATE FOREIGN TABLE flood (
    ts timestamptz OPTIONS (timestamp 'true'), k text, v int, id bigint
) SERVER prune OPTIONS (topic 'rollup_prune_flood');
CREATE TABLE named (k text PRIMARY KEY, name text);
INSERT INTO named VALUES ('new', 'New'), ('old', 'Old');
SET client_min_messages = warning;
SELECT kafka.create_rollup('flooded', $$
    SELECT n.name, date_bin('1 hour', ts, '2000-01-01') AS bucket, count(*) AS n, sum(v) AS total
      FROM flood JOIN named n USING (k) GROUP BY 1, 2 $$, options := since('2024-05-01 12:30'));
RESET client_min_messages;
CALL kafka.run_rollups('flooded');
SELECT kafka.prune('flooded');
\! printf '%s\n' "generate rollup_prune_flood first=300 count=500 time=2024-05-01T10:00:00Z step=1000 value='{\"k\": \"old\", \"v\": {n}, \"id\": {n}}'" "generate rollup_prune_flood first=800 count=100 time=2024-05-01T12:00:00Z step=1000 value='{\"k\": \"new\", \"v\": {n}, \"id\": {n}}'" "generate rollup_prune_flood first=900 count=3 time=2024-05-01T10:00:00Z step=1000 value='{\"k\": \"unknown\", \"v\": {n}, \"id\": {n}}'" | feed
CALL kafka.run_rollups('flooded');
SELECT state, reason FROM kafka.rollups WHERE name = 'flooded';
SELECT * FROM flooded ORDER BY bucket;
SELECT count(*) AS n, sum(v) AS total
  FROM flood WHERE k <> 'unknown' AND ts >= '2024-05-01 12:00';
SELECT stage, status, count(*), min(o), max(o), min(message), max(message)
  FROM letters('flooded') GROUP BY 1, 2;
SELECT messages, rows_selected, dead_letters FROM events('flooded') WHERE event = 'batch';
-- Those that are bad still do
\! echo "generate rollup_prune_flood first=900 count=200 time=2024-05-01T10:00:00Z step=1000 value='{\"k\": \"old\", \"v\": {n}, \"id\": {n}}'" | feed
\! echo "generate rollup_prune_flood first=1100 count=220 time=2024-05-01T12:30:00Z step=1000 value='{\"k\": \"new\", \"v\": \"bad\", \"id\": {n}}'" | feed
CALL kafka.run_rollups('flooded');
SELECT state, reason FROM kafka.rollups WHERE name = 'flooded';

--
-- A unique key is not taken by a message that does not count
--
CREATE FOREIGN TABLE keyed (
    ts timestamptz OPTIONS (timestamp 'true'), at timestamptz, id bigint
) SERVER prune OPTIONS (topic 'rollup_prune_keys');
SELECT kafka.create_rollup('unique', $$
    SELECT date_bin('1 hour', at, '2000-01-01') AS bucket, count(*) AS n, max(id) AS last FROM keyed GROUP BY 1 $$,
    options := '{"unique_key": "id", "unique_within": "1 day", "run_retention": "30000 days"}');
CALL kafka.run_rollups('unique');
SELECT kafka.alter_rollup('unique', options := since('2024-05-01 12:00'));
SELECT kafka.prune('unique');
-- 1 was counted, in a bucket that went; 3 is late, then counts; 4 is late twice
\! printf '%s\n' "produce rollup_prune_keys time=2024-05-01T12:00:02Z value='{\"at\": \"2024-05-01T12:10:00Z\", \"id\": 1}'" "produce rollup_prune_keys time=2024-05-01T12:00:03Z value='{\"at\": \"2024-05-01T10:00:00Z\", \"id\": 3}'" "produce rollup_prune_keys time=2024-05-01T12:00:04Z value='{\"at\": \"2024-05-01T12:20:00Z\", \"id\": 3}'" "produce rollup_prune_keys time=2024-05-01T12:00:05Z value='{\"at\": \"2024-05-01T10:00:00Z\", \"id\": 4}'" "produce rollup_prune_keys time=2024-05-01T12:00:06Z value='{\"at\": \"2024-05-01T10:00:00Z\", \"id\": 4}'" | feed
CALL kafka.run_rollups('unique');
SELECT * FROM "unique" ORDER BY bucket;
SELECT o, stage, message, status FROM letters('unique');
SELECT count(*) FILTER (WHERE key_hash IS NULL) AS without, count(*) FROM kafka.stored_dead_letter d
  JOIN kafka.stored_rollup r USING (rollup_id) WHERE r.name = 'unique';

--
-- Beside late_limit: what is late by that can be retried, and a message of a
-- bucket that went makes no other late
--
CREATE FOREIGN TABLE late (ts timestamptz OPTIONS (timestamp 'true'), v int)
  SERVER prune OPTIONS (topic 'rollup_prune_late');
SELECT kafka.create_rollup('limited', $$
    SELECT date_bin('1 hour', ts, '2000-01-01') AS bucket, count(*) AS n, sum(v) AS total FROM late GROUP BY 1 $$,
    late_limit := '1 hour');
CALL kafka.run_rollups('limited');
SELECT kafka.alter_rollup('limited', options := since('2024-05-01 12:00'));
SELECT kafka.prune('limited');
\! printf '%s\n' "produce rollup_prune_late time=2024-05-01T11:30:00Z value='{\"v\": 2}'" "produce rollup_prune_late time=2024-05-01T10:00:00Z value='{\"v\": 4}'" "produce rollup_prune_late time=2024-05-01T13:30:00Z value='{\"v\": 8}'" "produce rollup_prune_late time=2024-05-01T12:10:00Z value='{\"v\": 16}'" "produce rollup_prune_late partition=1 time=2024-05-01T11:00:00Z value='{\"v\": 32}'" "produce rollup_prune_late partition=1 time=2024-05-01T09:30:00Z value='{\"v\": 64}'" | feed
CALL kafka.run_rollups('limited');
SELECT p, o, stage, message FROM letters('limited');
SELECT kafka_partition, newest FROM kafka.stored_position JOIN kafka.stored_rollup USING (rollup_id)
 WHERE name = 'limited' ORDER BY 1;
SELECT * FROM kafka.retry_dead_letters('limited');
SELECT * FROM limited ORDER BY bucket;
SELECT p, o, status FROM letters('limited');

--
-- Buckets of other kinds
--
CREATE FOREIGN TABLE days (at timestamptz, v int) SERVER prune OPTIONS (topic 'rollup_prune_days');
-- Days of a zone, as timestamp; days as timestamptz; months of the zone of creation
SELECT kafka.create_rollup('local_days', $$
    SELECT date_trunc('day', at AT TIME ZONE 'Asia/Seoul') AS day, sum(v) AS v FROM days GROUP BY 1 $$);
SELECT kafka.create_rollup('zone_days', $$
    SELECT date_trunc('day', at, 'Asia/Seoul') AS day, sum(v) AS v FROM days GROUP BY 1 $$);
SELECT kafka.create_rollup('months', $$
    SELECT date_trunc('month', at, 'Asia/Seoul') AS month, sum(v) AS v FROM days GROUP BY 1 $$);
CALL kafka.run_rollups('local_days');
CALL kafka.run_rollups('zone_days');
CALL kafka.run_rollups('months');
SELECT kafka.alter_rollup('local_days', options := since('2024-03-02 00:00+09'));
SELECT kafka.alter_rollup('zone_days', options := since('2024-03-02 23:59+09'));
SELECT kafka.alter_rollup('months', options := since('2024-03-31 23:59+09'));
SELECT kafka.prune('local_days'), kafka.prune('zone_days'), kafka.prune('months');
-- Rows without a time stay
SELECT *, pruned('local_days') FROM local_days ORDER BY day;
SELECT *, pruned('zone_days') FROM zone_days ORDER BY day;
SELECT *, pruned('months') FROM months ORDER BY month;
\! printf '%s\n' "produce rollup_prune_days value='{\"at\": \"2024-03-01T14:59:59Z\", \"v\": 32}'" "produce rollup_prune_days value='{\"at\": null, \"v\": 64}'" | feed
SET TimeZone = 'America/New_York';
CALL kafka.run_rollups('local_days');
CALL kafka.run_rollups('zone_days');
CALL kafka.run_rollups('months');
SET TimeZone = 'UTC';
SELECT * FROM local_days ORDER BY day;
SELECT * FROM zone_days ORDER BY day;
SELECT * FROM months ORDER BY month;
SELECT d.rollup, d.stage, d.message FROM kafka.dead_letters d WHERE d.rollup IN ('local_days', 'zone_days', 'months') ORDER BY 1;

--
-- Runs and dead letters
--
SELECT kafka.create_rollup('logged', $$
    SELECT date_bin('1 hour', ts, '2000-01-01') AS bucket, count(*) AS n, sum(v) AS total FROM events GROUP BY 1 $$,
    options := '{"retry_limit": 0}');
CALL kafka.run_rollups('logged', max_rows => 4);
SELECT count(*) FROM events('logged');
SELECT o, stage, status FROM letters('logged');
UPDATE kafka.stored_dead_letter d SET status = 'done' FROM kafka.stored_rollup r
 WHERE r.rollup_id = d.rollup_id AND r.name = 'logged' AND d.kafka_offset = 3;
-- By default they are kept for a week and a month
UPDATE kafka.stored_run SET finished_at = now() - interval '6 days 23 hours'
 WHERE rollup_id = (SELECT rollup_id FROM kafka.stored_rollup WHERE name = 'logged');
UPDATE kafka.stored_dead_letter SET updated_at = now() - interval '29 days 23 hours'
 WHERE rollup_id = (SELECT rollup_id FROM kafka.stored_rollup WHERE name = 'logged');
SELECT kafka.prune('logged');
SELECT (SELECT count(*) FROM events('logged')), (SELECT count(*) FROM letters('logged'));
UPDATE kafka.stored_run SET finished_at = now() - interval '7 days 1 hour'
 WHERE rollup_id = (SELECT rollup_id FROM kafka.stored_rollup WHERE name = 'logged');
UPDATE kafka.stored_dead_letter SET updated_at = now() - interval '30 days 1 hour'
 WHERE rollup_id = (SELECT rollup_id FROM kafka.stored_rollup WHERE name = 'logged');
SELECT kafka.prune('logged');
-- The last run stays; nothing is lost quietly
SELECT * FROM events('logged');
SELECT count(*) FROM letters('logged');
SELECT last_run IS NOT NULL AS known FROM kafka.rollups WHERE name = 'logged';
SELECT kafka.alter_rollup('logged', options := '{"run_retention": "1 ms", "dead_letter_retention": "1 ms"}');
SELECT kafka.prune('logged');
SELECT event FROM events('logged');

--
-- Who may, and as whom it is done
--
CREATE ROLE prune_owner;
CREATE ROLE prune_other;
GRANT USAGE, CREATE ON SCHEMA prune TO prune_owner;
GRANT USAGE ON SCHEMA prune TO prune_other;
GRANT SELECT ON events TO prune_owner;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA prune TO prune_owner;
SET ROLE prune_owner;
SELECT kafka.create_rollup('theirs', $$
    SELECT date_bin('1 hour', ts, '2000-01-01') AS bucket, count(*) AS n FROM events GROUP BY 1 $$);
CALL kafka.run_rollups('theirs');
CREATE TABLE who (name text);
CREATE FUNCTION note_who() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN INSERT INTO prune.who VALUES (current_user); RETURN NULL; END $$;
CREATE CONSTRAINT TRIGGER note AFTER DELETE ON _theirs_g1 DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION note_who();
SELECT kafka.alter_rollup('theirs', options := since('2024-05-01 11:30'));
SET ROLE prune_other;
SELECT kafka.prune('theirs');
RESET ROLE;
SELECT kafka.prune('theirs'), current_user = session_user AS is_back;
SELECT name, count(*) FROM who GROUP BY 1;
-- A trigger that keeps rows would keep them for ever
SELECT kafka.seek_rollup('theirs', '{"0": 0, "1": 0}'::jsonb, true);
SET ROLE prune_owner;
SELECT kafka.alter_rollup('theirs', options := '{"retention": "15000 days"}');
CALL kafka.run_rollups('theirs');
CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;
CREATE TRIGGER keep BEFORE DELETE ON _theirs_g1 FOR EACH ROW EXECUTE FUNCTION keep();
SELECT kafka.alter_rollup('theirs', options := since('2024-05-01 11:30'));
SELECT kafka.prune('theirs');
DROP TRIGGER keep ON _theirs_g1;
SELECT kafka.prune('theirs');
RESET ROLE;
SET kafka_fdw.enable_runs = off;
SELECT kafka.prune('theirs');
RESET kafka_fdw.enable_runs;
UPDATE kafka.stored_rollup SET system_identifier = 1 WHERE name = 'theirs';
\set VERBOSITY terse
SELECT kafka.prune('theirs');
\set VERBOSITY default
SELECT kafka.prune('their');
SELECT kafka.prune(NULL);

\set VERBOSITY terse
SET client_min_messages = warning;
SELECT count(kafka.drop_rollup(name)) FROM kafka.rollups;
DROP SCHEMA prune CASCADE;
DROP SERVER prune;
DROP ROLE prune_owner, prune_other;
