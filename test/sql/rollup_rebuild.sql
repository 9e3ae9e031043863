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
CREATE FUNCTION make_table(name text, topic text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE format('CREATE FOREIGN TABLE %I (ts timestamptz OPTIONS (timestamp ''true''), p int OPTIONS (partition ''true''), id int, k int, v int) SERVER rollup_rebuild OPTIONS (topic %L)', name, topic);
END $$;
CREATE VIEW relations AS SELECT c.relname, c.relkind FROM pg_class AS c WHERE c.relnamespace = 'rollup_rebuild'::regnamespace AND c.relkind IN ('r', 'v') AND c.relname <> 'relations' ORDER BY 1;
CREATE VIEW shadows AS SELECT name, generation, state, keep_before, kept FROM kafka.stored_rollup WHERE rebuilds IS NOT NULL ORDER BY 1;
SELECT make_table('main', 'rb_main');
CREATE TABLE factor (k int PRIMARY KEY, f int);
INSERT INTO factor VALUES (0, 1), (1, 1), (2, 1);
\set by10 'date_bin(''10 min'', ts, ''2000-01-01'') AS bucket'

-- The same query: what a joined table has now.
SELECT kafka.create_rollup('joined', 'SELECT ' || :'by10' || ', sum(v * f) AS s, count(*) AS n FROM main LEFT JOIN factor USING (k) GROUP BY 1');
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
SELECT kafka_partition, next_offset, last_offset FROM kafka.rollup_offsets ORDER BY 1;
\d+ joined
-- It goes on from there.
\! printf '%s\n' "generate rb_main first=40 count=4 partitions=2 time=2024-05-01T12:00:00Z step=60000 value='{\"id\": {n}, \"k\": {n%3}, \"v\": {n%7}}'" | feed
SELECT sum(n), sum(s) FROM joined_live;
CALL kafka.run_rollups('joined');
SELECT sum(n), sum(s) FROM joined;
-- Again: nothing is left behind.
CALL kafka.rebuild_rollup('joined');
SELECT sum(n), sum(s) FROM joined;
TABLE relations;

-- Another query, with a new column. What others gave the view stays.
CREATE ROLE regress_kafka_reader;
GRANT SELECT ON joined TO regress_kafka_reader;
GRANT USAGE ON SCHEMA rollup_rebuild TO regress_kafka_reader;
ALTER VIEW joined SET (security_barrier = true);
COMMENT ON COLUMN joined.s IS 'the sum';
CREATE INDEX by_n ON _joined_g3 (n) WHERE s > 0;
UPDATE kafka.stored_rollup SET schedule = '* * * * *', job_id = 7, job_role = 'nobody' WHERE name = 'joined';
CALL kafka.rebuild_rollup('joined', 'SELECT ' || :'by10' || ', sum(v * f) AS s, count(*) AS n, max(id) AS last_id FROM main LEFT JOIN factor USING (k) WHERE id < 43 GROUP BY 1');
SELECT schedule, job_id, job_role FROM kafka.stored_rollup;
UPDATE kafka.stored_rollup SET schedule = NULL, job_id = NULL, job_role = NULL WHERE name = 'joined';
\d+ joined
SET ROLE regress_kafka_reader;
TABLE joined ORDER BY 1;
RESET ROLE;
TABLE dependent ORDER BY 1 LIMIT 1;
\! printf '%s\n' "generate rb_main first=44 count=2 partitions=2 time=2024-05-01T12:00:00Z step=60000 value='{\"id\": 30, \"k\": {n%3}, \"v\": {n%7}}'" | feed
SELECT * FROM joined_live ORDER BY bucket DESC LIMIT 1;
CALL kafka.run_rollups('joined');
SELECT * FROM joined ORDER BY bucket DESC LIMIT 1;
SELECT pg_get_viewdef('_joined_def');

-- What is refused before anything is done.
CALL kafka.rebuild_rollup('joined', 'SELECT ' || :'by10' || ', sum(v) AS s, count(*) AS n FROM main GROUP BY 1');
CALL kafka.rebuild_rollup('joined', 'SELECT ' || :'by10' || ', sum(v) AS sum, count(*) AS n, max(id) AS last_id FROM main GROUP BY 1');
CALL kafka.rebuild_rollup('joined', 'SELECT ' || :'by10' || ', sum(v::bigint) AS s, count(*) AS n, max(id) AS last_id FROM main GROUP BY 1');
CALL kafka.rebuild_rollup('joined', 'SELECT ' || :'by10' || ', count(*) AS n, sum(v) AS s, max(id) AS last_id FROM main GROUP BY 1');
CALL kafka.rebuild_rollup('joined', 'SELECT ' || :'by10' || ', count(distinct v) AS s FROM main GROUP BY 1');
SELECT make_table('other', 'rb_main');
CALL kafka.rebuild_rollup('joined', 'SELECT ' || :'by10' || ', sum(v) AS s, count(*) AS n, max(id) AS last_id FROM other GROUP BY 1');
CALL kafka.rebuild_rollup('joined', since := 'infinity');
\set VERBOSITY sqlstate
CALL kafka.rebuild_rollup('joined', since := now() + interval '1 hour');
\set VERBOSITY default
CALL kafka.rebuild_rollup('joined', max_time := '-1 s');
CALL kafka.rebuild_rollup('joind');
CALL kafka.rebuild_rollup(NULL);
SET ROLE regress_kafka_reader;
CALL kafka.rebuild_rollup('joined');
RESET ROLE;
BEGIN;
CALL kafka.rebuild_rollup('joined');
ROLLBACK;
SET default_transaction_isolation = 'repeatable read';
CALL kafka.rebuild_rollup('joined');
RESET default_transaction_isolation;
SET default_transaction_read_only = on;
CALL kafka.rebuild_rollup('joined');
RESET default_transaction_read_only;
SET kafka_fdw.enable_runs = off;
CALL kafka.rebuild_rollup('joined');
RESET kafka_fdw.enable_runs;
CREATE VIEW inner_view AS SELECT count(*) FROM _joined_g4;
CALL kafka.rebuild_rollup('joined');
DROP VIEW inner_view;
TABLE shadows;
SELECT kafka.drop_rollup('joined', "cascade" := true);
TABLE relations;

-- Since a time: older buckets are kept, with late messages of theirs that come after it.
SELECT make_table('kept', 'rb_kept');
SELECT kafka.create_rollup('kept_sums', 'SELECT ' || :'by10' || ', k, count(*) AS n FROM kept GROUP BY 1, 2');
CALL kafka.run_rollups('kept_sums');
SELECT bucket, sum(n) FROM kept_sums GROUP BY 1 ORDER BY 1;
-- by hand, to tell whose they are
UPDATE _kept_sums_g1 SET n = n + 100;
CALL kafka.rebuild_rollup('kept_sums', 'SELECT ' || :'by10' || ', k, count(*) AS n, sum(id) AS ids FROM kept GROUP BY 1, 2', since := '2024-05-01 12:14:00+00');
SELECT bucket, sum(n), sum(ids) FROM kept_sums GROUP BY 1 ORDER BY 1;
SELECT event, detail FROM kafka.rollup_runs WHERE name = 'kept_sums' ORDER BY run_id DESC LIMIT 1;
SELECT valid_from FROM kafka.rollups WHERE name = 'kept_sums';
-- What comes later for them counts; new columns know of nothing else there.
\! printf '%s\n' "produce rb_kept partition=0 time=2024-05-01T12:01:00Z value='{\"id\": 32, \"k\": 0}'" "produce rb_kept partition=0 time=2024-05-01T12:29:00Z value='{\"id\": 33, \"k\": 0}'" | feed
CALL kafka.run_rollups('kept_sums');
SELECT bucket, sum(n), sum(ids) FROM kept_sums GROUP BY 1 ORDER BY 1;
-- On an edge; a time before all; with other keys nothing can be kept.
CALL kafka.rebuild_rollup('kept_sums', since := '2024-05-01 12:10:00+00');
SELECT bucket, sum(n), sum(ids) FROM kept_sums GROUP BY 1 ORDER BY 1;
CALL kafka.rebuild_rollup('kept_sums', since := '2020-01-01');
SELECT bucket, sum(n), sum(ids) FROM kept_sums GROUP BY 1 ORDER BY 1;
CALL kafka.rebuild_rollup('kept_sums', 'SELECT ' || :'by10' || ', k, count(*) AS n, sum(id) AS ids, p FROM kept GROUP BY 1, 2, p', since := '2024-05-01 12:14:00+00');
SELECT bucket, sum(n), sum(ids) FROM kept_sums GROUP BY 1 ORDER BY 1;
SELECT valid_from FROM kafka.rollups WHERE name = 'kept_sums';
TABLE relations;
SELECT obj_description('_kept_sums_g4'::regclass), (SELECT sum(n) FROM _kept_sums_g4);
DROP TABLE _kept_sums_g4;
-- Nor with another bucket, of the same name and type. The old ones were made since the same time: nothing of theirs is missing.
CALL kafka.rebuild_rollup('kept_sums', replace('SELECT ' || :'by10' || ', k, count(*) AS n, sum(id) AS ids, p FROM kept GROUP BY 1, 2, p', '10 min', '20 min'), since := '2024-05-01 12:14:00+00');
SELECT bucket, sum(n), sum(ids) FROM kept_sums GROUP BY 1 ORDER BY 1;
-- With another join they are.
CALL kafka.rebuild_rollup('kept_sums', replace('SELECT ' || :'by10' || ', k, count(*) AS n, sum(id) AS ids, p, max(f.f) AS f FROM kept AS messages LEFT JOIN factor AS f USING (k) GROUP BY 1, 2, p', '10 min', '20 min'), since := '2024-05-01 12:20:00+00');
SELECT bucket, sum(n), sum(ids), sum(f) FROM kept_sums GROUP BY 1 ORDER BY 1;
SELECT kafka.drop_rollup('kept_sums');

-- What the topic has lost.
SELECT make_table('cut', 'rb_cut');
SELECT kafka.create_rollup('cut_sums', 'SELECT ' || :'by10' || ', count(*) AS n FROM cut GROUP BY 1');
SELECT kafka.create_rollup('cut_total', 'SELECT k, count(*) AS n FROM cut GROUP BY 1');
CALL kafka.run_rollups('cut_sums');
CALL kafka.run_rollups('cut_total');
UPDATE _cut_sums_g1 SET n = n + 100;
\! printf '%s\n' 'delete-records rb_cut 0 12' | feed
CALL kafka.rebuild_rollup('cut_sums');
TABLE cut_sums ORDER BY 1;
CALL kafka.rebuild_rollup('cut_total');
TABLE cut_total ORDER BY 1;
DROP TABLE _cut_total_g1;
-- What was lost before the rollup began is nothing that it has counted: it is rebuilt whole, and the old table goes.
CALL kafka.rebuild_rollup('cut_total');
SELECT kafka.create_rollup('cut_later', 'SELECT ' || :'by10' || ', count(*) AS n FROM cut GROUP BY 1');
CALL kafka.run_rollups('cut_later');
UPDATE _cut_later_g1 SET n = n + 100;
CALL kafka.rebuild_rollup('cut_later');
TABLE cut_later ORDER BY 1;
\! printf '%s\n' 'delete-records rb_cut 0 13' | feed
CALL kafka.rebuild_rollup('cut_total');
CALL kafka.rebuild_rollup('cut_total');
-- What it is moved back to it counts, once more or not.
SELECT kafka.create_rollup('cut_moved', 'SELECT k, count(*) AS n FROM cut GROUP BY 1', start_offsets := '{"0": 20}');
CALL kafka.run_rollups('cut_moved');
SELECT kafka.seek_rollup('cut_moved', '{"0": 15}', accept_loss := true);
CALL kafka.run_rollups('cut_moved');
\! printf '%s\n' 'delete-records rb_cut 0 18' | feed
CALL kafka.rebuild_rollup('cut_moved');
TABLE cut_moved ORDER BY 1;
TABLE relations;
SELECT kafka.drop_rollup('cut_sums'), kafka.drop_rollup('cut_total'), kafka.drop_rollup('cut_later'), kafka.drop_rollup('cut_moved');
DROP TABLE _cut_total_g3, _cut_moved_g1;

-- Dead letters, late ones, repeats.
SELECT make_table('letters', 'rb_letters');
SELECT kafka.create_rollup('letters_sums', 'SELECT ' || :'by10' || ', count(*) AS n, sum(1 / k) AS x FROM letters GROUP BY 1', expect := 'k >= 0', late_limit := '1 hour', future_limit := '1 day', options := '{"unique_key": "id", "unique_within": "1 day", "retry_limit": 0, "error_limit": 1}');
CALL kafka.run_rollups('letters_sums');
TABLE letters_sums ORDER BY 1;
CREATE VIEW letter_states AS SELECT kafka_offset, stage, status FROM kafka.dead_letters WHERE rollup = 'letters_sums' ORDER BY 1;
TABLE letter_states;
-- All are judged anew; one more column makes no difference to them.
CALL kafka.rebuild_rollup('letters_sums', 'SELECT ' || :'by10' || ', count(*) AS n, sum(1 / k) AS x, min(id) AS first_id FROM letters GROUP BY 1');
TABLE letters_sums ORDER BY 1;
TABLE letter_states;
SELECT count(*) FROM kafka.stored_key;
SELECT messages, dead_letters, duplicates FROM kafka.rollup_runs WHERE name = 'letters_sums' AND event = 'rebuild';
-- Mended by another query; those from before are of what is kept, and can be tried.
CALL kafka.rebuild_rollup('letters_sums', 'SELECT ' || :'by10' || ', count(*) AS n, sum(1 / greatest(k, 1)) AS x, min(id) AS first_id FROM letters GROUP BY 1', since := '2024-05-01 13:00:00+00');
TABLE letters_sums ORDER BY 1;
TABLE letter_states;
SELECT count(*) FROM kafka.stored_key;
-- A repeat of one that is kept, one of one that was read again, and a new one.
\! printf '%s\n' "produce rb_letters time=2024-05-01T15:01:00Z value='{\"id\": 3, \"k\": 1}'" "produce rb_letters time=2024-05-01T15:01:00Z value='{\"id\": 4, \"k\": 1}'" "produce rb_letters time=2024-05-01T15:01:00Z value='{\"id\": 11, \"k\": 1}'" "produce rb_letters time=2024-05-01T13:59:00Z value='{\"id\": 12, \"k\": 1}'" | feed
CALL kafka.run_rollups('letters_sums');
TABLE letters_sums ORDER BY 1;
SELECT messages, dead_letters, duplicates FROM kafka.rollup_runs WHERE name = 'letters_sums' ORDER BY run_id DESC LIMIT 1;
SELECT * FROM kafka.retry_dead_letters('letters_sums', ARRAY(SELECT id FROM kafka.dead_letters WHERE kafka_offset IN (8, 14)));
TABLE letters_sums ORDER BY 1;
SELECT kafka.drop_rollup('letters_sums');

-- Whatever state it is in: paused by somebody, it stays so.
SELECT make_table('removed', 'rb_removed');
SELECT kafka.create_rollup('removed_sums', 'SELECT ' || :'by10' || ', count(*) AS n FROM removed GROUP BY 1');
CALL kafka.run_rollups('removed_sums', max_rows := 30, max_time := '0');
SELECT kafka.alter_rollup('removed_sums', enabled := false);
CALL kafka.rebuild_rollup('removed_sums');
SELECT state, enabled FROM kafka.rollups WHERE name = 'removed_sums';
SELECT sum(n) FROM removed_sums;
SELECT kafka.alter_rollup('removed_sums', enabled := true);
-- Halted, since messages were lost: it goes on from what is left.
\! printf '%s\n' 'delete-records rb_removed 0 18' 'delete-records rb_removed 1 18' | feed
CALL kafka.run_rollups('removed_sums');
SELECT state FROM kafka.rollups WHERE name = 'removed_sums';
CALL kafka.rebuild_rollup('removed_sums');
SELECT state, reason FROM kafka.rollups WHERE name = 'removed_sums';
TABLE removed_sums ORDER BY 1;
CALL kafka.run_rollups('removed_sums');
TABLE removed_sums ORDER BY 1;
SELECT sum(lost_messages) FROM kafka.rollup_offsets WHERE name = 'removed_sums';
SELECT kafka.drop_rollup('removed_sums');
-- Halted, since the topic is another one.
SELECT make_table('again', 'rb_again');
SELECT kafka.create_rollup('again_sums', 'SELECT ' || :'by10' || ', count(*) AS n FROM again GROUP BY 1');
CALL kafka.run_rollups('again_sums');
\! printf '%s\n' 'delete-topic rb_again' 'create-topic rb_again' "generate rb_again count=5 time=2024-05-02T12:00:00Z value='{\"id\": {n}}'" | feed
CALL kafka.rebuild_rollup('again_sums');
SELECT kafka.seek_rollup('again_sums', offsets := '{"0": "earliest"}', accept_loss := true);
CALL kafka.run_rollups('again_sums');
TABLE again_sums ORDER BY 1;
-- The old topic's buckets are not lost with it.
CALL kafka.rebuild_rollup('again_sums', since := '2024-05-02');
TABLE again_sums ORDER BY 1;
-- Without a time they are not asked for, and yet not thrown away.
CALL kafka.rebuild_rollup('again_sums');
TABLE again_sums ORDER BY 1;
TABLE relations;
DROP TABLE _again_sums_g2;
SELECT kafka.drop_rollup('again_sums');
-- Failing, with a query that is wrong, until it is replaced.
SELECT make_table('many', 'rb_many');
SELECT kafka.create_rollup('many_sums', 'SELECT k, count(*) AS n, sum(1 / (id - 299)) AS x FROM many JOIN factor USING (k) GROUP BY k');
CALL kafka.run_rollups('many_sums', max_rows := 100, max_time := '0');
ALTER TABLE factor DROP CONSTRAINT factor_pkey;
CALL kafka.run_rollups('many_sums');
SELECT state FROM kafka.rollups WHERE name = 'many_sums';
-- The shadow comes to a stop; the next call goes on with it.
CALL kafka.rebuild_rollup('many_sums', 'SELECT k, count(*) AS n, sum(1 / (id - id)) AS x FROM many GROUP BY k');
TABLE shadows;
CALL kafka.rebuild_rollup('many_sums', 'SELECT k, count(*) AS n, sum(1 / (id - id)) AS x FROM many GROUP BY k');
CALL kafka.rebuild_rollup('_many_sums_g2');
SELECT sum(n) FROM many_sums;
-- Another query begins anew.
CALL kafka.rebuild_rollup('many_sums', 'SELECT k, count(*) AS n, sum(1 / (id + 1)) AS x FROM many GROUP BY k');
SELECT sum(n) FROM many_sums;
SELECT state, reason FROM kafka.rollups WHERE name = 'many_sums';
CALL kafka.run_rollups('many_sums');
SELECT sum(n) FROM many_sums;
-- Dropping the rollup drops its shadow.
CALL kafka.rebuild_rollup('many_sums', 'SELECT k, count(*) AS n, sum(1 / (id - id)) AS x FROM many GROUP BY k');
TABLE relations;
CALL kafka.run_rollups();
SELECT kafka.drop_rollup('many_sums');
TABLE relations;
SELECT count(*) FROM kafka.stored_rollup;

-- As somebody else's rollup, in another schema, under another name; with removed buckets.
CREATE ROLE regress_kafka_owner;
CREATE SCHEMA rollup_rebuild_owned AUTHORIZATION regress_kafka_owner;
GRANT USAGE ON SCHEMA rollup_rebuild TO regress_kafka_owner;
GRANT SELECT ON ALL TABLES IN SCHEMA rollup_rebuild TO regress_kafka_owner;
SET ROLE regress_kafka_owner;
SELECT kafka.create_rollup('rollup_rebuild_owned.a_name_that_is_so_long_that_a_shadow_s_does_not_fit_', 'SELECT ' || :'by10' || ', count(*) AS n FROM main GROUP BY 1');
CALL kafka.run_rollups('a_name_that_is_so_long_that_a_shadow_s_does_not_fit_');
RESET ROLE;
ALTER VIEW rollup_rebuild_owned.a_name_that_is_so_long_that_a_shadow_s_does_not_fit_ RENAME TO renamed;
UPDATE kafka.stored_rollup SET pruned_until = '2024-05-01 12:20:00+00';
SET TimeZone = 'Asia/Seoul';
CALL kafka.rebuild_rollup('a_name_that_is_so_long_that_a_shadow_s_does_not_fit_', 'SELECT ' || :'by10' || ', count(*) AS n, max(ts)::text AS newest FROM main GROUP BY 1');
RESET TimeZone;
SET TimeZone = 'UTC';
TABLE rollup_rebuild_owned.renamed ORDER BY 1;
SELECT c.relname, c.relkind, c.relowner::regrole FROM pg_class AS c WHERE c.relnamespace = 'rollup_rebuild_owned'::regnamespace AND c.relkind IN ('r', 'v') ORDER BY 1;
SELECT current_user = session_user;
SELECT kafka.drop_rollup('a_name_that_is_so_long_that_a_shadow_s_does_not_fit_');

DROP SCHEMA rollup_rebuild, rollup_rebuild_owned CASCADE;
DROP SERVER rollup_rebuild;
DROP ROLE regress_kafka_owner, regress_kafka_reader;
