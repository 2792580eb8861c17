// SPDX-License-Identifier: GPL-2.0
/*
 * Network namespaces with a table of established connections of their own, of
 * fewer buckets than there may be groups, that end with connections in every
 * state. Groups are global: none may keep a connection of a dead namespace, and
 * whoever makes a small table may not gather connections in one.
 *
 * Then namespaces whose processes end all at once, with data to send, closed
 * windows and timers running. On ConnP-T the threads of the groups don't run
 * meanwhile, so packets, messages, timers and the close() of each process are
 * on the queues when nobody uses the namespace any more. A device whose other
 * end is in the namespace shows when it is gone.
 */
#include <poll.h>

#include "connp_threads.h"

#define CONNECTIONS	24
#define CHILD_TABLE	"/proc/sys/net/ipv4/tcp_child_ehash_entries"
#define PROCESSES	8
#define DEVICE		"connp-dying"

/*
 * How long threads are kept from running at least, for timers, and at most: all
 * else that runs on their CPU starves as well.
 */
#define STARVE_MS	2000
#define STARVE_MAX_MS	(CONNP_HOG_SECONDS * 1000 / 2)

/* How old the timer of a closed window may be then. */
#define TIMER_MS	(2 * RTO_MIN)

/* A namespace that is going to die: what is in it, and how to tell them. */
struct dying {
	pid_t pids[PROCESSES];
	int ready;		/* a byte of each that is where it should be */
	int calm, go;		/* to be closed */
};

static struct connp_sysctl cpus = { .name = "cpus" };
static struct connp_sysctl niceness = { .name = "nice" };
static bool may_starve, traces;
static int last_cpu;

static void set_buckets(unsigned int buckets)
{
	char text[16];

	snprintf(text, sizeof(text), "%u", buckets);
	connp_write_file(CHILD_TABLE, text);
}

/* In a process of its own, which leaves it to exit() to close things. */
static void live(unsigned int buckets)
{
	struct connp_pair pairs[CONNECTIONS];
	unsigned int i;
	char byte = 'x';

	set_buckets(buckets);
	connp_new_netns();
	for (i = 0; i < CONNECTIONS; i++) {
		connp_connect(i % 2 ? CONNP_V4 : CONNP_V6, &pairs[i]);
		connp_send(pairs[i].client, &byte, 1);
		connp_recv(pairs[i].server, &byte, 1);
		connp_send(pairs[i].server, &byte, 1);
		if (i % 3 == 0)
			connp_disconnect(&pairs[i]);
		else if (i % 3 == 1)
			shutdown(pairs[i].client, SHUT_WR);
	}
	exit(0);
}

static void test_live(unsigned int buckets, unsigned int rounds)
{
	unsigned int bad = 0;
	pid_t child;
	int status;

	for (; rounds; rounds--) {
		fflush(stdout);
		child = fork();
		if (!child)
			live(buckets);
		if (child < 0 || waitpid(child, &status, 0) != child || status)
			bad++;
	}
	ksft_test_result(!bad, "namespaces with %u buckets come and go\n",
			 buckets);
}

/*
 * A namespace with one bucket has all connections in that, and none of them
 * where it would.
 */
static void spread(void)
{
	long before[CONNP_MAX_GROUPS], after[CONNP_MAX_GROUPS];
	struct connp_pair pairs[CONNECTIONS];
	unsigned int i, n, used = 0;

	set_buckets(1);
	connp_new_netns();
	connp_rows("conns", before);
	for (i = 0; i < CONNECTIONS; i++)
		connp_connect(i % 2 ? CONNP_V4 : CONNP_V6, &pairs[i]);
	n = connp_rows("conns", after);
	for (i = 0; i < n; i++)
		used += after[i] > before[i];
	ksft_print_msg("%u connections with one bucket, in %u of %u groups\n",
		       CONNECTIONS, used, n);
	fflush(stdout);
	_exit(used < 2);
}

static void test_spread(void)
{
	static const char name[] = "nobody chooses a group by a small table";
	long rows[CONNP_MAX_GROUPS];
	pid_t child;
	int status;

	if (connp_groups_fd < 0 || connp_rows("conns", rows) < 2) {
		ksft_test_result_skip("%s: needs groups\n", name);
		return;
	}
	fflush(stdout);
	child = fork();
	if (!child)
		spread();
	ksft_test_result(child > 0 && waitpid(child, &status, 0) == child &&
			 !status, "%s\n", name);
}

static char much[65536];

/* With a closed window, the client has a timer. */
static void fill(struct connp_pair *pair)
{
	while (send(pair->client, much, sizeof(much), MSG_DONTWAIT) > 0)
		;
}

