/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The wire's side of the fuzzer: the draws that all decisions come from, what
 * a peer knows of our end, and the segments that it makes of that.
 *
 * A segment begins as one that is as it should be; numbers, flags, options and
 * the packet around it are then bent one by one. Numbers are taken from around
 * the boundaries that the kernel compares with, so most of them are nearly right.
 *
 * All bytes that peers send tell their sequence number, and all bytes that our
 * ends send tell their place in the stream: so whoever reads one can tell
 * whether it belongs there, however often it was sent, and how it was cut.
 */
#ifndef FUZZ_WIRE_H
#define FUZZ_WIRE_H

#include <linux/ipv6.h>
#include <sys/mount.h>

#include "fuzz_mac.h"

/* What the wire carries at most in a packet of ours, and in one of theirs. */
#define FUZZ_MSS	1460
#define FUZZ_DATA	9000
#define FUZZ_OPTIONS	40
#define FUZZ_STARTS	32
/* The stream of all that peers send; ours have the port of their peer. */
#define FUZZ_THEIRS	0x10000
/* Bytes that are not to be let in. */
#define FUZZ_FORGED	0x20000
/* More than any state: a request that is no socket yet. */
#define FUZZ_REQUEST	(TCP_CLOSING + 1)
#define FUZZ_STATES	(FUZZ_REQUEST + 1)

static const char * const fuzz_states[FUZZ_STATES] = {
	[TCP_ESTABLISHED] = "ESTABLISHED", [TCP_SYN_SENT] = "SYN_SENT",
	[TCP_SYN_RECV] = "SYN_RECV", [TCP_FIN_WAIT1] = "FIN_WAIT1",
	[TCP_FIN_WAIT2] = "FIN_WAIT2", [TCP_TIME_WAIT] = "TIME_WAIT",
	[TCP_CLOSE] = "CLOSE", [TCP_CLOSE_WAIT] = "CLOSE_WAIT",
	[TCP_LAST_ACK] = "LAST_ACK", [TCP_LISTEN] = "LISTEN",
	[TCP_CLOSING] = "CLOSING", [FUZZ_REQUEST] = "NEW_SYN_RECV",
};

/*
 * Decisions. Each item of a round has draws of its own, so that one that comes
 * out differently, because a packet was late, does not change those after it.
 */
static __thread uint64_t fuzz_drawn;

static inline uint64_t fuzz_mix(uint64_t x)
{
	/* splitmix64 */
	x += 0x9e3779b97f4a7c15;
	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
	x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
	return x ^ (x >> 31);
}

static inline void fuzz_begin_item(uint64_t round, unsigned int step,
				   unsigned int item)
{
	fuzz_drawn = fuzz_mix(round ^ ((uint64_t)step << 32) ^ item);
}

static inline uint32_t fuzz_draw32(void)
{
	fuzz_drawn = fuzz_mix(fuzz_drawn);
	return fuzz_drawn >> 32;
}

static inline unsigned int fuzz_draw(unsigned int below)
{
	return ((uint64_t)fuzz_draw32() * below) >> 32;
}

static inline bool fuzz_chance(unsigned int percent)
{
	return fuzz_draw(100) < percent;
}

/* Byte @pos of stream @stream; no shift of a stream looks like itself. */
static inline unsigned char fuzz_byte(unsigned int stream, uint32_t pos)
{
	uint32_t x = pos ^ stream * 0x9e3779b1;

	x = (x ^ (x >> 16)) * 0x7feb352d;
	x = (x ^ (x >> 15)) * 0x846ca68b;
	return x >> 24;
}

static inline void fuzz_fill(unsigned int stream, uint32_t pos, void *buf,
			     size_t len)
{
	unsigned char *p = buf;
	size_t i;

	for (i = 0; i < len; i++)
		p[i] = fuzz_byte(stream, pos + i);
}

/* How many of these bytes are right, until the first that is not. */
static inline size_t fuzz_match(unsigned int stream, uint32_t pos,
				const void *buf, size_t len)
{
	const unsigned char *p = buf;
	size_t i;

	for (i = 0; i < len && p[i] == fuzz_byte(stream, pos + i); i++)
		;
	return i;
}

/* What has been said between two ports, in all connections that they had. */
struct fuzz_history {
	/* Where our stream may begin: behind each SYN that left. */
	uint32_t our_starts[FUZZ_STARTS];
	unsigned int nr_our_starts;
	/* Where the peer's may: behind each SYN that arrived. */
	uint32_t starts[FUZZ_STARTS];
	atomic_uint nr_starts;
	atomic_uint skips;		/* may be missing: urgent bytes, FINs */
};

/* The other end of a connection of ours, of which it knows what it has seen. */
struct fuzz_peer {
	enum connp_family family;
	unsigned short port;		/* host order, as is */
	atomic_ushort ours;
	atomic_bool deferred;		/* our end's SYN waits for a byte */
	int state;			/* of our end, as was last seen */
	uint32_t isn, next;		/* behind the last byte that was sent */
	bool finished;			/* and that was a FIN */
	uint32_t clock;			/* for timestamps */
	bool stamps;			/* our end sends timestamps */
	bool scales;			/* and scaled windows, by */
	unsigned char scale;
	enum fuzz_auth signs;		/* as our end did last */
	unsigned char key;		/* which one it asked for */
	/* What our end said last. */
	bool heard;
	uint32_t our_una, our_next, our_ack, our_window, our_stamp;
	struct fuzz_history *history;
};

struct fuzz_segment {
	unsigned char flags;
	uint32_t seq, ack;
	unsigned short window, urgent;
	unsigned char options[FUZZ_OPTIONS];
	unsigned int nr_options, len;
	bool forged;			/* its signature is missing, or wrong */
};

