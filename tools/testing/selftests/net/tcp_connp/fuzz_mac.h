/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What segments are signed with in rounds of the fuzzer that have keys: TCP's MD5
 * option (RFC 2385) and its Authentication Option (RFC 5925, with HMAC-SHA-1-96
 * as of RFC 5926). This computes the signatures, for segments of peers and for
 * what leaves; the hashes themselves are the kernel's own (AF_ALG).
 *
 * Keys never change, so that a signature is right or wrong whenever it was made;
 * which sockets have them, and which one is in use, does.
 */
#ifndef FUZZ_MAC_H
#define FUZZ_MAC_H

#include <linux/if_alg.h>

#include "connp_peer.h"

enum fuzz_auth { FUZZ_UNSIGNED, FUZZ_MD5, FUZZ_AO, FUZZ_AUTHS };

static const char * const fuzz_auths[FUZZ_AUTHS] = {
	[FUZZ_MD5] = "MD5", [FUZZ_AO] = "AO",
};

#define FUZZ_OPT_MD5		19
#define FUZZ_OPT_AO		29
#define FUZZ_MD5_LEN		16
#define FUZZ_AO_LEN		12	/* of a MAC */
#define FUZZ_SHA1_LEN		20

/* Two keys of AO; the IDs are those that our end sends, and expects. */
#define FUZZ_AO_KEYS		2
#define FUZZ_AO_SNDID		100
#define FUZZ_AO_RCVID		200

static const char fuzz_md5_key[] = "connp's MD5 key";
static const char * const fuzz_ao_keys[FUZZ_AO_KEYS] = {
	"the first AO key", "and the 2nd of it",
};

/* The second one's signatures do not cover other options. */
static inline bool fuzz_ao_excludes(unsigned int key)
{
	return key == 1;
}

/* Where a segment is from, and where it goes: as they are in its IP header. */
struct fuzz_ends {
	const void *addresses;
	bool v6;
	const struct tcphdr *tcp;
	unsigned int len;	/* of the segment, with the TCP header */
};

static struct {
	int md5;			/* ready to hash, the others as well */
	int kdf[FUZZ_AO_KEYS];
	int hmac;			/* wants a key each time */
} fuzz_algs = { .md5 = -1, .kdf = { -1, -1 }, .hmac = -1 };

