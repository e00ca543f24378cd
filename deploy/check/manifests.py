"""What the schemas of Kubernetes do not say of rendered manifests: that names fit together, that every pod is restricted, and
the fields without which resources of others (KEDA, the Prometheus operator) do nothing."""

import sys

import yaml

CUSTOM = {
    "ServiceMonitor": ["spec.selector.matchLabels", "spec.endpoints.0.port", "spec.endpoints.0.path", "spec.scrapeClassicHistograms"],
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


def matches(selector, labels):
    return all(labels.get(key) == value for key, value in selector.items())


def main(path):
    with open(path, encoding="utf-8") as file:
        things = [thing for thing in yaml.safe_load_all(file) if thing]
    names = [(thing["kind"], thing["metadata"]["name"]) for thing in things]
    assert len(names) == len(set(names)), names
    pods = [thing for thing in things if thing["kind"] in ("StatefulSet", "Deployment")]
    labels = [pod["spec"]["template"]["metadata"]["labels"] for pod in pods]
    for pod in pods:
        check_pod(names, pod["spec"]["template"]["spec"])
        assert matches(pod["spec"]["selector"]["matchLabels"], pod["spec"]["template"]["metadata"]["labels"]), pod
    for thing in things:
        kind, spec = thing["kind"], thing.get("spec", {})
        if kind == "Service":
            chosen = [each for each in labels if matches(spec["selector"], each)]
            assert len(chosen) == 1, (thing["metadata"]["name"], chosen)
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


main(sys.argv[1])