/* The keys of a round, which most have none of. */
static struct {
	bool has[FUZZ_AUTHS];		/* can this kernel do it? */
	enum fuzz_auth kind;		/* FUZZ_UNSIGNED: no keys */
	/*
	 * All sockets have these, all the time: what is not signed is to be
	 * dropped, and never leaves. Otherwise keys come and go.
	 */
	bool strict;
} fuzz_keys;

enum fuzz_damage {
	FUZZ_INTACT, FUZZ_CHECKSUM, FUZZ_CUT, FUZZ_HEADER, FUZZ_FRAGMENTS,
	FUZZ_DAMAGES,
};

/* Somebody makes allocations fail: the soak. */
static bool fuzz_memory_fails;

/* Say what is done, for who looks into one round. */
static bool fuzz_traced;

#define fuzz_trace(...)							\
do {									\
	if (fuzz_traced)						\
		ksft_print_msg(__VA_ARGS__);				\
} while (0)

/* The devices: one processes what is written at once, one on another CPU. */
static int fuzz_other_tun = -1;
static bool fuzz_has_v6;
static const unsigned char fuzz_our_v6[16] = {
	0xfd, 0x77, 0, 0x77, [15] = 1,
};

static const unsigned char fuzz_their_v6[16] = {
	0xfd, 0x77, 0, 0x77, [15] = 2,
};

static struct {
	unsigned long in[FUZZ_STATES], out, damaged[FUZZ_DAMAGES];
	unsigned long icmp, bytes_out;
	unsigned long signed_in[FUZZ_AUTHS], signed_out[FUZZ_AUTHS], forged;
} fuzz_wire_stats;

/* The first thing that was wrong, for the end of the round. */
static char fuzz_wrong[256];

#define fuzz_fail(...)							\
do {									\
	if (!fuzz_wrong[0])						\
		snprintf(fuzz_wrong, sizeof(fuzz_wrong), __VA_ARGS__);	\
} while (0)

/* As an outsider's: it begins near an end of the numbers quite often. */
static inline uint32_t fuzz_draw_isn(void)
{
	uint32_t near = fuzz_draw(4000) - 2000;

	switch (fuzz_draw(4)) {
	case 0:
		return near;
	case 1:
		return 0x80000000 + near;
	default:
		return fuzz_draw32();
	}
}

static inline uint32_t fuzz_draw_delta(void)
{
	static const int deltas[] = {
		0, 0, 0, 0, 1, -1, 2, -2, 100, -100, FUZZ_MSS, -FUZZ_MSS,
		FUZZ_MSS + 1, 65535, -65535, 1 << 20,
	};

	return deltas[fuzz_draw(ARRAY_SIZE(deltas))];
}

/* The peer's sequence numbers that matter to our end. */
static inline uint32_t fuzz_draw_seq(const struct fuzz_peer *peer)
{
	uint32_t expected = peer->heard ? peer->our_ack : peer->isn;

	switch (fuzz_draw(12)) {
	case 0: case 1: case 2:
		return expected + fuzz_draw_delta();
	case 3: case 4:
		return expected + peer->our_window + fuzz_draw_delta();
	case 5:
		return expected + fuzz_draw(peer->our_window + 1);
	case 6: case 7:
		return peer->next + fuzz_draw_delta();
	case 8: case 9:
		return peer->isn + fuzz_draw(3);
	case 10:
		return expected + 0x80000000 + fuzz_draw_delta();
	default:
		return fuzz_draw32();
	}
}

static inline uint32_t fuzz_draw_ack(const struct fuzz_peer *peer)
{
	uint32_t flight = peer->our_next - peer->our_una;

	switch (fuzz_draw(12)) {
	case 0: case 1: case 2: case 3:
		return peer->our_next + fuzz_draw_delta();
	case 4: case 5: case 6:
		return peer->our_una + fuzz_draw_delta();
	case 7: case 8: case 9:
		return peer->our_una + fuzz_draw(flight + 1);
	case 10:
		return peer->our_next + 0x80000000 + fuzz_draw_delta();
	default:
		return fuzz_draw32();
	}
}

static inline unsigned int fuzz_draw_len(void)
{
	switch (fuzz_draw(8)) {
	case 0: case 1:
		return 0;
	case 2:
		return 1;
	case 3:
		return FUZZ_MSS - 12 + fuzz_draw(14);
	case 4: case 5: case 6:
		return fuzz_draw(600);
	default:
		return fuzz_draw(FUZZ_DATA);
	}
}

static inline unsigned short fuzz_draw_window(void)
{
	static const unsigned short windows[] = {
		0, 0, 1, 2, 100, FUZZ_MSS - 1, FUZZ_MSS, 5000, 0x7fff, 0x8000,
		65535, 65535,
	};

	return windows[fuzz_draw(ARRAY_SIZE(windows))];
}

static inline void fuzz_option(struct fuzz_segment *segment,
			       unsigned char byte)
{
	if (segment->nr_options < FUZZ_OPTIONS)
		segment->options[segment->nr_options++] = byte;
}

static inline void fuzz_option32(struct fuzz_segment *segment, uint32_t value)
{
	int shift;

	for (shift = 24; shift >= 0; shift -= 8)
		fuzz_option(segment, value >> shift);
}

static inline void fuzz_option_stamps(struct fuzz_segment *segment,
				      uint32_t value, uint32_t echo)
{
	fuzz_option(segment, TCPOPT_NOP);
	fuzz_option(segment, TCPOPT_NOP);
	fuzz_option(segment, TCPOPT_TIMESTAMP);
	fuzz_option(segment, TCPOLEN_TIMESTAMP);
	fuzz_option32(segment, value);
	fuzz_option32(segment, echo);
}

/* As of a SYN: with everything, or without some of it. */
static inline void fuzz_options_syn(struct fuzz_segment *segment,
				    struct fuzz_peer *peer)
{
	static const unsigned short mss[] = {
		FUZZ_MSS, FUZZ_MSS, FUZZ_MSS, 536, 88, 1, 0, 65535,
	};
	static const unsigned char scales[] = { 0, 0, 1, 2, 7, 14, 15, 255 };
	unsigned int i, wanted;

