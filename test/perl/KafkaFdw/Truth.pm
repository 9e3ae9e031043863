
=pod

=head1 NAME

KafkaFdw::Truth - what topics hold by an independent reader, and what a scan
read, for tests with random conditions

=head1 SYNOPSIS

  use KafkaFdw::Truth qw(pick load_truth messages_read);

  load_truth($node, $broker, 'topic');         # into the table truth
  my $read = messages_read($node, 'SELECT * FROM t', 'kafka_fdw.enable_pushdown' => 'off');

=cut

package KafkaFdw::Truth;

use strict;
use warnings;
use Exporter qw(import);

our @EXPORT_OK = qw(pick load_truth messages_read random_clause);

=pod

=over

=item pick(ITEM, ...)

One of them, by Perl's random numbers.

=cut

sub pick { return $_[ int rand @_ ] }

# A string of bytes, of which those are ASCII that tests use, or undef
sub _literal
{
	my ($bytes) = @_;

	return 'NULL' unless defined $bytes;
	(my $quoted = $bytes) =~ s/'/''/g;
	return "'$quoted'";
}

=pod

=item load_truth(NODE, BROKER, TOPIC, ...)

Adds the records of topics, as Apache Kafka's own client reads them, to the
ordinary table truth (topic text, p int, o bigint, ts timestamptz, k text,
v text), which is made if need be. Returns their times in milliseconds.

=cut

sub load_truth
{
	my ($node, $broker, @topics) = @_;
	my (@rows, @times);

	for my $record ($broker->records(@topics))
	{
		my ($topic, $p, $o, $ms, undef, $key, $value) = @$record;
		my $ts = $ms == -1 ? 'NULL' : "timestamptz 'epoch' + interval '$ms ms'";

		push @rows, "('$topic', $p, $o, $ts, " . _literal($key) . ', ' . _literal($value) . ')';
		push @times, $ms;
	}
	$node->safe_psql('postgres',
		'SET client_min_messages = error;
		CREATE TABLE IF NOT EXISTS truth (topic text, p int, o bigint, ts timestamptz, k text, v text);'
		  . (@rows ? 'INSERT INTO truth VALUES ' . join(',', @rows) : ''));
	return @times;
}

=pod

=item messages_read(NODE, QUERY, SETTING => VALUE, ...)

How many messages the query's one scan of a topic read.

=cut

sub messages_read
{
	my ($node, $query, %settings) = @_;
	my $set = join '', map { "SET $_ = '$settings{$_}';" } sort keys %settings;
	my $json = $node->safe_psql('postgres', "$set EXPLAIN (ANALYZE, FORMAT json) $query");

	return $json =~ /"Messages Read": (\d+)/ ? $1 : die "no count in $json";
}

=pod

=item random_clause(DEPTH, LEAF)

Joins conditions by AND, OR and NOT to a tree of at most that depth. LEAF is
called with whether it stands under an odd number of NOTs, and returns a list
of texts. So does random_clause: each text is that of the same tree.

=back

=cut

sub random_clause
{
	my ($depth, $leaf, $negated) = @_;
	my $kind = $depth > 0 ? pick(qw(leaf and and or not)) : 'leaf';

	return $leaf->($negated // 0) if $kind eq 'leaf';
	if ($kind eq 'not')
	{
		return map { "NOT ($_)" } random_clause($depth - 1, $leaf, !$negated);
	}
	my @left = random_clause($depth - 1, $leaf, $negated);
	my @right = random_clause($depth - 1, $leaf, $negated);

	return map { "($left[$_]) " . uc($kind) . " ($right[$_])" } 0 .. $#left;
}

1;
