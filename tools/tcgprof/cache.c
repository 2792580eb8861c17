// SPDX-License-Identifier: GPL-2.0
/*
 * The model of the caches, see cache.h.
 *
 * What a CPU's caches hold is in their slots: the number of the line, whether
 * there is one, and in the first level whether the CPU may write without asking
 * (MESI's M). What is known of a line beyond that is in a directory, an entry
 * for each line of memory that ever was accessed.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "cache.h"

#define SLOT_VALID 1ULL
#define SLOT_MODIFIED 2ULL
#define SLOT_SHIFT 2

#define MAX_STRIPES 1024
#define CHUNK_SHIFT 14
#define CHUNK_LINES (1UL << CHUNK_SHIFT)
#define NOBODY CACHE_MAX_CPUS

/* Written under the lock of the stripe; read without it by its own CPU. */
typedef _Atomic uint64_t slot_t;

struct level {
	unsigned int ways;
	uint64_t set_mask;
	slot_t *slots;
	uint64_t *used;		/* when each slot was last, by ->clock */
};

struct cpu {
	struct level l1, l2;
	uint64_t clock;
} __attribute__((aligned(64)));

/* A bit for each CPU. */
struct line {
	uint32_t had;		/* in its caches, at some time */
	uint32_t holds;
	uint32_t lost;		/* to another's store, and not had again */
	uint8_t owner;		/* the only CPU that holds it, if it knows */
	bool dirty;		/* and has written to it */
};

struct chunk {
	struct line lines[CHUNK_LINES];
};

struct stripe {
	pthread_mutex_t lock;
} __attribute__((aligned(64)));

struct cache_model {
	struct cpu cpus[CACHE_MAX_CPUS];
	unsigned int nr_cpus;
	bool exclusive;
	uint64_t stripe_mask;
	unsigned int line_shift;
	struct stripe stripes[MAX_STRIPES];
	/* by the upper bits of the line; a chunk once there stays */
	struct chunk **directory;
	uint64_t nr_chunks;
};

static const struct cache_config presets[] = {
	{ "opteron275", 64, { 64 << 10, 2 }, { 1 << 20, 16 }, true },
	/* Intel's Xeon of the fourth and fifth generation */
	{ "xeon", 64, { 48 << 10, 12 }, { 2 << 20, 16 }, false },
};

const struct cache_config *cache_preset(const char *name)
{
	for (size_t i = 0; i < sizeof(presets) / sizeof(*presets); i++)
		if (!strcmp(presets[i].name, name))
			return &presets[i];
	return NULL;
}

static bool power_of_two(uint64_t n)
{
	return n && !(n & (n - 1));
}

static uint64_t nr_sets(const struct cache_config *config,
			const struct cache_level *level)
{
	uint64_t way = (uint64_t)config->line * level->ways;

	return way && level->size % way == 0 ? level->size / way : 0;
}

static bool level_init(struct level *level, unsigned int ways, uint64_t sets)
{
	level->ways = ways;
	level->set_mask = sets - 1;
	level->slots = calloc(sets * ways, sizeof(*level->slots));
	level->used = calloc(sets * ways, sizeof(*level->used));
	return level->slots && level->used;
}

