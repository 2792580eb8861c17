// SPDX-License-Identifier: GPL-2.0
/*
 * squeue torture: real threads race kernel/locking/squeue.c in user space.
 *
 * Each thread plays a CPU with BH disabled.  Producers enqueue batches and
 * poke, as packet input does; enterers enter, work on the objects, sometimes
 * flush, and leave, as system calls do; the kicker answers policy->kick() with
 * a poke, as a tasklet does.
 *
 * A run is a great many short rounds.  In a round every thread does a few
 * operations at random; then all stop, the kicks that were asked for are
 * served, and nothing else happens to the squeues: no poke, no enter.  A node
 * that is left on a queue at that moment is stranded, whereas in a continuous
 * load the next operation would pick it up and hide the fault.
 *
 * What is checked, as the work is done and at the end of each round:
 *  - per producer and squeue, sequence numbers come in one by one: nothing is
 *    lost, run twice or overtaken;
 *  - never two are inside one squeue, and nobody inside lacks the lock;
 *  - no operation drains more than the budget, and no queue outgrows its
 *    limits by more than the threads that can pass the check together;
 *  - a flush processes all that its caller enqueued before;
 *  - nothing is stranded, no kick is lost, each kick gets something done;
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
#include <linux/squeue.h>

#define ARRAY_SIZE(a)	(sizeof(a) / sizeof((a)[0]))

#define MAX_THREADS	8
#define MAX_QUEUES	4
#define MAX_WEIGHT	1500
#define NO_LIMIT	1000000000
#define NSEC_PER_SEC	1000000000ULL

struct scenario {
	const char	*name;
	unsigned int	producers;
	unsigned int	enterers;
	unsigned int	queues;
	unsigned int	ops;		/* per thread and round, at most */
	unsigned int	batch;		/* nodes before a poke, at most */
	unsigned int	follow_ups;	/* per cent of nodes that bring more */
	struct squeue_limits limits;
};

