--
-- The functions of schema kafka. functions.feed makes the topics.
--
\getenv brokers KAFKA_BROKERS
SET TimeZone = 'UTC';
CREATE SERVER fn FOREIGN DATA WRAPPER kafka_fdw OPTIONS (brokers :'brokers');
CREATE SCHEMA fn;
SET search_path = fn, public;
CREATE FOREIGN TABLE fn_plain (
    dropped int,
    part int OPTIONS (partition 'true'),
    offs bigint OPTIONS (offset 'true'),
    ts timestamptz OPTIONS (timestamp 'true'),
    kafka_key text OPTIONS (key 'true'),
    headers jsonb OPTIONS (headers 'true'),
    n int
) SERVER fn OPTIONS (topic 'fn_plain');
ALTER FOREIGN TABLE fn_plain DROP COLUMN dropped;
CREATE FOREIGN TABLE fn_several (
    topic text OPTIONS (topic 'true'),
    part int OPTIONS (partition 'true'),
    offs bigint OPTIONS (offset 'true'),
    ts timestamptz OPTIONS (timestamp 'true'),
    n int
) SERVER fn OPTIONS (topic 'fn_second,fn_plain');
CREATE FOREIGN TABLE fn_listed (
    part int OPTIONS (partition 'true'),
    offs bigint OPTIONS (offset 'true'),
    n int
) SERVER fn OPTIONS (topic 'fn_plain', partitions '1-2');
CREATE FOREIGN TABLE fn_trimmed (offs bigint OPTIONS (offset 'true'), n int)
    SERVER fn OPTIONS (topic 'fn_trimmed');
CREATE FOREIGN TABLE fn_transactions (
    offs bigint OPTIONS (offset 'true'),
    ts timestamptz OPTIONS (timestamp 'true'),
    n int
) SERVER fn OPTIONS (topic 'fn_transactions');
CREATE FOREIGN TABLE fn_none (n int) SERVER fn OPTIONS (topic_pattern 'fn_no_such_.*');
CREATE TABLE fn_local (n int);
CREATE VIEW fn_view AS SELECT * FROM fn_plain;

--
-- watermarks
--
SELECT * FROM kafka.watermarks('fn_plain');
SELECT * FROM kafka.watermarks('fn_several');
SELECT * FROM kafka.watermarks('fn_listed');
SELECT * FROM kafka.watermarks('fn_trimmed');
SELECT * FROM kafka.watermarks('fn_none');
SELECT * FROM kafka.watermarks(NULL);
-- the last stable offset, below the open transaction; or the high watermark
SELECT * FROM kafka.watermarks('fn_transactions');
ALTER SERVER fn OPTIONS (ADD isolation_level 'read_uncommitted');
SELECT * FROM kafka.watermarks('fn_transactions');
ALTER SERVER fn OPTIONS (DROP isolation_level);
-- adjust/kafka_fdw's name
SELECT partition, offset_low, offset_high FROM kafka_get_watermarks('fn_plain');
SELECT sum(offset_low), sum(offset_high) FROM kafka_get_watermarks('fn_trimmed');
-- a partition that is not there, tables that are none of ours
ALTER FOREIGN TABLE fn_listed OPTIONS (SET partitions '2-3');
SELECT * FROM kafka.watermarks('fn_listed');
ALTER FOREIGN TABLE fn_listed OPTIONS (SET partitions '1-2');
SELECT * FROM kafka.watermarks('fn_local');
SELECT * FROM kafka.watermarks('fn_view');
SELECT * FROM kafka.watermarks(4294967295);
CREATE EXTENSION file_fdw SCHEMA public;
CREATE SERVER files FOREIGN DATA WRAPPER file_fdw;
CREATE FOREIGN TABLE fn_file (n int) SERVER files OPTIONS (filename '/dev/null');
SELECT * FROM kafka.watermarks('fn_file');
CREATE FOREIGN TABLE fn_missing (n int) SERVER fn OPTIONS (topic 'fn_plane');
\set VERBOSITY terse
SELECT * FROM kafka.watermarks('fn_missing');
\set VERBOSITY default

