#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# The bounds under net.ipv4.tcp_connp: what is in range is taken, what is not
# is refused and changes nothing.
set -eu

dir=/proc/sys/net/ipv4/tcp_connp
count=0
failed=0
saved=$(mktemp)

if ! [ -d "$dir" ]; then
	echo "1..0 # SKIP this kernel has no connection groups"
	exit 4
fi
if [ "$(id -u)" != 0 ]; then
	echo "1..0 # SKIP needs root, to write sysctls"
	exit 4
fi

restore()
{
	while read -r name value; do
		echo "$value" >"$dir/$name"
	done <"$saved"
	rm "$saved"
}

for name in budget queue_packets queue_bytes; do
	echo "$name $(cat "$dir/$name")" >>"$saved"
done
trap restore EXIT

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

write()
{
	(echo "$2" >"$dir/$1") 2>/dev/null
}

# check NAME MIN MAX
check()
{
	for value in "$2" "$3"; do
		status=0
		write "$1" "$value" || status=1
		[ "$(cat "$dir/$1")" = "$value" ] || status=1
		result $status "$1 takes $value"
	done
	for value in $(($2 - 1)) $(($3 + 1)) -1 4294967296 many ''; do
		status=0
		write "$1" "$value" && status=1
		[ "$(cat "$dir/$1")" = "$3" ] || status=1
		result $status "$1 refuses '$value', and is unchanged"
	done
}

echo "TAP version 13"
echo "1..24"
check budget 1 1024
check queue_packets 1 1048576
check queue_bytes 65536 1073741824
[ "$failed" = 0 ]
