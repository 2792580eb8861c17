// SPDX-License-Identifier: GPL-2.0
/*
 * Small packets back and forth on several connections at once, both ends on
 * this machine: with tcp_connp.groups=1 also in the same group. Each step
 * waits for exactly one packet, so one that is stranded on a queue stalls its
 * connection until a timer comes by, and that is noticed.
 */
#include "connp.h"

#define CONNECTIONS	4

static struct connp_watch watch;
static unsigned int steps;

struct player {
	struct connp_pair pair;
	unsigned int number;
	unsigned int wrong;
};

static void *echo(void *argument)
{
	struct player *player = argument;
	unsigned char byte;
	unsigned int i;

	for (i = 0; i < steps; i++) {
		connp_recv(player->pair.server, &byte, 1);
		connp_send(player->pair.server, &byte, 1);
	}
	return NULL;
}

static void *play(void *argument)
{
	struct player *player = argument;
	unsigned char sent, byte;
	unsigned int i;

	for (i = 0; i < steps; i++) {
		sent = connp_byte(player->number, i);
		connp_send(player->pair.client, &sent, 1);
		connp_recv(player->pair.client, &byte, 1);
		player->wrong += byte != sent;
		watch.step[player->number] = i + 1;
	}
	watch.step[player->number] = UINT_MAX;
	return NULL;
}

static void test(enum connp_family family)
{
	const char *name = connp_family_names[family];
	struct player players[CONNECTIONS] = {};
	pthread_t threads[2 * CONNECTIONS];
	long before = connp_lost();
	unsigned int i, wrong = 0;

	for (i = 0; i < CONNECTIONS; i++) {
		players[i].number = i;
		connp_connect(family, &players[i].pair);
		connp_set(players[i].pair.client, IPPROTO_TCP, TCP_NODELAY, 1);
		connp_set(players[i].pair.server, IPPROTO_TCP, TCP_NODELAY, 1);
	}
	connp_watch_start(&watch, CONNECTIONS, CONNP_STALL_TICKS);
	for (i = 0; i < CONNECTIONS; i++) {
		threads[2 * i] = connp_thread(echo, &players[i]);
		threads[2 * i + 1] = connp_thread(play, &players[i]);
	}
	for (i = 0; i < 2 * CONNECTIONS; i++)
		pthread_join(threads[i], NULL);
	for (i = 0; i < CONNECTIONS; i++) {
		wrong += players[i].wrong;
		connp_disconnect(&players[i].pair);
	}
	ksft_test_result(!wrong, "%s: every byte came back unchanged\n", name);
	connp_watch_report(&watch, name);
	connp_expect_no_loss(before, name);
}

int main(void)
{
	connp_start(9, 120);
	steps = connp_loops(1500);
	test(CONNP_V4);
	test(CONNP_V6);
	test(CONNP_MAPPED);
	ksft_finished();
}
