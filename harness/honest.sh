#!/usr/bin/env bash
# The honest bot, N rounds of the given drills (all if none is named) at default parallelism.
# Prints passes and the worst margin per drill; exits 1 if any run did not pass.
set -uo pipefail
cd "$(dirname "$0")/.."
rounds=${1:-20}
shift || true
bin=${FIREDRILL_BIN:-target/debug/firedrill}
out=$(mktemp -d)
trap 'chmod -R u+w "$out"; rm -rf "$out"' EXIT
for round in $(seq "$rounds"); do
    "$bin" run "$@" --out "$out" >"$out/round-$round.txt" 2>&1 || {
        echo "round $round: exit $?" >&2
        grep -vE '^(seed|evidence)' "$out/round-$round.txt" >&2
    }
done
python3 - "$out" "$rounds" <<'PY'
import glob, json, os, sys
rows, bad = {}, 0
paths = {os.path.realpath(p) for p in glob.glob(sys.argv[1] + "/**/verdict.json", recursive=True)}
for path in sorted(paths):
    verdict = json.load(open(path))
    for drill in verdict["drills"]:
        row = rows.setdefault(drill["name"], [0, 0, None, ""])
        row[0] += 1
        row[1] += verdict["verdict"] == "pass"
        for check in drill["checks"]:
            if check["margin"] is not None and (row[2] is None or check["margin"] < row[2]):
                row[2], row[3] = check["margin"], check["id"]
print("| drill | passed | worst margin | of |\n|---|---|---|---|")
for name, (runs, passed, margin, check) in sorted(rows.items()):
    bad += passed != int(sys.argv[2])
    shown = "n/a" if margin is None else f"{margin:.0%}"
    print(f"| {name} | {passed} of {sys.argv[2]} | {shown} | {check} |")
sys.exit(bad > 0 or not rows)
PY
