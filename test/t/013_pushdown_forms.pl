# Random comparisons of what can be made of a record's time (date_trunc, AT TIME
# ZONE, + interval, ...), over records in memory (pushdown_probe.c, no broker):
# the bounds never lose a row, in zones whose clocks jump at midnight either,
# and hold no row too many where no clock jumps.
#
# KAFKA_FDW_SEED=n makes other clauses, KAFKA_FDW_CLAUSES=n that many.
use strict;
use warnings;
use KafkaFdw::Probe qw(pick start_probe);
use POSIX qw(strftime);
use Test::More;
use Time::Local qw(timegm);

my $seed = $ENV{KAFKA_FDW_SEED} // 1;
my $nclauses = $ENV{KAFKA_FDW_CLAUSES} // 1000;
my $node = start_probe();

# ----------------------------------------------------------------
# Records
# ----------------------------------------------------------------

sub ms
{
	my ($text) = @_;
	my ($y, $mo, $d, $h, $mi, $s) = $text =~ /^(\d+)-(\d+)-(\d+) (\d+):(\d+):(\d+)$/ or die $text;

	return 1000 * timegm($s, $mi, $h, $d, $mo - 1, $y);
}

# Havana's clocks go from 0 to 1 h on 8 March, and from 1 to 0 h on 1 November;
# those of the Azores from 0 to 1 h on 29 March, from 1 to 0 h on 25 October;
# Apia had no 30 December 2011. A month has 31, 30 or 28 days.
my $hour = 3_600_000;
my @edges = map { ms($_) } '2026-03-08 05:00:00', '2026-11-01 05:00:00', '2026-03-29 01:00:00',
	'2026-10-25 01:00:00', '2011-12-30 10:00:00', '2026-01-30 12:00:00', '2026-02-28 12:00:00', '2026-04-30 23:00:00',
	'2026-01-01 00:00:00';
my @near = (-49, -26, -25, -24.5, -24, -23, -2, -1.5, -1, -0.5, 0, 0.5, 1, 1.5, 2, 4, 19, 23, 24, 24.5, 25, 47);

# In the middle of July and around, no clock jumps.
my @calm = map { ms('2026-07-14 00:00:00') + $_ * $hour } -24 * 14, -24 * 13, -24 * 8, -24.25, -23.75,
	-24, -5.5, -1, -0.5, 0, 1 / 60, 1 / 3600, 0.25, 0.5, 1, 4, 5, 11.75, 12, 19, 23, 24, 24 * 6, 24 * 16;
my %times = (
	wild => [ map { my $edge = $_; map { my $at = $edge + $_ * $hour; ($at, $at - 1, $at + 1) } @near } @edges ],
	calm => [ map { int } map { ($_, $_ - 1, $_ + 1, $_ + 500) } @calm ],
	early => [ map { ms('1999-07-01 00:00:00') + $_ } -501, -500, -499, 0, 499, 500, 501, 1000, 1499, 1500, 1501 ],
);

