/* sql/kafka_fdw--1.0.sql */

-- complain if script is sourced in psql, rather than via CREATE EXTENSION
\echo Use "CREATE EXTENSION kafka_fdw" to load this file. \quit

CREATE FUNCTION @extschema@.kafka_fdw_handler()
RETURNS fdw_handler
AS 'MODULE_PATHNAME'
LANGUAGE C STRICT;

COMMENT ON FUNCTION @extschema@.kafka_fdw_handler() IS
'handler of the foreign data wrapper kafka_fdw';

CREATE FUNCTION @extschema@.kafka_fdw_validator(text[], oid)
RETURNS void
AS 'MODULE_PATHNAME'
LANGUAGE C STRICT;

COMMENT ON FUNCTION @extschema@.kafka_fdw_validator(text[], oid) IS
'checks the options of servers, user mappings, foreign tables and columns';

CREATE FOREIGN DATA WRAPPER kafka_fdw
  HANDLER @extschema@.kafka_fdw_handler
  VALIDATOR @extschema@.kafka_fdw_validator;

COMMENT ON FOREIGN DATA WRAPPER kafka_fdw IS
'Apache Kafka topics as tables';

CREATE SCHEMA kafka;
GRANT USAGE ON SCHEMA kafka TO PUBLIC;

COMMENT ON SCHEMA kafka IS
'functions that look into Kafka topics';

--
-- Functions that look into topics. Each checks the caller's rights itself:
-- SELECT on the foreign table, or USAGE on the server.
--

CREATE FUNCTION @extschema@.kafka_get_watermarks(
  IN rel regclass,
  OUT partition int,
  OUT offset_low bigint,
  OUT offset_high bigint)
RETURNS SETOF record
AS 'MODULE_PATHNAME', 'kafka_watermarks'
LANGUAGE C STRICT VOLATILE PARALLEL RESTRICTED ROWS 10;

COMMENT ON FUNCTION @extschema@.kafka_get_watermarks(regclass) IS
'the same as kafka.watermarks, under the name that adjust/kafka_fdw gave it';

CREATE FUNCTION kafka.watermarks(
  "table" regclass)
RETURNS TABLE (kafka_partition int, low_offset bigint, end_offset bigint)
AS 'MODULE_PATHNAME', 'kafka_watermarks'
LANGUAGE C STRICT VOLATILE PARALLEL RESTRICTED ROWS 10;

COMMENT ON FUNCTION kafka.watermarks(regclass) IS
'for each partition that a Kafka foreign table shows, by topic and partition: the first offset the broker still has, and the offset after the last one to be read (the last stable offset, or the high watermark where the server reads uncommitted records)';

CREATE FUNCTION kafka.offsets_at(
  "table" regclass,
  "time" timestamptz)
RETURNS TABLE (kafka_partition int, kafka_offset bigint)
AS 'MODULE_PATHNAME', 'kafka_offsets_at'
LANGUAGE C STRICT VOLATILE PARALLEL RESTRICTED ROWS 10;

COMMENT ON FUNCTION kafka.offsets_at(regclass, timestamptz) IS
'for each partition that a Kafka foreign table shows, by topic and partition: the first offset whose record is not older than the time, as the broker answers, to the millisecond, rounded up; the first offset of all for times before 1970; NULL for none. NULL is the broker''s word and no proof: on a compacted topic, or after records were deleted, newer ones may be there';

CREATE FUNCTION kafka.group_offsets(
  server name,
  group_id text)
RETURNS TABLE (topic text, kafka_partition int, committed bigint,
               end_offset bigint, lag bigint)
AS 'MODULE_PATHNAME', 'kafka_group_offsets'
LANGUAGE C STRICT VOLATILE PARALLEL RESTRICTED ROWS 10;

COMMENT ON FUNCTION kafka.group_offsets(name, text) IS
'for each partition where a consumer group has committed: the offset it will read next, the partition''s end, and the offsets in between; end and lag are NULL where the topic or partition was deleted, is not visible to this user, or is one of Kafka''s own (its name begins with two underscores). Needs USAGE on the foreign server; no rows for a group that does not exist';

CREATE FUNCTION kafka.tail(
  "row" anyelement,
  n int DEFAULT 10)
RETURNS SETOF anyelement
AS 'MODULE_PATHNAME', 'kafka_tail_rows'
LANGUAGE C VOLATILE PARALLEL RESTRICTED ROWS 10;

COMMENT ON FUNCTION kafka.tail(anyelement, int) IS
'the n newest rows of a Kafka foreign table, given as its row type (SELECT * FROM kafka.tail(NULL::my_table, 5)): newest first by record timestamp, then by topic, partition, and offset backwards, among the last n of each partition; bad messages follow the table''s on_error';

CREATE FUNCTION kafka.tail(
  "table" regclass,
  n int DEFAULT 10)
RETURNS SETOF jsonb
AS 'MODULE_PATHNAME', 'kafka_tail_jsonb'
LANGUAGE C VOLATILE PARALLEL RESTRICTED ROWS 10;

COMMENT ON FUNCTION kafka.tail(regclass, int) IS
'the n newest rows of a Kafka foreign table as jsonb objects (SELECT * FROM kafka.tail(''my_table''::regclass, 5)), chosen and ordered as by kafka.tail(anyelement, int)';

-- A bare literal fits the other two equally well; PostgreSQL prefers text.
CREATE FUNCTION kafka.tail(
  "table" text,
  n int DEFAULT 10)
RETURNS SETOF jsonb
LANGUAGE SQL VOLATILE PARALLEL RESTRICTED ROWS 10
RETURN kafka.tail($1::regclass, $2);

COMMENT ON FUNCTION kafka.tail(text, int) IS
'kafka.tail(regclass, int) for a table that is given by name (SELECT * FROM kafka.tail(''my_table'', 5))';

CREATE FUNCTION kafka.time_disorder(
  "table" regclass,
  since interval DEFAULT '1 day')
RETURNS TABLE (topic text, kafka_partition int, messages bigint,
               disorder interval, statement text)
