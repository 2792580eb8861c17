// SPDX-License-Identifier: GPL-2.0
/*
 * A bad neighbour in the group must not take its time from other connections.
 *
 * Many paced flows, all in one group, offer data at a rate that the machine
 * can well carry. Windows of time without and with the neighbour alternate; the
 * flows' throughput with it is at least 80 % of that without. Neighbours are
 * processes that stall in sendmsg() or recvmsg() on a page that is withheld,
 * peers that send tiny segments out of order or storms of SACK blocks, a SYN
 * flood, readers that never read, and one that has itself woken thousands of times
 * for each byte.
 *
 * The flows are paced because a neighbour may have its share of the CPUs, in
 * stock as well. What they must not do is to wait for it longer than that.
 *
 * Nobody can choose a group, so a kernel that has groups must have one only.
 * Where others are there as well, as in make soak, a share says nothing: there the
 * neighbours do what they do, and what the flows send has to arrive.
 */
#include <sys/epoll.h>
#include <sys/resource.h>

#include "connp_peer.h"
#include "connp_withheld.h"

#define KEPT		0.8
#define MESSAGE		256
/*
 * Messages that each flow sends in a window, which is shorter where the machine is
 * so slow that it would take longer than this, in ms; twice that at length.
 */
#define ROUNDS		16
#define ROUNDS_MIN	2
#define WINDOW_MAX	2500
/* A round takes so many times as long as it would at full speed... */
#define SPARE		5
/* ...and so long, in ms, at least. */
#define PERIOD_MIN	20
#define MAX_PAIRS	9
/* Duplicates of a descriptor, each in so many epoll instances. */
#define CROWD		60
/* Tiny segments at a time. */
#define TINY_BATCH	64

struct neighbour {
	const char *name;
	/* NULL, or why it can't be. */
	const char *(*open)(void);
	/* A thread's work until stopping is set, or what begins and ends. */
	void (*attack)(void);
	void (*begin)(void);
	void (*end)(void);
	void (*close)(void);
};

static struct connp_pair *flows;
static unsigned int nr_flows;
static int epoll;
/* Bytes of all flows ever sent, and received. */
static size_t sent, received;
static double period;
static unsigned int rounds = ROUNDS;

static atomic_bool stopping;
/* What the neighbour has done: packets sent, calls that stalled. */
static atomic_ulong deeds;

static void open_flows(void)
{
	struct epoll_event event = { .events = EPOLLIN };
	struct rlimit limit;
	unsigned int i;

	limit.rlim_cur = 2 * nr_flows + 2 * CROWD + 100;
	limit.rlim_max = limit.rlim_cur;
	if (setrlimit(RLIMIT_NOFILE, &limit))
		ksft_exit_fail_perror("RLIMIT_NOFILE");
	flows = calloc(nr_flows, sizeof(*flows));
	epoll = epoll_create1(EPOLL_CLOEXEC);
	if (!flows || epoll < 0)
		ksft_exit_fail_perror("epoll_create1");
	for (i = 0; i < nr_flows; i++) {
		connp_connect(CONNP_V4, &flows[i]);
		event.data.fd = flows[i].server;
		if (epoll_ctl(epoll, EPOLL_CTL_ADD, flows[i].server, &event))
			ksft_exit_fail_perror("epoll_ctl");
	}
}

static void receive(int timeout)
{
	struct epoll_event events[64];
	char buf[16 * MESSAGE];
	int i, n;
	ssize_t len;

	n = epoll_wait(epoll, events, ARRAY_SIZE(events), timeout);
	for (i = 0; i < n; i++) {
		len = recv(events[i].data.fd, buf, sizeof(buf), MSG_DONTWAIT);
		if (len <= 0)
			ksft_exit_fail_perror("recv on a flow");
		received += len;
	}
}

/*
 * All flows send @times messages, each when it is due; at full speed without a
 * period. Returns the throughput until all of them have arrived, in messages
 * per ms.
 */
