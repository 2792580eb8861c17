// SPDX-License-Identifier: GPL-2.0
/*
 * Connections that have too little memory: what they carry is right to the last
 * byte, they get on, and when they have ended nothing of them is left.
 *
 * "failing": allocations that INET makes fail by chance, objects and pages,
 * wherever they are made. Calls may say so, and are made again; what fails
 * unseen TCP repairs. Meanwhile connections come and go, and may be refused.
 *
 * "pressure", "limit": all TCP sockets together have more memory than the second
 * or the third value of net.ipv4.tcp_mem. Readers do not read until they do.
 *
 * "cgroup": all memory that a cgroup may have is in use, by pages that can be had
 * back, but only by whoever reclaims them (MADV_FREE). So each charge for a socket
 * has to reclaim, or where that is not possible to go beyond the limit. Without
 * those pages there would be nothing to reclaim, and stock, too, would have to
 * kill. Connections outside of the cgroup, in the same groups, go on.
 *
 * By its name one of these parts is run alone.
 */
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "connp_faults.h"

#define STREAMS		8
/* What has not moved for so long never will. */
#define PATIENCE	(connp_shared() ? 1200 : 60)
#define CHUNK		(32 * 1024)
#define MIB		(1024 * 1024u)

/* In pages; less than what buffers can hold. */
#define LOW		64
#define PRESSURE	128
#define LIMIT		1024
#define SNDBUF		MIB

/* In per cent; allocations of pages are few. */
static const char * const chances[] = { "3", "8" };
#define MANY		1000000000

#define CGROUP_BUF	(256 * 1024)
#define CGROUP_FREE	(24 * MIB)
/* Pages of it in use at a time. */
#define CGROUP_PAGES	16

/* What came of streams; of a child's, in memory that is shared. */
struct outcome {
	atomic_uint refused;	/* calls */
	atomic_size_t received;
	char wrong[128];	/* empty: nothing */
};

struct stream {
	unsigned int number;
	size_t bytes;
	struct connp_pair pair;
	struct outcome *outcome;
	const atomic_bool *may_read;	/* NULL: at once */
	pthread_t threads[2];
};

/* The part that is run; NULL: all. Others are not to change what they need not. */
static const char *only;
static struct connp_sysctl tcp_mem = { .name = "/proc/sys/net/ipv4/tcp_mem" };
static const char *no_faults;
static char cgroup_root[32];
static char cgroup[64];

static void wrong(struct outcome *outcome, unsigned int number,
		  const char *what)
{
	if (!*outcome->wrong)
		snprintf(outcome->wrong, sizeof(outcome->wrong),
			 "stream %u: %s (%s)", number, what, strerror(errno));
}

/* Does this error tell of memory, and so may go away? */
static bool for_memory(struct outcome *outcome)
{
	bool memory = errno == ENOMEM || errno == ENOBUFS;

	outcome->refused += memory;
	return memory;
}

static void *send_all(void *argument)
{
	struct stream *stream = argument;
	/* What is not there yet would be an allocation of its own. */
	unsigned char buf[CHUNK] = {};
	size_t pos = 0, len;
	ssize_t n;

	while (pos < stream->bytes && !*stream->outcome->wrong) {
		/* All sizes come up. */
		len = 1 + connp_byte(stream->number, pos / CHUNK) * CHUNK / 256;
		if (len > stream->bytes - pos)
			len = stream->bytes - pos;
		connp_fill(stream->number, pos, buf, len);
		n = send(stream->pair.client, buf, len, MSG_NOSIGNAL);
		if (n > 0)
			pos += n;
		else if (!for_memory(stream->outcome))
			wrong(stream->outcome, stream->number, "send");
	}
	return NULL;
}

