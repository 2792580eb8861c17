// SPDX-License-Identifier: GPL-2.0
/*
 * squeue fuzz: schedules for kernel/locking/squeue.c, made from bytes.
 *
 * Where torture races threads and takes what the machine gives, here one
 * thread plays all CPUs, as coroutines, and an input decides all that happens:
 * its first half is read as what the CPUs do (enqueue, post, poke, enter, flush,
 * leave, change the limits), its second as how long each goes on before another
 * does.  A change is possible at each access that the code under test makes to
 * what CPUs share (shim_point() in the shim), so between any two steps of it;
 * memory is sequentially consistent here, that it need not be is for torture
 * and the models.  The same input is always the same run.
 *
 * With the inline policy there are workers, which do what the input says, and a
 * kicker, which answers policy->kick() with a poke.  With the thread policy
 * each squeue has an owner in place of the kicker, which takes turns and sleeps.
 * When the input is at its end, the workers poke what they owe and leave; then
 * all go on until none has anything to do.
 *
 * Each squeue is compared with a FIFO:
 *  - what one CPU had enqueued before another began to enqueue comes out first,
 *    and each node once;
 *  - a node is refused exactly if a limit is reached;
 *  - what drains, drains neither more than its budget nor less, and a flush all
 *    that was there;
 *  - never two are inside, and who is has the lock;
 *  - in the end nothing is left, no kick is open, each owner sleeps and says so,
 *    and the counters are what the model counted.
 * Nodes come from malloc(), for AddressSanitizer to see who is too late.
 *
 *	fuzz [-s SEED] [-t SECONDS] [-c COUNT]	inputs of a generator, as TAP
 *	fuzz -s SEED -i INDEX			one of those
 *	fuzz FILE...				an input each, as libFuzzer keeps them
 *
 * Built with LIBFUZZER, that has the main() and chooses the inputs.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>
#include <unistd.h>

#include <linux/minmax.h>
#include <linux/sched.h>
#include <linux/sched/clock.h>
#include <linux/squeue.h>

#define MAX_QUEUES	3
#define MAX_WORKERS	4
#define MAX_CPUS	(MAX_WORKERS + MAX_QUEUES)
#define STACK_SIZE	(256 << 10)
#define HEADER_SIZE	5
#define MAX_INPUT	400
/* Far more than any input of this size takes: it hangs. */
#define MAX_POINTS	4000000
#define POINT_NS	50
#define NO_LIMIT	1000000000
#define NEVER		(~0U)

struct queue {
	struct squeue		sq;
	struct task_struct	task;		/* of its owner */

	/* What a FIFO would have. */
	unsigned long		accepted;
	unsigned long		added;		/* and enqueue has returned */
	unsigned long		refused;
	unsigned long		processed;
	unsigned long		begun_last;	/* of those, the latest */

	unsigned long		batches;
	unsigned int		batch_max;
	unsigned long		entered;
	unsigned long		pokes;
	unsigned long		pokes_inside;	/* which were kicks */
	unsigned long		kick_calls;
	bool			kick_wanted;
	struct cpu		*inside;
};

struct work {
	struct llist_node	node;
	struct queue		*queue;
	unsigned int		bytes;		/* 0 if it was posted */
	bool			follow_up;
	unsigned int		extra;		/* work without a node */
	unsigned long		begun, ended;	/* when it was added */
};

/* A CPU, or an owner: a coroutine. */
struct cpu {
	ucontext_t		context;
	void			(*run)(void);
	const unsigned int	*rest;		/* has nothing to do until 0 */
	bool			done;

	/* Its operation under way. */
	unsigned int		drained;
	unsigned int		allowed;	/* budget of a drain */
	unsigned int		drains;
	unsigned int		spent;		/* of a budget, by a thread */
	unsigned int		drains_spent;
	bool			flushing;

	struct queue		*inside;	/* by squeue_enter() */
	struct queue		*poking;
	bool			owes[MAX_QUEUES];

