/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Allocations that fail because a test wants it: failslab and fail_page_alloc,
 * with their stack trace filter (Documentation/fault-injection).
 *
 * The kernel may report a page allocation that fails, as if the machine had run
 * out of memory. Who watches the console has to know better, so what is in it
 * says from where to where allocations were made to fail; a test that dies in
 * between does not say the latter.
 */
#ifndef CONNP_FAULTS_H
#define CONNP_FAULTS_H

#include "connp_threads.h"

#define CONNP_DEBUGFS	"/sys/kernel/debug/"
#define CONNP_SLABS	"/sys/kernel/slab/"

static const char * const connp_fault_dirs[] = {
	"failslab", "fail_page_alloc",
};

/* Where INET's functions are. */
static unsigned long connp_inet_start, connp_inet_end;

/* A file of a fault's directory. */
static inline void connp_fault_set(const char *fault, const char *file,
				   const char *value)
{
	char path[128];

	snprintf(path, sizeof(path), CONNP_DEBUGFS "%s/%s", fault, file);
	connp_write_file(path, value);
}

static inline void connp_fault_set_n(const char *fault, const char *file,
				     unsigned long n)
{
	char text[32];

	snprintf(text, sizeof(text), "%#lx", n);
	connp_fault_set(fault, file, text);
}

/* How often it is still to fail. The file can be read once each time it is open. */
static inline int connp_fault_times(const char *fault)
{
	char path[128], text[16] = {};
	int fd;

	snprintf(path, sizeof(path), CONNP_DEBUGFS "%s/times", fault);
	fd = open(path, O_RDONLY);
	/* That was the last time. */
	if (fd < 0 && errno == ENOMEM)
		return 0;
	if (fd < 0 || read(fd, text, sizeof(text) - 1) <= 0)
		ksft_exit_fail_perror(path);
	close(fd);
	return atoi(text);
}

/*
 * The functions of INET follow one another, as they do in net/Makefile: from
 * those of hash tables in net/ipv4 to those of hash tables in net/ipv6.
 */
static inline bool connp_find_inet(void)
{
	unsigned long address;
	char line[512], name[256];
	FILE *f = fopen("/proc/kallsyms", "r");

	while (f && fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%lx %*c %255s", &address, name) != 2)
			continue;
		if (!strcmp(name, "inet_bind_bucket_create"))
			connp_inet_start = address;
		if (!strcmp(name, "inet6_hash_connect"))
			connp_inet_end = address;
	}
	if (f)
		fclose(f);
	return connp_inet_start && connp_inet_start < connp_inet_end;
}

/* NULL, or what allocations can't be made to fail without. */
static inline const char *connp_faults_lack(void)
{
	if (access(CONNP_DEBUGFS "failslab/require-start", W_OK) ||
	    access(CONNP_DEBUGFS "fail_page_alloc/require-start", W_OK) ||
	    access(CONNP_SLABS "TCP/failslab", W_OK))
		return "failslab and fail_page_alloc with stack trace filters, SLUB_DEBUG, debugfs";
	if (!connp_find_inet())
		return "CONFIG_KALLSYMS";
	return NULL;
}

/* Of all caches but those that other instruments live on. */
static inline void connp_slabs_may_fail(bool on)
{
	char path[512], name[256];
	FILE *names;

	names = popen("ls " CONNP_SLABS, "r");
	while (names && fgets(name, sizeof(name), names)) {
		name[strcspn(name, "\n")] = 0;
		if (!strncmp(name, "kmemleak", 8) ||
		    !strncmp(name, "debug_objects", 13))
			continue;
		snprintf(path, sizeof(path), CONNP_SLABS "%s/failslab", name);
		connp_write_file(path, on ? "1" : "0");
	}
	if (!names || pclose(names))
		ksft_exit_fail_msg("cannot list " CONNP_SLABS "\n");
}

