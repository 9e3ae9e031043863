# One session that fails, is cancelled, stops early and rescans thousands of
# times has afterwards as many threads, descriptors and as much memory as
# before; handles that nobody uses are closed.
use strict;
use warnings;
use Time::HiRes qw(time usleep);
use Test::More;
use IPC::Run;
use PostgreSQL::Test::Utils;
use KafkaFdw::Broker;
use KafkaFdw::Node qw(start_node create_server create_table backend_usage);
use KafkaFdw::Session qw(wait_until);

# What memory may differ by from one time to the next. What more it grows by in
# each of some rounds is a leak; what is read ahead and lies about differs, too,
# but does not grow.
my $RSS_SLACK_KB = 4 * 1024;
my $ROUNDS = 3;
my $tmp = $PostgreSQL::Test::Utils::tmp_check;

my $broker = KafkaFdw::Broker->new;
$broker->feed(<<"EOF");
create-topic big partitions=3
generate big count=300000 partitions=3 time=1000000 step=1 value='{"n": {n}, "pad": "@{['x' x 150]}"}'
create-topic bad partitions=2
generate bad count=2000 partitions=2 time=1000000 value='{"n": {n}}'
produce bad value='{"n": "no number"}'
generate bad count=2000 partitions=2 time=1000000 value='{"n": {n}}'
create-topic small
generate small count=100 time=1000000 value='{"n": {n}}'
EOF

