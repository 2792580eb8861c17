#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Test ptcpbench (the argument, or the one here) over loopback; TAP output.
#
# First the histogram by itself, then every mode of two real ends against each
# other, then each kind of damage against testpeer.py, which must be noticed and
# named. Uses 127.0.0.1, 127.0.0.2 and ::1 only; takes some seconds; needs
# python3.

set -u

HERE=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
BENCH=${1:-$HERE/ptcpbench}
KSFT_SKIP=4

if ! [ -x "$BENCH" ]; then
	echo "$0: $BENCH is not there: make -C tools/net/ptcpbench" >&2
	exit 1
fi
if ! command -v python3 >/dev/null; then
	echo "1..0 # SKIP python3 is missing"
	exit $KSFT_SKIP
fi

TMP=$(mktemp -d)
PIDS=
# shellcheck disable=SC2086 # a list of numbers
trap 'kill -KILL $PIDS 2>/dev/null; rm -rf "$TMP"' EXIT
trap 'exit 1' INT TERM

passed=0
failed=0
skipped=0

# result CODE NAME: a line of TAP; after a failure, what the ends said.
result()
{
	if [ "$1" -eq 0 ]; then
		passed=$((passed + 1))
		echo "ok $((passed + failed + skipped)) - $2"
		return
	fi
	failed=$((failed + 1))
	echo "not ok $((passed + failed + skipped)) - $2"
	for f in "$TMP"/*.err "$TMP"/*.json; do
		if [ -s "$f" ]; then
			sed "s|^|# ${f##*/}: |" "$f"
		fi
	done
}

skip()
{
	skipped=$((skipped + 1))
	echo "ok $((passed + failed + skipped)) - $1 # SKIP $2"
}

