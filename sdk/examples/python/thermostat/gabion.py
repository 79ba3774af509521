"""Calls on the bus of a Gabion device: varlink, as it is."""

import json
import os
import socket


class Failed(Exception):
    """What the other side answered with: the name of its error, and its parameters."""

    def __init__(self, name, parameters):
        super().__init__(name, parameters)
        self.name, self.parameters = name, parameters


class Call:
    """A call under way, on a connection of its own."""

    def __init__(self, method, more=False, **parameters):
        interface = method.rpartition(".")[0]
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(os.path.join(os.environ.get("GABION_BUS", "/run/bus"), interface))
        message = {"method": method, "parameters": parameters, "more": more}
        self.socket.sendall(json.dumps(message).encode() + b"\0")
        self.held, self.fds = b"", []

    def reply(self, timeout=None):
        """The next reply; None when there is none within so many seconds."""
        self.socket.settimeout(timeout)
        while b"\0" not in self.held:
            try:
                data, fds, *_ = socket.recv_fds(self.socket, 65536, 8)
            except (TimeoutError, BlockingIOError):
                return None
            if not data:
                raise ConnectionResetError("the other side ended the connection")
            self.held, self.fds = self.held + data, self.fds + fds
        message, _, self.held = self.held.partition(b"\0")
        reply = json.loads(message)
        if "error" in reply:
            raise Failed(reply["error"], reply.get("parameters") or {})
        return reply.get("parameters") or {}


def call(method, **parameters):
    """Calls a method, named with its interface, and gives its reply."""
    return Call(method, **parameters).reply()
