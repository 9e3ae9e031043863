--
-- Aggregates of rollups
--

CREATE FUNCTION kafka.first_add(internal, anyelement, timestamptz)
RETURNS internal
AS 'MODULE_PATHNAME', 'kafka_first_add'
LANGUAGE C IMMUTABLE PARALLEL SAFE;

CREATE FUNCTION kafka.first_add(internal, anyelement, timestamptz, int, bigint)
RETURNS internal
AS 'MODULE_PATHNAME', 'kafka_first_add'
LANGUAGE C IMMUTABLE PARALLEL SAFE;

CREATE FUNCTION kafka.last_add(internal, anyelement, timestamptz)
RETURNS internal
AS 'MODULE_PATHNAME', 'kafka_last_add'
LANGUAGE C IMMUTABLE PARALLEL SAFE;

CREATE FUNCTION kafka.last_add(internal, anyelement, timestamptz, int, bigint)
RETURNS internal
AS 'MODULE_PATHNAME', 'kafka_last_add'
LANGUAGE C IMMUTABLE PARALLEL SAFE;

CREATE FUNCTION kafka.ordered_result(internal, anyelement, timestamptz)
RETURNS anyelement
AS 'MODULE_PATHNAME', 'kafka_ordered_result'
LANGUAGE C IMMUTABLE PARALLEL SAFE;

CREATE FUNCTION kafka.ordered_result(internal, anyelement, timestamptz, int, bigint)
RETURNS anyelement
AS 'MODULE_PATHNAME', 'kafka_ordered_result'
LANGUAGE C IMMUTABLE PARALLEL SAFE;

CREATE AGGREGATE kafka.first(value anyelement, ts timestamptz) (
  SFUNC = kafka.first_add,
  STYPE = internal,
  FINALFUNC = kafka.ordered_result,
  FINALFUNC_EXTRA,
  PARALLEL = SAFE
);

CREATE AGGREGATE kafka.first(value anyelement, ts timestamptz, partition int, "offset" bigint) (
  SFUNC = kafka.first_add,
  STYPE = internal,
  FINALFUNC = kafka.ordered_result,
  FINALFUNC_EXTRA,
  PARALLEL = SAFE
);

CREATE AGGREGATE kafka.last(value anyelement, ts timestamptz) (
  SFUNC = kafka.last_add,
  STYPE = internal,
  FINALFUNC = kafka.ordered_result,
  FINALFUNC_EXTRA,
  PARALLEL = SAFE
);

CREATE AGGREGATE kafka.last(value anyelement, ts timestamptz, partition int, "offset" bigint) (
  SFUNC = kafka.last_add,
  STYPE = internal,
  FINALFUNC = kafka.ordered_result,
  FINALFUNC_EXTRA,
  PARALLEL = SAFE
);

COMMENT ON AGGREGATE kafka.first(anyelement, timestamptz) IS
'the value of the row with the smallest ts, also when that value is NULL; rows without ts take no part. Of rows with the same ts it is the first to arrive, in rollups the one with the smallest partition and offset';
COMMENT ON AGGREGATE kafka.first(anyelement, timestamptz, int, bigint) IS
'the value of the row with the smallest ts, partition and offset; rows without ts take no part';
COMMENT ON AGGREGATE kafka.last(anyelement, timestamptz) IS
'the value of the row with the largest ts, also when that value is NULL; rows without ts take no part. Of rows with the same ts it is the last to arrive, in rollups the one with the largest partition and offset';
COMMENT ON AGGREGATE kafka.last(anyelement, timestamptz, int, bigint) IS
'the value of the row with the largest ts, partition and offset; rows without ts take no part';

