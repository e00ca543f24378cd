#!/usr/bin/env python3
"""Whether a noisy client is kept from others: how long a quiet client's tasks take from submission to result, alone and beside
one that submits many times what it may.

    cargo build --release -p evenkeel
    tests/noisy/run.py target/release/evenkeel

Quiet alone and quiet beside noise are tried in turns, so that whatever else the machine does falls on both. Prints the quiet
client's p50 and p99 of each, and the ratio by the medians of the rounds. The ratio of p99 has to be at most --limit (2), and the noise
has to have been refused. With --compare there is one more round at a coordinator without limits, to show what they are for.
"""

import argparse
import hashlib
import http.client
import json
import multiprocessing
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

CLIENTS = {"quiet": ["client"], "noisy": ["client"], "a-1": ["agent"]}
# A client may make so many calls a second, and submit so many tasks; the quiet one stays far below.
CALLS_PER_S = 50
TASKS_PER_S = 200
TASKS_PER_CALL = 20
LIMITS = f"client_calls_per_s = {CALLS_PER_S}\nclient_calls_burst = {CALLS_PER_S}\n"
LIMITS += f"client_tasks_per_s = {TASKS_PER_S}\nclient_tasks_burst = {TASKS_PER_S}\n"


def token(name):
    return f"ek_{name}"


def post(connection, name, path, body):
    headers = {"authorization": f"Bearer {token(name)}", "content-type": "application/json"}
    connection.request("POST", f"/api/v1/{path}", body, headers)
    answer = connection.getresponse()
    answer.read()
    return answer.status


class Side:
    """A coordinator with its agent."""

    def __init__(self, name, program, directory, limits):
        self.name, self.rounds = name, {"alone": [], "beside noise": []}
        self.taken, self.refused = 0, 0
        directory = pathlib.Path(directory, name)
        directory.mkdir()
        entries = []
        for client, roles in CLIENTS.items():
            digest = hashlib.sha256(token(client).encode()).hexdigest()
            entries.append(f'[[credential]]\nid = "{client}"\nname = "{client}"\nroles = {json.dumps(roles)}\nsha256 = "{digest}"\n')
            (directory / f"{client}.token").write_text(token(client))
        (directory / "credentials.toml").write_text("\n".join(entries))
        settings = directory / "evenkeel.toml"
        settings.write_text(f'[auth]\nenabled = true\ncredentials_file = "{directory}/credentials.toml"\n{limits}')
        any_port = "127.0.0.1:0"
        command = [program, "-o", "jsonl", "coordinator", "--grpc", any_port, "--http", any_port]
        command += ["--config", settings, "--data-dir", directory / "data"]
        log = open(directory / "log", "w")
        self.processes = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)]
        ready = json.loads(self.processes[0].stdout.readline())
        self.address = ready["http"]
        command = [program, "--coordinator", f"http://{ready['grpc']}", "--token-file", directory / "a-1.token"]
        command += ["agent", "--id", "a-1", "--slots", "8", "--kind", "echo"]
        self.processes.append(subprocess.Popen(command, stderr=log))

    def quiet(self, seconds):
        """Executes a task every 25 ms; how long each took, in milliseconds."""
        connection, times, due = http.client.HTTPConnection(self.address, timeout=60), [], time.monotonic()
        until = due + seconds
        body = json.dumps({"task": {"kind": "echo", "payload": "aGk="}})
        # Where there are no limits a call may wait for all that was taken of the noise.
        while due < until and time.monotonic() < until:
            time.sleep(max(0, due - time.monotonic()))
            # From when it was due: a call that waits for the one before is late itself.
            status = post(connection, "quiet", "tasks/execute", body)
            assert status == 200, f"the quiet client is answered {status}"
            times.append((time.monotonic() - due) * 1e3)
            due += 0.025
        return times

    def round(self, what, seconds, noises, rate):
        stop, counts = multiprocessing.Event(), multiprocessing.Queue()
        started = [multiprocessing.Process(target=noise, args=(self.address, rate / noises, stop, counts)) for _ in range(noises)]
        for process in started:
            process.start()
        # Its burst is used up first.
        if started:
            time.sleep(2)
        times = sorted(self.quiet(seconds))
        stop.set()
        for _ in started:
            taken, refused = counts.get()
            self.taken, self.refused = self.taken + taken, self.refused + refused
        for process in started:
            process.join()
        p50, p99 = times[len(times) // 2], times[(len(times) * 99 + 99) // 100 - 1]
        self.rounds[what].append((p50, p99))
        print(f"  {self.name:<14} {what:<13} p50 {p50:7.2f} ms  p99 {p99:7.2f} ms", flush=True)

    def stop(self):
        for process in reversed(self.processes):
            process.terminate()
        for process in self.processes:
            process.wait(timeout=60)


def noise(address, rate, stop, counts):
    """Submits so many times a second, whatever it is answered."""
    connection, taken, refused, due = http.client.HTTPConnection(address), 0, 0, time.monotonic()
    task = {"kind": "echo", "payload": "eA=="}
    body = json.dumps({"tasks": [task] * TASKS_PER_CALL})
    while not stop.is_set():
        time.sleep(max(0, due - time.monotonic()))
        due += 1 / rate
        status = post(connection, "noisy", "tasks", body)
        taken, refused = taken + (status == 200), refused + (status == 429)
    counts.put((taken, refused))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("program")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=10, help="of each part of a round")
    parser.add_argument("--noises", type=int, default=2, help="connections of the noisy client")
    parser.add_argument("--rate", type=float, default=500, help=f"its calls a second, of {TASKS_PER_CALL} tasks each")
    parser.add_argument("--compare", action="store_true", help="one more round without limits")
    parser.add_argument("--limit", type=float, default=2, help="most that p99 may grow by, with limits")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        sides = []
        try:
            limited = Side("with limits", args.program, directory, LIMITS)
            sides.append(limited)
            limited.quiet(2)
            for _ in range(args.rounds):
                limited.round("alone", args.seconds, 0, 0)
                limited.round("beside noise", args.seconds, args.noises, args.rate)
            if args.compare:
                sides.append(Side("without limits", args.program, directory, ""))
                sides[1].quiet(2)
                sides[1].round("alone", args.seconds, 0, 0)
                sides[1].round("beside noise", args.seconds, args.noises, args.rate)
        finally:
            for side in sides:
                side.stop()
    ratios = {}
    for side in sides:
        p50, p99 = ([statistics.median(r[i] for r in rounds) for rounds in side.rounds.values()] for i in (0, 1))
        ratios[side.name] = p99[1] / p99[0]
        print(f"{side.name}: p50 {p50[0]:.2f} -> {p50[1]:.2f} ms, p99 {p99[0]:.2f} -> {p99[1]:.2f} ms, x {ratios[side.name]:.2f}; "
              f"of the noise {side.taken} calls were taken and {side.refused} refused")
    kept = ratios["with limits"] <= args.limit and sides[0].refused > 10 * sides[0].taken
    print("the quiet client is kept from the noise" if kept else "FAILED: the quiet client is not kept from the noise")
    sys.exit(not kept)


if __name__ == "__main__":
    main()
