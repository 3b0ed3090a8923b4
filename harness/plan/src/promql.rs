//! PromQL at load time: is it PromQL at all, and is it one of the expressions that look right and see
//! nothing? Parsed only; what an expression is worth is asked of a real Prometheus, never computed here.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use promql_parser::label::{MatchOp, Matcher, Matchers};
use promql_parser::parser::{
    AggregateExpr, BinaryExpr, Call, Expr, LabelModifier, MatrixSelector, SubqueryExpr,
    VectorSelector, value::ValueType,
};

use crate::diag::nearest;

/// Longer expressions are nobody's: their tree would be as deep as they are long.
const BYTES_MAX: usize = 4096;
/// Functions whose value is a change between two samples of their window.
const OF_TWO_SAMPLES: [&str; 9] = [
    "rate",
    "irate",
    "increase",
    "delta",
    "idelta",
    "deriv",
    "changes",
    "resets",
    "predict_linear",
];
/// Functions whose answer is about a series that isn't there.
const OF_ABSENCE: [&str; 2] = ["absent", "absent_over_time"];
/// Aggregations that keep the labels of what they choose.
const CHOOSING: [&str; 3] = ["topk", "bottomk", "limitk"];
/// Series that Prometheus makes itself.
const OWN_SERIES: [&str; 4] = ["up", "ALERTS", "ALERTS_FOR_STATE", "scrape_"];
/// What a histogram or a summary adds to its name.
const PARTS: [&str; 3] = ["_bucket", "_sum", "_count"];

/// Why a text is no PromQL.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not PromQL: {message}")]
pub struct PromqlError {
    pub message: String,
    /// What would have been right, where that can be told.
    pub remedy: Option<&'static str>,
}

/// A class of expressions that look right and aren't.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LintKind {
    /// Two vectors whose series don't meet, or meet only themselves.
    Matching,
    /// A window that never holds two samples.
    Window,
    /// A series that nobody exposes.
    UnknownSeries,
}

/// A finding about an expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lint {
    pub kind: LintKind,
    pub message: String,
    pub remedy: String,
}

impl std::fmt::Display for Lint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}; {}", self.message, self.remedy)
    }
}

/// A series that an expression reads.
#[derive(Clone, Debug)]
pub struct Selector {
    /// As PromQL writes it, without window and offset: what can be asked for its existence.
    pub text: String,
    /// Metric name, where one is given.
    pub name: Option<String>,
    /// Asked for by `absent`: that it isn't there is no mistake.
    pub absence: bool,
    labels: Vec<Matcher>,
    /// The name before the braces; one in the braces is among the labels.
    plain_name: Option<String>,
}

impl Selector {
    /// Whether series of a scraped target could be meant: nothing in its labels speaks against it.
    pub fn may_be_of(&self, target: &BTreeMap<String, String>) -> bool {
        let mut known = self
            .of_targets()
            .filter_map(|m| Some((m, target.get(&m.name)?)));
        known.all(|(matcher, value)| matcher.is_match(value))
    }

    /// Whether a target that may be meant carries a label that is asked for: then it is meant.
    pub fn is_told_by(&self, target: &BTreeMap<String, String>) -> bool {
        self.of_targets().any(|m| target.contains_key(&m.name))
    }

    /// The matchers that a target's labels can speak to: its name is that of the series by which it is known.
    fn of_targets(&self) -> impl Iterator<Item = &Matcher> {
        self.labels.iter().filter(|m| m.name != "__name__")
    }

    /// The label matchers, the name's left out, as PromQL writes them, in order.
    pub fn matchers(&self) -> BTreeSet<String> {
        self.of_targets().map(ToString::to_string).collect()
    }

    /// The series with its equalities alone: what must exist for the selector to be able to see anything.
    pub fn exact(&self) -> String {
        let equal = self.labels.iter().filter(|m| m.op == MatchOp::Equal);
        let matchers = Matchers::new(equal.cloned().collect());
        VectorSelector::new(self.plain_name.clone(), matchers).to_string()
    }

