# Random WHERE clauses over a topic that is a grid in memory (pushdown_probe.c,
# no broker): the bounds never lose a row, and where every part of a clause is
# understood they hold no row too many.
#
# KAFKA_FDW_SEED=n makes other clauses, KAFKA_FDW_CLAUSES=n that many.
use strict;
use warnings;
use KafkaFdw::Probe qw(pick start_probe);
use Test::More;

my $seed = $ENV{KAFKA_FDW_SEED} // 1;
my $nclauses = $ENV{KAFKA_FDW_CLAUSES} // 2000;
my $node = start_probe();

# The rows of params are outer rows of rescans.
$node->safe_psql('postgres', <<'EOF');
CREATE DOMAIN number AS bigint;
CREATE DOMAIN moment AS timestamptz CHECK (value > '-infinity');
CREATE FOREIGN TABLE topic (id int, kafka_partition int, kafka_offset bigint,
	ts timestamptz) SERVER probe;
CREATE FOREIGN TABLE negated (id int, kafka_partition int, kafka_offset bigint,
	ts timestamptz(3)) SERVER probe OPTIONS (negate 'true');
CREATE FOREIGN TABLE domains (ts moment, kafka_offset number,
	kafka_partition int2, id int) SERVER probe;
CREATE FOREIGN TABLE rounded (id int, kafka_partition int, kafka_offset bigint,
	ts timestamptz(0)) SERVER probe;
CREATE FOREIGN TABLE few_columns (id int, kafka_partition int8) SERVER probe;
CREATE FOREIGN TABLE zoneless (id int, ts timestamp) SERVER probe;
CREATE TABLE topic_rows AS SELECT * FROM topic;
CREATE TABLE negated_rows AS SELECT * FROM negated;
CREATE TABLE domains_rows AS SELECT * FROM domains;
CREATE TABLE rounded_rows AS SELECT * FROM rounded;
CREATE TABLE params (n int, i2 int2, i4 int, i8 bigint, t timestamptz,
	a int[], a8 bigint[], ta timestamptz[]);
INSERT INTO params VALUES
	(1, 1, 2, 3, '2026-01-01 00:00:00.001+00', '{1,2}', '{0,3,9223372036854775807}',
	 '{2026-01-01 00:00:00+00,2026-01-01 00:00:00.0005+00,2026-01-01 00:00:00.004+00}'),
	(2, NULL, NULL, NULL, NULL, NULL, NULL, NULL),
	(3, 0, 3, -9223372036854775808, '-infinity', '{}', '{}', '{}'),
	(4, 3, 0, 9223372036854775807, 'infinity', '{NULL,3}', '{NULL}',
	 '{infinity,NULL,2026-01-01 00:00:00.002+00}'),
	(5, -1, 9, 1, '2026-01-01 00:00:00.0015+00', '{{1,0},{NULL,-3}}', '{{4,3},{2,1}}',
	 '{-infinity}');
EOF

# A time of the grid or half a millisecond beside it
sub moment
{
	return pick(
		(map { sprintf "'2026-01-01 00:00:00.%04d+00'::timestamptz", 5 * $_ } 0 .. 10),
		"'2025-12-31 23:59:59.9999+00'::timestamptz",
		"'infinity'::timestamptz", "'-infinity'::timestamptz");
}

sub integer_literal
{
	return pick(-1 .. 5, 0 .. 4, 0 .. 4, 70000, '9223372036854775807', '-9223372036854775808',
		'2147483648');
}

# As it stands in the text of an array
sub element
{
	my ($type) = @_;

	return 'NULL' if rand() < 0.1;
	return integer_literal() if $type eq 'int';
	(my $text = moment()) =~ s/^'(.*)'.*/$1/;
	return $text;
}

