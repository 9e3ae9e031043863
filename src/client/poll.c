/*-------------------------------------------------------------------------
 *
 * poll.c
 *		Reading a cursor without waiting.
 *
 * Who reads several cursors waits for all of them at once, on one descriptor
 * each.  That of a cursor is an epoll descriptor over the handle's event
 * descriptor, which the library's threads write to, and a timer: a cursor also
 * has to wake broker threads that sleep on a full queue, to tell of progress
 * and to watch for silence, however long nothing comes.
 *
 * No wake-up gets lost.  The library writes when a queue that was empty gets
 * something, so the event descriptor is read before the queue is looked at,
 * never after: what comes in between leaves it readable.
 *
 * IDENTIFICATION
 *		src/client/poll.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "client/cursor.h"
#include "storage/fd.h"
#include "utils/memutils.h"

/* Descriptors that a KafkaPoll has. */
#define POLL_FDS 2

typedef struct KafkaPoll
{
	int epoll_fd; /* -1 while not made */
	int timer_fd;
	int reserved;       /* descriptors on fd.c's books */
	int64 dry_since_us; /* when the queue was found empty; 0 if it was not */
	int64 looked_at_ms; /* when somebody last read or waited */
} KafkaPoll;

static void
make_descriptors(KafkaCursor *cursor, KafkaPoll *poll)
{
	struct epoll_event event = {.events = EPOLLIN};

	while (poll->reserved < POLL_FDS)
	{
		if (!AcquireExternalFD())
			ereport(
				ERROR,
				(errcode(ERRCODE_INSUFFICIENT_RESOURCES),
				 errmsg(
					 "could not read from Kafka server \"%s\": too many open files",
					 cursor->client->server_name),
				 errhint(
					 "Raise max_files_per_process, or set enable_async_append to off.")));
		poll->reserved++;
	}
	poll->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (poll->epoll_fd >= 0)
		poll->timer_fd =
			timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
	if (poll->epoll_fd < 0 || poll->timer_fd < 0 ||
		epoll_ctl(poll->epoll_fd, EPOLL_CTL_ADD, poll->timer_fd, &event) < 0 ||
		epoll_ctl(poll->epoll_fd, EPOLL_CTL_ADD, cursor->client->event_fd,
				  &event) < 0)
		ereport(ERROR, (errcode_for_file_access(),
						errmsg("could not create an event descriptor: %m")));
}

/* Made once; the cursor's end frees what it holds, after an error too. */
static KafkaPoll *
need_poll(KafkaCursor *cursor)
{
	if (cursor->poll == NULL)
	{
		KafkaPoll *poll = MemoryContextAllocZero(GetMemoryChunkContext(cursor),
												 sizeof(KafkaPoll));

		poll->epoll_fd = -1;
		poll->timer_fd = -1;
		poll->looked_at_ms = kafka_clock_ms();
		cursor->poll = poll;
	}
	return cursor->poll;
}

/* May run while an error is being handled. */
void
kafka_cursor_free_poll(KafkaCursor *cursor)
{
	KafkaPoll *poll = cursor->poll;

	if (poll == NULL)
		return;
	cursor->poll = NULL;
	if (poll->timer_fd >= 0)
		close(poll->timer_fd);
	if (poll->epoll_fd >= 0)
		close(poll->epoll_fd);
	while (poll->reserved-- > 0)
		ReleaseExternalFD();
}

/*
 * Silence counts only while somebody waits: what the query does otherwise, or
 * its client between two rows of a cursor, may take as long as it likes.
 */
static void
note_look(KafkaCursor *cursor, KafkaPoll *poll)
{
	int64 now_ms = kafka_clock_ms();
	int64 away_ms = now_ms - poll->looked_at_ms;

	if (away_ms > 2 * KAFKA_CURSOR_SLICE_MS)
		cursor->silent_since_ms += away_ms;
	poll->looked_at_ms = now_ms;
}

/* How long to wait for the brokers before looking after them. */
static int64
patience_us(const KafkaCursor *cursor, const KafkaPoll *poll)
{
	int patience_ms = kafka_cursor_patience_ms(cursor);
	int64 end_us = poll->dry_since_us + patience_ms * INT64CONST(1000);

	if (patience_ms < 0)
		return KAFKA_CURSOR_SLICE_MS * INT64CONST(1000);
	return Max(end_us - kafka_clock_us(), 0);
}

bool
kafka_cursor_fetch(KafkaCursor *cursor)
{
	KafkaPoll *poll = need_poll(cursor);

	note_look(cursor, poll);
	kafka_cursor_prepare_fill(cursor);
	if (!kafka_cursor_take_batch(cursor))
	{
		if (poll->dry_since_us == 0)
			poll->dry_since_us = kafka_clock_us();
		else if (patience_us(cursor, poll) == 0)
			kafka_cursor_wake_brokers(cursor);
		kafka_cursor_watch_silence(cursor);
		poll->looked_at_ms = kafka_clock_ms();

		/* Watching may have waited, and read the event descriptor. */
		if (!kafka_cursor_take_batch(cursor))
			return false;
	}
	poll->dry_since_us = 0;
	return true;
}

int
kafka_cursor_begin_wait(KafkaCursor *cursor, bool at_once)
{
	KafkaPoll *poll = need_poll(cursor);
	struct itimerspec timer = {{0, 0}, {0, 1}};

	note_look(cursor, poll);
	if (poll->epoll_fd < 0)
		make_descriptors(cursor, poll);
	if (!at_once)
	{
		/* A timer of no time at all would never go off. */
		int64 wait_us = Max(patience_us(cursor, poll), 1);

		timer.it_value.tv_sec = wait_us / 1000000;
		timer.it_value.tv_nsec = (wait_us % 1000000) * 1000;
	}

	/* This also makes the descriptor of a time that is up unreadable. */
	if (timerfd_settime(poll->timer_fd, 0, &timer, NULL) < 0)
		ereport(ERROR, (errcode_for_file_access(),
						errmsg("could not set a timer: %m")));
	return poll->epoll_fd;
}

void
kafka_cursor_end_wait(KafkaCursor *cursor)
{
	uint64 count;

	/* Non-blocking; that there was nothing to read does not matter. */
	if (read(cursor->client->event_fd, &count, sizeof(count)) < 0)
		Assert(errno == EAGAIN || errno == EINTR);
}

void
kafka_cursor_add_wait(KafkaCursor *cursor, int64 waited_us)
{
	cursor->stats.wait_us += waited_us;
}
