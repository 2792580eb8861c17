/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The application's side of the fuzzer: the calls that it makes on our ends,
 * and whether what it reads is what a peer has sent.
 */
#ifndef FUZZ_CALLS_H
#define FUZZ_CALLS_H

#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>

#include "fuzz_wire.h"

#define FUZZ_PORT	CONNP_PEER_PORT		/* AF_INET */
#define FUZZ_PORT_DUAL	(CONNP_PEER_PORT + 1)	/* AF_INET6 */
#define FUZZ_ACCEPTED	16

enum fuzz_kind {
	FUZZ_ACCEPT, FUZZ_SEND, FUZZ_RECV, FUZZ_SPLICE, FUZZ_SET, FUZZ_GET,
	FUZZ_POLL, FUZZ_SHUTDOWN, FUZZ_CLOSE, FUZZ_UNCONNECT, FUZZ_CONNECT,
	FUZZ_LISTEN, FUZZ_DESTROY, FUZZ_RELISTEN, FUZZ_KINDS,
};

/* Our end. Where in the peer's streams the next byte is, for each start. */
struct fuzz_end {
	int fd;				/* -1: closed, or not accepted yet */
	bool used;			/* there was one */
	uint32_t read, wrote;
	uint32_t skipped[FUZZ_STARTS];	/* what is not read */
	bool wrong[FUZZ_STARTS];	/* it began elsewhere */
	unsigned int nr_starts;		/* when the first byte was read */
};

struct fuzz_conn {
	struct fuzz_peer peer;
	struct fuzz_end end;
};

struct fuzz_call {
	enum fuzz_kind kind;
	struct fuzz_conn *conn;
	struct fuzz_conn *fresh;	/* of a call that begins a connection */
	unsigned int step, item;
};

static struct {
	unsigned long calls[FUZZ_KINDS], bytes_in, keys;
} fuzz_call_stats;

/* As in include/uapi/linux/tcp.h, which user space's own headers may not know. */
#ifndef TCP_AO_DEL_KEY
#define TCP_AO_DEL_KEY	39
#define TCP_AO_INFO	40
#define TCP_AO_GET_KEYS	41
#endif

#define FUZZ_AO_CURRENT		0x01
#define FUZZ_AO_RNEXT		0x02
#define FUZZ_AO_ASYNC		0x04	/* of a deletion */
#define FUZZ_AO_GET_ALL		0x04
#define FUZZ_AO_EXCLUDE		0x02	/* of a key */
/* Of TCP_AO_INFO: all but the one that sets counters. */
#define FUZZ_AO_INFO_FLAGS	0x17

struct fuzz_ao_del {
	struct sockaddr_storage addr;
	int ifindex;
	unsigned int flags;
	unsigned short reserved;
	unsigned char prefix, sndid, rcvid, current, rnext, keyflags;
};

struct fuzz_ao_info {
	unsigned int flags;
	unsigned short reserved;
	unsigned char current, rnext;
	unsigned long long counters[5];
};

struct fuzz_ao_get {
	struct sockaddr_storage addr;
	char alg[64];
	unsigned char key[80];
	unsigned int nkeys;
	unsigned short flags;
	unsigned char sndid, rcvid, prefix, maclen, keyflags, keylen;
	int ifindex;
	unsigned long long good, bad;
};

static int fuzz_listeners[2] = { -1, -1 };
static enum fuzz_auth fuzz_listeners_sign[2];

/* Accepted, and not yet found a place. */
static struct {
	int fd;
	unsigned short port;
} fuzz_accepted[FUZZ_ACCEPTED];

static unsigned int fuzz_nr_accepted;
static int fuzz_pipe[2];

static inline socklen_t fuzz_address(enum connp_family family, bool ours,
				     unsigned short port,
				     struct sockaddr_storage *ss)
{
	socklen_t len = connp_address(family, htons(port), ss);
	unsigned int v4 = htonl(ours ? CONNP_PEER_OURS : CONNP_PEER_THEIRS);