clean()
{
	PIDS=
	rm -f "$TMP"/*.err "$TMP"/*.json "$TMP"/*.rc "$TMP/ready"
}

# launch NAME COMMAND...: in the background; NAME.err, and its pid in $pid.
launch()
{
	launched=$1
	shift
	"$@" >"$TMP/$launched.out" 2>"$TMP/$launched.err" &
	pid=$!
	PIDS="$PIDS $pid"
}

# wait_ready PID: until the end that listens says its port, or is no more.
wait_ready()
{
	while ! [ -e "$TMP/ready" ]; do
		kill -0 "$1" 2>/dev/null || return 1
		sleep 0.02
	done
	port=$(cat "$TMP/ready")
}

# pair "SERVE OPTIONS" "SINK OPTIONS": run both ends, give serve_rc, sink_rc.
pair()
{
	clean
	case $1 in
	*--active*) listener=sink; listens=$2; connector=serve; connects=$1 ;;
	*) listener=serve; listens=$1; connector=sink; connects=$2 ;;
	esac
	port=0
	# shellcheck disable=SC2086 # options
	launch $listener "$BENCH" $listener $listens -p 0 \
		--ready "$TMP/ready" --json="$TMP/$listener.json"
	first=$pid
	if wait_ready "$first"; then
		# shellcheck disable=SC2086
		launch $connector "$BENCH" $connector $connects -p "$port" \
			--json="$TMP/$connector.json"
		wait "$pid"
		connector_rc=$?
	else
		connector_rc=none
	fi
	wait "$first"
	listener_rc=$?
	PIDS=
	eval "${listener}_rc=$listener_rc ${connector}_rc=$connector_rc"
}

# json EXPRESSION: does it hold? serve and sink are the two results.
json()
{
	python3 - "$TMP" "$1" <<-'PYTHON' 2>>"$TMP/json.err"
	import json, sys
	load = lambda name: json.load(open(f"{sys.argv[1]}/{name}.json"))
	serve, sink = load("serve"), load("sink")
	near = lambda a, b: abs(a - b) <= 1e-3 * max(abs(a), abs(b)) + 0.01
	assert eval(sys.argv[2]), sys.argv[2]
	PYTHON
}

# What is true of every good run.
WHOLE='serve["ok"] and sink["ok"] and not serve["errors"] and not sink["errors"]
and serve["total_bytes"] == sink["total_bytes"] == sink["bytes"] >= serve["bytes"] > 0
and serve["seconds"] > 0 and 0 < serve["fairness"] <= 1
and serve["ctxsw_self"] >= 0 and serve["retransmits"] >= 0
and serve["cpu_user"] + serve["cpu_sys"] > 0
and (serve["system"] is None or serve["ctxsw"] >= serve["ctxsw_self"] > 0)
and near(serve["mbps"], serve["bytes"] * 8e-6 / serve["seconds"])
and all(near(sum(end[key]), end["mbps"]) for end in (serve, sink)
	for key in ("mbps_thread", "mbps_nic"))
and all(len(end["mbps_thread"]) == end["threads"]
	and len(end["mbps_nic"]) == end["nics"]
	and sum(map(sum, end["conns_thread_nic"])) == end["conns"]
	for end in (serve, sink))'

# The same for requests.
ANSWERED='serve["ok"] and sink["ok"] and not serve["errors"] and not sink["errors"]
and serve["total_requests"] == sink["total_requests"] >= sink["requests"]
and serve["requests"] == sink["requests"] == sink["latency_us"]["count"] > 0
and sink["seconds"] >= sink["duration"] and serve["seconds"] > 0
and serve["latency_us"] is None and 0 < sink["fairness"] <= 1
and serve["ctxsw_self"] >= 0 and serve["cpu_user"] + serve["cpu_sys"] > 0
and 0 < sink["latency_us"]["min"] <= sink["latency_us"]["p50"]
	<= sink["latency_us"]["p99.9"] <= sink["latency_us"]["max"]
and all(near(end["rps"], end["requests"] / end["seconds"])
	and near(sum(end["rps_thread"]), end["rps"])
	and near(sum(end["rps_nic"]), end["rps"])
	and len(end["rps_thread"]) == end["threads"]
	and len(end["rps_nic"]) == end["nics"]
	and end["mbps"] is end["bytes"] is end["total_bytes"] is None
	for end in (serve, sink))'

# good NAME "SERVE OPTIONS" "SINK OPTIONS" [EXPRESSION] [OF EVERY RUN]
good()
{
	pair "$2" "$3"
	# shellcheck disable=SC2154 # set by pair
	[ "$serve_rc" = 0 ] && [ "$sink_rc" = 0 ] &&
		json "(${5:-$WHOLE}) and (${4:-True})"
	result $? "$1"
}

# answered NAME "OPTIONS OF BOTH" "SINK OPTIONS" [EXPRESSION]
answered()
{
	good "$1" "$2 --verify" "$2 --verify $3" "${4:-True}" "$ANSWERED"
}

# says FILE.err TEXT: that end gives this reason.
says()
{
	grep -q -e "$2" "$TMP/$1.err"
}

# no_figures END: its JSON says that it failed, and why.
no_figures()
{
	grep -q '^ "seconds": null,$' "$TMP/$1.json" &&
		grep -q '^ "ok": false,$' "$TMP/$1.json" &&
		grep -q '^ "errors": \["connection .*"\]$\|^ "errors": \["stalled: ' "$TMP/$1.json"
}

# The sink must notice what the peer does to the stream, or to the responses.
# bad_serve PEER DEFECT CODE TEXT CONNECTIONS SINK-OPTIONS FIGURES
# shellcheck disable=SC2086 # options
bad_serve()
{
	peer=$1 figures=$7
	shift
	clean
	launch peer python3 "$HERE/testpeer.py" "$peer" "$TMP/ready" "$4" "$1"
	first=$pid
	wait_ready "$first" &&
		"$BENCH" sink -a 127.0.0.1 -p "$port" -c "$4" ${5:-} \
			--json="$TMP/sink.json" >"$TMP/sink.out" 2>"$TMP/sink.err"
	rc=$?
	# a stalled peer waits for its end
	kill "$first" 2>/dev/null
	wait "$first" 2>/dev/null
	PIDS=
	[ "$rc" = "$2" ] && { [ "$2" = 0 ] || says sink "$3"; } &&
		cp "$TMP/sink.json" "$TMP/serve.json" &&
		if [ "$2" = 0 ]; then
			json "sink['ok'] and ($figures)"
		else
			no_figures sink
		fi
	result $? "sink${5:+ $5}: $peer $1 => exit $2"
}

# serve must notice how its sink behaves.
# bad_peer PEER DEFECT CODE TEXT CONNECTIONS SERVE-OPTIONS FIGURES
# shellcheck disable=SC2086 # options
bad_peer()
{
	peer=$1 figures=$7
	shift
	clean
	launch serve "$BENCH" serve -a 127.0.0.1 -p 0 -c "$4" \
		--ready "$TMP/ready" --json="$TMP/serve.json" ${5:-}
	first=$pid
	wait_ready "$first" &&
		launch peer python3 "$HERE/testpeer.py" "$peer" "$port" "$4" "$1"
	wait "$first"
	rc=$?
	kill "$pid" 2>/dev/null
	wait "$pid" 2>/dev/null
	PIDS=
	[ "$rc" = "$2" ] && { [ "$2" = 0 ] || says serve "$3"; } &&
		cp "$TMP/serve.json" "$TMP/sink.json" &&
		if [ "$2" = 0 ]; then
			json "serve['ok'] and ($figures)"
		else
			no_figures serve
		fi
	result $? "serve: $peer $1 => exit $2"
}

# Each DEFECT CODE TEXT CONNECTIONS [OPTIONS] from here on.
bad_stream()
{
	bad_serve serve "$1" "$2" "$3" "$4" "${5:-}" \
		'sink["bytes"] == 300000 * sink["conns"]'
}

bad_sink()
{
	bad_peer sink "$1" "$2" "$3" "$4" "${5:-}" 'serve["mbps"] > 0'
}

# MODE, the same without CONNECTIONS, and for answers [FIGURES] of a good run.
# What is wrong is so after 70 requests, however long these take.
bad_answer()
{
	bad_serve "answer-$1" "$2" "$3" "$4" 1 "-m $1 $SIZES -w 0 ${5:--d 60}" \
		"${6:-sink['requests'] > 0}"
}

bad_ask()
{
	bad_peer "ask-$1" "$2" "$3" "$4" 1 "-m $1 $SIZES ${5:-}" \
		'serve["requests"] == serve["total_requests"] == 100'
}

# usage CODE TEXT OPTIONS...: refused, with this reason.
usage()
{
	clean
	code=$1
	text=$2
	shift 2
	"$BENCH" "$@" >"$TMP/usage.out" 2>"$TMP/usage.err"
	rc=$?
	[ "$rc" = "$code" ] && says usage "$text"
	result $? "ptcpbench $* => exit $code"
}

TWO=127.0.0.1,127.0.0.2
SHORT='-d 0.2 -w 0.1'
SIZES='--request 100 --response 1000'

have_ipv6=0
if python3 - 2>/dev/null <<-PYTHON; then
	import socket
	socket.create_server(("::1", 0), family=socket.AF_INET6)
	PYTHON
	have_ipv6=1
fi

echo "TAP version 13"

# The histogram

for case in empty exact resolution apart quantiles few add too-large; do
	clean
	"${BENCH%/*}/histogram-test" $case 2>"$TMP/histogram.err"
	result $? "histogram: $case"
done

# Every mode

good "passive, sendfile, -d" "-a $TWO -c 6 $SHORT" "-a $TWO -c 6 --verify" \
	'serve["mode"] == "stream" and serve["call"] == "sendfile" and serve["open"] == "passive"
	and 0.2 <= serve["seconds"] < serve["elapsed"] - 0.09
	and serve["bytes"] < serve["total_bytes"] and sink["verify"]'
good "active, sendfile" "--active -a $TWO -c 6 $SHORT" \
	"--active -a $TWO -c 6 --verify" 'serve["open"] == "active"'
good "write()" "-a $TWO -c 6 $SHORT --write" "-a $TWO -c 6 --verify" \
	'serve["call"] == "write"'
good "active, write(), listening on any address" \
	"--active -a $TWO -c 6 $SHORT --write" "--active -c 6 --verify"
good "1 connection" "-a 127.0.0.1 -c 1 $SHORT" "-a 127.0.0.1 -c 1" \
	'serve["threads"] == 1 and serve["fairness"] == 1 and not sink["verify"]'
good "192 connections: every thread has as many on every address" \
	"-a $TWO -c 192 -t 4 $SHORT" "-a $TWO -c 192 -t 3 --verify" \
	'serve["conns_thread_nic"] == [[24, 24]] * 4
	and sink["conns_thread_nic"] == [[32, 32]] * 3'
good "7 connections: as even as the number allows" \
	"-a $TWO -c 7 -t 2 $SHORT" "-a $TWO -c 7 -t 2" \
	'sorted(sum(serve["conns_thread_nic"], [])) == [1, 2, 2, 2]'
good "-b: exactly that many bytes" "-a $TWO -c 6 -b 100000001 -w 0" \
	"-a $TWO -c 6 --verify" \
	'serve["bytes"] == serve["total_bytes"] == 100000001'
# more than half by what was sent at the edge but not yet acknowledged
good "-b: the warm-up is excluded" "-a $TWO -c 6 -b 512M -w 50" \
	"-a $TWO -c 6 --verify" \
	'serve["total_bytes"] == 512 << 20 and serve["bytes"] < 300 << 20'
good "-b: one byte a connection" "-a 127.0.0.1 -c 6 -b 6 -w 0" \
	"-a 127.0.0.1 -c 6 --verify" 'serve["bytes"] == 6'
# Three sinks for one serve: serve.json, sink.json, and those of the others.
clean
launch serve "$BENCH" serve -a $TWO,127.0.0.3 -c 8 -b 3M -w 0 -p 0 \
	--ready "$TMP/ready" --json="$TMP/serve.json"
first=$pid
wait_ready "$first"
rc=$?
for n in 1 2 3; do
	launch sink$n "$BENCH" sink -a $TWO,127.0.0.3 --only 127.0.0.$n -c 8 \
		-p "$port" --verify --json="$TMP/sink$n.json"
done
for pid in $PIDS; do
	wait "$pid" || rc=1
done
PIDS=
cp "$TMP/sink1.json" "$TMP/sink.json" &&
	json '(serve["ok"] and serve["total_bytes"] == 3 << 20
		and [[sum(of) for of in zip(*end["conns_thread_nic"])] for end
			in (load(f"sink{n}") for n in (1, 2, 3))]
			== [[3, 0, 0], [0, 3, 0], [0, 0, 2]]
		and sum(load(f"sink{n}")["total_bytes"] for n in (1, 2, 3)) == 3 << 20
		and all(load(f"sink{n}")["fairness"] > 0.5 for n in (1, 2, 3)))' || rc=1
result $rc "--only: a sink for each address"
good "files in --dir, of another size" \
	"-a $TWO -c 6 -b 8M -w 0 --file-size 12k --dir $TMP" \
	"-a $TWO -c 6 --verify"
name="IPv6 and IPv4 together"
if [ $have_ipv6 = 1 ]; then
	good "$name" "-a ::1,127.0.0.1 -c 6 $SHORT" \
		"-a ::1,127.0.0.1 -c 6 --verify" 'min(serve["mbps_nic"]) > 0'
	good "active over IPv6" "--active -a ::1 -c 6 $SHORT" \
		"--active -a ::1 -c 6 --verify"
else
	skip "$name" "no ::1 here"
	skip "active over IPv6" "no ::1 here"
fi
name="16384 connections"
pair "-a $TWO -c 16384 -b 256M -w 0" "-a $TWO -c 16384 --verify"
if [ "$serve_rc" = 3 ] && says serve "the hard limit is"; then
	skip "$name" "$(cat "$TMP/serve.err")"
else
	[ "$serve_rc" = 0 ] && [ "$sink_rc" = 0 ] && json "($WHOLE)" &&
		json 'serve["total_bytes"] == 256 << 20'
	result $? "$name"
fi

answered "rr: one byte for one" "-m rr -a $TWO -c 6" "$SHORT" \
	'sink["mode"] == serve["mode"] == "rr" and serve["retransmits"] >= 0
	and 0.2 <= sink["seconds"] < sink["elapsed"] - 0.09
	and sink["requests"] < sink["total_requests"]
	and sink["request"] == serve["response"] == 1
	and sink["verify"] and serve["verify"]'
answered "crr: one byte for one" "-m crr -a $TWO -c 6" "$SHORT" \
	'sink["mode"] == serve["mode"] == "crr" and serve["retransmits"] is None'
for mode in rr crr; do
	answered "$mode: larger than buffers and the file" \
		"-m $mode -a $TWO -c 3 --request 300k --response 3M" "$SHORT"
	answered "$mode: 192 connections, more threads than addresses" \
		"-m $mode -a $TWO -c 192 -t 4 --response 2000" "$SHORT" \
		'sink["conns_thread_nic"] == [[24, 24]] * 4
		and min(serve["rps_nic"] + serve["rps_thread"]) > 0'
	answered "$mode: no warm-up" "-m $mode -a 127.0.0.1 -c 1 --request 5" \
		"-d 0.2 -w 0" 'sink["fairness"] == 1'
	name="$mode: IPv6 and IPv4 together"
	if [ $have_ipv6 = 1 ]; then
		answered "$name" "-m $mode -a ::1,127.0.0.1 -c 6" "$SHORT" \
			'min(sink["rps_nic"]) > 0'
	else
		skip "$name" "no ::1 here"
	fi
done
answered "rr, active" "--active -m rr -a $TWO -c 6" "$SHORT" \
	'sink["open"] == "active"'
name="rr: 16384 connections"
pair "-m rr -a $TWO -c 16384" "-m rr -a $TWO -c 16384 -d 1 -w 0 --verify"
if [ "$serve_rc" = 3 ] && says serve "the hard limit is"; then
	skip "$name" "$(cat "$TMP/serve.err")"
else
	[ "$serve_rc" = 0 ] && [ "$sink_rc" = 0 ] && json "($ANSWERED)"
	result $? "$name"
fi

# Sockets in this state on our side of the port, as /proc shows them.
in_state()
{
	awk -v port="$(printf ':%04X' "$port")" -v state="$1" -v column="$2" \
		'$4 == state && substr($column, 9) == port' /proc/net/tcp
}
pair "-m crr -a 127.0.0.1 -c 2" "-m crr -a 127.0.0.1 -c 2 -d 0.2 -w 0"
[ "$serve_rc$sink_rc" = 00 ] && [ -n "$(in_state 06 2)" ] &&
	[ "$(in_state 06 3 | wc -l)" -le 1 ]
result $? "crr: it is serve's side that has TIME_WAIT"

clean
launch serve "$BENCH" serve -m crr -a 127.0.0.1 -p 0 -c 2 --ready "$TMP/ready"
first=$pid
wait_ready "$first"
"$BENCH" serve -m crr -a 127.0.0.1 -p "$port" -c 2 2>"$TMP/other.err"
[ $? = 3 ] && says other 'cannot listen on 127.0.0.1 port .* in use: another'
result $? "crr: a port is shared by one serve's threads only"
kill "$first"
wait "$first"

name="--write never calls sendfile(), the default never write() to a socket"
if command -v strace >/dev/null && strace -o /dev/null true 2>/dev/null; then
	for mode in --write ''; do
		clean
		# shellcheck disable=SC2086 # may be empty
		launch serve strace -f -yy -e trace=sendfile,write -o \
			"$TMP/trace$mode.err" "$BENCH" serve -a 127.0.0.1 -p 0 \
			-c 2 -b 4M -w 0 --ready "$TMP/ready" $mode
		first=$pid
		wait_ready "$first" && "$BENCH" sink -a 127.0.0.1 -p "$port" \
			-c 2 --verify >"$TMP/sink.out" 2>"$TMP/sink.err"
		wait "$first"
		cp "$TMP/trace$mode.err" "$TMP/trace$mode"
	done
	grep -q 'write([0-9]*<TCP' "$TMP/trace--write" &&
		! grep -q 'sendfile(' "$TMP/trace--write" &&
		grep -q 'sendfile([0-9]*<TCP' "$TMP/trace" &&
		! grep -q 'write([0-9]*<TCP' "$TMP/trace"
	result $? "$name"
else
	skip "$name" "strace is missing or may not trace"
fi

clean
# shellcheck disable=SC2086 # options
launch serve "$BENCH" serve -a 127.0.0.1 -p 0 -c 2 $SHORT \
	--ready "$TMP/ready" --json
first=$pid
wait_ready "$first" && "$BENCH" sink -a 127.0.0.1 -p "$port" -c 2 \
	--progress >"$TMP/sink.out" 2>"$TMP/sink.err"
wait "$first" && python3 -m json.tool "$TMP/serve.out" >/dev/null &&
	grep -q '^ptcpbench serve: [0-9.]* Mb/s' "$TMP/serve.err" &&
	grep -q '^ptcpbench sink: [0-9.]* Mb/s' "$TMP/sink.out"
result $? "--json leaves stdout to JSON, otherwise the result line is there"

# Streams that are not what serve sends

bad_stream none 0 '' 2 --verify
bad_stream flipped 1 'failed the check at byte 100000 of its payload' 2 --verify
bad_stream lost 1 'failed the check at byte 100000 .* they are at .* in thread 0' 2 --verify
bad_stream repeated 1 'failed the check at byte 101448 ' 2 --verify
bad_stream reordered 1 'failed the check at byte 100000 ' 2 --verify
bad_stream foreign 1 'connection 0 .* failed the check at byte 100000 ' 2 --verify
bad_stream last-byte 1 'failed the check at byte 299999 ' 2 --verify
for verify in '' --verify; do
	bad_stream no-trailer 1 'is short: it ended without .* after 300000' 2 $verify
	bad_stream half-trailer 1 'is short: it ended without' 2 $verify
	bad_stream overstated 1 'is short: 300001 .* 300000 arrived' 2 $verify
	bad_stream understated 1 'is too long: 299999 .* 300000 arrived' 2 $verify
done
bad_stream no-stream 1 'ended before its stream began' 2
bad_stream bad-header 1 'begins with a wrong header' 2
bad_stream same-id 1 'streams are mixed up' 2
bad_stream reset 1 'was lost after .* Connection reset by peer' 2
bad_stream stalled 1 'stalled: no progress for [0-9]\.' 2 "--stall 0.4"
bad_stream stranger 3 'is not to a ptcpbench' 2
bad_stream wrong-role 3 'is to another sink' 2
bad_stream wrong-conns 3 'is to a serve of 3 connections, this end has 2' 2

# Sinks that do not behave

bad_sink none 0 '' 1 "$SHORT"
bad_sink reset 1 'connection 0 (127.0.0.1:.* with 127.0.0.1:.*) was lost after .* bytes' 1 "-d 60"
bad_sink frozen 1 'stalled: no progress for [0-9]\.' 1 "-d 60 --stall 0.4"
bad_sink no-verdict 1 'closed by the other end without its word' 1 "$SHORT"
bad_sink wrong-verdict 1 'brought a wrong answer in the end: .* bytes of payload sent' 1 "$SHORT"
bad_sink left-early 3 'was closed before all connections were established' 2 "-d 60 --timeout 20"

# Answers that are not what serve gives, and the other way round

for mode in rr crr; do
	bad_answer $mode none 0 '' "-d 0.2 --verify"
	# no latency is lower than the peer makes it, and none is lost
	bad_answer $mode slow 0 '' "-d 0.3" '1 < sink["requests"] ==
		sink["latency_us"]["count"] and 50e3 <= sink["latency_us"]["min"]
		<= sink["latency_us"]["mean"] <= sink["latency_us"]["max"]
		and 50e3 <= sink["latency_us"]["p50"] <= sink["latency_us"]["p90"]
		<= sink["latency_us"]["p99"] <= sink["latency_us"]["p99.9"]
		<= sink["latency_us"]["max"]'
	bad_answer $mode half 1 'was closed by serve before its response was whole, after 70 requests'
	bad_answer $mode long 1 'brought more than the 1000 bytes of its response, after 7[01] requests'
	bad_answer $mode no-verdict 1 'was closed by the other end without its word' "-d 0.2"
	bad_ask $mode none 0 '' --verify
	bad_ask $mode half 1 'was closed by the sink before its [lo][an][sl][ty] request was whole'
	bad_ask $mode silent 1 'stalled: no [a-z]* for [0-9]\.' "--stall 0.4"
	bad_ask $mode reset 1 'was lost after [0-9]* requests: Connection reset by peer'
done
bad_answer rr flipped 1 'failed the check at byte 999 of its response' "-d 60 --verify"
bad_answer rr other 1 'failed the check at byte 0 of its response' "-d 60 --verify"
bad_answer crr reset 1 'was lost after 70 requests: Connection reset by peer'
bad_answer rr stalled 1 'stalled: no progress for [0-9]\.' "-d 60 --stall 0.4"
bad_answer rr wrong-verdict 1 'brought a wrong answer in the end: .* requests sent' "-d 0.2"
bad_answer rr wrong-mode 3 'is to a serve of another mode than rr'
bad_ask rr flipped 1 'failed the check at byte 99 of its request' --verify
bad_ask rr unknown 1 'brought a request with the tag 1b'
bad_ask rr long 1 'brought more than the 100 bytes of its request'
bad_answer rr wrong-size 3 'of requests of 100 and responses of 1001 bytes, this end has 100 and 1000'
bad_answer crr open 1 'stalled: no progress for [0-9]\.' "-d 60 --stall 0.4"
bad_answer crr deaf 1 'could not be established, after 70 others: Connection refused'
bad_answer crr gone 1 'which stands idle, was closed in the middle of the run'
bad_ask rr skipped 1 'brought a request with the tag 1d, after 70 requests: out of order'
bad_ask rr gone 1 'was closed by the sink before its last request was whole, after 70'
bad_ask crr gone 1 'which stands idle, was closed in the middle of the run'
bad_ask crr mute 1 'stalled: no request for [0-9]\.' "--stall 0.4"

# Ends that go away

# killed END SIGNAL: in the middle of a run; the other end says so.
killed()
{
	clean
	launch serve "$BENCH" serve -a 127.0.0.1 -p 0 -c 24 -d 60 -w 0 \
		--ready "$TMP/ready" --json="$TMP/serve.json" --progress
	serve_pid=$pid
	wait_ready "$serve_pid" || return 1
	launch sink "$BENCH" sink -a 127.0.0.1 -p "$port" -c 24 \
		--json="$TMP/sink.json" --progress
	sink_pid=$pid
	until says serve 'measuring .* Mb/s'; do
		kill -0 "$serve_pid" 2>/dev/null || return 1
		sleep 0.05
	done
	eval "kill -$2 \$${1}_pid"
	wait "$serve_pid" 2>/dev/null
	serve_rc=$?
	wait "$sink_pid" 2>/dev/null
	sink_rc=$?
	PIDS=
}

killed sink KILL && [ "$serve_rc" = 1 ] && says serve 'connection .* was lost after' &&
	python3 -m json.tool "$TMP/serve.json" >/dev/null
result $? "the sink is killed: serve says which connection was lost, and exits 1"
killed serve KILL && [ "$sink_rc" = 1 ] &&
	says sink 'connection .* \(was lost after\|is short\)' &&
	python3 -m json.tool "$TMP/sink.json" >/dev/null
result $? "serve is killed: the sink says which stream is short, and exits 1"
killed serve TERM && [ "$serve_rc" = 1 ] && says serve 'interrupted: Terminated' &&
	[ "$sink_rc" = 1 ] && json 'not serve["ok"] and not sink["ok"]'
result $? "serve is asked to end: both ends exit 1"

# Runs that cannot start

pair "-a $TWO -c 4 --timeout 0.5" "-a 127.0.0.1 -c 4"
[ "$serve_rc" = 3 ] && [ "$sink_rc" != 0 ] &&
	says serve 'more than the 2 connections expected on address 127.0.0.1'
result $? "the ends have different addresses: exit 3"
clean
"$BENCH" serve -a 127.0.0.1 -p 0 -c 4 --timeout 0.2 2>"$TMP/serve.err"
[ $? = 3 ] && says serve '0 of 4 connections were established in 0.2 s'
result $? "nobody connects: exit 3 after --timeout"
usage 3 'Connection refused: nothing listens there' sink -a 127.0.0.1 -p 1
usage 3 'expected a numeric' sink -a localhost
usage 3 'cannot listen on 192.0.2.1 port' serve -a 192.0.2.1 -p 0
name="too few open files: says the limit"
if command -v setpriv >/dev/null && command -v prlimit >/dev/null; then
	clean
	drop=	# root may raise any limit
	if [ "$(id -u)" = 0 ]; then
		drop='setpriv --bounding-set -sys_resource --inh-caps -sys_resource'
	fi
	# shellcheck disable=SC2086 # a command or nothing
	prlimit --nofile=64:64 $drop "$BENCH" serve -a 127.0.0.1 -p 0 -c 192 \
		2>"$TMP/serve.err"
	[ $? = 3 ] && says serve '192 connections need .* the hard limit is 64: ulimit -Hn'
	result $? "$name"
else
	skip "$name" "setpriv and prlimit (util-linux) are missing"
fi

# Command lines

usage 2 'expected serve or sink' server
usage 2 'this end connects and needs' sink
usage 2 '-c 0: expected a whole number' serve -c 0
usage 2 '-c 6x: expected a whole number' serve -c 6x
usage 2 '-d and -b' serve -d 1 -b 1M
usage 2 '-b 1T: expected a number of bytes' serve -b 1T
usage 2 '-d belongs to ptcpbench serve' sink -a 127.0.0.1 -d 5
usage 2 '--verify belongs to ptcpbench sink' serve --verify
usage 2 'fewer connections than the 2 addresses' serve -a $TWO -c 1
usage 2 '127.0.0.1 is there twice' serve -a 127.0.0.1,127.0.0.1
usage 2 'more threads than the 2 connections' serve -c 2 -t 3
usage 2 'this is a percentage' serve -b 1M -w 100
usage 2 'unexpected' serve now
usage 2 'expected stream, rr or crr' serve -m udp
usage 2 '-d belongs to ptcpbench sink' serve -d 5 -m rr
usage 2 '-b: not with --mode crr' serve -m crr -b 1M
usage 2 '--request: not with --mode stream' serve --request 5
usage 2 '--response 2G: expected at most 1024 M' serve -m rr --response 2G
usage 2 '--only 127.0.0.9: 127.0.0.9 is not one of -a' sink -a $TWO --only 127.0.0.9
usage 2 '--only: with -A it is serve' sink -A -a $TWO --only 127.0.0.1
usage 2 '--only: not with --mode rr' sink -a $TWO -m rr --only 127.0.0.1
usage 2 '-A: with crr it is the sink that connects' sink -m crr -A

total=$((passed + failed + skipped))
echo "1..$total"
echo "# Totals: pass:$passed fail:$failed xfail:0 xpass:0 skip:$skipped error:0"
[ $failed = 0 ]
