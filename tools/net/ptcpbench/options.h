/* SPDX-License-Identifier: GPL-2.0 */
/* The command line, checked. */
#ifndef PTCPBENCH_OPTIONS_H
#define PTCPBENCH_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

enum role { ROLE_SERVE, ROLE_SINK };

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
	bool active;		/* serve connects, sink listens */
	char *nics[MAX_NICS];	/* addresses, one a NIC */
	unsigned int nr_nics;
	unsigned int port;
	unsigned int conns;
	unsigned int threads;

	/* serve */
	double duration;	/* seconds; 0: a fixed number of bytes */
	uint64_t bytes;		/* all connections together */
	double warmup;		/* seconds, or with bytes a percentage */
	bool use_write;
	uint64_t file_size;
	const char *dir;

	/* sink */
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

static inline bool listens(const struct options *opt)
{
	return (opt->role == ROLE_SERVE) != opt->active;
}

/* NIC n's part of all connections: the same to within one. */
static inline unsigned int nic_share(const struct options *opt, unsigned int n)
{
	return opt->conns / opt->nr_nics + (n < opt->conns % opt->nr_nics);
}

#endif
