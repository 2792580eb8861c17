// SPDX-License-Identifier: GPL-2.0
/*
 * The life of a connection, run again and again with one allocation failing:
 * the first, the second, and so on until there are no more. Whoever fails to
 * get memory may say so to the application, once; the same system call is then
 * to succeed, and the life to go on as ever, each byte right. What fails unseen
 * TCP repairs. Nothing may be left behind: no socket, no memory, nothing queued
 * on a group.
 *
 * Allocations are made to fail in two ways (Documentation/fault-injection):
 *
 * "system calls": /proc/thread-self/fail-nth. The n-th allocation of the thread
 * that lives the life, wherever in the kernel it is; but none in a softirq, nor
 * in the thread that owns a group.
 *
 * "anywhere": the n-th allocation of all that have a function of INET among
 * their callers, softirqs and the threads of groups included; this is the
 * stack trace filter of failslab and fail_page_alloc. Those fail when a count
 * of theirs becomes a multiple of an interval. The count can't be set, but after
 * a failure it is known to be such a multiple: so let an allocation of this
 * thread fail with interval n first, and then the n-th from there will.
 *
 * By itself only every so manieth allocation fails; CONNP_FULL=1 leaves out none.
 */
#include <time.h>

#include <linux/errqueue.h>
#include <linux/filter.h>
#include <linux/sockios.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/wait.h>

#include "connp_faults.h"
#include "connp_readers.h"

#define SECONDS		(connp_full() ? 900 : 200)
/*
 * A lost SYN takes a second, a second one two more, and the machine may be slow:
 * what takes longer than this will never come.
 */
#define WAIT_MS		30000
/* Nobody is in the middle of sending a FIN for so long. */
#define MUTE_MS		2000

#define SMALL		100
#define LARGE		(96 * 1024)

/* Each with connections of its own, that they may wait for timers together. */
#define WORKERS		8

/* As stock returns them for lack of memory. */
enum step {
	STEP_SOCKET, STEP_OPTION, STEP_BIND, STEP_LISTEN, STEP_CONNECT,
	STEP_ACCEPT, STEP_SEND, STEP_SENDFILE, STEP_OTHER, STEPS
};

static const struct {
	const char *name;
	int errors[4];
} steps[STEPS] = {
	/* sock_alloc(): "Not exactly a match" */
	[STEP_SOCKET] = { "socket", { ENOMEM, ENOBUFS, ENFILE } },
	[STEP_OPTION] = { "setsockopt", { ENOMEM, ENOBUFS } },
	/* inet_csk_get_port() knows no other reason. */
	[STEP_BIND] = { "bind", { ENOMEM, ENOBUFS, EADDRINUSE } },
	[STEP_LISTEN] = { "listen", { ENOMEM, ENOBUFS } },
	/* No memory for a CPU's copy of an IPv6 route: no route. */
	[STEP_CONNECT] = { "connect", { ENOMEM, ENOBUFS, ENETUNREACH } },
	[STEP_ACCEPT] = { "accept", { ENOMEM, ENOBUFS, ENFILE } },
	[STEP_SEND] = { "send", { ENOMEM, ENOBUFS } },
	[STEP_SENDFILE] = { "sendfile, splice", { ENOMEM, ENOBUFS } },
	/* poll, recv, shutdown, ...: these need none. */
	[STEP_OTHER] = { "other", {} },
};

/* What came of a sweep; shared between processes. */
struct tally {
	unsigned int failed;	/* allocations */
	unsigned int seen[STEPS];
	unsigned int fins;	/* not sent, see fin_unsent() */
	unsigned int lost;	/* packets */
	unsigned int last;	/* n of the last run */
	bool complete;		/* in which no allocation was left to fail */
	char wrong[256];
};

/* One run. */
struct life {
	enum connp_family family;
	struct sockaddr_storage address;
	socklen_t address_len;
	/* Those that are open; the kernel is to close what is left. */
	int fds[8];
	unsigned int opened;
	size_t offset;		/* of the next bytes to send in data[] */
	unsigned int zerocopies;
	unsigned int notified;
	bool fin_unsent;
	bool failed;		/* a system call did */
	enum step step;		/* which one */
	int error;
	const char *wrong;	/* NULL: nothing */
};

