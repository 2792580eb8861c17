// SPDX-License-Identifier: GPL-2.0
/*
 * The queue of a group is bounded. With bounds that are far too tight packets
 * are dropped or left to a kick, and counted; TCP delivers all data anyway.
 */
#include "connp.h"

#define CONNECTIONS	4
#define TRACING		"/sys/kernel/tracing/"
#define DROP_EVENT	TRACING "events/skb/kfree_skb/enable"
#define REASON		"TCP_CONNP_QUEUE"

static const char * const limit_names[] = {
	"budget", "queue_packets", "queue_bytes",
};

/* Opened in the initial namespace: the limits are there only. */
static int limit_fds[ARRAY_SIZE(limit_names)];
static char saved[ARRAY_SIZE(limit_names)][16];
static size_t transfer;

static void set_limit(unsigned int limit, const char *value)
{
	if (pwrite(limit_fds[limit], value, strlen(value), 0) < 0)
		ksft_exit_fail_perror(limit_names[limit]);
}

static void open_limits(void)
{
	char path[80];
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(limit_names); i++) {
		snprintf(path, sizeof(path), "/proc/sys/net/ipv4/tcp_connp/%s",
			 limit_names[i]);
		limit_fds[i] = open(path, O_RDWR | O_CLOEXEC);
		if (limit_fds[i] < 0)
			ksft_exit_fail_perror(path);
		if (read(limit_fds[i], saved[i], sizeof(saved[i]) - 1) <= 0)
			ksft_exit_fail_perror(path);
	}
}

static void restore_limits(void)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(limit_names); i++)
		set_limit(i, saved[i]);
}

static void *sender(void *argument)
{
	struct connp_pair *pair = argument;
	char *data = malloc(transfer);

	connp_fill(pair->client, 0, data, transfer);
	connp_send(pair->client, data, transfer);
	free(data);
	return NULL;
}

/* Several connections at once; true if all data is right. */
static bool transfer_all(void)
{
	struct connp_pair pairs[CONNECTIONS];
	pthread_t threads[CONNECTIONS];
	char *data = malloc(transfer);
	bool right = true;
	unsigned int i;

	for (i = 0; i < CONNECTIONS; i++) {
		connp_connect(CONNP_V4, &pairs[i]);
		threads[i] = connp_thread(sender, &pairs[i]);
	}
	for (i = 0; i < CONNECTIONS; i++) {
		connp_recv(pairs[i].server, data, transfer);
		right &= connp_check(pairs[i].client, 0, data, transfer);
		pthread_join(threads[i], NULL);
		connp_disconnect(&pairs[i]);
	}
	free(data);
	return right;
}

/* Transfer under a limit that makes @column count. */
static void test(unsigned int limit, const char *value, const char *column)
{
	long before = connp_groups(column);
	bool right;

	set_limit(limit, value);
	right = transfer_all();
	set_limit(limit, saved[limit]);
	ksft_test_result(right, "%s=%s: all data arrives\n", limit_names[limit],
			 value);
	ksft_test_result(connp_groups(column) > before, "%s=%s: %s\n",
			 limit_names[limit], value, column);
}

/* True if the trace buffer has a line with @text. */
static bool traced(const char *text)
{
	FILE *f = fopen(TRACING "trace", "r");
	bool found = false;
	char line[1024];

	while (f && !found && fgets(line, sizeof(line), f))
		found = strstr(line, text);
	if (f)
		fclose(f);
	return found;
}

static void test_drop_reason(void)
{
	if (access(DROP_EVENT, W_OK)) {
		ksft_test_result_skip("drop reason: no event skb:kfree_skb, is tracefs mounted?\n");
		return;
	}
	connp_write_file(DROP_EVENT, "1");
	set_limit(1, "1");
	transfer_all();
	set_limit(1, saved[1]);
	connp_write_file(DROP_EVENT, "0");
	ksft_test_result(traced(REASON), "the drop reason is " REASON "\n");
}

int main(void)
{
	connp_need_groups();
	open_limits();
	atexit(restore_limits);
	connp_start(9, 120);
	/* Windows that allow for more than one of loopback's 64 KiB packets. */
	connp_write_file("/proc/sys/net/ipv4/tcp_rmem", "4096 2097152 6291456");
	connp_write_file("/proc/sys/net/ipv4/tcp_wmem", "4096 2097152 4194304");
	transfer = connp_loops(1024) << 10;
	test(0, "1", "kicks");
	test(1, "1", "drops");
	test(2, "65536", "drops");
	test_drop_reason();
	ksft_test_result(transfer_all(), "with the limits restored\n");
	usleep(100000);
	ksft_test_result(connp_groups("queued") == connp_groups("drained"),
			 "all that was queued is drained\n");
	ksft_finished();
}