sub value
{
	my ($type) = @_;

	if ($type eq 'int')
	{
		return pick((map { "('$_'::int8)" } integer_literal(), integer_literal()),
			(int(rand 5)) x 3, 'p.i2', 'p.i4', 'p.i8',
			"'2'::int2", '3::int8', '(1 + 1)', 'abs(p.i4 - 3)', '(SELECT 2)', 'NULL::int',
			'(p.i4 + length(to_char(now(), \'YY\')) - 2)');
	}
	return pick(moment(), moment(), moment(), 'p.t', "(p.t + interval '500 us')",
		'(' . moment() . " - interval '500 us')", 'NULL::timestamptz',
		'(SELECT ' . moment() . ')');
}

sub array
{
	my ($type) = @_;
	my $count = int rand 5;

	if ($type eq 'int')
	{
		return pick(
			"'{" . join(',', map { element('int') } 1 .. $count) . "}'::int8[]",
			"'{" . join(',', map { rand() < 0.2 ? 'NULL' : int rand 5 } 1 .. $count) . "}'::int2[]",
			'p.a', 'p.a8', 'NULL::int[]', 'ARRAY[' . value('int') . '::int8, 2]',
			'(p.a8::text::int8[])');
	}
	return pick("'{" . join(',', map { element('time') } 1 .. $count) . "}'::timestamptz[]",
		'p.ta', 'NULL::timestamptz[]', 'ARRAY[' . value('time') . ', ' . value('time') . ']');
}

# A clause that is understood, under NOT as well
sub leaf
{
	my $column = pick(qw(kafka_partition kafka_offset ts));
	my $partition = $column eq 'kafka_partition';
	my $type = $column eq 'ts' ? 'time' : 'int';
	my $op = $partition ? pick(qw(< <= = <> >= >)) : pick(qw(< <= >= >));
	my $which = rand();

	return "$column $op " . value($type) if $which < 0.3;
	return value($type) . " $op $column" if $which < 0.5;
	return "$column " . pick('', 'NOT ') . 'BETWEEN ' . pick('', 'SYMMETRIC ') . value($type)
		. ' AND ' . value($type)
		if $which < 0.6;
	if ($which < 0.75 && $partition)
	{
		return "$column " . pick('', 'NOT ') . 'IN ('
			. join(', ', map { value($type) } 0 .. 1 + rand 3) . ')';
	}
	return "$column " . ($partition ? pick('= ANY', '<> ALL') : pick(qw(< <= >= >)) . pick(' ANY', ' ALL'))
		. ' (' . array($type) . ')';
}

# A range or multirange; columns of integers have bigint's and int's types
sub range
{
	my ($type) = @_;
	my $name = $type eq 'int' ? 'int8' : 'tstz';

	return pick(
		"'empty'::${name}range", "NULL::${name}range",
		map { my $bounds = $_;
			  my ($low, $high) = map { $type eq 'int' ? int rand 5 : moment() =~ s/.*'(.*)'.*/$1/r } 0, 1;
			  ($low, $high) = ($high, $low) if $low gt $high;
			  $low = '' if $bounds =~ s/^~/(/; $high = '' if $bounds =~ s/~$/)/;
			  "'" . substr($bounds, 0, 1) . "$low,$high" . substr($bounds, -1) . "'::${name}range" }
			'[)', '[]', '()', '(]', '~)', '[~');
}

# A clause that is understood as it stands, but whose negation is not
sub positive_leaf
{
	my $column = pick(qw(kafka_partition kafka_offset ts));
	my $type = $column eq 'ts' ? 'time' : 'int';

	return pick(
		leaf(),
		pick('', 'NOT ') . "(kafka_partition IS DISTINCT FROM " . value('int') . ')',
		'NOT (kafka_offset IS DISTINCT FROM ' . value('int') . ')',
		'(' . leaf() . ') IS ' . pick('TRUE', 'FALSE'),
		($type eq 'int' ? "$column\::int8" : "$column\::timestamptz") . ' <@ ' . range($type),
		range($type) . " @> $column\::" . ($type eq 'int' ? 'int8' : 'timestamptz'),
		"$column = " . value($type),
		value($type) . " = $column",
		"$column IN (" . join(', ', map { value($type) } 0 .. 1 + rand 3) . ')',
		"$column = " . pick(qw(ANY ALL)) . ' (' . array($type) . ')');
}

