-- The foreign tables of the benchmark, and what test/bench/run measures with.
-- Variables: brokers, and lag, the largest lateness of the events.
CREATE EXTENSION kafka_fdw;

CREATE SERVER bench FOREIGN DATA WRAPPER kafka_fdw
	OPTIONS (brokers :'brokers');

CREATE FOREIGN TABLE ev1 (
	kafka_partition int OPTIONS (partition 'true'),
	kafka_offset bigint OPTIONS (offset 'true'),
	ts timestamptz OPTIONS (timestamp 'true'),
	"@timestamp" timestamptz,
	service text,
	host text,
	method text,
	path text,
	status int,
	latency_ms float8,
	bytes bigint,
	user_id text,
	session text,
	agent text,
	cache_hit boolean
) SERVER bench OPTIONS (topic 'ev1', format 'json', timestamp_max_lag :'lag');

CREATE FOREIGN TABLE ev4 (
	kafka_partition int OPTIONS (partition 'true'),
	kafka_offset bigint OPTIONS (offset 'true'),
	ts timestamptz OPTIONS (timestamp 'true'),
	"@timestamp" timestamptz,
	service text,
	host text,
	method text,
	path text,
	status int,
	latency_ms float8,
	bytes bigint,
	user_id text,
	session text,
	agent text,
	cache_hit boolean
) SERVER bench OPTIONS (topic 'ev4', format 'json', timestamp_max_lag :'lag');

-- A query's single value and its time in the session, planning included, without
-- the way to the client and back.
CREATE FUNCTION measure(query text, OUT ms float8, OUT answer text)
LANGUAGE plpgsql AS $$
DECLARE
	start timestamptz := clock_timestamp();
BEGIN
	EXECUTE query INTO answer;
	ms := extract(epoch FROM clock_timestamp() - start) * 1000;
END
$$;

CREATE FUNCTION messages_read(query text, OUT messages bigint)
LANGUAGE plpgsql AS $$
DECLARE
	plan jsonb;
BEGIN
	EXECUTE 'EXPLAIN (ANALYZE, FORMAT JSON) ' || query INTO plan;
	messages := jsonb_path_query_first(plan, '$.**."Messages Read"');
END
$$;

-- VmRSS or VmHWM of the backend.
CREATE FUNCTION memory_kb(field text) RETURNS bigint
LANGUAGE sql VOLATILE AS $$
	SELECT substring(pg_read_file('/proc/self/status') FROM field || ':\s+(\d+)')::bigint
$$;

-- Processor time of the backend, the library's threads included, in ms, by the
-- kernel's clock of 100 ticks a second.
CREATE FUNCTION cpu_ms() RETURNS bigint
LANGUAGE sql VOLATILE AS $$
	SELECT (field[12]::bigint + field[13]::bigint) * 10
	FROM string_to_array(regexp_replace(pg_read_file('/proc/self/stat'), '^.*\) ', ''), ' ') field
$$;
