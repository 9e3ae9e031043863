# Rebuilding a rollup under load: messages come, runs go on, readers read, and
# none of them is told of an error or sees a number that is neither the old
# rollup's nor the new one's. A rebuild that is killed, in whichever phase,
# leaves the old one serving, and the next call goes on where it was. Readers
# that are in its way are let through; those whose snapshots are older than the
# new numbers are waited for. A copy that was dumped in the midst can go on, too.
use strict;
use warnings;
use Test::More;
use KafkaFdw::Broker;
use KafkaFdw::Ledger;
use KafkaFdw::Node qw(start_node create_server create_table);
use KafkaFdw::Rollup qw(create_rollup run_rollup rollup_value positions distance difference);
use KafkaFdw::Session qw(wait_until);
use PostgreSQL::Test::Utils qw(slurp_file);

my $PARTITIONS = 3;
my $START_MS = 1_700_000_000_000;
my $FIRST = 30_000;
my $GATE = 815;

my $broker = KafkaFdw::Broker->new;
my $ledger = KafkaFdw::Ledger->new($broker, 'events', partitions => $PARTITIONS);
my $node = start_node('main', restart_after_crash => 'on', log_checkpoints => 'off', max_connections => 30);

create_server($node, 'logs', $broker);
create_table($node, 'events', 'logs', <<'EOF', topic => 'events', format => 'json');
ts timestamptz OPTIONS (timestamp 'true'), id bigint, k int, v int
