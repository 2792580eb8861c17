/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the tests of connection groups share: a network namespace of their own,
 * pairs of connected sockets in it, and the kernel's counters.
 *
 * A private namespace keeps a test away from whatever else the machine does:
 * its TcpExt counters are the test's alone. The groups are not, all namespaces
 * share them, so expectations about them are differences.
 *
 * Tests judge by counters rather than by the clock wherever they can: a loss
 * that TCP repairs shows as a retransmission, however slow the machine is. Where
 * only time tells, it is counted in ticks of a thread (struct connp_watch), so
 * that a machine that stands still for a while does not count as a stall.
 */
#ifndef CONNP_H
#define CONNP_H

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "kselftest.h"

/* The shortest retransmission timeout, in ms: what a lost packet costs. */
#define RTO_MIN		200

#define CONNP_MAX_GROUPS	1024
/* For a connection that may be in whichever it is. */
#define CONNP_ANY_GROUP		UINT_MAX

/* /proc/net/tcp_connp of the namespace the test was started in; -1: stock. */
static int connp_groups_fd = -1;

enum connp_family { CONNP_V4, CONNP_V6, CONNP_MAPPED };

static const char * const connp_family_names[] = {
	"IPv4", "IPv6", "IPv4 mapped into IPv6",
};

static inline double connp_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1e3 + ts.tv_nsec / 1e6;
}

/* Does this kernel check itself? Then it is many times slower. */
static inline bool connp_slow(void)
{
	return !access("/proc/lockdep", F_OK) ||
	       !access("/sys/kernel/debug/kcsan", F_OK);
}

/* There, do less. */
static inline unsigned int connp_loops(unsigned int n)
{
	return connp_slow() ? n / 8 + 1 : n;
}

/* Is the long form asked for, as by make test-full? */
static inline bool connp_full(void)
{
	const char *full = getenv("CONNP_FULL");

	return full && !strcmp(full, "1");
}

static inline void connp_write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY);

	if (fd < 0 || write(fd, text, strlen(text)) < 0)
		ksft_exit_fail_perror(path);
	close(fd);
}

/* Enter a fresh namespace with a working loopback. */
static inline void connp_new_netns(void)
{
	struct ifreq ifr = { .ifr_name = "lo", .ifr_flags = IFF_UP };
	int fd;

	if (unshare(CLONE_NEWNET))
		ksft_exit_fail_perror("unshare(CLONE_NEWNET)");
	fd = socket(AF_INET, SOCK_DGRAM, 0);
	if (fd < 0 || ioctl(fd, SIOCSIFFLAGS, &ifr))
		ksft_exit_fail_perror("bringing up lo");
	close(fd);
}

/* A column of /proc/net/tcp_connp; returns how many groups there are. */
static inline unsigned int connp_rows(const char *column,
				      long rows[CONNP_MAX_GROUPS])
{
	static char text[1 << 18];
	char *line, *lines, *word, *words;
	int wanted = -1, row = 0, i;
	ssize_t len = 0, got;

	while ((got = pread(connp_groups_fd, text + len,
			    sizeof(text) - 1 - len, len)) > 0)
		len += got;
	if (got < 0)
		ksft_exit_fail_perror("reading /proc/net/tcp_connp");
	text[len] = 0;
	for (line = strtok_r(text, "\n", &lines);
	     line && row < CONNP_MAX_GROUPS + 2;
	     line = strtok_r(NULL, "\n", &lines), row++) {
		if (!row)
			continue;
		word = strtok_r(line, " ", &words);
		for (i = 0; word; i++, word = strtok_r(NULL, " ", &words)) {
			if (row == 1 && !strcmp(word, column))
				wanted = i;
			if (row > 1 && i == wanted)
				rows[row - 2] = atol(word);
		}
	}
	if (wanted < 0)
		ksft_exit_fail_msg("/proc/net/tcp_connp has no column %s\n",
				   column);
	return row - 2;
}

