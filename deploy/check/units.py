"""What systemd does not know of units: that the program takes the flags they start it with, and that the directory of the
settings is one which the steps in docs/operations.md make for the unit's own group.

    units.py UNIT... [--program=PROGRAM]
"""

import configparser
import os
import sys

from program import Program

units = [word for word in sys.argv[1:] if not word.startswith("--program=")]
program = Program(next((word.partition("=")[2] for word in sys.argv[1:] if word not in units), None))
with open("docs/operations.md", encoding="utf-8") as file:
    steps = file.read()
directories = {}
for path in units:
    unit = configparser.RawConfigParser(strict=False)
    unit.optionxform = str
    unit.read(path, encoding="utf-8")
    service = unit["Service"]
    binary, *args = service["ExecStart"].split()
    assert f"install -m 755 evenkeel {os.path.dirname(binary)}/" in steps, (path, binary)
    program.help([arg.replace("%i", "1") for arg in args])
    directory = os.path.dirname(args[args.index("--config") + 1])
    assert service["EnvironmentFile"].lstrip("-").startswith(f"{directory}/"), path
    made = f"install -d -m 750 -o root -g {service['Group']} {directory} "
    assert made in steps, (path, "nobody makes it readable for the unit:", made)
    assert directories.setdefault(directory, path) == path, "one may read what is the other's"
print(f"{len(directories)} units fit their program and their directories")
