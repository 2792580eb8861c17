#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# ptcpbench with every byte verified, over a bad network: a veth pair where
# netem loses, reorders, duplicates and corrupts packets, both data and ACKs;
# and to a reader that stops for a while, so that windows close. Each is seen to
# happen, by the counters of netem and of TCP. Afterwards those of the groups
# add up. Again with queues so short that groups drop packets, too.
set -eu
. "$(dirname "$0")/lib.sh"

limit=/proc/sys/net/ipv4/tcp_connp/queue_packets
backlog=/proc/sys/net/core/netdev_max_backlog
saved=
saved_backlog=
pings=

undo()
{
	[ -z "$saved" ] || echo "$saved" >$limit
	[ -z "$saved_backlog" ] || echo "$saved_backlog" >$backlog
	[ -z "$pings" ] || kill "$pings" || true
}

# netem OPTION...: what the network does from now on, in both directions.
netem()
{
	for end in "$server" "$client"; do
		tc -n "$end" qdisc replace dev connp0 root netem limit 10000 \
			"$@"
	done
}

# What netem and TCP have counted until now, at both ends: once for all that is asked
# about it, as a program takes long to start in a kernel that checks itself.
look()
{
	netem_says=$(for end in "$server" "$client"; do
		tc -n "$end" -s qdisc show dev connp0
	done)
	tcp_says=$(for end in "$server" "$client"; do
		counters "$end"
	done)
}

# of_netem PATTERN: the number behind it in its statistics, of both ends together.
of_netem()
{
	echo "$netem_says" | awk -v pattern="$1" '
		match($0, pattern "[0-9]+") {
			text = substr($0, RSTART, RLENGTH)
			sub(/.*[^0-9]/, "", text)
			sum += text
		}
		END { print sum + 0 }'
}

both()
{
	echo "$tcp_says" | awk -v name="$1" '
		$1 == name { sum += $2 }
		END { print sum + 0 }'
}

# By TCP, which counts those that it repeats apart.
sent()
{
	echo $(($(both TcpOutSegs) + $(both TcpRetransSegs)))
}

# evil WHAT: how often it had happened when we looked.
evil()
{
	case $1 in
	lost)	of_netem 'dropped ' ;;
	# Of TCP's alone.
	missing) echo $(($(sent) - $(both TcpInSegs))) ;;
	# A packet that overtakes others is put back at the head of the queue.
	reordered) of_netem 'overlimits [0-9]+ requeues ' ;;
	# Packets that left though TCP had not sent them.
	duplicated)
		echo $(($(of_netem 'Sent [0-9]+ bytes ') +
			$(evil lost) - $(sent))) ;;
	corrupted) both TcpInCsumErrors ;;
	# A window that was, for long.
	closed)	both TcpExtTCPWinProbe ;;
	refused) groups drops ;;
	esac
}

# bad NAME WHATS ADDRESSES OPTION...: transfers over a network like that, after
# which each of WHATS has happened as often as it must.
bad()
{
	title=$1 whats=$2 addresses=$3
	shift 3
	netem "$@"
	look
	before=
	for what in $whats; do
		before="$before $(evil "$what")"
	done
	for address in $addresses; do
		transfer "$title, $address" "$address" "$client"
	done
	look
	# shellcheck disable=SC2086 # numbers
	set -- $before
	for what in $whats; do
		times=$(($(evil "$what") - $1))
		shift
		status=0
		[ $times -ge $often ] || status=1
		result $status "$title: some were $what"
		echo "# $times times"
	done
	# What ends connections is not to wait for this network.
	tc -n "$server" qdisc delete dev connp0 root
	tc -n "$client" qdisc delete dev connp0 root
	settled "$title" "$conns"
}

# pauses SINK: it stops reading until the other end has asked for room.
pauses()
{
	times=0
	while [ $times -lt $pauses ]; do
		times=$((times + 1))
		# Once it has read some.
		wait_for "$client" TcpInSegs 300 "$1"
		kill -STOP "$1" 2>/dev/null || break
		wait_for "$server" TcpExtTCPWinProbe 1 "$1"
		kill -CONT "$1"
	done
}

# wait_for NAMESPACE COUNTER N PID: until it has counted N more, or PID ends; but
# not for as long as ptcpbench takes for a stall.
wait_for()
{
	goal=$(($(counters "$1" "$2") + $3))
	until=$(($(date +%s) + 30))
	while [ "$(counters "$1" "$2")" -lt $goal ] && kill -0 "$4" 2>/dev/null &&
	      [ "$(date +%s)" -lt $until ]; do
		sleep 0.1
	done
}

namespaces ethtool tc nsenter awk ping sysctl
# Where a checksum is left to the hardware, a veth device takes it for right;
# and netem is to see single packets.
for namespace in "$server" "$client"; do
	ip netns exec "$namespace" ethtool -K connp0 tx off gso off >/dev/null
done
netem delay 1ms 2>/dev/null || skip_all "the kernel lacks CONFIG_NET_SCH_NETEM"
# Nobody but netem is to lose any, and it may release many at once.
saved_backlog=$(cat $backlog)
echo 100000 >$backlog
v4=192.0.2.1
v6=2001:db8::1
either4=$v4
either6=$v6
pauses=2
if [ -n "${CONNP_FULL:-}" ]; then
	either4="$v4 $v6"
	either6="$v4 $v6"
	bytes=${bytes%M}0M
	pauses=10
else
	[ ${bytes%M} -le 8 ] || bytes=8M
fi
# Chance has its way with each packet.  The rates below are such that the rarest
# is expected 25 times: it takes ten million runs to see fewer than 5.
often=5
conns=0
if [ -e /proc/net/tcp_connp ]; then
	conns=$(groups conns)
fi
mixture='delay 2ms 1ms loss 1% duplicate 2% reorder 20% corrupt 1%'

echo "TAP version 13"
bad "loss" lost "$either4" delay 1ms loss 2%
# A burst ends with the packets of all, of which most are some connection's. The
# last one would have to end it by itself, at longer and longer intervals, and
# give up. So there are packets of others.
ip netns exec "$client" ping -q -i 0.01 $v4 >/dev/null &
pings=$!
bad "loss in bursts" missing "$either6" delay 1ms loss gemodel 1% 30%
kill "$pings"
pings=
bad "reordering" reordered "$either6" delay 2ms reorder 20%
bad "duplication" duplicated "$either4" delay 1ms duplicate 5%
bad "corruption" corrupted "$either6" delay 1ms corrupt 2%
# shellcheck disable=SC2086 # a list of options
bad "all of it" "lost reordered duplicated corrupted" "$v4 $v6" $mixture

# Slow enough to be in the middle, with many times what a window holds.
often=1
normal="$bytes $connections"
bytes=8M
connections=4
rmem=net.ipv4.tcp_rmem
room=$(ip netns exec "$client" sysctl -n $rmem)
ip netns exec "$client" sysctl -qw "$rmem=4096 131072 262144"
meanwhile=pauses
bad "zero windows" closed "$either4" rate 32mbit
meanwhile=:
ip netns exec "$client" sysctl -qw "$rmem=$room"
bytes=${normal% *}
connections=${normal#* }

if [ -e $limit ]; then
	saved=$(cat $limit)
	echo 4 >$limit
	bad "short queues" refused "$v4" delay 1ms
	# shellcheck disable=SC2086 # a list of options
	bad "short queues, all of it" "refused lost corrupted" "$v6" $mixture
	echo "$saved" >$limit
	saved=
else
	skip "short queues" "this kernel has no connection groups"
fi
echo "1..$count"
[ "$failed" = 0 ]
