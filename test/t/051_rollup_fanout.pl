# A topic is read once for all rollups that may share the reading, whatever
# their foreign tables and owners: told by the bytes that the broker sends. What
# keeps one of them from going on (it fails, is paused, waits for a lock, sleeps,
# is locked by somebody else, lags behind) does not keep the others.
use strict;
use warnings;
use Test::More;
use KafkaFdw::Meter;
use KafkaFdw::Node qw(start_node create_server create_table);
use KafkaFdw::Rollup qw(create_rollup run_rollup run_error rollup_value run_sums positions);
use KafkaFdw::Session qw(wait_until);
use PostgreSQL::Test::Utils qw(slurp_file);

my $START_MS = 1_700_000_000_000;
my $PARTITIONS = 3;

# What a round of messages is; and how much more than one read two may not be
my $COUNT = 9000;
my $MAX_RATIO = 1.3;

my $meter = KafkaFdw::Meter->new;
my $broker = $meter->broker;
my $node = start_node('main', max_connections => 30);

sub query { my ($sql) = @_; return $node->safe_psql('postgres', $sql) }

#
# The messages: {"n": number, "k": 0 to 6, "pad": ...}; how many and their sum
# is all that the rollups count.
#
my $written = 0;
my $sum = 0;
my $round_sum;

$broker->feed("create-topic events partitions=$PARTITIONS\n");

sub write_events
{
	my $first = $written;

	$written += $COUNT;
	$round_sum = $COUNT * ($first + $written - 1) / 2;
	$sum += $round_sum;
	$broker->feed("generate events count=$COUNT first=$first partitions=$PARTITIONS time=$START_MS step=10"
		  . q( value='{"n": {n}, "k": {n%7}, "pad": ") . 'x' x 100 . qq("}'\n));
	return;
}

my %COLUMNS = (
	json => 'ts timestamptz OPTIONS (timestamp \'true\'), n bigint, k int',
	text => 'p int OPTIONS (partition \'true\'), o bigint OPTIONS (offset \'true\'), v text');
my %OPTIONS = (json => q(format 'json'), text => q(format 'raw'));

create_server($node, 'logs', $meter->address);
create_table($node, 'events', 'logs', $COLUMNS{json}, topic => 'events', format => 'json');

my $QUERY = 'SELECT k, count(*) AS c, sum(n) AS s FROM events GROUP BY k';

# What a rollup has, and what it should have
sub counted { my ($name) = @_; return query("SELECT sum(c), sum(s) FROM $name") }

sub all { return "$written|$sum" }

sub run_all { my (%arg) = @_; run_rollup($node, undef, %arg); return }

sub is_complete
{
	my ($name, @rollups) = @_;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	is(join(' ', map { "$_:" . counted($_) } @rollups), join(' ', map { "$_:" . all() } @rollups), "$name: all have counted all");
	return;
}

sub drop_rollups { query("SELECT kafka.drop_rollup('$_')") for @_; return }

#
# Ten, and one
#
write_events();
create_rollup($node, 'one', $QUERY);
my $once = $meter->count(\&run_all);

is_complete('one rollup', 'one');
cmp_ok($once, '>', $COUNT * 100, 'the meter sees a read');

my @ten = map { "r$_" } 1 .. 9;

create_rollup($node, $_, $QUERY) for @ten;
unshift @ten, 'one';
my $bytes = $meter->count(\&run_all);

note "bytes: $once for one rollup, $bytes for nine";
is_complete('nine more', @ten);
cmp_ok($bytes, '<', $once * $MAX_RATIO, 'nine rollups that begin together are one read');
is(join(' ', map { run_sums($node, $_, 'batch', 'messages') } @ten), join(' ', ($COUNT) x 10), 'each has its own account of the messages');
is(query(q(SELECT count(DISTINCT bytes) FROM kafka.rollup_runs WHERE event = 'batch')), 1, 'of the same batches');

# Going on costs more: reading begins at the last message read, with whose batch
# all of the round before comes once more.
write_events();
my $again = $meter->count(sub { run_rollup($node, 'one', max_rows => 1000) });

