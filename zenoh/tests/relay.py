# SPDX-License-Identifier: MPL-2.0
"""A slow link: a TCP relay on loopback that carries so many bytes a second from its clients to a server.

What the kernel's buffers take on both sides stays in them, as in a modem.
"""
import socket
import threading
import time


class Relay:
    def __init__(self, server, rate=None):
        """To a port on 127.0.0.1; rate in bytes a second for all connections together, None for no limit."""
        self.server = server
        self.rate = rate
        self.carried = 0
        self._free = 0.0
        self._turn = threading.Lock()
        self._sockets = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(("127.0.0.1", self.server))
            except OSError:
                client.close()
                continue
            self._sockets += [client, server]
            for source, target, slow in ((client, server, True), (server, client, False)):
                threading.Thread(target=self._pump, args=(source, target, slow), daemon=True).start()

    def _pump(self, source, target, slow):
        try:
            while data := source.recv(4096):
                if slow:
                    self._wait(len(data))
                target.sendall(data)
        except OSError:
            pass
        for end in (source, target):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def _wait(self, size):
        with self._turn:
            self.carried += size
            if self.rate is None:
                return
            start = max(self._free, time.monotonic())
            self._free = start + size / self.rate
        time.sleep(max(0.0, self._free - time.monotonic()))

    def close(self):
        self._listener.close()
        for end in self._sockets:
            end.close()
