// SPDX-License-Identifier: GPL-2.0
/*
 * Thousands of connections are made, transfer a byte, and end, each in one of
 * the ways that there are, with the outcome that this way has to have. Several
 * processes do so at once, each with both ends, so that its order of events is
 * known. Afterwards nothing of them is left.
 */
#include <poll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "connp.h"

#define PROCESSES	4
#define CYCLES		10000
#define CYCLES_MIN	500
/* After so long it is enough, if it was so many. */
#define SECONDS		8
#define SECONDS_FULL	30

enum end {
	CLIENT_CLOSES,
	SERVER_CLOSES,
	CLIENT_SHUTS_DOWN,	/* and reads on */
	CLIENT_ABORTS,		/* SO_LINGER of 0 */
	DATA_UNREAD,		/* when the client closes */
	ENDS,
};

static const char * const end_names[] = {
	"the client closes", "the server closes", "the client shuts down",
	"the client aborts", "the client closes with data unread",
};

/* What the processes did, in memory that they share. */
struct tally {
	atomic_uint done[ENDS];
	atomic_uint wrong[ENDS];
	atomic_uint started;
	double until;
};

static struct tally *tally;

struct place {
	struct sockaddr_storage ss;
	socklen_t len;
	int listener;
};

/* One byte from @from to @to. */
static bool byte_goes(int from, int to, char byte)
{
	char got;

	return send(from, &byte, 1, MSG_NOSIGNAL) == 1 &&
	       recv(to, &got, 1, 0) == 1 && got == byte;
}

/* The next thing that @fd has to read is the end of the connection. */
static bool ends(int fd)
{
	char byte;

	return recv(fd, &byte, 1, 0) == 0;
}

static bool is_reset(int fd)
{
	char byte;

	return recv(fd, &byte, 1, 0) < 0 && errno == ECONNRESET;
}

/* End both, and find out whether that was right. */
static bool end_so(struct connp_pair *pair, enum end end, char byte)
{
	struct linger linger = { .l_onoff = 1 };
	struct pollfd pollfd = { .fd = pair->client, .events = POLLIN };

	switch (end) {
	case CLIENT_CLOSES:
		return !close(pair->client) && ends(pair->server) &&
		       !close(pair->server);
	case SERVER_CLOSES:
		return !close(pair->server) && ends(pair->client) &&
		       !close(pair->client);
	case CLIENT_SHUTS_DOWN:
		return !shutdown(pair->client, SHUT_WR) && ends(pair->server) &&
		       byte_goes(pair->server, pair->client, byte) &&
		       !close(pair->server) && ends(pair->client) &&
		       !close(pair->client);
	case CLIENT_ABORTS:
		return !setsockopt(pair->client, SOL_SOCKET, SO_LINGER, &linger,
				   sizeof(linger)) &&
		       !close(pair->client) && is_reset(pair->server) &&
		       !close(pair->server);
	default:
		return send(pair->server, &byte, 1, MSG_NOSIGNAL) == 1 &&
		       poll(&pollfd, 1, -1) == 1 && !close(pair->client) &&
		       is_reset(pair->server) && !close(pair->server);
	}
}

static bool cycle(struct place *place, enum connp_family family, enum end end,
		  char byte)
{
	struct connp_pair pair;

	pair.client = connp_socket(family);
	if (connect(pair.client, (void *)&place->ss, place->len)) {
		close(pair.client);
		return false;
	}
	pair.server = accept4(place->listener, NULL, NULL, SOCK_CLOEXEC);
	if (pair.server < 0) {
		close(pair.client);
		return false;
	}
	if (byte_goes(pair.client, pair.server, byte) &&
	    end_so(&pair, end, byte))
		return true;
	/* Perhaps one of them is closed: neither is needed by number again. */
	connp_disconnect(&pair);
	return false;
}

