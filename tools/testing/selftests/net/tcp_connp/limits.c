// SPDX-License-Identifier: GPL-2.0
/*
 * The queue of a group is bounded. With bounds that are far too tight packets
 * are dropped or left to a kick, and counted; TCP delivers all data anyway.
 */
#include "connp_peer.h"
#include "connp_threads.h"

#define CONNECTIONS	4
/* More than a budget of 1, or a queue of 65536 bytes, takes. */
#define PILE		80
#define PILE_BYTES	1000
#define DROP_EVENT	CONNP_TRACING "events/skb/kfree_skb/enable"
#define REASON		"TCP_CONNP_QUEUE"

/* Of a sender of too many, and of another one: less than what all may have. */
#define CROWD		400
#define CROWD_SHARE	"64"
#define FEW		100
/* Writes whose memory is in use, each by reference, of the other one. */
#define ZEROCOPY	150
#define MSS		536

enum { BUDGET, QUEUE_PACKETS, QUEUE_BYTES, SHARE_PACKETS, LIMITS };

static struct connp_sysctl limits[LIMITS] = {
	{ .name = "budget" }, { .name = "queue_packets" },
	{ .name = "queue_bytes" }, { .name = "share_packets" },
};

static size_t transfer;
static bool threads;

static void set_limit(unsigned int limit, const char *value)
{
	if (!connp_sysctl_write(&limits[limit], value))
		ksft_exit_fail_perror(limits[limit].name);
}

static void restore_limits(void)
{
	unsigned int i;

	for (i = 0; i < LIMITS; i++)
		connp_sysctl_restore(&limits[i]);
	if (threads)
		connp_hold_restore();
}

static void *sender(void *argument)
{
	struct connp_pair *pair = argument;
	char *data = malloc(transfer);

	connp_fill(pair->client, 0, data, transfer);
	connp_send(pair->client, data, transfer);
	free(data);
	return NULL;
}

/* Several connections at once; true if all data is right. */
static bool transfer_all(void)
{
	struct connp_pair pairs[CONNECTIONS];
	pthread_t threads[CONNECTIONS];
	char *data = malloc(transfer);
	bool right = true;
	unsigned int i;

	for (i = 0; i < CONNECTIONS; i++) {
		connp_connect(CONNP_V4, &pairs[i]);
		threads[i] = connp_thread(sender, &pairs[i]);
	}
	for (i = 0; i < CONNECTIONS; i++) {
		connp_recv(pairs[i].server, data, transfer);
		right &= connp_check(pairs[i].client, 0, data, transfer);
		pthread_join(threads[i], NULL);
		connp_disconnect(&pairs[i]);
	}
	free(data);
	return right;
}

/*
 * Under a limit, have more packets wait than it allows for. A thread that is
 * quick never lets that happen, so it is held; without threads only a transfer
 * can bring it about.
 */
static void pile_up(unsigned int limit, const char *value)
{
	static const char data[PILE_BYTES];
	struct connp_peer peer;
	unsigned int i;

	connp_peer_connect_in(&peer, connp_held_group);
	set_limit(limit, value);
	connp_hold();
	for (i = 0; i < PILE; i++)
		connp_arrive(&peer, TH_ACK, data, sizeof(data));
	connp_release();
	connp_wait_drained();
	connp_peer_reset(&peer);
}

/* Transfer under a limit that makes @column count. */
static void test(unsigned int limit, const char *value, const char *column)
{
	long before = connp_groups(column);
	bool right;

	if (threads)
		pile_up(limit, value);
	set_limit(limit, value);
	right = transfer_all();
	set_limit(limit, limits[limit].saved);
	ksft_test_result(right, "%s=%s: all data arrives\n",
			 limits[limit].name, value);
	ksft_test_result(connp_groups(column) > before, "%s=%s: %s\n",
			 limits[limit].name, value, column);
}

/*
 * Nothing of it is acknowledged. Writes that follow one another would share a
 * reference, so something else is in between.
 */