	if (fuzz_chance(80)) {
		wanted = mss[fuzz_draw(ARRAY_SIZE(mss))];
		fuzz_option(segment, TCPOPT_MAXSEG);
		fuzz_option(segment, TCPOLEN_MAXSEG);
		fuzz_option(segment, wanted >> 8);
		fuzz_option(segment, wanted);
	}
	if (fuzz_chance(75)) {
		fuzz_option(segment, TCPOPT_SACK_PERMITTED);
		fuzz_option(segment, TCPOLEN_SACK_PERMITTED);
	}
	if (fuzz_chance(60))
		fuzz_option_stamps(segment, peer->clock, peer->our_stamp);
	peer->scales = fuzz_chance(60);
	if (peer->scales) {
		fuzz_option(segment, TCPOPT_WINDOW);
		fuzz_option(segment, TCPOLEN_WINDOW);
		fuzz_option(segment, scales[fuzz_draw(ARRAY_SIZE(scales))]);
	}
	if (fuzz_chance(15)) {
		/* Fast open: asks for a cookie, or has none of ours. */
		wanted = fuzz_chance(50) ? 0 : fuzz_draw(10) * 2;
		fuzz_option(segment, 34);
		fuzz_option(segment, 2 + wanted);
		for (i = 0; i < wanted; i++)
			fuzz_option(segment, fuzz_draw(256));
	}
}

/* Blocks anywhere around what is in flight, some the wrong way round. */
static inline void fuzz_option_sack(struct fuzz_segment *segment,
				    const struct fuzz_peer *peer)
{
	unsigned int blocks = 1 + fuzz_draw(4), len = 2 + 8 * blocks;
	uint32_t left;

	if (fuzz_chance(10))
		len += fuzz_draw(16) - 8;
	fuzz_option(segment, TCPOPT_NOP);
	fuzz_option(segment, TCPOPT_NOP);
	fuzz_option(segment, TCPOPT_SACK);
	fuzz_option(segment, len);
	while (blocks--) {
		left = fuzz_draw_ack(peer);
		fuzz_option32(segment, left);
		fuzz_option32(segment, fuzz_chance(70) ?
				       left + fuzz_draw(2 * FUZZ_MSS) :
				       fuzz_draw_ack(peer));
	}
}

/* Any kinds, MD5's, AO's, MPTCP's and experiments among them, of any length. */
static inline void fuzz_options_any(struct fuzz_segment *segment)
{
	static const unsigned char kinds[] = {
		TCPOPT_EOL, TCPOPT_NOP, TCPOPT_MAXSEG, TCPOPT_WINDOW,
		TCPOPT_SACK_PERMITTED, TCPOPT_SACK, TCPOPT_TIMESTAMP, 19, 28,
		29, 30, 34, 253, 254, 255,
	};
	static const unsigned char lens[] = {
		0, 1, 2, 3, 4, 6, 8, 10, 12, 16, 18, 20, 26, 34, 38, 40, 41, 255,
	};
	unsigned int i, len, options = 1 + fuzz_draw(4);

	while (options--) {
		fuzz_option(segment, kinds[fuzz_draw(ARRAY_SIZE(kinds))]);
		len = lens[fuzz_draw(ARRAY_SIZE(lens))];
		fuzz_option(segment, len);
		len = fuzz_chance(80) ? len : fuzz_draw(12);
		for (i = 2; i < len; i++)
			fuzz_option(segment, fuzz_chance(20) ?
					     0xf9 : fuzz_draw(256));
	}
}

static inline bool fuzz_after(uint32_t a, uint32_t b)
{
	return (int32_t)(a - b) > 0;
}

/* A segment that our end has every reason to take. */
static inline void fuzz_segment_init(struct fuzz_segment *segment,
				     struct fuzz_peer *peer,
				     unsigned char flags)
{
	memset(segment, 0, sizeof(*segment));
	segment->flags = flags;
	segment->window = 65535;
	peer->clock++;
	if (flags & TH_SYN) {
		segment->seq = peer->isn;
		segment->ack = flags & TH_ACK ? peer->our_next : 0;
		fuzz_options_syn(segment, peer);
		return;
	}
	segment->seq = peer->next;
	segment->ack = peer->our_next;
	/* What did not fit, or was lost, is sent again. */
	if (peer->heard && !peer->finished &&
	    fuzz_after(peer->next, peer->our_ack) &&
	    (fuzz_chance(30) ||
	     fuzz_after(peer->next, peer->our_ack + peer->our_window)))
		segment->seq = peer->our_ack;
	if (peer->stamps)
		fuzz_option_stamps(segment, peer->clock, peer->our_stamp);
}

/* Make one thing about it odd. */
static inline void fuzz_segment_bend(struct fuzz_segment *segment,
				     struct fuzz_peer *peer)
{
	switch (fuzz_draw(12)) {
	case 0: case 1: case 2:
		segment->seq = fuzz_draw_seq(peer);
		break;
	case 3: case 4:
		segment->ack = fuzz_draw_ack(peer);
		break;
	case 5:
		/* The end of connections: not as often as the rest. */
		segment->flags ^= 1 << fuzz_draw(8);
		if (fuzz_chance(80))
			segment->flags &= ~(TH_RST | TH_SYN);
		break;
	case 6:
		segment->window = fuzz_draw_window();
		break;
	case 7:
		segment->len = fuzz_draw_len();
		break;
	case 8:
		segment->nr_options = 0;
		fuzz_options_any(segment);
		break;
	case 9:
		if (!(segment->flags & TH_SYN)) {
			segment->nr_options = fuzz_chance(50) ?
					      segment->nr_options : 0;
			fuzz_option_sack(segment, peer);
		} else {
			fuzz_options_syn(segment, peer);
		}
		break;
	case 10:
		segment->nr_options = 0;
		fuzz_option_stamps(segment, peer->clock - fuzz_draw_delta(),
				   peer->our_stamp - fuzz_draw_delta());
		break;
	default:
		segment->flags |= TH_URG;
		segment->urgent = fuzz_chance(60) ? fuzz_draw(4) :
						    fuzz_draw(65536);
		break;
	}
}

