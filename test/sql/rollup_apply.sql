--
-- What becomes of a batch: which messages count, which are put aside, and that
-- the user's code runs as the owner. rollup_apply.feed makes the topics.
--
\getenv brokers KAFKA_BROKERS
SET TimeZone = 'UTC';
SET DateStyle = 'ISO';
CREATE SERVER rollup_apply FOREIGN DATA WRAPPER kafka_fdw OPTIONS (brokers :'brokers');
CREATE SCHEMA rollup_apply;
SET search_path = rollup_apply, public;

CREATE FOREIGN TABLE checks (
    o bigint OPTIONS (offset 'true'),
    ts timestamptz OPTIONS (timestamp 'true'),
    k text,
    v int,
    id text
) SERVER rollup_apply OPTIONS (topic 'rollup_apply_checks');
CREATE FOREIGN TABLE parts (
    o bigint OPTIONS (offset 'true'),
    ts timestamptz OPTIONS (timestamp 'true'),
    k text,
    v int,
    d int
) SERVER rollup_apply OPTIONS (topic 'rollup_apply_parts');

-- What a run left, in a form that does not depend on when it was
CREATE FUNCTION show_letters(rollup_name text)
RETURNS TABLE (kafka_offset bigint, stage text, sqlstate text, message text, status text)
LANGUAGE SQL AS $$
    SELECT d.kafka_offset, d.stage, d.sqlstate,
           regexp_replace(d.message, 'after .*, when it was read', 'after now'), d.status
      FROM kafka.dead_letters d WHERE d.rollup = rollup_name ORDER BY d.kafka_offset
$$;
CREATE FUNCTION show_runs(rollup_name text)
RETURNS TABLE (event text, messages bigint, rows_selected bigint, groups bigint,
               dead_letters bigint, duplicates bigint, sqlstate text, detail text)
LANGUAGE SQL AS $$
    SELECT r.event, r.messages, r.rows_selected, r.groups, r.dead_letters, r.duplicates,
           r.sqlstate, r.detail
      FROM kafka.rollup_runs r WHERE r.name = rollup_name ORDER BY r.run_id
$$;

--
-- Checks: the bad v of offset 7 makes nothing after it late, nor does the time
-- of offset 10; offset 5 counts for key 4, since offsets 3 and 4 are bad, and
-- offset 6 repeats it; key 1 counts again after two hours.
--
SELECT kafka.create_rollup('checked', $$
    SELECT date_bin('10 min', ts, '2000-01-01') AS bucket, k, count(*) AS n,
           sum(v) AS total, sum(10 / v) AS quotients
      FROM checks GROUP BY 1, 2 $$,
    expect := 'v < 1000', late_limit := '1 hour', future_limit := '1 day',
    options := '{"unique_key": "id", "unique_within": "1 hour"}');
CALL kafka.run_rollups('checked');
SELECT * FROM checked ORDER BY bucket, k;
SELECT * FROM show_letters('checked');
SELECT * FROM show_runs('checked');
SELECT next_offset, newest FROM kafka.rollup_offsets WHERE name = 'checked';
-- Of what this batch has counted nothing is forgotten yet
SELECT count(*), min(seen_at), max(seen_at) FROM kafka.stored_key k
    JOIN kafka.stored_rollup r USING (rollup_id) WHERE r.name = 'checked';

-- Of batches of one message each comes the same
SELECT kafka.create_rollup('checked_singly', $$
    SELECT date_bin('10 min', ts, '2000-01-01') AS bucket, k, count(*) AS n,
           sum(v) AS total, sum(10 / v) AS quotients
      FROM checks GROUP BY 1, 2 $$,
    expect := 'v < 1000', late_limit := '1 hour', future_limit := '1 day',
    options := '{"unique_key": "id", "unique_within": "1 hour"}');
CALL kafka.run_rollups('checked_singly', max_rows := 1);
SELECT count(*) AS batches, sum(duplicates) AS duplicates FROM show_runs('checked_singly');
SELECT * FROM checked EXCEPT ALL SELECT * FROM checked_singly;
SELECT * FROM checked_singly EXCEPT ALL SELECT * FROM checked;
-- and the same dead letters
SELECT * FROM show_letters('checked') EXCEPT ALL SELECT * FROM show_letters('checked_singly');
SELECT * FROM show_letters('checked_singly') EXCEPT ALL SELECT * FROM show_letters('checked');

--
-- Messages for which the query raises an error, at both ends and in the midst
--
SELECT kafka.create_rollup('divided', $$
    SELECT k, count(*) AS n, sum(v / d) AS total FROM parts GROUP BY k $$);
CALL kafka.run_rollups('divided');
SELECT * FROM divided ORDER BY k;
SELECT kafka_offset, stage, sqlstate, message FROM show_letters('divided');
SELECT * FROM show_runs('divided');

-- The same when a plan reads all messages before it computes with any
CREATE TABLE big AS SELECT 'k' || n AS k, n FROM generate_series(0, 9999) n;
ALTER TABLE big ADD PRIMARY KEY (k);
ANALYZE big;
SET enable_nestloop = off;
SET enable_mergejoin = off;
SET client_min_messages = warning;
SELECT kafka.create_rollup('joined', $$
    SELECT parts.k, count(*) AS n, sum(v / d + big.n * 0) AS total
      FROM parts LEFT JOIN big ON big.k = parts.k GROUP BY 1 $$);
