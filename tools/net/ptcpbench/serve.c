// SPDX-License-Identifier: GPL-2.0
/*
 * The sending end. Each thread has one file and sends it round and round on
 * all its connections: one sendfile() a call from the event loop, as much as
 * the socket takes or the file still has, so that no connection holds up the
 * others of its thread.
 */
#include <endian.h>
#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <linux/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <unistd.h>

#include "fail.h"
#include "message.h"
#include "window.h"
#include "worker.h"

static int open_file(const char *dir)
{
	char *path;
	int fd;

	if (!dir)
		return memfd_create("ptcpbench", MFD_CLOEXEC);
	if (asprintf(&path, "%s/ptcpbench.XXXXXX", dir) < 0)
		return -1;
	fd = mkostemp(path, O_CLOEXEC);
	if (fd >= 0)
		unlink(path);
	free(path);
	return fd;
}

static bool write_all(int fd, const unsigned char *data, uint64_t size)
{
	ssize_t len;

	for (uint64_t at = 0; at < size; at += len) {
		len = pwrite(fd, data + at, size - at, at);
		if (len <= 0)
			return false;
	}
	return true;
}

static void serve_init(struct worker *worker)
{
	const struct options *opt = worker->run->opt;

	worker->seed = pattern_seed(worker->run->seed, worker->index);
	worker->data = malloc(opt->file_size);
	if (!worker->data) {
		run_fail(worker->run, "no memory for a file of %llu bytes",
			 (unsigned long long)opt->file_size);
		return;
	}
	pattern_fill(worker->data, opt->file_size, worker->seed);
	if (opt->use_write)
		return;
	worker->file = open_file(opt->dir);
	if (worker->file < 0 ||
	    !write_all(worker->file, worker->data, opt->file_size))
		run_fail(worker->run, "cannot make a file of %llu bytes in %s: %s; --dir chooses another place",
			 (unsigned long long)opt->file_size,
			 opt->dir ?: "memory (memfd)", strerror(errno));
}

static void serve_exit(struct worker *worker)
{
	if (worker->file >= 0)
		close(worker->file);
	free(worker->data);
}

static void send_header(struct conn *conn)
{
	struct worker *worker = conn->worker;
	const struct options *opt = worker->run->opt;
	const int on = 1;

	if (!conn->part) {
		if (setsockopt(conn->fd, IPPROTO_TCP, TCP_CORK, &on, sizeof(on))) {
			conn_lost(conn);
			return;
		}
		conn->pos = pattern_start(conn->id, opt->file_size);
		conn->msg.header = (struct stream_header){
			.magic = htole64(HEADER_MAGIC),
			.seed = htole64(worker->seed),
			.start = htole64(conn->pos),
			.file_size = htole64(opt->file_size),
			.id = htole32(conn->id),
			.thread = htole32(worker->index),
		};
	}
	if (message_send(conn, sizeof(conn->msg.header))) {
		conn->overhead += sizeof(conn->msg.header);
		conn->state = CONN_DATA;
	}
}

/* The first part of -b is warm-up; whoever completes it says so. */
static void count_warmup(struct run *run, uint64_t len)
{
	uint64_t before;

	if (atomic_load_explicit(&run->warm, memory_order_relaxed))
		return;
	before = atomic_fetch_add(&run->warming, len);
	if (before < run->warm_at && before + len >= run->warm_at) {
		atomic_store(&run->warm, true);
		eventfd_write(run->notify, 1);
	}
}

static void end_data(struct conn *conn)
{
	conn->msg.trailer = (struct stream_trailer){
		.magic = htole64(TRAILER_MAGIC),
		.total = htole64(conn->moved),
	};
	conn->state = CONN_TRAILER;
}

static void send_data(struct conn *conn)
{
	struct worker *worker = conn->worker;
	struct run *run = worker->run;
	uint64_t size = run->opt->file_size;
	uint64_t want = size - conn->pos;
	off_t offset = conn->pos;
	ssize_t len;

	if (want > conn->target - conn->moved)
		want = conn->target - conn->moved;
	if (run->opt->use_write)
		len = write(conn->fd, worker->data + conn->pos, want);
	else
		len = sendfile(conn->fd, worker->file, &offset, want);
	if (len < 0) {
		if (!try_again())
			conn_lost(conn);
		return;
	}
	if (!len) {
		conn_fail(conn, "cannot go on: the file ends at %llu, before its size of %llu",
			  (unsigned long long)conn->pos, (unsigned long long)size);
		event_base_loopbreak(worker->base);
		return;
	}
	conn->moved += len;
	conn->pos += len;
	if (conn->pos == size)
		conn->pos = 0;
	atomic_fetch_add_explicit(&worker->moved, len, memory_order_relaxed);
	count_warmup(run, len);
	if (conn->moved == conn->target)
		end_data(conn);
}

static void send_trailer(struct conn *conn)
{
	if (!message_send(conn, sizeof(conn->msg.trailer)))
		return;
	/* also pushes what TCP_CORK held back */
	if (shutdown(conn->fd, SHUT_WR)) {
		conn_lost(conn);
		return;
	}
	conn->state = CONN_VERDICT;
	conn_events(conn, EV_READ);
}

static void read_verdict(struct conn *conn)
{
	uint64_t sent = conn->overhead + conn->moved, acked;

	if (!verdict_receive(conn, conn->moved))
		return;
	acked = tcp_acked(conn->fd) - conn->acked_base;
	if (acked >= sent) {
		conn_done(conn);
		return;
	}
	conn_fail(conn, "has all of its %llu bytes at the sink, but TCP_INFO counts %llu acknowledged",
		  (unsigned long long)sent, (unsigned long long)acked);
	event_base_loopbreak(conn->worker->base);
}

static void serve_io(int fd, short what, void *arg)
{
	struct conn *conn = arg;

	(void)fd;
	(void)what;
	if (conn->state == CONN_DATA && atomic_load(&conn->worker->run->stop))
		end_data(conn);
	switch (conn->state) {
	case CONN_HEADER:
		send_header(conn);
		break;
	case CONN_DATA:
		send_data(conn);
		break;
	case CONN_TRAILER:
		send_trailer(conn);
		break;
	case CONN_VERDICT:
		read_verdict(conn);
		break;
	default:
		break;
	}
}

/* Once all is in the socket, only the other end's acknowledgements move. */
static uint64_t serve_progress(const struct conn *conn)
{
	return conn->state == CONN_VERDICT ? tcp_acked(conn->fd) : conn->moved;
}

const struct role_ops serve_ops = {
	.worker_init = serve_init,
	.worker_exit = serve_exit,
	.events = EV_WRITE,
	.io = serve_io,
	.progress = serve_progress,
};