/* The child's end: when told to, leave it to _exit() to close things. */
static void die(unsigned int number, int ready, int calm, int go)
{
	enum connp_family family = number % 2 ? CONNP_V4 : CONNP_V6;
	struct pollfd told = { .fd = calm, .events = POLLIN };
	struct connp_pair plain, packets, full;
	char byte = 'x';

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	connp_connect(family, &plain);
	connp_connect(family, &packets);
	connp_connect(family, &full);
	/* Out of its group, a client sends at once, to a server that is in. */
	connp_set(packets.client, IPPROTO_TCP, TCP_REPAIR, TCP_REPAIR_ON);
	connp_set(packets.client, IPPROTO_TCP, TCP_REPAIR, TCP_REPAIR_OFF_NO_WP);
	fill(&full);
	/* This one has a timer each second, each process at another time. */
	usleep(number * 1000000 / PROCESSES);
	connp_set(plain.server, IPPROTO_TCP, TCP_KEEPIDLE, 1);
	connp_set(plain.server, IPPROTO_TCP, TCP_KEEPINTVL, 1);
	connp_set(plain.server, SOL_SOCKET, SO_KEEPALIVE, 1);
	if (write(ready, &byte, 1) != 1)
		_exit(KSFT_FAIL);
	/* Each time it doubles, and should be due while no thread runs. */
	while (!poll(&told, 1, TIMER_MS)) {
		recv(full.server, much, sizeof(much), MSG_DONTWAIT);
		fill(&full);
	}
	/* Now there is nothing more of this process until it ends. */
	if (write(ready, &byte, 1) != 1 || read(go, &byte, 1))
		_exit(KSFT_FAIL);
	send(packets.client, much, 1000, MSG_DONTWAIT);
	send(plain.client, much, 1000, MSG_DONTWAIT);
	_exit(0);
}

static void wait_ready(const struct dying *dying)
{
	unsigned int i;
	char byte;

	for (i = 0; i < PROCESSES; i++)
		if (read(dying->ready, &byte, 1) != 1)
			ksft_exit_fail_msg("a process has ended early\n");
}

/* A namespace with all these processes in it, and one end of DEVICE. */
static void start_dying(unsigned int buckets, struct dying *dying)
{
	int ours = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	int ready[2], calm[2], go[2];
	char command[128];
	unsigned int i;

	if (ours < 0 || pipe(ready) || pipe(calm) || pipe(go))
		ksft_exit_fail_perror("pipe");
	set_buckets(buckets);
	connp_new_netns();
	fflush(stdout);
	for (i = 0; i < PROCESSES; i++) {
		dying->pids[i] = fork();
		if (dying->pids[i] < 0)
			ksft_exit_fail_perror("fork");
		if (dying->pids[i])
			continue;
		close(ours);
		close(ready[0]);
		close(calm[1]);
		close(go[1]);
		die(i, ready[1], calm[0], go[0]);
	}
	if (setns(ours, CLONE_NEWNET))
		ksft_exit_fail_perror("setns");
	close(ours);
	close(ready[1]);
	close(calm[0]);
	close(go[0]);
	dying->ready = ready[0];
	dying->calm = calm[1];
	dying->go = go[1];
	wait_ready(dying);
	snprintf(command, sizeof(command),
		 "ip link add " DEVICE " type veth peer name connp netns %d 2>/dev/null",
		 dying->pids[0]);
	if (system(command))
		ksft_print_msg("a veth device can't be made\n");
}

/* The kinds of messages that were not taken off the queues. */
static unsigned int missing_kinds(void)
{
	static const char * const kinds[] = {
		"packet", "output", "call", "keepalive", "retrans",
	};
	unsigned int i, missing = 0;
	char text[32];

	for (i = 0; traces && i < ARRAY_SIZE(kinds); i++) {
		snprintf(text, sizeof(text), "kind=%s ", kinds[i]);
		if (connp_traced(text))
			continue;
		ksft_print_msg("no message of kind %s\n", kinds[i]);
		missing++;
	}
	return missing;
}

/*
 * Have all of them end while no thread runs. Returns whether none did run, and
 * each has a close() pending, a packet, data to send, and perhaps a timer.
 */
