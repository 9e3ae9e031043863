# Brokers that die, stop, lie, forget and refuse: a query gives all rows or an
# error that says what happened, never a part of the rows, and never waits for
# ever. Afterwards the same session works again.
use strict;
use warnings;
use Time::HiRes qw(time);
use Test::More;
use IO::Select;
use IO::Socket::INET;
use IPC::Run;
use PostgreSQL::Test::Utils;
use KafkaFdw::Broker;
use KafkaFdw::Node qw(start_node create_server create_table backend_usage);
use KafkaFdw::Session qw(wait_until);

my $COUNT = 300_000;
my $PAD = 'x' x 200;

# A fault in the middle of a scan is none for what the scan has read ahead, on
# a fast machine all that it may. With this memory_limit that is (see
# kafka_config_buffering) 2 MB or 2 MB / 256 = 8192 messages in the queue; an
# answer of up to 128 kB, less than 700 of our messages, from each of at most three
# brokers; and a batch of at most 1000 taken from the queue. The first 1000
# messages of three partitions were read before. Together these are less than
# 14,400: about a quarter of the smallest topic here, a seventh of a partition of
# the others, a twentieth of a topic. An answer may exceed its limit by the first of
# its batches, so these are small, too.
my $MEMORY_LIMIT = '8MB';
my $READ_AHEAD = 14_400;
my $BATCHES = 'set batch.size=65536';

# What a busy machine may take for things that take no time
my $SLACK_S = 5;

# One broker in three roles: its second listener, SSL by name, plaintext by
# protocol, will come to advertise an address where nobody listens; the third
# wants a login, whose user has no rights.
my $broker = KafkaFdw::Broker->new(
	set => {
		'listener.security.protocol.map' =>
		  'PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SSL:PLAINTEXT,SASL_PLAINTEXT:SASL_PLAINTEXT',
		'sasl.enabled.mechanisms' => 'PLAIN',
		'listener.name.sasl_plaintext.plain.sasl.jaas.config' =>
		  'org.apache.kafka.common.security.plain.PlainLoginModule required user_reader="reader-secret";',
		'authorizer.class.name' => 'org.apache.kafka.metadata.authorizer.StandardAuthorizer',
		'super.users' => 'User:ANONYMOUS',
	},
	args => [ '--listener', 'SSL', '--listener', 'SASL_PLAINTEXT' ]);
$broker->feed(<<"EOF");
create-topic big partitions=3
$BATCHES
generate big count=$COUNT partitions=3 time=1000000 step=1 value='{n} $PAD'
create-topic small
produce small value=1
EOF

my $node = start_node('main');
my %quick = (connect_timeout => '2s', fetch_timeout => '2s', max_silence => '6s', memory_limit => $MEMORY_LIMIT);
my $QUICK_S = 2 + 2 + 6;

# Who ends by one of these has not told at once.
my %slow = (connect_timeout => '30s', fetch_timeout => '30s', max_silence => '60s');
my $columns = q(kafka_partition int OPTIONS (partition 'true'),
	kafka_offset bigint OPTIONS (offset 'true'), v text OPTIONS (value 'true'));

create_server($node, 'quick', $broker, %quick);
create_server($node, 'patient', $broker, memory_limit => $MEMORY_LIMIT);
create_table($node, 'big', 'quick', $columns, topic => 'big');
create_table($node, 'big_patient', 'patient', $columns, topic => 'big');

