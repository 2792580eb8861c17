/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Shim: a thread plays a CPU, so its variables are per thread.
 */
#ifndef SHIM_LINUX_PERCPU_H
#define SHIM_LINUX_PERCPU_H

#define DECLARE_PER_CPU(type, name)	extern __thread __typeof__(type) name
#define DEFINE_PER_CPU(type, name)	__thread __typeof__(type) name

#define this_cpu_read(name)		(name)
#define this_cpu_write(name, val)	((name) = (val))

#endif
