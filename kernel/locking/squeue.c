// SPDX-License-Identifier: GPL-2.0
/*
 * Serialization queues.  include/linux/squeue.h says what they are, who may
 * call what, and why no node is ever stranded; here is how.
 *
 * This file is also compiled in user space, behind the shim in
 * tools/testing/squeue/, where real threads race it.
 */
#include <linux/bottom_half.h>
#include <linux/bug.h>
#include <linux/compiler.h>
#include <linux/export.h>
#include <linux/lockdep.h>
#include <linux/minmax.h>
#include <linux/sched.h>
#include <linux/sched/clock.h>
#include <linux/sched/stat.h>
#include <linux/squeue.h>
#include <linux/time64.h>

DEFINE_PER_CPU(struct squeue *, squeue_current);
EXPORT_PER_CPU_SYMBOL_GPL(squeue_current);

/**
 * squeue_init - prepare an squeue for use
 * @sq: the squeue; its memory is never freed while a node may be on it
 * @policy: who drains, and how
 * @limits: bounds; read afresh by each operation
 *
 * All squeues are one lockdep class without subclasses, so nesting two of
 * them is reported.
 *
 * Context: any; nobody else may use @sq yet.
 */
void squeue_init(struct squeue *sq, const struct squeue_policy *policy,
		 const struct squeue_limits *limits)
{
	init_llist_head(&sq->incoming);
	atomic_long_set(&sq->queued, 0);
	atomic_long_set(&sq->bytes, 0);
	atomic_long_set(&sq->dropped, 0);
	atomic_long_set(&sq->handed, 0);
	atomic_long_set(&sq->wakeups, 0);
	sq->asleep = false;
	sq->relief = false;
	spin_lock_init(&sq->lock);
	sq->pending = NULL;
	sq->extra = 0;
	sq->drained = 0;
	sq->acquired = 0;
	sq->waited = 0;
	sq->batches = 0;
	sq->batch_max = 0;
	sq->len_max = 0;
	sq->kicks = 0;
	sq->polls_paid = 0;
	sq->polls_unpaid = 0;
	sq->busy_ns = 0;
	sq->thread = NULL;
	sq->policy = policy;
	sq->limits = limits;
}

/**
 * squeue_post - add one piece of work that must not be refused
 * @sq: the squeue
 * @node: the work; it belongs to @sq until policy->process() is given it
 *
 * For work whose amount something else bounds, such as a node embedded in each
 * object.  It weighs nothing, but counts against limits->max_len of others.
 * The caller follows up with squeue_poke(), as after squeue_enqueue().
 *
 * Context: any but NMI.
 */
void squeue_post(struct squeue *sq, struct llist_node *node)
{
	/* Counted before it can be drained, so that squeue_len() >= 0. */
	atomic_long_inc(&sq->queued);
	/* A full barrier; matches those in squeue_release() and squeue_idle(). */
	llist_add(node, &sq->incoming);
}
EXPORT_SYMBOL_GPL(squeue_post);

/**
 * squeue_enqueue - add one piece of work
 * @sq: the squeue
 * @node: the work; it belongs to @sq until policy->process() is given it
 * @bytes: what it weighs against limits->max_bytes
 *
 * The caller follows up with squeue_poke(), at once or after more of the same.
 *
 * Context: any but NMI.
 * Return: false if a limit is reached; then @node is still the caller's.
 */
bool squeue_enqueue(struct squeue *sq, struct llist_node *node,
		    unsigned int bytes)
{
	const struct squeue_limits *limits = sq->limits;

	if (unlikely(squeue_len(sq) >= READ_ONCE(limits->max_len) ||
		     atomic_long_read(&sq->bytes) >=
		     READ_ONCE(limits->max_bytes))) {
		squeue_refuse(sq);
		return false;
	}
	atomic_long_add(bytes, &sq->bytes);
	squeue_post(sq, node);
	return true;
}
EXPORT_SYMBOL_GPL(squeue_enqueue);

/* Cut at most @max nodes off the head of sq->pending. */
static struct llist_node *squeue_detach(struct squeue *sq, unsigned int max,
					unsigned int *count)
{
	struct llist_node *first = sq->pending;
	struct llist_node *last;
	unsigned int n = 1;

	if (!first) {
		first = llist_del_all(&sq->incoming);
		if (!first)
			return NULL;
		first = llist_reverse_order(first);
	}
	for (last = first; n < max && last->next; n++)
		last = last->next;
	sq->pending = last->next;
	last->next = NULL;
	*count = n;
	return first;
}

