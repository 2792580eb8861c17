/* SPDX-License-Identifier: GPL-2.0 */
/* Saying what went wrong, and stopping for it. */
#ifndef PTCPBENCH_FAIL_H
#define PTCPBENCH_FAIL_H

#include <stdarg.h>

#ifndef __noreturn
#define __noreturn __attribute__((noreturn))
#endif
#ifndef __printf
#define __printf(a, b) __attribute__((format(printf, a, b)))
#endif

struct conn;
struct run;

/* Before there is a run: print and exit. */
__noreturn __printf(2, 3)
void die(int code, const char *fmt, ...);

__printf(1, 2)
void warn(const char *fmt, ...);

/*
 * From any thread: print, keep for the report, make the run fail, and have the
 * main thread stop everybody. The caller does no more work for the run.
 */
__printf(2, 3)
void run_fail(struct run *run, const char *fmt, ...);

/* The same from a connection's worker, naming the connection. */
__printf(2, 3)
void conn_fail(struct conn *conn, const char *fmt, ...);

#endif