    /// Whether Prometheus makes the series itself.
    pub fn is_own(&self) -> bool {
        let own = |name: &String| OWN_SERIES.iter().any(|own| name.starts_with(own));
        self.name.as_ref().is_some_and(own)
    }
}

/// The series that an expression reads, each once.
///
/// # Errors
/// The text isn't PromQL.
pub fn selectors(expr: &str) -> Result<Vec<Selector>, PromqlError> {
    let mut seen = BTreeSet::new();
    let mut found = walk(&parse(expr)?).selectors;
    found.retain(|selector| seen.insert((selector.text.clone(), selector.absence)));
    Ok(found)
}

/// What looks right in an expression and isn't. `known` are the metric names that the targets expose;
/// where it is empty, nothing is said about names.
///
/// # Errors
/// The text isn't PromQL.
pub fn lint(
    expr: &str,
    scrape_interval: Duration,
    known: &[String],
) -> Result<Vec<Lint>, PromqlError> {
    let found = walk(&parse(expr)?);
    let mut lints = found.mismatches;
    let short = found
        .windows
        .iter()
        .filter(|(_, window)| *window < scrape_interval * 2);
    lints.extend(short.map(|(function, window)| Lint {
        kind: LintKind::Window,
        message: format!(
            "{function} over {} never sees two samples at a scrape each {}",
            seconds(*window),
            seconds(scrape_interval)
        ),
        remedy: format!(
            "a window of {} or more",
            seconds((scrape_interval * 4).max(Duration::from_secs(1)))
        ),
    }));
    let names = found.selectors.iter().filter(|s| !s.is_own());
    let names: BTreeSet<&str> = names.filter_map(|s| s.name.as_deref()).collect();
    let unknown = names
        .into_iter()
        .filter(|name| !known.is_empty() && !exposed(name, known));
    lints.extend(unknown.map(|name| unknown_series(name, known)));
    Ok(lints)
}

/// Whether an expression is a single number without labels, where a rule needs a vector.
pub(crate) fn is_scalar(expr: &str) -> bool {
    let scalar = |parsed: Expr| parsed.value_type() == ValueType::Scalar;
    parse(expr).is_ok_and(scalar)
}

fn parse(expr: &str) -> Result<Expr, PromqlError> {
    if expr.len() > BYTES_MAX {
        return Err(PromqlError {
            message: format!("{} bytes", expr.len()),
            remedy: Some("4 KiB or less"),
        });
    }
    promql_parser::parser::parse(expr).map_err(|message| {
        let words: Vec<&str> = expr.split_whitespace().collect();
        let duration = |word: &str| crate::units::parse_duration(word).is_ok();
        let held = words
            .windows(2)
            .any(|pair| pair[0] == "for" && duration(pair[1]));
        PromqlError {
            remedy: held.then_some("the duration in the rule's own \"for\""),
            message,
        }
    })
}

fn exposed(name: &str, known: &[String]) -> bool {
    let is = |base: &str| known.iter().any(|k| k == base);
    is(name)
        || PARTS
            .iter()
            .filter_map(|part| name.strip_suffix(part))
            .any(is)
}

fn unknown_series(name: &str, known: &[String]) -> Lint {
    let names: Vec<&str> = known.iter().map(String::as_str).collect();
    Lint {
        kind: LintKind::UnknownSeries,
        message: format!("series {name} is exposed by no target"),
        remedy: match nearest(name, &names) {
            Some(close) => format!("did you mean \"{close}\"?"),
            None => "one of the target's metrics".to_owned(),
        },
    }
}

fn seconds(duration: Duration) -> String {
    format!("{} s", duration.as_secs_f64())
}

/// What a walk over an expression finds.
#[derive(Default)]
struct Found {
    selectors: Vec<Selector>,
    /// Function and window.
    windows: Vec<(String, Duration)>,
    mismatches: Vec<Lint>,
}

/// What is known about the label sets of an expression's series.
#[derive(Clone, Debug, PartialEq)]
enum Shape {
    /// No vector, or one of which nothing is known.
    Unknown,
    /// The series' own labels, narrowed by these conditions.
    Own(BTreeSet<String>),
    /// These labels only.
    By(BTreeSet<String>),
    /// All labels but these.
    Without(BTreeSet<String>),
}

