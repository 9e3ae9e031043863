# Rollups that pg_cron runs: jobs are made, changed and removed with the
# rollups, as their owners, whatever has been done to them by hand; they run,
# several at once, also after a restart and from background workers; one that
# takes longer than its interval runs once at a time; and
# kafka.diagnose_schedule() finds what is wrong.
#
# pg_cron starts jobs on the minute, and with the server: this waits for one
# minute.
use strict;
use warnings;
use Test::More;
use Time::HiRes qw(time sleep);
use KafkaFdw::Broker;
use KafkaFdw::Node qw(create_server create_table);
use KafkaFdw::Rollup qw(create_rollup rollup_value);
use KafkaFdw::Session;
use PostgreSQL::Test::Cluster;

my $COUNT = 'SELECT count(*) AS n, max(ts) AS newest FROM log';
my $MINUTE_S = 75;    # in this time a minute begins, and its jobs end

my $broker = KafkaFdw::Broker->new;
$broker->feed("create-topic log partitions=2\nproduce log partition=0 time=1000 value='{\"n\": 1}'\n");
my $node = start('main', 'off');
my $workers = start('workers', 'on');

# A server with pg_cron, whose jobs connect as psql does, or are workers.
sub start
{
	my ($name, $as_workers) = @_;
	my $server = PostgreSQL::Test::Cluster->new($name);

	$server->init;
	$server->append_conf('postgresql.conf', <<"EOF");
shared_preload_libraries = 'pg_cron'
cron.database_name = 'postgres'
cron.host = '@{[ $server->host ]}'
cron.use_background_workers = $as_workers
max_prepared_transactions = 1
EOF
	$server->start;
	$server->safe_psql('postgres', 'CREATE EXTENSION kafka_fdw; CREATE EXTENSION pg_cron');
	create_server($server, 'logs', $broker);
	create_table($server, 'log', 'logs', q{ts timestamptz OPTIONS (timestamp 'true'), n int},
		topic => 'log', format => 'json');
	return $server;
}

sub query { my ($sql) = @_; return $node->safe_psql('postgres', $sql) }

