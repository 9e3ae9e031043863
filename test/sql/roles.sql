--
-- Columns with a role: what a record is beside its fields. roles.feed makes the
-- topics.
--
\getenv brokers KAFKA_BROKERS
SET TimeZone = 'UTC';
SET DateStyle = 'ISO';
CREATE SERVER roles FOREIGN DATA WRAPPER kafka_fdw OPTIONS (brokers :'brokers');
CREATE SCHEMA roles;
SET search_path = roles, public;

--
-- The usual types. NULL and empty keys and values are told apart.
--
CREATE FOREIGN TABLE usual (
    topic text OPTIONS (topic 'true'),
    p int OPTIONS (partition 'true'),
    o bigint OPTIONS (offset 'true'),
    ts timestamptz OPTIONS (timestamp 'true'),
    ts_type text OPTIONS (timestamp_type 'true'),
    k bytea OPTIONS (key 'true'),
    v bytea OPTIONS (value 'true'),
    h jsonb OPTIONS (headers 'true')
) SERVER roles OPTIONS (topic 'roles');
SELECT topic, p, o, ts, ts_type FROM usual ORDER BY p, o;
SELECT p, o, k, k IS NULL AS k_null, v, v IS NULL AS v_null FROM usual ORDER BY p, o;
SELECT p, o, h FROM usual ORDER BY p, o;
SELECT p, o, h ->> 'trace' AS trace, h ? 'a' AS has_a, h #>> '{a,2}' AS third FROM usual ORDER BY p, o;
-- The message need not be what the format says, when no field is asked for.
SELECT count(*), count(k), count(v) FROM usual;

--
-- Other types
--
CREATE FOREIGN TABLE others (
    topic varchar(3) OPTIONS (topic 'true'),
    p smallint OPTIONS (partition 'true'),
    o bigint OPTIONS (offset 'true'),
    ts timestamp(0) OPTIONS (timestamp 'true'),
    ts_type varchar OPTIONS (timestamp_type 'true'),
    k text OPTIONS (key 'true'),
    v jsonb OPTIONS (value 'true'),
    h json OPTIONS (headers 'true'),
    fault text OPTIONS (junk_error 'true')
) SERVER roles OPTIONS (topic 'roles');
SELECT topic, p, o, ts, ts_type, k, v, h FROM others ORDER BY p, o;
SELECT p, o, each FROM others, unnest(string_to_array(fault, '; ')) AS each WHERE each !~ 'column "topic"' ORDER BY p, o, each;
SELECT DISTINCT each FROM others, unnest(string_to_array(fault, '; ')) AS each WHERE each ~ 'column "topic"';
ALTER FOREIGN TABLE others ALTER topic TYPE varchar(5), ALTER p TYPE bigint, ALTER k TYPE json, ALTER v TYPE varchar(8), ALTER ts TYPE timestamptz(1);
SELECT topic, p, o, ts, k, v FROM others ORDER BY p, o;
-- Local time as a cast gives it
ALTER FOREIGN TABLE others ALTER ts TYPE timestamp;
SET TimeZone = 'Asia/Kolkata';
SELECT p, o, others.ts, others.ts = usual.ts::timestamp AS as_cast FROM others JOIN usual USING (p, o) WHERE p = 0 ORDER BY p, o;
SET TimeZone = 'UTC';

--
-- Domains; that a record has no key or time breaks none.
--
CREATE DOMAIN small_key AS text NOT NULL CHECK (length(VALUE) < 5);
CREATE DOMAIN low_offset AS bigint CHECK (VALUE < 2);
CREATE DOMAIN recent AS timestamptz CHECK (VALUE > '1970-01-01');
CREATE FOREIGN TABLE domains (
    p int OPTIONS (partition 'true'),
    real_o bigint, -- a field
    o low_offset OPTIONS (offset 'true'),
    ts recent OPTIONS (timestamp 'true'),
    k small_key OPTIONS (key 'true'),
    fault text OPTIONS (junk_error 'true')
) SERVER roles OPTIONS (topic 'roles');
SELECT p, o, ts, k, fault FROM domains ORDER BY p, o, k;

--
-- More than one topic, and times set by the broker
--
CREATE FOREIGN TABLE several (
    topic text OPTIONS (topic 'true'),
    o bigint OPTIONS (offset 'true'),
    ts_type text OPTIONS (timestamp_type 'true'),
    ts timestamptz OPTIONS (timestamp 'true'),
    k text OPTIONS (key 'true'),
    v text OPTIONS (value 'true')
) SERVER roles OPTIONS (topic 'roles_append,roles_other');
SELECT topic, o, ts_type, ts > now() - interval '1 day' AS is_new, k, v FROM several ORDER BY topic;
SELECT topic, ts_type, k FROM several WHERE topic = 'roles_other';

--
-- Times beyond those that PostgreSQL knows
--
CREATE FOREIGN TABLE far (
    o bigint OPTIONS (offset 'true'),
    k text OPTIONS (key 'true'),
    ts timestamptz OPTIONS (timestamp 'true')
) SERVER roles OPTIONS (topic 'roles_far', on_error 'null');
SELECT * FROM far ORDER BY o;
ALTER FOREIGN TABLE far ALTER ts TYPE timestamp;
SELECT * FROM far ORDER BY o;
SET TimeZone = 'Asia/Tokyo';
SELECT * FROM far ORDER BY o;
SET TimeZone = 'UTC';
ALTER FOREIGN TABLE far OPTIONS (SET on_error 'error');
SELECT o, k FROM far ORDER BY o;
SELECT * FROM far;

--
-- Types that do not fit are found when the table is used.
--
CREATE FOREIGN TABLE unfit (o int OPTIONS (offset 'true')) SERVER roles OPTIONS (topic 'roles');
SELECT * FROM unfit;
CREATE FOREIGN TABLE unfit_headers (h text OPTIONS (headers 'true')) SERVER roles OPTIONS (topic 'roles');
SELECT * FROM unfit_headers;
CREATE FOREIGN TABLE doubled (a text OPTIONS (key 'true'), b bytea OPTIONS (key 'true')) SERVER roles OPTIONS (topic 'roles');
SELECT * FROM doubled;

SET client_min_messages = warning;
DROP SCHEMA roles CASCADE;
DROP SERVER roles;