static unsigned char data[4 * LARGE];
static int data_file;
static int pipe_fds[2];
static unsigned int stride;

static bool wrong(struct life *life, const char *what)
{
	if (!life->wrong) {
		life->wrong = what;
		life->error = errno;
	}
	return false;
}

/* A system call failed; true if it may, and so is to be called again. */
static bool again(struct life *life, enum step step)
{
	unsigned int i;

	if (life->failed)
		return wrong(life, "a second system call failed");
	life->failed = true;
	life->step = step;
	life->error = errno;
	for (i = 0; i < ARRAY_SIZE(steps[step].errors); i++)
		if (errno && steps[step].errors[i] == errno)
			return true;
	return wrong(life, "an error that does not tell of memory");
}

static bool opened(struct life *life, int fd)
{
	if (fd >= 0)
		life->fds[life->opened++] = fd;
	return fd >= 0;
}

static void life_close(struct life *life, int fd)
{
	unsigned int i;

	for (i = 0; i < life->opened; i++)
		if (life->fds[i] == fd) {
			life->fds[i] = -1;
			close(fd);
		}
}

static short life_wait(struct life *life, int fd, short events)
{
	struct pollfd pollfd = { .fd = fd, .events = events };
	int n = poll(&pollfd, 1, WAIT_MS);

	if (n < 0)
		again(life, STEP_OTHER);
	else if (!n)
		wrong(life, "nothing happened for long");
	return n > 0 ? pollfd.revents : 0;
}

static int life_socket(struct life *life)
{
	int fd;

	do {
		fd = socket(life->family == CONNP_V4 ? AF_INET : AF_INET6,
			    SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	} while (fd < 0 && again(life, STEP_SOCKET));
	opened(life, fd);
	return fd;
}

static bool life_option(struct life *life, int fd, int level, int name,
			const void *value, socklen_t len)
{
	int err;

	do {
		err = setsockopt(fd, level, name, value, len);
	} while (err && again(life, STEP_OPTION));
	return !err;
}

static bool life_option_int(struct life *life, int fd, int level, int name,
			    int value)
{
	return life_option(life, fd, level, name, &value, sizeof(value));
}

/* With what a listening socket may allocate memory for. */
static int life_listen(struct life *life)
{
	struct sock_filter accept_all = BPF_STMT(BPF_RET | BPF_K, 0xffffffff);
	struct sock_fprog filter = { .len = 1, .filter = &accept_all };
	unsigned char key[16] = { 1 };
	int fd, err;

	fd = life_socket(life);
	if (fd < 0 ||
	    !life_option_int(life, fd, SOL_SOCKET, SO_REUSEPORT, 1) ||
	    !life_option(life, fd, SOL_SOCKET, SO_ATTACH_FILTER, &filter,
			 sizeof(filter)) ||
	    !life_option_int(life, fd, IPPROTO_TCP, TCP_SAVE_SYN, 1))
		return -1;
	life->address_len = connp_address(life->family, 0, &life->address);
	do {
		err = bind(fd, (void *)&life->address, life->address_len);
	} while (err && again(life, STEP_BIND));
	if (err ||
	    !life_option_int(life, fd, IPPROTO_TCP, TCP_FASTOPEN, 8) ||
	    !life_option(life, fd, IPPROTO_TCP, TCP_FASTOPEN_KEY, key,
			 sizeof(key)))
		return -1;
	do {
		err = listen(fd, 8);
	} while (err && again(life, STEP_LISTEN));
	if (err)
		return -1;
	if (getsockname(fd, (void *)&life->address, &life->address_len)) {
		wrong(life, "getsockname() failed");
		return -1;
	}
	return fd;
}

/* A connected socket; with @sent, after so many bytes that the SYN carried. */
static int life_connect(struct life *life, size_t *sent)
{
	int fd = life_socket(life), error = 0;
	socklen_t len = sizeof(error);
	ssize_t n;

	if (fd < 0)
		return -1;
	do {
		if (sent)
			n = sendto(fd, data + life->offset, SMALL,
				   MSG_FASTOPEN | MSG_NOSIGNAL,
				   (void *)&life->address, life->address_len);
		else
			n = connect(fd, (void *)&life->address,
				    life->address_len);
	} while (n < 0 && errno != EINPROGRESS && again(life, STEP_CONNECT));
	if (n < 0 && errno != EINPROGRESS)
		return -1;
	if (sent) {
		/* A server that needs no cookie may answer before the ACK. */
		*sent = n > 0 ? n : 0;
		return fd;
	}
	if (!life_wait(life, fd, POLLOUT))
		return -1;
	if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len) || error) {
		errno = error;
		wrong(life, "the connection was not established");
		return -1;
	}
	return fd;
}