static void *receive_all(void *argument)
{
	struct stream *stream = argument;
	unsigned char buf[CHUNK] = {};
	size_t pos = 0;
	ssize_t n;

	while (stream->may_read && !*stream->may_read)
		usleep(1000);
	while (pos < stream->bytes && !*stream->outcome->wrong) {
		n = recv(stream->pair.server, buf, sizeof(buf), 0);
		if (n <= 0) {
			if (!n || !for_memory(stream->outcome))
				wrong(stream->outcome, stream->number, "recv");
		} else if (!connp_check(stream->number, pos, buf, n)) {
			wrong(stream->outcome, stream->number, "wrong bytes");
		} else {
			pos += n;
			stream->outcome->received += n;
		}
	}
	return NULL;
}

static void patience(int fd)
{
	struct timeval tv = { .tv_sec = PATIENCE };

	if (setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof(tv)) ||
	    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv)))
		ksft_exit_fail_perror("SO_RCVTIMEO");
}

static void streams_open(struct stream *streams, size_t bytes,
			 struct outcome *outcome)
{
	unsigned int i;

	memset(streams, 0, STREAMS * sizeof(*streams));
	for (i = 0; i < STREAMS; i++) {
		streams[i].number = i;
		streams[i].bytes = bytes;
		streams[i].outcome = outcome;
		connp_connect(i % 2 ? CONNP_V4 : CONNP_V6, &streams[i].pair);
		patience(streams[i].pair.client);
		patience(streams[i].pair.server);
	}
}

static void streams_start(struct stream *streams)
{
	unsigned int i;

	for (i = 0; i < STREAMS; i++) {
		streams[i].threads[0] = connp_thread(send_all, &streams[i]);
		streams[i].threads[1] = connp_thread(receive_all, &streams[i]);
	}
}

static void streams_wait(struct stream *streams)
{
	unsigned int i;

	for (i = 0; i < STREAMS; i++) {
		pthread_join(streams[i].threads[0], NULL);
		pthread_join(streams[i].threads[1], NULL);
	}
}

static void streams_close(struct stream *streams)
{
	unsigned int i;

	for (i = 0; i < STREAMS; i++)
		connp_disconnect(&streams[i].pair);
}

static void report_streams(const char *what, const struct outcome *outcome,
			   size_t bytes, double began)
{
	ksft_print_msg("%s: %zu bytes right, %u calls refused, %.1f s\n", what,
		       outcome->received, outcome->refused,
		       (connp_ms() - began) / 1e3);
	if (*outcome->wrong)
		ksft_print_msg("%s\n", outcome->wrong);
	ksft_test_result(!*outcome->wrong &&
			 outcome->received >= STREAMS * bytes,
			 "%s: every byte is right, nothing is stuck\n", what);
}

/* All connections of the test have been closed. */
static void report_nothing_left(const char *what)
{
	bool clean = connp_wait_no_sockets(PATIENCE * 1000);

	clean &= connp_wait_conns(0);
	if (connp_groups_fd >= 0)
		clean &= connp_wait_drained();
	ksft_test_result(clean, "%s: nothing is left\n", what);
}

/* A kernel that checks itself looks at the stack of each allocation as well. */
static size_t how_much(void)
{
	if (connp_slow())
		return MIB / 2;
	return (connp_full() ? 64 : 8) * MIB / 2;
}

static struct churn {
	atomic_bool stop;
	unsigned int lived;
	unsigned int refused;
	struct outcome outcome;
} churn;

/* What a connection may be refused with for lack of memory, see failnth. */
static bool refused(void)
{
	return errno == ENOMEM || errno == ENOBUFS || errno == ENFILE ||
	       errno == ENETUNREACH || errno == EADDRINUSE;
}

