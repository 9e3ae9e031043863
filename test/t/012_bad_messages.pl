# What test/sql/bad_messages.sql cannot hold: messages cut at every byte, huge
# and deeply nested ones, other encodings, and what many bad messages leave
# behind in a backend.
use strict;
use warnings;
use Test::More;
use KafkaFdw::Broker;
use KafkaFdw::Node qw(start_node create_server create_table backend_usage);
use KafkaFdw::Session;
use PostgreSQL::Test::Utils qw(slurp_file);

my $broker = KafkaFdw::Broker->new;
my $node = start_node('main');

create_server($node, 'logs', $broker);

# Rows, or the error's lines, of a query
sub query
{
	my ($sql, %options) = @_;

	return $node->safe_psql($options{database} // 'postgres', $sql);
}

sub fails
{
	my ($sql) = @_;
	my ($status, $out, $err) = $node->psql('postgres', $sql);

	return $status == 0 ? "no error: $out" : $err;
}

sub escape_bytes
{
	my ($bytes) = @_;

	$bytes =~ s/([^ -\[\]-~])/sprintf '\\x%02x', ord $1/ge;
	return $bytes;
}

# Feeds values as records of a new topic, and makes a table for each on_error.
sub make_tables
{
	my ($topic, $columns, @values) = @_;
	my $copy = join '', map { "0\t1000\t\\N\t" . escape_bytes($_) . "\n" } @values;

	$broker->feed("create-topic $topic\ncopy $topic\n$copy\\.\n");
	for my $mode ('error', 'null', 'skip')
	{
		create_table($node, "${topic}_$mode", 'logs', "o bigint OPTIONS (offset 'true'), $columns"
			  . ($mode eq 'null' ? ", junk bytea OPTIONS (junk 'true'), fault text OPTIONS (junk_error 'true')" : ''),
			topic => $topic, format => 'json', on_error => $mode);
	}
	return;
}

# Cut at every byte: only the whole is JSON. Blanks around are none of it.
my $document = ' {"a": 1.5e3, "b": [true, null, {"c": "\u00e9\n"}], "d": {}, "e": "' . "\xc3\xa9" . '"}';
my @cuts = map { substr($document, 0, $_) } 0 .. length $document;

make_tables('cut', 'a float8, e text', @cuts);
is(query('SELECT count(*), count(fault), count(junk), count(a) + count(e) FROM cut_null'),
	join('|', scalar @cuts, scalar @cuts - 1, scalar @cuts - 1, 2), 'every cut is bad, to on_error null');
is(query('SELECT o, a, e FROM cut_null WHERE fault IS NULL'), $#cuts . "|1500|\xc3\xa9", 'and the whole is good');
is(query('SELECT count(*) FROM cut_null WHERE octet_length(junk) = o'), $#cuts, 'junk is what there was');
is(query('SELECT o, a, e FROM cut_skip'), $#cuts . "|1500|\xc3\xa9", 'on_error skip leaves the whole');
for my $place (0, 1, $#cuts - 1)
{
	like(fails("SELECT a FROM cut_error WHERE o = $place"),
		qr/ERROR:  could not parse message as JSON\n.*topic "cut", partition 0, offset $place$/s, "on_error error stops at cut $place");
}
is(query("SELECT a FROM cut_error WHERE o = $#cuts"), 1500, 'and not at the whole');

# Nested deeper than the server's stack allows, in a field nobody asked for; a
# depth that the server takes; and a good message behind them
my $deep = 100_000;

make_tables('deep', 'a int, other jsonb', '{"a": 1, "other": ' . '[' x $deep . ']' x $deep . '}',
	'{"a": 2, "x": ' . '{"k":' x $deep . '0' . '}' x $deep . '}',
	'{"a": 3, "other": ' . '[' x 1000 . ']' x 1000 . '}', '{"a": 4}');
is(query('SELECT o, a, junk IS NOT NULL FROM deep_null ORDER BY o'), "0||t\n1||t\n2|3|f\n3|4|f", 'too deep nesting is a bad message');
like(query('SELECT fault FROM deep_null WHERE o = 0'), qr/could not parse message as JSON: stack depth limit exceeded/, 'and says so');
is(query('SELECT o, a FROM deep_skip ORDER BY o'), "2|3\n3|4", 'too deep nesting is left out');
like(fails('SELECT a FROM deep_error'), qr/stack depth limit exceeded.*topic "deep", partition 0, offset 0$/s, 'too deep nesting is an error');
is(query('SELECT length(other::text) FROM deep_error WHERE o = 2'), 2000, 'what the server takes is no error');
is(query('SELECT sum(o) FROM deep_error'), 6, 'nobody who asks for no field is stopped');

# 10 MB in one value, and 1,000 headers
my $size = 10_000_000;
my $file = $broker->dir . '/large.json';

open my $fh, '>', $file or die "could not open $file: $!";
print $fh '{"a": "', 'x' x $size, '", "b": {"c": "', 'y' x $size, '"}}';
close $fh;
$broker->feed("create-topic large max.message.bytes=30000000\nset batch=record message.max.bytes=30000000\n"
	  . "produce large time=1000 file=$file\ncopy large\n"
	  . join("\t", 0, 1001, '\N', '{"a": "small"}', map { 'h' . ($_ % 10) . ":$_" } 0 .. 999)
	  . "\n\\.\n");
create_table($node, 'large', 'logs', "o bigint OPTIONS (offset 'true'), a text, b jsonb, b_text text OPTIONS (json 'b'), c text OPTIONS (json 'b.c'), h jsonb OPTIONS (headers 'true')",
	topic => 'large', format => 'json');
is(query('SELECT length(a), length(b::text), length(b_text), length(c), c = repeat(\'y\', length(c)) FROM large ORDER BY o'),
	$size . '|' . ($size + 9) . '|' . ($size + 9) . "|$size|t\n5||||", '10 MB in a value');
is(query(q{SELECT count(*), min(jsonb_array_length(value)), max(jsonb_array_length(value)), min(value ->> 99), max(value ->> 0)
	FROM large, jsonb_each(h) WHERE o = 1}), '10|100|100|990|9', '1,000 headers, in order');

# Other encodings: JSON is UTF-8 whatever the server's is, other bytes are the
# server's.
$broker->feed(<<'EOF');
create-topic encoded
produce encoded time=1000 key="\xe9" value="{\"a\": \"\xc3\xa9\", \"b\": \"\\u00e9\", \"j\": {\"\xc3\xa9\": \"\xc3\xa9\"}, \"l\": [\"\xc3\xa9\"]}"
produce encoded time=1001 key="\xc3\xa9" value="{\"a\": \"\xe6\x97\xa5\", \"b\": \"\\u65e5\", \"j\": {\"a\": \"\xe6\x97\xa5\"}, \"l\": [\"\xe6\x97\xa5\"]}"
produce encoded time=1002 value="{\"a\": \"\xe9\"}"
produce encoded time=1003 value="{\"j\": {\"a\": \"\\u65e5\"}, \"l\": [\"\\u65e5\"]}"
create-topic encoded_csv
produce encoded_csv time=1000 value="1,\xe9"
EOF
for my $encoding ('LATIN1', 'SQL_ASCII')
{
	my $database = lc $encoding;

	query("CREATE DATABASE $database ENCODING $encoding LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0");
	query("CREATE EXTENSION kafka_fdw; CREATE SERVER logs FOREIGN DATA WRAPPER kafka_fdw OPTIONS (brokers '${\ $broker->brokers}');
		CREATE FOREIGN TABLE encoded (o bigint OPTIONS (offset 'true'), k text OPTIONS (key 'true'), a text, b varchar(10), j jsonb, l text[],
			fault text OPTIONS (junk_error 'true')) SERVER logs OPTIONS (topic 'encoded', format 'json');
		CREATE FOREIGN TABLE encoded_csv (n int, t text) SERVER logs OPTIONS (topic 'encoded_csv', format 'csv')", database => $database);
}
my $hex = q{SELECT o, encode(convert_to(k, e), 'hex'), encode(convert_to(a, e), 'hex'), encode(convert_to(b, e), 'hex'),
	encode(convert_to(j::text, e), 'hex'), encode(convert_to(l[1], e), 'hex') FROM encoded, pg_client_encoding() AS e ORDER BY o};
is(query($hex, database => 'latin1'),
	join("\n", '0|e9|e9|e9|7b22e9223a2022e9227d|e9', '1|c3a9||||', '2|||||', '3|||||'), 'LATIN1: JSON is converted, the key is not');
is(query('SELECT o, fault IS NULL FROM encoded ORDER BY o', database => 'latin1'), "0|t\n1|f\n2|f\n3|f", 'LATIN1: what it cannot express is bad');
like(query('SELECT fault FROM encoded WHERE o = 1', database => 'latin1'),
	qr/^(column "[abjl]": character with byte sequence 0xe6 0x97 0xa5 in encoding "UTF8" has no equivalent in encoding "LATIN1"(; |$)){4}$/, 'LATIN1: in each such field');
like(query('SELECT fault FROM encoded WHERE o = 3', database => 'latin1'), qr/^column "j": .*; column "l": /, 'LATIN1: or escape');
is(query("SELECT n, encode(convert_to(t, 'LATIN1'), 'hex') FROM encoded_csv", database => 'latin1'), '1|e9', 'LATIN1: CSV is in the server\'s encoding');
is(query(q{SELECT o, encode(convert_to(k, 'SQL_ASCII'), 'hex'), encode(convert_to(a, 'SQL_ASCII'), 'hex') FROM encoded ORDER BY o}, database => 'sql_ascii'),
	"0|e9|c3a9\n1|c3a9|e697a5\n2||\n3||", 'SQL_ASCII: JSON stays UTF-8, and other bytes what they are');

# An error that is not the data's fault gets through: here a cancel inside a
# constraint's function.
query(<<'EOF');
CREATE FUNCTION is_quick(value text) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
	IF value = '1000' THEN
		PERFORM pg_sleep(60);
	ELSIF value::int % 2 = 1 THEN
		RAISE 'odd';
	END IF;
	RETURN true;
END $$;
CREATE DOMAIN quick AS text CHECK (is_quick(VALUE));
EOF
$broker->feed("create-topic numbers\ngenerate numbers count=2000 time=1000 value='{\"n\": {n}}'\n");
create_table($node, 'numbers', 'logs', "n quick, i int OPTIONS (json 'n'), fault text OPTIONS (junk_error 'true')",
	topic => 'numbers', format => 'json');
is(query("SELECT count(*), count(n), count(fault), sum(n::int) FROM (SELECT * FROM numbers LIMIT 1000) AS s"), '1000|500|500|249500',
	'a function that raised an error works again for the next message');
like(fails("SET statement_timeout = '500ms'; SELECT count(n) FROM numbers"),
	qr/canceling statement due to statement timeout.*column "n" of topic "numbers", partition 0, offset 1000/s, 'a cancel is not caught');

# Many bad messages leave nothing in the backend, nor in its transaction. The
# server keeps little read ahead, its malloc gives free memory back at once, and
# no compiler is loaded, so that what the process has is what is in use.
my $count = 50_000;
my $rounds = 4;

# What 100 bytes a message, or 25 for each of four columns, would come to
my $leak_kb = $rounds * $count * 100 / 1024;

$broker->feed("create-topic broken\ngenerate broken count=$count time=1000 value='{\"i\": \"x{n}\", \"l\": [{n}, \"y\"], \"j\": {\"k\": {n}}}'\n");
create_server($node, 'frugal', $broker, memory_limit => '8MB');
create_table($node, 'broken', 'frugal', "i int, l int[], j jsonb, fault text OPTIONS (junk_error 'true')", topic => 'broken', format => 'json');
{
	local %ENV = (%ENV, MALLOC_ARENA_MAX => 1, MALLOC_MMAP_THRESHOLD_ => 131072, MALLOC_TRIM_THRESHOLD_ => 131072);

	$node->restart;
}
my $session = KafkaFdw::Session->new($node);

# What the server's own allocator and the whole process hold, in kB
sub memory_held
{
	my $contexts = $session->value('SELECT sum(total_bytes) / 1024 FROM pg_backend_memory_contexts');
	my %usage = backend_usage($session->pid);

	return (int $contexts, $usage{rss_kb});
}

sub read_bad
{
	return $session->value('SELECT count(fault), count(i), count(l), count(j) FROM broken');
}

$session->value('SET jit = off');
$session->value('BEGIN');
is(read_bad(), "$count|0|0|$count", "$count bad messages") for 1 .. 3;
my @before = memory_held();
is(read_bad(), "$count|0|0|$count", 'and again in the same transaction') for 1 .. $rounds;
my @after = memory_held();
is($session->value('SELECT count(*) FROM pg_locks WHERE pid = ' . $session->pid . " AND locktype = 'transactionid'"),
	0, 'no transaction number was used up');
is($session->run('COMMIT')->{error}, '', 'nor is there a warning');
cmp_ok($after[0] - $before[0], '<', $leak_kb / 20, 'they leave nothing in memory contexts');
cmp_ok($after[1] - $before[1], '<', $leak_kb / 2, 'nor elsewhere in memory');
note "contexts from $before[0] to $after[0] kB, process from $before[1] to $after[1] kB, a leak were $leak_kb kB";
unlike(slurp_file($node->logfile), qr/WARNING|TRAP|PANIC|terminated by signal/, 'the server has nothing to complain of');

done_testing();
