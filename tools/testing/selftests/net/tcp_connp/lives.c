// SPDX-License-Identifier: GPL-2.0
/*
 * What is still queued for a connection that ends must end with it: the socket
 * may be used again, and packets of its earlier life are nothing to its next
 * one. In ConnP-T the group's thread is kept from running while connect() to
 * nowhere or close() waits on the queue, so the packets come behind the call,
 * and others for the thread to do behind these. Elsewhere they come before it,
 * as in stock, and the same is expected of the socket.
 *
 * And a connection may be killed before it is accepted: whoever closes the listener
 * does not expect, nor wait for, an owner of it.
 */
#include <signal.h>

#include "connp_peer.h"
#include "connp_readers.h"
#include "connp_threads.h"

/* Keep the thread busy while its caller goes on. */
#define OTHERS		4000
/* Where nobody is. */
#define NOWHERE		(CONNP_PEER_THEIRS + 1)

/* What a process does with the socket of a connection. */
enum next {
	RECONNECT,
	LISTEN,
	CLOSE,
};

struct life {
	struct connp_peer *peer;
	enum next next;
	int result;
	atomic_bool done;
	pthread_t thread;
};

static bool threads;

static void *live(void *argument)
{
	struct sockaddr nowhere = { .sa_family = AF_UNSPEC };
	struct sockaddr_in sin = {
		.sin_family = AF_INET, .sin_port = htons(CONNP_PEER_PORT),
		.sin_addr.s_addr = htonl(NOWHERE),
	};
	struct life *life = argument;
	int fd = life->peer->fd;

	if (life->next == CLOSE) {
		life->result = close(fd);
		return NULL;
	}
	life->result = connect(fd, &nowhere, sizeof(nowhere));
	if (life->next == LISTEN) {
		life->result |= listen(fd, 10);
	} else if (!connect(fd, (void *)&sin, sizeof(sin)) ||
		   errno != EINPROGRESS) {
		ksft_print_msg("connect: %s\n", strerror(errno));
		life->result = -1;
	}
	life->done = true;
	return NULL;
}

/*
 * The process goes on to its socket's next life while @flags arrive for this
 * one. Returns true if it could.
 */
static bool next_life(struct connp_peer *peer, enum next next,
		      unsigned char flags)
{
	struct life life = { .peer = peer, .next = next };
	struct connp_peer other;
	unsigned int i;
	long queued = 0;

	connp_peer_connect_in(&other, connp_held_group);
	fcntl(peer->fd, F_SETFL, O_NONBLOCK);
	if (threads) {
		connp_wait_drained();
		connp_hold();
		queued = connp_row("queued", connp_held_group);
		life.thread = connp_thread(live, &life);
		/* The alarm() of the test bounds it. */
		while (connp_row("queued", connp_held_group) == queued)
			usleep(1000);
	}
	connp_arrive(peer, flags, "", 0);
	for (i = 0; threads && i < OTHERS; i++)
		connp_arrive(&other, TH_ACK, "", 0);
	if (threads)
		connp_release();
	else
		life.thread = connp_thread(live, &life);
	pthread_join(life.thread, NULL);
	if (threads)
		connp_wait_drained();
	connp_peer_reset(&other);
	return !life.result;
}

/* The old peer says something that the socket might take for the new one's. */
static void test_reconnect(unsigned char flags, const char *what)
{
	struct connp_peer peer;
	unsigned int is;
	bool right;

	connp_peer_connect_in(&peer, connp_held_group);
	/* The numbers of the old life have to look right in the new one. */
	connp_send(peer.fd, "unacknowledged", 14);
	right = connp_leaves(&peer, TH_PUSH);
	right &= next_life(&peer, RECONNECT, flags);
	is = connp_state(peer.fd);
	ksft_print_msg("state %u; TCP_SYN_SENT is %u\n", is, TCP_SYN_SENT);
	ksft_test_result(right && is == TCP_SYN_SENT,
			 "connected elsewhere, %s of the old peer is not the new one's\n",
			 what);
	close(peer.fd);
}

/* Until a thread is done, or has queued a call on the group, and waits for it. */
static void wait_done_or_queued(const atomic_bool *done, long queued)
{
	while (!*done &&
	       !(threads && connp_row("queued", connp_held_group) > queued))
		usleep(1000);
}

/*
 * What has been queued while the connection was in a group, which it leaves on the
 * way to its next life: a SYN, which would cross its own there.
 */
static void test_left(void)
{
	struct connp_peer peer;
	struct life life = { .peer = &peer, .next = RECONNECT };
	unsigned int is;
	long queued = 0;

	connp_peer_connect_in(&peer, connp_held_group);
	signal(SIGIO, SIG_IGN);
	if (fcntl(peer.fd, F_SETOWN, getpid()) ||
	    fcntl(peer.fd, F_SETFL, O_ASYNC | O_NONBLOCK))
		ksft_exit_fail_perror("O_ASYNC");
	if (threads) {
		connp_wait_drained();
		connp_hold();
	}
	connp_arrive(&peer, TH_SYN, "", 0);
	if (threads)
		queued = connp_row("queued", connp_held_group);
	life.thread = connp_thread(live, &life);
	wait_done_or_queued(&life.done, queued);
	if (threads)
		connp_release();
	pthread_join(life.thread, NULL);
	if (threads)
		connp_wait_drained();
	is = connp_state(peer.fd);
	ksft_test_result(!life.result && is == TCP_SYN_SENT,
			 "out of its group and connected elsewhere, a SYN from before does not cross the new one's\n");
	close(peer.fd);
}