$bytes = $meter->count(sub { run_all(max_rows => 1000) });
note "bytes: $again for one rollup that goes on, $bytes for nine, in small batches";
is_complete('ten', @ten);
cmp_ok($bytes, '<', $again * $MAX_RATIO, 'nine rollups that go on together are one read');
is(
	query(q(SELECT count(*), min(n), max(n) FROM (SELECT count(*) AS n FROM kafka.rollup_runs WHERE event = 'batch' GROUP BY name) AS r)),
	'10|10|10', 'of ten batches each, the first one and nine small ones');
is(query('SELECT count(DISTINCT (kafka_partition, next_offset)) FROM kafka.rollup_offsets'), $PARTITIONS, 'and stand at the same place');

$bytes = $meter->count(\&run_all);
cmp_ok($bytes, '<', $once / 10, 'nothing new: nothing is read');

#
# Other tables, other owners
#
query(<<'EOF');
CREATE ROLE alice LOGIN;
CREATE ROLE bob LOGIN;
CREATE ROLE carol LOGIN;
CREATE ROLE dave LOGIN;
GRANT USAGE ON FOREIGN SERVER logs TO alice, bob, carol, dave;
GRANT SELECT ON events TO dave;
CREATE USER MAPPING FOR carol SERVER logs;
CREATE SCHEMA dave AUTHORIZATION dave;
EOF
for my $role (qw(alice bob carol))
{
	my $format = $role eq 'bob' ? 'text' : 'json';

	query(<<"EOF");
CREATE SCHEMA $role AUTHORIZATION $role;
SET ROLE $role;
CREATE FOREIGN TABLE $role.events ($COLUMNS{$format}) SERVER logs OPTIONS (topic 'events', $OPTIONS{$format});
EOF
}

sub create_as
{
	my ($role, $name, $query) = @_;

	query("SET ROLE $role; SELECT kafka.create_rollup('$role.$name', '$query', start_at := 'infinity')");
	return;
}

create_as('alice', 'by_alice', 'SELECT k, count(*) AS c, sum(n) AS s FROM alice.events GROUP BY k');
create_as('bob', 'by_bob', q(SELECT p, count(*) AS c, sum((v::jsonb->>''n'')::bigint) AS s FROM bob.events GROUP BY p));
create_as('dave', 'by_dave', 'SELECT k, count(*) AS c, sum(n) AS s FROM public.events GROUP BY k');

write_events();
$bytes = $meter->count(\&run_all);
note "bytes: $bytes with other tables and owners";
is_complete('with other tables', @ten);
is(counted($_), "$COUNT|$round_sum", "$_ has counted what came since it was made")
  for qw(alice.by_alice bob.by_bob dave.by_dave);
cmp_ok($bytes, '<', $again * $MAX_RATIO, 'other tables and owners without a user mapping share the read');

# A user mapping is somebody else's eyes.
create_as('carol', 'by_carol', 'SELECT k, count(*) AS c, sum(n) AS s FROM carol.events GROUP BY k');
write_events();
$bytes = $meter->count(\&run_all);
note "bytes: $bytes with an owner who has a user mapping";
is(counted('carol.by_carol'), "$COUNT|$round_sum", 'her rollup has counted');
cmp_ok($bytes, '>', $again + $once / $MAX_RATIO, 'an owner with a user mapping of her own reads by herself');
cmp_ok($bytes, '<', ($again + $once) * $MAX_RATIO, 'once');
drop_rollups('by_carol');

# Who may not read the table any more, fails alone.
query('REVOKE SELECT ON events FROM dave');
write_events();
like(run_error($node, undef), qr/ERROR:  42501: rollup "by_dave": permission denied for foreign table events/, 'a right that was taken');
is_complete('the others', @ten);
query('GRANT SELECT ON events TO dave');
run_all();
is(rollup_value($node, 'by_dave', 'state'), 'RUNNING', 'a right that was given');
is(counted('dave.by_dave'), counted('alice.by_alice'), 'and nothing is missing');
drop_rollups(qw(by_alice by_bob by_dave));