static int life_accept(struct life *life, int listener)
{
	unsigned char syn[256];
	socklen_t len = sizeof(syn);
	int fd;

	if (!life_wait(life, listener, POLLIN))
		return -1;
	do {
		fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	} while (fd < 0 && again(life, STEP_ACCEPT));
	/* Without memory there is no copy of the SYN, and that is all. */
	if (opened(life, fd) &&
	    getsockopt(fd, IPPROTO_TCP, TCP_SAVED_SYN, syn, &len))
		wrong(life, "TCP_SAVED_SYN failed");
	return fd;
}

enum how { PLAIN, ZEROCOPY, SENDFILE, SPLICE };

static const char * const hows[] = { "send", "zerocopy", "sendfile", "splice" };

/* Send some of data[@pos] to data[@end - 1]; 0: not now. */
static size_t life_send(struct life *life, int fd, enum how how, size_t pos,
			size_t end)
{
	static size_t piped;
	loff_t from = pos;
	ssize_t n = 0;

	switch (how) {
	case PLAIN:
		n = send(fd, data + pos, end - pos, MSG_NOSIGNAL);
		break;
	case ZEROCOPY:
		n = send(fd, data + pos, end - pos,
			 MSG_NOSIGNAL | MSG_ZEROCOPY);
		life->zerocopies += n > 0;
		break;
	case SENDFILE:
		n = sendfile(fd, data_file, &from, end - pos);
		break;
	case SPLICE:
		if (!piped) {
			n = splice(data_file, &from, pipe_fds[1], NULL,
				   end - pos, SPLICE_F_NONBLOCK);
			if (n < 0)
				break;
			piped = n;
		}
		n = splice(pipe_fds[0], NULL, fd, NULL, piped,
			   SPLICE_F_NONBLOCK);
		piped -= n > 0 ? n : 0;
		break;
	}
	if (n < 0 && errno != EAGAIN)
		again(life, how < SENDFILE ? STEP_SEND : STEP_SENDFILE);
	return n > 0 ? n : 0;
}

/* How many of data[@pos] to data[@end - 1] came. */
static size_t life_recv(struct life *life, int fd, size_t pos, size_t end)
{
	static unsigned char buf[LARGE];
	ssize_t n = recv(fd, buf, sizeof(buf), 0);

	if (n < 0 && errno != EAGAIN)
		again(life, STEP_OTHER);
	if (!n)
		wrong(life, "the stream ended early");
	if (n > 0 && ((size_t)n > end - pos || memcmp(buf, data + pos, n)))
		wrong(life, "wrong bytes arrived");
	return n > 0 ? n : 0;
}

/* Take the kernel's word, if it is there, that it needs data[] no more. */
static bool life_notified(struct life *life, int fd)
{
	char control[256];
	struct msghdr msg = {
		.msg_control = control,
		.msg_controllen = sizeof(control),
	};
	struct sock_extended_err *err;
	struct cmsghdr *cmsg;

	if (recvmsg(fd, &msg, MSG_ERRQUEUE) < 0) {
		if (errno != EAGAIN)
			again(life, STEP_OTHER);
		return false;
	}
	cmsg = CMSG_FIRSTHDR(&msg);
	err = cmsg ? (void *)CMSG_DATA(cmsg) : NULL;
	if (!err || err->ee_origin != SO_EE_ORIGIN_ZEROCOPY)
		wrong(life, "the error queue has something else");
	else
		life->notified += err->ee_data - err->ee_info + 1;
	return true;
}

