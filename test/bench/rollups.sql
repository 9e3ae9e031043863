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
