--
-- Whose fault an error is: a message's, which becomes a dead letter, or the
-- rollup's, which fails until that is mended; and what finding out costs.
-- rollup_faults.feed makes the topics.
--
\getenv brokers KAFKA_BROKERS
SET kafka_fdw.progress_interval = 0;
SET TimeZone = 'UTC';
SET DateStyle = 'ISO';
CREATE SERVER rollup_faults FOREIGN DATA WRAPPER kafka_fdw OPTIONS (brokers :'brokers');
CREATE SCHEMA rollup_faults;
SET search_path = rollup_faults, public;
CREATE FOREIGN TABLE kinds (id int, kind text) SERVER rollup_faults OPTIONS (topic 'rollup_faults');
CREATE FOREIGN TABLE many (id int, kind text) SERVER rollup_faults OPTIONS (topic 'rollup_faults_many');

CREATE FUNCTION descend(int) RETURNS int LANGUAGE plpgsql STABLE AS
    $$ BEGIN RETURN rollup_faults.descend($1 + 1); END $$;
CREATE FUNCTION choose(kind text) RETURNS int LANGUAGE plpgsql STABLE AS $$
BEGIN
    CASE kind
        WHEN 'good' THEN RETURN 1;
        WHEN 'data' THEN RETURN 1 / (length(kind) - 4);
        WHEN 'feature' THEN RETURN 'NaN'::numeric::int;
        WHEN 'syntax' THEN RETURN length(('(a & ' || kind)::tsquery::text);
        WHEN 'depth' THEN RETURN rollup_faults.descend(0);
        WHEN 'routine' THEN RAISE 'external' USING ERRCODE = '38000';
    END CASE;
END $$;
CREATE FUNCTION show_letters(rollup_name text)
RETURNS TABLE (kafka_offset bigint, stage text, sqlstate text, status text, attempts int)
LANGUAGE SQL AS $$
    SELECT d.kafka_offset, d.stage, d.sqlstate, d.status, d.attempts
      FROM kafka.dead_letters d WHERE d.rollup = rollup_name ORDER BY d.kafka_offset
$$;

--
-- A message that alone raises an error, whatever its code, stops nothing: in
-- the query, in expect, and in the merge, when all messages have been read
--
SELECT kafka.create_rollup('chosen', 'SELECT count(*) AS n, sum(choose(kind)) AS total FROM kinds');
CALL kafka.run_rollups('chosen');
SELECT * FROM chosen;
SELECT * FROM show_letters('chosen');
SELECT next_offset FROM kafka.rollup_offsets WHERE name = 'chosen';
SELECT kafka.create_rollup('expected', 'SELECT count(*) AS n FROM kinds', expect := 'choose(kind) = 1');
CALL kafka.run_rollups('expected');
SELECT * FROM expected;
SELECT * FROM show_letters('expected');
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.kind = 'syntax' THEN
        RAISE 'unwanted' USING ERRCODE = '38000';
    END IF;
    RETURN NEW;
END $$;
SELECT kafka.create_rollup('merged', 'SELECT kind, count(*) AS n FROM kinds GROUP BY kind');
CREATE TRIGGER refuse BEFORE INSERT ON _merged_g1 FOR EACH ROW EXECUTE FUNCTION refuse();
CALL kafka.run_rollups('merged');
SELECT * FROM merged ORDER BY kind;
SELECT * FROM show_letters('merged');
-- A retry that fails is an attempt, though nothing else is in the batch
SELECT * FROM kafka.retry_dead_letters('chosen');
SELECT kafka_offset, attempts FROM show_letters('chosen');

--
-- What all messages raise is the rollup's: it fails, and goes on when that is mended
--
CREATE FUNCTION look_up(int) RETURNS int LANGUAGE plpgsql STABLE AS
    $$ BEGIN RETURN (SELECT n + $1 * 0 FROM rollup_faults.missing); END $$;