AS 'MODULE_PATHNAME', 'kafka_time_disorder'
LANGUAGE C STRICT VOLATILE PARALLEL RESTRICTED ROWS 10;

COMMENT ON FUNCTION kafka.time_disorder(regclass, interval) IS
'reads the records of the last interval of a Kafka foreign table and tells, for each partition, their number and the largest step of their timestamps backwards, with the statement that declares the largest of all, rounded up, as the table''s timestamp_max_lag; statement is NULL where there were no records, where the broker sets their timestamps, and where offsets are missing, because transaction markers and aborted records have timestamps too, which cannot be read';

CREATE FUNCTION kafka.disconnect()
RETURNS int
AS 'MODULE_PATHNAME', 'kafka_disconnect'
LANGUAGE C STRICT VOLATILE PARALLEL RESTRICTED;

COMMENT ON FUNCTION kafka.disconnect() IS
'closes this session''s idle connections to Kafka and returns how many servers'' handles that were';

CREATE FUNCTION kafka.version()
RETURNS text
AS 'MODULE_PATHNAME', 'kafka_version'
LANGUAGE C STRICT VOLATILE PARALLEL RESTRICTED;

COMMENT ON FUNCTION kafka.version() IS
'the versions of the extension and of what it runs with';

--
-- Rollups. Their tables belong to the extension's owner alone; roles see what
-- is theirs through the views below, and change it through the functions.
--

CREATE TABLE kafka.stored_rollup (
  rollup_id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  name text NOT NULL UNIQUE,
  source regclass NOT NULL,
  relation regclass NOT NULL,
  storage regclass NOT NULL,
  definition regclass NOT NULL,
  states regclass NOT NULL,
  checks regclass,
  upsert text NOT NULL,
  bucket_column text,
  bucket_width interval,
  valid_from timestamptz,
  late_limit interval,
  future_limit interval,
  options jsonb NOT NULL DEFAULT '{}',
  search_path text NOT NULL,
  time_zone text NOT NULL,
  date_style text NOT NULL,
  interval_style text NOT NULL,
  enabled boolean NOT NULL DEFAULT true,
  state text NOT NULL DEFAULT 'RUNNING'
    CHECK (state IN ('RUNNING', 'PAUSED', 'FAILING', 'HALTED')),
  reason text,
  cluster_id text,
  system_identifier bigint NOT NULL,
  database_id oid NOT NULL,
  isolation_level text,
  created_at timestamptz NOT NULL DEFAULT now()
);

COMMENT ON TABLE kafka.stored_rollup IS
'one row a rollup; read it through the view kafka.rollups';

CREATE TABLE kafka.stored_position (
  rollup_id int NOT NULL REFERENCES kafka.stored_rollup ON DELETE CASCADE,
  topic text NOT NULL,
  kafka_partition int NOT NULL,
  next_offset bigint NOT NULL,
  last_offset bigint,
  last_digest bigint,
  newest timestamptz,
  newest_key timestamptz,
  newest_key_read_at timestamptz,
  lost_messages bigint NOT NULL DEFAULT 0,
  PRIMARY KEY (rollup_id, topic, kafka_partition)
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.05);

COMMENT ON TABLE kafka.stored_position IS
'how far each rollup has read each partition; read it through the view kafka.rollup_offsets';
COMMENT ON COLUMN kafka.stored_position.newest_key IS
'the latest record time among the messages whose unique key was counted';
COMMENT ON COLUMN kafka.stored_position.newest_key_read_at IS
'when a message of the partition was last counted, or it was first waited for one, by the server''s clock';

CREATE TABLE kafka.stored_run (
  run_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  rollup_id int NOT NULL REFERENCES kafka.stored_rollup ON DELETE CASCADE,
  event text NOT NULL
    CHECK (event IN ('batch', 'retry', 'pause', 'fail', 'halt', 'loss', 'seek',
                     'take over')),
  started_at timestamptz NOT NULL,
  finished_at timestamptz NOT NULL,
  messages bigint NOT NULL DEFAULT 0,
  bytes bigint NOT NULL DEFAULT 0,
  rows_selected bigint NOT NULL DEFAULT 0,
  groups bigint NOT NULL DEFAULT 0,
  dead_letters bigint NOT NULL DEFAULT 0,
  duplicates bigint NOT NULL DEFAULT 0,
  lost_messages bigint NOT NULL DEFAULT 0,
  sqlstate text,
  detail text
);
CREATE INDEX ON kafka.stored_run (rollup_id, run_id);

COMMENT ON TABLE kafka.stored_run IS
'what the runs of each rollup did; read it through the view kafka.rollup_runs';

CREATE TABLE kafka.stored_dead_letter (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  rollup_id int NOT NULL REFERENCES kafka.stored_rollup ON DELETE CASCADE,
  topic text NOT NULL,
  kafka_partition int NOT NULL,
  kafka_offset bigint NOT NULL,
  timestamp_ms bigint NOT NULL,
  log_append_time boolean NOT NULL,
  key bytea,
  value bytea,
  headers bytea,
  stage text NOT NULL
    CHECK (stage IN ('decode', 'expect', 'late', 'future', 'query')),
  sqlstate text,
  message text,
  key_hash uuid,
  digest bytea NOT NULL GENERATED ALWAYS AS (pg_catalog.sha256(
    pg_catalog.int8send(timestamp_ms)
    || pg_catalog.int4send(COALESCE(pg_catalog.octet_length(key), -1))
    || pg_catalog.sha256(COALESCE(key, ''))
    || pg_catalog.int4send(COALESCE(pg_catalog.octet_length(value), -1))
    || pg_catalog.sha256(COALESCE(value, ''))
    || pg_catalog.sha256(COALESCE(headers, '')))) STORED,
  attempts int NOT NULL DEFAULT 0,
  status text NOT NULL DEFAULT 'new'
    CHECK (status IN ('new', 'retry', 'failed', 'done')),
  retry_at timestamptz,
  created_at timestamptz NOT NULL DEFAULT now(),
  updated_at timestamptz NOT NULL DEFAULT now(),
  UNIQUE (rollup_id, topic, kafka_partition, kafka_offset, digest)
);
CREATE INDEX ON kafka.stored_dead_letter (rollup_id, retry_at)
  WHERE retry_at IS NOT NULL;
