// SPDX-License-Identifier: GPL-2.0
/*
 * In mode crr neither end would notice that the other is no more: serve would
 * wait for connections that do not come. So one connection on each address
 * stands idle all the time, and the kernel ends it with its process. The sink
 * closes them when it has the last verdict, and serve waits for that.
 *
 * A sink that is stopped, or behind a dead link, ends nothing. It has a look
 * for stalls at its own connections; serve, which may have none at the time,
 * has it here.
 */
#include <errno.h>
#include <event2/event.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include "fail.h"
#include "standing.h"
#include "worker.h"

struct standing {
	struct run *run;
	unsigned int open;
	struct event *events[MAX_NICS];
	struct event *timer;
	uint64_t seen;		/* progress at the last look for stalls */
	double seen_at;
};

static void ended(int fd, short what, void *arg)
{
	struct standing *standing = arg;
	struct run *run = standing->run;
	struct conn *conn = run->standing;
	ssize_t len;
	char byte;

	(void)what;
	while (conn->fd != fd)
		conn++;
	len = recv(fd, &byte, sizeof(byte), 0);
	if (len < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	event_del(standing->events[conn->nic]);
	if (len > 0)
		conn_fail(conn, "which stands idle, brought data: not from this version of ptcpbench");
	else if (len < 0 || !all_done(run))
		conn_fail(conn, "which stands idle, was closed in the middle of the run%s%s; see the other end's message",
			  len ? ": " : "", len ? strerror(errno) : "");
	else
		standing->open--;
	/* a run that is over ends where the others do */
	eventfd_write(run->notify, 1);
}

static void look_for_stalls(int fd, short what, void *arg)
{
	struct standing *standing = arg;
	struct run *run = standing->run;
	uint64_t progress = run_moved(run) + atomic_load(&run->done);
	double time = now();

	(void)fd;
	(void)what;
	if (progress != standing->seen) {
		standing->seen = progress;
		standing->seen_at = time;
	} else if (time - standing->seen_at >= run->opt->stall) {
		run_fail(run, "stalled: no request for %.1f s, after %llu of them (--stall)",
			 time - standing->seen_at,
			 (unsigned long long)run_moved(run));
	}
}

struct standing *standing_watch(struct run *run)
{
	struct standing *standing;

	if (!stands_idle(run->opt))
		return NULL;
	standing = calloc(1, sizeof(*standing));
	if (!standing)
		die(EXIT_SETUP, "out of memory");
	standing->run = run;
	standing->open = run->opt->nr_nics;
	standing->seen_at = now();
	for (unsigned int n = 0; n < run->opt->nr_nics; n++)
		standing->events[n] = watch_readable(run->base,
						     run->standing[n].fd,
						     ended, standing);
	if (run->opt->role == ROLE_SERVE)
		standing->timer = watch_time(run->base, run->opt->stall / 4,
					     look_for_stalls, standing);
	return standing;
}

void standing_free(struct standing *standing)
{
	if (!standing)
		return;
	for (unsigned int n = 0; n < standing->run->opt->nr_nics; n++)
		event_free(standing->events[n]);
	if (standing->timer)
		event_free(standing->timer);
	free(standing);
}

bool standing_over(const struct standing *standing)
{
	return !standing || standing->run->opt->role == ROLE_SINK ||
	       !standing->open;
}
