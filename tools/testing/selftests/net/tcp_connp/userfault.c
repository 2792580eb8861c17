// SPDX-License-Identifier: GPL-2.0
/*
 * A process that sleeps in the middle of sendmsg() or recvmsg(), because the
 * page it copies from or to is not there, must not hold up other connections
 * of its group: with tcp_connp.groups=1 these are all connections. The page is
 * withheld by userfaultfd until the others have got their data through.
 */
#include <linux/userfaultfd.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "connp.h"

#define OTHERS		4
#define BULK		1048576
/* The first page is there, the rest is withheld. */
#define PAGES		8

static int uffd;
static size_t page;

struct stalled {
	int fd;
	char *memory;
	bool sends;
	atomic_bool done;
};

static char *withheld_memory(void)
{
	struct uffdio_register reg = { .mode = UFFDIO_REGISTER_MODE_MISSING };
	char *memory = mmap(NULL, PAGES * page, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (memory == MAP_FAILED)
		ksft_exit_fail_perror("mmap");
	memory[0] = 0;
	reg.range.start = (unsigned long)memory + page;
	reg.range.len = (PAGES - 1) * page;
	if (ioctl(uffd, UFFDIO_REGISTER, &reg))
		ksft_exit_fail_perror("UFFDIO_REGISTER");
	return memory;
}

/* Returns when a thread sleeps in the kernel over a page of ours. */
static void wait_for_fault(void)
{
	struct uffd_msg msg;

	if (read(uffd, &msg, sizeof(msg)) != sizeof(msg) ||
	    msg.event != UFFD_EVENT_PAGEFAULT)
		ksft_exit_fail_perror("reading a page fault");
}

static void supply_pages(char *memory, const char *content)
{
	struct uffdio_copy copy = {
		.dst = (unsigned long)memory + page,
		.src = (unsigned long)content + page,
		.len = (PAGES - 1) * page,
	};

	if (ioctl(uffd, UFFDIO_COPY, &copy))
		ksft_exit_fail_perror("UFFDIO_COPY");
}

static void *stall(void *argument)
{
	struct stalled *stalled = argument;

	if (stalled->sends)
		connp_send(stalled->fd, stalled->memory, PAGES * page);
	else
		connp_recv(stalled->fd, stalled->memory, PAGES * page);
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

	content = malloc(PAGES * page);
	other_end = malloc(PAGES * page);
	connp_fill(1000, 0, content, PAGES * page);
	connp_connect(CONNP_V4, &pair);
	for (i = 0; i < OTHERS; i++)
		connp_connect(CONNP_V4, &others[i]);

	stalled.memory = withheld_memory();
	stalled.sends = sends;
	stalled.fd = pair.client;
	if (sends)
		memcpy(stalled.memory, content, page);
	else
		connp_send(pair.server, content, PAGES * page);
	thread = connp_thread(stall, &stalled);
	wait_for_fault();

	right = others_progress(others);
	stuck = !stalled.done;
	ksft_test_result(right && stuck,
			 "a %s without its page: other connections transfer data\n",
			 who);

	/* Packets for the socket that is owned meanwhile. */
	if (sends)
		connp_send(pair.server, "x", 1);

	supply_pages(stalled.memory, content);
	if (sends)
		connp_recv(pair.server, other_end, PAGES * page);
	pthread_join(thread, NULL);
	right = !memcmp(sends ? other_end : stalled.memory, content,
			PAGES * page);
	ksft_test_result(right, "a %s with its page: its data is right\n", who);
	connp_expect_no_loss(before, who);

	connp_disconnect(&pair);
	for (i = 0; i < OTHERS; i++)
		connp_disconnect(&others[i]);
	munmap(stalled.memory, PAGES * page);
	free(content);
	free(other_end);
}

int main(void)
{
	struct uffdio_api api = { .api = UFFD_API };

	connp_start(6, 60);
	page = sysconf(_SC_PAGESIZE);
	uffd = syscall(__NR_userfaultfd, O_CLOEXEC);
	if (uffd < 0 && errno == ENOSYS)
		ksft_exit_skip("the kernel lacks CONFIG_USERFAULTFD\n");
	if (uffd < 0 || ioctl(uffd, UFFDIO_API, &api))
		ksft_exit_fail_perror("userfaultfd");
	test(true);
	test(false);
	ksft_finished();
}
