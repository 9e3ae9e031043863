# What ANALYZE finds out of topics and what it reads for that, the estimates of
# the planner against what queries then count, and the plans that follow.
use strict;
use warnings;
use JSON::PP;
use Time::HiRes qw(time);
use PostgreSQL::Test::Utils;
use Test::More;
use KafkaFdw::Broker;
use KafkaFdw::Node qw(start_node create_server create_table backend_usage);
use KafkaFdw::Session qw(wait_until);

# Rows of the sample with the default statistics target
my $SAMPLE = 30_000;

# What the sample and its statistics may take, beside the rows' memory_limit
my $ANALYZE_KB = 32 * 1024;

my $PLANNING_MS = 5;
my $CANCEL_S = 1;

my $base_ms = 1_767_225_600_000;    # 2026-01-01 00:00 UTC
my $record = q(p int OPTIONS (partition 'true'), o bigint OPTIONS (offset 'true'), ts timestamptz OPTIONS (timestamp 'true'));

my $broker = KafkaFdw::Broker->new;
my $node = start_node('main', jit => 'off', timezone => 'UTC', autovacuum_naptime => '1s',
	max_parallel_workers_per_gather => 0);

create_server($node, 'k', $broker, broker_clock_skew => '0');

# A table of a topic whose times are in order
sub table
{
	my ($topic, $columns, %options) = @_;

	$columns = join ', ', $record, $columns // ();
	create_table($node, $topic, 'k', $columns, topic => $topic, timestamp_max_lag => '0', %options);
	return;
}

sub plan_of
{
	my ($session, $query) = @_;

	return decode_json($session->value("EXPLAIN (FORMAT JSON) $query"))->[0]{Plan};
}

sub estimate
{
	my ($session, $query) = @_;

	return plan_of($session, $query)->{'Plan Rows'};
}

