// SPDX-License-Identifier: GPL-2.0
/* Log-linear buckets; histogram.h says how they are cut. */
#include "histogram.h"

/*
 * The buckets of one width are numbered by their values' upper 11 bits, 1024
 * to 2047, and each width follows on the one before.
 */
static unsigned int bucket_of(uint64_t value)
{
	unsigned int shift = 0;

	if (value >= HISTOGRAM_TOP)
		return HISTOGRAM_BUCKETS - 1;
	if (value >= 2 * HISTOGRAM_HALF)
		shift = 63 - HISTOGRAM_HALF_BITS - __builtin_clzll(value);
	return shift * HISTOGRAM_HALF + (value >> shift);
}

/* The largest value that is counted there. */
static uint64_t bucket_top(unsigned int bucket)
{
	unsigned int shift = 0;

	if (bucket >= 2 * HISTOGRAM_HALF)
		shift = bucket / HISTOGRAM_HALF - 1;
	return ((bucket - shift * HISTOGRAM_HALF + 1ULL) << shift) - 1;
}

void histogram_record(struct histogram *histogram, uint64_t value)
{
	if (!histogram->count || value < histogram->min)
		histogram->min = value;
	if (value > histogram->max)
		histogram->max = value;
	histogram->count++;
	histogram->sum += value;
	histogram->buckets[bucket_of(value)]++;
}

void histogram_add(struct histogram *to, const struct histogram *from)
{
	if (!from->count)
		return;
	if (!to->count || from->min < to->min)
		to->min = from->min;
	if (from->max > to->max)
		to->max = from->max;
	to->count += from->count;
	to->sum += from->sum;
	for (unsigned int i = 0; i < HISTOGRAM_BUCKETS; i++)
		to->buckets[i] += from->buckets[i];
}

uint64_t histogram_quantile(const struct histogram *histogram,
			    unsigned int permille)
{
	/* rounded up without an overflow: count may be large */
	uint64_t rank = histogram->count / 1000 * permille +
			(histogram->count % 1000 * permille + 999) / 1000;
	uint64_t below = 0, top;

	for (unsigned int i = 0; i < HISTOGRAM_BUCKETS - 1; i++) {
		below += histogram->buckets[i];
		if (below >= rank && below) {
			top = bucket_top(i);
			return top < histogram->max ? top : histogram->max;
		}
	}
	/* the last bucket has no end of its own */
	return histogram->max;
}
