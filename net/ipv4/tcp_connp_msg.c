// SPDX-License-Identifier: GPL-2.0
/*
 * Messages of connection groups: protocol work that is not a packet, queued
 * on the group with the packets and done in one order with them.
 *
 * Timers that fire, TSQ and pacing post a message that is part of the socket
 * and go on.  The drain then calls the very function that posted it, which
 * finds itself inside the group and does as stock does.  A kind of message is
 * queued at most once per connection, so their number is bounded, and none
 * needs memory.  This is DragonFly's cure for the cost of handing work over:
 * "lightweight messages", section 3.2.1 of Willmann, Rixner and Cox.
 *
 * A call is a message that somebody waits for: connect, disconnect, shutdown,
 * close and abort, whose result depends on what the group did before.
 */
#include <linux/completion.h>
#include <linux/filter.h>
#include <linux/sizes.h>
#include <net/inet_connection_sock.h>
#include <net/tcp.h>
#include <net/tcp_connp.h>
#include "tcp_connp_priv.h"

/* True inside the group: with BH disabled, as everywhere inside. */
static bool tcp_connp_inside(const struct tcp_connp_group *g)
{
	return this_cpu_read(squeue_current) == &g->sq;
}

static void tcp_connp_queue_msg(struct sock *sk, struct squeue *sq,
				enum tcp_connp_kind kind)
{
	struct tcp_connp_msg *msg = &tcp_sk(sk)->connp_msg[kind];

	msg->kind = kind;
	squeue_post(sq, &msg->node);
}

/**
 * tcp_connp_post - let the group run the handler of a timer
 * @sk: the connection
 * @kind: which timer
 *
 * Called by the handler itself, which returns if this returns true, and is
 * called again by the drain.
 *
 * Context: softirq, with a reference on @sk, which is passed on; no slock.
 * Return: false if @sk has no group, or this CPU is inside it.
 */
bool tcp_connp_post(struct sock *sk, enum tcp_connp_kind kind)
{
	struct tcp_connp_group *g = READ_ONCE(sk->sk_connp);

	if (!g || tcp_connp_inside(g))
		return false;
	if (test_and_set_bit(kind, &sk->sk_connp_posted)) {
		sock_put(sk);
		return true;
	}
	tcp_connp_queue_msg(sk, &g->sq, kind);
	squeue_poke(&g->sq);
	return true;
}

/**
 * tcp_connp_queue_output - ask for what was put off, without poking
 * @sk: the connection
 * @sq: the queue of its group
 *
 * Context: @sk can't go away meanwhile.
 * Return: true if the caller has to poke the group.
 */
bool tcp_connp_queue_output(struct sock *sk, struct squeue *sq)
{
	if (test_and_set_bit(TCP_CONNP_OUTPUT, &sk->sk_connp_posted))
		return false;
	sock_hold(sk);
	tcp_connp_queue_msg(sk, sq, TCP_CONNP_OUTPUT);
	return true;
}

/**
 * tcp_connp_post_tsq - let the group send what TSQ or pacing held back
 * @sk: the connection
 *
 * It is done by tcp_release_cb(), as if a process had owned @sk.
 *
 * Context: softirq, no slock held; @sk may be without references.
 * Return: false if @sk has no group; then the caller does it.
 */
bool tcp_connp_post_tsq(struct sock *sk)
{
	struct tcp_connp_group *g = READ_ONCE(sk->sk_connp);

	if (!g || !refcount_inc_not_zero(&sk->sk_refcnt))
		return false;
	if (!test_and_set_bit(TCP_TSQ_DEFERRED, &sk->sk_tsq_flags))
		sock_hold(sk);
	if (tcp_connp_queue_output(sk, &g->sq))
		squeue_poke(&g->sq);
	sock_put(sk);
	return true;
}

/**
 * tcp_connp_msg_sock - take a message of a connection off it
 * @msg: the message
 *
 * From here on it may be queued again.
 *
 * Context: inside the group, once per message.
 * Return: the connection, with the message's reference.
 */
struct sock *tcp_connp_msg_sock(struct tcp_connp_msg *msg)
{
	unsigned long kind = msg->kind;
	struct tcp_sock *tp = container_of(msg - kind, struct tcp_sock,
					   connp_msg[0]);
	struct sock *sk = (struct sock *)tp;

	clear_bit(kind, &sk->sk_connp_posted);
	/* Before the state of @sk is read: pairs with test_and_set_bit(). */
	smp_mb__after_atomic();
	return sk;
}

