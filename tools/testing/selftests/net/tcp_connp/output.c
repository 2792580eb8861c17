// SPDX-License-Identifier: GPL-2.0
/*
 * When data, FINs and window updates go out. Groups put output off until a
 * system call enters its group; applications must not notice. One connection,
 * used by one thread, so all that happens is what the test brings about.
 */
#include <linux/sockios.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/sendfile.h>

#include "connp.h"

/* What comes without a timer comes within these many ticks. */
#define PROMPT	2
/* A corked segment goes out by itself after this, tcp_output.c. */
#define CORK_MS	200
#define NEVER	100

static struct connp_pair pair;
static double began;

static void begin(void)
{
	connp_connect(CONNP_V4, &pair);
	began = connp_ms();
}

static void end(void)
{
	connp_disconnect(&pair);
}

static size_t readable(int fd)
{
	int n;

	if (ioctl(fd, FIONREAD, &n))
		ksft_exit_fail_perror("FIONREAD");
	return n;
}

/* The ticks until @len bytes can be read, NEVER if that takes too long. */
static unsigned int ticks_until(int fd, size_t len)
{
	unsigned int ticks = 0;

	while (readable(fd) < len && ticks < NEVER) {
		connp_visit_cpus();
		ticks++;
	}
	return ticks;
}

/* The ticks until poll() reports @event. */
static unsigned int ticks_until_event(int fd, short event)
{
	struct pollfd pollfd = { .fd = fd, .events = event };
	unsigned int ticks = 0;

	while (!poll(&pollfd, 1, 0) && ticks < NEVER) {
		connp_visit_cpus();
		ticks++;
	}
	return ticks;
}

/*
 * A connection sends a partial segment with @send, which is to wait for more; it
 * stays open. Where it took so long that it may have gone out by itself, another
 * connection tells.
 */
static void test_held(const char *name, void (*send)(void))
{
	unsigned int tries, i;
	bool held, late;

	for (tries = 0; tries < 10; tries++) {
		begin();
		send();
		held = true;
		for (i = 0; i < PROMPT; i++) {
			connp_visit_cpus();
			held &= !readable(pair.server);
		}
		late = connp_ms() - began >= CORK_MS / 2;
		if (held || !late)
			break;
		end();
	}
	if (tries == 10) {
		ksft_test_result_skip("%s: this machine is too slow to tell\n",
				      name);
		begin();
		send();
	} else {
		ksft_test_result(held, "%s: a partial segment is held\n", name);
	}
}

static void test_nodelay(void)
{
	unsigned int i, j, ticks, most = 0;

	/* Which holds small segments while others wait for their ACK. */
	connp_write_file("/proc/sys/net/ipv4/tcp_autocorking", "0");
	for (i = 0; i < 8; i++) {
		begin();
		connp_set(pair.client, IPPROTO_TCP, TCP_NODELAY, 1);
		/* As many as the initial congestion window allows. */
		for (j = 1; j <= 9; j++) {
			connp_send(pair.client, "abc", 3);
			ticks = ticks_until(pair.server, 3 * j);
			if (ticks > most)
				most = ticks;
		}
		end();
	}
	ksft_print_msg("most ticks until a write arrived: %u\n", most);
	ksft_test_result(most <= PROMPT,
			 "TCP_NODELAY: small writes arrive at once\n");
}

static void send_corked(void)
{
	connp_set(pair.client, IPPROTO_TCP, TCP_CORK, 1);
	connp_send(pair.client, "abc", 3);
}

static void test_cork(void)
{
	test_held("TCP_CORK", send_corked);
	connp_set(pair.client, IPPROTO_TCP, TCP_CORK, 0);
	ksft_test_result(ticks_until(pair.server, 3) <= PROMPT,
			 "TCP_CORK: and goes out when uncorked\n");
	connp_set(pair.client, IPPROTO_TCP, TCP_CORK, 1);
	connp_send(pair.client, "def", 3);
	ksft_test_result(ticks_until(pair.server, 6) < NEVER,
			 "TCP_CORK: or after a while\n");
	end();
}

/* To take a cork off and put it back is a way to say that all shall go now. */
static void test_recork(void)
{
	unsigned int i, ticks, most = 0;

	for (i = 0; i < 20; i++) {
		begin();
		send_corked();
		connp_set(pair.client, IPPROTO_TCP, TCP_CORK, 0);
		connp_set(pair.client, IPPROTO_TCP, TCP_CORK, 1);
		ticks = ticks_until(pair.server, 3);
		if (ticks > most)
			most = ticks;
		end();
	}
	ksft_test_result(most <= PROMPT,
			 "TCP_CORK: what it held goes out, though it is back\n");
}

