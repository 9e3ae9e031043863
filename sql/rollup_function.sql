--
-- Functions that change rollups. Each checks itself that the caller is a
-- member of the rollup's owner.
--

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
'makes a rollup: a view name over a table that CALL kafka.run_rollups(name) keeps up to date with what query, a SELECT that groups one Kafka foreign table, makes of its messages. It starts at the beginning, or at start_at, start_offsets or the committed offsets of start_group; messages that do not meet expect, are later than late_limit or more than future_limit ahead become dead letters. With a schedule, five fields in GMT, pg_cron runs it by a job of its owner, with the option follow by one job for all of the owner''s rollups';

CREATE FUNCTION kafka.alter_rollup(
  name text,
  enabled boolean DEFAULT NULL,
  schedule text DEFAULT NULL,
  options jsonb DEFAULT NULL)
RETURNS void
AS 'MODULE_PATHNAME', 'kafka_alter_rollup'
LANGUAGE C VOLATILE PARALLEL UNSAFE;

COMMENT ON FUNCTION kafka.alter_rollup(text, boolean, text, jsonb) IS
'changes what is not NULL. enabled false pauses the rollup, true ends a pause, also one that began because too many messages failed; neither ends a halt; both make its pg_cron job what it should be. schedule ''none'' takes the job away. options are put over those there are, key by key, and a JSON null takes a key away; unique_key and unique_within cannot change. Waits for a batch that is being stored';

CREATE FUNCTION kafka.drop_rollup(
  name text,
  if_exists boolean DEFAULT false,
  "cascade" boolean DEFAULT false)
RETURNS void
AS 'MODULE_PATHNAME', 'kafka_drop_rollup'
LANGUAGE C VOLATILE PARALLEL UNSAFE;

COMMENT ON FUNCTION kafka.drop_rollup(text, boolean, boolean) IS
'drops a rollup with its relations, positions, runs, dead letters and pg_cron job; refused while other objects depend on one of the relations, unless cascade is true: then these are dropped too';

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
'counts what is new in the topics of a rollup, or with NULL of all rollups whose owner''s rights you have, up to their present ends; a topic is read once for all that may share it. Commits each batch of at most max_rows messages or 64 MB of memory, and begins no batch after max_time, which several rollups share; but each begins one, so that all get on. With follow it goes on as topics grow until max_time is over, for the rollup that is named, or for those with the option follow; each commits every commit_interval. Returns at once where another run of the same rollup is under way. An error at the end names the rollups that failed; what was committed stands';

CREATE PROCEDURE kafka.rebuild_rollup(
  name text,
  query text DEFAULT NULL,
  since timestamptz DEFAULT NULL,
  max_time interval DEFAULT NULL)
AS 'MODULE_PATHNAME', 'kafka_rebuild_rollup'
LANGUAGE C;

COMMENT ON PROCEDURE kafka.rebuild_rollup(text, text, timestamptz, interval) IS
'makes a rollup anew from what its topics hold, since a time or from the beginning, with the same query or another one that has the same columns and maybe more after them. The rollup is read and run as before meanwhile; when the new numbers have come as far as the old ones they take their place in one transaction, and all that depends on the view stays. Buckets whose messages the topics do not hold whole any more are kept as they are. Commits batch by batch; what a call that ends early has done the next one with the same query and since goes on with';

CREATE FUNCTION kafka.seek_rollup(
  name text,
  "time" timestamptz,
  accept_loss boolean DEFAULT false)
RETURNS void
AS 'MODULE_PATHNAME', 'kafka_seek_rollup_time'
LANGUAGE C VOLATILE PARALLEL UNSAFE;

COMMENT ON FUNCTION kafka.seek_rollup(text, timestamptz, boolean) IS
'moves all positions of a rollup to the first message that is not older than the time, or to the end where there is none (infinity is the end, -infinity the beginning), and lets a halted or paused rollup run again. Leaving out messages and reading some a second time make the rollup''s numbers wrong, and are refused without accept_loss';

CREATE FUNCTION kafka.seek_rollup(
  name text,
  offsets jsonb,
  accept_loss boolean DEFAULT false)
RETURNS void
AS 'MODULE_PATHNAME', 'kafka_seek_rollup_offsets'
LANGUAGE C VOLATILE PARALLEL UNSAFE;

COMMENT ON FUNCTION kafka.seek_rollup(text, jsonb, boolean) IS
'moves those positions of a rollup that offsets names, {"0": 100}, or {"topic": {"0": 100}} for a table with several topics; instead of a number "earliest" and "latest" are possible. Otherwise like kafka.seek_rollup(text, timestamptz, boolean)';

-- A bare literal fits the other two equally well; PostgreSQL prefers text.
CREATE FUNCTION kafka.seek_rollup(
  name text,
  start text,
  accept_loss boolean DEFAULT false)
RETURNS void
AS 'MODULE_PATHNAME', 'kafka_seek_rollup_text'
LANGUAGE C VOLATILE PARALLEL UNSAFE;

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

CREATE FUNCTION kafka.prune(
  name text,
  max_rows bigint DEFAULT NULL)
RETURNS bigint
AS 'MODULE_PATHNAME', 'kafka_prune'
LANGUAGE C VOLATILE PARALLEL UNSAFE;

COMMENT ON FUNCTION kafka.prune(text, bigint) IS
'removes at once what runs would remove in time: rows of the rollup''s buckets that are wholly older than its option retention, rows of kafka.rollup_runs older than run_retention, dead letters to which nothing has happened for dead_letter_retention; at most max_rows rows in all, with NULL all there are. Tells how many rows of buckets went. Messages that come for a bucket that was removed are dead letters, stage late, for good. Buckets stay while the rollup has not read its topics to their ends. Waits for a batch that is being stored';

CREATE FUNCTION kafka.test_rollup(
  query_or_name text,
  messages jsonb)
RETURNS SETOF jsonb
AS 'MODULE_PATHNAME', 'kafka_test_rollup'
LANGUAGE C VOLATILE PARALLEL UNSAFE ROWS 10;

COMMENT ON FUNCTION kafka.test_rollup(text, jsonb) IS
'the rows that a rollup''s query (SELECT ...), or a rollup by its name, makes of messages, each an object, in the order of the group columns, and then for each message that is bad {"dead_letter": {"stage", "sqlstate", "message", "partition", "offset", "value"}}. Asks no broker and leaves nothing behind. Messages are an array of objects with any of value (an object or array is sent as JSON, text as it is, null is a tombstone), key, timestamp (milliseconds since 1970, or text), timestamp_type, partition, offset, topic and headers';

-- In a view for every reader of which anybody may execute it: what it lets the
-- view's owner read is checked by the scan that it becomes a part of.
CREATE FUNCTION kafka.in_tail(
  rollup text,
  source oid,
  columns record DEFAULT NULL,
  passes boolean DEFAULT true,
  "time" timestamptz DEFAULT NULL,
  key_hash uuid DEFAULT NULL,
  bucket "any" DEFAULT NULL)
RETURNS boolean
AS 'MODULE_PATHNAME', 'kafka_in_tail'
LANGUAGE C STABLE PARALLEL RESTRICTED;

COMMENT ON FUNCTION kafka.in_tail(text, oid, record, boolean, timestamptz, uuid, "any") IS
'WHERE kafka.in_tail(name, t.tableoid) reads of the Kafka foreign table t what the rollup, by its name without schema, has not counted yet: each partition from the rollup''s position on, without the messages that a run would not count. For members of the rollup''s owner; the live views of rollups are made with it. The other arguments tell what the rollup needs of a message: columns without which it is bad, and the columns of its view of checks and its bucket';
