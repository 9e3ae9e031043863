# Rollups against the truth: everything that is written is noted down, and the
# same aggregates over these notes, in an ordinary table, are what the rollup's
# table has to be, whatever the size of the batches: with aborted transactions,
# bad messages, late, early, refused and repeated ones. What is not counted is
# accounted for: as a dead letter or a duplicate.
use strict;
use warnings;
use Test::More;
use KafkaFdw::Broker;
use KafkaFdw::Ledger;
use KafkaFdw::Node qw(start_node create_server create_table);
use KafkaFdw::Rollup qw(create_rollup run_rollup run_error rollup_value run_sums positions distance difference);
use KafkaFdw::Session qw(wait_until);
use PostgreSQL::Test::Utils qw(slurp_file);

my $PARTITIONS = 3;
my $START_MS = 1_700_000_000_000;
my $STEP_MS = 2_000;
my $LATE_MS = 300_000;

# Batches of a message are as many transactions
my @SIZES = (1, 7, 1000);

srand(4711);

my $broker = KafkaFdw::Broker->new;
my $node = start_node('main');

sub query
{
	my ($sql) = @_;

	return $node->safe_psql('postgres', $sql);
}

#
# The messages. Each has a kind, which says what there is about it.
#
my $ledger = KafkaFdw::Ledger->new($broker, 'events',
	partitions => $PARTITIONS,
	config => 'message.timestamp.after.max.ms=9223372036854775807');
my $written = 0;

