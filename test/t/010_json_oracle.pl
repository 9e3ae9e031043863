# Proves that JSON converts as json_to_record converts it: random documents,
# sound ones and broken ones, in columns of many types, each value and each
# error compared with PostgreSQL's own.
#
# KAFKA_FDW_ORACLE_DOCUMENTS and KAFKA_FDW_ORACLE_SEED make it longer, or
# another one.
use strict;
use warnings;
no warnings 'qw';    # commas are meant
use Test::More;
use KafkaFdw::Broker;
use KafkaFdw::Node qw(start_node create_server create_table);

my $count = $ENV{KAFKA_FDW_ORACLE_DOCUMENTS} // 10_000;
my $seed = $ENV{KAFKA_FDW_ORACLE_SEED} // 20240501;

# Column types, each with the least number of values and of errors that 1,000
# documents must give it for the comparison to mean something.
my @types = (
	[ text => 'text', 500, 0 ],
	[ varchar => 'varchar(5)', 200, 50 ],
	[ bpchar => 'char(4)', 100, 50 ],
	[ int2 => 'int2', 30, 50 ],
	[ int4 => 'int4', 50, 50 ],
	[ int8 => 'int8', 50, 50 ],
	[ float4 => 'float4', 100, 50 ],
	[ float8 => 'float8', 100, 50 ],
	[ numeric => 'numeric', 100, 50 ],
	[ money => 'numeric(6,2)', 50, 50 ],
	[ wide => 'numeric(4,-2)', 20, 50 ],
	[ bool => 'bool', 50, 50 ],
	[ timestamptz => 'timestamptz', 30, 50 ],
	[ timestamptz1 => 'timestamptz(1)', 30, 50 ],
	[ timestamp => 'timestamp', 30, 50 ],
	[ timestamp0 => 'timestamp(0)', 30, 50 ],
	[ date => 'date', 30, 50 ],
	[ interval => 'interval', 10, 50 ],
	[ uuid => 'uuid', 3, 50 ],
	[ bytea => 'bytea', 100, 1 ],
	[ jsonb => 'jsonb', 500, 0 ],
	[ json => 'json', 500, 0 ],
	[ texts => 'text[]', 30, 50 ],
	[ ints => 'int[]', 10, 50 ],
	[ row => 'pair', 10, 50 ],
	[ rows => 'pair[]', 3, 50 ],
	[ positive => 'positive', 20, 50 ],
	[ required => 'required', 500, 5 ],
	[ short_ints => 'short_ints', 3, 50 ],
	[ good_row => 'good_pair', 3, 50 ],
	[ color => 'color', 3, 50 ],
	[ document => 'document', 100, 5 ],
);
my %is_time = map { $_ => 1 } qw(timestamptz timestamptz1 timestamp timestamp0 date interval);

# ---------------------------------------------------------------------------
# Documents
# ---------------------------------------------------------------------------

# A generator of its own: rand() differs between builds of Perl.
my $state = $seed & 0xffffffff;

sub pick_number
{
	my ($limit) = @_;

	$state ^= ($state << 13) & 0xffffffff;
	$state ^= $state >> 17;
	$state ^= ($state << 5) & 0xffffffff;
	return $state % $limit;
}

sub pick { return $_[ pick_number(scalar @_) ] }

my @numbers = qw(0 -0 1 -1 7 42 127 128 32767 32768 -32768 -32769 2147483647
  2147483648 -2147483648 -2147483649 9223372036854775807 9223372036854775808
  -9223372036854775808 -9223372036854775809 12345678901234567890 0.0 -0.0 1.0
  0.1 0.5 1.5 -2.50 12.345 99.995 9999.99 9999.994 9999.995 -9999.995 10000
  0.005 0.0049 949999 950000 49 50 149.9 1e2 1E2 1e+2 1.5e3 1e-2 1e22 1e23
  123456789e-3 4.35 0.3 2.2250738585072014e-308 4.9e-324 2e-324 1e308 1.8e308
  1e400 1e-400 3.4028235e38 3.5e38 1.17549435e-38 1e-46 16777217 16777216
  0.1234567890123456789 1.7976931348623157e308 9007199254740993 100000000000000000000
  179769313486231580793 3.141592653589793238462643383279 1e131071 1e131072
  1e-16383 1e-16384 1e200000 0e999999999 1714564800.25 1714564800250);
