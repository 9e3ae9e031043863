--
-- Who sees what: views with and without security_barrier, leaky functions,
-- rights, and row security. security.feed makes the topics.
--
\getenv brokers KAFKA_BROKERS
SET TimeZone = 'UTC';
SET DateStyle = 'ISO';
CREATE SERVER security FOREIGN DATA WRAPPER kafka_fdw OPTIONS (brokers :'brokers', broker_clock_skew '0');
CREATE SCHEMA security;
SET search_path = security, public;
CREATE FOREIGN TABLE t (
    o bigint OPTIONS (offset 'true'), ts timestamptz OPTIONS (timestamp 'true'),
    owner text, secret text, n int
) SERVER security OPTIONS (topic 'security', timestamp_max_lag '0');
CREATE ROLE regress_kafka_ann;
CREATE ROLE regress_kafka_bob;
GRANT USAGE ON SCHEMA security TO regress_kafka_ann, regress_kafka_bob;

-- Tells what it sees, and is cheap, so that the planner would call it first.
CREATE FUNCTION leak(value anyelement) RETURNS boolean LANGUAGE plpgsql COST 0.0000001 AS $$
BEGIN
	RAISE NOTICE 'leak: %', value;
	RETURN true;
END $$;
CREATE VIEW plain AS SELECT * FROM t WHERE owner = 'ann';
CREATE VIEW barrier WITH (security_barrier) AS SELECT * FROM t WHERE owner = 'ann';
CREATE VIEW barrier_bound WITH (security_barrier) AS SELECT * FROM t WHERE o IN (1, 2) AND n > 0;
GRANT SELECT ON plain, barrier, barrier_bound TO regress_kafka_ann;

SET ROLE regress_kafka_ann;
SELECT secret FROM t;
-- This view is no barrier.
SELECT secret FROM plain WHERE leak(secret) ORDER BY n;
-- This one is: its own condition comes first, and what is pushed down goes on working.
EXPLAIN (COSTS OFF) SELECT secret FROM barrier WHERE leak(secret) AND o >= 2;
SELECT secret FROM barrier WHERE leak(secret) ORDER BY n;
SELECT secret FROM barrier WHERE leak(secret) AND o >= 2;
SELECT secret FROM barrier WHERE leak(barrier) AND o <> 2 ORDER BY n;
SELECT secret FROM barrier WHERE leak(n) AND ts >= '2024-05-01 12:00:02+00';
SELECT secret FROM barrier_bound WHERE leak(o) AND leak(secret) ORDER BY n;
SELECT b.secret FROM barrier AS b JOIN (VALUES (0::bigint), (1)) AS v(o) ON leak(b.secret) AND b.o = v.o ORDER BY n;
SELECT secret FROM barrier WHERE 1 / (n - 2) < 100 ORDER BY n;
SELECT secret FROM barrier ORDER BY leak(secret), n;
SELECT owner, count(*) FROM barrier GROUP BY owner HAVING leak(owner);
-- The view's owner reads the topic, and rights on the table are checked for it.
RESET ROLE;
ALTER VIEW barrier OWNER TO regress_kafka_bob;
SET ROLE regress_kafka_ann;
SELECT secret FROM barrier;
SELECT secret FROM barrier LIMIT 0;
RESET ROLE;
GRANT SELECT ON t TO regress_kafka_bob;
SET ROLE regress_kafka_ann;
SELECT secret FROM barrier ORDER BY n;
SELECT secret FROM t;
RESET ROLE;
-- With security_invoker it is the caller.
ALTER VIEW barrier SET (security_invoker);
SET ROLE regress_kafka_ann;
SELECT secret FROM barrier ORDER BY n;
RESET ROLE;
-- Rights on columns
GRANT SELECT (n, o) ON t TO regress_kafka_ann;
SET ROLE regress_kafka_ann;
SELECT n FROM t WHERE o > 1 ORDER BY n;
SELECT n FROM t WHERE owner = 'bob';
SELECT n FROM t WHERE ts > '2024-05-01';
SELECT t FROM t;
SELECT count(*) FROM t;
EXPLAIN (COSTS OFF) SELECT secret FROM t;
RESET ROLE;
-- Functions that are SECURITY DEFINER read as their owner.
CREATE FUNCTION total() RETURNS bigint LANGUAGE sql SECURITY DEFINER SET search_path = security AS 'SELECT sum(n) FROM t WHERE owner = ''bob''';
SET ROLE regress_kafka_ann;
SELECT total();
RESET ROLE;
-- A user mapping is not needed where the brokers ask for no user; one that is there is used.
CREATE USER MAPPING FOR regress_kafka_bob SERVER security OPTIONS (username 'bob', password 'never shown');
SET ROLE regress_kafka_bob;
SELECT count(*) FROM t;
RESET ROLE;
-- Row security is not for foreign tables.
ALTER TABLE t ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON t USING (owner = current_user);

--
-- Rules and view updates end at the table.
--
CREATE VIEW simple AS SELECT n, owner FROM t;
INSERT INTO simple VALUES (1, 'eve');
UPDATE simple SET n = 2;
DELETE FROM simple;
CREATE RULE instead AS ON INSERT TO t DO INSTEAD NOTHING;
INSERT INTO t (n) VALUES (1);
SELECT pg_get_viewdef('barrier_bound');

SET client_min_messages = warning;
DROP USER MAPPING FOR regress_kafka_bob SERVER security;
DROP SCHEMA security CASCADE;
DROP OWNED BY regress_kafka_ann, regress_kafka_bob;
DROP ROLE regress_kafka_ann, regress_kafka_bob;
DROP SERVER security;
