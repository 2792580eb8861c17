// SPDX-License-Identifier: GPL-2.0
/*
 * System limits. Thousands of connections meet them all; the messages here
 * name the one that is too low and how to raise it.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include "fail.h"
#include "limits.h"

/*
 * The paper's size, for each direction. Linux doubles what is asked for, to
 * make room for its own bookkeeping: getsockopt() says 512 KB.
 */
#define SOCKET_BUFFER (256 * 1024)

/* The number in a file of /proc/sys, or 0. */
static unsigned long sysctl_value(const char *path)
{
	FILE *file = fopen(path, "re");
	unsigned long value = 0;

	if (!file)
		return 0;
	if (fscanf(file, "%lu", &value) != 1)
		value = 0;
	fclose(file);
	return value;
}

void limits_raise_nofile(const struct options *opt)
{
	/* a thread's: epoll, two of libevent's, wake-up, file; 64 for the rest */
	rlim_t need = opt->conns + 6UL * opt->threads + opt->nr_nics + 64;
	struct rlimit limit;
	unsigned long nr_open;

	/* what stands idle, and a listening socket for each thread */
	if (opt->mode == MODE_CRR)
		need += opt->nr_nics * (1UL + opt->threads);
	if (getrlimit(RLIMIT_NOFILE, &limit))
		die(EXIT_SETUP, "getrlimit(RLIMIT_NOFILE): %s", strerror(errno));
	if (limit.rlim_cur >= need)
		return;
	limit.rlim_cur = need;
	if (limit.rlim_max < need)
		limit.rlim_max = need;
	if (!setrlimit(RLIMIT_NOFILE, &limit))
		return;

	nr_open = sysctl_value("/proc/sys/fs/nr_open");
	if (nr_open && nr_open < need)
		die(EXIT_SETUP, "%u connections need %lu open files, but fs.nr_open is %lu: sysctl -w fs.nr_open=%lu",
		    opt->conns, need, nr_open, need);
	getrlimit(RLIMIT_NOFILE, &limit);
	die(EXIT_SETUP, "%u connections need %lu open files, but the hard limit is %lu: ulimit -Hn %lu as root, or run as root",
	    opt->conns, need, limit.rlim_max, need);
}

static struct buffer {
	const char *name;
	int option;
	int force;		/* CAP_NET_ADMIN may go past the sysctl */
	const char *sysctl;
	bool warned;
} buffers[] = {
	{ "send", SO_SNDBUF, SO_SNDBUFFORCE, "net.core.wmem_max", false },
	{ "receive", SO_RCVBUF, SO_RCVBUFFORCE, "net.core.rmem_max", false },
};

static bool buffer_set(int fd, const struct buffer *buffer)
{
	int size = SOCKET_BUFFER, got = 0;
	socklen_t len = sizeof(got);

	if (setsockopt(fd, SOL_SOCKET, buffer->option, &size, sizeof(size)) ||
	    getsockopt(fd, SOL_SOCKET, buffer->option, &got, &len))
		return false;
	if (got >= 2 * SOCKET_BUFFER)
		return true;
	return !setsockopt(fd, SOL_SOCKET, buffer->force, &size, sizeof(size));
}

void limits_socket_buffers(int fd)
{
	for (size_t i = 0; i < sizeof(buffers) / sizeof(*buffers); i++) {
		struct buffer *buffer = &buffers[i];

		if (buffer_set(fd, buffer) || buffer->warned)
			continue;
		buffer->warned = true;
		warn("%s buffers are smaller than %d KB: sysctl -w %s=%d, or run as root",
		     buffer->name, SOCKET_BUFFER >> 10, buffer->sysctl,
		     SOCKET_BUFFER);
	}
}

void limits_check_backlog(unsigned int backlog)
{
	unsigned long max = sysctl_value("/proc/sys/net/core/somaxconn");

	if (max && max < backlog)
		warn("net.core.somaxconn is %lu, and up to %u connections wait to be accepted: sysctl -w net.core.somaxconn=%u, or establishing them may take long",
		     max, backlog, backlog);
}

static const struct {
	int error;
	const char *hint;
} hints[] = {
	{ EADDRNOTAVAIL,
	  ": no such address here, or no port left; net.ipv4.ip_local_port_range gives more, so do more addresses (-a)"
	},
	{ ENFILE, ": raise it with sysctl -w fs.file-max" },
	{ EMFILE, ": raise it with ulimit -n" },
	{ ENOBUFS, ": the kernel has no memory for it; see net.ipv4.tcp_mem" },
	{ ENOMEM, ": the kernel has no memory for it; see net.ipv4.tcp_mem" },
	{ ECONNREFUSED,
	  ": nothing listens there; start the listening end first, with the same -p, and both or neither with --active"
	},
	{ ENETUNREACH, ": check addresses and routes" },
	{ EHOSTUNREACH, ": check addresses and routes" },
	{ EACCES, ": root may use ports below net.ipv4.ip_unprivileged_port_start" },
	{ EADDRINUSE, ": another program has the port; choose one with -p" },
};

const char *limits_hint(int error)
{
	for (size_t i = 0; i < sizeof(hints) / sizeof(*hints); i++)
		if (hints[i].error == error)
			return hints[i].hint;
	return "";
}
