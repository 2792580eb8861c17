/* SPDX-License-Identifier: GPL-2.0 */
/* Whole messages on sockets that do not block. */
#ifndef PTCPBENCH_MESSAGE_H
#define PTCPBENCH_MESSAGE_H

#include "run.h"

/* After a system call failed: may it succeed later? */
bool try_again(void);

/* Called by a worker: errno ended the connection, and so the run. */
void conn_lost(struct conn *conn);

/* Sends what conn->part has left of conn->msg; true when that was all. */
bool message_send(struct conn *conn, size_t size);

/* The last word of the end that receives payload, or answers requests. */
bool verdict_send(struct conn *conn, uint64_t total);

/* And at the other end: true when all of it is there, and it fits. */
bool verdict_receive(struct conn *conn, uint64_t total);

#endif
