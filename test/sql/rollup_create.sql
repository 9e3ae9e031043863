--
-- kafka.create_rollup: which queries can be rollups, and what becomes of them.
-- rollup_create.feed makes the topic.
--
\getenv brokers KAFKA_BROKERS
SET TimeZone = 'UTC';
SET DateStyle = 'ISO';
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS hll;
CREATE EXTENSION IF NOT EXISTS tdigest;
RESET client_min_messages;
CREATE SERVER rollup_create FOREIGN DATA WRAPPER kafka_fdw OPTIONS (brokers :'brokers');
CREATE SCHEMA rollup_create;
SET search_path = rollup_create, public;
CREATE FOREIGN TABLE log (
    p int OPTIONS (partition 'true'),
    o bigint OPTIONS (offset 'true'),
    ts timestamptz OPTIONS (timestamp 'true'),
    event text,
    variant text,
    user_id text,
    latency_ms float8,
    n int,
    local timestamp,
    day date,
    doc json
) SERVER rollup_create OPTIONS (topic 'rollup_create', format 'json');
CREATE FOREIGN TABLE bare (event text, n int)
    SERVER rollup_create OPTIONS (topic 'rollup_create', format 'json');
CREATE TABLE users (user_id text PRIMARY KEY, country text, boss text);
CREATE TABLE pairs (a text, b text, c text, UNIQUE (a, b));
CREATE TABLE prices (variant text, price int);
CREATE VIEW log_view AS SELECT * FROM log;
INSERT INTO users VALUES ('u1', 'KR', 'u2'), ('u2', 'DE', NULL);
INSERT INTO pairs VALUES ('a', 'view', 'x'), ('b', 'view', 'y');

--
-- What becomes of a query
--
SELECT kafka.create_rollup('ab', $$
  SELECT date_bin('10 min', ts, '2000-01-01') AS bucket, variant,
         count(*) AS views, count(*) FILTER (WHERE event = 'click') AS clicks,
         hll_add_agg(hll_hash_text(user_id)) AS users, tdigest(latency_ms, 100) AS latency, avg(latency_ms) AS mean,
         round(avg(n), 2) AS rounded, sum(n) / count(*) AS ratio, upper(variant) AS "Upper",
         kafka.last(user_id, ts) AS last_user
  FROM log AS l WHERE event IN ('view', 'click') GROUP BY 1, 2 $$,
  start_at := '2024-05-01 11:55:00+00', expect := 'l.latency_ms > 0', late_limit := '1 day',
  options := '{"unique_key": "user_id, n", "unique_within": "1 day"}');
SELECT pg_get_viewdef('ab'::regclass);
SELECT pg_get_viewdef('_ab_def'::regclass);
SELECT pg_get_viewdef('_ab_states'::regclass);
SELECT pg_get_viewdef('_ab_checks'::regclass);
SELECT attname, format_type(atttypid, atttypmod), attnotnull FROM pg_attribute
  WHERE attrelid = '_ab_g1'::regclass AND attnum > 0 ORDER BY attnum;
SELECT pg_get_indexdef(indexrelid) FROM pg_index WHERE indrelid = '_ab_g1'::regclass ORDER BY 1;
SELECT reloptions FROM pg_class WHERE oid = '_ab_g1'::regclass;
SELECT relname, obj_description(oid, 'pg_class') FROM pg_class WHERE relname ~ '^_?ab(_|$)' AND relkind IN ('r', 'v') ORDER BY 1;
SELECT name, source, relation, storage, definition, states, checks, bucket_column, bucket_width, valid_from,
       late_limit, future_limit, options, search_path, time_zone, date_style, interval_style, enabled, state
  FROM kafka.stored_rollup \gx
SELECT topic, kafka_partition, next_offset FROM kafka.stored_position ORDER BY 1, 2;
CALL kafka.run_rollups('ab');
SELECT bucket, variant, views, clicks, hll_cardinality(users), tdigest_count(latency), mean, rounded, ratio, "Upper", last_user
  FROM ab ORDER BY 1, 2;
-- A message that WHERE leaves out meets no checks.
SELECT stage, count(*) FROM kafka.dead_letters GROUP BY 1;

-- The dependencies are PostgreSQL's own.
ALTER FOREIGN TABLE log DROP COLUMN latency_ms;

