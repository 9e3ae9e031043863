
=pod

=head1 NAME

KafkaFdw::Session - database sessions that a test does other things beside

=head1 SYNOPSIS

  use KafkaFdw::Session qw(wait_until);

  my $session = KafkaFdw::Session->new($node);
  my $control = KafkaFdw::Session->new($node);
  $session->send('SELECT count(*) FROM log');
  $control->await_state($session, wait_event => 'Extension');
  $control->run('SELECT pg_cancel_backend(' . $session->pid . ')');
  my $result = $session->result;
  like($result->{error}, qr/canceling statement/);

=head1 DESCRIPTION

PostgreSQL::Test::BackgroundPsql waits for each query; here one can be
disturbed while it runs. A session that says nothing for a minute makes the
test die.

=cut

package KafkaFdw::Session;

use strict;
use warnings;
use Exporter qw(import);
use IPC::Run;
use Test::More;
use Time::HiRes qw(time usleep);

our @EXPORT_OK = qw(wait_until);

my $LIMIT_S = 60;
my @open;

=pod

=over

=item new(NODE, user => NAME)

A psql session in database postgres.

=cut

sub new
{
	my ($class, $node, %arg) = @_;
	my $self = bless { in => '', out => '', err => '', number => 0 }, $class;
	my $where = $node->connstr('postgres') . ' application_name=test';

	$where .= " user=$arg{user}" if defined $arg{user};
	$self->{timer} = IPC::Run::timeout($LIMIT_S);
	$self->{psql} = IPC::Run::start(
		[
			'psql', '-XqAt', '-v', 'VERBOSITY=verbose', '-d', $where
		],
		'<', \$self->{in}, '>', \$self->{out}, '2>', \$self->{err},
		$self->{timer});
	$self->{pid} = $self->value('SELECT pg_backend_pid()');
	push @open, $self;
	return $self;
}

=pod

=item pid()

Of the server's process.

=item send(SQL)

Gives psql something to do, without waiting for it.

=item result()

Waits for the end of what was sent; a reference to a hash with output, error
(everything on standard error, notices included), sqlstate (of the last error,
undef for none), seconds since it was sent, and ended, true when the session
is gone.

=item run(SQL)

Both.

=item value(SQL)

The output; dies if there was an error.

=cut

sub pid { return $_[0]{pid} }

sub send
{
	my ($self, $sql) = @_;

	$self->{number}++;
	$self->{sent_at} = time;
	$self->{in} .= "$sql\n;\n\\echo <end $self->{number}>\n\\warn <end $self->{number}>\n";
	$self->{psql}->pump_nb;
	return;
}

sub result
{
	my ($self) = @_;
	my $end = qr/<end $self->{number}>\n/;
	my %result;

	$self->{timer}->start($LIMIT_S);
	while (!($self->{out} =~ $end && $self->{err} =~ $end) && $self->{psql}->pumpable)
	{
		eval { $self->{psql}->pump; 1 } or last;
		die "no answer to $self->{in}: $self->{err}" if $self->{timer}->is_expired;
	}
	$result{seconds} = time - $self->{sent_at};
	$result{ended} = $self->{out} !~ $end;
	s/$end// for $self->{out}, $self->{err};
	chomp($result{output} = $self->{out});
	$result{error} = $self->{err};
	$self->{out} = $self->{err} = '';
	($result{sqlstate}) = $result{error} =~ /.*^(?:psql:[^\n]*)?(?:ERROR|FATAL):  (\w{5}):/ms;
	note "$result{output}$result{error}" if $result{error} ne '';
	return \%result;
}

sub run
{
	my ($self, $sql) = @_;

	$self->send($sql);
	return $self->result;
}

sub value
{
	my ($self, $sql) = @_;
	my $result = $self->run($sql);

	die "$sql: $result->{error}" if $result->{ended} || defined $result->{sqlstate};
	return $result->{output};
}

=pod

=item notices()

What has arrived on standard error so far.

=item await_state(SESSION, COLUMN => VALUE, ...)

Waits until pg_stat_activity has these values for another session.

=item await_running(SESSION, SECONDS)

Waits until another session's statement has been running for so long: for
waits in which a process shows nothing but that it does not go on.

=cut

sub notices
{
	my ($self) = @_;

	$self->{psql}->pump_nb;
	return $self->{err};
}

sub await_state
{
	my ($self, $other, %state) = @_;
	my $condition = join ' AND ', map { "$_ = '$state{$_}'" } sort keys %state;

	wait_until(
		sub {
			$self->value("SELECT count(*) FROM pg_stat_activity WHERE pid = $other->{pid} AND $condition");
		},
		$condition);
	return;
}

sub await_running
{
	my ($self, $other, $seconds) = @_;

	$self->await_state($other, state => 'active');
	wait_until(
		sub {
			$self->value(
				"SELECT count(*) FROM pg_stat_activity WHERE pid = $other->{pid} AND state = 'active'"
				  . " AND clock_timestamp() - query_start > '$seconds s'");
		},
		"a statement runs for $seconds s");
	return;
}

=pod

=item quit()

=item wait_until(SUB, WHAT)

Calls SUB until it returns true, which it returns; after a minute the test dies.

=back

=cut

sub quit
{
	my ($self) = @_;

	$self->{in} .= "\\q\n";
	eval { $self->{psql}->finish };
	@open = grep { $_ != $self } @open;
	return;
}

sub wait_until
{
	my ($condition, $what) = @_;
	my $end = time + $LIMIT_S;

	while (1)
	{
		my $found = $condition->();

		return $found if $found;
		die "waited in vain: $what" if time > $end;
		usleep(10_000);
	}
}

END
{
	my $status = $?;

	eval { $_->{psql}->kill_kill } for @open;
	$? = $status;
}

1;
