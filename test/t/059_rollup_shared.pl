# What rollups store that are read for together, their columns decoded once for
# all, is what each stores that is read for alone: states and dead letters, over
# messages with faults of all kinds, each of which is bad for some and good for
# others. The same rollups run in one call in one database, and one by one in
# another.
use strict;
use warnings;
use Test::More;
use KafkaFdw::Broker;
use KafkaFdw::Node qw(start_node);
use PostgreSQL::Test::Utils qw(slurp_file);

my $START_MS = 1_700_000_000_000;
my $PARTITIONS = 2;
my $COUNT = 4000;
my $MAX_ROWS = 700;

my $broker = KafkaFdw::Broker->new;
my $node = start_node('main');

sub query
{
	my ($database, $sql) = @_;

	return $node->safe_psql($database, $sql);
}

#
# The messages. A good one has all fields; each fault takes one of them, or the
# document, or the key, and comes again and again.
#
my $depth = 100_000;
my $deep = '[' x $depth . ']' x $depth;
my @FAULTS = (
	{ n => '"many"' },
	{ n => '99999999999' },
	{ n => 'null' },
	{ amount => '"1.2.3"' },
	{ amount => '1e200000' },
	{ price => '"free"' },
	{ at => '"yesteryear"' },
	{ at => '"2023-11-14 12:00:00 Nowhere/Land"' },
	{ at => '"-infinity"' },
	{ color => '"mauve"' },
	{ small => '-1' },
	{ small => '1000' },
	{ list => '"no list"' },
	{ list => '[1, "x"]' },
	{ pair => '[1]' },
	{ pair => '{"a": "x"}' },
	{ doc => '{"a": "\u0000"}' },
	{ doc => $deep },
	{ id => '"00000000-0000-0000-0000-00000000000g"' },
	{ name => '"\u0000"' },
	{ name => '"' . 'long' x 20 . '"' },
	{ document => '{"n": ' },
	{ document => '[]' },
	{ document => '{"n": 1, "name": "\xff"}', raw => 'document' },
	{ document => '' },
	{ document => '\N', raw => 'document' },
	{ key => '{"k": "x"}' },
	{ key => '{"k": ' },
	{ key => '\N', raw => 'key' },
	{ n => '"many"', amount => '"much"', color => '"mauve"' });

sub make_fields
{
	my ($i) = @_;

	return (
		n => $i,
		amount => sprintf('%d.%02d', $i % 100, $i % 97),
		price => $i / 8,
		at => sprintf('"2023-11-14 %02d:%02d:%02d"', $i / 600 % 24, $i / 10 % 60, $i % 60),
		color => '"' . (qw(red green blue))[ $i % 3 ] . '"',
		small => $i % 100,
		list => '[' . join(',', 1 .. $i % 4) . ']',
		pair => "{\"a\": $i, \"b\": \"b\"}",
		doc => "{\"a\": [$i, null]}",
		id => sprintf('"%08x-0000-0000-0000-000000000000"', $i - ($i % 50 == 40 ? 2 : 0)),
		name => '"n\u00e9' . $i % 13 . '"');
}

