#!/usr/bin/python3
# SPDX-License-Identifier: MPL-2.0
"""Runs a launch line with a dronetee named t, prints its table once a second, and its messages.

    GST_PLUGIN_PATH=target/release examples/health.py [SECONDS] [LAUNCH LINE]

Without SECONDS for ten, without a line with a test picture and two consumers, one of them slow.
"""
import sys
import warnings

if __name__ == "__main__" and {"-h", "--help"} & set(sys.argv[1:2]):
    print(__doc__.strip())
    sys.exit()

try:
    import gi

    gi.require_version("Gst", "1.0")
    from gi.repository import GLib, Gst
except (ImportError, ValueError) as error:
    sys.exit(f"health.py: Python has no GStreamer ({error}): "
             "apt-get install python3-gi gir1.2-gstreamer-1.0")

# The only way to an array of structures without the overrides of python3-gst-1.0.
warnings.filterwarnings("ignore", message="GObject.ValueArray")

LINE = """videotestsrc is-live=true ! video/x-raw,framerate=30/1 ! dronetee name=t
    t.src_detection_client ! identity sleep-time=200000 ! fakesink sync=false async=false
    t.src_telemetry ! fakesink sync=false async=false"""


def table(tee):
    stats = tee.get_property("stats")
    value = stats.get_value
    print(f"published {value('published')}, {value('frame-rate'):.1f} frames/s, dropped {value('dropped')}")
    _, consumers = stats.get_array("consumers")
    for index in range(consumers.n_values):
        consumer = consumers.get_nth(index)
        field = consumer.get_value
        drops = []
        for n in range(consumer.n_fields()):
            name = consumer.nth_field_name(n)
            if name.startswith("dropped-") and field(name):
                reason = name.removeprefix("dropped-").replace("-", "_")
                drops.append(f"{field('consumer')}_{reason}={field(name)}")
        service = field("service-p50") / 1e6
        print(f"  {field('consumer'):<20} {field('state'):<10} in {field('in')} out {field('out')}"
              f" waiting {field('current-level-buffers')} service {service:.1f} ms {' '.join(drops)}")
    sys.stdout.flush()
    return True


def on_message(_bus, message, loop):
    if message.type == Gst.MessageType.ELEMENT:
        structure = message.get_structure()
        if structure.get_name().startswith("dronetee-"):
            print(structure.to_string(), flush=True)
    elif message.type == Gst.MessageType.ERROR:
        print(message.parse_error().gerror.message, file=sys.stderr)
        loop.failed = True
        loop.quit()
    elif message.type == Gst.MessageType.EOS:
        loop.quit()
    return True


def main():
    seconds = sys.argv[1] if len(sys.argv) > 1 else "10"
    if not seconds.isdecimal():
        sys.exit(__doc__)
    Gst.init(None)
    if Gst.ElementFactory.find("dronetee") is None:
        sys.exit("health.py: GStreamer does not find dronetee: build it and set GST_PLUGIN_PATH")
    try:
        pipeline = Gst.parse_launch(" ".join(sys.argv[2:]) or LINE)
    except GLib.Error as error:
        sys.exit(f"health.py: {error.message}")
    tee = pipeline.get_by_name("t")
    if tee is None or tee.find_property("stats") is None:
        sys.exit("health.py: the line has no dronetee name=t")
    loop = GLib.MainLoop()
    loop.failed = False
    bus = pipeline.get_bus()
    bus.add_signal_watch()
    bus.connect("message", on_message, loop)
    GLib.timeout_add_seconds(1, table, tee)
    GLib.timeout_add_seconds(int(seconds), loop.quit)
    pipeline.set_state(Gst.State.PLAYING)
    try:
        loop.run()
    except KeyboardInterrupt:
        pass
    finally:
        table(tee)
        # The stop has its messages too, which the bus forgets in NULL.
        pipeline.set_state(Gst.State.READY)
        while message := bus.pop():
            on_message(bus, message, loop)
        pipeline.set_state(Gst.State.NULL)
    sys.exit(1 if loop.failed else 0)


main()
