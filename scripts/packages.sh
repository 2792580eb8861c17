#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# packages.sh - install the Debian packages that building, running and testing
# need, if any is missing.  Uses root, or sudo, or says what to run as root.
#
# SKIP_PACKAGES=1 leaves the machine alone, for one that is not Debian or
# where the tools came another way.
set -eu
. "$(dirname "$0")/lib.sh"

# The kernel: its source (unless KERNEL_SRC brings one), and building it.
packages='gcc libc6-dev make git bc bison flex libelf-dev libssl-dev perl
	python3 xz-utils kmod cpio ccache'
[ -n "${KERNEL_SRC:-}" ] || packages="linux-source-6.12 $packages"
# The rig: emulator, what goes into the guest, and the benchmarks.
packages="$packages qemu-system-x86 busybox-static iproute2 ethtool procps
	util-linux pkg-config libevent-dev iperf3 openssh-client"
# The checks.
packages="$packages binutils sparse shellcheck mypy spin"
# The full kernels' BTF, and what the kernel's own selftests are built with and
# call (conformance.sh).
[ -z "${CONNP_FULL:-}" ] && [ "$VARIANT" != full ] ||
	packages="$packages dwarves libcap-dev libmnl-dev conntrack ipvsadm
	iptables iputils-ping jq netcat-openbsd nftables socat tcpdump"

missing_packages()
{
	for package in $packages; do
		status=$(dpkg-query -W -f '${db:Status-Status}' "$package" \
			 2>/dev/null) || true
		[ "$status" = installed ] || printf '%s ' "$package"
	done
}

[ "${SKIP_PACKAGES:-}" != 1 ] || exit 0
command -v dpkg-query >/dev/null ||
	die "this is not a Debian system; install the equivalents of these" \
	    "packages and set SKIP_PACKAGES=1: $packages"
missing=$(missing_packages)
[ -n "$missing" ] || exit 0

say "installing Debian packages: $missing"
if [ "$(id -u)" = 0 ]; then
	sudo=
elif command -v sudo >/dev/null; then
	sudo=sudo
else
	die "needs root to install packages; run as root:" \
	    "apt-get install --no-install-recommends $missing"
fi
# $missing is a list, and $sudo may be nothing.
# shellcheck disable=SC2086
{
	$sudo apt-get update -q >&2 &&
	$sudo env DEBIAN_FRONTEND=noninteractive \
		apt-get install -q -y --no-install-recommends $missing >&2
} || die "apt-get could not install: $missing
(linux-source-6.12 is in Debian 12's security and updates repositories;" \
	"are they in /etc/apt/sources.list?)"
