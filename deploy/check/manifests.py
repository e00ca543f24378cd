"""What the schemas of Kubernetes do not say of rendered manifests: that names fit together, that every pod is restricted and
fits its image and the program in it, and the fields without which resources of others (KEDA, the Prometheus operator) do
nothing.

    manifests.py FILE [PROGRAM]
"""

import re
import sys

import yaml
from image import Image
from program import Program

CUSTOM = {
    "ServiceMonitor": [
        "spec.selector.matchLabels",
        "spec.endpoints.0.port",
        "spec.endpoints.0.path",
        # Alerts and dashboard read the classic buckets, whatever histograms the server prefers.
        "spec.scrapeClassicHistograms",
    ],
    "PrometheusRule": ["spec.groups.0.name", "spec.groups.0.rules.0.alert"],
    "ScaledObject": [
        "spec.scaleTargetRef.name",
        "spec.minReplicaCount",
        "spec.maxReplicaCount",
        "spec.triggers.0.type",
        "spec.triggers.0.metadata.scalerAddress",
    ],
    "TriggerAuthentication": ["spec.secretTargetRef.0.parameter", "spec.secretTargetRef.0.name"],
}


def at(thing, path):
    for part in path.split("."):
        thing = thing[int(part)] if part.isdigit() else thing[part]
    return thing


def check_pod(where, spec):
    security = spec["securityContext"]
    assert security["runAsNonRoot"] and security["runAsUser"] > 0, where
    assert security["seccompProfile"]["type"] == "RuntimeDefault", where
    assert spec["automountServiceAccountToken"] is False, where
    volumes = {volume["name"] for volume in spec["volumes"]}
    for container in spec["containers"]:
        own = container["securityContext"]
        assert own["allowPrivilegeEscalation"] is False, where
        assert own["readOnlyRootFilesystem"] and own["capabilities"]["drop"] == ["ALL"], where
        assert container["resources"]["requests"] and container["resources"]["limits"]["memory"], where
        mounts = {mount["name"] for mount in container["volumeMounts"]}
        assert mounts - {"data"} <= volumes, (where, mounts, volumes)
        for variable in container.get("env", []):
            assert isinstance(variable.get("value", ""), str), (where, variable)


def port_of(container, port):
    named = {each["name"]: each["containerPort"] for each in container.get("ports", [])}
    return named[port] if port in named else int(port)


def check_files(where, container):
    """Every file that is named is in a volume, and what is written to is no part of the image."""
    mounts = {mount["mountPath"]: mount for mount in container["volumeMounts"]}
    values = [value for variable in container.get("env", []) for value in [variable.get("value", "")]]
    probes = [probe["exec"]["command"] for name, probe in container.items() if name.endswith("Probe") and "exec" in probe]
    for value in container["args"] + values + sum(probes, []):
        path = re.search(r"(?:^|=)(/[^:,]*)$", value)
        assert not path or any(f"{path[1]}/".startswith(f"{mount}/") for mount in mounts), (where, value)
    assert not mounts["/tmp"].get("readOnly")
    return mounts


def check_container(where, pod, container, image, program, config):
    security, args = pod["securityContext"], container["args"]
    mounts = check_files(where, container)
    assert "command" not in container and image.entrypoint == ["evenkeel"], where
    assert (security["runAsUser"], security["runAsGroup"]) == (image.user, image.group), where
    # Without it a volume of the cluster belongs to root alone.
    assert security["fsGroup"] == image.group, where
    env = {variable["name"]: variable.get("value", "a-name") for variable in container.get("env", [])}
    for name in re.findall(r"\$\((\w+)\)", " ".join(args)):
        assert name in env, (where, name)
    if args[0] == "coordinator":
        assert env["EVENKEEL_DATA_DIR"] == image.data and image.data in mounts, where
        assert not mounts[image.data].get("readOnly"), where
        listens = {int(arg.rsplit(":", 1)[1]) for arg in args if arg.startswith(("--grpc=", "--http="))}
        assert listens == {port["containerPort"] for port in container["ports"]} == image.ports, (where, listens)
        for name in ("startupProbe", "readinessProbe", "livenessProbe"):
            probe = container[name]
            if "exec" in probe:
                assert probe["exec"]["command"][0] == image.entrypoint[0], where
                program.check(probe["exec"]["command"][1:], {})
            else:
                asked = probe.get("httpGet") or probe["grpc"]
                assert port_of(container, asked["port"]) in listens, (where, name)
    else:
        assert container["workingDir"] in mounts, where
        # As the first process of its pod it would keep a zombie of every program that outlives its parent.
        assert pod["shareProcessNamespace"], where
    program.check([re.sub(r"\$\((\w+)\)", lambda found: env[found[1]], arg) for arg in args], env, config)


def matches(selector, labels):
    return all(labels.get(key) == value for key, value in selector.items())


def main(path, program=None):
    image, program = Image(), Program(program)
    with open(path, encoding="utf-8") as file:
        things = [thing for thing in yaml.safe_load_all(file) if thing]
    names = [(thing["kind"], thing["metadata"]["name"]) for thing in things]
    assert len(names) == len(set(names)), names
    pods = [thing for thing in things if thing["kind"] in ("StatefulSet", "Deployment")]
    labels = [pod["spec"]["template"]["metadata"]["labels"] for pod in pods]
    (config,) = [thing["data"]["evenkeel.toml"] for thing in things if thing["kind"] == "ConfigMap"]
    for pod in pods:
        spec = pod["spec"]["template"]["spec"]
        check_pod(names, spec)
        for container in spec["containers"]:
            check_container(pod["metadata"]["name"], spec, container, image, program, config)
        assert matches(pod["spec"]["selector"]["matchLabels"], pod["spec"]["template"]["metadata"]["labels"]), pod
    for thing in things:
        kind, spec = thing["kind"], thing.get("spec", {})
        if kind == "Service":
            chosen = [each for each in labels if matches(spec["selector"], each)]
            assert len(chosen) == 1, (thing["metadata"]["name"], chosen)
            (pod,) = [each for each in pods if each["spec"]["template"]["metadata"]["labels"] == chosen[0]]
            for port in spec["ports"]:
                port_of(pod["spec"]["template"]["spec"]["containers"][0], port["targetPort"])
        if kind in ("PodDisruptionBudget", "NetworkPolicy"):
            selector = spec.get("selector", spec.get("podSelector"))["matchLabels"]
            assert sum(matches(selector, each) for each in labels) == 1, thing["metadata"]["name"]
        for field in CUSTOM.get(kind, []):
            assert at(thing, field) not in (None, ""), (kind, field)
        if kind == "ScaledObject":
            target = spec["scaleTargetRef"]["name"]
            (deployment,) = [pod for pod in pods if pod["metadata"]["name"] == target]
            assert "replicas" not in deployment["spec"], "two would set the replicas"
        if kind == "ServiceMonitor":
            services = [each for each in things if each["kind"] == "Service"]
            seen = [each for each in services if matches(spec["selector"]["matchLabels"], each["metadata"]["labels"])]
            assert len(seen) == 1, [each["metadata"]["name"] for each in seen]
            assert spec["endpoints"][0]["port"] in {port["name"] for port in seen[0]["spec"]["ports"]}
    print(f"{path.rsplit('/', 1)[-1]}: {len(things)} resources fit together")


main(*sys.argv[1:])
