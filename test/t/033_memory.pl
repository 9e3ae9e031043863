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

# A JSON array that compresses two to four times, as real ones do
sub items
{
	my ($count) = @_;

	return '[' . join(', ', map { "{\"id\": {r*$_%100000}, \"name\": \"item {r*$_%77}\"}" } 1 .. $count) . ']';
}

my $broker = KafkaFdw::Broker->new;
my $node = start_node('main', jit => 'off');
my %rows = (large_lz4 => 1600, large_zstd => 1600, huge => 160, small_zstd => 1_000_000, many => 300_000);
my ($large, $huge) = (items(2900), items(26_000));

for my $codec ('lz4', 'zstd')
{
	$broker->feed("create-topic large_$codec partitions=4\nset compression.codec=$codec\n"
		  . "generate large_$codec count=$rows{large_lz4} partitions=4 time=1000000 value='{\"n\": {n}, \"items\": $large}'\n");
}
$broker->feed(<<"EOF");
create-topic tiny
produce tiny value='{"n": 1}'
create-topic many partitions=200
generate many count=$rows{many} partitions=200 time=1000000 value='{"n": {n}, "items": "{r} @{['x' x 300]}"}'
set compression.codec=zstd
create-topic small_zstd partitions=4
generate small_zstd count=$rows{small_zstd} partitions=4 time=1000000 value='{"n": {n}, "items": "{r%1000} abcdefghij"}'
create-topic huge partitions=4
generate huge count=$rows{huge} partitions=4 time=1000000 value='{"n": {n}, "items": $huge}'
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
