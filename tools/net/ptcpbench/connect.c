// SPDX-License-Identifier: GPL-2.0
/*
 * Establishing the connections. The main thread does it alone, before the
 * workers start: so the spread over threads and NICs is ours to decide and
 * exact, where a listening socket a thread would leave it to a hash.
 *
 * The connecting end keeps at most PENDING connections without the other's
 * hello, so the listen queue, at least that long, never overflows and no
 * connection waits for a retransmitted SYN.
 */
#include <arpa/inet.h>
#include <endian.h>
#include <errno.h>
#include <event2/event.h>
#include <math.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "connect.h"
#include "fail.h"
#include "limits.h"
#include "window.h"

#define PENDING 64

struct nic {
	struct setup *setup;
	unsigned int index;
	union address addr;
	unsigned int established;
	int fd;			/* when listening */
	struct event *event;
};

struct setup {
	struct run *run;
	struct nic nics[MAX_NICS];
	unsigned int started;	/* connecting: next connection to open */
	unsigned int established;
	double next_progress;
};

static socklen_t address_len(const union address *addr)
{
	return addr->any.sa_family == AF_INET6 ? sizeof(addr->v6) :
						 sizeof(addr->v4);
}

static void stop(struct setup *setup)
{
	event_base_loopbreak(setup->run->base);
}

static unsigned int common_multiple(unsigned int a, unsigned int b)
{
	unsigned int x = a, y = b, rest;

	while (y) {
		rest = x % y;
		x = y;
		y = rest;
	}
	return a / x * b;
}

/*
 * The thread of connection id, which is on NIC id % nics. Taking turns alone
 * would tie some NICs to some threads for good where the two numbers have a
 * common divisor, so the order shifts by one each time it would repeat. Any
 * number of connections is even over the threads to within one; a multiple of
 * nics * threads is even over every pair.
 */
static unsigned int conn_spread(const struct options *opt, unsigned int id)
{
	unsigned int period = common_multiple(opt->nr_nics, opt->threads);

	return (id + id / period) % opt->threads;
}

static struct conn *conn_assign(struct run *run, unsigned int id, int fd,
				const union address *peer)
{
	const struct options *opt = run->opt;
	struct conn *conn = &run->conns[id];

	conn->id = id;
	conn->fd = fd;
	conn->peer = *peer;
	conn->nic = id % opt->nr_nics;
	conn->worker = &run->workers[conn_spread(opt, id)];
	conn->next = conn->worker->first;
	conn->worker->first = conn;
	conn->worker->conns++;
	conn->target = UINT64_MAX;
	if (opt->bytes)
		conn->target = opt->bytes / opt->conns +
			       (id < opt->bytes % opt->conns);
	return conn;
}

static bool conn_watch(struct conn *conn, event_callback_fn readable)
{
	struct run *run = conn->worker->run;

	conn->event = event_new(run->base, conn->fd, EV_READ | EV_PERSIST,
				readable, conn);
	if (conn->event && !event_add(conn->event, NULL))
		return true;
	run_fail(run, "out of memory for %u connections", run->opt->conns);
	return false;
}

static void progress(struct setup *setup)
{
	struct run *run = setup->run;

	if (!run->opt->progress || now() < setup->next_progress)
		return;
	setup->next_progress = now() + 1;
	fprintf(stderr, "ptcpbench %s: %u of %u connections established\n",
		role_name(run->opt->role), setup->established, run->opt->conns);
}

static void conn_established(struct setup *setup, struct conn *conn)
{
	setup->nics[conn->nic].established++;
	setup->established++;
	progress(setup);
	if (setup->established == setup->run->opt->conns)
		stop(setup);
}

/* The listening end */

