/*-------------------------------------------------------------------------
 *
 * shadow.c
 *		Makes, limits and drops the shadow of a rollup that is rebuilt.
 *
 * All that can be refused is refused while it is made, in one transaction, by
 * making its relations and comparing them with the rollup's.  They belong to
 * the rollup's owner, whoever calls, and its query is analyzed with the rollup's
 * settings: so it means the same whoever calls from where.
 *
 * IDENTIFICATION
 *		src/rollup/shadow.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/relation.h"
#include "catalog/pg_type.h"
#include "mb/pg_wchar.h"
#include "rollup/analyze.h"
#include "rollup/apply.h"
#include "rollup/rebuild.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

/* ----------------------------------------------------------------
 * Queries
 * ----------------------------------------------------------------
 */

char *
kafka_shadow_get_query(Oid view)
{
	int level = kafka_analysis_fix_settings("pg_catalog, pg_temp");
	char *query = TextDatumGetCString(
		DirectFunctionCall1(pg_get_viewdef, ObjectIdGetDatum(view)));

	AtEOXact_GUC(true, level);
	return query;
}

KafkaRollupSpec *
kafka_shadow_analyze(const KafkaRollup *rollup, const char *query,
					 const char *live_name)
{
	KafkaRollupChecks checks = {0};

	checks.live_name = live_name;
	checks.expect = rollup->expect;
	checks.unique_key = rollup->options.unique_key;
	checks.wants_time = rollup->has_late_limit || rollup->has_future_limit ||
						checks.unique_key != NULL;
	return kafka_rollup_analyze(query, &checks);
}

char *
kafka_shadow_generate_live(const KafkaRollup *rollup,
						   const KafkaRollup *shadow)
{
	KafkaRollupSpec *spec =
		kafka_shadow_analyze(shadow,
							 kafka_shadow_get_query(shadow->definition),
							 rollup->name);

	return kafka_apply_fill_storage(spec->live_sql, shadow->storage);
}

/* As the owner, with the rollup's settings. */
static void
analyze_query(KafkaNewShadow *new, const char *query)
{
	const KafkaRollup *rollup = new->rollup;

	if (query == NULL)
		query = kafka_shadow_get_query(rollup->definition);
	new->spec = kafka_shadow_analyze(rollup, query, NULL);
	if (new->spec->source != rollup->source)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("a rollup cannot be rebuilt from another foreign "
						"table"),
				 errdetail("Rollup \"%s\" is made of \"%s\".", rollup->name,
						   get_rel_name(rollup->source)),
				 errhint("Create a rollup under another name.")));
}

/* ----------------------------------------------------------------
 * Can it be rebuilt?
 * ----------------------------------------------------------------
 */

uint64
kafka_shadow_execute_for_both(int32 rollup_id, int32 shadow_id,
							  const char *sql)
{
	static const Oid types[] = {INT4OID, INT4OID};
	Datum values[] = {Int32GetDatum(rollup_id), Int32GetDatum(shadow_id)};

	return kafka_catalog_execute(sql, lengthof(types), types, values, NULL);
}

void
kafka_shadow_refuse(const KafkaRollup *rollup)
{
	if (rollup->rebuilds != 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("\"%s\" is a generation in the making, and no rollup "
						"of its own",
						rollup->name)));
}

static void
check_rollup(const KafkaRollup *rollup)
{
	kafka_shadow_refuse(rollup);
	kafka_loss_check_system(rollup);
	if (!kafka_rollup_has_parts(rollup) || !OidIsValid(rollup->definition))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("a table or view that rollup \"%s\" is made of does "
						"not exist any more",
						rollup->name),
				 errhint("Drop the rollup with kafka.drop_rollup and create "
						 "it anew.")));
}

/*
 * Views of others over relations that a rebuild replaces would stand in its way
 * at its end.
 */