my @strings = (
	qw(a abc abcde abcdef t f true false yes no on off y n TRUE 1 0 12 -7 +5
	  1.5 1e3 NaN Infinity -inf 0x1F 1_000 red green red green
	  2024-05-01 2024-02-29 2023-02-29 0001-01-01 9999-12-31 20240501
	  2024-05-01T10:00:00Z 2024-05-01T10:00:00+02:00 2024-05-01T10:00:00.123456Z
	  2024-05-01T10:00:00.1234567Z 2024-05-01T10:00:00.9999999+05 2024-05-01T24:00:00Z
	  2024-05-01T23:59:60Z 2024-05-01T25:00:00Z 2024-05-01T10:00:00 2024-05-01T10:00Z
	  2024-05-01T10:00:00.05-0330 2024-10-27T02:30:00 1900-01-01T00:00:00Z
	  0000-01-01T00:00:00Z 01/02/2024 13.02.2024 infinity -infinity epoch
	  123e4567-e89b-12d3-a456-426614174000 123E4567E89B12D3A456426614174000
	  123e4567-e89b-12d3-a456-42661417400g {123e4567-e89b-12d3-a456-426614174000}
	  {1,2} {} {a,b} {{1,2},{3,4}} (1,x) (1,) 1day P1D 01:02 \\\\x00ff \\\\xz),
	'', ' ', ' 12', '12 ', '  true ', '2024-05-01 10:00:00+00', '2024-05-01 10:00:00.5',
	'May 1 2024', '1 day', 'abcde  ', 'abcd   ', 'a\nb', '\u00e9', "\xc3\xa9",
	"\xe6\x97\xa5\xe6\x9c\xac\xe8\xaa\x9e", "\xe6\x97\xa5\xe6\x9c\xac\xe8\xaa\x9eab", "\xf0\x9f\x98\x80",
	'\ud83d\ude00', '\"q\"', 'a\/b', '\\\\', '\t', 'ab\u0063', '\b\f\r', "\x7f",
	'a,b', 'x' x 70);
my @broken_values = (
	'01', '1.', '.5', '+1', '1e', '-', 'tru', 'nul', 'NaN', "'a'", '"a', '"\x"', '"\u12"', '"\u0000"',
	'"\ud83d"', '"\ude00"', "\"\t\"", "\"\x01\"", '[1,]', '[1 2]', '{"a"}', '{"a":}', '{"a":1,}', '{a:1}', '',
	"\"\xff\"", "\"\xc0\x80\"", "\"\xed\xa0\x80\"", "\"\xe2\x82\"", '/**/1', "1\0");

sub make_blank { return pick('', '', '', '', ' ', "\n\t", '  ', "\r\n") }

sub make_number
{
	return pick(@numbers) if pick_number(3);
	return join '', pick('', '-'), pick_number(10**pick(1, 2, 4, 6, 9)),
	  pick('', '', '.' . pick_number(1_000_000), '.0' . pick_number(1000)),
	  pick('', '', '', 'e' . (pick_number(40) - 20));
}

sub make_value
{
	my ($depth) = @_;
	my $kind = pick_number($depth > 3 ? 10 : 16);

	return make_number() if $kind < 4;
	return '"' . pick(@strings) . '"' if $kind < 8;
	return pick('true', 'false') if $kind == 8;
	return 'null' if $kind == 9;
	return make_array($depth + 1) if $kind < 13;
	return make_object($depth + 1);
}

# Arrays of one kind, too, which are what array types can take
sub make_array
{
	my ($depth) = @_;
	my $length = pick(0, 1, 2, 2, 3);
	my $kind = pick_number(4);
	my @elements = map {
		    $kind == 0 ? pick_number(1000)
		  : $kind == 1 ? '[' . pick_number(9) . ',' . pick_number(9) . ']'
		  : $kind == 2 ? make_object($depth)
		  : make_value($depth)
	} 1 .. $length;

	return '[' . make_blank() . join(make_blank() . ',' . make_blank(), @elements) . make_blank() . ']';
}

# Members that fit the type pair, and others
sub make_object
{
	my ($depth) = @_;
	my @members;

	push @members, '"n":' . (pick_number(4) ? pick(1, 2, -3, '"4"', 'null') : make_value($depth)) if pick_number(4);
	push @members, '"s":' . make_blank() . make_value($depth) if pick_number(2);
	push @members, '"' . pick('x', 'n', 'a', 'A', '\u006e') . '":' . make_value($depth) if !pick_number(3);
	return '{' . make_blank() . join(make_blank() . ',' . make_blank(), @members) . make_blank() . '}';
}