/* Nothing is to come before the streams begin, except the peer's end. */
static void accepted_readable(int fd, short what, void *arg)
{
	struct conn *conn = arg;
	ssize_t len;
	char byte;

	(void)what;
	len = recv(fd, &byte, sizeof(byte), MSG_PEEK | MSG_DONTWAIT);
	if (len < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (len > 0) {
		event_del(conn->event);
		return;
	}
	conn_fail(conn, "was closed before all connections were established%s%s; see the other end's message",
		  len ? ": " : "", len ? strerror(errno) : "");
	stop(conn->worker->run->setup);
}

static bool conn_accepted(struct setup *setup, struct nic *nic, int fd,
			  const union address *peer)
{
	struct run *run = setup->run;
	const struct options *opt = run->opt;
	unsigned int id = nic->established * opt->nr_nics + nic->index;
	struct conn *conn;
	struct hello hello = {
		.magic = htole64(HELLO_MAGIC),
		.role = htole32(opt->role),
		.conns = htole32(opt->conns),
	};

	if (nic->established == nic_share(opt, nic->index)) {
		close(fd);
		run_fail(run, "more than the %u connections expected on address %s: give both ends the same -c and the same -a",
			 nic->established, opt->nics[nic->index]);
		return false;
	}
	conn = conn_assign(run, id, fd, peer);
	conn->acked_base = tcp_acked(fd);

	/* the first bytes in an empty buffer: they fit */
	if (send(fd, &hello, sizeof(hello), MSG_NOSIGNAL) != sizeof(hello)) {
		conn_fail(conn, "was lost as soon as accepted: %s",
			  strerror(errno));
		return false;
	}
	conn->overhead = sizeof(hello);
	if (!conn_watch(conn, accepted_readable))
		return false;
	conn_established(setup, conn);
	return true;
}

static void listener_readable(int fd, short what, void *arg)
{
	struct nic *nic = arg;
	struct setup *setup = nic->setup;
	struct run *run = setup->run;

	(void)what;
	/* No more than all: the rest of the queue is not ours to judge */
	while (setup->established < run->opt->conns) {
		union address peer = { };
		socklen_t len = sizeof(peer);
		int conn;

		conn = accept4(fd, &peer.any, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (conn < 0) {
			/* gone again while it waited: its end will say why */
			if (errno == EAGAIN || errno == EINTR ||
			    errno == ECONNABORTED)
				return;
			run_fail(run, "accept on %s: %s%s",
				 run->opt->nics[nic->index], strerror(errno),
				 limits_hint(errno));
			stop(setup);
			return;
		}
		if (!conn_accepted(setup, nic, conn, &peer)) {
			stop(setup);
			return;
		}
	}
}

static bool listen_on(struct nic *nic, unsigned int *port)
{
	struct run *run = nic->setup->run;
	const char *name = run->opt->nics[nic->index];
	socklen_t len = address_len(&nic->addr);
	int fd, on = 1, off = 0;

	nic->addr.v4.sin_port = htons(*port);	/* at the same place in v6 */
	fd = socket(nic->addr.any.sa_family,
		    SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	nic->fd = fd;
	if (fd < 0) {
		run_fail(run, "socket for %s: %s%s", name, strerror(errno),
			 limits_hint(errno));
		return false;
	}
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (nic->addr.any.sa_family == AF_INET6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off));
	limits_socket_buffers(fd);
	if (bind(fd, &nic->addr.any, len) || listen(fd, 4 * PENDING) ||
	    getsockname(fd, &nic->addr.any, &len)) {
		run_fail(run, "cannot listen on %s port %u: %s%s", name, *port,
			 strerror(errno), limits_hint(errno));
		return false;
	}
	*port = ntohs(nic->addr.v4.sin_port);	/* with -p 0: all the same */

	nic->event = event_new(run->base, fd, EV_READ | EV_PERSIST,
			       listener_readable, nic);
	if (!nic->event || event_add(nic->event, NULL)) {
		run_fail(run, "out of memory");
		return false;
	}
	return true;
}

static bool write_ready(struct run *run, unsigned int port)
{
	const char *path = run->opt->ready;
	char *temp;
	FILE *file;
	bool ok;

	if (!path)
		return true;
	if (asprintf(&temp, "%s.tmp", path) < 0) {
		run_fail(run, "out of memory");
		return false;
	}
	file = fopen(temp, "we");
	ok = file && fprintf(file, "%u\n", port) > 0;
	ok = file && !fclose(file) && ok;
	ok = ok && !rename(temp, path);
	if (!ok)
		run_fail(run, "--ready %s: %s", path, strerror(errno));
	free(temp);
	return ok;
}

static void start_listening(struct setup *setup)
{
	struct run *run = setup->run;
	unsigned int port = run->opt->port;

	/* one from an earlier run would say too early that we listen */
	if (run->opt->ready)
		unlink(run->opt->ready);
	limits_check_backlog(PENDING);
	for (unsigned int n = 0; n < run->opt->nr_nics; n++)
		if (!listen_on(&setup->nics[n], &port))
			return;
	if (write_ready(run, port) && run->opt->progress)
		fprintf(stderr, "ptcpbench %s: waiting for %u connections on port %u\n",
			role_name(run->opt->role), run->opt->conns, port);
}

/* The connecting end */

static void open_more(struct setup *setup);

static bool hello_fits(struct conn *conn, const struct hello *hello)
{
	const struct options *opt = conn->worker->run->opt;
	enum role other = opt->role == ROLE_SERVE ? ROLE_SINK : ROLE_SERVE;
	unsigned int conns = le32toh(hello->conns);

	if (le64toh(hello->magic) != HELLO_MAGIC)
		conn_fail(conn, "is not to a ptcpbench of this version: another program has that port");
	else if (le32toh(hello->role) != other)
		conn_fail(conn, "is to another %s: this end needs a %s",
			  role_name(opt->role), role_name(other));
	else if (conns != opt->conns)
		conn_fail(conn, "is to a %s of %u connections, this end has %u: give both the same -c",
			  role_name(other), conns, opt->conns);
	else
		return true;
	return false;
}

/* Also where a connect() ends that failed. */
static void hello_readable(int fd, short what, void *arg)
{
	struct conn *conn = arg;
	struct run *run = conn->worker->run;
	struct hello *hello = &conn->msg.hello;
	ssize_t len;

	(void)what;
	len = recv(fd, (char *)hello + conn->part, sizeof(*hello) - conn->part, 0);
	if (len < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (len < 0) {
		conn_fail(conn, "could not be established: %s%s",
			  strerror(errno), limits_hint(errno));
		stop(run->setup);
		return;
	}
	if (!len) {
		conn_fail(conn, "was closed before it was accepted; see the other end's message");
		stop(run->setup);
		return;
	}
	conn->part += len;
	if (conn->part < sizeof(*hello))
		return;

	event_free(conn->event);
	conn->event = NULL;
	conn->part = 0;
	if (!hello_fits(conn, hello)) {
		stop(run->setup);
		return;
	}
	conn->acked_base = tcp_acked(fd);
	conn_established(run->setup, conn);
	open_more(run->setup);
}

static bool open_one(struct setup *setup, unsigned int id)
{
	struct run *run = setup->run;
	struct nic *nic = &setup->nics[id % run->opt->nr_nics];
	struct conn *conn;
	int fd;

	fd = socket(nic->addr.any.sa_family,
		    SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0) {
		run_fail(run, "socket for connection %u: %s%s", id,
			 strerror(errno), limits_hint(errno));
		return false;
	}
	conn = conn_assign(run, id, fd, &nic->addr);
	limits_socket_buffers(fd);
	if (connect(fd, &nic->addr.any, address_len(&nic->addr)) &&
	    errno != EINPROGRESS) {
		conn_fail(conn, "could not be established: %s%s",
			  strerror(errno), limits_hint(errno));
		return false;
	}
	return conn_watch(conn, hello_readable);
}

static void open_more(struct setup *setup)
{
	while (setup->started < setup->run->opt->conns &&
	       setup->started - setup->established < PENDING)
		if (!open_one(setup, setup->started++)) {
			stop(setup);
			return;
		}
}

/* Both */

static bool parse_address(struct nic *nic)
{
	struct run *run = nic->setup->run;
	const struct addrinfo hints = {
		.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV,
		.ai_socktype = SOCK_STREAM,
	};
	struct addrinfo *info;
	int err;

	err = getaddrinfo(run->opt->nics[nic->index], NULL, &hints, &info);
	if (err) {
		run_fail(run, "-a %s: expected a numeric IPv4 or IPv6 address: %s",
			 run->opt->nics[nic->index], gai_strerror(err));
		return false;
	}
	memcpy(&nic->addr, info->ai_addr, info->ai_addrlen);
	nic->addr.v4.sin_port = htons(run->opt->port);
	freeaddrinfo(info);
	return true;
}

static void timed_out(int fd, short what, void *arg)
{
	struct setup *setup = arg;
	struct run *run = setup->run;
	unsigned int first = 0;

	(void)fd;
	(void)what;
	while (first < run->opt->nr_nics - 1 &&
	       setup->nics[first].established == nic_share(run->opt, first))
		first++;
	run_fail(run, "%u of %u connections were established in %g s (address %s: %u of %u); is the other end running with the same -c and -a? --timeout waits longer",
		 setup->established, run->opt->conns, run->opt->timeout,
		 run->opt->nics[first], setup->nics[first].established,
		 nic_share(run->opt, first));
	stop(setup);
}

static void setup_free(struct setup *setup)
{
	struct run *run = setup->run;

	for (unsigned int n = 0; n < run->opt->nr_nics; n++) {
		if (setup->nics[n].event)
			event_free(setup->nics[n].event);
		if (setup->nics[n].fd >= 0)
			close(setup->nics[n].fd);
	}
	for (unsigned int id = 0; id < run->opt->conns; id++)
		if (run->conns[id].event) {
			event_free(run->conns[id].event);
			run->conns[id].event = NULL;
		}
	run->setup = NULL;
	free(setup);
}

void connect_all(struct run *run)
{
	struct setup *setup = calloc(1, sizeof(*setup));
	struct timeval limit = {
		.tv_sec = run->opt->timeout,
		.tv_usec = fmod(run->opt->timeout, 1) * 1e6,
	};
	struct event *timeout;

	if (!setup)
		die(EXIT_SETUP, "out of memory");
	setup->run = run;
	setup->next_progress = now() + 1;
	run->setup = setup;
	for (unsigned int n = 0; n < run->opt->nr_nics; n++) {
		setup->nics[n] = (struct nic){
			.setup = setup, .index = n, .fd = -1,
		};
	}
	for (unsigned int n = 0; n < run->opt->nr_nics; n++)
		if (!parse_address(&setup->nics[n]))
			goto out;

	if (listens(run->opt))
		start_listening(setup);
	else
		open_more(setup);
	if (atomic_load(&run->failed))
		goto out;

	timeout = evtimer_new(run->base, timed_out, setup);
	if (!timeout || evtimer_add(timeout, &limit))
		die(EXIT_SETUP, "out of memory");
	event_base_dispatch(run->base);
	event_free(timeout);
out:
	setup_free(setup);
}
