# Scans in the order of the record time, the offset and the partition, over
# topics with disordered and tied times, markers, aborted and compacted records,
# records without a time and moved log starts: random queries against a sort of
# what Apache Kafka's own client reads, and against pushdown off. Then that they
# read little where little is wanted, stay within their memory however long a
# window is, keep no broker busy between windows, and obey.
#
# KAFKA_FDW_SEED=n makes other queries, KAFKA_FDW_QUERIES=n that many.
use strict;
use warnings;
use Test::More;
use Time::HiRes qw(time);
use PostgreSQL::Test::Utils;
use KafkaFdw::Broker;
use KafkaFdw::Node qw(start_node create_server create_table backend_usage);
use KafkaFdw::Session;
use KafkaFdw::Truth qw(pick load_truth messages_read);

my $seed = $ENV{KAFKA_FDW_SEED} // 1;
my $nqueries = $ENV{KAFKA_FDW_QUERIES} // 400;
my $base = 1_700_000_000_000;

# The server's own means and what malloc keeps; as in 033_memory.pl
my $SLACK_KB = 32 * 1024;
my $MEMORY_KB = 8 * 1024;

my $broker = KafkaFdw::Broker->new;

# Each with the options that are true of it
my %topics = (
	plain => { timestamp_max_lag => '0' },
	mixed => { timestamp_max_lag => '30s' },
	tied => { timestamp_max_lag => '0' },
	marked => { timestamp_max_lag => '36500 days' },
	undeclared => {},
	odd => {},
	compacted => {},
	trimmed => { timestamp_max_lag => '30s' },
	appended => {});

$broker->feed(<<"EOF");
create-topic plain partitions=4
generate plain count=1200 partitions=3 time=$base step=700 value=v{n%5}
create-topic mixed partitions=3
generate mixed count=900 partitions=3 time=$base step=500 disorder=30000 value=v{n%5}
create-topic tied partitions=2
generate tied count=100 partitions=2 time=$base step=1000 value=v{n%5}
generate tied first=100 count=300 partitions=2 time=@{[$base + 100_000]} step=0 value=v{n%5}
generate tied first=400 count=100 partitions=2 time=@{[$base + 100_000]} step=10 value=v{n%5}
create-topic marked partitions=3
create-topic undeclared partitions=3
generate undeclared count=600 partitions=3 time=$base step=900 disorder=60000 value=v{n%5}
create-topic odd partitions=2
generate odd count=60 partitions=2 time=$base step=1000 value=v{n%5}
produce odd time=-1 value=v1
produce odd partition=1 time=-5000 value=v2
produce odd time=1 value=v3
generate odd first=60 count=200 partitions=2 time=@{[$base + 60_000]} step=1000 value=v{n%5}
produce odd partition=1 time=-1 value=v4
create-topic compacted cleanup.policy=compact segment.ms=100 min.cleanable.dirty.ratio=0.001 min.compaction.lag.ms=0 delete.retention.ms=0
set enable.idempotence=true
generate compacted count=60 time=$base step=1000 key=k{n%9} value=v{n%5}
flush
use -
set enable.idempotence=false
generate compacted count=40 time=@{[$base + 200_000]} step=1000 key=n{n} value=v{n%5}
flush
produce compacted time=@{[$base + 900_000]} key=roll1 value=v0
flush
produce compacted time=@{[$base + 1_900_000]} key=roll2 value=v1
wait-gone compacted 0 8
create-topic trimmed partitions=2
generate trimmed count=400 partitions=2 time=$base step=500 disorder=30000 value=v{n%5}
delete-records trimmed 0 90
wait-start trimmed 0 90
create-topic appended partitions=2 message.timestamp.type=LogAppendTime
generate appended count=300 partitions=2 value=v{n%5}
EOF

# Transactions of some records each, every third aborted
$broker->feed(join '', map {
	my $first = 20 * $_;
	my $time = $base + 14_000 * $_;
	my $end = $_ % 3 == 1 ? 'abort' : 'commit';
	"begin t\ngenerate marked first=$first count=20 partitions=3 time=$time step=700 value=v{n%5}\n$end\n"
} 0 .. 14);

