# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh
#
# lib.sh - what every script here shares: where things are, how to say
# something to the user, and how to stop with a reason.
#
# Sourced, never run:  . "$(dirname "$0")/lib.sh"

# The same order and the same messages everywhere.
export LC_ALL=C

# The options and variables of our Makefile are not meant for the kernel's.
unset MAKEFLAGS MFLAGS MAKELEVEL

TOP=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
BUILD=${BUILD:-$TOP/build}
LINUX=$BUILD/linux

# By name: configs/ORG.config, build/ORG, and what ORG= may be.
ORGANISATIONS=$(sed '/^#/d; s/ .*//' "$TOP/configs/organisations" |
		paste -s -d ' ')

# Progress goes to stderr so that a script's stdout stays its result.
say()
{
	printf '%s\n' "== $*" >&2
}

die()
{
	printf '%s: %s\n' "$(basename -- "$0")" "$*" >&2
	exit 1
}

# Kernels beside the one that is measured.  DEBUG=1 is short for VARIANT=debug.
VARIANTS=$(sed '/^#/d; s/ .*//' "$TOP/configs/variants" | paste -s -d ' ')
VARIANT=${VARIANT:-${DEBUG:+debug}}
case " $VARIANTS " in
*" ${VARIANT:-debug} "*) ;;
*) echo "VARIANT=$VARIANT is none; leave it out, or use one of: $VARIANTS" >&2
   exit 1 ;;
esac

# org_builddir ORG [VARIANT]: the O= directory of one organisation's kernel.
org_builddir()
{
	case " $ORGANISATIONS " in
	*" $1 "*) ;;
	*) die "ORG=$1 is not an organisation; use one of: $ORGANISATIONS" ;;
	esac
	printf '%s\n' "$BUILD/$1${2:+-$2}"
}

# One date for the base commit and the kernels' build stamp, so that the same
# source gives the same bits: the release of Linux 6.12.
EPOCH='2024-11-17T22:15:08Z'

# Identifies the content of patches/ as prepare.sh applied it.
series_id()
{
	(cd "$TOP/patches" 2>/dev/null && sed 's/#.*//' series | xargs -r cat \
	 series) 2>/dev/null | sha256sum
}

# kernel_make OUT ARG...: make in the kernel's tree, with objects in OUT.  The same
# source gives the same objects, which ccache, if it is there, knows again
# whatever directory this clone is in: it takes the names of the kernel's
# directories relative to where the compiler runs, build/ORG; and for __FILE__ the
# compiler cuts off what kbuild doesn't, as it cuts off only what isn't relative.
# What ccache does not know is compiled as it has preprocessed it (CCACHE_NOCPP2), not
# preprocessed twice; but for the build's own tools, some of which turn the warnings
# into errors that gcc gives for what macros were.
# An empty LOCALVERSION keeps scripts/setlocalversion from adding "+".
kernel_make()
{
	objects_in=$1
	shift
	cc=gcc hostcc=gcc
	if command -v ccache >/dev/null; then
		cc='ccache gcc' hostcc='env -u CCACHE_NOCPP2 ccache gcc'
		export CCACHE_NOHASHDIR=1 CCACHE_BASEDIR="$BUILD" CCACHE_NOCPP2=1
	fi
	make -C "$LINUX" --no-print-directory O="$objects_in" \
		CC="$cc" HOSTCC="$hostcc" LOCALVERSION= \
		KCFLAGS=-fmacro-prefix-map=../linux/= \
		KBUILD_BUILD_TIMESTAMP="$EPOCH" KBUILD_BUILD_VERSION=1 \
		KBUILD_BUILD_USER=connp KBUILD_BUILD_HOST=localhost "$@"
}

# build_selftests: what guests find in /selftests.
build_selftests()
{
	make -s -j"$(nproc)" -C "$TOP/tools/testing/selftests/net/tcp_connp" \
		O="$BUILD/selftests" LINUX="$LINUX" >&2
}

# longest KIND: how many seconds the longest run of this kind took that took()
# was told of since test.sh began.
longest()
{
	cat "$BUILD/test/took-$1" 2>/dev/null || echo 0
}

# in_time KIND: would one more run of this kind, going by the longest, end before
# $DEADLINE (seconds of date +%s)? Without one it always would.
in_time()
{
	[ -z "${DEADLINE:-}" ] ||
		[ $(($(date +%s) + $(longest "$1"))) -le "$DEADLINE" ]
}

# took KIND BEGIN: a run of this kind, begun then, has ended.
took()
{
	[ -n "${DEADLINE:-}" ] || return 0
	seconds=$(($(date +%s) - $2))
	[ "$seconds" -le "$(longest "$1")" ] || echo "$seconds" >"$BUILD/test/took-$1"
}

# What the lines of runs that were left out say.
# shellcheck disable=SC2034
NO_TIME='# SKIP it would not have ended within MINUTES'

# recorded_command OBJDIR OBJECT SOURCE: how kbuild compiled OBJECT in OBJDIR,
# with SOURCE in the place of build/linux.  To be run where what the command
# names relative to OBJDIR (include, tools, ...) can be found.
recorded_command()
{
	sed -n '1s/^savedcmd_[^ ]* := //p' \
		"$1/$(dirname "$2")/.$(basename "$2").cmd" |
		sed "s|\$(pound)|#|g; s|\$\$|\$|g; s|$LINUX|$3|g"
}

# export_base DIR: those files of the unpatched source that some compilations
# read in their patched form; stdin names the .cmd files that recorded them.
export_base()
{
	mkdir -p "$1"
	xargs sed -n "s| \.\./linux/| $LINUX/|
		      s|^source_.* $LINUX/||p
		      s|^  $LINUX/\([^ ]*\).*|\1|p" |
		sed ':up; s|[^/]*/\.\./||; t up' | sort -u >"$1/.read"
	GIT_INDEX_FILE=$1/.index git -C "$LINUX" read-tree base
	git -C "$LINUX" ls-tree -r --name-only base | sort |
		comm -12 - "$1/.read" |
		GIT_INDEX_FILE=$1/.index git -C "$LINUX" checkout-index \
			-q --prefix="$1/" --stdin
	rm "$1/.read" "$1/.index"
}