/* A segment that a listener would understand. */
static void test_listen(unsigned char flags, const char *what)
{
	struct connp_peer peer;
	unsigned int is;
	bool right;

	connp_peer_connect_in(&peer, connp_held_group);
	right = next_life(&peer, LISTEN, flags);
	is = connp_state(peer.fd);
	ksft_test_result(right && is == TCP_LISTEN &&
			 accept(peer.fd, NULL, NULL) < 0 && errno == EAGAIN,
			 "listening, %s of the old peer is not heard\n", what);
	close(peer.fd);
}

/* Wait until all that the peer has sent is acknowledged. */
static bool acknowledged(const struct connp_peer *peer)
{
	struct pollfd pollfd = { .fd = connp_tun, .events = POLLIN };
	struct connp_packet packet;

	while (poll(&pollfd, 1, CONNP_PEER_MS) == 1)
		if (read(connp_tun, &packet, sizeof(packet)) >= 40 &&
		    packet.ip.protocol == IPPROTO_TCP &&
		    packet.tcp.dest == htons(peer->port) &&
		    packet.tcp.ack_seq == htonl(peer->seq))
			return true;
	return false;
}

/* It has sent its FIN, and is closed while the peer's comes. */
static void test_fin(void)
{
	struct connp_peer peer;
	bool right;

	connp_peer_connect_in(&peer, connp_held_group);
	shutdown(peer.fd, SHUT_WR);
	right = connp_leaves(&peer, TH_FIN);
	connp_arrive(&peer, TH_ACK, "", 0);
	if (connp_groups_fd >= 0)
		connp_wait_drained();
	right &= next_life(&peer, CLOSE, TH_ACK | TH_FIN);
	ksft_test_result(right && acknowledged(&peer),
			 "closed, the FIN of the peer is not lost\n");
}

/*
 * It is closed, and the peer acknowledges that. What is queued behind, for
 * another connection, is no reason to keep the whole socket.
 */
static void test_time_wait(void)
{
	struct connp_peer peer, other;
	int before = connp_time_waits();
	unsigned int i;
	bool left;

	connp_peer_connect_in(&peer, connp_held_group);
	connp_peer_connect_in(&other, connp_held_group);
	close(peer.fd);
	left = connp_leaves(&peer, TH_FIN);
	if (threads) {
		connp_wait_drained();
		connp_hold();
	}
	connp_arrive(&peer, TH_ACK, "", 0);
	for (i = 0; i < 100; i++)
		connp_arrive(&other, TH_ACK, "", 0);
	if (threads)
		connp_release();
	if (connp_groups_fd >= 0)
		connp_wait_drained();
	ksft_test_result(left && connp_time_waits() == before + 1,
			 "closed, a TIME_WAIT is left, whoever else is busy\n");
	connp_peer_reset(&other);
	/* Its FIN_WAIT2 ends with it. */
	connp_arrive(&peer, TH_RST, "", 0);
}

static struct victim {
	struct connp_peer peer;
	struct inet_diag_msg msg;
	pthread_t thread;
	atomic_bool done;
	bool killed;
} victim;

static void find_victim(struct inet_diag_msg *msg)
{
	if (msg->id.idiag_dport == htons(victim.peer.port))
		victim.msg = *msg;
}

static void *kill_victim(void *argument)
{
	victim.killed = connp_kill(&victim.msg);
	victim.done = true;
	return argument;
}

/* A kernel that has warned is tainted for good. */
static bool has_warned(void)
{
	char text[32] = {};
	int fd = open("/proc/sys/kernel/tainted", O_RDONLY | O_CLOEXEC);

	if (fd < 0 || read(fd, text, sizeof(text) - 1) <= 0)
		ksft_exit_fail_perror("/proc/sys/kernel/tainted");
	close(fd);
	return strtoul(text, NULL, 0) & 1 << 9;
}

/* To be the last with a listener. */
static void test_killed(void)
{
	bool warned = has_warned();
	long queued = 0;

	for (;;) {
		connp_peer_open(&victim.peer);
		if (connp_held_group == CONNP_ANY_GROUP ||
		    victim.peer.group == connp_held_group)
			break;
		connp_peer_accept(&victim.peer);
		connp_peer_reset(&victim.peer);
	}
	connp_diag_dump(AF_INET, find_victim);
	if (threads) {
		connp_wait_drained();
		connp_hold();
		queued = connp_row("queued", connp_held_group);
	}
	victim.thread = connp_thread(kill_victim, NULL);
	wait_done_or_queued(&victim.done, queued);
	close(connp_peer_listener);
	if (threads)
		connp_release();
	pthread_join(victim.thread, NULL);
	if (warned)
		ksft_test_result_skip("killed before it is accepted: the kernel has warned already\n");
	else
		ksft_test_result(victim.killed && !has_warned(),
				 "killed before it is accepted, the listener is closed\n");
}

static void restore(void)
{
	if (threads)
		connp_hold_restore();
}

int main(void)
{
	threads = connp_has_threads();
	if (threads)
		connp_hold_open();
	connp_guard(restore);
	connp_start(9, 120);
	if (threads)
		connp_hold_choose();
	connp_peer_start(10);
	/* For those that listen in their next life. */
	connp_set(connp_peer_listener, SOL_SOCKET, SO_REUSEPORT, 1);
	test_fin();
	test_time_wait();
	test_reconnect(TH_SYN | TH_ACK, "a SYN-ACK");
	test_reconnect(TH_RST | TH_ACK, "a RST");
	test_left();
	test_listen(TH_ACK, "an ACK");
	test_listen(TH_SYN, "a SYN");
	test_killed();
	connp_wait_sockets(0);
	ksft_test_result(connp_wait_conns(0), "no connection is left in a group\n");
	ksft_finished();
}
