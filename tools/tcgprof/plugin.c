// SPDX-License-Identifier: GPL-2.0
/*
 * tcgprof.so - a profiler for guests of QEMU's TCG, as a plugin: what each
 * function of the guest's kernel costs in instructions, and in misses of caches
 * that are modelled (cache.h), on each vCPU.
 *
 *   -plugin tcgprof.so,symbols=System.map,out=PREFIX[,option=value...]
 *
 *   symbols=FILE	the kernel's System.map; it has to run with nokaslr
 *   out=PREFIX		results are PREFIX.1, PREFIX.2, ...: one for each time
 *			that the guest has started and stopped it
 *   cache=NAME		opteron275 (default) or xeon; or none: do not look at
 *			memory at all, count instructions only
 *   line=BYTES, l1=BYTES:WAYS, l2=BYTES:WAYS, exclusive=on|off
 *			changes to that
 *   locks=FILE		the first addresses of functions, a line each, whose
 *			costs are also to be told by who called them
 *
 * What happens when:
 *
 *   tb_watch()		until the guest says "arm": translated code runs as it
 *			would without us, but for marks (mark.h)
 *   on_mark()		"arm" has all code translated anew, now by
 *   tb_profile()	which puts into each block of instructions calls of
 *   on_run()		  to count the instructions, and
 *   on_access()	  for each access to memory, which goes to the model
 *   on_exit()		writes it all when QEMU ends, and no vCPU runs any more
 *
 * Counters are each vCPU's own. A call takes the window that is open at its
 * begin, and "stop" only closes it, so nothing has to wait for anything.
 *
 * Of a block that faults half-way all instructions are counted, and again those
 * that run after the fault is repaired. A string instruction with a repeat
 * prefix is one instruction, each repetition an access or two of its own, and an
 * access of 16 bytes is two. What devices and the MMU read and write is not seen,
 * neither is the fetching of instructions, and little of what interrupts save.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cache.h"
#include "mark.h"
#include "qemu-plugin.h"
#include "symbols.h"

#define FORMAT_VERSION 1
#define MAX_WINDOWS 1024

struct counts {
	uint64_t insns, loads, stores, io;
	uint64_t l1_misses, l2_cold, l2_capacity, l2_coherence;
	uint64_t dirty, upgrades;
	/* of the locks that this function called */
	uint64_t lock_insns, lock_l2_misses;
};

/* A row's numbers, in this order, in the results. */
static const char columns[] =
	"insns\tloads\tstores\tio\tl1_misses\tl2_cold\tl2_capacity\t"
	"l2_coherence\tdirty\tupgrades\tlock_insns\tlock_l2_misses";

/* From a start to a stop. */
struct window {
	struct counts *counts[CACHE_MAX_CPUS];	/* by symbol */
};

struct vcpu {
	uint32_t caller;	/* function that ran last, other than locks */
	/* where the string instruction is that ran last, in user space or not */
	uint32_t repeating[2];
	uint32_t locked_load;	/* whose load was seen, and not yet its store */
} __attribute__((aligned(64)));

/*
 * What a call is told of the code that it was put into: packed into the pointer
 * that QEMU passes on, so that nobody has to free it.
 */
union code {
	struct {
		uint64_t symbol : 24;
		uint64_t insns : 11;
		uint64_t is_lock : 1;
		uint64_t repeats_first : 1;
		uint64_t repeats_last : 1;
		uint64_t place : 26;	/* low bits of an address */
	};
	void *data;
};

_Static_assert(sizeof(union code) == sizeof(void *), "code is a pointer");

int qemu_plugin_version = QEMU_PLUGIN_VERSION;

static struct symbols symbols;
static bool *is_lock;			/* by symbol */
static struct cache_config config;
static struct cache_model *model;	/* NULL: memory is not looked at */
static const char *out;
static unsigned int nr_vcpus;
static unsigned int line_shift;
static bool armed;
static struct vcpu vcpus[CACHE_MAX_CPUS];
static struct window *windows[MAX_WINDOWS];
static unsigned int nr_windows;
static struct window *current;		/* accessed atomically */
static qemu_plugin_id_t plugin_id;

