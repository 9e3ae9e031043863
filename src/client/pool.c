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
 * rd_kafka_destroy waits for all that refers to the handle, and in 2.0.2
 * (mended in 2.6.1) something always may: when reading a partition is stopped
 * with a fetch under way, the answer goes into the partition's own queue,
 * refers to the partition, and is never taken out again once the partition
 * has left the topic, as all do when the topic is deleted.  So a handle keeps
 * the queues of the partitions it has read, and they are emptied first; and
 * since there may be other ways to wait for ever, and a backend must not,
 * rd_kafka_destroy runs on a thread of its own that the backend can leave
 * behind.
 *
 * IDENTIFICATION
 *		src/client/pool.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>
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

static int64
monotonic_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64) now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

int64
kafka_clock_ms(void)
{
	return monotonic_us() / 1000;
}

/* ----------------------------------------------------------------
 * Ending handles
 * ----------------------------------------------------------------
 */

/* How long a handle's end, mostly 1 to 3 ms, is waited for. */
#define END_PATIENCE_MS 500

/* A handle that is being destroyed on a thread. */
typedef struct KafkaHandleEnd
{
	rd_kafka_t *rk;
	int event_fd;
	bool done;
	bool left_behind; /* nobody waits; the thread frees this */
} KafkaHandleEnd;

/* Guards the members of KafkaHandleEnd and the counter. */
static pthread_mutex_t end_mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t end_done;
static int ends_left_behind = 0;

/* Starts a thread that gets no signals; false when none can be had. */
static bool
start_thread(pthread_t *thread, void *(*function)(void *), void *arg)
{
	sigset_t all;
	sigset_t saved;
	bool started;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &saved);
	started = pthread_create(thread, NULL, function, arg) == 0;
	pthread_sigmask(SIG_SETMASK, &saved, NULL);
	return started;
}

static void
destroy_handle(rd_kafka_t *rk, int event_fd)
{
	rd_kafka_destroy(rk);

	/* Only now does no thread of the library write to it. */
	if (event_fd >= 0)
		close(event_fd);
}

static void *
run_end(void *arg)
{
	KafkaHandleEnd *end = (KafkaHandleEnd *) arg;
	bool left_behind;

	destroy_handle(end->rk, end->event_fd);
	pthread_mutex_lock(&end_mutex);
	end->done = true;
	left_behind = end->left_behind;
	if (left_behind)
		ends_left_behind--;
	pthread_cond_broadcast(&end_done);
	pthread_mutex_unlock(&end_mutex);
	if (left_behind)
		free(end);
	return NULL;
}

/* Destroys a handle on a thread, and waits for it, but not for ever. */
static void
end_handle(rd_kafka_t *rk, int event_fd)
{
	int64 deadline_us = monotonic_us() + END_PATIENCE_MS * 1000;
	struct timespec until = {deadline_us / 1000000,
							 (deadline_us % 1000000) * 1000};
	KafkaHandleEnd *end = calloc(1, sizeof(KafkaHandleEnd));
	pthread_t thread;
	bool done;

	if (end)
	{
		end->rk = rk;
		end->event_fd = event_fd;
	}
	if (end == NULL || !start_thread(&thread, run_end, end))
	{
		free(end);
		destroy_handle(rk, event_fd);
		return;
	}
	pthread_mutex_lock(&end_mutex);
	while (!end->done &&
		   pthread_cond_timedwait(&end_done, &end_mutex, &until) != ETIMEDOUT)
		;
	done = end->done;
	if (!done)
	{
		end->left_behind = true;
		ends_left_behind++;
	}
	pthread_mutex_unlock(&end_mutex);
	if (done)
	{
		pthread_join(thread, NULL);
		free(end);
	}
	else
		pthread_detach(thread);
}

/* Tells, once each, of handles that do not end. */
static void
warn_left_behind(void)
{
	static int warned = 0;
	int count;

	pthread_mutex_lock(&end_mutex);
	count = ends_left_behind;
	pthread_mutex_unlock(&end_mutex);
	if (count > warned)
		ereport(
			WARNING,
			(errcode(ERRCODE_WARNING),
			 errmsg("a Kafka client handle could not be closed in time"),
			 errdetail(
				 "librdkafka %s is still at it. The handle's threads and connections stay until it is done or the session ends.",
				 rd_kafka_version_str())));
	warned = count;
}

/* A topic of which a handle has read partitions. */
typedef struct KafkaReadTopic
{
	struct KafkaReadTopic *next;
	rd_kafka_queue_t **queues; /* by partition, NULL for not read */
	int nqueues;
	char name[FLEXIBLE_ARRAY_MEMBER];
} KafkaReadTopic;

rd_kafka_queue_t **
kafka_client_queue_slot(KafkaClient *client, const char *topic,
						int32 partition)
{
	KafkaReadTopic *read;

	for (read = client->read_topics; read; read = read->next)
	{
		if (strcmp(read->name, topic) == 0)
			break;
	}
	if (read == NULL)
	{
		read = calloc(1, offsetof(KafkaReadTopic, name) + strlen(topic) + 1);
		if (read == NULL)
			return NULL;
		strcpy(read->name, topic);
		read->next = client->read_topics;
		client->read_topics = read;
	}
	if (partition >= read->nqueues)
	{
		int wanted = Max(partition + 1, read->nqueues * 2);
		rd_kafka_queue_t **queues =
			realloc(read->queues, sizeof(rd_kafka_queue_t *) * wanted);

		if (queues == NULL)
			return NULL;
		memset(queues + read->nqueues, 0,
			   sizeof(rd_kafka_queue_t *) * (wanted - read->nqueues));
		read->queues = queues;
		read->nqueues = wanted;
	}
	return &read->queues[partition];
}

