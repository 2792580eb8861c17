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

#include <math.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/time.h>
#include <time.h>

#include "options.h"
#include "stream.h"

#define CACHE_LINE 64

struct event;
struct event_base;
struct histogram;
struct pattern;
struct run;
struct setup;

enum conn_state {
	/* stream */
	CONN_HEADER,	/* serve sends, sink reads the stream's header */
	CONN_DATA,
	CONN_TRAILER,	/* serve only: the sink finds the trailer at the end */
	/* rr and crr: what is under way */
	CONN_CONNECT,	/* crr, sink only */
	CONN_REQUEST,
	CONN_RESPONSE,
	CONN_CLOSE,	/* crr, sink only: serve's FIN is to come */
	CONN_UNUSED,	/* crr, serve only: kept for the next to be accepted */
	/* all */
	CONN_VERDICT,	/* all sent, waiting for the other end's word */
	CONN_DONE,
	NR_CONN_STATES
};

union address {
	struct sockaddr any;
	struct sockaddr_in v4;
	struct sockaddr_in6 v6;
};

/*
 * One connection; in mode crr, one after another in the same place. On cache
 * lines of its own, for neighbours in the array are served by different
 * threads.
 */
struct conn {
	/* constant once the workers run, the first two except in mode crr */
	_Alignas(CACHE_LINE) int fd;
	union address peer;
	unsigned int nic;
	struct worker *worker;
	struct conn *next;	/* of the same worker's */
	uint64_t target;	/* payload to send: -b; UINT64_MAX with -d */
	uint64_t acked_base;	/* tcpi_bytes_acked before our first byte */
	uint64_t overhead;	/* bytes we send ahead of the payload */

	/* the worker's */
	unsigned int id;	/* as numbered by serve; see conn_spread() */
	enum conn_state state;
	struct event *event;
	uint64_t moved;		/* payload bytes sent or received, or requests */
	uint64_t pos;		/* where in the file the next byte is from */
	size_t part;		/* bytes of hello, request... moved so far */
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
	const struct pattern *expect;	/* --verify: the file */

	/* rr and crr */
	unsigned char tag;	/* of the request under way */
	uint64_t begun;		/* sink: when, in ns */
	uint64_t measured;	/* requests that count */
	struct conn *unused;	/* crr, serve: the next of its listener's */
};

/* A listening socket. In mode crr, serve's workers keep theirs. */
struct listener {
	struct worker *worker;
	unsigned int nic;
	int fd;
	struct event *event;
	struct conn *unused;	/* crr: whose connection is over */
};

struct worker {
	_Alignas(CACHE_LINE) struct run *run;
	unsigned int index;
	pthread_t thread;
	struct event_base *base;
	int wake;		/* eventfd: the run is over, or has failed */
	struct conn *first;	/* of its connections */
	unsigned int conns;
	unsigned int done;

	/* serve: this thread's file */
	int file;
	unsigned char *data;
	uint64_t seed;
	/* sink, and serve of rr and crr: where everything is received to */
	unsigned char *buffer;
	/* rr and crr */
	const struct pattern *pattern;	/* requests and responses are from */
	struct histogram *latency;	/* sink: in ns */

	/* bytes or requests, for the progress line; written by the worker only */
	_Alignas(CACHE_LINE) atomic_ullong moved;
};

/* What differs between the two ends once the connections stand. */
struct role_ops {
	void (*worker_init)(struct worker *worker);
	void (*worker_exit)(struct worker *worker);
	short events;
	/* Optional: the first step, where no event would bring it about */
	void (*begin)(struct conn *conn);
	void (*io)(int fd, short what, void *conn);
	/* any number that changes while the connection gets on */
	uint64_t (*progress)(const struct conn *conn);
};

extern const struct role_ops serve_ops;
extern const struct role_ops sink_ops;
extern const struct role_ops answer_ops;
extern const struct role_ops ask_ops;

#define MAX_ERRORS 16

struct run {
	const struct options *opt;
	const struct role_ops *ops;
	struct event_base *base;	/* the main thread's */
	struct setup *setup;		/* while connecting: connect.c */
	struct conn *conns;
	struct conn *standing;		/* those with a hello; see stands_idle() */
	struct listener *listeners;	/* per address, in crr also per worker */
	unsigned int nr_listeners;
	struct worker *workers;
	pthread_barrier_t barrier;
	int notify;			/* eventfd: a worker calls the main thread */
	uint64_t seed;
	double started_at;		/* the workers */
	double ended_at;

	atomic_bool stop;		/* -d is over; in rr and crr at both ends */
	atomic_bool measuring;		/* the window is open */
	atomic_bool failed;
	atomic_uint done;		/* connections finished */
	atomic_ullong warming;		/* serve -b: bytes sent in the warm-up */
	uint64_t warm_at;		/* and how many end it; 0: no warm-up */
	atomic_bool warm;		/* also rr's and crr's serve: it was told so */

	pthread_mutex_t error_lock;
	char *errors[MAX_ERRORS];
	unsigned int nr_errors;		/* also those not kept */
};

static inline uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000000ULL + ts.tv_nsec;
}

static inline double now(void)
{
	return now_ns() / 1e9;
}

static inline struct timeval timeval_of(double seconds)
{
	double whole = trunc(seconds);

	return (struct timeval){
		.tv_sec = whole,
		.tv_usec = (seconds - whole) * 1e6,
	};
}

/* Bytes or requests so far. */
static inline uint64_t run_moved(const struct run *run)
{
	uint64_t moved = 0;

	for (unsigned int n = 0; n < run->opt->threads; n++)
		moved += atomic_load_explicit(&run->workers[n].moved,
					      memory_order_relaxed);
	return moved;
}

/* All connections that workers have: the first with conn NULL, then the next. */
static inline struct conn *next_conn(const struct run *run,
				     const struct conn *conn)
{
	unsigned int n = conn ? conn->worker->index + 1 : 0;

	if (conn && conn->next)
		return conn->next;
	while (n < run->opt->threads && !run->workers[n].first)
		n++;
	return n < run->opt->threads ? run->workers[n].first : NULL;
}

static inline bool all_done(struct run *run)
{
	return atomic_load(&run->done) == own_of(run->opt, run->opt->conns);
}

#endif