sub make_line
{
	my ($i, $fault) = @_;
	my %fields = (make_fields($i), %$fault);
	my $raw = delete $fields{raw} // '';
	my %record = (key => delete $fields{key} // '{"k": ' . $i % 5 . '}', document => delete $fields{document});

	$record{document} //= '{' . join(', ', map { "\"$_\": $fields{$_}" } sort keys %fields) . '}';

	# The feeder's copy wants a backslash to be two, unless it is meant for it.
	$record{$_} =~ s/\\/\\\\/g for grep { $_ ne $raw } keys %record;
	return join("\t", $i % $PARTITIONS, $START_MS + $i, $record{key}, $record{document}, "h:$i") . "\n";
}

my $lines = '';
my $nfaults = 0;

for my $i (0 .. $COUNT - 1)
{
	my $fault = $i % 20 == 7 ? $FAULTS[ $nfaults++ % @FAULTS ] : {};

	# late by its partition's newest
	$fault = { at => '"2023-11-13 00:00:00"' } if $i % 500 == 499;
	$lines .= make_line($i, $fault);
}

sub write_events { $broker->feed("copy events\n$lines\\.\n"); return }

$broker->feed("create-topic events partitions=$PARTITIONS\n");
write_events();

#
# The tables and the rollups
#
my $address = $broker->brokers;
my $TABLES = <<"EOF";
CREATE EXTENSION kafka_fdw;
CREATE SERVER logs FOREIGN DATA WRAPPER kafka_fdw OPTIONS (brokers '$address');
CREATE TYPE color AS ENUM ('red', 'green', 'blue');
CREATE DOMAIN small AS int CHECK (VALUE BETWEEN 0 AND 99);
CREATE TYPE pair AS (a int, b text);
CREATE FOREIGN TABLE events (
	p int OPTIONS (partition 'true'),
	o bigint OPTIONS (offset 'true'),
	ts timestamptz OPTIONS (timestamp 'true'),
	topic text OPTIONS (topic 'true'),
	headers jsonb OPTIONS (headers 'true'),
	k int OPTIONS (json 'k', "from" 'key'),
	n int,
	gone text,
	amount numeric(12,2),
	price float8,
	at timestamptz,
	color color,
	small small,
	list int[],
	pair pair,
	doc jsonb,
	id uuid,
	name varchar(40),
	junk bytea OPTIONS (junk 'true')
) SERVER logs OPTIONS (topic 'events', format 'json');
ALTER FOREIGN TABLE events DROP COLUMN gone;
CREATE FOREIGN TABLE raw (p int OPTIONS (partition 'true'), v bytea)
	SERVER logs OPTIONS (topic 'events', format 'raw');
CREATE FOREIGN TABLE skipping (n int, price float8, color color)
	SERVER logs OPTIONS (topic 'events', format 'json', on_error 'skip');
EOF

# Names and queries; further arguments; settings, which a rollup remembers
my @ROLLUPS = (
	[ 'plain', 'SELECT p, count(*) AS c FROM events GROUP BY p' ],
	[ 'numbers', 'SELECT k, count(*) AS c, sum(n) AS s, avg(amount) AS a, max(o) AS o FROM events GROUP BY k' ],
	[ 'times', q(SELECT date_bin('1 hour', at, '2000-01-01+00') AS hour, count(*) AS c, min(at) AS first, max(ts) AS last FROM events GROUP BY 1) ],
	[ 'times_east', q(SELECT date_bin('1 hour', at, '2000-01-01+00') AS hour, count(*) AS c, min(at) AS first FROM events GROUP BY 1), '', q(SET TimeZone = 'Asia/Tokyo') ],
	[ 'times_other', q(SELECT count(*) AS c, min(at) AS first, sum(n) AS s FROM events), '', q(SET DateStyle = 'SQL, DMY') ],
	[ 'colors', 'SELECT color, small, count(*) AS c, sum(price) AS s FROM events GROUP BY color, small' ],
	[ 'lists', 'SELECT color, sum(cardinality(list)) AS s, count(doc) AS d, max(name) AS m FROM events GROUP BY color' ],
	[ 'pairs', 'SELECT topic, sum((pair).a) AS s, count(headers) AS h FROM events GROUP BY topic' ],
	[ 'documents', 'SELECT p, count(*) AS c, max(length(doc::text)) AS l FROM events WHERE name IS NOT NULL GROUP BY p' ],
	[ 'dividing', 'SELECT k, sum(1000 / (n % 100 - 50)) AS s, max(name) AS m FROM events GROUP BY k' ],
	[ 'expecting', 'SELECT color, count(*) AS c, sum(amount) AS a FROM events GROUP BY color', q(, expect => 'n % 3 <> 1 AND price >= 0') ],
	[ 'keyed', 'SELECT p, count(*) AS c, sum(n) AS s, max(ts) AS ts FROM events GROUP BY p', q(, options => '{"unique_key": "id", "unique_within": "1 day"}') ],
	[ 'late', q(SELECT date_bin('1 hour', at, '2000-01-01+00') AS hour, count(*) AS c, sum(price) AS s FROM events GROUP BY 1), q(, late_limit => '2 hours') ],
	[ 'bytes', 'SELECT p, count(*) AS c, sum(length(v)) AS s FROM raw GROUP BY p' ],
	[ 'skipped', 'SELECT color, count(*) AS c, sum(n) AS s FROM skipping GROUP BY color' ]);

sub create_rollups
{
	my ($database, @rollups) = @_;

	for (@rollups)
	{
		my ($name, $text, $arguments, $settings) = @$_;

		query($database, ($settings ? "$settings; " : '')
			  . "SELECT kafka.create_rollup('$name', \$q\$$text\$q\$" . ($arguments // '') . ')');
		query($database, "SELECT kafka.alter_rollup('$name', options => '{\"error_limit\": 1}')");
	}
	return;
}

for my $database ('shared', 'alone')
{
	query('postgres', "CREATE DATABASE $database");
	query($database, $TABLES);
	create_rollups($database, @ROLLUPS);
}

#
# Running and comparing
#
sub run_both
{
	my (@names) = @_;

	query('shared', "CALL kafka.run_rollups(max_rows => $MAX_ROWS)");
	query('alone', "CALL kafka.run_rollups('$_', max_rows => $MAX_ROWS)") for @names;
	return;
}

# What is compared of each rollup
my %COMPARED = (
	'storage' => q(SELECT s::text FROM "_%1$s_g1" AS s ORDER BY s::text COLLATE "C"),
	'dead letters' => q(SELECT kafka_partition, kafka_offset, stage, sqlstate, message, md5(value), key, status
		FROM kafka.dead_letters WHERE rollup = '%1$s' ORDER BY 1, 2),
	'positions' => q(SELECT kafka_partition, next_offset FROM kafka.rollup_offsets WHERE name = '%1$s' ORDER BY 1));

# The first line in which two texts differ; '' for none
sub first_difference
{
	my ($one, $other) = @_;
	my @one = split /\n/, $one;
	my @other = split /\n/, $other;

	for my $i (0 .. ($#one > $#other ? $#one : $#other))
	{
		my ($x, $y) = ($one[$i] // 'no line', $other[$i] // 'no line');

		return "line $i: $x, alone $y" if $x ne $y;
	}
	return '';
}

sub compare
{
	my ($when, @names) = @_;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	for my $name (@names)
	{
		for my $what (sort keys %COMPARED)
		{
			my $sql = sprintf $COMPARED{$what}, $name;

			is(first_difference(query('shared', $sql), query('alone', $sql)), '', "$when: $what of $name");
		}
	}
	return;
}

my @names = map { $_->[0] } @ROLLUPS;

run_both(@names);
is(
	query('shared', q(SELECT count(*), min(n), max(n), sum(m) FROM (SELECT count(*) AS n, sum(messages) AS m FROM kafka.rollup_runs WHERE event = 'batch' GROUP BY name) AS r)),
	join('|', scalar @names, (int(($COUNT - 1) / $MAX_ROWS) + 1) x 2, $COUNT * @names), 'they took the same batches, and all of them');
compare('first run', @names);

# What is compared has faults of all kinds.
is(
	query('shared', q(SELECT stage, count(DISTINCT rollup) FROM kafka.dead_letters GROUP BY stage ORDER BY stage)),
	"decode|13\nexpect|1\nlate|1\nquery|1", 'faults of all stages');
is(query('shared', q(SELECT count(DISTINCT sqlstate) > 5 FROM kafka.dead_letters)), 't', 'of many kinds');
is(query('shared', q(SELECT sum(duplicates) > 0 FROM kafka.rollup_runs WHERE name = 'keyed')), 't', 'and duplicates');
is(query('shared', q(SELECT count(*) FROM kafka.dead_letters WHERE rollup IN ('plain', 'bytes'))), 0,
	'no message is bad for those that decode nothing of it');
is(query('shared', q(SELECT sum(c) FROM times_other)) + query('shared', q(SELECT count(*) FROM kafka.dead_letters WHERE rollup = 'times_other')),
	$COUNT, 'each message is counted or a dead letter');
isnt(query('shared', 'SELECT max(first) FROM times'), query('shared', 'SELECT max(first) FROM times_east'), 'times are those of each rollup\'s time zone');

#
# Going on, with a type and a table that have changed meanwhile
#
for my $database ('shared', 'alone')
{
	query($database, q(ALTER TYPE color ADD VALUE 'mauve'; ALTER FOREIGN TABLE events ALTER COLUMN price OPTIONS (json 'amount')));
}
write_events();
run_both(@names);
compare('after changes', @names);
is(query('shared', q(SELECT count(*) > 0 FROM colors WHERE color = 'mauve')), 't', 'a new value of the enum');

#
# Changed during a call, between the batches of two rollups: a trigger on the
# storage of one does what somebody else might do just then.
#
my @LATER = (
	[ 'changing', 'SELECT p, sum(n) AS s, count(name) AS c FROM events GROUP BY p' ],
	[ 'changed', 'SELECT p, sum(n) AS s, sum(k) AS k, count(name) AS c FROM events GROUP BY p' ],
	[ 'renamed', 'SELECT color, sum(n) AS s, count(*) AS c FROM events GROUP BY color' ]);

for my $database ('shared', 'alone')
{
	create_rollups($database, @LATER);
	query($database, <<'EOF');
CREATE FUNCTION change_table() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF EXISTS (SELECT FROM pg_enum WHERE enumlabel = 'red') THEN
		ALTER TYPE public.color RENAME VALUE 'red' TO 'crimson';
		ALTER FOREIGN TABLE public.events ALTER COLUMN n OPTIONS (json 'small');
	END IF;
	RETURN NULL;
END $$;
CREATE TRIGGER change AFTER INSERT OR UPDATE ON _changing_g1 EXECUTE FUNCTION change_table();
EOF
}
@names = map { $_->[0] } @LATER;
run_both(@names);
compare('changed meanwhile', @names);
isnt(query('shared', 'SELECT sum(s) FROM changing'), query('shared', 'SELECT sum(s) FROM changed'), 'the first has counted a batch before the change');
is(query('shared', q(SELECT count(*) FROM renamed WHERE color = 'crimson')), 0, 'no message has the new name');

#
# What the rollups need of a message is looked up when their reading begins,
# and not again with each of its batches.
#
my $LOOKUPS = q(SELECT idx_scan FROM pg_stat_sys_indexes WHERE indexrelname = 'pg_depend_depender_index');

query('postgres', 'CREATE DATABASE many');
query('many', $TABLES);
create_rollups('many', @ROLLUPS[ 0 .. 3 ]);

# All of the topic in batches of so many messages: lookups, and batches.
sub count_lookups
{
	my ($max_rows) = @_;

	query('many', q(SELECT kafka.seek_rollup(name, '{"0": "earliest", "1": "earliest"}'::jsonb, accept_loss => true) FROM kafka.rollups));
	return split /\n/, query('many', <<"EOF");
SELECT pg_stat_force_next_flush() \\g /dev/null
$LOOKUPS \\gset before_
SELECT max(run_id) AS last FROM kafka.rollup_runs \\gset
CALL kafka.run_rollups(max_rows => $max_rows);
SELECT pg_stat_force_next_flush() \\g /dev/null
SELECT idx_scan - :before_idx_scan FROM ($LOOKUPS) AS s;
SELECT count(*) FROM kafka.rollup_runs WHERE event = 'batch' AND run_id > :last;
EOF
}

query('many', 'CALL kafka.run_rollups()');
my ($few, $few_batches) = count_lookups(8000);
my ($many, $many_batches) = count_lookups(400);

cmp_ok($many_batches, '>=', 10 * $few_batches, 'many batches');
is($many, $few, 'take no more lookups than a few');

unlike(slurp_file($node->logfile), qr/TRAP|PANIC|signal 11/, 'the server is well');

done_testing();
