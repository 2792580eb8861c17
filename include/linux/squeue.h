/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Serialization queues: a lock, a FIFO of pending work, and a rule about who
 * does the work.
 *
 * An squeue serialises work on a set of objects (for TCP: the connections of
 * one group).  Work arrives from any CPU as nodes on a lock-free queue; it is
 * done, in FIFO order and by one CPU at a time, by whoever holds the lock.
 * Who only brings work leaves it there.  The idea is that of the squeue of
 * Solaris 10 (Willmann, Rixner and Cox, USENIX 2006, section 3.2.2).
 *
 *	operation	what it does			context
 *	----------------------------------------------------------------------
 *	squeue_enqueue	adds one node, within limits	any but NMI, lock-free
 *	squeue_post	adds one node			any but NMI, lock-free
 *	squeue_poke	sees to it that it is drained	BH disabled
 *	squeue_enter	waits for the lock, drains	BH disabled, no squeue
 *							held by this CPU
 *	squeue_flush	drains all that is queued now	lock held
 *	squeue_leave	drains, unlocks, re-checks	lock held
 *	squeue_turn	drains, sleeps if all is done	the squeue's thread
 *
 * All of them may run together, on any number of CPUs.  Two squeues never
 * nest: a CPU that holds one may enqueue on any, but must not enter another.
 *
 * Who drains is the policy's choice, and there are two.  Inline: the CPU that
 * brings work does it, unless another is already inside.  Thread: each squeue
 * has a kernel thread, and only that ever drains it.  Producers do the same in
 * both, squeue_poke() knows the difference.
 *
 * With the inline policy, the one inside is relieved of a queue that is longer
 * than limits->relief_len: then the next to bring work waits for the lock, and
 * who entered leaves without draining.  Otherwise a CPU that brings more than one
 * CPU can do would go on bringing it, at no cost to itself, while others, whose
 * work is little, did nothing but its.  At most one CPU waits so for each squeue,
 * and it drains, even if another waits by then.
 *
 * A node that was enqueued is drained, provided that after each enqueue (or
 * each batch of them) the producer calls squeue_poke().  The argument is that
 * of a store buffer: the producer adds the node and then looks for somebody
 * who would drain it; he who drains first makes known that he won't any more,
 * and then looks at the queue; each has a full barrier between its two steps.
 *
 *	policy	producer			drains
 *	----------------------------------------------------------------------
 *	inline	llist_add(), a full barrier	unlock
 *		trylock: got it, so drain	smp_mb()
 *						look at @incoming: drain again
 *	thread	llist_add(), a full barrier	@asleep = true
 *		look at @asleep: set, so wake	smp_mb()
 *						look at @incoming: don't sleep
 *
 * So either the producer finds the lock free or the sleeper asleep, or the
 * other sees the node.  Who is relieved need not look, because @relief is set
 * before the other waits, and cleared with the lock held: who sees it under the
 * lock knows that another comes, and will look.  tools/testing/squeue/ has a
 * model of both.
 *
 * A drain is bounded: it stops after limits->budget nodes and asks
 * policy->kick() to see to the rest, which must lead to a squeue_poke() from
 * some context soon after; a thread comes back by itself.  What it leaves
 * behind stays in order: nodes are taken off @pending first, and @incoming is
 * only detached when that is empty.
 */
#ifndef _LINUX_SQUEUE_H
#define _LINUX_SQUEUE_H

#include <linux/atomic.h>
#include <linux/cache.h>
#include <linux/llist.h>
#include <linux/percpu.h>
#include <linux/spinlock.h>
#include <linux/types.h>

struct squeue;
struct task_struct;

/**
 * struct squeue_policy - what a user of squeues supplies
 * @process: do the work of @batch, a NULL-terminated list in FIFO order of at
 *	     most limits->budget nodes that now belong to the callee; called
 *	     with the lock held and BH disabled; must not sleep, enter an
 *	     squeue or flush this one.  Returns the charge of these nodes, in
 *	     bytes; what it does beyond a piece of work for each node it adds to
 *	     @extra.
 * @kick:    arrange for squeue_poke() to be called soon, from a context in
 *	     which no squeue is held; called with BH disabled, and possibly
 *	     inside this or another squeue, so it must not poke by itself.
 *	     With a thread there is nothing left to arrange.
 */
struct squeue_policy {
	unsigned long	(*process)(struct squeue *sq, struct llist_node *batch);
	void		(*kick)(struct squeue *sq);
};

