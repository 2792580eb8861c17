/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Peers that a test plays itself: behind a TUN device, with segments that it
 * makes up one by one, so that it decides what comes, when, and how wrong.
 */
#ifndef CONNP_PEER_H
#define CONNP_PEER_H

#include <linux/if_tun.h>
#include <netinet/ip.h>
#include <poll.h>

#include "connp.h"

#define CONNP_PEER_OURS		0x0a4d4d01	/* 10.77.77.1 */
#define CONNP_PEER_THEIRS	0x0a4d4d02
#define CONNP_PEER_PORT		7777
/* Patience; see connp_start() about others. */
#define CONNP_PEER_MS		(connp_shared() ? 100000 : 5000)

/* A connection of ours, and what its other end knows. */
struct connp_peer {
	int fd;			/* of our end */
	unsigned int group;	/* of that, if the kernel has groups */
	unsigned short port;
	unsigned int seq, ack;	/* the next to send, the next expected */
};

struct connp_packet {
	struct iphdr ip;
	struct tcphdr tcp;
	char data[1500];
};

/* As in include/uapi/linux/tcp.h, which user space's own headers may not know. */
#ifndef TCP_AO_ADD_KEY
#define TCP_AO_ADD_KEY	38
#endif

struct connp_ao_add {
	struct sockaddr_storage addr;
	char alg[64];
	int ifindex;
	unsigned int flags;
	unsigned short reserved;
	unsigned char prefix, sndid, rcvid, maclen, keyflags, keylen, key[80];
};

static int connp_tun = -1;
static int connp_peer_listener = -1;

static inline void connp_tun_address(int fd, unsigned long request,
				     unsigned int address)
{
	struct ifreq ifr = { .ifr_name = "tun0" };
	struct sockaddr_in *sin = (void *)&ifr.ifr_addr;

	sin->sin_family = AF_INET;
	sin->sin_addr.s_addr = htonl(address);
	if (ioctl(fd, request, &ifr))
		ksft_exit_fail_perror("an address for tun0");
}

/*
 * The device and a listener behind it, in the namespace of the test. All peers
 * have one address, so they differ in their ports.
 */
static inline void connp_peer_start(int backlog)
{
	struct sockaddr_in sin = {
		.sin_family = AF_INET, .sin_port = htons(CONNP_PEER_PORT),
		.sin_addr.s_addr = htonl(CONNP_PEER_OURS),
	};
	struct ifreq ifr = {
		.ifr_name = "tun0", .ifr_flags = IFF_TUN | IFF_NO_PI,
	};
	int fd = socket(AF_INET, SOCK_DGRAM, 0);

	connp_tun = open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK);
	if (connp_tun < 0 || ioctl(connp_tun, TUNSETIFF, &ifr))
		ksft_exit_skip("needs CONFIG_TUN and /dev/net/tun\n");
	connp_tun_address(fd, SIOCSIFADDR, CONNP_PEER_OURS);
	connp_tun_address(fd, SIOCSIFNETMASK, 0xffffff00);
	ifr.ifr_flags = IFF_UP;
	if (ioctl(fd, SIOCSIFFLAGS, &ifr))
		ksft_exit_fail_perror("bringing up tun0");
	close(fd);
	connp_peer_listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (connp_peer_listener < 0 ||
	    bind(connp_peer_listener, (void *)&sin, sizeof(sin)) ||
	    listen(connp_peer_listener, backlog))
		ksft_exit_fail_perror("listen");
}

static inline unsigned int connp_sum(const void *data, size_t len)
{
	const unsigned char *p = data;
	unsigned int total = 0;
	size_t i;

	for (i = 0; i < len; i++)
		total += i % 2 ? p[i] : p[i] << 8;
	return total;
}

static inline unsigned short connp_fold(unsigned int total)
{
	while (total >> 16)
		total = (total & 0xffff) + (total >> 16);
	return htons(~total);
}

/*
 * What a segment of @peer looks like that is as it should be; addresses, ports
 * and numbers are filled in, the rest is the caller's to change.
 */
static inline void connp_packet_init(struct connp_packet *packet,
				     const struct connp_peer *peer,
				     unsigned char flags)
{
	memset(packet, 0, offsetof(struct connp_packet, data));
	packet->ip.version = 4;
	packet->ip.ihl = 5;
	packet->ip.ttl = 64;
	packet->ip.protocol = IPPROTO_TCP;
	packet->ip.saddr = htonl(CONNP_PEER_THEIRS);
	packet->ip.daddr = htonl(CONNP_PEER_OURS);
	packet->tcp.source = htons(peer->port);
	packet->tcp.dest = htons(CONNP_PEER_PORT);
	packet->tcp.seq = htonl(peer->seq);
	packet->tcp.ack_seq = htonl(peer->ack);
	packet->tcp.doff = 5;
	packet->tcp.window = htons(65535);
	packet->tcp.th_flags = flags;
}