static __attribute__((format(printf, 1, 2)))
void complain(const char *format, ...)
{
	va_list ap;

	fputs("tcgprof: ", stderr);
	va_start(ap, format);
	vfprintf(stderr, format, ap);
	va_end(ap);
	fputc('\n', stderr);
}

/* Writing. */

static void write_row(FILE *file, unsigned int vcpu, const struct symbol *symbol,
		      const struct counts *counts)
{
	const uint64_t *number = (const uint64_t *)counts;
	size_t nr = sizeof(*counts) / sizeof(*number);
	bool any = false;

	for (size_t i = 0; i < nr; i++)
		any |= number[i];
	if (!any)
		return;
	fprintf(file, "%u\t%" PRIx64 "\t%s", vcpu, symbol->start, symbol->name);
	for (size_t i = 0; i < nr; i++)
		fprintf(file, "\t%" PRIu64, number[i]);
	fputc('\n', file);
}

static void write_window(unsigned int number, const struct window *window)
{
	char path[4096];
	FILE *file;

	snprintf(path, sizeof(path), "%s.%u", out, number);
	file = fopen(path, "we");
	if (!file) {
		complain("%s: %s", path, strerror(errno));
		return;
	}
	fprintf(file, "# tcgprof %d\n", FORMAT_VERSION);
	fprintf(file, "# vcpus %u\n", nr_vcpus);
	if (model)
		fprintf(file,
			"# cache %s line %u l1 %" PRIu64 ":%u l2 %" PRIu64 ":%u %s\n",
			config.name, config.line, config.l1.size,
			config.l1.ways, config.l2.size, config.l2.ways,
			config.exclusive ? "exclusive" : "inclusive");
	else
		fprintf(file, "# cache none\n");
	fprintf(file, "vcpu\tstart\tsymbol\t%s\n", columns);
	for (unsigned int vcpu = 0; vcpu < nr_vcpus; vcpu++)
		for (size_t i = 0; i < symbols.nr; i++)
			write_row(file, vcpu, &symbols.list[i],
				  &window->counts[vcpu][i]);
	if (fclose(file))
		complain("%s: %s", path, strerror(errno));
}

static void on_exit_write(qemu_plugin_id_t id, void *data)
{
	(void)id;
	(void)data;
	if (current)
		complain("the guest started a window and did not stop it");
	for (unsigned int i = 0; i < nr_windows; i++)
		write_window(i + 1, windows[i]);
}

/* Counting. */

static struct window *window_open(void)
{
	struct window *window = calloc(1, sizeof(*window));

	if (nr_windows == MAX_WINDOWS || !window)
		goto failed;
	for (unsigned int i = 0; i < nr_vcpus; i++) {
		window->counts[i] = calloc(symbols.nr, sizeof(struct counts));
		if (!window->counts[i])
			goto failed;
	}
	windows[nr_windows++] = window;
	return window;

failed:
	complain("no room for another window");
	abort();
}

static struct counts *open_counts(unsigned int vcpu)
{
	struct window *window = __atomic_load_n(&current, __ATOMIC_ACQUIRE);

	return window ? window->counts[vcpu] : NULL;
}

/* Instructions of one function that follow each other begin to run. */
static void on_run(unsigned int vcpu, void *data)
{
	struct counts *counts = open_counts(vcpu);
	union code code = { .data = data };
	struct vcpu *self = &vcpus[vcpu];
	uint32_t *repeating = &self->repeating[code.symbol == SYMBOL_USER];
	unsigned int insns = code.insns;

	/* the emulator runs each repetition like an instruction */
	if (code.repeats_first && *repeating == code.place)
		insns--;
	*repeating = code.repeats_last ? code.place : 0;
	if (!code.is_lock)
		self->caller = code.symbol;
	if (!counts)
		return;
	counts[code.symbol].insns += insns;
	if (code.is_lock)
		counts[self->caller].lock_insns += insns;
}

static void count_events(struct counts *counts, union code code,
			 unsigned int vcpu, unsigned int events)
{
	struct counts *own = &counts[code.symbol];

	own->l1_misses += !!(events & CACHE_L1_MISS);
	own->l2_cold += !!(events & CACHE_COLD);
	own->l2_capacity += !!(events & CACHE_CAPACITY);
	own->l2_coherence += !!(events & CACHE_COHERENCE);
	own->dirty += !!(events & CACHE_DIRTY);
	own->upgrades += !!(events & CACHE_UPGRADE);
	if (code.is_lock && events & CACHE_L2_MISS)
		counts[vcpus[vcpu].caller].lock_l2_misses++;
}

