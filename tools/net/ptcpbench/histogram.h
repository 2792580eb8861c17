/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A histogram of whole numbers that keeps three significant digits of each,
 * whatever its size, in a fixed amount of memory: what HdrHistogram does.
 *
 * The buckets are log-linear. Values below 2048 have a bucket each. From there
 * on, every power of two up to the next is cut into 1024 buckets of the same
 * width: 2 at 2048, 4 at 4096, and so on. So a bucket is never wider than
 * 1/1024 of the values in it.
 *
 * A value of TOP or more is counted in the last bucket; min, max and sum are
 * exact. A thread records into a histogram of its own, and they are added up
 * in the end. Zeroed memory is an empty histogram.
 */
#ifndef PTCPBENCH_HISTOGRAM_H
#define PTCPBENCH_HISTOGRAM_H

#include <stdint.h>

#define HISTOGRAM_HALF_BITS	10
#define HISTOGRAM_HALF		(1U << HISTOGRAM_HALF_BITS)
/* of nanoseconds: an hour and 13 minutes */
#define HISTOGRAM_TOP_BITS	42
#define HISTOGRAM_TOP		(1ULL << HISTOGRAM_TOP_BITS)
/* the first 2048 values, then 1024 for each doubling */
#define HISTOGRAM_BUCKETS \
	((HISTOGRAM_TOP_BITS - HISTOGRAM_HALF_BITS + 1) * HISTOGRAM_HALF)

struct histogram {
	uint64_t count;
	uint64_t sum;
	uint64_t min;		/* of no values: 0, as max */
	uint64_t max;
	uint64_t buckets[HISTOGRAM_BUCKETS];
};

void histogram_record(struct histogram *histogram, uint64_t value);
void histogram_add(struct histogram *to, const struct histogram *from);

/*
 * The smallest value that at least permille thousandths of all are not above:
 * 500 for the median, 999 for p99.9. As the largest value of its bucket, so
 * too high by at most a thousandth, but not above max. 0 of no values.
 */
uint64_t histogram_quantile(const struct histogram *histogram,
			    unsigned int permille);

#endif
