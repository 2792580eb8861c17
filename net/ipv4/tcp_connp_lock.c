// SPDX-License-Identifier: GPL-2.0
/*
 * ConnP-L: the CPU that has work for a connection group does it, inside the
 * group's lock, or leaves it to the CPU that is inside already (Willmann,
 * Rixner and Cox, USENIX 2006, section 3.2.2), or relieves that CPU of it.
 *
 * tcp_connp_thread.c is the other way to drain a group; the two files define
 * the same functions.
 */
#include <linux/interrupt.h>
#include <linux/sysctl.h>
#include <net/net_namespace.h>
#include <net/sock.h>
#include <net/tcp.h>
#include <net/tcp_connp.h>
#include "tcp_connp_priv.h"
#include <trace/events/tcp_connp.h>

const char * const tcp_connp_org = "connp-l";

/*
 * The budget is NAPI's weight: what one poll brings, one drain takes away.  A
 * queue this long is a holder that does not come back, not a burst: all NICs
 * of a large machine bring a few thousand packets at once, to all groups.
 *
 * Who is inside is relieved early, for a connection that is little to do waits
 * behind all that is queued; but not for a few packets, which would have CPUs
 * wait for each other as if there were no queue.
 */
struct squeue_limits tcp_connp_limits __read_mostly = {
	.budget		= 64,
	.max_len	= 1024,
	.max_bytes	= 4 << 20,
	.relief_len	= 8,
};

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

static const struct squeue_policy tcp_connp_policy = {
	.process	= tcp_connp_process,
	.kick		= tcp_connp_kick,
};

/**
 * tcp_connp_init_group - make a group ready to be drained
 * @g: the group, otherwise initialised
 *
 * Context: boot, process.
 */
void __init tcp_connp_init_group(struct tcp_connp_group *g)
{
	squeue_init(&g->sq, &tcp_connp_policy, &tcp_connp_limits);
	tasklet_setup(&g->kick, tcp_connp_kicked);
}

/**
 * tcp_connp_do_call - have the work of a call done, and everything before it
 * @g: the group
 * @call: the call
 *
 * Everything that is queued is delivered before: a FIN among it must be seen
 * when it is decided whether a socket becomes a TIME_WAIT.
 *
 * Context: process, the owner of @call->sk; no group held.
 */
void tcp_connp_do_call(struct tcp_connp_group *g, struct tcp_connp_call *call)
{
	local_bh_disable();
	squeue_enter(&g->sq);
	squeue_flush(&g->sq);
	tcp_connp_execute(call);
	squeue_leave(&g->sq);
	local_bh_enable();
}

/**
 * tcp_connp_answer - a call was found on the queue
 * @call: the call
 *
 * Not here: who calls is inside, so nothing is queued.
 */
void tcp_connp_answer(struct tcp_connp_call *call)
{
	WARN_ON_ONCE(1);
}

/**
 * tcp_connp_settle - a connection is about to leave its group
 * @g: the group
 *
 * Context: process, perhaps in an RCU section; @sk owned, no group held.
 */
void tcp_connp_settle(struct tcp_connp_group *g)
{
	tcp_connp_flush_group(g);
}

/**
 * tcp_connp_enter - begin protocol work on a connection
 * @sk: the connection
 *
 * Waits until nobody else works on the group, and drains what was queued
 * before.  For work that can't be a message: ICMP errors, and owners.
 *
 * Context: any but hard interrupt; slock of @sk not held.  BH is disabled on
 *	    return if @sk has a group.
 * Return: what to give to tcp_connp_leave(); NULL if @sk has no group, or has left
 *	   it because many wait for @sk.
 */
struct squeue *tcp_connp_enter(struct sock *sk)
{
	struct tcp_connp_group *g = READ_ONCE(sk->sk_connp);

	if (!g)
		return NULL;
	if (tcp_connp_wakes_many(sk)) {
		spin_lock_bh(&sk->sk_lock.slock);
		tcp_connp_forget(sk);
		spin_unlock_bh(&sk->sk_lock.slock);
		return NULL;
	}
	local_bh_disable();
	squeue_enter(&g->sq);
	/* For sparse, which does not know of conditional locks. */
	__release(&g->sq.lock);
	return &g->sq;
}
EXPORT_SYMBOL_GPL(tcp_connp_enter);

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

	if (READ_ONCE(sk->sk_connp) && tcp_connp_owner_has_work(sk))
		sq = tcp_connp_enter(sk);
	spin_lock_bh(&sk->sk_lock.slock);
	/* Work that came just now; the group goes before the slock. */
	if (!sq && READ_ONCE(sk->sk_connp) && tcp_connp_owner_has_work(sk)) {
		spin_unlock_bh(&sk->sk_lock.slock);
		sq = tcp_connp_enter(sk);
		spin_lock_bh(&sk->sk_lock.slock);
	}
	tcp_connp_drop_stale(sk);
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
 * tcp_connp_hands_over - does somebody else do the work of the owner?
 * @sq: what tcp_connp_lock_owner() returned
 *
 * Context: as tcp_connp_lock_owner() left it.
 * Return: false, the owner is inside.
 */
bool tcp_connp_hands_over(const struct squeue *sq)
{
	return false;
}

/**
 * tcp_connp_flush_backlog - work off the backlog of a socket that stays owned
 * @sk: the socket
 *
 * Context: process, @sk owned.
 * Return: false, the owner does it.
 */
bool tcp_connp_flush_backlog(struct sock *sk)
{
	return false;
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

static const int tcp_connp_max_relief = 1 << 20;

static struct ctl_table tcp_connp_lock_sysctls[] = {
	{
		.procname	= "relief_packets",
		.data		= &tcp_connp_limits.relief_len,
		.maxlen		= sizeof(tcp_connp_limits.relief_len),
		.mode		= 0644,
		.proc_handler	= proc_douintvec_minmax,
		.extra1		= SYSCTL_ZERO,
		.extra2		= (void *)&tcp_connp_max_relief,
	},
};

static int __init tcp_connp_lock_init(void)
{
	if (!register_net_sysctl(&init_net, "net/ipv4/tcp_connp",
				 tcp_connp_lock_sysctls))
		return -ENOMEM;
	return 0;
}
late_initcall(tcp_connp_lock_init);
