// SPDX-License-Identifier: GPL-2.0
/*
 * A process that sleeps in the middle of sendmsg() or recvmsg(), because the
 * page it copies from or to is not there, must not hold up other connections
 * of its group: with tcp_connp.groups=1 these are all connections. The page is
 * withheld by userfaultfd until the others have got their data through.
 *
 * What comes for the socket meanwhile is on its backlog, which may be much longer
 * than a group's queue. When it is the group's turn to work that off, it does so
 * in parts, so that others get their turn in between, and of these also those that
 * have a backlog themselves. A timer that has fired waits for the last part.
 */
#include "connp_withheld.h"
#include "connp_peer.h"
#include "connp_threads.h"

#define OTHERS		4
#define BULK		1048576

/* Packets on a backlog; how many are worked off at a time. */
#define BACKLOG		2000
#define PART		32
#define BUDGET		64
#define PIECE		1024
/* Not in all headers. */
#ifndef TH_ECE
#define TH_ECE		0x40
#endif

static size_t size;
static bool threads, may_hold;

static void *bulk_sender(void *argument)
{
	struct connp_pair *pair = argument;
	char buf[8192];
	size_t pos;

	for (pos = 0; pos < BULK; pos += sizeof(buf)) {
		connp_fill(pair->client, pos, buf, sizeof(buf));
		connp_send(pair->client, buf, sizeof(buf));
	}
	return NULL;
}

/* Have connections of the same group, old and new, transfer data. */
static bool others_progress(struct connp_pair *others)
{
	pthread_t threads[OTHERS];
	struct connp_pair fresh;
	bool right = true;
	char buf[8192];
	size_t pos;
	int i;

	for (i = 0; i < OTHERS; i++)
		threads[i] = connp_thread(bulk_sender, &others[i]);
	for (i = 0; i < OTHERS; i++) {
		for (pos = 0; pos < BULK; pos += sizeof(buf)) {
			connp_recv(others[i].server, buf, sizeof(buf));
			right &= connp_check(others[i].client, pos, buf,
					     sizeof(buf));
		}
		pthread_join(threads[i], NULL);
	}
	connp_connect(CONNP_V4, &fresh);
	connp_send(fresh.client, "x", 1);
	connp_recv(fresh.server, buf, 1);
	connp_disconnect(&fresh);
	return right;
}

static void test(bool sends)
{
	const char *who = sends ? "sender" : "reader";
	struct connp_pair others[OTHERS], pair;
	long before = connp_lost();
	struct connp_stall stalled = {};
	char *content, *other_end;
	bool right, stuck;
	int i;

	content = malloc(size);
	other_end = malloc(size);
	connp_fill(1000, 0, content, size);
	connp_connect(CONNP_V4, &pair);
	for (i = 0; i < OTHERS; i++)
		connp_connect(CONNP_V4, &others[i]);

	stalled.memory = connp_uffd_withhold();
	stalled.sends = sends;
	stalled.fd = pair.client;
	if (sends)
		memcpy(stalled.memory, content, connp_page);
	else
		connp_send(pair.server, content, size);
	connp_stall_start(&stalled);
	connp_uffd_wait();

	right = others_progress(others);
	stuck = !stalled.done;
	ksft_test_result(right && stuck,
			 "a %s without its page: other connections transfer data\n",
			 who);

	/* Packets for the socket that is owned meanwhile. */
	if (sends)
		connp_send(pair.server, "x", 1);

	connp_uffd_supply(stalled.memory, content);
	if (sends)
		connp_recv(pair.server, other_end, size);
	pthread_join(stalled.thread, NULL);
	right = !memcmp(sends ? other_end : stalled.memory, content,
			size);
	ksft_test_result(right, "a %s with its page: its data is right\n", who);
	connp_expect_no_loss(before, who);

	connp_disconnect(&pair);
	for (i = 0; i < OTHERS; i++)
		connp_disconnect(&others[i]);
	munmap(stalled.memory, size);
	free(content);
	free(other_end);
}

/* Fill the backlog of a peer's connection, whose owner is elsewhere. */
static void fill_backlog(struct connp_peer *peer, unsigned int packets)
{
	unsigned int i;

	/* Or one would be merged with the next. */
	for (i = 0; i < packets; i++)
		connp_arrive(peer, TH_ACK | (i % 2 ? TH_ECE : 0), "", 0);
	connp_wait_drained();
}

