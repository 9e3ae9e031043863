# A run that follows a topic: how long it takes from the moment that a message is
# sent until a reader of the rollup sees it, and what an hour of it leaves behind:
# a part of the benchmark, sourced by run.
#
# The hour is compressed: as many commits and messages as one of 1,000 messages
# a second with a commit each second, ten times as fast.
#
# The same once more beside a rollup that fails and one that sleeps, whose process
# it shares: that is to change nothing for the others. Compared is what was sent
# after the first seconds, in which each of the runs has to begin.
# shellcheck shell=bash

PACED_PARTITIONS=4
PACED_RATE=1000
PACED_SECONDS=60
# The default commit interval, and one that leaves little time between commits
SECOND='1 s'
TENTH='100 ms'
BEGINNING_S=2
SOAK_FACTOR=10
SOAK_SECONDS=${KAFKA_FDW_BENCH_SOAK_S:-360}

GOAL_MEDIAN=1000ms
GOAL_P99=2000ms
# Others that do not get on
GOAL_BESIDE=1.1
# Of the hour: WAL of one update of each group met a commit, and tables that are
# vacuumed in time.
GOAL_SOAK_WAL_MB=1000
GOAL_SOAK_BLOAT=3

paced_sql()
{
	PGDATABASE=paced run_sql "$@"
}

prepare_follow()
{
	# shellcheck disable=SC2046
	cc -std=gnu99 -O2 -Wall -Wextra $(pkg-config --cflags rdkafka) \
		-o "$work/bin/produce_paced" "$here/produce_paced.c" $(pkg-config --libs rdkafka)
	"$broker" start "$work/paced" 8>&- >"$work/paced.env"
	paced_brokers=$(. "$work/paced.env"; echo "$BOOTSTRAP")
	run_sql -c "ALTER SYSTEM SET autovacuum_naptime = '$((60 / SOAK_FACTOR)) s'" \
		-c 'SELECT pg_reload_conf()' >/dev/null
	follow_round=0
}

# What was written since the server's WAL was at $1, in MB
count_wal()
{
	run_sql -c "SELECT round((pg_current_wal_insert_lsn() - '$1'::pg_lsn) / 1048576.0, 1)"
}

# get_latency START_US RATE FROM_S: median, 99 % and longest, in ms, of the messages
# sent at FROM_S or later
get_latency()
{
	paced_sql -F ' ' -c "SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY l),
			percentile_cont(0.99) WITHIN GROUP (ORDER BY l), max(l)
		FROM latencies($1, $PACED_PARTITIONS, $2, $3) AS l"
}

# follow_for NAME RATE SECONDS INTERVAL [BESIDE]: follows while messages are sent,
# until all are seen; BESIDE makes other rollups, which do not get on
follow_for()
{
	local name=$1 rate=$2 seconds=$3 interval=$4 expected=$(($2 * $3)) topic=paced_$1 start_us runner wal

	run_sql -c 'DROP DATABASE IF EXISTS paced' -c 'CREATE DATABASE paced'
	paced_sql -c 'CREATE EXTENSION kafka_fdw'
	produce_paced "$paced_brokers" "$topic" $PACED_PARTITIONS 1 0 >/dev/null
	paced_sql -v brokers="$paced_brokers" -v topic="$topic" -v interval="$interval" \
		<"$here/follow.sql" >/dev/null
	[ -z "${5:-}" ] || paced_sql -v interval="$interval" <"$here/$5" >/dev/null
	wal=$(run_sql -c 'SELECT pg_current_wal_insert_lsn()')
	paced_sql -c "CALL kafka.run_rollups(follow => true, max_time => '$((seconds + 10)) s')" \
		2>"$work/paced.$name.errors" &
	runner=$!
	produce_paced "$paced_brokers" "$topic" $PACED_PARTITIONS "$rate" "$seconds" >"$work/paced.$name" &
	paced_sql -c "CALL watch_arrivals($expected, now() + '$((seconds + 60)) s')"
	if ! wait "$runner" && [ -z "${5:-}" ]; then
		cat "$work/paced.$name.errors" >&2
		return 1
	fi
	wait
	count_wal "$wal" >"$work/paced.$name.wal"
	check "follow $name" "$(paced_sql -F ' ' -c 'SELECT sum(messages), sum(total) FROM arrived')" \
		"$expected $((expected * (expected - 1) / 2))"
	start_us=$(head -n 1 "$work/paced.$name")
	get_latency "$start_us" "$rate" 0 >"$work/paced.$name.latency"
	get_latency "$start_us" "$rate" $BEGINNING_S >"$work/paced.$name.settled"
	paced_sql -c 'SELECT round(100.0 * count(*) FILTER (WHERE holds_xmin) / count(*), 1)
		FROM seen' >"$work/paced.$name.xmin"
}

