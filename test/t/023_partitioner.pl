# Option partitioner: keys lie where it says, whichever client put them there,
# and a query for a key reads its partition alone.
#
# KAFKA_FDW_SEED=n makes other keys.
use strict;
use warnings;
use Cwd qw(abs_path);
use File::Basename qw(dirname);
use IPC::Run;
use PostgreSQL::Test::Utils;
use Test::More;
use KafkaFdw::Broker;
use KafkaFdw::Node qw(start_node create_server create_table);

my $seed = $ENV{KAFKA_FDW_SEED} // 1;
my $tree = abs_path(dirname(__FILE__) . '/../..');
my $tmp = $PostgreSQL::Test::Utils::tmp_check;
my @counts = (1, 3, 7, 16, 200);
my @c_flags = ($ENV{CC} // 'gcc', '-std=gnu99', '-D_GNU_SOURCE', '-O1');

chomp(my $cache = `$tree/test/broker/cache`);
system_or_bail(@c_flags, '-o', "$tmp/place", "$tree/test/partitioner/place.c", '-lrdkafka');
system_or_bail(@c_flags, "-I$tree/src/core", '-o', "$tmp/hash", "$tree/test/partitioner/hash.c",
	"$tree/src/core/partitioner.c");

my $broker = KafkaFdw::Broker->new;
my $node = start_node('main', timezone => 'UTC', jit => 'off');

sub run_with
{
	my ($stdin, @command) = @_;
	my ($out, $err) = ('', '');

	IPC::Run::run(\@command, '<', \$stdin, '>', \$out, '2>', \$err) or die "@command failed: $out$err";
	return $out;
}

# ----------------------------------------------------------------
# Keys, and where the clients put them
# ----------------------------------------------------------------

note "KAFKA_FDW_SEED=$seed";
srand $seed;

sub random_bytes { return join '', map { chr int rand 256 } 1 .. $_[0] }

sub random_text
{
	my ($length) = @_;
	my $text = join '', map { chr((97 + rand 26, 0xe0 + rand 30, 0x3b1 + rand 24, 0x4e00 + rand 5000, 0x1f600 + rand 60)[rand 5]) } 1 .. $length;

	utf8::encode($text);
	return $text;
}

my @bytes = (map({ random_bytes($_) } 1 .. 16), map { random_bytes(1 + int rand 60) } 1 .. 700);
my @texts = (map({ "user-$_" } 1 .. 600), map({ random_text(1 + int rand 20) } 1 .. 700),
	map { random_text(1000 + int rand 6000) } 1 .. 30);
my %seen;
my @keys = grep { !$seen{$_}++ } @bytes, @texts;
my $lines = join '', map { "$_\n" } (map { unpack 'H*', $_ } @keys), ('') x 40, ('-') x 40;
my %clients = (murmur2 => [qw(java murmur2_random)], crc32 => [qw(consistent consistent_random)]);
my %topics = map { my $p = $_; $p => [ map { "${p}_$_" } @counts ] } keys %clients;

cmp_ok(scalar(@keys), '>=', 2000, 'thousands of keys');
$broker->feed(join '', map { my $p = $_; map { "create-topic ${p}_$_ partitions=$_\n" } @counts } sort keys %clients);
run_with($lines, 'java', '-Xmx256m', '-XX:+UseSerialGC', '-Dorg.slf4j.simpleLogger.defaultLogLevel=error',
	'-cp', "$cache/jars/*", "$tree/test/partitioner/Place.java", $broker->brokers, @{ $topics{murmur2} });
run_with($lines, "$tmp/place", $broker->brokers, 'murmur2_random', @{ $topics{murmur2} });
run_with($lines, "$tmp/place", $broker->brokers, $_, @{ $topics{crc32} }) for @{ $clients{crc32} };

# The hash of each key; undef where its place is not determined
my %hash_of;
my @printed = split /\n/, run_with(join('', map { unpack('H*', $_) . "\n" } @keys, ''), "$tmp/hash");
for my $key (@keys, '')
{
	my ($murmur2, $crc32) = map { $_ eq '-' ? undef : $_ } split / /, shift @printed;

	$hash_of{murmur2}{$key} = $murmur2;
	$hash_of{crc32}{$key} = $crc32;
}

# Where they lie, as Apache Kafka's consumer says
my @truth;
for my $partitioner (sort keys %clients)
{
	for my $count (@counts)
	{
		my @records = $broker->records("${partitioner}_$count");
		my (%placed, %empty, %without);
		my $wrong = 0;

		for my $record (@records)
		{
			my (undef, $partition, $offset, undef, undef, $key, $client) = @$record;

			push @truth, [ "${partitioner}_$count", $partition, $offset, $key ];
			$without{$partition}++, next if !defined $key;
			$empty{$client}{$partition}++, next if $key eq '';
			$wrong++ if $hash_of{$partitioner}{$key} % $count != $partition;
			$placed{$client}{$key}++;
		}
		for my $client (@{ $clients{$partitioner} })
		{
			is(scalar(keys %{ $placed{$client} }), scalar(@keys), "every key from $client is in ${partitioner}_$count");
		}
		is($wrong, 0, "and lies where $partitioner puts it");
		next if $count == 1;
		if ($partitioner eq 'murmur2')
		{
			my $where = $hash_of{murmur2}{''} % $count;

			is_deeply([ map { keys %{ $empty{$_} } } @{ $clients{murmur2} } ], [ $where, $where ], 'so does an empty key');
		}
		else
		{
			is($hash_of{crc32}{''}, undef, 'an empty key has no place');
			is_deeply([ keys %{ $empty{consistent} } ], [0], 'consistent takes the first');
			is(eval { my $n = 0; $n += $_ for values %{ $empty{consistent_random} }; $n }, 40,
				'consistent_random any');
		}
	}
}

# ----------------------------------------------------------------
# In SQL
# ----------------------------------------------------------------

create_server($node, 'k', $broker);
for my $partitioner (sort keys %clients)
{
	for my $topic (@{ $topics{$partitioner} })
	{
		create_table($node, $topic, 'k', q{k bytea OPTIONS (key 'true'), p int OPTIONS (partition 'true'),
			o bigint OPTIONS (offset 'true'), ts timestamptz OPTIONS (timestamp 'true'), v text OPTIONS (value 'true')},
			topic => $topic, partitioner => $partitioner);
		create_table($node, "${topic}_text", 'k', q{k text OPTIONS (key 'true'), p int OPTIONS (partition 'true'),
			o bigint OPTIONS (offset 'true'), v text OPTIONS (value 'true')},
			topic => $topic, partitioner => $partitioner, on_error => 'skip');
	}
}
append_to_file("$tmp/truth", join '',
	map { join("\t", @{$_}[ 0 .. 2 ], defined $_->[3] ? '\\\\x' . unpack('H*', $_->[3]) : '\\N') . "\n" } @truth);
append_to_file("$tmp/placed", join '', map { my $key = $_; map { my $p = $_;
	join("\t", $p, '\\\\x' . unpack('H*', $key), $hash_of{$p}{$key} // '\\N') . "\n" } keys %clients } @keys, '');
$node->safe_psql('postgres', <<"EOSQL");
CREATE TABLE truth (topic text, p int, o bigint, k bytea);
COPY truth FROM '$tmp/truth';
CREATE INDEX ON truth (topic, md5(k));
CREATE TABLE placed (partitioner text, k bytea, hash bigint);
COPY placed FROM '$tmp/placed';
ANALYZE truth, placed;

-- Messages read, partitions as EXPLAIN tells them, and rows as (partition, offset)
CREATE FUNCTION look(query text, OUT messages bigint, OUT partitions text, OUT rows text) LANGUAGE plpgsql AS \$\$
DECLARE plan jsonb;
BEGIN
	EXECUTE 'EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) ' || query INTO plan;
	SELECT sum(v::bigint) INTO messages FROM jsonb_path_query(plan, 'strict \$.**."Messages Read"') AS v;
	SELECT string_agg(v #>> '{}', '; ') INTO partitions FROM jsonb_path_query(plan, 'strict \$.**."Partitions"') AS v;
	EXECUTE 'SELECT string_agg(format(''%s:%s'', p, o), '' '' ORDER BY p, o) FROM (' || query || ') AS q' INTO rows;
END \$\$;

-- What is wrong with queries for some of the keys
CREATE FUNCTION wrong_keys(partitioner text, count int, as_text bool, step int) RETURNS SETOF text LANGUAGE plpgsql AS \$\$
DECLARE
	of_topic text := partitioner || '_' || count;
	key record;
	got record;
	want record;
BEGIN
	FOR key IN SELECT * FROM (SELECT p.k, p.hash, row_number() OVER (ORDER BY md5(p.k)) AS n FROM placed AS p
			WHERE p.partitioner = wrong_keys.partitioner AND p.hash IS NOT NULL
			AND (NOT as_text OR NOT EXISTS (SELECT FROM undecodable AS u WHERE u.k = p.k))) AS q WHERE n % step = 0 LOOP
		SELECT * INTO got FROM look(format('SELECT p, o FROM %I WHERE k = %L', of_topic || CASE WHEN as_text THEN '_text' ELSE '' END,
			CASE WHEN as_text THEN convert_from(key.k, 'UTF8') ELSE key.k::text END));
		SELECT (SELECT count(*) FROM truth AS t WHERE t.topic = of_topic AND t.p = key.hash % count) AS messages,
			(SELECT string_agg(format('%s:%s', t.p, t.o), ' ' ORDER BY t.p, t.o) FROM truth AS t WHERE t.topic = of_topic AND md5(t.k) = md5(key.k)) AS rows
			INTO want;
		IF got.messages <> want.messages OR got.rows IS DISTINCT FROM want.rows OR got.partitions !~ format('^1 of %s\\y', count) THEN
			RETURN NEXT format('%s: %s messages of %s, %s not %s, %s', left(key.k::text, 40), got.messages, want.messages, got.rows, want.rows, got.partitions);
		END IF;
		RETURN NEXT NULL;
	END LOOP;
END \$\$;

CREATE TABLE undecodable AS SELECT DISTINCT k FROM truth LIMIT 0;
DO \$\$
DECLARE key bytea;
BEGIN
	FOR key IN SELECT DISTINCT k FROM placed LOOP
		BEGIN
			PERFORM convert_from(key, 'UTF8');
		EXCEPTION WHEN character_not_in_repertoire THEN
			INSERT INTO undecodable VALUES (key);
		END;
	END LOOP;
END \$\$;
EOSQL

for my $partitioner (sort keys %clients)
{
	for my $count (@counts)
	{
		for my $as_text ('false', 'true')
		{
			my @answers = split /\n/, $node->safe_psql('postgres',
				"SELECT coalesce(w, 'looked') FROM wrong_keys('$partitioner', $count, $as_text, " . ($count < 16 ? 60 : 40) . ') AS w');
			my $looked = grep { $_ eq 'looked' } @answers;

			is(join("\n", grep { $_ ne 'looked' } @answers), '',
				"$looked keys " . ($as_text eq 'true' ? 'as text' : 'as bytes') . " in ${partitioner}_$count: one partition is read");
			cmp_ok($looked, '>=', 20, 'so many are looked for');
		}
	}
}

# ----------------------------------------------------------------
# Forms of conditions
# ----------------------------------------------------------------

sub look
{
	my ($query) = @_;

	return split /\|/, $node->safe_psql('postgres', "SELECT messages, partitions, md5(rows) FROM look(\$q\$$query\$q\$)"), -1;
}

# The partitions read match the pattern, and the rows are those without pushdown.
sub looks
{
	my ($query, $pattern, $name) = @_;
	my (undef, $partitions, $rows) = look($query);
	my $plain = $node->safe_psql('postgres', "SET kafka_fdw.enable_pushdown = off; SELECT md5(rows) FROM look(\$q\$$query\$q\$)");

	like($partitions, $pattern, $name);
	is($rows, $plain, 'and finds the same as without pushdown');
	return $rows;
}

my $from = 'SELECT p, o FROM crc32_200_text WHERE';
my @some = grep { /^user-/ } @keys;
my @two = @some[ 0, 1 ];
my $three_hundred = join ', ', map { "'$_'" } @some[ 0 .. 299 ];
my %partition_of = map { $_ => $hash_of{crc32}{$_} % 200 } @some;
my ($elsewhere) = grep { $partition_of{$_} != $partition_of{ $two[0] } } @some;
my ($third) = grep { $partition_of{$_} != $partition_of{ $two[0] } && $partition_of{$_} != $partition_of{$elsewhere} } @some;

isnt(looks("$from k = '$two[0]'", qr/^1 of 200 \(k = /, 'a key'), '', 'which is there');
looks("$from '$two[0]' = k", qr/^1 of 200/, 'the key at the right');
looks("$from k IN ('$two[0]', '$elsewhere')", qr/^2 of 200/, 'two keys');
looks("$from k = ANY (ARRAY['$two[0]', NULL, '$elsewhere'])", qr/^2 of 200/, 'an array with NULL');
looks("$from k = '$two[0]' OR k = '$elsewhere'", qr/^2 of 200/, 'OR');
looks("$from NOT k <> '$two[0]'", qr/^1 of 200/, 'NOT <>');
looks("$from k IN ($three_hundred)", qr/^200 of 200/, 'more keys than bounds hold');
looks("$from k IN ('$two[0]', '$elsewhere') AND k IN ('$two[0]', '$third')", qr/^1 of 200/, 'two lists');
looks("$from k = '$two[0]' AND p = $partition_of{$two[0]}", qr/^1 of 200/, 'key and partition');
looks("$from k = '$two[0]' AND p <> $partition_of{$two[0]}", qr/^0 of 200/, 'key and another partition');
looks("$from k = '$two[0]' AND o < 3", qr/^[01] of 200/, 'key and offset');
looks("$from k = '$two[0]' OR p = 7", qr/^[12] of 200/, 'key or partition');
looks("$from k = '$two[0]' OR v = 'x'", qr/^200 of 200/, 'key or what is not understood');
looks("$from k <> '$two[0]' AND o = 1", qr/^200 of 200/, 'not this key');
looks("$from k > '$two[0]' AND o = 1", qr/^200 of 200/, 'larger keys');
looks("$from k LIKE '$two[0]'", qr/^200 of 200/, 'a pattern');
looks("$from upper(k) = 'USER-1'", qr/^200 of 200/, 'a function of the key');
looks("$from k = NULL", qr/^$/, 'NULL is no key');
looks("$from k IS NULL", qr/^200 of 200/, 'records without key');
looks("$from k IS NOT DISTINCT FROM NULL", qr/^200 of 200/, 'in other words');
looks("$from k IS NOT DISTINCT FROM '$two[0]'", qr/^1 of 200/, 'a key, NULLs being equal');
looks("$from k = ''", qr/^200 of 200/, 'an empty key is anywhere with crc32');
looks("$from k IN ('', '$two[0]')", qr/^200 of 200/, 'also with others');
looks("SELECT p, o FROM murmur2_200_text WHERE k = ''", qr/^1 of 200/, 'but has a place with murmur2');
looks("SELECT p, o FROM crc32_200 WHERE k = '\\x" . unpack('H*', $two[0]) . "' AND ts > '2020-01-01'", qr/^1 of 200/, 'key and time');

# What is known only when the query runs
is($node->safe_psql('postgres', <<"EOSQL"), "200|1\n200|2", 'parameters of a generic plan');
SET plan_cache_mode = force_generic_plan;
PREPARE q(text) AS SELECT p, o FROM crc32_200_text WHERE k = \$1;
PREPARE a(text[]) AS SELECT p, o FROM crc32_200_text WHERE k = ANY (\$1);
CREATE TEMP TABLE plan (line text);
CREATE FUNCTION pg_temp.partitions(query text) RETURNS text LANGUAGE plpgsql AS \$\$
DECLARE plan jsonb;
BEGIN
	EXECUTE 'EXPLAIN (ANALYZE, FORMAT JSON) ' || query INTO plan;
	RETURN substring(jsonb_path_query_first(plan, 'strict \$.**."Partitions"') #>> '{}' FROM 'of (\\d+)') || '|' ||
		substring(jsonb_path_query_first(plan, 'strict \$.**."Partitions"') #>> '{}' FROM '^\\d+');
END \$\$;
SELECT pg_temp.partitions('EXECUTE q(''$two[0]'')');
SELECT pg_temp.partitions('EXECUTE a(''{$two[0],$elsewhere}'')');
EOSQL
is($node->safe_psql('postgres', <<"EOSQL"), '3|' . 2 * 2 * 3, 'keys of outer rows');
CREATE TABLE outer_rows (n int, key text);
INSERT INTO outer_rows VALUES (1, '$some[5]'), (2, '$some[6]'), (3, '$some[7]'), (4, NULL), (5, 'nowhere');
SELECT count(DISTINCT n), 2 * sum(c) FROM outer_rows, LATERAL (SELECT count(*) AS c FROM crc32_200_text AS t WHERE t.k = key OFFSET 0) AS t WHERE c > 0;
EOSQL
{
	my ($messages) = look('SELECT n AS p, c AS o FROM outer_rows, LATERAL (SELECT count(*) AS c FROM crc32_200_text AS t WHERE t.k = key OFFSET 0) AS t');
	my $all = grep { $_->[0] eq 'crc32_200' } @truth;

	cmp_ok($messages, '>', 0, 'a lookup for each');
	cmp_ok($messages, '<', $all / 10, "reads far from all ($messages of $all)");
}

# Types, collations and encodings
create_table($node, 'padded', 'k', q{k varchar(7) OPTIONS (key 'true'), p int OPTIONS (partition 'true'), o bigint OPTIONS (offset 'true'), v text OPTIONS (value 'true')},
	topic => 'padded', partitioner => 'murmur2');
$node->safe_psql('postgres', 'CREATE DOMAIN label AS text');
create_table($node, 'labels', 'k', q{k label OPTIONS (key 'true'), p int OPTIONS (partition 'true'), o bigint OPTIONS (offset 'true'), v text OPTIONS (value 'true')},
	topic => 'crc32_16', partitioner => 'crc32', on_error => 'skip');
create_table($node, 'varied', 'k', q{k varchar OPTIONS (key 'true'), p int OPTIONS (partition 'true'), o bigint OPTIONS (offset 'true'), v text OPTIONS (value 'true')},
	topic => 'crc32_16', partitioner => 'crc32', on_error => 'skip');
$broker->feed("create-topic padded partitions=16\n");
run_with(join('', map { unpack('H*', "key" . ' ' x $_) . "\n" } 0 .. 20), "$tmp/place", $broker->brokers, 'murmur2', 'padded');
looks(q{SELECT p, o FROM padded WHERE k = 'key'}, qr/^(?!1 ).* of 16$/, 'varchar(n) drops spaces');
is($node->safe_psql('postgres', q{SELECT count(*) FROM padded WHERE k = 'key    '}), 17, 'of several keys');
looks("SELECT p, o FROM varied WHERE k = '$two[0]'", qr/^1 of 16/, 'varchar does not');
looks("SELECT p, o FROM varied WHERE k IN ('$two[0]', '$two[1]')", qr/^[12] of 16/, 'nor in a list');
looks("SELECT p, o FROM labels WHERE k = '$two[0]'", qr/^1 of 16/, 'a domain over text');
looks("$from k = '$two[0] '::char(12)", qr/^1 of 200/, 'a value of char(n) loses its spaces first');
looks("$from k::char(12) = '$two[0]'", qr/^200 of 200/, 'a key of char(n) has lost them');
looks("$from k = '$two[0]'::name", qr/^(1|200) of 200/, 'name');
$node->safe_psql('postgres', q{CREATE COLLATION ci (provider = icu, locale = 'und-u-ks-level2', deterministic = false)});
is(looks("$from k = upper('$two[0]') COLLATE ci", qr/^200 of 200/, 'a collation that ignores case'),
	(look("$from k = '$two[0]'"))[2], 'finds the key in lower case');
looks("$from k = '$two[0]' COLLATE \"C\"", qr/^1 of 200/, 'one that does not');

for my $encoding (qw(latin1 sql_ascii euc_kr))
{
	$node->safe_psql('postgres', "CREATE DATABASE in_$encoding ENCODING '$encoding' LOCALE 'C' TEMPLATE template0");
	$node->safe_psql("in_$encoding", 'CREATE EXTENSION kafka_fdw; SET client_min_messages = error');
	$node->safe_psql("in_$encoding", "CREATE SERVER k FOREIGN DATA WRAPPER kafka_fdw OPTIONS (brokers '" . $broker->brokers . "');"
		. q{CREATE FOREIGN TABLE t (k text OPTIONS (key 'true'), p int OPTIONS (partition 'true'), o bigint OPTIONS (offset 'true'))
			SERVER k OPTIONS (topic 'crc32_16', partitioner 'crc32', on_error 'skip')});
	my $rows = $node->safe_psql("in_$encoding", q{SET client_min_messages = error;
		CREATE TABLE copied AS SELECT * FROM t;
		CREATE FUNCTION of_key(key text) RETURNS text LANGUAGE plpgsql AS $$
		DECLARE result text;
		BEGIN
			SELECT string_agg(format('%s:%s', p, o), ' ' ORDER BY p, o) INTO result FROM t WHERE k = key;
			RETURN result;
		END $$;
		CREATE FUNCTION parts_of_key(key text) RETURNS text LANGUAGE plpgsql AS $$
		DECLARE plan json;
		BEGIN
			EXECUTE format('EXPLAIN (ANALYZE, FORMAT JSON) SELECT * FROM t WHERE k = %L', key) INTO plan;
			RETURN left(jsonb_path_query_first(plan::jsonb, 'strict $.**."Partitions"') #>> '{}', 7);
		END $$;
		SELECT count(*), count(*) FILTER (WHERE of_key(k) IS DISTINCT FROM want), count(*) FILTER (WHERE parts_of_key(k) <> '1 of 16')
		FROM (SELECT k, string_agg(format('%s:%s', p, o), ' ' ORDER BY p, o) AS want, row_number() OVER (ORDER BY md5(k)) AS n
			FROM copied WHERE k > '~' GROUP BY k) AS q WHERE n % 20 = 0 OR n < 10});
	my ($keys, @faults) = split /\|/, $rows;

	cmp_ok($keys, '>', 0, "$encoding has keys that are not ASCII ($keys)");
	is("@faults", '0 0', 'each is found in its partition');
}

# ----------------------------------------------------------------
# Several topics, parts of topics, topics that have grown
# ----------------------------------------------------------------

create_table($node, 'several', 'k', q{k bytea OPTIONS (key 'true'), p int OPTIONS (partition 'true'), o bigint OPTIONS (offset 'true'), v text OPTIONS (value 'true')},
	topic => 'crc32_3,crc32_16,crc32_7', partitioner => 'crc32');
create_table($node, 'matched', 'k', q{k bytea OPTIONS (key 'true'), p int OPTIONS (partition 'true'), o bigint OPTIONS (offset 'true'), v text OPTIONS (value 'true')},
	topic_pattern => 'murmur2_(3|7|200)', partitioner => 'murmur2');
create_table($node, 'part', 'k', q{k text OPTIONS (key 'true'), p int OPTIONS (partition 'true'), o bigint OPTIONS (offset 'true'), v text OPTIONS (value 'true')},
	topic => 'crc32_16', partitions => '0-7', partitioner => 'crc32', on_error => 'skip');

for my $key ('user-1', $bytes[20], $texts[-1])
{
	my $hex = '\\x' . unpack('H*', $key);

	isnt(looks("SELECT p, o FROM several WHERE k = '$hex'", qr/^3 of 26/, 'a partition of each topic'), '', 'with rows');
	isnt(looks("SELECT p, o FROM matched WHERE k = '$hex'", qr/^3 of 210/, 'also by pattern'), '', 'with rows');
}
my ($in) = grep { $hash_of{crc32}{$_} % 16 < 8 } @some;
my ($out) = grep { $hash_of{crc32}{$_} % 16 >= 8 } @some;
looks("SELECT p, o FROM part WHERE k = '$in'", qr/^1 of \d+/, 'a key in one of the table\'s partitions');
looks("SELECT p, o FROM part WHERE k = '$out'", qr/^0 of \d+/, 'a key in another');

$broker->feed("create-topic grown partitions=3\n");
run_with(join('', map { unpack('H*', $_) . "\n" } @some), "$tmp/place", $broker->brokers, 'murmur2', 'grown');
$broker->feed("add-partitions grown 5\n");
run_with(join('', map { unpack('H*', $_) . "\n" } @some), "$tmp/place", $broker->brokers, 'murmur2', 'grown');
create_table($node, 'grown', 'k', q{k text OPTIONS (key 'true'), p int OPTIONS (partition 'true'), o bigint OPTIONS (offset 'true'), v text OPTIONS (value 'true')},
	topic => 'grown');
my ($moved) = grep { $hash_of{murmur2}{$_} % 3 != $hash_of{murmur2}{$_} % 5 } @some;
is($node->safe_psql('postgres', "SELECT count(*) FROM grown WHERE k = '$moved'"), 2, 'without partitioner a grown topic is read whole');
my $check = q{SELECT count(*) > 0 FROM (SELECT FROM grown WHERE k IS NOT NULL GROUP BY k HAVING count(DISTINCT p) > 1) AS q};
is($node->safe_psql('postgres', $check), 't', 'keys in several partitions tell of it');
is($node->safe_psql('postgres', $check =~ s/grown/crc32_16_text/r =~ s/k IS NOT NULL/k <> ''/r), 'f', 'no key lies in two where nothing has grown');

# The option
my ($status, undef, $stderr) = $node->psql('postgres', q{ALTER FOREIGN TABLE grown OPTIONS (ADD partitioner 'fnv1a')});
isnt($status, 0, 'another partitioner is not known');
like($stderr, qr/fnv1a/, 'and named in the error');
$node->safe_psql('postgres', q{ALTER FOREIGN TABLE crc32_16_text OPTIONS (SET partitioner 'off')});
looks("SELECT p, o FROM crc32_16_text WHERE k = '$two[0]'", qr/^all|^16 of 16/, 'off reads all');

done_testing();
