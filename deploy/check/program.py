"""Asks the program itself whether it takes what a manifest gives it: flags, and variables that are settings.

Without a program there is nothing to ask, and nothing is checked.
"""

import subprocess
import tempfile


class Program:
    def __init__(self, path):
        self.path = path

    def _run(self, args, env):
        outcome = subprocess.run([self.path, *args], env=env, capture_output=True, text=True, timeout=60, check=False)
        assert outcome.returncode == 0, (args, env, outcome.stderr)

    def help(self, args):
        """Whether it takes `args`: whatever is wrong with a flag or its value is said before help is given."""
        if self.path is not None:
            self._run([*args, "--help"], {})

    def check(self, args, env, config=None):
        """`args` as a container gives them, `env` its variables, `config` the text of evenkeel.toml."""
        if self.path is None:
            return
        self.help(args)
        if args[0] == "agent":
            self._run([*args, "--check"], env)
        if args[0] == "coordinator":
            with tempfile.NamedTemporaryFile("w", suffix=".toml") as file:
                file.write(config or "")
                file.flush()
                self._run(["config", "check", file.name], env)