static inline bool fuzz_is_v6(const struct fuzz_peer *peer)
{
	return peer->family == CONNP_V6;
}

/* The addresses' part of the checksum, and what it says of the rest. */
static inline unsigned int fuzz_sum_pseudo(const void *addresses, bool v6,
					   unsigned int protocol,
					   unsigned int len)
{
	return connp_sum(addresses, v6 ? 32 : 8) + protocol + len;
}

static inline void fuzz_write(const void *packet, size_t len, bool other_cpu)
{
	int tun = other_cpu && fuzz_other_tun >= 0 ? fuzz_other_tun : connp_tun;

	/* EINVAL is the device's: not even a packet. */
	if (write(tun, packet, len) < 0 && errno != EINVAL)
		ksft_exit_fail_perror("writing a packet");
}

/* Put the IP header before a payload; returns the length of that. */
static inline unsigned int fuzz_ip_header(void *packet, bool v6,
					  unsigned int protocol,
					  unsigned int len)
{
	struct ipv6hdr *ip6 = packet;
	struct iphdr *ip = packet;

	if (v6) {
		memset(ip6, 0, sizeof(*ip6));
		ip6->version = 6;
		ip6->payload_len = htons(len);
		ip6->nexthdr = protocol;
		ip6->hop_limit = 64;
		memcpy(&ip6->saddr, fuzz_their_v6, 16);
		memcpy(&ip6->daddr, fuzz_our_v6, 16);
		return sizeof(*ip6);
	}
	memset(ip, 0, sizeof(*ip));
	ip->version = 4;
	ip->ihl = 5;
	ip->tot_len = htons(sizeof(*ip) + len);
	ip->ttl = 64;
	ip->protocol = protocol;
	ip->saddr = htonl(CONNP_PEER_THEIRS);
	ip->daddr = htonl(CONNP_PEER_OURS);
	ip->check = connp_fold(connp_sum(ip, sizeof(*ip)));
	return sizeof(*ip);
}

/* One fragment of the bytes from @from to @to of @payload. */
static inline void fuzz_write_fragment(bool v6, const unsigned char *payload,
				       unsigned int from, unsigned int to,
				       bool more, uint32_t id)
{
	unsigned char packet[FUZZ_DATA + 200];
	struct iphdr *ip = (void *)packet;
	unsigned int header;

	if (v6) {
		header = fuzz_ip_header(packet, v6, 44, to - from + 8);
		packet[header++] = IPPROTO_TCP;
		packet[header++] = 0;
		packet[header++] = from >> 8;
		packet[header++] = (from & 0xf8) | more;
		memcpy(packet + header, &id, 4);
		header += 4;
	} else {
		header = fuzz_ip_header(packet, v6, IPPROTO_TCP, to - from);
		ip->id = id;
		ip->frag_off = htons(from / 8 | (more ? IP_MF : 0));
		ip->check = 0;
		ip->check = connp_fold(connp_sum(ip, header));
	}
	memcpy(packet + header, payload + from, to - from);
	fuzz_write(packet, header + to - from, false);
}

/* In two, in any order; they may overlap, or one may be missing. */
static inline void fuzz_write_fragments(bool v6, const unsigned char *payload,
					unsigned int len)
{
	unsigned int cut = (8 + fuzz_draw(len)) & ~7, again = 0;
	uint32_t id = fuzz_draw32();
	bool last_first = fuzz_chance(50);
	unsigned int missing = fuzz_draw(16), i;

	if (cut >= len)
		cut = 8;
	if (fuzz_chance(15))
		again = 8;
	for (i = 0; i < 2; i++) {
		if (i == missing)
			continue;
		if (i == last_first)
			fuzz_write_fragment(v6, payload, 0, cut, true, id);
		else
			fuzz_write_fragment(v6, payload, cut - again, len,
					    false, id);
	}
}

/* A stream of the peer may begin here; false if there are too many already. */
static inline bool fuzz_begins(struct fuzz_history *history, uint32_t seq)
{
	unsigned int i, starts = history->nr_starts;

	for (i = 0; i < starts && history->starts[i] != seq; i++)
		;
	if (i == FUZZ_STARTS)
		return false;
	history->starts[i] = seq;
	if (i == starts)
		history->nr_starts = i + 1;
	return true;
}

/* A stream of ours may begin here; true if that is new. */
static inline bool fuzz_we_begin(struct fuzz_history *history, uint32_t seq)
{
	unsigned int i;

	for (i = 0; i < history->nr_our_starts; i++)
		if (history->our_starts[i] == seq)
			return false;
	if (i == FUZZ_STARTS)
		return false;
	history->our_starts[history->nr_our_starts++] = seq;
	return true;
}

/*
 * A SYN cookie is checked, in stock as well, only for how far the two numbers of
 * an ACK are apart, and in its low bits is which of four MSS it was. So one
 * whose numbers are both as far from right begins streams elsewhere, the peer's
 * and ours.
 */
static inline bool fuzz_passes_for_cookie(const struct fuzz_history *history,
					  const struct fuzz_segment *segment)
{
	unsigned int i, j, starts = history->nr_starts;
	int32_t apart;

	if ((segment->flags & (TH_SYN | TH_ACK)) != TH_ACK)
		return false;
	for (i = 0; i < starts; i++) {
		for (j = 0; j < history->nr_our_starts; j++) {
			apart = (segment->seq - history->starts[i]) -
				(segment->ack - history->our_starts[j]);
			if (abs(apart) < 4)
				return true;
		}
	}
	return false;
}

