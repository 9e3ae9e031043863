/*-------------------------------------------------------------------------
 *
 * horizon.c
 *		Where a shadow begins to read, how far it may, and what it cannot hold.
 *
 * Where it begins decides which buckets it can hold whole.  The horizon is a
 * time that no message before that place has reached: since, or where the log
 * begins there, that of the first message that is left.  It is so where times
 * are in order; where they are not, as far as timestamp_max_lag and
 * timestamp_max_lead say.  Buckets with times before the horizon are the old
 * rollup's to tell.
 *
 * IDENTIFICATION
 *		src/rollup/horizon.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/relation.h"
#include "catalog/pg_type.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "parser/parsetree.h"
#include "rewrite/rewriteHandler.h"
#include "rollup/apply.h"
#include "rollup/rebuild.h"
#include "utils/fmgrprotos.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

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
			 errdetail_internal("%s",
								loss != NULL ? loss->detail : rollup->reason),
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
start_position(KafkaNewShadow *new, KafkaRollupReader *reader,
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
	else
		position->next_offset = part->start;

	/* What lies before is nothing, or the rollup has not counted it either. */
	if (position->next_offset == 0 ||
		(old != NULL && old->start_offset >= position->next_offset))
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

void
kafka_horizon_find(KafkaNewShadow *new)
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
is_same_key(const KafkaNewShadow *new, const KafkaRollupColumn *a,
			const KafkaRollupColumn *b)
{
	return is_same_state(a, b) &&
		   equal(get_expression(new->rollup->definition, a->name),
				 get_expression(new->relations.definition, b->name));
}

static bool
find_aggregate_walker(Node *node, Aggref **found)
{
	if (node == NULL)
		return false;
	if (IsA(node, Aggref))
	{
		*found = (Aggref *) node;
		return true;
	}
	return expression_tree_walker(node, find_aggregate_walker, found);
}

/*
 * The aggregate that makes a state; NULL for none, which cannot be, unless
 * somebody has replaced the view.
 */
static Aggref *
get_aggregate(Oid states, const char *name)
{
	Aggref *found = NULL;

	(void) find_aggregate_walker(get_expression(states, name), &found);
	return found;
}

/*
 * Has an aggregate the same parameters in both views of states?  They are what
 * it takes after the value and is the same for all rows, such as how large a
 * sketch is to be: sketches of different ones cannot be merged, or are not what
 * either was meant to be.
 */
static bool
has_same_parameters(const KafkaNewShadow *new, const char *name)
{
	const Aggref *a = get_aggregate(new->rollup->states, name);
	const Aggref *b = get_aggregate(new->relations.states, name);

	if (a == NULL || b == NULL || list_length(a->args) != list_length(b->args))
		return false;
	for (int i = 1; i < list_length(a->args); i++)
	{
		Node *x = (Node *) list_nth_node(TargetEntry, a->args, i)->expr;
		Node *y = (Node *) list_nth_node(TargetEntry, b->args, i)->expr;

		if ((!contain_var_clause(x) || !contain_var_clause(y)) && !equal(x, y))
			return false;
	}
	return true;
}

/*
 * Can rows of the old storage be rows of the new one?  The group columns must
 * be the same, with the bucket among them, and there must be a place for each
 * state, in which the same aggregate with the same parameters put it.
 */
static bool
can_keep(const KafkaNewShadow *new, const KafkaRollupSpec *old)
{
	const KafkaRollupSpec *spec = new->spec;

	if (old->bucket_column == NULL || old->nkeys != spec->nkeys ||
		!is_same_text(old->bucket_column, spec->bucket_column))
		return false;
	for (int i = 0; i < old->nkeys; i++)
	{
		if (!is_same_key(new, list_nth(old->columns, i),
						 list_nth(spec->columns, i)))
			return false;
	}
	for (int i = 0; i < list_length(old->columns); i++)
	{
		const KafkaRollupColumn *column = list_nth(old->columns, i);

		if (!has_state(spec, column) ||
			(i >= old->nkeys && !has_same_parameters(new, column->name)))
			return false;
	}
	return true;
}

/* The first time after the bucket in which the horizon's predecessor is. */
static TimestampTz
find_valid_from(const KafkaNewShadow *new, const KafkaBucket *bucket)
{
	if (new->spec->bucket_width == NULL)
		return new->horizon;
	return kafka_bucket_find_end(bucket, new->spec->bucket_width,
								 new->horizon - 1);
}

static void
tell_kept(const KafkaNewShadow *new, TimestampTz valid_from,
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
 * The keys of what is kept, so that messages that repeat it do not count.  A
 * message that has its own key here is one that the shadow reads, and of a kept
 * bucket: it is a repeat in the shadow, whose rows of these are dropped.
 */
static void
copy_keys(const KafkaNewShadow *new, TimestampTz valid_from)
{
	static const Oid types[] = {INT4OID, INT4OID, TIMESTAMPTZOID};
	Datum values[] = {Int32GetDatum(new->rollup->rollup_id),
					  Int32GetDatum(new->rollup_id),
					  TimestampTzGetDatum(valid_from)};

	if (new->rollup->options.unique_key == NULL)
		return;
	kafka_catalog_execute(
		"INSERT INTO kafka.stored_key (rollup_id, key_hash, seen_at, newest)"
		" SELECT $2, key_hash, seen_at, newest FROM kafka.stored_key"
		" WHERE rollup_id = $1 AND seen_at < $3",
		lengthof(types), types, values, NULL);
}

/* The old query is only looked at here, since it may be what is wrong. */
void
kafka_horizon_decide_kept(KafkaNewShadow *new)
{
	static const Oid types[] = {INT4OID, TIMESTAMPTZOID, TIMESTAMPTZOID};
	KafkaRollup *shadow = kafka_rollup_get_by_id(new->rollup_id);
	TimestampTz valid_from = DT_NOBEGIN;
	bool nulls[lengthof(types)] = {false};
	Datum values[lengthof(types)];
	KafkaRollupSpec *old;

	if (!new->is_cut)
		return;
	old = kafka_shadow_analyze(new->rollup,
							   kafka_shadow_get_query(new->rollup->definition),
							   NULL);
	if (new->spec->bucket_column != NULL &&new->horizon != DT_NOBEGIN)
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
	if (new->keeps)
		copy_keys(new, valid_from);
	tell_kept(new, valid_from, old);
}
