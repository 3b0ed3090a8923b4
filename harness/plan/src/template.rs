//! Text with placeholders: `{name}`, `${secret.NAME}` and `${run.id}`. Braces that hold anything but
//! an identifier are text, so that JSON can be written as it is.

use std::collections::BTreeMap;

/// A placeholder that has no value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("placeholder \"{name}\" has no value")]
pub struct UnknownPlaceholder {
    pub name: String,
}

/// A piece of a template.
#[derive(Debug, PartialEq, Eq)]
enum Piece<'t> {
    Text(&'t str),
    /// `{name}` as `name`, `${secret.NAME}` as `secret.NAME`.
    Name(&'t str),
}

/// Fills in a template: `{name}` with `vars["name"]`, `${secret.NAME}` with `vars["secret.NAME"]`,
/// `${run.id}` with `vars["run.id"]`. Values are inserted as they are and not looked at again.
///
/// # Errors
/// A placeholder isn't in `vars`. A file that was parsed holds none but those its place allows.
pub fn render(
    template: &str,
    vars: &BTreeMap<String, String>,
) -> Result<String, UnknownPlaceholder> {
    let mut out = String::with_capacity(template.len() + 64);
    for piece in pieces(template) {
        match piece {
            Piece::Text(text) => out.push_str(text),
            Piece::Name(name) => match vars.get(name) {
                Some(value) => out.push_str(value),
                None => {
                    return Err(UnknownPlaceholder {
                        name: name.to_string(),
                    });
                }
            },
        }
    }
    Ok(out)
}

/// Names of the placeholders of a template, in order.
pub(crate) fn placeholders(template: &str) -> Vec<&str> {
    pieces(template)
        .into_iter()
        .filter_map(|piece| match piece {
            Piece::Name(name) => Some(name),
            Piece::Text(_) => None,
        })
        .collect()
}

fn pieces(template: &str) -> Vec<Piece<'_>> {
    let mut pieces = Vec::new();
    let mut text_from = 0;
    let mut from = 0;
    while let Some(open) = template[from..].find('{').map(|i| from + i) {
        from = open + 1;
        let dollar = open > text_from && template.as_bytes()[open - 1] == b'$';
        let Some(name) = template[from..]
            .find('}')
            .map(|len| &template[from..from + len])
        else {
            break;
        };
        let found = if dollar {
            is_reference(name)
        } else {
            is_identifier(name)
        };
        if found {
            let start = if dollar { open - 1 } else { open };
            pieces.push(Piece::Text(&template[text_from..start]));
            pieces.push(Piece::Name(name));
            from = open + name.len() + 2;
            text_from = from;
        }
    }
    pieces.push(Piece::Text(&template[text_from..]));
    pieces
}

fn is_identifier(name: &str) -> bool {
    name.bytes()
        .next()
        .is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// Anything dotted behind a dollar is meant as a reference, so that a misspelt one is found.
fn is_reference(name: &str) -> bool {
    !name.is_empty() && name.split('.').all(is_identifier)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vars(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs
            .iter()
            .map(|(k, v)| (k.to_string(), v.to_string()))
            .collect()
    }

    #[test]
    fn json_braces_survive() {
        let vars = vars(&[("n", "7"), ("s", "{n}")]);
        let rendered = render(r#"{"a":{"b":{n},"c":"{s}"},"d":{}}"#, &vars);
        assert_eq!(rendered.as_deref(), Ok(r#"{"a":{"b":7,"c":"{n}"},"d":{}}"#));
    }

    #[test]
    fn references_need_their_dollar() {
        let vars = vars(&[("secret.K", "x"), ("run.id", "r1")]);
        assert_eq!(
            render("Bearer ${secret.K} ${run.id} {secret.K} $5 ${", &vars).as_deref(),
            Ok("Bearer x r1 {secret.K} $5 ${")
        );
    }

    #[test]
    fn unknown_is_an_error() {
        let error = render("{run}", &BTreeMap::new()).map_err(|e| e.name);
        assert_eq!(error, Err("run".to_string()));
    }
}