struct cache_model *cache_create(const struct cache_config *config,
				 unsigned int cpus, const char **why)
{
	uint64_t l1_sets = nr_sets(config, &config->l1);
	uint64_t l2_sets = nr_sets(config, &config->l2);
	uint64_t stripes = l1_sets < l2_sets ? l1_sets : l2_sets;
	struct cache_model *model;

	if (!power_of_two(config->line) || !power_of_two(l1_sets) ||
	    !power_of_two(l2_sets)) {
		*why = "line and size / ways / line must be powers of two";
		return NULL;
	}
	if (!cpus || cpus > CACHE_MAX_CPUS) {
		*why = "there can be 1 to 32 CPUs";
		return NULL;
	}
	*why = "out of memory";
	model = aligned_alloc(64, sizeof(*model));
	if (!model)
		return NULL;
	memset(model, 0, sizeof(*model));
	model->nr_cpus = cpus;
	model->exclusive = config->exclusive;
	model->line_shift = __builtin_ctz(config->line);
	if (stripes > MAX_STRIPES)
		stripes = MAX_STRIPES;
	model->stripe_mask = stripes - 1;
	for (uint64_t i = 0; i < stripes; i++)
		pthread_mutex_init(&model->stripes[i].lock, NULL);
	model->nr_chunks = 1ULL << (CACHE_ADDRESS_BITS - model->line_shift -
				    CHUNK_SHIFT);
	model->directory = calloc(model->nr_chunks, sizeof(*model->directory));
	if (!model->directory)
		goto out_of_memory;
	for (unsigned int cpu = 0; cpu < cpus; cpu++)
		if (!level_init(&model->cpus[cpu].l1, config->l1.ways, l1_sets) ||
		    !level_init(&model->cpus[cpu].l2, config->l2.ways, l2_sets))
			goto out_of_memory;
	return model;

out_of_memory:
	cache_destroy(model);
	return NULL;
}

void cache_destroy(struct cache_model *model)
{
	for (unsigned int cpu = 0; cpu < model->nr_cpus; cpu++) {
		free(model->cpus[cpu].l1.slots);
		free(model->cpus[cpu].l1.used);
		free(model->cpus[cpu].l2.slots);
		free(model->cpus[cpu].l2.used);
	}
	for (uint64_t i = 0; model->directory && i < model->nr_chunks; i++)
		free(model->directory[i]);
	free(model->directory);
	free(model);
}

/* The line's entry; made, if it is not there and MAKE says so. */
static struct line *directory_find(const struct cache_model *model,
				   uint64_t line, bool make)
{
	struct chunk **place, *chunk, *fresh;

	if (line >> CHUNK_SHIFT >= model->nr_chunks)
		abort();
	place = &model->directory[line >> CHUNK_SHIFT];
	chunk = __atomic_load_n(place, __ATOMIC_ACQUIRE);
	if (!chunk && make) {
		/* lines of a chunk are of many stripes: others try, too */
		fresh = calloc(1, sizeof(*fresh));
		if (!fresh)
			abort();
		for (size_t i = 0; i < CHUNK_LINES; i++)
			fresh->lines[i].owner = NOBODY;
		if (__atomic_compare_exchange_n(place, &chunk, fresh, false,
						__ATOMIC_ACQ_REL,
						__ATOMIC_ACQUIRE))
			chunk = fresh;
		else
			free(fresh);
	}
	return chunk ? &chunk->lines[line & (CHUNK_LINES - 1)] : NULL;
}

static uint64_t slot_read(const slot_t *slot)
{
	return atomic_load_explicit(slot, memory_order_relaxed);
}

static void slot_write(slot_t *slot, uint64_t value)
{
	atomic_store_explicit(slot, value, memory_order_relaxed);
}

static uint64_t slot_line(uint64_t value)
{
	return value >> SLOT_SHIFT;
}

/* Where the level has the line: its index, or -1. */
static long level_find(const struct level *level, uint64_t line)
{
	uint64_t first = (line & level->set_mask) * level->ways;
	uint64_t wanted = line << SLOT_SHIFT | SLOT_VALID | SLOT_MODIFIED;

	for (uint64_t i = first; i < first + level->ways; i++)
		if ((slot_read(&level->slots[i]) | SLOT_MODIFIED) == wanted)
			return i;
	return -1;
}

/* Where to put it: a free slot, or the one that was not used for longest. */
static long level_victim(const struct level *level, uint64_t line)
{
	uint64_t first = (line & level->set_mask) * level->ways;
	uint64_t victim = first;

	for (uint64_t i = first; i < first + level->ways; i++) {
		if (!slot_read(&level->slots[i]))
			return i;
		if (level->used[i] < level->used[victim])
			victim = i;
	}
	return victim;
}

static void level_remove(struct level *level, uint64_t line)
{
	long index = level_find(level, line);

	if (index >= 0)
		slot_write(&level->slots[index], 0);
}