/* @len bytes from @from to @to; the first @sent are on their way already. */
static bool life_transfer(struct life *life, int from, int to, enum how how,
			  size_t len, size_t sent)
{
	size_t end = life->offset + len, did;
	size_t pos = life->offset + sent, got = life->offset;
	struct pollfd pollfds[] = {
		{ .fd = to, .events = POLLIN },
		{ .fd = from },
	};

	while (!life->wrong &&
	       (got < end || life->notified < life->zerocopies)) {
		did = 0;
		if (pos < end)
			did += life_send(life, from, how, pos, end);
		pos += did;
		if (got < end && !life->wrong) {
			size_t n = life_recv(life, to, got, end);

			got += n;
			did += n;
		}
		if (how == ZEROCOPY)
			did += life_notified(life, from);
		if (did || life->wrong)
			continue;
		pollfds[1].events = pos < end ? POLLOUT : 0;
		/* Errors are always reported: look only when they may come. */
		if (!poll(pollfds, how == ZEROCOPY || pos < end ? 2 : 1,
			  WAIT_MS)) {
			wrong(life, "the transfer stands still");
			ksft_print_msg("%s: of %zu bytes %zu are sent and %zu received, of %u notices %u have come\n",
				       hows[how], len, pos + len - end,
				       got + len - end, life->zerocopies,
				       life->notified);
		}
	}
	/* So that bytes of one transfer do not look like those of the next. */
	life->offset += len;
	return !life->wrong;
}

static void tcp_info(int fd, struct tcp_info *info)
{
	socklen_t len = sizeof(*info);

	memset(info, 0, sizeof(*info));
	getsockopt(fd, IPPROTO_TCP, TCP_INFO, info, &len);
}

/*
 * tcp_send_fin() gives up when there is no memory for the FIN, in stock, too.
 * Then there is nothing under way in FIN_WAIT1 and LAST_ACK, where only an ACK of
 * a FIN leads out of; or in FIN_WAIT2 and CLOSE, where any ACK leads if there is
 * no FIN, while the other end has not seen one. In FIN_WAIT1 the socket ends when
 * the other one sends its FIN.
 */
static bool fin_unsent(int from, int to)
{
	struct tcp_info sender, receiver;
	int unsent = 0;

	tcp_info(from, &sender);
	tcp_info(to, &receiver);
	ioctl(from, SIOCOUTQNSD, &unsent);
	if (sender.tcpi_state == TCP_LAST_ACK || sender.tcpi_state == TCP_CLOSE)
		return !sender.tcpi_unacked && !unsent &&
		       receiver.tcpi_state == TCP_FIN_WAIT2;
	return ((sender.tcpi_state == TCP_FIN_WAIT1 && !sender.tcpi_unacked &&
		 !unsent) ||
		sender.tcpi_state == TCP_FIN_WAIT2) &&
	       receiver.tcpi_state == TCP_ESTABLISHED;
}

static unsigned int mute;

/*
 * The same for those that are closed. In LAST_ACK nobody ever sends anything
 * again, and nothing ends the socket: stock's, too, stays for good.
 */
static void kill_mute(struct inet_diag_msg *msg)
{
	if (msg->idiag_wqueue ||
	    (msg->idiag_state != TCP_FIN_WAIT1 &&
	     msg->idiag_state != TCP_LAST_ACK))
		return;
	mute++;
	connp_kill(msg);
}

/* @from says that no more comes, and @to hears of it. */
static bool life_shutdown(struct life *life, int from, int to)
{
	struct pollfd pollfd = { .fd = to, .events = POLLIN };
	double start = connp_ms();
	char byte;
	int n;

	if (shutdown(from, SHUT_WR))
		return wrong(life, "shutdown() failed");
	while (!(n = poll(&pollfd, 1, 100))) {
		if (fin_unsent(from, to)) {
			life->fin_unsent = true;
			return true;
		}
		if (connp_ms() - start > WAIT_MS)
			return wrong(life, "a FIN did not arrive");
	}
	if (n > 0)
		n = recv(to, &byte, 1, 0);
	/*
	 * In LAST_ACK without a FIN any ACK ends the socket, see fin_unsent(); one
	 * more, as after a loss probe, is answered with a RST.
	 */
	if (n < 0 && errno == ECONNRESET && connp_state(from) == TCP_CLOSE) {
		life->fin_unsent = true;
		return true;
	}
	if (n)
		return wrong(life, "a stream did not end");
	return true;
}

