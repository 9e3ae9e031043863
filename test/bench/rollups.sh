# Rollups against the plain SELECT of the same aggregation over the foreign
# table, and what they cost besides: a part of the benchmark, sourced by run.
#
# All are by 10-minute bucket, service and status, with count, avg, hll and
# tdigest; the topics make 32,499 such groups. Every run is checked: all events
# are counted once, and their latencies add up.
# shellcheck shell=bash

# Goals: ratios of times. 1.43 is 0.7 of the speed.
GOAL_ROLLUP=1.43
GOAL_STORED=1.2
GOAL_BAD=2.0
GOAL_PAUSE=5000ms
GOAL_EMPTY_MS=10

SMALL_BATCH=1000
BAD_BATCH=50000
EMPTY_REPETITIONS=9

# A run over nothing but bad messages that takes longer is broken off.
PAUSE_LIMIT_S=60

# Groups that are stored beforehand: copies of a full rollup's, as many for each
# of its own, so that they lie between those that the run adds.
STORED_COPIES=31

# Divisors in the rollup's query that are zero for none, for three, and for all
# of the first messages of ev1. The three are neither first nor last in the
# batch; rollups.sql makes the same ones undecodable.
GOOD_DIVISOR='(kafka_offset + 1) * (kafka_offset + 2) * (kafka_offset + 3)'
SOME_BAD_DIVISOR='(kafka_offset - 10000) * (kafka_offset - 25000) * (kafka_offset - 40000)'
ALL_BAD_DIVISOR='kafka_offset - kafka_offset'

# ---------------------------------------------------------------------------
# Rollups
# ---------------------------------------------------------------------------

# query TABLE [EXPRESSION]: the aggregation, with one more expression
query()
{
	echo "SELECT date_bin('10 min', ts, '2000-01-01+00') AS bucket, service, status,
		count(*) AS events, avg(latency_ms) AS mean,
		hll_add_agg(hll_hash_text(user_id)) AS users,
		tdigest(latency_ms, 100) AS latency${2:+, $2 AS more}
		FROM $1 GROUP BY 1, 2, 3"
}

# create_rollup NAME TABLE [EXPRESSION]
create_rollup()
{
	run_sql -c "SELECT FROM kafka.create_rollup('$1', \$\$$(query "$2" "${3:-}")\$\$)" >/dev/null
}

drop_rollup()
{
	run_sql -c "SELECT kafka.drop_rollup('$1')" >/dev/null
}

# Prints the time of one CALL in ms, in a session of its own as a scheduler's:
# run_rollup NAME [ARGUMENT]...
run_rollup()
{
	local arguments="'$1'"

	shift
	[ $# -eq 0 ] || arguments+=$(printf ', %s' "$@")
	run_sql -c '\timing on' -c "CALL kafka.run_rollups($arguments)" |
		sed -n 's/^Time: \([0-9.]*\) ms.*/\1/p'
}

# count_stored NAME: events and the sum of their latencies, as the rollup has them
count_stored()
{
	run_sql -F ' ' -c "SELECT sum(events), round(sum(events * mean)::numeric, 2) FROM $1
		WHERE service NOT LIKE '%-%'"
}

# measure_rollup MEASUREMENT NAME [ARGUMENT]...: a run over a whole topic
measure_rollup()
{
	local measurement=$1 name=$2 ms

	shift 2
	ms=$(run_rollup "$name" "$@")
	check "$measurement" "$(count_stored "$name")" "$EVENTS $LATENCY_SUM"
	echo "$ms" >>"$work/times/$measurement"
}

# The whole row is asked for, or the planner would leave out what nobody reads.
measure_select()
{
	run_sql -F ' ' -c "SELECT ms, answer FROM measure(\$\$
		SELECT sum(events) FROM ($(query "$1")) AS s HAVING count(s) > 0\$\$)" |
		note "select.$1" "$EVENTS"
}

# ---------------------------------------------------------------------------
# What is written
# ---------------------------------------------------------------------------

# watch_writes MEASUREMENT NAME COMMAND...: notes, for a million messages, the MB
# of WAL, the dead rows made and the size of table and indexes in MB
watch_writes()
{
	local measurement=$1 name=$2 start written dead size

	shift 2
	run_sql -c CHECKPOINT
	start=$(run_sql -c 'SELECT pg_current_wal_insert_lsn()')
	dead=$(run_sql -c 'SELECT dead_rows()')
	"$@"
	written=$(run_sql -c "SELECT pg_current_wal_insert_lsn() - '$start'::pg_lsn")
	dead=$(($(run_sql -c 'SELECT dead_rows()') - dead))
	size=$(run_sql -c "SELECT pg_total_relation_size('_${name}_g1')")
	awk -v events="$EVENTS" -v wal="$written" -v dead="$dead" -v size="$size" 'BEGIN {
		million = events / 1e6
		print wal / million / 1048576, dead / million, size / million / 1048576
	}' >"$work/written.$measurement"
}

# ---------------------------------------------------------------------------
# The measurements
# ---------------------------------------------------------------------------

# The rollup with many groups: filled once, in the order in which runs would have
# stored them.
prepare_rollups()
{
	run_sql <"$here/rollups.sql"
	create_rollup full ev1
	run_rollup full 100000 "'10 min'" >/dev/null
	create_rollup stored ev1
	run_sql -c "INSERT INTO _stored_g1 (bucket, service, status, events, mean, users, latency)
		SELECT bucket, service || '-' || n, status, events, mean, users, latency
		FROM _full_g1, generate_series(1, $STORED_COPIES) n ORDER BY 1, 2, 3" \
		-c 'VACUUM ANALYZE _stored_g1'
	STORED_GROUPS=$(run_sql -c 'SELECT count(*) FROM _stored_g1')
	drop_rollup full
}