SELECT kafka.create_rollup('looked', 'SELECT count(*) AS n, sum(look_up(id)) AS total FROM many');
\set VERBOSITY terse
CALL kafka.run_rollups('looked');
\set VERBOSITY default
SELECT state, reason FROM kafka.rollups WHERE name = 'looked';
SELECT count(*) FROM show_letters('looked');
SELECT next_offset FROM kafka.rollup_offsets WHERE name = 'looked';
CREATE TABLE missing AS SELECT 2 AS n;
CALL kafka.run_rollups('looked');
SELECT * FROM looked;
SELECT state FROM kafka.rollups WHERE name = 'looked';
-- with the code of a data error it is a flood of bad messages
SELECT kafka.create_rollup('flooded', 'SELECT count(*) AS n, sum(1 / (id * 0)) AS total FROM many');
\set VERBOSITY sqlstate
CALL kafka.run_rollups('flooded');
\set VERBOSITY default
SELECT state FROM kafka.rollups WHERE name = 'flooded';
SELECT kafka.drop_rollup('flooded');

--
-- A function that says it was cancelled, or the like, ends its own rollup's run
-- and nobody else's
--
CREATE ROLE rollup_faults_evil;
GRANT USAGE, CREATE ON SCHEMA rollup_faults TO rollup_faults_evil;
GRANT SELECT ON kinds TO rollup_faults_evil;
CREATE TABLE code (sqlstate text);
GRANT SELECT ON code TO rollup_faults_evil;
SET ROLE rollup_faults_evil;
CREATE FUNCTION boom(int) RETURNS int LANGUAGE plpgsql STABLE AS $$
BEGIN
    IF $1 = 1 THEN
        RAISE 'canceling statement due to user request'
            USING ERRCODE = (SELECT sqlstate FROM rollup_faults.code);
    END IF;
    RETURN $1;
END $$;
SELECT kafka.create_rollup('evil', 'SELECT sum(boom(id)) AS total FROM kinds');
RESET ROLE;
SELECT kafka.create_rollup('good', 'SELECT count(*) AS n FROM kinds');
INSERT INTO code VALUES ('57014');
\set VERBOSITY terse
CALL kafka.run_rollups();
SELECT * FROM good;
SELECT state, reason FROM kafka.rollups WHERE name = 'evil';
SELECT kafka.seek_rollup('good', '{"0": 0}'::jsonb, true);
UPDATE code SET sqlstate = '40001';
CALL kafka.run_rollups();
SELECT * FROM good;
SELECT kafka.seek_rollup('good', '{"0": 0}'::jsonb, true);
UPDATE code SET sqlstate = '57P01';
CALL kafka.run_rollups();
SELECT * FROM good;
SELECT name, event, sqlstate FROM kafka.rollup_runs WHERE name IN ('evil', 'good') ORDER BY run_id;
SELECT count(*) FROM show_letters('evil');
SELECT kafka.drop_rollup('evil');
-- A real cancel ends the run, and is no failure of the rollup that it met
CREATE FUNCTION wait_for(int) RETURNS int LANGUAGE plpgsql STABLE AS
    $$ BEGIN PERFORM pg_sleep(600); RETURN $1; END $$;
SELECT kafka.create_rollup('waiting', 'SELECT sum(wait_for(id)) AS total FROM kinds');
SET statement_timeout = '300ms';
CALL kafka.run_rollups('waiting');
RESET statement_timeout;
\set VERBOSITY default
SELECT state, reason FROM kafka.rollups WHERE name = 'waiting';
SELECT count(*) FROM kafka.rollup_runs WHERE name = 'waiting';
SELECT kafka.drop_rollup('waiting');

--
-- A dead letter for which trying again raises an error that is not a message's:
-- it counts as an attempt of that letter alone, and the rollup reads on
--
CREATE TABLE phase (is_second boolean);
INSERT INTO phase VALUES (false);
CREATE FUNCTION stumble(int) RETURNS int LANGUAGE plpgsql STABLE AS $$
BEGIN
    IF $1 IN (3, 5) AND NOT (SELECT is_second FROM rollup_faults.phase) THEN
        RAISE 'for now';
    ELSIF $1 = 3 THEN
        RAISE 'disk' USING ERRCODE = '58000';
    END IF;
    RETURN $1;
END $$;
SELECT kafka.create_rollup('stumbling', 'SELECT count(*) AS n, sum(stumble(id)) AS total FROM kinds',
    options := '{"retry_limit": 2, "retry_delay": "0 s"}');
