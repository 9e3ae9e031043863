--
-- Values of JSON messages. decode_json.feed makes the topics; that all types
-- convert as json_to_record converts them is proved by test/t/010_json_oracle.pl.
--
\getenv brokers KAFKA_BROKERS
SET TimeZone = 'UTC';
SET DateStyle = 'ISO';
SET IntervalStyle = 'postgres';
CREATE SERVER decode_json FOREIGN DATA WRAPPER kafka_fdw OPTIONS (brokers :'brokers');
CREATE SCHEMA decode_json;
SET search_path = decode_json, public;
CREATE TYPE pair AS (n int, s text);

--
-- Every type
--
CREATE FOREIGN TABLE types (
    o bigint OPTIONS (offset 'true'),
    a_text text,
    a_varchar varchar(5),
    a_char char(4),
    an_int2 int2,
    an_int4 int4,
    an_int8 int8,
    a_float4 float4,
    a_float8 float8,
    a_numeric numeric,
    a_price numeric(6,2),
    a_bool bool,
    a_timestamptz timestamptz,
    a_timestamp timestamp,
    a_date date,
    a_uuid uuid,
    a_jsonb jsonb,
    a_json json,
    some_ints int[],
    some_texts text[],
    a_pair pair,
    some_pairs pair[],
    an_interval interval,
    a_bytea bytea
) SERVER decode_json OPTIONS (topic 'decode_json_types', format 'json');
\x on
SELECT * FROM types ORDER BY o;
\x off

-- A column as any type that JSON fits in
CREATE FOREIGN TABLE as_text (
    o bigint OPTIONS (offset 'true'), a_numeric text, a_bool text, a_jsonb text, some_ints text, a_pair jsonb
) SERVER decode_json OPTIONS (topic 'decode_json_types', format 'json');
SELECT * FROM as_text WHERE o < 3 ORDER BY o;

-- What is dropped or added later is found by name, not by place.
ALTER FOREIGN TABLE as_text DROP COLUMN a_bool, ADD COLUMN an_int2 int, ADD COLUMN twice int GENERATED ALWAYS AS (an_int2 * 2) STORED;
SELECT * FROM as_text WHERE o < 2 ORDER BY o;

--
-- Names and paths
--
CREATE FOREIGN TABLE paths (
    o bigint OPTIONS (offset 'true'),
    "user" text,
    id int OPTIONS (json 'user.id'),
    first text OPTIONS (json 'user.name.first'),
    umlaut text OPTIONS (json U&'\00e4'),
    "User" text,
    "a b" text,
    again int OPTIONS (json 'user.id')
) SERVER decode_json OPTIONS (topic 'decode_json_paths', format 'json');
SELECT * FROM paths ORDER BY o;

--
-- Times
--
CREATE FOREIGN TABLE times (
    o bigint OPTIONS (offset 'true'),
    s timestamptz OPTIONS (time_format 'unix_s'),
    ms timestamptz OPTIONS (time_format 'unix_ms'),
    us timestamptz OPTIONS (time_format 'unix_us'),
    ns timestamptz OPTIONS (time_format 'unix_ns'),
    iso timestamptz OPTIONS (time_format 'iso8601'),
    ms_local timestamp OPTIONS (json 'ms', time_format 'unix_ms'),
    ms_date date OPTIONS (json 'ms', time_format 'unix_ms'),
    ms_rounded timestamptz(0) OPTIONS (json 'ms', time_format 'unix_ms'),
    iso_local timestamp OPTIONS (json 'iso', time_format 'iso8601'),
    iso_date date OPTIONS (json 'iso', time_format 'iso8601'),
    fault text OPTIONS (junk_error 'true')
) SERVER decode_json OPTIONS (topic 'decode_json_times', format 'json');
SELECT o, s, ms, us, ns, iso FROM times ORDER BY o;
SELECT o, ms_local, ms_date, ms_rounded, iso_local, iso_date FROM times ORDER BY o;
SELECT o, each FROM times, unnest(string_to_array(fault, '; ')) AS each ORDER BY o, each;
-- Through the session's time zone as a cast does
SET TimeZone = 'Europe/Berlin';
SELECT o, ms, ms_local, ms_date, iso, iso_local, iso_date FROM times ORDER BY o;
SELECT bool_and(ms_local = ms::timestamp AND iso_local = iso::timestamp AND iso_date = iso::date) AS as_cast FROM times;
SET TimeZone = 'UTC';

--
-- Fields of the key
--
CREATE FOREIGN TABLE keys (
    o bigint OPTIONS (offset 'true'),
    key_id int OPTIONS (json 'id', "from" 'key'),
    name text OPTIONS ("from" 'key'),
    id int,
    junk text OPTIONS (junk 'true'),
    fault text OPTIONS (junk_error 'true')
) SERVER decode_json OPTIONS (topic 'decode_json_keys', format 'json');
SELECT * FROM keys ORDER BY o;
-- A key that is not asked for is not judged.
SELECT o, id FROM keys ORDER BY o;

--
-- Framing
--
CREATE FOREIGN TABLE framed (
    o bigint OPTIONS (offset 'true'),
    n int,
    whole bytea OPTIONS (value 'true'),
    fault text OPTIONS (junk_error 'true')
) SERVER decode_json OPTIONS (topic 'decode_json_framed', format 'json', framing 'confluent');
SELECT * FROM framed ORDER BY o;

--
-- Domains
--
CREATE DOMAIN positive AS int CONSTRAINT is_positive CHECK (VALUE > 0);
CREATE DOMAIN required AS text NOT NULL;
CREATE DOMAIN few AS int[] CONSTRAINT is_few CHECK (array_length(VALUE, 1) < 3);
CREATE DOMAIN good AS pair CONSTRAINT is_good CHECK ((VALUE).n IS NOT NULL);
CREATE FOREIGN TABLE domains (
    o bigint OPTIONS (offset 'true'),
    positive positive,
    required required,
    few few,
    good good,
    fault text OPTIONS (junk_error 'true')
) SERVER decode_json OPTIONS (topic 'decode_json_domains', format 'json');
SELECT o, positive, required, few, good FROM domains ORDER BY o;
SELECT o, each FROM domains, unnest(string_to_array(fault, '; ')) AS each ORDER BY o, each;

SET client_min_messages = warning;
DROP SCHEMA decode_json CASCADE;
DROP SERVER decode_json;
