/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Shim: for lib/llist.c, which needs only what llist.h brings.
 */