/* Have a reader stall on the rest of what it asked for, when @arrived is there. */
static void stall_reader(struct connp_peer *peer, struct connp_stall *stalled,
			 const char *content, size_t arrived)
{
	int buf = 4 << 20;
	size_t pos;

	if (setsockopt(peer->fd, SOL_SOCKET, SO_RCVBUFFORCE, &buf, sizeof(buf)))
		ksft_exit_fail_perror("SO_RCVBUFFORCE");
	for (pos = 0; pos < arrived; pos += PIECE)
		connp_arrive(peer, TH_ACK | TH_PUSH, content, PIECE);
	connp_wait_drained();
	stalled->fd = peer->fd;
	stalled->memory = connp_uffd_withhold();
	connp_stall_start(stalled);
	connp_uffd_wait();
}

/*
 * A reader that has what it asked for leaves its backlog to the next call. If it
 * waited for its group, more would come meanwhile, and perhaps never anything to
 * read.
 */
static void test_leaves(void)
{
	static const char name[] = "a reader does not wait for its backlog";
	struct connp_stall stalled = {};
	struct connp_peer peer;
	char *content;
	size_t pos;

	if (connp_groups_fd < 0) {
		ksft_test_result_skip("%s: stock's does\n", name);
		return;
	}
	content = calloc(1, size);
	connp_peer_connect(&peer);
	stall_reader(&peer, &stalled, content, size / 2);
	for (pos = size / 2; pos < size; pos += PIECE)
		connp_arrive(&peer, TH_ACK | TH_PUSH, content, PIECE);
	connp_wait_drained();
	connp_uffd_supply(stalled.memory, content);
	pthread_join(stalled.thread, NULL);
	ksft_print_msg("%zd bytes of %zu\n", stalled.got, size);
	ksft_test_result((size_t)stalled.got == size / 2, "%s\n", name);
	connp_peer_reset(&peer);
	munmap(stalled.memory, size);
	free(content);
}

/*
 * A reader's backlog is worked off by the thread: when recv() is done, or by a call
 * of close(), which comes right after that.
 */
static void test_backlog(bool call)
{
	const char *when = call ? "before close()" : "after recv()";
	char *content = calloc(1, size);
	struct connp_stall stalled = {};
	struct connp_peer peer;
	long queued, kicks;
	unsigned int i;

	if (!threads) {
		for (i = 0; i < 2; i++)
			ksft_test_result_skip("a long backlog, %s: the owner's own work\n",
					      when);
		return;
	}
	connp_peer_connect(&peer);
	stall_reader(&peer, &stalled, content, size);
	fill_backlog(&peer, BACKLOG);
	/* The reader has it until it is back from the kernel. */
	if (call) {
		close(peer.fd);
		peer.fd = -1;
	}
	queued = connp_groups("queued");
	kicks = connp_groups("kicks");
	connp_uffd_supply(stalled.memory, content);
	pthread_join(stalled.thread, NULL);
	connp_wait_drained();
	queued = connp_groups("queued") - queued;
	kicks = connp_groups("kicks") - kicks;
	ksft_print_msg("%s: %u packets of backlog, %ld parts, %ld kicks\n", when,
		       BACKLOG, queued, kicks);
	ksft_test_result(queued >= BACKLOG / PART,
			 "a long backlog, %s: no more than %u packets in a part\n",
			 when, PART);
	/* What exceeds the budget is another turn's; a turn has it twice. */
	ksft_test_result(kicks >= BACKLOG / (2 * (BUDGET + PART)) - 1,
			 "a long backlog, %s: its packets are on the budget\n",
			 when);
	connp_peer_reset(&peer);
	munmap(stalled.memory, size);
	free(content);
}

/*
 * Two of a group have a backlog when their owners let go, a long one and a short
 * one. The short one is not worked off after the long one, but beside it: the
 * thread does not look at it each time, and find that it may do nothing.
 */
