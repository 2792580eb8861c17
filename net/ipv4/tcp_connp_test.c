// SPDX-License-Identifier: GPL-2.0
/*
 * KUnit test of connection groups: what processes, timers and packets ask of a
 * group is done on its thread (ConnP-T) or under its lock (ConnP-L), in the
 * order it was asked for, once, and leaves nothing behind.
 *
 * The connections are over loopback, in the initial network namespace.  The
 * messages are recorded by the tracepoint where they come off the queue.  To
 * have a known queue, a call occupies the group until others, on another CPU,
 * have queued what they want.
 */
#include <kunit/test.h>
#include <linux/cpumask.h>
#include <linux/delay.h>
#include <linux/jiffies.h>
#include <linux/net.h>
#include <linux/netdevice.h>
#include <linux/rtnetlink.h>
#include <linux/sched.h>
#include <linux/workqueue.h>
#include <net/inet_connection_sock.h>
#include <net/net_namespace.h>
#include <net/tcp.h>
#include <net/tcp_connp.h>
#include "tcp_connp_priv.h"
#include <trace/events/tcp_connp.h>

/* Enough for two in one group of 128, unless one in a million times. */
#define PAIRS_MAX	64
#define RECORD_MAX	16
#define PATIENCE	(5 * HZ)

/* Two ends of one connection. */
struct test_pair {
	struct socket *client;
	struct socket *server;
};

/**
 * struct test_run - one test, and what happened in it
 * @pairs:	connections that were made
 * @n:		their number
 * @conns:	connections in groups before the test
 * @sk:		whose messages are recorded; its other end has no group, so
 *		that what is sent there arrives at once
 * @peer:	that other end
 * @blocker:	another connection of the same group
 * @g:		that group
 * @queued:	messages ever queued on @g before it was occupied
 * @late:	messages that are queued while it is, and which others wait for
 * @busy:	the group is occupied
 * @go:		it shall not be for longer than it takes to queue @late
 * @flushed:	tcp_connp_flush_all() has returned
 * @recorded:	number of @record
 * @record:	kinds of messages, in the order in which they were worked on
 * @test:	for expectations elsewhere than on the test's thread
 */
struct test_run {
	struct test_pair	pairs[PAIRS_MAX];
	unsigned int		n;
	int			conns;
	struct sock		*sk;
	struct socket		*peer;
	struct sock		*blocker;
	struct tcp_connp_group	*g;
	long			queued;
	long			late;
	bool			busy;
	bool			go;
	bool			flushed;
	unsigned int		recorded;
	unsigned int		record[RECORD_MAX];
	struct kunit		*test;
};

/* For functions that are given no more than a socket. */
static struct test_run *test_run;
static bool test_lo_was_up;

static void test_record(struct test_run *run, unsigned int kind)
{
	if (run->recorded < RECORD_MAX)
		run->record[run->recorded++] = kind;
}

/* A call records itself, because in ConnP-L it is no message. */
static void test_probe(void *data, unsigned int group, unsigned long kind,
		       const struct sock *sk)
{
	struct test_run *run = data;

	if (sk == run->sk && kind != TCP_CONNP_CALL)
		test_record(run, kind);
}

static int test_all_conns(void)
{
	unsigned int i;
	int conns = 0;

	for (i = 0; i < tcp_connp_nr_groups; i++)
		conns += atomic_read(&tcp_connp_groups[i].conns);
	return conns;
}

static long test_all_calls(void)
{
	unsigned int i;
	long calls = 0;

	for (i = 0; i < tcp_connp_nr_groups; i++)
		calls += atomic_long_read(&tcp_connp_groups[i].calls);
	return calls;
}

/* Connections */

/* As a process would, not the kernel, whose sockets are in no group. */
static struct socket *test_socket(struct kunit *test)
{
	struct socket *sock;

	KUNIT_ASSERT_EQ(test, 0, sock_create(AF_INET, SOCK_STREAM, IPPROTO_TCP,
					     &sock));
	sock->sk->sk_rcvtimeo = PATIENCE;
	sock->sk->sk_sndtimeo = PATIENCE;
	return sock;
}