fn walk(expr: &Expr) -> Found {
    let mut found = Found::default();
    found.visit(expr, false);
    found
}

impl Found {
    /// Gathers what is in an expression, and says what its series' labels are.
    fn visit(&mut self, expr: &Expr, absence: bool) -> Shape {
        match expr {
            Expr::Aggregate(aggregate) => self.aggregate(aggregate, absence),
            Expr::Unary(unary) => self.visit(&unary.expr, absence),
            Expr::Paren(paren) => self.visit(&paren.expr, absence),
            Expr::Binary(binary) => self.binary(binary, absence),
            Expr::Subquery(SubqueryExpr { expr, .. }) => self.visit(expr, absence),
            Expr::VectorSelector(selector) => self.selector(selector, absence),
            Expr::MatrixSelector(MatrixSelector { vs, .. }) => self.selector(vs, absence),
            Expr::Call(call) => self.call(call, absence),
            Expr::NumberLiteral(_) | Expr::StringLiteral(_) | Expr::Extension(_) => Shape::Unknown,
        }
    }

    fn selector(&mut self, selector: &VectorSelector, absence: bool) -> Shape {
        let plain = VectorSelector::new(selector.name.clone(), selector.matchers.clone());
        let Matchers {
            matchers,
            or_matchers,
        } = &selector.matchers;
        let named = matchers.iter().find(|m| m.name == "__name__");
        let named = named.filter(|m| m.op == MatchOp::Equal);
        let name = selector.name.clone();
        self.selectors.push(Selector {
            text: plain.to_string(),
            name: name.or_else(|| named.map(|m| m.value.clone())),
            absence,
            labels: matchers.clone(),
            plain_name: selector.name.clone(),
        });
        let conditions = matchers.iter().chain(or_matchers.iter().flatten());
        let conditions = conditions.filter(|m| m.name != "__name__");
        Shape::Own(conditions.map(ToString::to_string).collect())
    }

    fn aggregate(&mut self, aggregate: &AggregateExpr, absence: bool) -> Shape {
        if let Some(parameter) = &aggregate.param {
            self.visit(parameter, absence);
        }
        let inner = self.visit(&aggregate.expr, absence);
        let op = aggregate.op.to_string();
        if CHOOSING.contains(&op.as_str()) {
            return inner;
        }
        if op == "count_values" {
            return Shape::Unknown;
        }
        let labels = |modifier: &LabelModifier| modifier.labels().labels.iter().cloned().collect();
        match &aggregate.modifier {
            None => Shape::By(BTreeSet::new()),
            Some(by @ LabelModifier::Include(_)) => Shape::By(labels(by)),
            Some(without) => Shape::Without(labels(without)),
        }
    }

    fn call(&mut self, call: &Call, absence: bool) -> Shape {
        let function = call.func.name;
        let absence = absence || OF_ABSENCE.contains(&function);
        let mut shape = Shape::Unknown;
        for argument in &call.args.args {
            if OF_TWO_SAMPLES.contains(&function) {
                self.window(function, argument);
            }
            let own = self.visit(argument, absence);
            if own != Shape::Unknown {
                shape = own;
            }
        }
        match (function, shape) {
            ("vector", _) => Shape::By(BTreeSet::new()),
            ("scalar" | "absent" | "absent_over_time" | "label_replace" | "label_join", _) => {
                Shape::Unknown
            }
            ("histogram_quantile", Shape::By(mut labels)) => {
                labels.remove("le");
                Shape::By(labels)
            }
            (_, shape) => shape,
        }
    }

    fn window(&mut self, function: &str, argument: &Expr) {
        let window = match argument {
            Expr::MatrixSelector(MatrixSelector { range, .. }) => *range,
            Expr::Paren(paren) => return self.window(function, &paren.expr),
            _ => return,
        };
        self.windows.push((function.to_owned(), window));
    }

