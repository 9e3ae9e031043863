# A session that waits for a broker obeys at once: cancel requests,
# statement_timeout and terminate act within a second or so in every phase of a
# query, while the broker is stopped (SIGSTOP: it accepts connections and
# answers nothing).
use strict;
use warnings;
use Time::HiRes qw(time);
use Test::More;
use KafkaFdw::Broker;
use KafkaFdw::Node qw(start_node create_server create_table);
use KafkaFdw::Session qw(wait_until);

# A call of the library ends after 0.9 s at the latest (KAFKA_MAX_SLICE_MS), and
# the end of a handle is waited for no longer than 0.5 s (END_PATIENCE_MS). As
# much again is for a busy machine; who heeds no interrupt waits for tens of
# seconds, see the server's time-outs.
my $LIMIT_S = 3;

my $TIMEOUT_S = 0.6;
my $COUNT = 100_000;

# Lets a scan read ahead 2 MB or 8192 messages, and 128 kB that are under way
# (kafka_config_buffering): a tenth of the topic, so that a scan has to wait
# for the broker, however fast it is. Small batches, since an answer may exceed
# its limit by one.
my $MEMORY_LIMIT = '8MB';

my $broker = KafkaFdw::Broker->new;
$broker->feed(<<"EOF");
create-topic big partitions=2
set batch.size=65536
generate big count=$COUNT partitions=2 time=1000000 step=1 value='{n} @{['x' x 200]}'
EOF

my $node = start_node('main');

# No limit of ours must end the wait before the interrupt does.
create_server($node, 'logs', $broker,
	connect_timeout => '60s', fetch_timeout => '60s', max_silence => '2min', memory_limit => $MEMORY_LIMIT);
my $columns = q(kafka_offset bigint OPTIONS (offset 'true'),
	ts timestamptz OPTIONS (timestamp 'true'), v text OPTIONS (value 'true'));
create_table($node, 'big', 'logs', $columns, topic => 'big');
create_table($node, 'declared', 'logs', $columns, topic => 'big',
	timestamp_max_lag => '1s', trust_time_index => 'true');

my $control = KafkaFdw::Session->new($node);
my $session;

# Each phase: statements that lead up to it, in a session that is new or not,
# before the broker stops; the statement that waits; whether that wait is one on
# the latch, which pg_stat_activity shows, or a call of the library.
my $window = q(WHERE ts >= timestamptz 'epoch' + interval '1010 s' AND ts < timestamptz 'epoch' + interval '1020 s');
my @phases = (
	{
		name => 'connect',
		cold => 1,
		query => 'SELECT count(*) FROM big',
	},
	{
		name => 'metadata',
		before => ['SELECT kafka_offset FROM big LIMIT 1'],
		query => 'SELECT count(*) FROM big',
	},
	{
		# The transaction's snapshot has the ends, so the times come first.
		name => 'lookup',
		before => [ 'BEGIN ISOLATION LEVEL REPEATABLE READ', 'SELECT kafka_offset FROM declared LIMIT 1' ],
		query => "SELECT count(*) FROM declared $window",
	},
	{
		name => 'settings',
		cold => 1,
		before => [ 'BEGIN ISOLATION LEVEL REPEATABLE READ', 'SELECT kafka_offset FROM big LIMIT 1' ],
		query => "SELECT count(*) FROM big $window",
		latch => 1,
	},
	{
		name => 'fetch',
		before => [ 'BEGIN', 'DECLARE c CURSOR FOR SELECT v FROM big', 'FETCH 1000 FROM c' ],
		query => 'MOVE FORWARD ALL FROM c',
		latch => 1,
	},
	{
		name => 'kafka.watermarks',
		cold => 1,
		query => q(SELECT count(*) FROM kafka.watermarks('big')),
	},
	{
		name => 'kafka.group_offsets',
		cold => 1,
		query => q(SELECT count(*) FROM kafka.group_offsets('logs', 'nobody')),
		latch => 1,
	});

# Leads a session up to the phase and stops the broker.
sub prepare
{
	my ($phase) = @_;

	if ($phase->{cold} || !$session)
	{
		$session->quit if $session;
		$session = KafkaFdw::Session->new($node);
	}
	$session->value($_) for @{ $phase->{before} // [] };
	$broker->pause;
	return;
}

# The wait of the phase is going on.
sub await_phase
{
	my ($phase) = @_;

	if ($phase->{latch})
	{
		$control->await_state($session, wait_event => 'Extension', state => 'active');
	}
	else
	{
		# Unhindered the statement takes some milliseconds.
		$control->await_running($session, 0.5);
	}
	return;
}

# The session, if it is still there, has all its means again.
sub check_usable
{
	my ($name) = @_;

	$broker->resume;
	$session->run('ROLLBACK');
	is($session->value('SELECT count(*) FROM big'), $COUNT, "$name: the session is usable");
	return;
}

for my $phase (@phases)
{
	my $name = $phase->{name};
	my $result;
	my $begin;

	prepare($phase);
	$session->send($phase->{query});
	await_phase($phase);
	$begin = time;
	$control->value('SELECT pg_cancel_backend(' . $session->pid . ')');
	$result = $session->result;
	cmp_ok(time - $begin, '<', $LIMIT_S, "$name: cancel request acts at once");
	is($result->{sqlstate}, '57014', "$name: cancelled by it");
	check_usable("$name, cancel");

	prepare($phase);
	$session->value("SET statement_timeout = '$TIMEOUT_S s'");
	$result = $session->run($phase->{query});
	cmp_ok($result->{seconds}, '<', $TIMEOUT_S + $LIMIT_S, "$name: statement_timeout acts at once");
	is($result->{sqlstate}, '57014', "$name: cancelled by statement_timeout");
	like($result->{error}, qr/due to statement timeout/, "$name: and by nothing else");
	$session->run('ROLLBACK');
	$session->value('RESET statement_timeout');
	check_usable("$name, statement_timeout");

	prepare($phase);
	$session->send($phase->{query});
	await_phase($phase);
	$begin = time;
	$control->value('SELECT pg_terminate_backend(' . $session->pid . ')');
	wait_until(sub { !-e '/proc/' . $session->pid }, 'the process ends');
	cmp_ok(time - $begin, '<', $LIMIT_S, "$name: terminate ends the process at once");
	$result = $session->result;
	is($result->{sqlstate}, '57P01', "$name: terminated by it");
	ok($result->{ended}, "$name: the session is over");
	$session = undef;
	$broker->resume;
}

# A session with a connected handle and nothing to do goes at once, too.
$session = KafkaFdw::Session->new($node);
$session->value('SELECT count(*) FROM big');
$broker->pause;
my $result = $session->run('SELECT kafka.disconnect()');
cmp_ok($result->{output}, '>=', 1, 'kafka.disconnect: the handles are closed');
cmp_ok($result->{seconds}, '<', $LIMIT_S, 'kafka.disconnect does not wait for the broker');
$broker->resume;
$session->value('SELECT count(*) FROM big');
$broker->pause;
my $begin = time;
$session->quit;
wait_until(sub { !-e '/proc/' . $session->pid }, 'the process ends');
cmp_ok(time - $begin, '<', $LIMIT_S, 'the end of an idle session does not wait for the broker');
$session = undef;
$broker->resume;

# A server that shuts down does not wait for brokers either.
prepare($phases[4]);
$session->send($phases[4]{query});
await_phase($phases[4]);
$begin = time;
$node->stop('fast');
cmp_ok(time - $begin, '<', $LIMIT_S + 1, 'a fast shutdown does not wait for the broker');
$broker->resume;

done_testing();