/*
 * Has the retransmission timer fired while a part of the backlog is not worked off?
 * There may be an ACK in it, so the handler is for the end of that, as if a process
 * owned @sk.
 */
static bool tcp_connp_retransmits_later(struct sock *sk)
{
	bool later;

	bh_lock_sock(sk);
	later = !sock_owned_by_user(sk) && sk->sk_backlog.head;
	if (later && !test_and_set_bit(TCP_WRITE_TIMER_DEFERRED,
				       &sk->sk_tsq_flags))
		sock_hold(sk);
	bh_unlock_sock(sk);
	return later;
}

/**
 * tcp_connp_run_timer - run the handler of a timer that has fired
 * @sk: the connection, with a reference that the handler drops
 * @kind: which timer
 *
 * If what was queued before has started the timer again, it has not expired:
 * keepalive's would take what is meant for later for the end of FIN_WAIT2.
 *
 * Context: inside the group, no slock held.
 */
void tcp_connp_run_timer(struct sock *sk, enum tcp_connp_kind kind)
{
	struct inet_connection_sock *icsk = inet_csk(sk);
	struct timer_list *t;

	if (kind == TCP_CONNP_COMPRESSED) {
		struct hrtimer *hr = &tcp_sk(sk)->compressed_ack_timer;

		hr->function(hr);
		return;
	}
	if (kind == TCP_CONNP_DELACK)
		t = &icsk->icsk_delack_timer;
	else if (kind == TCP_CONNP_RETRANS)
		t = &icsk->icsk_retransmit_timer;
	else
		t = &icsk->icsk_keepalive_timer;

	if (timer_pending(t) ||
	    (kind == TCP_CONNP_RETRANS && tcp_connp_retransmits_later(sk)))
		sock_put(sk);
	else
		t->function(t);
}

/*
 * What was queued before a call is on the backlog, because the caller is the
 * owner, and comes first.
 */
static void tcp_connp_catch_up(struct sock *sk)
{
	/*
	 * __release_sock() undoes the _bh meanwhile.  Who is inside the group
	 * has BH disabled at any rate, by which tcp_connp_call() knows it.
	 */
	spin_lock_bh(&sk->sk_lock.slock);
	__release_sock(sk);
	tcp_release_cb(sk);
	spin_unlock_bh(&sk->sk_lock.slock);
}

static int tcp_connp_connect_fn(struct sock *sk, int arg)
{
	return tcp_connect(sk);
}

/**
 * tcp_connp_catches_up - shall a call find what came before it processed?
 * @call: the call
 *
 * What is here before the SYN is sent waits for that, as in stock.
 *
 * Context: any.
 * Return: true if so.
 */
bool tcp_connp_catches_up(const struct tcp_connp_call *call)
{
	return call->sk && call->fn != tcp_connp_connect_fn;
}

/**
 * tcp_connp_execute - do the work of a call
 * @call: the call
 *
 * Nothing in here may sleep, so memory must come at once.
 *
 * Context: inside the group, as the owner of @call->sk or in its place.
 */
void tcp_connp_execute(struct tcp_connp_call *call)
{
	struct sock *sk = call->sk;
	gfp_t gfp;

	if (!sk)
		return;
	gfp = sk->sk_allocation;
	sk->sk_allocation = GFP_ATOMIC;
	if (tcp_connp_catches_up(call) && tcp_connp_owner_has_work(sk))
		tcp_connp_catch_up(sk);
	call->ret = call->fn(sk, call->arg);
	sk->sk_allocation = gfp;
	tcp_connp_release_cb(sk);
}

/**
 * tcp_connp_flush_group - wait until all that is queued now is done
 * @g: the group
 *
 * Context: process, where tcp_connp_do_call() may be called.
 */
void tcp_connp_flush_group(struct tcp_connp_group *g)
{
	struct tcp_connp_call call = { .sk = NULL };

	tcp_connp_do_call(g, &call);
}

/* Not inside a group, in softirq, or in a BPF program. */
static bool tcp_connp_may_wait(void)
{
	return !in_softirq() && !has_current_bpf_ctx();
}

/*
 * The group that the owner may call, if it may wait.  A connection that many wait
 * for leaves its group instead.
 */
static struct tcp_connp_group *tcp_connp_may_call(struct sock *sk)
{
	struct tcp_connp_group *g = READ_ONCE(sk->sk_connp);

