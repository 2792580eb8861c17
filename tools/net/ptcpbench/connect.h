/* SPDX-License-Identifier: GPL-2.0 */
/* Establishing the connections, whichever end opens them. */
#ifndef PTCPBENCH_CONNECT_H
#define PTCPBENCH_CONNECT_H

#include "run.h"

/*
 * All connections of the run, established and dealt out to the workers; no
 * stream has begun, no request been made. On failure run->failed is set.
 *
 * In mode crr the connections that stand idle are established, and the places
 * of the sink's connections dealt out.
 */
void connect_all(struct run *run);

/* After the run, where the workers had them. */
void close_listeners(struct run *run);

/* A socket on its way to there; -1 with errno. */
int connect_start(const union address *to, enum mode mode);

enum accepted { ACCEPT_ONE, ACCEPT_NONE, ACCEPT_FAILED };

/* The next connection that waits; on failure the run has failed. */
enum accepted connect_accept(struct listener *listener, union address *peer,
			     int *fd);

#endif
