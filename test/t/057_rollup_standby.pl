# Rollups on copies of a server. On a streaming standby all is read and nothing
# is changed; promoted it runs on from where it was, and where the old primary
# runs on as well, each counts for itself and both are right, unless runs are
# switched off there. By logical replication what rollups store arrives at a
# server that has plain tables, changes and removals included.
use strict;
use warnings;
use Test::More;
use KafkaFdw::Broker;
use KafkaFdw::Node qw(start_node create_server);
use KafkaFdw::Rollup qw(run_rollup difference);
use KafkaFdw::Session qw(wait_until);
use PostgreSQL::Test::Utils qw(run_command);

my $START_MS = 1_699_999_980_000;
my $ROLLUP = 'SELECT minute, p, messages, total FROM by_minute ORDER BY 1, 2';
my $VERBOSE = "\\set VERBOSITY verbose\n";

my $broker = KafkaFdw::Broker->new;
my $sent = 0;

# Messages of which every tenth has no number, and every second is sent twice
sub grow
{
	my ($count) = @_;
	my $script = '';

	for my $n ($sent .. $sent + $count - 1)
	{
		my $value = $n % 10 == 9 ? qq("bad $n") : $n;
		my $line = "produce log partition=@{[$n % 2]} time=@{[$START_MS + $n * 1000]} value='{\"n\": $value}'\n";

		$script .= $n % 4 < 2 ? $line : $line x 2;
	}
	$broker->feed($script);
	$sent += $count;
	return;
}

# What the rollup must show
sub truth
{
	my %row;

	for my $n (grep { $_ % 10 != 9 } 0 .. $sent - 1)
	{
		my $row = $row{ int $n / 60 }{ $n % 2 } //= [ 0, 0 ];

		$row->[0]++;
		$row->[1] += $n;
	}
	return join "\n", map {
		my $minute = $_;
		map { "$minute|$_|$row{$minute}{$_}[0]|$row{$minute}{$_}[1]" } sort keys %{ $row{$minute} }
	} sort { $a <=> $b } keys %row;
}

sub value_of
{
	my ($node, $sql) = @_;

	return $node->safe_psql('postgres', $sql);
}

# What a statement that must fail says
sub error_of
{
	my ($node, $sql) = @_;
	my ($code, $out, $err) = $node->psql('postgres', "$VERBOSE$sql");

	return $code == 0 ? 'no error' : $err;
}

my $primary = PostgreSQL::Test::Cluster->new('primary');
$primary->init(allows_streaming => 'logical');
$primary->start;
value_of($primary, 'CREATE EXTENSION kafka_fdw');
create_server($primary, 'logs', $broker);
$broker->feed("create-topic log partitions=2\n");
grow(100);
value_of($primary, <<'EOF');
CREATE FOREIGN TABLE log (p int OPTIONS (partition 'true'), ts timestamptz OPTIONS (timestamp 'true'), n int) SERVER logs OPTIONS (topic 'log');
SELECT kafka.create_rollup('by_minute', 'SELECT n / 60 AS minute, p, count(*) AS messages, sum(n) AS total FROM log GROUP BY 1, 2',
  options => '{"unique_key": "n", "unique_within": "1 day", "retry_delay": "1 day"}');
SELECT kafka.create_rollup('paused', 'SELECT p, count(*) AS messages FROM log GROUP BY p');
SELECT kafka.alter_rollup('paused', enabled => false);
CREATE ROLE bi LOGIN;
GRANT SELECT ON by_minute, by_minute_live TO bi;
EOF
value_of($primary, 'CALL kafka.run_rollups()');
is(value_of($primary, $ROLLUP), truth(), 'the primary has counted all, once');

#
# A publication of all tables: a run changes each of the extension's, and none is
# refused for want of an identity of its rows.
#
value_of($primary, 'CREATE PUBLICATION everything FOR ALL TABLES');
is(value_of($primary, <<'EOF'), '', 'what rollups are stored in has primary keys');
SELECT tablename FROM pg_publication_tables
 WHERE pubname = 'everything'
   AND NOT EXISTS (SELECT FROM pg_index WHERE indrelid = format('%I.%I', schemaname, tablename)::regclass AND indisprimary)
EOF
my $subscriber = PostgreSQL::Test::Cluster->new('subscriber');
$subscriber->init;
$subscriber->start;