static void access_line(unsigned int vcpu, union code code, uint64_t line,
			bool store)
{
	unsigned int events = cache_access(model, vcpu, line, store);
	struct counts *counts;

	if (!events)
		return;
	counts = open_counts(vcpu);
	if (counts)
		count_events(counts, code, vcpu, events);
}

static void on_access(unsigned int vcpu, qemu_plugin_meminfo_t info,
		      uint64_t vaddr, void *data)
{
	struct qemu_plugin_hwaddr *hwaddr = qemu_plugin_get_hwaddr(info, vaddr);
	unsigned int size = 1 << qemu_plugin_mem_size_shift(info);
	bool store = qemu_plugin_mem_is_store(info);
	struct counts *counts = open_counts(vcpu);
	union code code = { .data = data };
	uint64_t address;

	/* QEMU 7.2 takes what an interrupt saves for the program's */
	if (code.symbol == SYMBOL_USER && vaddr >> 63)
		code.symbol = SYMBOL_KERNEL;
	if (counts) {
		counts[code.symbol].loads += !store;
		counts[code.symbol].stores += store;
	}
	if (!hwaddr || qemu_plugin_hwaddr_is_io(hwaddr)) {
		if (counts)
			counts[code.symbol].io++;
		return;
	}
	address = qemu_plugin_hwaddr_phys_addr(hwaddr);
	if (address >> CACHE_ADDRESS_BITS)
		return;
	access_line(vcpu, code, address >> line_shift, store);
	/* where the rest is, if it is on another page, QEMU does not tell */
	if ((address & 4095) + size <= 4096 &&
	    address >> line_shift != (address + size - 1) >> line_shift)
		access_line(vcpu, code, (address + size - 1) >> line_shift,
			    store);
}

/*
 * An atomic read-modify-write: with several vCPUs QEMU tells of it once, as a
 * store, and with one of a load and a store.
 */
static void on_locked_access(unsigned int vcpu, qemu_plugin_meminfo_t info,
			     uint64_t vaddr, void *data)
{
	struct counts *counts = open_counts(vcpu);
	union code code = { .data = data };
	struct vcpu *self = &vcpus[vcpu];

	if (!qemu_plugin_mem_is_store(info)) {
		self->locked_load = code.place;
	} else {
		if (counts && self->locked_load != code.place)
			counts[code.symbol].loads++;
		self->locked_load = 0;
	}
	on_access(vcpu, info, vaddr, data);
}

/* Translating. */

/* The mark that the instruction is, or 0. */
static unsigned int mark_of(const struct qemu_plugin_insn *insn)
{
	const unsigned char *bytes = qemu_plugin_insn_data(insn);

	if (qemu_plugin_insn_size(insn) != sizeof(TCGPROF_NOP) ||
	    memcmp(bytes, TCGPROF_NOP, strlen(TCGPROF_NOP)))
		return 0;
	return bytes[strlen(TCGPROF_NOP)];
}

static bool is_prefix(unsigned char byte)
{
	switch (byte) {
	case 0x26: case 0x2e: case 0x36: case 0x3e:	/* segments */
	case 0x64: case 0x65:
	case 0x66: case 0x67:				/* sizes */
	case 0xf0: case 0xf2: case 0xf3:		/* lock, repne, rep */
		return true;
	}
	return false;
}

/* Whether it is a string instruction that repeats, and whether it is atomic. */
static void decode(const struct qemu_plugin_insn *insn, bool *repeats,
		   bool *locked)
{
	const unsigned char *bytes = qemu_plugin_insn_data(insn);
	size_t size = qemu_plugin_insn_size(insn), i;
	bool rep = false, lock = false;

	for (i = 0; i < size && is_prefix(bytes[i]); i++) {
		rep |= bytes[i] == 0xf2 || bytes[i] == 0xf3;
		lock |= bytes[i] == 0xf0;
	}
	if (i < size && (bytes[i] & 0xf0) == 0x40)	/* rex */
		i++;
	*repeats = rep && i < size &&
		   ((bytes[i] >= 0x6c && bytes[i] <= 0x6f) ||
		    (bytes[i] >= 0xa4 && bytes[i] <= 0xa7) ||
		    (bytes[i] >= 0xaa && bytes[i] <= 0xaf));
	/* xchg is atomic without the prefix; with registers only it matters not */
	*locked = lock || (i < size && (bytes[i] == 0x86 || bytes[i] == 0x87));
}

