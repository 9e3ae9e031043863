--
-- Every aggregate that comes registered: merged from batches of any size it is what
-- the plain aggregate makes of all rows. rollup_states.feed makes the topics: NaN,
-- infinities, NULLs alone and among others, single rows, sums beyond bigint.
--
\getenv brokers KAFKA_BROKERS
SET TimeZone = 'UTC';
SET DateStyle = 'ISO';
-- Compiling so many expressions takes longer than all else here.
SET jit = off;
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS hll;
CREATE EXTENSION IF NOT EXISTS tdigest;
RESET client_min_messages;
CREATE SERVER rollup_states FOREIGN DATA WRAPPER kafka_fdw OPTIONS (brokers :'brokers');
CREATE SCHEMA rollup_states;
SET search_path = rollup_states, public;
CREATE FOREIGN TABLE v (
    p int OPTIONS (partition 'true'),
    o bigint OPTIONS (offset 'true'),
    g text, si smallint, i int, b bigint, d numeric, f float8, r real, t interval, m money, ok boolean,
    bits bit(8), s text, day date, ip inet, q float8,
    tie timestamptz, at timestamptz OPTIONS (time_format 'unix_us')
) SERVER rollup_states OPTIONS (topic 'rollup_states', format 'json');
SELECT g, count(*), count(f) AS f, count(*) FILTER (WHERE f = 'NaN') AS nan, count(*) FILTER (WHERE abs(f) = 'Infinity') AS infinite
  FROM v GROUP BY 1 ORDER BY 1;

-- Pairs of an aggregate and the columns that it takes
CREATE TABLE used (functions text[], columns text[], is_exact boolean, filter text);
INSERT INTO used VALUES
  ('{count}', '{si,f,s}', true),
  ('{sum}', '{si,i,b,d,f,r,t,m}', true),
  ('{min,max}', '{si,i,b,d,f,r,t,m,s,day,ip,tie}', true),
  ('{bool_and,bool_or,every}', '{ok}', true),
  ('{bit_and,bit_or,bit_xor}', '{si,i,b,bits}', true),
  ('{avg}', '{si,i,b,d,t}', true),
  ('{variance,var_pop,var_samp,stddev,stddev_pop,stddev_samp}', '{si,i,b,d}', true),
  ('{avg,variance,var_pop,var_samp,stddev,stddev_pop,stddev_samp}', '{f,r}', false);
-- The same of no input at all
INSERT INTO used SELECT functions, columns, is_exact, 'g = ''nobody''' FROM used;
CREATE FUNCTION make_query(is_exact boolean, more text) RETURNS text LANGUAGE SQL AS $$
  SELECT 'SELECT g, ' || string_agg(
           format('%s(%s)%s AS %s_%s%s', f, c, ' FILTER (WHERE ' || filter || ')', f, c, CASE WHEN filter IS NOT NULL THEN '_none' ELSE '' END),
           ', ') || more || ' FROM v GROUP BY 1'
    FROM used, unnest(functions) AS f, unnest(columns) AS c WHERE used.is_exact = $1 $$;

SELECT make_query(true, $$, count(*) AS n, count(*) FILTER (WHERE i > 0) AS positive,
  kafka.first(s, at) AS first, kafka.last(s, at) AS last,
  kafka.first(i, tie, p, o) AS first_tie, kafka.last(i, tie, p, o) AS last_tie,
  kafka.first(d, at) FILTER (WHERE ok) AS first_ok, kafka.last(i, at) FILTER (WHERE g = 'nobody') AS last_none,
  hll_add_agg(hll_hash_text(s)) AS h0, hll_add_agg(hll_hash_integer(i), 10) AS h1, hll_add_agg(hll_hash_integer(i), 10, 4) AS h2,
  hll_add_agg(hll_hash_integer(i), 10, 4, 0) AS h3, hll_add_agg(hll_hash_integer(i), 10, 4, -1, 1) AS h4,
  hll_union_agg(hll_empty() || hll_hash_text(s)) AS hu, hll_add_agg(hll_hash_text(s)) FILTER (WHERE g = 'nobody') AS h_none,
  hll_union_agg(hll_empty() || hll_hash_text(s)) FILTER (WHERE g = 'nobody') AS hu_none $$) AS exact,
  make_query(false, '') AS rounded,
  $$SELECT g, tdigest(q, 100) AS q, tdigest(q, 2, 100) AS q2, tdigest(tdigest_add(NULL, q, 100)) AS qd, tdigest(q, 100) FILTER (WHERE g = 'nobody') AS none FROM v GROUP BY 1$$ AS digest \gset
-- An aggregate of each entry is used below.
SELECT DISTINCT regexp_replace(aggregate, '^.*\.|\(.*$', '', 'g') AS not_used FROM kafka.rollup_aggregate
  WHERE :'exact' || :'rounded' || :'digest' !~ ('\m' || regexp_replace(aggregate, '^.*\.|\(.*$', '', 'g') || '\(');

