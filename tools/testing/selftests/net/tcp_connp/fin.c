// SPDX-License-Identifier: GPL-2.0
/*
 * Connections end all the time, in every order, by several threads at once. A
 * FIN that waits in a group's queue while its socket is replaced by a
 * TIME_WAIT would be lost, and its sender has to repeat it: that is counted.
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
		close(fd);
	}
	return argument;
}

static void test(enum order tested)
{
	long timeouts = connp_tcpext("TCPTimeouts");
	long aborts = connp_tcpext("TCPAbortOnData");
	pthread_t threads[2 * CLIENTS];
	struct connp_watch watch;
	unsigned int i;

	order = tested;
	connp_watch_start(&watch, 0, CONNP_STALL_TICKS);
	for (i = 0; i < CLIENTS; i++) {
		threads[2 * i] = connp_thread(server, NULL);
		threads[2 * i + 1] = connp_thread(client, NULL);
	}
	for (i = 0; i < 2 * CLIENTS; i++)
		pthread_join(threads[i], NULL);
	connp_wait_sockets(1);
	connp_watch_stop(&watch);
	timeouts = connp_tcpext("TCPTimeouts") - timeouts;
	if (timeouts)
		ksft_print_msg("%ld timeouts\n", timeouts);
	/* A pause may cost each end of each connection one. */
	ksft_test_result(timeouts <= 2l * CLIENTS * watch.pauses, "%s: no FIN had to be repeated\n",
			 order_names[order]);
	ksft_test_result(connp_tcpext("TCPAbortOnData") == aborts,
			 "%s: nothing was reset\n", order_names[order]);
}

int main(void)
{
	connp_start(6, 120);
	/* No loss probes: what is lost shall cost a timeout. */
	connp_write_file("/proc/sys/net/ipv4/tcp_early_retrans", "0");
	cycles = connp_loops(300);
	listener = connp_listen(CONNP_V4, &address, &address_len);
	test(CLIENT_CLOSES);
	test(CLIENT_SHUTS_DOWN);
	test(BOTH_CLOSE);
	ksft_finished();
}