static void process(unsigned int number)
{
	struct place places[2];
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(places); i++)
		places[i].listener = connp_listen(i ? CONNP_V6 : CONNP_V4,
						  &places[i].ss, &places[i].len);
	for (i = number; tally->started < CYCLES; i++) {
		enum end end = i % ENDS;
		/* So that each family sees each end. */
		unsigned int family = i / ENDS % 2;

		if (connp_ms() > tally->until && tally->started >= CYCLES_MIN)
			break;
		tally->started++;
		tally->done[end]++;
		if (!cycle(&places[family], family ? CONNP_V6 : CONNP_V4, end,
			   i))
			tally->wrong[end]++;
	}
	exit(0);
}

static bool all_processes(void)
{
	pid_t children[PROCESSES], parent = getpid();
	bool right = true;
	unsigned int i;
	int status;

	fflush(stdout);
	for (i = 0; i < PROCESSES; i++) {
		children[i] = fork();
		if (children[i] < 0)
			ksft_exit_fail_perror("fork");
		if (children[i])
			continue;
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() != parent)
			_exit(1);
		process(i);
	}
	for (i = 0; i < PROCESSES; i++)
		right &= waitpid(children[i], &status, 0) == children[i] &&
			 !status;
	return right;
}

static void test_groups(long drops, long calls)
{
	/*
	 * The client calls its thread to connect, both call theirs to close,
	 * whoever shuts down calls too. accept() calls nobody, and a byte is
	 * too little to have send() or recv() work off their backlog.
	 */
	long expected = tally->done[CLIENT_SHUTS_DOWN];
	unsigned int i;

	for (i = 0; i < ENDS; i++)
		expected += 3 * tally->done[i];
	ksft_test_result(connp_wait_conns(0),
			 "no connection is left in a group\n");
	ksft_test_result(connp_wait_drained(),
			 "all that was queued is drained\n");
	drops = connp_groups("drops") - drops;
	ksft_test_result(!drops, "%ld packets were dropped\n", drops);
	calls = connp_groups("sync") - calls;
	ksft_test_result(calls == expected, "sync grew by %ld, expected %ld\n",
			 calls, expected);
}

int main(void)
{
	long drops = 0, calls = 0, lost;
	double began;
	unsigned int i;

	connp_start(ENDS + 7, 150);
	tally = mmap(NULL, sizeof(*tally), PROT_READ | PROT_WRITE,
		     MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (tally == MAP_FAILED)
		ksft_exit_fail_perror("mmap");
	/* More than there will be. */
	connp_write_file("/proc/sys/net/ipv4/tcp_max_tw_buckets", "65536");
	if (connp_groups_fd >= 0) {
		drops = connp_groups("drops");
		calls = connp_groups("sync");
	}
	lost = connp_lost();
	began = connp_ms();
	tally->until = began + (connp_full() ? SECONDS_FULL : SECONDS) * 1e3;
	ksft_test_result(all_processes(), "%d processes come to their end\n",
			 PROCESSES);
	ksft_print_msg("%u cycles in %.1f s\n", tally->started,
		       (connp_ms() - began) / 1e3);
	ksft_test_result(tally->started >= CYCLES_MIN, "at least %d cycles\n",
			 CYCLES_MIN);
	for (i = 0; i < ENDS; i++)
		ksft_test_result(tally->done[i] && !tally->wrong[i],
				 "%s: %u times, %u wrong\n", end_names[i],
				 tally->done[i], tally->wrong[i]);
	connp_wait_sockets(0);
	ksft_test_result_pass("no socket is left\n");
	/*
	 * Nothing to judge by: a FIN that is sent again because the machine is
	 * slow counts, too, as it meets a TIME_WAIT, which does not tell that
	 * it was there twice.
	 */
	ksft_print_msg("%ld packets seem lost\n", connp_lost() - lost);
	if (connp_groups_fd >= 0) {
		test_groups(drops, calls);
	} else {
		for (i = 0; i < 4; i++)
			ksft_test_result_skip("counters: no groups\n");
	}
	ksft_finished();
}
