// SPDX-License-Identifier: GPL-2.0
/*
 * Connections come and go as fast as they can, from few ports, so that the
 * same addresses are used again while the last user's TIME_WAIT or FIN is still
 * about. Each exchanges one byte; some close first, some are closed, some are
 * reset.
 *
 * connect() takes the lock of the group's part of ehash under that of the bind
 * table, close() that of the bind table under the socket's, and TIME_WAIT all
 * of them; who reads /proc/net/tcp holds the first for a page of output. Were
 * it the group's own lock, that would deadlock. So the storm comes a second
 * time with readers about, and a third time with somebody who kills what he
 * finds.
 */
#include <sys/socket.h>

#include "connp_readers.h"

#define CLIENTS		4
/* By one half IPv4's, by the other IPv6's. */
#define SERVERS		8
/* Of each family; they live through the storm. */
#define STANDING	8
/* Of each kind, at least, while the storm goes on. */
#define READINGS	3

static struct sockaddr_storage addresses[SERVERS];
static int listeners[SERVERS];
static socklen_t address_len[SERVERS];
static unsigned int cycles;
static long recycled;
static atomic_uint connected, unavailable, refused, wrong;
static atomic_bool done;
static bool killing;
static struct connp_watch watch;
static int bpf_link = -1, bpf_killer = -1;

static enum connp_family family_of(unsigned int server)
{
	return server < SERVERS / 2 ? CONNP_V4 : CONNP_V6;
}

/* Those who go over all sockets while the storm goes on. */
struct other {
	const char *name;
	unsigned int (*run)(void);
	atomic_uint times;
	unsigned long met;
	pthread_t thread;
};

static struct {
	struct other *each;
	unsigned int n;
} others;

/* On a slow kernel the storm goes on until they have been at it, too. */
static bool others_are_behind(void)
{
	unsigned int i;

	for (i = 0; i < others.n; i++)
		if (others.each[i].times < READINGS)
			return true;
	return false;
}

static long times_recycled(void)
{
	return connp_tcpext("TWRecycled") - recycled;
}

/* Which takes another second; who is killed leaves no TIME_WAIT. */
static bool none_is_recycled(void)
{
	return !killing && !times_recycled();
}

static void *client(void *argument)
{
	struct linger reset = { .l_onoff = 1 };
	unsigned int i, number = (uintptr_t)argument;
	unsigned int to;
	char byte, got;
	int fd;

	for (i = 0; i < cycles || others_are_behind() || none_is_recycled();
	     i++) {
		watch.step[number] = i + 1;
		to = i % SERVERS;
		fd = connp_socket(family_of(to));
		if (connect(fd, (void *)&addresses[to], address_len[to])) {
			unavailable += errno == EADDRNOTAVAIL;
			refused += errno != EADDRNOTAVAIL;
			close(fd);
			sched_yield();
			continue;
		}
		connected++;
		byte = number * 16 + i;
		if (send(fd, &byte, 1, MSG_NOSIGNAL) != 1)
			wrong++;
		if (i % 4 == 3)
			setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset,
				   sizeof(reset));
		else if (recv(fd, &got, 1, 0) != 1 || got != byte)
			wrong++;
		/* Every other one waits to be closed first. */
		if (i % 4 == 1)
			recv(fd, &got, 1, 0);
		close(fd);
	}
	watch.step[number] = UINT_MAX;
	return NULL;
}

static void *server(void *argument)
{
	int fd, listener = *(int *)argument;
	char byte;

	while (!done) {
		fd = accept(listener, NULL, NULL);
		if (fd < 0)
			continue;
		/* Resets may come at any point here. */
		if (recv(fd, &byte, 1, 0) == 1)
			send(fd, &byte, 1, MSG_NOSIGNAL);
		close(fd);
	}
	return NULL;
}

static void listen_again(void)
{
	unsigned int i;

	for (i = 0; i < SERVERS; i++) {
		/* Outside of the range, which is for the clients. */
		address_len[i] = connp_address(family_of(i), htons(30000 + i),
					       &addresses[i]);
		listeners[i] = connp_socket(family_of(i));
		connp_set(listeners[i], SOL_SOCKET, SO_REUSEADDR, 1);
		if (bind(listeners[i], (void *)&addresses[i], address_len[i]) ||
		    listen(listeners[i], 128))
			ksft_exit_fail_perror("listen");
	}
}

static unsigned int read_bpf(void)
{
	return connp_read_bpf(bpf_link);
}

static struct other readers[] = {
	{ .name = "/proc/net/tcp and tcp6", .run = connp_read_proc },
	{ .name = "diagnostics", .run = connp_read_diag },
	{ .name = "BPF's iterator", .run = read_bpf },
};

static unsigned int killed;

/* What is in TIME_WAIT is nobody's connection any more. */
static void kill_one(struct inet_diag_msg *msg)
{
	if (connp_kill(msg) && msg->idiag_state != TCP_TIME_WAIT)
		killed++;
}

static unsigned int kill_all(void)
{
	killed = 0;
	connp_diag_dump(AF_INET, kill_one);
	connp_diag_dump(AF_INET6, kill_one);
	return killed;
}

static unsigned int kill_bpf(void)
{
	return connp_read_bpf(bpf_killer);
}

static struct other killers[] = {
	{ .name = "killed by ss -K", .run = kill_all },
	{ .name = "killed by BPF", .run = kill_bpf },
};

