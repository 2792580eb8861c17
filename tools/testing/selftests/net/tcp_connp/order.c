// SPDX-License-Identifier: GPL-2.0
/*
 * Packets, timers and calls are taken off the queue of a group in the order in
 * which they were put there. The test plays the peers itself, behind a TUN
 * device, and so decides what comes when; the tracepoint tells what was taken
 * off. In ConnP-T the group's thread is kept from running meanwhile.
 */
#include <linux/if_tun.h>
#include <netinet/ip.h>
#include <poll.h>

#include "connp_threads.h"

#define PEERS		3
#define PACKETS		48
#define OURS		0x0a4d4d01	/* 10.77.77.1 */
#define THEIRS		0x0a4d4d02
#define PORT		7777
#define PATIENCE_MS	5000

#define TRACING		"/sys/kernel/tracing/"
#define EVENT		TRACING "events/tcp_connp/tcp_connp_message/enable"

enum { CPUS, NICE, SYSCTLS };

static struct connp_sysctl sysctls[SYSCTLS] = {
	{ .name = "cpus" }, { .name = "nice" },
};

struct peer {
	int fd;			/* of the other end, which is ours */
	unsigned int group;	/* of that */
	unsigned short port;
	unsigned int seq, ack;	/* the next to send, the next expected */
};

static int hog_cpu = CPU_SETSIZE - 1, cpu;
static unsigned int hungry;
static bool threads;
static int tun, listener;
static pid_t hog;

static void restore(void)
{
	connp_write_file(EVENT, "0");
	if (!threads)
		return;
	connp_sysctl_restore(&sysctls[CPUS]);
	connp_sysctl_restore(&sysctls[NICE]);
	connp_throttle();
}

static void set_address(int fd, unsigned long request, unsigned int address)
{
	struct ifreq ifr = { .ifr_name = "tun0" };
	struct sockaddr_in *sin = (void *)&ifr.ifr_addr;

	sin->sin_family = AF_INET;
	sin->sin_addr.s_addr = htonl(address);
	if (ioctl(fd, request, &ifr))
		ksft_exit_fail_perror("an address for tun0");
}

static void open_tun(void)
{
	struct ifreq ifr = {
		.ifr_name = "tun0", .ifr_flags = IFF_TUN | IFF_NO_PI,
	};
	int fd = socket(AF_INET, SOCK_DGRAM, 0);

	tun = open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK);
	if (tun < 0 || ioctl(tun, TUNSETIFF, &ifr))
		ksft_exit_skip("needs CONFIG_TUN and /dev/net/tun\n");
	set_address(fd, SIOCSIFADDR, OURS);
	set_address(fd, SIOCSIFNETMASK, 0xffffff00);
	ifr.ifr_flags = IFF_UP;
	if (ioctl(fd, SIOCSIFFLAGS, &ifr))
		ksft_exit_fail_perror("bringing up tun0");
	close(fd);
}

struct packet {
	struct iphdr ip;
	struct tcphdr tcp;
	char data[1500];
};

static unsigned int sum(const void *data, size_t len)
{
	const unsigned char *p = data;
	unsigned int total = 0;
	size_t i;

	for (i = 0; i < len; i++)
		total += i % 2 ? p[i] : p[i] << 8;
	return total;
}

static unsigned short fold(unsigned int total)
{
	while (total >> 16)
		total = (total & 0xffff) + (total >> 16);
	return htons(~total);
}

/* Have a packet arrive; it is queued when this returns. */
static void arrive(struct peer *peer, unsigned char flags, const char *data,
		   size_t len)
{
	struct packet packet = {
		.ip = {
			.version = 4, .ihl = 5, .ttl = 64,
			.protocol = IPPROTO_TCP,
			.saddr = htonl(THEIRS), .daddr = htonl(OURS),
			.tot_len = htons(40 + len),
		},
		.tcp = {
			.source = htons(peer->port), .dest = htons(PORT),
			.seq = htonl(peer->seq), .ack_seq = htonl(peer->ack),
			.doff = 5, .window = htons(65535),
		},
	};

	packet.tcp.th_flags = flags;
	memcpy(packet.data, data, len);
	packet.ip.check = fold(sum(&packet.ip, 20));
	packet.tcp.check = fold(sum(&packet.ip.saddr, 8) + IPPROTO_TCP +
				20 + len + sum(&packet.tcp, 20 + len));
	if (write(tun, &packet, 40 + len) != (ssize_t)(40 + len))
		ksft_exit_fail_perror("sending a packet");
	peer->seq += len + !!(flags & (TH_SYN | TH_FIN));
}

