// SPDX-License-Identifier: GPL-2.0
/*
 * Input of connection groups: a packet is queued on its connection's group,
 * and whoever drains the group hands it over.
 *
 * tcp_v4_rcv() and tcp_v6_rcv() do all that stock does outside of the socket
 * lock: lookup, policy, MD5 and AO, filters.  Where stock takes the slock,
 * tcp_connp_rcv() queues the packet instead, with its reference on the socket.
 * That neither waits nor processes.
 *
 * A CPU that polls a NIC drains once per poll, not once per packet: packets
 * arrive in a batch between tcp_connp_batch_begin() and _end(), the groups
 * they went to are noted, and each is poked at tcp_connp_batch_flush().
 *
 * A drain goes over its packets twice.  First each is put on the backlog of
 * its socket, where tcp_add_backlog() merges what may be merged, as it does
 * for a socket that is owned by a process.  Then each socket is run once, and
 * what it wants to send is sent at the end of that, not once per ACK; so are
 * its reader and its writer woken.
 *
 * Messages (tcp_connp_msg.c) are in the same queue.  What comes after packets
 * of its own connection finds them processed: the socket is run first, or for
 * a call its backlog.
 */
#include <linux/bitmap.h>
#include <linux/percpu.h>
#include <linux/skbuff.h>
#include <net/dst.h>
#include <net/inet_connection_sock.h>
#include <net/tcp.h>
#include <net/tcp_connp.h>
#include "tcp_connp_priv.h"
#include <trace/events/tcp_connp.h>

/**
 * struct tcp_connp_batch - what one CPU queued since it last poked
 * @active: packets arrive in a batch; somebody will call _flush()
 * @any: a bit of @touched is set
 * @touched: groups that were queued on
 */
struct tcp_connp_batch {
	bool active;
	bool any;
	DECLARE_BITMAP(touched, TCP_CONNP_MAX_GROUPS);
};

static DEFINE_PER_CPU(struct tcp_connp_batch, tcp_connp_batch);

/* Sockets that a drain keeps waiting while it collects their packets. */
#define TCP_CONNP_RUN_MAX	64

/**
 * struct tcp_connp_run - the sockets that a drain runs
 * @sk: those that have to be run, each with a reference
 * @brought: packets that each of them has got from this drain
 * @n: so many
 * @total: all that were listed
 *
 * The place of a socket in it, counted from 1, is @sk_connp_listed.
 */
struct tcp_connp_run {
	struct sock *sk[TCP_CONNP_RUN_MAX];
	u16 brought[TCP_CONNP_RUN_MAX];
	unsigned int n;
	unsigned int total;
};

/**
 * tcp_connp_batch_begin - packets that follow on this CPU come in a batch
 *
 * Context: BH disabled, until after tcp_connp_batch_end().
 */
void tcp_connp_batch_begin(void)
{
	__this_cpu_write(tcp_connp_batch.active, true);
}

/**
 * tcp_connp_batch_flush - drain the groups that this CPU queued on
 *
 * One that is busy is left to the CPU that is inside, if its queue is short.
 *
 * Context: BH disabled, in a batch, no socket lock and no group held.
 */
void tcp_connp_batch_flush(void)
{
	struct tcp_connp_batch *b = this_cpu_ptr(&tcp_connp_batch);
	unsigned int i;

	if (!b->any)
		return;
	b->any = false;
	for_each_set_bit(i, b->touched, tcp_connp_nr_groups) {
		__clear_bit(i, b->touched);
		squeue_poke(&tcp_connp_groups[i].sq);
	}
}

/**
 * tcp_connp_batch_end - the batch on this CPU is over
 *
 * Context: as tcp_connp_batch_flush().
 */
void tcp_connp_batch_end(void)
{
	tcp_connp_batch_flush();
	__this_cpu_write(tcp_connp_batch.active, false);
}

/*
 * The route is needed only until the socket has cached one, and then as a
 * counted reference, because the packet outlives the RCU section.
 */
