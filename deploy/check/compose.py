"""What a compose file has to say for the system to start: one image for all of its own, files that are there, and every
service that another one names."""

import os
import sys

import yaml

with open(sys.argv[1], encoding="utf-8") as file:
    compose = yaml.safe_load(file)
services = compose["services"]
own = {name: service for name, service in services.items() if "profiles" not in service}
agents = [name for name, service in own.items() if service["command"][0] == "agent"]
assert len(agents) == 3 and "coordinator" in own, own
assert len({service["image"] for service in own.values()}) == 1, "one image for all"
for name, service in own.items():
    assert service["read_only"] and service["cap_drop"] == ["ALL"], name
for name, service in services.items():
    for needed in service.get("depends_on", {}):
        assert needed in services, (name, needed)
    for volume in service.get("volumes", []):
        source = volume.split(":", 1)[0]
        if source.startswith("./"):
            assert os.path.exists(source), (name, source)
        else:
            assert source in compose["volumes"], (name, source)
    for port in service.get("ports", []):
        assert port.startswith("127.0.0.1:"), (name, port)
    if "profiles" in service:
        assert ":" in service["image"] and not service["image"].endswith(":latest"), name
print(f"{len(own)} services, and {len(services) - len(own)} that observe them")
