/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Shim: a spinlock with the order of the kernel's on x86.  Taking it is an
 * acquire, a failed attempt orders nothing, and giving it back is a plain
 * release store, NOT a full barrier.
 *
 * The lock word is the holder's number, which is all the lockdep we need.
 */
#ifndef SHIM_LINUX_SPINLOCK_H
#define SHIM_LINUX_SPINLOCK_H

#include <sched.h>

#include <linux/bug.h>
#include <linux/compiler.h>
#include <linux/types.h>

/* Each thread plays one CPU; it sets its number, from 1, before anything. */
extern __thread unsigned int shim_cpu;
/* Times it has waited for a lock. */
extern __thread unsigned long shim_waits;

typedef struct {
	unsigned int holder;
} spinlock_t;

static inline void spin_lock_init(spinlock_t *lock)
{
	WRITE_ONCE(lock->holder, 0);
}

static inline bool spin_is_held_here(spinlock_t *lock)
{
	return READ_ONCE(lock->holder) == shim_cpu;
}

static inline bool spin_trylock(spinlock_t *lock)
{
	unsigned int expected = READ_ONCE(lock->holder);

	if (expected)
		return false;
	return __atomic_compare_exchange_n(&lock->holder, &expected, shim_cpu,
					   false, __ATOMIC_ACQUIRE,
					   __ATOMIC_RELAXED);
}

static inline void spin_lock(spinlock_t *lock)
{
	WARN_ON_ONCE(spin_is_held_here(lock));
	shim_waits++;
	/* Unlike in the kernel, the holder may have been preempted. */
	while (!spin_trylock(lock))
		shim_rest(&lock->holder);
}

static inline void spin_unlock(spinlock_t *lock)
{
	WARN_ON_ONCE(!spin_is_held_here(lock));
	shim_point();
	__atomic_store_n(&lock->holder, 0, __ATOMIC_RELEASE);
}

#endif