	if (family == CONNP_V4)
		((struct sockaddr_in *)ss)->sin_addr.s_addr = v4;
	else if (family == CONNP_MAPPED)
		memcpy(&((struct sockaddr_in6 *)ss)->sin6_addr.s6_addr[12],
		       &v4, 4);
	else
		memcpy(&((struct sockaddr_in6 *)ss)->sin6_addr,
		       ours ? fuzz_our_v6 : fuzz_their_v6, 16);
	return len;
}

static inline int fuzz_socket(enum connp_family family)
{
	int fd = connp_socket(family);

	fcntl(fd, F_SETFL, O_NONBLOCK);
	return fd;
}

/*
 * Whose segments a key is for: the peers' address in one family, or, where
 * sockets are to keep the key of that, an address that nobody has.
 */
static inline unsigned char fuzz_key_address(enum connp_family family,
					     bool nobody,
					     struct sockaddr_storage *ss)
{
	fuzz_address(family, false, 0, ss);
	if (nobody && family == CONNP_V4)
		((struct sockaddr_in *)ss)->sin_addr.s_addr ^= htonl(0xff);
	else if (nobody)
		((struct sockaddr_in6 *)ss)->sin6_addr.s6_addr[15] ^= 0xff;
	return family == CONNP_V6 ? 128 : 32;
}

/* Add a key of MD5, or take it away. */
static inline bool fuzz_key_md5(int fd, enum connp_family family, bool nobody,
				bool add)
{
	struct tcp_md5sig md5 = {
		.tcpm_keylen = add ? strlen(fuzz_md5_key) : 0,
	};

	fuzz_key_address(family, nobody, (void *)&md5.tcpm_addr);
	memcpy(md5.tcpm_key, fuzz_md5_key, strlen(fuzz_md5_key));
	return !setsockopt(fd, IPPROTO_TCP, TCP_MD5SIG, &md5, sizeof(md5));
}

static inline bool fuzz_key_ao(int fd, enum connp_family family, bool nobody,
			       unsigned int key, unsigned int flags)
{
	struct connp_ao_add ao = {
		.alg = "hmac(sha1)", .flags = flags,
		.sndid = FUZZ_AO_SNDID + key, .rcvid = FUZZ_AO_RCVID + key,
		.maclen = FUZZ_AO_LEN,
		.keyflags = fuzz_ao_excludes(key) ? FUZZ_AO_EXCLUDE : 0,
		.keylen = strlen(fuzz_ao_keys[key]),
	};

	ao.prefix = fuzz_key_address(family, nobody, &ao.addr);
	memcpy(ao.key, fuzz_ao_keys[key], ao.keylen);
	return !setsockopt(fd, IPPROTO_TCP, TCP_AO_ADD_KEY, &ao, sizeof(ao));
}

static inline void fuzz_key_ao_del(int fd, enum connp_family family,
				   bool nobody, unsigned int key,
				   unsigned int flags)
{
	struct fuzz_ao_del ao = {
		.flags = flags, .sndid = FUZZ_AO_SNDID + key,
		.rcvid = FUZZ_AO_RCVID + key,
		.current = FUZZ_AO_SNDID + fuzz_draw(FUZZ_AO_KEYS),
		.rnext = FUZZ_AO_RCVID + fuzz_draw(FUZZ_AO_KEYS),
	};

	ao.prefix = fuzz_key_address(family, nobody, &ao.addr);
	setsockopt(fd, IPPROTO_TCP, TCP_AO_DEL_KEY, &ao, sizeof(ao));
}

/* A new socket, in a round of keys; returns what the peer has to sign with. */
static inline enum fuzz_auth fuzz_keys_begin(int fd, enum connp_family family)
{
	static const enum connp_family of_v4[] = { CONNP_V4 };
	static const enum connp_family of_v6[] = { CONNP_V6, CONNP_MAPPED };
	const enum connp_family *families = family == CONNP_V4 ? of_v4 : of_v6;
	unsigned int i, key, n = family == CONNP_V4 ? 1 : 2;
	enum fuzz_auth kind = fuzz_keys.kind;
	bool right = true;

	if (!kind || (!fuzz_keys.strict && fuzz_chance(40)))
		return FUZZ_UNSIGNED;
	for (i = 0; i < n; i++) {
		if (kind == FUZZ_MD5)
			right &= fuzz_key_md5(fd, families[i], false, true);
		for (key = 0; kind == FUZZ_AO && key < FUZZ_AO_KEYS; key++)
			right &= fuzz_key_ao(fd, families[i], false, key, 0);
	}
	if (!right)
		ksft_exit_fail_perror("a key");
	return kind;
}