CREATE INDEX ON kafka.stored_dead_letter (rollup_id, key_hash)
  WHERE key_hash IS NOT NULL AND status <> 'done';

COMMENT ON TABLE kafka.stored_dead_letter IS
'messages that a rollup could not count; read it through the view kafka.dead_letters';
COMMENT ON COLUMN kafka.stored_dead_letter.key_hash IS
'of its unique key, which is not forgotten before the letter is done; NULL where there is none, or the message could not be decoded so far';
COMMENT ON COLUMN kafka.stored_dead_letter.digest IS
'tells the message from that of a topic made anew, which has the same offset';

-- Written for every message: a foreign key would double its cost.
CREATE TABLE kafka.stored_key (
  rollup_id int NOT NULL,
  key_hash uuid NOT NULL,
  seen_at timestamptz NOT NULL,
  newest timestamptz NOT NULL,
  PRIMARY KEY (rollup_id, key_hash, seen_at)
);
CREATE INDEX ON kafka.stored_key (rollup_id, newest);

COMMENT ON TABLE kafka.stored_key IS
'the unique keys that rollups with the option unique_key have counted, as hashes: one row a message';
COMMENT ON COLUMN kafka.stored_key.seen_at IS
'the message''s record time; two of a key are further apart than unique_within';
COMMENT ON COLUMN kafka.stored_key.newest IS
'the latest record time in the message''s partition after the batch that counted it; the row is forgotten by it';

CREATE TABLE kafka.rollup_aggregate (
  aggregate text PRIMARY KEY,
  extension name,
  states text[] NOT NULL,
  merges text[] NOT NULL,
  final text NOT NULL,
  built_in boolean NOT NULL DEFAULT false,
  CHECK (cardinality(states) > 0 AND cardinality(states) = cardinality(merges))
);

COMMENT ON TABLE kafka.rollup_aggregate IS
'the aggregates that rollups can keep, and how; whoever may write to it decides what code rollups run with their owners'' rights';
COMMENT ON COLUMN kafka.rollup_aggregate.aggregate IS
'signature, such as pg_catalog.sum(integer), or a name alone for all of that name; where extension is given, a name in that extension''s schema';
COMMENT ON COLUMN kafka.rollup_aggregate.extension IS
'the extension that the aggregate belongs to, NULL for none; the entry is ignored where it is not installed';
COMMENT ON COLUMN kafka.rollup_aggregate.states IS
'the columns stored: SQL expressions with aggregates over the arguments $1, $2, ...; the two parameters after the last argument are the source row''s partition and offset';
COMMENT ON COLUMN kafka.rollup_aggregate.merges IS
'for each state of k, the SQL expression that merges the stored states $1 ... $k with a batch''s $k+1 ... $2k';
COMMENT ON COLUMN kafka.rollup_aggregate.final IS
'the SQL expression that makes the aggregate''s result of the states $1 ... $k';
COMMENT ON COLUMN kafka.rollup_aggregate.built_in IS
'true for entries that came with the extension';

--
-- What pg_dump takes along: the rows of every table, and where the numbers of
-- new rows go on.
--

SELECT pg_catalog.pg_extension_config_dump('kafka.stored_rollup', '');
SELECT pg_catalog.pg_extension_config_dump('kafka.stored_rollup_rollup_id_seq', '');
SELECT pg_catalog.pg_extension_config_dump('kafka.stored_position', '');
SELECT pg_catalog.pg_extension_config_dump('kafka.stored_run', '');
SELECT pg_catalog.pg_extension_config_dump('kafka.stored_run_run_id_seq', '');
SELECT pg_catalog.pg_extension_config_dump('kafka.stored_dead_letter', '');
SELECT pg_catalog.pg_extension_config_dump('kafka.stored_dead_letter_id_seq', '');
SELECT pg_catalog.pg_extension_config_dump('kafka.stored_key', '');
SELECT pg_catalog.pg_extension_config_dump('kafka.rollup_aggregate', 'WHERE NOT built_in');

--
-- Views that show a role the rollups of the roles it is a member of, and
-- members of pg_read_all_data all of them.
--

-- The owner as src/rollup/store.c finds it: the relation's, or that of the
-- first of the others when it was dropped.
CREATE VIEW kafka.visible_rollup AS
SELECT r.*
  FROM kafka.stored_rollup AS r
 WHERE pg_catalog.pg_has_role('pg_read_all_data', 'USAGE')
    OR pg_catalog.pg_has_role(
         (SELECT c.relowner
            FROM pg_catalog.unnest(ARRAY[r.relation, r.storage, r.definition, r.states])
                   WITH ORDINALITY AS part (oid, place)
            JOIN pg_catalog.pg_class AS c ON c.oid = part.oid
           ORDER BY part.place
           LIMIT 1), 'USAGE');

COMMENT ON VIEW kafka.visible_rollup IS
'the rows of kafka.stored_rollup that the current role may see; what the other views show is chosen by it';

-- A copy that was restored elsewhere is halted whatever its row says.
CREATE VIEW kafka.rollups WITH (security_barrier) AS
SELECT r.name, r.relation, r.source,
       CASE WHEN here.is_home THEN r.state ELSE 'HALTED' END AS state,
       CASE WHEN here.is_home THEN r.reason
            ELSE 'It was copied or restored from another system or database. SELECT kafka.take_over() lets it run here.'
       END AS reason,
       r.enabled, r.options, r.valid_from, r.bucket_column, r.bucket_width,
       r.late_limit, r.future_limit, r.created_at,
       (SELECT run.finished_at
          FROM kafka.stored_run AS run
         WHERE run.rollup_id = r.rollup_id
           AND run.event IN ('batch', 'retry', 'pause', 'fail', 'halt')
         ORDER BY run.run_id DESC
         LIMIT 1) AS last_run,
       (SELECT run.detail
          FROM kafka.stored_run AS run
         WHERE run.rollup_id = r.rollup_id
           AND run.event IN ('pause', 'fail', 'halt')
         ORDER BY run.run_id DESC
         LIMIT 1) AS last_error
  FROM kafka.visible_rollup AS r
 CROSS JOIN LATERAL (
       SELECT r.system_identifier = s.system_identifier
              AND r.database_id = d.oid AS is_home
         FROM pg_catalog.pg_control_system() AS s, pg_catalog.pg_database AS d
        WHERE d.datname = pg_catalog.current_database()) AS here;

