/* SPDX-License-Identifier: GPL-2.0 */
/* Copies of the files that data is from, and --verify, which compares with them. */
#ifndef PTCPBENCH_CHECK_H
#define PTCPBENCH_CHECK_H

#include "run.h"

struct pattern {
	uint64_t seed;
	uint64_t size;
	unsigned int thread;	/* of serve, whose file it is */
	struct pattern *next;
	unsigned char data[];
};

/* From any thread; made when first asked for. NULL: no memory. */
const struct pattern *pattern_get(uint64_t seed, uint64_t size,
				  unsigned int thread);

/*
 * Are these the bytes of conn->expect from conn->pos on, which it advances? If
 * not, the run has failed; the message calls them WHAT, and says that BEFORE
 * bytes of that went before them.
 */
bool check_bytes(struct conn *conn, const unsigned char *data, size_t len,
		 const char *what, uint64_t before);

#endif
