// SPDX-License-Identifier: GPL-2.0
/*
 * Connection groups: which connection is in which group.
 *
 * A connection's group follows from its place in the established hash: each
 * bucket of the table belongs to a group.  A network namespace that has a table
 * of its own has locks of its own for it, and shares the groups, by the same hash.
 * That is keyed, and so is which bucket is whose, so nobody can choose a group.
 * The group is noted in sk->sk_connp when the connection gets its addresses, and
 * kept: it is a hint for who works on the socket together, and nothing breaks
 * while it is stale, because all state stays under the stock socket lock.
 *
 * Sockets that are not plain TCP connections have no group and run the stock
 * path: listeners, unbound sockets, kernel sockets, MPTCP, sockets with a ULP
 * (TLS, ESP in TCP) or in a sockmap, TCP_REPAIR, SOCK_MEMALLOC.  Nor have those
 * whose packets may take longer than a packet should because a user wants it so:
 * in a network namespace of users, and those that many wait for.
 */
#define pr_fmt(fmt) "tcp_connp: " fmt

#include <linux/jhash.h>
#include <linux/log2.h>
#include <linux/moduleparam.h>
#include <linux/percpu.h>
#include <linux/random.h>
#include <linux/slab.h>
#include <linux/user_namespace.h>
#include <linux/wait.h>
#include <net/inet_connection_sock.h>
#include <net/inet_hashtables.h>
#include <net/mptcp.h>
#include <net/tcp.h>
#include <net/tcp_connp.h>
#include "tcp_connp_priv.h"

#define CREATE_TRACE_POINTS
#include <trace/events/tcp_connp.h>

struct tcp_connp_group *tcp_connp_groups __ro_after_init;
unsigned int tcp_connp_nr_groups __ro_after_init;

/* Says which bucket is whose, or /proc/net/tcp would: it has them in order. */
static u32 tcp_connp_secret __ro_after_init;

static char *groups_param;
module_param_named(groups, groups_param, charp, 0);
MODULE_PARM_DESC(groups, "number of connection groups, a power of two");

static unsigned int __init tcp_connp_groups_wanted(void)
{
	unsigned int n = CONFIG_TCP_CONNP_GROUPS;
	unsigned int asked;

	n = n ? rounddown_pow_of_two(n) :
		min_t(unsigned int, roundup_pow_of_two(num_online_cpus()),
		      TCP_CONNP_MAX_GROUPS);
	if (!groups_param)
		return n;
	if (kstrtouint(groups_param, 0, &asked) || !is_power_of_2(asked) ||
	    asked > TCP_CONNP_MAX_GROUPS) {
		pr_err("groups=%s is not a power of two from 1 to %u; using %u groups\n",
		       groups_param, TCP_CONNP_MAX_GROUPS, n);
		return n;
	}
	return asked;
}

static void __init tcp_connp_init(void)
{
	unsigned int i, n = tcp_connp_groups_wanted();
	struct tcp_connp_group *groups;

	groups = kvcalloc(n, sizeof(*groups), GFP_KERNEL | __GFP_NOFAIL);
	for (i = 0; i < n; i++) {
		struct tcp_connp_group *g = &groups[i];

		spin_lock_init(&g->ehash_lock);
		atomic_set(&g->conns, 0);
		atomic_long_set(&g->calls, 0);
	}
	tcp_connp_groups = groups;
	tcp_connp_nr_groups = n;
	tcp_connp_secret = get_random_u32();
	for (i = 0; i < n; i++)
		tcp_connp_init_group(&groups[i]);
	pr_info("%s, %u groups of %zu bytes\n", tcp_connp_org, n,
		sizeof(*groups));
}

/**
 * tcp_connp_partition - divide an established hash table among the groups
 * @hashinfo: the table
 *
 * Only the table of all of TCP is, and the groups are set up for it.  One of a
 * network namespace may have a few buckets with any number of connections in
 * each, and whoever may make it keeps only his own waiting for their locks.
 *
 * Context: process, while nobody else uses @hashinfo.
 * Return: false if the table needs locks of its own.
 */
bool __ref tcp_connp_partition(struct inet_hashinfo *hashinfo)
{
	if (hashinfo != &tcp_hashinfo)
		return false;
	tcp_connp_init();
	return true;
}

