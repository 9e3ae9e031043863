--
-- Conditions on partition, offset and time: which rows they give and how much
-- is read for them. scan.feed makes the topics.
--
\getenv brokers KAFKA_BROKERS
SET TimeZone = 'UTC';
SET DateStyle = 'ISO';
CREATE SERVER scan FOREIGN DATA WRAPPER kafka_fdw OPTIONS (brokers :'brokers', broker_clock_skew '0');
CREATE SCHEMA scan;
SET search_path = scan, public;

CREATE FOREIGN TABLE t (
    p int OPTIONS (partition 'true'),
    o bigint OPTIONS (offset 'true'),
    ts timestamptz OPTIONS (timestamp 'true'),
    n int,
    v text
) SERVER scan OPTIONS (topic 'scan', timestamp_max_lag '0');
-- The same rows, from elsewhere
CREATE TABLE model AS
SELECT n % 3 AS p, n / 3::bigint AS o, timestamptz '2024-05-01 12:00:00+00' + n * interval '1 s' AS ts, n, 'v' || n % 4 AS v
FROM generate_series(0, 29) AS n;
SELECT count(*), bool_and((t.p, t.ts, t.v) = (model.p, model.ts, model.v)) FROM t FULL JOIN model USING (p, o, n);

-- The rows as "partition:offset,offset ...", the number of messages read, and
-- whether the model, and a scan without pushdown, gives the same rows.
CREATE FUNCTION rows_of(relation text, condition text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	result text;
BEGIN
	EXECUTE format('SELECT string_agg(p || '':'' || os, '' '' ORDER BY p) FROM
		(SELECT p, string_agg(o::text, '','' ORDER BY o) AS os FROM %I AS t WHERE %s GROUP BY p) AS s', relation, condition) INTO result;
	RETURN result;
END $$;
CREATE FUNCTION probe(condition text, OUT rows text, OUT read int, OUT is_right boolean) LANGUAGE plpgsql AS $$
DECLARE
	plan jsonb;
BEGIN
	rows := rows_of('t', condition);
	is_right := rows IS NOT DISTINCT FROM rows_of('model', condition);
	SET LOCAL kafka_fdw.enable_pushdown = off;
	is_right := is_right AND rows IS NOT DISTINCT FROM rows_of('t', condition);
	SET LOCAL kafka_fdw.enable_pushdown = on;
	EXECUTE format('EXPLAIN (ANALYZE, FORMAT JSON) SELECT o FROM t WHERE %s', condition) INTO plan;
	read := jsonb_path_query_first(plan, '$.**."Messages Read"');
END $$;
\pset format unaligned

-- Every operator, on either side, with every integer type
SELECT condition, probe.* FROM unnest(ARRAY[
    'true',
    'p = 1', '1 = p', 'p = 1::smallint', 'p = 1::bigint', 'p < 1', 'p <= 1', 'p > 1', 'p >= 1', '1 > p', '1 >= p', '1 < p', '1 <= p',
    'p <> 1', 'NOT p = 1', 'NOT p <> 1', 'NOT (p < 1 OR p > 1)', 'p = -1', 'p = 3', 'p = 4294967297', 'p > 4294967297',
    'o = 4', '4 = o', 'o = 4::smallint', 'o = 4::int', 'o < 2', 'o <= 2', 'o > 7', 'o >= 7', '2 > o', '7 <= o', 'o BETWEEN 4 AND 5',
    'o NOT BETWEEN 2 AND 8', 'o BETWEEN 5 AND 4', 'o BETWEEN SYMMETRIC 5 AND 4', 'o <> 4', 'o > 1000000', 'o >= 10', 'o < 0', 'o >= -5 AND o < 1',
    'o > 9223372036854775807', 'o <= 9223372036854775807', 'o >= (-9223372036854775808)', 'o = 9223372036854775807',
    'p = 1 AND o = 4', '(p, o) = (1, 4)', '(p, o) > (1, 8)', 'p = 1 AND p = 2', 'p = o', 'o = p + 1', 'o + 1 = 4', 'o = 4.0', 'o = 4.5'
]) WITH ORDINALITY AS c(condition, i), probe(condition) ORDER BY i;

-- Lists
SELECT condition, probe.* FROM unnest(ARRAY[
    'p IN (0, 2)', 'p NOT IN (0, 2)', 'p IN (1)', 'p = ANY (''{0,NULL,7}'')', 'p = ANY (''{}'')', 'p <> ALL (''{}'')', 'p = ANY (NULL::int[])',
    'p NOT IN (0, NULL)', 'p > ANY (ARRAY[1, 5])', 'p > ALL (ARRAY[0, 1])', 'p < ANY (ARRAY[0, 1])', 'p <> ANY (ARRAY[0, 0])',
    'o IN (1, 8)', 'o NOT IN (1, 8)', 'o IN (1, 8) AND p IN (0, 1)', '(p, o) IN ((0, 1), (2, 8))', 'o = ANY (''{{1,8},{3,3}}'')',
    'o > ALL (''{7,8}'')', 'o >= ANY (''{9,8}'')', 'NOT o = ANY (''{0,1,2,3,4,5,6}'')', 'o = ANY (ARRAY(SELECT 8))',
    'o IN (SELECT generate_series(8, 9))', 'o = ANY (ARRAY(SELECT 2 * g FROM generate_series(0, 400) AS g))'
]) WITH ORDINALITY AS c(condition, i), probe(condition) ORDER BY i;

-- Times
SELECT condition, probe.* FROM unnest(ARRAY[
    'ts = ''2024-05-01 12:00:07+00''', '''2024-05-01 12:00:07+00'' = ts', 'ts = ''2024-05-01 12:00:07.000001+00''', 'ts < ''2024-05-01 12:00:02+00''',
    'ts <= ''2024-05-01 12:00:02+00''', 'ts > ''2024-05-01 12:00:27+00''', 'ts >= ''2024-05-01 12:00:27+00''', 'ts >= ''2024-05-01 12:00:26.999001+00''',
    'ts > ''2024-05-01 12:00:26.999999+00''', 'ts <= ''2024-05-01 12:00:02.000999+00''', 'ts < ''2024-05-01 12:00:02.000001+00''',
    'ts BETWEEN ''2024-05-01 12:00:07+00'' AND ''2024-05-01 12:00:09+00''', 'ts >= ''2024-05-01 12:00:07+00'' AND ts < ''2024-05-01 12:00:09+00'' AND p = 2',
    'ts IN (''2024-05-01 12:00:07+00'', ''2024-05-01 12:00:20+00'')', 'ts < ''1969-01-01''', 'ts >= ''1969-01-01''', 'ts < ''2300-01-01''', 'ts > now()',
    'ts = ''infinity''', 'ts < ''infinity''', 'ts > ''-infinity''', 'ts = ''-infinity''', 'ts > ''294000-01-01''', 'ts > ''4000-01-01 BC''',
    'ts >= timestamp ''2024-05-01 12:00:28''', 'ts::date = ''2024-05-02''', 'date_trunc(''minute'', ts) = ''2024-05-01 12:00''', 'extract(second FROM ts) = 5',
    'ts >= timestamptz ''2024-05-01 12:00:00+00'' + interval ''28 s''', 'ts - interval ''1 s'' = ''2024-05-01 12:00:07+00''', 'ts IS NULL', 'ts IS NOT NULL'
]) WITH ORDINALITY AS c(condition, i), probe(condition) ORDER BY i;

-- OR, where an arm that cannot be pushed must not lose its rows
SELECT condition, probe.* FROM unnest(ARRAY[
    'p = 1 OR n = 3', 'p IN (1, 2) OR p = 0', 'p = 1 OR p = 2', 'o = 1 OR p = 2', 'p = 1 AND (o = 1 OR o = 3)', '(p = 1 AND o < 2) OR (p = 2 AND o > 7)',
    '(p = 1 AND n = 4) OR (p = 2 AND v = ''v0'')', 'p = 1 AND (o = 1 OR n = 16)', 'NOT (p = 1 AND n = 4)', 'NOT (p <> 1 OR o <> 4)', 'p = 1 OR random() < 0',
    'p = 0 OR NOT (o > 2)', 'p = 1 OR NULL', 'p = 1 OR ts IS NULL', 'p = 1 OR false', 'p = 1 OR true', '(p = 1) IS NOT TRUE', '(p = 1) IS NOT UNKNOWN', '(p = 1) = (o = 4)',
    'CASE WHEN p = 1 THEN o = 4 ELSE o = 5 END', 'coalesce(p = 1, false)', 'p = 1 OR EXISTS (SELECT FROM model AS m WHERE m.n = t.n AND m.n = 3)', 'o IN (SELECT 4) OR p = 1 AND o = 0',
    'p = 1 OR (o = 1 AND ts > ''2024-05-01 12:00:04+00'')', '(ts < ''2024-05-01 12:00:02+00'' AND p = 1) OR (ts > ''2024-05-01 12:00:27+00'' AND o > 8)',
    'o IS NULL', 'o IS NULL OR p = 0', 'o IS DISTINCT FROM 4', 'o IS NOT DISTINCT FROM 4', 'p = 0 AND n = 3', 'n = 3', 'false', 'NULL'
]) WITH ORDINALITY AS c(condition, i), probe(condition) ORDER BY i;
\pset format aligned

--
-- An offset that is not there, below or above what is: what lies in the range
-- is returned, never the end of the topic instead.
--
CREATE FOREIGN TABLE trimmed (o bigint OPTIONS (offset 'true'), n int) SERVER scan OPTIONS (topic 'scan_trimmed');
SELECT o, n FROM trimmed WHERE o >= 0 ORDER BY o;
SELECT o, n FROM trimmed WHERE o BETWEEN 2 AND 4 ORDER BY o;
SELECT o, n FROM trimmed WHERE o < 4 ORDER BY o;
SELECT o, n FROM trimmed WHERE o = 7 ORDER BY o;
SELECT o, n FROM trimmed WHERE o IN (0, 6, 7, 8, 100) ORDER BY o;
SELECT o, n FROM trimmed WHERE o > 6 ORDER BY o;
SELECT count(*) FROM trimmed;

CREATE FOREIGN TABLE nothing (p int OPTIONS (partition 'true'), o bigint OPTIONS (offset 'true'), ts timestamptz OPTIONS (timestamp 'true'), n int)
SERVER scan OPTIONS (topic 'scan_empty');
SELECT * FROM nothing;
SELECT count(*) FROM nothing WHERE ts > '2024-01-01' AND o >= 0 OR p = 1;
SELECT count(*) FROM nothing AS a JOIN nothing AS b USING (p, o);
CREATE FOREIGN TABLE no_columns () SERVER scan OPTIONS (topic 'scan');
SELECT count(*) FROM no_columns;
SELECT FROM no_columns LIMIT 2;

SET client_min_messages = warning;
DROP SCHEMA scan CASCADE;
DROP SERVER scan;
