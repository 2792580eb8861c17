/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the tests of ConnP-T's threads share: the threads and where they may
 * run, the sysctls that say so, and a way to keep a thread from running.
 */
#ifndef CONNP_THREADS_H
#define CONNP_THREADS_H

#include <ctype.h>
#include <dirent.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "connp.h"

/* The thread of each group. */
static pid_t connp_tids[CONNP_MAX_GROUPS];
static unsigned int connp_nr_tids;

static inline bool connp_has_threads(void)
{
	FILE *f = fopen("/proc/net/tcp_connp", "r");
	char org[16] = "";

	if (f) {
		if (fscanf(f, "tcp_connp %15s", org) != 1)
			org[0] = 0;
		fclose(f);
	}
	return !strcmp(org, "connp-t");
}

/* Skip the whole test on a kernel other than ConnP-T. */
static inline void connp_need_threads(void)
{
	if (!connp_has_threads())
		ksft_exit_skip("groups have no threads in this kernel\n");
}

/* A sysctl, to be opened in the initial network namespace. */
struct connp_sysctl {
	const char *name;	/* of the groups', or a whole path */
	int fd;
	char saved[256];
};

static inline void connp_sysctl_read(const struct connp_sysctl *sysctl,
				     char text[256])
{
	ssize_t len = pread(sysctl->fd, text, 255, 0);

	if (len <= 0)
		ksft_exit_fail_perror(sysctl->name);
	text[len] = 0;
	text[strcspn(text, "\n")] = 0;
}

static inline bool connp_sysctl_write(const struct connp_sysctl *sysctl,
				      const char *text)
{
	return pwrite(sysctl->fd, text, strlen(text), 0) >= 0;
}

static inline void connp_sysctl_open(struct connp_sysctl *sysctl)
{
	char path[80];

	snprintf(path, sizeof(path), "%s%s", *sysctl->name == '/' ? "" :
		 "/proc/sys/net/ipv4/tcp_connp/", sysctl->name);
	sysctl->fd = open(path, O_RDWR | O_CLOEXEC);
	if (sysctl->fd < 0)
		ksft_exit_fail_perror(path);
	connp_sysctl_read(sysctl, sysctl->saved);
}

static inline void connp_sysctl_restore(const struct connp_sysctl *sysctl)
{
	if (!connp_sysctl_write(sysctl, sysctl->saved))
		ksft_print_msg("%s could not be restored\n", sysctl->name);
}

/*
 * The rest of the test runs in a child, however that ends, @restore puts the
 * machine back in order. Before connp_start(), for the sake of its alarm().
 */
static inline void connp_guard(void (*restore)(void))
{
	pid_t child, parent = getpid();
	int status;

	fflush(stdout);
	child = fork();
	if (child < 0)
		ksft_exit_fail_perror("fork");
	if (!child) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() != parent)
			_exit(KSFT_FAIL);
		return;
	}
	while (waitpid(child, &status, 0) != child)
		;
	restore();
	fflush(stdout);
	_exit(WIFEXITED(status) ? WEXITSTATUS(status) :
				  128 + WTERMSIG(status));
}

/*
 * Find the threads by their names. Returns how many there are, which is more
 * than connp_nr_tids if two have the same name.
 */
static inline unsigned int connp_find_threads(void)
{
	struct dirent *entry;
	unsigned int group, found = 0;
	char path[300], comm[32], end;
	pid_t parent;
	DIR *proc;
	FILE *f;

	memset(connp_tids, 0, sizeof(connp_tids));
	connp_nr_tids = 0;
	proc = opendir("/proc");
	if (!proc)
		ksft_exit_fail_perror("/proc");
	while ((entry = readdir(proc))) {
		if (!isdigit(entry->d_name[0]))
			continue;
		snprintf(path, sizeof(path), "/proc/%s/stat", entry->d_name);
		f = fopen(path, "r");
		if (!f)
			continue;
		/* Those of kthreadd, as everybody may choose a name. */
		if (fscanf(f, "%*d (%31[^)]) %*c %d", comm, &parent) == 2 &&
		    parent == 2 &&
		    sscanf(comm, "tcp_connp/%u%c", &group, &end) == 1 &&
		    group < CONNP_MAX_GROUPS) {
			found++;
			connp_nr_tids += !connp_tids[group];
			connp_tids[group] = atoi(entry->d_name);
		}
		fclose(f);
	}
	closedir(proc);
	return found;
}

