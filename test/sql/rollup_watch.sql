--
-- What kafka.rollups says of where a rollup stands, without asking a broker:
-- last_read, backlog, complete_until, overdue, fresh. rollup_watch.feed makes
-- the topics.
--
\getenv brokers KAFKA_BROKERS
SET TimeZone = 'UTC';
SET DateStyle = 'ISO';
SET IntervalStyle = 'postgres';
CREATE SERVER rollup_watch FOREIGN DATA WRAPPER kafka_fdw OPTIONS (brokers :'brokers');
CREATE ROLE regress_kafka_ann;
GRANT USAGE ON FOREIGN SERVER rollup_watch TO regress_kafka_ann;
CREATE SCHEMA rollup_watch AUTHORIZATION regress_kafka_ann;
SET search_path = rollup_watch;
SET ROLE regress_kafka_ann;
CREATE FOREIGN TABLE plain (p int OPTIONS (partition 'true'), ts timestamptz OPTIONS (timestamp 'true'), id int)
    SERVER rollup_watch OPTIONS (topic 'rw_plain');
CREATE FOREIGN TABLE empty (id int) SERVER rollup_watch OPTIONS (topic 'rw_empty');

--
-- What a table declares
--
SELECT * FROM kafka.get_disorder_limits('plain');
ALTER FOREIGN TABLE plain OPTIONS (timestamp_max_lag '1 day 30 s');
RESET ROLE;
ALTER SERVER rollup_watch OPTIONS (broker_clock_skew '1500');
SET ROLE regress_kafka_ann;
SELECT * FROM kafka.get_disorder_limits('plain');
ALTER FOREIGN TABLE plain OPTIONS (SET timestamp_max_lag '30s', timestamp_max_lead '2 min');
SELECT * FROM kafka.get_disorder_limits('plain');
-- what has no such options, or is not there
SELECT * FROM kafka.get_disorder_limits('pg_class');
SELECT * FROM kafka.get_disorder_limits(0::oid::regclass);
SELECT * FROM kafka.get_disorder_limits(NULL);

--
-- From the beginning to the end
--
SELECT kafka.create_rollup('watched', 'SELECT p, count(*) AS messages FROM plain GROUP BY p');
-- Each row tells which of the two ways complete_until came: by what was read
-- last (2024), or by the time at which all had been read.
CREATE TEMP VIEW standing AS
SELECT name, kind, state, schedule, overdue, backlog, fresh, last_read IS NOT NULL AS has_read,
       CASE WHEN complete_until < '2025-01-01' THEN complete_until::text
            WHEN complete_until IS NOT NULL
            THEN 'last_read less ' || date_trunc('second', last_read - complete_until + '0.5 s') END AS complete_until,
       generation, rebuilding
  FROM kafka.rollups ORDER BY name;
SELECT * FROM standing;
-- one batch, with more to be read
CALL kafka.run_rollups('watched', max_rows => 30, max_time => '0');
SELECT * FROM standing;
SELECT r.complete_until = min(o.last_time) - interval '2 min 31.5 s' AS is_as_declared
  FROM kafka.rollups AS r JOIN kafka.rollup_offsets AS o USING (name) GROUP BY r.complete_until;
-- and it is true
SELECT count(*) = 0 AS none_earlier
  FROM plain
 WHERE id >= (SELECT sum(messages) FROM watched) AND ts < (SELECT complete_until FROM kafka.rollups);
SELECT topic, kafka_partition, next_offset, end_offset, last_time FROM kafka.rollup_offsets ORDER BY 2;
CALL kafka.run_rollups('watched');
SELECT * FROM standing;
SELECT kafka_partition, end_offset, high_watermark, uncommitted, messages_behind, behind, note
  FROM kafka.rollup_lag ORDER BY 1;