	/* What the shim keeps for each CPU, while this one waits. */
	unsigned int		number;
	unsigned int		bh_disabled;
	struct task_struct	*task;
	struct squeue		*squeue;
};

/* The input: its halves are read byte by byte. */
struct stream {
	const unsigned char	*next, *end;
};

static struct stream actions, switches;
static bool threaded;
static struct squeue_limits limits;
static struct queue queues[MAX_QUEUES];
static unsigned int nr_queues;
static struct cpu cpus[MAX_CPUS];
static unsigned int nr_cpus;
static struct cpu *me;
static ucontext_t main_context;
static unsigned int until_switch;
static unsigned long points, moment;
static unsigned long nr_switches, nr_limits, nr_resched;
static unsigned int kicker_idle;

__thread unsigned int shim_cpu;
__thread unsigned long shim_waits;
__thread unsigned int shim_bh_disabled;
__thread struct task_struct *current;
unsigned int shim_tasks_awake;
u64 shim_clock;

/* Each must have happened in the end, or it was not tested. */
static struct {
	unsigned long nodes, refused, follow_ups, handed, waited, kicks;
	unsigned long relieved, second_looks, flushes, limits;
	unsigned long wakeups, paid, unpaid, posted_over, extra;
} met;

/* How to make this input again. */
static char again[80];

static __noreturn __printf(1, 2) void fail(const char *format, ...)
{
	va_list args;

	printf("# %s policy: ", threaded ? "thread" : "inline");
	va_start(args, format);
	vprintf(format, args);
	va_end(args);
	printf("\n# again: %s\n", again);
	fflush(stdout);
#ifdef LIBFUZZER
	abort();
#else
	printf("not ok 1 - squeue fuzz\n");
	fflush(stdout);
	_exit(1);
#endif
}

static unsigned int read_byte(struct stream *stream)
{
	return stream->next < stream->end ? *stream->next++ : 0;
}

static bool at_end(const struct stream *stream)
{
	return stream->next == stream->end;
}

static bool ready(const struct cpu *cpu)
{
	return !cpu->done && !(cpu->rest && *cpu->rest);
}

/* The ready one that is @distance CPUs behind this; NULL if none is. */
static struct cpu *another(unsigned int distance)
{
	unsigned int first = me ? me - cpus : 0, i;
	struct cpu *cpu;

	for (i = 0; i < nr_cpus; i++) {
		cpu = &cpus[(first + distance + i) % nr_cpus];
		if (cpu != me && ready(cpu))
			return cpu;
	}
	return NULL;
}

static void load(void)
{
	shim_cpu = me->number;
	shim_bh_disabled = me->bh_disabled;
	current = me->task;
	squeue_current = me->squeue;
}

/* Go on as @cpu, or, if that is NULL, with what is done when all rest. */
static void go_on_as(struct cpu *cpu)
{
	struct cpu *old = me;

	old->bh_disabled = shim_bh_disabled;
	old->squeue = squeue_current;
	nr_switches++;
	me = cpu;
	if (swapcontext(&old->context, cpu ? &cpu->context : &main_context))
		fail("swapcontext: %s", strerror(errno));
	load();
}

static void read_switch(void)
{
	unsigned int byte = read_byte(&switches);
	struct cpu *cpu = another(1 + byte % 4);

	/* Few steps often, many at times. */
	until_switch = byte / 4 < 48 ? byte / 4 : 10 * (byte / 4 - 40);
	if (at_end(&switches))
		until_switch = NEVER;
	if (cpu)
		go_on_as(cpu);
}

void shim_point(void)
{
	shim_clock += POINT_NS;
	if (++points > MAX_POINTS)
		fail("all are busy for ever");
	if (!me)
		return;
	if (!until_switch)
		read_switch();
	else if (until_switch != NEVER)
		until_switch--;
}

/* This CPU waits in a poke; no other may do so for the same queue. */
static void check_relief(void)
{
	unsigned int i;

	met.relieved++;
	for (i = 0; i < nr_cpus; i++)
		if (&cpus[i] != me && cpus[i].rest &&
		    cpus[i].poking == me->poking)
			fail("CPUs %u and %u wait to drain one squeue",
			     cpus[i].number, me->number);
}

