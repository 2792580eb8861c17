/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Shim: the spinlock knows its holder.
 */
#ifndef SHIM_LINUX_LOCKDEP_H
#define SHIM_LINUX_LOCKDEP_H

#include <linux/bug.h>
#include <linux/spinlock.h>

#define lockdep_assert_held(lock)	WARN_ON_ONCE(!spin_is_held_here(lock))

#endif
