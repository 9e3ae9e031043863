/*-------------------------------------------------------------------------
 *
 * handle.c
 *		Makes and destroys library handles.
 *
 * rd_kafka_destroy waits for all that refers to the handle, and in 2.0.2
 * (mended in 2.6.1) something always may: when reading a partition is stopped
 * with a fetch under way, the answer goes into the partition's own queue,
 * refers to the partition, and is never taken out again once the partition
 * has left the topic, as all do when the topic is deleted.  So a handle keeps
 * the queues of the partitions it has read, and they are emptied first; and
 * since there may be other ways to wait for ever, and a backend must not,
 * rd_kafka_destroy runs on a thread of its own that the backend can leave
 * behind.  That thread also waits for the handle's calls under way (call.c),
 * which end with their slice at the latest.
 *
 * IDENTIFICATION
 *		src/client/handle.c
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
#include "storage/ipc.h"

int64
kafka_clock_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64) now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

int64
kafka_clock_ms(void)
{
	return kafka_clock_us() / 1000;
}

/* ----------------------------------------------------------------
 * Making handles
 * ----------------------------------------------------------------
 */

/* Fills in what a handle remembers of its options; false without memory. */
static bool
describe_handle(KafkaClient *client, const KafkaConnectionOptions *opts)
{
	client->creator = MyProcPid;
	client->event_fd = -1;
	client->serverid = opts->serverid;
	client->umid = opts->umid;
	strlcpy(client->server_name, opts->server_name,
			sizeof(client->server_name));
	client->max_silence_ms = opts->max_silence_ms;
	client->idle_timeout_ms = opts->handle_idle_timeout_ms;
	client->memory_limit_bytes = opts->memory_limit_bytes;
	client->read_committed = opts->read_committed;
	client->brokers = strdup(opts->brokers);
	return client->brokers != NULL;
}

KafkaClient *
kafka_handle_new(const KafkaConnectionOptions *opts, KafkaPurpose purpose)
{
	KafkaClient *client = calloc(1, sizeof(KafkaClient));

	if (client == NULL || !describe_handle(client, opts))
	{
		free(client);
		return NULL;
	}
	client->purpose = purpose;
	client->buffering =
		kafka_config_buffering(opts->memory_limit_bytes, purpose);
	return client;
}

void
kafka_handle_open(KafkaClient *client, const KafkaConnectionOptions *opts)
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

/* ----------------------------------------------------------------
 * Ending handles
 * ----------------------------------------------------------------
 */

/* How long a handle's end, mostly 1 to 3 ms, is waited for. */
#define END_PATIENCE_MS 500

/* A handle that is being destroyed on a thread. */
typedef struct KafkaHandleEnd
{
	struct KafkaHandleEnd *next; /* of those left behind */
	rd_kafka_t *rk;
	int event_fd;
	KafkaCall *calls;   /* under way; they go first */
	int64 calls_end_us; /* by then they are done; 0 if they are now */
	bool done;
	bool left_behind; /* nobody waits; the thread frees this */
	bool told_of;
} KafkaHandleEnd;

/* Guards the members of KafkaHandleEnd and the list of those left behind. */
static pthread_mutex_t end_mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t end_done;
static KafkaHandleEnd *ends_left_behind = NULL;

void
kafka_handle_initialize(void)
{
	pthread_condattr_t attr;

	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&end_done, &attr);
	pthread_condattr_destroy(&attr);
}

bool
kafka_thread_start(pthread_t *thread, void *(*function)(void *), void *arg)
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
destroy_handle(rd_kafka_t *rk, int event_fd, KafkaCall *calls)
{
	kafka_calls_join(calls);
	rd_kafka_destroy(rk);

	/* Only now does no thread of the library write to it. */
	if (event_fd >= 0)
		close(event_fd);
}

static void
forget_end(KafkaHandleEnd *end)
{
	KafkaHandleEnd **link = &ends_left_behind;

	while (*link != end)
		link = &(*link)->next;
	*link = end->next;
}

static void *
run_end(void *arg)
{
	KafkaHandleEnd *end = (KafkaHandleEnd *) arg;
	bool left_behind;

	destroy_handle(end->rk, end->event_fd, end->calls);
	pthread_mutex_lock(&end_mutex);
	end->done = true;
	left_behind = end->left_behind;
	if (left_behind)
		forget_end(end);
	pthread_cond_broadcast(&end_done);
	pthread_mutex_unlock(&end_mutex);
	if (left_behind)
		free(end);
	return NULL;
}

/*
 * Waits for the end of a handle, but not for ever; false when it is left
 * behind.  One with calls under way is not waited for, since the session may
 * go on meanwhile.  A process that ends waits in any case: what its threads
 * do while it takes itself apart is better over.
 */
static bool
await_end(KafkaHandleEnd *end)
{
	int64 deadline_us = kafka_clock_us() + END_PATIENCE_MS * 1000;
	struct timespec until = {deadline_us / 1000000,
							 (deadline_us % 1000000) * 1000};
	bool done;

	pthread_mutex_lock(&end_mutex);
	while (!end->done && (end->calls_end_us == 0 || proc_exit_inprogress) &&
		   pthread_cond_timedwait(&end_done, &end_mutex, &until) != ETIMEDOUT)
		;
	done = end->done;
	if (!done)
	{
		end->left_behind = true;
		end->next = ends_left_behind;
		ends_left_behind = end;
	}
	pthread_mutex_unlock(&end_mutex);
	return done;
}

/* Destroys a handle on a thread. */
static void
end_handle(rd_kafka_t *rk, int event_fd, KafkaCall *calls)
{
	KafkaHandleEnd *end = calloc(1, sizeof(KafkaHandleEnd));
	pthread_t thread;

	if (end)
	{
		end->rk = rk;
		end->event_fd = event_fd;
		end->calls = calls;
		end->calls_end_us = kafka_calls_deadline(calls);
	}
	if (end == NULL || !kafka_thread_start(&thread, run_end, end))
	{
		free(end);
		destroy_handle(rk, event_fd, calls);
		return;
	}
	if (await_end(end))
	{
		pthread_join(thread, NULL);
		free(end);
	}
	else
		pthread_detach(thread);
}

/* Counts the handles that ought to have ended by now, each of them once. */
static int
count_overdue(void)
{
	int64 now_us = kafka_clock_us();
	int count = 0;

	pthread_mutex_lock(&end_mutex);
	for (KafkaHandleEnd *end = ends_left_behind; end; end = end->next)
	{
		if (end->told_of ||
			(end->calls_end_us != 0 &&
			 now_us < end->calls_end_us + END_PATIENCE_MS * 1000))
			continue;
		end->told_of = true;
		count++;
	}
	pthread_mutex_unlock(&end_mutex);
	return count;
}

void
kafka_handle_warn_left_behind(void)
{
	if (count_overdue() > 0)
		ereport(
			WARNING,
			(errcode(ERRCODE_WARNING),
			 errmsg("a Kafka client handle could not be closed in time"),
			 errdetail(
				 "librdkafka %s is still at it. The handle's threads and connections stay until it is done or the session ends.",
				 rd_kafka_version_str())));
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

void
kafka_handle_destroy(KafkaClient *client)
{
	if (client->creator == getpid())
	{
		empty_read_topics(client);
		kafka_topics_free(client);
		if (client->main_queue)
			rd_kafka_queue_destroy(client->main_queue);
		if (client->rk)
			end_handle(client->rk, client->event_fd, client->calls);
	}
	free(client->advertised);
	free(client->brokers);
	free(client);
}