for my $table ([ 'wild', 'timestamptz' ], [ 'calm', 'timestamptz' ], [ 'wild_rounded', 'timestamptz(0)' ],
	[ 'calm_rounded', 'timestamptz(1)' ], [ 'early_rounded', 'timestamptz(0)' ])
{
	my ($name, $type) = @$table;
	my $times = join ',', @{ $times{ $name =~ s/_.*//r } };

	$node->safe_psql('postgres', <<"EOF");
CREATE FOREIGN TABLE $name (id int, kafka_partition int, kafka_offset bigint, ts $type, event timestamptz)
	SERVER probe OPTIONS (times '$times');
CREATE TABLE ${name}_rows AS SELECT * FROM $name;
EOF
}
$node->safe_psql('postgres', <<'EOF');
CREATE TABLE one AS SELECT 1 AS n;
CREATE TABLE params (n int, t timestamptz, l timestamp, d date, i interval, e numeric);
INSERT INTO params VALUES
	(1, '2026-07-14 00:00:00.0005+00', '2026-07-14 01:00', '2026-07-14', '1 day', 1783987200),
	(2, NULL, NULL, NULL, NULL, NULL),
	(3, '2026-07-12 04:30:00+00', '2026-07-13 00:30', '2026-07-12', '-30 hours', 'NaN');
EOF

# ----------------------------------------------------------------
# Values
# ----------------------------------------------------------------

my $is_calm; # nothing that makes bounds inexact: clocks' jumps, months' lengths
my $with_params; # the outer rows of params are there

sub time_text
{
	my $us = 1000 * pick(@{ $times{ $is_calm ? 'calm' : 'wild' } }) + pick(0, 0, 0, 1, 500, 999, -1, 1000);

	return strftime('%Y-%m-%d %H:%M:%S', gmtime int($us / 1_000_000)) . sprintf '.%06d', $us % 1_000_000;
}

sub zone
{
	return "'" . pick(qw(America/Havana Atlantic/Azores UTC Asia/Kolkata Pacific/Apia EST Europe/Berlin XXX+04:30),
		$is_calm ? () : ('MSK', 'Australia/Lord_Howe')) . "'";
}

sub unit
{
	return "'" . pick(qw(microseconds millisecond second minute hour Hours day day week month quarter year decade century),
		$is_calm ? () : 'millennium') . "'";
}

sub span
{
	return "interval '" . pick('1 hour', '90 minutes', '1 day', '25 hours', '-1 day', '7 days', '0.5 ms',
		'1 day 30 minutes', '-00:30', $is_calm ? () : ('1 month', '-1 month', '1 month 1 day -1 hour', '1 year', '11 months')) . "'";
}

sub stride { return "interval '" . pick('5 minutes', '1 day', '90 minutes', '7 seconds', '15 ms', '7 days', '0.7 ms') . "'"; }

# A value of a type; not infinite, and no parameter, as an argument of a form
sub value
{
	my ($type, $is_argument) = @_;
	my %parameters = (timestamptz => 'p.t', timestamp => 'p.l', date => 'p.d', interval => 'p.i', numeric => 'p.e');

	return $parameters{$type} if $with_params && !$is_argument && $parameters{$type} && rand() < 0.3;
	return pick(span(), "interval '" . int(rand 400) . " hours'", "interval '-3 days 2 hours'") if $type eq 'interval';
	return int(rand 20) - 10 if $type eq 'int';
	return sprintf('%.*f', pick(0, 3, 4, 6), pick(@{ $times{ $is_calm ? 'calm' : 'wild' } }) / 1000 + pick(0, 0, 0.0005))
		. "::$type"
		if $type eq 'numeric' || $type eq 'float8';

	my $text = time_text();

	$text = pick('infinity', '-infinity') if !$is_argument && rand() < 0.05;
	$text .= '+00' if $type eq 'timestamptz' && $text =~ /\d/;
	$text =~ s/ .*// if $type eq 'date';
	return "'$text'::$type";
}

# ----------------------------------------------------------------
# Forms
# ----------------------------------------------------------------

sub form;

my %forms = (
	timestamptz => [
		sub { 'ts' },
		sub { 'ts' },
		sub { 'date_trunc(' . unit() . ', ' . form('timestamptz', $_[0]) . ')' },
		sub { 'date_trunc(' . unit() . ', ' . form('timestamptz', $_[0]) . ', ' . zone() . ')' },
		sub { 'date_bin(' . stride() . ', ' . form('timestamptz', $_[0]) . ', ' . value('timestamptz', 1) . ')' },
		sub { '(' . form('timestamptz', $_[0]) . pick(' + ', ' - ') . span() . ')' },
		sub { '(' . span() . ' + ' . form('timestamptz', $_[0]) . ')' },
		sub { '(' . form('timestamp', $_[0]) . ' AT TIME ZONE ' . zone() . ')' },
		sub { '(' . form('timestamp', $_[0]) . " AT TIME ZONE interval '-02:30')" },
		sub { form(pick('timestamp', 'date'), $_[0]) . '::timestamptz' },
		sub { form('timestamptz', $_[0]) . '::timestamptz(' . int(rand 7) . ')' },
	],
	timestamp => [
		sub { form('timestamptz', $_[0]) . '::timestamp' },
		sub { '(' . form('timestamptz', $_[0]) . ' AT TIME ZONE ' . zone() . ')' },
		sub { '(' . form('timestamptz', $_[0]) . " AT TIME ZONE interval '05:45')" },
		sub { 'date_trunc(' . unit() . ', ' . form('timestamp', $_[0]) . ')' },
		sub { 'date_bin(' . stride() . ', ' . form('timestamp', $_[0]) . ', ' . value('timestamp', 1) . ')' },
		sub { '(' . form(pick('timestamp', 'date'), $_[0]) . pick(' + ', ' - ') . span() . ')' },
		sub { form('date', $_[0]) . '::timestamp' },
		sub { form('timestamp', $_[0]) . '::timestamp(' . int(rand 7) . ')' },
	],
	date => [
		sub { form(pick('timestamptz', 'timestamp'), $_[0]) . '::date' },
		sub { '(' . form('date', $_[0]) . pick(' + ', ' - ') . int(rand 40) . ')' },
	],
	interval => [
		map {
			my $type = $_;
			(sub { '(' . form($type, $_[0]) . ' - ' . value($type, 1) . ')' },
				sub { '(' . value($type, 1) . ' - ' . form($type, $_[0]) . ')' })
		} 'timestamptz', 'timestamp'
	],
	int => [
		sub { '(' . form('date', $_[0]) . ' - ' . value('date', 1) . ')' },
		sub { '(' . value('date', 1) . ' - ' . form('date', $_[0]) . ')' },
	],
	numeric => [
		sub { 'extract(' . pick('epoch', 'EPOCH') . ' FROM ' . form(pick('timestamptz', 'timestamp', 'date', 'interval'), $_[0]) . ')' }
	],
	float8 => [ sub { "date_part('epoch', " . form(pick('timestamptz', 'timestamp'), $_[0]) . ')' } ],
);

# A form of a type, of so many steps or a few more
sub form
{
	my ($type, $depth) = @_;

	return 'ts' if $type eq 'timestamptz' && $depth <= 0;
	return pick(@{ $forms{$type} }[ 0 .. ($depth <= 0 ? 0 : $#{ $forms{$type} }) ])->($depth - 1);
}

# ----------------------------------------------------------------
# Clauses
# ----------------------------------------------------------------

my %ranges = (timestamptz => 'tstz', timestamp => 'ts', date => 'date', int => 'int4', numeric => 'num');

sub range
{
	my ($type) = @_;
	my ($low, $high) = map { pick(('') x 9, 'NULL::' . $type) || value($type, 1) } 0, 1;

	return "$ranges{$type}range(least($low, $high), greatest($low, $high), '" . pick('[)', '[]', '()', '(]') . "')"
		if $low !~ /NULL/ && $high !~ /NULL/;
	return "$ranges{$type}range($low, $high)";
}

sub values_of { my ($type, $count) = @_; return join ', ', map { value($type) } 1 .. $count; }

sub clause
{
	my $type = pick(qw(timestamptz timestamptz timestamptz timestamp timestamp date interval numeric float8 int));
	my $form = form($type, int rand 4);
	my $op = pick(qw(< <= = >= >));
	my $inequality = $op eq '=' ? '>' : $op;
	my $which = rand();
	my $other = $type =~ /^(timestamp|date)/ ? pick($type, 'timestamptz', 'timestamp', 'date') : $type;

	return "$form $op " . value($other) if $which < 0.4;
	return value($other) . " $op $form" if $which < 0.5;
	return "$form BETWEEN " . value($other) . ' AND ' . value($other) if $which < 0.6;
	return "$form IN (" . values_of($type, 1 + int rand 4) . ')' if $which < 0.7;
	return "$form $op ANY (ARRAY[" . values_of($type, int rand 4) . "]::$type\[])" if $which < 0.75;
	return "$form $op ALL (ARRAY[" . values_of($type, int rand 4) . "]::$type\[])" if $which < 0.8;
	return "NOT ($form " . ($op eq '=' ? '<>' : $op) . ' ' . value($other) . ')' if $which < 0.85;
	return "($form, kafka_offset) $inequality (" . value($other) . ', ' . int(rand 60) . ')' if $which < 0.9;
	return "NOT ($form IS DISTINCT FROM " . value($type, 1) . ')' if $which < 0.93;
	return "$form <@ " . range($type) if $ranges{$type} && $which < 0.97;
	return "multirange(" . range($type) . ") @> $form" if $ranges{$type};
	return "($form $op " . value($other) . ') IS TRUE';
}

# ----------------------------------------------------------------
# Tests
# ----------------------------------------------------------------

srand $seed;

# The statements by which a session takes a zone, and a table's rows are as they
# are seen there
sub take_zone
{
	my ($zone, $table) = @_;

	return "SET TimeZone = '$zone';\nTRUNCATE ${table}_rows; INSERT INTO ${table}_rows SELECT * FROM $table;\n";
}

# Runs clauses in a zone, looks at what was wrong, and gives how many rows were
# in bounds and how many of them matched.
sub check_clauses
{
	my ($name, $zone, $table, $column) = @_;
	my $is_exact = $is_calm ? 'true' : 'false';
	my $batch = take_zone($zone, $table);

	for my $i (1 .. $nclauses)
	{
		$with_params = rand() < 0.2;
		my $clause = clause() =~ s/\bts\b/$column/gr;

		$batch .= "SELECT check_clause('$table', \$\$$clause\$\$, $is_exact, '" . ($with_params ? 'params' : 'one') . "');\n";
	}
	$batch .= "SELECT current_setting('probe.read') || ' ' || current_setting('probe.matched')";

	my ($status, $out, $error) = $node->psql('postgres', $batch, on_error_stop => 0);
	my @errors = grep { /ERROR/ } split /\n/, $error;
	my @wrong = split /\n/, $out;
	my @sums = split / /, pop @wrong;

	is(scalar @errors, 0, "$name: no errors") or diag(join "\n", @errors[ 0 .. ($#errors < 4 ? $#errors : 4) ]);
	is(scalar @wrong, 0, "$name: $nclauses clauses, seed $seed")
		or diag(join "\n", @wrong[ 0 .. ($#wrong < 9 ? $#wrong : 9) ]);
	return @sums;
}

$is_calm = 1;
check_clauses("calm, $_", $_, 'calm', 'ts') for qw(UTC America/Havana Atlantic/Azores);
check_clauses('calm, rounded', 'Asia/Kolkata', 'calm_rounded', 'ts');

$is_calm = 0;

# The last days of January all become 28 February, at any hour.
is( $node->safe_psql('postgres', "SELECT check_clause('wild', \$\$ts + interval '1 month' $_\$\$, false, 'one')"), '',
	"ts + 1 month $_")
	for "< '2026-02-28 00:30+00'", "<= '2026-02-28 12:00+00'", ">= '2026-02-28 12:00+00'", "= '2026-02-28 11:00+00'";

# Bounds that lie exactly at an edge: of the hour that Havana's clocks show twice,
# and of the one that they leave out
sub check_exactly
{
	my ($name, $table, @clauses) = @_;
	my $batch = join '', map { "SELECT check_clause('$table', \$\$$_\$\$, false, 'one');\n" } @clauses;

	is($node->safe_psql('postgres', take_zone('America/Havana', $table) . $batch), '', $name);
	return;
}

my @ops = qw(< <= = >= >);
my @local = map { my $at = $_; map { "timestamp '$at' + interval '$_ us'" } -1000, -1, 0, 1, 1000 }
  '2026-11-01 00:00', '2026-11-01 01:00', '2026-03-08 00:00', '2026-03-08 01:00';

for my $op (@ops)
{
	check_exactly("local times $op an edge", 'wild',
		map { ("(ts AT TIME ZONE 'America/Havana') $op $_", "ts $op $_", "(ts::timestamp AT TIME ZONE 'UTC') $op ($_) AT TIME ZONE 'UTC'") } @local);
}

# A number between two microseconds, or offsets
check_exactly('between two numbers', 'calm',
	map { my $op = $_; map { ("extract(epoch FROM ts) $op $_.0000005", "kafka_offset $op 5.5", "kafka_offset::float8 $op 5.5") } map { int($_ / 1000) } @{ $times{calm} }[ 0 .. 9 ] } @ops);

# Halves are rounded away from 2000.
check_exactly('rounded before 2000', 'early_rounded',
	map { my $op = $_; map { "ts $op timestamptz '1999-07-01 00:00:0$_+00'" } 0, 0.5, 1, 1.5, 2 } @ops);

for my $zone (qw(UTC America/Havana Atlantic/Azores Pacific/Apia))
{
	my ($read, $matched) = check_clauses("wild, $zone", $zone, 'wild', 'ts');

	cmp_ok($read, '<', 1.1 * $matched, "wild, $zone: few rows too many ($read for $matched)");
}
check_clauses('wild, rounded', 'America/Havana', 'wild_rounded', 'ts');
check_clauses('wild, of a column near the time', 'America/Havana', 'wild', 'event');

done_testing();