/* A function of the bucket, because some callers have its index for the hash. */
static struct tcp_connp_group *tcp_connp_of_bucket(unsigned int hash)
{
	return &tcp_connp_groups[jhash_1word(hash & tcp_hashinfo.ehash_mask,
					     tcp_connp_secret) &
				 (tcp_connp_nr_groups - 1)];
}

/**
 * tcp_connp_ehash_lockp - the lock of a bucket of an established hash table
 * @hashinfo: the table
 * @hash: of a connection, or the bucket's index
 *
 * Context: any.
 * Return: NULL if the table has locks of its own.
 */
spinlock_t *tcp_connp_ehash_lockp(const struct inet_hashinfo *hashinfo,
				  unsigned int hash)
{
	return likely(hashinfo == &tcp_hashinfo) ?
	       &tcp_connp_of_bucket(hash)->ehash_lock : NULL;
}
EXPORT_SYMBOL_GPL(tcp_connp_ehash_lockp);

/*
 * Only plain connections are grouped.  sk_prot differs from its creator when
 * MPTCP, a ULP or sockmap has replaced the protocol's functions.  Whoever may
 * make a user namespace has all rights in its network namespaces: to put any
 * number of rules on the way of each packet, or to have buffers of any size.
 */
static bool tcp_connp_eligible(const struct sock *sk)
{
	return sk->sk_protocol == IPPROTO_TCP &&
	       sk->sk_prot == sk->sk_prot_creator &&
	       sk->sk_net_refcnt && !sk->sk_kern_sock &&
	       !((1 << sk->sk_state) & (TCPF_CLOSE | TCPF_LISTEN)) &&
	       !sk_is_mptcp(sk) &&
	       !inet_csk(sk)->icsk_ulp_ops &&
	       !rcu_access_pointer(__sk_user_data(sk)) &&
	       !sock_flag(sk, SOCK_MEMALLOC) &&
	       sock_net(sk)->user_ns == &init_user_ns &&
	       !tcp_sk(sk)->repair;
}

/* So many waiters are woken while others of the group wait. */
#define TCP_CONNP_WAITERS_MAX	64

/**
 * tcp_connp_wakes_many - does it take long to wake all who wait for a socket?
 * @sk: the socket
 *
 * An epoll instance for each duplicate of a descriptor, or each of a crowd of
 * processes that are sent a signal: that costs nobody but the user himself in
 * stock.  So such a connection does not stay in its group.
 *
 * Context: any but hard interrupt; @sk can't go away meanwhile.
 * Return: true if so.
 */
bool tcp_connp_wakes_many(const struct sock *sk)
{
	const struct list_head *head, *waiter;
	struct socket_wq *wq;
	unsigned int n = 0;
	unsigned long flags;

	if (unlikely(sock_flag(sk, SOCK_FASYNC)))
		return true;
	rcu_read_lock();
	wq = rcu_dereference(sk->sk_wq);
	/* Most have one or none. */
	if (wq && data_race(wq->wait.head.next != wq->wait.head.prev)) {
		head = &wq->wait.head;
		spin_lock_irqsave(&wq->wait.lock, flags);
		list_for_each(waiter, head)
			if (++n > TCP_CONNP_WAITERS_MAX)
				break;
		spin_unlock_irqrestore(&wq->wait.lock, flags);
	}
	rcu_read_unlock();
	return unlikely(n > TCP_CONNP_WAITERS_MAX);
}

static void tcp_connp_set_group(struct sock *sk, struct tcp_connp_group *g)
{
	struct tcp_connp_group *old = xchg(&sk->sk_connp, g);

	if (old)
		atomic_dec(&old->conns);
	if (g)
		atomic_inc(&g->conns);
}

/**
 * tcp_connp_bind - put a connection into its group
 * @sk: a socket that has just got its addresses and its place in the hash
 *
 * A socket that must not be in a group is left without one.
 *
 * Context: @sk owned, or its slock held.
 */
void tcp_connp_bind(struct sock *sk)
{
	struct inet_hashinfo *h = tcp_or_dccp_get_hashinfo(sk);
	struct tcp_connp_group *g;

	if (!tcp_connp_eligible(sk))
		g = NULL;
	else if (h == &tcp_hashinfo)
		g = tcp_connp_of_bucket(sk->sk_hash);
	else
		g = &tcp_connp_groups[reciprocal_scale(sk->sk_hash,
						       tcp_connp_nr_groups)];
	tcp_connp_set_group(sk, g);
}
EXPORT_SYMBOL_GPL(tcp_connp_bind);

