// SPDX-License-Identifier: GPL-2.0
/*
 * squeue torture: real threads race kernel/locking/squeue.c in user space.
 *
 * Each thread plays a CPU with BH disabled.  Producers enqueue batches and
 * poke, as packet input does.  With the inline policy, enterers enter, work on
 * the objects, sometimes flush, and leave, as system calls do; the kicker
 * answers policy->kick() with a poke, as a tasklet does.  With the thread
 * policy there is an owner for each squeue, which takes turns and sleeps.
 *
 * A run is a great many short rounds.  In a round every thread does a few
 * operations at random; then all stop, the kicks that were asked for are
 * served, the owners fall asleep, and nothing else happens to the squeues: no
 * poke, no enter.  A node that is left on a queue at that moment is stranded,
 * whereas in a continuous load the next operation would pick it up and hide
 * the fault.
 *
 * What is checked, as the work is done and at the end of each round:
 *  - per producer and squeue, sequence numbers come in one by one: nothing is
 *    lost, run twice or overtaken;
 *  - never two are inside one squeue, and nobody inside lacks the lock; if it
 *    has an owner, that is the only one who ever comes in;
 *  - no operation drains more than the budget (a turn of the owner consists of
 *    two), and no queue outgrows its limits by more than the threads that can
 *    pass the check together and the nodes that are exempt;
 *  - a flush processes all that its caller enqueued before;
 *  - nothing is stranded, no kick is lost, each kick gets something done;
 *  - an owner that sleeps says so, or nobody would wake it; of those who see
 *    that, one does;
 *  - the counters agree with what the threads counted themselves.
 * Nodes come from malloc() and are freed as they are processed, so that the
 * sanitizers see whoever touches one too late.
 *
 * The seed fixes what the threads decide, not how the machine interleaves
 * them.  Output is TAP; the exit status is not 0 if a check failed.
 */
#include <errno.h>
#include <getopt.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <linux/minmax.h>
#include <linux/sched.h>
#include <linux/sched/clock.h>
#include <linux/squeue.h>

#define ARRAY_SIZE(a)	(sizeof(a) / sizeof((a)[0]))

#define MAX_THREADS	12
#define MAX_QUEUES	4
#define MAX_WEIGHT	1500
#define NO_LIMIT	1000000000
/* How long all that was brought in a round may take; then something hangs. */
#define SETTLE_NS	(20 * (u64)NSEC_PER_SEC)

enum policy {
	POLICY_INLINE,
	POLICY_THREAD,
	POLICIES
};

static const char *const policy_names[POLICIES] = { "inline", "thread" };

struct scenario {
	const char	*name;
	enum policy	policy;
	unsigned int	producers;
	unsigned int	enterers;
	unsigned int	queues;
	unsigned int	ops;		/* per thread and round, at most */
	unsigned int	batch;		/* nodes before a poke, at most */
	unsigned int	follow_ups;	/* per cent of nodes that bring more */
	unsigned int	posts;		/* per cent of nodes that are posted */
	unsigned int	false_alarms;	/* per cent of operations that wake */
	struct squeue_limits limits;
};

static const struct scenario scenarios[] = {
	{
		.name = "two producers, one node each",
		.producers = 2, .queues = 1, .ops = 1, .batch = 1,
		.limits = { 64, NO_LIMIT, NO_LIMIT, 0, NO_LIMIT },
	}, {
		.name = "one producer against one inside",
		.producers = 1, .enterers = 1, .queues = 1, .ops = 2, .batch = 2,
		.limits = { 64, NO_LIMIT, NO_LIMIT, 0, 0 },
	}, {
		.name = "everybody on one squeue",
		.producers = 3, .enterers = 2, .queues = 1, .ops = 8, .batch = 8,
		.follow_ups = 10,
		.limits = { 8, NO_LIMIT, NO_LIMIT, 0, 8 },
	}, {
		.name = "everybody on four squeues",
		.producers = 3, .enterers = 2, .queues = 4, .ops = 8,
		.batch = 16, .follow_ups = 25,
		.limits = { 5, NO_LIMIT, NO_LIMIT, 0, 5 },
	}, {
		.name = "a budget of one",
		.producers = 2, .enterers = 1, .queues = 1, .ops = 4, .batch = 3,
		.follow_ups = 10,
		.limits = { 1, NO_LIMIT, NO_LIMIT, 0, 1 },
	}, {
		.name = "a budget of zero, which counts as one",
		.producers = 2, .enterers = 1, .queues = 2, .ops = 4, .batch = 3,
		.limits = { 0, NO_LIMIT, NO_LIMIT, 0, 0 },
	}, {
		.name = "a short limit on length",
		.producers = 3, .enterers = 1, .queues = 2, .ops = 8,
		.batch = 16, .follow_ups = 10,
		.limits = { 3, 4, NO_LIMIT, 0, 3 },
	}, {
		.name = "a short limit on bytes",
		.producers = 3, .enterers = 1, .queues = 2, .ops = 8,
		.batch = 16, .follow_ups = 10,
		.limits = { 64, NO_LIMIT, 3 * MAX_WEIGHT, 0, NO_LIMIT },
	}, {
		.name = "one producer and the owner",
		.policy = POLICY_THREAD,
		.producers = 1, .queues = 1, .ops = 4, .batch = 3,
		.limits = { 1, NO_LIMIT, NO_LIMIT, 0 },
	}, {
		.name = "two producers and an owner that polls",
		.policy = POLICY_THREAD,
		.producers = 2, .queues = 1, .ops = 4, .batch = 2,
		.posts = 20,
		.limits = { 64, NO_LIMIT, NO_LIMIT, 2 },
	}, {
		.name = "owners that bring work to each other",
		.policy = POLICY_THREAD,
		.producers = 2, .queues = 3, .ops = 4, .batch = 8,
		.follow_ups = 25, .posts = 30,
		.limits = { 5, NO_LIMIT, NO_LIMIT, 5 },
	}, {
		.name = "owners that are woken for nothing",
		.policy = POLICY_THREAD,
		.producers = 3, .queues = 2, .ops = 4, .batch = 3,
		.follow_ups = 10, .false_alarms = 30,
		.limits = { 1, NO_LIMIT, NO_LIMIT, 0 },
	}, {
		.name = "nodes that are posted past the limits",
		.policy = POLICY_THREAD,
		.producers = 3, .queues = 2, .ops = 8, .batch = 16,
		.follow_ups = 10, .posts = 40,
		.limits = { 3, 4, 3 * MAX_WEIGHT, 1 },
	},
};