static const struct scenario scenarios[] = {
	{
		.name = "two producers, one node each",
		.producers = 2, .queues = 1, .ops = 1, .batch = 1,
		.limits = { 64, NO_LIMIT, NO_LIMIT },
	}, {
		.name = "one producer against one inside",
		.producers = 1, .enterers = 1, .queues = 1, .ops = 2, .batch = 2,
		.limits = { 64, NO_LIMIT, NO_LIMIT },
	}, {
		.name = "everybody on one squeue",
		.producers = 3, .enterers = 2, .queues = 1, .ops = 8, .batch = 8,
		.follow_ups = 10,
		.limits = { 8, NO_LIMIT, NO_LIMIT },
	}, {
		.name = "everybody on four squeues",
		.producers = 3, .enterers = 2, .queues = 4, .ops = 8,
		.batch = 16, .follow_ups = 25,
		.limits = { 5, NO_LIMIT, NO_LIMIT },
	}, {
		.name = "a budget of one",
		.producers = 2, .enterers = 1, .queues = 1, .ops = 4, .batch = 3,
		.follow_ups = 10,
		.limits = { 1, NO_LIMIT, NO_LIMIT },
	}, {
		.name = "a budget of zero, which counts as one",
		.producers = 2, .enterers = 1, .queues = 2, .ops = 4, .batch = 3,
		.limits = { 0, NO_LIMIT, NO_LIMIT },
	}, {
		.name = "a short limit on length",
		.producers = 3, .enterers = 1, .queues = 2, .ops = 8,
		.batch = 16, .follow_ups = 10,
		.limits = { 3, 4, NO_LIMIT },
	}, {
		.name = "a short limit on bytes",
		.producers = 3, .enterers = 1, .queues = 2, .ops = 8,
		.batch = 16, .follow_ups = 10,
		.limits = { 64, NO_LIMIT, 3 * MAX_WEIGHT },
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
};

struct work {
	struct llist_node	node;
	struct queue		*queue;
	unsigned int		producer;
	unsigned int		bytes;
	bool			follow_up;
	unsigned long		seq;
};

/* What one thread did to one squeue. */
struct tally {
	unsigned long	sent;
	unsigned long	refused;
	unsigned long	entered;
	unsigned long	pokes;
	unsigned long	pokes_inside;
};

struct thread {
	pthread_t	id;
	unsigned int	index;
	unsigned long long	rng;
	unsigned int	op_drained;	/* by the operation under way */
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
	unsigned long	kicks;
	unsigned long	dropped;
	unsigned long	follow_ups;
} met;

static const struct scenario *scenario;
static unsigned int scenario_number;
static struct squeue_limits limits;
static struct queue *queues;
static struct thread threads[MAX_THREADS];
static unsigned int nr_workers;		/* the kicker comes after them */
static struct barrier start, end;
static unsigned long long deadline;	/* by now_ns() */
static unsigned long rounds;
static bool stopping;			/* no more rounds */
static bool kicker_done;		/* set before the last sem_post() */
static bool settling;			/* only the kicker moves */
static sem_t kick_sem;
static unsigned int kicks_open;		/* asked for and not yet served */

__thread unsigned int shim_cpu;
static __thread struct thread *me;

/* The first failure is the result; the threads are left where they are. */
static __noreturn __printf(1, 2) void fail(const char *format, ...)
{
	static unsigned int failed;
	va_list args;

	if (__atomic_exchange_n(&failed, 1, __ATOMIC_SEQ_CST))
		for (;;)
			pause();
	printf("not ok %u - %s\n# round %lu: ", scenario_number,
	       scenario->name, rounds);
	va_start(args, format);
	vprintf(format, args);
	va_end(args);
	printf("\n");
	fflush(stdout);
	_exit(1);
}

static unsigned long long now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * NSEC_PER_SEC + now.tv_nsec;
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

static void produce(struct queue *queue, bool follow_up)
{
	struct tally *tally = my_tally(queue);
	struct work *work = malloc(sizeof(*work));

	if (!work)
		fail("out of memory");
	work->queue = queue;
	work->producer = me->index;
	work->bytes = 1 + random_below(MAX_WEIGHT);
	work->follow_up = follow_up;
	work->seq = tally->sent + 1;
	if (squeue_enqueue(&queue->sq, &work->node, work->bytes)) {
		tally->sent++;
	} else {
		tally->refused++;
		free(work);
	}
}

/* From within one squeue, poke another or the same: must lead to a kick. */
static void poke_inside(struct queue *queue)
{
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
	if (!me->flushing && me->op_drained > budget())
		fail("one operation drained %u nodes, the budget is %u",
		     me->op_drained, budget());
	end_inside(queue);
	return bytes;
}

static void torture_kick(struct squeue *sq)
{
	struct queue *queue = container_of(sq, struct queue, sq);

	__atomic_fetch_add(&queue->kick_calls, 1, __ATOMIC_RELAXED);
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
	my_tally(queue)->pokes++;
	me->op_drained = 0;
	squeue_poke(&queue->sq);
	check_outside("squeue_poke()");
}

static void produce_batch(void)
{
	unsigned int n = 1 + random_below(scenario->batch);
	bool touched[MAX_QUEUES] = {};
	unsigned int i;

	while (n--) {
		struct queue *queue = random_queue();

		produce(queue, random_below(100) < scenario->follow_ups);
		touched[queue - queues] = true;
	}
	for (i = 0; i < scenario->queues; i++)
		if (touched[i])
			poke(&queues[i]);
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

	my_tally(queue)->entered++;
	me->op_drained = 0;
	squeue_enter(&queue->sq);
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

/* Nobody but the caller is left, so each of these figures is final. */
static void check_queue(struct queue *queue)
{
	struct squeue *sq = &queue->sq;
	unsigned long queued = atomic_long_read(&sq->queued);
	long bytes = atomic_long_read(&sq->bytes);
	struct tally sum = {};
	unsigned int i;

	for (i = 0; i <= nr_workers; i++) {
		const struct tally *tally = &threads[i].tally[queue - queues];

		sum.sent += tally->sent;
		sum.refused += tally->refused;
		sum.entered += tally->entered;
		sum.pokes += tally->pokes;
		sum.pokes_inside += tally->pokes_inside;
	}

	if (sq->pending || !llist_empty(&sq->incoming))
		fail("stranded: all is quiet and %lu nodes are queued",
		     squeue_len(sq));
	for (i = 0; i <= nr_workers; i++)
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
	if (queue->visits != queue->batches + sum.entered)
		fail("%lu visits, %lu batches and %lu entered", queue->visits,
		     queue->batches, sum.entered);
	if (sq->len_max > limits.max_len + MAX_THREADS)
		fail("%u nodes waited, the limit is %u", sq->len_max,
		     limits.max_len);
	if (queue->kick_calls != sq->kicks + sum.pokes_inside)
		fail("%lu kicks; counted %lu and %lu pokes from inside",
		     queue->kick_calls, sq->kicks, sum.pokes_inside);
	if (sq->waited > sum.entered)
		fail("%lu entered, %lu of them waited", sum.entered,
		     sq->waited);
	/* The rest of the acquisitions are second looks of squeue_leave(). */
	if (sq->acquired + atomic_long_read(&sq->handed) <
	    sum.entered + sum.pokes)
		fail("%lu entered, %lu pokes; acquired is %lu, handed %ld",
		     sum.entered, sum.pokes, sq->acquired,
		     atomic_long_read(&sq->handed));
}

static void end_round(void)
{
	unsigned int i;

	/* No producer moves any more, so kicks only come from kicks. */
	__atomic_store_n(&settling, true, __ATOMIC_RELEASE);
	while (__atomic_load_n(&kicks_open, __ATOMIC_ACQUIRE))
		sched_yield();
	for (i = 0; i < scenario->queues; i++)
		check_queue(&queues[i]);
	__atomic_store_n(&settling, false, __ATOMIC_RELEASE);

	rounds++;
	/*
	 * The barrier orders this, but without WRITE_ONCE() and READ_ONCE()
	 * gcc 12 takes barrier_wait() for a function that leaves all statics
	 * but its own alone, and the workers never look again.
	 */
	WRITE_ONCE(stopping, now_ns() >= deadline);
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
	n = index % CPU_COUNT(&allowed);
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
	unsigned int ops, delay;

	become(arg);
	spread(me->index);
	for (;;) {
		barrier_wait(&start);
		if (READ_ONCE(stopping))
			return NULL;
		/* Shift the threads against each other, by up to a few ops. */
		for (delay = random_below(512); delay; delay--)
			barrier();
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
	for (;;) {
		while (sem_wait(&kick_sem))
			if (errno != EINTR)
				fail("sem_wait: %s", strerror(errno));
		if (READ_ONCE(kicker_done))
			return NULL;
		for (i = 0; i < scenario->queues; i++) {
			if (!xchg(&queues[i].kick_wanted, 0))
				continue;
			serve_kick(&queues[i]);
			__atomic_fetch_sub(&kicks_open, 1, __ATOMIC_RELEASE);
		}
	}
}

static void start_thread(unsigned int index, unsigned long long seed,
			 void *(*function)(void *))
{
	struct thread *thread = &threads[index];
	int error;

	memset(thread, 0, sizeof(*thread));
	thread->index = index;
	/* Any odd constant spreads neighbouring seeds; the state is never 0. */
	thread->rng = (seed + index + 1) * 0x9e3779b97f4a7c15ULL | 1;
	error = pthread_create(&thread->id, NULL, function, thread);
	if (error)
		fail("cannot start thread %u: %s", index, strerror(error));
}

static void report(void)
{
	unsigned long queued = 0, relocks = 0, dropped = 0, handed = 0;
	unsigned long waited = 0, kicks = 0;
	unsigned int i, j;

	for (i = 0; i < scenario->queues; i++) {
		struct squeue *sq = &queues[i].sq;

		queued += atomic_long_read(&sq->queued);
		dropped += atomic_long_read(&sq->dropped);
		handed += atomic_long_read(&sq->handed);
		waited += sq->waited;
		kicks += sq->kicks;
		relocks += sq->acquired + atomic_long_read(&sq->handed);
		for (j = 0; j <= nr_workers; j++) {
			relocks -= threads[j].tally[i].entered;
			relocks -= threads[j].tally[i].pokes;
			met.follow_ups += threads[j].tally[i].pokes_inside;
		}
	}
	met.dropped += dropped;
	met.handed += handed;
	met.waited += waited;
	met.kicks += kicks;
	printf("ok %u - %s\n", scenario_number, scenario->name);
	printf("# %lu rounds, %lu nodes, %lu dropped, %lu handed over\n",
	       rounds, queued, dropped, handed);
	printf("# %lu second looks, %lu waited, %lu kicks\n", relocks, waited,
	       kicks);
	fflush(stdout);
}

static void run_scenario(unsigned long long duration_ns, unsigned long long seed)
{
	unsigned int i;

	nr_workers = scenario->producers + scenario->enterers;
	if (nr_workers >= MAX_THREADS || scenario->queues > MAX_QUEUES)
		fail("the scenario is larger than its arrays");
	limits = scenario->limits;
	rounds = 0;
	stopping = false;
	kicker_done = false;
	settling = false;
	kicks_open = 0;
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

	deadline = now_ns() + duration_ns;

	for (i = 0; i < nr_workers; i++)
		start_thread(i, seed, worker_main);
	start_thread(nr_workers, seed, kicker_main);
	for (i = 0; i < nr_workers; i++)
		pthread_join(threads[i].id, NULL);
	WRITE_ONCE(kicker_done, true);
	sem_post(&kick_sem);
	pthread_join(threads[nr_workers].id, NULL);

	report();
	sem_destroy(&kick_sem);
	free(queues);
}

/* A race that never happened was not tested. */
static bool all_met(void)
{
	return met.handed && met.waited && met.kicks && met.dropped &&
	       met.follow_ups;
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

int main(int argc, char **argv)
{
	unsigned long seconds = 3, seed = time(NULL);
	unsigned int i;
	int option;

	while ((option = getopt(argc, argv, "t:s:")) != -1) {
		switch (option) {
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
		fprintf(stderr, "usage: torture [-t seconds in all] [-s seed]\n");
		return 2;
	}

	printf("TAP version 13\n1..%zu\n# seed %lu\n", ARRAY_SIZE(scenarios) + 1,
	       seed);
	fflush(stdout);
	for (i = 0; i < ARRAY_SIZE(scenarios); i++) {
		scenario = &scenarios[i];
		scenario_number = i + 1;
		run_scenario(seconds * NSEC_PER_SEC / ARRAY_SIZE(scenarios),
			     seed);
	}
	printf("%s %zu - every kind of race happened\n",
	       all_met() ? "ok" : "not ok", ARRAY_SIZE(scenarios) + 1);
	return !all_met();
}
