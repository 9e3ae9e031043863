# A live view is right at every moment: 1,000 times, while messages come, some of
# them late, runs count them, and the server is killed in the middle of runs.
#
# Each moment is compared with a full recount of the topic in the same statement,
# which sees the same ends, and with the account of what was sent: the messages
# of a partition bear the numbers 1, 2, 3 ..., so what a query sees must be those
# up to some number, which is not below what was acknowledged before it began.
#
# For the latter a role asks that has no right but to SELECT from the live view.
# The broker wants a password, which only the rollup's owner has.
use strict;
use warnings;
use IPC::Run;
use Test::More;
use KafkaFdw::Broker;
use KafkaFdw::Node qw(start_node create_server await_server);
use KafkaFdw::Session qw(wait_until);
use PostgreSQL::Test::Utils qw(slurp_file);

my $MOMENTS = 1000;
my $KILLS = 10;
my $REPORTS = 10;
my $QUIET_MOMENTS = 4;
my $PARTITIONS = 3;
my $SENT_PER_MOMENT = 5;
my $START_MS = 1_714_564_800_000;

my $seed = $ENV{KAFKA_FDW_SEED} // int time;
note "KAFKA_FDW_SEED=$seed";
srand $seed;

my $broker = KafkaFdw::Broker->new(
	set => {
		'sasl.enabled.mechanisms' => 'PLAIN',
		'listener.security.protocol.map' =>
		  'PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SASL_PLAINTEXT:SASL_PLAINTEXT',
		'listener.name.sasl_plaintext.plain.sasl.jaas.config' =>
		  'org.apache.kafka.common.security.plain.PlainLoginModule required user_reader="reader-secret";',
	},
	args => [ '--listener', 'SASL_PLAINTEXT' ]);
$broker->feed("create-topic events partitions=$PARTITIONS\n");

my $node = start_node('main', restart_after_crash => 'on', shared_buffers => '8MB', max_connections => 20,
	# to compile the recounts takes longer than to make them
	jit => 'off');
create_server($node, 'guarded', 'localhost:' . $broker->_env('NODE1_SASL_PLAINTEXT_PORT'),
	security_protocol => 'sasl_plaintext', sasl_mechanism => 'PLAIN');
$node->safe_psql('postgres', <<'EOS');
CREATE ROLE keeper LOGIN;
CREATE ROLE bi LOGIN;
GRANT USAGE ON FOREIGN SERVER guarded TO keeper;
CREATE USER MAPPING FOR keeper SERVER guarded OPTIONS (username 'reader', password 'reader-secret');
CREATE SCHEMA app AUTHORIZATION keeper;
SET ROLE keeper;
CREATE FOREIGN TABLE app.events (p int OPTIONS (partition 'true'), ts timestamptz OPTIONS (timestamp 'true'), s int)
    SERVER guarded OPTIONS (topic 'events', format 'json');
SET search_path = app;
SELECT kafka.create_rollup('buckets', $$
    SELECT date_bin('1 min', ts, '2000-01-01') AS bucket, p, count(*) AS n, sum(s) AS total, max(s) AS top
      FROM events GROUP BY 1, 2 $$);
GRANT USAGE ON SCHEMA app TO bi;
GRANT SELECT ON app.buckets_live TO bi;
EOS

#
# Messages, sent by a feeder that goes on while queries are made
#
my @sent = (0) x $PARTITIONS;
my @acknowledged = @sent;
my ($feed_in, $feed_out, $feed_err) = ('', '', '');
my $feeder = IPC::Run::start([ KafkaFdw::Broker::_feed_program(), '-b', $broker->brokers ],
	'<', \$feed_in, '>', \$feed_out, '2>', \$feed_err);

# Some are up to ten minutes late.
sub send_messages
{
	for (1 .. 1 + int rand 2 * $SENT_PER_MOMENT)
	{
		my $p = int rand $PARTITIONS;
		my $s = ++$sent[$p];
		my $time = $START_MS + $s * 500 - (rand() < 0.25 ? int rand 600_000 : 0);

		$feed_in .= "produce events partition=$p time=$time value='{\"s\": $s}'\n";
	}
	$feed_in .= "flush\necho acknowledged @sent\n";
	return;
}

# What the feeder has told to be acknowledged so far
sub look_at_feeder
{
	$feeder->pumpable or die "feed failed: $feed_err";
	$feeder->pump_nb;
	@acknowledged = split ' ', $1 if $feed_out =~ /.*^acknowledged ([\d ]+)\n/ms;
	return;
}

#
# Sessions, which end when the server is killed
#
my ($runner, $keeper, $bi);

sub connect_all
{
	($runner, $keeper, $bi) = map { KafkaFdw::Session->new($node, user => $_) } qw(keeper keeper bi);
	$runner->send("CALL kafka.run_rollups('buckets', max_rows => 7)\n\\watch 0.02");
	return;
}

sub kill_runner
{
	$keeper->await_state($runner, state => 'active');
	kill 'KILL', $runner->pid;
	wait_until(sub { $keeper->run('SELECT 1')->{ended} }, 'the server restarts');
	$_->quit for $runner, $keeper, $bi;
	await_server($node);
	connect_all();
	return;
}