/* Change something about the keys of a socket, or ask for them. */
static inline void fuzz_keys_change(int fd)
{
	unsigned int which = fuzz_draw(8), key = fuzz_draw(FUZZ_AO_KEYS);
	unsigned int flags = fuzz_chance(30) ? fuzz_draw(4) : 0;
	bool nobody = fuzz_chance(30);
	enum connp_family family;
	struct fuzz_ao_info info = {
		.flags = fuzz_draw32() & FUZZ_AO_INFO_FLAGS,
		.current = FUZZ_AO_SNDID + fuzz_draw(FUZZ_AO_KEYS),
		.rnext = FUZZ_AO_RCVID + fuzz_draw(FUZZ_AO_KEYS),
	};
	struct fuzz_ao_get get[3] = {
		{ .nkeys = 3, .flags = FUZZ_AO_GET_ALL },
	};
	socklen_t len = sizeof(int);
	int domain = AF_INET;

	getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &len);
	family = domain == AF_INET ? CONNP_V4 :
		 fuzz_chance(50) ? CONNP_V6 : CONNP_MAPPED;
	fuzz_trace("descriptor %d: change %u of keys, key %u of %s\n", fd,
		   which, key, nobody ? "nobody" : "peers");
	fuzz_call_stats.keys++;
	switch (which) {
	case 0:
		fuzz_key_md5(fd, family, nobody, true);
		break;
	case 1:
		fuzz_key_md5(fd, family, nobody || fuzz_keys.strict, false);
		break;
	case 2: case 3:
		fuzz_key_ao(fd, family, nobody, key, flags);
		break;
	case 4:
		if (fuzz_chance(20))
			flags |= FUZZ_AO_ASYNC;
		fuzz_key_ao_del(fd, family, nobody || fuzz_keys.strict, key,
				flags);
		break;
	case 5: case 6:
		setsockopt(fd, IPPROTO_TCP, TCP_AO_INFO, &info, sizeof(info));
		break;
	default:
		len = sizeof(get[0]);
		getsockopt(fd, IPPROTO_TCP, TCP_AO_GET_KEYS, get, &len);
		len = sizeof(info);
		getsockopt(fd, IPPROTO_TCP, TCP_AO_INFO, &info, &len);
		break;
	}
}

/* Which of the two can this kernel do? */
static inline void fuzz_keys_start(void)
{
	int fd = fuzz_socket(CONNP_V4);
	bool hashes = fuzz_mac_start();

	fuzz_keys.has[FUZZ_MD5] = hashes && fuzz_key_md5(fd, CONNP_V4, true,
							 true);
	fuzz_keys.has[FUZZ_AO] = hashes && fuzz_key_ao(fd, CONNP_V4, false, 0,
						       0);
	close(fd);
}

/* False if the port is taken, as one that was accepted may listen itself. */
static inline bool fuzz_listen(bool dual)
{
	struct sockaddr_in6 any6 = {
		.sin6_family = AF_INET6, .sin6_port = htons(FUZZ_PORT_DUAL),
	};
	struct sockaddr_in any = {
		.sin_family = AF_INET, .sin_port = htons(FUZZ_PORT),
	};
	int fd = fuzz_socket(dual ? CONNP_V6 : CONNP_V4);

	fuzz_listeners_sign[dual] = fuzz_keys_begin(fd, dual ? CONNP_V6 :
							       CONNP_V4);
	connp_set(fd, SOL_SOCKET, SO_REUSEADDR, 1);
	if (bind(fd, dual ? (void *)&any6 : (void *)&any,
		 dual ? sizeof(any6) : sizeof(any)) ||
	    listen(fd, 1 + fuzz_draw(8))) {
		close(fd);
		return false;
	}
	fuzz_listeners[dual] = fd;
	return true;
}

/*
 * Is this what comes next in one of the streams that the peer may have begun?
 * A byte that was urgent may be missing, and where a FIN was.
 */
