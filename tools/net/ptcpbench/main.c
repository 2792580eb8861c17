// SPDX-License-Identifier: GPL-2.0
/*
 * ptcpbench - the parallel TCP benchmark.
 *
 * Many connections, served by as many threads as there are CPUs, send as fast
 * as TCP lets them over several NICs, as in "An Evaluation of Network Stack
 * Parallelization Strategies in Modern Operating Systems" (USENIX 2006),
 * section 4.2: each thread has an equal number of connections on every NIC,
 * an event loop (libevent) and a file of its own that it sends with
 * sendfile(), under TCP_CORK, through 256 KB socket buffers.
 *
 * "ptcpbench serve" runs on the system under test and sends; "ptcpbench sink"
 * runs at the other ends of its NICs and discards:
 *
 *	server$ ptcpbench serve -c 192 -a 10.0.1.2,10.0.2.2 -d 180 --json
 *	client$ ptcpbench sink  -c 192 -a 10.0.1.2,10.0.2.2 --verify
 *
 * With --mode rr the sink sends requests on these connections and measures how
 * long each waits for its response; with --mode crr each request has a new
 * connection:
 *
 *	server$ ptcpbench serve -m rr -c 192 -a 10.0.1.2,10.0.2.2
 *	client$ ptcpbench sink  -m rr -c 192 -a 10.0.1.2,10.0.2.2 -d 60 --json
 *
 * It goes like this, a file each:
 *
 *	options.c	the command line
 *	limits.c	system limits are raised
 *	connect.c	the main thread establishes all connections and deals
 *			them out to the workers
 *	worker.c	the workers' loops; at their connections' events
 *	serve.c		  the sending end sends
 *	sink.c		  the receiving end receives
 *	ask.c		  or, with --mode rr or crr, the sink asks
 *	answer.c	  and serve answers,
 *	exchange.c	  in messages of a known size
 *	check.c		--verify
 *	message.c	messages and last words
 *	stream.h	what they say to each other, and the data's pattern
 *	standing.c	crr: the connections that stand idle beside the others
 *	window.c	the main thread opens and closes the measured window
 *	histogram.c	how long requests took
 *	report.c	figures out of it
 *	fail.c		anything that went wrong, which ends the run
 *
 * run.h is the state they share. Needs from the kernel: epoll, eventfd, memfd
 * (or a file system for --dir), /proc for the system's figures.
 */
#include <errno.h>
#include <event2/event.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "connect.h"
#include "fail.h"
#include "limits.h"
#include "report.h"
#include "window.h"
#include "worker.h"

static void on_signal(int number, short what, void *arg)
{
	struct run *run = arg;

	(void)what;
	run_fail(run, "interrupted: %s", strsignal(number));
	event_base_loopbreak(run->base);
}

static struct event *catch_signal(struct run *run, int number)
{
	struct event *event = evsignal_new(run->base, number, on_signal, run);

	if (!event || event_add(event, NULL))
		die(EXIT_SETUP, "out of memory");
	return event;
}

static const struct role_ops *const ops[][2] = {
	[MODE_STREAM] = { [ROLE_SERVE] = &serve_ops, [ROLE_SINK] = &sink_ops },
	[MODE_RR] = { [ROLE_SERVE] = &answer_ops, [ROLE_SINK] = &ask_ops },
	[MODE_CRR] = { [ROLE_SERVE] = &answer_ops, [ROLE_SINK] = &ask_ops },
};

static struct conn *conns_create(unsigned int count)
{
	struct conn *conns = aligned_alloc(CACHE_LINE, count * sizeof(*conns));

	if (!conns)
		die(EXIT_SETUP, "no memory for %u connections", count);
	memset(conns, 0, count * sizeof(*conns));
	for (unsigned int i = 0; i < count; i++)
		conns[i].fd = -1;
	return conns;
}

static void run_init(struct run *run, const struct options *opt)
{
	struct timespec time;

	clock_gettime(CLOCK_REALTIME, &time);
	*run = (struct run){
		.opt = opt,
		.ops = ops[opt->mode][opt->role],
		.base = event_base_new(),
		.notify = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC),
		/* so that an earlier run's data does not pass for this one's */
		.seed = time.tv_sec * 1000000000ULL + time.tv_nsec,
		.error_lock = PTHREAD_MUTEX_INITIALIZER,
	};
	if (!run->base)
		die(EXIT_SETUP, "event_base_new failed: no epoll, or no memory");
	if (run->notify < 0)
		die(EXIT_SETUP, "eventfd: %s", strerror(errno));
	/* with more to be accepted, there are as many as there come to be */
	if (!keeps_listening(opt))
		run->conns = conns_create(opt->conns);
	run->standing = stands_idle(opt) ? conns_create(opt->nr_nics) :
					   run->conns;
	workers_create(run);
}

static void conns_free(struct run *run)
{
	struct conn *conn, *next;

	for (conn = next_conn(run, NULL); conn; conn = next) {
		next = next_conn(run, conn);
		if (conn->fd >= 0)
			close(conn->fd);
		if (!run->conns)
			free(conn);
	}
	for (unsigned int i = 0; i < nr_standing(run->opt); i++)
		if (stands_idle(run->opt) && run->standing[i].fd >= 0)
			close(run->standing[i].fd);
	if (stands_idle(run->opt))
		free(run->standing);
	free(run->conns);
}

static void run_free(struct run *run)
{
	conns_free(run);
	close_listeners(run);
	for (unsigned int n = 0; n < run->opt->threads; n++)
		free(run->workers[n].latency);
	for (unsigned int n = 0; n < run->opt->threads; n++)
		close(run->workers[n].wake);
	for (unsigned int i = 0; i < run->nr_errors && i < MAX_ERRORS; i++)
		free(run->errors[i]);
	free(run->workers);
	close(run->notify);
	event_base_free(run->base);
}

int main(int argc, char **argv)
{
	static struct options opt;
	struct window window = { };
	struct event *sigint, *sigterm;
	int code = EXIT_SETUP;
	struct run run;

	options_parse(&opt, argc, argv);
	limits_raise_nofile(&opt);
	signal(SIGPIPE, SIG_IGN);

	run_init(&run, &opt);
	sigint = catch_signal(&run, SIGINT);
	sigterm = catch_signal(&run, SIGTERM);
	connect_all(&run);
	if (!atomic_load(&run.failed)) {
		code = EXIT_RUN;
		window_run(&run, &window);
	}
	run.ended_at = now();
	report_result(&run, &window);
	if (!atomic_load(&run.failed))
		code = EXIT_OK;

	free(window.flows);
	event_free(sigint);
	event_free(sigterm);
	run_free(&run);
	return code;
}
