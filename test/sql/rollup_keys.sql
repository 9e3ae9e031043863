--
-- Unique keys: a message is a repeat when one that was counted has its key and
-- a record time at most unique_within away. Whatever the batches, the answer
-- is the same. rollup_keys.feed makes the topics.
--
\getenv brokers KAFKA_BROKERS
SET TimeZone = 'UTC';
SET DateStyle = 'ISO';
SET client_min_messages = warning;
CREATE SERVER keys FOREIGN DATA WRAPPER kafka_fdw OPTIONS (brokers :'brokers');
CREATE SCHEMA keys;
SET search_path = keys, public;
CREATE TABLE mend (zero int);
INSERT INTO mend VALUES (0);
CREATE FUNCTION inverse(x int) RETURNS int STABLE LANGUAGE SQL AS
    'SELECT 1 / COALESCE(NULLIF(x, 0), (SELECT zero FROM keys.mend))';
CREATE FUNCTION make(name text, topic text, options jsonb, late interval DEFAULT NULL)
RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF to_regclass(topic) IS NULL THEN
        EXECUTE format($f$CREATE FOREIGN TABLE %I (o bigint OPTIONS (offset 'true'),
            ts timestamptz OPTIONS (timestamp 'true'), k text, x int)
            SERVER keys OPTIONS (topic %L)$f$, topic, topic);
    END IF;
    PERFORM kafka.create_rollup(name,
        format('SELECT k, count(*) AS n, sum(inverse(x)) AS s, min(o) AS first, max(o) AS last FROM %I GROUP BY 1', topic),
        late_limit := late, options := options);
END $$;
\set hour '{"unique_key": "k", "unique_within": "1 hour"}'
\set day '{"unique_key": "k", "unique_within": "1 day"}'

-- A message whose key was taken by one that fails
SELECT make('chain', 'rollup_keys_chain', :'hour');
SELECT make('chain_1', 'rollup_keys_chain', :'hour');
CALL kafka.run_rollups('chain');
CALL kafka.run_rollups('chain_1', max_rows := 1);
TABLE chain;
TABLE chain_1;
SELECT rollup, kafka_offset, stage FROM kafka.dead_letters ORDER BY 1, 2;
SELECT name, sum(messages) AS messages, sum(duplicates) AS duplicates
  FROM kafka.rollup_runs GROUP BY 1 ORDER BY 1;

-- A message that is older than what was counted
SELECT make('back', 'rollup_keys_back', :'hour');
SELECT make('back_1', 'rollup_keys_back', :'hour');
CALL kafka.run_rollups('back');
CALL kafka.run_rollups('back_1', max_rows := 1);
TABLE back;
TABLE back_1;

-- The key of a dead letter is known however far the topic has moved on; others
-- are forgotten a batch after they can be
SELECT make('letter', 'rollup_keys_letter', :'day');
SELECT make('letter_1', 'rollup_keys_letter', :'day');
CALL kafka.run_rollups('letter');
CALL kafka.run_rollups('letter_1', max_rows := 1);
SELECT r.name, k.seen_at, k.newest FROM kafka.stored_key k
  JOIN kafka.stored_rollup r USING (rollup_id) WHERE r.name LIKE 'letter%' ORDER BY 1, 2;
UPDATE mend SET zero = 1;
SELECT * FROM kafka.retry_dead_letters('letter');
SELECT * FROM kafka.retry_dead_letters('letter_1');
SELECT * FROM letter ORDER BY k;
SELECT * FROM letter_1 ORDER BY k;
SELECT rollup, kafka_offset, status, message FROM kafka.dead_letters
 WHERE rollup LIKE 'letter%' ORDER BY 1, 2;
UPDATE mend SET zero = 0;

-- What fails in the query does not make what follows late
SELECT make('late', 'rollup_keys_late', NULL, '1 hour');
SELECT make('late_1', 'rollup_keys_late', NULL, '1 hour');
CALL kafka.run_rollups('late');
CALL kafka.run_rollups('late_1', max_rows := 1);
SELECT * FROM late ORDER BY k;
SELECT * FROM late_1 ORDER BY k;
SELECT rollup, kafka_offset, stage FROM kafka.dead_letters
 WHERE rollup LIKE 'late\_%' OR rollup = 'late' ORDER BY 1, 2;
SELECT name, newest FROM kafka.rollup_offsets WHERE name IN ('late', 'late_1') ORDER BY 1;

-- Many that fail and have one key: each is tried, and then the good one counts
SELECT make('many', 'rollup_keys_many', :'hour');
CALL kafka.run_rollups('many');
SELECT n, first, last FROM many WHERE k = 'same';
SELECT sum(n) FROM many;
SELECT count(*) FROM kafka.dead_letters WHERE rollup = 'many';

-- A message that a join or a subquery leaves out keeps its key free
CREATE TABLE known (k text PRIMARY KEY);
SELECT kafka.create_rollup('joined', $$
    SELECT e.k, count(*) AS n FROM rollup_keys_letter AS e JOIN known USING (k) GROUP BY 1 $$,
    options := :'hour');
SELECT kafka.create_rollup('matched', $$
    SELECT e.k, count(*) AS n FROM known AS other, rollup_keys_letter AS e
     WHERE other.k = e.k AND e.x < 2 GROUP BY 1 $$,
    options := :'hour');
SELECT kafka.create_rollup('left_joined', $$
    SELECT known.k, count(*) AS n FROM rollup_keys_letter AS e LEFT JOIN known USING (k) GROUP BY 1 $$,
    options := :'hour');
CALL kafka.run_rollups('joined', max_rows := 1, max_time := '0 s');
CALL kafka.run_rollups('matched', max_rows := 1, max_time := '0 s');
CALL kafka.run_rollups('left_joined', max_rows := 1, max_time := '0 s');
SELECT name, next_offset FROM kafka.rollup_offsets
 WHERE name IN ('joined', 'matched', 'left_joined') ORDER BY 1;
INSERT INTO known VALUES ('A'), ('C');
CALL kafka.run_rollups('joined');
CALL kafka.run_rollups('matched');
CALL kafka.run_rollups('left_joined');
SELECT * FROM joined ORDER BY k;
SELECT * FROM matched ORDER BY k;
SELECT * FROM left_joined ORDER BY k;

-- What is read again after going back counts again
TRUNCATE _back_g1;
SELECT kafka.seek_rollup('back', offsets := '{"0": "earliest"}'::jsonb, accept_loss := true);
CALL kafka.run_rollups('back');
TABLE back;

-- A topic made anew: the old one's letter stays as it was
SELECT make('anew', 'rollup_keys_made_anew', '{"on_loss": "continue"}');
CALL kafka.run_rollups('anew');
\! printf '%s\n' 'delete-topic rollup_keys_made_anew' 'create-topic rollup_keys_made_anew' "produce rollup_keys_made_anew time=2024-05-01T12:00:00Z value='{\"k\": \"new\", \"x\": 0}'" | feed
CALL kafka.run_rollups('anew');
SELECT kafka_offset, convert_from(value, 'UTF8') AS value, status FROM kafka.dead_letters
 WHERE rollup = 'anew' ORDER BY id;
UPDATE mend SET zero = 1;
SELECT * FROM kafka.retry_dead_letters('anew');
SELECT * FROM anew ORDER BY k;

\set VERBOSITY terse
SELECT count(kafka.drop_rollup(name)) FROM kafka.rollups;
SELECT count(*) FROM kafka.stored_key;
DROP SCHEMA keys CASCADE;
DROP SERVER keys;
