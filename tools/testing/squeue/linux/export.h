/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Shim: there are no modules here.
 */
#ifndef SHIM_LINUX_EXPORT_H
#define SHIM_LINUX_EXPORT_H

#define EXPORT_SYMBOL_GPL(...)
#define EXPORT_PER_CPU_SYMBOL_GPL(...)

#endif
