#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# What the KUnit test of connection groups said when the kernel booted, where
# it is built in: net/ipv4/tcp_connp_test.c.
set -eu
. "$(dirname "$0")/lib.sh"

suite=/sys/kernel/debug/kunit/tcp_connp

[ "$(id -u)" = 0 ] || skip_all "needs root, for debugfs"
[ -d $suite ] || skip_all "needs CONFIG_TCP_CONNP_KUNIT_TEST, and debugfs"

# Its results are indented, below the one of the suite as a whole.
tests=$(mktemp)
trap 'rm $tests' EXIT
sed -n 's/^ *\(not ok\|ok\) [0-9]* \(- \)\?/\1 /p' $suite/results >"$tests"

echo "TAP version 13"
while read -r line; do
	case $line in
	"not ok "*)
		result 1 "${line#not ok }" ;;
	*"# SKIP"*)
		name=${line#ok }
		skip "${name%% *}" "${line##*# SKIP}" ;;
	*)
		result 0 "${line#ok }" ;;
	esac
done <"$tests"
echo "1..$count"
if [ "$failed" != 0 ]; then
	sed 's/^/# /' $suite/results
fi
[ "$failed" = 0 ]