static struct test_pair *test_connect(struct kunit *test)
{
	struct sockaddr_in addr = {
		.sin_family	 = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
	struct sockaddr *sa = (struct sockaddr *)&addr;
	struct test_run *run = test->priv;
	struct test_pair *pair = &run->pairs[run->n];
	struct socket *listener;
	int err;

	KUNIT_ASSERT_LT(test, run->n, PAIRS_MAX);
	listener = test_socket(test);
	err = kernel_bind(listener, sa, sizeof(addr)) ?:
	      kernel_listen(listener, 1);
	if (!err)
		err = min(kernel_getsockname(listener, sa), 0);
	KUNIT_EXPECT_NULL(test, listener->sk->sk_connp);
	if (!err) {
		pair->client = test_socket(test);
		run->n++;
		err = kernel_connect(pair->client, sa, sizeof(addr), 0) ?:
		      kernel_accept(listener, &pair->server, 0);
	}
	sock_release(listener);
	KUNIT_ASSERT_EQ(test, 0, err);
	KUNIT_ASSERT_NOT_NULL(test, pair->client->sk->sk_connp);
	KUNIT_ASSERT_NOT_NULL(test, pair->server->sk->sk_connp);
	return pair;
}

/* Nobody but the test may know the socket any more, soon. */
static void test_release(struct kunit *test, struct socket *sock)
{
	unsigned long end = jiffies + PATIENCE;
	struct sock *sk;

	if (!sock)
		return;
	sk = sock->sk;
	sock_hold(sk);
	sock_release(sock);
	while (refcount_read(&sk->sk_refcnt) != 1 && time_before(jiffies, end))
		usleep_range(1000, 2000);
	KUNIT_EXPECT_EQ(test, 1, refcount_read(&sk->sk_refcnt));
	KUNIT_EXPECT_NULL(test, sk->sk_connp);
	sock_put(sk);
}

static int test_init(struct kunit *test)
{
	struct test_run *run = kunit_kzalloc(test, sizeof(*run), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, run);
	run->conns = test_all_conns();
	run->test = test;
	test->priv = run;
	test_run = run;
	return 0;
}

static void test_exit(struct kunit *test)
{
	struct test_run *run = test->priv;
	unsigned int i;

	/* One after the other closes: the second waits for nothing then. */
	for (i = 0; run && i < run->n; i++) {
		struct test_pair *pair = &run->pairs[i];

		if (pair->server)
			kernel_sock_shutdown(pair->server, SHUT_RDWR);
		test_release(test, pair->client);
		test_release(test, pair->server);
	}
	if (run)
		KUNIT_EXPECT_EQ(test, run->conns, test_all_conns());
	test_run = NULL;
}

/* Calls */

struct test_seen {
	struct task_struct	*task;
	struct squeue		*inside;
	bool			bh_disabled;
	bool			owned;
	bool			atomic;
	bool			nested;
	bool			nested_ran;
	int			state;
};

static struct test_seen test_seen;

static int test_look_fn(struct sock *sk, int arg)
{
	test_seen.task = current;
	test_seen.inside = this_cpu_read(squeue_current);
	test_seen.bh_disabled = in_softirq();
	test_seen.owned = sock_owned_by_user(sk);
	test_seen.atomic = sk->sk_allocation == GFP_ATOMIC;
	return arg + 1;
}

/* Who runs a call of this process. */
static struct task_struct *test_worker(const struct sock *sk)
{
	return sk->sk_connp->sq.thread ?: current;
}

static void test_call(struct kunit *test)
{
	long calls = test_all_calls();
	struct test_pair *pair = test_connect(test);
	struct sock *sk = pair->client->sk;
	gfp_t gfp = sk->sk_allocation;
	bool called;
	int ret = 0;

	KUNIT_EXPECT_GT_MSG(test, test_all_calls(), calls,
			    "connect() is a call");

	memset(&test_seen, 0, sizeof(test_seen));
	lock_sock(sk);
	called = tcp_connp_call(sk, test_look_fn, 41, &ret);
	release_sock(sk);

	KUNIT_EXPECT_TRUE(test, called);
	KUNIT_EXPECT_EQ(test, 42, ret);
	KUNIT_EXPECT_PTR_EQ(test, test_seen.task, test_worker(sk));
	KUNIT_EXPECT_PTR_EQ(test, test_seen.inside, &sk->sk_connp->sq);
	KUNIT_EXPECT_TRUE(test, test_seen.bh_disabled);
	KUNIT_EXPECT_TRUE(test, test_seen.owned);
	KUNIT_EXPECT_TRUE(test, test_seen.atomic);
	KUNIT_EXPECT_TRUE(test, sk->sk_allocation == gfp);
}

/* Where nobody may wait, and where there is no group, calls are refused. */
static void test_call_refused(struct kunit *test)
{
	struct sock *sk = test_connect(test)->client->sk;
	bool in_softirq, without_group;

	memset(&test_seen, 0, sizeof(test_seen));
	lock_sock(sk);
	local_bh_disable();
	in_softirq = tcp_connp_call(sk, test_look_fn, 0, NULL);
	local_bh_enable();
	tcp_connp_unbind(sk);
	without_group = tcp_connp_call(sk, test_look_fn, 0, NULL);
	release_sock(sk);

	KUNIT_EXPECT_FALSE(test, in_softirq);
	KUNIT_EXPECT_FALSE(test, without_group);
	KUNIT_EXPECT_NULL_MSG(test, test_seen.task, "nothing was called");
}

static int test_nested_fn(struct sock *sk, int arg)
{
	test_seen.nested_ran = true;
	return 0;
}

static int test_nesting_fn(struct sock *sk, int arg)
{
	test_seen.nested = tcp_connp_call(sk, test_nested_fn, 0, NULL);
	tcp_shutdown(sk, SEND_SHUTDOWN);
	test_seen.state = sk->sk_state;
	return 0;
}

/* Inside a group its work is done at once: nobody else would do it. */
static void test_call_nested(struct kunit *test)
{
	struct sock *sk = test_connect(test)->client->sk;
	long calls = test_all_calls();
	bool called;

	memset(&test_seen, 0, sizeof(test_seen));
	lock_sock(sk);
	called = tcp_connp_call(sk, test_nesting_fn, 0, NULL);
	release_sock(sk);

	KUNIT_EXPECT_TRUE(test, called);
	KUNIT_EXPECT_FALSE(test, test_seen.nested);
	KUNIT_EXPECT_FALSE(test, test_seen.nested_ran);
	KUNIT_EXPECT_EQ(test, test_seen.state, TCP_FIN_WAIT1);
	KUNIT_EXPECT_EQ(test, test_all_calls(), calls + 1);
}

/* What makes calls, from outside. */
static void test_shutdown_abort(struct kunit *test)
{
	struct test_pair *pair = test_connect(test);
	struct sock *sk = pair->client->sk;
	long calls = test_all_calls();

	KUNIT_EXPECT_EQ(test, 0, kernel_sock_shutdown(pair->client, SHUT_WR));
	KUNIT_EXPECT_TRUE(test, (1 << READ_ONCE(sk->sk_state)) &
				(TCPF_FIN_WAIT1 | TCPF_FIN_WAIT2));
	KUNIT_EXPECT_EQ(test, test_all_calls(), calls + 1);

	KUNIT_EXPECT_EQ(test, 0, tcp_abort(sk, ECONNABORTED));
	KUNIT_EXPECT_EQ(test, READ_ONCE(sk->sk_state), TCP_CLOSE);
	KUNIT_EXPECT_EQ(test, READ_ONCE(sk->sk_err), ECONNABORTED);
	KUNIT_EXPECT_EQ(test, test_all_calls(), calls + 2);
}

/* The order of messages */

/* Two connections of one group. */
static void test_two_of_a_group(struct kunit *test)
{
	struct test_run *run = test->priv;
	struct test_pair *pair;
	unsigned int i;

	while (!run->blocker && run->n < PAIRS_MAX) {
		pair = test_connect(test);
		run->sk = pair->client->sk;
		run->peer = pair->server;
		for (i = 0; i < run->n - 1; i++) {
			struct sock *other = run->pairs[i].client->sk;

			if (other->sk_connp == run->sk->sk_connp)
				run->blocker = other;
		}
	}
	if (!run->blocker)
		kunit_skip(test, "no two connections in one group");
	run->g = run->sk->sk_connp;
	lock_sock(run->peer->sk);
	tcp_connp_unbind(run->peer->sk);
	release_sock(run->peer->sk);
}

static long test_queued(const struct test_run *run)
{
	return atomic_long_read(&run->g->sq.queued) - run->queued;
}

/* The call that occupies the group; returns what was worked on meanwhile. */
static int test_occupy_fn(struct sock *sk, int arg)
{
	unsigned long end = jiffies + PATIENCE;
	struct test_run *run = test_run;

	run->queued = atomic_long_read(&run->g->sq.queued);
	/* Pairs with test_wait_busy(). */
	smp_store_release(&run->busy, true);
	while ((!READ_ONCE(run->go) || test_queued(run) < run->late) &&
	       time_before(jiffies, end))
		cpu_relax();
	/* Were anybody to overtake us, it would be now. */
	mdelay(10);
	return run->recorded + READ_ONCE(run->flushed);
}

static void test_wait_busy(struct test_run *run)
{
	unsigned long end = jiffies + PATIENCE;

	/* Pairs with test_occupy_fn(). */
	while (!smp_load_acquire(&run->busy) && time_before(jiffies, end))
		usleep_range(500, 1000);
}

/* A timer of @run->sk fires. */
static void test_fire(struct test_run *run, enum tcp_connp_kind kind)
{
	struct inet_connection_sock *icsk = inet_csk(run->sk);
	struct hrtimer *hr = &tcp_sk(run->sk)->compressed_ack_timer;
	struct timer_list *t = NULL;

	switch (kind) {
	case TCP_CONNP_DELACK:
		t = &icsk->icsk_delack_timer;
		break;
	case TCP_CONNP_RETRANS:
		t = &icsk->icsk_retransmit_timer;
		break;
	case TCP_CONNP_KEEPALIVE:
		t = &icsk->icsk_keepalive_timer;
		break;
	default:
		break;
	}

	local_bh_disable();
	/* One that was cleared may be pending nevertheless. */
	if (t)
		sk_stop_timer(run->sk, t);
	sock_hold(run->sk);
	if (t)
		t->function(t);
	else
		hr->function(hr);
	local_bh_enable();
}

static int test_send(struct test_run *run)
{
	struct kvec vec = { .iov_base = "x", .iov_len = 1 };
	struct msghdr msg = { .msg_flags = MSG_NOSIGNAL };

	return kernel_sendmsg(run->peer, &msg, &vec, 1, 1);
}

/*
 * Occupy the group of @run->sk while @work, and @more, run on another CPU, and
 * wait until they and all that they queued are done.
 */
static void test_occupied(struct kunit *test, work_func_t work,
			  work_func_t more, long late)
{
	struct test_run *run = test->priv;
	struct work_struct first, second;
	unsigned int cpu, other;
	int err, ret = -1;
	bool called;

	cpu = run->g->sq.thread ? task_cpu(run->g->sq.thread) :
				  cpumask_first(cpu_online_mask);
	other = cpumask_any_but(cpu_online_mask, cpu);
	if (other >= nr_cpu_ids)
		kunit_skip(test, "takes two CPUs");
	KUNIT_ASSERT_EQ(test, 0, set_cpus_allowed_ptr(current,
						      cpumask_of(cpu)));
	err = register_trace_tcp_connp_message(test_probe, run);
	KUNIT_ASSERT_EQ(test, 0, err);

	run->late = late;
	INIT_WORK_ONSTACK(&first, work);
	INIT_WORK_ONSTACK(&second, more ?: work);
	schedule_work_on(other, &first);
	if (more)
		schedule_work_on(other, &second);
	lock_sock(run->blocker);
	called = tcp_connp_call(run->blocker, test_occupy_fn, 0, &ret);
	release_sock(run->blocker);
	flush_work(&first);
	flush_work(&second);
	destroy_work_on_stack(&first);
	destroy_work_on_stack(&second);
	tcp_connp_flush_all();

	unregister_trace_tcp_connp_message(test_probe, run);
	tracepoint_synchronize_unregister();
	KUNIT_EXPECT_TRUE(test, called);
	KUNIT_EXPECT_EQ_MSG(test, ret, 0, "messages overtook a call");
}

static void test_expect_record(struct kunit *test, const unsigned int *kinds,
			       unsigned int n)
{
	struct test_run *run = test->priv;
	unsigned int i;

	KUNIT_EXPECT_GE(test, run->recorded, n);
	for (i = 0; i < n && i < run->recorded; i++)
		KUNIT_EXPECT_EQ_MSG(test, run->record[i], kinds[i],
				    "message %u", i);
}

/* The socket has been given its packet, which may wait for the owner. */
static int test_second_call_fn(struct sock *sk, int arg)
{
	test_record(test_run, TCP_CONNP_CALL);
	test_look_fn(sk, arg);
	return sk->sk_backlog.tail || !skb_queue_empty(&sk->sk_receive_queue);
}

static void test_order_work(struct work_struct *work)
{
	struct test_run *run = test_run;
	struct sock *sk = run->sk;
	int sent, received = 0;

	test_wait_busy(run);
	sent = test_send(run);
	test_fire(run, TCP_CONNP_DELACK);
	test_fire(run, TCP_CONNP_RETRANS);
	test_fire(run, TCP_CONNP_COMPRESSED);
	lock_sock(sk);
	WRITE_ONCE(run->go, true);
	tcp_connp_call(sk, test_second_call_fn, 0, &received);
	release_sock(sk);
	KUNIT_EXPECT_EQ(run->test, sent, 1);
	KUNIT_EXPECT_TRUE_MSG(run->test, received,
			      "the call came after the packet");
}

/* Comes after the call, as soon as that is queued or under way. */
static void test_after_call_work(struct work_struct *work)
{
	struct test_run *run = test_run;
	unsigned long end = jiffies + PATIENCE;

	test_wait_busy(run);
	while ((!READ_ONCE(run->go) ||
		(run->g->sq.thread && test_queued(run) < 5)) &&
	       time_before(jiffies, end))
		usleep_range(500, 1000);
	test_fire(run, TCP_CONNP_KEEPALIVE);
}

static void test_order(struct kunit *test)
{
	static const unsigned int kinds[] = {
		TCP_CONNP_PACKET, TCP_CONNP_DELACK, TCP_CONNP_RETRANS,
		TCP_CONNP_COMPRESSED, TCP_CONNP_CALL, TCP_CONNP_KEEPALIVE,
	};
	struct test_run *run = test->priv;

	test_two_of_a_group(test);
	memset(&test_seen, 0, sizeof(test_seen));
	/* In ConnP-L the second call waits for the lock, and is not queued. */
	test_occupied(test, test_order_work, test_after_call_work,
		      run->g->sq.thread ? 6 : 4);
	test_expect_record(test, kinds, ARRAY_SIZE(kinds));
	KUNIT_EXPECT_PTR_EQ(test, test_seen.inside, &run->g->sq);
	KUNIT_EXPECT_FALSE_MSG(test,
			       skb_queue_empty(&run->sk->sk_receive_queue),
			       "the packet was received");
}

static void test_coalesce_work(struct work_struct *work)
{
	struct test_run *run = test_run;
	struct sock *sk = run->sk;
	int before, once, twice;

	test_wait_busy(run);
	before = refcount_read(&sk->sk_refcnt);
	test_fire(run, TCP_CONNP_DELACK);
	tcp_connp_post_tsq(sk);
	once = refcount_read(&sk->sk_refcnt);
	test_fire(run, TCP_CONNP_DELACK);
	tcp_connp_post_tsq(sk);
	twice = refcount_read(&sk->sk_refcnt);
	WRITE_ONCE(run->go, true);
	/* The two messages, and that TSQ has something to do. */
	KUNIT_EXPECT_EQ(run->test, once, before + 3);
	KUNIT_EXPECT_EQ(run->test, twice, once);
}

static void test_coalesce(struct kunit *test)
{
	static const unsigned int kinds[] = {
		TCP_CONNP_DELACK, TCP_CONNP_OUTPUT,
	};
	struct test_run *run = test->priv;
	int refs;

	test_two_of_a_group(test);
	refs = refcount_read(&run->sk->sk_refcnt);
	test_occupied(test, test_coalesce_work, NULL, 2);
	KUNIT_EXPECT_EQ(test, run->recorded, ARRAY_SIZE(kinds));
	test_expect_record(test, kinds, ARRAY_SIZE(kinds));
	KUNIT_EXPECT_EQ(test, run->sk->sk_connp_posted, 0);
	KUNIT_EXPECT_EQ(test, refcount_read(&run->sk->sk_refcnt), refs);

	/* And now it may be queued again. */
	run->recorded = 0;
	run->busy = false;
	run->go = false;
	test_occupied(test, test_coalesce_work, NULL, 2);
	test_expect_record(test, kinds, ARRAY_SIZE(kinds));
	KUNIT_EXPECT_EQ(test, refcount_read(&run->sk->sk_refcnt), refs);
}

static void test_flush_work(struct work_struct *work)
{
	struct test_run *run = test_run;
	unsigned int recorded;

	test_wait_busy(run);
	test_fire(run, TCP_CONNP_DELACK);
	test_fire(run, TCP_CONNP_RETRANS);
	test_send(run);
	WRITE_ONCE(run->go, true);
	tcp_connp_flush_all();
	WRITE_ONCE(run->flushed, true);
	recorded = run->recorded;
	KUNIT_EXPECT_GE(run->test, recorded, 3);
	KUNIT_EXPECT_FALSE_MSG(run->test,
			       skb_queue_empty(&run->sk->sk_receive_queue),
			       "the packet was received");
}

static void test_flush(struct kunit *test)
{
	struct test_run *run = test->priv;

	test_two_of_a_group(test);
	test_occupied(test, test_flush_work, NULL,
		      run->g->sq.thread ? 4 : 3);
	KUNIT_EXPECT_TRUE(test, run->flushed);
	KUNIT_EXPECT_EQ(test, squeue_len(&run->g->sq), 0);
}

static int test_suite_init(struct kunit_suite *suite)
{
	struct net_device *lo = init_net.loopback_dev;
	int err;

	rtnl_lock();
	test_lo_was_up = lo->flags & IFF_UP;
	err = dev_open(lo, NULL);
	rtnl_unlock();
	return err;
}

static void test_suite_exit(struct kunit_suite *suite)
{
	rtnl_lock();
	if (!test_lo_was_up)
		dev_close(init_net.loopback_dev);
	rtnl_unlock();
}

static struct kunit_case tcp_connp_cases[] = {
	KUNIT_CASE(test_call),
	KUNIT_CASE(test_call_refused),
	KUNIT_CASE(test_call_nested),
	KUNIT_CASE(test_shutdown_abort),
	KUNIT_CASE(test_order),
	KUNIT_CASE(test_coalesce),
	KUNIT_CASE(test_flush),
	{}
};

static struct kunit_suite tcp_connp_suite = {
	.name		= "tcp_connp",
	.suite_init	= test_suite_init,
	.suite_exit	= test_suite_exit,
	.init		= test_init,
	.exit		= test_exit,
	.test_cases	= tcp_connp_cases,
};

kunit_test_suite(tcp_connp_suite);
