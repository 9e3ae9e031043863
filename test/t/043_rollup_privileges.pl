# Whose rights a rollup runs with: its owner's, restricted, whoever calls; who
# may do and see what; and that neither the caller's search_path and temporary
# tables nor what others put into the owner's search_path changes a result.
# After an error wherever a run writes, the session is who it was.
use strict;
use warnings;
use Test::More;
use KafkaFdw::Broker;
use KafkaFdw::Node qw(start_node create_server);
use KafkaFdw::Rollup qw(run_rollup rollup_value positions difference);
use KafkaFdw::Session;
use PostgreSQL::Test::Utils qw(slurp_file);

my $START_MS = 1_700_000_000_000;

my $broker = KafkaFdw::Broker->new;
my $node = start_node('main');

# What a role gets: rows, or the error with its SQLSTATE
sub as
{
	my ($role, $sql) = @_;
	my ($status, $out, $err) =
	  $node->psql('postgres', "\\set VERBOSITY verbose\n$sql", extra_params => [ '-U', $role ]);

	return $status == 0 ? $out : $err;
}

sub query { my ($sql) = @_; return $node->safe_psql('postgres', $sql) }

my ($super) = query('SELECT current_user');

create_server($node, 'logs', $broker);
query(<<'EOF');
CREATE ROLE alice LOGIN;
CREATE ROLE bob LOGIN;
CREATE ROLE carol LOGIN IN ROLE alice;
CREATE ROLE dave LOGIN NOINHERIT IN ROLE alice;
CREATE ROLE reader LOGIN IN ROLE pg_read_all_data;
GRANT USAGE ON FOREIGN SERVER logs TO alice, bob;
CREATE SCHEMA a AUTHORIZATION alice;
CREATE SCHEMA b AUTHORIZATION bob;
GRANT CREATE ON DATABASE postgres TO alice;
EOF

#
# Others' rollups
#
$broker->feed("create-topic events\ngenerate events count=20 time=$START_MS step=1000 value='{\"n\": {n}, \"k\": \"k{n%3}\"}'\n"
	  . "produce events value=junk\n");
is(
	as('alice', <<'EOF'), 'a.counts', 'a role with rights on the server makes a rollup');
CREATE FOREIGN TABLE a.events (p int OPTIONS (partition 'true'), o bigint OPTIONS (offset 'true'),
  ts timestamptz OPTIONS (timestamp 'true'), k text, n int)
  SERVER logs OPTIONS (topic 'events', format 'json');
SELECT kafka.create_rollup('a.counts', 'SELECT k, count(*) AS c, sum(n) AS s FROM a.events GROUP BY 1');
EOF
is(query(q(SELECT string_agg(DISTINCT relowner::regrole::text, ' ') FROM pg_class WHERE relname LIKE '%counts%')), 'alice', 'its relations are its own');
like(as('bob', q(SELECT kafka.create_rollup('b.mine', 'SELECT k, count(*) AS c FROM a.events GROUP BY 1'))), qr/ERROR:  42501:/, 'a rollup of a table that one may not read');
query('GRANT USAGE ON SCHEMA a TO bob');
like(as('bob', q(SELECT kafka.create_rollup('b.mine', 'SELECT k, count(*) AS c FROM a.events GROUP BY 1'))), qr/ERROR:  42501:/, 'nor with rights on the schema alone');
like(as('bob', q(SELECT kafka.create_rollup('a.mine', 'SELECT 1'))), qr/ERROR:  \w+:/, 'nor in a schema of others');

my %refused = (
	'CALL kafka.run_rollups(\'counts\')' => 'run',
	'CALL kafka.run_rollups(\'a.counts\')' => 'run it by its qualified name',
	'SELECT kafka.alter_rollup(\'counts\', enabled => false)' => 'alter',
	'SELECT kafka.drop_rollup(\'counts\', cascade => true)' => 'drop',
	'SELECT kafka.seek_rollup(\'counts\', \'{"0": 0}\'::jsonb, true)' => 'seek',
	'SELECT kafka.seek_rollup(\'counts\', now(), true)' => 'seek by time',
	'SELECT * FROM kafka.retry_dead_letters(\'counts\')' => 'retry',
	'SELECT kafka.take_over(\'counts\')' => 'take over',
	'SELECT kafka.test_rollup(\'counts\', \'[]\')' => 'test',
	'SELECT kafka.test_rollup(\'SELECT k, count(*) AS c FROM a.events GROUP BY 1\', \'[{"value": {"k": "a"}}]\')' => 'test a query over',
	'SELECT * FROM a.counts' => 'read',
	'SELECT * FROM kafka.get_rollup_lag(); SELECT * FROM kafka.stored_rollup' => 'read the base table of',
	(map { ("SELECT * FROM kafka.$_" => "read $_ of", "DELETE FROM kafka.$_" => "delete from $_ of") }
		  qw(stored_position stored_run stored_dead_letter stored_key visible_rollup)),
	'INSERT INTO kafka.rollup_aggregate VALUES (\'x\', NULL, \'{1}\', \'{1}\', \'1\')' => 'register aggregates for',
	'UPDATE kafka.rollups SET enabled = false' => 'update');

