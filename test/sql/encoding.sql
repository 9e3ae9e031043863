--
-- Messages in databases of other encodings than UTF-8: text that enters is
-- valid there, or the message is a bad one. JSON is UTF-8 wherever it is read;
-- keys and csv are taken to be in the database's encoding. encoding.feed makes
-- the topics.
--
\getenv brokers KAFKA_BROKERS
\set regression :DBNAME
CREATE DATABASE regress_kafka_utf8 TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C';
CREATE DATABASE regress_kafka_latin1 TEMPLATE template0 ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C';
CREATE DATABASE regress_kafka_ascii TEMPLATE template0 ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C';
SELECT format($$
CREATE EXTENSION kafka_fdw;
CREATE SERVER encoding FOREIGN DATA WRAPPER kafka_fdw OPTIONS (brokers %L);
CREATE FOREIGN TABLE j (o bigint OPTIONS (offset 'true'), n int, name text, fault text OPTIONS (junk_error 'true'), junk text OPTIONS (junk 'true'))
SERVER encoding OPTIONS (topic 'encoding');
CREATE FOREIGN TABLE e (o bigint OPTIONS (offset 'true'), name text) SERVER encoding OPTIONS (topic 'encoding');
CREATE FOREIGN TABLE street (o bigint OPTIONS (offset 'true'), "%s" text, b text OPTIONS (json '%s')) SERVER encoding OPTIONS (topic 'encoding');
CREATE FOREIGN TABLE k (o bigint OPTIONS (offset 'true'), k text OPTIONS (key 'true'), h jsonb OPTIONS (headers 'true'), fault text OPTIONS (junk_error 'true'))
SERVER encoding OPTIONS (topic 'encoding');
CREATE FOREIGN TABLE c (n int, name text, o bigint OPTIONS (offset 'true'), fault text OPTIONS (junk_error 'true')) SERVER encoding OPTIONS (topic 'encoding_csv', format 'csv');
CREATE FOREIGN TABLE ce (n int, name text, o bigint OPTIONS (offset 'true')) SERVER encoding OPTIONS (topic 'encoding_csv', format 'csv');
CREATE FUNCTION hex(text) RETURNS text LANGUAGE sql AS $f$ SELECT encode(convert_to($1, getdatabaseencoding()), 'hex') $f$;
$$, :'brokers', 'straße', 'straße') AS prepare,
$$SELECT o, n, hex(name) AS name, fault FROM j ORDER BY o;
SELECT o, hex(junk) AS junk FROM j WHERE junk IS NOT NULL ORDER BY o;
SELECT o, hex("straße") AS "straße", hex(b) AS b FROM street WHERE o < 3 ORDER BY o;
SELECT o, hex(k) AS k, hex(h::text) AS h, fault FROM k WHERE o < 4 ORDER BY o;
SELECT o, n, hex(name) AS name, fault FROM c ORDER BY o;
SELECT hex(name) FROM ce WHERE o = 2;
SELECT hex(name) FROM ce WHERE o = 3;
SELECT hex(name) FROM e WHERE o = 1;
SELECT hex(name) FROM e WHERE o = 2;
SELECT hex(name) FROM e WHERE o = 4;
SELECT count(*), count(name) FROM c WHERE name LIKE 'caf_';$$ AS statements \gset

\c regress_kafka_utf8
:prepare
:statements

\c regress_kafka_latin1
:prepare
:statements

-- Here bytes are taken and shown as they are.
\c regress_kafka_ascii
:prepare
:statements

\c :regression
DROP DATABASE regress_kafka_utf8;
DROP DATABASE regress_kafka_latin1;
DROP DATABASE regress_kafka_ascii;
