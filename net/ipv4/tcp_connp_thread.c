// SPDX-License-Identifier: GPL-2.0
/*
 * ConnP-T: each connection group is owned by a kernel thread, the only one to
 * do protocol work for its connections; all others send it messages
 * (Willmann, Rixner and Cox, USENIX 2006, section 3.2.1).
 *
 * Packets, timers and what processes want to send are messages that nobody
 * waits for.  A process that releases a connection with work to do hands it
 * over and goes on.  Where it needs a result it makes a call, and waits while
 * the thread acts in its place.
 *
 * The thread of group g runs on the g-th CPU of net.ipv4.tcp_connp.cpus,
 * counted round, or on another one of these while that CPU is offline.  The
 * queue is the group's and not the CPU's, so moving the thread loses nothing.
 *
 * tcp_connp_lock.c is the other way to drain a group; the two files define
 * the same functions.
 */
#define pr_fmt(fmt) "tcp_connp: " fmt

#include <linux/completion.h>
#include <linux/cpu.h>
#include <linux/cpuhotplug.h>
#include <linux/kthread.h>
#include <linux/mutex.h>
#include <linux/rcupdate.h>
#include <linux/sched.h>
#include <linux/sched/clock.h>
#include <linux/sched/isolation.h>
#include <linux/sched/stat.h>
#include <linux/slab.h>
#include <linux/sysctl.h>
#include <uapi/linux/sched/types.h>
#include <net/net_namespace.h>
#include <net/sock.h>
#include <net/tcp.h>
#include <net/tcp_connp.h>
#include "tcp_connp_priv.h"
#include <trace/events/tcp_connp.h>

const char * const tcp_connp_org = "connp-t";

/*
 * There are few groups, and a thread may have to wait for its CPU, so a queue
 * may grow longer than one of ConnP-L.  The budget is NAPI's weight here, too.
 */
struct squeue_limits tcp_connp_limits __read_mostly = {
	.budget		= 64,
	.max_len	= 16384,
	.max_bytes	= 64 << 20,
	.poll_us	= 50,
};

/* Protects where the threads run, and how. */
static DEFINE_MUTEX(tcp_connp_cpus_mutex);
static struct cpumask tcp_connp_cpus;
static int tcp_connp_nice = -15;

#define TCP_CONNP_NO_CPU	(-1)

/*
 * As batch work: it doesn't preempt the process that wakes it, which may have
 * more for it soon, but once it runs it is preferred to those it works for.
 */
static void tcp_connp_set_nice(struct task_struct *t)
{
	const struct sched_attr attr = {
		.sched_policy	= SCHED_BATCH,
		.sched_nice	= tcp_connp_nice,
	};

	WARN_ON_ONCE(sched_setattr_nocheck(t, &attr));
}

/* Kicked by a bounded drain; the thread comes back by itself. */
static void tcp_connp_kick(struct squeue *sq)
{
	struct tcp_connp_group *g = container_of(sq, struct tcp_connp_group, sq);

	trace_tcp_connp_kick(g - tcp_connp_groups, squeue_len(sq));
}

static const struct squeue_policy tcp_connp_policy = {
	.process	= tcp_connp_process,
	.kick		= tcp_connp_kick,
};

static int tcp_connp_thread(void *data)
{
	struct squeue *sq = data;
	unsigned long last_qs = jiffies;

	while (!kthread_should_stop()) {
		squeue_turn(sq);
		rcu_softirq_qs_periodic(last_qs);
		cond_resched();
	}
	return 0;
}

/* Can a thread be on @cpu while @dying, if any, goes offline? */
static bool tcp_connp_cpu_usable(unsigned int cpu, int dying)
{
	return cpu_online(cpu) && cpu != dying;
}

/* The CPU for the thread of group @i while @dying, if any, goes offline. */
static unsigned int tcp_connp_cpu(unsigned int i, int dying)
{
	unsigned int n = i % cpumask_weight(&tcp_connp_cpus);
	unsigned int cpu = cpumask_nth(n, &tcp_connp_cpus);
	unsigned int other;

	for_each_cpu_wrap(other, &tcp_connp_cpus, cpu)
		if (tcp_connp_cpu_usable(other, dying))
			return other;
	for_each_online_cpu(other)
		if (other != dying)
			break;
	return other;
}

