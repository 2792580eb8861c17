# SPDX-License-Identifier: GPL-2.0
#
# Every command of the project; each target is a script of its own, which
# opens by saying what it does.  "make help" lists them.

export ORG ?=
export DEBUG ?=
export VARIANT ?=
BUILD ?= $(CURDIR)/build
export BUILD

ORGANISATIONS := $(shell sed '/^\#/d; s/ .*//' configs/organisations)
ORGS ?= $(ORGANISATIONS)

.DEFAULT_GOAL := compare
.PHONY: help compare test test-full soak paper profile vm iperf3 packages prepare refresh kernel kernels \
	tools check-style check-identity clean

help:
	@echo 'make                 = make compare'
	@echo 'make compare         build every organisation, boot and load each, print the tables'
	@echo '    CONNS="6 192" DURATION=10 ROUNDS=3 TSO=off (more: scripts/compare.py --help)'
	@echo '    ORGS="$(ORGANISATIONS)"'
	@echo '    GROUPS=128       connection groups of connp-l; for vm and iperf3, too'
	@echo '    TGROUPS=...      those of connp-t, a thread each (default: as many as CPUs,'
	@echo '                     or the next power of two)'
	@echo 'make paper           all figures and tables of the paper, on one page (a night)'
	@echo '    QUICK=1          a first look, in under 20 minutes'
	@echo '    HOURS=2          the largest plan that fits (more: scripts/paper.py --help)'
	@echo '    HOST=server      not in guests, but on this machine, over ssh, with the kernel'
	@echo '    CLIENTS="a b"    that it has booted; these are behind its NICs'
	@echo 'make test            checks and tests, in short; what CI runs'
	@echo '    MINUTES=57       leave out kselftests that would end later, and say so'
	@echo '                     (nothing: no limit)'
	@echo 'make test-full       all of them at full length, on more kernels (hours)'
	@echo 'make soak            connp-l and connp-t that check themselves, under load, with'
	@echo '    SOAK=20          all going wrong at once: so many minutes each'
	@echo '    ORG=...          only this one'
	@echo 'make vm ORG=...      a shell in the guest, with the same NICs'
	@echo 'make iperf3 ORG=...  the same rig driven by iperf3, as an independent check'
	@echo 'make profile ORG=... instructions and modelled cache misses by part of the kernel'
	@echo '    CONNS="6 192" CACHE=opteron275 (more: scripts/profile.py --help)'
	@echo
	@echo 'make packages        install missing Debian packages'
	@echo 'make prepare         unpack the kernel source and apply patches/ in build/linux'
	@echo '    KERNEL_SRC=...   a Linux 6.12 tarball or tree instead of the Debian package'
	@echo 'make refresh         write the commits of build/linux back to patches/'
	@echo 'make kernel ORG=...  build one kernel: $(ORGANISATIONS)'
	@echo '    VARIANT=debug    with lockdep, KASAN and their like; full: with what all'
	@echo '                     tests need; fulldebug: both; kcsan: with KCSAN;'
	@echo '                     profile: debug info; lockstat: counts contention of locks'
	@echo '    DEBUG_INFO=1     the same code, with line numbers where it faults'
	@echo 'make kernels         all of them'
	@echo 'make tools           build the benchmark and the profiler'
	@echo 'make check-identity  MsgP objects against the unpatched tree'
	@echo 'make check-style     checkpatch, sparse, W=1, kernel-doc, shellcheck, mypy, licences'
	@echo 'make clean           remove all of build/ but build/linux'

packages:
	@scripts/packages.sh

prepare: packages
	@scripts/prepare.sh

refresh:
	@scripts/refresh.sh

kernel: prepare
	@scripts/kernel.sh

kernels: prepare
	@for org in $(ORGS); do ORG=$$org DEBUG= VARIANT= scripts/kernel.sh || exit; done

tools: packages
	@$(MAKE) -s -C tools/net/ptcpbench O=$(BUILD)/tools
	@$(MAKE) -s -C tools/tcgprof

compare: kernels tools
	@scripts/compare.py

# With the kernels that the plan asks for; a host has one.
paper: $(if $(HOST),,prepare) tools
	@kernels=$$(scripts/paper.py --kernels) || exit; \
	[ -z "$$kernels" ] || echo "$$kernels" | while read -r org variant; do \
		ORG=$$org DEBUG= VARIANT=$$variant scripts/kernel.sh || exit; done
	@scripts/paper.py

# As the scripts have it.
vm iperf3 profile: ORG := $(or $(ORG),connp-l)

vm: kernel tools
	@scripts/vm.py

iperf3: kernel tools
	@scripts/iperf3.py

# The kernel that is measured, and one that tells where its code is from.
profile: prepare tools
	@for variant in '' profile; do DEBUG= VARIANT=$$variant scripts/kernel.sh || exit; done
	@VARIANT= scripts/profile.py

test: packages prepare
	@scripts/test.sh

test-full: export CONNP_FULL := 1
test-full: packages prepare
	@scripts/test.sh

soak: packages prepare tools
	@scripts/test.sh soak

check-style: prepare
	@for org in connp-l connp-t; do \
		ORG=$$org DEBUG= VARIANT= scripts/kernel.sh || exit; done
	@scripts/check-style.sh

check-identity: prepare
	@ORG=msgp DEBUG= VARIANT= scripts/kernel.sh
	@scripts/check-identity.sh

# build/linux may hold work that is nowhere else.
clean:
	[ ! -d '$(BUILD)' ] || find '$(BUILD)' -mindepth 1 -maxdepth 1 ! -name linux \
		-exec rm -rf {} +