static double window(unsigned int times)
{
	static const char message[MESSAGE];
	unsigned int due, all = times * nr_flows, i = 0;
	double start = connp_ms(), passed = 0;
	/* What arrives so late makes no difference any more. */
	double patience = 4 * times * period;
	size_t before = received;
	ssize_t n;

	while (received - before < (size_t)all * MESSAGE &&
	       (!period || passed < patience)) {
		due = all;
		if (period && passed < times * period)
			due = passed / period * nr_flows;
		for (; i < due; i++) {
			n = send(flows[i % nr_flows].client, message, MESSAGE,
				 MSG_DONTWAIT | MSG_NOSIGNAL);
			if (n > 0)
				sent += n;
			if (n != MESSAGE)
				break;
		}
		receive(1);
		passed = connp_ms() - start;
	}
	return (received - before) / passed / MESSAGE;
}

/* Wait for what a window did not wait for. */
static void settle(void)
{
	while (received < sent)
		receive(100);
	if (connp_groups_fd >= 0)
		connp_wait_drained();
}

static void choose_period(void)
{
	double longest = connp_full() ? 2 * WINDOW_MAX : WINDOW_MAX, rate;

	/* The first time is slower. */
	window(1);
	rate = window(4);
	period = SPARE * nr_flows / rate;
	if (period < PERIOD_MIN)
		period = PERIOD_MIN;
	if (rounds * period > longest)
		rounds = longest / period;
	if (rounds < ROUNDS_MIN)
		rounds = ROUNDS_MIN;
	ksft_print_msg("%u flows at %.2f messages/ms, of %.1f, %u in a window\n",
		       nr_flows, nr_flows / period, rate, rounds);
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static double median(double *values, unsigned int n)
{
	qsort(values, n, sizeof(*values), compare);
	return values[n / 2];
}

static void *attack_run(void *argument)
{
	const struct neighbour *neighbour = argument;

	while (!stopping)
		neighbour->attack();
	return NULL;
}

static double window_with(struct neighbour *neighbour)
{
	pthread_t thread;
	double rate;

	if (!neighbour->attack) {
		neighbour->begin();
		rate = window(rounds);
		neighbour->end();
		return rate;
	}
	stopping = false;
	thread = connp_thread(attack_run, neighbour);
	rate = window(rounds);
	stopping = true;
	pthread_join(thread, NULL);
	return rate;
}

static void test(struct neighbour *neighbour)
{
	unsigned int i, pairs = connp_full() ? MAX_PAIRS : 3;
	double without[MAX_PAIRS], with[MAX_PAIRS], share;
	const char *lacks = neighbour->open ? neighbour->open() : NULL;
	double began = connp_ms();

	if (lacks) {
		ksft_test_result_skip("%s: %s\n", neighbour->name, lacks);
		return;
	}
	deeds = 0;
	for (i = 0; i < pairs; i++) {
		without[i] = window(rounds);
		settle();
		with[i] = window_with(neighbour);
		settle();
	}
	share = median(with, pairs) / median(without, pairs);
	ksft_print_msg("%s: %.2f to %.2f (median %.2f) messages/ms, with it %.2f to %.2f (median %.2f), did %lu, %.1f s\n",
		       neighbour->name, without[0], without[pairs - 1],
		       without[pairs / 2], with[0], with[pairs - 1],
		       with[pairs / 2], deeds, (connp_ms() - began) / 1e3);
	if (connp_shared())
		ksft_test_result(deeds, "%s: has been there\n",
				 neighbour->name);
	else
		ksft_test_result(share >= KEPT && deeds,
				 "%s: flows keep their throughput\n",
				 neighbour->name);
	if (neighbour->close)
		neighbour->close();
}

/* A process that stalls in the middle of a system call. */
struct staller {
	char *(*withhold)(void);
	void (*wait)(void);
	void (*supply)(char *memory, const char *content);
	struct connp_pair pair;
	struct connp_stall call;
};

static struct staller staller;

static void stall_begin(void)
{
	size_t size = connp_withheld_size();
	char *content = calloc(1, size);

	connp_connect(CONNP_V4, &staller.pair);
	staller.call.fd = staller.pair.client;
	staller.call.memory = staller.withhold();
	/* To be received, or for a backlog that nobody works off. */
	connp_send(staller.pair.server, content, size);
	connp_stall_start(&staller.call);
	staller.wait();
	free(content);
}

static void stall_end(void)
{
	size_t size = connp_withheld_size();
	char *content = calloc(1, size);

	deeds += !staller.call.done;
	staller.supply(staller.call.memory, content);
	pthread_join(staller.call.thread, NULL);
	if (staller.call.sends)
		connp_recv(staller.pair.server, content, size);
	munmap(staller.call.memory, size);
	connp_disconnect(&staller.pair);
	free(content);
}

static const char *uffd_open(bool sends)
{
	const char *lacks = connp_uffd < 0 ? connp_uffd_open() : NULL;

	staller.withhold = connp_uffd_withhold;
	staller.wait = connp_uffd_wait;
	staller.supply = connp_uffd_supply;
	staller.call.sends = sends;
	return lacks;
}

static const char *uffd_open_sender(void)
{
	return uffd_open(true);
}

static const char *uffd_open_reader(void)
{
	return uffd_open(false);
}

static const char *fuse_open(bool sends)
{
	const char *lacks = connp_fuse < 0 ? connp_fuse_open() : NULL;

	staller.withhold = connp_fuse_withhold;
	staller.wait = connp_fuse_wait;
	staller.supply = connp_fuse_supply;
	staller.call.sends = sends;
	return lacks;
}

static const char *fuse_open_sender(void)
{
	return fuse_open(true);
}

static const char *fuse_open_reader(void)
{
	return fuse_open(false);
}

/* Readers that never read, each with a writer that waits for it. */
#define NONREADERS	4

static struct connp_pair nonreaders[NONREADERS];
static pthread_t writers[NONREADERS];
static atomic_uint writers_done;

static void *write_for_ever(void *argument)
{
	static char data[65536];
	struct connp_pair *pair = argument;

	while (send(pair->client, data, sizeof(data), MSG_NOSIGNAL) > 0)
		;
	writers_done++;
	return NULL;
}

static void nonread_begin(void)
{
	unsigned int i;

	writers_done = 0;
	for (i = 0; i < NONREADERS; i++) {
		connp_connect(CONNP_V4, &nonreaders[i]);
		writers[i] = connp_thread(write_for_ever, &nonreaders[i]);
	}
}

static void nonread_end(void)
{
	unsigned int i;

	deeds += !writers_done;
	for (i = 0; i < NONREADERS; i++) {
		/* With data unread that is a reset. */
		close(nonreaders[i].server);
		pthread_join(writers[i], NULL);
		close(nonreaders[i].client);
	}
}

static struct connp_pair crowd_pair;
static int crowd[2 * CROWD];

static const char *crowd_open(void)
{
	struct epoll_event event = { .events = EPOLLIN };
	unsigned int i, j;

	connp_connect(CONNP_V4, &crowd_pair);
	for (i = 0; i < CROWD; i++) {
		crowd[i] = dup(crowd_pair.server);
		crowd[CROWD + i] = epoll_create1(EPOLL_CLOEXEC);
		if (crowd[i] < 0 || crowd[CROWD + i] < 0)
			ksft_exit_fail_perror("a crowd");
	}
	for (i = 0; i < CROWD; i++)
		for (j = 0; j < CROWD; j++)
			if (epoll_ctl(crowd[CROWD + i], EPOLL_CTL_ADD, crowd[j],
				      &event))
				ksft_exit_fail_perror("epoll_ctl");
	return NULL;
}

static void crowd_wake(void)
{
	char byte = 0;

	connp_send(crowd_pair.client, &byte, 1);
	connp_recv(crowd_pair.server, &byte, 1);
	deeds++;
}

static void crowd_close(void)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(crowd); i++)
		close(crowd[i]);
	connp_disconnect(&crowd_pair);
}

