# Every example in README.md and doc/*.md runs, in the order of the page, in one
# psql session and a fresh database, against a real broker.
#
#   ```sql                    must run without an error
#   ```sql error=SQLSTATE     must end with that error
#   ```text output            what the block before it prints, with its error
#   ```feed                   a script for the feeder (test/broker/feed.c)
#   ```bash run               must succeed; feed, dump and psql are in PATH
#   ```yaml queries           each value of a key "query" must run without an error
#   ```ini queries            so must each psql -c "..."
#
# Readers see the first word alone. What they shall not see at all stands in
# comments, as "<!-- feed", "<!-- sql" or "<!-- bash run", a line end, the script,
# and "-->". Other blocks are not looked at.
#
# In the pages the broker is localhost:9092. In an output "..." stands for any
# text within a line, and blanks at the ends of lines do not count.
#
# KAFKA_FDW_DOCS=tutorial runs only the pages whose name matches.
use strict;
use warnings;
use Cwd qw(abs_path);
use File::Basename qw(dirname);
use IPC::Run;
use KafkaFdw::Broker;
use KafkaFdw::Node qw(start_node);
use PostgreSQL::Test::Utils;
use Test::More;

my $LIMIT_S = 120;
my $PAGE_ADDRESS = 'localhost:9092';
my $tree = abs_path(dirname(__FILE__) . '/../..');
my @pages = map { s{^\Q$tree\E/}{}r } glob("$tree/*.md"), glob "$tree/doc/*.md";

# ----------------------------------------------------------------
# Reading pages
# ----------------------------------------------------------------

sub slurp
{
	my ($page) = @_;

	return slurp_file("$tree/$page");
}

