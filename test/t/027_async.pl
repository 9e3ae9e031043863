# Topics below one Append are read side by side: the same rows as one after the
# other, in all shapes of queries, with each child's own counts; whoever waits
# for one of two brokers obeys at once and within its time limits; and whatever
# ends a query early leaves nothing behind.
use strict;
use warnings;
use JSON::PP;
use Time::HiRes qw(time usleep);
use Test::More;
use KafkaFdw::Broker;
use KafkaFdw::Node qw(start_node create_server create_table backend_usage);
use KafkaFdw::Session qw(wait_until);

# A wait ends at once; that of the end of a handle after 0.5 s (END_PATIENCE_MS)
# at the latest. The rest is for a busy machine; who heeds no interrupt waits
# for tens of seconds, see the server's time-outs.
my $LIMIT_S = 3;

# Lets a scan read ahead 2 MB or 8192 messages, a part of the large topics, so
# that it fills its queue, stalls and waits, however fast the broker is.
my $MEMORY_LIMIT = '8MB';
my $BIG = 60_000;

# See 032_leaks.pl
my $RSS_SLACK_KB = 4 * 1024;
my $ROUNDS = 3;

# More than may read at a time (MAX_READING)
my $MANY = 12;
my $MAX_READING = 8;

my $near = KafkaFdw::Broker->new;
my $far = KafkaFdw::Broker->new;
my $large = "count=$BIG partitions=2 time=1000000 step=1 value='{\"n\": {n}, \"pad\": \"@{['x' x 150]}\"}'";

$near->feed(<<"EOF");
create-topic one partitions=3
generate one count=3000 partitions=3 time=1000000 step=10 value='{"n": {n}}'
create-topic two
generate two count=500 time=1000000 step=100 value='{"n": {n}}'
create-topic empty partitions=2
create-topic bad
generate bad count=20000 time=1000000 value='{"n": {n}}'
produce bad value='{"n": "no number"}'
create-topic near_big partitions=2
set batch.size=65536
generate near_big $large
EOF
$near->feed(join '', map { "create-topic many$_\ngenerate many$_ count=200 time=1000000 value='{\"n\": {n}}'\n" } 1 .. $MANY);
$far->feed(<<"EOF");
create-topic three partitions=2
generate three count=2000 partitions=2 time=1000000 step=10 value='{"n": {n}}'
create-topic far_big partitions=2
set batch.size=65536
generate far_big $large
EOF

my $node = start_node('main', jit => 'off');
my %patient = (connect_timeout => '60s', fetch_timeout => '60s', max_silence => '2min', memory_limit => $MEMORY_LIMIT);
my $columns = q(kafka_topic text OPTIONS (topic 'true'), p int OPTIONS (partition 'true'),
	o bigint OPTIONS (offset 'true'), ts timestamptz OPTIONS (timestamp 'true'), n int);

create_server($node, 'near', $near, %patient);
create_server($node, 'far', $far, %patient);
create_server($node, 'far_hasty', $far, %patient, fetch_timeout => '2s', connect_timeout => '2s');
create_table($node, $_, 'near', $columns, topic => $_, timestamp_max_lag => '0') for qw(one two empty bad near_big);
create_table($node, $_, 'far', $columns, topic => $_, timestamp_max_lag => '0') for qw(three far_big);
create_table($node, 'far_hasty', 'far_hasty', $columns, topic => 'far_big');
create_table($node, "many$_", 'near', $columns, topic => "many$_") for 1 .. $MANY;

# A partitioned table whose partitions are topics, of both servers, and one of
# this database
$node->safe_psql('postgres', <<"EOF");
CREATE TABLE log (kafka_topic text, p int, o bigint, ts timestamptz, n int) PARTITION BY LIST (kafka_topic);
@{[ map {
	my ($topic, $server) = @$_;
	"CREATE FOREIGN TABLE log_$topic PARTITION OF log FOR VALUES IN ('$topic') SERVER $server
		OPTIONS (topic '$topic', timestamp_max_lag '0');
	ALTER FOREIGN TABLE log_$topic ALTER kafka_topic OPTIONS (topic 'true'), ALTER p OPTIONS (partition 'true'),
		ALTER o OPTIONS (offset 'true'), ALTER ts OPTIONS (timestamp 'true');"
  } [ one => 'near' ], [ two => 'near' ], [ empty => 'near' ], [ three => 'far' ] ]}
