// SPDX-License-Identifier: GPL-2.0
/*
 * CPU 1 goes offline and comes back, many times, while connections transfer
 * data, which is verified. Nothing is lost on the way; the threads of ConnP-T
 * make room, and return to where they belong.
 */
#include "connp_threads.h"

#define CONNECTIONS	6
#define CPU		1
#define ONLINE		"/sys/devices/system/cpu/cpu1/online"
#define TIMES		40
/* After so long it is enough, if it was at least so often. */
#define SECONDS		3
#define SECONDS_FULL	8
#define TIMES_MIN	4

static struct connp_sysctl cpus = { .name = "cpus" };
static struct connp_stream streams[CONNECTIONS];
static struct connp_watch watch;

static void restore(void)
{
	connp_write_file(ONLINE, "1");
}

static void switch_cpu(bool on, unsigned int *misplaced)
{
	cpu_set_t online;

	connp_write_file(ONLINE, on ? "1" : "0");
	connp_online(&online);
	if (!CPU_ISSET(CPU, &online) == on)
		ksft_exit_fail_msg("CPU %d is not %s\n", CPU,
				   on ? "online" : "offline");
	if (connp_nr_tids)
		*misplaced += connp_misplaced(&cpus, &online);
}

int main(void)
{
	long drops = 0, lost, timeouts;
	unsigned int i, wrong = 0, offline = 0, back = 0;
	size_t kib = 0, missing = 0;
	double most = (connp_full() ? SECONDS_FULL : SECONDS) * 1e3;
	double began, until;

	if (access(ONLINE, W_OK))
		ksft_exit_skip("CPU %d can't go offline\n", CPU);
	if (connp_has_threads()) {
		connp_sysctl_open(&cpus);
		connp_find_threads();
	}
	connp_guard(restore);
	connp_start(9, 150);
	if (connp_groups_fd >= 0)
		drops = connp_groups("drops");
	lost = connp_lost();
	timeouts = connp_tcpext("TCPTimeouts");
	connp_watch_start(&watch, CONNECTIONS, CONNP_STALL_TICKS_BUSY);
	for (i = 0; i < CONNECTIONS; i++)
		connp_stream_start(&streams[i], i, i % 2 ? CONNP_V4 : CONNP_V6,
				   &watch);
	began = connp_ms();
	for (i = 0; i < TIMES; i++) {
		if (connp_ms() - began > most && i >= TIMES_MIN)
			break;
		switch_cpu(false, &offline);
		usleep(20000);
		switch_cpu(true, &back);
		usleep(20000);
	}
	until = connp_ms();
	ksft_print_msg("CPU %d was offline %u times in %.1f s\n", CPU, i,
		       (until - began) / 1e3);
	ksft_test_result(i >= TIMES_MIN, "often enough\n");
	for (i = 0; i < CONNECTIONS; i++) {
		connp_stream_finish(&streams[i]);
		kib += streams[i].received >> 10;
		missing += streams[i].sent - streams[i].received;
		wrong += streams[i].wrong || streams[i].broken ||
			 !streams[i].received;
	}
	ksft_print_msg("%zu KiB\n", kib);
	ksft_test_result(!missing && !wrong, "all data arrives, and is right\n");
	connp_watch_report(&watch, "transfer");
	connp_expect_no_loss(lost, "transfer");
	timeouts = connp_tcpext("TCPTimeouts") - timeouts;
	/* One that stood still itself makes timers expire. */
	ksft_test_result(timeouts <= (long)(watch.pauses * CONNECTIONS),
			 "%ld retransmission timeouts, %u pauses of the machine\n",
			 timeouts, watch.pauses);
	if (connp_nr_tids) {
		ksft_test_result(!offline, "no thread is where CPU %d was\n",
				 CPU);
		ksft_test_result(!back, "then all are where they belong\n");
	} else {
		ksft_test_result_skip("no thread is where CPU %d was: no threads\n",
				      CPU);
		ksft_test_result_skip("then all are where they belong: no threads\n");
	}
	if (connp_groups_fd >= 0) {
		ksft_test_result(connp_wait_conns(0) &&
				 connp_wait_drained(),
				 "all that was queued is drained\n");
		ksft_test_result(connp_groups("drops") == drops,
				 "nothing was dropped\n");
	} else {
		ksft_test_result_skip("all that was queued is drained: no groups\n");
		ksft_test_result_skip("nothing was dropped: no groups\n");
	}
	ksft_finished();
}