# note_latency FILE TIMES
note_latency()
{
	local median p99 max

	read -r median p99 max <"$work/paced.$1"
	echo "$median" >>"$work/times/$2.median"
	echo "$p99" >>"$work/times/$2.p99"
	echo "$max" >>"$work/times/$2.max"
}

# follow_beside NAME INTERVAL: alone, and beside two that do not get on
follow_beside()
{
	follow_for "$1$follow_round" $PACED_RATE $PACED_SECONDS "$2"
	follow_for "$1_beside$follow_round" $PACED_RATE $PACED_SECONDS "$2" follow_beside.sql
	note_latency "$1$follow_round.settled" "$1"
	note_latency "$1_beside$follow_round.settled" "$1_beside"
}

round_follow()
{
	follow_round=$((follow_round + 1))
	follow_beside second "$SECOND"
	note_latency "second$follow_round.latency" follow
	cat "$work/paced.second$follow_round.xmin" >>"$work/times/follow.xmin"
	follow_beside tenth "$TENTH"
	[ "$follow_round" -eq 1 ] || return 0
	follow_for soak $((PACED_RATE * SOAK_FACTOR)) "$SOAK_SECONDS" "$((1000 / SOAK_FACTOR)) ms"
	# before and after the rows are written anew
	paced_sql -F ' ' -c "CREATE TABLE packed AS TABLE _paths_g1" \
		-c 'ALTER TABLE packed ADD PRIMARY KEY (_id), ADD UNIQUE (bucket, path, event)' \
		-c "SELECT pg_total_relation_size('_paths_g1') / 1048576.0,
			pg_total_relation_size('_paths_g1')::float8 / pg_total_relation_size('packed'),
			(SELECT count(*) FROM kafka.rollup_runs WHERE name = 'paths')" \
		>"$work/paced.soak.size"
}

# print_beside TIMES INTERVAL GOAL: GOAL is for the slowest messages
print_beside()
{
	print_heading "beside two stuck ones, each $2" ms alone
	print_line 'sent to seen, median' - "$(median_of "$1_beside.median")" "$(median_of "$1.median")" $GOAL_BESIDE
	print_line 'sent to seen, 99 %' - "$(median_of "$1_beside.p99")" "$(median_of "$1.p99")" "$3"
	print_line 'sent to seen, longest' - "$(median_of "$1_beside.max")" "$(median_of "$1.max")" "$3"
}

print_follow()
{
	local size bloat commits

	read -r size bloat commits <"$work/paced.soak.size"
	print_heading "following, $PACED_RATE messages/s" ms ''
	print_line 'sent to seen, median' - "$(median_of follow.median)" 1000 $GOAL_MEDIAN
	print_line 'sent to seen, 99 %' - "$(median_of follow.p99)" 1000 $GOAL_P99
	print_line 'sent to seen, longest' - "$(median_of follow.max)" 1000 -
	print_beside second "$SECOND" $GOAL_BESIDE
	print_beside tenth "$TENTH" -
	print_number 'looks at the run that found an xmin' - "$(median_of follow.xmin)" '%' -
	print_number "$commits commits: WAL" - "$(cat "$work/paced.soak.wal")" MB $GOAL_SOAK_WAL_MB
	print_number "$commits commits: table, indexes" - "$size" MB -
	print_number "$commits commits: size / written anew" - "$bloat" '' $GOAL_SOAK_BLOAT
}