/* Put the threads where they belong while @dying, if any, goes offline. */
static void tcp_connp_place(int dying)
{
	unsigned int i;

	lockdep_assert_held(&tcp_connp_cpus_mutex);
	for (i = 0; i < tcp_connp_nr_groups; i++)
		set_cpus_allowed_ptr(tcp_connp_groups[i].sq.thread,
				     cpumask_of(tcp_connp_cpu(i, dying)));
}

static int tcp_connp_cpu_online(unsigned int cpu)
{
	mutex_lock(&tcp_connp_cpus_mutex);
	tcp_connp_place(TCP_CONNP_NO_CPU);
	mutex_unlock(&tcp_connp_cpus_mutex);
	return 0;
}

static int tcp_connp_cpu_offline(unsigned int cpu)
{
	mutex_lock(&tcp_connp_cpus_mutex);
	tcp_connp_place(cpu);
	mutex_unlock(&tcp_connp_cpus_mutex);
	return 0;
}

/**
 * tcp_connp_init_group - make a group ready to be drained
 * @g: the group, otherwise initialised
 *
 * Context: boot, process.
 */
void __init tcp_connp_init_group(struct tcp_connp_group *g)
{
	unsigned int i = g - tcp_connp_groups;
	struct task_struct *t;

	/* As unbound workqueues do: neither nohz_full= nor isolcpus=. */
	if (cpumask_empty(&tcp_connp_cpus) &&
	    !cpumask_and(&tcp_connp_cpus, housekeeping_cpumask(HK_TYPE_KTHREAD),
			 housekeeping_cpumask(HK_TYPE_DOMAIN)))
		cpumask_copy(&tcp_connp_cpus, cpu_possible_mask);

	squeue_init(&g->sq, &tcp_connp_policy, &tcp_connp_limits);
	t = kthread_create(tcp_connp_thread, &g->sq, "tcp_connp/%u", i);
	if (IS_ERR(t))
		panic("tcp_connp: can't start the thread of group %u: %pe\n",
		      i, t);
	tcp_connp_set_nice(t);
	set_cpus_allowed_ptr(t, cpumask_of(tcp_connp_cpu(i, TCP_CONNP_NO_CPU)));
	g->sq.thread = t;
	wake_up_process(t);
}

/*
 * Wait for a call, which a thread on another CPU that is awake may be about to
 * answer: for a while without going through the scheduler.
 */
static void tcp_connp_wait(struct tcp_connp_group *g, struct completion *done)
{
	u64 start = local_clock();

	while (!completion_done(done) && squeue_may_poll(&g->sq, start) &&
	       task_cpu(g->sq.thread) != raw_smp_processor_id())
		cpu_relax();
	wait_for_completion(done);
}

/**
 * tcp_connp_do_call - have the work of a call done, and everything before it
 * @g: the group
 * @call: the call
 *
 * Context: process, the owner of @call->sk.
 */
void tcp_connp_do_call(struct tcp_connp_group *g, struct tcp_connp_call *call)
{
	call->msg.kind = TCP_CONNP_CALL;
	init_completion(&call->done);
	squeue_post(&g->sq, &call->msg.node);
	squeue_poke(&g->sq);
	tcp_connp_wait(g, &call->done);
}

/*
 * A backlog is worked off in parts.  It comes to an end whatever its peer sends
 * meanwhile, because all of it counts against its limit until then.  Return true
 * if this was the last part.
 */
static bool tcp_connp_catch_up_part(struct sock *sk)
{
	bool end;

	spin_lock_bh(&sk->sk_lock.slock);
	tcp_connp_work_off(sk, 0);
	end = !sk->sk_backlog.head;
	spin_unlock_bh(&sk->sk_lock.slock);
	return end;
}

/**
 * tcp_connp_answer - do the work of a call, and tell who waits for it
 * @call: the call, which ceases to exist, or is queued again
 *
 * The caller owns the socket and does nothing meanwhile; the thread owns it in
 * the caller's place, and tells lockdep.
 *
 * Context: inside the group, on its thread.
 */
