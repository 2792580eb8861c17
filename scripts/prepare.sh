#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# prepare.sh - make build/linux: the upstream source as one commit (tag
# "base"), patches/series on top as branch "connp", and a symlink for every
# kernel file that lives in this repository.
#
#   KERNEL_SRC=FILE|DIR scripts/prepare.sh
#
# KERNEL_SRC is a Linux 6.12 tarball or tree; by default it is what was used
# last time, and at first the one in Debian's package linux-source-6.12.
#
# Running it again does only what changed since, and touches only files whose
# content changes, because the kernel's make rebuilds by time stamp.  Work in
# build/linux that refresh.sh has not written to patches/ is never discarded.
set -eu
. "$(dirname "$0")/lib.sh"

debian_source=/usr/src/linux-source-6.12.tar.xz
scratch=$BUILD/linux.apply

lgit() { git -C "$LINUX" "$@"; }

# What the source was, to notice a newer package or another KERNEL_SRC.
source_id()
{
	printf '%s\n' "$1"
	if [ -d "$1" ]; then
		git -C "$1" rev-parse HEAD 2>/dev/null || true
	else
		stat -c '%s %Y' "$1"
	fi
}

# The files are given the present time: an object built from an earlier tree
# must not look newer than its source.
unpack_into()
{
	if [ -f "$src" ]; then
		tar -xmf "$src" --strip-components=1 -C "$1"
	elif git -C "$src" rev-parse -q --verify HEAD >/dev/null 2>&1; then
		git -C "$src" archive HEAD | tar -xm -C "$1"
	else
		tar -c -C "$src" . | tar -xm -C "$1"
	fi
}

make_base()
{
	new=$LINUX.new
	rm -rf "$new"
	mkdir -p "$new"
	say "unpacking $src"
	unpack_into "$new" || die "cannot unpack $src; is it complete?"
	version=$(sed -n 's/^\(VERSION\|PATCHLEVEL\) = //p' "$new/Makefile" \
		  2>/dev/null | paste -sd .)
	if [ "$version" != 6.12 ]; then
		rm -rf "$new"
		die "$src holds Linux ${version:-of no known version}, but the" \
		    "series is for 6.12; set KERNEL_SRC to a 6.12 source"
	fi
	say "committing it as the base of $LINUX"
	git -C "$new" init -q -b connp
	git -C "$new" config gc.auto 0
	git -C "$new" config user.name 'ConnP Linux'
	git -C "$new" config user.email 'connp@localhost'
	# Below the threshold git writes a file an object; above, one pack.
	git -C "$new" -c core.bigFileThreshold=1 -c core.compression=1 add -Af .
	GIT_AUTHOR_DATE=$EPOCH GIT_COMMITTER_DATE=$EPOCH git -C "$new" \
		commit -q -m "Linux $(make -s -C "$new" kernelversion)"
	git -C "$new" tag base
	git -C "$new" tag -f series >/dev/null
	source_id "$src" >"$new/.git/connp-source"
	if [ -e "$LINUX" ]; then
		rm -rf "$LINUX.old"
		mv "$LINUX" "$LINUX.old"
	fi
	mv "$new" "$LINUX"
	rm -rf "$LINUX.old"
}

# Stop rather than lose work that exists only in build/linux.
refuse_if_unsaved()
{
	[ -z "$(lgit status --porcelain | head -n 1)" ] ||
		die "$1 changed, but $LINUX has uncommitted changes:" \
		    "commit them there, or throw them away with" \
		    "'git checkout .', and run this again"
	saved=$(lgit rev-parse 'series^{}')
	[ "$(lgit rev-parse HEAD)" = "$saved" ] ||
		die "$1 changed, but $LINUX has commits that are not in patches/.
To put them on top of what changed:
  cd $LINUX && git branch mine && git reset --hard series
  make -C $TOP prepare
  git cherry-pick $saved..mine
  make -C $TOP refresh
To throw them away: git -C $LINUX reset --hard series"
}

