# What a scan sees of a topic that grows meanwhile: all scans of a statement see
# the same, and so do all statements of a transaction at REPEATABLE READ and
# above. Also what else takes something happening during a query: rechecks of
# rows that another session has changed, and notices of progress.
use strict;
use warnings;
use IPC::Run;
use Test::More;
use KafkaFdw::Broker;
use KafkaFdw::Node qw(start_node create_server create_table);
use KafkaFdw::Session qw(wait_until);

my $broker = KafkaFdw::Broker->new;
my $total = 0;

# Adds records to topic "t", numbered on from the last, and keeps count.
sub grow
{
	my ($count) = @_;

	$broker->feed("generate t first=$total count=$count partitions=2 time=1000000 step=1 value='{\"n\": {n}}'\n");
	$total += $count;
	return;
}

$broker->feed("create-topic t partitions=2\n");
grow(10);


# One branch of a UNION after the other: it is for the second to come late.
my $node = start_node('main', enable_async_append => 'off');
create_server($node, 'logs', $broker);
create_server($node, 'others', $broker);
create_server($node, 'dirty', $broker, isolation_level => 'read_uncommitted');
my $columns = q(p int OPTIONS (partition 'true'), o bigint OPTIONS (offset 'true'), n int);
create_table($node, 't', 'logs', $columns, topic => 't');
create_table($node, 'again', 'logs', $columns, topic => 't');
create_table($node, 'other', 'others', $columns, topic => 't');
create_table($node, 'dirty', 'dirty', $columns, topic => 't');
create_table($node, 'pattern', 'logs', "topic text OPTIONS (topic 'true'), n int", topic_pattern => 'm.*');

my $session = KafkaFdw::Session->new($node);

# All of a cursor's rows, in one line
sub fetch
{
	my ($count, $name) = @_;

	return join ' ', split /\n/, $session->value("FETCH $count FROM $name");
}

#
# A statement: what its scans see is what the first of them saw, however late
# they begin.
#
$session->value('BEGIN');
$session->value("DECLARE c CURSOR FOR SELECT 1 AS branch FROM t UNION ALL SELECT 2 FROM again WHERE o >= 0");
is(fetch(1, 'c'), '1', 'the first branch begins');
grow(5);
is(fetch('ALL', 'c'), '1 ' x 9 . '2 ' x 9 . '2', 'the second branch has the same end');
is($session->value('SELECT count(*) FROM t'), 15, 'the next statement sees more');
$session->value('DECLARE r CURSOR FOR SELECT (SELECT count(*) FROM t WHERE x > 0) FROM generate_series(1, 3) AS x');
is(fetch(1, 'r'), '15', 'a subquery');
grow(5);
is(fetch(2, 'r'), '15 15', 'rescans see what the first pass saw');
$session->value("DECLARE s SCROLL CURSOR FOR SELECT n FROM t WHERE n >= 18");
$session->value("DECLARE late CURSOR FOR SELECT count(*) FROM t");
is(fetch(1, 's'), '18', 'a scroll cursor');
grow(2);
is(fetch('ALL', 's'), '19', 'ends where it did when it began');
is(fetch('BACKWARD ALL', 's'), '19 18', 'backwards too');
is(fetch(1, 'late'), '22', 'a cursor looks at the topic when it is first fetched from');
$session->value('COMMIT');
is(
	$session->value('SELECT (SELECT count(*) FROM t) - (SELECT count(*) FROM again)'),
	0, 'two tables of one topic agree');