static void tcp_connp_keep_dst(const struct sock *sk, struct sk_buff *skb)
{
	if (rcu_access_pointer(sk->sk_rx_dst) || !skb_dst_force(skb))
		skb_dst_drop(skb);
}

/*
 * A long queue, and what one connection may have on it in any case: the ACKs of
 * a window are no crowd.
 */
unsigned int tcp_connp_share_len __read_mostly = 256;
#define TCP_CONNP_SHARE_MIN	128UL

/*
 * Who sends more than its group can do would have the queue filled, and then
 * the packets of others refused as often as its own.  So on a long queue nobody
 * has more than about twice its share; nor all of it, if there is another one.
 */
static bool tcp_connp_crowds(const struct sock *sk,
			     const struct tcp_connp_group *g)
{
	unsigned long len = squeue_len(&g->sq), share;

	if (likely(len <= READ_ONCE(tcp_connp_share_len) &&
		   atomic_long_read(&g->sq.bytes) <=
		   READ_ONCE(tcp_connp_limits.max_bytes) / 2))
		return false;
	share = 2 * len / (max(atomic_read(&g->conns), 1) + 1);
	return atomic_read(&sk->sk_connp_queued) >
	       max(share, TCP_CONNP_SHARE_MIN);
}

static bool tcp_connp_enqueue(struct sock *sk, struct sk_buff *skb,
			      struct tcp_connp_group *g)
{
	if (unlikely(tcp_connp_crowds(sk, g))) {
		squeue_refuse(&g->sq);
		return false;
	}
	/* Before anybody can take it off. */
	atomic_inc(&sk->sk_connp_queued);
	if (likely(squeue_enqueue(&g->sq, &skb->ll_node, skb->truesize)))
		return true;
	atomic_dec(&sk->sk_connp_queued);
	return false;
}

/**
 * tcp_connp_drop - drop a packet that was queued, or cannot be
 * @sk: its socket
 * @skb: the packet, which nobody else has
 * @reason: why
 *
 * Context: any; @sk can't go away meanwhile.
 */
void tcp_connp_drop(struct sock *sk, struct sk_buff *skb,
		    enum skb_drop_reason reason)
{
	sk_drops_add(sk, skb);
	sk_skb_reason_drop(sk, skb, reason);
}

/**
 * tcp_connp_rcv - queue a packet on the group of its connection
 * @sk: the connection, as found by the lookup
 * @skb: the packet, ready for tcp_v4_do_rcv() or tcp_v6_do_rcv()
 * @refcounted: the caller has a reference on @sk and passes it on
 *
 * Context: BH disabled, RCU read lock, no socket lock held.
 * Return: false if @sk has no group: the caller does as stock does.  Otherwise
 *	   @skb and the reference are taken care of.
 */
bool tcp_connp_rcv(struct sock *sk, struct sk_buff *skb, bool refcounted)
{
	struct tcp_connp_group *g = READ_ONCE(sk->sk_connp);
	struct tcp_connp_batch *b;

	if (!g)
		return false;
	if (!refcounted && unlikely(!refcount_inc_not_zero(&sk->sk_refcnt)))
		return false;

	tcp_connp_keep_dst(sk, skb);
	skb->sk = sk;
	/* In the place of struct tcp_connp_msg's @kind. */
	BUILD_BUG_ON(offsetof(struct sk_buff, ll_node) !=
		     offsetof(struct tcp_connp_msg, node));
	BUILD_BUG_ON(offsetof(struct sk_buff, prev) !=
		     offsetof(struct tcp_connp_msg, kind));
	skb->prev = (void *)TCP_CONNP_PACKET;
	if (unlikely(!tcp_connp_enqueue(sk, skb, g))) {
		trace_tcp_connp_drop(g - tcp_connp_groups, squeue_len(&g->sq));
		skb->sk = NULL;
		tcp_connp_drop(sk, skb, SKB_DROP_REASON_TCP_CONNP_QUEUE);
		sock_put(sk);
		return true;
	}

	b = this_cpu_ptr(&tcp_connp_batch);
	if (likely(b->active)) {
		__set_bit(g - tcp_connp_groups, b->touched);
		b->any = true;
	} else {
		squeue_poke(&g->sq);
	}
	return true;
}
EXPORT_SYMBOL_GPL(tcp_connp_rcv);