/* Wait for a packet with all of these flags; false if there is none. */
static bool leaves(struct peer *peer, unsigned char flags)
{
	struct pollfd pollfd = { .fd = tun, .events = POLLIN };
	struct packet packet;
	ssize_t len;

	while (poll(&pollfd, 1, PATIENCE_MS) == 1) {
		len = read(tun, &packet, sizeof(packet));
		if (len < 40 || packet.ip.version != 4 ||
		    packet.ip.protocol != IPPROTO_TCP ||
		    packet.tcp.dest != htons(peer->port) ||
		    (packet.tcp.th_flags & flags) != flags)
			continue;
		peer->ack = ntohl(packet.tcp.seq) +
			    len - packet.ip.ihl * 4 - packet.tcp.doff * 4 +
			    !!(packet.tcp.th_flags & (TH_SYN | TH_FIN));
		return true;
	}
	return false;
}

/* Forget what has left until now. */
static void empty_tun(void)
{
	struct packet packet;

	while (read(tun, &packet, sizeof(packet)) > 0)
		;
}

/* A new connection from a peer. */
static void connect_one(struct peer *peer)
{
	static unsigned short port = 10000;
	long before[CONNP_MAX_GROUPS], after[CONNP_MAX_GROUPS];
	unsigned int i, n;

	memset(peer, 0, sizeof(*peer));
	peer->port = port++;
	peer->seq = 1000 * peer->port;
	n = connp_rows("conns", before);
	arrive(peer, TH_SYN, "", 0);
	if (!leaves(peer, TH_SYN | TH_ACK))
		ksft_exit_fail_msg("no answer to a SYN\n");
	arrive(peer, TH_ACK, "", 0);
	peer->fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	if (peer->fd < 0)
		ksft_exit_fail_perror("accept");
	connp_rows("conns", after);
	for (i = 0; i < n; i++)
		if (after[i] > before[i])
			peer->group = i;
}

static void reset(struct peer *peer)
{
	arrive(peer, TH_RST, "", 0);
	close(peer->fd);
}

/* With threads, one in the group whose thread is going to starve. */
static void connect_peer(struct peer *peer)
{
	struct peer others[200];
	unsigned int i;

	connect_one(peer);
	for (i = 0; threads && peer->group != hungry; i++) {
		if (i == ARRAY_SIZE(others))
			ksft_exit_fail_msg("no connection is in group %u\n",
					   hungry);
		others[i] = *peer;
		connect_one(peer);
	}
	while (i--)
		reset(&others[i]);
	connp_wait_drained();
}

/* From here on nothing is taken off the queue. */
static void hold(void)
{
	close(open(TRACING "trace", O_WRONLY | O_TRUNC));
	connp_write_file(EVENT, "1");
	if (!threads)
		return;
	connp_set_fifo(connp_tids[hungry], CONNP_LOW_PRIORITY);
	hog = connp_hog_start(hog_cpu);
}

static void release(void)
{
	if (threads) {
		connp_hog_stop(hog);
		connp_sysctl_restore(&sysctls[NICE]);
	}
	connp_wait_drained();
	connp_write_file(EVENT, "0");
}

/* Wait until there are that many messages more than @before. */
static bool wait_queued(long before, long more)
{
	double start = connp_ms();

	while (connp_row("queued", hungry) - before < more) {
		if (connp_ms() - start > PATIENCE_MS)
			return false;
		usleep(1000);
	}
	return connp_row("queued", hungry) - before == more;
}

/* What was taken off: of whom, and what; of our connections only. */
struct taken {
	unsigned int port;
	char kind[16];
};