static inline long connp_row(const char *column, unsigned int group)
{
	long rows[CONNP_MAX_GROUPS];

	if (group >= connp_rows(column, rows))
		ksft_exit_fail_msg("there is no group %u\n", group);
	return rows[group];
}

/*
 * The sum of a column of /proc/net/tcp_connp over all groups; with @used, also
 * the number of groups where it is not 0.
 */
static inline long connp_groups_used(const char *column, unsigned int *used)
{
	long rows[CONNP_MAX_GROUPS], sum = 0;
	unsigned int i, n = connp_rows(column, rows);

	if (used)
		*used = 0;
	for (i = 0; i < n; i++) {
		sum += rows[i];
		if (used && rows[i])
			++*used;
	}
	return sum;
}

static inline long connp_groups(const char *column)
{
	return connp_groups_used(column, NULL);
}

/*
 * Do others use the groups at the same time, as in make soak? Then what is in
 * them says nothing about this test.
 */
static inline bool connp_shared(void)
{
	return getenv("CONNP_SHARED");
}

/* Connections that others have in groups, as sshd; see connp_start(). */
static long connp_others;

/* The connections in all groups, less the others'; none in a kernel without. */
static inline long connp_conns(void)
{
	long conns;

	if (connp_groups_fd < 0)
		return 0;
	conns = connp_groups("conns");
	/* Some of theirs have gone. */
	if (conns >= 0 && conns < connp_others)
		connp_others = conns;
	return conns - connp_others;
}

/* Skip the whole test on a kernel without groups. */
static inline void connp_need_groups(void)
{
	if (access("/proc/net/tcp_connp", R_OK))
		ksft_exit_skip("this kernel has no connection groups\n");
}

/*
 * Wait until connp_conns() is @expected, as others on the machine may come and
 * go, and the last packets of a closed connection take a moment.
 */
static inline bool connp_wait_conns(long expected)
{
	double start = connp_ms();
	long conns;

	if (connp_shared())
		return true;
	do {
		conns = connp_conns();
		if (conns == expected)
			return true;
		usleep(10000);
	} while (connp_ms() - start < 5000);
	ksft_print_msg("%ld connections in groups, expected %ld\n", conns,
		       expected);
	return false;
}

/*
 * To be called first. After @seconds the test counts as hung: the signal ends
 * it, and that is a failure.
 */
static inline void connp_start(unsigned int tests, unsigned int seconds)
{
	ksft_print_header();
	if (geteuid())
		ksft_exit_skip("needs root, for a network namespace\n");
	connp_groups_fd = open("/proc/net/tcp_connp", O_RDONLY | O_CLOEXEC);
	/* Those that the test before has closed are no baseline for this. */
	connp_wait_conns(0);
	connp_others = connp_conns();
	if (connp_others)
		ksft_print_msg("%ld connections of others don't count\n",
			       connp_others);
	connp_new_netns();
	ksft_set_plan(tests);
	/* Among others that leave the machine no time, it takes much longer. */
	alarm(connp_shared() ? 20 * seconds : seconds);
}

/* Wait until nothing is queued on any group, as when all traffic has ended. */
static inline bool connp_wait_drained(void)
{
	double start = connp_ms();
	long left;

	if (connp_shared())
		return true;
	do {
		/* In this order: queued is never behind what was drained. */
		left = -connp_groups("drained");
		left += connp_groups("queued");
		if (!left && !connp_groups("bytes"))
			return true;
		usleep(10000);
	} while (connp_ms() - start < 5000);
	ksft_print_msg("%ld of %ld are still queued, %ld bytes\n", left,
		       connp_groups("queued"), connp_groups("bytes"));
	return false;
}

#define CONNP_TRACING	"/sys/kernel/tracing/"
/* Messages of groups, as they are taken off. */
#define CONNP_MESSAGE_EVENT \
	CONNP_TRACING "events/tcp_connp/tcp_connp_message/enable"

