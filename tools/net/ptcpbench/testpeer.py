#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""A second, independent implementation of ptcpbench's streams, with defects.

test.sh points ptcpbench at this to see that every kind of damage is noticed:

  testpeer.py serve READY CONNS DEFECT       listens; ptcpbench sink connects
  testpeer.py sink PORT CONNS DEFECT         connects to ptcpbench serve

DEFECT "none" behaves, which shows that what fails otherwise is the defect.
stream.h describes the protocol. Only loopback, 127.0.0.1.
"""

import os
import signal
import socket
import struct
import sys
from collections.abc import Callable

HELLO, HEADER, TRAILER, VERDICT = (
    0x31_00_42_43_50_54_50_50 | letter << 48 for letter in b"HSTV"
)
MASK = (1 << 64) - 1
PAGE = 4096
FILE_SIZE = 16 * PAGE
SEED = 0x0123456789ABCDEF
SERVE, SINK = 0, 1
LENGTH = 300_000  # payload of each stream
SEGMENT = 1448
AT = 100_000  # where the payload is damaged: past the file's first end


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


def hello_of(defect: str, role: int, conns: int) -> bytes:
    if defect == "stranger":
        return b"SSH-2.0-OpenSSH_"
    if defect == "wrong-role":
        role = SERVE + SINK - role
    if defect == "wrong-conns":
        conns += 1
    return struct.pack("<QII", HELLO, role, conns)


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


def serve(ready: str, conns: int, defect: str) -> None:
    words = (mix((SEED + i) & MASK) for i in range(FILE_SIZE // 8))
    file = struct.pack(f"<{FILE_SIZE // 8}Q", *words)
    listener = socket.create_server(("127.0.0.1", 0), backlog=conns)
    with open(ready + ".tmp", "w", encoding="ascii") as out:
        print(listener.getsockname()[1], file=out)
    os.rename(ready + ".tmp", ready)

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
    read_exactly(first, struct.calcsize("<QII"))
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


def main() -> None:
    role, where, conns, defect = sys.argv[1:]
    if role == "serve":
        serve(where, int(conns), defect)
    else:
        sink(int(where), int(conns), defect)


if __name__ == "__main__":
    main()
