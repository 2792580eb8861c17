#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""hold-connections.py ADDRESSES CONNS - the host's side of guest-memory.sh, in
the clients' namespace: CONNS connections, spread over the addresses, that have
been accepted and then stand idle until the guest has made $SHARE/done.
"""

from __future__ import annotations

import os
import resource
import socket
import sys
import time
from pathlib import Path

_PORT = 5010


def main() -> None:
    addresses, count = sys.argv[1].split(","), int(sys.argv[2])
    share = Path(os.environ["SHARE"])
    files = count + 64
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, max(files, hard)))
    held = []
    for number in range(count):
        held.append(socket.create_connection((addresses[number % len(addresses)], _PORT), timeout=60))
    for connection in held:
        # The hello that ptcpbench sends to each that it has accepted.
        if not connection.recv(1):
            sys.exit("a connection was closed by the guest")
    (share / "held").touch()
    while not (share / "done").exists():
        time.sleep(0.05)


if __name__ == "__main__":
    main()
