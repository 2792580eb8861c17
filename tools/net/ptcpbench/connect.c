// SPDX-License-Identifier: GPL-2.0
/*
 * Establishing the connections. The main thread does it alone, before the
 * workers start: so the spread over threads and NICs is ours to decide and
 * exact, where a listening socket a thread would leave it to a hash.
 *
 * The connecting end keeps at most PENDING connections without the other's
 * hello, so the listen queue, at least that long, never overflows and no
 * connection waits for a retransmitted SYN. In mode crr the listening sockets,
 * one a worker on each address, are left to the workers in the end.
 */
#include <arpa/inet.h>
#include <endian.h>
#include <errno.h>
#include <event2/event.h>
#include <linux/tcp.h>
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
#include "worker.h"

#define PENDING 64

struct nic {
	struct setup *setup;
	unsigned int index;
	union address addr;
	unsigned int established;
};

struct setup {
	struct run *run;
	struct nic nics[MAX_NICS];
	/* connecting: next connection to look at, and how many are opened */
	unsigned int next;
	unsigned int opened;
	unsigned int established;
	double next_progress;
};

static socklen_t address_len(const union address *addr)
{
	return addr->any.sa_family == AF_INET6 ? sizeof(addr->v6) :
						 sizeof(addr->v4);
}

/* A request's last segment is not to wait until those before are acknowledged. */
static void send_at_once(int fd)
{
	const int on = 1;

	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
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

static void conn_init(struct conn *conn, struct run *run, unsigned int id,
		      const union address *peer)
{
	const struct options *opt = run->opt;

	conn->id = id;
	conn->peer = *peer;
	conn->nic = id % opt->nr_nics;
	conn->worker = &run->workers[conn_spread(opt, id)];
	conn->target = UINT64_MAX;
	if (opt->bytes)
		conn->target = opt->bytes / opt->conns +
			       (id < opt->bytes % opt->conns);
}

/* To its worker. */
static void conn_deal(struct conn *conn)
{
	conn->next = conn->worker->first;
	conn->worker->first = conn;
	conn->worker->conns++;
}

static struct conn *conn_assign(struct run *run, unsigned int id, int fd,
				const union address *peer)
{
	struct conn *conn = &run->standing[id];

	conn_init(conn, run, id, peer);
	conn->fd = fd;
	if (!stands_idle(run->opt))
		conn_deal(conn);
	return conn;
}

/* mode crr, sink: where the connections will be. */
static void deal_places(struct setup *setup)
{
	struct run *run = setup->run;

	for (unsigned int id = 0; id < run->opt->conns; id++) {
		conn_init(&run->conns[id], run, id,
			  &setup->nics[id % run->opt->nr_nics].addr);
		conn_deal(&run->conns[id]);
	}
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
		role_name(run->opt->role), setup->established,
		own_of(run->opt, nr_standing(run->opt)));
}

static void conn_established(struct setup *setup, struct conn *conn)
{
	const struct options *opt = setup->run->opt;

	setup->nics[conn->nic].established++;
	setup->established++;
	progress(setup);
	if (setup->established == own_of(opt, nr_standing(opt)))
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
		.role = htole16(opt->role),
		.mode = htole16(opt->mode),
		.conns = htole32(opt->conns),
		.request = htole32(opt->request),
		.response = htole32(opt->response),
		.seed = htole64(run->seed),
	};

	if (nic->established == nic_share(opt, nr_standing(opt), nic->index)) {
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

enum accepted connect_accept(struct listener *listener, union address *peer,
			     int *fd)
{
	struct run *run = listener->worker->run;
	socklen_t len = sizeof(*peer);

	*fd = accept4(listener->fd, &peer->any, &len,
		      SOCK_NONBLOCK | SOCK_CLOEXEC);
	if (*fd >= 0)
		return ACCEPT_ONE;
	/* gone again while it waited: its end will say why */
	if (errno == EAGAIN || errno == EINTR || errno == ECONNABORTED)
		return ACCEPT_NONE;
	run_fail(run, "accept on %s: %s%s", run->opt->nics[listener->nic],
		 strerror(errno), limits_hint(errno));
	return ACCEPT_FAILED;
}

static void listener_readable(int fd, short what, void *arg)
{
	struct listener *listener = arg;
	struct setup *setup = listener->worker->run->setup;
	enum accepted accepted;

	(void)what;
	/* No more than all: the rest of the queue is not ours to judge */
	while (setup->established < nr_standing(setup->run->opt)) {
		union address peer = { };

		accepted = connect_accept(listener, &peer, &fd);
		if (accepted == ACCEPT_NONE)
			return;
		if (accepted == ACCEPT_FAILED ||
		    !conn_accepted(setup, &setup->nics[listener->nic], fd,
				   &peer)) {
			stop(setup);
			return;
		}
	}
}

/* Connections that are accepted inherit all this. */
static int listening_socket(const struct options *opt,
			    const union address *addr, bool shared)
{
	int on = 1, off = 0;
	int fd;

	fd = socket(addr->any.sa_family,
		    SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -1;
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (shared)
		setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on));
	if (addr->any.sa_family == AF_INET6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off));
	if (opt->mode != MODE_STREAM)
		send_at_once(fd);
	limits_socket_buffers(fd);
	return fd;
}

