# Topics as they are: ends in transaction markers, in an aborted tail, in an
# open transaction; compacted; that get partitions, lose records before they
# are read, or are made anew. Where all is well the rollup is exact and its
# positions are the topic's ends, as the broker tells them; where messages are
# lost it stands still and says so, until somebody accepts that.
use strict;
use warnings;
use List::Util qw(sum);
use Test::More;
use KafkaFdw::Broker;
use KafkaFdw::Ledger;
use KafkaFdw::Node qw(start_node create_server create_table);
use KafkaFdw::Rollup qw(create_rollup run_rollup run_error rollup_value run_sums positions distance difference);
use KafkaFdw::Session;
use PostgreSQL::Test::Utils qw(slurp_file);

my $START_MS = 1_700_000_000_000;

my $broker = KafkaFdw::Broker->new(set => { 'log.cleaner.backoff.ms' => 100 });
my $node = start_node('main');

create_server($node, 'logs', $broker);

my %ledgers;
my $written = 0;

sub query { my ($sql) = @_; return $node->safe_psql('postgres', $sql) }

# Messages for one partition
sub messages
{
	my ($partition, $count) = @_;

	return map {
		my $n = $written++;

		{ partition => $partition, time => $START_MS + $n, key => 'k' . $n % 3, value => "{\"n\": $n}", n => $n };
	} 1 .. $count;
}

my $COLUMNS = q(p int OPTIONS (partition 'true'), o bigint OPTIONS (offset 'true'), ts timestamptz OPTIONS (timestamp 'true'), n int);
my $AGGREGATES = 'n % 5 AS g, count(*) AS n, sum(n) AS s, min(o) AS mino, max(o) AS maxo';

# A topic, its table and its rollup, all of one name
sub make_topic
{
	my ($name, %arg) = @_;
	my $rollup = delete $arg{rollup} // {};
	my $server = delete $arg{server} // 'logs';

	$ledgers{$name} = KafkaFdw::Ledger->new($broker, $name, %arg);
	create_table($node, "${name}_topic", $server, $COLUMNS, topic => $name, format => 'json');
	create_rollup($node, $name, "SELECT p, $AGGREGATES FROM ${name}_topic GROUP BY 1, 2", %{$rollup});
	return $ledgers{$name};
}

# The rollup is exact, and at the end that the ledger and the broker have.
sub check_exact
{
	my ($name, $what, %arg) = @_;
	my $ledger = $ledgers{$name};

	run_rollup($node, $name, %arg);
	$ledger->load($node, "${name}_truth", 'n int');
	is(difference($node, "TABLE $name", "SELECT p, $AGGREGATES FROM ${name}_truth GROUP BY 1, 2"), '', "$what: exact");
	is(positions($node, $name), $ledger->ends, "$what: the positions reach the end");
	is(distance($node, $name, "${name}_topic"), '', "$what: which is the broker's");
	is(rollup_value($node, $name, "state || ' ' || coalesce(reason, '-')"), 'RUNNING -', "$what: it is well");
	return;
}

# A run halts the rollup; its table and its positions stay.
sub check_halts
{
	my ($name, $what, $reason) = @_;
	my $before = query("SELECT string_agg(r::text, ' ' ORDER BY r) FROM $name AS r");
	my $positions = positions($node, $name);

	like(run_error($node, $name), qr/ERROR: .*$name/s, "$what: an error");
	is(rollup_value($node, $name, 'state'), 'HALTED', "$what: halted");
	like(rollup_value($node, $name, 'reason'), $reason, "$what: the reason");
	is(query("SELECT string_agg(r::text, ' ' ORDER BY r) FROM $name AS r"), $before, "$what: the table stays");
	is(positions($node, $name), $positions, "$what: so do the positions");
	is(query("SELECT count(*) FROM kafka.rollup_runs WHERE name = '$name' AND event = 'halt'"), 1, "$what: the runs tell it");
	like(run_error($node, $name), qr/ERROR:  55000:.*halted/s, "$what: it does not run again");
	is(query("SELECT count(*) FROM kafka.rollup_runs WHERE name = '$name' AND event = 'halt'"), 1, "$what: told once");
	is(run_error($node, undef), 'no error', "$what: a run over all passes by");
	return;
}

