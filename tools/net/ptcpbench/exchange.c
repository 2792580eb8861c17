// SPDX-License-Identifier: GPL-2.0
/*
 * One message at a time on a connection, a request or a response, of a size
 * that both ends know. One that comes is never longer than that, for the end
 * that sends it waits for an answer then; a longer one is a failure.
 */
#include <event2/event.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "check.h"
#include "exchange.h"
#include "fail.h"
#include "message.h"
#include "worker.h"

#define BUFFER_SIZE (256 * 1024)

void exchange_init(struct worker *worker)
{
	struct run *run = worker->run;

	worker->buffer = malloc(BUFFER_SIZE);
	worker->pattern = pattern_get(run->seed, EXCHANGE_FILE_SIZE, 0);
	if (!worker->buffer || !worker->pattern)
		run_fail(run, "no memory for a buffer and a file of %d bytes",
			 EXCHANGE_FILE_SIZE);
	for (struct conn *conn = worker->first; conn; conn = conn->next)
		exchange_begin(conn, CONN_REQUEST);
}

void exchange_exit(struct worker *worker)
{
	free(worker->buffer);
}

static bool is_request(const struct conn *conn)
{
	return conn->state == CONN_REQUEST;
}

static uint64_t message_size(const struct conn *conn)
{
	const struct options *opt = conn->worker->run->opt;

	return is_request(conn) ? opt->request : opt->response;
}

static const char *message_name(const struct conn *conn)
{
	return is_request(conn) ? "request" : "response";
}

void exchange_begin(struct conn *conn, enum conn_state state)
{
	unsigned int id = tag_number(conn->tag);

	conn->state = state;
	conn->part = 0;
	if (!is_request(conn))
		id += TAG_NUMBERS;
	conn->pos = pattern_start(id, EXCHANGE_FILE_SIZE);
}

enum progress exchange_send(struct conn *conn)
{
	const struct pattern *file = conn->worker->pattern;
	uint64_t size = message_size(conn);

	while (conn->part < size) {
		uint64_t want = size - conn->part;
		struct iovec iov[2];
		struct msghdr message = { .msg_iov = iov };
		ssize_t len;

		if (want > file->size - conn->pos)
			want = file->size - conn->pos;
		iov[0].iov_base = (void *)(file->data + conn->pos);
		iov[0].iov_len = want;
		message.msg_iovlen = 1;
		/* the tag is in place of the first byte */
		if (is_request(conn) && !conn->part) {
			iov[1].iov_base = (void *)(file->data + conn->pos + 1);
			iov[1].iov_len = want - 1;
			iov[0].iov_base = &conn->tag;
			iov[0].iov_len = 1;
			message.msg_iovlen = 2;
		}
		len = sendmsg(conn->fd, &message, MSG_NOSIGNAL);
		if (len < 0 && try_again()) {
			conn_events(conn, EV_WRITE);
			return PROGRESS_PART;
		}
		if (len < 0) {
			conn_lost(conn);
			return PROGRESS_FAILED;
		}
		conn->part += len;
		conn->pos = (conn->pos + len) % file->size;
	}
	return PROGRESS_WHOLE;
}

/* Nothing is known of a request before its tag is there. */
static void take_tag(struct conn *conn, unsigned char tag)
{
	conn->tag = tag;
	exchange_begin(conn, CONN_REQUEST);
	conn->part = 1;
	conn->pos++;
}

enum progress exchange_receive(struct conn *conn)
{
	struct worker *worker = conn->worker;
	unsigned char *data = worker->buffer;
	uint64_t size = message_size(conn);
	ssize_t len;

	len = recv(conn->fd, data, BUFFER_SIZE, 0);
	if (len < 0 && try_again())
		return PROGRESS_PART;
	if (len < 0) {
		conn_lost(conn);
		return PROGRESS_FAILED;
	}
	if (!len)
		return PROGRESS_END;
	if ((uint64_t)len > size - conn->part) {
		conn_fail(conn, "brought more than the %llu bytes of its %s, after %llu requests: give both ends the same --request and --response",
			  (unsigned long long)size, message_name(conn),
			  (unsigned long long)conn->moved);
		goto failed;
	}
	if (is_request(conn) && !conn->part) {
		take_tag(conn, *data++);
		len--;
	}
	conn->expect = worker->pattern;
	if (worker->run->opt->verify &&
	    !check_bytes(conn, data, len, message_name(conn), conn->part))
		goto failed;
	conn->part += len;
	return conn->part == size ? PROGRESS_WHOLE : PROGRESS_PART;
failed:
	event_base_loopbreak(worker->base);
	return PROGRESS_FAILED;
}

void exchange_count(struct conn *conn)
{
	conn->moved++;
	if (tag_kind(conn->tag) == TAG_MEASURED)
		conn->measured++;
	atomic_fetch_add_explicit(&conn->worker->moved, 1,
				  memory_order_relaxed);
}

void exchange_close(struct conn *conn)
{
	/* or the descriptor's next user would be taken for this one */
	if (conn->event)
		event_free(conn->event);
	conn->event = NULL;
	close(conn->fd);
	conn->fd = -1;
}

/* A message is less than 2^31 bytes: STREAM_FILE_MAX. */
uint64_t exchange_progress(const struct conn *conn)
{
	return ((conn->moved * NR_CONN_STATES + conn->state) << 31) + conn->part;
}

