#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# check-style.sh - what can be said about our files without running them:
# licence lines, checkpatch, W=1, sparse, kernel-doc, shellcheck, mypy.
#
# Prints a TAP line per check, with the details of those that fail.  The
# kernel's checks use the configurations of build/connp-l and build/connp-t
# (kernel.sh), one after the other, in an object directory of their own, because
# W=1 changes every command.
#
# shellcheck disable=SC2317 # check() calls the functions
set -eu
. "$(dirname "$0")/lib.sh"

orgs='connp-l connp-t'
style=$BUILD/style
base=$style/base
log=$style/check.log

for org in $orgs; do
	[ -f "$BUILD/$org/vmlinux" ] ||
		die "no $BUILD/$org; run 'make kernel ORG=$org' first"
done
mkdir -p "$style"
cd "$TOP"

our_files()
{
	git ls-files -co --exclude-standard -- "$@" | while read -r file; do
		[ ! -f "$file" ] || echo "$file"
	done
}

# With all scripts, not only those with a name that says so.
our_shell()
{
	our_files | while read -r file; do
		case $(head -n 1 "$file" | tr -d '\0') in
		'#!'*sh) echo "$file" ;;
		*)	case $file in *.sh) echo "$file" ;; esac ;;
		esac
	done
}

kernel_c=$(our_files 'net/*.c' 'kernel/*.c')
kernel_h=$(our_files 'net/*.h' 'kernel/*.h' 'include/*.h')
# KUnit tests, which only debug kernels have.
kernel_tests=$(our_files 'net/*_test.c')
touched_c=$(git -C "$LINUX" diff --name-only base | grep '\.c$')

style_make()
{
	kernel_make "$style" -j"$(nproc)" "$@"
}

# objects ORG FILE...: of these C files, what ORG's kernel is linked from, and
# the tests.
objects()
{
	{
		(cd "$BUILD/$1" && ar t vmlinux.a)
		echo "$kernel_tests" | sed 's/\.c$/.o/'
	} | sort >"$style/linked"
	shift
	printf '%s\n' "$@" | sed 's/\.c$/.o/' | sort | comm -12 - "$style/linked"
}

# check NAME COMMAND...: a TAP line for a command that succeeds silently.
check()
{
	name=$1
	shift
	if "$@" >"$log" 2>&1; then
		echo "ok - $name"
	else
		echo "not ok - $name"
		sed 's/^/# /' "$log" | head -n 100
		failed=1
	fi
}

# The first lines hold the licence.  Data, prose and lists have no comments.
licence()
{
	our_files | grep -Ev '^(COPYING|results/|patches/|README|.*\.json$)' |
		grep -v 'gitignore$' | while read -r file; do
		head -n 3 "$file" |
			grep -q 'SPDX-License-Identifier: GPL-2.0' ||
			echo "$file: no SPDX licence line at the top"
	done >"$style/licence"
	cat "$style/licence"
	[ ! -s "$style/licence" ]
}

# From the kernel tree, where the path of a file decides on some rules.  Its
# history has nothing to look up, and licence() stands in for spdxcheck.py.
checkpatch()
{
	(cd "$LINUX" && GIT_DIR=/nonexistent scripts/checkpatch.pl --strict \
	 --terse --no-summary --show-types --color=never "$@")
}

# checkpatch_files IGNORE FILE...
checkpatch_files()
{
	ignore=$1
	shift
	files=$(our_files "$@" | while read -r file; do
		[ -e "$LINUX/$file" ] || file=$TOP/$file
		echo "$file"
	done)
	# shellcheck disable=SC2086 # a list
	checkpatch --ignore "$ignore" -f $files
}

