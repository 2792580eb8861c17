// SPDX-License-Identifier: GPL-2.0
/*
 * The serving end of mode rr and crr: answers.
 *
 * In mode crr each worker has a listening socket of its own on every address
 * (SO_REUSEPORT), so that none is woken for a connection that another accepts;
 * the kernel spreads them by a hash. Such a connection is in one of the places
 * that its listener keeps, as many as it ever had connections at one time.
 */
#include <event2/event.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "connect.h"
#include "exchange.h"
#include "fail.h"
#include "message.h"
#include "worker.h"

static bool closes(const struct conn *conn)
{
	return conn->worker->run->opt->mode == MODE_CRR;
}

static struct listener *listener_of(const struct conn *conn)
{
	const struct run *run = conn->worker->run;

	return &run->listeners[conn->nic * run->opt->threads +
			       conn->worker->index];
}

/* The sink's window is open, or over: so is ours. */
static void told(struct run *run, atomic_bool *flag)
{
	if (atomic_load_explicit(flag, memory_order_relaxed))
		return;
	atomic_store(flag, true);
	eventfd_write(run->notify, 1);
}

static void end_connection(struct conn *conn)
{
	struct listener *listener = listener_of(conn);

	exchange_close(conn);
	conn->state = CONN_UNUSED;
	conn->unused = listener->unused;
	listener->unused = conn;
}

/*
 * Done before the verdict is sent: when the sink has all of them it is gone,
 * and that must not look too early to us.
 */
static void answer_last(struct conn *conn)
{
	struct run *run = conn->worker->run;

	told(run, &run->stop);
	if (!closes(conn)) {
		conn_done(conn);
		verdict_send(conn, conn->moved);
		return;
	}
	conn_count_done(run);
	verdict_send(conn, 0);
	end_connection(conn);
}

static void send_response(struct conn *conn)
{
	if (exchange_send(conn) != PROGRESS_WHOLE)
		return;
	exchange_count(conn);
	if (closes(conn)) {
		end_connection(conn);
		return;
	}
	exchange_begin(conn, CONN_REQUEST);
	conn_events(conn, EV_READ);
}

/* Of crr's, we know only that every connection brings one. */
static bool is_due(const struct conn *conn)
{
	return tag_kind(conn->tag) < NR_TAG_KINDS &&
	       (closes(conn) ||
		tag_number(conn->tag) == conn->moved % TAG_NUMBERS);
}

static void read_request(struct conn *conn)
{
	struct worker *worker = conn->worker;

	switch (exchange_receive(conn)) {
	case PROGRESS_END:
		conn_fail(conn, "was closed by the sink before its %s request was whole, after %llu requests; see the sink's message",
			  closes(conn) ? "only" : "last",
			  (unsigned long long)conn->moved);
		event_base_loopbreak(worker->base);
		return;
	case PROGRESS_WHOLE:
		break;
	default:
		return;
	}
	if (!is_due(conn)) {
		conn_fail(conn, "brought a request with the tag %02x, after %llu requests: out of order, or not from this version of ptcpbench sink",
			  conn->tag, (unsigned long long)conn->moved);
		event_base_loopbreak(worker->base);
		return;
	}
	if (tag_kind(conn->tag) == TAG_LAST) {
		answer_last(conn);
		return;
	}
	if (tag_kind(conn->tag) == TAG_MEASURED)
		told(worker->run, &worker->run->warm);
	exchange_begin(conn, CONN_RESPONSE);
	send_response(conn);
}

static void answer_io(int fd, short what, void *arg)
{
	struct conn *conn = arg;

	(void)fd;
	(void)what;
	if (conn->state == CONN_REQUEST)
		read_request(conn);
	else if (conn->state == CONN_RESPONSE)
		send_response(conn);
}

/* A place for a connection: one that is over had it, or it is new. */
static struct conn *get_place(struct listener *listener)
{
	struct conn *conn = listener->unused;

	if (conn) {
		listener->unused = conn->unused;
		return conn;
	}
	conn = aligned_alloc(CACHE_LINE, sizeof(*conn));
	if (!conn)
		return NULL;
	memset(conn, 0, sizeof(*conn));
	conn->nic = listener->nic;
	conn->worker = listener->worker;
	conn->next = conn->worker->first;
	conn->worker->first = conn;
	return conn;
}

static void accept_one(int fd, short what, void *arg)
{
	struct listener *listener = arg;
	struct worker *worker = listener->worker;
	union address peer = { };
	struct conn *conn;

	(void)what;
	switch (connect_accept(listener, &peer, &fd)) {
	case ACCEPT_ONE:
		break;
	case ACCEPT_NONE:
		return;
	case ACCEPT_FAILED:
		event_base_loopbreak(worker->base);
		return;
	}
	conn = get_place(listener);
	if (!conn) {
		close(fd);
		run_fail(worker->run, "out of memory for one more connection");
		event_base_loopbreak(worker->base);
		return;
	}
	conn->fd = fd;
	conn->peer = peer;
	conn->seen = -1;	/* no look for stalls has been at this one */
	exchange_begin(conn, CONN_REQUEST);
	conn_events(conn, EV_READ);
}

static void answer_init(struct worker *worker)
{
	struct run *run = worker->run;

	exchange_init(worker);
	if (!keeps_listening(run->opt))
		return;
	for (unsigned int n = 0; n < run->nr_listeners; n++) {
		struct listener *listener = &run->listeners[n];

		if (listener->worker == worker)
			listener->event = watch_readable(worker->base,
							 listener->fd,
							 accept_one, listener);
	}
}

static void answer_exit(struct worker *worker)
{
	struct run *run = worker->run;

	for (unsigned int n = 0; n < run->nr_listeners; n++) {
		struct listener *listener = &run->listeners[n];

		if (listener->worker == worker && listener->event)
			event_free(listener->event);
	}
	exchange_exit(worker);
}

const struct role_ops answer_ops = {
	.worker_init = answer_init,
	.worker_exit = answer_exit,
	.events = EV_READ,
	.io = answer_io,
	.progress = exchange_progress,
};