--
-- offsets_at
--
SELECT * FROM kafka.offsets_at('fn_plain', '2024-05-01 12:00:10+00');
-- rounds up to the millisecond: 12:00:30.001 is the newest record of both
SELECT * FROM kafka.offsets_at('fn_plain', '2024-05-01 12:00:30.000001+00');
SELECT * FROM kafka.offsets_at('fn_plain', '2024-05-01 12:00:30.001001+00');
SELECT * FROM kafka.offsets_at('fn_several', '2024-05-01 12:00:21+00');
-- before all, and times that are no times to a broker
SELECT * FROM kafka.offsets_at('fn_trimmed', '1970-01-01 00:00:00+00');
SELECT * FROM kafka.offsets_at('fn_trimmed', '1969-12-31 23:59:59.998+00');
SELECT * FROM kafka.offsets_at('fn_trimmed', '-infinity');
SELECT * FROM kafka.offsets_at('fn_trimmed', '4713-01-01 00:00:00+00 BC');
SELECT * FROM kafka.offsets_at('fn_trimmed', 'infinity');
SELECT * FROM kafka.offsets_at('fn_trimmed', '294276-12-31 23:59:59.999999+00');
SELECT * FROM kafka.offsets_at('fn_plain', NULL);

--
-- tail: newest first, ties by topic, partition, offset backwards
--
SELECT * FROM kafka.tail(NULL::fn_plain);
SELECT * FROM kafka.tail(NULL::fn_plain, 3);
-- among the last n of each partition: 0/1 (12:00:10) is older than 0/2
SELECT part, offs, ts FROM kafka.tail(NULL::fn_plain, 1);
SELECT t FROM kafka.tail('fn_plain'::regclass, 3) t;
SELECT t FROM kafka.tail('fn_plain', 1) t;
SELECT t->'n' AS n FROM kafka.tail('fn.fn_listed') t;
SELECT topic, part, offs, n FROM kafka.tail(NULL::fn_several, 4);
SELECT * FROM kafka.tail(NULL::fn_listed, 2);
SELECT * FROM kafka.tail(NULL::fn_none);
-- in a select list, in an expression, twice in one query
SELECT (kafka.tail(NULL::fn_listed, 2)).*;
SELECT kafka.tail('fn_listed'::regclass, 2);
SELECT a.offs, b.offs FROM kafka.tail(NULL::fn_plain, 2) a JOIN kafka.tail(NULL::fn_listed, 2) b USING (n);
-- any value of the type does
SELECT count(*) FROM fn_plain p, LATERAL kafka.tail(p, 2) t WHERE p.part = 1;
-- against the same thing said in SQL, over all n
SELECT n, count(*), bool_and(same) AS same
  FROM generate_series(1, 7) n, LATERAL (
    SELECT a IS NOT DISTINCT FROM b AS same FROM
      (SELECT row_number() OVER () AS r, t.* FROM kafka.tail(NULL::fn_several, n) t) a
      FULL JOIN
      (SELECT row_number() OVER (ORDER BY ts DESC, topic COLLATE "C", part, offs DESC) AS r, topic, part, offs, ts, n
         FROM (SELECT *, row_number() OVER (PARTITION BY topic, part ORDER BY offs DESC) AS back FROM fn_several) s
        WHERE back <= n.n ORDER BY ts DESC, topic COLLATE "C", part, offs DESC LIMIT n.n) b USING (r)) c
  GROUP BY n ORDER BY n;
-- offsets that are no messages; 0 is newer than 1 and 2, but not among the
-- last two or three
SELECT * FROM kafka.tail(NULL::fn_transactions, 1);
SELECT * FROM kafka.tail(NULL::fn_transactions, 2);
SELECT * FROM kafka.tail(NULL::fn_transactions, 3);
SELECT * FROM kafka.tail(NULL::fn_transactions, 2147483647);
SELECT * FROM kafka.tail(NULL::fn_trimmed, 3);
CREATE FOREIGN TABLE fn_many (
    part int OPTIONS (partition 'true'),
    offs bigint OPTIONS (offset 'true'),
    ts timestamptz OPTIONS (timestamp 'true'),
    n int
) SERVER fn OPTIONS (topic 'fn_many');
SELECT part, offs, n FROM kafka.tail(NULL::fn_many, 3);
SELECT count(*), count(DISTINCT part), min(n), max(n), sum(n) FROM kafka.tail(NULL::fn_many, 70);
SELECT count(*), min(n), sum(n) FROM kafka.tail(NULL::fn_many, 1000);
-- rows that do not fit work_mem
SET work_mem = '64kB';
CREATE FOREIGN TABLE fn_large (
    offs bigint OPTIONS (offset 'true'),
    value text OPTIONS (value 'true')
) SERVER fn OPTIONS (topic 'fn_large', format 'json');
SELECT count(*), sum(length(value)), max(offs), min(offs),
       bool_and(offs = previous - 1) FILTER (WHERE previous IS NOT NULL) AS ordered
  FROM (SELECT *, lag(offs) OVER () AS previous FROM kafka.tail(NULL::fn_large, 900)) t;
