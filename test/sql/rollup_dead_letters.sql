--
-- Dead letters: what is kept of a message that cannot be counted, and how it is
-- tried again. rollup_dead_letters.feed makes the topics.
--
\getenv brokers KAFKA_BROKERS
SET TimeZone = 'UTC';
SET DateStyle = 'ISO';
CREATE SERVER letters FOREIGN DATA WRAPPER kafka_fdw OPTIONS (brokers :'brokers');
CREATE SCHEMA letters;
SET search_path = letters, public;
CREATE FOREIGN TABLE events (
    ts timestamptz OPTIONS (timestamp 'true'),
    k text,
    v int,
    id bigint
) SERVER letters OPTIONS (topic 'rollup_dead_letters', on_error 'skip');
CREATE TABLE divisor (k text PRIMARY KEY, d int);
INSERT INTO divisor VALUES ('a', 1), ('b', 0), ('c', 1);

CREATE FUNCTION show(rollup_name text)
RETURNS TABLE (p int, o bigint, stage text, sqlstate text, message text,
               attempts int, status text, delay interval)
LANGUAGE SQL AS $$
    SELECT d.kafka_partition, d.kafka_offset, d.stage, d.sqlstate, d.message, d.attempts,
           d.status, d.retry_at - d.updated_at
      FROM kafka.dead_letters d WHERE d.rollup = rollup_name
     ORDER BY d.kafka_partition, d.kafka_offset
$$;

SET client_min_messages = warning;
SELECT kafka.create_rollup('mended', $$
    SELECT e.k, count(*) AS n, sum(v / d) AS total
      FROM events e LEFT JOIN divisor USING (k) GROUP BY 1 $$,
    late_limit := '1 hour', options := '{"retry_limit": 2, "retry_delay": "0 s"}');
RESET client_min_messages;
CALL kafka.run_rollups('mended');
SELECT * FROM mended ORDER BY k;
-- on_error 'skip' does not hold for rollups; what is late is not tried again by itself
SELECT * FROM show('mended');
-- The message is kept as it was
SELECT kafka_partition, kafka_offset, "timestamp", timestamp_type, key, value, headers
  FROM kafka.dead_letters ORDER BY 1, 2;

-- Each run tries what is due once, as often as retry_limit says
UPDATE divisor SET d = 2 WHERE k = 'b';
CALL kafka.run_rollups('mended');
SELECT * FROM mended ORDER BY k;
SELECT * FROM show('mended');
CALL kafka.run_rollups('mended');
SELECT * FROM show('mended');
CALL kafka.run_rollups('mended');
SELECT * FROM show('mended') WHERE status <> 'done';
SELECT event, messages, rows_selected, groups, dead_letters, duplicates
  FROM kafka.rollup_runs WHERE name = 'mended' ORDER BY run_id;

-- By hand: one of them, then all, for which late_limit does not hold
SELECT r.* FROM kafka.dead_letters d,
    LATERAL kafka.retry_dead_letters('mended', ARRAY[d.id]) r
 WHERE d.kafka_partition = 0 AND d.kafka_offset = 3;
SELECT * FROM kafka.retry_dead_letters('mended');
SELECT * FROM mended ORDER BY k;
SELECT * FROM show('mended') WHERE status <> 'done' OR stage = 'late';
-- What is done is not counted again, and ids of nothing are no error
SELECT r.* FROM (SELECT array_agg(id) AS ids FROM kafka.dead_letters WHERE status = 'done') d,
    LATERAL kafka.retry_dead_letters('mended', d.ids || -1 || NULL) r;
SELECT * FROM mended ORDER BY k;
-- Rolled back with the caller's transaction
UPDATE divisor SET d = 0 WHERE k = 'b';
BEGIN;
SELECT * FROM kafka.retry_dead_letters('mended');
ROLLBACK;
SELECT max(attempts) FROM show('mended') WHERE status = 'failed';