sub seek_error
{
	my ($name, $where, @accept) = @_;
	my ($status, $out, $err) = $node->psql('postgres',
		"\\set VERBOSITY verbose\nSELECT kafka.seek_rollup(" . join(', ', "'$name'", $where, @accept) . ')');

	return $status == 0 ? 'no error' : $err;
}

#
# Ends
#
my $ends = make_topic('ends', partitions => 3);

check_exact('ends', 'an empty topic');
$ends->write([ messages(0, 3), messages(1, 2) ]);
$ends->write_committed([ messages(0, 4) ]);
check_exact('ends', 'an end in a marker');
$ends->write_aborted([ messages(0, 5), messages(2, 7) ]);
check_exact('ends', 'an aborted tail');
is(query("SELECT n FROM (SELECT sum(n) AS n FROM ends WHERE p = 2) AS s"), '', 'a partition of nothing else has nothing');
check_exact('ends', 'again');
$ends->write_aborted([ messages(1, 5) ]);
$ends->write([ messages(1, 1) ]);
check_exact('ends', 'an aborted middle', max_rows => 1);
is(run_sums($node, 'ends', 'batch', 'messages'), 10, 'each message was read once');

# What an open transaction wrote is not there yet, nor is what comes after it.
for my $outcome ('commit', 'abort')
{
	$ends->write([ messages(0, 2) ]);
	run_rollup($node, 'ends');

	my $before = positions($node, 'ends');
	my $table = query('SELECT string_agg(e::text, \' \' ORDER BY e) FROM ends AS e');

	$ends->open([ messages(0, 6) ]);
	$ends->write([ messages(0, 3) ]);
	run_rollup($node, 'ends');
	is(positions($node, 'ends'), $before, "an open transaction: the position waits before it ($outcome)");
	is(distance($node, 'ends', 'ends_topic'), '', "which is the end that readers see ($outcome)");
	is(query('SELECT string_agg(e::text, \' \' ORDER BY e) FROM ends AS e'), $table, "nothing new ($outcome)");
	$ends->close($outcome);
	check_exact('ends', "an open transaction after $outcome");
}

#
# Partitions that come later are read from their beginning, also by a rollup
# that began at the end.
#
my $grows = make_topic('grows', partitions => 2);

$grows->write([ messages(0, 5), messages(1, 5) ]);
check_exact('grows', 'two partitions');
create_rollup($node, 'grows_new', 'SELECT p, count(*) AS n FROM grows_topic GROUP BY 1', start_at => q('infinity'));
is(positions($node, 'grows_new'), '0:5 1:5', 'start_at infinity begins at the end');
$grows->add_partitions(4);
$grows->write([ messages(3, 4), messages(0, 1) ]);
check_exact('grows', 'partitions midway');
$grows->write([ messages(2, 2), messages(3, 2) ]);
check_exact('grows', 'and later');
run_rollup($node, 'grows_new');
is(query('SELECT sum(n) FROM grows_new'), 9, 'a rollup that began at the end has all of the new partitions');
is(positions($node, 'grows_new'), $grows->ends, 'and is at the end');

#
# Where to start
#
create_rollup($node, 'from_offsets', 'SELECT p, min(o) AS first FROM grows_topic GROUP BY 1', start_offsets => q('{"0": 3, "1": 5}'));
run_rollup($node, 'from_offsets');
is(query('SELECT string_agg(p || \':\' || first, \' \' ORDER BY p) FROM from_offsets'), '0:3 2:0 3:0', 'start_offsets; others begin at their beginning');
$broker->feed("group-offset spark grows 0 4\ngroup-offset spark grows 3 5\n");
create_rollup($node, 'from_group', 'SELECT p, min(o) AS first FROM grows_topic GROUP BY 1', start_group => q('spark'));
run_rollup($node, 'from_group');
is(query('SELECT string_agg(p || \':\' || first, \' \' ORDER BY p) FROM from_group'), '0:4 1:0 2:0 3:5', 'start_group, too');
my ($later) = sort { $a <=> $b } map { $_->{time} } grep { $_->{partition} == 3 } $grows->visible;
create_rollup($node, 'from_time', 'SELECT p, min(ts) AS first, count(*) AS n FROM grows_topic GROUP BY 1',
	start_at => "timestamptz 'epoch' + interval '1 ms' * $later");