/**
 * tcp_connp_forget - a socket is no longer in its group
 * @sk: the socket, mostly one whose connection has ended
 *
 * Packets still queued for that find it closed and are dropped, as in stock.  For
 * a connection that goes on they are delivered, perhaps after later ones.
 *
 * Context: any in which a socket may be destroyed; @sk owned or slock held.
 */
void tcp_connp_forget(struct sock *sk)
{
	tcp_connp_set_group(sk, NULL);
}

/**
 * tcp_connp_unbind - take a living socket out of its group
 * @sk: a socket about to become something other than a plain connection
 *
 * ConnP-L delivers first what is queued for it, so that nothing is reordered.
 * A BPF program that puts its socket into a sockmap may be inside the group
 * already; then packets may be, as in ConnP-T, which TCP copes with.
 *
 * Context: any but hard interrupt, @sk owned or its slock held.
 */
void tcp_connp_unbind(struct sock *sk)
{
	struct tcp_connp_group *g = READ_ONCE(sk->sk_connp);

	if (!g)
		return;
	if (!in_softirq())
		tcp_connp_settle(g);
	tcp_connp_forget(sk);
}
EXPORT_SYMBOL_GPL(tcp_connp_unbind);

/**
 * tcp_connp_init_clone - a clone starts without a group
 * @sk: the clone, a bytewise copy of a listener or a connection
 *
 * Context: nobody else knows @sk yet.
 */
void tcp_connp_init_clone(struct sock *sk)
{
	sk->sk_connp = NULL;
	sk->sk_connp_posted = 0;
	atomic_set(&sk->sk_connp_queued, 0);
	sk->sk_connp_push = TCP_CONNP_PUSH_NONE;
	sk->sk_connp_missed = 0;
	sk->sk_connp_ack = 0;
	sk->sk_connp_rollup = 0;
	sk->sk_connp_flushing = 0;
	sk->sk_connp_listed = 0;
	sk->sk_connp_ready = 0;
	sk->sk_connp_space = 0;
}

/**
 * tcp_connp_flush_all - drain every group
 *
 * For the end of network namespaces.  Only sockets that hold their namespace
 * are grouped, so nothing of a dead one can be queued; this keeps it so
 * whatever becomes eligible later.  And for a connection that ends after it has
 * left its group.
 *
 * Context: process, no locks of the network stack held but a socket's ownership.
 */
void tcp_connp_flush_all(void)
{
	unsigned int i;

	for (i = 0; i < tcp_connp_nr_groups; i++) {
		struct tcp_connp_group *g = &tcp_connp_groups[i];

		if (squeue_len(&g->sq))
			tcp_connp_flush_group(g);
	}
}

/**
 * tcp_connp_drop_stale - drop what a listener has on its backlog
 * @sk: any socket, owned
 *
 * Packets for a listener do not wait for its owner.  Those that do are of a
 * connection that the socket was, or tried to be, a moment ago: they were looked
 * up before that ended.  They have no route any more, which a SYN for a listener
 * needs; stock would dereference it.
 *
 * Context: process, slock held.
 */
void tcp_connp_drop_stale(struct sock *sk)
{
	struct sk_buff *skb, *next;

	if (likely(sk->sk_state != TCP_LISTEN || !sk->sk_backlog.head) ||
	    sk->sk_protocol != IPPROTO_TCP)
		return;
	skb = sk->sk_backlog.head;
	sk->sk_backlog.head = NULL;
	sk->sk_backlog.tail = NULL;
	sk->sk_backlog.len = 0;
	for (; skb; skb = next) {
		next = skb->next;
		skb_mark_not_on_list(skb);
		tcp_connp_drop(sk, skb, SKB_DROP_REASON_TCP_CLOSE);
	}
}

/**
 * tcp_connp_owner_has_work - has the owner anything to do before it lets go?
 * @sk: a connection, owned
 *
 * Context: process; a definite answer only under the slock.
 * Return: true if packets or deferred output wait.
 */
bool tcp_connp_owner_has_work(const struct sock *sk)
{
	return READ_ONCE(sk->sk_backlog.tail) ||
	       sk->sk_connp_push || sk->sk_connp_ack ||
	       (READ_ONCE(sk->sk_tsq_flags) & TCP_DEFERRED_ALL);
}