/* A number from a line of /proc/PID/status. */
static inline long connp_task_status(pid_t tid, const char *name)
{
	char path[32], line[256];
	long value = -1;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/status", tid);
	f = fopen(path, "r");
	while (f && fgets(line, sizeof(line), f))
		if (!strncmp(line, name, strlen(name)))
			value = atol(line + strlen(name));
	if (f)
		fclose(f);
	if (value < 0)
		ksft_exit_fail_msg("%s has no %s\n", path, name);
	return value;
}

/* Where a task is, and in *state which state it is in. */
static inline int connp_task_cpu(pid_t tid, char *state)
{
	char path[32], text[1024] = "", *p;
	int fd, field, cpu = -1;

	snprintf(path, sizeof(path), "/proc/%d/stat", tid);
	fd = open(path, O_RDONLY);
	if (fd < 0 || read(fd, text, sizeof(text) - 1) <= 0)
		ksft_exit_fail_perror(path);
	close(fd);
	/* Behind the name, which is field 2, is field 3. */
	p = strrchr(text, ')');
	if (p && state)
		*state = p[2];
	for (field = 2; p && field < 39; field++)
		p = strchr(p + 1, ' ');
	if (p)
		cpu = atoi(p);
	return cpu;
}

/* The first and the last CPU of a set, which is not empty. */
static inline int connp_first_cpu(const cpu_set_t *set)
{
	int cpu = 0;

	while (!CPU_ISSET(cpu, set))
		cpu++;
	return cpu;
}

static inline int connp_last_cpu(const cpu_set_t *set)
{
	int cpu = CPU_SETSIZE - 1;

	while (!CPU_ISSET(cpu, set))
		cpu--;
	return cpu;
}

/* A list of CPUs as the kernel prints it: 0-2,5 */
static inline void connp_parse_cpus(const char *list, cpu_set_t *set)
{
	char *end;
	long i, last;

	CPU_ZERO(set);
	while (isdigit(*list)) {
		i = strtol(list, &end, 10);
		last = *end == '-' ? strtol(end + 1, &end, 10) : i;
		for (; i <= last; i++)
			CPU_SET(i, set);
		list = *end == ',' ? end + 1 : end;
	}
}

static inline void connp_online(cpu_set_t *set)
{
	char list[256] = "";
	int fd = open("/sys/devices/system/cpu/online", O_RDONLY);

	if (fd < 0 || read(fd, list, sizeof(list) - 1) <= 0)
		ksft_exit_fail_perror("/sys/devices/system/cpu/online");
	close(fd);
	connp_parse_cpus(list, set);
}

/*
 * The CPU of the thread of group @n: the n-th of @cpus, counted round, or while
 * that is offline the next of @cpus that is not.
 */
static inline int connp_belongs(unsigned int n, const cpu_set_t *cpus,
				const cpu_set_t *online)
{
	int cpu = -1, i;

	for (n = n % CPU_COUNT(cpus) + 1; n; n--)
		do {
			cpu++;
		} while (!CPU_ISSET(cpu, cpus));
	for (i = 0; i < CPU_SETSIZE; i++, cpu = (cpu + 1) % CPU_SETSIZE)
		if (CPU_ISSET(cpu, cpus) && CPU_ISSET(cpu, online))
			return cpu;
	return -1;
}

/* The one CPU that a thread may run on; -1 if it is not one. */
static inline int connp_allowed(pid_t tid)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	if (sched_getaffinity(tid, sizeof(set), &set))
		ksft_exit_fail_perror("sched_getaffinity of a thread");
	return CPU_COUNT(&set) == 1 ? connp_first_cpu(&set) : -1;
}

