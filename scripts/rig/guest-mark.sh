#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# guest-mark.sh NAME - /bin/rig-mark in the guest: a moment on both clocks, the
# guest's before and after and, in between, the host's as the time of a file in
# the share. clock.py reads it. A name serves once.
set -eu

mark=${SHARE:-/share}/mark-$1
read -r before _ </proc/uptime
: >"$mark"
read -r after _ </proc/uptime
echo "$before $after" >"$mark.tmp"
mv "$mark.tmp" "$mark.guest"
