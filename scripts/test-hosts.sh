#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# test-hosts.sh - make paper HOST=... CLIENTS=..., with hosts that are network
# namespaces of this machine, which its running kernel serves: a server with two
# NICs and a client behind each. Each has an sshd of the test's own on its
# 127.0.0.1, which ssh reaches with a key made for it. TAP on stdout.
#
# sshd is this machine's or, lest one be installed and started here, that of
# Debian's package, unpacked to build/sshd and not installed.
#
# shellcheck disable=SC2317 # the trap and until_there call functions
set -eu
. "$(dirname "$0")/lib.sh"

port=22022
prefix=connp-hosts-$$
work=$(mktemp -d)
sshds=
paper=
count=0
failed=0

leave()
{
	# Which needs the sshds to put back what it changed.
	if [ -n "$paper" ]; then
		kill "$paper" 2>/dev/null || true
		wait "$paper" || true
	fi
	# shellcheck disable=SC2086 # a list
	kill $sshds 2>/dev/null || true
	for host in server client1 client2; do
		ip netns delete "$prefix-$host" 2>/dev/null || true
	done
	rm -rf "$work"
}
trap leave EXIT
trap 'exit 1' INT TERM

# result STATUS NAME: a line of TAP; after a failure, what paper.py said.
result()
{
	count=$((count + 1))
	if [ "$1" = 0 ]; then
		echo "ok $count - $2"
	else
		echo "not ok $count - $2"
		sed 's/^/# /' "$work/said" "$work/left" 2>/dev/null | tail -n 60
		failed=1
	fi
}

# Prints where an sshd is.
find_sshd()
{
	PATH=$PATH:/usr/sbin:/sbin command -v sshd && return
	if ! [ -x "$BUILD/sshd/usr/sbin/sshd" ]; then
		rm -rf "$BUILD/sshd"
		mkdir -p "$BUILD/sshd/packages"
		(cd "$BUILD/sshd/packages" &&
		 { apt-get -q download openssh-server libwrap0 ||
		   { apt-get -q update &&
		     apt-get -q download openssh-server libwrap0; }; }) \
			>&2 || return
		for package in "$BUILD/sshd/packages"/*.deb; do
			dpkg-deb -x "$package" "$BUILD/sshd" || return
		done
	fi
	echo "$BUILD/sshd/usr/sbin/sshd"
}

# on HOST COMMAND...: what a person at its console does.
on()
{
	host=$1
	shift
	ip netns exec "$prefix-$host" "$@"
}

add_host()
{
	ip netns add "$prefix-$1"
	on "$1" ip link set lo up
	ssh-keygen -q -t ed25519 -N '' -f "$work/$1-key"
	echo "$1 $(cat "$work/$1-key.pub")" >>"$work/known"
	cat >"$work/$1-sshd" <<-CONFIG
		ListenAddress 127.0.0.1:$port
		HostKey $work/$1-key
		PidFile none
		AuthorizedKeysFile $work/key.pub
		StrictModes no
		UsePAM no
		PasswordAuthentication no
		SetEnv TMPDIR=$work/hosts
	CONFIG
	cat >>"$work/ssh" <<-CONFIG
		Host $1
		HostKeyAlias $1
		ProxyCommand ip netns exec $prefix-$1 busybox nc 127.0.0.1 $port
	CONFIG
	# Files of this machine that sshd wants otherwise, for it alone: a user
	# for what it does not trust, and root to be no locked account.
	ip netns exec "$prefix-$1" sh -c "mount --bind $work/passwd /etc/passwd &&
		mount --bind $work/shadow /etc/shadow &&
		mount -t tmpfs tmpfs /run && mkdir /run/sshd &&
		exec $sshd -D -e -f $work/$1-sshd" >"$work/$1-log" 2>&1 &
	sshds="$sshds $!"
}

# A cable from the server to client N, of network 10.78.N.0.
connect()
{
	ip -n "$prefix-server" link add "nic$1" mtu 1500 type veth \
		peer name nic netns "$prefix-client$1"
	ip -n "$prefix-server" addr add "10.78.$1.1/24" dev "nic$1"
	ip -n "$prefix-server" link set "nic$1" up
	ip -n "$prefix-client$1" addr add "10.78.$1.2/24" dev nic
	ip -n "$prefix-client$1" link set nic up
}

# settings: all that paper.py may have changed on the hosts.
settings()
{
	for host in server client1 client2; do
		on "$host" sysctl net.core.somaxconn \
			net.ipv4.tcp_max_syn_backlog net.ipv4.tcp_max_tw_buckets
	done
	for nic in 1 2; do
		on server ethtool -k "nic$nic"
	done
}

# nothing_left NAME: neither files, nor processes but the sshds, nor settings,
# soon after paper.py has ended or was killed.
nothing_left()
{
	n=0
	while :; do
		{
			find "$work/hosts" -mindepth 1
			for host in server client1 client2; do
				for pid in $(ip netns pids "$prefix-$host"); do
					case " $sshds " in
					*" $pid "*) ;;
					*) tr '\0' ' ' <"/proc/$pid/cmdline" || true ;;
					esac
				done
			done
			settings | diff "$work/settings" -
		} >"$work/left" 2>/dev/null || true
		if ! [ -s "$work/left" ] || [ $n = 100 ]; then
			break
		fi
		n=$((n + 1))
		sleep 0.1
	done
	status=0
	[ ! -s "$work/left" ] || status=1
	result $status "$1"
	: >"$work/left"
}

# start RESULTS VARIABLE=VALUE...: paper.py in the background, as $paper.
start()
{
	RESULTS=$work/$1.jsonl
	shift
	env HOST=server CLIENTS='client1 client2' SSH="ssh -F $work/ssh" \
		PLAN="$work/plan.toml" LEVEL=tiny RESULTS="$RESULTS" TMPDIR="$work" \
		"$@" "$TOP/scripts/paper.py" >"$work/said" 2>&1 &
	paper=$!
}

finish()
{
	status=0
	wait "$paper" || status=$?
	paper=
}

says()
{
	grep -qF -- "$1" "$work/said"
}

# until_there COMMAND...: for a minute at most.
until_there()
{
	n=0
	until "$@"; do
		n=$((n + 1))
		[ $n -lt 1200 ] && kill -0 "$paper" 2>/dev/null || return
		sleep 0.05
	done
}

has_runs()
{
	[ -e "$RESULTS" ] && [ "$(grep -c '"what":"run"' "$RESULTS")" -ge "$1" ]
}

# sink HOST: prints its group of processes, when there is one.
sink()
{
	cat "$work/hosts"/*/pids/sink-8 2>/dev/null | while read -r pid; do
		! ip netns pids "$prefix-$1" | grep -qx "$pid" || echo "$pid"
	done | grep .
}