COMMENT ON FUNCTION kafka.first_add(internal, anyelement, timestamptz) IS
'part of the aggregate kafka.first';
COMMENT ON FUNCTION kafka.first_add(internal, anyelement, timestamptz, int, bigint) IS
'part of the aggregate kafka.first';
COMMENT ON FUNCTION kafka.last_add(internal, anyelement, timestamptz) IS
'part of the aggregate kafka.last';
COMMENT ON FUNCTION kafka.last_add(internal, anyelement, timestamptz, int, bigint) IS
'part of the aggregate kafka.last';
COMMENT ON FUNCTION kafka.ordered_result(internal, anyelement, timestamptz) IS
'part of the aggregates kafka.first and kafka.last';
COMMENT ON FUNCTION kafka.ordered_result(internal, anyelement, timestamptz, int, bigint) IS
'part of the aggregates kafka.first and kafka.last';

-- What avg, variance and stddev of floats are made of: count, sum, and sum of
-- squared differences. PostgreSQL's own functions add, merge and finish them.
CREATE AGGREGATE kafka.float8_state(double precision) (
  SFUNC = pg_catalog.float8_accum,
  STYPE = double precision[],
  COMBINEFUNC = pg_catalog.float8_combine,
  INITCOND = '{0,0,0}',
  PARALLEL = SAFE
);

COMMENT ON AGGREGATE kafka.float8_state(double precision) IS
'count, sum and sum of squared differences, as float8_accum keeps them; what rollups keep of avg, variance and stddev of floats';

-- Divided in the same way as PostgreSQL's own aggregates do, to the last digit.
CREATE FUNCTION kafka.numeric_variance(
  "count" bigint,
  "sum" numeric,
  squares numeric,
  is_sample boolean)
RETURNS numeric
LANGUAGE SQL IMMUTABLE PARALLEL SAFE
RETURN CASE
  WHEN "count" <= is_sample::int THEN NULL
  WHEN "count" * squares - "sum" * "sum" <= 0 THEN 0
  ELSE ("count" * squares - "sum" * "sum") / ("count"::numeric * ("count" - is_sample::int))
END;

COMMENT ON FUNCTION kafka.numeric_variance(bigint, numeric, numeric, boolean) IS
'the variance of values of which count, sum and sum of squares are known';

-- sqrt(numeric) gives more digits; rounded twice, what lies just below a half
-- would go up.
CREATE FUNCTION kafka.numeric_sqrt(
  square numeric)
RETURNS numeric
LANGUAGE SQL IMMUTABLE PARALLEL SAFE
RETURN (SELECT CASE WHEN root > 0 AND (root - half) * (root - half) > square THEN trunc(root - half, digits) ELSE root END
          FROM (SELECT round(sqrt(square), digits), ('5e-' || digits + 1)::numeric, digits
                  FROM (SELECT coalesce(scale(square), 0)) AS s (digits)) AS r (root, half, digits));

COMMENT ON FUNCTION kafka.numeric_sqrt(numeric) IS
'the square root, rounded to as many digits as the argument has';

CREATE FUNCTION kafka.numeric_stddev(
  "count" bigint,
  "sum" numeric,
  squares numeric,
  is_sample boolean)
RETURNS numeric
LANGUAGE SQL IMMUTABLE PARALLEL SAFE
RETURN kafka.numeric_sqrt(kafka.numeric_variance("count", "sum", squares, is_sample));

COMMENT ON FUNCTION kafka.numeric_stddev(bigint, numeric, numeric, boolean) IS
'the standard deviation of values of which count, sum and sum of squares are known';

CREATE FUNCTION kafka.require_finite(double precision)
RETURNS double precision
AS 'MODULE_PATHNAME', 'kafka_require_finite'
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;

COMMENT ON FUNCTION kafka.require_finite(double precision) IS
'the value itself; an error for NaN and infinities';

-- What live views bring the two rows of a group together with.
CREATE FUNCTION kafka.only_add(anyelement, anyelement)
RETURNS anyelement
AS 'MODULE_PATHNAME', 'kafka_only_add'
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;

COMMENT ON FUNCTION kafka.only_add(anyelement, anyelement) IS
'part of the aggregate kafka.only';

