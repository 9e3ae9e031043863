# Random WHERE clauses over real topics: the rows with pushdown on, with
# pushdown off, and those of an independent reader, Apache Kafka's own client,
# are the same.
#
# The topics are the hard ones: times out of order and with ties, transaction
# markers, aborted and open transactions, compaction with the empty batch that
# an idempotent producer leaves, deleted records, empty and many partitions,
# LogAppendTime, negative times and none.
#
# KAFKA_FDW_SEED=n makes other clauses, KAFKA_FDW_CLAUSES=n that many.
use strict;
use warnings;
use KafkaFdw::Broker;
use KafkaFdw::Node qw(start_node create_server create_table);
use KafkaFdw::Truth qw(pick load_truth messages_read random_clause);
use Test::More;

my $seed = $ENV{KAFKA_FDW_SEED} // 1;
my $nclauses = $ENV{KAFKA_FDW_CLAUSES} // 600;
my $base = 1700000000000;    # of topics with times of the past
my $broker = KafkaFdw::Broker->new(
	set => {
		'log.cleaner.backoff.ms' => 200,
		'log.retention.check.interval.ms' => 1000,
		'log.initial.task.delay.ms' => 500
	});
my $node = start_node('main', timezone => 'UTC');

srand($seed);

# ----------------------------------------------------------------
# The topics
# ----------------------------------------------------------------

# What the table declares must be true of the records: the times of a topic
# without transactions are judged against each other, those of one with
# transactions against the clock, since the markers carry it.
my %topics = (
	disorder => { timestamp_max_lag => '20s' },
	disorder_undeclared => { topic => 'disorder' },
	ties => { timestamp_max_lag => '1s' },
	transactions => { timestamp_max_lag => '1min' },
	transactions_undeclared => { topic => 'transactions' },
	limited => {},
	compacted => {},
	truncated => {},
	sparse => { timestamp_max_lag => '5s' },
	wide => { timestamp_max_lag => '5s' },
	append_time => {},
	switched => {},
	switched_behind_aborted => {},
	odd_times => {},
	untrusted => { topic => 'disorder', trust_time_index => 'false', timestamp_max_lag => '20s' });

$broker->feed(<<"EOF");
create-topic disorder partitions=3
generate disorder count=1500 partitions=3 time=$base step=100 disorder=20000 value={n}

create-topic ties partitions=1
generate ties count=200 time=$base step=0 value=same
generate ties count=200 time=@{[$base + 5]} step=0 value=same
set batch=record
generate ties count=20 time=@{[$base + 5]} step=0 value=same
generate ties count=20 time=@{[$base + 6]} step=0 value=same
set batch=shared

create-topic sparse partitions=5
generate sparse count=50 time=$base step=1000 value=x
produce sparse partition=2 time=$base value=x

create-topic wide partitions=200
generate wide count=1000 partitions=200 time=$base step=50 value={n}

create-topic append_time partitions=2 message.timestamp.type=LogAppendTime
generate append_time count=100 partitions=2 time=$base step=10 value=x

# A record ahead of its time, and only then LogAppendTime: nothing that the
# setting says is true of what came before.
create-topic switched partitions=1
produce switched time=now+1800000 value=ahead
alter-topic switched message.timestamp.type=LogAppendTime
generate switched count=20 step=0 time=now value=x

create-topic switched_behind_aborted partitions=1
produce switched_behind_aborted time=now value=x
begin six
produce switched_behind_aborted time=now+1800000 value=aborted
abort
use -
alter-topic switched_behind_aborted message.timestamp.type=LogAppendTime
generate switched_behind_aborted count=20 step=0 time=now value=x

create-topic odd_times partitions=1
produce odd_times time=-1 value=none
produce odd_times time=-5000 value=negative
produce odd_times time=$base value=a
produce odd_times time=1 value=one
produce odd_times time=@{[$base - 10]} value=b

create-topic limited partitions=2 message.timestamp.before.max.ms=120000 message.timestamp.after.max.ms=60000
generate limited count=200 partitions=2 time=now-90000 step=300 disorder=20000 value={n}

create-topic transactions partitions=2
begin one
generate transactions count=100 partitions=2 time=now-30000 step=200 disorder=9000 value={n}
commit
begin two
generate transactions count=60 partitions=2 time=now-20000 step=200 disorder=9000 value=aborted
abort
use -
generate transactions count=100 partitions=2 time=now-20000 step=200 disorder=9000 value={n}
begin three
produce transactions partition=0 time=now value=last
commit
set transaction.timeout.ms=800000
begin four
produce transactions partition=1 time=now-500 value=open
leave
use -
produce transactions partition=1 time=now value=behind
EOF