/* How many bytes of the options are whole options that fit into @room. */
static inline unsigned int fuzz_options_fit(const struct fuzz_segment *segment,
					    unsigned int room)
{
	unsigned int i = 0, next;

	if (segment->nr_options <= room)
		return segment->nr_options;
	while (i < segment->nr_options) {
		next = i + 1;
		if (segment->options[i] > TCPOPT_NOP &&
		    next < segment->nr_options && segment->options[next] >= 2)
			next = i + segment->options[next];
		if (next > room)
			break;
		i = next;
	}
	return i;
}

/* Begin the options with those of a signature; returns their length. */
static inline unsigned int fuzz_put_auth(unsigned char *options,
					 const struct fuzz_peer *peer,
					 enum fuzz_auth auth)
{
	switch (auth) {
	case FUZZ_MD5:
		memset(options, 0, 4 + FUZZ_MD5_LEN);
		options[0] = TCPOPT_NOP;
		options[1] = TCPOPT_NOP;
		options[2] = FUZZ_OPT_MD5;
		options[3] = 2 + FUZZ_MD5_LEN;
		return 4 + FUZZ_MD5_LEN;
	case FUZZ_AO:
		memset(options, 0, 4 + FUZZ_AO_LEN);
		options[0] = FUZZ_OPT_AO;
		options[1] = 4 + FUZZ_AO_LEN;
		options[2] = FUZZ_AO_RCVID + peer->key;
		/* Now and then, our end is to change its key. */
		options[3] = FUZZ_AO_SNDID + (fuzz_chance(10) ?
			     fuzz_draw(FUZZ_AO_KEYS) : peer->key);
		return 4 + FUZZ_AO_LEN;
	default:
		return 0;
	}
}

/*
 * Sign what a peer sends, whose header is as it will arrive; if that still has
 * the @auth_len bytes of the option.
 */
static inline void fuzz_sign(const struct fuzz_peer *peer,
			     const struct fuzz_ends *ends, enum fuzz_auth auth,
			     unsigned int auth_len)
{
	const struct fuzz_history *history = peer->history;
	unsigned char *option = (void *)(ends->tcp + 1);
	unsigned int starts = history->nr_our_starts;
	uint32_t from = peer->isn, to;

	if (ends->tcp->doff * 4 < sizeof(*ends->tcp) + auth_len ||
	    ends->tcp->doff * 4 > ends->len)
		return;
	if (auth == FUZZ_MD5) {
		fuzz_mac_md5(ends, option + 4);
		return;
	}
	to = starts ? history->our_starts[starts - 1] - 1 : 0;
	if (ends->tcp->syn && !ends->tcp->ack)
		to = 0;
	/* A reset may be all that is ever heard of this peer. */
	if (ends->tcp->syn || (ends->tcp->rst && peer->state == TCP_SYN_SENT))
		from = ntohl(ends->tcp->seq);
	fuzz_mac_ao(ends, sizeof(*ends->tcp), peer->key, from, to, option + 4);
}

/*
 * What is not to be let in: no signature, two, one of the other kind, by a key
 * that there is not, or one that is wrong. Returns by which it is signed at all.
 */
static inline enum fuzz_auth fuzz_forge(struct fuzz_segment *segment,
					unsigned int *wrong)
{
	enum fuzz_auth right = fuzz_keys.kind;

	*wrong = 0;
	switch (fuzz_draw(right == FUZZ_AO ? 5 : 4)) {
	case 0:
		return FUZZ_UNSIGNED;
	case 1:
		return FUZZ_MD5 + FUZZ_AO - right;
	case 2:
		/* Two at once. */
		segment->nr_options = 0;
		fuzz_option(segment, right == FUZZ_AO ? FUZZ_OPT_MD5 :
							FUZZ_OPT_AO);
		fuzz_option(segment, right == FUZZ_AO ? 18 : 16);
		while (segment->nr_options < (right == FUZZ_AO ? 18U : 16U))
			fuzz_option(segment, fuzz_draw(256));
		return right;
	case 3:
		*wrong = 4 + fuzz_draw(FUZZ_AO_LEN);
		return right;
	default:
		/* The key's ID. */
		*wrong = 2;
		return right;
	}
}

/* Have a segment arrive, in a packet that is damaged so. */
static inline void fuzz_arrive(struct fuzz_peer *peer,
			       struct fuzz_segment *segment,
			       enum fuzz_damage damage)
{
	static unsigned char packet[FUZZ_DATA + 200];
	enum fuzz_auth auth = fuzz_keys.kind ? peer->signs : FUZZ_UNSIGNED;
	unsigned char signature[FUZZ_OPTIONS];
	unsigned int header, options, len, auth_len, wrong = 0;
	struct fuzz_history *history = peer->history;
	bool v6 = fuzz_is_v6(peer), other_cpu = fuzz_chance(30);
	uint32_t seq = segment->seq;
	/* Before it is asked whether it may be sent there. */
	unsigned short ours = peer->ours;
	struct fuzz_ends ends;
	struct tcphdr *tcp;

	/*
	 * Stock cannot bear a segment in SYN_SENT before it has sent a SYN: a
	 * SYN makes a connection whose window is 0 and with that, if then a
	 * byte is sent and some are read, a division by zero.
	 */
	if (peer->deferred && !history->nr_our_starts)
		return;
	if (segment->flags & TH_SYN)
		seq++;
	if (segment->forged) {
		auth = fuzz_forge(segment, &wrong);
	} else if (fuzz_passes_for_cookie(history, segment)) {
		if (!fuzz_begins(history, seq))
			return;
		fuzz_we_begin(history, segment->ack);
	} else if (segment->flags & TH_SYN && !fuzz_begins(history, seq)) {
		return;
	}
	/*
	 * In a backlog, what follows a FIN may be appended to it, in stock as
	 * well, and is read then.
	 */
	if (!segment->forged)
		history->skips += !!(segment->flags & TH_URG) +
				  !!(segment->flags & TH_FIN);

