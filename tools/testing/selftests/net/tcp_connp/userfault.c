// SPDX-License-Identifier: GPL-2.0
/*
 * A process that sleeps in the middle of sendmsg() or recvmsg(), because the
 * page it copies from or to is not there, must not hold up other connections
 * of its group: with tcp_connp.groups=1 these are all connections. The page is
 * withheld by userfaultfd until the others have got their data through.
 */
#include "connp_withheld.h"

#define OTHERS		4
#define BULK		1048576

static size_t size;

struct stalled {
	int fd;
	char *memory;
	bool sends;
	atomic_bool done;
};

static void *stall(void *argument)
{
	struct stalled *stalled = argument;

	if (stalled->sends)
		connp_send(stalled->fd, stalled->memory, size);
	else
		connp_recv(stalled->fd, stalled->memory, size);
	stalled->done = true;
	return NULL;
}

static void *bulk_sender(void *argument)
{
	struct connp_pair *pair = argument;
	char buf[8192];
	size_t pos;

	for (pos = 0; pos < BULK; pos += sizeof(buf)) {
		connp_fill(pair->client, pos, buf, sizeof(buf));
		connp_send(pair->client, buf, sizeof(buf));
	}
	return NULL;
}

/* Have connections of the same group, old and new, transfer data. */
static bool others_progress(struct connp_pair *others)
{
	pthread_t threads[OTHERS];
	struct connp_pair fresh;
	bool right = true;
	char buf[8192];
	size_t pos;
	int i;

	for (i = 0; i < OTHERS; i++)
		threads[i] = connp_thread(bulk_sender, &others[i]);
	for (i = 0; i < OTHERS; i++) {
		for (pos = 0; pos < BULK; pos += sizeof(buf)) {
			connp_recv(others[i].server, buf, sizeof(buf));
			right &= connp_check(others[i].client, pos, buf,
					     sizeof(buf));
		}
		pthread_join(threads[i], NULL);
	}
	connp_connect(CONNP_V4, &fresh);
	connp_send(fresh.client, "x", 1);
	connp_recv(fresh.server, buf, 1);
	connp_disconnect(&fresh);
	return right;
}

static void test(bool sends)
{
	const char *who = sends ? "sender" : "reader";
	struct connp_pair others[OTHERS], pair;
	long before = connp_lost();
	struct stalled stalled = {};
	pthread_t thread;
	char *content, *other_end;
	bool right, stuck;
	int i;

	content = malloc(size);
	other_end = malloc(size);
	connp_fill(1000, 0, content, size);
	connp_connect(CONNP_V4, &pair);
	for (i = 0; i < OTHERS; i++)
		connp_connect(CONNP_V4, &others[i]);

	stalled.memory = connp_uffd_withhold();
	stalled.sends = sends;
	stalled.fd = pair.client;
	if (sends)
		memcpy(stalled.memory, content, connp_page);
	else
		connp_send(pair.server, content, size);
	thread = connp_thread(stall, &stalled);
	connp_uffd_wait();

	right = others_progress(others);
	stuck = !stalled.done;
	ksft_test_result(right && stuck,
			 "a %s without its page: other connections transfer data\n",
			 who);

	/* Packets for the socket that is owned meanwhile. */
	if (sends)
		connp_send(pair.server, "x", 1);

	connp_uffd_supply(stalled.memory, content);
	if (sends)
		connp_recv(pair.server, other_end, size);
	pthread_join(thread, NULL);
	right = !memcmp(sends ? other_end : stalled.memory, content,
			size);
	ksft_test_result(right, "a %s with its page: its data is right\n", who);
	connp_expect_no_loss(before, who);

	connp_disconnect(&pair);
	for (i = 0; i < OTHERS; i++)
		connp_disconnect(&others[i]);
	munmap(stalled.memory, size);
	free(content);
	free(other_end);
}

int main(void)
{
	const char *lacks;

	connp_start(6, 60);
	size = connp_withheld_size();
	lacks = connp_uffd_open();
	if (lacks)
		ksft_exit_skip("%s\n", lacks);
	test(true);
	test(false);
	ksft_finished();
}