# New files are not in the series, and the stub of a macro has no use for its
# argument.
checkpatch_patches()
{
	checkpatch --ignore FILE_PATH_CHANGES,MACRO_ARG_UNUSED \
		"$TOP"/patches/*.patch
}

silent_about_us()
{
	! grep -E '(warning|error):' "$1"
}

# A file that no kernel has would go unchecked.
all_compiled()
{
	for file in $kernel_c; do
		compiled=
		for org in $orgs; do
			compiled=$compiled$(objects "$org" "$file")
		done
		[ -n "$compiled" ] || echo "$file: in no kernel of $orgs"
	done >"$style/uncompiled"
	cat "$style/uncompiled"
	[ ! -s "$style/uncompiled" ]
}

extra_warnings()
{
	# shellcheck disable=SC2086 # a list
	style_make W=1 $own_objects >"$style/W1.log" 2>&1 ||
		{ tail -n 40 "$style/W1.log"; return 1; }
	silent_about_us "$style/W1.log"
}

# $1: where the log of V=1 goes.  Checks objects whether compiled or not.
sparse()
{
	out=$1
	shift
	style_make V=1 C=2 "$@" >"$out" 2>"$out.err" ||
		{ tail -n 40 "$out.err"; return 1; }
}

sparse_own()
{
	# shellcheck disable=SC2086 # a list
	sparse "$style/sparse-own" $own_objects || return
	silent_about_us "$style/sparse-own.err"
}

# warnings TREE LOG: without the tree and the line, which the series moves.  An
# imbalance is the function's, wherever the last lock of its paths was inlined.
warnings()
{
	grep -E '(warning|error):' "$2" |
		sed -E "s|$1/||g; s|:[0-9]+:[0-9]+:|:|g
			s|^.*: (warning: context imbalance)|\\1|" | sort
}

# The same sparse commands on the base, to subtract upstream's warnings.
sparse_touched()
{
	rm -rf "$base"
	# shellcheck disable=SC2086 # a list
	sparse "$style/sparse-touched" $touched_objects || return
	for object in $touched_objects; do
		echo "$style/$(dirname "$object")/.$(basename "$object").cmd"
	done | export_base "$base"
	echo "$touched_c" | sed "s|.*| $LINUX/&\$|" >"$style/patterns"
	grep '^ *sparse ' "$style/sparse-touched" | grep -f "$style/patterns" |
		sed "s|$LINUX|$base|g" >"$style/sparse-base.sh"
	[ "$(wc -l <"$style/sparse-base.sh")" = \
	  "$(echo "$touched_objects" | wc -w)" ] ||
		{ echo "not every touched file was checked"; return 1; }
	split -n "r/$(nproc)" "$style/sparse-base.sh" "$base/commands."
	for part in "$base"/commands.*; do
		(cd "$style" && sh "$part") >"$part.err" 2>&1 &
	done
	wait
	cat "$base"/commands.*.err >"$style/sparse-base.err"
	warnings "$base" "$style/sparse-base.err" >"$style/sparse-base.list"
	warnings "$LINUX" "$style/sparse-touched.err" >"$style/sparse-new.list"
	! comm -13 "$style/sparse-base.list" "$style/sparse-new.list" | grep .
}

kernel_doc()
{
	# shellcheck disable=SC2086 # a list
	(cd "$LINUX" && scripts/kernel-doc -none -Wall -Werror \
	 $kernel_c $kernel_h)
}

shell()
{
	# shellcheck disable=SC2046 # a list
	shellcheck -x -P SCRIPTDIR $(our_shell)
}

# Scripts with the packages beside them, which they find by their directory.
python()
{
	status=0
	for dir in $(our_files '*.py' | xargs -n 1 dirname | sort -u); do
		[ ! -f "$dir/__init__.py" ] || continue
		# shellcheck disable=SC2046 # a list
		MYPYPATH=$dir mypy --no-error-summary \
			--cache-dir "$style/mypy" \
			--disallow-untyped-defs --explicit-package-bases \
			$(our_files ":(glob)$dir/*.py" ":(glob)$dir/*/*.py") ||
			status=1
	done
	return "$status"
}

failed=0
check 'licence lines' licence
check 'checkpatch --strict: our kernel files' checkpatch_files NONE \
	'net/*.[ch]' 'kernel/*.[ch]' 'include/linux/*.h' 'include/net/*.h'
# Trace events have a layout of their own, everywhere in the kernel.
check 'checkpatch --strict: our trace events' \
	checkpatch_files PARENTHESIS_ALIGNMENT,OPEN_ENDED_LINE \
	'include/trace/*.h'
# Without the kernel's own types and macros, with libc's (PRIu64, ENOSYS), and
# with messages for people in one piece.  The headers of squeue's shim imitate
# the kernel's, which needs what the rules forbid.
check 'checkpatch --strict: our user-space C files' \
	checkpatch_files "PREFER_KERNEL_TYPES,PREFER_DEFINED_ATTRIBUTE_MACRO,\
BIT_MACRO,CAMELCASE,ENOSYS,VOLATILE,LONG_LINE_STRING" \
	'tools/*.[ch]' 'scripts/*.[ch]' ':!tools/testing/squeue/linux'
check 'checkpatch --strict: patches' checkpatch_patches
check 'kernel-doc: our kernel files' kernel_doc
check 'compiled: our kernel files' all_compiled
for org in $orgs; do
	say "preparing $style for $org"
	cp "$BUILD/$org/.config" "$style/.config"
	"$LINUX/scripts/config" --file "$style/.config" \
		-e KUNIT -e TCP_CONNP_KUNIT_TEST
	style_make olddefconfig prepare >"$log" 2>&1 ||
		{ tail "$log" >&2; die "make prepare failed"; }
	# shellcheck disable=SC2086 # lists
	own_objects=$(objects "$org" $kernel_c)
	# shellcheck disable=SC2086
	touched_objects=$(objects "$org" $touched_c)
	check "gcc W=1, $org: our kernel files" extra_warnings
	check "sparse, $org: our kernel files" sparse_own
	check "sparse, $org: nothing new in the files the series touches" \
		sparse_touched
done
check 'shellcheck: our scripts' shell
check 'mypy: our Python' python
exit $failed
