# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh
#
# lib.sh - what the scripts among these tests share: TAP, two namespaces with a
# veth pair between them, ptcpbench across it, and the kernel's counters.
#
# Sourced, never run:  . "$(dirname "$0")/lib.sh"

count=0
failed=0

# skip_all REASON: instead of all tests.
skip_all()
{
	echo "1..0 # SKIP $1"
	exit 4
}

# result STATUS NAME
result()
{
	count=$((count + 1))
	if [ "$1" = 0 ]; then
		echo "ok $count - $2"
	else
		failed=$((failed + 1))
		echo "not ok $count - $2"
	fi
}

# skip NAME REASON
skip()
{
	count=$((count + 1))
	echo "ok $count - $1 # SKIP $2"
}

# namespaces PROGRAM...: two of them, with connp0 in each: 192.0.2.1 and
# 2001:db8::1 in $server, .2 and ::2 in $client. They are gone when the script
# ends, and so is the directory $tmp; undo() may be defined to have more undone.
# Skips all tests if a program is missing.
namespaces()
{
	server=connp-server-$$
	client=connp-client-$$
	[ "$(id -u)" = 0 ] || skip_all "needs root, for network namespaces"
	for program in ptcpbench ip "$@"; do
		command -v "$program" >/dev/null ||
			skip_all "$program is not installed"
	done
	tmp=$(mktemp -d)
	trap cleanup EXIT
	trap 'exit 1' INT TERM
	ip netns add "$server"
	ip netns add "$client"
	ip -n "$server" link set lo up
	ip -n "$server" link add connp0 type veth peer name connp0 \
		netns "$client"
	ip -n "$server" addr add 192.0.2.1/24 dev connp0
	ip -n "$client" addr add 192.0.2.2/24 dev connp0
	ip -n "$server" addr add 2001:db8::1/64 dev connp0 nodad
	ip -n "$client" addr add 2001:db8::2/64 dev connp0 nodad
	ip -n "$server" link set connp0 up
	ip -n "$client" link set connp0 up
}

undo()
{
	:
}

cleanup()
{
	ip netns delete "$server" 2>/dev/null || true
	ip netns delete "$client" 2>/dev/null || true
	undo
	rm -r "$tmp"
}

# What ptcpbench transfers, and over how many connections.
bytes=24M
connections=24
# A kernel that checks itself is many times slower: there, do less.
[ ! -e /proc/lockdep ] && [ ! -e /sys/kernel/debug/kcsan ] || bytes=3M
# Called with the process id of the sink while it runs.
meanwhile=:

# transfer NAME ADDRESS CLIENT-NAMESPACE OPTION...: serve's options follow.
transfer()
{
	name=$1 address=$2 namespace=$3
	shift 3
	rm -f "$tmp"/*
	ip netns exec "$server" ptcpbench serve -a "$address" -c $connections \
		-b $bytes -p 0 --ready "$tmp/port" "$@" >"$tmp/serve.log" 2>&1 &
	serve=$!
	while ! [ -s "$tmp/port" ] && kill -0 $serve 2>/dev/null; do
		sleep 0.05
	done
	status=0
	if [ -s "$tmp/port" ]; then
		ip netns exec "$namespace" ptcpbench sink -a "$address" \
			-c $connections -p "$(cat "$tmp/port")" --verify \
			>"$tmp/sink.log" 2>&1 &
		sink=$!
		$meanwhile $sink
		wait $sink || status=1
	fi
	wait $serve || status=1
	result $status "$name"
	[ $status = 0 ] || sed 's/^/# /' "$tmp"/*.log
}

# counters NAMESPACE [NAME]: those that nstat knows, by the same names, or the value
# of one; "" is the own namespace. Less to start than ip netns exec and nstat, in a
# kernel where that takes seconds.
counters()
{
	# shellcheck disable=SC2016 # awk's
	nsenter ${1:+"--net=/var/run/netns/$1"} awk -v name="${2:-}" '
		# A line of names is followed by one of their numbers.
		FNR % 2 { split($0, names); next }
		{
			sub(":", "", $1)
			for (i = 2; i <= NF; i++)
				if (!name)
					print $1 names[i], $i
				else if ($1 names[i] == name)
					print $i
		}
	' /proc/net/snmp /proc/net/netstat
}

# groups COLUMN...: sums over /proc/net/tcp_connp, of a row at a time.
groups()
{
	awk -v columns="$*" '
		BEGIN { n = split(columns, names) }
		NR == 2 { for (i = 1; i <= NF; i++) place[$i] = i }
		NR > 2 { for (i = 1; i <= n; i++) sum[i] += $place[names[i]] }
		END { for (i = 1; i <= n; i++) printf "%.0f%s", sum[i], i < n ? " " : "\n" }
	' /proc/net/tcp_connp
}

# settled NAME CONNS: once all traffic has ended, all that was queued is
# drained, no memory is charged, and CONNS connections are left.
settled()
{
	name="$1: all that was queued is drained, no connection is left"
	if [ ! -e /proc/net/tcp_connp ]; then
		skip "$name" "this kernel has no connection groups"
		return
	fi
	if [ -n "${CONNP_SHARED:-}" ]; then
		skip "$name" "others use the groups as well"
		return
	fi
	status=1
	tries=0
	while [ $status = 1 ] && [ $tries -lt 300 ]; do
		# shellcheck disable=SC2046 # numbers
		set -- "$1" "$2" $(groups queued drained bytes conns)
		if [ "$3 $5 $6" = "$4 0 $2" ]; then
			status=0
		else
			tries=$((tries + 1))
			sleep 0.1
		fi
	done
	result $status "$name"
	[ $status = 0 ] ||
		echo "# $3 queued, $4 drained, $5 bytes, $6 connections of $2"
}
