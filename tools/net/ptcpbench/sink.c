// SPDX-License-Identifier: GPL-2.0
/*
 * The receiving end: reads, optionally checks, discards.
 *
 * Where the payload ends is known only when the stream does, so the last
 * bytes received are always kept back: they may be the trailer. A read goes
 * behind room for them, and payload is checked in one piece.
 */
#include <endian.h>
#include <errno.h>
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "check.h"
#include "fail.h"
#include "message.h"
#include "worker.h"

#define READ_SIZE (256 * 1024)
#define TAIL_SIZE sizeof(struct stream_trailer)

/* Numbers of the connections whose headers have come. */
static atomic_bool id_seen[MAX_CONNS];

static void sink_init(struct worker *worker)
{
	worker->buffer = malloc(TAIL_SIZE + READ_SIZE);
	if (!worker->buffer)
		run_fail(worker->run, "no memory for a buffer of %d bytes",
			 READ_SIZE);
}

static void sink_exit(struct worker *worker)
{
	free(worker->buffer);
}

static bool begin_stream(struct conn *conn)
{
	const struct stream_header *header = &conn->msg.header;
	struct run *run = conn->worker->run;
	uint64_t start = le64toh(header->start);
	uint64_t size = le64toh(header->file_size);
	unsigned int id = le32toh(header->id);

	if (le64toh(header->magic) != HEADER_MAGIC || id >= run->opt->conns ||
	    !size || size > STREAM_FILE_MAX || size % STREAM_PAGE ||
	    le32toh(header->thread) >= MAX_THREADS ||
	    start != pattern_start(id, size)) {
		conn_fail(conn, "begins with a wrong header: magic %016llx, connection %u of %u, file of %llu bytes from %llu; corrupted, or not from this version of ptcpbench serve",
			  (unsigned long long)le64toh(header->magic), id,
			  run->opt->conns, (unsigned long long)size,
			  (unsigned long long)start);
		return false;
	}
	/* serve's number from now on, so that both ends name it the same */
	conn->id = id;
	if (atomic_exchange(&id_seen[id], true)) {
		conn_fail(conn, "begins with the header of a connection that has one already: streams are mixed up");
		return false;
	}
	conn->state = CONN_DATA;
	conn->pos = start;
	if (!run->opt->verify)
		return true;
	conn->expect = pattern_get(le64toh(header->seed), size,
				   le32toh(header->thread));
	if (!conn->expect) {
		conn_fail(conn, "cannot be checked: no memory for a copy of the file, %llu bytes",
			  (unsigned long long)size);
		return false;
	}
	return true;
}

/* Counts, and with --verify checks, these bytes of payload. */
static bool take_payload(struct conn *conn, const unsigned char *data, size_t len)
{
	atomic_fetch_add_explicit(&conn->worker->moved, len,
				  memory_order_relaxed);
	if (conn->expect && !check_bytes(conn, data, len, "payload", conn->moved))
		return false;
	conn->moved += len;
	return true;
}

/* There is room for the tail in front of data. */
static bool take_bytes(struct conn *conn, unsigned char *data, size_t len)
{
	size_t keep;

	data -= conn->tail_len;
	len += conn->tail_len;
	memcpy(data, conn->tail, conn->tail_len);

	keep = len < TAIL_SIZE ? len : TAIL_SIZE;
	conn->tail_len = keep;
	memcpy(conn->tail, data + len - keep, keep);
	return take_payload(conn, data, len - keep);
}

/* Returns how many of the bytes were the header's. */
static size_t take_header(struct conn *conn, const unsigned char *data, size_t len)
{
	size_t missing = sizeof(conn->msg.header) - conn->part;

	if (len > missing)
		len = missing;
	memcpy((char *)&conn->msg.header + conn->part, data, len);
	conn->part += len;
	return len;
}

/* The stream is over: was it whole? */
static bool end_stream(struct conn *conn)
{
	struct stream_trailer trailer;

	if (conn->state == CONN_HEADER) {
		conn_fail(conn, "ended before its stream began; see serve's message");
		return false;
	}
	memcpy(&trailer, conn->tail, sizeof(trailer));
	if (conn->tail_len < TAIL_SIZE ||
	    le64toh(trailer.magic) != TRAILER_MAGIC) {
		conn_fail(conn, "is short: it ended without its trailer after %llu bytes of payload",
			  (unsigned long long)conn->moved + conn->tail_len);
		return false;
	}
	if (le64toh(trailer.total) != conn->moved) {
		conn_fail(conn, "is %s: %llu bytes of payload were sent, %llu arrived",
			  le64toh(trailer.total) > conn->moved ? "short" : "too long",
			  (unsigned long long)le64toh(trailer.total),
			  (unsigned long long)conn->moved);
		return false;
	}
	if (!verdict_send(conn, conn->moved))
		return false;
	conn_done(conn);
	return true;
}

static bool receive(struct conn *conn)
{
	unsigned char *data = conn->worker->buffer + TAIL_SIZE;
	size_t used = 0;
	ssize_t len;

	len = recv(conn->fd, data, READ_SIZE, 0);
	if (len < 0) {
		if (try_again())
			return true;
		conn_fail(conn, "was lost after %llu bytes of payload arrived: %s",
			  (unsigned long long)conn->moved + conn->tail_len,
			  strerror(errno));
		return false;
	}
	if (!len)
		return end_stream(conn);
	if (conn->state == CONN_HEADER) {
		used = take_header(conn, data, len);
		if (conn->part < sizeof(conn->msg.header))
			return true;
		if (!begin_stream(conn))
			return false;
	}
	return take_bytes(conn, data + used, len - used);
}

static void sink_io(int fd, short what, void *arg)
{
	struct conn *conn = arg;

	(void)fd;
	(void)what;
	if (!receive(conn))
		event_base_loopbreak(conn->worker->base);
}

static uint64_t sink_progress(const struct conn *conn)
{
	return conn->part + conn->moved + conn->tail_len;
}

const struct role_ops sink_ops = {
	.worker_init = sink_init,
	.worker_exit = sink_exit,
	.events = EV_READ,
	.io = sink_io,
	.progress = sink_progress,
};
