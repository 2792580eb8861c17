/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Shim: atomics with the order that Documentation/atomic_t.txt promises, and
 * no more where the hardware can tell the difference.  In particular a plain
 * release store may, on x86 too, still sit in the store buffer when a later
 * load is done; only smp_mb() and the operations that return a value (xchg,
 * cmpxchg) drain it.
 *
 * ThreadSanitizer ignores fences.  That costs nothing here: every hand-over
 * of memory between threads goes through an acquire and a release operation,
 * the fences only decide which CPU sees to the work.
 */
#ifndef SHIM_LINUX_ATOMIC_H
#define SHIM_LINUX_ATOMIC_H

#include <linux/compiler.h>
#include <linux/types.h>

/* Its users name its partners. */
#define smp_mb()		__atomic_thread_fence(__ATOMIC_SEQ_CST)

/* A locked instruction is a full barrier on x86; elsewhere C promises less. */
#if defined(__x86_64__) || defined(__i386__)
#define shim_mb_atomic()	barrier()
#else
#define shim_mb_atomic()	smp_mb()	/* on both sides */
#endif

/* Their users name their pairs. */
#define smp_load_acquire(p)						\
({									\
	shim_point();							\
	__atomic_load_n(p, __ATOMIC_ACQUIRE);				\
})

/* Likewise. */
#define smp_store_release(p, v)						\
do {									\
	shim_point();							\
	__atomic_store_n(p, v, __ATOMIC_RELEASE);			\
} while (0)

/* Fully ordered. */
#define xchg(ptr, val)							\
({									\
	__typeof__(*(ptr)) __old;					\
									\
	shim_point();							\
	shim_mb_atomic();						\
	__old = __atomic_exchange_n(ptr, val, __ATOMIC_SEQ_CST);	\
	shim_mb_atomic();						\
	__old;								\
})

/* Fully ordered if it succeeds. */
#define try_cmpxchg(ptr, oldp, new)					\
({									\
	bool __done;							\
									\
	shim_point();							\
	shim_mb_atomic();						\
	__done = __atomic_compare_exchange_n(ptr, oldp, new, false,	\
					     __ATOMIC_SEQ_CST,		\
					     __ATOMIC_RELAXED);		\
	shim_mb_atomic();						\
	__done;								\
})

static inline long atomic_long_read(const atomic_long_t *v)
{
	shim_point();
	return __atomic_load_n(&v->counter, __ATOMIC_RELAXED);
}

static inline void atomic_long_set(atomic_long_t *v, long i)
{
	shim_point();
	__atomic_store_n(&v->counter, i, __ATOMIC_RELAXED);
}

static inline void atomic_long_add(long i, atomic_long_t *v)
{
	shim_point();
	__atomic_fetch_add(&v->counter, i, __ATOMIC_RELAXED);
}

static inline void atomic_long_sub(long i, atomic_long_t *v)
{
	shim_point();
	__atomic_fetch_sub(&v->counter, i, __ATOMIC_RELAXED);
}

static inline void atomic_long_inc(atomic_long_t *v)
{
	atomic_long_add(1, v);
}

#endif
