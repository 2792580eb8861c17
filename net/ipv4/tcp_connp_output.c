// SPDX-License-Identifier: GPL-2.0
/*
 * Output of connection groups: what a process, or a run of packets, wants to
 * send is sent once, at the end and inside the group.  Readers and writers are
 * woken once, too.
 *
 * Two contexts put output off.  A process that owns the socket does because a
 * system call shall enter its group once: tcp_push() and the window updates of
 * tcp_cleanup_rbuf() only note that they are wanted, and release_sock() does
 * it in its group section.  A drain does while it works off the packets of a
 * socket (tcp_connp_run()), so that many ACKs cause one burst.  Both end in
 * tcp_release_cb(), the place where stock does deferred work.
 *
 * What is noted is state of the socket, written only by its owner or under its
 * slock while nobody owns it, so it needs no atomics.
 */
#include <linux/sizes.h>
#include <net/tcp.h>
#include <net/tcp_connp.h>
#include "tcp_connp_priv.h"

static bool tcp_connp_defers(const struct sock *sk)
{
	return READ_ONCE(sk->sk_connp) && !sk->sk_connp_flushing &&
	       (sk->sk_connp_rollup || sock_owned_by_user_nocheck(sk));
}

/**
 * tcp_connp_rolls_up - is output put off until these packets are processed?
 * @sk: the connection
 *
 * Context: @sk owned, or its slock held.
 * Return: true during a drain; then an ACK may wait for tcp_release_cb(), as
 *	   it does in stock while the owner works off the backlog.
 */
bool tcp_connp_rolls_up(const struct sock *sk)
{
	return sk->sk_connp_rollup;
}

static void tcp_connp_want_push(struct sock *sk, enum tcp_connp_push push)
{
	if (sk->sk_connp_push < push)
		sk->sk_connp_push = push;
}

/**
 * tcp_connp_defer_push - put off sending what is in the write queue
 * @sk: the connection
 * @nonagle: as for __tcp_push_pending_frames()
 *
 * Context: @sk owned, or its slock held.
 * Return: false if the caller has to send now.
 */
bool tcp_connp_defer_push(struct sock *sk, int nonagle)
{
	if (!tcp_connp_defers(sk))
		return false;
	if (nonagle & TCP_NAGLE_PUSH)
		tcp_connp_want_push(sk, TCP_CONNP_PUSH_FORCE);
	else if (nonagle & TCP_NAGLE_CORK)
		tcp_connp_want_push(sk, TCP_CONNP_PUSH_MORE);
	else
		tcp_connp_want_push(sk, TCP_CONNP_PUSH_NORMAL);
	return true;
}
EXPORT_SYMBOL_GPL(tcp_connp_defer_push);

/**
 * tcp_connp_defer_full - put off sending in the middle of a long write
 * @sk: the connection
 * @left: how much more the process has to write, in bytes
 *
 * A write of the size of a sendfile() chunk is one section.  Of a longer one,
 * what is there is sent now, in a section of its own, so that the network is
 * not idle while the rest is copied.  Only full segments are asked for: what
 * becomes of the last one is for the push at the end of the write to say.
 *
 * Context: process, @sk owned, its slock not held.
 * Return: false if the caller has to send now.
 */
bool tcp_connp_defer_full(struct sock *sk, size_t left)
{
	struct squeue *sq;

	if (!tcp_connp_defer_push(sk, TCP_NAGLE_CORK))
		return false;
	if (left <= SZ_64K)
		return true;
	sq = tcp_connp_enter(sk);
	if (sq) {
		tcp_connp_release_cb(sk);
		tcp_connp_leave(sq);
	}
	return true;
}

/**
 * tcp_connp_defer_ack - put off the window update of a reader
 * @sk: the connection
 *
 * Context: @sk owned, or its slock held.
 * Return: false if the caller has to send it now.
 */
bool tcp_connp_defer_ack(struct sock *sk)
{
	if (!tcp_connp_defers(sk))
		return false;
	sk->sk_connp_ack = 1;
	return true;
}

/**
 * tcp_connp_release_cb - send what was put off
 * @sk: any TCP socket
 *
 * Context: @sk owned or its slock held; inside its group, if it has one.
 */
void tcp_connp_release_cb(struct sock *sk)
{
	enum tcp_connp_push push = sk->sk_connp_push;
	bool ack = sk->sk_connp_ack;
	/* Whoever did not ask for a cork is not held by one that came since. */
	int nonagle = tcp_sk(sk)->nonagle & ~TCP_NAGLE_CORK;

	if (likely(!push && !ack))
		return;
	sk->sk_connp_push = TCP_CONNP_PUSH_NONE;
	sk->sk_connp_ack = 0;
	sk->sk_connp_flushing = 1;

	if (push == TCP_CONNP_PUSH_FORCE)
		nonagle = TCP_NAGLE_PUSH;
	else if (push == TCP_CONNP_PUSH_MORE)
		nonagle = TCP_NAGLE_CORK;
	if (push && tcp_send_head(sk))
		__tcp_push_pending_frames(sk, tcp_current_mss(sk), nonagle);
	/*
	 * The push, or a packet since, may have sent the ACK; then only the
	 * window is looked at again.
	 */
	if (ack && inet_csk_ack_scheduled(sk))
		tcp_send_ack(sk);
	else if (ack)
		__tcp_cleanup_rbuf(sk, 1);

	sk->sk_connp_flushing = 0;
}

/**
 * tcp_connp_defer_ready - put off waking the reader
 * @sk: the connection
 *
 * Context: @sk owned, or its slock held.
 * Return: true during a drain, which calls tcp_data_ready() at its end.
 */
bool tcp_connp_defer_ready(struct sock *sk)
{
	if (!sk->sk_connp_rollup)
		return false;
	sk->sk_connp_ready = 1;
	return true;
}

/**
 * tcp_connp_defer_space - put off waking the writer
 * @sk: the connection
 *
 * Context: @sk owned, or its slock held.
 * Return: true during a drain, which calls tcp_check_space() at its end.
 */
bool tcp_connp_defer_space(struct sock *sk)
{
	if (!sk->sk_connp_rollup)
		return false;
	sk->sk_connp_space = 1;
	return true;
}

/**
 * tcp_connp_wake - wake whom a drain did not wake while it went on
 * @sk: the connection
 *
 * Context: inside the group, slock held, nobody owns @sk.
 */
void tcp_connp_wake(struct sock *sk)
{
	if (sk->sk_connp_ready) {
		sk->sk_connp_ready = 0;
		tcp_data_ready(sk);
	}
	if (sk->sk_connp_space) {
		sk->sk_connp_space = 0;
		tcp_check_space(sk);
	}
}