    fn binary(&mut self, binary: &BinaryExpr, absence: bool) -> Shape {
        let left = self.visit(&binary.lhs, absence);
        let right = self.visit(&binary.rhs, absence);
        if binary.op.is_set_operator() {
            // Either side's series come through; `or` joins what differs on purpose.
            return match left == right {
                true => left,
                false => Shape::Unknown,
            };
        }
        let matched = |m: &promql_parser::parser::BinModifier| m.matching.is_some();
        if binary.modifier.as_ref().is_some_and(matched) {
            return Shape::Unknown;
        }
        match (left, right) {
            (Shape::Unknown, shape) | (shape, Shape::Unknown) => shape,
            (left, right) => {
                if let Some(why) = mismatch(&left, &right) {
                    self.mismatches.push(Lint {
                        kind: LintKind::Matching,
                        message: format!("`{}` between vectors: {why}", binary.op),
                        remedy: "aggregate both sides alike, as in sum(…) / sum(…), or match with on(…) or ignoring(…)".to_owned(),
                    });
                }
                left
            }
        }
    }
}

/// Why the series of two sides don't meet as they seem to.
fn mismatch(left: &Shape, right: &Shape) -> Option<&'static str> {
    match (left, right) {
        (Shape::Own(left), Shape::Own(right)) if left != right => Some(
            "the sides' label conditions differ, so that a series meets only the one with its own labels: the quotient of a part and its whole is 1 for each part, or nothing",
        ),
        (Shape::Own(_), Shape::By(_)) | (Shape::By(_), Shape::Own(_)) => {
            Some("only one side is aggregated, so that no series has its labels on the other side")
        }
        (Shape::By(left), Shape::By(right)) if left != right => Some(
            "the sides are aggregated by different labels, so that no series has its labels on the other side",
        ),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCRAPE: Duration = Duration::from_secs(15);

    fn kinds(expr: &str) -> Vec<LintKind> {
        let found = lint(expr, SCRAPE, &[]).unwrap_or_else(|e| panic!("{expr}: {e}"));
        found.into_iter().map(|l| l.kind).collect()
    }

    #[test]
    fn a_part_divided_by_its_whole_needs_an_aggregation() {
        // Seed 002, lines 194 and 216, as written.
        let written = r#"rate(http_requests_total{status=~"5.."}[5m]) / rate(http_requests_total[5m]) > 0.03"#;
        assert_eq!(kinds(written), [LintKind::Matching]);
        let corrected = r#"(sum(rate(http_requests_total{status=~"5.."}[5m])) or 0 * sum(rate(http_requests_total[5m]))) / sum(rate(http_requests_total[5m])) > 0.03"#;
        assert_eq!(kinds(corrected), []);
    }

    #[test]
    fn sides_that_never_meet_are_named() {
        for expr in [
            r#"rate(a{status="500"}[5m]) / sum(rate(a[5m]))"#,
            "sum by (job) (rate(a[5m])) / sum(rate(a[5m]))",
            r#"a{mode="LIVE"} - a{mode="DRY"}"#,
            r#"a{mode="LIVE"} > b"#,
            r#"(topk(3, a{x="1"})) / a"#,
        ] {
            assert_eq!(kinds(expr), [LintKind::Matching], "{expr}");
        }
    }

    #[test]
    fn sides_that_meet_are_left_alone() {
        for expr in [
            "rate(a_sum[5m]) / rate(a_count[5m])",
            r#"rate(a_sum{x="1"}[5m]) / rate(a_count{x="1"}[5m])"#,
            "sum by (job) (rate(a[5m])) / sum by (job) (rate(b[5m]))",
            r#"rate(a{status=~"5.."}[5m]) / ignoring(status) rate(b[5m])"#,
            r#"a{x="1"} and b{y="2"}"#,
            r#"sum(rate(a{x="1"}[5m])) / on() sum(rate(b[5m]))"#,
            "time() - process_start_time_seconds > 3600",
            "histogram_quantile(0.95, sum by (le) (rate(a_bucket[5m]))) > 0.4",
            "histogram_quantile(0.95, sum by (le) (rate(a_bucket[5m]))) / sum(b)",
            r#"sum(rate(a{x="1"}[5m])) or vector(0)"#,
            "rate(a[5m]) > 5",
        ] {
            assert_eq!(kinds(expr), [], "{expr}");
        }
    }

    #[test]
    fn a_window_needs_two_scrapes() {
        assert_eq!(kinds("rate(a[29s])"), [LintKind::Window]);
        assert_eq!(kinds("sum(increase((a[15s])))"), [LintKind::Window]);
        assert_eq!(kinds("rate(a[30s])"), []);
        assert_eq!(kinds("avg_over_time(a[15s])"), []);
    }

    #[test]
    fn a_series_that_nobody_exposes_is_named_with_the_nearest() {
        let known = ["bot_exec_mode", "lag_seconds"].map(str::to_owned);
        let lints = |expr| lint(expr, SCRAPE, &known).expect("it is PromQL");
        let found = lints(r#"bot_exec_mod{mode="LIVE"} == 1"#);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].kind, LintKind::UnknownSeries);
        assert!(
            found[0].remedy.contains("bot_exec_mode"),
            "{}",
            found[0].remedy
        );
        assert_eq!(
            lints(r#"{__name__="bot_exec_mod"}"#)[0].kind,
            LintKind::UnknownSeries
        );
        assert!(lints("rate(lag_seconds_bucket[1m])").is_empty());
        assert!(lints("up == 0 or scrape_duration_seconds > 1").is_empty());
    }

    #[test]
    fn what_is_no_promql_is_refused_with_a_remedy() {
        // Seed 002: the duration in the expression.
        let held = lint("bist_staleness_seconds > 120 for 3m", SCRAPE, &[]);
        let held = held.expect_err("it isn't PromQL");
        assert!(held.remedy.is_some_and(|r| r.contains("for")), "{held:?}");
        for broken in ["", "sum(a", "a >", "a{b=c}", "rate(a)", "nope(a[5m])"] {
            assert!(lint(broken, SCRAPE, &[]).is_err(), "{broken}");
        }
    }

    #[test]
    fn selectors_are_what_can_be_asked_for() {
        let found = selectors(
            r#"rate(a{status=~"5..",job="x"}[5m] offset 1m) > 1 and absent(b) unless up == 0"#,
        );
        let found = found.expect("it is PromQL");
        let texts: Vec<(&str, bool)> = found.iter().map(|s| (s.text.as_str(), s.absence)).collect();
        assert_eq!(
            texts,
            [
                (r#"a{job="x",status=~"5.."}"#, false),
                ("b", true),
                ("up", false)
            ]
        );
        assert_eq!(found[0].exact(), r#"a{job="x"}"#);
        let target = |job: &str| BTreeMap::from([("job".to_owned(), job.to_owned())]);
        assert!(found[0].may_be_of(&target("x")) && !found[0].may_be_of(&target("y")));
        assert!(found[1].may_be_of(&target("y")) && found[2].is_own());
        assert!(found[0].is_told_by(&target("x")) && !found[1].is_told_by(&target("x")));
        let matchers: Vec<String> = found[0].matchers().into_iter().collect();
        assert_eq!(matchers, [r#"job="x""#, r#"status=~"5..""#]);
    }

    #[test]
    fn a_name_in_braces_says_nothing_of_a_target() {
        let target = [("__name__", "up"), ("job", "x"), ("instance", "a:1")];
        let target = target.map(|(key, value)| (key.to_owned(), value.to_owned()));
        let target = BTreeMap::from(target);
        for (expr, may, told) in [
            (r#"sum({__name__="x_total"})"#, true, false),
            (r#"sum({__name__=~".+"})"#, true, false),
            (r#"sum({__name__="x_total",job="x"})"#, true, true),
            (r#"sum({__name__="x_total",job="y"})"#, false, true),
        ] {
            let found = selectors(expr).expect("it is PromQL");
            let seen = (found[0].may_be_of(&target), found[0].is_told_by(&target));
            assert_eq!(seen, (may, told), "{expr}");
        }
    }
}