/* How many threads are elsewhere than the sysctl cpus and @online tell. */
static inline unsigned int connp_misplaced(const struct connp_sysctl *sysctl,
					   const cpu_set_t *online)
{
	unsigned int i, wrong = 0;
	char list[256];
	cpu_set_t cpus;

	connp_sysctl_read(sysctl, list);
	connp_parse_cpus(list, &cpus);
	for (i = 0; i < connp_nr_tids; i++) {
		int is = connp_allowed(connp_tids[i]);
		int ought = connp_belongs(i, &cpus, online);

		if (is == ought)
			continue;
		ksft_print_msg("the thread of group %u is allowed CPU %d, expected %d of %s\n",
			       i, is, ought, list);
		wrong++;
	}
	return wrong;
}

/* Stay on one CPU; what is created later inherits that. */
static inline void connp_stay_on(int cpu)
{
	if (!connp_go_to(cpu))
		ksft_exit_fail_perror("sched_setaffinity");
}

static inline void connp_set_fifo(pid_t tid, int priority)
{
	struct sched_param param = { .sched_priority = priority };

	if (sched_setscheduler(tid, SCHED_FIFO, &param))
		ksft_exit_fail_perror("sched_setscheduler(SCHED_FIFO)");
}

/*
 * A real-time task that does not let go of its CPU. Keep it short: what else is
 * bound to that CPU starves as well, and the kernel may take note after 20 s.
 */
#define CONNP_HOG_PRIORITY	50
#define CONNP_HOG_SECONDS	20
/* Of a thread that the kernel's reserve for other tasks does not help. */
#define CONNP_LOW_PRIORITY	1

static pid_t connp_hog;

/*
 * A test that exits closes its sockets before its children are told that it is
 * dead, and that waits for the thread that starves.
 */
static inline void connp_hog_kill(void)
{
	if (connp_hog)
		kill(connp_hog, SIGKILL);
}

static inline pid_t connp_hog_start(int cpu)
{
	static bool registered;
	pid_t parent = getpid(), hog;
	int ready[2], fd;
	char byte;

	if (!registered)
		atexit(connp_hog_kill);
	registered = true;
	if (pipe(ready))
		ksft_exit_fail_perror("pipe");
	fflush(stdout);
	hog = fork();
	if (hog < 0)
		ksft_exit_fail_perror("fork");
	if (!hog) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() != parent)
			_exit(1);
		/* For a test that was killed. */
		alarm(CONNP_HOG_SECONDS);
		/* It is not to keep our connections open. */
		for (fd = 3; fd < FD_SETSIZE; fd++)
			if (fd != ready[1])
				close(fd);
		connp_stay_on(cpu);
		connp_set_fifo(0, CONNP_HOG_PRIORITY);
		if (write(ready[1], "", 1) != 1)
			_exit(1);
		for (;;)
			;
	}
	close(ready[1]);
	if (read(ready[0], &byte, 1) != 1)
		ksft_exit_fail_msg("no hog on CPU %d\n", cpu);
	close(ready[0]);
	connp_hog = hog;
	return hog;
}

static inline void connp_hog_stop(pid_t hog)
{
	int status;

	kill(hog, SIGKILL);
	connp_hog = 0;
	if (waitpid(hog, &status, 0) != hog || !WIFSIGNALED(status) ||
	    WTERMSIG(status) != SIGKILL)
		ksft_exit_fail_msg("the hog has ended by itself\n");
}

/*
 * Real-time tasks are to get all of their CPU, if the kernel can be told: it
 * limits them, or else reserves some for other tasks (the "fair server", about
 * 5 %). What can't be told, tests see by counters. Undone by connp_throttle().
 */
static struct connp_knob {
	char path[80];
	char saved[32];
} connp_knobs[2];

static inline bool connp_knob_write(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY);
	bool taken = fd >= 0 && write(fd, text, strlen(text)) > 0;

	if (fd >= 0)
		close(fd);
	return taken;
}

