/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Memory that is not there yet, so that a system call that copies from it or to
 * it sleeps in the middle, until the test has it supplied. userfaultfd withholds
 * it, or a file in a FUSE file system of the test's own, which does not answer.
 */
#ifndef CONNP_WITHHELD_H
#define CONNP_WITHHELD_H

#include <linux/fuse.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "connp.h"

/* The first page is there, the rest is withheld. */
#define CONNP_WITHHELD_PAGES	8

static size_t connp_page;

static inline size_t connp_withheld_size(void)
{
	connp_page = sysconf(_SC_PAGESIZE);
	return CONNP_WITHHELD_PAGES * connp_page;
}

/* A system call of another thread of ours that stalls on such memory. */
struct connp_stall {
	int fd;
	char *memory;
	bool sends;
	ssize_t got;	/* by the first call of a reader */
	atomic_bool done;
	pthread_t thread;
};

static inline void *connp_stall_run(void *argument)
{
	struct connp_stall *stall = argument;
	size_t size = connp_withheld_size();

	if (stall->sends) {
		connp_send(stall->fd, stall->memory, size);
	} else {
		stall->got = recv(stall->fd, stall->memory, size, 0);
		if (stall->got <= 0)
			ksft_exit_fail_perror("recv");
		connp_recv(stall->fd, stall->memory + stall->got,
			   size - stall->got);
	}
	stall->done = true;
	return NULL;
}

static inline void connp_stall_start(struct connp_stall *stall)
{
	stall->done = false;
	stall->thread = connp_thread(connp_stall_run, stall);
}

static int connp_uffd = -1;

/* NULL, or why there is no userfaultfd. */
static inline const char *connp_uffd_open(void)
{
	struct uffdio_api api = { .api = UFFD_API };

	connp_uffd = syscall(__NR_userfaultfd, O_CLOEXEC);
	if (connp_uffd < 0 && errno == ENOSYS)
		return "the kernel lacks CONFIG_USERFAULTFD";
	if (connp_uffd < 0 || ioctl(connp_uffd, UFFDIO_API, &api))
		ksft_exit_fail_perror("userfaultfd");
	return NULL;
}

