// SPDX-License-Identifier: GPL-2.0
/*
 * Which sockets are in a group, and what /proc/net/tcp_connp says about it.
 */
#include <signal.h>
#include <sys/epoll.h>
#include <sys/klog.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <sys/wait.h>

#include "connp_threads.h"

#define COLUMNS	"group conns acquisitions contended queued drained batches" \
		" batch_max queue_max kicks wakeups suppressed drops bytes" \
		" sync polls_paid polls_unpaid busy_us\n"

static unsigned int nr_groups;
static bool has_threads;

static unsigned int count_words(char *line)
{
	unsigned int n = 0;
	char *more;

	for (line = strtok_r(line, "\n ", &more); line;
	     line = strtok_r(NULL, "\n ", &more))
		n++;
	return n;
}

/* Or a user could find out in which group of others' connections his are. */
static void test_private(void)
{
	struct stat st;

	ksft_test_result(!fstat(connp_groups_fd, &st) && !st.st_uid &&
			 !(st.st_mode & 077),
			 "only root may read it\n");
}

static void test_format(void)
{
	unsigned int columns, rows = 0, version = 0, wrong = 0;
	char header[256], line[512], names[] = COLUMNS, suffix[18], org[16];
	FILE *f = fdopen(dup(connp_groups_fd), "r");
	struct utsname name;
	char *end;

	if (!f || !fgets(header, sizeof(header), f) ||
	    !fgets(line, sizeof(line), f))
		ksft_exit_fail_perror("reading /proc/net/tcp_connp");
	ksft_test_result(sscanf(header, "tcp_connp %15s groups %u version %u",
				org, &nr_groups, &version) == 3 && version == 2,
			 "first line: %s", header);
	/* A distribution may call its kernel as it likes. */
	uname(&name);
	snprintf(suffix, sizeof(suffix), "-%s", org);
	end = strstr(name.release, "-connp-");
	ksft_test_result((!strcmp(org, "connp-l") || !strcmp(org, "connp-t")) &&
			 (!end || !strcmp(end, suffix)),
			 "the organisation is %s, the release %s\n", org,
			 name.release);
	ksft_test_result(!strcmp(line, COLUMNS), "second line: %s", line);
	columns = count_words(names);
	while (fgets(line, sizeof(line), f)) {
		wrong += atoi(line) != (int)rows++;
		wrong += count_words(line) != columns;
	}
	fclose(f);
	ksft_test_result(rows == nr_groups && !wrong,
			 "a row for each group, with all columns\n");
}

/* Of the kernels of this repository. */
static unsigned int default_groups(void)
{
	unsigned int n = 1;

	if (!has_threads)
		return 128;
	while (n < sysconf(_SC_NPROCESSORS_ONLN))
		n *= 2;
	return n;
}

/* tcp_connp.groups= on the command line is what there is, or it is refused. */
static void test_parameter(void)
{
	char cmdline[4096] = "", *asked, expected[64];
	int fd = open("/proc/cmdline", O_RDONLY);
	static char log[1 << 20];
	unsigned long n;
	ssize_t len;
	char *end;

	if (fd < 0 || read(fd, cmdline, sizeof(cmdline) - 1) < 0)
		ksft_exit_fail_perror("/proc/cmdline");
	close(fd);
	asked = strstr(cmdline, "tcp_connp.groups=");
	if (!asked) {
		ksft_test_result(nr_groups == default_groups(),
				 "%u groups, the default is %u\n", nr_groups,
				 default_groups());
		return;
	}
	asked = strtok(asked + strlen("tcp_connp.groups="), "\n ");
	n = strtoul(asked, &end, 0);
	if (!*end && n && n <= CONNP_MAX_GROUPS && !(n & (n - 1))) {
		ksft_test_result(n == nr_groups, "groups=%s is honoured\n",
				 asked);
		return;
	}
	len = klogctl(3, log, sizeof(log) - 1);
	if (len < 0)
		ksft_exit_fail_perror("reading the kernel log");
	log[len] = 0;
	snprintf(expected, sizeof(expected), "using %u groups", nr_groups);
	end = strstr(log, "tcp_connp: groups=");
	ksft_test_result(nr_groups == default_groups() && end &&
			 strstr(end, expected),
			 "groups=%s is refused, the log names the fallback\n",
			 asked);
}

/* Only a thread is woken, polls, and never finds its group's lock held. */
static void test_thread_columns(long contended)
{
	long woken = connp_groups("wakeups") + connp_groups("suppressed");
	long polls = connp_groups("polls_paid") + connp_groups("polls_unpaid");
	long busy = connp_groups("busy_us");

	if (has_threads)
		ksft_test_result(woken && busy && !contended,
				 "threads are woken, and work: %ld us\n", busy);
	else
		ksft_test_result(!woken && !polls && !busy,
				 "without threads none is woken, nor works\n");
}

