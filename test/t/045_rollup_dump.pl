# Rollups in a dump: pg_dump by a superuser and by a member of
# pg_read_all_data takes along what belongs to them; a restored copy stands
# still until it is taken over, and then goes on exactly where the dump was
# made, as the original does.
use strict;
use warnings;
use Test::More;
use KafkaFdw::Broker;
use KafkaFdw::Node qw(start_node create_server create_table);
use PostgreSQL::Test::Utils qw(run_command);

my $broker = KafkaFdw::Broker->new;
my $sent = 0;

# Adds messages: n counts on, and every tenth has no number.
sub grow
{
	my ($count) = @_;
	my $script = '';

	for my $n ($sent .. $sent + $count - 1)
	{
		my $value = $n % 10 == 9 ? qq("bad $n") : $n;
		my $partition = $n % 2;

		$script .= "produce log partition=$partition time=@{[1714557600000 + $n]} header=n:$n value='{\"n\": $value}'\n";
	}
	$broker->feed($script);
	$sent += $count;
	return;
}

# What the rollup must show: parity, messages and sum of the good ones
sub truth
{
	my %row;

	for my $n (grep { $_ % 10 != 9 } 0 .. $sent - 1)
	{
		$row{ $n % 2 }[0]++;
		$row{ $n % 2 }[1] += $n;
	}
	return join "\n", map { join '|', $_, @{ $row{$_} } } sort keys %row;
}

my $node = start_node('main');
$broker->feed("create-topic log partitions=2\n");
grow(40);
create_server($node, 'logs', $broker);
$node->safe_psql('postgres', <<'EOS');
CREATE ROLE keeper LOGIN;
CREATE ROLE dumper LOGIN IN ROLE pg_read_all_data;
GRANT USAGE ON FOREIGN SERVER logs TO keeper;
CREATE SCHEMA app AUTHORIZATION keeper;
INSERT INTO kafka.rollup_aggregate (aggregate, states, merges, final)
  VALUES ('app.own', '{count($1)}', '{$1 + $2}', '$1');
SET ROLE keeper;
CREATE FOREIGN TABLE app.log (p int OPTIONS (partition 'true'), ts timestamptz OPTIONS (timestamp 'true'), n int) SERVER logs OPTIONS (topic 'log');
SET search_path = app;
SELECT kafka.create_rollup('parity', 'SELECT p, count(*) AS messages, sum(n) AS total FROM log GROUP BY p',
  expect => 'n >= 0', options => '{"retry_delay": "1 day", "unique_key": "n", "unique_within": "1000 days"}');
CREATE VIEW report AS SELECT p, total FROM parity;
EOS

my $RESULT = 'SELECT p, messages, total FROM app.parity ORDER BY p';
my $LETTERS = 'SELECT kafka_partition, kafka_offset, headers, stage FROM kafka.dead_letters ORDER BY 1, 2';
my $OFFSETS = 'SELECT topic, kafka_partition, next_offset, last_offset FROM kafka.rollup_offsets ORDER BY 1, 2';
my $KEPT = q(SELECT (SELECT count(*) FROM kafka.stored_key), (SELECT count(*) FROM kafka.stored_run),
	(SELECT count(*) FROM kafka.rollup_aggregate WHERE NOT built_in), (SELECT count(*) FROM kafka.rollup_aggregate WHERE built_in),
	(SELECT string_agg(last_read::text, ' ' ORDER BY rollup_id) FROM kafka.stored_progress));

$node->safe_psql('postgres', 'CALL kafka.run_rollups()');
is($node->safe_psql('postgres', $RESULT), truth(), 'the original has counted all');
my @letters = split /\n/, $node->safe_psql('postgres', $LETTERS);
is(scalar @letters, 4, 'the original has dead letters');
my %before = map { $_ => scalar $node->safe_psql('postgres', $_) } $RESULT, $LETTERS, $OFFSETS, $KEPT;