# An rd_kafka_destroy that hangs while a file is there
my $hang = "$tmp/hang";
IPC::Run::run([ $ENV{CC} // 'gcc', '-x', 'c', '-', '-shared', '-fPIC', '-o', "$hang.so", '-ldl' ],
	'<', \<<"EOF") or die;
#define _GNU_SOURCE
#include <dlfcn.h>
#include <unistd.h>

void
rd_kafka_destroy(void *rk)
{
	while (access("$hang", F_OK) == 0)
		usleep(10000);
	((void (*)(void *)) dlsym(RTLD_NEXT, "rd_kafka_destroy"))(rk);
}
EOF

# Free memory goes back to the system at once, so that the memory that a
# process has is the memory in use.
my $node;
{
	local %ENV = (
		%ENV,
		LD_PRELOAD => "$hang.so",
		MALLOC_ARENA_MAX => 1,
		MALLOC_MMAP_THRESHOLD_ => 131072,
		MALLOC_TRIM_THRESHOLD_ => 131072);

	$node = start_node('main', jit => 'off');
}

my $columns = q(kafka_partition int OPTIONS (partition 'true'),
	kafka_offset bigint OPTIONS (offset 'true'), n int);
my $nobody = PostgreSQL::Test::Cluster::get_free_port();

create_server($node, 'logs', $broker, fetch_timeout => '5s');
create_server($node, 'dead', "127.0.0.1:$nobody", connect_timeout => '100ms');
create_table($node, $_, 'logs', $columns, topic => $_) for 'big', 'bad', 'small', 'missing';
create_table($node, 'dead', 'dead', $columns, topic => 'small');

my $session = KafkaFdw::Session->new($node);
my $pid = $session->pid;

# What the session holds; of descriptors those of no file, since the server
# keeps files of its own open.
sub usage_now
{
	my %usage = backend_usage($pid);

	$usage{fds} = grep { (readlink // '') !~ m{^/} } glob "/proc/$pid/fd/*";
	return %usage;
}

# The same once it has closed its handles
sub usage
{
	my (%base) = @_;
	my %usage;

	$session->value('SELECT n FROM small LIMIT 1');
	$session->value('SELECT kafka.disconnect()');

	# The thread that looks after idle handles may take a moment to end.
	my $end = time + 30;
	while (1)
	{
		%usage = usage_now();
		return %usage if $usage{threads} <= ($base{threads} // 1) || time > $end;
		usleep(1000);
	}
}

# Statements as one script; returns the SQLSTATEs of those that failed.
sub run_all
{
	my (@statements) = @_;
	my $result = $session->run(join ";\n", @statements);

	die 'the session is gone' if $result->{ended};
	return $result->{error} =~ /^ERROR:  (\w{5}):/mg;
}

# Calls a function, which does something often, and compares: again if memory
# grew.
sub check_usage
{
	my ($name, $function) = @_;
	my (%before, %after);

	for my $round (1 .. $ROUNDS)
	{
		%before = usage();
		$function->();
		%after = usage(%before);
		note "$name: $before{rss_kb} to $after{rss_kb} kB, $after{threads} threads, $after{fds} descriptors";
		last if $after{rss_kb} - $before{rss_kb} < $RSS_SLACK_KB;
	}
	is($after{threads}, $before{threads}, "$name: threads");
	is($after{fds}, $before{fds}, "$name: descriptors");
	cmp_ok($after{rss_kb} - $before{rss_kb}, '<', $RSS_SLACK_KB, "$name: memory");
	return;
}

# Runs statements some times to warm up, then often, and compares.
sub check_leaks
{
	my ($name, $times, $statements, $sqlstate, $expected) = @_;

	run_all((@$statements) x (1 + $times / 4));
	check_usage(
		$name,
		sub {
			my @failed = run_all((@$statements) x $times);

			is(scalar(@failed), $expected // 0, "$name: failures");
			is(scalar(grep { $_ ne $sqlstate } @failed), 0, "$name: as expected") if defined $sqlstate;
		});
	return;
}

$session->value('SELECT count(*) FROM big');
$session->value('SELECT count(*) FROM small');

#
# Failures
#
check_leaks('dead broker', 50, ['SELECT * FROM dead'], 'HV00N', 50);
check_leaks('unknown topic', 50, ['SELECT * FROM missing'], 'HV00R', 50);
check_leaks('bad message in the middle', 50, ['SELECT count(n) FROM bad'], '22P02', 50);
check_leaks('division by zero', 50, ['SELECT 1 / (n - 50) FROM small'], '22012', 50);
check_leaks('failure in a savepoint',
	50, [ 'BEGIN', 'SAVEPOINT s', 'SELECT count(n) FROM bad', 'ROLLBACK TO s', 'SELECT n FROM small LIMIT 1', 'COMMIT' ],
	'22P02', 50);
check_leaks('failure in a block',
	50, [
		'DO $$ BEGIN PERFORM count(n) FROM bad; EXCEPTION WHEN invalid_text_representation THEN NULL; END $$'
	]);

#
# Cancellation: everywhere from the connecting to the middle of the data
#
check_leaks(
	'cancelled', 8,
	[
		# That it is reset when the query fails, without a statement of its own,
		# which could be cancelled too
		map { ('BEGIN', "SET LOCAL statement_timeout = $_", 'SELECT count(n), sum(n), avg(n) FROM big', 'ROLLBACK') }
		  (5 .. 29)
	],
	'57014', 200);

#
# Early ends
#
check_leaks('LIMIT', 200, ['SELECT n FROM big LIMIT 10']);
check_leaks('open cursor, rollback',
	200, [ 'BEGIN', 'DECLARE c CURSOR FOR SELECT n FROM big', 'MOVE 10 IN c', 'ROLLBACK' ]);
check_leaks('open cursor, savepoint rollback',
	50, [ 'BEGIN', 'SAVEPOINT s', 'DECLARE c CURSOR FOR SELECT n FROM big', 'MOVE 10 IN c', 'ROLLBACK TO s', 'COMMIT' ]);
check_leaks('two scans at a time',
	50, ['SELECT count(*) FROM (SELECT n FROM big LIMIT 5) a, (SELECT n FROM big LIMIT 5) b']);

#
# Rescans
#
# One in ten finds an offset that exists, and has to read it, which takes about
# ten milliseconds; the others have the bounds alone.
my $rescans =
  'SELECT count(n) FROM generate_series(1, %d) g, LATERAL (SELECT n FROM small WHERE kafka_offset = g %% 1000 OFFSET 0) s';
$session->value('SET enable_memoize = off');
like($session->value('EXPLAIN ' . sprintf($rescans, 10000)), qr/Nested Loop.*Foreign Scan/s, 'rescans: planned so');
$session->value(sprintf $rescans, 1000);
check_usage('rescans', sub { is($session->value(sprintf $rescans, 10000), 1000, 'rescans: rows') });

#
# Idle handles
#
my %before = usage();
$session->value('SELECT n FROM small LIMIT 1');
my %warm = backend_usage($pid);
cmp_ok($warm{threads}, '>', $before{threads}, 'a finished query leaves its handle');
is($session->value('SELECT kafka.disconnect()'), 1, 'kafka.disconnect closes it');
my %after = usage(%before);
is_deeply([ @after{qw(threads fds)} ], [ @before{qw(threads fds)} ], 'and all that belonged to it');
is($session->value('SELECT kafka.disconnect()'), 0, 'then there is nothing to close');

# Waits, while the session does nothing, until it holds no more than before.
sub await_closed
{
	my ($name) = @_;
	my %now;

	wait_until(
		sub {
			%now = usage_now();
			$now{threads} <= $before{threads} && $now{fds} <= $before{fds};
		},
		$name);
	is_deeply([ @now{qw(threads fds)} ], [ @before{qw(threads fds)} ], $name);
	return;
}

create_server($node, 'brief', $broker, handle_idle_timeout => '4s');
create_table($node, 'brief', 'brief', $columns, topic => 'small');
my $begin = time;
$session->value('SELECT n FROM brief LIMIT 1');
cmp_ok({ backend_usage($pid) }->{threads}, '>', $before{threads}, 'handle_idle_timeout: not closed at once');
await_closed('handle_idle_timeout: closed while the session idles');
cmp_ok(time - $begin, '>=', 4, 'handle_idle_timeout: not before its time');
is($session->value('SELECT count(*) FROM brief'), 100, 'handle_idle_timeout: the next query connects again');

create_server($node, 'never', $broker, handle_idle_timeout => '0');
create_table($node, 'never', 'never', $columns, topic => 'small');
$session->value('SELECT kafka.disconnect()');
$session->value('SELECT n FROM never LIMIT 1');
await_closed('handle_idle_timeout 0: closed with the query');

$session->value('SELECT n FROM small LIMIT 1');
$session->value(q(ALTER SERVER logs OPTIONS (SET fetch_timeout '6s')));
await_closed('ALTER SERVER: closed');

$session->value(q(CREATE USER MAPPING FOR CURRENT_USER SERVER logs OPTIONS (username 'u', password 'p')));
$session->value('SELECT n FROM small LIMIT 1');
$session->value('DROP USER MAPPING FOR CURRENT_USER SERVER logs');
await_closed('DROP USER MAPPING: closed');

$session->value('SELECT n FROM small LIMIT 1');
my $other = KafkaFdw::Session->new($node);
$other->value(q(ALTER SERVER logs OPTIONS (SET fetch_timeout '5s')));
$session->value('SELECT 1');
await_closed('ALTER SERVER by another session: closed at the next statement');

#
# A handle that cannot be closed: half a second is waited for it
# (END_PATIENCE_MS), and the rest is for a busy machine.
#
my $HANG_S = 5;
open my $file, '>', $hang or die;
close $file;
my $result = $session->run('SELECT * FROM missing');
is($result->{sqlstate}, 'HV00R', 'destroying hangs: the query ends');
cmp_ok($result->{seconds}, '<', $HANG_S, 'destroying hangs: in time');
$result = $session->run('SELECT count(*) FROM small');
is($result->{output}, 100, 'destroying hangs: the next query works');
like($result->{error}, qr/WARNING:.*handle could not be closed in time/, 'destroying hangs: and tells of it');
unlike($session->run('SELECT count(*) FROM small')->{error}, qr/WARNING/, 'destroying hangs: once');
unlink $hang;
$session->value('SELECT kafka.disconnect()');
await_closed('destroying goes on: nothing is left');

open $file, '>', $hang or die;
close $file;
$session->value('SELECT n FROM small LIMIT 1');
$begin = time;
$session->quit;
wait_until(sub { !-e "/proc/$pid" }, 'the session ends');
cmp_ok(time - $begin, '<', $HANG_S, 'destroying hangs: the session can end');
unlink $hang;

done_testing();