# Plain tables with the same columns
my $tables = value_of($primary, <<'EOF');
SELECT string_agg(format('CREATE TABLE %s (%s, PRIMARY KEY (%s));', t.name, columns.list, keys.list), E'\n')
  FROM (SELECT format('%I.%I', schemaname, tablename) AS name FROM pg_publication_tables WHERE pubname = 'everything') AS t
 CROSS JOIN LATERAL (SELECT string_agg(format('%I %s', attname, replace(format_type(atttypid, atttypmod), 'regclass', 'text')), ', ' ORDER BY attnum) AS list
    FROM pg_attribute WHERE attrelid = t.name::regclass AND attnum > 0 AND NOT attisdropped AND attgenerated = '') AS columns
 CROSS JOIN LATERAL (SELECT string_agg(format('%I', attname), ', ') AS list
    FROM pg_index JOIN pg_attribute ON attrelid = indrelid AND attnum = ANY (indkey) WHERE indrelid = t.name::regclass AND indisprimary) AS keys
EOF
value_of($subscriber, "CREATE SCHEMA kafka; $tables");
my $connection = $primary->connstr('postgres') =~ s/'/''/gr;
value_of($subscriber, "CREATE SUBSCRIPTION everything CONNECTION '$connection' PUBLICATION everything");
$subscriber->wait_for_subscription_sync($primary, 'everything');

my @REPLICATED = (
	'SELECT minute, p, messages, total FROM _by_minute_g1 ORDER BY 1, 2',
	'SELECT topic, kafka_partition, next_offset FROM kafka.stored_position ORDER BY rollup_id, 1, 2',
	'SELECT run_id, event, messages, duplicates FROM kafka.stored_run ORDER BY 1',
	'SELECT id, kafka_offset, status, value FROM kafka.stored_dead_letter ORDER BY 1',
	'SELECT key_hash, seen_at, newest FROM kafka.stored_key ORDER BY 1, 2',
	'SELECT name, state, enabled FROM kafka.stored_rollup ORDER BY 1');

sub check_subscriber
{
	my ($when) = @_;

	$primary->wait_for_catchup('everything');
	is(value_of($subscriber, $_), value_of($primary, $_), "$when, the subscriber has: $_") for @REPLICATED;
	return;
}

check_subscriber('at first');
grow(30);
value_of($primary, 'CALL kafka.run_rollups()');
check_subscriber('after rows have changed');
isnt(value_of($subscriber, $REPLICATED[0]), '', 'which is something');
value_of($primary, q(DELETE FROM _by_minute_g1 WHERE minute = 0; SELECT kafka.seek_rollup('by_minute', '{"0": 0}'::jsonb, true)));
value_of($primary, 'CALL kafka.run_rollups()');
check_subscriber('after rows, positions, keys and letters were removed or put back');
value_of($primary, q(SELECT kafka.seek_rollup('by_minute', '{"0": 0, "1": 0}'::jsonb, true); TRUNCATE _by_minute_g1));
value_of($primary, 'CALL kafka.run_rollups()');
check_subscriber('after all was counted anew');
is(value_of($primary, $ROLLUP), truth(), 'as it was');
value_of($subscriber, 'DROP SUBSCRIPTION everything');
$subscriber->stop;

#
# A standby reads, and changes nothing.
#
my $standby = PostgreSQL::Test::Cluster->new('standby');
$primary->backup('base');
$standby->init_from_backup($primary, 'base', has_streaming => 1);
$standby->start;
grow(30);
value_of($primary, 'CALL kafka.run_rollups()');
$primary->wait_for_catchup($standby);
is(value_of($standby, $ROLLUP), truth(), 'the standby shows what the primary counted');
is($standby->safe_psql('postgres', $ROLLUP, extra_params => [ '-U', 'bi' ]), truth(), 'also to who may read the rollup alone');
is(value_of($standby, "SELECT * FROM kafka.$_ ORDER BY 1, 2, 3"), value_of($primary, "SELECT * FROM kafka.$_ ORDER BY 1, 2, 3"), "kafka.$_ is the same there")
  for qw(rollups rollup_offsets rollup_runs dead_letters);
grow(10);
is(value_of($standby, q(SELECT sum(messages_behind) FROM kafka.rollup_lag WHERE name = 'by_minute')), 14, 'kafka.rollup_lag asks the broker');
is(value_of($standby, 'SELECT count(DISTINCT p) FROM log'), 2, 'topics are read there');
isnt(value_of($standby, $ROLLUP), truth(), 'what no run has counted is not in the rollup');
for my $transaction ('', 'BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;')
{
	is($standby->safe_psql('postgres', $transaction . $ROLLUP =~ s/by_minute/by_minute_live/r, extra_params => [ '-U', 'bi' ]),
		truth(), "but in the live view: $transaction");
}

