--
-- Errors about messages whose rows a security barrier may hide: they tell
-- nothing of the message. discreet.feed makes the topics.
--
\getenv brokers KAFKA_BROKERS
SET TimeZone = 'UTC';
SET DateStyle = 'ISO';
CREATE SERVER discreet FOREIGN DATA WRAPPER kafka_fdw OPTIONS (brokers :'brokers', broker_clock_skew '0');
CREATE SCHEMA discreet;
SET search_path = discreet, public;
CREATE FOREIGN TABLE client_log (
    o bigint OPTIONS (offset 'true'), tenant text, n int, a int
) SERVER discreet OPTIONS (topic 'discreet');
CREATE VIEW log WITH (security_barrier) AS SELECT * FROM client_log WHERE tenant = 'alice';
CREATE VIEW whole WITH (security_barrier) AS SELECT o, a, client_log AS whole, tableoid::regclass AS source FROM client_log WHERE tenant = 'alice';
CREATE VIEW open_log AS SELECT * FROM client_log WHERE tenant = 'alice';
CREATE ROLE regress_kafka_alice;
GRANT USAGE ON SCHEMA discreet TO regress_kafka_alice;
GRANT SELECT ON log, whole, open_log TO regress_kafka_alice;

--
-- Conditions that are leakproof are tested together with the barrier's.
--
SET ROLE regress_kafka_alice;
EXPLAIN (COSTS OFF) SELECT a FROM log WHERE a > 0 AND o < 3;
SELECT a FROM log WHERE a > 0 AND o < 3;
SELECT a FROM log WHERE o < 3 ORDER BY a;
SELECT n FROM log WHERE n = 5 AND o < 3;
SELECT n FROM log WHERE n = 5 AND o < 4;
-- One that is not is tested after it.
EXPLAIN (COSTS OFF) SELECT a FROM log WHERE a + 1 > 0 AND o < 3;
SELECT a FROM log WHERE a + 1 > 0 AND o < 3 ORDER BY a;
-- What cannot be parsed is nobody's.
SELECT n FROM log WHERE o = 5;
SELECT log FROM log WHERE o = 5;
-- All columns of the row at once
SELECT whole FROM whole WHERE o < 3;
SELECT source FROM whole WHERE o < 3;
SELECT source, a FROM whole WHERE o < 4;
-- A row that passes: it could be told, but a join or a limit in the view may
-- yet hide it.
SELECT a FROM log WHERE o = 4;
SELECT count(*) FROM log WHERE o <> 5;
-- In subtransactions and in other places of a query
DO $$
DECLARE
	text text;
	detail text;
	hint text;
	place text;
BEGIN
	FOR i IN 1 .. 3 LOOP
		BEGIN
			PERFORM FROM discreet.log WHERE a > 0;
		EXCEPTION WHEN data_exception THEN
			GET STACKED DIAGNOSTICS text = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT, place = PG_EXCEPTION_CONTEXT;
			RAISE NOTICE '% % | % | % | %', SQLSTATE, text, detail, hint, split_part(place, E'\n', 1);
		END;
	END LOOP;
	RAISE NOTICE 'then %', (SELECT sum(a) FROM discreet.log WHERE o < 3);
END $$;
SELECT count(*) FROM (VALUES (0::bigint), (1)) AS v(o) JOIN log USING (o) WHERE a > 0;
WITH kept AS MATERIALIZED (SELECT a FROM log WHERE a > 0) SELECT count(*) FROM kept;
SELECT (SELECT max(a) FROM log WHERE a > v AND o < 3) FROM (VALUES (0)) AS v(v);
SELECT n FROM log WHERE a > 0 AND o < 3 UNION SELECT n FROM log WHERE o < 3;
SELECT n FROM log WHERE a > 0 AND o < 3 UNION ALL SELECT n FROM log WHERE o < 3;
-- A view that is no barrier hides nothing.
SELECT a FROM open_log WHERE a > 0 AND o < 3;
RESET ROLE;
SELECT a FROM client_log WHERE a > 0 AND o < 3;

--
-- Barriers that are not conditions of the scan
--
CREATE TABLE allowed (tenant text, who name);
INSERT INTO allowed VALUES ('alice', 'regress_kafka_alice');
CREATE VIEW joined WITH (security_barrier) AS
	SELECT l.* FROM client_log AS l JOIN allowed AS d USING (tenant) WHERE d.who = current_user;
CREATE VIEW among WITH (security_barrier) AS
	WITH kept AS MATERIALIZED (SELECT * FROM client_log WHERE o < 4) SELECT * FROM kept WHERE tenant = 'alice';
CREATE VIEW fenced WITH (security_barrier) AS
	SELECT * FROM (SELECT * FROM client_log WHERE o < 4 OFFSET 0) AS kept WHERE tenant = 'alice';
CREATE VIEW tested WITH (security_barrier) AS
	SELECT * FROM allowed WHERE tenant IN (SELECT tenant FROM client_log WHERE a < 90 OFFSET 0);
CREATE VIEW outermost WITH (security_barrier) AS SELECT * FROM open_log WHERE n < 90;
CREATE VIEW last WITH (security_barrier) AS SELECT * FROM client_log WHERE o < 5 ORDER BY o DESC LIMIT 1;
GRANT SELECT ON joined, among, fenced, tested, outermost, last TO regress_kafka_alice;
SET ROLE regress_kafka_alice;
SELECT a FROM joined WHERE o < 3;
SELECT a FROM joined WHERE a > 0 AND o < 3;
SELECT a FROM among;
SELECT a FROM fenced;
SELECT who FROM tested;
SELECT a FROM outermost WHERE a > 0 AND o < 3;
SELECT o, a FROM last;
RESET ROLE;

