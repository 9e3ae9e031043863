
=pod

=head1 NAME

KafkaFdw::Predicate - random conditions of every form that pushdown knows

=head1 SYNOPSIS

  use KafkaFdw::Predicate;

  my $maker = KafkaFdw::Predicate->new(points => \@ms, units => ['hour'],
      steps => ['90 min'], zones => ['UTC'], margin => '4 s');
  my $predicate = $maker->random(2);      # depth of AND, OR, NOT
  print $predicate->text(sub { $_[0]{expr} });

=head1 DESCRIPTION

The table has the columns ts (record time), pt (a time in the payload), p, o,
k (key), n, s. Values stand in a condition as marks, so that whoever uses it
can put parameters, outer columns or variables there.

Beside its text a predicate has a "reach": a condition that is true of all the
rows that must be looked at if only record time, partition, offset, key and
declared payload time decide, and each comparison with a time is a margin less
strict. Forms that are not told to be known are TRUE in it.

=cut

package KafkaFdw::Predicate;

use strict;
use warnings;
use KafkaFdw::Truth qw(pick random_clause);
use POSIX qw(strftime floor);

=pod

=over

=item new(points => [MS], units => [...], steps => [...], zones => [...],
margin => INTERVAL, known => { FORM => 1 }, offsets => N, partitions => N, keys => [...])

points are times worth comparing with, units those to truncate to, steps the
strides of date_bin.

=item forms()

The names of all forms, functions of a time and ways to compare; functions()
are the first alone.

=cut

sub new
{
	my ($class, %arg) = @_;

	return bless { known => {}, %arg }, $class;
}

# ----------------------------------------------------------------
# Values
# ----------------------------------------------------------------

# Text of a time in UTC, for a number of microseconds since 1970
sub utc
{
	my ($us) = @_;
	my $s = floor($us / 1e6);

	return strftime('%Y-%m-%d %H:%M:%S', gmtime $s) . sprintf '.%06d', $us - $s * 1_000_000;
}

# A point at, or next to, one worth comparing with
sub _point
{
	my ($self) = @_;

	return pick(@{ $self->{points} }) * 1000
	  + ($self->{exact} ? 0 : 1) * pick(0, 0, 0, 0, 0, 0, 1, -1, 500, 1000, -1000);
}

sub _moment
{
	my ($self) = @_;

	return q{'} . utc($self->_point) . q{+00'::timestamptz};
}

# A mark for a value of a type; the code gives its expression, and is called
# again for another one of the same kind.
sub _value
{
	my ($self, $type, $code) = @_;

	push @{ $self->{values} }, { type => $type, expr => $code->(), other => $code->() };
	return "\x01$#{ $self->{values} }\x01";
}

sub _zone { return pick(@{ $_[0]{zones} }) }

# A literal, or now and then a value like others
sub _argument
{
	my ($self, $type, $literal) = @_;

	return rand() < 0.2 ? $self->_value($type, sub { "${literal}::$type" }) : "${literal}::$type";
}

# A time plus or minus one of some intervals
sub _plus
{
	my ($self, $intervals, %about) = @_;
	my $interval = $self->_argument('interval', q{'} . pick(@$intervals) . q{'});
	my $text = pick("(%s + $interval)", "(%s - $interval)", "($interval + %s)");

	return (timestamptz => sub { sprintf $text, $_[0] }, %about);
}

# ----------------------------------------------------------------
# Functions of a time: form, type of the result, text for a column, whether it
# depends on a zone, and by how many days the bounds may be too wide at most
# ----------------------------------------------------------------