static bool life_live(struct life *life)
{
	int listener, client, server, hurried, served, ignored;
	size_t sent;

	listener = life_listen(life);
	if (listener < 0)
		return false;
	client = life_connect(life, NULL);
	if (client < 0)
		return false;
	server = life_accept(life, listener);
	if (server < 0)
		return false;
	if (!life_option_int(life, client, SOL_SOCKET, SO_ZEROCOPY, 1) ||
	    !life_transfer(life, client, server, PLAIN, SMALL, 0) ||
	    !life_transfer(life, server, client, PLAIN, LARGE, 0) ||
	    !life_transfer(life, client, server, ZEROCOPY, LARGE / 2, 0) ||
	    !life_transfer(life, server, client, SENDFILE, LARGE / 2, 0) ||
	    !life_transfer(life, client, server, SPLICE, LARGE / 2, 0))
		return false;

	/* A second one, which has data in its SYN. */
	hurried = life_connect(life, &sent);
	if (hurried < 0)
		return false;
	served = life_accept(life, listener);
	if (served < 0 ||
	    !life_transfer(life, hurried, served, PLAIN, 2 * SMALL, sent))
		return false;

	/* A third one, which nobody accepts before the listener goes. */
	ignored = life_connect(life, NULL);
	if (ignored < 0)
		return false;
	life_close(life, listener);
	life_close(life, ignored);

	/* One end after the other; and both at once, with close() alone. */
	if (!life_shutdown(life, client, server) ||
	    !life_transfer(life, server, client, PLAIN, SMALL, 0) ||
	    (!life->fin_unsent && !life_shutdown(life, server, client)))
		return false;
	life_close(life, client);
	life_close(life, server);
	life_close(life, hurried);
	life_close(life, served);
	return true;
}

static void life_begin(struct life *life, enum connp_family family)
{
	memset(life, 0, sizeof(*life));
	life->family = family;
}

static void print_sockets(const char *path)
{
	FILE *f = fopen(path, "r");
	char line[256];

	while (f && fgets(line, sizeof(line), f)) {
		line[strcspn(line, "\n")] = 0;
		ksft_print_msg("%.100s\n", line);
	}
	if (f)
		fclose(f);
}

/*
 * The run with the @n-th allocation failing is over, the injection off. Wait
 * until no socket is left, then judge. False if the sweep is not to go on.
 */
static bool life_end(struct life *life, unsigned int n, bool injected,
		     struct tally *tally)
{
	double start = connp_ms();
	bool looked = false;
	unsigned int i;

	for (i = 0; i < life->opened; i++)
		if (life->fds[i] >= 0)
			close(life->fds[i]);
	mute = 0;
	while (connp_sockets() && !life->wrong) {
		if (!looked && connp_ms() - start > MUTE_MS) {
			looked = true;
			connp_diag_dump(AF_INET, kill_mute);
			connp_diag_dump(AF_INET6, kill_mute);
			life->fin_unsent |= mute;
		}
		if (connp_ms() - start > WAIT_MS) {
			wrong(life, "sockets are left");
			print_sockets("/proc/net/tcp");
			print_sockets("/proc/net/tcp6");
		}
		usleep(1000);
	}
	if (!life->wrong && !injected && (life->failed || life->fin_unsent))
		wrong(life, "there was a failure without one");
	tally->last = n;
	tally->failed += injected;
	tally->complete = n && !injected;
	if (life->failed)
		tally->seen[life->step]++;
	tally->fins += life->fin_unsent;
	if (life->wrong)
		snprintf(tally->wrong, sizeof(tally->wrong),
			 "allocation %u failed: %s; last error: %s%s%s", n,
			 life->wrong, strerror(life->error),
			 life->failed ? ", of " : "",
			 life->failed ? steps[life->step].name : "");
	return injected && !life->wrong;
}

