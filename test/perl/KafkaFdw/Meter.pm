
=pod

=head1 NAME

KafkaFdw::Meter - how many bytes a broker sends to those who read

=head1 SYNOPSIS

  use KafkaFdw::Meter;

  my $meter = KafkaFdw::Meter->new;          # starts a broker of its own
  create_server($node, 'logs', $meter->address);
  my $bytes = $meter->count(sub { run_rollup($node, 'r') });

=head1 DESCRIPTION

Whoever connects to the address is told of no other: each byte passes through
a process of the meter's, which counts those that the broker sends. Tests feed
and look at the topics by C<broker>, which is not counted.

=cut

package KafkaFdw::Meter;

use strict;
use warnings;
use File::Temp qw(tempfile);
use IO::Select;
use IO::Socket::INET;
use KafkaFdw::Broker;
use KafkaFdw::Session qw(wait_until);
use POSIX ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils qw(slurp_file);

my @running;

# Connects a new client; pairs its socket with one of the broker's.
sub _accept
{
	my ($self, $server, $target, $select) = @_;
	my $client = $server->accept or return;
	my $broker_end = IO::Socket::INET->new(PeerAddr => "127.0.0.1:$target") or return;

	$self->{peer}{$client} = $broker_end;
	$self->{peer}{$broker_end} = $client;
	$self->{counted}{$broker_end} = 1;
	$select->add($client, $broker_end);
	return;
}

sub _write_count
{
	my ($self) = @_;

	sysseek $self->{file}, 0, 0;
	syswrite $self->{file}, sprintf '%20d', $self->{bytes};
	return;
}

# Passes bytes on and counts them, until it is killed. The count is written
# before the bytes are passed on: whoever has received them can look.
sub _pass_on
{
	my ($self, $target) = @_;
	my $server = IO::Socket::INET->new(LocalAddr => "127.0.0.1:$self->{port}", Listen => 50, ReuseAddr => 1)
	  or die "could not listen: $!";
	my $select = IO::Select->new($server);

	open $self->{file}, '>', $self->{path} or die "could not open $self->{path}: $!";
	local $SIG{PIPE} = 'IGNORE';
	while (1)
	{
		for my $from ($select->can_read)
		{
			if ($from == $server)
			{
				$self->_accept($server, $target, $select);
				next;
			}
			my $to = $self->{peer}{$from};
			my $length = sysread $from, my $bytes, 65536;

			if (!$length)
			{
				$select->remove($from);
				$to->shutdown(1);
				next;
			}
			if ($self->{counted}{$from})
			{
				$self->{bytes} += $length;
				$self->_write_count;
			}
			while (length $bytes)
			{
				my $written = syswrite $to, $bytes;

				last unless defined $written;
				substr $bytes, 0, $written, '';
			}
		}
	}
	return;
}

=pod

=over

=item new()

=item broker(), address()

The KafkaFdw::Broker, and the value of the option C<brokers> for who is to be
counted.

=item count(SUB)

Calls SUB; returns how many bytes the broker has sent meanwhile.

=back

=cut

sub new
{
	my ($class) = @_;
	my $self = bless { bytes => 0, port => PostgreSQL::Test::Cluster::get_free_port() }, $class;
	my $broker = $self->{broker} = KafkaFdw::Broker->new(
		args => [ '--listener', 'METERED' ],
		set => {
			'listener.security.protocol.map' => 'PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,METERED:PLAINTEXT'
		});
	my %env = map { /^(\w+)=(.*)$/ } split /\n/, slurp_file($broker->dir . '/env');

	open my $properties, '>>', $broker->dir . '/node1/server.properties' or die;
	print $properties
	  "advertised.listeners=PLAINTEXT://127.0.0.1:$env{NODE1_PORT},METERED://127.0.0.1:$self->{port}\n";
	close $properties;
	$broker->restart;

	(undef, $self->{path}) = tempfile(UNLINK => 1);
	$self->{pid} = fork // die "could not fork: $!";
	if (!$self->{pid})
	{
		# whatever else ends, this is not the test
		$SIG{TERM} = $SIG{INT} = 'DEFAULT';
		eval { $self->_pass_on($env{NODE1_METERED_PORT}) };
		print STDERR $@;
		POSIX::_exit(1);
	}
	push @running, $self->{pid};
	wait_until(sub { IO::Socket::INET->new(PeerAddr => $self->address) }, 'the meter listens');
	return $self;
}

sub broker { return $_[0]->{broker} }

sub address { return "127.0.0.1:$_[0]->{port}" }

sub _read_count
{
	my ($self) = @_;

	return 0 + (slurp_file($self->{path}) || 0);
}

sub count
{
	my ($self, $sub) = @_;
	my $before = $self->_read_count;

	$sub->();
	return $self->_read_count - $before;
}

END
{
	my $status = $?;

	kill 'KILL', @running if @running;
	waitpid $_, 0 for @running;
	$? = $status;
}

1;
