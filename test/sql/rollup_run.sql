--
-- Runs of rollups: what is counted, how far, in which transactions, and with
-- whose rights; what is said of those that fail. rollup_run.feed makes the topics.
--
\getenv brokers KAFKA_BROKERS
SET TimeZone = 'UTC';
SET DateStyle = 'ISO';
CREATE SERVER rollup_run FOREIGN DATA WRAPPER kafka_fdw OPTIONS (brokers :'brokers');
CREATE ROLE regress_kafka_owner;
CREATE ROLE regress_kafka_caller IN ROLE regress_kafka_owner;
CREATE ROLE regress_kafka_other;
GRANT USAGE ON FOREIGN SERVER rollup_run TO regress_kafka_owner;
CREATE SCHEMA rollup_run AUTHORIZATION regress_kafka_owner;
GRANT USAGE ON SCHEMA rollup_run TO regress_kafka_other;
SET search_path = rollup_run, public;

SET ROLE regress_kafka_owner;
CREATE FOREIGN TABLE plain (p int OPTIONS (partition 'true'), o bigint OPTIONS (offset 'true'), id int, k int) SERVER rollup_run OPTIONS (topic 'rr_plain');
CREATE FOREIGN TABLE marked (p int OPTIONS (partition 'true'), o bigint OPTIONS (offset 'true'), id int, k int) SERVER rollup_run OPTIONS (topic 'rr_marked');
CREATE FOREIGN TABLE fault (p int OPTIONS (partition 'true'), o bigint OPTIONS (offset 'true'), id int, k int) SERVER rollup_run OPTIONS (topic 'rr_fault');
SELECT kafka.create_rollup('plain_sums', 'SELECT k, count(*) AS n, sum(id) AS s FROM plain GROUP BY k');
SELECT kafka.create_rollup('marked_sums', 'SELECT k, count(*) AS n, sum(id) AS s FROM marked GROUP BY k');

-- What cannot be.
BEGIN;
CALL kafka.run_rollups();
ROLLBACK;
CREATE FUNCTION runs_within() RETURNS void LANGUAGE plpgsql AS $$ BEGIN CALL kafka.run_rollups(); END $$;
SELECT runs_within();
SET default_transaction_isolation = 'repeatable read';
CALL kafka.run_rollups();
SET default_transaction_isolation = 'serializable';
CALL kafka.run_rollups();
RESET default_transaction_isolation;
SET default_transaction_read_only = on;
CALL kafka.run_rollups();
RESET default_transaction_read_only;
CALL kafka.run_rollups('plain_summs');
CALL kafka.run_rollups(max_rows := 0);
CALL kafka.run_rollups(max_rows := NULL);
CALL kafka.run_rollups(max_time := '-1 s');
CALL kafka.run_rollups(max_time := NULL);
CALL kafka.run_rollups(follow := NULL);
SELECT kafka.seek_rollup('plain_sums', NULL);
SELECT kafka.seek_rollup(NULL, 'infinity'::timestamptz);
SELECT kafka.seek_rollup('plain_sums', NULL::jsonb);
SELECT kafka.seek_rollup('plain_sums', 'infinity', NULL);
CALL kafka.run_rollups(follow := true, max_time := '0 s');
RESET ROLE;
SET kafka_fdw.enable_runs = off;
CALL kafka.run_rollups();
SELECT kafka.seek_rollup('plain_sums', now());
SELECT * FROM kafka.retry_dead_letters('plain_sums');
RESET kafka_fdw.enable_runs;
SET ROLE regress_kafka_other;
CALL kafka.run_rollups('plain_sums');
-- of nobody else's
CALL kafka.run_rollups();
SET ROLE regress_kafka_owner;
SELECT count(*) FROM kafka.rollup_runs;
SELECT * FROM plain_sums;

-- Batch by batch.
CALL kafka.run_rollups('plain_sums', 30);
SELECT * FROM plain_sums ORDER BY k;
SELECT k, count(*), sum(id) FROM plain GROUP BY k ORDER BY k;
SELECT event, messages, rows_selected, dead_letters, duplicates, lost_messages, sqlstate, detail, finished_at >= started_at AS in_order
  FROM kafka.rollup_runs WHERE name = 'plain_sums' ORDER BY run_id;