static inline void fuzz_check_read(struct fuzz_conn *conn, const void *data,
				   size_t len, bool peek)
{
	const struct fuzz_history *history = conn->peer.history;
	unsigned int i, right = 0, skips = history->skips;
	struct fuzz_end *end = &conn->end;
	size_t done;
	uint32_t pos, skipped;

	if (!len)
		return;
	if (!end->read)
		end->nr_starts = history->nr_starts;
	fuzz_call_stats.bytes_in += len;
	for (i = 0; i < end->nr_starts; i++) {
		if (end->wrong[i])
			continue;
		skipped = end->skipped[i];
		pos = history->starts[i] + end->read;
		for (done = 0; done < len; ) {
			done += fuzz_match(FUZZ_THEIRS, pos + skipped + done,
					   (const char *)data + done,
					   len - done);
			if (done < len && ++skipped > skips)
				break;
		}
		end->wrong[i] = done < len;
		right += done == len;
		if (!peek)
			end->skipped[i] = skipped;
	}
	if (!right)
		fuzz_fail("port %u: %zu wrong bytes read behind %u, of %u streams",
			  conn->peer.port, len, end->read, end->nr_starts);
	if (!peek)
		end->read += len;
}

static inline void fuzz_recv(struct fuzz_conn *conn)
{
	static const int flags[] = {
		0, 0, 0, 0, 0, MSG_PEEK, MSG_PEEK, MSG_TRUNC, MSG_OOB,
		MSG_OOB | MSG_PEEK, MSG_ERRQUEUE, MSG_WAITALL,
	};
	static char data[1 << 16];
	int flag = flags[fuzz_draw(ARRAY_SIZE(flags))];
	size_t len = fuzz_chance(20) ? 1 + fuzz_draw(10) :
				       fuzz_draw(sizeof(data));
	ssize_t got;

	got = recv(conn->end.fd, data, len, flag | MSG_DONTWAIT);
	fuzz_trace("%u: %zd received with %#x\n", conn->peer.port, got, flag);
	if (got <= 0 || flag & (MSG_OOB | MSG_ERRQUEUE))
		return;
	if (flag & MSG_TRUNC) {
		if (!conn->end.read)
			conn->end.nr_starts = conn->peer.history->nr_starts;
		conn->end.read += got;
	} else {
		fuzz_check_read(conn, data, got, flag & MSG_PEEK);
	}
}

static inline void fuzz_send(struct fuzz_conn *conn)
{
	static const int flags[] = {
		0, 0, 0, 0, MSG_MORE, MSG_OOB, MSG_EOR,
	};
	static char data[1 << 16];
	size_t len = fuzz_chance(50) ? fuzz_draw(2000) :
				       fuzz_draw(sizeof(data));
	ssize_t sent;

	fuzz_fill(conn->peer.port, conn->end.wrote, data, len);
	sent = send(conn->end.fd, data, len,
		    flags[fuzz_draw(ARRAY_SIZE(flags))] | MSG_NOSIGNAL | MSG_DONTWAIT);
	fuzz_trace("%u: %zd sent\n", conn->peer.port, sent);
	if (sent > 0)
		conn->end.wrote += sent;
}

static inline void fuzz_splice(struct fuzz_conn *conn)
{
	size_t len = 1 + fuzz_draw(20000);
	char data[20000];
	ssize_t n;

	if (fuzz_chance(60)) {
		n = splice(conn->end.fd, NULL, fuzz_pipe[1], NULL, len,
			   SPLICE_F_NONBLOCK);
		if (n > 0 && read(fuzz_pipe[0], data, n) == n)
			fuzz_check_read(conn, data, n, false);
		return;
	}
	fuzz_fill(conn->peer.port, conn->end.wrote, data, len);
	len = write(fuzz_pipe[1], data, len);
	n = splice(fuzz_pipe[0], NULL, conn->end.fd, NULL, len,
		   SPLICE_F_NONBLOCK | (fuzz_chance(30) ? SPLICE_F_MORE : 0));
	if (n > 0)
		conn->end.wrote += n;
	while (read(fuzz_pipe[0], data, sizeof(data)) > 0)
		;
}