struct queue {
	struct squeue		sq;

	/* Written inside the squeue only, and on purpose not atomic. */
	unsigned long		processed;
	unsigned long		batches;
	unsigned long		visits;
	unsigned int		batch_max;
	unsigned long		seen[MAX_THREADS];

	/* The holder's number while it is inside; only ever a witness. */
	unsigned int		inside;

	unsigned int		kick_wanted;
	unsigned long		kick_calls;

	/* Of the owner, if there is one. */
	struct task_struct	task;
	unsigned long		turns;

	/* As of the end of the last round. */
	unsigned long		posted;
	unsigned long		posted_max;	/* in one round */
	unsigned long		idle_processed;
	u64			busy_ns;
};

struct work {
	struct llist_node	node;
	struct queue		*queue;
	unsigned int		producer;
	unsigned int		bytes;		/* 0 if it was posted */
	bool			follow_up;
	unsigned long		seq;
};

/* What one thread did to one squeue. */
struct tally {
	unsigned long	sent;
	unsigned long	posted;		/* of these, */
	unsigned long	posted_over;	/* and of these, past a limit */
	unsigned long	refused;
	unsigned long	entered;
	unsigned long	waits;
	unsigned long	relieved;	/* of these, by pokes */
	unsigned long	pokes;
	unsigned long	pokes_inside;
};

struct thread {
	pthread_t	id;
	unsigned int	index;
	unsigned long long	rng;
	unsigned int	op_drained;	/* by the operation under way, */
	unsigned int	op_budgets;	/* which has so many budgets */
	bool		flushing;
	struct tally	tally[MAX_QUEUES];
};

struct barrier {
	unsigned int	arrived;
	unsigned int	generation;
};

/* What happened in all scenarios; at the end each must have happened. */
static struct {
	unsigned long	handed;
	unsigned long	waited;
	unsigned long	relieved;
	unsigned long	kicks;
	unsigned long	dropped;
	unsigned long	follow_ups;
	unsigned long	wakeups;
	unsigned long	polls_paid;
	unsigned long	polls_unpaid;
	unsigned long	posted_over;
} met[POLICIES];

static const struct scenario *scenario;
static unsigned int scenario_number;
static struct squeue_limits limits;
static struct queue *queues;
static struct thread threads[MAX_THREADS];
static unsigned int nr_cpus;
static unsigned int nr_workers;
static unsigned int nr_threads;		/* the kicker, or owners, come last */
static struct barrier start, end;
static u64 started, deadline;		/* of the scenario, by local_clock() */
static unsigned long rounds;
static bool stopping;			/* no more rounds */
static bool all_done;			/* tells the kicker and owners to end */
static bool settling;			/* only the kicker and owners move */
static sem_t kick_sem;
static unsigned int kicks_open;		/* asked for and not yet served */

__thread unsigned int shim_cpu;
__thread unsigned long shim_waits;
__thread unsigned int shim_bh_disabled;
__thread struct task_struct *current;	/* NULL but for owners */
unsigned int shim_tasks_awake;
static __thread struct thread *me;

