// SPDX-License-Identifier: GPL-2.0
/*
 * Network namespaces with a table of established connections of their own, of
 * fewer buckets than there may be groups, that end with connections in every
 * state. Groups are global: none may keep a connection of a dead namespace.
 */
#include <sys/wait.h>

#include "connp.h"

#define CONNECTIONS	24
#define CHILD_TABLE	"/proc/sys/net/ipv4/tcp_child_ehash_entries"

/* In a process of its own, which leaves it to exit() to close things. */
static void live(unsigned int buckets)
{
	struct connp_pair pairs[CONNECTIONS];
	char text[16], byte = 'x';
	unsigned int i;

	snprintf(text, sizeof(text), "%u", buckets);
	connp_write_file(CHILD_TABLE, text);
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

int main(void)
{
	static const unsigned int sizes[] = { 1, 2, 16, 128, 1024, 4096 };
	unsigned int i, j, rounds = connp_loops(16);
	long before = 0;
	int status, bad;
	pid_t child;

	connp_start(ARRAY_SIZE(sizes) + 1, 120);
	if (access(CHILD_TABLE, W_OK))
		ksft_exit_skip("no net.ipv4.tcp_child_ehash_entries\n");
	if (connp_groups_fd >= 0)
		before = connp_groups("conns");
	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		bad = 0;
		for (j = 0; j < rounds / 4 + 1; j++) {
			fflush(stdout);
			child = fork();
			if (!child)
				live(sizes[i]);
			if (child < 0 || waitpid(child, &status, 0) != child ||
			    status)
				bad++;
		}
		ksft_test_result(!bad, "namespaces with %u buckets come and go\n",
				 sizes[i]);
	}
	if (connp_groups_fd < 0)
		ksft_test_result_skip("no connection is left in a group: no groups\n");
	else
		ksft_test_result(connp_wait_conns(before),
				 "no connection is left in a group\n");
	ksft_finished();
}