sub json_text
{
	my ($message) = @_;
	my @fields = map { '"' . $_ . '": ' . ($message->{$_} // 'null') } qw(id v num);

	push @fields, map { '"' . $_ . '": ' . (defined $message->{$_} ? "\"$message->{$_}\"" : 'null') } qw(k u);
	push @fields, '"f": ' . ($message->{f} eq 'NaN' ? '"NaN"' : $message->{f});
	return '{' . join(', ', @fields) . '}';
}

sub make_message
{
	my ($kind) = @_;
	my $id = $written++;
	my $time = $START_MS + $id * $STEP_MS - int rand 1500;
	my %message = (
		kind => $kind,
		partition => int rand $PARTITIONS,
		id => $id,
		k => (qw(a b c d), undef)[ rand 5 ],
		v => 1 + int rand 1000,
		num => sprintf('%.2f', rand 100),
		f => sprintf('%.3f', -50 + rand 100),
		u => 'user ' . int rand 300);

	$time -= $LATE_MS + 100_000 + int rand 300_000 if $kind eq 'late';
	$time = 4_000_000_000_000 + $id if $kind eq 'future';
	$message{v} = undef if rand > 0.9;
	$message{v} = 0 if $kind eq 'zero';
	$message{v} = -1 - int rand 100 if $kind eq 'refused';
	$message{f} = 'NaN' if $kind eq 'nan';
	$message{time} = $message{at} = $time;
	$message{key} = "key $id";
	$message{value} = json_text(\%message);
	$message{value} = substr($message{value}, 0, -5) if $kind eq 'cut';
	$message{value} =~ s/"id": \d+/"id": "x"/ if $kind eq 'type';
	return \%message;
}

# A repeated message comes to the same partition some messages later, or to
# another one, with the same content.
sub make_messages
{
	my ($count) = @_;
	my @kinds = (('good') x 80, qw(cut type zero nan late late future refused refused repeat repeat repeat));
	my @messages;

	while (@messages < $count)
	{
		my $kind = $kinds[ rand @kinds ];

		if ($kind ne 'repeat')
		{
			push @messages, make_message($kind);
			next;
		}
		my @good = grep { $_->{kind} eq 'good' } @messages[ (@messages > 40 ? -40 : 0) .. -1 ];

		push @messages, { %{ $good[ rand @good ] }, kind => 'repeat', partition => int rand $PARTITIONS } if @good;
	}
	return \@messages;
}

my $COLUMNS = 'kind text, id bigint, k text, v int, num numeric, f float8, u text, outcome text, key text, value text';

sub write_round
{
	$ledger->write(make_messages(150));
	$ledger->write_committed(make_messages(100));
	$ledger->write_aborted(make_messages(80));
	$ledger->write(make_messages(50));
	$ledger->write_aborted(make_messages(30));
	return;
}

#
# What becomes of each message in a rollup without conditions (plain), and in
# one with them (checked).
#
sub judge_plain
{
	my ($message) = @_;

	return 'decode' if $message->{kind} eq 'cut' || $message->{kind} eq 'type';
	return 'query' if $message->{kind} eq 'zero' || $message->{kind} eq 'nan';
	return 'counted';
}

# Of those with the same id that pass, the first is counted. Which one that is
# differs with the size of the batches, and does not matter, since their content
# is the same and nothing is late by a little.
sub judge_checked
{
	my @messages = @_;
	my %newest;
	my %seen;

	for my $message (@messages)
	{
		my $newest = \$newest{ $message->{partition} };

		$message->{checked} =
		    $message->{kind} eq 'cut' || $message->{kind} eq 'type' ? 'decode'
		  : defined $message->{v} && $message->{v} < 0 ? 'expect'
		  : defined $$newest && $message->{time} < $$newest - $LATE_MS ? 'late'
		  : $message->{kind} eq 'future' ? 'future'
		  : $message->{kind} eq 'zero' ? 'query'
		  : $seen{ $message->{id} }++ ? 'duplicate'
		  : 'counted';
		$$newest = $message->{time}
		  if $message->{checked} =~ /^(counted|duplicate)$/ && (!defined $$newest || $message->{time} > $$newest);
	}
	return;
}

sub load_truth
{
	query('DROP TABLE IF EXISTS truth');
	$_->{loaded} = {} for @{ $ledger->{records} };
	judge_checked($ledger->visible);
	$_->{plain} = judge_plain($_) for $ledger->visible;
	$ledger->load($node, 'truth', "$COLUMNS, plain text, checked text");
	return;
}

#
# The rollups
#
query('CREATE EXTENSION hll; CREATE EXTENSION tdigest');
create_server($node, 'logs', $broker);
create_table($node, 'events', 'logs', <<"EOF", topic => 'events', format => 'json');
p int OPTIONS (partition 'true'), o bigint OPTIONS (offset 'true'),
ts timestamptz OPTIONS (timestamp 'true'), id bigint, k text, v int, num numeric, f float8, u text
EOF
query("CREATE TABLE kinds (k text PRIMARY KEY, label text); INSERT INTO kinds VALUES ('a', 'A'), ('b', 'B'), ('c', 'A')");

my $BUCKET = q(date_bin('10 min', TIME, timestamptz '2000-01-01') AS bucket);
my $TRUE_TIME = q(to_timestamp(ts / 1000.0));

sub select_with_time
{
	my ($time, $columns, $from) = @_;

	return "SELECT " . ($BUCKET =~ s/TIME/$time/r) . ", $columns FROM $from GROUP BY 1, 2";
}

my $plain = <<'EOF' =~ s/\n/ /gr;
k, count(*) AS n, count(v) AS nv, sum(v) AS sv, sum(num) AS snum, sum(f) AS sf, min(v) AS minv, max(num) AS maxnum,
min(u) AS minu, avg(v) AS av, avg(num) AS anum, avg(f) AS af, stddev(f) AS sdf, var_pop(f) AS vpf, stddev(num) AS sdnum,
bool_or(v > 990) AS bo, bool_and(v > 5) AS ba, bit_and(v) AS band, bit_or(id) AS bor, sum(1000 / v) AS inverse,
count(*) FILTER (WHERE v > 500) AS large, hll_add_agg(hll_hash_text(u)) AS users
EOF
my $checked = 'k, count(*) AS n, sum(v) AS sv, sum(num) AS snum, sum(1000 / v) AS inverse, max(id) AS maxid';

sub limits
{
	return (
		expect => q('v >= 0 OR v IS NULL'),
		late_limit => "'$LATE_MS ms'",
		future_limit => q('1 hour'),
		options => q('{"unique_key": "id", "unique_within": "1 day"}'));
}

for my $size (@SIZES)
{
	create_rollup($node, "plain_$size", select_with_time('ts',
		"$plain, tdigest(f, 100) AS tf, kafka.first(id, ts) AS firstid, kafka.last(id, ts) AS lastid", 'events'));
	create_rollup($node, "checked_$size", select_with_time('ts', $checked, 'events'), limits());
	create_rollup($node, "joined_$size",
		select_with_time('ts', 'label, count(*) AS n, sum(num) AS snum', 'events JOIN kinds USING (k)'));
}
is(query('SELECT count(*), sum(n) FROM plain_1'), '0|', 'a rollup that has not run yet is empty');

# What comes back of a query with floats, to as many digits as any order of
# adding them has
my $ROUNDED = <<'EOF' =~ s/\n/ /gr;
bucket, k, n, nv, sv, snum, round(sf::numeric, 6) AS sf, minv, maxnum, minu, round(av, 10) AS av, round(anum, 10) AS anum,
round(af::numeric, 8) AS af, round(sdf::numeric, 8) AS sdf, round(vpf::numeric, 8) AS vpf, round(sdnum, 8) AS sdnum,
bo, ba, band, bor, inverse, large, users::text AS users
EOF

sub check_all
{
	my ($name) = @_;

	for my $size (@SIZES)
	{
		run_rollup($node, $_, max_rows => $size) for "plain_$size", "checked_$size", "joined_$size";
		check_plain("$name, batches of $size", $size);
		check_checked("$name, batches of $size", $size);
		check_joined("$name, batches of $size", $size);
	}
	return;
}

sub check_dead_letters
{
	my ($name, $rollup, $column) = @_;

	is(
		difference(
			$node,
			"SELECT kafka_partition, kafka_offset, stage, convert_from(value, 'UTF8'), convert_from(key, 'UTF8'),"
			  . " timestamp, topic, status, attempts FROM kafka.dead_letters WHERE rollup = '$rollup'",
			"SELECT p, o, $column, value, key, $TRUE_TIME, 'events', CASE WHEN $column IN ('late', 'future')"
			  . " THEN 'failed' ELSE 'new' END, 0 FROM truth WHERE $column NOT IN ('counted', 'duplicate')"),
		'',
		"$name: $rollup has the dead letters");
	return;
}

sub check_runs
{
	my ($name, $rollup, $size, $column) = @_;
	my $expected = query("SELECT count(*), count(*) FILTER (WHERE $column NOT IN ('counted', 'duplicate')),"
		  . " count(*) FILTER (WHERE $column = 'duplicate') FROM truth");

	is(run_sums($node, $rollup, 'batch', 'messages', 'dead_letters', 'duplicates'),
		$expected, "$name: $rollup accounts for all messages");
	is(
		query("SELECT count(*) FROM kafka.rollup_runs WHERE name = '$rollup' AND (event <> 'batch' OR messages > $size)"),
		0,
		"$name: $rollup has batches of the size asked for, and nothing else");
	is(query("SELECT sum(bytes) > 0, bool_and(finished_at >= started_at) FROM kafka.rollup_runs WHERE name = '$rollup'"),
		't|t', "$name: $rollup tells bytes and times");
	is(positions($node, $rollup), $ledger->ends, "$name: $rollup is at the end");
	is(distance($node, $rollup, 'events'), '', "$name: $rollup agrees with the broker on where that is");
	is(rollup_value($node, $rollup, 'state'), 'RUNNING', "$name: $rollup is well");
	return;
}

sub check_plain
{
	my ($name, $size) = @_;
	my $truth = select_with_time($TRUE_TIME, $plain, "truth WHERE plain = 'counted'");

	is(difference($node, "SELECT $ROUNDED FROM plain_$size", "SELECT $ROUNDED FROM ($truth) AS t"),
		'', "$name: all aggregates");
	is(
		difference(
			$node,
			"SELECT bucket, k, firstid, lastid FROM plain_$size",
			select_with_time(
				$TRUE_TIME,
				'k, (array_agg(id ORDER BY ts, p, o))[1], (array_agg(id ORDER BY ts DESC, p DESC, o DESC))[1]',
				"truth WHERE plain = 'counted'")),
		'',
		"$name: first and last");

	# A percentile estimated lies between the exact ones a little below and above.
	my $percentiles =
	  select_with_time($TRUE_TIME, 'k, array_agg(f ORDER BY f) AS f', "truth WHERE plain = 'counted'");

	is(
		query(<<"EOF"), '0|0', "$name: percentiles and their counts");
SELECT count(*) FILTER (WHERE r.n <> cardinality(t.f)),
       count(*) FILTER (WHERE r.estimate < t.f[greatest(1, floor((q - 0.05) * cardinality(t.f))::int - 1)]
                           OR r.estimate > t.f[least(cardinality(t.f), ceil((q + 0.05) * cardinality(t.f))::int + 1)])
  FROM (SELECT bucket, k, q, sum(tdigest_count(tf)) AS n, tdigest_percentile(tf, q) AS estimate
          FROM plain_$size, unnest(ARRAY[0.25, 0.5, 0.9]) AS q GROUP BY 1, 2, 3) AS r
  JOIN ($percentiles) AS t ON t.bucket = r.bucket AND t.k IS NOT DISTINCT FROM r.k
EOF
	check_runs($name, "plain_$size", $size, 'plain');
	check_dead_letters($name, "plain_$size", 'plain');
	is(
		run_sums($node, "plain_$size", 'batch', 'rows_selected'),
		query("SELECT count(*) FROM truth WHERE plain = 'counted'"),
		"$name: the rows selected");
	return;
}

sub check_checked
{
	my ($name, $size) = @_;

	is(
		difference(
			$node,
			"TABLE checked_$size",
			select_with_time($TRUE_TIME, $checked, "truth WHERE checked = 'counted'")),
		'',
		"$name: conditions and unique keys");
	check_runs($name, "checked_$size", $size, 'checked');
	check_dead_letters($name, "checked_$size", 'checked');
	return;
}

sub check_joined
{
	my ($name, $size) = @_;

	# Columns that the query does not need may hold anything.
	my $truth = "truth JOIN kinds USING (k) WHERE kind <> 'cut'";

	is(
		difference(
			$node,
			"TABLE joined_$size",
			select_with_time($TRUE_TIME, 'label, count(*), sum(num)', $truth)),
		'',
		"$name: a join");
	is(run_sums($node, "joined_$size", 'batch', 'rows_selected'), query("SELECT count(*) FROM $truth"),
		"$name: what a join leaves out shows in the rows selected");
	return;
}

write_round();
$ledger->check;
load_truth();
for my $kind (qw(decode query expect late future duplicate counted))
{
	cmp_ok(query("SELECT count(*) FROM truth WHERE '$kind' IN (plain, checked)"), '>=', 2, "there are messages of kind $kind");
}
cmp_ok(scalar(grep { $_->{outcome} eq 'abort' && $_->{kind} eq 'good' } @{ $ledger->{records} }), '>=', 50,
	'and aborted ones');
check_all('first runs');

write_round();
load_truth();
check_all('second runs');

my $before = query('SELECT count(*) FROM kafka.rollup_runs');
run_rollup($node, undef);
is(query('SELECT count(*) FROM kafka.rollup_runs'), $before, 'runs that find nothing leave nothing');
check_plain('a run over all', 7);

#
# A key is known in whatever partition it comes again, however far the others
# are, and forgotten after unique_within.
#
my $hour_ms = 3_600_000;
my $repeats = KafkaFdw::Ledger->new($broker, 'repeats', partitions => 2);

create_table($node, 'repeats', 'logs', q(ts timestamptz OPTIONS (timestamp 'true'), id int), topic => 'repeats');
for my $size (1, 1000)
{
	create_rollup($node, "repeats_$size", 'SELECT id, count(*) AS n FROM repeats GROUP BY 1',
		options => q('{"unique_key": "id", "unique_within": "1 h"}'));
}

sub repeat_ids
{
	my ($partition, $hours, @ids) = @_;

	$repeats->write([
		map { { partition => $partition, time => $START_MS + int $hours * $hour_ms, value => "{\"id\": $_}" } } @ids
	]);
	return;
}

sub check_repeats
{
	my ($name, $expected, $duplicates) = @_;

	for my $size (1, 1000)
	{
		run_rollup($node, "repeats_$size", max_rows => $size);
		is(query("SELECT string_agg(id || ':' || n, ' ' ORDER BY id) FROM repeats_$size"),
			$expected, "$name, batches of $size");
		is(run_sums($node, "repeats_$size", 'batch', 'duplicates'), $duplicates, "$name, batches of $size: duplicates");
	}
	return;
}

repeat_ids(0, 0, 1, 2, 3, 3);
check_repeats('repeated at once', '1:1 2:1 3:1', 1);
repeat_ids(0, 0.5, 1);
check_repeats('repeated within the time', '1:1 2:1 3:1', 2);
repeat_ids(0, 100, 7);
check_repeats('a partition goes far ahead', '1:1 2:1 3:1 7:1', 2);
repeat_ids(0, 100.5, 1);
check_repeats('a key after its time', '1:2 2:1 3:1 7:1', 2);
repeat_ids(1, 0.2, 2, 3, 9);
check_repeats('another partition is behind', '1:2 2:1 3:1 7:1 9:1', 4);

#
# Dead letters are counted when what was wrong is mended.
#
my $mended = KafkaFdw::Ledger->new($broker, 'mended');
my $MENDED = 'id int, at timestamptz, u text, bad text';

create_table($node, 'mended', 'logs', q(id int, at timestamptz OPTIONS (time_format 'unix_ms'), u text), topic => 'mended');
query(<<'EOF');
CREATE FUNCTION name_of(u text) RETURNS text LANGUAGE plpgsql STABLE AS $$
BEGIN
	IF u = 'poison' THEN
		RAISE 'no such user';
	END IF;
	RETURN upper(u);
END $$;
EOF
my $mended_query =
  q(SELECT date_bin('1 h', at, timestamptz '2000-01-01') AS bucket, name_of(u) AS who, count(*) AS n, sum(id) AS s FROM mended GROUP BY 1, 2);
create_rollup($node, 'mended_now', $mended_query);
create_rollup($node, 'mended_later', $mended_query, options => q('{"retry_limit": 2, "retry_delay": "100 ms"}'));
create_rollup($node, 'mended_never', $mended_query, options => q('{"retry_limit": 0}'));
$mended->write([
	map {
		my $text = $_ % 10 == 3 ? '"2023-11-14T22:13:20Z"' : 1_700_000_000_000 + $_;
		my $u = $_ % 25 == 1 ? 'poison' : 'user' . $_ % 3;

		{
			time => 1_700_000_000_000 + $_,
			value => "{\"id\": $_, \"at\": $text, \"u\": \"$u\"}",
			id => $_,
			u => $u,
			at => '2023-11-14 22:13:20+00',
			bad => $_ % 10 == 3 ? 'decode' : $u eq 'poison' ? 'query' : undef
		}
	} 1 .. 200
]);
$mended->load($node, 'mended_truth', $MENDED);
run_rollup($node, "mended_$_") for qw(now later never);

sub truth_of_mended
{
	my ($condition) = @_;

	return q(SELECT date_bin('1 h', at, timestamptz '2000-01-01'), upper(u), count(*), sum(id) FROM mended_truth)
	  . " WHERE $condition GROUP BY 1, 2";
}

sub letters
{
	my ($rollup) = @_;

	return query("SELECT string_agg(stage || ' ' || status || ' ' || attempts || ' ' || n, ', ' ORDER BY stage, status, attempts)"
		  . " FROM (SELECT stage, status, attempts, count(*) AS n FROM kafka.dead_letters WHERE rollup = '$rollup' GROUP BY 1, 2, 3) AS g");
}

for my $rollup (qw(now later never))
{
	is(difference($node, "TABLE mended_$rollup", truth_of_mended('bad IS NULL')), '', "mended_$rollup: the good ones");
}
is(letters('mended_now'), 'decode new 0 20, query new 0 8', 'dead letters of two stages');
is(letters('mended_never'), 'decode failed 0 20, query failed 0 8', 'retry_limit 0: failed at once');
is(
	query("SELECT DISTINCT stage, sqlstate FROM kafka.dead_letters WHERE rollup = 'mended_now' ORDER BY 1, 2"),
	"decode|22007\nquery|P0001",
	'their SQLSTATEs');
like(query("SELECT min(message) FROM kafka.dead_letters WHERE rollup = 'mended_now' AND stage = 'query'"),
	qr/no such user/, 'and messages');
is(query("SELECT loaded, failed FROM kafka.retry_dead_letters('mended_now')"), '0|28', 'nothing is mended yet');
is(letters('mended_now'), 'decode retry 1 20, query retry 1 8', 'an attempt is counted');
is(difference($node, 'TABLE mended_now', truth_of_mended('bad IS NULL')), '', 'and the table is what it was');

# Those that are due are tried by a run, as often as asked for.
wait_until(sub { run_rollup($node, 'mended_later'); letters('mended_later') eq 'decode failed 2 20, query failed 2 8' },
	'all retries');
is(run_sums($node, 'mended_later', 'retry', 'messages'), 56, 'each was tried twice by runs');
is(query("SELECT count(*) FROM kafka.dead_letters WHERE retry_at IS NOT NULL AND rollup = 'mended_later'"),
	0, 'and is not tried any more');

query("ALTER FOREIGN TABLE mended ALTER COLUMN at OPTIONS (SET time_format 'iso8601')");
my $first = query("SELECT min(id) FROM kafka.dead_letters WHERE rollup = 'mended_now' AND stage = 'decode'");
is(query("SELECT loaded, failed FROM kafka.retry_dead_letters('mended_now', ARRAY[$first])"), '1|0', 'one is mended, and asked for');
is(query("SELECT status, attempts FROM kafka.dead_letters WHERE id = $first"), 'done|2', 'done');
is(query("SELECT loaded, failed FROM kafka.retry_dead_letters('mended_now', ARRAY[$first])"), '0|0', 'not counted twice');
is(query("SELECT loaded, failed FROM kafka.retry_dead_letters('mended_now')"), '19|8', 'the others of that kind');
is(difference($node, 'TABLE mended_now', truth_of_mended("bad IS DISTINCT FROM 'query'")), '', 'the table has them');
query('CREATE OR REPLACE FUNCTION name_of(u text) RETURNS text LANGUAGE SQL STABLE RETURN upper(u)');
query("ALTER FOREIGN TABLE mended ALTER COLUMN at OPTIONS (SET time_format 'unix_ms')");
is(query("SELECT loaded, failed FROM kafka.retry_dead_letters('mended_now')"), '8|0', 'and the last');
is(letters('mended_now'), 'decode done 2 20, decode done 3 8', 'all are done; the stage is that of the last failure');
is(difference($node, 'TABLE mended_now', truth_of_mended('true')), '', 'the table has all');
is(query("SELECT loaded, failed FROM kafka.retry_dead_letters('mended_now')"), '0|0', 'nothing is left to be tried');
run_rollup($node, 'mended_now');
is(difference($node, 'TABLE mended_now', truth_of_mended('true')), '', 'nor does a run change it');
is(query("SELECT loaded, failed FROM kafka.retry_dead_letters('mended_later')"), '8|20', 'failed ones can be tried by hand');

#
# The circuit: too many failures are no data, they are a mistake.
#
my $broken = KafkaFdw::Ledger->new($broker, 'broken');

create_table($node, 'broken', 'logs', 'id int', topic => 'broken');
create_rollup($node, 'broken_all', 'SELECT id % 2 AS g, count(*) AS n FROM broken GROUP BY 1');
$broken->write([ map { { time => $START_MS + $_, value => "{\"id\": $_}" } } 1 .. 500 ]);
run_rollup($node, 'broken_all', max_rows => 200);
my $is_good = query('TABLE broken_all ORDER BY 1');
is($is_good, "0|250\n1|250", 'good ones');
$broken->write([ map { { time => $START_MS + $_, value => $_ % 5 < 3 ? 'junk' : "{\"id\": $_}" } } 1 .. 400 ]);
like(run_error($node, 'broken_all', max_rows => 200), qr/ERROR: .*broken_all/s, 'three of five are bad: an error');
is(rollup_value($node, 'broken_all', 'state'), 'PAUSED', 'the rollup is paused');
like(rollup_value($node, 'broken_all', 'reason'), qr/120 of 200 messages were bad.*offset 500/, 'with the reason');
is(query('TABLE broken_all ORDER BY 1'), $is_good, 'nothing of the batch is stored');
is(positions($node, 'broken_all'), '0:500', 'the position stands');
is(query("SELECT count(*) FROM kafka.dead_letters WHERE rollup = 'broken_all'"), 0, 'no dead letters');
is(query("SELECT count(*) FROM kafka.rollup_runs WHERE name = 'broken_all' AND event = 'pause'"), 1, 'the runs tell it');
like(run_error($node, 'broken_all'), qr/ERROR:  55000:.*paused.*alter_rollup/s, 'a paused one does not run');
is(run_error($node, undef), 'no error', 'and is left out of a run over all');
is(positions($node, 'broken_all'), '0:500', 'which leaves it alone');
query(q(SELECT kafka.alter_rollup('broken_all', options => '{"error_limit": 0.7}', enabled => true)));
run_rollup($node, 'broken_all', max_rows => 200);
is(query('TABLE broken_all ORDER BY 1'), "0|330\n1|330", 'with another limit it goes on');
is(letters('broken_all'), 'decode new 0 240', 'with the bad ones as dead letters');
is(positions($node, 'broken_all'), '0:900', 'to the end');

#
# A few bad messages cost little, and many end at once.
#
my $LARGE = 50_000;
my $ROUNDS = 3;
my $at = "generate %s first=%d count=%d time=$START_MS step=1 value='{\"id\": {n}, \"v\": {n%%1000+1}}'\n";
my %bad = (
	clean => sub { '' },
	undecodable => sub { "produce $_[0] time=$START_MS value=junk\n" },
	failing => sub { "produce $_[0] time=$START_MS value='{\"id\": 1, \"v\": 0}'\n" });
my %seconds;

sub time_run
{
	my ($name) = @_;
	my $topic = $name =~ s/_\d+$//r;

	create_rollup($node, $name, "SELECT id % 100 AS g, count(*) AS n, sum(1000 / v) AS s FROM $topic GROUP BY 1");

	my $session = KafkaFdw::Session->new($node);
	my $result = $session->run("CALL kafka.run_rollups('$name')");

	$session->quit;
	return $result;
}

for my $name (sort keys %bad)
{
	$broker->feed("create-topic $name\n"
		  . join($bad{$name}->($name), map { sprintf $at, $name, $_ * $LARGE / 4, $LARGE / 4 } 0 .. 3));
	create_table($node, $name, 'logs', 'id int, v int', topic => $name);
	for my $round (1 .. $ROUNDS)
	{
		my $result = time_run("${name}_$round");

		is($result->{error}, '', "$name, round $round");
		is(run_sums($node, "${name}_$round", 'batch', '1', 'messages', 'rows_selected', 'dead_letters'),
			join('|', 1, $LARGE + ($name eq 'clean' ? 0 : 3), $LARGE, $name eq 'clean' ? 0 : 3),
			"$name, round $round: one batch with what is bad");
		$seconds{$name} = $result->{seconds} if !defined $seconds{$name} || $result->{seconds} < $seconds{$name};
	}
	is(query("SELECT sum(n), sum(s) FROM ${name}_1"), query("SELECT count(*), sum(1000 / (n % 1000 + 1)) FROM generate_series(0, $LARGE - 1) AS n"),
		"$name: all that is good is counted");
}
for my $name ('undecodable', 'failing')
{
	note sprintf '%s: %.2f s, clean: %.2f s', $name, $seconds{$name}, $seconds{clean};
	cmp_ok($seconds{$name}, '<', 2 * $seconds{clean}, "$name: 3 of $LARGE cost less than twice as much");
}
for my $name ('undecodable', 'failing')
{
	my $topic = "all_$name";

	$broker->feed("create-topic $topic\n" . ($name eq 'failing'
		  ? "generate $topic count=$LARGE time=$START_MS value='{\"id\": {n}, \"v\": 0}'\n"
		  : "generate $topic count=$LARGE time=$START_MS value='junk {n}'\n"));
	create_table($node, $topic, 'logs', 'id int, v int', topic => $topic);

	my $result = time_run("${topic}_1");

	isnt($result->{sqlstate}, undef, "$topic: an error");
	is(rollup_value($node, "${topic}_1", 'state'), 'PAUSED', "$topic: paused");
	is(positions($node, "${topic}_1"), '0:0', "$topic: within the first batch");
	is(query("SELECT count(*) FROM ${topic}_1"), 0, "$topic: nothing is stored");
	is(query("SELECT string_agg(event, ' ') FROM kafka.rollup_runs WHERE name = '${topic}_1'"), 'pause', "$topic: and told");
	note sprintf '%s: %.2f s', $topic, $result->{seconds};
	cmp_ok($result->{seconds}, '<', 4 * $seconds{clean} + 1, "$topic: quickly");
}

unlike(slurp_file($node->logfile), qr/WARNING|TRAP|PANIC|terminated by signal/, 'the server has nothing to complain of');

done_testing();
