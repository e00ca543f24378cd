"""What an image built by deploy/Dockerfile offers to what starts it, read from the last stage of the recipe."""

import re


class Image:
    """`user` and `group` are numbers, `ports` a set of them, `env` a dict, `entrypoint` a list."""

    def __init__(self, path="deploy/Dockerfile"):
        with open(path, encoding="utf-8") as file:
            lines = re.sub(r"\\\n", " ", re.sub(r"(?m)^#.*\n", "", file.read())).splitlines()
        last = max(number for number, line in enumerate(lines) if line.startswith("FROM "))
        said = {}
        for line in lines[last:]:
            word, _, rest = line.partition(" ")
            said.setdefault(word, []).append(rest.strip())
        self.user, self.group = map(int, said["USER"][-1].split(":"))
        self.ports = {int(port) for line in said["EXPOSE"] for port in line.split()}
        self.env = dict(line.split("=", 1) for line in said["ENV"])
        self.entrypoint = re.findall(r'"([^"]*)"', said["ENTRYPOINT"][-1])
        self.data = self.env["EVENKEEL_DATA_DIR"]
        assert said["WORKDIR"][-1] == self.data, "relative paths belong to the data"
        made = [line for line in said["RUN"] if self.data in line and f"--uid {self.user}" in line]
        assert made, "the directory of the data belongs to the user that the program runs as"