	if (!g || !tcp_connp_may_wait())
		return NULL;
	if (tcp_connp_wakes_many(sk)) {
		tcp_connp_forget(sk);
		return NULL;
	}
	return g;
}

/**
 * tcp_connp_call - work on a connection inside its group, and wait for it
 * @sk: the connection, owned by the caller
 * @fn: the work; it must not sleep, and may call tcp_connp_call() again
 * @arg: for @fn
 * @ret: where to put what @fn returns, or NULL
 *
 * Waits without regard to signals, as for any lock: what was begun is
 * finished.
 *
 * Context: any; does nothing where it couldn't wait.
 * Return: false if the caller has to call @fn itself: @sk has no group any more,
 *	   or this is inside a group, softirq or a BPF program.
 */
bool tcp_connp_call(struct sock *sk, int (*fn)(struct sock *sk, int arg),
		    int arg, int *ret)
{
	struct tcp_connp_group *g = tcp_connp_may_call(sk);
	struct tcp_connp_call call = {
		.sk	= sk,
		.fn	= fn,
		.arg	= arg,
	};

	if (!g)
		return false;
	atomic_long_inc(&g->calls);
	tcp_connp_do_call(g, &call);
	if (ret)
		*ret = call.ret;
	return true;
}

/* What came before a connection left its group is not for the socket's next life. */
static void tcp_connp_flush_left(struct sock *sk)
{
	if (unlikely(atomic_read(&sk->sk_connp_queued) ||
		     READ_ONCE(sk->sk_connp_posted)) && tcp_connp_may_wait())
		tcp_connp_flush_all();
}

/**
 * tcp_connp_abandon - a connection is none any more, or has never been one
 * @sk: the socket, closed, owned by the caller
 *
 * The caller may go on and listen with the socket, or connect it to somebody
 * else.  Packets that are queued are for the connection that has just ended, or
 * failed: they find the socket closed now, and are dropped; as are those on its
 * backlog, when the owner lets go, which it does by itself without a group.
 *
 * Context: process.
 */
void tcp_connp_abandon(struct sock *sk)
{
	struct tcp_connp_group *g = READ_ONCE(sk->sk_connp);

	if (!g) {
		tcp_connp_flush_left(sk);
		return;
	}
	tcp_connp_flush_group(g);
	tcp_connp_forget(sk);
}
EXPORT_SYMBOL_GPL(tcp_connp_abandon);

/**
 * tcp_connp_abort - abort a connection inside its group
 * @sk: the connection, owned by the caller
 * @fn: what aborts it
 * @err: for @fn
 *
 * Nobody waits for the group as the owner of a connection that no process has: the
 * listener whom it waits for to be accepted may be closed, which does not expect
 * an owner, nor waits for one.
 *
 * Context: process, or a BPF program.
 * Return: false if the caller has to do it itself.
 */
bool tcp_connp_abort(struct sock *sk, int (*fn)(struct sock *sk, int err),
		     int err)
{
	return sk->sk_socket && tcp_connp_call(sk, fn, err, NULL);
}

/*
 * What nobody will read may be much, and no other connection has to wait for it.
 * So a caller whose connection ends throws away by itself what came out of order,
 * and then the receive queue, with what was on the backlog.
 */
static void tcp_connp_throw_away(struct sock *sk)
{
	struct tcp_sock *tp = tcp_sk(sk);

	sk_flush_backlog(sk);
	tcp_fastopen_active_disable_ofo_check(sk);
	skb_rbtree_purge(&tp->out_of_order_queue);
	tp->rx_opt.num_sacks = 0;
}

/**
 * tcp_connp_disconnect - tcp_disconnect() inside the group
 * @sk: the connection, owned by the caller
 * @flags: as for tcp_disconnect()
 * @ret: what tcp_disconnect() returned
 *
 * Context: process.
 * Return: false if the caller has to go on itself.
 */
bool tcp_connp_disconnect(struct sock *sk, int flags, int *ret)
{
	struct tcp_sock *tp = tcp_sk(sk);

	if (!tcp_connp_may_call(sk))
		goto left;
	tcp_connp_throw_away(sk);
	__skb_queue_purge(&sk->sk_receive_queue);
	WRITE_ONCE(tp->copied_seq, tp->rcv_nxt);
	if (!tcp_connp_call(sk, tcp_disconnect, flags, ret))
		goto left;
	tcp_connp_abandon(sk);
	return true;

left:
	tcp_connp_flush_left(sk);
	return false;
}