CALL kafka.run_rollups('stumbling', 6, '0 s');
SELECT * FROM stumbling;
SELECT * FROM show_letters('stumbling');
UPDATE phase SET is_second = true;
CALL kafka.run_rollups('stumbling');
SELECT * FROM stumbling;
SELECT * FROM show_letters('stumbling');
SELECT next_offset FROM kafka.rollup_offsets WHERE name = 'stumbling';
SELECT state FROM kafka.rollups WHERE name = 'stumbling';
CALL kafka.run_rollups('stumbling');
CALL kafka.run_rollups('stumbling');
SELECT * FROM show_letters('stumbling');
SELECT event, messages, dead_letters, sqlstate, detail FROM kafka.rollup_runs
 WHERE name = 'stumbling' ORDER BY run_id;

--
-- Bad messages that only the merge finds, 100 among 10,000: how often the query
-- is at a message, all attempts together, is counted by a sequence.
--
CREATE FOREIGN TABLE keys (id int, kind text) SERVER rollup_faults OPTIONS (topic 'rollup_faults_keys');
CREATE SEQUENCE visits;
CREATE FUNCTION make_key(id int, kind text) RETURNS text LANGUAGE plpgsql STABLE AS $$
BEGIN
    PERFORM nextval('rollup_faults.visits');
    IF id % 100 = 50 THEN
        RETURN (SELECT string_agg(md5(id::text || i::text), '') FROM generate_series(1, 110) i);
    END IF;
    RETURN kind;
END $$;
SELECT kafka.create_rollup('keyed', 'SELECT make_key(id, kind) AS k, count(*) AS n FROM keys GROUP BY 1');
CALL kafka.run_rollups('keyed');
SELECT * FROM keyed;
SELECT count(*), min(kafka_offset), max(kafka_offset), min(sqlstate), max(sqlstate) FROM show_letters('keyed');
SELECT last_value BETWEEN 10000 AND 70000 AS is_linear FROM visits;
-- With many more the rollup is paused, says why, and how to go on
CREATE FUNCTION make_worse_key(id int, kind text) RETURNS text LANGUAGE sql STABLE AS
    $$ SELECT make_key((id % 10) * 10, kind) $$;
SELECT kafka.create_rollup('worse', 'SELECT make_worse_key(id, kind) AS k, count(*) AS n FROM keys GROUP BY 1');
\set VERBOSITY sqlstate
CALL kafka.run_rollups('worse');
\set VERBOSITY default
SELECT count(*) FROM worse;
SELECT state, regexp_replace(reason, '^.* when', 'N of M messages were bad when') ~ '^N.*took too many attempts \(fewer with a smaller max_rows\); the first: .* offset 5:' AS says_why
  FROM kafka.rollups WHERE name = 'worse';
SELECT kafka.alter_rollup('worse', enabled := true);
CALL kafka.run_rollups('worse', max_rows := 1000);
SELECT * FROM worse;
SELECT count(*) FROM show_letters('worse');

--
-- retry_dead_letters makes constraints immediate: what the caller deferred is
-- checked before it begins, and all that follows at once, unless the caller
-- defers it again
--
SELECT array_agg(id)::text AS ids FROM kafka.dead_letters WHERE rollup = 'merged' \gset
CREATE TABLE parent (id int PRIMARY KEY);
CREATE TABLE child (id int REFERENCES parent DEFERRABLE INITIALLY DEFERRED);
BEGIN;
INSERT INTO child VALUES (1);
SELECT * FROM kafka.retry_dead_letters('merged', :'ids');
ROLLBACK;
BEGIN;
SELECT * FROM kafka.retry_dead_letters('merged', :'ids');
SET CONSTRAINTS child_id_fkey DEFERRED;
INSERT INTO child VALUES (1);
INSERT INTO parent VALUES (1);
COMMIT;
SELECT * FROM child;
BEGIN;
SELECT * FROM kafka.retry_dead_letters('merged', :'ids');
INSERT INTO child VALUES (2);
ROLLBACK;

\set VERBOSITY terse
SET client_min_messages = warning;
SELECT count(kafka.drop_rollup(name)) FROM kafka.rollups;
DROP SCHEMA rollup_faults CASCADE;
DROP SERVER rollup_faults;
DROP OWNED BY rollup_faults_evil;
DROP ROLE rollup_faults_evil;