/* The first failure is the result; the threads are left where they are. */
static __noreturn __printf(1, 2) void fail(const char *format, ...)
{
	static unsigned int failed;
	va_list args;

	if (__atomic_exchange_n(&failed, 1, __ATOMIC_SEQ_CST))
		for (;;)
			pause();
	printf("not ok %u - %s: %s\n# round %lu: ", scenario_number,
	       policy_names[scenario->policy], scenario->name, rounds);
	va_start(args, format);
	vprintf(format, args);
	va_end(args);
	printf("\n");
	fflush(stdout);
	_exit(1);
}

static unsigned int random_below(unsigned int bound)
{
	/* xorshift64* */
	me->rng ^= me->rng >> 12;
	me->rng ^= me->rng << 25;
	me->rng ^= me->rng >> 27;
	return ((me->rng * 2685821657736338717ULL) >> 32) % bound;
}

static struct queue *random_queue(void)
{
	return &queues[random_below(scenario->queues)];
}

static struct tally *my_tally(const struct queue *queue)
{
	return &me->tally[queue - queues];
}

static unsigned int budget(void)
{
	return limits.budget ? limits.budget : 1;
}

/* Shift the threads against each other, by up to @most short moments. */
static void dawdle(unsigned int most)
{
	unsigned int delay;

	for (delay = random_below(most); delay; delay--)
		barrier();
}

/* Spinning brings the threads together much more closely than sleeping. */
static void barrier_wait(struct barrier *b)
{
	unsigned int generation = __atomic_load_n(&b->generation,
						  __ATOMIC_RELAXED);
	unsigned int spins = 0;

	if (__atomic_add_fetch(&b->arrived, 1, __ATOMIC_ACQ_REL) == nr_workers) {
		__atomic_store_n(&b->arrived, 0, __ATOMIC_RELAXED);
		__atomic_store_n(&b->generation, generation + 1,
				 __ATOMIC_RELEASE);
		return;
	}
	while (__atomic_load_n(&b->generation, __ATOMIC_ACQUIRE) == generation)
		if (++spins % 256 == 0)
			sched_yield();
}

static void begin_inside(struct queue *queue)
{
	unsigned int inside = READ_ONCE(queue->inside);

	if (inside)
		fail("thread %u came in while %u was inside", shim_cpu, inside);
	if (!spin_is_held_here(&queue->sq.lock))
		fail("thread %u is inside without the lock", shim_cpu);
	if (this_cpu_read(squeue_current) != &queue->sq)
		fail("thread %u is inside, squeue_current says otherwise",
		     shim_cpu);
	if (queue->sq.thread != current)
		fail("thread %u is inside, but is not the owner", shim_cpu);
	if (!shim_bh_disabled)
		fail("thread %u is inside with BH enabled", shim_cpu);
	if (READ_ONCE(queue->sq.asleep))
		fail("the owner is inside and says that it sleeps");
	WRITE_ONCE(queue->inside, shim_cpu);
	queue->visits++;
}

static void end_inside(struct queue *queue)
{
	unsigned int inside = READ_ONCE(queue->inside);

	if (inside != shim_cpu)
		fail("thread %u was inside and now %u is", shim_cpu, inside);
	WRITE_ONCE(queue->inside, 0);
}

/* Is a node refused now that is not posted?  Somebody may drain meanwhile. */
static bool over_limit(struct squeue *sq)
{
	return squeue_len(sq) >= limits.max_len ||
	       atomic_long_read(&sq->bytes) >= limits.max_bytes;
}

static void produce(struct queue *queue, bool follow_up)
{
	bool post = random_below(100) < scenario->posts;
	struct tally *tally = my_tally(queue);
	struct work *work = malloc(sizeof(*work));

	if (!work)
		fail("out of memory");
	work->queue = queue;
	work->producer = me->index;
	work->bytes = post ? 0 : 1 + random_below(MAX_WEIGHT);
	work->follow_up = follow_up;
	work->seq = tally->sent + 1;
	if (post) {
		tally->posted_over += over_limit(&queue->sq);
		tally->posted++;
		tally->sent++;
		squeue_post(&queue->sq, &work->node);
	} else if (squeue_enqueue(&queue->sq, &work->node, work->bytes)) {
		tally->sent++;
	} else {
		tally->refused++;
		free(work);
	}
}

/*
 * From within one squeue, poke another or the same: must lead to a kick, or
 * wake its owner, but for the one who does it.
 */
static void poke_inside(struct queue *queue)
{
	if (scenario->policy == POLICY_THREAD)
		my_tally(queue)->pokes++;
	my_tally(queue)->pokes_inside++;
	squeue_poke(&queue->sq);
}

static void check_outside(const char *operation)
{
	if (this_cpu_read(squeue_current))
		fail("squeue_current is set after %s", operation);
}

static void process_one(struct queue *queue, const struct work *work)
{
	unsigned long *seen = &queue->seen[work->producer];

	if (work->queue != queue)
		fail("a node came out of a squeue it was not put on");
	if (work->seq != *seen + 1)
		fail("producer %u: node %lu came after node %lu",
		     work->producer, work->seq, *seen);
	*seen = work->seq;
	queue->processed++;
}