static void send_with_more(void)
{
	if (send(pair.client, "abc", 3, MSG_MORE) != 3)
		ksft_exit_fail_perror("send");
}

static void test_more(void)
{
	test_held("MSG_MORE", send_with_more);
	connp_send(pair.client, "def", 3);
	ksft_test_result(ticks_until(pair.server, 6) <= PROMPT,
			 "MSG_MORE: and goes out with the next write\n");
	end();
}

static void test_oob(void)
{
	char urgent = 0, text[4] = "";
	int mark = 0;

	begin();
	connp_send(pair.client, "ab", 2);
	if (send(pair.client, "!", 1, MSG_OOB) != 1)
		ksft_exit_fail_perror("send(MSG_OOB)");
	ksft_test_result(ticks_until_event(pair.server, POLLPRI) <= PROMPT,
			 "MSG_OOB: arrives at once\n");
	if (recv(pair.server, &urgent, 1, MSG_OOB) != 1)
		ksft_print_msg("recv(MSG_OOB): %s\n", strerror(errno));
	connp_send(pair.client, "c", 1);
	connp_recv(pair.server, text, 2);
	ioctl(pair.server, SIOCATMARK, &mark);
	connp_recv(pair.server, text + 2, 1);
	ksft_test_result(urgent == '!' && mark && !strcmp(text, "abc"),
			 "MSG_OOB: is out of band, and marks its place\n");
	end();
}

static void test_shutdown(bool corked)
{
	char text[8];
	ssize_t n;

	begin();
	connp_set(pair.client, IPPROTO_TCP, TCP_CORK, corked);
	connp_send(pair.client, "abc", 3);
	shutdown(pair.client, SHUT_WR);
	n = ticks_until_event(pair.server, POLLRDHUP) <= PROMPT ?
		recv(pair.server, text, sizeof(text), 0) : -1;
	ksft_test_result(n == 3 && !recv(pair.server, text, sizeof(text), 0),
			 "shutdown(): data and FIN go out at once%s\n",
			 corked ? ", even if corked" : "");
	end();
}

static void *write_much(void *argument)
{
	size_t *len = argument;
	char *data = malloc(*len);

	connp_fill(1, 0, data, *len);
	connp_send(pair.client, data, *len);
	free(data);
	return NULL;
}

static void test_long_write(void)
{
	size_t pos, n, len = 8 << 20;
	struct connp_watch watch;
	long lost = connp_lost();
	pthread_t writer;
	bool right = true;
	char buf[65536];

	begin();
	connp_watch_start(&watch, 1, CONNP_STALL_TICKS_BUSY);
	writer = connp_thread(write_much, &len);
	for (pos = 0; pos < len; pos += n) {
		n = len - pos < sizeof(buf) ? len - pos : sizeof(buf);
		connp_recv(pair.server, buf, n);
		right &= connp_check(1, pos, buf, n);
		watch.step[0] = pos + 1;
	}
	watch.step[0] = UINT_MAX;
	pthread_join(writer, NULL);
	connp_watch_report(&watch, "a write of 8 MB");
	ksft_test_result(right, "a write of 8 MB: arrives unchanged\n");
	connp_expect_no_loss(lost, "a write of 8 MB");
	end();
}

static void *read_slowly(void *argument)
{
	size_t *total = argument;
	char buf[65536];
	ssize_t n;

	connp_visit_cpus();
	while ((n = recv(pair.server, buf, sizeof(buf), 0)) > 0)
		*total += n;
	return NULL;
}

static void test_linger(void)
{
	struct linger linger = { .l_onoff = 1, .l_linger = 30 };
	size_t len = 300000, total = 0;
	pthread_t reader;
	char *data = calloc(1, len), byte;

	begin();
	reader = connp_thread(read_slowly, &total);
	if (setsockopt(pair.client, SOL_SOCKET, SO_LINGER, &linger,
		       sizeof(linger)))
		ksft_exit_fail_perror("SO_LINGER");
	connp_send(pair.client, data, len);
	close(pair.client);
	pthread_join(reader, NULL);
	close(pair.server);
	ksft_test_result(total == len, "SO_LINGER: close() delivers all\n");

	begin();
	linger.l_linger = 0;
	if (setsockopt(pair.client, SOL_SOCKET, SO_LINGER, &linger,
		       sizeof(linger)))
		ksft_exit_fail_perror("SO_LINGER");
	close(pair.client);
	ticks_until_event(pair.server, POLLIN);
	ksft_test_result(recv(pair.server, &byte, 1, 0) < 0 &&
			 errno == ECONNRESET,
			 "SO_LINGER of 0: close() resets\n");
	close(pair.server);
	free(data);

	begin();
	connp_send(pair.client, "abc", 3);
	ticks_until(pair.server, 3);
	close(pair.server);
	ticks_until_event(pair.client, POLLIN);
	ksft_test_result(recv(pair.client, &byte, 1, 0) < 0 &&
			 errno == ECONNRESET,
			 "close() with unread data resets\n");
	close(pair.client);
}

