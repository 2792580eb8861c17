/* SPDX-License-Identifier: GPL-2.0 */
/* The threads and their event loops, the same at both ends. */
#ifndef PTCPBENCH_WORKER_H
#define PTCPBENCH_WORKER_H

#include "run.h"

/* Before the connections are dealt out to them. */
void workers_create(struct run *run);

/* Returns when every thread has its connections and waits for workers_go(). */
void workers_start(struct run *run);
void workers_go(struct run *run);

/* Has every thread leave what it may still do, and waits for that. */
void workers_join(struct run *run);

/* Called by a worker: all is done that was to be done on this connection. */
void conn_done(struct conn *conn);

/* The same, where the connection is none of those the worker began with. */
void conn_count_done(struct run *run);

/* Called by a worker: react to other events from now on. */
void conn_events(struct conn *conn, short events);

/* From any thread, for its own base. Without memory for it, there is no run. */
struct event *watch_readable(struct event_base *base, int fd,
			     void (*readable)(int fd, short what, void *arg),
			     void *arg);
struct event *watch_time(struct event_base *base, double seconds,
			 void (*passed)(int fd, short what, void *arg),
			 void *arg);

#endif