static struct connp_peer peer;
static unsigned int seed = 1;

/* A PRNG: the same packets each time. */
static unsigned int random_below(unsigned int n)
{
	seed = seed * 1103515245 + 12345;
	return (seed >> 8) % n;
}

static const char *peer_open(void)
{
	static const int rcvbuf = 4 << 20;

	connp_peer_connect(&peer);
	/* A big queue, as on a server with big buffers. */
	if (setsockopt(peer.fd, SOL_SOCKET, SO_RCVBUFFORCE, &rcvbuf,
		       sizeof(rcvbuf)))
		ksft_exit_fail_perror("SO_RCVBUFFORCE");
	return NULL;
}

static void peer_close(void)
{
	connp_peer_reset(&peer);
	connp_forget_left();
}

/* Bytes here and there in the window, so that none joins another. */
static void send_tiny(void)
{
	struct connp_packet packet;
	unsigned int i;

	for (i = 0; i < TINY_BATCH; i++) {
		connp_packet_init(&packet, &peer, TH_ACK);
		packet.tcp.seq = htonl(peer.seq + 1 + 2 * random_below(30000));
		packet.data[0] = 0;
		connp_packet_arrive(&packet, 1);
	}
	deeds += i;
	connp_forget_left();
}

static void flood(void)
{
	struct connp_peer stranger = { .seq = 1 };
	struct connp_packet packet;
	unsigned int i;

	for (i = 0; i < 64; i++) {
		stranger.port = 1024 + random_below(60000);
		connp_packet_init(&packet, &stranger, TH_SYN);
		packet.ip.saddr = htonl(CONNP_PEER_THEIRS + random_below(250));
		connp_packet_arrive(&packet, 0);
	}
	deeds += i;
	connp_forget_left();
}

