#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# kernel.sh - configure and build one organisation's kernel out of tree.
#
#   ORG=msgp [VARIANT=debug] [DEBUG_INFO=1] [JOBS=n] scripts/kernel.sh
#
# Merges configs/base.config, ORG.config and with a VARIANT those that
# configs/variants says over allnoconfig, fails if a requested line did not
# survive, and builds build/ORG (build/ORG-VARIANT); the whole log is kept beside
# it as ORG.log.  With DEBUG_INFO=1 the code is the same, and what the rig prints of
# a kernel fault has line numbers; without, a build takes a sixth less time.
# Needs build/linux (prepare.sh).  Uses ccache where it is installed: kernels
# that differ only in our options share most of their objects.
set -eu
. "$(dirname "$0")/lib.sh"

org=${ORG:?is not set; use one of: $ORGANISATIONS}
unset DEBUG # the Makefiles below tools/ have one, too
out=$(org_builddir "$org" "$VARIANT")
log=$out.log
jobs=${JOBS:-$(nproc)}

fragments="base.config $org.config"
[ -z "$VARIANT" ] || fragments="$fragments $(sed -n "s/^$VARIANT //p" \
					     "$TOP/configs/variants")"
# Only with groups are there tests of groups to build in.
case $org-$VARIANT in
connp-*debug) fragments="$fragments debug-connp.config" ;;
esac
[ -z "${DEBUG_INFO:-}" ] || fragments="$fragments profile.config"

# The last line given for each symbol, in the form .config would have it.
requested()
{
	# shellcheck disable=SC2086 # a list of plain names
	(cd "$TOP/configs" && cat $fragments) | awk '
		/^CONFIG_/ { name = $0; sub(/=.*/, "", name); line[name] = $0 }
		/^# CONFIG_[A-Z0-9_]* is not set$/ { line[$2] = $0 }
		END { for (name in line) print line[name] }' | sort
}

# A symbol that cannot be chosen at all is absent, which counts as not set.
lost_lines()
{
	while read -r line; do
		case $line in
		\#*)
			name=${line#\# }
			! grep -q "^${name%% *}=" "$out/.config" ||
				echo "$line"
			;;
		*)
			grep -qxF -e "$line" "$out/.config" || echo "$line"
			;;
		esac
	done <"$out/requested.config"
}

# Anything that can change the answer: the fragments, and Kconfig.
config_key()
{
	{
		requested
		cat "$TOP/Kconfig.connp" "$LINUX/net/ipv4/Kconfig"
		cksum "$LINUX/.git/connp-source"
	} | sha256sum
}

configure()
{
	say "configuring $out"
	rm -f "$out/config.key"
	requested >"$out/requested.config"
	KCONFIG_ALLCONFIG=$out/requested.config kernel_make "$out" allnoconfig \
		>"$log" 2>&1 || die "allnoconfig failed; see $log"
	lost=$(lost_lines)
	[ -z "$lost" ] || die "configs/ asks for lines that Kconfig did not" \
		"keep (a dependency is missing, or the symbol is unknown):
$lost"
	config_key >"$out/config.key"
}

# Every few seconds, how far make has come; for as long as this script is there.
# Nothing here holds what is waited for by others: our output, and the lock.
progress()
{
	start=$(date +%s)
	while sleep 5 >/dev/null 2>&1 && kill -0 "$$" 2>/dev/null; do
		say "$(basename "$out"): $(grep -c '^  [A-Z]' "$log") steps," \
		    "$(($(date +%s) - start)) s, now" \
		    "$(sed -n '$s/.* //p' "$log")"
	done
}

build()
{
	: >"$log"
	progress 9>&- &
	watcher=$!
	failed=
	kernel_make "$out" -j"$jobs" bzImage >"$log" 2>&1 || failed=1
	kill "$watcher"
	if [ -n "$failed" ]; then
		grep -A 5 -E ': (fatal )?error:|\*\*\*|undefined reference' \
			"$log" | head -n 40 >&2
		die "building $out failed; the whole log is in $log"
	fi
	# The compiler's warnings are ours to see; but for those that are not meant
	# for macros, and cannot tell them once they are expanded (see kernel_make).
	grep -E '(: warning:|^WARNING)' "$log" |
		grep -v -E '\[-W(int-in-bool-context|tautological-compare)\]' >&2 ||
		true
}

[ -f "$LINUX/.git/connp-series" ] || die "no $LINUX; run 'make prepare' first"
mkdir -p "$out"
exec 9>"$out.lock"
flock 9
[ "$(config_key)" = "$(cat "$out/config.key" 2>/dev/null)" ] || configure
build
say "$(cat "$out/include/config/kernel.release"): $out/arch/x86/boot/bzImage"
