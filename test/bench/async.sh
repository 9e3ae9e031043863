# Several topics below one Append, read side by side (enable_async_append) and
# one after the other: a part of the benchmark, sourced by run. Over the
# machine's own network, where the processors are what is short, and over one
# with a delay (delay.pl), where it is round trips.
# shellcheck shell=bash

ASYNC_DELAY_MS=10
ASYNC_EVENTS=40000
ASYNC_WINDOW_MS=500
ASYNC_REPETITIONS=5
ASYNC_OUTER_ROWS=20

async_sql()
{
	PGDATABASE=async run_sql "$@"
}

# Starts a broker of its own behind a delay, and gives it two topics, whose
# events are a millisecond apart: start_delayed NUMBER
start_delayed()
{
	local dir=$work/delayed$1 port i

	"$broker" start "$dir" --parent $$ --listener DELAYED --set listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,DELAYED:PLAINTEXT 8>&- >/dev/null
	port=$(perl -MIO::Socket::INET -e 'print IO::Socket::INET->new(LocalAddr => "127.0.0.1", Listen => 1)->sockport')
	. "$dir/env"
	echo "advertised.listeners=PLAINTEXT://127.0.0.1:$NODE1_PORT,DELAYED://127.0.0.1:$port" \
		>>"$dir/node1/server.properties"
	"$broker" restart "$dir" 8>&- >/dev/null
	perl "$here/delay.pl" "$port" "$NODE1_DELAYED_PORT" $ASYNC_DELAY_MS 8>&- &
	for i in 1 2; do
		echo "create-topic t$i partitions=2
			set batch.size=65536
			generate t$i count=$ASYNC_EVENTS partitions=2 time=1000000 step=1 value='{\"n\": {n}, \"pad\": \"$(printf 'x%.0s' {1..150})\"}'"
	done | feed -b "127.0.0.1:$NODE1_PORT"
	# with a clock skew of 10 s each window would be of 10 s more
	async_sql -c "CREATE SERVER delayed$1 FOREIGN DATA WRAPPER kafka_fdw
		OPTIONS (brokers '127.0.0.1:$port', broker_clock_skew '0')"
	for i in 1 2; do
		async_sql -c "CREATE FOREIGN TABLE d$1$i (o bigint OPTIONS (offset 'true'),
			ts timestamptz OPTIONS (timestamp 'true'), n int)
			SERVER delayed$1 OPTIONS (topic 't$i', timestamp_max_lag '0')"
	done
}

prepare_async()
{
	"$tree/test/broker/build-feed" "$work/bin/feed" >/dev/null
	run_sql -c 'CREATE DATABASE async'
	async_sql -v brokers="$BOOTSTRAP" -v lag="$MAX_LATE_MS ms" <"$here/tables.sql"
	start_delayed 1
	start_delayed 2
	async_sql -c 'CREATE VIEW near AS SELECT service, latency_ms FROM ev1 UNION ALL SELECT service, latency_ms FROM ev4' \
		-c 'CREATE VIEW one_server AS SELECT * FROM d11 UNION ALL SELECT * FROM d12' \
		-c 'CREATE VIEW two_servers AS SELECT * FROM d11 UNION ALL SELECT * FROM d21' \
		-c 'CREATE VIEW four AS SELECT * FROM d11 UNION ALL SELECT * FROM d12
			UNION ALL SELECT * FROM d21 UNION ALL SELECT * FROM d22'
}

# async_time NAME WARM_UPS TIMES EXPECTED QUERY: the median, both ways, in a
# session each that has asked before, or not with WARM_UPS 0
async_time()
{
	local name=$1 warm_ups=$2 times=$3 expected=$4 query=$5 mode

	for mode in off on; do
		{
			echo "SET enable_async_append = $mode;"
			[ "$warm_ups" -eq 0 ] || echo "SELECT ms FROM generate_series(1, $warm_ups) i, LATERAL measure(\$q\$$query\$q\$ || repeat(' ', i)) \\g /dev/null"
			echo "SELECT ms, answer FROM generate_series(1, $times) i, LATERAL measure(\$q\$$query\$q\$ || repeat(' ', i));"
		} | async_sql -F ' ' | note "async.$name.$mode" "$expected"
	done
}

async_window()
{
	echo "ts >= to_timestamp($1) AND ts < to_timestamp($1) + interval '$ASYNC_WINDOW_MS ms'"
}

round_async()
{
	local view children

	async_time near.count 0 1 $((2 * EVENTS)) 'SELECT count(*) FROM near'
	async_time near.sum 0 1 "$(awk -v sum="$LATENCY_SUM" 'BEGIN { printf "%.2f", 2 * sum }')" \
		'SELECT round(sum(latency_ms)::numeric, 2) FROM near'
	for view in one_server two_servers four; do
		children=2
		[ $view != four ] || children=4
		async_time $view.count 1 1 $((children * ASYNC_EVENTS)) "SELECT count(*) FROM $view"
		async_time $view.window 2 $ASYNC_REPETITIONS $((children * ASYNC_WINDOW_MS)) \
			"SELECT count(n) FROM $view WHERE $(async_window 1015)"
		async_time $view.first 0 1 $((children * ASYNC_WINDOW_MS)) \
			"SELECT count(n) FROM $view WHERE $(async_window 1015)"
		async_time $view.lateral 1 1 $((children * ASYNC_OUTER_ROWS * ASYNC_WINDOW_MS)) \
			"SELECT sum(c) FROM generate_series(1, $ASYNC_OUTER_ROWS) g,
				LATERAL (SELECT count(n) AS c FROM $view WHERE $(async_window '1000 + g') OFFSET 0) s"
	done
}

# print_pair TEXT NAME WHICH
print_pair()
{
	print_line "$1" "$3" "$(median_of "async.$2.on")" "$(median_of "async.$2.off")" -
}

# print_delayed WHICH VIEW; WHICH is servers x topics of each
print_delayed()
{
	local name=$1 view=$2

	print_pair 'count(*)' "$view.count" "$name"
	print_pair "$ASYNC_WINDOW_MS ms window, warm" "$view.window" "$name"
	print_pair "$ASYNC_WINDOW_MS ms window, first query" "$view.first" "$name"
	print_pair "$ASYNC_OUTER_ROWS windows of a join" "$view.lateral" "$name"
}

print_async()
{
	print_heading 'ev1 and ev4, no delay' 'async ms' 'sync ms'
	print_pair 'count(*)' near.count both
	print_pair 'sum(latency_ms)' near.sum both
	print_heading "topics behind $((2 * ASYNC_DELAY_MS)) ms" 'async ms' 'sync ms'
	print_delayed 1x2 one_server
	print_delayed 2x1 two_servers
	print_delayed 2x2 four
}
