//! How the findings of a check are shown: a table, JSON, a JUnit file, GitHub annotations.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Serialize;

use crate::check::{Asking, CheckCounts, CheckVerdict, CheckedClaims, FilePlace, Finding};
use crate::cli::{Exit, output};
use crate::xml;

/// Annotations of one run. GitHub shows ten of each kind for a step, and fifty for a job.
const MAX_ANNOTATIONS: usize = 200;
/// Rows of the table. The JSON and the JUnit file have all.
const MAX_ROWS: usize = 1_000;

/// The result.
#[derive(Debug, Serialize)]
pub(super) struct CheckOutput {
    /// How the log was asked.
    #[serde(skip)]
    asking: Option<Asking>,
    /// The log, where one was asked.
    #[serde(flatten)]
    log: Option<CheckedLog>,
    counts: CheckCounts,
    /// Everything that is not proved, the worst first.
    #[serde(serialize_with = "unproved")]
    pub(super) findings: Vec<Finding>,
    /// What is allowed and should be known.
    warnings: Vec<String>,
}

#[derive(Debug, Serialize)]
struct CheckedLog {
    #[serde(rename = "log")]
    name: String,
    vkey: String,
    url: String,
    size: u64,
    root: String,
    /// How many hashes it was asked about.
    #[serde(skip)]
    hashes: usize,
}

fn unproved<S: serde::Serializer>(findings: &[Finding], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(findings.iter().filter(|finding| finding.verdict != CheckVerdict::Proved))
}

impl CheckVerdict {
    /// As the table shows it.
    fn shown(self) -> &'static str {
        match self {
            CheckVerdict::Differs => "DIFFERS",
            CheckVerdict::NotInLog => "not in log",
            CheckVerdict::NotChecked => "not checked",
            CheckVerdict::Unverified => "unverified",
            CheckVerdict::Proved => "proved",
        }
    }
}

impl CheckOutput {
    /// Begins with what is known without a log.
    pub(super) fn new(findings: Vec<Finding>, warnings: Vec<String>) -> CheckOutput {
        CheckOutput { asking: None, log: None, counts: CheckCounts::default(), findings, warnings }
    }

    /// Names the log and the head under which everything was proved.
    pub(super) fn of_log(&mut self, checked: &CheckedClaims) {
        self.asking = Some(checked.asking);
        self.log = Some(CheckedLog {
            name: checked.log.clone(),
            vkey: checked.vkey.clone(),
            url: checked.url.clone(),
            size: checked.head.size.0,
            root: checked.head.root.to_string(),
            hashes: checked.verdicts.len(),
        });
    }

    /// Counts and sorts what was found.
    pub(super) fn finish(&mut self) {
        self.findings.sort_by(|a, b| a.verdict.cmp(&b.verdict).then_with(|| a.cmp(b)));
        self.counts = CheckCounts::of(&self.findings);
    }

    pub(super) fn exit(&self) -> Exit {
        let CheckCounts { differs, not_in_log, not_checked, .. } = self.counts;
        match (differs, not_in_log + not_checked) {
            (0, 0) => Exit::Done,
            (0, _) => Exit::Failed,
            _ => Exit::Damage,
        }
    }

    /// Prints it.
    pub(super) fn show(&self, json: bool, github: bool) -> anyhow::Result<()> {
        if json {
            output::print_json(self)?;
        } else {
            self.print()?;
        }
        if github {
            let failed = |finding: &&Finding| finding.verdict != CheckVerdict::Proved;
            for finding in self.findings.iter().filter(failed).take(MAX_ANNOTATIONS) {
                output::annotation(&annotation(finding), json);
            }
        }
        Ok(())
    }

    fn print(&self) -> anyhow::Result<()> {
        let shown = |finding: &&Finding| finding.verdict != CheckVerdict::Proved;
        let rows = self.findings.iter().filter(shown).take(MAX_ROWS).map(|finding| {
            let why = finding.why.split("\n  fix: ").next().unwrap_or_default();
            [
                finding.verdict.shown().to_owned(),
                output::one_line(&finding.place.to_string()),
                output::one_line(finding.module.as_deref().unwrap_or("-")),
                output::one_line(why),
            ]
        });
        let rows: Vec<[String; 4]> = rows.collect();
        if !rows.is_empty() {
            output::print_table(["verdict", "place", "module", "why"], rows)?;
            output::print("\n")?;
        }
        output::print(&self.summary())?;
        self.warnings.iter().for_each(|text| output::warning(text));
        // Each piece of advice once, however many lines need it.
        let mut said: Vec<&str> = Vec::new();
        for finding in self.findings.iter().filter(shown) {
            let fix = finding
                .why
                .split_once("\n  fix: ")
                .map_or_else(|| self.fix(finding.verdict), |(_, fix)| Some(fix));
            said.extend(fix.filter(|fix| !said.contains(fix)));
        }
        said.iter().take(MAX_ROWS).for_each(|fix| output::note(&format!("fix: {fix}")));
        Ok(())
    }