static unsigned long torture_process(struct squeue *sq, struct llist_node *batch)
{
	struct queue *queue = container_of(sq, struct queue, sq);
	unsigned long queue_bytes = atomic_long_read(&sq->bytes);
	unsigned long bytes = 0;
	unsigned int n = 0;

	begin_inside(queue);
	if (queue_bytes > limits.max_bytes + MAX_THREADS * MAX_WEIGHT)
		fail("%lu bytes queued", queue_bytes);
	while (batch) {
		struct work *work = container_of(batch, struct work, node);

		batch = batch->next;
		process_one(queue, work);
		bytes += work->bytes;
		n++;
		if (work->follow_up) {
			struct queue *other = random_queue();

			produce(other, false);
			poke_inside(other);
		}
		free(work);
	}
	queue->batches++;
	queue->batch_max = max(queue->batch_max, n);
	me->op_drained += n;
	if (n > budget())
		fail("a batch of %u nodes, the budget is %u", n, budget());
	if (!me->flushing && me->op_drained > me->op_budgets * budget())
		fail("one operation drained %u nodes, the budget is %u",
		     me->op_drained, budget());
	end_inside(queue);
	return bytes;
}

static void torture_kick(struct squeue *sq)
{
	struct queue *queue = container_of(sq, struct queue, sq);

	__atomic_fetch_add(&queue->kick_calls, 1, __ATOMIC_RELAXED);
	if (sq->thread)
		return;
	__atomic_fetch_add(&kicks_open, 1, __ATOMIC_RELAXED);
	/* As tasklet_schedule() does: fully ordered, and once until it runs. */
	if (xchg(&queue->kick_wanted, 1))
		__atomic_fetch_sub(&kicks_open, 1, __ATOMIC_RELEASE);
	else
		sem_post(&kick_sem);
}

static const struct squeue_policy torture_policy = {
	.process = torture_process,
	.kick = torture_kick,
};

static void poke(struct queue *queue)
{
	unsigned long waits = shim_waits;

	my_tally(queue)->pokes++;
	me->op_drained = 0;
	squeue_poke(&queue->sq);
	my_tally(queue)->waits += shim_waits - waits;
	my_tally(queue)->relieved += shim_waits - waits;
	check_outside("squeue_poke()");
}

/*
 * Wait until the owner has drained its queue, or will not soon, and then a
 * little: now it is about to sleep, and that is the time to disturb it.
 */
static void lie_in_wait(struct queue *queue)
{
	unsigned int spins;

	for (spins = 1; spins < 4096 && squeue_len(&queue->sq); spins++) {
		cpu_relax();
		if (spins % 256 == 0)
			sched_yield();
	}
	dawdle(256);
}

static void produce_batch(void)
{
	bool threaded = scenario->policy == POLICY_THREAD;
	unsigned int n = 1 + random_below(scenario->batch);
	bool touched[MAX_QUEUES] = {};
	unsigned int i;

	if (threaded && random_below(2))
		lie_in_wait(random_queue());
	if (random_below(100) < scenario->false_alarms)
		wake_up_process(random_queue()->sq.thread);

	while (n--) {
		struct queue *queue = random_queue();

		produce(queue, random_below(100) < scenario->follow_ups);
		touched[queue - queues] = true;
	}
	for (i = 0; i < scenario->queues; i++) {
		if (!touched[i])
			continue;
		/* A poke may come so late that all is done by then. */
		if (threaded && !random_below(4))
			lie_in_wait(&queues[i]);
		poke(&queues[i]);
	}
}

static void flush_inside(struct queue *queue)
{
	unsigned long sent = my_tally(queue)->sent;

	/* Follow-ups of what is flushed come after, and may stay. */
	me->flushing = true;
	squeue_flush(&queue->sq);
	me->flushing = false;
	if (queue->seen[me->index] < sent)
		fail("squeue_flush() left behind what its caller had enqueued");
}

static void enter_and_leave(void)
{
	struct queue *queue = random_queue();
	unsigned long waits = shim_waits;

	my_tally(queue)->entered++;
	me->op_drained = 0;
	squeue_enter(&queue->sq);
	my_tally(queue)->waits += shim_waits - waits;
	begin_inside(queue);
	if (!random_below(4)) {
		struct queue *other = random_queue();

		produce(other, false);
		poke_inside(other);
	}
	end_inside(queue);
	if (!random_below(4))
		flush_inside(queue);
	me->op_drained = 0;
	squeue_leave(&queue->sq);
	check_outside("squeue_leave()");
}

static struct tally sum_tallies(const struct queue *queue)
{
	struct tally sum = {};
	unsigned int i;