	auth_len = fuzz_put_auth(signature, peer, auth);
	segment->nr_options = fuzz_options_fit(segment,
					       FUZZ_OPTIONS - auth_len);
	options = (auth_len + segment->nr_options + 3) & ~3;
	len = sizeof(*tcp) + options + segment->len;
	header = fuzz_ip_header(packet, v6, IPPROTO_TCP, len);
	tcp = (void *)(packet + header);
	memset(tcp, 0, len);
	tcp->source = htons(peer->port);
	tcp->dest = htons(ours);
	tcp->seq = htonl(segment->seq);
	tcp->ack_seq = htonl(segment->ack);
	tcp->doff = (sizeof(*tcp) + options) / 4;
	tcp->th_flags = segment->flags;
	tcp->window = htons(segment->window);
	tcp->urg_ptr = htons(segment->urgent);
	memcpy(tcp + 1, signature, auth_len);
	memcpy((char *)(tcp + 1) + auth_len, segment->options,
	       segment->nr_options);
	if (damage == FUZZ_HEADER)
		tcp->doff = fuzz_draw(16);
	/* Wherever it begins, it is right. */
	if (tcp->doff >= 5 && tcp->doff * 4 <= len)
		fuzz_fill(segment->forged ? FUZZ_FORGED : FUZZ_THEIRS, seq,
			  (char *)tcp + tcp->doff * 4, len - tcp->doff * 4);
	ends = (struct fuzz_ends){
		.addresses = packet + (v6 ? 8 : 12), .v6 = v6, .tcp = tcp,
		.len = len,
	};
	if (auth)
		fuzz_sign(peer, &ends, auth, auth_len);
	if (wrong)
		((unsigned char *)(tcp + 1))[wrong] ^= 1 << fuzz_draw(8);
	tcp->check = connp_fold(fuzz_sum_pseudo(packet + (v6 ? 8 : 12), v6,
						IPPROTO_TCP, len) +
				connp_sum(tcp, len));
	if (damage == FUZZ_CHECKSUM)
		tcp->check ^= 1 + fuzz_draw(65535);

	fuzz_trace("%u to %u: %sflags %02x, seq %u (%d), ack %u (%d), %u bytes, window %u, damage %d\n",
		   peer->port, ours, segment->forged ? "forged, " : "",
		   segment->flags, segment->seq,
		   segment->seq - peer->isn, segment->ack,
		   segment->ack - history->our_starts[0], segment->len,
		   segment->window, damage);
	fuzz_wire_stats.damaged[damage]++;
	if (segment->forged)
		fuzz_wire_stats.forged++;
	else
		fuzz_wire_stats.signed_in[auth]++;
	if (damage == FUZZ_FRAGMENTS)
		fuzz_write_fragments(v6, (void *)tcp, len);
	else if (damage == FUZZ_CUT)
		fuzz_write(packet, header + fuzz_draw(len), other_cpu);
	else
		fuzz_write(packet, header + len, other_cpu);
}

/* An ICMP error about a segment of ours, which may never have been. */
static inline void fuzz_arrive_icmp(struct fuzz_peer *peer)
{
	static const unsigned char types[] = { 3, 3, 3, 4, 11, 12 };
	static const unsigned char types6[] = { 1, 1, 2, 2, 3, 4 };
	static const unsigned short mtus[] = { 0, 68, 500, 1280, 1400, 1500 };
	bool v6 = fuzz_is_v6(peer);
	unsigned int protocol = v6 ? IPPROTO_ICMPV6 : IPPROTO_ICMP;
	unsigned int header, quoted, len;
	unsigned char packet[200] = {}, *icmp, swapped[32];
	unsigned int size = v6 ? 16 : 4, addresses = v6 ? 8 : 12;
	struct tcphdr *tcp;
	unsigned short check;

	header = v6 ? sizeof(struct ipv6hdr) : sizeof(struct iphdr);
	icmp = packet + header;
	icmp[0] = v6 ? types6[fuzz_draw(ARRAY_SIZE(types6))] :
		       types[fuzz_draw(ARRAY_SIZE(types))];
	icmp[1] = fuzz_chance(30) ? 4 : fuzz_draw(16);
	*(unsigned short *)(icmp + 6) = htons(mtus[fuzz_draw(ARRAY_SIZE(mtus))]);

	/* What it is about was sent from us to them. */
	quoted = fuzz_ip_header(icmp + 8, v6, IPPROTO_TCP, sizeof(*tcp));
	memcpy(swapped, icmp + 8 + addresses + size, size);
	memcpy(swapped + size, icmp + 8 + addresses, size);
	memcpy(icmp + 8 + addresses, swapped, 2 * size);
	tcp = (void *)(icmp + 8 + quoted);
	tcp->source = htons(peer->ours);
	tcp->dest = htons(peer->port);
	tcp->seq = htonl(fuzz_draw_ack(peer));
	tcp->doff = 5;
	len = 8 + quoted + (fuzz_chance(80) ? sizeof(*tcp) : 8);

	fuzz_ip_header(packet, v6, protocol, len);
	check = connp_fold(connp_sum(icmp, len) +
			   (v6 ? fuzz_sum_pseudo(packet + addresses, v6,
						 protocol, len) : 0));
	memcpy(icmp + 2, &check, 2);
	fuzz_wire_stats.icmp++;
	fuzz_write(packet, header + len, fuzz_chance(30));
}

