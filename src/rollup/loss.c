/*-------------------------------------------------------------------------
 *
 * loss.c
 *		What must not go by unnoticed: messages that were removed before they
 *		were read, topics made anew, another cluster, another isolation level, a
 *		copied database.
 *
 * Each is found by comparing what the rollup's row and positions say with what
 * is there now.  What is found halts the rollup, or, where its option on_loss
 * says so and it is only messages that are missing, is recorded and passed.
 *
 * IDENTIFICATION
 *		src/rollup/loss.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xlog.h"
#include "catalog/pg_type_d.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "rollup/run.h"
#include "utils/builtins.h"
#include "utils/json.h"

/* How many partitions a reason tells of in full. */
#define DETAIL_MAX_PARTS 5

/* What is being found out about a rollup's partitions. */
typedef struct LossSearch
{
	const KafkaRollup *rollup;
	const KafkaRollupReader *reader;
	KafkaLoss *loss;
	StringInfoData detail;
	StringInfoData offsets; /* JSON: members, for seek_rollup */
	const char *offsets_topic;
	int nparts;
} LossSearch;

static KafkaLoss *
make_loss(const char *detail, const char *remedy)
{
	KafkaLoss *loss = palloc0(sizeof(KafkaLoss));

	loss->detail = pstrdup(detail);
	loss->remedy = pstrdup(remedy);
	return loss;
}

KafkaLoss *
kafka_loss_of_system(const KafkaRollup *rollup)
{
	const char *detail;

	if (rollup->system_identifier != GetSystemIdentifier())
		detail = psprintf(
			"The rollup belongs to the database system with identifier " UINT64_FORMAT
			", and this one is " UINT64_FORMAT ".",
			rollup->system_identifier, GetSystemIdentifier());
	else if (rollup->database_id != MyDatabaseId)
		detail = "The rollup belongs to another database, of which this one "
				 "seems to be a copy.";
	else
		return NULL;
	return make_loss(
		detail, "If no other copy of it is run, SELECT kafka.take_over();");
}

void
kafka_loss_check_system(const KafkaRollup *rollup)
{
	const KafkaLoss *loss = kafka_loss_of_system(rollup);

	if (loss != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("rollup \"%s\" does not belong to this database",
						rollup->name),
				 errdetail("%s", loss->detail), errhint("%s", loss->remedy)));
}

/* ----------------------------------------------------------------
 * Partitions
 * ----------------------------------------------------------------
 */

/* Names the partition in the offsets of the remedy. */
static void
append_offset(LossSearch *search, const KafkaPosition *position)
{
	StringInfo offsets = &search->offsets;
	bool several = search->reader->reader->ntopics > 1;

	if (several && (search->offsets_topic == NULL ||
					strcmp(search->offsets_topic, position->topic) != 0))
	{
		if (search->offsets_topic)
			appendStringInfoString(offsets, "}, ");
		escape_json(offsets, position->topic);
		appendStringInfoString(offsets, ": {");
	}
	else if (offsets->len > 0)
		appendStringInfoString(offsets, ", ");
	search->offsets_topic = position->topic;
	appendStringInfo(offsets, "\"%d\": \"earliest\"", position->partition);
}

static void
begin_sentence(LossSearch *search)
{
	if (search->detail.len > 0)
		appendStringInfoChar(&search->detail, ' ');
}

/* Is there still room for one more partition in the text? */
static bool
is_told(LossSearch *search)
{
	if (++search->nparts > DETAIL_MAX_PARTS)
		return false;
	begin_sentence(search);
	return true;
}

static void
add_removed(LossSearch *search, const KafkaPosition *position, int64 start)
{
	KafkaPosition *next =
		kafka_positions_find(search->loss->positions, position->topic,
							 position->partition);
	int64 lost = start - position->next_offset;

	if (is_told(search))
		appendStringInfo(
			&search->detail,
			"Topic \"%s\" partition %d: offsets %lld to %lld were removed before "
			"they were read, %lld in all.",
			position->topic, position->partition,
			(long long) position->next_offset, (long long) (start - 1),
			(long long) lost);
	append_offset(search, position);
	search->loss->lost_messages += lost;
	next->next_offset = start;
	next->last_offset = -1;
	next->lost_messages += lost;
}

/*
 * The log is another one: go on from its beginning.  Its digest is forgotten,
 * or else the next run would find that loss again.
 */
