# Planning without a broker: a part of the benchmark, sourced by run. The table
# shows 200 partitions and has 33 columns; at its server's address is nobody.
# shellcheck shell=bash

PLANNING_REPETITIONS=200
GOAL_PLANNING=5.0

declare -A planning_queries=(
	[all]='SELECT * FROM wide'
	[window]="SELECT * FROM wide WHERE ts >= '2024-05-01' AND ts < '2024-05-02' AND p IN (1, 2, 3)"
	[or]='SELECT * FROM wide WHERE (p = 1 AND o > 5) OR (p = 2 AND o > 6) OR (p = 3 AND o > 7)'
	[join]="SELECT * FROM windows AS w JOIN wide ON ts >= a AND ts < a + interval '1 s'"
)

planning_sql()
{
	PGDATABASE=planning run_sql "$@"
}

prepare_planning()
{
	run_sql -c 'CREATE DATABASE planning'
	planning_sql >/dev/null <<'SQL'
CREATE EXTENSION kafka_fdw;
CREATE SERVER nobody FOREIGN DATA WRAPPER kafka_fdw OPTIONS (brokers '127.0.0.1:1');
SELECT format('CREATE FOREIGN TABLE wide (p int OPTIONS (partition ''true''), o bigint OPTIONS (offset ''true''),
	ts timestamptz OPTIONS (timestamp ''true''), %s) SERVER nobody OPTIONS (topic ''wide'', partitions ''0-199'')',
	string_agg('c' || i || ' text', ', ')) FROM generate_series(1, 30) AS i \gexec
CREATE TABLE windows AS SELECT timestamptz '2024-05-01' + i * interval '1 s' AS a FROM generate_series(1, 1000) AS i;
ANALYZE windows;
CREATE FUNCTION planning_ms(query text, repetitions int) RETURNS SETOF float8 LANGUAGE plpgsql AS $$
DECLARE
	plan json;
BEGIN
	FOR i IN 1 .. repetitions LOOP
		EXECUTE 'EXPLAIN (SUMMARY, FORMAT JSON) ' || query INTO plan;
		RETURN NEXT plan -> 0 ->> 'Planning Time';
	END LOOP;
END $$;
SQL
}

round_planning()
{
	local name

	for name in "${!planning_queries[@]}"; do
		planning_sql -v query="${planning_queries[$name]}" -v repetitions="$PLANNING_REPETITIONS" \
			<<<"SELECT planning_ms(:'query', :repetitions)" | median >>"$work/times/planning.$name"
	done
}

print_planning()
{
	local name

	print_heading 'planning, 200 partitions, no broker' ms ''
	for name in all window or join; do
		print_number "planning: $name" - "$(median_of "planning.$name")" ms "$GOAL_PLANNING"
	done
}
