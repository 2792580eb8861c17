// SPDX-License-Identifier: GPL-2.0
/*
 * A network device that goes while packets that came by it are queued on groups:
 * whoever unregisters it waits until nobody has a reference on it any more, so a
 * packet must not keep one while it waits. Such packets are dropped or processed,
 * and what arrives is right.
 *
 * A veth pair between two namespaces carries data both ways over many
 * connections. In the middle of it the device is deleted, at this end or at the
 * other, or moved to another namespace. A namespace that ends with its devices
 * and with packets queued is netns's.
 *
 * On ConnP-T the thread of a group does not run while the device begins to go, so
 * that packets are certain to be queued, among them some that have a route of
 * their own because their socket has none.
 */
#include "connp_threads.h"

#define PAIRS		16
#define CHUNK		4096
/* What each connection has carried, at least, when the device goes. */
#define ENOUGH		(4 * CHUNK)
#define SECONDS		240
/* So long at most nothing is taken off the queue of a group; see connp_hold(). */
#define HOLD_MS		20000

/* An end of a connection; one half of them is in the other namespace. */
struct end {
	int fd;
	unsigned int stream;	/* that it sends */
	size_t sent;
	size_t received;	/* of the stream of the other end */
};

static struct end ends[2 * PAIRS];	/* client, server, client, ... */
static int here, there, elsewhere;	/* namespaces */
static int kmsg;
static bool may_hold;

static atomic_bool stop, going;
static atomic_uint wrong;
static atomic_size_t slowest;

static void enter(int netns)
{
	if (setns(netns, CLONE_NEWNET))
		ksft_exit_fail_perror("setns");
}

/* Have ip do what the lines of @batch say, in the namespace of the caller. */
static void run_ip(const char *batch)
{
	FILE *f = popen("ip -batch - 2>&1 | sed 's/^/# /'", "w");

	if (!f)
		ksft_exit_fail_perror("ip");
	fputs(batch, f);
	pclose(f);
}

static void make_device(void)
{
	char batch[512];

	snprintf(batch, sizeof(batch),
		 "link add connp0 type veth peer name connp0 netns /proc/%d/fd/%d\n"
		 "addr add 192.0.2.1/24 dev connp0\n"
		 "addr add 2001:db8::1/64 dev connp0 nodad\n"
		 "link set connp0 up\n", getpid(), there);
	run_ip(batch);
	enter(there);
	run_ip("addr add 192.0.2.2/24 dev connp0\n"
	   "addr add 2001:db8::2/64 dev connp0 nodad\n"
	   "link set connp0 up\n");
	enter(here);
	if (!if_nametoindex("connp0"))
		ksft_exit_skip("needs ip and CONFIG_VETH\n");
}

static socklen_t server_address(unsigned int pair, struct sockaddr_storage *ss)
{
	struct sockaddr_in6 *sin6 = (void *)ss;
	struct sockaddr_in *sin = (void *)ss;
	bool v6 = pair % 2;
	socklen_t len = connp_address(v6 ? CONNP_V6 : CONNP_V4, 0, ss);

	if (v6)
		inet_pton(AF_INET6, "2001:db8::1", &sin6->sin6_addr);
	else
		inet_pton(AF_INET, "192.0.2.1", &sin->sin_addr);
	return len;
}

static void open_pair(unsigned int pair)
{
	enum connp_family family = pair % 2 ? CONNP_V6 : CONNP_V4;
	struct end *client = &ends[2 * pair], *server = client + 1;
	int listener = connp_socket(family);
	struct sockaddr_storage ss;
	socklen_t len = server_address(pair, &ss);

	memset(client, 0, 2 * sizeof(*client));
	client->stream = 2 * pair;
	server->stream = 2 * pair + 1;
	if (bind(listener, (void *)&ss, len) || listen(listener, 1) ||
	    getsockname(listener, (void *)&ss, &len))
		ksft_exit_fail_perror("listen");
	enter(there);
	client->fd = connp_socket(family);
	enter(here);
	if (connect(client->fd, (void *)&ss, len))
		ksft_exit_fail_perror("connect");
	server->fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	if (server->fd < 0)
		ksft_exit_fail_perror("accept");
	close(listener);
}

