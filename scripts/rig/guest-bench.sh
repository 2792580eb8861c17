#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# guest-bench.sh ADDRESSES DURATION WARMUP TIMEOUT CONNS... - the guest's side
# of scripts/compare.py: one ptcpbench run for each number of connections.
#
# In /share/CONNS it leaves what ptcpbench said (serve.json, serve.log) and the
# kernel's counters before and after; `ready` appears there when it listens,
# `done` when all of it is there.
set -eu

addresses=$1
duration=$2
warmup=$3
timeout=$4
shift 4

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

uname -r >/share/release
for conns in "$@"; do
	dir=/share/$conns
	mkdir "$dir"
	counters "$dir/before"
	rig-mark "before-$conns"
	ptcpbench serve --address "$addresses" --connections "$conns" \
		--duration "$duration" --warmup "$warmup" --timeout "$timeout" \
		--json="$dir/serve.json" --ready "$dir/ready" >"$dir/serve.log" 2>&1 || {
		cat "$dir/serve.log"
		exit 1
	}
	rig-mark "after-$conns"
	counters "$dir/after"
	touch "$dir/done"
done