run_rollup($node, 'from_time');
is(
	query('SELECT sum(n) FROM from_time'),
	scalar(grep { $_->{time} >= $later } $grows->visible),
	'start_at');

#
# Compacted topics: what is gone is gone, what is there is read once, and
# what has been counted stays counted.
#
my $compacted = make_topic('compacted', config => 'cleanup.policy=compact segment.ms=1000 min.cleanable.dirty.ratio=0.01 min.compaction.lag.ms=0');
my $rolled = 0;

# Writes records of a key, then one of another that begins a new segment, since
# it is later by more than segment.ms: a cleaned one is never the newest.
sub write_and_roll
{
	my ($key, @records) = @_;
	my $time = $START_MS + 1_000_000 * ++$rolled;

	$compacted->write([ map { { %{$_}, time => $time, defined $key ? (key => $key) : () } } @records ]);
	$compacted->write([ { %{ (messages(0, 1))[0] }, time => $time + 500_000, key => "roll $rolled" } ]);
	return;
}

write_and_roll(undef, messages(0, 30));
$broker->feed("wait-gone compacted 0 5\n");

my @kept = map { { partition => $_->[1], offset => $_->[2], n => $_->[6] =~ /(\d+)/ } } $broker->records('compacted');

cmp_ok(scalar @kept, '<', 20, 'the topic was compacted');
run_rollup($node, 'compacted');
is(
	query('SELECT sum(n), sum(s), min(mino), max(maxo) FROM compacted'),
	join('|', scalar @kept, sum(map { $_->{n} } @kept), $kept[0]{offset}, $kept[-1]{offset}),
	'a compacted topic: what is there');
is(distance($node, 'compacted', 'compacted_topic'), '', 'the position is the end');

# The record before the position may be compacted away between runs.
my $count = query('SELECT sum(n) FROM compacted');
$compacted->write([ { %{ (messages(0, 1))[0] }, time => $START_MS + 1_700_000, key => 'again' } ]);
run_rollup($node, 'compacted');
is(query('SELECT sum(n) FROM compacted'), ++$count, 'one more');
my $position = query("SELECT last_offset FROM kafka.rollup_offsets WHERE name = 'compacted'");
write_and_roll('again', messages(0, 3));
$broker->feed("wait-gone compacted 0 $position\n");
my @newer = grep { $_->[2] > $position } $broker->records('compacted');
run_rollup($node, 'compacted');
is(query('SELECT sum(n) FROM compacted'), $count + @newer, 'the record before the position is compacted away: no halt, and the new ones counted');
is(distance($node, 'compacted', 'compacted_topic'), '', 'the position is the end again');
is(rollup_value($node, 'compacted', 'state'), 'RUNNING', 'it is well');

#
# Records removed before they are read
#
for my $name ('removed', 'continued')
{
	my $removed = make_topic($name, partitions => 2,
		$name eq 'continued' ? (rollup => { options => q('{"on_loss": "continue"}') }) : ());

	$removed->write([ messages(0, 10), messages(1, 10) ]);
	check_exact($name, "$name: before");

	# what has been read may go
	$broker->feed("delete-records $name 0 10\n");
	$removed->write([ messages(0, 10), messages(1, 10) ]);
	check_exact($name, "$name: what was read may be removed");
	$removed->write([ messages(0, 10), messages(1, 10) ]);
	$broker->feed("delete-records $name 0 26\n");
}
check_halts('removed', 'removed', qr/"removed" partition 0: offsets 20 to 25 were removed .*6 in all.*seek_rollup/s);
like(seek_error('removed', q('{"0": "earliest"}'::jsonb)), qr/ERROR:  55000:.*6 offsets/s, 'seek_rollup refuses to leave messages out');
is(rollup_value($node, 'removed', 'state'), 'HALTED', 'still halted');
like(seek_error('removed', q('{"1": 30}'::jsonb)), qr/ERROR:  55000:/, 'nor does it pass on with others');
is(positions($node, 'removed'), '0:20 1:20', 'and the positions stay');

