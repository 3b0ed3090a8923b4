//! Gate policies, waivers and attestations.

use super::signatures::SIGNATURES;
use super::*;

const SOURCES: Key = opt(
    "source",
    Ty::OneOrMany(&Ty::Text),
    "Lines of the seed map that this carries.",
);
const ID: Key = req("id", Ty::Id, "Unique in the policy.");
const WHAT: Key = req("what", Ty::Text, "In words.");
const ACCEPT_ITEM: Key = opt(
    "accept",
    Ty::Text,
    "Why the lints of this item are accepted; silences them.",
);
const STAGE: Key = opt(
    "stage",
    Ty::OneOrMany(&Ty::Id),
    "Stages whose runs are looked at; `all` is each of them. All runs by default.",
);
const BETWEEN: Key = opt(
    "between",
    Ty::Pair(&Ty::Number),
    "The number is from the first to the second, both included.",
);
const FIGURE: Key = opt("figure", Ty::Text, "Figure of the verdict, or of the gate.");
const EXPR: Key = opt(
    "expr",
    Ty::Text,
    "PromQL over `${metric.NAME}` and `${canary}`; its recorded values are judged.",
);
const LOG: Key = opt(
    "log",
    Ty::Word(&["errors", "warnings"]),
    "Unexpected lines per minute at that level in the logs that the run followed.",
);
const IMPORT_REF: Key = opt("import", Ty::Id, "An `[[import]]`, by its id.");
const PROBE_ID: Key = opt(
    "probe",
    Ty::Text,
    "Probe, by the id that journals give it: `http:SERVICE:/PATH`.",
);
const FIELD: Key = opt(
    "field",
    Ty::Text,
    "Field of the probe's samples; `value` by default.",
);
const MISSING: Key = opt(
    "missing",
    Ty::Text,
    "Why nothing can show it yet: INCONCLUSIVE, and said so.",
);
const FOR: Key = opt(
    "for",
    Ty::Duration,
    "How long the bound must be broken without a break to count; 0 by default.",
);
const GRACE_ITEM: Key = opt(
    "grace",
    Ty::Duration,
    "How much longer, after `for`, until it acts; 0 by default.",
);
const MIN_SAMPLES: Key = opt(
    "min_samples",
    COUNT,
    "Fewest samples that it rests on; 1 by default.",
);
const VOLUME: Key = opt(
    "volume",
    Ty::Text,
    "PromQL: the number of events behind a value.",
);
const MIN_VOLUME: Key = opt(
    "min_volume",
    Ty::Rate,
    "A value with fewer events behind it is missing data.",
);
const BASELINE: Key = opt(
    "baseline",
    Ty::Id,
    "A stage, or `accepted`: bounds are multiples of the median there.",
);

const AFTER: Key = opt(
    "after",
    Ty::Word(&["trigger", "no-go"]),
    "Only asked for once a trigger has fired, or the release had a NO-GO.",
);

