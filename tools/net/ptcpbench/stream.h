/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What is said on a connection.
 *
 *   listening end -> connecting end   struct hello, on accept
 *
 * and then, in mode stream:
 *
 *   serve -> sink                     struct stream_header
 *                                     payload: the thread's file, in a loop
 *                                     struct stream_trailer, FIN
 *   sink -> serve                     struct verdict, FIN
 *
 * The hello lets the connecting end see that it was really accepted, by the
 * right kind of peer; it has only a few connections without one at a time, so
 * the listen queue cannot overflow. The trailer tells how much was sent, the
 * verdict that all of it arrived: a stream cut short is seen at both ends, in
 * whichever way it was cut.
 *
 * A thread's file is a pure function of its seed (pattern_fill()). A stream
 * begins at an offset of the file that depends on the connection's number, so
 * bytes lost, repeated, out of order or from another connection do not match.
 *
 * In mode rr, each when the other has come whole:
 *
 *   sink -> serve                     a request: a tag, then data
 *   serve -> sink                     its response: data
 *   ...
 *   sink -> serve                     the last request
 *   serve -> sink                     struct verdict: how many came before it
 *
 * In mode crr the same on ever new connections, with no hello, one request
 * each, and a FIN behind the response. The connections with a hello, one an
 * address, stand idle beside them all the while: their end is how one end
 * learns that the other is no more.
 *
 * The tag, one byte, tells serve whether the sink measures now, which opens and
 * closes serve's own window. It also numbers the connection's requests, modulo
 * TAG_NUMBERS: the data of the request and of the response, which lie at
 * different offsets of the same file, depend on that number. The file's seed
 * is that of the hello.
 *
 * All numbers are little endian.
 */
#ifndef PTCPBENCH_STREAM_H
#define PTCPBENCH_STREAM_H

#include <stddef.h>
#include <stdint.h>

#define HELLO_MAGIC	0x3248424350545050ULL	/* "PPTPCBH2" */
#define HEADER_MAGIC	0x3153424350545050ULL
#define TRAILER_MAGIC	0x3154424350545050ULL
#define VERDICT_MAGIC	0x3156424350545050ULL

#define STREAM_PAGE	4096
#define STREAM_FILE_MAX	(1024 * 1024 * 1024)

struct hello {
	uint64_t magic;
	uint16_t role;		/* of the end that sends this */
	uint16_t mode;
	uint32_t conns;		/* it expects in all */
	uint32_t request;	/* bytes; in mode stream 0 */
	uint32_t response;
	uint64_t seed;		/* of the data of requests and responses */
};

struct stream_header {
	uint64_t magic;
	uint64_t seed;
	uint64_t start;		/* offset in the file of the first byte */
	uint64_t file_size;
	uint32_t id;		/* the connection's number */
	uint32_t thread;	/* whose file it is */
};

struct stream_trailer {
	uint64_t magic;
	uint64_t total;		/* payload bytes sent */
};

struct verdict {
	uint64_t magic;
	uint64_t total;		/* payload bytes or requests received */
};

/* A request's first byte: its kind, and above it its number. */
enum tag_kind { TAG_WARMUP, TAG_MEASURED, TAG_LAST, NR_TAG_KINDS };

#define TAG_KIND_BITS	2
#define TAG_NUMBERS	(1 << (8 - TAG_KIND_BITS))

#define EXCHANGE_FILE_SIZE	(1024 * 1024)

uint64_t pattern_seed(uint64_t run_seed, unsigned int thread);
void pattern_fill(unsigned char *data, uint64_t size, uint64_t seed);
uint64_t pattern_start(unsigned int id, uint64_t file_size);

#endif
