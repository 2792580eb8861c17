// SPDX-License-Identifier: GPL-2.0
/*
 * Threads that know nothing of each other use the same few sockets, in every
 * state and order that there is: they connect them, to nowhere and again, have
 * them listen, accept, shut down, abort, close, transfer, and change options,
 * among them those by which a connection leaves its group: TCP_REPAIR, and a
 * ULP in the middle of the stream. What a call returns is anybody's guess. The
 * kernel is to survive it, each call to come back, and nothing to be left.
 *
 * Then threads that leave a connection's socket no peace, with harmless calls:
 * the connection is to get on nevertheless. In ConnP-T the group's thread needs
 * a moment in which nobody owns the socket.
 */
#include "connp.h"

#define SOCKETS		8
#define THREADS		6
#define SECONDS		4
#define SECONDS_FULL	120
/* More, where some kind of call has not succeeded by then. */
#define SECONDS_MORE	60
/* Of calls, at least, in each thread. */
#define CALLS_MIN	200
/* A close() may linger for a second, and another may wait for it. */
#define CALL_TICKS	(4 * CONNP_STALL_TICKS_BUSY)

static atomic_uint done[64];
static atomic_bool stopping;
static struct connp_watch watch;
/* IPv4, IPv6, and the first again, mapped into IPv6. */
static struct sockaddr_storage addresses[3];
static socklen_t address_lens[3];
static int listeners[2];
static int sockets[SOCKETS];

struct thread {
	unsigned int number;
	unsigned int random;
	unsigned int calls;
	pthread_t thread;
};

static unsigned int draw(struct thread *thread, unsigned int below)
{
	thread->random = thread->random * 1664525 + 1013904223;
	return (thread->random >> 16) % below;
}

static int new_socket(unsigned int family)
{
	int fd = connp_socket(family ? CONNP_V6 : CONNP_V4);

	fcntl(fd, F_SETFL, O_NONBLOCK);
	return fd;
}

static bool set(int fd, int level, int option, int value)
{
	return !setsockopt(fd, level, option, &value, sizeof(value));
}

static bool do_connect(struct thread *thread, int fd)
{
	unsigned int i = draw(thread, ARRAY_SIZE(addresses));

	return !connect(fd, (void *)&addresses[i], address_lens[i]) ||
	       errno == EINPROGRESS;
}

static bool do_disconnect(struct thread *thread, int fd)
{
	struct sockaddr nowhere = { .sa_family = AF_UNSPEC };

	(void)thread;
	return !connect(fd, &nowhere, sizeof(nowhere));
}

/* Those that follow one another at once are what races. */
static bool do_reconnect(struct thread *thread, int fd)
{
	return do_disconnect(thread, fd) && do_connect(thread, fd);
}

static bool do_listen(struct thread *thread, int fd)
{
	return !listen(fd, draw(thread, 8));
}

static bool do_relisten(struct thread *thread, int fd)
{
	return do_disconnect(thread, fd) && do_listen(thread, fd);
}

/* Connect one of the sockets to another one of them that listens. */
static bool do_connect_ours(struct thread *thread, int fd)
{
	struct sockaddr_storage ss;
	socklen_t len = sizeof(ss);

	return !getsockname(sockets[draw(thread, SOCKETS)], (void *)&ss, &len) &&
	       (!connect(fd, (void *)&ss, len) || errno == EINPROGRESS);
}

static bool keep(int slot, int fd)
{
	if (fd < 0)
		return false;
	fcntl(fd, F_SETFL, O_NONBLOCK);
	/* Closes what was there, as soon as nobody is in a call with it. */
	if (dup3(fd, slot, O_CLOEXEC) != slot)
		ksft_exit_fail_perror("dup3");
	close(fd);
	return true;
}

static bool do_accept(struct thread *thread, int fd)
{
	int listener = listeners[draw(thread, 2)];

	return keep(fd, accept4(listener, NULL, NULL, SOCK_CLOEXEC));
}

static bool do_accept_ours(struct thread *thread, int fd)
{
	int listener = sockets[draw(thread, SOCKETS)];

	return keep(fd, accept4(listener, NULL, NULL, SOCK_CLOEXEC));
}

static bool do_close(struct thread *thread, int fd)
{
	return keep(fd, new_socket(draw(thread, 2)));
}

static bool do_abort(struct thread *thread, int fd)
{
	struct linger linger = { .l_onoff = 1, .l_linger = draw(thread, 2) };

	setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
	return do_close(thread, fd);
}

static bool do_shutdown(struct thread *thread, int fd)
{
	return !shutdown(fd, draw(thread, 3));
}

static bool do_send(struct thread *thread, int fd)
{
	static char much[32768];

	return send(fd, much, 1 + draw(thread, sizeof(much)),
		    MSG_NOSIGNAL | (draw(thread, 2) ? MSG_MORE : 0)) > 0;
}

static bool do_recv(struct thread *thread, int fd)
{
	char much[32768];

	return recv(fd, much, 1 + draw(thread, sizeof(much)),
		    draw(thread, 4) ? 0 : MSG_PEEK) > 0;
}

