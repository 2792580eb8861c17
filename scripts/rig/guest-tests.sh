#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# guest-tests.sh TEST... - the guest's side of scripts/test-guest.sh: run each
# of these selftests in /selftests, and say where its output begins and ends.
#
# Succeeds whatever the tests say: the verdict on each is that of who reads the
# output. $VARIANT is that of the kernel.
set -eu

kcsan=/sys/kernel/debug/kcsan
# Booting has races of its own.
[ "${VARIANT:-}" != kcsan ] || echo on >$kcsan

cd /selftests
for test in "$@"; do
	echo "rig: begin $test"
	status=0
	"./$test" 2>&1 || status=$?
	echo "rig: end $status"
done

# No report says nothing if nobody has looked.
if [ "${VARIANT:-}" = kcsan ]; then
	echo "rig: begin watchpoints"
	status=0
	sed '/^$/d; s/^/# /' $kcsan
	awk '$1 == "enabled:" { on = $2 }
	     $1 == "setup_watchpoints:" { watched = $2 }
	     END {
		print on && watched ? "ok" : "not ok", "1 - KCSAN has watched"
		exit !(on && watched)
	     }' $kcsan || status=$?
	echo "rig: end $status"
fi
