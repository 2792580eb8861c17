// SPDX-License-Identifier: GPL-2.0
/*
 * A dial-up line: the address changes while connections are being made, and
 * with net.ipv4.ip_dynaddr they take the new one. This is the only time that a
 * connection changes its place in the table of established connections, and
 * thereby the part whose lock it needs, while it stays in the group that it is
 * in. The timer that sends the SYN again does it.
 *
 * The test plays the other end, behind a TUN device. Meanwhile others make and
 * end connections over loopback and read the table.
 */
#include "connp_peer.h"

#define CLIENTS		48
#define ROUNDS		2
#define ROUNDS_FULL	20
#define FIRST_PORT	8000

struct client {
	struct connp_peer peer;		/* its port is that of the other end */
	unsigned short port;		/* ours */
	unsigned int from;		/* address in the last packet */
};

static struct client clients[CLIENTS];
static atomic_bool done;

static void *make_connections(void *argument)
{
	struct connp_pair pair;

	while (!done) {
		connp_connect(CONNP_V4, &pair);
		connp_exchange(&pair, 1);
		connp_disconnect(&pair);
	}
	return argument;
}

static void *read_table(void *argument)
{
	char buf[4096];
	int fd;

	while (!done) {
		fd = open("/proc/net/tcp", O_RDONLY | O_CLOEXEC);
		while (read(fd, buf, sizeof(buf)) > 0)
			;
		close(fd);
	}
	return argument;
}

/* Look at packets until each client has sent one like this. */
static bool all_send(unsigned char flags, unsigned int from)
{
	struct pollfd pollfd = { .fd = connp_tun, .events = POLLIN };
	bool seen[CLIENTS] = {};
	struct connp_packet packet;
	unsigned int i, n = 0;
	ssize_t len;

	while (n < CLIENTS && poll(&pollfd, 1, CONNP_PEER_MS) == 1) {
		len = read(connp_tun, &packet, sizeof(packet));
		i = ntohs(packet.tcp.dest) - FIRST_PORT;
		if (len < 40 || packet.ip.version != 4 ||
		    packet.ip.protocol != IPPROTO_TCP || i >= CLIENTS ||
		    (packet.tcp.th_flags & flags) != flags ||
		    packet.ip.saddr != htonl(from))
			continue;
		clients[i].port = ntohs(packet.tcp.source);
		clients[i].peer.ack = ntohl(packet.tcp.seq) + len -
				      packet.ip.ihl * 4 - packet.tcp.doff * 4 +
				      !!(flags & (TH_SYN | TH_FIN));
		n += !seen[i];
		seen[i] = true;
	}
	if (n < CLIENTS)
		ksft_print_msg("only %u of %d send what they should\n", n,
			       CLIENTS);
	return n == CLIENTS;
}

static void all_get(unsigned char flags, const char *data, size_t len,
		    unsigned int to)
{
	struct connp_packet packet;
	unsigned int i;

	for (i = 0; i < CLIENTS; i++) {
		connp_packet_init(&packet, &clients[i].peer, flags);
		packet.ip.daddr = htonl(to);
		packet.tcp.dest = htons(clients[i].port);
		memcpy(packet.data, data, len);
		connp_packet_arrive(&packet, len);
		clients[i].peer.seq += len + !!(flags & (TH_SYN | TH_FIN));
	}
}

static bool change_address(unsigned int from, unsigned int to)
{
	struct sockaddr_in sin = {
		.sin_family = AF_INET,
		.sin_addr.s_addr = htonl(CONNP_PEER_THEIRS),
	};
	bool right = true;
	unsigned int i;
	char byte;
	int fd;

	for (i = 0; i < CLIENTS; i++) {
		memset(&clients[i], 0, sizeof(clients[i]));
		clients[i].peer.port = FIRST_PORT + i;
		clients[i].peer.seq = 1000 * i;
		clients[i].peer.fd = connp_socket(CONNP_V4);
		fcntl(clients[i].peer.fd, F_SETFL, O_NONBLOCK);
		sin.sin_port = htons(FIRST_PORT + i);
		if (!connect(clients[i].peer.fd, (void *)&sin, sizeof(sin)) ||
		    errno != EINPROGRESS)
			ksft_exit_fail_perror("connect");
	}
	right &= all_send(TH_SYN, from);
	/* The kernel takes the old one away. */
	fd = socket(AF_INET, SOCK_DGRAM, 0);
	connp_tun_address(fd, SIOCSIFADDR, to);
	connp_tun_address(fd, SIOCSIFNETMASK, 0xffffff00);
	close(fd);
	/* After a second. */
	right &= all_send(TH_SYN, to);
	ksft_test_result(right, "the SYN is sent again from the new address\n");
	all_get(TH_SYN | TH_ACK, "", 0, to);
	right = all_send(TH_ACK, to);
	all_get(TH_ACK | TH_PUSH, "x", 1, to);
	for (i = 0; i < CLIENTS; i++) {
		struct pollfd pollfd = {
			.fd = clients[i].peer.fd, .events = POLLIN,
		};

		right &= poll(&pollfd, 1, CONNP_PEER_MS) == 1 &&
			 recv(pollfd.fd, &byte, 1, 0) == 1 && byte == 'x' &&
			 send(pollfd.fd, &byte, 1, MSG_NOSIGNAL) == 1;
	}
	right &= all_send(TH_PUSH, to);
	ksft_test_result(right, "with it the connections work\n");
	all_get(TH_ACK, "", 0, to);
	for (i = 0; i < CLIENTS; i++)
		close(clients[i].peer.fd);
	right = all_send(TH_FIN, to);
	all_get(TH_ACK | TH_FIN, "", 0, to);
	right &= all_send(TH_ACK, to);
	ksft_test_result(right, "and end\n");
	return right;
}

int main(void)
{
	unsigned int rounds = connp_full() ? ROUNDS_FULL : ROUNDS, i;
	pthread_t maker, reader;

	connp_start(3 * rounds + 2, connp_full() ? 300 : 90);
	connp_write_file("/proc/sys/net/ipv4/ip_dynaddr", "1");
	connp_peer_start(1);
	close(connp_peer_listener);
	maker = connp_thread(make_connections, NULL);
	reader = connp_thread(read_table, NULL);
	for (i = 0; i < rounds; i++)
		change_address(CONNP_PEER_OURS + 10 * i,
			       CONNP_PEER_OURS + 10 * (i + 1));
	done = true;
	pthread_join(maker, NULL);
	pthread_join(reader, NULL);
	connp_wait_sockets(0);
	ksft_test_result_pass("no socket is left\n");
	ksft_test_result(connp_wait_conns(0),
			 "no connection is left in a group\n");
	ksft_finished();
}