pub(crate) static REQUIRES: Table = table(
    "requires",
    &[
        opt("drills", IDS, "Drills that must have passed."),
        opt(
            "profile",
            Ty::Id,
            "Profile that the run must have had; any by default.",
        ),
        opt(
            "runtime",
            Ty::Word(&["docker", "compose", "process"]),
            "Runtime; any by default.",
        ),
        opt(
            "allow_dirty",
            Ty::Bool,
            "Whether uncommitted changes are acceptable; no by default.",
        ),
        opt(
            "fresh_within",
            Ty::Positive,
            "Evidence older than this is refused.",
        ),
    ],
);
pub(crate) static CANARY: Table = table(
    "canary",
    &[
        req(
            "selector",
            Ty::Text,
            "Label matchers of the canary's own series: what `${canary}` stands for.",
        ),
        opt(
            "share",
            Ty::Text,
            "PromQL: the canary's measured share of the traffic, 0 to 1.",
        ),
        opt(
            "tolerance",
            Ty::Share,
            "How far the measured share may be from a stage's weight; 0.02 by default.",
        ),
        opt(
            "every",
            Ty::Positive,
            "Interval at which expressions are evaluated; 15s by default.",
        ),
        opt(
            "scrape",
            Ty::Positive,
            "The metrics server's scrape interval; 15s by default.",
        ),
        SOURCES,
    ],
);
pub(crate) static ATTEST: Table = table(
    "attest",
    &[
        ID,
        req("text", Ty::Text, "What is confirmed."),
        req("role", Ty::Text, "Role that confirms it."),
        opt(
            "stage",
            Ty::Id,
            "Stage that it belongs to; the whole by default.",
        ),
        opt("requires", IDS, "Items that must be signed or hold before."),
        AFTER,
        opt("due", Ty::Positive, "How soon after that."),
        opt(
            "shows",
            Ty::Text,
            "Document whose digest the signature must name.",
        ),
        SOURCES,
    ],
);
pub(crate) static RULE: Table = Table {
    name: "rule",
    keys: &[
        ID,
        WHAT,
        SOURCES,
        opt(
            "class",
            Ty::Word(&["critical", "warning", "zero-tolerance"]),
            "A broken warning blocks as INCONCLUSIVE, the others as FAIL; critical by default.",
        ),
        STAGE,
        opt("checkpoint", Ty::Id, "Judged at this checkpoint only."),
        FIGURE,
        EXPR,
        LOG,
        IMPORT_REF,
        PROBE_ID,
        FIELD,
        opt(
            "all_of",
            Ty::Some(&Ty::Text),
            "Holds if these do: ids of items, `stage:ID`, or `rules`.",
        ),
        MISSING,
        EQUALS,
        ONE_OF,
        AT_MOST,
        BELOW,
        AT_LEAST,
        ABOVE,
        BETWEEN,
        FOR,
        GRACE_ITEM,
        MIN_SAMPLES,
        VOLUME,
        MIN_VOLUME,
        opt(
            "scope",
            Ty::Word(&["quiet", "fault", "all"]),
            "Outside fault windows, within them, or both; quiet by default.",
        ),
        opt(
            "quiet_min",
            Ty::Share,
            "Least share of the time that the scope leaves; 0.5 by default.",
        ),
        BASELINE,
        ACCEPT_ITEM,
    ],
    exactly_one: &[&[
        "figure", "expr", "log", "import", "probe", "all_of", "missing",
    ]],
};
pub(crate) static TRIGGER: Table = Table {
    name: "trigger",
    keys: &[
        ID,
        WHAT,
        SOURCES,
        req(
            "class",
            Ty::Word(&["critical", "warning", "zero-tolerance"]),
            "critical and zero-tolerance have no grace.",
        ),
        STAGE,
        EXPR,
        FIGURE,
        LOG,
        opt(
            "manual",
            Ty::Text,
            "Role that pulls it by hand, with a reason.",
        ),
        EQUALS,
        AT_MOST,
        BELOW,
        AT_LEAST,
        ABOVE,
        FOR,
        GRACE_ITEM,
        MIN_SAMPLES,
        VOLUME,
        MIN_VOLUME,
        BASELINE,
        opt(
            "act",
            Ty::Word(&["rollback", "ask"]),
            "What it does once it fires; rollback by default.",
        ),
        opt(
            "rollback",
            Ty::Id,
            "Roll-back that it starts; the first by default.",
        ),
        ACCEPT_ITEM,
    ],
    exactly_one: &[&["expr", "figure", "log", "manual"]],
};
pub(crate) static VERIFY: Table = Table {
    name: "verify",
    keys: &[
        EXPR,
        opt(
            "run",
            Ty::Some(&Ty::Text),
            "Command as a list of arguments; its exit code must be 0.",
        ),
        opt("rules", SOME_IDS, "Rules that must hold again."),
        EQUALS,
        AT_MOST,
        BELOW,
        AT_LEAST,
        ABOVE,
        MATCHES,
        req("within", Ty::Positive, "Deadline."),
    ],
    exactly_one: &[&["expr", "run", "rules"]],
};
pub(crate) static STEP: Table = table(
    "step",
    &[
        ID,
        WHAT,
        SOURCES,
        opt(
            "run",
            Ty::Some(&Ty::Text),
            "Command as a list of arguments, no shell; none: only the check.",
        ),
        opt(
            "alternative",
            Ty::Id,
            "Another way to what that step does; one of them is enough.",
        ),
        req("verify", Ty::Table(&VERIFY), "What shows its effect."),
    ],
);
pub(crate) static STAGE_TABLE: Table = table(
    "stage",
    &[
        ID,
        WHAT,
        SOURCES,
        opt("weight", Ty::Rate, "Percent of the traffic."),
        opt("hold", Ty::Positive, "Least time that it is watched."),
        opt("hold_max", Ty::Positive, "Longest time."),
        opt("settle", Ty::Positive, "Left out at its start."),
        opt(
            "budget",
            Ty::Positive,
            "Longest time that its runs may take together.",
        ),
        opt("ready_within", Ty::Positive, "Deadline until it is ready."),
        opt("requires", IDS, "Stages that must be GO before."),
        opt("inherits", IDS, "Stages whose rules hold here too."),
        opt(
            "profile",
            Ty::Id,
            "Profile of the runs that are its evidence; its own id by default.",
        ),
        opt(
            "fresh_within",
            Ty::Positive,
            "Its evidence may not be older.",
        ),
        opt(
            "retry_embargo",
            Ty::Positive,
            "Least time since a NO-GO of the release.",
        ),
        opt(
            "coverage",
            Ty::Share,
            "Least share of the time that was watched.",
        ),
        opt("enter", Ty::Some(&Ty::Table(&STEP)), "Steps that enter it."),
        opt("exit", Ty::Some(&Ty::Table(&STEP)), "Steps after its hold."),
        ACCEPT_ITEM,
    ],
);
pub(crate) static CHECKPOINT: Table = table(
    "checkpoint",
    &[
        ID,
        WHAT,
        SOURCES,
        req("stage", Ty::Id, "Stage."),
        req("at", Ty::Positive, "Time since the stage's start."),
        req("window", Ty::Positive, "How much before it is judged."),
        opt(
            "then",
            Ty::Word(&["throughout"]),
            "And from then on to the end of the stage.",
        ),
    ],
);
pub(crate) static GROUP: Table = table(
    "group",
    &[
        ID,
        WHAT,
        SOURCES,
        opt(
            "need",
            ONE_TO_MILLION,
            "How many must hold; all by default.",
        ),
        req("of", SOME_IDS, "Items; they count through the group only."),
    ],
);
pub(crate) static IMPORT: Table = Table {
    name: "import",
    keys: &[
        ID,
        WHAT,
        SOURCES,
        STAGE,
        opt("junit", Ty::Bool, "JUnit: tests > 0, none failed."),
        opt("json", Ty::Pointer, "JSON: the value that is looked at."),
        opt(
            "samples",
            Ty::Pointer,
            "JSON: the number of samples behind it.",
        ),
        opt(
            "revision",
            Ty::Pointer,
            "JSON: the revision that it is about; without it the file's `--import` names it.",
        ),
        EQUALS,
        ONE_OF,
        AT_MOST,
        BELOW,
        AT_LEAST,
        ABOVE,
        MATCHES,
        MIN_SAMPLES,
    ],
    exactly_one: &[&["junit", "json"]],
};
pub(crate) static EVIDENCE: Table = Table {
    name: "evidence",
    keys: &[
        ID,
        WHAT,
        SOURCES,
        STAGE,
        opt("file", Ty::Text, "File of the run's sealed folder."),
        AFTER,
        opt(
            "field",
            Ty::Pointer,
            "Value of the run's verdict that must be there.",
        ),
        opt(
            "decision",
            Ty::Pointer,
            "Value of this decision that must be there.",
        ),
        IMPORT_REF,
    ],
    exactly_one: &[&["file", "field", "decision", "import"]],
};
pub(crate) static CONFIG: Table = Table {
    name: "config",
    keys: &[
        ID,
        WHAT,
        SOURCES,
        STAGE,
        opt(
            "setting",
            Ty::Text,
            "Effective setting that the target reports.",
        ),
        PROBE_ID,
        FIELD,
        EXPR,
        IMPORT_REF,
        opt(
            "gate",
            Ty::Word(&["policy-in-run", "release", "owner", "interval"]),
            "What the gate itself can tell.",
        ),
        MISSING,
        EQUALS,
        ONE_OF,
        AT_MOST,
        BELOW,
        AT_LEAST,
        ABOVE,
        BETWEEN,
        MATCHES,
    ],
    exactly_one: &[&["setting", "probe", "expr", "import", "gate", "missing"]],
};
pub(crate) static DRILL_ITEM: Table = Table {
    name: "policy drill",
    keys: &[
        ID,
        WHAT,
        SOURCES,
        STAGE,
        opt("name", Ty::Id, "Drill that must have passed."),
        opt(
            "run",
            Ty::Some(&Ty::Text),
            "Command that must have ended with 0.",
        ),
        MISSING,
        opt("fresh_within", Ty::Positive, "Not older than this."),
    ],
    exactly_one: &[&["name", "run", "missing"]],
};
pub(crate) static AUDIT_ITEM: Table = Table {
    name: "policy audit",
    keys: &[
        ID,
        WHAT,
        SOURCES,
        STAGE,
        opt("checkpoint", Ty::Id, "Belongs to this checkpoint."),
        opt(
            "equation",
            Ty::Id,
            "Equation of the audit without a violation.",
        ),
        MISSING,
        MIN_SAMPLES,
    ],
    exactly_one: &[&["equation", "missing"]],
};
pub(crate) static ROLLBACK: Table = table(
    "rollback",
    &[
        ID,
        WHAT,
        SOURCES,
        req(
            "on",
            Ty::Word(&["any", "critical", "manual"]),
            "Which triggers start it.",
        ),
        req(
            "positions",
            Ty::Word(&["close", "keep"]),
            "What happens to open positions.",
        ),
        opt("role", Ty::Text, "Role that may start it by hand."),
        opt(
            "rehearsed_within",
            Ty::Positive,
            "Every step must have been carried out and verified that recently.",
        ),
        opt("within", Ty::Positive, "From trigger to verified."),
        req("step", Ty::Some(&Ty::Table(&STEP)), "Steps in order."),
    ],
);
/// A gate policy file.
pub static POLICY: Table = table(
    "a policy",
    &[
        req("title", Ty::Text, "One line."),
        req(
            "class",
            Ty::Word(&["smoke", "release"]),
            "Only release can say GO.",
        ),
        opt("owner", Ty::Text, "Role that owns the policy."),
        opt("release", Ty::Text, "Version that it is about."),
        opt(
            "targets",
            IDS,
            "Target files whose series it may name; their bots are what it is for.",
        ),
        opt(
            "no_target",
            Ty::Text,
            "Why it names no target: nothing then shows that its series exist.",
        ),
        opt("roles", TEXTS, "Roles that sign."),
        ACCEPT,
        opt(
            "metrics",
            STRINGS,
            "`${metric.NAME}` → the series' name, unless the target's `[metric]` says another.",
        ),
        opt(
            "canary",
            Ty::Table(&CANARY),
            "How the canary is told apart.",
        ),
        opt(
            "requires",
            Ty::Table(&REQUIRES),
            "What the runs must have been.",
        ),
        opt("rule", Ty::Some(&Ty::Table(&RULE)), "Thresholds."),
        opt(
            "trigger",
            Ty::Some(&Ty::Table(&TRIGGER)),
            "What starts a roll-back.",
        ),
        opt(
            "stage",
            Ty::Some(&Ty::Table(&STAGE_TABLE)),
            "The ramp, in order.",
        ),
        opt(
            "checkpoint",
            Ty::Some(&Ty::Table(&CHECKPOINT)),
            "Moments of a stage.",
        ),
        opt("group", Ty::Some(&Ty::Table(&GROUP)), "k of n."),
        opt(
            "drill",
            Ty::Some(&Ty::Table(&DRILL_ITEM)),
            "Drills, each with its reason.",
        ),
        opt(
            "audit",
            Ty::Some(&Ty::Table(&AUDIT_ITEM)),
            "Equations of the audit.",
        ),
        opt(
            "config",
            Ty::Some(&Ty::Table(&CONFIG)),
            "Settings, read back.",
        ),
        opt(
            "evidence",
            Ty::Some(&Ty::Table(&EVIDENCE)),
            "What must have been recorded.",
        ),
        opt(
            "import",
            Ty::Some(&Ty::Table(&IMPORT)),
            "What other tools have shown.",
        ),
        opt(
            "attest",
            Ty::Some(&Ty::Table(&ATTEST)),
            "What only a person can confirm.",
        ),
        opt(
            "signatures",
            Ty::Table(&SIGNATURES),
            "Who signs the evidence.",
        ),
        opt(
            "rollback",
            Ty::Some(&Ty::Table(&ROLLBACK)),
            "How it is undone.",
        ),
    ],
);