/**
 * tcp_connp_input_pending - may packets of a connection still be on their way?
 * @sk: the connection
 *
 * Whoever is about to replace a socket by a TIME_WAIT asks, because a FIN that
 * is still queued would be lost with it and cost the peer a retransmission
 * timeout.
 *
 * Context: @sk owned, or its slock held.
 * Return: true if there is a packet for @sk.
 */
bool tcp_connp_input_pending(const struct sock *sk)
{
	/* It is on the backlog before it is taken off this count. */
	return atomic_read_acquire(&sk->sk_connp_queued) ||
	       READ_ONCE(sk->sk_backlog.tail);
}

/**
 * tcp_connp_leaves_backlog - may a reader leave without what is on the backlog?
 * @sk: the socket, of which the reader has got as much as it asked for at least
 *
 * In stock it may not, and the backlog grows for no longer than it takes to look
 * whether there is one.  Here it grows while the reader waits for the group, so
 * whoever sends all the time, and nothing that can be read, would keep the reader
 * for ever.  What is there is worked off when the reader lets go of @sk.
 *
 * Context: process, @sk owned.
 * Return: true if so.
 */
bool tcp_connp_leaves_backlog(const struct sock *sk)
{
	return READ_ONCE(sk->sk_connp);
}

/*
 * A backlog may be much longer than a queue, where its owner was held up, and
 * others of the group wait.  So no more packets of it than that are processed
 * at a time, beside those that the drain itself has brought.
 */
#define TCP_CONNP_PART	32

/**
 * tcp_connp_work_off - process packets of a backlog
 * @sk: the connection
 * @brought: how many of them this drain has brought
 *
 * What the drain has brought is done whatever others have; of what was there
 * before, a part, which is small if this drain has done many such packets
 * already.
 *
 * The packets stay on the backlog until it is their turn, so that
 * tcp_connp_input_pending() sees them.  If some are left, they count in whole
 * against the backlog's limit until all are done: their memory is not known any
 * more where some were merged.
 *
 * Context: inside the group, slock held.
 */
void tcp_connp_work_off(struct sock *sk, unsigned int brought)
{
	struct squeue *sq = this_cpu_read(squeue_current);
	unsigned int max = brought +
			   (sq->extra < READ_ONCE(tcp_connp_limits.budget) ?
			    TCP_CONNP_PART : 1);
	struct sk_buff *skb;
	unsigned int n;

	for (n = 0; n < max && (skb = sk->sk_backlog.head); n++) {
		sk->sk_backlog.head = skb->next;
		if (!skb->next)
			sk->sk_backlog.tail = NULL;
		skb_mark_not_on_list(skb);
		sk_backlog_rcv(sk, skb);
	}
	if (!sk->sk_backlog.head)
		sk->sk_backlog.len = 0;
	if (unlikely(n > brought))
		sq->extra += n - brought;
}

/*
 * Work off the backlog of a socket that nobody owns, and then do what it put
 * off.  If there is too much of it the rest is work of a message's, and so are
 * timers that have fired: a retransmission may be in vain by then.  Whom many wait
 * for is here once, and out of the group after that.
 */
static void tcp_connp_run(struct sock *sk, unsigned int brought)
{
	if (sk->sk_connp && tcp_connp_wakes_many(sk))
		tcp_connp_forget(sk);
	sk->sk_connp_missed = 0;
	sk->sk_connp_rollup = 1;
	tcp_connp_work_off(sk, brought);
	sk->sk_connp_rollup = 0;
	if (likely(!sk->sk_backlog.head)) {
		tcp_release_cb(sk);
	} else {
		tcp_connp_release_cb(sk);
		tcp_connp_queue_output(sk, this_cpu_read(squeue_current));
	}
	tcp_connp_wake(sk);
}