#
# REPEATABLE READ and SERIALIZABLE: so do statements.
#
for my $level ('REPEATABLE READ', 'SERIALIZABLE')
{
	my $seen = $total;

	$session->value("BEGIN ISOLATION LEVEL $level");
	is($session->value('SELECT count(*) FROM t'), $seen, "$level: the first statement");
	grow(3);
	is($session->value('SELECT count(*), max(n) FROM t'), "$seen|" . ($seen - 1), "$level: the second sees the same");
	is($session->value("SELECT count(*) FROM t WHERE n >= $seen"), 0, "$level: nothing new by another plan");
	is($session->value("SELECT count(*) FROM t WHERE p = 1 AND o > 1000 OR p = 0"), $seen - int($seen / 2),
		"$level: nor with bounds");
	is($session->value('SELECT count(*) FROM again'), $seen, "$level: nor through another table");
	is($session->value('SELECT count(*) FROM other'), $total, "$level: another server is looked at when it is first asked");
	is($session->value('SELECT count(*) FROM dirty'), $total, "$level: another isolation level of the topic, too");
	$session->value('SAVEPOINT a');
	like($session->run('SELECT 1 / n FROM t')->{error}, qr/division by zero/, "$level: an error");
	$session->value('ROLLBACK TO a');
	grow(1);
	is($session->value('SELECT count(*) FROM t'), $seen, "$level: after a savepoint that was rolled back");
	$session->value('DECLARE h CURSOR WITH HOLD FOR SELECT n FROM t');
	$session->value('COMMIT');
	is(scalar(split / /, fetch('ALL', 'h')), $seen, "$level: a held cursor has the transaction's rows");
	$session->value('CLOSE h');
	is($session->value('SELECT count(*) FROM t'), $total, "$level: the next transaction sees all");
}
$session->value('BEGIN ISOLATION LEVEL REPEATABLE READ');
$session->value('SAVEPOINT a');
is($session->value('SELECT count(*) FROM t'), $total, 'first seen in a savepoint');
$session->value('ROLLBACK TO a');
grow(2);
is($session->value('SELECT count(*) FROM t'), $total - 2, 'which may be rolled back');
$session->value('ROLLBACK');
$session->value('BEGIN ISOLATION LEVEL REPEATABLE READ');
$session->value('SELECT 1');
grow(1);
is($session->value('SELECT count(*) FROM t'), $total, 'a topic is looked at when it is first asked for');
$session->value('COMMIT');

#
# Statements within statements: a function's queries, cursors, savepoints,
# prepared statements.
#
$session->value(<<'SQL');
CREATE FUNCTION by_sql() RETURNS bigint LANGUAGE sql VOLATILE AS 'SELECT count(*) FROM t';
CREATE FUNCTION by_plpgsql() RETURNS bigint LANGUAGE plpgsql VOLATILE AS 'BEGIN RETURN (SELECT count(*) FROM t); END';
CREATE FUNCTION by_handler() RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
	seen bigint;
BEGIN
	BEGIN
		SELECT count(*) INTO seen FROM t;
		PERFORM 1 / 0;
	EXCEPTION WHEN division_by_zero THEN
		NULL;
	END;
	RETURN seen - (SELECT count(*) FROM again);
