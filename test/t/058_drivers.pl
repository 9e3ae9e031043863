# Rollups and their live views through JDBC and ODBC, as BI tools read them:
# ordinary views in the drivers' lists, with types that tools know, read by
# cursors, with prepared statements, and ended by a cancel; runs need autocommit.
# Lists and descriptions never ask a broker, nor does reading a rollup: in the
# place of one there is a listener that would notice.
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
CREATE EXTENSION hll;
CREATE ROLE app LOGIN;
CREATE ROLE bi LOGIN;
GRANT USAGE ON FOREIGN SERVER logs TO app;
CREATE SCHEMA app AUTHORIZATION app;
GRANT USAGE ON SCHEMA app TO bi;
SET ROLE app;
SET search_path = app, public;
CREATE FOREIGN TABLE events (ts timestamptz OPTIONS (timestamp 'true'),
  n int, kind text, amount numeric, note text) SERVER logs OPTIONS (topic 'events', format 'json');
SELECT kafka.create_rollup('by_minute', $$
  SELECT date_bin('1 min', ts, '2000-01-01') AS minute, kind, count(*) AS events,
         sum(amount) AS total, sum(amount)::numeric(12,2) AS rounded,
         avg(n::float8) AS mean, max(n) AS last, bool_or(n < 60) AS early,
         (min(ts) AT TIME ZONE 'UTC')::date AS day, max(note) AS note,
         hll_cardinality(hll_add_agg(hll_hash_integer(n))) AS numbers, hll_add_agg(hll_hash_integer(n)) AS sketch
    FROM events GROUP BY 1, 2 $$);
COMMENT ON VIEW by_minute IS 'Events of each minute';
COMMENT ON VIEW by_minute_live IS 'The same, up to now';
COMMENT ON COLUMN by_minute.total IS 'In euros';
COMMENT ON COLUMN by_minute_live.total IS 'In euros';
GRANT SELECT ON by_minute, by_minute_live TO bi;
EOF
query('CALL kafka.run_rollups()');

my %COMMENTS = (by_minute => 'Events of each minute', by_minute_live => 'The same, up to now');

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
numbers DOUBLE float8 17 17 YES \N
sketch OTHER hll 2147483647 0 YES \N
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
numbers FLOAT float8 17 0 1
sketch VARCHAR hll 255 \N 1
EOF

# The rollup's table, which has another name each time that it is rebuilt
sub storage { return query(q(SELECT relname FROM pg_class WHERE oid = (SELECT storage FROM kafka.stored_rollup WHERE name = 'by_minute'))) }

# What a driver lists besides. A view has neither keys nor indexes, and rights
# are those of its owner (7) and of bi (1), twice with ODBC: also for roles.
my %OTHERS = (
	jdbc => [ 'primary keys 0', 'indexes 0', 'imported keys 0', 'exported keys 0', 'row identifiers 0',
		'table privileges 8', 'schemas 1', 'procedures 1', 'functions 1' ],
	odbc => [ 'primary keys 0', 'indexes 0', 'foreign keys 0', 'row identifiers 0', 'procedures 1' ]);

my %FIRST_ROW = (
	jdbc => "2023-11-14 22:13:00+00 k0 6 6.0000000006 6.00 25 50 t 2023-11-14 $LONG 6",
	odbc => "2023-11-14 22:13:00 k0 6 6.0000000006 6.00 25 50 1 2023-11-14 $LONG 6");

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
	is($type{events}, 'FOREIGN TABLE', "$kind: a topic is a foreign table");
	for my $view (sort keys %COMMENTS)
	{
		is($type{$view}, 'VIEW', "$kind: $view is a view");

		# This ODBC driver leaves comments out.
		is($remarks{$view}, $kind eq 'jdbc' ? $COMMENTS{$view} : '', "$kind: the comment of $view");
		is(join('', map { s/ *$/\n/r } lines($driver->rows('columns', 'app', $view))),
			$COLUMNS{$kind}, "$kind: columns of $view have ordinary types");
		is(join("\n", lines($driver->rows('describe', "SELECT * FROM app.$view"))),
			join("\n", map { join ' ', (split)[ 0, 1 ] } split /\n/, $COLUMNS{$kind}),
			"$kind: a statement over $view that is only described has the same types");
		my %listed = map { $_ => 1 } lines($driver->rows('metadata', 'app', $view));
		is(join(', ', grep { !$listed{$_} } @{ $OTHERS{$kind} }), '', "$kind: other lists about $view are right");
	}
	return;
}

