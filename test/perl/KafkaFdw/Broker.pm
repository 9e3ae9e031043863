
=pod

=head1 NAME

KafkaFdw::Broker - private Kafka brokers for TAP tests

=head1 SYNOPSIS

  use KafkaFdw::Broker;

  my $broker = KafkaFdw::Broker->new(nodes => 3,
      set => { 'log.cleaner.backoff.ms' => 1000 });
  $broker->feed("create-topic t\nproduce t time=1000 value=x\n");
  my @rows = $broker->records('t');
  $broker->pause(2);
  $broker->resume(2);

=head1 DESCRIPTION

Every broker ends with the test, however the test ends. A command that fails
makes the test die. The feeder's language is described in
test/broker/feed.c, the reader's output in test/broker/Dump.java.

=cut

package KafkaFdw::Broker;

use strict;
use warnings;
use Cwd qw(abs_path);
use File::Basename qw(dirname);
use File::Temp qw(tempdir);
use IPC::Run;

my $tools = abs_path(dirname(__FILE__) . '/../../broker');
my @running;

# Runs a program; returns what it printed. Dies with all it said if it fails.
sub _run
{
	my ($stdin, @command) = @_;
	my ($out, $err) = ('', '');

	IPC::Run::run(\@command, '<', \$stdin, '>', \$out, '2>', \$err)
	  or die "@command failed: $out$err";
	return $out;
}

=pod

=over

=item new(nodes => N, set => { PROPERTY => VALUE }, args => [...])

Starts a broker of N nodes (1 by default); args are passed to C<broker start>
as they are.

=cut

