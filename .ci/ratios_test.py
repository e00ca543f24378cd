"""That a regression of a ratio is found, and noise is not."""

import random
import unittest

import ratios

KEPT = {
    "throughput": {"better": "higher", "tolerance": 0.2, "median": 0.5},
    "response": {"better": "lower", "tolerance": 0.02, "median": 1.1},
}


def regressed(**found):
    unchanged = {"throughput": (0.45, 0.5, 0.55), "response": (1.1, 1.1, 1.1)}
    return ratios.compare(KEPT, {**unchanged, **found})[1]


class Ratios(unittest.TestCase):
    def test_what_stayed_or_became_better_passes(self):
        self.assertFalse(regressed())
        self.assertFalse(regressed(throughput=(0.9, 1.0, 1.1), response=(1.0, 1.0, 1.0)))

    def test_what_is_worse_in_every_round_fails(self):
        self.assertTrue(regressed(throughput=(0.3, 0.35, 0.39)))
        self.assertTrue(regressed(response=(1.13, 1.13, 1.13)))

    def test_bad_rounds_beside_a_good_one_are_noise(self):
        self.assertFalse(regressed(throughput=(0.1, 0.3, 0.41)))

    def test_what_is_not_measured_any_more_fails(self):
        self.assertTrue(ratios.compare(KEPT, {"throughput": (0.5, 0.5, 0.5)})[1])

    def test_rounds_of_one_program_rarely_look_like_a_regression_and_those_of_one_half_as_fast_do(self):
        source = random.Random(1)

        def alarms(median):
            rounds = [sorted(source.gauss(median, 0.1) for _ in range(6)) for _ in range(2000)]
            return sum(regressed(throughput=(least, median, most)) for least, *_, most in rounds) / len(rounds)

        self.assertLess(alarms(0.5), 0.01)
        self.assertGreater(alarms(0.25), 0.6)

    def test_only_ratios_by_processor_time_are_taken_and_few_rounds_are_refused(self):
        goals = [
            {"id": "1", "what": "busy", "median": 0.6, "spread": [0.2, 1.3]},
            {"id": "1 (by CPU)", "what": "steady", "median": 0.6, "spread": [0.5, 0.7]},
            {"id": "3 (by CPU)", "what": "not measured", "median": None, "spread": None},
        ]
        strategy = {"name": "random", "mean_ratio": {"value": 1.1}, "p99_ratio": {"value": 1.2}}
        bench = {"settings": {"rounds": 6}, "goals": goals}
        found = ratios.measured(bench, {"strategies": [strategy]})
        self.assertEqual(found["steady"], (0.5, 0.6, 0.7))
        self.assertEqual(len(found), 3)
        with self.assertRaises(SystemExit):
            ratios.measured({**bench, "settings": {"rounds": 5}}, {"strategies": []})


if __name__ == "__main__":
    unittest.main()