void shim_rest(const unsigned int *word)
{
	if (me->poking)
		check_relief();
	me->rest = word;
	while (*word)
		go_on_as(another(1));
	me->rest = NULL;
}

static void start_cpu(void)
{
	load();
	me->run();
	me->done = true;
	go_on_as(another(1));
}

static struct cpu *add_cpu(void (*run)(void))
{
	static char stacks[MAX_CPUS][STACK_SIZE] __attribute__((__aligned__(16)));
	struct cpu *cpu = &cpus[nr_cpus];

	memset(cpu, 0, sizeof(*cpu));
	cpu->run = run;
	cpu->number = nr_cpus + 1;
	cpu->drains = 1;
	if (getcontext(&cpu->context))
		fail("getcontext: %s", strerror(errno));
	cpu->context.uc_stack.ss_sp = stacks[nr_cpus++];
	cpu->context.uc_stack.ss_size = STACK_SIZE;
	cpu->context.uc_link = NULL;
	makecontext(&cpu->context, start_cpu, 0);
	return cpu;
}

static unsigned int budget(void)
{
	return max(limits.budget, 1U);
}

/* Limits may change while an operation is under way. */
static void change_limits(unsigned int a, unsigned int b)
{
	unsigned int i;

	limits.budget = a % 8;
	limits.max_len = a / 8 % 4 ? 1 + a / 8 : NO_LIMIT;
	limits.max_bytes = b % 4 ? b * 8 : NO_LIMIT;
	limits.poll_us = b / 4 % 4;
	limits.relief_len = b / 16 % 8 < 7 ? b / 16 % 8 : NO_LIMIT;
	nr_limits++;
	for (i = 0; i < nr_cpus; i++)
		cpus[i].allowed = max(cpus[i].allowed, budget());
}

static void begin_operation(void)
{
	me->drained = 0;
	me->allowed = budget();
	me->spent = 0;
	me->drains_spent = 0;
}

static void check_outside(const char *operation)
{
	if (squeue_current)
		fail("squeue_current is set after %s", operation);
}

/* Is one more refused?  Without a point: it is compared with what comes. */
static bool over_limit(const struct queue *queue)
{
	unsigned long length = queue->sq.queued.counter - queue->sq.drained;

	return length >= limits.max_len ||
	       queue->sq.bytes.counter >= (long)limits.max_bytes;
}

/* At least so many can be drained; those under way may be counted already. */
static unsigned long waiting(const struct queue *queue)
{
	return queue->added > queue->processed ?
	       queue->added - queue->processed : 0;
}

static void produce(struct queue *queue, unsigned int byte, bool follow_up)
{
	struct work *work = malloc(sizeof(*work));
	unsigned long before = nr_switches;
	bool over, post = byte % 8 == 0;

	if (!work)
		fail("out of memory");
	work->queue = queue;
	work->bytes = post ? 0 : 1 + byte * 4;
	work->follow_up = follow_up && byte % 8 == 1;
	work->extra = byte % 8 == 2 ? 3 : 0;
	work->begun = ++moment;
	work->ended = NEVER;
	over = over_limit(queue);
	/* It may be gone when it is added. */
	if (post) {
		met.posted_over += over;
		queue->accepted++;
		squeue_post(&queue->sq, &work->node);
	} else if (squeue_enqueue(&queue->sq, &work->node, work->bytes)) {
		if (over && nr_switches == before)
			fail("a node was added past a limit");
		queue->accepted++;
	} else {
		if (!over && nr_switches == before)
			fail("a node was refused within the limits");
		queue->refused++;
		free(work);
		return;
	}
	queue->added++;
	moment++;
	if (nr_switches == before)
		work->ended = moment;
	/* A node that comes from within is poked for at once. */
	me->owes[queue - queues] = true;
}