CREATE TABLE log_local PARTITION OF log FOR VALUES IN ('local');
INSERT INTO log SELECT 'local', 0, n, to_timestamp(1000 + n), n FROM generate_series(1, 300) n;
CREATE TABLE w (id int, topic text, a int, b int);
INSERT INTO w VALUES (1, 'one', 10, 20), (2, 'two', 3, 8), (3, 'three', 900, 2000), (4, 'local', 1, 5),
	(5, 'empty', 0, 9), (6, NULL, 0, 9), (7, 'one', 500, 400), (8, 'two', 0, 1), (9, 'nowhere', 1, 2);
ANALYZE w;
CREATE VIEW many AS @{[ join ' UNION ALL ', map { "SELECT * FROM many$_" } 1 .. $MANY ]};
CREATE FUNCTION plan_of(query text) RETURNS text LANGUAGE plpgsql AS \$\$
DECLARE
	line text;
	plan text := '';
BEGIN
	FOR line IN EXECUTE 'EXPLAIN (COSTS OFF) ' || query LOOP
		plan := plan || line || E'\\n';
	END LOOP;
	RETURN plan;
END \$\$;
EOF

my $session = KafkaFdw::Session->new($node);

$session->value(q(SET TimeZone = 'UTC'));

# Runs a query with and without; returns the rows of both.
sub both
{
	my ($query) = @_;
	my @rows;

	for my $async ('off', 'on')
	{
		$session->value("SET enable_async_append = $async");
		push @rows, $session->value($query);
	}
	return @rows;
}

sub plan_of
{
	my ($query) = @_;

	return $session->value("SELECT plan_of(\$q\$$query\$q\$)");
}

