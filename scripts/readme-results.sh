#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# readme-results.sh - put the tables of the committed results into README.md and
# Documentation/networking/tcp_connp_evaluation.rst, so that no figure in them is
# typed in by hand, and make the page that goes with them.
#
#   scripts/readme-results.sh [--check]
#
# These are results/paper/committed.jsonl, a copy of what `make paper` wrote there;
# or, without such a file, results/committed.json, a copy of a results/latest.json
# of `make compare`, for README alone. With --check nothing is written, and a
# document or a page that differs is an error.
set -eu
. "$(dirname "$0")/lib.sh"

documents=README.md
paper=results/paper/committed.jsonl
results=results/committed.json

cd "$TOP"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

mkdir "$work/page"
if [ -f "$paper" ]; then
	documents="$documents Documentation/networking/tcp_connp_evaluation.rst"
	scripts/paper.py --markdown "$paper" >"$work/README.md.table"
	scripts/paper.py --rst "$paper" >"$work/tcp_connp_evaluation.rst.table"
	scripts/paper.py --page "$paper" --output "$work/page"
elif [ -f "$results" ]; then
	scripts/compare.py --table "$results" --markdown \
		>"$work/README.md.table"
else
	die "no $paper and no $results; run 'make paper' or 'make compare'" \
		"and copy there what it wrote"
fi
for document in $documents; do
	name=${document##*/}
	# Between two comments, of Markdown or of reStructuredText.
	awk -v table="$work/$name.table" '
		/^(<!--|\.\.) end of results/ {
			print ""
			while ((getline line < table) > 0)
				print line
			print ""
			skip = 0
		}
		!skip { print }
		/^(<!--|\.\.) results:/ { skip = 1 }
	' "$document" >"$work/$name"
done

if [ "${1:-}" = --check ]; then
	for document in $documents; do
		diff -u "$document" "$work/${document##*/}" >&2 ||
			die "$document is not what the results say;" \
				"run scripts/readme-results.sh"
	done
	for file in "$work"/page/*; do
		[ -e "$file" ] || continue
		cmp "$file" "results/paper/${file##*/}" >&2 ||
			die "results/paper/${file##*/} is not what $paper says;" \
				"run scripts/readme-results.sh"
	done
else
	for document in $documents; do
		cp "$work/${document##*/}" "$document"
	done
	[ ! -f "$paper" ] || cp "$work"/page/* results/paper
fi
