// SPDX-License-Identifier: GPL-2.0
/*
 * The measured window. The main thread opens and closes it, so that nothing
 * a worker is busy with delays its edges. At each edge it reads the system's
 * and the process' counters, then TCP_INFO of every connection in the same
 * order: every connection is measured over the same time, though reading
 * thousands of them takes a while.
 *
 *   serve -d   opens after the warm-up's seconds, closes -d seconds later; then
 *              the streams are ended and what is in the buffers drains
 *   serve -b   opens when the warm-up's bytes are sent, closes when the sink
 *              has confirmed the last stream
 *   sink       from the first to the last, for serve alone knows better
 *
 * In mode rr and crr it is the sink that has -d, and its window opens and closes
 * as serve's above. Serve's opens with the first request that was made within
 * the sink's, and closes with the first that is the last of its connection.
 * What is counted are the requests made in the sink's window, however long they
 * took: workers count those themselves.
 */
#include <errno.h>
#include <event2/event.h>
#include <inttypes.h>
#include <linux/tcp.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../../tcgprof/mark.h"
#include "fail.h"
#include "report.h"
#include "standing.h"
#include "window.h"
#include "worker.h"

struct control {
	struct run *run;
	struct window *window;
	struct event *timer;
	struct standing *standing;
};

static bool get_tcp_info(int fd, struct tcp_info *info)
{
	socklen_t len = sizeof(*info);

	memset(info, 0, sizeof(*info));
	return !getsockopt(fd, IPPROTO_TCP, TCP_INFO, info, &len);
}

uint64_t tcp_acked(int fd)
{
	struct tcp_info info;

	return get_tcp_info(fd, &info) ? info.tcpi_bytes_acked : 0;
}

static void read_proc_stat(struct sample *sample)
{
	double tick = sysconf(_SC_CLK_TCK);
	FILE *file = fopen("/proc/stat", "re");
	bool cpu = false, ctxt = false;
	char *line = NULL;
	size_t size = 0;
	uint64_t t[NR_CPU_STATES];

	if (!file)
		return;
	while (!ctxt && getline(&line, &size, file) > 0) {
		if (sscanf(line, "cpu  %" SCNu64 " %" SCNu64 " %" SCNu64
			   " %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64
			   " %" SCNu64, &t[0], &t[1], &t[2], &t[3], &t[4],
			   &t[5], &t[6], &t[7]) == NR_CPU_STATES)
			cpu = true;
		if (sscanf(line, "ctxt %" SCNu64, &sample->ctxsw) == 1)
			ctxt = true;
	}
	free(line);
	fclose(file);
	sample->system = cpu && ctxt;
	for (int i = 0; cpu && i < NR_CPU_STATES; i++)
		sample->cpu[i] = t[i] / tick;
}

/* Payload the other end has acknowledged, without what is around it. */
static void sample_sender(struct run *run, struct flow *flow, enum edge edge,
			  const struct conn *conn)
{
	uint64_t around = conn->acked_base + sizeof(struct stream_header);
	struct tcp_info info;
	uint64_t payload;

	if (listens(run->opt))
		around += sizeof(struct hello);
	if (!get_tcp_info(conn->fd, &info)) {
		run_fail(run, "TCP_INFO of connection %td: %s",
			 conn - run->conns, strerror(errno));
		return;
	}
	payload = info.tcpi_bytes_acked > around ?
		  info.tcpi_bytes_acked - around : 0;
	/* a finished stream's trailer and FIN are acknowledged as well */
	if (payload > conn->target)
		payload = conn->target;
	flow->bytes[edge] = payload;
	flow->retrans[edge] = info.tcpi_total_retrans;
}

static void take_sample(struct run *run, struct window *window, enum edge edge)
{
	struct sample *sample = &window->edge[edge];

	sample->time = now();
	getrusage(RUSAGE_SELF, &sample->self);
	read_proc_stat(sample);
	if (!window->flows)
		return;
	for (unsigned int i = 0; i < run->opt->conns; i++) {
		struct conn *conn = &run->conns[i];
		struct flow *flow = &window->flows[i];

		if (run->opt->role == ROLE_SERVE)
			sample_sender(run, flow, edge, conn);
		else if (run->opt->mode == MODE_STREAM && edge == CLOSE)
			/* its worker is done with it */
			flow->bytes[edge] = conn->moved;
	}
}

static void window_open(struct control *control)
{
	atomic_store(&control->run->measuring, true);
	take_sample(control->run, control->window, OPEN);
	/* for a profiler of the emulator, if there is one */
	tcgprof_start();
	control->window->opened = true;
}