#
# A message that is bad for one is good for another
#
create_table($node, 'raw', 'logs', $COLUMNS{text}, topic => 'events', format => 'raw');
create_rollup($node, 'raw_count', 'SELECT p, count(*) AS c FROM raw GROUP BY p', start_at => q('infinity'));
create_rollup($node, 'expecting', $QUERY, start_at => q('infinity'), expect => q('n % 2 = 0'));
$broker->feed("produce events time=$START_MS value=junk\n");
$broker->feed(qq(generate events count=4 first=0 partitions=1 time=$START_MS value='{"n": {n}, "k": 9}'\n));
$bytes = $meter->count(\&run_all);
$written += 4;
$sum += 6;
cmp_ok($bytes, '<', $again * $MAX_RATIO, 'one read');
is_complete('a bad message', @ten);
is(query('SELECT sum(c) FROM raw_count'), 5, 'it is good for a rollup that does not decode it');
is(counted('expecting'), '2|2', 'what one expects');
is(
	query(q(SELECT rollup, stage, count(*) FROM kafka.dead_letters WHERE rollup IN ('one', 'r9', 'raw_count', 'expecting') GROUP BY 1, 2 ORDER BY 1, 2)),
	"expecting|decode|1\nexpecting|expect|2\none|decode|1\nr9|decode|1",
	'each rollup has the dead letters that are its own');
drop_rollups(qw(raw_count expecting));

#
# Laggards
#
create_rollup($node, 'late', $QUERY);
write_events();
$bytes = $meter->count(sub { run_all(max_rows => 2000) });
note "bytes: $bytes with a laggard";
is_complete('a laggard', @ten, 'late');
is(positions($node, 'late'), positions($node, 'one'), 'it meets the others');
is(query(q(SELECT count(*) FROM kafka.dead_letters WHERE rollup = 'late')), 1, 'with all that they have read');
write_events();
$bytes = $meter->count(\&run_all);
note "bytes: $bytes after they have met";
cmp_ok($bytes, '<', $again * $MAX_RATIO, 'then they are one read');

# The one nearest the end comes first, and with no time left each has a batch.
query(q(SELECT kafka.seek_rollup('late', '-infinity'::timestamptz, accept_loss := true)));
write_events();
my $late_batches = run_sums($node, 'late', 'batch', '1');

run_all(max_rows => 2000, max_time => q('0 s'));
is(
	query(<<'EOF'), 'one late', 'who is nearest the end comes first');
SELECT string_agg(name, ' ' ORDER BY run_id)
  FROM (SELECT DISTINCT ON (name) name, run_id FROM kafka.rollup_runs
         WHERE event = 'batch' AND name IN ('one', 'late') ORDER BY name, run_id DESC) AS r
EOF
is(run_sums($node, 'late', 'batch', '1'), $late_batches + 1, 'and the laggard has had its batch');
drop_rollups('late');
run_all();
is_complete('after a short time', @ten);

#
# One fails, one is paused
#
query(<<'EOF');
CREATE FUNCTION refuse(bigint) RETURNS bigint IMMUTABLE LANGUAGE plpgsql AS $$
BEGIN
	RAISE undefined_table USING MESSAGE = 'nothing goes';
END $$;
EOF
create_rollup($node, 'failing', 'SELECT k, count(*) AS c, sum(refuse(n)) AS s FROM events GROUP BY k', start_at => q('infinity'));
create_rollup($node, 'paused', $QUERY, start_at => q('infinity'));
query(q(SELECT kafka.alter_rollup('paused', enabled := false)));
write_events();
my $error;

$bytes = $meter->count(sub { $error = run_error($node, undef, max_rows => 2000) });
like($error, qr/ERROR:  42P01: rollup "failing": nothing goes/, 'the error of the one that fails');
is_complete('one fails, one is paused', @ten);
is(rollup_value($node, 'failing', 'state'), 'FAILING', 'it is FAILING');
is(run_sums($node, 'failing', 'batch', '1'), 0, 'and has stored nothing');
is(rollup_value($node, 'one', 'state'), 'RUNNING', 'the others are well');
is(counted('paused'), '|', 'the paused one has not run');
cmp_ok($bytes, '<', $again * $MAX_RATIO, 'one read');
drop_rollups(qw(failing paused));

#
# One is locked by somebody else
#
my $other = KafkaFdw::Session->new($node);

write_events();
$other->run('BEGIN');
$other->run(q(SELECT kafka.alter_rollup('r5', options := '{"retry_limit": 2}')));
my ($status, $out, $err) = $node->psql('postgres', 'CALL kafka.run_rollups()');

