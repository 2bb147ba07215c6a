# SPDX-License-Identifier: MPL-2.0
"""The ground side of the tests, a process each: a router, or a receiver that prints what it gets.

    ground.py router ENDPOINT
    ground.py receive ENDPOINT KEY

A receiver prints a JSON object a message: sequence, lost_before, age in ms, bytes, whether it is a keyframe, and
how many messages were lost on the way before it.
"""
import json
import signal
import struct
import sys
import threading
import time

import numpy  # noqa: F401  (rosbags returns its arrays)
import zenoh
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

TYPE = "foxglove_msgs/msg/CompressedVideo"
FIELDS = "builtin_interfaces/Time timestamp\nstring frame_id\nuint8[] data\nstring format\n"
TYPES = get_typestore(Stores.ROS2_HUMBLE)
TYPES.register(get_types_from_msg(FIELDS, TYPE))


def config(mode, **settings):
    made = zenoh.Config()
    made.insert_json5("mode", json.dumps(mode))
    made.insert_json5("scouting/multicast/enabled", "false")
    # On one machine it would go past the socket.
    made.insert_json5("transport/shared_memory/enabled", "false")
    for key, value in settings.items():
        made.insert_json5(key.replace("__", "/"), json.dumps(value))
    return made


def connect(endpoint):
    """A session that waits for its router, and for it to come back."""
    retry = {"period_init_ms": 200, "period_max_ms": 500, "period_increase_factor": 1.5}
    while True:
        try:
            return zenoh.open(config("client", connect__endpoints=[endpoint], connect__retry=retry))
        except zenoh.ZError:
            time.sleep(0.1)


def say(**what):
    print(json.dumps(what), flush=True)


def units(data):
    """Types of the NAL units of an access unit in Annex B, and how many slices begin a picture."""
    types, pictures, at = [], 0, data.find(b"\0\0\1")
    while at >= 0:
        types.append(data[at + 3] & 31)
        # The first bit of a slice is set if its first macroblock is number 0.
        pictures += types[-1] in (1, 5) and data[at + 4] >> 7
        at = data.find(b"\0\0\1", at + 3)
    return types, pictures


class Receiver:
    def __init__(self):
        self.expected = None

    def take(self, sample):
        now = time.time_ns()
        sequence, captured, lost_before = struct.unpack("<QQQ", sample.attachment.to_bytes())
        message = TYPES.deserialize_cdr(sample.payload.to_bytes(), TYPE)
        stamp = message.timestamp.sec * 1_000_000_000 + message.timestamp.nanosec
        assert stamp == captured, (stamp, captured)
        types, pictures = units(message.data.tobytes())
        # What the sender says that it lost is no gap of the link's.
        gap = 0 if self.expected is None else sequence - lost_before - self.expected
        self.expected = sequence + 1
        say(sequence=sequence, lost_before=lost_before, gap=gap, age=(now - captured) / 1e6,
            bytes=len(message.data), key=5 in types, headers=7 in types and 8 in types,
            pictures=pictures, format=message.format, frame_id=message.frame_id,
            encoding=str(sample.encoding), priority=str(sample.priority),
            congestion=str(sample.congestion_control))


def main():
    role, endpoint, *rest = sys.argv[1:]
    end = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: end.set())
    if role == "router":
        session = zenoh.open(config("router", listen__endpoints=[endpoint]))
    else:
        session = connect(endpoint)
        receiver = Receiver()
        subscriber = session.declare_subscriber(rest[0], receiver.take)  # noqa: F841
    say(ready=role)
    end.wait()
    session.close()


if __name__ == "__main__":
    main()
