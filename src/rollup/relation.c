/*-------------------------------------------------------------------------
 *
 * relation.c
 *		Makes the relations of a rollup.
 *
 * They are made by ordinary statements with the caller's rights, in the
 * caller's schema, so that privileges, event triggers, default privileges,
 * dependencies and pg_dump work as for any other.
 *
 * IDENTIFICATION
 *		src/rollup/relation.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "executor/spi.h"
#include "rollup/analyze.h"
#include "rollup/apply.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/regproc.h"
#include "utils/ruleutils.h"
#include "utils/syscache.h"
#include "utils/varlena.h"

char *
kafka_relation_quote(Oid relid)
{
	return quote_qualified_identifier(get_namespace_name(
										  get_rel_namespace(relid)),
									  get_rel_name(relid));
}

void
kafka_relation_append_column(StringInfo sql, const KafkaRollupColumn *column)
{
	appendStringInfo(sql, "%s %s", quote_identifier(column->name),
					 format_type_extended(column->type, column->typmod,
										  FORMAT_TYPE_TYPEMOD_GIVEN |
											  FORMAT_TYPE_FORCE_QUALIFY));
	if (OidIsValid(column->collation))
		appendStringInfo(sql, " COLLATE %s",
						 generate_collation_name(column->collation));
}

Oid
kafka_relation_owner(Oid relid)
{
	HeapTuple tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relid));
	Oid owner = InvalidOid;

	if (HeapTupleIsValid(tuple))
	{
		owner = ((Form_pg_class) GETSTRUCT(tuple))->relowner;
		ReleaseSysCache(tuple);
	}
	return owner;
}

void
kafka_relation_execute(const char *sql)
{
	int code = SPI_execute(sql, false, 0);

	/* errors of the statement are raised: this cannot happen */
	if (code < 0)
		elog(ERROR, "could not execute \"%s\": %s", sql,
			 SPI_result_code_string(code));
}

void
kafka_relation_drop(const char *kind, Oid relid, bool cascade)
{
	/* A cascade may have taken it. */
	if (get_rel_relkind(relid) == '\0')
		return;
	kafka_relation_execute(psprintf("DROP %s %s%s", kind,
									kafka_relation_quote(relid),
									cascade ? " CASCADE" : ""));
}

/* "_<name><affix>", with its schema and quoted */
static char *
make_relation_name(const KafkaRollupPlace *place, const char *affix)
{
	return quote_qualified_identifier(place->schema,
									  psprintf("_%s%s", place->name, affix));
}

static Oid
find_relation(const char *qualified)
{
	return RangeVarGetRelid(makeRangeVarFromNameList(
								stringToQualifiedNameList(qualified)),
							NoLock, false);
}

static Oid
create_view(const char *qualified, const char *sql, const char *comment)
{
	kafka_relation_execute(psprintf("CREATE VIEW %s AS %s", qualified, sql));
	kafka_relation_execute(psprintf("COMMENT ON VIEW %s IS %s", qualified,
									quote_literal_cstr(comment)));
	return find_relation(qualified);
}

/* The name of storage's primary key, which no column has. */
static char *
choose_id(const KafkaRollupSpec *spec)
{
	char *name = "_id";
	ListCell *cell;

restart:
	foreach(cell, spec->columns)
	{
		if (strcmp(((KafkaRollupColumn *) lfirst(cell))->name, name) == 0)
		{
			name = psprintf("_%s", name);
			goto restart;
		}
	}
	return name;
}

static char *
list_keys(const KafkaRollupSpec *spec, bool quoted)
{
	StringInfoData text;
	ListCell *cell;

	initStringInfo(&text);
	foreach(cell, spec->key_names)
	{
		const char *name = lfirst(cell);

		appendStringInfo(&text, "%s%s", text.len > 0 ? ", " : "",
						 quoted ? quote_identifier(name) : name);
	}
	return text.data;
}

/*
 * Storage.  The primary key is there for replication only: group columns may be
 * NULL.  A batch rewrites the rows of the groups it meets, so pages keep room
 * for new versions, states are in no index, and vacuum comes early.
 */
static Oid
create_storage(const KafkaRollupSpec *spec, const KafkaRollupPlace *place)
{
	char *qualified = make_relation_name(place, "_g1");
	StringInfoData sql;
	ListCell *cell;

	initStringInfo(&sql);
	appendStringInfo(&sql,
					 "CREATE TABLE %s ("
					 "%s bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY",
					 qualified, quote_identifier(choose_id(spec)));
	foreach(cell, spec->columns)
	{
		appendStringInfoString(&sql, ", ");
		kafka_relation_append_column(&sql, lfirst(cell));
	}
	if (spec->nkeys > 0)
		appendStringInfo(&sql, ", UNIQUE NULLS NOT DISTINCT (%s)",
						 list_keys(spec, true));
	appendStringInfoString(&sql,
						   ") WITH (fillfactor = 70,"
						   " autovacuum_vacuum_scale_factor = 0.05,"
						   " autovacuum_analyze_scale_factor = 0.05,"
						   " toast.autovacuum_vacuum_scale_factor = 0.05)");
	kafka_relation_execute(sql.data);
	if (spec->nkeys == 0)
		kafka_relation_execute(
			psprintf("CREATE UNIQUE INDEX ON %s ((true))", qualified));
	kafka_relation_execute(
		psprintf("COMMENT ON TABLE %s IS %s", qualified,
				 quote_literal_cstr(psprintf(
					 "states of rollup %s, written by its runs alone: a "
					 "change by hand makes it wrong for good",
					 place->name))));
	return find_relation(qualified);
}

static char *
describe_rollup(const KafkaRollupSpec *spec)
{
	const char *source = get_rel_name(spec->source);

	if (spec->nkeys == 0)
		return psprintf("rollup of Kafka foreign table %s; one row", source);
	return psprintf("rollup of Kafka foreign table %s; key: %s", source,
					list_keys(spec, false));
}

KafkaRollupRelations
kafka_relations_create(const KafkaRollupSpec *spec,
					   const KafkaRollupPlace *place)
{
	int level = kafka_analysis_fix_settings("pg_catalog, pg_temp");
	KafkaRollupRelations made = {0};

	made.storage = create_storage(spec, place);
	made.definition =
		create_view(make_relation_name(place, "_def"), spec->definition_sql,
					psprintf("query of rollup %s, over the whole topic",
							 place->name));
	made.states = create_view(
		make_relation_name(place, "_states"), spec->states_sql,
		psprintf("states of rollup %s, as its runs make them of a batch",
				 place->name));
	if (spec->checks_sql != NULL)
		made.checks =
			create_view(make_relation_name(place, "_checks"), spec->checks_sql,
						psprintf("what decides whether rollup %s counts a "
								 "message",
								 place->name));
	made.relation =
		create_view(quote_qualified_identifier(place->schema, place->name),
					kafka_apply_fill_storage(spec->final_sql, made.storage),
					describe_rollup(spec));
	if (spec->live_sql != NULL)
		made.live = create_view(
			quote_qualified_identifier(place->schema,
									   psprintf("%s_live", place->name)),
			kafka_apply_fill_storage(spec->live_sql, made.storage),
			psprintf("rollup %s with what its topic holds beyond it; asks the "
					 "broker",
					 place->name));
	AtEOXact_GUC(true, level);
	return made;
}
