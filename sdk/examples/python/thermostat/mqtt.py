"""MQTT 3.1.1, as much of it as publishing takes. TLS is not here: gabion-tls is the other end, in the same box."""

import socket

# Clean session, keep alive for two minutes, a name that the broker gives.
CONNECT = bytes([0x10, 12, 0, 4]) + b"MQTT" + bytes([4, 2, 0, 120, 0, 0])


class Broker:
    """A connection to a port of the loopback."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=10)
        self.ask(CONNECT, b"\x20\x02\0\0")

    def publish(self, topic, message):
        """Publishes with QoS 1, and is back when the broker has it."""
        topic = topic.encode()
        body = bytes([0, len(topic)]) + topic + b"\0\x01" + message.encode()
        if len(body) > 127:
            raise ValueError("the length of what is published is one byte here")
        self.ask(bytes([0x32, len(body)]) + body, b"\x40\x02\0\x01")

    def ask(self, packet, answer):
        self.socket.sendall(packet)
        got = b""
        while len(got) < len(answer):
            some = self.socket.recv(len(answer) - len(got))
            if not some:
                raise ConnectionResetError("the broker ended the connection")
            got += some
        if got != answer:
            raise ConnectionError(f"the broker answered {got.hex()}")
