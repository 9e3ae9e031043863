# Rebuilding a rollup under load: messages come, runs go on, readers read, and
# none of them is told of an error or sees a number that is neither the old
# rollup's nor the new one's. A rebuild that is killed, in whichever phase,
# leaves the old one serving, and the next call goes on where it was. Readers
# that are in its way are let through; those whose snapshots are older than the
# new numbers are waited for. A copy that was dumped in the midst can go on, too.
use strict;
use warnings;
use Test::More;
use KafkaFdw::Broker;
use KafkaFdw::Ledger;
use KafkaFdw::Node qw(start_node create_server create_table await_server);
use KafkaFdw::Rollup qw(create_rollup run_rollup distance difference);
use KafkaFdw::Session qw(wait_until);
use PostgreSQL::Test::Utils qw(slurp_file);

my $PARTITIONS = 3;
my $START_MS = 1_700_000_000_000;
my $FIRST = 30_000;
my $GATE = 815;

my $broker = KafkaFdw::Broker->new;
my $ledger = KafkaFdw::Ledger->new($broker, 'events', partitions => $PARTITIONS);
my $node = start_node('main', restart_after_crash => 'on', log_checkpoints => 'off', max_connections => 30);

create_server($node, 'logs', $broker);
create_table($node, 'events', 'logs', <<'EOF', topic => 'events', format => 'json');
ts timestamptz OPTIONS (timestamp 'true'), id bigint, k int, v int
EOF

#
# Messages: v is 3 always, so that s must be three times n. Some come late.
#
my $written = 0;

sub write_events
{
	my ($count) = @_;
	my @messages;

	for (1 .. $count)
	{
		my $id = $written++;
		my $late = $id % 50 == 7 ? 400_000 : 0;
		my $time = $START_MS + $id * 100 - $late;

		push @messages,
		  {
			partition => $id % $PARTITIONS,
			time => $time < $START_MS ? $START_MS : $time,
			id => $id,
			k => $id % 7,
			value => "{\"id\": $id, \"k\": " . ($id % 7) . ', "v": 3}'
		  };
	}
	$ledger->write(\@messages);
	return;
}

my $BUCKET = "date_bin('1 min', ts, timestamptz '2000-01-01') AS bucket";
my $QUERY = "SELECT $BUCKET, k, count(*) AS n, sum(v) AS s FROM events GROUP BY 1, 2";
my $LONGER = "SELECT $BUCKET, k, count(*) AS n, sum(v) AS s, max(id) AS last_id FROM events GROUP BY 1, 2";