RESET client_min_messages;
CALL kafka.run_rollups('joined');
RESET enable_nestloop;
RESET enable_mergejoin;
SELECT * FROM joined ORDER BY k;
SELECT kafka_offset, stage, sqlstate, message FROM show_letters('joined');
-- Halves were tried: more groups were merged than four parts between the bad ones have
SELECT rows_selected, groups > 8 AS halved FROM show_runs('joined');

-- Errors of the merge: whatever makes a group larger than four does not fit
SELECT kafka.create_rollup('limited', 'SELECT k, count(*) AS n FROM parts GROUP BY k');
ALTER TABLE _limited_g1 ADD CONSTRAINT few CHECK (n <= 4);
CALL kafka.run_rollups('limited');
SELECT * FROM limited ORDER BY k;
SELECT count(*), min(sqlstate), min(message) FROM show_letters('limited');

--
-- Too many bad messages: nothing is stored, and positions stand
--
CREATE FOREIGN TABLE flood (k text, v int, d int, ts timestamptz OPTIONS (timestamp 'true'))
    SERVER rollup_apply OPTIONS (topic 'rollup_apply_flood');
SELECT kafka.create_rollup('flooded', $$
    SELECT k, count(*) AS n, sum(v / d) AS total FROM flood GROUP BY k $$);
\set VERBOSITY sqlstate
CALL kafka.run_rollups('flooded');
\set VERBOSITY default
SELECT state, substring(reason FROM '^[^.]*\.') FROM kafka.rollups WHERE name = 'flooded';
SELECT count(*) FROM flooded;
SELECT count(*) FROM show_letters('flooded');
SELECT next_offset FROM kafka.rollup_offsets WHERE name = 'flooded';
SELECT kafka.alter_rollup('flooded', enabled := true, options := '{"error_limit": 0.505}');
CALL kafka.run_rollups('flooded');
SELECT state, reason FROM kafka.rollups WHERE name = 'flooded';
SELECT * FROM flooded ORDER BY k;
SELECT stage, count(*) FROM show_letters('flooded') GROUP BY stage ORDER BY stage;

--
-- Whose rights: functions are declared immutable that are not, as a user with
-- bad intentions would do.
--
CREATE ROLE rollup_apply_owner;
CREATE ROLE rollup_apply_runner IN ROLE rollup_apply_owner;
GRANT ALL ON SCHEMA rollup_apply TO rollup_apply_owner;
GRANT SELECT ON parts TO rollup_apply_owner;
SET ROLE rollup_apply_owner;
CREATE TABLE seen (what text, who name);
CREATE FUNCTION whoami(text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS
    $$ BEGIN RETURN current_user; END $$;
CREATE FUNCTION tell() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN INSERT INTO seen VALUES (TG_ARGV[0], current_user); RETURN NULL; END $$;
SELECT kafka.create_rollup('owned', 'SELECT whoami(k) AS who, count(*) AS n FROM parts GROUP BY 1');
CREATE TRIGGER tell AFTER INSERT ON _owned_g1 FOR EACH ROW EXECUTE FUNCTION tell('at once');
CREATE CONSTRAINT TRIGGER tell_later AFTER INSERT ON _owned_g1
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION tell('deferred');
RESET ROLE;
CALL kafka.run_rollups('owned');
SELECT * FROM owned;
SELECT * FROM seen ORDER BY what;
SELECT current_user = session_user;

-- Errors that are not the data's leave nothing behind, and nobody else in charge
SET ROLE rollup_apply_owner;
CREATE OR REPLACE FUNCTION whoami(text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS
    $$ BEGIN PERFORM set_config('role', 'none', false); RETURN current_user; END $$;
SELECT kafka.create_rollup('escaping', 'SELECT whoami(k) AS who, count(*) AS n FROM parts GROUP BY 1');
RESET ROLE;
\set VERBOSITY sqlstate
CALL kafka.run_rollups('escaping');
\set VERBOSITY default
SELECT current_user = session_user;
SELECT count(*) FROM escaping;
SELECT event, messages, sqlstate, detail FROM show_runs('escaping');
SELECT next_offset FROM kafka.rollup_offsets WHERE name = 'escaping';

-- An error before any message is read is nobody's fault among them
CREATE FUNCTION fail() RETURNS int LANGUAGE plpgsql STABLE AS
    $$ BEGIN RAISE 'not today'; END $$;
CREATE TABLE few (k text PRIMARY KEY, n int);
INSERT INTO few VALUES ('k0', 0), ('k1', 1);
SET client_min_messages = warning;
SELECT kafka.create_rollup('before', $$
    SELECT few.n, count(*) AS m FROM parts JOIN few ON few.k = parts.k AND few.n >= fail()
     GROUP BY 1 $$);
RESET client_min_messages;
SET enable_nestloop = off;
SET enable_mergejoin = off;
\set VERBOSITY sqlstate
CALL kafka.run_rollups('before');
\set VERBOSITY default
RESET enable_nestloop;
RESET enable_mergejoin;
SELECT count(*) FROM show_letters('before');
SELECT state, reason FROM kafka.rollups WHERE name = 'before';

\set VERBOSITY terse
SET client_min_messages = warning;
SELECT kafka.drop_rollup(name) FROM kafka.rollups ORDER BY name;
SELECT count(*) FROM kafka.stored_key;
SELECT count(*) FROM kafka.stored_dead_letter;
DROP SCHEMA rollup_apply CASCADE;
DROP SERVER rollup_apply;
DROP ROLE rollup_apply_runner, rollup_apply_owner;