static void
restart_position(LossSearch *search, const KafkaPosition *position,
				 const KafkaSnapshotPart *part)
{
	KafkaPosition *next =
		kafka_positions_find(search->loss->positions, position->topic,
							 position->partition);

	append_offset(search, position);
	next->next_offset = part->start;
	next->last_offset = -1;
	next->has_last_time = false;
	next->end_offset = part->end;
}

static void
add_shortened(LossSearch *search, const KafkaPosition *position,
			  const KafkaSnapshotPart *part)
{
	if (is_told(search))
		appendStringInfo(
			&search->detail,
			"Topic \"%s\" partition %d was truncated or recreated: it has "
			"been read up to offset %lld, and ends at %lld now.",
			position->topic, position->partition,
			(long long) position->next_offset, (long long) part->end);
	restart_position(search, position, part);
}

static void
add_replaced(LossSearch *search, const KafkaPosition *position,
			 const KafkaSnapshotPart *part)
{
	if (is_told(search))
		appendStringInfo(
			&search->detail,
			"Topic \"%s\" partition %d was truncated or recreated: the "
			"message at offset %lld is another one than was read there.",
			position->topic, position->partition,
			(long long) position->last_offset);
	restart_position(search, position, part);
}

static void
add_missing(LossSearch *search, const KafkaPosition *position, int nparts)
{
	if (is_told(search))
		appendStringInfo(
			&search->detail,
			"Topic \"%s\" was recreated with fewer partitions: there is no "
			"partition %d any more, only %d in all.",
			position->topic, position->partition, nparts);
}

/* The topic in the snapshot, NULL where the table does not show it (any more). */
static const KafkaSnapshotTopic *
find_topic(const KafkaRollupReader *reader, const char *name)
{
	for (int t = 0; t < reader->reader->ntopics; t++)
	{
		if (strcmp(reader->reader->topics[t]->name, name) == 0)
			return reader->reader->topics[t];
	}
	return NULL;
}

/*
 * A topic or partition that the table was altered to leave out is no loss, nor
 * is a topic that a pattern found once and that was deleted.
 */
static bool
is_missing(const KafkaRollupReader *reader, const KafkaPosition *position)
{
	return find_topic(reader, position->topic) != NULL &&
		   kafka_option_has_partition(reader->reader->table,
									  position->partition) &&
		   kafka_rollup_reader_part(reader, position->topic,
									position->partition) == NULL;
}

/*
 * Kafka cannot take partitions away from a topic.  So one that has fewer is
 * another topic, and no position in any of its partitions means anything.
 */
static bool
is_recreated(const KafkaRollupReader *reader, const KafkaPositions *positions,
			 const char *topic)
{
	for (int i = 0; i < positions->count; i++)
	{
		if (strcmp(positions->list[i].topic, topic) == 0 &&
			is_missing(reader, &positions->list[i]))
			return true;
	}
	return false;
}

void
kafka_positions_drop_missing(KafkaPositions *positions,
							 const KafkaRollupReader *reader)
{
	int kept = 0;

	for (int i = 0; i < positions->count; i++)
	{
		if (!is_missing(reader, &positions->list[i]))
			positions->list[kept++] = positions->list[i];
	}
	positions->count = kept;
}

static void
begin_search(LossSearch *search, const KafkaRollup *rollup,
			 const KafkaRollupReader *reader, const KafkaPositions *positions)
{
	memset(search, 0, sizeof(*search));
	search->rollup = rollup;
	search->reader = reader;
	search->loss = palloc0(sizeof(KafkaLoss));
	search->loss->may_continue = true;
	search->loss->positions = kafka_positions_copy(positions);
	initStringInfo(&search->detail);
	initStringInfo(&search->offsets);
}

/* What was found, NULL for nothing. */
static KafkaLoss *
end_search(LossSearch *search)
{
	KafkaLoss *loss = search->loss;

	if (search->nparts == 0)
		return NULL;
	if (search->nparts > DETAIL_MAX_PARTS)
		appendStringInfo(&search->detail, " So it is with %d partitions more.",
						 search->nparts - DETAIL_MAX_PARTS);
	if (search->offsets_topic && search->reader->reader->ntopics > 1)
		appendStringInfoChar(&search->offsets, '}');
	kafka_positions_drop_missing(loss->positions, search->reader);
	loss->detail = search->detail.data;
	loss->remedy = psprintf(
		"To go on without what is lost, SELECT kafka.seek_rollup(%s, offsets "
		":= %s, accept_loss := true);",
		quote_literal_cstr(search->rollup->name),
		quote_literal_cstr(psprintf("{%s}", search->offsets.data)));
	return loss;
}

