/*-------------------------------------------------------------------------
 *
 * mirror.c
 *		Shows a rollup's positions as the offsets of a consumer group, to the
 *		tools that watch such groups: options.mirror_group.
 *
 * It is a copy.  The positions are those of kafka.stored_position, which
 * commit with the storage; what the group has is never read back, may lag
 * behind, and may be missing altogether.  So nothing that goes wrong here may
 * keep a run from going on, nor hold it up for long.
 *
 * IDENTIFICATION
 *		src/rollup/mirror.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "fdw/guard.h"
#include "rollup/run.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

/* A try takes so long at most, and after one that failed there is a pause. */
#define MIRROR_MAX_MS 2000
#define MIRROR_PAUSE_MS (10 * 1000)

/* How often batches are worth telling of. */
#define MIRROR_INTERVAL_MS 1000

/* What this backend has done for a rollup. */
typedef struct MirrorState
{
	int32 rollup_id; /* hash key */
	TimestampTz tried_at;
	bool failed;
	uint64 digest; /* of group and offsets that were committed */
} MirrorState;

typedef struct MirrorWork
{
	const KafkaRollup *rollup;
	const KafkaPositions *positions;
} MirrorWork;

static HTAB *mirror_states = NULL;

static MirrorState *
find_state(int32 rollup_id)
{
	MirrorState *state;
	bool found;

	if (mirror_states == NULL)
	{
		HASHCTL control;

		control.keysize = sizeof(int32);
		control.entrysize = sizeof(MirrorState);
		mirror_states = hash_create("kafka_fdw mirrored rollups", 16, &control,
									HASH_ELEM | HASH_BLOBS);
	}
	state = hash_search(mirror_states, &rollup_id, HASH_ENTER, &found);
	if (!found)
	{
		state->tried_at = DT_NOBEGIN;
		state->failed = false;
		state->digest = 0;
	}
	return state;
}

static bool
was_tried_within(const MirrorState *state, int64 interval_ms)
{
	TimestampTz now = GetCurrentTimestamp();

	/* After the clock was set back it may lie ahead. */
	return state->tried_at <= now &&
		   !TimestampDifferenceExceeds(state->tried_at, now,
									   (int) interval_ms);
}

static uint64
digest_positions(const KafkaRollup *rollup, const KafkaPositions *positions)
{
	const char *group = rollup->options.mirror_group;
	uint64 digest = hash_bytes_extended((const unsigned char *) group,
										(int) strlen(group), 0);

	for (int i = 0; i < positions->count; i++)
	{
		const KafkaPosition *position = &positions->list[i];

		digest = hash_bytes_extended((const unsigned char *) position->topic,
									 (int) strlen(position->topic), digest);
		digest =
			hash_bytes_extended((const unsigned char *) &position->partition,
								sizeof(int32), digest);
		digest =
			hash_bytes_extended((const unsigned char *) &position->next_offset,
								sizeof(int64), digest);
	}
	return digest;
}

/* Commits, as the rollup's owner. */
static bool
commit_positions(void *arg)
{
	const MirrorWork *work = (const MirrorWork *) arg;
	const KafkaPositions *positions = work->positions;
	KafkaGroupOffset *offsets =
		palloc(sizeof(KafkaGroupOffset) * positions->count);
	KafkaConnectionOptions *connection;
	KafkaClient *client;

	for (int i = 0; i < positions->count; i++)
	{
		offsets[i].topic = positions->list[i].topic;
		offsets[i].partition = positions->list[i].partition;
		offsets[i].committed = positions->list[i].next_offset;
	}
	connection = kafka_option_read_connection(kafka_option_read_table(
												  work->rollup->source)
												  ->serverid,
											  work->rollup->owner);

	/* The handle that asks for high watermarks (watch.c) does for this, too. */
	connection->read_committed = false;
	InvalidateCatalogSnapshot(); /* nothing is held while it waits */
	client = kafka_client_acquire(connection, KAFKA_FOR_SEEKS);
	kafka_client_commit_group(client, work->rollup->options.mirror_group,
							  offsets, positions->count, MIRROR_MAX_MS);
	kafka_client_release(client);
	return true;
}

static void
warn(const KafkaRollup *rollup, const ErrorData *error)
{
	ereport(
		WARNING,
		(errcode(error->sqlerrcode),
		 errmsg("could not mirror the offsets of rollup \"%s\" to consumer "
				"group \"%s\": %s",
				rollup->name, rollup->options.mirror_group, error->message),
		 error->detail ? errdetail_internal("%s", error->detail) : 0,
		 errhint("The rollup does not depend on the group. Its Kafka user "
				 "needs the right to READ the group, which must have no "
				 "members.")));
}

void
kafka_mirror_positions(const KafkaRollup *rollup,
					   const KafkaPositions *positions)
{
	MirrorWork work = {rollup, positions};
	MirrorState *state;
	MemoryContext context;
	MemoryContext caller;
	ErrorData *error;
	uint64 digest;

	if (rollup->options.mirror_group == NULL || positions->count == 0)
		return;
	state = find_state(rollup->rollup_id);
	digest = digest_positions(rollup, positions);
	if (state->failed ? was_tried_within(state, MIRROR_PAUSE_MS)
					  : digest == state->digest)
		return;
	context =
		AllocSetContextCreate(CurrentMemoryContext, "Kafka mirrored offsets",
							  ALLOCSET_SMALL_SIZES);
	caller = MemoryContextSwitchTo(context);
	error = kafka_guard_try(commit_positions, &work);
	MemoryContextSwitchTo(caller);
	state->tried_at = GetCurrentTimestamp();
	state->failed = error != NULL;
	state->digest = digest;
	if (error != NULL && ERRCODE_TO_CATEGORY(error->sqlerrcode) ==
							 ERRCODE_OPERATOR_INTERVENTION)
		ReThrowError(error);
	if (error != NULL)
		warn(rollup, error);
	MemoryContextDelete(context);
}

bool
kafka_mirror_is_due(const KafkaRollup *rollup)
{
	return rollup->options.mirror_group != NULL &&
		   !was_tried_within(find_state(rollup->rollup_id),
							 MIRROR_INTERVAL_MS);
}
