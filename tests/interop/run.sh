#!/usr/bin/env bash
# Clients and agents in another language: generates Python code from proto/ with grpcio-tools, starts a coordinator, and
# runs agent.py, client.py and keda.py against it. Everything is made in a temporary directory and removed.
#
# Usage: tests/interop/run.sh [EVENKEEL_PROGRAM]     (default: target/release/evenkeel, which has to be built)
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
evenkeel=${1:-$root/target/release/evenkeel}
ready_seconds_max=30

work=$(mktemp -d)
pids=()
clean_up() {
    local status=$?
    for pid in "${pids[@]}"; do
        kill "$pid" 2>/dev/null || true
    done
    wait || true
    if [ "$status" -ne 0 ]; then
        for log in "$work"/*.log; do
            if [ -e "$log" ]; then
                echo "--- $(basename "$log")" >&2
                tail -n 40 "$log" >&2
            fi
        done
    fi
    rm -rf "$work"
    exit "$status"
}
trap clean_up EXIT

python3 -m venv "$work/venv"
python=$work/venv/bin/python
"$python" -m pip install --quiet --disable-pip-version-check --requirement "$here/requirements.txt"
mkdir "$work/generated"
(cd "$root/proto" && "$python" -m grpc_tools.protoc --proto_path=. --python_out="$work/generated" \
    --grpc_python_out="$work/generated" evenkeel/v1/*.proto externalscaler/*.proto)
export PYTHONPATH=$work/generated PYTHONDONTWRITEBYTECODE=1

"$evenkeel" coordinator --data-dir "$work/data" --grpc 127.0.0.1:0 --http 127.0.0.1:0 --ready-file "$work/ready.json" \
    --scaling-policy web-balanced --scaling-agents 3..9 --actuator keda 2>"$work/coordinator.log" &
coordinator=$!
pids+=("$coordinator")
for ((tenth = 0; ; tenth++)); do
    [ -s "$work/ready.json" ] && break
    kill -0 "$coordinator" || { echo "the coordinator ended before it was ready" >&2; exit 1; }
    [ "$tenth" -lt $((ready_seconds_max * 10)) ] || { echo "the coordinator was not ready in time" >&2; exit 1; }
    sleep 0.1
done
address=$("$python" -c 'import json, sys; print(json.load(open(sys.argv[1]))["grpc"])' "$work/ready.json")

"$python" "$here/agent.py" "$address" 2>"$work/agent.log" &
agent=$!
pids+=("$agent")
"$python" "$here/client.py" "$address"
"$python" "$here/keda.py" "$address" 3

# The agent leaves in order, and so does the coordinator.
for pid in "$agent" "$coordinator"; do
    kill -TERM "$pid"
    wait "$pid"
done
pids=()
