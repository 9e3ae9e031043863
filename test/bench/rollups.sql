-- What test/bench/rollups.sh needs besides tables.sql.
CREATE EXTENSION hll;
CREATE EXTENSION tdigest;

-- How many dead rows have been made so far: by updates and deletions in all
-- tables, whatever has been tidied up since.
CREATE FUNCTION dead_rows() RETURNS bigint
LANGUAGE sql VOLATILE AS $$
	SELECT sum(n_tup_upd + n_tup_del)::bigint FROM pg_stat_all_tables
	WHERE schemaname IN ('kafka', 'public', 'pg_toast')
$$;

-- ev1 with a column that can be decoded from all of the first messages, from all
-- but three, and from none.
SELECT string_agg(quote_literal(session), ', ') AS bad_sessions
FROM ev1 WHERE kafka_offset IN (10000, 25000, 40000) \gset

CREATE DOMAIN good_session AS text CHECK (VALUE NOT IN ('a', 'b', 'c'));
CREATE DOMAIN some_bad_session AS text CHECK (VALUE NOT IN (:bad_sessions));

CREATE FOREIGN TABLE ev1_good (
	ts timestamptz OPTIONS (timestamp 'true'),
	service text,
	status int,
	latency_ms float8,
	user_id text,
	session good_session
) SERVER bench OPTIONS (topic 'ev1', format 'json');

CREATE FOREIGN TABLE ev1_some_bad (
	ts timestamptz OPTIONS (timestamp 'true'),
	service text,
	status int,
	latency_ms float8,
	user_id text,
	session some_bad_session
) SERVER bench OPTIONS (topic 'ev1', format 'json');

CREATE FOREIGN TABLE ev1_all_bad (
	ts timestamptz OPTIONS (timestamp 'true'),
	service text,
	status int,
	latency_ms float8,
	user_id text,
	session boolean
) SERVER bench OPTIONS (topic 'ev1', format 'json');