# The reason has the statement to go on by
my ($statement) = rollup_value($node, 'removed', 'reason') =~ /(SELECT kafka\.seek_rollup\(.*?\);)/;
ok(defined $statement, 'the reason has a statement') and query($statement);
is(rollup_value($node, 'removed', "state || coalesce(reason, '')"), 'RUNNING', 'which lets it go on');
for my $name ('removed', 'continued')
{
	run_rollup($node, $name);
	is(query("SELECT sum(n), sum(n) FILTER (WHERE p = 0) FROM $name"), '54|24', "$name: all but what was lost");
	is(positions($node, $name), $ledgers{$name}->ends, "$name: the end");
	is(query("SELECT sum(lost_messages) FROM kafka.rollup_offsets WHERE name = '$name'"), 6, "$name: the loss is told");
}
is(run_sums($node, 'removed', 'seek', 'lost_messages'), 6, 'a row tells of the seek');
is(run_sums($node, 'continued', 'loss', 'lost_messages'), 6, 'a row tells of the loss');
is(query(q(SELECT count(*) FROM kafka.rollup_runs WHERE name = 'continued' AND event NOT IN ('batch', 'loss'))), 0, 'nobody had to step in');
is(query(q(SELECT kafka_partition, lost_messages FROM kafka.rollup_lag WHERE name = 'continued' ORDER BY 1)), "0|6\n1|0", 'rollup_lag has it, too');

# The same while a run is under way, in a topic that is larger than what is read
# ahead: what was in time is counted, the rest is lost, and together they are all.
my $LARGE = 60_000;
my $KEPT = 1_000;
my $gatekeeper = KafkaFdw::Session->new($node);

create_server($node, 'small', $broker, memory_limit => '8MB');
query(<<'EOF');
CREATE FUNCTION gate(n int) RETURNS int LANGUAGE plpgsql STABLE AS $$
BEGIN
	IF n = 100 THEN
		PERFORM pg_advisory_xact_lock_shared(1);
	END IF;
	RETURN n;
END $$;
EOF
for my $on_loss ('halt', 'continue')
{
	my $name = "trimmed_$on_loss";
	my $run = KafkaFdw::Session->new($node);

	$broker->feed("create-topic $name\nset batch.size=65536\n"
		  . "generate $name count=$LARGE time=$START_MS value='{\"n\": {n}, \"pad\": \"@{['x' x 200]}\"}'\n");
	create_table($node, "${name}_topic", 'small', $COLUMNS, topic => $name, format => 'json');
	create_rollup($node, $name, "SELECT p, count(*) AS n, count(gate(n)) AS d, max(o) AS maxo FROM ${name}_topic GROUP BY 1",
		options => "'{\"on_loss\": \"$on_loss\"}'");
	$gatekeeper->value('SELECT pg_advisory_lock(1)');
	$run->send("CALL kafka.run_rollups('$name', max_rows => 1000)");
	$gatekeeper->await_state($run, wait_event => 'advisory');
	$broker->feed("delete-records $name 0 " . ($LARGE - $KEPT) . "\n");
	$gatekeeper->value('SELECT pg_advisory_unlock(1)');

	my $result = $run->result;

	if ($on_loss eq 'halt')
	{
		is($result->{sqlstate}, '55000', "$name: the run ends with an error");
		is(rollup_value($node, $name, 'state'), 'HALTED', "$name: halted");

		my $read = query("SELECT sum(n) FROM $name");

		is(positions($node, $name), "0:$read", "$name: after what was read in time");
		cmp_ok($read, '>=', 1000, "$name: which was counted");
		my ($go_on) = rollup_value($node, $name, 'reason') =~ /(SELECT kafka\.seek_rollup\(.*?\);)/;
		query($go_on);
		run_rollup($node, $name);
	}
	else
	{
		is($result->{sqlstate}, undef, "$name: the run goes on");
		is(run_sums($node, $name, 'loss', '1'), 1, "$name: told once");
	}
	my $lost = query("SELECT sum(lost_messages) FROM kafka.rollup_offsets WHERE name = '$name'");

	cmp_ok($lost, '>', 0, "$name: messages were lost");
	is(query("SELECT sum(n), sum(d), max(maxo) FROM $name"), join('|', $LARGE - $lost, $LARGE - $lost, $LARGE - 1),
		"$name: all others are counted");
	is(run_sums($node, $name, 'batch', 'messages'), $LARGE - $lost, "$name: once");
	is(distance($node, $name, "${name}_topic"), '', "$name: to the end");
	$run->quit;
}
$gatekeeper->quit;