/**
 * tcp_connp_connect - tcp_connect() inside the group
 * @sk: the connection, owned by the caller
 * @ret: what tcp_connect() returned
 *
 * Data that goes with the SYN is in user memory, which may have to be faulted
 * in; keys of TCP-AO that are not the peer's are removed after a grace period
 * that tcp_ao_connect_init() waits for; and out of memory is no answer where
 * stock waits for some.
 *
 * Context: process.
 * Return: false if the caller has to go on itself.
 */
bool tcp_connp_connect(struct sock *sk, int *ret)
{
	return !tcp_sk(sk)->fastopen_req && !tcp_connp_has_ao(sk) &&
	       tcp_connp_call(sk, tcp_connp_connect_fn, 0, ret) &&
	       *ret != -ENOBUFS;
}

static int tcp_connp_shutdown_fn(struct sock *sk, int how)
{
	tcp_shutdown(sk, how);
	return 0;
}

/**
 * tcp_connp_shutdown - tcp_shutdown() inside the group
 * @sk: the connection, owned by the caller
 * @how: as for tcp_shutdown()
 *
 * Context: process.
 * Return: false if the caller has to go on itself.
 */
bool tcp_connp_shutdown(struct sock *sk, int how)
{
	return tcp_connp_call(sk, tcp_connp_shutdown_fn, how, NULL);
}

/* What a close() may throw away while others wait; a buffer of usual size. */
#define TCP_CONNP_UNREAD_MAX	SZ_256K

static bool tcp_connp_much_unread(const struct sock *sk)
{
	return (unsigned int)atomic_read(&sk->sk_rmem_alloc) +
	       READ_ONCE(sk->sk_backlog.len) > TCP_CONNP_UNREAD_MAX;
}

/* Returns 1 if so much has come before the call that it does nothing. */
static int tcp_connp_close_whole_fn(struct sock *sk, int arg)
{
	if (tcp_connp_much_unread(sk))
		return 1;
	__tcp_close(sk, 0);
	return 0;
}

/**
 * tcp_connp_close_whole - __tcp_close() inside the group
 * @sk: the connection, owned by the caller
 * @timeout: how long to linger
 *
 * Context: process.
 * Return: false if the caller has to go on itself, because it may have to wait
 *	   for the peer, or has much to throw away that was not read; then it
 *	   comes to tcp_connp_close() after that.
 */
bool tcp_connp_close_whole(struct sock *sk, long timeout)
{
	int much;

	if (!tcp_connp_may_call(sk))
		return false;
	if (!timeout && !tcp_connp_much_unread(sk)) {
		if (!tcp_connp_call(sk, tcp_connp_close_whole_fn, 0, &much))
			return false;
		if (!much)
			return true;
	}
	/* The caller throws away the receive queue. */
	tcp_connp_throw_away(sk);
	return false;
}

static int tcp_connp_close_fn(struct sock *sk, int state)
{
	__tcp_close(sk, ~(long)state);
	return 0;
}

/**
 * tcp_connp_close - finish __tcp_close() inside the group
 * @sk: an orphan by now, owned by the caller
 * @state: the state it had before
 *
 * It has lingered, and does not sleep any more.  The call enters __tcp_close()
 * again, which finds by tcp_connp_close_resumes() that it shall go on here.
 *
 * Context: process.
 * Return: false if the caller has to go on itself.
 */
bool tcp_connp_close(struct sock *sk, int state)
{
	return tcp_connp_call(sk, tcp_connp_close_fn, state, NULL);
}

/**
 * tcp_connp_close_resumes - is this tcp_connp_close() again?
 * @timeout: as __tcp_close() got it: how long to linger is never negative
 * @state: where to put what tcp_connp_close() was given
 *
 * Context: any.
 * Return: true if so.
 */
bool tcp_connp_close_resumes(long timeout, int *state)
{
	if (timeout >= 0)
		return false;
	*state = ~timeout;
	return true;
}

/**
 * tcp_connp_ended - did what was queued before a call end the connection?
 * @sk: the connection, which was not closed when the call was made
 *
 * Context: @sk owned by the caller.
 * Return: true if this is a call and it did; then it must not be ended once more.
 */
bool tcp_connp_ended(const struct sock *sk)
{
	/* A listener is closed by now as well, but is never in a call. */
	return this_cpu_read(squeue_current) && sk->sk_state == TCP_CLOSE;
}