/* In mode crr all connections of an address may wait in one queue. */
static unsigned int backlog(const struct options *opt)
{
	unsigned int most = nic_share(opt, opt->conns, 0);

	return keeps_listening(opt) && most > PENDING ? most : PENDING;
}

/*
 * Sockets that share a port must all say so before, which would let another
 * ptcpbench share it, too: bind() without that sees whether the port is free.
 */
static bool bind_socket(struct listener *listener, union address *addr)
{
	const struct options *opt = listener->worker->run->opt;
	socklen_t len = address_len(addr);
	bool shared = keeps_listening(opt);
	bool first = listener->worker->index == 0;

	listener->fd = listening_socket(opt, addr, shared && !first);
	if (listener->fd < 0 || bind(listener->fd, &addr->any, len) ||
	    getsockname(listener->fd, &addr->any, &len))
		return false;
	if (!shared || !first)
		return true;
	close(listener->fd);
	listener->fd = listening_socket(opt, addr, true);
	return listener->fd >= 0 && !bind(listener->fd, &addr->any, len);
}

static bool listen_on(struct listener *listener, unsigned int *port)
{
	struct run *run = listener->worker->run;
	union address *addr = &run->setup->nics[listener->nic].addr;

	addr->v4.sin_port = htons(*port);	/* at the same place in v6 */
	if (!bind_socket(listener, addr) ||
	    listen(listener->fd, 4 * backlog(run->opt))) {
		run_fail(run, "cannot listen on %s port %u: %s%s",
			 run->opt->nics[listener->nic], *port, strerror(errno),
			 limits_hint(errno));
		return false;
	}
	*port = ntohs(addr->v4.sin_port);	/* with -p 0: all the same */
	listener->event = watch_readable(run->base, listener->fd,
					 listener_readable, listener);
	return true;
}

/* Those of an address are neighbours, in the order of the workers. */
static void make_listeners(struct run *run)
{
	unsigned int each = keeps_listening(run->opt) ? run->opt->threads : 1;

	run->nr_listeners = run->opt->nr_nics * each;
	run->listeners = calloc(run->nr_listeners, sizeof(*run->listeners));
	if (!run->listeners)
		die(EXIT_SETUP, "out of memory");
	for (unsigned int n = 0; n < run->nr_listeners; n++)
		run->listeners[n] = (struct listener){
			.worker = &run->workers[n % each],
			.nic = n / each,
			.fd = -1,
		};
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
	limits_check_backlog(backlog(run->opt));
	make_listeners(run);
	for (unsigned int n = 0; n < run->nr_listeners; n++)
		if (!listen_on(&run->listeners[n], &port))
			return;
	if (write_ready(run, port) && run->opt->progress)
		fprintf(stderr, "ptcpbench %s: waiting for %u connections on port %u\n",
			role_name(run->opt->role), nr_standing(run->opt), port);
}

/* The connecting end */

static void open_more(struct setup *setup);

static bool is_hello(const struct hello *hello)
{
	return le64toh(hello->magic) == HELLO_MAGIC;
}

