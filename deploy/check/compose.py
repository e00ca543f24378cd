"""What a compose file has to say for the system to start: one image for all of its own, what that image and its program
take, files that are there, and every service that another one names.

    compose.py FILE [PROGRAM]
"""

import os
import re
import sys

import yaml
from image import Image
from program import Program

image, program = Image(), Program(sys.argv[2] if len(sys.argv) > 2 else None)

with open(sys.argv[1], encoding="utf-8") as file:
    compose = yaml.safe_load(file)
services = compose["services"]
own = {name: service for name, service in services.items() if "profiles" not in service}
agents = [name for name, service in own.items() if service["command"][0] == "agent"]
assert len(agents) == 3 and "coordinator" in own, own
assert len({service["image"] for service in own.values()}) == 1, "one image for all"
for name, service in own.items():
    assert service["read_only"] and service["cap_drop"] == ["ALL"] and service["init"], name
    # A variable that whoever starts it has not set.
    env = {key: re.sub(r"\$\{\w+-(.*)\}", r"\1", value) for key, value in service["environment"].items()}
    program.check(service["command"], env)
    assert "OTEL_EXPORTER_OTLP_ENDPOINT" in env, f"{name} leaves its part out of traces"
coordinator = own["coordinator"]
assert f"coordinator-data:{image.data}" in coordinator["volumes"], "the data is what the image says"
assert {f"127.0.0.1:{port}:{port}" for port in image.ports} == set(coordinator["ports"])
assert coordinator["healthcheck"]["test"][:2] == ["CMD", *image.entrypoint]
program.check(coordinator["healthcheck"]["test"][2:], {})
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
# As protobuf Prometheus gets neither exemplars, nor, with native histograms, the buckets that alerts and dashboard read.
with open("deploy/observability/prometheus.yml", encoding="utf-8") as file:
    (scrape,) = yaml.safe_load(file)["scrape_configs"]
assert scrape["scrape_protocols"][0].startswith("OpenMetrics") and "PrometheusProto" not in scrape["scrape_protocols"]
assert not any("native-histograms" in flag for flag in services["prometheus"]["command"])
print(f"{len(own)} services, and {len(services) - len(own)} that observe them")