my %functions = (
	plain => sub { return (timestamptz => sub { $_[0] }) },
	at_zone => sub {
		my ($self) = @_;
		my $zone = $self->_argument('text', q{'} . $self->_zone . q{'});

		return (timestamp => sub { "($_[0] AT TIME ZONE $zone)" }, zone => 1);
	},
	local => sub { return (timestamp => sub { "$_[0]::timestamp" }, zone => 1) },
	date => sub {
		my $text = pick('%s::date', 'CAST(%s AS date)', 'date(%s)');

		return (date => sub { sprintf $text, $_[0] }, zone => 1);
	},
	date_at_zone => sub {
		my ($self) = @_;
		my $zone = $self->_zone;

		return (date => sub { "($_[0] AT TIME ZONE '$zone')::date" }, zone => 1);
	},
	trunc => sub {
		my ($self) = @_;
		my $unit = $self->_argument('text', q{'} . pick(@{ $self->{units} }) . q{'});

		return (timestamptz => sub { "date_trunc($unit, $_[0])" }, zone => 1);
	},
	trunc_zone => sub {
		my ($self) = @_;
		my $unit = pick(@{ $self->{units} });
		my $zone = $self->_argument('text', q{'} . $self->_zone . q{'});

		return (timestamptz => sub { "date_trunc('$unit', $_[0], $zone)" }, zone => 1);
	},
	trunc_local => sub {
		my ($self) = @_;
		my $unit = pick(@{ $self->{units} });
		my $zone = $self->_zone;

		return (timestamp => sub { "date_trunc('$unit', $_[0] AT TIME ZONE '$zone')" }, zone => 1);
	},
	trunc_there_and_back => sub {
		my ($self) = @_;
		my $unit = pick(@{ $self->{units} });
		my $zone = $self->_zone;

		return (timestamptz => sub { "(date_trunc('$unit', $_[0] AT TIME ZONE '$zone') AT TIME ZONE '$zone')" }, zone => 1);
	},
	trunc_date => sub {
		my ($self) = @_;
		my $unit = pick(grep { !/second|minute|hour/ } @{ $self->{units} }, 'day');

		return (date => sub { "CAST(DATE_TRUNC('$unit', $_[0]) AS date)" }, zone => 1);
	},
	bin => sub {
		my ($self) = @_;
		my $step = $self->_argument('interval', q{'} . pick(@{ $self->{steps} }) . q{'});
		my $origin = $self->_argument('timestamptz', pick(q{'2000-01-01 00:00+00'}, q{'2024-06-15 12:34:56.789+00'}, q{'2030-01-01 00:00+00'}));

		return (timestamptz => sub { "date_bin($step, $_[0], $origin)" });
	},
	bin_local => sub {
		my ($self) = @_;
		my $step = pick(@{ $self->{steps} });
		my $zone = $self->_zone;

		return (timestamp => sub { "date_bin('$step', $_[0] AT TIME ZONE '$zone', '2001-01-01')" }, zone => 1);
	},
	epoch => sub { return (numeric => sub { "extract(epoch from $_[0])" }) },
	date_part => sub { return (float8 => sub { "date_part('epoch', $_[0])" }) },
	plus_time => sub { return _plus($_[0], [ '1 second', '90 min', '-1 ms', '1 us', '-24 hours' ]) },
	plus_days => sub { return _plus($_[0], [ '1 day', '-1 day', '1 day 1 hour', '-2 days 90 min' ], zone => 1) },
	plus_months => sub { return _plus($_[0], [ '1 month', '-1 month', '-1 year', '3 months 1 day' ], zone => 1, days => 4) },
	rounded => sub {
		my ($self) = @_;
		my $digits = int rand 3;

		return (timestamptz => sub { "$_[0]::timestamptz($digits)" });
	},
	minus_time => sub {
		my ($self) = @_;
		my $time = $self->_argument('timestamptz', q{'} . utc($self->_point) . q{+00'});

		return (interval => sub { "($_[0] - $time)" });
	},

	# gets smaller as time goes on: a margin has the other sign
	time_minus => sub {
		my ($self) = @_;
		my $time = $self->_argument('timestamptz', q{'} . utc($self->_point) . q{+00'});
		my %other = ('+' => '-', '-' => '+');

		return (interval => sub { "($time - " . ($_[0] =~ s/^(\(\w+ )([-+]) interval/$1$other{$2} interval/r) . ')' });
	});

# An expression for a value of a function's type, at or next to a bound
sub _expression
{
	my ($self, $type, $function) = @_;
	my $us = $self->_point;
	my $text = utc($us);
	my $image = $function->("'$text+00'::timestamptz");

	$image = "($image)";
	# values are computed by themselves, without other values
	$image =~ s/\x01(\d+)\x01/$self->{values}[$1]{expr}/g;
	return $type =~ /^(?:numeric|float8)$/ ? pick($image, "($image - 0.0000001::$type)", "($image + 0.0000001::$type)") : $image
	  if $self->{exact};
	return pick($image, $image, $image, "($image + interval '1 us')", "($image - interval '1 ms')", "'$text+00'::timestamptz")
	  if $type eq 'timestamptz';
	return pick($image, $image, $image, "($image + interval '1 us')", "($image - interval '1 us')", "($image + interval '1 hour')",
		"($image - interval '30 min')", "'$text'::timestamp")
	  if $type eq 'timestamp';
	return pick($image, $image, "($image + 1)", "($image - 1)", "'" . substr($text, 0, 10) . "'::date") if $type eq 'date';
	return pick($image, $image, "($image + interval '1 us')") if $type eq 'interval';
	return pick($image, $image, "($image + 0.001::$type)", sprintf("%d::$type", floor($us / 1e6)));
}

# ----------------------------------------------------------------
# Comparisons of one function with values: form, text, reach
# ----------------------------------------------------------------

# Less strict by a margin, for which a column stands earlier or later
sub _compare_text
{
	my ($function, $column, $op, $value, $margin, $sign) = @_;
	my $later = $function->("($column + interval '$sign$margin')");
	my $earlier = $function->("($column - interval '$sign$margin')");

	return "$later $op $value" if $op =~ />/;
	return "$earlier $op $value" if $op =~ /</;
	return "($later >= $value AND $earlier <= $value)";
}

# All sets of one comparison's operator and values, as "any of them": what a
# list of values, BETWEEN and ranges come down to
sub _reach_any
{
	my ($self, $function, $column, $op, $negated, @values) = @_;

	return join ' OR ', map { _compare_text($function, $column, $op, $_, $self->{margin}, $negated ? '-' : '') } @values;
}

my %reverse = ('=' => '=', '<' => '>', '<=' => '>=', '>' => '<', '>=' => '<=');

# Each returns text and reach; no reach means that nothing is claimed, and
# negatable that the claim holds under NOT as well.
my %comparisons = (
	compare => sub {
		my ($self, $c) = @_;
		my $op = pick(qw(< <= > >= < <= > >= =));
		my $value = $c->{value}->();
		my $text = $c->{function}->($c->{column});

		return (pick("$text $op $value", "$value $reverse{$op} $text"),
			$self->_reach_any($c->{function}, $c->{column}, $op, $c->{negated}, $value),
			$op ne '=');
	},
	between => sub {
		my ($self, $c) = @_;
		my ($a, $b) = ($c->{value}->(), $c->{value}->());
		my $f = $c->{function}->($c->{column});

		return ("$f BETWEEN $a AND $b",
			'(' . $self->_reach_any($c->{function}, $c->{column}, '>=', $c->{negated}, $a) . ') AND ('
			  . $self->_reach_any($c->{function}, $c->{column}, '<=', $c->{negated}, $b) . ')', 1);
	},
	between_symmetric => sub {
		my ($self, $c) = @_;
		my ($a, $b) = ($c->{value}->(), $c->{value}->());
		my $f = $c->{function}->($c->{column});
		my $reach = sub { '(' . $self->_reach_any($c->{function}, $c->{column}, '>=', $c->{negated}, $_[0]) . ') AND ('
			  . $self->_reach_any($c->{function}, $c->{column}, '<=', $c->{negated}, $_[1]) . ')' };

		return ("$f BETWEEN SYMMETRIC $a AND $b",
			'(' . $reach->($a, $b) . ') OR (' . $reach->($b, $a) . ')', 1);
	},
	window => sub {
		my ($self, $c) = @_;
		my ($a, $b) = ($c->{value}->(), $c->{value}->());
		my $f = $c->{function}->($c->{column});

		return ("$f >= $a AND $f < $b",
			'(' . $self->_reach_any($c->{function}, $c->{column}, '>=', $c->{negated}, $a) . ') AND ('
			  . $self->_reach_any($c->{function}, $c->{column}, '<', $c->{negated}, $b) . ')', 1);
	},
	in => sub {
		my ($self, $c) = @_;
		my @values = map { $c->{value}->() } 1 .. pick(1, 2, 3);
		my $f = $c->{function}->($c->{column});

		return ("$f IN (" . join(', ', @values) . ')', $self->_reach_any($c->{function}, $c->{column}, '=', $c->{negated}, @values));
	},
	any_array => sub {
		my ($self, $c) = @_;
		my $op = pick(qw(= = = >= <));
		my $array = $self->_value("$c->{type}\[]", sub { 'ARRAY[' . join(', ', map { $self->_expression($c->{type}, $c->{function}) } 1 .. 3) . ", NULL]::$c->{type}\[]" });
		my $f = $c->{function}->($c->{column});

		return ("$f $op ANY ($array)", join ' OR ', map { '(' . $self->_reach_any($c->{function}, $c->{column}, $op, $c->{negated}, "($array)[$_]") . ')' } 1 .. 3);
	},
	all_array => sub {
		my ($self, $c) = @_;
		my $op = pick(qw(>= > < <=));
		my @values = map { $c->{value}->() } 1 .. 2;
		my $f = $c->{function}->($c->{column});

		return ("$f $op ALL (ARRAY[" . join(', ', @values) . '])',
			join(' AND ', map { '(' . $self->_reach_any($c->{function}, $c->{column}, $op, $c->{negated}, $_) . ')' } @values));
	},
	range => sub {
		my ($self, $c) = @_;
		my $name = { timestamptz => 'tstzrange', timestamp => 'tsrange', date => 'daterange', numeric => 'numrange' }->{ $c->{type} };
		my ($a, $b) = ($c->{value}->(), $c->{value}->());
		my $f = $c->{function}->($c->{column});
		my $bounds = pick('', ", '()'", ", '[]'", ", '(]'");
		my $half = rand();

		return () unless defined $name;
		($a, $b) = $half < 0.1 ? ('NULL', $b) : $half < 0.2 ? ($a, 'NULL') : ("least($a, $b)", "greatest($a, $b)");
		my $range = "$name($a, $b$bounds)";

		$range = $name =~ s/range/multirange/r . "($range)" if rand() < 0.3;
		return (pick("$f <@ $range", "$range @> $f"),
			join ' AND ', ($a eq 'NULL' ? () : '(' . $self->_reach_any($c->{function}, $c->{column}, '>=', $c->{negated}, $a) . ')'),
			($b eq 'NULL' ? () : '(' . $self->_reach_any($c->{function}, $c->{column}, '<=', $c->{negated}, $b) . ')'));
	},
	multirange => sub {
		my ($self, $c) = @_;
		my ($a, $b, $d, $e) = map { $c->{value}->() } 1 .. 4;
		my $name = { timestamptz => 'tstz', timestamp => 'ts', date => 'date' }->{ $c->{type} };
		my $f = $c->{function}->($c->{column});

		return () unless defined $name;
		my $reach = sub { '((' . $self->_reach_any($c->{function}, $c->{column}, '>=', $c->{negated}, "least($_[0], $_[1])")
			  . ') AND (' . $self->_reach_any($c->{function}, $c->{column}, '<=', $c->{negated}, "greatest($_[0], $_[1])") . '))' };
		return ("$f <@ ${name}multirange(${name}range(least($a, $b), greatest($a, $b)), ${name}range(least($d, $e), greatest($d, $e)))",
			$reach->($a, $b) . ' OR ' . $reach->($d, $e));
	},
	truth_test => sub {
		my ($self, $c) = @_;
		my $op = pick(qw(< <= > >=));
		my $value = $c->{value}->();
		my $f = $c->{function}->($c->{column});
		my $reach = sub { $self->_reach_any($c->{function}, $c->{column}, $_[0], $c->{negated}, $value) };
		my %not = ('<' => '>=', '<=' => '>', '>' => '<=', '>=' => '<');

		return ("($f $op $value) IS TRUE", $reach->($op)) if rand() < 0.5;
		return ("($f $op $value) IS FALSE", $reach->($not{$op}));
	},
	not_true => sub {
		my ($self, $c) = @_;

		return ('(' . $c->{function}->($c->{column}) . ' ' . pick(qw(< >=)) . ' ' . $c->{value}->() . ') ' . pick('IS NOT TRUE', 'IS NOT FALSE', 'IS UNKNOWN'));
	},
	distinct => sub {
		my ($self, $c) = @_;

		return ($c->{function}->($c->{column}) . ' IS ' . pick('', 'NOT ') . 'DISTINCT FROM ' . $c->{value}->());
	},
	not_equal => sub {
		my ($self, $c) = @_;

		return ($c->{function}->($c->{column}) . ' <> ' . $c->{value}->());
	},
	row => sub {
		my ($self, $c) = @_;
		my $op = pick(qw(< <= > >=));
		my $value = $c->{value}->();
		my $f = $c->{function}->($c->{column});
		my ($other, $type) = @{ pick([ 'p', 'int' ], [ 'o', 'bigint' ]) };
		my $with = $self->_value($type, sub { int(rand 4) . "::$type" });

		return ("($f, $other) $op ($value, $with)",
			$self->_reach_any($c->{function}, $c->{column}, ($op =~ /</ ? '<=' : '>='), $c->{negated}, $value));
	});

# Times as timestamp and date, under the session's zone
my %casts = (compare_timestamp => 'timestamp', compare_date => 'date');

# ----------------------------------------------------------------
# Leaves
# ----------------------------------------------------------------

# Counts what the bounds of this leaf may be too wide by
sub _note_slack
{
	my ($self, $column, %function) = @_;

	$self->{zoned} = 1 if $function{zone};
	$self->{days} = $function{days} if ($function{days} // 0) > $self->{days};
	$self->{payload} = 1 if $column eq 'pt';
	return;
}

sub _claimed
{
	my ($self, @forms) = @_;

	return !grep { !$self->{known}{$_} } @forms;
}

# One function of a time compared in one way
sub _time_leaf
{
	my ($self, $negated, $column, $function_name, $comparison) = @_;
	my ($type, $function, %about) = $functions{$function_name}->($self);
	my @forms = ($function_name, $comparison, $column eq 'pt' ? 'max_skew' : ());
	my %c = (column => $column, type => $type, function => $function, negated => $negated);
	my ($text, $reach, $negatable);

	if ($casts{$comparison})
	{
		return () if $function_name ne 'plain';
		my $cast = $casts{$comparison};

		$about{zone} = 1;
		$c{value} = sub { $self->_value($cast, sub { $self->_expression($cast, sub { "($_[0])::$cast" }) }) };
		($text, $reach, $negatable) = $comparisons{ pick('compare', 'between') }->($self, \%c);
	}
	else
	{
		$c{value} = sub { $self->_value($type, sub { $self->_expression($type, $function) }) };
		($text, $reach, $negatable) = $comparisons{$comparison}->($self, \%c);
	}
	return () unless defined $text;
	$reach = undef if $negated && !$negatable || !$self->_claimed(@forms);
	$self->_note_slack($column, %about) if defined $reach;
	return ($text, $reach);
}

# Texts that tools write, with their literals in them
sub _tool_leaf
{
	my ($self, $negated) = @_;
	my ($a, $b) = sort { $a <=> $b } $self->_point, $self->_point;
	my ($iso_a, $iso_b) = map { utc($_) =~ s/ /T/r =~ s/\d{3}\z/Z/r } $a, $b;
	my ($text_a, $text_b) = (utc($a), utc($b));
	my $reach_window = sub {
		my ($start, $end, $cast) = @_;
		my $sign = $negated ? '-' : '';

		return "((ts + interval '$sign$self->{margin}') >= '$start'$cast AND (ts - interval '$sign$self->{margin}') <= '$end'$cast)";
	};
	my %tools = (
		grafana => [ "ts BETWEEN '$iso_a' AND '$iso_b'", $reach_window->($iso_a, $iso_b, '::timestamptz'), 0 ],
		grafana_epoch => [
			sprintf('extract(epoch from ts) >= %d AND extract(epoch from ts) <= %d', $a / 1e6, $b / 1e6),
			$reach_window->(utc(floor($a / 1e6) * 1e6), utc(floor($b / 1e6) * 1e6), "::timestamp AT TIME ZONE 'UTC'"), 0 ],
		superset => [
			"ts >= TO_TIMESTAMP('$text_a', 'YYYY-MM-DD HH24:MI:SS.US') AND ts < TO_TIMESTAMP('$text_b', 'YYYY-MM-DD HH24:MI:SS.US')",
			$reach_window->($text_a, $text_b, '::timestamp::timestamptz'), 1 ],
		tableau => [
			"(ts >= (TIMESTAMP '$text_a')) AND (ts < (TIMESTAMP '$text_b'))",
			$reach_window->($text_a, $text_b, '::timestamp::timestamptz'), 1 ],
		metabase => [
			sprintf(q{ts >= DATE_TRUNC('day', CAST(('%s'::timestamptz + INTERVAL '-1 day') AS timestamp))
				AND ts < DATE_TRUNC('day', CAST(('%s'::timestamptz + INTERVAL '1 day') AS timestamp))}, $iso_a, $iso_b),
			sprintf(q{((ts + interval '%s') >= date_trunc('day', ('%s'::timestamptz - INTERVAL '1 day')::timestamp)
				AND (ts - interval '%s') < date_trunc('day', ('%s'::timestamptz + INTERVAL '1 day')::timestamp))}, ($negated ? '-' : '') . $self->{margin}, $iso_a, ($negated ? '-' : '') . $self->{margin}, $iso_b), 1 ]);
	my $tool = pick(sort keys %tools);
	my ($text, $reach, $zoned) = @{ $tools{$tool} };

	$reach = undef if !$self->_claimed($tool);
	$self->{zoned} = 1 if defined $reach && $zoned;
	return ($text, $reach);
}

sub _integer_leaf
{
	my ($self, $negated) = @_;
	my ($column, $type, $code) = @{ pick([ 'p', 'int', sub { int rand $self->{partitions} } ], [ 'o', 'bigint', sub { int rand $self->{offsets} } ]) };
	my $value = sub { $self->_value($type, sub { $code->() . "::$type" }) };
	my $op = pick(qw(= < <= > >=));
	my @choices = (
		[ 'integer', "$column $op " . $value->(), $op ne '=' || $column eq 'p' ],
		[ 'integer', $value->() . " $reverse{$op} $column", $op ne '=' || $column eq 'p' ],
		[ 'integer_in', "$column IN (" . join(', ', map { $value->() } 1 .. 3) . ')', $column eq 'p' ],
		[ 'integer_in', "p NOT IN (" . join(', ', map { $self->_value('int', sub { int(rand $self->{partitions}) . '::int' }) } 1 .. 2) . ')', 1 ],
		[ 'integer_any', "$column = ANY (" . $self->_value("$type\[]", sub { "'{" . join(',', map { $code->() } 1 .. 3) . ",NULL}'::$type\[]" }) . ')', 0 ],
		[ 'integer_range', "$column <@ " . ($type eq 'int' ? 'int4range(' : 'int8range(') . pick($value->() . ', NULL', 'NULL, ' . $value->(), (map { "least($_), greatest($_)" } $value->() . ', ' . $value->())) . pick(')', ", '[]')", ", '()')"), 0 ],
		[ 'integer_between', "$column BETWEEN SYMMETRIC " . $value->() . ' AND ' . $value->(), 1 ],
		[ 'integer_row', '(p, o) ' . pick(qw(< <= > >=)) . ' (' . $self->_value('int', sub { int(rand $self->{partitions}) . '::int' }) . ', ' . $self->_value('bigint', sub { int(rand $self->{offsets}) . '::bigint' }) . ')', 1 ]);
	my ($form, $text, $negatable) = @{ pick(@choices) };
	my $claimed = $self->_claimed($form) && ($negatable || !$negated);

	return ($text, $claimed ? $text : undef);
}

sub _key_leaf
{
	my ($self, $negated) = @_;
	my $value = sub { $self->_value('text', sub { q{'} . pick(@{ $self->{keys} }) . q{'::text} }) };
	my $text = pick(
		'k = ' . $value->(), $value->() . ' = k',
		'k IN (' . join(', ', map { $value->() } 1 .. 2) . ')',
		'k = ANY (' . $self->_value('text[]', sub { "'{" . join(',', map { pick(@{ $self->{keys} }) || '""' } 1 .. 2) . ",NULL}'::text[]" }) . ')');

	# all of the same place are looked at: the reach is what the placement says
	return ($text, $self->_claimed('key') && !$negated ? 'p IN (SELECT place FROM @tab@_places AS places WHERE ' . ($text =~ s/\bk\b/places.k/r) . ')' : undef);
}

sub _payload_leaf
{
	return pick('n % 3 = 0', "s = 'a'", "s <> 'b' OR n IS NULL", 'n > 40', 'pt IS NULL', 'k IS NULL', 'ts IS NOT NULL',
		"k <> 'k1'", 'o % 2 = 0', 'ts <> pt', 'ts < pt', "length(s) = 1", "date_trunc('hour', ts) = date_trunc('hour', pt)", 'ts IS NULL',
		"extract(hour from ts) = 5", "to_char(ts, 'YYYY') = '2024'", "CASE WHEN n > 20 THEN ts > pt ELSE p = 0 END");
}

sub _leaf
{
	my ($self, $negated) = @_;
	my $kind = pick((qw(time)) x 6, qw(integer integer key tool payload));

	return $self->_tool_leaf($negated) if $kind eq 'tool';
	return $self->_integer_leaf($negated) if $kind eq 'integer';
	return $self->_key_leaf($negated) if $kind eq 'key';
	return $self->_payload_leaf if $kind eq 'payload';
	while (1)
	{
		my $nvalues = @{ $self->{values} };
		my ($text, $reach) = $self->_time_leaf($negated, pick(qw(ts ts ts pt)), pick('plain', sort keys %functions),
			pick('compare', 'window', 'window', sort(keys %comparisons), sort keys %casts));

		return ($text, $reach) if defined $text;
		$#{ $self->{values} } = $nvalues - 1;
	}
}

=pod

=item random(DEPTH)

A reference to a hash: text and reach with marks, values (each a hash of type,
expr, other), zoned (does a zone's change make bounds wider), days (by which
they may be too wide besides), payload (whether the payload's time is bounded).

=item at_edge(FUNCTION, COMPARISON)

The same for one function of the record time, compared with what it makes of one of
the points.

=item fill(TEXT, PREDICATE, SUB)

The text with what SUB returns for each value (and its number) in its mark's place.

=back

=cut

sub random
{
	my ($self, $depth) = @_;

	@{$self}{qw(values zoned days payload exact)} = ([], 0, 0, 0, 0);
	return $self->_finish(random_clause($depth, sub {
			my ($negated) = @_;
			my ($text, $reach) = $self->_leaf($negated);

			return ($text, $reach // ($negated ? 'FALSE' : 'TRUE'));
	}));
}

sub at_edge
{
	my ($self, $function, $comparison) = @_;

	@{$self}{qw(values zoned days payload exact)} = ([], 0, 0, 0, 1);
	return $self->_finish($self->_time_leaf(0, 'ts', $function, $comparison));
}

sub _finish
{
	my ($self, $text, $reach) = @_;

	# values of choices that were not taken go
	my @used = sort { $a <=> $b } keys %{ { map { $_ => 1 } $text =~ /\x01(\d+)\x01/g } };
	my %number = map { $used[$_] => $_ } 0 .. $#used;

	s/\x01(\d+)\x01/\x01$number{$1}\x01/g for $text, $reach;
	return { text => $text, reach => $reach, values => [ @{ $self->{values} }[@used] ], zoned => $self->{zoned},
		days => $self->{days}, payload => $self->{payload} };
}

sub fill
{
	my ($text, $predicate, $code) = @_;

	return $text =~ s/\x01(\d+)\x01/$code->($predicate->{values}[$1], $1)/ger;
}

# The texts of tools, and what is compared with numbers and keys
my @tools = qw(grafana grafana_epoch superset tableau metabase);
my @others = qw(integer integer_in integer_any integer_range integer_between integer_row key);

sub functions { return sort keys %functions }

sub forms { return (sort(keys %functions), sort(keys %comparisons), sort(keys %casts), 'max_skew', @tools, @others) }

1;
