#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# The sysctls under net.ipv4.tcp_connp: what is in range is taken, what is not
# is refused and changes nothing. Those of threads are there if there are any.
set -eu
. "$(dirname "$0")/lib.sh"

dir=/proc/sys/net/ipv4/tcp_connp

[ -d $dir ] || skip_all "this kernel has no connection groups"
[ "$(id -u)" = 0 ] || skip_all "needs root, to write sysctls"
saved=$(mktemp -d)

restore()
{
	for file in "$saved"/*; do
		cat "$file" >"$dir/${file##*/}"
	done
	rm -r "$saved"
}
trap restore EXIT

for file in "$dir"/*; do
	cat "$file" >"$saved/${file##*/}"
done

# takes NAME VALUE
takes()
{
	status=0
	(echo "$2" >"$dir/$1") 2>/dev/null || status=1
	[ "$(cat "$dir/$1")" = "$2" ] || status=1
	result $status "$1 takes '$2'"
}

# refuses NAME VALUE...
refuses()
{
	name=$1
	shift
	for value; do
		status=0
		before=$(cat "$dir/$name")
		! (echo "$value" >"$dir/$name") 2>/dev/null || status=1
		[ "$(cat "$dir/$name")" = "$before" ] || status=1
		result $status "$name refuses '$value', and is unchanged"
	done
}

# check NAME MIN MAX
check()
{
	takes "$1" "$2"
	takes "$1" "$3"
	refuses "$1" $(($2 - 1)) $(($3 + 1)) -100 4294967296 many ''
}

# absent NAME WHOSE
absent()
{
	status=0
	[ ! -e "$dir/$1" ] || status=1
	result $status "$1 is for $2, and absent"
}

echo "TAP version 13"
check budget 1 1024
check queue_packets 1 1048576
check queue_bytes 65536 1073741824
check share_packets 1 1048576
read -r _ org _ </proc/net/tcp_connp
case $org in
connp-t)
	check nice -20 19
	check poll_us 0 10000
	online=$(cat /sys/devices/system/cpu/online)
	takes cpus "${online##*[-,]}"
	takes cpus "$online"
	# No list, none online, and one that begins well.
	refuses cpus many '' -1 1-0 4294967296 8191 "$online,many"
	absent relief_packets locks
	;;
*)
	check relief_packets 0 1048576
	for name in cpus nice poll_us; do
		absent $name threads
	done
	;;
esac
echo "1..$count"
[ "$failed" = 0 ]
