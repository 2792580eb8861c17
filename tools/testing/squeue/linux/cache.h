/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Shim: cache lines, as on x86, so that false sharing is the same.
 */
#ifndef SHIM_LINUX_CACHE_H
#define SHIM_LINUX_CACHE_H

#define ____cacheline_aligned_in_smp	__attribute__((__aligned__(64)))

#endif