static void on_reset(qemu_plugin_id_t id);

static void on_mark(unsigned int vcpu, void *data)
{
	(void)vcpu;
	switch ((uintptr_t)data) {
	case TCGPROF_ARM:
		/* QEMU aborts if this is done while accesses call us */
		if (!armed)
			qemu_plugin_reset(plugin_id, on_reset);
		armed = true;
		break;
	case TCGPROF_START:
		if (!armed)
			complain("the guest started a window without arming first");
		else
			__atomic_store_n(&current, window_open(),
					 __ATOMIC_RELEASE);
		break;
	case TCGPROF_STOP:
		__atomic_store_n(&current, NULL, __ATOMIC_RELEASE);
		break;
	}
}

/* Whether the block is a mark's own. */
static bool watch_marks(struct qemu_plugin_tb *tb)
{
	bool own = false;

	for (size_t i = 0; i < qemu_plugin_tb_n_insns(tb); i++) {
		struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(tb, i);
		uintptr_t mark = mark_of(insn);

		if (!mark)
			continue;
		own |= !i;
		qemu_plugin_register_vcpu_insn_exec_cb(insn, on_mark,
						       QEMU_PLUGIN_CB_NO_REGS,
						       (void *)mark);
	}
	return own;
}

static void tb_watch(qemu_plugin_id_t id, struct qemu_plugin_tb *tb)
{
	(void)id;
	watch_marks(tb);
}

static void tb_profile(qemu_plugin_id_t id, struct qemu_plugin_tb *tb)
{
	size_t nr = qemu_plugin_tb_n_insns(tb);
	struct qemu_plugin_insn *first = NULL;
	union code run = { .data = NULL };

	(void)id;
	if (watch_marks(tb))
		return;
	for (size_t i = 0; i < nr; i++) {
		struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(tb, i);
		uint64_t vaddr = qemu_plugin_insn_vaddr(insn);
		union code code = { .symbol = symbols_find(&symbols, vaddr) };
		bool repeats, locked;

		decode(insn, &repeats, &locked);
		code.is_lock = is_lock[code.symbol];
		code.place = vaddr;
		if (model)
			qemu_plugin_register_vcpu_mem_cb(insn,
							 locked ? on_locked_access : on_access,
							 QEMU_PLUGIN_CB_NO_REGS,
							 QEMU_PLUGIN_MEM_RW,
							 code.data);
		if (first && code.symbol != run.symbol) {
			qemu_plugin_register_vcpu_insn_exec_cb(first, on_run,
							       QEMU_PLUGIN_CB_NO_REGS,
							       run.data);
			first = NULL;
		}
		if (!first) {
			first = insn;
			run = code;
			run.repeats_first = repeats;
		}
		/* it is the last of its block */
		run.repeats_last = repeats;
		if (repeats)
			run.place = vaddr;
		run.insns++;
	}
	if (first)
		qemu_plugin_register_vcpu_insn_exec_cb(first, on_run,
						       QEMU_PLUGIN_CB_NO_REGS,
						       run.data);
}

static void on_reset(qemu_plugin_id_t id)
{
	qemu_plugin_register_vcpu_tb_trans_cb(id, tb_profile);
	qemu_plugin_register_atexit_cb(id, on_exit_write, NULL);
}

/* Options. */

static bool parse_number(const char *text, char end, uint64_t *value,
			 const char **rest)
{
	char *after;

	errno = 0;
	*value = strtoull(text, &after, 10);
	*rest = after + 1;
	return !errno && after != text && *after == end && *text != '-';
}

