// SPDX-License-Identifier: GPL-2.0
/*
 * The threads of ConnP-T: one for each group, where and how it runs, that the
 * sysctls move it, that it sleeps when there is nothing to do, and what it
 * counts.
 */
#include "connp_threads.h"

#define ROUNDS	100

enum { CPUS, NICE, POLL_US, SYSCTLS };

static struct connp_sysctl sysctls[SYSCTLS] = {
	{ .name = "cpus" }, { .name = "nice" }, { .name = "poll_us" },
};

static cpu_set_t online;

static void restore(void)
{
	unsigned int i;

	for (i = 0; i < SYSCTLS; i++)
		connp_sysctl_restore(&sysctls[i]);
}

static void set(unsigned int sysctl, const char *value)
{
	if (!connp_sysctl_write(&sysctls[sysctl], value))
		ksft_exit_fail_perror(sysctls[sysctl].name);
}

/* On several connections, so that more than one group has something to do. */
static bool traffic(void)
{
	struct connp_pair pair;
	bool right = true;
	unsigned int i;

	for (i = 0; i < 8; i++) {
		connp_connect(i % 2 ? CONNP_V4 : CONNP_V6, &pair);
		right &= connp_exchange(&pair, 10);
		connp_disconnect(&pair);
	}
	return right;
}

static void test_threads(void)
{
	unsigned int found = connp_find_threads();
	long rows[CONNP_MAX_GROUPS];
	unsigned int i, groups = connp_rows("group", rows);
	bool right = found == groups && connp_nr_tids == groups;

	for (i = 0; i < groups; i++)
		right &= connp_tids[i] > 0;
	ksft_test_result(right, "%u threads of %u groups\n", found, groups);
	if (!right)
		ksft_exit_fail_msg("without them there is nothing to test\n");
	ksft_test_result(!connp_misplaced(&sysctls[CPUS], &online),
			 "each may run on one CPU, the one it belongs to\n");
}

/* How many threads are not as the sysctl nice says. */
static unsigned int not_nice(void)
{
	unsigned int i, wrong = 0;
	char text[256];

	connp_sysctl_read(&sysctls[NICE], text);
	for (i = 0; i < connp_nr_tids; i++) {
		int nice = getpriority(PRIO_PROCESS, connp_tids[i]);
		int policy = sched_getscheduler(connp_tids[i]);

		if (policy == SCHED_BATCH && nice == atoi(text))
			continue;
		ksft_print_msg("the thread of group %u has policy %d, nice %d; expected %d, %s\n",
			       i, policy, nice, SCHED_BATCH, text);
		wrong++;
	}
	return wrong;
}

static void test_nice(void)
{
	bool right;

	ksft_test_result(!not_nice(), "SCHED_BATCH, and nice=%s\n",
			 sysctls[NICE].saved);
	set(NICE, "7");
	right = !not_nice();
	set(NICE, "-20");
	right &= !not_nice() && traffic();
	set(NICE, sysctls[NICE].saved);
	ksft_test_result(right && !not_nice(), "nice can be changed\n");
}

/*
 * True if threads that have worked since @before did so on the CPU they are
 * allowed.
 */
static bool worked_there(const long *before)
{
	long rows[CONNP_MAX_GROUPS];
	unsigned int i, n = connp_rows("drained", rows), worked = 0;
	bool right = true;

	for (i = 0; i < n; i++) {
		if (rows[i] == before[i])
			continue;
		worked++;
		right &= connp_task_cpu(connp_tids[i], NULL) ==
			 connp_allowed(connp_tids[i]);
	}
	return right && worked;
}

static void test_cpus(void)
{
	long before[CONNP_MAX_GROUPS];
	char last[16], all[32];
	int first_cpu = connp_first_cpu(&online);
	int last_cpu = connp_last_cpu(&online);
	bool right;

	if (CPU_COUNT(&online) != last_cpu - first_cpu + 1 ||
	    first_cpu == last_cpu) {
		ksft_test_result_skip("cpus: needs two CPUs, and all online\n");
		ksft_test_result_skip("cpus: needs two CPUs, and all online\n");
		return;
	}
	snprintf(last, sizeof(last), "%d", last_cpu);
	snprintf(all, sizeof(all), "%d-%d", first_cpu, last_cpu);
	connp_rows("drained", before);
	set(CPUS, last);
	right = connp_allowed(connp_tids[0]) == last_cpu &&
		!connp_misplaced(&sysctls[CPUS], &online) && traffic();
	ksft_test_result(right && worked_there(before),
			 "cpus=%s moves the threads, they work there\n", last);
	connp_rows("drained", before);
	set(CPUS, all);
	right = connp_allowed(connp_tids[0]) == first_cpu &&
		!connp_misplaced(&sysctls[CPUS], &online) && traffic();
	ksft_test_result(right && worked_there(before),
			 "cpus=%s moves the threads, they work there\n", all);
	set(CPUS, sysctls[CPUS].saved);
}

/* What a sysctl must refuse leaves it, and the threads, as they were. */
static void test_refused(unsigned int sysctl, const char * const *values)
{
	char text[256], before[256];
	bool right = true;

	connp_sysctl_read(&sysctls[sysctl], before);
	for (; *values; values++) {
		bool taken = connp_sysctl_write(&sysctls[sysctl], *values);

		connp_sysctl_read(&sysctls[sysctl], text);
		if (!taken && !strcmp(text, before))
			continue;
		ksft_print_msg("%s '%s': %s, it is %s now\n",
			       sysctls[sysctl].name, *values,
			       taken ? "no error" : "an error", text);
		right = false;
	}
	right &= !connp_misplaced(&sysctls[CPUS], &online) && !not_nice();
	ksft_test_result(right, "%s: what is wrong is refused\n",
			 sysctls[sysctl].name);
	set(sysctl, before);
}