/**
 * struct squeue_limits - bounds, shared by the squeues of one user
 * @budget:	nodes drained by one squeue_enter(), _leave() or _poke(); with a
 *		thread, no batch is begun when so much work is done
 * @max_len:	nodes queued, beyond which squeue_enqueue() refuses
 * @max_bytes:	bytes charged, beyond which squeue_enqueue() refuses
 * @poll_us:	how long a thread without work looks for more before it sleeps
 * @relief_len:	nodes queued, beyond which squeue_poke() relieves who is inside
 *
 * May be changed at any time, with WRITE_ONCE().
 */
struct squeue_limits {
	unsigned int	budget;
	unsigned int	max_len;
	unsigned int	max_bytes;
	unsigned int	poll_us;
	unsigned int	relief_len;
};

/**
 * struct squeue - one serialization queue
 * @incoming:	what producers added, newest first
 * @queued:	nodes ever added
 * @bytes:	charge of the nodes that are queued now
 * @dropped:	nodes refused because a limit was reached, or by the user
 * @handed:	pokes that left the work to a drain under way: the lock was
 *		held, or the thread awake
 * @wakeups:	pokes that woke the thread
 * @asleep:	the thread is going to sleep, or does
 * @relief:	a poke waits for the lock, to drain in the place of its holder
 * @lock:	held by the one who drains, or works on the objects
 * @pending:	detached from @incoming, oldest first, not yet processed
 * @extra:	pieces of work without a node of their own that the batch has
 *		taken, which count against the budget of a thread
 * @drained:	nodes ever processed
 * @acquired:	times the lock was taken
 * @waited:	times the lock was not had at once, and waited for
 * @batches:	calls of policy->process()
 * @batch_max:	most nodes in one such call
 * @len_max:	most nodes a drain ever found waiting
 * @kicks:	times a drain was cut short by its budget
 * @polls_paid:	times the thread found work while it polled
 * @polls_unpaid: times it polled, and then set out to sleep
 * @busy_ns:	time the thread has spent in drains
 * @thread:	who drains; NULL if that is for producers to do
 * @policy:	who drains, and how
 * @limits:	bounds
 *
 * From @pending to @busy_ns, fields are written under @lock, or by the thread
 * alone; the producers' have a cache line of their own.
 */
struct squeue {
	struct llist_head		incoming ____cacheline_aligned_in_smp;
	atomic_long_t			queued;
	atomic_long_t			bytes;
	atomic_long_t			dropped;
	atomic_long_t			handed;
	atomic_long_t			wakeups;
	bool				asleep;
	bool				relief;

	spinlock_t			lock ____cacheline_aligned_in_smp;
	struct llist_node		*pending;
	unsigned int			extra;
	unsigned long			drained;
	unsigned long			acquired;
	unsigned long			waited;
	unsigned long			batches;
	unsigned int			batch_max;
	unsigned int			len_max;
	unsigned long			kicks;
	unsigned long			polls_paid;
	unsigned long			polls_unpaid;
	u64				busy_ns;
	struct task_struct		*thread;
	const struct squeue_policy	*policy;
	const struct squeue_limits	*limits;
};

/* The squeue this CPU is inside of, if any; valid with BH disabled. */
DECLARE_PER_CPU(struct squeue *, squeue_current);

void squeue_init(struct squeue *sq, const struct squeue_policy *policy,
		 const struct squeue_limits *limits);
bool squeue_enqueue(struct squeue *sq, struct llist_node *node,
		    unsigned int bytes);
void squeue_post(struct squeue *sq, struct llist_node *node);
void squeue_poke(struct squeue *sq);
void squeue_enter(struct squeue *sq) __acquires(&sq->lock);
void squeue_flush(struct squeue *sq) __must_hold(&sq->lock);
void squeue_leave(struct squeue *sq) __releases(&sq->lock);
void squeue_turn(struct squeue *sq);
bool squeue_may_poll(const struct squeue *sq, u64 start);

/**
 * squeue_len - how many nodes are queued and not yet processed
 * @sq: the squeue
 *
 * Context: any; exact only under the lock while nobody enqueues.
 * Return: the number, including the batch that is being processed.
 */
static inline unsigned long squeue_len(const struct squeue *sq)
{
	/* drained first: it only grows, so the difference is not negative */
	unsigned long drained = smp_load_acquire(&sq->drained);

	return atomic_long_read(&sq->queued) - drained;
}

/**
 * squeue_refuse - count work that its user did not enqueue
 * @sq: the squeue
 *
 * For users that have limits of their own, beside those of squeue_enqueue().
 *
 * Context: any but NMI.
 */
static inline void squeue_refuse(struct squeue *sq)
{
	atomic_long_inc(&sq->dropped);
}

#endif /* _LINUX_SQUEUE_H */