#
# Topics made anew: shorter, longer, with fewer partitions
#
sub remake
{
	my ($name, $partitions) = @_;

	$broker->feed("delete-topic $name\n");
	$ledgers{$name} = KafkaFdw::Ledger->new($broker, $name, partitions => $partitions);
	return $ledgers{$name};
}

for my $case ([ 'shorter', 1, 4 ], [ 'longer', 1, 40 ], [ 'same', 1, 20 ], [ 'fewer', 2, 40 ])
{
	my ($name, $partitions, $size) = @{$case};
	my $goes_on = "${name}_goes_on";

	make_topic($name, partitions => $partitions)->write([ map { messages($_, 20) } 0 .. $partitions - 1 ]);
	create_rollup($node, $goes_on, "SELECT p, $AGGREGATES FROM ${name}_topic GROUP BY 1, 2", options => q('{"on_loss": "continue"}'));
	check_exact($name, "$name: before");
	run_rollup($node, $goes_on);
	remake($name, 1)->write([ messages(0, $size) ]);

	# A topic of the same length is told apart only when there is more to read.
	$ledgers{$name}->write([ messages(0, 1) ]) if $name eq 'same';
	$size++ if $name eq 'same';

	check_halts($name, "made anew, $name", qr/"$name".*(recreated|truncated)/s);
	like(seek_error($name, q('{}'::jsonb)), qr/ERROR:  55000/, "made anew, $name: not without accept_loss") unless $name =~ /longer|same/;
	is(rollup_value($node, $name, 'state'), 'HALTED', "made anew, $name: still halted") unless $name =~ /longer|same/;
	($statement) = rollup_value($node, $name, 'reason') =~ /(SELECT kafka\.seek_rollup\(.*?\);)/;
	ok(defined $statement, "made anew, $name: the way on") and query($statement);
	is(run_error($node, $name), 'no error', "made anew, $name: goes on");
	is(query("SELECT sum(n) FROM $name"), 20 * $partitions + $size, "made anew, $name: with the new messages, all of them");
	is(distance($node, $name, "${name}_topic"), '', "made anew, $name: the end");

	is(run_error($node, $goes_on), 'no error', "made anew, $name, on_loss continue: goes on");
	is(query("SELECT sum(n) FROM $goes_on"), 20 * $partitions + $size, "made anew, $name, on_loss continue: with the new messages");
	is(distance($node, $goes_on, "${name}_topic"), '', "made anew, $name, on_loss continue: the end");
	is(query("SELECT count(*) FROM kafka.rollup_runs WHERE name = '$goes_on' AND event = 'loss'"), 1, "made anew, $name, on_loss continue: told");
	is(rollup_value($node, $goes_on, 'state'), 'RUNNING', "made anew, $name, on_loss continue: it is well");
}

# A topic that is gone is a failure that passes when it is back.
make_topic('gone')->write([ messages(0, 5) ]);
check_exact('gone', 'gone: before');
$broker->feed("delete-topic gone\n");
like(run_error($node, 'gone'), qr/ERROR: .*topic "gone" does not exist/s, 'a topic is gone');
is(rollup_value($node, 'gone', 'state'), 'FAILING', 'that may pass');
is(positions($node, 'gone'), '0:5', 'the position stands');
$broker->feed("create-topic gone\n");
check_halts('gone', 'gone and back', qr/"gone".*(recreated|truncated)/s);
query(q(SELECT kafka.drop_rollup('gone')));

