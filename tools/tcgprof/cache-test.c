// SPDX-License-Identifier: GPL-2.0
/*
 * Tests of the model of the caches by itself; TAP on stdout.
 *
 * Patterns whose misses can be told beforehand, from one thread that plays all
 * CPUs; then as many threads as CPUs at once, after which the model's state has
 * to be consistent and no event may be lost.
 */
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "cache.h"

#define LINE 64
#define THREADS 4
#define RACE_ACCESSES 400000
#define RACE_LINES 4096

struct seen {
	unsigned long l1, cold, capacity, coherence, dirty, upgrades;
};

static const char *subject = "";	/* before the names of tests */
static unsigned int count;
static int failed;

static void count_events(struct seen *seen, unsigned int events)
{
	seen->l1 += !!(events & CACHE_L1_MISS);
	seen->cold += !!(events & CACHE_COLD);
	seen->capacity += !!(events & CACHE_CAPACITY);
	seen->coherence += !!(events & CACHE_COHERENCE);
	seen->dirty += !!(events & CACHE_DIRTY);
	seen->upgrades += !!(events & CACHE_UPGRADE);
}

static struct cache_model *create(const struct cache_config *config,
				  unsigned int cpus)
{
	const char *why;
	struct cache_model *model = cache_create(config, cpus, &why);

	if (!model) {
		fprintf(stderr, "no model: %s\n", why);
		exit(1);
	}
	return model;
}

/* BYTES from line FIRST on, with a distance of STRIDE lines. */
static struct seen sweep(struct cache_model *model, unsigned int cpu,
			 uint64_t first, uint64_t bytes, uint64_t stride,
			 bool store)
{
	struct seen seen = { 0 };

	for (uint64_t line = 0; line < bytes / LINE; line += stride)
		count_events(&seen, cache_access(model, cpu, first + line,
						 store));
	return seen;
}

static void verdict(bool ok, const char *name)
{
	printf("%sok %u - %s%s\n", ok ? "" : "not ", ++count, subject, name);
	if (!ok)
		failed = 1;
}

static void expect(const char *name, struct cache_model *model,
		   struct seen seen, struct seen wanted)
{
	const char *wrong = cache_check(model);
	bool ok = !wrong && seen.l1 == wanted.l1 && seen.cold == wanted.cold &&
		  seen.capacity == wanted.capacity &&
		  seen.coherence == wanted.coherence &&
		  seen.dirty == wanted.dirty &&
		  seen.upgrades == wanted.upgrades;

	verdict(ok, name);
	if (ok)
		return;
	if (wrong)
		printf("# %s\n", wrong);
	printf("# l1 %lu (expected %lu), cold %lu (%lu), capacity %lu (%lu), coherence %lu (%lu), dirty %lu (%lu), upgrades %lu (%lu)\n",
	       seen.l1, wanted.l1, seen.cold, wanted.cold, seen.capacity,
	       wanted.capacity, seen.coherence, wanted.coherence, seen.dirty,
	       wanted.dirty, seen.upgrades, wanted.upgrades);
}

static void test_opteron(void)
{
	struct cache_model *model = create(cache_preset("opteron275"), 1);
	const uint64_t both = (64 << 10) + (1 << 20), more = both + (64 << 10);

	expect("opteron275: lines never seen are cold", model,
	       sweep(model, 0, 0, 64 << 10, 1, false),
	       (struct seen){ .l1 = 1024, .cold = 1024 });
	expect("opteron275: 64 KB stay in the first level", model,
	       sweep(model, 0, 0, 64 << 10, 1, false), (struct seen){ 0 });
	expect("opteron275: writing to them asks nobody", model,
	       sweep(model, 0, 0, 64 << 10, 1, true), (struct seen){ 0 });
	sweep(model, 0, 0, both, 1, false);
	expect("opteron275: both levels together hold 1088 KB", model,
	       sweep(model, 0, 0, both, 1, false),
	       (struct seen){ .l1 = both / LINE });
	sweep(model, 0, 0, more, 1, false);
	expect("opteron275: 1152 KB in a circle never hit", model,
	       sweep(model, 0, 0, more, 1, false),
	       (struct seen){ .l1 = more / LINE, .capacity = more / LINE });
	cache_destroy(model);
}