static unsigned int read_trace(struct taken *taken, unsigned int max)
{
	FILE *f = fopen(TRACING "trace", "r");
	unsigned int n = 0, port;
	char line[512], *p;

	if (!f)
		ksft_exit_fail_perror("the trace");
	while (n < max && fgets(line, sizeof(line), f)) {
		p = strstr(line, "tcp_connp_message: group=");
		if (p && sscanf(p, "tcp_connp_message: group=%*u kind=%15s sport=%u dport=%u",
				taken[n].kind, &port, &taken[n].port) == 3 &&
		    port == PORT)
			n++;
	}
	fclose(f);
	return n;
}

/* Did these kinds come first, in this order, of the connection of @peer? */
static bool taken_so(const struct peer *peer, const char *expected)
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
	struct peer peers[PEERS];
	bool right = true;
	char byte;

	for (i = 0; i < PEERS; i++)
		connect_peer(&peers[i]);
	hold();
	for (i = 0; i < PACKETS; i++) {
		who[i] = connp_byte(5, i * 13) % PEERS;
		byte = 'a' + i % 26;
		arrive(&peers[who[i]], TH_ACK | TH_PUSH, &byte, 1);
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
		reset(&peers[i]);
}

/* A call that another thread of ours makes. */
struct call {
	int fd;
	bool closes;
	int result;
	atomic_bool returned;
	pthread_t thread;
};

static void *run_call(void *argument)
{
	struct call *call = argument;

	call->result = call->closes ? close(call->fd) :
				      shutdown(call->fd, SHUT_WR);
	call->returned = true;
	return NULL;
}

static void call_start(struct call *call, const struct peer *peer, bool closes)
{
	memset(call, 0, sizeof(*call));
	call->fd = peer->fd;
	call->closes = closes;
	call->thread = connp_thread(run_call, call);
}

static bool call_end(struct call *call)
{
	pthread_join(call->thread, NULL);
	return !call->result;
}

/* A packet, then a timer, then a call, then a packet: of one connection. */
static void test_keepalive(void)
{
	struct call call;
	struct peer peer;
	long queued;
	bool right;
	char data[3];

	connect_peer(&peer);
	connp_set(peer.fd, SOL_SOCKET, SO_KEEPALIVE, 1);
	hold();
	queued = connp_row("queued", hungry);
	arrive(&peer, TH_ACK | TH_PUSH, "1", 1);
	right = wait_queued(queued, 1);
	/* The timer fires in a second, while the queue stands still. */
	connp_set(peer.fd, IPPROTO_TCP, TCP_KEEPIDLE, 1);
	right &= wait_queued(queued, 2);
	call_start(&call, &peer, false);
	right &= wait_queued(queued, 3);
	arrive(&peer, TH_ACK | TH_PUSH, "2", 1);
	right &= wait_queued(queued, 4) && !call.returned;
	release();
	right &= call_end(&call);
	ksft_test_result(taken_so(&peer, "packet keepalive call packet ") &&
			 right,
			 "a packet, keepalive, a call, a packet\n");
	ksft_test_result(recv(peer.fd, data, sizeof(data), 0) == 2 &&
			 !memcmp(data, "12", 2) && leaves(&peer, TH_FIN),
			 "and have the effect that they should\n");
	reset(&peer);
}

/* The retransmission timer fires, and then comes the ACK it has waited for. */
static void test_retransmission(void)
{
	struct peer peer;
	long queued;
	bool right;
	char byte;

	connect_peer(&peer);
	connp_send(peer.fd, "x", 1);
	right = leaves(&peer, TH_PUSH);
	/* It has perhaps fired, and will again. */
	hold();
	queued = connp_row("drained", hungry);
	right &= wait_queued(queued, 1);
	empty_tun();
	arrive(&peer, TH_ACK | TH_PUSH, "1", 1);
	right &= wait_queued(queued, 2);
	release();
	ksft_test_result(taken_so(&peer, "retrans packet ") && right,
			 "retransmission, a packet\n");
	/* Once more, because the timer did come first. */
	ksft_test_result(leaves(&peer, TH_PUSH) &&
			 recv(peer.fd, &byte, 1, 0) == 1 && byte == '1',
			 "and have the effect that they should\n");
	reset(&peer);
}

static unsigned int state(int fd)
{
	struct tcp_info info;
	socklen_t len = sizeof(info);

	if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len))
		ksft_exit_fail_perror("TCP_INFO");
	return info.tcpi_state;
}

