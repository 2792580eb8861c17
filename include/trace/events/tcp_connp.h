/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Tracepoints of connection groups, at the points where the decisions are
 * made that /proc/net/tcp_connp counts.
 */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM tcp_connp

#if !defined(_TRACE_TCP_CONNP_H) || defined(TRACE_HEADER_MULTI_READ)
#define _TRACE_TCP_CONNP_H

#include <linux/tracepoint.h>

/* A batch was processed: how many packets, for how many sockets to run. */
TRACE_EVENT(tcp_connp_drain,

	TP_PROTO(unsigned int group, unsigned int packets, unsigned int socks),

	TP_ARGS(group, packets, socks),

	TP_STRUCT__entry(
		__field(unsigned int, group)
		__field(unsigned int, packets)
		__field(unsigned int, socks)
	),

	TP_fast_assign(
		__entry->group = group;
		__entry->packets = packets;
		__entry->socks = socks;
	),

	TP_printk("group=%u packets=%u socks=%u",
		  __entry->group, __entry->packets, __entry->socks)
);

/* A packet or message comes off the queue; kind is enum tcp_connp_kind. */
TRACE_EVENT(tcp_connp_message,

	TP_PROTO(unsigned int group, unsigned long kind, const struct sock *sk),

	TP_ARGS(group, kind, sk),

	TP_STRUCT__entry(
		__field(unsigned int, group)
		__field(unsigned int, kind)
		__field(__u16, sport)
		__field(__u16, dport)
	),

	TP_fast_assign(
		__entry->group = group;
		__entry->kind = kind;
		__entry->sport = sk ? sk->sk_num : 0;
		__entry->dport = sk ? ntohs(sk->sk_dport) : 0;
	),

	TP_printk("group=%u kind=%s sport=%u dport=%u", __entry->group,
		  __print_symbolic(__entry->kind,
				   { TCP_CONNP_PACKET, "packet" },
				   { TCP_CONNP_OUTPUT, "output" },
				   { TCP_CONNP_DELACK, "delack" },
				   { TCP_CONNP_RETRANS, "retrans" },
				   { TCP_CONNP_KEEPALIVE, "keepalive" },
				   { TCP_CONNP_COMPRESSED, "compressed" },
				   { TCP_CONNP_CALL, "call" }),
		  __entry->sport, __entry->dport)
);

DECLARE_EVENT_CLASS(tcp_connp_queue,

	TP_PROTO(unsigned int group, unsigned long len),

	TP_ARGS(group, len),

	TP_STRUCT__entry(
		__field(unsigned int, group)
		__field(unsigned long, len)
	),

	TP_fast_assign(
		__entry->group = group;
		__entry->len = len;
	),

	TP_printk("group=%u len=%lu", __entry->group, __entry->len)
);

/* A drain reached its budget and left the rest to the tasklet. */
DEFINE_EVENT(tcp_connp_queue, tcp_connp_kick,
	TP_PROTO(unsigned int group, unsigned long len),
	TP_ARGS(group, len)
);

/* A packet was dropped because its group's queue is full. */
DEFINE_EVENT(tcp_connp_queue, tcp_connp_drop,
	TP_PROTO(unsigned int group, unsigned long len),
	TP_ARGS(group, len)
);

#endif /* _TRACE_TCP_CONNP_H */

#include <trace/define_trace.h>