static void test_xeon(void)
{
	struct cache_model *model = create(cache_preset("xeon"), 1);
	const uint64_t fits = 2 << 20, more = fits + (128 << 10);

	expect("xeon: lines never seen are cold", model,
	       sweep(model, 0, 0, 48 << 10, 1, true),
	       (struct seen){ .l1 = 768, .cold = 768 });
	expect("xeon: 48 KB stay in the first level", model,
	       sweep(model, 0, 0, 48 << 10, 1, true), (struct seen){ 0 });
	sweep(model, 0, 0, fits, 1, false);
	expect("xeon: 2 MB stay in the second level", model,
	       sweep(model, 0, 0, fits, 1, false),
	       (struct seen){ .l1 = fits / LINE });
	sweep(model, 0, 0, more, 1, false);
	expect("xeon: 2176 KB in a circle never hit", model,
	       sweep(model, 0, 0, more, 1, false),
	       (struct seen){ .l1 = more / LINE, .capacity = more / LINE });
	/* 2048 sets: lines as far apart as that meet in one of 16 ways */
	sweep(model, 0, 1 << 20, 16 * 2048 * LINE, 2048, false);
	expect("xeon: 16 lines of one set stay", model,
	       sweep(model, 0, 1 << 20, 16 * 2048 * LINE, 2048, false),
	       (struct seen){ .l1 = 16 });
	sweep(model, 0, 1 << 20, 17 * 2048 * LINE, 2048, false);
	expect("xeon: 17 lines of one set never hit", model,
	       sweep(model, 0, 1 << 20, 17 * 2048 * LINE, 2048, false),
	       (struct seen){ .l1 = 17, .capacity = 17 });
	cache_destroy(model);
}

static void test_lru(void)
{
	const struct cache_config two_ways = {
		"two ways", LINE, { 2 * LINE, 2 }, { 4 * LINE, 4 }, false
	};
	struct cache_model *model = create(&two_ways, 1);
	struct seen seen = { 0 };

	/* 1 is used last, so 0 has to go for 2 */
	for (const char *line = "01012"; *line; line++)
		cache_access(model, 0, *line - '0', false);
	count_events(&seen, cache_access(model, 0, 1, false));
	expect("the line that was not used for longest goes", model, seen,
	       (struct seen){ 0 });
	count_events(&seen, cache_access(model, 0, 0, false));
	expect("and the second level still has it", model, seen,
	       (struct seen){ .l1 = 1 });
	cache_destroy(model);
}

static void test_coherence(const char *prefix, const char *preset)
{
	struct cache_model *model = create(cache_preset(preset), 3);
	const uint64_t bytes = 16 << 10, lines = bytes / LINE;

	subject = prefix;
	sweep(model, 0, 0, bytes, 1, true);
	expect("another CPU's first read is cold, and finds it dirty", model,
	       sweep(model, 1, 0, bytes, 1, false),
	       (struct seen){ .l1 = lines, .cold = lines, .dirty = lines });
	expect("a third's is cold, and finds it clean", model,
	       sweep(model, 2, 0, bytes, 1, false),
	       (struct seen){ .l1 = lines, .cold = lines });
	expect("the writer still has it", model,
	       sweep(model, 0, 0, bytes, 1, false),
	       (struct seen){ 0 });
	expect("to write again it has to ask, once", model,
	       sweep(model, 0, 0, bytes, 1, true),
	       (struct seen){ .upgrades = lines });
	expect("but no more than once", model,
	       sweep(model, 0, 0, bytes, 1, true),
	       (struct seen){ 0 });
	expect("a reader that lost it misses for coherence", model,
	       sweep(model, 1, 0, bytes, 1, false),
	       (struct seen){ .l1 = lines, .coherence = lines, .dirty = lines });
	expect("a writer that lost it, too, and asks nobody else", model,
	       sweep(model, 2, 0, bytes, 1, true),
	       (struct seen){ .l1 = lines, .coherence = lines });
	expect("both others have lost it by that: one", model,
	       sweep(model, 0, 0, bytes, 1, false),
	       (struct seen){ .l1 = lines, .coherence = lines, .dirty = lines });
	expect("both others have lost it by that: the other", model,
	       sweep(model, 1, 0, bytes, 1, false),
	       (struct seen){ .l1 = lines, .coherence = lines });

	/* CPU 1 gives the lines up by itself, before CPU 0 writes to them */
	sweep(model, 1, 1 << 20, 16 << 20, 1, false);
	expect("CPU 0 asks, for all it knows they are shared", model,
	       sweep(model, 0, 0, bytes, 1, true),
	       (struct seen){ .upgrades = lines });
	expect("what was replaced before another's store is capacity", model,
	       sweep(model, 1, 0, bytes, 1, false),
	       (struct seen){ .l1 = lines, .capacity = lines, .dirty = lines });
	cache_destroy(model);
	subject = "";
}

