/*-------------------------------------------------------------------------
 *
 * pool.c
 *		Client handles: made, lent, kept for the next query, destroyed.
 *
 * A handle costs some milliseconds to make and connect, several threads and
 * a dozen descriptors, so a finished scan leaves its handle in this backend's
 * pool, where the next one for the same server and user mapping finds it.  It
 * is lent to one scan at a time: a librdkafka handle can read a partition
 * from one place only, and two scans of a query may need two.
 *
 * Three things end a handle.  A failed query's memory context goes, and the
 * lease in it destroys the handle: what state the library is in after an
 * error is not worth a guess.  The catalog says that the server or mapping
 * changed.  Or it lay idle for handle_idle_timeout; since an idle backend
 * runs no code of ours, a thread looks after that, the reaper.
 *
 * The reaper calls pthread functions and rd_kafka_destroy and nothing else:
 * no PostgreSQL function may run on it.  It lives only while there are idle
 * handles, and all signals are blocked in it, so they stay the backend's.
 *
 * IDENTIFICATION
 *		src/client/pool.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <pthread.h>
#include <time.h>
#include <unistd.h>

#include "client/handle.h"
#include "miscadmin.h"
#include "storage/fd.h"
#include "storage/ipc.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/syscache.h"

/* A handle lent to a memory context. */
typedef struct KafkaClientLease
{
	MemoryContextCallback callback;
	KafkaClient *client; /* NULL once given back */
} KafkaClientLease;

/* More idle handles than this a backend does not keep. */
#define MAX_IDLE_CLIENTS 8

/*
 * Guards everything below and the next, idle_until_us and stale fields of the
 * handles in the list.  The backend never raises an error while holding it.
 */
static pthread_mutex_t pool_mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t pool_changed;
static KafkaClient *idle_clients = NULL;
static int idle_count = 0;
static bool reaper_running = false;
static bool reaper_joinable = false;
static bool pool_closed = false;
static pthread_t reaper;

/* Handles the reaper destroyed, whose descriptors are still on fd.c's books.
 */
static int reaped_count = 0;

static bool pool_initialized = false;

/*
 * Takes the handles out of the idle list that are stale, overdue, or, with
 * all, any; the caller holds the mutex and destroys what is returned.
 */
static KafkaClient *
take_expired(bool all, int64 now_us, int64 *next_deadline_us)
{
	KafkaClient **link = &idle_clients;
	KafkaClient *taken = NULL;

	*next_deadline_us = PG_INT64_MAX;
	while (*link)
	{
		KafkaClient *client = *link;

		if (all || client->stale || client->idle_until_us <= now_us)
		{
			*link = client->next;
			idle_count--;
			client->next = taken;
			taken = client;
			continue;
		}
		*next_deadline_us = Min(*next_deadline_us, client->idle_until_us);
		link = &client->next;
	}
	return taken;
}

static int
destroy_list(KafkaClient *client)
{
	int count = 0;

	while (client)
	{
		KafkaClient *next = client->next;

		kafka_handle_destroy(client);
		client = next;
		count++;
	}
	return count;
}

static void *
run_reaper(void *arg)
{
	pthread_mutex_lock(&pool_mutex);
	while (!pool_closed && idle_clients)
	{
		int64 deadline_us;
		KafkaClient *expired =
			take_expired(false, kafka_clock_us(), &deadline_us);

		if (expired)
		{
			int count;

			/* Destroying may take a moment; never with the mutex held. */
			pthread_mutex_unlock(&pool_mutex);
			count = destroy_list(expired);
			pthread_mutex_lock(&pool_mutex);
			reaped_count += count;
		}
		else
		{
			struct timespec until;

			until.tv_sec = deadline_us / 1000000;
			until.tv_nsec = (deadline_us % 1000000) * 1000;
			pthread_cond_timedwait(&pool_changed, &pool_mutex, &until);
		}
	}
	reaper_running = false;
	pthread_mutex_unlock(&pool_mutex);
	return NULL;
}

