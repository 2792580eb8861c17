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
 * It goes like this, a file each:
 *
 *	options.c	the command line
 *	limits.c	system limits are raised
 *	connect.c	the main thread establishes all connections and deals
 *			them out to the workers
 *	worker.c	the workers' loops; at their connections' events
 *	serve.c		  the sending end sends
 *	sink.c		  the receiving end receives
 *	stream.h	what they say to each other, and the data's pattern
 *	window.c	the main thread opens and closes the measured window
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

static void run_init(struct run *run, const struct options *opt)
{
	struct timespec time;

	clock_gettime(CLOCK_REALTIME, &time);
	*run = (struct run){
		.opt = opt,
		.ops = opt->role == ROLE_SERVE ? &serve_ops : &sink_ops,
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
	run->conns = aligned_alloc(CACHE_LINE, opt->conns * sizeof(*run->conns));
	if (!run->conns)
		die(EXIT_SETUP, "no memory for %u connections", opt->conns);
	memset(run->conns, 0, opt->conns * sizeof(*run->conns));
	for (unsigned int i = 0; i < opt->conns; i++)
		run->conns[i].fd = -1;
	workers_create(run);
}

static void run_free(struct run *run)
{
	for (unsigned int i = 0; i < run->opt->conns; i++)
		if (run->conns[i].fd >= 0)
			close(run->conns[i].fd);
	for (unsigned int n = 0; n < run->opt->threads; n++)
		close(run->workers[n].wake);
	for (unsigned int i = 0; i < run->nr_errors && i < MAX_ERRORS; i++)
		free(run->errors[i]);
	free(run->conns);
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
