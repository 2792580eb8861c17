// SPDX-License-Identifier: GPL-2.0
/*
 * A process makes the receive buffer of a connection smaller than what is in it.
 * TCP goes on with what it has not to keep: the peer's ACKs, and the segment that
 * fills a hole, for which it may throw away what came out of order. A backlog has no
 * room for either of them, so what nobody owns must not have to go by one.
 *
 * The test plays the peer, behind a TUN device.
 */
#include <linux/sock_diag.h>
#include <linux/sockios.h>

#include "connp_peer.h"

#define SEGMENTS	600
#define SEGMENT		100
/* What TCP sends again, it may have to send so often. */
#define TIMES		4
#define SMALL		4096

/*
 * A peer sends much, which is not read, behind a hole of so many bytes; then
 * there is no room for it.
 */
static bool fill_and_shrink(struct connp_peer *peer, unsigned int hole)
{
	static const char data[SEGMENT];
	unsigned int info[SK_MEMINFO_VARS], i;
	static const int large = 1 << 20;
	socklen_t len = sizeof(info);
	int fd;

	connp_peer_connect(peer);
	fd = peer->fd;
	if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &large, sizeof(large)))
		ksft_exit_fail_perror("SO_RCVBUFFORCE");
	connp_set(fd, SOL_SOCKET, SO_SNDBUF, SMALL);
	peer->seq += hole;
	for (i = 0; i < SEGMENTS; i++)
		connp_arrive(peer, TH_ACK, data, sizeof(data));
	if (connp_groups_fd >= 0)
		connp_wait_drained();
	connp_set(fd, SOL_SOCKET, SO_RCVBUF, SMALL);
	connp_forget_left();
	if (getsockopt(fd, SOL_SOCKET, SO_MEMINFO, info, &len))
		ksft_exit_fail_perror("SO_MEMINFO");
	ksft_print_msg("%u bytes of memory in a buffer of %u\n",
		       info[SK_MEMINFO_RMEM_ALLOC], info[SK_MEMINFO_RCVBUF]);
	/* More than a backlog may have, see tcp_add_backlog(). */
	return info[SK_MEMINFO_RMEM_ALLOC] >
	       2 * info[SK_MEMINFO_RCVBUF] + info[SK_MEMINFO_SNDBUF] / 2 +
	       64 * 1024;
}

static bool acknowledged(int fd)
{
	double start = connp_ms();
	int left = 1;

	while (connp_ms() - start < CONNP_PEER_MS) {
		if (ioctl(fd, SIOCOUTQ, &left))
			ksft_exit_fail_perror("SIOCOUTQ");
		if (!left)
			break;
		usleep(10000);
	}
	return !left;
}

/* A socket that is owned, as by close(), may refuse what it has no room for. */
static void reset(struct connp_peer *peer)
{
	connp_arrive(peer, TH_RST, "", 0);
	if (connp_groups_fd >= 0)
		connp_wait_drained();
	close(peer->fd);
}

static void test_ack(void)
{
	struct connp_peer peer;
	bool right = fill_and_shrink(&peer, 0);

	connp_send(peer.fd, "x", 1);
	right &= connp_leaves(&peer, TH_PUSH);
	connp_arrive(&peer, TH_ACK, "", 0);
	ksft_test_result(right && acknowledged(peer.fd),
			 "with much unread an ACK is processed\n");
	reset(&peer);
}

static void test_hole(void)
{
	struct connp_peer peer;
	bool right = fill_and_shrink(&peer, SEGMENT);
	struct pollfd pollfd = { .fd = peer.fd, .events = POLLIN };
	unsigned int hole = peer.seq - (SEGMENTS + 1) * SEGMENT, i;
	char data[SEGMENT], got[SEGMENT] = {};

	memset(data, 'x', sizeof(data));
	for (i = 0; i < TIMES; i++) {
		peer.seq = hole;
		connp_arrive(&peer, TH_ACK, data, sizeof(data));
		if (poll(&pollfd, 1, CONNP_PEER_MS / TIMES) == 1)
			break;
	}
	right &= recv(peer.fd, got, sizeof(got), MSG_DONTWAIT) == SEGMENT;
	ksft_test_result(right && !memcmp(got, data, sizeof(got)),
			 "with much out of order a hole is filled\n");
	reset(&peer);
}

int main(void)
{
	connp_start(4, 120);
	connp_peer_start(10);
	test_ack();
	test_hole();
	ksft_test_result(!connp_tcpext("TCPBacklogDrop"),
			 "nothing is dropped for want of backlog\n");
	close(connp_peer_listener);
	connp_wait_sockets(0);
	ksft_test_result(connp_wait_conns(0), "no connection is left in a group\n");
	ksft_finished();
}
