// SPDX-License-Identifier: GPL-2.0
/*
 * tsc-khz - print this machine's TSC rate in kHz, measured against
 * CLOCK_MONOTONIC.
 *
 * The guest is told this number (tsc_early_khz=) instead of calibrating its
 * own: calibration on a loaded host once gave a guest a clock seven times too
 * fast, which falsifies every throughput it reports.
 */
#include <stdint.h>
#include <stdio.h>
#include <time.h>
#include <x86intrin.h>

struct sample {
	uint64_t tsc;
	int64_t ns;
};

static int64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000000LL + ts.tv_nsec;
}

/* Of several tries keep the tightest, so that a preemption between the two
 * clocks does not count.
 */
static struct sample take(void)
{
	struct sample best = { 0 };
	int64_t best_gap = INT64_MAX;

	for (int i = 0; i < 100; i++) {
		int64_t before = now_ns();
		uint64_t tsc = __rdtsc();
		int64_t gap = now_ns() - before;

		if (gap < best_gap) {
			best_gap = gap;
			best.tsc = tsc;
			best.ns = before + gap / 2;
		}
	}
	return best;
}

int main(void)
{
	const struct timespec span = { .tv_nsec = 200000000 };
	struct sample a = take();

	nanosleep(&span, NULL);

	struct sample b = take();

	printf("%.0f\n", (double)(b.tsc - a.tsc) * 1e6 / (double)(b.ns - a.ns));
	return 0;
}