# Passes bytes on between a port and another one, each way a while late.
sub delay_answers
{
	my ($port, $target, $delay_s) = @_;
	my $server = IO::Socket::INET->new(LocalAddr => "127.0.0.1:$port", Listen => 20, ReuseAddr => 1);
	my $select = IO::Select->new($server);
	my (%peer, @late);

	while (1)
	{
		my $wait_s = @late ? $late[0][0] - time : 1;

		for my $from ($select->can_read($wait_s > 0 ? $wait_s : 0))
		{
			if ($from == $server)
			{
				my $client = $server->accept;
				my $broker_end = IO::Socket::INET->new(PeerAddr => "127.0.0.1:$target") or next;

				@peer{ $client, $broker_end } = ($broker_end, $client);
				$select->add($client, $broker_end);
			}
			elsif (sysread($from, my $bytes, 65536))
			{
				push @late, [ time + $delay_s, $peer{$from}, $bytes ];
			}
			else
			{
				$select->remove($from);
				push @late, [ time + $delay_s, $peer{$from} ];
			}
		}
		while (@late && $late[0][0] <= time)
		{
			my (undef, $to, $bytes) = @{ shift @late };

			defined $bytes ? $to->print($bytes) : $to->shutdown(1);
			$to->flush;
		}
	}
	return;
}

# gate() waits, once the scan has come to offset 1000, for whoever holds the
# advisory lock: so a fault strikes in the middle of a scan, every time.
$node->safe_psql('postgres', <<'EOF');
CREATE FUNCTION gate() RETURNS int LANGUAGE plpgsql AS $$
BEGIN
	PERFORM pg_advisory_xact_lock_shared(1);
	RETURN 1;
END $$;
EOF

sub gated
{
	my ($table) = @_;

	return "SELECT count(*), count(DISTINCT (kafka_partition, kafka_offset)) FROM"
	  . " (SELECT kafka_partition, kafka_offset, CASE WHEN kafka_offset = 1000 THEN gate() END FROM $table OFFSET 0) s";
}

my $control = KafkaFdw::Session->new($node);
my $session = KafkaFdw::Session->new($node);

# Starts a scan and lets it come to the gate.
sub start_scan
{
	my ($table) = @_;

	$control->value('SELECT pg_advisory_lock(1)');
	$session->send(gated($table));
	$control->await_state($session, wait_event => 'advisory');
	return;
}

sub open_gate { $control->value('SELECT pg_advisory_unlock(1)'); return }

# The scan waits for the broker.
sub await_silence
{
	$control->await_state($session, wait_event => 'Extension');
	return;
}