/* What our end has sent, and the peer acknowledged. */
static unsigned int highest;
#define STORM_MSS	100
#define STORM_SEGMENTS	1000
#define STORM_WSCALE	8

static void absorb(void)
{
	struct connp_packet packet;
	unsigned int end;
	ssize_t len;

	while ((len = read(connp_tun, &packet, sizeof(packet))) >= 40) {
		if (packet.ip.version != 4 ||
		    packet.tcp.dest != htons(peer.port))
			continue;
		end = ntohl(packet.tcp.seq) + len - packet.ip.ihl * 4 -
		      packet.tcp.doff * 4;
		if ((int)(end - highest) > 0)
			highest = end;
	}
}

static const char *storm_open(void)
{
	static const unsigned char syn_options[] = {
		TCPOPT_MAXSEG, TCPOLEN_MAXSEG, 0, STORM_MSS,
		TCPOPT_SACK_PERMITTED, TCPOLEN_SACK_PERMITTED,
		TCPOPT_NOP, TCPOPT_WINDOW, TCPOLEN_WINDOW, STORM_WSCALE,
		TCPOPT_NOP, TCPOPT_NOP,
	};
	static const int sndbuf = 8 << 20;
	struct connp_packet packet;

	memset(&peer, 0, sizeof(peer));
	peer.port = 9000;
	peer.seq = 1;
	connp_packet_init(&packet, &peer, TH_SYN);
	packet.tcp.doff += sizeof(syn_options) / 4;
	memcpy(packet.data, syn_options, sizeof(syn_options));
	connp_packet_arrive(&packet, sizeof(syn_options));
	peer.seq++;
	if (!connp_leaves(&peer, TH_SYN | TH_ACK))
		ksft_exit_fail_msg("no answer to a SYN\n");
	connp_arrive(&peer, TH_ACK, "", 0);
	peer.fd = accept4(connp_peer_listener, NULL, NULL, SOCK_CLOEXEC);
	if (peer.fd < 0 ||
	    setsockopt(peer.fd, SOL_SOCKET, SO_SNDBUFFORCE, &sndbuf,
		       sizeof(sndbuf)))
		ksft_exit_fail_perror("a connection for a storm");
	highest = peer.ack;
	return NULL;
}

