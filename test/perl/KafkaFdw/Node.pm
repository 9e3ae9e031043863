
=pod

=head1 NAME

KafkaFdw::Node - servers with the extension, for TAP tests

=head1 SYNOPSIS

  use KafkaFdw::Node qw(start_node create_server create_table backend_usage);

  my $node = start_node('main', 'log_min_messages' => 'debug1');
  create_server($node, 'logs', $broker);
  create_table($node, 'log', 'logs', 'ts timestamptz OPTIONS (timestamp \'true\')',
      topic => 'client-log', format => 'json');

=cut

package KafkaFdw::Node;

use strict;
use warnings;
use Exporter qw(import);
use KafkaFdw::Session qw(wait_until);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;

our @EXPORT_OK = qw(start_node create_server create_table await_server backend_usage);

sub _options
{
	my (%options) = @_;

	return join ', ', map { (my $v = $options{$_}) =~ s/'/''/g; "$_ '$v'" } sort keys %options;
}

=pod

=over

=item start_node(NAME, SETTING => VALUE, ...)

A running PostgreSQL::Test::Cluster node with the extension in database
postgres. It is stopped at the test's end.

=cut

sub start_node
{
	my ($name, %settings) = @_;
	my $node = PostgreSQL::Test::Cluster->new($name);

	$node->init;
	$node->append_conf('postgresql.conf', "$_ = '$settings{$_}'") for sort keys %settings;
	$node->start;
	$node->safe_psql('postgres', 'CREATE EXTENSION kafka_fdw');
	return $node;
}

=pod

=item create_server(NODE, NAME, BROKER, OPTION => VALUE, ...)

CREATE SERVER for a KafkaFdw::Broker (or a string with addresses).

=item create_table(NODE, NAME, SERVER, COLUMNS, OPTION => VALUE, ...)

CREATE FOREIGN TABLE; COLUMNS is the text between the parentheses.

=cut

sub create_server
{
	my ($node, $name, $broker, %options) = @_;

	$options{brokers} = ref $broker ? $broker->brokers : $broker;
	$node->safe_psql('postgres', "CREATE SERVER $name FOREIGN DATA WRAPPER kafka_fdw OPTIONS ("
		. _options(%options) . ')');
	return;
}

sub create_table
{
	my ($node, $name, $server, $columns, %options) = @_;

	$node->safe_psql('postgres', "CREATE FOREIGN TABLE $name ($columns) SERVER $server OPTIONS ("
		. _options(%options) . ')');
	return;
}

=pod

=item await_server(NODE)

Waits until a server that restarts can be connected to. (A psql that is refused
may be gone before it is given its query: that is an error of ours, and none of
the server's.)

=cut

sub await_server
{
	my ($node) = @_;

	wait_until(sub { eval { ($node->psql('postgres', 'SELECT 1'))[0] == 0 } }, 'the server is back');
	return;
}

=pod

=item backend_usage(PID)

A hash with what a process holds: threads, fds, rss_kb.

=back

=cut

sub backend_usage
{
	my ($pid) = @_;
	my %usage;

	$usage{threads} = () = glob "/proc/$pid/task/*";
	opendir my $fds, "/proc/$pid/fd" or die "could not open /proc/$pid/fd: $!";
	$usage{fds} = grep { !/^\.\.?$/ } readdir $fds;
	open my $status, '<', "/proc/$pid/status" or die "could not open /proc/$pid/status: $!";
	for (<$status>)
	{
		$usage{rss_kb} = $1 if /^VmRSS:\s+(\d+)/;
	}
	return %usage;
}

1;