for my $sql (sort keys %refused)
{
	like(as('bob', $sql), qr/ERROR:  (42501|55000):/, "others cannot $refused{$sql} a rollup");
}
is(as('bob', 'CALL kafka.run_rollups()'), '', 'a run over all runs one\'s own only');
is(as('bob', 'SELECT kafka.take_over()'), '0', 'nothing to take over');
is(positions($node, 'counts'), '0:0', 'it has not run');
for my $view (qw(rollups rollup_lag rollup_offsets rollup_runs dead_letters))
{
	is(as('bob', "SELECT count(*) FROM kafka.$view"), 0, "others see nothing in $view");
}

is(as('carol', q(CALL kafka.run_rollups('counts'))), '', 'a member of the owner may run it');
is(as('carol', 'SELECT sum(c), sum(s) FROM a.counts'), '20|190', 'and read');
for my $view (qw(rollups rollup_lag rollup_offsets rollup_runs dead_letters))
{
	is(as($_, "SELECT count(*) FROM kafka.$view"), 1, "$_ sees it in $view") for 'alice', 'carol', $super;
}
is(as('reader', "SELECT count(*) FROM kafka.$_"), 1, "pg_read_all_data sees it in $_")
  for qw(rollups rollup_offsets rollup_runs dead_letters);
like(as('reader', q(CALL kafka.run_rollups('counts'))), qr/ERROR:  42501:.*owner/, 'and may not run it');
like(as('dave', q(CALL kafka.run_rollups('counts'))), qr/ERROR:  42501:.*owner/, 'a member that does not inherit may not run it');
is(as('dave', 'SELECT count(*) FROM kafka.rollups'), 0, 'nor see it');
is(as('dave', q(SET ROLE alice; CALL kafka.run_rollups('counts'); SELECT current_user, count(*) FROM kafka.rollups)), 'alice|1', 'unless it takes the role');
as('alice', 'GRANT SELECT ON a.counts TO bob');
is(as('bob', 'SELECT sum(c) FROM a.counts'), 20, 'who may read the view needs no rights on storage or topic');
like(as('bob', 'SELECT * FROM a.events'), qr/ERROR:  42501:/, 'and gets none');

# security_barrier: a cheap condition of one's own is not asked about others' rows
as('bob', <<'EOF');
CREATE FUNCTION b.leak(text) RETURNS boolean LANGUAGE plpgsql COST 0.0001 AS $$ BEGIN RAISE NOTICE 'leaked %', $1; RETURN true; END $$;
EOF
for my $view (qw(rollups rollup_offsets rollup_runs))
{
	unlike(join('', $node->psql('postgres', "SELECT * FROM kafka.$view WHERE b.leak(name)", extra_params => [ '-U', 'bob' ])),
		qr/leaked/, "$view does not leak");
}
unlike(join('', $node->psql('postgres', 'SELECT * FROM kafka.dead_letters WHERE b.leak(rollup)', extra_params => [ '-U', 'bob' ])),
	qr/leaked/, 'dead_letters does not leak');

# Rights that are taken away are taken away.
query('REVOKE SELECT ON a.events FROM alice');
like(as($super, q(CALL kafka.run_rollups('counts'))), qr/ERROR:  42501:/, 'an owner without the right to read the table, though a superuser calls');
query('GRANT SELECT ON a.events TO alice');
is(as($super, q(CALL kafka.run_rollups('counts'))), '', 'and with it');

