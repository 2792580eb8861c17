// SPDX-License-Identifier: GPL-2.0
/* Messages in parts, as the socket takes and gives them. */
#include <endian.h>
#include <errno.h>
#include <event2/event.h>
#include <string.h>
#include <sys/socket.h>

#include "fail.h"
#include "message.h"

bool try_again(void)
{
	return errno == EAGAIN || errno == EINTR;
}

void conn_lost(struct conn *conn)
{
	struct worker *worker = conn->worker;

	conn_fail(conn, "was lost after %llu %s: %s",
		  (unsigned long long)conn->moved,
		  unit_name(worker->run->opt->mode), strerror(errno));
	event_base_loopbreak(worker->base);
}

bool message_send(struct conn *conn, size_t size)
{
	ssize_t len;

	len = send(conn->fd, (char *)&conn->msg + conn->part,
		   size - conn->part, MSG_NOSIGNAL);
	if (len < 0) {
		if (!try_again())
			conn_lost(conn);
		return false;
	}
	conn->part += len;
	if (conn->part < size)
		return false;
	conn->part = 0;
	return true;
}

bool verdict_send(struct conn *conn, uint64_t total)
{
	const struct verdict verdict = {
		.magic = htole64(VERDICT_MAGIC),
		.total = htole64(total),
	};

	/* the other end waits for nothing else: there is room for it */
	if (send(conn->fd, &verdict, sizeof(verdict), MSG_NOSIGNAL) ==
	    sizeof(verdict))
		return true;
	conn_fail(conn, "was lost at its end: %s", strerror(errno));
	return false;
}

bool verdict_receive(struct conn *conn, uint64_t total)
{
	const struct options *opt = conn->worker->run->opt;
	struct verdict *verdict = &conn->msg.verdict;
	ssize_t len;

	len = recv(conn->fd, (char *)verdict + conn->part,
		   sizeof(*verdict) - conn->part, 0);
	if (len < 0) {
		if (!try_again())
			conn_lost(conn);
		return false;
	}
	conn->part += len;
	if (len && conn->part < sizeof(*verdict))
		return false;

	if (!len)
		conn_fail(conn, "was closed by the other end without its word that %llu %s arrived; see its message",
			  (unsigned long long)total, unit_name(opt->mode));
	else if (le64toh(verdict->magic) != VERDICT_MAGIC ||
		 le64toh(verdict->total) != total)
		conn_fail(conn, "brought a wrong answer in the end: %llu %s sent, %llu said to have arrived",
			  (unsigned long long)total, unit_name(opt->mode),
			  (unsigned long long)le64toh(verdict->total));
	else
		return true;
	event_base_loopbreak(conn->worker->base);
	return false;
}
