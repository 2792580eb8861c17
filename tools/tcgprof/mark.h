/* SPDX-License-Identifier: GPL-2.0 */
/*
 * How a program in the guest tells the profiler what to do: by an instruction
 * that does nothing, a nop with an operand that no compiler would choose. It
 * does nothing on any machine, so a program may have it always.
 *
 * The jumps around it give it a block of its own in the emulator, which is not
 * counted; of what a start and a stop enclose, all is, and the jump to the stop.
 */
#ifndef TCGPROF_MARK_H
#define TCGPROF_MARK_H

#define TCGPROF_ARM 1	/* instrument the guest, and begin to fill the caches */
#define TCGPROF_START 2	/* begin to count, from zero */
#define TCGPROF_STOP 3	/* end that */

/* nopl, and its operand but for the last byte, which is one of the above. */
#define TCGPROF_NOP "\x0f\x1f\x80prf"

#define TCGPROF_CODE_(mark)						\
	"jmp 8f\n"							\
	"8: .ascii \"\\x0f\\x1f\\x80prf\"\n"				\
	".byte " #mark "\n"						\
	"jmp 9f\n"							\
	"9:\n"
/* As text for the assembler. */
#define TCGPROF_CODE(mark) TCGPROF_CODE_(mark)

static inline void tcgprof_arm(void)
{
#ifdef __x86_64__
	__asm__ volatile(TCGPROF_CODE(TCGPROF_ARM) : : : "memory");
#endif
}

static inline void tcgprof_start(void)
{
#ifdef __x86_64__
	__asm__ volatile(TCGPROF_CODE(TCGPROF_START) : : : "memory");
#endif
}

static inline void tcgprof_stop(void)
{
#ifdef __x86_64__
	__asm__ volatile(TCGPROF_CODE(TCGPROF_STOP) : : : "memory");
#endif
}

#endif