/* What a socket has got from this drain, as far as it was not run for that. */
static unsigned int tcp_connp_brought(struct tcp_connp_run *run,
				      const struct sock *sk)
{
	u16 n = 0;

	if (sk->sk_connp_listed)
		swap(n, run->brought[sk->sk_connp_listed - 1]);
	return n;
}

/* A process that comes in between does it on its way out. */
static void tcp_connp_run_now(struct tcp_connp_run *run, struct sock *sk)
{
	unsigned int brought;

	bh_lock_sock_nested(sk);
	brought = tcp_connp_brought(run, sk);
	WRITE_ONCE(sk->sk_connp_listed, 0);
	if (!sock_owned_by_user(sk))
		tcp_connp_run(sk, brought);
	bh_unlock_sock(sk);
}

/* Run the sockets that are listed; drops their references. */
static void tcp_connp_run_all(struct tcp_connp_run *run)
{
	unsigned int i;

	for (i = 0; i < run->n; i++) {
		tcp_connp_run_now(run, run->sk[i]);
		sock_put(run->sk[i]);
	}
	run->n = 0;
}

/* A socket has to be run; true if it is listed for that by now. */
static bool tcp_connp_list(struct tcp_connp_run *run, struct sock *sk)
{
	if (sock_owned_by_user(sk) || sk->sk_connp_listed)
		return false;
	BUILD_BUG_ON(TCP_CONNP_RUN_MAX > U8_MAX);
	WRITE_ONCE(sk->sk_connp_listed, run->n + 1);
	return true;
}

/* Is a backlog about to be refused more?  sk_rcvqueues_full() has more room. */
static bool tcp_connp_tight(const struct sock *sk)
{
	return (u64)READ_ONCE(sk->sk_backlog.len) +
	       atomic_read(&sk->sk_rmem_alloc) >
	       2 * (u64)READ_ONCE(sk->sk_rcvbuf);
}

/*
 * Give one packet to its socket's backlog.  Return true if the socket has to
 * be run for it, and wasn't before: then the packet's reference is kept.
 */
static bool tcp_connp_deliver(struct tcp_connp_run *run, struct sock *sk,
			      struct sk_buff *skb)
{
	enum skb_drop_reason reason;
	bool owned, first;

	bh_lock_sock_nested(sk);
	/*
	 * Its connection has ended while it was queued.  A listener, which the
	 * socket may be by now, expects packets with a route.
	 */
	if (unlikely((1 << inet_sk_state_load(sk)) &
		     (TCPF_CLOSE | TCPF_LISTEN))) {
		atomic_dec(&sk->sk_connp_queued);
		bh_unlock_sock(sk);
		tcp_connp_drop(sk, skb, SKB_DROP_REASON_TCP_CLOSE);
		return false;
	}
	owned = sock_owned_by_user(sk);
	/* Never drop for want of backlog what stock would have processed. */
	if (!owned && unlikely(tcp_connp_tight(sk)))
		tcp_connp_run(sk, tcp_connp_brought(run, sk));

	tcp_segs_in(tcp_sk(sk), skb);
	/*
	 * A backlog has no use for a packet's route and security path, but who
	 * labels the other end of a connection that begins wants to see them.
	 * Nor is there room on it where the process has made its buffer smaller
	 * than what is in it: TCP itself knows what it can do without.
	 */
	if (!owned && !sk->sk_backlog.head &&
	    unlikely(sk->sk_state == TCP_SYN_SENT || tcp_connp_tight(sk))) {
		atomic_dec(&sk->sk_connp_queued);
		sk_backlog_rcv(sk, skb);
		bh_unlock_sock(sk);
		return false;
	}
	if (!owned && skb_dst(skb) && !rcu_access_pointer(sk->sk_rx_dst) &&
	    sk->sk_state == TCP_ESTABLISHED)
		inet_csk(sk)->icsk_af_ops->sk_rx_dst_set(sk, skb);