# The answer of a dump, without the key that pg_dump makes up for each
sub dump_as
{
	my ($user, @options) = @_;
	my ($out, $err) = run_command([ 'pg_dump', '-d', $node->connstr('postgres'), '-U', $user, @options ]);

	is($err, '', "pg_dump as $user @options has nothing to say");
	return $out =~ s/^\\(un)?restrict .*$//mgr;
}

my $dump = dump_as('dumper');
is($dump, dump_as($node->safe_psql('postgres', 'SELECT current_user')),
	'a member of pg_read_all_data dumps what a superuser does');
my $inserts = dump_as('dumper', '--column-inserts');

# What was sent after the dump, original and copies count each for itself.
grow(30);
$node->safe_psql('postgres', 'CALL kafka.run_rollups()');
is($node->safe_psql('postgres', $RESULT), truth(), 'the original goes on');

# Restores into a database, and follows the copy until it has all.
sub check_copy
{
	my ($copy, $database, $text, $what) = @_;
	my ($code, $out, $err);

	$copy->safe_psql('postgres', "CREATE DATABASE $database");
	$copy->safe_psql($database, $text);
	is($copy->safe_psql($database, $_), $before{$_}, "$what: restored: " . ($_ =~ /FROM (\S+) ORDER/ ? $1 : 'counts'))
	  for $RESULT, $LETTERS, $OFFSETS, $KEPT;
	is($copy->safe_psql($database, 'SELECT state FROM kafka.rollups'), 'HALTED', "$what: halted");

	($code, $out, $err) = $copy->psql($database, "CALL kafka.run_rollups('parity')");
	isnt($code, 0, "$what: does not run");
	like($err, qr/take_over/, "$what: tells how to go on");
	is($copy->safe_psql($database, $RESULT), $before{$RESULT}, "$what: unchanged");
	is($copy->safe_psql($database, $OFFSETS), $before{$OFFSETS}, "$what: positions unchanged");

	is($copy->safe_psql($database, 'SET ROLE keeper; SELECT kafka.take_over()'), 1, "$what: taken over");
	is($copy->safe_psql($database, 'SELECT state FROM kafka.rollups'), 'RUNNING', "$what: not halted any more");
	is($copy->safe_psql($database, "SELECT count(*) FROM kafka.rollup_runs WHERE event = 'take over'"),
		1, "$what: a run row tells of it");
	is($copy->safe_psql($database, $RESULT =~ s/parity/parity_live/r), truth(), "$what: the live view goes on, too");
	$copy->safe_psql($database, "CALL kafka.run_rollups('parity')");
	is($copy->safe_psql($database, $RESULT), truth(), "$what: goes on where the dump was made");
	is($copy->safe_psql($database, 'SELECT count(*), count(DISTINCT id), sum(duplicates) FROM kafka.dead_letters, '
		. '(SELECT sum(duplicates) AS duplicates FROM kafka.rollup_runs) AS r'), ($sent / 10) . '|' . ($sent / 10) . '|0',
		"$what: dead letters go on being numbered");
	is($copy->safe_psql($database, <<'EOS'), '2|2', "$what: new rollups go on being numbered");
SET ROLE keeper; SET search_path = app;
DO $$BEGIN PERFORM kafka.create_rollup('other', 'SELECT p, count(*) AS messages FROM log GROUP BY p'); END$$;
RESET ROLE;
SELECT count(*), count(DISTINCT rollup_id) FROM kafka.stored_rollup;
EOS
	return;
}

check_copy($node, 'copy', $dump, 'same server');
my $other = start_node('other');
$other->safe_psql('postgres', 'CREATE ROLE keeper');
check_copy($other, 'copy', $dump, 'other server');
check_copy($other, 'inserted', $inserts, 'inserts');

# The copies have nothing to do with the original.
is($node->safe_psql('postgres', 'SELECT state FROM kafka.rollups'), 'RUNNING', 'the original is as it was');
grow(10);
$node->safe_psql('postgres', 'CALL kafka.run_rollups()');
is($node->safe_psql('postgres', $RESULT), truth(), 'and goes on');

done_testing();