COMMENT ON VIEW kafka.rollups IS
'your rollups, one row each; key: name. state is RUNNING, PAUSED (by somebody, or because too many messages failed), FAILING (the last run ended with an error, the next one tries again) or HALTED (going on would lose or repeat messages), reason says why and what to do';
COMMENT ON COLUMN kafka.rollups.relation IS
'the view to read';
COMMENT ON COLUMN kafka.rollups.source IS
'the Kafka foreign table that it is made of';
COMMENT ON COLUMN kafka.rollups.valid_from IS
'from where on buckets can be whole, where the rollup began at a time (start_at) and its buckets have a width; else NULL. One that began at the topic''s beginning has whole buckets; with start_offsets or start_group those of the first messages may be partial';
COMMENT ON COLUMN kafka.rollups.last_run IS
'when a run last stored something, or failed; runs that find nothing new leave no trace';
COMMENT ON COLUMN kafka.rollups.last_error IS
'what last went wrong, which may be mended since: see state';

CREATE VIEW kafka.rollup_offsets WITH (security_barrier) AS
SELECT r.name, p.topic, p.kafka_partition, p.next_offset, p.last_offset,
       p.newest, p.lost_messages
  FROM kafka.stored_position AS p
  JOIN kafka.visible_rollup AS r USING (rollup_id);

COMMENT ON VIEW kafka.rollup_offsets IS
'how far your rollups have read; key: name, topic, kafka_partition. All messages before next_offset are counted, or among the dead letters';
COMMENT ON COLUMN kafka.rollup_offsets.next_offset IS
'the first offset that is not read yet';
COMMENT ON COLUMN kafka.rollup_offsets.last_offset IS
'the last message that was read; markers and removed messages may lie between it and next_offset';
COMMENT ON COLUMN kafka.rollup_offsets.newest IS
'the latest time in the messages that were read, where it is needed to tell which are late';
COMMENT ON COLUMN kafka.rollup_offsets.lost_messages IS
'how many offsets the broker removed before they were read';

CREATE VIEW kafka.rollup_runs WITH (security_barrier) AS
SELECT r.name, run.run_id, run.event, run.started_at, run.finished_at,
       run.messages, run.bytes, run.rows_selected, run.groups,
       run.dead_letters, run.duplicates, run.lost_messages, run.sqlstate,
       run.detail
  FROM kafka.stored_run AS run
  JOIN kafka.visible_rollup AS r USING (rollup_id);

COMMENT ON VIEW kafka.rollup_runs IS
'what the runs of your rollups did, one row a batch or event; key: run_id. Every batch''s row was committed together with what it stored';
COMMENT ON COLUMN kafka.rollup_runs.rows_selected IS
'rows that the rollup''s WHERE and joins let through, of the messages';
COMMENT ON COLUMN kafka.rollup_runs.groups IS
'groups that were added or changed';
COMMENT ON COLUMN kafka.rollup_runs.duplicates IS
'messages left out because their unique_key was counted before';

CREATE FUNCTION kafka.unpack_headers(
  packed bytea)
RETURNS jsonb
AS 'MODULE_PATHNAME', 'kafka_unpack_headers'
LANGUAGE C IMMUTABLE PARALLEL SAFE;

COMMENT ON FUNCTION kafka.unpack_headers(bytea) IS
'record headers as they are kept with dead letters, as the object that a column with the option headers shows';

-- A time that timestamptz cannot hold is no reason not to see the others.
CREATE VIEW kafka.dead_letters WITH (security_barrier) AS
SELECT d.id, r.name AS rollup, d.topic, d.kafka_partition, d.kafka_offset,
       CASE WHEN d.timestamp_ms <> -1
                 AND d.timestamp_ms BETWEEN -210866803200000 AND 9224318015000000
            THEN pg_catalog.to_timestamp(d.timestamp_ms / 1000.0)
       END AS "timestamp",
       CASE WHEN d.timestamp_ms <> -1
            THEN CASE WHEN d.log_append_time THEN 'LogAppendTime' ELSE 'CreateTime' END
       END AS timestamp_type,
       d.key, d.value, kafka.unpack_headers(d.headers) AS headers,
       d.stage, d.sqlstate, d.message, d.attempts, d.status, d.retry_at,
       d.created_at, d.updated_at
  FROM kafka.stored_dead_letter AS d
  JOIN kafka.visible_rollup AS r USING (rollup_id);

COMMENT ON VIEW kafka.dead_letters IS
'messages that your rollups could not count, as the broker had them; key: id. Only where a topic was made anew can two have the same rollup, topic, kafka_partition and kafka_offset';
COMMENT ON COLUMN kafka.dead_letters.stage IS
'what refused it: decode (it does not fit the foreign table''s columns), expect, late, future (the rollup''s conditions), or query (an error in the rollup''s expressions)';
COMMENT ON COLUMN kafka.dead_letters.attempts IS
'how often it was tried again';
COMMENT ON COLUMN kafka.dead_letters.status IS
'new, retry (tried again in vain, and to be tried more), failed (not tried any more by itself), or done (counted since)';
COMMENT ON COLUMN kafka.dead_letters.retry_at IS
'when a run will try it again; NULL for never';

GRANT SELECT ON kafka.rollups, kafka.rollup_offsets, kafka.rollup_runs,
  kafka.dead_letters TO PUBLIC;