# One in twenty is cut off, or has a byte changed, or something else added.
sub damage
{
	my ($document) = @_;
	my $place = pick_number(length($document));

	return $document if pick_number(20);
	return substr($document, 0, $place) if pick_number(2);
	return pick("\xef\xbb\xbf", '[', '1', ' {}', "\0") . $document if !pick_number(4);
	return "$document$document" if !pick_number(4);
	substr($document, $place, 1) = chr(pick_number(256));
	return $document;
}

# Field "a" is what the columns show; whatever else a document has must not
# disturb, unless it makes it no JSON.
sub make_document
{
	my @members;

	push @members, [ pick('b', 'aa', 'A', '', 'a.b', "\xc3\xa9"), make_value(0) ] if !pick_number(2);
	push @members, [ 'a', make_value(0) ] if pick_number(20);
	push @members, [ pick('a', '\u0061'), make_value(0) ] if !pick_number(8);
	push @members, [ 'z', make_value(0) ] if !pick_number(4);
	push @members, [ pick('a', 'z'), pick(@broken_values) ] if !pick_number(20);
	push @members, [ 'deep', '[' x 600 . ']' x 600 ] if !pick_number(500);
	return damage(make_blank() . '{'
		  . join(',', map { make_blank() . "\"$_->[0]\"" . make_blank() . ':' . make_blank() . $_->[1] . make_blank() }
			  @members)
		  . '}' . make_blank());
}

sub escape_bytes
{
	my ($bytes) = @_;

	$bytes =~ s/([^ -\[\]-~])/sprintf '\\x%02x', ord $1/ge;
	return $bytes;
}

# ---------------------------------------------------------------------------
# Tables
# ---------------------------------------------------------------------------

my $broker = KafkaFdw::Broker->new;
my $node = start_node('main');
my $copy = join '', map { "0\t" . (1000 + $_) . "\t\\N\t" . escape_bytes(make_document()) . "\n" } 1 .. $count;

$broker->feed("create-topic documents\ncopy documents\n$copy\\.\n");
$node->safe_psql('postgres', <<'EOF');
CREATE TYPE pair AS (n int, s text);
CREATE TYPE color AS ENUM ('red', 'green');
CREATE DOMAIN positive AS int CHECK (VALUE > 0);
CREATE DOMAIN required AS text NOT NULL;
CREATE DOMAIN short_ints AS int[] CHECK (array_length(VALUE, 1) < 3);
CREATE DOMAIN good_pair AS pair CHECK ((VALUE).n IS NOT NULL);
CREATE DOMAIN document AS jsonb CHECK (jsonb_typeof(VALUE) <> 'array');

-- The message as JSON, or NULL where jsonb refuses it or it is no object
CREATE FUNCTION to_document(message bytea) RETURNS json LANGUAGE plpgsql AS $$
BEGIN
	IF jsonb_typeof(convert_from(message, 'UTF8')::jsonb) <> 'object' THEN
		RETURN NULL;
	END IF;
	RETURN convert_from(message, 'UTF8')::json;
EXCEPTION WHEN OTHERS THEN
	RETURN NULL;
END $$;
EOF
create_server($node, 'logs', $broker);
create_table($node, 'raw', 'logs', "o bigint OPTIONS (offset 'true'), message bytea OPTIONS (value 'true')",
	topic => 'documents', format => 'json');
create_table($node, 'decoded', 'logs',
	join(', ', "o bigint OPTIONS (offset 'true')",
		(map { "$_->[0]_v $_->[1] OPTIONS (json 'a')" } @types),
		"junk_v bytea OPTIONS (junk 'true')", "error_v text OPTIONS (junk_error 'true')"),
	topic => 'documents', format => 'json');
for my $type (@types)
{
	$node->safe_psql('postgres', <<"EOF");
CREATE FUNCTION convert_$type->[0](document json, OUT value text, OUT error text) LANGUAGE plpgsql AS \$\$
BEGIN
	SELECT a::text INTO value FROM json_to_record(document) AS r(a $type->[1]);
EXCEPTION WHEN OTHERS THEN
	error := SQLERRM;
END \$\$;
EOF
}
$node->safe_psql('postgres', 'CREATE TABLE oracle AS SELECT o, message, to_document(message) AS document FROM raw');
is($node->safe_psql('postgres', 'SELECT count(*) FROM oracle'), $count, 'all documents are there');

# ---------------------------------------------------------------------------
# Comparison
# ---------------------------------------------------------------------------