#
# Moving by hand
#
make_topic('sought')->write([ messages(0, 20) ]);
check_exact('sought', 'before seeking');
like(seek_error('sought', q('{"0": 10}'::jsonb)), qr/ERROR:  55000:.*10 would be read a second time.*accept_loss/s, 'back: refused');
like(seek_error('sought', q(timestamptz '-infinity')), qr/ERROR:  55000:/, 'back by time: refused');
is(seek_error('sought', q('{"0": 20}'::jsonb)), 'no error', 'where it is: nothing to refuse');
is(seek_error('sought', q('{"0": 10}'::jsonb), 'true'), 'no error', 'back: accepted');
run_rollup($node, 'sought');
is(query('SELECT sum(n) FROM sought'), 30, 'ten are counted twice');
$ledgers{sought}->write([ messages(0, 10) ]);
is(seek_error('sought', q(timestamptz 'infinity')), seek_error('sought', q('{"0": "latest"}'::jsonb)), 'to the end, by time or by offset');
is(seek_error('sought', q(timestamptz 'infinity'), 'true'), 'no error', 'to the end: accepted');
run_rollup($node, 'sought');
is(query('SELECT sum(n) FROM sought'), 30, 'ten are left out');
is(query(q(SELECT string_agg(lost_messages::text, ' ' ORDER BY run_id) FROM kafka.rollup_runs WHERE name = 'sought' AND event = 'seek')),
	'0 0 10', 'each is told');
like(seek_error('sought', q('{"7": 1}'::jsonb), 'true'), qr/ERROR: .*partition 7/, 'a partition that is not there');
like(seek_error('sought', q('{"0": 1000}'::jsonb), 'true'), qr/ERROR: /, 'an offset past the end');
is(distance($node, 'sought', 'sought_topic'), '', 'the position stands');
my ($sixth) = map { $_->{time} } ($ledgers{sought}->visible)[6];
is(seek_error('sought', "timestamptz 'epoch' + interval '1 ms' * $sixth", 'true'), 'no error', 'a time');
is(positions($node, 'sought'), '0:6', 'is the position of the first message not older');

#
# While it waits for the broker, a run holds nothing that others wait for, but
# the lock of its rollup, which is not one of those that users can take.
#
my $waiting = KafkaFdw::Session->new($node);
my $control = KafkaFdw::Session->new($node);

make_topic('waits')->write([ messages(0, 10) ]);
$broker->pause;
$waiting->send("CALL kafka.run_rollups('waits')");
$control->await_running($waiting, 0.5);
is(
	$control->value("SELECT state, backend_xid, backend_xmin, (SELECT string_agg(concat_ws(' ', locktype, mode, relation::regclass, objsubid), ', ')"
		  . " FROM pg_locks AS l WHERE l.pid = a.pid AND locktype <> 'virtualxid' AND NOT (locktype = 'advisory' AND objsubid > 2))"
		  . ' FROM pg_stat_activity AS a WHERE pid = ' . $waiting->pid),
	'active|||',
	'a run that waits for the broker has no transaction number, snapshot or other lock');
$broker->resume;
is($waiting->result->{error}, '', 'and goes on when it answers');
check_exact('waits', 'after waiting');
$_->quit for $waiting, $control;

#
# Topics of a pattern
#
create_table($node, 'pattern_topic', 'logs', "topic text OPTIONS (topic 'true'), n int", topic_pattern => '^part-.*');
$broker->feed("create-topic part-a\ngenerate part-a count=5 time=1000 value='{\"n\": {n}}'\n");
create_rollup($node, 'pattern', 'SELECT topic, count(*) AS n, sum(n) AS s FROM pattern_topic GROUP BY 1', start_at => q('infinity'));
run_rollup($node, 'pattern');
is(query('TABLE pattern'), '', 'a pattern: nothing new');
$broker->feed("create-topic part-b partitions=2\ngenerate part-b partitions=2 count=6 time=1000 value='{\"n\": {n}}'\n"
	. "create-topic other-c\nproduce other-c value='{}'\nproduce part-a value='{\"n\": 100}'\n");
run_rollup($node, 'pattern');
is(query('TABLE pattern ORDER BY 1'), "part-a|1|100\npart-b|6|15", 'a new topic is read from its beginning');
is(query("SELECT string_agg(topic || kafka_partition || ':' || next_offset, ' ' ORDER BY topic, kafka_partition) FROM kafka.rollup_offsets WHERE name = 'pattern'"),
	'part-a0:6 part-b0:3 part-b1:3', 'positions of all');