/*
 * Starts the reaper if it is not there.  The caller holds the mutex.  Should
 * no thread be had, idle handles wait for the next query to be looked at.
 */
static void
start_reaper(void)
{
	if (reaper_running)
		return;
	if (reaper_joinable)
	{
		/* It has let go of the mutex for good and is about to return. */
		pthread_join(reaper, NULL);
		reaper_joinable = false;
	}
	if (kafka_thread_start(&reaper, run_reaper, NULL))
	{
		reaper_running = true;
		reaper_joinable = true;
	}
}

static void
release_reserved_fds(int count)
{
	while (count-- > 0)
		ReleaseExternalFD();
}

/* Destroys idle handles that are due, and settles the reaper's accounts. */
static int
sweep_pool(bool all)
{
	int64 unused;
	KafkaClient *expired;
	int reaped;
	int count;

	pthread_mutex_lock(&pool_mutex);
	expired = take_expired(all, kafka_clock_us(), &unused);
	reaped = reaped_count;
	reaped_count = 0;
	pthread_cond_signal(&pool_changed);
	pthread_mutex_unlock(&pool_mutex);

	count = destroy_list(expired);
	release_reserved_fds(count + reaped);
	return count;
}

/*
 * Marks the idle handles of a changed server or mapping; hashvalue 0 means
 * all.  Nothing is destroyed here, since an invalidation can arrive in the
 * midst of anything; the reaper is woken to do it.  Handles lent out are
 * compared by fingerprint when they come back into use.
 */
static void
invalidate_clients(Datum arg, int cacheid, uint32 hashvalue)
{
	KafkaClient *client;

	pthread_mutex_lock(&pool_mutex);
	for (client = idle_clients; client; client = client->next)
	{
		uint32 own = (cacheid == FOREIGNSERVEROID) ? client->server_hash
												   : client->mapping_hash;

		if (hashvalue == 0 || own == hashvalue)
			client->stale = true;
	}
	pthread_cond_signal(&pool_changed);
	pthread_mutex_unlock(&pool_mutex);
}

/*
 * Ends the reaper and all idle handles.  This runs before the transaction in
 * progress, if any, is aborted; what that then releases is destroyed at once.
 */
static void
close_pool(int code, Datum arg)
{
	bool join;
	KafkaClient *clients;
	int64 unused;

	pthread_mutex_lock(&pool_mutex);
	pool_closed = true;
	join = reaper_joinable;
	reaper_joinable = false;
	clients = take_expired(true, 0, &unused);
	pthread_cond_signal(&pool_changed);
	pthread_mutex_unlock(&pool_mutex);

	if (join)
		pthread_join(reaper, NULL);
	destroy_list(clients);
}

static void
initialize_pool(void)
{
	pthread_condattr_t attr;

	if (pool_initialized)
		return;
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&pool_changed, &attr);
	kafka_handle_initialize();
	pthread_condattr_destroy(&attr);
	CacheRegisterSyscacheCallback(FOREIGNSERVEROID, invalidate_clients,
								  (Datum) 0);
	CacheRegisterSyscacheCallback(USERMAPPINGOID, invalidate_clients,
								  (Datum) 0);
	before_shmem_exit(close_pool, (Datum) 0);
	pool_initialized = true;
}

static KafkaClient *
find_idle(const KafkaConnectionOptions *opts, uint64 fingerprint,
		  KafkaPurpose purpose)
{
	KafkaClient **link;
	KafkaClient *found = NULL;

	pthread_mutex_lock(&pool_mutex);
	for (link = &idle_clients; *link; link = &(*link)->next)
	{
		KafkaClient *client = *link;

		if (client->serverid == opts->serverid && client->umid == opts->umid &&
			client->fingerprint == fingerprint && client->purpose == purpose &&
			client->creator == MyProcPid && !client->stale)
		{
			*link = client->next;
			idle_count--;
			client->next = NULL;
			found = client;
			break;
		}
	}
	pthread_mutex_unlock(&pool_mutex);
	return found;
}