my @CHANGES = (
	q(SELECT kafka.create_rollup('other', 'SELECT p, count(*) AS messages FROM log GROUP BY p')),
	q(SELECT kafka.alter_rollup('by_minute', enabled => false)),
	q(SELECT kafka.alter_rollup('by_minute', options => '{"on_loss": "continue"}')),
	q(SELECT kafka.drop_rollup('by_minute')),
	q(SELECT kafka.take_over()),
	q(SELECT kafka.take_over('by_minute')),
	q(SELECT kafka.seek_rollup('by_minute', now(), true)),
	q(SELECT kafka.seek_rollup('by_minute', '{"0": "earliest"}', true)),
	q(SELECT kafka.seek_rollup('by_minute', '{}'::jsonb)),
	q(SELECT * FROM kafka.retry_dead_letters('by_minute')),
	q(SELECT kafka.test_rollup('by_minute', '[{"value": {"n": 1}}]')),
	q(SELECT kafka.prune('by_minute')),
	q(CALL kafka.rebuild_rollup('by_minute')),
	q(CALL kafka.run_rollups()),
	q(CALL kafka.run_rollups('by_minute')));

for my $sql (@CHANGES)
{
	my ($command) = $sql =~ /((?:CALL )?kafka\.\w+)/;

	like(error_of($standby, $sql), qr/ERROR:  25006: cannot execute \Q$command\E\(\) during recovery$/m, "refused on the standby: $sql");
	next if $sql =~ /^CALL/;
	like(error_of($primary, "BEGIN READ ONLY; $sql"), qr/ERROR:  25006: cannot execute \Q$command\E\(\) in a read-only transaction$/m,
		"refused in a transaction that only reads: $sql");
}
like(error_of($primary, 'SET default_transaction_read_only = on; CALL kafka.run_rollups()'),
	qr/ERROR:  25006: cannot execute CALL kafka\.run_rollups\(\) in a read-only transaction$/m, 'refused: a run by a session that only reads');
is(value_of($standby, $ROLLUP), value_of($primary, $ROLLUP), 'nothing has changed');

# A database's settings arrive there, and hold after a promotion.
value_of($primary, 'ALTER DATABASE postgres SET kafka_fdw.enable_runs = off');
$primary->wait_for_catchup($standby);
is(value_of($_, q(LOAD 'kafka_fdw'; SHOW kafka_fdw.enable_runs)), 'off', 'runs are switched off for a database: ' . $_->name) for $primary, $standby;
value_of($primary, 'ALTER DATABASE postgres RESET kafka_fdw.enable_runs');
$primary->wait_for_catchup($standby);

#
# Promoted, it runs on. The old primary, which nobody has stopped, does as well:
# both are right, and neither knows of the other.
#
$standby->promote;
is(value_of($standby, q(SELECT state, reason IS NULL FROM kafka.rollups WHERE name = 'by_minute')), 'RUNNING|t', 'promoted, it is the same system');
run_rollup($standby, 'by_minute');
is(value_of($standby, $ROLLUP), truth(), 'and runs on exactly');
run_rollup($primary, 'by_minute');
is(value_of($primary, $ROLLUP), truth(), 'and so does the old primary');
grow(20);
run_rollup($primary, 'by_minute', max_rows => 7);
run_rollup($standby, 'by_minute', max_rows => 5);
is(value_of($_, $ROLLUP), truth(), 'each for itself: ' . $_->name) for $primary, $standby;

value_of($primary, q(LOAD 'kafka_fdw'; ALTER SYSTEM SET kafka_fdw.enable_runs = off));
$primary->reload;
grow(20);
wait_until(sub { value_of($primary, q(LOAD 'kafka_fdw'; SHOW kafka_fdw.enable_runs)) eq 'off' }, 'the setting is loaded');
my $refused = qr/ERROR:  55000: rollups do not run here, since "kafka_fdw\.enable_runs" is off$/m;
like(error_of($primary, $_), $refused, "refused where runs are switched off: $_")
  for q(CALL kafka.run_rollups()), q(CALL kafka.rebuild_rollup('by_minute')), q(SELECT kafka.prune('by_minute')),
  q(SELECT kafka.seek_rollup('by_minute', '{}'::jsonb)), q(SELECT * FROM kafka.retry_dead_letters('by_minute'));
isnt(value_of($primary, $ROLLUP), truth(), 'what is there stays as it is');
run_rollup($standby, 'by_minute');
is(value_of($standby, $ROLLUP), truth(), 'the other runs on');

done_testing();