#
# The same rows
#
my $union = '(SELECT * FROM one UNION ALL SELECT * FROM two UNION ALL SELECT * FROM three)';
my %queries = (
	'partitioned' => 'SELECT * FROM log ORDER BY 1, 2, 3',
	'partitioned, aggregate' => 'SELECT kafka_topic, count(*), sum(n), min(ts), max(ts) FROM log GROUP BY 1 ORDER BY 1',
	'UNION ALL' => "SELECT kafka_topic, count(*), sum(n) FROM $union u GROUP BY 1 ORDER BY 1",
	'UNION ALL of columns in other orders' =>
	  q(SELECT sum(x), max(y), count(*) FROM (SELECT n AS x, o AS y FROM one UNION ALL SELECT o, n FROM three) u),
	'the same topic twice' =>
	  'SELECT kafka_topic, count(*), sum(o) FROM (SELECT * FROM one UNION ALL SELECT * FROM two UNION ALL SELECT * FROM one) u GROUP BY 1 ORDER BY 1',
	'mixed with local tables' =>
	  "SELECT kafka_topic, count(*), sum(n) FROM (SELECT * FROM log_local UNION ALL SELECT * FROM one UNION ALL SELECT * FROM three) u GROUP BY 1 ORDER BY 1",
	'one topic among local tables' =>
	  'SELECT count(*), sum(n) FROM (SELECT n FROM log_local UNION ALL SELECT n FROM one UNION ALL SELECT id FROM w) u',
	'filter that few pass' => 'SELECT * FROM log WHERE n % 499 = 7 ORDER BY 1, 2, 3',
	'filter that none passes' => 'SELECT count(*) FROM log WHERE n < 0',
	'window' => q(SELECT kafka_topic, p, o, n FROM log WHERE ts >= '1970-01-01 00:16:50+00' AND ts < '1970-01-01 00:16:55+00' ORDER BY 1, 2, 3),
	'offsets' => 'SELECT kafka_topic, p, o, n FROM log WHERE o BETWEEN 200 AND 210 ORDER BY 1, 2, 3',
	'nothing at all' => 'SELECT count(*) FROM log WHERE o < 0',
	'projection' => q(SELECT upper(kafka_topic) || n FROM log WHERE n < 5 ORDER BY 1),
	'LIMIT' => 'SELECT count(*), count(n) FROM (SELECT * FROM log LIMIT 1234) s',
	'LIMIT 0' => 'SELECT count(*) FROM (SELECT * FROM log LIMIT 0) s',
	'LIMIT in a join' => 'SELECT id, count(*) FROM w, LATERAL (SELECT n FROM log WHERE n >= w.a LIMIT 7) s GROUP BY 1 ORDER BY 1',
	'EXISTS' => 'SELECT id FROM w WHERE EXISTS (SELECT FROM log WHERE n = w.a AND o > 5) ORDER BY id',
	'correlated subqueries' =>
	  'SELECT id, (SELECT count(*) FROM log WHERE o >= w.a AND o < w.b) FROM w ORDER BY id',
	'LATERAL windows' => q(SELECT id, s.kafka_topic, s.n FROM w, LATERAL (SELECT * FROM log WHERE ts >= to_timestamp(1000 + w.a)
		AND ts < to_timestamp(1000 + w.b) OFFSET 0) s ORDER BY 1, 2, 3),
	'pruned at run time by an outer row' => 'SELECT id, s.o, s.n FROM w, LATERAL (SELECT * FROM log WHERE kafka_topic = w.topic
		AND o >= w.a AND o < w.b OFFSET 0) s ORDER BY 1, 2, 3',
	'pruned at run time by a subquery' =>
	  q(SELECT kafka_topic, count(*) FROM log WHERE kafka_topic = (SELECT topic FROM w WHERE id = 3) GROUP BY 1),
	'pruned to nothing' => q(SELECT count(*) FROM log WHERE kafka_topic = (SELECT topic FROM w WHERE id = 9)),
	'bounds of a subquery' => 'SELECT count(*), sum(n) FROM log WHERE o < (SELECT max(b) FROM w WHERE id < 3)',
	'subplan in the list' => 'SELECT n, (SELECT count(*) FROM w WHERE w.a < log.n) FROM log WHERE n < 12 ORDER BY 1, 2',
	'hash join of two appends' => 'SELECT count(*), sum(a.n) FROM log a JOIN log b USING (kafka_topic, p, o)',
	'nested loop of two appends' => 'SELECT count(*), sum(a.n + b.n) FROM (SELECT * FROM log WHERE o < 3) a,
		LATERAL (SELECT * FROM log WHERE o = a.o + 1 OFFSET 0) b',
	'recursion' => 'WITH RECURSIVE r AS (SELECT 0 AS i UNION ALL SELECT i + 1 FROM r
		WHERE i < 5 AND EXISTS (SELECT FROM log WHERE o = r.i AND n > 2)) SELECT max(i) FROM r',
	'data-modifying' => 'WITH x AS (SELECT n FROM log WHERE n < 4), y AS (DELETE FROM w WHERE id > 100 RETURNING id)
		SELECT count(*) + (SELECT count(*) FROM y) FROM x',
	'prepared' => q(PREPARE q AS SELECT kafka_topic, count(*) FROM log WHERE kafka_topic = ANY ($1) GROUP BY 1 ORDER BY 1;
		SET plan_cache_mode = force_generic_plan; EXECUTE q ('{one,three}'); EXECUTE q ('{two}'); EXECUTE q ('{}');
		DEALLOCATE q; RESET plan_cache_mode),
	'more than read at a time' => 'SELECT kafka_topic, count(*), sum(n) FROM many GROUP BY 1 ORDER BY 1',
	'more than read at a time, rescans' =>
	  'SELECT id, (SELECT count(*) FROM many WHERE o >= w.a AND o < w.b) FROM w ORDER BY id',
	'stalls' => 'SELECT kafka_topic, count(*), sum(n) FROM (SELECT * FROM near_big UNION ALL SELECT * FROM far_big) u GROUP BY 1 ORDER BY 1');

