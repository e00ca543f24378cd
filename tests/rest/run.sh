#!/usr/bin/env bash
# Asks every operation of the OpenAPI document what it allows and what it does not, as schemathesis makes it up from the document,
# and judges the answers by the document: status, type, form, methods, and never a failure of the server. Everything is made
# in a temporary directory and removed.
#
# Usage: tests/rest/run.sh [EVENKEEL_PROGRAM]     (default: target/release/evenkeel, which has to be built)
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
evenkeel=${1:-$root/target/release/evenkeel}
ready_seconds_max=30
# Of each operation, beside the values at and beyond every bound.
examples_max=${EXAMPLES_MAX:-20}

work=$(mktemp -d)
dev=
clean_up() {
    local status=$?
    if [ -n "$dev" ]; then
        kill -TERM "$dev" 2>/dev/null || true
        wait "$dev" || true
    fi
    rm -rf "$work"
    exit "$status"
}
trap clean_up EXIT

python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check --requirement "$here/requirements.txt"

"$evenkeel" dev --agents 2 --data-dir "$work/data" --grpc 127.0.0.1:0 --http 127.0.0.1:0 --ready-file "$work/ready.json" \
    >"$work/dev.log" 2>&1 &
dev=$!
for ((tenth = 0; ; tenth++)); do
    [ -s "$work/ready.json" ] && break
    kill -0 "$dev" || { cat "$work/dev.log" >&2; echo "evenkeel dev ended before it was ready" >&2; exit 1; }
    [ "$tenth" -lt $((ready_seconds_max * 10)) ] || { echo "evenkeel dev was not ready in time" >&2; exit 1; }
    sleep 0.1
done
address=$(python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))["http"])' "$work/ready.json")

# Not asked: the two calls that wait for as long as they are told to, which may be for ever. Not judged: that what the document
# allows is accepted, since there is more to a setting than its form (a policy's bounds against each other, say).
cd "$work"
"$work/venv/bin/schemathesis" run "http://$address/api/v1/openapi.json" --no-color --warnings off \
    --phases coverage,fuzzing --max-examples "$examples_max" --seed 1 --continue-on-failure --request-timeout 10 \
    --exclude-path /api/v1/tasks/execute --exclude-path /api/v1/tasks/wait --exclude-checks positive_data_acceptance

# It is as it was before.
python3 - "$address" <<'PYTHON'
import sys
import urllib.request

for path in ("healthz", "readyz", "api/v1/status"):
    with urllib.request.urlopen(f"http://{sys.argv[1]}/{path}", timeout=10) as answer:
        assert answer.status == 200, path
PYTHON
