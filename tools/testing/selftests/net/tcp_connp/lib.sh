# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh
#
# lib.sh - TAP for the scripts among these tests.
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