/* False if it was refused. */
static bool churn_one(int listener, const struct sockaddr_storage *ss,
		      socklen_t len)
{
	struct stream stream = {
		.number = 77, .bytes = 100, .outcome = &churn.outcome,
		.pair = { .client = -1, .server = -1 },
	};
	bool lived = false;

	stream.pair.client = socket(ss->ss_family, SOCK_STREAM | SOCK_CLOEXEC,
				    0);
	if (stream.pair.client < 0 ||
	    connect(stream.pair.client, (void *)ss, len)) {
		if (!refused())
			wrong(&churn.outcome, 77, "connect");
		goto out;
	}
	patience(stream.pair.client);
	/* The connection waits, whoever has no memory to accept it. */
	do {
		stream.pair.server = accept4(listener, NULL, NULL,
					     SOCK_CLOEXEC);
	} while (stream.pair.server < 0 && refused());
	if (stream.pair.server < 0) {
		wrong(&churn.outcome, 77, "accept");
		goto out;
	}
	patience(stream.pair.server);
	send_all(&stream);
	receive_all(&stream);
	lived = true;
out:
	/* At both ends, as nothing is left to be said. */
	if (stream.pair.client >= 0)
		connp_abort(stream.pair.client);
	if (stream.pair.server >= 0)
		connp_abort(stream.pair.server);
	return lived;
}

static void *churn_run(void *argument)
{
	struct sockaddr_storage ss;
	int listener = *(int *)argument;
	socklen_t len = sizeof(ss);

	if (getsockname(listener, (void *)&ss, &len))
		ksft_exit_fail_perror("getsockname");
	while (!churn.stop && !*churn.outcome.wrong) {
		if (churn_one(listener, &ss, len))
			churn.lived++;
		else
			churn.refused++;
	}
	return NULL;
}

static void test_failing(void)
{
	unsigned int counts[ARRAY_SIZE(connp_fault_dirs)], i;
	struct outcome outcome = {};
	struct stream streams[STREAMS];
	size_t bytes = how_much();
	double began = connp_ms();
	struct sockaddr_storage ss;
	bool enough = true;
	pthread_t thread;
	socklen_t len;
	int listener;

	if (no_faults) {
		for (i = 0; i < 3; i++)
			ksft_test_result_skip("failing: needs %s\n", no_faults);
		return;
	}
	streams_open(streams, bytes, &outcome);
	listener = connp_listen(CONNP_V4, &ss, &len);
	patience(listener);
	connp_faults_prepare();
	for (i = 0; i < ARRAY_SIZE(connp_fault_dirs); i++) {
		const char *dir = connp_fault_dirs[i];

		connp_fault_set_n(dir, "require-start", connp_inet_start);
		connp_fault_set_n(dir, "require-end", connp_inet_end);
		connp_fault_set_n(dir, "times", MANY);
		connp_fault_set(dir, "probability", chances[i]);
	}
	streams_start(streams);
	thread = connp_thread(churn_run, &listener);
	streams_wait(streams);
	churn.stop = true;
	for (i = 0; i < ARRAY_SIZE(connp_fault_dirs); i++) {
		connp_fault_set(connp_fault_dirs[i], "probability", "0");
		counts[i] = MANY -
			    connp_fault_times(connp_fault_dirs[i]);
		enough &= counts[i] >= 10;
	}
	pthread_join(thread, NULL);
	connp_faults_off();
	streams_close(streams);
	close(listener);
	report_streams("failing", &outcome, bytes, began);
	ksft_print_msg("%u objects and %u pages refused; besides %u connections lived, %u did not\n",
		       counts[0], counts[1], churn.lived, churn.refused);
	if (*churn.outcome.wrong)
		ksft_print_msg("%s\n", churn.outcome.wrong);
	ksft_test_result(enough && churn.lived && !*churn.outcome.wrong,
			 "failing: allocations did fail, connections came and went\n");
	report_nothing_left("failing");
}

static void set_tcp_mem(const char *text)
{
	if (!connp_sysctl_write(&tcp_mem, text))
		ksft_exit_fail_perror(tcp_mem.name);
}

/* Pages that sockets may have unseen. */
static int untold(void)
{
	return CONNP_MEM_UNTOLD * sysconf(_SC_NPROCESSORS_CONF);
}

