#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# guest-iperf3.sh NICS - the guest's side of scripts/iperf3.py: one iperf3
# server a NIC, each for one test; ready when all of them listen.
set -eu

nics=$1
pids=
for n in $(seq "$nics"); do
	iperf3 --server --one-off --bind "10.77.$n.1" >"/tmp/iperf3-$n" 2>&1 &
	pids="$pids $!"
done
until [ "$(ss -Hltn sport = 5201 | wc -l)" = "$nics" ]; do
	for pid in $pids; do
		kill -0 "$pid" || { cat /tmp/iperf3-*; exit 1; }
	done
	sleep 0.1
done
touch /share/ready
for pid in $pids; do
	wait "$pid" || { cat /tmp/iperf3-*; exit 1; }
done
