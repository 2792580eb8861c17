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

/* Returns when every thread is done with its streams, or has given up. */
void workers_join(struct run *run);

/* Called by a worker: this connection's stream is complete. */
void conn_done(struct conn *conn);

/* Called by a worker: react to other events from now on. */
void conn_events(struct conn *conn, short events);

#endif