static void
check_dependents(const KafkaRollup *rollup)
{
	static const Oid types[] = {OIDARRAYOID, OIDARRAYOID};
	Datum replaced[] = {ObjectIdGetDatum(rollup->storage),
						ObjectIdGetDatum(rollup->states),
						ObjectIdGetDatum(rollup->checks)};
	Datum own[] = {ObjectIdGetDatum(rollup->relation),
				   ObjectIdGetDatum(rollup->live),
				   ObjectIdGetDatum(rollup->states),
				   ObjectIdGetDatum(rollup->checks)};
	Datum values[lengthof(types)];
	char *found;

	values[0] =
		PointerGetDatum(construct_array(replaced, lengthof(replaced), OIDOID,
										sizeof(Oid), true, TYPALIGN_INT));
	values[1] =
		PointerGetDatum(construct_array(own, lengthof(own), OIDOID,
										sizeof(Oid), true, TYPALIGN_INT));
	kafka_catalog_execute(
		"SELECT string_agg(DISTINCT pg_describe_object("
		"  'pg_class'::regclass, r.ev_class, 0), ', ') "
		"FROM pg_depend AS d JOIN pg_rewrite AS r ON r.oid = d.objid "
		"WHERE d.classid = 'pg_rewrite'::regclass "
		"AND d.refclassid = 'pg_class'::regclass "
		"AND d.refobjid = ANY ($1) AND r.ev_class <> ALL ($2)",
		lengthof(types), types, values, NULL);
	found = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1);
	if (found != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST),
				 errmsg("cannot rebuild rollup \"%s\" while other objects "
						"depend on its inner relations",
						rollup->name),
				 errdetail("%s.", found),
				 errhint("Have them read the view \"%s\" instead.",
						 get_rel_name(rollup->relation))));
	SPI_freetuptable(SPI_tuptable);
}

static void
pg_attribute_noreturn() refuse_columns(const KafkaRollup *rollup, char *detail)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_TABLE_DEFINITION),
			 errmsg("cannot rebuild rollup \"%s\" with other columns than it "
					"has",
					rollup->name),
			 errdetail_internal("%s", detail),
			 errhint("Only new columns after these are possible. Otherwise "
					 "create a rollup under another name, and drop this one "
					 "when nobody reads it any more.")));
}

static bool
is_same_column(Form_pg_attribute a, Form_pg_attribute b)
{
	return strcmp(NameStr(a->attname), NameStr(b->attname)) == 0 &&
		   a->atttypid == b->atttypid && a->atttypmod == b->atttypmod &&
		   a->attcollation == b->attcollation;
}

static char *
describe_column(Form_pg_attribute column)
{
	return psprintf("\"%s\" of type %s", NameStr(column->attname),
					format_type_with_typemod(column->atttypid,
											 column->atttypmod));
}

/* What depends on a view knows its columns by number, name and type. */
static void
check_columns(const KafkaRollup *rollup, Oid old_view, Oid new_view)
{
	Relation old = relation_open(old_view, AccessShareLock);
	Relation new = relation_open(new_view, AccessShareLock);

	for (int i = 0; i < RelationGetNumberOfAttributes(old); i++)
	{
		Form_pg_attribute a = TupleDescAttr(RelationGetDescr(old), i);

		if (i >= RelationGetNumberOfAttributes(new))
			refuse_columns(rollup, psprintf("Column %d, %s, would be gone.",
											i + 1, describe_column(a)));
		if (!is_same_column(a, TupleDescAttr(RelationGetDescr(new), i)))
			refuse_columns(rollup,
						   psprintf("Column %d is %s, and would be %s.", i + 1,
									describe_column(a),
									describe_column(
										TupleDescAttr(RelationGetDescr(new),
													  i))));
	}
	relation_close(new, NoLock);
	relation_close(old, NoLock);
}

/* ----------------------------------------------------------------
 * Making it
 * ----------------------------------------------------------------
 */

static bool
is_taken(const char *name, Oid schema)
{
	static const Oid types[] = {TEXTOID};
	Datum values[] = {CStringGetTextDatum(name)};

	return OidIsValid(get_relname_relid(name, schema)) ||
		   kafka_catalog_execute(
			   "SELECT FROM kafka.stored_rollup WHERE name = $1",
			   lengthof(types), types, values, NULL) > 0;
}

/* _<name>_g<N>, shortened where what is added to it would not fit */
static void
choose_place(KafkaNewShadow *new)
{
	const char *name = new->rollup->name;
	Oid schema = get_rel_namespace(new->rollup->relation);
	char *suffix = psprintf("_g%d", new->generation);

	new->place.schema = get_namespace_name(schema);
	for (int number = 2;; number++)
	{
		int room =
			NAMEDATALEN - 1 - KAFKA_ROLLUP_LONGEST_AFFIX - 1 - strlen(suffix);

		new->place.name =
			psprintf("_%.*s%s", pg_mbcliplen(name, strlen(name), room), name,
					 suffix);
		if (!is_taken(new->place.name, schema))
			return;
		suffix = psprintf("_g%d_%d", new->generation, number);
	}
}

