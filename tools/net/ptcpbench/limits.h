/* SPDX-License-Identifier: GPL-2.0 */
/* What the system allows: raised where we may, named where we may not. */
#ifndef PTCPBENCH_LIMITS_H
#define PTCPBENCH_LIMITS_H

#include "options.h"

/* Descriptors for all connections, or exit with what to raise. */
void limits_raise_nofile(const struct options *opt);

/*
 * 256 KB of send and receive buffer. On a listening socket before listen():
 * connections inherit it, and the receive buffer decides the window scale.
 */
void limits_socket_buffers(int fd);

/* Warn if a listen queue cannot hold backlog connections. */
void limits_check_backlog(unsigned int backlog);

/* What to raise when accept() or connect() failed with this error. */
const char *limits_hint(int error);

#endif