/* Forget what was traced until now. */
static inline void connp_trace_empty(void)
{
	close(open(CONNP_TRACING "trace", O_WRONLY | O_TRUNC));
}

/* Begin to trace an event, or end it. */
static inline void connp_trace(const char *event_enable, bool on)
{
	if (on)
		connp_trace_empty();
	connp_write_file(event_enable, on ? "1" : "0");
}

/* True if the trace buffer has a line with @text. */
static inline bool connp_traced(const char *text)
{
	FILE *f = fopen(CONNP_TRACING "trace", "r");
	bool found = false;
	char line[1024];

	while (f && !found && fgets(line, sizeof(line), f))
		found = strstr(line, text);
	if (f)
		fclose(f);
	return found;
}

/* A counter of this namespace: @file and @prefix as in /proc/net/netstat. */
static inline long connp_counter(const char *file, const char *prefix,
				 const char *name)
{
	char names[8192], values[8192];
	char *n, *v, *more_n, *more_v;
	FILE *f = fopen(file, "r");
	long value = -1;

	if (!f)
		ksft_exit_fail_perror(file);
	while (fgets(names, sizeof(names), f) &&
	       fgets(values, sizeof(values), f)) {
		if (strncmp(names, prefix, strlen(prefix)))
			continue;
		n = strtok_r(names, "\n ", &more_n);
		v = strtok_r(values, "\n ", &more_v);
		while (n && v) {
			if (!strcmp(n, name))
				value = atol(v);
			n = strtok_r(NULL, "\n ", &more_n);
			v = strtok_r(NULL, "\n ", &more_v);
		}
	}
	fclose(f);
	if (value < 0)
		ksft_exit_fail_msg("%s has no %s\n", file, name);
	return value;
}

static inline long connp_tcpext(const char *name)
{
	return connp_counter("/proc/net/netstat", "TcpExt:", name);
}

/*
 * Packets that were lost in this namespace so far. A packet that was sent twice
 * and also arrived twice, which the receiver reports (DSACK), was only late:
 * loss probes and a machine that is busy elsewhere bring that about.
 */
static inline long connp_lost(void)
{
	return connp_counter("/proc/net/snmp", "Tcp:", "RetransSegs") -
	       connp_tcpext("TCPDSACKOldSent") -
	       connp_tcpext("TCPDSACKOfoSent");
}

/* TCP sockets of this namespace that are not closed, TIME_WAIT excluded. */
static inline int connp_sockets(void)
{
	int v4 = 0, v6 = 0;
	char line[256];
	FILE *f;

	f = fopen("/proc/net/sockstat", "r");
	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "TCP: inuse %d", &v4) == 1)
			break;
	if (f)
		fclose(f);
	f = fopen("/proc/net/sockstat6", "r");
	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "TCP6: inuse %d", &v6) == 1)
			break;
	if (f)
		fclose(f);
	return v4 + v6;
}

/*
 * Wait until no more than @left sockets are left, all that end having sent and
 * seen their last packet. The test's alarm() bounds it.
 */
static inline void connp_wait_sockets(int left)
{
	double start = connp_ms();
	bool told = false;

	while (connp_sockets() > left) {
		if (!told && connp_ms() - start > 10000) {
			ksft_print_msg("waiting for %d sockets to end, %d may be left\n",
				       connp_sockets() - left, left);
			/* Or the alarm would take it along. */
			fflush(stdout);
			told = true;
		}
		usleep(10000);
	}
}

/* Report on packets lost since @before, a value of connp_lost(). */
static inline void connp_expect_no_loss(long before, const char *what)
{
	long lost = connp_lost() - before;

	if (lost)
		ksft_print_msg("%ld lost; in all %ld timeouts, %ld probes\n",
			       lost, connp_tcpext("TCPTimeouts"),
			       connp_tcpext("TCPLossProbes"));
	ksft_test_result(lost <= 0, "%s: no packet was lost\n", what);
}

