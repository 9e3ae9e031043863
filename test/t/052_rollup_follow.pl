# CALL kafka.run_rollups(follow => true): what is produced is visible soon; while
# it waits it holds nothing and costs nothing; rollups come and go; what fails,
# is slow, or has lost its broker goes on when it can, and the others meanwhile;
# cancel and terminate act at once; killed at any time, it is exactly once.
use strict;
use warnings;
use Test::More;
use Time::HiRes qw(time usleep);
use KafkaFdw::Broker;
use KafkaFdw::Node qw(start_node create_server create_table await_server);
use KafkaFdw::Rollup qw(create_rollup run_rollup rollup_value run_sums positions);
use KafkaFdw::Session qw(wait_until);
use PostgreSQL::Test::Utils qw(slurp_file);

my $START_MS = 1_700_000_000_000;
my $MESSAGES = 30;
my $KILLS = 5;

# What a rollup may take while others wait: KAFKA_LANE_BUDGET_MS,
# KAFKA_LANE_FOLLOW_BUDGET_MS, and TRY_MS of slow.c
my $BUDGET_S = 2;
my $FOLLOW_BUDGET_MS = 300;
my $TRY_MS = 200;

my $NAP_MS = 20;
my $LETTERS = 12;
my $LETTER_MS = 60;

# How late a cancel may be, on a busy machine
my $SLACK_S = 1;

# The connect_timeout of a server that is away
my $AWAY_S = 1;

my $broker = KafkaFdw::Broker->new;
my $node = start_node('main', restart_after_crash => 'on', autovacuum => 'off', max_connections => 20);

sub query { my ($sql) = @_; return $node->safe_psql('postgres', $sql) }

create_server($node, 'logs', $broker, connect_timeout => '1 s', fetch_timeout => '1 s');
$broker->feed("create-topic $_ partitions=2\n") for qw(events others);
create_table($node, 'events', 'logs', 'n bigint, k int', topic => 'events', format => 'json');
create_table($node, 'others', 'logs', 'n bigint, k int', topic => 'others', format => 'json');

my $feeder = $broker->feeder;
my %written = (events => 0, others => 0);

sub produce
{
	my ($topic, $count) = @_;

	$feeder->("generate $topic count=$count first=$written{$topic} partitions=2 time=$START_MS value='{\"n\": {n}, \"k\": {n%3}}'");
	$written{$topic} += $count;
	return;
}

# The count and the sum of the numbers from 0 on
sub all { my ($topic) = @_; my $n = $written{$topic}; return "$n|" . $n * ($n - 1) / 2 }

sub select_all { my ($name) = @_; return "SELECT coalesce(sum(c), 0), coalesce(sum(s), 0) FROM $name" }

sub follow_query { my ($table) = @_; return "SELECT k, count(*) AS c, sum(n) AS s FROM $table GROUP BY k" }

sub create_followed
{
	my ($name, $table, $interval) = @_;

	create_rollup($node, $name, follow_query($table), options => "'{\"follow\": true, \"commit_interval\": \"$interval\"}'");
	return;
}

# Waits until a rollup has all of its topic; returns how long that took.
my $control = KafkaFdw::Session->new($node);

sub await_all
{
	my ($name, $topic) = @_;
	my ($start, $all) = (time, all($topic));

	wait_until(sub { $control->value(select_all($name)) eq $all }, "$name has all of $topic");
	return time - $start;
}

sub count_batches { my ($name) = @_; return $control->value("SELECT count(*) FROM kafka.rollup_runs WHERE name = '$name' AND event = 'batch'") }

sub follow
{
	my (%arg) = @_;
	my $session = KafkaFdw::Session->new($node);

	$session->send('CALL kafka.run_rollups(' . join(', ', 'follow => true', map { "$_ => '$arg{$_}'" } sort keys %arg) . ')');
	return $session;
}

sub stop
{
	my ($session, $name) = @_;
	my $start = time;

	$control->value('SELECT pg_cancel_backend(' . $session->pid . ')');
	my $result = $session->result;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	is($result->{sqlstate}, '57014', "$name: a cancel is told");
	cmp_ok(time - $start, '<', 1 + $SLACK_S, "$name: at once");
	$session->quit;
	return;
}

#
# A call that nobody disturbs ends when its time is over, and says nothing.
#
create_followed('one', 'events', '100 ms');
create_followed('two', 'events', '100 ms');
create_rollup($node, 'unfollowed', follow_query('events'));
produce('events', 100);

