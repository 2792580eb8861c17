#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# guest-mark.sh NAME - /bin/rig-mark in the guest: a moment on its clock.
#
# Through the kernel log, for a line written there is never torn by another;
# the host stamps the line with its own clock when it arrives. At a level (1)
# that `quiet` on the command line does not hide.
read -r uptime _ </proc/uptime
echo "<1>rig: mark $1 $uptime" >/dev/kmsg
