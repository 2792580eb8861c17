/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The state of one run: what the parts of ptcpbench share.
 *
 * Who may touch what. The main thread sets everything up, then starts the
 * workers. From then on a connection belongs to its worker alone, except for
 * the fields marked constant, which the main thread reads to sample TCP_INFO;
 * descriptors therefore stay open until the workers are joined. Fields of
 * type atomic_* are the only ones written by one thread and read by another
 * while the workers run.
 */
#ifndef PTCPBENCH_RUN_H
#define PTCPBENCH_RUN_H

#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#include "options.h"
#include "stream.h"

#define CACHE_LINE 64

struct event;
struct event_base;
struct run;
struct setup;

enum conn_state {
	CONN_HEADER,	/* serve sends, sink reads the stream's header */
	CONN_DATA,
	CONN_TRAILER,	/* serve only: the sink finds the trailer at the end */
	CONN_VERDICT,	/* serve only: all sent, waiting for the sink's word */
	CONN_DONE,
};

union address {
	struct sockaddr any;
	struct sockaddr_in v4;
	struct sockaddr_in6 v6;
};

/*
 * One connection. On cache lines of its own, for neighbours in the array are
 * served by different threads.
 */
struct conn {
	/* constant once the workers run */
	_Alignas(CACHE_LINE) int fd;
	unsigned int nic;
	struct worker *worker;
	struct conn *next;	/* of the same worker's */
	union address peer;
	uint64_t target;	/* payload to send: -b; UINT64_MAX with -d */
	uint64_t acked_base;	/* tcpi_bytes_acked before our first byte */
	uint64_t overhead;	/* bytes we send ahead of the payload */

	/* the worker's */
	unsigned int id;	/* as numbered by serve; see conn_spread() */
	enum conn_state state;
	struct event *event;
	uint64_t moved;		/* payload bytes sent or received */
	uint64_t pos;		/* where in the file the next byte is from */
	size_t part;		/* bytes of hello, header... moved so far */
	uint64_t seen;		/* progress at the last look for stalls */
	double seen_at;
	double finished_at;

	union {
		struct hello hello;
		struct stream_header header;
		struct stream_trailer trailer;
		struct verdict verdict;
	} msg;			/* the one being sent or received, by part */
	unsigned char tail[sizeof(struct stream_trailer)];
	size_t tail_len;	/* sink: last bytes, perhaps the trailer */
	const unsigned char *expect;	/* sink --verify: the thread's file */
	uint64_t expect_size;
};

struct worker {
	_Alignas(CACHE_LINE) struct run *run;
	unsigned int index;
	pthread_t thread;
	struct event_base *base;
	int wake;		/* eventfd: look whether the run failed */
	struct conn *first;	/* of its connections */
	unsigned int conns;
	unsigned int done;

	/* serve: this thread's file */
	int file;
	unsigned char *data;
	uint64_t seed;
	/* sink: where everything is received to */
	unsigned char *buffer;

	/* payload moved, for the progress line; written by the worker only */
	_Alignas(CACHE_LINE) atomic_ullong moved;
};

/* What differs between the two ends once the connections stand. */
struct role_ops {
	void (*worker_init)(struct worker *worker);
	void (*worker_exit)(struct worker *worker);
	short events;
	void (*io)(int fd, short what, void *conn);
	/* any number that changes while the connection gets on */
	uint64_t (*progress)(const struct conn *conn);
};

extern const struct role_ops serve_ops;
extern const struct role_ops sink_ops;

#define MAX_ERRORS 16

struct run {
	const struct options *opt;
	const struct role_ops *ops;
	struct event_base *base;	/* the main thread's */
	struct setup *setup;		/* while connecting: connect.c */
	struct conn *conns;
	struct worker *workers;
	pthread_barrier_t barrier;
	int notify;			/* eventfd: a worker calls the main thread */
	uint64_t seed;
	double started_at;		/* the workers */
	double ended_at;

	atomic_bool stop;		/* serve -d: end the streams now */
	atomic_bool failed;
	atomic_uint done;		/* connections finished */
	atomic_ullong warming;		/* serve -b: bytes sent in the warm-up */
	uint64_t warm_at;		/* and how many end it; 0: no warm-up */
	atomic_bool warm;

	pthread_mutex_t error_lock;
	char *errors[MAX_ERRORS];
	unsigned int nr_errors;		/* also those not kept */
};

static inline double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec + ts.tv_nsec / 1e9;
}

#endif
