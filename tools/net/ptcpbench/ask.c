// SPDX-License-Identifier: GPL-2.0
/*
 * The sink of mode rr and crr: asks. Each connection always has one request
 * under way; when its response is there, the next follows at once.
 *
 * A request's time runs from just before the send(), in mode crr from just
 * before the connect(), until recv() has given the response's last byte. It
 * counts if it began within the window: those that take longest are not cut
 * off at the window's end, and both ends count the same ones, for the request
 * says so.
 *
 * In mode crr it is serve that closes first, as a web server does that tells
 * the end of its answer so. TIME_WAIT is then at the system under test, whose
 * cost it is, and the port here is free as soon as serve has acknowledged our
 * FIN: what bounds the rate is not the number of ports divided by a minute. A
 * new connection from a port that serve has in TIME_WAIT is accepted, for its
 * sequence numbers and timestamps are newer. SO_LINGER with a reset would spare
 * TIME_WAIT altogether, and measure something that hardly anybody does.
 */
#include <errno.h>
#include <event2/event.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "connect.h"
#include "exchange.h"
#include "fail.h"
#include "histogram.h"
#include "limits.h"
#include "message.h"
#include "worker.h"

static bool reconnects(const struct conn *conn)
{
	return conn->worker->run->opt->mode == MODE_CRR;
}

static void ask_init(struct worker *worker)
{
	exchange_init(worker);
	worker->latency = calloc(1, sizeof(*worker->latency));
	if (!worker->latency)
		run_fail(worker->run, "no memory for a histogram of %zu bytes",
			 sizeof(*worker->latency));
}

static void not_established(struct conn *conn, int error)
{
	conn_fail(conn, "could not be established, after %llu others: %s%s",
		  (unsigned long long)conn->moved, strerror(error),
		  limits_hint(error));
	event_base_loopbreak(conn->worker->base);
}

static void send_request(struct conn *conn)
{
	if (exchange_send(conn) != PROGRESS_WHOLE)
		return;
	if (tag_kind(conn->tag) == TAG_LAST) {
		conn->part = 0;
		conn->state = CONN_VERDICT;
	} else {
		exchange_begin(conn, CONN_RESPONSE);
	}
	conn_events(conn, EV_READ);
}

static void open_connection(struct conn *conn)
{
	conn->state = CONN_CONNECT;
	conn->fd = connect_start(&conn->peer, MODE_CRR);
	if (conn->fd < 0)
		not_established(conn, errno);
	else
		conn_events(conn, EV_WRITE);
}

static void connected(struct conn *conn)
{
	socklen_t len = sizeof(int);
	int error = 0;

	if (getsockopt(conn->fd, SOL_SOCKET, SO_ERROR, &error, &len))
		error = errno;
	if (error) {
		not_established(conn, error);
		return;
	}
	exchange_begin(conn, CONN_REQUEST);
	send_request(conn);
}

static void ask(struct conn *conn)
{
	struct run *run = conn->worker->run;
	enum tag_kind kind = TAG_WARMUP;

	if (atomic_load(&run->stop))
		kind = TAG_LAST;
	else if (atomic_load(&run->measuring))
		kind = TAG_MEASURED;
	conn->tag = tag_of(kind, conn->moved);
	conn->begun = now_ns();
	if (reconnects(conn)) {
		open_connection(conn);
	} else {
		exchange_begin(conn, CONN_REQUEST);
		send_request(conn);
	}
}

static void closed_early(struct conn *conn, const char *when)
{
	conn_fail(conn, "was closed by serve %s, after %llu requests; see serve's message",
		  when, (unsigned long long)conn->moved);
	event_base_loopbreak(conn->worker->base);
}

static void read_response(struct conn *conn)
{
	switch (exchange_receive(conn)) {
	case PROGRESS_END:
		closed_early(conn, "before its response was whole");
		return;
	case PROGRESS_WHOLE:
		break;
	default:
		return;
	}
	if (tag_kind(conn->tag) == TAG_MEASURED)
		histogram_record(conn->worker->latency, now_ns() - conn->begun);
	exchange_count(conn);
	if (reconnects(conn))
		conn->state = CONN_CLOSE;
	else
		ask(conn);
}

static void read_close(struct conn *conn)
{
	/* a whole response is behind us: whatever comes is too much */
	if (exchange_receive(conn) != PROGRESS_END)
		return;
	exchange_close(conn);
	ask(conn);
}

static void read_verdict(struct conn *conn)
{
	/* the last connection of crr has brought no other request */
	if (verdict_receive(conn, reconnects(conn) ? 0 : conn->moved))
		conn_done(conn);
}

static void ask_io(int fd, short what, void *arg)
{
	struct conn *conn = arg;

	(void)fd;
	(void)what;
	switch (conn->state) {
	case CONN_CONNECT:
		connected(conn);
		break;
	case CONN_REQUEST:
		send_request(conn);
		break;
	case CONN_RESPONSE:
		read_response(conn);
		break;
	case CONN_CLOSE:
		read_close(conn);
		break;
	case CONN_VERDICT:
		read_verdict(conn);
		break;
	default:
		break;
	}
}

const struct role_ops ask_ops = {
	.worker_init = ask_init,
	.worker_exit = exchange_exit,
	.events = EV_READ,
	.begin = ask,
	.io = ask_io,
	.progress = exchange_progress,
};
