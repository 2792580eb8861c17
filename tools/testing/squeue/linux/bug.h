/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Shim: a warning is the end of the test.
 */
#ifndef SHIM_LINUX_BUG_H
#define SHIM_LINUX_BUG_H

#include <stdio.h>
#include <stdlib.h>

#define WARN_ON_ONCE(condition)						\
do {									\
	if (__builtin_expect(!!(condition), 0)) {			\
		fprintf(stderr, "%s:%d: %s: warning: %s\n", __FILE__,	\
			__LINE__, __func__, #condition);		\
		abort();						\
	}								\
} while (0)

#endif