static void test_sendfile(void)
{
	size_t len = 200000, pos;
	bool right = true;
	char *data = malloc(len);
	off_t offset = 0;
	char header[5];
	ssize_t n;
	int file;

	connp_fill(2, 0, data, len);
	file = memfd_create("sendfile", MFD_CLOEXEC);
	if (file < 0 || write(file, data, len) != (ssize_t)len)
		ksft_exit_fail_perror("memfd");
	begin();
	connp_set(pair.client, SOL_SOCKET, SO_SNDBUF, 1 << 20);
	connp_set(pair.client, IPPROTO_TCP, TCP_CORK, 1);
	connp_send(pair.client, "head:", 5);
	while (offset < (off_t)len) {
		n = sendfile(pair.client, file, &offset, len - offset);
		if (n <= 0)
			ksft_exit_fail_perror("sendfile");
	}
	connp_set(pair.client, IPPROTO_TCP, TCP_CORK, 0);
	connp_recv(pair.server, header, 5);
	connp_recv(pair.server, data, len);
	right &= !memcmp(header, "head:", 5);
	for (pos = 0; pos < len; pos += 1000)
		right &= connp_check(2, pos, data + pos, 1000);
	ksft_test_result(right, "sendfile() behind a cork arrives unchanged\n");
	close(file);
	free(data);
	end();
}

/* Some has arrived, all that was sent is acknowledged, and yet there is more. */
static bool window_is_closed(void)
{
	int arrived, unacknowledged, unsent;

	if (ioctl(pair.server, FIONREAD, &arrived) ||
	    ioctl(pair.client, SIOCOUTQ, &unacknowledged) ||
	    ioctl(pair.client, SIOCOUTQNSD, &unsent))
		ksft_exit_fail_perror("FIONREAD, SIOCOUTQ, SIOCOUTQNSD");
	return arrived && unsent && unacknowledged == unsent;
}

/* A reader that empties a full buffer tells so, nobody has to ask. */
static void test_window(void)
{
	unsigned int ticks, most = 0, wait, i;
	size_t sent, got;
	char buf[32768] = "";
	long adverts;
	ssize_t n;

	begin();
	connp_set(pair.server, SOL_SOCKET, SO_RCVBUF, 65536);
	connp_set(pair.client, SOL_SOCKET, SO_SNDBUF, 262144);
	adverts = connp_tcpext("TCPFromZeroWindowAdv");
	for (i = 0; i < 20; i++) {
		for (sent = 0; ; sent += n) {
			n = send(pair.client, buf, sizeof(buf), MSG_DONTWAIT);
			if (n < 0)
				break;
		}
		/* Sending is not done when send() is. */
		for (wait = 0; wait < 100 && !window_is_closed(); wait++)
			usleep(10000);
		for (got = 0; got < sent; got += n) {
			ticks = ticks_until_event(pair.server, POLLIN);
			if (ticks > most)
				most = ticks;
			n = recv(pair.server, buf, sizeof(buf), MSG_DONTWAIT);
			if (n <= 0)
				ksft_exit_fail_msg("the window stays closed\n");
		}
	}
	adverts = connp_tcpext("TCPFromZeroWindowAdv") - adverts;
	ksft_print_msg("most ticks until more came: %u, windows opened: %ld\n",
		       most, adverts);
	ksft_test_result(adverts > 0, "the window was closed, and opened\n");
	ksft_test_result(most <= PROMPT, "an opened window is announced\n");
	end();
}

int main(void)
{
	connp_start(20, 120);
	test_nodelay();
	test_cork();
	test_recork();
	test_more();
	test_oob();
	test_shutdown(false);
	test_shutdown(true);
	test_long_write();
	test_linger();
	test_sendfile();
	test_window();
	ksft_finished();
}
