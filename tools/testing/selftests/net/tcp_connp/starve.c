// SPDX-License-Identifier: GPL-2.0
/*
 * A real-time task takes the CPU of some groups' threads. Their connections are
 * delayed, and calls wait; those of other groups go on; when it is over nothing
 * is lost. And what an administrator can do about it while it lasts: give the
 * thread a higher priority, or another CPU.
 */
#include "connp_threads.h"

#define EXCHANGES	200
#define DATA		8192
#define BYTES		20
#define WINDOWS		10

enum { CPUS, NICE, SYSCTLS };

static struct connp_sysctl sysctls[SYSCTLS] = {
	{ .name = "cpus" }, { .name = "nice" },
};

/* Where the hog is, and where everybody else. */
static int hog_cpu, cpu;
/* A group of each; other is hungry if there is only one. */
static unsigned int hungry, other;

static struct sockaddr_storage address;
static socklen_t address_len;
static int listener;

static void restore(void)
{
	/* Of the threads, too: these write where and how they all run. */
	connp_sysctl_restore(&sysctls[CPUS]);
	connp_sysctl_restore(&sysctls[NICE]);
	connp_throttle();
}

/* Where this test wants them: one that is alone shall be hungry. */
static void put_threads(void)
{
	char text[16];

	connp_sysctl_restore(&sysctls[CPUS]);
	connp_sysctl_restore(&sysctls[NICE]);
	if (connp_nr_tids > 1)
		return;
	snprintf(text, sizeof(text), "%d", hog_cpu);
	if (!connp_sysctl_write(&sysctls[CPUS], text))
		ksft_exit_fail_perror("cpus");
}

/* A socket that will connect from @port, and thus be in a known group. */
static int socket_at(unsigned int port)
{
	struct sockaddr_storage ss;
	socklen_t len = connp_address(CONNP_V4, htons(port), &ss);
	struct timeval patience = { .tv_sec = 20 };
	int fd = connp_socket(CONNP_V4);

	connp_set(fd, SOL_SOCKET, SO_REUSEADDR, 1);
	if (bind(fd, (void *)&ss, len) ||
	    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience,
		       sizeof(patience)))
		ksft_exit_fail_perror("a socket with a port");
	return fd;
}

static int accept_one(void)
{
	struct timeval patience = { .tv_sec = 20 };
	int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);

	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience,
				 sizeof(patience)))
		ksft_exit_fail_perror("accept");
	connp_set(fd, IPPROTO_TCP, TCP_NODELAY, 1);
	return fd;
}

static void abort_pair(struct connp_pair *pair)
{
	connp_abort(pair->client);
	close(pair->server);
}

/*
 * A connection with one end in group @a and one in group @b, which one is not
 * known. Returns the port of the client.
 */
static unsigned int connect_in(unsigned int a, unsigned int b,
			       struct connp_pair *pair)
{
	static unsigned int port = 20000;
	long before[CONNP_MAX_GROUPS], after[CONNP_MAX_GROUPS];

	for (; port < 32768; port++) {
		long conns = connp_conns();

		connp_rows("conns", before);
		pair->client = socket_at(port);
		if (connect(pair->client, (void *)&address, address_len))
			ksft_exit_fail_perror("connect");
		connp_set(pair->client, IPPROTO_TCP, TCP_NODELAY, 1);
		pair->server = accept_one();
		connp_rows("conns", after);
		before[a]++;
		before[b]++;
		if (after[a] == before[a] && after[b] == before[b])
			return port++;
		abort_pair(pair);
		connp_wait_conns(conns);
	}
	ksft_exit_fail_msg("no connection found in groups %u and %u\n", a, b);
}

/* A call by another thread of ours, and its result once that is there. */
struct call {
	int fd;
	int result;
	atomic_bool returned;
	pthread_t thread;
};

static void *run_close(void *argument)
{
	struct call *call = argument;

	call->result = close(call->fd);
	call->returned = true;
	return NULL;
}

static void *run_connect(void *argument)
{
	struct call *call = argument;

	call->result = connect(call->fd, (void *)&address, address_len);
	call->returned = true;
	return NULL;
}

static long backlog(void)
{
	/* In this order it is not negative. */
	long drained = connp_row("drained", hungry);

	return connp_row("queued", hungry) - drained;
}