/* The caches of CPU have no room for the line any more. */
static void evict(struct cache_model *model, unsigned int cpu, uint64_t line)
{
	struct line *entry = directory_find(model, line, false);

	entry->holds &= ~(1U << cpu);
	if (entry->owner == cpu) {
		entry->owner = NOBODY;
		entry->dirty = false;
	}
}

static void l2_insert(struct cache_model *model, unsigned int cpu,
		      uint64_t line)
{
	struct cpu *self = &model->cpus[cpu];
	long index = level_victim(&self->l2, line);
	uint64_t victim = slot_read(&self->l2.slots[index]);

	if (victim) {
		if (!model->exclusive)
			level_remove(&self->l1, slot_line(victim));
		evict(model, cpu, slot_line(victim));
	}
	slot_write(&self->l2.slots[index], line << SLOT_SHIFT | SLOT_VALID);
	self->l2.used[index] = ++self->clock;
}

static long l1_insert(struct cache_model *model, unsigned int cpu,
		      uint64_t line)
{
	struct cpu *self = &model->cpus[cpu];
	long index = level_victim(&self->l1, line);
	uint64_t victim = slot_read(&self->l1.slots[index]);

	if (victim && model->exclusive)
		l2_insert(model, cpu, slot_line(victim));
	slot_write(&self->l1.slots[index], line << SLOT_SHIFT | SLOT_VALID);
	return index;
}

/* The second level is to give the line to the first. */
static void l2_hit(struct cache_model *model, unsigned int cpu, uint64_t line)
{
	struct cpu *self = &model->cpus[cpu];

	if (model->exclusive)
		level_remove(&self->l2, line);
	else
		self->l2.used[level_find(&self->l2, line)] = ++self->clock;
}

/* Another CPU reads the line that OWNER alone has had. */
static void share(struct cache_model *model, struct line *entry, uint64_t line)
{
	struct level *l1 = &model->cpus[entry->owner].l1;
	long index = level_find(l1, line);

	if (index >= 0)
		slot_write(&l1->slots[index], line << SLOT_SHIFT | SLOT_VALID);
	entry->owner = NOBODY;
	entry->dirty = false;
}

static unsigned int l2_miss(struct cache_model *model, unsigned int cpu,
			    uint64_t line, struct line *entry)
{
	unsigned int events;
	uint32_t bit = 1U << cpu;

	if (!(entry->had & bit))
		events = CACHE_COLD;
	else if (entry->lost & bit)
		events = CACHE_COHERENCE;
	else
		events = CACHE_CAPACITY;
	if (entry->dirty)
		events |= CACHE_DIRTY;
	entry->had |= bit;
	entry->lost &= ~bit;

	if (entry->owner != NOBODY)
		share(model, entry, line);
	if (!entry->holds)
		entry->owner = cpu;
	entry->holds |= bit;
	if (!model->exclusive)
		l2_insert(model, cpu, line);
	return events;
}

/* CPU, which holds the line, is to be the only one that does. */
static void invalidate_others(struct cache_model *model, unsigned int cpu,
			      uint64_t line, struct line *entry)
{
	uint32_t others = entry->holds & ~(1U << cpu);

	entry->lost |= others;
	entry->holds = 1U << cpu;
	entry->owner = cpu;
	for (; others; others &= others - 1) {
		struct cpu *other = &model->cpus[__builtin_ctz(others)];

		level_remove(&other->l1, line);
		level_remove(&other->l2, line);
	}
}

static unsigned int access_locked(struct cache_model *model, unsigned int cpu,
				  uint64_t line, bool store)
{
	struct cpu *self = &model->cpus[cpu];
	struct line *entry = directory_find(model, line, true);
	long index = level_find(&self->l1, line);
	uint64_t modified = 0;
	unsigned int events = 0;

	if (index < 0) {
		events = CACHE_L1_MISS;
		if (entry->holds & 1U << cpu)
			l2_hit(model, cpu, line);
		else
			events |= l2_miss(model, cpu, line, entry);
		index = l1_insert(model, cpu, line);
	}
	if (store && entry->owner != cpu) {
		if (!(events & CACHE_L2_MISS))
			events |= CACHE_UPGRADE;
		invalidate_others(model, cpu, line, entry);
	}
	if (store)
		entry->dirty = true;
	if (entry->owner == cpu && entry->dirty)
		modified = SLOT_MODIFIED;
	slot_write(&self->l1.slots[index],
		   line << SLOT_SHIFT | SLOT_VALID | modified);
	self->l1.used[index] = ++self->clock;
	return events;
}