--
-- Functions that change rollups. Each checks itself that the caller is a
-- member of the rollup's owner.
--

CREATE FUNCTION kafka.alter_rollup(
  name text,
  enabled boolean DEFAULT NULL,
  schedule text DEFAULT NULL,
  options jsonb DEFAULT NULL)
RETURNS void
AS 'MODULE_PATHNAME', 'kafka_alter_rollup'
LANGUAGE C VOLATILE PARALLEL UNSAFE;

COMMENT ON FUNCTION kafka.alter_rollup(text, boolean, text, jsonb) IS
'changes what is not NULL. enabled false pauses the rollup, true ends a pause, also one that began because too many messages failed; neither ends a halt. options are put over those there are, key by key, and a JSON null takes a key away; unique_key and unique_within cannot change. Waits for a batch that is being stored';

CREATE FUNCTION kafka.drop_rollup(
  name text,
  if_exists boolean DEFAULT false,
  "cascade" boolean DEFAULT false)
RETURNS void
AS 'MODULE_PATHNAME', 'kafka_drop_rollup'
LANGUAGE C VOLATILE PARALLEL UNSAFE;

COMMENT ON FUNCTION kafka.drop_rollup(text, boolean, boolean) IS
'drops a rollup with its relations, positions, runs and dead letters; refused while other objects depend on one of the relations, unless cascade is true: then these are dropped too';

CREATE FUNCTION kafka.take_over(
  name text DEFAULT NULL)
RETURNS int
AS 'MODULE_PATHNAME', 'kafka_take_over'
LANGUAGE C VOLATILE PARALLEL UNSAFE;

COMMENT ON FUNCTION kafka.take_over(text) IS
'makes a rollup that was restored or copied from another system or database, or all of yours with NULL, run here from the position it has, and tells how many there were. The original and the copy count all messages each for itself. After pg_upgrade, too, every rollup has to be taken over. Another Kafka cluster is not taken over: kafka.seek_rollup says where to go on in it';

CREATE PROCEDURE kafka.run_rollups(
  name text DEFAULT NULL,
  max_rows bigint DEFAULT 100000,
  max_time interval DEFAULT '50 s',
  follow boolean DEFAULT false)
AS 'MODULE_PATHNAME', 'kafka_run_rollups'
LANGUAGE C;

COMMENT ON PROCEDURE kafka.run_rollups(text, bigint, interval, boolean) IS
'counts what is new in the topics of a rollup, or with NULL of all rollups whose owner''s rights you have, up to their present ends. Commits each batch of at most max_rows messages or 64 MB of memory, and begins no batch after max_time, which several rollups share; but each begins one, so that all get on. Returns at once where another run of the same rollup is under way. An error at the end names the rollups that failed; what was committed stands. follow is not supported yet';

CREATE FUNCTION kafka.seek_rollup(
  name text,
  "time" timestamptz,
  accept_loss boolean DEFAULT false)
RETURNS void
AS 'MODULE_PATHNAME', 'kafka_seek_rollup_time'
LANGUAGE C STRICT VOLATILE PARALLEL UNSAFE;

COMMENT ON FUNCTION kafka.seek_rollup(text, timestamptz, boolean) IS
'moves all positions of a rollup to the first message that is not older than the time, or to the end where there is none (infinity is the end, -infinity the beginning), and lets a halted or paused rollup run again. Leaving out messages and reading some a second time make the rollup''s numbers wrong, and are refused without accept_loss';

CREATE FUNCTION kafka.seek_rollup(
  name text,
  offsets jsonb,
  accept_loss boolean DEFAULT false)
RETURNS void
AS 'MODULE_PATHNAME', 'kafka_seek_rollup_offsets'
LANGUAGE C STRICT VOLATILE PARALLEL UNSAFE;

COMMENT ON FUNCTION kafka.seek_rollup(text, jsonb, boolean) IS
'moves those positions of a rollup that offsets names, {"0": 100}, or {"topic": {"0": 100}} for a table with several topics; instead of a number "earliest" and "latest" are possible. Otherwise like kafka.seek_rollup(text, timestamptz, boolean)';

-- A bare literal fits the other two equally well; PostgreSQL prefers text.
CREATE FUNCTION kafka.seek_rollup(
  name text,
  start text,
  accept_loss boolean DEFAULT false)
RETURNS void
AS 'MODULE_PATHNAME', 'kafka_seek_rollup_text'
LANGUAGE C STRICT VOLATILE PARALLEL UNSAFE;

COMMENT ON FUNCTION kafka.seek_rollup(text, text, boolean) IS
'kafka.seek_rollup(text, jsonb, boolean) for a text that begins with a brace, such as ''{"0": "earliest"}'', else kafka.seek_rollup(text, timestamptz, boolean)';

CREATE FUNCTION kafka.retry_dead_letters(
  name text,
  ids bigint[] DEFAULT NULL)
RETURNS TABLE (loaded bigint, failed bigint)
AS 'MODULE_PATHNAME', 'kafka_retry_dead_letters'
LANGUAGE C VOLATILE PARALLEL UNSAFE ROWS 1;

COMMENT ON FUNCTION kafka.retry_dead_letters(text, bigint[]) IS
'tries dead letters of a rollup again, those with the ids, or with NULL all that are not done, whatever they have failed with and how often; late_limit and future_limit do not hold. Tells how many were counted and how many were not; a message whose unique key was counted meanwhile is neither, and done. Waits for a batch that is being stored. Makes deferred constraints immediate for the rest of the transaction, as SET CONSTRAINTS ALL IMMEDIATE does';

CREATE FUNCTION kafka.test_rollup(
  query_or_name text,
  messages jsonb)
RETURNS SETOF jsonb
AS 'MODULE_PATHNAME', 'kafka_test_rollup'
LANGUAGE C VOLATILE PARALLEL UNSAFE ROWS 10;