# An idempotent producer's last batch stays behind empty when all in it is
# compacted away, keeps its time, and makes lookups of earlier times answer
# "none", though later records match. The records are large, since the cleaner
# makes one segment of small ones, in which the lookup would go on; and those
# of a group lie within segment.ms, since a segment that ends with an early
# batch would be small.
my $large = 'v' x 100_000;
$broker->feed(<<"EOF");
create-topic compacted cleanup.policy=compact segment.ms=100 segment.bytes=1048576 min.cleanable.dirty.ratio=0.001 min.compaction.lag.ms=0 delete.retention.ms=0
set enable.idempotence=true
generate compacted count=8 time=@{[$base + 100]} step=1 key=k{n} value=$large
flush
produce compacted time=@{[$base + 1010]} key=again value=old
flush
use -
set enable.idempotence=false
generate compacted count=10 time=@{[$base + 200000]} step=10 key=n{n} value=$large
produce compacted time=@{[$base + 300000]} key=again value=new
flush
produce compacted time=@{[$base + 900000]} key=roll1 value=x
flush
produce compacted time=@{[$base + 1900000]} key=roll2 value=x
wait-gone compacted 0 8
wait-lookup compacted 0 @{[$base + 500]} -1
EOF

# The first segment's largest time belongs to a record that is deleted: a lookup of
# a time that is only a little earlier answers "none", though the next segment
# has later ones.
$broker->feed(<<"EOF");
create-topic truncated segment.ms=1000
set batch=record
produce truncated time=@{[$base + 1000]} value=first
produce truncated time=@{[$base + 100]} value=second
produce truncated time=@{[$base + 900]} value=third
produce truncated time=@{[$base + 901]} value=fourth
produce truncated time=@{[$base + 5000]} value=fifth
delete-records truncated 0 1
EOF

# ----------------------------------------------------------------
# What is in them, by the independent reader
# ----------------------------------------------------------------

create_server($node, 'k', $broker);

my %seen;
my %times;
for my $table (sort keys %topics)
{
	my %options = %{ $topics{$table} };
	my $topic = delete $options{topic} // $table;

	create_table($node, $table, 'k',
		q{v text OPTIONS (value 'true'), ts timestamptz OPTIONS (timestamp 'true'),
		  p int OPTIONS (partition 'true'), o bigint OPTIONS (offset 'true')},
		topic => $topic, %options);
	$times{$topic} = [ load_truth($node, $broker, $topic) ] unless $seen{$topic}++;
}
is($node->safe_psql('postgres', "SELECT count(*) FROM truth WHERE topic = 'transactions' AND v IN ('aborted', 'open', 'behind')"),
	'0', 'the reader shows no aborted and no undecided record');
is($node->safe_psql('postgres', "SELECT count(*) FROM truth WHERE topic = 'compacted' AND o = 8"),
	'0', 'the compacted record is gone');

# ----------------------------------------------------------------
# Random clauses
# ----------------------------------------------------------------

# A point in time at or near that of a record, in microseconds at times.
sub random_time
{
	my ($topic) = @_;
	my $us = pick(@{ $times{$topic} }) * 1000 + pick(0, 0, 0, 1000, -1000, 1, -1, 500, 60_000_000, -60_000_000);

	return pick(
		(map { "timestamptz 'epoch' + interval '$us us'" } 1 .. 8),
		"timestamptz 'infinity'", "timestamptz '-infinity'", "timestamptz '1960-01-01'", 'NULL::timestamptz', 'now()');
}

sub random_leaf
{
	my ($topic) = @_;
	my $op = pick(qw(= < <= > >=));
	my $kind = pick(qw(time time time offset offset partition between in flipped any subquery rest));
	my $time = random_time($topic);
	my $offset = int rand 150;

	return "ts $op $time" if $kind eq 'time';
	return "$time $op ts" if $kind eq 'flipped';
	return "o $op $offset" if $kind eq 'offset';
	return 'p ' . pick(qw(= <> < >=)) . ' ' . int rand 4 if $kind eq 'partition';
	return "ts BETWEEN $time AND " . random_time($topic) if $kind eq 'between';
	return 'p IN (' . int(rand 4) . ', ' . int(rand 200) . ')' if $kind eq 'in';
	return "ts = ANY (ARRAY[$time, " . random_time($topic) . '])' if $kind eq 'any';
	return "o $op (SELECT $offset)" if $kind eq 'subquery';
	return pick("v <> 'x'", 'ts IS NOT NULL', 'o % 2 = 0', 'length(v) > 1');
}