# What psql says to statements of a role, etl by default.
sub answer
{
	my ($sql, $role, $database) = @_;
	my ($status, $out, $err) = $node->psql($database // 'postgres', "\\set VERBOSITY verbose\n$sql",
		extra_params => [ '-U', $role // 'etl' ]);

	return $out . $err =~ s/^LOCATION: .*\n?//mgr =~ s/^psql:<stdin>:\d+: //mgr;
}

my $superuser = query('SELECT current_user');

# Creates a rollup as role etl.
sub create_as_etl
{
	my ($name, $arguments) = @_;

	return answer("SELECT kafka.create_rollup('$name', '$COUNT', $arguments)");
}

sub alter
{
	my ($name, $arguments, $role) = @_;

	return answer("SELECT kafka.alter_rollup('$name', $arguments)", $role);
}

# A rollup's job, and whether it is the one that is stored.
sub job
{
	my ($name) = @_;

	return query(<<"EOF");
SELECT j.username, j.schedule, j.command, j.active, r.job_id = j.jobid, r.job_role = j.username
  FROM kafka.stored_rollup AS r
  JOIN cron.job AS j ON j.jobname = 'kafka:' || r.name
 WHERE r.name = '$name'
EOF
}

sub count_jobs { return query("SELECT count(*) FROM cron.job WHERE jobname LIKE 'kafka:$_[0]'") }

# Does something to the job of r as a superuser.
sub change_job
{
	my ($change) = @_;

	return query("SELECT cron.$change FROM cron.job WHERE jobname = 'kafka:r'");
}

# What kafka.diagnose_schedule() has to say of something.
sub diagnosis
{
	my ($subject, $role) = @_;

	return answer("SELECT ok, detail, hint FROM kafka.diagnose_schedule() WHERE subject = '$subject'", $role);
}

#
# Who cannot have jobs
#
query('CREATE ROLE etl LOGIN; CREATE ROLE team; GRANT team TO etl; CREATE ROLE other LOGIN IN ROLE etl;'
	. 'GRANT SELECT ON log TO etl, team, other; GRANT CREATE ON SCHEMA public TO etl, team, other;'
	. 'CREATE DATABASE another');

like(create_as_etl('r', "schedule := '*/5 * * * *'"),
	qr/ERROR:  42501: rollup "r" cannot have a schedule: role "etl" may not use schema cron\nHINT:  GRANT USAGE ON SCHEMA cron TO etl\. Or without pg_cron have /,
	'a role needs the right to use pg_cron');
like(create_as_etl('followed', q{options := '{"follow": true}'}),
	qr/NOTICE:  00000: nothing runs rollup "followed" by itself: role "etl" may not use.*\nHINT:  GRANT USAGE.*psql -c "CALL kafka.run_rollups\(follow => true/,
	'without it one that follows is made, and how to run it is told');
like(diagnosis('role etl'), qr/^f\|Cannot have jobs: role "etl" may not use schema cron\.\|GRANT USAGE/,
	'which is diagnosed');
query('GRANT USAGE ON SCHEMA cron TO etl, team, other');
like(diagnosis('role etl'), qr/^t\|/, 'the right is there');
like(diagnosis('rollup followed'), qr/^f\|It has no job\.\|SELECT kafka\.alter_rollup\('followed', enabled => true\)/,
	'a rollup without its job is diagnosed');
is(alter('followed', 'enabled => true'), '', 'the job is made as the hint says');

like(answer("SET ROLE team; SELECT kafka.create_rollup('r', '$COUNT', schedule := '*/5 * * * *')"),
	qr/ERROR:  55000: .*role "team" is not permitted to log in.*\nHINT:  ALTER ROLE team LOGIN/,
	'nor may the owner be one that cannot log in');
like(create_as_etl('r', "schedule := '61 * * * *'"),
	qr/ERROR:  22023: invalid schedule: "61 \* \* \* \*"\nDETAIL:  The first field must have minutes.*\nHINT:  Five fields/,
	'a schedule that is none');
like(create_as_etl('r', "schedule := '10 seconds'"), qr/ERROR:  22023: .*\nHINT: .*option follow/s,
	'seconds, which pg_cron 1.4 does not know');
like(create_as_etl('r', "schedule := '0 0 30 2 *'"), qr/ERROR:  22023: schedule "0 0 30 2 \*" never comes/,
	'a day that never comes');
like(create_as_etl('r', q{schedule := '@daily', options := '{"follow": true}'}),
	qr/ERROR:  22023: schedule and the option follow exclude each other/, 'follow and a schedule');
like(answer('CREATE EXTENSION kafka_fdw; SELECT ok, detail FROM kafka.diagnose_schedule()', $superuser, 'another'),
	qr/^f\|It is not in this database\.\nf\|pg_cron works in database "postgres", this is "another"\./m,
	'another database than pg_cron\'s is diagnosed');
is(count_jobs('r'), 0, 'none of these left a job');

#
# Jobs come, change and go with rollups
#
my $RUN_R = q{CALL kafka.run_rollups('r')};

is(create_as_etl('r', "schedule := ' */5 * * * * '"), 'r', 'a rollup with a schedule is created');
is(job('r'), "etl|*/5 * * * *|$RUN_R|t|t|t", 'it has a job of its owner');
is(query("SELECT database, nodeport = current_setting('port')::int FROM cron.job WHERE jobname = 'kafka:r'"),
	'postgres|t', 'which connects to here');
my $id = change_job('job.jobid');
is(alter('r', q{schedule => '@hourly'}), '', 'the schedule changes');
is(job('r'), "etl|\@hourly|$RUN_R|t|t|t", 'and the job with it');
is(rollup_value($node, 'r', 'schedule'), '@hourly', 'and what the view shows');
is(change_job('job.jobid'), $id, 'it is the same job');
like(alter('r', q{schedule => '* * *'}), qr/ERROR:  22023/, 'a wrong schedule');
is(alter('r', q{options => '{"retry_limit": 1}'}), '', 'another option changes');
is(job('r'), "etl|\@hourly|$RUN_R|t|t|t", 'neither changes the job');
like(alter('r', q{options => '{"follow": true}'}),
	qr/ERROR:  22023: schedule and the option follow exclude each other/, 'follow beside a schedule');

answer(q{BEGIN; SELECT kafka.alter_rollup('r', schedule => 'none'); ROLLBACK});
is(job('r'), "etl|\@hourly|$RUN_R|t|t|t", 'what is rolled back has not been');
is(alter('r', q{schedule => 'none'}), '', 'the schedule ends');
is(count_jobs('r') . rollup_value($node, 'r', 'schedule IS NULL'), '0t', 'and the job with it');
is(alter('r', q{schedule => ''}), '', 'the empty one is none too');

# Whoever may pause a rollup need not have the right to alter jobs.
alter('r', q{schedule => '@daily'});
is(alter('r', 'enabled => false'), '', 'a rollup is disabled');
is(count_jobs('r'), 0, 'without the right to deactivate its job is removed');
like(diagnosis('rollup r'), qr/^t\|It is disabled, and has no job\./, 'which is as it should be');
is(alter('r', q{schedule => '@weekly'}), '', 'meanwhile its schedule changes');
is(count_jobs('r'), 0, 'which makes no job');
alter('r', 'enabled => true');
is(job('r'), "etl|\@weekly|$RUN_R|t|t|t", 'enabled again it has one');
query('GRANT EXECUTE ON FUNCTION cron.alter_job TO etl');
alter('r', 'enabled => false');
is(job('r'), "etl|\@weekly|$RUN_R|f|t|t", 'with the right the job is deactivated');
like(diagnosis('rollup r'), qr/^t\|Job \d+, schedule "\@weekly", not active; no run is known\./, 'which is right');
alter('r', 'enabled => true');
is(job('r'), "etl|\@weekly|$RUN_R|t|t|t", 'and activated');

# Others have the right, too, and the job stays the owner's.
is(alter('r', q{schedule => '@monthly'}, 'other'), '', 'a member of the owner');
is(job('r'), "etl|\@monthly|$RUN_R|t|t|t", 'changes the owner\'s job');

#
# By hand
#
change_job("alter_job(jobid, command := 'SELECT 1')");
like(diagnosis('rollup r'), qr/^f\|Job \d+ has command "SELECT 1" instead of "CALL.*\|SELECT kafka\.alter_rollup/,
	'a changed job is diagnosed');
like(alter('r', 'enabled => true'), qr/^NOTICE:  00000: job \d+ of rollup "r" was changed by somebody/, 'told');
is(job('r'), "etl|\@monthly|$RUN_R|t|t|t", 'and mended');
change_job('alter_job(jobid, active := false)');
like(diagnosis('rollup r'), qr/^f\|Job \d+ is not active\./, 'so is an inactive one');
query("UPDATE cron.job SET nodeport = nodeport + 1 WHERE jobname = 'kafka:r'");
alter('r', 'enabled => true');
is(query("SELECT active, nodeport = current_setting('port')::int FROM cron.job WHERE jobname = 'kafka:r'"),
	't|t', 'one that connects elsewhere is made anew');
change_job('unschedule(jobid)');
like(diagnosis('rollup r'), qr/^f\|Its job "kafka:r" is not there any more\./, 'a removed job is diagnosed');
like(alter('r', 'enabled => true'), qr/^NOTICE:  00000: job \d+ of rollup "r" was removed by somebody/, 'told');
is(job('r'), "etl|\@monthly|$RUN_R|t|t|t", 'and made anew');

query('ALTER VIEW r OWNER TO other');
like(diagnosis('rollup r', 'other'), qr/^f\|Its job belongs to role "etl", the rollup to "other"\./,
	'another owner is diagnosed');
is(alter('r', q{options => '{"retry_limit": 2}'}, 'other'), '', 'the next change, of whatever');
is(job('r') . count_jobs('r'), "other|\@monthly|$RUN_R|t|t|t1", 'gives the job to the owner');
query('ALTER VIEW r OWNER TO etl');
change_job('unschedule(jobid)');
like(answer(q{SELECT kafka.drop_rollup('r')}, $superuser),
	qr/^NOTICE:  00000: job \d+ of rollup "r" was removed by somebody/m, 'a rollup without its job can be dropped');

# pg_cron knows roles by their names.
create_as_etl('r', q{schedule := '@daily'});
$id = change_job('job.jobid');
query('ALTER ROLE etl RENAME TO etl2');
like(diagnosis('rollup r', 'etl2'), qr/^f\|Its job belongs to role "etl", the rollup to "etl2"\./,
	'an owner that was renamed is diagnosed');
like(alter('r', 'enabled => true', 'etl2'),
	qr/^NOTICE:  00000: job $id of rollup "r" stays, since role "etl" does not exist.*\nHINT:  .*SELECT cron\.unschedule\($id\)\./,
	'what is left to do is told');
query("SELECT cron.unschedule($id)");
is(job('r'), "etl2|\@daily|$RUN_R|t|t|t", 'and there is a new job');
answer(q{SELECT kafka.drop_rollup('r')}, 'etl2');
query('ALTER ROLE etl2 RENAME TO etl');

#
# One job for all that follow
#
is(query("SELECT username, schedule, command FROM cron.job WHERE jobname = 'kafka:follow'"),
	q{etl|* * * * *|CALL kafka.run_rollups(follow => true, max_time => '60 s')},
	'there is a job for those that follow');
is(create_as_etl('f2', q{options := '{"follow": true}'}), 'f2', 'another one');
is(count_jobs('follow'), 1, 'shares it');
answer(q{SELECT kafka.drop_rollup('followed')});
is(count_jobs('follow'), 1, 'with the first dropped it stays');
alter('f2', q{options => '{"follow": false}', schedule => '@daily'});
is(count_jobs('follow') . job('f2'), q{0etl|@daily|CALL kafka.run_rollups('f2')|t|t|t},
	'with the last it goes; from follow to a schedule');
alter('f2', q{options => '{"follow": true}', schedule => 'none'});
is(count_jobs('follow') . count_jobs('f2'), '10', 'and back');
# One that is called like it has a job of its own.
create_as_etl('follow', q{schedule := '@daily'});
is(query("SELECT jobname, command FROM cron.job ORDER BY 1"),
	"kafka:_follow|CALL kafka.run_rollups('follow')\nkafka:follow|CALL kafka.run_rollups(follow => true, max_time => '60 s')",
	'neither is taken for the other');
alter('f2', q{options => '{"follow": false}'});
is(query('SELECT jobname FROM cron.job'), 'kafka:_follow', 'and one goes without the other');
answer(q{SELECT kafka.drop_rollup('f2'), kafka.drop_rollup('follow')});
is(count_jobs('%'), 0, 'nothing is left of all that');

# Where not everybody may use pg_cron
create_as_etl('r', q{schedule := '@daily'});
$id = change_job('job.jobid');
for my $right ([ 'SELECT', 'cron.job' ], [ 'EXECUTE', 'FUNCTION cron.schedule(text, text, text)' ],
	[ 'EXECUTE', 'FUNCTION cron.unschedule(bigint)' ])
{
	query("REVOKE $right->[0] ON $right->[1] FROM PUBLIC");
	like(diagnosis('rollup r'), qr/^f\|Its owner cannot have jobs: role "etl" may not use the jobs of pg_cron\.\|GRANT SELECT/,
		"a role without the right to $right->[1] is diagnosed");
	like(alter('r', 'enabled => true'), qr/^NOTICE:  00000: the schedule of rollup "r" has no effect: role "etl" may not/, 'told');
	query("GRANT $right->[0] ON $right->[1] TO PUBLIC");
}
query('REVOKE SELECT ON cron.job_run_details FROM PUBLIC');
like(diagnosis('rollup r'), qr/^t\|Job \d+, schedule "\@daily"; no run is known/, 'so is one that cannot see runs');
query('GRANT SELECT ON cron.job_run_details TO PUBLIC; REVOKE SELECT ON cron.job FROM PUBLIC');
like(answer(q{SELECT kafka.drop_rollup('r')}), qr/^NOTICE:  00000: job $id of rollup "r" stays: role "etl" may not use the jobs/m,
	'a rollup is dropped whatever its role has no right to');
query("GRANT SELECT ON cron.job TO PUBLIC; SELECT cron.unschedule($id)");

#
# They run when the server starts: several at once, and from workers
#
create_rollup($node, 'mine', $COUNT, schedule => q{'@reboot'});
create_as_etl($_, q{schedule := '@reboot'}) for 'one', q{"it''s two"}, 'long', 'broken';
create_as_etl('tailing', q{options := '{"follow": true}'});
create_rollup($workers, 'worked', $COUNT, schedule => q{'@reboot'});
query('ALTER VIEW _broken_states OWNER TO other');

# The job of the one that takes long waits in its first batch, since this is
# prepared: over the restart no session could hold a lock.
query('BEGIN; INSERT INTO _long_g1 (n) VALUES (0); PREPARE TRANSACTION $$blocker$$');
$_->restart for $node, $workers;
is(query(q{BEGIN READ ONLY; SELECT subject, detail FROM kafka.diagnose_schedule() WHERE NOT ok AND subject <> 'rollup broken'}),
	'', 'nothing stands in the way');

my $blocker = KafkaFdw::Session->new($node);

# Waits until a condition is true, for so many seconds at most. A session that
# is not used for a minute would end the test.
sub await
{
	my ($server, $condition, $limit_s) = @_;
	my $end = time + $limit_s;

	while (time < $end)
	{
		return 1 if $server->safe_psql('postgres', "SELECT $condition") eq 't';
		$blocker->value('SELECT 1');
		sleep 0.5;
	}
	diag($server->safe_psql('postgres', 'SELECT * FROM cron.job_run_details ORDER BY runid'));
	return 0;
}

# How many of a job's runs are, or ended, so.
sub runs
{
	my ($name, $status) = @_;

	return '(SELECT count(*) FROM cron.job_run_details JOIN cron.job USING (jobid)'
	  . " WHERE jobname = 'kafka:$name' AND status = '$status')";
}

ok( await(
		$node, join(' AND ', map { runs($_, 'succeeded') . ' >= 1' } 'mine', 'one', q{it''s two}), $MINUTE_S),
	'several jobs have run beside one that takes long');
is(query('SELECT n FROM mine UNION ALL SELECT n FROM one UNION ALL SELECT n FROM "it\'s two"'), "1\n1\n1",
	'each has counted');
is(query('SELECT ' . runs('long', 'running')), 1, 'the other is still at it');
ok(await($workers, runs('worked', 'succeeded') . ' >= 1', $MINUTE_S), 'a background worker has run one');
is($workers->safe_psql('postgres', 'SELECT n FROM worked'), 1, 'which has counted');
like(
	$workers->safe_psql(
		'postgres', q{SELECT ok, detail FROM kafka.diagnose_schedule() WHERE subject = 'connections of jobs'}),
	qr/^t\|Jobs are background workers, 5 at most/, 'diagnosed as one');
ok(await($node, runs('broken', 'failed') . ' >= 1', $MINUTE_S), 'a job has failed');
like(diagnosis('rollup broken'), qr/^f\|Job \d+, schedule "\@reboot"; last run at .*: failed: ERROR:.*"broken"/s,
	'which is diagnosed');

#
# A minute comes: for all that follow, and while a job is at it for longer
#
is(alter('one', q{schedule => '* * * * *'}), '', 'one is to run each minute');
query(q{SELECT cron.alter_job(jobid, schedule := '* * * * *') FROM cron.job WHERE jobname = 'kafka:long'});
ok(await($node, '(SELECT n FROM tailing) = 1', $MINUTE_S), 'the job that follows has run');
$broker->feed("produce log partition=1 time=2000 value='{\"n\": 2}'\n");
ok(await($node, '(SELECT n FROM tailing) = 2', 20), 'and does follow');

ok(await($node, runs('one', 'succeeded') . ' >= 2', $MINUTE_S), 'another minute has come');
is(query('SELECT ' . runs('long', 'running')), 1, 'the one that takes long is at its first run');
is(query(q{SELECT count(*) FROM pg_stat_activity WHERE query = 'CALL kafka.run_rollups(''long'')'}), 1,
	'in one session');
query('ROLLBACK PREPARED $$blocker$$');
ok(await($node, runs('long', 'succeeded') . ' = 2', 20), 'when that has ended the one that was due follows');
is(query(<<'EOF'), 0, 'never did two runs of a job overlap');
SELECT count(*) FROM cron.job_run_details AS a JOIN cron.job_run_details AS b USING (jobid)
 WHERE a.runid < b.runid AND a.end_time > b.start_time
EOF
is(query('SELECT n FROM long'), 2, 'everything is counted');

query(q{SELECT kafka.drop_rollup(name) FROM kafka.rollups});
is(count_jobs('%'), 0, 'no job outlives its rollup');

#
# What is wrong with the server
#
$node->append_conf('postgresql.conf', 'kafka_fdw.enable_runs = off');
$node->reload;
$node->poll_query_until('postgres',
	"SELECT NOT ok FROM kafka.diagnose_schedule() WHERE subject = 'kafka_fdw.enable_runs'");
like(diagnosis('kafka_fdw.enable_runs'), qr/^f\|Runs are refused/, 'runs that are turned off are diagnosed');
create_as_etl('r', q{schedule := '* * * * *'});
query('DROP EXTENSION pg_cron');
like(diagnosis('rollup r'), qr/^f\|Its owner cannot have jobs: extension "pg_cron" is not in this database/,
	'so is an extension that is gone');
like(alter('r', 'enabled => false'),
	qr/^NOTICE:  00000: the schedule of rollup "r" has no effect: extension "pg_cron" is not/, 'told');
like(answer(q{SELECT kafka.drop_rollup('r')}), qr/^NOTICE:  00000: job \d+ of rollup "r" stays: extension/m,
	'and no obstacle');
$node->append_conf('postgresql.conf', "shared_preload_libraries = ''");
$node->restart;
like(diagnosis('library pg_cron'), qr/^f\|shared_preload_libraries does not name pg_cron\.\|In postgresql\.conf add/,
	'and a library that is not loaded');

done_testing();
