// SPDX-License-Identifier: GPL-2.0
/*
 * tcgprof arm|start|stop - to be run in the guest: tell the profiler what to do,
 * see mark.h. Without one it does nothing.
 */
#include <stdio.h>
#include <string.h>

#include "mark.h"

int main(int argc, char **argv)
{
	if (argc == 2 && !strcmp(argv[1], "arm")) {
		tcgprof_arm();
	} else if (argc == 2 && !strcmp(argv[1], "start")) {
		tcgprof_start();
	} else if (argc == 2 && !strcmp(argv[1], "stop")) {
		tcgprof_stop();
	} else {
		fprintf(stderr, "usage: tcgprof arm|start|stop\n");
		return 2;
	}
	return 0;
}
