#!/usr/bin/python3
# SPDX-License-Identifier: MPL-2.0
"""A slow consumer in Python that knows how many frames it lost before each one that it gets.

    GST_PLUGIN_PATH=target/release examples/losses.py

`loss-events=true` on the pad has dronetee send the branch an event `dronetee-loss` before the first frame
after a loss.
"""
import time

import gi

gi.require_version("Gst", "1.0")
from gi.repository import Gst

FRAMES = 40
LINE = f"""videotestsrc num-buffers={FRAMES} ! video/x-raw,framerate=100/1 ! clocksync ! dronetee name=t depth=2
    t.src_detection_client ! appsink name=out sync=false max-buffers=1"""


def on_event(_pad, info, lost):
    structure = info.get_event().get_structure()
    if structure and structure.get_name() == "dronetee-loss":
        count = structure.get_value("count")
        lost.append(count)
        print(f"lost {count} before frame {structure.get_value('sequence')}", flush=True)
    return Gst.PadProbeReturn.OK


def main():
    Gst.init(None)
    pipeline = Gst.parse_launch(LINE)
    pipeline.get_by_name("t").get_static_pad("src_detection_client").set_property("loss-events", True)
    out, lost, came = pipeline.get_by_name("out"), [], 0
    out.get_static_pad("sink").add_probe(Gst.PadProbeType.EVENT_DOWNSTREAM, on_event, lost)
    pipeline.set_state(Gst.State.PLAYING)
    while out.emit("pull-sample"):
        came += 1
        time.sleep(0.05)
    print(f"{FRAMES} frames: {came} came, {sum(lost)} were lost", flush=True)
    pipeline.set_state(Gst.State.NULL)


main()
