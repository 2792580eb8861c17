/* SPDX-License-Identifier: GPL-2.0 */
/* The measured window: when it opens and closes, and what is read then. */
#ifndef PTCPBENCH_WINDOW_H
#define PTCPBENCH_WINDOW_H

#include <sys/resource.h>

#include "run.h"

/* The first line of /proc/stat, in its order, in seconds. */
enum cpu_state {
	CPU_USER, CPU_NICE, CPU_SYSTEM, CPU_IDLE, CPU_IOWAIT, CPU_IRQ,
	CPU_SOFTIRQ, CPU_STEAL, NR_CPU_STATES
};

/* The system and the process at one moment. */
struct sample {
	double time;
	struct rusage self;
	bool system;		/* /proc/stat could be read: */
	double cpu[NR_CPU_STATES];
	uint64_t ctxsw;
};

/* One connection at both edges. */
struct flow {
	uint64_t bytes[2];
	uint32_t retrans[2];
};

enum edge { OPEN, CLOSE };

struct window {
	struct sample edge[2];
	struct flow *flows;	/* in the order of run->conns */
	bool opened;
	bool closed;		/* so the figures are whole */
};

/*
 * Runs the connected run to its end: starts the workers, opens and closes the
 * window, ends the streams, joins the workers. On failure run->failed is set.
 */
void window_run(struct run *run, struct window *window);

/* From TCP_INFO: bytes acknowledged on this socket so far. */
uint64_t tcp_acked(int fd);

#endif