static const struct {
	int level, option;
	int values[4];
} fuzz_options[] = {
	{ IPPROTO_TCP, TCP_NODELAY, { 0, 1, 1, 0 } },
	{ IPPROTO_TCP, TCP_MAXSEG, { 88, 536, FUZZ_MSS, 32767 } },
	{ IPPROTO_TCP, TCP_CORK, { 0, 1, 0, 1 } },
	{ IPPROTO_TCP, TCP_KEEPIDLE, { 1, 1, 32767, 0 } },
	{ IPPROTO_TCP, TCP_KEEPINTVL, { 1, 1, 32767, 0 } },
	{ IPPROTO_TCP, TCP_KEEPCNT, { 1, 2, 127, 0 } },
	{ IPPROTO_TCP, TCP_SYNCNT, { 1, 2, 127, 0 } },
	{ IPPROTO_TCP, TCP_LINGER2, { -1, 0, 1, 60 } },
	{ IPPROTO_TCP, TCP_DEFER_ACCEPT, { 0, 1, 2, 60 } },
	{ IPPROTO_TCP, TCP_WINDOW_CLAMP, { 0, 1, 2000, 1 << 20 } },
	{ IPPROTO_TCP, TCP_QUICKACK, { 0, 1, 2, 3 } },
	{ IPPROTO_TCP, TCP_THIN_LINEAR_TIMEOUTS, { 0, 1, 1, 0 } },
	{ IPPROTO_TCP, TCP_USER_TIMEOUT, { 0, 0, 20, 10000 } },
	{ IPPROTO_TCP, TCP_FASTOPEN, { 0, 1, 5, 5 } },
	{ IPPROTO_TCP, TCP_FASTOPEN_CONNECT, { 0, 1, 1, 0 } },
	{ IPPROTO_TCP, TCP_FASTOPEN_NO_COOKIE, { 0, 1, 1, 0 } },
	{ IPPROTO_TCP, TCP_TIMESTAMP, { 0, 1, INT_MAX, INT_MIN } },
	{ IPPROTO_TCP, TCP_NOTSENT_LOWAT, { 0, 1, 10000, -1 } },
	{ IPPROTO_TCP, TCP_SAVE_SYN, { 0, 1, 2, 1 } },
	{ IPPROTO_TCP, TCP_INQ, { 0, 1, 1, 0 } },
	{ IPPROTO_TCP, TCP_TX_DELAY, { 0, 0, 1000, 0 } },
	{ SOL_SOCKET, SO_RCVBUF, { 0, 3000, 20000, 1 << 20 } },
	{ SOL_SOCKET, SO_SNDBUF, { 0, 5000, 20000, 1 << 20 } },
	{ SOL_SOCKET, SO_RCVLOWAT, { 0, 1, 1000, 100000 } },
	{ SOL_SOCKET, SO_KEEPALIVE, { 0, 1, 1, 0 } },
	{ SOL_SOCKET, SO_MAX_PACING_RATE, { -1, 50000, 1000000, 100000000 } },
	{ SOL_SOCKET, SO_BUSY_POLL, { 0, 50, 50, 0 } },
	{ SOL_SOCKET, SO_INCOMING_CPU, { 0, 1, 0, 1 } },
	{ SOL_SOCKET, SO_TIMESTAMPING, { 0, 0xff, 0x7ff, 0 } },
	{ IPPROTO_IP, IP_TOS, { 0, 1, 2, 0xb8 } },
	{ IPPROTO_IP, IP_RECVERR, { 0, 1, 1, 0 } },
	{ IPPROTO_IP, IP_MTU_DISCOVER, { 0, 1, 2, 3 } },
	{ IPPROTO_IPV6, IPV6_RECVERR, { 0, 1, 1, 0 } },
	{ IPPROTO_IPV6, IPV6_MTU_DISCOVER, { 0, 1, 2, 3 } },
};

