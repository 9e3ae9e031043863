--
-- A Kafka table in commands that change others, and in commands that would
-- change it. dml.feed makes the topics.
--
\getenv brokers KAFKA_BROKERS
SET TimeZone = 'UTC';
SET DateStyle = 'ISO';
CREATE SERVER dml FOREIGN DATA WRAPPER kafka_fdw OPTIONS (brokers :'brokers', broker_clock_skew '0');
CREATE SCHEMA dml;
SET search_path = dml, public;
CREATE FOREIGN TABLE t (o bigint OPTIONS (offset 'true'), ts timestamptz OPTIONS (timestamp 'true'), id int, amount int, op text)
SERVER dml OPTIONS (topic 'dml');
CREATE TABLE local (id int PRIMARY KEY, amount int);
INSERT INTO local SELECT g, 0 FROM generate_series(1, 4) AS g;

--
-- Other tables are changed from it.
--
UPDATE local SET amount = t.amount FROM t WHERE t.id = local.id AND t.op = 'set';
SELECT * FROM local ORDER BY id;
UPDATE local SET amount = (SELECT sum(amount) FROM t WHERE t.id >= local.id) WHERE id = 4 RETURNING *;
UPDATE local SET (amount) = ROW ((SELECT -max(o) FROM t)) WHERE id IN (SELECT id FROM t WHERE o = 2) RETURNING id, amount;
DELETE FROM local USING t WHERE t.id = local.id AND t.op = 'delete' RETURNING local.*, t.*;
INSERT INTO local SELECT id, amount FROM t WHERE NOT EXISTS (SELECT FROM local WHERE local.id = t.id) AND o = 3 RETURNING *;
INSERT INTO local SELECT id, amount FROM t ON CONFLICT (id) DO UPDATE SET amount = local.amount + EXCLUDED.amount;
SELECT * FROM local ORDER BY id;
MERGE INTO local USING t ON local.id = t.id
WHEN MATCHED AND t.op = 'delete' THEN DELETE
WHEN MATCHED THEN UPDATE SET amount = t.amount + 1
WHEN NOT MATCHED THEN INSERT VALUES (t.id, t.amount);
MERGE INTO local USING (SELECT id + 100 AS id, amount FROM t) AS s ON local.id = s.id
WHEN NOT MATCHED AND s.id > 101 THEN INSERT VALUES (s.id, s.amount);
SELECT * FROM local ORDER BY id;
CREATE TABLE made AS SELECT *, t AS whole FROM t WHERE o < 2;
SELECT id, op, (whole).ts FROM made ORDER BY id;
SELECT id, amount INTO made_too FROM t;
SELECT count(*), sum(amount) FROM made_too;
CREATE MATERIALIZED VIEW made_view AS SELECT op, count(*) FROM t GROUP BY op;
REFRESH MATERIALIZED VIEW made_view;
SELECT * FROM made_view ORDER BY op;
WITH moved AS (DELETE FROM local WHERE id IN (SELECT id + 100 FROM t) RETURNING id)
SELECT t.id, moved.id FROM t LEFT JOIN moved ON moved.id = t.id + 100 ORDER BY 1;
COPY (SELECT id, op FROM t ORDER BY o) TO STDOUT;
COPY t TO STDOUT;
BEGIN;
CREATE TEMP TABLE gone ON COMMIT DROP AS SELECT * FROM t;
SELECT count(*) FROM gone;
COMMIT;

--
-- Row locks: there are none to take in a topic, the other tables' are taken.
--
SELECT t.id, local.amount FROM t JOIN local USING (id) ORDER BY id FOR UPDATE;
SELECT t.id, local.amount FROM t JOIN local USING (id) ORDER BY id FOR UPDATE OF local;
SELECT id FROM t WHERE o > 1 ORDER BY id FOR SHARE;
SELECT id FROM t WHERE o > 1 ORDER BY id FOR NO KEY UPDATE SKIP LOCKED;
SELECT local.id, (SELECT amount FROM t WHERE t.id = local.id) FROM local ORDER BY id FOR KEY SHARE;
EXPLAIN (VERBOSE, COSTS OFF) SELECT t.id FROM t JOIN local USING (id) WHERE t.op = 'set' FOR UPDATE OF local;

