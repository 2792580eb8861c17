// SPDX-License-Identifier: GPL-2.0
/*
 * Connections end, in every order, by several threads at once.
 *
 * A FIN that waits in a group's queue while its socket is replaced by a
 * TIME_WAIT is lost, and its sender has to repeat it after a timeout. To bring
 * that about every time, loopback is made to deliver in slots: the ACK of the
 * client's FIN and the server's own FIN come in one batch. Stock looks up the
 * second after it is done with the first, and finds the TIME_WAIT.
 */
#include "connp.h"

#define CLIENTS	8

enum order {
	CLIENT_CLOSES,		/* and is gone when the server's FIN comes */
	CLIENT_SHUTS_DOWN,	/* and waits for the server's FIN */
	BOTH_CLOSE,		/* at about the same time */
};

static const char * const order_names[] = {
	"the client closes first",
	"the client shuts down and waits",
	"both close at once",
};

static struct sockaddr_storage address;
static socklen_t address_len;
static unsigned int cycles;
static enum order order;
static int listener;

static void *client(void *argument)
{
	unsigned int i;
	char byte = 1;
	int fd;

	for (i = 0; i < cycles; i++) {
		fd = connp_socket(CONNP_V4);
		if (connect(fd, (void *)&address, address_len))
			ksft_exit_fail_perror("connect");
		connp_send(fd, &byte, 1);
		if (order == CLIENT_SHUTS_DOWN) {
			shutdown(fd, SHUT_WR);
			if (recv(fd, &byte, 1, 0))
				ksft_exit_fail_msg("expected the server's FIN\n");
		}
		close(fd);
	}
	return argument;
}

static void *server(void *argument)
{
	unsigned int i;
	char byte;
	int fd;

	for (i = 0; i < cycles; i++) {
		fd = accept(listener, NULL, NULL);
		if (fd < 0)
			ksft_exit_fail_perror("accept");
		connp_recv(fd, &byte, 1);
		if (order != BOTH_CLOSE && recv(fd, &byte, 1, 0))
			ksft_exit_fail_msg("expected the client's FIN\n");
		/* Or the ACK of the FIN would wait, and go with ours. */
		connp_set(fd, IPPROTO_TCP, TCP_QUICKACK, 1);
		close(fd);
	}
	return argument;
}

/* Have all connections come and go; returns the timeouts that took. */
static long run(enum order tested, const char *where)
{
	long timeouts = connp_tcpext("TCPTimeouts");
	long aborts = connp_tcpext("TCPAbortOnData");
	pthread_t threads[2 * CLIENTS];
	unsigned int i;

	order = tested;
	for (i = 0; i < CLIENTS; i++) {
		threads[2 * i] = connp_thread(server, NULL);
		threads[2 * i + 1] = connp_thread(client, NULL);
	}
	for (i = 0; i < 2 * CLIENTS; i++)
		pthread_join(threads[i], NULL);
	connp_wait_sockets(1);
	timeouts = connp_tcpext("TCPTimeouts") - timeouts;
	ksft_print_msg("%s, %s: %u connections, %ld timeouts\n", where,
		       order_names[order], CLIENTS * cycles, timeouts);
	ksft_test_result(connp_tcpext("TCPAbortOnData") == aborts,
			 "%s, %s: all end, nothing is reset\n", where,
			 order_names[order]);
	return timeouts;
}

static void run_in_slots(enum order tested)
{
	long timeouts = run(tested, "in one batch");

	/*
	 * It would be each of them. A few are nobody's fault: a packet that
	 * another CPU has looked up, but not yet delivered, has the same fate
	 * in stock, and the machine may pause.
	 */
	ksft_test_result(timeouts < CLIENTS * cycles / 4,
			 "in one batch, %s: FINs are not lost\n",
			 order_names[tested]);
}

int main(void)
{
	enum order i;

	connp_start(9, 120);
	/* No loss probes: what is lost shall cost a timeout. */
	connp_write_file("/proc/sys/net/ipv4/tcp_early_retrans", "0");
	listener = connp_listen(CONNP_V4, &address, &address_len);
	cycles = connp_loops(300);
	for (i = CLIENT_CLOSES; i <= BOTH_CLOSE; i++)
		run(i, "at once");
	if (system("tc qdisc add dev lo root netem slot 10ms 10ms")) {
		for (i = 0; i < 6; i++)
			ksft_test_result_skip("in one batch: needs tc and CONFIG_NET_SCH_NETEM\n");
		ksft_finished();
	}
	cycles = connp_loops(24);
	for (i = CLIENT_CLOSES; i <= BOTH_CLOSE; i++)
		run_in_slots(i);
	ksft_finished();
}
