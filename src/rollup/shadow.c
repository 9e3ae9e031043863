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
 * Where the shadow begins to read decides which buckets it can hold whole.  A
 * message before that place is not older than the horizon, which is since or,
 * where the log begins there, the time of the first message that is left.
 *
 * IDENTIFICATION
 *		src/rollup/shadow.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/relation.h"
#include "access/xlog.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "client/client.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "parser/parsetree.h"
#include "rewrite/rewriteHandler.h"
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

/* What relation.c adds to names at most: __checks. */
#define LONGEST_AFFIX (sizeof("__checks") - 1)

/* A shadow in the making. */
typedef struct NewShadow
{
	const KafkaRollup *rollup;
	TimestampTz since;
	KafkaRollupSpec *spec;
	int32 generation;
	KafkaRollupPlace place;
	KafkaRollupRelations relations;
	KafkaPositions *positions;
	bool is_cut;         /* there were messages before them */
	TimestampTz horizon; /* none of these is as new or newer; DT_NOBEGIN
						  * for none or unknown */
	bool keeps;          /* what the rollup has of the time before */
	int32 rollup_id;
} NewShadow;

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

/* live_name: see KafkaRollupChecks. */
static KafkaRollupSpec *
analyze(const KafkaRollup *rollup, const char *query, const char *live_name)
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
		analyze(shadow, kafka_shadow_get_query(shadow->definition),
				rollup->name);

	return kafka_apply_fill_storage(spec->live_sql, shadow->storage);
}

/* As the owner, with the rollup's settings. */
static void
analyze_query(NewShadow *new, const char *query)
{
	const KafkaRollup *rollup = new->rollup;

	if (query == NULL)
		query = kafka_shadow_get_query(rollup->definition);
	new->spec = analyze(rollup, query, NULL);
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

static void
check_rollup(const KafkaRollup *rollup)
{
	KafkaLoss *loss = kafka_loss_of_system(rollup);

	if (rollup->rebuilds != 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("\"%s\" is a generation in the making, and no rollup "
						"of its own",
						rollup->name)));
	if (loss != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("rollup \"%s\" does not belong to this database",
						rollup->name),
				 errdetail("%s", loss->detail), errhint("%s", loss->remedy)));
	if (!OidIsValid(rollup->source) || !OidIsValid(rollup->relation) ||
		!OidIsValid(rollup->storage) || !OidIsValid(rollup->definition) ||
		!OidIsValid(rollup->states) ||
		(rollup->has_checks && !OidIsValid(rollup->checks)))
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

	values[0] = PointerGetDatum(construct_array(replaced, lengthof(replaced),
												OIDOID, sizeof(Oid), true,
												TYPALIGN_INT));
	values[1] = PointerGetDatum(construct_array(own, lengthof(own), OIDOID,
												sizeof(Oid), true,
												TYPALIGN_INT));
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
			refuse_columns(rollup,
						   psprintf("Column %d, %s, would be gone.", i + 1,
									describe_column(a)));
		if (!is_same_column(a, TupleDescAttr(RelationGetDescr(new), i)))
			refuse_columns(
				rollup,
				psprintf("Column %d is %s, and would be %s.", i + 1,
						 describe_column(a),
						 describe_column(
							 TupleDescAttr(RelationGetDescr(new), i))));
	}
	relation_close(new, NoLock);
	relation_close(old, NoLock);
}

/* ----------------------------------------------------------------
 * Where to begin
 * ----------------------------------------------------------------
 */

/*
 * A rollup that has lost messages can be rebuilt from those that are left.
 * One whose topic is another now cannot be compared with what is read of it.
 */
static void
check_loss(const KafkaRollup *rollup, const KafkaRollupReader *reader,
		   const KafkaPositions *positions)
{
	KafkaLoss *loss = kafka_loss_of_isolation(rollup, reader);
	bool was_removed = false;

	for (int i = 0; i < positions->count; i++)
	{
		const KafkaPosition *position = &positions->list[i];
		const KafkaSnapshotPart *part =
			kafka_rollup_reader_part(reader, position->topic,
									 position->partition);

		was_removed |= part != NULL && part->start > position->next_offset;
	}
	if (loss == NULL)
		loss = kafka_loss_of_positions(rollup, reader, positions);
	if (was_removed && loss != NULL && loss->may_continue)
		return;
	if (loss == NULL && strcmp(rollup->state, "HALTED") != 0)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("rollup \"%s\" cannot be rebuilt while its positions are "
					"not of this topic",
					rollup->name),
			 errdetail_internal("%s", loss != NULL ? loss->detail
												   : rollup->reason),
			 errhint("Move it first: see kafka.seek_rollup.")));
}

