# Proves the tools that other tests rest on: what the feeder writes is what
# Apache Kafka's own client reads, and the broker behaves in the ways that the
# extension is built for.
use strict;
use warnings;
use Test::More;
use KafkaFdw::Broker;

my $broker = KafkaFdw::Broker->new;

# The given columns of all records, numbered as in KafkaFdw::Broker.
sub rows
{
	my ($topic, $columns) = @_;

	return [ map { [ @{$_}[@$columns] ] } $broker->records($topic) ];
}

# Bytes, NULL and empty
$broker->feed(<<'EOF');
create-topic bytes partitions=2
produce bytes partition=1 time=-5000 key=NULL value=NULL
produce bytes partition=1 time=2024-05-01T12:00:00.250Z key= value=''
produce bytes partition=1 time=3 key="\x00\xff" value='it''s "\n"' header=a:1 header=a:NULL header=b:'NULL' header="c\\:\xfe"
produce bytes partition=1 time=4 key=NULL\  value="a\tb\n\\c"
copy bytes
0	7	k	a\tb\\N	h:v	g:NULL
0	8	\N	\N
\.
EOF
is_deeply(
	rows('bytes', [ 1 .. 7 ]),
	[
		[ 0, 0, 7, 'CreateTime', 'k', "a\tb\\N", '[["h", "76"], ["g", null]]' ],
		[ 0, 1, 8, 'CreateTime', undef, undef, '[]' ],
		[ 1, 0, -5000, 'CreateTime', undef, undef, '[]' ],
		[ 1, 1, 1714564800250, 'CreateTime', '', '', '[]' ],
		[
			1, 2, 3, 'CreateTime', "\x00\xff", 'it\'s "\\n"',
			'[["a", "31"], ["a", null], ["b", "4e554c4c"], ["c\\\\", "fe"]]'
		],
		[ 1, 3, 4, 'CreateTime', 'NULL ', "a\tb\n\\c", '[]' ],
	],
	'bytes, NULLs, headers and times arrive as written');

# Times out of order, in one batch and in a batch per record
for my $batch ('shared', 'record')
{
	my $topic = "order_$batch";

	$broker->feed(<<"EOF");
create-topic $topic
set batch=$batch
produce $topic time=10 value=a
produce $topic time=50 value=b
produce $topic time=20 value=c
produce $topic time=60 value=d
EOF
	my @found = map { ($broker->offsets_at($_, $topic))[0][1] } (20, 31, 51, 61);
	is_deeply(\@found, [ 1, 1, 3, undef ],
		"lookups find the first record not before a time, $batch batches");
}

# Transactions
$broker->feed(<<'EOF');
create-topic tx
produce tx time=1000 value=plain offset=0
begin A
produce tx time=2000 value=a1 offset=1
begin B
produce tx time=2001 value=b1 offset=2
use A
produce tx time=2002 value=a2 offset=3
abort B
commit A
begin A
produce tx time=3000 value=aborted
abort
EOF
is_deeply(rows('tx', [ 2, 6 ]), [ [ 0, 'plain' ], [ 1, 'a1' ], [ 3, 'a2' ] ],
	'read_committed shows committed records alone');
is_deeply(
	[ map { [ $_->[2], $_->[6] ] } $broker->records_uncommitted('tx') ],
	[ [ 0, 'plain' ], [ 1, 'a1' ], [ 2, 'b1' ], [ 3, 'a2' ], [ 6, 'aborted' ] ],
	'read_uncommitted shows all records, and markers take offsets');
is_deeply([ $broker->ends('tx') ], [ [ 0, 0, 8 ] ], 'the end is behind the last marker');
is(($broker->offsets_at(3000, 'tx'))[0][1], 4,
	'a lookup stops at a marker, whose time is the time of day');
$broker->feed(<<'EOF');
create-topic aborted
produce aborted time=1000 value=plain
begin D
produce aborted time=3000 value=d1
abort
EOF
is_deeply([ $broker->offsets_at(1001, 'aborted') ], [ [ 0, 1, 3000 ] ],
	'a lookup finds an aborted record');

# A transaction that stays open holds the end back
my $feeder = $broker->feeder;
$feeder->("begin C\nproduce tx time=4000 value=c1\nflush");
is(($broker->ends('tx'))[0][2], 8, 'the stable end is before an open transaction');
is(($broker->ends_uncommitted('tx'))[0][2], 9, 'the uncommitted end is behind it');
is($feeder->('leader tx 0'), "1\n", 'the feeder goes on');
$feeder->('commit');
is(($broker->ends('tx'))[0][2], 10, 'the end is visible when commit returns');
$feeder->();

