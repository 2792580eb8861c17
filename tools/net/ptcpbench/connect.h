/* SPDX-License-Identifier: GPL-2.0 */
/* Establishing the connections, whichever end opens them. */
#ifndef PTCPBENCH_CONNECT_H
#define PTCPBENCH_CONNECT_H

#include "run.h"

/*
 * All connections of the run, established and dealt out to the workers; no
 * stream has begun. On failure run->failed is set.
 */
void connect_all(struct run *run);

#endif