--
-- Shapes
--
-- One row; names that are long, taken or quoted; columns in any order
SELECT kafka.create_rollup('total', 'SELECT count(*), max(n) - min(n) AS max_1, avg(n) AS max FROM log');
SELECT attname FROM pg_attribute WHERE attrelid = '_total_g1'::regclass AND attnum > 0 ORDER BY attnum;
SELECT pg_get_indexdef(indexrelid) FROM pg_index WHERE indrelid = '_total_g1'::regclass ORDER BY 1;
SELECT kafka.create_rollup('"Odd 100%s"', $$
  SELECT avg(n) AS ababababababababababababababababababababababababababababababé, 'x%' || "variant" AS "Odd ""key""", count(*) AS _id
  FROM log GROUP BY 2 $$);
SELECT attname, octet_length(attname) FROM pg_attribute WHERE attrelid = '"_Odd 100%s_g1"'::regclass AND attnum > 0 ORDER BY attnum;
CALL kafka.run_rollups(NULL, max_rows := 1);
SELECT * FROM total;
SELECT * FROM "Odd 100%s" ORDER BY 2;
-- Groups alone
SELECT kafka.create_rollup('groups', 'SELECT variant, event FROM log GROUP BY 2, 1');
CALL kafka.run_rollups('groups', max_rows := 1);
SELECT * FROM groups ORDER BY 1, 2;

-- Buckets: what they are made of decides what is late, and from where on they are whole.
SELECT kafka.create_rollup('b_day', $$SELECT date_trunc('day', ts, 'Asia/Seoul') AS day, count(*), max(n) FROM log GROUP BY 1$$,
  start_at := '2024-05-01 03:00:00+00');
SELECT kafka.create_rollup('b_month', $$SELECT date_trunc('month', ts AT TIME ZONE 'Europe/Berlin') AS month, count(*) FROM log GROUP BY 1$$,
  start_at := '2024-04-30 21:59:59.999999+00', late_limit := '1 hour');
SELECT kafka.create_rollup('b_edge', $$SELECT date_bin('15 min', ts, '2000-01-01') AS bucket, count(*) FROM log GROUP BY 1$$,
  start_at := '2024-05-01 12:15:00+00');
SELECT kafka.create_rollup('b_local', $$SELECT date_bin('1 day', local, '2000-01-01') AS bucket, count(*) FROM log GROUP BY 1$$,
  future_limit := '1 hour');
SELECT name, bucket_column, bucket_width, valid_from FROM kafka.rollups WHERE name LIKE 'b\_%' ORDER BY 1;
SELECT pg_get_viewdef('_b_month_checks'::regclass);
SELECT pg_get_viewdef('_b_local_checks'::regclass);

-- Where to start
SELECT kafka.create_rollup('s_offsets', 'SELECT p, count(*) FROM log GROUP BY 1', start_offsets := '{"0": 1}');
SELECT name, kafka_partition, next_offset FROM kafka.rollup_offsets WHERE name = 's_offsets' ORDER BY 1, 2;

-- Joins
SELECT kafka.create_rollup('j_left', $$
  SELECT country, count(*) FROM log LEFT JOIN users USING (user_id) GROUP BY 1 $$);
SELECT kafka.create_rollup('j_inner', $$
  SELECT u.country, b.country AS of_boss, c, count(*)
  FROM pairs JOIN log ON a = log.variant AND log.event = b, users u LEFT JOIN users b ON b.user_id = u.boss
  WHERE u.user_id = log.user_id GROUP BY 1, 2, 3 $$, expect := 'n > 0');
CALL kafka.run_rollups('j_left');
CALL kafka.run_rollups('j_inner');
SELECT * FROM j_left ORDER BY 1;
SELECT * FROM j_inner ORDER BY 1;
SELECT name, messages, rows_selected FROM kafka.rollup_runs WHERE name LIKE 'j\_%' ORDER BY 1;
-- A subquery over ordinary tables filters; it is a join of a kind.
SELECT kafka.create_rollup('j_exists', $$
  SELECT variant, count(*) FROM log WHERE EXISTS (SELECT FROM users WHERE user_id = log.user_id AND country = 'KR') GROUP BY 1 $$);
CALL kafka.run_rollups('j_exists');
SELECT * FROM j_exists ORDER BY 1;

