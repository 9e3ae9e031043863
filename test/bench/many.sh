# Ten rollups of one topic in one run against one of them: a part of the
# benchmark, sourced by run. All are by 10-minute bucket, service and status; each
# is checked to have counted all events.
# shellcheck shell=bash

MANY=10
GOAL_MANY_PLAIN=4.0
GOAL_MANY_SKETCHES=7.0

many_sql()
{
	PGDATABASE=many run_sql "$@"
}

prepare_many()
{
	run_sql -c 'CREATE DATABASE many'
	many_sql -v brokers="$BOOTSTRAP" -v lag="$MAX_LATE_MS ms" <"$here/tables.sql"
	many_sql -c 'CREATE EXTENSION hll' -c 'CREATE EXTENSION tdigest'
}

# measure_many NAME COUNT TOPIC EXPRESSIONS: so many rollups in one call
measure_many()
{
	local name=$1 count=$2 topic=$3 expressions=$4 i ms

	for ((i = 1; i <= count; i++)); do
		many_sql -c "SELECT FROM kafka.create_rollup('many_$i', \$\$
			SELECT date_bin('10 min', ts, '2000-01-01+00') AS bucket, service, status,
				count(*) AS events, $expressions FROM $topic GROUP BY 1, 2, 3 \$\$)" >/dev/null
	done
	many_sql -c CHECKPOINT
	ms=$(many_sql -c '\timing on' -c "CALL kafka.run_rollups(max_time => '10 min')" |
		sed -n 's/^Time: \([0-9.]*\) ms.*/\1/p')
	for ((i = 1; i <= count; i++)); do
		check "$name" "$(many_sql -c "SELECT sum(events) FROM many_$i")" "$EVENTS"
		many_sql -c "SELECT kafka.drop_rollup('many_$i')" >/dev/null
	done
	echo "$ms" >>"$work/times/many.$name"
}

round_many()
{
	local plain='avg(latency_ms) AS mean'
	local sketches='hll_add_agg(hll_hash_text(user_id)) AS users, tdigest(latency_ms, 100) AS latency'
	local topic

	for topic in ev1 ev4; do
		measure_many "plain.one.$topic" 1 $topic "$plain"
		measure_many "plain.ten.$topic" $MANY $topic "$plain"
		measure_many "sketches.one.$topic" 1 $topic "$sketches"
		measure_many "sketches.ten.$topic" $MANY $topic "$sketches"
	done
}

print_many()
{
	local topic

	print_heading 'rollups of one topic' 'ten ms' 'one ms'
	for topic in ev1 ev4; do
		print_line 'count, avg' $topic "$(median_of many.plain.ten.$topic)" \
			"$(median_of many.plain.one.$topic)" $GOAL_MANY_PLAIN
		print_line 'count, hll, tdigest' $topic "$(median_of many.sketches.ten.$topic)" \
			"$(median_of many.sketches.one.$topic)" $GOAL_MANY_SKETCHES
	done
}
