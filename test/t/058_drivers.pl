# Rollups through JDBC and ODBC, as BI tools read them: ordinary views in the
# drivers' lists, with types that tools know, read by cursors, with prepared
# statements, and ended by a cancel; runs need autocommit. Lists, descriptions
# and reading never ask a broker: in the place of one there is a listener that
# would notice.
use strict;
use warnings;
use IO::Select;
use IO::Socket::INET;
use Test::More;
use KafkaFdw::Broker;
use KafkaFdw::Driver;
use KafkaFdw::Node qw(start_node create_server backend_usage);
use KafkaFdw::Session qw(wait_until);

my $START_MS = 1_699_999_980_000;
my $LONG = 'x' x 1000;

my $broker = KafkaFdw::Broker->new;
my $node = start_node('main', listen_addresses => '127.0.0.1');

sub query { my ($sql) = @_; return $node->safe_psql('postgres', $sql) }

#
# Six minutes of a message a second, of ten kinds, by a role app. The role bi
# may read the rollup, and nothing else.
#
my $sent = 0;

sub grow
{
	my ($count) = @_;

	$broker->feed("generate events partitions=2 first=$sent count=$count time=$START_MS step=1000 "
		  . "value='{\"n\": {n}, \"kind\": \"k{n%10}\", \"amount\": 1.0000000001, \"note\": \"$LONG\"}'\n");
	$sent += $count;
	return;
}

$broker->feed("create-topic events partitions=2\n");
grow(360);
create_server($node, 'logs', $broker);
query(<<'EOF');
CREATE ROLE app LOGIN;
CREATE ROLE bi LOGIN;
GRANT USAGE ON FOREIGN SERVER logs TO app;
CREATE SCHEMA app AUTHORIZATION app;
GRANT USAGE ON SCHEMA app TO bi;
SET ROLE app;
SET search_path = app;
CREATE FOREIGN TABLE events (ts timestamptz OPTIONS (timestamp 'true'),
  n int, kind text, amount numeric, note text) SERVER logs OPTIONS (topic 'events', format 'json');
SELECT kafka.create_rollup('by_minute', $$
  SELECT date_bin('1 min', ts, '2000-01-01') AS minute, kind, count(*) AS events,
         sum(amount) AS total, sum(amount)::numeric(12,2) AS rounded,
         avg(n::float8) AS mean, max(n) AS last, bool_or(n < 60) AS early,
         (min(ts) AT TIME ZONE 'UTC')::date AS day, max(note) AS note
    FROM events GROUP BY 1, 2 $$);
COMMENT ON VIEW by_minute IS 'Events of each minute';
COMMENT ON COLUMN by_minute.total IS 'In euros';
GRANT SELECT ON by_minute TO bi;
EOF
query('CALL kafka.run_rollups()');

my %COLUMNS = (
	jdbc => <<'EOF',
minute TIMESTAMP timestamptz 35 6 YES \N
kind VARCHAR text 2147483647 0 YES \N
events BIGINT int8 19 0 YES \N
total NUMERIC numeric 0 \N YES In euros
rounded NUMERIC numeric 12 2 YES \N
mean DOUBLE float8 17 17 YES \N
last INTEGER int4 10 0 YES \N
early BIT bool 1 0 YES \N
day DATE date 13 0 YES \N
note VARCHAR text 2147483647 0 YES \N
EOF
	odbc => <<'EOF');
minute TIMESTAMP timestamptz 26 6 1
kind LONGVARCHAR text 8190 \N 1
events BIGINT int8 19 0 1
total NUMERIC numeric 28 6 1
rounded NUMERIC numeric 12 2 1
mean FLOAT float8 17 0 1
last INTEGER int4 10 0 1
early VARCHAR bool 5 0 1
day DATE date 10 \N 1
note LONGVARCHAR text 8190 \N 1
EOF

# What a driver lists besides. A view has neither keys nor indexes, and rights
# are those of its owner (7) and of bi (1), twice with ODBC: also for roles.
my %OTHERS = (
	jdbc => [ 'primary keys 0', 'indexes 0', 'imported keys 0', 'exported keys 0', 'row identifiers 0',
		'table privileges 8', 'schemas 1', 'procedures 1', 'functions 1' ],
	odbc => [ 'primary keys 0', 'indexes 0', 'foreign keys 0', 'row identifiers 0', 'procedures 1' ]);

my %FIRST_ROW = (
	jdbc => "2023-11-14 22:13:00+00 k0 6 6.0000000006 6.00 25 50 t 2023-11-14 $LONG",
	odbc => "2023-11-14 22:13:00 k0 6 6.0000000006 6.00 25 50 1 2023-11-14 $LONG");

# A driver's settings for parameters whose types the server finds out
my %SETTINGS = (jdbc => { stringtype => 'unspecified' }, odbc => { UseServerSidePrepare => 1 });