CREATE AGGREGATE kafka.only(anyelement) (
  SFUNC = kafka.only_add,
  STYPE = anyelement,
  COMBINEFUNC = kafka.only_add,
  PARALLEL = SAFE
);

COMMENT ON AGGREGATE kafka.only(anyelement) IS
'the only value that is not NULL; more than one is an error';

CREATE FUNCTION kafka.key_hash(VARIADIC "any")
RETURNS uuid
AS 'MODULE_PATHNAME', 'kafka_key_hash'
LANGUAGE C IMMUTABLE PARALLEL SAFE;

COMMENT ON FUNCTION kafka.key_hash("any") IS
'128 bits made of the values, NULLs among them; NULL where all are NULL. What rollups keep of a unique_key';

-- An argument is $1, $2 is the first of a batch where a state is alone.
INSERT INTO kafka.rollup_aggregate (aggregate, extension, states, merges, final, built_in) VALUES
  ('pg_catalog.count()', NULL, '{count(*)}', '{$1 + $2}', '$1', true),
  ('pg_catalog.count("any")', NULL, '{count($1)}', '{$1 + $2}', '$1', true),
  ('pg_catalog.sum', NULL, '{sum($1)}', '{"coalesce($1 + $2, $1, $2)"}', '$1', true),
  ('pg_catalog.min', NULL, '{min($1)}', '{"least($1, $2)"}', '$1', true),
  ('pg_catalog.max', NULL, '{max($1)}', '{"greatest($1, $2)"}', '$1', true),
  ('pg_catalog.bool_and', NULL, '{bool_and($1)}', '{"coalesce($1 AND $2, $1, $2)"}', '$1', true),
  ('pg_catalog.every', NULL, '{every($1)}', '{"coalesce($1 AND $2, $1, $2)"}', '$1', true),
  ('pg_catalog.bool_or', NULL, '{bool_or($1)}', '{"coalesce($1 OR $2, $1, $2)"}', '$1', true),
  ('pg_catalog.bit_and', NULL, '{bit_and($1)}', '{"coalesce($1 & $2, $1, $2)"}', '$1', true),
  ('pg_catalog.bit_or', NULL, '{bit_or($1)}', '{"coalesce($1 | $2, $1, $2)"}', '$1', true),
  ('pg_catalog.bit_xor', NULL, '{bit_xor($1)}', '{"coalesce($1 # $2, $1, $2)"}', '$1', true),
  ('pg_catalog.avg(interval)', NULL, '{count($1),sum($1)}',
   '{$1 + $3,"coalesce($2 + $4, $2, $4)"}', '$2 / nullif($1, 0)::double precision', true),
  ('hll_union_agg(hll)', 'hll', '{hll_union_agg($1)}', '{"coalesce($1 || $2, $1, $2)"}', '$1', true),
  ('hll_add_agg(hll_hashval)', 'hll', '{hll_add_agg($1)}', '{"coalesce($1 || $2, $1, $2)"}', '$1', true),
  ('hll_add_agg(hll_hashval,integer)', 'hll', '{"hll_add_agg($1, $2)"}',
   '{"coalesce($1 || $2, $1, $2)"}', '$1', true),
  ('hll_add_agg(hll_hashval,integer,integer)', 'hll', '{"hll_add_agg($1, $2, $3)"}',
   '{"coalesce($1 || $2, $1, $2)"}', '$1', true),
  ('hll_add_agg(hll_hashval,integer,integer,bigint)', 'hll', '{"hll_add_agg($1, $2, $3, $4)"}',
   '{"coalesce($1 || $2, $1, $2)"}', '$1', true),
  ('hll_add_agg(hll_hashval,integer,integer,bigint,integer)', 'hll', '{"hll_add_agg($1, $2, $3, $4, $5)"}',
   '{"coalesce($1 || $2, $1, $2)"}', '$1', true),
  ('tdigest(double precision,integer)', 'tdigest', '{"tdigest(kafka.require_finite($1), $2)"}',
   '{"tdigest_union($1, $2)"}', '$1', true),
  ('tdigest(double precision,bigint,integer)', 'tdigest', '{"tdigest(kafka.require_finite($1), $2, $3)"}',
   '{"tdigest_union($1, $2)"}', '$1', true),
  ('tdigest(tdigest)', 'tdigest', '{tdigest($1)}', '{"tdigest_union($1, $2)"}', '$1', true);

