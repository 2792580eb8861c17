/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Shim: a task that sleeps in schedule() unless its state says that it runs,
 * until it is woken, and no timeout helps.  So a wake-up that is lost is lost
 * for good, as in the kernel, and the work that it was for is stranded.
 *
 * What the kernel orders, this orders, and no more on x86:
 *  - set_current_state() is a store and then a full barrier;
 *  - __set_current_state() is a plain store, which may wait in the store
 *    buffer while later loads are done;
 *  - schedule() and wake_up_process() look at the state under the lock of a
 *    run queue; here each is one locked instruction.
 *
 * Whoever wakes a task that has not got to schedule() yet only changes its
 * state, and schedule() returns at once.
 */
#ifndef SHIM_LINUX_SCHED_H
#define SHIM_LINUX_SCHED_H

#include <semaphore.h>

#include <linux/atomic.h>
#include <linux/bottom_half.h>
#include <linux/bug.h>
#include <linux/compiler.h>

#define TASK_RUNNING	0x0000
#define TASK_IDLE	0x0402
/* In schedule(), and off the CPU: what the kernel keeps in on_rq. */
#define SHIM_TASK_OFF	0x8000

struct task_struct {
	unsigned int	__state;
	sem_t		woken;		/* posted once for each SHIM_TASK_OFF */
	bool		need_resched;	/* another task wants the CPU */
	unsigned long	sleeps;		/* times it set out to sleep */
};

extern __thread struct task_struct *current;

/* Tasks that run, or were woken and soon will; its user starts it. */
extern unsigned int shim_tasks_awake;

static inline void shim_task_init(struct task_struct *task)
{
	*task = (struct task_struct){ .__state = TASK_RUNNING };
	/* Fails only if the arguments are wrong. */
	WARN_ON_ONCE(sem_init(&task->woken, 0, 0));
}

#define __set_current_state(state)					\
do {									\
	current->sleeps += (state) != TASK_RUNNING;			\
	WRITE_ONCE(current->__state, state);				\
} while (0)

#define set_current_state(state)					\
do {									\
	__set_current_state(state);					\
	/* Its users name its partners. */				\
	smp_mb();							\
} while (0)

static inline void schedule(void)
{
	struct task_struct *task = current;
	unsigned int state = TASK_IDLE;

	WARN_ON_ONCE(shim_bh_disabled);
	if (!try_cmpxchg(&task->__state, &state, SHIM_TASK_OFF))
		return;
	/* Releases what the task did, to those who wait for it to sleep. */
	__atomic_fetch_sub(&shim_tasks_awake, 1, __ATOMIC_RELEASE);
#ifdef SHIM_POINTS
	shim_rest(&task->__state);
#endif
	while (sem_wait(&task->woken))
		;	/* interrupted by a signal */
}

static inline int wake_up_process(struct task_struct *task)
{
	unsigned int state = xchg(&task->__state, TASK_RUNNING);

	if (state == SHIM_TASK_OFF) {
		/* Before the caller, if it is a task, can sleep itself. */
		__atomic_fetch_add(&shim_tasks_awake, 1, __ATOMIC_RELAXED);
		sem_post(&task->woken);
	}
	return state != TASK_RUNNING;
}

static inline bool need_resched(void)
{
	return current->need_resched;
}

/* asm/processor.h, which sched.h brings along */
#ifdef SHIM_POINTS
#define cpu_relax()	shim_point()
#elif defined(__x86_64__) || defined(__i386__)
#define cpu_relax()	__builtin_ia32_pause()
#else
#define cpu_relax()	barrier()
#endif

#endif