void tcp_connp_answer(struct tcp_connp_call *call)
{
	struct squeue *sq = this_cpu_read(squeue_current);
	struct sock *sk = call->sk;
	bool now = true;

	if (sk)
		mutex_acquire(&sk->sk_lock.dep_map, 0, 1, _RET_IP_);
	if (tcp_connp_catches_up(call))
		now = tcp_connp_catch_up_part(sk);
	if (now)
		tcp_connp_execute(call);
	if (sk)
		mutex_release(&sk->sk_lock.dep_map, _RET_IP_);
	if (now)
		complete(&call->done);
	else
		squeue_post(sq, &call->msg.node);
}

/**
 * tcp_connp_settle - a connection is about to leave its group
 * @g: the group
 *
 * Packets that are queued are delivered by the thread nevertheless.  That may
 * be after later ones, which TCP copes with; waiting is not possible in all
 * contexts.
 *
 * Context: process, perhaps in an RCU section; @sk owned.
 */
void tcp_connp_settle(struct tcp_connp_group *g)
{
}

/**
 * tcp_connp_enter - begin protocol work on a connection
 * @sk: the connection
 *
 * Context: any.
 * Return: NULL: nobody but the thread is ever inside.
 */
struct squeue *tcp_connp_enter(struct sock *sk)
{
	return NULL;
}
EXPORT_SYMBOL_GPL(tcp_connp_enter);

/**
 * tcp_connp_leave - end protocol work on a group
 * @sq: what tcp_connp_enter() returned
 *
 * Context: any.
 */
void tcp_connp_leave(struct squeue *sq)
{
}
EXPORT_SYMBOL_GPL(tcp_connp_leave);

/*
 * Where threads of a process leave a socket no peace, the next owner is there
 * before the group's thread comes to look.  After so many times in a row the
 * owner has its work done before it lets go.
 */
#define TCP_CONNP_MISSED_MAX	8

/**
 * tcp_connp_lock_owner - take the slock as the owner of a socket, to release
 * @sk: any socket, owned
 *
 * May wait for the thread, if that has missed @sk too often.
 *
 * Context: process; on return the slock is held and BH disabled.
 * Return: what to give to tcp_connp_hands_over() and _unlock_owner().
 */
struct squeue *tcp_connp_lock_owner(struct sock *sk)
	__acquires(&sk->sk_lock.slock)
{
	struct tcp_connp_group *g;

	if (unlikely(READ_ONCE(sk->sk_connp_missed) >= TCP_CONNP_MISSED_MAX))
		tcp_connp_flush_backlog(sk);
	spin_lock_bh(&sk->sk_lock.slock);
	tcp_connp_drop_stale(sk);
	g = READ_ONCE(sk->sk_connp);
	/*
	 * The thread itself, in the place of the owner, does the work.  And
	 * packets for a socket that is closed are dropped before it can be
	 * something else.
	 */
	if (g && sk->sk_state != TCP_CLOSE && tcp_connp_owner_has_work(sk) &&
	    !this_cpu_read(squeue_current))
		return &g->sq;
	return NULL;
}

/**
 * tcp_connp_unlock_owner - undo tcp_connp_lock_owner()
 * @sk: the same socket, no longer owned
 * @sq: what it returned
 *
 * Context: as tcp_connp_lock_owner() left it.
 */
void tcp_connp_unlock_owner(struct sock *sk, struct squeue *sq)
	__releases(&sk->sk_lock.slock)
{
	/*
	 * Before the slock is free, because @sk may go away then, and this task
	 * may be preempted: nobody else pokes for what it has queued.
	 */
	if (sq && tcp_connp_queue_output(sk, sq))
		squeue_poke(sq);
	spin_unlock_bh(&sk->sk_lock.slock);
}

/**
 * tcp_connp_hands_over - does somebody else do the work of the owner?
 * @sq: what tcp_connp_lock_owner() returned
 *
 * Context: as tcp_connp_lock_owner() left it.
 * Return: true if the thread does it, after tcp_connp_unlock_owner().
 */
bool tcp_connp_hands_over(const struct squeue *sq)
{
	return sq;
}

static int tcp_connp_flush_backlog_fn(struct sock *sk, int arg)
{
	__sk_flush_backlog(sk);
	sk->sk_connp_missed = 0;
	return 0;
}

/**
 * tcp_connp_flush_backlog - work off the backlog of a socket that stays owned
 * @sk: the socket
 *
 * Context: process, @sk owned.
 * Return: true if the thread has done it.
 */