sub check_no_broker
{
	my ($driver, $kind) = @_;
	my $pid = $driver->connect(user => 'bi', %{ $SETTINGS{$kind} });

	lead_to('127.0.0.1:' . $listener->sockport);
	asks_nobody($driver, $pid, "$kind: listing tables", 'tables', '%');
	for my $table (qw(by_minute by_minute_live events), storage())
	{
		asks_nobody($driver, $pid, "$kind: columns of $table", 'columns', 'app', $table);
		asks_nobody($driver, $pid, "$kind: other lists about $table", 'metadata', 'app', $table);
	}
	asks_nobody($driver, $pid, "$kind: describing a rollup", 'describe', 'SELECT * FROM app.by_minute');
	asks_nobody($driver, $pid, "$kind: describing a live view", 'describe', 'SELECT * FROM app.by_minute_live');
	asks_nobody($driver, $pid, "$kind: a live view without rows", 'query', 'SELECT * FROM app.by_minute_live WHERE 1 = 0');
	asks_nobody($driver, $pid, "$kind: explaining a live view", 'query', 'EXPLAIN SELECT * FROM app.by_minute_live');
	asks_nobody($driver, $pid, "$kind: a rollup's first rows", 'query', 'SELECT * FROM app.by_minute LIMIT 10');
	asks_nobody($driver, $pid, "$kind: reading a rollup", 'query', 'SELECT count(*), sum(events) FROM app.by_minute');
	asks_nobody($driver, $pid, "$kind: the state of rollups", 'query', 'SELECT * FROM kafka.rollups');

	# ... and the listener does notice.
	$driver->ask('query', "SET statement_timeout = '1s'");
	like($driver->ask('query', 'SELECT * FROM app.by_minute_live LIMIT 1'), qr/^ERROR: 57014 /, "$kind: reading a live view waits");
	ok(was_called(), "$kind: for a broker");

	$pid = $driver->connect(user => 'app', %{ $SETTINGS{$kind} });
	asks_nobody($driver, $pid, "$kind: describing a topic", 'describe', 'SELECT * FROM app.events');
	asks_nobody($driver, $pid, "$kind: a topic without rows", 'query', 'SELECT * FROM app.events WHERE 1 = 0');
	asks_nobody($driver, $pid, "$kind: explaining", 'query', 'EXPLAIN SELECT * FROM app.events');
	$driver->ask('query', "SET statement_timeout = '1s'");
	like($driver->ask('query', 'SELECT * FROM app.events LIMIT 1'), qr/^ERROR: 57014 /, "$kind: reading a topic waits");
	ok(was_called(), "$kind: for a broker");
	lead_to($broker->brokers);
	return;
}

