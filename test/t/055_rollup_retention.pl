# Rollups that do not keep their buckets for ever. Runs remove a million rows in
# transactions of bounded size, whatever kills them, while others read and
# count; and what is stored is at every commit what belongs to the positions,
# less the buckets that were removed, less the messages that came too late for
# them, each of which is a dead letter.
use strict;
use warnings;
use Time::HiRes qw(time usleep);
use Test::More;
use KafkaFdw::Broker;
use KafkaFdw::Ledger;
use KafkaFdw::Node qw(start_node create_server create_table await_server);
use KafkaFdw::Rollup qw(create_rollup run_rollup rollup_value run_sums positions difference);
use KafkaFdw::Session qw(wait_until);
use PostgreSQL::Test::Utils qw(slurp_file);

my $ROWS = 1_000_000;
my $OLD_BUCKETS = 25;
my $PRUNE_ROWS = 10_000;
my $PRUNE_KILLS = 4;
my $LEDGER_KILLS = 9;

# For the longest transaction, which has the processor to share with others
my $LIMIT_S = 5;

srand(55);

my $broker = KafkaFdw::Broker->new;
my $node = start_node('main',
	restart_after_crash => 'on',
	autovacuum => 'off',
	max_wal_size => '2GB',
	log_checkpoints => 'off');

create_server($node, 'logs', $broker);

sub query { my ($sql) = @_; return $node->safe_psql('postgres', $sql) }

# Ends the backend as the kernel would, and waits until the server is back.
sub kill_backend
{
	my ($session) = @_;
	my $witness = KafkaFdw::Session->new($node);

	kill 'KILL', $session->pid or die 'could not kill backend ' . $session->pid;
	$session->result;
	wait_until(sub { $witness->run('SELECT 1')->{ended} }, 'the server restarts');
	$_->quit for $session, $witness;
	await_server($node);
	return;
}

sub pruned_until
{
	my ($name) = @_;

	return query("SELECT coalesce(pruned_until, '-infinity') FROM kafka.stored_rollup WHERE name = '$name'");
}

#
# A million rows
#
my $COLUMNS = q(ts timestamptz OPTIONS (timestamp 'true'), k int, n int);
my $OLD_ROWS = q(SELECT count(*) FROM many WHERE bucket < now() - interval '9 days');

# Messages of now, each of a group of its own
my $produced = 0;

sub produce_many
{
	my ($count) = @_;

	$broker->feed("generate many first=$produced count=$count partitions=2 time=now value='{\"k\": {n}, \"n\": 1}'\n");
	$produced += $count;
	return;
}

$broker->feed("create-topic many partitions=2\n");
produce_many(1000);
create_table($node, 'many_topic', 'logs', $COLUMNS, topic => 'many', format => 'json');
create_rollup($node, 'many',
	"SELECT k, date_bin('1 hour', ts, timestamptz '2000-01-01') AS bucket, count(*) AS n, sum(n) AS s FROM many_topic GROUP BY 1, 2",
	options => q('{"retention": "3000 days"}'));
run_rollup($node, 'many');

# As if they had been counted long ago
query(<<"EOF");
INSERT INTO _many_g1 (k, bucket, n, s)
SELECT g, date_bin('1 hour', now(), timestamptz '2000-01-01') - (10 + g % $OLD_BUCKETS) * interval '1 day', 1, 1
  FROM generate_series(1, $ROWS) AS g;
ANALYZE _many_g1;
EOF
is(query($OLD_ROWS), $ROWS, 'a million old rows');
query(q(SELECT kafka.alter_rollup('many', options => '{"retention": "2 days"}')));

my $CALL = q(CALL kafka.run_rollups('many', max_time => '50 s'));

