#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# conformance.sh ORG - build the kernel's own selftests of TCP, run them in a
# guest, and compare with what stock's kernel makes of them there; TAP on stdout.
#
#   VARIANT=full [TESTS="net/tls net/gro.sh"] [APPEND=tcp_connp.groups=1] \
#	scripts/conformance.sh ORG
#   VARIANT=full [RUNS=2] scripts/conformance.sh --list msgp
#
# tools/testing/conformance has the list of the tests, that of the verdicts on
# stock, and that of the differences an organisation is known to have.  Each
# result that passes on stock has to pass here, or to differ as listed; others
# are told if they pass.  --list writes the list of verdicts from RUNS runs, or with
# TESTS those of these.  APPEND is for the kernel's command line.
#
# The kernel has to be built (kernel.sh).  The logs are left in
# build/conformance.
set -eu
. "$(dirname "$0")/lib.sh"

usage="usage: VARIANT=full $0 [--list] ORG"
list=
[ "${1:-}" != --list ] || { list=yes; shift; }
org=${1:?"$usage"}
org_builddir "$org" "$VARIANT" >/dev/null
[ -n "$VARIANT" ] || die "the measured kernel lacks what these tests need; $usage"

tests=$TOP/tools/testing/conformance/tests
verdicts=$TOP/tools/testing/conformance/verdicts
differences=$TOP/tools/testing/conformance/differences
out=$BUILD/conformance
APPEND=${APPEND:-}
title="$org $VARIANT${APPEND:+ ${APPEND#tcp_connp.}}"
# One log and list for each.
log=$out/$(echo "$title" | tr ' ' -)
# A kernel with instruments takes some times as long.
times=1
[ "$VARIANT" = full ] || times=5
selftests=$LINUX/tools/testing/selftests
compare=$TOP/scripts/rig/compare-verdicts.py
mkdir -p "$out"

# What the scripts of the selftests call, beside what every guest has.
programs='awk basename cat chmod cmp comm conntrack cp cut date dd diff dirname
	expr find grep head id ip6tables iptables ipvsadm jq kill ln ls
	md5sum mkdir mkfifo mktemp mount mv nc nft nproc nsenter od paste pgrep
	pidof ping pkill printf ps readlink realpath rm sed seq setsid sha256sum
	sleep socat sort stat sysctl tail taskset tcpdump tee timeout
	touch tr true truncate umount uname uniq unshare wc which xargs'
# What iptables, and a thread that is cancelled, load by name.
libraries=/usr/lib/x86_64-linux-gnu

# words KIND: the rest of the list's lines that begin so.
words()
{
	sed -n "s/^$1 //p" "$tests"
}

# built DIRECTORY NAME...: these programs, or all, and the scripts beside them.
built()
{
	from=$selftests/$1 to=$out/tests/$1
	shift
	mkdir -p "$to"
	# tls.c of Linux 6.12.117 has tests that came without the helper they
	# call with an argument more.
	make -s -j"$(nproc)" -C "$from" OUTPUT="$to" \
		KHDR_INCLUDES="-isystem $out/headers/usr/include" \
		USERCFLAGS="-w -D'tls_crypto_info_init(v, c, t, ...)=\
tls_crypto_info_init(v, c, t)'" ${1:+$(printf "$to/%s " "$@")} &&
	find "$from" -maxdepth 1 -name '*.sh' -exec cp -t "$to" {} +
}

build()
{
	say "building the kernel's selftests in $out"
	{
		# Two organisations may be run at the same time.
		flock 9 &&
		make -s -C "$LINUX" O="$out/headers" headers &&
		words build | while read -r directory names; do
			# shellcheck disable=SC2086 # a list of names
			built "$directory" $names || exit
		done &&
		# It sends 32 GB, and forgets what it has to say when it is killed.
		sed 's/1ULL << 35/1ULL << 26/; s/pthread_exit(0)/fflush(stdout); &/' \
			"$selftests/net/tcp_mmap.c" |
			gcc -O2 -w -isystem "$out/headers/usr/include" -xc - \
				-o "$out/tests/net/tcp_mmap" -lpthread -lcrypto &&
		cp "$TOP/tools/testing/conformance/tcp_mmap.sh" "$out/tests/net" &&
		# nf_nat_edemux.sh of Linux 6.12.117 calls what it does not source.
		echo "source \"\$net_netfilter_dir/../net_helper.sh\"" \
			>>"$out/tests/net/netfilter/lib.sh"
	} >"$out/build.log" 2>&1 9>"$out/lock"
}

# wanted CLOCK: the lines of the guest's list.
wanted()
{
	words "run $1" | while read -r seconds program arguments; do
		[ -z "${TESTS:-}" ] || case " $TESTS " in
		*" $program "*) ;;
		*) continue ;;
		esac
		echo "$((seconds * times)) $program $arguments"
	done
}

# boot CLOCK LOG: run the tests that want this clock.
boot()
{
	clock=$1 said=$2 asked=$2.list
	wanted "$clock" >"$asked"
	# What has to be there is not left to the guest.
	sed -E 's/[0-9]+ ([^ ]+).*/rig: wanted \1/' "$asked" >"$said"
	[ -s "$asked" ] || return 0
	say "$title, $clock clock: $(wc -l <"$asked") tests"
	set -- --org "$org" --variant "$VARIANT" --append "$APPEND" --timeout 7200 \
		--copy "$out/tests:/conformance" \
		--copy "$asked:/conformance/list" \
		--copy "$libraries/xtables:$libraries/xtables" \
		--copy "$libraries/libgcc_s.so.1:$libraries/libgcc_s.so.1"
	for program in $programs; do
		path=$(which "$program") ||
			die "$program is missing on this host; CONNP_FULL=1" \
			    "scripts/packages.sh installs what is needed"
		set -- "$@" --copy "$path:/bin/$program"
	done
	# The guest's kernel has no modules.
	set -- "$@" --copy "$(which true):/bin/modprobe" \
		--copy "$(which ping):/bin/ping6"
	output=
	[ "$clock" != virtual ] || {
		set -- "$@" --virtual-time
		output=/tmp/output
	}
	status=0
	"$TOP/scripts/guest-run.py" "$@" -- \
		"$TOP/scripts/rig/guest-conformance.sh" /conformance/list $output \
		>>"$said" 2>"$said.stderr" || status=$?
	printf '\nrig: guest %d\n' "$status" >>"$said"
	[ "$status" = 0 ] || sed 's/^/# /' "$said.stderr"
}

# run LOG
run()
{
	boot real "$1.real"
	boot virtual "$1.virtual"
	cat "$1.real" "$1.virtual" >"$1"
}

[ -n "$(wanted real)$(wanted virtual)" ] ||
	die "TESTS=$TESTS: $tests has none of these"
build || die "building the selftests failed; see $out/build.log"
if [ -n "$list" ]; then
	set --
	n=1
	while [ $n -le "${RUNS:-2}" ]; do
		run "$log-list-$n.log"
		set -- "$@" "$log-list-$n.log"
		n=$((n + 1))
	done
	"$compare" --list "$verdicts" "$@"
else
	run "$log.log"
	"$compare" "$title" "$verdicts" "$differences" "$log.log"
fi
