// SPDX-License-Identifier: GPL-2.0
/*
 * Connection groups: which connection is in which group, and how protocol
 * work that is not a packet enters it.
 *
 * A connection's group follows from its place in the established hash: the
 * buckets of the table are divided into as many contiguous parts as there are
 * groups.  The hash is keyed, so an outsider can't choose a group.  The group
 * is noted in sk->sk_connp when the connection gets its addresses, and kept:
 * it is a hint for who works on the socket together, and nothing breaks while
 * it is stale, because all state stays under the stock socket lock.
 *
 * Sockets that are not plain TCP connections have no group and run the stock
 * path: listeners, unbound sockets, kernel sockets, MPTCP, sockets with a ULP
 * (TLS, ESP in TCP) or in a sockmap, TCP_REPAIR, SOCK_MEMALLOC.
 */
#define pr_fmt(fmt) "tcp_connp: " fmt

#include <linux/log2.h>
#include <linux/moduleparam.h>
#include <linux/percpu.h>
#include <linux/slab.h>
#include <net/inet_connection_sock.h>
#include <net/inet_hashtables.h>
#include <net/mptcp.h>
#include <net/tcp.h>
#include <net/tcp_connp.h>

#define CREATE_TRACE_POINTS
#include <trace/events/tcp_connp.h>

struct tcp_connp_group *tcp_connp_groups __ro_after_init;
unsigned int tcp_connp_nr_groups __ro_after_init;

/*
 * The budget is NAPI's weight: what one poll brings, one drain takes away.  A
 * queue this long is a holder that does not come back, not a burst: all NICs
 * of a large machine bring a few thousand packets at once, to all groups.
 */
struct squeue_limits tcp_connp_limits __read_mostly = {
	.budget		= 64,
	.max_len	= 1024,
	.max_bytes	= 4 << 20,
};

static char *groups_param;
module_param_named(groups, groups_param, charp, 0);
MODULE_PARM_DESC(groups, "number of connection groups, a power of two");

static void tcp_connp_kick(struct squeue *sq)
{
	struct tcp_connp_group *g = container_of(sq, struct tcp_connp_group, sq);

	trace_tcp_connp_kick(g - tcp_connp_groups, squeue_len(sq));
	tasklet_schedule(&g->kick);
}

static void tcp_connp_kicked(struct tasklet_struct *t)
{
	struct tcp_connp_group *g = from_tasklet(g, t, kick);

	squeue_poke(&g->sq);
}

/* ConnP-L: the CPU that has work does it, and a tasklet what is left over. */
const struct squeue_policy tcp_connp_policy = {
	.process	= tcp_connp_process,
	.kick		= tcp_connp_kick,
};

static unsigned int __init tcp_connp_groups_wanted(void)
{
	unsigned int n = rounddown_pow_of_two(CONFIG_TCP_CONNP_GROUPS);
	unsigned int asked;

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

		squeue_init(&g->sq, &tcp_connp_policy, &tcp_connp_limits);
		spin_lock_init(&g->ehash_lock);
		atomic_set(&g->conns, 0);
		tasklet_setup(&g->kick, tcp_connp_kicked);
	}
	tcp_connp_groups = groups;
	tcp_connp_nr_groups = n;
	pr_info("ConnP-L, %u groups of %zu bytes\n", n, sizeof(*groups));
}

/**
 * tcp_connp_partition - divide an established hash table among the groups
 * @hashinfo: the table, of which ehash_mask is already set
 *
 * The first call, for the table of all of TCP, sets up the groups.  A table of
 * a network namespace may have fewer buckets than there are groups; then only
 * that many groups are used.
 *
 * Context: process, while nobody else uses @hashinfo.
 * Return: false if the table is not TCP's and needs locks of its own.
 */
bool __ref tcp_connp_partition(struct inet_hashinfo *hashinfo)
{
	unsigned int buckets = hashinfo->ehash_mask + 1;

	if (hashinfo == &tcp_hashinfo && !tcp_connp_groups)
		tcp_connp_init();
	else if (!hashinfo->connp)
		return false;

	hashinfo->connp = tcp_connp_groups;
	hashinfo->connp_shift = buckets > tcp_connp_nr_groups ?
		ilog2(buckets) - ilog2(tcp_connp_nr_groups) : 0;
	return true;
}

/*
 * Only plain connections are grouped.  sk_prot differs from its creator when
 * MPTCP, a ULP or sockmap has replaced the protocol's functions.
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
	       !tcp_sk(sk)->repair;
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
	struct tcp_connp_group *g = NULL;

	if (tcp_connp_eligible(sk))
		g = inet_ehash_group(h, sk->sk_hash);
	tcp_connp_set_group(sk, g);
}
EXPORT_SYMBOL_GPL(tcp_connp_bind);

/**
 * tcp_connp_forget - a connection has ended: it is no longer in its group
 * @sk: the socket that is being destroyed
 *
 * Packets still queued for it find it closed and are dropped, as in stock.
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
 * What is queued for it is delivered first, so that nothing is reordered.  A
 * BPF program that puts its socket into a sockmap may be inside the group
 * already; then packets may be, which TCP copes with.
 *
 * Context: any but hard interrupt, @sk owned or its slock held.
 */
void tcp_connp_unbind(struct sock *sk)
{
	struct tcp_connp_group *g = READ_ONCE(sk->sk_connp);

	if (!g)
		return;
	if (in_softirq()) {
		tcp_connp_forget(sk);
		return;
	}
	local_bh_disable();
	squeue_enter(&g->sq);
	squeue_flush(&g->sq);
	tcp_connp_set_group(sk, NULL);
	squeue_leave(&g->sq);
	local_bh_enable();
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
	sk->sk_connp_push = TCP_CONNP_PUSH_NONE;
	sk->sk_connp_ack = 0;
	sk->sk_connp_rollup = 0;
	sk->sk_connp_flushing = 0;
}