# The first few rows of a query under the settings given
sub query
{
	my ($settings, $query) = @_;

	return $node->safe_psql('postgres', join('', map { "SET $_;\n" } @$settings) . $query);
}

sub is_same
{
	my ($query, $name) = @_;

	return is(query([], "$query LIMIT 3"), '', "$name (seed $seed)");
}

# What the extension and json_to_record make of all documents under the
# settings given
sub make_tables
{
	my ($settings) = @_;

	query($settings, 'CREATE TABLE whole AS SELECT o, document, message, junk_v, error_v, '
		  . join(', ', map { "$_->[0]_v::text" } @types) . ' FROM oracle JOIN decoded USING (o)');
	return;
}

sub compare_type
{
	my ($settings, $type) = @_;
	my ($name, $type_name, $least_values, $least_errors) = @$type;

	query($settings, <<"EOF");
CREATE TABLE compared AS
SELECT o, document, value AS want, error AS want_error, ${name}_v AS got, error_v AS got_error
FROM whole, convert_$name(document) WHERE document IS NOT NULL
EOF
	is_same(<<"EOF", join ', ', $type_name, @$settings);
SELECT * FROM compared WHERE want IS DISTINCT FROM got
OR (want_error IS NOT NULL) <> (coalesce(strpos(got_error, 'column "${name}_v": '), 0) > 0)
OR coalesce(strpos(got_error, 'column "${name}_v": ' || want_error), 1) = 0
EOF
	my ($values, $errors) = split /\|/, query([], 'SELECT count(want), count(want_error) FROM compared');
	cmp_ok($values, '>=', $least_values * $count / 1000, "$type_name: enough values");
	cmp_ok($errors, '>=', $least_errors * $count / 1000, "$type_name: enough errors");
	query([], 'DROP TABLE compared');
	return;
}

# No setting may matter to the fast ways where it does not to the slow ones.
my @unusual = ("DateStyle = 'SQL, DMY'", "TimeZone = 'Australia/Lord_Howe'", "IntervalStyle = 'iso_8601'");

make_tables(\@unusual);
compare_type(\@unusual, $_) for grep { $is_time{ $_->[0] } } @types;
query([], 'DROP TABLE whole');

my @usual = ("DateStyle = 'ISO, MDY'", "TimeZone = 'UTC'");

make_tables(\@usual);
compare_type(\@usual, $_) for @types;

my $shown = join ', ', map { "$_->[0]_v" } @types;

is_same(<<'EOF', 'the same messages are JSON');
SELECT o, encode(message, 'escape'), error_v FROM whole
WHERE (document IS NULL) <> (coalesce(error_v, '') LIKE 'could not parse message as JSON: %')
EOF
is_same(<<"EOF", 'what is no JSON gives NULLs and itself as junk');
SELECT o, encode(message, 'escape') FROM whole
WHERE document IS NULL AND (num_nonnulls($shown) > 0 OR junk_v IS DISTINCT FROM message)
EOF
is_same(<<'EOF', 'junk is there exactly with an error');
SELECT o, encode(message, 'escape') FROM whole
WHERE junk_v IS DISTINCT FROM CASE WHEN error_v IS NOT NULL THEN message END
EOF

my $broken = query([], 'SELECT count(*) FROM oracle WHERE document IS NULL');
cmp_ok($broken, '>', $count / 50, 'there are documents that are no JSON');
cmp_ok($broken, '<', $count / 4, 'and not too many');

# ---------------------------------------------------------------------------
# Bad messages, left out
# ---------------------------------------------------------------------------

create_table($node, 'skipping', 'logs',
	"o bigint OPTIONS (offset 'true'), message bytea OPTIONS (value 'true'), a text, i int OPTIONS (json 'a'), "
	  . "d positive OPTIONS (json 'a')", topic => 'documents', format => 'json', on_error => 'skip');
my $good = query([], <<'EOF');
SELECT count(*), sum(o) FROM oracle, convert_int4(document) AS i, convert_positive(document) AS p
WHERE document IS NOT NULL AND i.error IS NULL AND p.error IS NULL
EOF
cmp_ok((split /\|/, $good)[0], '>', $count / 20, 'some messages suit all columns');
for my $asked ('o', 'o, a', 'o, i', 'o, message, d')
{
	is(query([], "SELECT count(*), sum(o) FROM (SELECT $asked FROM skipping OFFSET 0) AS s"),
		$good, "skip leaves out exactly the bad messages, asked for $asked");
}
is(query([], 'SELECT count(*) FROM skipping'), (split /\|/, $good)[0], 'or for no column');

done_testing();