sub new
{
	my ($class, %arg) = @_;
	my $base = $ENV{TESTDIR} ? "$ENV{TESTDIR}/tmp_check" : undef;
	my $self = bless {}, $class;

	mkdir $base if defined $base && !-d $base;
	$self->{dir} = tempdir('broker_XXXX', CLEANUP => 1,
		$base ? (DIR => $base) : (TMPDIR => 1));
	push @running, $self;
	_run('', "$tools/broker", 'start', $self->{dir}, '--parent', $$,
		'--nodes', $arg{nodes} // 1,
		(map { ('--set', "$_=$arg{set}{$_}") } sort keys %{ $arg{set} // {} }),
		@{ $arg{args} // [] });
	return $self;
}

# What DIR/env says, e.g. NODE1_PID.
sub _env
{
	my ($self, $name) = @_;

	open my $fh, '<', "$self->{dir}/env" or die "could not open $self->{dir}/env: $!";
	for (<$fh>)
	{
		return $1 if /^\Q$name\E=(.*)$/;
	}
	die "no $name in $self->{dir}/env";
}

=pod

=item brokers()

The value for the option C<brokers>; with a number, the address of that node.

=item pid(NODE), port(NODE)

=item dir()

The folder: the log of node 1 is in node1/log, its data in node1/data.

=cut

sub brokers
{
	my ($self, $node) = @_;

	return '127.0.0.1:' . $self->port($node) if defined $node;
	return $self->_env('BOOTSTRAP');
}

sub pid { return $_[0]->_env("NODE$_[1]_PID") }

sub port { return $_[0]->_env("NODE$_[1]_PORT") }

sub dir { return $_[0]->{dir} }

=pod

=item stop([NODE]), kill([NODE]), pause([NODE]), resume([NODE]), restart([NODE])

SIGTERM, SIGKILL, SIGSTOP, SIGCONT, and start again on the same port and data;
all nodes without a number. stop, kill and restart return when it is done.

=cut

sub _command
{
	my ($self, $command, @nodes) = @_;

	return _run('', "$tools/broker", $command, $self->{dir}, @nodes);
}

sub stop { my $self = shift; return $self->_command('stop', @_) }
sub kill { my $self = shift; return $self->_command('kill', @_) }
sub pause { my $self = shift; return $self->_command('pause', @_) }
sub resume { my $self = shift; return $self->_command('resume', @_) }
sub restart { my $self = shift; return $self->_command('restart', @_) }

=pod

=item status()

A reference to an array with the state of each node: running, paused or down.

=cut

sub status
{
	my ($self) = @_;

	return [ map { (split)[1] } split /\n/, $self->_command('status') ];
}

=pod

=item feed(SCRIPT)

Executes a script of the feeder; returns what it printed.

=item feed_fails(SCRIPT)

Executes a script that must fail; returns the error text.

=item feeder()

Starts a feeder that stays, to keep a transaction open while the test goes on:

  my $feeder = $broker->feeder;
  $feeder->("begin A\nproduce t value=1");   # returns when executed
  ...
  $feeder->('commit');
  $feeder->();                               # ends it

=cut

sub _feed_program
{
	my ($in_path) = grep { -x "$_/feed" } split /:/, $ENV{PATH};

	return defined $in_path ? "$in_path/feed" : "$tools/build/feed";
}

sub feed
{
	my ($self, $script) = @_;

	return _run($script, _feed_program(), '-b', $self->brokers);
}

sub feed_fails
{
	my ($self, $script) = @_;
	my ($out, $err);

	IPC::Run::run([ _feed_program(), '-b', $self->brokers ],
		'<', \$script, '>', \$out, '2>', \$err)
	  and die "feeding succeeded: $script";
	return $err;
}

sub feeder
{
	my ($self) = @_;
	my ($in, $out, $err) = ('', '', '');
	my $handle = IPC::Run::start([ _feed_program(), '-b', $self->brokers ],
		'<', \$in, '>', \$out, '2>', \$err);
	my $number = 0;

	return sub {
		my ($script) = @_;

		if (!defined $script)
		{
			$handle->finish or die "feed failed: $err";
			return $out;
		}
		$number++;
		$out = '';
		$in .= "$script\necho done $number\n";
		while ($out !~ /^done $number$/m)
		{
			$handle->pumpable or die "feed failed: $err";
			$handle->pump;
		}
		return $out =~ s/^done $number\n//mr;
	};
}

=pod

=item records(TOPIC, ...), records_uncommitted(TOPIC, ...)

What Apache Kafka's own client reads, one array reference a record: topic,
partition, offset, timestamp in ms, timestamp type, key, value, headers. Key and value
are strings of bytes or undef; headers is the text of a JSON array of [name, hex
or null].

=item offsets_at(TIME_MS, TOPIC)

The broker's answer to a lookup, one array reference a partition: partition,
offset or undef, timestamp or undef.

=item ends(TOPIC), ends_uncommitted(TOPIC)

One array reference a partition: partition, first offset, end offset.

=cut

# Asks the reader, which stays until the test's end since its start takes a second.
sub _dump
{
	my ($self, @call) = @_;
	my $reader = $self->{reader};

	if (!$reader)
	{
		my ($in, $out, $err) = ('', '', '');

		$reader = $self->{reader} = { in => \$in, out => \$out, err => \$err };
		$reader->{handle} = IPC::Run::start([ "$tools/dump", $self->brokers, 'serve' ],
			'<', \$in, '>', \$out, '2>', \$err);
	}
	${ $reader->{out} } = '';
	${ $reader->{in} } .= "@call\n";
	while (${ $reader->{out} } !~ s/^\\\.\n\z//m)
	{
		$reader->{handle}->pumpable or die "dump failed: ${ $reader->{err} }";
		$reader->{handle}->pump;
	}
	die "dump @call: ${ $reader->{out} }" if ${ $reader->{out} } =~ /^ERROR: /m;
	return map { [ map { $_ eq '\\N' ? undef : $_ } split /\t/ ] } split /\n/, ${ $reader->{out} };
}

sub _bytes
{
	my ($field) = @_;

	return defined $field ? pack('H*', substr($field, 3)) : undef;
}

sub records
{
	my ($self, @args) = @_;

	return map { $_->[5] = _bytes($_->[5]); $_->[6] = _bytes($_->[6]); $_->[7] =~ s/\\\\/\\/g; $_ }
	  $self->_dump('records', @args);
}

sub records_uncommitted { my $self = shift; return $self->records('--uncommitted', @_) }

sub offsets_at
{
	my ($self, $time_ms, $topic) = @_;

	return map { [ @{$_}[ 1 .. 3 ] ] } $self->_dump('times', $time_ms, $topic);
}

sub ends
{
	my ($self, @args) = @_;

	return map { [ @{$_}[ 1 .. 3 ] ] } $self->_dump('ends', @args);
}

sub ends_uncommitted { my $self = shift; return $self->ends('--uncommitted', @_) }

=pod

=back

=cut

END
{
	# do not let the clean-up change the test's exit status
	my $status = $?;

	for my $broker (@running)
	{
		eval { $broker->{reader}{handle}->kill_kill } if $broker->{reader};
		eval { $broker->kill } if -e "$broker->{dir}/env";
	}
	$? = $status;
}

1;
