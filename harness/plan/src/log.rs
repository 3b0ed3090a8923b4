//! Patterns of log lines. One that is misspelt finds nothing, and finding nothing is a pass to some checks:
//! those must carry a line that their pattern does find.

use crate::diag::Problem;
use crate::drill::Cx;
use crate::model::Predicate;
use crate::node::Node;

/// The line that a selector shows must be one that its pattern finds.
pub(crate) fn like_fits(cx: &mut Cx<'_, '_>, selector: Node<'_>) {
    let (Some(like), Some(pattern)) = (selector.text("like"), selector.text("matches")) else {
        return;
    };
    // A pattern that is none has its error already.
    if regex::Regex::new(pattern.value).is_ok_and(|regex| !regex.is_match(like.value)) {
        let problem = Problem::new("the pattern doesn't match the line that it is to find");
        let expected = format!("a line that \"{}\" matches", pattern.value);
        cx.sink.error(like.at, problem.expected(expected));
    }
}

/// Warns of a check of log lines that passes where none is found, and doesn't show that one could be.
pub(crate) fn can_be_found(cx: &mut Cx<'_, '_>, expect: Node<'_>, is: Option<&Predicate>) {
    let never = expect
        .node("when")
        .and_then(|when| when.text("op"))
        .is_some_and(|op| op.value == "never");
    let (key, passes_empty) = match expect.has("none") {
        true => ("none", true),
        false => ("count", is.is_some_and(|is| never != holds_for_none(is))),
    };
    let Some(selector) = expect.node(key).filter(|n| n.has("log")) else {
        return;
    };
    if passes_empty && !selector.has("like") {
        cx.sink.lint(
            selector.at("matches"),
            "a pattern that is misspelt finds nothing either: add like = \"…\", a line that it must match",
        );
    }
}

/// An upper bound on nothing is no pass, so it isn't one of these.
fn holds_for_none(is: &Predicate) -> bool {
    let zero = |value: &serde_json::Value| value.as_f64() == Some(0.0);
    match is {
        Predicate::Equals(value) => zero(value),
        Predicate::OneOf(values) => values.iter().any(zero),
        _ => false,
    }
}