-- an empty topic is complete, too
SELECT kafka.create_rollup('nothing', 'SELECT count(*) AS messages FROM empty');
CALL kafka.run_rollups('nothing');
SELECT * FROM standing WHERE name = 'nothing';
SELECT kafka.drop_rollup('nothing');

-- A look that finds nothing writes a row every 10 s only, and else has no transaction id.
RESET ROLE;
CREATE TEMP TABLE seen AS SELECT xmin AS version, last_read, caught_up_at FROM kafka.stored_progress;
CALL kafka.run_rollups('watched');
SELECT version = p.xmin AS same FROM kafka.stored_progress AS p, seen;
UPDATE kafka.stored_progress SET last_read = last_read - interval '11 s', caught_up_at = caught_up_at - interval '11 s';
CALL kafka.run_rollups('watched');
SELECT version = p.xmin AS same, p.last_read > seen.last_read AS later, p.caught_up_at > seen.caught_up_at AS caught_up_later
  FROM kafka.stored_progress AS p, seen;
-- One that lies ahead, since the clock was set back, is written over.
UPDATE kafka.stored_progress SET last_read = 'tomorrow';
CALL kafka.run_rollups('watched');
SELECT last_read < now() + interval '1 min' AS is_now FROM kafka.stored_progress;
SET ROLE regress_kafka_ann;

-- New messages: what was true stays true.
\! printf '%s\n' "generate rw_plain count=20 first=40 partitions=2 time=2024-05-01T12:00:40Z step=1000 value='{\"id\": {n}}'" | feed
SELECT kafka_partition, next_offset, end_offset, messages_behind, behind BETWEEN '0' AND '1 min' AS behind_some_seconds
  FROM kafka.rollup_lag ORDER BY 1;
CALL kafka.run_rollups('watched', max_rows => 15, max_time => '0');
SELECT * FROM standing;
CALL kafka.run_rollups('watched');
SELECT * FROM standing;

-- Positions that move back make it untrue, and it is forgotten.
SELECT kafka.seek_rollup('watched', '{"0": 5}', accept_loss => true);
SELECT * FROM standing;
SELECT kafka_partition, messages_behind, behind FROM kafka.rollup_lag ORDER BY 1;
CALL kafka.run_rollups('watched', max_rows => 1, max_time => '0');
SELECT * FROM standing;
CALL kafka.run_rollups('watched');
SELECT * FROM standing;
-- Neither does a new partition fit in.
\! printf '%s\n' 'add-partitions rw_plain 3' "produce rw_plain partition=2 time=2024-05-01T11:00:00Z value='{\"id\": 100}'" | feed
-- What it holds is behind as soon as a run has met it, if nothing more comes of that run.
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE undefined_table USING MESSAGE = 'no'; END $$;
CREATE TRIGGER refuse BEFORE INSERT OR UPDATE ON _watched_g1 EXECUTE FUNCTION refuse();
\set VERBOSITY terse
CALL kafka.run_rollups('watched');
\set VERBOSITY default
SELECT state, backlog FROM kafka.rollups;
SELECT kafka_partition, next_offset, end_offset FROM kafka.rollup_offsets ORDER BY 1;
DROP TRIGGER refuse ON _watched_g1;
CALL kafka.run_rollups('watched');
SELECT state, backlog, complete_until > now() - interval '1 hour' AS is_complete FROM kafka.rollups;

--
-- Overdue
--
RESET ROLE;
CREATE FUNCTION pg_temp.read_before(age interval) RETURNS TABLE (overdue boolean, fresh boolean) LANGUAGE sql AS $$
	UPDATE kafka.stored_progress SET last_read = now() - age;
	SELECT overdue, fresh FROM kafka.rollups $$;
