/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Shim: offsetof() and NULL.
 */
#ifndef SHIM_LINUX_STDDEF_H
#define SHIM_LINUX_STDDEF_H

#include <stddef.h>

#endif
