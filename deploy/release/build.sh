#!/usr/bin/env bash
# Builds a release into the folder given: the program, its completions, what installs it, a bill of materials, and checksums.
#
#   deploy/release/build.sh dist
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

out=$(realpath -m "${1:?where to}")
target=$(rustc --print host-tuple)
version=$(cargo metadata --locked --no-deps --format-version 1 \
    | python3 -c 'import json, sys; print(next(p["version"] for p in json.load(sys.stdin)["packages"] if p["name"] == "evenkeel"))')
name=evenkeel-$version-$target
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

cargo build --release --locked --package evenkeel
# The names of functions stay: profiles are made of them.
install -D --mode=0755 target/release/evenkeel "$work/$name/bin/evenkeel"
strip --strip-debug "$work/$name/bin/evenkeel"
for shell in bash fish zsh; do
    install -D --mode=0644 <("$work/$name/bin/evenkeel" completions "$shell") "$work/$name/completions/evenkeel.$shell"
done
cp -r deploy/systemd deploy/prometheus deploy/grafana LICENSE README.md CHANGELOG.md SECURITY.md "$work/$name/"
"$work/$name/bin/evenkeel" config default >"$work/$name/evenkeel.toml"

python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check 'cyclonedx-python-lib[json-validation]>=11,<12'
mkdir -p "$out"
cargo metadata --locked --format-version 1 --filter-platform "$target" \
    | "$work/venv/bin/python" -B deploy/release/sbom.py Cargo.lock >"$out/$name.cdx.json"
# The same bytes from the same sources: no times and no names of who built it.
tar --create --sort=name --mtime="@$(git log -1 --format=%ct)" --owner=0 --group=0 --numeric-owner --directory "$work" "$name" \
    | gzip --no-name --best >"$out/$name.tar.gz"
(cd "$out" && sha256sum "$name.tar.gz" "$name.cdx.json" >"$name.sha256")
ls -l "$out"