/* Where connections of @family go to: loopback, port @port (network order). */
static inline socklen_t connp_address(enum connp_family family, in_port_t port,
				      struct sockaddr_storage *ss)
{
	struct sockaddr_in6 *sin6 = (void *)ss;
	struct sockaddr_in *sin = (void *)ss;

	memset(ss, 0, sizeof(*ss));
	if (family == CONNP_V4) {
		sin->sin_family = AF_INET;
		sin->sin_port = port;
		sin->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
		return sizeof(*sin);
	}
	sin6->sin6_family = AF_INET6;
	sin6->sin6_port = port;
	if (family == CONNP_V6)
		sin6->sin6_addr = in6addr_loopback;
	else
		inet_pton(AF_INET6, "::ffff:127.0.0.1", &sin6->sin6_addr);
	return sizeof(*sin6);
}

static inline int connp_socket(enum connp_family family)
{
	int fd = socket(family == CONNP_V4 ? AF_INET : AF_INET6,
			SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		ksft_exit_fail_perror("socket");
	return fd;
}

/* A listening socket on a free port, and the address to connect to. */
static inline int connp_listen(enum connp_family family,
			       struct sockaddr_storage *ss, socklen_t *len)
{
	int fd = connp_socket(family);

	*len = connp_address(family, 0, ss);
	if (bind(fd, (void *)ss, *len) || listen(fd, 4096) ||
	    getsockname(fd, (void *)ss, len))
		ksft_exit_fail_perror("listen");
	return fd;
}

/* Two ends of one connection. */
struct connp_pair {
	int client;
	int server;
};

static inline void connp_connect(enum connp_family family,
				 struct connp_pair *pair)
{
	struct sockaddr_storage ss;
	socklen_t len;
	int listener;

	listener = connp_listen(family, &ss, &len);
	pair->client = connp_socket(family);
	if (connect(pair->client, (void *)&ss, len))
		ksft_exit_fail_perror("connect");
	pair->server = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	if (pair->server < 0)
		ksft_exit_fail_perror("accept");
	close(listener);
}

static inline void connp_disconnect(struct connp_pair *pair)
{
	close(pair->client);
	close(pair->server);
}

/* It ends at once, and the other end hears of it, if it can. */
static inline void connp_abort(int fd)
{
	struct linger linger = { .l_onoff = 1 };

	setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
	close(fd);
}

static inline void connp_set(int fd, int level, int option, int value)
{
	if (setsockopt(fd, level, option, &value, sizeof(value)))
		ksft_exit_fail_perror("setsockopt");
}

/* The state of a socket, as TCP_ESTABLISHED. */
static inline unsigned int connp_state(int fd)
{
	struct tcp_info info;
	socklen_t len = sizeof(info);

	if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len))
		ksft_exit_fail_perror("TCP_INFO");
	return info.tcpi_state;
}

static inline void connp_send(int fd, const void *data, size_t len)
{
	const char *p = data;
	ssize_t n;

	for (; len; len -= n, p += n) {
		n = send(fd, p, len, MSG_NOSIGNAL);
		if (n < 0)
			ksft_exit_fail_perror("send");
	}
}

/* Read exactly @len bytes. */
static inline void connp_recv(int fd, void *data, size_t len)
{
	char *p = data;
	ssize_t n;

	for (; len; len -= n, p += n) {
		n = recv(fd, p, len, 0);
		if (n < 0)
			ksft_exit_fail_perror("recv");
		if (!n)
			ksft_exit_fail_msg("the connection ended %zu bytes early\n",
					   len);
	}
}

/* Byte @pos of stream @stream: nearby bytes and streams differ. */
static inline unsigned char connp_byte(unsigned int stream, size_t pos)
{
	return (pos * 2654435761u + (pos >> 12) + stream * 97) >> 7;
}