# Rows that are gone are those that runs tell of; what is there is of buckets
# that have not been removed, or of the one that is being removed.
sub check_removed
{
	my ($what) = @_;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	is(query(<<"EOF"), 't t t', "$what: what is gone is told, and the rest is whole");
WITH told AS (SELECT coalesce(sum(groups), 0) AS n FROM kafka.rollup_runs WHERE name = 'many' AND event = 'prune'),
     here AS (SELECT bucket, count(*) AS n FROM many WHERE bucket < now() - interval '9 days' GROUP BY 1),
     until AS (SELECT coalesce(pruned_until, '-infinity') AS at FROM kafka.stored_rollup WHERE name = 'many')
SELECT concat_ws(' ',
       (SELECT n FROM told) + (SELECT coalesce(sum(n), 0) FROM here) = $ROWS,
       (SELECT count(*) FILTER (WHERE bucket < at) <= 1 FROM here, until),
       (SELECT coalesce(bool_and(n = $ROWS / $OLD_BUCKETS), true) FROM here, until WHERE bucket >= at))
EOF
	return;
}

for my $kill (1 .. $PRUNE_KILLS)
{
	my $session = KafkaFdw::Session->new($node);
	my $before = run_sums($node, 'many', 'prune', 'groups');

	$session->send($CALL);
	wait_until(sub { run_sums($node, 'many', 'prune', 'groups') > $before }, 'a run removes rows');
	usleep(rand(100_000));
	kill_backend($session);
	check_removed("kill $kill");
}
isnt(query($OLD_ROWS), 0, 'it was killed in the middle');

# A reader with an old snapshot, which keeps what was removed from being cleaned
# up; another that looks at what is current; a second runner; and a producer
my $old = KafkaFdw::Session->new($node);
my $runner = KafkaFdw::Session->new($node);
my $reader = KafkaFdw::Session->new($node);
my $other = KafkaFdw::Session->new($node);
my $CURRENT = q(SELECT count(*) FROM many WHERE bucket >= now() - interval '1 day');
my $left = $old->value("BEGIN ISOLATION LEVEL REPEATABLE READ; $OLD_ROWS");
my @seen;

$runner->send($CALL);
wait_until(sub { run_sums($node, 'many', 'prune', 'groups') > $ROWS - $left }, 'it goes on');
for (1 .. 10)
{
	produce_many(100);
	$other->run($CALL);
	push @seen, $reader->value($CURRENT);
}
is($runner->result->{error}, '', 'the run comes to its end');
is($old->value($OLD_ROWS), $left, 'an old snapshot has all');
$old->run('ROLLBACK');
run_rollup($node, 'many');
check_removed('in the end');
is(query($OLD_ROWS), 0, 'all old rows are gone');
is(query('SELECT count(*), sum(n) FROM many'), "$produced|$produced", 'and all messages are counted once');
is("@seen", join(' ', sort { $a <=> $b } @seen), 'nothing that is current ever went');

my ($transactions, $largest, $seconds) = split /\|/, query(<<'EOF');
SELECT count(*), max(groups), round(max(extract(epoch FROM finished_at - started_at)), 3)
  FROM kafka.rollup_runs WHERE name = 'many' AND event = 'prune'
EOF
cmp_ok($transactions, '>=', $ROWS / $PRUNE_ROWS, "in $transactions transactions");
is($largest, $PRUNE_ROWS, 'of a bounded number of rows');
cmp_ok($seconds, '<', $LIMIT_S, "the longest of $seconds s");
$_->quit for $old, $runner, $reader, $other;

#
# Old data is counted first and removed then, however many runs it takes
#
$broker->feed(<<'EOF');
create-topic backlog partitions=2
generate backlog count=4000 partitions=2 time=now-864000000 step=215000 value='{"k": {n}, "n": 1}'
EOF
create_table($node, 'backlog_topic', 'logs', $COLUMNS, topic => 'backlog', format => 'json');
create_rollup($node, 'backlog',
	"SELECT date_bin('1 hour', ts, timestamptz '2000-01-01') AS bucket, count(*) AS n FROM backlog_topic GROUP BY 1",
	options => q('{"retention": "1 day"}'));
for my $run (1 .. 3)
{
	run_rollup($node, 'backlog', max_rows => 1000, max_time => "'0 s'");
	is(query('SELECT sum(n) FROM backlog'), 1000 * $run, "run $run counts what is old");
	is(pruned_until('backlog'), '-infinity', 'and removes nothing');
}

my ($status, $out, $err) = $node->psql('postgres', q(SELECT kafka.prune('backlog')));