my $start = time;
my ($status, $out, $err) = $node->psql('postgres', q(CALL kafka.run_rollups(follow => true, max_time => '1 s')));

is("$status $err", '0 ', 'a call of a second');
cmp_ok(time - $start, '>=', 1, 'lasts a second');
is(query(select_all($_)), all('events'), "$_ has been followed") for qw(one two);
is(query(select_all('unfollowed')), '0|0', 'only what says so is followed');
$node->psql('postgres', q(CALL kafka.run_rollups('unfollowed', follow => true, max_time => '500 ms')));
is(query(select_all('unfollowed')), all('events'), 'or is named');

#
# From produced to visible: told in time, asserted in commits. A message may
# miss the commit that is under way when it comes, and no other.
#
my $session = follow(max_time => '10 min');
my @seconds;
my $missed = 0;

for (1 .. $MESSAGES)
{
	my $before = count_batches('one');

	produce('events', 1);
	push @seconds, await_all('one', 'events');
	$missed++ if count_batches('one') - $before > 2;
	await_all('two', 'events');
}
@seconds = sort { $a <=> $b } @seconds;
note sprintf 'commit_interval 100 ms: from produced to visible, median %.0f ms, p99 %.0f ms', 1000 * $seconds[ $MESSAGES / 2 ], 1000 * $seconds[-1];
is($missed, 0, 'each message is visible with the next commit');

# However much comes, commits are no closer than the interval.
my $batches = count_batches('one');

$start = time;
for (1 .. 20)
{
	produce('events', 10);
	await_all('two', 'events') if $_ % 5 == 0;
}
await_all('one', 'events');
cmp_ok(count_batches('one') - $batches, '<=', (time - $start) / 0.1 + 2, 'commits keep their distance');
is(positions($node, 'one'), positions($node, 'two'), 'both stand at the same place');

# While nothing comes, nothing is used up.
my $NEXT_XID = 'SELECT pg_snapshot_xmax(pg_current_snapshot())';
my $xid = $control->value($NEXT_XID);

usleep(2_000_000);
cmp_ok($control->value($NEXT_XID) - $xid, '<=', 2, 'twenty looks at the ends cost no transaction id, but for a note that it looks');

#
# Rollups come and go
#
create_followed('third', 'events', '100 ms');
query(q(SELECT kafka.alter_rollup('unfollowed', options := '{"follow": true}')));
await_all($_, 'events') for qw(third unfollowed);
query(q(SELECT kafka.alter_rollup('third', enabled := false)));
produce('events', 10);
await_all($_, 'events') for qw(one unfollowed);
isnt(query(select_all('third')), all('events'), 'what is disabled is not followed');
query(q(SELECT kafka.alter_rollup('third', enabled := true)));
await_all('third', 'events');
query(qq(SELECT kafka.drop_rollup('$_'))) for qw(third unfollowed);
produce('events', 10);
await_all('one', 'events');
pass('a rollup that is dropped harms none');
is($control->value('SELECT state FROM pg_stat_activity WHERE pid = ' . $session->pid), 'active', 'the call goes on');
stop($session, 'while following');

#
# While it waits it holds nothing. With a minute to the next commit it does so
# all the time.
#
create_followed('seldom', 'events', '1 min');
$session = follow(name => 'seldom', max_time => '10 min');
await_all('seldom', 'events');
my $WAITS = 'SELECT coalesce(wait_event_type, $$-$$), coalesce(wait_event, $$-$$), coalesce(backend_xid::text, $$-$$), coalesce(backend_xmin::text, $$-$$)'
  . ' FROM pg_stat_activity WHERE pid = ' . $session->pid;

wait_until(sub { $control->value($WAITS) eq 'Extension|Extension|-|-' }, 'it waits');
my %seen;

$seen{ $control->value($WAITS) }++ for 1 .. 200;
is_deeply(\%seen, { 'Extension|Extension|-|-' => 200 }, 'a call that waits has neither a transaction id nor a snapshot');
is($control->value(q(SELECT count(*) FROM pg_locks WHERE locktype <> 'virtualxid' AND pid = ) . $session->pid), 0, 'nor a lock');
query('ALTER TABLE _seldom_g1 SET (fillfactor = 90)');
pass('nor does it keep others from a lock');
stop($session, 'while waiting');

$session = follow(name => 'seldom', max_time => '10 min');
wait_until(sub { $control->value('SELECT coalesce(wait_event, $$-$$) FROM pg_stat_activity WHERE pid = ' . $session->pid) eq 'Extension' }, 'it waits');
$start = time;
$control->value('SELECT pg_terminate_backend(' . $session->pid . ')');
my $result = $session->result;
like($result->{error}, qr/57P01/, 'terminate: told');
cmp_ok(time - $start, '<', 1 + $SLACK_S, 'terminate: at once');
$session->quit;
query(q(SELECT kafka.drop_rollup('seldom')));