bool tcp_connp_flush_backlog(struct sock *sk)
{
	return tcp_connp_call(sk, tcp_connp_flush_backlog_fn, 0, NULL);
}

/**
 * tcp_connp_cond_resched - cond_resched() for who works off a backlog
 *
 * The thread does not stop in the middle: it has worked off all but what came
 * just now, see tcp_connp_answer().
 *
 * Context: process, slock not held.
 */
void tcp_connp_cond_resched(void)
{
	if (!this_cpu_read(squeue_current))
		cond_resched();
}

static int tcp_connp_sysctl_cpus(const struct ctl_table *table, int write,
				 void *buffer, size_t *lenp, loff_t *ppos)
{
	char *list = kzalloc(PAGE_SIZE, GFP_KERNEL);
	struct ctl_table tmp = { .data = list, .maxlen = PAGE_SIZE };
	cpumask_var_t mask;
	int err = -ENOMEM;

	if (!list)
		return err;
	if (!alloc_cpumask_var(&mask, GFP_KERNEL))
		goto out;

	if (!write) {
		mutex_lock(&tcp_connp_cpus_mutex);
		scnprintf(list, PAGE_SIZE, "%*pbl",
			  cpumask_pr_args(&tcp_connp_cpus));
		mutex_unlock(&tcp_connp_cpus_mutex);
	}
	err = proc_dostring(&tmp, write, buffer, lenp, ppos);
	if (err || !write)
		goto out_mask;

	err = cpulist_parse(list, mask);
	if (err)
		goto out_mask;
	cpus_read_lock();
	if (cpumask_intersects(mask, cpu_online_mask)) {
		mutex_lock(&tcp_connp_cpus_mutex);
		cpumask_copy(&tcp_connp_cpus, mask);
		tcp_connp_place(TCP_CONNP_NO_CPU);
		mutex_unlock(&tcp_connp_cpus_mutex);
	} else {
		err = -EINVAL;
	}
	cpus_read_unlock();
out_mask:
	free_cpumask_var(mask);
out:
	kfree(list);
	return err;
}

static int tcp_connp_sysctl_nice(const struct ctl_table *table, int write,
				 void *buffer, size_t *lenp, loff_t *ppos)
{
	unsigned int i;
	int err;

	mutex_lock(&tcp_connp_cpus_mutex);
	err = proc_dointvec_minmax(table, write, buffer, lenp, ppos);
	if (!err && write)
		for (i = 0; i < tcp_connp_nr_groups; i++)
			tcp_connp_set_nice(tcp_connp_groups[i].sq.thread);
	mutex_unlock(&tcp_connp_cpus_mutex);
	return err;
}

static const int tcp_connp_max_poll_us = 10000;
static const int tcp_connp_min_nice = MIN_NICE;
static const int tcp_connp_max_nice = MAX_NICE;

static struct ctl_table tcp_connp_thread_sysctls[] = {
	{
		.procname	= "cpus",
		.mode		= 0644,
		.proc_handler	= tcp_connp_sysctl_cpus,
	},
	{
		.procname	= "nice",
		.data		= &tcp_connp_nice,
		.maxlen		= sizeof(tcp_connp_nice),
		.mode		= 0644,
		.proc_handler	= tcp_connp_sysctl_nice,
		.extra1		= (void *)&tcp_connp_min_nice,
		.extra2		= (void *)&tcp_connp_max_nice,
	},
	{
		.procname	= "poll_us",
		.data		= &tcp_connp_limits.poll_us,
		.maxlen		= sizeof(tcp_connp_limits.poll_us),
		.mode		= 0644,
		.proc_handler	= proc_douintvec_minmax,
		.extra2		= (void *)&tcp_connp_max_poll_us,
	},
};

static int __init tcp_connp_thread_init(void)
{
	int err;

	err = cpuhp_setup_state(CPUHP_AP_ONLINE_DYN, "net/tcp_connp:online",
				tcp_connp_cpu_online, tcp_connp_cpu_offline);
	if (err < 0)
		return err;
	if (!register_net_sysctl(&init_net, "net/ipv4/tcp_connp",
				 tcp_connp_thread_sysctls))
		return -ENOMEM;
	return 0;
}
late_initcall(tcp_connp_thread_init);