is($status, 0, 'a rollup that somebody else changes is no error');
like($err, qr/NOTICE:  rollup "r5" is being run or changed by somebody else/, 'but is told');
is_complete('one is locked', grep { $_ ne 'r5' } @ten);
isnt(counted('r5'), all(), 'it has not run');
$other->run('COMMIT');
run_all();
is_complete('no more', @ten);

#
# One waits for a lock on its table: the first in the order, with nothing known
# of the others. They are at the end while it still waits.
#
sub is_at_end
{
	my ($name) = @_;

	return $other->value("SELECT sum(c) = $written FROM $name") eq 't';
}

my $session = KafkaFdw::Session->new($node);

write_events();
$other->run('BEGIN');
$other->run('LOCK TABLE _one_g1 IN ROW EXCLUSIVE MODE');
$other->run('SELECT * FROM _one_g1 FOR UPDATE');
$session->send('CALL kafka.run_rollups(max_rows => 2000)');
wait_until(sub { !grep { !is_at_end($_) } @ten[ 1 .. 9 ] }, 'the others reach the end');
$other->await_state($session, wait_event_type => 'Lock');
is($other->value("SELECT sum(c) < $written FROM one"), 't', 'the one whose rows are locked has not');
is(rollup_value($node, 'one', 'state'), 'RUNNING', 'and is not FAILING for that');
is_complete('one waits for a lock', @ten[ 1 .. 9 ]);
$other->run('COMMIT');
my $result = $session->result;
is($result->{error}, '', 'the call is well');
is_complete('in the end', @ten);
is(query(q(SELECT count(*) FROM kafka.rollup_runs WHERE event = 'fail')), 0, 'nothing has failed');

# A cancel is a cancel, and statement_timeout, too, while one waits.
write_events();
$other->run('BEGIN');
$other->run('SELECT * FROM _one_g1 FOR UPDATE');
$session->send('CALL kafka.run_rollups()');
$other->await_state($session, wait_event_type => 'Lock');
$other->value('SELECT pg_cancel_backend(' . $session->pid . ')');
$result = $session->result;
is($result->{sqlstate}, '57014', 'a cancel ends the run');
like($result->{error}, qr/due to user request/, 'by its name');
$session->run(q(SET statement_timeout = '500 ms'));
$result = $session->run('CALL kafka.run_rollups()');
like($result->{error}, qr/57014: canceling statement due to statement timeout/, 'statement_timeout ends the run');
$session->run(q(SET statement_timeout = 0));
$session->send('CALL kafka.run_rollups()');
wait_until(sub { is_at_end('r9') }, 'the others reach the end');
$other->await_state($session, wait_event_type => 'Lock');
$other->value('SELECT pg_cancel_backend(' . $session->pid . ')');
$result = $session->result;
is($result->{sqlstate}, '57014', 'a cancel ends the run when only one is left, too');
is($session->value('SELECT current_user = session_user'), 't', 'and leaves the session as it was');
$other->run('COMMIT');
is(rollup_value($node, 'one', 'state'), 'RUNNING', 'a cancel is no failure');
run_all();
is_complete('after the cancels', @ten);

#
# One sleeps, in a function that says it does not
#
query(<<"EOF");
CREATE FUNCTION sleep_at(n bigint) RETURNS bigint IMMUTABLE LANGUAGE plpgsql AS \$\$
BEGIN
	PERFORM pg_sleep(4) WHERE n = $written;
	RETURN n;
END \$\$;
EOF
create_rollup($node, 'sleeping', 'SELECT k, count(*) AS c, sum(sleep_at(n)) AS s FROM events GROUP BY k', start_at => q('infinity'));
write_events();
run_all(max_rows => 2000);
is_complete('one sleeps', @ten);
is(counted('sleeping'), "$COUNT|$round_sum", 'and gets its share in the end');
is(
	query(<<'EOF'), 't', 'the batch in which it sleeps is after all of the others\'');
SELECT min(started_at) FILTER (WHERE name = 'sleeping' AND finished_at - started_at > interval '3 s') >= max(finished_at) FILTER (WHERE name <> 'sleeping')
  FROM kafka.rollup_runs WHERE event = 'batch'
EOF
is(rollup_value($node, 'sleeping', 'state'), 'RUNNING', 'it is not FAILING');
drop_rollups('sleeping');

unlike(slurp_file($node->logfile), qr/TRAP|PANIC|signal 11/, 'the server is well');
$_->quit for $session, $other;

done_testing();