#
# One fails; it is well again when its function is
#
sub create_function
{
	my ($name, $body) = @_;

	query("CREATE OR REPLACE FUNCTION $name(bigint) RETURNS bigint IMMUTABLE LANGUAGE plpgsql AS \$\$ BEGIN $body RETURN \$1; END \$\$");
	return;
}

create_function('refuse', q(RAISE undefined_table USING MESSAGE = 'nothing goes';));
create_rollup($node, 'failing', 'SELECT k, count(*) AS c, sum(refuse(n)) AS s FROM events GROUP BY k',
	options => q('{"follow": true, "commit_interval": "100 ms"}'));
$session = follow(max_time => '8 s');
wait_until(sub { rollup_value($node, 'failing', 'state') eq 'FAILING' }, 'it fails');
for (1 .. 5)
{
	produce('events', 10);
	await_all($_, 'events') for qw(one two);
}
pass('the others go on');
my $failures = run_sums($node, 'failing', 'fail', '1');

wait_until(sub { run_sums($node, 'failing', 'fail', '1') > $failures }, 'it is tried again');
create_function('refuse', '');
await_all('failing', 'events');
is(rollup_value($node, 'failing', 'state'), 'RUNNING', 'it works again');
is(positions($node, 'failing'), positions($node, 'one'), 'and has met the others');
is($session->result->{error}, '', 'at the end the call says nothing of it');
create_function('refuse', q(RAISE undefined_table USING MESSAGE = 'nothing goes';));
produce('events', 10);
$session->send(q(CALL kafka.run_rollups(follow => true, max_time => '1 s')));
$result = $session->result;
is($result->{sqlstate}, '42P01', 'one that fails to the end is told');
like($result->{error}, qr/rollup "failing": nothing goes/, 'with the error');
$session->quit;
query(q(SELECT kafka.drop_rollup('failing')));

#
# One is slow: 5 ms a message. It goes on by itself, in batches that fit.
#
create_function('dawdle', 'PERFORM pg_sleep(0.005);');
create_rollup($node, 'slow', 'SELECT k, count(*) AS c, sum(dawdle(n)) AS s FROM others GROUP BY k',
	options => q('{"follow": true, "commit_interval": "100 ms"}'));
create_followed('quick', 'others', '100 ms');
produce('others', 600);
$session = follow(max_time => '10 min');
await_all('quick', 'others');
isnt(query(select_all('slow')), all('others'), 'the others are at the end while the slow one is not');
for (1 .. 5)
{
	produce('events', 10);
	await_all($_, 'events') for qw(one two);
}
produce('others', 10);
await_all($_, 'others') for qw(quick slow);
is(rollup_value($node, 'slow', 'state'), 'RUNNING', 'it gets there, and is not FAILING');
is(query(q(SELECT count(*) FROM kafka.rollup_runs WHERE name = 'slow' AND event <> 'batch')), 0, 'without a failure');
is(run_sums($node, 'slow', 'batch', 'messages'), $written{others}, 'each message in one batch');
query(q(SELECT kafka.drop_rollup('slow')));

# One waits for a lock.
$control->run('BEGIN');
$control->run('SELECT * FROM _quick_g1 FOR UPDATE');
produce('others', 10);
for (1 .. 5)
{
	produce('events', 10);
	await_all($_, 'events') for qw(one two);
}
$control->run('COMMIT');
await_all('quick', 'others');
pass('one that waits for a lock keeps the others not, and goes on after');
stop($session, 'with several');

# One waits for a lock for all of a call.
$control->run('BEGIN');
$control->run('SELECT * FROM _quick_g1 FOR UPDATE');
produce('others', 1);
$session = follow(max_time => $BUDGET_S + 2 . ' s');
$result = $session->result;
is($result->{sqlstate}, '55000', 'one that does not get on is told');
like($result->{error}, qr/rollup "quick" did not get on/, 'by its name');
$session->quit;
$control->run('COMMIT');

# A rollup that calls a function for each message of events that is yet to come
sub create_calling
{
	my ($name, $function, @options) = @_;
	my $options = join ', ', '"follow": true', '"commit_interval": "100 ms"', @options;

	create_rollup($node, $name, "SELECT k, count(*) AS c, sum($function(n)) AS s FROM events WHERE n >= $written{events} GROUP BY k",
		options => "'{$options}'");
	return;
}

