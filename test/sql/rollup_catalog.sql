--
-- What is kept of rollups: options, who sees and changes what, drop_rollup,
-- take_over. rollup_catalog.feed makes the topic.
--
\getenv brokers KAFKA_BROKERS
SET TimeZone = 'UTC';
SET DateStyle = 'ISO';
CREATE SERVER rollup_catalog FOREIGN DATA WRAPPER kafka_fdw OPTIONS (brokers :'brokers');
CREATE ROLE regress_kafka_ann;
CREATE ROLE regress_kafka_bob;
CREATE ROLE regress_kafka_anns IN ROLE regress_kafka_ann;
CREATE ROLE regress_kafka_reader IN ROLE pg_read_all_data;
GRANT USAGE ON FOREIGN SERVER rollup_catalog TO regress_kafka_ann;
CREATE SCHEMA rollup_catalog AUTHORIZATION regress_kafka_ann;
SET search_path = rollup_catalog;

SET ROLE regress_kafka_ann;
CREATE FOREIGN TABLE t (
    ts timestamptz OPTIONS (timestamp 'true'), kind text, n int,
    headers jsonb OPTIONS (headers 'true')
) SERVER rollup_catalog OPTIONS (topic 'rollup-catalog');
SELECT kafka.create_rollup('by_kind', $$
	SELECT kind, count(*) AS messages, sum(n) AS total FROM t GROUP BY kind $$);
CALL kafka.run_rollups('by_kind');
SELECT * FROM by_kind ORDER BY kind;

--
-- Views
--
SELECT name, relation, source, state, reason, enabled, options, bucket_column,
       late_limit, future_limit, last_run IS NOT NULL AS ran, last_error
  FROM kafka.rollups;
SELECT name, topic, kafka_partition, next_offset, last_offset, lost_messages FROM kafka.rollup_offsets;
SELECT name, event, messages, rows_selected, groups, dead_letters, duplicates, sqlstate
  FROM kafka.rollup_runs ORDER BY run_id;
SELECT rollup, topic, kafka_partition, kafka_offset, timestamp, timestamp_type,
       convert_from(key, 'UTF8') AS key, convert_from(value, 'UTF8') AS value, headers,
       stage, sqlstate, attempts, status, retry_at > created_at AS to_be_retried
  FROM kafka.dead_letters;
-- headers are those that the foreign table shows
SELECT d.headers = t.headers AS same
  FROM kafka.dead_letters AS d JOIN t ON t.ts = d.timestamp;
-- packed headers from anybody are taken for what they are
SELECT headers, kafka.unpack_headers(headers) FROM (VALUES
  (NULL::bytea), (''), ('\x00'), ('\x7fffffff'), ('\xffffffff00000000'),
  ('\x00000001610000000178'), ('\x0000000161ffffffff'), ('\x00000001610000000179ff'),
  ('\x0000000161000000017800000001610000000179')) AS v(headers);

-- A member of the owner sees the same, members of pg_read_all_data see all, others nothing.
SET ROLE regress_kafka_anns;
SELECT (SELECT count(*) FROM kafka.rollups) AS rollups, (SELECT count(*) FROM kafka.rollup_offsets) AS offsets,
       (SELECT count(*) FROM kafka.rollup_runs) AS runs, (SELECT count(*) FROM kafka.dead_letters) AS dead_letters;
SET ROLE regress_kafka_reader;
SELECT (SELECT count(*) FROM kafka.rollups) AS rollups, (SELECT count(*) FROM kafka.rollup_offsets) AS offsets,
       (SELECT count(*) FROM kafka.rollup_runs) AS runs, (SELECT count(*) FROM kafka.dead_letters) AS dead_letters;
SET ROLE regress_kafka_bob;
SELECT (SELECT count(*) FROM kafka.rollups) AS rollups, (SELECT count(*) FROM kafka.rollup_offsets) AS offsets,
       (SELECT count(*) FROM kafka.rollup_runs) AS runs, (SELECT count(*) FROM kafka.dead_letters) AS dead_letters;
-- A function that tells what it sees, and is cheap, sees nothing either.
CREATE FUNCTION pg_temp.leak(value anyelement) RETURNS boolean LANGUAGE plpgsql COST 0.0000001 AS $$
BEGIN
	RAISE NOTICE 'leak: %', value;
	RETURN true;