static void test_counters(void)
{
	long acquisitions = connp_groups("acquisitions");
	long queued = connp_groups("queued");
	long calls = connp_groups("sync");
	struct connp_pair pair;
	char byte = 1;
	int i;

	connp_connect(CONNP_V4, &pair);
	for (i = 0; i < 100; i++) {
		connp_send(pair.client, &byte, 1);
		connp_recv(pair.server, &byte, 1);
	}
	connp_disconnect(&pair);
	ksft_test_result(connp_groups("acquisitions") > acquisitions,
			 "traffic acquires groups\n");
	ksft_test_result(connp_groups("queued") - queued >= 100,
			 "packets are queued on groups\n");
	ksft_test_result(connp_groups("sync") - calls >= 3,
			 "connect() and close() are calls\n");
	ksft_test_result(connp_wait_drained(),
			 "all that was queued is drained, and uncharged\n");
	test_thread_columns(connp_groups("contended"));
}

static void test_established(enum connp_family family)
{
	long before = connp_conns();
	struct sockaddr_storage ss;
	struct connp_pair pair;
	socklen_t len;
	bool right;
	int fd;

	fd = connp_listen(family, &ss, &len);
	right = connp_wait_conns(before);
	close(fd);
	fd = connp_socket(family);
	right &= connp_wait_conns(before);
	close(fd);
	ksft_test_result(right, "%s: a listener and an unbound socket have none\n",
			 connp_family_names[family]);
	connp_connect(family, &pair);
	ksft_test_result(connp_wait_conns(before + 2),
			 "%s: both ends of a connection have one\n",
			 connp_family_names[family]);
	connp_disconnect(&pair);
	ksft_test_result(connp_wait_conns(before),
			 "%s: after close() they have none\n",
			 connp_family_names[family]);
}

/* The same socket connects, disconnects, listens, and connects again. */
static void test_many_lives(void)
{
	struct sockaddr unspec = { .sa_family = AF_UNSPEC };
	long before = connp_conns();
	struct sockaddr_storage ss;
	bool right = true;
	socklen_t len;
	int i, listener, fd, peer;

	listener = connp_listen(CONNP_V4, &ss, &len);
	fd = connp_socket(CONNP_V4);
	for (i = 0; i < 20 && right; i++) {
		if (connect(fd, (void *)&ss, len))
			ksft_exit_fail_perror("connect");
		peer = accept(listener, NULL, NULL);
		connp_send(peer, "x", 1);
		right &= connp_conns() >= before + 2;
		if (connect(fd, &unspec, sizeof(unspec)))
			ksft_exit_fail_perror("connect(AF_UNSPEC)");
		close(peer);
		if (listen(fd, 1))
			ksft_exit_fail_perror("listen");
		right &= connp_wait_conns(before);
		if (connect(fd, &unspec, sizeof(unspec)))
			ksft_exit_fail_perror("connect(AF_UNSPEC)");
	}
	close(fd);
	close(listener);
	ksft_test_result(right && connp_wait_conns(before),
			 "a socket that connects, then listens, then connects\n");
}

static void test_repair(void)
{
	long before = connp_conns();
	struct connp_pair pair;
	bool right;

	connp_connect(CONNP_V4, &pair);
	right = connp_exchange(&pair, 1);
	connp_set(pair.client, IPPROTO_TCP, TCP_REPAIR, TCP_REPAIR_ON);
	right &= connp_wait_conns(before + 1);
	connp_set(pair.client, IPPROTO_TCP, TCP_REPAIR, TCP_REPAIR_OFF);
	right &= connp_exchange(&pair, 1);
	connp_disconnect(&pair);
	ksft_test_result(right && connp_wait_conns(before),
			 "TCP_REPAIR takes a socket out, data still flows\n");
}

static void test_ulp(void)
{
	long before = connp_conns();
	struct connp_pair pair;
	bool right;

	connp_connect(CONNP_V4, &pair);
	right = connp_exchange(&pair, 1);
	if (setsockopt(pair.client, IPPROTO_TCP, TCP_ULP, "tls", 4)) {
		ksft_test_result_skip("TLS takes a socket out: %s\n",
				      errno == ENOENT ?
				      "the kernel lacks CONFIG_TLS" :
				      strerror(errno));
		connp_disconnect(&pair);
		connp_wait_conns(before);
		return;
	}
	right &= connp_wait_conns(before + 1);
	right &= connp_exchange(&pair, 1);
	connp_disconnect(&pair);
	ksft_test_result(right && connp_wait_conns(before),
			 "TLS takes a socket out, data still flows\n");
}

static void test_mptcp(void)
{
	long before = connp_conns();
	struct sockaddr_storage ss;
	struct connp_pair pair;
	socklen_t len;
	int listener;
	bool right;

	pair.client = socket(AF_INET, SOCK_STREAM, IPPROTO_MPTCP);
	if (pair.client < 0) {
		ksft_test_result_skip("MPTCP is not in a group: the kernel lacks CONFIG_MPTCP\n");
		return;
	}
	listener = socket(AF_INET, SOCK_STREAM, IPPROTO_MPTCP);
	len = connp_address(CONNP_V4, 0, &ss);
	if (listener < 0 || bind(listener, (void *)&ss, len) ||
	    listen(listener, 1) || getsockname(listener, (void *)&ss, &len) ||
	    connect(pair.client, (void *)&ss, len))
		ksft_exit_fail_perror("an MPTCP connection");
	pair.server = accept(listener, NULL, NULL);
	right = connp_exchange(&pair, 1);
	right &= connp_wait_conns(before);
	connp_disconnect(&pair);
	close(listener);
	ksft_test_result(right, "MPTCP is not in a group\n");
}