/* The time of the first message that a partition has; DT_NOBEGIN for none. */
static TimestampTz
find_first_time(KafkaRollupReader *reader, const KafkaPosition *wanted)
{
	KafkaPositions *positions = kafka_positions_create();
	const KafkaReader *source = reader->reader;
	TimestampTz time = DT_NOBEGIN;
	KafkaBatch *batch;

	(void) kafka_positions_add_new(positions, reader);
	for (int i = 0; i < positions->count; i++)
	{
		KafkaPosition *position = &positions->list[i];

		if (strcmp(position->topic, wanted->topic) != 0 ||
			position->partition != wanted->partition)
			position->next_offset =
				kafka_rollup_reader_part(reader, position->topic,
										 position->partition)
					->end;
	}
	batch = kafka_batch_create(InvalidOid);
	kafka_rollup_reader_start(reader, positions);
	kafka_rollup_reader_read(reader, batch, 1);
	if (batch->nentries > 0 && batch->entries[0].timestamp_ms >= 0)
		time = (batch->entries[0].timestamp_ms +
				source->table->timestamp_max_lag_ms +
				source->table->timestamp_max_lead_ms) *
				   1000 -
			   (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * USECS_PER_DAY;
	kafka_batch_destroy(batch);
	return time;
}

/*
 * The shadow begins no later than the rollup has come: what is not counted
 * anywhere yet must not be passed over.
 */
static void
start_position(NewShadow *new, KafkaRollupReader *reader,
			   KafkaPosition *position, const KafkaPosition *old)
{
	const KafkaSnapshotPart *part =
		kafka_rollup_reader_part(reader, position->topic, position->partition);
	TimestampTz time = new->since;

	if (old != NULL)
	{
		int64 latest = Max(old->next_offset, part->start);

		position->next_offset = Min(position->next_offset, latest);
		position->lost_messages = latest - old->next_offset;
	}
	if (position->next_offset == 0)
		return;
	new->is_cut = true;
	if (position->next_offset == part->start)
	{
		time = find_first_time(reader, position);

		/* Nothing is left: the rollup knows what was there. */
		if (time == DT_NOBEGIN && old != NULL && old->has_last_time)
			time = old->last_time + 1;
	}
	new->horizon = Max(new->horizon, time);
}

static void
find_start(NewShadow *new)
{
	const KafkaRollup *rollup = new->rollup;
	KafkaPositions *before = kafka_positions_read(rollup->rollup_id);
	KafkaRollupReader *reader =
		kafka_rollup_reader_open_table(rollup->source, rollup->owner);
	KafkaPositions *positions = kafka_positions_create();

	check_loss(rollup, reader, before);
	(void) kafka_positions_add_new(positions, reader);
	if (new->since != DT_NOBEGIN)
		kafka_positions_move_to_time(positions, reader, new->since);

	/* Whether the topic has older messages or not, those are not asked for. */
	new->is_cut = new->since != DT_NOBEGIN;
	new->horizon = new->since;
	for (int i = 0; i < positions->count; i++)
		start_position(new, reader, &positions->list[i],
					   kafka_positions_find(before, positions->list[i].topic,
											positions->list[i].partition));
	new->positions = positions;
	kafka_rollup_reader_close(reader);
}

void
kafka_shadow_limit(const KafkaRollup *shadow, KafkaRollupReader *reader)
{
	KafkaPositions *limits = kafka_positions_read(shadow->rebuilds);
	KafkaPositions *reached = kafka_positions_read(shadow->rollup_id);

	for (int t = 0; t < reader->reader->ntopics; t++)
	{
		KafkaSnapshotTopic *topic = reader->reader->topics[t];

		for (int i = 0; i < topic->nparts; i++)
		{
			KafkaSnapshotPart *part = &topic->parts[i];
			const KafkaPosition *limit =
				kafka_positions_find(limits, topic->name, part->partition);
			const KafkaPosition *own =
				kafka_positions_find(reached, topic->name, part->partition);
			int64 end = part->start;

			if (limit != NULL)
				end = Max(end, limit->next_offset);
			if (own != NULL)
				end = Max(end, own->next_offset);
			part->end = Min(part->end, end);
		}
	}
}

/* ----------------------------------------------------------------
 * What is kept of the old one
 * ----------------------------------------------------------------
 */

static bool
is_same_text(const char *a, const char *b)
{
	return (a == NULL) == (b == NULL) && (a == NULL || strcmp(a, b) == 0);
}

static bool
is_same_state(const KafkaRollupColumn *a, const KafkaRollupColumn *b)
{
	return strcmp(a->name, b->name) == 0 && a->type == b->type &&
		   a->typmod == b->typmod && a->collation == b->collation &&
		   is_same_text(a->signature, b->signature);
}

static bool
has_state(const KafkaRollupSpec *spec, const KafkaRollupColumn *wanted)
{
	ListCell *cell;

	foreach(cell, spec->columns)
	{
		if (is_same_state(lfirst(cell), wanted))
			return true;
	}
	return false;
}

static bool
name_tables_walker(Node *node, List *rtable)
{
	if (node == NULL)
		return false;
	if (IsA(node, Var))
	{
		Var *var = (Var *) node;

		var->varno = (int) rt_fetch(var->varno, rtable)->relid;
		return false;
	}
	return expression_tree_walker(node, name_tables_walker, rtable);
}

/*
 * The expression of a view's column; palloc'd.  Its columns are those of
 * tables by their OIDs, whichever number they have in the query, to be compared
 * with another one's.
 */
static Node *
get_expression(Oid view, const char *name)
{
	Relation relation = relation_open(view, AccessShareLock);
	Query *query = copyObject(get_view_query(relation));
	Node *found = NULL;
	ListCell *cell;

	relation_close(relation, NoLock);
	foreach(cell, query->targetList)
	{
		TargetEntry *target = lfirst_node(TargetEntry, cell);

		if (strcmp(target->resname, name) == 0)
			found = flatten_join_alias_vars(query, (Node *) target->expr);
	}
	(void) name_tables_walker(found, query->rtable);
	return found;
}

static bool
is_same_key(const NewShadow *new, const KafkaRollupColumn *a,
			const KafkaRollupColumn *b)
{
	return is_same_state(a, b) &&
		   equal(get_expression(new->rollup->definition, a->name),
				 get_expression(new->relations.definition, b->name));
}

/*
 * Can rows of the old storage be rows of the new one?  The group columns must
 * be the same, with the bucket among them, and there must be a place for each
 * state, in which the same aggregate put it.
 */
static bool
can_keep(const NewShadow *new, const KafkaRollupSpec *old)
{
	const KafkaRollupSpec *spec = new->spec;
	ListCell *cell;

	if (old->bucket_column == NULL || old->nkeys != spec->nkeys ||
		!is_same_text(old->bucket_column, spec->bucket_column))
		return false;
	for (int i = 0; i < old->nkeys; i++)
	{
		if (!is_same_key(new, list_nth(old->columns, i),
						 list_nth(spec->columns, i)))
			return false;
	}
	foreach(cell, old->columns)
	{
		if (!has_state(spec, lfirst(cell)))
			return false;
	}
	return true;
}

/* The first time after the bucket in which the horizon's predecessor is. */
static TimestampTz
find_valid_from(const NewShadow *new, const KafkaBucket *bucket)
{
	TimestampTz low = new->horizon - 1;
	int64 last = kafka_bucket_of_time(bucket, low);
	TimestampTz high;

	if (new->spec->bucket_width == NULL)
		return new->horizon;
	high = DatumGetTimestampTz(DirectFunctionCall2(timestamptz_pl_interval,
												   TimestampTzGetDatum(low),
												   IntervalPGetDatum(
													   new->spec->bucket_width))) +
		   USECS_PER_DAY;
	while (high - low > 1)
	{
		TimestampTz middle = low + (high - low) / 2;

		if (kafka_bucket_of_time(bucket, middle) == last)
			low = middle;
		else
			high = middle;
	}
	return high;
}

static void
tell_kept(const NewShadow *new, TimestampTz valid_from,
		  const KafkaRollupSpec *old)
{
	const char *name = new->rollup->name;
	bool is_same = strcmp(old->definition_sql, new->spec->definition_sql) == 0;

	if (new->keeps)
		ereport(NOTICE,
				(errmsg("rollup \"%s\" keeps what it has of buckets before %s",
						name, timestamptz_to_str(valid_from)),
				 errdetail("Not all of their messages are read again.%s",
						   is_same ? ""
								   : " They stay as the old query has counted "
									 "them; columns that are new are NULL "
									 "there.")));
	else
		ereport(NOTICE,
				(errmsg("the new numbers of rollup \"%s\" lack the messages "
						"that are not read again",
						name),
				 valid_from != DT_NOBEGIN
					 ? errdetail("Buckets from %s on can be whole.",
								 timestamptz_to_str(valid_from))
					 : 0));
}

/*
 * As the owner, with the rollup's settings.  The old query is only looked at
 * here, since it may be what is wrong.
 */
static void
decide_kept(NewShadow *new)
{
	static const Oid types[] = {INT4OID, TIMESTAMPTZOID, TIMESTAMPTZOID};
	KafkaRollup *shadow = kafka_rollup_get_by_id(new->rollup_id);
	TimestampTz valid_from = DT_NOBEGIN;
	bool nulls[lengthof(types)] = {false};
	Datum values[lengthof(types)];
	KafkaRollupSpec *old;

	if (!new->is_cut)
		return;
	old = analyze(new->rollup, kafka_shadow_get_query(new->rollup->definition),
				  NULL);
	if (new->spec->bucket_column != NULL && new->horizon != DT_NOBEGIN)
	{
		valid_from = find_valid_from(new, kafka_bucket_read(shadow));
		new->keeps = can_keep(new, old);
	}
	values[0] = Int32GetDatum(new->rollup_id);
	values[1] = TimestampTzGetDatum(valid_from);
	nulls[1] = valid_from == DT_NOBEGIN;
	values[2] = TimestampTzGetDatum(new->horizon);
	nulls[2] = !new->keeps;
	kafka_catalog_execute("UPDATE kafka.stored_rollup"
						  "   SET valid_from = $2, keep_before = $3"
						  " WHERE rollup_id = $1",
						  lengthof(types), types, values, nulls);
	tell_kept(new, valid_from, old);
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
choose_place(NewShadow *new)
{
	const char *name = new->rollup->name;
	Oid schema = get_rel_namespace(new->rollup->relation);
	char *suffix = psprintf("_g%d", new->generation);

	new->place.schema = get_namespace_name(schema);
	for (int number = 2;; number++)
	{
		int room = NAMEDATALEN - 1 - LONGEST_AFFIX - 1 - strlen(suffix);

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
 * but the rebuild, and loses no bucket before it is swapped.
 */
static const char insert_shadow_sql[] =
	"INSERT INTO kafka.stored_rollup (name, kind, rebuilds, generation, since,"
	" source, relation, storage, definition, states, checks, live, upsert,"
	" bucket_column, bucket_width, expect, late_limit, future_limit, options,"
	" search_path, time_zone, date_style, interval_style, system_identifier,"
	" database_id)"
	" SELECT $2, kind, rollup_id, $3, $4, source, $5, $6, $7, $8, $9, $10,"
	" $11, $12, $13, expect, late_limit, future_limit,"
	" options - '{retention,follow,mirror_group}'::text[],"
	" search_path, time_zone, date_style, interval_style, system_identifier,"
	" database_id FROM kafka.stored_rollup WHERE rollup_id = $1"
	" RETURNING rollup_id";

static int32
insert_shadow(const NewShadow *new)
{
	static const Oid types[] = {INT4OID,     TEXTOID,     INT4OID,
								TIMESTAMPTZOID, REGCLASSOID, REGCLASSOID,
								REGCLASSOID, REGCLASSOID, REGCLASSOID,
								REGCLASSOID, TEXTOID,     TEXTOID,
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
	values[11] = nulls[11] ? (Datum) 0 : CStringGetTextDatum(spec->bucket_column);
	values[12] = IntervalPGetDatum(spec->bucket_width);
	nulls[12] = spec->bucket_width == NULL;
	kafka_catalog_execute(insert_shadow_sql, lengthof(types), types, values,
						  nulls);
	return DatumGetInt32(SPI_getbinval(SPI_tuptable->vals[0],
									   SPI_tuptable->tupdesc, 1, &isnull));
}

static void
insert_positions(const NewShadow *new)
{
	static const Oid types[] = {INT4OID};
	Datum values[] = {Int32GetDatum(new->rollup_id)};

	kafka_positions_write(new->rollup_id, new->positions, NULL);
	kafka_catalog_execute("UPDATE kafka.stored_position"
						  "   SET start_offset = next_offset"
						  " WHERE rollup_id = $1",
						  lengthof(types), types, values, NULL);
}

/* As the owner, with the rollup's settings. */
static void
make_shadow(NewShadow *new)
{
	const KafkaRollup *rollup = new->rollup;

	new->generation = rollup->generation + 1;
	choose_place(new);
	new->relations = kafka_relations_create(new->spec, &new->place);
	check_columns(rollup, rollup->relation, new->relations.relation);
	check_columns(rollup, rollup->definition, new->relations.definition);
	kafka_prune_prepare(&rollup->options, new->spec->bucket_column,
						new->relations.storage);
	find_start(new);
	new->rollup_id = insert_shadow(new);
	insert_positions(new);
	decide_kept(new);
}

/* ----------------------------------------------------------------
 * The one that is there
 * ----------------------------------------------------------------
 */

static void
drop_relation(const char *kind, Oid relid)
{
	char *sql;

	if (!OidIsValid(relid))
		return;
	sql = psprintf("DROP %s %s", kind,
				   quote_qualified_identifier(get_namespace_name(
												  get_rel_namespace(relid)),
											  get_rel_name(relid)));
	if (SPI_execute(sql, false, 0) != SPI_OK_UTILITY)
		elog(ERROR, "could not execute \"%s\"", sql); /* cannot happen */
}

static void
drop_shadow(const KafkaRollup *shadow)
{
	static const Oid types[] = {INT4OID};
	Datum values[] = {Int32GetDatum(shadow->rollup_id)};

	(void) kafka_rollup_lock(shadow->rollup_id, true);
	kafka_rollup_check_droppable(shadow);
	drop_relation("VIEW", shadow->live);
	drop_relation("VIEW", shadow->relation);
	drop_relation("VIEW", shadow->checks);
	drop_relation("VIEW", shadow->states);
	drop_relation("VIEW", shadow->definition);
	drop_relation("TABLE", shadow->storage);
	kafka_keys_forget_all(shadow->rollup_id);
	kafka_catalog_execute("DELETE FROM kafka.stored_rollup"
						  " WHERE rollup_id = $1",
						  lengthof(types), types, values, NULL);
}

void
kafka_shadow_drop_of(const KafkaRollup *rollup)
{
	KafkaRollup *shadow = kafka_rollup_get_shadow(rollup->rollup_id);

	if (shadow != NULL)
		drop_shadow(shadow);
}

/* As the owner, with the rollup's settings. */
static bool
is_wanted(const NewShadow *new, const KafkaRollup *shadow)
{
	KafkaRollupSpec *spec;

	if (shadow->since != new->since ||
		shadow->owner != new->rollup->owner ||
		shadow->source != new->rollup->source ||
		!OidIsValid(shadow->relation) || !OidIsValid(shadow->storage) ||
		!OidIsValid(shadow->definition) || !OidIsValid(shadow->states) ||
		(shadow->has_checks && !OidIsValid(shadow->checks)))
		return false;

	/* Both texts are made by the same way, or they would differ in form. */
	spec = analyze(shadow, kafka_shadow_get_query(shadow->definition), NULL);
	return strcmp(spec->definition_sql, new->spec->definition_sql) == 0;
}

/* A shadow in a restored copy belongs to where its rollup was taken over. */
static void
adopt(const KafkaRollup *rollup, const KafkaRollup *shadow)
{
	static const Oid types[] = {INT4OID, INT8OID, OIDOID};
	Datum values[] = {Int32GetDatum(shadow->rollup_id),
					  Int64GetDatum((int64) rollup->system_identifier),
					  ObjectIdGetDatum(rollup->database_id)};

	if (shadow->system_identifier == rollup->system_identifier &&
		shadow->database_id == rollup->database_id)
		return;
	kafka_catalog_execute("UPDATE kafka.stored_rollup"
						  "   SET system_identifier = $2, database_id = $3"
						  " WHERE rollup_id = $1",
						  lengthof(types), types, values, NULL);
}

int32
kafka_shadow_prepare(const KafkaRollup *rollup, const char *query,
					 TimestampTz since)
{
	NewShadow new = {.rollup = rollup, .since = since};
	KafkaRollup *shadow = kafka_rollup_get_shadow(rollup->rollup_id);
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
		adopt(rollup, shadow);
		return shadow->rollup_id;
	}
	if (shadow != NULL)
	{
		ereport(NOTICE,
				(errmsg("what was rebuilt of rollup \"%s\" so far is dropped, "
						"since it was with another query or time",
						rollup->name)));
		drop_shadow(shadow);
	}
	kafka_catalog_become(&saved, rollup->owner, &rollup->settings);
	make_shadow(&new);
	kafka_catalog_restore_user(&saved);
	return new.rollup_id;
}
