
=pod

=head1 NAME

KafkaFdw::Ledger - what a test wrote into a topic, as a table to compare with

=head1 SYNOPSIS

  use KafkaFdw::Ledger;

  my $ledger = KafkaFdw::Ledger->new($broker, 'events', partitions => 3);
  $ledger->write([ { partition => 0, time => 1000, value => '{"n": 1}', n => 1 } ]);
  $ledger->write_aborted([ ... ]);
  $ledger->check;
  $ledger->load($node, 'truth', 'n int');

=head1 DESCRIPTION

Keeps an account of its own of every record: nothing that is compared with it
ever came out of the topic. It knows the offsets, since each record takes one
and each transaction leaves one marker in every partition it wrote to.

=cut

package KafkaFdw::Ledger;

use strict;
use warnings;
use Test::More;

=pod

=over

=item new(BROKER, TOPIC, partitions => N, config => TEXT)

Makes the topic.

=cut

sub new
{
	my ($class, $broker, $topic, %arg) = @_;
	my $self = bless {
		broker => $broker,
		topic => $topic,
		next => [ (0) x ($arg{partitions} // 1) ],
		records => [],
		loaded => 0,
		transactions => 0,
	}, $class;
	my $config = $arg{config} // '';

	$broker->feed("create-topic $topic partitions=" . @{ $self->{next} } . " $config\n");
	return $self;
}

# Quotes bytes for the feeder's copy
sub _escape
{
	my ($bytes) = @_;

	return '\N' unless defined $bytes;
	$bytes =~ s/([^ -\[\]-~])/sprintf '\\x%02x', ord $1/ge;
	return $bytes;
}

# The script that writes records, which are noted as having an outcome
sub _script
{
	my ($self, $records, $outcome) = @_;
	my $copy = "copy $self->{topic}\n";

	for my $record (@{$records})
	{
		$record->{partition} //= 0;
		$record->{offset} = $self->{next}[ $record->{partition} ]++;
		$record->{outcome} = $outcome;
		$copy .= join("\t", $record->{partition}, $record->{time}, _escape($record->{key}), _escape($record->{value}))
		  . "\n";
		push @{ $self->{records} }, $record;
	}
	return "$copy\\.\n";
}

=pod

=item write(RECORDS), write_committed(RECORDS), write_aborted(RECORDS)

Writes a reference to an array of hashes: partition, time (ms), key, value
and whatever else is to be known of each; without a transaction, or in one of
their own.

=item open(RECORDS), close(OUTCOME)

The same in a transaction that stays open; OUTCOME is commit or abort.

=cut

sub write
{
	my ($self, $records) = @_;

	$self->{broker}->feed($self->_script($records, 'commit'));
	return;
}

# Each partition that a transaction wrote to gets a marker.
sub _mark
{
	my ($self, $records) = @_;
	my %touched = map { $_->{partition} => 1 } @{$records};

	$self->{next}[$_]++ for keys %touched;
	return;
}

sub _transaction
{
	my ($self, $records, $outcome) = @_;

	$self->{broker}->feed("begin ledger\n" . $self->_script($records, $outcome) . "$outcome\n");
	$self->_mark($records);
	return;
}

sub write_committed { my ($self, $records) = @_; return $self->_transaction($records, 'commit') }

sub write_aborted { my ($self, $records) = @_; return $self->_transaction($records, 'abort') }

sub open
{
	my ($self, $records) = @_;

	$self->{feeder} = $self->{broker}->feeder;
	$self->{open} = $records;
	$self->{feeder}->('begin ledger-open');
	$self->{feeder}->($self->_script($records, 'open') . 'flush');
	return;
}

sub close
{
	my ($self, $outcome) = @_;

	$self->{feeder}->($outcome);
	$self->{feeder}->();
	$_->{outcome} = $outcome for @{ $self->{open} };
	$self->_mark($self->{open});
	delete @{$self}{qw(feeder open)};
	return;
}

=pod

=item add_partitions(TOTAL)

=item visible()

The records that a reader of committed ones is shown, in the order written.

=item ends()

"0:17 1:4", the offset after the last record or marker of each partition.

=item check()

A test: Apache Kafka's own client reads what the ledger says.

=cut

sub add_partitions
{
	my ($self, $total) = @_;

	$self->{broker}->feed("add-partitions $self->{topic} $total\n");
	push @{ $self->{next} }, 0 while @{ $self->{next} } < $total;
	return;
}

sub visible
{
	my ($self) = @_;

	return grep { $_->{outcome} eq 'commit' } @{ $self->{records} };
}

sub ends
{
	my ($self) = @_;

	return join ' ', map { "$_:$self->{next}[$_]" } 0 .. $#{ $self->{next} };
}

sub check
{
	my ($self, $name) = @_;
	my $describe = sub { join "\n", sort map { "$_->[0]:$_->[1]:$_->[2]" } @_ };
	my $read = $describe->(map { [ $_->[1], $_->[2], $_->[6] // 'NULL' ] } $self->{broker}->records($self->{topic}));
	my $written =
	  $describe->(map { [ $_->{partition}, $_->{offset}, $_->{value} // 'NULL' ] } $self->visible);

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	ok($read eq $written, $name // "topic $self->{topic} is what was written");
	return;
}

=pod

=item load(NODE, TABLE, COLUMNS)

Brings a table up to date that has the columns p, o, ts and those given ("n
int, k text"), whose values are the records' fields of these names. The first
call makes it. Records of an open transaction come with a call after its end.

=back

=cut

sub load
{
	my ($self, $node, $table, $columns) = @_;
	my @names = map { (split)[0] } split /,\s*/, $columns;
	my $copy = '';

	for my $record ($self->visible)
	{
		next if $record->{loaded}{$table}++;
		$copy .= join("\t", $record->{partition}, $record->{offset}, $record->{time},
			map { $_ // '\N' } @{$record}{@names})
		  . "\n";
	}
	$node->safe_psql('postgres', <<"EOF");
CREATE TABLE IF NOT EXISTS $table (p int, o bigint, ts bigint, $columns);
COPY $table FROM STDIN;
$copy\\.
ANALYZE $table;
EOF
	return;
}

1;
