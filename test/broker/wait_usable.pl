#!/usr/bin/perl
# Waits until Kafka listeners answer a metadata request with all brokers.
#
#   wait_usable.pl BROKER_COUNT DEADLINE_S PID:HOST:PORT...
#
# Exit status 0 when every listener knows BROKER_COUNT brokers, 1 when the
# deadline passes, 2 as soon as one of the processes PID is gone.
#
# It speaks the protocol itself (Metadata version 1) so that starting a broker
# needs neither a compiled program nor a second Java process.  An accepted
# connection alone proves nothing: the broker binds its port before it is
# registered with the controller.
use strict;
use warnings;
use IO::Socket::INET;
use IO::Select;
use Time::HiRes qw(time sleep);

my ($count, $deadline_s, @listeners) = @ARGV;
my $deadline = time + $deadline_s;

sub read_exactly
{
	my ($sock, $length) = @_;
	my $buf = '';

	while (length $buf < $length)
	{
		return unless IO::Select->new($sock)->can_read(1);
		my $got = sysread($sock, $buf, $length - length $buf, length $buf);
		return unless $got;
	}
	return $buf;
}

# The number of brokers that the listener names, 0 where it does not answer.
sub broker_count
{
	my ($host, $port) = @_;
	my $sock = IO::Socket::INET->new(PeerAddr => $host, PeerPort => $port, Timeout => 1);
	return 0 unless $sock;

	# size, api key 3, version 1, correlation id, client id; no topics
	my $client = 'wait_usable';
	my $request = pack('n n N n/a* N', 3, 1, 1, $client, 0);
	syswrite($sock, pack('N', length $request) . $request);

	my $size = read_exactly($sock, 4);
	return 0 unless defined $size;
	my $response = read_exactly($sock, unpack('N', $size));
	return 0 unless defined $response;
	return unpack('x4 N', $response);
}

for my $listener (@listeners)
{
	my ($pid, $host, $port) = split /:/, $listener;

	while (broker_count($host, $port) < $count)
	{
		exit 2 unless kill 0, $pid;
		exit 1 if time > $deadline;
		sleep 0.05;
	}
}