/* Options that take something else, or more than one step. */
static inline void fuzz_set_odd(int fd)
{
	struct linger abort = { .l_onoff = 1 };
	const char *congestion = fuzz_chance(50) ? "reno" : "cubic";
	unsigned int which = fuzz_draw(4);
	int on = 1, off = 0;

	fuzz_trace("descriptor %d: odd option %u\n", fd, which);
	switch (which) {
	case 0:
		setsockopt(fd, SOL_SOCKET, SO_LINGER, &abort, sizeof(abort));
		break;
	case 1:
		setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, congestion,
			   strlen(congestion));
		break;
	case 2:
		/* Leaves its group, and returns. */
		setsockopt(fd, IPPROTO_TCP, TCP_REPAIR, &on, sizeof(on));
		setsockopt(fd, IPPROTO_TCP, TCP_REPAIR, &off, sizeof(off));
		break;
	default:
		setsockopt(fd, IPPROTO_TCP, TCP_ULP, "tls", 3);
		break;
	}
}

static inline void fuzz_set(int fd)
{
	unsigned int i = fuzz_draw(ARRAY_SIZE(fuzz_options));
	int value;

	if (fuzz_keys.kind && fuzz_chance(40)) {
		fuzz_keys_change(fd);
		return;
	}
	if (fuzz_chance(15)) {
		fuzz_set_odd(fd);
		return;
	}
	value = fuzz_options[i].values[fuzz_draw(4)];
	fuzz_trace("descriptor %d: option %d of %d to %d\n", fd,
		   fuzz_options[i].option, fuzz_options[i].level, value);
	setsockopt(fd, fuzz_options[i].level, fuzz_options[i].option, &value,
		   sizeof(value));
}

static inline void fuzz_get(int fd)
{
	static const int options[] = {
		TCP_INFO, TCP_CC_INFO, TCP_SAVED_SYN, TCP_MAXSEG, TCP_USER_TIMEOUT,
		TCP_FASTOPEN_KEY, TCP_CONGESTION, TCP_TIMESTAMP, TCP_ULP,
	};
	socklen_t len = 300;
	char value[300];
	int n;

	ioctl(fd, fuzz_chance(50) ? FIONREAD : TIOCOUTQ, &n);
	getsockopt(fd, IPPROTO_TCP, options[fuzz_draw(ARRAY_SIZE(options))], value, &len);
}

static inline void fuzz_accept(int listener)
{
	struct sockaddr_storage ss;
	socklen_t len = sizeof(ss);
	int fd = accept4(listener, (void *)&ss, &len,
			 SOCK_NONBLOCK | SOCK_CLOEXEC);

	if (fd < 0)
		return;
	if (fuzz_nr_accepted == FUZZ_ACCEPTED || len < sizeof(struct sockaddr_in)) {
		close(fd);
		return;
	}
	fuzz_accepted[fuzz_nr_accepted].fd = fd;
	/* At the same place in both families. */
	fuzz_accepted[fuzz_nr_accepted++].port =
		ntohs(((struct sockaddr_in *)&ss)->sin_port);
}

/* The end of a connection, by whoever may: as ss -K does. */
static inline int fuzz_destroy(bool v6, unsigned short ours,
			       unsigned short theirs)
{
	struct {
		struct nlmsghdr header;
		struct inet_diag_req_v2 diag;
	} request = {
		.header.nlmsg_len = sizeof(request),
		.header.nlmsg_type = SOCK_DESTROY,
		.header.nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK,
		.diag.sdiag_family = v6 ? AF_INET6 : AF_INET,
		.diag.sdiag_protocol = IPPROTO_TCP,
		.diag.id.idiag_sport = htons(ours),
		.diag.id.idiag_dport = htons(theirs),
		.diag.id.idiag_src[0] = htonl(CONNP_PEER_OURS),
		.diag.id.idiag_dst[0] = htonl(CONNP_PEER_THEIRS),
		.diag.id.idiag_cookie = { ~0U, ~0U },
	};
	struct {
		struct nlmsghdr header;
		struct nlmsgerr error;
	} answer = {};
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);

	if (v6) {
		memcpy(request.diag.id.idiag_src, fuzz_our_v6, 16);
		memcpy(request.diag.id.idiag_dst, fuzz_their_v6, 16);
	}
	if (fd < 0 || send(fd, &request, sizeof(request), 0) < 0 ||
	    recv(fd, &answer, sizeof(answer), 0) < 0)
		ksft_exit_fail_perror("sock_diag");
	close(fd);
	return answer.error.error;
}

