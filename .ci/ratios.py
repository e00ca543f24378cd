"""Compares ratios that were measured in one run with those that are kept in ratios.json, and fails if one has become worse.

    ratios.py [--keep] BENCH.json SIMULATE.json

Absolute times belong to a machine; a ratio of two contenders that took turns on it belongs to the program. What is taken:

- of `evenkeel loadtest bench`: Evenkeel against a bare router of the same make, and durable against ephemeral, by processor time.
  Throughput itself is not taken: on a busy machine it says how busy that was.
- of `evenkeel loadtest simulate`: response times under a strategy against the ideal central queue. The engine is the real one
  and time is simulated, so these are the same everywhere.

A median of rounds scatters. The least and the most of N rounds enclose the true median with a confidence of 1 - 2^(1-N),
whatever its distribution is: 97 % for six. So a ratio has become worse only if the *best* of its rounds is outside the
tolerance; one bad round, or five, is not enough. The price is that a small regression is not found here.

With --keep the ratios are written to ratios.json instead, the tolerances kept as they are.
"""

import json
import pathlib
import sys

KEPT = pathlib.Path(__file__).with_name("ratios.json")
# Below this the least and the most are no interval of confidence worth its name.
ROUNDS_MIN = 6


def measured(bench, simulated):
    """Name to (least, median, most)."""
    if bench["settings"]["rounds"] < ROUNDS_MIN:
        raise SystemExit(f"{bench['settings']['rounds']} rounds are too few; at least {ROUNDS_MIN}")
    ratios = {}
    for goal in bench["goals"]:
        if goal["id"].endswith("by CPU)") and goal["median"] is not None:
            least, most = goal["spread"]
            ratios[goal["what"]] = (least, goal["median"], most)
    for strategy in simulated["strategies"]:
        for what in ("mean", "p99"):
            value = strategy[f"{what}_ratio"]["value"]
            ratios[f"{strategy['name']} / central queue, {what} response, simulated"] = (value, value, value)
    return ratios


def worse(kept, least, most):
    """Whether all of the interval is outside the tolerance."""
    if kept["better"] == "higher":
        return most < kept["median"] * (1 - kept["tolerance"])
    return least > kept["median"] * (1 + kept["tolerance"])


def compare(kept, ratios):
    """One line for each ratio that is kept, and whether one has become worse or was not measured."""
    lines, failed = [], False
    for name, before in kept.items():
        if name not in ratios:
            lines.append(f"MISSING    {name}")
            failed = True
            continue
        least, median, most = ratios[name]
        regressed = worse(before, least, most)
        failed |= regressed
        word = "REGRESSION" if regressed else "ok"
        lines.append(
            f"{word:10} {name}: {median:.3f} ({least:.3f} to {most:.3f}), kept {before['median']:.3f}, "
            f"{before['better']} is better, tolerance {before['tolerance']:.0%}"
        )
    return lines, failed


def keep(kept, ratios):
    """The file with the ratios as they are now."""
    new = {}
    for name, (_, median, _) in ratios.items():
        simulated = name.endswith("simulated")
        ordinary = {"better": "lower", "tolerance": 0.02} if simulated else {"better": "higher", "tolerance": 0.2}
        new[name] = {**ordinary, **kept.get(name, {}), "median": round(median, 4)}
    return new


def main(args):
    keeps = "--keep" in args
    bench, simulated = (json.loads(pathlib.Path(arg).read_text()) for arg in args if arg != "--keep")
    kept = json.loads(KEPT.read_text()) if KEPT.exists() else {}
    ratios = measured(bench, simulated)
    if keeps:
        KEPT.write_text(json.dumps(keep(kept, ratios), indent=2) + "\n")
        return 0
    lines, failed = compare(kept, ratios)
    print("\n".join(lines))
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
