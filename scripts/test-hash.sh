#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# test-hash.sh ORG - boot a kernel with connection groups twice, and compare the
# groups that the same addresses and ports are in: the hash has another secret
# after each boot, so those of one boot say nothing about those of the next.
# TAP on stdout; tools/testing/selftests/net/tcp_connp/hash.c does the rest.
#
#   [VARIANT=debug] scripts/test-hash.sh ORG
set -eu
. "$(dirname "$0")/lib.sh"

org=${1:?"usage: [VARIANT=debug] $0 ORG"}
org_builddir "$org" "$VARIANT" >/dev/null
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

build_selftests

# boot COMMAND...: in a guest that has the groups of the boot before. With one
# thread for each of 2 CPUs there is less to guess at than with 8.
boot()
{
	"$TOP/scripts/guest-run.py" --org "$org" \
		${VARIANT:+--variant "$VARIANT"} --append tcp_connp.groups=8 \
		--copy "$work/before:/script/before" -- "$@"
}

: >"$work/before"
if ! boot /selftests/hash print >"$work/output"; then
	sed 's/^/# /' "$work/output"
	die "the first boot failed; what it printed is above"
fi
# What begins with it is not TAP.
sed -n '/^groups /,$p' "$work/output" >"$work/before"
[ -s "$work/before" ] || die "the first boot has not printed groups"
say "the same in another boot"
boot /selftests/hash compare /script/before
