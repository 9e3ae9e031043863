# A scan stays within its memory_limit: the peak of a session's memory, over
# what it has when idle, for topics several times larger than that.
use strict;
use warnings;
use Time::HiRes qw(usleep);
use Test::More;
use PostgreSQL::Test::Utils;
use KafkaFdw::Broker;
use KafkaFdw::Node qw(start_node create_server create_table backend_usage);
use KafkaFdw::Session qw(wait_until);

# The server's own means (sorting, rows, caches) and what malloc keeps
my $SLACK_KB = 32 * 1024;

my %limit_kb = ('16MB' => 16 * 1024, '64MB' => 64 * 1024);

my $broker = KafkaFdw::Broker->new;
my $node = start_node('main', jit => 'off');
my %rows = (large_lz4 => 1600, large_zstd => 1600, huge => 160, small_zstd => 600_000, many => 60_000);

# Files with a JSON object each, of about the given size, that compress two to
# four times, as real ones do; of the same seed they are the same.
sub write_files
{
	my ($name, $count, $bytes) = @_;
	my @paths;

	srand 1;
	for my $number (1 .. $count)
	{
		my $path = "$PostgreSQL::Test::Utils::tmp_check/$name$number";
		my @items = map { sprintf '{"id": %d, "name": "item %d"}', rand 100_000, rand 77 } 1 .. $bytes / 30;

		open my $file, '>', $path or die "could not write $path: $!";
		print $file "{\"n\": $number, \"items\": [", join(', ', @items), ']}';
		close $file or die;
		push @paths, $path;
	}
	return @paths;
}

# Feeder lines that put files into four partitions in turn, never the same ones
# into one batch.
sub produce_files
{
	my ($topic, @paths) = @_;
	my $script = "create-topic $topic partitions=4 max.message.bytes=2000000\n";

	for my $n (0 .. $rows{$topic} - 1)
	{
		$script .= sprintf "produce %s partition=%d file=%s\n", $topic, $n % 4, $paths[ int($n / 4) % @paths ];
	}
	return $script;
}

my @large = write_files('large', 40, 100_000);
my @huge = write_files('huge', 8, 990_000);

$broker->feed("set compression.codec=$_ message.max.bytes=1500000\n" . produce_files("large_$_", @large)) for 'lz4', 'zstd';
$broker->feed("set compression.codec=zstd message.max.bytes=1500000\n" . produce_files('huge', @huge));
$broker->feed(<<"EOF");
create-topic tiny
produce tiny value='{"n": 1}'
create-topic many partitions=200
generate many count=$rows{many} partitions=200 time=1000000 value='{"n": {n}, "items": "{r} @{['x' x 1500]}"}'
set compression.codec=zstd
create-topic small_zstd partitions=4
generate small_zstd count=$rows{small_zstd} partitions=4 time=1000000 value='{"n": {n}, "items": "{r%1000} abcdefghij"}'
EOF

for my $limit (sort keys %limit_kb)
{
	my $suffix = lc "_$limit";

	create_server($node, "limit$suffix", $broker, memory_limit => $limit);
	create_table($node, "$_$suffix", "limit$suffix",
		q(kafka_partition int OPTIONS (partition 'true'), kafka_offset bigint OPTIONS (offset 'true'),
		  ts timestamptz OPTIONS (timestamp 'true'), n int, items text, message text OPTIONS (value 'true')),
		topic => $_)
	  for 'tiny', keys %rows;
}

# What the broker has, so that a count that differs is known to be the scan's.
for my $topic (sort keys %rows)
{
	is( $node->safe_psql('postgres', "SELECT sum(end_offset - low_offset) FROM kafka.watermarks('${topic}_16mb')"),
		$rows{$topic}, "$topic: produced");
}

# A session that has read something, and forgets its peak
sub idle_session
{
	my ($limit) = @_;
	my $session = KafkaFdw::Session->new($node);

	$session->value("SELECT t::text FROM tiny_$limit t");
	open my $file, '>', '/proc/' . $session->pid . '/clear_refs' or die "could not reset the peak: $!";
	print $file 5;
	close $file or die;
	return ($session, { backend_usage($session->pid) }->{rss_kb});
}

sub check_peak
{
	my ($name, $session, $idle_kb, $limit) = @_;
	my ($peak_kb) = slurp_file('/proc/' . $session->pid . '/status') =~ /^VmHWM:\s+(\d+)/m;

	cmp_ok($peak_kb - $idle_kb, '<=', $limit_kb{$limit} + $SLACK_KB, "$name, $limit");
	note sprintf '%s, %s: %.0f MB over %.0f MB', $name, $limit, ($peak_kb - $idle_kb) / 1024, $idle_kb / 1024;
	$session->quit;
	return;
}

for my $limit (sort keys %limit_kb)
{
	my $suffix = lc $limit;

	for my $topic (sort keys %rows)
	{
		my ($session, $idle_kb) = idle_session($suffix);

		is($session->value("SELECT count(*) FROM ${topic}_$suffix"), $rows{$topic}, "$topic, $limit: rows");
		check_peak("count(*) of $topic", $session, $idle_kb, $limit);

		($session, $idle_kb) = idle_session($suffix);
		cmp_ok($session->value("SELECT min(length(t::text)) FROM ${topic}_$suffix t"), '>', 20, "$topic, $limit: all columns");
		check_peak("all columns of $topic", $session, $idle_kb, $limit);
	}

	# A reader that is slow: the library has all the time it wants to fill
	# what it may between two rows.
	for my $topic ('large_zstd', 'small_zstd')
	{
		my ($session, $idle_kb) = idle_session($suffix);

		$session->value("BEGIN; DECLARE c CURSOR FOR SELECT * FROM ${topic}_$suffix");
		for (1 .. 4)
		{
			my ($last_kb, $same) = (0, 0);

			$session->value('MOVE 20 IN c');
			wait_until(
				sub {
					my $now_kb = { backend_usage($session->pid) }->{rss_kb};

					$same = $now_kb == $last_kb ? $same + 1 : 0;
					$last_kb = $now_kb;
					return $same >= 20;
				},
				'the session holds what it can');
		}
		check_peak("slow reader of $topic", $session, $idle_kb, $limit);
	}
}

done_testing();