static bool parse_level(const char *text, struct cache_level *level)
{
	uint64_t ways;

	if (!parse_number(text, ':', &level->size, &text) ||
	    !parse_number(text, 0, &ways, &text) || ways > 1024)
		return false;
	level->ways = ways;
	return true;
}

static bool read_locks(const char *path)
{
	FILE *file = fopen(path, "re");
	uint64_t address;
	int read;

	if (!file) {
		complain("locks=%s: %s", path, strerror(errno));
		return false;
	}
	while ((read = fscanf(file, "%" SCNx64, &address)) == 1)
		is_lock[symbols_find(&symbols, address)] = true;
	fclose(file);
	if (read != EOF)
		complain("locks=%s: expected a hexadecimal address a line",
			 path);
	return read == EOF;
}

struct options {
	const char *symbols, *locks, *cache;
	const char *line, *l1, *l2, *exclusive;
};

static bool parse_cache(const struct options *options)
{
	uint64_t line = 0;
	const char *rest;

	config = *cache_preset(options->cache);
	if (options->line && (!parse_number(options->line, 0, &line, &rest) ||
			      !line || line > 4096)) {
		complain("line=%s: expected up to 4096 bytes", options->line);
		return false;
	}
	if (line)
		config.line = line;
	if ((options->l1 && !parse_level(options->l1, &config.l1)) ||
	    (options->l2 && !parse_level(options->l2, &config.l2))) {
		complain("l1= and l2=: expected BYTES:WAYS");
		return false;
	}
	if (options->exclusive)
		config.exclusive = !strcmp(options->exclusive, "on");
	if (options->line || options->l1 || options->l2 || options->exclusive)
		config.name = "custom";
	return true;
}

static bool create_model(const struct options *options)
{
	const char *why;

	if (!strcmp(options->cache, "none"))
		return true;
	if (!cache_preset(options->cache)) {
		complain("cache=%s: expected opteron275, xeon or none",
			 options->cache);
		return false;
	}
	if (!parse_cache(options))
		return false;
	model = cache_create(&config, nr_vcpus, &why);
	if (!model) {
		complain("%s", why);
		return false;
	}
	line_shift = __builtin_ctz(config.line);
	return true;
}

static bool parse_options(struct options *options, int argc, char **argv)
{
	const struct {
		const char *name;
		const char **value;
	} known[] = {
		{ "symbols=", &options->symbols }, { "out=", &out },
		{ "locks=", &options->locks }, { "cache=", &options->cache },
		{ "line=", &options->line }, { "l1=", &options->l1 },
		{ "l2=", &options->l2 }, { "exclusive=", &options->exclusive },
	};

	for (int i = 0; i < argc; i++) {
		bool found = false;

		for (size_t n = 0; n < sizeof(known) / sizeof(*known); n++) {
			size_t length = strlen(known[n].name);

			if (strncmp(argv[i], known[n].name, length))
				continue;
			*known[n].value = argv[i] + length;
			found = true;
		}
		if (!found) {
			complain("there is no option %s", argv[i]);
			return false;
		}
	}
	if (!options->symbols || !out)
		complain("needs symbols= and out=");
	return options->symbols && out;
}

int qemu_plugin_install(qemu_plugin_id_t id, const struct qemu_info *info,
			int argc, char **argv)
{
	struct options options = { .cache = "opteron275" };

	if (!info->system_emulation || strcmp(info->target_name, "x86_64")) {
		complain("is for qemu-system-x86_64");
		return -1;
	}
	nr_vcpus = info->system.max_vcpus;
	if (nr_vcpus > CACHE_MAX_CPUS) {
		complain("knows up to %d vCPUs", CACHE_MAX_CPUS);
		return -1;
	}
	if (!parse_options(&options, argc, argv))
		return -1;
	if (symbols_read(&symbols, options.symbols)) {
		complain("symbols=%s: %s", options.symbols,
			 errno == EINVAL ? "is no System.map" : strerror(errno));
		return -1;
	}
	is_lock = calloc(symbols.nr, sizeof(*is_lock));
	if (!is_lock || (options.locks && !read_locks(options.locks)) ||
	    !create_model(&options))
		return -1;
	plugin_id = id;
	qemu_plugin_register_vcpu_tb_trans_cb(id, tb_watch);
	return 0;
}
