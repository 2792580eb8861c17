#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# readme-results.sh - put the table of the committed comparison into README.md,
# so that no figure in it is typed in by hand.
#
#   scripts/readme-results.sh [--check]
#
# The comparison is results/committed.json, a copy of a results/latest.json.
# With --check nothing is written, and a README that differs is an error.
set -eu
. "$(dirname "$0")/lib.sh"

readme=$TOP/README.md
results=results/committed.json

cd "$TOP"
[ -f "$results" ] ||
	die "no $results; run 'make compare' and copy results/latest.json there"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

scripts/compare.py --table "$results" --markdown >"$work/table"
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
		die "README.md is not what $results says; run scripts/readme-results.sh"
else
	cp "$work/README.md" "$readme"
fi