	if (unlikely(tcp_add_backlog(sk, skb, &reason))) {
		/* It has released the slock. */
		__release(&sk->sk_lock.slock);
		atomic_dec(&sk->sk_connp_queued);
		tcp_connp_drop(sk, skb, reason);
		return false;
	}
	/* Pairs with tcp_connp_input_pending(). */
	atomic_fetch_dec_release(&sk->sk_connp_queued);
	first = tcp_connp_list(run, sk);
	if (!owned)
		run->brought[sk->sk_connp_listed - 1]++;
	bh_unlock_sock(sk);
	return first;
}

/* The same for a message that asks for no more than that. */
static bool tcp_connp_deliver_output(struct tcp_connp_run *run, struct sock *sk)
{
	bool first;

	bh_lock_sock_nested(sk);
	if (sock_owned_by_user(sk) && sk->sk_connp_missed < U8_MAX)
		sk->sk_connp_missed++;
	first = tcp_connp_list(run, sk);
	bh_unlock_sock(sk);
	return first;
}

static void tcp_connp_run_later(struct tcp_connp_run *run, struct sock *sk)
{
	run->total++;
	run->sk[run->n++] = sk;
	if (run->n == TCP_CONNP_RUN_MAX)
		tcp_connp_run_all(run);
}

/**
 * tcp_connp_process - the drain: hand packets over, run each socket once
 * @sq: the queue of a group
 * @batch: packets and messages in the order of their arrival
 *
 * This is struct squeue_policy's @process.
 *
 * Context: inside @sq, BH disabled.
 * Return: the charge of the packets, as tcp_connp_rcv() gave it.
 */
unsigned long tcp_connp_process(struct squeue *sq, struct llist_node *batch)
{
	struct tcp_connp_group *g = container_of(sq, struct tcp_connp_group, sq);
	struct tcp_connp_run run;
	struct tcp_connp_msg *msg, *next;
	unsigned long bytes = 0;
	unsigned int nodes = 0;

	memset(run.brought, 0, sizeof(run.brought));
	run.n = 0;
	run.total = 0;
	llist_for_each_entry_safe(msg, next, batch, node) {
		unsigned long kind = msg->kind;
		struct tcp_connp_call *call;
		struct sk_buff *skb;
		struct sock *sk;

		nodes++;
		switch (kind) {
		case TCP_CONNP_PACKET:
			skb = llist_entry(&msg->node, struct sk_buff, ll_node);
			sk = skb->sk;
			trace_tcp_connp_message(g - tcp_connp_groups,
						TCP_CONNP_PACKET, sk);
			bytes += skb->truesize;
			skb->sk = NULL;
			skb_mark_not_on_list(skb);
			if (tcp_connp_deliver(&run, sk, skb))
				tcp_connp_run_later(&run, sk);
			else
				sock_put(sk);
			break;
		case TCP_CONNP_OUTPUT:
			sk = tcp_connp_msg_sock(msg);
			trace_tcp_connp_message(g - tcp_connp_groups,
						TCP_CONNP_OUTPUT, sk);
			if (tcp_connp_deliver_output(&run, sk))
				tcp_connp_run_later(&run, sk);
			else
				sock_put(sk);
			break;
		case TCP_CONNP_CALL:
			call = container_of(msg, struct tcp_connp_call, msg);
			trace_tcp_connp_message(g - tcp_connp_groups,
						TCP_CONNP_CALL, call->sk);
			if (!call->sk)
				tcp_connp_run_all(&run);
			tcp_connp_answer(call);
			break;
		default:
			/* From here on it may be queued again: @kind, not *@msg. */
			sk = tcp_connp_msg_sock(msg);
			trace_tcp_connp_message(g - tcp_connp_groups, kind, sk);
			if (READ_ONCE(sk->sk_connp_listed))
				tcp_connp_run_now(&run, sk);
			tcp_connp_run_timer(sk, kind);
		}
	}
	tcp_connp_run_all(&run);
	trace_tcp_connp_drain(g - tcp_connp_groups, nodes, run.total);
	return bytes;
}
