
=pod

=head1 NAME

KafkaFdw::Driver - JDBC and ODBC connections, as BI tools have them

=head1 SYNOPSIS

  use KafkaFdw::Driver;

  my $jdbc = KafkaFdw::Driver->new('jdbc', $node);
  $jdbc->connect(user => 'bi', defaultRowFetchSize => 10);
  my @rows = $jdbc->rows('query', 'SELECT 1, NULL');   # ([1, undef])
  like($jdbc->ask('query', 'SELECT 1/0'), qr/^ERROR: 22012 /);

=head1 DESCRIPTION

Drives the program test/drivers/jdbc or that of test/drivers/odbc.c, whose
commands are described in test/drivers/Jdbc.java. The server must listen on
127.0.0.1.

=cut

package KafkaFdw::Driver;

use strict;
use warnings;
use Cwd qw(abs_path);
use File::Basename qw(dirname);
use IPC::Run;
use Time::HiRes qw(time);

my $tools = abs_path(dirname(__FILE__) . '/../../drivers');
my $LIMIT_S = 60;
my @running;

=pod

=over

=item new(KIND, NODE)

Starts a program, jdbc or odbc, without a connection.

=cut

sub _program
{
	my ($kind) = @_;
	my $program;

	return "$tools/jdbc" if $kind eq 'jdbc';
	IPC::Run::run([ "$tools/build-odbc", "$ENV{TESTDIR}/odbc" ], '>', \$program)
	  or die 'could not build the ODBC program';
	chomp $program;
	return $program;
}

sub new
{
	my ($class, $kind, $node) = @_;
	my $self = bless { kind => $kind, node => $node, in => '', out => '', err => '' }, $class;

	$self->{timer} = IPC::Run::timeout($LIMIT_S);
	$self->{handle} = IPC::Run::start([ _program($kind) ],
		'<', \$self->{in}, '>', \$self->{out}, '2>', \$self->{err}, $self->{timer});
	push @running, $self;
	return $self;
}

=pod

=item connect(PROPERTY => VALUE, ...)

Opens a connection, of the role C<user>, to database postgres, and closes the one
there was. Properties are the driver's own, besides C<user>, C<application> for
pg_stat_activity, and C<fetch>, so many rows to be asked for at once. Returns the
server's process.

=cut

sub _connection_text
{
	my ($self, %arg) = @_;
	my $fetch = delete $arg{fetch};
	my $application = delete $arg{application} // 'driver';

	if ($self->{kind} eq 'jdbc')
	{
		$arg{defaultRowFetchSize} = $fetch if defined $fetch;
		$arg{ApplicationName} = $application;
		return '//127.0.0.1:' . $self->{node}->port . '/postgres?'
		  . join('&', map { "$_=$arg{$_}" } sort keys %arg);
	}
	@arg{qw(UseDeclareFetch Fetch)} = (1, $fetch) if defined $fetch;
	$arg{uid} = delete $arg{user};
	$arg{pqopt} = "{application_name=$application}";
	my ($library) = glob '/usr/lib/*/odbc/psqlodbcw.so' or die 'psqlODBC is not installed';
	return join ';', "Driver=$library", 'Servername=127.0.0.1',
	  'Port=' . $self->{node}->port, 'Database=postgres', map { "$_=$arg{$_}" } sort keys %arg;
}

sub connect
{
	my ($self, %arg) = @_;
	my $answer = $self->ask('connect', $self->_connection_text(%arg));

	die "$self->{kind}: $answer" if $answer ne '';
	return $self->value('query', 'SELECT pg_backend_pid()');
}

=pod

=item ask(WORD, ...)

A command's answer as it was printed, without its end.

=item rows(WORD, ...), value(WORD, ...)

The same as array references, NULL as undef, and the first of all values. An error makes
the test die.

=item seconds()

How long the last command took.

=back

=cut

sub ask
{
	my ($self, @words) = @_;
	my $start = time;

	$self->{out} = '';
	$self->{in} .= join("\t", map { s/\s+/ /gr } @words) . "\n";
	$self->{timer}->start($LIMIT_S);
	while ($self->{out} !~ s/^\\\.\n\z//m)
	{
		$self->{handle}->pumpable or die "$self->{kind} ended at @words: $self->{err}";
		$self->{handle}->pump;
	}
	$self->{seconds} = time - $start;
	chomp $self->{out};
	return $self->{out};
}

sub rows
{
	my ($self, @words) = @_;
	my $answer = $self->ask(@words);

	die "$self->{kind} @words: $answer" if $answer =~ /^ERROR: /m;
	return map { [ map { $_ eq '\\N' ? undef : $_ } split /\t/, $_, -1 ] } split /\n/, $answer;
}

sub value
{
	my ($self, @words) = @_;
	my ($row) = $self->rows(@words);

	return $row->[0];
}

sub seconds { return $_[0]{seconds} }

END
{
	my $status = $?;

	eval { $_->{handle}->kill_kill } for @running;
	$? = $status;
}

1;