/* Our end begins a connection to another peer. */
static inline void fuzz_connect(struct fuzz_conn *conn,
				struct fuzz_conn *fresh)
{
	struct sockaddr_storage ss;
	char data[1000];
	int fd = conn->end.fd, deferred = 0;
	socklen_t len = sizeof(deferred);
	ssize_t sent;

	getsockopt(fd, IPPROTO_TCP, TCP_FASTOPEN_CONNECT, &deferred, &len);
	fresh->peer.deferred = deferred;
	conn->end.fd = -1;
	fresh->end.fd = fd;
	fresh->end.used = true;
	len = fuzz_address(fresh->peer.family, false, fresh->peer.port, &ss);
	if (fuzz_chance(80)) {
		connect(fd, (void *)&ss, len);
	} else {
		fuzz_fill(fresh->peer.port, 0, data, sizeof(data));
		sent = sendto(fd, data, sizeof(data),
			      MSG_FASTOPEN | MSG_NOSIGNAL, (void *)&ss, len);
		if (sent > 0)
			fresh->end.wrote = sent;
	}
	len = sizeof(ss);
	if (!getsockname(fd, (void *)&ss, &len))
		fresh->peer.ours = ntohs(((struct sockaddr_in *)&ss)->sin_port);
}

/* False if it is not allowed, as with TCP_ULP. */
static inline bool fuzz_unconnect(int fd)
{
	struct sockaddr unspec = { .sa_family = AF_UNSPEC };

	return !connect(fd, &unspec, sizeof(unspec));
}

/* Make one call; what it needs to know is drawn here. */
static inline void fuzz_call(uint64_t round, const struct fuzz_call *call)
{
	struct fuzz_conn *conn = call->conn;
	struct pollfd pollfd = { .events = POLLIN | POLLOUT | POLLPRI };
	bool dual;

	fuzz_begin_item(round, call->step, call->item);
	fuzz_call_stats.calls[call->kind]++;
	dual = fuzz_has_v6 && fuzz_chance(50);
	if (call->kind == FUZZ_ACCEPT) {
		fuzz_accept(fuzz_listeners[dual]);
		return;
	}
	if (call->kind == FUZZ_RELISTEN) {
		close(fuzz_listeners[dual]);
		fuzz_listeners[dual] = -1;
		fuzz_listen(dual);
		return;
	}
	/* Closed by the call before. */
	if (conn->end.fd < 0)
		return;
	fuzz_trace("%u: call %d on descriptor %d\n", conn->peer.port,
		   call->kind, conn->end.fd);
	switch (call->kind) {
	case FUZZ_SEND:
		fuzz_send(conn);
		break;
	case FUZZ_RECV:
		fuzz_recv(conn);
		break;
	case FUZZ_SPLICE:
		fuzz_splice(conn);
		break;
	case FUZZ_SET:
		fuzz_set(fuzz_chance(10) ? fuzz_listeners[dual] : conn->end.fd);
		break;
	case FUZZ_GET:
		fuzz_get(conn->end.fd);
		break;
	case FUZZ_POLL:
		pollfd.fd = conn->end.fd;
		poll(&pollfd, 1, 0);
		break;
	case FUZZ_SHUTDOWN:
		shutdown(conn->end.fd, fuzz_chance(70) ? SHUT_WR :
						 fuzz_draw(3));
		break;
	case FUZZ_CLOSE:
		close(conn->end.fd);
		conn->end.fd = -1;
		break;
	case FUZZ_UNCONNECT:
		fuzz_unconnect(conn->end.fd);
		break;
	case FUZZ_CONNECT:
		if (fuzz_unconnect(conn->end.fd))
			fuzz_connect(conn, call->fresh);
		break;
	case FUZZ_LISTEN:
		/* Has the keys of one family only, and would hear the other. */
		if (fuzz_keys.strict && conn->peer.family != CONNP_V4)
			break;
		listen(conn->end.fd, fuzz_draw(3));
		break;
	case FUZZ_DESTROY:
		fuzz_destroy(fuzz_is_v6(&conn->peer), conn->peer.ours,
			     conn->peer.port);
		break;
	default:
		break;
	}
}

#endif /* FUZZ_CALLS_H */
