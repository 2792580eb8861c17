// SPDX-License-Identifier: GPL-2.0
/*
 * known WINDOWS - the profiler's test in the guest: programs whose instructions,
 * accesses and misses can be told beforehand, each in a window of its own.
 *
 * On stdout are the numbers that the results have to have, a line each:
 *
 *	WINDOW vCPU FUNCTION COLUMN NUMBER	(separated by tabs)
 *
 * Where NUMBER is "calls N", it is N times what the function has instructions.
 * With one CPU there is no window for two. The memory has to be there before
 * the profiler is armed: the kernel clears it, which would be the first access.
 */
#include <err.h>
#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "mark.h"

#define LINE 64
#define LOOPS 100000
#define COLD_BYTES (1 << 20)
/* many times what both levels of any preset have */
#define LARGE_BYTES (32 << 20)
#define SHARED_LINES 64
#define ROUNDS 50
#define CALLS 1000

static unsigned int window;

/*
 * In between is the body alone, whatever the compiler does around it: the marks
 * are in the same asm. It may use the registers that it gets and rax.
 */
#define MEASURE(body, pointer, count)					\
	do {								\
		void *pointer_ = (pointer);				\
		uint64_t count_ = (count);				\
									\
		window++;						\
		__asm__ volatile(TCGPROF_CODE(TCGPROF_START) body "\n"	\
				 TCGPROF_CODE(TCGPROF_STOP)		\
				 : "+D" (pointer_), "+c" (count_)	\
				 : : "rax", "cc", "memory");		\
	} while (0)

static void expect(unsigned int vcpu, const char *function, const char *column,
		   unsigned long number)
{
	printf("%u\t%u\t%s\t%s\t%lu\n", window, vcpu, function, column, number);
}

/* Of the window that was just measured on CPU 0: all but misses of L1. */
static void expect_user(unsigned long insns, unsigned long loads,
			unsigned long stores, unsigned long cold,
			unsigned long capacity)
{
	expect(0, "[user]", "insns", insns + 1);	/* the jump to the stop */
	expect(0, "[user]", "loads", loads);
	expect(0, "[user]", "stores", stores);
	expect(0, "[user]", "io", 0);
	expect(0, "[user]", "l2_cold", cold);
	expect(0, "[user]", "l2_capacity", capacity);
	expect(0, "[user]", "l2_coherence", 0);
}

static void run_on(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	if (sched_setaffinity(0, sizeof(set), &set))
		err(1, "CPU %d", cpu);
}