-- The settings of the session may change what a constant means, but not later.
SET DateStyle = 'SQL, DMY';
SET IntervalStyle = 'sql_standard';
SET extra_float_digits = 0;
SELECT kafka.create_rollup('settings', $$
  SELECT date_bin('1 2:00:00', ts, '02/03/2000') AS bucket, count(*) FILTER (WHERE latency_ms > 0.1::float8 + 0.2::float8) AS c,
         max(-interval '1 2:00:00') AS i, max(n::text || E'\\''%') AS t
  FROM log GROUP BY 1 $$);
RESET extra_float_digits;
RESET IntervalStyle;
SET DateStyle = 'ISO';
SELECT pg_get_viewdef('_settings_states'::regclass);
SELECT time_zone, date_style, interval_style FROM kafka.stored_rollup WHERE name = 'settings';

--
-- Refused: what is no aggregation of one Kafka table
--
SELECT kafka.create_rollup('refused', 'SELECT count(*) AS c FROM');
SELECT kafka.create_rollup('refused', '');
SELECT kafka.create_rollup('refused', 'SELECT count(*) FROM log; SELECT 1');
SELECT kafka.create_rollup('refused', 'DELETE FROM log');
SELECT kafka.create_rollup('refused', 'SELECT count(*) INTO x FROM log');
SELECT kafka.create_rollup('refused', 'SELECT count(*) FROM log WHERE n = $1');
SELECT kafka.create_rollup('refused', 'SELECT count(*), no_column FROM log GROUP BY 2');
SELECT kafka.create_rollup('refused', 'SELECT DISTINCT variant FROM log');
SELECT kafka.create_rollup('refused', 'SELECT DISTINCT ON (variant) variant, n FROM log');
SELECT kafka.create_rollup('refused', 'SELECT variant, count(*) FROM log GROUP BY 1 HAVING count(*) > 1');
SELECT kafka.create_rollup('refused', 'SELECT variant, count(*) FROM log GROUP BY 1 LIMIT 10');
SELECT kafka.create_rollup('refused', 'SELECT variant, count(*) FROM log GROUP BY 1 OFFSET 10');
SELECT kafka.create_rollup('refused', 'SELECT variant, count(*) FROM log GROUP BY 1 ORDER BY 2');
SELECT kafka.create_rollup('refused', 'SELECT variant, sum(count(*)) OVER () AS s FROM log GROUP BY 1');
SELECT kafka.create_rollup('refused', 'SELECT count(*) FROM log UNION ALL SELECT count(*) FROM bare');
SELECT kafka.create_rollup('refused', 'SELECT variant, event, count(*) FROM log GROUP BY ROLLUP (1, 2)');
SELECT kafka.create_rollup('refused', 'WITH w AS (SELECT * FROM log) SELECT count(*) FROM w');
SELECT kafka.create_rollup('refused', 'SELECT count(*) FROM (SELECT * FROM log) AS s');
SELECT kafka.create_rollup('refused', 'SELECT count(*) FROM log, generate_series(1, 2)');
SELECT kafka.create_rollup('refused', 'SELECT count(*) FROM log, (VALUES (1)) AS v');
SELECT kafka.create_rollup('refused', 'SELECT n FROM log FOR UPDATE');
SELECT kafka.create_rollup('refused', 'SELECT unnest(ARRAY[1, 2]) AS u, count(*) FROM log GROUP BY 1');
SELECT kafka.create_rollup('refused', 'SELECT variant, (SELECT country FROM users LIMIT 1) AS c, count(*) FROM log GROUP BY 1');
SELECT kafka.create_rollup('refused', 'SELECT n FROM log');
SELECT kafka.create_rollup('refused', 'SELECT count(*) FROM users');
SELECT kafka.create_rollup('refused', 'SELECT count(*) FROM log_view');
SELECT kafka.create_rollup('refused', 'SELECT 1 AS one, count(*)');
SELECT kafka.create_rollup('refused', 'SELECT count(*) FROM log AS a JOIN log AS b USING (o)');
SELECT kafka.create_rollup('refused', 'SELECT count(*) FROM log WHERE n IN (SELECT n FROM bare)');
SELECT kafka.create_rollup('refused', 'SELECT count(*) FROM log WHERE n IN (SELECT n FROM log_view)');
SELECT kafka.create_rollup('refused', 'SELECT tableoid, count(*) FROM log GROUP BY 1');
-- columns
SELECT kafka.create_rollup('refused', 'SELECT count(*) FROM log GROUP BY variant');
SELECT kafka.create_rollup('refused', 'SELECT n + 1, count(*) FROM log GROUP BY 1');
SELECT kafka.create_rollup('refused', 'SELECT variant, event AS variant, count(*) FROM log GROUP BY 1, 2');
SELECT kafka.create_rollup('refused', 'SELECT variant AS rows_selected, count(*) FROM log GROUP BY 1');
SELECT kafka.create_rollup('refused', 'SELECT variant AS ctid, count(*) FROM log GROUP BY 1');
SELECT kafka.create_rollup('refused', 'SELECT doc, count(*) FROM log GROUP BY 1');
SELECT kafka.create_rollup('refused', $$SELECT row(variant, n) AS r, count(*) FROM log GROUP BY 1$$);
SELECT kafka.create_rollup('refused', 'SELECT users.user_id, country, count(*) FROM log JOIN users USING (user_id) GROUP BY users.user_id');
-- what changes by itself
SELECT kafka.create_rollup('refused', 'SELECT count(*) FROM log WHERE ts > now() - interval ''1 day''');
SELECT kafka.create_rollup('refused', 'SELECT current_date AS d, count(*) FROM log GROUP BY 1');
SELECT kafka.create_rollup('refused', 'SELECT max(random()) FROM log');
SELECT kafka.create_rollup('refused', 'SELECT count(*) FROM log WHERE age(ts) > ''1 day''');
SELECT kafka.create_rollup('refused', 'SELECT count(*) FROM log WHERE user_id = current_setting(''x.y'')');
SELECT kafka.create_rollup('refused', 'SELECT date_trunc(''day'', ts) AS d, count(*) FROM log GROUP BY 1');
SELECT kafka.create_rollup('refused', 'SELECT ts::date AS d, count(*) FROM log GROUP BY 1');
SELECT kafka.create_rollup('refused', 'SELECT extract(hour FROM ts) AS h, count(*) FROM log GROUP BY 1');
SELECT kafka.create_rollup('refused', 'SELECT ts::text AS t, count(*) FROM log GROUP BY 1');
SELECT kafka.create_rollup('refused', 'SELECT ts + interval ''1 day'' AS t, count(*) FROM log GROUP BY 1');
SELECT kafka.create_rollup('refused', 'SELECT local::timestamptz AS t, count(*) FROM log GROUP BY 1');
SELECT kafka.create_rollup('refused', 'SELECT to_char(ts, ''YYYY'') AS t, count(*) FROM log GROUP BY 1');
-- aggregates
SELECT kafka.create_rollup('refused', 'SELECT count(DISTINCT user_id) FROM log');
SELECT kafka.create_rollup('refused', 'SELECT count(*), count(DISTINCT n) AS d FROM log');
SELECT kafka.create_rollup('refused', 'SELECT sum(DISTINCT n) FROM log');
SELECT kafka.create_rollup('refused', 'SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY latency_ms) FROM log');
SELECT kafka.create_rollup('refused', 'SELECT mode() WITHIN GROUP (ORDER BY event) FROM log');
SELECT kafka.create_rollup('refused', 'SELECT array_agg(n ORDER BY o) FROM log');
SELECT kafka.create_rollup('refused', 'SELECT array_agg(n) FROM log');
SELECT kafka.create_rollup('refused', 'SELECT string_agg(event, '','') FROM log');
SELECT kafka.create_rollup('refused', 'SELECT corr(n, latency_ms) FROM log');
SELECT kafka.create_rollup('refused', 'SELECT tdigest_percentile(latency_ms, 100, 0.5) FROM log');
SELECT kafka.create_rollup('refused', 'SELECT count(sum(n)) FROM log');
SELECT kafka.create_rollup('refused', 'SELECT event, kafka.last(n, now()) FROM bare GROUP BY 1');
SELECT kafka.create_rollup('refused', 'SELECT event, kafka.last(n, ''2024-01-01'') FROM bare GROUP BY 1');
-- joins
SELECT kafka.create_rollup('refused', 'SELECT count(*) FROM log JOIN prices USING (variant)');
SELECT kafka.create_rollup('refused', 'SELECT count(*) FROM log LEFT JOIN pairs ON a = variant');
SELECT kafka.create_rollup('refused', 'SELECT count(*) FROM log, users');
SELECT kafka.create_rollup('refused', 'SELECT count(*) FROM log LEFT JOIN users ON users.user_id > log.user_id');
SELECT kafka.create_rollup('refused', 'SELECT count(*) FROM users LEFT JOIN log USING (user_id)');
SELECT kafka.create_rollup('refused', 'SELECT count(*) FROM users RIGHT JOIN log USING (user_id)');
SELECT kafka.create_rollup('refused', 'SELECT count(*) FROM users FULL JOIN log USING (user_id)');
-- Each is settled by the other, and neither by a message.
SELECT kafka.create_rollup('refused', 'SELECT count(*) FROM log, users a, users b WHERE a.user_id = b.user_id');
-- An outer join's condition does not hold for its left side.
SELECT kafka.create_rollup('refused', 'SELECT count(*) FROM (log JOIN users a ON true) LEFT JOIN users b ON b.user_id = log.user_id AND a.user_id = log.user_id');
CREATE UNIQUE INDEX ON prices (variant) WHERE price > 0;
CREATE UNIQUE INDEX ON prices (lower(variant));
ALTER TABLE prices ADD UNIQUE (variant) DEFERRABLE;
SELECT kafka.create_rollup('refused', 'SELECT count(*) FROM log JOIN prices ON prices.variant = log.variant AND lower(prices.variant) = log.event');
CREATE TEMP TABLE temporary (n int PRIMARY KEY);
SELECT kafka.create_rollup('refused', 'SELECT count(*) FROM log JOIN temporary USING (n)');

