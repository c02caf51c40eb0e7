//! How is what was found on a host shown? A line a finding: how bad it is, what was
//! looked at, what was found, and what to do.

use std::fmt::Write as _;

use serde::Serialize;

use super::{View, escape};
use crate::server::doctor::{Finding, Level};

#[derive(Serialize)]
struct FindingView {
    level: &'static str,
    check: &'static str,
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    advice: Option<String>,
}

/// All that was found; the worst of it first said in one word.
#[derive(Serialize)]
pub(in crate::cli) struct Diagnosis {
    level: &'static str,
    findings: Vec<FindingView>,
}

fn word(level: Level) -> &'static str {
    match level {
        Level::Ok => "ok",
        Level::Warning => "warning",
        Level::Failure => "failure",
    }
}

impl From<Vec<Finding>> for Diagnosis {
    fn from(findings: Vec<Finding>) -> Self {
        let worst = findings.iter().map(|finding| finding.level).max().unwrap_or(Level::Ok);
        let view =
            |Finding { check, level, message, advice }| FindingView { level: word(level), check, message, advice };
        Self { level: word(worst), findings: findings.into_iter().map(view).collect() }
    }
}

impl View for Diagnosis {
    fn table(&self) -> String {
        let width = self.findings.iter().map(|finding| finding.check.len()).max().unwrap_or_default();
        let mut text = String::new();
        for FindingView { level, check, message, advice } in &self.findings {
            let _ = write!(text, "{level:<7}  {check:<width$}  {}", escape(message));
            if let Some(advice) = advice {
                let _ = write!(text, " -> {}", escape(advice));
            }
            text.push('\n');
        }
        text.truncate(text.trim_end().len());
        text
    }
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use super::*;

    fn found() -> Diagnosis {
        Diagnosis::from(vec![
            Finding::ok("settings", "they are read, and make sense"),
            Finding::warning("database.file", "a \u{1b}[31mname", "chmod 600 it"),
        ])
    }

    #[test]
    fn people_get_a_line_a_finding_with_what_to_do() {
        assert_snapshot!(found().table(), @r"
        ok       settings       they are read, and make sense
        warning  database.file  a \u{1b}[31mname -> chmod 600 it
        ");
    }

    #[test]
    fn programs_get_the_worst_first() {
        assert_snapshot!(*found().json(), @r#"
        {
          "level": "warning",
          "findings": [
            {
              "level": "ok",
              "check": "settings",
              "message": "they are read, and make sense"
            },
            {
              "level": "warning",
              "check": "database.file",
              "message": "a \u001b[31mname",
              "advice": "chmod 600 it"
            }
          ]
        }
        "#);
    }
}