END $$;
SELECT name FROM kafka.rollups WHERE pg_temp.leak(name);
SELECT id FROM kafka.dead_letters WHERE pg_temp.leak(value);
SELECT run_id FROM kafka.rollup_runs WHERE pg_temp.leak(event);
SELECT topic FROM kafka.rollup_offsets WHERE pg_temp.leak(topic);
DROP FUNCTION pg_temp.leak;
-- Nobody but the extension's owner has rights on what is below.
SET ROLE regress_kafka_ann;
SELECT * FROM kafka.stored_rollup;
UPDATE kafka.rollups SET state = 'RUNNING';
RESET ROLE;
SELECT relname, has_table_privilege('regress_kafka_ann', c.oid, 'SELECT') AS reads,
       has_table_privilege('regress_kafka_ann', c.oid, 'INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER') AS more
  FROM pg_class AS c
 WHERE relnamespace = 'kafka'::regnamespace AND relkind IN ('r', 'v', 'S') ORDER BY 1;
-- All of it is dumped, but for the aggregates that come with the extension.
SELECT c.relname, condition
  FROM pg_extension AS e, unnest(extconfig, extcondition) AS u(oid, condition)
  JOIN pg_class AS c USING (oid)
 WHERE extname = 'kafka_fdw' ORDER BY 1;
SELECT relname FROM pg_class, pg_extension
 WHERE extname = 'kafka_fdw' AND relnamespace = 'kafka'::regnamespace AND relkind IN ('r', 'S')
   AND pg_class.oid <> ALL (extconfig);

--
-- alter_rollup
--
SET ROLE regress_kafka_bob;
SELECT kafka.alter_rollup('by_kind', enabled => false);
SET ROLE regress_kafka_reader;
SELECT kafka.alter_rollup('by_kind', enabled => false);
SET ROLE regress_kafka_anns;
SELECT kafka.alter_rollup('by_kind', enabled => false);
SELECT state, reason, enabled FROM kafka.rollups;
CALL kafka.run_rollups('by_kind');
SELECT kafka.alter_rollup('by_kind', enabled => true);
SELECT state, reason, enabled FROM kafka.rollups;
SELECT kafka.alter_rollup('by_kind', schedule => '* * * * *');
SELECT kafka.alter_rollup(NULL, true);
-- names: as they are, as identifiers, with the schema where the relation is
SELECT kafka.alter_rollup('BY_KIND'), kafka.alter_rollup('rollup_catalog.by_kind'), kafka.alter_rollup('"by_kind"');
SELECT kafka.alter_rollup('public.by_kind');
SELECT kafka.alter_rollup('"BY_KIND"');
SELECT kafka.alter_rollup('by_kimd');
SELECT kafka.alter_rollup('a.b.c');
SELECT kafka.alter_rollup('"');
-- one's own rollups only are proposed
SET ROLE regress_kafka_bob;
SELECT kafka.alter_rollup('by_kimd');
SET ROLE regress_kafka_ann;

-- options: put over those there are, null takes away
SELECT kafka.alter_rollup('by_kind', options => '{"retry_limit": 5, "retry_delay": "2 min", "on_loss": "continue"}');
SELECT kafka.alter_rollup('by_kind', options => '{"retry_limit": 0, "on_loss": null, "error_limit": 1}');
SELECT options FROM kafka.rollups;
SELECT kafka.alter_rollup('by_kind', options => '{"retry_limt": null}');
SELECT kafka.alter_rollup('by_kind', options => '{"colour": "blue"}');
SELECT kafka.alter_rollup('by_kind', options => '["retry_limit"]');
SELECT kafka.alter_rollup('by_kind', options => '"retry_limit"');
SELECT kafka.alter_rollup('by_kind', options => '{"retry_limit": 1.5}');
SELECT kafka.alter_rollup('by_kind', options => '{"retry_limit": -1}');
SELECT kafka.alter_rollup('by_kind', options => '{"retry_limit": 2147483648}');
SELECT kafka.alter_rollup('by_kind', options => '{"retry_limit": "3"}');
SELECT kafka.alter_rollup('by_kind', options => '{"retry_limit": [3]}');
SELECT kafka.alter_rollup('by_kind', options => '{"retry_delay": 60}');
SELECT kafka.alter_rollup('by_kind', options => '{"retry_delay": "1 month"}');
SELECT kafka.alter_rollup('by_kind', options => '{"retry_delay": "-1 s"}');
SELECT kafka.alter_rollup('by_kind', options => '{"retry_delay": "soon"}');
SELECT kafka.alter_rollup('by_kind', options => '{"error_limit": 1.01}');
SELECT kafka.alter_rollup('by_kind', options => '{"error_limit": true}');
SELECT kafka.alter_rollup('by_kind', options => '{"on_loss": "stop"}');
SELECT kafka.alter_rollup('by_kind', options => '{"unique_key": "n"}');
SELECT kafka.alter_rollup('by_kind', options => '{"unique_within": "1 day"}');
SELECT kafka.alter_rollup('by_kind', options => '{"unique_key": " ", "unique_within": "1 day"}');
SELECT kafka.alter_rollup('by_kind', options => '{"unique_key": "n", "unique_within": "0"}');
SELECT kafka.alter_rollup('by_kind', options => '{"unique_key": "n", "unique_within": "1 day"}');
-- nothing of all that was stored
SELECT options FROM kafka.rollups;
-- a key that was there may be given again, as it was
SELECT kafka.create_rollup('keyed', 'SELECT kind, count(*) AS messages FROM t GROUP BY kind',
                           options => '{"unique_key": "n", "unique_within": "1 day"}');