/* A byte both ways, @rounds times; each packet waits for the one before. */
static inline bool connp_exchange(struct connp_pair *pair,
				  unsigned int rounds)
{
	unsigned char byte, sent;
	bool right = true;
	unsigned int i;

	for (i = 0; i < rounds; i++) {
		sent = connp_byte(0, i);
		connp_send(pair->client, &sent, 1);
		connp_recv(pair->server, &byte, 1);
		right &= byte == sent;
		connp_send(pair->server, &byte, 1);
		connp_recv(pair->client, &byte, 1);
		right &= byte == sent;
	}
	return right;
}

static inline void connp_fill(unsigned int stream, size_t pos, void *buf,
			      size_t len)
{
	unsigned char *p = buf;
	size_t i;

	for (i = 0; i < len; i++)
		p[i] = connp_byte(stream, pos + i);
}

static inline bool connp_check(unsigned int stream, size_t pos,
			       const void *buf, size_t len)
{
	const unsigned char *p = buf;
	size_t i;

	for (i = 0; i < len; i++)
		if (p[i] != connp_byte(stream, pos + i))
			return false;
	return true;
}

/* Go to a CPU, and stay there; false if it is offline, or there is none. */
static inline bool connp_go_to(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	return !sched_setaffinity(0, sizeof(set), &set);
}

static inline pthread_t connp_thread(void *(*run)(void *), void *argument)
{
	pthread_t thread;

	errno = pthread_create(&thread, NULL, run, argument);
	if (errno)
		ksft_exit_fail_perror("pthread_create");
	return thread;
}

/*
 * Watches that connections get on. A packet that is stranded on a queue waits
 * for the next timer of its connection, RTO_MIN or so, unless others push it
 * along; and such a timer hides the loss from the counters, because it enters
 * the group and drains it. So somebody has to look.
 *
 * The thread that looks visits all CPUs in turn; one round is a tick, in which
 * each CPU had time for what it was to do. A connection that makes no step for
 * so many of them stalls. A round that takes long itself is a
 * pause of the machine (a busy host, an emulator), which can make timers of TCP
 * expire without its fault.
 */
#define CONNP_TICK_MS		10
/* Less than RTO_MIN: nothing is to wait for a timer, nor for a free CPU. */
#define CONNP_STALL_TICKS	16
/* Many busy threads: each may have to wait for a CPU, but not for good. */
#define CONNP_STALL_TICKS_BUSY	100
#define CONNP_PAUSE_MS		(RTO_MIN / 2)
#define CONNP_WATCHED_MAX	16

struct connp_watch {
	unsigned int watched;
	unsigned int limit;
	/* Steps made; 0 before the first one, UINT_MAX when there is no more. */
	atomic_uint step[CONNP_WATCHED_MAX];
	unsigned int stalls;
	unsigned int ticks_max;
	unsigned int pauses;
	atomic_bool done;
	pthread_t thread;
};

/* Run on each CPU that there is, CONNP_TICK_MS in all. */
static inline void connp_visit_cpus(void)
{
	int cpu, cpus = sysconf(_SC_NPROCESSORS_ONLN);

	for (cpu = 0; cpu < cpus; cpu++) {
		/* One that is offline can't be visited, and holds up nobody. */
		connp_go_to(cpu);
		usleep(CONNP_TICK_MS * 1000 / cpus);
	}
}

static inline void *connp_watch_run(void *argument)
{
	struct connp_watch *watch = argument;
	unsigned int last[CONNP_WATCHED_MAX] = {};
	unsigned int ticks[CONNP_WATCHED_MAX] = {};
	unsigned int i, step;
	double start;

	while (!watch->done) {
		start = connp_ms();
		connp_visit_cpus();
		watch->pauses += connp_ms() - start > CONNP_PAUSE_MS;
		for (i = 0; i < watch->watched; i++) {
			step = watch->step[i];
			if (step != last[i] || !step || step == UINT_MAX) {
				last[i] = step;
				ticks[i] = 0;
				continue;
			}
			if (++ticks[i] > watch->ticks_max)
				watch->ticks_max = ticks[i];
			if (ticks[i] == watch->limit)
				watch->stalls++;
		}
	}
	return NULL;
}