/* Whose wake-up costs others no more than one of these may stay. */
#define WAITERS_FEW	32
#define WAITERS_MANY	80

static void test_waiters(unsigned int n, unsigned int expected)
{
	struct epoll_event event = { .events = EPOLLIN };
	long before = connp_conns();
	int epolls[WAITERS_MANY];
	struct connp_pair pair;
	unsigned int i;
	bool right;

	connp_connect(CONNP_V4, &pair);
	for (i = 0; i < n; i++) {
		epolls[i] = epoll_create1(EPOLL_CLOEXEC);
		if (epolls[i] < 0 ||
		    epoll_ctl(epolls[i], EPOLL_CTL_ADD, pair.server, &event))
			ksft_exit_fail_perror("epoll");
	}
	right = connp_exchange(&pair, 3);
	right &= connp_wait_conns(before + expected);
	/* All are told. */
	connp_send(pair.client, "x", 1);
	for (i = 0; i < n; i++) {
		right &= epoll_wait(epolls[i], &event, 1, 5000) == 1;
		close(epolls[i]);
	}
	connp_disconnect(&pair);
	ksft_test_result(right && connp_wait_conns(before),
			 "%u that wait for a connection: %u ends are in groups\n",
			 n, expected);
}

static atomic_uint signals;

static void count_signal(int signal)
{
	signals += signal == SIGIO;
}

static void test_signals(void)
{
	long before = connp_conns();
	struct connp_pair pair;
	bool right;

	signal(SIGIO, count_signal);
	connp_connect(CONNP_V4, &pair);
	if (fcntl(pair.server, F_SETOWN, getpid()) ||
	    fcntl(pair.server, F_SETFL, O_ASYNC))
		ksft_exit_fail_perror("O_ASYNC");
	right = connp_exchange(&pair, 3);
	right &= connp_wait_conns(before + 1);
	connp_disconnect(&pair);
	ksft_test_result(right && signals && connp_wait_conns(before),
			 "processes that are sent signals: only the other end is in a group\n");
}

/* Who makes one may do anything in it, and does not have to be anybody. */
static void test_user_namespace(void)
{
	long before = connp_conns();
	struct connp_pair pair;
	bool right;
	pid_t child;
	int status;

	fflush(stdout);
	child = fork();
	if (!child) {
		if (unshare(CLONE_NEWUSER))
			_exit(KSFT_SKIP);
		connp_new_netns();
		connp_connect(CONNP_V4, &pair);
		right = connp_exchange(&pair, 3) && connp_conns() == before;
		fflush(stdout);
		_exit(right ? KSFT_PASS : KSFT_FAIL);
	}
	if (child < 0 || waitpid(child, &status, 0) != child ||
	    !WIFEXITED(status))
		ksft_exit_fail_perror("a user namespace");
	if (WEXITSTATUS(status) == KSFT_SKIP)
		ksft_test_result_skip("a user's namespace: there may be none\n");
	else
		ksft_test_result(!status, "in a user's namespace none is in a group\n");
}

/* Connections spread over groups by a keyed hash: all but evenly. */
static void test_spread(void)
{
	static struct connp_pair pairs[256];
	long before = connp_conns();
	unsigned int i, used;

	if (nr_groups > 128) {
		ksft_test_result_skip("spread: more groups than are worth filling\n");
		ksft_test_result_skip("and then none\n");
		return;
	}
	for (i = 0; i < ARRAY_SIZE(pairs); i++)
		connp_connect(CONNP_V4, &pairs[i]);
	connp_groups_used("conns", &used);
	/* Of 512 in 128 groups 126 are used on average, give or take 1.3. */
	ksft_test_result(used >= nr_groups - nr_groups / 8,
			 "%zu connections use %u of %u groups\n",
			 2 * ARRAY_SIZE(pairs), used, nr_groups);
	for (i = 0; i < ARRAY_SIZE(pairs); i++)
		connp_disconnect(&pairs[i]);
	ksft_test_result(connp_wait_conns(before), "and then none\n");
}

int main(void)
{
	connp_need_groups();
	has_threads = connp_has_threads();
	connp_start(27, 60);
	test_private();
	test_format();
	test_parameter();
	test_counters();
	test_established(CONNP_V4);
	test_established(CONNP_V6);
	test_many_lives();
	test_repair();
	test_ulp();
	test_mptcp();
	test_waiters(WAITERS_FEW, 2);
	test_waiters(WAITERS_MANY, 1);
	test_signals();
	test_user_namespace();
	test_spread();
	ksft_finished();
}