is($out, 0, 'nor does anybody by hand');
like($err, qr/NOTICE:  rollup "backlog" keeps its buckets/, 'who is told why');
run_rollup($node, 'backlog', max_rows => 1000);
is(query(q(SELECT sum(messages), sum(dead_letters) FROM kafka.rollup_runs WHERE name = 'backlog' AND event = 'batch')),
	'4000|0', 'all was counted');
is(difference($node, 'TABLE backlog',
		"SELECT date_bin('1 hour', ts, timestamptz '2000-01-01') AS bucket, count(*) AS n FROM backlog_topic"
		  . " WHERE date_bin('1 hour', ts, timestamptz '2000-01-01') >= '" . pruned_until('backlog') . "' GROUP BY 1"),
	'', 'and what is old was removed at the end');
cmp_ok(query('SELECT count(*) FROM backlog'), '>', 20, 'what is not is there');

#
# The account: messages of some seconds around what is kept, so that buckets go
# all the time, and runs that are killed
#
my $ledger = KafkaFdw::Ledger->new($broker, 'short', partitions => 3);
my $written = 0;

sub write_messages
{
	my ($count) = @_;
	my $now = int(1000 * time);
	my @messages = map {
		my $n = $written++;
		my $k = $n % 3;
		my $back = rand() < 0.3 ? int rand 12_000 : int rand 1000;

		{ partition => int rand 3, time => $now - $back, k => $k, n => $n, value => "{\"k\": $k, \"n\": $n}" };
	} 1 .. $count;

	$ledger->write(\@messages);
	$ledger->load($node, 'truth', 'k int, n int');
	return;
}

my $BUCKET = q(date_bin('2 s', to_timestamp(ts / 1000.0), timestamptz '2000-01-01'));

create_table($node, 'short_topic', 'logs', $COLUMNS, topic => 'short', format => 'json');
create_rollup($node, 'short',
	"SELECT k, date_bin('2 s', ts, timestamptz '2000-01-01') AS bucket, count(*) AS n, sum(n) AS s FROM short_topic GROUP BY 1, 2",
	options => q('{"retention": "5 s"}'));

# '' where all is right: in one statement, so of one snapshot
my $PROBLEMS = <<"EOF";
WITH until AS (SELECT coalesce(pruned_until, '-infinity') AS at FROM kafka.stored_rollup WHERE name = 'short'),
read AS MATERIALIZED (
  SELECT t.p, t.o, t.k, t.n, $BUCKET AS bucket, d.stage, d.status
    FROM truth AS t
    JOIN kafka.rollup_offsets AS f ON f.name = 'short' AND f.kafka_partition = t.p AND t.o < f.next_offset
    LEFT JOIN kafka.dead_letters AS d ON d.rollup = 'short' AND d.kafka_partition = t.p AND d.kafka_offset = t.o),
one AS (SELECT k, bucket, n, s FROM short, until WHERE bucket >= at),
other AS (SELECT k, bucket, count(*) AS n, sum(n) AS s FROM read, until WHERE bucket >= at AND stage IS NULL GROUP BY 1, 2)
(SELECT 'stored only: ' || x::text FROM (TABLE one EXCEPT ALL TABLE other) AS x)
UNION ALL (SELECT 'missing: ' || x::text FROM (TABLE other EXCEPT ALL TABLE one) AS x)
UNION ALL (SELECT 'removed, and there: ' || x::text FROM short AS x, until
            WHERE isfinite(at) AND x.bucket < date_bin('2 s', at, timestamptz '2000-01-01'))
UNION ALL (SELECT 'letter: ' || read::text FROM read, until
            WHERE stage IS NOT NULL AND (stage <> 'late' OR status <> 'failed' OR bucket >= at))
LIMIT 10
EOF

for my $kill (1 .. $LEDGER_KILLS)
{
	my $session = KafkaFdw::Session->new($node);

	write_messages(300);
	$session->send(q(CALL kafka.run_rollups('short', max_rows => 20)));
	usleep(rand(150_000));
	kill_backend($session);
	is(query($PROBLEMS), '', "the account is right after kill $kill");
	next if $kill % 3;
	run_rollup($node, 'short');
	is(query($PROBLEMS), '', 'and after a run');
	is(positions($node, 'short'), $ledger->ends, 'which comes to the end');
}