COMMENT ON FUNCTION kafka.test_rollup(text, jsonb) IS
'the rows that a rollup''s query (SELECT ...), or a rollup by its name, makes of messages, each an object, in the order of the group columns, and then for each message that is bad {"dead_letter": {"stage", "sqlstate", "message", "partition", "offset", "value"}}. Asks no broker and leaves nothing behind. Messages are an array of objects with any of value (an object or array is sent as JSON, text as it is, null is a tombstone), key, timestamp (milliseconds since 1970, or text), timestamp_type, partition, offset, topic and headers';

CREATE FUNCTION kafka.get_rollup_lag()
RETURNS TABLE (name text, topic text, kafka_partition int,
               next_offset bigint, low_offset bigint, end_offset bigint,
               messages_behind bigint, lost_messages bigint)
AS 'MODULE_PATHNAME', 'kafka_rollup_lag'
LANGUAGE C STRICT VOLATILE PARALLEL UNSAFE ROWS 100;

COMMENT ON FUNCTION kafka.get_rollup_lag() IS
'what the view kafka.rollup_lag shows';

CREATE VIEW kafka.rollup_lag AS
SELECT name, topic, kafka_partition, next_offset, low_offset, end_offset,
       messages_behind, lost_messages
  FROM kafka.get_rollup_lag();

COMMENT ON VIEW kafka.rollup_lag IS
'how far your rollups are behind their topics; key: name, topic, kafka_partition. Asks the brokers, at most 2 s for each server; where there is no answer, what only they know is NULL';
COMMENT ON COLUMN kafka.rollup_lag.next_offset IS
'the first offset that is not read yet; NULL for a partition that no run has met yet';
COMMENT ON COLUMN kafka.rollup_lag.low_offset IS
'the first offset that the broker still has';
COMMENT ON COLUMN kafka.rollup_lag.end_offset IS
'the offset after the last one to be read';
COMMENT ON COLUMN kafka.rollup_lag.messages_behind IS
'offsets still to be read; the messages may be fewer, where there are transaction markers or removed messages among them';
COMMENT ON COLUMN kafka.rollup_lag.lost_messages IS
'offsets that were passed without being read, and those that the broker removed before they were read';

GRANT SELECT ON kafka.rollup_lag TO PUBLIC;

--
-- Aggregates of rollups
--

CREATE FUNCTION kafka.first_add(internal, anyelement, timestamptz)
RETURNS internal
AS 'MODULE_PATHNAME', 'kafka_first_add'
LANGUAGE C IMMUTABLE PARALLEL SAFE;

CREATE FUNCTION kafka.first_add(internal, anyelement, timestamptz, int, bigint)
RETURNS internal
AS 'MODULE_PATHNAME', 'kafka_first_add'
LANGUAGE C IMMUTABLE PARALLEL SAFE;

CREATE FUNCTION kafka.last_add(internal, anyelement, timestamptz)
RETURNS internal
AS 'MODULE_PATHNAME', 'kafka_last_add'
LANGUAGE C IMMUTABLE PARALLEL SAFE;

CREATE FUNCTION kafka.last_add(internal, anyelement, timestamptz, int, bigint)
RETURNS internal
AS 'MODULE_PATHNAME', 'kafka_last_add'
LANGUAGE C IMMUTABLE PARALLEL SAFE;

CREATE FUNCTION kafka.ordered_result(internal, anyelement, timestamptz)
RETURNS anyelement
AS 'MODULE_PATHNAME', 'kafka_ordered_result'
LANGUAGE C IMMUTABLE PARALLEL SAFE;

CREATE FUNCTION kafka.ordered_result(internal, anyelement, timestamptz, int, bigint)
RETURNS anyelement
AS 'MODULE_PATHNAME', 'kafka_ordered_result'
LANGUAGE C IMMUTABLE PARALLEL SAFE;

CREATE AGGREGATE kafka.first(value anyelement, ts timestamptz) (
  SFUNC = kafka.first_add,
  STYPE = internal,
  FINALFUNC = kafka.ordered_result,
  FINALFUNC_EXTRA,
  PARALLEL = SAFE
);

CREATE AGGREGATE kafka.first(value anyelement, ts timestamptz, partition int, "offset" bigint) (
  SFUNC = kafka.first_add,
  STYPE = internal,
  FINALFUNC = kafka.ordered_result,
  FINALFUNC_EXTRA,
  PARALLEL = SAFE
);

CREATE AGGREGATE kafka.last(value anyelement, ts timestamptz) (
  SFUNC = kafka.last_add,
  STYPE = internal,
  FINALFUNC = kafka.ordered_result,
  FINALFUNC_EXTRA,
  PARALLEL = SAFE
);

CREATE AGGREGATE kafka.last(value anyelement, ts timestamptz, partition int, "offset" bigint) (
  SFUNC = kafka.last_add,
  STYPE = internal,
  FINALFUNC = kafka.ordered_result,
  FINALFUNC_EXTRA,
  PARALLEL = SAFE
);

COMMENT ON AGGREGATE kafka.first(anyelement, timestamptz) IS
'the value of the row with the smallest ts, also when that value is NULL; rows without ts take no part. Of rows with the same ts it is the first to arrive, in rollups the one with the smallest partition and offset';
COMMENT ON AGGREGATE kafka.first(anyelement, timestamptz, int, bigint) IS
'the value of the row with the smallest ts, partition and offset; rows without ts take no part';
COMMENT ON AGGREGATE kafka.last(anyelement, timestamptz) IS
'the value of the row with the largest ts, also when that value is NULL; rows without ts take no part. Of rows with the same ts it is the last to arrive, in rollups the one with the largest partition and offset';
COMMENT ON AGGREGATE kafka.last(anyelement, timestamptz, int, bigint) IS
'the value of the row with the largest ts, partition and offset; rows without ts take no part';

