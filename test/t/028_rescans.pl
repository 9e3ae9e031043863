# What a rescan asks the brokers: a join of many rows to windows of a topic goes
# through a proxy that reads the requests, kind by kind.
use strict;
use warnings;
use PostgreSQL::Test::Utils;
use Test::More;
use KafkaFdw::Meter;
use KafkaFdw::Node qw(start_node create_server create_table);
use KafkaFdw::Session;

# A round trip is what one waits for before the next can begin: both lookups of a
# window go out together, to all leaders, and then its messages are fetched from
# all.  A row costs three of these at most, however many partitions and leaders
# there are; and where there is one partition, three requests.
my $ROWS = 1000;
my $FEW_ROWS = 200;
my $TRIPS = 3;

# Once a query, beside what its rows ask: metadata, ends, starts, settings, and
# what a handle asks by itself while the query takes its time.
my $ONCE = 60;

# What may be added where more than one partition is read: one that is started a
# moment after the others misses their request, and each leader has its own.
my $SECOND_ASKING = 3;
my $NODES = 3;

our $meter = KafkaFdw::Meter->new;
my $broker = $meter->broker;
my $node = start_node('main', timezone => 'UTC', jit => 'off');

create_server($node, 'logs', $meter->address, broker_clock_skew => '0');
my $columns = q(p int OPTIONS (partition 'true'), o bigint OPTIONS (offset 'true'), ts timestamptz OPTIONS (timestamp 'true'), n int);
my $script = "set batch.size=16384\n";

# One message every 100 ms, in batches such as producers make.
for my $partitions (1, 4, 16)
{
	$script .= "create-topic t$partitions partitions=$partitions\n"
	  . "generate t$partitions count=100000 partitions=$partitions time=2024-05-01T00:00:00Z step=100 "
	  . "value='{\"n\": {n}, \"pad\": \"@{['x' x 60]}\"}'\n";
	create_table($node, "t$partitions", 'logs', $columns, topic => "t$partitions", timestamp_max_lag => '0');
}
$broker->feed($script);
create_table($node, 'settings', 'logs', $columns, topic => 'settings');
create_table($node, 'trimmed', 'logs', $columns, topic => 'trimmed', timestamp_max_lag => '0');
$broker->feed("create-topic trimmed partitions=1\n"
	  . "generate trimmed count=1000 partitions=1 time=2024-05-01T00:00:00Z step=100 value='{\"n\": {n}}'\n"
	  . "delete-records trimmed 0 100\nwait-start trimmed 0 100\n"
	  . "create-topic settings partitions=1 message.timestamp.before.max.ms=200000000000 message.timestamp.after.max.ms=1000\n"
	  . "generate settings count=1000 partitions=1 time=2024-05-01T00:00:00Z step=100 value='{\"n\": {n}}'\n");

my $session = KafkaFdw::Session->new($node);
$session->value(<<"SQL");
CREATE TABLE w AS SELECT id, timestamptz '2024-05-01' + (id * 7919 % 9900) * interval '1 s' AS a FROM generate_series(1, $ROWS) AS id;
CREATE TABLE few AS SELECT * FROM w LIMIT $FEW_ROWS;
CREATE TABLE adjacent AS SELECT id, timestamptz '2024-05-01' + id * interval '1 s' AS a FROM generate_series(1, $FEW_ROWS) AS id;
ANALYZE w, few;
ANALYZE adjacent
SQL

# The inner side of a join that is a scan for each outer row; window is a condition
sub join_to
{
	my ($outer, $table, $window) = @_;

	return "SELECT sum(c) FROM $outer AS w, LATERAL (SELECT count(*) AS c FROM $table AS t WHERE $window OFFSET 0) AS s";
}

my $second = "ts >= w.a AND ts < w.a + interval '1 s'";

# Runs a query on a handle that has read the topic; checks its answer, and that
# each of its rows has cost at most $requests requests, and $TRIPS round trips,
# and reports what it did cost.
sub costs
{
	my ($name, $table, $query, $expected, $requests, $rows) = @_;
	my $result;

	$rows //= $FEW_ROWS;

	$session->value("SELECT count(*) FROM $table WHERE ts < '2024-05-01 00:00:01'");
	my %asked = $meter->requests(sub { $result = $session->run($query) });
	my $sum = $asked{Fetch} + $asked{ListOffsets};

	is($result->{output}, $expected, "$name: the answer");
	cmp_ok($sum, '<=', $requests * $rows + $ONCE, "$name: at most $requests requests a row");
	cmp_ok($asked{waits}, '<=', $TRIPS * $rows + $ONCE, "$name: at most $TRIPS round trips a row");
	cmp_ok($asked{Metadata} + $asked{DescribeConfigs}, '<=', $ONCE, "$name: the topic is described once a query, not a row");
	is($asked{connections}, 0, "$name: by the handle that is there");
	diag(sprintf '%s: %.2f ms, %.2f ListOffsets, %.2f Fetch, %.2f waits a row', $name, $result->{seconds} * 1000 / $rows,
		$asked{ListOffsets} / $rows, $asked{Fetch} / $rows, $asked{waits} / $rows);
	return %asked;
}