#
# Removing rows takes longer than others can wait; and one call follows
#
$broker->feed("create-topic aged\n");
$broker->feed("generate aged count=12000 time=2024-05-01T10:00:00Z value='{\"k\": {n}, \"n\": 1}'\n");
$broker->feed("generate aged count=1 time=now value='{\"k\": 1, \"n\": 1}'\n");
create_table($node, 'aged_topic', 'logs', $COLUMNS, topic => 'aged', format => 'json');

sub create_aged
{
	my ($name, $options) = @_;

	create_rollup($node, $name,
		"SELECT k, date_bin('1 hour', ts, timestamptz '2000-01-01') AS bucket, count(*) AS n FROM aged_topic GROUP BY 1, 2",
		options => "'{$options}'");
	return;
}

sub count_aged { my ($name) = @_; return query("SELECT count(*) FROM $name WHERE bucket < '2025-01-01'") }

create_aged('aged', '"retention": "5 days"');
create_rollup($node, 'beside', 'SELECT count(*) AS n FROM aged_topic');
query(<<'EOF');
CREATE FUNCTION dawdle() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(0.0004); RETURN OLD; END $$;
CREATE TRIGGER dawdle BEFORE DELETE ON _aged_g1 FOR EACH ROW EXECUTE FUNCTION dawdle();
EOF
query(q(CALL kafka.run_rollups(max_time => '10 min')));
is(count_aged('aged'), 0, 'rows of which ten thousand take too long are removed some at a time');
query(q(SELECT kafka.drop_rollup('aged')));

create_aged('aged', '"retention": "30000 days", "follow": true, "commit_interval": "100 ms"');
run_rollup($node, 'aged');
is(count_aged('aged'), 12000, 'twelve thousand old rows');
query(q(SELECT kafka.alter_rollup('aged', options := '{"retention": "5 days"}')));
query(q(CALL kafka.run_rollups(follow => true, max_time => '5 s')));
is(count_aged('aged'), 0, 'a call that follows removes all of them, not some each minute');
query(q(SELECT kafka.drop_rollup('aged')));

# Somebody erases a row that is being removed.
create_aged('aged', '"retention": "30000 days"');
run_rollup($node, 'aged');
query(q(SELECT kafka.alter_rollup('aged', options := '{"retention": "5 days"}')));
{
	my ($session, $other) = map { KafkaFdw::Session->new($node) } 1 .. 2;

	$other->run('BEGIN');
	$other->run('DELETE FROM _aged_g1 WHERE k = 17');
	$session->send(q(CALL kafka.run_rollups('aged')));
	$other->await_state($session, wait_event_type => 'Lock');
	$other->run('COMMIT');
	is($session->result->{error}, '', 'a row that somebody else erases meanwhile is no error');
	is(count_aged('aged'), 0, 'and the others are removed');
	$_->quit for $session, $other;
}
query(qq(SELECT kafka.drop_rollup('$_'))) for qw(aged beside);

# By hand, beside a run
for (1 .. 5)
{
	my $session = KafkaFdw::Session->new($node);

	write_messages(200);
	$session->send(q(CALL kafka.run_rollups('short', max_rows => 20)));
	query(q(SELECT kafka.prune('short', 5)));
	unlike($session->result->{error}, qr/ERROR|WARNING/, 'a run while somebody removes rows by hand');
	is(query($PROBLEMS), '', 'the account is right');
	$session->quit;
}
cmp_ok(run_sums($node, 'short', 'prune', 'groups'), '>', 10, 'buckets were removed');
cmp_ok(query(q(SELECT count(*) FROM kafka.dead_letters WHERE rollup = 'short')), '>', 10, 'messages came too late');
is(rollup_value($node, 'short', "state || coalesce(reason, '')"), 'RUNNING', 'and nothing is wrong with it');
$ledger->check('the topic is what was written');
unlike(slurp_file($node->logfile), qr/TRAP|PANIC|signal 11/, 'the server did not crash by itself');

done_testing();