/* A budget of 0 would kick for ever and drain nothing. */
static unsigned int squeue_budget(const struct squeue *sq)
{
	return max(READ_ONCE(sq->limits->budget), 1U);
}

/* Process at most @max nodes; returns how many of @max are left. */
static unsigned int squeue_drain(struct squeue *sq, unsigned int max)
	__must_hold(&sq->lock)
{
	unsigned int budget = squeue_budget(sq);
	struct llist_node *batch;
	unsigned long len, bytes;
	unsigned int n;

	lockdep_assert_held(&sq->lock);

	while (max) {
		len = squeue_len(sq);
		batch = squeue_detach(sq, min(max, budget), &n);
		if (!batch)
			break;
		bytes = sq->policy->process(sq, batch);
		atomic_long_sub(bytes, &sq->bytes);
		/* Pairs with the load in squeue_len(). */
		smp_store_release(&sq->drained, sq->drained + n);
		sq->batches++;
		sq->batch_max = max(sq->batch_max, n);
		sq->len_max = max_t(unsigned long, sq->len_max, len);
		max -= n;
		if (sq->thread)
			max -= min(max, sq->extra);
		sq->extra = 0;
	}
	return max;
}

static void squeue_locked(struct squeue *sq)
{
	sq->acquired++;
	this_cpu_write(squeue_current, sq);
}

/* Drain at most @budget nodes and what comes meanwhile, unlock, and look again. */
static void squeue_release(struct squeue *sq, unsigned int budget)
	__releases(&sq->lock)
{
	for (;;) {
		bool relief, kick;

		budget = squeue_drain(sq, budget);
		/* Only cleared by who has the lock. */
		relief = READ_ONCE(sq->relief);
		kick = !relief && (sq->pending ||
				   (!budget && !llist_empty(&sq->incoming)));
		sq->kicks += kick;
		this_cpu_write(squeue_current, NULL);
		spin_unlock(&sq->lock);
		if (kick)
			sq->policy->kick(sq);
		if (kick || relief)
			return;
		/*
		 * The unlock before the look: matches the full barrier that
		 * llist_add() is in squeue_post().
		 */
		smp_mb();
		if (llist_empty(&sq->incoming))
			return;
		/* Held again: the new holder looks when it leaves. */
		if (!spin_trylock(&sq->lock))
			return;
		squeue_locked(sq);
	}
}

/* Wake the thread, but only if it said that it sleeps. */
static void squeue_wake(struct squeue *sq)
{
	/* Of several producers, one wakes it. */
	if (READ_ONCE(sq->asleep) && xchg(&sq->asleep, false)) {
		atomic_long_inc(&sq->wakeups);
		wake_up_process(sq->thread);
	} else {
		atomic_long_inc(&sq->handed);
	}
}

/* Too much is queued: take the holder's place, unless another is about to. */
static bool squeue_begin_relief(struct squeue *sq)
{
	return squeue_len(sq) > READ_ONCE(sq->limits->relief_len) &&
	       !READ_ONCE(sq->relief) && !xchg(&sq->relief, true);
}

/**
 * squeue_poke - see to it that what was enqueued is drained
 * @sq: the squeue
 *
 * With a thread, wakes it if need be.  Otherwise drains, unless somebody else
 * is inside and will; but if the queue is longer than limits->relief_len, waits
 * for that to leave, and then drains, which one CPU at a time does.  If this CPU
 * is itself inside an squeue (work brought from within work), the drain is left
 * to policy->kick(): it only ever runs at the outermost level.
 *
 * Context: BH disabled, or any but NMI if @sq has a thread.
 */
void squeue_poke(struct squeue *sq)
{
	if (sq->thread) {
		squeue_wake(sq);
		return;
	}
	if (unlikely(this_cpu_read(squeue_current))) {
		sq->policy->kick(sq);
		return;
	}
	if (!spin_trylock(&sq->lock)) {
		if (likely(!squeue_begin_relief(sq))) {
			atomic_long_inc(&sq->handed);
			return;
		}
		spin_lock(&sq->lock);
		WRITE_ONCE(sq->relief, false);
		sq->waited++;
	}
	squeue_locked(sq);
	squeue_release(sq, squeue_budget(sq));
}
EXPORT_SYMBOL_GPL(squeue_poke);

/**
 * squeue_enter - become the one who may work on the objects of an squeue
 * @sq: the squeue
 *
 * Spins while somebody else is inside, then drains what came before.
 *
 * Context: BH disabled; this CPU is not inside any squeue.
 */
