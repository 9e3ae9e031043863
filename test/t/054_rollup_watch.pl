# Watching rollups: what kafka.rollups promises of messages that are yet to
# come is true of those that came; kafka.rollup_lag answers in time whatever
# the brokers do; and the mirrored group shows the positions, and keeps no run
# from going on when it cannot.
use strict;
use warnings;
use Time::HiRes qw(time);
use Test::More;
use KafkaFdw::Broker;
use KafkaFdw::Ledger;
use KafkaFdw::Node qw(start_node create_server create_table);
use KafkaFdw::Rollup qw(create_rollup run_rollup rollup_value);
use KafkaFdw::Session qw(wait_until);

my $seed = $ENV{KAFKA_FDW_SEED} // int time;
note "KAFKA_FDW_SEED=$seed";
srand $seed;

# A broker that knows who asks: "reader" may do all that is not forbidden. And
# a cluster of two.
my $broker = KafkaFdw::Broker->new(
	set => {
		'sasl.enabled.mechanisms' => 'PLAIN',
		'listener.security.protocol.map' =>
		  'PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SASL_PLAINTEXT:SASL_PLAINTEXT',
		'listener.name.sasl_plaintext.plain.sasl.jaas.config' =>
		  'org.apache.kafka.common.security.plain.PlainLoginModule required user_reader="reader-secret";',
		'authorizer.class.name' => 'org.apache.kafka.metadata.authorizer.StandardAuthorizer',
		'super.users' => 'User:ANONYMOUS',
		'allow.everyone.if.no.acl.found' => 'true',
	},
	args => [ '--listener', 'SASL_PLAINTEXT' ]);
my $pair = KafkaFdw::Broker->new(nodes => 2, set => { 'offsets.topic.num.partitions' => 1 });
my $node = start_node('main');
my $session = KafkaFdw::Session->new($node);

create_server($node, 'logs', $broker, broker_clock_skew => '200ms');
create_server($node, 'pair', $pair);

sub query { my ($sql) = @_; return $session->value($sql) }

my $COLUMNS = q(p int OPTIONS (partition 'true'), n int);

# ----------------------------------------------------------------
# complete_until: a message that is not read yet is not earlier, whether it is
# hidden in an open transaction or yet to be sent. Records' times lie in the
# past and in the future as far as is declared; runs end anywhere.
# ----------------------------------------------------------------
my $PARTITIONS = 3;
my $LAG_MS = 2000;
my $LEAD_MS = 3000;
my $WRITING_MS = 1000; # that a record may take to get there, within the lag
my $ROUNDS = 150;
my $ledger = KafkaFdw::Ledger->new($broker, 'moments', partitions => $PARTITIONS);
my $written = 0;

create_table($node, 'moments', 'logs', $COLUMNS, topic => 'moments', format => 'json',
	timestamp_max_lag => "${LAG_MS}ms", timestamp_max_lead => "${LEAD_MS}ms");
create_rollup($node, 'moments_count', 'SELECT p, count(*) AS messages FROM moments GROUP BY p');

# Each partition gets nothing for a third of the rounds; without one all do.
sub some_records
{
	my ($round) = @_;
	my $quiet = defined $round ? int($round * $PARTITIONS / $ROUNDS) % $PARTITIONS : -1;
	my $now_ms = int(time * 1000);
	my @records;

	for (1 .. 1 + int rand 6)
	{
		my $partition = int rand $PARTITIONS;

		$partition = ($partition + 1) % $PARTITIONS if $partition == $quiet;
		push @records, {
			partition => $partition,
			time => $now_ms + $LEAD_MS - int rand($LAG_MS - $WRITING_MS + $LEAD_MS),
			key => undef,
			value => '{"n": ' . $written++ . '}',
		};
	}
	return @records;
}

# What the rollup says now: complete_until in ms, whether by having read all,
# and its positions. Nothing where it does not know.
sub observe
{
	my ($complete_ms, $recent, $next) = split /\|/, query(<<"EOF") // '';
SELECT concat_ws('|', round(extract(epoch FROM r.complete_until) * 1000, 3),
                 r.complete_until >= r.last_read - interval '@{[$LAG_MS + 300]} ms',
                 (SELECT string_agg(next_offset::text, ' ' ORDER BY kafka_partition) FROM kafka.rollup_offsets))
  FROM kafka.rollups AS r WHERE r.name = 'moments_count' AND r.complete_until IS NOT NULL
EOF
	return if !defined $next;
	return { complete_ms => $complete_ms, recent => $recent eq 't', next => [ split / /, $next ] };
}

# Writes; notes when that took so long that the records' times are later than
# the table declares.
sub write_some
{
	my ($write, @records) = @_;
	my $begin = time;

	$write->(\@records);
	return if time - $begin < $WRITING_MS / 1000;
	$_->{slow} = 1 for @records;
	return;
}