SELECT kafka.alter_rollup('keyed', options => '{"unique_key": "n", "retry_limit": 1}');
SELECT kafka.alter_rollup('keyed', options => '{"unique_within": "2 days"}');
SELECT kafka.alter_rollup('keyed', options => '{"unique_key": null, "unique_within": null}');
SELECT name, options FROM kafka.rollups ORDER BY 1;

-- An error below leaves user and settings as they were, at the top and in a block.
RESET ROLE;
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'refused by a trigger of %', current_user; END $$;
CREATE TRIGGER refuse BEFORE UPDATE ON kafka.stored_rollup FOR EACH ROW EXECUTE FUNCTION refuse();
SET ROLE regress_kafka_ann;
BEGIN;
SAVEPOINT s;
SELECT kafka.alter_rollup('by_kind', enabled => false);
ROLLBACK TO s;
SELECT current_user, current_setting('search_path');
SELECT count(*) FROM kafka.stored_rollup;
ROLLBACK;
DO $$
BEGIN
	PERFORM kafka.alter_rollup('by_kind', enabled => false);
EXCEPTION WHEN OTHERS THEN
	RAISE NOTICE '%: % %', sqlerrm, current_user, current_setting('search_path');
END $$;
RESET ROLE;
DROP TRIGGER refuse ON kafka.stored_rollup;
DROP FUNCTION refuse;
SET ROLE regress_kafka_ann;
-- Names there mean what they mean to the extension, whatever they mean here.
CREATE TEMP TABLE stored_rollup (rollup_id int);
CREATE FUNCTION evil(int, int) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
	RAISE NOTICE 'evil as %', current_user;
	RETURN true;
END $$;
CREATE OPERATOR = (LEFTARG = int, RIGHTARG = int, FUNCTION = evil);
SET search_path = pg_temp, rollup_catalog, pg_catalog;
SELECT 1 = 2;
SELECT kafka.alter_rollup('by_kind', enabled => false), kafka.alter_rollup('by_kind', enabled => true);
SET search_path = rollup_catalog;
DROP FUNCTION evil CASCADE;
DROP TABLE pg_temp.stored_rollup;

-- A halt stays whatever is enabled.
RESET ROLE;
UPDATE kafka.stored_rollup SET state = 'HALTED', reason = 'messages are gone' WHERE name = 'keyed';
SET ROLE regress_kafka_ann;
SELECT kafka.alter_rollup('keyed', enabled => false);
SELECT kafka.alter_rollup('keyed', enabled => true);
SELECT state, reason, enabled FROM kafka.rollups WHERE name = 'keyed';

--
-- take_over
--
SELECT kafka.take_over('by_kind'), kafka.take_over();
SET ROLE regress_kafka_bob;
SELECT kafka.take_over('by_kind');
SELECT kafka.take_over();
RESET ROLE;
UPDATE kafka.stored_rollup SET database_id = 1 WHERE name = 'by_kind';
UPDATE kafka.stored_rollup SET system_identifier = 1, state = 'PAUSED' WHERE name = 'keyed';
SET ROLE regress_kafka_bob;
SELECT kafka.take_over();
SET ROLE regress_kafka_ann;
SELECT name, state, reason FROM kafka.rollups ORDER BY 1;
CALL kafka.run_rollups('by_kind');
SELECT kafka.take_over('by_kind');
SELECT name, state FROM kafka.rollups ORDER BY 1;
CALL kafka.run_rollups('by_kind');
SELECT kafka.take_over();
-- it had been paused
SELECT name, state FROM kafka.rollups ORDER BY 1;
SELECT name, event, regexp_replace(detail, '\d{2,}', '...', 'g') AS detail
  FROM kafka.rollup_runs WHERE event = 'take over' ORDER BY run_id;

