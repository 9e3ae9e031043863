# Queries over foreign tables against the least that a consumer in C can do: a
# part of the benchmark, sourced by run.
# shellcheck shell=bash

# In one round a window is asked for this often, after as many times unmeasured.
WINDOW_REPETITIONS=5
WINDOW_WARM_UPS=3

# Goals: ratios to the bare consumer; for memory, MB above an idle backend:
# memory_limit (64 MB) and 32 more. Those of windows are 25, 6 and 30 ms on a
# machine where the bare client needs 9, 1.8 and 6 ms with one partition; on a
# slower one both are. A LIMIT is answered at once, whatever the machine.
GOAL_COUNT=1.3
GOAL_DECODE=2.0
GOAL_HOUR=2.8
GOAL_MINUTE=3.3
GOAL_FIRST=5.0
GOAL_LIMIT=15ms
GOAL_READ_RATIO=1.2
GOAL_MEMORY_MB=96

# What a bare consumer needs to be fast: default queue for a whole topic, since
# it never fills it; small fetches for a window.
BARE_WINDOW=(-f 131072 -q 4096)

# ---------------------------------------------------------------------------
# Measuring
# ---------------------------------------------------------------------------

# bare_window NAME EXPECTED OPTION...
bare_window()
{
	local name=bare.$1 expected=$2 ms counted

	shift 2
	bare "$@" -b "$BOOTSTRAP" | while read -r ms _ _ counted _; do
		echo "$ms $counted"
	done | note "$name" "$expected"
}

bare_scan()
{
	local topic=$1 expected=$2 ms cpu_ms counted

	read -r ms cpu_ms _ counted _ < <(bare count -t "$topic" -b "$BOOTSTRAP" -n 1)
	echo "$ms $counted" | note "bare.scan.$topic" "$expected"
	echo "$cpu_ms" >>"$work/cpu/bare.scan.$topic"
}

# One round of a question over a whole topic: in a new session, so that the
# memory can be seen. The first query, which connects, is not counted.
ours_scan()
{
	local name=$1 topic=$2 query=$3 expected=$4 idle_kb before_ms ms answer after_ms peak_kb

	run_sql -F ' ' >"$work/scan.out" <<-EOF
		SELECT memory_kb('VmRSS');
		SELECT count(*) FROM (SELECT FROM $topic LIMIT 1) s \g /dev/null
		SELECT cpu_ms();
		SELECT ms, answer FROM measure(\$\$$query\$\$);
		SELECT cpu_ms(), memory_kb('VmHWM');
	EOF
	read -r idle_kb before_ms ms answer after_ms peak_kb < <(tr '\n' ' ' <"$work/scan.out") || true
	echo "$ms $answer" | note "ours.$name" "$expected"
	echo $((after_ms - before_ms)) >>"$work/cpu/ours.$name"
	echo $(((peak_kb - idle_kb) / 1024)) >>"$work/memory/$name"
}

ours_window()
{
	local name=$1 query=$2 expected=$3 i

	{
		for ((i = 0; i < WINDOW_WARM_UPS; i++)); do
			echo "SELECT FROM measure(\$\$$query\$\$) \\g /dev/null"
		done
		for ((i = 0; i < WINDOW_REPETITIONS; i++)); do
			echo "SELECT ms, answer FROM measure(\$\$$query\$\$);"
		done
	} | run_sql -F ' ' | note "ours.$name" "$expected"
}

# From sending the first query of a connection to its answer; connecting itself
# is not counted.
ours_first()
{
	local name=$1 query=$2 expected=$3 answer ms

	{
		read -r answer
		read -r _ ms _
	} < <(run_sql -c '\timing on' -c "$query" | grep -v '^Timing')
	echo "$ms $answer" | note "ours.$name" "$expected"
}

condition()
{
	date -u -d "@$(($1 / 1000))" "+'%Y-%m-%d %H:%M:%S+00'"
}

window_query()
{
	echo "SELECT count(*) FROM $1 WHERE ts >= $(condition "$2") AND ts < $(condition "$3")"
}