	for (i = 0; i < nr_threads; i++) {
		const struct tally *tally = &threads[i].tally[queue - queues];

		sum.sent += tally->sent;
		sum.posted += tally->posted;
		sum.posted_over += tally->posted_over;
		sum.refused += tally->refused;
		sum.entered += tally->entered;
		sum.waits += tally->waits;
		sum.relieved += tally->relieved;
		sum.pokes += tally->pokes;
		sum.pokes_inside += tally->pokes_inside;
	}
	return sum;
}

static void check_inline(const struct queue *queue, const struct tally *sum)
{
	const struct squeue *sq = &queue->sq;
	unsigned long handed = atomic_long_read(&sq->handed);

	if (queue->visits != queue->batches + sum->entered)
		fail("%lu visits, %lu batches and %lu entered", queue->visits,
		     queue->batches, sum->entered);
	if (queue->kick_calls != sq->kicks + sum->pokes_inside)
		fail("%lu kicks; counted %lu and %lu pokes from inside",
		     queue->kick_calls, sq->kicks, sum->pokes_inside);
	if (sq->waited != sum->waits)
		fail("%lu waited; counted %lu", sum->waits, sq->waited);
	if (READ_ONCE(sq->relief))
		fail("nobody waits, and relief is promised");
	/* The rest of the acquisitions are second looks of squeue_release(). */
	if (sq->acquired + handed < sum->entered + sum->pokes)
		fail("%lu entered, %lu pokes; acquired is %lu, handed %lu",
		     sum->entered, sum->pokes, sq->acquired, handed);
}

static void check_thread(struct queue *queue, const struct tally *sum)
{
	const struct squeue *sq = &queue->sq;
	unsigned long wakeups = atomic_long_read(&sq->wakeups);
	unsigned long handed = atomic_long_read(&sq->handed);
	/* Each time it polled in vain it set out to sleep, and only then. */
	unsigned long unpaid = limits.poll_us ? queue->task.sleeps : 0;
	unsigned long processed = queue->processed - queue->idle_processed;
	u64 busy_ns = sq->busy_ns - queue->busy_ns;

	if (!READ_ONCE(sq->asleep))
		fail("the owner sleeps and does not say so");
	if (wakeups + handed != sum->pokes)
		fail("%lu pokes; wakeups is %lu, handed %lu", sum->pokes,
		     wakeups, handed);
	if (wakeups > queue->task.sleeps)
		fail("the owner slept %lu times, wakeups is %lu",
		     queue->task.sleeps, wakeups);
	if (sq->waited)
		fail("nobody else enters, and %lu times the owner waited",
		     sq->waited);
	if (queue->kick_calls != sq->kicks)
		fail("%lu kicks; counted %lu", queue->kick_calls, sq->kicks);
	if (sq->polls_unpaid != unpaid)
		fail("the owner slept %lu times, polls_unpaid is %lu",
		     queue->task.sleeps, sq->polls_unpaid);
	/* What a poll finds, the next turn processes. */
	if (sq->polls_paid > (limits.poll_us ? queue->batches : 0) ||
	    sq->polls_paid + queue->task.sleeps > queue->turns)
		fail("%lu batches, %lu turns, %lu sleeps; polls_paid is %lu",
		     queue->batches, queue->turns, queue->task.sleeps,
		     sq->polls_paid);
	if (!processed != !busy_ns)
		fail("%lu nodes were processed, busy_ns grew by %llu",
		     processed, (unsigned long long)busy_ns);
	if (sq->busy_ns > local_clock() - started)
		fail("the owner was busy for longer than it exists");
	queue->busy_ns = sq->busy_ns;
	queue->idle_processed = queue->processed;
}

/* Nobody but the caller is left, so each of these figures is final. */
static void check_queue(struct queue *queue)
{
	struct squeue *sq = &queue->sq;
	unsigned long queued = atomic_long_read(&sq->queued);
	struct tally sum = sum_tallies(queue);
	long bytes = atomic_long_read(&sq->bytes);
	unsigned int i;

	if (sq->pending || !llist_empty(&sq->incoming))
		fail("stranded: all is quiet and %lu nodes are queued",
		     squeue_len(sq));
	for (i = 0; i < nr_threads; i++)
		if (queue->seen[i] != threads[i].tally[queue - queues].sent)
			fail("producer %u sent %lu nodes, %lu were processed",
			     i, threads[i].tally[queue - queues].sent,
			     queue->seen[i]);
	if (READ_ONCE(sq->lock.holder))
		fail("the lock is held");
	if (queued != sum.sent)
		fail("%lu nodes were accepted, queued is %lu", sum.sent, queued);
	if (sq->drained != queued || queue->processed != queued)
		fail("queued %lu, drained %lu, processed %lu", queued,
		     sq->drained, queue->processed);
	if (bytes)
		fail("the queue is empty, bytes is %ld", bytes);
	if ((unsigned long)atomic_long_read(&sq->dropped) != sum.refused)
		fail("%lu nodes were refused, dropped is %ld", sum.refused,
		     atomic_long_read(&sq->dropped));
	if (sq->batches != queue->batches || sq->batch_max != queue->batch_max)
		fail("%lu batches of at most %u; counted %lu and %u",
		     queue->batches, queue->batch_max, sq->batches,
		     sq->batch_max);
	queue->posted_max = max(queue->posted_max, sum.posted - queue->posted);
	queue->posted = sum.posted;
	if (sq->len_max > limits.max_len + MAX_THREADS + queue->posted_max)
		fail("%u nodes waited, the limit is %u", sq->len_max,
		     limits.max_len);
	if (scenario->policy == POLICY_THREAD)
		check_thread(queue, &sum);
	else
		check_inline(queue, &sum);
}