/**
 * tcp_connp_flush_all - drain every group
 *
 * For the end of network namespaces.  Only sockets that hold their namespace
 * are grouped, so nothing of a dead one can be queued; this keeps it so
 * whatever becomes eligible later.
 *
 * Context: process, no locks of the network stack held.
 */
void tcp_connp_flush_all(void)
{
	unsigned int i;

	for (i = 0; i < tcp_connp_nr_groups; i++) {
		struct squeue *sq = &tcp_connp_groups[i].sq;

		if (!squeue_len(sq))
			continue;
		local_bh_disable();
		squeue_enter(sq);
		squeue_flush(sq);
		squeue_leave(sq);
		local_bh_enable();
	}
}

/**
 * tcp_connp_enter - begin protocol work on a connection
 * @sk: the connection
 *
 * Waits until nobody else works on the group, and drains what was queued
 * before.  Called where stock takes the slock outside of input: timers, TSQ,
 * pacing, ICMP errors, abort (paper, section 3.2.2).
 *
 * Context: any but hard interrupt; slock of @sk not held.  BH is disabled on
 *	    return if @sk has a group.
 * Return: what to give to tcp_connp_leave(); NULL if @sk has no group.
 */
struct squeue *tcp_connp_enter(struct sock *sk)
{
	struct tcp_connp_group *g = READ_ONCE(sk->sk_connp);

	if (!g)
		return NULL;
	local_bh_disable();
	squeue_enter(&g->sq);
	/* For sparse, which does not know of conditional locks. */
	__release(&g->sq.lock);
	return &g->sq;
}
EXPORT_SYMBOL_GPL(tcp_connp_enter);

/**
 * tcp_connp_enter_flush - begin protocol work that may end a connection
 * @sk: the connection
 *
 * As tcp_connp_enter(), but delivers everything that is queued: a FIN among it
 * must be seen before it is decided whether the socket becomes a TIME_WAIT.
 *
 * Context: as tcp_connp_enter().
 * Return: what to give to tcp_connp_leave(); NULL if @sk has no group.
 */
struct squeue *tcp_connp_enter_flush(struct sock *sk)
{
	struct squeue *sq = tcp_connp_enter(sk);

	if (sq)
		squeue_flush(sq);
	return sq;
}

/**
 * tcp_connp_leave - end protocol work on a group
 * @sq: what tcp_connp_enter() returned
 *
 * Context: as tcp_connp_enter() left it; no slock held.
 */
void tcp_connp_leave(struct squeue *sq)
{
	if (!sq)
		return;
	__acquire(&sq->lock);
	squeue_leave(sq);
	local_bh_enable();
}
EXPORT_SYMBOL_GPL(tcp_connp_leave);

/* Has the owner anything to do before it lets go? */
static bool tcp_connp_owner_has_work(const struct sock *sk)
{
	return READ_ONCE(sk->sk_backlog.tail) ||
	       sk->sk_connp_push || sk->sk_connp_ack ||
	       (READ_ONCE(sk->sk_tsq_flags) & TCP_DEFERRED_ALL);
}

/**
 * tcp_connp_lock_owner - take the slock as the owner of a socket, to release
 * @sk: any socket, owned
 *
 * A connection with packets or deferred output waiting enters its group first,
 * which is the one time that a system call does so.
 *
 * Context: process; on return the slock is held and BH disabled.
 * Return: what to give to tcp_connp_unlock_owner().
 */
struct squeue *tcp_connp_lock_owner(struct sock *sk)
	__acquires(&sk->sk_lock.slock)
{
	struct squeue *sq = NULL;

	if (sk->sk_connp && tcp_connp_owner_has_work(sk))
		sq = tcp_connp_enter(sk);
	spin_lock_bh(&sk->sk_lock.slock);
	/* Work that came just now; the group goes before the slock. */
	if (!sq && sk->sk_connp && tcp_connp_owner_has_work(sk)) {
		spin_unlock_bh(&sk->sk_lock.slock);
		sq = tcp_connp_enter(sk);
		spin_lock_bh(&sk->sk_lock.slock);
	}
	return sq;
}

/**
 * tcp_connp_unlock_owner - undo tcp_connp_lock_owner()
 * @sk: the same socket, no longer owned or still
 * @sq: what it returned
 *
 * Context: as tcp_connp_lock_owner() left it.
 */
void tcp_connp_unlock_owner(struct sock *sk, struct squeue *sq)
	__releases(&sk->sk_lock.slock)
{
	spin_unlock_bh(&sk->sk_lock.slock);
	tcp_connp_leave(sq);
}

/**
 * tcp_connp_cond_resched - cond_resched() for an owner that works off backlog
 *
 * If this is done inside a group, others are let in meanwhile.
 *
 * Context: process, @sk owned, slock not held; inside at most one group.
 */
void tcp_connp_cond_resched(void)
{
	/* Not NULL only if this CPU is inside, then BH is disabled. */
	struct squeue *sq = this_cpu_read(squeue_current);

	if (!sq) {
		cond_resched();
		return;
	}
	tcp_connp_leave(sq);
	/* __tcp_close() has BH disabled throughout. */
	if (!in_softirq())
		cond_resched();
	local_bh_disable();
	squeue_enter(sq);
	__release(&sq->lock);
}
