# SPDX-License-Identifier: MPL-2.0
"""dronetee-zenoh against real zenoh sessions in other processes, all on 127.0.0.1.

Run by scripts/test-zenoh.sh. What was sent, dropped and received has to add up each time, and what hangs or dies
on the ground costs nothing on board and nothing at the other receiver.
"""
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import unittest
from pathlib import Path

import ground
import zenoh
from relay import Relay

HERE = Path(__file__).parent
PROGRAM = os.environ["DRONETEE_ZENOH"]
CAMERA = os.environ["RTSP_SERVER"]
DEADLINE = 60

# A keyframe a second, and something that moves. For a number of frames, or for as long as the test takes.
LINE = ("videotestsrc is-live=true pattern=ball ! video/x-raw,width=320,height=240,framerate=30/1 ! "
        "x264enc tune=zerolatency speed-preset=ultrafast key-int-max=30 bitrate=400 ! h264parse")
# Noise, of about 0.9 MB a second.
HEAVY = ("videotestsrc is-live=true pattern=snow ! video/x-raw,width=320,height=240,framerate=30/1 ! "
         "x264enc tune=zerolatency speed-preset=ultrafast key-int-max=30 bitrate=7200 vbv-buf-capacity=200 ! "
         "h264parse")


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def endpoint(port):
    return f"tcp/127.0.0.1:{port}"


class Process:
    """A program whose lines of JSON are kept; killed if it outlives the test."""

    def __init__(self, test, *command):
        self.child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.said, self.errors = [], []
        self._readers = [threading.Thread(target=self._read, daemon=True),
                         threading.Thread(target=self._complain, daemon=True)]
        for reader in self._readers:
            reader.start()
        test.addCleanup(self.kill)

    def _read(self):
        for line in self.child.stdout:
            self.said.append(json.loads(line))

    def _complain(self):
        for line in self.child.stderr:
            self.errors.append(line)

    def send(self, number):
        self.child.send_signal(number)

    def kill(self):
        self.child.kill()
        self.child.wait()

    def end(self, number=signal.SIGINT):
        """Asks it to end; its exit status."""
        if number is not None:
            self.send(number)
        status = self.child.wait(DEADLINE)
        for reader in self._readers:
            reader.join(DEADLINE)
        return status


class Receiver(Process):
    def __init__(self, test, port, key="drone/ground"):
        super().__init__(test, sys.executable, str(HERE / "ground.py"), "receive", endpoint(port), key)
        test.wait("a receiver", lambda: self.said)

    @property
    def frames(self):
        return [one for one in self.said if "sequence" in one]

    @property
    def gaps(self):
        """Messages that were lost on the way."""
        return sum(one["gap"] for one in self.frames)