# One sleeps for as long as it is let. What the others wait for it is counted in
# its naps; sleeps less than that it gets on, a message at a time.
query("CREATE SEQUENCE $_") for qw(tries naps);
create_function('doze', sprintf q(PERFORM nextval('tries'); LOOP PERFORM pg_sleep(%s); PERFORM nextval('naps'); END LOOP;), $NAP_MS / 1000);
create_calling('dozing', 'doze');
$session = follow(max_time => '10 min');
for (1 .. 4)
{
	my $try = $_;

	produce('events', 2);
	wait_until(sub { $control->value(q(SELECT last_value FROM tries)) > $try }, "try $try is over");
	await_all('one', 'events');
}
my ($tries, $naps) = split /\|/, $control->value(q(SELECT tries.last_value, naps.last_value FROM tries, naps));

note "$naps naps of $NAP_MS ms in $tries tries";
cmp_ok($naps, '<=', ($FOLLOW_BUDGET_MS + ($tries - 1) * $TRY_MS) / $NAP_MS, 'the others wait for as long as is said');
create_function('doze', sprintf 'PERFORM pg_sleep(%s);', 0.6 * $TRY_MS / 1000);
wait_until(sub { $control->value("SELECT coalesce(sum(c), 0) FROM dozing") == 8 }, 'it gets on');
pass('a message that takes most of a try is counted');
stop($session, 'with one that dozes');
query(q(SELECT kafka.drop_rollup('dozing')));

# One that has been slow goes on with the others when it is not any more, and is
# as fresh as they are: several in one commit.
query(q(SELECT setval('tries', 1, false)));
create_function('doze', sprintf q(PERFORM nextval('tries'); PERFORM pg_sleep(%s);), 2 * $FOLLOW_BUDGET_MS / 1000);
create_calling('dozing', 'doze');
$session = follow(max_time => '10 min');
produce('events', 1);
wait_until(sub { $control->value('SELECT is_called AND last_value > 1 FROM tries') }, 'it is slow');
create_function('doze', '');
wait_until(sub { $control->value("SELECT coalesce(sum(c), 0) FROM dozing") == 1 }, 'it has got on');
wait_until(
	sub {
		produce('events', 50);
		await_all('one', 'events');
		$control->value(q(SELECT max(messages) FROM kafka.rollup_runs WHERE name = 'dozing')) >= 25;
	},
	'it takes what comes in one batch');
stop($session, 'with one that dozed');
query(q(SELECT kafka.drop_rollup('dozing')));

# Letters that are due together take longer than a turn.
create_function('judge', q(RAISE invalid_parameter_value USING MESSAGE = 'not yet';));
create_calling('judged', 'judge', '"retry_delay": "1 s", "retry_limit": 1000');
$session = follow(max_time => '10 min');
produce('events', $LETTERS);
wait_until(sub { $control->value(q(SELECT count(*) FROM kafka.dead_letters WHERE rollup = 'judged')) == $LETTERS }, 'letters');
create_function('judge', sprintf 'PERFORM pg_sleep(%s);', $LETTER_MS / 1000);
wait_until(sub { $control->value("SELECT coalesce(sum(c), 0) FROM judged") == $LETTERS }, 'they are counted');
is(rollup_value($node, 'judged', 'state'), 'RUNNING', 'letters that together take longer than a try are counted');
stop($session, 'with letters');
query(q(SELECT kafka.drop_rollup('judged')));

# A cancel comes while one has been too slow already, in the midst of
# arithmetic that does not look at cancels: products, as many as take the budget
# and a second here, and one more. (The one beside it has the budget be the
# least.)
$start = time;
$control->value(q(SELECT x * x * 0 FROM CAST(repeat('7', 60000) AS numeric) AS x));
my $product = join ' + ', ('x * x') x (1 + ($BUDGET_S + 1) / (time - $start));

create_function('multiply', <<"EOS");
DECLARE x numeric := repeat('7', 60000)::numeric;
BEGIN
	IF \$1 = 0 THEN
		PERFORM set_config('application_name', 'multiplies', false);
		x := $product;
	END IF;