static void *memory(size_t size)
{
	void *new = mmap(NULL, size, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

	if (new == MAP_FAILED)
		err(1, "memory");
	return new;
}

static void test_instructions(void)
{
	MEASURE("", NULL, 0);
	expect_user(0, 0, 0, 0, 0);
	MEASURE("1: dec %%ecx\n jnz 1b", NULL, LOOPS);
	expect_user(2 * LOOPS, 0, 0, 0, 0);
}

static void test_accesses(uint64_t *word)
{
	*word = 0;
	MEASURE("1: mov (%%rdi), %%rax\n dec %%ecx\n jnz 1b", word, LOOPS);
	expect_user(3 * LOOPS, LOOPS, 0, 0, 0);
	MEASURE("1: mov %%rax, (%%rdi)\n dec %%ecx\n jnz 1b", word, LOOPS);
	expect_user(3 * LOOPS, 0, LOOPS, 0, 0);
	MEASURE("1: incl (%%rdi)\n lock incl (%%rdi)\n xchg %%eax, (%%rdi)\n dec %%ecx\n jnz 1b",
		word, LOOPS);
	expect_user(5 * LOOPS, 3 * LOOPS, 3 * LOOPS, 0, 0);
}

/* A string instruction is one, however often it repeats. */
static void test_strings(uint64_t *words)
{
	memset(words, 0, 4096);
	MEASURE("rep stosq", words, 512);
	expect_user(1, 0, 512, 0, 0);
	MEASURE("rep stosq", words, 0);
	expect_user(1, 0, 0, 0, 0);
	MEASURE("1: mov %%ecx, %%eax\n mov $8, %%ecx\n rep stosq\n sub $64, %%rdi\n mov %%eax, %%ecx\n dec %%ecx\n jnz 1b",
		words, LOOPS);
	expect_user(7 * LOOPS, 0, 8 * LOOPS, 0, 0);
}

#define SWEEP "1: mov (%%rdi), %%rax\n add $64, %%rdi\n dec %%ecx\n jnz 1b"

static void test_misses(void *fresh, void *large)
{
	unsigned long cold = COLD_BYTES / LINE, capacity = LARGE_BYTES / LINE;

	MEASURE(SWEEP, fresh, cold);
	expect_user(4 * cold, cold, 0, cold, 0);
	expect(0, "[user]", "l1_misses", cold);
	MEASURE(SWEEP, large, capacity);
	expect_user(4 * capacity, capacity, 0, capacity, 0);
	MEASURE(SWEEP, large, capacity);
	expect_user(4 * capacity, capacity, 0, 0, capacity);
	expect(0, "[user]", "l1_misses", capacity);
	MEASURE(SWEEP, large, 64);
	expect_user(4 * 64, 64, 0, 0, 64);
	MEASURE(SWEEP, large, 64);
	expect_user(4 * 64, 64, 0, 0, 0);
}

struct reader {
	int go[2], done[2];	/* pipes */
	volatile uint64_t *shared;
};

static void pass(int fd)
{
	char token = 0;

	/* not by write(), which tells where the thread may be cancelled */
	if (syscall(SYS_write, fd, &token, 1) != 1)
		err(1, "write");
}

static void wait_for(int fd)
{
	char token;

	if (syscall(SYS_read, fd, &token, 1) != 1)
		err(1, "read");
}

static void *read_shared(void *arg)
{
	struct reader *reader = arg;

	run_on(1);
	for (int round = 0; round <= ROUNDS; round++) {
		wait_for(reader->go[0]);
		for (int i = 0; i < SHARED_LINES; i++)
			(void)reader->shared[i * (LINE / 8)];
		pass(reader->done[1]);
	}
	/* the end of a thread is work, too */
	wait_for(reader->go[0]);
	return NULL;
}

static void write_shared(struct reader *reader)
{
	for (int i = 0; i < SHARED_LINES; i++)
		reader->shared[i * (LINE / 8)] = i;
	pass(reader->go[1]);
	wait_for(reader->done[0]);
}

/*
 * CPU 0 writes to lines that CPU 1 then reads. They tell each other through the
 * kernel, so that user space has no other line in common.
 */
static void test_coherence(struct reader *reader, void *shared)
{
	pthread_t thread;

	reader->shared = shared;
	if (pipe(reader->go) || pipe(reader->done) ||
	    pthread_create(&thread, NULL, read_shared, reader))
		err(1, "reader");
	write_shared(reader);
	window++;
	tcgprof_start();
	for (int round = 0; round < ROUNDS; round++)
		write_shared(reader);
	tcgprof_stop();
	pass(reader->go[1]);
	pthread_join(thread, NULL);
	expect(0, "[user]", "l2_coherence", 0);
	expect(0, "[user]", "upgrades", ROUNDS * SHARED_LINES);
	expect(1, "[user]", "l2_coherence", ROUNDS * SHARED_LINES);
	expect(1, "[user]", "dirty", ROUNDS * SHARED_LINES);
	expect(1, "[user]", "upgrades", 0);
}

static void test_kernel(void)
{
	window++;
	tcgprof_start();
	for (int i = 0; i < CALLS; i++)
		syscall(SYS_getppid);
	tcgprof_stop();
	printf("%u\t0\t__x64_sys_getppid\tinsns\tcalls %d\n", window, CALLS);
}

int main(void)
{
	void *page = memory(4096), *reader = memory(4096);
	void *shared = memory(SHARED_LINES * LINE), *fresh = memory(COLD_BYTES);
	void *large = memory(LARGE_BYTES);

	run_on(0);
	tcgprof_arm();
	test_instructions();
	test_accesses(page);
	test_strings(page);
	test_misses(fresh, large);
	if (sysconf(_SC_NPROCESSORS_ONLN) > 1)
		test_coherence(reader, shared);
	test_kernel();
	return 0;
}
