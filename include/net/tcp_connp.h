/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Connection groups: TCP where each established connection belongs to a
 * group, and the protocol work of a group is serialised by one squeue.
 *
 * This is all that the rest of the stack sees of it.  Files of the stock stack
 * call what is declared here, in one line each and without logic of their own;
 * with TCP_MSGP every call is one of the empty stubs at the end.
 *
 *	net/ipv4/tcp_connp.c		the groups: who is in one
 *	net/ipv4/tcp_connp_input.c	packets: queued on the group, then drained
 *	net/ipv4/tcp_connp_msg.c	messages: what else is queued on it
 *	net/ipv4/tcp_connp_output.c	what is done once per section, not per cause
 *	net/ipv4/tcp_connp_proc.c	/proc/net/tcp_connp and the sysctls
 *
 * Two organisations share all of that, and differ in who drains a group:
 *
 *	net/ipv4/tcp_connp_lock.c	ConnP-L: whoever has work for it
 *	net/ipv4/tcp_connp_thread.c	ConnP-T: its kernel thread
 *
 * Documentation/networking/tcp_connp.rst explains the whole.  The designs are
 * ConnP-L and ConnP-T, sections 3.2.2 and 3.2.1 of Willmann, Rixner and Cox,
 * USENIX 2006.
 *
 * Lock order: socket owner, group (squeue lock), socket slock, then
 * {bhash, bhash2, ehash lock of a group} and what else stock takes under the
 * slock.  A CPU is never inside two groups.
 */
#ifndef _NET_TCP_CONNP_H
#define _NET_TCP_CONNP_H

#include <linux/sched.h>
#include <linux/spinlock.h>

struct inet_hashinfo;
struct sk_buff;
struct sock;
struct squeue;

#ifdef CONFIG_TCP_CONNP

#include <linux/interrupt.h>
#include <linux/llist.h>
#include <linux/squeue.h>

#define TCP_CONNP_MAX_GROUPS	1024

/**
 * struct tcp_connp_group - a group of connections
 * @sq:		 serialises the protocol work of its connections
 * @ehash_lock:	 for writers to the group's buckets of the established hash table;
 *		 a leaf, unlike the processing lock, see tcp_connp.rst
 * @conns:	 connections that are in the group now
 * @kick:	 ConnP-L: sees to what a bounded drain left behind
 * @calls:	 synchronous calls made to the group
 *
 * Allocated once at boot and never freed, so pointers need no reference.
 */
struct tcp_connp_group {
	struct squeue		sq;
	spinlock_t		ehash_lock ____cacheline_aligned_in_smp;
	atomic_t		conns;
	struct tasklet_struct	kick;
	atomic_long_t		calls;
};

/* What is queued on a group. */
enum tcp_connp_kind {
	TCP_CONNP_PACKET,	/* a packet, of which skb->sk is the connection */
	TCP_CONNP_OUTPUT,	/* send what was put off, work off the backlog */
	TCP_CONNP_DELACK,	/* timers that have fired */
	TCP_CONNP_RETRANS,
	TCP_CONNP_KEEPALIVE,
	TCP_CONNP_COMPRESSED,
	TCP_CONNP_KINDS,
	TCP_CONNP_CALL = TCP_CONNP_KINDS, /* somebody waits for the result */
};

/**
 * struct tcp_connp_msg - a message to a group
 * @node: on the group's squeue
 * @kind: enum tcp_connp_kind
 *
 * Part of what it is about, so that it needs no allocation: of a connection,
 * one of each kind, or of the stack of a caller.  A packet is a message too:
 * its ll_node and prev are in the same places.
 */
struct tcp_connp_msg {
	struct llist_node	node;
	unsigned long		kind;
};

/*
 * How strongly output was asked for since it was last done; the strongest
 * wins.  The values of tcp_push()'s @nonagle, put in order.
 */
enum tcp_connp_push {
	TCP_CONNP_PUSH_NONE,
	TCP_CONNP_PUSH_MORE,	/* full segments only: TCP_NAGLE_CORK */
	TCP_CONNP_PUSH_NORMAL,	/* as tcp_sock.nonagle says, without a cork */
	TCP_CONNP_PUSH_FORCE,	/* everything: TCP_NAGLE_PUSH */
};

/* net/ipv4/tcp_connp.c */
bool tcp_connp_partition(struct inet_hashinfo *hashinfo);
spinlock_t *tcp_connp_ehash_lockp(const struct inet_hashinfo *hashinfo,
				  unsigned int hash);
void tcp_connp_bind(struct sock *sk);
void tcp_connp_unbind(struct sock *sk);
void tcp_connp_forget(struct sock *sk);
void tcp_connp_init_clone(struct sock *sk);
void tcp_connp_flush_all(void);

/* net/ipv4/tcp_connp_input.c */
bool tcp_connp_rcv(struct sock *sk, struct sk_buff *skb, bool refcounted);
bool tcp_connp_input_pending(const struct sock *sk);
bool tcp_connp_leaves_backlog(const struct sock *sk);
void tcp_connp_batch_begin(void);
void tcp_connp_batch_flush(void);
void tcp_connp_batch_end(void);

/* net/ipv4/tcp_connp_msg.c */
bool tcp_connp_post(struct sock *sk, enum tcp_connp_kind kind);
bool tcp_connp_post_tsq(struct sock *sk);
bool tcp_connp_call(struct sock *sk, int (*fn)(struct sock *sk, int arg),
		    int arg, int *ret);
