
=pod

=head1 NAME

KafkaFdw::Meter - what those who read ask of a broker, and how many bytes it
sends them

=head1 SYNOPSIS

  use KafkaFdw::Meter;

  my $meter = KafkaFdw::Meter->new;          # starts a broker of its own
  create_server($node, 'logs', $meter->address);
  my $bytes = $meter->count(sub { run_rollup($node, 'r') });
  my %asked = $meter->requests(sub { $session->value($query) });
  cmp_ok($asked{Fetch}, '<', 10);

=head1 DESCRIPTION

Whoever connects to the address is told of no other: each byte passes through
a process of the meter's, which counts those that the broker sends, and reads
of what the clients send the heads of the requests. Tests feed and look at the
topics by C<broker>, which is not counted.

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
use Socket qw(IPPROTO_TCP TCP_NODELAY);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils qw(slurp_file);

# What the API keys of Kafka's protocol stand for; the rest is "other".
my %KINDS = (1 => 'Fetch', 2 => 'ListOffsets', 3 => 'Metadata', 18 => 'ApiVersions', 32 => 'DescribeConfigs');
my @COUNTERS = ('bytes', 'connections', 'waits', 'other', map { $KINDS{$_} } sort { $a <=> $b } keys %KINDS);

my @running;

# Connects a new client; pairs its socket with one of the broker's.
sub _accept
{
	my ($self, $server, $target, $select) = @_;
	my $client = $server->accept or return;
	my $broker_end = IO::Socket::INET->new(PeerAddr => "127.0.0.1:$target") or return;

	# two small requests in a row must not wait for an acknowledgement
	$_->setsockopt(IPPROTO_TCP, TCP_NODELAY, 1) for $client, $broker_end;
	$self->{peer}{$client} = $broker_end;
	$self->{peer}{$broker_end} = $client;
	$self->{requests}{$client} = { head => '', rest => 0 };
	$self->{answers}{$broker_end} = { head => '', rest => 0, asked => 0 };
	$self->{counted}{connections}++;
	$select->add($client, $broker_end);
	return;
}

# Divides bytes of a client or a broker into frames; calls back with the head of
# each, a length in four bytes and two more, once all of the frame was there.
sub _each_frame
{
	my ($frame, $bytes, $sub) = @_;

	while (length $bytes)
	{
		if (length $frame->{head} < 6)
		{
			$frame->{head} .= substr $bytes, 0, 6 - length $frame->{head}, '';
			next if length $frame->{head} < 6;
			$frame->{rest} = unpack('N', $frame->{head}) - 2;
		}
		my $passed = $frame->{rest} < length $bytes ? $frame->{rest} : length $bytes;

		substr $bytes, 0, $passed, '';
		$frame->{rest} -= $passed;
		next if $frame->{rest} > 0;
		$sub->($frame->{head});
		$frame->{head} = '';
	}
	return;
}