static inline void connp_knob_save(struct connp_knob *knob)
{
	int fd = open(knob->path, O_RDONLY);

	if (fd < 0)
		return;
	if (read(fd, knob->saved, sizeof(knob->saved) - 1) < 0)
		knob->saved[0] = 0;
	close(fd);
}

/* To be called before connp_guard(). */
static inline void connp_unthrottle(int cpu)
{
	mount("debugfs", "/sys/kernel/debug", "debugfs", 0, NULL);
	snprintf(connp_knobs[0].path, sizeof(connp_knobs[0].path),
		 "/proc/sys/kernel/sched_rt_runtime_us");
	snprintf(connp_knobs[1].path, sizeof(connp_knobs[1].path),
		 "/sys/kernel/debug/sched/fair_server/cpu%d/runtime", cpu);
	connp_knob_save(&connp_knobs[0]);
	connp_knob_save(&connp_knobs[1]);
	connp_knob_write(connp_knobs[0].path, "-1");
	connp_knob_write(connp_knobs[1].path, "0");
}

static inline void connp_throttle(void)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(connp_knobs); i++)
		if (connp_knobs[i].saved[0])
			connp_knob_write(connp_knobs[i].path,
					 connp_knobs[i].saved);
}

/*
 * A group that a test can hold: its thread, which starves on a CPU of its own,
 * takes nothing off the queue meanwhile. The test runs on another CPU.
 */
static struct connp_sysctl connp_hold_sysctls[] = {
	{ .name = "cpus" }, { .name = "nice" }, { .name = "share_packets" },
};

static int connp_hold_cpu, connp_free_cpu;
static unsigned int connp_held_group = CONNP_ANY_GROUP;

/* To be called before connp_guard(), whose function then calls the last. */
static inline void connp_hold_open(void)
{
	cpu_set_t online;
	unsigned int i;

	connp_online(&online);
	connp_free_cpu = connp_first_cpu(&online);
	connp_hold_cpu = connp_last_cpu(&online);
	if (connp_hold_cpu == connp_free_cpu)
		ksft_exit_skip("needs two CPUs\n");
	for (i = 0; i < ARRAY_SIZE(connp_hold_sysctls); i++)
		connp_sysctl_open(&connp_hold_sysctls[i]);
	connp_unthrottle(connp_hold_cpu);
}

/* To be called after connp_start(). */
static inline void connp_hold_choose(void)
{
	char text[16];
	unsigned int i;

	connp_stay_on(connp_free_cpu);
	connp_find_threads();
	/* Whatever a test queues in the meantime is of one connection or two. */
	if (!connp_sysctl_write(&connp_hold_sysctls[2], "1048576"))
		ksft_exit_fail_perror("share_packets");
	snprintf(text, sizeof(text), "%d", connp_hold_cpu);
	if (connp_nr_tids == 1 &&
	    !connp_sysctl_write(&connp_hold_sysctls[0], text))
		ksft_exit_fail_perror("cpus");
	for (i = 0; i < connp_nr_tids; i++)
		if (connp_allowed(connp_tids[i]) == connp_hold_cpu)
			connp_held_group = i;
	if (connp_held_group == CONNP_ANY_GROUP)
		ksft_exit_skip("no group has its thread on CPU %d\n",
			       connp_hold_cpu);
}

/* From here on nothing is taken off the queue of the group. */
static inline void connp_hold(void)
{
	connp_set_fifo(connp_tids[connp_held_group], CONNP_LOW_PRIORITY);
	connp_hog_start(connp_hold_cpu);
}

static inline void connp_release(void)
{
	connp_hog_stop(connp_hog);
	/* That of "nice" makes the thread an ordinary one again. */
	connp_sysctl_restore(&connp_hold_sysctls[1]);
}

static inline void connp_hold_restore(void)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(connp_hold_sysctls); i++)
		connp_sysctl_restore(&connp_hold_sysctls[i]);
	connp_throttle();
}

#endif /* CONNP_THREADS_H */