/* No worker moves any more, so kicks and wake-ups only come from the like. */
static void settle(void)
{
	u64 since = local_clock();

	while (__atomic_load_n(&kicks_open, __ATOMIC_ACQUIRE) ||
	       __atomic_load_n(&shim_tasks_awake, __ATOMIC_ACQUIRE)) {
		if (local_clock() - since > SETTLE_NS)
			fail("it does not come to rest: %u kicks are open, %u owners awake",
			     READ_ONCE(kicks_open),
			     READ_ONCE(shim_tasks_awake));
		sched_yield();
	}
}

static void end_round(void)
{
	unsigned int i;

	__atomic_store_n(&settling, true, __ATOMIC_RELEASE);
	settle();
	for (i = 0; i < scenario->queues; i++)
		check_queue(&queues[i]);
	__atomic_store_n(&settling, false, __ATOMIC_RELEASE);

	rounds++;
	/*
	 * The barrier orders this, but without WRITE_ONCE() and READ_ONCE()
	 * gcc 12 takes barrier_wait() for a function that leaves all statics
	 * but its own alone, and the workers never look again.
	 */
	WRITE_ONCE(stopping, local_clock() >= deadline);
}

static void become(struct thread *thread)
{
	me = thread;
	shim_cpu = thread->index + 1;
}

/*
 * Spread the workers over the CPUs: left alone, a busy machine's scheduler
 * likes to run them on one, by turns, and then they hardly ever race.
 */
static void spread(unsigned int index)
{
	unsigned int cpu, n;
	cpu_set_t allowed;
	cpu_set_t one;
	int error;

	error = pthread_getaffinity_np(pthread_self(), sizeof(allowed),
				       &allowed);
	if (error)
		fail("pthread_getaffinity_np: %s", strerror(error));
	n = index % nr_cpus;
	for (cpu = 0; !CPU_ISSET(cpu, &allowed) || n--; cpu++)
		;
	CPU_ZERO(&one);
	CPU_SET(cpu, &one);
	error = pthread_setaffinity_np(pthread_self(), sizeof(one), &one);
	if (error)
		fail("pthread_setaffinity_np: %s", strerror(error));
}

static void *worker_main(void *arg)
{
	unsigned int ops;

	become(arg);
	local_bh_disable();
	spread(me->index);
	for (;;) {
		barrier_wait(&start);
		if (READ_ONCE(stopping))
			return NULL;
		/* By up to a few operations. */
		dawdle(512);
		for (ops = 1 + random_below(scenario->ops); ops; ops--) {
			if (me->index < scenario->producers)
				produce_batch();
			else
				enter_and_leave();
		}
		barrier_wait(&end);
		if (me->index == 0)
			end_round();
	}
}

static void serve_kick(struct queue *queue)
{
	bool alone = __atomic_load_n(&settling, __ATOMIC_ACQUIRE);
	unsigned long drained = READ_ONCE(queue->sq.drained);

	poke(queue);
	if (alone && READ_ONCE(queue->sq.drained) == drained &&
	    squeue_len(&queue->sq))
		fail("a kick found the lock free and drained nothing");
}

static void *kicker_main(void *arg)
{
	unsigned int i;

	become(arg);
	local_bh_disable();
	for (;;) {
		while (sem_wait(&kick_sem))
			if (errno != EINTR)
				fail("sem_wait: %s", strerror(errno));
		if (READ_ONCE(all_done))
			return NULL;
		for (i = 0; i < scenario->queues; i++) {
			if (!xchg(&queues[i].kick_wanted, 0))
				continue;
			serve_kick(&queues[i]);
			__atomic_fetch_sub(&kicks_open, 1, __ATOMIC_RELEASE);
		}
	}
}