# Takes out what a run has added, and goes back to the beginning.
rewind_stored()
{
	run_sql -c "DELETE FROM _stored_g1 WHERE service NOT LIKE '%-%'" \
		-c 'VACUUM ANALYZE _stored_g1' \
		-c "SELECT kafka.seek_rollup('stored', '{\"0\": 0}'::jsonb, accept_loss := true)" >/dev/null
}

# Ten runs in one session; the first connects to the broker.
measure_empty()
{
	local i

	{
		echo '\timing on'
		for ((i = 0; i <= EMPTY_REPETITIONS; i++)); do
			echo "CALL kafka.run_rollups('$1');"
		done
	} | run_sql | sed -n 's/^Time: \([0-9.]*\) ms.*/\1/p' >"$work/empty.out"
	head -n 1 "$work/empty.out" >>"$work/times/empty.first"
	tail -n +2 "$work/empty.out" | median >>"$work/times/empty.warm"
}

# measure_bad MEASUREMENT TABLE EXPRESSION DEAD_LETTERS: one batch
measure_bad()
{
	create_rollup bad "$2" "$3"
	run_rollup bad $BAD_BATCH "'0 s'" >>"$work/times/$1"
	check "$1" "$(run_sql -F ' ' -c "SELECT sum(events), (SELECT count(*)
		FROM kafka.dead_letters WHERE rollup = 'bad') FROM bad")" "$((BAD_BATCH - $4)) $4"
	drop_rollup bad
}

# measure_all_bad MEASUREMENT TABLE EXPRESSION: the run ends with an error, and
# nothing is stored.
measure_all_bad()
{
	create_rollup bad "$2" "$3"
	PGOPTIONS="$PGOPTIONS -c statement_timeout=${PAUSE_LIMIT_S}s" \
		run_rollup bad $BAD_BATCH "'0 s'" 2>"$work/all_bad.err" >>"$work/times/$1" || true
	grep -q 'statement timeout' "$work/all_bad.err" ||
		check "$1" "$(run_sql -F ' ' -c "SELECT state, (SELECT count(*) FROM _bad_g1)
			FROM kafka.rollups WHERE name = 'bad'")" 'PAUSED 0'
	drop_rollup bad
}

round_rollups()
{
	local topic

	for topic in ev1 ev4; do
		measure_select $topic
		create_rollup plain $topic
		watch_writes "plain.$topic" plain measure_rollup "plain.$topic" plain 100000 "'10 min'"
		[ $topic != ev1 ] || measure_empty plain
		drop_rollup plain
	done
	rewind_stored
	run_sql -c CHECKPOINT
	measure_rollup stored.ev1 stored 100000 "'10 min'"
	create_rollup small ev1
	watch_writes small.ev1 small measure_rollup small.ev1 small $SMALL_BATCH "'10 min'"
	drop_rollup small
	measure_bad query.none ev1 "max(1 / ($GOOD_DIVISOR))" 0
	measure_bad query.some ev1 "max(1 / ($SOME_BAD_DIVISOR))" 3
	measure_all_bad query.all ev1 "max(1 / ($ALL_BAD_DIVISOR))"
	measure_bad decode.none ev1_good 'count(session)' 0
	measure_bad decode.some ev1_some_bad 'count(session)' 3
	measure_all_bad decode.all ev1_all_bad 'count(session)'
}

# ---------------------------------------------------------------------------
# The table
# ---------------------------------------------------------------------------

# print_writes TEXT MEASUREMENT
print_writes()
{
	local wal dead size

	read -r wal dead size <"$work/written.$2"
	print_number "$1: WAL" "${2#*.}" "$wal" 'MB/M msg' -
	print_number "$1: dead rows" "${2#*.}" "$dead" '/M msg' -
	print_number "$1: table, indexes" "${2#*.}" "$size" 'MB/M msg' -
}

print_rollups()
{
	local topic stage

	print_heading 'rollup' 'run ms' 'other ms'
	for topic in ev1 ev4; do
		print_line 'all events / plain SELECT' $topic \
			"$(median_of plain.$topic)" "$(median_of select.$topic)" $GOAL_ROLLUP
	done
	print_line "$STORED_GROUPS groups before / none" ev1 \
		"$(median_of stored.ev1)" "$(median_of plain.ev1)" $GOAL_STORED
	print_line "batches of $SMALL_BATCH / of 100000" ev1 \
		"$(median_of small.ev1)" "$(median_of plain.ev1)" -
	for stage in query decode; do
		print_line "3 of $BAD_BATCH bad ($stage) / none" ev1 \
			"$(median_of $stage.some)" "$(median_of $stage.none)" $GOAL_BAD
		print_line "all bad ($stage), paused / none" ev1 \
			"$(median_of $stage.all)" "$(median_of $stage.none)" $GOAL_PAUSE
	done
	print_number 'nothing new, in a new session' ev1 "$(median_of empty.first)" ms -
	print_number 'nothing new, in an old session' ev1 "$(median_of empty.warm)" ms $GOAL_EMPTY_MS
	print_writes 'batches of 100000' plain.ev1
	print_writes 'batches of 100000' plain.ev4
	print_writes "batches of $SMALL_BATCH" small.ev1
}