/*
 * Writers fill their buffers until all TCP sockets have as many pages as @mem,
 * the values of tcp_mem, wants to be seen of them; from then on it is for the
 * kernel to get on.
 */
static void test_tcp_mem(const char *what, const char *mem, int pages)
{
	size_t enough = 2 * (pages + untold()) * getpagesize() / STREAMS;
	int buf = SNDBUF;
	long pressures = connp_tcpext("TCPMemoryPressures");
	struct connp_sockstat stat = {};
	struct outcome outcome = {};
	struct stream streams[STREAMS];
	atomic_bool may_read = false;
	size_t bytes = how_much();
	double began, passed = 0;
	unsigned int i;
	bool entered;

	if (bytes < enough)
		bytes = enough;
	began = connp_ms();
	streams_open(streams, bytes, &outcome);
	for (i = 0; i < STREAMS; i++) {
		if (setsockopt(streams[i].pair.client, SOL_SOCKET,
			       SO_SNDBUFFORCE, &buf, sizeof(buf)))
			ksft_exit_fail_perror("SO_SNDBUFFORCE");
		streams[i].may_read = &may_read;
	}
	set_tcp_mem(mem);
	streams_start(streams);
	do {
		usleep(1000);
		connp_sockstat(&stat);
		entered = connp_tcpext("TCPMemoryPressures") > pressures;
		passed = connp_ms() - began;
	} while ((!entered || stat.mem < pages) && passed < PATIENCE * 1000);
	ksft_print_msg("%s: %d pages in use, %.1f s\n", what, stat.mem,
		       passed / 1e3);
	may_read = true;
	streams_wait(streams);
	ksft_test_result(entered && stat.mem >= pages,
			 "%s: it was reached\n", what);
	report_streams(what, &outcome, bytes, began);
	ksft_print_msg("times in pressure: %ld; queues pruned: %ld, collapsed: %ld; dropped: %ld\n",
		       connp_tcpext("TCPMemoryPressures") - pressures,
		       connp_tcpext("PruneCalled"),
		       connp_tcpext("TCPRcvCollapsed"),
		       connp_tcpext("TCPRcvQDrop"));
	streams_close(streams);
	set_tcp_mem(tcp_mem.saved);
	report_nothing_left(what);
}

static void cgroup_path(char path[128], const char *file)
{
	snprintf(path, 128, "%s/%s", cgroup, file);
}

static void cgroup_write(const char *file, const char *text)
{
	char path[128];

	cgroup_path(path, file);
	connp_write_file(path, text);
}

/* The number behind @key in a file of the cgroup; without @key, the only one. */
static long cgroup_read(const char *file, const char *key)
{
	char path[128], line[128];
	long value = -1;
	FILE *f;

	cgroup_path(path, file);
	f = fopen(path, "r");
	if (!f)
		ksft_exit_fail_perror(path);
	while (value < 0 && fgets(line, sizeof(line), f))
		if (!key)
			value = atol(line);
		else if (!strncmp(line, key, strlen(key)) &&
			 line[strlen(key)] == ' ')
			value = atol(line + strlen(key));
	fclose(f);
	return value;
}

/* NULL, or why there is no cgroup that limits memory. */
static const char *cgroup_make(void)
{
	char path[128];

	if (mkdir(cgroup_root, 0700))
		ksft_exit_fail_perror(cgroup_root);
	if (mount("connp", cgroup_root, "cgroup2", 0, NULL))
		return "the kernel lacks CONFIG_CGROUPS";
	snprintf(path, sizeof(path), "%s/cgroup.subtree_control", cgroup_root);
	if (!connp_knob_write(path, "+memory"))
		return "the kernel lacks CONFIG_MEMCG, or has it in version 1";
	if (mkdir(cgroup, 0755))
		ksft_exit_fail_perror(cgroup);
	return NULL;
}