#
# Code of the owner's: functions in the query, in expect, in a domain that a
# column has, triggers and rules on storage. Each message is a command that all
# of them try, whoever calls.
#
as('alice', <<'EOF');
CREATE TABLE a.seen (place text, command text, outcome text, who name, ran_by name);
CREATE TABLE a.trap (id int);
CREATE FUNCTION a.attack(place text, command text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	outcome text := 'done';
BEGIN
	BEGIN
		EXECUTE command;
	EXCEPTION WHEN OTHERS THEN
		outcome := SQLSTATE;
	END;
	INSERT INTO a.seen VALUES (place, command, outcome, current_user, session_user);
	IF current_setting('test.loud', true) = 'on' THEN
		RAISE NOTICE 'attack as %, in a session of %: %', current_user, session_user, outcome;
	END IF;
	RETURN 'x';
END $$;
CREATE FUNCTION a.spy(place text, command text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
	RETURN a.attack(place, command);
END $$;
CREATE FUNCTION a.spring() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	PERFORM a.attack(TG_ARGV[0], TG_ARGV[1]);
	RETURN NEW;
END $$;
CREATE CONSTRAINT TRIGGER trap AFTER INSERT ON a.trap DEFERRABLE INITIALLY DEFERRED
  FOR EACH ROW EXECUTE FUNCTION a.spring('deferred', 'SET ROLE postgres');
CREATE DOMAIN a.spied AS text CHECK (a.spy('domain', VALUE) IS NOT NULL);
CREATE FOREIGN TABLE a.commands (ts timestamptz OPTIONS (timestamp 'true'), command text, checked a.spied OPTIONS (json 'command'))
  SERVER logs OPTIONS (topic 'commands', format 'json');
EOF
$broker->feed("create-topic commands\n");
like(
	as('alice', q(SELECT kafka.create_rollup('a.evil', 'SELECT a.attack(''query'', command) AS k, count(*) AS n FROM a.commands GROUP BY 1'))),
	qr/ERROR: .*volatile.*HINT:|ERROR: .*volatile/s,
	'a volatile function is refused');
is(
	as('alice', <<'EOF'), 'a.evil', 'one that is said to be immutable is not recognized');
SELECT kafka.create_rollup('a.evil', $$
  SELECT a.spy('query', command) AS k, count(*) AS n, count(checked) AS c,
         count(*) FILTER (WHERE a.spy('filter', command) = 'x') AS f
    FROM a.commands WHERE a.spy('where', command) = 'x' GROUP BY 1 $$,
  expect => $$ a.spy('expect', command) = 'x' $$,
  options => $$ {"unique_key": "command, a.spy('unique key', command)", "unique_within": "1 day", "retry_limit": 0} $$);
EOF
query(q(CREATE TABLE victims (k text, n int); SELECT kafka.create_rollup('precious', 'SELECT k, count(*) AS n FROM a.events GROUP BY 1')));

my ($storage) = query(q(SELECT storage FROM kafka.stored_rollup WHERE name = 'evil'));
as('alice', <<"EOF");
CREATE TRIGGER spring BEFORE INSERT OR UPDATE ON $storage
  FOR EACH ROW EXECUTE FUNCTION a.spring('trigger', 'SET ROLE postgres');
CREATE CONSTRAINT TRIGGER late_spring AFTER INSERT OR UPDATE ON $storage DEFERRABLE INITIALLY DEFERRED
  FOR EACH ROW EXECUTE FUNCTION a.spring('deferred trigger', 'SET SESSION AUTHORIZATION postgres');
EOF

# The SQLSTATE, and what each would have done
my %commands = (
	"SET ROLE $super" => 42501,
	'SET ROLE bob' => 42501,
	'RESET ROLE' => 42501,
	"SET LOCAL ROLE $super" => 42501,
	"SET SESSION AUTHORIZATION $super" => 42501,
	'RESET SESSION AUTHORIZATION' => 42501,
	"SELECT set_config('role', '$super', false)" => 42501,
	"SELECT set_config('session_authorization', '$super', true)" => 42501,
	'SET session_replication_role = replica' => 42501,
	'CREATE TEMP TABLE t (i int)' => 42501,
	'CREATE TEMP VIEW t AS SELECT 1' => 42501,
	'LISTEN x' => 42501,
	'PREPARE p AS SELECT 1' => 42501,
	'DECLARE c CURSOR WITH HOLD FOR SELECT 1' => 42501,
	'SET CONSTRAINTS ALL DEFERRED; INSERT INTO a.trap VALUES (1)' => 42501,
	'INSERT INTO a.trap VALUES (2)' => 'done',
	'CREATE SCHEMA IF NOT EXISTS s' => 'done',
	'ALTER ROLE alice SUPERUSER' => 42501,
	"GRANT $super TO alice" => '(42501|0LP01)',
	'CREATE ROLE eve SUPERUSER' => 42501,
	'CREATE FUNCTION public.f() RETURNS int LANGUAGE c AS \'kafka_fdw\', \'kafka_version\'' => 42501,
	"SELECT pg_read_file('PG_VERSION')" => 42501,
	"COPY (SELECT 1) TO PROGRAM 'true'" => 42501,
	'DROP TABLE victims' => 42501,
	'ALTER SYSTEM SET work_mem = 64' => '(42501|25001|0A000)',
	"UPDATE kafka.stored_rollup SET state = 'RUNNING'" => 42501,
	'UPDATE kafka.stored_position SET next_offset = 0' => 42501,
	'DELETE FROM kafka.stored_run' => 42501,
	'DELETE FROM kafka.stored_dead_letter' => 42501,
	'DELETE FROM kafka.stored_key' => 42501,
	"INSERT INTO kafka.rollup_aggregate VALUES ('x', NULL, '{1}', '{1}', '1')" => 42501,
	"SELECT kafka.alter_rollup('precious', enabled => false)" => 42501,
	"SELECT kafka.drop_rollup('precious')" => 42501,
	"SELECT kafka.seek_rollup('precious', '{}'::jsonb, true)" => 42501,
	"SELECT kafka.retry_dead_letters('precious')" => 42501,
	"CALL kafka.run_rollups('precious')" => '(42501|2D000|25001)',
	'CALL kafka.run_rollups()' => '(42501|2D000|25001)',
	'COMMIT' => '(0A000|2D000)',
	'ROLLBACK' => '(0A000|2D000)',
	'SET search_path = b, pg_catalog' => 'done',
	"SET TimeZone = 'Asia/Seoul'" => 'done',
	'SET work_mem = 64' => 'done');

$broker->feed(join '', map { (my $text = $_) =~ s/(['"])/$1 eq "'" ? "''" : '\\"'/ge; "produce commands time=$START_MS value='{\"command\": \"$text\"}'\n" }
	sort keys %commands);

my $SESSION_STATE = "SELECT current_user, session_user, current_setting('role'), current_setting('search_path'),"
  . " current_setting('TimeZone'), current_setting('work_mem'), current_setting('session_replication_role'),"
  . ' (SELECT count(*) FROM pg_listening_channels()), (SELECT count(*) FROM pg_prepared_statements),'
  . " (SELECT count(*) FROM pg_class WHERE relpersistence = 't'), (SELECT count(*) FROM pg_cursors WHERE is_holdable)";
my $session = KafkaFdw::Session->new($node);
my $state = $session->value($SESSION_STATE);
my $result = $session->run("CALL kafka.run_rollups('evil')");

is($result->{sqlstate}, undef, 'a superuser runs what tries all that');
is($session->value($SESSION_STATE), $state, 'the session is what it was');

sub check_seen
{
	my ($name, $ran_by, @places) = @_;

	is(query('SELECT DISTINCT who, ran_by FROM a.seen'), "alice|$ran_by", "$name: all of it ran as the owner");
	is(query("SELECT string_agg(DISTINCT place, ', ' ORDER BY place) FROM a.seen"), join(', ', sort @places),
		"$name: in all places");
	return;
}

my @places = ('deferred', 'deferred trigger', 'domain', 'expect', 'filter', 'query', 'trigger', 'unique key', 'where');
check_seen('run by a superuser', $super, @places);
for my $command (sort keys %commands)
{
	# 'done' for what is done once may be a duplicate's error elsewhere
	my $pattern = $commands{$command};

	like(query('SELECT string_agg(DISTINCT outcome, \' \') FROM a.seen WHERE command = $q$' . $command . '$q$ AND place = \'expect\''),
		qr/^$pattern$/, "the owner's rights, restricted: $command");
}
is(query(q(SELECT string_agg(DISTINCT outcome, ' ') FROM a.seen WHERE place ~ 'trigger|deferred')), '42501', 'triggers are restricted, too, deferred ones not left for later');
is(query(q(SELECT DISTINCT rolsuper FROM pg_roles WHERE rolname IN ('alice', 'eve'))), 'f', 'nobody has become a superuser');
is(query(q(SELECT nspowner::regrole FROM pg_namespace WHERE nspname = 's')), 'alice', 'what could be made is the owner\'s');
is(query('SELECT sum(n) FROM a.evil'), scalar(keys %commands), 'and all were counted');
is(rollup_value($node, 'precious', 'state'), 'RUNNING', 'the rollup of somebody else stands');
is(positions($node, 'precious'), '0:0', 'where it was');

# The other ways to have it run
query('DELETE FROM a.seen');
is(as('carol', q(SELECT kafka.seek_rollup('evil', '{"0": 0}'::jsonb, true); CALL kafka.run_rollups())), '', 'a member runs all');
is(query('SELECT DISTINCT who, ran_by FROM a.seen'), 'alice|carol', 'as the owner, not the member');
query('DELETE FROM a.seen');
$session->value(q(SELECT kafka.seek_rollup('evil', '{"0": 0}'::jsonb, true)));
is($session->run('CALL kafka.run_rollups()')->{sqlstate}, undef, 'a superuser runs all');
is(query('SELECT DISTINCT who, ran_by FROM a.seen'), "alice|$super", 'as the owner');
is($session->value($SESSION_STATE), $state, 'and the session is what it was');
query('DELETE FROM a.seen');
$session->value('SET test.loud = on');
$result = $session->run("SELECT kafka.test_rollup('evil', '[{\"value\": {\"command\": \"SET ROLE $super\"}}]')");
$session->value('RESET test.loud');
is($result->{sqlstate}, undef, 'test_rollup');
my %attacks = map { $_ => 1 } $result->{error} =~ /(attack as .*)/g;
is(join(' ', sort keys %attacks), "attack as alice, in a session of $super: 42501", 'runs as the owner, too, restricted');
is(query('SELECT count(*) FROM a.seen'), 0, 'and what it did is undone');
is($session->value($SESSION_STATE), $state, 'and leaves the session as it was');
query('DELETE FROM a.seen');
$broker->feed("produce commands time=$START_MS value='{\"command\": \"junk\"'\n");
run_rollup($node, 'evil');
query(q(UPDATE kafka.stored_dead_letter SET value = '{"command": "RESET ROLE"}' WHERE value = '{"command": "junk"'; DELETE FROM a.seen));
query(q(DELETE FROM kafka.stored_key));
is($session->value(q(SELECT loaded, failed FROM kafka.retry_dead_letters('evil'))), '1|0', 'a dead letter is tried again');
is(query(q(SELECT DISTINCT who, ran_by, outcome FROM a.seen)), "alice|$super|42501", 'as the owner, too, restricted');
is($session->value($SESSION_STATE), $state, 'and leaves the session as it was');

# What it does to itself is its owner's affair, but not the server's.
is(as('alice', q(SELECT kafka.create_rollup('a.own', 'SELECT a.spy(''own'', command) AS k, count(*) AS n FROM a.own_commands GROUP BY 1'))) =~ /ERROR/ ? 1 : 0, 1, 'no such table yet');
as('alice', q(CREATE FOREIGN TABLE a.own_commands (command text) SERVER logs OPTIONS (topic 'own', format 'json')));
$broker->feed("create-topic own\n");
is(as('alice', q(SELECT kafka.create_rollup('a.own', 'SELECT a.spy(''own'', command) AS k, count(*) AS n FROM a.own_commands GROUP BY 1'))), 'a.own', 'a rollup that attacks itself');
for my $command (
	"SELECT kafka.seek_rollup(''own'', ''{\\\"0\\\": 0}''::jsonb, true)", "SELECT kafka.retry_dead_letters(''own'')",
	'TRUNCATE a._own_g1', "SELECT kafka.drop_rollup(''own'', true, true)", 'DROP VIEW a.own CASCADE',
	'DROP TABLE a._own_g1 CASCADE', "SELECT kafka.alter_rollup(''own'', enabled => false)")
{
	$broker->feed("produce own value='{\"command\": \"$command\"}'\n");
	$session->run("CALL kafka.run_rollups('own')");
	is($session->value($SESSION_STATE), $state, "it is its owner's affair: $command");
}
note query('SELECT command, outcome FROM a.seen WHERE place = \'own\'');
query(q(SELECT kafka.drop_rollup('own', true, true)));

#
# search_path and temporary tables: the caller's, and others' objects in the
# owner's
#
as('bob', <<'EOF');
CREATE TABLE b.caught (what text, who name DEFAULT current_user);
GRANT INSERT ON b.caught TO PUBLIC;
CREATE FUNCTION b.date_bin(interval, timestamptz, timestamptz) RETURNS timestamptz LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN RAISE 'date_bin of bob'; END $$;
CREATE FUNCTION b.plus(bigint, bigint) RETURNS bigint LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RAISE 'plus of bob'; END $$;
CREATE FUNCTION b.equal(varchar, varchar) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RAISE 'equal of bob'; END $$;
CREATE FUNCTION b.sum(bigint) RETURNS bigint LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RAISE 'sum of bob'; END $$;
CREATE OPERATOR b.+ (FUNCTION = b.plus, LEFTARG = bigint, RIGHTARG = bigint);
CREATE OPERATOR b.= (FUNCTION = b.equal, LEFTARG = varchar, RIGHTARG = varchar);
CREATE OPERATOR b.< (FUNCTION = b.equal, LEFTARG = varchar, RIGHTARG = varchar);
CREATE OPERATOR b.> (FUNCTION = b.equal, LEFTARG = varchar, RIGHTARG = varchar);
EOF
my $binned = q(SELECT date_bin('10 s', ts, timestamptz '2000-01-01') AS bucket, k::varchar AS k, count(*) AS n, sum(n) AS s,
  min(k::varchar) AS mink, max(n::bigint) AS maxn, avg(n) AS a, stddev(n) AS sd, kafka.last(k::varchar, ts) AS l FROM a.events GROUP BY 1, 2);
my $truth = q(SELECT date_bin('10 s', ts, timestamptz '2000-01-01') AS bucket, k::varchar AS k, count(*) AS n, sum(n) AS s,
  min(k::varchar) AS mink, max(n::bigint) AS maxn, avg(n) AS a, stddev(n) AS sd,
  (array_agg(k ORDER BY ts DESC))[1] FROM (SELECT timestamptz 'epoch' + interval '1 ms' * (1700000000000 + i * 1000) AS ts, 'k' || i % 3 AS k, i AS n
  FROM generate_series(0, MAX) AS i) AS x GROUP BY 1, 2);

# The last one's owner has bob's schema before the catalog in its path, though
# nothing is in it when the rollup is made.
query('CREATE SCHEMA late; GRANT CREATE ON SCHEMA late TO bob; GRANT USAGE ON SCHEMA late TO PUBLIC');
my %paths = ('a.plain_path' => 'a', 'a.late_path' => 'late, pg_catalog, a');
for my $name (sort keys %paths)
{
	is(as('alice', "SET search_path = $paths{$name}; SELECT kafka.create_rollup('$name', \$q\$$binned\$q\$)") =~ s/.*\.//r, $name =~ s/.*\.//r, "made with search_path $paths{$name}");
}
as('bob', <<'EOF');
CREATE FUNCTION late.plus(bigint, bigint) RETURNS bigint LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RAISE 'plus of bob, as %', current_user; END $$;
CREATE FUNCTION late.equal(varchar, varchar) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RAISE 'equal of bob, as %', current_user; END $$;
CREATE OPERATOR late.+ (FUNCTION = late.plus, LEFTARG = bigint, RIGHTARG = bigint);
CREATE OPERATOR late.= (FUNCTION = late.equal, LEFTARG = varchar, RIGHTARG = varchar);
CREATE OPERATOR late.< (FUNCTION = late.equal, LEFTARG = varchar, RIGHTARG = varchar);
CREATE OPERATOR late.> (FUNCTION = late.equal, LEFTARG = varchar, RIGHTARG = varchar);
EOF
my $caller = KafkaFdw::Session->new($node);
$caller->value(<<'EOF');
CREATE TEMP TABLE kafka_rollup_new_rows (bucket timestamptz, k varchar, n bigint);
CREATE TEMP TABLE events (ts timestamptz, k text, n int);
CREATE TEMP TABLE _plain_path_g1 (bucket timestamptz, k varchar, n bigint);
CREATE TEMP TABLE _late_path_g1 (bucket timestamptz, k varchar, n bigint);
CREATE TEMP TABLE stored_rollup (name text);
CREATE TEMP TABLE stored_position (name text);
CREATE TEMP TABLE plain_path (x int);
SET search_path = pg_temp, b, late, pg_catalog;
SET TimeZone = 'Asia/Seoul';
SET DateStyle = 'German';
EOF
my $caller_state = $caller->value($SESSION_STATE);
my $events = 20;

for my $round (1, 2)
{
	for my $name (sort keys %paths)
	{
		my $short = $name =~ s/.*\.//r;

		is($caller->run("CALL kafka.run_rollups('$name', max_rows => 7)")->{error}, '', "round $round: $name runs");
		is(difference($node, "TABLE $name", $truth =~ s/MAX/$events - 1/er), '', "round $round: $name is right");
		is(query("SELECT coalesce(string_agg(DISTINCT message, ' '), '') FROM kafka.dead_letters WHERE rollup = '$short' AND stage <> 'decode'"),
			'', "round $round: nothing of others was called for $name");
		is($caller->value($SESSION_STATE), $caller_state, "round $round: the caller's session is what it was");
	}
	$broker->feed("generate events first=$events count=20 time=$START_MS step=1000 value='{\"n\": {n}, \"k\": \"k{n%3}\"}'\n");
	$events += 20;
}
is($caller->value(q(SELECT sum((xpath('/row/c/text()', query_to_xml('SELECT count(*) AS c FROM pg_temp.' || quote_ident(relname), false, true, '')))[1]::text::int)
  FROM pg_catalog.pg_class WHERE relnamespace = pg_catalog.pg_my_temp_schema() AND relkind OPERATOR(pg_catalog.=) 'r')), 0, 'the temporary tables are untouched');
$caller->quit;

#
# Errors wherever a run writes, in the n-th batch: the session is who it was,
# what was committed stands, and the next run goes on.
#
query(<<'EOF');
CREATE SEQUENCE countdown;
GRANT ALL ON SEQUENCE countdown TO alice;
CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF nextval('public.countdown') = current_setting('test.fail_at')::int THEN
		RAISE 'injected' USING ERRCODE = current_setting('test.sqlstate');
	END IF;
	RETURN NEW;
END $$;
EOF
is(as('alice', <<'EOF'), 'a.faulty', 'a rollup with keys and bad messages');
SELECT kafka.create_rollup('a.faulty', 'SELECT k, count(*) AS c, sum(n) AS s FROM a.events GROUP BY 1',
  options => '{"unique_key": "n", "unique_within": "100 days"}');
EOF
for my $table (qw(stored_run stored_position stored_key stored_dead_letter), 'a._faulty_g1')
{
	my $qualified = $table =~ /\./ ? $table : "kafka.$table";

	query("CREATE TRIGGER fail BEFORE INSERT OR UPDATE ON $qualified FOR EACH ROW EXECUTE FUNCTION public.fail()");
	for my $sqlstate ('40001', '55000', '57014', 'XX000')
	{
		for my $at (1, 2)
		{
			query(q(SELECT setval('countdown', 1, false)));
			$broker->feed("generate events first=$events count=6 time=$START_MS step=1000 value='{\"n\": {n}, \"k\": \"k{n%3}\"}'\n"
				. "produce events value=junk\nproduce events value=junk\n");
			$events += 6;
			$session->value("SET test.fail_at = $at");
			$session->value("SET test.sqlstate = '$sqlstate'");
			$result = $session->run("CALL kafka.run_rollups('faulty', max_rows => 3)");
			is($result->{sqlstate}, $sqlstate, "$table, $sqlstate, write $at: the error");
			is($session->value($SESSION_STATE), $state, "$table, $sqlstate, write $at: the session is who it was");
		}
	}

	# A role that was set stays set.
	query(q(SELECT setval('countdown', 1, false)));
	$session->value('SET test.fail_at = 1');
	$session->value('SET ROLE alice');
	$broker->feed("produce events value=junk\nproduce events time=$START_MS value='{\"n\": $events, \"k\": \"k1\"}'\n");
	$events++;
	is($session->run("CALL kafka.run_rollups('faulty', max_rows => 3)")->{sqlstate}, 'XX000', "$table: an error while a role is set");
	is($session->value("SELECT current_user, session_user, current_setting('role')"), "alice|$super|alice", "$table: which stays");
	$session->value('RESET ROLE');
	query("DROP TRIGGER fail ON $qualified");
}
is($session->run("CALL kafka.run_rollups('faulty', max_rows => 3)")->{error}, '', 'the next run goes on');
is(query('SELECT sum(c), sum(s) FROM a.faulty'), $events . '|' . ($events * ($events - 1) / 2), 'all are counted, once');
is(query(q(SELECT count(*), count(DISTINCT kafka_offset) FROM kafka.dead_letters WHERE rollup = 'faulty')), '86|86', 'all bad ones are dead letters, once');
is(rollup_value($node, 'faulty', 'state'), 'RUNNING', 'it is well again');

#
# Where a run is not possible
#
my %impossible = (
	"BEGIN; CALL kafka.run_rollups('counts')" => qr/ERROR:  (25001|2D000):.*HINT:/s,
	"SELECT 1 \\; CALL kafka.run_rollups('counts')" => qr/ERROR:  (25001|2D000):.*HINT:/s,
	"SET default_transaction_isolation = 'repeatable read'; CALL kafka.run_rollups('counts')" => qr/ERROR:  \w+:.*HINT:/s,
	"SET default_transaction_isolation = 'serializable'; CALL kafka.run_rollups('counts')" => qr/ERROR:  \w+:.*HINT:/s,
	"CREATE FUNCTION a.f() RETURNS void LANGUAGE plpgsql AS \$\$ BEGIN CALL kafka.run_rollups('counts'); END \$\$; SELECT a.f()" => qr/ERROR:  (25001|2D000):.*HINT:/s);
my $before = positions($node, 'counts');

for my $sql (sort keys %impossible)
{
	like(as('alice', $sql), $impossible{$sql}, "refused: $sql");
}
like(as($super, q(SET kafka_fdw.enable_runs = off; CALL kafka.run_rollups('counts'))), qr/ERROR:  55000:.*enable_runs/, 'refused: runs are switched off');
is(positions($node, 'counts'), $before, 'nothing ran');

# A DO block at the top may commit, so a call in it may.
is(as('alice', q(DO $$ BEGIN CALL kafka.run_rollups('counts'); END $$)), '', 'a run in a DO block');
is(query('SELECT sum(c), sum(s) FROM a.counts'), $events . '|' . ($events * ($events - 1) / 2), 'works');
like(as('alice', q(BEGIN; DO $$ BEGIN CALL kafka.run_rollups('counts'); END $$)), qr/ERROR:  (25001|2D000):/, 'unless that is in a transaction block');

#
# Two runs at once: the second returns and says so.
#
as('alice', <<'EOF');
CREATE FUNCTION a.gate(k text) RETURNS text LANGUAGE plpgsql STABLE AS $$
BEGIN
	PERFORM pg_advisory_xact_lock_shared(1);
	RETURN k;
END $$;
SELECT kafka.create_rollup('a.gated', 'SELECT a.gate(k) AS k, count(*) AS n FROM a.events GROUP BY 1');
EOF
my $control = KafkaFdw::Session->new($node, user => 'alice');
my $second = KafkaFdw::Session->new($node, user => 'alice');
my $watcher = KafkaFdw::Session->new($node);

$control->value('SELECT pg_advisory_lock(1)');
$session->send("CALL kafka.run_rollups('gated')");
$watcher->await_state($session, wait_event => 'advisory');
$result = $second->run("CALL kafka.run_rollups('gated')");
is($result->{sqlstate}, undef, 'a second run is no error');
like($result->{error}, qr/NOTICE: .*gated/, 'but says that there is one');
cmp_ok($result->{seconds}, '<', 2, 'at once');
$result = $second->run('CALL kafka.run_rollups()');
is($result->{sqlstate}, undef, 'a run over all leaves it out');
cmp_ok($result->{seconds}, '<', 10, 'without waiting');
is($second->value('SELECT count(*) FROM a.gated'), 0, 'nothing of the batch is seen');
$second->value(q(SET lock_timeout = '100ms'));
for my $sql (
	q(kafka.alter_rollup('gated', enabled => false)), q(kafka.drop_rollup('gated')),
	q(kafka.retry_dead_letters('gated')), q(kafka.seek_rollup('gated', '{}'::jsonb, true)))
{
	is($second->run("SELECT $sql")->{sqlstate}, '55P03', "waits for the batch: $sql");
}
$control->value('SELECT pg_advisory_unlock(1)');
is($session->result->{error}, '', 'the first run ends');
is(query('SELECT sum(n) FROM a.gated'), $events, 'with all');

unlike(slurp_file($node->logfile), qr/TRAP|PANIC|terminated by signal/, 'the server is well');

done_testing();