static void
drop_lease(void *arg)
{
	KafkaClientLease *lease = (KafkaClientLease *) arg;

	if (lease->client == NULL)
		return;
	kafka_handle_destroy(lease->client);
	lease->client = NULL;
	ReleaseExternalFD();
}

KafkaClient *
kafka_client_acquire(const KafkaConnectionOptions *opts, KafkaPurpose purpose)
{
	uint64 fingerprint = kafka_config_fingerprint(opts);
	KafkaClientLease *lease;
	KafkaClient *client;

	initialize_pool();
	sweep_pool(false);
	kafka_handle_warn_left_behind();

	/* The lease comes first, so that nothing can fail once it is needed. */
	lease = palloc0(sizeof(KafkaClientLease));
	lease->callback.func = drop_lease;
	lease->callback.arg = lease;
	MemoryContextRegisterResetCallback(CurrentMemoryContext, &lease->callback);

	client = find_idle(opts, fingerprint, purpose);
	if (client == NULL)
	{
		if (!AcquireExternalFD())
			ereport(
				ERROR,
				(errcode(ERRCODE_INSUFFICIENT_RESOURCES),
				 errmsg(
					 "could not connect to Kafka server \"%s\": too many open files",
					 opts->server_name),
				 errhint(
					 "Raise max_files_per_process, or close handles with kafka.disconnect().")));
		client = kafka_handle_new(opts, purpose);
		if (client == NULL)
		{
			ReleaseExternalFD();
			ereport(ERROR,
					(errcode(ERRCODE_OUT_OF_MEMORY), errmsg("out of memory")));
		}
		lease->client = client;
		client->fingerprint = fingerprint;
		client->server_hash =
			GetSysCacheHashValue1(FOREIGNSERVEROID,
								  ObjectIdGetDatum(opts->serverid));
		client->mapping_hash =
			GetSysCacheHashValue1(USERMAPPINGOID,
								  ObjectIdGetDatum(opts->umid));
		kafka_handle_open(client, opts);
	}
	lease->client = client;
	client->lease = lease;
	client->connect_timeout_ms = opts->connect_timeout_ms;
	client->fetch_timeout_ms = opts->fetch_timeout_ms;
	client->acquisition++;
	client->fault.code = RD_KAFKA_RESP_ERR_NO_ERROR;
	return client;
}

void
kafka_client_limit_waits(KafkaClient *client, int connect_timeout_ms,
						 int fetch_timeout_ms)
{
	client->connect_timeout_ms =
		Min(client->connect_timeout_ms, connect_timeout_ms);
	client->fetch_timeout_ms = Min(client->fetch_timeout_ms, fetch_timeout_ms);
}

/* Puts a handle into the idle list; false when there is no place in it. */
static bool
keep_idle(KafkaClient *client)
{
	bool kept;

	pthread_mutex_lock(&pool_mutex);
	kept = !pool_closed && idle_count < MAX_IDLE_CLIENTS;
	if (kept)
	{
		client->idle_until_us =
			kafka_clock_us() + (int64) client->idle_timeout_ms * 1000;
		client->stale = false;
		client->next = idle_clients;
		idle_clients = client;
		idle_count++;
		start_reaper();
		pthread_cond_signal(&pool_changed);
	}
	pthread_mutex_unlock(&pool_mutex);
	return kept;
}

void
kafka_client_release(KafkaClient *client)
{
	bool fit;

	client->lease->client = NULL;
	client->lease = NULL;

	/*
	 * A handle that never reached a broker, or has just heard of a fault, is
	 * cheaper to make anew than to trust; and one with calls under way would
	 * have to be waited for.
	 */
	fit = !client->unfit && client->answered && client->calls == NULL &&
		  client->idle_timeout_ms > 0 &&
		  client->fault.code == RD_KAFKA_RESP_ERR_NO_ERROR &&
		  client->creator == MyProcPid;
	if (fit && keep_idle(client))
		return;
	kafka_handle_destroy(client);
	ReleaseExternalFD();
}

int
kafka_client_disconnect_all(void)
{
	return sweep_pool(true);
}

const char *
kafka_client_library_version(void)
{
	return rd_kafka_version_str();
}
