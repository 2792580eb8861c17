#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# guest-profile.sh ADDRESSES WARMUP TIMEOUT CONNS:BYTES... - the guest's side of
# profiler.py: under the profiler, one ptcpbench run of so many bytes for each
# number of connections.
#
# ptcpbench has the profiler count what happens in its measured window, which
# opens when WARMUP per cent of the bytes are sent. In /share/CONNS it leaves
# what it said (serve.json, serve.log); `ready` appears there when it listens,
# `done` when all of it is there.
set -eu

addresses=$1
warmup=$2
timeout=$3
shift 3

uname -r >/share/release
tcgprof arm
for load in "$@"; do
	conns=${load%:*}
	dir=/share/$conns
	mkdir "$dir"
	ptcpbench serve --address "$addresses" --connections "$conns" \
		--bytes "${load#*:}" --warmup "$warmup" --timeout "$timeout" \
		--json="$dir/serve.json" --ready "$dir/ready" >"$dir/serve.log" 2>&1 || {
		cat "$dir/serve.log"
		exit 1
	}
	touch "$dir/done"
done