static void *owner_main(void *arg)
{
	unsigned long paid;
	struct queue *queue;

	become(arg);
	spread(me->index);
	queue = &queues[me->index - nr_workers];
	current = &queue->task;
	me->op_budgets = 2;
	while (!READ_ONCE(all_done)) {
		/* At times somebody else wants the CPU, and polling ends. */
		current->need_resched = !random_below(8);
		paid = queue->sq.polls_paid;
		me->op_drained = 0;
		queue->turns++;
		squeue_turn(&queue->sq);
		check_outside("squeue_turn()");
		if (current->need_resched && queue->sq.polls_paid != paid)
			fail("the owner polled though another task wants the CPU");
		if (shim_bh_disabled)
			fail("BH is disabled after squeue_turn()");
		if (READ_ONCE(current->__state) != TASK_RUNNING)
			fail("the owner runs on after squeue_turn() in state %#x",
			     READ_ONCE(current->__state));
	}
	return NULL;
}

static void start_thread(unsigned int index, unsigned long long seed,
			 void *(*function)(void *))
{
	struct thread *thread = &threads[index];
	int error;

	memset(thread, 0, sizeof(*thread));
	thread->index = index;
	thread->op_budgets = 1;
	/* Any odd constant spreads neighbouring seeds; the state is never 0. */
	thread->rng = (seed + index + 1) * 0x9e3779b97f4a7c15ULL | 1;
	error = pthread_create(&thread->id, NULL, function, thread);
	if (error)
		fail("cannot start thread %u: %s", index, strerror(error));
}

static void report_inline(void)
{
	unsigned long relocks = 0, waited = 0, relieved = 0;
	unsigned int i;

	for (i = 0; i < scenario->queues; i++) {
		const struct squeue *sq = &queues[i].sq;
		struct tally sum = sum_tallies(&queues[i]);

		waited += sq->waited;
		relieved += sum.relieved;
		relocks += sq->acquired + atomic_long_read(&sq->handed);
		relocks -= sum.entered + sum.pokes;
	}
	met[POLICY_INLINE].waited += waited;
	met[POLICY_INLINE].relieved += relieved;
	printf("# %lu second looks, %lu waited, of them %lu to relieve\n",
	       relocks, waited, relieved);
}

static void report_thread(void)
{
	unsigned long wakeups = 0, sleeps = 0, paid = 0, unpaid = 0, over = 0;
	unsigned int i;

	for (i = 0; i < scenario->queues; i++) {
		const struct squeue *sq = &queues[i].sq;

		wakeups += atomic_long_read(&sq->wakeups);
		sleeps += queues[i].task.sleeps;
		paid += sq->polls_paid;
		unpaid += sq->polls_unpaid;
		over += sum_tallies(&queues[i]).posted_over;
	}
	met[POLICY_THREAD].wakeups += wakeups;
	met[POLICY_THREAD].polls_paid += paid;
	met[POLICY_THREAD].polls_unpaid += unpaid;
	met[POLICY_THREAD].posted_over += over;
	printf("# %lu sleeps, %lu wakeups, %lu polls paid, %lu did not\n",
	       sleeps, wakeups, paid, unpaid);
	printf("# %lu posted past a limit\n", over);
}

static void report(void)
{
	unsigned long queued = 0, dropped = 0, handed = 0, kicks = 0;
	unsigned int i;

	for (i = 0; i < scenario->queues; i++) {
		const struct squeue *sq = &queues[i].sq;

		queued += atomic_long_read(&sq->queued);
		dropped += atomic_long_read(&sq->dropped);
		handed += atomic_long_read(&sq->handed);
		kicks += sq->kicks;
		met[scenario->policy].follow_ups +=
			sum_tallies(&queues[i]).pokes_inside;
	}
	met[scenario->policy].dropped += dropped;
	met[scenario->policy].handed += handed;
	met[scenario->policy].kicks += kicks;
	printf("ok %u - %s: %s\n", scenario_number,
	       policy_names[scenario->policy], scenario->name);
	printf("# %lu rounds, %lu nodes, %lu dropped, %lu handed over, %lu kicks\n",
	       rounds, queued, dropped, handed, kicks);
	if (scenario->policy == POLICY_THREAD)
		report_thread();
	else
		report_inline();
	fflush(stdout);
}

static void start_helpers(unsigned long long seed)
{
	unsigned int i;

	if (scenario->policy == POLICY_INLINE) {
		start_thread(nr_workers, seed, kicker_main);
		return;
	}
	shim_tasks_awake = scenario->queues;
	for (i = 0; i < scenario->queues; i++) {
		shim_task_init(&queues[i].task);
		queues[i].sq.thread = &queues[i].task;
		start_thread(nr_workers + i, seed, owner_main);
	}
}

/* All is quiet: the kicker waits for work, and the owners sleep. */
static void stop_helpers(void)
{
	unsigned int i;

	WRITE_ONCE(all_done, true);
	sem_post(&kick_sem);
	for (i = nr_workers; i < nr_threads; i++) {
		if (scenario->policy == POLICY_THREAD)
			wake_up_process(queues[i - nr_workers].sq.thread);
		pthread_join(threads[i].id, NULL);
	}
}