static void abort_pairs(void)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(ends); i++)
		connp_abort(ends[i].fd);
}

/* Let others have the CPU after a round in which nothing could be done. */
static void rest(bool *did)
{
	if (!*did)
		usleep(1000);
	*did = false;
}

/* An error is one of the connection only while there is a device. */
static void check_error(const char *call)
{
	if (errno == EAGAIN || going)
		return;
	ksft_print_msg("%s: %s\n", call, strerror(errno));
	wrong++;
}

static void *send_run(void *argument)
{
	unsigned char buf[CHUNK];
	bool did = true;
	unsigned int i;
	ssize_t n;

	for (i = 0; !stop; i = (i + 1) % ARRAY_SIZE(ends)) {
		if (!i)
			rest(&did);
		connp_fill(ends[i].stream, ends[i].sent, buf, sizeof(buf));
		n = send(ends[i].fd, buf, sizeof(buf),
			 MSG_DONTWAIT | MSG_NOSIGNAL);
		did |= n > 0;
		if (n > 0)
			ends[i].sent += n;
		else
			check_error("send");
	}
	return argument;
}

static void *receive_run(void *argument)
{
	unsigned char buf[4 * CHUNK];
	size_t least = 0;
	bool did = true;
	unsigned int i;
	ssize_t n;

	for (i = 0; !stop; i = (i + 1) % ARRAY_SIZE(ends)) {
		if (!i) {
			slowest = least;
			least = SIZE_MAX;
			rest(&did);
		}
		n = recv(ends[i].fd, buf, sizeof(buf), MSG_DONTWAIT);
		if (n > 0 && !connp_check(ends[i ^ 1].stream, ends[i].received,
					  buf, n))
			wrong++;
		did |= n > 0;
		if (n > 0)
			ends[i].received += n;
		else
			check_error("recv");
		if (ends[i].received < least)
			least = ends[i].received;
	}
	return argument;
}

/* How the device goes. */
static const char * const ways[] = {
	"deleted", "deleted at the other end", "moved",
};

static void let_go(unsigned int way)
{
	char batch[128];

	going = true;
	switch (way) {
	case 0:
		run_ip("link delete connp0\n");
		break;
	case 1:
		enter(there);
		run_ip("link delete connp0\n");
		enter(here);
		break;
	case 2:
		snprintf(batch, sizeof(batch),
			 "link set connp0 netns /proc/%d/fd/%d\n", getpid(),
			 elsewhere);
		run_ip(batch);
		enter(there);
		run_ip("link delete connp0\n");
		enter(here);
		break;
	}
	if (if_nametoindex("connp0"))
		ksft_exit_fail_msg("the device is still there\n");
}

/* What the kernel says every 10 s while somebody keeps a device. */
static bool somebody_kept_it(void)
{
	bool kept = false;
	char record[1024];
	ssize_t len;

	while ((len = read(kmsg, record, sizeof(record) - 1)) > 0) {
		record[len] = 0;
		kept |= !!strstr(record, "unregister_netdevice: waiting");
	}
	return kept;
}

static void test_traffic(unsigned int way, unsigned int cycles)
{
	double start, longest = 0, took;
	pthread_t sender, receiver;
	unsigned int i, pair;
	size_t bytes = 0;
	bool clean = true;

	wrong = 0;
	for (i = 0; i < cycles; i++) {
		make_device();
		for (pair = 0; pair < PAIRS; pair++)
			open_pair(pair);
		stop = false;
		going = false;
		slowest = 0;
		sender = connp_thread(send_run, NULL);
		receiver = connp_thread(receive_run, NULL);
		/* The test's alarm() bounds it. */
		while (slowest < ENOUGH && !wrong)
			usleep(1000);
		/* At another moment each time. */
		usleep(i % 8 * 700);
		start = connp_ms();
		let_go(way);
		took = connp_ms() - start;
		if (took > longest)
			longest = took;
		stop = true;
		pthread_join(sender, NULL);
		pthread_join(receiver, NULL);
		for (pair = 0; pair < ARRAY_SIZE(ends); pair++)
			bytes += ends[pair].received;
		abort_pairs();
		clean &= connp_wait_conns(0);
	}
	ksft_print_msg("%s: %u times, the longest took %.0f ms; %zu bytes\n",
		       ways[way], cycles, longest, bytes);
	ksft_test_result(!wrong, "%s: what arrived is right\n", ways[way]);
	clean &= connp_groups_fd < 0 || connp_wait_drained();
	ksft_test_result(clean && !somebody_kept_it(),
			 "%s: nobody keeps it, nothing is left\n", ways[way]);
}

