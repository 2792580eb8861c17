#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""A second, independent implementation of ptcpbench's protocol, with defects.

test.sh points ptcpbench at this to see that every kind of damage is noticed:

  testpeer.py serve READY CONNS DEFECT       listens; ptcpbench sink connects
  testpeer.py sink PORT CONNS DEFECT         connects to ptcpbench serve
  testpeer.py answer-MODE READY 1 DEFECT     listens; ptcpbench sink asks
  testpeer.py ask-MODE PORT 1 DEFECT         connects to ptcpbench serve, asks

DEFECT "none" behaves, which shows that what fails otherwise is the defect.
stream.h describes the protocol. Only loopback, 127.0.0.1.
"""

import os
import signal
import socket
import struct
import sys
import time
from collections.abc import Callable

HELLO, HEADER, TRAILER, VERDICT = (
    version << 56 | letter << 48 | 0x42_43_50_54_50_50
    for version, letter in zip(b"2111", b"HSTV")
)
MASK = (1 << 64) - 1
PAGE = 4096
FILE_SIZE = 16 * PAGE
SEED = 0x0123456789ABCDEF
SERVE, SINK = 0, 1
LENGTH = 300_000  # payload of each stream
SEGMENT = 1448
AT = 100_000  # where the payload is damaged: past the file's first end

STREAM, RR, CRR = 0, 1, 2
EXCHANGE_FILE_SIZE = 1 << 20
REQUEST, RESPONSE = 100, 1000
WARMUP, MEASURED, LAST, UNKNOWN = range(4)  # kinds of tags
NUMBERS = 64
SLOW = 0.05  # seconds that each response takes
EXCHANGES = 100  # that ask makes
SICK = 70  # the request where something is wrong: past the numbers' first end


def mix(x: int) -> int:
    """The output function of splitmix64."""
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9 & MASK
    x = (x ^ (x >> 27)) * 0x94D049BB133111EB & MASK
    return x ^ (x >> 31)


def start_of(conn: int) -> int:
    return conn * 37 * PAGE % FILE_SIZE


def payload_of(file: bytes, conn: int) -> bytes:
    rounds = LENGTH // FILE_SIZE + 2
    return (file * rounds)[start_of(conn) :][:LENGTH]


def header_of(conn: int, magic: int = HEADER) -> bytes:
    return struct.pack(
        "<QQQQII", magic, SEED, start_of(conn), FILE_SIZE, conn, 0
    )


def trailer_of(total: int) -> bytes:
    return struct.pack("<QQ", TRAILER, total)


# Damage to a payload, which a whole and honest trailer then covers up.
DAMAGE: dict[str, Callable[[bytes, bytes], bytes]] = {
    "none": lambda mine, other: mine,
    "flipped": lambda mine, other: mine[:AT]
    + bytes([mine[AT] ^ 0x10])
    + mine[AT + 1 :],
    "lost": lambda mine, other: mine[:AT] + mine[AT + SEGMENT :],
    "repeated": lambda mine, other: mine[: AT + SEGMENT] + mine[AT:],
    "reordered": lambda mine, other: mine[:AT]
    + mine[AT + SEGMENT : AT + 2 * SEGMENT]
    + mine[AT : AT + SEGMENT]
    + mine[AT + 2 * SEGMENT :],
    "foreign": lambda mine, other: mine[:AT]
    + other[AT : AT + SEGMENT]
    + mine[AT + SEGMENT :],
    "last-byte": lambda mine, other: mine[:-1] + bytes([mine[-1] ^ 1]),
}


def stream_of(defect: str, conn: int, file: bytes) -> bytes:
    """All bytes serve would send on connection conn; 0 has the defect."""
    mine = payload_of(file, conn)
    header, trailer = header_of(conn), trailer_of(len(mine))
    if conn == 0:
        if defect in DAMAGE:
            mine = DAMAGE[defect](mine, payload_of(file, 1))
            trailer = trailer_of(len(mine))
        elif defect == "no-trailer":
            trailer = b""
        elif defect == "half-trailer":
            trailer = trailer[:8]
        elif defect == "understated":
            trailer = trailer_of(len(mine) - 1)
        elif defect == "overstated":
            trailer = trailer_of(len(mine) + 1)
        elif defect == "bad-header":
            header = header_of(conn, magic=TRAILER)
        elif defect == "same-id":
            header = header_of(1)
        elif defect == "no-stream":
            return b""
        elif defect in ("reset", "stalled"):
            trailer = b""
    return header + mine + trailer


HELLO_FORMAT = "<QHHIIIQ"


def hello_of(defect: str, role: int, conns: int, mode: int = STREAM) -> bytes:
    if defect == "stranger":
        return b"SSH-2.0-OpenSSH_"
    if defect == "wrong-role":
        role = SERVE + SINK - role
    if defect == "wrong-conns":
        conns += 1
    sizes = (REQUEST, RESPONSE) if mode != STREAM else (0, 0)
    if defect == "wrong-mode":
        mode = RR + CRR - mode
    if defect == "wrong-size":
        sizes = (REQUEST, RESPONSE + 1)
    return struct.pack(HELLO_FORMAT, HELLO, role, mode, conns, *sizes, SEED)


def reset(sock: socket.socket) -> None:
    sock.setsockopt(
        socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
    )
    sock.close()


def wait_for_end(sock: socket.socket) -> None:
    """Until the other side is gone, however it goes."""
    try:
        while sock.recv(65536):
            pass
    except ConnectionError:
        pass


def listen(ready: str, conns: int) -> socket.socket:
    listener = socket.create_server(("127.0.0.1", 0), backlog=conns)
    with open(ready + ".tmp", "w", encoding="ascii") as out:
        print(listener.getsockname()[1], file=out)
    os.rename(ready + ".tmp", ready)
    return listener


def serve(ready: str, conns: int, defect: str) -> None:
    words = (mix((SEED + i) & MASK) for i in range(FILE_SIZE // 8))
    file = struct.pack(f"<{FILE_SIZE // 8}Q", *words)
    listener = listen(ready, conns)

    socks = []
    for _ in range(conns):
        sock, _ = listener.accept()
        socks.append(sock)
        sock.sendall(hello_of(defect, SERVE, conns))
    try:
        for conn, sock in enumerate(socks):
            sock.sendall(stream_of(defect, conn, file))
            if conn == 0 and defect == "reset":
                reset(sock)
            elif conn or defect != "stalled":
                sock.shutdown(socket.SHUT_WR)
    except ConnectionError:
        return  # the sink saw the defect and left
    for sock in socks:
        if sock.fileno() >= 0:
            wait_for_end(sock)


def read_exactly(sock: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        part = sock.recv(size - len(data))
        if not part:
            raise EOFError("serve closed the connection")
        data += part
    return data


def sink(port: int, conns: int, defect: str) -> None:
    if defect == "left-early":
        conns -= 1
    first, *_others = [
        socket.create_connection(("127.0.0.1", port)) for _ in range(conns)
    ]
    if defect == "left-early":
        return
    read_exactly(first, struct.calcsize(HELLO_FORMAT))
    received = len(read_exactly(first, 1_000_000))
    if defect == "reset":
        reset(first)
        return
    if defect == "frozen":
        signal.pause()  # until test.sh ends it
    while part := first.recv(1 << 20):
        received += len(part)
    total = received - len(header_of(0)) - len(trailer_of(0))
    if defect == "wrong-verdict":
        total -= 1
    if defect != "no-verdict":
        first.sendall(struct.pack("<QQ", VERDICT, total))


def data_of(seed: int, number: int, length: int) -> bytes:
    """Bytes of the exchanges' file; responses' numbers follow the requests'."""
    start = number * 37 * PAGE % EXCHANGE_FILE_SIZE // 8
    words = (mix((seed + start + i) & MASK) for i in range(length // 8 + 1))
    return struct.pack(f"<{length // 8 + 1}Q", *words)[:length]


def request_of(seed: int, kind: int, number: int) -> bytes:
    number %= NUMBERS
    return bytes([number << 2 | kind]) + data_of(seed, number, REQUEST)[1:]


def response_of(seed: int, number: int) -> bytes:
    return data_of(seed, NUMBERS + number % NUMBERS, RESPONSE)


def answer_one(sock: socket.socket, before: int, sick: bool, defect: str) -> bool:
    """Whether that was not the last one."""
    request = read_exactly(sock, REQUEST)
    kind, number = request[0] & 3, request[0] >> 2
    assert request == request_of(SEED, kind, number), "a wrong request"
    if kind == LAST:
        total = before + (defect == "wrong-verdict")
        if defect == "no-verdict":
            sock.shutdown(socket.SHUT_WR)
        else:
            sock.sendall(struct.pack("<QQ", VERDICT, total))
        return False
    response = response_of(SEED, number)
    if sick:
        if defect == "flipped":
            response = DAMAGE["last-byte"](response, b"")
        elif defect == "other":
            response = response_of(SEED, number - 1)
        elif defect == "half":
            sock.sendall(response[:500])
            sock.shutdown(socket.SHUT_WR)
            return False
        elif defect == "long":
            response += b"x"
        elif defect == "stalled":
            signal.pause()  # until test.sh ends it
        elif defect == "reset":
            reset(sock)
            return False
    if defect == "slow":
        time.sleep(SLOW)
    sock.sendall(response)
    return True


def answer(ready: str, mode: int, defect: str) -> None:
    listener = listen(ready, 1)
    sock, _ = listener.accept()
    sock.sendall(hello_of(defect, SERVE, 1, mode))
    count = 0
    try:
        while mode == RR and answer_one(sock, count, count == SICK, defect):
            count += 1
        while mode == CRR:
            sick = count == SICK
            if sick and defect == "gone":
                sock.close()
                signal.pause()  # until test.sh ends it
            one, _ = listener.accept()
            more = answer_one(one, 0, sick, defect)
            if sick and defect == "open":
                signal.pause()
            # the next comes when this one is closed
            if count + 1 == SICK and defect == "deaf":
                listener.close()
            one.close()
            if not more:
                break
            count += 1
    except (OSError, EOFError):
        pass  # ptcpbench saw the defect and left
    if sock.fileno() >= 0:
        wait_for_end(sock)


def ask(port: int, mode: int, defect: str) -> None:
    def connect() -> socket.socket:
        return socket.create_connection(("127.0.0.1", port))

    first = sock = connect()
    hello = read_exactly(first, struct.calcsize(HELLO_FORMAT))
    seed = struct.unpack(HELLO_FORMAT, hello)[-1]
    for number in range(EXCHANGES + 1):
        kind = LAST if number == EXCHANGES else MEASURED
        request = request_of(seed, kind, number)
        if number == SICK and defect == "gone":
            return
        if number == SICK and defect == "mute":
            signal.pause()  # until test.sh ends it
        if mode == CRR:
            sock = connect()
        if number == SICK:
            if defect == "flipped":
                request = DAMAGE["last-byte"](request, b"")
            elif defect == "skipped":
                request = request_of(seed, kind, number + 1)
            elif defect == "unknown":
                request = request_of(seed, UNKNOWN, number)
            elif defect == "half":
                sock.sendall(request[:50])
                sock.shutdown(socket.SHUT_WR)
                wait_for_end(first)
                return
            elif defect == "long":
                request += b"x"
            elif defect == "silent":
                signal.pause()
            elif defect == "reset":
                reset(sock)
                return
        sock.sendall(request)
        try:
            if kind == LAST:
                before = number if mode == RR else 0
                verdict = struct.pack("<QQ", VERDICT, before)
                assert read_exactly(sock, len(verdict)) == verdict
            else:
                wrong = read_exactly(sock, RESPONSE) != response_of(seed, number)
                assert not wrong, "a wrong response"
            if mode == CRR:
                assert not sock.recv(1), "a response does not end"
        except (ConnectionError, EOFError):
            return  # serve saw the defect and left


def main() -> None:
    role, where, conns, defect = sys.argv[1:]
    mode = CRR if role.endswith("-crr") else RR
    if role == "serve":
        serve(where, int(conns), defect)
    elif role == "sink":
        sink(int(where), int(conns), defect)
    elif role.startswith("answer"):
        answer(where, mode, defect)
    else:
        ask(int(where), mode, defect)


if __name__ == "__main__":
    main()
