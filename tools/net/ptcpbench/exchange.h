/* SPDX-License-Identifier: GPL-2.0 */
/* Requests and responses: what ask.c and answer.c have in common. */
#ifndef PTCPBENCH_EXCHANGE_H
#define PTCPBENCH_EXCHANGE_H

#include "run.h"

/* The worker's buffers; on failure the run has failed. */
void exchange_init(struct worker *worker);
void exchange_exit(struct worker *worker);

static inline unsigned char tag_of(enum tag_kind kind, uint64_t number)
{
	return number % TAG_NUMBERS << TAG_KIND_BITS | kind;
}

static inline enum tag_kind tag_kind(unsigned char tag)
{
	return tag & ((1 << TAG_KIND_BITS) - 1);
}

static inline unsigned int tag_number(unsigned char tag)
{
	return tag >> TAG_KIND_BITS;
}

/* Begins the message that goes over conn in this state: conn->tag's. */
void exchange_begin(struct conn *conn, enum conn_state state);

enum progress {
	PROGRESS_WHOLE,		/* the message has been moved */
	PROGRESS_PART,		/* there will be an event when more can be */
	PROGRESS_END,		/* the other end has closed the connection */
	PROGRESS_FAILED,	/* the run has failed */
};

enum progress exchange_send(struct conn *conn);
enum progress exchange_receive(struct conn *conn);

/* The whole exchange is over. */
void exchange_count(struct conn *conn);

/* mode crr: the connection is over, its place stays. */
void exchange_close(struct conn *conn);

uint64_t exchange_progress(const struct conn *conn);

#endif
