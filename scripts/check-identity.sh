#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# check-identity.sh - prove that MsgP is stock Linux: every object of
# build/msgp whose compilation read a file the series touches is compiled
# again from the unpatched source, and must come out the same.
#
# "Again" is literal: with the command kbuild recorded, in which only the
# source tree is replaced.  "The same" is: contents and relocations of every
# section of the linked kernel, .text, .rodata and .data among them.
#
# Lines added to a file move the ones below, and __LINE__ carries that into
# __bug_table, and into .text where a message prints it.  So the lines of the
# unpatched files are first given their patched numbers with #line.
#
# Needs build/msgp (kernel.sh).  Prints a line per object, ends with a count,
# and shows the first differences of an object that differs.
set -eu
. "$(dirname "$0")/lib.sh"

msgp=$(org_builddir msgp)
work=$BUILD/identity
base=$work/linux
# Not as kernel_make has it: kbuild's option is to cut off the name of this tree,
# and options of that kind are not among what ccache tells objects apart by.
export CCACHE_NOHASHDIR=1 CCACHE_NOCPP2=1

# An object as text.  The assembler has turned references to local symbols
# into section and offset, so compiler-made names do not matter.
contents()
{
	objcopy --strip-debug -R .comment -R '.discard*' -R '.rela.discard*' \
		"$1" "$2.stripped"
	objdump -s -r -w "$2.stripped" | sed 1,3d >"$2.contents"
}

compare_one()
{
	object=$1
	mkdir -p "$(dirname "$object")"
	if ! sh -c "$(recorded_command "$msgp" "$object" "$base")" \
	     >"$object.log" 2>&1; then
		echo "not ok - $object cannot be compiled from the base:"
		sed 's/^/# /' "$object.log"
		return 1
	fi
	contents "$object" "$object.base"
	contents "$msgp/$object" "$object.msgp"
	if cmp -s "$object.base.contents" "$object.msgp.contents"; then
		size=$(size -A "$object.base.stripped" |
		       awk '/^Total/ { print $2 }')
		echo "ok - $object: $size bytes in" \
		     "$(grep -c '^Contents' "$object.base.contents") sections," \
		     "$(grep -c ' R_X86_64_' "$object.base.contents")" \
		     "relocations equal"
		return 0
	fi
	echo "not ok - $object differs from the unpatched tree's; the first" \
	     "differences (base -, msgp +):"
	for side in base msgp; do
		objdump -dr --no-show-raw-insn "$object.$side.stripped" |
			sed 1,3d >"$object.$side.code"
	done
	for kind in code contents; do
		diff -F '^[0-9a-f]* <.*>:$' -F '^Contents' -U 2 \
			"$object.base.$kind" "$object.msgp.$kind" |
			sed 's/^/# /' | head -n 24
	done
	return 1
}

# Give each line of a touched file the number it has in the patched file.
# The directive waits for a line that continues no macro and no comment.
renumber()
{
	git -C "$LINUX" diff -U0 base -- "$1" | awk '
	FNR == NR {
		if ($1 != "@@")
			next
		split(substr($2, 2) ",1", old, ",")
		split(substr($3, 2) ",1", new, ",")
		first = old[1] + (old[2] ? old[2] : 1)
		shift_from[first] = new[1] + (new[2] ? new[2] : 1) - first
		next
	}
	FNR in shift_from { shift = shift_from[FNR]; due = 1 }
	due && !inside { print "#line " FNR + shift; due = 0 }
	{
		print
		text = $0
		if (comment && !sub(/^.*\*\//, "", text))
			text = ""
		else
			comment = 0
		gsub(/\/\*([^*]|\*+[^*\/])*\*+\//, "", text)
		if (text ~ /\/\*/)
			comment = 1
		inside = comment || /\\$/
	}' - "$base/$1" >"$work/renumbered"
	mv "$work/renumbered" "$base/$1"
}

# Of what the kernel is linked from, what was compiled with a touched file.
touched_objects()
{
	sed "s|^|/linux/|" "$work/touched" >"$work/patterns"
	find net kernel lib mm fs drivers arch init -name '.*.o.cmd' \
		-exec grep -lF -f "$work/patterns" {} + |
		sed 's|/\.\([^/]*\)\.cmd$|/\1|' | sort | comm -12 - "$work/linked"
}

# Objects of the files that the repository adds.
own_objects()
{
	sed -n 's|^/\(.*\)\.[cS]$|\1.o|p' "$LINUX/.git/info/exclude" | sort |
		comm -12 - "$work/linked"
}

if [ "${1:-}" = --one ]; then
	compare_one "$2"
	exit
fi

[ -f "$msgp/vmlinux" ] || die "no $msgp; run 'make kernel ORG=msgp' first"

# Here the recorded commands find what they name relative to $msgp.
rm -rf "$work"
mkdir -p "$work/arch/x86"
ln -s "$msgp/include" "$msgp/tools" "$msgp/scripts" "$work"
ln -s "$msgp/arch/x86/include" "$work/arch/x86"

cd "$msgp"
ar t vmlinux.a | sort >"$work/linked"
git -C "$LINUX" diff --name-only base >"$work/series"
grep '\.[chS]$' "$work/series" >"$work/touched" ||
	die "the series touches no C file, so nothing can be compared"
touched_objects >"$work/objects"
count=$(wc -l <"$work/objects")
[ "$count" -gt 0 ] || die "no object of $msgp reads a file of the series," \
	"so nothing can be compared"
[ -z "$(own_objects)" ] ||
	die "MsgP has objects of ours linked in: $(own_objects)"

say "comparing $count objects that read the $(wc -l <"$work/touched")" \
    "C files of the series"
sed 's|\([^/]*\)$|.\1.cmd|' "$work/objects" | export_base "$base"
cd "$work"
while read -r file; do
	[ ! -f "$base/$file" ] || renumber "$file"
done <touched
xargs -n 1 -P "$(nproc)" "$TOP/scripts/check-identity.sh" --one <objects |
	tee result
same=$(grep -c '^ok' result) || true
say "$same of $count objects equal the unpatched tree's"
[ "$same" = "$count" ]
