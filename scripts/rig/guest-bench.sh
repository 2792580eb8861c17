#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# guest-bench.sh "CONNS..." OPTION... - the guest's side of bench.py: one run of
# ptcpbench serve with these options for each number of connections.
#
# In $SHARE/CONNS (default: /share/CONNS) it leaves what ptcpbench said (serve.json,
# serve.log) and the kernel's counters before and after; `ready` appears there when
# it listens, `done` when all of it is there.
set -eu

share=${SHARE:-/share}
loads=$1
shift

# counters DIRECTORY: what the kernel has counted so far.
counters()
{
	mkdir "$1"
	for file in net/tcp_connp net/netstat net/snmp lock_stat; do
		if [ -e "/proc/$file" ]; then
			cat "/proc/$file" >"$1/${file#net/}"
		fi
	done
}

uname -r >"$share/release"
# Mode crr leaves a connection in TIME_WAIT for each request: as on a server that
# expects them, there is room for those of a minute. (Who runs this elsewhere than
# in a guest sees to it, and puts back what was there.)
[ -n "${SHARE:-}" ] || sysctl -q -w net.ipv4.tcp_max_tw_buckets=1048576
for conns in $loads; do
	dir=$share/$conns
	mkdir "$dir"
	counters "$dir/before"
	rig-mark "before-$conns"
	ptcpbench serve "$@" --connections "$conns" \
		--json="$dir/serve.json" --ready "$dir/ready" >"$dir/serve.log" 2>&1 || {
		cat "$dir/serve.log"
		exit 1
	}
	rig-mark "after-$conns"
	counters "$dir/after"
	touch "$dir/done"
done