# DeleteRecords makes a lookup answer "none" although later records match:
# segment.ms puts offsets 0 and 1 into the first segment, 2 and 3 into a second
$broker->feed(<<'EOF');
create-topic deleted segment.ms=600000
set batch=record
produce deleted time=1000000 value=0
produce deleted time=100 value=1
produce deleted time=1600001 value=2
produce deleted time=900000 value=3
EOF
is_deeply([ $broker->offsets_at(500, 'deleted') ], [ [ 0, 0, 1000000 ] ], 'lookup before DeleteRecords');
$broker->feed("delete-records deleted 0 1\n");
is_deeply([ $broker->ends('deleted') ], [ [ 0, 1, 4 ] ], 'the first offset moved');
is_deeply([ $broker->offsets_at(500, 'deleted') ], [ [ 0, undef, undef ] ],
	'after DeleteRecords the same lookup finds nothing, though offset 2 matches');

# Compaction and retention
$broker->feed(<<'EOF');
create-topic compacted cleanup.policy=compact min.cleanable.dirty.ratio=0.01 segment.ms=1000 min.compaction.lag.ms=0
set batch=record
produce compacted time=1000 key=a value=1
produce compacted time=1001 key=b value=2
produce compacted time=1002 key=a value=3
produce compacted time=9000 key=z value=roll
wait-gone compacted 0 0
EOF
is_deeply(rows('compacted', [ 2, 5, 6 ]), [ [ 1, 'b', 2 ], [ 2, 'a', 3 ], [ 3, 'z', 'roll' ] ],
	'compaction leaves the newest record of a key');
$broker->feed(<<'EOF');
create-topic retained retention.ms=3600000
set batch=record
produce retained time=1000 value=old
produce retained time=now value=new
wait-start retained 0 1
EOF
is_deeply([ map { $_->[6] } $broker->records('retained') ], ['new'], 'retention removes old records');

# Generated records
$broker->feed(<<'EOF');
create-topic many partitions=3
generate many count=3000 partitions=3 time=1000 step=10 disorder=7 key=k{n%5} value='{"n": {n}, "r": {r%100}, "p": {p}, "t": {t}}'
EOF
my @many = $broker->records('many');
is(scalar @many, 3000, 'all generated records arrive');
is_deeply([ grep { $_->[6] !~ /"p": $_->[1], "t": $_->[3]\}$/ } @many ], [], 'templates know partition and time');
is_deeply([ grep { $_->[3] > 1000 + 10 * ($_->[2] * 3 + $_->[1]) } @many ], [], 'disorder puts times back');
ok((grep { $_->[3] < 1000 + 10 * ($_->[2] * 3 + $_->[1]) } @many), 'disorder is there');

# Topics
$broker->feed(<<'EOF');
create-topic grows
add-partitions grows 3
alter-topic grows message.timestamp.type=LogAppendTime
produce grows partition=2 time=5 value=x
EOF
my @grown = $broker->records('grows');
is($grown[0][4], 'LogAppendTime', 'a setting of the topic was altered');
cmp_ok($grown[0][3], '>', 1_000_000_000_000, 'and the broker sets the time');
$broker->feed("delete-topic grows\ncreate-topic grows\nproduce grows time=5 value=y offset=0\n");
is_deeply(rows('grows', [ 3, 6 ]), [ [ 5, 'y' ] ], 'a topic can be made anew');

# What goes wrong is told
like($broker->feed_fails("\nproduce nowhere value=1\n"), qr/^-:2: .*"nowhere" has no partition 0/, 'missing topic');
like($broker->feed_fails("create-topic strict max.message.bytes=200 compression.type=producer\nset batch=record message.max.bytes=10000\n"
		. "produce strict time=1 value=" . ('x' x 1000) . "\n"),
	qr/^-:3: record not delivered/, 'a refused record');
like($broker->feed_fails("begin A\nproduce many value=1\n"), qr/"A" is still open/, 'a forgotten transaction');
like($broker->feed_fails("produce many value=1 offset=77\n"), qr/offset 1001 instead of 77/, 'an unexpected offset');

# Faults
is_deeply($broker->status, ['running'], 'the node runs');
$broker->pause(1);
is_deeply($broker->status, ['paused'], 'the node is paused');
$broker->resume(1);
my $port = $broker->port(1);
my $pid = $broker->pid(1);
$broker->kill(1);
is_deeply($broker->status, ['down'], 'the node is down');
$broker->restart(1);
is($broker->port(1), $port, 'a restarted node has its port');
isnt($broker->pid(1), $pid, 'and is another process');
is_deeply(rows('order_record', [6]), [ ['a'], ['b'], ['c'], ['d'] ], 'and has its data');

# Three nodes: leadership moves when a node dies
my $cluster = KafkaFdw::Broker->new(nodes => 3);
$cluster->feed("create-topic moves replication=3 partitions=3\ngenerate moves count=30 partitions=3 time=1000 value={n}\n");
my ($partition) = grep { $cluster->feed("leader moves $_") == 3 } (0 .. 2);
ok(defined $partition, 'node 3 leads a partition');
$cluster->kill(3);
is(scalar($cluster->records('moves')), 30, 'all records are there without node 3');
isnt($cluster->feed("leader moves $partition"), "3\n", 'another node leads the partition');

done_testing();