round_topic()
{
	local topic=$1 hour minute
	local small=(-t "$topic" "${BARE_WINDOW[@]}" -l "$MAX_LATE_MS")
	local warm=(-n "$WINDOW_REPETITIONS" -w "$WINDOW_WARM_UPS")
	local hour_range=(-s "$HOUR_START_MS" -e "$HOUR_END_MS")
	local minute_range=(-s "$MINUTE_START_MS" -e "$MINUTE_END_MS")

	hour=$(window_query "$topic" "$HOUR_START_MS" "$HOUR_END_MS")
	minute=$(window_query "$topic" "$MINUTE_START_MS" "$MINUTE_END_MS")

	bare_scan "$topic" "$EVENTS"
	ours_scan "count.$topic" "$topic" "SELECT count(*) FROM $topic" "$EVENTS"
	ours_scan "sum.$topic" "$topic" "SELECT round(sum(latency_ms)::numeric, 2) FROM $topic" "$LATENCY_SUM"
	ours_scan "filter.$topic" "$topic" "SELECT count(*) FROM $topic WHERE status = 500" "$STATUS_500"

	ours_window "hour.$topic" "$hour" "$HOUR_ROWS"
	bare_window "hour.$topic" "$HOUR_ROWS" window "${small[@]}" "${hour_range[@]}" "${warm[@]}"
	ours_window "minute.$topic" "$minute" "$MINUTE_ROWS"
	bare_window "minute.$topic" "$MINUTE_ROWS" window "${small[@]}" "${minute_range[@]}" "${warm[@]}"
	ours_first "first.$topic" "$minute" "$MINUTE_ROWS"
	bare_window "first.$topic" "$MINUTE_ROWS" window -C "${small[@]}" "${minute_range[@]}" -n 1 -w 0
	ours_window "limit.$topic" "SELECT count(*) FROM (SELECT latency_ms FROM $topic LIMIT 10) s" 10
	bare_window "limit.$topic" 10 count "${small[@]}" -m 10 "${warm[@]}"
}

prepare_scans()
{
	mkdir "$work/cpu" "$work/memory"
}

round_scans()
{
	local topic

	for topic in ev1 ev4; do
		round_topic $topic
	done
}

# ---------------------------------------------------------------------------
# The table
# ---------------------------------------------------------------------------

# print_question TEXT NAME BARE_NAME GOAL
print_question()
{
	local topic cpu=()

	for topic in ev1 ev4; do
		[ ! -e "$work/cpu/ours.$2.$topic" ] ||
			cpu=("$(median <"$work/cpu/ours.$2.$topic")" "$(median <"$work/cpu/bare.$3.$topic")")
		print_line "$1" $topic "$(median_of "ours.$2.$topic")" \
			"$(median_of "bare.$3.$topic")" "$4" "${cpu[@]}"
	done
}

print_scans()
{
	local topic name

	print_heading question 'ours ms' 'bare ms' 'ours cpu' 'bare cpu' ratio
	print_question 'count(*)' count scan $GOAL_COUNT
	print_question 'sum(latency_ms)' sum scan $GOAL_DECODE
	print_question 'count(*) WHERE status = 500' filter scan $GOAL_DECODE
	print_question "1 h window ($HOUR_ROWS), warm" hour hour $GOAL_HOUR
	print_question "1 min window ($MINUTE_ROWS), warm" minute minute $GOAL_MINUTE
	print_question '1 min window, first query' first first $GOAL_FIRST
	print_question 'LIMIT 10, warm' limit limit $GOAL_LIMIT
	# What the declared lateness adds to a window cannot be saved.
	for topic in ev1 ev4; do
		print_number 'messages read / 1 h window' $topic "$(messages_ratio $topic)" '' $GOAL_READ_RATIO
	done
	for name in count sum filter; do
		for topic in ev1 ev4; do
			print_number "memory of a backend, $name" $topic \
				"$(largest <"$work/memory/$name.$topic")" MB $GOAL_MEMORY_MB
		done
	done
}

messages_ratio()
{
	run_sql -c "SELECT round(messages_read(\$\$$(window_query "$1" "$HOUR_START_MS" "$HOUR_END_MS")\$\$)::numeric / $HOUR_ROWS, 3)"
}