static void run_scenario(u64 duration_ns, unsigned long long seed)
{
	unsigned int i;

	nr_workers = scenario->producers + scenario->enterers;
	nr_threads = nr_workers + 1;
	if (scenario->policy == POLICY_THREAD)
		nr_threads = nr_workers + scenario->queues;
	if (nr_threads > MAX_THREADS || scenario->queues > MAX_QUEUES)
		fail("the scenario is larger than its arrays");
	limits = scenario->limits;
	rounds = 0;
	stopping = false;
	all_done = false;
	settling = false;
	kicks_open = 0;
	shim_tasks_awake = 0;
	memset(&start, 0, sizeof(start));
	memset(&end, 0, sizeof(end));
	if (sem_init(&kick_sem, 0, 0))
		fail("sem_init: %s", strerror(errno));

	queues = aligned_alloc(__alignof__(struct queue),
			       scenario->queues * sizeof(struct queue));
	if (!queues)
		fail("out of memory");
	memset(queues, 0, scenario->queues * sizeof(struct queue));
	for (i = 0; i < scenario->queues; i++)
		squeue_init(&queues[i].sq, &torture_policy, &limits);

	started = local_clock();
	deadline = started + duration_ns;

	start_helpers(seed);
	for (i = 0; i < nr_workers; i++)
		start_thread(i, seed, worker_main);
	for (i = 0; i < nr_workers; i++)
		pthread_join(threads[i].id, NULL);
	stop_helpers();

	report();
	sem_destroy(&kick_sem);
	free(queues);
}

/* On how many CPUs we may run. */
static unsigned int count_cpus(void)
{
	cpu_set_t allowed;

	if (sched_getaffinity(0, sizeof(allowed), &allowed)) {
		fprintf(stderr, "torture: sched_getaffinity: %s\n",
			strerror(errno));
		exit(2);
	}
	return CPU_COUNT(&allowed);
}

/*
 * A race that never happened was not tested.  Waiting for the lock, and what
 * comes while the owner polls, takes two CPUs.
 */
static bool all_met(enum policy policy)
{
	if (!met[policy].handed || !met[policy].kicks ||
	    !met[policy].dropped || !met[policy].follow_ups)
		return false;
	if (policy == POLICY_INLINE)
		return (met[policy].waited > met[policy].relieved &&
			met[policy].relieved) || nr_cpus == 1;
	return met[policy].wakeups && met[policy].polls_unpaid &&
	       met[policy].posted_over &&
	       (met[policy].polls_paid || nr_cpus == 1);
}

static unsigned long parse_number(const char *name, const char *text,
				  unsigned long most)
{
	unsigned long value;
	char *rest;

	errno = 0;
	value = strtoul(text, &rest, 10);
	if (errno || rest == text || *rest || *text == '-' || value > most) {
		fprintf(stderr, "torture: %s is '%s'; expected a number from 0 to %lu\n",
			name, text, most);
		exit(2);
	}
	return value;
}

static enum policy parse_policy(const char *text)
{
	unsigned int i;

	for (i = 0; i < POLICIES; i++)
		if (!strcmp(text, policy_names[i]))
			return i;
	fprintf(stderr, "torture: -p is '%s'; expected inline or thread\n",
		text);
	exit(2);
}

int main(int argc, char **argv)
{
	unsigned long seconds = 3, seed = time(NULL);
	bool wanted[POLICIES] = { true, true };
	unsigned int i, tests = 0;
	int status = 0;
	int option;

	while ((option = getopt(argc, argv, "p:t:s:")) != -1) {
		switch (option) {
		case 'p':
			memset(wanted, 0, sizeof(wanted));
			wanted[parse_policy(optarg)] = true;
			break;
		case 't':
			seconds = parse_number("-t", optarg, 24 * 3600);
			break;
		case 's':
			seed = parse_number("-s", optarg, 4294967295UL);
			break;
		default:
			optind = argc + 1;
		}
	}
	if (optind != argc) {
		fprintf(stderr, "usage: torture [-p inline|thread] [-t seconds] [-s seed]\n");
		return 2;
	}

	nr_cpus = count_cpus();
	for (i = 0; i < ARRAY_SIZE(scenarios); i++)
		tests += wanted[scenarios[i].policy];
	printf("TAP version 13\n1..%u\n# seed %lu\n",
	       tests + wanted[POLICY_INLINE] + wanted[POLICY_THREAD], seed);
	fflush(stdout);
	for (i = 0; i < ARRAY_SIZE(scenarios); i++) {
		scenario = &scenarios[i];
		if (!wanted[scenario->policy])
			continue;
		scenario_number++;
		run_scenario(seconds * NSEC_PER_SEC / tests, seed);
	}
	for (i = 0; i < POLICIES; i++) {
		if (!wanted[i])
			continue;
		if (!all_met(i))
			status = 1;
		printf("%s %u - %s: every kind of race happened\n",
		       all_met(i) ? "ok" : "not ok", ++scenario_number,
		       policy_names[i]);
	}
	return status;
}