class Ground(unittest.TestCase):
    def wait(self, what, condition, deadline=DEADLINE):
        end = time.monotonic() + deadline
        while not condition():
            self.assertLess(time.monotonic(), end, f"not in time: {what}")
            time.sleep(0.02)

    def wait_frames(self, receiver, more):
        before = len(receiver.frames)
        self.wait("frames at a receiver", lambda: len(receiver.frames) >= before + more)

    def absent(self, seconds):
        """Nothing is there for a while."""
        end = time.monotonic() + seconds
        self.wait("an absence", lambda: time.monotonic() >= end)

    def router(self, port):
        router = Process(self, sys.executable, str(HERE / "ground.py"), "router", endpoint(port))
        self.wait("a router", lambda: router.said)
        return router

    def drone(self, port, *more, line=LINE):
        return Process(self, PROGRAM, "--line", line, "--connect", endpoint(port),
                       "--branch", "recorder=fakesink sync=false", *more)

    def session(self, port):
        session = ground.connect(endpoint(port))
        self.addCleanup(session.close)
        return session

    def health(self, session):
        """What the drone answers now, None if it does not."""
        for reply in session.get("drone/health", timeout=2):
            if reply.ok is not None:
                return json.loads(reply.ok.payload.to_string())
        return None

    def wait_health(self, session, what, condition):
        def holds():
            health = self.health(session)
            return health is not None and condition(health["zenoh"])
        self.wait(what, holds)

    def land(self, drone):
        """Ends it; its last accounts, which have to balance."""
        self.assertEqual(drone.end(), 0, drone.errors)
        return self.check(drone.said[-1])

    def check(self, health):
        consumers = {one["consumer"]: one["ledger"] for one in health["consumers"]}
        for name, ledger in consumers.items():
            there = ledger["frames_out"] + sum(ledger["dropped"].values())
            self.assertEqual(ledger["frames_in"], there + ledger["waiting"] + ledger["in_flight"], name)
        recorder = consumers["recorder"]
        self.assertEqual(recorder["frames_in"], health["published"])
        lost = {reason: count for reason, count in recorder["dropped"].items() if count and reason != "flushing"}
        lost.pop("waiting-keyframe", None) if recorder["dropped"]["flushing"] else None
        self.assertEqual(lost, {}, "nothing is lost on board")
        sender, mine = health["zenoh"], consumers["ground"]
        self.assertEqual(sender["taken"], sender["sent"] + sender["no_subscriber"] + sender["failed"])
        self.assertEqual(sender["taken"], mine["frames_out"] + mine["in_flight"])
        return health

    def assert_whole(self, receiver, sender):
        """All that was sent arrived, from the first frame on."""
        self.wait("the last frame", lambda: receiver.frames[-1]["sequence"] == sender["last"])
        self.assertEqual(receiver.frames[0]["sequence"], sender["first"])
        self.assertEqual((receiver.gaps, len(receiver.frames)), (0, sender["sent"]))

    def test_each_message_is_a_picture_that_a_known_decoder_takes(self):
        port = free_port()
        self.router(port)
        receiver = Receiver(self, port)
        camera = subprocess.Popen([CAMERA, "0"], stdout=subprocess.PIPE, text=True)
        self.addCleanup(camera.stdout.close)
        self.addCleanup(camera.wait)
        self.addCleanup(camera.kill)
        url = camera.stdout.readline().strip()
        line = (f"rtspsrc location={url} latency=0 ! application/x-rtp,media=video ! "
                "rtph264depay ! h264parse")
        drone = self.drone(port, "--frame-id", "nose", line=line)
        self.wait_frames(receiver, 90)
        health = self.land(drone)
        self.assert_whole(receiver, health["zenoh"])
        for one in receiver.frames:
            self.assertEqual((one["format"], one["frame_id"]), ("h264", "nose"))
            self.assertEqual(one["pictures"], 1, "one access unit a message")
            self.assertEqual(one["key"], one["headers"], "parameter sets with each keyframe")
            self.assertEqual(one["encoding"], "application/cdr;foxglove.CompressedVideo")
            self.assertIn("DATA_LOW", one["priority"])
            self.assertIn("DROP", one["congestion"])
        self.assertGreater(sum(one["key"] for one in receiver.frames), 1)

    def test_health_comes_once_a_second_and_to_who_asks(self):
        port = free_port()
        self.router(port)
        session = self.session(port)
        alive, told = [], []
        session.liveliness().declare_subscriber("drone/**", lambda sample: alive.append(sample), history=True)
        session.declare_subscriber("drone/health", lambda sample: told.append(sample))
        drone = self.drone(port)
        self.wait("health", lambda: len(told) >= 3)
        self.assertEqual([(str(one.key_expr), one.kind) for one in alive],
                         [("drone/ground", zenoh.SampleKind.PUT)])
        health = json.loads(told[-1].payload.to_string())
        self.assertIn("INTERACTIVE_HIGH", str(told[-1].priority))
        self.assertEqual(str(told[-1].encoding), "application/json")
        self.assertFalse(health["zenoh"]["subscribed"])
        asked = self.health(session)
        self.assertGreaterEqual(asked["published"], health["published"])
        drone.kill()
        self.wait("the end of life", lambda: len(alive) == 2)
        self.assertEqual(alive[-1].kind, zenoh.SampleKind.DELETE)

    def test_without_a_ground_the_drone_flies(self):
        drone = self.drone(free_port())
        self.absent(3)
        health = self.land(drone)
        self.assertGreater(health["published"], 30)
        sender = health["zenoh"]
        self.assertEqual((sender["sent"], sender["connected"]), (0, False))
        self.assertGreater(sender["no_subscriber"], 30)
        self.assertTrue(any("no link yet" in line for line in drone.errors), drone.errors)

    def test_a_subscriber_that_appears_gets_a_keyframe(self):
        port = free_port()
        self.router(port)
        session = self.session(port)
        drone = self.drone(port, line=LINE.replace("key-int-max=30", "key-int-max=100000"))
        self.wait_health(session, "a link", lambda sender: sender["no_subscriber"] > 60)
        receiver = Receiver(self, port)
        self.wait("a keyframe", lambda: any(one["key"] for one in receiver.frames))
        # One that comes later asks by itself.
        keyframes = sum(one["key"] for one in receiver.frames)
        self.absent(1.1)
        for reply in session.get("drone/ground/keyframe", timeout=2):
            self.assertIsNotNone(reply.ok)
        self.wait("another", lambda: sum(one["key"] for one in receiver.frames) > keyframes)
        health = self.land(drone)
        self.assertGreaterEqual(health["zenoh"]["keyframe_requests"], 2)

    def test_a_receiver_that_is_stopped_costs_the_other_nothing(self):
        port = free_port()
        self.router(port)
        stopped, good = Receiver(self, port), Receiver(self, port)
        # Enough to fill what the kernel keeps for the one that is stopped.
        drone = self.drone(port, line=HEAVY)
        self.wait_frames(stopped, 30)
        stopped.send(signal.SIGSTOP)
        self.wait_frames(good, 300)
        stopped.send(signal.SIGCONT)
        self.wait_frames(stopped, 30)
        health = self.land(drone)
        self.assert_whole(good, health["zenoh"])
        # What it has lost, it knows.
        last = stopped.frames[-1]["sequence"]
        before = [one for one in good.frames if stopped.frames[0]["sequence"] <= one["sequence"] <= last]
        self.assertEqual(len(stopped.frames) + stopped.gaps, len(before))

    def test_a_receiver_that_is_killed_comes_back(self):
        port = free_port()
        self.router(port)
        killed, good = Receiver(self, port), Receiver(self, port)
        drone = self.drone(port)
        self.wait_frames(killed, 30)
        killed.kill()
        self.absent(3)
        again = Receiver(self, port)
        self.wait_frames(again, 60)
        health = self.land(drone)
        self.assert_whole(good, health["zenoh"])
        self.assertEqual((killed.gaps, again.gaps), (0, 0))
        self.wait("the last frame", lambda: again.frames[-1]["sequence"] == health["zenoh"]["last"])

    def test_a_router_that_is_restarted(self):
        port = free_port()
        router = self.router(port)
        one, other = Receiver(self, port), Receiver(self, port)
        drone = self.drone(port)
        self.wait_frames(one, 60)
        router.kill()
        self.absent(3)
        self.router(port)
        self.wait_frames(one, 60)
        self.wait_frames(other, 30)
        health = self.land(drone)
        sender = health["zenoh"]
        self.assertGreater(sender["no_subscriber"], 30, "nothing was sent nowhere")
        for receiver in (one, other):
            self.wait("the last frame", lambda: receiver.frames[-1]["sequence"] == sender["last"])
            # What was on its way to the router is lost, and the receiver knows how much that is.
            self.assertEqual(len(receiver.frames) + receiver.gaps + self.missed(receiver, sender), sender["sent"])

    def missed(self, receiver, sender):
        """Sent before the receiver's first frame."""
        return 0 if receiver.frames[0]["sequence"] == sender["first"] else 1

    def test_on_a_slow_link_pictures_are_dropped_on_board_and_none_gets_old(self):
        port = free_port()
        self.router(port)
        relay = Relay(port)
        self.addCleanup(relay.close)
        receiver = Receiver(self, port)
        session = self.session(port)
        drone = self.drone(relay.port, line=HEAVY)
        self.wait_frames(receiver, 60)
        rate = relay.carried
        self.absent(2)
        rate = (relay.carried - rate) / 2
        relay.rate = rate * 2 / 3
        slow_from = len(receiver.frames)
        self.absent(15)
        asked = self.health(session)
        relay.rate = None
        health = self.land(drone)
        sender = health["zenoh"]
        self.assert_whole(receiver, sender)
        slow = receiver.frames[slow_from:]
        ages = sorted(one["age"] for one in slow)
        lost = sum(one["lost_before"] for one in slow)
        print(f"\nslow link: {rate / 1e3:.0f} kB/s over {rate * 2 / 3e3:.0f} kB/s: {len(slow)} pictures, "
              f"{lost} dropped on board, age p50 {ages[len(ages) // 2]:.0f} ms, max {ages[-1]:.0f} ms; "
              f"sender sees {(asked['zenoh']['rate'] or 0) / 1e3:.0f} kB/s, way {asked['zenoh']['way_ms']} ms, "
              f"{asked['zenoh']['bytes_on_way']} bytes on the way", file=sys.stderr)
        self.assertGreater(lost, 60, "the ground lost frames")
        mine = next(one for one in health["consumers"] if one["consumer"] == "ground")["ledger"]["dropped"]
        self.assertGreaterEqual(mine["stale"] + mine["waiting-keyframe"] + mine["slow"], lost)
        # Not a measure of speed: what the sender promises.
        self.assertLess(ages[-1], 1000)

    def test_a_link_that_stands_still(self):
        port = free_port()
        router = self.router(port)
        receiver = Receiver(self, port)
        drone = self.drone(port)
        self.wait_frames(receiver, 60)
        router.send(signal.SIGSTOP)
        self.absent(4)
        router.send(signal.SIGCONT)
        before = len(receiver.frames)
        self.wait_frames(receiver, 60)
        health = self.land(drone)
        lost = sum(one["lost_before"] for one in receiver.frames[before:])
        self.assertGreater(lost, 30, "what could not go was dropped on board")
        self.assert_whole(receiver, health["zenoh"])

    def test_what_is_wrong_is_told(self):
        for args, said in (
            (["--line", "videotestsrc", "--connect", "nonsense"], "connect/endpoints"),
            (["--line", "no-such-element", "--connect", "tcp/127.0.0.1:1"], "no-such-element"),
            (["--line", "videotestsrc", "--connect", "tcp/127.0.0.1:1"], "h264parse"),
            (["--line", "x", "--connect", "tcp/127.0.0.1:1", "--config", "/nonexistent"], "/nonexistent"),
            (["--connect", "tcp/127.0.0.1:1"], "--line"),
        ):
            run = subprocess.run([PROGRAM, *args], capture_output=True, text=True, timeout=DEADLINE)
            self.assertNotEqual(run.returncode, 0, args)
            self.assertIn(said, run.stderr)
            self.assertNotIn("panicked", run.stderr)
        run = subprocess.run([PROGRAM, "--help"], capture_output=True, text=True, timeout=DEADLINE)
        self.assertEqual(run.returncode, 0)
        self.assertIn("--line", run.stdout)

    def test_a_camera_that_fails_is_an_error(self):
        line = LINE.replace("! x264enc", "! identity error-after=30 ! x264enc")
        drone = self.drone(free_port(), line=line)
        self.assertEqual(drone.end(None), 1)
        self.assertTrue(any("identity" in one for one in drone.errors), drone.errors)


if __name__ == "__main__":
    unittest.main(verbosity=2)
