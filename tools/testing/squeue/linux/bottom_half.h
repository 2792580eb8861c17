/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Shim: bottom halves nest, as in the kernel, and nothing else: no softirq
 * comes here.  The count is there to be checked.
 */
#ifndef SHIM_LINUX_BOTTOM_HALF_H
#define SHIM_LINUX_BOTTOM_HALF_H

#include <linux/bug.h>

extern __thread unsigned int shim_bh_disabled;

static inline void local_bh_disable(void)
{
	shim_bh_disabled++;
}

static inline void local_bh_enable(void)
{
	WARN_ON_ONCE(!shim_bh_disabled);
	shim_bh_disabled--;
}

#endif