/* Data and the end of it are queued before a call. */
static void test_call_after(bool closes)
{
	const char *name = closes ? "close()" : "shutdown()";
	struct call call;
	struct peer peer;
	long queued;
	bool right;
	char data[4];
	unsigned int in;

	connect_peer(&peer);
	hold();
	queued = connp_row("queued", hungry);
	arrive(&peer, TH_ACK | TH_PUSH, "12", 2);
	arrive(&peer, TH_ACK | TH_FIN, "", 0);
	right = wait_queued(queued, 2);
	call_start(&call, &peer, closes);
	right &= wait_queued(queued, 3) && !call.returned;
	release();
	right &= call_end(&call);
	ksft_test_result(right && taken_so(&peer, "packet packet call "),
			 "data, a FIN, then %s\n", name);
	if (closes) {
		/* Data that nobody will read. */
		ksft_test_result(leaves(&peer, TH_RST),
				 "%s resets the connection\n", name);
		return;
	}
	right = leaves(&peer, TH_FIN | TH_ACK);
	in = state(peer.fd);
	ksft_print_msg("state %u; TCP_LAST_ACK is %u, TCP_CLOSING %u\n", in,
		       TCP_LAST_ACK, TCP_CLOSING);
	ksft_test_result(in == TCP_LAST_ACK, "%s knows of the FIN\n", name);
	arrive(&peer, TH_ACK, "", 0);
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
	struct peer peer;
	long queued;
	bool right;

	connect_peer(&peer);
	hold();
	queued = connp_row("queued", hungry);
	arrive(&peer, TH_ACK | TH_FIN, "", 0);
	right = wait_queued(queued, 1);
	call_start(&call, &peer, true);
	right &= wait_queued(queued, 2) && !call.returned;
	release();
	right &= call_end(&call);
	ksft_test_result(right && taken_so(&peer, "packet call "),
			 "a FIN, then close()\n");
	right = leaves(&peer, TH_FIN | TH_ACK);
	arrive(&peer, TH_ACK, "", 0);
	/* That of the listener is left. */
	connp_wait_sockets(1);
	ksft_test_result(right, "close() after a FIN sends one, and it ends\n");
}

static void choose_group(void)
{
	unsigned int i;

	connp_find_threads();
	if (connp_nr_tids == 1) {
		char text[16];

		snprintf(text, sizeof(text), "%d", hog_cpu);
		if (!connp_sysctl_write(&sysctls[CPUS], text))
			ksft_exit_fail_perror("cpus");
	}
	for (i = 0; i < connp_nr_tids; i++)
		if (connp_allowed(connp_tids[i]) == hog_cpu)
			hungry = i;
	if (connp_allowed(connp_tids[hungry]) != hog_cpu)
		ksft_exit_skip("no group has its thread on CPU %d\n", hog_cpu);
}

int main(void)
{
	struct sockaddr_in sin = {
		.sin_family = AF_INET, .sin_port = htons(PORT),
		.sin_addr.s_addr = htonl(OURS),
	};
	cpu_set_t online;
	unsigned int i;

	connp_need_groups();
	if (access(EVENT, W_OK))
		ksft_exit_skip("no event tcp_connp_message, is tracefs mounted?\n");
	connp_online(&online);
	while (!CPU_ISSET(cpu, &online))
		cpu++;
	while (!CPU_ISSET(hog_cpu, &online))
		hog_cpu--;
	threads = connp_has_threads();
	if (threads) {
		if (cpu == hog_cpu)
			ksft_exit_skip("needs two CPUs\n");
		for (i = 0; i < SYSCTLS; i++)
			connp_sysctl_open(&sysctls[i]);
		connp_unthrottle(hog_cpu);
	}
	connp_guard(restore);
	connp_start(13, 120);
	connp_stay_on(cpu);
	if (threads)
		choose_group();
	open_tun();
	listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (listener < 0 || bind(listener, (void *)&sin, sizeof(sin)) ||
	    listen(listener, 10))
		ksft_exit_fail_perror("listen");
	test_packets();
	if (threads) {
		test_keepalive();
		test_retransmission();
		test_call_after(true);
		test_call_after(false);
		test_close_after_fin();
	} else {
		for (i = 0; i < 11; i++)
			ksft_test_result_skip("timers and calls: no threads to hold up\n");
	}
	ksft_finished();
}
