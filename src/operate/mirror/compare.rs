//! The own log compared with a full mirror.

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::find::{ended, find, full};
use super::long::{Tell, blocking};
use crate::log::IncidentReport;
use crate::mirror::{Disagreement, PathDiff, ReplicaDiff, diff};
use crate::module::PathPatterns;
use crate::operate::operations::Operations;
use crate::operate::refusal::{Reason, Refusal};
use crate::store::IncidentKind;

/// Versions of module paths in the own log and in a mirror.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CompareAnswer {
    /// All of them.
    pub(crate) total: CompareCounts,
    /// Those of each path.
    pub(crate) paths: Vec<PathCounts>,
    /// The module versions of which the two have other lines.
    pub(crate) disagreements: Vec<Disagreeing>,
}

/// How many versions were compared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CompareCounts {
    /// Versions in the own log.
    pub(crate) own: u64,
    /// Versions in the mirror, of the same paths or of those asked for.
    pub(crate) mirror: u64,
    /// Versions in both, with the same lines.
    pub(crate) both: u64,
    /// Versions in both, with other lines.
    pub(crate) disagree: u64,
    /// Versions in the own log whose paths are not listed.
    pub(crate) unlisted: u64,
}

/// What both logs have of a module path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PathCounts {
    /// The path.
    pub(crate) path: String,
    /// Versions in the own log.
    pub(crate) own: u64,
    /// Versions in the mirror.
    pub(crate) mirror: u64,
    /// Versions in both, with the same lines.
    pub(crate) both: u64,
}

/// A module version of which both logs have other lines.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Disagreeing {
    /// `path@version`.
    pub(crate) module: String,
    /// The own log's record.
    pub(crate) own_record: u64,
    /// Its lines.
    pub(crate) own: String,
    /// The mirror's record.
    pub(crate) mirror_record: u64,
    /// Its lines.
    pub(crate) mirror: String,
}

impl Operations {
    /// Compares the own log with a full mirror, only in paths that match `modules`, a list as in
    /// GOPRIVATE. Each disagreement becomes an incident of the own log.
    pub(crate) async fn compare_mirror(
        &self,
        log: &str,
        modules: Option<String>,
        tell: Tell,
    ) -> Result<CompareAnswer, Refusal> {
        let mirror = find(self.mirrors(), log)?;
        let none = || Refusal::new(Reason::Usage, "there is no own log here to compare with");
        let own = self.log().ok_or_else(none)?;
        let (reader, snapshot) = (full(mirror)?, own.snapshot());
        self.unless_stopped(async {
            let compared = blocking(tell, move |step| {
                let patterns = modules.as_deref().map(PathPatterns::parse);
                diff(&snapshot, &reader, patterns.as_ref(), step)
            });
            let diff = compared.await.map_err(|error| Refusal::from(&error))?.ok_or_else(ended)?;
            let reports = diff.disagreements.iter().map(|found| incident(log, found)).collect();
            self.keep_incidents(log, "a disagreement with a mirror", reports).await;
            Ok(CompareAnswer::from(diff))
        })
        .await
    }
}

fn incident(log: &str, Disagreement { own, mirror }: &Disagreement) -> IncidentReport {
    tracing::error!(
        module.path = %own.1.module.path, module.version = %own.1.module.version, record.id = own.0.0, log,
        "the own log and a mirror disagree"
    );
    let detail = json!({
        "module": own.1.module.path.as_str(),
        "version": own.1.module.version.as_str(),
        "record": own.0.0,
        "standing": own.1.to_text(),
        "offered": mirror.1.to_text(),
        "log": log,
        "log_record": mirror.0.0,
    });
    IncidentReport { kind: IncidentKind::HashConflict, detail: detail.to_string() }
}

impl From<ReplicaDiff> for CompareAnswer {
    fn from(diff: ReplicaDiff) -> CompareAnswer {
        let PathDiff { own, both, mirror, disagree } = diff.total();
        let total = CompareCounts { own, mirror, both, disagree, unlisted: diff.others.own };
        let paths = diff.paths.into_iter();
        let paths =
            paths.map(|(path, PathDiff { own, both, mirror, .. })| PathCounts { path, own, mirror, both });
        let disagreements = diff.disagreements.iter().map(Disagreeing::from).collect();
        CompareAnswer { total, paths: paths.collect(), disagreements }
    }
}

impl From<&Disagreement> for Disagreeing {
    fn from(Disagreement { own, mirror }: &Disagreement) -> Disagreeing {
        Disagreeing {
            module: own.1.module.to_string(),
            own_record: own.0.0,
            own: own.1.to_text(),
            mirror_record: mirror.0.0,
            mirror: mirror.1.to_text(),
        }
    }
}