END $$;
PREPARE counted(int) AS SELECT count(*) FROM t WHERE n >= $1;
PREPARE generic(bigint) AS SELECT count(*) FROM again WHERE o >= $1
SQL
my $functions = 'by_sql() || \' \' || by_plpgsql() || \' \' || by_handler()';
for my $level ('REPEATABLE READ', 'SERIALIZABLE')
{
	my $seen = $total;

	$session->value("BEGIN ISOLATION LEVEL $level");
	$session->value('SAVEPOINT outermost');
	$session->value("DECLARE c CURSOR FOR SELECT 1 AS branch FROM t UNION ALL SELECT 2 FROM again");
	is(fetch(1, 'c'), '1', "$level: a cursor is the first to look");
	grow(2);
	is($session->value("SELECT $functions"), "$seen $seen 0", "$level: functions see the same");
	is($session->value("SELECT count(*) - by_sql() FROM t"), 0, "$level: as the query that calls them does");
	is($session->value('EXECUTE counted(0)'), $seen, "$level: a prepared statement");
	is($session->value("SET plan_cache_mode = force_generic_plan; EXECUTE generic(0); RESET plan_cache_mode"), $seen,
		"$level: and its generic plan");
	grow(1);
	is(scalar(split / /, fetch('ALL', 'c')), 2 * $seen - 1, "$level: the cursor goes on with the same");
	is($session->value("SELECT sum(end_offset) FROM kafka.watermarks('t')"), $seen, "$level: kafka.watermarks");
	is($session->value("SELECT count(kafka_offset) FROM kafka.offsets_at('t', timestamptz 'epoch' + (1000000 + $seen) * interval '1 ms')"),
		0, "$level: kafka.offsets_at finds nothing that came later");
	is($session->value("SELECT max((tail ->> 'n')::int) FROM kafka.tail('t'::regclass, 3) AS tail"), $seen - 1, "$level: kafka.tail");
	$session->value('ROLLBACK TO outermost');
	is($session->value('SELECT (SELECT count(*) FROM t) = (SELECT count(*) FROM again)'), 't', "$level: after its rollback both agree");
	is($session->value('SELECT count(*) FROM t'), $seen, "$level: on what was seen in it");
	$session->value('DECLARE h CURSOR WITH HOLD FOR SELECT n FROM t');
	is(fetch(1, 'h') =~ /^\d+$/, 1, "$level: a cursor that will be held");
	grow(1);
	$session->value('COMMIT');
	is(scalar(split / /, fetch('ALL', 'h')), $seen - 1, "$level: has the rest of its rows after COMMIT");
	$session->value('CLOSE h');
	is($session->value('EXECUTE counted(0)'), $total, "$level: a prepared statement looks anew in the next transaction");
}
# At READ COMMITTED each statement looks anew, those in functions included.
is($session->value("SELECT $functions"), "$total $total 0", 'READ COMMITTED: functions');
$session->value('BEGIN');
$session->value('DECLARE c CURSOR FOR SELECT by_sql() FROM again');
is(fetch(1, 'c'), $total, 'READ COMMITTED: a function called by a query');
grow(1);
is(fetch(1, 'c'), $total, 'which sees what is there when it is called');
is($session->value("SELECT sum(end_offset) FROM kafka.watermarks('t')"), $total, 'as kafka.watermarks does');
is($session->value("SELECT max((tail ->> 'n')::int) FROM kafka.tail('t'::regclass, 3) AS tail"), $total - 1, 'and kafka.tail');
$session->value('COMMIT');
is($session->value('SELECT count(*) = (SELECT count(*) FROM t WHERE p >= 0) AND count(*) = (SELECT count(*) FROM again AS a WHERE a.o >= (SELECT min(o) FROM t)) FROM t'),
	't', 'READ COMMITTED: all subqueries of one statement agree');
$session->value('DEALLOCATE ALL');

# New partitions, and new topics that match a pattern
$broker->feed("create-topic m1\nproduce m1 value='{\"n\": 1}'\n");
$session->value('BEGIN');
$session->value('DECLARE c CURSOR FOR SELECT topic FROM pattern UNION ALL SELECT topic FROM pattern');
is(fetch(1, 'c'), 'm1', 'the topics that match');
$broker->feed("create-topic m2\nproduce m2 value='{\"n\": 2}'\n");
is(fetch('ALL', 'c'), 'm1', 'are the same in all of a statement');
is($session->value('SELECT count(*) FROM pattern'), 2, 'and more in the next');
$session->value('COMMIT');
$session->value('BEGIN ISOLATION LEVEL REPEATABLE READ');
is($session->value('SELECT count(*) FROM pattern'), 2, 'two topics match');
$broker->feed(
	"create-topic m3\nproduce m3 value='{\"n\": 3}'\nadd-partitions m1 2\nproduce m1 partition=1 value='{\"n\": 4}'\n");
is($session->value('SELECT count(*) FROM pattern'), 2, 'REPEATABLE READ: neither a new topic nor a new partition');
$session->value('COMMIT');
is($session->value('SELECT count(*) FROM pattern'), 4, 'both in the next transaction');

#
# A self-join while a producer runs has no row without its partner.
#
my $script = "$ENV{TESTDIR}/busy.feed";
PostgreSQL::Test::Utils::append_to_file($script,
	join(
		'',
		map {
			"generate busy first=" . ($_ * 21) . " count=21 partitions=3 value={n}\n"
			  . 'wait-visible busy 0 ' . ($_ * 7 + 7) . "\n"
		} 0 .. 999));
