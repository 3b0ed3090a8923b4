# Recipes for working on firedrill. `just` alone lists them.

_default:
    @just --list

# Format, lint, and validate every drill, target, policy and profile.
check:
    cargo fmt --all --check
    cargo clippy --workspace --all-targets -- -D warnings
    cargo run --quiet -- check

# Everything: unit tests, command line, drills on real stacks.
test:
    cargo test --workspace

# One drill, or several, on real stacks.
drill +NAMES:
    cargo run -- run {{NAMES}}

# The drills in their full durations.
drills-full:
    cargo run --release -- run --profile full

# The smoke soak.
soak *ARGS:
    cargo run --release -- soak {{ARGS}}

# Decide on a run: just gate drills/gates/smoke.toml reports/latest
gate POLICY RUN:
    cargo run --release -- gate --policy {{POLICY}} --subject {{RUN}} {{RUN}}

# Measure what harness/README.md states figures for.
bench:
    cargo build --release
    cargo run --release --example bench
    cargo run --release -p firedrill-verdict --example audit_bench

# How fast a recorded run is judged, and in how much memory: just judge-bench reports/latest
judge-bench RUN *ARGS:
    cargo run --release -p firedrill-verdict --example judge_bench -- {{RUN}} {{ARGS}}

# A simulated day from a recorded soak, to try the judge on: just day reports/latest /tmp/day
day RECORDED OUT *HOURS:
    cargo run --release -p firedrill-verdict --example day_journal -- {{RECORDED}} {{OUT}} {{HOURS}}

# How often the drift test cries wolf in honest soaks, and how many leaks it finds: just drift-study [SOAKS] [SEED…]
drift-study *ARGS:
    cargo run --release -p firedrill-verdict --example drift_study -- {{ARGS}}

# Each drill against each defect that it claims to catch, and against the honest bot.
prove *DRILLS:
    cargo run --release -- prove {{DRILLS}}

# The honest bot, N times each drill.
honest N="20" *DRILLS:
    harness/honest.sh {{N}} {{DRILLS}}

# Kill a drill's process at N random moments, and measure what its janitor makes of that.
sigkill N="20":
    FIREDRILL_TEST_KILLS={{N}} cargo test --test interrupt sigkill_at_random_moments -- --ignored --nocapture

# Write the generated documentation anew.
bless:
    FIREDRILL_BLESS=1 cargo test --test docs --test seed_map
    FIREDRILL_BLESS=1 cargo test --test false_green the_page_is_written_from_the_table

# Reports in headless Chromium: accessibility at three widths, and no request. Needs chromium and pip.
axe *PAGES:
    #!/usr/bin/env bash
    set -euo pipefail
    dir=$(mktemp -d)
    trap 'rm -rf "$dir"' EXIT
    pip download --quiet --no-deps --dest "$dir" axe-playwright-python==0.1.8
    python3 -m zipfile -e "$dir"/*.whl "$dir/axe"
    pages=({{PAGES}})
    if [ "${#pages[@]}" = 0 ]; then
        cargo run --quiet -p firedrill-report --example sample -- "$dir"
        pages=("$dir"/pass.html "$dir"/fail.html "$dir"/soak.html)
    fi
    python3 tests/axe/axe.py "$dir/axe/axe_playwright_python/axe.min.js" "${pages[@]}"

# Make a sealed run the committed sample, with a picture of its first page: just sample reports/latest
sample RUN:
    #!/usr/bin/env bash
    set -euo pipefail
    dir=$(mktemp -d)
    trap 'rm -rf "$dir"' EXIT
    cargo run --release --quiet -- judge {{RUN}}
    mkdir -p reports/sample
    for name in report.html report.md verdict.json manifest.json; do
        install -m 644 "{{RUN}}/$name" reports/sample/
    done
    chromium --headless --no-sandbox --disable-gpu --hide-scrollbars --user-data-dir="$dir" --window-size=1280,1500 \
        --screenshot="$PWD/reports/sample/report.png" "file://$PWD/reports/sample/report.html"