-- Of floats
INSERT INTO kafka.rollup_aggregate (aggregate, states, merges, final, built_in)
SELECT format('pg_catalog.%s(%s)', f.name, t.name), '{kafka.float8_state($1)}',
       '{"float8_combine($1, $2)"}', format('pg_catalog.%s($1)', f.final), true
  FROM (VALUES ('avg', 'float8_avg'), ('variance', 'float8_var_samp'),
               ('var_samp', 'float8_var_samp'), ('var_pop', 'float8_var_pop'),
               ('stddev', 'float8_stddev_samp'), ('stddev_samp', 'float8_stddev_samp'),
               ('stddev_pop', 'float8_stddev_pop')) AS f (name, final),
       (VALUES ('real'), ('double precision')) AS t (name);

-- Of exact numbers
INSERT INTO kafka.rollup_aggregate (aggregate, states, merges, final, built_in)
SELECT format('pg_catalog.avg(%s)', t.name), '{count($1),sum($1::numeric)}',
       '{$1 + $3,"coalesce($2 + $4, $2, $4)"}', '$2 / nullif($1, 0)', true
  FROM (VALUES ('smallint'), ('integer'), ('bigint'), ('numeric')) AS t (name);

INSERT INTO kafka.rollup_aggregate (aggregate, states, merges, final, built_in)
SELECT format('pg_catalog.%s(%s)', f.name, t.name),
       '{count($1),sum($1::numeric),sum($1::numeric * $1::numeric)}',
       '{$1 + $4,"coalesce($2 + $5, $2, $5)","coalesce($3 + $6, $3, $6)"}',
       format('kafka.numeric_%s($1, $2, $3, %s)', f.final, f.is_sample::text), true
  FROM (VALUES ('variance', 'variance', true), ('var_samp', 'variance', true),
               ('var_pop', 'variance', false), ('stddev', 'stddev', true),
               ('stddev_samp', 'stddev', true), ('stddev_pop', 'stddev', false)
       ) AS f (name, final, is_sample),
       (VALUES ('smallint'), ('integer'), ('bigint'), ('numeric')) AS t (name);

-- By time: the value, and the place of its row in the order. With two
-- arguments $3 and $4 are the message's partition and offset.
INSERT INTO kafka.rollup_aggregate (aggregate, states, merges, final, built_in)
SELECT format('kafka.%s(anyelement,timestamp with time zone%s)', f.name, t.arguments),
       ARRAY(SELECT format('kafka.%s($%s, $2, $3, $4)', f.name, i)
               FROM generate_series(1, 4) AS i),
       ARRAY(SELECT format(
               'CASE WHEN $2 IS NULL OR $6 %1$s $2 OR $6 = $2 AND ('
               'coalesce($7, -2147483648) %1$s coalesce($3, -2147483648) OR '
               'coalesce($7, -2147483648) = coalesce($3, -2147483648) AND '
               'coalesce($8, -1) %1$s coalesce($4, -1)) THEN $%2$s ELSE $%3$s END',
               f.operator, i + 4, i)
               FROM generate_series(1, 4) AS i),
       '$1', true
  FROM (VALUES ('first', '<'), ('last', '>')) AS f (name, operator),
       (VALUES (''), (',integer,bigint')) AS t (arguments);

GRANT SELECT ON kafka.rollup_aggregate TO PUBLIC;