static void write_by_reference(int fd)
{
	static char data[MSS];
	unsigned int i;

	connp_set(fd, SOL_SOCKET, SO_SNDBUF, 1 << 20);
	connp_set(fd, SOL_SOCKET, SO_ZEROCOPY, 1);
	for (i = 0; i < ZEROCOPY; i++)
		if (send(fd, data, 1, MSG_EOR) != 1 ||
		    send(fd, data, sizeof(data), MSG_ZEROCOPY | MSG_EOR) !=
		    sizeof(data))
			ksft_exit_fail_perror("send(MSG_ZEROCOPY)");
}

/*
 * Two peers of one group, whose thread is held. One sends more than its share of
 * the queue, which is refused; what the other one sends after it is not, however
 * many references there are of its socket.
 */
static void test_share(void)
{
	long before, crowd, others;
	struct connp_peer peers[2];
	char data[FEW];
	unsigned int i;

	if (!threads) {
		ksft_test_result_skip("share_packets: no thread can be held\n");
		return;
	}
	for (i = 0; i < 2; i++)
		connp_peer_connect_in(&peers[i], connp_held_group);
	write_by_reference(peers[1].fd);
	set_limit(SHARE_PACKETS, CROWD_SHARE);
	before = connp_groups("drops");
	connp_hold();
	for (i = 0; i < CROWD; i++)
		connp_arrive(&peers[0], TH_ACK | TH_PUSH, "a", 1);
	crowd = connp_groups("drops") - before;
	for (i = 0; i < FEW; i++)
		connp_arrive(&peers[1], TH_ACK | TH_PUSH, "b", 1);
	others = connp_groups("drops") - before - crowd;
	connp_release();
	connp_recv(peers[1].fd, data, FEW);
	connp_wait_drained();
	set_limit(SHARE_PACKETS, limits[SHARE_PACKETS].saved);
	for (i = 0; i < 2; i++)
		connp_peer_reset(&peers[i]);
	ksft_print_msg("of %u packets of one peer %ld were refused, of %u of another %ld\n",
		       CROWD, crowd, FEW, others);
	ksft_test_result(crowd > 0 && crowd < CROWD && !others,
			 "share_packets=%s: who sends too much is refused, others are not\n",
			 CROWD_SHARE);
}

static void test_drop_reason(void)
{
	if (access(DROP_EVENT, W_OK)) {
		ksft_test_result_skip("drop reason: no event skb:kfree_skb, is tracefs mounted?\n");
		return;
	}
	connp_trace(DROP_EVENT, true);
	if (threads)
		pile_up(QUEUE_PACKETS, "1");
	set_limit(QUEUE_PACKETS, "1");
	transfer_all();
	set_limit(QUEUE_PACKETS, limits[QUEUE_PACKETS].saved);
	connp_trace(DROP_EVENT, false);
	ksft_test_result(connp_traced(REASON), "the drop reason is " REASON "\n");
}

int main(void)
{
	unsigned int i;

	connp_need_groups();
	for (i = 0; i < LIMITS; i++)
		connp_sysctl_open(&limits[i]);
	threads = connp_has_threads();
	if (threads)
		connp_hold_open();
	connp_guard(restore_limits);
	connp_start(10, 120);
	if (threads) {
		connp_hold_choose();
		connp_peer_start(10);
	}
	/* Windows that allow for more than one of loopback's 64 KiB packets. */
	connp_write_file("/proc/sys/net/ipv4/tcp_rmem", "4096 2097152 6291456");
	connp_write_file("/proc/sys/net/ipv4/tcp_wmem", "4096 2097152 4194304");
	transfer = connp_loops(1024) << 10;
	test(BUDGET, "1", "kicks");
	test(QUEUE_PACKETS, "1", "drops");
	test(QUEUE_BYTES, "65536", "drops");
	test_share();
	test_drop_reason();
	ksft_test_result(transfer_all(), "with the limits restored\n");
	ksft_test_result(connp_wait_drained(),
			 "all that was queued is drained\n");
	ksft_finished();
}
