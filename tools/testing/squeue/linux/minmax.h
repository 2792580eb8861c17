/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Shim: each argument is evaluated once, and both have one type.
 */
#ifndef SHIM_LINUX_MINMAX_H
#define SHIM_LINUX_MINMAX_H

#define min_t(type, a, b)						\
({									\
	type __a = (a);							\
	type __b = (b);							\
									\
	__a < __b ? __a : __b;						\
})

#define max_t(type, a, b)						\
({									\
	type __a = (a);							\
	type __b = (b);							\
									\
	__a > __b ? __a : __b;						\
})

#define min(a, b)	min_t(__typeof__(a), a, b)
#define max(a, b)	max_t(__typeof__(a), a, b)

#endif