SELECT sum(bytes) = (SELECT sum(length(format('{"id": %s, "k": %s}', id, k))) FROM plain) AS all_bytes FROM kafka.rollup_runs WHERE name = 'plain_sums';
-- Positions reach the ends, past markers and aborted records.
SELECT name, topic, kafka_partition, next_offset, low_offset, end_offset, messages_behind, lost_messages
  FROM kafka.rollup_lag ORDER BY name, kafka_partition;
CALL kafka.run_rollups();
SELECT * FROM marked_sums ORDER BY k;
SELECT k, count(*), sum(id) FROM marked GROUP BY k ORDER BY k;
SELECT name, topic, kafka_partition, next_offset, low_offset, end_offset, messages_behind, lost_messages
  FROM kafka.rollup_lag ORDER BY name, kafka_partition;
SELECT kafka_partition, next_offset, last_offset FROM kafka.rollup_offsets WHERE name = 'marked_sums' ORDER BY 1;
-- A run that finds nothing leaves nothing.
RESET ROLE;
CREATE TEMP VIEW versions AS SELECT array_agg(v ORDER BY v) AS seen FROM
	(SELECT concat('p', ctid, xmin) FROM kafka.stored_position UNION ALL
	 SELECT concat('r', ctid, xmin) FROM kafka.stored_rollup UNION ALL
	 SELECT concat('u', ctid, xmin) FROM kafka.stored_run) AS x (v);
SELECT seen FROM versions \gset
SET ROLE regress_kafka_owner;
CALL kafka.run_rollups();
RESET ROLE;
SELECT seen = :'seen' AS same FROM versions;
-- What is new only, and the last message before it is not counted again.
\! printf '%s\n' "produce rr_plain partition=1 offset=50 value='{\"id\": 1000, \"k\": 9}'" | feed
CALL kafka.run_rollups('plain_sums');
SELECT * FROM plain_sums WHERE k = 9;
SELECT messages FROM kafka.rollup_runs WHERE name = 'plain_sums' ORDER BY run_id DESC LIMIT 1;

-- After max_time no other batch begins, and what is left is the next run's.
SET ROLE regress_kafka_owner;
SELECT kafka.create_rollup('short_time', 'SELECT count(*) AS n FROM plain WHERE k IS NOT NULL');
CALL kafka.run_rollups('short_time', 10, '0 s');
SELECT messages FROM kafka.rollup_runs WHERE name = 'short_time';
CALL kafka.run_rollups('short_time', 100);
SELECT messages FROM kafka.rollup_runs WHERE name = 'short_time' ORDER BY run_id;
SELECT kafka.drop_rollup('short_time');

-- One that fails keeps no other from running, and is named. Errors that are
-- not the data's leave the positions where they are.
CREATE TABLE threshold (id int, code text);
CREATE FUNCTION may_fail(id int) RETURNS int STABLE LANGUAGE plpgsql AS $$
DECLARE t record;
BEGIN
	SELECT * FROM rollup_run.threshold INTO t;
	IF may_fail.id >= t.id THEN
		RAISE EXCEPTION 'refused' USING ERRCODE = t.code, DETAIL = format('as %s, caller %s', current_user, session_user <> current_user);
	END IF;
	RETURN id;
END $$;
SELECT kafka.create_rollup('may_fail_sums', 'SELECT k, count(*) AS n, sum(may_fail(id)) AS s FROM fault GROUP BY k');
SELECT kafka.create_rollup('fails_as_well', 'SELECT k, count(*) AS n, sum(may_fail(id)) AS s FROM fault GROUP BY k');
INSERT INTO threshold VALUES (25, '58000');
\! printf '%s\n' "produce rr_plain partition=1 offset=51 value='{\"id\": 1001, \"k\": 9}'" | feed
CALL kafka.run_rollups(max_rows := 10);
SELECT name, state, reason FROM kafka.rollups ORDER BY name;
SELECT name, next_offset FROM kafka.rollup_offsets WHERE name IN ('may_fail_sums', 'fails_as_well') ORDER BY 1;
SELECT sum(n), sum(s) FROM may_fail_sums;
SELECT * FROM plain_sums WHERE k = 9;
SELECT kafka.drop_rollup('fails_as_well');
-- The only one's error is told as it is.
CALL kafka.run_rollups();
\echo :LAST_ERROR_SQLSTATE
SELECT event, messages, sqlstate, detail FROM kafka.rollup_runs WHERE name = 'may_fail_sums' ORDER BY run_id;

