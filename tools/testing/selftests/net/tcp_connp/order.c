// SPDX-License-Identifier: GPL-2.0
/*
 * Packets, timers and calls are taken off the queue of a group in the order in
 * which they were put there. The test plays the peers itself, behind a TUN
 * device, and so decides what comes when; the tracepoint tells what was taken
 * off. In ConnP-T the group's thread is kept from running meanwhile.
 */
#include "connp_peer.h"
#include "connp_threads.h"

#define PEERS		3
#define PACKETS		48

static bool threads;

static void restore(void)
{
	connp_trace(CONNP_MESSAGE_EVENT, false);
	if (threads)
		connp_hold_restore();
}

/* From here on nothing is taken off the queue. */
static void hold(void)
{
	/* Before, because that may need all CPUs. */
	connp_trace(CONNP_MESSAGE_EVENT, true);
	if (!threads)
		return;
	connp_hold();
	connp_trace_empty();
}

static void release(void)
{
	if (threads)
		connp_release();
	connp_wait_drained();
	connp_trace(CONNP_MESSAGE_EVENT, false);
}

/* Wait until there are that many messages more than @before. */
static bool wait_queued(long before, long more)
{
	double start = connp_ms();

	while (connp_row("queued", connp_held_group) - before < more) {
		if (connp_ms() - start > CONNP_PEER_MS)
			return false;
		usleep(1000);
	}
	return connp_row("queued", connp_held_group) - before == more;
}

/* What was taken off: of whom, and what; of our connections only. */
struct taken {
	unsigned int port;
	char kind[16];
};

static unsigned int read_trace(struct taken *taken, unsigned int max)
{
	FILE *f = fopen(CONNP_TRACING "trace", "r");
	unsigned int n = 0, port;
	char line[512], *p;

	if (!f)
		ksft_exit_fail_perror("the trace");
	while (n < max && fgets(line, sizeof(line), f)) {
		p = strstr(line, "tcp_connp_message: group=");
		if (p && sscanf(p, "tcp_connp_message: group=%*u kind=%15s sport=%u dport=%u",
				taken[n].kind, &port, &taken[n].port) == 3 &&
		    port == CONNP_PEER_PORT)
			n++;
	}
	fclose(f);
	return n;
}

/* Did these kinds come first, in this order, of the connection of @peer? */
static bool taken_so(const struct connp_peer *peer, const char *expected)
{
	struct taken taken[64];
	unsigned int i, n = read_trace(taken, ARRAY_SIZE(taken));
	char got[64 * 16] = "";

	for (i = 0; i < n; i++) {
		if (taken[i].port != peer->port)
			continue;
		strcat(got, taken[i].kind);
		strcat(got, " ");
	}
	ksft_print_msg("queued: %s; taken off: %s\n", expected, got);
	return !strncmp(got, expected, strlen(expected));
}

/* Packets of several connections, in no regular order. */
static void test_packets(void)
{
	struct taken taken[4 * PACKETS];
	unsigned int who[PACKETS], i, j, n, wrong = 0;
	unsigned int bytes[PEERS] = {};
	struct connp_peer peers[PEERS];
	bool right = true;
	char byte;

	for (i = 0; i < PEERS; i++)
		connp_peer_connect_in(&peers[i], connp_held_group);
	hold();
	for (i = 0; i < PACKETS; i++) {
		who[i] = connp_byte(5, i * 13) % PEERS;
		byte = 'a' + i % 26;
		connp_arrive(&peers[who[i]], TH_ACK | TH_PUSH, &byte, 1);
		bytes[who[i]]++;
	}
	release();
	n = read_trace(taken, ARRAY_SIZE(taken));
	for (i = 0, j = 0; j < n; j++) {
		if (strcmp(taken[j].kind, "packet"))
			continue;
		wrong += i >= PACKETS || taken[j].port != peers[who[i]].port;
		i++;
	}
	ksft_print_msg("%u of %d packets were taken off, %u in another order\n",
		       i, PACKETS, wrong);
	ksft_test_result(i == PACKETS && !wrong,
			 "packets of %d connections are taken off in order\n",
			 PEERS);
	for (i = 0; i < PACKETS; i++)
		right &= recv(peers[who[i]].fd, &byte, 1, MSG_DONTWAIT) == 1 &&
			 byte == (char)('a' + i % 26);
	ksft_test_result(right, "and have arrived\n");
	for (i = 0; i < PEERS; i++)
		connp_peer_reset(&peers[i]);
}

