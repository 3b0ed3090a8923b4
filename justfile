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