create_table($node, 'busy', 'logs', $columns, topic => 'busy', format => 'csv');
$broker->feed("create-topic busy partitions=3\n");
my ($out, $err) = ('', '');
my $producer = IPC::Run::start([ 'feed', '-b', $broker->brokers, $script ], '<', \undef, '>', \$out, '2>', \$err);
wait_until(sub { $session->value('SELECT count(*) FROM busy') > 0 }, 'the producer begins');
my ($rounds, $grown, $unmatched, $last) = (0, 0, 0, 0);
while ($last < 21_000)
{
	my ($count, $pairs, $a, $b) = split /\|/, $session->value(<<'SQL');
SELECT count(*), count(a.n + b.n), count(a.n), count(b.n) FROM busy AS a FULL JOIN busy AS b USING (p, o)
SQL

	$rounds++;
	$grown++ if $count > $last;
	$unmatched += $count - $pairs;
	$producer->pump_nb if $producer->pumpable;
	die "the producer failed: $err" if $count == $last && !$producer->pumpable && $count < 21_000;
	$last = $count;
}
$producer->finish;
is($unmatched, 0, "no row without its partner in $rounds self-joins");
cmp_ok($grown, '>=', 2, 'during which the topic grew');
is($last, 21_000, 'to its end');

#
# A row that another session has changed meanwhile is checked again, with the
# message that it was joined with.
#
my $rival = KafkaFdw::Session->new($node);
$session->value('CREATE TABLE local (n int PRIMARY KEY, v int)');
$session->value('INSERT INTO local SELECT g, 0 FROM generate_series(1, 3) AS g');
my %commands = (
	'UPDATE local SET v = local.v + t.n FROM t WHERE t.n = local.n AND local.v < 100 AND t.o >= 0 RETURNING local.n, local.v' => '2|12 3|3',
	'SELECT local.n, local.v FROM local JOIN t USING (n) WHERE local.v < 100 AND t.p >= 0 ORDER BY 1 FOR UPDATE OF local' => '2|10 3|0',
	'DELETE FROM local USING t WHERE t.n = local.n AND local.v < 100 RETURNING local.n, t.o' => '2|1 3|1',
	'SELECT local.n, t.n FROM local JOIN (SELECT n, p, o FROM t) AS t ON t.n = local.n + 1 WHERE local.v < 100 FOR UPDATE' => '2|3 3|4');
for my $command (sort keys %commands)
{
	$rival->value('BEGIN');
	$rival->value('UPDATE local SET v = CASE n WHEN 1 THEN 100 ELSE 10 END WHERE n < 3');
	$session->value('BEGIN');
	$session->send($command);
	$rival->await_state($session, wait_event_type => 'Lock');
	$rival->value('COMMIT');
	is(join(' ', sort split /\n/, $session->result->{output}), $commands{$command}, "rechecked: $command");
	$session->value('ROLLBACK');
	$session->value('UPDATE local SET v = 0');
}

#
# Progress
#
$broker->feed("create-topic big partitions=2\n"
	  . "generate big count=200000 partitions=2 time=1000000 step=1 value='{n} @{['x' x 200]}'\n");
create_table($node, 'big', 'logs', q(v text), topic => 'big', format => 'text');
$session->value("SET kafka_fdw.progress_interval = '1ms'");
my $notices = $session->run('SELECT count(*) FROM big');
is($notices->{output}, 200_000, 'a long scan');
my @shares = $notices->{error} =~ /NOTICE: .*read \d+ messages of Kafka topic "big", (\d+)% of the offsets\s+DETAIL:  Partitions still to be read: /g;
cmp_ok(scalar @shares, '>=', 1, 'tells how far it is');
is_deeply(\@shares, [ sort { $a <=> $b } @shares ], 'further each time');
cmp_ok($shares[-1] // 101, '<=', 100, 'and no further than all');
$session->value('SET kafka_fdw.progress_interval = 0');
is($session->run('SELECT count(*) FROM big')->{error}, '', 'or nothing');

my $log = PostgreSQL::Test::Utils::slurp_file($node->logfile);
unlike($log, qr/TRAP|PANIC|leak|terminated by signal/, 'the server is well');

done_testing();
