/*-------------------------------------------------------------------------
 *
 * tail.c
 *		Reads what a rollup has not counted yet, for a query of its live view.
 *
 * The rollup and its positions are read by the query's snapshot, like storage
 * (tail_row.c), and the ends of the topics were asked for after that snapshot
 * was taken.  So nothing is missing between the two, and nothing is there twice,
 * whatever runs do meanwhile.
 *
 * What would halt a run is an error here, with the same remedy.  Nothing is
 * written: a query may be on a standby, and by somebody who has no right to.
 *
 * IDENTIFICATION
 *		src/rollup/tail.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "rollup/tail.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

/* ----------------------------------------------------------------
 * May it be read?
 * ----------------------------------------------------------------
 */

static void
check_right(const KafkaRollup *rollup, Oid userid)
{
	if (OidIsValid(rollup->owner) ? has_privs_of_role(userid, rollup->owner)
								  : superuser_arg(userid))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("permission denied for rollup \"%s\"", rollup->name),
			 errdetail("Its tail is read as role \"%s\", who is no "
					   "member of its owner.",
					   GetUserNameFromId(userid, false))));
}

static void
check_source(const KafkaRollup *rollup, Oid relid)
{
	if (rollup->source == relid)
		return;
	ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					errmsg("rollup \"%s\" does not read foreign table \"%s\"",
						   rollup->name, get_rel_name(relid))));
}

static void
check_state(const KafkaRollup *rollup)
{
	if (strcmp(rollup->state, "HALTED") != 0)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("rollup \"%s\" is halted", rollup->name),
			 rollup->reason ? errdetail_internal("%s", rollup->reason) : 0,
			 errhint("What it has counted can be read from the view "
					 "without the tail.")));
}

static void
report_loss(const KafkaRollup *rollup, const KafkaLoss *loss)
{
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("the tail of rollup \"%s\" does not continue what it has "
					"counted",
					rollup->name),
			 errdetail_internal("%s", loss->detail),
			 errhint("%s", loss->remedy)));
}

/*
 * Messages that are missing are told each time, until a run has noted that;
 * returns the positions to go on with.
 */
static const KafkaPositions *
handle_loss(const KafkaRollup *rollup, const KafkaLoss *loss)
{
	if (!loss->may_continue || !rollup->options.continue_on_loss)
		report_loss(rollup, loss);
	ereport(WARNING,
			(errcode(ERRCODE_WARNING),
			 errmsg("the tail of rollup \"%s\" lacks messages", rollup->name),
			 errdetail_internal("%s", loss->detail)));
	return loss->positions;
}

/* ----------------------------------------------------------------
 * Planning
 * ----------------------------------------------------------------
 */

/*
 * By the positions, and where partitions ended when a run last looked: what came
 * since is not known here.  Who may not read the tail is not told either.
 */
double
kafka_tail_guess_messages(const char *name, Oid userid)
{
	KafkaRollup *rollup = kafka_tail_read_rollup(name, NULL);
	KafkaPositions *positions;
	double messages = 0;

	if (rollup == NULL || !OidIsValid(rollup->owner) ||
		!has_privs_of_role(userid, rollup->owner))
		return -1;
	positions = kafka_tail_read_positions(rollup->rollup_id, NULL);
	for (int i = 0; i < positions->count; i++)
	{
		const KafkaPosition *position = &positions->list[i];

		messages += Max(position->end_offset - position->next_offset, 0);
	}
	return Min(messages, (double) rollup->options.max_tail);
}

/* ----------------------------------------------------------------
 * Opening
 * ----------------------------------------------------------------
 */

/* The functions that look for losses want a reader of a run's kind. */
static void
fill_reader(KafkaTail *tail, KafkaReader *reader)
{
	tail->reader.context = tail->context;
	tail->reader.reader = reader;
	for (int t = 0; t < reader->ntopics; t++)
		kafka_reader_need_starts(reader, reader->topics[t]);
	tail->reader.cluster_id = kafka_client_cluster_id(reader->client);
}

/* Where reading starts; in the same order as a run, the same is found. */
static const KafkaPositions *
find_positions(const KafkaTail *tail)
{
	const KafkaRollup *rollup = tail->rollup;
	KafkaPositions *positions =
		kafka_tail_read_positions(rollup->rollup_id, tail->snapshot);
	KafkaLoss *loss = kafka_loss_of_system(rollup);

	if (loss == NULL)
		loss = kafka_loss_of_isolation(rollup, &tail->reader);
	if (loss == NULL)
		loss = kafka_loss_of_positions(rollup, &tail->reader, positions);
	if (loss != NULL)
		positions = kafka_positions_copy(handle_loss(rollup, loss));
	(void) kafka_positions_add_new(positions, &tail->reader);
	return positions;
}