# holds EXPRESSION: of `runs`, `sessions` and `failures`, lists of the results'.
holds()
{
	python3 - "$RESULTS" "$1" <<-'PYTHON' >>"$work/said" 2>&1
	import json, sys
	lines = [json.loads(line) for line in open(sys.argv[1])]
	runs, sessions, failures = ([line for line in lines if line["what"] == what]
				    for what in ("run", "session", "failure"))
	of = lambda name: [line["run"] for line in runs if line["experiment"] == name]
	assert eval(f"({sys.argv[2]})"), f"{sys.argv[2]}\n{runs}"
	PYTHON
}

if [ "$(id -u)" != 0 ]; then
	echo "1..0 # SKIP network namespaces need root"
	exit 0
fi
for program in ssh ssh-keygen busybox; do
	command -v $program >/dev/null ||
		die "$program is missing; run: make packages"
done
sshd=$(find_sshd) || die "no sshd, and apt-get cannot download one"
make -s -C "$TOP/tools/net/ptcpbench" O="$BUILD/tools" >&2

mkdir "$work/hosts"
{ grep -v '^sshd:' /etc/passwd
  echo 'sshd:x:65533:65534::/run/sshd:/usr/sbin/nologin'; } >"$work/passwd"
echo 'root:*:19000:0:99999:7:::' >"$work/shadow"
ssh-keygen -q -t ed25519 -N '' -f "$work/key"
cat >"$work/ssh" <<CONFIG
User root
IdentityFile $work/key
IdentitiesOnly yes
UserKnownHostsFile $work/known
StrictHostKeyChecking yes
CONFIG
cat >"$work/plan.toml" <<'PLAN'
interval = 0.05
confidence = 0.95
boot = 300
[experiment]
figure2 = { kind = "stream", arms = ["msgp", "connp-l(128)", "connp-t"] }
figure5 = { kind = "stream", arms = ["connp-l(4)", "msgp"] }
latency = { kind = "rr", arms = ["up", "msgp"] }
rate = { kind = "crr", arms = ["msgp"] }
memory = { kind = "memory", arms = ["msgp"] }
table1 = { kind = "contention", arms = ["msgp"] }
offloads = { kind = "stream", arms = ["msgp"], settings = [
	{ tso = true, mtu = 1500 }, { tso = true, mtu = 9000 } ] }
[level.tiny]
hours = 0.2
figure2 = { conns = [2, 8], duration = [2], warmup = 1, rounds = [2, 4] }
latency = { conns = [2], duration = [2], warmup = 0, rounds = [1, 1] }
rate = { conns = [4], duration = [2], warmup = 0, rounds = [1, 1] }
memory = { conns = [20], duration = [0], warmup = 0, rounds = [1, 1] }
table1 = { conns = [8], duration = [2], warmup = 0, rounds = [1, 1] }
offloads = { conns = [8], duration = [2], warmup = 0, rounds = [1, 1] }
[level.one]
hours = 0.2
figure5 = { conns = [8], duration = [30], warmup = 0, rounds = [1, 1] }
PLAN
add_host server
add_host client1
add_host client2
connect 1
connect 2
on server ethtool -K nic1 tso on gso on
on server ethtool -K nic2 tso on gso off
settings >"$work/settings"
for host in server client1 client2; do
	n=0
	until ssh -F "$work/ssh" -o BatchMode=yes "$host" true 2>"$work/said"; do
		n=$((n + 1))
		[ $n -lt 100 ] || die "$host: $(cat "$work/said" "$work/$host-log")"
		sleep 0.1
	done