/*
 * Have a packet arrive, with @len bytes behind the TCP header proper (options,
 * then data). It is queued, or done with, when this returns.
 */
static inline void connp_packet_arrive(struct connp_packet *packet, size_t len)
{
	packet->ip.tot_len = htons(40 + len);
	packet->ip.check = 0;
	packet->ip.check = connp_fold(connp_sum(&packet->ip, 20));
	packet->tcp.check = 0;
	packet->tcp.check = connp_fold(connp_sum(&packet->ip.saddr, 8) +
				       IPPROTO_TCP + 20 + len +
				       connp_sum(&packet->tcp, 20 + len));
	if (write(connp_tun, packet, 40 + len) != (ssize_t)(40 + len))
		ksft_exit_fail_perror("sending a packet");
}

/* Have a segment arrive that is as it should be. */
static inline void connp_arrive(struct connp_peer *peer, unsigned char flags,
				const char *data, size_t len)
{
	struct connp_packet packet;

	connp_packet_init(&packet, peer, flags);
	memcpy(packet.data, data, len);
	connp_packet_arrive(&packet, len);
	peer->seq += len + !!(flags & (TH_SYN | TH_FIN));
}

/* Wait for a packet with all of these flags; false if there is none. */
static inline bool connp_leaves(struct connp_peer *peer, unsigned char flags)
{
	struct pollfd pollfd = { .fd = connp_tun, .events = POLLIN };
	struct connp_packet packet;
	ssize_t len;

	while (poll(&pollfd, 1, CONNP_PEER_MS) == 1) {
		len = read(connp_tun, &packet, sizeof(packet));
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
static inline void connp_forget_left(void)
{
	struct connp_packet packet;

	while (read(connp_tun, &packet, sizeof(packet)) > 0)
		;
}

/* A new connection from a peer, to be accepted. */
static inline void connp_peer_open(struct connp_peer *peer)
{
	static unsigned short port = 10000;
	long before[CONNP_MAX_GROUPS], after[CONNP_MAX_GROUPS];
	unsigned int i, n = 0;

	memset(peer, 0, sizeof(*peer));
	peer->port = port++;
	peer->seq = 1000 * peer->port;
	if (connp_groups_fd >= 0)
		n = connp_rows("conns", before);
	connp_arrive(peer, TH_SYN, "", 0);
	if (!connp_leaves(peer, TH_SYN | TH_ACK))
		ksft_exit_fail_msg("no answer to a SYN\n");
	connp_arrive(peer, TH_ACK, "", 0);
	if (n)
		connp_rows("conns", after);
	for (i = 0; i < n; i++)
		if (after[i] > before[i])
			peer->group = i;
}

static inline void connp_peer_accept(struct connp_peer *peer)
{
	peer->fd = accept4(connp_peer_listener, NULL, NULL, SOCK_CLOEXEC);
	if (peer->fd < 0)
		ksft_exit_fail_perror("accept");
}

static inline void connp_peer_connect(struct connp_peer *peer)
{
	connp_peer_open(peer);
	connp_peer_accept(peer);
}

/* It ends at once, at both ends. */
static inline void connp_peer_reset(struct connp_peer *peer)
{
	connp_arrive(peer, TH_RST, "", 0);
	close(peer->fd);
}

/* A new connection from a peer, in group @wanted, and nothing queued. */
static inline void connp_peer_connect_in(struct connp_peer *peer,
					 unsigned int wanted)
{
	struct connp_peer others[200];
	unsigned int i;

	connp_peer_connect(peer);
	for (i = 0; wanted != CONNP_ANY_GROUP && peer->group != wanted; i++) {
		if (i == ARRAY_SIZE(others))
			ksft_exit_fail_msg("no connection is in group %u\n",
					   wanted);
		others[i] = *peer;
		connp_peer_connect(peer);
	}
	while (i--)
		connp_peer_reset(&others[i]);
	if (connp_groups_fd >= 0)
		connp_wait_drained();
}

/* What the kernel says of TCP's sockets: how many are @what. */
static inline int connp_sockstat_number(const char *what)
{
	static int fd = -1;
	char text[512], *p;
	ssize_t len;

	if (fd < 0)
		fd = open("/proc/net/sockstat", O_RDONLY | O_CLOEXEC);
	len = pread(fd, text, sizeof(text) - 1, 0);
	if (len <= 0)
		ksft_exit_fail_perror("/proc/net/sockstat");
	text[len] = 0;
	p = strstr(text, what);
	return p ? atoi(p + strlen(what)) : -1;
}

/* TIME_WAIT sockets of this namespace. */
static inline int connp_time_waits(void)
{
	return connp_sockstat_number(" tw ");
}

#endif /* CONNP_PEER_H */
