# What a query asks the brokers goes out together, ahead of what it depends on,
# and an answer that came too early, to a wrong guess or late is not taken for
# what it is not.
use strict;
use warnings;
use IPC::Run;
use PostgreSQL::Test::Utils;
use Test::More;
use KafkaFdw::Broker;
use KafkaFdw::Node qw(start_node create_server create_table);
use KafkaFdw::Session qw(wait_until);

# Of a call of the library while the file "slow" is there; and what a query
# takes at most that waits for one such call, and one that waits for several is
# above.
my $DELAY_S = 1;
my $ONE_CALL_S = 2 * $DELAY_S - 0.1;

my $tmp = $PostgreSQL::Test::Utils::tmp_check;
my $base = 1_000_000;

# Lookups of ends wait while the file "hold" is there; the file "asked" tells
# that the offset of a time has been answered.  Where the file "slow" is, a call
# takes as long as a broker would that is slow to answer.
IPC::Run::run([ $ENV{CC} // 'gcc', '-x', 'c', '-', '-shared', '-fPIC', '-o', "$tmp/calls.so", '-ldl' ], '<', \<<"EOF") or die;
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <librdkafka/rdkafka.h>
#include <unistd.h>

static int
answer_in_time(int *timeout_ms)
{
	int delay_ms = $DELAY_S * 1000;

	if (access("$tmp/slow", F_OK) != 0)
		return 1;
	usleep((*timeout_ms < delay_ms ? *timeout_ms : delay_ms) * 1000);
	*timeout_ms -= delay_ms;
	return *timeout_ms > 0;
}

rd_kafka_resp_err_t
rd_kafka_metadata(rd_kafka_t *rk, int all, rd_kafka_topic_t *rkt,
				  const struct rd_kafka_metadata **metadata, int timeout_ms)
{
	rd_kafka_resp_err_t (*real)(rd_kafka_t *, int, rd_kafka_topic_t *,
								const struct rd_kafka_metadata **, int) =
		dlsym(RTLD_NEXT, "rd_kafka_metadata");

	if (!answer_in_time(&timeout_ms))
		return RD_KAFKA_RESP_ERR__TIMED_OUT;
	return real(rk, all, rkt, metadata, timeout_ms);
}

rd_kafka_resp_err_t
rd_kafka_offsets_for_times(rd_kafka_t *rk, rd_kafka_topic_partition_list_t *list,
						   int timeout_ms)
{
	rd_kafka_resp_err_t (*real)(rd_kafka_t *,
								rd_kafka_topic_partition_list_t *, int) =
		dlsym(RTLD_NEXT, "rd_kafka_offsets_for_times");
	int of_time = list->elems[0].offset >= 0;
	rd_kafka_resp_err_t err;

	while (list->elems[0].offset == -1 && access("$tmp/hold", F_OK) == 0)
		usleep(1000);
	if (!answer_in_time(&timeout_ms))
		return RD_KAFKA_RESP_ERR__TIMED_OUT;
	err = real(rk, list, timeout_ms);
	if (of_time)
		close(open("$tmp/asked", O_CREAT | O_WRONLY, 0600));
	return err;
}
EOF

sub make_file
{
	my ($name) = @_;

	PostgreSQL::Test::Utils::append_to_file("$tmp/$name", '');
	return;
}

my $broker = KafkaFdw::Broker->new;
my $node;
{
	local $ENV{LD_PRELOAD} = "$tmp/calls.so";

	$node = start_node('main', timezone => 'UTC');
}

create_server($node, 'logs', $broker);
my $columns = q(p int OPTIONS (partition 'true'), ts timestamptz OPTIONS (timestamp 'true'), v text OPTIONS (value 'true'));

sub make_topic
{
	my ($topic, $settings, %options) = @_;

	$broker->feed("create-topic $topic partitions=2 $settings\ngenerate $topic count=200 partitions=2 time=$base step=1000 value={n}\n");
	create_table($node, $topic, 'logs', $columns, topic => $topic, format => 'text', %options);
	return;
}

# A condition on the time, in seconds after that of the first record
sub from { return sprintf "ts >= timestamptz 'epoch' + interval '%d ms'", $base + $_[0] * 1000 }
sub until { return sprintf "ts < timestamptz 'epoch' + interval '%d ms'", $base + $_[0] * 1000 }
sub window { my ($from, $until) = @_; return '(' . from($from) . ' AND ' . main::until($until) . ')' }

make_topic('declared', '', timestamp_max_lag => '1s');
make_topic('limited', 'message.timestamp.before.max.ms=2000000000000 message.timestamp.after.max.ms=1000');
make_topic($_, '', timestamp_max_lag => '1s') for 'growing', 'widened', 'deleted';

my $session = KafkaFdw::Session->new($node);

sub count
{
	my ($table, $where) = @_;

	return $session->value("SELECT count(*) FROM $table WHERE $where");
}

#
# Many times of the same partitions, more than are asked for at a time
#
my @windows = map { window(10 * $_, 10 * $_ + 3) } 0 .. 14;
is(count('declared', join ' OR ', @windows), 45, 'many windows at once');

#
# "No such record" from before the ends were known
#
is(count('growing', from(1000)), 0, 'nothing is that late');
unlink "$tmp/asked";
make_file('hold');
$session->send('SELECT count(*) FROM growing WHERE ' . from(1000));
wait_until(sub { -e "$tmp/asked" }, 'the time is looked up before the ends are known');
$broker->feed("produce growing time=@{[$base + 1_000_000]} value=late\n");
unlink "$tmp/hold";
is($session->result->{output}, 1, 'a record that came between is seen');

# A hit from before is as good as one from after.
unlink "$tmp/asked";
make_file('hold');
$session->send('SELECT count(*) FROM growing WHERE ' . from(1000));
wait_until(sub { -e "$tmp/asked" }, 'the time is looked up before the ends are known, again');
$broker->feed("produce growing time=@{[$base + 1_000_001]} value=later\n");
unlink "$tmp/hold";
is($session->result->{output}, 2, 'and so is one after the first hit');

# No stop from before means the end as it is.
unlink "$tmp/asked";
make_file('hold');
$session->send('SELECT count(*) FROM growing WHERE ' . window(1000, 3000));
wait_until(sub { -e "$tmp/asked" }, 'the stop is looked up before the ends are known');
$broker->feed("produce growing time=@{[$base + 1_000_002]} value=last\n");
unlink "$tmp/hold";
is($session->result->{output}, 3, 'and does not cut off what came between');

#
# Partitions that are not those of the last time
#
is(count('widened', from(0)), 200, 'two partitions');
$broker->feed("add-partitions widened 3\nproduce widened partition=2 time=$base value=x\n");
is(count('widened', from(0)), 201, 'a third one is found');
is(count('deleted', from(0)), 200, 'a topic');
$broker->feed("delete-topic deleted\n");
my $result = $session->run('SELECT count(*) FROM deleted WHERE ' . from(0));
is($result->{sqlstate}, 'HV00R', 'that is deleted: error class');
like($result->{error}, qr/Kafka topic "deleted" does not exist/, 'that is deleted: named');
$broker->feed("create-topic deleted partitions=1\nproduce deleted time=$base value=x\n");
is(count('deleted', from(0)), 1, 'and made anew, with fewer partitions');

#
# A broker that takes longer than the first tries of a call
#
$session->quit;
$session = KafkaFdw::Session->new($node);
make_file('slow');
for my $table ('declared', 'limited')
{
	my $query = "SELECT count(*) FROM $table WHERE " . window(10, 20);

	is($session->value($query), 10, "$table: a slow broker is waited for");
	$result = $session->run($query);
	is($result->{output}, 10, "$table: again");
	cmp_ok($result->{seconds}, '>=', $DELAY_S, "$table: which takes as long as an answer");
	cmp_ok($result->{seconds}, '<', $ONE_CALL_S, "$table: but no longer, all being asked at once");
}
$result = $session->run('SELECT v FROM declared LIMIT 1');
cmp_ok($result->{seconds}, '<', $ONE_CALL_S, 'so are the ends and the starts of the log');
$result = $session->run("SELECT count(*) FROM kafka.watermarks('declared')");
is($result->{output}, 2, 'and by functions');
cmp_ok($result->{seconds}, '<', $ONE_CALL_S, 'likewise');
unlink "$tmp/slow";

my $log = PostgreSQL::Test::Utils::slurp_file($node->logfile);
unlike($log, qr/TRAP|PANIC|leak|terminated by signal/, 'the server is well');

done_testing();