END;
EOS
create_followed('beside', 'others', '1 s');
create_rollup($node, 'multiplying', 'SELECT count(*) AS c, sum(multiply(n)) AS s FROM others', options => q('{"follow": true}'));
$session = follow(max_time => '30 s');
wait_until(sub { $control->value('SELECT application_name FROM pg_stat_activity WHERE pid = ' . $session->pid) eq 'multiplies' }, 'it is at it');
usleep(1_000_000 * ($BUDGET_S + 0.5));
$control->value('SELECT pg_cancel_backend(' . $session->pid . ')');
$result = $session->result;
is($result->{sqlstate}, '57014', 'a cancel that comes when a budget is spent is told');
$session->quit;
query(qq(SELECT kafka.drop_rollup('$_'))) for qw(multiplying beside);

#
# A server that is away: its connect_timeout is waited for once, not once for
# each of its topics, between the turns of others
#
create_server($node, 'away', $broker, connect_timeout => "$AWAY_S s");
$broker->feed(join '', map { "create-topic away$_\n" } 1 .. 6);
for (1 .. 6)
{
	create_table($node, "away$_", 'away', 'n bigint, k int', topic => "away$_", format => 'json');
	create_followed("far$_", "away$_", '100 ms');
}
query(q(ALTER SERVER away OPTIONS (SET brokers '127.0.0.1:1')));
$session = follow(max_time => '10 min');
for my $name (map { "far$_" } 1 .. 6)
{
	wait_until(sub { $control->value("SELECT state FROM kafka.rollups WHERE name = '$name'") eq 'FAILING' }, "$name has failed");
}
my $longest = 0;
my $FAILURES = q(SELECT count(*) FROM kafka.rollup_runs WHERE event = 'fail' AND name LIKE 'far%');
my $before = $control->value($FAILURES);

while ($control->value($FAILURES) < $before + 4)
{
	produce('events', 10);
	my $took = await_all('one', 'events');

	$longest = $took if $took > $longest;
}
note sprintf 'connect_timeout %d s, six topics: others waited %.1f s at most', $AWAY_S, $longest;
cmp_ok($longest, '<', 4 * $AWAY_S, 'others wait for one of six topics at a time');
stop($session, 'while a server is away');
query(qq(SELECT kafka.drop_rollup('far$_'))) for 1 .. 6;

#
# Two calls at once
#
my @sessions = map { follow(max_time => '10 min') } 1 .. 2;

for (1 .. 20)
{
	produce('events', 25);
	produce('others', 25);
	usleep(20_000);
}
await_all('one', 'events');
await_all('quick', 'others');
is(run_sums($node, 'one', 'batch', 'messages'), $written{events}, 'two calls at once count each message once');
stop($_, 'one of two') for @sessions;

#
# The broker goes, and comes back
#
$session = follow(max_time => '10 min');
produce('events', 10);
await_all('one', 'events');
$feeder->();
$broker->kill;
wait_until(sub { rollup_value($node, 'one', 'state') eq 'FAILING' }, 'the loss of the broker is seen');
is($control->value('SELECT state FROM pg_stat_activity WHERE pid = ' . $session->pid), 'active', 'without the broker the call goes on');
$broker->restart;
$feeder = $broker->feeder;
produce('events', 10);
await_all($_, 'events') for qw(one two);
is(rollup_value($node, 'one', 'state'), 'RUNNING', 'the broker is back');
is(rollup_value($node, 'two', 'state'), 'RUNNING', 'for all');
stop($session, 'after the loss of the broker');

#
# Killed, with messages coming all the time
#
for my $kill (1 .. $KILLS)
{
	$session = follow(max_time => '10 min');
	for (1 .. 3 + rand 10)
	{
		produce('events', 20);
		usleep(1e6 * rand 0.05);
	}
	kill 'KILL', $session->pid;
	$session->result;
	$session->quit;
	wait_until(sub { $control->run('SELECT 1')->{ended} }, 'the server restarts');
	$control->quit;
	await_server($node);
	$control = KafkaFdw::Session->new($node);
	is(query(<<'EOF'), 't|t', "kill $kill: as many messages as the positions say");
SELECT (SELECT coalesce(sum(c), 0) FROM one) = sum(next_offset) FILTER (WHERE name = 'one'),
       (SELECT coalesce(sum(c), 0) FROM two) = sum(next_offset) FILTER (WHERE name = 'two') FROM kafka.rollup_offsets
EOF
}
$session = follow(max_time => '10 min');
await_all($_, 'events') for qw(one two);
is(query(select_all('one')), all('events'), 'in the end each message was counted once');
is(run_sums($node, 'one', 'batch', 'messages'), $written{events}, 'in one batch');
stop($session, 'at the end');
unlike(slurp_file($node->logfile), qr/TRAP|PANIC|signal 11/, 'the server did not crash by itself');
$feeder->();

done_testing();
