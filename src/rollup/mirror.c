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
 * After a try that failed there is a pause for the rollup, which grows.  The
 * broker that keeps a group may be silent while those that lead the topic's
 * partitions are well; which group is kept where is not known here.  So a try
 * that was waited for in vain is a pause for all rollups of the server:
 * however many there are, they wait once, not each for itself.
 *
 * IDENTIFICATION
 *		src/rollup/mirror.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_foreign_table.h"
#include "common/hashfn.h"
#include "fdw/guard.h"
#include "rollup/run.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

/* A try takes so long at most, and has been waited for when it took half. */
#define MIRROR_MAX_MS 2000

/* The first pause; it doubles with each try that fails, up to the last. */
#define MIRROR_MIN_PAUSE_MS (10 * 1000)
#define MIRROR_MAX_PAUSE_MS (5 * 60 * 1000)

/* How often batches are worth telling of. */
#define MIRROR_INTERVAL_MS 1000

/* When was it tried last, and how long is it left alone after that? */
typedef struct MirrorPause
{
	TimestampTz tried_at;
	int64 pause_ms; /* 0: the last try went well */
} MirrorPause;

/* What this backend has done for a rollup. */
typedef struct MirrorState
{
	int32 rollup_id; /* hash key */
	MirrorPause pause;
	uint64 digest; /* of group and offsets that were tried last */
} MirrorState;

/* What it has learned of a server. */
typedef struct MirrorServer
{
	Oid serverid; /* hash key */
	MirrorPause pause;
} MirrorServer;

typedef struct MirrorWork
{
	const KafkaRollup *rollup;
	const KafkaPositions *positions;
} MirrorWork;

static HTAB *mirror_states = NULL;
static HTAB *mirror_servers = NULL;

/* ----------------------------------------------------------------
 * When it is tried
 * ----------------------------------------------------------------
 */

static HTAB *
create_table(const char *name, Size key_size, Size entry_size)
{
	HASHCTL control;

	control.keysize = key_size;
	control.entrysize = entry_size;
	return hash_create(name, 16, &control, HASH_ELEM | HASH_BLOBS);
}

static MirrorState *
find_state(int32 rollup_id)
{
	MirrorState *state;
	bool found;

	if (mirror_states == NULL)
		mirror_states = create_table("kafka_fdw mirrored rollups",
									 sizeof(int32), sizeof(MirrorState));
	state = hash_search(mirror_states, &rollup_id, HASH_ENTER, &found);
	if (!found)
	{
		state->pause.tried_at = DT_NOBEGIN;
		state->pause.pause_ms = 0;
		state->digest = 0;
	}
	return state;
}

/* That of a foreign table; of none where the table is gone. */
static MirrorServer *
find_server(Oid source)
{
	HeapTuple tuple =
		SearchSysCache1(FOREIGNTABLEREL, ObjectIdGetDatum(source));
	Oid serverid = InvalidOid;
	MirrorServer *server;
	bool found;

	if (HeapTupleIsValid(tuple))
	{
		serverid = ((Form_pg_foreign_table) GETSTRUCT(tuple))->ftserver;
		ReleaseSysCache(tuple);
	}
	if (mirror_servers == NULL)
		mirror_servers = create_table("kafka_fdw mirroring servers",
									  sizeof(Oid), sizeof(MirrorServer));
	server = hash_search(mirror_servers, &serverid, HASH_ENTER, &found);
	if (!found)
	{
		server->pause.tried_at = DT_NOBEGIN;
		server->pause.pause_ms = 0;
	}
	return server;
}

static bool
was_tried_within(const MirrorPause *pause, int64 interval_ms)
{
	TimestampTz now = GetCurrentTimestamp();

	/* After the clock was set back it may lie ahead. */
	return pause->tried_at <= now &&
		   !TimestampDifferenceExceeds(pause->tried_at, now,
									   (int) interval_ms);
}

static bool
is_paused(const MirrorPause *pause)
{
	return pause->pause_ms > 0 && was_tried_within(pause, pause->pause_ms);
}

static void
note_try(MirrorPause *pause, bool failed)
{
	pause->tried_at = GetCurrentTimestamp();
	if (!failed)
		pause->pause_ms = 0;
	else if (pause->pause_ms == 0)
		pause->pause_ms = MIRROR_MIN_PAUSE_MS;
	else
		pause->pause_ms = Min(2 * pause->pause_ms, MIRROR_MAX_PAUSE_MS);
}

/* ----------------------------------------------------------------
 * Committing
 * ----------------------------------------------------------------
 */

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

/*
 * Tries, and notes how that went; the error, or NULL.  A cancel says nothing of
 * that, and is raised.
 */
static ErrorData *
try_commit(MirrorWork *work, MirrorState *state, MirrorServer *server)
{
	TimestampTz begin = GetCurrentTimestamp();
	ErrorData *error = kafka_guard_try(commit_positions, work);

	if (error != NULL && ERRCODE_TO_CATEGORY(error->sqlerrcode) ==
							 ERRCODE_OPERATOR_INTERVENTION)
		ReThrowError(error);
	note_try(&state->pause, error != NULL);
	note_try(&server->pause,
			 error != NULL &&
				 TimestampDifferenceExceeds(begin, state->pause.tried_at,
											MIRROR_MAX_MS / 2));
	return error;
}

void
kafka_mirror_positions(const KafkaRollup *rollup,
					   const KafkaPositions *positions)
{
	MirrorWork work = {rollup, positions};
	MirrorState *state;
	MirrorServer *server;
	MemoryContext context;
	MemoryContext caller;
	ErrorData *error;
	uint64 digest;

	if (rollup->options.mirror_group == NULL || positions->count == 0)
		return;
	state = find_state(rollup->rollup_id);
	digest = digest_positions(rollup, positions);
	if (state->pause.pause_ms > 0 ? is_paused(&state->pause)
								  : digest == state->digest)
		return;
	server = find_server(rollup->source);
	if (is_paused(&server->pause))
		return;
	context =
		AllocSetContextCreate(CurrentMemoryContext, "Kafka mirrored offsets",
							  ALLOCSET_SMALL_SIZES);
	caller = MemoryContextSwitchTo(context);
	error = try_commit(&work, state, server);
	MemoryContextSwitchTo(caller);
	state->digest = digest;
	if (error != NULL)
		warn(rollup, error);
	MemoryContextDelete(context);
}

bool
kafka_mirror_is_due(const KafkaRollup *rollup)
{
	return rollup->options.mirror_group != NULL &&
		   !was_tried_within(&find_state(rollup->rollup_id)->pause,
							 MIRROR_INTERVAL_MS);
}