/*
 * Reads the rollup.  Relations are those of now, but their rows, and the
 * positions, those of the snapshot.  When a rebuild has put another storage
 * behind the view in between, the two have nothing to do with each other.
 */
static KafkaRollup *
read_rollup(const char *name, Snapshot snapshot)
{
	KafkaRollup *rollup = kafka_tail_read_rollup(name, snapshot);
	KafkaRollup *now = kafka_tail_read_rollup(name, NULL);

	if (now == NULL)
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT),
						errmsg("rollup \"%s\" does not exist", name)));
	if (rollup == NULL || rollup->rollup_id != now->rollup_id ||
		rollup->storage != now->storage)
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("rollup \"%s\" was created or rebuilt after this "
						"transaction took its snapshot",
						name),
				 errhint("Try the transaction again.")));
	return rollup;
}

KafkaTail *
kafka_tail_open(const char *rollup, Oid relid, Oid userid, Snapshot snapshot,
				KafkaReader *reader)
{
	KafkaTail *tail = palloc0(sizeof(KafkaTail));

	tail->context = CurrentMemoryContext;
	tail->start_context =
		AllocSetContextCreate(tail->context, "Kafka rollup tail",
							  ALLOCSET_DEFAULT_SIZES);
	tail->snapshot = snapshot;
	tail->rollup = read_rollup(rollup, snapshot);
	check_right(tail->rollup, userid);
	check_source(tail->rollup, relid);
	check_state(tail->rollup);
	fill_reader(tail, reader);
	tail->first = find_positions(tail);
	return tail;
}

/* ----------------------------------------------------------------
 * Reading
 * ----------------------------------------------------------------
 */

/* An error where there is more to be read than the rollup's options allow. */
static void
check_size(const KafkaTail *tail)
{
	const KafkaRollup *rollup = tail->rollup;
	int64 count = 0;

	for (int i = 0; i < tail->first->count; i++)
	{
		const KafkaPosition *position = &tail->first->list[i];
		const KafkaSnapshotPart *part =
			kafka_rollup_reader_part(&tail->reader, position->topic,
									 position->partition);

		if (part != NULL)
			count += Max(part->end - position->next_offset, 0);
	}
	if (count <= rollup->options.max_tail)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
			 errmsg("rollup \"%s\" has %lld messages still to count, more "
					"than its option \"max_tail\" allows a query to read",
					rollup->name, (long long) count),
			 errdetail("The option is %lld.",
					   (long long) rollup->options.max_tail),
			 errhint("CALL kafka.run_rollups(%s); or read the view without "
					 "the tail, or give the option a larger value with "
					 "kafka.alter_rollup.",
					 quote_literal_cstr(rollup->name))));
}

/*
 * Like a run, begins at the last message that was read before: it tells whether
 * the topic is still the same one.
 */
void
kafka_tail_start(KafkaTail *tail)
{
	MemoryContext caller = MemoryContextSwitchTo(tail->start_context);
	KafkaPositions *positions;

	check_size(tail);
	MemoryContextReset(tail->start_context);
	positions = kafka_positions_copy(tail->first);
	tail->positions = positions;
	tail->position = NULL;
	kafka_tail_begin_checks(tail);
	kafka_reader_start_limited_from(
		tail->reader.reader,
		kafka_rollup_reader_list_starts(&tail->reader, positions),
		positions->count);
	MemoryContextSwitchTo(caller);
}

/*
 * A message before the position that is not the one which was read there: what
 * follows belongs to a topic of which nothing was counted.
 */
static void
report_replaced(KafkaTail *tail)
{
	tail->reader.replaced = tail->position;
	report_loss(tail->rollup,
				kafka_loss_of_replaced(tail->rollup, &tail->reader,
									   tail->first));
}

bool
kafka_tail_is_new(KafkaTail *tail, const KafkaMessage *message)
{
	tail->position =
		kafka_positions_of_message(tail->positions, message, tail->position);
	if (message->offset >= tail->position->next_offset)
		return true;
	if (!kafka_position_is_last(tail->position, message))
		report_replaced(tail);
	return false;
}

/* Retention has overtaken the reading: a run would find that a loss. */
void
kafka_tail_end(KafkaTail *tail)
{
	const KafkaRollup *rollup = tail->rollup;
	int64 lost = kafka_reader_lost(tail->reader.reader);

	if (lost == 0 || rollup->options.continue_on_loss)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("%lld messages of the tail of rollup \"%s\" were removed "
					"before they could be read",
					(long long) lost, rollup->name),
			 errhint("CALL kafka.run_rollups(%s) tells how to go on.",
					 quote_literal_cstr(rollup->name))));
}