COMMENT ON FUNCTION kafka.first_add(internal, anyelement, timestamptz) IS
'part of the aggregate kafka.first';
COMMENT ON FUNCTION kafka.first_add(internal, anyelement, timestamptz, int, bigint) IS
'part of the aggregate kafka.first';
COMMENT ON FUNCTION kafka.last_add(internal, anyelement, timestamptz) IS
'part of the aggregate kafka.last';
COMMENT ON FUNCTION kafka.last_add(internal, anyelement, timestamptz, int, bigint) IS
'part of the aggregate kafka.last';
COMMENT ON FUNCTION kafka.ordered_result(internal, anyelement, timestamptz) IS
'part of the aggregates kafka.first and kafka.last';
COMMENT ON FUNCTION kafka.ordered_result(internal, anyelement, timestamptz, int, bigint) IS
'part of the aggregates kafka.first and kafka.last';

-- What avg, variance and stddev of floats are made of: count, sum, and sum of
-- squared differences. PostgreSQL's own functions add, merge and finish them.
CREATE AGGREGATE kafka.float8_state(double precision) (
  SFUNC = pg_catalog.float8_accum,
  STYPE = double precision[],
  COMBINEFUNC = pg_catalog.float8_combine,
  INITCOND = '{0,0,0}',
  PARALLEL = SAFE
);

COMMENT ON AGGREGATE kafka.float8_state(double precision) IS
'count, sum and sum of squared differences, as float8_accum keeps them; what rollups keep of avg, variance and stddev of floats';

-- Divided in the same way as PostgreSQL's own aggregates do, to the last digit.
CREATE FUNCTION kafka.numeric_variance(
  "count" bigint,
  "sum" numeric,
  squares numeric,
  is_sample boolean)
RETURNS numeric
LANGUAGE SQL IMMUTABLE PARALLEL SAFE
RETURN CASE
  WHEN "count" <= is_sample::int THEN NULL
  WHEN "count" * squares - "sum" * "sum" <= 0 THEN 0
  ELSE ("count" * squares - "sum" * "sum") / ("count"::numeric * ("count" - is_sample::int))
END;

COMMENT ON FUNCTION kafka.numeric_variance(bigint, numeric, numeric, boolean) IS
'the variance of values of which count, sum and sum of squares are known';

-- sqrt(numeric) gives more digits; rounded twice, what lies just below a half
-- would go up.
CREATE FUNCTION kafka.numeric_sqrt(
  square numeric)
RETURNS numeric
LANGUAGE SQL IMMUTABLE PARALLEL SAFE
RETURN (SELECT CASE WHEN root > 0 AND (root - half) * (root - half) > square THEN trunc(root - half, digits) ELSE root END
          FROM (SELECT round(sqrt(square), digits), ('5e-' || digits + 1)::numeric, digits
                  FROM (SELECT coalesce(scale(square), 0)) AS s (digits)) AS r (root, half, digits));

COMMENT ON FUNCTION kafka.numeric_sqrt(numeric) IS
'the square root, rounded to as many digits as the argument has';

CREATE FUNCTION kafka.numeric_stddev(
  "count" bigint,
  "sum" numeric,
  squares numeric,
  is_sample boolean)
RETURNS numeric
LANGUAGE SQL IMMUTABLE PARALLEL SAFE
RETURN kafka.numeric_sqrt(kafka.numeric_variance("count", "sum", squares, is_sample));

COMMENT ON FUNCTION kafka.numeric_stddev(bigint, numeric, numeric, boolean) IS
'the standard deviation of values of which count, sum and sum of squares are known';

CREATE FUNCTION kafka.require_finite(double precision)
RETURNS double precision
AS 'MODULE_PATHNAME', 'kafka_require_finite'
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;

COMMENT ON FUNCTION kafka.require_finite(double precision) IS
'the value itself; an error for NaN and infinities';

CREATE FUNCTION kafka.key_hash(VARIADIC "any")
RETURNS uuid
AS 'MODULE_PATHNAME', 'kafka_key_hash'
LANGUAGE C IMMUTABLE PARALLEL SAFE;

COMMENT ON FUNCTION kafka.key_hash("any") IS
'128 bits made of the values, NULLs among them; NULL where all are NULL. What rollups keep of a unique_key';

-- An argument is $1, $2 is the first of a batch where a state is alone.
INSERT INTO kafka.rollup_aggregate (aggregate, extension, states, merges, final, built_in) VALUES
  ('pg_catalog.count()', NULL, '{count(*)}', '{$1 + $2}', '$1', true),
  ('pg_catalog.count("any")', NULL, '{count($1)}', '{$1 + $2}', '$1', true),
  ('pg_catalog.sum', NULL, '{sum($1)}', '{"coalesce($1 + $2, $1, $2)"}', '$1', true),
  ('pg_catalog.min', NULL, '{min($1)}', '{"least($1, $2)"}', '$1', true),
  ('pg_catalog.max', NULL, '{max($1)}', '{"greatest($1, $2)"}', '$1', true),
  ('pg_catalog.bool_and', NULL, '{bool_and($1)}', '{"coalesce($1 AND $2, $1, $2)"}', '$1', true),
  ('pg_catalog.every', NULL, '{every($1)}', '{"coalesce($1 AND $2, $1, $2)"}', '$1', true),
  ('pg_catalog.bool_or', NULL, '{bool_or($1)}', '{"coalesce($1 OR $2, $1, $2)"}', '$1', true),
  ('pg_catalog.bit_and', NULL, '{bit_and($1)}', '{"coalesce($1 & $2, $1, $2)"}', '$1', true),
  ('pg_catalog.bit_or', NULL, '{bit_or($1)}', '{"coalesce($1 | $2, $1, $2)"}', '$1', true),
  ('pg_catalog.bit_xor', NULL, '{bit_xor($1)}', '{"coalesce($1 # $2, $1, $2)"}', '$1', true),
  ('pg_catalog.avg(interval)', NULL, '{count($1),sum($1)}',
   '{$1 + $3,"coalesce($2 + $4, $2, $4)"}', '$2 / nullif($1, 0)::double precision', true),
  ('hll_union_agg(hll)', 'hll', '{hll_union_agg($1)}', '{"coalesce($1 || $2, $1, $2)"}', '$1', true),
  ('hll_add_agg(hll_hashval)', 'hll', '{hll_add_agg($1)}', '{"coalesce($1 || $2, $1, $2)"}', '$1', true),
  ('hll_add_agg(hll_hashval,integer)', 'hll', '{"hll_add_agg($1, $2)"}',
   '{"coalesce($1 || $2, $1, $2)"}', '$1', true),
  ('hll_add_agg(hll_hashval,integer,integer)', 'hll', '{"hll_add_agg($1, $2, $3)"}',
   '{"coalesce($1 || $2, $1, $2)"}', '$1', true),
  ('hll_add_agg(hll_hashval,integer,integer,bigint)', 'hll', '{"hll_add_agg($1, $2, $3, $4)"}',
   '{"coalesce($1 || $2, $1, $2)"}', '$1', true),
  ('hll_add_agg(hll_hashval,integer,integer,bigint,integer)', 'hll', '{"hll_add_agg($1, $2, $3, $4, $5)"}',
   '{"coalesce($1 || $2, $1, $2)"}', '$1', true),
  ('tdigest(double precision,integer)', 'tdigest', '{"tdigest(kafka.require_finite($1), $2)"}',
   '{"tdigest_union($1, $2)"}', '$1', true),
  ('tdigest(double precision,bigint,integer)', 'tdigest', '{"tdigest(kafka.require_finite($1), $2, $3)"}',
   '{"tdigest_union($1, $2)"}', '$1', true),
  ('tdigest(tdigest)', 'tdigest', '{tdigest($1)}', '{"tdigest_union($1, $2)"}', '$1', true);