# One that is not understood, or not wholly
sub obscure_leaf
{
	return pick(
		'id % 2 = 0', 'ts IS NULL', 'ts IS NOT NULL', 'kafka_offset <> 3', 'ts <> ' . value('time'),
		'kafka_offset <> ALL (' . array('int') . ')', 'kafka_partition <> ANY (' . array('int') . ')',
		'kafka_offset + 0 = 2', 'kafka_offset = kafka_partition', 'kafka_offset = 2.0',
		'kafka_partition >= (random() * 0)::int + 2', '(id, kafka_offset) > (1, 2)',
		'(kafka_partition, id) <= (2, 40)', '(kafka_offset, kafka_partition, id) >= (2, 1, 40)',
		'(' . leaf() . ') IS NOT TRUE', '(' . leaf() . ') IS UNKNOWN',
		'(' . leaf() . ') IS DISTINCT FROM true', 'coalesce(' . leaf() . ', true)',
		'CASE WHEN ' . leaf() . ' THEN ' . leaf() . ' ELSE ' . leaf() . ' END',
		'ts IS NOT DISTINCT FROM ' . value('time'), 'ts IS DISTINCT FROM ' . value('time'),
		'NOT (kafka_offset::int8 <@ ' . range('int') . ')', 'kafka_offset = (SELECT max(i4) FROM params)',
		'kafka_offset = (SELECT count(*) FROM params q WHERE q.i4 < id)',
		'kafka_partition IN (SELECT i4 FROM params)', 'kafka_partition IN (1, id)',
		'(ts + age(ts)) <= ' . value('time'), 'to_char(ts, \'YYYY\') <= \'2026\'');
}

# $kind is exact or obscure
sub clause
{
	my ($depth, $kind, $negated) = @_;
	my $which = rand();

	if ($depth == 0 || $which < 0.15)
	{
		return pick(qw(TRUE FALSE NULL)) if rand() < 0.03;
		return obscure_leaf() if $kind eq 'obscure' && rand() < 0.3;
		return $negated && $kind eq 'exact' ? leaf() : positive_leaf();
	}
	return 'NOT (' . clause($depth - 1, $kind, 1) . ')' if $which < 0.3;
	return join pick(' AND ', ' OR '),
		map { '(' . clause($depth - 1, $kind, $negated) . ')' } 0 .. 1 + int rand 2;
}

# What EXPLAIN says of the bounds: number of values, then "column side: text"
sub describe
{
	my ($query) = @_;
	my $plan = $node->safe_psql('postgres', "EXPLAIN (COSTS OFF) $query");

	return [ $plan =~ /^ +((?:values|kafka_\w+ \w+|ts \w+)[ +]*: .*)$/mg ];
}

