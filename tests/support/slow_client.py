"""A client that requests much data and reads none of it."""

import socket
from urllib.parse import urlsplit


class SlowClient:
    """Has read the response's head; its socket's receive buffer is nearly full."""

    def __init__(self, base: str, path: str, key: str = "", source: str = "127.0.0.1") -> None:
        url = urlsplit(base)
        assert url.hostname
        assert url.port
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        # otherwise loopback's sender buffers megabytes
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 536)
        self._socket.settimeout(20)
        self._socket.bind((source, 0))
        self._socket.connect((url.hostname, url.port))
        authorization = f"Authorization: Bearer {key}\r\n" if key else ""
        self._socket.sendall(f"GET {path} HTTP/1.1\r\nHost: {url.netloc}\r\n{authorization}\r\n".encode())
        self.response_head = b""
        while b"\r\n\r\n" not in self.response_head:
            byte = self._socket.recv(1)
            assert byte, self.response_head
            self.response_head += byte
        self.status = int(self.response_head.split()[1])

    def read_until_closed(self) -> bool:
        """Reads everything; returns whether the connection ended with a reset."""
        try:
            while self._socket.recv(1 << 16):
                pass
        except ConnectionResetError:
            return True
        return False

    def close(self) -> None:
        self._socket.close()
