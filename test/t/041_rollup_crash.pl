# Rollups are right after every kind of end that a run can come to, with nobody
# looking after them: the backend killed (SIGKILL) at random points, or
# terminated, the server stopped fast or immediately, the broker restarted.
#
# After each of these the table is what belongs to the positions that stand
# beside it, neither more nor less, and so are dead letters, duplicates and the
# account of the runs. The next call goes on from there, to the truth at the end.
use strict;
use warnings;
use Time::HiRes qw(time usleep);
use Test::More;
use KafkaFdw::Broker;
use KafkaFdw::Ledger;
use KafkaFdw::Node qw(start_node create_server create_table await_server);
use KafkaFdw::Rollup qw(create_rollup run_rollup rollup_value run_sums positions distance difference);
use KafkaFdw::Session qw(wait_until);
use PostgreSQL::Test::Utils qw(slurp_file);

my $KILLS = 100;
my $TERMINATIONS = 20;
my $STOPS = 20;
my $CRASH_STOPS = 5;
my $RESTARTS = 2;

my $PARTITIONS = 3;
my $START_MS = 1_700_000_000_000;

# So small that a run has many commits
my $MAX_ROWS = 10;

srand(815);

my $broker = KafkaFdw::Broker->new;
my $ledger = KafkaFdw::Ledger->new($broker, 'events', partitions => $PARTITIONS);

# A crash of the server alone loses nothing that it has written, synced or not.
my $node = start_node('main',
	restart_after_crash => 'on',
	shared_buffers => '8MB',
	max_connections => 20,
	log_checkpoints => 'off');

create_server($node, 'logs', $broker);
create_table($node, 'events', 'logs', <<'EOF', topic => 'events', format => 'json');
ts timestamptz OPTIONS (timestamp 'true'), id bigint, k int, v int
EOF

#
# Messages, one in 20 bad in one of two ways, one in 20 a repeat of one
# shortly before in its partition, some aborted
#
my $written = 0;

sub make_messages
{
	my ($count) = @_;
	my @messages;

	for (1 .. $count)
	{
		my $id = $written++;
		my $chance = rand;
		my %message = (
			partition => int rand $PARTITIONS,
			time => $START_MS + $id * 100,
			id => $id,
			k => $id % 7,
			v => 1 + int rand 1000,
			bad => 'f');

		if ($chance < 0.05 && @messages > 20)
		{
			%message = %{ $messages[ -1 - int rand 20 ] };
		}
		else
		{
			$message{value} = "{\"id\": $id, \"k\": $message{k}, \"v\": $message{v}}";
		}
		if ($chance > 0.95)
		{
			$message{bad} = 't';
			$message{value} = $chance > 0.975 ? 'junk' : "{\"id\": $id, \"k\": $message{k}, \"v\": 0}";
		}
		push @messages, \%message;
	}
	return \@messages;
}

# Of the messages that are there more than once the first is counted.
sub write_events
{
	my ($count) = @_;
	my %seen;

	$ledger->write(make_messages($count / 2));
	$ledger->write_aborted(make_messages($count / 10));
	$ledger->write_committed(make_messages($count / 2));
	$ledger->write_aborted(make_messages(10));
	for my $message ($ledger->visible)
	{
		$message->{repeated} = $message->{bad} eq 'f' && $seen{ $message->{id} }++ ? 't' : 'f';
	}
	$ledger->load($node, 'truth', 'id bigint, k int, v int, bad boolean, repeated boolean');
	return;
}

my $COLUMNS = 'k, count(*) AS n, sum(v) AS sv, sum(1000 / v) AS inverse, min(id) AS first_id, max(id) AS last_id';

create_rollup($node, 'r', "SELECT date_bin('10 s', ts, timestamptz '2000-01-01') AS bucket, $COLUMNS FROM events GROUP BY 1, 2",
	options => q('{"unique_key": "id", "unique_within": "1 day", "retry_limit": 0}'));

# What the rollup has read, by its positions
my $READ = q(truth JOIN kafka.rollup_offsets ON name = 'r' AND kafka_partition = p AND o < next_offset);
my $TRUTH = "SELECT date_bin('10 s', to_timestamp(ts / 1000.0), timestamptz '2000-01-01') AS bucket, $COLUMNS"
  . " FROM $READ WHERE NOT bad AND NOT repeated GROUP BY 1, 2";

