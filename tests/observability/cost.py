#!/usr/bin/env python3
"""What observability costs: coordinators side by side, one with traces and scraped metrics and one without, under the same load
in turns, with tasks in memory and with tasks on disk. Takes some five minutes.

    cargo build --release -p evenkeel
    cargo build --release -p evenkeel-shared --features otlp --example collector
    tests/observability/cost.py target/release/evenkeel target/release/examples/collector

Rounds are short and come in pairs, off and on, whose order changes each time: what else the machine does falls on both. What
counts is the ratio of the two in each pair. Printed is the typical ratio (the estimate of Hodges and Lehmann: the median of
what any two pairs have on average, which one odd round does not move and which wastes less of the others than the plain
median), with an interval that holds it at 95 % (percentiles of a bootstrap of the pairs, with a fixed seed). Both sides are
started anew a few times, since what a process has for its whole life, such as its place in memory and on disk, would be
taken for the cost otherwise.

The rule: `on` has to reach --limit (0.95) of the throughput of `off`, and that counts as shown only if the whole interval is at
or above it. Ends with 0 if that is so, for all kinds of tasks that were asked for; with 1 if the whole interval of one is below
the limit; with 3 if an interval has the limit within it: then more pairs or a quieter machine are needed. `--same` compares
off with off: what it shows is what this measure takes for a difference where there is none.

Processor time is that of the coordinator, and of all that has to do with a task: coordinator, agents, client and collector. It
depends less on what else the machine does than throughput; where processors are all that limits, one is the other's inverse.
"""

import argparse
import json
import math
import os
import pathlib
import random
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

# Of each kind the way in which tasks are submitted, tasks in one round (a second or two), starts, and pairs of rounds after each.
# On disk rounds differ more, so there are more of them.
KINDS = {"memory": ("ephemeral", 120_000, 3, 6), "disk": ("durable", 36_000, 4, 10)}
# Of the tasks of a round so many come before those that count: until what the round before left behind is done.
WARM_UP_SHARE = 0.4
# With fewer pairs the interval of a bootstrap says nothing.
PAIRS_MIN = 10
DRAWS = 4_000
CONFIDENCE = 0.95
KEPT, BROKEN, UNKNOWN = 0, 1, 3


def cpu_us(pid):
    """Processor time of a process so far, its threads together, to the nanosecond."""
    spent_ns = 0
    for thread in pathlib.Path(f"/proc/{pid}/task").iterdir():
        try:
            spent_ns += int((thread / "schedstat").read_text().split()[0])
        except FileNotFoundError:
            pass  # It has ended in between.
    return spent_ns / 1e3


class Side:
    """A coordinator with its agents."""

    def __init__(self, name, kind, args, directory, telemetry):
        self.name, self.program, self.is_scraped = name, args.program, bool(telemetry)
        self.protocol, self.tasks, _, _ = KINDS[kind]
        self.is_durable = kind == "disk"
        directory = pathlib.Path(directory, name)
        directory.mkdir()
        settings = directory / "evenkeel.toml"
        settings.write_text(f"[engine]\nstrategy = {{ name = \"round_robin\" }}\n[telemetry]\n{telemetry}\n")
        any_port = "127.0.0.1:0"
        command = [self.program, "-o", "jsonl", "coordinator", "--grpc", any_port, "--http", any_port]
        command += ["--config", settings, "--data-dir", directory / "data"]
        self.log = open(directory / "log", "w")
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=self.log, text=True)
        ready = json.loads(self.process.stdout.readline())
        self.url, self.http = f"http://{ready['grpc']}", f"http://{ready['http']}"
        command = [self.program, "loadtest", "bench-agents", "--protocol", self.protocol, "--url", self.url]
        command += ["--agents", str(args.agents), "--slots", "16"]
        self.agents = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=self.log, text=True)
        assert self.agents.stdout.readline().strip() == "ready"

    def round(self, collector):
        """A round of tasks: how many a second, and for one of them the processor time of the coordinator and of all, in us."""
        if self.is_durable:
            # What the round before has not written to disk yet is no part of this one.
            os.sync()
        command = [self.program, "loadtest", "bench-client", "--protocol", self.protocol, "--url", self.url]
        command += ["--load", "stream", "--tasks", str(self.tasks), "--warm-up", str(int(self.tasks * WARM_UP_SHARE))]
        command += ["--in-flight", "4000", "--batch", "250"]
        client = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        pids = [process.pid for process in (self.process, self.agents, client, collector)]
        before, measured, scraper = [], None, None
        for line in client.stdout:
            told = json.loads(line)
            if told["event"] == "began":
                before = [cpu_us(pid) for pid in pids]
                if self.is_scraped:
                    # More often than any scraper would.
                    scraper = threading.Thread(target=self.scrape)
                    scraper.start()
            elif told["event"] == "measured":
                spent = [cpu_us(pid) - earlier for pid, earlier in zip(pids, before)]
                measured = told["tasks"] / told["seconds"], spent[0] / told["tasks"], sum(spent) / told["tasks"]
            elif told["event"] == "failed":
                raise SystemExit(f"{self.name}: {told['why']}")
        client.wait()
        if scraper:
            scraper.join()
        return measured

    def scrape(self):
        with urllib.request.urlopen(f"{self.http}/metrics", timeout=30) as answer:
            return answer.read().decode()

    def stop(self):
        for process in (self.agents, self.process):
            process.terminate()
            process.wait()
        self.log.close()