for my $name (sort keys %queries)
{
	for my $hint ('', 'SET LOCAL enable_hashjoin = off; SET LOCAL enable_mergejoin = off; SET LOCAL enable_material = off; ')
	{
		next if $hint && $queries{$name} !~ /JOIN|LATERAL/;
		my ($sync, $async) = both("BEGIN; $hint$queries{$name}; COMMIT");

		is($async, $sync, $name . ($hint ? ', nested loops' : ''));
	}
}
like(plan_of($queries{partitioned}), qr/Append(.*Async Foreign Scan on){4}/s, 'children are planned to be read at a time');
unlike(plan_of($queries{partitioned}), qr/[^c] Foreign Scan/, 'all of them');
like(plan_of($queries{'pruned at run time by an outer row'}), qr/Async Foreign Scan/, 'so are pruned ones');
$session->value('SET enable_async_append = off');
unlike(plan_of($queries{partitioned}), qr/Async/, 'enable_async_append = off');
$session->value('RESET enable_async_append');

#
# Rows against what was produced
#
is($session->value('SELECT kafka_topic, count(*), sum(n) FROM log GROUP BY 1 ORDER BY 1'),
	"local|300|45150\none|3000|4498500\nthree|2000|1999000\ntwo|500|124750", 'every message once');
is($session->value('SELECT count(*), count(DISTINCT (kafka_topic, p, o)) FROM many'),
	$MANY * 200 . '|' . $MANY * 200, 'more than read at a time: every message once');

#
# Cursors: back and forth, left in the middle
#
is( $session->value(
		q(BEGIN; DECLARE c SCROLL CURSOR FOR SELECT n FROM log; MOVE ALL IN c; MOVE ABSOLUTE 0 IN c;
			CREATE TEMP TABLE got (n int) ON COMMIT DROP;
			DO $$ DECLARE r record; c refcursor := 'c'; BEGIN
				FOR i IN 1..5800 LOOP FETCH NEXT FROM c INTO r; INSERT INTO got VALUES (r.n); END LOOP;
				FETCH NEXT FROM c INTO r;
				IF FOUND THEN RAISE 'too many'; END IF;
			END $$; SELECT count(*), sum(n) FROM got; COMMIT)),
	'5800|6667400', 'SCROLL cursor');