sub lines { return map { join ' ', map { $_ // '\N' } @$_ } @_ }

#
# The listener in the place of the broker
#
my $listener = IO::Socket::INET->new(LocalAddr => '127.0.0.1', Listen => 32) or die "could not listen: $!";

# Has anybody called since it was asked last?
sub was_called
{
	my $called = 0;

	while (IO::Select->new($listener)->can_read(0))
	{
		$listener->accept->close;
		$called = 1;
	}
	return $called;
}

sub lead_to
{
	my ($address) = @_;

	query("ALTER SERVER logs OPTIONS (SET brokers '$address')");
	return;
}

# One thing that must be done without a broker: at once, by no thread of the
# client library, and without a connection.
sub asks_nobody
{
	my ($driver, $pid, $what, @words) = @_;
	my $answer = $driver->ask(@words);
	my %usage = backend_usage($pid);
	my @trouble;

	push @trouble, $answer if $answer =~ /^ERROR/m;
	push @trouble, sprintf('it took %.1f s', $driver->seconds) if $driver->seconds > 2;
	push @trouble, 'a broker was called' if was_called();
	push @trouble, "there are $usage{threads} threads" if $usage{threads} > 1;
	is("@trouble", '', "$what, without a broker");
	return;
}

sub check_lists
{
	my ($driver, $kind) = @_;
	my $pid = $driver->connect(user => 'bi', %{ $SETTINGS{$kind} });
	my %type;
	my %remarks;

	for my $row ($driver->rows('tables', 'app'))
	{
		($type{ $row->[0] }, $remarks{ $row->[0] }) = @{$row}[ 1, 2 ];
	}
	is($type{by_minute}, 'VIEW', "$kind: a rollup is a view");
	is($remarks{by_minute}, $kind eq 'jdbc' ? 'Events of each minute' : '', "$kind: its comment");
	is($type{events}, 'FOREIGN TABLE', "$kind: a topic is a foreign table");
	is(join('', map { s/ *$/\n/r } lines($driver->rows('columns', 'app', 'by_minute'))),
		$COLUMNS{$kind}, "$kind: columns have ordinary types");
	is(join("\n", lines($driver->rows('describe', 'SELECT * FROM app.by_minute'))),
		join("\n", map { join ' ', (split)[ 0, 1 ] } split /\n/, $COLUMNS{$kind}),
		"$kind: a statement that is only described has the same types");
	my %listed = map { $_ => 1 } lines($driver->rows('metadata', 'app', 'by_minute'));
	is(join(', ', grep { !$listed{$_} } @{ $OTHERS{$kind} }), '', "$kind: other lists are right");
	return;
}

sub check_no_broker
{
	my ($driver, $kind) = @_;
	my $pid = $driver->connect(user => 'bi', %{ $SETTINGS{$kind} });

	lead_to('127.0.0.1:' . $listener->sockport);
	asks_nobody($driver, $pid, "$kind: listing tables", 'tables', '%');
	for my $table (qw(by_minute _by_minute_g1 events))
	{
		asks_nobody($driver, $pid, "$kind: columns of $table", 'columns', 'app', $table);
		asks_nobody($driver, $pid, "$kind: other lists about $table", 'metadata', 'app', $table);
	}
	asks_nobody($driver, $pid, "$kind: describing a rollup", 'describe', 'SELECT * FROM app.by_minute');
	asks_nobody($driver, $pid, "$kind: a rollup's first rows", 'query', 'SELECT * FROM app.by_minute LIMIT 10');
	asks_nobody($driver, $pid, "$kind: reading a rollup", 'query', 'SELECT count(*), sum(events) FROM app.by_minute');
	asks_nobody($driver, $pid, "$kind: the state of rollups", 'query', 'SELECT * FROM kafka.rollups');

	$pid = $driver->connect(user => 'app', %{ $SETTINGS{$kind} });
	asks_nobody($driver, $pid, "$kind: describing a topic", 'describe', 'SELECT * FROM app.events');
	asks_nobody($driver, $pid, "$kind: a topic without rows", 'query', 'SELECT * FROM app.events WHERE 1 = 0');
	asks_nobody($driver, $pid, "$kind: explaining", 'query', 'EXPLAIN SELECT * FROM app.events');

	# ... and the listener does notice.
	$driver->ask('query', "SET statement_timeout = '1s'");
	like($driver->ask('query', 'SELECT * FROM app.events LIMIT 1'), qr/^ERROR: 57014 /, "$kind: reading a topic waits");
	ok(was_called(), "$kind: for a broker");
	lead_to($broker->brokers);
	return;
}

sub check_reading
{
	my ($driver, $kind) = @_;
	my @rows;

	$driver->connect(user => 'bi', fetch => 7, %{ $SETTINGS{$kind} });
	$driver->rows('autocommit', 'off');
	$driver->rows('open', 'SELECT * FROM app.by_minute ORDER BY minute, kind');
	@rows = $driver->rows('fetch', 3);
	is((lines($rows[0]))[0], $FIRST_ROW{$kind}, "$kind: values arrive whole");
	is($driver->value('query', q(SELECT count(*) FROM pg_cursors WHERE statement LIKE '%by_minute%' AND statement NOT LIKE '%pg_cursors%')),
		1, "$kind: the rest is in a cursor");
	push @rows, $driver->rows('fetch', 1000);
	my $groups = query('SELECT count(*) FROM app.by_minute');
	is(scalar @rows, $groups, "$kind: and arrives");
	is(scalar keys %{ { map { $_ => 1 } lines(@rows) } }, $groups, "$kind: each row once");
	$driver->rows('commit');

	for my $relation (qw(events _by_minute_g1 _by_minute_def _by_minute_states))
	{
		like($driver->ask('query', "SELECT * FROM app.$relation LIMIT 1"),
			qr/^ERROR: 42501 .*permission denied for .*$relation/, "$kind: no right to read $relation");
		$driver->rows('rollback');
	}
	return;
}

sub check_prepared
{
	my ($driver, $kind) = @_;
	my $counts = sub { return join ' ', map { $driver->value('execute', '2023-11-14 22:15:00+00', "k$_") } @_ };

	$driver->connect(user => 'bi', %{ $SETTINGS{$kind} });
	$driver->rows('prepare', 'SELECT sum(events) FROM app.by_minute WHERE minute >= ? AND kind = ?');
	my $each = ($sent - 120) / 10;
	is($counts->(0 .. 9), join(' ', ($each) x 10), "$kind: a prepared statement answers each time");
	is($driver->value('query', q(SELECT count(*) FROM pg_prepared_statements WHERE statement LIKE '%by_minute%'
		AND '{text}' <@ parameter_types::text[])), 1, "$kind: the server has prepared it");
	grow(100);
	query('CALL kafka.run_rollups()');
	$each += 10;
	is($counts->(0 .. 9), join(' ', ($each) x 10), "$kind: and it sees what a run has counted since");
	return;
}

sub check_calls
{
	my ($driver, $kind) = @_;
	my $error = qr/^ERROR: 25001 .*kafka\.run_rollups cannot run inside a transaction block or a function/;

	grow(20);
	$driver->connect(user => 'app');
	is($driver->ask('query', q(CALL kafka.run_rollups('by_minute'))), '', "$kind: a run with autocommit");
	is($driver->value('query', 'SELECT sum(events) FROM app.by_minute'), $sent, "$kind: has counted");
	$driver->rows('prepare', 'CALL kafka.run_rollups(?)');
	is($driver->ask('execute', 'by_minute'), '', "$kind: so has a prepared one") for 1 .. 6;
	is($driver->ask('query', 'CALL kafka.run_rollups()'), '', "$kind: and one of all");

	$driver->rows('autocommit', 'off');
	like($driver->ask('query', q(CALL kafka.run_rollups('by_minute'))), $error, "$kind: a run without autocommit is refused");
	$driver->rows('rollback');
	$driver->rows('autocommit', 'on');
	is($driver->ask('query', q(CALL kafka.run_rollups('by_minute'))), '', "$kind: and again with it");

	$driver->connect(user => 'bi');
	like($driver->ask('query', q(CALL kafka.run_rollups('by_minute'))),
		qr/^ERROR: 42501 .*must be owner of rollup "by_minute"/, "$kind: who reads may not run");
	return;
}

# Begins a statement, cancels it when it waits, and says what came of it.
sub cancel
{
	my ($driver, $pid, $wait_event, $sql) = @_;

	$driver->rows('start', $sql);
	wait_until(
		sub { query("SELECT count(*) FROM pg_stat_activity WHERE pid = $pid AND state = 'active' AND wait_event = '$wait_event'") },
		"$sql waits");
	$driver->rows('cancel');
	my $answer = $driver->ask('finish');
	return $driver->seconds < 2 ? $answer : 'it took ' . $driver->seconds . ' s';
}

sub check_cancel
{
	my ($driver, $kind) = @_;
	my $pid = $driver->connect(user => 'app');
	my $cancelled = qr/^ERROR: 57014 .*canceling statement due to user request/;

	like(cancel($driver, $pid, 'PgSleep', 'SELECT pg_sleep(100) FROM app.by_minute'), $cancelled, "$kind: reading a rollup is cancelled");

	# So that the session asks anew and waits for a broker that does not answer
	grow(20);
	$broker->pause;
	like(cancel($driver, $pid, 'Extension', 'SELECT count(*) FROM app.events'), $cancelled, "$kind: reading a topic is cancelled");
	like(cancel($driver, $pid, 'Extension', q(CALL kafka.run_rollups('by_minute'))), $cancelled, "$kind: a run is cancelled");
	$broker->resume;
	is($driver->value('query', 'SELECT state FROM kafka.rollups'), 'RUNNING', "$kind: which is no failure");
	is($driver->ask('query', q(CALL kafka.run_rollups('by_minute'))), '', "$kind: the same session runs it again");
	is($driver->value('query', 'SELECT sum(events) FROM app.by_minute'), $sent, "$kind: to the end");
	return;
}

for my $kind ('jdbc', 'odbc')
{
	my $driver = KafkaFdw::Driver->new($kind, $node);

	check_lists($driver, $kind);
	check_no_broker($driver, $kind);
	check_reading($driver, $kind);
	check_prepared($driver, $kind);
	check_calls($driver, $kind);
	check_cancel($driver, $kind);
}

done_testing();