-- The same message again, after going back: its letter is new
SELECT kafka.seek_rollup('mended', '{"0": 3}'::jsonb, true);
CALL kafka.run_rollups('mended');
SELECT * FROM show('mended') WHERE status <> 'done';

-- Without retries
SELECT kafka.alter_rollup('mended', options := '{"retry_limit": 0}');
SELECT kafka.seek_rollup('mended', '{"0": 3}'::jsonb, true);
CALL kafka.run_rollups('mended');
SELECT * FROM show('mended') WHERE status <> 'done';

--
-- Unique keys: the key of a letter is free, until another message has it
--
CREATE FOREIGN TABLE keyed (
    ts timestamptz OPTIONS (timestamp 'true'), d int, id bigint
) SERVER letters OPTIONS (topic 'rollup_dead_letters_key');
CREATE FUNCTION inverse(int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS
    $$ BEGIN RETURN 1 / $1; END $$;
SELECT kafka.create_rollup('unique', 'SELECT id, count(*) AS n, sum(inverse(d)) AS s FROM keyed GROUP BY id',
    options := '{"unique_key": "id", "unique_within": "1 day"}');
CALL kafka.run_rollups('unique');
SELECT * FROM "unique" ORDER BY id;
SELECT * FROM show('unique');
CREATE OR REPLACE FUNCTION inverse(int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS
    $$ BEGIN RETURN 100; END $$;
SELECT * FROM kafka.retry_dead_letters('unique');
SELECT * FROM "unique" ORDER BY id;
SELECT * FROM show('unique');

--
-- Who may
--
CREATE ROLE letters_other;
-- Moved back before a dead letter, the rollup reads its message again: a retry
-- would count it twice.
UPDATE divisor SET d = 0 WHERE k = 'b';
SET client_min_messages = warning;
SELECT kafka.create_rollup('again', $$
    SELECT e.k, count(*) AS n, sum(v / d) AS total
      FROM events e LEFT JOIN divisor USING (k) GROUP BY 1 $$);
RESET client_min_messages;
CALL kafka.run_rollups('again');
UPDATE divisor SET d = 1 WHERE k = 'b';
SELECT kafka.seek_rollup('again', offsets := '{"0": 1}', accept_loss := true);
SELECT p, o, status, message FROM show('again');
SELECT * FROM kafka.retry_dead_letters('again');
CALL kafka.run_rollups('again');
SELECT * FROM again ORDER BY k;
SELECT p, o, status, message FROM show('again');

CREATE ROLE letters_member;
CREATE ROLE letters_owner;
GRANT letters_owner TO letters_member;
GRANT USAGE ON SCHEMA letters TO letters_owner, letters_other;
GRANT CREATE ON SCHEMA letters TO letters_owner;
GRANT SELECT ON events, divisor TO letters_owner;
SET ROLE letters_owner;
SET client_min_messages = warning;
SELECT kafka.create_rollup('theirs', $$
    SELECT e.k, count(*) AS n, sum(v / d) AS total
      FROM events e LEFT JOIN divisor USING (k) GROUP BY 1 $$);
RESET client_min_messages;
CALL kafka.run_rollups('theirs');
SET ROLE letters_other;
SELECT * FROM kafka.retry_dead_letters('theirs');
SELECT count(*) FROM kafka.dead_letters;
SET ROLE letters_member;
SELECT * FROM kafka.retry_dead_letters('theirs');
SELECT count(*) FROM kafka.dead_letters;
RESET ROLE;
SELECT * FROM kafka.retry_dead_letters('thiers');
SELECT * FROM kafka.retry_dead_letters(NULL);

\set VERBOSITY terse
SET client_min_messages = warning;
SELECT count(kafka.drop_rollup(name)) FROM kafka.rollups;
SELECT count(*) FROM kafka.stored_dead_letter;
DROP SCHEMA letters CASCADE;
DROP SERVER letters;
DROP ROLE letters_other, letters_member, letters_owner;