static void sysctl(const char *name, const char *value)
{
	char path[128];

	snprintf(path, sizeof(path), "/proc/sys/net/ipv4/%s", name);
	connp_write_file(path, value);
}

/* What all lives of a process share, made before anything may fail. */
static void live_here(void)
{
	connp_new_netns();
	/* Data in a SYN without a cookie. */
	sysctl("tcp_fastopen", "0x607");
	/* What is lost is soon repaired. */
	sysctl("tcp_rto_min_us", "10000");
	/* Who waits for a FIN that was not sent, see fin_unsent(). */
	sysctl("tcp_fin_timeout", "5");
	if (pipe2(pipe_fds, O_CLOEXEC | O_NONBLOCK))
		ksft_exit_fail_perror("pipe");
	/* A page that is not there would be an allocation of its own. */
	if (mlockall(MCL_CURRENT | MCL_FUTURE))
		ksft_exit_fail_perror("mlockall");
}

/* The allocations of this thread. */
static void sweep_calls(enum connp_family family, unsigned int worker,
			struct tally *tally)
{
	unsigned int n = 1 + worker * stride;
	struct life life;
	bool injected;
	char text[16];
	int fd, len;

	live_here();
	fd = open("/proc/thread-self/fail-nth", O_RDWR | O_CLOEXEC);
	if (fd < 0)
		ksft_exit_fail_perror("fail-nth");
	/* The first life makes what stays. */
	life_begin(&life, family);
	life_live(&life);
	if (life_end(&life, 0, false, tally) || *tally->wrong)
		return;
	do {
		life_begin(&life, family);
		len = sprintf(text, "%u", n);
		if (write(fd, text, len) != len)
			ksft_exit_fail_perror("fail-nth");
		life_live(&life);
		memset(text, 0, sizeof(text));
		/* What is left of n. */
		if (pread(fd, text, sizeof(text) - 1, 0) <= 0 ||
		    write(fd, "0", 1) != 1)
			ksft_exit_fail_perror("fail-nth");
		injected = !atoi(text);
		n += WORKERS * stride;
	} while (life_end(&life, n - WORKERS * stride, injected, tally));
	tally->lost = connp_lost();
}

/* Something that allocates a page, and does the least. */
static void allocate_page(int fd)
{
	if (pwrite(fd, "", 1, 0) == 1 && ftruncate(fd, 0))
		ksft_exit_fail_perror("ftruncate");
}

/* Something that makes slabs allocate. */
static void allocate_objects(int fd)
{
	int fds[2];

	(void)fd;
	if (!pipe(fds)) {
		close(fds[0]);
		close(fds[1]);
	}
}

/* A way to let the n-th allocation fail that INET makes. */
struct fault {
	const char *dir;
	void (*allocate)(int fd);
	bool shows;		/* as packets that are lost */
	int make_it_fail_fd;
	int memfd;
};

static bool fault_pending(struct fault *fault)
{
	return connp_fault_times(fault->dir);
}

static void fault_open(struct fault *fault)
{
	fault->make_it_fail_fd = open("/proc/thread-self/make-it-fail",
				      O_WRONLY | O_CLOEXEC);
	fault->memfd = memfd_create("failnth", MFD_CLOEXEC);
	if (fault->make_it_fail_fd < 0 || fault->memfd < 0)
		ksft_exit_fail_perror(fault->dir);
}

static void fault_close(struct fault *fault)
{
	close(fault->make_it_fail_fd);
	close(fault->memfd);
}

