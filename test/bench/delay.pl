#!/usr/bin/perl
# Passes bytes between the clients of a port of this machine and a server on
# another, each after a delay: a network whose round trip takes twice as long.
#
#   delay.pl PORT TARGET_PORT DELAY_MS
#
# Ends with the process that started it. No bound on the bandwidth, but that
# what is under way in one direction of a connection is bounded.
use strict;
use warnings;
use IO::Select;
use IO::Socket::INET;
use Socket qw(IPPROTO_TCP TCP_NODELAY);
use Time::HiRes qw(time);

my $CHUNK = 65536;
my $MAX_UNDER_WAY = 4 * 1024 * 1024;

# How often to see whether the parent is still there
my $LOOK_S = 1;

my ($port, $target, $delay_ms) = @ARGV;
die "usage: delay.pl PORT TARGET_PORT DELAY_MS\n" unless defined $delay_ms;
my $parent = getppid;
my $server = IO::Socket::INET->new(LocalAddr => "127.0.0.1:$port", Listen => 50, ReuseAddr => 1)
  or die "could not listen: $!\n";

# By socket: the one at the other end, chunks that wait to be written to it as
# [due time, bytes], their bytes in all, and whether there will be no more.
my (%socket, %peer, %queue, %under_way, %ended);

$SIG{PIPE} = 'IGNORE';

sub connect_client
{
	my $client = $server->accept or return;
	my $end = IO::Socket::INET->new(PeerAddr => "127.0.0.1:$target");

	if (!$end)
	{
		$client->close;
		return;
	}
	for my $socket ($client, $end)
	{
		$socket->blocking(0);
		setsockopt $socket, IPPROTO_TCP, TCP_NODELAY, 1;
		$socket{$socket} = $socket;
		$queue{$socket} = [];
		$under_way{$socket} = 0;
		$peer{$socket} = $socket == $client ? $end : $client;
	}
	return;
}

sub close_pair
{
	my ($socket) = @_;

	for my $end (my @pair = ($socket, $peer{$socket}))
	{
		delete $_->{$end} for \%socket, \%peer, \%queue, \%under_way, \%ended;
		close $end;
	}
	return;
}

# Takes what a socket has for its peer.
sub take
{
	my ($from) = @_;
	my $to = $peer{$from};
	my $bytes;
	my $length = sysread $from, $bytes, $CHUNK;

	return if !defined $length && $!{EAGAIN};
	if (!$length)
	{
		$ended{$from} = 1;
		push @{ $queue{$to} }, [ time + $delay_ms / 1000, undef ];
		return;
	}
	push @{ $queue{$to} }, [ time + $delay_ms / 1000, $bytes ];
	$under_way{$to} += $length;
	return;
}

# Writes what is due; true if the pair is still there.
sub deliver
{
	my ($to) = @_;
	my $queue = $queue{$to};
	my $now = time;

	while (@$queue && $queue->[0][0] <= $now)
	{
		my $written;

		if (!defined $queue->[0][1])
		{
			close_pair($to);
			return;
		}
		$written = syswrite $to, $queue->[0][1];
		if (!defined $written)
		{
			return if $!{EAGAIN};
			close_pair($to);
			return;
		}
		$under_way{$to} -= $written;
		substr $queue->[0][1], 0, $written, '';
		shift @$queue if $queue->[0][1] eq '';
	}
	return;
}

while (getppid == $parent)
{
	my ($reads, $writes) = (IO::Select->new($server), IO::Select->new);
	my $wait_s = $LOOK_S;

	for my $socket (my @all = values %socket)
	{
		my $first = $queue{$socket}[0];

		$reads->add($socket) if !$ended{$socket} && $under_way{ $peer{$socket} } < $MAX_UNDER_WAY;
		next unless $first;
		if ($first->[0] <= time)
		{
			$writes->add($socket);
		}
		elsif ($first->[0] - time < $wait_s)
		{
			$wait_s = $first->[0] - time;
		}
	}
	my ($readable) = IO::Select->select($reads, $writes, undef, $wait_s);
	for my $socket (@{ $readable // [] })
	{
		if ($socket == $server)
		{
			connect_client();
		}
		else
		{
			take($socket);
		}
	}
	for my $socket (my @all = values %socket)
	{
		deliver($socket) if exists $socket{$socket};
	}
}
