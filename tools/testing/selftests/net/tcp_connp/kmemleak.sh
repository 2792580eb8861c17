#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Is there memory that nothing points to any more? To be run after everything
# that might have lost some, on a kernel with kmemleak. A leak is reported by the
# second of two scans, if then it is older than five seconds.
set -eu
. "$(dirname "$0")/lib.sh"

kmemleak=/sys/kernel/debug/kmemleak

[ "$(id -u)" = 0 ] || skip_all "needs root, for debugfs"
[ -w $kmemleak ] || skip_all "needs CONFIG_DEBUG_KMEMLEAK, and debugfs"

echo "TAP version 13"
echo "1..1"
if ! echo scan >$kmemleak; then
	echo "# kmemleak has given up; is its pool too small?"
	result 1 "no memory is lost"
	exit 1
fi
sleep 6
echo scan >$kmemleak
leaks=$(cat $kmemleak)
[ -z "$leaks" ] || echo "$leaks" | sed 's/^/# /'
result "${#leaks}" "no memory is lost"
[ "$failed" = 0 ]