/* An ACK with SACK blocks all over what is not acknowledged yet. */
static void sack(void)
{
	unsigned int i, start, segments = (highest - peer.ack) / STORM_MSS;
	struct connp_packet packet;
	unsigned char *option;
	unsigned int *block;

	connp_packet_init(&packet, &peer, TH_ACK);
	packet.tcp.doff += 9;
	option = (void *)packet.data;
	option[0] = TCPOPT_NOP;
	option[1] = TCPOPT_NOP;
	option[2] = TCPOPT_SACK;
	option[3] = 2 + 4 * 8;
	block = (void *)(option + 4);
	for (i = 0; i < 4; i++) {
		start = peer.ack + (1 + random_below(segments - 1)) * STORM_MSS;
		*block++ = htonl(start);
		*block++ = htonl(start + STORM_MSS);
	}
	connp_packet_arrive(&packet, 36);
	deeds++;
}

static void storm(void)
{
	static const char data[STORM_SEGMENTS * STORM_MSS];
	/* What one block costs grows with the segments that are under way. */
	unsigned int i, segments = connp_loops(STORM_SEGMENTS);
	unsigned int size = segments * STORM_MSS;

	send(peer.fd, data, size, MSG_DONTWAIT | MSG_NOSIGNAL);
	absorb();
	/* Acknowledge, until the congestion window lets enough out at once. */
	if (highest - peer.ack < size / 2) {
		peer.ack = highest;
		connp_arrive(&peer, TH_ACK, "", 0);
		absorb();
		return;
	}
	for (i = 0; i < segments && !stopping; i++) {
		sack();
		if (i % 16 == 0)
			absorb();
	}
	peer.ack = highest;
	connp_arrive(&peer, TH_ACK, "", 0);
}

static struct neighbour neighbours[] = {
	{ .name = "a sender stalls on a userfaultfd page",
	  .open = uffd_open_sender, .begin = stall_begin, .end = stall_end },
	{ .name = "a reader stalls on a userfaultfd page",
	  .open = uffd_open_reader, .begin = stall_begin, .end = stall_end },
	{ .name = "a sender stalls on a FUSE page",
	  .open = fuse_open_sender, .begin = stall_begin, .end = stall_end },
	{ .name = "a reader stalls on a FUSE page",
	  .open = fuse_open_reader, .begin = stall_begin, .end = stall_end,
	  .close = connp_fuse_close },
	{ .name = "readers that never read",
	  .begin = nonread_begin, .end = nonread_end },
	{ .name = "a reader with thousands of epoll entries",
	  .open = crowd_open, .attack = crowd_wake, .close = crowd_close },
	{ .name = "tiny segments out of order",
	  .open = peer_open, .attack = send_tiny, .close = peer_close },
	{ .name = "a storm of SACK blocks",
	  .open = storm_open, .attack = storm, .close = peer_close },
	{ .name = "a SYN flood",
	  .attack = flood },
};

int main(void)
{
	long before, rows[CONNP_MAX_GROUPS];
	unsigned int i;

	connp_start(ARRAY_SIZE(neighbours) + 2, connp_full() ? 1800 : 240);
	if (connp_groups_fd >= 0 && !connp_shared() &&
	    connp_rows("conns", rows) > 1)
		ksft_exit_skip("not all is in one group: boot with tcp_connp.groups=1\n");
	nr_flows = connp_loops(connp_full() ? 1000 : 128);
	connp_peer_start(64);
	open_flows();
	if (connp_groups_fd < 0)
		ksft_test_result_skip("this kernel has no connection groups\n");
	else
		ksft_test_result(connp_shared() ||
				 connp_row("conns", 0) >= 2 * nr_flows,
				 "all flows are in one group\n");
	choose_period();
	before = connp_groups_fd < 0 ? 0 : connp_groups("drops");
	for (i = 0; i < ARRAY_SIZE(neighbours); i++) {
		test(&neighbours[i]);
		if (connp_groups_fd >= 0)
			ksft_print_msg("%ld drops\n",
				       connp_groups("drops") - before);
	}
	ksft_test_result(received == sent, "all that flows have sent has arrived\n");
	ksft_finished();
}
