#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# guest-init.sh - /init of the rig's guest.
#
# Mounts what programs expect, checks that this is the kernel and the machine
# the host meant to boot, configures the NICs, runs the script the host left in
# the share, and leaves its exit status there. guest.py is the other side:
# /share/settings (RIG_* variables), /share/run (the script) come from it;
# /share/output and /share/status go to it.

export PATH=/bin:/applets HOME=/root TERM="${TERM:-vt100}"

busybox mkdir -p /applets
busybox mount -t proc proc /proc
busybox --install -s /applets
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
mount -t tmpfs tmpfs /dev/shm
mount -t tmpfs tmpfs /tmp
mount -t tmpfs tmpfs /run
mkdir -p /run/netns
mount -t tracefs tracefs /sys/kernel/tracing 2>/dev/null
mount -t debugfs debugfs /sys/kernel/debug 2>/dev/null

leave()
{
	echo "$1" >/share/status
	sync
	echo "<1>rig: done" >/dev/kmsg
	# An ACPI-free kernel cannot power off; QEMU leaves on a reset.
	reboot -f
}

# stop REASON: a guest that is not what was asked for measures nothing. A
# reason where a status should be is a failure with that reason.
stop()
{
	leave "$*"
}

if ! mount -t 9p -o trans=virtio,version=9p2000.L,msize=262144,cache=none share /share; then
	echo "<1>rig: cannot mount the share: the kernel needs NET_9P_VIRTIO and 9P_FS" >/dev/kmsg
	reboot -f
fi
# shellcheck source=/dev/null # written by guest.py
. /share/settings
if [ -z "$RIG_INTERACTIVE" ]; then
	exec >/share/output 2>&1 </dev/null
fi

case $(uname -r) in
*-"$RIG_ORG") ;;
*) stop "booted $(uname -r), expected the $RIG_ORG organisation" ;;
esac
[ "$(nproc)" = "$RIG_CPUS" ] || stop "$(nproc) CPUs came up, expected $RIG_CPUS"

ip link set lo up
# Room for 256 KB socket buffers and for thousands of connections at once.
sysctl -q -w net.core.wmem_max=4194304 net.core.rmem_max=4194304 \
	net.core.somaxconn=65535 net.ipv4.tcp_max_syn_backlog=65535

# The last byte of a NIC's MAC address is its number N: its name becomes nicN,
# its addresses 10.77.N.1 and fd77:N::1. (Few programs are started here: each
# takes an emulator tens of milliseconds.)
nics=0
for net in /sys/class/net/*; do
	read -r mac <"$net/address"
	case $mac in
	52:54:00:77:00:*) ;;
	*) continue ;;
	esac
	n=$((${mac##*:}))
	nics=$((nics + 1))
	ethtool -K "${net##*/}" tso "$RIG_TSO" gso "$RIG_TSO"
	cat <<-EOF >>/tmp/nics
		link set ${net##*/} name nic$n
		link set nic$n mtu $RIG_MTU up
		addr add 10.77.$n.1/24 dev nic$n
		addr add fd77:$n::1/64 dev nic$n nodad
	EOF
done
[ "$nics" = "$RIG_NICS" ] || stop "$nics NICs found, expected $RIG_NICS"
if [ "$nics" -gt 0 ]; then
	ip -batch /tmp/nics || stop "the NICs could not be configured"
fi

# One interrupt a NIC, the NICs dealt out to the CPUs in order, so that which
# CPU serves which NIC is the same in every run.
if [ "$RIG_CPUS" -gt 1 ]; then
	while read -r irq rest; do
		for nic in "/sys/bus/virtio/devices/${rest##* }"/net/nic*; do
			[ -e "$nic" ] || continue
			echo $(((${nic##*/nic} - 1) % RIG_CPUS)) >"/proc/irq/${irq%:}/smp_affinity_list"
		done
	done </proc/interrupts
fi

if [ -n "$RIG_INTERACTIVE" ]; then
	stty rows "$RIG_ROWS" cols "$RIG_COLUMNS" 2>/dev/null
	setsid cttyhack /bin/bash
	leave 0
fi

rig-mark start
/bin/sh /share/run
status=$?
rig-mark end
leave "$status"
