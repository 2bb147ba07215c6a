#!/usr/bin/python3
# SPDX-License-Identifier: MPL-2.0
"""Draws the pictures of docs/metrics.md from a real run: scripts/pictures.py (cargo build before).

A program knows nothing of the tracer, which is in its environment alone. It runs for 90 s: one consumer
gets slow, a branch fails and comes back, the camera loses frames. What /metrics says each second is
drawn as docs/grafana.json shows it; graphviz draws the pipeline.
"""

import os
import re
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from xml.sax.saxutils import escape

ROOT = Path(__file__).resolve().parent.parent
IMAGES = ROOT / "docs" / "images"
ADDRESS = "127.0.0.1:19464"
SECONDS = 90
LINE = """
videotestsrc is-live=true ! video/x-raw,format=I420,width=320,height=240,framerate=30/1 !
identity name=camera ! dronetee name=t
t.src_detection_client ! identity name=detector ! fakesink
t.src_movement_detector ! fakesink
t.src_telemetry ! dronebranch name=telemetry restart-delay=12000000000
  description="identity error-after=1100 ! fakesink"
"""
# At these seconds the program changes these properties.
CHANGES = [
    (15, "detector", "sleep-time", 100_000),
    (45, "detector", "sleep-time", 0),
    (60, "camera", "drop-probability", 0.4),
    (78, "camera", "drop-probability", 0.0),
]
SAMPLE = re.compile(r"^(\w+)\{(.*)\} (\S+)$")
LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')
COLOURS = ["#3274d9", "#e0752d", "#56a64b", "#a352cc", "#e02f44", "#8a8a8a"]


def scrape():
    with urllib.request.urlopen(f"http://{ADDRESS}/metrics", timeout=5) as answer:
        lines = answer.read().decode().splitlines()
    samples = {}
    for name, labels, value in (m.groups() for m in map(SAMPLE.match, lines) if m):
        samples[name, tuple(v for _, v in LABEL.findall(labels))] = float(value)
    return samples


def run():
    """The samples of each second, and the graph of the running pipeline."""
    os.environ["GST_TRACERS"] = f"dronetee-metrics(listen={ADDRESS})"
    folder = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    os.environ.setdefault("GST_PLUGIN_PATH", str(folder / "debug"))
    import gi
    gi.require_version("Gst", "1.0")
    from gi.repository import Gst

    Gst.init(None)
    pipeline = Gst.parse_launch(LINE)
    pipeline.set_state(Gst.State.PLAYING)
    seen, begin, changes, graph = [], time.monotonic(), list(CHANGES), None
    while (now := time.monotonic() - begin) < SECONDS:
        while changes and changes[0][0] <= now:
            _, name, key, value = changes.pop(0)
            pipeline.get_by_name(name).set_property(key, value)
        seen.append((now, scrape()))
        if graph is None and now > 25:
            graph = Gst.debug_bin_to_dot_data(pipeline, Gst.DebugGraphDetails.NON_DEFAULT_PARAMS)
        time.sleep(1)
    pipeline.set_state(Gst.State.NULL)
    return seen, graph


def rates(seen, name, legend):
    """A line for each series of a counter: its growth a second, over five seconds."""
    lines = {}
    for (t0, before), (t1, after) in zip(seen, seen[5:]):
        for (metric, labels), value in after.items():
            if metric == name and (metric, labels) in before:
                grown = value - before[metric, labels]
                lines.setdefault(legend(labels), []).append((t1, max(grown, 0) / (t1 - t0)))
    return lines


def levels(seen, name, legend, factor=1):
    lines = {}
    for now, samples in seen:
        for (metric, labels), value in samples.items():
            if metric == name:
                lines.setdefault(legend(labels), []).append((now, value * factor))
    return lines


def text(x, y, words, size=11, more=""):
    return f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" {more}>{escape(words)}</text>'


def scale(highest):
    """The least number of a row that is good to read, from this one on."""
    steps = (factor * 10**power for power in range(-3, 6) for factor in (1, 1.2, 1.6, 2, 4, 6, 8))
    return next(step for step in steps if step >= highest * 0.98)