$broker->feed("delete-topic part-a\nproduce part-b value='{\"n\": 200}'\n");
run_rollup($node, 'pattern');
is(query('TABLE pattern ORDER BY 1'), "part-a|1|100\npart-b|7|215", 'a topic that was deleted does not matter to the others');

#
# A long backlog in several partitions: they are read side by side, so that a
# batch spans little time
#
$broker->feed("create-topic level partitions=4\nset batch.num.messages=100\n"
	. "generate level partitions=4 count=64000 time=$START_MS step=1 value='{\"n\": {n}, \"pad\": \"" . 'x' x 280 . "\"}'\n");
create_table($node, 'level_topic', 'logs', $COLUMNS, topic => 'level', format => 'json');
create_rollup($node, 'level', 'SELECT p, count(*) AS n FROM level_topic GROUP BY 1');
query("CALL kafka.run_rollups('level', max_rows => 8000, max_time => '1 us')");
is(query('SELECT sum(n), count(*), min(n) > 1000 FROM level'), '8000|4|t', 'the first batch has many messages of every partition');
run_rollup($node, 'level');
is(query('SELECT sum(n), min(n), max(n) FROM level'), '64000|16000|16000', 'and the rest follows');

#
# Another cluster, where the same offsets are other messages
#
create_server($node, 'movable', $broker);
my $cluster = make_topic('moved', server => 'movable');
my $elsewhere = KafkaFdw::Broker->new;

$cluster->write([ messages(0, 10) ]);
check_exact('moved', 'before moving');
$elsewhere->feed("create-topic moved\ngenerate moved count=15 time=1000 value='{\"n\": {n}}'\n");
query("ALTER SERVER movable OPTIONS (SET brokers '" . $elsewhere->brokers . "')");
check_halts('moved', 'another cluster', qr/cluster/);
like(seek_error('moved', q('{}'::jsonb)), qr/ERROR:  55000:.*cluster/s, 'nor does seek_rollup go on unasked');
query("ALTER SERVER movable OPTIONS (SET brokers '" . $broker->brokers . "')");
is(seek_error('moved', q('{}'::jsonb)), 'no error', 'back in the old one nothing is lost');
check_exact('moved', 'back in the old cluster');
query("ALTER SERVER movable OPTIONS (SET brokers '" . $elsewhere->brokers . "')");
is(query("SELECT kafka.seek_rollup('moved', '{\"0\": \"earliest\"}'::jsonb, accept_loss => true)"), '', 'over to the other one');
run_rollup($node, 'moved');
is(query('SELECT sum(n) FROM moved'), 25, 'all that is there comes to it');
is(distance($node, 'moved', 'moved_topic'), '', 'to the end');

#
# A copy of the database
#
my $copied = make_topic('copied');
$copied->write([ messages(0, 10) ]);
check_exact('copied', 'before copying');
$copied->write([ messages(0, 5) ]);
query('CREATE DATABASE copy TEMPLATE postgres');
my ($status, $out, $err) = $node->psql('copy', "CALL kafka.run_rollups('copied')");
isnt($status, 0, 'a copy does not run');
like($err, qr/take_over/, 'with the way on');
is($node->safe_psql('copy', q(SELECT state, reason ~ 'take_over' FROM kafka.rollups WHERE name = 'copied')), 'HALTED|t', 'its view says so');
($status, $out, $err) = $node->psql('copy', 'CALL kafka.run_rollups()');
unlike($err, qr/server closed/, 'a run over all of the copy');
is($node->safe_psql('copy', 'SELECT sum(n) FROM copied'), 10, 'counts nothing');
check_exact('copied', 'the original goes on');
cmp_ok($node->safe_psql('copy', 'SELECT kafka.take_over()'), '>=', 1, 'unless it takes over');
$node->safe_psql('copy', "CALL kafka.run_rollups('copied')");
is($node->safe_psql('copy', 'SELECT sum(n) FROM copied'), 15, 'then it is exact, too');
is($node->safe_psql('copy', q(SELECT count(*) FROM kafka.rollup_runs WHERE name = 'copied' AND event = 'take over')), 1, 'and a row tells of it');

unlike(slurp_file($node->logfile), qr/TRAP|PANIC|terminated by signal/, 'the server is well');

done_testing();
