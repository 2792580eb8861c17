/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Connection groups: what the files net/ipv4/tcp_connp*.c share.  What the
 * rest of the stack calls is in include/net/tcp_connp.h.
 */
#ifndef _TCP_CONNP_PRIV_H
#define _TCP_CONNP_PRIV_H

#include <linux/completion.h>
#include <linux/tcp.h>
#include <net/tcp_connp.h>

/**
 * struct tcp_connp_call - work that a process waits for
 * @msg: queued on the group, if somebody else does it
 * @sk: the connection, owned by the caller; NULL to wait for the queue only
 * @fn: the work
 * @arg: for @fn
 * @ret: what @fn returned
 * @done: the work is, the group has forgotten the call
 *
 * On the stack of the caller.
 */
struct tcp_connp_call {
	struct tcp_connp_msg	msg;
	struct sock		*sk;
	int			(*fn)(struct sock *sk, int arg);
	int			arg;
	int			ret;
	struct completion	done;
};

/* Has @sk keys of TCP-AO?  Context: @sk owned. */
#ifdef CONFIG_TCP_AO
static inline bool tcp_connp_has_ao(const struct sock *sk)
{
	return rcu_access_pointer(tcp_sk(sk)->ao_info);
}
#else
static inline bool tcp_connp_has_ao(const struct sock *sk)
{
	return false;
}
#endif

/* net/ipv4/tcp_connp.c */
extern struct tcp_connp_group *tcp_connp_groups;
extern unsigned int tcp_connp_nr_groups;
extern struct squeue_limits tcp_connp_limits;

void tcp_connp_drop_stale(struct sock *sk);
bool tcp_connp_owner_has_work(const struct sock *sk);
bool tcp_connp_wakes_many(const struct sock *sk);

/* net/ipv4/tcp_connp_input.c */

extern unsigned int tcp_connp_share_len;

unsigned long tcp_connp_process(struct squeue *sq, struct llist_node *batch);
void tcp_connp_work_off(struct sock *sk, unsigned int brought);
void tcp_connp_drop(struct sock *sk, struct sk_buff *skb,
		    enum skb_drop_reason reason);

/* net/ipv4/tcp_connp_msg.c */
bool tcp_connp_queue_output(struct sock *sk, struct squeue *sq);
struct sock *tcp_connp_msg_sock(struct tcp_connp_msg *msg);
void tcp_connp_run_timer(struct sock *sk, enum tcp_connp_kind kind);
bool tcp_connp_catches_up(const struct tcp_connp_call *call);
void tcp_connp_execute(struct tcp_connp_call *call);
void tcp_connp_flush_group(struct tcp_connp_group *g);

/* net/ipv4/tcp_connp_output.c */
void tcp_connp_wake(struct sock *sk);

/* net/ipv4/tcp_connp_lock.c or tcp_connp_thread.c, see there */
extern const char * const tcp_connp_org;

void tcp_connp_init_group(struct tcp_connp_group *g);
void tcp_connp_do_call(struct tcp_connp_group *g, struct tcp_connp_call *call);
void tcp_connp_answer(struct tcp_connp_call *call);
void tcp_connp_settle(struct tcp_connp_group *g);

#endif /* _TCP_CONNP_PRIV_H */