static KafkaLoss *
find_other_cluster(const KafkaRollup *rollup, const KafkaRollupReader *reader)
{
	if (rollup->cluster_id == NULL || reader->cluster_id == NULL ||
		strcmp(rollup->cluster_id, reader->cluster_id) == 0)
		return NULL;
	return make_loss(
		psprintf("The rollup has read from the cluster with id \"%s\", and "
				 "the server's brokers now belong to \"%s\".",
				 rollup->cluster_id, reader->cluster_id),
		psprintf("If the topics have the same offsets there, SELECT "
				 "kafka.seek_rollup(%s, offsets := '{}', accept_loss := "
				 "true); else give it the time or the offsets to go on from.",
				 quote_literal_cstr(rollup->name)));
}

KafkaLoss *
kafka_loss_of_positions(const KafkaRollup *rollup,
						const KafkaRollupReader *reader,
						const KafkaPositions *positions)
{
	KafkaLoss *loss = find_other_cluster(rollup, reader);
	LossSearch search;

	if (loss != NULL)
		return loss;
	begin_search(&search, rollup, reader, positions);
	for (int i = 0; i < positions->count; i++)
	{
		const KafkaPosition *position = &positions->list[i];
		const KafkaSnapshotPart *part;

		part = kafka_rollup_reader_part(reader, position->topic,
										position->partition);
		if (part == NULL)
		{
			if (is_missing(reader, position))
				add_missing(&search, position,
							find_topic(reader, position->topic)->nparts);
		}
		else if (is_recreated(reader, positions, position->topic))
			restart_position(&search, position, part);
		else if (part->start > position->next_offset)
			add_removed(&search, position, part->start);
		else if (part->end < position->next_offset)
			add_shortened(&search, position, part);
	}
	return end_search(&search);
}

KafkaLoss *
kafka_loss_of_replaced(const KafkaRollup *rollup,
					   const KafkaRollupReader *reader,
					   const KafkaPositions *positions)
{
	const KafkaPosition *replaced = reader->replaced;
	LossSearch search;
	KafkaPosition *position;

	begin_search(&search, rollup, reader, positions);
	position = kafka_positions_find(search.loss->positions, replaced->topic,
									replaced->partition);
	add_replaced(&search, position,
				 kafka_rollup_reader_part(reader, replaced->topic,
										  replaced->partition));
	return end_search(&search);
}

static const char *
get_isolation_level(const KafkaRollupReader *reader)
{
	return reader->reader->connection->read_committed ? "read_committed"
													  : "read_uncommitted";
}

KafkaLoss *
kafka_loss_of_isolation(const KafkaRollup *rollup,
						const KafkaRollupReader *reader)
{
	const char *now = get_isolation_level(reader);

	if (rollup->isolation_level == NULL ||
		strcmp(rollup->isolation_level, now) == 0)
		return NULL;
	return make_loss(
		psprintf("The rollup has read with the isolation level \"%s\", and "
				 "server \"%s\" now has \"%s\".",
				 rollup->isolation_level,
				 reader->reader->connection->server_name, now),
		psprintf("To go on with what the server has, SELECT "
				 "kafka.seek_rollup(%s, offsets := '{}');",
				 quote_literal_cstr(rollup->name)));
}

void
kafka_rollup_set_origin(const KafkaRollup *rollup,
						const KafkaRollupReader *reader)
{
	Oid types[3] = {INT4OID, TEXTOID, TEXTOID};
	bool nulls[3] = {false, reader->cluster_id == NULL, false};
	Datum values[3];

	values[0] = Int32GetDatum(rollup->rollup_id);
	values[1] = nulls[1] ? (Datum) 0 : CStringGetTextDatum(reader->cluster_id);
	values[2] = CStringGetTextDatum(get_isolation_level(reader));
	(void) kafka_catalog_execute(
		"UPDATE kafka.stored_rollup SET cluster_id = coalesce($2, cluster_id),"
		" isolation_level = $3 WHERE rollup_id = $1",
		3, types, values, nulls);
}
