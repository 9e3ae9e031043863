#!/usr/bin/perl
# Runs TAP tests:  prove.pl DIR NAME...
#
# Like prove(1), with a closing line "# N passed, N failed" that counts
# assertions (a test that died counts as at least one failure), and with the
# log of each test that failed.
use strict;
use warnings;
use TAP::Harness;

my ($dir, @names) = @ARGV;
my $harness = TAP::Harness->new({ timer => 1, failures => 1, merge => 0 });
my $results = $harness->runtests(map { [ "$dir/$_.pl", $_ ] } @names);
my $failed = $results->failed;

for my $name (@names)
{
	my ($parser) = $results->parsers($name);
	next unless $parser->has_problems;

	$failed++ unless $parser->failed;
	my $log = ($ENV{TESTDIR} // '.') . "/tmp_check/log/regress_log_$name";
	next unless open my $fh, '<', $log;
	my @lines = <$fh>;
	splice @lines, 0, -100;
	print "--- last lines of regress_log_$name\n", @lines;
}
printf "# %d passed, %d failed\n", scalar $results->passed, $failed;
exit($failed || !$results->all_passed ? 1 : 0);