static bool starve(const struct dying *dying)
{
	long calls = connp_groups("sync"), called, drained, pending;
	unsigned int i;
	double began;
	pid_t hog;

	/* Before, because that may need all CPUs. */
	if (traces)
		connp_trace(CONNP_MESSAGE_EVENT, true);
	/* How long processes take to end is for the machine to say. */
	for (i = 0; i < connp_nr_tids; i++)
		connp_set_fifo(connp_tids[i], CONNP_LOW_PRIORITY);
	hog = connp_hog_start(last_cpu);
	if (traces)
		connp_trace_empty();
	began = connp_ms();
	drained = connp_groups("drained");
	close(dying->go);
	do {
		usleep(10000);
		called = connp_groups("sync") - calls;
	} while (connp_ms() - began < STARVE_MS ||
		 (called < PROCESSES && connp_ms() - began < STARVE_MAX_MS));
	drained = connp_groups("drained") - drained;
	pending = connp_groups("queued") - connp_groups("drained");
	connp_hog_stop(hog);
	connp_sysctl_restore(&niceness);
	ksft_print_msg("%ld messages were queued, %ld of them calls; %ld were drained\n",
		       pending, called, drained);
	return !drained && called == PROCESSES && pending > 3 * PROCESSES;
}

static void test_dying(unsigned int buckets)
{
	long before = connp_conns();
	struct dying dying;
	unsigned int i, bad = 0;
	bool had_device, starved = false, drained;
	int status;

	start_dying(buckets, &dying);
	had_device = if_nametoindex(DEVICE);
	close(dying.calm);
	wait_ready(&dying);
	if (may_starve)
		starved = starve(&dying);
	else
		close(dying.go);
	for (i = 0; i < PROCESSES; i++)
		if (waitpid(dying.pids[i], &status, 0) != dying.pids[i] ||
		    status)
			bad++;
	close(dying.ready);
	ksft_print_msg("%u processes of a namespace with %u buckets have ended\n",
		       PROCESSES, buckets);
	drained = connp_groups_fd < 0 || connp_wait_drained();
	if (traces)
		connp_trace(CONNP_MESSAGE_EVENT, false);
	if (may_starve)
		ksft_test_result(!missing_kinds() && starved,
				 "%s are queued\n",
				 traces ? "messages of all kinds" : "messages");
	else
		ksft_test_result_skip("messages are queued: no thread can be starved\n");
	ksft_test_result(!bad && connp_wait_conns(before),
			 "a dying namespace: no connection is left in a group\n");
	ksft_test_result(drained,
			 "a dying namespace: all that was queued is drained\n");
	if (!had_device) {
		ksft_test_result_skip("a dying namespace: needs ip and CONFIG_VETH\n");
		return;
	}
	/* The test's alarm() bounds it. */
	while (if_nametoindex(DEVICE))
		usleep(10000);
	ksft_test_result_pass("a dying namespace: it is gone\n");
}

static void restore(void)
{
	if (!may_starve)
		return;
	connp_sysctl_restore(&cpus);
	connp_sysctl_restore(&niceness);
	connp_throttle();
}

/* All threads go to one CPU, where somebody else will be; not so the test. */
static void prepare_starving(void)
{
	cpu_set_t online;
	char text[16];

	connp_online(&online);
	connp_stay_on(connp_first_cpu(&online));
	snprintf(text, sizeof(text), "%d", last_cpu);
	if (!connp_sysctl_write(&cpus, text))
		ksft_exit_fail_perror("cpus");
	connp_find_threads();
	traces = !access(CONNP_MESSAGE_EVENT, W_OK);
}

int main(void)
{
	static const unsigned int sizes[] = { 1, 2, 16, 128, 1024, 4096 };
	/* The end of one namespace shows that of those before is complete. */
	static const unsigned int dying[] = { 4096, 1, 16 };
	unsigned int i, rounds = connp_loops(16);
	cpu_set_t online;

	if (access(CHILD_TABLE, W_OK))
		ksft_exit_skip("no net.ipv4.tcp_child_ehash_entries\n");
	connp_online(&online);
	last_cpu = connp_last_cpu(&online);
	may_starve = connp_has_threads() && CPU_COUNT(&online) > 1;
	if (may_starve) {
		connp_sysctl_open(&cpus);
		connp_sysctl_open(&niceness);
		connp_unthrottle(last_cpu);
	}
	connp_guard(restore);
	connp_start(ARRAY_SIZE(sizes) + 2 + 4 * ARRAY_SIZE(dying), 120);
	for (i = 0; i < ARRAY_SIZE(sizes); i++)
		test_live(sizes[i], rounds / 4 + 1);
	test_spread();
	ksft_test_result(connp_wait_conns(0),
			 "no connection is left in a group\n");
	if (may_starve)
		prepare_starving();
	for (i = 0; i < ARRAY_SIZE(dying); i++)
		test_dying(dying[i]);
	ksft_finished();
}