static inline void connp_watch_start(struct connp_watch *watch,
				     unsigned int watched, unsigned int limit)
{
	memset(watch, 0, sizeof(*watch));
	watch->watched = watched;
	watch->limit = limit;
	watch->thread = connp_thread(connp_watch_run, watch);
}

static inline void connp_watch_stop(struct connp_watch *watch)
{
	watch->done = true;
	pthread_join(watch->thread, NULL);
	if (watch->pauses)
		ksft_print_msg("the machine paused %u times\n", watch->pauses);
}

static inline void connp_watch_report(struct connp_watch *watch,
				      const char *what)
{
	connp_watch_stop(watch);
	ksft_print_msg("%s: longest wait %u ticks of %u ms\n", what,
		       watch->ticks_max, CONNP_TICK_MS);
	ksft_test_result(!watch->stalls, "%s: nothing stalled\n", what);
}

/*
 * Data that flows from the client to the server until the test has enough, and
 * is verified there. Whether the connection may break is for the test to say.
 */
#define CONNP_STREAM_CHUNK	16384

struct connp_stream {
	struct connp_pair pair;
	unsigned int number;	/* what it carries, and its place in @watch */
	struct connp_watch *watch;
	size_t sent;
	size_t received;
	unsigned int wrong;	/* reads */
	atomic_bool broken;	/* an end had an error */
	atomic_bool stop;
	atomic_bool ended;	/* at one end, at least */
	pthread_t sender;
	pthread_t receiver;
};

static inline void *connp_stream_send(void *argument)
{
	struct connp_stream *stream = argument;
	char buf[CONNP_STREAM_CHUNK];
	ssize_t n;

	while (!stream->stop) {
		connp_fill(stream->number, stream->sent, buf, sizeof(buf));
		n = send(stream->pair.client, buf, sizeof(buf), MSG_NOSIGNAL);
		if (n < 0) {
			stream->broken = true;
			break;
		}
		stream->sent += n;
	}
	shutdown(stream->pair.client, SHUT_WR);
	stream->ended = true;
	return NULL;
}

static inline void *connp_stream_receive(void *argument)
{
	struct connp_stream *stream = argument;
	char buf[CONNP_STREAM_CHUNK];
	ssize_t n;

	while ((n = recv(stream->pair.server, buf, sizeof(buf), 0)) > 0) {
		stream->wrong += !connp_check(stream->number, stream->received,
					      buf, n);
		stream->received += n;
		stream->watch->step[stream->number]++;
	}
	if (n < 0)
		stream->broken = true;
	stream->watch->step[stream->number] = UINT_MAX;
	stream->ended = true;
	return NULL;
}

/* Stream @number begins, on a connection of its own. */
static inline void connp_stream_start(struct connp_stream *stream,
				      unsigned int number,
				      enum connp_family family,
				      struct connp_watch *watch)
{
	memset(stream, 0, sizeof(*stream));
	stream->number = number;
	stream->watch = watch;
	watch->step[number] = 0;
	connp_connect(family, &stream->pair);
	stream->sender = connp_thread(connp_stream_send, stream);
	stream->receiver = connp_thread(connp_stream_receive, stream);
}

/* Returns when all that was sent has arrived, or the connection is broken. */
static inline void connp_stream_finish(struct connp_stream *stream)
{
	stream->stop = true;
	pthread_join(stream->sender, NULL);
	pthread_join(stream->receiver, NULL);
	connp_disconnect(&stream->pair);
}

#endif /* CONNP_H */
