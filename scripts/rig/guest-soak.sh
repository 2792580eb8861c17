#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# guest-soak.sh SECONDS - the guest's side of scripts/soak.py: for so long, loads
# that are verified and disturbances of every kind, all at once. STREAMS and
# FUZZ_SEED come from there.
#
# In /share it leaves, for each round of a load, a folder LOAD-N with what both
# ends of ptcpbench said; for each disturbance D that has an outcome D.log and
# D.ended, its status; `injected`, a line for each kind of fault with a number
# that is not to be 0; `after`, the same for what is to be 0 when all is over; and
# `loads-ended`, when there are no more rounds to come.
set -u

seconds=$1
faults=/sys/kernel/debug
# shellcheck source=../../tools/testing/selftests/net/tcp_connp/lib.sh
. /selftests/lib.sh
# Others use the groups as well, so that no test counts on being alone.
export CONNP_SHARED=1

uptime()
{
	read -r up rest </proc/uptime
	echo "${up%.*}"
}

end=$(($(uptime) + seconds))

time_left()
{
	[ "$(uptime)" -lt $end ]
}

# A network that treats packets badly.
prepare()
{
	namespaces ethtool tc
	for namespace in "$server" "$client"; do
		# Or nobody would notice what netem corrupts.
		ip netns exec "$namespace" ethtool -K connp0 gro on tso off \
			gso off tx off >/dev/null
		tc -n "$namespace" qdisc add dev connp0 root netem \
			delay 2ms 1ms loss 0.5% reorder 5% duplicate 1% \
			corrupt 0.5% limit 4000
	done
}

# one_end FOLDER END COMMAND...: what it says, and how it ends.
one_end()
{
	folder=$1 which=$2
	shift 2
	status=0
	"$@" "--json=$folder/$which.json" >"$folder/$which.log" 2>&1 || status=$?
	echo "$status" >"$folder/$which.status"
}

# The other side of this is the host: scripts/soak.py.
load_taps()
{
	round=0
	while time_left; do
		round=$((round + 1))
		mkdir /share/taps-$round
		one_end /share/taps-$round serve ptcpbench serve -a "$RIG_GUEST4" \
			-c "$STREAMS" -d 20 -w 0 --timeout 600 --ready /share/taps-$round/ready
	done
	touch /share/loads-ended
}

# load_inside NAME ADDRESS CLIENT-NAMESPACE SERVE-OPTION...
load_inside()
{
	name=$1 address=$2 namespace=$3
	shift 3
	round=0
	while time_left; do
		round=$((round + 1))
		folder=/share/$name-$round
		mkdir "$folder"
		one_end "$folder" serve ip netns exec "$server" ptcpbench \
			serve -a "$address" -c "$((STREAMS / 2))" -d 20 \
			-w 0 -p 0 --timeout 600 --ready "$folder/ready" "$@" &
		until [ -s "$folder/ready" ] || [ -e "$folder/serve.status" ]; do
			sleep 0.1
		done
		[ ! -s "$folder/ready" ] ||
			one_end "$folder" sink ip netns exec "$namespace" \
				ptcpbench sink -a "$address" --verify --timeout 600 \
				-c "$((STREAMS / 2))" -p "$(cat "$folder/ready")"
		wait
	done
}

# disturb NAME COMMAND...: one that says how it went.
disturb()
{
	name=$1
	shift
	status=0
	"$@" >"/share/$name.log" 2>&1 || status=$?
	echo $status >"/share/$name.ended"
}

# again NAME [PART]: one of the selftests, until the time is up or it fails.
again()
{
	name=$1
	shift
	times=0
	status=0
	while time_left && [ $status = 0 ]; do
		status=0
		"/selftests/$name" "$@" >"/share/$name.log" 2>&1 || status=$?
		times=$((times + 1))
	done
	echo $status >"/share/$name.ended"
	echo "times_${name%.sh} $times" >>/tmp/injected
}

# The address of a function, and of the one behind it.
function_range()
{
	sort /proc/kallsyms | sed -n "/ [tT] $1\$/{s/ .*//p;n;s/ .*//p;q}"
}

# Transmission is to do without the memory that it wants: nobody is told of that,
# and it has to be repaired unseen. All that sends, stock and groups, comes by
# this function.
no_memory()
{
	# shellcheck disable=SC2046 # two numbers
	set -- $(function_range tcp_write_xmit)
	start=$1 stop=$2
	for fault in failslab fail_page_alloc; do
		[ -d $faults/$fault ] || continue
		echo 0 >$faults/$fault/verbose
		echo "0x$start" >$faults/$fault/require-start
		echo "0x$stop" >$faults/$fault/require-end
		echo 30 >$faults/$fault/stacktrace-depth
		echo 1000000000 >$faults/$fault/times
		echo 20 >$faults/$fault/interval
	done
	[ ! -d $faults/failslab ] ||
		echo N >$faults/failslab/ignore-gfp-wait
	[ ! -d $faults/fail_page_alloc ] || {
		echo N >$faults/fail_page_alloc/ignore-gfp-wait
		echo 0 >$faults/fail_page_alloc/min-order
	}
	while time_left; do
		for fault in failslab fail_page_alloc; do
			[ ! -d $faults/$fault ] || echo 50 >$faults/$fault/probability
		done
		sleep 5
		for fault in failslab fail_page_alloc; do
			[ ! -d $faults/$fault ] || echo 0 >$faults/$fault/probability
		done
		sleep 5
	done
	for fault in failslab fail_page_alloc; do
		[ -d $faults/$fault ] || continue
		read -r left <$faults/$fault/times
		echo "allocations_refused_by_$fault $((1000000000 - left))" >>/tmp/injected
	done
}

