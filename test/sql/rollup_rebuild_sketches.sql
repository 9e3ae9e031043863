--
-- Rebuilding rollups whose states are sketches, several columns, or of a
-- registered aggregate, and rollups with checks, unique keys and dead letters; in
-- buckets too that the topic does not hold whole any more.
-- rollup_rebuild_sketches.feed makes the topics.
--
\getenv brokers KAFKA_BROKERS
SET TimeZone = 'UTC';
SET DateStyle = 'ISO';
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS hll;
CREATE EXTENSION IF NOT EXISTS tdigest;
RESET client_min_messages;
CREATE SERVER rollup_rebuild_sketches FOREIGN DATA WRAPPER kafka_fdw OPTIONS (brokers :'brokers');
CREATE SCHEMA rollup_rebuild_sketches;
SET search_path = rollup_rebuild_sketches, public;
CREATE FUNCTION make_table(name text, topic text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE format('CREATE FOREIGN TABLE %I (ts timestamptz OPTIONS (timestamp ''true''), p int OPTIONS (partition ''true''), o bigint OPTIONS (offset ''true''), id int, u text, l float8) SERVER rollup_rebuild_sketches OPTIONS (topic %L)', name, topic);
END $$;
-- One made by a superuser, of several states: the mean of what lies between two quantiles.
INSERT INTO kafka.rollup_aggregate (aggregate, extension, states, merges, final)
  VALUES ('tdigest_avg(double precision,integer,double precision,double precision)', 'tdigest',
          '{"tdigest(kafka.require_finite($1), $2)",max($3),max($4)}',
          '{"tdigest_union($1, $4)","coalesce($2, $5)","coalesce($3, $6)"}', 'tdigest_digest_avg($1, $2, $3)');
\set by10 'date_bin(''10 min'', ts, ''2000-01-01'') AS bucket'
\set sketches ', count(*) AS n, hll_add_agg(hll_hash_text(u), 12) AS users, hll_union_agg(hll_empty() || hll_hash_integer(id)) AS ids, tdigest(l, 100) AS digest, tdigest(l, 1, 50) AS counted, tdigest_avg(l, 100, 0.9, 1.0) AS worst, avg(l) AS mean, stddev(id) AS deviation, kafka.last(u, ts) AS newest, round(sum(l)::numeric / count(*), 1) AS ratio'
\set query 'SELECT ' :by10 :sketches ' FROM main GROUP BY 1'
\set shown 'bucket, n, #users AS users, #ids AS ids, tdigest_count(digest) AS digest, tdigest_count(counted) AS counted, worst, mean, round(deviation, 3) AS deviation, newest, ratio'

-- The same query: the same numbers, which are those of the plain query.
SELECT make_table('main', 'rs_main');
SELECT kafka.create_rollup('sums', :'query');
CALL kafka.run_rollups('sums', max_rows := 7);
SELECT :shown FROM sums ORDER BY 1;
CREATE TABLE before AS TABLE sums;
CALL kafka.rebuild_rollup('sums');
SELECT count(*) AS buckets, count(*) FILTER (WHERE s::text = b::text) AS same FROM sums AS s JOIN before AS b USING (bucket);
SELECT count(*) AS buckets, count(*) FILTER (WHERE #s.users = #d.users AND #s.ids = #d.ids AND s.digest::text = d.digest::text AND s.newest = d.newest AND s.deviation = d.deviation) AS same
  FROM sums AS s JOIN _sums_def AS d USING (bucket);
SELECT (SELECT #hll_union_agg(users) FROM sums) AS users, tdigest_percentile(digest, '{0.5,0.95}'::float8[]) AS percentiles FROM sums;

-- Since a time, with a new sketch: what is kept is as it was, and a message that comes for it is merged.
\set more 'SELECT ' :by10 :sketches ', hll_add_agg(hll_hash_integer(p)) AS parts, tdigest(l * 2, 100) AS twice FROM main GROUP BY 1'
CALL kafka.rebuild_rollup('sums', :'more', since := '2024-05-01 12:24:00');
SELECT s.bucket, b.users::text = s.users::text AND b.digest::text = s.digest::text AND b.worst = s.worst AND b.newest = s.newest AS same, #s.parts AS parts, tdigest_count(s.twice) AS twice
  FROM sums AS s JOIN before AS b USING (bucket) ORDER BY 1;
\! printf '%s\n' "produce rs_main partition=0 time=2024-05-01T12:09:30Z value='{\"id\": 60, \"u\": \"late\", \"l\": 1000}'" | feed
SELECT :shown, #parts AS parts, tdigest_count(twice) AS twice FROM sums_live ORDER BY 1 LIMIT 1;
CALL kafka.run_rollups('sums');
SELECT :shown, #parts AS parts, tdigest_count(twice) AS twice FROM sums ORDER BY 1 LIMIT 1;
SELECT count(*) FROM kafka.dead_letters;

-- Sketches of another size are not what the old ones can be merged with: nothing is kept.
CALL kafka.rebuild_rollup('sums', replace(:'more', '(u), 12)', '(u), 10)'), since := '2024-05-01 12:24:00');
SELECT hll_log2m(users) AS log2m, count(*), sum(n) FROM sums GROUP BY 1;
SELECT #hll_union_agg(users) AS users FROM sums;
DROP TABLE _sums_g3;
CALL kafka.rebuild_rollup('sums', replace(replace(:'more', '(u), 12)', '(u), 10)'), '(l, 1, 50)', '(l, 1, 60)'), since := '2024-05-01 12:24:00');
-- With all that the topic has no bucket has to be kept.
CALL kafka.rebuild_rollup('sums', :'more');
SELECT hll_log2m(users) AS log2m, count(*), sum(n) FROM sums GROUP BY 1;
-- Another value is: its sketch is as large.
CALL kafka.rebuild_rollup('sums', replace(:'more', '(u), 12)', '(upper(u)), 12)'), since := '2024-05-01 12:24:00');
SELECT #hll_union_agg(users) AS users FROM sums;

-- The topic does not hold the oldest any more. (The third bucket was kept, of the other users, and is whole now.)
\! printf '%s\n' 'delete-records rs_main 0 8' 'delete-records rs_main 1 8' | feed
DROP TABLE before;
CREATE TABLE before AS TABLE sums;
CALL kafka.rebuild_rollup('sums');
SELECT s.bucket, b.users::text = s.users::text AS same_users, b.digest::text = s.digest::text AS same_digest, b.worst = s.worst AS same_worst, b.n = s.n AS same_n
  FROM sums AS s JOIN before AS b USING (bucket) ORDER BY 1;
SELECT (SELECT #hll_union_agg(users) FROM sums) AS users, tdigest_percentile(digest, 1.0) AS largest FROM sums;
SELECT kafka.drop_rollup('sums');

-- Without keys there is one row, and no bucket to be kept.
SELECT kafka.create_rollup('total', 'SELECT count(*) AS n, hll_add_agg(hll_hash_text(u)) AS users, tdigest(l, 100) AS digest FROM main', start_offsets := '{"0": 20, "1": 20}');
CALL kafka.run_rollups('total');
SELECT n, #users AS users, tdigest_count(digest) FROM total;
CALL kafka.rebuild_rollup('total', since := '2024-05-01 12:30:00');
SELECT n, #users AS users, tdigest_count(digest) FROM total;
SELECT kafka.drop_rollup('total');

-- Checks, unique keys and letters: all is judged again, as before.
SELECT make_table('checked', 'rs_checked');
SELECT kafka.create_rollup('checked_sums', 'SELECT ' || :'by10' || ', count(*) AS n, hll_add_agg(hll_hash_text(u)) AS users, tdigest(l, 100) AS digest FROM checked GROUP BY 1',
  expect := 'l >= 0', late_limit := '15 min', options := '{"unique_key": "id", "unique_within": "1 day", "retry_limit": 0}');
CREATE VIEW numbers AS SELECT bucket, n, #users AS users, tdigest_count(digest) AS digest FROM checked_sums ORDER BY 1;
CREATE VIEW letters AS SELECT kafka_offset, stage, status FROM kafka.dead_letters WHERE rollup = 'checked_sums' ORDER BY 1;
CALL kafka.run_rollups('checked_sums', max_rows := 5);
TABLE numbers;
TABLE letters;
SELECT count(*) FROM kafka.stored_key;
CALL kafka.rebuild_rollup('checked_sums');
TABLE numbers;
TABLE letters;
SELECT count(*) FROM kafka.stored_key;
SELECT messages, rows_selected, dead_letters, duplicates FROM kafka.rollup_runs WHERE event = 'rebuild';

-- Of the second bucket the topic has half: it is kept, with its letters and keys, and those of the first.
\! printf '%s\n' 'delete-records rs_checked 0 18' | feed
CALL kafka.rebuild_rollup('checked_sums');
TABLE numbers;
TABLE letters;
SELECT count(*) FROM kafka.stored_key;
-- Repeats of what is gone, and of what is kept, do not count; others do.
\! printf '%s\n' "produce rs_checked time=2024-05-01T12:29:30Z value='{\"id\": 3, \"u\": \"again\", \"l\": 1}'" "produce rs_checked time=2024-05-01T12:29:31Z value='{\"id\": 19, \"u\": \"again\", \"l\": 1}'" "produce rs_checked time=2024-05-01T12:29:32Z value='{\"id\": 29, \"u\": \"again\", \"l\": 1}'" "produce rs_checked time=2024-05-01T12:19:30Z value='{\"id\": 200, \"u\": \"new\", \"l\": 1}'" | feed
SELECT bucket, n, #users AS users, tdigest_count(digest) AS digest FROM checked_sums_live ORDER BY 1;
CALL kafka.run_rollups('checked_sums');
TABLE numbers;
SELECT duplicates FROM kafka.rollup_runs WHERE event = 'batch' ORDER BY run_id DESC LIMIT 1;
-- A letter of a kept bucket counts in its sketches, once.
SELECT kafka.alter_rollup('checked_sums', options := '{"error_limit": 1}');
ALTER FOREIGN TABLE checked ALTER l OPTIONS (ADD json 'id');
SELECT * FROM kafka.retry_dead_letters('checked_sums', ARRAY(SELECT id FROM kafka.dead_letters WHERE rollup = 'checked_sums' AND kafka_offset IN (10, 23, 36)));
TABLE numbers;
CALL kafka.rebuild_rollup('checked_sums');
TABLE numbers;
TABLE letters;
SELECT count(*) FROM kafka.stored_key;
-- What is a letter of a kept bucket has no key, whatever it is by the foreign table as it is now: it counts once.
SELECT * FROM kafka.retry_dead_letters('checked_sums', ARRAY(SELECT id FROM kafka.dead_letters WHERE rollup = 'checked_sums' AND kafka_offset IN (11, 24)));
TABLE numbers;
SELECT count(*) FROM kafka.stored_key;
SELECT kafka.drop_rollup('checked_sums', "cascade" := true);
SELECT count(*) FROM kafka.stored_key;

-- What is kept has counted a message that the new query fails for: a repeat of it does not count.
-- And what the new query fails for in buckets that are not kept has no key.
SELECT make_table('keyed', 'rs_keyed');
\set keyed 'SELECT ' :by10 ', count(*) AS n, sum(1 / (l + 1)) AS s, hll_add_agg(hll_hash_text(u)) AS users FROM keyed GROUP BY 1'
SELECT kafka.create_rollup('keyed_sums', :'keyed', options := '{"unique_key": "id", "unique_within": "1 day", "retry_limit": 0}');
CALL kafka.run_rollups('keyed_sums');
SELECT bucket, n, #users AS users FROM keyed_sums ORDER BY 1;
CALL kafka.rebuild_rollup('keyed_sums', replace(:'keyed', '(l + 1)', 'l'), since := '2024-05-01 12:11:00');
SELECT bucket, n, #users AS users FROM keyed_sums ORDER BY 1;
SELECT kafka_offset, stage, status FROM kafka.dead_letters ORDER BY 1;
SELECT count(*) FROM kafka.stored_key;
ALTER FOREIGN TABLE keyed ALTER l OPTIONS (ADD json 'id');
SELECT * FROM kafka.retry_dead_letters('keyed_sums');
SELECT bucket, n, #users AS users FROM keyed_sums ORDER BY 1;
SELECT kafka.drop_rollup('keyed_sums');
SELECT count(*) FROM kafka.stored_key;

DELETE FROM kafka.rollup_aggregate WHERE NOT built_in;
SET client_min_messages = warning;
DROP SCHEMA rollup_rebuild_sketches CASCADE;
DROP SERVER rollup_rebuild_sketches;