static void test_affinity(void)
{
	long before[CONNP_MAX_GROUPS];
	bool right = true;
	unsigned int i;
	cpu_set_t one;
	int cpu = connp_last_cpu(&online);

	CPU_ZERO(&one);
	CPU_SET(cpu, &one);
	connp_rows("drained", before);
	for (i = 0; i < connp_nr_tids; i++) {
		right &= !sched_setaffinity(connp_tids[i], sizeof(one), &one);
		right &= connp_allowed(connp_tids[i]) == cpu;
	}
	right &= traffic() && worked_there(before);
	ksft_test_result(right, "sched_setaffinity() moves a thread\n");
	set(CPUS, sysctls[CPUS].saved);
}

static long switches(void)
{
	unsigned int i;
	long sum = 0;

	for (i = 0; i < connp_nr_tids; i++)
		sum += connp_task_status(connp_tids[i],
					 "voluntary_ctxt_switches:") +
		       connp_task_status(connp_tids[i],
					 "nonvoluntary_ctxt_switches:");
	return sum;
}

static void test_idle(void)
{
	long queued, switched, busy;
	unsigned int i, attempt, awake = 0;
	char state;

	connp_wait_drained();
	for (attempt = 0; attempt < 5; attempt++) {
		/* The last of them may still be on its way to sleep. */
		usleep(100000);
		queued = connp_groups("queued");
		busy = connp_groups("busy_us");
		switched = switches();
		sleep(1);
		busy = connp_groups("busy_us") - busy;
		switched = switches() - switched;
		if (connp_groups("queued") == queued)
			break;
	}
	if (attempt == 5) {
		ksft_test_result_skip("idle: others have connections\n");
		return;
	}
	for (i = 0; i < connp_nr_tids; i++) {
		connp_task_cpu(connp_tids[i], &state);
		awake += state != 'I';
	}
	ksft_print_msg("in 1 s: %ld us busy, %ld context switches, %u awake\n",
		       busy, switched, awake);
	ksft_test_result(!busy && !switched && !awake,
			 "without traffic the threads sleep\n");
}

static long polls(void)
{
	return connp_groups("polls_paid") + connp_groups("polls_unpaid");
}

static void test_poll(void)
{
	long before;
	bool right;

	set(POLL_US, "1000");
	before = polls();
	right = traffic();
	ksft_test_result(right && polls() > before,
			 "poll_us=1000: the threads poll\n");
	set(POLL_US, "0");
	/* Whoever polls now will soon have counted it. */
	connp_wait_drained();
	usleep(100000);
	before = polls();
	right = traffic();
	connp_wait_drained();
	usleep(100000);
	ksft_test_result(right && polls() == before,
			 "poll_us=0: traffic flows, the threads don't poll\n");
	set(POLL_US, sysctls[POLL_US].saved);
}

static void expect_calls(long *before, long expected, const char *what)
{
	long calls = connp_groups("sync");

	ksft_test_result(calls - *before == expected,
			 "%s: sync grew by %ld, expected %ld\n", what,
			 calls - *before, expected);
	*before = calls;
}

static void test_counters(void)
{
	long pokes, wakeups, queued, calls;
	struct connp_pair pair;
	bool right;

	calls = connp_groups("sync");
	connp_connect(CONNP_V4, &pair);
	/* accept() has nothing to ask the thread for. */
	expect_calls(&calls, 1, "connect()");
	wakeups = connp_groups("wakeups");
	pokes = wakeups + connp_groups("suppressed");
	queued = connp_groups("queued");
	right = connp_exchange(&pair, ROUNDS);
	wakeups = connp_groups("wakeups") - wakeups;
	pokes = connp_groups("wakeups") + connp_groups("suppressed") - pokes;
	queued = connp_groups("queued") - queued;
	ksft_print_msg("%d packets: %ld queued, %ld pokes, %ld wake-ups\n",
		       2 * ROUNDS, queued, pokes, wakeups);
	/* One that asks for output, and then the packet. */
	ksft_test_result(right && queued >= 4 * ROUNDS,
			 "each byte is two messages\n");
	ksft_test_result(pokes >= 4 * ROUNDS && wakeups <= pokes,
			 "each message has the thread woken, or need not\n");
	expect_calls(&calls, 0, "send() and recv()");
	shutdown(pair.client, SHUT_WR);
	expect_calls(&calls, 1, "shutdown()");
	connp_disconnect(&pair);
	expect_calls(&calls, 2, "close() of both ends");
	ksft_test_result(connp_wait_drained(),
			 "all that was queued is drained\n");
}

int main(void)
{
	static const char * const bad_cpus[] = {
		"all the others", "\n", "1-0", "4096", "-1", "0-", NULL,
	};
	static const char * const bad_nice[] = {
		"-21", "20", "nicer", "\n", "4294967296", NULL,
	};
	static const char * const bad_poll[] = {
		"-1", "10001", "long", "\n", "4294967296", NULL,
	};
	unsigned int i;

	connp_need_threads();
	for (i = 0; i < SYSCTLS; i++)
		connp_sysctl_open(&sysctls[i]);
	connp_guard(restore);
	connp_start(20, 120);
	connp_online(&online);
	test_threads();
	test_nice();
	test_cpus();
	test_refused(CPUS, bad_cpus);
	test_refused(NICE, bad_nice);
	test_refused(POLL_US, bad_poll);
	test_affinity();
	test_idle();
	test_poll();
	test_counters();
	ksft_finished();
}
