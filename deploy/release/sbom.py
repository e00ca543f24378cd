"""Writes what is built into the program `evenkeel` as a bill of materials, CycloneDX 1.6: each crate with its version, license,
place and checksum, and which needs which.

    cargo metadata --locked --format-version 1 --filter-platform TARGET | python3 sbom.py Cargo.lock > evenkeel.cdx.json

Needs `cyclonedx-python-lib[json-validation]`. What only tests and benches need is left out, what only builds need is in.
"""

import json
import sys
import tomllib

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model import HashAlgorithm, HashType, Property
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentScope, ComponentType
from cyclonedx.output.json import JsonV1Dot6
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packageurl import PackageURL


def main(lock_path):
    metadata = json.load(sys.stdin)
    with open(lock_path, "rb") as file:
        locked = {(crate["name"], crate["version"]): crate.get("checksum") for crate in tomllib.load(file)["package"]}
    packages = {package["id"]: package for package in metadata["packages"]}
    nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
    root = next(package["id"] for package in metadata["packages"] if package["name"] == "evenkeel")

    needs, waiting = {}, [root]
    while waiting:
        crate = waiting.pop()
        if crate in needs:
            continue
        kinds = [(dep["pkg"], {kind["kind"] for kind in dep["dep_kinds"]}) for dep in nodes[crate]["deps"]]
        needs[crate] = [package for package, of in kinds if of & {None, "build"}]
        waiting.extend(needs[crate])

    licenses = LicenseFactory()
    components = {}
    for crate in needs:
        package = packages[crate]
        name, version = package["name"], package["version"]
        checksum = locked[name, version]
        components[crate] = Component(
            type=ComponentType.APPLICATION if crate == root else ComponentType.LIBRARY,
            scope=None if crate == root else ComponentScope.REQUIRED,
            name=name,
            version=version,
            bom_ref=f"{name}@{version}",
            # Without a registry it is of this repository.
            purl=PackageURL("cargo", None, name, version) if package["source"] else None,
            hashes=[HashType(alg=HashAlgorithm.SHA_256, content=checksum)] if checksum else [],
            licenses=[licenses.make_from_string(package["license"].replace("/", " OR "))] if package["license"] else [],
            properties=[] if package["source"] else [Property(name="evenkeel:workspace", value="true")],
        )
    bom = Bom(components=[component for crate, component in components.items() if crate != root])
    bom.metadata.component = components[root]
    for crate, needed in needs.items():
        bom.register_dependency(components[crate], [components[each] for each in needed])
    text = JsonV1Dot6(bom).output_as_string(indent=2)
    problem = JsonStrictValidator(SchemaVersion.V1_6).validate_str(text)
    if problem:
        sys.exit(f"the bill of materials is not as CycloneDX wants it: {problem}")
    print(text)
    print(f"{len(components)} components", file=sys.stderr)


main(sys.argv[1])