-- Whoever calls is who he was, after an error at every commit and of every
-- kind: noted, ending the run, the data's.
SET ROLE regress_kafka_caller;
SET search_path = pg_catalog;
SET TimeZone = 'Asia/Seoul';
CREATE FUNCTION pg_temp.me() RETURNS text LANGUAGE sql AS
$$ SELECT concat_ws(' ', current_user, current_setting('search_path'), current_setting('TimeZone'), (SELECT rolsuper FROM pg_roles WHERE rolname = current_user)) $$;
UPDATE rollup_run.threshold SET id = 35;
CALL kafka.run_rollups(max_rows := 10);
SELECT pg_temp.me();
UPDATE rollup_run.threshold SET id = 45, code = '40001';
CALL kafka.run_rollups(max_rows := 10);
SELECT pg_temp.me();
SELECT sum(n), sum(s) FROM rollup_run.may_fail_sums;
SELECT state FROM kafka.rollups WHERE name = 'may_fail_sums';
UPDATE rollup_run.threshold SET id = 55, code = '57014';
CALL kafka.run_rollups(max_rows := 10);
SELECT pg_temp.me();
UPDATE rollup_run.threshold SET id = 58, code = 'P0001';
CALL kafka.run_rollups(max_rows := 10);
SELECT pg_temp.me();
SELECT sum(n), sum(s) FROM rollup_run.may_fail_sums;
SELECT state, reason FROM kafka.rollups WHERE name = 'may_fail_sums';
SELECT kafka_offset, stage, sqlstate, message FROM kafka.dead_letters WHERE rollup = 'may_fail_sums' ORDER BY 1;
DROP FUNCTION pg_temp.me();
SET TimeZone = 'UTC';
SET search_path = rollup_run, public;

-- A query has the owner's rights and no way to others.
SET ROLE regress_kafka_owner;
CREATE FUNCTION escape(id int) RETURNS int STABLE LANGUAGE plpgsql AS $$
BEGIN
	PERFORM set_config('role', 'none', false);
	RETURN id;
END $$;
SELECT kafka.create_rollup('escapes', 'SELECT count(*) AS n, sum(escape(id)) AS s FROM fault');
RESET ROLE;
CALL kafka.run_rollups('escapes');
SELECT current_user = session_user AS still_me;
SET ROLE regress_kafka_owner;
SELECT kafka.drop_rollup('escapes');
-- The owner must be able to read the table himself.
RESET ROLE;
\! printf '%s\n' "produce rr_plain partition=1 offset=52 value='{\"id\": 1002, \"k\": 9}'" | feed
ALTER FOREIGN TABLE plain OWNER TO CURRENT_USER;
CALL kafka.run_rollups('plain_sums');
ALTER FOREIGN TABLE plain OWNER TO regress_kafka_owner;
CALL kafka.run_rollups('plain_sums');
SELECT * FROM plain_sums WHERE k = 9;

-- Not enabled, paused.
SET ROLE regress_kafka_owner;
SELECT kafka.alter_rollup('plain_sums', enabled := false);
CALL kafka.run_rollups('plain_sums');
CALL kafka.run_rollups();
SELECT kafka.alter_rollup('plain_sums', enabled := true);
CALL kafka.run_rollups('plain_sums');

-- What a message was proved to count once by is proved anew, whoever counts.
CREATE TABLE names (k int, name text);
CREATE UNIQUE INDEX names_k ON names (k);
INSERT INTO names SELECT k, 'n' || k FROM generate_series(0, 3) AS k;
SELECT kafka.create_rollup('joined', 'SELECT name, count(*) AS n FROM fault LEFT JOIN names USING (k) GROUP BY 1') \g /dev/null
DROP INDEX names_k;
INSERT INTO names SELECT * FROM names;
CALL kafka.run_rollups('joined');
SELECT state, reason FROM kafka.rollups WHERE name = 'joined';
SELECT count(*) FROM joined;
SELECT * FROM kafka.retry_dead_letters('joined');
TRUNCATE names;
INSERT INTO names SELECT k, 'n' || k FROM generate_series(0, 3) AS k;
CREATE UNIQUE INDEX names_k ON names (k);
CREATE TABLE more_names () INHERITS (names);
INSERT INTO more_names SELECT * FROM names;
CALL kafka.run_rollups('joined');
DROP TABLE more_names;
CALL kafka.run_rollups('joined');
SELECT sum(n), count(*) FROM joined;
SELECT state FROM kafka.rollups WHERE name = 'joined';
SELECT kafka.drop_rollup('joined');