void squeue_enter(struct squeue *sq)
	__acquires(&sq->lock)
{
	bool waited = false;

	WARN_ON_ONCE(this_cpu_read(squeue_current));

	if (!spin_trylock(&sq->lock)) {
		spin_lock(&sq->lock);
		waited = true;
	}
	sq->waited += waited;
	squeue_locked(sq);
	squeue_drain(sq, squeue_budget(sq));
}
EXPORT_SYMBOL_GPL(squeue_enter);

/**
 * squeue_flush - drain all that is queued at this moment
 * @sq: the squeue
 *
 * For the few who must see every packet that was here before them.  Bounded
 * by limits->max_len and what was posted rather than by the budget.
 *
 * Context: inside @sq.
 */
void squeue_flush(struct squeue *sq)
	__must_hold(&sq->lock)
{
	squeue_drain(sq, squeue_len(sq));
}
EXPORT_SYMBOL_GPL(squeue_flush);

/**
 * squeue_leave - drain what came meanwhile, and let others in
 * @sq: the squeue
 *
 * Whoever found the lock held left its work here, so nobody may leave without
 * looking again after the lock is free; but for who is relieved, and leaves all
 * of it to the one who waits.
 *
 * Context: inside @sq; BH disabled.
 */
void squeue_leave(struct squeue *sq)
	__releases(&sq->lock)
{
	squeue_release(sq, READ_ONCE(sq->relief) ? 0 : squeue_budget(sq));
}
EXPORT_SYMBOL_GPL(squeue_leave);

/* For the thread of @sq, the only one to touch sq->pending. */
static bool squeue_has_work(const struct squeue *sq)
{
	return sq->pending || !llist_empty(&sq->incoming);
}

/**
 * squeue_may_poll - may this task look on, in place of going to sleep?
 * @sq: the squeue
 * @start: local_clock() when it began
 *
 * For a bounded time, because what it waits for is often near and a wake-up
 * dear; not while another task wants the CPU, even if it would have to wait for
 * its turn, because that may be the one to bring it.
 *
 * Context: process.
 * Return: true if so.
 */
bool squeue_may_poll(const struct squeue *sq, u64 start)
{
	u64 poll_ns = (u64)READ_ONCE(sq->limits->poll_us) * NSEC_PER_USEC;

	return single_task_running() && !need_resched() &&
	       local_clock() - start < poll_ns;
}

/* Look for work; returns true if there is some. */
static bool squeue_poll(struct squeue *sq)
{
	u64 start = local_clock();

	if (!READ_ONCE(sq->limits->poll_us))
		return false;
	while (squeue_may_poll(sq, start)) {
		if (squeue_has_work(sq)) {
			sq->polls_paid++;
			return true;
		}
		cpu_relax();
	}
	sq->polls_unpaid++;
	return false;
}

static void squeue_idle(struct squeue *sq)
{
	if (squeue_poll(sq))
		return;

	/*
	 * Before @asleep: a late poke, for a node that is processed already,
	 * may clear that at once, and would find this task running still.
	 * Then it would sleep with @asleep clear, and nobody would wake it.
	 */
	set_current_state(TASK_IDLE);
	WRITE_ONCE(sq->asleep, true);
	/*
	 * The flag before the look: matches the full barrier that llist_add()
	 * is in squeue_post().
	 */
	smp_mb();
	if (!squeue_has_work(sq))
		schedule();
	__set_current_state(TASK_RUNNING);
	/* Still set if nobody woke us. */
	WRITE_ONCE(sq->asleep, false);
}

/**
 * squeue_turn - one turn of the thread of an squeue
 * @sq: the squeue, of which sq->thread is this task
 *
 * Drains what is there, at most twice the budget and what the last batches have
 * done beyond their nodes; if that was all, waits for
 * more, first looking and then asleep.  The caller does it for ever, and
 * offers the CPU to others in between.
 *
 * Context: process, the thread of @sq.
 */
void squeue_turn(struct squeue *sq)
{
	u64 start;

	if (squeue_has_work(sq)) {
		local_bh_disable();
		start = local_clock();
		squeue_enter(sq);
		squeue_leave(sq);
		sq->busy_ns += local_clock() - start;
		local_bh_enable();
	}
	if (!squeue_has_work(sq))
		squeue_idle(sq);
}
EXPORT_SYMBOL_GPL(squeue_turn);
