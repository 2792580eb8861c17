/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Shim: what the kernel asks of the compiler, in terms of the __atomic
 * builtins, which ThreadSanitizer understands (it takes the kernel's volatile
 * accesses for plain ones).  READ_ONCE() and WRITE_ONCE() order nothing.
 */
#ifndef SHIM_LINUX_COMPILER_H
#define SHIM_LINUX_COMPILER_H

#define likely(x)		__builtin_expect(!!(x), 1)
#define unlikely(x)		__builtin_expect(!!(x), 0)

#define __noreturn		__attribute__((__noreturn__))
#define __printf(a, b)		__attribute__((__format__(printf, a, b)))

#define barrier()		__asm__ __volatile__("" : : : "memory")

/*
 * For fuzz.c, which plays all CPUs with one thread: a moment at which another
 * one may do something, and one at which others have to, until a word is 0.
 */
#ifdef SHIM_POINTS
void shim_point(void);
void shim_rest(const unsigned int *word);
#else
#define shim_point()		do { } while (0)
#define shim_rest(word)		sched_yield()
#endif

#define READ_ONCE(x)							\
({									\
	shim_point();							\
	__atomic_load_n(&(x), __ATOMIC_RELAXED);			\
})

#define WRITE_ONCE(x, val)						\
do {									\
	shim_point();							\
	__atomic_store_n(&(x), val, __ATOMIC_RELAXED);			\
} while (0)

/* For sparse only. */
#define __acquires(...)
#define __releases(...)
#define __must_hold(...)

#endif