unsigned int cache_access(struct cache_model *model, unsigned int cpu,
			  uint64_t line, bool store)
{
	struct cpu *self = &model->cpus[cpu];
	uint64_t first = (line & self->l1.set_mask) * self->l1.ways;
	uint64_t wanted = line << SLOT_SHIFT | SLOT_VALID | SLOT_MODIFIED;
	pthread_mutex_t *lock;
	unsigned int events;

	for (uint64_t i = first; i < first + self->l1.ways; i++) {
		uint64_t value = slot_read(&self->l1.slots[i]);

		if ((value | SLOT_MODIFIED) != wanted)
			continue;
		if (store && value != wanted)
			break;
		self->l1.used[i] = ++self->clock;
		return 0;
	}
	lock = &model->stripes[line & model->stripe_mask].lock;
	pthread_mutex_lock(lock);
	events = access_locked(model, cpu, line, store);
	pthread_mutex_unlock(lock);
	return events;
}

/* Every line of a level is one that the directory says its CPU holds. */
static const char *check_level(const struct cache_model *model,
			       unsigned int cpu, const struct level *level,
			       uint64_t *lines)
{
	for (uint64_t i = 0; i < (level->set_mask + 1) * level->ways; i++) {
		uint64_t value = slot_read(&level->slots[i]);
		const struct line *entry;

		if (!value)
			continue;
		(*lines)++;
		if ((slot_line(value) & level->set_mask) != i / level->ways)
			return "a line is in another set than its own";
		if (level_find(level, slot_line(value)) != (long)i)
			return "a line is twice in a set";
		entry = directory_find(model, slot_line(value), false);
		if (!entry || !(entry->holds & 1U << cpu))
			return "a cache has a line that it does not hold";
		if (value & SLOT_MODIFIED && !(entry->owner == cpu &&
					       entry->dirty))
			return "a line is writable without being owned";
	}
	return NULL;
}

static const char *check_line(const struct cache_model *model, uint64_t line,
			      const struct line *entry, uint64_t *held)
{
	if (entry->holds & ~entry->had || entry->lost & entry->holds)
		return "a line's history contradicts itself";
	if (entry->owner == NOBODY ? entry->dirty :
	    entry->holds != 1U << entry->owner)
		return "a line that is owned or dirty is not held by one CPU";
	for (uint32_t holds = entry->holds; holds; holds &= holds - 1) {
		const struct cpu *cpu = &model->cpus[__builtin_ctz(holds)];
		bool in_l1 = level_find(&cpu->l1, line) >= 0;
		bool in_l2 = level_find(&cpu->l2, line) >= 0;

		held[cpu - model->cpus]++;
		if (model->exclusive ? in_l1 == in_l2 : !in_l2)
			return "a line that is held is not where it should be";
	}
	return NULL;
}

const char *cache_check(const struct cache_model *model)
{
	uint64_t held[CACHE_MAX_CPUS] = { 0 };
	const char *wrong = NULL;

	for (uint64_t i = 0; i < model->nr_chunks && !wrong; i++) {
		struct chunk *chunk = model->directory[i];

		for (size_t n = 0; chunk && n < CHUNK_LINES && !wrong; n++)
			wrong = check_line(model, i << CHUNK_SHIFT | n,
					   &chunk->lines[n], held);
	}
	for (unsigned int cpu = 0; cpu < model->nr_cpus && !wrong; cpu++) {
		uint64_t l1 = 0, l2 = 0;

		wrong = check_level(model, cpu, &model->cpus[cpu].l1, &l1);
		if (!wrong)
			wrong = check_level(model, cpu, &model->cpus[cpu].l2,
					    &l2);
		if (!wrong && held[cpu] != (model->exclusive ? l1 + l2 : l2))
			wrong = "a CPU holds more or less than is in its caches";
	}
	return wrong;
}