done

start whole
until_there has_runs 1 && kill -TERM "$paper"
finish
# As ^C, which the shell has such processes ignore.
if [ $status = 143 ] && holds 'len(sessions) == 1 and 1 <= len(runs) < 4'; then
	status=0
fi
result "$status" "a run is interrupted"
nothing_left "nothing is left of it on the hosts"

start whole
finish
[ $status != 0 ] || holds 'len(sessions) == 2 and not failures' || status=1
result $status "the same command goes on"
nothing_left "nothing is left on the hosts"

status=0
holds '
	{(line["arm"], line["cell"]["conns"], line["round"]) for line in runs
	 if line["experiment"] == "figure2"}
	== {("msgp", conns, turn) for conns in (2, 8) for turn in (1, 2)}
	and len(of("figure2")) == 4' || status=1
result $status "what is there is not run again, and no more than one boot can give"

# As bench.runs makes them; a guest has the same.
status=0
holds '
	all(set(run) == {"org", "conns", "nics", "tso", "cpu", "groups", "seconds",
		"bytes", "mbps", "retransmits", "ctxsw", "fairness", "total_bytes",
		"counters", "clock_error", "refused"}
	    and run["org"] == "msgp" and run["nics"] == 2 and run["seconds"] >= 2
	    and run["mbps"] > 0 and run["total_bytes"] >= run["bytes"] > 0
	    and run["cpu"]["vcpus"] > 0 and run["counters"]["TcpOutSegs"] > 0
	    and not run["refused"]
	    for run in of("figure2") + of("offloads"))
	and [run["tso"] for run in of("figure2") + of("offloads")]
		== [False] * 4 + [True]' || status=1
result $status "mode stream: the figures of a run in a guest, of both clients"
status=0
holds '
	of("latency")[0]["latency"]["p50"] > 0 and of("latency")[0]["nics"] == 1
	and of("rate")[0]["rps"] > 0 and len(of("rate")) == 1' || status=1
result $status "modes rr and crr: by one client"
status=0
holds 'of("memory")[0]["conns"] == 20 and of("memory")[0]["slab"] > 0' || status=1
result $status "memory of connections that both clients hold"

status=0
page=${RESULTS%.jsonl}.txt
for text in 'server server: ' 'clients over ssh: client1: ' \
	"msgp: $(uname -r)" 'Figure 2: throughput by connections' \
	'The server runs one kernel at a time.' 'is a machine that has booted'; do
	grep -qF -- "$text" "$page" || { echo "no '$text'" >>"$work/said"; status=1; }
done
! grep -E 'QEMU|emulated \(TCG\)' "$page" >>"$work/said" || status=1
[ -s "${RESULTS%.jsonl}.html" ] || status=1
result $status "the page tells of hosts"

start whole
finish
for text in 'ConnP-L booted with tcp_connp.groups=128: 4 runs of figure2' \
	'ConnP-T booted: 4 runs of figure2' 'UP booted: 1 runs of latency' \
	'MsgP booted, built with CONFIG_LOCK_STAT: 1 runs of table1' \
	"an MTU of 9000 on all NICs, the clients' too: 1 runs of offloads"; do
	says "$text" || { echo "no '$text'" >>"$work/said"; status=1; }
done
result $status "it says which kernels to boot for the rest"
nothing_left "nothing is left on the hosts, with nothing to do"

start failing LEVEL=one
until_there sink client2 >"$work/group" && kill -TERM "-$(cat "$work/group")"
finish
if [ $status = 1 ] && says 'client2: sink-8 there ended with status 1: ptcpbench sink: interrupted' &&
   holds 'len(failures) == 1 and not runs'; then
	status=0
fi
result "$status" "a client that fails is told of"
nothing_left "nothing is left on the hosts of a run that failed"

start killed LEVEL=one
until_there sink client1 >"$work/group" && kill -KILL "$paper"
finish
[ $status != 137 ] || status=0
result $status "paper.py is killed"
nothing_left "nothing is left on the hosts all the same"

start none HOST=nohost
finish
if [ $status = 1 ] && says 'nohost: cannot log in' && ! [ -e "$RESULTS" ]; then
	status=0
fi
result $status "an unknown server is told of, and nothing is run"

start none CLIENTS='client1 nohost'
finish
if [ $status = 1 ] && says 'nohost: cannot log in' && ! [ -e "$RESULTS" ]; then
	status=0
fi
result $status "so is an unknown client"

start none CLIENTS='client1=10.78.9.1'
finish
if [ $status = 1 ] && says 'client1: `ip -j route get' && ! [ -e "$RESULTS" ]; then
	status=0
fi
result $status "and an address that is not reached"

start none HOST=client1 CLIENTS='client2'
finish
if [ $status = 1 ] && says "client2 reaches none of the server's addresses"; then
	status=0
fi
result $status "and a client without a cable to the server"
nothing_left "nothing is left on the hosts that were reached"

echo "1..$count"
exit $failed