--
-- drop_rollup
--
CREATE VIEW dependent AS SELECT kind FROM by_kind;
SET ROLE regress_kafka_bob;
SELECT kafka.drop_rollup('by_kind', cascade => true);
SET ROLE regress_kafka_anns;
\set VERBOSITY terse
SELECT kafka.drop_rollup('by_kind');
\set VERBOSITY default
SELECT name FROM kafka.rollups ORDER BY 1;
BEGIN;
SELECT kafka.drop_rollup('by_kind', cascade => true);
SELECT name FROM kafka.rollups ORDER BY 1;
ROLLBACK;
DROP VIEW dependent;
SELECT kafka.drop_rollup('by_kind');
SELECT name FROM kafka.rollups ORDER BY 1;
SELECT relname FROM pg_class WHERE relnamespace = 'rollup_catalog'::regnamespace AND relname LIKE '%by\_kind%';
SELECT (SELECT count(*) FROM kafka.rollup_offsets WHERE name = 'by_kind') AS offsets,
       (SELECT count(*) FROM kafka.rollup_runs WHERE name = 'by_kind') AS runs,
       (SELECT count(*) FROM kafka.dead_letters WHERE rollup = 'by_kind') AS dead_letters;
SELECT kafka.drop_rollup('by_kind');
SELECT kafka.drop_rollup('by_kind', if_exists => true);
SELECT kafka.drop_rollup(NULL);
-- What somebody has dropped by hand is no obstacle, and it stays its owner's.
DROP VIEW keyed;
SELECT name, relation::text = 'keyed' AS is_there FROM kafka.rollups;
SET ROLE regress_kafka_bob;
SELECT kafka.drop_rollup('keyed');
SET ROLE regress_kafka_ann;
SELECT kafka.drop_rollup('keyed');
SELECT name FROM kafka.rollups;
SELECT relname FROM pg_class WHERE relnamespace = 'rollup_catalog'::regnamespace AND relname LIKE '%keyed%';

-- A rollup is its view's owner's, who has to have the rest of it, too.
SELECT kafka.create_rollup('given', 'SELECT count(*) AS messages FROM t', expect := 'n > 0');
GRANT SELECT ON t TO regress_kafka_bob;
GRANT ALL ON SCHEMA rollup_catalog TO regress_kafka_bob;
RESET ROLE;
ALTER VIEW given OWNER TO regress_kafka_bob;
CALL kafka.run_rollups('given');
SELECT state, reason FROM kafka.rollups WHERE name = 'given';
SET ROLE regress_kafka_bob;
SELECT * FROM kafka.retry_dead_letters('given');
SELECT kafka.drop_rollup('given');
RESET ROLE;
ALTER TABLE _given_g1 OWNER TO regress_kafka_bob;
ALTER VIEW _given_def OWNER TO regress_kafka_bob;
\set VERBOSITY terse
CALL kafka.run_rollups('given');
\set VERBOSITY default
ALTER VIEW _given_states OWNER TO regress_kafka_bob;
ALTER VIEW _given_checks OWNER TO regress_kafka_bob;
ALTER VIEW given_live OWNER TO regress_kafka_bob;
SET ROLE regress_kafka_bob;
CALL kafka.run_rollups('given');
SELECT state, reason FROM kafka.rollups WHERE name = 'given';
SELECT * FROM given;
SELECT kafka.drop_rollup('given');
SET ROLE regress_kafka_ann;

-- Ordinary roles cannot let rollups run where they are turned off.
SET kafka_fdw.enable_runs = on;
RESET ROLE;
SET kafka_fdw.enable_runs = off;
CALL kafka.run_rollups();
RESET kafka_fdw.enable_runs;

DROP SCHEMA rollup_catalog CASCADE;
DROP SERVER rollup_catalog;
DROP ROLE regress_kafka_anns, regress_kafka_reader, regress_kafka_bob, regress_kafka_ann;