# All runs of a clause are in one transaction, so now() is the same in them.
$node->safe_psql('postgres', <<'EOF');
CREATE FUNCTION compare(tab text, of_topic text, clause text, OUT wanted text, OUT pushed text, OUT unpushed text)
LANGUAGE plpgsql AS $$
DECLARE
	rows text := 'SELECT count(*) || '' '' || coalesce(md5(string_agg(p || ''/'' || o || coalesce(ts::text, ''-''), '' '' ORDER BY p, o)), '''') FROM %s WHERE (%s)';
BEGIN
	EXECUTE format(rows, 'truth', clause) || format(' AND topic = %L', of_topic) INTO wanted;
	SET LOCAL kafka_fdw.enable_pushdown = on;
	EXECUTE format(rows, quote_ident(tab), clause) INTO pushed;
	SET LOCAL kafka_fdw.enable_pushdown = off;
	EXECUTE format(rows, quote_ident(tab), clause) INTO unpushed;
END $$;

-- The same, the clause's time and offset coming from another relation.
CREATE FUNCTION compare_join(tab text, of_topic text, op text, times timestamptz[], OUT wanted text, OUT pushed text, OUT unpushed text)
LANGUAGE plpgsql AS $$
DECLARE
	rows text := 'SELECT count(*) || '' '' || coalesce(md5(string_agg(n || '':'' || p || ''/'' || o, '' '' ORDER BY n, p, o)), '''')
		FROM unnest(%L::timestamptz[]) WITH ORDINALITY AS u(t, n)
		CROSS JOIN LATERAL (SELECT * FROM %s WHERE ts %s u.t AND ts < u.t + ''1 min'' AND o >= u.n %s) AS r';
BEGIN
	EXECUTE format(rows, times, 'truth', op, format('AND topic = %L', of_topic)) INTO wanted;
	SET LOCAL kafka_fdw.enable_pushdown = on;
	EXECUTE format(rows, times, quote_ident(tab), op, '') INTO pushed;
	SET LOCAL kafka_fdw.enable_pushdown = off;
	EXECUTE format(rows, times, quote_ident(tab), op, '') INTO unpushed;
END $$;
EOF

my $script = '';
for my $n (1 .. $nclauses)
{
	my $table = pick(sort keys %topics);
	my $topic = $topics{$table}{topic} // $table;
	my $call;

	if ($n % 6 == 0)
	{
		my $list = join ', ', map { random_time($topic) } 1 .. 3;

		$call = sprintf "compare_join('%s', '%s', '%s', ARRAY[%s])", $table, $topic, pick('>', '>='), $list;
	}
	else
	{
		$call = sprintf "compare('%s', '%s', \$q\$%s\$q\$)", $table, $topic, random_clause(2, sub { random_leaf($topic) });
	}
	my $shown = $call =~ s/'/''/gr;
	$script .= "SELECT '$n $shown' AS clause, * FROM $call WHERE wanted <> pushed OR wanted <> unpushed;\n";
}
is($node->safe_psql('postgres', $script), '', "$nclauses clauses find the same rows (seed $seed)");

# The times whose lookup answers "none", and those around
$script = '';
for my $start ([ compacted => 99, 100, 107, 108, 500, 1009, 1010, 1011, 199999 ], [ truncated => 99, 101, 900, 901, 902, 950, 1000, 1001, 4999, 5001 ])
{
	my ($table, @after) = @$start;

	$script .= "SELECT '$table from $_' AS clause, * FROM compare('$table', '$table', \$q\$ts >= timestamptz 'epoch' + interval '@{[$base + $_]} ms'\$q\$) WHERE wanted <> pushed OR wanted <> unpushed;\n"
	  for @after;
}
is($node->safe_psql('postgres', $script), '', 'from a time whose lookup answers "none"');

# ----------------------------------------------------------------
# That pushdown reads less, by messages
# ----------------------------------------------------------------

# How many messages the query reads
sub reads
{
	my ($query, $pushdown) = @_;

	return messages_read($node, $query, 'kafka_fdw.enable_pushdown' => $pushdown // 'on');
}

my $window = sprintf q{SELECT * FROM disorder WHERE ts >= timestamptz 'epoch' + interval '%d ms' AND ts < timestamptz 'epoch' + interval '%d ms'},
  $base + 50000, $base + 60000;
my $in_window = $node->safe_psql('postgres', $window =~ s/\*/count(*)/r);
my $read = reads($window);

is(reads($window, 'off'), '1500', 'without pushdown all messages are read');
cmp_ok($read, '>=', $in_window, 'with pushdown at least those of the window are read');

# 100 ms a message: 20 s of declared lag before and after the window's end,
# 10 s of the brokers' clocks, and 20 s of records that are late at its start
cmp_ok($read, '<=', $in_window + 500, 'and no more than those and the disorder of them');
is(reads('SELECT * FROM wide WHERE p = 7 AND o BETWEEN 1 AND 2'), '2', 'an offset range reads just that');
is(reads('SELECT * FROM wide WHERE p IN (3, 4)'), '10', 'partitions are pruned');
is(reads("SELECT * FROM disorder WHERE ts > 'infinity'"), '0', 'nothing is read for an empty window');

done_testing();