\set each '(VALUES (1), (2), (5), (17), (1000)) AS size (n)'
SELECT count(kafka.create_rollup('exact_' || n, :'exact')) AS exact, count(kafka.create_rollup('rounded_' || n, :'rounded')) AS rounded,
       count(kafka.create_rollup('digest_' || n, :'digest')) AS digest FROM :each;
SELECT format('CALL kafka.run_rollups(%L, max_rows := %s)', kind || '_' || n, n)
  FROM unnest('{exact,rounded,digest}'::text[]) AS kind, :each \gexec
SELECT name, count(*) > 100 AS many, sum(messages), sum(dead_letters) AS dead FROM kafka.rollup_runs
  WHERE name IN ('exact_1', 'rounded_17', 'digest_1000') GROUP BY 1 ORDER BY 1;

--
-- Exact: not a digit differs
--
CREATE FUNCTION differences(rollup regclass, definition regclass)
RETURNS TABLE (g text, name text, merged text, plain text) LANGUAGE plpgsql AS $$
BEGIN
  RETURN QUERY EXECUTE format(
    'SELECT coalesce(a.g, b.g), coalesce(a.key, b.key), a.value, b.value
       FROM (SELECT g, x.* FROM %s AS r, jsonb_each_text(to_jsonb(r)) AS x) AS a
       FULL JOIN (SELECT g, x.* FROM %s AS r, jsonb_each_text(to_jsonb(r)) AS x) AS b ON a.g = b.g AND a.key = b.key
      WHERE a.value IS DISTINCT FROM b.value', rollup, definition);
END $$;
SELECT n, d.* FROM :each, LATERAL (SELECT * FROM differences(format('exact_%s', n)::regclass, format('_exact_%s_def', n)::regclass)) AS d ORDER BY 1, 2, 3;
SELECT count(*) AS groups FROM exact_1;
-- Live views merge storage with the tail: all of it, the half, nothing.
SELECT count(kafka.create_rollup('tail_exact', :'exact')), count(kafka.create_rollup('tail_digest', :'digest'));
SELECT * FROM differences('tail_exact_live', '_exact_1_def');
CALL kafka.run_rollups('tail_exact', max_rows := 80, max_time := '0 s');
CALL kafka.run_rollups('tail_digest', max_rows := 80, max_time := '0 s');
SELECT * FROM differences('tail_exact_live', '_exact_1_def');
SELECT count(*) > 0 AS differs FROM differences('tail_exact', '_exact_1_def');
SELECT a.g FROM tail_digest_live AS a FULL JOIN _digest_1_def AS b USING (g)
 WHERE tdigest_count(a.q) IS DISTINCT FROM tdigest_count(b.q) OR tdigest_count(a.q2) IS DISTINCT FROM tdigest_count(b.q2)
    OR tdigest_count(a.qd) IS DISTINCT FROM tdigest_count(b.qd) OR a.none IS NOT NULL OR b.none IS NOT NULL;
CALL kafka.run_rollups('tail_exact');
SELECT * FROM differences('tail_exact_live', '_exact_1_def');
-- Some of them, to be read
SELECT g, n, sum_b, avg_d, stddev_si, var_pop_d, max_f, min_s, bool_and_ok, bit_xor_bits, first, last_tie, count_s_none, sum_i_none, avg_t
  FROM exact_5 ORDER BY g \gx

--
-- Of floats: the order of additions is another
--
CREATE FUNCTION is_near(a float8, b float8) RETURNS boolean LANGUAGE SQL IMMUTABLE AS
  'SELECT a IS NOT DISTINCT FROM b OR abs(a - b) <= 1e-12 * greatest(abs(a), abs(b))';
SELECT n, d.* FROM :each, LATERAL (SELECT * FROM differences(format('rounded_%s', n)::regclass, format('_rounded_%s_def', n)::regclass)) AS d
  WHERE NOT is_near(merged::float8, plain::float8) OR (merged IS NULL) <> (plain IS NULL) ORDER BY 1, 2, 3;
SELECT g, avg_f, stddev_f, var_pop_f, avg_f_none, variance_r FROM rounded_2 WHERE g IN ('both', 'infinite', 'nan', 'nulls', 'one', 'same') ORDER BY g;

--
-- Digests
--
SELECT a.n, a.g, tdigest_count(a.q), tdigest_count(b.q)
  FROM (SELECT 1 AS n, * FROM digest_1 UNION ALL SELECT 2, * FROM digest_2 UNION ALL SELECT 5, * FROM digest_5
        UNION ALL SELECT 17, * FROM digest_17 UNION ALL SELECT 1000, * FROM digest_1000) AS a
  FULL JOIN _digest_1_def AS b USING (g)
 WHERE tdigest_count(a.q) IS DISTINCT FROM tdigest_count(b.q) OR tdigest_count(a.q2) IS DISTINCT FROM tdigest_count(b.q2)
    OR tdigest_count(a.qd) IS DISTINCT FROM tdigest_count(b.qd) OR tdigest_count(a.qd) IS DISTINCT FROM tdigest_count(a.q)
    OR a.none IS NOT NULL OR b.none IS NOT NULL;
SELECT g, tdigest_count(q), tdigest_count(q2), tdigest_count(qd) FROM digest_5 ORDER BY 1;
SELECT a.g, percentile, merged, plain
  FROM (SELECT g, tdigest_percentile(q, '{0.1,0.5,0.9}'::float8[]) AS ps FROM digest_2 GROUP BY 1) AS a
  JOIN (SELECT g, tdigest_percentile(q, '{0.1,0.5,0.9}'::float8[]) AS ps FROM _digest_2_def GROUP BY 1) AS b USING (g),
  unnest('{0.1,0.5,0.9}'::float8[], a.ps, b.ps) AS each (percentile, merged, plain)
  WHERE NOT coalesce(abs(merged - plain) <= 0.02 * 10000, merged IS NULL AND plain IS NULL) ORDER BY 1, 2;
-- What tdigest could not end with is a dead letter, and the others are counted.
CREATE FOREIGN TABLE finite (q float8) SERVER rollup_states OPTIONS (topic 'rollup_states_finite', format 'json');
SELECT kafka.create_rollup('finite_digest', 'SELECT tdigest(q, 100) AS q, tdigest(q, 3, 100) AS q3 FROM finite', options := '{"error_limit": 1}');
CALL kafka.run_rollups('finite_digest');
SELECT tdigest_count(q), tdigest_count(q3) FROM finite_digest;
SELECT kafka_offset, stage, sqlstate, message FROM kafka.dead_letters WHERE rollup = 'finite_digest' ORDER BY 1;

--
-- kafka.first and kafka.last by themselves
--
SELECT kafka.first(x, ts), kafka.last(x, ts), kafka.first(x, ts) FILTER (WHERE false) AS none
  FROM (VALUES ('b', '2024-01-02'::timestamptz), (NULL, '2024-01-03'), ('a', '2024-01-01'), ('n', NULL)) AS v (x, ts);
SELECT kafka.first(x, ts) AS arrived_first, kafka.last(x, ts) AS arrived_last, kafka.first(x, ts, p, o) AS f4, kafka.last(x, ts, p, o) AS l4
  FROM (VALUES (1, 'infinity'::timestamptz, 1, 5), (2, 'infinity', 0, 9), (3, 'infinity', 1, 4), (4, 'infinity', NULL, NULL)) AS v (x, ts, p, o);
SELECT kafka.last(x, ts) OVER (ORDER BY ts) AS so_far
  FROM (VALUES (repeat('long', 3), '2024-01-02'::timestamptz), ('x', '2024-01-03'), ('y', '2024-01-01')) AS v (x, ts);
SELECT kafka.first(ARRAY[x], ts), kafka.last(v, ts) FROM (VALUES (1, '2024-01-02'::timestamptz), (2, '2024-01-01')) AS v (x, ts);

--
-- kafka.key_hash: equal for equal values only, whatever the settings
--
SELECT kafka.key_hash('a'::text, 1), kafka.key_hash('a'::text, NULL::int), kafka.key_hash(NULL::text);
SET TimeZone = 'Asia/Seoul';
SET DateStyle = 'German';
SET bytea_output = 'escape';
SET extra_float_digits = 0;
CREATE TABLE hashes AS SELECT kafka.key_hash('2024-05-01 12:00+00'::timestamptz, '2024-05-01'::date, '\x01ff'::bytea, 0.1::float8 + 0.2) AS hash;
RESET extra_float_digits;
RESET bytea_output;
SET DateStyle = 'ISO';
SET TimeZone = 'UTC';
SELECT hash = kafka.key_hash('2024-05-01 12:00+00'::timestamptz, '2024-05-01'::date, '\x01ff'::bytea, 0.1::float8 + 0.2) AS same FROM hashes;
SELECT kafka.key_hash(1.0) = kafka.key_hash(1.00) AS scale, kafka.key_hash(-0.0::float8) = kafka.key_hash(0.0::float8) AS zero,
       kafka.key_hash('a'::text, 'bc'::text) = kafka.key_hash('ab'::text, 'c'::text) AS moved,
       kafka.key_hash(NULL::int, 1) = kafka.key_hash(1, NULL::int) AS swapped,
       kafka.key_hash('{"a": 1, "b": 2}'::jsonb) = kafka.key_hash('{"b": 2, "a": 1}'::jsonb) AS jsonb,
       kafka.key_hash('a'::text) = kafka.key_hash('a'::varchar(5)) AS varchar;
-- Not folded to fewer bits
SELECT count(DISTINCT kafka.key_hash(n * 4294967297)), count(DISTINCT left(kafka.key_hash(n)::text, 18)) FROM generate_series(1, 10000) AS n;

SET client_min_messages = warning;
SELECT count(kafka.drop_rollup(name, "cascade" := true)) AS dropped FROM kafka.rollups;
DROP SCHEMA rollup_states CASCADE;
DROP SERVER rollup_states;