/* What our end has told with its options. */
/* Where this option of ours is, from the begin of the TCP header; or 0. */
static inline unsigned int fuzz_find_option(const struct tcphdr *tcp,
					    unsigned char wanted)
{
	const unsigned char *header = (void *)tcp;
	unsigned int i = sizeof(*tcp), end = tcp->doff * 4, len, found = 0;

	/* To the end, as all of them have to be right. */
	while (i < end && header[i] != TCPOPT_EOL) {
		len = 1;
		if (header[i] != TCPOPT_NOP) {
			len = i + 1 < end ? header[i + 1] : 0;
			if (len < 2 || i + len > end) {
				fuzz_fail("a segment left with broken options");
				return 0;
			}
		}
		if (header[i] == wanted)
			found = i;
		i += len;
	}
	return found;
}

static inline void fuzz_read_options(struct fuzz_peer *peer,
				     const struct tcphdr *tcp)
{
	unsigned int stamp = fuzz_find_option(tcp, TCPOPT_TIMESTAMP);
	unsigned int scale = fuzz_find_option(tcp, TCPOPT_WINDOW);
	const unsigned char *header = (void *)tcp;
	uint32_t value;

	peer->stamps = stamp;
	if (stamp) {
		memcpy(&value, header + stamp + 2, sizeof(value));
		peer->our_stamp = ntohl(value);
	}
	if (scale)
		peer->scale = header[scale + 2];
}

/* Our bytes tell their place; @seq is that of the first. */
static inline void fuzz_check_left(struct fuzz_peer *peer, uint32_t seq,
				   const void *data, unsigned int len)
{
	const struct fuzz_history *history = peer->history;
	unsigned int i;

	fuzz_wire_stats.bytes_out += len;
	for (i = 0; i < history->nr_our_starts; i++)
		if (fuzz_match(peer->port, seq - history->our_starts[i], data,
			       len) == len)
			return;
	if (history->nr_our_starts < FUZZ_STARTS)
		fuzz_fail("port %u: %u wrong bytes left at %u, the stream begins at %u",
			  peer->port, len, seq, history->our_starts[0]);
}

/* Is this AO's signature of a segment that left, whatever ISNs we have had? */
static inline bool fuzz_check_ao(const struct fuzz_history *history,
				 const struct fuzz_ends *ends,
				 unsigned int offset, unsigned int key)
{
	const unsigned char *option = (const unsigned char *)ends->tcp + offset;
	unsigned int ours = history->nr_our_starts, i, j;
	unsigned int theirs = history->nr_starts;
	unsigned char mac[FUZZ_AO_LEN] = {};
	uint32_t from, to = 0;

	if (ours == FUZZ_STARTS || theirs == FUZZ_STARTS)
		return true;
	/* What stock sends when it has no memory to sign with. */
	if (fuzz_memory_fails && !memcmp(mac, option + 4, sizeof(mac)))
		return true;
	if (ends->tcp->syn)
		ours = 1;
	if (ends->tcp->syn && !ends->tcp->ack)
		theirs = 1;
	/* Newest first: most are of the last connection. */
	for (i = ours; i--; ) {
		for (j = theirs; j--; ) {
			from = ends->tcp->syn ? ntohl(ends->tcp->seq) :
						history->our_starts[i] - 1;
			if (!ends->tcp->syn || ends->tcp->ack)
				to = history->starts[j] - 1;
			fuzz_mac_ao(ends, offset, key, from, to, mac);
			if (!memcmp(mac, option + 4, sizeof(mac)))
				return true;
		}
	}
	return false;
}

/*
 * A TIME_WAIT does not verify what comes, and answers what does not name a key of
 * AO's without one: stock's tcp_v4_timewait_ack() says so.
 */
static inline bool fuzz_time_wait_answers(const struct fuzz_peer *peer,
					  const struct fuzz_ends *ends)
{
	return fuzz_keys.kind == FUZZ_AO && peer->state == TCP_TIME_WAIT &&
	       ends->tcp->th_flags == TH_ACK &&
	       ends->len == ends->tcp->doff * 4u;
}

/*
 * Our signatures are right, and learnt from. A reset may be for a segment of no
 * connection: then there is no key to sign it with, or not all that is signed.
 */
static inline void fuzz_check_signature(struct fuzz_peer *peer,
					const struct fuzz_ends *ends)
{
	unsigned int md5 = fuzz_find_option(ends->tcp, FUZZ_OPT_MD5);
	unsigned int ao = fuzz_find_option(ends->tcp, FUZZ_OPT_AO), key;
	const unsigned char *tcp = (const unsigned char *)ends->tcp;
	enum fuzz_auth auth = md5 ? FUZZ_MD5 : ao ? FUZZ_AO : FUZZ_UNSIGNED;
	unsigned char mac[FUZZ_MD5_LEN];

	fuzz_wire_stats.signed_out[auth]++;
	if (md5) {
		fuzz_mac_md5(ends, mac);
		if (memcmp(mac, tcp + md5 + 2, sizeof(mac)))
			fuzz_fail("port %u: a segment left with a wrong MD5 signature, flags %02x",
				  peer->port, ends->tcp->th_flags);
	}
	if (ends->tcp->rst)
		return;
	if (ao) {
		key = tcp[ao + 2] - FUZZ_AO_SNDID;
		if (key >= FUZZ_AO_KEYS ||
		    !fuzz_check_ao(peer->history, ends, ao, key))
			fuzz_fail("port %u: a segment left with a wrong AO signature, key %u, flags %02x",
				  peer->port, key, ends->tcp->th_flags);
		key = tcp[ao + 3] - FUZZ_AO_RCVID;
		if (key < FUZZ_AO_KEYS)
			peer->key = key;
	}
	if (fuzz_keys.strict && auth != fuzz_keys.kind &&
	    !fuzz_time_wait_answers(peer, ends))
		fuzz_fail("port %u: a segment left that was not signed, flags %02x",
			  peer->port, ends->tcp->th_flags);
	peer->signs = auth;
}