/* Wait until that many messages are queued; false if that takes too long. */
static bool wait_backlog(long expected)
{
	double start = connp_ms();

	while (backlog() < expected) {
		if (connp_ms() - start > 3000)
			return false;
		usleep(1000);
	}
	return true;
}

/* Let the connection of the other group go on for a while. */
static bool others_go_on(struct connp_pair *pair)
{
	if (other == hungry) {
		usleep(100000);
		return true;
	}
	return connp_exchange(pair, connp_loops(EXCHANGES));
}

static bool has_data(int fd)
{
	int bytes;

	if (ioctl(fd, FIONREAD, &bytes))
		ksft_exit_fail_perror("FIONREAD");
	return bytes;
}

static bool bytes_arrive(int fd)
{
	unsigned char data[BYTES];

	connp_recv(fd, data, BYTES);
	return connp_check(3, 0, data, BYTES);
}

/* As it is normally, or with no help at all from the scheduler. */
enum mode { NORMAL, HELPLESS };

static const char * const mode_names[] = { "normal", "helpless" };

static void starve(enum mode mode)
{
	const char *name = mode_names[mode];
	struct connp_pair quiet, closing, calling, mixed, going;
	unsigned char data[DATA], got[DATA];
	struct call close_call = {}, connect_call = {};
	unsigned int i, port, still = 0;
	long drops = connp_groups("drops"), drained, expected = 3;
	bool right = true, queued, none_early = true, ends, waits;
	char byte;
	pid_t hog;

	connect_in(hungry, hungry, &quiet);
	connect_in(hungry, hungry, &closing);
	port = connect_in(hungry, hungry, &calling);
	abort_pair(&calling);
	if (other != hungry) {
		connect_in(hungry, other, &mixed);
		connect_in(other, other, &going);
		/* As many packets as its first window has. */
		expected += 8;
	}
	connect_call.fd = socket_at(port);
	close_call.fd = closing.client;
	connp_wait_drained();

	if (mode == HELPLESS)
		connp_set_fifo(connp_tids[hungry], CONNP_LOW_PRIORITY);
	hog = connp_hog_start(hog_cpu);
	drained = connp_row("drained", hungry);
	connp_fill(1, 0, data, DATA);
	connp_send(quiet.client, data, DATA);
	close_call.thread = connp_thread(run_close, &close_call);
	connect_call.thread = connp_thread(run_connect, &connect_call);
	connp_fill(3, 0, data, BYTES);
	for (i = 0; i < BYTES && other != hungry; i++) {
		connp_send(mixed.client, data + i, 1);
		connp_send(mixed.server, data + i, 1);
		usleep(1000);
	}
	queued = wait_backlog(expected);
	for (i = 0; i < WINDOWS; i++) {
		long before = connp_row("drained", hungry);

		right &= others_go_on(&going);
		/* Nothing was done, and there is something to do. */
		if (connp_row("drained", hungry) == before && backlog()) {
			still++;
		} else {
			/* The kernel helped; it does about once a second. */
			connp_send(quiet.server, "x", 1);
			usleep(10000);
		}
	}
	ksft_print_msg("%s: %ld queued; stood still in %u of %d windows\n",
		       name, backlog(), still, WINDOWS);
	waits = !close_call.returned && !connect_call.returned;
	if (!waits)
		ksft_print_msg("close() %s, connect() %s\n",
			       close_call.returned ? "is back" : "waits",
			       connect_call.returned ? "is back" : "waits");
	none_early = !has_data(quiet.server) &&
		     connp_row("drained", hungry) == drained;
	connp_hog_stop(hog);

	if (mode == HELPLESS) {
		connp_sysctl_restore(&sysctls[NICE]);
		ksft_test_result(queued && still == WINDOWS && none_early,
				 "%s: messages queue up, nothing is done\n",
				 name);
		ksft_test_result(waits, "%s: close() and connect() wait\n",
				 name);
	} else {
		ksft_test_result(still, "%s: messages wait in the queue\n",
				 name);
	}
	if (other != hungry)
		ksft_test_result(right, "%s: other groups go on\n", name);
	else
		ksft_test_result_skip("%s: other groups go on: there is one group\n",
				      name);

	connp_fill(1, 0, data, DATA);
	connp_recv(quiet.server, got, DATA);
	right = !memcmp(data, got, DATA);
	for (i = still; i < WINDOWS; i++)
		connp_recv(quiet.client, &byte, 1);
	right &= connp_exchange(&quiet, 1);
	if (other != hungry)
		right &= bytes_arrive(mixed.client) &&
			 bytes_arrive(mixed.server);
	ksft_test_result(right, "%s: then all data arrives, and is right\n",
			 name);

	pthread_join(close_call.thread, NULL);
	ends = !close_call.result && !recv(closing.server, &byte, 1, 0);
	pthread_join(connect_call.thread, NULL);
	ends &= !connect_call.result;
	if (!connect_call.result) {
		calling.client = connect_call.fd;
		calling.server = accept_one();
		ends &= connp_exchange(&calling, 1);
		close(calling.server);
	}
	ksft_test_result(ends, "%s: then the calls return what is right\n",
			 name);
	close(connect_call.fd);
	close(closing.server);
	connp_disconnect(&quiet);
	if (other != hungry) {
		connp_disconnect(&mixed);
		connp_disconnect(&going);
	}
	ksft_test_result(connp_wait_drained() &&
			 connp_groups("drops") == drops,
			 "%s: all is drained, nothing was dropped\n", name);
}