my $node = start_node('main', timezone => 'UTC', jit => 'off', enable_sort => 'off');
my $columns = q(p int OPTIONS (partition 'true'), o bigint OPTIONS (offset 'true'),
	ts timestamptz OPTIONS (timestamp 'true'), v text OPTIONS (value 'true'));

create_server($node, 'k', $broker, broker_clock_skew => '0');
for my $topic (sort keys %topics)
{
	create_table($node, $topic, 'k', $columns, topic => $topic, format => 'raw', %{ $topics{$topic} });
	load_truth($node, $broker, $topic);
	$node->safe_psql('postgres', "CREATE VIEW true_$topic AS SELECT p, o, ts, v FROM truth WHERE topic = '$topic'");
}

#
# The same rows in the same order
#
sub moment { return sprintf "timestamptz 'epoch' + interval '%d ms'", $base + int rand 800_000 }

sub condition
{
	return pick('true', 'true', "v = 'v3'", 'p = 1', 'p <> 0', "v IN ('v1', 'v2') AND p < 2", 'ts IS NOT NULL', 'ts IS NULL OR p = 1',
		sprintf('o >= %d', rand 200), sprintf('o < %d', rand 300), sprintf('o BETWEEN %d AND %d', rand 150, 150 + rand 200),
		'ts >= ' . moment(), 'ts < ' . moment(), 'ts >= ' . moment() . ' AND ts < ' . moment(),
		'ts < ' . moment() . ' OR o = 17', "ts >= now() - interval '1 day'");
}

# A query with %s for the table, which has one result only
sub query
{
	my $order = pick('ts', 'ts DESC', ('ts DESC NULLS LAST') x 3, 'ts NULLS FIRST', 'o', 'o DESC', 'p', 'p DESC');
	my $all = join ', ', $order, grep { $order !~ /^$_\b/ } qw(p o ts);
	my $limit = pick('LIMIT 1', 'LIMIT 10', 'LIMIT 10', 'LIMIT ' . int(rand 300), 'OFFSET ' . int(rand 30) . ' LIMIT ' . int(1 + rand 40), '');
	my $where = condition();

	# Ties in any order: what they are ordered by is all that is looked at.
	(my $key = $order) =~ s/ .*//;
	return pick(
		"SELECT $key AS a FROM %s WHERE $where ORDER BY $order $limit",
		("SELECT p, o, ts, v FROM %s WHERE $where ORDER BY $all $limit") x 2,
		'SELECT ' . pick('max(ts)', 'min(ts)', 'max(o)', 'min(p)') . " AS a FROM %s WHERE $where",
		"SELECT DISTINCT ON ($key) $key AS a, p AS b, o AS c FROM %s WHERE $where ORDER BY $order, p, o $limit",
		"SELECT $key AS a, rank() OVER (ORDER BY $order) FROM %s WHERE $where ORDER BY $order $limit");
}

# All rows of the query for this table, as one text
sub rows_of { return sprintf "SELECT string_agg(q::text, ' ') FROM ($_[0]) AS q", $_[1] }

srand $seed;
note "seed $seed";
my @names = sort keys %topics;
my $session = KafkaFdw::Session->new($node);
my ($ndiffer, $nordered, %ordered_topics) = (0, 0);