costs('one partition', 't1', join_to('w', 't1', $second), 10 * $ROWS, $TRIPS, $ROWS);
for my $partitions (4, 16)
{
	costs("$partitions partitions", "t$partitions", join_to('few', "t$partitions", $second), 10 * $FEW_ROWS,
		$TRIPS + $SECOND_ASKING);
}
my %asked = costs('adjacent windows', 't1', join_to('adjacent', 't1', $second), 10 * $FEW_ROWS, 2);
cmp_ok($asked{ListOffsets}, '<=', $FEW_ROWS + $ONCE, 'adjacent windows: the end of one is the start of the next');
costs('overlapping windows', 't1', join_to('adjacent', 't1', "ts >= w.a AND ts < w.a + interval '2 s'"), 20 * $FEW_ROWS, 2);
%asked = costs('the same window again', 't1', join_to('(SELECT id % 10 AS a FROM few)', 't1',
		"ts >= timestamptz '2024-05-01' + w.a * interval '1 s' AND ts < timestamptz '2024-05-01' + (w.a + 1) * interval '1 s'"),
	10 * $FEW_ROWS, 1);
cmp_ok($asked{ListOffsets}, '<=', $ONCE, 'the same window again: is not looked up again');

# Windows without rows: between two records, before the first, after the last
%asked = costs('no rows', 't1', join_to('few', 't1', "ts > w.a + interval '20 ms' AND ts < w.a + interval '80 ms'"), 0, 2);
cmp_ok($asked{Fetch}, '<=', $ONCE, 'no rows: nothing is fetched');
%asked = costs('before the first', 't1', join_to('few', 't1', "ts >= w.a - interval '1 y' AND ts < w.a - interval '1 y' + interval '1 s'"), 0, 2);
cmp_ok($asked{Fetch}, '<=', $ONCE, 'before the first: nothing is fetched');
costs('after the last', 't1', join_to('few', 't1', "ts >= w.a + interval '1 y' AND ts < w.a + interval '1 y' + interval '1 s'"), 0, $TRIPS);
costs('after the last of a log that has been trimmed', 'trimmed', join_to('few', 'trimmed', "ts >= w.a + interval '1 y'"), 0, $TRIPS);

# Offsets need no lookup.
%asked = costs('an offset', 't1', join_to('few', 't1', 'p = 0 AND o = w.id * 97'), $FEW_ROWS, 1);
cmp_ok($asked{ListOffsets}, '<=', $ONCE, 'an offset: is not looked up');
costs('LIMIT 1', 't1', 'SELECT count(*) FROM few AS w, LATERAL (SELECT n FROM t1 WHERE ts >= w.a LIMIT 1) AS s', $FEW_ROWS, 2);
costs('as a plain join', 't1', "SET enable_hashjoin = off; SET enable_mergejoin = off; SELECT count(*) FROM few AS w JOIN t1 AS t ON t.ts >= w.a AND t.ts < w.a + interval '1 s'",
	10 * $FEW_ROWS, $TRIPS);

# A topic whose settings bound the disorder is asked for them once a query.
%asked = costs('by settings', 'settings',
	join_to('adjacent', 'settings', "$second AND ts < '2024-05-01 00:01:00'"), 10 * 59, $TRIPS);
is($asked{DescribeConfigs}, 1, 'by settings: which are asked for once');

# Never more than one handle, whatever the join
my $before = $session->value('SELECT kafka.disconnect()');
$session->value(join_to('few', 't1', $second));
is($session->value('SELECT kafka.disconnect()'), 1, 'one handle has been used');

# Partitions of several leaders
{
	local $meter = KafkaFdw::Meter->new(nodes => $NODES);

	create_server($node, 'many', $meter->address, broker_clock_skew => '0');
	create_table($node, 't6', 'many', $columns, topic => 't6', timestamp_max_lag => '0');
	$meter->broker->feed("set batch.size=16384\ncreate-topic t6 partitions=6\n"
		  . "generate t6 count=100000 partitions=6 time=2024-05-01T00:00:00Z step=100 value='{\"n\": {n}}'\n");
	$session->value('SELECT count(*) FROM t6 WHERE o < 1');
	costs("$NODES leaders", 't6', join_to('few', 't6', $second), 10 * $FEW_ROWS, $NODES * ($TRIPS + $SECOND_ASKING));
	is($session->value('SELECT kafka.disconnect()'), 1, 'one handle for all leaders');
}

# What EXPLAIN says of it
my $plan = join "\n", $session->value("EXPLAIN (ANALYZE, COSTS OFF) @{[join_to('few', 't1', $second)]}");
like($plan, qr/ Loops: $FEW_ROWS$/m, 'EXPLAIN: the loops');
like($plan, qr/ Ranges: $FEW_ROWS$/m, 'EXPLAIN: the ranges of all of them');
like($plan, qr/ First Ranges: 0: \d+ to \d+, .*, \.\.\.$/m, 'EXPLAIN: the first of these');
like($plan, qr/ Messages Read: @{[10 * $FEW_ROWS]}$/m, 'EXPLAIN: the messages of all of them');
my ($lookups) = $plan =~ / Lookups: (\d+)$/m;
cmp_ok($lookups, '<=', 2 * $FEW_ROWS + 2, 'EXPLAIN: the lookups');
cmp_ok($lookups, '>=', $FEW_ROWS, 'EXPLAIN: the lookups are counted');

my $log = PostgreSQL::Test::Utils::slurp_file($node->logfile);
unlike($log, qr/TRAP|PANIC|leak|terminated by signal/, 'the server is well');

done_testing();