sub call
{
	my ($query, $more) = @_;

	return "CALL kafka.rebuild_rollup('r', \$\$$query\$\$" . ($more // '') . ')';
}

# The table against the ledger, with ids or without, since a time or in all.
sub check_truth
{
	my ($name, %arg) = @_;
	my $since = $arg{since} // "timestamptz '-infinity'";
	my ($id, $max_id) = $arg{ids} ? (', last_id', ', max(id)') : ('', '');

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	run_rollup($node, 'r', max_time => "'1 h'");
	$ledger->load($node, 'truth', 'id bigint, k int');
	is(distance($node, 'r', 'events'), '', "$name: at the ends");
	is(difference($node, "SELECT bucket, k, n, s$id FROM r WHERE bucket >= $since", <<"EOF"), '', "$name: the numbers are right");
SELECT * FROM (SELECT date_bin('1 min', to_timestamp(ts / 1000.0), '2000-01-01') AS bucket, k, count(*) AS n, 3 * count(*) AS s$max_id
                 FROM truth GROUP BY 1, 2) AS t
 WHERE bucket >= $since
EOF
	return;
}

sub generation { return $node->safe_psql('postgres', "SELECT generation FROM kafka.stored_rollup WHERE name = 'r'") }

sub shadows { return $node->safe_psql('postgres', 'SELECT count(*) FROM kafka.stored_rollup WHERE rebuilds IS NOT NULL') }

write_events($FIRST);
create_rollup($node, 'r', $QUERY);
run_rollup($node, 'r');
$node->safe_psql('postgres', <<'EOF');
CREATE VIEW dependent AS SELECT sum(n) AS n, sum(s) AS s, min(bucket) AS first FROM r;
CREATE TABLE violation (what text);
CREATE TABLE stop ();
CREATE SEQUENCE reads;
CREATE PROCEDURE read_on() LANGUAGE plpgsql AS $$
DECLARE
	last numeric := 0;
	begins timestamptz;
	seen record;
BEGIN
	LOOP
		SELECT * INTO seen FROM dependent;
		IF seen.s <> 3 * seen.n OR seen.n < last OR seen.first > begins OR seen.n IS NULL THEN
			INSERT INTO violation VALUES (format('%s after %s, s %s, first %s', seen.n, last, seen.s, seen.first));
		END IF;
		last := seen.n;
		begins := seen.first;
		PERFORM nextval('reads');
		COMMIT;
		EXIT WHEN EXISTS (SELECT FROM stop);
	END LOOP;
END $$;
EOF

#
# Under load
#
sub is_busy
{
	my ($control, $session) = @_;

	return $control->value("SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND pid = " . $session->pid);
}

# Rebuilds while messages are written, and runs and readers work; one run follows
# the topic all the time.
sub rebuild_under_load
{
	my ($name, $call) = @_;
	my ($control, $reader, $plain, $runner, $follower, $rebuild) = map { KafkaFdw::Session->new($node) } 1 .. 6;
	my $generation = generation();
	my ($rounds, $last) = (0, 0);
	my $result;
	my $follow = sub {
		$follower->send("CALL kafka.run_rollups('r', follow => true, max_time => '1 s')");
	};

	$node->safe_psql('postgres', 'DELETE FROM stop; TRUNCATE violation; SELECT setval($$reads$$, 1)');
	$reader->send('CALL read_on()');
	wait_until(sub { $control->value('SELECT last_value > 10 FROM reads') eq 't' }, 'it reads');
	$follow->();
	write_events(1000);
	$rebuild->send($call);
	do
	{
		write_events(150);
		$result = $runner->run("CALL kafka.run_rollups('r', max_rows => 50)");
		is($result->{error}, '', "$name: a run beside it") if $result->{error} !~ /^(NOTICE:.*)?$/s;
		$result = $plain->run('SELECT n, s FROM dependent');
		is($result->{error}, '', "$name: a reader of another kind") if $result->{error} ne '';
		my ($n, $s) = split /\|/, $result->{output};
		ok($s == 3 * $n && $n >= $last, "$name: $n after $last") if $s != 3 * $n || $n < $last;
		$last = $n;
		if (!is_busy($control, $follower))
		{
			$result = $follower->result;
			is($result->{error}, '', "$name: a run that follows goes on") if $result->{error} =~ /ERROR/;
			$follow->();
		}
		$rounds++;
	} while ($rounds < 3 || is_busy($control, $rebuild));
	$result = $rebuild->result;
	unlike($result->{error}, qr/ERROR/, "$name: it is rebuilt");
	is(generation(), $generation + 1, "$name: there is a new generation");
	write_events(100);
	unlike($follower->result->{error}, qr/ERROR/, "$name: a run that follows goes on");
	run_rollup($node, 'r');
	$node->safe_psql('postgres', 'INSERT INTO stop DEFAULT VALUES');
	is($reader->result->{error}, '', "$name: the reader was told of no error");
	is($node->safe_psql('postgres', "SELECT string_agg(what, '; ') FROM violation"), '', "$name: nor has it read anything wrong");
	note "$rounds rounds, " . $control->value('SELECT last_value FROM reads') . ' reads';
	is(shadows(), 0, "$name: nothing is left of its making");
	$_->quit for $control, $reader, $plain, $runner, $follower, $rebuild;
	return;
}

rebuild_under_load('the same query', "CALL kafka.rebuild_rollup('r')");
check_truth('the same query');
rebuild_under_load('a new column', call($LONGER));
check_truth('a new column', ids => 1);

# What is before is kept, and what comes late for it counts.
my $since = $START_MS / 1000 + 1230;

$node->safe_psql('postgres', "UPDATE _r_g3 SET last_id = -1 WHERE bucket < to_timestamp($since - 60)");
rebuild_under_load('since a time', call($LONGER, ", since => to_timestamp($since)"));
check_truth('since a time');
check_truth('since a time, what is new', ids => 1, since => "to_timestamp($since + 60)");
cmp_ok($node->safe_psql('postgres', 'SELECT count(*) FROM r WHERE last_id = -1'), '>', 50, 'old buckets were kept');

#
# Readers in its way
#
my ($control, $rebuild, $reader, $other) = map { KafkaFdw::Session->new($node) } 1 .. 4;
my $result;

# Waits until the rebuild has come as far as the rollup, and waits for older
# snapshots.
sub await_complete
{
	wait_until(
		sub {
			$control->value(<<"EOF") eq 't';
SELECT count(*) > 0 AND bool_and(s.next_offset = o.next_offset)
       AND EXISTS (SELECT FROM pg_stat_activity WHERE wait_event = 'Extension' AND backend_xmin IS NULL AND pid = ${\ $rebuild->pid})
  FROM kafka.stored_rollup AS r
  JOIN kafka.stored_position AS s USING (rollup_id)
  JOIN kafka.stored_position AS o ON (o.rollup_id, o.topic, o.kafka_partition) = (r.rebuilds, s.topic, s.kafka_partition)
EOF
		},
		'the new numbers are complete');
	return;
}

# How many locks the rebuild has: one all the time, and both rollups' while it
# holds these.
sub count_holds { return $control->value("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = " . $rebuild->pid) }

sub await_lock_attempt
{
	my ($relation) = @_;

	wait_until(
		sub {
			$control->value("SELECT count(*) FROM pg_locks WHERE mode = 'AccessExclusiveLock' AND NOT granted AND relation = '$relation'::regclass");
		},
		"the swap waits for $relation");
	return;
}

$reader->value('BEGIN; SELECT count(*) FROM r');
$rebuild->send(call($LONGER));
await_lock_attempt('r');
$result = $other->run('SELECT count(*) > 0 FROM r');
is("$result->{output}$result->{error}", 't', 'another reader reads');
cmp_ok($result->{seconds}, '<', 1, 'and waits shortly only');
run_rollup($node, 'r');
pass('runs go on');
$result = $reader->run('SELECT count(*) > 0 FROM r_live');
is("$result->{output}$result->{error}", 't', 'as does the one in the way');
$reader->value('COMMIT');
is($rebuild->result->{error}, '', 'then it is rebuilt');

# The swap has one view and wants the other one, this reader the other way round.
$reader->value('BEGIN; SELECT count(*) FROM r_live');
$rebuild->send(call($LONGER));
await_lock_attempt('r_live');
$result = $reader->run('SELECT count(*) > 0 FROM r');
is("$result->{output}$result->{error}", 't', 'there is no deadlock');
$reader->value('COMMIT');
is($rebuild->result->{error}, '', 'and it is rebuilt');

# A snapshot from before, in which the new storage is not even there
my $count = $reader->value('SELECT sum(n) FROM r');

$reader->value('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1');
$rebuild->send(call($LONGER));
wait_until(sub { $rebuild->notices =~ /wait for transactions that are older/ }, 'it waits for the snapshot');
like($rebuild->notices, qr/processes: ${\ $reader->pid}\./, 'and says for whom');
is($control->value('SELECT count(*) FROM pg_stat_activity WHERE (backend_xmin IS NOT NULL OR backend_xid IS NOT NULL) AND pid = ' . $rebuild->pid),
	0, 'holding no snapshot of its own');
write_events(30);
run_rollup($node, 'r');
is($reader->value('SELECT sum(n) FROM r'), $count, 'the snapshot shows what it did');
$reader->value('COMMIT');
unlike($rebuild->result->{error}, qr/ERROR/, 'then it is rebuilt');
is($reader->value('SELECT sum(n) FROM r'), $count + 30, 'and the view shows the new numbers');

# One that began while that was waited for, when the rollup had come further
$reader->value('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1');
$rebuild->send(call($LONGER));
await_complete();
write_events(30);
run_rollup($node, 'r');
$count = $control->value('SELECT sum(n) FROM r');
$other->value('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1');
$reader->value('COMMIT');
wait_until(sub { count_holds() > 1 || !is_busy($control, $rebuild) }, 'it holds the rollup');
wait_until(sub { count_holds() == 1 || !is_busy($control, $rebuild) }, 'and lets it go on');
is(is_busy($control, $rebuild), 1, 'it waits for a second snapshot');
is($other->value('SELECT sum(n) FROM r'), $count, 'the other one shows what was counted then');
write_events(30);
run_rollup($node, 'r');
is($other->value('SELECT sum(n) FROM r_live'), $count + 30, 'and the live view no less');
$other->value('COMMIT');
unlike($rebuild->result->{error}, qr/ERROR/, 'then it is rebuilt, too');
is($other->value('SELECT sum(n) FROM r'), $count + 30, 'with all that came');

# Time is up before that: the next call goes on.
$reader->value('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1');
$result = $rebuild->run(call($LONGER, ", max_time => '1 s'"));
like($result->{error}, qr/NOTICE:  00000: rollup "r" is not rebuilt yet/, 'it is told that time was up');
is(shadows(), 1, 'what was made is there');
$result = $other->run(call($LONGER, ", max_time => '0 s'"));
like($result->{error}, qr/is not rebuilt yet/, 'the next call is no better off');
$rebuild->send(call($LONGER));
await_complete();
is($other->run(call($LONGER))->{sqlstate}, '55006', 'only one at a time');
$control->value('SELECT pg_cancel_backend(' . $rebuild->pid . ')');
is($rebuild->result->{sqlstate}, '57014', 'it can be cancelled');
is($rebuild->value('SELECT current_user = session_user'), 't', 'which leaves the session as it was');
is($control->value("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'"), 0, 'and holds no lock');
$reader->value('COMMIT');

my $messages = $control->value(<<'EOF');
SELECT sum(messages) FROM kafka.stored_run JOIN kafka.stored_rollup USING (rollup_id) WHERE rebuilds IS NOT NULL
EOF

cmp_ok($messages, '>=', $FIRST, 'all was read');
is($rebuild->run(call($LONGER))->{error}, '', 'the next call goes on');
is($control->value("SELECT messages FROM kafka.rollup_runs WHERE name = 'r' AND event = 'rebuild' ORDER BY run_id DESC LIMIT 1"),
	$messages, 'and reads nothing twice');
check_truth('after those', ids => 1);
$_->quit for $control, $rebuild, $reader, $other;

#
# Killed; its batches wait while the gate is shut
#
$node->safe_psql('postgres', <<"EOF");
CREATE FUNCTION pass_gate(x int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS \$\$
BEGIN
	PERFORM pg_advisory_xact_lock_shared($GATE);
	RETURN x;
END \$\$;
EOF
my $gated = call($LONGER =~ s/sum\(v\)/sum(pass_gate(v))/r, ", since => to_timestamp($since)");

# Kills the rebuild where another session, or the broker, holds it up.
sub kill_in
{
	my ($phase, $hold, $condition) = @_;
	my ($blocker, $witness, $victim) = map { KafkaFdw::Session->new($node) } 1 .. 3;
	my $generation = generation();
	my $sum = $node->safe_psql('postgres', 'SELECT sum(n) FROM r');
	my $pid = $victim->pid;

	defined $hold ? $blocker->value($hold) : $broker->pause;
	$victim->send($gated);
	$condition =~ s/PID/$pid/;
	wait_until(sub { $witness->value($condition) }, "$phase is reached");
	kill 'KILL', $pid;
	$broker->resume unless defined $hold;
	$victim->result;
	wait_until(sub { $witness->run('SELECT 1')->{ended} }, 'the server restarts');
	$_->quit for $blocker, $witness, $victim;
	await_server($node);
	is(generation(), $generation, "killed in $phase: the old one is there");
	is($node->safe_psql('postgres', 'SELECT sum(n) FROM r'), $sum, "killed in $phase: with its numbers");
	write_events(20);
	check_truth("killed in $phase", ids => 1) if $phase =~ /^(fill|swap)$/;
	return;
}

my $WAITS = 'SELECT count(*) FROM pg_stat_activity WHERE pid = PID AND wait_event_type';
my $storage = $node->safe_psql('postgres', "SELECT storage FROM kafka.stored_rollup WHERE name = 'r'");

kill_in('prepare', undef, "$WAITS = 'Extension'");
is(shadows(), 0, 'nothing was made yet');
kill_in('fill', "SELECT pg_advisory_lock($GATE)", "$WAITS || wait_event = 'Lockadvisory'");
is(shadows(), 1, 'something was made');

my $shadow = $node->safe_psql('postgres', 'SELECT rollup_id FROM kafka.stored_rollup WHERE rebuilds IS NOT NULL');

kill_in('keep', "BEGIN; LOCK TABLE $storage", "$WAITS || wait_event = 'Lockrelation'");
kill_in('wait', 'BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1', 'SELECT count(*) FROM kafka.stored_rollup WHERE kept');
kill_in('swap', 'BEGIN; SELECT count(*) FROM r',
	q(SELECT count(*) FROM pg_locks WHERE mode = 'AccessExclusiveLock' AND NOT granted AND relation = 'r'::regclass));
is($node->safe_psql('postgres', 'SELECT rollup_id FROM kafka.stored_rollup WHERE rebuilds IS NOT NULL'),
	$shadow, 'it was the same one all the time');

# What has come further than the rollup cannot keep its rows.
sub move_back
{
	my ($blocker, $rebuild) = map { KafkaFdw::Session->new($node) } 1 .. 2;
	my $old_storage = $blocker->value("SELECT storage FROM kafka.stored_rollup WHERE name = 'r'");
	my $call = call($LONGER, ", since => to_timestamp($since)");
	my $name = '_r_g' . (generation() + 1);

	$blocker->value("BEGIN; LOCK TABLE $old_storage");
	$rebuild->send($call);
	wait_until(
		sub {
			$blocker->value('SELECT count(*) FROM pg_stat_activity WHERE wait_event_type || wait_event = $$Lockrelation$$ AND pid = ' . $rebuild->pid);
		},
		'rows are about to be kept');
	$blocker->value('SELECT pg_cancel_backend(' . $rebuild->pid . ')');
	is($rebuild->result->{sqlstate}, '57014', 'it is cancelled');
	$blocker->value('ROLLBACK');
	is($blocker->value("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'"), 0, 'and holds no lock');
	$blocker->value(q(SELECT kafka.seek_rollup('r', '{"1": 100}'::jsonb, accept_loss => true)));
	my $result = $rebuild->run($call);
	like($result->{error}, qr/ERROR:  55000: rollup "r" was moved back while it was rebuilt\nHINT:  SELECT kafka.drop_rollup\('$name'\)/,
		'moved back meanwhile it is refused');
	run_rollup($node, 'r');
	is($blocker->value("SELECT kafka.drop_rollup('$name')"), '', 'what was made is dropped');
	is($rebuild->run("CALL kafka.rebuild_rollup('r')")->{error}, '', 'and made anew');
	$_->quit for $blocker, $rebuild;
	check_truth('moved back', ids => 1);
	return;
}

# Somebody drops what was made just when a call is about to go on with it.
sub drop_meanwhile
{
	my ($reader, $dropper, $rebuild, $witness) = map { KafkaFdw::Session->new($node) } 1 .. 4;

	$reader->value('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1');
	like($rebuild->run(call($LONGER, ", max_time => '0 s'"))->{error}, qr/is not rebuilt yet/, 'something was made');
	$reader->value('COMMIT');
	$dropper->value('BEGIN; SELECT kafka.drop_rollup(name) FROM kafka.stored_rollup WHERE rebuilds IS NOT NULL');
	$rebuild->send(call($LONGER));
	$witness->await_state($rebuild, wait_event_type => 'Lock');
	$dropper->value('COMMIT');
	is($rebuild->result->{error}, '', 'it is dropped meanwhile, and made anew');
	$_->quit for $reader, $dropper, $rebuild, $witness;
	check_truth('dropped meanwhile', ids => 1);
	return;
}

# A dump is taken in the midst, for later.
my $dump = $node->basedir . '/dump.sql';

$node->command_ok([ 'pg_dump', '-f', $dump, $node->connstr('postgres') ], 'a dump in the midst');
$node->safe_psql('postgres', $gated);
is(shadows(), 0, 'the next call ends it');
check_truth('after all kills');
check_truth('after all kills, what is new', ids => 1, since => "to_timestamp($since + 60)");

#
# The copy
#
my $ROWS = q(SELECT md5(string_agg(r::text, ',' ORDER BY bucket, k)) FROM r);

$node->safe_psql('postgres', 'CREATE DATABASE copy');
$node->command_ok([ 'psql', '-Xq', '-v', 'ON_ERROR_STOP=1', '-f', $dump, '-d', $node->connstr('copy') ], 'the dump is restored');
my (undef, undef, $error) = $node->psql('copy', $gated);
like($error, qr/does not belong to this database/, 'a copy must be taken over first');
is($node->safe_psql('copy', "SELECT kafka.take_over('r')"), 1, 'it is');
$node->safe_psql('copy', $gated);
is($node->safe_psql('copy', 'SELECT count(*), max(generation) FROM kafka.stored_rollup'), '1|' . generation(), 'and rebuilt');
$node->safe_psql('copy', "CALL kafka.run_rollups('r')");
is($node->safe_psql('copy', $ROWS), $node->safe_psql('postgres', $ROWS), 'with the same numbers');

drop_meanwhile();
move_back();
$ledger->check('the topic is still what was written');
unlike(slurp_file($node->logfile), qr/TRAP|PANIC|signal 11|you don't own a lock/, 'the server did not crash by itself');

done_testing();
