// SPDX-License-Identifier: GPL-2.0
/*
 * What an administrator sees of connection groups: /proc/net/tcp_connp, with
 * a row of counters per group, and the bounds under net.ipv4.tcp_connp.
 *
 * Both are in the initial network namespace only, because the groups are
 * shared by all of them.  The counters are read without locks; the columns of
 * a row may differ by what happened while it was printed.
 */
#include <linux/init.h>
#include <linux/math64.h>
#include <linux/proc_fs.h>
#include <linux/seq_file.h>
#include <linux/sysctl.h>
#include <net/net_namespace.h>
#include <net/tcp_connp.h>
#include "tcp_connp_priv.h"

static int tcp_connp_seq_show(struct seq_file *seq, void *v)
{
	unsigned int i;

	seq_printf(seq, "tcp_connp %s groups %u version 2\n", tcp_connp_org,
		   tcp_connp_nr_groups);
	seq_puts(seq, "group conns acquisitions contended queued drained batches batch_max queue_max kicks wakeups suppressed drops bytes sync polls_paid polls_unpaid busy_us\n");

	for (i = 0; i < tcp_connp_nr_groups; i++) {
		struct tcp_connp_group *g = &tcp_connp_groups[i];
		const struct squeue *sq = &g->sq;
		unsigned long handed = atomic_long_read(&sq->handed);
		unsigned long lock_held = sq->thread ? 0 : handed;
		unsigned long suppressed = sq->thread ? handed : 0;

		/*
		 * An input that found the lock held counts as an acquisition
		 * that did not succeed at once, though it did not wait.
		 */
		seq_printf(seq, "%u %d %lu %lu %ld %lu %lu %u %u %lu %ld %lu %ld %ld %ld %lu %lu %llu\n",
			   i, atomic_read(&g->conns),
			   READ_ONCE(sq->acquired) + lock_held,
			   READ_ONCE(sq->waited) + lock_held,
			   atomic_long_read(&sq->queued),
			   READ_ONCE(sq->drained), READ_ONCE(sq->batches),
			   READ_ONCE(sq->batch_max), READ_ONCE(sq->len_max),
			   READ_ONCE(sq->kicks),
			   atomic_long_read(&sq->wakeups), suppressed,
			   atomic_long_read(&sq->dropped),
			   atomic_long_read(&sq->bytes),
			   atomic_long_read(&g->calls),
			   READ_ONCE(sq->polls_paid),
			   READ_ONCE(sq->polls_unpaid),
			   div_u64(READ_ONCE(sq->busy_ns), NSEC_PER_USEC));
	}
	return 0;
}

static const int tcp_connp_max_budget = 1024;
static const int tcp_connp_max_len = 1 << 20;
static const int tcp_connp_max_bytes = 1 << 30;
static const int tcp_connp_min_bytes = 64 << 10;

static struct ctl_table tcp_connp_sysctls[] = {
	{
		.procname	= "budget",
		.data		= &tcp_connp_limits.budget,
		.maxlen		= sizeof(tcp_connp_limits.budget),
		.mode		= 0644,
		.proc_handler	= proc_douintvec_minmax,
		.extra1		= SYSCTL_ONE,
		.extra2		= (void *)&tcp_connp_max_budget,
	},
	{
		.procname	= "queue_packets",
		.data		= &tcp_connp_limits.max_len,
		.maxlen		= sizeof(tcp_connp_limits.max_len),
		.mode		= 0644,
		.proc_handler	= proc_douintvec_minmax,
		.extra1		= SYSCTL_ONE,
		.extra2		= (void *)&tcp_connp_max_len,
	},
	{
		.procname	= "share_packets",
		.data		= &tcp_connp_share_len,
		.maxlen		= sizeof(tcp_connp_share_len),
		.mode		= 0644,
		.proc_handler	= proc_douintvec_minmax,
		.extra1		= SYSCTL_ONE,
		.extra2		= (void *)&tcp_connp_max_len,
	},
	{
		.procname	= "queue_bytes",
		.data		= &tcp_connp_limits.max_bytes,
		.maxlen		= sizeof(tcp_connp_limits.max_bytes),
		.mode		= 0644,
		.proc_handler	= proc_douintvec_minmax,
		.extra1		= (void *)&tcp_connp_min_bytes,
		.extra2		= (void *)&tcp_connp_max_bytes,
	},
};

static int __init tcp_connp_proc_init(void)
{
	/* Not for users, who could find out which group theirs are in. */
	if (!proc_create_single("tcp_connp", 0400, init_net.proc_net,
				tcp_connp_seq_show))
		return -ENOMEM;
	if (!register_net_sysctl(&init_net, "net/ipv4/tcp_connp",
				 tcp_connp_sysctls))
		return -ENOMEM;
	return 0;
}
late_initcall(tcp_connp_proc_init);