static bool do_repair(struct thread *thread, int fd)
{
	(void)thread;
	return set(fd, IPPROTO_TCP, TCP_REPAIR, TCP_REPAIR_ON);
}

static bool do_end_repair(struct thread *thread, int fd)
{
	return set(fd, IPPROTO_TCP, TCP_REPAIR,
		   draw(thread, 2) ? TCP_REPAIR_OFF : TCP_REPAIR_OFF_NO_WP);
}

/* A kernel with kTLS takes it; in others the connection leaves its group, too. */
static bool do_ulp(struct thread *thread, int fd)
{
	(void)thread;
	return !setsockopt(fd, IPPROTO_TCP, TCP_ULP, "tls", 3);
}

static bool do_option(struct thread *thread, int fd)
{
	static const struct {
		int level, option, value;
	} options[] = {
		{ SOL_SOCKET, SO_KEEPALIVE, 1 },
		{ SOL_SOCKET, SO_RCVLOWAT, 5000 },
		{ SOL_SOCKET, SO_RCVBUF, 4096 },
		{ SOL_SOCKET, SO_SNDBUF, 4096 },
		{ SOL_SOCKET, SO_REUSEADDR, 1 },
		{ SOL_SOCKET, SO_REUSEPORT, 1 },
		{ SOL_SOCKET, SO_LINGER, 0 },
		{ IPPROTO_TCP, TCP_KEEPIDLE, 1 },
		{ IPPROTO_TCP, TCP_KEEPINTVL, 1 },
		{ IPPROTO_TCP, TCP_NODELAY, 1 },
		{ IPPROTO_TCP, TCP_CORK, 1 },
		{ IPPROTO_TCP, TCP_CORK, 0 },
		{ IPPROTO_TCP, TCP_QUICKACK, 1 },
		{ IPPROTO_TCP, TCP_QUICKACK, 0 },
		{ IPPROTO_TCP, TCP_LINGER2, 1 },
		{ IPPROTO_TCP, TCP_LINGER2, -1 },
		{ IPPROTO_TCP, TCP_USER_TIMEOUT, 300 },
		{ IPPROTO_TCP, TCP_DEFER_ACCEPT, 1 },
		{ IPPROTO_TCP, TCP_DEFER_ACCEPT, 0 },
		{ IPPROTO_TCP, TCP_MAXSEG, 600 },
		{ IPPROTO_TCP, TCP_WINDOW_CLAMP, 8192 },
		{ IPPROTO_TCP, TCP_FASTOPEN, 5 },
		{ IPPROTO_TCP, TCP_FASTOPEN_CONNECT, 1 },
		{ IPPROTO_TCP, TCP_THIN_LINEAR_TIMEOUTS, 1 },
		/* A mapped connection becomes one of IPv4. */
		{ IPPROTO_IPV6, IPV6_ADDRFORM, AF_INET },
	};
	unsigned int i = draw(thread, ARRAY_SIZE(options));

	return set(fd, options[i].level, options[i].option, options[i].value);
}

static bool do_info(struct thread *thread, int fd)
{
	struct tcp_info info;
	socklen_t len = sizeof(info);

	(void)thread;
	return !getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len);
}

static const struct action {
	const char *name;
	bool (*run)(struct thread *thread, int fd);
	unsigned int weight;
	bool optional;		/* may never succeed */
} actions[] = {
	{ "connect", do_connect, 8, false },
	{ "connect to one of ours", do_connect_ours, 8, false },
	{ "disconnect", do_disconnect, 2, false },
	{ "disconnect and connect", do_reconnect, 6, false },
	{ "listen", do_listen, 3, false },
	{ "disconnect and listen", do_relisten, 4, false },
	{ "accept", do_accept, 8, false },
	{ "accept from one of ours", do_accept_ours, 6, false },
	{ "close", do_close, 3, false },
	{ "abort, or linger", do_abort, 2, false },
	{ "shutdown", do_shutdown, 3, false },
	{ "send", do_send, 12, false },
	{ "recv", do_recv, 12, false },
	{ "repair", do_repair, 1, false },
	{ "end of repair", do_end_repair, 3, false },
	{ "ULP", do_ulp, 1, true },
	{ "option", do_option, 8, false },
	{ "info", do_info, 2, false },
};

static const struct action *draw_action(struct thread *thread)
{
	unsigned int i, total = 0, pick;

	for (i = 0; i < ARRAY_SIZE(actions); i++)
		total += actions[i].weight;
	pick = draw(thread, total);
	for (i = 0; pick >= actions[i].weight; i++)
		pick -= actions[i].weight;
	return &actions[i];
}

static void *abuse(void *argument)
{
	struct thread *thread = argument;

	while (!stopping || thread->calls < CALLS_MIN) {
		const struct action *action = draw_action(thread);

		if (action->run(thread, sockets[draw(thread, SOCKETS)]))
			done[action - actions]++;
		thread->calls++;
		watch.step[thread->number] = thread->calls;
	}
	watch.step[thread->number] = UINT_MAX;
	return NULL;
}