static void poke(struct queue *queue)
{
	bool inside = squeue_current;

	queue->pokes++;
	queue->pokes_inside += inside;
	me->owes[queue - queues] = false;
	if (!inside) {
		begin_operation();
		me->poking = queue;
	}
	squeue_poke(&queue->sq);
	if (!inside)
		me->poking = NULL;
	if (!inside)
		check_outside("squeue_poke()");
}

static void check_inside(struct queue *queue)
{
	if (queue->inside && queue->inside != me)
		fail("CPU %u came in while %u was inside", me->number,
		     queue->inside->number);
	if (queue->sq.lock.holder != me->number)
		fail("CPU %u is inside without the lock", me->number);
	if (squeue_current != &queue->sq)
		fail("CPU %u is inside, squeue_current says otherwise",
		     me->number);
	if (queue->sq.thread != current)
		fail("CPU %u is inside, but is not the owner", me->number);
	if (!shim_bh_disabled)
		fail("CPU %u is inside with BH enabled", me->number);
	if (queue->sq.asleep)
		fail("the owner is inside and says that it sleeps");
}

static void process_one(struct queue *queue, const struct work *work)
{
	if (work->queue != queue)
		fail("a node came out of a squeue it was not put on");
	if (work->ended < queue->begun_last)
		fail("a node came after one that was added later");
	queue->begun_last = max(queue->begun_last, work->begun);
	queue->processed++;
	if (queue->processed > queue->accepted + MAX_CPUS)
		fail("a node was processed twice");
}

static unsigned long fuzz_process(struct squeue *sq, struct llist_node *batch)
{
	struct queue *queue = container_of(sq, struct queue, sq);
	struct cpu *outer = queue->inside;
	unsigned long bytes = 0;
	unsigned int n = 0, extra = 0;
	struct work *work;

	check_inside(queue);
	if (threaded && me->drains_spent == me->drains)
		fail("another batch, though %u budgets of %u are spent",
		     me->drains, me->allowed);
	queue->inside = me;
	while (batch) {
		work = container_of(batch, struct work, node);
		batch = batch->next;
		process_one(queue, work);
		bytes += work->bytes;
		n++;
		extra += work->extra;
		if (work->follow_up) {
			unsigned int byte = read_byte(&actions);
			struct queue *other = &queues[byte % nr_queues];

			met.follow_ups++;
			produce(other, byte / 4, false);
			poke(other);
		}
		free(work);
		shim_point();
	}
	queue->batches++;
	queue->batch_max = max(queue->batch_max, n);
	me->drained += n;
	sq->extra += extra;
	met.extra += threaded ? extra : 0;
	me->spent += n + extra;
	if (me->spent >= me->allowed) {
		me->spent = 0;
		me->drains_spent++;
	}
	if (n > me->allowed)
		fail("a batch of %u nodes, the budget is %u", n, me->allowed);
	if (!me->flushing && me->drained > me->drains * me->allowed)
		fail("one operation drained %u nodes, the budget is %u",
		     me->drained, me->allowed);
	check_inside(queue);
	queue->inside = outer;
	return bytes;
}

static void fuzz_kick(struct squeue *sq)
{
	struct queue *queue = container_of(sq, struct queue, sq);

	queue->kick_calls++;
	if (sq->thread)
		return;
	queue->kick_wanted = true;
	kicker_idle = 0;
}

static const struct squeue_policy fuzz_policy = {
	.process = fuzz_process,
	.kick = fuzz_kick,
};

static void enter(struct queue *queue)
{
	unsigned long before = nr_switches;
	unsigned int expected = min_t(unsigned long, waiting(queue), budget());

	queue->entered++;
	begin_operation();
	squeue_enter(&queue->sq);
	if (nr_switches == before && me->drained < expected)
		fail("entering drained %u of %u nodes", me->drained, expected);
	check_inside(queue);
	queue->inside = me;
	me->inside = queue;
}

