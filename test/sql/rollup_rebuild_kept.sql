--
-- Rebuilding rollups: nothing is counted twice, or not at all, in what is kept
-- and what is read again, whatever was done to the rollup, to the generation in
-- the making or to the topic before it was complete; nor does it matter who
-- calls with which settings. rollup_rebuild_kept.feed makes the topics.
--
\getenv brokers KAFKA_BROKERS
SET TimeZone = 'UTC';
SET DateStyle = 'ISO';
CREATE SERVER rollup_rebuild_kept FOREIGN DATA WRAPPER kafka_fdw OPTIONS (brokers :'brokers');
CREATE SCHEMA rollup_rebuild_kept;
SET search_path = rollup_rebuild_kept, public;
CREATE FUNCTION make_table(name text, topic text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE format('CREATE FOREIGN TABLE %I (ts timestamptz OPTIONS (timestamp ''true''), id int, k int) SERVER rollup_rebuild_kept OPTIONS (topic %L)', name, topic);
END $$;
CREATE VIEW letters_of AS SELECT rollup, kafka_offset, stage, status FROM kafka.dead_letters WHERE rollup LIKE 'letters%' ORDER BY 1, 2;
\set by10 'date_bin(''10 min'', ts, ''2000-01-01'') AS bucket'

-- A partition that no run has seen is read from its beginning.
SELECT make_table('parts', 'rk_parts');
SELECT kafka.create_rollup('parts_sums', 'SELECT ' || :'by10' || ', count(*) AS n FROM parts GROUP BY 1');
CALL kafka.run_rollups('parts_sums');
\! printf '%s\n' 'add-partitions rk_parts 2' "produce rk_parts partition=1 time=2024-05-01T12:01:00Z value='{\"id\": 20}'" "produce rk_parts partition=1 time=2024-05-01T12:15:00Z value='{\"id\": 21}'" | feed
CALL kafka.rebuild_rollup('parts_sums', since := '2024-05-01 12:10:00');
CALL kafka.run_rollups('parts_sums');
TABLE parts_sums ORDER BY 1;
SELECT kafka.drop_rollup('parts_sums');

-- A repeat of a message that is kept does not count.
SELECT make_table('keys', 'rk_keys');
SELECT kafka.create_rollup('keys_sums', 'SELECT ' || :'by10' || ', count(*) AS n FROM keys GROUP BY 1', options := '{"unique_key": "id", "unique_within": "1 day"}');
CALL kafka.run_rollups('keys_sums');
CALL kafka.rebuild_rollup('keys_sums', since := '2024-05-01 12:10:00');
TABLE keys_sums ORDER BY 1;
SELECT count(*) FROM kafka.stored_key;
SELECT kafka.drop_rollup('keys_sums');

-- Letters of kept buckets are those that the old query has left: what it could not count, no other.
SELECT make_table('letters', 'rk_letters');
\set sums 'SELECT ' :by10 ', count(*) AS n, sum(1 / k) AS s FROM letters GROUP BY 1'
SELECT kafka.create_rollup('letters_more', :'sums', options := '{"error_limit": 1}');
SELECT kafka.create_rollup('letters_less', :'sums', options := '{"error_limit": 1}');
CALL kafka.run_rollups();
TABLE letters_of;
CALL kafka.rebuild_rollup('letters_more', replace(:'sums', '1 / k', '1 / greatest(k, 1)'), since := '2024-05-01 12:10:00');
CALL kafka.rebuild_rollup('letters_less', replace(:'sums', '1 / k', '1 / (k - 7)'), since := '2024-05-01 12:10:00');
TABLE letters_of;
SELECT * FROM kafka.retry_dead_letters('letters_more');
SELECT * FROM kafka.retry_dead_letters('letters_less');
TABLE letters_more ORDER BY 1;
TABLE letters_less ORDER BY 1;
SELECT kafka.drop_rollup('letters_more'), kafka.drop_rollup('letters_less');

-- Of removed hours, in a rollup of days: a day of which some are left is whole.
SELECT make_table('hours', 'rk_hours');
SELECT kafka.create_rollup('hours_sums', 'SELECT date_bin(''1 hour'', ts, ''2000-01-01'') AS bucket, count(*) AS n FROM hours GROUP BY 1');
CALL kafka.run_rollups('hours_sums');
UPDATE kafka.stored_rollup SET pruned_until = '2024-05-01 20:00:00+00' WHERE name = 'hours_sums';
DELETE FROM _hours_sums_g1 WHERE bucket < '2024-05-01 20:00:00+00';
CALL kafka.rebuild_rollup('hours_sums', 'SELECT date_bin(''1 day'', ts, ''2000-01-01'') AS bucket, count(*) AS n FROM hours GROUP BY 1');
TABLE hours_sums ORDER BY 1;
-- What comes for it counts.
\! printf '%s\n' "produce rk_hours time=2024-05-01T01:00:00Z value='{}'" | feed
CALL kafka.run_rollups('hours_sums');
TABLE hours_sums ORDER BY 1;
SELECT kafka.drop_rollup('hours_sums');

-- The rollup is moved back, and forth, while it is rebuilt: each message counts once.
SELECT make_table('many', 'rk_many');
\set bad 'SELECT k, count(*) AS n, sum(1 / (k - k)) AS s FROM many GROUP BY 1'
SELECT kafka.create_rollup('moved', 'SELECT k, count(*) AS n FROM many GROUP BY 1');
CALL kafka.run_rollups('moved', max_rows := 200, max_time := '0');
CALL kafka.rebuild_rollup('moved', :'bad');
SELECT kafka.seek_rollup('moved', '{"0": 100}', accept_loss := true);
CALL kafka.run_rollups('moved', max_rows := 50, max_time := '0');
SELECT kafka.seek_rollup('moved', '{"0": 290}', accept_loss := true);
CALL kafka.run_rollups('moved');
SELECT sum(n) FROM moved;
-- Options that it is given meanwhile count for what is read then, and afterwards.
SELECT kafka.alter_rollup('moved', options := '{"error_limit": 0.9, "retry_limit": 0}');
SELECT kafka.alter_rollup('_moved_g2', enabled := true);
CALL kafka.rebuild_rollup('moved', replace(:'bad', '(k - k)', '(k + 1)'));
SELECT sum(n), sum(s) FROM moved;
SELECT options FROM kafka.stored_rollup;
CALL kafka.rebuild_rollup('moved', :'bad');
SELECT kafka.alter_rollup('moved', options := '{"error_limit": 1}');
SELECT kafka.alter_rollup('_moved_g3', enabled := true);
CALL kafka.rebuild_rollup('moved', :'bad');
SELECT sum(n), sum(s) FROM moved;
SELECT status, count(*) FROM kafka.dead_letters GROUP BY 1;

-- What is in the making can be enabled and dropped, and nothing else.
SELECT kafka.alter_rollup('moved', options := '{"error_limit": 0.5}');
CALL kafka.rebuild_rollup('moved', :'bad');
SELECT kafka.seek_rollup('_moved_g4', '{"0": 200}', accept_loss := true);
SELECT kafka.alter_rollup('_moved_g4', options := '{"follow": true}');
SELECT kafka.alter_rollup('_moved_g4', schedule := '* * * * *');
CREATE VIEW depends AS TABLE _moved_g4;
SELECT kafka.drop_rollup('moved');
SELECT kafka.drop_rollup('moved', "cascade" := true);
SELECT count(*) FROM kafka.stored_rollup;

-- Messages are removed before they are read again: what has counted them is kept, on_loss or not.
SELECT kafka.create_rollup('lost', 'SELECT ' || :'by10' || ', count(*) AS n FROM many GROUP BY 1', options := '{"on_loss": "continue"}');
CALL kafka.run_rollups('lost');
\set bad 'SELECT ' :by10 ', count(*) AS n, sum(1 / (k - k)) AS s FROM many GROUP BY 1'
CALL kafka.rebuild_rollup('lost', :'bad');
\! printf '%s\n' 'delete-records rk_many 0 100' | feed
SELECT kafka.alter_rollup('lost', options := '{"error_limit": 1, "retention": "36500 days"}');
SELECT kafka.alter_rollup('_lost_g2', enabled := true);
CALL kafka.rebuild_rollup('lost', :'bad');
CALL kafka.rebuild_rollup('lost', :'bad');
SELECT sum(n) FROM lost;
SELECT lost_messages FROM kafka.rollup_offsets;
SELECT kafka.drop_rollup('lost');

-- An option that needs an index, set while the new table is filled.
SELECT kafka.create_rollup('indexed', 'SELECT k, ' || :'by10' || ', count(*) AS n FROM many GROUP BY 1, 2');
CALL kafka.run_rollups('indexed');
\set bad 'SELECT k, ' :by10 ', count(*) AS n, sum(1 / (k - k)) AS s FROM many GROUP BY 1, 2'
CALL kafka.rebuild_rollup('indexed', :'bad');
SELECT kafka.alter_rollup('indexed', options := '{"error_limit": 1, "retention": "36500 days"}');
SELECT kafka.alter_rollup('_indexed_g2', enabled := true);
CALL kafka.rebuild_rollup('indexed', :'bad');
-- Everything has the names that it would have had.
SELECT c.relname, c.relkind FROM pg_class AS c WHERE c.relnamespace = 'rollup_rebuild_kept'::regnamespace AND c.relname LIKE '%indexed%' ORDER BY 1;
SELECT kafka.drop_rollup('indexed');

-- Whatever the session has set: texts with backslashes stay what they are.
SELECT kafka.create_rollup('"quoted "" ''n\ame."', 'SELECT k, count(*) AS n, max(''a\nb'' || k) AS "c.\" FROM hours GROUP BY 1');
CALL kafka.run_rollups('"quoted "" ''n\ame."');
SET standard_conforming_strings = off;
SET escape_string_warning = off;
CALL kafka.rebuild_rollup(E'"quoted "" ''n\\ame."');
RESET standard_conforming_strings;
RESET escape_string_warning;
SELECT pg_get_viewdef('"_quoted "" ''n\ame._def"') LIKE '%''a\\nb''%' AS is_same;
CALL kafka.rebuild_rollup('"quoted "" ''n\ame."');
TABLE "quoted "" 'n\ame." ORDER BY 1;
TABLE "quoted "" 'n\ame._live" ORDER BY 1;
SELECT c.relname, c.relkind FROM pg_class AS c WHERE c.relnamespace = 'rollup_rebuild_kept'::regnamespace AND c.relname LIKE '%quoted%' ORDER BY 1;
SELECT kafka.drop_rollup('"quoted "" ''n\ame."');

-- Nor do operators of others that come before the server's in the owner's search_path run as the owner.
CREATE ROLE regress_kafka_owner;
CREATE SCHEMA rollup_rebuild_other;
GRANT USAGE ON SCHEMA rollup_rebuild_kept, rollup_rebuild_other TO regress_kafka_owner;
GRANT CREATE ON SCHEMA rollup_rebuild_kept TO regress_kafka_owner;
GRANT SELECT ON hours TO regress_kafka_owner;
SET ROLE regress_kafka_owner;
SET search_path = rollup_rebuild_other, pg_catalog, rollup_rebuild_kept;
SELECT kafka.create_rollup('rollup_rebuild_kept.owned', 'SELECT ' || :'by10' || ', count(*) AS n FROM hours GROUP BY 1');
CALL kafka.run_rollups('owned');
RESET ROLE;
SET search_path = rollup_rebuild_kept, public;
CREATE FUNCTION rollup_rebuild_other.compare(timestamptz, timestamptz) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
	RAISE 'run as %', current_user;
END $$;
CREATE OPERATOR rollup_rebuild_other.< (FUNCTION = rollup_rebuild_other.compare, LEFTARG = timestamptz, RIGHTARG = timestamptz);
CREATE OPERATOR rollup_rebuild_other.<= (FUNCTION = rollup_rebuild_other.compare, LEFTARG = timestamptz, RIGHTARG = timestamptz);
CREATE OPERATOR rollup_rebuild_other.>= (FUNCTION = rollup_rebuild_other.compare, LEFTARG = timestamptz, RIGHTARG = timestamptz);
UPDATE kafka.stored_rollup SET pruned_until = '2024-05-01 02:00:00+00' WHERE name = 'owned';
CALL kafka.rebuild_rollup('owned', since := '2024-05-01 12:00:00');
SELECT count(*), sum(n) FROM owned;
SELECT kafka.drop_rollup('owned');

SELECT count(*) FROM kafka.stored_key;
DROP SCHEMA rollup_rebuild_kept, rollup_rebuild_other CASCADE;
DROP SERVER rollup_rebuild_kept;
DROP ROLE regress_kafka_owner;
