// SPDX-License-Identifier: GPL-2.0
/*
 * Failures. The first one ends the run: a benchmark with one connection
 * missing measures something else than was asked for.
 */
#include <arpa/inet.h>
#include <event2/event.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include "fail.h"
#include "run.h"

void die(int code, const char *fmt, ...)
{
	va_list ap;

	fputs("ptcpbench: ", stderr);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	exit(code);
}

void warn(const char *fmt, ...)
{
	va_list ap;

	fputs("ptcpbench: warning: ", stderr);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
}

/* Takes the message over. */
static void record(struct run *run, char *message)
{
	fprintf(stderr, "ptcpbench %s: %s\n", role_name(run->opt->role),
		message);

	pthread_mutex_lock(&run->error_lock);
	if (run->nr_errors < MAX_ERRORS)
		run->errors[run->nr_errors] = message;
	else
		free(message);
	run->nr_errors++;
	pthread_mutex_unlock(&run->error_lock);

	atomic_store(&run->failed, true);
	eventfd_write(run->notify, 1);
}

static char *format(const char *fmt, va_list ap)
{
	char *text;

	if (vasprintf(&text, fmt, ap) < 0)
		die(EXIT_RUN, "out of memory");
	return text;
}

void run_fail(struct run *run, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	record(run, format(fmt, ap));
	va_end(ap);
}

/* "192.0.2.1:5010" or "[2001:db8::1]:5010" */
static void address_text(const union address *addr, char *text, size_t size)
{
	socklen_t len = addr->any.sa_family == AF_INET6 ? sizeof(addr->v6) :
							  sizeof(addr->v4);
	const char *fmt = addr->any.sa_family == AF_INET6 ? "[%s]:%s" : "%s:%s";
	char host[NI_MAXHOST], port[NI_MAXSERV];

	if (getnameinfo(&addr->any, len, host, sizeof(host), port, sizeof(port),
			NI_NUMERICHOST | NI_NUMERICSERV))
		snprintf(text, size, "?");
	else
		snprintf(text, size, fmt, host, port);
}

void conn_fail(struct conn *conn, const char *fmt, ...)
{
	struct worker *worker = conn->worker;
	char here[NI_MAXHOST + 16], there[NI_MAXHOST + 16];
	union address local = { };
	socklen_t len = sizeof(local);
	char *what, *message;
	va_list ap;

	va_start(ap, fmt);
	what = format(fmt, ap);
	va_end(ap);

	getsockname(conn->fd, &local.any, &len);
	address_text(&local, here, sizeof(here));
	address_text(&conn->peer, there, sizeof(there));
	if (asprintf(&message, "connection %u (%s with %s) %s", conn->id, here,
		     there, what) < 0)
		die(EXIT_RUN, "out of memory");
	free(what);
	record(worker->run, message);
}