for my $i (1 .. $nqueries)
{
	my $topic = pick(@names);
	my $query = query();
	my $want = $session->value(rows_of($query, "true_$topic"));

	for my $pushdown ('off', 'on')
	{
		$session->run("SET kafka_fdw.enable_pushdown = $pushdown");
		my $got = $session->value(rows_of($query, $topic));

		next if ($got // '') eq ($want // '');
		diag "query $i, pushdown $pushdown: ", sprintf($query, $topic), "\n got  $got\n want $want" if $ndiffer++ < 5;
	}
	my $plan = $session->value('EXPLAIN (COSTS OFF, FORMAT json) ' . sprintf($query, $topic));

	next unless $plan =~ /"Order":/;
	$nordered++;
	$ordered_topics{$topic} = 1;
}
is($ndiffer, 0, "$nqueries queries give what they should, with pushdown and without");
cmp_ok($nordered, '>', $nqueries / 2, 'most of them by ordered scans');
is(scalar keys %ordered_topics, scalar @names, 'of all topics');

#
# Little is read for little, by the planner's own choice
#
my $BIG = 60_000;
my $DISORDER = 125;

# 5 messages a second in each of 4 partitions, up to 25 s back
$broker->feed(<<"EOF");
create-topic big partitions=4
generate big count=$BIG partitions=4 time=$base step=50 disorder=25000 value=v{n%1000}
EOF
create_table($node, 'big', 'k', $columns, topic => 'big', format => 'raw', timestamp_max_lag => '25s');
create_table($node, 'big_undeclared', 'k', $columns, topic => 'big', format => 'raw');
my $middle = sprintf "timestamptz 'epoch' + interval '%d ms'", $base + 25 * $BIG;

# What a window needs: itself, and of each partition the disorder's worth before
# and behind it; there may be a second, since the times looked at are disordered.
my $window = 10 + 2 * 4 * 2 * $DISORDER;

for my $case (
	[ 'ORDER BY o LIMIT 10', 40 ],
	[ 'ORDER BY o DESC LIMIT 10', 40 ],
	[ 'WHERE p = 2 ORDER BY o LIMIT 10', 10 ],
	[ 'WHERE p = 2 ORDER BY o DESC LIMIT 10', 10 ],
	[ 'WHERE p = 2 AND o < 5000 ORDER BY o DESC LIMIT 10 OFFSET 5', 15 ],
	[ 'ORDER BY p, o LIMIT 10', 10 ],
	[ 'ORDER BY p DESC LIMIT 10', 10 ],
	[ 'ORDER BY ts DESC LIMIT 10', $window ],
	[ 'ORDER BY ts LIMIT 10', $window ],
	[ "WHERE ts < $middle ORDER BY ts DESC LIMIT 10", $window ],
	[ "WHERE ts >= $middle ORDER BY ts LIMIT 10", $window ],
	[ "WHERE ts >= $middle AND p = 1 ORDER BY ts LIMIT 10", $window / 4 + 10 ])
{
	my ($query, $most) = @$case;
	my $read = messages_read($node, "SELECT * FROM big $query", enable_sort => 'on');

	cmp_ok($read, '<=', $most, $query);
	note "$query: read $read";
}
for my $case ([ 'max(ts) FROM big', $window ], [ 'max(o) FROM big', 4 ], [ 'max(ts) FROM big_undeclared', $window ])
{
	cmp_ok(messages_read($node, "SELECT $case->[0]", enable_sort => 'on'), '<=', $case->[1], $case->[0]);
}
is(messages_read($node, 'SELECT * FROM big ORDER BY ts DESC LIMIT 10', 'kafka_fdw.enable_pushdown' => 'off'),
	$BIG, 'all is read with pushdown off');
for my $order ('ts DESC', 'o DESC')
{
	my $prepared = KafkaFdw::Session->new($node);

	$prepared->value($_) for 'SET plan_cache_mode = force_generic_plan', "PREPARE newest AS SELECT * FROM big ORDER BY $order LIMIT 10",
	  'EXPLAIN EXECUTE newest', 'SET kafka_fdw.enable_pushdown = off';
	like($prepared->value('EXPLAIN (ANALYZE, FORMAT json) EXECUTE newest'), qr/"Messages Read": $BIG,/,
		"also by a plan by $order that was made before");
	$prepared->quit;
}
cmp_ok(messages_read($node, "SELECT * FROM big WHERE v = 'none' ORDER BY ts DESC LIMIT 1"),
	'<=', 3 * $BIG, 'a filter that lets nothing through reads all a few times');

#
# Two windows by the broker's own times, whose ends the records there prove: what
# lies between them and after them is not read.
#
$broker->feed("create-topic stamped message.timestamp.type=LogAppendTime\n");
create_table($node, 'stamped', 'k', $columns, topic => 'stamped', format => 'raw');
for my $batch (0 .. 4)
{
	$broker->feed("generate stamped count=1000 value=v{n}\n");
}
my @starts = split /\n/, $node->safe_psql('postgres', 'SELECT min(ts) FROM stamped GROUP BY o / 1000 ORDER BY 1');
my $windows = "(ts >= '$starts[0]' AND ts < '$starts[1]') OR (ts >= '$starts[2]' AND ts < '$starts[3]')";

cmp_ok(messages_read($node, "SELECT * FROM stamped WHERE $windows ORDER BY o DESC LIMIT 5", enable_sort => 'off'),
	'<=', 20, 'two windows that are proved, by offset, from the end');
is($node->safe_psql('postgres', "SELECT string_agg(o::text, ' ') FROM (SELECT o FROM stamped WHERE $windows ORDER BY o DESC LIMIT 3) AS q"),
	'2999 2998 2997', 'has its last');

#
# A cursor: what has been read is given while the broker is silent.
#
$session->run('BEGIN');
$session->run('DECLARE c CURSOR FOR SELECT o FROM big ORDER BY o DESC LIMIT 100');
is($session->value('FETCH c'), $BIG / 4 - 1, 'a cursor begins');
$broker->pause(1);
is($session->value('MOVE 96 FROM c; FETCH c'), $BIG / 4 - 25, 'and goes on with no broker, which is not asked');
$broker->resume(1);
$session->run('COMMIT');

#
# Limits, progress, cancel
#
my ($status, $out, $err) = $node->psql('postgres',
	"SET kafka_fdw.progress_interval = '1ms'; SELECT count(*) FROM (SELECT * FROM big ORDER BY ts DESC LIMIT 50000) AS q");
is($out, 50_000, 'a long ordered scan');
like($err, qr/NOTICE:  read \d+ messages of Kafka topic "big"/, 'tells how far it is');
($status, $out, $err) = $node->psql('postgres', 'SET kafka_fdw.max_scan_bytes = 100000; SELECT * FROM big ORDER BY o DESC LIMIT 20');
is(scalar(split /\n/, $out), 20, 'max_scan_bytes: what is little is allowed');
($status, $out, $err) = $node->psql('postgres',
	"SET kafka_fdw.max_scan_bytes = 100000; SELECT * FROM big WHERE v = 'none' ORDER BY o DESC LIMIT 20");
like($err, qr/would exceed the limit of 100000 bytes/, 'what grows to much is not');
$broker->pause(1);
my $started = time;
($status, $out, $err) = $node->psql('postgres', "SET statement_timeout = '2s'; SELECT * FROM big ORDER BY ts DESC LIMIT 20");
like($err, qr/canceling statement due to statement timeout/, 'a statement that waits for a window is cancelled');
cmp_ok(time - $started, '<', 6, 'in time');
$broker->resume(1);

#
# Memory: all records have one time, so no window is shorter than the topic.
#
my $ROWS = 30_000;
$broker->feed(<<"EOF");
create-topic heavy partitions=2
set batch.size=100000
generate heavy count=$ROWS partitions=2 time=$base step=0 value='{r}@{['x' x 2000]}'
EOF
create_server($node, 'small', $broker, memory_limit => '8MB');
create_table($node, 'heavy', 'small', $columns, topic => 'heavy', format => 'raw', timestamp_max_lag => '0');
create_table($node, 'tiny', 'small', $columns, topic => 'tied', format => 'raw');
for my $query ('SELECT max(length(v)) FROM (SELECT v FROM heavy ORDER BY ts DESC LIMIT 10) AS q',
	'SELECT max(length(v)) FROM (SELECT v FROM heavy ORDER BY ts LIMIT 29999) AS q',
	'SELECT max(length(v)) FROM (SELECT v FROM heavy ORDER BY o DESC LIMIT 29999) AS q')
{
	my $reader = KafkaFdw::Session->new($node);

	$reader->value('SELECT count(v) FROM (SELECT v FROM tiny ORDER BY o DESC LIMIT 20) AS q');
	append_to_file('/proc/' . $reader->pid . '/clear_refs', '5');
	my $idle_kb = { backend_usage($reader->pid) }->{rss_kb};

	$reader->run("SET work_mem = '64MB'");
	cmp_ok($reader->value($query), '>', 2000, $query);
	my ($peak_kb) = slurp_file('/proc/' . $reader->pid . '/status') =~ /^VmHWM:\s+(\d+)/m;

	note sprintf '%.0f MB over %.0f MB', ($peak_kb - $idle_kb) / 1024, $idle_kb / 1024;
	cmp_ok($peak_kb - $idle_kb, '<=', $MEMORY_KB + $SLACK_KB, 'stays within its memory');
	$reader->quit;
}
is($node->safe_psql('postgres', 'SELECT count(*) FROM pg_ls_tmpdir()'), 0, 'nothing is left on disk');

done_testing();