/* How many kinds of calls have never succeeded that should have. */
static unsigned int kinds_missing(bool tell)
{
	unsigned int i, never = 0;

	for (i = 0; i < ARRAY_SIZE(actions); i++) {
		if (tell)
			ksft_print_msg("%s: %u\n", actions[i].name, done[i]);
		never += !done[i] && !actions[i].optional;
	}
	return never;
}

static void test_states(unsigned int seed)
{
	struct thread threads[THREADS] = {};
	struct connp_pair pair;
	unsigned int i;
	long before = connp_conns();
	int fd;

	for (i = 0; i < 2; i++) {
		listeners[i] = connp_listen(i ? CONNP_V6 : CONNP_V4,
					    &addresses[i], &address_lens[i]);
		fcntl(listeners[i], F_SETFL, O_NONBLOCK);
	}
	for (i = 0; i < SOCKETS; i++)
		sockets[i] = new_socket(i % 2);
	address_lens[2] = connp_address(CONNP_MAPPED,
					((struct sockaddr_in *)addresses)->sin_port,
					&addresses[2]);
	connp_watch_start(&watch, THREADS, CALL_TICKS);
	for (i = 0; i < THREADS; i++) {
		threads[i].number = i;
		threads[i].random = seed + i;
		threads[i].thread = connp_thread(abuse, &threads[i]);
	}
	sleep(connp_full() ? SECONDS_FULL : SECONDS);
	for (i = 0; i < SECONDS_MORE && kinds_missing(false); i++)
		sleep(1);
	stopping = true;
	for (i = 0; i < THREADS; i++) {
		pthread_join(threads[i].thread, NULL);
		ksft_print_msg("thread %u made %u calls\n", i, threads[i].calls);
	}
	ksft_test_result(!kinds_missing(true), "all kinds of calls have succeeded\n");
	connp_watch_report(&watch, "every call comes back");
	connp_connect(CONNP_V4, &pair);
	ksft_test_result(connp_exchange(&pair, 100),
			 "another connection works\n");
	connp_disconnect(&pair);
	/* Not to wait for what they had to send. */
	for (i = 0; i < SOCKETS; i++)
		connp_abort(sockets[i]);
	for (i = 0; i < 2; i++) {
		while ((fd = accept(listeners[i], NULL, NULL)) >= 0)
			close(fd);
		close(listeners[i]);
	}
	/* Orphans of those that were closed before, with data nobody reads. */
	connp_wait_sockets(0);
	ksft_test_result_pass("no socket is left\n");
	ksft_test_result(connp_wait_conns(before),
			 "no connection is left in a group\n");
	ksft_test_result(connp_groups_fd < 0 || connp_wait_drained(),
			 "all that was queued is drained\n");
}

/* The connection that is given no peace. */
static struct connp_stream victim;

static void *hammer(void *argument)
{
	int fd = (uintptr_t)argument % 2 ? victim.pair.client :
					   victim.pair.server;
	char byte;

	while (!stopping) {
		set(fd, IPPROTO_TCP, TCP_NODELAY, 1);
		recv(fd, &byte, 1, MSG_DONTWAIT | MSG_PEEK);
		set(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
	}
	return NULL;
}

static void test_no_peace(enum connp_family family)
{
	const char *name = connp_family_names[family];
	pthread_t hammers[THREADS];
	unsigned int i;

	stopping = false;
	connp_watch_start(&watch, 1, CONNP_STALL_TICKS_BUSY);
	connp_stream_start(&victim, 0, family, &watch);
	for (i = 0; i < THREADS; i++)
		hammers[i] = connp_thread(hammer, (void *)(uintptr_t)i);
	sleep(connp_full() ? SECONDS_FULL : SECONDS / 2);
	stopping = true;
	for (i = 0; i < THREADS; i++)
		pthread_join(hammers[i], NULL);
	connp_stream_finish(&victim);
	ksft_print_msg("%s: %zu KiB arrived\n", name, victim.received >> 10);
	ksft_test_result(victim.received && !victim.wrong && !victim.broken,
			 "%s: without peace, the data is right\n", name);
	connp_watch_report(&watch, name);
}

int main(void)
{
	const char *seed = getenv("ABUSE_SEED");
	unsigned int number = seed ? atoi(seed) : (int)time(NULL);

	connp_start(10, connp_full() ? 600 : 120);
	ksft_print_msg("ABUSE_SEED=%u\n", number);
	/* Orphans are not to keep the test waiting for a minute. */
	connp_write_file("/proc/sys/net/ipv4/tcp_fin_timeout", "2");
	connp_write_file("/proc/sys/net/ipv4/tcp_orphan_retries", "3");
	connp_write_file("/proc/sys/net/ipv4/tcp_syn_retries", "2");
	test_states(number);
	test_no_peace(CONNP_V4);
	test_no_peace(CONNP_V6);
	ksft_finished();
}
