--
-- Messages that cannot be read, by on_error. bad_messages.feed makes the topics.
--
\getenv brokers KAFKA_BROKERS
SET TimeZone = 'UTC';
SET DateStyle = 'ISO';
CREATE SERVER bad_messages FOREIGN DATA WRAPPER kafka_fdw OPTIONS (brokers :'brokers');
CREATE SCHEMA bad_messages;
SET search_path = bad_messages, public;

CREATE FOREIGN TABLE nulls (
    o bigint OPTIONS (offset 'true'),
    i int, t text, ts timestamptz, f float8,
    junk text OPTIONS (junk 'true'),
    fault text OPTIONS (junk_error 'true')
) SERVER bad_messages OPTIONS (topic 'bad_messages', format 'json');
CREATE FOREIGN TABLE skips (
    o bigint OPTIONS (offset 'true'),
    i int, t text, ts timestamptz, f float8
) SERVER bad_messages OPTIONS (topic 'bad_messages', format 'json', on_error 'skip');
CREATE FOREIGN TABLE errors (
    o bigint OPTIONS (offset 'true'),
    i int, t text, ts timestamptz, f float8
) SERVER bad_messages OPTIONS (topic 'bad_messages', format 'json');

--
-- on_error null, the default where a junk column is declared
--
SELECT o, i, t, ts, f, junk IS NOT NULL AS bad FROM nulls ORDER BY o;
SELECT o, junk FROM nulls WHERE junk IS NOT NULL ORDER BY o;
SELECT o, each FROM nulls, unnest(string_to_array(fault, '; ')) AS each ORDER BY o, each;
-- Only the columns that are asked for are judged, unless junk is.
SELECT o, i FROM nulls WHERE o IN (24, 27) ORDER BY o;
SELECT o, t FROM nulls WHERE o = 27;
SELECT o, t, fault FROM nulls WHERE o = 27;

--
-- on_error skip: the rows left are the same whatever is asked for
--
SELECT * FROM skips ORDER BY o;
SELECT o FROM skips ORDER BY o;
SELECT count(*), sum(o) FROM skips;
SELECT count(*) FROM skips;
SELECT count(*) FROM skips WHERE t = 'good';
SELECT count(*) FROM nulls WHERE fault IS NULL;
EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF) SELECT count(*) FROM skips;
EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF) SELECT i, fault FROM nulls;

--
-- on_error error, the default
--
CREATE FUNCTION try(query text, OUT state text, OUT message text, OUT detail text, OUT hint text, OUT place text)
LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE query;
	message := 'none';
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT,
		detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT, place = PG_EXCEPTION_CONTEXT;
	place := split_part(place, E'\n', 1);
END $$;
SELECT o, state, message, detail, place
FROM generate_series(0, 31) AS o, try(format('SELECT i, t, ts, f FROM bad_messages.errors WHERE o = %s', o)) ORDER BY o;
SELECT hint, count(*)
FROM generate_series(0, 20) AS o, try(format('SELECT i FROM bad_messages.errors WHERE o = %s', o)) GROUP BY 1 ORDER BY 1;
SELECT i FROM errors WHERE o < 2;
SELECT t, f FROM errors WHERE o IN (21, 27) ORDER BY t;
SELECT f FROM errors WHERE o = 27;
-- Rows before the bad one have been there.
BEGIN;
DECLARE c CURSOR FOR SELECT i, t FROM errors;
FETCH 1 FROM c;
SAVEPOINT s;
FETCH 1 FROM c;
ROLLBACK TO s;
FETCH 1 FROM c;
ROLLBACK;

--
-- Caught errors leave the transaction as it was.
--
BEGIN;
SAVEPOINT a;
CREATE TEMP TABLE kept AS SELECT o, i, fault FROM nulls;
SAVEPOINT b;
SELECT count(*) FROM skips;
ROLLBACK TO b;
SELECT count(*), count(i), count(fault) FROM kept;
COMMIT;
SELECT count(*) FROM kept;
-- Errors that are not the data's fault are not caught.
CREATE FUNCTION is_fine(value text) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
	IF value = 'good' THEN
		RETURN true;
	ELSIF value = 'leap second' THEN
		RAISE 'function gives up' USING ERRCODE = 'insufficient_resources';
	END IF;
	RAISE 'not fine: %', value USING ERRCODE = 'check_violation';
END $$;
CREATE DOMAIN fine_text AS text CONSTRAINT fine CHECK (is_fine(VALUE));
CREATE FOREIGN TABLE fine (
    o bigint OPTIONS (offset 'true'), t fine_text, fault text OPTIONS (junk_error 'true')
) SERVER bad_messages OPTIONS (topic 'bad_messages', format 'json');
SELECT * FROM fine WHERE o IN (0, 21, 27, 31) ORDER BY o;
SELECT * FROM fine WHERE o BETWEEN 27 AND 29 ORDER BY o;

--
-- Parallel queries have no subtransactions: what built-in types refuse is
-- caught all the same, and of other types' errors the query says so.
--
CREATE TABLE many AS SELECT g AS n FROM generate_series(1, 1000) AS g;
SET max_parallel_workers_per_gather = 2;
SET parallel_setup_cost = 0;
SET parallel_tuple_cost = 0;
SET min_parallel_table_scan_size = 0;
EXPLAIN (COSTS OFF) SELECT count(*), count(i), count(fault) FROM nulls WHERE (SELECT count(*) FROM many) = 1000;
SELECT count(*), count(i), count(fault) FROM nulls WHERE (SELECT count(*) FROM many) = 1000;
SELECT count(*) FROM skips WHERE (SELECT count(*) FROM many) = 1000;
SELECT o, t FROM fine WHERE o IN (0, 31) AND (SELECT count(*) FROM many) = 1000 ORDER BY o;
SELECT o, t FROM fine WHERE o = 27 AND (SELECT count(*) FROM many) = 1000;
RESET max_parallel_workers_per_gather;
RESET parallel_setup_cost;
RESET parallel_tuple_cost;
RESET min_parallel_table_scan_size;
SELECT o, t FROM fine WHERE o = 27 AND (SELECT count(*) FROM many) = 1000;

--
-- Keys, and junk columns of other types
--
CREATE FOREIGN TABLE keys (
    o bigint OPTIONS (offset 'true'),
    k varchar(4) OPTIONS (key 'true'),
    i int,
    junk bytea OPTIONS (junk 'true'),
    fault varchar(20) OPTIONS (junk_error 'true')
) SERVER bad_messages OPTIONS (topic 'bad_messages_keys', format 'json');
SELECT * FROM keys ORDER BY o;
ALTER FOREIGN TABLE keys ALTER junk TYPE text, ALTER fault TYPE text;
SELECT * FROM keys ORDER BY o;
ALTER FOREIGN TABLE keys ALTER junk TYPE varchar(9);
SELECT o, junk FROM keys ORDER BY o;
ALTER FOREIGN TABLE keys OPTIONS (ADD on_error 'skip');
SELECT o, i FROM keys ORDER BY o;
ALTER FOREIGN TABLE keys OPTIONS (SET on_error 'error');
SELECT o, i FROM keys WHERE o < 3 ORDER BY o;
SELECT o, k FROM keys WHERE o = 1;
SELECT o, k FROM keys WHERE o = 2;

SET client_min_messages = warning;
DROP SCHEMA bad_messages CASCADE;
DROP SERVER bad_messages;
