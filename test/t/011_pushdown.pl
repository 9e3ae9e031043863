# Random WHERE clauses over a topic that is a grid in memory (pushdown_probe.c,
# no broker): the bounds never lose a row, and where every part of a clause is
# understood they hold no row too many.
#
# KAFKA_FDW_SEED=n makes other clauses, KAFKA_FDW_CLAUSES=n that many.
use strict;
use warnings;
use Cwd qw(abs_path);
use File::Basename qw(dirname);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $seed = $ENV{KAFKA_FDW_SEED} // 1;
my $nclauses = $ENV{KAFKA_FDW_CLAUSES} // 4000;
my $tree = abs_path(dirname(__FILE__) . '/../..');
my $library = "$PostgreSQL::Test::Utils::tmp_check/pushdown_probe";
my $pg_config = $ENV{PG_CONFIG} // 'pg_config';

chomp(my $include = `$pg_config --includedir-server`);
system_or_bail($ENV{CC} // 'gcc', qw(-std=gnu99 -O2 -fPIC -shared -Wl,-Bsymbolic),
	"-I$tree/src", "-I$include", "$tree/test/fuzz/pushdown_probe.c",
	glob("$tree/src/fdw/pushdown*.c"), "$tree/src/core/bounds.c",
	"$tree/src/core/moment.c", '-o', "$library.so");

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
# max_stack_depth is that of any server: the trees below must fit
$node->append_conf('postgresql.conf', "timezone = 'UTC'\njit = off");
$node->start;

# Rows of params are outer rows of rescans. check_clause runs a clause over a
# foreign table and over its copy, and says what is wrong.
$node->safe_psql('postgres', <<"EOF");
CREATE FUNCTION pushdown_probe_handler() RETURNS fdw_handler
	LANGUAGE c AS '$library';
CREATE FUNCTION pushdown_probe_counts() RETURNS int8[]
	LANGUAGE c AS '$library';
CREATE FOREIGN DATA WRAPPER probe HANDLER pushdown_probe_handler;
CREATE SERVER probe FOREIGN DATA WRAPPER probe;
CREATE DOMAIN number AS bigint;
CREATE DOMAIN moment AS timestamptz CHECK (value > '-infinity');
CREATE FOREIGN TABLE topic (id int, kafka_partition int, kafka_offset bigint,
	ts timestamptz) SERVER probe;
CREATE FOREIGN TABLE negated (id int, kafka_partition int, kafka_offset bigint,
	ts timestamptz(3)) SERVER probe OPTIONS (negate 'true');
CREATE FOREIGN TABLE domains (ts moment, kafka_offset number,
	kafka_partition int2, id int) SERVER probe;
CREATE FOREIGN TABLE rounded (id int, kafka_partition int, kafka_offset bigint,
	ts timestamptz(0)) SERVER probe;
CREATE FOREIGN TABLE timeless (id int, kafka_partition int8,
	kafka_offset bigint) SERVER probe;
CREATE TABLE topic_rows AS SELECT * FROM topic;
CREATE TABLE negated_rows AS SELECT * FROM negated;
CREATE TABLE domains_rows AS SELECT * FROM domains;
CREATE TABLE rounded_rows AS SELECT * FROM rounded;
CREATE TABLE params (n int, i2 int2, i4 int, i8 bigint, t timestamptz,
	a int[], a8 bigint[], ta timestamptz[]);
INSERT INTO params VALUES
	(1, 1, 2, 3, '2026-01-01 00:00:00.001+00', '{1,2}', '{0,3,9223372036854775807}',
	 '{2026-01-01 00:00:00+00,2026-01-01 00:00:00.0005+00,2026-01-01 00:00:00.004+00}'),
	(2, NULL, NULL, NULL, NULL, NULL, NULL, NULL),
	(3, 0, 3, -9223372036854775808, '-infinity', '{}', '{}', '{}'),
	(4, 3, 0, 9223372036854775807, 'infinity', '{NULL,3}', '{NULL}',
	 '{infinity,NULL,2026-01-01 00:00:00.002+00}'),
	(5, -1, 9, 1, '2026-01-01 00:00:00.0015+00', '{{1,0},{NULL,-3}}', '{{4,3},{2,1}}',
	 '{-infinity}');

CREATE FUNCTION check_clause(tab text, clause text, exact boolean)
RETURNS SETOF text LANGUAGE plpgsql AS \$\$
DECLARE
	query text := 'SELECT array_agg(r.ids ORDER BY p.n), sum(r.timed)
		FROM params p CROSS JOIN LATERAL (
			SELECT array_agg(id ORDER BY id)::text AS ids,
				count(*) FILTER (WHERE ts IS NOT NULL) AS timed
			FROM %I WHERE (%s) AND p.n IS NOT NULL) r';
	got text[];
	want text[];
	timed int8;
	counts int8[];
BEGIN
	PERFORM pushdown_probe_counts();
	EXECUTE format(query, tab, clause) INTO got, timed;
	counts := pushdown_probe_counts();
	EXECUTE format(query, tab || '_rows', clause) INTO want, timed;
	IF got IS DISTINCT FROM want THEN
		RETURN NEXT format('%s WHERE %s: got %s, not %s', tab, clause, got, want);
	ELSIF exact AND counts[2] - counts[3] <> timed THEN
		RETURN NEXT format('%s WHERE %s: %s rows in bounds, not %s', tab,
			clause, counts[2] - counts[3], timed);
	END IF;
END
\$\$;