# What a block's info string asks for; dies of what it does not know, since a
# mark with a slip in it would be a test that is not made.
sub parse_info
{
	my ($info, $where) = @_;
	my ($kind, @words) = split ' ', $info;
	my %block = (kind => $kind // '');

	return \%block if $block{kind} !~ /^(sql|feed|bash|text|yaml|ini)$/;
	for my $word (@words)
	{
		if ($kind eq 'sql' && $word =~ /^error=([0-9A-Z]{5})$/) { $block{error} = $1 }
		elsif ($kind eq 'bash' && $word eq 'run') { $block{run} = 1 }
		elsif ($kind eq 'text' && $word eq 'output') { $block{run} = 1 }
		elsif ($kind =~ /^(yaml|ini)$/ && $word eq 'queries') { $block{run} = 1 }
		else { die "$where: unknown mark \"$word\"" }
	}
	return \%block;
}

# The blocks of a page: kind, text, line, and what parse_info says.
sub read_blocks
{
	my ($page) = @_;
	my (@blocks, $block, $end);
	my $number = 0;

	for my $line (split /\n/, slurp($page))
	{
		$number++;
		if (defined $end)
		{
			if ($line =~ $end) { undef $end }
			else { $block->{text} .= "$line\n" }
			next;
		}
		if ($line =~ /^(`{3,})(.*)$/) { $end = qr/^\Q$1\E`*\s*$/ }
		elsif ($line =~ /^<!-- ((?:feed|sql|bash).*)$/) { $end = qr/^-->$/ }
		else
		{
			# inside a list it would be a block like any other, and not run
			die "$page:$number: block is not at the line's start" if $line =~ /^\s+`{3,}/;
			next;
		}
		$block = parse_info($2 // $1, "$page:$number");
		$block->{line} = $number;
		$block->{text} = '';
		push @blocks, $block;
	}
	die "$page:$block->{line}: no end of this block" if defined $end;
	return @blocks;
}

# ----------------------------------------------------------------
# Running them
# ----------------------------------------------------------------

my $broker = KafkaFdw::Broker->new;
my $address = $broker->brokers;
my $node = start_node('docs', shared_preload_libraries => 'pg_cron');

# A psql session that takes a script and returns all that it prints, errors and
# notices in their places.
sub start_session
{
	my ($database) = @_;
	my %session = (in => '', out => '', number => 0);

	$session{timer} = IPC::Run::timeout($LIMIT_S);
	$session{psql} = IPC::Run::start(
		[ 'psql', '-Xq', '-v', 'VERBOSITY=verbose', '-d', $node->connstr($database) ],
		'<', \$session{in}, '>&', \$session{out}, $session{timer});
	return \%session;
}

sub run_sql
{
	my ($session, $sql) = @_;
	my $end = '<end ' . ++$session->{number} . '>';
	my $output;

	$session->{out} = '';
	$session->{in} .= "$sql\n\\echo $end\n";
	$session->{timer}->start($LIMIT_S);
	while ($session->{out} !~ /^\Q$end\E\n/m)
	{
		last unless $session->{psql}->pumpable;
		$session->{psql}->pump;
	}
	$output = $session->{out};
	$output .= "psql ended\n" unless $output =~ s/^\Q$end\E\n.*//ms;
	return $output;
}

sub end_session
{
	my ($session) = @_;

	$session->{in} .= "\\q\n";
	$session->{psql}->finish;
	return;
}

sub run_bash
{
	my ($script) = @_;
	my $output = '';
	local $ENV{KAFKA_BROKERS} = $address;

	return $output if IPC::Run::run([ 'bash', '-euo', 'pipefail' ], '<', \$script, '>&', \$output,
		IPC::Run::timeout($LIMIT_S));
	return "${output}ERROR:  status: $?\n";
}

# Runs the queries in a block of another program's settings, each by itself.
sub run_queries
{
	my ($session, $text) = @_;
	my @queries;

	push @queries, $2 while $text =~ /^( *)(?:- )?query: \|\n((?:\1 +.*\n)+)/mg;
	push @queries, $1 =~ s/\\"/"/gr while $text =~ /(?:\bquery:|\bpsql .*-c) "((?:[^"\\]|\\.)*)"$/mg;
	return "ERROR:  none: there is no query\n" if !@queries;
	return join '', map { run_sql($session, "$_;") } @queries;
}

# Cuts the verbose parts out of an error: the page shows it as psql does by
# default.
sub as_printed
{
	my ($output) = @_;

	$output =~ s/^(ERROR|FATAL|WARNING|NOTICE):  [0-9A-Z]{5}: /$1:  /mg;
	$output =~ s/^LOCATION:  .*\n//mg;
	return $output;
}

# Is this what the page shows?
sub outputs_match
{
	my ($shown, $output) = @_;
	my $loose = $shown =~ /\.\.\./;

	for ($shown, $output)
	{
		s/[ \t]+$//mg;
		s/\n+\z/\n/;
		next unless $loose;
		s/ {2,}/ /g;
		s/-{3,}/---/g;
	}
	return $shown eq $output unless $loose;
	my $pattern = join '.*', map { quotemeta } split /\.\.\./, $shown, -1;
	return $output =~ /\A$pattern\z/;
}

# Runs a block that is no output; returns what it printed.
sub run_block
{
	my ($page, $block, $session) = @_;
	my $where = "$page:$block->{line}";
	my $script = $block->{text} =~ s/\Q$PAGE_ADDRESS\E/$address/gr;
	my $output;

	if ($block->{kind} eq 'feed')
	{
		$output = eval { $broker->feed($script) } // "ERROR:  feed: $@";
	}
	elsif ($block->{kind} eq 'bash') { $output = run_bash($script) }
	elsif ($block->{kind} =~ /^(yaml|ini)$/) { $output = run_queries($session, $script) }
	else { $output = run_sql($session, $script) }
	$output =~ s/\Q$address\E/$PAGE_ADDRESS/g;

	my @errors = $output =~ /^(?:ERROR|FATAL|PANIC):  (\w+): /mg;
	my $expected = $block->{error};
	ok(defined $expected ? "@errors" eq $expected : !@errors && $output !~ /^psql ended/m,
		"$where " . ($expected ? "fails with $expected" : 'runs'))
	  or diag($output);
	return as_printed($output);
}

sub run_page
{
	my ($page, @blocks) = @_;
	my @examples = grep { $_->{kind} =~ /^(sql|feed)$/ || $_->{run} } @blocks;
	my ($output, %topics);

	return if !@examples;
	$node->safe_psql('postgres', 'CREATE DATABASE example');
	my $session = start_session('example');
	for my $block (@examples)
	{
		if ($block->{kind} ne 'text')
		{
			$topics{$_} = 1 for $block->{text} =~ /^create-topic\s+(\S+)/mg;
			$output = run_block($page, $block, $session);
			next;
		}
		ok(outputs_match($block->{text}, $output // ''), "$page:$block->{line} shows the output")
		  or diag("it is\n$output");
	}
	end_session($session);
	$node->safe_psql('postgres', 'DROP DATABASE example WITH (FORCE)');
	$node->safe_psql('postgres', "DROP ROLE $_")
	  for split /\n/, $node->safe_psql('postgres',
		'SELECT quote_ident(rolname) FROM pg_roles WHERE oid >= 16384 AND NOT rolsuper');
	$broker->feed(join '', map { "delete-topic $_\n" } sort keys %topics);
	return;
}

# ----------------------------------------------------------------
# Links, and what the reference page must name
# ----------------------------------------------------------------

# The anchors of a page, as they are made of its headings.
sub anchors
{
	my ($text) = @_;
	my %anchors;

	$text =~ s/^```.*?^```//msg;
	for my $heading ($text =~ /^#+ +(.*?) *$/mg)
	{
		my $anchor = lc $heading;
		$anchor =~ s/[^\w\- ]//g;
		$anchor =~ tr/ /-/;
		$anchors{$anchor} = 1;
	}
	return \%anchors;
}

sub check_links
{
	my ($page) = @_;
	my $text = slurp($page);
	my @broken;

	for my $target ($text =~ /\]\(([^)\s]+)\)/g)
	{
		next if $target =~ /^https?:/;
		my ($file, $anchor) = $target =~ /^([^#]*)(?:#(.*))?$/;
		my $path = $file eq '' ? "$tree/$page" : dirname("$tree/$page") . "/$file";
		push @broken, $target
		  if !-e $path || (defined $anchor && !anchors(slurp_file($path))->{$anchor});
	}
	is("@broken", '', "$page has no broken links");
	return;
}

sub check_reference
{
	my $text = slurp('doc/kafka_fdw.md');
	my @names = split /\n/, $node->safe_psql('postgres', <<'SQL');
LOAD 'kafka_fdw';
SELECT DISTINCT 'kafka.' || proname FROM pg_proc WHERE pronamespace = 'kafka'::regnamespace
UNION SELECT name FROM pg_settings WHERE name LIKE 'kafka\_fdw.%'
SQL

	cmp_ok(scalar @names, '>=', 5, 'there are functions and settings');
	is(join(' ', grep { $text !~ /`\Q$_\E\b/ } sort @names), '', 'doc/kafka_fdw.md names all of them');
	return;
}

# The rows of the reference's tables of options: place, name, default, example.
sub option_rows
{
	my %places = (
		'Server options' => 'server',
		'User mapping options' => 'mapping',
		'Table options' => 'table',
		'Column options' => 'column');
	my ($place, @rows);

	for my $line (split /\n/, slurp('doc/kafka_fdw.md'))
	{
		$place = $places{$1} if $line =~ /^## (.*)/;
		next unless $place && $line =~ /^\|\s*`(\w+)`/;
		my $name = $1;
		my @cells = map { s/^\s+|\s+$//gr } split /\|/, $line;
		my $example = $cells[5] =~ s/^`(.*)`$/$1/r;
		push @rows, { name => $name, default => $cells[3], example => $example,
			place => $example =~ / OPTIONS \(/ ? 'column' : $place };
	}
	return @rows;
}

# The defaults of src/option_table.c by name.
sub option_defaults
{
	my %defaults;
	my $source = slurp('src/option_table.c');

	while ($source =~ /^\t\{"(\w+)", KAFKA_ON_.*?\},$/gms)
	{
		my ($name, $row) = ($1, $&);

		$defaults{$name} = $1 =~ s/\\(.)/$1/gr if $row =~ /\.initial = "((?:\\.|[^"\\])*)"/;
	}
	return \%defaults;
}

