#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# guest-tests.sh TEST... - the guest's side of scripts/test-guest.sh: run each
# of these selftests in /selftests, and say where its output begins and ends.
#
# Always succeeds: the verdict on each test is that of who reads the output.
set -eu

# Booting has races of its own.
[ ! -w /sys/kernel/debug/kcsan ] || echo on >/sys/kernel/debug/kcsan

cd /selftests
for test in "$@"; do
	echo "rig: begin $test"
	status=0
	"./$test" 2>&1 || status=$?
	echo "rig: end $status"
done