static void raise_priority(void)
{
	connp_set_fifo(connp_tids[hungry], CONNP_HOG_PRIORITY + 1);
}

static void move_threads(void)
{
	char text[16];

	snprintf(text, sizeof(text), "%d", cpu);
	if (!connp_sysctl_write(&sysctls[CPUS], text))
		ksft_exit_fail_perror("cpus");
}

/* Starved without any help, but then @relieve does. */
static void relieve(const char *name, void (*relief)(void), int expected_cpu)
{
	struct connp_pair pair;
	unsigned char byte;
	bool right, stood;
	long drained;
	pid_t hog;

	connect_in(hungry, hungry, &pair);
	connp_wait_drained();
	connp_set_fifo(connp_tids[hungry], CONNP_LOW_PRIORITY);
	hog = connp_hog_start(hog_cpu);
	drained = connp_row("drained", hungry);
	connp_send(pair.client, "1", 1);
	usleep(100000);
	stood = !has_data(pair.server) && backlog() &&
		connp_row("drained", hungry) == drained;
	relief();
	connp_recv(pair.server, &byte, 1);
	right = byte == '1' && connp_exchange(&pair, connp_loops(EXCHANGES)) &&
		connp_task_cpu(connp_tids[hungry], NULL) == expected_cpu;
	right &= !waitpid(hog, NULL, WNOHANG) && connp_task_cpu(hog, NULL) ==
		 hog_cpu;
	connp_hog_stop(hog);
	connp_disconnect(&pair);
	put_threads();
	ksft_test_result(stood && right && connp_wait_drained(),
			 "%s: the thread works again\n", name);
}

int main(void)
{
	cpu_set_t online;
	unsigned int i;

	connp_need_threads();
	connp_online(&online);
	if (CPU_COUNT(&online) < 2)
		ksft_exit_skip("needs two CPUs\n");
	cpu = connp_first_cpu(&online);
	hog_cpu = connp_last_cpu(&online);
	for (i = 0; i < SYSCTLS; i++)
		connp_sysctl_open(&sysctls[i]);
	connp_unthrottle(hog_cpu);
	connp_guard(restore);
	connp_start(13, 120);
	connp_stay_on(cpu);
	connp_find_threads();
	put_threads();
	for (i = 0; i < connp_nr_tids; i++) {
		if (connp_allowed(connp_tids[i]) == hog_cpu)
			hungry = i;
		else
			other = i;
	}
	if (connp_allowed(connp_tids[hungry]) != hog_cpu)
		ksft_exit_skip("no group has its thread on CPU %d\n", hog_cpu);
	if (connp_nr_tids == 1)
		other = hungry;
	listener = connp_listen(CONNP_V4, &address, &address_len);
	starve(NORMAL);
	starve(HELPLESS);
	relieve("a higher priority", raise_priority, hog_cpu);
	relieve("another CPU", move_threads, cpu);
	ksft_finished();
}
