#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# readme-results.sh - put the tables of the committed results into README.md, so
# that no figure in it is typed in by hand, and make the page that goes with them.
#
#   scripts/readme-results.sh [--check]
#
# These are results/paper/committed.jsonl, a copy of what `make paper` wrote there;
# or, without such a file, results/committed.json, a copy of a results/latest.json
# of `make compare`. With --check nothing is written, and a README or a page that
# differs is an error.
set -eu
. "$(dirname "$0")/lib.sh"

readme=$TOP/README.md
paper=results/paper/committed.jsonl
results=results/committed.json

cd "$TOP"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

if [ -f "$paper" ]; then
	scripts/paper.py --markdown "$paper" >"$work/table"
	scripts/paper.py --page "$paper" --output "$work/page"
elif [ -f "$results" ]; then
	scripts/compare.py --table "$results" --markdown >"$work/table"
	mkdir "$work/page"
else
	die "no $paper and no $results; run 'make paper' or 'make compare'" \
		"and copy there what it wrote"
fi
awk -v table="$work/table" '
	/^<!-- end of results -->/ {
		print ""
		while ((getline line < table) > 0)
			print line
		print ""
		skip = 0
	}
	!skip { print }
	/^<!-- results:/ { skip = 1 }
' "$readme" >"$work/README.md"

if [ "${1:-}" = --check ]; then
	diff -u "$readme" "$work/README.md" >&2 ||
		die "README.md is not what the results say; run scripts/readme-results.sh"
	for file in "$work"/page/*; do
		[ -e "$file" ] || continue
		cmp "$file" "results/paper/${file##*/}" >&2 ||
			die "results/paper/${file##*/} is not what $paper says;" \
				"run scripts/readme-results.sh"
	done
else
	cp "$work/README.md" "$readme"
	[ ! -f "$paper" ] || cp "$work"/page/* results/paper
fi