bool tcp_connp_connect(struct sock *sk, int *ret);
void tcp_connp_abandon(struct sock *sk);
bool tcp_connp_abort(struct sock *sk, int (*fn)(struct sock *sk, int err),
		     int err);
bool tcp_connp_disconnect(struct sock *sk, int flags, int *ret);
bool tcp_connp_shutdown(struct sock *sk, int how);
bool tcp_connp_close(struct sock *sk, int state);
bool tcp_connp_close_whole(struct sock *sk, long timeout);
bool tcp_connp_close_resumes(long timeout, int *state);
bool tcp_connp_ended(const struct sock *sk);

/* net/ipv4/tcp_connp_lock.c or tcp_connp_thread.c */
struct squeue *tcp_connp_enter(struct sock *sk);
void tcp_connp_leave(struct squeue *sq);
struct squeue *tcp_connp_lock_owner(struct sock *sk)
	__acquires(&sk->sk_lock.slock);
void tcp_connp_unlock_owner(struct sock *sk, struct squeue *sq)
	__releases(&sk->sk_lock.slock);
bool tcp_connp_hands_over(const struct squeue *sq);
bool tcp_connp_flush_backlog(struct sock *sk);
void tcp_connp_cond_resched(void);

/* net/ipv4/tcp_connp_output.c */
bool tcp_connp_defer_push(struct sock *sk, int nonagle);
bool tcp_connp_defer_full(struct sock *sk, size_t left);
bool tcp_connp_defer_ack(struct sock *sk);
bool tcp_connp_defer_ready(struct sock *sk);
bool tcp_connp_defer_space(struct sock *sk);
bool tcp_connp_rolls_up(const struct sock *sk);
void tcp_connp_release_cb(struct sock *sk);

#else /* !CONFIG_TCP_CONNP */

static inline bool tcp_connp_partition(struct inet_hashinfo *hashinfo)
{
	return false;
}

static inline spinlock_t *
tcp_connp_ehash_lockp(const struct inet_hashinfo *hashinfo, unsigned int hash)
{
	return NULL;
}

static inline void tcp_connp_bind(struct sock *sk) {}
static inline void tcp_connp_unbind(struct sock *sk) {}
static inline void tcp_connp_forget(struct sock *sk) {}
static inline void tcp_connp_init_clone(struct sock *sk) {}
static inline void tcp_connp_flush_all(void) {}

static inline struct squeue *tcp_connp_enter(struct sock *sk)
{
	return NULL;
}

static inline void tcp_connp_leave(struct squeue *sq) {}

/* Macros, so that they need no definition of struct sock. */
#define tcp_connp_lock_owner(sk)					\
({									\
	spin_lock_bh(&(sk)->sk_lock.slock);				\
	(struct squeue *)NULL;						\
})
#define tcp_connp_unlock_owner(sk, sq)					\
	((void)(sq), spin_unlock_bh(&(sk)->sk_lock.slock))
#define tcp_connp_hands_over(sq)	((void)(sq), false)
#define tcp_connp_cond_resched()	cond_resched()

static inline bool tcp_connp_flush_backlog(struct sock *sk)
{
	return false;
}

/* Without the kind, which is not declared here. */
#define tcp_connp_post(sk, ...)		((void)(sk), false)

static inline bool tcp_connp_post_tsq(struct sock *sk)
{
	return false;
}

#define tcp_connp_call(sk, fn, arg, ret)				\
	((void)(sk), (void)(fn), (void)(arg), (void)(ret), false)

static inline bool tcp_connp_connect(struct sock *sk, int *ret)
{
	return false;
}

static inline void tcp_connp_abandon(struct sock *sk) {}

static inline bool tcp_connp_abort(struct sock *sk,
				   int (*fn)(struct sock *sk, int err), int err)
{
	return false;
}

static inline bool tcp_connp_disconnect(struct sock *sk, int flags, int *ret)
{
	return false;
}

static inline bool tcp_connp_shutdown(struct sock *sk, int how)
{
	return false;
}

static inline bool tcp_connp_close(struct sock *sk, int state)
{
	return false;
}

static inline bool tcp_connp_close_whole(struct sock *sk, long timeout)
{
	return false;
}

/* Macros, because an inline changes the code of their callers. */
#define tcp_connp_leaves_backlog(sk)	((void)(sk), false)
#define tcp_connp_ended(sk)		((void)(sk), false)
#define tcp_connp_close_resumes(timeout, state)				\
	((void)(timeout), (void)(state), false)

static inline bool tcp_connp_rcv(struct sock *sk, struct sk_buff *skb,
				 bool refcounted)
{
	return false;
}

static inline bool tcp_connp_input_pending(const struct sock *sk)
{
	return false;
}

static inline void tcp_connp_batch_begin(void) {}
static inline void tcp_connp_batch_flush(void) {}
static inline void tcp_connp_batch_end(void) {}

/* A macro, because an inline changes the code of tcp_send_fin(). */
#define tcp_connp_defer_push(sk, nonagle)				\
	((void)(sk), (void)(nonagle), false)

static inline bool tcp_connp_defer_full(struct sock *sk, size_t left)
{
	return false;
}

static inline bool tcp_connp_defer_ack(struct sock *sk)
{
	return false;
}

static inline bool tcp_connp_defer_ready(struct sock *sk)
{
	return false;
}

static inline bool tcp_connp_defer_space(struct sock *sk)
{
	return false;
}

static inline bool tcp_connp_rolls_up(const struct sock *sk)
{
	return false;
}

static inline void tcp_connp_release_cb(struct sock *sk) {}

#endif /* CONFIG_TCP_CONNP */
#endif /* _NET_TCP_CONNP_H */