/* A byte to each server; false if one of them was wrong, or not there. */
static bool byte_to_servers(bool wait)
{
	unsigned char byte, sent = 'x';
	bool right = true;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(ends); i += 2)
		connp_send(ends[i].fd, &sent, 1);
	for (i = 1; wait && i < ARRAY_SIZE(ends); i += 2) {
		connp_recv(ends[i].fd, &byte, 1);
		right &= byte == sent;
	}
	return right;
}

/*
 * Another address makes known routes out of date: the next packet of a
 * connection has its socket forget the one that it knows, and until there is
 * another, packets bring their own.
 */
static void forget_routes(void)
{
	run_ip("addr add 192.0.2.3/24 dev connp0\n"
	   "addr add 2001:db8::3/64 dev connp0 nodad\n");
	byte_to_servers(true);
	connp_wait_drained();
}

static void test_held(unsigned int way)
{
	long pending, before;
	unsigned int pair;
	int status, left;
	double start;
	pid_t child;

	if (!may_hold) {
		ksft_test_result_skip("%s, packets queued: no thread can be held\n",
				      ways[way]);
		return;
	}
	make_device();
	for (pair = 0; pair < PAIRS; pair++)
		open_pair(pair);
	forget_routes();
	connp_hold();
	before = connp_groups("queued") - connp_groups("drained");
	byte_to_servers(false);
	start = connp_ms();
	fflush(stdout);
	child = fork();
	if (child < 0)
		ksft_exit_fail_perror("fork");
	if (!child) {
		let_go(way);
		_exit(0);
	}
	while (!(left = waitpid(child, &status, WNOHANG)) &&
	       connp_ms() - start < HOLD_MS)
		usleep(1000);
	pending = connp_groups("queued") - connp_groups("drained");
	connp_release();
	if (!left && waitpid(child, &status, 0) != child)
		ksft_exit_fail_perror("waitpid");
	ksft_print_msg("%s: %ld queued, %ld before; meanwhile it %s\n",
		       ways[way], pending, before, left ? "went" : "stayed");
	abort_pairs();
	ksft_test_result(pending > 0 && left && !status && connp_wait_conns(0) &&
			 connp_wait_drained() && !somebody_kept_it(),
			 "%s, packets queued: nobody keeps it, nothing is left\n",
			 ways[way]);
}

static void restore(void)
{
	if (may_hold)
		connp_hold_restore();
}

static int new_netns(void)
{
	connp_new_netns();
	return open("/proc/self/ns/net", O_RDONLY);
}

int main(void)
{
	unsigned int way, cycles;
	cpu_set_t online;

	connp_online(&online);
	may_hold = connp_has_threads() && CPU_COUNT(&online) > 1;
	if (may_hold)
		connp_hold_open();
	connp_guard(restore);
	connp_start(3 * ARRAY_SIZE(ways), SECONDS);
	/* Not CLOEXEC, and by its number in /proc: ip opens them. */
	here = open("/proc/self/ns/net", O_RDONLY);
	there = new_netns();
	elsewhere = new_netns();
	kmsg = open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	if (here < 0 || there < 0 || elsewhere < 0 || kmsg < 0)
		ksft_exit_fail_perror("namespaces");
	lseek(kmsg, 0, SEEK_END);
	enter(here);
	cycles = connp_full() ? 50 * connp_loops(5) : connp_loops(5);
	for (way = 0; way < ARRAY_SIZE(ways); way++)
		test_traffic(way, cycles);
	if (may_hold)
		connp_hold_choose();
	for (way = 0; way < ARRAY_SIZE(ways); way++)
		test_held(way);
	ksft_finished();
}
