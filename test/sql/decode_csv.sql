--
-- Values of CSV messages, and of those that are one text or just bytes.
-- decode_csv.feed makes the topics.
--
\getenv brokers KAFKA_BROKERS
SET TimeZone = 'UTC';
SET DateStyle = 'ISO';
CREATE SERVER decode_csv FOREIGN DATA WRAPPER kafka_fdw OPTIONS (brokers :'brokers');
CREATE SCHEMA decode_csv;
SET search_path = decode_csv, public;

--
-- Fields go to the columns in order, whatever other columns stand between.
--
CREATE FOREIGN TABLE csv (
    n int,
    o bigint OPTIONS (offset 'true'),
    name text,
    gone text,
    size float8,
    ts timestamptz,
    junk bytea OPTIONS (junk 'true'),
    fault text OPTIONS (junk_error 'true')
) SERVER decode_csv OPTIONS (topic 'decode_csv', format 'csv');
ALTER FOREIGN TABLE csv DROP COLUMN gone;
SELECT o, n, name, size, ts FROM csv ORDER BY o;
SELECT o, junk, fault FROM csv WHERE fault IS NOT NULL ORDER BY o;
-- What is not asked for is not converted, but all of a message must be CSV.
SELECT o, name FROM csv ORDER BY o;
SELECT count(*) FROM csv;

-- COPY's errors
ALTER FOREIGN TABLE csv OPTIONS (ADD strict 'true');
SELECT o, n, name, fault FROM csv ORDER BY o;
ALTER FOREIGN TABLE csv OPTIONS (ADD on_error 'skip');
SELECT o, n FROM csv ORDER BY o;
ALTER FOREIGN TABLE csv OPTIONS (SET on_error 'error');
SELECT n FROM csv WHERE o = 4;
SELECT n FROM csv WHERE o = 3;
SELECT n FROM csv WHERE o = 8;
SELECT n FROM csv WHERE o = 10;

--
-- Dialects
--
CREATE FOREIGN TABLE dialect (
    o bigint OPTIONS (offset 'true'), n int, a text, b text
) SERVER decode_csv OPTIONS (topic 'decode_csv_dialect', format 'csv', delimiter E'\t', quote '''', escape '\', null '\N');
SELECT o, n, a, a IS NULL AS a_null, b FROM dialect ORDER BY o;

--
-- Other types take their own literals, as in COPY.
--
CREATE TYPE pair AS (n int, s text);
CREATE TYPE color AS ENUM ('red', 'green');
CREATE DOMAIN short AS varchar(3) NOT NULL;
CREATE FOREIGN TABLE types (
    o bigint OPTIONS (offset 'true'), ints int[], a_pair pair, doc jsonb, c color, s short, b bool,
    fault text OPTIONS (junk_error 'true')
) SERVER decode_csv OPTIONS (topic 'decode_csv_types', format 'csv');
SELECT o, ints, a_pair, doc, c, s, b FROM types ORDER BY o;
SELECT o, each FROM types, unnest(string_to_array(fault, '; ')) AS each ORDER BY o, each;

--
-- One text
--
CREATE FOREIGN TABLE one_text (
    o bigint OPTIONS (offset 'true'), t text, fault text OPTIONS (junk_error 'true')
) SERVER decode_csv OPTIONS (topic 'decode_csv_text', format 'text');
SELECT o, t, t IS NULL AS is_null, fault FROM one_text ORDER BY o;
CREATE FOREIGN TABLE one_int (
    o bigint OPTIONS (offset 'true'), i int, fault text OPTIONS (junk_error 'true')
) SERVER decode_csv OPTIONS (topic 'decode_csv_text', format 'text');
SELECT * FROM one_int ORDER BY o;

--
-- Bytes
--
CREATE FOREIGN TABLE bytes (
    o bigint OPTIONS (offset 'true'), b bytea
) SERVER decode_csv OPTIONS (topic 'decode_csv_text', format 'raw');
SELECT o, b, b IS NULL AS is_null FROM bytes ORDER BY o;
CREATE FOREIGN TABLE bytes_as_text (
    o bigint OPTIONS (offset 'true'), t varchar(4)
) SERVER decode_csv OPTIONS (topic 'decode_csv_text', format 'raw', on_error 'null');
SELECT * FROM bytes_as_text ORDER BY o;

SET client_min_messages = warning;
DROP SCHEMA decode_csv CASCADE;
DROP SERVER decode_csv;