sub described
{
	my ($clause, $want, $name) = @_;

	is_deeply(describe("SELECT * FROM topic WHERE $clause"), $want, $name // $clause);
	return;
}

described(
	"ts >= '2026-01-01' AND now() > ts",
	[
		'values: 2',
		"ts start +: ts >= '2026-01-01 00:00:00+00'::timestamp with time zone",
		'ts end +: ts < now()',
		"ts both: ts >= '2026-01-01 00:00:00+00'::timestamp with time zone AND ts < now()",
	]);
described(
	'kafka_partition IN (1, 2)',
	[ 'values: 1', map { "kafka_partition $_: kafka_partition = ANY ('{1,2}'::integer[])" }
		'start +', 'end +', 'both' ]);
described(
	'kafka_partition NOT IN (1, 2)',
	[ 'values: 1', "kafka_partition both: kafka_partition <> ALL ('{1,2}'::integer[])" ]);
described(
	'kafka_offset > 5 AND (kafka_offset < 10 OR kafka_offset <= 20 AND kafka_partition <> 3)'
		. ' OR kafka_offset = 40',
	[
		'values: 5',
		'kafka_offset start +: (kafka_offset > 5) OR (kafka_offset = 40)',
		'kafka_offset end +: ((kafka_offset < 10) OR (kafka_offset <= 20)) OR (kafka_offset = 40)',
		'kafka_offset both: (kafka_offset > 5 AND ((kafka_offset < 10) OR (kafka_offset <= 20)))'
			. ' OR (kafka_offset = 40)',
	]);
described(
	"kafka_partition = 1 AND kafka_offset < 3 OR kafka_partition = 2 AND ts < '2026-01-01'",
	[ 'values: 4', map { "kafka_partition $_: (kafka_partition = 1) OR (kafka_partition = 2)" }
		'start +', 'end +', 'both' ]);
described('kafka_partition = 1 OR kafka_offset = 2 OR id = 3', ['values: 0'],
	'an arm that is not understood makes everything of an OR, and leaves no values');
described('kafka_partition = (random() * 3)::int', ['values: 0'], 'a volatile value');
described('kafka_offset = CASE WHEN 2 IN (SELECT i4 FROM params) THEN 1 ELSE 2 END',
	['values: 0'], 'a subplan');
described('kafka_offset = kafka_partition', ['values: 0'], 'two columns');
described('kafka_offset = sqrt(id)', ['values: 0'], 'another column');
described('ROW(topic.*) IS NOT NULL', ['values: 0'], 'the whole row');
is_deeply(
	describe('SELECT * FROM few_columns WHERE kafka_partition <= 1 AND few_columns IS NOT NULL AND id > 1'),
	[ 'values: 1', 'kafka_partition end +: kafka_partition <= 1', 'kafka_partition both: kafka_partition <= 1' ],
	'columns that are not there');

# Plans for any parameters, and what is read with them
sub counts
{
	my ($types, $clause, @values) = @_;

	return $node->safe_psql('postgres', join ";\n",
		'SET plan_cache_mode = force_generic_plan',
		"PREPARE q($types) AS SELECT count(*) FROM topic WHERE $clause",
		map { ("EXECUTE q($_)", 'SELECT pushdown_probe_counts()') } @values);
}

is( counts('int[]', 'kafka_partition = ANY ($1)', "'{1,NULL,3}'", 'NULL', "'{}'"),
	"50\n{1,50,10}\n0\n{1,0,0}\n0\n{1,0,0}",
	'array parameter');
is( counts('int, timestamptz', 'kafka_offset = $1 AND ts >= $2',
		"2, '2026-01-01 00:00:00.0011+00'", "NULL, 'infinity'", "3, '-infinity'"),
	"8\n{1,8,0}\n0\n{1,0,0}\n16\n{1,20,4}",
	'parameters');

# Far more elements than boxes: the narrowest gaps are closed, no others
is( $node->safe_psql('postgres', <<"EOF"),
SELECT count(*) FROM topic WHERE kafka_offset = ANY
	(ARRAY(SELECT 1000000000000 + i * i FROM generate_series(1, 10000) i) || 2::bigint);
SELECT pushdown_probe_counts();
SELECT count(*) FROM topic WHERE kafka_partition <> ALL
	(ARRAY(SELECT 1000 + i * 3 FROM generate_series(1, 10000) i) || 2);
SELECT pushdown_probe_counts();
EOF
	"20\n{1,20,4}\n75\n{1,75,15}",
	'arrays of 10,000 elements');

srand $seed;
for my $kind (qw(exact obscure))
{
	my $batch = '';

	for my $i (1 .. $nclauses)
	{
		my $clause = clause(int(rand 4), $kind, 0);
		my $table = pick(qw(topic negated domains), $kind eq 'obscure' ? 'rounded' : 'topic');
		my $exact = $kind eq 'exact' ? 'true' : 'false';

		$batch .= "SELECT check_clause('$table', \$\$$clause\$\$, $exact);\n";
	}
	my @wrong = split /\n/, $node->safe_psql('postgres', $batch);
	is(scalar @wrong, 0, "$nclauses $kind clauses, seed $seed")
		or diag(join "\n", @wrong[ 0 .. ($#wrong < 9 ? $#wrong : 9) ]);
}

done_testing();
