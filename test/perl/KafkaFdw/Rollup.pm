
=pod

=head1 NAME

KafkaFdw::Rollup - running rollups, and comparing them with the truth

=head1 SYNOPSIS

  use KafkaFdw::Rollup qw(run_rollup rollup_value difference distance);

  run_rollup($node, 'r', max_rows => 7);
  is(rollup_value($node, 'r', 'state'), 'RUNNING');
  is(difference($node, 'TABLE r', 'SELECT ...'), '', 'the table is right');
  is(distance($node, 'r', 't'), '', 'and at the topic''s end');

=head1 DESCRIPTION

Each function takes a node first; all work in database postgres.

=cut

package KafkaFdw::Rollup;

use strict;
use warnings;
use Exporter qw(import);

our @EXPORT_OK =
  qw(create_rollup run_rollup run_error rollup_value run_sums positions distance difference);

sub _quote
{
	my ($value) = @_;

	return 'NULL' unless defined $value;
	$value =~ s/'/''/g;
	return "'$value'";
}

=pod

=over

=item create_rollup(NODE, NAME, QUERY, ARGUMENT => SQL, ...)

=item run_rollup(NODE, NAME, ARGUMENT => SQL, ...)

CALL kafka.run_rollups; dies when it fails.

=item run_error(NODE, NAME, ...)

The same for a run that must fail: everything on standard error, with the
SQLSTATE of each message. A run that succeeds is "no error".

=cut

sub create_rollup
{
	my ($node, $name, $query, %arg) = @_;

	$node->safe_psql('postgres', "SELECT kafka.create_rollup('$name', " . _quote($query)
		. join('', map { ", $_ => $arg{$_}" } sort keys %arg) . ')');
	return;
}

sub _call
{
	my ($name, %arg) = @_;

	return 'CALL kafka.run_rollups(' . join(', ', defined $name ? _quote($name) : (),
		map { "$_ => $arg{$_}" } sort keys %arg) . ')';
}

sub run_rollup
{
	my ($node, $name, %arg) = @_;

	$node->safe_psql('postgres', _call($name, %arg));
	return;
}

sub run_error
{
	my ($node, $name, %arg) = @_;
	my ($status, $out, $err) = $node->psql('postgres', "\\set VERBOSITY verbose\n" . _call($name, %arg));

	return $status == 0 ? 'no error' : $err;
}

=pod

=item rollup_value(NODE, NAME, EXPRESSION)

An expression over the rollup's row of kafka.rollups.

=item run_sums(NODE, NAME, EVENT, COLUMN, ...)

The sums of columns of kafka.rollup_runs, "12|0".

=item positions(NODE, NAME)

"0:17 1:4", the next offset of each partition.

=cut

sub rollup_value
{
	my ($node, $name, $expression) = @_;

	return $node->safe_psql('postgres', "SELECT $expression FROM kafka.rollups WHERE name = '$name'");
}

sub run_sums
{
	my ($node, $name, $event, @columns) = @_;

	return $node->safe_psql('postgres', 'SELECT ' . join(', ', map { "coalesce(sum($_), 0)" } @columns)
		. " FROM kafka.rollup_runs WHERE name = '$name' AND event = '$event'");
}

sub positions
{
	my ($node, $name) = @_;

	return $node->safe_psql('postgres', <<"EOF");
SELECT string_agg(kafka_partition || ':' || next_offset, ' ' ORDER BY topic, kafka_partition)
  FROM kafka.rollup_offsets WHERE name = '$name'
EOF
}

=pod

=item distance(NODE, NAME, TABLE)

Where positions are not what kafka.watermarks says is the end; '' when all are
there. For tables of one topic.

=item difference(NODE, QUERY, QUERY)

Rows of the one query that the other does not have, at most 20 of them; '' when
both have the same.

=back

=cut

sub distance
{
	my ($node, $name, $table) = @_;

	return $node->safe_psql('postgres', <<"EOF");
SELECT kafka_partition, next_offset, w.end_offset
  FROM (SELECT kafka_partition, next_offset FROM kafka.rollup_offsets WHERE name = '$name') AS p
  FULL JOIN kafka.watermarks('$table') AS w USING (kafka_partition)
 WHERE next_offset IS DISTINCT FROM w.end_offset
 ORDER BY 1
EOF
}

sub difference
{
	my ($node, $one, $other) = @_;

	return $node->safe_psql('postgres', <<"EOF");
WITH one AS ($one), other AS ($other)
(SELECT 'only the first:' AS side, x.* FROM (TABLE one EXCEPT ALL TABLE other) AS x
 UNION ALL
 SELECT 'only the second:', x.* FROM (TABLE other EXCEPT ALL TABLE one) AS x)
LIMIT 20
EOF
}

1;