# tcp_mem far below what is used, and back.
little_memory()
{
	read -r low pressure high </proc/sys/net/ipv4/tcp_mem
	times=0
	while time_left; do
		echo "64 128 $high" >/proc/sys/net/ipv4/tcp_mem
		sleep 3
		echo "$low $pressure $high" >/proc/sys/net/ipv4/tcp_mem
		sleep 9
		times=$((times + 1))
	done
	echo "times_of_tcp_memory_pressure $times" >>/tmp/injected
}

cpus_come_and_go()
{
	times=0
	while time_left; do
		for cpu in /sys/devices/system/cpu/cpu[1-9]*/online; do
			[ -w "$cpu" ] || continue
			echo 0 >"$cpu"
			sleep 1
			echo 1 >"$cpu"
			times=$((times + 1))
		done
		sleep 7
	done
	echo "CPUs_offline_and_online $times" >>/tmp/injected
}

# cut_short NAME SERVER-NAMESPACE CLIENT-NAMESPACE ADDRESS COMMAND...: streams
# between the two, in the middle of which the command takes away what they need.
cut_short()
{
	ready=/tmp/$1 serving=$2 sinking=$3 address=$4
	shift 4
	ip netns exec "$serving" ptcpbench serve -a "$address" -c 8 -d 60 \
		-p 5011 --write --ready "$ready" >/dev/null 2>&1 &
	pid=$!
	until [ -s "$ready" ] || ! kill -0 $pid 2>/dev/null; do
		sleep 0.1
	done
	ip netns exec "$sinking" ptcpbench sink -a "$address" -c 8 \
		-p 5011 >/dev/null 2>&1 &
	sleep 4
	if "$@" && [ -s "$ready" ]; then
		times=$((times + 1))
	fi
	# They may have noticed.
	kill -9 $pid $! 2>/dev/null
	wait $pid $! 2>/dev/null
	rm -f "$ready"
}

# Namespaces that end with whatever is going on in them.
namespaces_die()
{
	times=0
	while time_left; do
		echo $((1 << (times % 3 * 5))) >/proc/sys/net/ipv4/tcp_child_ehash_entries
		ip netns add soak-dying
		ip -n soak-dying link set lo up
		cut_short dying soak-dying soak-dying 127.0.0.1 \
			ip netns delete soak-dying
	done
	echo "namespaces_ended_under_load $times" >>/tmp/injected
}

# Devices that are unregistered with packets on their way.
devices_go()
{
	ip netns add soak-beyond
	times=0
	while time_left; do
		ip -n "$server" link add soak0 type veth peer name soak1 netns soak-beyond
		ip -n "$server" address add 198.51.100.1/24 dev soak0
		ip -n soak-beyond address add 198.51.100.2/24 dev soak1
		ip -n "$server" link set soak0 up
		ip -n soak-beyond link set soak1 up
		cut_short going "$server" soak-beyond 198.51.100.1 \
			ip -n "$server" link delete soak0
	done
	ip netns delete soak-beyond
	echo "devices_unregistered_under_load $times" >>/tmp/injected
}

readers()
{
	times=0
	while time_left; do
		cat /proc/net/tcp /proc/net/tcp6 /proc/net/tcp_connp \
			/proc/net/sockstat >/dev/null 2>&1
		ss -tiaenmo >/dev/null 2>&1
		ip netns exec "$server" ss -tiaenmo >/dev/null 2>&1
		times=$((times + 1))
		sleep 0.5
	done
	echo "times_all_was_read $times" >>/tmp/injected
}

prepare
: >/tmp/injected
disturb fuzz env FUZZ_SECONDS="$seconds" /selftests/fuzz &
again storm &
again neighbour &
again memory cgroup &
again dynaddr &
no_memory &
little_memory &
cpus_come_and_go &
namespaces_die &
devices_go &
readers &
load_inside loopback 127.0.0.1 "$server" --write &
load_inside badnet 192.0.2.1 "$client" &
load_taps &
wait

mv /tmp/injected /share/injected
echo "corrupted_segments_refused $(($(counters "$server" TcpInCsumErrors) +
	$(counters "$client" TcpInCsumErrors)))" >>/share/injected
segments=$(sed -n 's/^# \([0-9]*\) segments arrived .*/\1/p' /share/fuzz.log)
[ -z "$segments" ] || echo "segments_of_the_fuzzer $segments" >>/share/injected

cleanup
trap - EXIT
# TIME_WAIT and orphans have a minute.
limit=$(($(uptime) + 130))
while [ "$(uptime)" -lt $limit ]; do
	read -r _ _ sockets _ orphans _ waiting _ <<-EOT
		$(grep '^TCP:' /proc/net/sockstat)
	EOT
	[ "$sockets$orphans$waiting" != 000 ] || break
	sleep 1
done
{
	echo "sockets_in_use $sockets"
	echo "orphans $orphans"
	echo "connections_in_TIME_WAIT $waiting"
	if [ -e /proc/net/tcp_connp ]; then
		# shellcheck disable=SC2046 # numbers
		set -- $(groups drained queued conns bytes)
		echo "queued_and_not_drained $(($2 - $1))"
		echo "connections_in_groups $3"
		echo "bytes_on_queues $4"
	fi
} >/share/after
disturb kmemleak /selftests/kmemleak.sh
exit 0