-- A crash would empty it.
SELECT kafka.create_rollup('unlogged', 'SELECT count(*) AS n FROM fault') \g /dev/null
ALTER TABLE _unlogged_g1 SET UNLOGGED;
CALL kafka.run_rollups('unlogged');
SELECT state, reason FROM kafka.rollups WHERE name = 'unlogged';
ALTER TABLE _unlogged_g1 SET LOGGED;
CALL kafka.run_rollups('unlogged');
SELECT * FROM unlogged;
SELECT kafka.drop_rollup('unlogged');

-- DDL that changes nothing of what is read does not make a run begin anew: it
-- ends where the topic ended when it began, and not after what came since.
RESET ROLE;
ALTER SERVER rollup_run OPTIONS (ADD fetch_timeout '30s');
CREATE FUNCTION alter_and_feed() RETURNS void VOLATILE LANGUAGE plpgsql AS $$
BEGIN
	ALTER SERVER rollup_run OPTIONS (SET fetch_timeout '30s');
	COPY (SELECT $f$produce rr_grows value='{"id": 40}'$f$) TO PROGRAM 'feed';
END $$;
CREATE FUNCTION disturb(id int) RETURNS int STABLE LANGUAGE plpgsql AS $$
BEGIN
	IF id = 5 THEN
		PERFORM rollup_run.alter_and_feed();
	END IF;
	RETURN id;
END $$;
CREATE FOREIGN TABLE grows (id int) SERVER rollup_run OPTIONS (topic 'rr_grows');
SELECT kafka.create_rollup('undisturbed', 'SELECT count(*) AS n, sum(disturb(id)) AS s FROM grows') \g /dev/null
CALL kafka.run_rollups('undisturbed', 10);
SELECT * FROM undisturbed;
SELECT next_offset, end_offset > next_offset AS more FROM kafka.rollup_lag WHERE name = 'undisturbed';
CALL kafka.run_rollups('undisturbed', 10);
SELECT * FROM undisturbed;
SELECT kafka.drop_rollup('undisturbed');
ALTER SERVER rollup_run OPTIONS (DROP fetch_timeout);

-- A batch has so many bytes of memory, also where messages have none.
CREATE FOREIGN TABLE empty (v bytea) SERVER rollup_run OPTIONS (topic 'rr_empty', format 'raw');
SELECT kafka.create_rollup('emptiness', 'SELECT count(*) AS n FROM empty') \g /dev/null
CALL kafka.run_rollups('emptiness', 10000000);
SELECT * FROM emptiness;
SELECT count(*) > 1 AS several, sum(messages), max(messages) * 80 < 64 * 1024 * 1024 AS small FROM kafka.rollup_runs WHERE name = 'emptiness';
SELECT kafka.drop_rollup('emptiness');

-- A broker that is not there: an error, and a view that tells what it can.
RESET ROLE;
ALTER SERVER rollup_run OPTIONS (SET brokers 'localhost:1', ADD connect_timeout '1s');
\set VERBOSITY sqlstate
CALL kafka.run_rollups('plain_sums');
\set VERBOSITY default
SELECT state, reason LIKE 'could not connect to Kafka server "rollup_run"%' AS says_why FROM kafka.rollups WHERE name = 'plain_sums';
SET statement_timeout = '4s';
SELECT name, topic, kafka_partition, next_offset, low_offset, end_offset, messages_behind, lost_messages
  FROM kafka.rollup_lag ORDER BY name, kafka_partition;
RESET statement_timeout;
ALTER SERVER rollup_run OPTIONS (SET brokers :'brokers', DROP connect_timeout);
CALL kafka.run_rollups('plain_sums');
SELECT state, reason FROM kafka.rollups WHERE name = 'plain_sums';

-- A copy of the database.
UPDATE kafka.stored_rollup SET system_identifier = 1 WHERE name = 'plain_sums';
\set VERBOSITY terse
CALL kafka.run_rollups('plain_sums');
SELECT state FROM kafka.stored_rollup WHERE name = 'plain_sums';
SELECT kafka.seek_rollup('plain_sums', offsets := '{}', accept_loss := true);
\set VERBOSITY default
SELECT kafka.take_over('plain_sums');
CALL kafka.run_rollups('plain_sums');

SELECT kafka.drop_rollup(name) FROM kafka.rollups WHERE name IN ('plain_sums', 'marked_sums', 'may_fail_sums');
DROP SCHEMA rollup_run CASCADE;
DROP SERVER rollup_run CASCADE;
DROP ROLE regress_kafka_owner, regress_kafka_caller, regress_kafka_other;
