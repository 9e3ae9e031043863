-- What test/bench/follow.sh measures with. Variables: brokers, topic, interval.
CREATE SERVER paced FOREIGN DATA WRAPPER kafka_fdw
	OPTIONS (brokers :'brokers');

CREATE FOREIGN TABLE paced (
	kafka_partition int OPTIONS (partition 'true'),
	ts timestamptz OPTIONS (timestamp 'true'),
	n bigint,
	event text,
	user_id text,
	latency_ms float8,
	path text
) SERVER paced OPTIONS (topic :'topic', format 'json');

SELECT FROM kafka.create_rollup('arrived', $$
	SELECT kafka_partition, count(*) AS messages, sum(n) AS total
	FROM paced GROUP BY 1 $$,
	options => jsonb_build_object('follow', true, 'commit_interval', :'interval'));

SELECT FROM kafka.create_rollup('paths', $$
	SELECT date_bin('1 min', ts, '2000-01-01+00') AS bucket, path, event,
		count(*) AS messages, avg(latency_ms) AS mean
	FROM paced GROUP BY 1, 2, 3 $$,
	options => jsonb_build_object('follow', true, 'commit_interval', :'interval'));

-- What a reader saw, and whether the run held back the cleaning up of others.
CREATE UNLOGGED TABLE seen (
	at timestamptz,
	kafka_partition int,
	messages bigint,
	holds_xmin boolean);

CREATE PROCEDURE watch_arrivals(expected bigint, until timestamptz)
LANGUAGE plpgsql AS $$
DECLARE
	arrived bigint := 0;
BEGIN
	WHILE arrived < expected AND clock_timestamp() < until LOOP
		INSERT INTO seen
		SELECT clock_timestamp(), kafka_partition, messages,
			EXISTS (SELECT FROM pg_stat_activity
				WHERE query LIKE 'CALL kafka.run_rollups%' AND backend_xmin IS NOT NULL)
		FROM arrived;
		SELECT coalesce(sum(messages), 0) INTO arrived FROM arrived;
		COMMIT;
		PERFORM pg_sleep(0.01);
	END LOOP;
END
$$;

-- From when each message was to be sent to when it was first seen, in ms. Message
-- n is the n / partitions th of its partition, and was sent n / rate s after
-- start_us; those before from_s do not count.
CREATE FUNCTION latencies(start_us bigint, partitions int, rate float8, from_s int)
RETURNS SETOF float8 LANGUAGE SQL AS $$
	SELECT extract(epoch FROM at) * 1000 - start_us / 1000.0
		- (i * partitions + kafka_partition) * 1000 / rate
	FROM (SELECT at, kafka_partition, messages,
			lag(messages, 1, 0) OVER (PARTITION BY kafka_partition ORDER BY at) AS before
		FROM seen) AS s,
		generate_series(before, messages - 1) AS i
	WHERE (i * partitions + kafka_partition) / rate >= from_s
$$;