# What is wrong, '' for nothing: one statement, so one snapshot, and few of them,
# since it is asked often
my $PROBLEMS = <<"EOF";
WITH truth_of_positions AS ($TRUTH), read AS MATERIALIZED (SELECT p, o, bad, repeated FROM $READ), runs AS (
  SELECT coalesce(sum(messages), 0) AS messages, coalesce(sum(duplicates), 0) AS duplicates,
         coalesce(sum(dead_letters), 0) AS dead_letters FROM kafka.rollup_runs WHERE name = 'r' AND event = 'batch')
SELECT concat_ws(' ',
  (SELECT 'missing ' || string_agg(m::text, ' ') FROM (TABLE truth_of_positions EXCEPT ALL TABLE r) AS m),
  (SELECT 'surplus ' || string_agg(s::text, ' ') FROM (TABLE r EXCEPT ALL TABLE truth_of_positions) AS s),
  (SELECT 'dead letters ' || count(*)
     FROM (SELECT p, o FROM read WHERE bad) AS b
     FULL JOIN (SELECT kafka_partition, kafka_offset FROM kafka.dead_letters WHERE rollup = 'r') AS d
       ON p = kafka_partition AND o = kafka_offset
    WHERE p IS NULL OR kafka_partition IS NULL HAVING count(*) > 0),
  (SELECT 'messages ' || messages FROM runs WHERE messages <> (SELECT count(*) FROM read)),
  (SELECT 'counted as bad ' || dead_letters FROM runs WHERE dead_letters <> (SELECT count(*) FROM read WHERE bad)),
  (SELECT 'duplicates ' || duplicates FROM runs
    WHERE duplicates <> (SELECT count(*) FROM read WHERE repeated)))
EOF

sub check_table
{
	my ($name) = @_;

	is($node->safe_psql('postgres', $PROBLEMS), '', "$name: the table belongs to the positions");
	return;
}

sub check_complete
{
	my ($name) = @_;

	run_rollup($node, 'r', max_rows => 1000);
	is(positions($node, 'r'), $ledger->ends, "$name: the end");
	is(distance($node, 'r', 'events'), '', "$name: the broker's, too");
	check_table("$name: complete");
	return;
}

#
# Calls, and what becomes of them
#
my $CALL = "CALL kafka.run_rollups('r', max_rows => $MAX_ROWS)";
my %points;

# The number of batches that are committed
my $COUNT_BATCHES = q(SELECT count(*) FROM kafka.rollup_runs WHERE name = 'r' AND event = 'batch');

sub count_batches { return $node->safe_psql('postgres', $COUNT_BATCHES) }

# Notes in which part of a run something happened.
sub note_point
{
	my ($batches_before) = @_;
	my $batches = count_batches();

	$points{ $batches == $batches_before ? 'before the first commit'
		: positions($node, 'r') eq $ledger->ends ? 'after the end'
		: 'in the middle' }++;
	return;
}

sub wait_for_server
{
	await_server($node);
	return;
}

#
# How long is a run? A random point is one between the call and somewhat after
# the time in which a part of it is done.
#
write_events(1600);
$ledger->check;

my $session = KafkaFdw::Session->new($node);
my $result = $session->run($CALL);

is($result->{error}, '', 'a run');
my $batches = count_batches();
my $batch_s = $result->{seconds} / $batches;

note sprintf '%d batches in %.2f s', $batches, $result->{seconds};
cmp_ok($batches, '>=', 1600 / $MAX_ROWS, 'has many batches');
check_complete('undisturbed');

# The check sees what is wrong by one message.
for my $damage (
	'UPDATE kafka.stored_position SET next_offset = last_offset WHERE kafka_partition = 1',
	'UPDATE _r_g1 SET n = n + 1 WHERE ctid = (SELECT min(ctid) FROM _r_g1)',
	'DELETE FROM kafka.stored_dead_letter WHERE id = (SELECT min(id) FROM kafka.stored_dead_letter)',
	'DELETE FROM kafka.stored_run WHERE run_id = (SELECT max(run_id) FROM kafka.stored_run)')
{
	isnt($node->safe_psql('postgres', "BEGIN; $damage; $PROBLEMS; ROLLBACK"), '', "what the checks are for: $damage");
}
$session->quit;

# A part of a run, so many batches, leaves something to the next ones.
my $PART = 12;

# To connect takes longer than a batch: so every second point is one after some
# commits.
my $point = 0;

sub await_random_point
{
	my ($witness) = @_;

	if ($point++ % 2)
	{
		my $target = $witness->value($COUNT_BATCHES) + int rand $PART;
		my ($end) = eval(join '+', $ledger->ends =~ /:(\d+)/g);

		wait_until(
			sub {
				$witness->value("SELECT ($COUNT_BATCHES) > $target OR sum(next_offset) = $end"
					  . q( FROM kafka.rollup_offsets WHERE name = 'r')) eq 't';
			},
			'commits');
		usleep(1e6 * rand $batch_s);
	}
	else
	{
		usleep(1e6 * rand($batch_s * $PART + 0.04));
	}
	return;
}