SELECT offs FROM kafka.tail(NULL::fn_large, 2);
RESET work_mem;
-- bad messages, by on_error
CREATE FOREIGN TABLE fn_bad (
    offs bigint OPTIONS (offset 'true'),
    n int,
    why text OPTIONS (junk_error 'true')
) SERVER fn OPTIONS (topic 'fn_bad');
SELECT offs, n, why IS NOT NULL AS bad FROM kafka.tail(NULL::fn_bad, 3);
ALTER FOREIGN TABLE fn_bad OPTIONS (ADD on_error 'skip');
SELECT offs, n FROM kafka.tail(NULL::fn_bad, 3);
ALTER FOREIGN TABLE fn_bad OPTIONS (SET on_error 'error');
\set VERBOSITY sqlstate
SELECT offs, n FROM kafka.tail(NULL::fn_bad, 3);
\set VERBOSITY default
SELECT offs, n FROM kafka.tail(NULL::fn_bad, 1);
-- what it does not take
SELECT kafka.tail(NULL::fn_plain, 0);
SELECT kafka.tail('fn_plain'::regclass, -1);
SELECT kafka.tail(NULL::fn_plain, NULL);
SELECT kafka.tail(NULL::regclass, 1);
SELECT kafka.tail(1, 1);
SELECT kafka.tail(NULL::fn_local, 1);
SELECT kafka.tail(NULL::fn_view, 1);
SELECT kafka.tail(NULL::fn_file, 1);
SELECT kafka.tail('fn_local'::regclass, 1);
SELECT kafka.tail('fn_no_such_table');
SELECT * FROM kafka.tail(ROW(1, 2), 1) AS (a int, b int);

--
-- time_disorder
--
CREATE FOREIGN TABLE "fn Disorder" (ts timestamptz OPTIONS (timestamp 'true'))
    SERVER fn OPTIONS (topic 'fn_disorder');
SELECT * FROM kafka.time_disorder('"fn Disorder"', '100 years');
-- today's records are in order, to a second
SELECT topic, kafka_partition, messages, disorder < '1 s' AS small, statement
  FROM kafka.time_disorder('"fn Disorder"');
-- and also where the reading must begin before them
ALTER FOREIGN TABLE "fn Disorder" OPTIONS (ADD trust_time_index 'false');
SELECT topic, kafka_partition, messages, disorder < '1 s' AS small
  FROM kafka.time_disorder('"fn Disorder"');
ALTER FOREIGN TABLE "fn Disorder" OPTIONS (DROP trust_time_index);
-- the statement works, and then says SET
SELECT DISTINCT statement AS declare FROM kafka.time_disorder('"fn Disorder"', '100 years') \gset
:declare;
SELECT DISTINCT statement FROM kafka.time_disorder('"fn Disorder"', '100 years');
-- partitions and topics of one table, one of them empty
SELECT * FROM kafka.time_disorder('fn_several', '100 years');
SELECT * FROM kafka.time_disorder('fn_listed', '100 years');
-- nothing so late
SELECT * FROM kafka.time_disorder('fn_listed', '-1 day');
SELECT * FROM kafka.time_disorder('fn_none');
-- markers and aborted records have times that only the broker knows: 13:00,
-- and now, come before 12:00:03, so a lag of a second would lose that record
SELECT * FROM kafka.time_disorder('fn_transactions', '100 years');
SELECT * FROM kafka.offsets_at('fn_transactions', '2024-05-01 12:00:04+00');
-- the broker's clock
CREATE FOREIGN TABLE fn_append (n int) SERVER fn OPTIONS (topic 'fn_append');
SELECT topic, kafka_partition, messages, disorder < '1 s' AS small, statement
  FROM kafka.time_disorder('fn_append');