static inline char *connp_uffd_withhold(void)
{
	struct uffdio_register reg = { .mode = UFFDIO_REGISTER_MODE_MISSING };
	size_t size = connp_withheld_size();
	char *memory = mmap(NULL, size, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (memory == MAP_FAILED)
		ksft_exit_fail_perror("mmap");
	memory[0] = 0;
	reg.range.start = (unsigned long)memory + connp_page;
	reg.range.len = size - connp_page;
	if (ioctl(connp_uffd, UFFDIO_REGISTER, &reg))
		ksft_exit_fail_perror("UFFDIO_REGISTER");
	return memory;
}

/* Returns when a thread sleeps in the kernel over a page of ours. */
static inline void connp_uffd_wait(void)
{
	struct uffd_msg msg;

	if (read(connp_uffd, &msg, sizeof(msg)) != sizeof(msg) ||
	    msg.event != UFFD_EVENT_PAGEFAULT)
		ksft_exit_fail_perror("reading a page fault");
}

/* Supply all of @memory but the first page from @content, of the same size. */
static inline void connp_uffd_supply(char *memory, const char *content)
{
	struct uffdio_copy copy = {
		.dst = (unsigned long)memory + connp_page,
		.src = (unsigned long)content + connp_page,
		.len = connp_withheld_size() - connp_page,
	};

	if (ioctl(connp_uffd, UFFDIO_COPY, &copy))
		ksft_exit_fail_perror("UFFDIO_COPY");
}

/*
 * The file system has one file, which is its root, of zeroes. A thread serves
 * it; of two pipes one tells that it withholds a page, the other lets it go on.
 */
static int connp_fuse = -1;
static int connp_fuse_stuck[2], connp_fuse_go[2];
static char connp_fuse_path[32];
static atomic_bool connp_fuse_supplied;

static inline void connp_fuse_reply(const struct fuse_in_header *in, int error,
				    const void *data, size_t len)
{
	static char text[sizeof(struct fuse_out_header) + (1 << 17)];
	struct fuse_out_header *out = (void *)text;

	out->len = sizeof(*out) + len;
	out->error = -error;
	out->unique = in->unique;
	memcpy(out + 1, data, len);
	/* ENOENT: who asked was killed meanwhile. */
	if (write(connp_fuse, text, out->len) < 0 && errno != ENOENT)
		ksft_exit_fail_perror("answering a FUSE request");
}

static inline void connp_fuse_read(const struct fuse_in_header *in)
{
	static char zeroes[1 << 17];
	const struct fuse_read_in *read_in = (void *)(in + 1);
	size_t size = connp_withheld_size(), len = 0;
	char byte = 0;

	if (read_in->offset && !connp_fuse_supplied &&
	    (write(connp_fuse_stuck[1], &byte, 1) != 1 ||
	     read(connp_fuse_go[0], &byte, 1) != 1))
		ksft_exit_fail_perror("withholding a page");
	if (read_in->offset < size)
		len = size - read_in->offset;
	if (len > read_in->size)
		len = read_in->size;
	connp_fuse_reply(in, 0, zeroes, len);
}

static inline void *connp_fuse_serve(void *argument)
{
	struct fuse_init_out init = {
		.major = FUSE_KERNEL_VERSION, .minor = 31,
		.max_write = 4096,
	};
	struct fuse_attr_out attr = { .attr_valid = 3600 };
	struct fuse_open_out open_out = {};
	static union {
		struct fuse_in_header in;
		char text[FUSE_MIN_READ_BUFFER + 4096];
	} request;
	ssize_t len;

	attr.attr.ino = 1;
	attr.attr.nlink = 1;
	attr.attr.mode = S_IFREG | 0666;
	attr.attr.size = connp_withheld_size();
	while ((len = read(connp_fuse, &request, sizeof(request))) > 0 ||
	       errno == EINTR || errno == ENOENT) {
		if (len <= 0)
			continue;
		switch (request.in.opcode) {
		case FUSE_INIT:
			connp_fuse_reply(&request.in, 0, &init, sizeof(init));
			break;
		case FUSE_GETATTR:
			connp_fuse_reply(&request.in, 0, &attr, sizeof(attr));
			break;
		case FUSE_OPEN:
			connp_fuse_reply(&request.in, 0, &open_out,
					 sizeof(open_out));
			break;
		case FUSE_READ:
			connp_fuse_read(&request.in);
			break;
		case FUSE_FLUSH:
		case FUSE_RELEASE:
			connp_fuse_reply(&request.in, 0, "", 0);
			break;
		case FUSE_FORGET:
		case FUSE_BATCH_FORGET:
		case FUSE_INTERRUPT:
			break;
		default:
			connp_fuse_reply(&request.in, ENOSYS, "", 0);
		}
	}
	return argument;
}

/* NULL, or why there is no such file system. */
static inline const char *connp_fuse_open(void)
{
	char options[80];
	int file;

	connp_fuse = open("/dev/fuse", O_RDWR | O_CLOEXEC);
	if (connp_fuse < 0)
		return "the kernel lacks CONFIG_FUSE_FS, or there is no /dev/fuse";
	if (unshare(CLONE_NEWNS) ||
	    mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL))
		ksft_exit_fail_perror("a mount namespace");
	snprintf(connp_fuse_path, sizeof(connp_fuse_path),
		 "/tmp/connp-fuse-XXXXXX");
	file = mkstemp(connp_fuse_path);
	snprintf(options, sizeof(options),
		 "fd=%d,rootmode=100666,user_id=0,group_id=0", connp_fuse);
	if (file < 0 || pipe(connp_fuse_stuck) || pipe(connp_fuse_go) ||
	    mount("connp", connp_fuse_path, "fuse", MS_NOSUID | MS_NODEV,
		  options))
		ksft_exit_fail_perror("mounting a FUSE file system");
	close(file);
	connp_thread(connp_fuse_serve, NULL);
	return NULL;
}

static inline void connp_fuse_close(void)
{
	umount2(connp_fuse_path, MNT_DETACH);
	unlink(connp_fuse_path);
}

/* What is read of it by whoever has opened it before is forgotten. */
static inline char *connp_fuse_withhold(void)
{
	int file = open(connp_fuse_path, O_RDWR | O_CLOEXEC);
	struct stat stat;
	char *memory;

	connp_fuse_supplied = false;
	/* Else its size is not known, and nothing of it can be mapped. */
	if (file < 0 || fstat(file, &stat))
		ksft_exit_fail_perror(connp_fuse_path);
	memory = mmap(NULL, connp_withheld_size(), PROT_READ | PROT_WRITE,
		      MAP_PRIVATE, file, 0);
	if (memory == MAP_FAILED)
		ksft_exit_fail_perror("mmap of a file in FUSE");
	close(file);
	return memory;
}

static inline void connp_fuse_wait(void)
{
	char byte;

	if (read(connp_fuse_stuck[0], &byte, 1) != 1)
		ksft_exit_fail_perror("waiting for FUSE");
}

/* Its content is always zeroes. */
static inline void connp_fuse_supply(char *memory, const char *content)
{
	(void)memory;
	(void)content;
	connp_fuse_supplied = true;
	if (write(connp_fuse_go[1], "", 1) != 1)
		ksft_exit_fail_perror("FUSE");
}

#endif /* CONNP_WITHHELD_H */