--
-- Refused: the other arguments
--
SELECT kafka.create_rollup(NULL, 'SELECT count(*) FROM log');
SELECT kafka.create_rollup('refused', NULL);
SELECT kafka.create_rollup('ab', 'SELECT count(*) FROM log');
SELECT kafka.create_rollup('public.ab', 'SELECT count(*) FROM log');
SELECT kafka.create_rollup('users', 'SELECT count(*) FROM log');
SELECT kafka.create_rollup('no_schema.r', 'SELECT count(*) FROM log');
SELECT kafka.create_rollup('pg_temp.r', 'SELECT count(*) FROM log');
SELECT kafka.create_rollup(repeat('n', 56), 'SELECT count(*) FROM log');
SELECT kafka.create_rollup('a.b.c.d', 'SELECT count(*) FROM log');
SELECT kafka.create_rollup('refused', 'SELECT count(*) FROM log', schedule := '* * * * *');
SELECT kafka.create_rollup('refused', 'SELECT count(*) FROM log', start_at := '2024-01-01', start_group := 'g');
SELECT kafka.create_rollup('refused', 'SELECT count(*) FROM log', late_limit := '-1 day');
SELECT kafka.create_rollup('refused', 'SELECT count(*) FROM log', future_limit := '0');
SELECT kafka.create_rollup('refused', 'SELECT count(*) FROM bare', late_limit := '1 day');
SELECT kafka.create_rollup('refused', 'SELECT count(*) FROM log', options := '{"unique_kye": "n"}');
SELECT kafka.create_rollup('refused', 'SELECT count(*) FROM log', expect := 'latency_ms >');
SELECT kafka.create_rollup('refused', 'SELECT count(*) FROM log', expect := 'latency_ms');
SELECT kafka.create_rollup('refused', 'SELECT count(*) FROM log', expect := 'true, true');
SELECT kafka.create_rollup('refused', 'SELECT count(*) FROM log', expect := 'true FROM users');
SELECT kafka.create_rollup('refused', 'SELECT count(*) FROM log', expect := '*');
SELECT kafka.create_rollup('refused', 'SELECT count(*) FROM log', expect := 'n > 0) OR (true');
SELECT kafka.create_rollup('refused', 'SELECT count(*) FROM log', expect := 'count(*) > 0');
SELECT kafka.create_rollup('refused', 'SELECT count(*) FROM log', expect := 'ts < now()');
SELECT kafka.create_rollup('refused', 'SELECT count(*) FROM log', expect := 'n IN (SELECT 1)');
SELECT kafka.create_rollup('refused', 'SELECT count(*) FROM log', expect := 'missing > 0');
SELECT kafka.create_rollup('refused', 'SELECT count(*) FROM log', options := '{"unique_key": "n, missing", "unique_within": "1 day"}');
SELECT kafka.create_rollup('refused', 'SELECT count(*) FROM log', options := '{"unique_key": "log.*", "unique_within": "1 day"}');
SELECT kafka.create_rollup('refused', 'SELECT count(*) FROM log', options := '{"unique_key": "random()", "unique_within": "1 day"}');

