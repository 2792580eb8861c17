/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The kernel's functions by address, from its System.map. A function reaches
 * to the next one.
 */
#ifndef TCGPROF_SYMBOLS_H
#define TCGPROF_SYMBOLS_H

#include <stdint.h>
#include <stddef.h>

enum {
	SYMBOL_USER,		/* all of user space */
	SYMBOL_KERNEL,		/* kernel code below the first function */
	SYMBOL_FIRST,
};

struct symbol {
	uint64_t start;
	char *name;
};

struct symbols {
	struct symbol *list;	/* sorted, and the two of above before it */
	size_t nr;
};

/* 0, or -1 with errno set. */
int symbols_read(struct symbols *symbols, const char *path);

/* The index of the symbol that an instruction is of. */
uint32_t symbols_find(const struct symbols *symbols, uint64_t vaddr);

#endif
