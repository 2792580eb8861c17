/* SPDX-License-Identifier: GPL-2.0 */
/* mode crr: the connections that stand idle beside those of the run. */
#ifndef PTCPBENCH_STANDING_H
#define PTCPBENCH_STANDING_H

#include "run.h"

struct standing;

/*
 * From the main thread. Fails the run when the other end goes away before its
 * time, or at serve, when nothing happens any more. NULL in other modes.
 */
struct standing *standing_watch(struct run *run);
void standing_free(struct standing *standing);

/* No need to wait for them: at serve, because the sink has closed them all. */
bool standing_over(const struct standing *standing);

#endif