--
-- Rights
--
CREATE ROLE rollup_create_role;
GRANT USAGE ON SCHEMA rollup_create TO rollup_create_role;
SET ROLE rollup_create_role;
SELECT kafka.create_rollup('refused', 'SELECT count(*) FROM log');
RESET ROLE;
GRANT CREATE ON SCHEMA rollup_create TO rollup_create_role;
SET ROLE rollup_create_role;
SELECT kafka.create_rollup('refused', 'SELECT count(*) FROM log');
RESET ROLE;
GRANT SELECT ON log TO rollup_create_role;
SET ROLE rollup_create_role;
SELECT kafka.create_rollup('refused', 'SELECT count(*) FROM log JOIN users USING (user_id)');
SELECT kafka.create_rollup('owned', 'SELECT count(*) FROM log');
RESET ROLE;
SELECT relname, pg_get_userbyid(relowner) AS owner FROM pg_class WHERE relname LIKE '%owned%' AND relkind IN ('r', 'v') ORDER BY 1;

-- Nothing is left of what was refused.
SELECT count(*) FROM pg_class WHERE relname LIKE '%refused%';
SELECT count(*) FROM kafka.stored_rollup WHERE name = 'refused';

--
-- The registry is open: an aggregate of a user's own
--
CREATE AGGREGATE product(numeric) (SFUNC = numeric_mul, STYPE = numeric);
SELECT kafka.create_rollup('own', 'SELECT variant, product(n) FROM log GROUP BY 1');
INSERT INTO kafka.rollup_aggregate (aggregate, states, merges, final)
  VALUES ('rollup_create.product', '{no_such($1)}', '{$1 * $2}', '$1');