static inline int fuzz_alg(const char *name)
{
	struct sockaddr_alg sa = {
		.salg_family = AF_ALG, .salg_type = "hash",
	};
	int fd = socket(AF_ALG, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	snprintf((char *)sa.salg_name, sizeof(sa.salg_name), "%s", name);
	if (fd >= 0 && bind(fd, (void *)&sa, sizeof(sa))) {
		close(fd);
		return -1;
	}
	return fd;
}

static inline void fuzz_alg_key(int alg, const void *key, size_t len)
{
	if (setsockopt(alg, SOL_ALG, ALG_SET_KEY, key, len))
		ksft_exit_fail_perror("ALG_SET_KEY");
}

static inline int fuzz_alg_accept(int alg)
{
	int fd = accept4(alg, NULL, NULL, SOCK_CLOEXEC);

	if (fd < 0)
		ksft_exit_fail_perror("AF_ALG");
	return fd;
}

/* False if the kernel does not give its hashes to user space. */
static inline bool fuzz_mac_start(void)
{
	int alg = fuzz_alg("md5");
	unsigned int i;

	fuzz_algs.hmac = fuzz_alg("hmac(sha1)");
	if (alg < 0 || fuzz_algs.hmac < 0)
		return false;
	fuzz_algs.md5 = fuzz_alg_accept(alg);
	close(alg);
	for (i = 0; i < FUZZ_AO_KEYS; i++) {
		alg = fuzz_alg("hmac(sha1)");
		fuzz_alg_key(alg, fuzz_ao_keys[i], strlen(fuzz_ao_keys[i]));
		fuzz_algs.kdf[i] = fuzz_alg_accept(alg);
		close(alg);
	}
	return true;
}

static inline void fuzz_hash(int fd, const void *data, size_t len, void *hash,
			     size_t hash_len)
{
	if (send(fd, data, len, 0) != (ssize_t)len ||
	    recv(fd, hash, hash_len, 0) != (ssize_t)hash_len)
		ksft_exit_fail_perror("hashing");
}

static inline unsigned char *fuzz_put(unsigned char *to, const void *data,
				      size_t len)
{
	memcpy(to, data, len);
	return to + len;
}

static inline unsigned char *fuzz_put32(unsigned char *to, uint32_t value)
{
	value = htonl(value);
	return fuzz_put(to, &value, 4);
}

static inline unsigned char *fuzz_put_pseudo(unsigned char *to,
					     const struct fuzz_ends *ends)
{
	to = fuzz_put(to, ends->addresses, ends->v6 ? 32 : 8);
	if (ends->v6) {
		to = fuzz_put32(to, ends->len);
		return fuzz_put32(to, IPPROTO_TCP);
	}
	return fuzz_put32(to, IPPROTO_TCP << 16 | ends->len);
}

static inline unsigned char *fuzz_put_data(unsigned char *to,
					   const struct fuzz_ends *ends)
{
	unsigned int header = ends->tcp->doff * 4;

	return fuzz_put(to, (const char *)ends->tcp + header,
			ends->len - header);
}

/* The header proper, as if it had no checksum. */
static inline unsigned char *fuzz_put_header(unsigned char *to,
					     const struct fuzz_ends *ends)
{
	struct tcphdr header = *ends->tcp;

	header.check = 0;
	return fuzz_put(to, &header, sizeof(header));
}

static inline void fuzz_mac_md5(const struct fuzz_ends *ends,
				unsigned char mac[FUZZ_MD5_LEN])
{
	static unsigned char data[66000];
	unsigned char *to = fuzz_put_pseudo(data, ends);

	to = fuzz_put_header(to, ends);
	to = fuzz_put_data(to, ends);
	to = fuzz_put(to, fuzz_md5_key, strlen(fuzz_md5_key));
	fuzz_hash(fuzz_algs.md5, data, to - data, mac, FUZZ_MD5_LEN);
}

/*
 * What AO signs the segments of one way with; @from and @to are where the streams
 * of the one who sends and of the other begin: 0 where that is not known yet.
 */
static inline void fuzz_traffic_key(const struct fuzz_ends *ends,
				    unsigned int key, uint32_t from,
				    uint32_t to, unsigned char *traffic_key)
{
	unsigned char data[80], *p = fuzz_put(data, "\001TCP-AO", 7);

	p = fuzz_put(p, ends->addresses, ends->v6 ? 32 : 8);
	p = fuzz_put(p, &ends->tcp->source, 4);
	p = fuzz_put32(p, from);
	p = fuzz_put32(p, to);
	p = fuzz_put(p, "\000\240", 2);
	fuzz_hash(fuzz_algs.kdf[key], data, p - data, traffic_key,
		  FUZZ_SHA1_LEN);
}

/* The upper half of a sequence number, whose lower one began with @isn. */
static inline uint32_t fuzz_sne(uint32_t isn, uint32_t seq)
{
	return ((int64_t)isn + (int32_t)(seq - isn)) >> 32;
}

/* @offset is the option's, from the begin of the TCP header. */
static inline void fuzz_mac_ao(const struct fuzz_ends *ends,
			       unsigned int offset, unsigned int key,
			       uint32_t from, uint32_t to,
			       unsigned char mac[FUZZ_AO_LEN])
{
	static unsigned char data[66000];
	unsigned int header = ends->tcp->doff * 4;
	const unsigned char *tcp = (void *)ends->tcp;
	unsigned char hash[FUZZ_SHA1_LEN], *p;
	int fd;

	fuzz_traffic_key(ends, key, from, to, hash);
	p = fuzz_put32(data, fuzz_sne(from, ntohl(ends->tcp->seq)));
	p = fuzz_put_pseudo(p, ends);
	p = fuzz_put_header(p, ends);
	if (fuzz_ao_excludes(key)) {
		p = fuzz_put(p, tcp + offset, 4);
		memset(p, 0, FUZZ_AO_LEN);
		p += FUZZ_AO_LEN;
	} else {
		p = fuzz_put(p, tcp + sizeof(*ends->tcp),
			     header - sizeof(*ends->tcp));
		memset(p - header + offset + 4, 0, FUZZ_AO_LEN);
	}
	p = fuzz_put_data(p, ends);

	fuzz_alg_key(fuzz_algs.hmac, hash, sizeof(hash));
	fd = fuzz_alg_accept(fuzz_algs.hmac);
	fuzz_hash(fd, data, p - data, hash, sizeof(hash));
	close(fd);
	memcpy(mac, hash, FUZZ_AO_LEN);
}

#endif /* FUZZ_MAC_H */