static WAIVER: Table = table(
    "waiver",
    &[
        req("item", Ty::Text, "Id of the policy's item, or `run NAME`."),
        req("policy", Ty::Id, "Policy that it is for."),
        req("reason", Ty::Text, "Why it may be passed over."),
        req("approver", Ty::Text, "Who says so."),
        req(
            "expires",
            Ty::Text,
            "RFC 3339; from then on it counts for nothing.",
        ),
    ],
);
/// A file of waivers.
pub static WAIVERS: Table = table(
    "a file of waivers",
    &[opt(
        "waiver",
        Ty::List(&Ty::Table(&WAIVER)),
        "Items that don't block.",
    )],
);
static SIGNED: Table = table(
    "signed",
    &[
        req("item", Ty::Id, "Id of the policy's attestation item."),
        req(
            "subject",
            Ty::Text,
            "Digest of the subject that it is about.",
        ),
        req("name", Ty::Text, "Who."),
        req("role", Ty::Text, "As what."),
        req("date", Ty::Text, "When, RFC 3339."),
        opt("note", Ty::Text, "Printed beside it."),
        opt("evidence", Ty::Text, "SHA-256 of what was looked at."),
    ],
);
/// A file of attestations.
pub static ATTESTATIONS: Table = table(
    "a file of attestations",
    &[opt(
        "signed",
        Ty::List(&Ty::Table(&SIGNED)),
        "Who confirmed what.",
    )],
);