void
kafka_client_empty_slot(rd_kafka_queue_t **slot)
{
	rd_kafka_message_t *message;

	if (*slot == NULL)
		return;

	/*
	 * Of the calls that would do, only this one drops outdated entries
	 * without holding the queue's lock.  The last of them may take the
	 * partition with it, whose end locks the queue.
	 */
	while (rd_kafka_consume_batch_queue(*slot, 0, &message, 1) == 1)
		rd_kafka_message_destroy(message);
	rd_kafka_queue_destroy(*slot);
	*slot = NULL;
}

/* Empties and forgets the queues of all partitions that were read. */
static void
empty_read_topics(KafkaClient *client)
{
	while (client->read_topics)
	{
		KafkaReadTopic *read = client->read_topics;

		for (int i = 0; i < read->nqueues; i++)
			kafka_client_empty_slot(&read->queues[i]);
		client->read_topics = read->next;
		free(read->queues);
		free(read);
	}
}

/*
 * Destroys a handle.  Runs in the backend or in the reaper, so: no PostgreSQL
 * calls.  In a child process the library's threads do not exist and its locks
 * may be held for ever; there the handle is left alone.
 */
static void
destroy_client(KafkaClient *client)
{
	if (client->creator == getpid())
	{
		empty_read_topics(client);
		if (client->main_queue)
			rd_kafka_queue_destroy(client->main_queue);
		if (client->rk)
			end_handle(client->rk, client->event_fd);
	}
	kafka_settings_free(client);
	free(client->advertised);
	free(client->brokers);
	free(client);
}

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

		destroy_client(client);
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
			take_expired(false, monotonic_us(), &deadline_us);

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
	if (start_thread(&reaper, run_reaper, NULL))
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
	expired = take_expired(all, monotonic_us(), &unused);
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
	pthread_cond_init(&end_done, &attr);
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

/* Fills in what a handle remembers of its options; false without memory. */
static bool
describe_client(KafkaClient *client, const KafkaConnectionOptions *opts)
{
	client->creator = MyProcPid;
	client->event_fd = -1;
	client->serverid = opts->serverid;
	client->umid = opts->umid;
	strlcpy(client->server_name, opts->server_name,
			sizeof(client->server_name));
	client->connect_timeout_ms = opts->connect_timeout_ms;
	client->fetch_timeout_ms = opts->fetch_timeout_ms;
	client->max_silence_ms = opts->max_silence_ms;
	client->idle_timeout_ms = opts->handle_idle_timeout_ms;
	client->memory_limit_bytes = opts->memory_limit_bytes;
	client->read_committed = opts->read_committed;
	client->brokers = strdup(opts->brokers);
	return client->brokers != NULL;
}

/*
 * Makes the library's part of a handle.  The configuration is the library's
 * own from the moment rd_kafka_new succeeds, and ours to destroy before.
 */
static void
create_library_handle(KafkaClient *client, const KafkaConnectionOptions *opts)
{
	rd_kafka_conf_t *conf = kafka_config_build(opts, &client->buffering);
	char reason[KAFKA_ERROR_TEXT_MAX];

	client->rk = rd_kafka_new(RD_KAFKA_CONSUMER, conf, reason, sizeof(reason));
	if (client->rk == NULL)
	{
		rd_kafka_conf_destroy(conf);
		ereport(ERROR,
				(errcode(ERRCODE_FDW_UNABLE_TO_ESTABLISH_CONNECTION),
				 errmsg("could not create a Kafka client for server \"%s\"",
						opts->server_name),
				 errdetail("%s", reason)));
	}
	client->main_queue = rd_kafka_queue_get_main(client->rk);
	rd_kafka_set_log_queue(client->rk, NULL);
	client->event_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (client->event_fd < 0)
		ereport(ERROR, (errcode_for_file_access(),
						errmsg("could not create an event descriptor: %m")));
	kafka_client_watch_queue(client, client->main_queue);
}

static void
drop_lease(void *arg)
{
	KafkaClientLease *lease = (KafkaClientLease *) arg;

	if (lease->client == NULL)
		return;
	destroy_client(lease->client);
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
	warn_left_behind();

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
		client = calloc(1, sizeof(KafkaClient));
		if (client == NULL || !describe_client(client, opts))
		{
			ReleaseExternalFD();
			free(client);
			ereport(ERROR,
					(errcode(ERRCODE_OUT_OF_MEMORY), errmsg("out of memory")));
		}
		lease->client = client;
		client->fingerprint = fingerprint;
		client->purpose = purpose;
		client->buffering =
			kafka_config_buffering(opts->memory_limit_bytes, purpose);
		client->server_hash =
			GetSysCacheHashValue1(FOREIGNSERVEROID,
								  ObjectIdGetDatum(opts->serverid));
		client->mapping_hash =
			GetSysCacheHashValue1(USERMAPPINGOID,
								  ObjectIdGetDatum(opts->umid));
		create_library_handle(client, opts);
	}
	lease->client = client;
	client->lease = lease;
	client->acquisition++;
	client->fault.code = RD_KAFKA_RESP_ERR_NO_ERROR;
	return client;
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
			monotonic_us() + (int64) client->idle_timeout_ms * 1000;
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
	 * cheaper to make anew than to trust.
	 */
	fit = !client->unfit && client->answered && client->idle_timeout_ms > 0 &&
		  client->fault.code == RD_KAFKA_RESP_ERR_NO_ERROR &&
		  client->creator == MyProcPid;
	if (fit && keep_idle(client))
		return;
	destroy_client(client);
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