static void flush(void)
{
	struct queue *queue = me->inside;
	unsigned long added = queue->added;

	met.flushes++;
	begin_operation();
	me->flushing = true;
	squeue_flush(&queue->sq);
	me->flushing = false;
	if (queue->processed < added)
		fail("%lu of %lu nodes are left behind", added - queue->processed,
		     added);
	check_inside(queue);
}

static void leave(void)
{
	struct queue *queue = me->inside;

	check_inside(queue);
	queue->inside = NULL;
	me->inside = NULL;
	begin_operation();
	squeue_leave(&queue->sq);
	check_outside("squeue_leave()");
}

static void act(void)
{
	unsigned int byte = read_byte(&actions);
	struct queue *queue = &queues[byte / 16 % nr_queues];

	switch (byte % 16) {
	case 0: case 1: case 2: case 3: case 4:
		produce(queue, read_byte(&actions), true);
		break;
	case 5: case 6: case 7:
		produce(queue, read_byte(&actions), true);
		poke(queue);
		break;
	case 8: case 9:
		poke(queue);
		break;
	case 10: case 11: case 12:
		if (me->inside)
			leave();
		else if (!threaded)
			enter(queue);
		else
			poke(queue);
		break;
	case 13:
		if (me->inside)
			flush();
		break;
	case 14:
		byte = read_byte(&actions);
		change_limits(byte, read_byte(&actions));
		break;
	case 15:
		/* Another task wants the owner's CPU, or does not any more. */
		queue->task.need_resched = !queue->task.need_resched;
		nr_resched++;
		break;
	}
}

static void work_main(void)
{
	unsigned int i;

	local_bh_disable();
	while (!at_end(&actions))
		act();
	if (me->inside)
		leave();
	for (i = 0; i < nr_queues; i++)
		if (me->owes[i])
			poke(&queues[i]);
}

static void serve_kick(struct queue *queue)
{
	bool idle = !queue->sq.lock.holder && waiting(queue);
	unsigned long before = nr_switches;

	poke(queue);
	if (idle && nr_switches == before && !me->drained)
		fail("a kick found the lock free and drained nothing");
}

static void kick_main(void)
{
	unsigned int i;

	local_bh_disable();
	for (;;) {
		kicker_idle = 1;
		for (i = 0; i < nr_queues; i++) {
			if (!queues[i].kick_wanted)
				continue;
			queues[i].kick_wanted = false;
			kicker_idle = 0;
			serve_kick(&queues[i]);
		}
		if (kicker_idle)
			shim_rest(&kicker_idle);
	}
}

static void own_main(void)
{
	struct queue *queue = container_of(current, struct queue, task);
	unsigned long paid, resched;

	me->drains = 2;
	for (;;) {
		paid = queue->sq.polls_paid;
		resched = nr_resched;
		begin_operation();
		squeue_turn(&queue->sq);
		check_outside("squeue_turn()");
		if (current->need_resched && nr_resched == resched &&
		    queue->sq.polls_paid != paid)
			fail("the owner polled though another task wants the CPU");
		if (shim_bh_disabled)
			fail("BH is disabled after squeue_turn()");
		if (current->__state != TASK_RUNNING)
			fail("the owner runs on after squeue_turn() in state %#x",
			     current->__state);
	}
}

static void expect(const char *what, unsigned long is, unsigned long expected)
{
	if (is != expected)
		fail("%s is %lu, expected %lu", what, is, expected);
}

static void check_inline(struct queue *queue)
{
	struct squeue *sq = &queue->sq;
	unsigned long took = queue->entered + queue->pokes -
			     queue->pokes_inside;
	unsigned long tried = sq->acquired + sq->handed.counter;

	if (queue->kick_wanted)
		fail("a kick is still open");
	expect("kicks; counted", sq->kicks,
	       queue->kick_calls - queue->pokes_inside);
	expect("wakeups", sq->wakeups.counter, 0);
	/* The rest are second looks. */
	if (tried < took)
		fail("acquired and handed are %lu, expected %lu", tried, took);
	if (sq->relief)
		fail("nobody waits, and relief is promised");
	met.second_looks += tried - took;
}