static void test_two_backlogs(void)
{
	static const char name[] = "a short backlog does not wait for a long one";
	static const unsigned int packets[] = { BACKLOG, BACKLOG / 20 };
	struct connp_stall stalled[ARRAY_SIZE(packets)] = {};
	struct connp_peer peers[ARRAY_SIZE(packets)];
	unsigned int i, parts = 0;
	char *content;
	long queued;

	if (!may_hold) {
		ksft_test_result_skip("%s: no thread can be held\n", name);
		return;
	}
	content = calloc(1, size);
	connp_hold_choose();
	for (i = 0; i < ARRAY_SIZE(packets); i++) {
		connp_peer_connect_in(&peers[i], connp_held_group);
		stall_reader(&peers[i], &stalled[i], content, size);
	}
	for (i = 0; i < ARRAY_SIZE(packets); i++) {
		fill_backlog(&peers[i], packets[i]);
		parts += packets[i] / PART + 1;
	}
	queued = connp_row("queued", connp_held_group);
	connp_hold();
	for (i = 0; i < ARRAY_SIZE(packets); i++) {
		connp_uffd_supply(stalled[i].memory, content);
		pthread_join(stalled[i].thread, NULL);
	}
	connp_release();
	connp_wait_drained();
	queued = connp_row("queued", connp_held_group) - queued;
	ksft_print_msg("%u and %u packets of backlog, %ld parts\n", packets[0],
		       packets[1], queued);
	/* Each of them had work in (almost) all of its own. */
	ksft_test_result(queued <= parts + 8, "%s\n", name);
	for (i = 0; i < ARRAY_SIZE(packets); i++) {
		connp_peer_reset(&peers[i]);
		munmap(stalled[i].memory, size);
	}
	free(content);
}

/* In how many ticks will the retransmission timer of our end fire? -1: not at all */
static long retransmits_in(const struct connp_peer *peer)
{
	unsigned int local, remote, timer;
	char line[512];
	long in = -1;
	FILE *f = fopen("/proc/net/tcp", "r");
	unsigned long when;

	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, " %*d: %*x:%x %*x:%x %*x %*x:%*x %x:%lx",
			   &local, &remote, &timer, &when) == 4 &&
		    local == CONNP_PEER_PORT && remote == peer->port &&
		    timer == 1)
			in = when;
	if (f)
		fclose(f);
	return in;
}

/*
 * The retransmission timer fires while the owner is elsewhere, and the ACK that it
 * waited for is on the backlog, behind more than is worked off at a time.
 */
static void test_timer(void)
{
	static const char name[] = "a retransmission waits for all of a backlog";
	struct connp_stall stalled = {};
	struct connp_packet packet;
	struct connp_peer peer;
	long queued, retransmitted;
	unsigned int i;
	char *content;

	if (!threads) {
		ksft_test_result_skip("%s: the owner's own work\n", name);
		return;
	}
	content = calloc(1, size);
	connp_peer_connect(&peer);
	connp_send(peer.fd, "x", 1);
	stall_reader(&peer, &stalled, content, size);
	queued = connp_groups("queued");
	while (retransmits_in(&peer) || connp_groups("queued") == queued)
		usleep(10000);
	connp_wait_drained();
	retransmitted = connp_counter("/proc/net/snmp", "Tcp:", "RetransSegs");
	/* Of data that was there before, so that they acknowledge nothing. */
	for (i = 0; i < 3 * PART; i++) {
		connp_packet_init(&packet, &peer, TH_ACK);
		packet.tcp.seq = htonl(peer.seq - PIECE);
		packet.data[0] = 0;
		connp_packet_arrive(&packet, 1);
	}
	peer.ack++;
	connp_arrive(&peer, TH_ACK, "", 0);
	connp_wait_drained();
	connp_uffd_supply(stalled.memory, content);
	pthread_join(stalled.thread, NULL);
	connp_wait_drained();
	retransmitted = connp_counter("/proc/net/snmp", "Tcp:", "RetransSegs") -
			retransmitted;
	ksft_print_msg("%ld segments were sent again\n", retransmitted);
	ksft_test_result(!retransmitted && retransmits_in(&peer) < 0, "%s\n",
			 name);
	connp_peer_reset(&peer);
	munmap(stalled.memory, size);
	free(content);
}

static void restore(void)
{
	if (may_hold)
		connp_hold_restore();
}

int main(void)
{
	const char *lacks;
	cpu_set_t online;

	threads = connp_has_threads();
	connp_online(&online);
	may_hold = threads && CPU_COUNT(&online) > 1;
	if (may_hold)
		connp_hold_open();
	connp_guard(restore);
	connp_start(13, 60);
	size = connp_withheld_size();
	lacks = connp_uffd_open();
	if (lacks)
		ksft_exit_skip("%s\n", lacks);
	test(true);
	test(false);
	connp_peer_start(10);
	test_leaves();
	test_backlog(true);
	test_backlog(false);
	test_two_backlogs();
	test_timer();
	ksft_finished();
}