# $1: the patch that failed, $2: what git said, $3: the patches from it on
explain_failure()
{
	sed 's/^/  /' "$2" >&2
	file=$(sed -n 's/^error: \(patch failed: \)\{0,1\}\([^:]*\):.*/\2/p' \
	       "$2" | head -n 1)
	good=$(git -C "$scratch" rev-parse HEAD)
	die "patches/$1 does not apply to ${file:-the tree}; $LINUX is as before.
To mend it:
  cd $LINUX && git checkout -B connp $good
  git am --reject $3
  (edit the files until no *.rej is left)
  git add -u && git am --continue
  FORCE=1 make -C $TOP refresh"
}

# Apply the series in a worktree that holds only the files it names, then
# let build/linux check out the difference.
apply_series()
{
	names=$(sed 's/#.*//' "$TOP/patches/series" 2>/dev/null) || names=
	for name in $names; do
		[ -f "$TOP/patches/$name" ] ||
			die "patches/series names $name, but patches/ has no" \
			    "such file; restore it or take it off the list"
	done
	rm -rf "$scratch"
	lgit worktree prune
	lgit worktree add -q --no-checkout --detach "$scratch" base
	for name in $names; do
		sed -n 's|^diff --git a/.* b/|/|p' "$TOP/patches/$name"
	done | sort -u |
		git -C "$scratch" sparse-checkout set --no-cone --stdin
	git -C "$scratch" checkout -q
	set --
	for name in $names; do
		set -- "$@" "$TOP/patches/$name"
	done
	for name in $names; do
		git -C "$scratch" am -q --committer-date-is-author-date \
			"$1" >"$BUILD/apply.log" 2>&1 ||
			explain_failure "$name" "$BUILD/apply.log" "$*"
		shift
	done
	tip=$(git -C "$scratch" rev-parse HEAD)
	lgit worktree remove --force "$scratch"
	rm -f "$BUILD/apply.log"
	lgit checkout -q -B connp "$tip"
	lgit tag -f series >/dev/null
	series_id >"$LINUX/.git/connp-series"
	say "applied $(lgit rev-list --count base..connp) patches"
}

# .git/info/exclude is also the record of the links made.
link_files()
{
	list=$LINUX/.git/info/exclude
	wanted=$(cd "$TOP" && find net include kernel Documentation tools \
		 Kconfig.connp -type f ! -name '*.o' ! -name '*.pyc' \
		 ! -name '.*' 2>/dev/null | sort) || true
	for file in $wanted; do
		link=$LINUX/$file
		[ -L "$link" ] && [ -e "$link" ] && continue
		[ ! -e "$link" ] ||
			die "$file exists upstream too; a change to it belongs" \
			    "into patches/, not into the repository's own tree"
		mkdir -p "$(dirname "$link")"
		ln -srfn "$TOP/$file" "$link"
	done
	sed -n 's|^/||p' "$list" | while read -r file; do
		[ -L "$LINUX/$file" ] && [ ! -e "$LINUX/$file" ] &&
			rm "$LINUX/$file"
	done || true
	for file in $wanted; do
		printf '/%s\n' "$file"
	done >"$list.new"
	if cmp -s "$list" "$list.new"; then
		rm "$list.new"
	else
		mv "$list.new" "$list"
	fi
}

mkdir -p "$BUILD"
exec 9>"$BUILD/prepare.lock"
flock 9

src=${KERNEL_SRC:-}
[ -n "$src" ] && [ ! -e "$src" ] &&
	die "KERNEL_SRC=$src does not exist; give a Linux 6.12 tarball or tree"
if [ -z "$src" ] && [ -f "$LINUX/.git/connp-source" ]; then
	src=$(head -n 1 "$LINUX/.git/connp-source")
fi
src=$(realpath -m "${src:-$debian_source}")

if [ ! -d "$LINUX" ]; then
	[ -e "$src" ] ||
		die "no $src; run 'make packages' (Debian's linux-source-6.12)" \
		    "or set KERNEL_SRC to a Linux 6.12 tarball or tree"
	make_base
elif [ -e "$src" ] &&
     [ "$(source_id "$src")" != "$(cat "$LINUX/.git/connp-source")" ]; then
	refuse_if_unsaved "the kernel source $src"
	make_base
fi
if [ "$(series_id)" != "$(cat "$LINUX/.git/connp-series" 2>/dev/null)" ]; then
	if [ -f "$LINUX/.git/connp-series" ]; then
		refuse_if_unsaved "patches/series"
	fi
	apply_series
fi
link_files