class Collector:
    """Where spans go, which only counts them."""

    def __init__(self, program):
        command = [program, "127.0.0.1:0", "--count"]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
        self.endpoint = self.process.stderr.readline().split()[-1]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()


def life(kind, number, pairs_wanted, args, collector, spans):
    """Two sides from their start to their end: what each pair of rounds came to, as (off, on)."""
    telemetry = f'otlp_endpoint = "{collector.endpoint}"\nsample_ratio = {args.ratio}\ntraced_per_s_max = {args.per_s}'
    telemetry = {"off": "", "on": "" if args.same else telemetry}
    names = ["off", "on"] if number % 2 == 0 else ["on", "off"]
    pairs, sides = [], {}
    with tempfile.TemporaryDirectory(dir=args.data) as directory:
        try:
            for name in names:
                sides[name] = Side(name, kind, args, directory, telemetry[name])
            for side in sides.values():
                side.round(collector.process)
            for turn in range(pairs_wanted):
                order = names if turn % 2 == 0 else names[::-1]
                measured = {name: sides[name].round(collector.process) for name in order}
                pairs.append((measured["off"], measured["on"]))
            shown = sides["on"].scrape()
            for what in spans:
                spans[what] += number_of(shown, f"evenkeel_trace_spans_{what}_total")
        finally:
            for side in sides.values():
                side.stop()
    return pairs


def number_of(text, name):
    return next((float(line.split()[1]) for line in text.splitlines() if line.startswith(f"{name} ")), 0.0)


def typical(logs):
    return statistics.median(one + other for at, one in enumerate(logs) for other in logs[at:]) / 2


def typical_within(ratios):
    """The typical ratio, and the interval that holds it."""
    draw, logs = random.Random(1), [math.log(ratio) for ratio in ratios]
    drawn = sorted(typical(draw.choices(logs, k=len(logs))) for _ in range(DRAWS))
    tail = int(DRAWS * (1 - CONFIDENCE) / 2)
    return [math.exp(log) for log in (typical(logs), drawn[tail], drawn[-1 - tail])]


def verdict(interval, pairs, limit):
    _, low, high = interval
    if pairs < PAIRS_MIN:
        return UNKNOWN, f"is not judged by fewer than {PAIRS_MIN} pairs"
    if low >= limit:
        return KEPT, f"is at least {limit}"
    if high < limit:
        return BROKEN, f"is below {limit}"
    return UNKNOWN, f"may be below {limit} or not: run it with more --pairs, or with less beside it"


def measure(kind, args):
    """Measures tasks of this kind; the verdict."""
    pairs, spans, began = [], dict.fromkeys(("exported", "dropped", "failed"), 0.0), time.monotonic()
    lives, pairs_wanted = args.lives or KINDS[kind][2], args.pairs or KINDS[kind][3]
    with Collector(args.collector) as collector:
        for number in range(lives):
            pairs += life(kind, number, pairs_wanted, args, collector, spans)
            ratios = " ".join(f"{on[0] / off[0]:.2f}" for off, on in pairs[-pairs_wanted:])
            print(f"{kind}, start {number + 1}: on/off {ratios}", flush=True)
    told = ", ".join(f"{what} {count:,.0f}" for what, count in spans.items())
    print(f"{kind}: {len(pairs)} pairs in {time.monotonic() - began:.0f} s; spans: {told}")
    print(f"{kind:8} {'':26} {'off':>9} {'on':>9}  on/off  95 %")
    for at, what in enumerate(("tasks/s", "us of the coordinator", "us of all")):
        off, on = (statistics.median(pair[side][at] for pair in pairs) for side in (0, 1))
        interval = typical_within([on[at] / off[at] for off, on in pairs])
        print(f"{kind:8} {what:26} {off:9,.1f} {on:9,.1f}  " + "{:.3f}   {:.3f} to {:.3f}".format(*interval))
        if at == 0:
            code, words = verdict(interval, len(pairs), args.limit)
    print(f"{kind}: on/off of throughput {words}", flush=True)
    return code


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", help="evenkeel")
    parser.add_argument("collector", help="the example `collector` of evenkeel-shared")
    parser.add_argument("--only", choices=sorted(KINDS), help="where tasks are kept; else both, one after the other")
    parser.add_argument("--lives", type=int, help="how often both sides are started")
    parser.add_argument("--pairs", type=int, help="pairs of rounds between a start and the next")
    parser.add_argument("--agents", type=int, default=20)
    parser.add_argument("--ratio", default="0.01", help="share of tasks that are traced")
    parser.add_argument("--per-s", default="100", help="tasks traced a second at most")
    parser.add_argument("--limit", type=float, default=0.95, help="what `on` has to reach of the throughput of `off`")
    parser.add_argument("--same", action="store_true", help="compare off with off")
    parser.add_argument("--data", help="where databases are, for the time it takes (the directory for temporary files)")
    args = parser.parse_args()
    codes = [measure(kind, args) for kind in ([args.only] if args.only else KINDS)]
    sys.exit(BROKEN if BROKEN in codes else max(codes))


if __name__ == "__main__":
    main()