static void check_thread(struct queue *queue)
{
	struct squeue *sq = &queue->sq;

	if (queue->task.__state != SHIM_TASK_OFF)
		fail("an owner without work is in state %#x",
		     queue->task.__state);
	if (!sq->asleep)
		fail("the owner sleeps and does not say so");
	expect("handed and wakeups", sq->handed.counter + sq->wakeups.counter,
	       queue->pokes);
	expect("kick calls", queue->kick_calls, sq->kicks);
	if (sq->wakeups.counter > (long)queue->task.sleeps)
		fail("wakeups is %ld, of %lu sleeps", sq->wakeups.counter,
		     queue->task.sleeps);
	if (!sq->busy_ns && queue->processed)
		fail("busy_ns grew by 0");
	met.wakeups += sq->wakeups.counter;
	met.paid += sq->polls_paid;
	met.unpaid += sq->polls_unpaid;
}

/* All rest. */
static void check_queue(struct queue *queue)
{
	struct squeue *sq = &queue->sq;

	if (queue->processed != queue->accepted)
		fail("%lu of %lu nodes are stranded",
		     queue->accepted - queue->processed, queue->accepted);
	if (sq->lock.holder)
		fail("CPU %u is still inside", sq->lock.holder);
	expect("queued", sq->queued.counter, queue->accepted);
	expect("drained", sq->drained, queue->accepted);
	expect("dropped", sq->dropped.counter, queue->refused);
	expect("bytes", sq->bytes.counter, 0);
	expect("batches", sq->batches, queue->batches);
	expect("batch_max", sq->batch_max, queue->batch_max);
	if (sq->len_max > queue->accepted)
		fail("len_max is %u, of %lu nodes", sq->len_max,
		     queue->accepted);
	if (threaded)
		check_thread(queue);
	else
		check_inline(queue);
	met.nodes += queue->accepted;
	met.refused += queue->refused;
	met.handed += sq->handed.counter;
	met.waited += sq->waited;
	met.kicks += sq->kicks;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	unsigned long waited = 0;
	unsigned int i, workers;
	struct cpu *cpu;

	if (size < HEADER_SIZE)
		return 0;
	threaded = data[0] % 2;
	nr_queues = 1 + data[0] / 2 % MAX_QUEUES;
	workers = 1 + data[1] % MAX_WORKERS;
	nr_cpus = 0;
	change_limits(data[2], data[3]);
	/* That was before anything was under way. */
	nr_limits = 0;
	until_switch = data[4];
	data += HEADER_SIZE;
	size -= HEADER_SIZE;
	actions = (struct stream){ data, data + size / 2 };
	switches = (struct stream){ data + size / 2, data + size };
	points = 0;
	moment = 0;
	kicker_idle = 1;
	me = NULL;
	shim_tasks_awake = nr_queues;
	shim_waits = 0;
	memset(queues, 0, sizeof(queues));

	for (i = 0; i < nr_queues; i++)
		squeue_init(&queues[i].sq, &fuzz_policy, &limits);
	for (i = 0; i < workers; i++)
		add_cpu(work_main);
	if (!threaded)
		add_cpu(kick_main);
	for (i = 0; threaded && i < nr_queues; i++) {
		shim_task_init(&queues[i].task);
		queues[i].sq.thread = &queues[i].task;
		cpu = add_cpu(own_main);
		cpu->task = &queues[i].task;
	}
	me = &cpus[0];
	if (swapcontext(&main_context, &me->context))
		fail("swapcontext: %s", strerror(errno));
	for (i = 0; i < workers; i++)
		if (!cpus[i].done)
			fail("CPU %u waits for ever", cpus[i].number);
	for (i = 0; i < nr_queues; i++) {
		check_queue(&queues[i]);
		waited += queues[i].sq.waited;
	}
	expect("waited", waited, shim_waits);
	met.limits += nr_limits;
	return 0;
}

#ifndef LIBFUZZER