sub within_factor
{
	my ($got, $expected, $factor, $name) = @_;

	ok(defined $got && $got ne '' && $got <= $expected * $factor && $got >= $expected / $factor, "$name: about $expected")
	  or diag('it is ' . ($got // 'nothing'));
	return;
}

# The rows estimated by a session, and those that another one counts
my %counts;

sub check_estimate
{
	my ($session, $table, $condition, $name, $factor) = @_;
	my $query = "SELECT count(*) FROM $table WHERE $condition";
	my $count = $counts{$query} // $node->safe_psql('postgres', $query);

	$counts{$query} = $count if $query !~ /now\(\)/;

	cmp_ok($count, '>', 0, "$name: there are rows");
	within_factor(estimate($session, "SELECT * FROM $table WHERE $condition"), $count, $factor // 2, $name);
	return;
}

sub statistics
{
	my ($table, $column, $what) = @_;

	return $node->safe_psql('postgres', "SELECT $what FROM pg_stats WHERE tablename = '$table' AND attname = '$column'");
}

# Of each of the most common values its frequency
sub frequencies
{
	my ($table, $column) = @_;

	return { map { split /=/ } split /\n/, $node->safe_psql('postgres',
		"SELECT v || '=' || f FROM pg_stats, unnest(most_common_vals::text::text[], most_common_freqs) AS x(v, f) "
		  . "WHERE tablename = '$table' AND attname = '$column'") };
}

# ANALYZE VERBOSE; what it says of the sample
sub analyze
{
	my ($table, $session) = @_;
	my $own = $session ? undef : KafkaFdw::Session->new($node);
	my $result = ($session // $own)->run("ANALYZE VERBOSE $table");
	my %said;

	@said{qw(messages read offsets bad rows total)} = $result->{error} =~
	  /INFO:  .*"$table": read (\d+) messages at (\d+) of (\d+) offsets, (\d+) of them bad; (\d+) rows in sample, (\d+) estimated/
	  or die "ANALYZE $table: $result->{error}";
	$said{reltuples} = $node->safe_psql('postgres', "SELECT reltuples FROM pg_class WHERE relname = '$table'");
	$own->quit if $own;
	return \%said;
}

# ----------------------------------------------------------------
# Topics
# ----------------------------------------------------------------

my $transactions = '';
for my $n (0 .. 79)
{
	my $start_ms = $base_ms + $n * 1_000_000;
	my $end = $n % 4 == 3 ? 'abort' : 'commit';

	$transactions .= "begin t\ngenerate transactions count=1000 time=$start_ms step=1000 value='{\"kind\": \"$end\"}'\n$end\n";
}

# Two partitions beside a large one
my $small_parts = join '', map { "$_->[0]\t" . ($base_ms + $_->[1] * 1000) . "\t\\N\t{\"event\": \"small\"}\n" }
  (map { [ 1, $_ ] } 0 .. 999), (map { [ 2, $_ ] } 0 .. 9);

my $x20000 = 'x' x 20_000;

$broker->feed(<<"EOF");
set batch.num.messages=500
create-topic big partitions=3
generate big count=1000000 partitions=3 time=$base_ms step=100 value='{"n": {n}, "event": "{r%10}", "user": "u{r%5000}"}'
create-topic halves partitions=2
generate halves count=60000 partitions=2 time=$base_ms step=100 value='{"event": "a"}'
generate halves first=60000 count=60000 partitions=2 time=$base_ms step=100 value='{"event": "b"}'
create-topic skewed partitions=4
generate skewed count=90000 time=$base_ms step=100 value='{"event": "large"}'
copy skewed
$small_parts\\.
create-topic transactions
${transactions}use -
create-topic bad
generate bad count=4000 time=$base_ms step=1000 value='{"n": {n}}'
generate bad first=4000 count=1000 time=$base_ms step=1000 value='{"n": "no number"}'
generate bad first=5000 count=1000 time=$base_ms step=1000 value='no JSON'
create-topic empty partitions=3
create-topic large_rows
set batch.num.messages=10
generate large_rows count=6000 time=$base_ms step=1000 value='{"s": "{n} $x20000"}'
set batch.num.messages=500
create-topic live
generate live count=17280 time=now-259200000 step=10000 value='{}'
EOF

table('big', 'n int, event text, "user" text');
table('halves', 'event text');
table('skewed', 'event text');
table('transactions', 'kind text');
table('bad', 'n int');
table('bad_null', 'n int, junk text OPTIONS (junk \'true\')', topic => 'bad');
table('bad_skip', 'n int', topic => 'bad', on_error => 'skip');
table('empty', 'n int');
create_server($node, 'limited', $broker, memory_limit => '16MB');
create_table($node, 'large_rows', 'limited', 's text', topic => 'large_rows');
table('live');

# ----------------------------------------------------------------
# What ANALYZE finds
# ----------------------------------------------------------------

my $first = KafkaFdw::Session->new($node);
is(estimate($first, 'SELECT * FROM big'), 1_000_000, 'a topic that nobody has counted');
within_factor(estimate($first, "SELECT * FROM big WHERE ts >= '2026-01-01' AND ts < '2026-01-02'"), 5000, 1.01,
	'a window of it is what the planner takes one for');

my $said = analyze('big');
cmp_ok($said->{messages}, '<=', $SAMPLE, 'ANALYZE reads no more than its sample');
cmp_ok($said->{messages}, '>', $SAMPLE * 0.9, 'and nearly that');
is($said->{messages}, $said->{read}, 'at as many offsets');
is($said->{offsets}, 1_000_000, 'of all');
within_factor($said->{reltuples}, 1_000_000, 1.01, 'rows of a large topic');
is(statistics('big', 'p', 'n_distinct'), 3, 'partitions');
within_factor(statistics('big', 'event', 'n_distinct'), 10, 1.01, 'few values');
within_factor(statistics('big', 'user', 'n_distinct'), 5000, 1.1, 'many values');
is(statistics('big', 'n', 'n_distinct'), -1, 'all values different');
is(statistics('big', 'ts', q((histogram_bounds::text::timestamptz[])[1] = '2026-01-01 00:00+00' AND (histogram_bounds::text::timestamptz[])[101] >= timestamptz '2026-01-01 00:00+00' + 999990 * interval '100 ms')),
	't', 'the histogram of times begins and ends with the topic');
is(statistics('big', 'ts', 'array_length(histogram_bounds::text::text[], 1)'), 101, 'and has all its bars');

# The sample has its own bounds
$node->safe_psql('postgres', "SET kafka_fdw.max_scan_bytes = '10kB'; ANALYZE halves");
my $halves = frequencies('halves', 'event');
within_factor($halves->{a}, 0.5, 1.02, 'what is in the first half only');
within_factor($halves->{b}, 0.5, 1.02, 'what is in the second half only');

$said = analyze('skewed');
within_factor($said->{reltuples}, 91_010, 1.01, 'partitions of very different sizes');
within_factor(frequencies('skewed', 'p')->{0}, 90_000 / 91_010, 1.01, 'the large one has its share');
within_factor(frequencies('skewed', 'event')->{small}, 1010 / 91_010, 1.5, 'and the small ones theirs');

my $aware = KafkaFdw::Session->new($node);
$said = analyze('transactions', $aware);
is($said->{offsets}, 80_080, 'markers and aborted records have offsets');
within_factor($said->{reltuples}, 60_000, 1.03, 'but are no rows');
is_deeply([ keys %{ frequencies('transactions', 'kind') } ], ['commit'], 'nor in the sample');
within_factor(estimate($aware, 'SELECT * FROM transactions'), 60_000, 1.03, 'also for who has seen the ends');
$aware->quit;

for my $table ('bad', 'bad_null', 'bad_skip')
{
	my $rows = $table eq 'bad_skip' ? 4000 : 6000;

	$said = analyze($table);
	is($said->{bad}, 2000, "$table: bad messages are counted");
	is($said->{reltuples}, $rows, "$table: rows");
	within_factor(statistics($table, 'n', '1 - null_frac'), 4000 / $rows, 1.01, "$table: values");
}
is(statistics('bad_null', 'junk', 'round(null_frac::numeric, 2)'), '0.67', 'junk columns are sampled');

$said = analyze('empty');
is($said->{reltuples}, 0, 'an empty topic');

# What a sample takes: 6,000 rows of 20 kB are seven times the limit
{
	my $session = KafkaFdw::Session->new($node);

	$session->value('SELECT count(*) FROM empty');
	open my $file, '>', '/proc/' . $session->pid . '/clear_refs' or die "could not reset the peak: $!";
	print $file 5;
	close $file or die;
	my $idle_kb = { backend_usage($session->pid) }->{rss_kb};
	$said = analyze('large_rows', $session);
	my ($peak_kb) = slurp_file('/proc/' . $session->pid . '/status') =~ /^VmHWM:\s+(\d+)/m;
	note sprintf 'ANALYZE of large rows: %.0f MB, %d messages read, %d rows', ($peak_kb - $idle_kb) / 1024,
	  @{$said}{qw(messages rows)};
	cmp_ok($peak_kb - $idle_kb, '<=', 16 * 1024 + $ANALYZE_KB, 'the memory of a sample of large rows');
	cmp_ok($said->{rows}, '>=', 300, 'which is a sample still');
	cmp_ok($said->{messages} * 20_000, '<=', 4 * 16 * 1024 * 1024 * 1.2, 'the bytes read are bounded, too');
	within_factor($said->{reltuples}, 6_000, 1.01, 'and the rows of the topic counted');
	$session->quit;
}

# ----------------------------------------------------------------
# Estimates
# ----------------------------------------------------------------

my %windows = (
	'a window inside' => "ts >= '2026-01-01 10:00' AND ts < '2026-01-01 10:30'",
	'a short window' => "ts >= '2026-01-01 10:00:10' AND ts < '2026-01-01 10:00:20'",
	'a window at the start' => "ts < '2026-01-01 00:10'",
	'a window at the end' => "ts >= '2026-01-02 03:40'",
	'a window across the end' => "ts >= '2026-01-02 03:40' AND ts < '2026-01-03'",
	'all but an hour' => "ts >= '2026-01-01 01:00'",
	'two windows' => "((ts >= '2026-01-01 10:00' AND ts < '2026-01-01 10:30') OR (ts >= '2026-01-01 20:00' AND ts < '2026-01-01 20:15'))",
	'two windows that overlap' => "((ts >= '2026-01-01 10:00' AND ts < '2026-01-01 10:30') OR (ts >= '2026-01-01 10:10' AND ts < '2026-01-01 10:40'))",
	'an offset range' => 'o BETWEEN 1000 AND 1999',
	'an offset range in a partition' => 'o BETWEEN 1000 AND 1999 AND p = 1',
	'a partition' => 'p = 2',
	'all but one partition' => 'p <> 2',
	'partitions' => 'p IN (0, 2)',
	'offsets' => 'o IN (5, 10, 20, 5000)',
	'a record' => 'p = 1 AND o = 77',
	'a window in a partition' => "p = 1 AND ts >= '2026-01-01 10:00' AND ts < '2026-01-01 11:00'",
	'a window and a field' => "event = '3' AND ts >= '2026-01-01 10:00' AND ts < '2026-01-01 11:00'",
	'a window or an offset range' => "((ts >= '2026-01-01 10:00' AND ts < '2026-01-01 10:30') OR (o < 5000 AND p = 0))");

my $fresh = KafkaFdw::Session->new($node);
for my $name (sort keys %windows)
{
	check_estimate($fresh, 'big', $windows{$name}, "by ANALYZE, $name");
}
my $seen = KafkaFdw::Session->new($node);
$seen->value('SELECT count(*) FROM big WHERE p = 0 AND o < 10');
for my $name (sort keys %windows)
{
	check_estimate($seen, 'big', $windows{$name}, "with the ends seen, $name");
}
is(estimate($seen, "SELECT * FROM big WHERE ts < '2025-01-01'"), 1, 'a window before the topic');
is(estimate($seen, "SELECT * FROM big WHERE o > 1000000"), 1, 'offsets after the end');

# Without statistics: by what was asked before
$node->safe_psql('postgres', "DELETE FROM pg_statistic WHERE starelid = 'big'::regclass");
for my $name ('a window inside', 'two windows', 'a window in a partition')
{
	my $session = KafkaFdw::Session->new($node);

	$session->value("SELECT count(*) FROM big WHERE $windows{$name}");
	check_estimate($session, 'big', $windows{$name}, "by the offsets asked for, $name", 1.1);
	within_factor(estimate($session, 'SELECT * FROM big'), 1_000_000, 1.01, "by the ends seen, $name");
	$session->quit;
}
analyze('big');

# A topic that goes on after ANALYZE, at the same rate
analyze('live');
is($node->safe_psql('postgres', 'SELECT count(*) FROM live'), 17_280, 'a topic of two days');
$broker->feed("generate live count=8640 time=now-86400000 step=10000 value='{}'\n");
$fresh->quit;
$fresh = KafkaFdw::Session->new($node);
check_estimate($fresh, 'live', "ts >= now() - interval '10 minutes'", 'ten minutes a day after ANALYZE');
check_estimate($fresh, 'live', "ts >= now() - interval '12 hours'", 'half a day a day after ANALYZE');
check_estimate($fresh, 'live', "ts >= now() - interval '30 hours' AND ts < now() - interval '20 hours'", 'across the time of ANALYZE');
check_estimate($fresh, 'live', "ts >= now() - interval '60 hours' AND ts < now() - interval '50 hours'", 'before ANALYZE');
is(estimate($fresh, 'SELECT * FROM live'), 17_280, 'all of it, as it was');
$fresh->value('SELECT count(*) FROM live WHERE o < 10');
is(estimate($fresh, 'SELECT * FROM live'), 25_920, 'all of it, as it was seen');
check_estimate($fresh, 'live', "ts >= now() - interval '10 minutes'", 'ten minutes, with the growth seen');
check_estimate($fresh, 'live', "ts >= now() - interval '60 hours' AND ts < now() - interval '50 hours'", 'before ANALYZE, with the growth seen');

# A topic that has lost its beginning
$broker->feed("delete-records live 0 12960\nwait-start live 0 12960\n");
$fresh->quit;
$fresh = KafkaFdw::Session->new($node);
$fresh->value('SELECT count(*) FROM live');
is(estimate($fresh, 'SELECT * FROM live'), 12_960, 'a topic that has lost its beginning');
check_estimate($fresh, 'live', "ts >= now() - interval '10 minutes'", 'ten minutes of what is left');
check_estimate($fresh, 'live', "ts < now() - interval '24 hours'", 'what is left before ANALYZE');
$fresh->quit;

# ----------------------------------------------------------------
# Plans
# ----------------------------------------------------------------

sub scans
{
	my ($plan) = @_;
	my @scans = $plan->{'Node Type'} eq 'Foreign Scan' ? $plan : ();

	push @scans, map { scans($_) } @{ $plan->{Plans} // [] };
	return @scans;
}

sub execution_of
{
	my ($session, $query) = @_;

	return decode_json($session->value("EXPLAIN (ANALYZE, FORMAT JSON) $query"))->[0];
}

# Is the foreign table scanned anew for each outer row?
sub seeks_per_row
{
	my ($session, $query) = @_;
	my ($scan) = scans(plan_of($session, $query));

	return ($scan->{Filter} // '') =~ /\bouter_rows\./ ? 1 : 0;
}

$node->safe_psql('postgres', <<"EOF");
CREATE TABLE few (t timestamptz, off bigint, n int);
INSERT INTO few SELECT timestamptz '2026-01-01 00:00+00' + n * interval '1 min', n * 100, n FROM generate_series(1, 10) AS n;
CREATE TABLE thousand (t timestamptz, off bigint, n int);
INSERT INTO thousand SELECT timestamptz '2026-01-01 00:00+00' + n * interval '1 min', n * 100, n FROM generate_series(1, 1000) AS n;
CREATE TABLE many (t timestamptz, off bigint, n int);
INSERT INTO many SELECT timestamptz '2026-01-01 00:00+00' + n * interval '1 s', n, n FROM generate_series(1, 100000) AS n;
ANALYZE few, thousand, many;
EOF
$broker->feed("create-topic small\ngenerate small count=1000 time=$base_ms step=100 value='{}'\n");
table('small');
analyze('small');

my $windows = 'FROM %s AS outer_rows JOIN %s AS k ON k.ts >= outer_rows.t AND k.ts < outer_rows.t + interval \'%s\'';
my $offsets = 'FROM %s AS outer_rows JOIN %s AS k ON k.o = outer_rows.off';

for my $kind ('by ANALYZE', 'with the ends seen')
{
	my $session = KafkaFdw::Session->new($node);

	if ($kind ne 'by ANALYZE')
	{
		$session->value("SELECT count(*) FROM $_ WHERE o < 10") for 'big', 'small';
	}
	ok(seeks_per_row($session, 'SELECT k.* ' . sprintf $windows, 'thousand', 'big', '10 s'), "$kind: small windows of a large topic");
	ok(!seeks_per_row($session, 'SELECT k.* ' . sprintf $windows, 'thousand', 'big', '20 hours'), "$kind: windows of most of it");
	ok(!seeks_per_row($session, 'SELECT k.* ' . sprintf $windows, 'thousand', 'small', '10 s'), "$kind: windows of a small topic");
	ok(seeks_per_row($session, 'SELECT k.* ' . sprintf $offsets, 'few', 'big'), "$kind: few offsets");
	ok(!seeks_per_row($session, 'SELECT k.* ' . sprintf $offsets, 'many', 'big'), "$kind: many offsets");
	ok(!seeks_per_row($session, 'SELECT k.* ' . sprintf $offsets, 'few', 'small'), "$kind: few offsets of a small topic");
	$session->quit;
}

# Windows that other tables have in one value, and what else forms take from them
$node->safe_psql('postgres', <<'EOF');
CREATE TABLE windows AS SELECT t, tstzrange(t, t + interval '10 s') AS range, int8range(off, off + 10) AS offsets,
	tstzmultirange(tstzrange(t, t + interval '10 s')) AS ranges, ARRAY[t, t + interval '5 s'] AS times, off, n % 3 AS part,
	interval '1 hour' AS shift, text 'UTC' AS zone, text 'minute' AS unit FROM few;
ANALYZE windows;
EOF
{
	my $session = KafkaFdw::Session->new($node);
	my %conditions = (
		'a range' => [ 'k.ts <@ outer_rows.range', 10 * 102 ],
		'a range of offsets' => [ 'k.o <@ outer_rows.offsets', 10 * 3 * 10 ],
		'a multirange' => [ 'k.ts <@ outer_rows.ranges', 10 * 102 ],
		'an array' => [ 'k.ts = ANY (outer_rows.times)', 10 * 2 * 4 ],
		'an array of its columns' => [ 'k.o = ANY (ARRAY[outer_rows.off, outer_rows.off + 1]) AND k.p = outer_rows.part', 10 * 2 ],
		'an interval' => [ q(k.ts + outer_rows.shift BETWEEN '2026-01-01 10:00' AND '2026-01-01 10:00:10'), 10 * 104 ],
		'a zone' => [ 'k.ts AT TIME ZONE outer_rows.zone = outer_rows.t::timestamp', 10 * 4 ],
		'a unit' => [ 'date_trunc(outer_rows.unit, k.ts) = outer_rows.t', 10 * 604 ],);

	for my $name (sort keys %conditions)
	{
		my ($condition, $most) = @{ $conditions{$name} };
		my $query = "SELECT k.* FROM windows AS outer_rows JOIN big AS k ON $condition";

		ok(seeks_per_row($session, $query), "$name of another table");
		my ($scan) = scans(execution_of($session, $query)->{Plan});
		cmp_ok($scan->{'Messages Read'}, '<=', $most, "$name of another table: messages read");
		note "$name: $scan->{'Messages Read'} read, $scan->{'Plan Rows'} rows expected";
	}
	$session->quit;
}

# Where nothing bounds how late records come, a window is read to the end.
create_table($node, 'unbounded', 'k', $record, topic => 'big');
analyze('unbounded');
{
	my $session = KafkaFdw::Session->new($node);

	ok(!seeks_per_row($session, 'SELECT k.* ' . sprintf $windows, 'thousand', 'unbounded', '10 s'), 'windows without an end');
	$session->quit;
}

# The plans are worth it.
{
	my $session = KafkaFdw::Session->new($node);
	my $query = 'SELECT count(*) ' . sprintf $windows, 'thousand', 'big', '10 s';
	my $plan = execution_of($session, $query);
	my ($scan) = scans($plan->{Plan});

	is($scan->{'Actual Loops'}, 1000, 'a rescan for each row');
	within_factor($scan->{'Plan Rows'}, 100, 1.5, 'of so many rows');
	cmp_ok($scan->{'Messages Read'}, '<=', 1000 * (100 + 3), 'which reads the windows');
	note sprintf '1,000 windows of 100 messages: %.0f ms, estimated cost %.0f', $plan->{'Execution Time'}, $plan->{Plan}{'Total Cost'};
	$session->quit;
}

# ----------------------------------------------------------------
# Rights, cancelling, autovacuum
# ----------------------------------------------------------------

# It is read as the owner, whoever asks for it.
$node->safe_psql('postgres', <<"EOF");
CREATE ROLE owner LOGIN;
CREATE ROLE other LOGIN;
CREATE SERVER login FOREIGN DATA WRAPPER kafka_fdw OPTIONS (brokers '${\ $broker->brokers}', security_protocol 'sasl_plaintext', sasl_mechanism 'PLAIN');
CREATE USER MAPPING FOR CURRENT_USER SERVER login OPTIONS (username 'u', password 'p');
CREATE FOREIGN TABLE owned (n int) SERVER login OPTIONS (topic 'big');
ALTER FOREIGN TABLE owned OWNER TO owner;
CREATE FOREIGN TABLE of_other (n int) SERVER k OPTIONS (topic 'big');
GRANT ALL ON of_other TO other;
EOF
{
	my $session = KafkaFdw::Session->new($node);
	my $result = $session->run('ANALYZE owned');

	like($result->{error}, qr/user name and password|"username"/, 'ANALYZE uses the mapping of the table\'s owner');
	$session->quit;
	$session = KafkaFdw::Session->new($node, user => 'other');
	$result = $session->run('ANALYZE of_other');
	like($result->{error}, qr/skipping "of_other"/, 'and is for the owner');
	is($node->safe_psql('postgres', "SELECT reltuples FROM pg_class WHERE relname = 'of_other'"), -1, 'nothing was read for another role');
	$session->quit;
}

# Partitions of a partitioned table
$node->safe_psql('postgres', <<'EOF');
CREATE TABLE parts (LIKE halves) PARTITION BY LIST (event);
ALTER TABLE parts ATTACH PARTITION halves FOR VALUES IN ('a', 'b');
CREATE TABLE local_part PARTITION OF parts DEFAULT;
INSERT INTO local_part SELECT 0, 0, now(), 'c' FROM generate_series(1, 60000);
ANALYZE parts;
EOF
my $shares = { map { split /=/ } split /\n/, $node->safe_psql('postgres',
	"SELECT v || '=' || f FROM pg_stats, unnest(most_common_vals::text::text[], most_common_freqs) AS x(v, f) "
	  . "WHERE tablename = 'parts' AND attname = 'event' AND inherited") };
within_factor($shares->{$_}, 1 / 3, 1.5, "a partitioned table's sample has its foreign table's share, $_") for 'a', 'b', 'c';

# Autovacuum has its hands off foreign tables, while it analyzes others.
$node->safe_psql('postgres', <<'EOF');
CREATE FOREIGN TABLE untouched (n int) SERVER k OPTIONS (topic 'big');
CREATE TABLE touched (n int) WITH (autovacuum_analyze_threshold = 1, autovacuum_analyze_scale_factor = 0);
INSERT INTO touched SELECT generate_series(1, 1000);
EOF
wait_until(sub { $node->safe_psql('postgres', "SELECT count(*) FROM pg_stat_user_tables WHERE relname = 'touched' AND last_autoanalyze IS NOT NULL") },
	'autovacuum analyzes an ordinary table');
is($node->safe_psql('postgres', "SELECT reltuples FROM pg_class WHERE relname = 'untouched'"), -1, 'but not a foreign one');

# Cancelled while the broker is silent
{
	my $session = KafkaFdw::Session->new($node);
	my $control = KafkaFdw::Session->new($node);

	$session->value('SELECT count(*) FROM big WHERE o < 5');
	$broker->pause(1);
	$session->send('ANALYZE big');
	$control->await_running($session, 0.3);
	my $start = time;
	$control->value('SELECT pg_cancel_backend(' . $session->pid . ')');
	my $result = $session->result;
	is($result->{sqlstate}, '57014', 'ANALYZE can be cancelled');
	cmp_ok(time - $start, '<=', $CANCEL_S, 'at once');
	$broker->resume(1);
	cmp_ok(analyze('big', $session)->{messages}, '>', 0, 'and goes on in the session');
	$session->quit;
	$control->quit;
}

# ----------------------------------------------------------------
# Without brokers
# ----------------------------------------------------------------

my @names = map { "c$_" } 1 .. 30;
$broker->feed("create-topic wide partitions=200\ngenerate wide count=20000 partitions=200 time=$base_ms step=100 value='{}'\n");
table('wide', join ', ', map { "$_ text" } @names);
analyze('wide');

my $offline = KafkaFdw::Session->new($node);
my $offline_seen = KafkaFdw::Session->new($node);
$offline_seen->value("SELECT count(*) FROM wide WHERE ts >= '2026-01-01 00:00:10' AND ts < '2026-01-01 00:00:20'");
$broker->stop;

my @queries = (
	'SELECT * FROM wide',
	"SELECT * FROM wide WHERE ts >= '2026-01-01 00:00:10' AND ts < '2026-01-01 00:00:20'",
	'SELECT * FROM wide WHERE p IN (' . join(', ', map { $_ * 2 } 0 .. 99) . ')',
	"SELECT * FROM thousand AS outer_rows JOIN wide AS k ON k.ts >= outer_rows.t AND k.ts < outer_rows.t + interval '10 s'",
	'SELECT * FROM wide WHERE ' . join(' OR ', map { "(p = $_ AND o > $_)" } 0 .. 19),
	"SELECT * FROM wide WHERE (p = ANY ('{" . join(',', map { $_ * 2 } 0 .. 99) . "}') AND o = ANY ('{"
	  . join(',', map { $_ * 3 } 0 .. 99) . "}')) OR ts > now()");
for my $session ($offline, $offline_seen)
{
	for my $query (@queries)
	{
		my @times;

		for (1 .. 7)
		{
			push @times, decode_json($session->value("EXPLAIN (SUMMARY, FORMAT JSON) $query"))->[0]{'Planning Time'};
		}
		my ($median) = (sort { $a <=> $b } @times)[3];
		note sprintf '%.2f ms (%.2f to start with): %.60s', $median, $times[0], $query;
		cmp_ok($median, '<', $PLANNING_MS, sprintf 'planning without a broker: %.60s', $query);
	}
}

done_testing();
