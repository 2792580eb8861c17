/* SPDX-License-Identifier: GPL-2.0 */
/* The command line, checked. */
#ifndef PTCPBENCH_OPTIONS_H
#define PTCPBENCH_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

enum role { ROLE_SERVE, ROLE_SINK };

enum mode {
	MODE_STREAM,	/* serve sends all it can */
	MODE_RR,	/* the sink asks, serve answers, on the same connections */
	MODE_CRR,	/* the same with a new connection for each request */
};

/* Exit codes, as --help tells them. */
enum {
	EXIT_OK = 0,
	EXIT_RUN = 1,		/* a stream was lost, short, stalled or wrong */
	EXIT_USAGE = 2,
	EXIT_SETUP = 3,		/* limits, addresses, establishment */
};

#define MAX_CONNS 65536
#define MAX_THREADS 1024
#define MAX_NICS 256

struct options {
	enum role role;
	enum mode mode;
	bool active;		/* serve connects, sink listens */
	char *nics[MAX_NICS];	/* addresses, one a NIC */
	unsigned int nr_nics;
	bool others[MAX_NICS];	/* sink: another sink connects to this one */
	unsigned int port;
	unsigned int conns;
	unsigned int threads;

	/* the end that measures() */
	double duration;	/* seconds; 0: a fixed number of bytes */
	uint64_t bytes;		/* all connections together */
	double warmup;		/* seconds, or with bytes a percentage */

	/* serve, mode stream */
	bool use_write;
	uint64_t file_size;
	const char *dir;

	/* both, mode rr and crr */
	uint64_t request;	/* bytes */
	uint64_t response;

	/* sink; mode rr and crr: both */
	bool verify;

	double timeout;
	double stall;
	const char *ready;
	bool json;
	const char *json_file;	/* NULL: stdout */
	bool progress;
};

void options_parse(struct options *opt, int argc, char **argv);

static inline const char *role_name(enum role role)
{
	return role == ROLE_SERVE ? "serve" : "sink";
}

static inline enum role other_role(enum role role)
{
	return role == ROLE_SERVE ? ROLE_SINK : ROLE_SERVE;
}

static inline const char *mode_name(enum mode mode)
{
	return mode == MODE_STREAM ? "stream" : mode == MODE_RR ? "rr" : "crr";
}

/* What a connection is to move: the thing to count. */
static inline const char *unit_name(enum mode mode)
{
	return mode == MODE_STREAM ? "bytes of payload" : "requests";
}

/* This end times the window, by -d; the other follows. */
static inline bool measures(const struct options *opt)
{
	return (opt->role == ROLE_SERVE) == (opt->mode == MODE_STREAM);
}

static inline bool listens(const struct options *opt)
{
	return (opt->role == ROLE_SERVE) != opt->active;
}

/*
 * The connections established before the run, with a hello, are those of the
 * run, except in mode crr: there they stand idle beside them, one a NIC.
 */
static inline bool stands_idle(const struct options *opt)
{
	return opt->mode == MODE_CRR;
}

static inline unsigned int nr_standing(const struct options *opt)
{
	return stands_idle(opt) ? opt->nr_nics : opt->conns;
}

/* More connections are accepted while the run goes on. */
static inline bool keeps_listening(const struct options *opt)
{
	return opt->mode == MODE_CRR && listens(opt);
}

/* NIC n's part of count connections: the same to within one. */
static inline unsigned int nic_share(const struct options *opt,
				     unsigned int count, unsigned int n)
{
	return count / opt->nr_nics + (n < count % opt->nr_nics);
}

/* What of these this process has; the rest is of other sinks (--only). */
static inline unsigned int nic_own(const struct options *opt,
				   unsigned int count, unsigned int n)
{
	return opt->others[n] ? 0 : nic_share(opt, count, n);
}

static inline unsigned int own_of(const struct options *opt, unsigned int count)
{
	unsigned int own = 0;

	for (unsigned int n = 0; n < opt->nr_nics; n++)
		own += nic_own(opt, count, n);
	return own;
}

#endif