ALTER FOREIGN TABLE fn_append OPTIONS (SET topic 'fn_append,fn_plain');
SELECT topic, kafka_partition, messages, statement
  FROM kafka.time_disorder('fn_append', '100 years');

--
-- group_offsets
--
SELECT topic, kafka_partition, committed, end_offset, lag FROM kafka.group_offsets('fn', 'fn_group');
SELECT * FROM kafka.group_offsets('fn', 'fn_no_such_group');
SELECT * FROM kafka.group_offsets('fn', NULL);
SELECT * FROM kafka.group_offsets('fn', '');
SELECT * FROM kafka.group_offsets('fn_no_such_server', 'fn_group');
SELECT * FROM kafka.group_offsets('files', 'fn_group');

--
-- Rights
--
CREATE ROLE regress_kafka_fn;
GRANT USAGE ON SCHEMA fn TO regress_kafka_fn;
GRANT SELECT (n) ON fn_plain TO regress_kafka_fn;
SET ROLE regress_kafka_fn;
SELECT * FROM kafka.watermarks('fn_plain');
SELECT * FROM kafka_get_watermarks('fn_plain');
SELECT * FROM kafka.offsets_at('fn_plain', now());
SELECT * FROM kafka.tail(NULL::fn_plain);
SELECT * FROM kafka.tail('fn_plain'::regclass);
SELECT * FROM kafka.time_disorder('fn_plain');
SELECT * FROM kafka.group_offsets('fn', 'fn_group');
RESET ROLE;
GRANT SELECT ON fn_plain TO regress_kafka_fn;
GRANT USAGE ON FOREIGN SERVER fn TO regress_kafka_fn;
SET ROLE regress_kafka_fn;
SELECT count(*) FROM kafka.watermarks('fn_plain');
SELECT count(*) FROM kafka.tail(NULL::fn_plain);
SELECT count(*) FROM kafka.group_offsets('fn', 'fn_group');
RESET ROLE;
-- none acts as somebody else, and only what asks nobody runs in a parallel worker
SELECT count(*) FILTER (WHERE prosecdef) AS definers,
       count(*) FILTER (WHERE proparallel = 's' AND provolatile <> 'i') AS parallel,
       count(*) FILTER (WHERE provolatile = 's') AS stable,
       count(*) FILTER (WHERE obj_description(oid, 'pg_proc') IS NULL) AS unexplained
  FROM pg_proc
 WHERE pronamespace = 'kafka'::regnamespace OR proname = 'kafka_get_watermarks';

--
-- In one transaction at REPEATABLE READ a topic ends where it ended
--
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT end_offset FROM kafka.watermarks('fn_trimmed');
\! echo 'produce fn_trimmed time=2024-05-01T12:00:09Z value={}' | feed
SELECT end_offset FROM kafka.watermarks('fn_trimmed');
SELECT offs FROM kafka.tail(NULL::fn_trimmed, 1);
COMMIT;
SELECT end_offset FROM kafka.watermarks('fn_trimmed');
SELECT offs FROM kafka.tail(NULL::fn_trimmed, 1);

--
-- disconnect, version
--
SELECT kafka.disconnect() > 0 AS connected;
SELECT kafka.disconnect();
SELECT kafka.version() ~ '^kafka_fdw \d+\.\d+, librdkafka \d+\.\d+\.\d+, simdjson \d+\.\d+\.\d+, PostgreSQL \d+(\.\d+|\w+)$' AS shape,
       kafka.version() LIKE 'kafka_fdw ' || extversion || ', %' AS extension,
       kafka.version() LIKE '%PostgreSQL ' || substring(current_setting('server_version') from '^\S+') AS server
  FROM pg_extension WHERE extname = 'kafka_fdw';

\set VERBOSITY terse
SET client_min_messages = warning;
DROP SCHEMA fn CASCADE;
DROP SERVER fn CASCADE;
DROP EXTENSION file_fdw CASCADE;
DROP ROLE regress_kafka_fn;
