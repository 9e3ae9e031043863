# Random predicates of every form that is pushed down, with values of every
# kind, over real topics: the rows with pushdown on, with pushdown off, and those
# of an independent reader, Apache Kafka's own client, are the same; and no more
# messages are read than the predicate and the declared disorder call for.
#
# The topics have records exactly where a bound that is one millisecond off
# loses one: at, before and after changes of daylight saving time, midnights and
# seconds, each late by all that the table declares, with payload times as far
# from the record's as max_skew allows, and ties; keyed topics are placed by
# an implementation of the partitioners that is the test's own.
#
# KAFKA_FDW_SEED=n makes other predicates, KAFKA_FDW_CLAUSES=n that many.
use strict;
use warnings;
use IPC::Run;
use KafkaFdw::Broker;
use KafkaFdw::Node qw(start_node create_server create_table await_server);
use KafkaFdw::Predicate;
use KafkaFdw::Truth qw(pick load_truth);
use Test::More;
use Time::HiRes qw(time);
use Time::Local qw(timegm);

my $seed = $ENV{KAFKA_FDW_SEED} // 1;
my $npredicates = $ENV{KAFKA_FDW_CLAUSES} // 2000;
my $broker = KafkaFdw::Broker->new;
my $node = start_node('main', timezone => 'UTC', jit => 'off', log_statement => 'none');
my $scripts_dir = PostgreSQL::Test::Utils::tempdir();
my $started = time;

srand($seed);

# ----------------------------------------------------------------
# Where producers put keys
# ----------------------------------------------------------------

# As the Java client does
sub murmur2
{
	my ($key) = @_;
	my $mask = 0xffffffff;
	my $h = 0x9747b28c ^ length $key;
	my @words = unpack 'V*', substr $key, 0, length($key) & ~3;
	my @rest = unpack 'C*', substr $key, length($key) & ~3;

	for my $k (@words)
	{
		$k = $k * 0x5bd1e995 & $mask;
		$k = ($k ^ $k >> 24) * 0x5bd1e995 & $mask;
		$h = ($h * 0x5bd1e995 & $mask) ^ $k;
	}
	if (@rest)
	{
		$h ^= $rest[$_] << 8 * $_ for 0 .. $#rest;
		$h = $h * 0x5bd1e995 & $mask;
	}
	$h = ($h ^ $h >> 13) * 0x5bd1e995 & $mask;
	return ($h ^ $h >> 15) & 0x7fffffff;
}

# As librdkafka's default partitioner does
sub crc32
{
	my ($key) = @_;
	my $crc = 0xffffffff;

	for my $byte (unpack 'C*', $key)
	{
		$crc ^= $byte;
		$crc = $crc >> 1 ^ ($crc & 1 ? 0xedb88320 : 0) for 1 .. 8;
	}
	return $crc ^ 0xffffffff;
}

my %hash_of = (murmur2 => \&murmur2, crc32 => \&crc32);
my @keys = ((map { "k$_" } 0 .. 9), 'a longer key', "\xc3\xa9t\xc3\xa9");

# ----------------------------------------------------------------
# The topics
# ----------------------------------------------------------------

# A record is [moment of its append, how late it is, its payload's distance],
# in milliseconds but the last, which is in microseconds. Where all that is
# allowed is taken, the one before it shows what a stop must not stop at.
sub edge
{
	my ($topic, $ms) = @_;
	my ($late, $skew) = @{$topic}{qw(late skew)};

	return (
		(map { [ [ $ms + $_, 0, 0 ] ] } -1, 0, 0, 1),
		[ [ $ms - 1 + $late, 0, 0 ], [ $ms - 1 + $late, $late, 0 ] ],
		[ [ $ms + $late, 0, 0 ], [ $ms + $late, $late, 0 ] ],
		[ [ $ms - $skew, 0, $skew * 1000 ] ],
		[ [ $ms - 1 + $skew + $late, 0, undef ], [ $ms - 1 + $skew + $late, $late, -$skew * 1000 ] ]);
}