static bool hello_fits(struct conn *conn, const struct hello *hello)
{
	const struct options *opt = conn->worker->run->opt;
	enum role other = other_role(opt->role);
	unsigned int conns = le32toh(hello->conns);
	unsigned int request = le32toh(hello->request);
	unsigned int response = le32toh(hello->response);

	if (!is_hello(hello))
		conn_fail(conn, "is not to a ptcpbench of this version: another program has that port");
	else if (le16toh(hello->role) != other)
		conn_fail(conn, "is to another %s: this end needs a %s",
			  role_name(opt->role), role_name(other));
	else if (le16toh(hello->mode) != opt->mode)
		conn_fail(conn, "is to a %s of another mode than %s: give both the same --mode",
			  role_name(other), mode_name(opt->mode));
	else if (conns != opt->conns)
		conn_fail(conn, "is to a %s of %u connections, this end has %u: give both the same -c",
			  role_name(other), conns, opt->conns);
	else if (request != opt->request || response != opt->response)
		conn_fail(conn, "is to a %s of requests of %u and responses of %u bytes, this end has %llu and %llu: give both the same --request and --response",
			  role_name(other), request, response,
			  (unsigned long long)opt->request,
			  (unsigned long long)opt->response);
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
	/* a stranger need not say as much as we wait for */
	if (conn->part < sizeof(hello->magic) ||
	    (conn->part < sizeof(*hello) && is_hello(hello)))
		return;

	event_free(conn->event);
	conn->event = NULL;
	conn->part = 0;
	if (!hello_fits(conn, hello)) {
		stop(run->setup);
		return;
	}
	run->seed = le64toh(hello->seed);
	conn->acked_base = tcp_acked(fd);
	conn_established(run->setup, conn);
	open_more(run->setup);
}

int connect_start(const union address *to, enum mode mode)
{
	int fd, error;

	fd = socket(to->any.sa_family,
		    SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -1;
	if (mode != MODE_STREAM)
		send_at_once(fd);
	/* what is gone so soon needs no large ones, and no time for them */
	if (mode != MODE_CRR)
		limits_socket_buffers(fd);
	if (!connect(fd, &to->any, address_len(to)) || errno == EINPROGRESS)
		return fd;
	error = errno;
	close(fd);
	errno = error;
	return -1;
}

static bool open_one(struct setup *setup, unsigned int id)
{
	struct run *run = setup->run;
	struct nic *nic = &setup->nics[id % run->opt->nr_nics];
	struct conn *conn;

	conn = conn_assign(run, id, -1, &nic->addr);
	conn->fd = connect_start(&nic->addr, run->opt->mode);
	if (conn->fd < 0) {
		conn_fail(conn, "could not be established: %s%s",
			  strerror(errno), limits_hint(errno));
		return false;
	}
	return conn_watch(conn, hello_readable);
}

static void open_more(struct setup *setup)
{
	const struct options *opt = setup->run->opt;

	while (setup->next < nr_standing(opt) &&
	       setup->opened - setup->established < PENDING) {
		unsigned int id = setup->next++;

		if (opt->others[id % opt->nr_nics])
			continue;
		setup->opened++;
		if (!open_one(setup, id)) {
			stop(setup);
			return;
		}
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
	const struct options *opt = run->opt;
	unsigned int all = nr_standing(opt);
	unsigned int first = 0;

	(void)fd;
	(void)what;
	while (first < opt->nr_nics - 1 &&
	       setup->nics[first].established == nic_own(opt, all, first))
		first++;
	run_fail(run, "%u of %u connections were established in %g s (address %s: %u of %u); is the other end running with the same -c and -a? --timeout waits longer",
		 setup->established, own_of(opt, all), opt->timeout,
		 opt->nics[first], setup->nics[first].established,
		 nic_own(opt, all, first));
	stop(setup);
}

void close_listeners(struct run *run)
{
	for (unsigned int n = 0; n < run->nr_listeners; n++)
		if (run->listeners[n].fd >= 0)
			close(run->listeners[n].fd);
	run->nr_listeners = 0;
	free(run->listeners);
	run->listeners = NULL;
}

static void setup_free(struct setup *setup)
{
	struct run *run = setup->run;

	for (unsigned int n = 0; n < run->nr_listeners; n++) {
		struct listener *listener = &run->listeners[n];

		if (listener->event)
			event_free(listener->event);
		listener->event = NULL;
	}
	if (!keeps_listening(run->opt))
		close_listeners(run);
	for (unsigned int id = 0; id < nr_standing(run->opt); id++)
		if (run->standing[id].event) {
			event_free(run->standing[id].event);
			run->standing[id].event = NULL;
		}
	run->setup = NULL;
	free(setup);
}

void connect_all(struct run *run)
{
	struct setup *setup = calloc(1, sizeof(*setup));
	const struct timeval limit = timeval_of(run->opt->timeout);
	struct event *timeout;

	if (!setup)
		die(EXIT_SETUP, "out of memory");
	setup->run = run;
	setup->next_progress = now() + 1;
	run->setup = setup;
	for (unsigned int n = 0; n < run->opt->nr_nics; n++) {
		setup->nics[n] = (struct nic){
			.setup = setup, .index = n,
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
	if (stands_idle(run->opt) && !keeps_listening(run->opt))
		deal_places(setup);
out:
	setup_free(setup);
}
