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
