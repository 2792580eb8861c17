/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A model of the data caches of several CPUs: each has a first and a second
 * level of its own, set-associative with LRU replacement, kept coherent by
 * invalidation (MESI). Every access of a CPU tells what it would have cost.
 *
 * Each CPU has one thread that makes its accesses; different CPUs' threads may
 * do so at once. Accesses then take effect one after the other in some order
 * that is each CPU's own, and what is counted is exact for that order:
 *
 *   - An access that hits in the first level, and needs no right that the CPU
 *     does not have, reads one word that tells both. It takes no lock.
 *   - All else happens under the lock of the line's stripe. Stripes are the low
 *     bits of the line's number, no more of them than index any cache; so all
 *     lines of a set, and with them whatever a line replaces, are of one stripe.
 */
#ifndef TCGPROF_CACHE_H
#define TCGPROF_CACHE_H

#include <stdbool.h>
#include <stdint.h>

#define CACHE_MAX_CPUS 32
/* Physical addresses have to be below 2 to this power. */
#define CACHE_ADDRESS_BITS 40

struct cache_level {
	uint64_t size;		/* in bytes */
	unsigned int ways;
};

struct cache_config {
	const char *name;
	unsigned int line;	/* in bytes */
	struct cache_level l1, l2;
	/*
	 * The second level has what the first replaced, and nothing that the
	 * first has (AMD's K8); or else all that the first has.
	 */
	bool exclusive;
};

/* What an access was, any of these together. */
enum cache_event {
	CACHE_L1_MISS = 1 << 0,
	/* A miss in both levels is one of these three: */
	CACHE_COLD = 1 << 1,		/* the CPU never had the line */
	CACHE_CAPACITY = 1 << 2,	/* it replaced it since */
	CACHE_COHERENCE = 1 << 3,	/* another CPU's store took it away */
	/* such a miss found the line modified in another CPU's cache */
	CACHE_DIRTY = 1 << 4,
	/* a store that had the line, but shared: others had to be told */
	CACHE_UPGRADE = 1 << 5,
};

#define CACHE_L2_MISS (CACHE_COLD | CACHE_CAPACITY | CACHE_COHERENCE)

struct cache_model;

/* The configuration of that name, or NULL. */
const struct cache_config *cache_preset(const char *name);

/* NULL if there can be no such cache, with the reason in *why. */
struct cache_model *cache_create(const struct cache_config *config,
				 unsigned int cpus, const char **why);
void cache_destroy(struct cache_model *model);

/* One access of CPU to a line, by the number of the line in memory. */
unsigned int cache_access(struct cache_model *model, unsigned int cpu,
			  uint64_t line, bool store);

/* While there is no access: what is wrong with the model's state, or NULL. */
const char *cache_check(const struct cache_model *model);

#endif
