// SPDX-License-Identifier: GPL-2.0
/*
 * A worker is a thread with a libevent loop and a fixed set of connections.
 * What it does with them is its role's (serve.c, sink.c); here is what both
 * share: the loop, its end, and the look for stalled connections.
 */
#include <errno.h>
#include <event2/event.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "fail.h"
#include "worker.h"

void workers_create(struct run *run)
{
	const struct options *opt = run->opt;

	run->workers = aligned_alloc(CACHE_LINE,
				     opt->threads * sizeof(*run->workers));
	if (!run->workers)
		die(EXIT_SETUP, "out of memory");
	memset(run->workers, 0, opt->threads * sizeof(*run->workers));
	for (unsigned int n = 0; n < opt->threads; n++) {
		struct worker *worker = &run->workers[n];

		worker->run = run;
		worker->index = n;
		worker->file = -1;
		worker->wake = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
		if (worker->wake < 0)
			die(EXIT_SETUP, "eventfd: %s", strerror(errno));
	}
}

static void woken(int fd, short what, void *arg)
{
	struct worker *worker = arg;
	eventfd_t value;

	(void)what;
	eventfd_read(fd, &value);
	event_base_loopbreak(worker->base);
}

/* Four looks a period: a stall is noticed after 1 to 1.25 of it. */
static void look_for_stalls(int fd, short what, void *arg)
{
	struct worker *worker = arg;
	struct run *run = worker->run;
	double time = now();
	struct conn *conn;

	(void)fd;
	(void)what;
	for (conn = worker->first; conn; conn = conn->next) {
		uint64_t progress;

		if (conn->state == CONN_DONE || conn->state == CONN_UNUSED)
			continue;
		progress = run->ops->progress(conn);
		if (progress != conn->seen) {
			conn->seen = progress;
			conn->seen_at = time;
		} else if (time - conn->seen_at >= run->opt->stall) {
			conn_fail(conn, "stalled: no progress for %.1f s, after %llu %s (--stall)",
				  time - conn->seen_at,
				  (unsigned long long)conn->moved,
				  unit_name(run->opt->mode));
			event_base_loopbreak(worker->base);
			return;
		}
	}
}

static struct event *watch(struct event *event, const struct timeval *period)
{
	if (!event || event_add(event, period))
		die(EXIT_SETUP, "no memory for an event");
	return event;
}

struct event *watch_readable(struct event_base *base, int fd,
			     void (*readable)(int fd, short what, void *arg),
			     void *arg)
{
	return watch(event_new(base, fd, EV_READ | EV_PERSIST, readable, arg),
		     NULL);
}

struct event *watch_time(struct event_base *base, double seconds,
			 void (*passed)(int fd, short what, void *arg),
			 void *arg)
{
	const struct timeval period = timeval_of(seconds);

	return watch(event_new(base, -1, EV_PERSIST, passed, arg), &period);
}

void conn_events(struct conn *conn, short events)
{
	struct worker *worker = conn->worker;

	events |= EV_PERSIST;
	if (conn->event && event_get_events(conn->event) == events)
		return;
	if (conn->event)
		event_free(conn->event);
	conn->event = event_new(worker->base, conn->fd, events,
				worker->run->ops->io, conn);
	if (!conn->event || event_add(conn->event, NULL))
		run_fail(worker->run, "thread %u: no memory for its events",
			 worker->index);
}

void conn_count_done(struct run *run)
{
	if (atomic_fetch_add(&run->done, 1) + 1 ==
	    own_of(run->opt, run->opt->conns))
		eventfd_write(run->notify, 1);
}

void conn_done(struct conn *conn)
{
	struct worker *worker = conn->worker;
	struct run *run = worker->run;

	conn->state = CONN_DONE;
	conn->finished_at = now();
	event_del(conn->event);
	if (++worker->done == worker->conns)
		event_base_loopbreak(worker->base);
	/* releases finished_at and moved to the main thread */
	conn_count_done(run);
}

static void *worker_main(void *arg)
{
	struct worker *worker = arg;
	struct run *run = worker->run;
	struct event *wake, *timer;
	struct conn *conn;

	worker->base = event_base_new();
	if (!worker->base)
		die(EXIT_SETUP, "event_base_new failed: no epoll, or no memory");
	wake = watch_readable(worker->base, worker->wake, woken, worker);
	timer = watch_time(worker->base, run->opt->stall / 4, look_for_stalls,
			   worker);
	run->ops->worker_init(worker);
	for (conn = worker->first; conn; conn = conn->next)
		if (conn->fd >= 0)
			conn_events(conn, run->ops->events);
	pthread_barrier_wait(&run->barrier);
	pthread_barrier_wait(&run->barrier);

	for (conn = worker->first; conn; conn = conn->next)
		conn->seen_at = now();
	for (conn = worker->first; conn && run->ops->begin; conn = conn->next)
		run->ops->begin(conn);
	/* a failure until here has left its mark in wake */
	event_base_dispatch(worker->base);

	for (conn = worker->first; conn; conn = conn->next)
		if (conn->event)
			event_free(conn->event);
	event_free(timer);
	event_free(wake);
	run->ops->worker_exit(worker);
	event_base_free(worker->base);
	return NULL;
}

void workers_start(struct run *run)
{
	int err;

	err = pthread_barrier_init(&run->barrier, NULL, run->opt->threads + 1);
	for (unsigned int n = 0; !err && n < run->opt->threads; n++)
		err = pthread_create(&run->workers[n].thread, NULL, worker_main,
				     &run->workers[n]);
	if (err)
		die(EXIT_SETUP, "cannot start %u threads: %s; see ulimit -u",
		    run->opt->threads, strerror(err));
	pthread_barrier_wait(&run->barrier);
}

void workers_go(struct run *run)
{
	run->started_at = now();
	pthread_barrier_wait(&run->barrier);
}

void workers_join(struct run *run)
{
	for (unsigned int n = 0; n < run->opt->threads; n++)
		eventfd_write(run->workers[n].wake, 1);
	for (unsigned int n = 0; n < run->opt->threads; n++)
		pthread_join(run->workers[n].thread, NULL);
}