/*
 * What says how it is kept stays with the rollup: the shadow is run by nobody
 * but the rebuild, and loses no bucket before it is swapped.  Nor does it go on
 * without messages that were removed before it has read them: the rollup may
 * have counted them, and a shadow that is begun anew keeps their buckets.
 */
#define SHADOW_OPTIONS \
	"options - '{retention,follow,mirror_group,on_loss}'::text[]"

static const char insert_shadow_sql[] =
	"INSERT INTO kafka.stored_rollup (name, kind, rebuilds, generation, since,"
	" source, relation, storage, definition, states, checks, live, upsert,"
	" bucket_column, bucket_width, expect, late_limit, future_limit, options,"
	" search_path, time_zone, date_style, interval_style, system_identifier,"
	" database_id)"
	" SELECT $2, kind, rollup_id, $3, $4, source, $5, $6, $7, $8, $9, $10,"
	" $11, $12, $13, expect, late_limit, future_limit,"
	" " SHADOW_OPTIONS ","
	" search_path, time_zone, date_style, interval_style, system_identifier,"
	" database_id FROM kafka.stored_rollup WHERE rollup_id = $1"
	" RETURNING rollup_id";

static int32
insert_shadow(const KafkaNewShadow *new)
{
	static const Oid types[] = {INT4OID,        TEXTOID,     INT4OID,
								TIMESTAMPTZOID, REGCLASSOID, REGCLASSOID,
								REGCLASSOID,    REGCLASSOID, REGCLASSOID,
								REGCLASSOID,    TEXTOID,     TEXTOID,
								INTERVALOID};
	const KafkaRollupSpec *spec = new->spec;
	Datum values[lengthof(types)];
	bool nulls[lengthof(types)] = {false};
	bool isnull;

	values[0] = Int32GetDatum(new->rollup->rollup_id);
	values[1] = CStringGetTextDatum(new->place.name);
	values[2] = Int32GetDatum(new->generation);
	values[3] = TimestampTzGetDatum(new->since);
	nulls[3] = new->since == DT_NOBEGIN;
	values[4] = ObjectIdGetDatum(new->relations.relation);
	values[5] = ObjectIdGetDatum(new->relations.storage);
	values[6] = ObjectIdGetDatum(new->relations.definition);
	values[7] = ObjectIdGetDatum(new->relations.states);
	values[8] = ObjectIdGetDatum(new->relations.checks);
	nulls[8] = !OidIsValid(new->relations.checks);
	values[9] = ObjectIdGetDatum(new->relations.live);
	nulls[9] = !OidIsValid(new->relations.live);
	values[10] = CStringGetTextDatum(spec->upsert_sql);
	nulls[11] = spec->bucket_column == NULL;
	values[11] =
		nulls[11] ? (Datum) 0 : CStringGetTextDatum(spec->bucket_column);
	values[12] = IntervalPGetDatum(spec->bucket_width);
	nulls[12] = spec->bucket_width == NULL;
	kafka_catalog_execute(insert_shadow_sql, lengthof(types), types, values,
						  nulls);
	return DatumGetInt32(SPI_getbinval(SPI_tuptable->vals[0],
									   SPI_tuptable->tupdesc, 1, &isnull));
}

/* As the owner, with the rollup's settings. */
static void
make_shadow(KafkaNewShadow *new)
{
	const KafkaRollup *rollup = new->rollup;

	new->generation = rollup->generation + 1;
	choose_place(new);
	new->relations = kafka_relations_create(new->spec, &new->place);
	check_columns(rollup, rollup->relation, new->relations.relation);
	check_columns(rollup, rollup->definition, new->relations.definition);
	kafka_prune_prepare(&rollup->options, new->spec->bucket_column,
						new->relations.storage);
	kafka_horizon_find(new);
	new->rollup_id = insert_shadow(new);
	kafka_positions_write(new->rollup_id, new->positions, NULL);
	kafka_horizon_decide_kept(new);
}

/* ----------------------------------------------------------------
 * The one that is there
 * ----------------------------------------------------------------
 */