/* Two CPUs in turn write to one line. */
static void test_ping_pong(void)
{
	struct cache_model *model = create(cache_preset("opteron275"), 2);
	struct seen seen = { 0 };

	for (int i = 0; i < 2000; i++)
		count_events(&seen, cache_access(model, i & 1, 5, true));
	expect("a line that two CPUs write to in turn", model, seen,
	       (struct seen){ .l1 = 2000, .cold = 2, .coherence = 1998,
			      .dirty = 1999 });
	cache_destroy(model);
}

static void test_refusal(void)
{
	struct cache_config config = *cache_preset("xeon");
	const char *why = NULL;

	config.l1.size += LINE;
	verdict(!cache_create(&config, 1, &why) && why,
		"a size that does not divide into sets is refused");
	verdict(!cache_create(cache_preset("xeon"), CACHE_MAX_CPUS + 1, &why),
		"too many CPUs are refused");
	verdict(!cache_preset("abacus"), "an unknown preset is refused");
}

struct racer {
	struct cache_model *model;
	unsigned int cpu;
	struct seen seen;
	pthread_t thread;
};

static void *race(void *arg)
{
	struct racer *racer = arg;
	uint64_t random = racer->cpu + 1;

	for (int i = 0; i < RACE_ACCESSES; i++) {
		random = random * 6364136223846793005ULL +
			 1442695040888963407ULL;
		count_events(&racer->seen,
			     cache_access(racer->model, racer->cpu,
					  (random >> 33) % RACE_LINES,
					  random >> 63));
	}
	return NULL;
}

static void test_race(const char *name, const struct cache_config *config)
{
	struct cache_model *model = create(config, THREADS);
	struct racer racers[THREADS];
	const char *wrong;
	bool ok = true;

	for (unsigned int cpu = 0; cpu < THREADS; cpu++) {
		racers[cpu] = (struct racer){ .model = model, .cpu = cpu };
		if (pthread_create(&racers[cpu].thread, NULL, race,
				   &racers[cpu]))
			exit(1);
	}
	for (unsigned int cpu = 0; cpu < THREADS; cpu++)
		pthread_join(racers[cpu].thread, NULL);
	wrong = cache_check(model);
	for (unsigned int cpu = 0; cpu < THREADS; cpu++) {
		const struct seen *seen = &racers[cpu].seen;

		/* so often is every line accessed that none is left out */
		if (seen->cold != RACE_LINES || !seen->coherence ||
		    seen->l1 < seen->cold + seen->capacity + seen->coherence)
			ok = false;
	}
	verdict(!wrong && ok, name);
	if (wrong)
		printf("# %s\n", wrong);
	cache_destroy(model);
}

int main(void)
{
	const struct cache_config small = {
		"small", LINE, { 4096, 4 }, { 32768, 8 }, false
	};
	const struct cache_config small_exclusive = {
		"small", LINE, { 4096, 4 }, { 32768, 8 }, true
	};

	test_opteron();
	test_xeon();
	test_lru();
	test_coherence("opteron275: ", "opteron275");
	test_coherence("xeon: ", "xeon");
	test_ping_pong();
	test_refusal();
	test_race("four CPUs at once, inclusive", &small);
	test_race("four CPUs at once, exclusive", &small_exclusive);
	printf("1..%u\n", count);
	return failed;
}