/* Input @index of @seed. */
static void run_one(unsigned long long seed, unsigned long index)
{
	unsigned long long rng = (seed + 1) * 0x9e3779b97f4a7c15ULL ^
				 (index + 1) * 0xd1342543de82ef95ULL;
	unsigned char data[MAX_INPUT];
	unsigned int i, size = 0;

	for (i = 0; i < sizeof(data); i++) {
		/* splitmix64 */
		unsigned long long x = rng += 0x9e3779b97f4a7c15ULL;

		x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
		x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
		x ^= x >> 31;
		data[i] = x;
		if (!i)
			size = HEADER_SIZE + (x >> 32) %
			       (sizeof(data) - HEADER_SIZE);
	}
	snprintf(again, sizeof(again), "fuzz -s %llu -i %lu", seed, index);
	LLVMFuzzerTestOneInput(data, size);
}

static void run_file(const char *path)
{
	static unsigned char data[1 << 16];
	FILE *f = fopen(path, "rb");
	size_t size;

	if (!f) {
		fprintf(stderr, "fuzz: %s: %s\n", path, strerror(errno));
		exit(2);
	}
	size = fread(data, 1, sizeof(data), f);
	fclose(f);
	snprintf(again, sizeof(again), "fuzz %.60s", path);
	LLVMFuzzerTestOneInput(data, size);
}

static bool all_met(void)
{
	return met.nodes && met.refused && met.follow_ups && met.handed &&
	       met.waited > met.relieved && met.relieved && met.kicks &&
	       met.second_looks && met.flushes &&
	       met.limits && met.wakeups && met.paid && met.unpaid &&
	       met.posted_over && met.extra;
}

static void report(unsigned long inputs)
{
	printf("# %lu inputs, %lu nodes, %lu refused, %lu follow-ups, %lu handed over\n",
	       inputs, met.nodes, met.refused, met.follow_ups, met.handed);
	printf("# %lu waited, of them %lu to relieve, %lu kicks, %lu second looks\n",
	       met.waited, met.relieved, met.kicks, met.second_looks);
	printf("# %lu flushes, %lu limits\n", met.flushes, met.limits);
	printf("# %lu wakeups, %lu polls paid, %lu did not, %lu posted past a limit\n",
	       met.wakeups, met.paid, met.unpaid, met.posted_over);
	printf("# %lu pieces of work without a node\n", met.extra);
	printf("%s 2 - all that can happen did\n",
	       all_met() ? "ok" : "not ok");
}

int main(int argc, char **argv)
{
	unsigned long count = -1UL, seconds = -1UL, only = -1UL, i;
	unsigned long long seed = 1;
	time_t begin = time(NULL);
	int option;

	while ((option = getopt(argc, argv, "c:i:s:t:")) != -1) {
		switch (option) {
		case 'c':
			count = strtoul(optarg, NULL, 0);
			break;
		case 'i':
			only = strtoul(optarg, NULL, 0);
			break;
		case 's':
			seed = strtoull(optarg, NULL, 0);
			break;
		case 't':
			seconds = strtoul(optarg, NULL, 0);
			break;
		default:
			fprintf(stderr, "usage: fuzz [-s SEED] [-t SECONDS] [-c COUNT] [-i INDEX] [FILE...]\n");
			return 2;
		}
	}
	if (optind < argc) {
		for (; optind < argc; optind++)
			run_file(argv[optind]);
		printf("ok 1 - squeue fuzz\n");
		return 0;
	}
	if (only != -1UL) {
		run_one(seed, only);
		printf("ok 1 - squeue fuzz\n");
		return 0;
	}
	printf("TAP version 13\n1..2\n# seed %llu\n", seed);
	for (i = 0; i < count; i++) {
		run_one(seed, i);
		if (i % 64 == 0 && (unsigned long)(time(NULL) - begin) >= seconds)
			break;
	}
	printf("ok 1 - squeue fuzz\n");
	report(i);
	return !all_met();
}

#endif /* LIBFUZZER */
