-- Two more rollups of test/bench/follow.sh's topic: one that fails with each
-- message, and one that sleeps. Variable: interval.
CREATE FUNCTION refuse(bigint) RETURNS bigint IMMUTABLE LANGUAGE plpgsql
AS $$ BEGIN RAISE undefined_table USING MESSAGE = 'nothing goes'; END $$;

CREATE FUNCTION doze(bigint) RETURNS bigint IMMUTABLE LANGUAGE plpgsql
AS $$ BEGIN PERFORM pg_sleep(10); RETURN $1; END $$;

SELECT FROM kafka.create_rollup('failing',
	'SELECT kafka_partition, sum(refuse(n)) AS total FROM paced GROUP BY 1',
	options => jsonb_build_object('follow', true, 'commit_interval', :'interval'));

SELECT FROM kafka.create_rollup('sleeping',
	'SELECT kafka_partition, sum(doze(n)) AS total FROM paced GROUP BY 1',
	options => jsonb_build_object('follow', true, 'commit_interval', :'interval'));