static void *other(void *argument)
{
	struct other *other = argument;

	while (!done) {
		other->met += other->run();
		other->times++;
		sched_yield();
	}
	return NULL;
}

/* Returns the fewest times that one of the others was at it. */
static unsigned int storm(const char *name, struct other *each, unsigned int n)
{
	pthread_t clients[CLIENTS], servers[SERVERS];
	unsigned int fewest = UINT_MAX;
	unsigned long i, met = ULONG_MAX;
	double began = connp_ms();

	others.each = each;
	others.n = n;
	done = false;
	connected = 0;
	unavailable = 0;
	refused = 0;
	wrong = 0;
	recycled = connp_tcpext("TWRecycled");
	listen_again();
	connp_watch_start(&watch, CLIENTS, CONNP_STALL_TICKS_BUSY);
	for (i = 0; i < n; i++)
		each[i].thread = connp_thread(other, &each[i]);
	for (i = 0; i < SERVERS; i++)
		servers[i] = connp_thread(server, &listeners[i]);
	for (i = 0; i < CLIENTS; i++)
		clients[i] = connp_thread(client, (void *)i);
	for (i = 0; i < CLIENTS; i++)
		pthread_join(clients[i], NULL);
	done = true;
	for (i = 0; i < n; i++) {
		pthread_join(each[i].thread, NULL);
		ksft_print_msg("%s: %u times, %lu sockets\n", each[i].name,
			       each[i].times, each[i].met);
		if (met > each[i].met)
			met = each[i].met;
		if (fewest > each[i].times)
			fewest = each[i].times;
	}
	for (i = 0; i < SERVERS; i++)
		shutdown(listeners[i], SHUT_RDWR);
	for (i = 0; i < SERVERS; i++) {
		pthread_join(servers[i], NULL);
		close(listeners[i]);
	}
	ksft_print_msg("%s: %u connections, %u times no free port, %u refused\n",
		       name, connected, unavailable, refused);
	ksft_print_msg("%ld times in the place of a TIME_WAIT, %.1f s\n",
		       times_recycled(), (connp_ms() - began) / 1e3);
	ksft_test_result(connected && !none_is_recycled(), "%s: %s\n", name,
			 killing ? "connections came and went" :
				   "addresses were used again");
	/* Most of it is in TIME_WAIT by then, and nobody notices. */
	if (killing)
		ksft_test_result(met, "%s: each way some were, %u noticed\n",
				 name, wrong + refused);
	else
		ksft_test_result(!wrong && !refused,
				 "%s: every byte came back\n", name);
	connp_watch_report(&watch, name);
	return fewest;
}

static bool counted(const char *name, unsigned int counted,
		    unsigned int expected)
{
	if (counted != expected)
		ksft_print_msg("%s: %u sockets, expected %u\n", name, counted,
			       expected);
	return counted == expected;
}

/* Nothing moves: all must see the same. */
static bool count_standing(struct connp_pair *standing)
{
	unsigned int i, expected = 4 * STANDING;
	bool right;

	for (i = 0; i < 2 * STANDING; i++)
		connp_connect(i % 2 ? CONNP_V4 : CONNP_V6, &standing[i]);
	right = counted("/proc", connp_read_proc(), expected);
	right &= counted("diagnostics", connp_read_diag(), expected);
	if (bpf_link >= 0)
		right &= counted("BPF", read_bpf(), expected);
	return right;
}

int main(void)
{
	struct connp_pair standing[2 * STANDING];
	unsigned int i, nr_readers, fewest, alive = 0;
	long before;

	/* What stalls is noticed by the watch; this is for what hangs. */
	connp_start(14, connp_full() ? 1800 : connp_slow() ? 300 : 120);
	before = connp_conns();
	bpf_link = connp_bpf_iterator(false);
	bpf_killer = connp_bpf_iterator(true);
	nr_readers = ARRAY_SIZE(readers) - (bpf_link < 0);
	if (bpf_link < 0)
		ksft_print_msg("no BTF, or none with bpf_iter_tcp: not BPF's iterator\n");
	ksft_test_result(count_standing(standing),
			 "/proc, diagnostics and BPF meet every socket once\n");
	connp_write_file("/proc/sys/net/ipv4/ip_local_port_range", "40000 40063");
	connp_write_file("/proc/sys/net/ipv4/tcp_tw_reuse", "1");
	/* By default half as many as the table has buckets, which may be 1. */
	connp_write_file("/proc/sys/net/ipv4/tcp_max_tw_buckets", "65536");
	cycles = connp_loops(connp_full() ? 20000 : 1000);
	storm("alone", NULL, 0);
	cycles = connp_loops(connp_full() ? 20000 : 600);
	fewest = storm("with readers", readers, nr_readers);
	ksft_test_result(fewest >= READINGS,
			 "with readers: they come to an end, each %u times\n",
			 fewest);
	for (i = 0; i < 2 * STANDING; i++) {
		alive += connp_exchange(&standing[i], 1);
		connp_disconnect(&standing[i]);
	}
	ksft_test_result(alive == 2 * STANDING,
			 "connections outlive the storm\n");
	killing = true;
	storm("killed", killers, ARRAY_SIZE(killers) - (bpf_killer < 0));
	connp_wait_sockets(0);
	ksft_test_result_pass("no socket is left\n");
	ksft_test_result(connp_wait_conns(before),
			 "no connection is left in a group\n");
	ksft_finished();
}
