--
-- Where rollups start, how they are moved, and what halts them: messages that
-- were removed, topics made anew. rollup_loss.feed makes the topics.
--
\getenv brokers KAFKA_BROKERS
SET TimeZone = 'UTC';
SET DateStyle = 'ISO';
CREATE SERVER rollup_loss FOREIGN DATA WRAPPER kafka_fdw OPTIONS (brokers :'brokers');
CREATE SCHEMA rollup_loss;
SET search_path = rollup_loss, public;
CREATE FUNCTION make_table(name text, option text, topic text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE format('CREATE FOREIGN TABLE %I (t text OPTIONS (topic ''true''), p int OPTIONS (partition ''true''), id int) SERVER rollup_loss OPTIONS (%I %L)', name, option, topic);
END $$;
CREATE FUNCTION count_of(rollup text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE result text;
BEGIN
	EXECUTE format('SELECT string_agg(format(''%%s/%%s: %%s'', t, p, n), '', '' ORDER BY t, p) FROM %I', rollup) INTO result;
	RETURN result;
END $$;
\set query 'SELECT t, p, count(*) AS n FROM %I GROUP BY t, p'

-- Starts.
SELECT make_table('starting', 'topic', 'rl_start');
SELECT make_table('two_topics', 'topic', 'rl_start,rl_second');
SELECT format(:'query', 'starting') AS q, format(:'query', 'two_topics') AS q2 \gset
CREATE VIEW starts AS SELECT string_agg(format('%s/%s: %s', topic, kafka_partition, next_offset), ', ' ORDER BY name, topic, kafka_partition) FROM kafka.rollup_offsets WHERE name = 'started';
SELECT kafka.create_rollup('started', :'q') \g /dev/null
SELECT * FROM starts;
SELECT kafka.drop_rollup('started') \g /dev/null
SELECT kafka.create_rollup('started', :'q', start_at := '2024-05-01 12:00:30+00') \g /dev/null
SELECT * FROM starts;
SELECT kafka.drop_rollup('started') \g /dev/null
SELECT kafka.create_rollup('started', :'q', start_at := now()) \g /dev/null
SELECT * FROM starts;
SELECT kafka.drop_rollup('started') \g /dev/null
SELECT kafka.create_rollup('started', :'q', start_at := 'infinity') \g /dev/null
SELECT * FROM starts;
SELECT kafka.drop_rollup('started') \g /dev/null
SELECT kafka.create_rollup('started', :'q', start_at := '1960-01-01') \g /dev/null
SELECT * FROM starts;
SELECT kafka.drop_rollup('started') \g /dev/null
SELECT kafka.create_rollup('started', :'q', start_offsets := '{"1": 7}') \g /dev/null
SELECT * FROM starts;
SELECT kafka.drop_rollup('started') \g /dev/null
SELECT kafka.create_rollup('started', :'q2', start_offsets := '{"rl_start": {"0": "latest", "1": "earliest"}, "rl_second": {"0": 5}}') \g /dev/null
SELECT * FROM starts;
SELECT kafka.drop_rollup('started') \g /dev/null
SELECT kafka.create_rollup('started', :'q2', start_group := 'rl_group') \g /dev/null
SELECT * FROM starts;
CALL kafka.run_rollups('started');
SELECT count_of('started');
SELECT kafka.drop_rollup('started') \g /dev/null
-- No starts.
SELECT kafka.create_rollup('started', :'q', start_offsets := '{"0": 1}', start_group := 'rl_group');
SELECT kafka.create_rollup('started', :'q', start_offsets := '{"2": 1}');
SELECT kafka.create_rollup('started', :'q', start_offsets := '{"0": 21}');
SELECT kafka.create_rollup('started', :'q', start_offsets := '{"0": -1}');
SELECT kafka.create_rollup('started', :'q', start_offsets := '{"0": 1.5}');
SELECT kafka.create_rollup('started', :'q', start_offsets := '{"0": null}');
SELECT kafka.create_rollup('started', :'q', start_offsets := '{"0": "now"}');
SELECT kafka.create_rollup('started', :'q', start_offsets := '{"zero": 1}');
SELECT kafka.create_rollup('started', :'q', start_offsets := '{"other": {"0": 1}}');
SELECT kafka.create_rollup('started', :'q', start_offsets := '[1]');
SELECT kafka.create_rollup('started', :'q2', start_offsets := '{"0": 1}');
SELECT kafka.create_rollup('started', :'q', start_group := 'rl_nobody');
SELECT kafka.create_rollup('started', :'q', start_group := 'rl_beyond');
SELECT kafka.create_rollup('started', :'q', start_group := '');
\set VERBOSITY sqlstate
SELECT kafka.create_rollup('started', :'q', start_at := now() + interval '1 hour');
\set VERBOSITY default
ALTER FOREIGN TABLE starting OPTIONS (ADD trust_time_index 'false');
SELECT kafka.create_rollup('started', :'q', start_at := '2024-05-01 12:00:30+00');

-- Retention was faster.
SELECT make_table('removed', 'topic', 'rl_removed');
SELECT make_table('continued', 'topic', 'rl_continued');
SELECT kafka.create_rollup('removed_count', format(:'query', 'removed')) \g /dev/null
SELECT kafka.create_rollup('continued_count', format(:'query', 'continued'), options := '{"on_loss": "continue"}') \g /dev/null
CALL kafka.run_rollups('removed_count');
CALL kafka.run_rollups('continued_count');
\! printf '%s\n' "generate rl_removed count=20 partitions=2 value='{\"id\": {n}}'" 'delete-records rl_removed 0 15' | feed
\! printf '%s\n' "generate rl_continued count=20 partitions=2 value='{\"id\": {n}}'" 'delete-records rl_continued 0 15' | feed
CALL kafka.run_rollups('removed_count');
CALL kafka.run_rollups('removed_count');
SELECT state, reason FROM kafka.rollups WHERE name = 'removed_count';
SELECT count_of('removed_count');
SELECT name, topic, kafka_partition, next_offset, low_offset, end_offset, messages_behind, lost_messages
  FROM kafka.rollup_lag WHERE name = 'removed_count' ORDER BY kafka_partition;
CALL kafka.run_rollups('continued_count');
SELECT count_of('continued_count');
SELECT state, reason FROM kafka.rollups WHERE name = 'continued_count';
SELECT event, messages, lost_messages, detail FROM kafka.rollup_runs WHERE name = 'continued_count' ORDER BY run_id;
SELECT name, topic, kafka_partition, next_offset, low_offset, end_offset, messages_behind, lost_messages
  FROM kafka.rollup_lag WHERE name = 'continued_count' ORDER BY kafka_partition;
-- The way on.
SELECT kafka.seek_rollup('removed_count', offsets := '{"0": "earliest"}');
SELECT kafka.seek_rollup('removed_count', offsets := '{}');
SELECT kafka.seek_rollup('removed_count', offsets := '{"0": "earliest"}', accept_loss := true);
SELECT state, reason FROM kafka.rollups WHERE name = 'removed_count';
CALL kafka.run_rollups('removed_count');
SELECT count_of('removed_count');
SELECT event, messages, lost_messages, detail FROM kafka.rollup_runs WHERE name = 'removed_count' ORDER BY run_id;
-- Forward leaves out, backward counts twice.
\! printf '%s\n' "generate rl_removed count=10 partitions=2 time=2024-05-02T12:00:00Z value='{\"id\": {n}}'" | feed
SELECT kafka.seek_rollup('removed_count', "time" := 'infinity');
SELECT kafka.seek_rollup('removed_count', offsets := '{"1": 19}');
SELECT kafka.seek_rollup('removed_count', "time" := 'infinity', accept_loss := true);
SELECT kafka.seek_rollup('removed_count', "time" := 'infinity');
SELECT kafka.seek_rollup('removed_count', offsets := '{"1": 19}', accept_loss := true);
CALL kafka.run_rollups('removed_count');
SELECT count_of('removed_count');
SELECT kafka_partition, next_offset, lost_messages FROM kafka.rollup_offsets WHERE name = 'removed_count' ORDER BY 1;
SELECT event, messages, lost_messages, detail FROM kafka.rollup_runs WHERE name = 'removed_count' ORDER BY run_id DESC LIMIT 4;
\set VERBOSITY sqlstate
SELECT kafka.seek_rollup('removed_count', now() + interval '1 hour', true);
\set VERBOSITY default
SELECT kafka.seek_rollup('nothing', now());

-- Topics made anew: grown past the position, not so far, with fewer partitions.
SELECT make_table('longer', 'topic', 'rl_longer'), make_table('shorter', 'topic', 'rl_shorter'), make_table('shrunk', 'topic', 'rl_shrunk');
SELECT kafka.create_rollup(name || '_count', format(:'query', name)) FROM unnest('{longer,shorter,shrunk}'::text[]) AS name;
CALL kafka.run_rollups('longer_count');
CALL kafka.run_rollups('shorter_count');
CALL kafka.run_rollups('shrunk_count');
\! printf '%s\n' 'delete-topic rl_longer' 'create-topic rl_longer' "generate rl_longer count=15 time=2024-05-02T12:00:00Z value='{\"id\": {n}}'" | feed
\! printf '%s\n' 'delete-topic rl_shorter' 'create-topic rl_shorter' "generate rl_shorter count=4 time=2024-05-02T12:00:00Z value='{\"id\": {n}}'" | feed
\! printf '%s\n' 'delete-topic rl_shrunk' 'create-topic rl_shrunk partitions=1' "generate rl_shrunk count=3 time=2024-05-01T12:00:00Z step=3 value='{\"id\": {n*3}}'" | feed
CALL kafka.run_rollups('longer_count');
CALL kafka.run_rollups('shorter_count');
CALL kafka.run_rollups('shrunk_count');
SELECT name, state FROM kafka.rollups WHERE name IN ('longer_count', 'shorter_count', 'shrunk_count') ORDER BY 1;
SELECT kafka.seek_rollup('longer_count', offsets := '{"0": "earliest"}', accept_loss := true);
CALL kafka.run_rollups('longer_count');
SELECT count_of('longer_count');
SELECT kafka.alter_rollup('shorter_count', options := '{"on_loss": "continue"}');
SELECT kafka.seek_rollup('shrunk_count', offsets := '{"0": "earliest"}');
SELECT kafka.seek_rollup('shrunk_count', offsets := '{"0": "earliest"}', accept_loss := true);
CALL kafka.run_rollups('shrunk_count');
SELECT topic, kafka_partition, next_offset FROM kafka.rollup_offsets WHERE name = 'shrunk_count';
-- The option is heard when the loss is found.
CALL kafka.run_rollups('shorter_count');
SELECT kafka.seek_rollup('shorter_count', offsets := '{"0": "latest"}', accept_loss := true);
\! printf '%s\n' 'delete-topic rl_shorter' 'create-topic rl_shorter' "generate rl_shorter count=2 time=2024-05-03T12:00:00Z value='{\"id\": {n}}'" | feed
CALL kafka.run_rollups('shorter_count');
SELECT count_of('shorter_count');
SELECT event, messages, lost_messages, detail FROM kafka.rollup_runs WHERE name = 'shorter_count' ORDER BY run_id;

-- New partitions and new topics begin at their beginning, also when the first did not.
SELECT make_table('grown', 'topic', 'rl_grown'), make_table('pattern', 'topic_pattern', 'rl_pattern_.*');
SELECT kafka.create_rollup('grown_count', format(:'query', 'grown'), start_at := 'infinity'), kafka.create_rollup('pattern_count', format(:'query', 'pattern'), start_at := 'infinity');
\! printf '%s\n' 'add-partitions rl_grown 3' "generate rl_grown count=9 partitions=3 value='{\"id\": {n}}'" 'create-topic rl_pattern_2' "generate rl_pattern_2 count=4 value='{\"id\": {n}}'" | feed
SELECT name, topic, kafka_partition, next_offset, low_offset, end_offset, messages_behind, lost_messages
  FROM kafka.rollup_lag WHERE name IN ('grown_count', 'pattern_count') ORDER BY name, topic, kafka_partition;
CALL kafka.run_rollups('grown_count');
CALL kafka.run_rollups('pattern_count');
SELECT count_of('grown_count'), count_of('pattern_count');
-- What a new partition lost before it was met is lost.
\! printf '%s\n' 'add-partitions rl_grown 4' "generate rl_grown count=8 partitions=4 value='{\"id\": {n}}'" 'delete-records rl_grown 3 1' | feed
CALL kafka.run_rollups('grown_count');
-- Another cluster under the same name.
UPDATE kafka.stored_rollup SET cluster_id = 'another' WHERE name = 'pattern_count' AND cluster_id IS NOT NULL;
\set VERBOSITY terse
CALL kafka.run_rollups('pattern_count');
SELECT kafka.seek_rollup('pattern_count', offsets := '{}');
\set VERBOSITY default
SELECT kafka.seek_rollup('pattern_count', offsets := '{}', accept_loss := true);
CALL kafka.run_rollups('pattern_count');

-- Other messages are shown before the positions, too: nothing was truncated.
CREATE SERVER rollup_levels FOREIGN DATA WRAPPER kafka_fdw OPTIONS (brokers :'brokers');
CREATE FOREIGN TABLE levels (id int) SERVER rollup_levels OPTIONS (topic 'rl_levels');
SELECT kafka.create_rollup('levels_count', 'SELECT count(*) AS n FROM levels') \g /dev/null
CALL kafka.run_rollups('levels_count');
SELECT n FROM levels_count;
ALTER SERVER rollup_levels OPTIONS (ADD isolation_level 'read_uncommitted');
\! printf '%s\n' "produce rl_levels value='{\"id\": 1}'" | feed
CALL kafka.run_rollups('levels_count');
SELECT state, reason FROM kafka.rollups WHERE name = 'levels_count';
SELECT kafka.seek_rollup('levels_count', offsets := '{}');
CALL kafka.run_rollups('levels_count');
SELECT n FROM levels_count;
\! printf '%s\n' "produce rl_levels value='{\"id\": 2}'" | feed
CALL kafka.run_rollups('levels_count');
SELECT n FROM levels_count;
-- and back
ALTER SERVER rollup_levels OPTIONS (DROP isolation_level);
\set VERBOSITY terse
CALL kafka.run_rollups('levels_count');
\set VERBOSITY default

-- A literal without a cast is offsets or a time.
SELECT kafka.seek_rollup('levels_count', '{"0": "earliest"}', accept_loss := true);
SELECT next_offset FROM kafka.rollup_offsets WHERE name = 'levels_count';
SELECT kafka.seek_rollup('levels_count', 'infinity', true);
SELECT next_offset > 0 AS at_end FROM kafka.rollup_offsets WHERE name = 'levels_count';
SELECT kafka.seek_rollup('levels_count', ' {"0": 1}', true);
SELECT next_offset FROM kafka.rollup_offsets WHERE name = 'levels_count';
SELECT kafka.seek_rollup('levels_count', 'the beginning', true);
SELECT kafka.drop_rollup('levels_count');
DROP SERVER rollup_levels CASCADE;

SELECT kafka.drop_rollup(name) FROM kafka.rollups WHERE source::text IN ('removed', 'continued', 'longer', 'shorter', 'shrunk', 'grown', 'pattern') \g /dev/null
DROP SCHEMA rollup_loss CASCADE;
DROP SERVER rollup_loss;
