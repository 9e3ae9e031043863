# Ten rollups over one topic in one run against one of them alone: a part of the
# benchmark, sourced by run.
#
# All are by 10-minute bucket and one or two other columns, not two of them alike.
# Those of the first kind have count and avg, those of the second hll and tdigest
# besides. Each round measures all ten together, and one or two of them alone,
# others than the round before. Every run is checked: all events are counted once
# in each of the ten, and what is averaged adds up.
# shellcheck shell=bash

# Goals: ratios of times
GOAL_TOGETHER_PLAIN=4.0
GOAL_TOGETHER_SKETCH=7.0

TOGETHER_KEYS=(
	'service, status' 'service, method' 'service, cache_hit' 'host, status' 'host'
	'method, status' 'service' 'method, cache_hit' 'status, cache_hit' 'host, method')
TOGETHER_COUNT=${#TOGETHER_KEYS[@]}

# together_query KIND NUMBER
together_query()
{
	local kind=$1 keys=${TOGETHER_KEYS[$2]} sketches=''

	[ "$kind" != sketch ] || sketches=', hll_add_agg(hll_hash_text(user_id)) AS users,
		tdigest(latency_ms, 100) AS latency'
	echo "SELECT date_bin('10 min', ts, '2000-01-01+00') AS bucket, $keys,
		count(*) AS events, avg(latency_ms) AS mean, avg(bytes) AS mean_bytes$sketches
		FROM ev1 GROUP BY bucket, $keys"
}

# Prints ms and the backend's processor time in ms of one CALL for all rollups
# that there are, in a session of its own.
run_together()
{
	run_sql -c 'SELECT cpu_ms()' -c '\timing on' -c "CALL kafka.run_rollups(NULL, 100000, '10 min')" \
		-c '\timing off' -c 'SELECT cpu_ms()' |
		awk '/^Time:/ { ms = $2; next } NF { cpu[n++] = $1 } END { print ms, cpu[1] - cpu[0] }'
}

# measure_together MEASUREMENT KIND NUMBER...: these rollups in one run
measure_together()
{
	local measurement=$1 kind=$2 number

	shift 2
	for number in "$@"; do
		run_sql -c "SELECT FROM kafka.create_rollup('t$number', \$\$$(together_query "$kind" "$number")\$\$)" >/dev/null
	done
	run_together >"$work/together.out"
	for number in "$@"; do
		check "$measurement, rollup $number" "$(run_sql -F ' ' -c "SELECT sum(events),
			round(sum(events * mean)::numeric, 2) FROM t$number")" "$EVENTS $LATENCY_SUM"
		run_sql -c "SELECT kafka.drop_rollup('t$number')" >/dev/null
	done
	awk '{ print $1 }' "$work/together.out" >>"$work/times/$measurement"
	awk '{ print $2 }' "$work/together.out" >>"$work/times/$measurement.cpu"
}

prepare_together()
{
	run_sql -c 'CREATE EXTENSION IF NOT EXISTS hll' -c 'CREATE EXTENSION IF NOT EXISTS tdigest'
	together_round=0
}

round_together()
{
	local kind i

	for kind in plain sketch; do
		for ((i = together_round % TOGETHER_COUNT; i < TOGETHER_COUNT; i += ROUNDS)); do
			measure_together one.$kind $kind "$i"
		done
		# shellcheck disable=SC2046
		measure_together ten.$kind $kind $(seq 0 $((TOGETHER_COUNT - 1)))
	done
	together_round=$((together_round + 1))
}

print_together()
{
	print_heading 'rollups together' 'ten ms' 'one ms' 'ten cpu' 'one cpu' ratio
	print_line 'ten with count, avg / one' ev1 \
		"$(median_of ten.plain)" "$(median_of one.plain)" $GOAL_TOGETHER_PLAIN \
		"$(median_of ten.plain.cpu)" "$(median_of one.plain.cpu)"
	print_line 'ten with hll, tdigest, too / one' ev1 \
		"$(median_of ten.sketch)" "$(median_of one.sketch)" $GOAL_TOGETHER_SKETCH \
		"$(median_of ten.sketch.cpu)" "$(median_of one.sketch.cpu)"
}