is($session->value('BEGIN; DECLARE c CURSOR FOR SELECT n FROM log; MOVE 100 IN c; CLOSE c;
	DECLARE c CURSOR FOR SELECT n FROM many; MOVE 2000 IN c; SELECT count(*) FROM log; COMMIT'),
	'5800', 'cursors left in the middle');
$session->value('SELECT kafka.disconnect()');
$session->value('BEGIN; DECLARE c CURSOR FOR SELECT n FROM many; MOVE 1 IN c');
my $handles = grep { (readlink // '') eq 'anon_inode:[eventfd]' } glob '/proc/' . $session->pid . '/fd/*';
$session->value('COMMIT');
cmp_ok($handles, '<=', $MAX_READING, 'no more handles than may read at a time');
cmp_ok($handles, '>', 1, 'but more than one');

#
# EXPLAIN ANALYZE: each child's own counts
#

# The scans of a query by topic, and by '' what is said of all of it.
sub scans_of
{
	my ($query) = @_;
	my $explained = decode_json($session->value("EXPLAIN (ANALYZE, FORMAT JSON) $query"))->[0];
	my @nodes = ($explained->{Plan});
	my %scans = ('' => $explained);

	while (my $found = shift @nodes)
	{
		push @nodes, @{ $found->{Plans} // [] };
		$scans{ $found->{Topic} } = $found if $found->{Topic};
	}
	return \%scans;
}

my $scans = scans_of('SELECT * FROM log WHERE n % 10 = 3');
my %counts = (one => [ 3000, 300, 1 ], two => [ 500, 50, 1 ], three => [ 2000, 200, 1 ], empty => [ 0, 0, 1 ]);
for my $topic (sort keys %counts)
{
	my $scan = $scans->{$topic};

	ok($scan->{'Async Capable'}, "EXPLAIN: $topic is read so");
	is_deeply([ @{$scan}{ 'Messages Read', 'Actual Rows', 'Actual Loops' } ], $counts{$topic}, "EXPLAIN: counts of $topic");
	is($scan->{'Rows Removed by Filter'} // 0, $counts{$topic}[0] - $counts{$topic}[1], "EXPLAIN: rows removed of $topic");
}
$scans = scans_of("SELECT n FROM $union u LIMIT 10");
my $given = 0;
$given += $scans->{$_}{'Actual Rows'} for qw(one two three);
cmp_ok($given, '>=', 10, 'EXPLAIN: with LIMIT the children give what it takes ...');
cmp_ok($given, '<=', 10 + 3, '... and at most a row more each');

$scans = scans_of('SELECT * FROM near_big UNION ALL SELECT * FROM far_big');
for my $topic ('near_big', 'far_big')
{
	my $scan = $scans->{$topic};

	is($scan->{'Messages Read'}, $BIG, "EXPLAIN: messages of $topic");
	cmp_ok($scan->{'Broker Wait Time'}, '>', 0, "EXPLAIN: $topic has waited");
	cmp_ok($scan->{'Broker Wait Time'}, '<=', $scans->{''}{'Execution Time'}, 'EXPLAIN: no longer than the query took');
}

#
# Time limits while one of two brokers is stopped
#
my $two_brokers = 'SELECT * FROM near_big UNION ALL SELECT * FROM far_big';
my $opened = "BEGIN; DECLARE c CURSOR FOR $two_brokers; MOVE 100 IN c";
my %phases = (
	'cold' => { query => "SELECT count(*) FROM ($two_brokers) u" },
	'warm' => { before => "SELECT count(*) FROM ($two_brokers) u", query => "SELECT count(*) FROM ($two_brokers) u" },
	'reading' => { before => $opened, query => 'MOVE ALL IN c' });

for my $name (sort keys %phases)
{
	my $phase = $phases{$name};

	for my $end ('cancel', 'statement_timeout', 'terminate')
	{
		my $control = KafkaFdw::Session->new($node);
		my $victim = KafkaFdw::Session->new($node);
		my $begin;

		$victim->value($phase->{before}) if $phase->{before};
		$victim->value('SET statement_timeout = 1500') if $end eq 'statement_timeout';
		$far->pause;
		$victim->send($phase->{query});
		if ($end eq 'statement_timeout')
		{
			my $result = $victim->result;

			is($result->{sqlstate}, '57014', "$name, $end: ends the query");
			cmp_ok($result->{seconds}, '<', 1.5 + $LIMIT_S, "$name, $end: in time");
		}
		else
		{
			if ($name eq 'reading')
			{
				# The near topic is read to its end by then.
				$control->await_state($victim, wait_event => 'AppendReady', state => 'active');
				$control->await_running($victim, 1);
			}
			else
			{
				$control->await_running($victim, 0.5);
			}
			$begin = time;
			$control->value("SELECT pg_${end}_backend(" . $victim->pid . ')');
			my $result = $victim->result;
			is($result->{sqlstate}, $end eq 'cancel' ? '57014' : '57P01', "$name, $end: ends the query");
			cmp_ok(time - $begin, '<', $LIMIT_S, "$name, $end: at once");
			note sprintf '%s, %s: after %.3f s', $name, $end, time - $begin;
		}
		$far->resume;
		if ($end ne 'terminate')
		{
			$victim->run('ROLLBACK; RESET statement_timeout');
			is($victim->value("SELECT count(*) FROM ($two_brokers) u"), 2 * $BIG, "$name, $end: the session is usable");
		}
		$_->quit for $victim, $control;
	}
}

# The broker is back in time: nothing is lost.
{
	my $control = KafkaFdw::Session->new($node);
	my $patient = KafkaFdw::Session->new($node);

	$patient->value(q(SET kafka_fdw.progress_interval = '200ms'));
	$patient->value($opened);
	$far->pause;
	$patient->send("MOVE ALL FROM c;\n\\echo :ROW_COUNT");
	$control->await_state($patient, wait_event => 'AppendReady', state => 'active');

	# The same number twice: told of when nothing comes
	wait_until(
		sub { $patient->notices =~ /read (\d+) messages of Kafka topic "far_big".*read \1 messages of Kafka topic "far_big"/s },
		'notices while all wait');
	pass('progress is told while all wait');
	$far->resume;
	is($patient->result->{output}, 2 * $BIG - 100, 'a pause of the broker loses nothing');
	$_->quit for $patient, $control;
}

# It is not.
{
	my $hasty = KafkaFdw::Session->new($node);

	$hasty->value('BEGIN; DECLARE c CURSOR FOR SELECT * FROM near_big UNION ALL SELECT * FROM far_hasty; MOVE 100 IN c');
	$far->pause;
	my $result = $hasty->run('MOVE ALL IN c');
	$far->resume;
	is($result->{sqlstate}, 'HV00N', 'fetch_timeout');
	like($result->{error}, qr/far_hasty/, 'fetch_timeout: of the server in question');
	cmp_ok($result->{seconds}, '>=', 2, 'fetch_timeout: not before its time');
	cmp_ok($result->{seconds}, '<', 2 * 2 + $LIMIT_S, 'fetch_timeout: once in silence, once for the leader to answer');
	$hasty->quit;
}

#
# What is left behind
#
$session->quit;
$session = KafkaFdw::Session->new($node);
my $pid = $session->pid;

sub usage
{
	my (%base) = @_;
	my %usage;
	my $end = time + 30;

	$session->value('SELECT n FROM two LIMIT 1');
	$session->value('SELECT kafka.disconnect()');
	while (1)
	{
		%usage = backend_usage($pid);
		$usage{fds} = grep { (readlink // '') !~ m{^/} } glob "/proc/$pid/fd/*";
		return %usage if $usage{threads} <= ($base{threads} // 1) || time > $end;
		usleep(1000);
	}
}

sub check_leaks
{
	my ($name, $times, $statements, $sqlstate, $expected) = @_;
	my $script = join ";\n", @$statements;
	my (%before, %after);

	$session->run(join ";\n", ($script) x (1 + $times / 4));
	for my $round (1 .. $ROUNDS)
	{
		%before = usage();
		my $error = $session->run(join ";\n", ($script) x $times)->{error};
		my @failed = $error =~ /^ERROR:  (\w{5}):/mg;
		is(scalar(grep { $_ eq ($sqlstate // '') } @failed), $expected // 0, "$name: failures");
		is(scalar(grep { $_ ne ($sqlstate // '') } @failed), 0, "$name: as expected");
		%after = usage(%before);
		note "$name: $before{rss_kb} to $after{rss_kb} kB, $after{threads} threads, $after{fds} descriptors";
		last if $after{rss_kb} - $before{rss_kb} < $RSS_SLACK_KB;
	}
	is($after{threads}, $before{threads}, "$name: threads");
	is($after{fds}, $before{fds}, "$name: descriptors");
	cmp_ok($after{rss_kb} - $before{rss_kb}, '<', $RSS_SLACK_KB, "$name: memory");
	return;
}

check_leaks('bad message in one child',
	20, ['SELECT count(n) FROM (SELECT n FROM near_big UNION ALL SELECT n FROM bad UNION ALL SELECT n FROM far_big) u'],
	'22P02', 20);
check_leaks('failure in a savepoint',
	20, [
		'BEGIN', 'SAVEPOINT s', 'SELECT count(n) FROM (SELECT n FROM far_big UNION ALL SELECT n FROM bad) u',
		'ROLLBACK TO s', 'SELECT n FROM log LIMIT 1', 'COMMIT'
	],
	'22P02', 20);

# The failure ends the limit with it: none of the next statements meets it.
check_leaks(
	'cancelled', 6,
	[
		map { ('BEGIN', "SET LOCAL statement_timeout = $_", "SELECT count(n), sum(n), avg(n) FROM ($two_brokers) u", 'ROLLBACK') }
		  (4 .. 19)
	],
	'57014', 96);
check_leaks('LIMIT', 50, ["SELECT n FROM $union u LIMIT 10"]);
check_leaks('open cursor, rollback', 50, [ 'BEGIN', "DECLARE c CURSOR FOR $two_brokers", 'MOVE 10 IN c', 'ROLLBACK' ]);
check_leaks('rescans', 3,
	['SELECT count(n) FROM generate_series(1, 100) g, LATERAL (SELECT n FROM log WHERE o = g % 1000 OFFSET 0) s']);
check_leaks('more than read at a time', 10, ['SELECT count(*) FROM many']);

done_testing();