/* A call that another thread of ours makes. */
struct call {
	int fd;
	int (*make)(int fd);
	int result;
	atomic_bool returned;
	pthread_t thread;
};

static void *run_call(void *argument)
{
	struct call *call = argument;

	call->result = call->make(call->fd);
	call->returned = true;
	return NULL;
}

static int make_shutdown(int fd)
{
	return shutdown(fd, SHUT_WR);
}

/* As who dumps a connection, to restore it elsewhere: what has not been read? */
static int make_repair(int fd)
{
	int unread;

	connp_set(fd, IPPROTO_TCP, TCP_REPAIR, TCP_REPAIR_ON);
	return ioctl(fd, FIONREAD, &unread) ? -1 : unread;
}

static void call_start(struct call *call, const struct connp_peer *peer,
		       int (*make)(int fd))
{
	memset(call, 0, sizeof(*call));
	call->fd = peer->fd;
	call->make = make;
	call->thread = connp_thread(run_call, call);
}

static int call_end(struct call *call)
{
	pthread_join(call->thread, NULL);
	return call->result;
}

/* A packet, then a timer, then a call, then a packet: of one connection. */
static void test_keepalive(void)
{
	struct call call;
	struct connp_peer peer;
	long queued;
	bool right;
	char data[3];

	connp_peer_connect_in(&peer, connp_held_group);
	connp_set(peer.fd, SOL_SOCKET, SO_KEEPALIVE, 1);
	hold();
	queued = connp_row("queued", connp_held_group);
	connp_arrive(&peer, TH_ACK | TH_PUSH, "1", 1);
	right = wait_queued(queued, 1);
	/* The timer fires in a second, while the queue stands still. */
	connp_set(peer.fd, IPPROTO_TCP, TCP_KEEPIDLE, 1);
	right &= wait_queued(queued, 2);
	call_start(&call, &peer, make_shutdown);
	right &= wait_queued(queued, 3);
	connp_arrive(&peer, TH_ACK | TH_PUSH, "2", 1);
	right &= wait_queued(queued, 4) && !call.returned;
	release();
	right &= !call_end(&call);
	ksft_test_result(taken_so(&peer, "packet keepalive call packet ") &&
			 right,
			 "a packet, keepalive, a call, a packet\n");
	ksft_test_result(recv(peer.fd, data, sizeof(data), 0) == 2 &&
			 !memcmp(data, "12", 2) && connp_leaves(&peer, TH_FIN),
			 "and have the effect that they should\n");
	connp_peer_reset(&peer);
}

/* The retransmission timer fires, and then comes the ACK it has waited for. */
static void test_retransmission(void)
{
	struct connp_peer peer;
	long queued;
	bool right;
	char byte;

	connp_peer_connect_in(&peer, connp_held_group);
	connp_send(peer.fd, "x", 1);
	right = connp_leaves(&peer, TH_PUSH);
	/* It has perhaps fired, and will again. */
	hold();
	queued = connp_row("drained", connp_held_group);
	right &= wait_queued(queued, 1);
	connp_forget_left();
	connp_arrive(&peer, TH_ACK | TH_PUSH, "1", 1);
	right &= wait_queued(queued, 2);
	release();
	ksft_test_result(taken_so(&peer, "retrans packet ") && right,
			 "retransmission, a packet\n");
	/* Once more, because the timer did come first. */
	ksft_test_result(connp_leaves(&peer, TH_PUSH) &&
			 recv(peer.fd, &byte, 1, 0) == 1 && byte == '1',
			 "and have the effect that they should\n");
	connp_peer_reset(&peer);
}