static void
drop_shadow(const KafkaRollup *shadow, bool cascade)
{
	static const Oid types[] = {INT4OID};
	Datum values[] = {Int32GetDatum(shadow->rollup_id)};

	(void) kafka_rollup_lock(shadow->rollup_id, true);
	kafka_rollup_check_droppable(shadow);
	kafka_relation_drop("VIEW", shadow->live, cascade);
	kafka_relation_drop("VIEW", shadow->relation, cascade);
	kafka_relation_drop("VIEW", shadow->checks, cascade);
	kafka_relation_drop("VIEW", shadow->states, cascade);
	kafka_relation_drop("VIEW", shadow->definition, cascade);
	kafka_relation_drop("TABLE", shadow->storage, cascade);
	kafka_keys_forget_all(shadow->rollup_id);
	kafka_catalog_execute("DELETE FROM kafka.stored_rollup"
						  " WHERE rollup_id = $1",
						  lengthof(types), types, values, NULL);
}

void
kafka_shadow_drop_of(const KafkaRollup *rollup, bool cascade)
{
	KafkaRollup *shadow = kafka_rollup_get_shadow(rollup->rollup_id);

	if (shadow != NULL)
		drop_shadow(shadow, cascade);
}

/* As the owner, with the rollup's settings. */
static bool
is_wanted(const KafkaNewShadow *new, const KafkaRollup *shadow)
{
	KafkaRollupSpec *spec;

	/* Halted: its topic does not hold any more what it was to read. */
	if (strcmp(shadow->state, "HALTED") == 0 || shadow->since != new->since ||
		shadow->owner != new->rollup->owner ||
		shadow->source != new->rollup->source ||
		!OidIsValid(shadow->relation) || !OidIsValid(shadow->storage) ||
		!OidIsValid(shadow->definition) || !OidIsValid(shadow->states) ||
		(shadow->has_checks && !OidIsValid(shadow->checks)))
		return false;

	/* Both texts are made by the same way, or they would differ in form. */
	spec =
		kafka_shadow_analyze(shadow,
							 kafka_shadow_get_query(shadow->definition), NULL);
	return strcmp(spec->definition_sql, new->spec->definition_sql) == 0;
}

/*
 * What the rollup was given since: other options; and a shadow in a restored
 * copy belongs to where its rollup was taken over.
 */
static void
adopt(const KafkaRollup *shadow)
{
	static const Oid types[] = {INT4OID};
	Datum values[] = {Int32GetDatum(shadow->rollup_id)};

	kafka_catalog_execute(
		"UPDATE kafka.stored_rollup AS s"
		"   SET system_identifier = o.system_identifier,"
		"       database_id = o.database_id, options = o." SHADOW_OPTIONS
		"  FROM kafka.stored_rollup AS o"
		" WHERE s.rollup_id = $1 AND o.rollup_id = s.rebuilds",
		lengthof(types), types, values, NULL);
}

/*
 * The one that is there, NULL for none; locked, since it can be dropped by its
 * own name.
 */
static KafkaRollup *
find_shadow(const KafkaRollup *rollup)
{
	KafkaRollup *shadow = kafka_rollup_get_shadow(rollup->rollup_id);

	if (shadow == NULL)
		return NULL;
	(void) kafka_rollup_lock(shadow->rollup_id, true);
	return kafka_rollup_get_shadow(rollup->rollup_id);
}

int32
kafka_shadow_prepare(const KafkaRollup *rollup, const char *query,
					 TimestampTz since)
{
	KafkaNewShadow new = {.rollup = rollup, .since = since};
	KafkaRollup *shadow = find_shadow(rollup);
	KafkaUserSwitch saved;
	bool wanted = false;

	check_rollup(rollup);
	check_dependents(rollup);
	kafka_catalog_become(&saved, rollup->owner, &rollup->settings);
	analyze_query(&new, query);
	if (shadow != NULL)
		wanted = is_wanted(&new, shadow);
	kafka_catalog_restore_user(&saved);
	if (wanted)
	{
		adopt(shadow);
		return shadow->rollup_id;
	}
	if (shadow != NULL)
	{
		ereport(NOTICE,
				(errmsg("what was rebuilt of rollup \"%s\" so far is dropped, "
						"since %s",
						rollup->name,
						strcmp(shadow->state, "HALTED") == 0
							? "it was halted"
							: "it was with another query or time")));
		drop_shadow(shadow, false);
	}
	kafka_catalog_become(&saved, rollup->owner, &rollup->settings);
	make_shadow(&new);
	kafka_catalog_restore_user(&saved);
	return new.rollup_id;
}