static void window_close(struct control *control)
{
	atomic_store(&control->run->measuring, false);
	tcgprof_stop();
	take_sample(control->run, control->window, CLOSE);
	control->window->closed = true;
}

static void set_timer(struct control *control, double seconds)
{
	const struct timeval delay = timeval_of(seconds);

	if (evtimer_add(control->timer, &delay))
		die(EXIT_RUN, "out of memory");
}

/* -d: the end of the warm-up, then of the window. */
static void timer_expired(int fd, short what, void *arg)
{
	struct control *control = arg;
	struct run *run = control->run;
	double left;

	(void)fd;
	(void)what;
	if (!control->window->opened)
		window_open(control);
	/* Timers go by a coarse clock, and may expire up to a tick early. */
	left = control->window->edge[OPEN].time + run->opt->duration - now();
	if (left > 0) {
		set_timer(control, left);
		return;
	}
	window_close(control);
	/*
	 * Every connection with room in its buffer sees this at once; in mode
	 * rr and crr, each when it has its response.
	 */
	atomic_store(&run->stop, true);
}

/*
 * A worker has failed, or completed the warm-up of -b or the last stream; or,
 * where the sink has the clock, serve's has seen its window open or close.
 */
static void notified(int fd, short what, void *arg)
{
	struct control *control = arg;
	struct run *run = control->run;
	eventfd_t value;

	(void)what;
	eventfd_read(fd, &value);
	if (atomic_load(&run->failed)) {
		event_base_loopbreak(run->base);
		return;
	}
	if (!run->opt->duration) {
		if (!control->window->opened && atomic_load(&run->warm))
			window_open(control);
		if (control->window->opened && !control->window->closed &&
		    (atomic_load(&run->stop) || all_done(run)))
			window_close(control);
	}
	if (all_done(run) && standing_over(control->standing))
		event_base_loopbreak(run->base);
}

static void each_second(int fd, short what, void *arg)
{
	struct control *control = arg;

	(void)fd;
	(void)what;
	report_progress(control->run, control->window);
}

/* Opens the window now, or arranges for it. */
static void plan(struct control *control)
{
	struct run *run = control->run;
	const struct options *opt = run->opt;
	bool at_once = measures(opt) ? !opt->warmup : opt->mode == MODE_STREAM;

	if (at_once) {
		atomic_store(&run->warm, true);
		window_open(control);
	} else if (opt->bytes) {
		run->warm_at = ceil(opt->bytes * (opt->warmup / 100));
	}
	if (opt->duration) {
		/* nobody need count bytes */
		atomic_store(&run->warm, true);
		set_timer(control, control->window->opened ? opt->duration :
							     opt->warmup);
	}
}

static void check_requests(struct run *run)
{
	for (struct conn *conn = next_conn(run, NULL); conn;
	     conn = next_conn(run, conn))
		if (conn->measured)
			return;
	if (measures(run->opt))
		run_fail(run, "no request was made within the measured window of %g s: raise -d, or lower -w",
			 run->opt->duration);
	else
		run_fail(run, "the sink made no request within its measured window; see its message");
}

static void check_measured(struct run *run, const struct window *window)
{
	uint64_t bytes = 0;

	if (run->opt->mode != MODE_STREAM) {
		check_requests(run);
		return;
	}
	if (run->opt->role == ROLE_SINK)
		return;
	for (unsigned int i = 0; i < run->opt->conns; i++)
		bytes += window->flows[i].bytes[CLOSE] -
			 window->flows[i].bytes[OPEN];
	if (!bytes)
		run_fail(run, "nothing was acknowledged within the measured window of %.3f s: raise -b or -d, or lower -w",
			 window->edge[CLOSE].time - window->edge[OPEN].time);
}

void window_run(struct run *run, struct window *window)
{
	struct control control = { .run = run, .window = window };
	struct event *notify, *progress = NULL;

	/* what is known of a connection goes with it, in mode crr */
	if (run->opt->mode != MODE_CRR)
		window->flows = calloc(run->opt->conns, sizeof(*window->flows));
	control.timer = evtimer_new(run->base, timer_expired, &control);
	if ((!window->flows && run->opt->mode != MODE_CRR) || !control.timer)
		die(EXIT_SETUP, "out of memory");
	notify = watch_readable(run->base, run->notify, notified, &control);
	control.standing = standing_watch(run);
	if (run->opt->progress)
		progress = watch_time(run->base, 1, each_second, &control);

	workers_start(run);
	plan(&control);
	workers_go(run);
	event_base_dispatch(run->base);
	workers_join(run);
	if (!atomic_load(&run->failed))
		check_measured(run, window);

	standing_free(control.standing);
	if (progress)
		event_free(progress);
	event_free(notify);
	event_free(control.timer);
}