# All rows once, in the session that had the fault before.
sub check_complete
{
	my ($name, $table, $count) = @_;

	is($session->value("SELECT count(*) FROM $table"), $count // $COUNT, $name);
	return;
}

check_complete('undisturbed', 'big');

# Another session has a connected handle and nothing to do.
my $idle = KafkaFdw::Session->new($node);
$idle->value('SELECT count(*) FROM big_patient');

#
# The broker dies
#
start_scan('big');
$broker->kill;
open_gate();
my $result = $session->result;
is($result->{output}, '', 'killed during the scan: no result');
like($result->{sqlstate}, qr/^(08|HV)/, 'killed during the scan: an error about the connection');
like($result->{error}, qr/Kafka server "quick"|topic "big"/, 'killed during the scan: what failed');
like($result->{error}, qr/Connection refused/, 'killed during the scan: why');
unlike($result->{error}, qr/advertised/, 'killed during the scan: no talk of addresses, which are right');

$result = $session->run('SELECT count(*) FROM big');
is($result->{sqlstate}, 'HV00N', 'killed before the scan: error class');
like($result->{error}, qr/could not connect to Kafka server "quick": .*Connection refused/,
	'killed before the scan: server and cause');
like($result->{error}, qr/HINT:  Check the "brokers"/, 'killed before the scan: hint');
cmp_ok($result->{seconds}, '<', 2 + $SLACK_S, 'killed before the scan: told in time');

# From here on the second listener names an address where nobody listens.
my ($nobody) = PostgreSQL::Test::Cluster::get_free_port();
my $env = { map { /^(\w+)=(.*)$/ } split /\n/, slurp_file($broker->dir . '/env') };
open my $properties, '>>', $broker->dir . '/node1/server.properties' or die;
print $properties "advertised.listeners=PLAINTEXT://127.0.0.1:$env->{NODE1_PORT},"
  . "SSL://127.0.0.1:$nobody,SASL_PLAINTEXT://localhost:$env->{NODE1_SASL_PLAINTEXT_PORT}\n";
close $properties;
$broker->restart;
check_complete('complete after the restart', 'big');
is($idle->value('SELECT count(*) FROM big_patient'), $COUNT, 'a handle that was idle meanwhile works');
cmp_ok($idle->value('SELECT kafka.disconnect()'), '>=', 1, 'and was kept');
$idle->quit;

#
# The broker stops, and goes on
#
start_scan('big_patient');
$broker->pause;
open_gate();
await_silence();
$broker->resume;
$result = $session->result;
is($result->{output}, "$COUNT|$COUNT", 'stopped for a while: complete, each record once');
is($result->{error}, '', 'stopped for a while: not a word');

start_scan('big');
$broker->pause;
open_gate();
$result = $session->result;
$broker->resume;
is($result->{output}, '', 'stopped for good: no result');
like($result->{sqlstate}, qr/^(08|HV)/, 'stopped for good: an error about the connection');
cmp_ok($result->{seconds}, '<', $QUICK_S + $SLACK_S, 'stopped for good: told within the time-outs');
check_complete('complete after the stop', 'big');

# A broker that is stopped longer than fetch_timeout answers the leader check
# when it goes on: no error for a scan that can wait.
$session->value(q(SET kafka_fdw.progress_interval = '100ms'));
start_scan('big_patient');
$broker->pause;
open_gate();
wait_until(sub { $session->notices =~ /NOTICE:.*read \d+ messages of Kafka topic "big"/ },
	'a progress notice while the broker is silent');
await_silence();
$broker->resume;
$result = $session->result;
is($result->{output}, "$COUNT|$COUNT", 'silence was told by notices, then complete');
like($result->{error}, qr/Partitions still to be read: big\/\d/, 'the notices name partitions');
$session->value('RESET kafka_fdw.progress_interval');

#
# The broker restarts during a scan
#
start_scan('big_patient');
$broker->kill;
open_gate();
await_silence();
$broker->restart;
$result = $session->result;
is($result->{output}, "$COUNT|$COUNT", 'restarted during the scan: complete, each record once');

#
# Topics that change during a scan
#
sub make_topic
{
	my ($name, $count) = @_;

	$broker->feed("create-topic $name\n$BATCHES\ngenerate $name count=$count time=1000000 value='{n} $PAD'\n");
	return;
}

for my $topic ('deleted', 'shorter', 'longer', 'trimmed', 'emptied')
{
	make_topic($topic, 60_000);
	create_table($node, $topic, 'quick', $columns, topic => $topic);
}

start_scan('deleted');
$broker->feed("delete-topic deleted\n");
open_gate();
$result = $session->result;
is($result->{output}, '', 'topic deleted: no result');
is($result->{sqlstate}, 'HV00R', 'topic deleted: error class');
like($result->{error}, qr/topic "deleted" does not exist/, 'topic deleted: named');
cmp_ok($result->{seconds}, '<', $QUICK_S + $SLACK_S, 'topic deleted: told within the time-outs');

start_scan('shorter');
$broker->feed("delete-topic shorter\n");
make_topic('shorter', 100);
open_gate();
$result = $session->result;
is($result->{output}, '', 'topic recreated, shorter than the position: no result');
is($result->{sqlstate}, '55000', 'topic recreated, shorter than the position: error class');
like($result->{error}, qr/topic "shorter" partition 0 was truncated or recreated/,
	'topic recreated, shorter than the position: named');
like($result->{error}, qr/Its end was offset 60000 when the scan began and is 100 now/,
	'topic recreated, shorter than the position: both ends');
check_complete('topic recreated: the next query reads the new one', 'shorter', 100);

# The position exists in the new topic, the end of the snapshot does not.
start_scan('longer');
$broker->feed("delete-topic longer\n");
make_topic('longer', 59_000);
open_gate();
$result = $session->result;
is($result->{output}, '', 'topic recreated, shorter than the snapshot: no result');
is($result->{sqlstate}, '55000', 'topic recreated, shorter than the snapshot: error class');

# What the library has read ahead is lost to nobody, so how many are is known
# only when the scan ends; together they are all. Here it shows that the
# read-ahead is no more than all these scenarios rest on.
start_scan('trimmed');
$broker->feed("delete-records trimmed 0 59000\n");
open_gate();
$result = $session->result;
my ($read, $distinct) = split /\|/, $result->{output};
my ($lost) = $result->{error} =~
  /WARNING:  01000: (\d+) messages of topic "trimmed" partition 0 were removed before they could be read/;
cmp_ok($read, '>=', 1000 + 1000, 'records deleted: those after the new start are read');
cmp_ok($read, '<=', 1000 + $READ_AHEAD, 'records deleted: before it, no more than was read ahead');
is($read, $distinct, 'records deleted: none twice');
is($read + $lost, 60_000, 'records deleted: the warning has the number of those lost');
like($result->{error}, qr/earliest offset kept by the broker is now 59000/, 'records deleted: the new start');
unlike($result->{error}, qr/WARNING.*WARNING/s, 'records deleted: told once');
check_complete('records deleted: the next query starts there', 'trimmed', 1000);

start_scan('emptied');
$broker->feed("delete-records emptied 0 -1\n");
open_gate();
$result = $session->result;
($read) = split /\|/, $result->{output};
($lost) = $result->{error} =~ /WARNING:  01000: (\d+) messages of topic "emptied"/;
is($read + $lost, 60_000, 'all records deleted: what was not read is told');
check_complete('all records deleted: the next query finds none', 'emptied', 0);

# A topic that a connected handle has read is deleted, or made anew with fewer
# partitions. When reading ends with a fetch under way, as after a LIMIT,
# librdkafka before 2.6.1 would then wait for ever to end the handle. There is
# always one under way where the queue does not fill: the default memory_limit
# allows 65,536 messages and 16 MB, more than the whole topic.
create_server($node, 'roomy', $broker, %quick, memory_limit => '64MB');
sub count_threads
{
	my ($of) = @_;
	my %usage = backend_usage($of->pid);

	return $usage{threads};
}

for my $partitions (0, 2)
{
	my $topic = "gone_$partitions";
	my $limit = KafkaFdw::Session->new($node);
	my $threads = count_threads($limit);

	$broker->feed("create-topic $topic partitions=5\ngenerate $topic count=50000 partitions=5 time=1000000 value='{n} $PAD'\n");
	create_table($node, $topic, 'roomy', $columns, topic => $topic);
	is($limit->value("SELECT count(*) FROM (SELECT v FROM $topic LIMIT 10) s"), 10, "$topic: read") for 1 .. 3;
	$broker->feed("delete-topic $topic\n");
	$broker->feed("create-topic $topic partitions=$partitions\nproduce $topic value=1\n") if $partitions;
	$result = $limit->run("SELECT count(*) FROM (SELECT v FROM $topic LIMIT 10) s");
	if ($partitions)
	{
		is($result->{output}, 1, "$topic: the new one is read");
	}
	else
	{
		is($result->{sqlstate}, 'HV00R', "$topic: does not exist");
	}
	$result = $limit->run('SELECT kafka.disconnect()');
	is($result->{output}, $partitions ? 1 : 0, "$topic: handles left");
	ok(wait_until(sub { count_threads($limit) <= $threads }, "$topic: the handle's threads end"),
		"$topic: ending the handle does not hang");
	is($limit->run('SELECT count(*) FROM big')->{error}, '', "$topic: no handle was left behind");
	$limit->quit;
}

# What a topic's settings promise is asked anew for each query.
my $window = q(WHERE ts >= timestamptz 'epoch' + interval '1000 s' AND ts < timestamptz 'epoch' + interval '2000 s');
create_table($node, 'promising', 'quick', "$columns, ts timestamptz OPTIONS (timestamp 'true')", topic => 'promising');
$broker->feed("create-topic promising message.timestamp.before.max.ms=1000 message.timestamp.after.max.ms=1000\n"
	  . "produce promising value=1\n");
is($session->value("SELECT count(*) FROM promising $window"), 0, 'topic with limits: nothing in the window');
$broker->feed("delete-topic promising\ncreate-topic promising\nset batch=record\n"
	  . "produce promising time=9000000 value=late\nproduce promising time=1500000 value=hit\n");
is($session->value("SELECT count(*) FROM promising $window"), 1, 'made anew without limits: its records come in any order');

#
# Wrong names and addresses
#
create_table($node, 'misspelt', 'quick', $columns, topic => 'smal');
$result = $session->run('SELECT * FROM misspelt');
is($result->{sqlstate}, 'HV00R', 'unknown topic: error class');
like($result->{error}, qr/topic "smal" does not exist/, 'unknown topic: named');
like($result->{error}, qr/HINT:  Perhaps you meant the topic "small"/, 'unknown topic: the nearest name');
is($broker->feed_fails("produce smal value=1\n") =~ /no partition/, 1, 'unknown topic: asking did not create it');

create_server($node, 'misled', "localhost:$env->{NODE1_SSL_PORT}", %quick);
create_table($node, 'misled', 'misled', $columns, topic => 'small');
$result = $session->run('SELECT * FROM misled');
is($result->{output}, '', 'wrong advertised listener: no result');
is($result->{sqlstate}, 'HV00N', 'wrong advertised listener: error class');
like($result->{error}, qr/DETAIL:  .*"localhost:$env->{NODE1_SSL_PORT}".*"127\.0\.0\.1:$nobody"/,
	'wrong advertised listener: both addresses');
like($result->{error}, qr/HINT:  .*advertised\.listeners/, 'wrong advertised listener: the setting to look at');
cmp_ok($result->{seconds}, '<', $QUICK_S + $SLACK_S, 'wrong advertised listener: told within the time-outs');

create_server($node, 'nobody', "127.0.0.1:$nobody", %quick);
create_table($node, 'nobody', 'nobody', $columns, topic => 'small');
$result = $session->run('SELECT * FROM nobody');
is($result->{sqlstate}, 'HV00N', 'nobody listens: error class');
like($result->{error}, qr/could not connect to Kafka server "nobody": .*127\.0\.0\.1:$nobody.*Connection refused/,
	'nobody listens: address and cause');

create_server($node, 'nowhere', 'no-such-host.invalid:9092', %quick);
create_table($node, 'nowhere', 'nowhere', $columns, topic => 'small');
$result = $session->run('SELECT * FROM nowhere');
is($result->{sqlstate}, 'HV00N', 'no such host: error class');
like($result->{error}, qr/could not connect to Kafka server "nowhere": .*no-such-host\.invalid/,
	'no such host: named');
cmp_ok($result->{seconds}, '<', 2 + $SLACK_S, 'no such host: told in time');

# One of the addresses is enough.
create_server($node, 'mixed', "no-such-host.invalid:9092,127.0.0.1:$nobody," . $broker->brokers, %quick);
create_table($node, 'mixed', 'mixed', $columns, topic => 'small');
check_complete('two of three addresses are wrong: complete', 'mixed', 1);

# A proxy at the address that the second listener names; each answer is put
# off for longer than the shortest waits.
my $proxy = fork // die;
if (!$proxy)
{
	delay_answers($nobody, $env->{NODE1_SSL_PORT}, 0.25);
}
wait_until(sub { IO::Socket::INET->new(PeerAddr => "127.0.0.1:$nobody") }, 'the proxy listens');
create_server($node, 'slow', "127.0.0.1:$nobody");
create_table($node, 'slow', 'slow', $columns, topic => 'small');
check_complete('round trips of half a second: complete', 'slow', 1);
kill 'KILL', $proxy;
waitpid $proxy, 0;

#
# Rights
#
my $grant = "$PostgreSQL::Test::Utils::tmp_check/grant";
IPC::Run::run([ $ENV{CC} // 'gcc', '-x', 'c', '-', '-o', $grant, '-lrdkafka' ], '<', \<<'EOF') or die;
/* grant BROKERS TOPIC describe|read: gives User:reader this right. */
#include <librdkafka/rdkafka.h>
#include <stdio.h>
#include <string.h>

int
main(int argc, char **argv)
{
	char reason[512];
	rd_kafka_conf_t *conf = rd_kafka_conf_new();
	rd_kafka_t *rk;
	rd_kafka_queue_t *queue;
	rd_kafka_AclBinding_t *acl;
	rd_kafka_event_t *event;
	const rd_kafka_acl_result_t **results;
	size_t count;

	rd_kafka_conf_set(conf, "bootstrap.servers", argv[1], NULL, 0);
	rk = rd_kafka_new(RD_KAFKA_PRODUCER, conf, reason, sizeof(reason));
	queue = rd_kafka_queue_new(rk);
	acl = rd_kafka_AclBinding_new(
		RD_KAFKA_RESOURCE_TOPIC, argv[2], RD_KAFKA_RESOURCE_PATTERN_LITERAL,
		"User:reader", "*",
		strcmp(argv[3], "read") ? RD_KAFKA_ACL_OPERATION_DESCRIBE
								: RD_KAFKA_ACL_OPERATION_READ,
		RD_KAFKA_ACL_PERMISSION_TYPE_ALLOW, reason, sizeof(reason));
	rd_kafka_CreateAcls(rk, &acl, 1, NULL, queue);
	event = rd_kafka_queue_poll(queue, 30000);
	if (!event || rd_kafka_event_error(event))
		return 1;
	results = rd_kafka_CreateAcls_result_acls(
		rd_kafka_event_CreateAcls_result(event), &count);
	if (count != 1 || rd_kafka_acl_result_error(results[0]))
		return 1;
	return 0;
}
EOF

sub grant
{
	my ($topic, $right) = @_;

	system_or_bail($grant, $broker->brokers, $topic, $right);
	return;
}

create_server($node, 'guarded', "localhost:$env->{NODE1_SASL_PLAINTEXT_PORT}", %quick,
	security_protocol => 'sasl_plaintext', sasl_mechanism => 'PLAIN');
$session->value(q(CREATE USER MAPPING FOR CURRENT_USER SERVER guarded OPTIONS (username 'reader', password 'reader-secret')));
create_table($node, 'guarded', 'guarded', $columns, topic => 'small');

$result = $session->run('SELECT * FROM guarded');
is($result->{sqlstate}, '42501', 'no right at all: error class');
like($result->{error}, qr/permission denied by Kafka for topic "small"/, 'no right at all: topic');

grant('small', 'describe');
wait_until(
	sub {
		$result = $session->run('SELECT v FROM guarded');
		$result->{error} !~ /permission denied.*authorization failed.*metadata/s
		  && $result->{seconds} < 10;
	},
	'the right to describe has an effect');
is($result->{sqlstate}, '42501', 'DESCRIBE without READ: error class');
like($result->{error}, qr/permission denied by Kafka for topic "small"/, 'DESCRIBE without READ: topic');
like($result->{error}, qr/HINT:  Grant the Kafka user READ and DESCRIBE/, 'DESCRIBE without READ: hint');
is($session->value(q(SELECT count(*) FROM kafka.watermarks('guarded'))), 1, 'DESCRIBE is enough for watermarks');

grant('small', 'read');
wait_until(sub { !defined $session->run('SELECT v FROM guarded')->{sqlstate} }, 'the right to read has an effect');
check_complete('READ granted: the same session reads', 'guarded', 1);

# The right is taken away from a warm handle by another password.
$session->value("ALTER SERVER guarded OPTIONS (" . join(', ', map { "SET $_ '$slow{$_}'" } sort keys %slow) . ')');
$session->value(q(ALTER USER MAPPING FOR CURRENT_USER SERVER guarded OPTIONS (SET password 'guess')));
$result = $session->run('SELECT * FROM guarded');
is($result->{sqlstate}, '28000', 'wrong password: error class');
unlike($result->{error}, qr/guess/, 'wrong password: not repeated');
cmp_ok($result->{seconds}, '<', 2 * $SLACK_S, 'wrong password: told at once');

#
# A batch that does not fit
#
$broker->feed("create-topic huge max.message.bytes=8000000\nset message.max.bytes=8000000 batch.size=8000000\n"
	  . "produce huge value=small\ngenerate huge count=1 value='" . 'y' x 900_000 . "'\n"
	  . "generate huge count=3 value='" . 'z' x 900_000 . "'\n");
create_server($node, 'tight', $broker, %slow, memory_limit => '1MB');
create_table($node, 'huge_tight', 'tight', $columns, topic => 'huge');
create_table($node, 'huge', 'roomy', $columns, topic => 'huge');
$result = $session->run('SELECT count(*), sum(length(v)) FROM huge_tight');
is($result->{output}, '', 'oversize batch: no result');
is($result->{sqlstate}, '54000', 'oversize batch: error class');
like($result->{error}, qr/memory_limit/, 'oversize batch: the option to raise');
cmp_ok($result->{seconds}, '<', 2 * $SLACK_S, 'oversize batch: told in time');
is($session->value('SELECT count(*), sum(length(v)) FROM huge'), '5|3600005', 'the same batch fits a larger limit');

#
# Three brokers
#
my $cluster = KafkaFdw::Broker->new(nodes => 3);
$cluster->feed("create-topic moves replication=3 partitions=3\n$BATCHES\n"
	  . "generate moves count=$COUNT partitions=3 time=1000000 value='{n} $PAD'\n");

# Requests to a stopped node fail after a third of fetch_timeout.
create_server($node, 'cluster', $cluster, fetch_timeout => '12s', memory_limit => $MEMORY_LIMIT);
create_table($node, 'moves', 'cluster', $columns, topic => 'moves');

for my $fault ([ 3, 'killed' ], [ 2, 'stopped' ])
{
	my ($number, $what) = @$fault;
	my ($partition) = grep { $cluster->feed("leader moves $_") == $number } (0 .. 2);

	ok(defined $partition, "node $number leads a partition");
	start_scan('moves');
	$number == 3 ? $cluster->kill(3) : $cluster->pause(2);
	open_gate();
	$result = $session->result;
	is($result->{output}, "$COUNT|$COUNT", "one leader of three $what: complete, each record once");
	is($result->{error}, '', "one leader of three $what: not a word");
	isnt($cluster->feed("leader moves $partition"), "$number\n", "one leader of three $what: another node leads");
	if ($number == 3)
	{
		# It comes back, and with it its share of the leaders.
		$cluster->restart(3);
	}
}
$cluster->resume(2);

# The metadata still name a leader that is no more.
my ($last) = grep { $_ > 1 } map { $cluster->feed("leader moves $_") + 0 } (0 .. 2);
SKIP:
{
	skip 'node 1 leads all partitions', 1 if !$last;
	$cluster->kill($last);
	my $cold = KafkaFdw::Session->new($node);

	is($cold->value('SELECT count(*) FROM moves'), $COUNT, 'a leader killed before the query: complete');
	$cold->quit;
}

done_testing();
