// SPDX-License-Identifier: GPL-2.0
/*
 * Connections come and go as fast as they can, from few ports, so that the
 * same addresses are used again while the last user's TIME_WAIT or FIN is still
 * about. Each exchanges one byte; some close first, some are closed, some are
 * reset.
 */
#include <sys/socket.h>

#include "connp.h"

#define CLIENTS		4
#define SERVERS		4

static struct sockaddr_storage addresses[SERVERS];
static int listeners[SERVERS];
static socklen_t address_len;
static unsigned int cycles;
static atomic_uint connected, unavailable, refused, wrong;
static atomic_bool done;

static void *client(void *argument)
{
	struct linger reset = { .l_onoff = 1 };
	unsigned int i, number = (uintptr_t)argument;
	char byte, got;
	int fd;

	for (i = 0; i < cycles; i++) {
		fd = connp_socket(CONNP_V4);
		if (connect(fd, (void *)&addresses[i % SERVERS], address_len)) {
			unavailable += errno == EADDRNOTAVAIL;
			refused += errno != EADDRNOTAVAIL;
			close(fd);
			sched_yield();
			continue;
		}
		connected++;
		byte = number * 16 + i;
		if (send(fd, &byte, 1, MSG_NOSIGNAL) != 1)
			wrong++;
		if (i % 4 == 3)
			setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset,
				   sizeof(reset));
		else if (recv(fd, &got, 1, 0) != 1 || got != byte)
			wrong++;
		/* Every other one waits to be closed first. */
		if (i % 4 == 1)
			recv(fd, &got, 1, 0);
		close(fd);
	}
	return NULL;
}

static void *server(void *argument)
{
	int fd, listener = *(int *)argument;
	char byte;

	while (!done) {
		fd = accept(listener, NULL, NULL);
		if (fd < 0)
			continue;
		/* Resets may come at any point here. */
		if (recv(fd, &byte, 1, 0) == 1)
			send(fd, &byte, 1, MSG_NOSIGNAL);
		close(fd);
	}
	return NULL;
}

int main(void)
{
	pthread_t clients[CLIENTS], servers[SERVERS];
	unsigned long i;
	long before;

	connp_start(4, 120);
	before = connp_conns();
	connp_write_file("/proc/sys/net/ipv4/ip_local_port_range", "40000 40063");
	connp_write_file("/proc/sys/net/ipv4/tcp_tw_reuse", "1");
	cycles = connp_loops(2000);
	for (i = 0; i < SERVERS; i++) {
		/* Outside of the range, which is for the clients. */
		struct sockaddr_in *sin = (void *)&addresses[i];

		address_len = connp_address(CONNP_V4, htons(30000 + i),
					    &addresses[i]);
		listeners[i] = connp_socket(CONNP_V4);
		if (bind(listeners[i], (void *)sin, address_len) ||
		    listen(listeners[i], 128))
			ksft_exit_fail_perror("listen");
		servers[i] = connp_thread(server, &listeners[i]);
	}
	for (i = 0; i < CLIENTS; i++)
		clients[i] = connp_thread(client, (void *)i);
	for (i = 0; i < CLIENTS; i++)
		pthread_join(clients[i], NULL);
	done = true;
	for (i = 0; i < SERVERS; i++)
		shutdown(listeners[i], SHUT_RDWR);
	for (i = 0; i < SERVERS; i++) {
		pthread_join(servers[i], NULL);
		close(listeners[i]);
	}
	ksft_print_msg("%u connections, %u times no free port, %u refused\n",
		       connected, unavailable, refused);
	ksft_test_result(connected >= 64 * SERVERS,
			 "addresses were used again\n");
	ksft_test_result(!wrong && !refused, "every byte came back\n");
	connp_wait_sockets(0);
	ksft_test_result_pass("no socket is left\n");
	ksft_test_result(connp_wait_conns(before),
			 "no connection is left in a group\n");
	ksft_finished();
}