SELECT * FROM pg_temp.read_before('1 day');
UPDATE kafka.stored_rollup SET schedule = '* * * * *';
SELECT * FROM pg_temp.read_before('1 min');
SELECT * FROM pg_temp.read_before('3 min 1 s');
UPDATE kafka.stored_rollup SET schedule = '0 0 29 feb *';
SELECT * FROM pg_temp.read_before('3 min 1 s');
SELECT * FROM pg_temp.read_before('9 years');
UPDATE kafka.stored_rollup SET enabled = false;
SELECT * FROM pg_temp.read_before('9 years');
UPDATE kafka.stored_rollup SET enabled = true, schedule = NULL, options = '{"follow": true}';
SELECT * FROM pg_temp.read_before('1 min 59 s');
SELECT * FROM pg_temp.read_before('2 min 1 s');
-- one that never read was due since its creation
DELETE FROM kafka.stored_progress;
SELECT overdue, fresh FROM kafka.rollups;
UPDATE kafka.stored_rollup SET created_at = now() - interval '3 min';
SELECT overdue, fresh FROM kafka.rollups;
UPDATE kafka.stored_rollup SET options = '{"follow": false}';
SELECT overdue FROM kafka.rollups;

--
-- A generation in the making is nobody's business but its rollup's.
--
INSERT INTO kafka.stored_rollup (name, rebuilds, generation, source, relation, storage, definition, states, upsert,
                                 search_path, time_zone, date_style, interval_style, system_identifier, database_id)
SELECT '_watched_g2', rollup_id, 2, source, relation, storage, definition, states, upsert,
       search_path, time_zone, date_style, interval_style, system_identifier, database_id FROM kafka.stored_rollup;
INSERT INTO kafka.stored_position (rollup_id, topic, kafka_partition, next_offset)
SELECT rollup_id, 'rw_plain', 0, 0 FROM kafka.stored_rollup WHERE name = '_watched_g2';
SELECT name, rebuilding FROM kafka.rollups;
SELECT DISTINCT name FROM kafka.rollup_offsets;
SELECT DISTINCT name FROM kafka.rollup_lag;
DELETE FROM kafka.stored_rollup WHERE name = '_watched_g2';
SELECT name, rebuilding FROM kafka.rollups;

--
-- The views tell what they can when something is missing.
--
SET ROLE regress_kafka_ann;
SET client_min_messages = warning;
DROP FOREIGN TABLE plain CASCADE;
SELECT name, state, backlog, complete_until FROM kafka.rollups;
SELECT kafka_partition, next_offset, end_offset, messages_behind, behind, note FROM kafka.rollup_lag ORDER BY 1;
SELECT kafka.drop_rollup('watched');
CREATE FOREIGN TABLE plain (p int OPTIONS (partition 'true'), id int) SERVER rollup_watch OPTIONS (topic 'rw_plain');
RESET ROLE;
GRANT SELECT ON plain TO regress_kafka_ann;
SET ROLE regress_kafka_ann;
SELECT kafka.create_rollup('unreadable', 'SELECT p, count(*) AS messages FROM plain GROUP BY p');
REVOKE SELECT ON plain FROM regress_kafka_ann;
SELECT kafka_partition, next_offset, end_offset, note FROM kafka.rollup_lag ORDER BY 1;
GRANT SELECT ON plain TO regress_kafka_ann;
ALTER FOREIGN TABLE plain OPTIONS (SET topic 'rw_missing');
SELECT kafka_partition, next_offset, end_offset, note FROM kafka.rollup_lag ORDER BY 1;
ALTER FOREIGN TABLE plain OPTIONS (SET topic 'rw_plain', partitions '0');
SELECT kafka_partition, next_offset, end_offset, note FROM kafka.rollup_lag ORDER BY 1;

RESET ROLE;
DROP SCHEMA rollup_watch CASCADE;
DELETE FROM kafka.stored_rollup WHERE name = 'unreadable';
DROP SERVER rollup_watch;
DROP VIEW pg_temp.standing;
DROP ROLE regress_kafka_ann;
\! printf '%s\n' 'delete-topic rw_plain' 'delete-topic rw_empty' | feed
