// SPDX-License-Identifier: GPL-2.0
/*
 * Connections transfer data, which is verified, while something else goes on
 * that holds locks of TCP or moves work between CPUs: readers of /proc and of
 * socket diagnostics, CPUs that go offline and come back, and an administrator
 * who kills connections.
 */
#include <glob.h>

#include "connp.h"

#define CONNECTIONS	8
/* Each disturbance goes on for so long at most, which only slow kernels need. */
#define SECONDS		2
#define SECONDS_FULL	5

static struct connp_stream streams[CONNECTIONS];
static struct connp_watch watch;
/* What came of all that have been finished. */
static unsigned int wrong, killed;
static size_t bytes;

static void start(unsigned int i)
{
	connp_stream_start(&streams[i], i, i % 2 ? CONNP_V4 : CONNP_V6, &watch);
}

static void finish(unsigned int i)
{
	connp_stream_finish(&streams[i]);
	wrong += streams[i].wrong;
	killed += streams[i].broken;
	bytes += streams[i].received;
}

static void read_whole(const char *path)
{
	static char buf[65536];
	int fd = open(path, O_RDONLY);

	if (fd < 0)
		ksft_exit_fail_perror(path);
	while (read(fd, buf, sizeof(buf)) > 0)
		;
	close(fd);
}

static void read_proc(void)
{
	read_whole("/proc/net/tcp");
	if (!access("/proc/net/tcp6", F_OK))
		read_whole("/proc/net/tcp6");
	read_whole("/proc/net/sockstat");
	connp_conns();
}

static void read_diag(void)
{
	if (system("ss -tiaenmo >/dev/null"))
		ksft_exit_fail_msg("ss failed\n");
}

/* Every CPU that may go offline does, and comes back. */
static void cycle_cpus(void)
{
	glob_t cpus;
	size_t i;

	if (glob("/sys/devices/system/cpu/cpu[0-9]*/online", 0, NULL, &cpus))
		return;
	for (i = 0; i < cpus.gl_pathc; i++) {
		connp_write_file(cpus.gl_pathv[i], "0");
		usleep(50000);
		connp_write_file(cpus.gl_pathv[i], "1");
		usleep(50000);
	}
	globfree(&cpus);
}

/* Kill all connections, and begin anew. */
static void kill_all(void)
{
	unsigned int i;

	usleep(20000);
	if (system("ss -Kt state established >/dev/null 2>&1"))
		ksft_print_msg("ss -K failed\n");
	for (i = 0; i < CONNECTIONS; i++) {
		if (!streams[i].ended)
			continue;
		finish(i);
		start(i);
	}
}

static void test(const char *name, void (*disturb)(void), unsigned int times)
{
	long before = connp_conns();
	double most = (connp_full() ? SECONDS_FULL : SECONDS) * 1e3;
	double began = connp_ms();
	unsigned int i;

	wrong = 0;
	killed = 0;
	bytes = 0;
	connp_watch_start(&watch, CONNECTIONS, CONNP_STALL_TICKS_BUSY);
	for (i = 0; i < CONNECTIONS; i++)
		start(i);
	for (i = 0; i < times && connp_ms() - began < most; i++)
		disturb();
	for (i = 0; i < CONNECTIONS; i++)
		finish(i);
	ksft_print_msg("%s: %zu KiB, %u killed\n", name, bytes >> 10, killed);
	if (disturb == kill_all)
		ksft_test_result(killed, "%s: connections are killed\n", name);
	else
		ksft_test_result(!killed && bytes, "%s: all streams end well\n",
				 name);
	ksft_test_result(!wrong, "%s: the data is right\n", name);
	connp_watch_report(&watch, name);
	connp_wait_sockets(0);
	ksft_test_result(connp_wait_conns(before),
			 "%s: no connection is left\n", name);
}

static void skip(const char *name, const char *why)
{
	int i;

	for (i = 0; i < 4; i++)
		ksft_test_result_skip("%s: %s\n", name, why);
}

int main(void)
{
	bool has_ss = !system("ss -V >/dev/null 2>&1");

	connp_start(16, 150);
	test("readers of /proc", read_proc, 100);
	if (has_ss)
		test("readers of diagnostics", read_diag, 30);
	else
		skip("readers of diagnostics", "ss is missing");
	if (!access("/sys/devices/system/cpu/cpu1/online", W_OK))
		test("CPUs offline and online", cycle_cpus, 10);
	else
		skip("CPUs offline and online", "no CPU can go offline");
	if (has_ss)
		test("connections killed", kill_all, 30);
	else
		skip("connections killed", "ss is missing");
	ksft_finished();
}