--
-- It cannot be changed.
--
INSERT INTO t (id) VALUES (1);
INSERT INTO t (id) SELECT id FROM local WHERE false;
INSERT INTO t (id) VALUES (1) ON CONFLICT DO NOTHING RETURNING *;
COPY t (id, amount) FROM STDIN;
1	2
\.
UPDATE t SET amount = 1;
UPDATE t SET amount = 1 WHERE false;
UPDATE t SET amount = local.amount FROM local WHERE local.id = t.id;
DELETE FROM t WHERE id = 1;
TRUNCATE t;
TRUNCATE local, t;
MERGE INTO t USING local ON t.id = local.id WHEN MATCHED THEN DELETE;
SELECT relname, pg_relation_is_updatable(oid, false) FROM pg_class WHERE oid = 't'::regclass;
ANALYZE t;
VACUUM t;
CREATE INDEX ON t (id);
BEGIN;
LOCK TABLE t IN ACCESS SHARE MODE;
COMMIT;
CREATE TRIGGER never BEFORE UPDATE ON t FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger();
UPDATE t SET amount = 1;
DROP TRIGGER never ON t;
CREATE TABLE referring (id int REFERENCES t);

--
-- A partition of a table: old rows from the topic, new ones from elsewhere
--
CREATE TABLE parted (o bigint, ts timestamptz, id int, amount int, op text) PARTITION BY RANGE (ts);
CREATE FOREIGN TABLE parted_may PARTITION OF parted FOR VALUES FROM ('2024-05-01') TO ('2024-06-01') SERVER dml OPTIONS (topic 'dml');
ALTER FOREIGN TABLE parted_may ALTER o OPTIONS (ADD offset 'true'), ALTER ts OPTIONS (ADD timestamp 'true');
CREATE FOREIGN TABLE parted_june (amount int, id int, gone int, op text, o bigint OPTIONS (offset 'true'), ts timestamptz OPTIONS (timestamp 'true'))
SERVER dml OPTIONS (topic 'dml_recent');
ALTER FOREIGN TABLE parted_june DROP COLUMN gone;
ALTER TABLE parted ATTACH PARTITION parted_june FOR VALUES FROM ('2024-06-01') TO ('2024-07-01');
CREATE TABLE parted_july PARTITION OF parted FOR VALUES FROM ('2024-07-01') TO ('2024-08-01');
INSERT INTO parted VALUES (0, '2024-07-02', 9, 90, 'set');
INSERT INTO parted VALUES (0, '2024-06-02', 9, 90, 'set');
COPY parted FROM STDIN;
0	2024-05-02	9	90	set
\.
SELECT tableoid::regclass, * FROM parted ORDER BY id;
EXPLAIN (COSTS OFF) SELECT id FROM parted WHERE ts >= '2024-05-15+00' AND ts < '2024-06-15+00' AND op = 'set';
SELECT id FROM parted WHERE ts >= '2024-05-15+00' AND ts < '2024-06-15+00' AND op = 'set';
SELECT parted FROM parted WHERE op = 'set' AND id > 6 ORDER BY id;
SELECT op, sum(amount), count(*) FROM parted GROUP BY op ORDER BY op;
SELECT a.id FROM parted AS a JOIN parted AS b ON a.ts = b.ts AND b.amount = 80;
SELECT id FROM parted ORDER BY ts DESC LIMIT 3;
PREPARE pruned(timestamptz) AS SELECT tableoid::regclass, id FROM parted WHERE ts = $1;
SET plan_cache_mode = force_generic_plan;
EXECUTE pruned('2024-06-01 12:00:00+00');
EXECUTE pruned('2024-05-01 12:01:00+00');
RESET plan_cache_mode;
UPDATE parted SET amount = amount + 1 WHERE ts >= '2024-07-01' RETURNING id, amount;
UPDATE parted SET amount = 1 WHERE id = 9;
UPDATE parted SET ts = '2024-05-02' WHERE ts >= '2024-07-01';
DELETE FROM parted WHERE id = 9;
DELETE FROM parted WHERE ts >= '2024-07-01' RETURNING id;
TRUNCATE parted;
CREATE UNIQUE INDEX ON parted (ts);

--
-- A child, whose columns are in another order
--
CREATE TABLE parent (id int, amount int);
INSERT INTO parent VALUES (0, 0);
CREATE FOREIGN TABLE child (o bigint OPTIONS (offset 'true'), op text, amount int, id int) SERVER dml OPTIONS (topic 'dml');
ALTER FOREIGN TABLE child INHERIT parent;
SELECT tableoid::regclass, * FROM parent ORDER BY id;
SELECT parent FROM parent WHERE amount > 20 ORDER BY id;
SELECT sum(amount) FROM parent WHERE id > 1;
SELECT count(*) FROM ONLY parent;
SELECT local.id, parent.amount FROM local JOIN parent USING (id) ORDER BY id FOR UPDATE;
UPDATE ONLY parent SET amount = 1 RETURNING *;
UPDATE parent SET amount = 2;
DELETE FROM parent WHERE id = 0;
ANALYZE parent;
ALTER TABLE parent ADD COLUMN op text;
ALTER TABLE parent ADD COLUMN extra int;
SELECT id, op, extra FROM parent ORDER BY id;

SET client_min_messages = warning;
DROP SCHEMA dml CASCADE;
DROP SERVER dml;
