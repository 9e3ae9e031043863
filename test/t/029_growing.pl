# A window's start is asked for along with the ends of the topic. The broker may
# say "no such record", take in one that is, and only then tell the end, which
# lies behind it: what the statement sees has to have that record.
use strict;
use warnings;
use IPC::Run;
use KafkaFdw::Broker;
use KafkaFdw::Node qw(start_node create_server create_table);
use Test::More;

my $rounds = 600;
my $base = 1700000000000;
my $broker = KafkaFdw::Broker->new;
my $node = start_node('main', timezone => 'UTC', jit => 'off', log_statement => 'none');

create_server($node, 'k', $broker);
create_table($node, 'growing', 'k',
	q{v text OPTIONS (value 'true'), ts timestamptz OPTIONS (timestamp 'true'), o bigint OPTIONS (offset 'true')},
	topic => 'growing', timestamp_max_lag => '0');
$broker->feed("create-topic growing\nproduce growing time=$base value=first\n");

# Each record's time is a millisecond after the one before it. A statement
# looks for those from some milliseconds after the last that is known, twice:
# where the broker says they begin, and by reading all that is new.
$node->safe_psql('postgres', <<'EOSQL');
CREATE FUNCTION compare(rounds int, OUT wrong int, OUT seen int, OUT grown int) LANGUAGE plpgsql AS $$
DECLARE
	last_o bigint := 0;
	last_ts timestamptz;
	since timestamptz;
	sought int;
	wanted int;
	newest bigint;
BEGIN
	wrong := 0; seen := 0; grown := 0;
	SELECT max(ts) INTO last_ts FROM growing WHERE o = 0;
	FOR i IN 1 .. rounds LOOP
		since := last_ts + interval '1 ms' * (1 + i % 40);
		SELECT (SELECT count(*) FROM growing WHERE ts >= since),
			(SELECT count(*) FROM growing WHERE o >= last_o AND ts::text::timestamptz >= since),
			(SELECT max(o) FROM growing WHERE o >= last_o)
			INTO sought, wanted, newest;
		wrong := wrong + (sought <> wanted)::int;
		seen := seen + (wanted > 0)::int;
		grown := grown + (newest > last_o)::int;
		last_ts := last_ts + (newest - last_o) * interval '1 ms';
		last_o := newest;
	END LOOP;
END $$;
EOSQL

# Every record is appended by itself, as fast as it goes.
my $script = "$ENV{TESTDIR}/growing.feed";
PostgreSQL::Test::Utils::append_to_file($script,
	join '', "set batch=record\n",
	map { sprintf "generate growing count=100 step=1 time=%d value=x\n", $base + 1 + 100 * $_ } 0 .. 3999);
my ($out, $err) = ('', '');
my $producer = IPC::Run::start([ 'feed', '-b', $broker->brokers, $script ], '<', \undef, '>', \$out, '2>', \$err);
my ($wrong, $seen, $grown) = split /\|/, $node->safe_psql('postgres', "SELECT * FROM compare($rounds)");

$producer->kill_kill;
is($wrong, 0, 'both ways find the same');
cmp_ok($grown, '>=', $rounds / 4, 'while the topic grows');
cmp_ok($seen, '>=', $rounds / 10, 'records that are looked for come');
cmp_ok($rounds - $seen, '>=', $rounds / 10, 'or have not come yet');

done_testing();