# Counts the requests in these bytes of a client, whose head has the API key. One
# that is sent while all before have been answered is a wait.
sub _count_requests
{
	my ($self, $client, $bytes) = @_;
	my $answers = $self->{answers}{ $self->{peer}{$client} };

	_each_frame($self->{requests}{$client}, $bytes, sub {
		my (undef, $key) = unpack 'N n', $_[0];

		$self->{counted}{ $KINDS{$key} // 'other' }++;
		$self->{counted}{waits}++ unless grep { $_->{asked} > 0 } values %{ $self->{answers} };
		$answers->{asked}++;
	});
	return;
}

# Counts what a broker sends; each request has one answer.
sub _count_answers
{
	my ($self, $broker_end, $bytes) = @_;
	my $answers = $self->{answers}{$broker_end};

	$self->{counted}{bytes} += length $bytes;
	_each_frame($answers, $bytes, sub { $answers->{asked}-- });
	return;
}

# One write of always the same length, so that who reads sees all of it.
sub _write_counts
{
	my ($self) = @_;

	sysseek $self->{file}, 0, 0;
	syswrite $self->{file}, join ' ', map { sprintf '%15d', $self->{counted}{$_} // 0 } @COUNTERS;
	return;
}

# Passes bytes on and counts, until it is killed. The counts are written before
# the bytes are passed on: whoever has received them can look. targets has the
# port of a node for each port of ours.
sub _pass_on
{
	my ($self, %targets) = @_;
	my $select = IO::Select->new;
	my %port_of;

	for my $port (keys %targets)
	{
		my $server = IO::Socket::INET->new(LocalAddr => "127.0.0.1:$port", Listen => 50, ReuseAddr => 1)
		  or die "could not listen: $!";

		$port_of{$server} = $port;
		$select->add($server);
	}
	open $self->{file}, '>', $self->{path} or die "could not open $self->{path}: $!";
	local $SIG{PIPE} = 'IGNORE';
	while (1)
	{
		for my $from ($select->can_read)
		{
			if ($port_of{$from})
			{
				$self->_accept($from, $targets{ $port_of{$from} }, $select);
				next;
			}
			my $to = $self->{peer}{$from};
			my $length = sysread $from, my $bytes, 65536;

			if (!$length)
			{
				$select->remove($from);
				$to->shutdown(1);
				delete $self->{answers}{$from};
				next;
			}
			if ($self->{requests}{$from})
			{
				$self->_count_requests($from, $bytes);
			}
			else
			{
				$self->_count_answers($from, $bytes);
			}
			$self->_write_counts;
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

=item new(nodes => N)

Starts a broker of N nodes, 1 by default.

=item broker(), address()

The KafkaFdw::Broker, and the value of the option C<brokers> for who is to be
counted.

=item count(SUB)

Calls SUB; returns how many bytes the broker has sent meanwhile.

=item requests(SUB)

Calls SUB; returns how many requests of each kind, by name, the clients have
sent meanwhile, as C<connections> how often they have connected, and as C<waits>
how many of the requests were sent when all that were sent before had been
answered, by whatever node: round trips one after the other.

=back

=cut

sub new
{
	my ($class, %arg) = @_;
	my $nodes = $arg{nodes} // 1;
	my @ports = map { PostgreSQL::Test::Cluster::get_free_port() } 1 .. $nodes;
	my $self = bless { ports => \@ports }, $class;
	my $broker = $self->{broker} = KafkaFdw::Broker->new(
		nodes => $nodes,
		args => [ '--listener', 'METERED' ],
		set => {
			'listener.security.protocol.map' => 'PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,METERED:PLAINTEXT'
		});
	my %env = map { /^(\w+)=(.*)$/ } split /\n/, slurp_file($broker->dir . '/env');

	for my $number (1 .. $nodes)
	{
		my $plain = $env{"NODE${number}_PORT"};

		open my $properties, '>>', $broker->dir . "/node$number/server.properties" or die;
		print $properties
		  "advertised.listeners=PLAINTEXT://127.0.0.1:$plain,METERED://127.0.0.1:$ports[$number - 1]\n";
		close $properties;
	}
	$broker->restart;

	(undef, $self->{path}) = tempfile(UNLINK => 1);
	$self->{pid} = fork // die "could not fork: $!";
	if (!$self->{pid})
	{
		# whatever else ends, this is not the test
		$SIG{TERM} = $SIG{INT} = 'DEFAULT';
		eval { $self->_pass_on(map { ($ports[ $_ - 1 ] => $env{"NODE${_}_METERED_PORT"}) } 1 .. $nodes) };
		print STDERR $@;
		POSIX::_exit(1);
	}
	push @running, $self->{pid};
	for my $port (@ports)
	{
		wait_until(sub { IO::Socket::INET->new(PeerAddr => "127.0.0.1:$port") }, 'the meter listens');
	}
	return $self;
}

sub broker { return $_[0]->{broker} }

sub address { return join ',', map { "127.0.0.1:$_" } @{ $_[0]->{ports} } }

sub _read_counts
{
	my ($self) = @_;
	my @counts = split ' ', slurp_file($self->{path});

	return map { ($COUNTERS[$_] => 0 + ($counts[$_] // 0)) } 0 .. $#COUNTERS;
}

sub requests
{
	my ($self, $sub) = @_;
	my %before = $self->_read_counts;

	$sub->();
	my %after = $self->_read_counts;

	return map { ($_ => $after{$_} - $before{$_}) } @COUNTERS;
}

sub count
{
	my ($self, $sub) = @_;
	my %counted = $self->requests($sub);

	return $counted{bytes};
}

END
{
	my $status = $?;

	kill 'KILL', @running if @running;
	waitpid $_, 0 for @running;
	$? = $status;
}

1;