sub random_record
{
	my ($topic, $ms) = @_;
	my $late = pick(0, 0, 0, int rand $topic->{late}, $topic->{late});
	my $skew = $topic->{skew} * 1000;
	my $distance = pick(undef, 0, $skew, -$skew, map { int(rand 2 * $skew) - $skew } 1 .. 4);

	return [ [ $ms, $late, $distance ] ];
}

# Text of records for the feeder, in the order of their appends
sub copy_lines
{
	my ($topic, @groups) = @_;
	my $n = 0;
	my $lines = '';

	for my $group (sort { $a->[0][0] <=> $b->[0][0] } @groups)
	{
		my $key = pick(undef, @keys, @keys);
		my $hash = $hash_of{ $topic->{partitioner} // '' };
		my $partition = defined $key && $hash ? $hash->($key) % $topic->{partitions} : int rand $topic->{partitions};

		for my $record (@$group)
		{
			my ($append, $late, $distance) = @$record;
			my $ms = $append - $late;
			my $pt = defined $distance ? q{"} . (KafkaFdw::Predicate::utc($ms * 1000 + $distance) =~ s/ /T/r) . 'Z"' : 'null';

			$lines .= join("\t", $partition, $ms, $key // '\N',
				sprintf('{"n": %s, "s": "%s", "pt": %s}', pick(0 .. 60, 'null'), pick(qw(a b cc)), $pt)) . "\n";
			$n++;
		}
	}
	return $lines;
}

my $hour = 3_600_000;
my $day = 24 * $hour;

# When clocks change, with offsets from UTC in minutes before and after
my @changes = (
	[ 'Asia/Kathmandu', timegm(0, 30, 18, 31, 11, 1985), 330, 345 ],
	[ 'Pacific/Apia', timegm(0, 0, 10, 30, 11, 2011), -600, 840 ],
	[ 'America/Havana', timegm(0, 0, 5, 10, 2, 2024), -300, -240 ],
	[ 'Atlantic/Azores', timegm(0, 0, 1, 31, 2, 2024), -60, 0 ],
	[ 'Atlantic/Azores', timegm(0, 0, 1, 27, 9, 2024), 0, -60 ],
	[ 'America/Havana', timegm(0, 0, 5, 3, 10, 2024), -240, -300 ]);
my @zones = ('UTC', 'America/Havana', 'Atlantic/Azores', 'Asia/Kathmandu', 'Pacific/Apia');

# Midnights in some of these zones
my @midnights = map { $_ * 1000 } timegm(0, 15, 18, 15, 5, 2024), timegm(0, 0, 0, 16, 5, 2024),
  timegm(0, 0, 4, 16, 5, 2024), timegm(0, 0, 11, 16, 5, 2024);

my %topics = (
	changes => {
		partitions => 3, partitioner => 'crc32', late => $hour, skew => 600_000,
		options => { timestamp_max_lag => '59min', timestamp_max_lead => '50s' },
		units => [ 'hour', 'day', 'day', 'week', 'month', 'quarter', 'year' ],
		steps => [ '1 hour', '1 day', '6 hours', '90 minutes' ]
	},
	steady => {
		partitions => 4, partitioner => 'murmur2', late => 13_000, skew => 2000,
		options => { timestamp_max_lag => '2s', timestamp_max_lead => '1s' },
		units => [ 'second', 'minute', 'minute', 'hour', 'day' ],
		steps => [ '1 second', '10 seconds', '1 minute', '7 seconds' ]
	},
	transactions => {
		partitions => 2, late => $hour, skew => 600_000,
		units => [ 'hour', 'day', 'week', 'month' ],
		steps => [ '1 hour', '1 day' ]
	},
	recent => {
		partitions => 2, late => 30_000, skew => 2000,
		options => { timestamp_max_lag => '5min' },
		units => [ 'second', 'minute' ],
		steps => [ '1 second', '10 seconds' ]
	});

sub feed_changes
{
	my ($topic) = @_;
	my @groups;

	for my $change (@changes)
	{
		my (undef, $at, @offsets) = @$change;
		my %edges = map { $_ => 1 } $at * 1000, $at * 1000 - $hour, $at * 1000 + $hour, $at * 1000 + 500;

		for my $days (-2 .. 2)
		{
			for my $minutes (@offsets, 0)
			{
				my $local = $at * 1000 + $minutes * 60_000;

				$edges{ $local - $local % $day + $days * $day - $minutes * 60_000 } = 1;
			}
		}
		push @{ $topic->{points} }, map { ($_, $_ - 1, $_ + 1) } sort keys %edges;
		push @{ $topic->{of_change} }, [ ($at * 1000, $at * 1000 - $hour, $at * 1000 + $hour, $at * 1000 + 500) x 3, sort keys %edges ];
		push @groups, map { edge($topic, $_) } sort keys %edges;
		push @groups, map { random_record($topic, $at * 1000 + $_ * $hour + 1_234_567) } -72 .. 71;
	}
	return "copy changes\n" . copy_lines($topic, @groups) . "\\.\n";
}

sub feed_steady
{
	my ($topic) = @_;
	my @groups;

	for my $midnight (@midnights)
	{
		my @edges = map { $midnight + 1000 * $_ } -60, -10, 0, 0.5, 7, 60;

		push @{ $topic->{points} }, map { ($_, $_ - 1, $_ + 1) } @edges;
		push @{ $topic->{points} }, map { $midnight + 1000 * $_ } -90 .. 90;
		push @groups, map { edge($topic, $_) } @edges;
		for my $s (-120 .. 120)
		{
			push @groups, random_record($topic, $midnight + 1000 * $s + pick(0, 0, -1, 1, int rand 1000));
		}
	}
	return "copy steady\n" . copy_lines($topic, @groups) . "\\.\n";
}

# Markers carry the clock's time, far later than the records; nothing bounds
# the disorder, then, but a start is looked up all the same.
sub feed_transactions
{
	my ($topic) = @_;
	my $script = '';
	my $number = 0;

	for my $change (@changes)
	{
		my $at = $change->[1] * 1000;
		my @edges = map { $at + $_ * $hour } -24, -1, 0, 1, 24;

		push @{ $topic->{points} }, map { ($_, $_ - 1, $_ + 1) } @edges;
		for my $end (qw(commit abort commit))
		{
			my @groups = map { random_record($topic, $at + $_ * 7 * $hour) } -10 .. 9;

			push @groups, map { edge($topic, $_) } @edges if $end eq 'commit';
			$script .= "begin t@{[ $number++ ]}\ncopy transactions\n" . copy_lines($topic, @groups) . "\\.\n$end\nuse -\n";
		}
	}
	return $script;
}

# Markers and records near the clock's time
sub feed_recent
{
	my ($topic) = @_;
	my $script = '';
	my $now = int(time * 1000);
	my $number = 0;

	for my $seconds (20, 15, 10, 5, 0)
	{
		for my $end (qw(commit abort))
		{
			my @groups = map { random_record($topic, $now - 1000 * $seconds + $_ * 100) } 0 .. 39;

			push @{ $topic->{points} }, map { $_->[0][0] - $_->[0][1] } @groups;
			$script .= "begin r@{[ $number++ ]}\ncopy recent\n" . copy_lines($topic, @groups) . "\\.\n$end\nuse -\n";
		}
	}
	return $script;
}

my %feeds = (changes => \&feed_changes, steady => \&feed_steady, transactions => \&feed_transactions, recent => \&feed_recent);

create_server($node, 'k', $broker);
for my $name (sort keys %topics)
{
	my $topic = $topics{$name};

	$broker->feed("create-topic $name partitions=$topic->{partitions}\n" . $feeds{$name}->($topic));
	load_truth($node, $broker, $name);
	create_table($node, $name, 'k',
		qq{n int, s text, pt timestamptz OPTIONS (max_skew '$topic->{skew} ms'), ts timestamptz OPTIONS (timestamp 'true'),
		  p int OPTIONS (partition 'true'), o bigint OPTIONS (offset 'true'), k text OPTIONS (key 'true')},
		topic => $name, %{ $topic->{options} // {} }, $topic->{partitioner} ? (partitioner => $topic->{partitioner}) : ());
	$node->safe_psql('postgres', <<"EOF");
CREATE TABLE ${name}_rows AS
	SELECT (v::json->>'n')::int AS n, v::json->>'s' AS s, (v::json->>'pt')::timestamptz AS pt, ts, p, o, k
	FROM truth WHERE topic = '$name';
ANALYZE ${name}_rows;
EOF
	$topic->{total} = $node->safe_psql('postgres', "SELECT count(*) FROM ${name}_rows");
	cmp_ok($topic->{total}, '>', 150, "$name has $topic->{total} records");
	next unless $topic->{partitioner};
	$node->safe_psql('postgres',
		"CREATE TABLE ${name}_places (k, place) AS VALUES " . join ', ',
		map { "('$_', " . $hash_of{ $topic->{partitioner} }->($_) % $topic->{partitions} . ')' } @keys);
	is( $node->safe_psql('postgres', "SELECT count(*) FROM ${name}_rows JOIN ${name}_places USING (k) WHERE p <> place"),
		'0', "keys of $name lie where the partitioner puts them");
}
note sprintf 'topics made after %.1f s', time - $started;

# ----------------------------------------------------------------
# Comparing
# ----------------------------------------------------------------

# A query is text with @tab@ for the table, which is executed as it stands, as
# a prepared statement (types and arguments), or as the body of a function.
$node->safe_psql('postgres', <<'EOF');
CREATE FUNCTION stable(value anyelement) RETURNS anyelement LANGUAGE plpgsql STABLE AS 'BEGIN RETURN value; END';

CREATE FUNCTION complain(what text) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION '%', what; END $$;

CREATE FUNCTION run(kind text, query text, types text, arguments text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	result text;
BEGIN
	IF kind IN ('custom', 'generic') AND types <> '' THEN
		EXECUTE format('PREPARE q (%s) AS ', types) || query;
		EXECUTE format('EXECUTE q (%s)', arguments) INTO result;
		DEALLOCATE q;
	ELSIF kind = 'variable' THEN
		EXECUTE 'CREATE OR REPLACE FUNCTION pg_temp.run() RETURNS text LANGUAGE plpgsql AS ' || quote_literal(query);
		EXECUTE 'SELECT pg_temp.run()' INTO result;
	ELSE
		EXECUTE query INTO result;
	END IF;
	RETURN result;
END $$;

CREATE FUNCTION messages_read(kind text, query text, types text, arguments text) RETURNS int LANGUAGE plpgsql AS $$
DECLARE
	plan text;
BEGIN
	IF kind IN ('custom', 'generic') AND types <> '' THEN
		EXECUTE format('PREPARE q (%s) AS ', types) || query;
		EXECUTE format('EXPLAIN (ANALYZE, TIMING off, FORMAT json) EXECUTE q (%s)', arguments) INTO plan;
		DEALLOCATE q;
	ELSE
		EXECUTE 'EXPLAIN (ANALYZE, TIMING off, FORMAT json) ' || query INTO plan;
	END IF;
	RETURN substring(plan from '"Messages Read": (\d+)')::int;
END $$;

-- Messages that may be read: the rows that the reach has when their times are
-- shifted by no more than the spread. Those without a payload time lie where
-- their record time says.
CREATE FUNCTION messages_allowed(tab text, reach text, spread interval, steps int) RETURNS int LANGUAGE plpgsql AS $$
DECLARE
	allowed int;
BEGIN
	EXECUTE format('SELECT count(*) FROM %I_rows AS r WHERE EXISTS (SELECT FROM generate_series(%s, %s) AS i
		CROSS JOIN LATERAL (SELECT r.ts + i * %L::interval AS ts, coalesce(r.pt, r.ts) + i * %L::interval AS pt, r.p, r.o, r.k, r.n, r.s) AS shifted
		WHERE ', tab, -steps, steps, spread / steps, spread / steps) || reach || ')' INTO allowed;
	RETURN allowed;
END $$;

-- Messages of a window of record times as the broker's answers cut it: from the
-- first record at or after its start to the first that lies its end and the
-- slack, or further, away.
CREATE FUNCTION messages_cut(tab text, start timestamptz, "end" timestamptz, slack interval) RETURNS int LANGUAGE plpgsql AS $$
DECLARE
	result int;
BEGIN
	EXECUTE format('SELECT count(*) FROM %1$I_rows JOIN
		(SELECT p, min(o) FILTER (WHERE ts >= $1) AS first, min(o) FILTER (WHERE ts >= $2) AS stop FROM %1$I_rows GROUP BY p) AS cut USING (p)
		WHERE o >= first AND (o < stop OR stop IS NULL)', tab) INTO result USING start, "end" + slack;
	RETURN result;
END $$;

-- NULL, or what is wrong
CREATE FUNCTION check_window(tab text, clause text, start timestamptz, "end" timestamptz, slack interval) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	query text := 'SELECT count(*) FROM %s WHERE ' || clause;
	read int := messages_read('', format(query, tab), '', '');
	cut int := CASE WHEN start < "end" THEN messages_cut(tab, start, "end", slack) ELSE 0 END;
	wanted int;
	got int;
BEGIN
	EXECUTE format(query, tab || '_rows') INTO wanted;
	EXECUTE format(query, tab) INTO got;
	RETURN CASE WHEN got <> wanted OR read <> cut THEN format('%s: %s rows, not %s, %s read, not %s', clause, got, wanted, read, cut) END;
END $$;

-- The same for any predicate
CREATE FUNCTION check_predicate(tab text, zone text, kind text, query text, types text, arguments text,
	reach text, spread interval, steps int) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	of_topic text := replace(query, '@tab@', tab);
	wanted text;
	pushed text;
	unpushed text;
	read int;
	matched int;
	allowed int;
BEGIN
	PERFORM set_config('TimeZone', zone, true);
	PERFORM set_config('plan_cache_mode', CASE kind WHEN 'generic' THEN 'force_generic_plan' WHEN 'custom' THEN 'force_custom_plan' ELSE 'auto' END, true);
	wanted := run(kind, replace(query, '@tab@', tab || '_rows'), types, arguments);
	pushed := run(kind, of_topic, types, arguments);
	PERFORM set_config('kafka_fdw.enable_pushdown', 'off', true);
	unpushed := run(kind, of_topic, types, arguments);
	PERFORM set_config('kafka_fdw.enable_pushdown', 'on', true);
	IF wanted IS DISTINCT FROM pushed OR wanted IS DISTINCT FROM unpushed THEN
		RETURN format('wanted %s, pushed %s, unpushed %s: %s with (%s), zone %s, %s', wanted, pushed, unpushed, of_topic, arguments, zone, kind);
	END IF;
	IF reach IS NULL THEN
		RETURN NULL;
	END IF;
	read := messages_read(kind, of_topic, types, arguments);
	matched := substring(wanted from '^\d+')::int;
	IF read > matched THEN
		allowed := messages_allowed(tab, replace(reach, '@tab@', tab), spread, steps);
		IF read > allowed THEN
			RETURN format('%s messages read, not %s, for %s rows: %s with (%s), zone %s, %s, reach %s, %s', read, allowed, matched, of_topic, arguments, zone, kind,
				reach, spread);
		END IF;
	END IF;
	RETURN NULL;
END $$;
EOF

my $rows = q{count(*) || ' ' || md5(coalesce(string_agg(p || '/' || o, ' ' ORDER BY p, o), '')) FROM };

# How values get into a query: text of the query, types and arguments
my %kinds = (
	constant => sub { my ($predicate, $query) = @_; return ($query, sub { $_[0]{expr} }) },
	stable => sub { my ($predicate, $query) = @_; return ($query, sub { "stable($_[0]{expr})" }) },
	now => sub {
		my ($predicate, $query) = @_;

		return ($query, sub {
				my ($value) = @_;

				return "(now() + ($value->{expr} - now()))" if $value->{type} eq 'timestamptz';
				return "(current_date + ($value->{expr} - current_date))" if $value->{type} eq 'date';
				return "(localtimestamp + ($value->{expr} - localtimestamp))" if $value->{type} eq 'timestamp';
				return $value->{expr};
			});
	},
	setting => sub {
		my ($predicate, $query) = @_;

		return ($query, sub { "current_setting('test.v$_[1]')::$_[0]{type}" });
	},
	initplan => sub { my ($predicate, $query) = @_; return ($query, sub { "((SELECT $_[0]{expr})::$_[0]{type})" }) },
	custom => sub { my ($predicate, $query) = @_; return ($query, sub { '$' . ($_[1] + 1) }) },
	generic => sub { my ($predicate, $query) = @_; return ($query, sub { '$' . ($_[1] + 1) }) },
	variable => sub {
		my ($predicate, $query) = @_;
		my $n = 0;
		my $declared = join ' ', map { "v@{[ $n++ ]} $_->{type} := $_->{expr};" } @{ $predicate->{values} };

		return ("DECLARE $declared BEGIN RETURN ($query); END", sub { "v$_[1]" });
	},
	lateral => sub { return (outer_query($_[0], 'CROSS JOIN LATERAL (SELECT p, o FROM @tab@ WHERE ' . $_[0]{text} . ') AS r',
			q{count(*) || ' ' || coalesce(string_agg(i || ':' || p || '/' || o, ' ' ORDER BY i, p, o), '')}), sub { "outer_row.v$_[1]" }) },
	correlated => sub { return (outer_query($_[0], '', q{string_agg(coalesce((SELECT } . $rows . '@tab@ WHERE ' . $_[0]{text} . q{), ''), ' ' ORDER BY i)}), sub { "outer_row.v$_[1]" }) });

# Outer rows: the values, others, none
sub outer_query
{
	my ($predicate, $from, $what) = @_;
	my @values = @{ $predicate->{values} };
	my @lines = (
		join(', ', 1, map { $_->{expr} } @values),
		join(', ', 2, map { $_->{other} } @values),
		join(', ', 3, map { "NULL::$_->{type}" } @values));
	my $names = join ', ', 'i', map { "v$_" } 0 .. $#values;

	return "SELECT $what FROM (VALUES (" . join('), (', @lines) . ")) AS outer_row ($names) $from";
}

# The statement that checks a predicate
sub check_statement
{
	my ($name, $predicate, $kind, $zone) = @_;
	my $topic = $topics{$name};
	my @values = @{ $predicate->{values} };
	my $ordered = !defined $zone && rand() < 0.15;
	my $from = "\@tab\@ WHERE $predicate->{text}";
	my $order = join ', ', pick('ts', 'ts DESC', 'ts NULLS FIRST', 'ts DESC NULLS LAST', 'o', 'o DESC', 'p DESC', 'p'), 'p', 'o';
	my $query = $ordered
	  ? sprintf(q{SELECT string_agg(p || '/' || o, ' ') FROM (SELECT p, o FROM %s ORDER BY %s LIMIT %d) AS r}, $from, $order, pick(1, 3, 20))
	  : "SELECT $rows$from";
	my ($text, $place) = $kinds{$kind}->($predicate, $query);
	my $reach = 'NULL';
	my $settings = '';
	my $spread = $topic->{late} / 1000;

	$text = KafkaFdw::Predicate::fill($text, $predicate, $place);
	# near changes of clocks few records can be told from many by steps of hours
	if (!$ordered && $topic->{options} && $name ne 'recent' && !(defined $zone && $predicate->{zoned} && $name eq 'changes') && $kind !~ /^(?:variable|lateral|correlated)$/)
	{
		# the very values: days are of several lengths where now() is between
		my $reach_text = KafkaFdw::Predicate::fill($predicate->{reach}, $predicate, $kind =~ /^(?:custom|generic)$/ ? sub { $_[0]{expr} } : $place);

		$reach = "\$q\$$reach_text\$q\$";
		$spread += 2 * $topic->{skew} / 1000 if $predicate->{payload};
		$spread += 26 * 3600 if $predicate->{zoned} && $name eq 'changes';
		$spread += 86_400 * $predicate->{days};
	}
	$settings = join '', map { sprintf "SELECT set_config('test.v%d', (%s)::text, true) \\g /dev/null\n", $_, $values[$_]{expr} } 0 .. $#values
	  if $kind eq 'setting';
	$zone //= pick(@zones);

	# a reach is true for twice its margin at least: no shift steps over it
	my $steps = 4;

	$steps++ while $steps * 2 * $topic->{late} / 1000 < $spread;

	# settings are made under the zone in which they are read
	$settings = "SET LOCAL TimeZone = '$zone';\n$settings" if $settings ne '';
	return "BEGIN;\n$settings" . sprintf(
		"SELECT r FROM check_predicate('%s', '%s', '%s', \$q\$%s\$q\$, '%s', \$q\$%s\$q\$, %s, '%f s', %d) AS r WHERE r IS NOT NULL;\nCOMMIT;\n",
		$name, $zone, $kind, $text, join(', ', map { $_->{type} } @values), join(', ', map { $_->{expr} } @values), $reach, $spread, $steps);
}

sub maker
{
	my ($name, %known) = @_;
	my $topic = $topics{$name};

	return KafkaFdw::Predicate->new(
		points => $topic->{points}, units => $topic->{units}, steps => $topic->{steps}, zones => \@zones,
		offsets => $topic->{total} / $topic->{partitions},
		partitions => $topic->{partitions} + 1, keys => \@keys, known => { %known }, margin => sprintf('%f s', $topic->{late} / 1000));
}

# All forms are pushed down but those that leave out next to nothing.
my %known = map { $_ => 1 } grep { !/^(?:not_equal|not_true)$/ } KafkaFdw::Predicate->forms;

# ----------------------------------------------------------------
# Windows are read to the message
# ----------------------------------------------------------------

sub utc { return q{'} . KafkaFdw::Predicate::utc($_[0]) . q{+00'} }

# Statements for windows over a column whose values lie within the skew of the
# record's time. Of each window a bound is at the edge of a millisecond.
sub window_checks
{
	my ($name, $column, $skew_ms, $count) = @_;
	my $topic = $topics{$name};
	my @checks;

	for (1 .. $count)
	{
		my ($a, $b) = sort { $a <=> $b } pick(@{ $topic->{points} }), pick(@{ $topic->{points} });
		my ($from, $to) = ($a * 1000 + pick(0, 0, -1, 1), $b * 1000 + pick(0, 0, -1, 1));
		my ($over, $under) = (pick('>=', '>'), pick('<', '<='));

		# the first moment in it, and the first after it, in milliseconds for
		# what is so
		my $start = $from + ($over eq '>' ? 1 : 0) - $skew_ms * 1000;
		my $end = $to + ($under eq '<=' ? 1 : 0) + $skew_ms * 1000;

		$_ = int(($_ + 999) / 1000) * 1000 for $start, $end;
		push @checks, sprintf "SELECT r FROM check_window('%s', \$q\$%s %s %s AND %s %s %s\$q\$, %s, %s, '%d ms') AS r WHERE r IS NOT NULL;\n",
		  $name, $column, $over, utc($from), $column, $under, utc($to), utc($start), utc($end), $topic->{late};
	}
	return join '', @checks;
}

# Runs scripts of statements that say what is wrong, at the same time: most of
# a scan's time is waiting.
sub complaints
{
	my @runs;
	my @wrong;

	for my $n (0 .. $#_)
	{
		my $file = "$scripts_dir/$n.sql";
		my %run = (out => '', err => '');
		my @stop = ();

		open my $fh, '>', $file or die "could not open $file: $!";
		# a mutant may read for ever, and one complaint of it is enough
		if ($ENV{KAFKA_FDW_MUTANTS})
		{
			@stop = ('-v', 'ON_ERROR_STOP=1');
			print $fh "SET statement_timeout = '15s';\n", $_[$n] =~ s/WHERE r IS NOT NULL/$& AND complain(r)/gr;
		}
		else
		{
			print $fh $_[$n];
		}
		close $fh;
		$run{psql} = IPC::Run::start([ 'psql', '-XAtq', @stop, '-d', $node->connstr('postgres'), '-f', $file ],
			'<', \undef, '>', \$run{out}, '2>', \$run{err});
		push @runs, \%run;
	}
	for my $run (@runs)
	{
		my $ended = $run->{psql}->finish;

		push @wrong, grep { /\S/ } split /\n/, $run->{out};
		push @wrong, grep { /ERROR|FATAL/ } split /\n/, $run->{err};
		push @wrong, "psql ended: $run->{err}" unless $ended;
	}
	return @wrong;
}

# Before and behind each marker and each aborted record: a range of offsets ends
# with its last record that is visible, however far its end lies behind it.
my $offset_checks = <<'EOF';
WITH gap AS (SELECT p, o FROM transactions_rows AS r
	WHERE o > 0 AND NOT EXISTS (SELECT FROM transactions_rows AS before WHERE before.p = r.p AND before.o = r.o - 1)),
ranges AS (SELECT format('p = %s AND o >= %s AND o < %s', p, o - span, o + shift) AS clause, p, o - span AS start, o + shift AS "end"
	FROM gap, (VALUES (0), (-1), (1)) AS s (shift), (VALUES (2), (50)) AS t (span))
SELECT clause FROM ranges WHERE messages_read('', 'SELECT * FROM transactions WHERE ' || clause, '', '')
	<> (SELECT count(*) FROM transactions_rows AS r WHERE r.p = ranges.p AND o >= start AND o < "end");
EOF

# ----------------------------------------------------------------
# Random predicates
# ----------------------------------------------------------------

my @names = (qw(changes changes changes steady steady steady transactions recent));
my %makers = map {
	my %of_topic = %known;

	delete $of_topic{key} unless $topics{$_}{partitioner};
	($_ => maker($_, %of_topic))
} sort keys %topics;
my @scripts = ('') x 3;
for my $n (1 .. $npredicates)
{
	my $name = pick(@names);

	$scripts[$n % @scripts] .= check_statement($name, $makers{$name}->random(pick(0, 0, 1, 2, 3)), pick(sort keys %kinds));
}

# Each function of a time with values at the edges: of each change of clocks, in
# its zone, and of the seconds and midnights of a topic far from any.
my @at_edges = ('') x 3;
for my $change (0 .. $#changes)
{
	my $zone = $changes[$change][0];
	my $maker = maker('changes', %known);

	@{$maker}{qw(points zones)} = ($topics{changes}{of_change}[$change], [$zone]);
	for my $function ($maker->functions)
	{
		$at_edges[$_] .= check_statement('changes', $maker->at_edge($function, 'compare'), 'constant', $zone) for 0 .. 1;
	}
}
for my $function ($makers{steady}->functions)
{
	$at_edges[ $_ % 3 ] .= check_statement('steady', $makers{steady}->at_edge($function, 'compare'), 'constant', 'UTC') for 0 .. 4;
}

# ----------------------------------------------------------------
# All checks
# ----------------------------------------------------------------

my @checks = (
	[ 'functions of times at edges', @at_edges ],
	(map {
		my ($name, $topic) = ($_, $topics{$_});

		([ "windows of $name", map { window_checks($name, 'ts', 0, 40) } 1 .. 2 ],
			[ "windows of $name by payload times", map { window_checks($name, 'pt', $topic->{skew}, 40) } 1 .. 2 ])
	} qw(changes steady)),
	[ 'ranges of offsets', $offset_checks ],
	[ "$npredicates predicates, seed $seed", @scripts ]);

for my $check ($ENV{KAFKA_FDW_MUTANTS} ? () : @checks)
{
	my ($name, @scripts_of_check) = @$check;
	my @wrong = complaints(@scripts_of_check);

	is(scalar @wrong, 0, $name) or diag(join "\n", @wrong[ 0 .. ($#wrong < 9 ? $#wrong : 9) ]);
	note sprintf '%s after %.1f s', $name, time - $started;
}

# For test/mutate: each library of the folder is put in the place of the
# extension's, and must make some check fail. It ends with the first that does.
for my $mutant ($ENV{KAFKA_FDW_MUTANTS} ? sort glob "$ENV{KAFKA_FDW_MUTANTS}/*.so" : ())
{
	my ($name) = $mutant =~ m{([^/]+)\.so$};
	my @caught;

	chomp(my $directory = `pg_config --pkglibdir`);
	PostgreSQL::Test::Utils::system_or_bail('cp', $mutant, "$directory/kafka_fdw.new");
	rename "$directory/kafka_fdw.new", "$directory/kafka_fdw.so" or die "could not rename: $!";
	for my $check (@checks)
	{
		my ($what, @scripts_of_check) = @$check;

		last if @caught;
		await_server($node);
		push @caught, $what if complaints(@scripts_of_check);
	}
	ok(scalar @caught, "$name: " . (join('; ', @caught) || 'SURVIVED'));
}
note sprintf 'all after %.1f s', time - $started;

done_testing();