/* Use pages and give them back, a few at a time, so that most are free. */
static void *use_pages(void *argument)
{
	size_t step = CGROUP_PAGES * sysconf(_SC_PAGESIZE), pos;
	char *memory = argument;

	for (;;)
		for (pos = 0; pos < CGROUP_FREE; pos += step) {
			memset(memory + pos, 1, step);
			if (madvise(memory + pos, step, MADV_FREE))
				_exit(KSFT_FAIL);
			usleep(2000);
		}
	return NULL;
}

/* Inside: says when all that it needs is there, and begins when told. */
static void live_inside(size_t bytes, struct outcome *outcome, int ready,
			int go)
{
	struct stream streams[STREAMS];
	atomic_bool may_read = false;
	unsigned int i;
	char *memory;
	char byte = 0;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	cgroup_write("cgroup.procs", "0");
	streams_open(streams, bytes, outcome);
	for (i = 0; i < STREAMS; i++) {
		connp_set(streams[i].pair.client, SOL_SOCKET, SO_SNDBUF,
			  CGROUP_BUF);
		connp_set(streams[i].pair.server, SOL_SOCKET, SO_RCVBUF,
			  CGROUP_BUF);
		streams[i].may_read = &may_read;
	}
	memory = mmap(NULL, CGROUP_FREE, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (memory == MAP_FAILED)
		_exit(KSFT_FAIL);
	memset(memory, 1, CGROUP_FREE);
	if (madvise(memory, CGROUP_FREE, MADV_FREE) ||
	    write(ready, &byte, 1) != 1 || read(go, &byte, 1) != 1)
		_exit(KSFT_FAIL);
	connp_thread(use_pages, memory);
	streams_start(streams);
	/* First let buffers fill. */
	usleep(100000);
	may_read = true;
	streams_wait(streams);
	_exit(0);
}

/* What the sockets in the cgroup had, at most. */
static atomic_long cgroup_most;
static atomic_bool cgroup_over;

static void *watch_run(void *argument)
{
	long now;

	while (!cgroup_over) {
		now = cgroup_read("memory.stat", "sock");
		if (now > cgroup_most)
			cgroup_most = now;
		usleep(10000);
	}
	return argument;
}

static bool cgroup_returns(void)
{
	double start = connp_ms();

	while (cgroup_read("memory.stat", "sock") &&
	       connp_ms() - start < PATIENCE * 1000)
		usleep(10000);
	return !cgroup_read("memory.stat", "sock") && !rmdir(cgroup);
}

static void test_cgroup(void)
{
	long max, oom, bound, rounds = 0;
	struct stream streams[STREAMS];
	struct outcome outside = {};
	size_t bytes = how_much() / 2;
	struct outcome *inside;
	const char *lacks = cgroup_make();
	double began = connp_ms();
	int ready[2], go[2], status = -1;
	char text[32], byte = 0;
	pthread_t watch;
	unsigned int i;
	pid_t child;

	if (lacks) {
		for (i = 0; i < 5; i++)
			ksft_test_result_skip("cgroup: %s\n", lacks);
		return;
	}
	inside = mmap(NULL, sizeof(*inside), PROT_READ | PROT_WRITE,
		      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (inside == MAP_FAILED || pipe(ready) || pipe(go))
		ksft_exit_fail_perror("pipe");
	fflush(stdout);
	child = fork();
	if (child < 0)
		ksft_exit_fail_perror("fork");
	if (!child)
		live_inside(bytes, inside, ready[1], go[0]);
	close(ready[1]);
	if (read(ready[0], &byte, 1) != 1)
		ksft_exit_fail_msg("the process in the cgroup has ended\n");
	bound = cgroup_read("memory.current", NULL);
	snprintf(text, sizeof(text), "%ld", bound);
	cgroup_write("memory.max", text);
	if (write(go[1], "", 1) != 1)
		ksft_exit_fail_perror("write");
	watch = connp_thread(watch_run, NULL);
	/* Outside: again and again, while the others have their troubles. */
	do {
		streams_open(streams, bytes / 8, &outside);
		streams_start(streams);
		streams_wait(streams);
		streams_close(streams);
		rounds++;
	} while (!*outside.wrong && !waitpid(child, &status, WNOHANG));
	if (*outside.wrong) {
		kill(child, SIGKILL);
		waitpid(child, &status, 0);
	}
	cgroup_over = true;
	pthread_join(watch, NULL);
	max = cgroup_read("memory.events", "max");
	oom = cgroup_read("memory.events", "oom");
	ksft_print_msg("cgroup: limit %ld KiB, reached %ld times; sockets had up to %ld KiB; out of memory %ld times\n",
		       bound / 1024, max, cgroup_most / 1024, oom);
	ksft_test_result(max >= 10 && cgroup_most > 0 && !oom && !status,
			 "cgroup: sockets were at its limit\n");
	report_streams("cgroup, inside", inside, bytes, began);
	ksft_print_msg("%ld rounds\n", rounds);
	report_streams("cgroup, outside", &outside, rounds * (bytes / 8),
		       began);
	report_nothing_left("cgroup");
	ksft_test_result(cgroup_returns(), "cgroup: it has no sockets any more\n");
	munmap(inside, sizeof(*inside));
}

static bool asked_for(const char *part)
{
	return !only || !strcmp(only, part);
}

static void restore(void)
{
	if (!no_faults)
		connp_faults_off();
	if (asked_for("pressure") || asked_for("limit"))
		connp_sysctl_restore(&tcp_mem);
	rmdir(cgroup);
	umount(cgroup_root);
	rmdir(cgroup_root);
}

static void test_pressure(void)
{
	char mem[64];

	snprintf(mem, sizeof(mem), "%u %u %s", LOW, PRESSURE,
		 strrchr(tcp_mem.saved, '\t'));
	test_tcp_mem("pressure", mem, PRESSURE);
}

static void test_limit(void)
{
	char mem[64];

	/* Under pressure they would not get there. */
	snprintf(mem, sizeof(mem), "%u %u %u", LIMIT - 2, LIMIT - 1, LIMIT);
	test_tcp_mem("limit", mem, LIMIT - untold());
}

static const struct part {
	const char *name;
	unsigned int results;
	void (*run)(void);
} parts[] = {
	{ "failing", 3, test_failing },
	{ "pressure", 3, test_pressure },
	{ "limit", 3, test_limit },
	{ "cgroup", 5, test_cgroup },
};

int main(int argc, char **argv)
{
	unsigned int results = 0, i;

	only = argc > 1 ? argv[1] : NULL;
	for (i = 0; i < ARRAY_SIZE(parts); i++)
		if (asked_for(parts[i].name))
			results += parts[i].results;
	if (!results)
		ksft_exit_fail_msg("%s is not a part of this test\n", only);
	if (connp_slow() && !connp_full() && !only) {
		ksft_print_header();
		ksft_exit_skip("takes minutes on a kernel that checks itself\n");
	}
	no_faults = asked_for("failing") ? connp_faults_lack() : "to be wanted";
	if (geteuid())
		ksft_exit_skip("needs root, for the limits of memory\n");
	connp_sysctl_open(&tcp_mem);
	snprintf(cgroup_root, sizeof(cgroup_root), "/tmp/connp-cgroup-%d",
		 getpid());
	snprintf(cgroup, sizeof(cgroup), "%s/connp", cgroup_root);
	connp_guard(restore);
	connp_start(results, connp_full() ? 1800 : 480);
	connp_count_others();
	/* What is lost is soon repaired. */
	connp_write_file("/proc/sys/net/ipv4/tcp_rto_min_us", "10000");
	for (i = 0; i < ARRAY_SIZE(parts); i++)
		if (asked_for(parts[i].name))
			parts[i].run();
	ksft_finished();
}