static void fault_arm(struct fault *fault, unsigned int n)
{
	unsigned int i;

	connp_fault_set_n(fault->dir, "interval", n);
	if (n > 1) {
		/* Find a multiple of n, alone. */
		connp_fault_set_n(fault->dir, "require-start", 0);
		connp_fault_set_n(fault->dir, "require-end", ULONG_MAX);
		connp_fault_set(fault->dir, "task-filter", "Y");
		connp_fault_set(fault->dir, "times", "1");
		if (pwrite(fault->make_it_fail_fd, "1", 1, 0) != 1)
			ksft_exit_fail_perror("make-it-fail");
		connp_fault_set(fault->dir, "probability", "100");
		for (i = 0; fault_pending(fault); i++) {
			if (i > 100 * n)
				ksft_exit_fail_msg("%s: nothing fails\n",
						   fault->dir);
			fault->allocate(fault->memfd);
		}
		connp_fault_set(fault->dir, "probability", "0");
		if (pwrite(fault->make_it_fail_fd, "0", 1, 0) != 1)
			ksft_exit_fail_perror("make-it-fail");
	}
	connp_fault_set_n(fault->dir, "require-start", connp_inet_start);
	connp_fault_set_n(fault->dir, "require-end", connp_inet_end);
	connp_fault_set(fault->dir, "task-filter", "N");
	connp_fault_set(fault->dir, "times", "1");
	connp_fault_set(fault->dir, "probability", "100");
}

/* True if the allocation came, and failed. */
static bool fault_disarm(struct fault *fault)
{
	bool injected = !fault_pending(fault);

	connp_fault_set(fault->dir, "probability", "0");
	return injected;
}

/* The allocations of INET, whoever makes them. */
static void sweep_anywhere(enum connp_family family, struct fault *fault,
			   struct tally *tally)
{
	unsigned int n = 1;
	struct life life;
	bool injected;

	live_here();
	fault_open(fault);
	life_begin(&life, family);
	life_live(&life);
	if (life_end(&life, 0, false, tally) || *tally->wrong)
		return;
	do {
		life_begin(&life, family);
		fault_arm(fault, n);
		life_live(&life);
		injected = fault_disarm(fault);
		n += stride;
	} while (life_end(&life, n - stride, injected, tally));
	tally->lost = connp_lost();
	fault_close(fault);
}

/* TCP's, and what its sockets are made of. */
static const char * const watched_slabs[] = {
	"TCP", "TCPv6", "request_sock_TCP", "request_sock_TCPv6", "tw_sock_TCP",
	"tw_sock_TCPv6", "tcp_bind_bucket", "tcp_bind2_bucket",
	"sock_inode_cache", "skbuff_fclone_cache",
};

static long slab_objects(const char *name)
{
	char path[128], text[64] = {};
	int fd;

	/* Or those count as in use that lie about free in a CPU's slab. */
	snprintf(path, sizeof(path), CONNP_SLABS "%s/shrink", name);
	connp_write_file(path, "1");
	snprintf(path, sizeof(path), CONNP_SLABS "%s/objects", name);
	fd = open(path, O_RDONLY);
	if (fd < 0 || read(fd, text, sizeof(text) - 1) <= 0)
		ksft_exit_fail_perror(path);
	close(fd);
	return atol(text);
}

static void slabs_count(long objects[])
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(watched_slabs); i++)
		objects[i] = slab_objects(watched_slabs[i]);
}

/* Namespaces and what RCU delays are gone after a while. */
static bool slabs_are_back(const long before[])
{
	double start = connp_ms();
	bool back = true;
	long now = 0;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(watched_slabs); i++) {
		while ((now = slab_objects(watched_slabs[i])) > before[i] &&
		       connp_ms() - start < WAIT_MS)
			usleep(100000);
		if (now > before[i])
			ksft_print_msg("%s: %ld objects, before there were %ld\n",
				       watched_slabs[i], now, before[i]);
		back &= now <= before[i];
	}
	return back;
}

/*
 * Do a sweep in processes of its own, add up what came of it, and report. It
 * counts only if at least @least allocations failed.
 */
static void report_sweep(const char *what, enum connp_family family,
			 struct fault *fault, unsigned int least)
{
	unsigned int workers = fault ? 1 : WORKERS, i, j, seen = 0;
	long objects[ARRAY_SIZE(watched_slabs)];
	struct tally *tallies, all = {};
	bool ended = true, clean;
	double start = connp_ms();
	int status;

