// SPDX-License-Identifier: GPL-2.0
/*
 * histogram-test CASE - one test of histogram.c against sorted lists of the
 * same values; says on stderr what is wrong and exits with 1. test.sh runs all.
 */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "histogram.h"

#define COUNT 100000

static struct histogram histogram, other;
static uint64_t values[COUNT];
static bool failed;

static void expect(const char *what, uint64_t got, uint64_t low, uint64_t high)
{
	if (got >= low && got <= high)
		return;
	fprintf(stderr, "%s: expected %llu to %llu, got %llu\n", what,
		(unsigned long long)low, (unsigned long long)high,
		(unsigned long long)got);
	failed = true;
}

static void is(const char *what, uint64_t got, uint64_t expected)
{
	expect(what, got, expected, expected);
}

/* splitmix64: the same numbers each time */
static uint64_t next_random(void)
{
	static uint64_t state;
	uint64_t x = state += 0x9e3779b97f4a7c15ULL;

	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
	return x ^ (x >> 31);
}

static int by_value(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

static void test_empty(void)
{
	is("count", histogram.count, 0);
	is("p50 of nothing", histogram_quantile(&histogram, 500), 0);
	is("p100 of nothing", histogram_quantile(&histogram, 1000), 0);
	histogram_add(&other, &histogram);
	is("min of two empty ones", other.min, 0);
}

/* Where buckets are one wide there is no error at all. */
static void test_exact(void)
{
	for (uint64_t value = 1; value <= 2000; value++)
		histogram_record(&histogram, value);
	is("count", histogram.count, 2000);
	is("sum", histogram.sum, 2000ULL * 2001 / 2);
	is("min", histogram.min, 1);
	is("max", histogram.max, 2000);
	for (unsigned int permille = 1; permille <= 1000; permille++)
		is("quantile", histogram_quantile(&histogram, permille),
		   2 * permille);
	is("p0", histogram_quantile(&histogram, 0), 1);
}

/*
 * At each edge of the buckets' widths: a value's bucket begins at no more and
 * ends at no less than the value, and is no wider than a thousandth.
 */
static void test_resolution(void)
{
	for (unsigned int bit = 0; bit < HISTOGRAM_TOP_BITS; bit++)
		for (int step = -2; step <= 2; step++) {
			uint64_t value = (1ULL << bit) + step;

			if ((int64_t)value < 0 || value >= HISTOGRAM_TOP)
				continue;
			memset(&histogram, 0, sizeof(histogram));
			histogram_record(&histogram, value);
			/* lest max hide where the bucket ends */
			histogram_record(&histogram, HISTOGRAM_TOP);
			expect("end of the bucket",
			       histogram_quantile(&histogram, 500),
			       value, value + value / 1000);
		}
}

/* Neighbours that three digits tell apart are counted apart. */
static void test_apart(void)
{
	for (uint64_t value = 1; value < HISTOGRAM_TOP / 2; value *= 3) {
		memset(&histogram, 0, sizeof(histogram));
		histogram_record(&histogram, value);
		histogram_record(&histogram, value + value / 999 + 1);
		expect("the lower of two", histogram_quantile(&histogram, 500),
		       value, value + value / 999);
	}
}

/* Values of all sizes, as latencies are, against the sorted list. */
static void test_quantiles(void)
{
	static const unsigned int permilles[] = {
		1, 10, 250, 500, 900, 990, 999, 1000,
	};
	uint64_t sum = 0;

	for (unsigned int i = 0; i < COUNT; i++) {
		values[i] = next_random() >> (24 + next_random() % 40);
		sum += values[i];
		histogram_record(&histogram, values[i]);
	}
	qsort(values, COUNT, sizeof(*values), by_value);
	is("sum", histogram.sum, sum);
	is("min", histogram.min, values[0]);
	is("max", histogram.max, values[COUNT - 1]);
	for (size_t i = 0; i < sizeof(permilles) / sizeof(*permilles); i++) {
		unsigned int permille = permilles[i];
		uint64_t exact = values[COUNT / 1000 * permille - 1];

		expect("quantile", histogram_quantile(&histogram, permille),
		       exact, exact + exact / 1000);
	}
	is("p100", histogram_quantile(&histogram, 1000), histogram.max);
}

/* The rank is rounded up: of 10 values, p99 is the largest. */
static void test_few(void)
{
	for (uint64_t value = 1; value <= 10; value++)
		histogram_record(&histogram, 100 * value);
	is("p50", histogram_quantile(&histogram, 500), 500);
	is("p90", histogram_quantile(&histogram, 900), 900);
	is("p99", histogram_quantile(&histogram, 990), 1000);
	is("p99.9", histogram_quantile(&histogram, 999), 1000);
}

/* The parts of a list add up to what all of it gives. */
static void test_add(void)
{
	static struct histogram whole;

	for (unsigned int i = 0; i < COUNT; i++) {
		uint64_t value = next_random() >> 32;

		histogram_record(&whole, value);
		histogram_record(i % 3 ? &histogram : &other, value);
	}
	histogram_add(&histogram, &other);
	is("all of it, added", memcmp(&histogram, &whole, sizeof(whole)), 0);
	memset(&other, 0, sizeof(other));
	histogram_add(&histogram, &other);
	is("and nothing", memcmp(&histogram, &whole, sizeof(whole)), 0);
	histogram_add(&other, &whole);
	is("to nothing", memcmp(&other, &whole, sizeof(whole)), 0);
}

/* What is too large is not lost, and spoils nothing else. */
static void test_too_large(void)
{
	histogram_record(&histogram, 7);
	histogram_record(&histogram, HISTOGRAM_TOP - 1);
	histogram_record(&histogram, HISTOGRAM_TOP);
	histogram_record(&histogram, UINT64_MAX / 2);
	is("count", histogram.count, 4);
	is("p25", histogram_quantile(&histogram, 250), 7);
	is("max", histogram.max, UINT64_MAX / 2);
	is("p99", histogram_quantile(&histogram, 990), UINT64_MAX / 2);
}

static const struct {
	const char *name;
	void (*run)(void);
} tests[] = {
	{ "empty", test_empty },
	{ "exact", test_exact },
	{ "resolution", test_resolution },
	{ "apart", test_apart },
	{ "quantiles", test_quantiles },
	{ "few", test_few },
	{ "add", test_add },
	{ "too-large", test_too_large },
};

int main(int argc, char **argv)
{
	for (size_t i = 0; i < sizeof(tests) / sizeof(*tests); i++)
		if (argc == 2 && !strcmp(argv[1], tests[i].name)) {
			tests[i].run();
			return failed;
		}
	fprintf(stderr, "usage: histogram-test CASE, one of:");
	for (size_t i = 0; i < sizeof(tests) / sizeof(*tests); i++)
		fprintf(stderr, " %s", tests[i].name);
	fputc('\n', stderr);
	return 2;
}