-- Of floats
INSERT INTO kafka.rollup_aggregate (aggregate, states, merges, final, built_in)
SELECT format('pg_catalog.%s(%s)', f.name, t.name), '{kafka.float8_state($1)}',
       '{"float8_combine($1, $2)"}', format('pg_catalog.%s($1)', f.final), true
  FROM (VALUES ('avg', 'float8_avg'), ('variance', 'float8_var_samp'),
               ('var_samp', 'float8_var_samp'), ('var_pop', 'float8_var_pop'),
               ('stddev', 'float8_stddev_samp'), ('stddev_samp', 'float8_stddev_samp'),
               ('stddev_pop', 'float8_stddev_pop')) AS f (name, final),
       (VALUES ('real'), ('double precision')) AS t (name);

-- Of exact numbers
INSERT INTO kafka.rollup_aggregate (aggregate, states, merges, final, built_in)
SELECT format('pg_catalog.avg(%s)', t.name), '{count($1),sum($1::numeric)}',
       '{$1 + $3,"coalesce($2 + $4, $2, $4)"}', '$2 / nullif($1, 0)', true
  FROM (VALUES ('smallint'), ('integer'), ('bigint'), ('numeric')) AS t (name);

INSERT INTO kafka.rollup_aggregate (aggregate, states, merges, final, built_in)
SELECT format('pg_catalog.%s(%s)', f.name, t.name),
       '{count($1),sum($1::numeric),sum($1::numeric * $1::numeric)}',
       '{$1 + $4,"coalesce($2 + $5, $2, $5)","coalesce($3 + $6, $3, $6)"}',
       format('kafka.numeric_%s($1, $2, $3, %s)', f.final, f.is_sample::text), true
  FROM (VALUES ('variance', 'variance', true), ('var_samp', 'variance', true),
               ('var_pop', 'variance', false), ('stddev', 'stddev', true),
               ('stddev_samp', 'stddev', true), ('stddev_pop', 'stddev', false)
       ) AS f (name, final, is_sample),
       (VALUES ('smallint'), ('integer'), ('bigint'), ('numeric')) AS t (name);

-- By time: the value, and the place of its row in the order. With two
-- arguments $3 and $4 are the message's partition and offset.
INSERT INTO kafka.rollup_aggregate (aggregate, states, merges, final, built_in)
SELECT format('kafka.%s(anyelement,timestamp with time zone%s)', f.name, t.arguments),
       ARRAY(SELECT format('kafka.%s($%s, $2, $3, $4)', f.name, i)
               FROM generate_series(1, 4) AS i),
       ARRAY(SELECT format(
               'CASE WHEN $2 IS NULL OR $6 %1$s $2 OR $6 = $2 AND ('
               'coalesce($7, -2147483648) %1$s coalesce($3, -2147483648) OR '
               'coalesce($7, -2147483648) = coalesce($3, -2147483648) AND '
               'coalesce($8, -1) %1$s coalesce($4, -1)) THEN $%2$s ELSE $%3$s END',
               f.operator, i + 4, i)
               FROM generate_series(1, 4) AS i),
       '$1', true
  FROM (VALUES ('first', '<'), ('last', '>')) AS f (name, operator),
       (VALUES (''), (',integer,bigint')) AS t (arguments);

GRANT SELECT ON kafka.rollup_aggregate TO PUBLIC;

CREATE FUNCTION kafka.create_rollup(
  name text,
  query text,
  start_at timestamptz DEFAULT NULL,
  start_offsets jsonb DEFAULT NULL,
  start_group text DEFAULT NULL,
  schedule text DEFAULT NULL,
  expect text DEFAULT NULL,
  late_limit interval DEFAULT NULL,
  future_limit interval DEFAULT NULL,
  options jsonb DEFAULT '{}')
RETURNS regclass
AS 'MODULE_PATHNAME', 'kafka_create_rollup'
LANGUAGE C VOLATILE PARALLEL UNSAFE;

COMMENT ON FUNCTION kafka.create_rollup(text, text, timestamptz, jsonb, text, text, text, interval, interval, jsonb) IS
'makes a rollup: a view name over a table that CALL kafka.run_rollups(name) keeps up to date with what query, a SELECT that groups one Kafka foreign table, makes of its messages. It starts at the beginning, or at start_at, start_offsets or the committed offsets of start_group; messages that do not meet expect, are later than late_limit or more than future_limit ahead become dead letters';