#
# Moments
#
my $RECOUNT = <<'EOS';
WITH live AS MATERIALIZED (TABLE app.buckets_live), recount AS MATERIALIZED (TABLE app._buckets_def)
SELECT (SELECT count(*) FROM (TABLE live EXCEPT ALL TABLE recount) AS surplus),
       (SELECT count(*) FROM (TABLE recount EXCEPT ALL TABLE live) AS missing),
       (SELECT sum(n) FROM app.buckets) IS DISTINCT FROM (SELECT sum(n) FROM live)
EOS
my $SUMMARY = 'SELECT p, sum(n), sum(total), max(top) FROM app.buckets_live GROUP BY p ORDER BY p';
my @seen = (0) x $PARTITIONS;
my $tails = 0;

# What is wrong with a summary, '' for nothing: at least these messages of each
# partition, and no fewer than were seen before
sub find_problems
{
	my ($summary, @least) = @_;
	my @problems;
	my %rows = map { my @row = split /\|/; $row[0] => \@row } split /\n/, $summary;

	for my $p (0 .. $PARTITIONS - 1)
	{
		my (undef, $n, $total, $top) = @{ $rows{$p} // [ $p, 0, 0, 0 ] };

		push @problems, "partition $p: $n messages, sum $total, last $top"
		  if $top != $n || $total != $n * ($n + 1) / 2;
		push @problems, "partition $p: $n of at least $least[$p]" if $n < $least[$p];
		push @problems, "partition $p: $n after $seen[$p]" if $n < $seen[$p];
		push @problems, "partition $p: $n of $sent[$p]" if $n > $sent[$p];
		$seen[$p] = $n;
	}
	return @problems;
}

sub look
{
	my @problems;
	my ($surplus, $missing, $has_tail) = split /\|/, $keeper->value($RECOUNT);

	$tails++ if $has_tail eq 't';
	push @problems, "surplus $surplus, missing $missing" if $surplus || $missing;
	look_at_feeder();
	push @problems, find_problems($bi->value($SUMMARY), @acknowledged);
	return @problems;
}

# Nothing is sent: what is seen is exactly that which was.
sub look_when_quiet
{
	my ($name) = @_;

	wait_until(sub { look_at_feeder(); "@acknowledged" eq "@sent" }, 'all is acknowledged');
	is(join(' ', look()), '', "$name: no difference");
	is("@seen", "@sent", "$name: all of it");
	return;
}

connect_all();
my @problems;
for my $moment (1 .. $MOMENTS)
{
	send_messages();
	kill_runner() if $moment % ($MOMENTS / $KILLS) == 50;
	$runner->notices;
	push @problems, map { "moment $moment: $_" } look();
	if ($moment % ($MOMENTS / $REPORTS) == 0)
	{
		is("@problems", '', "moments up to $moment");
		@problems = ();
	}
	look_when_quiet("moment $moment, quiet") if $moment % ($MOMENTS / $QUIET_MOMENTS) == 0;
}
cmp_ok($tails, '>=', $MOMENTS / 10, 'often there was something beyond the rollup');
cmp_ok($keeper->value(q(SELECT count(*) FROM kafka.rollup_runs WHERE event = 'batch')),
	'>=', $MOMENTS / 10, 'and runs went on');

wait_until(
	sub {
		$runner->notices;
		$bi->value('SELECT sum(n) FROM app.buckets_live') ==
		  $keeper->value('SELECT coalesce(sum(n), 0) FROM app.buckets');
	},
	'the rollup has counted all');
is($keeper->value($SUMMARY =~ s/buckets_live/buckets/r), $bi->value($SUMMARY), 'it is what was shown before');
is(join(' ', look()), '', 'and without a tail, too');
is("@seen", "@sent", 'all of it');

#
# What that role may
#
like($bi->run('SELECT * FROM app.buckets')->{error}, qr/permission denied for view buckets/, 'the rollup alone it may not read');
like($bi->run(q(SELECT * FROM app.events WHERE kafka.in_tail('buckets', events.tableoid)))->{error},
	qr/permission denied for foreign table events/, 'nor its tail');
like($bi->run('SELECT * FROM kafka.stored_position')->{error}, qr/permission denied/, 'nor positions');
is($bi->value('SELECT count(*) FROM kafka.rollups'), 0, 'nor does it see that there is a rollup');

#
# A broker that is away is an error within connect_timeout.
#
$keeper->value('SELECT pg_terminate_backend(' . $runner->pid . ')');
$runner->quit;
$node->safe_psql('postgres', q(ALTER SERVER guarded OPTIONS (ADD connect_timeout '1s', ADD fetch_timeout '1s')));
$feed_in = '';
$feeder->finish or die "feed failed: $feed_err";
$broker->kill;
my $result = $bi->run('TABLE app.buckets_live');
like($result->{sqlstate}, qr/^(08|HV)/, 'without a broker there is an error');
cmp_ok($result->{seconds}, '<', 10, 'and soon');
isnt($keeper->value('SELECT sum(n) FROM app.buckets'), '', 'the rollup alone asks no broker');

unlike(slurp_file($node->logfile), qr/TRAP|PANIC|signal 11/, 'the server did not crash by itself');
done_testing();