/* Data and the end of it are queued before a call. */
static void test_call_after(bool closes)
{
	const char *name = closes ? "close()" : "shutdown()";
	struct call call;
	struct connp_peer peer;
	long queued;
	bool right;
	char data[4];
	unsigned int in;

	connp_peer_connect_in(&peer, connp_held_group);
	hold();
	queued = connp_row("queued", connp_held_group);
	connp_arrive(&peer, TH_ACK | TH_PUSH, "12", 2);
	connp_arrive(&peer, TH_ACK | TH_FIN, "", 0);
	right = wait_queued(queued, 2);
	call_start(&call, &peer, closes ? close : make_shutdown);
	right &= wait_queued(queued, 3) && !call.returned;
	release();
	right &= !call_end(&call);
	ksft_test_result(right && taken_so(&peer, "packet packet call "),
			 "data, a FIN, then %s\n", name);
	if (closes) {
		/* Data that nobody will read. */
		ksft_test_result(connp_leaves(&peer, TH_RST),
				 "%s resets the connection\n", name);
		return;
	}
	right = connp_leaves(&peer, TH_FIN | TH_ACK);
	in = connp_state(peer.fd);
	ksft_print_msg("state %u; TCP_LAST_ACK is %u, TCP_CLOSING %u\n", in,
		       TCP_LAST_ACK, TCP_CLOSING);
	ksft_test_result(in == TCP_LAST_ACK, "%s knows of the FIN\n", name);
	connp_arrive(&peer, TH_ACK, "", 0);
	right &= recv(peer.fd, data, sizeof(data), 0) == 2 &&
		 !memcmp(data, "12", 2) && !recv(peer.fd, data, 1, 0);
	ksft_test_result(right, "%s: the data can be read, and its end\n",
			 name);
	close(peer.fd);
}

/* Both ends close: it ends without a reset. */
static void test_close_after_fin(void)
{
	struct call call;
	struct connp_peer peer;
	long queued;
	bool right;

	connp_peer_connect_in(&peer, connp_held_group);
	hold();
	queued = connp_row("queued", connp_held_group);
	connp_arrive(&peer, TH_ACK | TH_FIN, "", 0);
	right = wait_queued(queued, 1);
	call_start(&call, &peer, close);
	right &= wait_queued(queued, 2) && !call.returned;
	release();
	right &= !call_end(&call);
	ksft_test_result(right && taken_so(&peer, "packet call "),
			 "a FIN, then close()\n");
	right = connp_leaves(&peer, TH_FIN | TH_ACK);
	connp_arrive(&peer, TH_ACK, "", 0);
	/* That of the listener is left. */
	connp_wait_sockets(1);
	ksft_test_result(right, "close() after a FIN sends one, and it ends\n");
}

/* Whoever takes a connection out of its group is told all that came before. */
static void test_repair(void)
{
	struct call call;
	struct connp_peer peer;
	long queued;
	bool right;

	connp_peer_connect_in(&peer, connp_held_group);
	hold();
	queued = connp_row("queued", connp_held_group);
	connp_arrive(&peer, TH_ACK | TH_PUSH, "12", 2);
	right = wait_queued(queued, 1);
	call_start(&call, &peer, make_repair);
	right &= wait_queued(queued, 2) && !call.returned;
	release();
	right &= call_end(&call) == 2;
	ksft_test_result(right,
			 "data, then TCP_REPAIR, which knows of it\n");
	connp_set(peer.fd, IPPROTO_TCP, TCP_REPAIR, TCP_REPAIR_OFF_NO_WP);
	connp_peer_reset(&peer);
}

int main(void)
{
	unsigned int i;

	connp_need_groups();
	if (access(CONNP_MESSAGE_EVENT, W_OK))
		ksft_exit_skip("no event tcp_connp_message, is tracefs mounted?\n");
	threads = connp_has_threads();
	if (threads)
		connp_hold_open();
	connp_guard(restore);
	connp_start(14, 120);
	if (threads)
		connp_hold_choose();
	connp_peer_start(10);
	test_packets();
	if (threads) {
		test_keepalive();
		test_retransmission();
		test_call_after(true);
		test_call_after(false);
		test_close_after_fin();
		test_repair();
	} else {
		for (i = 0; i < 12; i++)
			ksft_test_result_skip("timers and calls: no threads to hold up\n");
	}
	ksft_finished();
}