# The rows of a view by a cursor: those of the server, each once
sub check_cursor
{
	my ($driver, $kind, $view) = @_;
	my @rows;

	$driver->rows('open', "SELECT * FROM app.$view ORDER BY minute, kind");
	@rows = $driver->rows('fetch', 3);
	is((lines($rows[0]))[0] =~ s/ \S+\z//r, $FIRST_ROW{$kind}, "$kind: values of $view arrive whole");
	is($driver->value('query', q(SELECT count(*) FROM pg_cursors WHERE statement LIKE '%FROM app.by_minute%' AND statement NOT LIKE '%pg_cursors%')),
		1, "$kind: the rest of $view is in a cursor");
	push @rows, $driver->rows('fetch', 1000);
	is(join(' ', map { join '|', @{$_}[ 1, 2 ] } @rows),
		query("SELECT string_agg(kind || '|' || events, ' ' ORDER BY minute, kind) FROM app.$view"), "$kind: and arrives");
	$driver->rows('commit');
	return;
}

sub check_reading
{
	my ($driver, $kind) = @_;
	my $counted = $sent;

	$driver->connect(user => 'bi', fetch => 7, %{ $SETTINGS{$kind} });
	$driver->rows('autocommit', 'off');
	check_cursor($driver, $kind, 'by_minute');
	grow(30);
	check_cursor($driver, $kind, 'by_minute_live');
	is($driver->value('query', 'SELECT sum(events) FROM app.by_minute'), $counted, "$kind: a rollup shows what runs have counted");
	is($driver->value('query', 'SELECT sum(events) FROM app.by_minute_live'), $sent, "$kind: a live view what is there");
	$driver->rows('rollback');

	for my $relation (qw(events _by_minute_def _by_minute_states), storage())
	{
		like($driver->ask('query', "SELECT * FROM app.$relation LIMIT 1"),
			qr/^ERROR: 42501 .*permission denied for .*$relation/, "$kind: no right to read $relation");
		$driver->rows('rollback');
	}
	query('CALL kafka.run_rollups()');
	return;
}

sub check_prepared
{
	my ($driver, $kind, $view) = @_;
	my $each = ($sent - 120) / 10;
	my $counts = sub { return join ' ', map { $driver->value('execute', '2023-11-14 22:15:00+00', "k$_") } 0 .. 9 };

	$driver->connect(user => 'bi', %{ $SETTINGS{$kind} });
	$driver->rows('prepare', "SELECT sum(events) FROM app.$view WHERE minute >= ? AND kind = ?");
	is($counts->(), join(' ', ($each) x 10), "$kind: a prepared statement over $view answers each time");
	is($driver->value('query', "SELECT count(*) FROM pg_prepared_statements WHERE statement LIKE '%app.$view %' AND '{text}' <\@ parameter_types::text[]"),
		1, "$kind: the server has prepared it");
	grow(100);
	query('CALL kafka.run_rollups()') if $view eq 'by_minute';
	$each += 10;
	is($counts->(), join(' ', ($each) x 10), "$kind: and it sees what has come since");
	query(q(CALL kafka.rebuild_rollup('by_minute')));
	is($counts->(), join(' ', ($each) x 10), "$kind: also after the rollup was rebuilt");
	query('CALL kafka.run_rollups()');
	return;
}

sub check_calls
{
	my ($driver, $kind) = @_;
	my $error = qr/^ERROR: 25001 .*kafka\.(?:run_rollups|rebuild_rollup) cannot run inside a transaction block or a function/;

	grow(20);
	$driver->connect(user => 'app');
	is($driver->ask('query', q(CALL kafka.run_rollups('by_minute'))), '', "$kind: a run with autocommit");
	is($driver->value('query', 'SELECT sum(events) FROM app.by_minute'), $sent, "$kind: has counted");
	$driver->rows('prepare', 'CALL kafka.run_rollups(?)');
	is($driver->ask('execute', 'by_minute'), '', "$kind: so has a prepared one") for 1 .. 6;
	is($driver->ask('query', 'CALL kafka.run_rollups()'), '', "$kind: and one of all");

	like($driver->ask('call', q({call kafka.run_rollups('by_minute')})), qr/^ERROR: 42809 .*is a procedure/, "$kind: the driver's own syntax is for functions");

	$driver->rows('autocommit', 'off');
	my $refusal = $driver->ask('query', q(CALL kafka.run_rollups('by_minute')));
	like($refusal, $error, "$kind: a run without autocommit is refused");
	$kind eq 'jdbc'
	  ? like($refusal, qr/Hint: It commits batch by batch: call it by itself, with autocommit on\./, 'jdbc: with a hint')
	  : unlike($refusal, qr/It commits batch by batch/, 'odbc: without the hint, which this driver drops');
	$driver->rows('rollback');
	like($driver->ask('query', q(CALL kafka.rebuild_rollup('by_minute'))), $error, "$kind: so is a rebuild");
	$driver->rows('rollback');
	$driver->rows('autocommit', 'on');
	is($driver->ask('query', q(CALL kafka.rebuild_rollup('by_minute'))), '', "$kind: which works with autocommit");
	is($driver->ask('query', q(CALL kafka.run_rollups('by_minute'))), '', "$kind: and so does a run");

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
	like(cancel($driver, $pid, 'Extension', "SELECT count(*) FROM app.$_"), $cancelled, "$kind: reading $_ is cancelled") for qw(events by_minute_live);
	like(cancel($driver, $pid, 'Extension', q(CALL kafka.run_rollups('by_minute'))), $cancelled, "$kind: a run is cancelled");
	$broker->resume;
	is($driver->value('query', q(SELECT state FROM kafka.rollups WHERE name = 'by_minute')), 'RUNNING', "$kind: which is no failure");
	is($driver->ask('query', q(CALL kafka.run_rollups('by_minute'))), '', "$kind: the same session runs it again");
	is($driver->value('query', 'SELECT sum(events) FROM app.by_minute'), $sent, "$kind: to the end");
	return;
}

# What is special to one driver
sub check_jdbc
{
	my ($driver) = @_;

	$driver->connect(user => 'app', escapeSyntaxCallMode => 'call');
	is($driver->ask('call', q({call kafka.run_rollups('by_minute')})), '', 'jdbc: its own syntax, with a setting');

	# A rebuild that adds a column changes what a prepared SELECT * returns.
	for my $autocommit ('on', 'off')
	{
		$driver->connect(user => 'app', prepareThreshold => 1);
		$driver->rows('autocommit', $autocommit);
		$driver->rows('prepare', "SELECT * FROM app.extended WHERE kind = 'k1'");
		my $columns = @{ ($driver->rows('execute'))[0] };
		$driver->rows('commit') if $autocommit eq 'off';
		query("CALL kafka.rebuild_rollup('extended', 'SELECT kind, count(*) AS events, max(n) AS last"
			  . ($autocommit eq 'off' ? ', min(n) AS first' : '') . q{ FROM app.events GROUP BY 1')});
		if ($autocommit eq 'on')
		{
			is(scalar @{ ($driver->rows('execute'))[0] }, $columns + 1, 'jdbc: a new column shows at once with autocommit');
		}
		else
		{
			like($driver->ask('execute'), qr/^ERROR: 0A000 .*cached plan must not change result type/, 'jdbc: and is an error in a transaction');
		}
	}
	return;
}

sub check_odbc
{
	my ($driver) = @_;

	$driver->connect(user => 'bi', BoolsAsChar => 0, MaxLongVarcharSize => 65536);
	my %column = map { $_->[0] => "$_->[1] $_->[3]" } $driver->rows('columns', 'app', 'by_minute');
	is("$column{early}, $column{note}", 'BIT 1, LONGVARCHAR 65536', 'odbc: types by settings');
	return;
}

query(q(SET ROLE app; SET search_path = app; SELECT kafka.create_rollup('extended', 'SELECT kind, count(*) AS events FROM events GROUP BY 1')));
query('CALL kafka.run_rollups()');
for my $kind ('jdbc', 'odbc')
{
	my $driver = KafkaFdw::Driver->new($kind, $node);

	check_lists($driver, $kind);
	check_no_broker($driver, $kind);
	check_reading($driver, $kind);
	check_prepared($driver, $kind, $_) for 'by_minute', 'by_minute_live';
	check_calls($driver, $kind);
	check_cancel($driver, $kind);
	$kind eq 'jdbc' ? check_jdbc($driver) : check_odbc($driver);
}

done_testing();
