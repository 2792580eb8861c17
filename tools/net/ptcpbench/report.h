/* SPDX-License-Identifier: GPL-2.0 */
/* What a run tells: while it goes on, to people, to programs. */
#ifndef PTCPBENCH_REPORT_H
#define PTCPBENCH_REPORT_H

#include "window.h"

/* Once a second. */
void report_progress(struct run *run, const struct window *window);

/* The result, or that there is none; window->flows may be missing. */
void report_result(struct run *run, const struct window *window);

#endif