# Messages come, and no run does.
sub fall_behind
{
	my $until = time + ($LEAD_MS + $LAG_MS) / 2000;

	while (time < $until)
	{
		write_some(sub { $ledger->write(@_) }, some_records());
	}
	return;
}

my (@observations, $opened_at, $closed, $behind_until);
my $held = 0;
my $round = 0;
while ($round++ < $ROUNDS || !defined $closed || $round < $closed + 90)
{
	my @records = some_records($round);

	# One transaction in the middle of it stays open for longer than the lag.
	if ($round == $ROUNDS / 3)
	{
		write_some(sub { $ledger->open(@_) }, @records);
		$opened_at = time;
	}
	elsif ($ledger->{open} && time - $opened_at > 2 * $LAG_MS / 1000)
	{
		$ledger->close('commit');
		$closed = $round;
	}
	elsif (rand() < 0.7) { write_some(sub { $ledger->write(@_) }, @records) }
	$held++ if $ledger->{open};
	if (defined $closed && !defined $behind_until)
	{
		fall_behind();
		$behind_until = $round + 60;
	}
	my $reads_all = $round > ($behind_until // 0) && rand() < 0.6;
	query('CALL kafka.run_rollups(\'moments_count\', max_rows => ' . (1 + int rand 8)
		. ', max_time => \'' . ($reads_all ? '10 s' : '0') . '\')');
	push @observations, observe();
}
cmp_ok($held, '>', 5, 'the open transaction was looked at');
query(q(CALL kafka.run_rollups('moments_count')));
push @observations, observe();
is(query(q(SELECT sum(messages) FROM moments_count)), scalar(() = $ledger->visible), 'all was counted in the end');
cmp_ok(scalar @observations, '>', $round / 2, 'it mostly knew something');
cmp_ok(scalar(grep { $_->{recent} } @observations), '>', $round / 10, 'often by having read all');
cmp_ok(scalar(grep { !$_->{recent} } @observations), '>', $round / 10, 'often by what was read last');
cmp_ok(scalar(grep { $_->{slow} } $ledger->visible), '<', $written / 2, 'writing was quick enough to prove something');

my @broken;
my $near = 0;
for my $seen (@observations)
{
	for my $record ($ledger->visible)
	{
		next if $record->{slow} || $record->{offset} < $seen->{next}[ $record->{partition} ];
		$near++ if $record->{time} < $seen->{complete_ms} + 2000;
		push @broken, "$record->{partition}:$record->{offset} at $record->{time} in $seen->{complete_ms}"
		  if $record->{time} < $seen->{complete_ms};
	}
}
is(join("\n", splice @broken, 0, 5), '', 'nothing that came later was earlier');
cmp_ok($near, '>', 10, 'but some was nearly');

# ----------------------------------------------------------------
# An open transaction holds the end, and rollup_lag says so.
# ----------------------------------------------------------------
$broker->feed("create-topic held\nproduce held value='{}'\nproduce held value='{}'\n");
create_table($node, 'held', 'logs', $COLUMNS, topic => 'held', format => 'json');
create_rollup($node, 'held_count', 'SELECT count(*) AS messages FROM held');
run_rollup($node, 'held_count');

# Rows of rollup_lag in a line each
sub lag_of
{
	my ($condition) = @_;

	return <<"EOF";
SELECT string_agg(concat_ws(' ', name, next_offset, end_offset, high_watermark, uncommitted, messages_behind, behind, note),
                  E'\\n' ORDER BY name, kafka_partition)
  FROM kafka.rollup_lag WHERE $condition
EOF
}

my $LAG = lag_of(q(name = 'held_count'));
is(query($LAG), 'held_count 2 2 2 0 0 00:00:00', 'nothing is behind');
my $feeder = $broker->feeder;
$feeder->("begin A\nproduce held value='{}'\nproduce held value='{}'\nflush");
run_rollup($node, 'held_count');
is(query($LAG), 'held_count 2 2 4 2 0 00:00:00 an open transaction holds the end at offset 2', 'two messages are uncommitted');

# What is held back has been appended: complete_until stands still.
my $complete = rollup_value($node, 'held_count', 'complete_until');
$node->safe_psql('postgres', q(UPDATE kafka.stored_progress SET last_read = last_read - interval '11 s'));
run_rollup($node, 'held_count');
is(rollup_value($node, 'held_count', 'complete_until'), $complete, 'complete_until stands still');
is(rollup_value($node, 'held_count', q(last_read > now() - interval '10 s')), 't', 'though the topic has been looked at');
$feeder->('commit');
$feeder->();
like(query($LAG), qr/^held_count 2 5 5 0 3 00:00:\d\d\.\d+$/, 'then they are behind');
run_rollup($node, 'held_count');
is(query($LAG), 'held_count 5 5 5 0 0 00:00:00', 'and then not');
is(rollup_value($node, 'held_count', "complete_until > '$complete'"), 't', 'complete_until goes on');

# A server that shows uncommitted messages has no such thing.
create_server($node, 'dirty', $broker, isolation_level => 'read_uncommitted', broker_clock_skew => '0');
create_table($node, 'dirty', 'dirty', $COLUMNS, topic => 'held', format => 'json');
create_rollup($node, 'dirty_count', 'SELECT count(*) AS messages FROM dirty');
run_rollup($node, 'dirty_count');
is(query(lag_of(q(name = 'dirty_count'))), 'dirty_count 5 5 5 0 0 00:00:00', 'uncommitted messages are read');
is(rollup_value($node, 'dirty_count', 'complete_until = last_read'), 't', 'up to then');

# ----------------------------------------------------------------
# The mirrored group
# ----------------------------------------------------------------

# What a consumer of the group would go on from
sub committed
{
	my ($cluster, $group, $topic) = @_;

	return $cluster->feed("committed $group $topic 0\n") =~ s/\n//r;
}

# A run that must go well; everything it says.
sub run_and_listen
{
	my ($name) = @_;
	my ($status, undef, $said) = $node->psql('postgres', "\\set VERBOSITY verbose\nCALL kafka.run_rollups('$name')");

	is($status, 0, "the run of $name goes on");
	return $said;
}

$broker->feed("create-topic seen\ngenerate seen count=5 value='{}'\ndeny-group forbidden reader\n");
create_server($node, 'guarded', 'localhost:' . $broker->_env('NODE1_SASL_PLAINTEXT_PORT'),
	security_protocol => 'sasl_plaintext', sasl_mechanism => 'PLAIN');
$node->safe_psql('postgres',
	q(CREATE USER MAPPING FOR CURRENT_USER SERVER guarded OPTIONS (username 'reader', password 'reader-secret')));
create_table($node, 'seen', 'guarded', $COLUMNS, topic => 'seen', format => 'json');
create_rollup($node, 'seen_count', 'SELECT count(*) AS messages FROM seen', options => q('{"mirror_group": "mirror"}'));
is(committed($broker, 'mirror', 'seen'), -1, 'no run, no group');
run_rollup($node, 'seen_count');
is(committed($broker, 'mirror', 'seen'), 5, 'a consumer sees the position');
is(query(q(SELECT concat_ws(' ', topic, kafka_partition, committed, end_offset, lag) FROM kafka.group_offsets('guarded', 'mirror'))),
	'seen 0 5 5 0', 'so does kafka.group_offsets');

# It is never read back.
$broker->feed("group-offset mirror seen 0 1\ngenerate seen count=3 value='{}'\n");
run_rollup($node, 'seen_count', max_rows => 1);
is(query('SELECT messages FROM seen_count'), 8, 'whatever it says does not matter');
is(committed($broker, 'mirror', 'seen'), 8, 'it follows again');
$node->safe_psql('postgres', q(SELECT kafka.alter_rollup('seen_count', options => '{"mirror_group": null}')));
$broker->feed("generate seen count=1 value='{}'\n");
run_rollup($node, 'seen_count');
is(committed($broker, 'mirror', 'seen'), 8, 'without the option it is left alone');

# No right
$node->safe_psql('postgres', q(SELECT kafka.alter_rollup('seen_count', options => '{"mirror_group": "forbidden"}')));
$broker->feed("generate seen count=1 value='{}'\n");
like(run_and_listen('seen_count'),
	qr/WARNING:  42501: could not mirror the offsets of rollup "seen_count" to consumer group "forbidden": permission denied/,
	'what is forbidden is a warning');
is(query('SELECT messages FROM seen_count'), 10, 'and is counted');
is(rollup_value($node, 'seen_count', q(concat_ws(' ', state, backlog, last_error))), 'RUNNING 0', 'the rollup is well');
is(committed($broker, 'forbidden', 'seen'), -1, 'nothing was committed');

# The broker of groups is away, that of the topic is not.
$pair->feed("create-topic g\nproduce g value=1\ngroup-offset any g 0 1\n");
my $away = $pair->feed("leader __consumer_offsets 0\n") =~ s/\n//r;
my $topic;
for my $number (1 .. 20)
{
	$topic = "apart$number";
	$pair->feed("create-topic $topic\nproduce $topic value='{}'\n");
	last if $pair->feed("leader $topic 0\n") !~ /^$away$/;
	undef $topic;
}
ok(defined $topic, 'a topic is led by the other node');
create_table($node, 'apart', 'pair', $COLUMNS, topic => $topic, format => 'json');
create_rollup($node, 'apart_count', 'SELECT count(*) AS messages FROM apart', options => q('{"mirror_group": "far"}'));
create_rollup($node, "apart_too_$_", 'SELECT count(*) AS messages FROM apart', options => "'{\"mirror_group\": \"far$_\"}'") for 1 .. 4;
run_rollup($node, $_) for 'apart_count', map { "apart_too_$_" } 1 .. 4;
is(committed($pair, 'far', $topic), 1, 'both are there');
$pair->feed("produce $topic value='{}'\n");
$pair->pause($away);
my $begin = time;
like(run_and_listen('apart_count'), qr/WARNING:  \w{5}: could not mirror the offsets of rollup "apart_count"/,
	'a silent one is a warning');
my $took = time - $begin;
cmp_ok($took, '<', 6, sprintf('after a short wait: %.1f s in all', $took));
is(query('SELECT messages FROM apart_count'), 2, 'all is counted');

# However many rollups have groups there, they wait for it once; and not again with
# the session's next run.
$pair->feed("produce $topic value='{}'\n");
$begin = time;
my ($status, undef, $said) = $node->psql('postgres', <<"EOF");
\\set VERBOSITY verbose
CALL kafka.run_rollups();
CALL kafka.run_rollups();
EOF

is($status, 0, 'a run of all goes on');
$took = time - $begin;
is(scalar(() = $said =~ /could not mirror the offsets of rollup "apart/g), 1, 'one of five rollups tells of it');
cmp_ok($took, '<', 6, sprintf('five rollups wait once: %.1f s in all', $took));
is(query('SELECT min(messages) FROM (TABLE apart_count UNION ALL TABLE apart_too_1 UNION ALL TABLE apart_too_2 UNION ALL TABLE apart_too_3 UNION ALL TABLE apart_too_4) AS a'),
	3, 'all is counted by all');
$pair->resume($away);
wait_until(
	sub {
		run_rollup($node, $_) for 'apart_count', map { "apart_too_$_" } 1 .. 4;
		join(' ', map { committed($pair, "far$_", $topic) } '', 1 .. 4) eq '3 3 3 3 3';
	},
	'the next runs mirror it');
query("SELECT kafka.drop_rollup('apart_too_$_')") for 1 .. 4;

# ----------------------------------------------------------------
# Brokers that do not answer: rollup_lag does.
# ----------------------------------------------------------------
my $everything = lag_of(q(name <> 'moments_count')) =~ s/note\)/left(note, 26))/r;
my $apart = 'apart_count 3 3 3 0 0 00:00:00';
my $answer = join "\n", $apart, map { "$_ 0 0 00:00:00" } 'dirty_count 5 5 5', 'held_count 5 5 5', 'seen_count 10 10 10';
my $no_answer = join "\n", $apart, map { "$_ the broker does not answer" } 'dirty_count 5', 'held_count 5', 'seen_count 10';
my $LIMIT_S = 3 * 2; # the broker is that of three servers
my $SLACK_S = 1;

is(query($everything), $answer, 'all answer');
for my $number (1 .. 20)
{
	create_rollup($node, "held_count$number", 'SELECT count(*) AS messages FROM held');
}
$broker->pause;
my %sessions = ('a session that knows it' => $session, 'a new session' => KafkaFdw::Session->new($node));
for my $who (sort keys %sessions)
{
	$begin = time;
	is($sessions{$who}->value($everything =~ s/count'/count' AND name !~ '\\d'/r), $no_answer, "$who: the broker does not answer");
	$took = time - $begin;
	cmp_ok($took, '<', $LIMIT_S + $SLACK_S, sprintf('%s: that takes %.1f s, for 3 servers and 25 rollups', $who, $took));
}
is(query(q(SELECT count(*) FROM kafka.rollup_lag WHERE end_offset IS NULL AND name ~ '\d' AND note ~ '^the broker does not')),
	20, 'each of many rollups is there');

# It can be cancelled, and the views that ask nobody are there at once.
my $control = $sessions{'a new session'};
$session->send('SELECT count(*) FROM kafka.rollup_lag');
$control->await_state($session, wait_event => 'Extension');
$begin = time;
$control->run('SELECT pg_cancel_backend(' . $session->pid . ')');
like($session->result->{error}, qr/canceling statement/, 'a cancel is heard');
cmp_ok(time - $begin, '<', 1.5, 'at once');
$begin = time;
is($control->value('SELECT count(*) FROM kafka.rollups'), 25, 'kafka.rollups asks nobody');
cmp_ok(time - $begin, '<', 1, 'and takes no time');
$broker->resume;
wait_until(sub { query($everything =~ s/count'/count' AND name !~ '\\d'/r) eq $answer }, 'all answer again');
done_testing();