#
# SIGKILL: the server restarts all its processes
#
my $round = $KILLS / 5;

for my $kill (1 .. $KILLS)
{
	write_events($round * $PART * $MAX_ROWS) if $kill % $round == 1;
	$session = KafkaFdw::Session->new($node);

	# ends when the server has noticed
	my $witness = KafkaFdw::Session->new($node);
	my $before = count_batches();

	$session->send($CALL);
	await_random_point($witness);
	kill 'KILL', $session->pid;
	$session->result;
	$session->quit;
	wait_until(sub { $witness->run('SELECT 1')->{ended} }, 'the server restarts');
	$witness->quit;
	wait_for_server();
	note_point($before);
	check_table("kill $kill");
	check_complete("after kill $kill") if $kill % $round == 0;
}
note "killed $_: $points{$_}" for sort keys %points;
cmp_ok($points{'in the middle'} // 0, '>=', $KILLS / 2, 'most were killed in the middle of a run');

#
# SIGTERM: the other sessions go on
#
my $control = KafkaFdw::Session->new($node);

write_events($TERMINATIONS * $PART * $MAX_ROWS);
for my $termination (1 .. $TERMINATIONS)
{
	# Again with more to do, when the call was over before
	for my $try (1 .. 10)
	{
		write_events($PART * $MAX_ROWS) if $try > 1;
		$session = KafkaFdw::Session->new($node);
		$session->send($CALL);
		await_random_point($control);
		$control->value('SELECT pg_terminate_backend(' . $session->pid . ')');
		$result = $session->result;
		$session->quit;
		last if $result->{ended};
	}
	like("$result->{ended}$result->{error}", qr/^1.*57P01/s, "termination $termination: told");
	check_table("termination $termination");
}
check_complete('after terminations');

# A cancel ends a run, too, and not only the batch.
write_events($PART * $MAX_ROWS * 4);
$session = KafkaFdw::Session->new($node);
$session->send($CALL);
usleep(1e6 * $batch_s * 4);
$control->value('SELECT pg_cancel_backend(' . $session->pid . ')');
$result = $session->result;
is($result->{sqlstate}, '57014', 'a cancelled run is cancelled');
is($session->value('SELECT current_user = session_user'), 't', 'and leaves the session as it was');
check_table('after a cancel');
isnt(positions($node, 'r'), $ledger->ends, 'it was in the middle');
is(rollup_value($node, 'r', 'state'), 'RUNNING', 'a cancel is no failure');
is($session->run($CALL)->{error}, '', 'the same session goes on');
check_complete('after a cancel');
$session->quit;
$control->quit;

#
# Stops of the server
#
sub stop_server
{
	my ($mode, $count) = @_;

	write_events($count * $PART * $MAX_ROWS);
	for my $stop (1 .. $count)
	{
		my $witness = KafkaFdw::Session->new($node);

		$session = KafkaFdw::Session->new($node);
		$session->send($CALL);
		await_random_point($witness);
		$node->stop($mode);
		$session->result;
		$_->quit for $session, $witness;
		$node->start;
		check_table("$mode stop $stop");
	}
	check_complete("after $mode stops");
	return;
}

stop_server('fast', $STOPS);
stop_server('immediate', $CRASH_STOPS);

#
# Restarts of the broker: the run goes on, or ends with an error and the next
# one does
#
for my $restart (1 .. $RESTARTS)
{
	my $before = count_batches();

	write_events(2400);
	$session = KafkaFdw::Session->new($node);
	$session->send($CALL);
	wait_until(sub { count_batches() > $before + 5 }, 'the run is in the middle');
	$restart % 2 ? $broker->restart : $broker->kill;
	$broker->restart if $restart % 2 == 0;
	$session->result;
	$session->quit;
	check_table("restart $restart");
	check_complete("after restart $restart");
	is(rollup_value($node, 'r', 'state'), 'RUNNING', "restart $restart: it is well");
}

is($node->safe_psql('postgres', q(SELECT count(*) FROM kafka.rollup_runs WHERE name = 'r' AND event NOT IN ('batch', 'fail'))),
	0, 'nobody had to step in');
$ledger->check('the topic is still what was written');
unlike(slurp_file($node->logfile), qr/TRAP|PANIC|signal 11/, 'the server did not crash by itself');

done_testing();
