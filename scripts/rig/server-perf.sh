#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# server-perf.sh CONNS SECONDS EVENTS - beside guest-bench.sh on a server that has
# a PMU: once ptcpbench says (--progress) that its measured window is open, counts
# for so long what happens on all CPUs ($SHARE/CONNS/perf-stat), and then samples
# it for as long (perf.data beside $SHARE).
set -eu

until grep -q ' measuring ' "$SHARE/$1/serve.log"; do
	sleep 0.1
done
LC_ALL=C perf stat -a -x, -o "$SHARE/$1/perf-stat" -e "$3" -- sleep "$2"
perf record -q -a -g -F 199 -o "$SHARE/../perf.data" -e "$3" -- sleep "$2"