# Every example of an option is accepted, where the page says it belongs, and
# every default is the one of the option table.
sub check_options
{
	my $defaults = option_defaults();
	my (@refused, @wrong);

	$node->safe_psql('postgres', "CREATE SERVER example FOREIGN DATA WRAPPER kafka_fdw OPTIONS (brokers 'b')");
	for my $row (option_rows())
	{
		my ($name, $example) = @{$row}{qw(name example)};
		my $default = $defaults->{$name};
		my %statements = (
			server => 'CREATE SERVER other FOREIGN DATA WRAPPER kafka_fdw OPTIONS ('
			  . ($name eq 'brokers' ? '' : "brokers 'b', ") . "$example)",
			mapping => "CREATE USER MAPPING FOR CURRENT_USER SERVER example OPTIONS ($example)",
			table => 'CREATE FOREIGN TABLE t (n int) SERVER example OPTIONS ('
			  . ($name =~ /^topic(_pattern)?$/ ? '' : "topic 't', ") . "$example)",
			column => "CREATE FOREIGN TABLE t ($example) SERVER example OPTIONS (topic 't')");
		my $test = "BEGIN; $statements{$row->{place}};"
		  . ($row->{place} =~ /table|column/ ? ' EXPLAIN SELECT * FROM t LIMIT 1;' : '') . ' ROLLBACK';
		my ($status, undef, $error) = $node->psql('postgres', $test);

		push @refused, "$name: $error" if $status != 0;
		next if $row->{place} eq 'column' || !defined $default;
		$default = $default eq '' ? 'empty' : "`$default`";
		push @wrong, "$name: $default" if $row->{default} ne $default;
	}
	cmp_ok(scalar keys %$defaults, '>=', 15, 'there are defaults');
	is("@refused", '', 'the examples of options are accepted');
	is("@wrong", '', 'the defaults of options are right');
	return;
}

my $only = $ENV{KAFKA_FDW_DOCS} // '';
my $examples = 0;
for my $page (grep { /$only/ } @pages)
{
	my @blocks = read_blocks($page);

	$examples += grep { $_->{kind} eq 'sql' } @blocks;
	run_page($page, @blocks);
	check_links($page);
}
cmp_ok($examples, '>', 0, "$examples examples were found");
check_reference();
check_options();
done_testing();