def panel(x, y, title, unit, lines):
    """A chart of 440 by 200 at this place; lines that are zero throughout are left out."""
    left, top, width, height = x + 52, y + 30, 370, 110
    lines = {name: points for name, points in lines.items() if any(v > 0 for _, v in points)}
    highest = scale(max((v for points in lines.values() for _, v in points), default=1))
    parts = [f'<rect x="{x}" y="{y}" width="440" height="200" rx="3" fill="#ffffff" stroke="#d8d9da"/>',
             text(x + 10, y + 18, title, 13, 'font-weight="600"')]
    for part in range(5):
        level, at = highest * part / 4, top + height - height * part / 4
        parts.append(f'<path d="M{left} {at:.1f}h{width}" stroke="#e9edf2"/>')
        parts.append(text(left - 5, at + 4, f"{level:.3g}{unit if part == 4 else ''}", 10, 'text-anchor="end"'))
    for second in range(0, SECONDS + 1, 15):
        at = left + width * second / SECONDS
        parts.append(text(at, top + height + 14, f"{second} s", 10, 'text-anchor="middle"'))
    legend_x, legend_y = x + 12, top + height + 33
    for colour, (name, points) in zip(COLOURS, lines.items()):
        path = " ".join(f"{left + width * min(t / SECONDS, 1):.1f},{top + height - height * v / highest:.1f}"
                        for t, v in points)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.8"/>')
        length = 24 + 7 * len(name)
        if legend_x + length > x + 435:
            legend_x, legend_y = x + 12, legend_y + 15
        parts.append(f'<rect x="{legend_x:.1f}" y="{legend_y - 5:.1f}" width="12" height="3" fill="{colour}"/>')
        parts.append(text(legend_x + 16, legend_y, name))
        legend_x += length
    return "\n".join(parts)


def dashboard(seen):
    consumer, last = (lambda labels: labels[1]), (lambda labels: ": ".join(labels[1:]))

    def fixed(name):
        return lambda labels: name

    panels = [
        ("Frames a second that each consumer gets", "",
         rates(seen, "dronetee_frames_published_total", fixed("arrive"))
         | rates(seen, "dronetee_frames_delivered_total", consumer)),
        ("Frames a second that consumers lose, and why", "",
         rates(seen, "dronetee_frames_dropped_total", last)),
        ("Frames a second lost before the element", "",
         rates(seen, "dronetee_input_frames_missing_total", fixed("missing"))
         | rates(seen, "dronetee_input_gaps_total", fixed("gaps"))
         | rates(seen, "dronetee_input_disconts_total", fixed("DISCONT"))),
        ("Healthy", "", levels(seen, "dronetee_consumer_healthy", consumer)),
        ("Frames that wait", "", levels(seen, "dronetee_queue_level", consumer)),
        ("Time in the branch, 99th percentile since start", " ms",
         levels(seen, "dronetee_service_p99_seconds", consumer, 1000)),
    ]
    drawn = [panel(10 + 450 * (n % 2), 10 + 210 * (n // 2), *own) for n, own in enumerate(panels)]
    return ('<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 910 650" font-family="sans-serif" fill="#24292e">\n'
            '<title>Metrics of dronetee in a run of 90 s</title>\n'
            '<rect width="910" height="650" fill="#f4f5f5"/>\n' + "\n".join(drawn) + "\n</svg>\n")


def main():
    seen, graph = run()
    IMAGES.mkdir(exist_ok=True)
    (IMAGES / "dashboard.svg").write_text(dashboard(seen))
    # Addresses would differ from run to run.
    graph = re.sub(r"0x[0-9a-f]+", "0x…", graph)
    svg = subprocess.run(["dot", "-Tsvg"], input=graph, text=True, check=True, capture_output=True)
    (IMAGES / "graph.svg").write_text(svg.stdout)


if __name__ == "__main__":
    sys.exit(main())