/* As they are when the machine comes up. For connp_guard(). */
static inline void connp_faults_off(void)
{
	const char *dir;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(connp_fault_dirs); i++) {
		dir = connp_fault_dirs[i];
		connp_fault_set(dir, "probability", "0");
		connp_fault_set(dir, "interval", "1");
		connp_fault_set(dir, "times", "1");
		connp_fault_set(dir, "task-filter", "N");
		connp_fault_set(dir, "verbose", "2");
		connp_fault_set(dir, "ignore-gfp-wait", "Y");
		connp_fault_set_n(dir, "require-start", 0);
		connp_fault_set_n(dir, "require-end", ULONG_MAX);
	}
	connp_fault_set("fail_page_alloc", "ignore-gfp-highmem", "Y");
	connp_fault_set("fail_page_alloc", "min-order", "1");
	connp_fault_set("failslab", "cache-filter", "N");
	connp_slabs_may_fail(false);
	connp_write_file("/dev/kmsg",
			 "<1>connp: allocations are no longer made to fail\n");
}

/* Ready to fail, if somebody says which. */
static inline void connp_faults_prepare(void)
{
	const char *dir;
	unsigned int i;

	/* See scripts/rig/console.py. */
	connp_write_file("/dev/kmsg",
			 "<1>connp: allocations are made to fail\n");
	for (i = 0; i < ARRAY_SIZE(connp_fault_dirs); i++) {
		dir = connp_fault_dirs[i];
		/* No trace of each in the log. */
		connp_fault_set(dir, "verbose", "0");
		connp_fault_set(dir, "times", "-1");
		connp_fault_set(dir, "ignore-gfp-wait", "N");
	}
	connp_fault_set("fail_page_alloc", "ignore-gfp-highmem", "N");
	connp_fault_set("fail_page_alloc", "min-order", "0");
	connp_slabs_may_fail(true);
	connp_fault_set("failslab", "cache-filter", "Y");
}

/* TCP in /proc/net/sockstat: what counts for all namespaces. */
struct connp_sockstat {
	int orphans;
	int allocated;
	int mem;		/* pages */
};

static inline void connp_sockstat(struct connp_sockstat *stat)
{
	FILE *f = fopen("/proc/net/sockstat", "r");
	bool found = false;
	char line[256];

	while (f && !found && fgets(line, sizeof(line), f))
		found = sscanf(line, "TCP: inuse %*d orphan %d tw %*d alloc %d mem %d",
			       &stat->orphans, &stat->allocated,
			       &stat->mem) == 3;
	if (!found)
		ksft_exit_fail_msg("/proc/net/sockstat is different\n");
	fclose(f);
}

/* Pages that CPUs have taken or given back, and not told of: per CPU. */
#define CONNP_MEM_UNTOLD	256

/* What others have, as sshd; see connp_count_others(). */
static struct connp_sockstat connp_others_stat;

/* Wait until TCP has no socket and no memory any more, but for the others'. */
static inline bool connp_wait_no_sockets(unsigned int ms)
{
	int untold = CONNP_MEM_UNTOLD * sysconf(_SC_NPROCESSORS_CONF);
	struct connp_sockstat *others = &connp_others_stat;
	struct connp_sockstat stat;
	double start = connp_ms();
	int most;

	if (connp_shared())
		return true;
	do {
		connp_sockstat(&stat);
		/* Some of theirs have gone. */
		if (stat.orphans < others->orphans)
			others->orphans = stat.orphans;
		if (stat.allocated < others->allocated)
			others->allocated = stat.allocated;
		/* Of their memory, too, CPUs have not told all. */
		most = untold;
		if (others->allocated)
			most += others->mem + untold;
		if (stat.orphans <= others->orphans &&
		    stat.allocated <= others->allocated &&
		    stat.mem >= -untold && stat.mem <= most)
			return true;
		usleep(10000);
	} while (connp_ms() - start < ms);
	ksft_print_msg("left: %d orphans, %d sockets, %d pages\n",
		       stat.orphans, stat.allocated, stat.mem);
	return false;
}

/* To be called after connp_start(), while the test has no sockets. */
static inline void connp_count_others(void)
{
	/* Those that the test before has closed will be gone. */
	connp_wait_no_sockets(5000);
	connp_sockstat(&connp_others_stat);
	if (connp_others_stat.allocated)
		ksft_print_msg("%d sockets of others don't count\n",
			       connp_others_stat.allocated);
}

#endif /* CONNP_FAULTS_H */
