--
-- Rebuilding rollups: the same query, another one, since a time; what is kept,
-- what is refused, how it goes on. rollup_rebuild.feed makes the topics.
--
\getenv brokers KAFKA_BROKERS
SET TimeZone = 'UTC';
SET DateStyle = 'ISO';
CREATE SERVER rollup_rebuild FOREIGN DATA WRAPPER kafka_fdw OPTIONS (brokers :'brokers');
CREATE SCHEMA rollup_rebuild;
SET search_path = rollup_rebuild, public;
CREATE FOREIGN TABLE main (ts timestamptz OPTIONS (timestamp 'true'), p int OPTIONS (partition 'true'), id int, k int, v int) SERVER rollup_rebuild OPTIONS (topic 'rb_main');
CREATE TABLE factor (k int PRIMARY KEY, f int);
INSERT INTO factor VALUES (0, 1), (1, 1), (2, 1);

-- The same query: what a joined table has now.
SELECT kafka.create_rollup('joined', 'SELECT date_bin(''10 min'', ts, ''2000-01-01'') AS bucket, sum(v * f) AS s, count(*) AS n FROM main LEFT JOIN factor USING (k) GROUP BY 1');
CREATE VIEW dependent AS SELECT bucket, s FROM joined;
CALL kafka.run_rollups('joined');
TABLE joined ORDER BY 1;
UPDATE factor SET f = 10;
CALL kafka.rebuild_rollup('joined');
TABLE joined ORDER BY 1;
TABLE dependent ORDER BY 1 LIMIT 1;
SELECT name, relation, state, reason FROM kafka.rollups;
SELECT name, generation, storage, definition, states, checks, live FROM kafka.stored_rollup;
SELECT event, messages, rows_selected, groups, detail FROM kafka.rollup_runs WHERE name = 'joined' ORDER BY run_id;
SELECT topic, kafka_partition, next_offset, last_offset FROM kafka.rollup_offsets;
\d+ joined
-- It goes on from there.
\! printf '%s\n' "generate rb_main first=40 count=4 partitions=2 time=2024-05-01T12:00:00Z step=60000 value='{\"id\": {n}, \"k\": {n%3}, \"v\": {n%7}}'" | feed
CALL kafka.run_rollups('joined');
SELECT sum(n), sum(s) FROM joined;
-- Again: the numbers go on, nothing is left behind.
CALL kafka.rebuild_rollup('joined');
SELECT sum(n), sum(s) FROM joined;
SELECT c.relname, c.relkind FROM pg_class AS c WHERE c.relnamespace = 'rollup_rebuild'::regnamespace AND c.relkind IN ('r', 'v') ORDER BY 1;

-- Another query, with a new column.
CALL kafka.rebuild_rollup('joined', 'SELECT date_bin(''10 min'', ts, ''2000-01-01'') AS bucket, sum(v * f) AS s, count(*) AS n, max(id) AS last_id FROM main LEFT JOIN factor USING (k) WHERE id < 43 GROUP BY 1');
TABLE joined ORDER BY 1;
TABLE dependent ORDER BY 1 LIMIT 1;
\! printf '%s\n' "generate rb_main first=44 count=2 partitions=2 time=2024-05-01T12:00:00Z step=60000 value='{\"id\": 30, \"k\": {n%3}, \"v\": {n%7}}'" | feed
CALL kafka.run_rollups('joined');
TABLE joined ORDER BY 1;
SELECT pg_get_viewdef('_joined_def');

SELECT kafka.drop_rollup(name, "cascade" := true) FROM kafka.rollups WHERE source = 'main'::regclass \g /dev/null
SELECT c.relname, c.relkind FROM pg_class AS c WHERE c.relnamespace = 'rollup_rebuild'::regnamespace AND c.relkind IN ('r', 'v') ORDER BY 1;
DROP SCHEMA rollup_rebuild CASCADE;
DROP SERVER rollup_rebuild;
