#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# refresh.sh - the way back: write the commits of build/linux since "base" to
# patches/ as a git-am series, replacing what is there.
#
# The output depends only on the commits, so that an unchanged commit leaves
# its patch unchanged.  FORCE=1 overwrites patches that were changed by hand
# or by git since prepare.sh applied them.
set -eu
. "$(dirname "$0")/lib.sh"

[ -d "$LINUX" ] || die "no $LINUX; run 'make prepare' first"
exec 9>"$BUILD/prepare.lock"
flock 9

[ -z "$(git -C "$LINUX" status --porcelain | head -n 1)" ] ||
	die "$LINUX has uncommitted changes, which a patch cannot hold;" \
	    "commit them there (or drop them with 'git checkout .') and try again"
[ -z "$(git -C "$LINUX" rev-list --merges -n 1 base..HEAD)" ] ||
	die "$LINUX has merge commits since base, and a series is linear;" \
	    "rebase them with 'git rebase base' there and try again"

applied=$(cat "$LINUX/.git/connp-series" 2>/dev/null) || applied=
[ "$applied" = "$(series_id)" ] || [ "${FORCE:-}" = 1 ] ||
	die "patches/ changed since 'make prepare' applied it; apply the change" \
	    "with 'make prepare', or overwrite it with 'FORCE=1 make refresh'"

# Written beside patches/ and moved over it, so that an interrupted run
# leaves the old series whole.
new=$TOP/patches.new
rm -rf "$new"
mkdir "$new"
git -C "$LINUX" -c core.abbrev=12 -c diff.algorithm=myers \
	-c diff.noprefix=false -c format.subjectPrefix=PATCH \
	format-patch -q -N --zero-commit --no-signature --no-stat \
	--no-renames --subject-prefix=PATCH -o "$new" base..HEAD
(cd "$new" && find . -name '*.patch' | sed 's|^\./||' | sort) >"$new/series"
mkdir -p "$TOP/patches"
find "$TOP/patches" -maxdepth 1 -name '[0-9]*.patch' -exec rm {} +
mv "$new"/* "$TOP/patches/"
rmdir "$new"

git -C "$LINUX" tag -f series >/dev/null
series_id >"$LINUX/.git/connp-series"
say "$(wc -l <"$TOP/patches/series") patches in $TOP/patches"
