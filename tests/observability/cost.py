#!/usr/bin/env python3
"""What observability costs: two coordinators side by side, one with traces and scraped metrics and one without, under the same
load in turns, so that whatever else the machine does falls on both.

    cargo build --release -p evenkeel
    cargo build --release -p evenkeel-shared --features otlp --example collector
    tests/observability/cost.py target/release/evenkeel target/release/examples/collector

Prints tasks a second and the coordinator's processor time for a task, of both, and the ratios of their medians. With
--limit 0.95 it fails below that ratio of throughput.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import tempfile
import threading
import time
import urllib.request

TICKS = os.sysconf("SC_CLK_TCK")


def cpu_seconds(pid):
    """Processor time of a process so far, its threads together."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


class Side:
    """A coordinator with its agents."""

    def __init__(self, name, args, directory, telemetry):
        self.name, self.program = name, args.program
        self.protocol = "durable" if args.durable else "ephemeral"
        directory = pathlib.Path(directory, name)
        directory.mkdir()
        settings = directory / "evenkeel.toml"
        settings.write_text(f"[engine]\nstrategy = {{ name = \"round_robin\" }}\n[telemetry]\n{telemetry}\n")
        any_port = "127.0.0.1:0"
        command = [self.program, "-o", "jsonl", "coordinator", "--grpc", any_port, "--http", any_port]
        command += ["--config", settings, "--data-dir", directory / "data"]
        log = open(directory / "log", "w")
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
        ready = json.loads(self.process.stdout.readline())
        self.url, self.http = f"http://{ready['grpc']}", f"http://{ready['http']}"
        command = [self.program, "loadtest", "bench-agents", "--protocol", self.protocol, "--url", self.url]
        command += ["--agents", str(args.agents), "--slots", "16"]
        self.agents = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
        assert self.agents.stdout.readline().strip() == "ready"
        self.rates, self.costs = [], []

    def round(self, tasks):
        """Tasks through it; what came of it."""
        command = [self.program, "loadtest", "bench-client", "--protocol", self.protocol, "--url", self.url]
        command += ["--load", "stream", "--tasks", str(tasks), "--warm-up", str(tasks // 5)]
        command += ["--in-flight", "4000", "--batch", "250"]
        client = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        before = 0.0
        for line in client.stdout:
            told = json.loads(line)
            if told["event"] == "began":
                before = cpu_seconds(self.process.pid)
            elif told["event"] == "measured":
                self.costs.append((cpu_seconds(self.process.pid) - before) / told["tasks"] * 1e6)
                self.rates.append(told["tasks"] / told["seconds"])
            elif told["event"] == "failed":
                raise SystemExit(f"{self.name}: {told['why']}")
        client.wait()

    def scrape(self):
        with urllib.request.urlopen(f"{self.http}/metrics", timeout=30) as answer:
            return answer.read().decode()

    def stop(self):
        for process in (self.agents, self.process):
            process.terminate()
            process.wait()


def number(text, name):
    return next((float(line.split()[1]) for line in text.splitlines() if line.startswith(f"{name} ")), 0.0)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", help="evenkeel")
    parser.add_argument("collector", help="the example `collector` of evenkeel-shared")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--tasks", type=int, default=200_000)
    parser.add_argument("--agents", type=int, default=20)
    parser.add_argument("--durable", action="store_true", help="tasks on disk; otherwise in memory, where the share is larger")
    parser.add_argument("--ratio", default="0.01", help="share of tasks that are traced")
    parser.add_argument("--per-s", default="100", help="tasks traced a second at most")
    parser.add_argument("--limit", type=float, help="fail below this ratio of throughput")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        collector = subprocess.Popen(
            [args.collector, "127.0.0.1:0", "--count"], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
        endpoint = collector.stderr.readline().split()[-1]
        telemetry = f'otlp_endpoint = "{endpoint}"\nsample_ratio = {args.ratio}\ntraced_per_s_max = {args.per_s}'
        sides = [Side("off", args, directory, ""), Side("on", args, directory, telemetry)]
        off, on = sides
        done = threading.Event()

        def scrapes():
            while not done.wait(5):
                on.scrape()

        scraper = threading.Thread(target=scrapes)
        scraper.start()
        try:
            for side in sides:
                side.round(args.tasks // 4)
                side.rates.clear()
                side.costs.clear()
            for turn in range(args.rounds):
                for side in sides if turn % 2 == 0 else sides[::-1]:
                    side.round(args.tasks)
                print(f"round {turn + 1}: " + ", ".join(f"{s.name} {s.rates[-1]:,.0f}/s {s.costs[-1]:.2f} us" for s in sides))
            time.sleep(2)
            spans = on.scrape()
        finally:
            done.set()
            scraper.join()
            for side in sides:
                side.stop()
            collector.terminate()
            collector.wait()
    for side in sides:
        rate, cost = statistics.median(side.rates), statistics.median(side.costs)
        print(f"{side.name:4} {rate:10,.0f} tasks/s  {cost:6.2f} us of processor time a task")
    counts = {name: number(spans, f"evenkeel_trace_spans_{name}_total") for name in ("exported", "dropped", "failed")}
    print("spans: " + ", ".join(f"{name} {count:,.0f}" for name, count in counts.items()))
    throughput = statistics.median(b / a for a, b in zip(off.rates, on.rates))
    cost = statistics.median(b / a for a, b in zip(off.costs, on.costs))
    print(f"on/off, median of the rounds: throughput {throughput:.3f}, processor time {cost:.3f}")
    if args.limit and throughput < args.limit:
        raise SystemExit(f"throughput is below {args.limit}")


if __name__ == "__main__":
    main()