    fn fix(&self, verdict: CheckVerdict) -> Option<&'static str> {
        match verdict {
            CheckVerdict::Differs => Some(
                "do not build. Find out who changed the line, the download or the module: a version keeps its hash for ever",
            ),
            CheckVerdict::NotInLog if self.asking == Some(Asking::Records) => Some(
                "if the module may enter the log, `tallystick check --notarize` brings it in, as a look-up by the go command does",
            ),
            CheckVerdict::NotInLog => Some(
                "see whether path and version are right, and whether the log's operator has a route for them",
            ),
            CheckVerdict::NotChecked | CheckVerdict::Unverified | CheckVerdict::Proved => None,
        }
    }

    fn summary(&self) -> String {
        let CheckCounts { proved, not_in_log, differs, not_checked, unverified } = self.counts;
        let mut text = match &self.log {
            Some(CheckedLog { name, url, size, hashes, .. }) => {
                let records = output::count(*size, "record");
                let hashes =
                    if *hashes == 1 { "1 hash is".to_owned() } else { format!("{hashes} hashes are") };
                format!("{proved} of {hashes} proved in {name} at {url}, under its head of {records}\n")
            }
            None if not_checked == 0 => "no setting bypasses the log\n".to_owned(),
            None => String::new(),
        };
        for (count, what) in [
            (differs, "differ"),
            (not_in_log, "not in the log"),
            (not_checked, "not checked"),
            (unverified, "unverified: no log could vouch for it, or go does not use it"),
        ] {
            if count > 0 {
                let _ = writeln!(text, "{count} {what}");
            }
        }
        text
    }
}

/// One annotation, as GitHub's runner reads it: `%`, CR and LF are escaped, in properties `:` and
/// `,` as well.
fn annotation(finding: &Finding) -> String {
    let level = match finding.verdict {
        CheckVerdict::Differs | CheckVerdict::NotInLog | CheckVerdict::NotChecked => "error",
        CheckVerdict::Unverified | CheckVerdict::Proved => "notice",
    };
    let module = finding.module.as_ref().map(|module| format!("{module}: ")).unwrap_or_default();
    let text = format!("{module}{}", finding.why);
    command(level, Some(&finding.place), &format!("tallystick: {}", finding.verdict.shown()), &text)
}

fn command(level: &str, place: Option<&FilePlace>, title: &str, text: &str) -> String {
    let message = |text: &str| text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A");
    let property = |text: &str| message(text).replace(':', "%3A").replace(',', "%2C");
    let place = place.map_or_else(String::new, |FilePlace { file, line }| {
        let line = line.map(|line| format!("line={line},")).unwrap_or_default();
        format!("file={},{line}", property(file))
    });
    format!("::{level} {place}title={}::{}", property(title), message(text))
}

/// Prints the annotation of a check that has no result.
pub(super) fn print_failure(place: Option<&FilePlace>, why: &str, is_stdout_taken: bool) {
    output::annotation(&command("error", place, "tallystick: no result", why), is_stdout_taken);
}

/// The JUnit file of a check that has no result.
pub(super) fn junit_failure(why: &str) -> String {
    let why = xml::escape(why);
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites name=\"tallystick check\">\n  <testsuite name=\"check\" tests=\"1\" \
         errors=\"1\">\n    <testcase classname=\"check\" name=\"result\">\n      <error message=\"no result\">{why}</error>\n    \
         </testcase>\n  </testsuite>\n</testsuites>\n"
    )
}

/// What a CI server reads: a suite for each file, a test case for each hash or line.
pub(super) fn junit(report: &CheckOutput) -> String {
    let mut files: BTreeMap<&str, Vec<&Finding>> = BTreeMap::new();
    for finding in &report.findings {
        files.entry(&finding.place.file).or_default().push(finding);
    }
    let mut suites = String::new();
    for (file, mut findings) in files {
        findings.sort_by_key(|finding| finding.place.line);
        let is =
            |verdicts: &[CheckVerdict]| findings.iter().filter(|f| verdicts.contains(&f.verdict)).count();
        let failures = is(&[CheckVerdict::Differs, CheckVerdict::NotInLog, CheckVerdict::NotChecked]);
        let skipped = is(&[CheckVerdict::Unverified]);
        let _ = writeln!(
            suites,
            "  <testsuite name=\"{}\" tests=\"{}\" failures=\"{failures}\" skipped=\"{skipped}\">",
            xml::escape(file),
            findings.len()
        );
        findings.iter().for_each(|finding| suites += &case(file, finding));
        suites += "  </testsuite>\n";
    }
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites name=\"tallystick check\">\n{suites}</testsuites>\n"
    )
}

fn case(file: &str, finding: &Finding) -> String {
    let name = finding.module.as_deref().unwrap_or("-");
    let line = finding.place.line.map(|line| format!(" line {line}")).unwrap_or_default();
    let why = xml::escape(&finding.why);
    let body = match finding.verdict {
        CheckVerdict::Proved => String::new(),
        CheckVerdict::Unverified => format!("      <skipped message=\"{why}\"/>\n"),
        verdict => format!("      <failure message=\"{}\">{why}</failure>\n", verdict.shown()),
    };
    let (class, name) = (xml::escape(file), xml::escape(&format!("{name}{line}")));
    format!("    <testcase classname=\"{class}\" name=\"{name}\">\n{body}    </testcase>\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The escapes are those of `escapeData` and `escapeProperty` in GitHub's toolkit
    /// (`packages/core/src/command.ts`).
    #[test]
    fn annotations_are_escaped_as_github_reads_them() {
        let finding = Finding {
            place: FilePlace::line("a,b:c%\n/go.sum", 7),
            module: Some("rsc.io/quote@v1.5.2".to_owned()),
            verdict: CheckVerdict::Differs,
            why: "100%: a,b\r\n::error::x".to_owned(),
        };
        assert_eq!(
            annotation(&finding),
            "::error file=a%2Cb%3Ac%25%0A/go.sum,line=7,title=tallystick%3A DIFFERS::rsc.io/quote@v1.5.2: 100%25: a,b%0D%0A::error::x"
        );
        let place = FilePlace::file("go env");
        let finding = Finding { place, module: None, verdict: CheckVerdict::Unverified, why: "x".to_owned() };
        assert_eq!(annotation(&finding), "::notice file=go env,title=tallystick%3A unverified::x");
    }
}