	tallies = mmap(NULL, WORKERS * sizeof(*tallies),
		       PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
		       -1, 0);
	if (tallies == MAP_FAILED)
		ksft_exit_fail_perror("mmap");
	slabs_count(objects);
	fflush(stdout);
	for (i = 0; i < workers; i++)
		switch (fork()) {
		case -1:
			ksft_exit_fail_perror("fork");
			break;
		case 0:
			alarm(SECONDS);
			if (fault)
				sweep_anywhere(family, fault, tallies);
			else
				sweep_calls(family, i, tallies + i);
			_exit(0);
		}
	for (i = 0; i < workers; i++)
		ended &= wait(&status) > 0 && !status;
	if (fault)
		connp_fault_set(fault->dir, "probability", "0");

	for (i = 0; i < workers; i++) {
		all.failed += tallies[i].failed;
		all.fins += tallies[i].fins;
		all.lost += tallies[i].lost;
		if (tallies[i].last > all.last)
			all.last = tallies[i].last;
		ended &= tallies[i].complete && !*tallies[i].wrong;
		if (*tallies[i].wrong)
			ksft_print_msg("%s\n", tallies[i].wrong);
		for (j = 0; j < STEPS; j++)
			all.seen[j] += tallies[i].seen[j];
	}
	ksft_print_msg("%s, %s: %u allocations failed, one a life; no %u-th was left; %.1f s\n",
		       what, connp_family_names[family], all.failed, all.last,
		       (connp_ms() - start) / 1e3);
	for (j = 0; j < STEPS; j++) {
		seen += all.seen[j];
		if (all.seen[j])
			ksft_print_msg("  %u seen by %s\n", all.seen[j],
				       steps[j].name);
	}
	ksft_print_msg("  %u packets lost, %u FINs not sent\n", all.lost,
		       all.fins);
	/*
	 * System calls are told of some; the rest mostly shows as losses, but
	 * for pages, which the kernel often can do without.
	 */
	if (all.failed < least || (fault ? fault->shows && !all.lost : !seen)) {
		ksft_print_msg("too little failed\n");
		ended = false;
	}
	ksft_test_result(ended, "%s, %s: the connection lives on\n", what,
			 connp_family_names[family]);

	clean = connp_wait_no_sockets(WAIT_MS);
	clean &= slabs_are_back(objects);
	clean &= connp_wait_conns(0);
	if (connp_groups_fd >= 0)
		clean &= connp_wait_drained();
	ksft_test_result(clean, "%s, %s: nothing is left\n", what,
			 connp_family_names[family]);
	munmap(tallies, WORKERS * sizeof(*tallies));
}

static struct connp_sysctl skb_defer_max = {
	.name = "/proc/sys/net/core/skb_defer_max",
};

static void restore(void)
{
	connp_faults_off();
	connp_sysctl_restore(&skb_defer_max);
}

int main(void)
{
	struct fault objects = {
		.dir = "failslab", .allocate = allocate_objects,
		.shows = true,
	};
	struct fault pages = {
		.dir = "fail_page_alloc", .allocate = allocate_page,
	};
	const char *lacks = access("/proc/self/fail-nth", W_OK) ?
			    "/proc/self/fail-nth" : connp_faults_lack();
	enum connp_family family;

	if (lacks)
		ksft_exit_skip("needs %s\n", lacks);
	connp_sysctl_open(&skb_defer_max);
	connp_guard(restore);
	/*
	 * Buffers of packets go back to the CPU that they are from, and are free
	 * when it receives something the next time. They would count as left.
	 */
	if (!connp_sysctl_write(&skb_defer_max, "0"))
		ksft_exit_fail_perror(skb_defer_max.name);
	/* Each child has its alarm(). */
	connp_start(12, 0);
	connp_count_others();
	stride = connp_full() ? 1 : 7;
	connp_fill(0, 0, data, sizeof(data));
	data_file = memfd_create("failnth-data", MFD_CLOEXEC);
	if (data_file < 0 ||
	    write(data_file, data, sizeof(data)) != sizeof(data))
		ksft_exit_fail_perror("memfd");

	connp_faults_prepare();
	for (family = CONNP_V4; family <= CONNP_V6; family++) {
		report_sweep("system calls", family, NULL, 35 / stride);
		report_sweep("anywhere, objects", family, &objects,
			     70 / stride);
		report_sweep("anywhere, pages", family, &pages, 1);
	}
	ksft_finished();
}