--
-- Row security of a partitioned table holds for its partitions.
--
CREATE TABLE all_logs (o bigint, tenant text, n int, a int) PARTITION BY LIST (n);
ALTER TABLE all_logs ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON all_logs USING (tenant = 'alice');
ALTER TABLE all_logs ATTACH PARTITION client_log DEFAULT;
GRANT SELECT ON all_logs TO regress_kafka_alice;
SET ROLE regress_kafka_alice;
EXPLAIN (COSTS OFF) SELECT a FROM all_logs WHERE a > 0 AND o < 3;
SELECT a FROM all_logs WHERE a > 0 AND o < 3;
SELECT a FROM all_logs WHERE o < 3 ORDER BY a;
SELECT a FROM all_logs WHERE o = 5;
PREPARE own AS SELECT a FROM all_logs WHERE a > 0 AND o < 3;
EXECUTE own;
RESET ROLE;
-- The owner is not held by it, and the plan that was prepared knows.
EXECUTE own;
SELECT a FROM all_logs WHERE a > 0 AND o < 3;
DEALLOCATE own;
ALTER TABLE all_logs DETACH PARTITION client_log;

--
-- Errors of other classes that quote the value, or tell of it
--
CREATE FUNCTION no_secret(text) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
	IF $1 ~ 'secret' THEN
		RAISE EXCEPTION 'seen: %', $1 USING ERRCODE = 'MY001', DETAIL = $1, HINT = $1;
	END IF;
	RETURN true;
END $$;
CREATE DOMAIN no_secret AS text CHECK (no_secret(VALUE));
CREATE FOREIGN TABLE kinds (o bigint OPTIONS (offset 'true'), tenant text, kin regtype)
	SERVER discreet OPTIONS (topic 'discreet');
CREATE FOREIGN TABLE domains (o bigint OPTIONS (offset 'true'), tenant text, kin no_secret)
	SERVER discreet OPTIONS (topic 'discreet', on_error 'skip');
CREATE FOREIGN TABLE framed (o bigint OPTIONS (offset 'true'), tenant text)
	SERVER discreet OPTIONS (topic 'discreet_framed', framing 'confluent');
CREATE VIEW own_kinds WITH (security_barrier) AS SELECT * FROM kinds WHERE tenant = 'alice';
CREATE VIEW own_domains WITH (security_barrier) AS SELECT * FROM domains WHERE tenant = 'alice';
CREATE VIEW own_framed WITH (security_barrier) AS SELECT * FROM framed WHERE tenant = 'alice';
GRANT SELECT ON own_kinds, own_domains, own_framed TO regress_kafka_alice;
SELECT kin FROM kinds WHERE o = 6;
SELECT kin FROM domains WHERE o = 6;
SELECT o FROM framed WHERE tenant = 'alice';
SET ROLE regress_kafka_alice;
SELECT kin FROM own_kinds WHERE kin = 'int4'::regtype AND o = 6;
SELECT o FROM own_domains WHERE o = 6;
SELECT o FROM own_framed;
RESET ROLE;
-- What has nothing to do with the message stays what it is.
CREATE OR REPLACE FUNCTION no_secret(text) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
	IF $1 ~ 'secret' THEN
		RAISE query_canceled USING MESSAGE = 'canceled in between';
	END IF;
	RETURN true;
END $$;
SET ROLE regress_kafka_alice;
SELECT o FROM own_domains WHERE o = 6;
RESET ROLE;

--
-- on_error null and skip go on, and the junk columns show visible rows alone.
--
CREATE FOREIGN TABLE junk_log (
    o bigint OPTIONS (offset 'true'), tenant text, n int, a int,
    junk text OPTIONS (junk 'true'), fault text OPTIONS (junk_error 'true')
) SERVER discreet OPTIONS (topic 'discreet');
CREATE FOREIGN TABLE skip_log (o bigint OPTIONS (offset 'true'), tenant text, n int, a int)
	SERVER discreet OPTIONS (topic 'discreet', on_error 'skip');
CREATE VIEW own_junk WITH (security_barrier) AS SELECT * FROM junk_log WHERE tenant = 'alice';
CREATE VIEW own_rest WITH (security_barrier) AS SELECT * FROM skip_log WHERE tenant = 'alice';
GRANT SELECT ON own_junk, own_rest TO regress_kafka_alice;
SELECT count(*) FROM junk_log WHERE fault IS NOT NULL;
SET ROLE regress_kafka_alice;
SELECT * FROM own_junk ORDER BY o;
SELECT o, fault FROM own_junk WHERE fault IS NOT NULL ORDER BY o;
SELECT o, junk FROM own_junk WHERE junk <> '' AND a IS NULL ORDER BY o;
SELECT * FROM own_rest WHERE a > 0 ORDER BY o;
RESET ROLE;

SET client_min_messages = warning;
DROP SCHEMA discreet CASCADE;
DROP OWNED BY regress_kafka_alice;
DROP ROLE regress_kafka_alice;
DROP SERVER discreet;
