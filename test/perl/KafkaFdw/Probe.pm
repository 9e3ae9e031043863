
=pod

=head1 NAME

KafkaFdw::Probe - bounds of WHERE clauses, tried on records in memory

=head1 SYNOPSIS

  use KafkaFdw::Probe qw(pick start_probe);

  my $node = start_probe();
  $node->safe_psql('postgres', 'CREATE FOREIGN TABLE topic (id int, ts timestamptz) SERVER probe');

=cut

package KafkaFdw::Probe;

use strict;
use warnings;
use Cwd qw(abs_path);
use Exporter qw(import);
use File::Basename qw(dirname);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;

our @EXPORT_OK = qw(pick start_probe);

my $tree = abs_path(dirname(__FILE__) . '/../../..');

=pod

=over

=item start_probe()

A running PostgreSQL::Test::Cluster node with the server "probe" of
test/fuzz/pushdown_probe.c, built with assertions. In it

  check_clause(table, clause, exact, parameters)

runs a clause over a foreign table TABLE and over its copy TABLE_rows, for each
row p of a table PARAMETERS, and returns a line for what is wrong: that the
rows differ, or where EXACT, that the bounds held more rows than the clause
lets through. It adds to the settings probe.matched and probe.read how many
rows matched and how many were in bounds.

=cut

sub start_probe
{
	my $library = "$PostgreSQL::Test::Utils::tmp_check/pushdown_probe";
	my $pg_config = $ENV{PG_CONFIG} // 'pg_config';
	my $node = PostgreSQL::Test::Cluster->new('main');

	chomp(my $include = `$pg_config --includedir-server`);
	system_or_bail(
		$ENV{CC} // 'gcc', '-std=gnu99', '-O2', '-fPIC', '-shared', '-Wl,-Bsymbolic',
		'-DUSE_ASSERT_CHECKING', "-I$tree/src", "-I$include", "$tree/test/fuzz/pushdown_probe.c",
		(grep { !/pushdown_columns/ } glob "$tree/src/fdw/pushdown*.c"),
		"$tree/src/core/bounds.c", "$tree/src/core/moment.c",
		glob("$tree/src/core/partitioner*.c"), '-o', "$library.so");
	$node->init;
	$node->append_conf('postgresql.conf', "timezone = 'UTC'\njit = off");
	$node->start;
	$node->safe_psql('postgres', <<"EOF");
CREATE FUNCTION pushdown_probe_handler() RETURNS fdw_handler
	LANGUAGE c AS '$library';
CREATE FUNCTION pushdown_probe_counts() RETURNS int8[]
	LANGUAGE c AS '$library';
CREATE FOREIGN DATA WRAPPER probe HANDLER pushdown_probe_handler;
CREATE SERVER probe FOREIGN DATA WRAPPER probe;

CREATE FUNCTION add_to_setting(name text, more int8) RETURNS text LANGUAGE sql AS \$\$
	SELECT set_config(name, (coalesce(nullif(current_setting(name, true), ''), '0')::int8 + more)::text, false)
\$\$;
CREATE FUNCTION check_clause(tab text, clause text, exact boolean, params text DEFAULT 'params')
RETURNS SETOF text LANGUAGE plpgsql AS \$\$
DECLARE
	query text := 'SELECT array_agg(r.ids ORDER BY p.n), sum(r.timed)
		FROM %I p CROSS JOIN LATERAL (
			SELECT array_agg(id ORDER BY id)::text AS ids,
				count(*) FILTER (WHERE ts IS NOT NULL) AS timed
			FROM %I WHERE (%s) AND p.n IS NOT NULL) r';
	got text[];
	want text[];
	timed int8;
	counts int8[];
BEGIN
	PERFORM pushdown_probe_counts();
	EXECUTE format(query, params, tab, clause) INTO got, timed;
	counts := pushdown_probe_counts();
	EXECUTE format(query, params, tab || '_rows', clause) INTO want, timed;
	IF got IS DISTINCT FROM want THEN
		RETURN NEXT format('%s WHERE %s: got %s, not %s', tab, clause, got, want);
	ELSIF exact AND counts[2] - counts[3] <> timed THEN
		RETURN NEXT format('%s WHERE %s: %s rows in bounds, not %s', tab,
			clause, counts[2] - counts[3], timed);
	END IF;
	PERFORM add_to_setting('probe.matched', timed), add_to_setting('probe.read', counts[2] - counts[3]);
END
\$\$;
EOF
	return $node;
}

=pod

=item pick(...)

One of its arguments, by Perl's random numbers.

=back

=cut

sub pick { return $_[ int rand @_ ]; }

1;
