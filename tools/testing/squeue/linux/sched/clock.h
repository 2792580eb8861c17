/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Shim: a clock that is cheap and never goes back.
 */
#ifndef SHIM_LINUX_SCHED_CLOCK_H
#define SHIM_LINUX_SCHED_CLOCK_H

#include <time.h>

#include <linux/time64.h>
#include <linux/types.h>

#ifdef SHIM_POINTS
extern u64 shim_clock;

static inline u64 local_clock(void)
{
	return shim_clock;
}
#else
static inline u64 local_clock(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (u64)now.tv_sec * NSEC_PER_SEC + now.tv_nsec;
}
#endif

#endif
