/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Shim: the types the kernel has everywhere.
 */
#ifndef SHIM_LINUX_TYPES_H
#define SHIM_LINUX_TYPES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef uint64_t u64;

typedef struct {
	long counter;
} atomic_long_t;

#endif