/* Learn from a segment of ours, which is @len bytes in all. */
static inline void fuzz_learn(struct fuzz_peer *peer,
			      const struct fuzz_ends *ends)
{
	const struct tcphdr *tcp = ends->tcp;
	unsigned int len = ends->len;
	struct fuzz_history *history = peer->history;
	uint32_t seq = ntohl(tcp->seq), next;
	unsigned int data;

	fuzz_wire_stats.out++;
	if (tcp->doff < 5 || tcp->doff * 4 > len) {
		fuzz_fail("a segment left with a header of %u words",
			  tcp->doff);
		return;
	}
	data = len - tcp->doff * 4;
	fuzz_trace("to %u: flags %02x, seq %u (%d), ack %u (%d), %u bytes, window %u\n",
		   peer->port, tcp->th_flags, seq, seq - history->our_starts[0],
		   ntohl(tcp->ack_seq), ntohl(tcp->ack_seq) - peer->isn, data,
		   ntohs(tcp->window));
	fuzz_read_options(peer, tcp);
	if (fuzz_keys.kind)
		fuzz_check_signature(peer, ends);
	/* A reset may be for an ACK out of nowhere, and then tells nothing. */
	if (tcp->th_flags & TH_RST)
		return;
	if (tcp->th_flags & TH_SYN) {
		seq++;
		if (fuzz_we_begin(history, seq)) {
			peer->our_una = seq - 1;
			peer->our_next = seq;
		}
	}
	if (data)
		fuzz_check_left(peer, seq, tcp->doff * 4 + (char *)tcp, data);
	next = seq + data + !!(tcp->th_flags & TH_FIN);
	if (!peer->heard || fuzz_after(next, peer->our_next))
		peer->our_next = next;
	if (tcp->th_flags & TH_ACK) {
		peer->heard = true;
		peer->our_ack = ntohl(tcp->ack_seq);
		peer->our_window = ntohs(tcp->window);
		if (peer->scales && !(tcp->th_flags & TH_SYN))
			peer->our_window <<= peer->scale & 15;
		if (fuzz_after(peer->our_ack, peer->next))
			peer->next = peer->our_ack;
	}
}

/*
 * Take what has left but for fragments, waiting up to @ms for the first; @find
 * tells whose a segment is. Returns how many packets there were.
 */
static inline unsigned int
fuzz_listen_wire(int ms,
		 struct fuzz_peer *(*find)(unsigned short, unsigned short))
{
	struct pollfd pollfd = { .fd = connp_tun, .events = POLLIN };
	static unsigned char packet[65536];
	unsigned int header, packets = 0;
	struct iphdr *ip = (void *)packet;
	struct fuzz_peer *peer;
	struct fuzz_ends ends;
	struct tcphdr *tcp;
	ssize_t len;
	bool v6;

	if (ms)
		poll(&pollfd, 1, ms);
	while ((len = read(connp_tun, packet, sizeof(packet))) > 0) {
		packets++;
		v6 = ip->version == 6;
		header = v6 ? sizeof(struct ipv6hdr) : ip->ihl * 4;
		if ((v6 ? packet[6] : ip->protocol) != IPPROTO_TCP ||
		    (!v6 && ip->frag_off & htons(~IP_DF)))
			continue;
		if (len < (ssize_t)(header + sizeof(*tcp))) {
			fuzz_fail("a segment of %zd bytes left", len);
			continue;
		}
		tcp = (void *)(packet + header);
		len -= header;
		if (connp_fold(fuzz_sum_pseudo(packet + (v6 ? 8 : 12), v6,
					       IPPROTO_TCP, len) +
			       connp_sum(tcp, len)))
			fuzz_fail("a segment left with a wrong checksum");
		peer = find(ntohs(tcp->source), ntohs(tcp->dest));
		ends = (struct fuzz_ends){
			.addresses = packet + (v6 ? 8 : 12), .v6 = v6,
			.tcp = tcp, .len = len,
		};
		if (peer)
			fuzz_learn(peer, &ends);
	}
	return packets;
}

/* The devices, with addresses of both kinds. */
static inline void fuzz_wire_start(void)
{
	struct ifreq ifr = {
		.ifr_name = "tun1",
		.ifr_flags = IFF_TUN | IFF_NO_PI | IFF_NAPI,
	};
	struct in6_ifreq ifr6 = { .ifr6_prefixlen = 64 };
	char last_cpu[20];
	int fd, rps;

	/* Its files for the devices of this namespace. */
	if (unshare(CLONE_NEWNS) ||
	    mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
	    mount("sysfs", "/sys", "sysfs", 0, NULL))
		ksft_exit_fail_perror("mounting sysfs");
	connp_peer_start(1);
	close(connp_peer_listener);

	fd = socket(AF_INET6, SOCK_DGRAM, 0);
	memcpy(&ifr6.ifr6_addr, fuzz_our_v6, 16);
	ifr6.ifr6_ifindex = if_nametoindex("tun0");
	fuzz_has_v6 = fd >= 0 && !ioctl(fd, SIOCSIFADDR, &ifr6);
	close(fd);

	/* Packets of this one are received by the last CPU, several at once. */
	fuzz_other_tun = open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK);
	if (fuzz_other_tun < 0 || ioctl(fuzz_other_tun, TUNSETIFF, &ifr))
		ksft_exit_fail_perror("tun1");
	fd = socket(AF_INET, SOCK_DGRAM, 0);
	ifr.ifr_flags = IFF_UP;
	if (ioctl(fd, SIOCSIFFLAGS, &ifr))
		ksft_exit_fail_perror("bringing up tun1");
	close(fd);
	rps = open("/sys/class/net/tun1/queues/rx-0/rps_cpus", O_WRONLY);
	snprintf(last_cpu, sizeof(last_cpu), "%lx",
		 1UL << ((sysconf(_SC_NPROCESSORS_ONLN) - 1) % 32));
	if (rps < 0 || write(rps, last_cpu, strlen(last_cpu)) < 0)
		ksft_print_msg("no packets for another CPU: %s\n",
			       strerror(errno));
	close(rps);
}

#endif /* FUZZ_WIRE_H */