SELECT kafka.create_rollup('own', 'SELECT variant, product(n) FROM log GROUP BY 1');
UPDATE kafka.rollup_aggregate SET states = '{$1}' WHERE aggregate = 'rollup_create.product';
SELECT kafka.create_rollup('own', 'SELECT variant, product(n) FROM log GROUP BY 1');
UPDATE kafka.rollup_aggregate SET states = '{rollup_create.product($4)}' WHERE aggregate = 'rollup_create.product';
SELECT kafka.create_rollup('own', 'SELECT variant, product(n) FROM log GROUP BY 1');
UPDATE kafka.rollup_aggregate SET states = '{rollup_create.product($1)}', merges = '{"''a'' || $2"}' WHERE aggregate = 'rollup_create.product';
SELECT kafka.create_rollup('own', 'SELECT variant, product(n) FROM log GROUP BY 1');
UPDATE kafka.rollup_aggregate SET merges = '{"(SELECT product(x) FROM (VALUES ($1), ($2)) AS v (x))"}' WHERE aggregate = 'rollup_create.product';
SELECT kafka.create_rollup('own', 'SELECT variant, product(n) FROM log GROUP BY 1');
UPDATE kafka.rollup_aggregate SET merges = '{"coalesce($1 * $2, $1, $2)"}' WHERE aggregate = 'rollup_create.product';
SELECT kafka.create_rollup('own', 'SELECT variant, product(n) FROM log GROUP BY 1');
CALL kafka.run_rollups('own', max_rows := 1);
SELECT * FROM own ORDER BY 1;
-- What is stored as text is read as it was written, whoever runs it.
UPDATE kafka.rollup_aggregate SET merges = '{"CASE WHEN ''\\'' = chr(92) THEN coalesce($1 * $2, $1, $2) END"}' WHERE aggregate = 'rollup_create.product';
SET standard_conforming_strings = off;
SELECT kafka.create_rollup('own_slash', 'SELECT variant, product(n) FROM log GROUP BY 1');
CALL kafka.run_rollups('own_slash', max_rows := 1);
SELECT count(*), count(*) FILTER (WHERE own.* = own_slash.*) AS same FROM own JOIN own_slash USING (variant);
SET standard_conforming_strings = on;
DELETE FROM kafka.rollup_aggregate WHERE NOT built_in;

SET client_min_messages = warning;
SELECT count(kafka.drop_rollup(name, "cascade" := true)) AS dropped FROM kafka.rollups;
DROP SCHEMA rollup_create CASCADE;
DROP SERVER rollup_create;
DROP ROLE rollup_create_role;
